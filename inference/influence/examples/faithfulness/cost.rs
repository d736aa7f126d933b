//! What an attribution costs beside the answer that it is of, and how long a scan takes.

use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use agora_attribution::{
    AttributionSpec, Evidence, Matrix, Method, Public, RowTable, SAMPLE_MAX, Sample, Sampled, Scored, Vector, header,
    merge,
};
use agora_gradient::Layout;
use agora_inference_api::{Engine as _, Job, Piece, Request, SplitMix64};
use agora_influence::{Adapter, Asked, Index, Workbench};
use agora_kernels::Pool;
use agora_openlora::weights::Role;
use agora_openlora::{OpenLora, Settings};
use agora_types::{Address, Amount, Hash};
use futures::executor::block_on;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::methods::{Case, about, build_index, refused};

const DIMENSION: usize = 4_096;
const ROWS: [usize; 3] = [1_000, 10_000, 100_000];
/// Tokens of an answer.
const TOKENS: u64 = 128;
/// Answers at once.
const STREAMS: usize = 8;
/// Groups of calls, of which one is measured for all, whose costs are summed.
const GROUPS: usize = 3;
/// What of generating a group measuring one of its answers is to cost at most; it decides how many calls are a group.
const SHARE_MAX: f64 = 0.1;
/// So much more than an answer's attribution is reckoned with: a group's last batch is not full, and clocks are noisy.
const MARGIN: f64 = 1.15;
/// What the index is built from; it only has to be there.
const TAUGHT: usize = 8;

/// What is measured.
#[derive(Deserialize)]
pub(crate) struct Ask {
    model: PathBuf,
    folder: PathBuf,
    threads: usize,
    /// Rounds; in each, an answer alone, eight at once, and their attribution.
    rounds: usize,
    /// Scans of each size.
    scans: usize,
}

/// What one round took of the processor and of the clock, in seconds.
#[derive(Default, Clone, Copy)]
struct Spent {
    cpu: f64,
    wall: f64,
}

