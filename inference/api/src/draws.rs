//! Numbers from a seed, and the fractions by which tokens are drawn: the same in every engine and on every machine.

/// Numbers from a seed: SplitMix64 (Steele, Lea and Flood 2014), by its state. Not for secrets.
///
/// The n-th (from 1) is the mixed state `seed + n * 0x9E3779B97F4A7C15`, so it depends on seed and place alone.
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound, each as likely.
    ///
    /// # Panics
    /// If the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "nothing is below zero");
        let bound = bound as u64;
        // Draws from the incomplete last stretch are thrown away.
        let rest = (u64::MAX % bound + 1) % bound;
        loop {
            let drawn = self.next();
            if drawn <= u64::MAX - rest {
                return usize::try_from(drawn % bound).expect("below a usize");
            }
        }
    }

    /// From -1 to below 1, in steps of 2^-23.
    #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
    pub fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Every order as likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Fractions from 0 to below 1, for one answer: the upper 53 bits of [`SplitMix64`]'s numbers, as numbers of 2^-53.
///
/// So a draw depends on seed and place alone, not on batch, threads or machine.
#[derive(Debug)]
pub struct Draws(SplitMix64);

impl Draws {
    /// Begins before the first.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64(seed))
    }

    /// The next one.
    #[allow(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> f64 {
        (self.0.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, SplitMix64};

    #[test]
    fn draws_are_the_published_numbers_of_splitmix64() {
        let published = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        let (mut random, mut draws) = (SplitMix64(1_234_567), Draws::new(1_234_567));
        for number in published {
            assert_eq!(random.next(), number);
            assert_eq!(draws.next(), (number >> 11) as f64 * 2.0_f64.powi(-53));
        }
    }

    #[test]
    fn the_first_draws_stay_what_they_are() {
        let mut draws = Draws::new(0);
        assert_eq!([draws.next(), draws.next()], [0.8833108082136426, 0.43152799704850997]);
        assert_eq!(Draws::new(u64::MAX).next(), 0.8939429202831845, "seed and place wrap around");
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_favours_no_order() {
        let mut counts = std::collections::BTreeMap::new();
        let mut random = SplitMix64(7);
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *counts.entry(items).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
