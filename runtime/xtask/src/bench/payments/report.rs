//! What was seen, as a table for people and a document for machines, and whether the goals were met.

use std::fmt;

use serde_json::{Value, json};

use super::figures::{Figures, Leg, Limits, Median, Pay, Seller, millis};

/// A voucher may add so much to an idle request at the median.
const ADDED_MAX_MICROS: u64 = 1_000;
/// So many times the stock seller's paid requests.
const RATIO_MIN: u64 = 10;

/// A finished run.
pub(super) struct Report {
    pub(super) connections: u64,
    pub(super) limits: Limits,
    pub(super) seen: Figures,
    /// What each seller said when it turned its vouchers into money.
    pub(super) claimed: [String; 2],
    /// The recount's first line.
    pub(super) audit: String,
}

/// A goal, and whether it was met.
struct Goal {
    met: bool,
    what: String,
}

impl Report {
    fn row(&self, seller: Seller, pay: Pay, connections: u64) -> Median {
        self.seen.median(Leg { seller, pay, connections })
    }

    /// What a payment adds to an idle request at the median.
    fn added_micros(&self, seller: Seller, pay: Pay) -> u64 {
        let of = |pay| self.row(seller, pay, 1).p50_micros;
        of(pay).saturating_sub(of(Pay::Nothing))
    }

    /// Tenths of the stock seller's requests a second.
    fn ratio_tenths(&self, pay: Pay, connections: u64) -> u64 {
        let of = |seller| self.row(seller, pay, connections).per_s;
        of(Seller::Ours) * 10 / of(Seller::Stock).max(1)
    }

    /// What one durable append of the disk takes.
    fn append_micros(&self) -> u64 {
        1_000_000 / self.limits.appends_per_s.max(1)
    }

    fn goals(&self) -> Vec<Goal> {
        let added = self.added_micros(Seller::Ours, Pay::Voucher);
        let append = self.append_micros();
        let ours = added.saturating_sub(append);
        let disk =
            format!("one durable append takes {} ms here, the other {} ms are ours", millis(append), millis(ours));
        let mut goals = vec![Goal {
            met: added <= ADDED_MAX_MICROS,
            what: format!(
                "a voucher adds {} ms to an idle request at the median (at most {} ms; {disk})",
                millis(added),
                millis(ADDED_MAX_MICROS),
            ),
        }];
        for pay in [Pay::Exact, Pay::Voucher] {
            let tenths = self.ratio_tenths(pay, self.connections);
            goals.push(Goal {
                met: tenths >= RATIO_MIN * 10,
                what: format!(
                    "{} under load: {} times the stock seller's requests (at least {RATIO_MIN})",
                    pay.name(),
                    tenth(tenths)
                ),
            });
        }
        goals
    }

    /// How far our seller is from what the machine can do.
    fn distances(&self) -> Vec<String> {
        let Limits { appends_per_s, verifications_per_s, cores } = self.limits;
        let voucher = self.row(Seller::Ours, Pay::Voucher, self.connections).per_s;
        let exact = self.row(Seller::Ours, Pay::Exact, self.connections).per_s;
        let percent = |one: u64, of: u64| one * 100 / of.max(1);
        let all = verifications_per_s * cores;
        vec![
            format!(
                "disk: {appends_per_s} durable appends/s; {} voucher and {} exact requests under load for each of them",
                tenth(voucher * 10 / appends_per_s.max(1)),
                tenth(exact * 10 / appends_per_s.max(1)),
            ),
            format!(
                "signatures: {verifications_per_s} verifications/s a core, {cores} cores; under load vouchers are {} % of \
                 that and exact payments {} %, with the buyers on the same cores",
                percent(voucher, all),
                percent(exact, all),
            ),
        ]
    }

    /// For machines.
    pub(super) fn document(&self) -> Value {
        let mut rows = Vec::new();
        for connections in [1, self.connections] {
            for seller in Seller::ALL {
                for pay in Pay::ALL {
                    let Median { per_s, p50_micros, p99_micros } = self.row(seller, pay, connections);
                    rows.push(json!({
                        "seller": seller.name(), "pay": pay.name(), "connections": connections,
                        "requests_per_s": per_s, "p50_micros": p50_micros, "p99_micros": p99_micros,
                    }));
                }
            }
        }
        let goals: Vec<Value> =
            self.goals().into_iter().map(|goal| json!({ "met": goal.met, "goal": goal.what })).collect();
        json!({
            "rows": rows,
            "durable_appends_per_s": self.limits.appends_per_s,
            "verifications_per_s_per_core": self.limits.verifications_per_s,
            "cores": self.limits.cores,
            "goals": goals,
            "claimed": self.claimed,
            "audit": self.audit,
        })
    }
}

/// Tenths as a decimal number.
fn tenth(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8} {:<8} {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10} {:>9}",
            "seller", "paid by", "idle p50", "p99", "added p50", "load req/s", "p50", "p99", "x express"
        )?;
        for seller in Seller::ALL {
            for pay in Pay::ALL {
                let (idle, load) = (self.row(seller, pay, 1), self.row(seller, pay, self.connections));
                let added = match pay {
                    Pay::Nothing => String::new(),
                    Pay::Exact | Pay::Voucher => millis(self.added_micros(seller, pay)),
                };
                let ratio = match seller {
                    Seller::Ours => tenth(self.ratio_tenths(pay, self.connections)),
                    Seller::Stock => String::new(),
                };
                writeln!(
                    f,
                    "{:<8} {:<8} {:>10} {:>10} {:>10} | {:>10} {:>10} {:>10} {:>9}",
                    seller.name(),
                    pay.name(),
                    millis(idle.p50_micros),
                    millis(idle.p99_micros),
                    added,
                    load.per_s,
                    millis(load.p50_micros),
                    millis(load.p99_micros),
                    ratio,
                )?;
            }
        }
        writeln!(f, "times in ms; idle is 1 connection, load {}", self.connections)?;
        for line in self.distances() {
            writeln!(f, "{line}")?;
        }
        for goal in self.goals() {
            writeln!(f, "{:<6} {}", if goal.met { "met" } else { "MISSED" }, goal.what)?;
        }
        for line in &self.claimed {
            writeln!(f, "ended  {line}")?;
        }
        writeln!(f, "audit  {}", self.audit)
    }
}
