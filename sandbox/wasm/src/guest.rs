//! What the host keeps of one event: counts, limits and the handles that the guest holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use agora_sandbox_api::{AgentError, AgentHost, HttpGrant, Manifest, QuoteTerms, StreamHandle};
use agora_types::Code;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::failure::{self, Refusal};
use crate::limits;

/// A quote that the guest holds. Public, since `bindgen!` names it in what it makes; this module is not.
#[allow(unreachable_pub)]
pub struct HeldQuote {
    pub(crate) terms: QuoteTerms,
}

/// A stream that the guest reads. Public as [`HeldQuote`] is.
#[allow(unreachable_pub)]
pub struct HeldStream {
    pub(crate) handle: StreamHandle,
}

/// The data of a store: one event of one guest.
pub(crate) struct Guest {
    pub(crate) host: Arc<dyn AgentHost>,
    pub(crate) table: ResourceTable,
    pub(crate) memory: MemoryLimits,
    /// Whom it may ask over HTTP.
    pub(crate) http: Option<HttpGrant>,
    pub(crate) quotes: usize,
    /// Opened, and neither ended nor closed.
    pub(crate) open: BTreeSet<StreamHandle>,
    calls_left: u32,
    log_left: usize,
    /// Ticks of the clock that the guest has computed since its last host call.
    ticks: u32,
    ticks_max: u32,
    compute_ms: u32,
    calls_max: u32,
}

impl Guest {
    pub(crate) fn new(host: Arc<dyn AgentHost>, manifest: &Manifest) -> Self {
        let limits = &manifest.limits;
        let tick_ms = u32::try_from(limits::TICK.as_millis()).unwrap_or(u32::MAX);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::QUOTES_MAX + limits::STREAMS_MAX);
        Self {
            host,
            table,
            memory: MemoryLimits::new(limits.memory_mib),
            http: manifest.grants.http.clone(),
            quotes: 0,
            open: BTreeSet::new(),
            calls_left: limits.host_calls,
            log_left: limits.log_kib as usize * 1_024,
            ticks: 0,
            // One more: a tick may fall right after a call.
            ticks_max: limits.compute_ms.div_ceil(tick_ms).saturating_add(1),
            compute_ms: limits.compute_ms,
            calls_max: limits.host_calls,
        }
    }

    /// The first line of every host call. The host's own time is not the guest's, so its clock starts anew.
    pub(crate) fn begin_call(&mut self) -> Result<(), wasmtime::Error> {
        self.ticks = 0;
        self.calls_left = self.calls_left.checked_sub(1).ok_or_else(|| {
            failure::ending(Code::AgentTooManyCalls, format!("limits.host_calls is {}", self.calls_max))
        })?;
        Ok(())
    }

    /// Takes a line from the event's log. A guest that is refused may go on without.
    pub(crate) fn take_log(&mut self, size: usize) -> Result<(), Refusal> {
        // An empty line takes space too.
        self.log_left = self
            .log_left
            .checked_sub(size + 1)
            .ok_or_else(|| AgentError::new(Code::AgentTooLarge, "the log of this event is full; see limits.log_kib"))?;
        Ok(())
    }

    /// Streams that the guest left open.
    pub(crate) fn take_open(&mut self) -> BTreeSet<StreamHandle> {
        std::mem::take(&mut self.open)
    }
}

/// Called at every tick while the guest computes. It yields, so that others run and the event's own time is watched.
pub(crate) fn tick(mut store: StoreContextMut<'_, Guest>) -> Result<UpdateDeadline, wasmtime::Error> {
    let guest = store.data_mut();
    guest.ticks += 1;
    if guest.ticks > guest.ticks_max {
        let what = format!("it computed for limits.compute_ms, {} ms, without a host call", guest.compute_ms);
        return Err(failure::ending(Code::AgentOutOfTime, what));
    }
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

/// Bounds memories and tables. It ends the event rather than let an allocation fail: the guest would only abort, and
/// nobody would know why.
pub(crate) struct MemoryLimits {
    memory_max: usize,
    memory: usize,
    elements: usize,
}

impl MemoryLimits {
    fn new(memory_mib: u32) -> Self {
        Self { memory_max: memory_mib as usize * (1 << 20), memory: 0, elements: 0 }
    }
}

impl ResourceLimiter for MemoryLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool, wasmtime::Error> {
        let all = self.memory.saturating_add(desired.saturating_sub(current));
        if all > self.memory_max {
            let what = format!("it asked for {all} bytes; limits.memory_mib is {}", self.memory_max >> 20);
            return Err(failure::ending(Code::AgentOutOfMemory, what));
        }
        self.memory = all;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool, wasmtime::Error> {
        let all = self.elements.saturating_add(desired.saturating_sub(current));
        if all > limits::TABLE_ELEMENTS_MAX {
            let what = format!("it asked for {all} table elements; at most {}", limits::TABLE_ELEMENTS_MAX);
            return Err(failure::ending(Code::AgentOutOfMemory, what));
        }
        self.elements = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        limits::INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        limits::TABLES_MAX
    }

    fn memories(&self) -> usize {
        limits::MEMORIES_MAX
    }
}
