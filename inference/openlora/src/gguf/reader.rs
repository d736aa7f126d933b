//! Reads a file once, front to back, and hashes each byte on its way.
//!
//! One pass means that what was hashed is what was loaded, even if the file changes meanwhile; and that no file is ever
//! held whole.

use std::fs::File;
use std::io::{BufReader, Read};

use agora_inference_api::EngineError;
use agora_types::{Hash, HashStream};

use crate::Loading;
use crate::failure::bad_model;

/// Progress is told at most once per this many bytes.
const TELL_EVERY: u64 = 4 << 20;

/// Bytes that a file is asked for at once.
const BUFFER_SIZE: usize = 1 << 20;

/// A file for a [`Reader`]: a row is often short.
pub(crate) fn buffered(file: File) -> BufReader<File> {
    BufReader::with_capacity(BUFFER_SIZE, file)
}

/// A hashing, counting reader of a file of known size.
pub(crate) struct Reader<'a> {
    inner: &'a mut dyn Read,
    hash: HashStream,
    position: u64,
    size: u64,
    told: u64,
    progress: &'a mut dyn FnMut(Loading),
}

impl<'a> Reader<'a> {
    /// Reads `size` bytes of `inner`.
    pub(crate) fn new(inner: &'a mut dyn Read, size: u64, progress: &'a mut dyn FnMut(Loading)) -> Self {
        Self { inner, hash: Hash::stream(), position: 0, size, told: 0, progress }
    }

    /// Bytes read so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the file.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Fills `buffer`.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), EngineError> {
        let wanted = buffer.len() as u64;
        if wanted > self.left() {
            return Err(bad_model(format!("the file ends at byte {}", self.size)));
        }
        self.inner.read_exact(buffer).map_err(|error| bad_model(format!("at byte {}: {error}", self.position)))?;
        self.hash.update(&*buffer);
        self.position = self.position.saturating_add(wanted);
        if self.position.saturating_sub(self.told) >= TELL_EVERY {
            self.told = self.position;
            (self.progress)(Loading { done_bytes: self.position, total_bytes: self.size });
        }
        Ok(())
    }

    /// The next `size` bytes. The caller has bounded `size`.
    pub(crate) fn bytes(&mut self, size: usize) -> Result<Vec<u8>, EngineError> {
        if size as u64 > self.left() {
            return Err(bad_model(format!("the file ends at byte {}", self.size)));
        }
        let mut bytes = vec![0; size];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A little-endian u32.
    pub(crate) fn u32(&mut self) -> Result<u32, EngineError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A little-endian u64.
    pub(crate) fn u64(&mut self) -> Result<u64, EngineError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads on to `position`.
    pub(crate) fn skip_to(&mut self, position: u64) -> Result<(), EngineError> {
        let mut buffer = [0; 1 << 14];
        let mut left = position.checked_sub(self.position).ok_or_else(|| bad_model("tensors overlap"))?;
        while left > 0 {
            let step = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..step])?;
            left = left.saturating_sub(step as u64);
        }
        Ok(())
    }

    /// Reads what is left; the hash of the whole file.
    pub(crate) fn finish(mut self) -> Result<Hash, EngineError> {
        self.skip_to(self.size)?;
        (self.progress)(Loading { done_bytes: self.size, total_bytes: self.size });
        Ok(self.hash.finish())
    }
}
