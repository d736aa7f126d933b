//! Single payments on the ledger: held once, posted once, released, and counted for each payer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agora_economy::ports::ledger::{Ledger, LedgerFailure, Payment as OnLedger};
use agora_economy::ports::pay::Trouble;
use agora_economy::{HeldPayment, PendingState};
use agora_types::batch::Entry;
use agora_types::command::{Command, Head, PostTransfer, VoidTransfer};
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Code, Hash, Timestamp};
use agora_x402::Refusal;
use agora_x402::check::SinglePayment;

use crate::clock::{Clock, Random, fresh_head};

/// Payments of one payer that are held at once.
const HOLDS_PER_PAYER: usize = 64;
/// Payers that are counted; those without a living hold are forgotten at the limit, and new ones are refused.
const PAYERS_MAX: usize = 65_536;
/// Longest hold in seconds, whatever a seller asks for.
const HOLD_MAX_S: u64 = 600;

/// Why there is no success: the protocol's answer, or trouble.
pub(super) enum Stop {
    /// The rules say no.
    Refused(Refusal),
    /// The world failed, or the question was not for whoever asked.
    Trouble(Trouble),
}

impl Stop {
    /// As an error of ours.
    pub(super) fn into_error(self) -> crate::CallError {
        match self {
            Self::Refused(refusal) => crate::CallError::new(Code::PaymentUncertain, refusal.to_string()),
            Self::Trouble(trouble) => crate::CallError::new(trouble.code, trouble.what),
        }
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Code> for Stop {
    fn from(code: Code) -> Self {
        Self::Refused(Refusal::from(code))
    }
}

impl From<LedgerFailure> for Stop {
    fn from(failure: LedgerFailure) -> Self {
        Self::Trouble(Trouble { code: failure.code, what: failure.what, retry_after_s: Some(1) })
    }
}

impl From<crate::CallError> for Stop {
    fn from(error: crate::CallError) -> Self {
        Self::Trouble(error.into())
    }
}

impl From<crate::CallError> for Trouble {
    fn from(error: crate::CallError) -> Self {
        // Exit code 6: busy, or nobody there for now.
        let passes = error.is_fault() || error.code.exit_code() == 6;
        let retry_after_s = passes.then_some(1);
        Self { code: error.code, what: error.what, retry_after_s }
    }
}

/// The first refusal among a group's answers; `None` when every command was done.
///
/// # Errors
/// Trouble when the ledger did not answer them all: silence is not success.
pub(super) fn refusal(asked: usize, answers: Vec<Result<(), Code>>) -> Result<Option<Code>, Stop> {
    let answered = answers.len();
    let refused: Vec<Code> = answers.into_iter().filter_map(Result::err).collect();
    // Of a linked group one command has the reason, the others only fell with it.
    let reason = refused.iter().find(|code| **code != Code::LinkedFailed).or(refused.first());
    match reason {
        Some(code) => Ok(Some(*code)),
        None if answered == asked => Ok(None),
        None => {
            let what = format!("the ledger gave {answered} answers to {asked} commands");
            Err(Stop::Trouble(Trouble { code: Code::StoreFailed, what, retry_after_s: Some(1) }))
        }
    }
}

/// Asked before a stranger's command enters the log, where even a refusal stays for ever: anybody can sign for an
/// account that holds nothing.
pub(super) async fn can_pay(ledger: &dyn Ledger, payer: Address, amount: Amount) -> Result<(), Stop> {
    covers(ledger.available(payer).await?, amount)
}

fn covers(available: Amount, amount: Amount) -> Result<(), Stop> {
    if amount.is_zero() {
        return Err(Code::AmountZero.into());
    }
    if available < amount { Err(Code::ExceedsCredits.into()) } else { Ok(()) }
}

/// Holds and posts single payments with one account.
///
/// The count of a payer's holds lives in memory: after a restart it begins anew, and older holds run out by themselves
/// within [`HOLD_MAX_S`].
pub(super) struct Singles {
    ledger: Arc<dyn Ledger>,
    account: Arc<WalletKey>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    holds: Mutex<BTreeMap<Address, BTreeMap<Hash, Counted>>>,
}

/// A hold that counts against its payer.
struct Counted {
    until: Timestamp,
    /// True once the ledger has said that this is our hold, and nobody else's.
    is_ours: bool,
}

impl Singles {
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        account: Arc<WalletKey>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { ledger, account, clock, random, holds: Mutex::default() }
    }

    fn head(&self) -> Head {
        fresh_head(self.clock.as_ref(), self.random.as_ref(), self.account.address())
    }

    fn sign(&self, command: Command) -> Entry {
        Entry::sign(&self.ledger.network(), command, &self.account)
    }

    /// Counts a hold of this payer, or refuses it.
    fn count(&self, single: &SinglePayment, until: Timestamp) -> Result<(), Stop> {
        let now = self.clock.now();
        let payer = single.authorization.payer();
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if holds.len() >= PAYERS_MAX && !holds.contains_key(&payer) {
            holds.retain(|_, of_payer| of_payer.values().any(|one| one.until > now));
            if holds.len() >= PAYERS_MAX {
                return Err(Code::TooManyHolds.into());
            }
        }
        let of_payer = holds.entry(payer).or_default();
        of_payer.retain(|_, one| one.until > now);
        if of_payer.len() >= HOLDS_PER_PAYER {
            return Err(Code::TooManyHolds.into());
        }
        of_payer.entry(single.authorization.key()).or_insert(Counted { until, is_ours: false });
        Ok(())
    }

    fn is_ours(&self, single: &SinglePayment) -> bool {
        let holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let of_payer = holds.get(&single.authorization.payer());
        of_payer.and_then(|of_payer| of_payer.get(&single.authorization.key())).is_some_and(|one| one.is_ours)
    }

    fn now_ours(&self, single: &SinglePayment) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        let of_payer = holds.get_mut(&single.authorization.payer());
        if let Some(one) = of_payer.and_then(|of_payer| of_payer.get_mut(&single.authorization.key())) {
            one.is_ours = true;
        }
    }

