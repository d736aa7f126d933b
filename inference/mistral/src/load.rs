//! From a file to an engine that computes.
//!
//! mistralrs reads files without bounds of its own, and panics where it does not understand them. So the file's hash is not
//! optional here, it is judged before anything else is read, and loading runs in a thread whose panic is an error. Nothing
//! but the file is read: mistralrs' own way in would also take what lies beside it, and ask the network.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use agora_inference_api::{BaseInfo, EngineError};
use agora_types::{Code, Hash};
use candle_core::quantized::gguf_file::Content;
use mistralrs::core::{
    AdapterPaths, DefaultSchedulerMethod, DeviceMapSetting, GGUFLoaderBuilder, GGUFSpecificConfig, LocalModelPaths,
    MistralRsBuilder, ModelDType, ModelPaths, Pipeline, SchedulerConfig,
};
use mistralrs::{Device, MistralRs};
use tokio::sync::Mutex;

use crate::Settings;
use crate::template::Template;
use crate::text::{Text, Words};

/// Largest model file.
const FILE_SIZE_MAX: u64 = 512 << 30;
/// Bytes that are hashed at once.
const CHUNK_SIZE: usize = 1 << 20;
/// What mistralrs computes from GGUF files; it panics on others.
const ARCHITECTURES: [&str; 8] = ["llama", "mistral3", "phi2", "phi3", "starcoder2", "qwen2", "qwen3", "qwen3moe"];
/// Tokens by which mistralrs' keys and values grow.
const BLOCK: usize = 512;
/// Longest name for people, in characters.
const NAME_SIZE_MAX: usize = 80;

/// A model in memory.
pub(crate) struct Loaded {
    pub(crate) base: BaseInfo,
    pub(crate) text: Text,
    pub(crate) pipeline: Arc<Mutex<dyn Pipeline + Send + Sync>>,
}

fn bad_model(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineBadModel, what)
}

fn unsupported(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineUnsupported, what)
}

/// Loads the file if it is the one that was promised.
///
/// # Errors
/// See [`crate::Mistral::load`].
pub(crate) fn load(path: &Path, expected: Hash, settings: &Settings) -> Result<Loaded, EngineError> {
    let missing = |what: String| EngineError::new(Code::EngineFileMissing, format!("{}: {what}", path.display()));
    let mut file = File::open(path).map_err(|error| missing(error.to_string()))?;
    let found = file.metadata().map_err(|error| missing(error.to_string()))?;
    if !found.is_file() {
        return Err(missing("not a file".to_owned()));
    }
    if found.len() > FILE_SIZE_MAX {
        return Err(EngineError::new(Code::EngineTooLarge, format!("{} bytes; at most {FILE_SIZE_MAX}", found.len())));
    }
    let hash = hash(&mut file).map_err(|error| missing(error.to_string()))?;
    if hash != expected {
        return Err(EngineError::new(Code::EngineWrongHash, format!("{hash}, not {expected}")));
    }
    let (path, context_max) = (path.to_path_buf(), settings.context_max);
    let reading = std::thread::Builder::new()
        .name("mistral-load".to_owned())
        .spawn(move || read(&path, hash, context_max))
        .map_err(|error| EngineError::new(Code::EngineStopped, format!("no thread: {error}")))?;
    let loaded = reading.join().unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
        Err(bad_model(format!("mistralrs gave it up: {words}")))
    })?;
    let now = file.metadata().map_err(|error| missing(error.to_string()))?;
    if now.len() != found.len() || now.modified().ok() != found.modified().ok() {
        return Err(EngineError::new(Code::EngineWrongHash, "the file changed while it was read"));
    }
    Ok(loaded)
}

fn hash(file: &mut File) -> std::io::Result<Hash> {
    let mut hash = Hash::stream();
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finish()),
            count => hash.update(&chunk[..count]),
        }
    }
}

