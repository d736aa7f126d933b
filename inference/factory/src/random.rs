//! The streams of numbers that training draws from its seed.
//!
//! A stream belongs to one purpose, so that asking one for more never changes another.

use agora_inference_api::SplitMix64;

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

/// The stream of a purpose.
pub(crate) fn stream(seed: u64, purpose: Purpose) -> SplitMix64 {
    let number = match purpose {
        Purpose::Start => 0,
        Purpose::HeldOut => 1,
        Purpose::Order(epoch) => 2 + u64::from(epoch),
    };
    // Mixed, so that the streams of neighbouring seeds and purposes are no shifted copies of each other.
    SplitMix64(SplitMix64(SplitMix64(seed).next() ^ number).next())
}

#[cfg(test)]
mod tests {
    use super::{Purpose, stream};

    #[test]
    fn streams_of_neighbouring_seeds_and_purposes_share_nothing() {
        let purposes = [Purpose::Start, Purpose::HeldOut, Purpose::Order(0), Purpose::Order(1)];
        let drawn = (0..50).flat_map(|seed| purposes.map(|purpose| stream(seed, purpose)));
        let numbers = drawn.flat_map(|mut random| (0..20).map(move |_| random.next()).collect::<Vec<_>>());
        let all: Vec<u64> = numbers.collect();
        let distinct: std::collections::BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
