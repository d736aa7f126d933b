//! Measured calls after their settlement: evidence, the final receipt that it leads to, and what contributors earn of it.
//!
//! One call is measured at a time, and counted before the next is finalized, so that the earnings always count a whole
//! beginning of this host's final receipts. What a crash leaves:
//!
//! | it ends | on disk | what happens next |
//! |---|---|---|
//! | after the settlement | the sale | its end is repeated and makes the job |
//! | after the job is made | the job | the answer is measured |
//! | after the evidence | job and evidence | the same evidence makes the final receipt; nothing is measured twice |
//! | after a group's evidence | each call's job, the drawn one's evidence, in the others' rows which one that is | each ends by evidence that follows from it |
//! | after the final receipt | job, evidence, ledger | it is the call at hand: its earnings are counted before all else |
//! | after the earnings | evidence, earnings | nothing: the job is gone with the same step |
//! | after the published list | the list | the epoch is published with this very list |
//! | after the publication | list and ledger | nothing |
//!
//! Calls wait in the line of their spec (`queue.rs`). Where the spec measures one call in several, a call waits for its group
//! (`sampling.rs`); that its one answer pays for all of them is written down in one step.
//!
//! A call whose deadline passes first pays the commons; its job goes, its evidence stays and counts nothing.

use agora_attribution::Evidence;
use agora_economy::ports::attribution::Answer;
use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, Write};
use agora_economy::{OpenCall, measured_legs};
use agora_receipts::{Attribution, Receipt, ShareTotal, State};
use agora_types::batch::Entry;
use agora_types::command::{ClaimEarnings, Command, FinalizeCall, PublishEarnings};
use agora_types::merkle::{inclusion_proof, root};
use agora_types::{Address, Amount, CallId, Canonical, Code, Earned, Hash, Signed};
use minicbor::{Decode, Encode};

use super::bill::{commit_surely, first_receipt};
use super::queue::{self, Job, PLACES_MAX, Place, damaged, gone, ids, key, put};
use super::sampling::{self, Round, Waiting};
use super::seller::Seller;
use crate::error::CallError;

const EVIDENCE: u8 = b'e';
const TOTAL: u8 = b't';
const PUBLISHED: u8 = b'p';
const PROGRESS: &[u8] = b"n";
/// The call whose final receipt may be on the ledger before its earnings are counted.
const AT_HAND: &[u8] = b"h";
/// Accounts of one row of a published list.
const LIST_ROW_ACCOUNTS: usize = 16_384;

/// How far the earnings are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Progress {
    /// The receipt log's size up to which this host's final receipts are counted.
    #[n(0)]
    receipts: u64,
    /// Sum of all earnings.
    #[n(1)]
    total: Amount,
}

impl Canonical for Progress {
    const TAG: &'static str = "agora/earnings-progress/v1";
    const SIZE_MAX: usize = 64;
}

/// A row of a published list: accounts in rising order with all that each has earned.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Listed {
    #[n(0)]
    progress: Progress,
    #[n(1)]
    rows: Vec<(Address, Amount)>,
}

impl Canonical for Listed {
    const TAG: &'static str = "agora/earnings-list/v1";
    const SIZE_MAX: usize = 1 << 20;
}

/// What accounts have earned of this host, as the newest epoch on the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The epoch.
    pub epoch: u64,
    /// Accounts in rising order, with all that each has earned.
    pub rows: Vec<(Address, Amount)>,
    /// One for each row.
    leaves: Vec<Hash>,
}

/// What an account has earned of this host, by the newest epoch on the ledger, with what it needs to claim it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The epoch.
    pub epoch: u64,
    /// Since the first call.
    pub cumulative: Amount,
    /// Of that, paid out.
    pub claimed: Amount,
    /// The leaf's index.
    pub index: u64,
    /// Its inclusion proof.
    pub path: Vec<Hash>,
}

/// Measures and finalizes the calls that wait, one after another; how many it ended.
///
/// The lines of specs take turns, so that none waits for another's end: one measured answer each.
///
/// # Errors
/// The first fault or refusal; the call waits for the next round, and keeps no other from being measured.
pub async fn measure_waiting(seller: &Seller) -> Result<usize, CallError> {
    let _one = begin(seller).await?;
    let mut round = Round { ended: usize::from(end_at_hand(seller).await?), failed: None };
    let mut page = queue::places(seller, &[], PLACES_MAX).await?;
    let mut firsts = (page.len() >= PLACES_MAX).then(|| {
        page.clear();
        0..=u8::MAX
    });
    loop {
        round.go(seller, &page).await;
        let Some(first) = firsts.as_mut().and_then(Iterator::next) else { break };
        page = queue::places(seller, &[first], PLACES_MAX).await?;
    }
    round.failed.map_or(Ok(round.ended), Err)
}

