//! Measures answers for a host: one at a time, on a thread of its own, behind a bounded queue.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread;

use agora_attribution::{AttributionSpec, Evidence, Matrix, Public};
use agora_economy::ports::attribution::{Answer, AttributionFailure, Attributor, Pending};
use agora_inference_api::Request;
use agora_openlora::weights::Weights;
use agora_types::{Canonical as _, Code, Hash};
use futures::channel::oneshot;

use crate::InfluenceError;
use crate::failure::bad_input;
use crate::index::Index;
use crate::workbench::{Asked, Workbench};

/// Specs by their hashes.
type Specs = BTreeMap<Hash, AttributionSpec>;

/// Indexes by the hash of their spec. Its thread ends when it is dropped, after the answer that it is at.
#[derive(Debug)]
pub struct Measurer {
    known: Arc<RwLock<Specs>>,
    jobs: SyncSender<Job>,
}

enum Job {
    Add { index: Box<Index>, weights: Weights, done: oneshot::Sender<Result<(), InfluenceError>> },
    Attribute { answer: Answer, done: oneshot::Sender<Result<Evidence, AttributionFailure>> },
}

impl Measurer {
    /// Begins its thread, which computes with `threads`. At most `queue_max` answers wait; then `engine.busy`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(threads: usize, queue_max: usize) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel(queue_max.max(1));
        let known = Arc::default();
        let shared = Arc::clone(&known);
        thread::Builder::new().name("attribution".to_owned()).spawn(move || work(&waiting, threads, &shared))?;
        Ok(Self { known, jobs })
    }

    /// Adds an index with its base model; waits for its turn. One of the same spec is replaced.
    ///
    /// # Errors
    /// `attribution.bad_input` for an index of another model, `engine.stopped`.
    pub fn add(&self, index: Index, weights: Weights) -> Result<(), InfluenceError> {
        let (done, outcome) = oneshot::channel();
        let stopped = || InfluenceError::Refused { code: Code::EngineStopped, what: "attribution".to_owned() };
        self.jobs.send(Job::Add { index: Box::new(index), weights, done }).map_err(|_| stopped())?;
        futures::executor::block_on(outcome).map_err(|_| stopped())?
    }
}

impl Attributor for Measurer {
    fn knows(&self, spec: &Hash) -> bool {
        self.known.read().expect("nobody panics with it").contains_key(spec)
    }

    fn spec_of(&self, adapter: &Hash) -> Option<AttributionSpec> {
        let known = self.known.read().expect("nobody panics with it");
        known.values().find(|spec| spec.adapter_hash == *adapter).cloned()
    }

    fn attribute(&self, answer: Answer) -> Pending<'_> {
        let (done, outcome) = oneshot::channel();
        let sent = self.jobs.try_send(Job::Attribute { answer, done });
        Box::pin(async move {
            let failure = |code, what: &str| AttributionFailure { code, what: what.to_owned() };
            let stopped = || failure(Code::EngineStopped, "attribution");
            match sent {
                Ok(()) => outcome.await.map_err(|_| stopped())?,
                Err(TrySendError::Full(_)) => Err(failure(Code::EngineBusy, "attribution has many answers waiting")),
                Err(TrySendError::Disconnected(_)) => Err(stopped()),
            }
        })
    }
}

/// What the thread holds.
#[derive(Default)]
struct Held {
    indexes: BTreeMap<Hash, Index>,
    /// By the hash of the base model.
    benches: BTreeMap<Hash, Workbench>,
}

/// Until nobody can ask any more. Measured matrices borrow the indexes, so that a new index begins a new round.
fn work(jobs: &Receiver<Job>, threads: usize, known: &RwLock<Specs>) {
    let mut held = Held::default();
    while let Some((index, weights, done)) = round(jobs, &mut held) {
        let (hash, spec) = (index.spec_hash(), index.spec().clone());
        let added = held.add(index, weights, threads);
        if added.is_ok() {
            known.write().expect("nobody panics with it").insert(hash, spec);
        }
        // Who no longer waits does not want to know.
        let _ = done.send(added);
    }
}

type Added = (Index, Weights, oneshot::Sender<Result<(), InfluenceError>>);

/// Answers until an index is added, or nobody asks any more.
fn round(jobs: &Receiver<Job>, held: &mut Held) -> Option<Added> {
    let Held { indexes, benches } = held;
    // What was opened before opens again.
    let matrices: BTreeMap<Hash, Option<Matrix<'_>>> =
        indexes.iter().filter_map(|(spec, index)| Some((*spec, index.matrix().ok()?))).collect();
    let publics: BTreeMap<Hash, Public<'_>> = matrices
        .iter()
        .filter_map(|(spec, matrix)| Some((*spec, indexes.get(spec)?.public(matrix.as_ref()).ok()?)))
        .collect();
    loop {
        match jobs.recv().ok()? {
            Job::Add { index, weights, done } => return Some((*index, weights, done)),
            Job::Attribute { done, .. } if done.is_canceled() => {}
            Job::Attribute { answer, done } => {
                let found = indexes.get(&answer.spec).zip(publics.get(&answer.spec));
                let evidence = match found {
                    None => Err(bad_input("an attribution spec that this host has no index of")),
                    Some((index, public)) => match benches.get_mut(&index.spec().base_hash) {
                        None => Err(bad_input("a base model that is not loaded")),
                        Some(bench) => measure(index, public, bench, &answer),
                    },
                };
                let failure =
                    |error: InfluenceError| AttributionFailure { code: error.code(), what: error.to_string() };
                // Who no longer waits does not want to know.
                let _ = done.send(evidence.map_err(failure));
            }
        }
    }
}

impl Held {
    fn add(&mut self, index: Index, weights: Weights, threads: usize) -> Result<(), InfluenceError> {
        let base = weights.base().hash;
        if index.spec().base_hash != base || index.spec().tokenizer_hash != weights.base().tokenizer_hash {
            return Err(bad_input("an index of another base model"));
        }
        let matrix = index.matrix()?;
        index.public(matrix.as_ref())?;
        drop(matrix);
        if let std::collections::btree_map::Entry::Vacant(place) = self.benches.entry(base) {
            place.insert(Workbench::new(weights, threads)?);
        }
        self.indexes.insert(index.spec_hash(), index);
        Ok(())
    }
}

fn measure(
    index: &Index,
    public: &Public<'_>,
    bench: &mut Workbench,
    answer: &Answer,
) -> Result<Evidence, InfluenceError> {
    let asked = tokens_of(bench.weights(), &answer.request, &answer.response)?;
    index.attribute(public, bench, &asked, answer.pool)
}

/// A request and its answer in tokens, as they are taught. An answer that was cut at the request's `output_max` has no end.
///
/// # Errors
/// `attribution.bad_input` for bytes that are no request or no text, `engine.bad_request`.
pub fn tokens_of(weights: &Weights, request: &[u8], response: &[u8]) -> Result<Asked, InfluenceError> {
    let request = Request::from_bytes(request).map_err(|error| bad_input(error.to_string()))?;
    let text = std::str::from_utf8(response).map_err(|_| bad_input("an answer that is no text"))?;
    let taught = weights.taught(&request, text)?;
    let (prompt, mut response) = (taught.prompt, taught.response);
    let spoken = weights.encode(text.trim()).len();
    if spoken as u64 >= request.output_max && spoken > 0 {
        response.truncate(spoken);
    }
    Ok(Asked { prompt, response })
}
