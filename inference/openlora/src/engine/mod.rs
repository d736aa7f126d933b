//! The engine: many callers, one thread that computes.

mod batch;
mod desk;
mod fair;
pub(crate) mod load;
mod pace;
mod prefixes;
mod stream;
mod thoughts;

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use agora_inference_api::{AdapterInfo, BaseInfo, Engine, EngineError, Job, Readiness, Request, TokenStream};
use agora_kernels::Pool;
use agora_kernels::cuda::{self, Cuda, DeviceError};
use agora_types::{Code, Hash};

use crate::adapter::{Adapter, Registry};
use crate::constrain::{Constrainer, Constraint};
use crate::folder::{self, Folder};
use crate::model::{Cache, Model, Part, Stage, failed};
use crate::text::Text;
use crate::{Device, Loading, Settings};
use batch::{Batch, Row};
use desk::Doorbell;
use thoughts::Thoughts;

/// Most tokens whose logits are kept at once.
const LOGITS_TOKENS_MAX: usize = 512;

/// A base model with its adapters, served by one thread that batches whatever rows there are.
///
/// Dropping it ends every answer with `engine.stopped` and waits for the thread.
#[derive(Debug)]
pub struct OpenLora {
    model: Arc<Model>,
    text: Arc<Text>,
    base: BaseInfo,
    settings: Settings,
    adapters: Arc<Registry>,
    /// Made for the first schema: it costs time and memory that many models never need.
    constrainer: OnceLock<Result<Constrainer, EngineError>>,
    doorbell: Arc<Doorbell>,
    /// One computes, one loads adapters.
    threads: Vec<JoinHandle<()>>,
}

