//! What this process uses, as the kernel counts it.

use anyhow::{Context, Result};
use std::fs;

/// Resident bytes, now and at most so far.
pub struct Memory {
    pub rss: u64,
    pub peak: u64,
}

/// Reads /proc/self/status, so it works on Linux only.
pub fn memory() -> Result<Memory> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    Ok(Memory { rss: field(&status, "VmRSS:")?, peak: field(&status, "VmHWM:")? })
}

fn field(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in status"))?;
    let kib = line.split_whitespace().nth(1).with_context(|| format!("no number after {name}"))?;
    Ok(kib.parse::<u64>().with_context(|| format!("{name} {kib}"))? * 1024)
}
