//! Variants of ours over the last third of the layers, in f32 without a projection: dampings, checkpoints, least squares.

use agora_attribution::{ONE, Position, Problem};
use agora_influence::{Adapter, Asked, Blocks, Curvature};

use crate::Failure;
use crate::methods::{Bench, Case, Scores, about, narrow, refused};

/// Parts of a matrix's mean eigenvalue.
const DAMPINGS: [f64; 6] = [0.01, 0.1, 1.0, 10.0, 100.0, 1_000.0];
/// Least squares with other weights of l1, millionths, at a damping.
const L1: [u32; 4] = [0, 10_000, 20_000, 100_000];

/// Gradients of the last layers by one adapter, a row for each.
struct Rows {
    examples: Vec<f32>,
    queries: Vec<f32>,
}

/// Products and cosines of queries with examples, and cosines of examples with each other.
struct Compared {
    products: Vec<Vec<f64>>,
    cosines: Vec<Vec<f64>>,
    gram: Vec<Vec<f64>>,
}

/// All variants. `before` are the adapter's checkpoints, the earliest first.
pub(crate) fn variants(
    bench: &mut Bench,
    case: &Case<'_>,
    before: &[Adapter],
    l1_micro: u32,
) -> Result<Vec<Scores>, Failure> {
    let layers = bench.weights().shape().layers;
    let mut all = Vec::new();
    let blocks = Blocks::new(&case.adapter.layout, layers - layers.div_ceil(3))?;
    let mut path = Vec::new();
    for adapter in before.iter().chain([case.adapter]) {
        path.push(rows(bench, case, adapter, &blocks)?);
    }
    let curvatures: Vec<Curvature> = path.iter().map(|rows| curvature(bench, &blocks, &rows.examples)).collect();
    // Examples as they pulled over the whole training, asked about at its end: a query costs one gradient.
    let pooled = Rows { examples: mean(&path, blocks.size()), queries: path[path.len() - 1].queries.clone() };
    let pulls: Vec<f32> = path.iter().flat_map(|rows| rows.examples.iter().copied()).collect();
    let over = curvature(bench, &blocks, &pulls);
    for damping in DAMPINGS {
        let what = |kind: &str| format!("damping {damping}, {kind}");
        let seen: Vec<Compared> = path
            .iter()
            .zip(&curvatures)
            .map(|(rows, curvature)| compared(bench, &blocks, curvature, damping, rows))
            .collect();
        let (last, earlier) = seen.split_last().ok_or("an adapter")?;
        all.push(Scores::variant(what("products"), last.products.clone()));
        all.push(Scores::variant(what("cosines"), last.cosines.clone()));
        all.push(Scores::variant(what("shares"), shares(&last.cosines, &last.gram, l1_micro)?));
        for l1 in L1 {
            let kind = format!("shares with l1 of {}", f64::from(l1) / 1e6);
            all.push(Scores::variant(what(&kind), shares(&last.cosines, &last.gram, l1)?));
        }
        for (at, one) in earlier.iter().enumerate() {
            all.push(Scores::variant(what(&format!("cosines at checkpoint {}", at + 1)), one.cosines.clone()));
            let kind = format!("shares at checkpoint {}", at + 1);
            all.push(Scores::variant(what(&kind), shares(&one.cosines, &one.gram, l1_micro)?));
        }
        let (cosines, gram) = (average(&seen, |one| &one.cosines), average(&seen, |one| &one.gram));
        all.push(Scores::variant(what("shares of all checkpoints"), shares(&cosines, &gram, l1_micro)?));
        all.push(Scores::variant(what("cosines of all checkpoints"), cosines));
        let Compared { cosines, gram, .. } = compared(bench, &blocks, &over, damping, &pooled);
        all.push(Scores::variant(what("shares, rows of all checkpoints"), shares(&cosines, &gram, l1_micro)?));
        all.push(Scores::variant(what("cosines, rows of all checkpoints"), cosines));
    }
    Ok(all)
}

/// As an index takes them: summed over the response and divided by the root of its length.
fn rows(bench: &mut Bench, case: &Case<'_>, adapter: &Adapter, blocks: &Blocks) -> Result<Rows, Failure> {
    let mut cut = |all: &[Asked]| -> Result<Vec<f32>, Failure> {
        let gradients = bench.gradients(adapter, all)?;
        let mut rows = Vec::with_capacity(all.len() * blocks.size());
        for (one, asked) in gradients.chunks_exact(adapter.layout.size()).zip(all) {
            let root = narrow((asked.response.len() as f64).sqrt());
            rows.extend(one[blocks.offset()..].iter().map(|number| number / root));
        }
        Ok(rows)
    };
    Ok(Rows { examples: cut(case.examples)?, queries: cut(case.queries)? })
}

