//! Recomputing a final receipt's attribution: the verdict names the first thing that does not follow.

use std::fmt;

use agora_types::{Amount, Canonical as _, Code, Hash, SampledOf};

use crate::attribute::{Asked, Draft, Public, settle};
use crate::evidence::{Evidence, Paid};
use crate::method::Rule;
use crate::scan::Scored;
use crate::spans::Run;
use crate::spec::AttributionSpec;
use crate::vector::Vector;

/// What a receipt says of its attribution, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptFields {
    /// Hash of the attribution spec.
    pub spec_hash: Option<Hash>,
    /// Name of the method.
    pub method: String,
    /// Root over the spans.
    pub verbatim_root: Option<Hash>,
    /// Root over summary and entries.
    pub influence_root: Option<Hash>,
    /// Parts of 2^32.
    pub explained: u64,
    /// Parts of 2^32.
    pub residual: u64,
    /// Accounts and amounts, as [`Evidence::totals`] gives them.
    pub totals: Vec<Paid>,
    /// The contributor pool: what the provisional receipt put in suspense.
    pub pool: Amount,
    /// What contributors got in all.
    pub paid: Amount,
    /// Index and leaf hash of the provisional receipt.
    pub provisional: (u64, Hash),
    /// Where one answer was measured for several calls.
    pub sampled: Option<SampledOf>,
}

macro_rules! places {
    ($($name:ident $text:literal,)*) => {
        /// Where a recomputation looks, in the order in which it looks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Place { $(#[doc = $text] $name,)* }

        impl Place {
            /// For people.
            pub const fn text(self) -> &'static str { match self { $(Self::$name => $text,)* } }
        }
    };
}
places! {
    Spec "the bounds of the spec",
    SpecHash "the hash of the spec",
    ExamplesRoot "the root over the examples",
    ClustersRoot "the root over the clusters",
    MatrixRoot "the root over the matrix",
    Bounds "the bounds of the evidence",
    QueryHash "the hash of the query vector",
    Candidate "a candidate of the scan",
    Explained "the explained part",
    Residual "the residual part",
    Span "a copied span",
    VerbatimWeight "the weight of copied text",
    Grade "the paid part of the pool",
    Entry "a cluster's entry",
    Summary "the summary",
    Paid "what contributors get",
    Commons "what the commons get",
    Payout "an account's payout",
    Method "the receipt's method",
    ReceiptExplained "the receipt's explained part",
    ReceiptResidual "the receipt's residual part",
    VerbatimRoot "the receipt's verbatim root",
    InfluenceRoot "the receipt's influence root",
    Pool "the receipt's contributor pool",
    ReceiptPaid "the receipt's payment to contributors",
    Total "a total of the receipt",
    Sample "the calls that one answer was measured for",
}

/// The first thing that does not follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub place: Place,
    /// Which one, in a list.
    pub index: Option<usize>,
    /// What the evidence or receipt says.
    pub stated: String,
    /// What follows.
    pub computed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.place.text())?;
        if let Some(index) = self.index {
            write!(f, " ({index})")?;
        }
        write!(f, ": stated {}, computed {}", self.stated, self.computed)
    }
}

/// The outcome of a recomputation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything follows.
    Agrees,
    /// Something does not.
    Differs(Difference),
    /// This level cannot be checked with what is there; nothing is wrong so far.
    CannotTell(&'static str),
}

impl Verdict {
    /// The stable code of a verdict that is not good.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Agrees => None,
            Self::Differs(_) => Some(Code::AttributionMismatch),
            Self::CannotTell(_) => Some(Code::AttributionEvidence),
        }
    }

    fn from(result: Result<(), Difference>) -> Self {
        match result {
            Ok(()) => Self::Agrees,
            Err(difference) => Self::Differs(difference),
        }
    }
}

