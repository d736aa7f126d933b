//! A thin safe wrapper over llama.cpp, as far as the benchmark needs it.
//!
//! Not the llama-cpp-2 crate: it can neither attach a thread pool to a context (without one, llama.cpp starts its threads
//! anew for every step) nor free an adapter. Not for threads: everything here stays on the thread that made it.

use anyhow::{Context as _, Result, ensure};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::rc::Rc;

/// Prompts are computed in pieces of at most this many tokens; llama.cpp's own default.
pub const UBATCH: u32 = 512;

/// Starts llama.cpp's globals and silences its log. Call once, before anything else.
pub fn start() {
    unsafe extern "C" fn silent(_: sys::ggml_log_level, _: *const c_char, _: *mut c_void) {}
    // SAFETY: the callback is a plain function that touches nothing.
    unsafe {
        sys::llama_log_set(Some(silent), ptr::null_mut());
        sys::llama_backend_init();
    }
}

/// The version of the llama.cpp sources.
pub fn version() -> String {
    // SAFETY: returns a string that is never freed.
    unsafe { CStr::from_ptr(sys::llama_version()) }.to_string_lossy().into_owned()
}

/// The features that the binary was compiled with, as llama.cpp prints them; without those that are off.
pub fn system_info() -> String {
    // SAFETY: returns a string that stays until the next call, and is copied here.
    let text = unsafe { CStr::from_ptr(sys::llama_print_system_info()) }.to_string_lossy().into_owned();
    let on = text.split(['|', ':']).map(str::trim).filter_map(|item| item.strip_suffix(" = 1"));
    on.collect::<Vec<_>>().join(" ")
}

/// Threads that outlive a step, shared by every context.
pub struct Pool {
    pool: NonNull<sys::ggml_threadpool>,
    threads: i32,
}

impl Pool {
    /// Starts `threads` minus one: the caller computes too.
    pub fn new(threads: u32) -> Result<Rc<Self>> {
        let threads = i32::try_from(threads).context("threads")?;
        // SAFETY: the parameters are plain data, read during the call only.
        let pool = unsafe { sys::ggml_threadpool_new(&mut sys::ggml_threadpool_params_default(threads)) };
        Ok(Rc::new(Self { pool: NonNull::new(pool).context("llama.cpp made no thread pool")?, threads }))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: ours, freed once; contexts that use it hold an Rc and are gone.
        unsafe { sys::ggml_threadpool_free(self.pool.as_ptr()) }
    }
}

/// The weights.
pub struct Model {
    model: NonNull<sys::llama_model>,
    /// Tokens that the model knows.
    pub vocabulary: usize,
}

impl Model {
    /// Maps the file (no mlock).
    pub fn load(path: &Path) -> Result<Rc<Self>> {
        let name = c_path(path)?;
        // SAFETY: the name is a C string, the parameters are defaults without borrowed parts.
        let model = unsafe { sys::llama_model_load_from_file(name.as_ptr(), sys::llama_model_default_params()) };
        let model = NonNull::new(model).with_context(|| format!("llama.cpp cannot load {}", path.display()))?;
        // SAFETY: the model lives.
        let tokens = unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(model.as_ptr())) };
        let model = Self { model, vocabulary: usize::try_from(tokens).context("vocabulary")? };
        Ok(Rc::new(model))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: ours, freed once; contexts and adapters hold an Rc and are gone.
        unsafe { sys::llama_model_free(self.model.as_ptr()) }
    }
}

/// A LoRA adapter in memory.
pub struct Adapter {
    adapter: NonNull<sys::llama_adapter_lora>,
    _model: Rc<Model>,
}

impl Adapter {
    /// Reads the whole file.
    pub fn load(model: &Rc<Model>, path: &Path) -> Result<Rc<Self>> {
        let name = c_path(path)?;
        // SAFETY: the model lives, the name is a C string.
        let adapter = unsafe { sys::llama_adapter_lora_init(model.model.as_ptr(), name.as_ptr()) };
        let adapter = NonNull::new(adapter).with_context(|| format!("llama.cpp cannot load {}", path.display()))?;
        Ok(Rc::new(Self { adapter, _model: model.clone() }))
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // SAFETY: ours, freed once; contexts that use it hold an Rc.
        unsafe { sys::llama_adapter_lora_free(self.adapter.as_ptr()) }
    }
}

fn c_path(path: &Path) -> Result<CString> {
    ensure!(path.is_file(), "{} is not a file", path.display());
    CString::new(path.as_os_str().as_encoded_bytes()).context("a path with a zero byte")
}

/// What a context is made for.
#[derive(Clone, Copy)]
pub struct Size {
    /// Most positions of one stream.
    pub context: u32,
    /// Most streams at once.
    pub streams: u32,
    /// Most logits rows of one call. Few of them keep llama.cpp's buffers small.
    pub outputs: u32,
    pub flash: bool,
}

/// KV cache (f16, each stream its own part), buffers, and the adapter in use.
pub struct Context {
    context: NonNull<sys::llama_context>,
    vocabulary: usize,
    batch: Batch,
    batch_max: usize,
    // Dropped after the context itself, which uses all three.
    adapter: Option<Rc<Adapter>>,
    _pool: Rc<Pool>,
    _model: Rc<Model>,
}

