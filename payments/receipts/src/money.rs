//! Where the money went, recounted by the reader: the governed split, and the final receipt against the provisional.

use agora_types::genesis::{BASIS_POINTS, Split};
use agora_types::{Address, Amount, Code};

use crate::receipt::{Kind, Leg, Receipt, Role, ShareTotal};
use crate::verify::{Checks, Part, one_log};

/// The five parts of a charge, in the order of [`Split`]'s fields: rounded down, what is left one atom each to the
/// largest remainders, ties to the earlier part. Written apart from the ledger's own split, as a second opinion.
///
/// `None` for a split that is not whole.
pub fn governed_parts(charge: Amount, split: &Split) -> Option<[Amount; 5]> {
    if !split.is_whole() {
        return None;
    }
    let weights = [split.contributors, split.model_owner, split.host, split.validators, split.platform].map(u128::from);
    let whole = u128::from(BASIS_POINTS);
    let (quotient, rest) = (charge.atoms() / whole, charge.atoms() % whole);
    let mut parts = weights.map(|weight| quotient * weight + rest * weight / whole);
    let mut left = charge.atoms() - parts.iter().sum::<u128>();
    let mut order = [0, 1, 2, 3, 4];
    // Stable: ties stay in order.
    order.sort_by_key(|at: &usize| std::cmp::Reverse(rest * weights[*at] % whole));
    for at in order {
        let one = left.min(1);
        parts[at] += one;
        left -= one;
    }
    Some(parts.map(Amount::from_atoms))
}

/// The legs of a provisional receipt are the governed split, to the accounts that the rules name. The model owner's
/// account stands in the listing, which the file does not carry.
pub(crate) fn check_split(checks: &mut Checks, receipt: &Receipt, split: &Split) {
    if receipt.kind != Kind::Inference || receipt.listing.is_none() {
        return;
    }
    let owner = receipt.legs.iter().find(|leg| leg.role == Role::ModelOwner).map_or(Address::ZERO, |leg| leg.account);
    let to = [
        (Role::Contributors, Address::system("suspense")),
        (Role::ModelOwner, owner),
        (Role::Host, receipt.host),
        (Role::Validators, Address::system("validators")),
        (Role::Platform, Address::system("platform")),
    ];
    let parts = governed_parts(receipt.charge, split).unwrap_or_default();
    let legs = to.into_iter().zip(parts).map(|((role, account), amount)| Leg { role, account, amount });
    let governed = legs.filter(|leg| !leg.amount.is_zero()).eq(receipt.legs.iter().copied());
    let good = "the legs are the governed split of the charge, recomputed from the pinned basis points";
    checks.holds("provisional.split", Code::SplitMismatch, governed, good, "the legs are not the governed split");
}

/// The final receipt refers to the provisional, repeats it, and pays exactly its contributor part.
pub(crate) fn check_pair(checks: &mut Checks, provisional: &Part, last: &Part) {
    let (first, second) = (provisional.receipt.payload(), last.receipt.payload());
    let state = crate::receipt::State::Final { index: provisional.index, leaf: provisional.leaf };
    let refers = second.state == state && last.index > provisional.index;
    let good = "the final receipt refers to this provisional one by index and leaf hash";
    let bad = "the final receipt refers to another provisional one";
    checks.holds("final.refers", Code::ReceiptMismatch, refers, good, bad);
    let good = "the final receipt repeats the provisional one's call, parties, model, tokens and charge";
    let bad = "the final receipt tells of another call than the provisional one";
    checks.holds("final.repeats", Code::ReceiptMismatch, repeats(first, second), good, bad);
    let good = "the final legs pay exactly the part that was held for contributors";
    let bad = "the final legs are not the part that was held for contributors";
    checks.holds("final.pays", Code::SplitMismatch, pays(first, second), good, bad);
    let bad = "the two checkpoints give one size two roots: the operator's log forked, keep this file as evidence";
    checks.holds("log", Code::ReceiptProof, one_log(provisional, last), "the two checkpoints do not contradict", bad);
}

/// All but time, host's count, legs, shares and state is the same in both receipts of a call.
fn repeats(first: &Receipt, second: &Receipt) -> bool {
    let plain = Receipt {
        state: first.state,
        legs: first.legs.clone(),
        attribution: first.attribution.clone(),
        time: first.time,
        host_seq: first.host_seq,
        ..second.clone()
    };
    plain == *first && second.attribution.method == first.attribution.method
}

fn pays(first: &Receipt, second: &Receipt) -> bool {
    let held = first.legs.iter().filter(|leg| leg.role == Role::Contributors).map(|leg| leg.amount);
    let paid = Amount::checked_sum(second.legs.iter().map(|leg| leg.amount));
    let (commons, earnings) = (Address::system("commons"), Address::system("earnings"));
    paid.is_some()
        && paid == Amount::checked_sum(held)
        && tells(second)
        && second.legs.iter().all(|leg| leg.role != Role::Commons || leg.account == commons)
        && second.legs.iter().all(|leg| leg.role != Role::Earnings || leg.account == earnings)
}

/// True when the totals are the legs of declared contributors, or no more than what measured ones earn.
fn tells(last: &Receipt) -> bool {
    let totals = last.attribution.totals.iter().copied();
    let of = |role: Role| last.legs.iter().filter(move |leg| leg.role == role);
    if last.attribution.is_declared() {
        let legs = of(Role::Contributor).map(|leg| ShareTotal { account: leg.account, amount: leg.amount });
        return of(Role::Earnings).next().is_none() && legs.eq(totals);
    }
    let told = Amount::checked_sum(totals.map(|total| total.amount));
    let earned = Amount::checked_sum(of(Role::Earnings).map(|leg| leg.amount));
    of(Role::Contributor).next().is_none() && told.is_some() && told <= earned
}
