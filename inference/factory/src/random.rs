//! Numbers from a seed: SplitMix64, and what training draws from it.
//!
//! A stream belongs to one purpose, so that asking one for more never changes another.

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The first numbers of an adapter.
    Start,
    /// Which examples are held out.
    HeldOut,
    /// The order of examples in this epoch.
    Order(u32),
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a purpose.
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let number = match purpose {
            Purpose::Start => 0,
            Purpose::HeldOut => 1,
            Purpose::Order(epoch) => 2 + u64::from(epoch),
        };
        // Mixed, so that the streams of neighbouring seeds and purposes are no shifted copies of each other.
        let mut mix = Self(seed);
        mix.0 = mix.next() ^ number;
        Self(mix.next())
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound, each as likely.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below zero");
        // Draws from the incomplete last stretch are thrown away.
        let rest = (u64::MAX % bound + 1) % bound;
        loop {
            let drawn = self.next();
            if drawn <= u64::MAX - rest {
                return drawn % bound;
            }
        }
    }

    /// From -1 to 1, in steps of 2^-23.
    #[allow(clippy::cast_precision_loss, reason = "24 bits fit")]
    pub(crate) fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Every order as likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).expect("below the number of items"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Random};

    #[test]
    fn the_generator_is_splitmix64() {
        // The first numbers of seed 1234567, as the generator's author publishes them.
        let mut random = Random(1_234_567);
        let right = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], right);
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_favours_no_order() {
        let mut counts = std::collections::BTreeMap::new();
        let mut random = Random::new(7, Purpose::Order(0));
        for _ in 0..6_000 {
            let mut items = [0, 1, 2];
            random.shuffle(&mut items);
            *counts.entry(items).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn streams_of_neighbouring_seeds_and_purposes_share_nothing() {
        let purposes = [Purpose::Start, Purpose::HeldOut, Purpose::Order(0), Purpose::Order(1)];
        let drawn = (0..50).flat_map(|seed| purposes.map(|purpose| Random::new(seed, purpose)));
        let numbers = drawn.flat_map(|mut random| (0..20).map(move |_| random.next()).collect::<Vec<_>>());
        let all: Vec<u64> = numbers.collect();
        let distinct: std::collections::BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
