//! Which calls one measured answer pays, where a spec measures one call in several.
//!
//! Calls are taken in the order of their provisional receipts. A group is whole when it has as many as the spec says; an
//! unfinished one is measured as it is when its oldest call has waited [`WAIT_S`], or a tenth of the time that the ledger
//! gives: where few call, there is time to measure.

use agora_attribution::{AttributionSpec, Sample, Sampled};
use agora_economy::OpenCall;
use agora_types::{Address, CallId, Code};

use super::seller::Seller;

/// So long a call waits for others, at most.
const WAIT_S: u64 = 60;

/// A call that waits to be measured.
pub(super) struct Waiting {
    pub(super) payer: Address,
    pub(super) call: CallId,
    pub(super) open: OpenCall,
}

/// The calls that `own` is measured with, itself among them, out of those that wait; `None` while it waits for others.
pub(super) fn group(
    seller: &Seller,
    spec: &AttributionSpec,
    mut waiting: Vec<Waiting>,
    own: (Address, CallId),
) -> Option<Vec<Waiting>> {
    let size = spec.sample_one_in as usize;
    waiting.sort_unstable_by_key(|one| one.open.record.index);
    let own = waiting.iter().position(|one| (one.payer, one.call) == own)?;
    let mut group = waiting.split_off(own / size * size);
    group.truncate(size);
    let suspense_s = u64::from(seller.ledger().parameters().suspense_s);
    // Receipts rise with time, so the first has waited longest.
    let settled = group.first()?.open.deadline.minus_secs(suspense_s);
    let waited = seller.now() >= settled.plus_secs(WAIT_S.min(suspense_s / 10));
    (group.len() == size || waited).then_some(group)
}

/// The group as the evidence states it; `None` for a call alone.
pub(super) fn sample(group: &[Waiting]) -> Result<Option<Sample>, Code> {
    if group.len() < 2 {
        return Ok(None);
    }
    let call = |one: &Waiting| {
        let record = &one.open.record;
        Sampled { index: record.index, leaf: record.leaf, pool: one.open.contributor_part }
    };
    Sample::new(group.iter().map(call).collect()).map(Some)
}
