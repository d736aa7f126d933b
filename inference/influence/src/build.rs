//! Builds an index: one pass of the model over the examples, the rest is arithmetic.

use std::fs;
use std::path::Path;

use agora_attribution::{
    AttributionSpec, Calibration, Commitments, DatanetRef, Gradient, Matrix, Method, ROWS_MAX, RowTable, Rule,
    SPEC_VERSION, SolverRules, Vector, WHOLE, header, owners,
};
use agora_kernels::Split;
use agora_types::Canonical as _;

use crate::InfluenceError;
use crate::blocks::Blocks;
use crate::collect::Gradients;
use crate::curvature::Curvature;
use crate::datainf::Datainf;
use crate::duplicates::near;
use crate::failure::{bad_input, refused};
use crate::files::{self, CURVATURE, GRADIENTS, ROWS, SPEC, SUFFIXES, TABLE, file_root};
use crate::first::First;
use crate::index::{Bent, Index, Lens, words};
use crate::projection::Projection;
use crate::settings::{CODE_VERSION, Settings};
use crate::suffix::Suffixes;
use crate::vectors::{clip, gradient_length, length, quantise, row_scale_milli};
use crate::workbench::{Adapter, Asked, Example, Workbench};

/// Most examples that calibration takes as queries of their own; more are thinned out evenly.
const OWN_MAX: usize = 256;

/// What an index is built from.
#[derive(Debug, Clone, Copy)]
pub struct Teaching<'a> {
    /// The adapter as it was published.
    pub adapter: &'a Adapter,
    /// What it was taught; a row for each, in this order.
    pub examples: &'a [Example],
    /// The datanets, in rising order of id.
    pub datanets: &'a [DatanetRef],
    /// Pairs of examples whose texts are near-duplicates. The one that was committed first stands for all that are like it:
    /// the others bend neither curvature nor clip, and no words of theirs are looked for in answers. Examples that
    /// add next to nothing to what was said before are found here.
    pub copies: &'a [(u32, u32)],
    /// Questions that the data taught nothing of, with answers of the base model.
    pub null: &'a [Asked],
    /// Questions that the data teaches, with answers of the adapter. Empty: the examples themselves; then g = 1 is reached
    /// by answers only that are explained as well as an example is by its own row.
    pub own: &'a [Asked],
}

/// How far a build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// With what.
    pub stage: Stage,
    /// How many are done.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// The long parts of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The examples' gradients or embeddings: nearly all of the time.
    Examples,
    /// What null and own queries are explained to.
    Calibration,
}

