//! A call's money: one commit pays everyone but the contributors, a second one pays them, or time pays the commons.

use std::collections::BTreeMap;

use agora_ledger::{Posting, SystemAccount, split};
use agora_receipts::receipt::{DECLARED_WEIGHTS, LIST_MAX, WHOLE};
use agora_receipts::{Attribution, Leg, Receipt, Role, ShareTotal};
use agora_types::command::{Command, FinalizeCall, Measure};
use agora_types::genesis::Split;
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, Canonical as _, Code, Hash, Signed, Timestamp};
use minicbor::{Decode, Encode};

use crate::apply::{Context, Event};
use crate::state::Economy;
use crate::verified::Verified;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Finished {
    /// The batch in which it ended.
    #[n(0)]
    pub seq: u64,
    /// Index of the final receipt; absent when the deadline passed without one.
    #[n(1)]
    pub index: Option<u64>,
    /// Leaf hash of the final receipt.
    #[n(2)]
    pub leaf: Option<Hash>,
}

/// What is remembered of a call for ever, on disk, keyed by payer and call id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CallRecord {
    /// Index of the provisional receipt.
    #[n(0)]
    pub index: u64,
    /// Its leaf hash.
    #[n(1)]
    pub leaf: Hash,
    /// Hash over channel or hold, charge and receipt: what a repeat must equal.
    #[n(2)]
    pub content: Hash,
    /// The batch in which it was settled.
    #[n(3)]
    pub settled_seq: u64,
    /// How it ended, if it did.
    #[n(4)]
    pub finished: Option<Finished>,
}

impl agora_types::Canonical for CallRecord {
    const TAG: &'static str = "agora/call-record/v1";
    const SIZE_MAX: usize = 256;
}

impl CallRecord {
    /// The record as it stood before batch `seq`: replay may find younger ones on disk.
    pub fn as_of(self, seq: u64) -> Option<Self> {
        let finished = self.finished.filter(|finished| finished.seq < seq);
        (self.settled_seq < seq).then_some(Self { finished, ..self })
    }
}

/// The permanent records of the calls that a batch names, read from disk beforehand.
pub type PriorCalls = BTreeMap<(Address, CallId), CallRecord>;

/// A call that waits for its final receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpenCall {
    /// What the disk remembers too.
    #[n(0)]
    pub record: CallRecord,
    /// Who settled it, and must finalize it.
    #[n(1)]
    pub host: Address,
    /// What waits in suspense.
    #[n(2)]
    pub contributor_part: Amount,
    /// Contributors' weights as they stood at settlement, in shares of the part: account and atoms, in rising order.
    #[n(3)]
    pub shares: Vec<(Address, Amount)>,
    /// False without datanets: everything goes to the commons.
    #[n(4)]
    pub has_datanets: bool,
    /// Hash of everything that the final receipt must repeat.
    #[n(5)]
    pub common: Hash,
    /// Then the part goes to the commons.
    #[n(6)]
    pub deadline: Timestamp,
    /// The method that measures the shares; absent: they are declared.
    #[n(7)]
    pub method: Option<String>,
}

/// The legs of a provisional receipt: the governed split of `charge`, zero legs left out.
pub fn settle_legs(parts: &Split, charge: Amount, model_owner: Address, host: Address) -> Vec<Leg> {
    let weights = [parts.contributors, parts.model_owner, parts.host, parts.validators, parts.platform];
    let to = [
        (Role::Contributors, SystemAccount::Suspense.address()),
        (Role::ModelOwner, model_owner),
        (Role::Host, host),
        (Role::Validators, SystemAccount::Validators.address()),
        (Role::Platform, SystemAccount::Platform.address()),
    ];
    let amounts = split(charge, &weights);
    let legs = to.into_iter().zip(amounts).map(|((role, account), amount)| Leg { role, account, amount });
    legs.filter(|leg| !leg.amount.is_zero()).collect()
}

/// The attribution that a provisional receipt states: the method, nothing else yet.
pub fn provisional_attribution(measure: Option<&Measure>) -> Attribution {
    Attribution {
        method: measure.map_or(DECLARED_WEIGHTS, |measure| measure.method.as_str()).to_owned(),
        verbatim_root: None,
        influence_root: None,
        explained: 0,
        residual: 0,
        totals: Vec::new(),
        sampled: None,
    }
}

