//! What no seller on this machine can get past: durable appends of the disk, signatures of a core.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use agora_types::Hash;
use agora_types::key::WalletKey;
use serde_json::{Value, json};

use crate::Failure;

const EACH: Duration = Duration::from_secs(2);

pub(crate) fn measure(folder: &Path) -> Result<Value, Failure> {
    let path = folder.join("append.bin");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = [0x5a; 4096];
    let appends = rate(|| {
        file.write_all(&block)?;
        Ok(file.sync_data()?)
    })?;
    drop(file);
    fs::remove_file(&path)?;
    let key = WalletKey::from_bytes(Hash::sha256("limits").as_bytes())?;
    let digest = Hash::sha256("digest");
    let (signature, address) = (key.sign(&digest), key.address());
    let verifications = rate(|| Ok(signature.verify(&digest, &address)?))?;
    let cores = std::thread::available_parallelism()?.get();
    Ok(json!({ "appends_per_s": appends, "verifications_per_s": verifications, "cores": cores }))
}

/// How often it can be done in a second.
fn rate(mut work: impl FnMut() -> Result<(), Failure>) -> Result<u128, Failure> {
    let begun = Instant::now();
    let mut count: u128 = 0;
    while begun.elapsed() < EACH {
        work()?;
        count += 1;
    }
    Ok(count * 1_000_000 / begun.elapsed().as_micros().max(1))
}
