//! Where a command finds its service: the running node, or the data folder itself.

use std::sync::Arc;

use agora_shell::{Failure, Outcome};
use agora_types::Code;

use super::context::Context;
use crate::control::client::HttpService;
use crate::control::{Request, Service, Status};

/// The running node of the network.
///
/// # Errors
/// `node.no_network`, `node.not_running`; what reading the beacon says.
pub async fn node(context: &Context) -> Outcome<Arc<dyn Service>> {
    let service: Arc<dyn Service> = Arc::new(HttpService::at(&context.folder()?, context.timeout)?);
    // A beacon may be left over from a node that was killed, or another program may have its port by now.
    match service.call::<Status>(Request::Status).await {
        Ok(_) => Ok(service),
        Err(failure) if is_stale(failure.code) => Err(Failure::new(
            Code::NodeNotRunning,
            format!("no node of network `{}` answers: {failure}", context.network()),
        )),
        Err(failure) => Err(failure),
    }
}

/// The running node, or without one the network's data folder, which answers what needs no agents and no model.
///
/// # Errors
/// `node.no_network`; what opening the folder says.
pub async fn any(context: &Context) -> Outcome<Arc<dyn Service>> {
    match node(context).await {
        Err(failure) if failure.code == Code::NodeNotRunning => {
            crate::node::open_offline(&context.paths, context.network()).await
        }
        found => found,
    }
}

/// What a beacon without its node leads to: nobody, a program that is no node, or a node with another token.
fn is_stale(code: Code) -> bool {
    matches!(code, Code::NodeNotRunning | Code::WireMalformed | Code::NodeUnauthorized)
}
