//! Versions: drafted from the lists, signed by their owner, kept once the ledger has them.
//!
//! The keeper writes a signed version down, with the owner's command that registers it, before it gives that command to
//! the ledger. So the ledger never names a text that nobody has, whoever falls in between.

use std::sync::Arc;

use agora_datanets::DatanetVersion;
use agora_economy::DatanetRecord;
use agora_economy::ports::ledger::Ledger;
use agora_types::batch::Entry;
use agora_types::command::Command;
use agora_types::{Canonical as _, Code, DatanetId, Signed, Timestamp};
use futures::executor::block_on;

use super::rows::{HEAD, PENDING, PendingVersion, Rows, VERSION, damaged};
use super::{DATANETS_MAX, Keeper, Kept, Opened, lock, refuse, small};
use crate::error::CallError;

/// What an owner is to sign next.
#[derive(Debug, Clone)]
pub enum Next {
    /// The next version, over everything that is there now.
    Draft(DatanetVersion),
    /// Nothing: the newest version is over all of it already.
    Kept(Signed<DatanetVersion>),
}

impl Keeper {
    /// Ends what a crash left under way: versions that were written down and not yet kept. Called once at a start;
    /// whoever drafts or publishes does the same for its datanet.
    ///
    /// # Errors
    /// Faults; what is under way then stays so.
    pub fn recover(&self) -> Result<(), CallError> {
        for (key, _) in self.rows.list(vec![PENDING], DATANETS_MAX)? {
            let id = DatanetId::from_slice(&key[1..]).ok_or_else(|| damaged("its id"))?;
            let _one = lock(&self.writer);
            self.settle(&id)?;
        }
        Ok(())
    }

    /// The next version over everything that is there now, for the owner to sign, and how contributions stand in it.
    /// Its number follows the ledger's, also where that was registered by other means.
    ///
    /// # Errors
    /// `datanet.not_found`, `datanet.empty_version`; faults.
    pub fn draft(&self, id: &DatanetId, time: Timestamp) -> Result<(Next, Arc<Opened>), CallError> {
        {
            let _one = lock(&self.writer);
            self.settle(id)?;
        }
        let opened = self.open(id, 0)?;
        let newest = self.registered(id)?.map_or(0, |record| record.version);
        if let Some(kept) = self.version(id, newest)? {
            let said = kept.payload();
            let (terms, policy) = (opened.draft.terms(), opened.draft.policy());
            let lists = (u64::from(opened.sizes.0), u64::from(opened.sizes.1));
            if said.terms == *terms && said.policy_hash == policy.hash() && (said.tree_size, said.acts_size) == lists {
                return Ok((Next::Kept(kept), opened));
            }
        }
        let last = || CallError::new(Code::DatanetVersion, "there is no further number");
        let next = newest.checked_add(1).ok_or_else(last)?;
        let (version, _) =
            opened.draft.version(next, &opened.clusters, time).or_else(|code| refuse(code, id.to_string()))?;
        Ok((Next::Draft(version), opened))
    }