impl Context {
    /// Allocates everything.
    pub fn new(model: &Rc<Model>, pool: &Rc<Pool>, size: Size) -> Result<Self> {
        // SAFETY: returns plain data.
        let mut parameters = unsafe { sys::llama_context_default_params() };
        parameters.n_ctx = size.context.checked_mul(size.streams).context("context times streams")?;
        parameters.n_seq_max = size.streams;
        // A whole prompt in one call; llama.cpp cuts it into pieces of UBATCH itself.
        parameters.n_batch = size.context.max(size.streams).max(UBATCH);
        parameters.n_ubatch = UBATCH;
        parameters.n_outputs_max = size.outputs.max(size.streams);
        parameters.n_threads = pool.threads;
        parameters.n_threads_batch = pool.threads;
        parameters.flash_attn_type =
            if size.flash { sys::LLAMA_FLASH_ATTN_TYPE_ENABLED } else { sys::LLAMA_FLASH_ATTN_TYPE_DISABLED };
        parameters.kv_unified = false;
        parameters.no_perf = true;
        let batch_max = parameters.n_batch as usize;
        // SAFETY: model and parameters are valid; the result is checked.
        let context = unsafe { sys::llama_init_from_model(model.model.as_ptr(), parameters) };
        let context = NonNull::new(context).context("llama.cpp made no context: too many streams or positions?")?;
        // SAFETY: both live; the pool outlives the context.
        unsafe { sys::llama_attach_threadpool(context.as_ptr(), pool.pool.as_ptr(), pool.pool.as_ptr()) };
        Ok(Self {
            context,
            vocabulary: model.vocabulary,
            batch: Batch::default(),
            batch_max,
            adapter: None,
            _pool: pool.clone(),
            _model: model.clone(),
        })
    }

    /// Forgets every stream.
    pub fn clear(&mut self) {
        // SAFETY: the context lives. False: the cells are marked empty, their bytes stay.
        unsafe { sys::llama_memory_clear(sys::llama_get_memory(self.context.as_ptr()), false) }
    }

    /// Uses this adapter, or none, from now on. A change makes llama.cpp plan and allocate its graphs again at the next
    /// call; no change costs nothing.
    pub fn set_adapter(&mut self, adapter: Option<&Rc<Adapter>>) {
        let mut pointers: Vec<_> = adapter.iter().map(|adapter| adapter.adapter.as_ptr()).collect();
        let mut scales = vec![1.0f32; pointers.len()];
        // SAFETY: both arrays have the length that is given and are copied; the adapter is kept alive in `self`.
        unsafe {
            let (pointers, scales_at) = (pointers.as_mut_ptr(), scales.as_mut_ptr());
            sys::llama_set_adapters_lora(self.context.as_ptr(), pointers, scales.len(), scales_at);
        }
        self.adapter = adapter.cloned();
    }

    /// Starts a new batch.
    pub fn begin(&mut self) {
        self.batch.clear();
    }

    /// Adds a token of a stream to the batch; returns its index, which `logits` wants.
    pub fn add(&mut self, token: u32, position: usize, stream: usize, logits: bool) -> Result<i32> {
        self.batch.add(token, position, stream, logits)
    }

    /// Adds a prompt at the start of a stream, with logits of its last token or of all; returns the index of the last.
    pub fn add_prompt(&mut self, tokens: &[u32], stream: usize) -> Result<i32> {
        let mut last = 0;
        for (position, token) in tokens.iter().enumerate() {
            last = self.add(*token, position, stream, position + 1 == tokens.len())?;
        }
        Ok(last)
    }

    /// Computes the batch.
    pub fn decode(&mut self) -> Result<()> {
        let tokens = self.batch.tokens.len();
        ensure!(0 < tokens && tokens <= self.batch_max, "a batch of {tokens} tokens, at most {}", self.batch_max);
        let batch = self.batch.raw()?;
        // SAFETY: the arrays behind the batch have its length and live in `self` until after the call.
        let code = unsafe { sys::llama_decode(self.context.as_ptr(), batch) };
        ensure!(code == 0, "llama_decode answered {code}");
        Ok(())
    }

    /// The logits at an index of the batch that was computed last.
    pub fn logits(&self, index: i32) -> Result<&[f32]> {
        // SAFETY: the context lives; null says that the index has no logits.
        let row = unsafe { sys::llama_get_logits_ith(self.context.as_ptr(), index) };
        let row = NonNull::new(row).with_context(|| format!("no logits at {index}"))?;
        // SAFETY: llama.cpp holds a row of the vocabulary's length, unchanged until the next decode, which needs &mut self.
        Ok(unsafe { std::slice::from_raw_parts(row.as_ptr(), self.vocabulary) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { sys::llama_free(self.context.as_ptr()) }
    }
}

/// The arrays of a llama_batch, kept from step to step.
#[derive(Default)]
struct Batch {
    tokens: Vec<sys::llama_token>,
    positions: Vec<sys::llama_pos>,
    streams: Vec<sys::llama_seq_id>,
    stream_counts: Vec<i32>,
    stream_pointers: Vec<*mut sys::llama_seq_id>,
    logits: Vec<i8>,
}

impl Batch {
    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.streams.clear();
        self.logits.clear();
    }

    fn add(&mut self, token: u32, position: usize, stream: usize, logits: bool) -> Result<i32> {
        let index = i32::try_from(self.tokens.len()).context("batch")?;
        let position = i32::try_from(position).context("position")?;
        let stream = i32::try_from(stream).context("stream")?;
        self.tokens.push(i32::try_from(token).context("token")?);
        self.positions.push(position);
        self.streams.push(stream);
        self.logits.push(i8::from(logits));
        Ok(index)
    }

    fn raw(&mut self) -> Result<sys::llama_batch> {
        self.stream_counts.clear();
        self.stream_counts.resize(self.streams.len(), 1);
        self.stream_pointers.clear();
        self.stream_pointers.extend(self.streams.iter_mut().map(ptr::from_mut));
        Ok(sys::llama_batch {
            n_tokens: i32::try_from(self.tokens.len()).context("batch")?,
            token: self.tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.stream_counts.as_mut_ptr(),
            seq_id: self.stream_pointers.as_mut_ptr(),
            logits: self.logits.as_mut_ptr(),
        })
    }
}
