//! Level 3 of a recomputation: the answer through the model once more.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agora_attribution::{Evidence, ONE, Position, Sample, Span, Vector, cosine};
use agora_influence::{Adapter, Index, InfluenceError, Workbench, tokens_of};
use agora_openlora::weights::Weights;
use agora_openlora::{Loading, OpenLora, Settings as EngineSettings};
use agora_receipts::Envelope;
use agora_shell::fetch::{self, State};
use agora_shell::settings::ModelChoice;
use agora_shell::{Failure, Outcome};
use agora_types::Hash;
use agora_types::genesis::Tolerance;

use super::enclosed::Documents;
use super::explain::percent;
use super::recompute::{IndexFolders, Judged, Nearness, Wanted, disclosed};
use crate::cli::context::Context;

/// What the network's parameters allow; who has no genesis of it holds it to the usual.
fn tolerance(context: &Context, network: u64) -> Tolerance {
    let own = context.genesis().ok().filter(|genesis| genesis.chain_id == network);
    own.map_or_else(Tolerance::default, |genesis| genesis.parameters.tolerance())
}

/// The file of a model that is here, with the hash that it must have; `None` for one that is not.
fn place(context: &Context, choice: &ModelChoice) -> Outcome<Option<(PathBuf, Option<Hash>)>> {
    if let Some(path) = choice.path() {
        return Ok(path.exists().then(|| (path.to_path_buf(), None)));
    }
    // The stand-in without weights has no file.
    let Ok(model) = fetch::find(choice.as_str()) else { return Ok(None) };
    let folder = context.paths.models();
    let here = matches!(fetch::state(model, &folder)?, State::Verified | State::Unchecked);
    Ok(here.then(|| (folder.join(model.file), Some(model.sha256))))
}

/// The weights of a model that is here; `Ok(None)` for one that is not.
///
/// # Errors
/// `engine.*` for a file that is no model.
pub(super) fn weights(context: &Context, choice: &ModelChoice) -> Outcome<Option<Weights>> {
    let Some((path, expected)) = place(context, choice)? else { return Ok(None) };
    let total = OpenLora::size(&path).unwrap_or_default();
    let bar = context.printer.bytes_bar(&format!("loading {}", choice.as_str()), total);
    let mut progress = |loading: Loading| bar.at(loading.done_bytes);
    let loaded = Weights::load(&path, expected, EngineSettings::default().context_max, &mut progress);
    bar.finish();
    loaded.map(Some).map_err(|error| Failure::new(error.code, error.what))
}

/// Level 3, if question, answer and model are here.
pub(super) fn third_level(
    context: &Context,
    wanted: &Wanted,
    envelope: &Envelope,
    documents: &Documents,
    folders: &IndexFolders,
) -> Outcome<Judged> {
    let Documents { spec, evidence, fields, .. } = documents;
    if let Some(drawn) = evidence.sample.as_ref().map(Sample::drawn)
        && drawn.index != fields.provisional.0
    {
        return Ok(Judged::cannot_tell(format!(
            "one answer was measured for several calls, and not this one: recompute receipt {}",
            drawn.index
        )));
    }
    let Some((request, response)) = disclosed(envelope) else {
        return Ok(Judged::cannot_tell("question and answer are not disclosed: have the buyer export with --disclose"));
    };
    let choice = wanted.model.as_ref().unwrap_or(&context.settings.model.value);
    // A known model is told by its hash, before anything is loaded.
    let other = || {
        Judged::cannot_tell(format!(
            "the answer is of another base model than {}: name it with --model",
            choice.as_str()
        ))
    };
    if let Some((_, Some(hash))) = place(context, choice)?
        && hash != spec.base_hash
    {
        return Ok(other());
    }
    let Some(weights) = weights(context, choice)? else {
        let what = format!("the base model {} is not here: fetch it, or name another with --model", choice.as_str());
        return Ok(Judged::cannot_tell(what));
    };
    if weights.base().hash != spec.base_hash || weights.base().tokenizer_hash != spec.tokenizer_hash {
        return Ok(other());
    }
    let measure = || -> Result<Option<Evidence>, InfluenceError> {
        let index = Index::open(&folders.index, Adapter::read(&weights, &folders.adapter)?)?;
        if index.spec() != spec {
            return Ok(None);
        }
        let matrix = index.matrix()?;
        let public = index.public(matrix.as_ref())?;
        let asked = tokens_of(&weights, &request, &response)?;
        let mut bench = Workbench::new(weights.clone(), context.settings.threads.value.count())?;
        index.attribute(&public, &mut bench, &asked, evidence.pool).map(Some)
    };
    Ok(match measure() {
        Ok(Some(computed)) => compare(evidence, &computed, tolerance(context, documents.network)),
        Ok(None) => Judged::cannot_tell(format!("the index at {} is of another spec", folders.index.display())),
        Err(error) => Judged::cannot_tell(format!("the answer cannot be measured here: {error}")),
    })
}

