//! The adapters of a base model: thousands known, those in memory that are used.
//!
//! A known adapter was read and checked once, and has its hash. It is resident (ready to compute) or cold: its files,
//! which the operating system keeps in memory as it sees fit. A row that wants a cold one waits while a thread loads it
//! again and checks that its files still have its hash. What makes room is the resident adapter that nobody needs now and
//! that was paid least for, with ageing (LFU-DA, Arlitt et al. 2000): a new one counts from the level of the last that
//! went, so that yesterday's favourite goes too.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agora_inference_api::{AdapterInfo, EngineError};
use agora_types::{Code, Hash};

use super::Adapter;
use crate::failure::bad_adapter;
use crate::model::Shape;

/// What loading is taken to cost until it was measured, in seconds a byte.
const PACE_AT_FIRST: f64 = 2e-9;
/// The share of a new measurement in a running mean.
const FRESH: f64 = 0.2;
/// How long a load that found no room waits before it looks again.
const PATIENCE: Duration = Duration::from_millis(20);

/// The adapters. Callable from many threads.
#[derive(Debug)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
    /// Something to load, or room.
    changed: Condvar,
    shape: Shape,
    size_max: usize,
    count_max: usize,
}

#[derive(Debug)]
struct Inner {
    known: BTreeMap<Hash, Known>,
    /// Bytes of the resident ones.
    size: usize,
    loads: VecDeque<Hash>,
    /// The worth of the last that went.
    level: u64,
    /// Seconds a byte.
    pace: f64,
    stopped: bool,
}

#[derive(Debug)]
struct Known {
    info: AdapterInfo,
    folder: PathBuf,
    resident: Option<Arc<Adapter>>,
    /// Rows that need it, waiting or running.
    pins: usize,
    /// It stands among the loads.
    wanted: bool,
    /// Why it could not be loaded again.
    failed: Option<EngineError>,
    /// Tokens since it came, and what that makes it worth.
    tokens: u64,
    worth: u64,
}

/// An adapter to load, whose bytes are taken already.
struct Load {
    hash: Hash,
    name: String,
    folder: PathBuf,
    size: usize,
}

/// A row's claim: while it lives, the adapter does not go.
#[derive(Debug)]
pub(crate) struct Ticket {
    registry: Arc<Registry>,
    hash: Hash,
}

/// Whether an adapter can compute now.
#[derive(Debug)]
pub(crate) enum Found {
    Ready(Arc<Adapter>),
    Loading,
    Failed(EngineError),
}

impl Registry {
    /// None known yet.
    pub(crate) fn new(shape: Shape, count_max: usize, size_max: usize) -> Self {
        let inner = Inner {
            known: BTreeMap::new(),
            size: 0,
            loads: VecDeque::new(),
            level: 0,
            pace: PACE_AT_FIRST,
            stopped: false,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), shape, size_max, count_max }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads an adapter from its folder, checks it, and knows it from now on; resident if that takes nobody's place.
    ///
    /// # Errors
    /// `engine.bad_adapter`; `engine.too_large` when it or their number is.
    pub(crate) fn add(&self, name: &str, folder: &Path) -> Result<AdapterInfo, EngineError> {
        let folder = std::path::absolute(folder).map_err(|error| bad_adapter(error.to_string()))?;
        let begun = Instant::now();
        let adapter = Adapter::read(&self.shape, name, &folder)?;
        let seconds = begun.elapsed().as_secs_f64();
        let size = adapter.size();
        if size > self.size_max {
            let what = format!("an adapter of {size} bytes; all that are resident have {}", self.size_max);
            return Err(EngineError::new(Code::EngineTooLarge, what));
        }
        let mut inner = self.inner();
        inner.measure(size, seconds);
        let info = adapter.info().clone();
        if let Some(known) = inner.known.get_mut(&info.hash) {
            (known.info.name, known.folder, known.failed) = (info.name, folder, None);
            return Ok(known.info.clone());
        }
        if inner.known.len() >= self.count_max {
            let what = format!("{} adapters are known; unload one", inner.known.len());
            return Err(EngineError::new(Code::EngineTooLarge, what));
        }
        let mut known = Known {
            info: info.clone(),
            folder,
            resident: None,
            pins: 0,
            wanted: false,
            failed: None,
            tokens: 0,
            worth: inner.level,
        };
        if inner.size + size <= self.size_max {
            inner.size += size;
            known.info.resident = true;
            known.resident = Some(Arc::new(adapter));
        }
        let info = known.info.clone();
        inner.known.insert(info.hash, known);
        Ok(info)
    }

