//! The port behind TLS.

use std::fs;
use std::sync::Arc;

use agora_gateway::{OpenError, PublicPort, Tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::client::{Client, PATIENCE, request};
use crate::fakes::{Fakes, LOOPBACK, bounds};

/// A self-signed certificate in a folder of its own.
fn certificate() -> (tempfile::TempDir, Tls, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls { certificates: folder.path().join("chain.pem"), key: folder.path().join("key.pem") };
    fs::write(&tls.certificates, made.cert.pem()).unwrap();
    fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    (folder, tls, made.cert.der().clone())
}

async fn connect(port: &PublicPort, root: CertificateDer<'static>, protocols: &[&[u8]]) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(root).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(port.address()).await.unwrap();
    let name = ServerName::try_from("shop.example").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, (!protocols.is_empty()).then_some(&b"http/1.1"[..]));
    Client::over(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_a_certificate_speaks_tls_and_nothing_else() {
    let (_folder, tls, root) = certificate();
    let fakes = Fakes::new();
    let services = agora_gateway::Services { base_url: None, ..fakes.services() };
    let port = PublicPort::open(LOOPBACK, true, Some(&tls), services, bounds()).unwrap();
    for protocols in [&[&b"h2"[..], b"http/1.1"][..], &[b"http/1.1"], &[]] {
        let mut client = connect(&port, root.clone(), protocols).await;
        client.send(request("GET", "/agents/researcher", &[], b"")).await;
        let answer = client.whole().await;
        assert_eq!(answer.status(), 402);
        assert_eq!(answer.json()["resource"]["url"], "https://shop.example/agents/researcher");
    }
    let mut plain = Client::connect(port.address()).await;
    plain.send(request("GET", "/supported", &[], b"")).await;
    let text = plain.until_closed().await;
    assert!(!text.contains("HTTP/"), "{text}");
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_never_ends_is_cut_off() {
    let (_folder, tls, _) = certificate();
    let bounds = agora_gateway::Bounds { head_timeout: std::time::Duration::from_millis(200), ..bounds() };
    let port = PublicPort::open(LOOPBACK, true, Some(&tls), Fakes::new().services(), bounds).unwrap();
    let mut client = Client::connect(port.address()).await;
    client.send([0x16, 0x03, 0x01]).await;
    client.until_closed().await;
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_certificate_or_key_are_named() {
    let (folder, good, _) = certificate();
    let (_other_folder, other, _) = certificate();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let absent = folder.path().join("absent.pem");
    for (tls, file, what) in [
        (Tls { certificates: absent.clone(), ..good.clone() }, &absent, "No such file"),
        (Tls { key: absent.clone(), ..good.clone() }, &absent, "No such file"),
        (Tls { certificates: empty.clone(), ..good.clone() }, &empty, "no certificate"),
        (Tls { key: empty.clone(), ..good.clone() }, &empty, "no private key"),
        (Tls { key: good.certificates.clone(), ..good.clone() }, &good.certificates, "no private key"),
        (Tls { key: other.key.clone(), ..good.clone() }, &other.key, "does not fit the certificate"),
    ] {
        let error = PublicPort::open(LOOPBACK, true, Some(&tls), Fakes::new().services(), bounds()).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, OpenError::Tls(_)), "{text}");
        assert!(text.contains(&file.display().to_string()) && text.contains(what), "{text}");
    }
}
