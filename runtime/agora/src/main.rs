//! The agora program: node and command line in one binary.

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("no message");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        eprintln!("agora {}: a bug{place}, thread {thread}: {what}", env!("CARGO_PKG_VERSION"));
        eprintln!("  please report this line; repeating the command is safe");
    }));
    // The hook has said what there is to say.
    panic::catch_unwind(AssertUnwindSafe(agora::cli::run)).unwrap_or(ExitCode::FAILURE)
}
