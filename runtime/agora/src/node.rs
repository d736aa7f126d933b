//! STUB, to be replaced: the node.

use std::sync::Arc;

use agora_shell::{Failure, NetworkName, Outcome, Paths};
use agora_types::Code;

use crate::cli::context::Context;
use crate::control::Service;

/// Starts a node in the foreground, until it is told to stop or Ctrl-C.
///
/// # Errors
/// `node.not_running`, always.
pub async fn up(context: &Context) -> Outcome<()> {
    Err(Failure::new(Code::NodeNotRunning, format!("no node can be started for `{}` yet", context.network())))
}

/// Opens a network's data folder without starting a node.
///
/// # Errors
/// `node.not_running`, always.
pub async fn open_offline(_: &Paths, network: &NetworkName) -> Outcome<Arc<dyn Service>> {
    Err(Failure::new(Code::NodeNotRunning, format!("no node of network `{network}` answers")))
}
