//! `agora factory`: an adapter from a datanet's version, with its papers and what measures its answers.

pub mod args;
pub mod documents;
mod lessons;
mod place;
mod questions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agora_actors::clock::Clock as _;
use agora_attribution::{AttributionSpec, DatanetRef, Method};
use agora_datanets::similar::{Clusters, Mark, MinHasher, Shingles};
use agora_factory::{About, Answers, BaseNotes, Maker, Papers, Progress, Settings, Tally, Target, Training, learnt};
use agora_gradient::Machine;
use agora_influence::{Adapter, Asked, EVERYDAY, Index, Stage, Teaching, Workbench, build};
use agora_openlora::OpenLora;
use agora_shell::settings::DeviceChoice;
use agora_shell::{Failure, Outcome, Printer};
use agora_types::{Amount, Canonical as _, Code};

use super::connect;
use super::context::Context;
use super::datanet::{self, Whole};
use super::keys::Keys;
use crate::control::{ModelView, Models, Request, Service};
use crate::node::System;
use crate::node::adapters::{INDEX, check_name};
use crate::node::engine::load_model;
use args::{Ask, MethodWord, Train};
use documents::{Answered, Credit, TrainedDocument};
use lessons::{Found, Lesson, lessons};
use questions::answered;

/// Where a training keeps its checkpoint, inside the network's folder.
const TRAINING: &str = "training";
/// Answers of the adapter that calibration looks at.
const OWN_MAX: usize = 24;
/// Near-duplicates are found from this similarity on, in thousandths, whatever the datanet's own rule is.
const NEAR: u16 = 800;

/// `agora factory train`. Stopped and given again it goes on: from the checkpoint, or where the adapter is there already,
/// with its index. A node that runs then serves the adapter.
///
/// # Errors
/// `node.bad_config`, `datanet.not_found`, `factory.*`, `engine.*`, `attribution.*`, `node.io`; the keeper's.
pub async fn train(context: &Context, service: &dyn Service, options: Train) -> Outcome<TrainedDocument> {
    let name = &options.name;
    check_name(name)?;
    let net = datanet::find(service, &options.datanet).await?;
    let whole = datanet::whole(service, &net, options.version).await?;
    let account = Keys::of(context)?.address(&options.from)?;
    let terms = &whole.signed.payload().terms;
    let mut tally = Tally::new(whole.signed.payload(), &whole.policy);
    whole.rows.iter().for_each(|(row, read)| tally.add(&read.example(row.place)));
    let mut counted = tally.finish();
    let times = || whole.rows.iter().filter_map(|(row, _)| row.committed);
    counted.collected = times().min().zip(times().max());
    let about = About {
        name: name.clone(),
        version: format!("{}.{}", net.name, whole.signed.payload().version),
        description: format!("Trained on version {} of {}.", whole.signed.payload().version, terms.title),
        licence: options.licence.clone().unwrap_or_else(|| terms.licence.clone()),
        maker: Maker { name: options.from.clone(), account, contact: None, representative: None },
        time: System.now(),
        page: None,
        placed: None,
        base: BaseNotes::default(),
        answers: Answers::default(),
        datanets: vec![counted],
    };
    let papers = Papers::new(about).map_err(|error| Failure::usage(error.to_string()))?;
    let cancel = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&cancel);
    let told = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let work = Work { context: context.clone(), options, whole, papers, cancel };
    let done = tokio::task::spawn_blocking(move || work.run()).await;
    told.abort();
    let trained = done.unwrap_or_else(|error| Err(Failure::new(Code::EngineStopped, format!("training: {error}"))))?;
    let served = is_taken_up(context, &trained).await;
    Ok(TrainedDocument { served, ..trained })
}

/// Has the running node serve the adapter; false where none runs. The adapter is trained, whatever the node says.
async fn is_taken_up(context: &Context, trained: &TrainedDocument) -> bool {
    let asked = async {
        // The one that ran when the training began may be gone, and another one there.
        let service = connect::node(context).await?;
        let models: Models = service.call(Request::Models).await?;
        if models.models.first().is_none_or(|base| base.hash != trained.base) {
            return Err(Failure::new(Code::EngineBadAdapter, "it serves another base model"));
        }
        service.call::<ModelView>(Request::AdapterLoad { name: trained.name.clone() }).await
    };
    match asked.await {
        Ok(_) => true,
        Err(failure) if failure.code == Code::NodeNotRunning => false,
        Err(failure) => {
            context.printer.warn(&format!("the running node does not take the adapter up: {failure}"));
            false
        }
    }
}

/// Everything that a training needs, on a thread that may block.
struct Work {
    context: Context,
    options: Train,
    whole: Whole,
    papers: Papers,
    cancel: Arc<AtomicBool>,
}