pub(crate) fn run(ask: &Ask) -> Result<Value, Failure> {
    let settings = Settings {
        threads: ask.threads,
        rows_max: STREAMS,
        context_max: 512,
        // Answers that are measured together are all let in.
        wait_max: std::time::Duration::from_secs(3_600),
        ..Settings::default()
    };
    let engine = OpenLora::load(&ask.model, None, settings, &mut |_| {})?;
    let folder = ask.folder.join("cost");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder)?;
    let adapter = any_adapter(&engine, &folder.join("adapter"))?;
    engine.load_adapter("measured", &folder.join("adapter"))?;

    let mut bench = Workbench::new(engine.weights()?, ask.threads)?;
    let taught: Vec<Asked> = (0..TAUGHT)
        .map(|at| {
            answered(&engine, &prompt(1_000 + at), "A lantern stands on the bridge and two rivers meet below it.")
        })
        .collect::<Result<_, _>>()?;
    let case = Case { adapter: &adapter, examples: &taught, queries: &[] };
    build_index(&mut bench, &case, Method::InfluenceEkfacNnls, &folder.join("index"))?;
    let index = Index::open(&folder.join("index"), adapter.clone())?;
    let worlds = ROWS.map(|rows| Rows::random(index.spec(), rows));

    let (mut singly, mut eightfold) = (Spent::default(), Spent::default());
    let (mut query, mut scans, mut solved) = (Spent::default(), [Spent::default(); 3], Spent::default());
    let (mut answers, mut number) = (0.0, 0);
    // The first round warms up.
    for round in 0..=ask.rounds {
        let (alone, own) = spent(|| answer(&engine, &adapter, &[prompt(number)]))?;
        number += 1;
        let prompts: Vec<String> = (0..STREAMS).map(|at| prompt(number + at)).collect();
        number += STREAMS;
        let (together, _) = spent(|| answer(&engine, &adapter, &prompts))?;
        let asked = answered(&engine, &prompt(number - STREAMS - 1), &own?[0])?;
        let (queried, vector) = spent(|| index.query(&mut bench, &asked))?;
        let vector = vector?.ok_or("a gradient is a vector")?;
        let mut scanned = [Spent::default(); 3];
        let mut least = Spent::default();
        for (world, to) in worlds.iter().zip(&mut scanned) {
            let matrix = world.matrix()?;
            let public = world.public(&matrix)?;
            let (took, best) = spent(|| scan(&public, world.rows(), ask.threads, &vector))?;
            *to = took;
            let best = best?;
            let (took, measured) = spent(|| public.measure(&vector, &best))?;
            measured.map_err(refused)?;
            least = took;
        }
        if round > 0 {
            for (sum, one) in
                [(&mut singly, alone), (&mut eightfold, together), (&mut query, queried), (&mut solved, least)]
            {
                sum.add(one);
            }
            scans.iter_mut().zip(scanned).for_each(|(sum, one)| sum.add(one));
            answers += 1.0;
            eprintln!(
                "   round {round}: an answer {:.2} s, eight {:.2} s, query {:.2} s, scan of {} {:.3} s, least squares {:.3} s",
                alone.wall, together.wall, queried.wall, ROWS[2], scanned[2].wall, least.wall
            );
        }
    }
    let one = (query.cpu + solved.cpu + scans[2].cpu) / answers;
    let mut groups = Vec::new();
    for (streams, own) in [(1, singly.cpu / answers), (STREAMS, eightfold.cpu / (answers * STREAMS as f64))] {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "2 to 64 of them")]
        let calls = (MARGIN * one / own / SHARE_MAX).ceil().clamp(2.0, SAMPLE_MAX as f64) as usize;
        let mut host = Host { engine: &engine, adapter: &adapter, index: &index, bench: &mut bench, world: &worlds[2] };
        groups.push(host.groups(calls, streams, &mut number, ask.threads)?);
    }
    let latency = worlds.iter().map(|world| latency(world, ask)).collect::<Result<Vec<_>, _>>()?;
    let by = |spent: Spent, answers: f64| json!({ "cpu_s": spent.cpu / answers, "wall_s": spent.wall / answers });
    Ok(json!({
        "tokens": TOKENS, "streams": STREAMS, "rounds": ask.rounds, "threads": ask.threads, "dimension": DIMENSION,
        "alone": by(singly, answers), "together": by(eightfold, answers * STREAMS as f64),
        "query": by(query, answers), "solve": by(solved, answers),
        "scans": ROWS.iter().zip(scans).map(|(rows, spent)| json!({ "rows": rows, "each": by(spent, answers) })).collect::<Vec<_>>(),
        "groups": groups, "latency": latency,
        "reading_bytes_s": reading(ask.threads, ROWS[2] * DIMENSION)?,
    }))
}

/// Who serves calls and measures one for several, over 100,000 rows.
struct Host<'a> {
    engine: &'a OpenLora,
    adapter: &'a Adapter,
    index: &'a Index,
    bench: &'a mut Workbench,
    world: &'a Rows,
}

impl Host<'_> {
    /// Serves some groups of so many calls, so many at once, and makes the evidence of each call: what both took in all.
    fn groups(&mut self, calls: usize, streams: usize, number: &mut usize, threads: usize) -> Result<Value, Failure> {
        let (mut generated, mut measured) = (Spent::default(), Spent::default());
        let matrix = self.world.matrix()?;
        let public = self.world.public(&matrix)?;
        for _ in 0..GROUPS {
            let prompts: Vec<String> = (0..calls).map(|at| prompt(*number + at)).collect();
            *number += calls;
            let mut said = Vec::new();
            for some in prompts.chunks(streams) {
                let (took, texts) = spent(|| answer(self.engine, self.adapter, some))?;
                generated.add(took);
                said.extend(texts?);
            }
            let (took, evidence) = spent(|| self.evidence(&public, (&prompts, &said), threads))?;
            measured.add(took);
            if evidence?.len() != calls {
                return Err("evidence for each call".into());
            }
        }
        eprintln!(
            "   {calls} calls, {streams} at once: {:.2} s, one of them measured {:.2} s",
            generated.cpu, measured.cpu
        );
        let both = |spent: Spent| json!({ "cpu_s": spent.cpu, "wall_s": spent.wall });
        Ok(json!({
            "calls": calls, "streams": streams, "groups": GROUPS, "generation": both(generated), "attribution": both(measured),
        }))
    }

    /// As a host measures a group: one of them is drawn, and its shares pay each call's own pool.
    fn evidence(
        &mut self,
        public: &Public<'_>,
        (prompts, said): (&[String], &[String]),
        threads: usize,
    ) -> Result<Vec<Evidence>, Failure> {
        let pool = Amount::from_atoms(1_000_000_007);
        let call = |index: u64| Sampled { index, leaf: Hash::sha256(index.to_be_bytes()), pool };
        let sample = Sample::new((0..prompts.len() as u64).map(call).collect()).map_err(refused)?;
        let drawn = usize::try_from(sample.drawn().index)?;
        let asked = answered(self.engine, &prompts[drawn], &said[drawn])?;
        let vector = self.index.query(self.bench, &asked)?.ok_or("a gradient is a vector")?;
        let best = scan(public, self.world.rows(), threads, &vector)?;
        let measured = public.measure(&vector, &best).map_err(refused)?;
        let runs = self.index.runs(self.bench, &asked)?;
        let output_tokens = u32::try_from(asked.response.len())?;
        let asked = agora_attribution::Asked { query: Some(&vector), output_tokens, runs: &runs, pool };
        let one = public.attribute(&asked, measured).map_err(refused)?;
        let each = sample.calls.iter().map(|call| one.for_call(&self.world.spec, &sample, call.index));
        each.collect::<Result<Vec<_>, _>>().map_err(refused)
    }
}

