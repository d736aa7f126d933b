//! Channels recounted: deposits in, claims and refunds out, and a claimed total that never falls.

use agora_types::command::{Claim, Deposit, Refund, Settle, WithdrawFinish, WithdrawStart};
use agora_types::{Hash, eip712};

use crate::books::{Books, Channel, escrow, unsettled};

impl Books {
    pub(crate) fn deposit(&mut self, command: &Deposit, digest: Hash) -> Result<(), String> {
        let id = command.config.id(&self.network);
        let key = (command.config.payer, eip712::deposit_nonce(&id, &command.salt));
        if self.nonces.get(&key) == Some(&digest) {
            return Ok(());
        }
        let seconds = self.now.as_secs();
        if command.valid_before <= seconds || command.valid_after > seconds {
            return Err("a deposit outside of its authorization's time".to_owned());
        }
        if command.config.token != self.network.asset || self.nonces.contains_key(&key) {
            return Err("a deposit of another asset, or with a nonce that was used".to_owned());
        }
        self.nonces.insert(key, digest);
        let atoms = command.amount.atoms();
        self.pay(&key.0, &escrow(), atoms)?;
        let channel = self.channels.entry(id).or_insert_with(|| Channel {
            config: command.config.clone(),
            deposited: 0,
            refunded: 0,
            claimed: 0,
            refunds: Vec::new(),
            withdrawing_since: None,
        });
        channel.deposited = channel.deposited.checked_add(atoms).ok_or("a channel's deposits overflow")?;
        Ok(())
    }

    pub(crate) fn claim(&mut self, command: &Claim) -> Result<(), String> {
        for one in &command.claims {
            if self.listing_accounts.contains(&one.config.receiver) {
                return Err("money of attributed calls went round attribution".to_owned());
            }
            let channel =
                self.channels.get_mut(&one.config.id(&self.network)).ok_or("a claim on an unknown channel")?;
            let (max, total) = (one.max_claimable.atoms(), one.total_claimed.atoms());
            if total > max {
                return Err("a claim above its voucher".to_owned());
            }
            let Some(delta) = total.checked_sub(channel.claimed).filter(|delta| *delta > 0) else { continue };
            if delta > channel.left()? {
                return Err("a claim above the channel's balance".to_owned());
            }
            channel.claimed = total;
            *self.unsettled.entry(one.config.receiver).or_default() += delta;
            self.pay(&escrow(), &unsettled(), delta)?;
        }
        Ok(())
    }

    pub(crate) fn settle(&mut self, command: &Settle) -> Result<(), String> {
        let due = self.unsettled.remove(&command.receiver).filter(|due| *due > 0).ok_or("nothing was unsettled")?;
        self.pay(&unsettled(), &command.receiver, due)
    }

    pub(crate) fn refund(&mut self, command: &Refund, digest: Hash) -> Result<(), String> {
        let channel =
            self.channels.get_mut(&command.config.id(&self.network)).ok_or("a refund of an unknown channel")?;
        let position = usize::try_from(command.nonce).map_err(|_| "a refund nonce out of reach")?;
        if position.checked_add(1) == Some(channel.refunds.len()) && channel.refunds.last() == Some(&digest) {
            return Ok(());
        }
        let atoms = command.amount.atoms();
        if position != channel.refunds.len() || atoms == 0 || atoms > channel.left()? {
            return Err("a refund with a wrong nonce, or above what is unclaimed".to_owned());
        }
        channel.refunded += atoms;
        channel.refunds.push(digest);
        let payer = channel.config.payer;
        self.pay(&escrow(), &payer, atoms)
    }

    pub(crate) fn withdraw_start(&mut self, command: &WithdrawStart) -> Result<(), String> {
        let now = self.now;
        let channel = self.channels.get_mut(&command.channel).ok_or("a withdrawal from an unknown channel")?;
        let signer = command.head.signer;
        if signer != channel.config.payer && signer != channel.config.payer_authorizer {
            return Err("a withdrawal by another than the payer".to_owned());
        }
        if channel.withdrawing_since.replace(now).is_some() {
            return Err("a withdrawal was started twice".to_owned());
        }
        Ok(())
    }

    pub(crate) fn withdraw_finish(&mut self, command: &WithdrawFinish) -> Result<(), String> {
        let now = self.now;
        let channel = self.channels.get_mut(&command.channel).ok_or("a withdrawal from an unknown channel")?;
        let signer = command.head.signer;
        if signer != channel.config.payer && signer != channel.config.payer_authorizer {
            return Err("a withdrawal by another than the payer".to_owned());
        }
        let since = channel.withdrawing_since.take().ok_or("a withdrawal that was never started")?;
        if now < since.plus_secs(u64::from(channel.config.withdraw_delay)) {
            return Err("a withdrawal before its delay".to_owned());
        }
        let left = channel.left()?;
        channel.refunded += left;
        let payer = channel.config.payer;
        self.pay(&escrow(), &payer, left)
    }
}
