//! What training reads: the contributions that are in, one by one, in canonical order, each compared with its
//! commitment.

use agora_types::{Address, Code, ContributionKind, Hash};

use crate::contribution::Position;
use crate::draft::Draft;
use crate::item::{Item, Reveal};
use crate::membership::Membership;

/// One contribution of a version with its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Place in the datanet's list: what receipts name.
    pub place: u32,
    /// Whose commitment came when.
    pub position: Position,
    /// Who is paid.
    pub contributor: Address,
    /// How it helps.
    pub kind: ContributionKind,
    /// SPDX id.
    pub licence: String,
    /// What was committed to.
    pub content_hash: Hash,
    /// The data.
    pub item: Item,
}

/// Why an example cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExampleError<E> {
    /// The store failed.
    Fetch(E),
    /// What the store gave is not what was committed to (`datanet.not_committed`), or nothing.
    Data {
        /// Place in the list.
        place: u32,
        /// Why.
        code: Code,
    },
}

/// The examples of a version, in rising place of the list: this order is the one that training, the rows of gradients
/// and the export share. `fetch` gives what opens a content hash; it is called once for each, in order, so that nothing
/// but the example at hand is held.
pub fn examples<'a, E>(
    draft: &'a Draft,
    membership: &'a Membership,
    mut fetch: impl FnMut(&Hash) -> Result<Option<Reveal>, E> + 'a,
) -> impl Iterator<Item = Result<Example, ExampleError<E>>> + 'a {
    membership.included().map(move |place| {
        let (fact, offer) = (&draft.facts()[place as usize], draft.offer_of(place));
        let wrong = |code| ExampleError::Data { place, code };
        let reveal = fetch(&fact.content).map_err(ExampleError::Fetch)?.ok_or(wrong(Code::NotCommitted))?;
        let (content, _) = reveal.content(&offer.contributor).map_err(wrong)?;
        if content != fact.content {
            return Err(wrong(Code::NotCommitted));
        }
        Ok(Example {
            place,
            position: fact.position,
            contributor: offer.contributor,
            kind: offer.kind,
            licence: draft.licence(offer).to_owned(),
            content_hash: content,
            item: reveal.item,
        })
    })
}
