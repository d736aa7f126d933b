//! An index: what an adapter was taught, ready to be asked.

use std::ops::Range;
use std::path::Path;
use std::thread;

use agora_attribution::{
    AttributionSpec, CANDIDATES_MAX, Evidence, HEADER_SIZE, Matrix, Measured, Method, Public, RowTable, Rule, Vector,
    Verdict, bm25, merge, spans,
};
use agora_types::{Amount, Canonical as _, Code, Hash};

use crate::InfluenceError;
use crate::blocks::Blocks;
use crate::curvature::Curvature;
use crate::datainf::{self, Datainf};
use crate::failure::{altered, bad_input, refused};
use crate::files::{self, CURVATURE, GRADIENTS, ROWS, SPEC, SUFFIXES, TABLE};
use crate::projection::Projection;
use crate::settings::CODE_VERSION;
use crate::suffix::Suffixes;
use crate::vectors::{clip, length, quantise};
use crate::workbench::{Adapter, Asked, Workbench};

/// An index in memory, and the adapter that it is of. Nothing in it changes.
#[derive(Debug)]
pub struct Index {
    pub(crate) spec: AttributionSpec,
    pub(crate) spec_hash: Hash,
    pub(crate) table: RowTable,
    pub(crate) adapter: Adapter,
    /// The matrix's file, for methods that have one.
    pub(crate) rows: Option<Vec<u8>>,
    pub(crate) lens: Lens,
    pub(crate) suffixes: Option<Suffixes>,
}

/// How an answer becomes a vector.
#[derive(Debug)]
pub(crate) enum Lens {
    /// A projected gradient.
    Gradient { blocks: Blocks, projection: Projection, bent: Bent },
    /// The mean of the last states.
    Embedding,
    /// None; the method looks at words.
    Words(bm25::Index),
}

/// What is done to a gradient before it is projected.
#[derive(Debug)]
pub(crate) enum Bent {
    Plain,
    Curvature(Curvature),
    Datainf(Datainf),
}

impl Index {
    /// Opens a folder that [`crate::build`] wrote, with the adapter that it is of. Everything is read and hashed.
    ///
    /// # Errors
    /// `attribution.bad_spec`, `attribution.bad_matrix` if a file is missing, breaks a bound, or is not what the spec commits
    /// to.
    pub fn open(folder: &Path, mut adapter: Adapter) -> Result<Self, InfluenceError> {
        let bytes = files::read(folder, SPEC, AttributionSpec::SIZE_MAX as u64)?;
        let spec = AttributionSpec::from_bytes(&bytes)
            .map_err(|error| InfluenceError::Refused { code: Code::AttributionSpec, what: error.to_string() })?;
        spec.check().map_err(refused("the attribution spec of an index"))?;
        if spec.code_version != CODE_VERSION {
            let what = format!("an index of {}; this is {CODE_VERSION}", spec.code_version);
            return Err(InfluenceError::Refused { code: Code::AttributionSpec, what });
        }
        if spec.adapter_hash != adapter.hash {
            return Err(altered("an index of another adapter"));
        }
        let table = files::read(folder, TABLE, RowTable::SIZE_MAX as u64)?;
        let table = RowTable::from_bytes(&table).map_err(|error| altered(error.to_string()))?;
        let examples = spec.commitments.examples;
        let rows = match spec.method.rule() {
            Rule::None => None,
            _ => {
                let size = HEADER_SIZE as u64 + examples * u64::from(spec.gradient.dimension);
                Some(files::read(folder, ROWS, size)?)
            }
        };
        let suffixes = match spec.commitments.suffix_array_root {
            None => None,
            Some(root) => {
                let bytes = files::read(folder, SUFFIXES, Suffixes::size_max(examples))?;
                Some(Suffixes::from_bytes(examples, root, &bytes)?)
            }
        };
        let lens = match spec.method {
            Method::EmbeddingSimilarity => Lens::Embedding,
            Method::Bm25 => words(suffixes.as_ref())?,
            _ => {
                adapter = adapter.at_strength(spec.gradient.strength_milli);
                let blocks = blocks(&spec, &adapter)?;
                let bent = bent(folder, &spec, &blocks)?;
                let (seed, dimension) = (spec.gradient.projection_seed, spec.gradient.dimension as usize);
                let projection = Projection::new(seed.as_bytes(), blocks.size(), dimension)?;
                Lens::Gradient { blocks, projection, bent }
            }
        };
        let index = Self { spec_hash: spec.hash(), spec, table, adapter, rows, lens, suffixes };
        let matrix = index.matrix()?;
        match index.public(matrix.as_ref())?.check_roots() {
            Verdict::Agrees => drop(matrix),
            Verdict::Differs(difference) => return Err(altered(difference.to_string())),
            Verdict::CannotTell(why) => return Err(altered(why)),
        }
        Ok(index)
    }

