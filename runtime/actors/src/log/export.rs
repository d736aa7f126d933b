//! One call's receipts as the file that is handed on.

use agora_economy::ports::ledger::Ledger as _;
use agora_receipts::envelope::{EnvelopeNetwork, EnvelopeType, LoggedReceipt};
use agora_receipts::{Envelope, LogProof, Receipt, State};
use agora_types::{Canonical as _, Code, Signed};

use super::publisher::{Published, Publisher, Trouble};
use crate::error::CallError;

impl Publisher {
    /// The receipts of the call that leaf `index` belongs to, whichever of the two it is, under one checkpoint that
    /// covers both.
    pub(super) async fn export(&mut self, index: u64) -> Result<Envelope, Trouble> {
        let unknown = || Trouble::World(CallError::new(Code::ReceiptUnknown, format!("receipt {index}")));
        let leaf = self.leaf(index).await?.ok_or_else(unknown)?;
        let (first, leaf) = match read(index, &leaf)?.state {
            State::Provisional => (index, leaf),
            State::Final { index: first, .. } => {
                let missing =
                    || Trouble::damaged(format!("receipt {first}, which {index} is the final of, is missing"));
                (first, self.leaf(first).await?.ok_or_else(missing)?)
            }
        };
        let receipt = read(first, &leaf)?;
        let record = self.settings.ledger.call(receipt.payer, receipt.call_id).await?;
        let record = record.filter(|record| record.index == first);
        let record =
            record.ok_or_else(|| Trouble::damaged(format!("the ledger does not know receipt {first}'s call")))?;
        let last = match record.finished.and_then(|finished| finished.index) {
            None => None,
            Some(last) => {
                let missing = || Trouble::damaged(format!("receipt {last}, the final of {first}, is missing"));
                Some((last, self.leaf(last).await?.ok_or_else(missing)?))
            }
        };
        let reach = last.as_ref().map_or(first, |(last, _)| first.max(*last));
        let published = match &self.newest {
            Some(newest) if newest.checkpoint.size > reach => newest.clone(),
            Some(_) | None => self.publish().await?,
        };
        let genesis = &self.settings.genesis;
        Ok(Envelope {
            kind: EnvelopeType::V1,
            network: EnvelopeNetwork {
                chain_id: genesis.chain_id,
                genesis_hash: genesis.hash(),
                name: genesis.name.clone(),
            },
            provisional: self.logged(first, &leaf, &published)?,
            last: last.map(|(last, leaf)| self.logged(last, &leaf, &published)).transpose()?,
            disclosure: None,
            attribution: None,
        })
    }

    async fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(self.settings.ledger.receipt(index).await?)
    }

    fn logged(&self, index: u64, leaf: &[u8], published: &Published) -> Result<LoggedReceipt, Trouble> {
        self.check_leaf(index, leaf)?;
        let path = self.tree.inclusion_proof(index, published.checkpoint.size);
        let path =
            path.ok_or_else(|| Trouble::damaged(format!("receipt {index} is not under the newest checkpoint")))?;
        Ok(LoggedReceipt::new(leaf, &LogProof { extra: None, index, path, checkpoint: published.note.clone() }))
    }
}

fn read(index: u64, leaf: &[u8]) -> Result<Receipt, Trouble> {
    let receipt = Signed::<Receipt>::from_bytes(leaf);
    let receipt = receipt.map_err(|error| Trouble::damaged(format!("receipt {index}: {error}")))?;
    Ok(receipt.payload().clone())
}