/// Builds an index into a folder and gives its spec, which is written last: a folder without one is no index. The same
/// input gives the same bytes, on any number of threads.
///
/// # Errors
/// `attribution.bad_input` for examples or settings out of bounds, `engine.bad_request` for tokens that the model cannot
/// take, [`InfluenceError::Calibration`] if the data explains itself no better than what it did not teach.
pub fn build(
    bench: &mut Workbench,
    teaching: &Teaching<'_>,
    settings: &Settings,
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<AttributionSpec, InfluenceError> {
    let count = teaching.examples.len();
    if !(1..=ROWS_MAX).contains(&count) {
        return Err(bad_input(format!("{count} examples; 1 to {ROWS_MAX} are possible")));
    }
    fs::create_dir_all(folder).map_err(files::failed(folder))?;
    // The old spec goes first: it commits to files that are about to be written anew.
    match fs::remove_file(folder.join(SPEC)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(files::failed(folder)(error)),
        _ => {}
    }
    let first = First::of(teaching.examples, settings.clusters.shingle_tokens as usize)?;
    let copies = [teaching.copies, &first.copies].concat();
    let teaching = &Teaching { copies: &copies, ..*teaching };
    let counts = originals(teaching)?;
    let mut new = New { counts: &counts, held: &first.held };
    if !settings.method.has_curvature() {
        // Those for comparison are as they were published.
        new.held = &[];
    }
    let each = teaching.examples.iter().zip(&counts);
    let texts: Vec<&[u32]> =
        each.map(|(example, counts)| if *counts { example.text.as_slice() } else { &[] }).collect();
    if settings.method.has_gradients() && !(1..=1_000).contains(&settings.strength_milli) {
        return Err(bad_input(format!("a strength of {}; 1 to 1,000 are possible", settings.strength_milli)));
    }
    // What computes gradients, here and at every call.
    let adapter = match settings.method.has_gradients() {
        true => teaching.adapter.clone().at_strength(settings.strength_milli),
        false => teaching.adapter.clone(),
    };
    let suffixes = match texts.iter().all(|text| text.is_empty()) {
        true => None,
        false => Some(Suffixes::new(&texts)?),
    };
    let made = match settings.method {
        Method::DeclaredWeights => return Err(bad_input("declared weights are not measured")),
        Method::Bm25 => Made { lens: words(suffixes.as_ref())?, rows: None, clip_milli: 0, scale_milli: 0 },
        Method::EmbeddingSimilarity => embeddings(bench, teaching, progress)?,
        _ => gradients(bench, &Teaching { adapter: &adapter, ..*teaching }, (settings, new), folder, progress)?,
    };
    let table = table(teaching, settings, made.rows.as_deref())?;
    let spec = spec(bench, teaching, settings, &made, &table, suffixes.as_ref())?;
    let Made { lens, rows, .. } = made;
    let mut index = Index { spec_hash: spec.hash(), spec, table, adapter, rows, lens, suffixes };
    index.spec.calibration = calibrate(&index, bench, teaching, progress)?;
    index.spec.check().map_err(refused("the attribution spec"))?;
    write(&index, folder)?;
    Ok(index.spec)
}

/// For each example whether it counts: not where its text is a copy of an earlier one's.
fn originals(teaching: &Teaching<'_>) -> Result<Vec<bool>, InfluenceError> {
    let examples: Vec<agora_attribution::Example> = teaching.examples.iter().map(|example| example.about).collect();
    let owners = owners(&examples, teaching.copies).map_err(refused("pairs of near-copies"))?;
    Ok((0u32..).zip(owners).map(|(row, owner)| row == owner).collect())
}

/// What of the examples was not there before.
#[derive(Clone, Copy)]
struct New<'a> {
    /// For each whether it counts.
    counts: &'a [bool],
    /// For each the tokens of its response that an earlier one holds; none beyond the end.
    held: &'a [Vec<bool>],
}

/// What the model made of the examples.
struct Made {
    lens: Lens,
    rows: Option<Vec<u8>>,
    clip_milli: u64,
    scale_milli: u64,
}