    /// The spec.
    pub fn spec(&self) -> &AttributionSpec {
        &self.spec
    }

    /// Its hash.
    pub fn spec_hash(&self) -> Hash {
        self.spec_hash
    }

    /// Who stands behind the rows.
    pub fn table(&self) -> &RowTable {
        &self.table
    }

    /// The texts, if there are any.
    pub fn suffixes(&self) -> Option<&Suffixes> {
        self.suffixes.as_ref()
    }

    /// The matrix, for methods that have one. Measures every row: to be kept for many answers.
    ///
    /// # Errors
    /// `attribution.bad_matrix`.
    pub fn matrix(&self) -> Result<Option<Matrix<'_>>, InfluenceError> {
        self.rows.as_deref().map(|bytes| Matrix::open(bytes).map_err(refused("the rows of an index"))).transpose()
    }

    /// What attribution is computed from; checks the whole table: to be kept for many answers.
    ///
    /// # Errors
    /// `attribution.bad_spec`, `attribution.bad_matrix`.
    pub fn public<'a>(&'a self, matrix: Option<&'a Matrix<'a>>) -> Result<Public<'a>, InfluenceError> {
        Public::new(&self.spec, matrix, &self.table).map_err(refused("spec, rows and table of an index"))
    }

    /// The vector of an answer; `None` for a method that looks at words.
    ///
    /// # Errors
    /// `attribution.bad_input` if the workbench holds another model, `engine.bad_request` for tokens that it cannot take.
    pub fn query(&self, bench: &mut Workbench, asked: &Asked) -> Result<Option<Vector>, InfluenceError> {
        self.check_model(bench)?;
        let scale = self.spec.gradient.row_scale_milli;
        let numbers = match &self.lens {
            Lens::Words(_) => return Ok(None),
            Lens::Embedding => bench.embedding(&self.adapter, asked)?.into_iter().map(f64::from).collect(),
            Lens::Gradient { blocks, projection, bent } => {
                let mut gradient = bench.gradient(&self.adapter, blocks, asked, &[])?.to_vec();
                clip(&mut gradient, self.spec.gradient.clip_milli);
                bent.apply(bench, &mut gradient);
                let mut to = vec![0.0; projection.dimension()];
                projection.apply(&gradient, &mut to);
                to
            }
        };
        let bytes = quantise(&numbers, length(&numbers), scale);
        Vector::new(bytes).map(Some).map_err(refused("a query"))
    }

    /// What of an answer was copied; the base model is asked only if something may have been.
    ///
    /// # Errors
    /// As [`Index::query`].
    pub fn runs(&self, bench: &mut Workbench, asked: &Asked) -> Result<Vec<spans::Run>, InfluenceError> {
        let Some(suffixes) = &self.suffixes else { return Ok(Vec::new()) };
        self.check_model(bench)?;
        let rules = &self.spec.verbatim;
        let cluster = |document: usize| {
            let owner = self.table.owners[document];
            self.table.examples[owner as usize].position
        };
        let (least, most) = (rules.span_tokens_min as usize, rules.clusters_max as usize);
        let found = suffixes.windows(&asked.response, least, most, cluster);
        if found.iter().all(|window| window.clusters.is_empty()) {
            return Ok(Vec::new());
        }
        let probability = bench.base_probability(asked)?;
        spans::runs(rules, &asked.prompt, &asked.response, &found, &probability).map_err(refused("copied spans"))
    }

    /// Everything about one answer whose charge gives the contributors `pool`: query, scan shared among the threads,
    /// solution, copied spans, shares and money. `public` is this index's.
    ///
    /// # Errors
    /// As [`Index::query`].
    pub fn attribute(
        &self,
        public: &Public<'_>,
        bench: &mut Workbench,
        asked: &Asked,
        pool: Amount,
    ) -> Result<Evidence, InfluenceError> {
        let query = self.query(bench, asked)?;
        let measured = self.measure(public, bench.threads, query.as_ref(), asked)?;
        let runs = self.runs(bench, asked)?;
        let output_tokens = u32::try_from(asked.response.len()).map_err(|_| bad_input("an answer of 2^32 tokens"))?;
        let asked = agora_attribution::Asked { query: query.as_ref(), output_tokens, runs: &runs, pool };
        public.attribute(&asked, measured).map_err(refused("an answer"))
    }

    /// Influence alone.
    pub(crate) fn measure(
        &self,
        public: &Public<'_>,
        threads: usize,
        query: Option<&Vector>,
        asked: &Asked,
    ) -> Result<Measured, InfluenceError> {
        match (query, &self.lens) {
            (Some(query), _) => {
                let best = scan(public, self.table.examples.len(), threads, query)?;
                public.measure(query, &best).map_err(refused("a query"))
            }
            (None, Lens::Words(lexical)) => self.by_words(lexical, asked),
            (None, _) => Err(bad_input("a method with a matrix needs a query")),
        }
    }

    fn by_words(&self, lexical: &bm25::Index, asked: &Asked) -> Result<Measured, InfluenceError> {
        let what = refused("an answer's words");
        let scores = lexical.scores(&asked.response).map_err(&what)?;
        let owners = (0u32..).zip(scores).filter(|(row, score)| *score > 0 && self.table.is_owner(*row));
        let mut credits: Vec<(u32, u128)> = owners.map(|(row, score)| (row, u128::from(score))).collect();
        credits.sort_unstable_by_key(|(row, score)| (std::cmp::Reverse(*score), *row));
        credits.truncate(CANDIDATES_MAX);
        let explained = lexical.explained(&asked.response).map_err(&what)?;
        Ok(Measured { candidates: Vec::new(), credits, explained })
    }

    fn check_model(&self, bench: &Workbench) -> Result<(), InfluenceError> {
        let base = bench.weights().base();
        match base.hash == self.spec.base_hash && base.tokenizer_hash == self.spec.tokenizer_hash {
            true => Ok(()),
            false => Err(bad_input(format!("an index of another base model than {}", base.name))),
        }
    }
}

