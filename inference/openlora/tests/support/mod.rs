//! What the tests share: the real model, a tiny made one, adapters from a seed.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

pub(crate) mod folder;
pub(crate) mod peft;
pub(crate) mod quantise;
pub(crate) mod reference;
pub(crate) mod tiny;

use std::path::PathBuf;
use std::sync::OnceLock;

#[allow(unused_imports, reason = "each test file uses a part")]
pub(crate) use agora_inference_api::SplitMix64 as Random;
use agora_inference_api::{Ending, Engine, EngineError, Job, Likelihoods, Piece, Request, TokenStream};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Hash, Usage};
use futures::executor::block_on;

/// SHA-256 of the model that the tests use.
pub(crate) const MODEL_HASH: &str = "0xb179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Where the real model lies.
pub(crate) fn model_path() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_default().join(".local/share");
    let path = data.unwrap_or_else(home).join("agora/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "{} is missing: fetch it with `cargo xtask fetch`", path.display());
    path
}

/// The real model with these settings.
pub(crate) fn load(settings: Settings) -> OpenLora {
    let hash: Hash = MODEL_HASH.parse().unwrap();
    OpenLora::load(&model_path(), Some(hash), settings, &mut |_| {}).unwrap()
}

/// The real model, once per test program, with two threads.
pub(crate) fn engine() -> &'static OpenLora {
    static ENGINE: OnceLock<OpenLora> = OnceLock::new();
    ENGINE.get_or_init(|| load(Settings { threads: 2, context_max: 1_024, ..Settings::default() }))
}

/// A whole answer, apart from how much of its prompt was found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) tokens: usize,
    pub(crate) ending: Ending,
    /// Tokens of the prompt, read or found.
    pub(crate) prompt: u64,
    /// Of each token, where the request asks for them.
    pub(crate) likelihoods: Vec<Likelihoods>,
}

/// Reads an answer to its end.
pub(crate) fn read(stream: Box<dyn TokenStream>) -> Result<Whole, EngineError> {
    read_metered(stream).map(|(whole, _)| whole)
}

/// Reads an answer to its end, with what is billed.
pub(crate) fn read_metered(mut stream: Box<dyn TokenStream>) -> Result<(Whole, Usage), EngineError> {
    let (mut text, mut tokens, mut likelihoods) = (String::new(), 0, Vec::new());
    loop {
        match block_on(stream.next())?.expect("an answer ends with its end") {
            Piece::Token { text: more, usage, likelihoods: told } => {
                text += &more;
                likelihoods.extend(told.map(|told| *told));
                tokens += 1;
                assert_eq!(usage.output, tokens as u64, "usage counts every token");
            }
            Piece::End { text: more, ending, usage } => {
                text += &more;
                assert_eq!(block_on(stream.next())?, None, "nothing follows the end");
                let prompt = usage.input + usage.cached;
                return Ok((Whole { text, tokens, ending, prompt, likelihoods }, usage));
            }
        }
    }
}

/// Starts an answer.
pub(crate) fn start(engine: &OpenLora, request: Request, adapter: Option<Hash>) -> Box<dyn TokenStream> {
    engine.start(Job { adapter, ..Job::new(request, 1_000) }).unwrap()
}

/// A whole answer, alone.
pub(crate) fn answer(engine: &OpenLora, request: Request, adapter: Option<Hash>) -> Whole {
    read(start(engine, request, adapter)).unwrap()
}
