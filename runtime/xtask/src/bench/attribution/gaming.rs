//! The table of attacks: what each pays who makes it, beside what honesty pays, and what it costs others.

use std::fmt;

use agora_types::Amount;
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

/// Beyond noise, an attack may change by so many thousandths what anybody gets and still be worth nothing.
const SLACK_MILLI: u128 = 20;

/// What the example `faithfulness` gives.
#[derive(Deserialize)]
struct Seen {
    lessons: usize,
    questions: usize,
    charge: Amount,
    self_dealing: SelfDealing,
    bridge: Option<Bridge>,
    nearness: Option<Nearness>,
    /// The first is honest, the second is the same with another training.
    markets: Vec<Market>,
}

/// The attacker asks for its own data, and pays.
#[derive(Deserialize)]
struct SelfDealing {
    paid: Amount,
    back: Amount,
    /// What it gets beside if it owns the model and hosts it.
    beside: Amount,
}

/// Lessons from one to another in small steps, to make two clusters one.
#[derive(Deserialize)]
struct Bridge {
    given: usize,
    let_in: usize,
    /// The least cosine of neighbours, that of both ends, and the one from which two are one cluster, thousandths.
    least_milli: f64,
    ends_milli: f64,
    threshold_milli: f64,
}

/// Cosines of rows, thousandths: of lessons with themselves touched, with themselves reworded, and with others of the same
/// person.
#[derive(Deserialize)]
struct Nearness {
    touched: Vec<f64>,
    reworded: Vec<f64>,
    same_person: Vec<f64>,
}

/// What came of a market.
#[derive(Deserialize)]
struct Market {
    name: String,
    given: usize,
    refused: usize,
    flagged: usize,
    near: usize,
    learnt: usize,
    clustered: usize,
    first: usize,
    pool: Amount,
    commons: Amount,
    victim: Amount,
    bystander: Amount,
    attacker: Amount,
    copied: u64,
    attacker_copied: u64,
    failed: Option<String>,
}

/// What is said of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not an atom moved.
    Nothing,
    /// It pays no more than honesty, and costs nobody.
    Defeated,
    /// It pays.
    Pays,
    /// It costs the victim, and does not pay.
    Harms,
    /// There is no index, and so nothing is paid by measure.
    Unmeasured,
}

/// The whole table.
pub(super) struct Gaming {
    document: Value,
    seen: Seen,
    /// By how many thousandths two honest trainings differ, at most, in what somebody gets.
    noise_milli: u128,
}

/// Thousandths of what there was before; `None` where that is nothing.
fn milli(now: Amount, before: Amount) -> Option<u128> {
    (now.atoms() * 1_000 + before.atoms() / 2).checked_div(before.atoms())
}

impl Market {
    fn got(&self) -> [Amount; 3] {
        [self.attacker, self.victim, self.bystander]
    }

    /// The attacker's thousandths of what contributors get.
    fn part(&self) -> Option<u128> {
        milli(self.attacker, self.pool.saturating_sub(self.commons))
    }

    /// What attacker, victim and bystander get, in thousandths of what honesty gives them.
    fn beside(&self, honest: &Self) -> [Option<u128>; 3] {
        let mut each = self.got().into_iter().zip(honest.got());
        std::array::from_fn(|_| each.next().and_then(|(now, before)| milli(now, before)))
    }
}

impl Gaming {
    pub(super) fn of(document: Value) -> anyhow::Result<Self> {
        let seen: Seen = serde_json::from_value(document.clone()).context("what the example printed")?;
        ensure!(seen.markets.len() >= 2, "two honest markets, and those that somebody games");
        let again = seen.markets[1].beside(&seen.markets[0]);
        let noise_milli = again.into_iter().flatten().map(|part| part.abs_diff(1_000)).max().unwrap_or(0);
        Ok(Self { document, seen, noise_milli })
    }

    fn honest(&self) -> &Market {
        &self.seen.markets[0]
    }

    /// All but the honest ones.
    fn attacks(&self) -> impl Iterator<Item = &Market> {
        self.seen.markets.iter().skip(2)
    }

