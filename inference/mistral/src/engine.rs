//! The engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use agora_inference_api::{AdapterInfo, BaseInfo, Engine, EngineError, Job, Readiness, Request, TokenStream};
use agora_types::{Code, Hash};
use mistralrs::MistralRs;

use crate::Settings;
use crate::desk::{Clerk, Desk};
use crate::load::{self, Loaded};
use crate::row::{Reader, Row};
use crate::text::Text;

/// How often mistralrs is asked to start.
const STARTS_MAX: usize = 5;

/// A base model, computed by mistralrs.
///
/// Dropping it ends every answer with `engine.stopped`, and waits until mistralrs has let go of them.
pub struct Mistral {
    base: BaseInfo,
    text: Arc<Text>,
    settings: Settings,
    desk: Arc<Desk>,
    clerk: Option<JoinHandle<()>>,
    /// Dropped after the clerk's thread has ended; it tells its own thread to end.
    #[cfg_attr(not(test), allow(dead_code, reason = "held for its drop"))]
    engine: Arc<MistralRs>,
}

impl std::fmt::Debug for Mistral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mistral").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Mistral {
    /// Loads a model from a GGUF file whose SHA-256 is `expected`, without the network. The file must stay as it is until
    /// this returns. mistralrs reads it without bounds of its own: give the hash of a file that you trust.
    ///
    /// # Errors
    /// `engine.file_not_found`, `engine.wrong_hash`, `engine.bad_model`, `engine.unsupported`, `engine.too_large`;
    /// `engine.stopped` if no thread can be started.
    pub fn load(path: &Path, expected: Hash, settings: Settings) -> Result<Self, EngineError> {
        Self::start(load::load(path, expected, &settings)?, settings)
    }

    fn start(loaded: Loaded, settings: Settings) -> Result<Self, EngineError> {
        let failed = |what: String| EngineError::new(Code::EngineStopped, what);
        let Loaded { base, text, pipeline } = loaded;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| failed(format!("no runtime: {error}")))?;
        let desk = Arc::new(Desk::default());
        let of_desk = Arc::clone(&desk);
        let (begun, beginning) = std::sync::mpsc::sync_channel(1);
        // The runtime lives on its own thread, so that an engine may be loaded from within any executor.
        let clerk = std::thread::Builder::new()
            .name("mistral".to_owned())
            .spawn(move || {
                // mistralrs unwraps a lock that its own new thread may hold for a moment: then it is asked again.
                let begin = || catch_unwind(AssertUnwindSafe(|| runtime.block_on(load::begin(&pipeline))));
                let Some(engine) = (0..STARTS_MAX).find_map(|_| begin().ok()) else { return };
                let sender = engine.get_sender(None);
                let alive = begun.send(engine).is_ok();
                if let (true, Ok(sender)) = (alive, sender) {
                    runtime.block_on(Clerk::new(of_desk, sender).run());
                }
            })
            .map_err(|error| failed(format!("no thread: {error}")))?;
        let engine = beginning.recv().map_err(|_| failed("mistralrs did not start".to_owned()))?;
        Ok(Self { base, text: Arc::new(text), settings, desk, clerk: Some(clerk), engine })
    }

    /// Tokens of a request as the model's template renders it.
    ///
    /// # Errors
    /// As [`Engine::count`].
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        let tokens = self.text.prompt(request)?;
        if tokens.len() as u64 >= self.base.context_max {
            let what = format!("a prompt of {} tokens in a context of {}", tokens.len(), self.base.context_max);
            return Err(EngineError::new(Code::EngineContext, what));
        }
        Ok(tokens)
    }
}

impl Engine for Mistral {
    fn base(&self) -> &BaseInfo {
        &self.base
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        Vec::new()
    }

    fn prepare(&self, _adapter: Option<&Hash>) -> Readiness {
        let wait_ms = self.desk.wait_ms();
        Readiness { hot: true, hot_ms: wait_ms, cold_ms: wait_ms }
    }

    fn count(&self, request: &Request) -> Result<u64, EngineError> {
        self.prompt(request).map(|tokens| tokens.len() as u64)
    }

    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError> {
        let prompt = self.prompt(&job.request)?;
        if let Some(adapter) = job.adapter {
            let what = format!("{adapter}: this engine serves base models only");
            return Err(EngineError::new(Code::EngineUnknownAdapter, what));
        }
        let bell = Arc::clone(&self.desk.bell);
        let context = usize::try_from(self.base.context_max).unwrap_or(usize::MAX);
        let row = Arc::new(Row::new(job, prompt, context, self.settings.wait_max, Arc::clone(&self.text), bell));
        self.desk.push(Arc::clone(&row), &self.settings)?;
        Ok(Box::new(Reader(row)))
    }
}

impl Drop for Mistral {
    fn drop(&mut self) {
        self.desk.stop();
        if let Some(clerk) = self.clerk.take() {
            // Its panic was a bug that the rows' readers have met as `engine.stopped`.
            let _ = clerk.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use mistralrs::core::{NormalRequest, RequestMessage};
    use mistralrs::{SamplingParams, Tensor};

    use super::*;
    use crate::support;

    fn rest(mut stream: Box<dyn TokenStream>) -> Result<(), EngineError> {
        while support::block_on(stream.next())?.is_some() {}
        Ok(())
    }

    #[test]
    fn a_panic_in_mistralrs_stops_the_engine_and_nothing_else() {
        let hash = support::MODEL_HASH.parse().unwrap();
        let engine = Mistral::load(&support::model_path(), hash, Settings::default()).unwrap();
        let job = || Job::new(Request::ask("Tell me about the sea.", 2_000), 2_000);
        let mut first = engine.start(job()).unwrap();
        support::block_on(first.next()).unwrap();
        let second = engine.start(job()).unwrap();
        let (response, _kept) = tokio::sync::mpsc::channel(1);
        let (sampling, message) = (SamplingParams::deterministic(), RequestMessage::CompletionTokens(vec![1]));
        let mut request = NormalRequest::new_simple(message, sampling, response, 0, None, None);
        let bad = |_: &Tensor, _: &[u32]| -> mistralrs::Result<Tensor> { panic!("what a bad library does") };
        request.logits_processors = Some(vec![Arc::new(bad)]);
        engine.engine.get_sender(None).unwrap().try_send(mistralrs::Request::Normal(Box::new(request))).unwrap();
        // When the first one's place is free, the bad request comes with the second.
        drop(first);
        assert_eq!(rest(second).unwrap_err().code, Code::EngineStopped);
        let error = loop {
            // The desk learns of it a moment after the row.
            match engine.start(Job::new(Request::ask("Hello!", 4), 4)) {
                Err(error) => break error,
                Ok(stream) => assert_eq!(support::read(stream).unwrap_err().code, Code::EngineStopped),
            }
        };
        assert_eq!(error.code, Code::EngineStopped);
    }
}
