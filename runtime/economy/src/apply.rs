//! One batch, applied: time first, then each entry or chain of entries, all of it or nothing.

use std::collections::BTreeMap;

use agora_ledger::{Authorized, PendingTransfer, Posting, Remembered, Repeat, SystemAccount};
use agora_types::batch::Outcome;
use agora_types::command::{Command, Head};
use agora_types::{Address, Amount, CallId, Canonical as _, Code, CommandId, Timestamp};

use crate::calls::{CallRecord, PriorCalls};
use crate::hold::PaymentRecord;
use crate::ports::log::{Index, Record, call_key, payment_key};
use crate::state::Economy;
use crate::verified::Verified;

/// Most linked entries in one chain.
const CHAIN_MAX: usize = 16;
/// Batches between checks of the invariants, which take time linear in the state …
const CHECK_INTERVAL: u64 = 1_024;
/// … and how few rows are looked at after every batch. All tables count: a payment that is remembered makes no account.
const CHECK_ALWAYS: usize = 1_024;

/// What happened beside the outcomes; for views, never for rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A receipt entered the log.
    ReceiptAppended {
        /// Its index.
        index: u64,
    },
    /// A call's deadline passed without a final receipt: its contributor part went to the commons.
    CallLapsed {
        /// Who paid.
        payer: Address,
        /// Which call.
        call: CallId,
        /// Who served, and should have finalized.
        host: Address,
    },
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// One for each entry, in order.
    pub outcomes: Vec<Outcome>,
    /// What must become durable together with the batch.
    pub records: Vec<Record>,
    /// For views.
    pub events: Vec<Event>,
}

/// What the entries of one batch share.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) seq: u64,
    pub(crate) now: Timestamp,
    pub(crate) prior: &'a PriorCalls,
    /// Calls that this batch has touched.
    pub(crate) calls: BTreeMap<(Address, CallId), CallRecord>,
    records: Vec<Record>,
    pub(crate) events: Vec<Event>,
}

impl Context<'_> {
    pub(crate) fn remember_call(&mut self, key: (Address, CallId), record: CallRecord) {
        self.calls.insert(key, record);
        self.records.push(Record { index: Index::Call, key: call_key(&key.0, &key.1), value: record.to_bytes() });
    }

    /// Keeps for ever that a held single payment was posted.
    pub(crate) fn remember_payment(&mut self, payer: Address, pending: &PendingTransfer, amount: Amount) {
        let Some(Authorized { nonce, digest }) = pending.authorized else { return };
        let PendingTransfer { credit: payee, settler, .. } = *pending;
        let record = PaymentRecord { payee, amount, settler, seq: self.seq, digest };
        let key = payment_key(&payer, &nonce);
        self.records.push(Record { index: Index::Payment, key, value: record.to_bytes() });
    }

    pub(crate) fn remember_receipt(&mut self, index: u64, bytes: &[u8]) {
        self.records.push(Record { index: Index::Receipt, key: index.to_be_bytes().to_vec(), value: bytes.to_vec() });
        self.events.push(Event::ReceiptAppended { index });
    }
}

/// A refusal, and whether its id is spent by it.
enum Refused {
    /// The id itself is wrong or known: nothing to remember.
    ById(Code),
    /// The rules say no.
    ByRules(Code),
}

impl Economy {
    /// Applies one batch. Pure and total: a refusal is an outcome with a stable code, never a panic.
    ///
    /// `now` must be later than that of the batch before (the sequencer's business). `prior` holds the permanent
    /// records of every call that [`Verified::call`] names for these entries, where the disk has one.
    pub fn apply(&mut self, seq: u64, now: Timestamp, entries: &[Verified], prior: &PriorCalls) -> Applied {
        let mut context = Context { seq, now, prior, calls: BTreeMap::new(), records: Vec::new(), events: Vec::new() };
        self.state.ledger.forget_ids(now);
        self.state.channels.forget_nonces(now);
        self.state.ledger.expire_pendings(now);
        self.lapse_calls(&mut context);
        self.state.settle();
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while !rest.is_empty() {
            let linked = rest.iter().take_while(|entry| entry.entry().linked).count();
            let length = rest.len().min(linked + 1);
            let (chain, after) = rest.split_at(length);
            let open = linked == length;
            outcomes.extend(self.chain(chain, open, &mut context).into_iter().map(|result| match result {
                Ok(()) => Outcome::OK,
                Err(code) => Outcome::refused(code),
            }));
            self.state.settle();
            rest = after;
        }
        if seq.is_multiple_of(CHECK_INTERVAL) || self.state.rows() <= CHECK_ALWAYS {
            assert_eq!(self.broken_invariant(), None, "an invariant of the ledger must hold after batch {seq}");
        }
        Applied { outcomes, records: context.records, events: context.events }
    }