    fn verdict(&self, market: &Market) -> Verdict {
        let honest = self.honest();
        if market.failed.is_some() {
            return Verdict::Unmeasured;
        }
        if (market.got(), market.commons) == (honest.got(), honest.commons) {
            return Verdict::Nothing;
        }
        let [attacker, victim, _] = market.beside(honest).map(|part| part.unwrap_or(0));
        let slack = SLACK_MILLI + self.noise_milli;
        match (attacker > 1_000 + slack, victim + slack < 1_000) {
            (true, _) => Verdict::Pays,
            (false, true) => Verdict::Harms,
            (false, false) => Verdict::Defeated,
        }
    }

    /// The goals: what was seen, and whether it is met.
    pub(super) fn goals(&self) -> Vec<(String, bool)> {
        let honest = self.honest();
        let mut goals: Vec<(String, bool)> = self
            .attacks()
            .map(|market| {
                let [attacker, victim, _] = market.beside(honest).map(times);
                let verdict = self.verdict(market);
                let what = format!("gaming, {}: attacker {attacker}, victim {victim}: {verdict}", market.name);
                (what, matches!(verdict, Verdict::Nothing | Verdict::Defeated))
            })
            .collect();
        let SelfDealing { paid, back, beside } = &self.seen.self_dealing;
        let [back, all] = [back.atoms(), back.atoms() + beside.atoms()].map(Amount::from_atoms);
        let [part, most] = [back, all].map(|amount| times(milli(amount, *paid)));
        let what = format!(
            "gaming, self-dealing: {part} of what is paid comes back, {most} to who owns and hosts the model too (below 1)"
        );
        goals.push((what, all < *paid));
        if let Some(bridge) = &self.seen.bridge {
            let what = format!(
                "gaming, a bridge of {} lessons to another's ({} let in): neighbours at a cosine of {:.3} at least, the ends at \
                 {:.3} (below the {:.3} of a cluster)",
                bridge.given,
                bridge.let_in,
                bridge.least_milli / 1e3,
                bridge.ends_milli / 1e3,
                bridge.threshold_milli / 1e3
            );
            goals.push((what, bridge.least_milli < bridge.threshold_milli));
        }
        goals
    }

    pub(super) fn document(&self) -> Value {
        let honest = self.honest();
        let verdict = |market: &Market| {
            let [attacker, victim, bystander] = market.beside(honest);
            json!({
                "name": market.name, "attacker_milli": attacker, "victim_milli": victim, "bystander_milli": bystander,
                "attacker_part_milli": market.part(), "commons_milli": milli(market.commons, market.pool),
                "verdict": self.verdict(market).to_string(),
            })
        };
        json!({
            "seen": self.document, "noise_milli": self.noise_milli,
            "attacks": self.attacks().map(verdict).collect::<Vec<_>>(),
        })
    }
}

/// Least, median and most of thousandths.
fn spread(all: &[f64]) -> String {
    let mut all = all.to_vec();
    all.sort_by(f64::total_cmp);
    let at = |place: usize| all.get(place).map_or_else(|| "-".to_owned(), |milli| format!("{:.3}", milli / 1e3));
    format!("{} {} {}", at(0), at(all.len() / 2), at(all.len().saturating_sub(1)))
}

/// Thousandths as a factor.
fn times(milli: Option<u128>) -> String {
    milli.map_or_else(|| "-".to_owned(), |milli| format!("x{}.{:03}", milli / 1_000, milli % 1_000))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "defeated, to the atom",
            Self::Defeated => "defeated",
            Self::Pays => "NOT DEFEATED: it pays",
            Self::Harms => "NOT DEFEATED: it costs the victim",
            Self::Unmeasured => "NOT DEFEATED: no index, nobody is paid by measure",
        })
    }
}

