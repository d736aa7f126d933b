//! The one path from a query to evidence, which the host walks once and every auditor again.

use std::collections::BTreeMap;
use std::ops::Range;

use agora_types::{Amount, Canonical as _, Code, Hash};

use crate::baseline;
use crate::evidence::{
    Candidate, ENTRIES_MAX, EVIDENCE_VERSION, Entry, Evidence, Paid, Span, Summary, candidates_root,
};
use crate::fixed::WHOLE;
use crate::matrix::Matrix;
use crate::method::Rule;
use crate::rows::{Example, Position, RowTable};
use crate::sample::Sample;
use crate::scan::{Best, Order, Scored};
use crate::shares::{Standing, payout, shares};
use crate::solve::{CANDIDATES_MAX, Problem, Variable};
use crate::spans::Run;
use crate::spec::AttributionSpec;
use crate::vector::{Row, Vector};

/// What an adapter's owner publishes: the spec and the data that it commits to.
#[derive(Debug, Clone)]
pub struct Public<'a> {
    pub(crate) spec: &'a AttributionSpec,
    pub(crate) spec_hash: Hash,
    pub(crate) matrix: Option<&'a Matrix<'a>>,
    pub(crate) table: &'a RowTable,
    /// Row of each cluster's owner.
    owner_rows: BTreeMap<Position, u32>,
}

/// An answer that is to be attributed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The projected gradient of log p(answer | prompt); `None` for methods without a matrix.
    pub query: Option<&'a Vector>,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// What was copied, as [`crate::spans::runs`] gives it.
    pub runs: &'a [Run],
    /// The call's contributor pool.
    pub pool: Amount,
}

/// Influence as a method measured it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// What the scan found, best first; empty for methods without a matrix.
    pub candidates: Vec<Candidate>,
    /// Row of a cluster's owner, and its credit; each row once.
    pub credits: Vec<(u32, u128)>,
    /// E, parts of 2^32.
    pub explained: u64,
}

/// A cluster with its credit, on its way into [`settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credited {
    /// The owner's row.
    pub row: u32,
    /// The owner.
    pub example: Example,
    /// Credit of influence in any unit, below 2^78.
    pub influence: u128,
}

/// Everything that is measured, before shares and money follow from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Bytes of the query vector; may be empty.
    pub query: Vec<u8>,
    /// Their hash.
    pub query_hash: Option<Hash>,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// What the scan found.
    pub candidates: Vec<Candidate>,
    /// What was copied.
    pub spans: Vec<Span>,
    /// Clusters with influence or spans.
    pub credited: Vec<Credited>,
    /// E, parts of 2^32.
    pub explained: u64,
    /// The contributor pool.
    pub pool: Amount,
}

impl<'a> Public<'a> {
    /// Checks that the parts fit together; [`Public::check_roots`] checks that they are the committed ones.
    ///
    /// # Errors
    /// `attribution.bad_spec`; `attribution.bad_matrix` for a bad table, or sizes other than the spec's.
    pub fn new(spec: &'a AttributionSpec, matrix: Option<&'a Matrix<'a>>, table: &'a RowTable) -> Result<Self, Code> {
        spec.check()?;
        table.check()?;
        let rows = table.examples.len() as u64;
        let fits = spec.commitments.examples == rows
            && matrix.is_some() == (spec.method.rule() != Rule::None)
            && matrix.is_none_or(|matrix| {
                u64::from(matrix.rows()) == rows && matrix.dimension() == spec.gradient.dimension as usize
            });
        if !fits {
            return Err(Code::AttributionMatrix);
        }
        let owners = (0u32..).zip(&table.examples).filter(|(row, _)| table.is_owner(*row));
        let owner_rows = owners.map(|(row, example)| (example.position, row)).collect();
        Ok(Self { spec, spec_hash: spec.hash(), matrix, table, owner_rows })
    }

    /// The best cluster owners among the rows of `range`, for [`crate::merge`].
    ///
    /// # Errors
    /// `attribution.bad_input` for a query of another dimension, or a method without a matrix.
    pub fn scan(&self, query: &Vector, range: Range<u32>) -> Result<Best, Code> {
        let (matrix, query, order) = self.asked_of_matrix(query)?;
        Ok(matrix.scan(&query, range, CANDIDATES_MAX, order, |row| self.table.is_owner(row)))
    }

