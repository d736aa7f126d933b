//! The course of a training: which examples are held out, and which batch of which makes each step.
//!
//! All of it follows from settings and examples, so that a process that goes on knows what the one before it would have
//! done.

use std::collections::BTreeMap;
use std::ops::Range;

use agora_types::{Hash, HashStream};

use crate::examples::Example;
use crate::random::{Purpose, stream};
use crate::{Settings, TrainError};

/// Most steps of a training.
const STEPS_MAX: usize = 1 << 22;

/// The course of a training.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    settings: &'a Settings,
    examples: &'a [Example],
    /// Examples that are learnt from, by their places.
    learnt: Vec<u32>,
    /// Batches of examples that are held out.
    pub(crate) held_out: Vec<Vec<&'a Example>>,
    /// Of each epoch: the step that it begins with; behind them the number of all steps.
    first: Vec<u32>,
    /// The ids in the order in which they are learnt from, over all epochs.
    pub(crate) order_hash: Hash,
}

/// Tokens of prompts and responses, and of responses alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) all: u64,
    pub(crate) judged: u64,
}

/// One time through the examples.
#[derive(Debug)]
pub(crate) struct Epoch {
    order: Vec<u32>,
    batches: Vec<Range<usize>>,
}

impl<'a> Course<'a> {
    /// Of settings and examples that were checked.
    pub(crate) fn new(settings: &'a Settings, examples: &'a [Example]) -> Result<Self, TrainError> {
        let (learnt, held_out) = split(settings, examples);
        let held_out = pack(settings, examples, &held_out)
            .into_iter()
            .map(|range| held_out[range].iter().map(|at| &examples[*at as usize]).collect());
        let held_out = held_out.collect();
        let mut course = Self { settings, examples, learnt, held_out, first: vec![0], order_hash: Hash::ZERO };
        let (mut steps, mut order) = (0_usize, Hash::stream());
        order.piece("agora/factory-order/v1");
        for at in 0..settings.epochs {
            let epoch = course.epoch(at);
            course.write_order(&epoch, &mut order);
            steps += epoch.batches.len().div_ceil(settings.accumulation as usize);
            if steps > STEPS_MAX {
                let bounds =
                    format!("they would take more than {STEPS_MAX} steps; fewer epochs or larger batches help");
                return Err(TrainError::Count { found: examples.len(), bounds });
            }
            course.first.push(u32::try_from(steps).expect("at most 2^22"));
        }
        course.order_hash = order.finish();
        Ok(course)
    }

    /// Steps in all.
    pub(crate) fn steps(&self) -> u32 {
        *self.first.last().expect("there is an epoch")
    }

    /// How many examples are learnt from, and how many are held out.
    pub(crate) fn examples(&self) -> (u64, u64) {
        (self.learnt.len() as u64, self.held_out.iter().map(Vec::len).sum::<usize>() as u64)
    }

    /// Tokens of all steps before this one.
    pub(crate) fn tokens_before(&self, step: u32) -> Tokens {
        let at = self.epoch_of(step);
        let whole = self.count(&self.learnt);
        let epoch = self.epoch(at);
        let batches = (step - self.first[at as usize]) as usize * self.settings.accumulation as usize;
        let end = match batches.checked_sub(1) {
            Some(last) => epoch.batches[last.min(epoch.batches.len() - 1)].end,
            None => 0,
        };
        let part = self.count(&epoch.order[..end]);
        let sum = |whole: u64, part: u64| u64::from(at) * whole + part;
        Tokens { all: sum(whole.all, part.all), judged: sum(whole.judged, part.judged) }
    }

    fn count(&self, places: &[u32]) -> Tokens {
        let examples = || places.iter().map(|at| &self.examples[*at as usize]);
        let judged = examples().map(|example| example.response.len() as u64).sum();
        Tokens { all: examples().map(|example| example.tokens() as u64).sum(), judged }
    }

    /// The epoch of a step; the last one behind all steps.
    pub(crate) fn epoch_of(&self, step: u32) -> u32 {
        let epoch = self.first.partition_point(|first| *first <= step) - 1;
        u32::try_from(epoch).expect("at most 1,000 epochs").min(self.settings.epochs - 1)
    }

    /// Whether the loss of the examples that are held out is measured before this step: before the first, and after every
    /// epoch.
    pub(crate) fn measures(&self, step: u32) -> bool {
        !self.held_out.is_empty() && self.first.binary_search(&step).is_ok()
    }

    /// The order and batches of an epoch.
    pub(crate) fn epoch(&self, at: u32) -> Epoch {
        let mut order = self.learnt.clone();
        stream(self.settings.seed, Purpose::Order(at)).shuffle(&mut order);
        let batches = pack(self.settings, self.examples, &order);
        Epoch { order, batches }
    }

    /// The batches of a step of an epoch.
    pub(crate) fn batches(&self, step: u32, (at, epoch): (u32, &Epoch)) -> Vec<Vec<&'a Example>> {
        let step = (step - self.first[at as usize]) as usize;
        let batches =
            epoch.batches.chunks(self.settings.accumulation as usize).nth(step).expect("a step of this epoch");
        let examples =
            |range: &Range<usize>| epoch.order[range.clone()].iter().map(|at| &self.examples[*at as usize]).collect();
        batches.iter().map(examples).collect()
    }

    fn write_order(&self, epoch: &Epoch, order: &mut HashStream) {
        for at in &epoch.order {
            order.update(self.examples[*at as usize].id.as_bytes());
        }
    }
}

/// The places of the examples that a training with these settings learns from, rising; the others are held out. Whoever
/// credits examples for what an adapter says leaves out those that never taught it.
pub fn learnt(settings: &Settings, examples: &[Example]) -> Vec<u32> {
    split(settings, examples).0
}