impl fmt::Display for Gaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { lessons, questions, charge, .. } = &self.seen;
        writeln!(
            f,
            "\nGaming: three people with {lessons} lessons each, {questions} questions at {charge} OPEN; two honest trainings \
             differ by {} at most",
            times(Some(self.noise_milli)).trim_start_matches('x')
        )?;
        writeln!(
            f,
            "  {:<29}  {:>5}  {:>3}  {:>7}  {:>8}  {:>5}  {:>6}  {:>9}  {:>7}  {:>6}  {:>5}  verdict",
            "", "given", "out", "cluster", "attacker", "part", "victim", "bystander", "commons", "copied", "first"
        )?;
        for market in &self.seen.markets {
            let [attacker, victim, bystander] = market.beside(self.honest()).map(times);
            let plain = |part: Option<u128>| times(part).trim_start_matches('x').to_owned();
            let copied = format!("{}/{}", market.attacker_copied, market.copied);
            let is_attack = self.attacks().any(|attack| std::ptr::eq(attack, market));
            let verdict = if is_attack { self.verdict(market).to_string() } else { String::new() };
            writeln!(
                f,
                "  {:<29}  {:>5}  {:>3}  {:>7}  {attacker:>8}  {:>5}  {victim:>6}  {bystander:>9}  {:>7}  {copied:>6}  {:>5}  \
                 {verdict}",
                market.name,
                market.given,
                market.given - market.learnt,
                market.clustered,
                plain(market.part()),
                plain(milli(market.commons, market.pool)),
                format!("{}/{questions}", market.first),
            )?;
            if market.refused + market.flagged > 0 {
                writeln!(f, "    the checks refuse {} and flag {}", market.refused, market.flagged)?;
            }
            if let Some(why) = &market.failed {
                writeln!(f, "    {why}")?;
            }
        }
        writeln!(
            f,
            "  given: lessons; out: left out before training ({} as near-duplicates and repeats in all); cluster: owned by an \
             earlier one for their gradients\n  attacker, victim, bystander: beside what honesty pays them; part: the attacker's of \
             what the three get; commons: of the pool\n  copied: tokens credited to the attacker, of all; first: own \
             contributor gets most",
            self.seen.markets.iter().map(|market| market.near).sum::<usize>()
        )?;
        if let Some(near) = &self.seen.nearness {
            let all = [&near.touched, &near.reworded, &near.same_person];
            let [touched, reworded, others] = all.map(|all| spread(all));
            writeln!(
                f,
                "  cosines of rows (least, median, most): a lesson and itself touched {touched}, reworded {reworded}; two of one \
                 person {others}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A market in which so many atoms went to attacker, victim, bystander and commons.
    fn market(name: &str, [attacker, victim, bystander, commons]: [u32; 4]) -> Value {
        json!({
            "name": name, "given": 12, "refused": 0, "flagged": 0, "near": 0, "learnt": 12, "clustered": 0, "first": 12,
            "pool": (attacker + victim + bystander + commons).to_string(), "commons": commons.to_string(),
            "victim": victim.to_string(), "bystander": bystander.to_string(), "attacker": attacker.to_string(),
            "copied": 9, "attacker_copied": 0, "failed": null,
        })
    }

    fn gaming(attacks: &[Value]) -> Gaming {
        let honest = [market("honest", [3_000, 3_000, 3_000, 1_000]), market("again", [3_030, 3_000, 2_970, 1_000])];
        let markets = [&honest, attacks].concat();
        let document = json!({
            "lessons": 4, "questions": 12, "charge": "20000", "bridge": null, "markets": markets,
            "nearness": { "touched": [900.0, 700.0, 800.0], "reworded": [300.0], "same_person": [] },
            "self_dealing": { "paid": "80000", "back": "30000", "beside": "32000" },
        });
        Gaming::of(document).unwrap()
    }

    #[test]
    fn an_attack_is_judged_beside_honesty_and_noise() {
        let gaming = gaming(&[
            market("a", [3_000, 3_000, 3_000, 1_000]),
            // 29 thousandths more: within the slack of 20 and the noise of 10.
            market("b", [3_087, 3_000, 2_913, 1_000]),
            market("c", [3_100, 2_900, 3_000, 1_000]),
            market("d", [3_000, 2_900, 3_000, 1_100]),
        ]);
        assert_eq!(gaming.noise_milli, 10);
        let verdicts: Vec<Verdict> = gaming.attacks().map(|market| gaming.verdict(market)).collect();
        assert_eq!(verdicts, [Verdict::Nothing, Verdict::Defeated, Verdict::Pays, Verdict::Harms]);
        let met: Vec<bool> = gaming.goals().into_iter().map(|(_, met)| met).collect();
        assert_eq!(met, [true, true, false, false, true]);
        let text = gaming.to_string();
        for said in ["x1.029", "NOT DEFEATED: it pays", "touched 0.700 0.800 0.900", "one person - - -"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_measured_is_no_defeat() {
        let mut failed = market("f", [0, 0, 0, 0]);
        failed["failed"] = "calibration".into();
        let gaming = gaming(&[failed]);
        let attack = gaming.attacks().next().unwrap();
        assert_eq!(gaming.verdict(attack), Verdict::Unmeasured);
        assert!(!gaming.goals()[0].1 && gaming.to_string().contains("calibration"));
    }
}
