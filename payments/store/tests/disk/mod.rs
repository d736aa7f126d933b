//! A disk that forgets: between two syncs, each 512-byte sector is lost, kept or torn by a seed when the power fails.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

/// A small deterministic generator (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

#[derive(Debug, Default)]
struct Content {
    /// What is safe.
    synced: Vec<u8>,
    /// What the running system sees.
    seen: Vec<u8>,
    dirty: BTreeSet<usize>,
    operations: u64,
    crash_at: Option<u64>,
    dead: bool,
}

/// A handle on the disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Content>>);

impl Disk {
    /// A disk with this content, whose power fails at the given write or sync (counted from 1).
    pub fn new(content: Vec<u8>, crash_at: Option<u64>) -> Self {
        let content = Content { synced: content.clone(), seen: content, crash_at, ..Content::default() };
        Self(Arc::new(Mutex::new(content)))
    }

    /// Writes, syncs and length changes so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// What the next start finds: synced sectors, and of the others what chance kept.
    pub fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let content = self.0.lock().unwrap();
        let length = if random.below(2) == 0 { content.synced.len() } else { content.seen.len() };
        let mut image = content.synced.clone();
        image.resize(length.max(image.len()), 0);
        for sector in &content.dirty {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(content.seen.len()).min(image.len()));
            if from >= to {
                continue;
            }
            let kept = match random.below(4) {
                0 | 1 => 0,
                2 => to - from,
                _ => random.below(to - from),
            };
            image[from..from + kept].copy_from_slice(&content.seen[from..from + kept]);
        }
        image.truncate(length);
        image
    }

    /// What a clean stop leaves.
    pub fn content(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    fn step(&self, change: impl FnOnce(&mut Content)) -> io::Result<()> {
        let mut content = self.0.lock().unwrap();
        if content.dead {
            return Err(io::Error::other("the power is off"));
        }
        content.operations += 1;
        content.dead = content.crash_at == Some(content.operations);
        if content.dead {
            // The write that was under way may be there in part; a sync under way has not happened.
            change(&mut content);
            return Err(io::Error::other("the power failed"));
        }
        change(&mut content);
        Ok(())
    }
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = content.seen.get(from..from + out.len()).ok_or_else(|| io::Error::other("beyond the end"))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.step(|content| content.seen.resize(usize::try_from(length).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|content| {
            if !content.dead {
                content.synced = content.seen.clone();
                content.dirty.clear();
            }
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.step(|content| {
            let from = usize::try_from(offset).unwrap();
            content.seen[from..from + data.len()].copy_from_slice(data);
            content.dirty.extend(from / SECTOR..(from + data.len()).div_ceil(SECTOR));
        })
    }
}
