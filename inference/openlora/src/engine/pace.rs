//! How much the engine can compute, learnt from its steps.
//!
//! A step of many tokens takes little longer than one of few, since it reads the weights once. So what a lone stream
//! reaches says nothing of what a full batch can: each size of step has its own mean, and the best of them counts.

/// The share of a new measurement in a running mean.
const FRESH: f64 = 0.1;
/// Sizes of steps, by powers of two.
const SIZES: usize = 16;

/// Tokens a second, by the size of a step; 0 where none was seen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rates: [f64; SIZES],
}

impl Pace {
    /// Takes in a step.
    pub(super) fn measure(&mut self, tokens: usize, seconds: f64) {
        let Some(size) = tokens.checked_ilog2() else { return };
        let mean = &mut self.rates[(size as usize).min(SIZES - 1)];
        let rate = tokens as f64 / seconds.max(1e-9);
        *mean = if *mean > 0.0 { *mean + FRESH * (rate - *mean) } else { rate };
    }

    /// Tokens a second in steps of up to so many tokens; `None` before the first step.
    pub(super) fn of(&self, tokens: usize) -> Option<f64> {
        let sizes = (tokens.max(1).ilog2() as usize + 1).min(SIZES);
        let best = |rates: &[f64]| rates.iter().copied().fold(0.0, f64::max);
        [best(&self.rates[..sizes]), best(&self.rates)].into_iter().find(|rate| *rate > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_lone_stream_does_not_hide_what_a_batch_can() {
        let mut pace = Pace::default();
        assert_eq!(pace.of(16), None);
        pace.measure(0, 1.0);
        pace.measure(1, 0.01);
        assert_eq!((pace.of(1), pace.of(16)), (Some(100.0), Some(100.0)));
        pace.measure(16, 0.04);
        for _ in 0..1_000 {
            pace.measure(1, 0.02);
        }
        assert_eq!(pace.of(16), Some(400.0));
        assert!((pace.of(1).unwrap() - 50.0).abs() < 1.0);
        // A machine that others use now is slower, and that is seen as soon as it matters.
        for _ in 0..100 {
            pace.measure(16, 0.16);
        }
        assert!((pace.of(16).unwrap() - 100.0).abs() < 1.0);
        // Until steps of a size were seen, others say it.
        let mut long = Pace::default();
        long.measure(512, 1.0);
        assert_eq!((long.of(1), long.of(1 << 40)), (Some(512.0), Some(512.0)));
    }
}
