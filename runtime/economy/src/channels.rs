//! Channel commands: the rules decide the record that follows, the ledger moves the money, both or neither.

use agora_channels::{Windows, claim, deposit, refund, withdraw_finish, withdraw_start};
use agora_ledger::{Posting, SystemAccount};
use agora_types::command::{Claim, Deposit, Refund, Settle, WithdrawFinish, WithdrawStart};
use agora_types::{Address, Amount, ChannelId, Code, Hash, Timestamp, eip712};

use crate::state::Economy;

fn escrow() -> Address {
    SystemAccount::Escrow.address()
}

fn unsettled() -> Address {
    SystemAccount::Unsettled.address()
}

impl Economy {
    pub(crate) fn deposit(
        &mut self,
        command: &Deposit,
        id: ChannelId,
        digest: &Hash,
        now: Timestamp,
    ) -> Result<(), Code> {
        let payer = command.config.payer;
        let nonce = eip712::deposit_nonce(&id, &command.salt);
        if let Some(used) = self.state.channels.nonces.get(&(payer, nonce)) {
            return if used.digest == *digest { Ok(()) } else { Err(Code::NonceUsed) };
        }
        if self.state.is_keyless(&payer) {
            return Err(Code::PayerIsSystem);
        }
        if SystemAccount::is_one(&command.config.receiver) {
            return Err(Code::SystemAccount);
        }
        let windows = Windows {
            asset: self.rules.network.asset,
            deposit_min: self.rules.parameters.deposit_min,
            authorization_s: self.rules.parameters.authorization_window_s,
        };
        let channel = deposit(self.state.channels.channels.get(&id), command, &windows, now)?;
        self.state.ledger.post(&[Posting { debit: payer, credit: escrow(), amount: command.amount }])?;
        // After this point, nothing can fail.
        self.state.channels.channels.put(id, channel);
        self.state.channels.use_nonce(payer, nonce, command.valid_before, *digest);
        Ok(())
    }

    pub(crate) fn claim(&mut self, command: &Claim, ids: &[ChannelId]) -> Result<(), Code> {
        let mut after = std::collections::BTreeMap::new();
        let mut due: std::collections::BTreeMap<Address, Amount> = std::collections::BTreeMap::new();
        for (one, id) in command.claims.iter().zip(ids) {
            let receiver = one.config.receiver;
            if self.state.listing_accounts.get(&receiver).is_some() {
                return Err(Code::AttributedReceiver);
            }
            let before = after.get(id).or_else(|| self.state.channels.channels.get(id)).ok_or(Code::ChannelNotFound)?;
            let claimed = claim(before, one.max_claimable, one.total_claimed)?;
            let sum = due.get(&receiver).copied().unwrap_or_default().checked_add(claimed.delta);
            due.insert(receiver, sum.ok_or(Code::OverflowsDebits)?);
            after.insert(*id, claimed.channel);
        }
        let total = Amount::checked_sum(due.values().copied()).ok_or(Code::OverflowsDebits)?;
        if total.is_zero() {
            return Ok(());
        }
        self.state.ledger.post(&[Posting { debit: escrow(), credit: unsettled(), amount: total }])?;
        // After this point, nothing can fail: what is unsettled never exceeds the supply.
        for (id, channel) in after {
            self.state.channels.channels.put(id, channel);
        }
        for (receiver, amount) in due.into_iter().filter(|(_, amount)| !amount.is_zero()) {
            let before = self.state.channels.unsettled.get(&receiver).copied().unwrap_or_default();
            let sum = before.checked_add(amount).expect("unsettled claims are part of the supply");
            self.state.channels.unsettled.put(receiver, sum);
        }
        Ok(())
    }

    pub(crate) fn settle(&mut self, command: &Settle) -> Result<(), Code> {
        let amount = *self.state.channels.unsettled.get(&command.receiver).ok_or(Code::NothingToSettle)?;
        self.state.ledger.post(&[Posting { debit: unsettled(), credit: command.receiver, amount }])?;
        self.state.channels.unsettled.remove(&command.receiver);
        Ok(())
    }

    pub(crate) fn refund(&mut self, command: &Refund, id: ChannelId, digest: &Hash) -> Result<(), Code> {
        let before = self.state.channels.channels.get(&id).ok_or(Code::ChannelNotFound)?;
        let Some(after) = refund(before, command, digest)? else { return Ok(()) };
        let posting = Posting { debit: escrow(), credit: command.config.payer, amount: command.amount };
        self.state.ledger.post(&[posting])?;
        self.state.channels.channels.put(id, after);
        Ok(())
    }

    pub(crate) fn withdraw_start(&mut self, command: &WithdrawStart, now: Timestamp) -> Result<(), Code> {
        let before = self.state.channels.channels.get(&command.channel).ok_or(Code::ChannelNotFound)?;
        let after = withdraw_start(before, &command.head.signer, now)?;
        self.state.channels.channels.put(command.channel, after);
        Ok(())
    }

    pub(crate) fn withdraw_finish(&mut self, command: &WithdrawFinish, now: Timestamp) -> Result<(), Code> {
        let before = self.state.channels.channels.get(&command.channel).ok_or(Code::ChannelNotFound)?;
        let (after, amount) = withdraw_finish(before, &command.head.signer, now)?;
        if !amount.is_zero() {
            let credit = after.config.payer;
            self.state.ledger.post(&[Posting { debit: escrow(), credit, amount }])?;
        }
        self.state.channels.channels.put(command.channel, after);
        Ok(())
    }
}
