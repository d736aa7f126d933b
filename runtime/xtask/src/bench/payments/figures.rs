//! What is measured, and medians of it. Times are whole microseconds.

use std::fmt;
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Who sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seller {
    Ours,
    Stock,
}

/// How it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pay {
    Nothing,
    Exact,
    Voucher,
}

/// One row, at one number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) seller: Seller,
    pub(super) pay: Pay,
    pub(super) connections: u64,
}

impl Seller {
    pub(super) const ALL: [Self; 2] = [Self::Ours, Self::Stock];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "agora",
            Self::Stock => "express",
        }
    }
}

impl Pay {
    pub(super) const ALL: [Self; 3] = [Self::Nothing, Self::Exact, Self::Voucher];

    /// As the load generator takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Exact => "exact",
            Self::Voucher => "voucher",
        }
    }

    /// The same handler stands behind both.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Nothing => "/free",
            Self::Exact | Self::Voucher => "/weather",
        }
    }
}

impl Leg {
    /// Idle first, then under load.
    pub(super) fn all(connections: u64) -> Vec<Self> {
        let mut legs = Vec::new();
        for connections in [1, connections] {
            for pay in Pay::ALL {
                legs.extend(Seller::ALL.map(|seller| Self { seller, pay, connections }));
            }
        }
        legs
    }

    /// Requests to sign beforehand: more than can be sold. Where that is wrong, the measurement only ends early.
    pub(super) fn prepared(&self, seconds: u64) -> u64 {
        let per_s = match (self.seller, self.pay) {
            (_, Pay::Nothing) => 0,
            (Seller::Ours, Pay::Exact) => 3_000,
            (Seller::Ours, Pay::Voucher) => 8_000,
            (Seller::Stock, Pay::Exact | Pay::Voucher) => 1_000,
        };
        per_s * seconds
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} x{}", self.seller.name(), self.pay.name(), self.connections)
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Seen {
    requests: u64,
    micros: u64,
    p50_micros: u64,
    p99_micros: u64,
}

impl Seen {
    fn per_s(&self) -> u64 {
        self.requests * 1_000_000 / self.micros.max(1)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s, p50 {} ms, p99 {} ms", self.per_s(), millis(self.p50_micros), millis(self.p99_micros))
    }
}

/// What the machine itself can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Limits {
    pub(super) appends_per_s: u64,
    pub(super) verifications_per_s: u64,
    pub(super) cores: u64,
}

/// The medians of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Median {
    pub(super) per_s: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
}

/// All measurements.
#[derive(Debug, Default)]
pub(super) struct Figures(Vec<(Leg, Seen)>);

impl Figures {
    pub(super) fn add(&mut self, leg: Leg, seen: Seen) {
        self.0.push((leg, seen));
    }

    /// Of a row; zeros where nothing was measured.
    pub(super) fn median(&self, leg: Leg) -> Median {
        let of = |value: &dyn Fn(&Seen) -> u64| {
            let mut values: Vec<u64> =
                self.0.iter().filter(|(one, _)| *one == leg).map(|(_, seen)| value(seen)).collect();
            values.sort_unstable();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Median {
            per_s: of(&Seen::per_s),
            p50_micros: of(&|seen| seen.p50_micros),
            p99_micros: of(&|seen| seen.p99_micros),
        }
    }
}

/// Milliseconds with three decimals.
pub(super) fn millis(micros: u64) -> String {
    format!("{}.{:03}", micros / 1_000, micros % 1_000)
}

/// The one line of JSON that a command says.
pub(super) fn read<T: DeserializeOwned>(command: &mut Command) -> anyhow::Result<T> {
    let text = super::output(command)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_its_own_row() {
        let leg = Leg { seller: Seller::Ours, pay: Pay::Voucher, connections: 1 };
        let other = Leg { seller: Seller::Stock, ..leg };
        let seen = |p50_micros| Seen { requests: 10, micros: 2_000_000, p50_micros, p99_micros: 9 };
        let mut figures = Figures::default();
        for (leg, p50) in [(leg, 5), (other, 1_000), (leg, 900), (leg, 7)] {
            figures.add(leg, seen(p50));
        }
        assert_eq!(figures.median(leg), Median { per_s: 5, p50_micros: 7, p99_micros: 9 });
        assert_eq!(figures.median(Leg { connections: 2, ..leg }), Median::default());
    }

    #[test]
    fn milliseconds_keep_their_zeros() {
        assert_eq!([0, 7, 1_000, 12_034].map(millis), ["0.000", "0.007", "1.000", "12.034"]);
    }
}
