//! Which calls one measured answer pays, where a spec measures one call in several.
//!
//! Calls are taken in the order of their provisional receipts. A group is whole when it has as many as the spec says; an
//! unfinished one is measured as it is when its oldest call has waited [`WAIT_S`], or a tenth of the time that the ledger
//! gives: where few call, there is time to measure. The lines of specs take turns, so that none waits for another's end.
//!
//! One answer's evidence can be hundreds of kilobytes, so that of the drawn one is written down once; the others' rows name
//! it (`m` ‖ payer ‖ call, with payer ‖ call of the drawn one) until each has its own. A drawn answer that cannot be measured
//! is left out, and another is drawn from the rest: no request keeps the answers beside it from being paid for.

use agora_attribution::{AttributionSpec, Evidence, Sample, Sampled};
use agora_economy::OpenCall;
use agora_economy::ports::state::{Table, Write};
use agora_types::{CallId, Code, Hash};

use super::measure::{Standing, attribute, conclude, end_at_hand, evidence, evidence_row, measure_alone, stand};
use super::queue::{PLACES_MAX, Place, damaged, gone, ids, key, put};
use super::seller::Seller;
use crate::error::CallError;

/// So long a call waits for others, at most.
const WAIT_S: u64 = 60;
/// A row that names the call whose evidence pays for another one.
const MEASURED_BY: u8 = b'm';

/// A call that waits to be measured.
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) open: OpenCall,
}

/// What a round did so far.
#[derive(Default)]
pub(super) struct Round {
    pub(super) ended: usize,
    pub(super) failed: Option<CallError>,
}

/// A line, as far as a round has not come yet.
struct Line<'a> {
    /// Where one call in several is measured.
    spec: Option<AttributionSpec>,
    rest: std::slice::Iter<'a, Place>,
    /// Calls at its front that are not measured, fewer than a group.
    group: Vec<Waiting>,
    /// False where more may stand behind its end.
    is_whole: bool,
}

/// The spec, if it measures one call in several.
pub(super) fn spec(seller: &Seller, spec: &Hash) -> Option<AttributionSpec> {
    seller.parts.attributor.as_ref()?.spec(spec).filter(|spec| spec.sample_one_in > 1)
}

/// Measures the group at the front of a line, which is given, if it is full.
///
/// # Errors
/// The first fault or refusal.
pub(super) async fn measure_front(seller: &Seller, front: &[Place]) -> Result<(), CallError> {
    let Some(first) = front.first() else { return Ok(()) };
    let mut round = Round::default();
    let mut line = Line { spec: spec(seller, &first.spec), rest: front.iter(), group: Vec::new(), is_whole: false };
    while line.turn(seller, &mut round).await {}
    round.failed.map_or(Ok(()), Err)
}

impl Round {
    /// Goes through a page of lines.
    pub(super) async fn go(&mut self, seller: &Seller, page: &[Place]) {
        let lines = page.chunk_by(|one, next| one.spec == next.spec);
        let mut lines: Vec<Line<'_>> = lines
            .map(|line| Line {
                spec: spec(seller, &line[0].spec),
                rest: line.iter(),
                group: Vec::new(),
                is_whole: page.len() < PLACES_MAX || line.last() != page.last(),
            })
            .collect();
        while !lines.is_empty() {
            let mut left = Vec::with_capacity(lines.len());
            for mut line in lines {
                if line.turn(seller, self).await {
                    left.push(line);
                }
            }
            lines = left;
        }
    }

    /// One that cannot be measured does not keep the others from their money.
    fn note(&mut self, call: CallId, done: Result<usize, CallError>) {
        match done {
            Ok(ended) => self.ended += ended,
            Err(error) => {
                tracing::warn!(%call, %error, "a call is not attributed yet");
                self.failed.get_or_insert(error);
            }
        }
    }
}

impl Line<'_> {
    /// Goes on until an answer was measured; false when the line is at its end.
    async fn turn(&mut self, seller: &Seller, round: &mut Round) -> bool {
        for place in self.rest.by_ref() {
            match stand(seller, place).await {
                Err(error) => round.note(place.call, Err(error)),
                Ok(Standing::Ended(now)) => round.ended += usize::from(now),
                Ok(Standing::Unmeasured(one)) => match &self.spec {
                    None => {
                        round.note(place.call, measure_alone(seller, &one).await.map(|()| 1));
                        return true;
                    }
                    Some(_) => self.group.push(*one),
                },
            }
            if let Some(spec) = &self.spec
                && self.group.len() == spec.sample_one_in as usize
            {
                let group = std::mem::take(&mut self.group);
                measure_group(seller, spec, group, round).await;
                return true;
            }
        }
        if let Some(spec) = &self.spec
            && self.is_whole
            && has_waited(seller, &self.group)
        {
            measure_group(seller, spec, std::mem::take(&mut self.group), round).await;
        }
        false
    }
}