    /// Influence of the rows that a scan found, best first.
    ///
    /// # Errors
    /// `attribution.bad_input` as [`Public::scan`], or for rows that a scan could not have found: not owners, repeated,
    /// too many, out of order, or with another dot product.
    pub fn measure(&self, query: &Vector, best: &[Scored]) -> Result<Measured, Code> {
        let (matrix, query, order) = self.asked_of_matrix(query)?;
        let mut again = Best::new(CANDIDATES_MAX, order);
        for scored in best.iter().take(CANDIDATES_MAX) {
            let row = matrix.row(scored.row).ok_or(Code::AttributionInput)?;
            if row.norm_squared() == 0 || !self.table.is_owner(scored.row) {
                return Err(Code::AttributionInput);
            }
            again.offer(scored.row, query.dot(&row), row.norm_squared());
        }
        let rises = |pair: &[Scored]| pair[0].row != pair[1].row;
        if again.into_rows() != *best || !best.windows(2).all(rises) {
            return Err(Code::AttributionInput);
        }
        match self.spec.method.rule() {
            Rule::LeastSquares => self.least_squares(matrix, &query, best),
            Rule::Positive(order) => {
                let credits = baseline::credits(query.norm_squared(), best, order);
                let weigh = |(scored, credit): (&Scored, &u128)| Candidate {
                    row: scored.row,
                    dot: scored.dot,
                    weight: u64::try_from(*credit).expect("below 2^31"),
                };
                Ok(Measured {
                    candidates: best.iter().zip(&credits).map(weigh).collect(),
                    credits: best.iter().zip(&credits).map(|(scored, credit)| (scored.row, *credit)).collect(),
                    explained: baseline::explained(query.norm_squared(), best),
                })
            }
            Rule::None => Err(Code::AttributionInput),
        }
    }

    fn least_squares(&self, matrix: &Matrix<'_>, query: &Row<'_>, best: &[Scored]) -> Result<Measured, Code> {
        let variable = |scored: &Scored| {
            let (row, example) = (matrix.row(scored.row), self.table.example(scored.row));
            Some(Variable { id: example?.position, row: row? })
        };
        let variables: Option<Vec<Variable<'_>>> = best.iter().map(variable).collect();
        let problem = Problem::new(query, &variables.ok_or(Code::AttributionInput)?)?;
        let solution = problem.solve(self.spec.solver.l1_micro);
        let found: BTreeMap<Position, _> = solution.credits.iter().map(|credit| (credit.id, credit)).collect();
        let (mut candidates, mut credits) = (Vec::new(), Vec::new());
        for scored in best {
            let example = self.table.example(scored.row).ok_or(Code::AttributionInput)?;
            let credit = found.get(&example.position).ok_or(Code::AttributionInput)?;
            let weight = credit.weight.unsigned_abs();
            candidates.push(Candidate { row: scored.row, dot: scored.dot, weight });
            credits.push((scored.row, credit.credit));
        }
        Ok(Measured { candidates, credits, explained: solution.explained })
    }

    fn asked_of_matrix<'q>(&self, query: &'q Vector) -> Result<(&'a Matrix<'a>, Row<'q>, Order), Code> {
        let order = match self.spec.method.rule() {
            Rule::LeastSquares => Order::Cosine,
            Rule::Positive(order) => order,
            Rule::None => return Err(Code::AttributionInput),
        };
        let matrix = self.matrix.ok_or(Code::AttributionInput)?;
        if query.bytes().len() != matrix.dimension() {
            return Err(Code::AttributionInput);
        }
        Ok((matrix, query.row(), order))
    }

    /// The evidence for an answer: credits and copied runs become shares and money.
    ///
    /// # Errors
    /// `attribution.bad_input` for rows or clusters that are not there or do not own, or what [`settle`] says.
    pub fn attribute(&self, asked: &Asked<'_>, measured: Measured) -> Result<Evidence, Code> {
        let mut credited: BTreeMap<u32, Credited> = BTreeMap::new();
        for (row, influence) in measured.credits.iter().filter(|(_, credit)| *credit > 0) {
            if credited.insert(*row, self.credited(*row, *influence)?).is_some() {
                return Err(Code::AttributionInput);
            }
        }
        let mut spans = Vec::with_capacity(asked.runs.len());
        for run in asked.runs {
            let row = *self.owner_rows.get(&run.cluster).ok_or(Code::AttributionInput)?;
            let none = self.credited(row, 0)?;
            credited.entry(row).or_insert(none);
            let Run { start, length, match_length, cluster } = *run;
            spans.push(Span { start, length, contribution: none.example.contribution, match_length, cluster });
        }
        let query = asked.query.map_or_else(Vec::new, |query| query.bytes().to_vec());
        let draft = Draft {
            query_hash: asked.query.map(|query| Hash::sha256(query.bytes())),
            query,
            output_tokens: asked.output_tokens,
            candidates: measured.candidates,
            spans,
            credited: credited.into_values().collect(),
            explained: measured.explained,
            pool: asked.pool,
        };
        settle(self.spec, self.spec_hash, draft)
    }

    fn credited(&self, row: u32, influence: u128) -> Result<Credited, Code> {
        match self.table.example(row) {
            Some(example) if self.table.is_owner(row) => Ok(Credited { row, example: *example, influence }),
            _ => Err(Code::AttributionInput),
        }
    }
}

