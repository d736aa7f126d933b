//! A call's money: one commit pays everyone but the contributors, a second one pays them, or time pays the commons.

use std::collections::BTreeMap;

use agora_channels::claim;
use agora_ledger::{Posting, SystemAccount, split};
use agora_receipts::receipt::DECLARED_WEIGHTS;
use agora_receipts::{Attribution, Kind, Leg, Receipt, Role, ShareTotal};
use agora_types::command::{Command, FinalizeCall, SettleCall};
use agora_types::genesis::Split;
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, Canonical as _, ChannelId, Code, Hash, ListingId, Signed, Timestamp};
use minicbor::{Decode, Encode};

use crate::apply::{Context, Event};
use crate::registry::ListingRecord;
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
    /// Hash over channel, charge and receipt: what a repeat must equal.
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
fn provisional_attribution() -> Attribution {
    Attribution {
        method: DECLARED_WEIGHTS.to_owned(),
        verbatim_root: None,
        influence_root: None,
        explained: 0,
        residual: 0,
        totals: Vec::new(),
    }
}

/// The attribution by declared weights: in a final receipt (`call` given) with its totals, else the method alone.
pub fn declared_attribution(call: Option<&OpenCall>) -> Attribution {
    let Some(call) = call else { return provisional_attribution() };
    let whole = agora_receipts::receipt::WHOLE;
    let (explained, residual) = if call.has_datanets { (whole, 0) } else { (0, whole) };
    let totals = call.shares.iter().filter(|(_, amount)| !amount.is_zero());
    let totals = totals.map(|(account, amount)| ShareTotal { account: *account, amount: *amount }).collect();
    Attribution { explained, residual, totals, ..provisional_attribution() }
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

/// What provisional and final receipt have in common, as one hash.
fn common(receipt: &Receipt) -> Hash {
    let plain = Receipt {
        state: agora_receipts::State::Provisional,
        legs: Vec::new(),
        attribution: provisional_attribution(),
        time: Timestamp::ZERO,
        host_seq: 0,
        ..receipt.clone()
    };
    plain.hash()
}

fn content(channel: &ChannelId, charge: Amount, receipt: &[u8]) -> Hash {
    Hash::sha256(agora_types::cbor::encode(&("agora/call-content/v1", channel, charge, Hash::sha256(receipt))))
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
            (Command::FinalizeCall(command), Some(finished)) => Some(match finished.leaf {
                None => Err(Code::CallTooLate),
                Some(leaf) if leaf == leaf_hash(&command.receipt) => Ok(()),
                Some(_) => Err(Code::CallFinal),
            }),
            (_, _) => None,
        }
    }

    pub(crate) fn settle_call(
        &mut self,
        command: &SettleCall,
        id: ChannelId,
        receipt: &Signed<Receipt>,
        context: &mut Context<'_>,
    ) -> Result<(), Code> {
        if command.call_id == CallId::ZERO {
            return Err(Code::CallIdZero);
        }
        let key = (command.config.payer, command.call_id);
        let content = content(&id, command.charge, &command.receipt);
        let host = command.head.signer;
        let listing_id = receipt.payload().listing.ok_or(Code::ReceiptMismatch)?;
        let listing = self.state.listings.get(&listing_id).ok_or(Code::ListingNotFound)?;
        if command.config.receiver != Address::listing(&listing_id) {
            return Err(Code::ReceiverNotListing);
        }
        if command.config.receiver_authorizer != host {
            return Err(Code::AuthorizerMismatch);
        }
        if !listing.hosts.contains(&host) {
            return Err(Code::HostNotListed);
        }
        self.state.receipt_key(receipt.key(), &host, context.now)?;
        let channel = self.state.channels.channels.get(&id).ok_or(Code::ChannelNotFound)?;
        if channel.total_claimed.checked_add(command.charge) != Some(command.cumulative) {
            return Err(Code::CumulativeMismatch);
        }
        let claimed = claim(channel, command.max_claimable, command.cumulative)?;
        let members = self.state.members_of(listing)?;
        self.check_provisional(command, id, listing_id, listing, receipt.payload())?;
        let legs = settle_legs(&self.rules.parameters.split, command.charge, listing.model_owner, host);
        if receipt.payload().legs != legs {
            return Err(Code::SplitMismatch);
        }
        let part = legs.iter().find(|leg| leg.role == Role::Contributors).map_or(Amount::ZERO, |leg| leg.amount);
        let weights: Vec<u32> = members.iter().map(|(share, _)| share.weight).collect();
        let mut shares: BTreeMap<Address, Amount> = BTreeMap::new();
        if !members.is_empty() {
            for ((_, datanet), amount) in members.iter().zip(split(part, &weights)) {
                let weights: Vec<u32> = datanet.members.iter().map(|member| member.weight).collect();
                for (member, amount) in datanet.members.iter().zip(split(amount, &weights)) {
                    let sum = shares.entry(member.account).or_default();
                    *sum = sum.checked_add(amount).ok_or(Code::OverflowsDebits)?;
                }
            }
        }
        let has_datanets = !members.is_empty();
        let escrow = SystemAccount::Escrow.address();
        let postings: Vec<Posting> =
            legs.iter().map(|leg| Posting { debit: escrow, credit: leg.account, amount: leg.amount }).collect();
        self.state.ledger.post(&postings)?;
        // After this point, nothing can fail.
        self.state.channels.channels.put(id, claimed.channel);
        let (index, leaf) = self.append_receipt(&command.receipt, context);
        let record = CallRecord { index, leaf, content, settled_seq: context.seq, finished: None };
        let deadline = context.now.plus_secs(u64::from(self.rules.parameters.suspense_s));
        let shares = shares.into_iter().collect();
        let common = common(receipt.payload());
        let call = OpenCall { record, host, contributor_part: part, shares, has_datanets, common, deadline };
        self.state.open_calls.put(key, call);
        self.state.open_calls_due.put((deadline, key.0, key.1), true);
        context.remember_call(key, record);
        Ok(())
    }

    /// Succeeds when the provisional receipt says exactly what the command does.
    fn check_provisional(
        &self,
        command: &SettleCall,
        id: ChannelId,
        listing_id: ListingId,
        listing: &ListingRecord,
        receipt: &Receipt,
    ) -> Result<(), Code> {
        let datanets_match = receipt.datanets.len() == listing.datanets.len()
            && receipt.datanets.iter().zip(&listing.datanets).all(|(said, share)| {
                self.state.datanets.get(&share.datanet).is_some_and(|known| {
                    said.id == share.datanet && said.root == known.root && said.tree_size == known.tree_size
                })
            });
        let says = receipt.version == 1
            && receipt.kind == Kind::Inference
            && receipt.network == self.rules.network.chain_id
            && receipt.call_id == command.call_id
            && receipt.host == command.head.signer
            && receipt.payer == command.config.payer
            && receipt.payee == Address::listing(&listing_id)
            && receipt.parents.len() <= agora_receipts::receipt::LIST_MAX
            && receipt.base_hash == Some(listing.base_hash)
            && receipt.adapter_hash == listing.adapter_hash
            && datanets_match
            && receipt.prices.charge(&receipt.usage) == Some(command.charge)
            && receipt.charge == command.charge
            && receipt.channel == Some(id)
            && receipt.cumulative == command.cumulative
            && receipt.attribution == provisional_attribution()
            && receipt.state == agora_receipts::State::Provisional;
        if says { Ok(()) } else { Err(Code::ReceiptMismatch) }
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
        let legs = final_legs(call);
        if said.attribution != declared_attribution(Some(call)) || said.legs != legs {
            return Err(Code::SplitMismatch);
        }
        let debit = SystemAccount::Suspense.address();
        let postings: Vec<Posting> =
            legs.iter().map(|leg| Posting { debit, credit: leg.account, amount: leg.amount }).collect();
        let deadline = call.deadline;
        self.state.ledger.post(&postings)?;
        // After this point, nothing can fail.
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

    fn append_receipt(&mut self, bytes: &[u8], context: &mut Context<'_>) -> (u64, Hash) {
        let leaf = leaf_hash(bytes);
        let index = self.state.receipts.push(leaf);
        context.remember_receipt(index, bytes);
        (index, leaf)
    }
}
