//! What gaming pays: markets of texts, one for each attack, and who is paid how much for the same questions.
//!
//! Each market goes the way of a network: checks, commitments, near-duplicates and a version (`datanet.rs`), a training, an
//! index that is calibrated as `agora factory train` does it, and a [`Measurer`] that is asked as a host asks it, with the
//! governed part of a fixed charge. The adapter's own answers are what is paid for. What was measured is kept, so that a killed
//! run goes on.

mod attacks;
mod models;
mod results;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agora_datanets::Policy;
use agora_economy::ports::attribution::{Answer, Attributor as _};
use agora_economy::settle_legs;
use agora_inference_api::{Engine as _, EngineError, Job, Piece, Request};
use agora_influence::{
    Adapter, Asked, EVERYDAY, Example, Index, InfluenceError, Measurer, Teaching, Workbench, build, tokens_of,
};
use agora_openlora::OpenLora;
use agora_receipts::Role;
use agora_types::genesis::Split;
use agora_types::{Address, Amount, Canonical as _, Hash};
use futures::executor::block_on;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::datanet::{Lesson, Version};
use crate::methods::Bench;
use crate::retrain::{adapters, settings};
use attacks::{Market, People};
use results::{Results, Seen};

/// Tokens of an answer, and most answers of the adapter for calibration: those of `agora factory train`.
const TOKENS: u64 = 48;
const OWN_MAX: usize = 24;
/// Answers at once.
const TOGETHER: usize = 8;
/// What is paid for an answer: 0.002 OPEN.
const CHARGE: Amount = Amount::from_atoms(2_000_000_000_000_000);
/// What is measured.
#[derive(Deserialize)]
pub(crate) struct Ask {
    model: PathBuf,
    folder: PathBuf,
    threads: usize,
    /// Where the lessons lie.
    data: PathBuf,
    /// Lessons of each of the three.
    lessons: usize,
    epochs: u32,
    /// Most tokens of a batch, and so of a lesson.
    batch_tokens: u32,
    rate: f64,
    seed: u64,
    /// Leave out the attacks that choose by a model, and most others.
    small: bool,
}

/// Of a small run.
const FEW: [&str; 4] = ["own data five times, exactly", "own data five times, touched", "a copy, reworded", "junk"];

pub(crate) fn run(ask: &Ask) -> Result<Value, Failure> {
    let people = People::read(&ask.data, ask.lessons, ask.seed)?;
    let mut stage = Stage::set(ask, &people)?;
    let mut seen = vec![stage.seen(&people.honest())?, stage.seen(&people.again())?];
    for market in people.plain().iter().filter(|market| !ask.small || FEW.contains(&market.name)) {
        seen.push(stage.seen(market)?);
    }
    let (mut bridge, mut nearness) = (Value::Null, Value::Null);
    if !ask.small {
        let public = stage.ready(&people.honest())?;
        for market in stage.chosen(&people, &public)? {
            seen.push(stage.seen(&market)?);
        }
        bridge = stage.bridge(&people, &public)?;
        nearness = stage.nearness(&people, &public)?;
    }
    let parts = stage.parts();
    let times = |amount: Amount| Amount::from_atoms(amount.atoms() * ask.lessons as u128);
    Ok(json!({
        "lessons": ask.lessons, "epochs": ask.epochs, "rate": ask.rate, "seed": ask.seed,
        "questions": stage.questions.len(), "charge": CHARGE, "pool": parts.pool,
        // The attacker asks for its own data once each, as an account of its own; then also as model owner and host.
        "self_dealing": { "paid": times(CHARGE), "back": seen[0].attacker_own, "beside": times(parts.beside) },
        "bridge": bridge, "nearness": nearness, "markets": seen,
    }))
}

/// A question, and which of the three knows the answer.
struct Question {
    of: usize,
    text: String,
}

/// What a charge is split into: the contributors' pool, and what model owner and host get.
struct Parts {
    pool: Amount,
    beside: Amount,
}

/// A base model in all the forms that are needed.
struct Stage<'a> {
    ask: &'a Ask,
    folder: PathBuf,
    engine: OpenLora,
    bench: Bench,
    workbench: Workbench,
    questions: Vec<Question>,
    /// The base model's answers to questions that nobody taught.
    null: Vec<Asked>,
    results: Results,
}

/// An adapter that learnt a market, its index, and what it says.
struct Ready {
    adapter: Adapter,
    served: Hash,
    index: Index,
    texts: BTreeMap<String, String>,
}

