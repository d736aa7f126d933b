//! The two ports of a running node: where its own user's commands speak to it, and where others pay.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agora_actors::pay::TillParts;
use agora_gateway::{PublicPort, Routes, Tls};
use agora_shell::{Failure, Outcome};
use agora_types::key::WalletKey;
use agora_web::{Bounds, Face};

use super::contributions::Contributions;
use super::{Running, System};
use crate::control::beacon::{Beacon, fresh_token};
use crate::control::serve::serve;

/// How long open answers to strangers may take after the node was asked to stop.
pub const PUBLIC_GRACE: Duration = Duration::from_secs(10);

/// How the public port is opened. The default speaks HTTP and has the node's own routes and the usual bounds.
#[derive(Clone, Default)]
pub struct Public {
    /// Certificate and key; with them the port speaks HTTPS only.
    pub tls: Option<Tls>,
    /// The origin that buyers see, where a proxy stands before the port.
    pub url: Option<String>,
    /// More routes, such as ones behind a [`agora_gateway::Paywall`]. `examples/seller.rs` shows it.
    pub routes: Option<Routes>,
    /// What a stranger may take.
    pub bounds: agora_gateway::Bounds,
    /// The program that reads Parquet files which contributors send: `agora` itself. Without it they are refused.
    pub reader: Option<PathBuf>,
}

/// An open control port; commands find it by its beacon.
pub struct Control {
    face: Face,
    beacon: Beacon,
    folder: PathBuf,
}

impl Control {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.face.address()
    }

    /// Answers nobody any more, and takes the beacon away.
    ///
    /// # Errors
    /// `node.io`; the port is closed all the same.
    pub async fn close(self) -> Outcome<()> {
        self.face.close().await;
        self.beacon.remove(&self.folder)
    }
}

impl Running {
    /// Opens the control port, so that commands reach this node.
    ///
    /// # Errors
    /// `node.port_in_use`, `node.not_loopback`, `node.io`.
    pub async fn open_control(&self, address: SocketAddr) -> Outcome<Control> {
        let token = fresh_token()?;
        let answer = serve(self.service());
        let face = Face::open(address, self.genesis().dev, token.clone(), answer, Bounds::default());
        let face = face.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        let folder = self.network().folder.path().to_path_buf();
        let beacon = Beacon::of_process(face.address(), token);
        if let Err(failure) = beacon.write(&folder) {
            face.close().await;
            return Err(failure);
        }
        Ok(Control { face, beacon, folder })
    }

    /// Opens the port that others pay at.
    ///
    /// # Errors
    /// `node.port_in_use`, `node.not_loopback`, `node.bad_config` for certificate, key or URL.
    pub fn open_public(&self, address: SocketAddr, public: Public) -> Outcome<PublicPort> {
        let Public { tls, url, routes, bounds, reader } = public;
        let network = self.genesis().network();
        let datanets = Contributions::new(self.service(), self.shops.api_keys(), network, reader);
        let datanets = Some(Arc::new(datanets) as _);
        let services = agora_gateway::Services { routes, datanets, ..self.shops.services(url.clone()) };
        let port = PublicPort::open(address, self.genesis().dev, tls.as_ref(), services, bounds);
        let port = port.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        self.shops.opened(port.address(), tls.is_some(), url.as_deref());
        Ok(port)
    }

    /// Where others pay.
    pub fn public_address(&self) -> Option<String> {
        self.shops.address()
    }

    /// What a till of one's own is made of, on this node's ledger. `account` is best the receiver's.
    pub fn till_parts(&self, account: Arc<WalletKey>) -> TillParts {
        let buyer = &self.handles().buyer;
        TillParts {
            ledger: Arc::clone(&buyer.ledger),
            account,
            journal: Arc::clone(&buyer.journal),
            clock: Arc::new(System),
            random: Arc::new(System),
        }
    }
}