    /// Forgets an adapter. Rows that compute with it go on.
    ///
    /// # Errors
    /// `engine.unknown_adapter`.
    pub(crate) fn remove(&self, hash: &Hash) -> Result<(), EngineError> {
        let mut inner = self.inner();
        let known = inner.known.remove(hash).ok_or_else(|| unknown(hash))?;
        if known.resident.is_some() {
            inner.size -= known.size();
        }
        inner.loads.retain(|load| load != hash);
        self.changed.notify_all();
        Ok(())
    }

    /// All, by hash.
    pub(crate) fn list(&self) -> Vec<AdapterInfo> {
        self.inner().known.values().map(|known| known.info.clone()).collect()
    }

    /// One.
    pub(crate) fn get(&self, hash: &Hash) -> Option<AdapterInfo> {
        self.inner().known.get(hash).map(|known| known.info.clone())
    }

    /// How long it takes to make it resident, in milliseconds; 0 if it is. `None` if it is not known.
    pub(crate) fn wait_ms(&self, hash: &Hash) -> Option<f64> {
        let inner = self.inner();
        let known = inner.known.get(hash)?;
        Some(if known.resident.is_some() { 0.0 } else { inner.pace * known.size() as f64 * 1e3 })
    }

    /// Asks for an adapter that may be needed soon: a guess, which displaces nothing that was paid for.
    pub(crate) fn prefetch(&self, hash: &Hash) {
        self.inner().want(hash);
        self.changed.notify_all();
    }

    /// A row's claim on an adapter, which is loaded if it is cold.
    ///
    /// # Errors
    /// `engine.unknown_adapter`.
    pub(crate) fn claim(self: &Arc<Self>, hash: &Hash) -> Result<Ticket, EngineError> {
        let mut inner = self.inner();
        let known = inner.known.get_mut(hash).ok_or_else(|| unknown(hash))?;
        known.pins += 1;
        known.failed = None;
        inner.want(hash);
        self.changed.notify_all();
        Ok(Ticket { registry: Arc::clone(self), hash: *hash })
    }

