//! Agents as WebAssembly components on wasmtime: deny by default, a limit on everything.
//!
//! [`WasmSandbox`] loads a component against its manifest: what it imports without a grant is refused before anything is
//! compiled. Every event gets a fresh store and instance, which are thrown away; what a guest keeps it keeps through the
//! [`AgentHost`](agora_sandbox_api::AgentHost). The guest is hostile: see `src/limits.rs` for every bound.
//!
//! `bindgen!`'s types stay inside this crate; the port speaks ours.

mod bindings;
mod cache;
mod engine;
mod failure;
mod guest;
mod imports;
mod limits;
mod program;
mod screen;

use std::path::PathBuf;
use std::sync::Arc;

use agora_sandbox_api::{AgentError, Manifest, Program, Sandbox};
use agora_types::{Code, Hash};
use wasmtime::component::Component;

use crate::cache::Cache;
use crate::engine::Engine;
use crate::program::WasmProgram;

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where compiled components are kept, for a fast next start. It is made private (mode 0700); nothing else may write
    /// there, since what it holds is run as machine code. `None`: every load compiles.
    pub cache_folder: Option<PathBuf>,
    /// Largest component, bytes.
    pub component_size_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { cache_folder: None, component_size_max: limits::COMPONENT_SIZE_MAX }
    }
}

/// Where a loaded component's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled now.
    Compiled,
    /// It was in the cache.
    Cached,
}

/// The sandbox. One per process is enough: it holds the compiler's settings and one thread that ticks while guests run.
pub struct WasmSandbox {
    engine: Engine,
    cache: Option<Cache>,
    component_size_max: usize,
}

impl WasmSandbox {
    /// Sets the engine up and makes the cache folder.
    ///
    /// # Errors
    /// `node.io` when the cache folder cannot be made private or the engine refuses this machine.
    pub fn new(settings: Settings) -> Result<Self, AgentError> {
        let engine = Engine::new()?;
        let cache = settings.cache_folder.map(|folder| Cache::open(folder, &engine.wasmtime)).transpose()?;
        Ok(Self { engine, cache, component_size_max: settings.component_size_max })
    }

    /// As [`Sandbox::load`], and says whether the compiler had to run.
    ///
    /// # Errors
    /// As [`Sandbox::load`].
    pub fn load_traced(&self, component: &[u8], manifest: &Manifest) -> Result<(Arc<dyn Program>, Origin), AgentError> {
        manifest.check()?;
        if component.len() > self.component_size_max {
            let what = format!("a component of {} bytes; at most {}", component.len(), self.component_size_max);
            return Err(AgentError::new(Code::AgentTooLarge, what));
        }
        let screened = screen::screen(component, &manifest.grants)?;
        if manifest.serve.is_some() && !screened.serves {
            return Err(failure::bad_component(
                "agent.toml has [serve], and the component exports no `serve`; export it (world `seller` of \
                 wit/agent.wit), or take the table out",
            ));
        }
        let hash = Hash::sha256(component);
        let (code, origin) = self.code(component, &hash)?;
        let program = WasmProgram::link(&self.engine, &code, hash, screened.serves, manifest)?;
        Ok((Arc::new(program), origin))
    }

    fn code(&self, component: &[u8], hash: &Hash) -> Result<(Component, Origin), AgentError> {
        let cached = self.cache.as_ref().and_then(|cache| cache.read(&self.engine.wasmtime, hash));
        if let Some(code) = cached {
            return Ok((code, Origin::Cached));
        }
        let code = Component::from_binary(&self.engine.wasmtime, component)
            .map_err(|error| failure::bad_component(&format!("{error:#}")))?;
        if let Some(cache) = &self.cache {
            cache.write(&code, hash);
        }
        Ok((code, Origin::Compiled))
    }
}

impl Sandbox for WasmSandbox {
    fn load(&self, component: &[u8], manifest: &Manifest) -> Result<Arc<dyn Program>, AgentError> {
        self.load_traced(component, manifest).map(|(program, _)| program)
    }
}
