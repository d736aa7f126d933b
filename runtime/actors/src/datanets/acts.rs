//! Acts: what curators and contributors say of contributions, each thing once.
//!
//! Of one speaker the newest word about a subject counts. So who says again what it said last changes nothing, and is told
//! the number of the act that stands. Which act that is, a row for each speaker and subject tells; the list of an earlier
//! release has none, and gets them before its next act is taken.

use std::collections::BTreeMap;

use agora_datanets::{ACTS_MAX, Act, Contribution, Subject};
use agora_types::key::StatementKey;
use agora_types::{Address, Canonical as _, Code, DatanetId, Hash, cbor};

use super::rows::{ACT, ACT_NUMBER, CONTENT, CONTRIBUTION, HEAD, Rows, WORD, WORDS, damaged};
use super::{Keeper, Kept, lock, refuse};
use crate::error::CallError;

/// Acts whose rows are written in one step.
const STEP: u32 = 1_024;

/// Where the newest act of a speaker about a subject is told.
fn word(id: &DatanetId, act: &Act) -> Vec<u8> {
    let (kind, account, key, subject) = match act {
        Act::Verdict(signed) => (0u8, &signed.payload().curator, signed.key(), &signed.payload().subject),
        Act::Withdrawal(signed) => (1, &signed.payload().contributor, signed.key(), &signed.payload().subject),
    };
    Rows::key(WORD, id, &[&[kind], account.as_bytes(), key.as_bytes(), &cbor::encode(subject)])
}

fn number(bytes: Vec<u8>) -> Result<u32, CallError> {
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| damaged("the number of an act"))
}

impl Keeper {
    /// Puts an act into its list: a verdict by one of the policy's curators, or a withdrawal by who signed the submission.
    /// Answers with its number. The very same act again changes nothing, nor does one that says what its speaker said last
    /// of the same: it gets the first one's number.
    ///
    /// # Errors
    /// `datanet.not_found`, `datanet.bad_act`; faults.
    pub fn act(&self, act: &Act) -> Result<u32, CallError> {
        let datanet = match act {
            Act::Verdict(signed) => signed.payload().datanet,
            Act::Withdrawal(signed) => signed.payload().datanet,
        };
        let _one = lock(&self.writer);
        let Kept { id, charter, mut head, .. } = self.get(&datanet)?;
        let network = charter.payload().terms.network;
        match act {
            Act::Verdict(signed) => {
                let said = signed.payload();
                said.check().or_else(|code| refuse(code, said.note.clone()))?;
                let names =
                    |curator: &agora_datanets::Curator| curator.account == said.curator && curator.key == *signed.key();
                if said.network != network || !charter.payload().policy.curators.iter().any(names) {
                    return refuse(
                        Code::ActInvalid,
                        format!("{} is no curator of it, or not by this key", said.curator),
                    );
                }
                self.subject(&id, &said.subject)?;
            }
            Act::Withdrawal(signed) => {
                let said = signed.payload();
                let (key, by) = self.subject(&id, &said.subject)?;
                if said.network != network || by != said.contributor || key != *signed.key() {
                    return refuse(Code::ActInvalid, "only who gave it takes it back, by the key of the submission");
                }
            }
        }
        let bytes = act.to_bytes();
        let again = Rows::key(ACT_NUMBER, &id, &[Hash::sha256(&bytes).as_bytes()]);
        if let Some(known) = self.rows.get(again.clone())? {
            return number(known);
        }
        self.note_words(&id, head.acts)?;
        let word = word(&id, act);
        if let Some(newest) = self.rows.get(word.clone())? {
            let newest = number(newest)?;
            if act.repeats(&self.act_at(&id, newest)?) {
                return Ok(newest);
            }
        }
        if head.acts as usize >= ACTS_MAX {
            return refuse(Code::ActInvalid, format!("the datanet has {ACTS_MAX} acts"));
        }
        let number = head.acts;
        head.acts += 1;
        self.rows.commit(vec![
            Rows::put(Rows::key(ACT, &id, &[&number.to_be_bytes()]), bytes),
            Rows::put(again, number.to_be_bytes().into()),
            Rows::put(word, number.to_be_bytes().into()),
            Rows::put(Rows::key(WORDS, &id, &[]), head.acts.to_be_bytes().into()),
            Rows::put(Rows::key(HEAD, &id, &[]), head.to_bytes()),
        ])?;
        Ok(number)
    }

    /// Writes down who said what last, as far as that was not done when the acts came.
    fn note_words(&self, id: &DatanetId, acts: u32) -> Result<(), CallError> {
        let place = Rows::key(WORDS, id, &[]);
        let mut told = self.rows.get(place.clone())?.map_or(Ok(0), number)?;
        while told < acts {
            let end = acts.min(told.saturating_add(STEP));
            // Of two rows under one key in a step the later one counts, as of two acts.
            let mut words = BTreeMap::new();
            for (number, bytes) in (told..end).zip(self.rows.numbered(ACT, id, told..end)) {
                words.insert(word(id, &Act::from_bytes(&bytes?).map_err(damaged)?), number);
            }
            let rows = words.into_iter().map(|(key, number)| Rows::put(key, number.to_be_bytes().into()));
            let rows = rows.chain([Rows::put(place.clone(), end.to_be_bytes().into())]).collect();
            self.rows.commit(rows)?;
            told = end;
        }
        Ok(())
    }

    fn act_at(&self, id: &DatanetId, number: u32) -> Result<Act, CallError> {
        let bytes = self.rows.get(Rows::key(ACT, id, &[&number.to_be_bytes()]))?;
        Act::from_bytes(&bytes.ok_or_else(|| damaged("an act is missing"))?).map_err(damaged)
    }

    /// Who gave what an act is about, and the key of the submission.
    fn subject(&self, id: &DatanetId, subject: &Subject) -> Result<(StatementKey, Address), CallError> {
        let unknown = || CallError::new(Code::ActInvalid, "about what the datanet does not have");
        let seq = match subject {
            Subject::Submission(seq) => *seq,
            Subject::Contribution(content) => {
                let place = self.rows.get(Rows::key(CONTENT, id, &[content.as_bytes()]))?.ok_or_else(unknown)?;
                let found = self.rows.read::<Contribution>(Rows::key(CONTRIBUTION, id, &[&place]))?;
                found.ok_or_else(|| damaged("a contribution is missing"))?.position.seq
            }
        };
        let signed = self.submission(id, seq)?.ok_or_else(unknown)?;
        Ok((*signed.key(), signed.payload().contributor))
    }
}
