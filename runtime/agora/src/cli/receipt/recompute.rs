//! `agora receipt recompute`: does what a receipt says of its attribution follow, and from what?
//!
//! Level 1 needs the file alone: arithmetic, signatures, inclusion. Level 2 needs the adapter's public matrix: scan,
//! solution and split, bit for bit. Level 3 needs question, answer and the model as well: how the answer became a vector, in
//! floating point, so that vector and shares may differ a little.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use agora_attribution::{
    AttributionSpec, HEADER_SIZE, Matrix, Public, RowTable, Rule, Verdict as Found, level1, level2,
};
use agora_receipts::Envelope;
use agora_shell::files;
use agora_shell::output::{Document, Style};
use agora_shell::settings::ModelChoice;
use agora_shell::{Failure, Outcome, text};
use agora_types::{Canonical as _, Code, Hash};
use schemars::JsonSchema;
use serde::Serialize;

use super::enclosed::{Claim, Documents};
use super::{read_envelope, read_file};
use crate::cli::context::Context;
use crate::cli::verify::{self, TrustFrom};
use crate::node::ADAPTERS;
use crate::node::adapters::{INDEX, earlier};

/// The files of an index that level 2 reads.
const SPEC_FILE: &str = "spec.cbor";
const TABLE_FILE: &str = "table.cbor";
const ROWS_FILE: &str = "rows.i8";
/// Most adapters that are looked through for an index.
const ADAPTERS_MAX: usize = 4_096;

/// What a level comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything follows.
    Agrees,
    /// Something does not.
    Differs,
    /// It cannot be recomputed with what is here; nothing is wrong so far.
    CannotTell,
}

/// The first thing that does not follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DifferenceView {
    /// Where.
    pub place: String,
    /// Which one, in a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// What receipt or evidence says.
    pub stated: String,
    /// What follows.
    pub computed: String,
}

/// How near a recomputation in floating point came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Nearness {
    /// Cosine of the two query vectors, parts of 2^30; absent where the evidence withholds its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<i64>,
    /// Largest difference of a share, parts of 2^32.
    pub share: u64,
    /// Difference of the explained part, parts of 2^32.
    pub explained: u64,
}

/// One level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Level {
    /// 1 to 3.
    pub level: u8,
    /// What it comes to.
    pub verdict: Verdict,
    /// The stable code of a verdict that is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What follows, what does not, or what is missing.
    pub sentence: String,
    /// What does not follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<DifferenceView>,
    /// Of level 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearness: Option<Nearness>,
}

/// What all levels come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Recomputed {
    /// The file.
    pub file: String,
    /// Index of the provisional receipt.
    pub index: u64,
    /// How shares were found; `declared-weights`: declared, not measured.
    pub method: String,
    /// Hash of the attribution spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Hash>,
    /// Levels 1, 2 and 3.
    pub levels: Vec<Level>,
    /// The code of the first level that is not as it was asked for; absent: all are.
    pub code: Option<String>,
    /// What the command ends with.
    pub exit_code: u8,
}

impl Document for Recomputed {
    const TYPE: &'static str = "agora/recomputed/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let method = text::plain(&self.method);
        writeln!(out, "receipt {} in {}, shares by {method}", self.index, text::plain(&self.file))?;
        for level in &self.levels {
            let mark = match level.verdict {
                Verdict::Agrees => style.good("agrees      "),
                Verdict::Differs => style.bad("DIFFERS     "),
                Verdict::CannotTell => style.doubtful("cannot tell "),
            };
            writeln!(out, "level {}  {mark}  {}", level.level, text::plain(&level.sentence))?;
            if let Some(difference) = &level.difference {
                writeln!(out, "         {:<13} {}", "stated", text::plain(&difference.stated))?;
                writeln!(out, "         {:<13} {}", "computed", text::plain(&difference.computed))?;
            }
        }
        match &self.code {
            None => Ok(()),
            Some(code) => writeln!(out, "{} ({code})", style.bad("not as it is stated, or not to be told")),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The exported receipt.
    pub file: PathBuf,
    /// The adapter's folder or its index, where it is not among those of the network.
    pub index: Option<PathBuf>,
    /// The base model, where it is not the setting's.
    pub model: Option<ModelChoice>,
    /// The level that must be recomputed.
    pub level: Option<u8>,
}

/// A level's outcome before it has its number.
pub(super) struct Judged {
    verdict: Verdict,
    code: Option<Code>,
    sentence: String,
    difference: Option<DifferenceView>,
    nearness: Option<Nearness>,
}

impl Judged {
    pub(super) fn agrees(sentence: impl Into<String>) -> Self {
        let (verdict, sentence) = (Verdict::Agrees, sentence.into());
        Self { verdict, code: None, sentence, difference: None, nearness: None }
    }

