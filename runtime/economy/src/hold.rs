//! Single payments (x402 `exact` and `upto`): the payer's authorization becomes a pending transfer, once.

use agora_ledger::{Posting, SystemAccount};
use agora_types::authorization::Authorization;
use agora_types::command::{Hold, Pending};
use agora_types::{Address, Code, ListingId, Timestamp};

use crate::state::Economy;

/// Longest life of a hold in seconds.
const HOLD_MAX_S: u32 = 3_600;

impl Economy {
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
        self.state.ledger.hold(id, &posting, pending, now)?;
        // After this point, nothing can fail.
        self.state.channels.use_nonce(payer, nonce, authorization.window().1, digest);
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
