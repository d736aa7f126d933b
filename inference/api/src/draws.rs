//! The fractions by which tokens are drawn: the same from the same seed, in every engine and on every machine.

/// Fractions from 0 to below 1, for one answer.
///
/// The n-th (from 1) is made of SplitMix64's output for the state `seed + n * 0x9E3779B97F4A7C15`; its upper 53 bits, as
/// a number of 2^-53, are the fraction. So a draw depends on seed and place alone, not on batch, threads or machine.
#[derive(Debug)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// Begins before the first.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next one.
    #[allow(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Draws;

    #[test]
    fn draws_are_the_published_numbers_of_splitmix64() {
        let published = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        let mut draws = Draws::new(1_234_567);
        for number in published {
            assert_eq!(draws.next(), (number >> 11) as f64 * 2.0_f64.powi(-53));
        }
    }

    #[test]
    fn the_first_draws_stay_what_they_are() {
        let mut draws = Draws::new(0);
        assert_eq!([draws.next(), draws.next()], [0.8833108082136426, 0.43152799704850997]);
        assert_eq!(Draws::new(u64::MAX).next(), 0.8939429202831845, "seed and place wrap around");
    }
}