impl<'a> Stage<'a> {
    fn set(ask: &'a Ask, people: &People) -> Result<Self, Failure> {
        let bounds = agora_openlora::Settings {
            threads: ask.threads,
            rows_max: TOGETHER,
            context_max: 1_024,
            // Answers that are asked for together are all let in.
            wait_max: Duration::from_secs(3_600),
            ..agora_openlora::Settings::default()
        };
        let engine = OpenLora::load(&ask.model, None, bounds, &mut |_| {})?;
        let weights = engine.weights()?;
        let folder = ask.folder.join("gaming");
        fs::create_dir_all(&folder)?;
        let questions = |(of, lessons): (usize, &Vec<Lesson>)| {
            lessons.iter().map(move |lesson| Question { of, text: lesson.prompt.clone() }).collect::<Vec<_>>()
        };
        Ok(Self {
            ask,
            bench: Bench::of(weights.clone(), ask.threads)?,
            workbench: Workbench::new(weights, ask.threads)?,
            questions: people.lessons.iter().enumerate().flat_map(questions).collect(),
            null: Vec::new(),
            results: Results::open(&folder.join("results.jsonl"))?,
            folder,
            engine,
        })
    }

    fn how(&self, seed: u64) -> agora_factory::Settings {
        settings(self.ask.rate, self.ask.epochs, self.ask.batch_tokens, seed)
    }

    fn parts(&self) -> Parts {
        let [owner, host] = ["owner", "host"].map(Address::system);
        let legs = settle_legs(&Split::default(), CHARGE, owner, host);
        let sum = |roles: &[Role]| {
            let own = legs.iter().filter(|leg| roles.contains(&leg.role));
            Amount::from_atoms(own.map(|leg| leg.amount.atoms()).sum())
        };
        Parts { pool: sum(&[Role::Contributors]), beside: sum(&[Role::ModelOwner, Role::Host]) }
    }

    fn tokens_max(&self) -> usize {
        self.bench.weights().shape().context.min(self.ask.batch_tokens as usize)
    }

    fn rows(&self, market: &Market) -> Result<(Version, Vec<Example>), Failure> {
        let version = Version::of(&market.gifts, Policy::default())?;
        let rows = version.rows(self.bench.weights(), self.tokens_max())?;
        Ok((version, rows))
    }

    /// A hash of all that decides what is measured.
    fn key(&self, market: &Market, rows: &[Example]) -> Hash {
        let mut bytes = self.bench.weights().base().hash.as_bytes().to_vec();
        bytes.extend(self.how(market.seed).hash().as_bytes());
        bytes.extend(agora_influence::CODE_VERSION.as_bytes());
        self.questions.iter().for_each(|question| bytes.extend(question.text.as_bytes()));
        market.attacker.iter().for_each(|account| bytes.extend(account.as_bytes()));
        for row in rows {
            bytes.extend(row.about.account.as_bytes());
            bytes.extend(row.about.position.seq.to_be_bytes());
            bytes.extend(tokens_hash(std::iter::once(&row.asked)).as_bytes());
        }
        Hash::sha256(bytes)
    }

    /// Goes through a market, unless what comes of it is known.
    fn seen(&mut self, market: &Market) -> Result<Seen, Failure> {
        let begun = Instant::now();
        let (version, rows) = self.rows(market)?;
        let given = market.gifts.iter().map(|gift| gift.lessons.len()).sum();
        eprintln!("== {}: {given} lessons given, {} in", market.name, rows.len());
        let key = self.key(market, &rows);
        let named = |mut seen: Seen| {
            market.name.clone_into(&mut seen.name);
            (seen.given, seen.refused, seen.flagged, seen.near) =
                (given, version.refused, version.flagged, version.near + version.repeated);
            seen
        };
        if let Some(seen) = self.results.get(&key) {
            return Ok(named(seen.clone()));
        }
        let mut seen = Seen::of(key, rows.len());
        match self.ready(market) {
            Ok(ready) => self.measure(market, ready, &mut seen)?,
            // Then nothing is paid by measure.
            Err(error) => match error.downcast_ref::<InfluenceError>() {
                Some(InfluenceError::Calibration { .. }) => seen.failed = Some(error.to_string()),
                _ => return Err(error),
            },
        }
        seen.seconds = begun.elapsed().as_secs_f64();
        let seen = named(seen);
        eprintln!("   {}", seen.line());
        self.results.keep(&seen)?;
        Ok(seen)
    }

