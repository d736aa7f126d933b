//! Fairness between payers: who was served least goes next, and a flood leaves room for those who come after it.
//!
//! Turns follow start-time fair queueing (Goyal, Vin and Cheng 1996) with tokens as the measure. Places are given by
//! dynamic thresholds (Choudhury and Hahne 1998): a payer may hold as much as is still free, so one alone gets half, two
//! get a third each, and there is always something left for the next.

use std::collections::HashMap;

use agora_types::Address;

/// Who pays; `None` for local use.
pub(super) type Payer = Option<Address>;

/// Most payers that are remembered.
const PAYERS_MAX: usize = 4_096;

/// Whether a payer who holds `held` of a common good may take `more` while `free` is left.
pub(super) fn may_take(held: usize, more: usize, free: usize) -> bool {
    more <= free && (held == 0 || held + more <= free)
}

/// Tokens served, by payer.
#[derive(Debug, Default)]
pub(super) struct Served {
    tokens: HashMap<Payer, u64>,
    /// Nobody counts as served less: who was away has saved nothing up.
    floor: u64,
}

impl Served {
    /// What a payer was served.
    pub(super) fn of(&self, payer: Payer) -> u64 {
        self.tokens.get(&payer).map_or(self.floor, |tokens| self.floor.max(*tokens))
    }

    /// A payer was served `count` tokens more.
    pub(super) fn add(&mut self, payer: Payer, count: u64) {
        let tokens = self.of(payer).saturating_add(count);
        self.tokens.insert(payer, tokens);
    }

    /// Lifts the floor to the least of those who are here, and forgets who is not above it.
    pub(super) fn settle(&mut self, here: impl Iterator<Item = Payer>) {
        if let Some(least) = here.map(|payer| self.of(payer)).min() {
            self.floor = self.floor.max(least);
        }
        let floor = self.floor;
        self.tokens.retain(|_, tokens| *tokens > floor);
        while self.tokens.len() > PAYERS_MAX {
            let least = self.tokens.iter().min_by_key(|(payer, tokens)| (**tokens, **payer));
            let Some(payer) = least.map(|(payer, _)| *payer) else { return };
            self.tokens.remove(&payer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payer(number: u8) -> Payer {
        Some(Address::new([number; 20]))
    }

    #[test]
    fn one_alone_gets_half_and_there_is_always_something_left() {
        let share = |payers: usize| {
            let (mut held, mut free) = (vec![0; payers], 60);
            while let Some(at) = (0..payers).find(|at| may_take(held[*at], 1, free)) {
                held[at] += 1;
                free -= 1;
            }
            (held, free)
        };
        assert_eq!(share(1), (vec![30], 30));
        let (held, free) = share(2);
        assert!(free >= 7 && held[1] > 0, "{held:?} {free}");
        assert!(may_take(0, 60, 60) && !may_take(0, 61, 60) && !may_take(1, 30, 30));
    }

    #[test]
    fn who_comes_late_or_was_away_has_saved_nothing_up() {
        let mut served = Served::default();
        served.add(payer(1), 1_000);
        served.add(payer(2), 400);
        served.settle([payer(1), payer(2)].into_iter());
        assert_eq!((served.of(payer(1)), served.of(payer(2)), served.of(payer(3))), (1_000, 400, 400));
        // The one who was served more does not get rid of it by leaving.
        served.settle([payer(2)].into_iter());
        assert_eq!(served.of(payer(1)), 1_000);
        served.add(payer(2), 700);
        served.settle([payer(2)].into_iter());
        assert_eq!((served.of(payer(1)), served.tokens.len()), (1_100, 0));
    }

    #[test]
    fn a_crowd_of_payers_is_forgotten() {
        let mut served = Served::default();
        for number in 0..10_000_u32 {
            let mut bytes = [0; 20];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            served.add(Some(Address::new(bytes)), u64::from(number) + 1);
        }
        served.settle(std::iter::empty());
        assert_eq!(served.tokens.len(), PAYERS_MAX);
    }
}