/// Measures and finalizes one call, if it waits for that, with those that its answer is measured for; true if it ended.
/// Where its spec measures one call in several, it does so only for the group at the front of the line, once that is full:
/// anything else is left to [`measure_waiting`].
///
/// # Errors
/// The fault or refusal; the call waits for the next round.
pub async fn measure_call(seller: &Seller, payer: Address, call: CallId) -> Result<bool, CallError> {
    let _one = begin(seller).await?;
    let Some(job) = queue::job_of(seller, payer, call).await? else { return Ok(false) };
    let place = queue::place_of(seller, payer, call, &job).await?;
    let Standing::Unmeasured(own) = stand(seller, &place).await? else { return Ok(true) };
    let Some(spec) = sampling::spec(seller, &place.spec) else {
        measure_alone(seller, &own).await?;
        return Ok(true);
    };
    let size = spec.sample_one_in as usize;
    let front = queue::places(seller, place.spec.as_bytes(), size).await?;
    if front.len() < size || !front.contains(&place) {
        return Ok(false);
    }
    sampling::measure_front(seller, &front).await?;
    Ok(!queue::stands(seller, &place).await?)
}

/// From here on, nobody else measures or publishes.
async fn begin(seller: &Seller) -> Result<futures::lock::MutexGuard<'_, ()>, CallError> {
    let one = seller.measuring.lock().await;
    queue::take_over(seller).await?;
    Ok(one)
}

/// What a call waits for.
pub(super) enum Standing {
    /// Nothing more; true if it ended just now.
    Ended(bool),
    /// To be measured.
    Unmeasured(Box<Waiting>),
}

/// What a call waits for; one that waits for its final receipt or its end only gets it.
pub(super) async fn stand(seller: &Seller, place: &Place) -> Result<Standing, CallError> {
    // It may be this very one that a stop, or a fault of this round, left at hand.
    end_at_hand(seller).await?;
    if !queue::stands(seller, place).await? {
        return Ok(Standing::Ended(false));
    }
    let known = evidence(seller, place.payer, place.call).await?;
    let Some(open) = seller.ledger().open_call(place.payer, place.call).await? else {
        end(seller, place, known.as_ref()).await?;
        return Ok(Standing::Ended(true));
    };
    let waiting = Box::new(Waiting { place: *place, open });
    let evidence = match known {
        None => sampling::measured_for(seller, &waiting).await?.map(|evidence| (evidence, true)),
        Some(evidence) => Some((evidence, false)),
    };
    let Some((evidence, new)) = evidence else { return Ok(Standing::Unmeasured(waiting)) };
    conclude(seller, &waiting, &evidence, new).await?;
    Ok(Standing::Ended(true))
}

/// Measures one call for itself.
pub(super) async fn measure_alone(seller: &Seller, one: &Waiting) -> Result<(), CallError> {
    let evidence = attribute(seller, one).await?;
    conclude(seller, one, &evidence, true).await
}

/// The final receipt, then the earnings. Evidence that is `new` is written down first.
pub(super) async fn conclude(seller: &Seller, one: &Waiting, evidence: &Evidence, new: bool) -> Result<(), CallError> {
    let Waiting { place, open } = one;
    let Place { payer, call, .. } = place;
    let mut writes = vec![put(AT_HAND.to_vec(), [payer.as_bytes().as_slice(), call.as_bytes()].concat())];
    if new {
        writes.push(evidence_row(place, evidence));
        writes.push(sampling::forgotten(place));
    }
    seller.parts.journal.commit(writes).await?;
    finalize(seller, *payer, *call, open, evidence).await?;
    end(seller, place, Some(evidence)).await
}

pub(super) async fn attribute(seller: &Seller, one: &Waiting) -> Result<Evidence, CallError> {
    let attributor = seller.parts.attributor.as_deref();
    let attributor = attributor.ok_or_else(|| CallError::new(Code::ListingTerms, "nothing measures here"))?;
    let job = queue::job_of(seller, one.place.payer, one.place.call).await?;
    let Job { spec, request, response } = job.ok_or_else(|| damaged("a call that waits to be measured"))?;
    let answer = Answer { spec, request, response, pool: one.open.contributor_part };
    attributor.attribute(answer).await.map_err(|failure| CallError::new(failure.code, failure.what))
}

