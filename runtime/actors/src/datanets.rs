//! The keeper of datanets: both lists of each, the data behind them, and the versions made of them.
//!
//! What a datanet's rules are stands in `agora_datanets`; here they meet the ledger and the disk. Every step may be
//! repeated: a charter, a contribution, an act or a version that is there already changes nothing. What a crash leaves:
//!
//! | it ends | on disk | what happens next |
//! |---|---|---|
//! | after the commitment | ledger only | the contributor reveals later; the place among all commitments is kept |
//! | within a batch | the pages that were revealed, each in one step with the count | the same items are revealed again |
//! | before a signed version is written down | both lists | the next draft is of the lists as they are by then |
//! | before the ledger has it | both lists; the signed version with the command that registers it | the start gives the same command again: kept, or forgotten where the ledger refuses it, as after two minutes |
//! | before it is kept | the same, and the ledger has it | the start finds it there and keeps it, byte by byte |
//!
//! Between any two of them contributions and acts may come and the charter may change: a version says how long the lists
//! were, and older policies are kept.
//!
//! Everything here blocks: a program calls it on a thread that may. One writer at a time.

mod acts;
mod rows;
mod versions;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agora_datanets::checks::check;
use agora_datanets::similar::{Clusters, Mark, MinHasher, Shingles};
use agora_datanets::{
    Act, CONTRIBUTIONS_MAX, Charter, Contribution, DatanetVersion, Draft, Membership, Policy, Position, Reveal,
    Standing, Submission, licence_hash,
};
use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::Journal;
use agora_types::command::Command;
use agora_types::{Address, Canonical as _, Code, DatanetId, Hash, Signed, Timestamp};
use futures::executor::block_on;

use crate::error::CallError;
use crate::ledger::LedgerHandle;
use rows::{ACT, CONTENT, CONTRIBUTION, HEAD, PLACE, POLICY, REVEAL, Rows, SUBMISSION, VERSION, damaged};
pub use rows::{DatanetHead, PendingVersion};
pub use versions::Next;

/// Most datanets of a keeper.
pub const DATANETS_MAX: usize = 10_000;
/// Most items that are revealed in one step.
pub const PAGE_ITEMS_MAX: usize = 256;
/// Most bytes of the items of one step.
pub const PAGE_BYTES_MAX: usize = 8 << 20;

/// Keeps the datanets of a node.
pub struct Keeper {
    rows: Rows,
    ledger: LedgerHandle,
    writer: Mutex<()>,
    /// What was looked at last: a reader of pages asks for the same again.
    opened: Mutex<Option<Arc<Opened>>>,
}

/// A datanet as it stands.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its id.
    pub id: DatanetId,
    /// Terms and policy of the next version.
    pub charter: Signed<Charter>,
    /// How long its lists are, and the newest version.
    pub head: DatanetHead,
    /// SHA-256 of the newest version as it is signed, which the ledger names too; none before the first.
    pub statement: Option<Hash>,
}

/// An item as it is revealed: what opens it, and the proof that it is under the submission's root.
#[derive(Debug, Clone)]
pub struct Revealed {
    /// Its place in the submission.
    pub index: u32,
    /// Salt and item.
    pub reveal: Reveal,
    /// RFC 6962 inclusion proof.
    pub path: Vec<Hash>,
}

/// What became of a page of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// The number of the commitment.
    pub seq: u64,
    /// Items that stand in the list now and did not before.
    pub new: u32,
    /// Length of the list.
    pub contributions: u32,
}

/// Both lists up to somewhere, with what follows from them.
pub struct Opened {
    id: DatanetId,
    /// 0: the lists as they stood, under the newest charter.
    version: u32,
    sizes: (u32, u32),
    charter: Hash,
    draft: Draft,
    clusters: Clusters,
    /// How each contribution stands.
    pub membership: Membership,
    /// The signed version, where one was asked for.
    pub signed: Option<Signed<DatanetVersion>>,
}