impl Bent {
    fn apply(&self, bench: &mut Workbench, gradient: &mut [f32]) {
        match self {
            Self::Plain => {}
            Self::Curvature(curvature) => {
                curvature.turn(&mut bench.pool, bench.simd, gradient);
                curvature.divide(gradient);
            }
            Self::Datainf(datainf) => datainf.apply(gradient),
        }
    }
}

/// Scans the rows, a part on each thread.
fn scan(
    public: &Public<'_>,
    rows: usize,
    threads: usize,
    query: &Vector,
) -> Result<Vec<agora_attribution::Scored>, InfluenceError> {
    let rows = u32::try_from(rows).expect("at most 2^21 rows");
    let step = rows.div_ceil(u32::try_from(threads).expect("at most 64")).max(1);
    let parts: Vec<Range<u32>> =
        (0..rows).step_by(step as usize).map(|start| start..start.saturating_add(step)).collect();
    let found = thread::scope(|scope| {
        let (last, others) = parts.split_last().expect("an index has rows");
        let others: Vec<_> = others.iter().map(|part| scope.spawn(|| public.scan(query, part.clone()))).collect();
        let own = public.scan(query, last.clone());
        let joined = others.into_iter().map(|other| other.join().expect("a scan does not panic"));
        joined.chain([own]).collect::<Result<Vec<_>, Code>>()
    });
    Ok(merge(found.map_err(refused("a query"))?))
}

/// An index over the words of all texts.
pub(crate) fn words(suffixes: Option<&Suffixes>) -> Result<Lens, InfluenceError> {
    let suffixes = suffixes.ok_or_else(|| bad_input("BM25 over examples without texts"))?;
    let documents: Vec<&[u32]> = (0..suffixes.documents()).map(|at| suffixes.document(at)).collect();
    bm25::Index::new(bm25::Constants::default(), &documents).map(Lens::Words).map_err(refused("the examples' words"))
}

/// The blocks of the spec's layers, if they are those of the adapter.
fn blocks(spec: &AttributionSpec, adapter: &Adapter) -> Result<Blocks, InfluenceError> {
    let blocks = Blocks::new(&adapter.layout, spec.gradient.layer_first as usize)?;
    let below = blocks.all().iter().all(|block| block.layer < spec.gradient.layer_end as usize);
    match below && blocks.modules() == spec.gradient.modules {
        true => Ok(blocks),
        false => Err(altered("the spec's modules and layers are not those of the adapter")),
    }
}

fn bent(folder: &Path, spec: &AttributionSpec, blocks: &Blocks) -> Result<Bent, InfluenceError> {
    match (spec.method, spec.commitments.curvature_root) {
        (Method::InfluenceEkfacNnls, Some(root)) => {
            let bytes = files::read(folder, CURVATURE, Curvature::file_size(blocks))?;
            Curvature::from_bytes(blocks, spec.gradient.damping_micro, root, &bytes).map(Bent::Curvature)
        }
        (Method::Datainf, _) => {
            let bytes = files::read(folder, GRADIENTS, files::HEADER_SIZE as u64 + datainf::SIZE_MAX)?;
            Datainf::from_bytes(blocks, spec.commitments.examples, &bytes).map(Bent::Datainf)
        }
        _ => Ok(Bent::Plain),
    }
}