    pub(super) fn cannot_tell(sentence: impl Into<String>) -> Self {
        let verdict = Verdict::CannotTell;
        let code = Some(Code::AttributionEvidence);
        Self { verdict, code, sentence: sentence.into(), difference: None, nearness: None }
    }

    fn refused(code: Code, sentence: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Differs,
            code: Some(code),
            sentence: sentence.into(),
            difference: None,
            nearness: None,
        }
    }

    pub(super) fn differs(place: &str, index: Option<usize>, stated: String, computed: String) -> Self {
        let at = index.map(|index| format!(" ({index})")).unwrap_or_default();
        let difference = Some(DifferenceView { place: place.to_owned(), index, stated, computed });
        Self { difference, ..Self::refused(Code::AttributionMismatch, format!("{place}{at} does not follow")) }
    }

    pub(super) fn near(mut self, nearness: Nearness) -> Self {
        self.nearness = Some(nearness);
        self
    }

    fn of(found: Found, good: &str) -> Self {
        match found {
            Found::Agrees => Self::agrees(good),
            Found::CannotTell(why) => Self::cannot_tell(why),
            Found::Differs(what) => Self::differs(what.place.text(), what.index, what.stated, what.computed),
        }
    }
}

/// `agora receipt recompute`: what each level comes to, and the failure that the command ends with.
///
/// # Errors
/// What reading file and trust says. A level that differs is no error here.
pub fn recompute(context: &Context, wanted: &Wanted, from: TrustFrom<'_>) -> Outcome<(Recomputed, Option<Failure>)> {
    let name = wanted.file.display().to_string();
    let json = read_file(&wanted.file)?;
    let envelope = read_envelope(&json, &name)?;
    let (_, refused) = verify::judge(context, &name, &json, from)?;
    let malformed = |code| Failure::new(code, format!("{name}: the leaves in it are not signed receipts"));
    let (first, last) = match envelope.receipts() {
        Ok((first, last)) => (first.payload().clone(), last.map(|last| last.payload().clone())),
        // The verification says it better: which leaf, and why.
        Err(code) => return Err(refused.unwrap_or_else(|| malformed(code))),
    };
    let claim = Claim::of(&envelope, &first, last.as_ref());
    let mut outcomes = vec![first_level(refused, &claim)];
    outcomes.extend(match &claim {
        Claim::Measured(documents) => match find_index(context, wanted, &documents.spec)? {
            Some(index) => {
                let second = second_level(documents, &index)?;
                [second, super::level3::third_level(context, wanted, &envelope, documents, &index)?]
            }
            None => [NO_INDEX; 2].map(Judged::cannot_tell),
        },
        Claim::Declared => [DECLARED; 2].map(Judged::cannot_tell),
        Claim::Missing(why) => [*why; 2].map(Judged::cannot_tell),
        Claim::Malformed(..) => ["there is no spec and evidence to begin with"; 2].map(Judged::cannot_tell),
    });
    // Who brings an index or a model wants to know; who does not takes what can be had.
    let brought = if wanted.model.is_some() { 3 } else { 1 + u8::from(wanted.index.is_some()) };
    let demanded = wanted.level.unwrap_or(brought);
    let numbered = || (1..).zip(&outcomes);
    let failed =
        numbered().find(|(level, one)| one.verdict == Verdict::Differs || (one.code.is_some() && *level <= demanded));
    let failure = failed.map(|(level, one)| {
        let code = one.code.unwrap_or(Code::AttributionMismatch);
        let failure = Failure::new(code, format!("{name}: level {level}: {}", one.sentence));
        match one.verdict {
            Verdict::CannotTell => failure.advise("bring what is missing, or ask for a lower level with --level"),
            Verdict::Agrees | Verdict::Differs => failure,
        }
    });
    let level = |(level, one): (u8, &Judged)| Level {
        level,
        verdict: one.verdict,
        code: one.code.map(|code| code.text().to_owned()),
        sentence: one.sentence.clone(),
        difference: one.difference.clone(),
        nearness: one.nearness,
    };
    let document = Recomputed {
        file: name.clone(),
        index: envelope.provisional.index,
        method: first.attribution.method.clone(),
        spec: first.spec_hash,
        levels: numbered().map(level).collect(),
        code: failure.as_ref().map(|failure| failure.code.text().to_owned()),
        exit_code: failure.as_ref().map_or(0, Failure::exit_code),
    };
    Ok((document, failure))
}

const NO_INDEX: &str = "the adapter's attribution index is not here: name its folder with --index";
const DECLARED: &str = "shares are declared, not measured: there is nothing to recompute";

