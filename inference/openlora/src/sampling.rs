//! Choosing the next token: greedy, or drawn from a seed.
//!
//! In this order: the repetition penalty, the mask of what may follow, temperature, top-k, top-p, min-p, the draw. So do
//! the transformers library (its penalty, mask and warpers) and, but for min-p, which it puts before top-k, vLLM.
//!
//! A draw is the next of [`Draws`]: it depends on seed and place alone, not on batch, threads or machine.
//!
//! Likelihoods are those of the model's own logits, whatever is done to them to choose.

use std::collections::VecDeque;

use agora_inference_api::{Draws, Sampling};

use agora_kernels::exp;

/// Tokens of prompt and answer that the repetition penalty looks back on.
const PENALTY_WINDOW: usize = 256;
/// Logits that are looked at together: wide enough for vector instructions, few enough to look twice.
const BLOCK: usize = 256;
/// Where the descending order of weights is cut into pieces that are sorted when they are reached; the likeliest token
/// weighs 1. Most draws end in the first.
const LEVELS: [f32; 6] = [0.25, 1.0 / 32.0, 1.0 / 1_024.0, 1e-6, 1e-12, 0.0];

/// Which tokens may follow, a bit each, the lowest first; tokens beyond the end may not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask<'a>(pub(crate) &'a [u32]);

/// Memory that rows lend each other from step to step.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    logits: Vec<f32>,
    weights: Vec<f32>,
    sorted: Vec<(f32, u32)>,
    recent: Vec<u32>,
}

/// Chooses one answer's tokens.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Sampling,
    draws: Draws,
    /// What the penalty looks back on; empty where there is none.
    recent: VecDeque<u32>,
}

impl Sampler {
    /// For one answer to a prompt.
    pub(crate) fn new(settings: Sampling, prompt: &[u32]) -> Self {
        let mut sampler = Self { settings, draws: Draws::new(settings.seed), recent: VecDeque::new() };
        prompt[prompt.len().saturating_sub(PENALTY_WINDOW)..].iter().for_each(|token| sampler.remember(*token));
        sampler
    }

    /// The next token; `None` if a logit is not finite, or the mask allows none.
    pub(crate) fn next(&mut self, logits: &[f32], mask: Option<Mask<'_>>, scratch: &mut Scratch) -> Option<u32> {
        if self.settings.temperature_milli == 0 && mask.is_none() && !self.has_penalty() {
            return likeliest(logits);
        }
        if !all_finite(logits) {
            return None;
        }
        let Scratch { logits: changed, weights, sorted, recent } = scratch;
        let logits = if self.has_penalty() { self.penalised(logits, changed, recent) } else { logits };
        let token = match (self.settings.temperature_milli, mask) {
            (0, None) => likeliest(logits),
            (0, Some(mask)) => likeliest_of(logits, mask).map(|(_, token)| token),
            (1.., mask) => self.drawn(logits, mask, weights, sorted),
        }?;
        self.remember(token);
        Some(token)
    }

    fn has_penalty(&self) -> bool {
        self.settings.repetition_milli > 1_000
    }

    /// Takes in a token that was not drawn.
    pub(crate) fn remember(&mut self, token: u32) {
        if self.has_penalty() {
            if self.recent.len() >= PENALTY_WINDOW {
                self.recent.pop_front();
            }
            self.recent.push_back(token);
        }
    }