/// Ends the call that a stop left between its final receipt and its earnings; true if there was one.
pub(super) async fn end_at_hand(seller: &Seller) -> Result<bool, CallError> {
    let bytes = seller.parts.journal.get(Table::Attribution, AT_HAND.to_vec()).await?;
    let Some(bytes) = bytes else { return Ok(false) };
    let (payer, call) = ids(&bytes)?;
    if seller.ledger().open_call(payer, call).await?.is_some() {
        return Ok(false);
    }
    let job = queue::job_of(seller, payer, call).await?;
    let job = job.ok_or_else(|| damaged("the call at hand does not wait"))?;
    let place = queue::place_of(seller, payer, call, &job).await?;
    let known = evidence(seller, payer, call).await?;
    end(seller, &place, known.as_ref()).await?;
    Ok(true)
}

/// Final by now, or lapsed: the ledger says which. The job goes with the step that counts its earnings.
async fn end(seller: &Seller, place: &Place, known: Option<&Evidence>) -> Result<(), CallError> {
    let mut writes = vec![gone(AT_HAND.to_vec())];
    writes.extend(place.left());
    writes.push(sampling::forgotten(place));
    let record = seller.ledger().call(place.payer, place.call).await?;
    let index = record.and_then(|record| record.finished).and_then(|finished| finished.index);
    if let Some((index, evidence)) = index.zip(known) {
        writes.extend(count(seller, index, evidence).await?);
    }
    Ok(seller.parts.journal.commit(writes).await?)
}

/// The final receipt, which sets aside what the evidence pays.
async fn finalize(
    seller: &Seller,
    payer: Address,
    call: CallId,
    open: &OpenCall,
    evidence: &Evidence,
) -> Result<(), CallError> {
    let bytes = first_receipt(seller, payer, call).await?;
    let first = bytes.and_then(|bytes| Signed::<Receipt>::from_bytes(&bytes).ok());
    let first = first.ok_or_else(|| damaged("the provisional receipt is not in the log"))?;
    let refuse = |what: &str| CallError::new(Code::AttributionMismatch, what);
    if evidence.pool != open.contributor_part || first.payload().spec_hash != Some(evidence.summary.spec) {
        return Err(refuse("the evidence is of another call or spec"));
    }
    let legs = measured_legs(open, evidence.paid).ok_or_else(|| refuse("the evidence pays more than there is"))?;
    let total = |paid: agora_attribution::Paid| ShareTotal { account: paid.account, amount: paid.amount };
    let attribution = Attribution {
        verbatim_root: (!evidence.spans.is_empty()).then(|| evidence.verbatim_root()),
        influence_root: Some(evidence.influence_root()),
        explained: evidence.summary.explained,
        residual: evidence.summary.residual,
        totals: evidence.totals().into_iter().map(total).collect(),
        sampled: evidence.sampled(),
        ..first.payload().attribution.clone()
    };
    let last = Receipt {
        time: seller.now(),
        attribution,
        legs,
        state: State::Final { index: open.record.index, leaf: open.record.leaf },
        ..first.payload().clone()
    };
    let receipt = Signed::sign(last, &seller.parts.receipt_key).to_bytes();
    let command = FinalizeCall { head: seller.head(), payer, call_id: call, receipt };
    let entry = Entry::sign(&seller.network(), Command::FinalizeCall(command), &seller.parts.account);
    match commit_surely(seller, &entry).await {
        Err(error) if matches!(error.code, Code::CallFinal | Code::CallTooLate | Code::CallNotFound) => Ok(()),
        other => other,
    }
}

/// The writes that add a final receipt's payouts to the earnings.
async fn count(seller: &Seller, index: u64, evidence: &Evidence) -> Result<Vec<Write>, CallError> {
    let mut progress = progress(seller).await?;
    let overflow = || damaged("earnings above what can exist");
    let mut writes = Vec::with_capacity(evidence.payouts.len() + 1);
    for paid in &evidence.payouts {
        let place = [&[TOTAL], paid.account.as_bytes().as_slice()].concat();
        let before = seller.parts.journal.get(Table::Attribution, place.clone()).await?;
        let before = before.map_or(Ok(Amount::ZERO), |bytes| amount(&bytes))?;
        let sum = before.checked_add(paid.amount).ok_or_else(overflow)?;
        progress.total = progress.total.checked_add(paid.amount).ok_or_else(overflow)?;
        writes.push(put(place, agora_types::cbor::encode(&sum)));
    }
    progress.receipts = progress.receipts.max(index + 1);
    writes.push(put(PROGRESS.to_vec(), progress.to_bytes()));
    Ok(writes)
}

