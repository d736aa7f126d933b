//! The engine's settings, and the clock that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Thread};

use agora_sandbox_api::AgentError;
use agora_types::Code;
use wasmtime::{Config, EngineWeak};

use crate::limits;

/// wasmtime's engine with its clock.
pub(crate) struct Engine {
    /// The compiler, its settings and its code.
    pub(crate) wasmtime: wasmtime::Engine,
    /// Runs while guests do.
    pub(crate) clock: Clock,
}

impl Engine {
    pub(crate) fn new() -> Result<Self, AgentError> {
        let failed = |what: String| AgentError::new(Code::NodeIo, what);
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(limits::STACK_MAX)
            .async_stack_size(limits::STACK_WITH_HOST)
            // What guests need not have: every proposal is a surface.
            .wasm_memory64(false)
            .wasm_relaxed_simd(false);
        let wasmtime =
            wasmtime::Engine::new(&config).map_err(|error| failed(format!("the WebAssembly engine: {error:#}")))?;
        let clock = Clock::start(wasmtime.weak()).map_err(|error| failed(format!("a thread: {error}")))?;
        Ok(Self { wasmtime, clock })
    }
}

/// One thread that raises the engine's epoch every [`limits::TICK`] while guests run, and sleeps otherwise.
pub(crate) struct Clock {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

impl Clock {
    fn start(engine: EngineWeak) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&running);
        let thread = thread::Builder::new().name("agora-guest-clock".to_owned()).spawn(move || {
            // It ends with the engine.
            while let Some(engine) = engine.upgrade() {
                if seen.load(Ordering::Acquire) == 0 {
                    drop(engine);
                    thread::park();
                } else {
                    engine.increment_epoch();
                    drop(engine);
                    thread::sleep(limits::TICK);
                }
            }
        })?;
        Ok(Self { running, thread: thread.thread().clone() })
    }

    /// The clock runs as long as the answer lives.
    pub(crate) fn run(&self) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        self.thread.unpark();
        Running { running: Arc::clone(&self.running) }
    }
}

impl Clone for Clock {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running), thread: self.thread.clone() }
    }
}

/// A guest that runs.
pub(crate) struct Running {
    running: Arc<AtomicUsize>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }
}
