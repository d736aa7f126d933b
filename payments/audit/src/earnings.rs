//! Measured shares recounted: what final receipts set aside, what hosts published of it, and what was claimed.

use agora_types::command::{ClaimEarnings, CommitData, PublishEarnings};
use agora_types::{Address, Hash};

use crate::books::Books;

pub(crate) fn earnings() -> Address {
    Address::system("earnings")
}

/// What a host owes the contributors of its calls.
#[derive(Debug, Default)]
pub(crate) struct Distributor {
    pub(crate) funded: u128,
    epoch: u64,
    root: Option<Hash>,
    count: u64,
    published: u128,
    paid: u128,
}

impl Books {
    pub(crate) fn commit_data(&mut self, command: &CommitData) -> Result<(), String> {
        if command.count == 0 || !self.commitments.insert((command.datanet, command.head.signer, command.root)) {
            return Err("nothing was committed to, or the same twice".to_owned());
        }
        Ok(())
    }

    pub(crate) fn publish_earnings(&mut self, command: &PublishEarnings) -> Result<(), String> {
        let receipts = self.receipts;
        let host = self.distributors.get_mut(&command.head.signer).ok_or("a host without earnings published some")?;
        let total = command.total.atoms();
        if command.epoch != host.epoch + 1 || command.receipts > receipts {
            return Err("an epoch does not follow the one before, or counts receipts that are not there".to_owned());
        }
        if total < host.published || total > host.funded {
            return Err("a host published less than before, or more than its receipts set aside".to_owned());
        }
        (host.epoch, host.root, host.count, host.published) = (command.epoch, Some(command.root), command.count, total);
        Ok(())
    }

    pub(crate) fn claim_earnings(&mut self, command: &ClaimEarnings) -> Result<(), String> {
        let host = self.distributors.get_mut(&command.host).ok_or("earnings of an unknown host were claimed")?;
        if host.epoch != command.epoch || !host.root.is_some_and(|root| command.leads_to(&root, host.count)) {
            return Err("a claim does not lead to the newest published root".to_owned());
        }
        let so_far = self.claimed.entry((command.host, command.account)).or_default();
        let due = command.cumulative.atoms().checked_sub(*so_far).filter(|due| *due > 0);
        let due = due.ok_or("earnings were claimed twice")?;
        *so_far += due;
        host.paid += due;
        if host.paid > host.published {
            return Err("more earnings were claimed than were published".to_owned());
        }
        self.pay(&earnings(), &command.account, due)
    }

    /// What was set aside and not claimed.
    pub(crate) fn unclaimed(&self) -> Result<u128, String> {
        self.distributors.values().try_fold(0, |sum: u128, host| {
            let left = host.funded.checked_sub(host.paid).ok_or("more was claimed than was set aside")?;
            sum.checked_add(left).ok_or_else(|| "the earnings overflow".to_owned())
        })
    }
}
