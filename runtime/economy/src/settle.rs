//! The first commit of a call: exactly the charge leaves channel or hold, everyone but the contributors is paid, and the
//! provisional receipt enters the log.

use std::collections::BTreeMap;

use agora_channels::claim;
use agora_ledger::{Posting, SystemAccount, split};
use agora_receipts::receipt::LIST_MAX;
use agora_receipts::{Kind, Leg, Receipt, Role, State as ReceiptState};
use agora_types::command::{Measure, SettleCall, SettleHeld};
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, ChannelId, Code, ListingId, Signed};

use crate::apply::Context;
use crate::calls::{CallRecord, OpenCall, common, content, provisional_attribution, settle_legs};
use crate::registry::ListingRecord;
use crate::state::Economy;

/// What a command says of a call, whatever pays it.
struct Said {
    call_id: CallId,
    payer: Address,
    payee: Address,
    host: Address,
    charge: Amount,
    channel: Option<ChannelId>,
    cumulative: Amount,
}

/// What follows from the rules for such a call.
struct Due {
    legs: Vec<Leg>,
    /// The contributors' part of the charge, and how it will be shared.
    part: Amount,
    shares: Vec<(Address, Amount)>,
    has_datanets: bool,
    measure: Option<Measure>,
}

fn escrow() -> Address {
    SystemAccount::Escrow.address()
}

/// The one leg of a service receipt: its seller is paid whole, the data at the end of the chain by the receipts that
/// `parents` names.
pub fn service_legs(charge: Amount, seller: Address) -> Vec<Leg> {
    let leg = Leg { role: Role::Seller, account: seller, amount: charge };
    [leg].into_iter().filter(|leg| !leg.amount.is_zero()).collect()
}

fn postings(legs: &[Leg]) -> Vec<Posting> {
    legs.iter().map(|leg| Posting { debit: escrow(), credit: leg.account, amount: leg.amount }).collect()
}

impl Economy {
    pub(crate) fn settle_call(
        &mut self,
        command: &SettleCall,
        id: ChannelId,
        receipt: &Signed<Receipt>,
        context: &mut Context<'_>,
    ) -> Result<(), Code> {
        let config = &command.config;
        let said = Said {
            call_id: command.call_id,
            payer: config.payer,
            payee: config.receiver,
            host: command.head.signer,
            charge: command.charge,
            channel: Some(id),
            cumulative: command.cumulative,
        };
        if config.receiver_authorizer != said.host {
            return Err(Code::AuthorizerMismatch);
        }
        let due = self.due(&said, receipt, context)?;
        let channel = self.state.channels.channels.get(&id).ok_or(Code::ChannelNotFound)?;
        if channel.total_claimed.checked_add(command.charge) != Some(command.cumulative) {
            return Err(Code::CumulativeMismatch);
        }
        let claimed = claim(channel, command.max_claimable, command.cumulative)?;
        self.says(&said, &due, receipt.payload())?;
        self.state.ledger.post(&postings(&due.legs))?;
        // After this point, nothing can fail.
        self.state.channels.channels.put(id, claimed.channel);
        let record = content(&id, command.charge, &command.receipt);
        self.open(&said, due, record, receipt.payload(), &command.receipt, context);
        Ok(())
    }

    pub(crate) fn settle_held(
        &mut self,
        command: &SettleHeld,
        receipt: &Signed<Receipt>,
        context: &mut Context<'_>,
    ) -> Result<(), Code> {
        let key = (command.payer, command.pending_id);
        let pending = *self.state.ledger.pendings.get(&key).ok_or(Code::PendingNotFound)?;
        let said = Said {
            call_id: command.call_id,
            payer: command.payer,
            payee: pending.credit,
            host: command.head.signer,
            charge: command.charge,
            channel: None,
            cumulative: command.charge,
        };
        let due = self.due(&said, receipt, context)?;
        self.says(&said, &due, receipt.payload())?;
        let postings = postings(&due.legs);
        self.state.ledger.split_pending(key, &said.host, command.charge, escrow(), &postings)?;
        // After this point, nothing can fail.
        context.remember_payment(command.payer, &pending, command.charge);
        let record = content(&command.pending_id, command.charge, &command.receipt);
        self.open(&said, due, record, receipt.payload(), &command.receipt, context);
        Ok(())
    }

    /// What the rules make of the call, when host and key may settle it.
    fn due(&self, said: &Said, receipt: &Signed<Receipt>, context: &Context<'_>) -> Result<Due, Code> {
        if said.call_id == CallId::ZERO {
            return Err(Code::CallIdZero);
        }
        let payload = receipt.payload();
        let due = match payload.kind {
            Kind::Inference => self.due_of_inference(said, payload)?,
            Kind::Service => self.due_of_service(said, payload)?,
            Kind::Training | Kind::Datanet => return Err(Code::ReceiptMismatch),
        };
        self.state.receipt_key(receipt.key(), &said.host, context.now)?;
        Ok(due)
    }

