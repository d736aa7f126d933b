//! A version in the making: both lists row by row, kept only as far as the rule needs them.
//!
//! Of a contribution it keeps some 60 bytes, of a submission some 200, of an act at most some 150, and of both trees
//! the right edge; texts never come here. It may go on growing after a version was taken from it.

use std::collections::{BTreeMap, BTreeSet};

use agora_types::key::StatementKey;
use agora_types::merkle::{Frontier, leaf_hash};
use agora_types::{Address, Canonical as _, Code, ContributionKind, Hash, Signed};

use crate::act::{Act, Reason, Ruling, Subject};
use crate::contribution::{Contribution, Position};
use crate::policy::Policy;
use crate::submission::Submission;
use crate::terms::Terms;

/// Most contributions of a datanet, whatever became of them.
pub const CONTRIBUTIONS_MAX: usize = 1 << 20;
/// Most acts of a datanet.
pub const ACTS_MAX: usize = 1 << 20;

/// What the rule needs of a contribution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) content: Hash,
    pub(crate) position: Position,
    pub(crate) offer: u32,
    pub(crate) size_bytes: u32,
}

/// What the rule needs of a submission.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) contributor: Address,
    pub(crate) key: StatementKey,
    pub(crate) kind: ContributionKind,
    pub(crate) weight: u32,
    pub(crate) count: u32,
    hash: Hash,
    licence: u32,
    /// One bit for each item that stands in the list.
    seen: Vec<u64>,
}

/// What voices say of one subject, each its newest word.
pub(crate) type Said = BTreeMap<usize, (Ruling, Reason)>;

/// Both lists of a datanet under its terms and policy.
#[derive(Debug, Clone)]
pub struct Draft {
    terms: Terms,
    policy: Policy,
    offers: Vec<Offer>,
    /// From the number of the commitment.
    by_seq: BTreeMap<u64, u32>,
    licences: Vec<String>,
    licence_ids: BTreeMap<String, u32>,
    facts: Vec<Fact>,
    contributions: Frontier,
    acts: Frontier,
    verdicts: BTreeMap<Subject, Said>,
    withdrawals: BTreeMap<Subject, BTreeSet<(Address, StatementKey)>>,
}

impl Draft {
    /// Two empty lists.
    ///
    /// # Errors
    /// `datanet.bad_terms`, `datanet.bad_policy`.
    pub fn new(terms: Terms, policy: Policy) -> Result<Self, Code> {
        if !terms.are_bounded() {
            return Err(Code::DatanetTerms);
        }
        policy.check()?;
        Ok(Self {
            terms,
            policy,
            offers: Vec::new(),
            by_seq: BTreeMap::new(),
            licences: Vec::new(),
            licence_ids: BTreeMap::new(),
            facts: Vec::new(),
            contributions: Frontier::default(),
            acts: Frontier::default(),
            verdicts: BTreeMap::new(),
            withdrawals: BTreeMap::new(),
        })
    }

    /// Takes note of a submission whose commitment has the number `seq` on the ledger, before its items are revealed.
    /// That the ledger did record this commitment, by this account, is the caller's to check.
    ///
    /// # Errors
    /// `datanet.bad_submission` for one out of bounds, meant for another datanet or network, or under a number that is
    /// taken.
    pub fn submit(&mut self, seq: u64, signed: &Signed<Submission>) -> Result<(), Code> {
        let submission = signed.payload();
        submission.check()?;
        let here = submission.datanet == self.terms.id() && submission.network == self.terms.network;
        if !here || self.by_seq.contains_key(&seq) || self.offers.len() >= CONTRIBUTIONS_MAX {
            return Err(Code::SubmissionInvalid);
        }
        let id = |n: usize| u32::try_from(n).expect("bounded above");
        let licence = match self.licence_ids.get(&submission.licence) {
            Some(known) => *known,
            None => {
                let new = id(self.licences.len());
                self.licences.push(submission.licence.clone());
                self.licence_ids.insert(submission.licence.clone(), new);
                new
            }
        };
        self.by_seq.insert(seq, id(self.offers.len()));
        self.offers.push(Offer {
            contributor: submission.contributor,
            key: *signed.key(),
            kind: submission.kind,
            weight: submission.weight,
            count: submission.count,
            hash: signed.hash(),
            licence,
            seen: Vec::new(),
        });
        Ok(())
    }