impl Work {
    fn run(&self) -> Outcome<TrainedDocument> {
        let (options, printer) = (&self.options, &self.context.printer);
        let home = self.context.paths.network(self.context.network());
        let folder = home.join(crate::node::ADAPTERS).join(&options.name);
        let version = self.whole.signed.payload();
        let reference = DatanetRef { id: version.terms.id(), root: version.root, tree_size: version.tree_size };
        let model = Model::load(&self.context, options.base.as_ref(), options.threads.as_ref())?;
        let weights = model.engine.weights().map_err(engine_failure)?;
        let settings = self.settings();
        let tokens_max = weights.shape().context.min(settings.batch_tokens as usize);
        let Found { lessons: taught, shortened, repeated } = lessons(&weights, &self.whole, tokens_max)?;
        if shortened > 0 {
            printer
                .warn(&format!("{shortened} answers are longer than {tokens_max} tokens, and are learnt up to there"));
        }
        if repeated > 0 {
            printer.warn(&format!(
                "{repeated} contributions repeat an earlier one's answer to the same question, and are left out"
            ));
        }
        let examples: Vec<_> = taught.iter().map(|lesson| lesson.example.clone()).collect();
        printer.note(&format!("{} lessons of {} contributions", examples.len(), self.whole.rows.len()));
        let mut losses = None;
        if !folder.exists() {
            let checkpoint = home.join(TRAINING).join(format!("{}.checkpoint", options.name));
            std::fs::create_dir_all(home.join(TRAINING)).map_err(Failure::io(&home))?;
            std::fs::create_dir_all(home.join(crate::node::ADAPTERS)).map_err(Failure::io(&home))?;
            let gradient = agora_gradient::Settings {
                threads: model.threads,
                fast: !options.exact,
                ..agora_gradient::Settings::default()
            };
            let mut machine = Machine::new(weights.clone(), &gradient).map_err(engine_failure)?;
            if let Some(rounding) = machine.rounding() {
                printer.note(&format!("on the processor's matrix unit ({rounding}); `--exact` would do without"));
            }
            let training = Training { settings: &settings, examples: &examples, checkpoint: Some(&checkpoint) };
            let line = Line::new(printer);
            let trained =
                agora_factory::train(&mut machine, &training, &self.cancel, &mut |progress| line.say(progress));
            line.end();
            let trained = trained.map_err(|error| Failure::new(error.code(), error.to_string()))?;
            if !trained.done {
                let what = format!("training was stopped after {} steps", trained.counts.steps);
                return Err(
                    Failure::new(Code::EngineStopped, what).advise("give the same command again: it goes on there")
                );
            }
            let datanets = [agora_receipts::receipt::DatanetRef {
                id: reference.id,
                root: reference.root,
                tree_size: reference.tree_size,
            }];
            let papers = |manifest: &agora_factory::Manifest| self.papers.files(manifest);
            let manifest = trained.write(&weights, (&settings, &datanets), &papers, &folder);
            let manifest = manifest.map_err(|error| Failure::new(error.code(), error.to_string()))?;
            std::fs::remove_file(&checkpoint).map_err(Failure::io(&checkpoint))?;
            losses = Some(manifest.losses);
        } else {
            self.check_same(&folder, &settings, &reference)?;
            printer.note(&format!("{} is there already", folder.display()));
        }
        let adapter = Adapter::read(&weights, &folder).map_err(engine_failure)?;
        let hash = adapter.hash;
        let spec = match options.no_index {
            true => None,
            false => Some(self.index(&model, &folder, adapter, (&settings, &examples, &taught), reference)?),
        };
        Ok(TrainedDocument {
            name: options.name.clone(),
            folder,
            adapter: hash,
            base: weights.base().hash,
            datanet: reference.id,
            version: version.version,
            lessons: examples.len() as u64,
            repeated: repeated as u64,
            losses,
            spec: spec.as_ref().map(AttributionSpec::hash),
            method: spec.as_ref().map(|spec| spec.method.name().to_owned()),
            calibration: spec.map(|spec| spec.calibration),
            served: false,
        })
    }

    fn settings(&self) -> Settings {
        let options = &self.options;
        Settings {
            rank: options.rank,
            alpha: options.alpha,
            rslora: options.rslora,
            targets: options.targets.iter().map(|target| Target::from(*target)).collect(),
            learning_rate: options.learning_rate,
            epochs: options.epochs,
            batch_tokens: options.batch_tokens,
            accumulation: options.accumulation,
            held_out_share: options.held_out,
            seed: options.seed,
            checkpoint_steps: options.checkpoint_steps,
            ..Settings::default()
        }
    }