    fn uncount(&self, single: &SinglePayment) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_payer) = holds.get_mut(&single.authorization.payer()) {
            of_payer.remove(&single.authorization.key());
            if of_payer.is_empty() {
                holds.remove(&single.authorization.payer());
            }
        }
    }

    /// Reserves a single payment. Refused when it is held or was posted, whoever asks: that is what keeps one signature
    /// from being sold twice.
    pub(super) async fn hold(&self, single: &SinglePayment, timeout_s: u64) -> Result<(), Stop> {
        let (payer, nonce) = (single.authorization.payer(), single.authorization.key());
        // A repeat is refused here already, so that it costs no batch and counts against nobody.
        let (known, available) = self.ledger.purse(payer, nonce).await?;
        match known {
            Some(OnLedger::Posted(_)) => return Err(Code::NonceUsed.into()),
            Some(OnLedger::Held(held)) if held.state == PendingState::Open && held.expires_at > self.clock.now() => {
                return Err(Code::NonceUsed.into());
            }
            Some(OnLedger::Held(_)) | None => {}
        }
        covers(available, single.authorization.max())?;
        let seconds = hold_seconds(timeout_s);
        self.count(single, self.clock.now().plus_secs(u64::from(seconds)))?;
        let entry = self.sign(Command::Hold(Box::new(single.hold(self.head(), seconds))));
        match self.ledger.commit_one(entry).await {
            Ok(()) => {
                self.now_ours(single);
                Ok(())
            }
            // Held by another request at the same moment: the count stands for that hold.
            Err(failure) if failure.code == Code::NonceUsed => Err(refused_or_trouble(failure)),
            Err(failure) => {
                self.uncount(single);
                Err(refused_or_trouble(failure))
            }
        }
    }

    /// The same for a till that knows that nobody is served for this payment: what it holds already counts as held. That
    /// is a payment whose request was dropped, or one that was held before the till was opened, at `since`: by itself,
    /// before a crash. What a facilitator with the same account holds for another seller is not taken over.
    pub(super) async fn hold_or_adopt(
        &self,
        single: &SinglePayment,
        timeout_s: u64,
        since: Timestamp,
    ) -> Result<(), Stop> {
        let refusal = match self.hold(single, timeout_s).await {
            Err(Stop::Refused(refusal)) => refusal,
            done @ (Ok(()) | Err(Stop::Trouble(_))) => return done,
        };
        let earlier = since.plus_secs(u64::from(hold_seconds(timeout_s)));
        match self.open_hold(single).await? {
            Some(held) if self.is_ours(single) || held.expires_at <= earlier => Ok(()),
            Some(_) | None => Err(refusal.into()),
        }
    }

    /// This account's own living hold of a payment.
    async fn open_hold(&self, single: &SinglePayment) -> Result<Option<HeldPayment>, Stop> {
        let (payer, nonce) = (single.authorization.payer(), single.authorization.key());
        let digest = single.authorization.digest(&self.ledger.network());
        Ok(match self.ledger.payment(payer, nonce).await? {
            Some(OnLedger::Held(held)) => {
                let ours =
                    held.state == PendingState::Open && held.settler == self.account.address() && held.digest == digest;
                ours.then_some(held)
            }
            Some(OnLedger::Posted(_)) | None => None,
        })
    }

    /// Posts a single payment once and says what moved.
    pub(super) async fn post(&self, single: &SinglePayment) -> Result<Amount, Stop> {
        let (payer, nonce) = (single.authorization.payer(), single.authorization.key());
        let network = self.ledger.network();
        let digest = single.authorization.digest(&network);
        let pending_id = single.authorization.pending_id(&network);
        let post = || {
            let post = PostTransfer { head: self.head(), pending_signer: payer, pending_id, amount: single.amount };
            self.sign(Command::PostTransfer(post))
        };
        // Held by ourselves a moment ago, as a rule: posted without a question. A pending's id is of the whole
        // authorization, so that no other one is posted by mistake.
        if self.is_ours(single) && refusal(1, self.ledger.commit(vec![post()]).await?)?.is_none() {
            self.uncount(single);
            return Ok(single.amount);
        }
        // Twice: somebody may post or release it between the question and the command.
        for _ in 0..2 {
            let (known, available) = self.ledger.purse(payer, nonce).await?;
            let group = match known {
                Some(OnLedger::Posted(record)) => {
                    self.uncount(single);
                    return if record.digest == digest { Ok(record.amount) } else { Err(Code::NonceUsed.into()) };
                }
                Some(OnLedger::Held(held)) if held.state == PendingState::Open => {
                    if held.settler != self.account.address() || held.digest != digest {
                        return Err(Code::NonceUsed.into());
                    }
                    vec![post()]
                }
                // Never held, or released: hold and post in one step.
                Some(OnLedger::Held(_)) | None => {
                    covers(available, single.authorization.max())?;
                    let hold = Command::Hold(Box::new(single.hold(self.head(), 1)));
                    vec![self.sign(hold).linked(), post()]
                }
            };
            let asked = group.len();
            match refusal(asked, self.ledger.commit(group).await?)? {
                None => {
                    self.uncount(single);
                    return Ok(single.amount);
                }
                Some(Code::PendingPosted | Code::PendingExpired | Code::PendingVoided | Code::NonceUsed) => {}
                Some(code) => return Err(code.into()),
            }
        }
        Err(Code::NonceUsed.into())
    }

    /// Gives a held payment back; nothing held is fine.
    pub(super) async fn release(&self, single: &SinglePayment) -> Result<(), Stop> {
        let (pending_signer, pending_id) =
            (single.authorization.payer(), single.authorization.pending_id(&self.ledger.network()));
        let void = VoidTransfer { head: self.head(), pending_signer, pending_id };
        self.uncount(single);
        match self.ledger.commit_one(self.sign(Command::VoidTransfer(void))).await {
            Err(failure)
                if matches!(
                    failure.code,
                    Code::PendingVoided | Code::PendingExpired | Code::PendingNotFound | Code::NotSettler
                ) =>
            {
                Ok(())
            }
            other => other.map_err(refused_or_trouble),
        }
    }
}

/// A hold's length, within its bounds.
fn hold_seconds(timeout_s: u64) -> u32 {
    u32::try_from(timeout_s.clamp(1, HOLD_MAX_S)).unwrap_or(1)
}

/// A refusal by the rules is the protocol's answer; a fault is trouble.
pub(super) fn refused_or_trouble(failure: LedgerFailure) -> Stop {
    let error = crate::CallError::from(failure);
    if error.is_fault() { Stop::from(error) } else { Stop::Refused(Refusal::from(error.code)) }
}