    /// One entry, or a chain that succeeds or fails together.
    fn chain(&mut self, chain: &[Verified], open: bool, context: &mut Context<'_>) -> Vec<Result<(), Code>> {
        let gas: Vec<Result<(), Code>> = chain.iter().map(|entry| self.charge_gas(entry)).collect();
        self.state.settle();
        if open || chain.len() > CHAIN_MAX {
            let code = if open { Code::LinkedOpen } else { Code::ChainTooLong };
            return vec![Err(code); chain.len()];
        }
        let mark = self.state.mark();
        let (records, events) = (context.records.len(), context.events.len());
        // A single entry changes nothing before it can no longer fail.
        let calls = (chain.len() > 1).then(|| context.calls.clone());
        for (at, entry) in chain.iter().enumerate() {
            let result = gas[at].map_err(Refused::ById).and_then(|()| self.one(entry, context));
            let Err(refused) = result else { continue };
            self.state.roll_back(&mark);
            context.records.truncate(records);
            context.events.truncate(events);
            if let Some(calls) = calls {
                context.calls = calls;
            }
            let code = match refused {
                Refused::ById(code) => code,
                Refused::ByRules(code) => {
                    // A failed chain does not spend its ids: its commands may come again, one by one.
                    if let ([_], Some(head)) = (chain, entry.entry().command.head()) {
                        self.remember(head, entry, true);
                    }
                    code
                }
            };
            let mut results = vec![Err(Code::LinkedFailed); chain.len()];
            results[at] = Err(code);
            return results;
        }
        vec![Ok(()); chain.len()]
    }

    fn one(&mut self, verified: &Verified, context: &mut Context<'_>) -> Result<(), Refused> {
        if let Some(answer) = self.known_call(verified, context) {
            return answer.map_err(Refused::ById);
        }
        let command = &verified.entry().command;
        if let Some(head) = command.head() {
            match self.check_head(head, verified, context.now).map_err(Refused::ById)? {
                Repeat::Done => return Ok(()),
                Repeat::New => {}
            }
        }
        self.execute(verified, context).map_err(Refused::ByRules)?;
        if let Some(head) = command.head() {
            self.remember(head, verified, false);
        }
        Ok(())
    }

    fn check_head(&self, head: &Head, verified: &Verified, now: Timestamp) -> Result<Repeat, Code> {
        if head.id == CommandId::ZERO {
            return Err(Code::IdZero);
        }
        let repeat = self.state.ledger.repeat(head.signer, head.id, verified.digest())?;
        if repeat == Repeat::New {
            if head.expires_at <= now {
                return Err(Code::CommandExpired);
            }
            if head.expires_at > now.plus_secs(u64::from(self.rules.parameters.command_window_s)) {
                return Err(Code::ExpiresTooLate);
            }
        }
        Ok(repeat)
    }

    fn remember(&mut self, head: &Head, verified: &Verified, refused: bool) {
        let command = Remembered { digest: *verified.digest(), refused };
        self.state.ledger.remember(head.signer, head.id, head.expires_at, command);
    }

    fn execute(&mut self, verified: &Verified, context: &mut Context<'_>) -> Result<(), Code> {
        let now = context.now;
        match &verified.entry().command {
            Command::Transfer(command) => {
                if self.state.listing_accounts.get(&command.credit).is_some() {
                    return Err(Code::SystemAccount);
                }
                if command.receipt.is_some_and(|index| index >= self.state.receipts.size()) {
                    return Err(Code::ReceiptNotFound);
                }
                self.state.ledger.transfer(command, now)
            }
            Command::PostTransfer(command) => self.post_transfer(command, context),
            Command::VoidTransfer(command) => self.state.ledger.void_pending(command),
            Command::RegisterKey(command) => self.state.register_key(command, now),
            Command::RevokeKey(command) => self.state.revoke_key(command),
            Command::Deposit(command) => self.deposit(command, verified.channels()[0], verified.digest(), now),
            Command::Claim(command) => self.claim(command, verified.channels()),
            Command::Settle(command) => self.settle(command),
            Command::Refund(command) => self.refund(command, verified.channels()[0], verified.digest()),
            Command::WithdrawStart(command) => self.withdraw_start(command, now),
            Command::WithdrawFinish(command) => self.withdraw_finish(command, now),
            Command::RegisterListing(command) => self.state.register_listing(command),
            Command::RegisterDatanet(command) => self.state.register_datanet(command),
            Command::SettleCall(command) => {
                self.settle_call(command, verified.channels()[0], verified.receipt(), context)
            }
            Command::FinalizeCall(command) => self.finalize_call(command, verified.receipt(), context),
            Command::ReleaseVested(command) => self.state.ledger.release_vested(command, now),
            Command::Hold(command) => self.hold(command, now),
            Command::SettleHeld(command) => self.settle_held(command, verified.receipt(), context),
            Command::CommitData(command) => self.state.commit_data(command, now),
            Command::PublishEarnings(command) => self.state.publish_earnings(command),
            Command::ClaimEarnings(command) => self.state.claim_earnings(command),
        }
    }