    /// Puts a signed version on the ledger by its owner's command, and keeps it: it must say what the lists give. The
    /// same again changes nothing.
    ///
    /// # Errors
    /// `datanet.not_found`, `datanet.version_not_next`, `datanet.record_mismatch`, the ledger's refusals; faults, after
    /// which the version may be kept later: draft again.
    pub fn publish(&self, signed: &Signed<DatanetVersion>, entry: &Entry) -> Result<(), CallError> {
        let version = signed.payload();
        let id = version.terms.id();
        let _one = lock(&self.writer);
        self.settle(&id)?;
        let Kept { charter, head, .. } = self.get(&id)?;
        if let Some(known) = self.version(&id, version.version)? {
            return match known.hash() == signed.hash() {
                true => Ok(()),
                false => refuse(Code::DatanetVersion, format!("version {} is kept already", version.version)),
            };
        }
        if charter.key() != signed.key() {
            return refuse(Code::DatanetRecord, "signed by another key than the charter");
        }
        let registers = matches!(&entry.command, Command::RegisterDatanet(command)
            if command.datanet() == id && *command == version.registration(command.head, signed.hash()));
        if !registers {
            return refuse(Code::DatanetRecord, "the command registers something else");
        }
        let sizes = (small(version.tree_size)?, small(version.acts_size)?);
        if sizes.0 > head.contributions || sizes.1 > head.acts {
            return refuse(Code::DatanetRecord, "it is over more than this keeper has");
        }
        let (draft, contents) = self.lists(&id, charter.payload(), sizes)?;
        let clusters = self.clusters(&id, &draft, &contents)?;
        version.check_draft(&draft, &clusters).or_else(|code| refuse(code, "the lists give another version"))?;
        let pending = PendingVersion { version: signed.to_bytes(), entry: entry.to_bytes() };
        self.rows.commit(vec![Rows::put(Rows::key(PENDING, &id, &[]), pending.to_bytes())])?;
        match self.settle(&id)? {
            None => Ok(()),
            Some(code) => refuse(code, format!("the ledger refused version {}", version.version)),
        }
    }

    /// Brings the version that is written down to its end: kept where the ledger has it or takes it now, else
    /// forgotten, with what the ledger said. The caller is the one writer.
    ///
    /// The command is the same one each time, so that it happens once, however often and from however many lives it is
    /// given; after a refusal it can never happen.
    fn settle(&self, id: &DatanetId) -> Result<Option<Code>, CallError> {
        let place = Rows::key(PENDING, id, &[]);
        let Some(pending) = self.rows.read::<PendingVersion>(place.clone())? else { return Ok(None) };
        let signed = Signed::<DatanetVersion>::from_bytes(&pending.version).map_err(damaged)?;
        let mut refused = None;
        if !self.is_registered(&signed)? {
            let entry = Entry::from_bytes(&pending.entry).map_err(damaged)?;
            let answers = block_on(Ledger::commit(&self.ledger, vec![entry]))?;
            let answer = answers.first().copied().unwrap_or(Err(Code::StoreFailed));
            // Too late to be taken is also what one is told that was taken long ago.
            if let Err(code) = answer
                && !self.is_registered(&signed)?
            {
                refused = Some(code);
            }
        }
        let mut writes = vec![Rows::remove(place)];
        if refused.is_none() {
            let mut head = self.get(id)?.head;
            head.version = signed.payload().version;
            head.statement = Some(signed.hash());
            let version = Rows::key(VERSION, id, &[&head.version.to_be_bytes()]);
            writes.push(Rows::put(version, pending.version));
            writes.push(Rows::put(Rows::key(HEAD, id, &[]), head.to_bytes()));
        }
        self.rows.commit(writes)?;
        Ok(refused)
    }

    /// A kept version.
    pub(super) fn version(&self, id: &DatanetId, version: u32) -> Result<Option<Signed<DatanetVersion>>, CallError> {
        let bytes = self.rows.get(Rows::key(VERSION, id, &[&version.to_be_bytes()]))?;
        bytes.map(|bytes| Signed::from_bytes(&bytes).map_err(damaged)).transpose()
    }

    /// The newest version as the ledger has it.
    fn registered(&self, id: &DatanetId) -> Result<Option<DatanetRecord>, CallError> {
        let id = *id;
        Ok(block_on(self.ledger.query(move |economy| economy.datanet(&id).cloned()))?)
    }

    /// True when it is the ledger's newest version of its datanet.
    fn is_registered(&self, signed: &Signed<DatanetVersion>) -> Result<bool, CallError> {
        let version = signed.payload();
        let record = self.registered(&version.terms.id())?;
        Ok(record.is_some_and(|record| {
            record.statement == signed.hash()
                && record.version == version.version
                && record.root == version.root
                && record.tree_size == version.tree_size
                && record.members == version.members
        }))
    }
}
