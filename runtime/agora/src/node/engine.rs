//! Which engine a node serves: the model of its settings, or a stand-in without weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::attribution::Attributor;
use agora_inference_api::{
    AdapterInfo, BaseInfo, Engine, EngineError, FakeEngine, Job, Pending, Piece, Request, TokenStream,
};
use agora_openlora::weights::Weights;
use agora_openlora::{Device, Loading, OpenLora, Settings as EngineSettings};
use agora_shell::fetch::{self, Fetcher, State};
use agora_shell::settings::{DeviceChoice, ModelChoice};
use agora_shell::{Bar, Failure, Outcome, Paths, Printer};
use agora_types::{Code, Hash};

use super::adapters::Adapters;

/// The name that chooses the stand-in; a dev network's only. `fake:20` takes 20 ms for a token.
const FAKE: &str = "fake";

/// What answers, and what measures the answers of adapters that have an attribution index.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// The engine.
    pub(crate) engine: Arc<dyn Engine>,
    /// Absent where nothing can be measured. With adapters it is there before any of them has an index.
    pub(crate) attributor: Option<Arc<dyn Attributor>>,
    /// What takes adapters up; absent for an engine that has none of its own.
    pub(crate) adapters: Option<Arc<Adapters>>,
    /// The base model's own numbers and tokenizer, shared with the engine; absent where they lie on a device.
    pub(crate) weights: Option<Weights>,
}

/// Fetches the model if it is a known one and not here, and loads it; says how far it is.
///
/// # Errors
/// `engine.*`, `model.fetch_failed`, `tool.missing`, `node.bad_config` for an unknown name.
pub(super) fn load(
    choice: &ModelChoice,
    (device, threads): (DeviceChoice, usize),
    dev: bool,
    (paths, adapters): (&Paths, &Path),
    printer: &Printer,
) -> Outcome<Loaded> {
    if let Some(pace) = fake(choice.as_str())? {
        if !dev {
            let what = "the stand-in without weights serves dev networks only";
            return Err(Failure::usage(what).advise("choose a model with --model"));
        }
        let engine = Arc::new(Paced { engine: FakeEngine::new(Hash::sha256("agora fake model"), &[]), pace });
        return Ok(Loaded::alone(engine));
    }
    let engine = Arc::new(load_model(choice, (device, threads), paths, printer)?);
    let adapters = Adapters::new(Arc::clone(&engine), adapters, threads)?;
    adapters.load_all(printer)?;
    let (attributor, weights) = (adapters.measurer(), adapters.weights());
    Ok(Loaded { engine, attributor: Some(attributor), adapters: Some(Arc::new(adapters)), weights })
}

impl Loaded {
    /// An engine that nothing belongs to.
    pub(super) fn alone(engine: Arc<dyn Engine>) -> Self {
        Self { engine, attributor: None, adapters: None, weights: None }
    }
}

/// Fetches a model if it is a known one and not here, and loads it; says how far it is.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_model(
    choice: &ModelChoice,
    (device, threads): (DeviceChoice, usize),
    paths: &Paths,
    printer: &Printer,
) -> Outcome<OpenLora> {
    let (path, expected): (PathBuf, Option<Hash>) = match choice.path() {
        Some(path) => (path.to_path_buf(), None),
        None => {
            let model = fetch::find(choice.as_str())?;
            // A model that is here takes no time worth a word.
            let bar = match fetch::state(model, &paths.models())? {
                State::Verified => Bar::hidden(),
                State::Missing | State::WrongSize(_) | State::Unchecked => {
                    printer.bytes_bar(&format!("fetching {}", model.name), model.bytes)
                }
            };
            let fetched = Fetcher::default().fetch(model, &paths.models(), &bar);
            bar.finish();
            (fetched?.path, Some(model.sha256))
        }
    };
    let device = match device {
        DeviceChoice::Cpu => Device::Cpu,
        DeviceChoice::Cuda(number) => Device::Cuda(number.into()),
    };
    let settings = EngineSettings { device, threads, ..EngineSettings::default() };
    // A path that is wrong is told by loading.
    let total = OpenLora::size(&path).unwrap_or_default();
    let bar = printer.bytes_bar(&format!("loading {}", choice.as_str()), total);
    let mut progress = |loading: Loading| bar.at(loading.done_bytes);
    let loaded = OpenLora::load(&path, expected, settings, &mut progress);
    bar.finish();
    loaded.map_err(|error| Failure::new(error.code, error.what))
}

/// The pace of the stand-in, if it is chosen.
fn fake(name: &str) -> Outcome<Option<Duration>> {
    let Some(rest) = name.strip_prefix(FAKE) else { return Ok(None) };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok(Some(Duration::ZERO)),
        None => Ok(None),
        Some(millis) => match millis.parse::<u16>() {
            Ok(millis) => Ok(Some(Duration::from_millis(millis.into()))),
            Err(_) => Err(Failure::usage(format!("`{name}`: write fake:MILLISECONDS, at most 65535"))),
        },
    }
}

/// The stand-in with a pace, as a model has one.
struct Paced {
    engine: FakeEngine,
    pace: Duration,
}

impl Engine for Paced {
    fn base(&self) -> &BaseInfo {
        self.engine.base()
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.engine.adapters()
    }

    fn count(&self, request: &Request) -> Result<u64, EngineError> {
        self.engine.count(request)
    }

    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError> {
        Ok(Box::new(PacedStream { stream: self.engine.start(job)?, pace: self.pace }))
    }
}

struct PacedStream {
    stream: Box<dyn TokenStream>,
    pace: Duration,
}

impl TokenStream for PacedStream {
    fn next(&mut self) -> Pending<'_, Option<Piece>> {
        Box::pin(async move {
            if !self.pace.is_zero() {
                tokio::time::sleep(self.pace).await;
            }
            self.stream.next().await
        })
    }
}

/// What to do when the model's file or the device is not what it should be.
pub(super) fn advise(failure: Failure) -> Failure {
    match failure.code {
        Code::EngineFileMissing => failure.advise("check the path, or fetch a known model with `agora model fetch`"),
        Code::EngineBadModel | Code::EngineWrongHash => {
            failure.advise("the file is damaged or another one: remove it, then fetch it with `agora model fetch`")
        }
        Code::EngineNoDevice => failure.advise("install NVIDIA's driver, or compute on the processor: --device cpu"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_in_is_chosen_by_its_name_and_pace() {
        assert_eq!(fake("fake").unwrap(), Some(Duration::ZERO));
        assert_eq!(fake("fake:20").unwrap(), Some(Duration::from_millis(20)));
        assert_eq!(fake("smollm2-135m").unwrap(), None);
        assert_eq!(fake("faker").unwrap(), None);
        for wrong in ["fake:", "fake:x", "fake:-1", "fake:70000"] {
            assert_eq!(fake(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