fn amount(bytes: &[u8]) -> Result<Amount, CallError> {
    agora_types::cbor::decode("an amount of earnings", 64, bytes).map_err(|error| damaged(&error.to_string()))
}

async fn progress(seller: &Seller) -> Result<Progress, CallError> {
    let bytes = seller.parts.journal.get(Table::Attribution, PROGRESS.to_vec()).await?;
    let read = bytes.map(|bytes| Progress::from_bytes(&bytes)).transpose();
    Ok(read.map_err(|error| damaged(&error.to_string()))?.unwrap_or_default())
}

/// The evidence of a call that this host measured.
///
/// # Errors
/// `store.damaged`, and the journal's faults.
pub async fn evidence(seller: &Seller, payer: Address, call: CallId) -> Result<Option<Evidence>, CallError> {
    let bytes = seller.parts.journal.get(Table::Attribution, key(EVIDENCE, &payer, &call)).await?;
    bytes.map(|bytes| Evidence::from_bytes(&bytes)).transpose().map_err(|error| damaged(&error.to_string()))
}

/// What writes down the evidence of a call.
pub(super) fn evidence_row(place: &Place, evidence: &Evidence) -> Write {
    put(key(EVIDENCE, &place.payer, &place.call), evidence.to_bytes())
}

/// Publishes what contributors have earned since the last epoch; `None` when there is nothing new.
///
/// # Errors
/// The ledger's refusals and faults: call it again.
pub async fn publish_earnings(seller: &Seller) -> Result<Option<u64>, CallError> {
    let _one = begin(seller).await?;
    end_at_hand(seller).await?;
    let known = seller.ledger().distributor(seller.account()).await?.unwrap_or_default();
    let epoch = known.epoch + 1;
    let progress = progress(seller).await?;
    // A list that was written down and perhaps published is published as it is; then the next epoch may follow.
    let (progress, rows) = match list(seller, epoch).await? {
        Some(list) => list,
        None if progress.total <= known.published => return Ok(None),
        None => {
            let rows = totals(seller).await?;
            write_list(seller, epoch, progress, &rows).await?;
            (progress, rows)
        }
    };
    let leaves: Vec<Hash> = leaves(seller.account(), &rows);
    let command = PublishEarnings {
        head: seller.head(),
        epoch,
        root: root(&leaves),
        count: leaves.len() as u64,
        total: progress.total,
        receipts: progress.receipts,
    };
    let entry = Entry::sign(&seller.network(), Command::PublishEarnings(command), &seller.parts.account);
    commit_surely(seller, &entry).await?;
    forget_lists(seller, epoch).await?;
    Ok(Some(epoch))
}

fn leaves(host: Address, rows: &[(Address, Amount)]) -> Vec<Hash> {
    let leaf =
        |(account, cumulative): &(Address, Amount)| Earned { host, account: *account, cumulative: *cumulative }.leaf();
    rows.iter().map(leaf).collect()
}

/// All earnings, in rising order of account.
async fn totals(seller: &Seller) -> Result<Vec<(Address, Amount)>, CallError> {
    let mut rows = Vec::new();
    // By the account's first byte, so that no answer is cut short before there are millions of accounts.
    for first in 0..=u8::MAX {
        let found = seller.parts.journal.list(Table::Attribution, vec![TOTAL, first], READ_ROWS_MAX).await?;
        if found.len() == READ_ROWS_MAX {
            return Err(CallError::new(Code::StoreTooLarge, "more accounts have earned than one epoch can list"));
        }
        for (key, bytes) in found {
            let account = Address::from_slice(&key[1..]).ok_or_else(|| damaged("an account of earnings"))?;
            rows.push((account, amount(&bytes)?));
        }
    }
    Ok(rows)
}

fn list_key(epoch: u64, number: u32) -> Vec<u8> {
    [&[PUBLISHED], epoch.to_be_bytes().as_slice(), &number.to_be_bytes()].concat()
}