/// Level 1: from the evidence and the spec alone, does everything follow that the receipt says? Spans, influence and
/// the explained part are taken as stated; shares, payouts, sums and roots are computed again.
pub fn level1(spec: &AttributionSpec, evidence: &Evidence, receipt: &ReceiptFields) -> Verdict {
    let spec_hash = spec.hash();
    let all = || {
        good(Place::Spec, spec.check())?;
        same(Place::SpecHash, receipt.spec_hash, Some(spec_hash))?;
        same(Place::SpecHash, evidence.summary.spec, spec_hash)?;
        good(Place::Bounds, evidence.check())?;
        if !evidence.query.is_empty() {
            same(Place::QueryHash, evidence.summary.query_hash, Some(Hash::sha256(&evidence.query)))?;
        }
        let computed = good(Place::Bounds, settle(spec, spec_hash, Draft::of(evidence)))?;
        let computed = computed.with_sample(evidence.sample.clone());
        compare(evidence, &computed)?;
        compare_receipt(receipt, &computed)?;
        compare_sample(spec, receipt, &computed)
    };
    Verdict::from(all())
}

/// Level 2: from the published matrix and the query vector: scan, solution, shares and payouts, bit for bit. What was
/// copied is taken as stated (it needs the text), but each span's contribution is looked up.
///
/// [`Public::check_roots`] belongs before it, once for many receipts; [`level1`] ties evidence and receipt together.
pub fn level2(public: &Public<'_>, evidence: &Evidence) -> Verdict {
    let scan = |query: &Vector| Ok(public.scan(query, 0..u32::MAX)?.into_rows());
    level2_by(public, evidence, scan)
}

/// Level 2 with the rows that the auditor scanned in parts and [`crate::merge`]d, best first. The caller vouches that
/// the parts are the whole matrix; rows, products and order are checked.
pub fn level2_from(public: &Public<'_>, evidence: &Evidence, best: &[Scored]) -> Verdict {
    level2_by(public, evidence, |_| Ok(best.to_vec()))
}

fn level2_by(
    public: &Public<'_>,
    evidence: &Evidence,
    scan: impl FnOnce(&Vector) -> Result<Vec<Scored>, Code>,
) -> Verdict {
    if public.spec.method.rule() == Rule::None {
        return Verdict::CannotTell("the method reads no matrix; only level 1 can be checked");
    }
    if evidence.query.is_empty() {
        return Verdict::CannotTell("the query vector is withheld; only level 1 can be checked");
    }
    let all = || {
        same(Place::SpecHash, evidence.summary.spec, public.spec_hash)?;
        good(Place::Bounds, evidence.check())?;
        same(Place::QueryHash, evidence.summary.query_hash, Some(Hash::sha256(&evidence.query)))?;
        let query = good(Place::Bounds, Vector::new(evidence.query.clone()))?;
        let best = good(Place::Bounds, scan(&query))?;
        let measured = good(Place::Bounds, public.measure(&query, &best))?;
        each(Place::Candidate, &evidence.candidates, &measured.candidates)?;
        let run = |span: &crate::Span| Run {
            start: span.start,
            length: span.length,
            match_length: span.match_length,
            cluster: span.cluster,
        };
        let runs: Vec<Run> = evidence.spans.iter().map(run).collect();
        let asked = Asked {
            query: Some(&query),
            output_tokens: evidence.summary.output_tokens,
            runs: &runs,
            pool: evidence.pool,
        };
        let computed = good(Place::Bounds, public.attribute(&asked, measured))?;
        compare(evidence, &computed.with_sample(evidence.sample.clone()))
    };
    Verdict::from(all())
}

impl Public<'_> {
    /// Are matrix, examples and clusters the ones that the spec commits to? Reads and hashes all of them.
    pub fn check_roots(&self) -> Verdict {
        let stated = &self.spec.commitments;
        let all = || {
            same(Place::ExamplesRoot, stated.examples_root, self.table.examples_root())?;
            same(Place::ClustersRoot, stated.clusters_root, self.table.clusters_root())?;
            same(Place::MatrixRoot, stated.matrix_root, self.matrix.map(crate::Matrix::root))
        };
        Verdict::from(all())
    }
}