/// The attribution of a final receipt by declared weights.
pub fn declared_attribution(call: &OpenCall) -> Attribution {
    let (explained, residual) = if call.has_datanets { (WHOLE, 0) } else { (0, WHOLE) };
    let totals = call.shares.iter().filter(|(_, amount)| !amount.is_zero());
    let totals = totals.map(|(account, amount)| ShareTotal { account: *account, amount: *amount }).collect();
    Attribution { explained, residual, totals, ..provisional_attribution(None) }
}

/// The legs of a final receipt by declared weights.
pub fn final_legs(call: &OpenCall) -> Vec<Leg> {
    let commons = Leg {
        role: Role::Commons,
        account: SystemAccount::Commons.address(),
        amount: if call.has_datanets { Amount::ZERO } else { call.contributor_part },
    };
    let leg =
        |(account, amount): &(Address, Amount)| Leg { role: Role::Contributor, account: *account, amount: *amount };
    let legs = call.shares.iter().map(leg).chain([commons]);
    legs.filter(|leg| !leg.amount.is_zero()).collect()
}

/// The legs of a final receipt by measured shares: what contributors earn, and the unexplained rest. `None` where they earn
/// more than their part.
pub fn measured_legs(call: &OpenCall, earned: Amount) -> Option<Vec<Leg>> {
    let legs = [
        (Role::Commons, SystemAccount::Commons, call.contributor_part.checked_sub(earned)?),
        (Role::Earnings, SystemAccount::Earnings, earned),
    ];
    let leg = |(role, account, amount): (Role, SystemAccount, Amount)| Leg { role, account: account.address(), amount };
    Some(legs.into_iter().map(leg).filter(|leg| !leg.amount.is_zero()).collect())
}

/// What a final receipt pays, when it may say what it says. Measured shares are the host's word, which anyone can check
/// against the evidence behind `influence_root`; the ledger sees that it is whole and pays no more than the part.
fn due_legs(call: &OpenCall, said: &Receipt) -> Option<Vec<Leg>> {
    let attribution = &said.attribution;
    let Some(method) = &call.method else {
        return (*attribution == declared_attribution(call)).then(|| final_legs(call));
    };
    let earned = said.legs.iter().find(|leg| leg.role == Role::Earnings).map_or(Amount::ZERO, |leg| leg.amount);
    let told = Amount::checked_sum(attribution.totals.iter().map(|total| total.amount))?;
    let totals = &attribution.totals;
    let says = attribution.method == *method
        && attribution.explained.checked_add(attribution.residual) == Some(WHOLE)
        && totals.len() <= LIST_MAX
        && totals.windows(2).all(|pair| pair[0].account < pair[1].account)
        && totals.iter().all(|total| !total.amount.is_zero())
        && told <= earned
        && (earned.is_zero() || attribution.influence_root.is_some());
    if says { measured_legs(call, earned) } else { None }
}

/// What provisional and final receipt have in common, as one hash.
pub(crate) fn common(receipt: &Receipt) -> Hash {
    let plain = Receipt {
        state: agora_receipts::State::Provisional,
        legs: Vec::new(),
        attribution: provisional_attribution(None),
        time: Timestamp::ZERO,
        host_seq: 0,
        ..receipt.clone()
    };
    plain.hash()
}

/// What a repeat must equal: who pays from where, how much, with which receipt.
pub(crate) fn content<T: Encode<()>>(source: &T, charge: Amount, receipt: &[u8]) -> Hash {
    Hash::sha256(agora_types::cbor::encode(&("agora/call-content/v1", source, charge, Hash::sha256(receipt))))
}

impl Economy {
    fn call_record(&self, context: &Context<'_>, key: &(Address, CallId)) -> Option<CallRecord> {
        let recent = context.calls.get(key).copied();
        let open = || self.state.open_calls.get(key).map(|call| call.record);
        let prior = || context.prior.get(key).and_then(|record| record.as_of(context.seq));
        recent.or_else(open).or_else(prior)
    }