    /// The logits with those of recent tokens lowered, each once.
    fn penalised<'a>(&self, logits: &[f32], changed: &'a mut Vec<f32>, recent: &mut Vec<u32>) -> &'a [f32] {
        let penalty = self.settings.repetition_milli as f32 / 1_000.0;
        changed.clear();
        changed.extend_from_slice(logits);
        recent.clear();
        recent.extend(&self.recent);
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = changed.get_mut(*token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { (*logit * penalty).max(f32::MIN) };
            }
        }
        changed
    }

    fn drawn(
        &mut self,
        logits: &[f32],
        mask: Option<Mask<'_>>,
        weights: &mut Vec<f32>,
        sorted: &mut Vec<(f32, u32)>,
    ) -> Option<u32> {
        let fraction = self.draws.next();
        let temperature = self.settings.temperature_milli as f32 / 1_000.0;
        let most = match mask {
            None => logits.iter().fold(f32::NEG_INFINITY, |most, logit| if *logit > most { *logit } else { most }),
            Some(mask) => likeliest_of(logits, mask)?.0,
        };
        weights.clear();
        weights.extend(logits.iter().map(|logit| exp((*logit - most) / temperature)));
        if let Some(mask) = mask {
            mask.clear_others(weights);
        }
        let mut order = Descending::new(weights, sorted);
        let least = f64::from(self.settings.min_p_milli) / 1_000.0;
        let (top, share) = (self.settings.top_k as usize, self.settings.top_p_milli);
        if top == 0 && share >= 1_000 && least == 0.0 {
            // Nothing is left out: any order will do, and that of the tokens needs no sorting.
            let mut at = fraction * sum(weights);
            let reached = weights.iter().position(|weight| {
                at -= f64::from(*weight);
                at < 0.0
            });
            if let Some(token) = reached {
                return u32::try_from(token).ok();
            }
        } else {
            let mut kept = weights.len();
            let mut total = sum(weights);
            if top > 0 {
                order.reach(top);
                kept = top.min(order.sorted.len());
                total = order.sorted[..kept].iter().map(|(weight, _)| f64::from(*weight)).sum();
            }
            if share < 1_000 || least > 0.0 {
                let wanted = total * f64::from(share) / 1_000.0;
                let most = kept;
                (kept, total) = (0, 0.0);
                while let Some((weight, _)) = order.get(kept).filter(|_| kept < most) {
                    // Both keep the likeliest, which weighs 1.
                    if total >= wanted || f64::from(weight) < least {
                        break;
                    }
                    total += f64::from(weight);
                    kept += 1;
                }
            }
            let mut at = fraction * total;
            for (weight, token) in &order.sorted[..kept.min(order.sorted.len())] {
                at -= f64::from(*weight);
                if at < 0.0 {
                    return Some(*token);
                }
            }
        }
        // Rounding may leave a crumb: it falls to the likeliest.
        order.get(0).map(|(_, token)| token)
    }
}

impl Mask<'_> {
    /// Sets the weight of each token that may not follow to zero.
    fn clear_others(self, weights: &mut [f32]) {
        let words = self.0.iter().copied().chain(std::iter::repeat(0));
        for (weights, word) in weights.chunks_mut(32).zip(words) {
            for (bit, weight) in weights.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *weight = 0.0;
                }
            }
        }
    }
}

/// Tokens by falling weight, of equal ones the first first; sorted as far as somebody looks.
struct Descending<'a> {
    weights: &'a [f32],
    sorted: &'a mut Vec<(f32, u32)>,
    /// Everything above this is sorted.
    above: f32,
    level: usize,
}

impl<'a> Descending<'a> {
    fn new(weights: &'a [f32], sorted: &'a mut Vec<(f32, u32)>) -> Self {
        sorted.clear();
        Self { weights, sorted, above: f32::INFINITY, level: 0 }
    }

    /// Sorts until `count` tokens are, or all whose weight is not zero.
    fn reach(&mut self, count: usize) {
        while self.sorted.len() < count && self.level < LEVELS.len() {
            let (down_to, above) = (LEVELS[self.level], self.above);
            let begun = self.sorted.len();
            for (first, weights) in (0..).step_by(BLOCK).zip(self.weights.chunks(BLOCK)) {
                // Most blocks have none.
                if weights.iter().fold(0.0, |most, weight| if *weight > most { *weight } else { most }) > down_to {
                    let inside = |(weight, _): &(f32, u32)| *weight > down_to && *weight <= above;
                    self.sorted.extend(weights.iter().copied().zip(first..).filter(inside));
                }
            }
            self.sorted[begun..].sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            (self.above, self.level) = (down_to, self.level + 1);
        }
    }