fn first_level(refused: Option<Failure>, claim: &Claim) -> Judged {
    if let Some(refused) = refused {
        return Judged::refused(refused.code, format!("the receipts do not verify: {}", refused.what));
    }
    match claim {
        Claim::Declared => Judged::agrees("signatures, inclusion and sums; shares are declared, not measured"),
        Claim::Missing(why) => Judged::cannot_tell(format!("the receipts verify, and no more can be told: {why}")),
        Claim::Malformed(code, what) => Judged::refused(*code, format!("the enclosed documents: {what}")),
        Claim::Measured(documents) => {
            let Documents { spec, evidence, fields, .. } = documents.as_ref();
            let good = "signatures, inclusion and sums; shares, payouts and roots follow from spec and evidence";
            Judged::of(level1(spec, evidence, fields), good)
        }
    }
}

/// The folder of an adapter and that of its index.
pub(super) struct IndexFolders {
    pub(super) adapter: PathBuf,
    pub(super) index: PathBuf,
}

impl IndexFolders {
    /// A folder that is an adapter's with its index in it, or an index inside its adapter's.
    fn at(folder: &Path) -> Self {
        let inner = folder.join(INDEX);
        match inner.is_dir() {
            true => Self { adapter: folder.to_path_buf(), index: inner },
            false => {
                let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
                Self { adapter: whole.parent().unwrap_or(&whole).to_path_buf(), index: whole.clone() }
            }
        }
    }

    /// An adapter's folder with the earlier index of this spec, if it is there.
    fn earlier(folder: &Path, spec: &Hash) -> Option<Self> {
        let index = folder.join(earlier(spec));
        index.is_dir().then(|| Self { adapter: folder.to_path_buf(), index })
    }
}

/// The index that is named, or the one of this spec among the adapters of the network; an adapter's earlier ones among
/// them.
fn find_index(context: &Context, wanted: &Wanted, spec: &AttributionSpec) -> Outcome<Option<IndexFolders>> {
    let hash = spec.hash();
    if let Some(folder) = &wanted.index {
        return Ok(Some(IndexFolders::earlier(folder, &hash).unwrap_or_else(|| IndexFolders::at(folder))));
    }
    let folder = context.paths.network(context.network()).join(ADAPTERS);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(None) };
    let bytes = spec.to_bytes();
    for entry in entries.take(ADAPTERS_MAX) {
        let place = entry.map_err(Failure::io(&folder))?.path();
        for found in IndexFolders::earlier(&place, &hash).into_iter().chain([IndexFolders::at(&place)]) {
            let path = found.index.join(SPEC_FILE);
            let Ok(file) = files::open(&path) else { continue };
            if files::read_bounded(file, &path, AttributionSpec::SIZE_MAX)?.is_some_and(|known| known == bytes) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn second_level(documents: &Documents, folders: &IndexFolders) -> Outcome<Judged> {
    let Documents { spec, evidence, .. } = documents;
    let read = |name: &str, size_max: usize| {
        let path = folders.index.join(name);
        let bytes = files::read_bounded(files::open(&path)?, &path, size_max)?;
        bytes.ok_or_else(|| Failure::new(Code::AttributionMatrix, format!("{}: too large", path.display())))
    };
    let unfit = |code: Code| {
        Judged::refused(code, format!("the index at {} is not the one of the spec", folders.index.display()))
    };
    let Ok(table) = RowTable::from_bytes(&read(TABLE_FILE, RowTable::SIZE_MAX)?) else {
        return Ok(unfit(Code::AttributionMatrix));
    };
    let rows = match spec.method.rule() {
        Rule::None => None,
        Rule::LeastSquares | Rule::Positive(_) => {
            let size = u128::from(spec.commitments.examples) * u128::from(spec.gradient.dimension);
            let size = usize::try_from(size).ok().and_then(|size| size.checked_add(HEADER_SIZE));
            Some(read(ROWS_FILE, size.unwrap_or(usize::MAX))?)
        }
    };
    let matrix = match rows.as_deref().map(Matrix::open).transpose() {
        Ok(matrix) => matrix,
        Err(code) => return Ok(unfit(code)),
    };
    let public = match Public::new(spec, matrix.as_ref(), &table) {
        Ok(public) => public,
        Err(code) => return Ok(unfit(code)),
    };
    let good = "scan, solution and split follow from the public matrix, bit for bit";
    Ok(match public.check_roots() {
        Found::Agrees => Judged::of(level2(&public, evidence), good),
        other => Judged::of(other, good),
    })
}

/// The disclosed bytes of question and answer.
pub(super) fn disclosed(envelope: &Envelope) -> Option<(Vec<u8>, Vec<u8>)> {
    let disclosure = envelope.disclosure.as_ref()?;
    Some((disclosure.request.as_ref()?.bytes()?, disclosure.response.as_ref()?.bytes()?))
}