fn curvature(bench: &mut Bench, blocks: &Blocks, examples: &[f32]) -> Curvature {
    Curvature::of(blocks, 1_000_000, &mut bench.pool, bench.simd, examples)
}

/// Each example's mean over the checkpoints, each at length 1.
fn mean(path: &[Rows], size: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; path[0].examples.len()];
    for rows in path {
        for (to, from) in sums.chunks_exact_mut(size).zip(rows.examples.chunks_exact(size)) {
            let own = narrow(length(from));
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from / own);
        }
    }
    sums
}

fn length(one: &[f32]) -> f64 {
    one.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt().max(1e-30)
}

fn compared(bench: &mut Bench, blocks: &Blocks, curvature: &Curvature, damping: f64, rows: &Rows) -> Compared {
    let mut by = vec![0.0f32; blocks.size()];
    for (at, block) in blocks.all().iter().enumerate() {
        let values = curvature.block(at).0;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        for (to, value) in by[block.start..].iter_mut().zip(values) {
            let damped = f64::from(*value) + damping * mean;
            *to = if damped > 0.0 { narrow(damped.sqrt().recip()) } else { 0.0 };
        }
    }
    let mut divided = |from: &[f32]| -> Vec<f32> {
        let mut turned = from.to_vec();
        curvature.turn(&mut bench.pool, bench.simd, &mut turned);
        turned.iter_mut().zip(by.iter().cycle()).for_each(|(number, by)| *number *= by);
        turned
    };
    let (examples, queries) = (divided(&rows.examples), divided(&rows.queries));
    let size = blocks.size();
    let lengths = |from: &[f32]| from.chunks_exact(size).map(length).collect::<Vec<f64>>();
    let (own, asked) = (lengths(&examples), lengths(&queries));
    let wide = |numbers: Vec<f32>| -> Vec<Vec<f64>> {
        numbers.chunks_exact(own.len()).map(|row| row.iter().map(|n| f64::from(*n)).collect()).collect()
    };
    let products = wide(bench.cross(&queries, &examples, size));
    let gram = wide(bench.cross(&examples, &examples, size));
    let unit = |rows: &[Vec<f64>], of: &[f64]| -> Vec<Vec<f64>> {
        let one = |(row, of): (&Vec<f64>, &f64)| row.iter().zip(&own).map(|(dot, own)| dot / own / of).collect();
        rows.iter().zip(of).map(one).collect()
    };
    Compared { cosines: unit(&products, &asked), gram: unit(&gram, &own), products }
}

/// The mean over the checkpoints.
fn average(seen: &[Compared], of: impl Fn(&Compared) -> &Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut sums = of(&seen[0]).clone();
    for one in &seen[1..] {
        sums.iter_mut().flatten().zip(of(one).iter().flatten()).for_each(|(sum, more)| *sum += more);
    }
    sums.iter_mut().flatten().for_each(|sum| *sum /= seen.len() as f64);
    sums
}

/// What the least squares of the product make of cosines.
#[allow(clippy::cast_possible_truncation, reason = "cosines in parts of 2^30")]
fn shares(cosines: &[Vec<f64>], gram: &[Vec<f64>], l1_micro: u32) -> Result<Vec<Vec<f64>>, Failure> {
    let parts = |cosine: f64| (cosine * ONE as f64).round().clamp(-ONE as f64, ONE as f64) as i64;
    let count = gram.len();
    let positions: Vec<Position> = (0..count).map(|at| about(at).position).collect();
    let mut whole: Vec<i64> = gram.iter().flatten().map(|cosine| parts(*cosine)).collect();
    (0..count).for_each(|at| whole[at * count + at] = ONE);
    let row = |row: &Vec<f64>| {
        let along = row.iter().map(|cosine| parts(*cosine)).collect();
        let problem = Problem::from_cosines(positions.clone(), along, whole.clone()).map_err(refused)?;
        Ok(problem.solve(l1_micro).credits.iter().map(|credit| credit.credit as f64).collect())
    };
    cosines.iter().map(row).collect()
}