    /// The answer to a command about a call that was settled or finished before, whatever its head says: calls are
    /// remembered for ever, heads for minutes, and a host that was away must still learn that it was paid.
    pub(crate) fn known_call(&self, verified: &Verified, context: &Context<'_>) -> Option<Result<(), Code>> {
        let record = self.call_record(context, &verified.call()?)?;
        match (&verified.entry().command, record.finished) {
            (Command::SettleCall(command), _) => {
                let content = content(&verified.channels()[0], command.charge, &command.receipt);
                Some(if record.content == content { Ok(()) } else { Err(Code::CallDifferent) })
            }
            (Command::SettleHeld(command), _) => {
                let content = content(&command.pending_id, command.charge, &command.receipt);
                Some(if record.content == content { Ok(()) } else { Err(Code::CallDifferent) })
            }
            (Command::FinalizeCall(command), Some(finished)) => Some(match finished.leaf {
                None => Err(Code::CallTooLate),
                Some(leaf) if leaf == leaf_hash(&command.receipt) => Ok(()),
                Some(_) => Err(Code::CallFinal),
            }),
            (_, _) => None,
        }
    }

    pub(crate) fn finalize_call(
        &mut self,
        command: &FinalizeCall,
        receipt: &Signed<Receipt>,
        context: &mut Context<'_>,
    ) -> Result<(), Code> {
        let key = (command.payer, command.call_id);
        let call = self.state.open_calls.get(&key).ok_or(Code::CallNotFound)?;
        let record = call.record;
        if call.host != command.head.signer {
            return Err(Code::HostNotListed);
        }
        self.state.receipt_key(receipt.key(), &call.host, context.now)?;
        let said = receipt.payload();
        let state = agora_receipts::State::Final { index: record.index, leaf: record.leaf };
        if said.state != state || common(said) != call.common {
            return Err(Code::ReceiptMismatch);
        }
        let legs = due_legs(call, said).filter(|legs| *legs == said.legs).ok_or(Code::SplitMismatch)?;
        let earned = legs.iter().find(|leg| leg.role == Role::Earnings).map_or(Amount::ZERO, |leg| leg.amount);
        let host = call.host;
        let mut distributor = self.state.distributors.get(&host).copied().unwrap_or_default();
        distributor.funded = distributor.funded.checked_add(earned).ok_or(Code::OverflowsDebits)?;
        let debit = SystemAccount::Suspense.address();
        let postings: Vec<Posting> =
            legs.iter().map(|leg| Posting { debit, credit: leg.account, amount: leg.amount }).collect();
        let deadline = call.deadline;
        self.state.ledger.post(&postings)?;
        // After this point, nothing can fail.
        if !earned.is_zero() {
            self.state.distributors.put(host, distributor);
        }
        let (index, leaf) = self.append_receipt(&command.receipt, context);
        let finished = Finished { seq: context.seq, index: Some(index), leaf: Some(leaf) };
        self.close_call(key, deadline, CallRecord { finished: Some(finished), ..record }, context);
        Ok(())
    }

    /// Sends the contributor parts of calls whose deadline has passed to the commons, in the order of their deadlines.
    pub(crate) fn lapse_calls(&mut self, context: &mut Context<'_>) {
        while let Some((due, _)) = self.state.open_calls_due.first()
            && due.0 <= context.now
        {
            let due = *due;
            let key = (due.1, due.2);
            let call = self.state.open_calls.get(&key).expect("a deadline belongs to an open call").clone();
            if !call.contributor_part.is_zero() {
                let (debit, credit) = (SystemAccount::Suspense.address(), SystemAccount::Commons.address());
                let posting = Posting { debit, credit, amount: call.contributor_part };
                self.state.ledger.post(&[posting]).expect("the suspense holds every open call's contributor part");
            }
            let missed = self.state.missed_finals.get(&call.host).copied().unwrap_or(0);
            self.state.missed_finals.put(call.host, missed + 1);
            let finished = Finished { seq: context.seq, index: None, leaf: None };
            self.close_call(key, due.0, CallRecord { finished: Some(finished), ..call.record }, context);
            context.events.push(Event::CallLapsed { payer: key.0, call: key.1, host: call.host });
        }
    }

    fn close_call(
        &mut self,
        key: (Address, CallId),
        deadline: Timestamp,
        record: CallRecord,
        context: &mut Context<'_>,
    ) {
        self.state.open_calls.remove(&key);
        self.state.open_calls_due.remove(&(deadline, key.0, key.1));
        context.remember_call(key, record);
    }

    pub(crate) fn append_receipt(&mut self, bytes: &[u8], context: &mut Context<'_>) -> (u64, Hash) {
        let leaf = leaf_hash(bytes);
        let index = self.state.receipts.push(leaf);
        context.remember_receipt(index, bytes);
        (index, leaf)
    }
}
