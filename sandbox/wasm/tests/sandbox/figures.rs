//! What things cost here; run with `cargo test --release -p agora-sandbox-wasm -- --ignored --nocapture figures`.

use std::sync::Arc;
use std::time::Instant;

use agora_sandbox_wasm::{Settings, WasmSandbox};
use tempfile::TempDir;

use super::host::FakeHost;
use super::{component, manifest, message};

#[tokio::test]
#[ignore = "prints times; asserts nothing"]
async fn figures() {
    let home = TempDir::new().expect("a folder");
    let settings = || Settings { cache_folder: Some(home.path().to_path_buf()), ..Settings::default() };
    let question = "What is the boiling point of ethanol? I like chemistry.";
    for (guest, payload) in [("researcher", question), ("hostile", "behave")] {
        let (bytes, manifest) = (component(guest), manifest(guest));
        let sandbox = WasmSandbox::new(settings()).expect("a sandbox");
        for _ in 0..3 {
            let begun = Instant::now();
            let (_, origin) = sandbox.load_traced(&bytes, &manifest).expect("a guest");
            println!("{guest}, {} bytes: load {origin:?} {:?}", bytes.len(), begun.elapsed());
        }
        let (program, _) = sandbox.load_traced(&bytes, &manifest).expect("a guest");
        let host = Arc::new(FakeHost::new());
        for round in 0..2 {
            let begun = Instant::now();
            for _ in 0..1_000 {
                program.handle(message(payload), host.clone()).await.expect("an answer");
            }
            println!("{guest}: an event, instance and all, {:?} (round {round})", begun.elapsed() / 1_000);
        }
    }
}
