//! Two-phase transfers: reserve, then post at most what was reserved, void, or let it expire.

use agora_types::command::{Pending, PostTransfer, Transfer, VoidTransfer};
use agora_types::{Address, Amount, Code, CommandId, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::{Ledger, Posting, SystemAccount};

/// Longest life of a pending transfer in seconds: 30 days.
pub(crate) const TIMEOUT_MAX_S: u32 = 2_592_000;
/// How long a finished pending transfer is remembered after its timeout, in seconds.
const REMEMBERED_S: u64 = 600;

/// What became of a pending transfer. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PendingState {
    /// Reserves its amount.
    #[n(0)]
    Open,
    /// Completed.
    #[n(1)]
    Posted,
    /// Released by its settler.
    #[n(2)]
    Voided,
    /// Released by time.
    #[n(3)]
    Expired,
}

/// A transfer that reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PendingTransfer {
    /// Pays.
    #[n(0)]
    pub debit: Address,
    /// Will be paid.
    #[n(1)]
    pub credit: Address,
    /// Reserved.
    #[n(2)]
    pub amount: Amount,
    /// Who posts or voids.
    #[n(3)]
    pub settler: Address,
    /// Released by itself from then on.
    #[n(4)]
    pub expires_at: Timestamp,
    /// Open, or how it ended.
    #[n(5)]
    pub state: PendingState,
    /// The single payment that it holds.
    #[n(6)]
    pub authorized: Option<Authorized>,
}

/// What a payer signed for one single payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Authorized {
    /// Unique among the payer's payments.
    #[n(0)]
    pub nonce: Hash,
    /// What was signed.
    #[n(1)]
    pub digest: Hash,
}

impl Ledger {
    /// A plain or pending transfer from its signer's account.
    pub fn transfer(&mut self, command: &Transfer, now: Timestamp) -> Result<(), Code> {
        let debit = command.head.signer;
        if SystemAccount::is_one(&command.credit) || SystemAccount::is_one(&debit) {
            return Err(Code::SystemAccount);
        }
        let posting = Posting { debit, credit: command.credit, amount: command.amount };
        match command.pending {
            None => self.post(&[posting]),
            Some(pending) => self.reserve(command.head.id, &posting, pending, None, now),
        }
    }

    /// Reserves a payment that its payer authorised once. The same id again only after a void or an expiry, as long as
    /// these are remembered.
    ///
    /// # Errors
    /// `channel.nonce_already_used` while it is held and once it was posted, and those of a pending transfer.
    pub fn hold(
        &mut self,
        id: CommandId,
        authorized: Authorized,
        posting: &Posting,
        pending: Pending,
        now: Timestamp,
    ) -> Result<(), Code> {
        let key = (posting.debit, id);
        let before = self.pendings.get(&key).copied();
        let ended = match before.map(|before| before.state) {
            Some(PendingState::Open | PendingState::Posted) => return Err(Code::NonceUsed),
            Some(PendingState::Voided | PendingState::Expired) => before,
            None => None,
        };
        self.reservable(posting, pending)?;
        // After this point, nothing can fail.
        if let Some(ended) = ended {
            for due in [ended.expires_at, ended.expires_at.plus_secs(REMEMBERED_S)] {
                self.pendings_due.remove(&(due, key.0, key.1));
            }
            self.pendings.remove(&key);
        }
        self.reserve(id, posting, pending, Some(authorized), now)
    }

    /// Succeeds when a reservation could be made; changes nothing.
    fn reservable(&self, posting: &Posting, pending: Pending) -> Result<(), Code> {
        if !(1..=TIMEOUT_MAX_S).contains(&pending.timeout_s) {
            return Err(Code::TimeoutRange);
        }
        self.check(&[*posting])?;
        let payer = self.accounts.get(&posting.debit).ok_or(Code::DebitNotFound)?;
        let payee = self.accounts.get(&posting.credit).copied().unwrap_or_default();
        payer.debits_pending.checked_add(posting.amount).ok_or(Code::OverflowsDebits)?;
        payee.credits_pending.checked_add(posting.amount).ok_or(Code::OverflowsDebits)?;
        Ok(())
    }

    fn reserve(
        &mut self,
        id: CommandId,
        posting: &Posting,
        pending: Pending,
        authorized: Option<Authorized>,
        now: Timestamp,
    ) -> Result<(), Code> {
        self.reservable(posting, pending)?;
        let Posting { debit, credit, amount } = *posting;
        if self.pendings.get(&(debit, id)).is_some() {
            return Err(Code::ExistsDifferent);
        }
        let mut payer = *self.accounts.get(&debit).ok_or(Code::DebitNotFound)?;
        let mut payee = self.accounts.get(&credit).copied().unwrap_or_default();
        payer.debits_pending = payer.debits_pending.checked_add(amount).ok_or(Code::OverflowsDebits)?;
        payee.credits_pending = payee.credits_pending.checked_add(amount).ok_or(Code::OverflowsDebits)?;
        let expires_at = now.plus_secs(u64::from(pending.timeout_s));
        let settler = pending.settler;
        // After this point, nothing can fail.
        self.accounts.put(debit, payer);
        self.accounts.put(credit, payee);
        let state = PendingState::Open;
        self.pendings
            .put((debit, id), PendingTransfer { debit, credit, amount, settler, expires_at, state, authorized });
        self.pendings_due.put((expires_at, debit, id), true);
        Ok(())
    }

