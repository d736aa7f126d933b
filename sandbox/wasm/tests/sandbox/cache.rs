//! The cache of compiled components: it spares the compiler, and never runs what it did not write.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agora_sandbox_wasm::{Origin, Settings, WasmSandbox};
use tempfile::TempDir;

use super::host::{FakeHost, NOW_MS};
use super::{component, manifest, message};

/// Loads the hostile guest as a new process would, and has it handle an event.
async fn load(folder: &Path, guest: &str) -> Origin {
    let settings = Settings { cache_folder: Some(folder.to_path_buf()), ..Settings::default() };
    let sandbox = WasmSandbox::new(settings).expect("a sandbox");
    let (program, origin) = sandbox.load_traced(&component(guest), &manifest(guest)).expect("a guest");
    if guest == "hostile" {
        let answer = program.handle(message("behave"), Arc::new(FakeHost::new())).await.expect("an answer");
        assert_eq!(answer, NOW_MS.to_string().as_bytes());
    }
    origin
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

#[tokio::test]
async fn the_second_load_compiles_nothing_and_everything_is_private() {
    let home = TempDir::new().expect("a folder");
    let folder = home.path().join("deep/cache");
    assert_eq!(load(&folder, "hostile").await, Origin::Compiled);
    assert_eq!(load(&folder, "hostile").await, Origin::Cached);
    let [entry] = entries(&folder).try_into().expect("one entry and no stray file");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&entry)), (0o700, 0o600));
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_anew() {
    let home = TempDir::new().expect("a folder");
    load(home.path(), "hostile").await;
    let [entry] = entries(home.path()).try_into().expect("one entry");
    let whole = fs::read(&entry).expect("the entry");
    for at in [0, 8, 39, 40, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&entry, &damaged).expect("damage");
        assert_eq!(load(home.path(), "hostile").await, Origin::Compiled, "byte {at}");
        assert_eq!(fs::read(&entry).expect("mended").len(), whole.len());
        assert_eq!(load(home.path(), "hostile").await, Origin::Cached, "mended after byte {at}");
    }
    for size in [0, 7, 40, whole.len() - 1] {
        fs::write(&entry, &whole[..size]).expect("damage");
        assert_eq!(load(home.path(), "hostile").await, Origin::Compiled, "{size} bytes");
    }
}

#[tokio::test]
async fn an_entry_under_anothers_name_or_open_to_others_is_not_used() {
    let home = TempDir::new().expect("a folder");
    load(home.path(), "hostile").await;
    let [hostile] = entries(home.path()).try_into().expect("one entry");
    load(home.path(), "researcher").await;
    let both = entries(home.path());
    let researcher = both.iter().find(|entry| **entry != hostile).expect("another entry");
    fs::copy(researcher, &hostile).expect("a mix-up");
    assert_eq!(load(home.path(), "hostile").await, Origin::Compiled);
    fs::set_permissions(&hostile, fs::Permissions::from_mode(0o644)).expect("open");
    assert_eq!(load(home.path(), "hostile").await, Origin::Compiled);
    assert_eq!(load(home.path(), "hostile").await, Origin::Cached);
}

#[test]
fn a_folder_that_cannot_be_made_is_said_at_once() {
    let home = TempDir::new().expect("a folder");
    fs::write(home.path().join("file"), b"").expect("a file");
    let settings = Settings { cache_folder: Some(home.path().join("file/cache")), ..Settings::default() };
    let Err(error) = WasmSandbox::new(settings) else { panic!("no folder can be there") };
    assert!(error.what.contains("file/cache"), "{error}");
}