/// The first difference, in the order in which one thing follows from another.
fn compare(stated: &Evidence, computed: &Evidence) -> Result<(), Difference> {
    each(Place::Candidate, &stated.candidates, &computed.candidates)?;
    same(Place::Explained, stated.summary.explained, computed.summary.explained)?;
    same(Place::Residual, stated.summary.residual, computed.summary.residual)?;
    each(Place::Span, &stated.spans, &computed.spans)?;
    same(Place::VerbatimWeight, stated.summary.verbatim_weight, computed.summary.verbatim_weight)?;
    same(Place::Grade, stated.summary.grade, computed.summary.grade)?;
    each(Place::Entry, &stated.entries, &computed.entries)?;
    same(Place::Summary, stated.summary, computed.summary)?;
    same(Place::Paid, stated.paid, computed.paid)?;
    same(Place::Commons, stated.commons, computed.commons)?;
    each(Place::Payout, &stated.payouts, &computed.payouts)
}

fn compare_receipt(receipt: &ReceiptFields, evidence: &Evidence) -> Result<(), Difference> {
    same(Place::Method, receipt.method.as_str(), evidence.summary.method.name())?;
    same(Place::ReceiptExplained, receipt.explained, evidence.summary.explained)?;
    same(Place::ReceiptResidual, receipt.residual, evidence.summary.residual)?;
    same(Place::VerbatimRoot, receipt.verbatim_root, Some(evidence.verbatim_root()))?;
    same(Place::InfluenceRoot, receipt.influence_root, Some(evidence.influence_root()))?;
    same(Place::Pool, receipt.pool, evidence.pool)?;
    same(Place::ReceiptPaid, receipt.paid, evidence.paid)?;
    each(Place::Total, &receipt.totals, &evidence.totals())
}

/// A sample has the receipt's call in it with its pool, no more calls than the spec allows, and the drawn one measured.
fn compare_sample(spec: &AttributionSpec, receipt: &ReceiptFields, evidence: &Evidence) -> Result<(), Difference> {
    same(Place::Sample, receipt.sampled, evidence.sampled())?;
    let Some(sample) = &evidence.sample else { return Ok(()) };
    let most = spec.sample_one_in as usize;
    same(Place::Sample, sample.calls.len(), sample.calls.len().min(most))?;
    let (index, leaf) = receipt.provisional;
    let own = sample.calls.iter().find(|call| call.index == index);
    same(Place::Sample, Some((leaf, receipt.pool)), own.map(|call| (call.leaf, call.pool)))
}

fn differs(place: Place, index: Option<usize>, stated: String, computed: String) -> Result<(), Difference> {
    Err(Difference { place, index, stated, computed })
}

fn same<T: PartialEq + fmt::Debug>(place: Place, stated: T, computed: T) -> Result<(), Difference> {
    if stated == computed { Ok(()) } else { differs(place, None, format!("{stated:?}"), format!("{computed:?}")) }
}

fn each<T: PartialEq + fmt::Debug>(place: Place, stated: &[T], computed: &[T]) -> Result<(), Difference> {
    let text = |one: Option<&T>| one.map_or_else(|| "nothing".to_owned(), |one| format!("{one:?}"));
    let most = stated.len().max(computed.len());
    match (0..most).find(|at| stated.get(*at) != computed.get(*at)) {
        None => Ok(()),
        Some(at) => differs(place, Some(at), text(stated.get(at)), text(computed.get(at))),
    }
}

fn good<T>(place: Place, result: Result<T, Code>) -> Result<T, Difference> {
    result.map_err(|code| Difference {
        place,
        index: None,
        stated: "as it is".to_owned(),
        computed: format!("{code}: {}", code.meaning()),
    })
}
