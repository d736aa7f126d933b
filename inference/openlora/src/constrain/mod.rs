//! Answers by a JSON schema: which tokens may follow, so that the answer is a document of it.
//!
//! The library `llguidance` compiles a schema to a grammar over the vocabulary's bytes. A schema is untrusted: it is
//! checked and compiled on the caller's thread, with fuel, and each mask has fuel of its own. What it cannot express
//! exactly it refuses.

mod bounds;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agora_inference_api::EngineError;
use agora_types::{Code, Hash};
use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::Value;

use crate::failure::{quoted, unsupported};
use crate::sampling::Mask;

/// Longest token that a document may be made of, in bytes.
const TOKEN_SIZE_MAX: usize = 256;
/// Most bytes of all tokens together; the trie of the library holds not much more.
const VOCABULARY_SIZE_MAX: usize = 4_000_000;
/// Compiled schemas that are kept for the next request with them.
const KEPT_MAX: usize = 16;
/// Stack of the thread that compiles: the compiler recurses.
const STACK_SIZE: usize = 32 << 20;
/// White space between the parts of a document: a blank, or a line break and up to 32 blanks. Without a bound a weak model
/// answers with nothing else.
const SPACE: &str = r"\x20|\x0A\x20{0,32}";

/// Compiles schemas for one vocabulary.
pub(crate) struct Constrainer {
    factory: ParserFactory,
    /// The newest last.
    kept: Mutex<VecDeque<(Hash, Matcher)>>,
}

/// What an answer has been so far, and what may follow.
pub(crate) struct Constraint {
    matcher: Matcher,
    mask: SimpleVob,
}

impl Constrainer {
    /// For a vocabulary of `count` tokens; `bytes` tells what each shows, nothing for special ones, and `ends` those that
    /// end an answer.
    ///
    /// # Errors
    /// `engine.unsupported` for a vocabulary that is too large.
    pub(crate) fn new<'a>(
        count: usize,
        bytes: impl Fn(u32) -> &'a [u8],
        ends: impl Iterator<Item = u32>,
    ) -> Result<Self, EngineError> {
        let refused = |what: String| unsupported(format!("schemas with this vocabulary: {what}"));
        let vocab_size = u32::try_from(count).map_err(|_| refused(format!("{count} tokens")))?;
        let word = |token| Some(bytes(token)).filter(|word| word.len() <= TOKEN_SIZE_MAX).unwrap_or_default().to_vec();
        let words: Vec<Vec<u8>> = (0..vocab_size).map(word).collect();
        let size: usize = words.iter().map(Vec::len).sum();
        if size > VOCABULARY_SIZE_MAX {
            return Err(refused(format!("{size} bytes")));
        }
        let ends: Vec<u32> = ends.filter(|token| *token < vocab_size).collect();
        let first = ends.first().ok_or_else(|| refused("no token ends an answer".to_owned()))?;
        let trie = TokTrie::from(&TokRxInfo::new(vocab_size, *first), &words).with_eos_tokens(&ends);
        let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SlicedBiasComputer::json_slices();
        let factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices);
        let mut factory = factory.map_err(|error| refused(quoted(&error.to_string())))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_items_in_row: 1_000,
            initial_lexer_fuel: 500_000,
            step_lexer_fuel: 100_000,
            step_max_items: 20_000,
            max_lexer_states: 10_000,
            max_grammar_size: 50_000,
            precompute_large_lexemes: false,
            verbose_errors: false,
        };
        Ok(Self { factory, kept: Mutex::default() })
    }

    /// The beginning of an answer by this schema.
    ///
    /// # Errors
    /// `engine.bad_request`, saying what is wrong with the schema or cannot be served of it.
    pub(crate) fn constraint(&self, schema: &str) -> Result<Constraint, EngineError> {
        let hash = Hash::sha256(schema);
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy that shares nothing, so that no answer depends on another.
        let known = kept().iter().find(|known| known.0 == hash).map(|known| known.1.deep_clone());
        if let Some(matcher) = known {
            return Ok(Constraint { matcher, mask: SimpleVob::default() });
        }
        let compile = || self.compile(schema);
        let compiled = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("openlora-schema".to_owned()).stack_size(STACK_SIZE);
            let thread = thread.spawn_scoped(scope, compile);
            let thread = thread.map_err(|error| EngineError::new(Code::EngineBusy, format!("no thread: {error}")))?;
            thread.join().unwrap_or_else(|_| Err(refused("it cannot be compiled")))
        });
        let matcher = compiled?;
        let mut kept = kept();
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((hash, matcher.deep_clone()));
        drop(kept);
        Ok(Constraint { matcher, mask: SimpleVob::default() })
    }

    fn compile(&self, schema: &str) -> Result<Matcher, EngineError> {
        let mut schema: Value = serde_json::from_str(schema).map_err(|error| refused(&format!("no JSON: {error}")))?;
        bounds::check(&schema).map_err(|what| refused(&what))?;
        // The library reads its own options out of the schema; here they are ours.
        let options =
            JsonCompileOptions { whitespace_pattern: Some(SPACE.to_owned()), ..JsonCompileOptions::default() };
        options.apply_to(&mut schema);
        let grammar = GrammarInit::Serialized(TopLevelGrammar::from_json_schema(schema));
        let parser = self.factory.create_parser_from_init_default(grammar);
        let matcher = Matcher::new(Ok(parser.map_err(|error| refused(&error.to_string()))?));
        // Some limits show only at the first mask.
        matcher.deep_clone().compute_mask().map_err(|error| refused(&error.to_string()))?;
        match matcher.get_error() {
            None => Ok(matcher),
            Some(error) => Err(refused(&error)),
        }
    }
}

impl Constraint {
    /// What may follow: the tokens with which the answer can still become a document, and those that end it if it is one.
    ///
    /// # Errors
    /// `engine.bad_request` where the schema is too complex to go on.
    pub(crate) fn mask(&mut self) -> Result<Mask<'_>, EngineError> {
        self.mask = self.matcher.compute_mask_or_eos().map_err(|error| refused(&error.to_string()))?;
        Ok(Mask(self.mask.as_slice()))
    }

    /// Goes on by a token that may follow and ends nothing; true when the document is whole and nothing more can follow.
    ///
    /// # Errors
    /// As [`Constraint::mask`].
    pub(crate) fn take(&mut self, token: u32) -> Result<bool, EngineError> {
        self.matcher.consume_token(token).map_err(|error| refused(&error.to_string()))?;
        Ok(self.matcher.is_stopped())
    }
}

impl std::fmt::Debug for Constrainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constrainer").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Constraint").finish_non_exhaustive()
    }
}

fn refused(what: &str) -> EngineError {
    // The first line is the reason; others say where the library was.
    let line = match what.lines().next().unwrap_or_default() {
        line if line.starts_with("oneOf constraints") => {
            "`oneOf` is served where its choices exclude each other; or use `anyOf`"
        }
        line => line,
    };
    EngineError::new(Code::EngineBadRequest, format!("the schema: {}", quoted(line)))
}
