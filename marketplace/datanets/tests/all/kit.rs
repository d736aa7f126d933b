//! A small datanet to try things on: accounts are bytes, each with a key of its own.

use agora_datanets::*;
use agora_types::key::StatementSigner;
use agora_types::{Address, Hash, Signed, Timestamp};

pub(crate) const OWNER: u8 = 1;

pub(crate) fn address(n: u8) -> Address {
    Address::new([n; 20])
}

pub(crate) fn key(n: u8) -> StatementSigner {
    StatementSigner::from_bytes(&[n; 32])
}

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs).unwrap()
}

pub(crate) fn terms() -> Terms {
    Terms {
        network: 4_020_711,
        owner: address(OWNER),
        name: "maritime-law".into(),
        title: "Maritime law".into(),
        description: "Questions and answers about ships and the sea.".into(),
        licence: "CC-BY-4.0".into(),
        terms_hash: Some(Hash::sha256("terms")),
        kind_weights: KindWeights::default(),
    }
}

pub(crate) fn curator(n: u8) -> Curator {
    Curator { account: address(n), key: key(n).public() }
}

/// Curated by the accounts 1, 40 and 41; account 1 is the owner.
pub(crate) fn curated(admission: Admission, rejects: u8) -> Policy {
    Policy { curators: [OWNER, 40, 41].map(curator).into(), admission, rejects, ..Policy::default() }
}

pub(crate) fn text(words: &str) -> Item {
    Item::Text(words.to_owned())
}

/// What account `who` says of a batch.
pub(crate) fn submission(who: u8, batch: &Batch) -> Submission {
    Submission {
        network: terms().network,
        datanet: terms().id(),
        contributor: address(who),
        kind: ContributionKind::Source,
        weight: 1,
        licence: "CC-BY-4.0".into(),
        title: "Salvage cases".into(),
        root: batch.root(),
        count: batch.count(),
        time: at(0),
    }
}

pub(crate) fn signed(submission: Submission) -> Signed<Submission> {
    let seed = submission.contributor.as_bytes()[0];
    Signed::sign(submission, &key(seed))
}

/// A draft with what is needed to cluster and train on it.
pub(crate) struct Net {
    pub(crate) draft: Draft,
    pub(crate) reveals: Vec<Reveal>,
    pub(crate) contributions: Vec<Contribution>,
    pub(crate) acts: Vec<Act>,
    marks: Vec<similar::Mark>,
}

impl Net {
    pub(crate) fn new(policy: Policy) -> Self {
        Self::under(terms(), policy)
    }

    pub(crate) fn under(terms: Terms, policy: Policy) -> Self {
        Self {
            draft: Draft::new(terms, policy).unwrap(),
            reveals: Vec::new(),
            contributions: Vec::new(),
            acts: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Account `who` gives one text, committed under `seq`; answers with its place.
    pub(crate) fn give(&mut self, who: u8, seq: u64, words: &str) -> u32 {
        self.give_as(who, seq, &[text(words)], |_| {})
    }

    /// Several items in one submission, changed by `change` before it is signed; answers with the first one's place.
    pub(crate) fn give_as(&mut self, who: u8, seq: u64, items: &[Item], change: fn(&mut Submission)) -> u32 {
        // Secrets are random outside of tests.
        let mut batch = Batch::new(address(who), *Hash::sha256(seq.to_be_bytes()).as_bytes());
        let reveals: Vec<Reveal> = items.iter().map(|item| batch.add(item.clone()).unwrap()).collect();
        let mut said = submission(who, &batch);
        change(&mut said);
        let said = signed(said);
        self.draft.submit(seq, &said).unwrap();
        let first = u32::try_from(self.draft.len()).unwrap();
        let hasher = similar::MinHasher::default();
        for (index, reveal) in (0u32..).zip(reveals) {
            let path = batch.proof(index).unwrap();
            let (content_hash, size_bytes) = said.payload().check_reveal(index, &reveal, &path).unwrap();
            let position = Position { seq, index };
            let contribution = Contribution { position, submission: said.hash(), content_hash, size_bytes };
            self.draft.list(&contribution).unwrap();
            self.marks.push(similar::Mark::new(position, &reveal.item, &hasher).unwrap());
            self.contributions.push(contribution);
            self.reveals.push(reveal);
        }
        first
    }

    pub(crate) fn clusters(&self) -> similar::Clusters {
        let shingles = |place: u32| -> Result<_, ()> {
            Ok(Some(similar::Shingles::of(&self.reveals[place as usize].item.plain())))
        };
        similar::Clusters::find(&self.marks, self.draft.policy().near, shingles).unwrap()
    }

    pub(crate) fn content(&self, place: u32) -> Subject {
        Subject::Contribution(self.contributions[place as usize].content_hash)
    }

    pub(crate) fn judge(&mut self, who: u8, subject: Subject, ruling: Ruling, reason: Reason) {
        let verdict = verdict(who, subject, ruling, reason);
        self.act(Act::Verdict(Signed::sign(verdict, &key(who))));
    }

    pub(crate) fn accept(&mut self, who: u8, place: u32) {
        self.judge(who, self.content(place), Ruling::Accept, Reason::Good);
    }

    pub(crate) fn withdraw(&mut self, who: u8, subject: Subject) {
        self.act(Act::Withdrawal(Signed::sign(withdrawal(who, subject), &key(who))));
    }

    pub(crate) fn act(&mut self, act: Act) {
        self.draft.act(&act).unwrap();
        self.acts.push(act);
    }

    pub(crate) fn standings(&self) -> Vec<Standing> {
        self.draft.membership(&self.clusters()).standings().to_vec()
    }

    pub(crate) fn standing(&self, place: u32) -> Standing {
        self.standings()[place as usize]
    }

    pub(crate) fn version(&self, number: u32) -> (DatanetVersion, Membership) {
        self.draft.version(number, &self.clusters(), at(1)).unwrap()
    }

    /// Accounts with their weights.
    pub(crate) fn paid(&self) -> Vec<(u8, u32)> {
        let payees = self.draft.payees(&self.draft.membership(&self.clusters())).unwrap();
        payees.iter().map(|member| (member.account.as_bytes()[0], member.weight)).collect()
    }
}

pub(crate) fn verdict(who: u8, subject: Subject, ruling: Ruling, reason: Reason) -> Verdict {
    let note = if reason == Reason::Other { "See the source." } else { "" }.to_owned();
    let (network, datanet) = (terms().network, terms().id());
    Verdict { network, datanet, curator: address(who), subject, ruling, reason, note, time: at(2) }
}

pub(crate) fn withdrawal(who: u8, subject: Subject) -> Withdrawal {
    let (network, datanet) = (terms().network, terms().id());
    Withdrawal { network, datanet, contributor: address(who), subject, time: at(3) }
}

/// Different words for every number.
pub(crate) fn words(number: u64, count: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ka", "lo", "mi", "ru", "se", "to", "na", "vi", "po", "du", "fe", "ga", "hu", "ji", "we", "za"];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    let mut said = String::new();
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for shift in [8, 16, 24] {
            said.push_str(SYLLABLES[usize::try_from((state >> shift) & 15).unwrap()]);
        }
        said.push(' ');
    }
    said
}

#[track_caller]
pub(crate) fn same_bytes<T: agora_types::Canonical + PartialEq + std::fmt::Debug>(value: &T) {
    assert_eq!(T::from_bytes(&value.to_bytes()).as_ref(), Ok(value));
}
