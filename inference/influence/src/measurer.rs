//! Measures answers for a host: one at a time, on a thread of its own, behind a bounded queue.

use std::cell::{LazyCell, OnceCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// Most indexes that are held: of as many adapters as an engine knows, and as many earlier ones.
const INDEXES_MAX: usize = 8_192;

/// Indexes by the hash of their spec; an adapter may have several. Its thread ends when it is dropped, after the answer that
/// it is at.
#[derive(Debug)]
pub struct Measurer {
    known: Arc<RwLock<Specs>>,
    openings: Arc<AtomicU64>,
    jobs: SyncSender<Job>,
}

/// The specs of all indexes.
#[derive(Debug, Default)]
struct Specs {
    /// By their hashes.
    all: BTreeMap<Hash, AttributionSpec>,
    /// By adapter, the hash of the one that was added last.
    last: BTreeMap<Hash, Hash>,
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
        let (known, openings) = (Arc::default(), Arc::default());
        let (specs, count) = (Arc::clone(&known), Arc::clone(&openings));
        thread::Builder::new().name("attribution".to_owned()).spawn(move || work(&waiting, threads, &specs, &count))?;
        Ok(Self { known, openings, jobs })
    }

    /// Adds an index with its base model; waits for its turn. One of the same spec is replaced; one of the same adapter
    /// stays, and answers that name its spec are measured by it.
    ///
    /// # Errors
    /// `attribution.bad_input` for an index of another model, or more than 8,192; `engine.stopped`.
    pub fn add(&self, index: Index, weights: Weights) -> Result<(), InfluenceError> {
        let (done, outcome) = oneshot::channel();
        let stopped = || InfluenceError::Refused { code: Code::EngineStopped, what: "attribution".to_owned() };
        self.jobs.send(Job::Add { index: Box::new(index), weights, done }).map_err(|_| stopped())?;
        futures::executor::block_on(outcome).map_err(|_| stopped())?
    }

    /// How often the rows of an index were gone over to be asked: at its first answer, and again at the first one after
    /// another index was added.
    pub fn openings(&self) -> u64 {
        self.openings.load(Ordering::Relaxed)
    }
}

impl Specs {
    fn get(&self, spec: &Hash) -> Option<&AttributionSpec> {
        self.all.get(spec)
    }

    fn of(&self, adapter: &Hash) -> Option<&AttributionSpec> {
        self.last.get(adapter).and_then(|spec| self.all.get(spec))
    }

    fn add(&mut self, hash: Hash, spec: AttributionSpec) {
        self.last.insert(spec.adapter_hash, hash);
        self.all.insert(hash, spec);
    }
}

impl Attributor for Measurer {
    fn knows(&self, spec: &Hash) -> bool {
        self.known.read().expect("nobody panics with it").get(spec).is_some()
    }

    fn spec_of(&self, adapter: &Hash) -> Option<AttributionSpec> {
        self.known.read().expect("nobody panics with it").of(adapter).cloned()
    }

    fn spec(&self, spec: &Hash) -> Option<AttributionSpec> {
        self.known.read().expect("nobody panics with it").get(spec).cloned()
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

/// Until nobody can ask any more. Opened rows borrow the indexes, so that a new index begins a new round.
fn work(jobs: &Receiver<Job>, threads: usize, known: &RwLock<Specs>, openings: &AtomicU64) {
    let mut held = Held::default();
    while let Some((index, weights, done)) = round(jobs, &mut held, openings) {
        let (hash, spec) = (index.spec_hash(), index.spec().clone());
        let added = held.add(index, weights, threads);
        if added.is_ok() {
            known.write().expect("nobody panics with it").add(hash, spec);
        }
        // Who no longer waits does not want to know.
        let _ = done.send(added);
    }
}

type Added = (Index, Weights, oneshot::Sender<Result<(), InfluenceError>>);

/// What is made of indexes in a round, by the hashes of their specs: each at its first answer.
type Cells<T> = BTreeMap<Hash, OnceCell<T>>;

fn cells<T>(indexes: &BTreeMap<Hash, Index>) -> Cells<T> {
    indexes.keys().map(|spec| (*spec, OnceCell::new())).collect()
}

/// Answers until an index is added, or nobody asks any more. A round without an answer costs nothing, so that a thousand
/// indexes come one after another without any of them being gone over again.
fn round(jobs: &Receiver<Job>, held: &mut Held, openings: &AtomicU64) -> Option<Added> {
    let Held { indexes, benches } = held;
    let indexes = &*indexes;
    let matrices = LazyCell::new(|| cells::<Option<Matrix<'_>>>(indexes));
    let publics = LazyCell::new(|| cells::<Public<'_>>(indexes));
    loop {
        match jobs.recv().ok()? {
            Job::Add { index, weights, done } => return Some((*index, weights, done)),
            Job::Attribute { done, .. } if done.is_canceled() => {}
            Job::Attribute { answer, done } => {
                let spec = &answer.spec;
                let evidence = match indexes.get(spec).zip(matrices.get(spec)).zip(publics.get(spec)) {
                    None => Err(bad_input("an attribution spec that this host has no index of")),
                    Some(((index, matrix), public)) => match benches.get_mut(&index.spec().base_hash) {
                        None => Err(bad_input("a base model that is not loaded")),
                        Some(bench) => open(index, matrix, public, openings)
                            .and_then(|public| measure(index, public, bench, &answer)),
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

/// What attribution by an index is computed from, made where it is not there yet.
fn open<'public, 'matrix, 'index: 'matrix>(
    index: &'index Index,
    matrix: &'matrix OnceCell<Option<Matrix<'index>>>,
    public: &'public OnceCell<Public<'matrix>>,
    openings: &AtomicU64,
) -> Result<&'public Public<'matrix>, InfluenceError> {
    if let Some(made) = public.get() {
        return Ok(made);
    }
    openings.fetch_add(1, Ordering::Relaxed);
    let opened = index.matrix()?;
    let made = index.public(matrix.get_or_init(|| opened).as_ref())?;
    Ok(public.get_or_init(|| made))
}

impl Held {
    /// The index was gone over when it was read.
    fn add(&mut self, index: Index, weights: Weights, threads: usize) -> Result<(), InfluenceError> {
        let base = weights.base().hash;
        if index.spec().base_hash != base || index.spec().tokenizer_hash != weights.base().tokenizer_hash {
            return Err(bad_input("an index of another base model"));
        }
        if self.indexes.len() >= INDEXES_MAX && !self.indexes.contains_key(&index.spec_hash()) {
            return Err(bad_input(format!("{INDEXES_MAX} indexes are held; start the node again with fewer")));
        }
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