/// Measures one call of a group for all of them.
async fn measure_group(seller: &Seller, spec: &AttributionSpec, mut group: Vec<Waiting>, round: &mut Round) {
    while !group.is_empty() {
        let Some((drawn, sample)) = draw(&group, round) else { return };
        let call = group[drawn].place.call;
        let measured = match attribute(seller, &group[drawn]).await {
            Ok(measured) => measured,
            Err(error) => {
                let passes = matches!(error.code, Code::EngineBusy | Code::EngineStopped);
                round.note(call, Err(error));
                if passes {
                    return;
                }
                group.remove(drawn);
                continue;
            }
        };
        let done = pay_group(seller, spec, &group, drawn, sample.as_ref(), &measured).await;
        return round.note(call, done);
    }
}

/// Which call of the group is measured, and the group as its evidence states it.
fn draw(group: &[Waiting], round: &mut Round) -> Option<(usize, Option<Sample>)> {
    match sample(group) {
        Ok(sample) => {
            let index = sample.as_ref().map(|sample| sample.drawn().index);
            let drawn = group.iter().position(|one| Some(one.open.record.index) == index);
            Some((drawn.unwrap_or(0), sample))
        }
        Err(code) => {
            round.note(group[0].place.call, Err(together(code)));
            None
        }
    }
}

/// Writes down which answer pays for all, then ends each call; how many ended.
async fn pay_group(
    seller: &Seller,
    spec: &AttributionSpec,
    group: &[Waiting],
    drawn: usize,
    sample: Option<&Sample>,
    measured: &Evidence,
) -> Result<usize, CallError> {
    let of = |one: &Waiting| match sample {
        None => Ok(measured.clone()),
        Some(sample) => measured.for_call(spec, sample, one.open.record.index).map_err(together),
    };
    end_at_hand(seller).await?;
    let source = &group[drawn].place;
    let first = of(&group[drawn])?;
    let mut writes = vec![evidence_row(source, &first)];
    writes.extend(group.iter().filter(|one| one.place != *source).map(|one| measured_by(&one.place, source)));
    seller.parts.journal.commit(writes).await?;
    for one in group {
        let (own, new) = if one.place == *source { (first.clone(), false) } else { (of(one)?, true) };
        conclude(seller, one, &own, new).await?;
    }
    Ok(group.len())
}

/// The evidence of a call for which another one of its group was measured before a stop.
pub(super) async fn measured_for(seller: &Seller, one: &Waiting) -> Result<Option<Evidence>, CallError> {
    let Place { payer, call, .. } = one.place;
    let row = seller.parts.journal.get(Table::Attribution, key(MEASURED_BY, &payer, &call)).await?;
    let Some(row) = row else { return Ok(None) };
    let (payer, call) = ids(&row)?;
    let missing = || damaged("the evidence of a group is not there");
    let source = evidence(seller, payer, call).await?.ok_or_else(missing)?;
    let sample = source.sample.as_ref().ok_or_else(missing)?;
    let spec = spec(seller, &one.place.spec);
    let spec =
        spec.ok_or_else(|| CallError::new(Code::AttributionInput, "the spec of a measured group is not here"))?;
    source.for_call(&spec, sample, one.open.record.index).map(Some).map_err(together)
}

fn measured_by(place: &Place, source: &Place) -> Write {
    let ids = [source.payer.as_bytes().as_slice(), source.call.as_bytes()].concat();
    put(key(MEASURED_BY, &place.payer, &place.call), ids)
}

/// What takes away the row of a call that has its own evidence, or ends without.
pub(super) fn forgotten(place: &Place) -> Write {
    gone(key(MEASURED_BY, &place.payer, &place.call))
}

fn together(code: Code) -> CallError {
    CallError::new(code, "calls that are measured together")
}

/// True when an unfinished group, in the order of its receipts, waits no longer.
fn has_waited(seller: &Seller, group: &[Waiting]) -> bool {
    // Receipts rise with time, so the first has waited longest.
    let Some(first) = group.first() else { return false };
    let suspense_s = u64::from(seller.ledger().parameters().suspense_s);
    let settled = first.open.deadline.minus_secs(suspense_s);
    seller.now() >= settled.plus_secs(WAIT_S.min(suspense_s / 10))
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
