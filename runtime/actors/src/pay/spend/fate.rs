//! What became of a single payment, by the ledger alone: no word of a server counts.
//!
//! A signed authorization may be settled until its window ends. A payment that nobody has held yet can be taken back: its
//! nonce is used up for one atom to an account that exists for this moment only, held and released in one step.

use agora_economy::PendingState;
use agora_economy::ports::ledger::Payment;
use agora_types::authorization::{Authorization, Exact, Upto};
use agora_types::batch::Entry;
use agora_types::command::{Command, Hold, VoidTransfer};
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Code};

use super::PaidClient;
use crate::clock::{fresh_head, random};
use crate::error::CallError;
use crate::purchase::Payer;

/// How far our clock may be ahead of the ledger's, in seconds.
const CLOCK_SLACK_S: u64 = 60;

/// How a single payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It moved so much.
    Posted(Amount),
    /// It did not move, and never will.
    Never,
    /// It may still move.
    Open,
}

/// What the ledger says to taking a payment back.
enum TakenBack {
    Done,
    /// The authorization's time is over.
    Expired,
    /// Somebody held it in the meantime, or before.
    Used,
    /// The account cannot spare an atom, or the network does not allow it.
    No,
}

impl PaidClient {
    /// How the payment stands, without touching it.
    pub(super) async fn stands(&self, single: &Authorization) -> Result<Fate, CallError> {
        let digest = single.digest(&self.parts.ledger.network());
        Ok(match self.parts.ledger.payment(single.payer(), single.key()).await? {
            Some(Payment::Posted(record)) if record.digest == digest => Fate::Posted(record.amount),
            // The nonce belongs to another payment for good.
            Some(Payment::Posted(_)) => Fate::Never,
            Some(Payment::Held(held)) if held.digest != digest => Fate::Never,
            Some(Payment::Held(_)) | None => Fate::Open,
        })
    }

    /// How the payment stands, after it was taken back if that could be done.
    pub(super) async fn end(&self, payer: &Payer, single: &Authorization) -> Result<Fate, CallError> {
        // Twice: somebody may hold or post it between the question and the command.
        for _ in 0..2 {
            match self.stands(single).await? {
                Fate::Open => {}
                ended => return Ok(ended),
            }
            if self.is_held(single).await? {
                return Ok(Fate::Open);
            }
            match self.take_back(payer, single).await? {
                TakenBack::Done => return Ok(Fate::Never),
                TakenBack::Expired if self.is_held(single).await? => return Ok(Fate::Open),
                TakenBack::Expired => {
                    let stands = self.stands(single).await?;
                    return Ok(if stands == Fate::Open { Fate::Never } else { stands });
                }
                TakenBack::Used => {}
                TakenBack::No => return Ok(Fate::Open),
            }
        }
        self.stands(single).await
    }

    /// Somebody has reserved it and can post it.
    async fn is_held(&self, single: &Authorization) -> Result<bool, CallError> {
        let now = self.parts.clock.now();
        Ok(match self.parts.ledger.payment(single.payer(), single.key()).await? {
            Some(Payment::Held(held)) => {
                held.state == PendingState::Open && held.expires_at.plus_secs(CLOCK_SLACK_S) > now
            }
            Some(Payment::Posted(_)) | None => false,
        })
    }

    async fn take_back(&self, payer: &Payer, single: &Authorization) -> Result<TakenBack, CallError> {
        let network = self.parts.ledger.network();
        let (clock, entropy) = (self.parts.clock.as_ref(), self.parts.random.as_ref());
        let Ok(nobody) = WalletKey::from_bytes(&random(entropy)) else { return Ok(TakenBack::No) };
        let words = instead(single, nobody.address());
        let signature = payer.account.sign(&words.digest(&network));
        let (pending_signer, pending_id) = (words.payer(), words.pending_id(&network));
        let head = || fresh_head(clock, entropy, nobody.address());
        let hold = Hold { head: head(), authorization: words, signature, timeout_s: 1 };
        let void = VoidTransfer { head: head(), pending_signer, pending_id };
        let sign = |command| Entry::sign(&network, command, &nobody);
        let group = vec![sign(Command::Hold(Box::new(hold))).linked(), sign(Command::VoidTransfer(void))];
        let answers = self.parts.ledger.commit(group).await?;
        Ok(match answers.into_iter().filter_map(Result::err).find(|code| *code != Code::LinkedFailed) {
            None => TakenBack::Done,
            Some(Code::AuthorizationExpired) => TakenBack::Expired,
            Some(Code::NonceUsed) => TakenBack::Used,
            Some(_) => TakenBack::No,
        })
    }
}

/// Other words under the same nonce: one atom for an account that alone may settle it.
fn instead(single: &Authorization, nobody: Address) -> Authorization {
    let atom = Amount::from_atoms(1);
    match single {
        Authorization::Exact(one) => Authorization::Exact(Exact { to: nobody, value: atom, ..one.clone() }),
        Authorization::Upto(one) => {
            Authorization::Upto(Upto { to: nobody, max: atom, facilitator: nobody, ..one.clone() })
        }
    }
}