    fn open(&self, signer: Address, id: CommandId, settler: &Address) -> Result<PendingTransfer, Code> {
        let pending = *self.pendings.get(&(signer, id)).ok_or(Code::PendingNotFound)?;
        if pending.settler != *settler {
            return Err(Code::NotSettler);
        }
        match pending.state {
            PendingState::Open => Ok(pending),
            PendingState::Posted => Err(Code::PendingPosted),
            PendingState::Voided => Err(Code::PendingVoided),
            PendingState::Expired => Err(Code::PendingExpired),
        }
    }

    /// Completes a pending transfer with at most its amount and releases the rest.
    pub fn post_pending(&mut self, command: &PostTransfer) -> Result<(), Code> {
        let key = (command.pending_signer, command.pending_id);
        let pending = self.open(key.0, key.1, &command.head.signer)?;
        // A single payment may cost nothing: its authorization is used up all the same.
        if command.amount.is_zero() && pending.authorized.is_none() {
            return Err(Code::AmountZero);
        }
        if command.amount > pending.amount {
            return Err(Code::ExceedsPending);
        }
        let mut payer = *self.accounts.get(&pending.debit).ok_or(Code::DebitNotFound)?;
        let mut payee = *self.accounts.get(&pending.credit).ok_or(Code::CreditNotFound)?;
        payer.debits_posted = payer.debits_posted.checked_add(command.amount).ok_or(Code::OverflowsDebits)?;
        payee.credits_posted = payee.credits_posted.checked_add(command.amount).ok_or(Code::OverflowsDebits)?;
        // After this point, nothing can fail: the amount was reserved.
        self.accounts.put(pending.debit, payer);
        self.accounts.put(pending.credit, payee);
        self.release(key, &pending, PendingState::Posted);
        Ok(())
    }

    /// Completes a pending transfer with `postings` out of `debit` instead of its payee's one credit, and releases the
    /// rest: `charge` atoms go from the payer to `through`, from there to where the postings say.
    ///
    /// # Errors
    /// Those of [`Ledger::post_pending`]; a charge of zero is allowed.
    pub fn split_pending(
        &mut self,
        key: (Address, CommandId),
        settler: &Address,
        charge: Amount,
        through: Address,
        postings: &[Posting],
    ) -> Result<(), Code> {
        let pending = self.open(key.0, key.1, settler)?;
        if charge > pending.amount {
            return Err(Code::ExceedsPending);
        }
        let to = postings.iter().map(|posting| posting.credit);
        for account in to.chain([through, pending.debit]) {
            let account = self.accounts.get(&account).copied().unwrap_or_default();
            account.credits_posted.checked_add(charge).ok_or(Code::OverflowsDebits)?;
            account.debits_posted.checked_add(charge).ok_or(Code::OverflowsDebits)?;
        }
        // After this point, nothing can fail: the amount was reserved, and no total overflows.
        self.release(key, &pending, PendingState::Posted);
        if !charge.is_zero() {
            let first = Posting { debit: pending.debit, credit: through, amount: charge };
            let all: Vec<Posting> = [first].into_iter().chain(postings.iter().copied()).collect();
            self.post(&all).expect("what was reserved covers the charge, and the postings are its parts");
        }
        Ok(())
    }

    /// Releases a pending transfer.
    pub fn void_pending(&mut self, command: &VoidTransfer) -> Result<(), Code> {
        let key = (command.pending_signer, command.pending_id);
        let pending = self.open(key.0, key.1, &command.head.signer)?;
        self.release(key, &pending, PendingState::Voided);
        Ok(())
    }

    /// Gives the reservation back and notes how it ended.
    fn release(&mut self, key: (Address, CommandId), pending: &PendingTransfer, state: PendingState) {
        let account = |ledger: &Self, address| *ledger.accounts.get(&address).expect("a reservation has two accounts");
        let less = |total: Amount| total.checked_sub(pending.amount).expect("what is reserved is counted as pending");
        let mut payer = account(self, pending.debit);
        payer.debits_pending = less(payer.debits_pending);
        self.accounts.put(pending.debit, payer);
        let mut payee = account(self, pending.credit);
        payee.credits_pending = less(payee.credits_pending);
        self.accounts.put(pending.credit, payee);
        self.pendings.put(key, PendingTransfer { state, ..*pending });
    }

    /// Releases what expired at or before `now`, in the order of (expiry, signer, id), and forgets old ends.
    pub fn expire_pendings(&mut self, now: Timestamp) {
        while let Some((due, _)) = self.pendings_due.first()
            && due.0 <= now
        {
            let due = *due;
            self.pendings_due.remove(&due);
            let key = (due.1, due.2);
            let pending = *self.pendings.get(&key).expect("a due date belongs to a pending transfer");
            if due.0 > pending.expires_at {
                self.pendings.remove(&key);
                continue;
            }
            if pending.state == PendingState::Open {
                self.release(key, &pending, PendingState::Expired);
            }
            self.pendings_due.put((pending.expires_at.plus_secs(REMEMBERED_S), key.0, key.1), true);
        }
    }
}