async fn write_list(
    seller: &Seller,
    epoch: u64,
    progress: Progress,
    rows: &[(Address, Amount)],
) -> Result<(), CallError> {
    // The first row goes last: a list without it was never finished.
    let chunks: Vec<(u32, &[(Address, Amount)])> = (0..).zip(rows.chunks(LIST_ROW_ACCOUNTS)).collect();
    for (number, rows) in chunks.into_iter().rev() {
        let listed = Listed { progress, rows: rows.to_vec() };
        seller.parts.journal.commit(vec![put(list_key(epoch, number), listed.to_bytes())]).await?;
    }
    Ok(())
}

/// An epoch's list, if it was written whole.
async fn list(seller: &Seller, epoch: u64) -> Result<Option<(Progress, Vec<(Address, Amount)>)>, CallError> {
    let (mut progress, mut all) = (None, Vec::new());
    for number in 0u32.. {
        let bytes = seller.parts.journal.get(Table::Attribution, list_key(epoch, number)).await?;
        let Some(bytes) = bytes else { break };
        let listed = Listed::from_bytes(&bytes).map_err(|error| damaged(&error.to_string()))?;
        // What a crash left of an earlier attempt at the same epoch was of another state.
        if *progress.get_or_insert(listed.progress) != listed.progress {
            break;
        }
        all.extend(listed.rows);
    }
    Ok(progress.map(|progress| (progress, all)))
}

/// Lists before this epoch prove nothing any more.
async fn forget_lists(seller: &Seller, epoch: u64) -> Result<(), CallError> {
    let rows = seller.parts.journal.list(Table::Attribution, vec![PUBLISHED], READ_ROWS_MAX).await?;
    let old = rows.into_iter().filter(|(key, _)| key.get(1..9).is_some_and(|at| at < epoch.to_be_bytes().as_slice()));
    for (key, _) in old {
        seller.parts.journal.commit(vec![gone(key)]).await?;
    }
    Ok(())
}

/// What accounts have earned by the newest published epoch.
///
/// # Errors
/// `earnings.not_found` before the first epoch; `store.damaged` for a list that is not the ledger's; faults.
pub async fn published(seller: &Seller) -> Result<Published, CallError> {
    let host = seller.account();
    let known = seller.ledger().distributor(host).await?.filter(|known| known.epoch > 0);
    let known = known.ok_or_else(|| CallError::new(Code::EarningsNotFound, "nothing was published yet"))?;
    let list = list(seller, known.epoch).await?;
    let (_, rows) = list.ok_or_else(|| damaged("the published list of earnings is gone"))?;
    let leaves = leaves(host, &rows);
    if Some(root(&leaves)) != known.root {
        return Err(damaged("the published list of earnings is not the one on the ledger"));
    }
    Ok(Published { epoch: known.epoch, rows, leaves })
}

/// What an account has earned by the newest published epoch, with the proof to claim it.
///
/// # Errors
/// As [`published`]; `earnings.not_found` for an account without earnings.
pub async fn earned(seller: &Seller, account: Address) -> Result<Proven, CallError> {
    let Published { epoch, rows, leaves } = published(seller).await?;
    let at = rows.binary_search_by_key(&account, |(account, _)| *account);
    let at = at.map_err(|_| CallError::new(Code::EarningsNotFound, account.to_string()))?;
    let claimed = seller.ledger().claimed(seller.account(), account).await?;
    let index = at as u64;
    let path = inclusion_proof(&leaves, index).ok_or_else(|| damaged("a leaf of the earnings"))?;
    Ok(Proven { epoch, cumulative: rows[at].1, claimed, index, path })
}

/// Pays an account what the newest epoch says, signed by the host; what was paid now, with the proof that did it.
///
/// # Errors
/// As [`earned`]; `earnings.claimed` if nothing is due; the ledger's refusals.
pub async fn claim_earnings(seller: &Seller, account: Address) -> Result<(Amount, Proven), CallError> {
    let proof = earned(seller, account).await?;
    let due = proof.cumulative.checked_sub(proof.claimed).filter(|due| !due.is_zero());
    let due = due.ok_or_else(|| CallError::new(Code::EarningsClaimed, account.to_string()))?;
    let Proven { epoch, cumulative, index, ref path, .. } = proof;
    let (host, head) = (seller.account(), seller.head());
    let command = ClaimEarnings { head, host, epoch, account, cumulative, index, path: path.clone() };
    let entry = Entry::sign(&seller.network(), Command::ClaimEarnings(command), &seller.parts.account);
    commit_surely(seller, &entry).await?;
    Ok((due, proof))
}