    fn get(&mut self, place: usize) -> Option<(f32, u32)> {
        if place >= self.sorted.len() {
            self.reach(place + 1);
        }
        self.sorted.get(place).copied()
    }
}

/// The sum, in eight lanes that are added in a fixed order.
fn sum(numbers: &[f32]) -> f64 {
    let (chunks, rest) = numbers.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*number);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|number| f64::from(*number)).sum::<f64>()
}

fn all_finite(logits: &[f32]) -> bool {
    // The fold has no way out, for vector instructions.
    let finite = |logits: &[f32]| logits.iter().fold(true, |finite, logit| finite & logit.is_finite());
    logits.chunks(BLOCK).all(finite)
}

/// The likeliest token; of equal ones, the first. `None` if a logit is not finite. One pass.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best = f32::NEG_INFINITY;
    let mut block = 0;
    for (at, logits) in logits.chunks(BLOCK).enumerate() {
        let (chunks, rest) = logits.as_chunks::<8>();
        let (mut most, mut zero) = ([f32::NEG_INFINITY; 8], [0.0_f32; 8]);
        for chunk in chunks {
            for lane in 0..8 {
                most[lane] = if chunk[lane] > most[lane] { chunk[lane] } else { most[lane] };
                // Stays zero as long as all are finite.
                zero[lane] += chunk[lane] * 0.0;
            }
        }
        let finite = zero.iter().all(|zero| *zero == 0.0) && rest.iter().all(|logit| logit.is_finite());
        if !finite {
            return None;
        }
        let most =
            most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, logit| if *logit > most { *logit } else { most });
        if most > best {
            (best, block) = (most, at);
        }
    }
    let first = logits.iter().skip(block * BLOCK).position(|logit| *logit == best)?;
    u32::try_from(block * BLOCK + first).ok()
}

/// The likeliest token that may follow, with its logit; of equal ones, the first.
fn likeliest_of(logits: &[f32], mask: Mask<'_>) -> Option<(f32, u32)> {
    let mut best: Option<(f32, u32)> = None;
    for ((first, logits), word) in (0_u32..).step_by(32).zip(logits.chunks(32)).zip(mask.0) {
        let mut word = *word;
        while word != 0 {
            let bit = word.trailing_zeros();
            word &= word - 1;
            let Some(logit) = logits.get(bit as usize) else { break };
            if best.is_none_or(|(most, _)| *logit > most) {
                best = Some((*logit, first + bit));
            }
        }
    }
    best
}

/// How unlikely a token was, and the likeliest tokens with the same of theirs: minus the natural logarithms of the
/// probabilities, in millionths. The logits are finite, and `token` is among them.
pub(crate) fn nats(logits: &[f32], token: u32, alternatives: usize) -> (u32, Vec<(u32, u32)>) {
    let mut top: Vec<(f32, u32)> = Vec::with_capacity(alternatives + 1);
    let mut most = f32::NEG_INFINITY;
    for (first, logits) in (0_u32..).step_by(BLOCK).zip(logits.chunks(BLOCK)) {
        let here = logits.iter().fold(f32::NEG_INFINITY, |most, logit| if *logit > most { *logit } else { most });
        most = if here > most { here } else { most };
        let enters =
            |top: &[(f32, u32)], logit| top.len() < alternatives || top.last().is_some_and(|last| logit > last.0);
        if !enters(&top, here) {
            continue;
        }
        for (token, logit) in (first..).zip(logits) {
            if enters(&top, *logit) {
                // Behind equal ones, which came before.
                let place = top.partition_point(|other| other.0 >= *logit);
                top.insert(place, (*logit, token));
                top.truncate(alternatives);
            }
        }
    }
    let mut lanes = [0.0; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] += f64::from(exp(chunk[lane] - most));
        }
    }
    let total = lanes.iter().sum::<f64>() + rest.iter().map(|logit| f64::from(exp(*logit - most))).sum::<f64>();
    let total = logarithm(total);
    let nats = |logit: f32| {
        let nats = (total + f64::from(most) - f64::from(logit)) * 1e6;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is held to the bounds")]
        let held = nats.round().clamp(0.0, f64::from(u32::MAX)) as u32;
        held
    };
    let chosen = logits.get(token as usize).map_or(u32::MAX, |logit| nats(*logit));
    (chosen, top.into_iter().map(|(logit, token)| (token, nats(logit))).collect())
}