/// The places of examples that are learnt from and of those that are held out, rising. Those of one id stay together, so
/// that no contribution is measured on what it taught.
#[allow(clippy::cast_precision_loss, reason = "there are at most 2^20")]
fn split(settings: &Settings, examples: &[Example]) -> (Vec<u32>, Vec<u32>) {
    let mut groups: BTreeMap<Hash, Vec<u32>> = BTreeMap::new();
    for (at, example) in examples.iter().enumerate() {
        groups.entry(example.id).or_default().push(u32::try_from(at).expect("at most 2^20 examples"));
    }
    let mut groups: Vec<Vec<u32>> = groups.into_values().collect();
    stream(settings.seed, Purpose::HeldOut).shuffle(&mut groups);
    let wanted = settings.held_out_share * examples.len() as f64;
    let (mut learnt, mut held_out) = (Vec::new(), Vec::new());
    for group in groups {
        // The first is learnt from in any case. Half a group too many is as near as half a group too few.
        match !learnt.is_empty() && held_out.len() as f64 + group.len() as f64 / 2.0 <= wanted {
            true => held_out.extend(group),
            false => learnt.extend(group),
        }
    }
    learnt.sort_unstable();
    held_out.sort_unstable();
    (learnt, held_out)
}

/// Neighbours together as long as they fit the batch.
fn pack(settings: &Settings, examples: &[Example], order: &[u32]) -> Vec<Range<usize>> {
    let (mut batches, mut begun, mut filled) = (Vec::new(), 0, 0);
    for (at, place) in order.iter().enumerate() {
        let tokens = examples[*place as usize].tokens();
        if filled + tokens > settings.batch_tokens as usize {
            batches.push(begun..at);
            (begun, filled) = (at, 0);
        }
        filled += tokens;
    }
    batches.extend((begun < order.len()).then_some(begun..order.len()));
    batches
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use agora_types::Hash;

    use super::Course;
    use crate::{Example, Settings};

    /// Contributions of one to three examples of different lengths.
    fn examples(count: u32) -> Vec<Example> {
        let one = |at: u32| Example {
            id: Hash::sha256((at / 2).to_be_bytes()),
            prompt: vec![at; 1 + at as usize % 7],
            response: vec![at; 1 + at as usize % 5],
        };
        (0..count).map(one).collect()
    }

    fn settings() -> Settings {
        Settings { epochs: 3, batch_tokens: 30, accumulation: 2, held_out_share: 0.2, seed: 5, ..Settings::default() }
    }

    #[test]
    fn every_epoch_reads_each_learnt_example_once_in_an_order_of_its_own() {
        let (examples, settings) = (examples(100), settings());
        let course = Course::new(&settings, &examples).unwrap();
        let mut orders = BTreeSet::new();
        let mut tokens = 0;
        for at in 0..3 {
            let epoch = course.epoch(at);
            let mut order = Vec::new();
            for step in course.first[at as usize]..course.first[at as usize + 1] {
                assert_eq!(course.epoch_of(step), at);
                assert_eq!(course.tokens_before(step).all, tokens);
                let batches = course.batches(step, (at, &epoch));
                assert!((1..=2).contains(&batches.len()));
                for batch in batches {
                    let size: usize = batch.iter().map(|example| example.tokens()).sum();
                    assert!((1..=30).contains(&size));
                    tokens += size as u64;
                    order.extend(batch.iter().map(|example| example.prompt[0]));
                }
            }
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, course.learnt);
            orders.insert(order);
        }
        assert_eq!(orders.len(), 3);
        assert_eq!(course.tokens_before(course.steps()).all, tokens);
        assert_eq!(course.epoch_of(course.steps()), 2);
    }

    #[test]
    fn contributions_are_held_out_whole_and_by_the_seed() {
        let (examples, settings) = (examples(100), settings());
        let held = |settings: &Settings| {
            let course = Course::new(settings, &examples).unwrap();
            let held: BTreeSet<u32> = course.held_out.iter().flatten().map(|example| example.prompt[0]).collect();
            let learnt: BTreeSet<u32> = course.learnt.iter().copied().collect();
            assert!(held.is_disjoint(&learnt) && held.len() + learnt.len() == 100);
            let id = |at: &u32| examples[*at as usize].id;
            assert!(held.iter().map(id).collect::<BTreeSet<_>>().is_disjoint(&learnt.iter().map(id).collect()));
            held
        };
        let first = held(&settings);
        assert_eq!(first.len(), 20);
        assert_eq!(held(&settings), first);
        assert_ne!(held(&Settings { seed: 6, ..settings.clone() }), first);
        assert!(held(&Settings { held_out_share: 0.0, ..settings.clone() }).is_empty());
    }

    #[test]
    fn another_seed_has_another_order_hash_and_the_same_seed_the_same() {
        let (examples, settings) = (examples(40), settings());
        let hash = |settings: &Settings| Course::new(settings, &examples).unwrap().order_hash;
        assert_eq!(hash(&settings), hash(&settings));
        assert_ne!(hash(&settings), hash(&Settings { seed: 6, ..settings.clone() }));
        assert_ne!(hash(&settings), hash(&Settings { epochs: 2, ..settings.clone() }));
    }

    #[test]
    fn losses_are_measured_before_the_first_step_and_after_every_epoch() {
        let (examples, settings) = (examples(100), settings());
        let course = Course::new(&settings, &examples).unwrap();
        let measured: Vec<u32> = (0..=course.steps()).filter(|step| course.measures(*step)).collect();
        assert_eq!(measured, course.first);
        let none = Settings { held_out_share: 0.0, ..settings.clone() };
        let course = Course::new(&none, &examples).unwrap();
        assert!(!(0..=course.steps()).any(|step| course.measures(step)));
    }
}
