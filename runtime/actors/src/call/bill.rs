//! The two receipts of a call, and the two commands that put them on the ledger.

use agora_economy::ports::ledger::{ListingTerms, Payment};
use agora_economy::{OpenCall, PendingState, declared_attribution, final_legs, provisional_attribution, settle_legs};
use agora_receipts::receipt::commit;
use agora_receipts::{Kind, Receipt, State};
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::command::{Command, FinalizeCall, Hold, SettleCall, SettleHeld, VoidTransfer};
use agora_types::{Address, CallId, Code, Hash, Signed};

use super::sale::{Phase, Sale};
use super::seller::Seller;
use crate::error::CallError;

/// How often a commit whose fate is unknown is repeated before the sale is left for later.
const ATTEMPTS: usize = 3;
/// A single payment is held so long for its call: longer than any answer takes, and the sale of a host that crashed is
/// settled before.
const HOLD_S: u32 = 900;

/// Commits one entry; repeats it while nobody knows whether it happened.
pub(super) async fn commit_surely(seller: &Seller, entry: &Entry) -> Result<(), CallError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match seller.ledger().commit_one(entry.clone()).await {
            Ok(()) => return Ok(()),
            Err(failure) => {
                let error = CallError::from(failure);
                if !error.is_fault() {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.unwrap_or_else(|| CallError::new(Code::StoreFailed, "the ledger")))
}

/// The provisional receipt of a settled call, as it stands in the log.
pub(super) async fn first_receipt(seller: &Seller, payer: Address, call: CallId) -> Result<Option<Vec<u8>>, CallError> {
    let Some(record) = seller.ledger().call(payer, call).await? else { return Ok(None) };
    Ok(seller.ledger().receipt(record.index).await?)
}

/// The attribution spec that a receipt names.
pub(super) fn spec(receipt: &[u8]) -> Option<Hash> {
    Signed::<Receipt>::from_bytes(receipt).ok()?.payload().spec_hash
}

/// Signs the provisional receipt, unless one is signed already, and settles the call with it.
pub(super) async fn settle(seller: &Seller, sale: &mut Sale) -> Result<Vec<u8>, CallError> {
    let receipt = match &sale.record.phase {
        Phase::Closed { receipt, .. } => return Ok(receipt.clone()),
        Phase::Signed(receipt) => receipt.clone(),
        Phase::Streaming => sign(seller, sale).await?,
    };
    match commit_settlement(seller, sale, &receipt).await {
        Ok(()) => Ok(receipt),
        // Listing or datanet changed between signing and settling: no receipt of this call is in the log, so a new one
        // may say what is true now.
        Err(error) if matches!(error.code, Code::ReceiptMismatch | Code::SplitMismatch) => {
            let receipt = sign(seller, sale).await?;
            commit_settlement(seller, sale, &receipt).await?;
            Ok(receipt)
        }
        Err(error) => Err(error),
    }
}

/// Commits the settlement; a hold that ran out in the meantime is made again in the same step, while the payer's
/// authorization still allows it.
async fn commit_settlement(seller: &Seller, sale: &Sale, receipt: &[u8]) -> Result<(), CallError> {
    let entry = settle_entry(seller, sale, receipt.to_vec())?;
    match (commit_surely(seller, &entry).await, &sale.record.single) {
        (Err(error), Some(single)) if matches!(error.code, Code::PendingExpired | Code::PendingNotFound) => {
            let group = vec![hold_entry(seller, single).linked(), settle_entry(seller, sale, receipt.to_vec())?];
            let answers = seller.ledger().commit(group).await?;
            match answers.into_iter().find_map(|answer| answer.err().filter(|code| *code != Code::LinkedFailed)) {
                None => Ok(()),
                Some(code) => Err(CallError::new(code, "the payment's hold ran out, and cannot be made again")),
            }
        }
        (other, _) => other,
    }
}

/// Reserves a single payment for a call. A crash between this and the sale's row leaves the hold to time, or to the same
/// call: what this host holds already and nobody was served for is held for it. The caller has the payment's turn.
pub(super) async fn hold(seller: &Seller, single: &Single) -> Result<(), CallError> {
    let Err(error) = commit_surely(seller, &hold_entry(seller, single)).await else { return Ok(()) };
    if error.code != Code::NonceUsed {
        return Err(error);
    }
    let (payer, nonce) = (single.authorization.payer(), single.authorization.key());
    let own = match seller.ledger().payment(payer, nonce).await? {
        Some(Payment::Held(held)) => {
            held.state == PendingState::Open
                && held.settler == seller.account()
                && held.digest == single.authorization.digest(&seller.network())
        }
        Some(Payment::Posted(_)) | None => false,
    };
    if own { Ok(()) } else { Err(error) }
}

fn hold_entry(seller: &Seller, single: &Single) -> Entry {
    let Single { authorization, signature } = single.clone();
    let hold = Hold { head: seller.head(), authorization, signature, timeout_s: HOLD_S };
    Entry::sign(&seller.network(), Command::Hold(Box::new(hold)), &seller.parts.account)
}

/// Gives a held payment back. One that is gone already needs nothing.
pub(super) async fn release(seller: &Seller, single: &Single) -> Result<(), CallError> {
    let (pending_signer, pending_id) =
        (single.authorization.payer(), single.authorization.pending_id(&seller.network()));
    let void = VoidTransfer { head: seller.head(), pending_signer, pending_id };
    let entry = Entry::sign(&seller.network(), Command::VoidTransfer(void), &seller.parts.account);
    match commit_surely(seller, &entry).await {
        Err(error) if matches!(error.code, Code::PendingVoided | Code::PendingExpired | Code::PendingNotFound) => {
            Ok(())
        }
        other => other,
    }
}

async fn sign(seller: &Seller, sale: &mut Sale) -> Result<Vec<u8>, CallError> {
    let listing = sale.record.quote.listing;
    let terms = seller.ledger().listing(listing).await?;
    let terms = terms.ok_or_else(|| CallError::new(Code::ListingNotFound, listing.to_string()))?;
    let signer = &seller.parts.receipt_key;
    sale.sign(seller, |sale, number| Signed::sign(provisional(seller, sale, &terms, number), signer).to_bytes()).await
}

fn provisional(seller: &Seller, sale: &Sale, terms: &ListingTerms, host_seq: u64) -> Receipt {
    let (record, usage) = (&sale.record, sale.usage());
    let quote = &record.quote;
    let charge = quote.prices.charge(&usage).expect("each chunk was within what was authorised");
    let split = &seller.ledger().parameters().split;
    Receipt {
        version: 1,
        kind: Kind::Inference,
        network: quote.network,
        call_id: sale.call,
        host: seller.account(),
        host_seq,
        time: seller.now(),
        payer: sale.payer,
        payee: record.config.receiver,
        listing: Some(quote.listing),
        parents: Vec::new(),
        base_hash: Some(terms.record.base_hash),
        adapter_hash: terms.record.adapter_hash,
        tokenizer_hash: Some(seller.engine().base().tokenizer_hash),
        spec_hash: terms.record.measure.as_ref().map(|measure| measure.spec),
        datanets: terms.datanets.clone(),
        request_commit: quote.request_commit,
        response_commit: commit(&record.salt, &sale.response()),
        decoding: Some(record.decoding),
        usage,
        prices: quote.prices,
        charge,
        channel: record.single.is_none().then(|| sale.channel_id(seller)),
        cumulative: sale.spent_at(&usage),
        attribution: provisional_attribution(terms.record.measure.as_ref()),
        legs: settle_legs(split, charge, terms.record.model_owner, seller.account()),
        state: State::Provisional,
    }
}

fn settle_entry(seller: &Seller, sale: &Sale, receipt: Vec<u8>) -> Result<Entry, CallError> {
    let record = &sale.record;
    let signed = Signed::<Receipt>::from_bytes(&receipt);
    let said = signed.map_err(|error| CallError::new(Code::ReceiptInvalid, error.to_string()))?;
    if let Some(single) = &record.single {
        let command = SettleHeld {
            head: seller.head(),
            payer: sale.payer,
            pending_id: single.authorization.pending_id(&seller.network()),
            call_id: sale.call,
            charge: said.payload().charge,
            receipt,
        };
        return Ok(Entry::sign(&seller.network(), Command::SettleHeld(command), &seller.parts.account));
    }
    let command = SettleCall {
        head: seller.head(),
        call_id: sale.call,
        config: record.config.clone(),
        max_claimable: record.voucher.max_claimable,
        voucher_signature: record.voucher.signature,
        charge: said.payload().charge,
        cumulative: said.payload().cumulative,
        receipt,
    };
    Ok(Entry::sign(&seller.network(), Command::SettleCall(Box::new(command)), &seller.parts.account))
}

/// Appends the final receipt by declared weights. A call that has ended one way or another is left as it is.
pub(super) async fn finalize(seller: &Seller, sale: &Sale, open: Option<OpenCall>) -> Result<(), CallError> {
    let Some(call) = open else { return Ok(()) };
    let bytes = seller.ledger().receipt(call.record.index).await?;
    let first = bytes.and_then(|bytes| Signed::<Receipt>::from_bytes(&bytes).ok());
    let first = first.ok_or_else(|| CallError::new(Code::StoreDamaged, "the provisional receipt is not in the log"))?;
    let last = Receipt {
        time: seller.now(),
        attribution: declared_attribution(&call),
        legs: final_legs(&call),
        state: State::Final { index: call.record.index, leaf: call.record.leaf },
        ..first.payload().clone()
    };
    let receipt = Signed::sign(last, &seller.parts.receipt_key).to_bytes();
    let command = FinalizeCall { head: seller.head(), payer: sale.payer, call_id: sale.call, receipt };
    let entry = Entry::sign(&seller.network(), Command::FinalizeCall(command), &seller.parts.account);
    match commit_surely(seller, &entry).await {
        // Somebody was faster, or the deadline was: the call has its end.
        Err(error) if matches!(error.code, Code::CallFinal | Code::CallTooLate | Code::CallNotFound) => Ok(()),
        other => other,
    }
}
