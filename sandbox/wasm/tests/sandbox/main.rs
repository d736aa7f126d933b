//! The sandbox against guests of every kind. One binary, so that the engine is linked once.

mod cache;
mod components;
mod deny;
mod fetching;
mod figures;
mod greedy;
mod host;
mod lying;
mod researcher;
mod selling;
mod streams;

use std::path::PathBuf;
use std::sync::Arc;

use agora_sandbox_api::{AgentError, Event, Manifest, Program, Sandbox as _};
use agora_sandbox_wasm::{Settings, WasmSandbox};

use host::FakeHost;

/// A built guest's component.
fn component(name: &str) -> Vec<u8> {
    let path = guests().join(format!("{name}.wasm"));
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build them with `cargo xtask guests`", path.display()))
}

/// A built guest's manifest.
fn manifest(name: &str) -> Manifest {
    let path = guests().join(format!("{name}.toml"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build them with `cargo xtask guests`", path.display()));
    Manifest::parse(&text).expect("the manifest of a guest of ours")
}

/// `guests/` of the target folder that this test was built into.
fn guests() -> PathBuf {
    let own = std::env::current_exe().expect("this test's own path");
    let found = own.ancestors().map(|folder| folder.join("guests")).find(|folder| folder.is_dir());
    found.unwrap_or_else(|| panic!("no guests/ above {}; build them with `cargo xtask guests`", own.display()))
}

fn sandbox() -> WasmSandbox {
    WasmSandbox::new(Settings::default()).expect("a sandbox")
}

fn message(payload: impl Into<Vec<u8>>) -> Event {
    Event { id: "event-1".to_owned(), kind: "message".to_owned(), payload: payload.into() }
}

/// The hostile guest with a host of its own.
struct Hostile {
    program: Arc<dyn Program>,
    host: Arc<FakeHost>,
}

impl Hostile {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Manifest)) -> Self {
        let mut manifest = manifest("hostile");
        change(&mut manifest);
        let program = sandbox().load(&component("hostile"), &manifest).expect("the hostile guest");
        Self { program, host: Arc::new(FakeHost::new()) }
    }

    /// What the guest answers to an order.
    async fn told(&self, order: &str) -> Result<String, AgentError> {
        let host: Arc<FakeHost> = Arc::clone(&self.host);
        let answer = self.program.handle(message(order), host).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The order ends in this text or code, and the next event is handled as if nothing had been.
    async fn check(&self, order: &str, expected: &str) {
        let found = match self.told(order).await {
            Ok(answer) => answer,
            Err(error) => error.code.text().to_owned(),
        };
        assert_eq!(found, expected, "after {order:?}");
        assert_eq!(self.told("behave").await.expect("the next event"), host::NOW_MS.to_string(), "after {order:?}");
    }
}

/// Largest amount of memory that this process has had, MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}
