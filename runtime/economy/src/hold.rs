//! Single payments (x402 `exact` and `upto`): the payer's authorization becomes a pending transfer, once.

use agora_ledger::{Authorized, PendingState, Posting, SystemAccount};
use agora_types::authorization::Authorization;
use agora_types::command::{Hold, Pending, PostTransfer};
use agora_types::{Address, Amount, Code, CommandId, Hash, ListingId, Timestamp};
use minicbor::{Decode, Encode};

use crate::apply::Context;
use crate::state::Economy;

/// Longest life of a hold in seconds.
const HOLD_MAX_S: u32 = 3_600;

/// What is remembered of a posted single payment for ever, on disk, keyed by payer and nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PaymentRecord {
    /// Was paid, for an attributed call through its split.
    #[n(0)]
    pub payee: Address,
    /// What was posted.
    #[n(1)]
    pub amount: Amount,
    /// Who posted it.
    #[n(2)]
    pub settler: Address,
    /// The batch in which it was posted.
    #[n(3)]
    pub seq: u64,
    /// What its payer signed; names the payment outside.
    #[n(4)]
    pub digest: Hash,
}

impl agora_types::Canonical for PaymentRecord {
    const TAG: &'static str = "agora/payment-record/v1";
    const SIZE_MAX: usize = 192;
}

/// A single payment as the state has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPayment {
    /// The digest that its payer signed.
    pub digest: Hash,
    /// Will be paid.
    pub payee: Address,
    /// Most that may be posted.
    pub max: Amount,
    /// Who posts or voids it.
    pub settler: Address,
    /// The hold ends by itself.
    pub expires_at: Timestamp,
    /// Held, or how it ended.
    pub state: PendingState,
}

/// Unix second at which the nonce of a held payment is forgotten: not while its authorization is valid, and not while it
/// is held, or a payer who signs for a moment only is held, served, and cannot be found to be charged.
fn remembered_until(authorization: &Authorization, hold_ends: Timestamp) -> u64 {
    authorization.window().1.max(hold_ends.as_secs().saturating_add(1))
}

impl Economy {
    /// A single payment that is held, or whose end is not forgotten yet; `nonce` is [`Authorization::key`].
    pub fn held_payment(&self, payer: Address, nonce: Hash) -> Option<HeldPayment> {
        let digest = self.state.channels.nonces.get(&(payer, nonce))?.digest;
        let id = CommandId::from_slice(&digest.as_bytes()[..CommandId::SIZE])?;
        let pending = self.state.ledger.pendings.get(&(payer, id))?;
        let digest = pending.authorized.filter(|authorized| authorized.nonce == nonce)?.digest;
        Some(HeldPayment {
            digest,
            payee: pending.credit,
            max: pending.amount,
            settler: pending.settler,
            expires_at: pending.expires_at,
            state: pending.state,
        })
    }

    /// Posts a pending transfer, but none for a listing: its money goes through attribution.
    pub(crate) fn post_transfer(&mut self, command: &PostTransfer, context: &mut Context<'_>) -> Result<(), Code> {
        let key = (command.pending_signer, command.pending_id);
        let pending = *self.state.ledger.pendings.get(&key).ok_or(Code::PendingNotFound)?;
        if self.state.listing_accounts.get(&pending.credit).is_some() {
            return Err(Code::AttributedReceiver);
        }
        self.state.ledger.post_pending(command)?;
        context.remember_payment(key.0, &pending, command.amount);
        Ok(())
    }

    pub(crate) fn hold(&mut self, command: &Hold, now: Timestamp) -> Result<(), Code> {
        let network = self.rules.network;
        let Hold { authorization, timeout_s, head, .. } = command;
        let (payer, payee) = (authorization.payer(), authorization.payee());
        if !(1..=HOLD_MAX_S).contains(timeout_s) {
            return Err(Code::TimeoutRange);
        }
        self.in_time(authorization, now)?;
        if !self.may_hold(authorization, &head.signer) {
            return Err(Code::NotSettler);
        }
        if self.state.is_keyless(&payer) {
            return Err(Code::PayerIsSystem);
        }
        if SystemAccount::is_one(&payee) {
            return Err(Code::SystemAccount);
        }
        let (nonce, digest) = (authorization.key(), authorization.digest(&network));
        let id = authorization.pending_id(&network);
        // A nonce that was used stays used: held again is only what is remembered as released.
        if let Some(used) = self.state.channels.nonces.get(&(payer, nonce))
            && (used.digest != digest || self.state.ledger.pendings.get(&(payer, id)).is_none())
        {
            return Err(Code::NonceUsed);
        }
        let posting = Posting { debit: payer, credit: payee, amount: authorization.max() };
        let pending = Pending { timeout_s: *timeout_s, settler: head.signer };
        let ended = self.state.ledger.pendings.get(&(payer, id)).map(|ended| ended.expires_at);
        self.state.ledger.hold(id, Authorized { nonce, digest }, &posting, pending, now)?;
        // After this point, nothing can fail.
        if let Some(ended) = ended {
            self.state.channels.nonces_due.remove(&(remembered_until(authorization, ended), payer, nonce));
        }
        let until = remembered_until(authorization, now.plus_secs(u64::from(*timeout_s)));
        self.state.channels.use_nonce(payer, nonce, until, digest);
        Ok(())
    }

    fn in_time(&self, authorization: &Authorization, now: Timestamp) -> Result<(), Code> {
        let (after, before) = authorization.window();
        let seconds = now.as_secs();
        if before <= seconds {
            return Err(Code::AuthorizationExpired);
        }
        if after > seconds {
            return Err(Code::AuthorizationEarly);
        }
        if before - seconds > u64::from(self.rules.parameters.authorization_window_s) {
            return Err(Code::AuthorizationTooLate);
        }
        Ok(())
    }

    /// `upto` names its settler. `exact` names nobody: whoever is paid, serves the listing that is paid, or runs the
    /// network, and nobody else, since a hold keeps the payer's money from other uses.
    fn may_hold(&self, authorization: &Authorization, settler: &Address) -> bool {
        match authorization {
            Authorization::Upto(upto) => upto.facilitator == *settler,
            Authorization::Exact(exact) => {
                let listing: Option<&ListingId> = self.state.listing_accounts.get(&exact.to);
                let serves = |id| self.state.listings.get(id).is_some_and(|listing| listing.hosts.contains(settler));
                exact.to == *settler || self.rules.operator == *settler || listing.is_some_and(serves)
            }
        }
    }
}