impl OpenLora {
    /// Loads a model, read once and hashed on the way: a GGUF's file, or a Hugging Face folder with `config.json`,
    /// `tokenizer.json` and safetensors, named by its own path or that of its `config.json`. A folder's hash is over all the
    /// files that are read of it: `agora/folder/v1`, then each name and SHA-256.
    ///
    /// # Errors
    /// `engine.file_not_found`, `engine.wrong_hash`, `engine.bad_model`, `engine.unsupported`, `engine.too_large`;
    /// `engine.unsupported` too where there is no such device, `engine.stopped` where it fails.
    pub fn load(
        path: &Path,
        expected: Option<Hash>,
        settings: Settings,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Self, EngineError> {
        let device = open(settings.device)?;
        Self::load_on(path, expected, settings, device, progress)
    }

    /// As [`OpenLora::load`], on a device that is open already or, for `None`, the processor, whatever the settings say.
    ///
    /// # Errors
    /// As [`OpenLora::load`].
    pub fn load_on(
        path: &Path,
        expected: Option<Hash>,
        settings: Settings,
        device: Option<Arc<dyn cuda::Device>>,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Self, EngineError> {
        let base = match folder::of(path) {
            Some(folder) => load::folder(&folder, expected, &settings, progress)?,
            None => {
                let (mut file, size) = load::open(path)?;
                load::file(&mut file, size, expected, &settings, progress)?
            }
        };
        Self::serve(base, settings, device)
    }

    /// Loads a GGUF from `size` bytes of any reader; otherwise as [`OpenLora::load`].
    ///
    /// # Errors
    /// As [`OpenLora::load`].
    pub fn load_from(
        source: &mut dyn Read,
        size: u64,
        expected: Option<Hash>,
        settings: Settings,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Self, EngineError> {
        let device = open(settings.device)?;
        Self::serve(load::file(source, size, expected, &settings, progress)?, settings, device)
    }

    /// Bytes that [`OpenLora::load`] reads.
    ///
    /// # Errors
    /// `engine.file_not_found`, `engine.bad_model` or `engine.too_large` for a folder's index.
    pub fn size(path: &Path) -> Result<u64, EngineError> {
        match folder::of(path) {
            Some(folder) => Folder::size(&folder),
            None => load::open(path).map(|(_, size)| size),
        }
    }

    fn serve(base: load::Base, settings: Settings, device: Option<Arc<dyn cuda::Device>>) -> Result<Self, EngineError> {
        let load::Base { name, mut model, text, hash } = base;
        if let Some(device) = &device {
            model.move_to(device)?;
        }
        let base = BaseInfo { name, hash, tokenizer_hash: text.hash(), context_max: model.shape.context as u64 };
        let (model, text) = (Arc::new(model), Arc::new(text));
        let doorbell = Arc::new(Doorbell::new(settings.rows_max));
        let failed = |error: std::io::Error| EngineError::new(Code::EngineStopped, format!("no thread: {error}"));
        let pool = Pool::new(settings.threads.clamp(1, 64)).map_err(failed)?;
        let batch = Batch::new(Arc::clone(&model), Arc::clone(&text), pool, &settings, Arc::clone(&doorbell));
        let adapters = Registry::new(model.shape.clone(), settings.adapters_max, settings.adapters_size_max);
        let adapters = Arc::new(adapters);
        let spawn =
            |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let (registry, bell) = (Arc::clone(&adapters), Arc::clone(&doorbell));
        let computing = spawn("openlora", Box::new(move || batch.run())).map_err(failed)?;
        let loading = spawn("openlora-load", Box::new(move || registry.load(|| bell.ring()))).map_err(failed)?;
        let (constrainer, threads) = (OnceLock::new(), vec![computing, loading]);
        Ok(Self { model, text, base, settings, adapters, constrainer, doorbell, threads })
    }

    /// Reads an adapter in PEFT's form from its folder and knows it from now on. The folder must stay as it is: an adapter
    /// that made room for others is read from there again, and its hash checked. Loading the same one again changes its
    /// name and folder only.
    ///
    /// # Errors
    /// `engine.bad_adapter`, `engine.too_large`.
    pub fn load_adapter(&self, name: &str, folder: &Path) -> Result<AdapterInfo, EngineError> {
        self.adapters.add(name, folder)
    }

    /// Forgets an adapter; rows that compute with it finish with it.
    ///
    /// # Errors
    /// `engine.unknown_adapter`.
    pub fn unload_adapter(&self, hash: &Hash) -> Result<(), EngineError> {
        self.adapters.remove(hash)
    }

    /// Writes an adapter in PEFT's form into a folder, which is made. What is written computes the same bits.
    ///
    /// # Errors
    /// `engine.unknown_adapter`; `engine.bad_adapter` when it cannot be read again or written.
    pub fn export_adapter(&self, hash: &Hash, folder: &Path) -> Result<(), EngineError> {
        Self::adapter(self, hash)?.write(&self.model.shape, &self.base.name, folder)
    }

    /// The vector instructions that it computes with, for people.
    pub fn simd(&self) -> &'static str {
        self.model.simd.name()
    }

    /// The name of the device that it computes on, for people; `None`: the processor.
    pub fn device(&self) -> Option<&str> {
        self.model.vectors.as_ref().map(|vectors| vectors.device().name())
    }

    /// Bytes of the base model's weights in memory, here or on its device.
    pub fn weights_size(&self) -> usize {
        self.model.size()
    }

    /// Tokens of plain text, in which nothing is special.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.text.encode(text)
    }

    /// Tokens of a request as the model's template renders it.
    ///
    /// # Errors
    /// As [`Engine::count`].
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        request.check()?;
        let tokens = self.text.prompt(request)?;
        let context = self.model.shape.context;
        if tokens.len() >= context {
            let what = format!("a prompt of {} tokens in a context of {context}", tokens.len());
            return Err(EngineError::new(Code::EngineContext, what));
        }
        Ok(tokens)
    }