fn gradients(
    bench: &mut Workbench,
    teaching: &Teaching<'_>,
    (settings, new): (&Settings, New<'_>),
    folder: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Made, InfluenceError> {
    let layers = bench.weights().shape().layers;
    let first = settings.layer_first.map_or(layers - layers.div_ceil(3), |first| first as usize);
    let blocks = Blocks::new(&teaching.adapter.layout, first)?;
    let dimension = settings.dimension as usize;
    let projection = Projection::new(settings.projection_seed.as_bytes(), blocks.size(), dimension)?;
    let total = teaching.examples.len();
    let mut taken = Gradients::new(blocks.size(), total, settings.gradients_size_max, folder)?;
    let mut lengths = Vec::with_capacity(total);
    for (done, example) in teaching.examples.iter().enumerate() {
        progress(Progress { stage: Stage::Examples, done, total });
        let held = new.held.get(done).map_or(&[] as &[bool], Vec::as_slice);
        let gradient = bench.gradient(teaching.adapter, &blocks, &example.asked, held)?;
        lengths.push(gradient_length(gradient));
        taken.push(gradient)?;
    }
    progress(Progress { stage: Stage::Examples, done: total, total });
    let counted = || lengths.iter().zip(new.counts).filter(|(_, counts)| **counts).map(|(length, _)| *length);
    let clip_milli = settings.clip_milli.unwrap_or_else(|| usual_clip_milli(counted().collect()));
    taken.each(&mut |some| some.chunks_exact_mut(blocks.size()).for_each(|one| clip(one, clip_milli)))?;
    let (pool, simd) = (&mut bench.pool, bench.simd);
    let bent = match settings.method {
        Method::InfluenceEkfacNnls => {
            let each = |work: &mut dyn FnMut(&mut [f32])| taken.each(work);
            Bent::Curvature(Curvature::measure((&blocks, new.counts), settings.damping_micro, pool, simd, each)?)
        }
        Method::Datainf => {
            let mut all = Vec::new();
            taken.each(&mut |some| all.extend_from_slice(some))?;
            Bent::Datainf(Datainf::new(&blocks, all)?)
        }
        _ => Bent::Plain,
    };
    // Methods by dot products see lengths: all rows are divided by the longest one's.
    let lengthy = settings.method.rule() == Rule::Positive(agora_attribution::Order::Dot);
    let longest = lengths.iter().copied().fold(0.0, f64::max).min(clip_milli as f64 / 1_000.0);
    let scale_milli = row_scale_milli(dimension);
    let mut rows = header(dimension, total).map_err(refused("the rows"))?.to_vec();
    taken.each(&mut |some| {
        if let Bent::Curvature(curvature) = &bent {
            some.chunks_exact_mut(blocks.size()).for_each(|gradient| curvature.divide(gradient));
        }
        let mut projected = vec![0.0; some.len() / blocks.size() * dimension];
        {
            let to = Split::new(&mut projected, dimension);
            pool.run(to.rows(), &|at| projection.apply(&some[at * blocks.size()..][..blocks.size()], to.take(at)));
        }
        for one in projected.chunks_exact(dimension) {
            let by = if lengthy { longest } else { length(one) };
            rows.extend(quantise(one, by, scale_milli));
        }
    })?;
    Ok(Made { lens: Lens::Gradient { blocks, projection, bent }, rows: Some(rows), clip_milli, scale_milli })
}

/// Four times the median length, in thousandths; at least one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lengths are finite and not negative")]
fn usual_clip_milli(mut lengths: Vec<f64>) -> u64 {
    lengths.sort_unstable_by(f64::total_cmp);
    ((4_000.0 * lengths[lengths.len() / 2]).ceil() as u64).max(1)
}

fn embeddings(
    bench: &mut Workbench,
    teaching: &Teaching<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Made, InfluenceError> {
    let total = teaching.examples.len();
    let mut all = Vec::with_capacity(total);
    for (done, example) in teaching.examples.iter().enumerate() {
        progress(Progress { stage: Stage::Examples, done, total });
        let mean = bench.embedding(teaching.adapter, &example.asked)?;
        all.push(mean.into_iter().map(f64::from).collect::<Vec<_>>());
    }
    // A few entries of states are far larger than the others: nothing is clamped, so that they stay.
    let highest = |one: &Vec<f64>| one.iter().map(|number| number.abs()).fold(0.0, f64::max) / length(one).max(1e-30);
    let highest = all.iter().map(highest).fold(1e-6, f64::max);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 127e9")]
    let scale_milli = (127_000.0 / highest).floor() as u64;
    let mut rows = header(bench.weights().shape().width, total).map_err(refused("the rows"))?.to_vec();
    all.iter().for_each(|one| rows.extend(quantise(one, length(one), scale_milli)));
    Ok(Made { lens: Lens::Embedding, rows: Some(rows), clip_milli: 0, scale_milli })
}

fn table(teaching: &Teaching<'_>, settings: &Settings, rows: Option<&[u8]>) -> Result<RowTable, InfluenceError> {
    let mut edges = teaching.copies.to_vec();
    if let Some(rows) = rows {
        edges.extend(near(&Matrix::open(rows).map_err(refused("the rows"))?, settings.clusters.cosine_min));
    }
    let examples: Vec<agora_attribution::Example> = teaching.examples.iter().map(|example| example.about).collect();
    let owners = owners(&examples, &edges).map_err(refused("pairs of near-copies"))?;
    let table = RowTable { examples, owners };
    table.check().map_err(refused("the examples: weights, or positions that are not unique"))?;
    Ok(table)
}

fn spec(
    bench: &Workbench,
    teaching: &Teaching<'_>,
    settings: &Settings,
    made: &Made,
    table: &RowTable,
    suffixes: Option<&Suffixes>,
) -> Result<AttributionSpec, InfluenceError> {
    let matrix = made.rows.as_deref().map(Matrix::open).transpose().map_err(refused("the rows"))?;
    let dimension = matrix.as_ref().map_or(0, |matrix| u32::try_from(matrix.dimension()).expect("at most 65,536"));
    let (modules, layer_first, layer_end, curvature_root) = match &made.lens {
        Lens::Gradient { blocks, bent, .. } => {
            let layer = |layer: usize| u32::try_from(layer).expect("a model has few layers");
            let root = match bent {
                Bent::Curvature(curvature) => Some(file_root(&curvature.to_bytes())),
                _ => None,
            };
            let last = blocks.all().last().expect("an adapter changes something").layer;
            (blocks.modules(), layer(blocks.all()[0].layer), layer(last + 1), root)
        }
        _ => (Vec::new(), 0, 0, None),
    };
    let base = bench.weights().base();
    let spec = AttributionSpec {
        version: SPEC_VERSION,
        base_hash: base.hash,
        adapter_hash: teaching.adapter.hash,
        tokenizer_hash: base.tokenizer_hash,
        datanets: teaching.datanets.to_vec(),
        method: settings.method,
        gradient: Gradient {
            modules,
            layer_first,
            layer_end,
            projection_seed: settings.projection_seed,
            dimension,
            damping_micro: settings.damping_micro,
            clip_milli: made.clip_milli,
            row_scale_milli: made.scale_milli,
            strength_milli: if settings.method.has_gradients() { settings.strength_milli } else { 0 },
        },
        clusters: settings.clusters,
        solver: SolverRules::new(settings.l1_micro),
        verbatim: settings.verbatim,
        // Stands in until it is measured.
        calibration: Calibration { null_p95: 0, own_median: WHOLE },
        sample_one_in: settings.sample_one_in,
        code_version: CODE_VERSION.to_owned(),
        commitments: Commitments {
            examples_root: table.examples_root(),
            clusters_root: table.clusters_root(),
            matrix_root: matrix.as_ref().map(Matrix::root),
            suffix_array_root: suffixes.map(Suffixes::root),
            curvature_root,
            examples: table.examples.len() as u64,
        },
    };
    spec.check().map_err(refused("the attribution spec"))?;
    Ok(spec)
}

/// Between the 95th percentile of what nothing taught (0 without such queries) and the median of what the data taught.
fn calibrate(
    index: &Index,
    bench: &mut Workbench,
    teaching: &Teaching<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Calibration, InfluenceError> {
    let own: Vec<(Option<u32>, &Asked)> = match teaching.own.is_empty() {
        true => {
            let owners = || (0..).zip(teaching.examples).filter(|(row, _)| index.table.is_owner(*row));
            let step = owners().count().div_ceil(OWN_MAX);
            owners().step_by(step).map(|(row, example)| (Some(row), &example.asked)).collect()
        }
        false => teaching.own.iter().map(|asked| (None, asked)).collect(),
    };
    let total = teaching.null.len() + own.len();
    let matrix = index.matrix()?;
    let public = index.public(matrix.as_ref())?;
    let mut explained = Vec::with_capacity(total);
    let all = teaching.null.iter().map(|asked| (None, asked)).chain(own);
    for (done, (row, asked)) in all.enumerate() {
        progress(Progress { stage: Stage::Calibration, done, total });
        let query = match (row.zip(matrix.as_ref()), &index.lens) {
            (_, Lens::Gradient { bent: Bent::Datainf(_), .. }) | (None, _) => index.query(bench, asked)?,
            // An example's row is the query of its own answer.
            (Some((row, matrix)), _) => {
                let row = matrix.row(row).expect("a row for each example");
                Some(Vector::new(row.bytes().to_vec()).map_err(refused("a row"))?)
            }
        };
        explained.push(index.measure(&public, bench.threads, query.as_ref(), asked)?.explained);
    }
    let (null, own) = explained.split_at_mut(teaching.null.len());
    null.sort_unstable();
    own.sort_unstable();
    let null_p95 = null.get((null.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0);
    let own_median = own[(own.len() - 1) / 2];
    match null_p95 < own_median {
        true => Ok(Calibration { null_p95, own_median }),
        false => Err(InfluenceError::Calibration { null_p95, own_median }),
    }
}

fn write(index: &Index, folder: &Path) -> Result<(), InfluenceError> {
    files::write(folder, TABLE, &index.table.to_bytes())?;
    if let Some(rows) = &index.rows {
        files::write(folder, ROWS, rows)?;
    }
    if let Some(suffixes) = &index.suffixes {
        files::write(folder, SUFFIXES, &suffixes.to_bytes())?;
    }
    match &index.lens {
        Lens::Gradient { bent: Bent::Curvature(curvature), .. } => {
            files::write(folder, CURVATURE, &curvature.to_bytes())?;
        }
        Lens::Gradient { bent: Bent::Datainf(datainf), .. } => files::write(folder, GRADIENTS, &datainf.to_bytes())?,
        _ => {}
    }
    files::write(folder, SPEC, &index.spec.to_bytes())
}
