//! The keeper's answers on the control port. Its work blocks, so it is done on threads that may.

use std::sync::Arc;

use agora_actors::CallError;
use agora_actors::clock::Clock as _;
use agora_actors::datanets::{Keeper, Kept, Listed, Next, Revealed};
use agora_datanets::{Act, Position, Reveal};
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::merkle::leaf_hash;
use agora_types::{Canonical, Code, Signed};
use serde_json::Value;

use super::System;
use super::network::refused;
use crate::control::{
    ActTaken, CharterView, Contributed, DatanetAsk, DatanetView, Datanets, ItemName, ItemPage, ItemRow, Names,
    PolicyView, VersionDraft,
};

/// Rows of one page.
const PAGE_MAX: u32 = 256;
/// Names of one answer.
const NAMES_MAX: usize = 4_096;
/// Bytes of data of one page.
const PAGE_BYTES_MAX: usize = 8 << 20;

/// Answers a question.
pub(super) async fn answer(keeper: &Arc<Keeper>, ask: DatanetAsk) -> Outcome<Value> {
    let keeper = Arc::clone(keeper);
    let answered = tokio::task::spawn_blocking(move || respond(&keeper, ask)).await;
    answered.unwrap_or_else(|error| Err(Failure::new(Code::StoreFailed, format!("a datanet: {error}"))))
}

fn respond(keeper: &Keeper, ask: DatanetAsk) -> Outcome<Value> {
    match ask {
        DatanetAsk::Found { charter } => json(keeper.found(&signed(&charter)?), |kept| view(&kept)),
        DatanetAsk::List => json(keeper.all(), |all| Datanets { datanets: all.iter().map(view).collect() }),
        DatanetAsk::Show { id } => json(keeper.get(&id), |kept| view(&kept)),
        DatanetAsk::Charter { id } => {
            json(keeper.get(&id), |kept| CharterView { charter: hex::encode(kept.charter.to_bytes()) })
        }
        DatanetAsk::Policy { id, hash } => {
            let policy = keeper.policy(&id, &hash).map_err(refused)?;
            let unknown = || Failure::new(Code::DatanetNotFound, format!("policy {hash} of {id}"));
            json(Ok(policy.ok_or_else(unknown)?), |policy| PolicyView { policy: hex::encode(policy.to_bytes()) })
        }
        DatanetAsk::Contribute { submission, items } => {
            let revealed = items.into_iter().map(|item| {
                Ok(Revealed { index: item.index, reveal: record::<Reveal>(&item.reveal)?, path: item.path })
            });
            let revealed = revealed.collect::<Outcome<Vec<_>>>()?;
            json(keeper.contribute(&signed(&submission)?, &revealed), |taken| Contributed {
                seq: taken.seq,
                new: taken.new,
                contributions: taken.contributions,
            })
        }
        DatanetAsk::Act { act } => {
            let act = Act::from_bytes(&bytes(&act)?).map_err(|error| malformed(&error.to_string()))?;
            json(keeper.act(&act), |number| ActTaken { number })
        }
        DatanetAsk::Draft { id } => json(keeper.draft(&id, System.now()), |(next, opened)| {
            let (version, kept) = match next {
                Next::Draft(version) => (version.to_bytes(), false),
                Next::Kept(signed) => (signed.to_bytes(), true),
            };
            VersionDraft { version: hex::encode(version), kept, counts: opened.membership.counts() }
        }),
        DatanetAsk::Publish { version, entry } => {
            let version = signed(&version)?;
            keeper.publish(&version, &record::<Entry>(&entry)?).map_err(refused)?;
            json(keeper.get(&version.payload().terms.id()), |kept| view(&kept))
        }
        DatanetAsk::Names { id, positions } => {
            let named = positions.into_iter().take(NAMES_MAX).filter_map(|(seq, index)| {
                let found = keeper.at(&id, Position { seq, index }).transpose()?;
                Some(found.map(|found| ItemName {
                    contribution: leaf_hash(&found.contribution.to_bytes()),
                    place: found.place,
                    title: found.submission.payload().title.clone(),
                }))
            });
            json(named.collect(), |items| Names { items })
        }
        DatanetAsk::Items { id, version, included, from, limit } => {
            let opened = keeper.open(&id, version).map_err(refused)?;
            let places: Vec<u32> = match included {
                true => opened.included(),
                false => (0u32..).take(opened.membership.standings().len()).collect(),
            };
            let total = u32::try_from(places.len()).unwrap_or(u32::MAX);
            let (mut items, mut size) = (Vec::new(), 0);
            for place in places.into_iter().skip(from as usize).take(limit.min(PAGE_MAX) as usize) {
                let listed = keeper.listed(&opened, place).map_err(refused)?;
                size += listed.contribution.size_bytes as usize;
                // One always fits, so that a reader gets on.
                if size > PAGE_BYTES_MAX && !items.is_empty() {
                    break;
                }
                items.push(row(&listed));
            }
            let signed = opened.signed.as_ref().map(|signed| hex::encode(signed.to_bytes()));
            json(Ok(()), |()| ItemPage { signed, total, counts: opened.membership.counts(), items })
        }
    }
}

fn row(listed: &Listed) -> ItemRow {
    ItemRow {
        place: listed.place,
        contribution: hex::encode(listed.contribution.to_bytes()),
        submission: hex::encode(listed.submission.to_bytes()),
        committed: listed.committed,
        standing: listed.standing,
        reveal: hex::encode(listed.reveal.to_bytes()),
    }
}

fn view(kept: &Kept) -> DatanetView {
    let (terms, policy) = (&kept.charter.payload().terms, &kept.charter.payload().policy);
    DatanetView {
        id: kept.id,
        name: terms.name.clone(),
        title: terms.title.clone(),
        description: terms.description.clone(),
        owner: terms.owner,
        licence: terms.licence.clone(),
        admission: policy.admission,
        curators: policy.curators.iter().map(|curator| curator.account).collect(),
        fee: policy.fee,
        version: kept.head.version,
        statement: kept.statement,
        contributions: kept.head.contributions,
        acts: kept.head.acts,
        submissions: kept.head.submissions,
    }
}

fn json<T, A: serde::Serialize>(result: Result<T, CallError>, view: impl FnOnce(T) -> A) -> Outcome<Value> {
    let answer = view(result.map_err(refused)?);
    Ok(serde_json::to_value(&answer).expect("answers are plain JSON"))
}

fn malformed(what: &str) -> Failure {
    Failure::new(Code::WireMalformed, format!("a record of a datanet: {what}"))
}

fn bytes(text: &str) -> Outcome<Vec<u8>> {
    hex::decode(text.trim_start_matches("0x")).map_err(|error| malformed(&error.to_string()))
}

fn record<T: Canonical>(text: &str) -> Outcome<T> {
    T::from_bytes(&bytes(text)?).map_err(|error| malformed(&error.to_string()))
}

fn signed<T: Canonical + Clone>(text: &str) -> Outcome<Signed<T>> {
    Signed::from_bytes(&bytes(text)?).map_err(|error| malformed(&error.to_string()))
}