    /// What the model expects after each of `tokens`: a row of logits per token. For measuring a model or an adapter;
    /// computed on the caller's thread.
    ///
    /// # Errors
    /// `engine.bad_request` for no tokens, more than 512, or unknown ones; `engine.unknown_adapter`;
    /// `engine.not_finite`; `engine.busy` or `engine.stopped` as the device says.
    pub fn logits(&self, tokens: &[u32], adapter: Option<&Hash>) -> Result<Vec<Vec<f32>>, EngineError> {
        let shape = &self.model.shape;
        let known = tokens.iter().all(|token| (*token as usize) < shape.vocabulary);
        let most = LOGITS_TOKENS_MAX.min(shape.context);
        if tokens.is_empty() || tokens.len() > most || !known {
            return Err(EngineError::new(Code::EngineBadRequest, format!("1 to {most} tokens of the vocabulary")));
        }
        let adapter = adapter.map(|hash| OpenLora::adapter(self, hash)).transpose()?;
        let mut cache = Cache::default();
        cache.reserve(&self.model, tokens.len())?;
        let mut pool = Pool::new(1).map_err(|error| EngineError::new(Code::EngineStopped, error.to_string()))?;
        let part = Part { tokens, cache: &mut cache, adapter: adapter.as_ref(), wanted: tokens.len() };
        let mut stage = Stage::default();
        let logits = stage.run(&self.model, &mut pool, &mut [part])?;
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(EngineError::new(Code::EngineNotFinite, "a logit"));
        }
        Ok(logits.chunks(shape.vocabulary).map(<[f32]>::to_vec).collect())
    }

    /// What [`OpenLora::weights`] is made of.
    pub(crate) fn shared(&self) -> (Arc<Model>, Arc<Text>, BaseInfo) {
        (Arc::clone(&self.model), Arc::clone(&self.text), self.base.clone())
    }

    /// The beginning of an answer by the request's schema, if it has one.
    fn constraint(&self, request: &Request) -> Result<Option<Constraint>, EngineError> {
        let Some(schema) = &request.schema else { return Ok(None) };
        let make = || Constrainer::new(self.text.vocabulary(), |token| self.text.bytes(token), self.text.ends());
        let constrainer = self.constrainer.get_or_init(make).as_ref().map_err(EngineError::clone)?;
        constrainer.constraint(schema).map(Some)
    }

    /// An adapter, loaded if it is cold.
    fn adapter(&self, hash: &Hash) -> Result<Arc<Adapter>, EngineError> {
        self.adapters.wait(&self.adapters.claim(hash)?)
    }
}

/// The device that the settings name.
fn open(device: Device) -> Result<Option<Arc<dyn cuda::Device>>, EngineError> {
    let Device::Cuda(number) = device else { return Ok(None) };
    let refused = |error: DeviceError| match error {
        DeviceError::Absent(_) => EngineError::new(Code::EngineNoDevice, error.to_string()),
        DeviceError::Memory(_) | DeviceError::Failed { .. } => failed(error),
    };
    Ok(Some(Arc::new(Cuda::open(number).map_err(refused)?)))
}

impl Engine for OpenLora {
    fn base(&self) -> &BaseInfo {
        &self.base
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.adapters.list()
    }

    fn adapter(&self, hash: &Hash) -> Option<AdapterInfo> {
        self.adapters.get(hash)
    }

    fn prepare(&self, adapter: Option<&Hash>) -> Readiness {
        let load_ms = adapter.and_then(|hash| {
            let wait_ms = self.adapters.wait_ms(hash);
            self.adapters.prefetch(hash);
            wait_ms
        });
        let load_ms = load_ms.unwrap_or_default();
        let hot_ms = self.doorbell.desk().wait_s() * 1e3;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; `as` saturates")]
        Readiness { hot: load_ms <= 0.0, hot_ms: hot_ms.ceil() as u64, cold_ms: (hot_ms + load_ms).ceil() as u64 }
    }

    fn count(&self, request: &Request) -> Result<u64, EngineError> {
        let tokens = self.prompt(request)?;
        self.constraint(request)?;
        Ok(tokens.len() as u64)
    }

    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError> {
        let tokens = self.prompt(&job.request)?;
        let adapter = job.adapter.map(|hash| self.adapters.claim(&hash)).transpose()?;
        let constraint = self.constraint(&job.request)?;
        let (writer, reader) = stream::pair(job.ahead_max, &self.doorbell);
        let (what, whose) = ((adapter, constraint), (job.payer, job.request.wait_max_ms.map(Duration::from_millis)));
        let thoughts = Thoughts::new(&self.text, &job.request, &tokens, self.model.shape.context);
        let row = Row::new(tokens, job.request, what, whose, (writer, thoughts), self.model.shape.context);
        let mut desk = self.doorbell.desk();
        if desk.stopped {
            return Err(EngineError::new(Code::EngineStopped, "no thread computes"));
        }
        desk.push(row, self.settings.queue_max, self.settings.wait_max)?;
        desk.rings = true;
        drop(desk);
        self.doorbell.rung.notify_one();
        Ok(Box::new(reader))
    }
}

impl Drop for OpenLora {
    fn drop(&mut self) {
        self.doorbell.desk().stopped = true;
        self.doorbell.rung.notify_one();
        self.adapters.stop();
        for thread in self.threads.drain(..) {
            // Its panic was a bug that the rows' readers have met as `engine.stopped`.
            let _ = thread.join();
        }
    }
}