impl Spent {
    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.wall += other.wall;
    }
}

fn spent<T>(work: impl FnOnce() -> T) -> Result<(Spent, T), Failure> {
    let (begun, before) = (Instant::now(), cpu_s()?);
    let done = work();
    Ok((Spent { wall: begun.elapsed().as_secs_f64(), cpu: cpu_s()? - before }, done))
}

/// Seconds of the processor that this process has had, in steps of a hundredth.
fn cpu_s() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let behind = text.rsplit_once(')').ok_or("a name in /proc/self/stat")?.1;
    let ticks: Vec<f64> = behind.split_whitespace().skip(11).take(2).filter_map(|tick| tick.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

/// An adapter of rank 8 for queries and values: what its numbers are does not change what it costs.
fn any_adapter(engine: &OpenLora, folder: &std::path::Path) -> Result<Adapter, Failure> {
    let weights = engine.weights()?;
    let shape = weights.shape();
    let layout = Layout::new(shape, 8, 4.0, &[Role::Query, Role::Value], 0..shape.layers)?;
    let mut random = SplitMix64(7);
    let numbers: Vec<f32> = (0..layout.size()).map(|_| random.symmetric() * 0.01).collect();
    weights.write_adapter(&layout.tuned(&numbers), folder)?;
    Ok(Adapter::read(&weights, folder)?)
}

fn prompt(number: usize) -> String {
    format!("Write a very long story, at least fifty pages, about a lantern, a bridge and the number {number}.")
}

fn answered(engine: &OpenLora, prompt: &str, answer: &str) -> Result<Asked, Failure> {
    let taught = engine.weights()?.taught(&Request::ask(prompt, TOKENS), answer)?;
    Ok(Asked { prompt: taught.prompt, response: taught.response })
}

/// Whole answers, all at once; each pays as somebody else, so that no prompt is found again.
fn answer(engine: &OpenLora, adapter: &Adapter, prompts: &[String]) -> Result<Vec<String>, Failure> {
    let mut running = Vec::new();
    for prompt in prompts {
        let mut payer = [0; 20];
        payer.copy_from_slice(&Hash::sha256(prompt).as_bytes()[..20]);
        let request = Request::ask(prompt.as_str(), TOKENS);
        let job = Job { adapter: Some(adapter.hash), payer: Some(Address::new(payer)), ..Job::new(request, 4_096) };
        running.push(engine.start(job)?);
    }
    let all = block_on(join_all(running.into_iter().map(|mut stream| async move {
        let mut whole = String::new();
        while let Some(piece) = stream.next().await? {
            match piece {
                Piece::Token { text, .. } | Piece::End { text, .. } => whole += &text,
            }
        }
        Ok::<_, agora_inference_api::EngineError>(whole)
    })));
    Ok(all.into_iter().collect::<Result<_, _>>()?)
}

/// A matrix of random rows with the spec of a real one.
struct Rows {
    file: Vec<u8>,
    spec: AttributionSpec,
    table: RowTable,
}

impl Rows {
    fn random(spec: &AttributionSpec, rows: usize) -> Self {
        let mut file = header(DIMENSION, rows).expect("inside the bounds").to_vec();
        let mut random = SplitMix64(rows as u64);
        file.reserve_exact(rows * DIMENSION);
        for _ in 0..rows * DIMENSION / 8 {
            // Two numbers of seven bits are added in each byte: a hill, as projected gradients have.
            let (one, other) = (random.next(), random.next());
            let mix = |(a, b): (u8, u8)| ((a >> 2) + (b >> 2)).wrapping_sub(63);
            file.extend(one.to_le_bytes().into_iter().zip(other.to_le_bytes()).map(mix));
        }
        let count = u32::try_from(rows).expect("at most 100,000");
        let table = RowTable { examples: (0..rows).map(about).collect(), owners: (0..count).collect() };
        let mut spec = spec.clone();
        spec.commitments.examples = rows as u64;
        spec.sample_one_in = u32::try_from(SAMPLE_MAX).expect("64");
        Self { file, spec, table }
    }

    fn rows(&self) -> u32 {
        u32::try_from(self.table.examples.len()).expect("at most 100,000")
    }

    fn matrix(&self) -> Result<Matrix<'_>, Failure> {
        Matrix::open(&self.file).map_err(refused)
    }

    fn public<'a>(&'a self, matrix: &'a Matrix<'a>) -> Result<Public<'a>, Failure> {
        Public::new(&self.spec, Some(matrix), &self.table).map_err(refused)
    }
}

