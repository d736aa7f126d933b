//! A scripted engine for tests and seeded simulation: it repeats the question, word by word.

use std::collections::VecDeque;

use agora_types::{Canonical as _, Code, Hash, Usage};

use crate::{
    AdapterInfo, BaseInfo, Ending, Engine, EngineError, Job, Likelihood, Likelihoods, Pending, Piece, Request,
    TokenStream,
};

/// Answers each request with the words of its last message, over and over, up to `output_max` tokens, once it has thought
/// with all hidden tokens that it may use. It heeds no schema, and holds each word to be as likely as it is long.
#[derive(Debug, Clone)]
pub struct FakeEngine {
    base: BaseInfo,
    adapters: Vec<AdapterInfo>,
}

impl FakeEngine {
    /// Serves the base of this hash, and these adapters.
    pub fn new(base: Hash, adapters: &[Hash]) -> Self {
        let adapter =
            |hash: &Hash| AdapterInfo { name: hash.to_string(), hash: *hash, rank: 8, size: 0, resident: true };
        let tokenizer_hash = Hash::sha256("fake tokenizer");
        Self {
            base: BaseInfo { name: "fake".to_owned(), hash: base, tokenizer_hash, context_max: 8_192 },
            adapters: adapters.iter().map(adapter).collect(),
        }
    }

    /// The whole answer that a request will get.
    pub fn answer(request: &Request) -> Vec<String> {
        let text = request.messages.last().map_or("", |message| message.text.as_str());
        let words: Vec<&str> = text.split_whitespace().collect();
        let words = if words.is_empty() { vec!["silence"] } else { words };
        let count = usize::try_from(request.output_max).unwrap_or(usize::MAX).min(8_192);
        words.into_iter().cycle().take(count).map(|word| format!("{word} ")).collect()
    }
}

impl Engine for FakeEngine {
    fn base(&self) -> &BaseInfo {
        &self.base
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.adapters.clone()
    }

    fn count(&self, request: &Request) -> Result<u64, EngineError> {
        request.check()?;
        // As a real template does, it asks for thoughts in words of its own.
        Ok(if request.thinks() { 7 } else { 1 } + request.to_bytes().len() as u64 / 4)
    }

    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError> {
        let input = self.count(&job.request)?;
        if let Some(adapter) = job.adapter
            && !self.adapters.iter().any(|known| known.hash == adapter)
        {
            return Err(EngineError::new(Code::EngineUnknownAdapter, adapter.to_string()));
        }
        let mut pieces = VecDeque::new();
        let mut usage = Usage { input, ..Usage::default() };
        for _ in 0..if job.request.thinks() { job.request.hidden_max.min(8_192) } else { 0 } {
            usage.hidden += 1;
            pieces.push_back(Piece::Token { text: String::new(), usage, likelihoods: None });
        }
        for text in Self::answer(&job.request) {
            usage.output += 1;
            let likelihoods = job.request.logprobs.map(|alternatives| Box::new(likelihoods(&text, alternatives)));
            pieces.push_back(Piece::Token { text, usage, likelihoods });
        }
        pieces.push_back(Piece::End { text: String::new(), ending: Ending::Length, usage });
        Ok(Box::new(Script(pieces)))
    }
}

fn likelihoods(word: &str, alternatives: u32) -> Likelihoods {
    let length = u32::try_from(word.len()).unwrap_or(u32::MAX);
    let chosen = Likelihood::new(word.as_bytes(), length);
    let other = |number: u32| Likelihood::new(format!("other-{number} ").as_bytes(), number);
    let top = std::iter::once(chosen.clone()).chain((1..alternatives).map(|at| other(length.saturating_add(at))));
    Likelihoods { top: top.take(alternatives as usize).collect(), chosen }
}

struct Script(VecDeque<Piece>);

impl TokenStream for Script {
    fn next(&mut self) -> Pending<'_, Option<Piece>> {
        let piece = self.0.pop_front();
        Box::pin(async move { Ok(piece) })
    }
}
