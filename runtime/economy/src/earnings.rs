//! What measured shares earn: set aside by final receipts, published by their host as a Merkle root, claimed by anyone.
//!
//! The ledger sees that a host publishes no more than it set aside and that nobody is paid more than the root says. Whether
//! the root says what the receipts do is shown by the evidence that each receipt commits to: anyone can sum it.

use agora_ledger::{Posting, SystemAccount};
use agora_types::command::{ClaimEarnings, PublishEarnings};
use agora_types::{Amount, Code, Hash};
use minicbor::{Decode, Encode};

use crate::state::State;

/// A host's distributor: `claimed <= published <= funded`, each of which only grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Distributor {
    /// Set aside by final receipts.
    #[n(0)]
    pub funded: Amount,
    /// The newest root; 0 before the first.
    #[n(1)]
    pub epoch: u64,
    /// Over [`agora_types::Earned`] leaves.
    #[n(2)]
    pub root: Option<Hash>,
    /// Number of leaves.
    #[n(3)]
    pub count: u64,
    /// Their sum, as the host says.
    #[n(4)]
    pub published: Amount,
    /// The receipt log's size up to which they count.
    #[n(5)]
    pub receipts: u64,
    /// Paid out.
    #[n(6)]
    pub claimed: Amount,
}

impl Distributor {
    pub(crate) fn is_whole(&self) -> bool {
        self.claimed <= self.published
            && self.published <= self.funded
            && (self.epoch == 0) == self.root.is_none()
            && (self.root.is_some() || (self.count, self.published) == (0, Amount::ZERO))
    }

    /// What is held for it.
    pub(crate) fn held(&self) -> Amount {
        self.funded.saturating_sub(self.claimed)
    }
}

impl State {
    pub(crate) fn publish_earnings(&mut self, command: &PublishEarnings) -> Result<(), Code> {
        let host = command.head.signer;
        let known = *self.distributors.get(&host).ok_or(Code::EarningsNotFound)?;
        if known.epoch.checked_add(1) != Some(command.epoch) {
            return Err(Code::EarningsEpoch);
        }
        let grows = known.published <= command.total
            && command.total <= known.funded
            && known.receipts <= command.receipts
            && command.receipts <= self.receipts.size()
            && command.count >= known.count.max(1);
        if !grows {
            return Err(Code::EarningsTotal);
        }
        let PublishEarnings { epoch, root, count, total, receipts, .. } = *command;
        let newer = Distributor { epoch, root: Some(root), count, published: total, receipts, ..known };
        self.distributors.put(host, newer);
        Ok(())
    }

    pub(crate) fn claim_earnings(&mut self, command: &ClaimEarnings) -> Result<(), Code> {
        let ClaimEarnings { host, account, cumulative, epoch, .. } = *command;
        let known = *self.distributors.get(&host).ok_or(Code::EarningsNotFound)?;
        let root = known.root.filter(|_| known.epoch == epoch).ok_or(Code::EarningsEpoch)?;
        if self.is_keyless(&account) || !command.leads_to(&root, known.count) {
            return Err(Code::EarningsProof);
        }
        let before = self.claimed.get(&(host, account)).copied().unwrap_or_default();
        let due = cumulative.checked_sub(before).filter(|due| !due.is_zero()).ok_or(Code::EarningsClaimed)?;
        let claimed = known.claimed.checked_add(due).filter(|claimed| *claimed <= known.published);
        let claimed = claimed.ok_or(Code::EarningsTotal)?;
        let posting = Posting { debit: SystemAccount::Earnings.address(), credit: account, amount: due };
        self.ledger.post(&[posting])?;
        // After this point, nothing can fail.
        self.claimed.put((host, account), cumulative);
        self.distributors.put(host, Distributor { claimed, ..known });
        Ok(())
    }
}