/// A contribution without its data.
#[derive(Debug, Clone)]
pub struct Placed {
    /// Its place in the list.
    pub place: u32,
    /// The row itself.
    pub contribution: Contribution,
    /// What its contributor says of the whole batch.
    pub submission: Signed<Submission>,
}

/// A contribution with everything that is known of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its place in the list.
    pub place: u32,
    /// The row itself.
    pub contribution: Contribution,
    /// What its contributor says of the whole batch.
    pub submission: Signed<Submission>,
    /// When it was committed to, by the ledger's time.
    pub committed: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
    /// The data.
    pub reveal: Reveal,
}

fn refuse<T>(code: Code, what: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::new(code, what))
}

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    /// Keeps its rows in `journal`, and believes `ledger`.
    pub fn new(journal: Arc<dyn Journal>, ledger: LedgerHandle) -> Self {
        Self { rows: Rows(journal), ledger, writer: Mutex::default(), opened: Mutex::default() }
    }

    /// Founds a datanet, or gives one new terms from its next version on. An older charter than the one that is there is
    /// a repeat of what was.
    ///
    /// # Errors
    /// `datanet.bad_terms`, also for another network or more than [`DATANETS_MAX`]; `datanet.bad_policy`; faults.
    pub fn found(&self, charter: &Signed<Charter>) -> Result<Kept, CallError> {
        let said = charter.payload();
        let id = said.terms.id();
        said.check().or_else(|code| refuse(code, said.terms.name.clone()))?;
        let _one = lock(&self.writer);
        let network = agora_economy::ports::ledger::Ledger::network(&self.ledger);
        if said.terms.network != network.chain_id {
            return refuse(Code::DatanetTerms, format!("another network's ({})", said.terms.network));
        }
        let mut head = match self.rows.read::<DatanetHead>(Rows::key(HEAD, &id, &[]))? {
            Some(head) => {
                let known = charter_of(&head)?;
                if known.payload().time >= said.time {
                    return self.kept(id, head);
                }
                // Only the key that founded it speaks for it here.
                if known.key() != charter.key() {
                    return refuse(Code::DatanetTerms, "signed by another key than the charter that is there");
                }
                head
            }
            None if self.rows.list(vec![HEAD], DATANETS_MAX)?.len() >= DATANETS_MAX => {
                return refuse(Code::DatanetTerms, format!("this node keeps {DATANETS_MAX} datanets already"));
            }
            None => DatanetHead::default(),
        };
        head.charter = charter.to_bytes();
        let policy = &said.policy;
        self.rows.commit(vec![
            Rows::put(Rows::key(POLICY, &id, &[policy.hash().as_bytes()]), policy.to_bytes()),
            Rows::put(Rows::key(HEAD, &id, &[]), head.to_bytes()),
        ])?;
        self.kept(id, head)
    }

    fn kept(&self, id: DatanetId, head: DatanetHead) -> Result<Kept, CallError> {
        let statement = match (head.version, head.statement) {
            (0, _) => None,
            (_, Some(known)) => Some(known),
            // An earlier release wrote the head.
            (version, None) => {
                let bytes = self.rows.get(Rows::key(VERSION, &id, &[&version.to_be_bytes()]))?;
                Some(Hash::sha256(bytes.ok_or_else(|| damaged("its newest version is missing"))?))
            }
        };
        Ok(Kept { id, charter: charter_of(&head)?, head, statement })
    }

    /// Every datanet, by id.
    ///
    /// # Errors
    /// Faults.
    pub fn all(&self) -> Result<Vec<Kept>, CallError> {
        let rows = self.rows.list(vec![HEAD], DATANETS_MAX)?;
        let kept = |(key, bytes): &(Vec<u8>, Vec<u8>)| {
            let id = DatanetId::from_slice(&key[1..]).ok_or_else(|| damaged("its id"))?;
            self.kept(id, DatanetHead::from_bytes(bytes).map_err(damaged)?)
        };
        rows.iter().map(kept).collect()
    }

    /// One datanet.
    ///
    /// # Errors
    /// `datanet.not_found`; faults.
    pub fn get(&self, id: &DatanetId) -> Result<Kept, CallError> {
        let head = self.rows.read::<DatanetHead>(Rows::key(HEAD, id, &[]))?;
        self.kept(*id, head.ok_or_else(|| CallError::new(Code::DatanetNotFound, id.to_string()))?)
    }

    /// Takes items of a submission whose commitment stands on the ledger. Who reveals one knows the batch: only the
    /// contributor, so that nobody else can say what the submission says. Items that are there already are passed over.
    ///
    /// # Errors
    /// `datanet.not_found`, `datanet.bad_submission`, `datanet.bad_commitment` where the ledger has none or the fee was not
    /// paid with it, `datanet.not_committed`, `datanet.item_refused`; faults.
    pub fn contribute(&self, signed: &Signed<Submission>, items: &[Revealed]) -> Result<Taken, CallError> {
        let submission = signed.payload();
        submission.check().or_else(|code| refuse(code, submission.title.clone()))?;
        let _one = lock(&self.writer);
        let Kept { id, charter, mut head, .. } = self.get(&submission.datanet)?;
        let policy = &charter.payload().policy;
        if submission.network != charter.payload().terms.network {
            return refuse(Code::SubmissionInvalid, "meant for another network");
        }
        if items.is_empty() || items.len() > PAGE_ITEMS_MAX {
            return refuse(Code::SubmissionInvalid, format!("{} items; 1 to {PAGE_ITEMS_MAX} at once", items.len()));
        }
        let seq = self.committed(submission, policy, &charter.payload().terms.owner)?.0;
        let own = Rows::key(SUBMISSION, &id, &[&seq.to_be_bytes()]);
        let mut writes = Vec::new();
        let kept = match self.submission(&id, seq)? {
            // Who begins again signs at another time; the first word counts.
            Some(known) => {
                let again = Submission { time: known.payload().time, ..submission.clone() };
                if again != *known.payload() || known.key() != signed.key() {
                    return refuse(Code::SubmissionInvalid, format!("commitment {seq} has another submission"));
                }
                known.hash()
            }
            None => {
                if head.submissions as usize >= READ_ROWS_MAX {
                    return refuse(Code::SubmissionInvalid, format!("the datanet has {READ_ROWS_MAX} submissions"));
                }
                head.submissions += 1;
                writes.push(Rows::put(own, signed.to_bytes()));
                signed.hash()
            }
        };
        let (mut new, mut bytes, mut seen) = (0, 0, HashSet::new());
        for item in items {
            let (content_hash, size_bytes) = submission
                .check_reveal(item.index, &item.reveal, &item.path)
                .or_else(|code| refuse(code, format!("item {}", item.index)))?;
            let place = Rows::key(PLACE, &id, &[&seq.to_be_bytes(), &item.index.to_be_bytes()]);
            if !seen.insert(item.index) || self.rows.get(place.clone())?.is_some() {
                continue;
            }
            let report = check(&item.reveal.item, policy);
            report.allows().or_else(|code| {
                let why =
                    report.findings.iter().map(|finding| finding.sentence.as_str()).collect::<Vec<_>>().join("; ");
                refuse(code, format!("item {}: {why}", item.index))
            })?;
            bytes += size_bytes as usize;
            if bytes > PAGE_BYTES_MAX {
                return refuse(Code::SubmissionInvalid, format!("more than {PAGE_BYTES_MAX} bytes at once"));
            }
            if head.contributions as usize >= CONTRIBUTIONS_MAX {
                return refuse(Code::ContributionInvalid, format!("the datanet has {CONTRIBUTIONS_MAX} contributions"));
            }
            let position = Position { seq, index: item.index };
            let contribution = Contribution { position, submission: kept, content_hash, size_bytes };
            let at = head.contributions.to_be_bytes();
            writes.push(Rows::put(Rows::key(REVEAL, &id, &[content_hash.as_bytes()]), item.reveal.to_bytes()));
            writes.push(Rows::put(Rows::key(CONTRIBUTION, &id, &[&at]), contribution.to_bytes()));
            writes.push(Rows::put(Rows::key(CONTENT, &id, &[content_hash.as_bytes()]), at.to_vec()));
            writes.push(Rows::put(place, at.to_vec()));
            head.contributions += 1;
            new += 1;
        }
        if !writes.is_empty() {
            writes.push(Rows::put(Rows::key(HEAD, &id, &[]), head.to_bytes()));
            self.rows.commit(writes)?;
        }
        Ok(Taken { seq, new, contributions: head.contributions })
    }

    /// Number and time of a submission's commitment, if the ledger has it as it should be, and its fee.
    fn committed(
        &self,
        submission: &Submission,
        policy: &Policy,
        owner: &Address,
    ) -> Result<(u64, Timestamp), CallError> {
        let (datanet, contributor, root) = (submission.datanet, submission.contributor, submission.root);
        let found = self.ledger.query(move |economy| economy.commitment(datanet, contributor, root).copied());
        let record = block_on(found)?;
        let record =
            record.ok_or_else(|| CallError::new(Code::CommitmentInvalid, "the ledger has no such commitment"))?;
        if record.count != submission.count || record.licence != licence_hash(&submission.licence) {
            return refuse(Code::CommitmentInvalid, "it was made to another number of items, or under another licence");
        }
        let fee = policy.fee_of(submission.count).ok_or_else(|| CallError::new(Code::PolicyInvalid, "the fee"))?;
        // The owner pays itself nothing.
        if !fee.is_zero() && contributor != *owner {
            let paid = |command: &Command| {
                matches!(command, Command::Transfer(transfer) if transfer.head.signer == contributor
                    && transfer.credit == *owner && transfer.amount >= fee && transfer.pending.is_none())
            };
            let commits = |command: &Command| {
                matches!(command, Command::CommitData(commit) if commit.head.signer == contributor
                    && commit.datanet == datanet && commit.root == root)
            };
            if !self.together(record.time, &paid, &commits)? {
                let what = format!("the fee of {fee} OPEN must be paid to {owner} in one step with the commitment");
                return refuse(Code::CommitmentInvalid, what);
            }
        }
        Ok((record.number, record.time))
    }

    /// True when the batch of this time has both commands, one right after the other as one step.
    fn together(
        &self,
        time: Timestamp,
        first: &dyn Fn(&Command) -> bool,
        second: &dyn Fn(&Command) -> bool,
    ) -> Result<bool, CallError> {
        let (mut low, mut high) = (0, block_on(self.ledger.size())?);
        // Times rise from batch to batch.
        while low < high {
            let middle = low + (high - low) / 2;
            let batch = block_on(self.ledger.batches(middle, 1))?.into_iter().next();
            let Some(batch) = batch else { return Ok(false) };
            if batch.header.time < time {
                low = middle + 1;
                continue;
            }
            if batch.header.time > time {
                high = middle;
                continue;
            }
            let body = batch.open().map_err(damaged)?;
            let pairs = body.entries.windows(2).zip(body.outcomes.windows(2));
            let mut good = pairs.filter(|(pair, outcomes)| {
                pair[0].linked && outcomes[0].is_ok() && first(&pair[0].command) && second(&pair[1].command)
            });
            return Ok(good.next().is_some());
        }
        Ok(false)
    }

    /// What stands at an item's place among all commitments, with its place in the list; `None` where nothing was revealed.
    ///
    /// # Errors
    /// Faults.
    pub fn at(&self, id: &DatanetId, position: Position) -> Result<Option<Placed>, CallError> {
        let key = Rows::key(PLACE, id, &[&position.seq.to_be_bytes(), &position.index.to_be_bytes()]);
        let Some(bytes) = self.rows.get(key)? else { return Ok(None) };
        let place = <[u8; 4]>::try_from(bytes).map_err(|_| damaged("a place"))?;
        let contribution = self.rows.read::<Contribution>(Rows::key(CONTRIBUTION, id, &[&place]))?;
        let contribution = contribution.ok_or_else(|| damaged("a contribution is missing"))?;
        let submission = self.submission(id, position.seq)?.ok_or_else(|| damaged("a submission is missing"))?;
        Ok(Some(Placed { place: u32::from_be_bytes(place), contribution, submission }))
    }

    fn submission(&self, id: &DatanetId, seq: u64) -> Result<Option<Signed<Submission>>, CallError> {
        let bytes = self.rows.get(Rows::key(SUBMISSION, id, &[&seq.to_be_bytes()]))?;
        bytes.map(|bytes| Signed::from_bytes(&bytes).map_err(damaged)).transpose()
    }

    /// A version, or with 0 the lists as they stand.
    ///
    /// # Errors
    /// `datanet.not_found`, also for a version that is not kept; faults.
    pub fn open(&self, id: &DatanetId, version: u32) -> Result<Arc<Opened>, CallError> {
        let Kept { charter, head, .. } = self.get(id)?;
        let (charter, signed, sizes) = match version {
            0 => (charter.payload().clone(), None, (head.contributions, head.acts)),
            _ => {
                let missing = || CallError::new(Code::DatanetNotFound, format!("version {version} of {id}"));
                let signed = self.version(id, version)?.ok_or_else(missing)?;
                let said = signed.payload();
                let policy = self.policy(id, &said.policy_hash)?;
                let policy = policy.ok_or_else(|| damaged("the policy of a version is missing"))?;
                let charter = Charter { terms: said.terms.clone(), policy, time: said.time };
                let sizes = (small(said.tree_size)?, small(said.acts_size)?);
                (charter, Some(signed), sizes)
            }
        };
        let known = lock(&self.opened).clone().filter(|opened| {
            opened.id == *id && opened.version == version && opened.sizes == sizes && opened.charter == charter.hash()
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let (draft, contents) = self.lists(id, &charter, sizes)?;
        let clusters = self.clusters(id, &draft, &contents)?;
        let membership = match &signed {
            None => draft.membership(&clusters),
            Some(signed) => signed.payload().check_draft(&draft, &clusters).map_err(|code| damaged(code.text()))?,
        };
        let charter = charter.hash();
        let opened = Opened { id: *id, version, sizes, charter, draft, clusters, membership, signed };
        let opened = Arc::new(opened);
        *lock(&self.opened) = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// The policy of this hash: every one that a charter ever had is kept, for the versions that were made under it.
    ///
    /// # Errors
    /// Faults.
    pub fn policy(&self, id: &DatanetId, hash: &Hash) -> Result<Option<Policy>, CallError> {
        self.rows.read(Rows::key(POLICY, id, &[hash.as_bytes()]))
    }

    /// The newest kept version.
    ///
    /// # Errors
    /// `datanet.not_found`, also before the first version; faults.
    pub fn newest(&self, id: &DatanetId) -> Result<u32, CallError> {
        match self.get(id)?.head.version {
            0 => refuse(Code::DatanetNotFound, format!("{id} has no version yet; its owner makes one")),
            version => Ok(version),
        }
    }

    /// The contribution at a place of an opened list.
    ///
    /// # Errors
    /// `datanet.not_found` behind the end; faults.
    pub fn listed(&self, opened: &Opened, place: u32) -> Result<Listed, CallError> {
        let id = &opened.id;
        let standing = opened.membership.standings().get(place as usize).copied();
        let missing = || CallError::new(Code::DatanetNotFound, format!("contribution {place}"));
        let standing = standing.ok_or_else(missing)?;
        let contribution = self.rows.read::<Contribution>(Rows::key(CONTRIBUTION, id, &[&place.to_be_bytes()]))?;
        let contribution = contribution.ok_or_else(|| damaged("a contribution is missing"))?;
        let reveal = self.reveal(id, &contribution.content_hash)?;
        let submission = self.submission(id, contribution.position.seq)?;
        let submission = submission.ok_or_else(|| damaged("a submission is missing"))?;
        let said = submission.payload();
        let (contributor, root, datanet) = (said.contributor, said.root, *id);
        let record =
            block_on(self.ledger.query(move |economy| economy.commitment(datanet, contributor, root).copied()))?;
        let committed = record.map(|record| record.time);
        Ok(Listed { place, contribution, submission, committed, standing, reveal })
    }

    fn reveal(&self, id: &DatanetId, content: &Hash) -> Result<Reveal, CallError> {
        let found = self.rows.read::<Reveal>(Rows::key(REVEAL, id, &[content.as_bytes()]))?;
        found.ok_or_else(|| damaged("the data of a contribution is missing"))
    }

    /// Both lists, read row by row.
    fn lists(
        &self,
        id: &DatanetId,
        charter: &Charter,
        (contributions, acts): (u32, u32),
    ) -> Result<(Draft, Vec<Hash>), CallError> {
        let mut draft =
            Draft::new(charter.terms.clone(), charter.policy.clone()).map_err(|code| damaged(code.text()))?;
        for (key, bytes) in self.rows.list(Rows::key(SUBMISSION, id, &[]), READ_ROWS_MAX)? {
            let seq = key.last_chunk::<8>().ok_or_else(|| damaged("the number of a submission"))?;
            let signed = Signed::<Submission>::from_bytes(&bytes).map_err(damaged)?;
            draft.submit(u64::from_be_bytes(*seq), &signed).map_err(|code| damaged(code.text()))?;
        }
        let mut contents = Vec::with_capacity(contributions as usize);
        for bytes in self.rows.numbered(CONTRIBUTION, id, 0..contributions) {
            let contribution = Contribution::from_bytes(&bytes?).map_err(damaged)?;
            contents.push(contribution.content_hash);
            draft.list(&contribution).map_err(|code| damaged(code.text()))?;
        }
        for bytes in self.rows.numbered(ACT, id, 0..acts) {
            draft.act(&Act::from_bytes(&bytes?).map_err(damaged)?).map_err(|code| damaged(code.text()))?;
        }
        Ok((draft, contents))
    }

    /// What says the same: marks of all items, read one by one.
    fn clusters(&self, id: &DatanetId, draft: &Draft, contents: &[Hash]) -> Result<Clusters, CallError> {
        let hasher = MinHasher::default();
        let marks = (0..).zip(contents).map(|(place, content)| {
            let position = draft.position(place).ok_or_else(|| damaged("a place of its list"))?;
            Mark::new(position, &self.reveal(id, content)?.item, &hasher).map_err(|code| damaged(code.text()))
        });
        let marks = marks.collect::<Result<Vec<_>, CallError>>()?;
        Clusters::find(&marks, draft.policy().near, |place| {
            Ok(Some(Shingles::of(&self.reveal(id, &contents[place as usize])?.item.plain())))
        })
    }
}

impl Opened {
    /// Places of what is in, rising.
    pub fn included(&self) -> Vec<u32> {
        self.membership.included().collect()
    }
}

fn charter_of(head: &DatanetHead) -> Result<Signed<Charter>, CallError> {
    Signed::from_bytes(&head.charter).map_err(damaged)
}

fn small(size: u64) -> Result<u32, CallError> {
    u32::try_from(size).or_else(|_| refuse(Code::DatanetRecord, "a list of more than 2^32 rows"))
}