    /// Waits until an adapter is resident.
    ///
    /// # Errors
    /// `engine.unknown_adapter`, `engine.bad_adapter`.
    pub(crate) fn wait(&self, ticket: &Ticket) -> Result<Arc<Adapter>, EngineError> {
        let mut inner = self.inner();
        loop {
            match inner.found(&ticket.hash) {
                Found::Ready(adapter) => return Ok(adapter),
                Found::Failed(error) => return Err(error),
                Found::Loading if inner.stopped => {
                    return Err(EngineError::new(Code::EngineStopped, "no thread loads adapters"));
                }
                Found::Loading => inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Loads what is asked for until [`Registry::stop`]; `loaded` is called after each.
    pub(crate) fn load(&self, loaded: impl Fn()) {
        let mut inner = self.inner();
        loop {
            if inner.stopped {
                return;
            }
            let Some(Load { hash, name, folder, size }) = inner.next(self.size_max) else {
                // Room comes without a call when a row ends elsewhere: look again now and then.
                inner = if inner.loads.is_empty() {
                    self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner)
                } else {
                    self.changed.wait_timeout(inner, PATIENCE).unwrap_or_else(PoisonError::into_inner).0
                };
                continue;
            };
            drop(inner);
            let begun = Instant::now();
            let read = Adapter::read(&self.shape, &name, &folder);
            let seconds = begun.elapsed().as_secs_f64();
            inner = self.inner();
            inner.loaded(&hash, read, size, seconds);
            self.changed.notify_all();
            drop(inner);
            loaded();
            inner = self.inner();
        }
    }

    /// Ends [`Registry::load`].
    pub(crate) fn stop(&self) {
        self.inner().stopped = true;
        self.changed.notify_all();
    }
}

impl Known {
    fn size(&self) -> usize {
        usize::try_from(self.info.size).unwrap_or(usize::MAX)
    }
}

impl Inner {
    fn measure(&mut self, size: usize, seconds: f64) {
        self.pace += FRESH * (seconds / size.max(1) as f64 - self.pace);
    }

    fn want(&mut self, hash: &Hash) {
        if let Some(known) = self.known.get_mut(hash)
            && known.resident.is_none()
            && !known.wanted
        {
            known.wanted = true;
            self.loads.push_back(*hash);
        }
    }

    fn found(&self, hash: &Hash) -> Found {
        let Some(known) = self.known.get(hash) else { return Found::Failed(unknown(hash)) };
        match (&known.resident, &known.failed) {
            (Some(adapter), _) => Found::Ready(Arc::clone(adapter)),
            (None, Some(error)) => Found::Failed(error.clone()),
            (None, None) => Found::Loading,
        }
    }

    /// The first load for which there is or can be made room: its bytes are taken already.
    fn next(&mut self, size_max: usize) -> Option<Load> {
        let mut at = 0;
        while let Some(hash) = self.loads.get(at).copied() {
            let Some(known) = self.known.get(&hash) else {
                self.loads.remove(at);
                continue;
            };
            // Nobody waits for a guess: it takes free room, or that of what is worth no more than a newcomer.
            let (size, pinned) = (known.size(), known.pins > 0);
            let worth_max = if pinned { u64::MAX } else { self.level };
            let has_room = self.make_room(size, size_max, worth_max);
            if !has_room && pinned {
                at += 1;
                continue;
            }
            self.loads.remove(at);
            let known = self.known.get_mut(&hash)?;
            if has_room {
                self.size += size;
                return Some(Load { hash, name: known.info.name.clone(), folder: known.folder.clone(), size });
            }
            known.wanted = false;
        }
        None
    }

    /// Lets the least worth of those go that nobody needs and that are worth at most `worth_max`, until `size` bytes fit.
    fn make_room(&mut self, size: usize, size_max: usize, worth_max: u64) -> bool {
        let mut idle: Vec<(u64, Hash)> = self
            .known
            .iter()
            .filter(|(_, known)| {
                known.pins == 0
                    && known.worth <= worth_max
                    && known.resident.as_ref().is_some_and(|it| Arc::strong_count(it) == 1)
            })
            .map(|(hash, known)| (known.worth, *hash))
            .collect();
        let most = idle.iter().filter_map(|(_, hash)| self.known.get(hash)).map(Known::size).sum::<usize>();
        if self.size - most + size > size_max {
            return false;
        }
        idle.sort_unstable();
        for (worth, hash) in idle {
            if self.size + size <= size_max {
                break;
            }
            if let Some(known) = self.known.get_mut(&hash) {
                (known.resident, known.info.resident, known.tokens) = (None, false, 0);
                self.size -= known.size();
                self.level = self.level.max(worth);
            }
        }
        true
    }

    fn loaded(&mut self, hash: &Hash, read: Result<Adapter, EngineError>, size: usize, seconds: f64) {
        let level = self.level;
        let known = self.known.get_mut(hash).filter(|known| known.resident.is_none());
        let Some(known) = known else {
            // It was forgotten meanwhile, or came again by itself.
            self.size -= size;
            return;
        };
        known.wanted = false;
        match read {
            Ok(adapter) if adapter.info().hash == *hash => {
                known.resident = Some(Arc::new(adapter));
                known.info.resident = true;
                known.worth = level.saturating_add(known.tokens);
                self.measure(size, seconds);
            }
            read => {
                let changed = || bad_adapter(format!("the files of {} have changed", known.info.name));
                known.failed = Some(read.err().unwrap_or_else(changed));
                self.size -= size;
            }
        }
    }
}

impl Ticket {
    /// Its adapter.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether the adapter can compute now.
    pub(crate) fn find(&self) -> Found {
        self.registry.inner().found(&self.hash)
    }

    /// The row was served tokens.
    pub(crate) fn served(&self, tokens: u64) {
        let mut inner = self.registry.inner();
        let level = inner.level;
        if let Some(known) = inner.known.get_mut(&self.hash) {
            known.tokens = known.tokens.saturating_add(tokens);
            known.worth = level.saturating_add(known.tokens);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        if let Some(known) = inner.known.get_mut(&self.hash) {
            known.pins = known.pins.saturating_sub(1);
        }
        if !inner.loads.is_empty() {
            self.registry.changed.notify_all();
        }
    }
}

fn unknown(hash: &Hash) -> EngineError {
    EngineError::new(Code::EngineUnknownAdapter, hash.to_string())
}
