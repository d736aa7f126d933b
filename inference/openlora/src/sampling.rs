//! Choosing the next token: greedy, or drawn from a seed.
//!
//! The n-th draw of an answer (from 1) is SplitMix64's output for the state `seed + n * 0x9E3779B97F4A7C15`; its upper 53
//! bits are the fraction. So a draw depends on seed and place alone, not on batch, threads or machine.

use agora_inference_api::Sampling;

use agora_kernels::exp;

/// Draws one answer's tokens.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Sampling,
    state: u64,
}

impl Sampler {
    /// For one answer.
    pub(crate) fn new(settings: Sampling) -> Self {
        Self { settings, state: settings.seed }
    }

    /// The next token; `None` if a logit is not finite.
    pub(crate) fn next(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        if self.settings.temperature_milli == 0 {
            return greedy(logits);
        }
        let drawn = self.draw();
        let temperature = self.settings.temperature_milli as f32 / 1_000.0;
        let most = logits.iter().fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
        let mut left: Vec<(f32, u32)> =
            (0..).zip(logits).map(|(token, logit)| (exp((logit - most) / temperature), token)).collect();
        let by_weight = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let top = self.settings.top_k as usize;
        if top > 0 && top < left.len() {
            left.select_nth_unstable_by(top - 1, by_weight);
            left.truncate(top);
        }
        // One order, so that sums are the same however the tokens were picked.
        left.sort_unstable_by(by_weight);
        let mut total: f64 = left.iter().map(|(weight, _)| f64::from(*weight)).sum();
        if self.settings.top_p_milli < 1_000 {
            let wanted = total * f64::from(self.settings.top_p_milli) / 1_000.0;
            total = 0.0;
            let kept = left.iter().take_while(|(weight, _)| {
                let more = total < wanted;
                total += if more { f64::from(*weight) } else { 0.0 };
                more
            });
            let kept = kept.count();
            left.truncate(kept);
        }
        let mut at = drawn * total;
        for (weight, token) in &left {
            at -= f64::from(*weight);
            if at < 0.0 {
                return Some(*token);
            }
        }
        // Rounding may leave a crumb: it falls to the likeliest.
        left.first().map(|(_, token)| *token)
    }

    /// A fraction from 0 to below 1.
    fn draw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The likeliest token; of equal ones, the first.
fn greedy(logits: &[f32]) -> Option<u32> {
    let best = (0..).zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..2_000).map(|_| sampler.next(logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_equal_tokens() {
        assert_eq!(Sampler::new(Sampling::default()).next(&[1.0, 3.0, 3.0, 2.0]), Some(1));
    }

    #[test]
    fn a_logit_that_is_not_finite_is_noticed() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Sampler::new(Sampling::default()).next(&[1.0, bad]), None);
        }
    }

    #[test]
    fn draws_follow_the_weights_and_the_seed() {
        let sampling = Sampling { temperature_milli: 1_000, seed: 7, ..Sampling::default() };
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        let tokens = drawn(sampling, &logits);
        for (token, share) in [(0, 0.125), (1, 0.25), (2, 0.625)] {
            let count = tokens.iter().filter(|drawn| **drawn == token).count();
            assert!((count as f64 / 2_000.0 - share).abs() < 0.04, "{token}: {count}");
        }
        assert_eq!(tokens, drawn(sampling, &logits));
        assert_ne!(tokens, drawn(Sampling { seed: 8, ..sampling }, &logits));
    }

    #[test]
    fn top_k_and_top_p_leave_the_unlikely_out() {
        let sampling = Sampling { temperature_milli: 1_000, top_k: 2, ..Sampling::default() };
        let logits = [0.0, 1.0, 2.0, 1.0];
        assert!(drawn(sampling, &logits).iter().all(|token| [1, 2].contains(token)), "of equal ones the first stays");
        let sampling = Sampling { top_k: 0, top_p_milli: 500, ..sampling };
        assert!(drawn(sampling, &logits).iter().all(|token| *token == 2));
        let sampling = Sampling { top_p_milli: 700, ..sampling };
        let tokens = drawn(sampling, &logits);
        assert!(tokens.contains(&1) && tokens.contains(&2) && !tokens.contains(&3) && !tokens.contains(&0));
    }
}
