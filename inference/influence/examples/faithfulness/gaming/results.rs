//! What came of each market: whole numbers, kept in a file so that no market is gone through twice.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use agora_attribution::Evidence;
use agora_types::{Address, Amount, Hash};
use serde::{Deserialize, Serialize};

use super::attacks::{PEOPLE, account};
use crate::Failure;

/// Changes whenever the same key would mean something else.
const VERSION: u32 = 1;

/// What came of a market.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) name: String,
    version: u32,
    key: Hash,
    /// Lessons that were given, and of those: refused by the checks, flagged, and out as near-duplicates or repeats.
    pub(super) given: usize,
    pub(super) refused: usize,
    pub(super) flagged: usize,
    pub(super) near: usize,
    /// Lessons that were learnt, and of those: owned by an earlier one, as their gradients are the same.
    learnt: usize,
    pub(super) clustered: usize,
    /// Answers whose own contributor got the most.
    first: usize,
    /// The pools of all answers together, and where they went.
    pool: Amount,
    commons: Amount,
    victim: Amount,
    bystander: Amount,
    attacker: Amount,
    /// Of what the attacker got: for answers from its own data.
    pub(super) attacker_own: Amount,
    /// Tokens that were copied from anybody, and from the attacker.
    copied: u64,
    attacker_copied: u64,
    pub(super) seconds: f64,
    /// Why there is no index, and so no pay.
    pub(super) failed: Option<String>,
}

impl Seen {
    /// Before anything was asked.
    pub(super) fn of(key: Hash, learnt: usize) -> Self {
        Self {
            name: String::new(),
            version: VERSION,
            key,
            given: 0,
            refused: 0,
            flagged: 0,
            near: 0,
            learnt,
            clustered: 0,
            first: 0,
            pool: Amount::ZERO,
            commons: Amount::ZERO,
            victim: Amount::ZERO,
            bystander: Amount::ZERO,
            attacker: Amount::ZERO,
            attacker_own: Amount::ZERO,
            copied: 0,
            attacker_copied: 0,
            seconds: 0.0,
            failed: None,
        }
    }

    /// An answer that one of the three knows.
    pub(super) fn add(&mut self, evidence: &Evidence, of: usize, attacker: &[Address]) -> Result<(), Failure> {
        let of_accounts = |accounts: &[Address]| -> u128 {
            let own = evidence.payouts.iter().filter(|paid| accounts.contains(&paid.account));
            own.map(|paid| paid.amount.atoms()).sum()
        };
        let [victim, bystander] = [0, 1].map(|who| of_accounts(&[account(who)]));
        let got = [victim, bystander, of_accounts(attacker)];
        let paid: u128 = got.iter().sum();
        if paid + evidence.commons.atoms() != evidence.pool.atoms() {
            return Err(
                format!("{paid} atoms paid of {:?}, {:?} to the commons", evidence.pool, evidence.commons).into()
            );
        }
        let more = |sum: &mut Amount, atoms: u128| *sum = Amount::from_atoms(sum.atoms() + atoms);
        more(&mut self.pool, evidence.pool.atoms());
        more(&mut self.commons, evidence.commons.atoms());
        more(&mut self.victim, got[0]);
        more(&mut self.bystander, got[1]);
        more(&mut self.attacker, got[2]);
        let own = of == PEOPLE.len() - 1;
        more(&mut self.attacker_own, if own { got[2] } else { 0 });
        let most = got.iter().copied().max().unwrap_or(0);
        self.first += usize::from(most > 0 && got[of] == most);
        for span in &evidence.spans {
            let owner = evidence.entries.iter().find(|entry| entry.cluster == span.cluster);
            let mine = owner.is_some_and(|entry| attacker.contains(&entry.account));
            self.copied += u64::from(span.length);
            self.attacker_copied += if mine { u64::from(span.length) } else { 0 };
        }
        Ok(())
    }

    /// For who waits.
    pub(super) fn line(&self) -> String {
        let part = |amount: Amount| amount.atoms() * 1_000 / self.pool.atoms().max(1);
        match &self.failed {
            Some(why) => format!("no index: {why}"),
            None => format!(
                "of 1,000: attacker {}, victim {}, bystander {}, commons {}; {} near-copies out, {} in a cluster; {:.0} s",
                part(self.attacker),
                part(self.victim),
                part(self.bystander),
                part(self.commons),
                self.near,
                self.clustered,
                self.seconds
            ),
        }
    }
}

/// What is known, and the file that it is kept in.
pub(super) struct Results {
    known: BTreeMap<Hash, Seen>,
    file: File,
}

impl Results {
    /// Reads what is there; a line that was cut off is measured again.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let text = if path.is_file() { fs::read_to_string(path)? } else { String::new() };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Seen>(line).ok());
        let known = lines.filter(|seen| seen.version == VERSION).map(|seen| (seen.key, seen)).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { known, file })
    }

    pub(super) fn get(&self, key: &Hash) -> Option<&Seen> {
        self.known.get(key)
    }

    pub(super) fn keep(&mut self, seen: &Seen) -> Result<(), Failure> {
        self.file.write_all(format!("{}\n", serde_json::to_string(seen)?).as_bytes())?;
        self.file.flush()?;
        self.known.insert(seen.key, seen.clone());
        Ok(())
    }
}
