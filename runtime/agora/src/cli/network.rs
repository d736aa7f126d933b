//! `agora network`: the networks on this machine and their nodes.

use agora_shell::{NetworkName, Outcome};
use agora_types::Canonical as _;

use super::context::{Context, read_genesis};
use super::documents::{NetworkList, NetworkView};
use crate::control::client::HttpService;
use crate::control::{Request, Service, Status};

/// `agora network list`.
///
/// # Errors
/// `node.io`.
pub async fn list(context: &Context) -> Outcome<NetworkList> {
    let mut networks = Vec::new();
    for name in context.paths.networks()? {
        networks.push(look(context, &name).await);
    }
    Ok(NetworkList { networks })
}

/// One network; what is wrong with it becomes a part of the answer.
async fn look(context: &Context, name: &NetworkName) -> NetworkView {
    let folder = context.paths.network(name);
    let mut view = NetworkView {
        name: name.to_string(),
        folder: folder.display().to_string(),
        chain_id: None,
        genesis: None,
        dev: None,
        address: None,
        problem: None,
    };
    match read_genesis(&context.paths.genesis(name)) {
        Ok(genesis) => {
            view.chain_id = Some(genesis.chain_id);
            view.genesis = Some(genesis.hash());
            view.dev = Some(genesis.dev);
        }
        Err(failure) => view.problem = Some(failure.what),
    }
    if let Ok(service) = HttpService::at(&folder, context.timeout) {
        let node: &dyn Service = &service;
        let answers = node.call::<Status>(Request::Status).await.is_ok_and(|status| status.network == name.as_str());
        view.address = answers.then(|| service.beacon().address.to_string());
    }
    view
}
