//! A datanet in memory, from commitments to what its version teaches: by the rules and in the steps of a network's own.
//!
//! `tests/all/gaming.rs` gives to such datanets too.
#![allow(dead_code, reason = "each of the two who give needs a part")]

use std::collections::BTreeMap;

use agora_attribution::{DatanetRef, Kind};
use agora_datanets::checks::check;
use agora_datanets::similar::{Answer, Clusters, Mark, MinHasher, Shingles, repeats};
use agora_datanets::{
    Action, Batch, Contribution, ContributionKind, Draft, Item, KindWeights, Policy, Position, Reveal, Submission,
    Terms, examples,
};
use agora_inference_api::Request;
use agora_influence::{Asked, Example};
use agora_openlora::weights::Weights;
use agora_types::key::StatementSigner;
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Canonical as _, Code, Hash, Signed, Timestamp};
use serde::Deserialize;

type Failure = Box<dyn std::error::Error>;

const NETWORK: u64 = 4_020_711;
const LICENCE: &str = "CC0-1.0";
/// From which similarity on a training takes contributions for the same, in thousandths, whatever the datanet's own rule
/// is: as `agora factory train` does.
const NEAR: u16 = 800;

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Lesson {
    pub(crate) prompt: String,
    pub(crate) response: String,
}

impl Lesson {
    /// In tokens, as a training takes it: an answer that is too long is cut.
    pub(crate) fn asked(&self, weights: &Weights, tokens_max: usize) -> Result<Asked, Failure> {
        let found = weights.taught(&Request::ask(self.prompt.as_str(), 1), &self.response)?;
        let mut asked = Asked { prompt: found.prompt, response: found.response };
        asked.response.truncate(tokens_max.saturating_sub(asked.prompt.len()));
        Ok(asked)
    }
}

/// What an account gives at once. Gifts are revealed in their order; `seq` is the number of the commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gift {
    pub(crate) seq: u64,
    pub(crate) from: Address,
    pub(crate) lessons: Vec<Lesson>,
}

/// A lesson that is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taught {
    pub(crate) lesson: Lesson,
    pub(crate) about: agora_attribution::Example,
}

/// A version, and what became of the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// In the order of training and rows.
    pub(crate) lessons: Vec<Taught>,
    /// Pairs of them that say nearly the same; none under the usual policy, which leaves the later one out.
    pub(crate) copies: Vec<(u32, u32)>,
    pub(crate) reference: DatanetRef,
    /// Items that the checks refused.
    pub(crate) refused: usize,
    /// Items that they would show to a curator.
    pub(crate) flagged: usize,
    /// Items that are out because an earlier commitment said the same.
    pub(crate) near: usize,
    /// Items that a training leaves out, as they repeat an earlier one's answer to the same question.
    pub(crate) repeated: usize,
}

impl Version {
    /// Checks, commits, reveals, and makes the first version under `policy`.
    pub(crate) fn of(gifts: &[Gift], policy: Policy) -> Result<Self, Failure> {
        let terms = Terms {
            network: NETWORK,
            owner: Address::system("keeper"),
            name: "market".to_owned(),
            title: "A market of lessons".to_owned(),
            description: String::new(),
            licence: LICENCE.to_owned(),
            terms_hash: None,
            kind_weights: KindWeights::default(),
        };
        let mut keeper = Keeper {
            draft: Draft::new(terms, policy).map_err(refused)?,
            hasher: MinHasher::default(),
            marks: Vec::new(),
            listed: Vec::new(),
            refused: 0,
            flagged: 0,
        };
        for gift in gifts {
            keeper.take(gift)?;
        }
        keeper.version()
    }

    /// What it teaches in tokens.
    pub(crate) fn rows(&self, weights: &Weights, tokens_max: usize) -> Result<Vec<Example>, Failure> {
        let row = |taught: &Taught| -> Result<Example, Failure> {
            let Lesson { prompt, response } = &taught.lesson;
            let text = [weights.encode(prompt), weights.encode(response.trim())].concat();
            Ok(Example { asked: taught.lesson.asked(weights, tokens_max)?, text, about: taught.about })
        };
        self.lessons.iter().map(row).collect()
    }
}

/// Who keeps the list.
struct Keeper {
    draft: Draft,
    hasher: MinHasher,
    marks: Vec<Mark>,
    /// In the order of the list, each with what opens it.
    listed: Vec<(Contribution, Reveal)>,
    refused: usize,
    flagged: usize,
}