fn read(path: &Path, hash: Hash, context_max: usize) -> Result<Loaded, EngineError> {
    let refused = |error: &dyn std::fmt::Display| bad_model(error.to_string());
    let file = File::open(path).map_err(|error| refused(&error))?;
    let metadata = Content::read(&mut BufReader::new(file)).map_err(|error| refused(&error))?.metadata;
    let said = |name: &str| metadata.get(name).and_then(|value| value.to_string().ok()).cloned();
    let architecture = said("general.architecture").ok_or_else(|| bad_model("no architecture"))?;
    if !ARCHITECTURES.contains(&architecture.as_str()) {
        return Err(unsupported(format!("{architecture:?}; mistralrs computes {}", ARCHITECTURES.join(", "))));
    }
    let source = said("tokenizer.chat_template").ok_or_else(|| unsupported("a file without a chat template"))?;
    let words = Words::read(&metadata)?;

    let name =
        path.file_name().and_then(|name| name.to_str()).ok_or_else(|| unsupported("a path that is not UTF-8"))?;
    let paths: Box<dyn ModelPaths> = Box::new(LocalModelPaths {
        tokenizer_filename: Default::default(),
        config_filename: Default::default(),
        template_filename: None,
        filenames: vec![path.to_path_buf()],
        adapter_paths: AdapterPaths::None,
        gen_conf: None,
        preprocessor_config: None,
        processor_config: None,
        chat_template_json_filename: None,
    });
    let config = GGUFSpecificConfig::default();
    let loader =
        GGUFLoaderBuilder::new(None, None, name.to_owned(), vec![name.to_owned()], config, false, None).build();
    let (dtype, device, map) = (ModelDType::F32, Device::Cpu, DeviceMapSetting::dummy());
    let pipeline = loader
        .load_model_from_path(&paths, &dtype, &device, true, map, None, None)
        .map_err(|error| refused(&format!("{error:#}")))?;

    let known = pipeline.blocking_lock();
    let chat = known.get_chat_template().ok_or_else(|| unsupported("no chat template"))?;
    if chat.is_harmony_format() {
        return Err(unsupported("a template in Harmony's form, for which mistralrs asks the network"));
    }
    let tokenizer = known.tokenizer().ok_or_else(|| bad_model("no tokenizer"))?;
    let template = Template::new(source, chat.bos_tok(), chat.eos_tok())?;
    let facts = known.get_metadata();
    let text = Text::new(words, tokenizer, template, facts.eos_tok.clone())?;
    let context = whole_blocks(facts.max_seq_len).min(context_max);
    if context < 2 {
        return Err(bad_model("a context of less than two tokens"));
    }
    drop(known);
    let name = said("general.name").unwrap_or_else(|| "unnamed".to_owned());
    let name = name.chars().take(NAME_SIZE_MAX).map(|sign| if sign.is_control() { '?' } else { sign }).collect();
    let base = BaseInfo { name, hash, tokenizer_hash: text.hash(), context_max: context as u64 };
    Ok(Loaded { base, text, pipeline })
}

/// What of a context mistralrs can fill: its keys and values grow by blocks, and one that does not fit is an error.
fn whole_blocks(context: usize) -> usize {
    if context > BLOCK { context - context % BLOCK } else { context }
}

/// Starts mistralrs' own thread. Nothing is kept from one answer for another: prompts of strangers stay apart.
pub(crate) async fn begin(pipeline: &Arc<Mutex<dyn Pipeline + Send + Sync>>) -> Arc<MistralRs> {
    let pipeline = Arc::clone(pipeline);
    let method = DefaultSchedulerMethod::Fixed(std::num::NonZeroUsize::MIN);
    let method = SchedulerConfig::DefaultScheduler { method };
    MistralRsBuilder::new(pipeline, method, false, None).with_no_prefix_cache(true).build().await
}

#[cfg(test)]
mod tests {
    use super::whole_blocks;

    #[test]
    fn a_context_ends_where_the_last_whole_block_ends() {
        assert_eq!([100, 512, 1_000, 8_192, 8_200].map(whole_blocks), [100, 512, 512, 8_192, 8_192]);
    }
}