impl Evidence {
    /// What this answer, which was measured for all calls of a sample, pays one of them: the same shares of its own pool.
    ///
    /// # Errors
    /// `attribution.bad_input` for another spec, a sample of more calls than the spec allows, or a call that is not in it;
    /// what [`settle`] says.
    pub fn for_call(&self, spec: &AttributionSpec, sample: &Sample, index: u64) -> Result<Self, Code> {
        let spec_hash = spec.hash();
        let call = sample.calls.iter().find(|call| call.index == index).ok_or(Code::AttributionInput)?;
        if spec_hash != self.summary.spec || sample.calls.len() > spec.sample_one_in as usize {
            return Err(Code::AttributionInput);
        }
        let draft = Draft { pool: call.pool, ..Draft::of(self) };
        let paid = settle(spec, spec_hash, draft)?.with_sample(Some(sample.clone()));
        paid.check()?;
        Ok(paid)
    }

    /// Says which calls it was measured for.
    pub(crate) fn with_sample(mut self, sample: Option<Sample>) -> Self {
        self.summary.sample_hash = sample.as_ref().map(Sample::hash);
        self.sample = sample;
        self
    }
}

impl Draft {
    /// What evidence takes as measured.
    pub(crate) fn of(evidence: &Evidence) -> Self {
        let credited = evidence.entries.iter().map(|entry| Credited {
            row: entry.row,
            example: Example {
                contribution: entry.contribution,
                account: entry.account,
                position: entry.cluster,
                kind: entry.kind,
                weight: entry.weight,
            },
            influence: u128::from(entry.influence),
        });
        Self {
            query: evidence.query.clone(),
            query_hash: evidence.summary.query_hash,
            output_tokens: evidence.summary.output_tokens,
            candidates: evidence.candidates.clone(),
            spans: evidence.spans.clone(),
            credited: credited.collect(),
            explained: evidence.summary.explained,
            pool: evidence.pool,
        }
    }
}

/// Shares, payouts and evidence from what was measured. `spec_hash` is the hash of `spec`, which is hashed once only.
///
/// # Errors
/// `attribution.bad_input` for more than [`ENTRIES_MAX`] clusters, a span of a cluster that is not credited, an
/// explained part above one, or what [`shares`] and [`payout`] refuse; `attribution.bad_evidence` for spans out of
/// order.
pub fn settle(spec: &AttributionSpec, spec_hash: Hash, draft: Draft) -> Result<Evidence, Code> {
    let mut tokens: BTreeMap<Position, u32> = BTreeMap::new();
    for span in &draft.spans {
        let sum = tokens.entry(span.cluster).or_default();
        *sum = sum.checked_add(span.length).ok_or(Code::AttributionInput)?;
    }
    let mut credited = draft.credited;
    credited.sort_unstable_by_key(|one| one.example.position);
    let named = |span: &Span| {
        let found = credited.binary_search_by_key(&span.cluster, |one| one.example.position);
        found.is_ok_and(|at| credited[at].example.contribution == span.contribution)
    };
    if credited.len() > ENTRIES_MAX || draft.explained > WHOLE || !draft.spans.iter().all(named) {
        return Err(Code::AttributionInput);
    }
    let standing = |one: &Credited| Standing {
        cluster: one.example.position,
        account: one.example.account,
        weight: one.example.weight,
        influence: one.influence,
        verbatim_tokens: tokens.get(&one.example.position).copied().unwrap_or(0),
    };
    let standings: Vec<Standing> = credited.iter().map(standing).collect();
    let found = shares(&standings, draft.output_tokens, spec.verbatim.weight_max)?;
    let grade = spec.calibration.grade(draft.explained);
    let claims: Vec<_> = found.entries.iter().map(|share| (share.account, share.share)).collect();
    let money = payout(draft.pool, grade, &claims)?;

    let entry = |at: usize| {
        let (Credited { row, example, .. }, share) = (&credited[at], &found.entries[at]);
        Entry {
            cluster: example.position,
            row: *row,
            contribution: example.contribution,
            account: example.account,
            kind: example.kind,
            weight: example.weight,
            influence: share.influence,
            verbatim: share.verbatim,
            share: share.share,
            amount: money.entries[at],
        }
    };
    let evidence = Evidence {
        version: EVIDENCE_VERSION,
        summary: Summary {
            spec: spec_hash,
            method: spec.method,
            query_hash: draft.query_hash,
            candidates_root: candidates_root(&draft.candidates),
            output_tokens: draft.output_tokens,
            verbatim_weight: found.verbatim_weight,
            explained: draft.explained,
            residual: WHOLE - draft.explained,
            grade,
            sample_hash: None,
        },
        query: draft.query,
        candidates: draft.candidates,
        spans: draft.spans,
        entries: (0..credited.len()).map(entry).collect(),
        pool: draft.pool,
        paid: money.paid,
        commons: money.commons,
        payouts: money.accounts.into_iter().map(|(account, amount)| Paid { account, amount }).collect(),
        sample: None,
    };
    evidence.check()?;
    Ok(evidence)
}
