//! TLS 1.2 and 1.3 from two PEM files, read once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Most bytes of such a file.
const FILE_MAX: u64 = 1024 * 1024;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the server's certificate first, then those that vouch for it.
    pub certificates: PathBuf,
    /// PEM: its private key, without a passphrase.
    pub key: PathBuf,
}

impl Tls {
    /// Reads both; the error says which file and what is wrong.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let bad = |file: &Path, what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
        let pem = read(&self.certificates).map_err(|error| bad(&self.certificates, &error))?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(&self.certificates, &format!("not PEM: {error}")))?;
        if chain.is_empty() {
            return Err(bad(&self.certificates, &"there is no certificate in it"));
        }
        let pem = read(&self.key).map_err(|error| bad(&self.key, &error))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| bad(&self.key, &format!("there is no private key in it: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| bad(&self.key, &format!("it does not fit the certificate: {error}")))?;
        // HTTP/2 multiplies what one connection may ask for; every client that matters speaks this.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > FILE_MAX {
        return Err(format!("{size} bytes are too many for a PEM file"));
    }
    fs::read(file).map_err(|error| error.to_string())
}