/// The natural logarithm of a number from 1 on, to about 1e-15. Our own, since the system's may differ between machines.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let (mut power, mut part) = ((bits >> 52) as f64 - 1_023.0, f64::from_bits(bits & ((1 << 52) - 1) | 1_023 << 52));
    if part > std::f64::consts::SQRT_2 {
        (power, part) = (power + 1.0, part / 2.0);
    }
    // ln x = 2 artanh((x - 1) / (x + 1)), whose argument is below 0.18.
    let ratio = (part - 1.0) / (part + 1.0);
    let square = ratio * ratio;
    let series = (0..12).rev().fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    power * std::f64::consts::LN_2 + 2.0 * ratio * series
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

    use super::*;

    /// Chooses once, greedily.
    fn greedy(logits: &[f32]) -> Option<u32> {
        Sampler::new(Sampling::default(), &[]).next(logits, None, &mut Scratch::default())
    }

    fn drawn_of(sampling: Sampling, logits: &[f32], mask: Option<Mask<'_>>) -> Vec<u32> {
        let (mut sampler, mut scratch) = (Sampler::new(sampling, &[]), Scratch::default());
        (0..2_000).map(|_| sampler.next(logits, mask, &mut scratch).unwrap()).collect()
    }

    fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        drawn_of(sampling, logits, None)
    }

    /// At temperature 1, from a seed.
    fn warm() -> Sampling {
        Sampling { temperature_milli: 1_000, seed: 7, ..Sampling::default() }
    }

    /// Logits of a vocabulary, from a seed.
    fn many(count: usize, spread: f32, seed: u64) -> Vec<f32> {
        let mut source = Draws::new(seed);
        (0..count).map(|_| (source.next() as f32 - 0.5) * spread).collect()
    }

    fn share(tokens: &[u32], token: u32) -> f64 {
        tokens.iter().filter(|drawn| **drawn == token).count() as f64 / tokens.len() as f64
    }

    #[test]
    fn greedy_takes_the_first_of_equal_tokens() {
        assert_eq!(greedy(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        for at in [0, 7, 8, 255, 256, 700, 999] {
            let mut logits = many(1_000, 10.0, 3);
            (logits[at], logits[999]) = (9.0, 9.0);
            assert_eq!(greedy(&logits), Some(at as u32));
        }
        assert_eq!(greedy(&[]), None);
    }

    #[test]
    fn a_logit_that_is_not_finite_is_noticed_wherever_it_stands() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 8, 255, 256, 998] {
                let mut logits = many(999, 10.0, 4);
                logits[at] = bad;
                assert_eq!(greedy(&logits), None);
                let mut sampler = Sampler::new(warm(), &[]);
                assert_eq!(sampler.next(&logits, None, &mut Scratch::default()), None);
                let (mut sampler, all) = (Sampler::new(Sampling::default(), &[]), [u32::MAX; 32]);
                assert_eq!(sampler.next(&logits, Some(Mask(&all)), &mut Scratch::default()), None);
            }
        }
    }

    #[test]
    fn draws_follow_the_weights_and_the_seed() {
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        let tokens = drawn(warm(), &logits);
        for (token, right) in [(0, 0.125), (1, 0.25), (2, 0.625)] {
            assert!((share(&tokens, token) - right).abs() < 0.04, "{token}");
        }
        assert_eq!(tokens, drawn(warm(), &logits));
        assert_ne!(tokens, drawn(Sampling { seed: 8, ..warm() }, &logits));
    }

    #[test]
    fn draws_reach_every_weight_whatever_its_level() {
        // As many light tokens as weigh the same as the heavy one together.
        let mut logits = vec![(1.0_f32 / 4_000.0).ln(); 4_000];
        logits[1_234] = 0.0;
        let tokens = drawn(warm(), &logits);
        assert!((share(&tokens, 1_234) - 0.5).abs() < 0.04);
        assert!(tokens.iter().filter(|token| **token > 2_000).count() > 350);
    }

    #[test]
    fn top_k_and_top_p_leave_the_unlikely_out() {
        let sampling = Sampling { top_k: 2, ..warm() };
        let logits = [0.0, 1.0, 2.0, 1.0];
        assert!(drawn(sampling, &logits).iter().all(|token| [1, 2].contains(token)), "of equal ones the first stays");
        let sampling = Sampling { top_k: 0, top_p_milli: 500, ..sampling };
        assert!(drawn(sampling, &logits).iter().all(|token| *token == 2));
        let sampling = Sampling { top_p_milli: 700, ..sampling };
        let tokens = drawn(sampling, &logits);
        assert!(tokens.contains(&1) && tokens.contains(&2) && !tokens.contains(&3) && !tokens.contains(&0));
    }

    #[test]
    fn min_p_leaves_out_what_is_far_less_likely_than_the_likeliest() {
        let logits = [0.0, 0.5_f32.ln(), 0.2_f32.ln(), 0.05_f32.ln()];
        let of = |min_p_milli| drawn(Sampling { min_p_milli, ..warm() }, &logits);
        let seen = |tokens: &[u32]| (0..4).filter(|token| tokens.contains(token)).collect::<Vec<_>>();
        assert_eq!(seen(&of(0)), [0, 1, 2, 3]);
        assert_eq!(seen(&of(100)), [0, 1, 2]);
        assert_eq!(seen(&of(400)), [0, 1]);
        assert_eq!(seen(&of(1_000)), [0], "the likeliest always stays");
        assert!((share(&of(400), 1) - 1.0 / 3.0).abs() < 0.04, "the rest keeps its shares");
        let hot = Sampling { min_p_milli: 400, temperature_milli: 2_000, ..warm() };
        assert_eq!(seen(&drawn(hot, &logits)), [0, 1, 2], "it counts after the temperature");
    }

    #[test]
    fn the_penalty_lowers_what_stands_in_prompt_or_answer_once_each() {
        let sampling = Sampling { repetition_milli: 1_500, ..Sampling::default() };
        let next = |prompt: &[u32], logits: &[f32]| {
            Sampler::new(sampling, prompt).next(logits, None, &mut Scratch::default()).unwrap()
        };
        assert_eq!(next(&[], &[3.0, 2.5, 1.0]), 0);
        assert_eq!(next(&[0], &[3.0, 2.5, 1.0]), 1, "3 becomes 2");
        assert_eq!(next(&[0, 0, 0], &[3.0, 1.9, 1.0]), 0, "once, however often it stands there");
        assert_eq!(next(&[0], &[-2.0, -2.9, -3.1]), 1, "-2 becomes -3");
        assert_eq!(next(&[9_999], &[3.0, 2.5, 1.0]), 0, "a token without a logit is passed over");
        let mut sampler = Sampler::new(sampling, &[]);
        let mut scratch = Scratch::default();
        let chosen: Vec<_> = (0..3).map(|_| sampler.next(&[3.0, 2.5, 2.4], None, &mut scratch).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2], "what was chosen counts");
        let lowest = Sampler::new(sampling, &[0]).next(&[f32::MIN, f32::MIN], None, &mut scratch);
        assert_eq!(lowest, Some(0), "it stays finite");
    }

    #[test]
    fn the_penalty_forgets_what_is_further_back_than_its_window() {
        let sampling = Sampling { repetition_milli: 2_000, ..Sampling::default() };
        let prompt = |behind: usize| [vec![0], vec![2; behind]].concat();
        let next =
            |prompt: &[u32]| Sampler::new(sampling, prompt).next(&[3.0, 2.0, 1.0], None, &mut Scratch::default());
        assert_eq!(next(&prompt(PENALTY_WINDOW - 1)), Some(1));
        assert_eq!(next(&prompt(PENALTY_WINDOW)), Some(0));
    }

    #[test]
    fn a_mask_is_heeded_by_every_way_to_choose() {
        let logits = many(100, 4.0, 5);
        // Tokens 3, 40 and 99 of four words, and nothing beyond the end.
        let words = [1 << 3, 1 << 8, 0, 1 << 3 | 1 << 20];
        let mask = Some(Mask(&words));
        let allowed = [3, 40, 99];
        let best = *allowed.iter().max_by(|a, b| logits[**a].total_cmp(&logits[**b])).unwrap() as u32;
        assert_eq!(drawn_of(Sampling::default(), &logits, mask)[0], best);
        for sampling in
            [warm(), Sampling { top_k: 2, ..warm() }, Sampling { top_p_milli: 900, min_p_milli: 10, ..warm() }]
        {
            assert!(drawn_of(sampling, &logits, mask).iter().all(|token| allowed.contains(&(*token as usize))));
        }
        assert_eq!(drawn_of(Sampling { top_k: 1, ..warm() }, &logits, mask)[0], best);
        for words in [&[][..], &[0, 0]] {
            let mut sampler = Sampler::new(warm(), &[]);
            assert_eq!(sampler.next(&logits, Some(Mask(words)), &mut Scratch::default()), None);
        }
        let short = [1_u32];
        assert!(drawn_of(warm(), &logits, Some(Mask(&short))).iter().all(|token| *token == 0), "beyond its end is no");
    }

    #[test]
    fn memory_of_another_row_changes_nothing() {
        let sampling = Sampling { top_p_milli: 900, repetition_milli: 1_100, ..warm() };
        let (small, large) = (many(50, 6.0, 1), many(5_000, 6.0, 2));
        let alone = drawn(sampling, &small);
        let (mut one, mut other, mut scratch) =
            (Sampler::new(sampling, &[]), Sampler::new(sampling, &[1, 2]), Scratch::default());
        let together: Vec<_> = (0..2_000)
            .map(|_| {
                other.next(&large, None, &mut scratch).unwrap();
                one.next(&small, None, &mut scratch).unwrap()
            })
            .collect();
        assert_eq!(together, alone);
    }

    #[test]
    fn likelihoods_are_those_of_a_softmax_and_in_order() {
        let logits = many(3_001, 20.0, 6);
        let (chosen, top) = nats(&logits, 1_717, 20);
        let total: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        let right = |token: u32| (total.ln() - f64::from(logits[token as usize])) * 1e6;
        assert!((f64::from(chosen) - right(1_717)).abs() < 2.0);
        assert!(top.iter().all(|(token, nats)| (f64::from(*nats) - right(*token)).abs() < 2.0));
        let mut order: Vec<u32> = (0..3_001).collect();
        order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
        assert_eq!(top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), order[..20]);
        let (_, all) = nats(&logits[..9], 0, 20);
        let sum: f64 = all.iter().map(|(_, nats)| (-f64::from(*nats) / 1e6).exp()).sum();
        assert!(all.len() == 9 && (sum - 1.0).abs() < 1e-5, "the whole vocabulary is certain: {sum}");
        assert_eq!(nats(&logits, 1_717, 0), (chosen, Vec::new()));
    }

    #[test]
    fn likelihoods_have_their_bounds() {
        assert_eq!(nats(&[5.0], 0, 1), (0, vec![(0, 0)]), "the only token is certain");
        assert_eq!(nats(&[f32::MAX, f32::MIN], 1, 0).0, u32::MAX, "as good as impossible");
        let (_, top) = nats(&[1.0, 2.0, 2.0, 2.0], 0, 2);
        assert_eq!(top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 2], "of equal ones the first");
    }

    #[test]
    fn our_logarithm_is_the_systems() {
        for x in [1.0, 1.5, std::f64::consts::SQRT_2, 2.0, 3.75, 49_152.0, 1e6] {
            assert!((logarithm(x) - x.ln()).abs() <= 2e-15 * x.ln().max(1.0), "{x}");
        }
    }
}