    /// Trains, answers and indexes; what is there already is read.
    fn ready(&mut self, market: &Market) -> Result<Ready, Failure> {
        let (version, rows) = self.rows(market)?;
        let (adapter, served) = self.learnt(&rows, market.seed)?;
        let step = rows.len().div_ceil(OWN_MAX).max(1);
        let own: Vec<&str> = version.lessons.iter().step_by(step).map(|taught| taught.lesson.prompt.as_str()).collect();
        let mut wanted = own.clone();
        wanted.extend(self.questions.iter().map(|question| question.text.as_str()));
        let texts = self.answered(&wanted, Some(served))?;
        if self.null.is_empty() {
            let said = self.answered(&EVERYDAY, None)?;
            self.null = self.tokens(&EVERYDAY, &said)?;
        }
        let folder = self.folder.join("index");
        let own = self.tokens(&own, &texts)?;
        let teaching = Teaching {
            adapter: &adapter,
            examples: &rows,
            datanets: &[version.reference],
            copies: &version.copies,
            null: &self.null,
            own: &own,
        };
        let usual = agora_influence::Settings::default();
        build(&mut self.workbench, &teaching, &usual, &folder, &mut |progress| {
            eprint!("\r   index {:?}: {} of {}   ", progress.stage, progress.done, progress.total);
        })?;
        eprintln!();
        let index = Index::open(&folder, adapter.clone())?;
        Ok(Ready { adapter, served, index, texts })
    }

    /// The adapter of these rows, and the hash by which it is served.
    fn learnt(&mut self, rows: &[Example], seed: u64) -> Result<(Adapter, Hash), Failure> {
        let asked: Vec<Asked> = rows.iter().map(|row| row.asked.clone()).collect();
        let how = self.how(seed);
        let name = format!("trained-{}-{}", short(&how.hash()), short(&tokens_hash(&asked)));
        let folder = self.folder.join(&name);
        fs::create_dir_all(&folder)?;
        let adapter = adapters(&mut self.bench, &how, &asked, 1, &folder)?.pop().ok_or("an adapter")?;
        let served = self.engine.load_adapter(&name, &folder.join("adapter-1-of-1"))?.hash;
        Ok((adapter, served))
    }

    /// The likeliest answers to these questions.
    fn answered(&self, questions: &[&str], adapter: Option<Hash>) -> Result<BTreeMap<String, String>, Failure> {
        let mut texts = BTreeMap::new();
        for some in questions.chunks(TOGETHER) {
            let mut running = Vec::new();
            for question in some {
                // Nobody waits behind himself.
                let payer = Address::from_hash(&Hash::sha256(question));
                let job = Job { adapter, payer: Some(payer), ..Job::new(request(question), 4_096) };
                running.push(self.engine.start(job)?);
            }
            let said = block_on(join_all(running.into_iter().map(|mut stream| async move {
                let mut whole = String::new();
                while let Some(piece) = stream.next().await? {
                    match piece {
                        Piece::Token { text, .. } | Piece::End { text, .. } => whole += &text,
                    }
                }
                Ok::<_, EngineError>(whole)
            })));
            for (question, text) in some.iter().zip(said) {
                texts.insert((*question).to_owned(), text?);
            }
        }
        Ok(texts)
    }

    /// Questions with their answers in tokens; an answer of nothing is passed over.
    fn tokens(&self, questions: &[&str], texts: &BTreeMap<String, String>) -> Result<Vec<Asked>, Failure> {
        let said = questions.iter().filter_map(|question| Some((*question, texts.get(*question)?)));
        let said = said.filter(|(_, text)| !text.trim().is_empty());
        let weights = self.bench.weights();
        let asked = |(question, text): (&str, &String)| -> Result<Asked, Failure> {
            Ok(tokens_of(weights, &request(question).to_bytes(), text.as_bytes())?)
        };
        said.map(asked).collect()
    }

    /// Asks as a host asks: who is paid what.
    fn measure(&self, market: &Market, ready: Ready, seen: &mut Seen) -> Result<(), Failure> {
        let Ready { index, texts, .. } = ready;
        let owners = &index.table().owners;
        seen.clustered = (0u32..).zip(owners).filter(|(row, owner)| row != *owner).count();
        let spec = index.spec_hash();
        let measurer = Measurer::start(self.ask.threads, TOGETHER)?;
        measurer.add(index, self.bench.weights().clone())?;
        let pool = self.parts().pool;
        for Question { of, text } in &self.questions {
            let response = texts.get(text).ok_or("an answer to each question")?;
            let request = request(text).to_bytes();
            let answer = Answer { spec, request, response: response.clone().into_bytes(), pool };
            let evidence = block_on(measurer.attribute(answer))?;
            seen.add(&evidence, *of, &market.attacker)?;
        }
        Ok(())
    }
}

fn request(question: &str) -> Request {
    Request::ask(question, TOKENS)
}

fn tokens_hash<'a>(all: impl IntoIterator<Item = &'a Asked>) -> Hash {
    let mut bytes = Vec::new();
    for asked in all {
        for tokens in [&asked.prompt, &asked.response] {
            bytes.extend((tokens.len() as u64).to_be_bytes());
            bytes.extend(tokens.iter().flat_map(|token| token.to_be_bytes()));
        }
    }
    Hash::sha256(bytes)
}

fn short(hash: &Hash) -> String {
    hash.to_string().trim_start_matches("0x").chars().take(16).collect()
}