impl Keeper {
    fn take(&mut self, gift: &Gift) -> Result<(), Failure> {
        // Random for who means it; here the same each time.
        let secret = Hash::sha256_of(&[b"secret", gift.from.as_bytes(), &gift.seq.to_be_bytes()]);
        let mut batch = Batch::new(gift.from, *secret.as_bytes());
        let mut reveals = Vec::new();
        for lesson in &gift.lessons {
            let item = Item::Pair { prompt: lesson.prompt.clone(), response: lesson.response.clone() };
            match check(&item, self.draft.policy()).action {
                Action::Refuse => {
                    self.refused += 1;
                    continue;
                }
                Action::Flag => self.flagged += 1,
                Action::Ignore => {}
            }
            reveals.push(batch.add(item).map_err(refused)?);
        }
        if reveals.is_empty() {
            return Ok(());
        }
        let said = Submission {
            network: NETWORK,
            datanet: self.draft.terms().id(),
            contributor: gift.from,
            kind: ContributionKind::Source,
            weight: 1,
            licence: LICENCE.to_owned(),
            title: "Lessons".to_owned(),
            root: batch.root(),
            count: batch.count(),
            time: time()?,
        };
        let key = StatementSigner::from_bytes(Hash::sha256(gift.from.as_bytes()).as_bytes());
        let signed = Signed::sign(said, &key);
        self.draft.submit(gift.seq, &signed).map_err(refused)?;
        for (index, reveal) in (0u32..).zip(reveals) {
            let path = batch.proof(index).ok_or("a proof for each item")?;
            let (content_hash, size_bytes) = signed.payload().check_reveal(index, &reveal, &path).map_err(refused)?;
            let position = Position { seq: gift.seq, index };
            let contribution = Contribution { position, submission: signed.hash(), content_hash, size_bytes };
            self.draft.list(&contribution).map_err(refused)?;
            self.marks.push(Mark::new(position, &reveal.item, &self.hasher).map_err(refused)?);
            self.listed.push((contribution, reveal));
        }
        Ok(())
    }

    fn version(self) -> Result<Version, Failure> {
        let said = |place: u32| self.listed[place as usize].1.item.plain();
        let shingles = |place: u32| Ok::<_, Code>(Some(Shingles::of(&said(place))));
        let clusters = Clusters::find(&self.marks, self.draft.policy().near, shingles).map_err(refused)?;
        let (made, membership) = self.draft.version(1, &clusters, time()?).map_err(refused)?;
        let reveals: BTreeMap<Hash, &Reveal> =
            self.listed.iter().map(|(contribution, reveal)| (contribution.content_hash, reveal)).collect();
        let fetch = |content: &Hash| Ok::<_, Code>(reveals.get(content).copied().cloned());
        let (mut lessons, mut places) = (Vec::new(), Vec::new());
        for example in examples(&self.draft, &membership, fetch) {
            let example = example.map_err(|error| format!("{error:?}"))?;
            let Item::Pair { prompt, response } = example.item else { return Err("only pairs are given".into()) };
            let Position { seq, index } = example.position;
            let about = agora_attribution::Example {
                contribution: leaf_hash(&self.listed[example.place as usize].0.to_bytes()),
                account: example.contributor,
                position: agora_attribution::Position { seq, index, item: 0 },
                kind: Kind::Source,
                weight: made.terms.kind_weights.of(example.kind),
            };
            lessons.push(Taught { lesson: Lesson { prompt, response }, about });
            places.push(example.place);
        }
        let given = lessons.len();
        if self.draft.policy().near.is_some() {
            let kept = repeated(&lessons).into_iter().map(|repeated| !repeated);
            (lessons, places) =
                lessons.into_iter().zip(places).zip(kept).filter(|(_, kept)| *kept).map(|(one, _)| one).unzip();
        }
        let marks: Vec<Mark> = places.iter().map(|place| self.marks[*place as usize]).collect();
        let shingles = |at: u32| Ok::<_, Code>(Some(Shingles::of(&said(places[at as usize]))));
        let alike = Clusters::find(&marks, Some(NEAR), shingles).map_err(refused)?;
        let copies = (0u32..).take(marks.len()).filter(|at| alike.like(*at) != *at);
        Ok(Version {
            copies: copies.map(|at| (alike.like(at), at)).collect(),
            lessons,
            reference: DatanetRef { id: made.terms.id(), root: made.root, tree_size: made.tree_size },
            refused: self.refused,
            flagged: self.flagged,
            near: membership.counts().duplicates as usize,
            repeated: given - marks.len(),
        })
    }
}

/// For each lesson whether it repeats an earlier one.
fn repeated(lessons: &[Taught]) -> Vec<bool> {
    let answers = lessons.iter().map(|taught| {
        let agora_attribution::Position { seq, index, .. } = taught.about.position;
        let Lesson { prompt, response } = &taught.lesson;
        Answer { position: Position { seq, index }, question: prompt, answer: response }
    });
    repeats(&answers.collect::<Vec<_>>()).into_iter().map(|earlier| earlier.is_some()).collect()
}

fn time() -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_secs(1_800_000_000).ok_or("a time that there is")?)
}

fn refused(code: Code) -> Failure {
    format!("{code}: {}", code.meaning()).into()
}
