//! What each method says: a number for each query and example, more where the example helped more.
//!
//! Ours is asked the way a host asks it: an index is built and opened, and each query goes through scan and least squares.
//! The others get what is best for them: gradients of all layers in f32, nothing projected or rounded, and for BM25 either
//! the whole text or the response.

use std::path::Path;

use agora_attribution::{DatanetRef, Kind, Method, ONE, Position, bm25, merge};
use agora_gradient::{Machine, Sequence};
use agora_influence::{Adapter, Asked, Blocks, Example, Index, Settings, Teaching, Workbench, build};
use agora_kernels::{Left, Pool, Product, Right, Simd, products};
use agora_openlora::weights::Weights;
use agora_types::{Address, DatanetId, Hash};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::tasks::Item;

/// A model with threads.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) pool: Pool,
    pub(crate) simd: Simd,
    threads: usize,
}

/// A row for each query, a number for each example.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scores {
    pub(crate) method: String,
    /// Whether it is one of the methods, or a variant of ours that was tried.
    pub(crate) variant: bool,
    pub(crate) rows: Vec<Vec<f64>>,
}

/// What every method compares.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) adapter: &'a Adapter,
    pub(crate) examples: &'a [Asked],
    pub(crate) queries: &'a [Asked],
}

impl Bench {
    pub(crate) fn load(model: &Path, threads: usize) -> Result<Self, Failure> {
        Self::of(Weights::load(model, None, 2_048, &mut |_| {})?, threads)
    }

    pub(crate) fn of(weights: Weights, threads: usize) -> Result<Self, Failure> {
        let settings = agora_gradient::Settings { threads, ..agora_gradient::Settings::default() };
        let machine = Machine::new(weights, &settings)?;
        Ok(Self { machine, pool: Pool::new(threads)?, simd: Simd::best(), threads })
    }

    pub(crate) fn weights(&self) -> &Weights {
        self.machine.weights()
    }

    /// An item in tokens. In full, everything behind its first token is the response.
    pub(crate) fn asked(&self, item: &Item, full: bool) -> Asked {
        let (mut prompt, mut response) = (self.weights().encode(&item.prompt), self.weights().encode(&item.response));
        if full {
            let behind = prompt.split_off(1);
            response.splice(0..0, behind);
        }
        Asked { prompt, response }
    }

    /// Products of each row of `left` with each of `right`, all `width` long.
    pub(crate) fn cross(&mut self, left: &[f32], right: &[f32], width: usize) -> Vec<f32> {
        let columns = right.len() / width;
        let mut to = vec![0.0; left.len() / width * columns];
        let terms = [(Left::new(left, width), Right::turned(right, width))];
        products(&mut self.pool, self.simd, &mut [Product { terms: &terms, to: &mut to, width: columns, add: false }]);
        to
    }

    /// Gradients of the summed surprise by all of the adapter's numbers, one after another.
    pub(crate) fn gradients(&mut self, adapter: &Adapter, all: &[Asked]) -> Result<Vec<f32>, Failure> {
        let size = adapter.layout.size();
        let mut numbers = vec![0.0; size * all.len()];
        for (asked, to) in all.iter().zip(numbers.chunks_exact_mut(size)) {
            let tokens = joined(asked);
            let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight: 1.0, passed: &[] }];
            self.machine.gradient((&adapter.layout, &adapter.numbers), &sequences, to)?;
        }
        Ok(numbers)
    }

    /// Products and cosines of gradients, and DataInf.
    pub(crate) fn plain(&mut self, case: &Case<'_>) -> Result<Vec<Scores>, Failure> {
        let (examples, queries) =
            (self.gradients(case.adapter, case.examples)?, self.gradients(case.adapter, case.queries)?);
        let size = case.adapter.layout.size();
        let (count, asked) = (case.examples.len(), case.queries.len());
        let blocks = Blocks::new(&case.adapter.layout, 0)?;
        let mut dots = vec![vec![0.0; count]; asked];
        let mut datainf = vec![vec![0.0; count]; asked];
        for block in blocks.all() {
            let take =
                |from: &[f32]| from.chunks_exact(size).flat_map(|one| block.of(one).to_vec()).collect::<Vec<f32>>();
            let (own, query) = (take(&examples), take(&queries));
            let gram = self.cross(&own, &own, block.size());
            let along = self.cross(&query, &own, block.size());
            let square = |at: usize| f64::from(gram[at * count + at]);
            let damping = (0..count).map(square).sum::<f64>() / (count * block.size()) as f64 / 10.0;
            let weighed = |(at, number): (usize, &f32)| narrow(f64::from(*number) / (damping + square(at % count)));
            let weighed: Vec<f32> = along.iter().enumerate().map(weighed).collect();
            // The Gram matrix is its own transpose.
            let taken = self.cross(&weighed, &gram, count);
            let scale = if damping > 0.0 { (damping * count as f64).recip() } else { 0.0 };
            for at in 0..asked * count {
                let (row, column) = (at / count, at % count);
                dots[row][column] += f64::from(along[at]);
                datainf[row][column] += scale * (count as f64 * f64::from(along[at]) - f64::from(taken[at]));
            }
        }
        let length = |one: &[f32]| one.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt().max(1e-30);
        let lengths: Vec<f64> = examples.chunks_exact(size).map(length).collect();
        let cosine = |row: &Vec<f64>| row.iter().zip(&lengths).map(|(dot, length)| dot / length).collect();
        let cosines = dots.iter().map(cosine).collect();
        Ok(vec![
            Scores::of("datainf", datainf),
            Scores::of("gradient-cosine", cosines),
            Scores::of("gradient-dot", dots),
        ])
    }

    /// Cosines of the mean last states behind the responses.
    pub(crate) fn embeddings(&mut self, case: &Case<'_>) -> Result<Scores, Failure> {
        let mut states = |all: &[Asked]| -> Result<Vec<Vec<f32>>, Failure> {
            let mut states = Vec::with_capacity(all.len());
            for asked in all {
                let tokens = joined(asked);
                let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight: 1.0, passed: &[] }];
                let adapter = Some((&case.adapter.layout, case.adapter.numbers.as_slice()));
                let mut own = self.machine.embeddings(adapter, &sequences)?.swap_remove(0);
                let length = own.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt().max(1e-30);
                own.iter_mut().for_each(|number| *number = narrow(f64::from(*number) / length));
                states.push(own);
            }
            Ok(states)
        };
        let (examples, queries) = (states(case.examples)?, states(case.queries)?);
        let dot = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let row = |query| examples.iter().map(|example| dot(query, example)).collect();
        Ok(Scores::of("embedding-similarity", queries.iter().map(row).collect()))
    }

    /// Ours as a host runs it: what the shares are in proportion to, and the cosines before the least squares. The index
    /// is built in a folder, over near-copies as its own rules see them.
    pub(crate) fn index(&mut self, case: &Case<'_>, folder: &Path) -> Result<Vec<Scores>, Failure> {
        let mut bench = Workbench::new(self.weights().clone(), self.threads)?;
        build_index(&mut bench, case, Method::InfluenceEkfacNnls, folder)?;
        let index = Index::open(folder, case.adapter.clone())?;
        let matrix = index.matrix()?.ok_or("an index of gradients has a matrix")?;
        let public = index.public(Some(&matrix))?;
        let (mut shares, mut cosines) = (Vec::new(), Vec::new());
        for query in case.queries {
            let vector = index.query(&mut bench, query)?.ok_or("a gradient is a vector")?;
            let best = merge([public.scan(&vector, 0..matrix.rows()).map_err(refused)?]);
            let measured = public.measure(&vector, &best).map_err(refused)?;
            let mut credits = vec![0.0; case.examples.len()];
            measured.credits.iter().for_each(|(row, credit)| credits[*row as usize] = *credit as f64);
            shares.push(credits);
            let own = vector.row();
            let cosine = |row: u32| {
                let row = matrix.row(row).expect("a row for each example");
                agora_attribution::cosine(row.dot(&own), row.norm_squared(), own.norm_squared()) as f64 / ONE as f64
            };
            cosines.push((0..matrix.rows()).map(cosine).collect());
        }
        Ok(vec![Scores::of("influence-ekfac-nnls", shares), Scores::of("influence-ekfac", cosines)])
    }
}

