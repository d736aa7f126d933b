//! Vouchers become money: claimed in batches, paid out to the receiver.

use agora_types::batch::Entry;
use agora_types::command::{CLAIMS_MAX, Claim, Command, Settle, VoucherClaim};
use agora_types::{Amount, Canonical as _, Code};

use super::super::rows::{CHANNEL, ChannelRow};
use super::Inner;
use super::keep::Walk;
use crate::clock::fresh_head;
use crate::error::CallError;

impl Inner {
    pub(super) async fn claim_all(&self) -> Result<Amount, CallError> {
        let _turn = self.desk.claims.lock().await;
        let mut walk = Walk::over(vec![vec![CHANNEL]]);
        let mut due: Vec<VoucherClaim> = Vec::new();
        while let Some(page) = walk.next(self.desk.parts.journal.as_ref()).await? {
            for (_, bytes) in page {
                let Ok(row) = ChannelRow::from_bytes(&bytes) else { continue };
                due.extend(self.due(row).await?);
                if due.len() == CLAIMS_MAX {
                    self.claim_some(std::mem::take(&mut due)).await?;
                }
            }
        }
        if !due.is_empty() {
            self.claim_some(due).await?;
        }
        self.pay_out().await
    }

    /// What a channel owes us and can pay.
    async fn due(&self, row: ChannelRow) -> Result<Option<VoucherClaim>, CallError> {
        let parts = &self.desk.parts;
        let ours =
            row.config.receiver == self.terms.receiver && row.config.receiver_authorizer == parts.account.address();
        let Some(voucher) = row.voucher.filter(|_| ours) else { return Ok(None) };
        let Some(channel) = parts.ledger.channel(row.config.id(&parts.ledger.network())).await? else {
            return Ok(None);
        };
        if row.charged <= channel.total_claimed {
            return Ok(None);
        }
        // Its payer has withdrawn before we claimed. One such channel must not keep the others from being paid.
        if voucher.max_claimable > channel.balance() {
            tracing::warn!(channel = %voucher.channel_id, charged = %row.charged, "a voucher is not covered any more");
            return Ok(None);
        }
        Ok(Some(VoucherClaim {
            config: row.config,
            max_claimable: voucher.max_claimable,
            voucher_signature: voucher.signature,
            total_claimed: row.charged,
        }))
    }

    /// Claims a batch; where the ledger refuses it as a whole, each alone, so that one bad claim costs itself only.
    async fn claim_some(&self, claims: Vec<VoucherClaim>) -> Result<(), CallError> {
        if self.claim_batch(claims.clone()).await? || claims.len() == 1 {
            return Ok(());
        }
        for claim in claims {
            self.claim_batch(vec![claim]).await?;
        }
        Ok(())
    }

    /// False when the rules refuse it.
    async fn claim_batch(&self, claims: Vec<VoucherClaim>) -> Result<bool, CallError> {
        let parts = &self.desk.parts;
        let count = claims.len();
        let claim = Command::Claim(Claim { claims });
        match parts.ledger.commit_one(Entry::sign(&parts.ledger.network(), claim, &parts.account)).await {
            Ok(()) => Ok(true),
            Err(failure) => {
                let error = CallError::from(failure);
                if error.is_fault() {
                    return Err(error);
                }
                tracing::warn!(count, code = %error.code, "claims were refused");
                Ok(false)
            }
        }
    }

    async fn pay_out(&self) -> Result<Amount, CallError> {
        let parts = &self.desk.parts;
        let receiver = self.terms.receiver;
        let amount = parts.ledger.unsettled(receiver).await?;
        if amount.is_zero() {
            return Ok(amount);
        }
        let head = fresh_head(parts.clock.as_ref(), parts.random.as_ref(), parts.account.address());
        let settle = Command::Settle(Settle { head, receiver });
        match parts.ledger.commit_one(Entry::sign(&parts.ledger.network(), settle, &parts.account)).await {
            Ok(()) => Ok(amount),
            // A facilitator paid it out in between, to the same receiver.
            Err(failure) if failure.code == Code::NothingToSettle => Ok(Amount::ZERO),
            Err(failure) => Err(failure.into()),
        }
    }
}
