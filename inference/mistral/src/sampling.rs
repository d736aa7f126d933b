//! Choosing the next token: greedy, or drawn from the request's seed.
//!
//! mistralrs has one random generator for all rows, so it never draws here.

use agora_inference_api::{Draws, Sampling};

/// Draws one answer's tokens.
#[derive(Debug)]
pub(crate) struct Sampler {
    settings: Sampling,
    draws: Draws,
}

impl Sampler {
    /// For one answer.
    pub(crate) fn new(settings: Sampling) -> Self {
        Self { settings, draws: Draws::new(settings.seed) }
    }

    /// The next token; `None` if a logit is not finite.
    pub(crate) fn next(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        if self.settings.temperature_milli == 0 {
            // Of equal ones, the first.
            return (0..).zip(logits).reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|best| best.0);
        }
        let drawn = self.draws.next();
        let temperature = f64::from(self.settings.temperature_milli) / 1_000.0;
        let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let weight = |logit: &f32| ((f64::from(*logit) - most) / temperature).exp();
        let mut left: Vec<(f64, u32)> = logits.iter().map(weight).zip(0..).collect();
        let by_weight = |a: &(f64, u32), b: &(f64, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let top = self.settings.top_k as usize;
        if top > 0 && top < left.len() {
            left.select_nth_unstable_by(top - 1, by_weight);
            left.truncate(top);
        }
        left.sort_unstable_by(by_weight);
        let mut total: f64 = left.iter().map(|(weight, _)| weight).sum();
        if self.settings.top_p_milli < 1_000 {
            let wanted = total * f64::from(self.settings.top_p_milli) / 1_000.0;
            total = 0.0;
            let mut kept = 0;
            while kept < left.len() && total < wanted {
                total += left[kept].0;
                kept += 1;
            }
            left.truncate(kept);
        }
        let mut at = drawn * total;
        let hit = left.iter().find(|(weight, _)| {
            at -= weight;
            at < 0.0
        });
        // Rounding may leave a crumb: it falls to the likeliest.
        hit.or(left.first()).map(|(_, token)| *token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampling: Sampling, logits: &[f32]) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling);
        (0..2_000).map(|_| sampler.next(logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_equal_tokens_and_notices_bad_logits() {
        let mut sampler = Sampler::new(Sampling::default());
        assert_eq!(sampler.next(&[1.0, 3.0, 3.0, 2.0]), Some(1));
        assert_eq!(sampler.next(&[1.0, f32::NAN]), None);
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
    }
}