impl Scores {
    pub(crate) fn of(method: &str, rows: Vec<Vec<f64>>) -> Self {
        Self { method: method.to_owned(), variant: false, rows }
    }

    pub(crate) fn variant(method: String, rows: Vec<Vec<f64>>) -> Self {
        Self { method, variant: true, rows }
    }
}

/// An index with the defaults over a case's examples.
pub(crate) fn build_index(
    bench: &mut Workbench,
    case: &Case<'_>,
    method: Method,
    folder: &Path,
) -> Result<(), Failure> {
    let example =
        |(at, asked): (usize, &Asked)| Example { asked: asked.clone(), text: asked.response.clone(), about: about(at) };
    let examples: Vec<Example> = case.examples.iter().enumerate().map(example).collect();
    let owner = Address::system("benchmark");
    let datanets =
        [DatanetRef { id: DatanetId::derive(&owner, "benchmark"), root: Hash::ZERO, tree_size: examples.len() as u64 }];
    let teaching =
        Teaching { adapter: case.adapter, examples: &examples, datanets: &datanets, copies: &[], null: &[], own: &[] };
    build(bench, &teaching, &Settings { method, ..Settings::default() }, folder, &mut |_| {})?;
    Ok(())
}

/// Who stands behind a row: nobody in particular.
pub(crate) fn about(at: usize) -> agora_attribution::Example {
    agora_attribution::Example {
        contribution: Hash::sha256(at.to_be_bytes()),
        account: Address::system("benchmark"),
        position: Position { seq: 1 + at as u64, index: 0, item: 0 },
        kind: Kind::Source,
        weight: 100,
    }
}

/// BM25 over whole texts, and over responses alone.
pub(crate) fn words(case: &Case<'_>) -> Result<Vec<Scores>, Failure> {
    let whole = |asked: &Asked| joined(asked);
    let response = |asked: &Asked| asked.response.clone();
    let by = |name: &str, text: &dyn Fn(&Asked) -> Vec<u32>| -> Result<Scores, Failure> {
        let documents: Vec<Vec<u32>> = case.examples.iter().map(text).collect();
        let index = bm25::Index::new(bm25::Constants::default(), &documents).map_err(refused)?;
        let scores = |asked: &Asked| index.scores(&text(asked)).map_err(refused);
        let rows = case.queries.iter().map(scores).collect::<Result<Vec<_>, _>>()?;
        Ok(Scores::of(name, rows.into_iter().map(|row| row.into_iter().map(|score| score as f64).collect()).collect()))
    };
    Ok(vec![by("bm25", &whole)?, by("bm25, responses", &response)?])
}

pub(crate) fn joined(asked: &Asked) -> Vec<u32> {
    [asked.prompt.as_slice(), &asked.response].concat()
}

pub(crate) fn refused(code: agora_types::Code) -> Failure {
    format!("{code}: {}", code.meaning()).into()
}

#[allow(clippy::cast_possible_truncation, reason = "gradients are f32")]
pub(crate) fn narrow(number: f64) -> f32 {
    number as f32
}