    /// What an entry's gas costs, and who pays.
    pub(crate) fn gas(&self, verified: &Verified) -> Option<(Address, Amount)> {
        let parameters = &self.rules.parameters;
        let units = parameters.gas_table[usize::from(verified.entry().command.kind())];
        let price = parameters.gas_price.checked_mul(u128::from(units))?;
        let submitter = verified.entry().submitter.as_ref();
        if submitter.is_some_and(|submitter| submitter.gas_max < price) {
            return None;
        }
        Some((submitter.map_or(self.rules.operator, |submitter| submitter.account), price))
    }

    /// Gas is paid whether the command succeeds or not: a log full of refusals is not free.
    fn charge_gas(&mut self, verified: &Verified) -> Result<(), Code> {
        let (debit, amount) = self.gas(verified).ok_or(Code::GasUnpaid)?;
        if amount.is_zero() {
            return Ok(());
        }
        let posting = Posting { debit, credit: SystemAccount::Gas.address(), amount };
        self.state.ledger.post(&[posting]).map_err(|_| Code::GasUnpaid)
    }

    /// The first invariant that does not hold, in words; `None` when all is well. Takes time linear in the state.
    pub fn broken_invariant(&self) -> Option<&'static str> {
        if !self.state.is_whole() {
            return Some("tables that name each other's rows agree");
        }
        let sum = |amounts: &mut dyn Iterator<Item = Amount>| Amount::checked_sum(amounts);
        let accounts = || self.state.ledger.accounts.iter();
        let balance = |account: SystemAccount| {
            self.state.ledger.accounts.get(&account.address()).map_or(Amount::ZERO, |account| account.balance())
        };
        let posted =
            sum(&mut accounts().map(|(_, a)| a.debits_posted)) == sum(&mut accounts().map(|(_, a)| a.credits_posted));
        let pending =
            sum(&mut accounts().map(|(_, a)| a.debits_pending)) == sum(&mut accounts().map(|(_, a)| a.credits_pending));
        let reserved = sum(&mut self
            .state
            .ledger
            .pendings
            .iter()
            .filter(|(_, pending)| pending.state == agora_ledger::PendingState::Open)
            .map(|(_, pending)| pending.amount));
        let covered = accounts().all(|(address, account)| {
            *address == SystemAccount::Issuance.address()
                || account
                    .debits_posted
                    .checked_add(account.debits_pending)
                    .is_some_and(|debits| debits <= account.credits_posted)
        });
        let escrow = sum(&mut self.state.channels.channels.iter().map(|(_, channel)| channel.unclaimed()));
        let unsettled = sum(&mut self.state.channels.unsettled.iter().map(|(_, amount)| *amount));
        let suspense = sum(&mut self.state.open_calls.iter().map(|(_, call)| call.contributor_part));
        let unvested =
            sum(&mut self.state.ledger.grants.iter().map(|(_, grant)| grant.amount.saturating_sub(grant.released)));
        let earnings = sum(&mut self.state.distributors.iter().map(|(_, distributor)| distributor.held()));
        let rules = [
            (earnings == Some(balance(SystemAccount::Earnings)), "the earnings account holds what is not claimed"),
            (posted, "posted debits equal posted credits"),
            (pending, "pending debits equal pending credits"),
            (reserved == sum(&mut accounts().map(|(_, a)| a.debits_pending)), "open pendings equal pending debits"),
            (covered, "no account is overdrawn"),
            (self.state.ledger.supply() <= agora_types::CAP, "the supply is within the cap"),
            (escrow == Some(balance(SystemAccount::Escrow)), "the escrow holds what channels have unclaimed"),
            (unsettled == Some(balance(SystemAccount::Unsettled)), "unsettled claims are held"),
            (suspense == Some(balance(SystemAccount::Suspense)), "the suspense holds the open contributor parts"),
            (unvested == Some(balance(SystemAccount::Vesting)), "the vesting account holds what has not vested"),
        ];
        rules.iter().find(|(holds, _)| !holds).map(|(_, text)| *text)
    }
}