    /// Succeeds when the receipt says what the command does and its legs are what the rules demand.
    fn says(&self, said: &Said, due: &Due, payload: &Receipt) -> Result<(), Code> {
        let says = payload.version == 1
            && payload.network == self.rules.network.chain_id
            && payload.call_id == said.call_id
            && payload.host == said.host
            && payload.payer == said.payer
            && payload.payee == said.payee
            && payload.parents.len() <= LIST_MAX
            && payload.prices.charge(&payload.usage) == Some(said.charge)
            && payload.charge == said.charge
            && payload.channel == said.channel
            && payload.cumulative == said.cumulative
            && payload.attribution == provisional_attribution(due.measure.as_ref())
            && payload.state == ReceiptState::Provisional;
        if !says {
            return Err(Code::ReceiptMismatch);
        }
        if payload.legs != due.legs {
            return Err(Code::SplitMismatch);
        }
        Ok(())
    }

    fn due_of_inference(&self, said: &Said, receipt: &Receipt) -> Result<Due, Code> {
        let id = receipt.listing.ok_or(Code::ReceiptMismatch)?;
        let listing = self.state.listings.get(&id).ok_or(Code::ListingNotFound)?;
        if said.payee != Address::listing(&id) {
            return Err(Code::ReceiverNotListing);
        }
        if !listing.hosts.contains(&said.host) {
            return Err(Code::HostNotListed);
        }
        if !self.names_listing(receipt, id, listing) {
            return Err(Code::ReceiptMismatch);
        }
        let measure = listing.measure.clone();
        // Measured shares are not known yet.
        let mut members = if measure.is_some() { Vec::new() } else { self.state.members_of(listing)? };
        // A newer version may have taken back whom it declared: its part goes to the others, or to the commons.
        members.retain(|(_, datanet)| !datanet.members.is_empty());
        let legs = settle_legs(&self.rules.parameters.split, said.charge, listing.model_owner, said.host);
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
        Ok(Due { legs, part, shares: shares.into_iter().collect(), has_datanets: !members.is_empty(), measure })
    }

    /// True when the receipt tells of the listing's model and data as they stand.
    fn names_listing(&self, receipt: &Receipt, id: ListingId, listing: &ListingRecord) -> bool {
        let datanets_match = receipt.datanets.len() == listing.datanets.len()
            && receipt.datanets.iter().zip(&listing.datanets).all(|(said, share)| {
                self.state.datanets.get(&share.datanet).is_some_and(|known| {
                    said.id == share.datanet && said.root == known.root && said.tree_size == known.tree_size
                })
            });
        receipt.listing == Some(id)
            && receipt.base_hash == Some(listing.base_hash)
            && receipt.adapter_hash == listing.adapter_hash
            && listing.measure.as_ref().is_none_or(|measure| receipt.spec_hash == Some(measure.spec))
            && datanets_match
    }

    /// An agent's work: no model, no data of its own, everything to its account.
    fn due_of_service(&self, said: &Said, receipt: &Receipt) -> Result<Due, Code> {
        let plain = receipt.listing.is_none()
            && receipt.base_hash.is_none()
            && receipt.adapter_hash.is_none()
            && receipt.tokenizer_hash.is_none()
            && receipt.spec_hash.is_none()
            && receipt.datanets.is_empty()
            && receipt.decoding.is_none();
        if !plain {
            return Err(Code::ReceiptMismatch);
        }
        if self.state.is_keyless(&said.payee) {
            return Err(Code::AttributedReceiver);
        }
        let legs = service_legs(said.charge, said.payee);
        Ok(Due { legs, part: Amount::ZERO, shares: Vec::new(), has_datanets: false, measure: None })
    }

    /// Puts the provisional receipt into the log and the call among those that wait for their final one.
    fn open(
        &mut self,
        said: &Said,
        due: Due,
        content: agora_types::Hash,
        receipt: &Receipt,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) {
        let key = (said.payer, said.call_id);
        let (index, leaf) = self.append_receipt(bytes, context);
        debug_assert_eq!(leaf, leaf_hash(bytes), "the leaf is the receipt's");
        let record = CallRecord { index, leaf, content, settled_seq: context.seq, finished: None };
        let deadline = context.now.plus_secs(u64::from(self.rules.parameters.suspense_s));
        let Due { part, shares, has_datanets, measure, .. } = due;
        let method = measure.map(|measure| measure.method);
        let (host, common) = (said.host, common(receipt));
        let call = OpenCall { record, host, contributor_part: part, shares, has_datanets, common, deadline, method };
        self.state.open_calls.put(key, call);
        self.state.open_calls_due.put((deadline, key.0, key.1), true);
        context.remember_call(key, record);
    }
}
