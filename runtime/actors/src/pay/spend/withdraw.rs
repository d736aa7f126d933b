//! What lies unclaimed in channels with sellers, taken back without their help: announced, and had after the delay.

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::Table;
use agora_types::batch::Entry;
use agora_types::command::{Command, WithdrawFinish, WithdrawStart};
use agora_types::{Canonical as _, Code};

use super::PaidClient;
use super::rows::{SpentChannelRow, channels_prefix};
use crate::clock::fresh_head;
use crate::error::CallError;
use crate::fetch::Withdrawn;
use crate::purchase::Payer;

impl PaidClient {
    /// One step for every channel of the payer that has something in it.
    pub(super) async fn withdraw_all(&self, payer: &Payer) -> Result<Withdrawn, CallError> {
        let parts = &self.parts;
        let account = payer.account.address();
        let mut sum = Withdrawn::default();
        for (key, bytes) in parts.journal.list(Table::Spent, channels_prefix(&account), READ_ROWS_MAX).await? {
            let row = SpentChannelRow::from_bytes(&bytes)
                .map_err(|error| CallError::new(Code::StoreDamaged, format!("a channel of {account}: {error}")))?;
            // Nothing is signed on a channel while it is being given up.
            let _turn = self.channels.take(key).await;
            let id = row.config.id(&parts.ledger.network());
            let Some(before) = parts.ledger.channel(id).await?.filter(|channel| !channel.unclaimed().is_zero()) else {
                continue;
            };
            let now = parts.clock.now();
            let head = fresh_head(parts.clock.as_ref(), parts.random.as_ref(), account);
            let delay = u64::from(before.config.withdraw_delay);
            let due = before.withdraw_requested_at.map(|since| since.plus_secs(delay));
            let command = match due {
                Some(due) if now < due => None,
                Some(_) => Some(Command::WithdrawFinish(WithdrawFinish { head, channel: id })),
                None => Some(Command::WithdrawStart(WithdrawStart { head, channel: id })),
            };
            let is_end = matches!(command, Some(Command::WithdrawFinish(_)));
            if let Some(command) = command {
                let entry = Entry::sign(&parts.ledger.network(), command, &payer.account);
                parts.ledger.commit_one(entry).await?;
            }
            if is_end {
                // The seller may have claimed in between: the ledger says what came.
                let after = parts.ledger.channel(id).await?.map_or(before.refunded, |channel| channel.refunded);
                sum.back = sum.back.checked_add(after.saturating_sub(before.refunded)).unwrap_or(sum.back);
            } else {
                sum.waiting = sum.waiting.checked_add(before.unclaimed()).unwrap_or(sum.waiting);
                sum.until = sum.until.max(Some(due.unwrap_or_else(|| now.plus_secs(delay))));
            }
        }
        Ok(sum)
    }
}
