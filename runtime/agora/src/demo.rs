//! STUB, to be replaced: the demo.

use agora_shell::{Failure, Outcome};
use agora_types::Code;

use crate::cli::context::Context;

/// Runs the demo.
///
/// # Errors
/// `node.not_running`, always.
pub async fn run(_: &Context) -> Outcome<()> {
    Err(Failure::new(Code::NodeNotRunning, "the demo is not there yet"))
}