    /// Puts a contribution at the end of the first list and gives its place. That its content is under the submission's
    /// root is the caller's to check, once: [`Submission::check_contents`].
    ///
    /// # Errors
    /// `datanet.bad_contribution` for one that does not fit its submission, or stands in the list already.
    pub fn list(&mut self, contribution: &Contribution) -> Result<u32, Code> {
        let Position { seq, index } = contribution.position;
        let at = u32::try_from(self.facts.len()).map_err(|_| Code::ContributionInvalid)?;
        let offer_at = *self.by_seq.get(&seq).ok_or(Code::ContributionInvalid)?;
        let offer = &mut self.offers[offer_at as usize];
        let fits = offer.hash == contribution.submission
            && index < offer.count
            && contribution.size_bytes > 0
            && self.facts.len() < CONTRIBUTIONS_MAX;
        if !fits {
            return Err(Code::ContributionInvalid);
        }
        let (word, bit) = ((index / 64) as usize, 1u64 << (index % 64));
        if offer.seen.len() <= word {
            offer.seen.resize(word + 1, 0);
        }
        if offer.seen[word] & bit != 0 {
            return Err(Code::ContributionInvalid);
        }
        offer.seen[word] |= bit;
        self.contributions.push(leaf_hash(&contribution.to_bytes()));
        self.facts.push(Fact {
            content: contribution.content_hash,
            position: contribution.position,
            offer: offer_at,
            size_bytes: contribution.size_bytes,
        });
        Ok(at)
    }

    /// Puts an act at the end of the second list. One by a stranger stands there without effect: whether it is taken
    /// into the list at all, the keeper decides.
    ///
    /// # Errors
    /// `datanet.bad_act` for one out of bounds, or about another datanet or network.
    pub fn act(&mut self, act: &Act) -> Result<(), Code> {
        let (network, datanet) = match act {
            Act::Verdict(signed) => (signed.payload().network, signed.payload().datanet),
            Act::Withdrawal(signed) => (signed.payload().network, signed.payload().datanet),
        };
        let here = datanet == self.terms.id() && network == self.terms.network;
        if !here || self.acts.size() >= ACTS_MAX as u64 {
            return Err(Code::ActInvalid);
        }
        match act {
            Act::Verdict(signed) => {
                let verdict = signed.payload();
                verdict.check()?;
                if let Some(voice) = self.policy.voice(&verdict.curator, signed.key()) {
                    let said = self.verdicts.entry(verdict.subject).or_default();
                    said.insert(voice, (verdict.ruling, verdict.reason));
                }
            }
            Act::Withdrawal(signed) => {
                let by = (signed.payload().contributor, *signed.key());
                self.withdrawals.entry(signed.payload().subject).or_default().insert(by);
            }
        }
        self.acts.push(leaf_hash(&act.to_bytes()));
        Ok(())
    }

    /// What the owner says.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How it is curated.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Number of contributions.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// True without contributions.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The position of the contribution at this place of the list.
    pub fn position(&self, at: u32) -> Option<Position> {
        self.facts.get(at as usize).map(|fact| fact.position)
    }

    /// Bytes that it holds for what was put in, without what the allocator adds.
    pub fn bytes(&self) -> usize {
        let said: usize = self
            .verdicts
            .values()
            .map(|said| size_of::<Subject>() + said.len() * size_of::<(usize, Ruling, Reason)>())
            .sum();
        let by: usize = self
            .withdrawals
            .values()
            .map(|by| size_of::<Subject>() + by.len() * size_of::<(Address, StatementKey)>())
            .sum();
        self.facts.len() * size_of::<Fact>()
            + self
                .offers
                .iter()
                .map(|offer| size_of::<Offer>() + offer.seen.len() * 8 + size_of::<(u64, u32)>())
                .sum::<usize>()
            + said
            + by
    }

    pub(crate) fn facts(&self) -> &[Fact] {
        &self.facts
    }

    pub(crate) fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub(crate) fn offer_of(&self, at: u32) -> &Offer {
        &self.offers[self.facts[at as usize].offer as usize]
    }

    pub(crate) fn licence(&self, offer: &Offer) -> &str {
        &self.licences[offer.licence as usize]
    }

    pub(crate) fn verdicts(&self, subject: &Subject) -> Option<&Said> {
        self.verdicts.get(subject)
    }

    pub(crate) fn withdrawals(&self, subject: &Subject) -> Option<&BTreeSet<(Address, StatementKey)>> {
        self.withdrawals.get(subject)
    }

    /// Root and size of the first list.
    pub(crate) fn contributions(&self) -> (Hash, u64) {
        (self.contributions.root(), self.contributions.size())
    }

    /// Root and size of the second list.
    pub(crate) fn acts(&self) -> (Hash, u64) {
        (self.acts.root(), self.acts.size())
    }
}