/// Tokens and spans are the same; vector, shares and the explained part are near.
fn compare(stated: &Evidence, computed: &Evidence, allowed: Tolerance) -> Judged {
    let (mine, theirs) = (&computed.summary, &stated.summary);
    if theirs.output_tokens != mine.output_tokens {
        let (stated, computed) = (theirs.output_tokens.to_string(), mine.output_tokens.to_string());
        return Judged::differs("the number of the answer's tokens", None, stated, computed);
    }
    let most = stated.spans.len().max(computed.spans.len());
    if let Some(at) = (0..most).find(|at| stated.spans.get(*at) != computed.spans.get(*at)) {
        let text = |span: Option<&Span>| span.map_or_else(|| "nothing".to_owned(), |span| format!("{span:?}"));
        let (stated, computed) = (text(stated.spans.get(at)), text(computed.spans.get(at)));
        return Judged::differs("a copied span", Some(at), stated, computed);
    }
    let mut shares: BTreeMap<Position, (u64, u64)> = BTreeMap::new();
    for entry in &stated.entries {
        shares.entry(entry.cluster).or_default().0 = entry.share;
    }
    for entry in &computed.entries {
        shares.entry(entry.cluster).or_default().1 = entry.share;
    }
    let largest = shares.iter().max_by_key(|(_, (stated, computed))| stated.abs_diff(*computed));
    let nearness = Nearness {
        cosine: near(&stated.query, &computed.query),
        share: largest.map_or(0, |(_, (stated, computed))| stated.abs_diff(*computed)),
        explained: theirs.explained.abs_diff(mine.explained),
    };
    let outcome = match (nearness, largest) {
        (Nearness { cosine: Some(cosine), .. }, _)
            if u64::try_from(cosine).is_ok_and(|cosine| cosine < allowed.cosine_min) || cosine < 0 =>
        {
            let wanted = format!("a cosine of at least {} parts of 2^30", allowed.cosine_min);
            Judged::differs("the query vector", None, wanted, cosine.to_string())
        }
        (Nearness { explained, .. }, _) if explained > allowed.share_max => {
            Judged::differs("the explained part", None, theirs.explained.to_string(), mine.explained.to_string())
        }
        (Nearness { share, .. }, Some((cluster, (stated, computed)))) if share > allowed.share_max => {
            let place = format!("the share of cluster {}.{}.{}", cluster.seq, cluster.index, cluster.item);
            Judged::differs(&place, None, stated.to_string(), computed.to_string())
        }
        (Nearness { cosine, .. }, _) => {
            let vector = match cosine {
                Some(ONE) => "the same query vector".to_owned(),
                Some(cosine) => {
                    format!("a query vector at cosine 0.{:06}", i128::from(cosine) * 1_000_000 / i128::from(ONE))
                }
                None => "shares and spans (the query vector is withheld)".to_owned(),
            };
            let near = percent(allowed.share_max);
            Judged::agrees(format!(
                "model, question and answer give {vector}, the same spans, and shares within {near}"
            ))
        }
    };
    outcome.near(nearness)
}

/// The cosine of two query vectors, parts of 2^30; `None` where one is withheld. Vectors that do not fit are opposites.
fn near(stated: &[u8], computed: &[u8]) -> Option<i64> {
    if stated.is_empty() || computed.is_empty() {
        return None;
    }
    match (Vector::new(stated.to_vec()), Vector::new(computed.to_vec())) {
        (Ok(left), Ok(right)) if stated.len() == computed.len() => {
            let (left, right) = (left.row(), right.row());
            Some(cosine(left.dot(&right), left.norm_squared(), right.norm_squared()))
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Some(-ONE),
    }
}