    /// Succeeds when the adapter that is there was made by this very command.
    fn check_same(&self, folder: &Path, settings: &Settings, reference: &DatanetRef) -> Outcome<()> {
        let path = folder.join("manifest.json");
        let other = || Failure::new(Code::FactoryExists, format!("`{}`", self.options.name));
        let text = std::fs::read_to_string(&path).map_err(|_| other())?;
        let manifest: agora_factory::Manifest = serde_json::from_str(&text).map_err(|_| other())?;
        let same = manifest.settings == *settings
            && manifest.datanets.iter().any(|on| on.id == reference.id && on.root == reference.root);
        if same { Ok(()) } else { Err(other()) }
    }

    /// Whether an index measures as this command says.
    fn is_wanted(&self, spec: &AttributionSpec) -> bool {
        let (options, method) = (&self.options, method(self.options.method));
        spec.method == method
            && spec.sample_one_in == options.sample_one_in
            && (!method.has_gradients() || spec.gradient.dimension == options.dimension)
    }

    /// Builds the index, unless a good one is there that measures as this command says.
    fn index(
        &self,
        model: &Model,
        folder: &Path,
        adapter: Adapter,
        (settings, examples, taught): (&Settings, &[agora_factory::Example], &[Lesson]),
        reference: DatanetRef,
    ) -> Outcome<AttributionSpec> {
        let printer = &self.context.printer;
        if let Ok(known) = Index::open(&folder.join(INDEX), adapter.clone())
            && self.is_wanted(known.spec())
        {
            return Ok(known.spec().clone());
        }
        // What was held out taught nothing.
        let learnt: Vec<&Lesson> = learnt(settings, examples).into_iter().map(|at| &taught[at as usize]).collect();
        let rows: Vec<agora_influence::Example> = learnt
            .iter()
            .map(|lesson| agora_influence::Example {
                asked: Asked { prompt: lesson.example.prompt.clone(), response: lesson.example.response.clone() },
                text: lesson.text.clone(),
                about: lesson.about,
            })
            .collect();
        let weights = model.engine.weights().map_err(engine_failure)?;
        let served = model.engine.load_adapter(&self.options.name, folder).map_err(engine_failure)?;
        let step = learnt.len().div_ceil(OWN_MAX).max(1);
        let questions: Vec<&str> =
            learnt.iter().step_by(step).filter_map(|lesson| lesson.question.as_deref()).collect();
        let bar = printer.spinner("asking the adapter, for calibration");
        let own = answered(&model.engine, &weights, &questions, Some(served.hash))?;
        let null = answered(&model.engine, &weights, &EVERYDAY, None)?;
        bar.finish();
        let copies = self.copies(&learnt)?;
        let teaching = Teaching {
            adapter: &adapter,
            examples: &rows,
            datanets: &[reference],
            copies: &copies,
            null: &null,
            own: &own,
        };
        let settings = agora_influence::Settings {
            dimension: self.options.dimension,
            sample_one_in: self.options.sample_one_in,
            ..agora_influence::Settings::of(method(self.options.method))
        };
        let mut bench = Workbench::new(weights, model.threads).map_err(engine_failure)?;
        let bar = printer.bytes_bar("indexing", rows.len() as u64);
        let place = place::clear(folder)?;
        let built = build(&mut bench, &teaching, &settings, &place, &mut |progress| match progress.stage {
            Stage::Examples => bar.at(progress.done as u64),
            Stage::Calibration => {}
        });
        bar.finish();
        let spec = built.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        place::settle(folder)?;
        Ok(spec)
    }

    /// Lessons whose contributions say nearly the same.
    fn copies(&self, learnt: &[&Lesson]) -> Outcome<Vec<(u32, u32)>> {
        let hasher = MinHasher::default();
        let item = |at: u32| &self.whole.rows[learnt[at as usize].row].1;
        // Several lessons of one contribution are told apart, not compared.
        let first: Vec<u32> = (0u32..)
            .zip(learnt)
            .filter(|(at, lesson)| *at == 0 || learnt[*at as usize - 1].row != lesson.row)
            .map(|(at, _)| at)
            .collect();
        let mark = |at: &u32| Mark::new(item(*at).contribution.position, &item(*at).reveal.item, &hasher);
        let marks = first.iter().map(mark).collect::<Result<Vec<_>, Code>>();
        let marks = marks.map_err(|code| Failure::new(code, "a contribution"))?;
        let clusters = Clusters::find(&marks, Some(NEAR), |at| {
            Ok::<_, Failure>(Some(Shingles::of(&item(first[at as usize]).reveal.item.plain())))
        })?;
        let pairs = (0u32..).zip(&first).filter(|(at, _)| clusters.like(*at) != *at);
        Ok(pairs.map(|(at, place)| (first[clusters.like(at) as usize], *place)).collect())
    }
}

/// A base model that computes here.
struct Model {
    engine: OpenLora,
    threads: usize,
}