/// As an index scans: a part of the rows on each thread.
fn scan(public: &Public<'_>, rows: u32, threads: usize, query: &Vector) -> Result<Vec<Scored>, Failure> {
    let step = rows.div_ceil(u32::try_from(threads)?).max(1);
    let parts: Vec<Range<u32>> = (0..rows).step_by(step as usize).map(|start| start..start + step).collect();
    let found = thread::scope(|scope| {
        let running: Vec<_> = parts.iter().map(|part| scope.spawn(|| public.scan(query, part.clone()))).collect();
        running.into_iter().map(|one| one.join().expect("a scan does not panic")).collect::<Result<Vec<_>, _>>()
    });
    Ok(merge(found.map_err(refused)?))
}

/// Scan and least squares, many times: median and the time within which 95 of 100 are done.
fn latency(world: &Rows, ask: &Ask) -> Result<Value, Failure> {
    let matrix = world.matrix()?;
    let public = world.public(&matrix)?;
    let mut random = SplitMix64(11);
    let mut scans = Vec::new();
    let mut both = Vec::new();
    for _ in 0..=ask.scans {
        let own = random.below(world.rows() as usize);
        let row = matrix.row(u32::try_from(own)?).ok_or("a row")?.bytes().to_vec();
        let vector = Vector::new(row).map_err(refused)?;
        let begun = Instant::now();
        let best = scan(&public, world.rows(), ask.threads, &vector)?;
        scans.push(begun.elapsed().as_secs_f64());
        public.measure(&vector, &best).map_err(refused)?;
        both.push(begun.elapsed().as_secs_f64());
    }
    let part = |values: &mut Vec<f64>, part: usize| {
        values.sort_by(f64::total_cmp);
        values[(values.len() * part).div_ceil(100).saturating_sub(1)]
    };
    // The first one warms up.
    scans.remove(0);
    both.remove(0);
    Ok(json!({
        "rows": world.rows(), "size": world.file.len(), "scans": ask.scans,
        "scan_median_s": part(&mut scans, 50), "scan_p95_s": part(&mut scans, 95),
        "median_s": part(&mut both, 50), "p95_s": part(&mut both, 95),
    }))
}

/// Bytes a second that so many threads read from memory of this size together: the median of some rounds.
fn reading(threads: usize, size: usize) -> Result<f64, Failure> {
    let mut pool = Pool::new(threads)?;
    let words: Vec<u64> = vec![1; size / 8];
    let tasks = threads * 8;
    let mut rounds: Vec<f64> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            pool.run(tasks, &|task| {
                let part = words.len() / tasks;
                let mut sums = [0_u64; 64];
                for chunk in words[task * part..][..part].as_chunks::<64>().0 {
                    for (sum, word) in sums.iter_mut().zip(chunk) {
                        *sum |= word;
                    }
                }
                std::hint::black_box(sums);
            });
            size as f64 / begun.elapsed().as_secs_f64()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[rounds.len() / 2])
}
