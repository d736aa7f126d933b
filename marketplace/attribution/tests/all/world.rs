//! Small worlds from a seed: contributors with a topic each, their rows, and queries from a topic.

use agora_attribution::*;
use agora_types::{Address, Amount, DatanetId, Hash};

/// SplitMix64: seeded, the same everywhere.
#[derive(Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// About normal: the sum of eight dice, mean 0.
    fn bell(&mut self) -> i64 {
        (0..8).map(|_| i64::try_from(self.below(256)).unwrap() - 127).sum()
    }

    pub(crate) fn direction(&mut self, dimension: usize) -> Vec<i64> {
        (0..dimension).map(|_| self.bell()).collect()
    }
}

/// `base * tenths + noise * (10 - tenths)`, scaled until its largest entry is 100.
pub(crate) fn near(base: &[i64], tenths: i64, dice: &mut Dice) -> Vec<i8> {
    let noise = dice.direction(base.len());
    let mixed: Vec<i64> = base.iter().zip(noise).map(|(b, n)| b * tenths + n * (10 - tenths)).collect();
    let largest = mixed.iter().map(|entry| entry.abs()).max().unwrap().max(1);
    mixed.iter().map(|entry| i8::try_from(entry * 100 / largest).unwrap()).collect()
}

pub(crate) fn address(n: u64) -> Address {
    Address::from_hash(&Hash::sha256(n.to_be_bytes()))
}

pub(crate) fn example(who: u64, seq: u64, item: u32) -> Example {
    Example {
        contribution: Hash::sha256_of(&[b"contribution", &seq.to_be_bytes()]),
        account: address(who),
        position: Position { seq, index: 0, item },
        kind: Kind::Source,
        weight: 100,
    }
}

/// A small economy of data before it is committed to.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) topics: Vec<Vec<i64>>,
    pub(crate) rows: Vec<Vec<i8>>,
    pub(crate) examples: Vec<Example>,
    pub(crate) dice: Dice,
}

impl World {
    /// `people` contributors with `each` rows around a topic of their own; person p commits at seq p.
    pub(crate) fn new(seed: u64, people: u64, each: u32, dimension: usize) -> Self {
        let mut dice = Dice(seed);
        let topics: Vec<Vec<i64>> = (0..people).map(|_| dice.direction(dimension)).collect();
        let (mut rows, mut examples) = (Vec::new(), Vec::new());
        for person in 0..people {
            for item in 0..each {
                rows.push(near(&topics[usize::try_from(person).unwrap()], 5, &mut dice));
                examples.push(example(person, 1 + person, item));
            }
        }
        Self { topics, rows, examples, dice }
    }

    /// A question whose answer `topic` taught.
    pub(crate) fn query(&mut self, topic: usize) -> Vector {
        Vector::from_entries(&near(&self.topics[topic], 6, &mut self.dice)).unwrap()
    }

    /// A question whose answer two topics taught alike.
    pub(crate) fn mixed_query(&mut self, one: usize, other: usize) -> Vector {
        let both: Vec<i64> = self.topics[one].iter().zip(&self.topics[other]).map(|(l, r)| l + r).collect();
        Vector::from_entries(&near(&both, 7, &mut self.dice)).unwrap()
    }

    /// Rows closer than a cosine of 0.95.
    pub(crate) fn edges(&self) -> Vec<(u32, u32)> {
        let file = file(&self.rows).unwrap();
        let matrix = Matrix::open(&file).unwrap();
        let mut edges = Vec::new();
        for right in 0..matrix.rows() {
            for left in 0..right {
                let (one, other) = (matrix.row(left).unwrap(), matrix.row(right).unwrap());
                if cosine_at_least(one.dot(&other), one.norm_squared(), other.norm_squared(), WHOLE / 20 * 19) {
                    edges.push((left, right));
                }
            }
        }
        edges
    }

    /// Puts it into force, with clusters or without.
    pub(crate) fn publish(&self, method: Method, with_clusters: bool) -> Published {
        let edges = if with_clusters { self.edges() } else { Vec::new() };
        let owners = owners(&self.examples, &edges).unwrap();
        let table = RowTable { examples: self.examples.clone(), owners };
        let file = file(&self.rows).unwrap();
        let spec = spec(method, &Matrix::open(&file).unwrap(), &table);
        Published { spec, file, table }
    }
}

/// What an owner publishes.
pub(crate) struct Published {
    pub(crate) spec: AttributionSpec,
    pub(crate) file: Vec<u8>,
    pub(crate) table: RowTable,
}

impl Published {
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix::open(&self.file).unwrap()
    }
}

pub(crate) fn pool() -> Amount {
    Amount::from_atoms(1_234_567_890_123_456_789)
}

/// Scans the whole, measures and settles.
pub(crate) fn evidence_of(public: &Public<'_>, query: &Vector, runs: &[spans::Run]) -> Evidence {
    let best = public.scan(query, 0..u32::MAX).unwrap().into_rows();
    let measured = public.measure(query, &best).unwrap();
    let asked = Asked { query: Some(query), output_tokens: 100, runs, pool: pool() };
    public.attribute(&asked, measured).unwrap()
}

/// An account's part of what contributors were paid, in millionths.
pub(crate) fn part_micro(evidence: &Evidence, who: u64) -> i64 {
    let paid = evidence.payouts.iter().find(|paid| paid.account == address(who));
    let paid = paid.map_or(0, |paid| paid.amount.atoms());
    i64::try_from(paid * 1_000_000 / evidence.paid.atoms().max(1)).unwrap()
}

pub(crate) fn spec(method: Method, matrix: &Matrix<'_>, table: &RowTable) -> AttributionSpec {
    let hash = |text: &str| Hash::sha256(text);
    AttributionSpec {
        version: SPEC_VERSION,
        base_hash: hash("base"),
        adapter_hash: hash("adapter"),
        tokenizer_hash: hash("tokenizer"),
        datanets: vec![DatanetRef { id: DatanetId::new([6; 32]), root: hash("datanet"), tree_size: 3 }],
        method,
        gradient: Gradient {
            modules: vec!["q_proj".into(), "v_proj".into()],
            layer_first: 20,
            layer_end: 30,
            projection_seed: hash("seed"),
            dimension: u32::try_from(matrix.dimension()).unwrap(),
            damping_micro: 100_000,
            clip_milli: 1_000,
            row_scale_milli: 2_032_000,
            strength_milli: 100,
        },
        clusters: ClusterRules { shingle_tokens: 5, jaccard_min: WHOLE / 5 * 4, cosine_min: WHOLE / 20 * 19 },
        solver: SolverRules::new(50_000),
        verbatim: VerbatimRules::default(),
        calibration: Calibration { null_p95: WHOLE / 10, own_median: WHOLE / 10 * 6 },
        sample_one_in: 1,
        code_version: "0.1.0".into(),
        commitments: Commitments {
            examples_root: table.examples_root(),
            clusters_root: table.clusters_root(),
            matrix_root: Some(matrix.root()),
            suffix_array_root: Some(hash("suffix array")),
            curvature_root: method.has_curvature().then(|| hash("curvature")),
            examples: u64::from(matrix.rows()),
        },
    }
}