impl Model {
    fn load(
        context: &Context,
        base: Option<&agora_shell::settings::ModelChoice>,
        threads: Option<&agora_shell::settings::Threads>,
    ) -> Outcome<Self> {
        let settings = &context.settings;
        let choice = base.unwrap_or(&settings.model.value);
        let threads = threads.unwrap_or(&settings.threads.value).count();
        let engine = load_model(choice, (DeviceChoice::Cpu, threads), &context.paths, &context.printer)?;
        Ok(Self { engine, threads })
    }
}

pub(super) fn engine_failure(error: agora_inference_api::EngineError) -> Failure {
    Failure::new(error.code, error.what)
}

fn method(word: MethodWord) -> Method {
    match word {
        MethodWord::Ekfac => Method::InfluenceEkfacNnls,
        MethodWord::GradientDot => Method::GradientDot,
        MethodWord::GradientCosine => Method::GradientCosine,
        MethodWord::Datainf => Method::Datainf,
        MethodWord::Bm25 => Method::Bm25,
        MethodWord::Embedding => Method::EmbeddingSimilarity,
    }
}

/// The live line of a training; without a terminal a line now and then.
struct Line<'a> {
    printer: &'a Printer,
    bar: agora_shell::Bar,
}

impl<'a> Line<'a> {
    fn new(printer: &'a Printer) -> Self {
        Self { printer, bar: printer.spinner("training") }
    }

    fn say(&self, progress: &Progress) {
        let loss = progress.running_loss.map_or_else(String::new, |loss| format!("  loss {loss:.4}"));
        let left = progress.seconds_left.map_or_else(String::new, |left| format!("  {left:.0} s left"));
        let text = format!(
            "step {}/{}  epoch {}/{}{loss}  {:.0} tokens/s{left}",
            progress.step, progress.steps, progress.epoch, progress.epochs, progress.tokens_per_second,
        );
        self.bar.step(&text);
        if let Some(held_out) = progress.held_out_loss {
            self.printer.note(&format!("{text}  held out {held_out:.4}"));
        } else if progress.step.is_multiple_of((progress.steps / 10).max(1)) {
            self.printer.note(&text);
        }
    }

    fn end(&self) {
        self.bar.finish();
    }
}

/// `agora factory ask`.
///
/// # Errors
/// `engine.unknown_adapter`, `engine.*`, `attribution.*`.
pub async fn ask(context: &Context, options: Ask) -> Outcome<Answered> {
    let context = context.clone();
    let work = move || {
        let folder: PathBuf = context.paths.network(context.network()).join(crate::node::ADAPTERS).join(&options.name);
        if !folder.is_dir() {
            let what = format!("no adapter `{}` at {}", options.name, folder.display());
            return Err(Failure::new(Code::EngineUnknownAdapter, what).advise("train it with `agora factory train`"));
        }
        if !folder.join(INDEX).is_dir() {
            let what = format!("adapter `{}` has no index", options.name);
            return Err(Failure::new(Code::AttributionInput, what)
                .advise("give `agora factory train` again without --no-index"));
        }
        let model = Model::load(&context, options.base.as_ref(), options.threads.as_ref())?;
        let weights = model.engine.weights().map_err(engine_failure)?;
        let adapter = Adapter::read(&weights, &folder).map_err(engine_failure)?;
        let refused = |error: agora_influence::InfluenceError| Failure::new(error.code(), error.to_string());
        let index = Index::open(&folder.join(INDEX), adapter).map_err(refused)?;
        let served = match options.without_adapter {
            true => None,
            false => Some(model.engine.load_adapter(&options.name, &folder).map_err(engine_failure)?.hash),
        };
        let (text, asked) = questions::one(&model.engine, &weights, (&options.question, options.tokens), served)?;
        let mut bench = Workbench::new(weights, model.threads).map_err(engine_failure)?;
        let matrix = index.matrix().map_err(refused)?;
        let public = index.public(matrix.as_ref()).map_err(refused)?;
        let pool = Amount::from_open(1);
        let evidence = index.attribute(&public, &mut bench, &asked, pool).map_err(refused)?;
        let mut credits: std::collections::BTreeMap<agora_types::Address, Credit> = std::collections::BTreeMap::new();
        for entry in &evidence.entries {
            let credit =
                credits.entry(entry.account).or_insert(Credit { account: entry.account, share: 0, entries: 0 });
            credit.share += entry.share;
            credit.entries += 1;
        }
        let mut credits: Vec<Credit> = credits.into_values().filter(|credit| credit.share > 0).collect();
        credits.sort_by_key(|credit| (std::cmp::Reverse(credit.share), credit.account));
        Ok(Answered {
            answer: text,
            adapter: !options.without_adapter,
            explained: evidence.summary.explained,
            residual: evidence.summary.residual,
            grade: evidence.summary.grade,
            copied_spans: evidence.spans.len() as u64,
            credits,
        })
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::new(Code::EngineStopped, format!("asking: {error}"))))
}
