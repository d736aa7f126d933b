//! Shares and payouts: nothing is lost, and neither order nor identities matter.

use std::collections::BTreeMap;

use agora_attribution::*;
use agora_types::{Address, Amount, CAP, Code};
use proptest::prelude::*;

use crate::world::{Dice, address};

fn standing(n: u32, who: u64, influence: u128, verbatim_tokens: u32) -> Standing {
    let cluster = Position { seq: 1, index: n, item: 0 };
    Standing { cluster, account: address(who), weight: 100, influence, verbatim_tokens }
}

fn any_standings() -> impl Strategy<Value = Vec<Standing>> {
    let one = (0u64..6, 0u128..1 << 78, 0u32..20, 0u32..=WEIGHT_MAX);
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let with = |(n, (who, influence, tokens, weight)): (u32, (u64, u128, u32, u32))| Standing {
            weight,
            ..standing(n, who, influence, tokens)
        };
        (0u32..).zip(all).map(with).collect()
    })
}

fn claims(shares: &Shares) -> Vec<(Address, u64)> {
    shares.entries.iter().map(|share| (share.account, share.share)).collect()
}

#[test]
fn a_share_is_influence_and_copied_text_by_the_weight_of_what_was_copied() {
    let all = [standing(1, 1, 3, 0), standing(2, 2, 1, 10)];
    let cap = WHOLE / 4;
    // 10 of 100 tokens: v = 0.1; 10 of 20: v is capped at 0.25.
    for (output, v) in [(100, WHOLE / 10), (20, cap)] {
        let found = shares(&all, output, cap).unwrap();
        assert_eq!(found.verbatim_weight, v);
        let expected = (WHOLE - v) / 4 * 3;
        assert!(found.entries[0].share.abs_diff(expected) <= 3, "{} for {expected}", found.entries[0].share);
        assert_eq!((found.entries[0].influence, found.entries[0].verbatim), (WHOLE / 4 * 3, 0));
    }
    let only_copied = shares(&[standing(1, 1, 0, 5), standing(2, 2, 0, 15)], 100, cap).unwrap();
    assert_eq!(only_copied.entries[1].share, WHOLE / 4 * 3, "one lane alone decides alone");
    let only_influence = shares(&[standing(1, 1, 1, 0), standing(2, 2, 3, 0)], 100, cap).unwrap();
    assert_eq!((only_influence.entries[1].share, only_influence.verbatim_weight), (WHOLE / 4 * 3, 0));
}

#[test]
fn a_kind_counts_by_its_weight_and_one_of_zero_earns_nothing() {
    let light = Standing { weight: 50, ..standing(2, 2, 1, 0) };
    let found = shares(&[standing(1, 1, 1, 0), light], 10, 0).unwrap();
    assert!(found.entries[0].share.abs_diff(WHOLE / 3 * 2) <= 1);
    let none = Standing { weight: 0, ..light };
    assert_eq!(shares(&[standing(1, 1, 1, 0), none], 10, 0).unwrap().entries[0].share, WHOLE);
    let nobody = shares(&[none], 10, 0).unwrap();
    let paid = payout(Amount::from_atoms(99), WHOLE, &claims(&nobody)).unwrap();
    assert_eq!((paid.paid, paid.commons.atoms(), paid.accounts.len()), (Amount::ZERO, 99, 0), "the commons get it");
}

#[test]
fn nobody_is_paid_below_the_null_and_everything_from_the_own_median_on() {
    let calibration = Calibration { null_p95: 1_000, own_median: 3_000 };
    let grades = [0, 1_000, 1_001, 2_000, 2_999, 3_000, WHOLE].map(|explained| calibration.grade(explained));
    assert_eq!(grades, [0, 0, WHOLE / 2_000, WHOLE / 2, WHOLE * 1_999 / 2_000, WHOLE, WHOLE]);
    let widest = Calibration { null_p95: 0, own_median: WHOLE };
    assert_eq!(widest.grade(WHOLE - 1), WHOLE - 1);
    let claims = [(address(1), WHOLE)];
    for (grade, paid) in [(0, 0), (WHOLE / 2, 50), (WHOLE, 101)] {
        let found = payout(Amount::from_atoms(101), grade, &claims).unwrap();
        assert_eq!((found.paid.atoms(), found.commons.atoms()), (paid, 101 - paid));
    }
}

#[test]
fn all_the_money_there_is_does_not_overflow() {
    let many: Vec<Standing> = (0..1_280).map(|n| standing(n, u64::from(n), (1 << 78) - 1, u32::MAX / 1_280)).collect();
    let many: Vec<Standing> = many.into_iter().map(|one| Standing { weight: WEIGHT_MAX, ..one }).collect();
    let found = shares(&many, u32::MAX, WHOLE).unwrap();
    let paid = payout(CAP, WHOLE, &claims(&found)).unwrap();
    assert_eq!((paid.paid, paid.commons), (CAP, Amount::ZERO));
    assert_eq!(Amount::checked_sum(paid.accounts.iter().map(|(_, amount)| *amount)), Some(CAP));
    let above = CAP.checked_add(Amount::from_atoms(1)).unwrap();
    assert_eq!(payout(above, WHOLE, &claims(&found)), Err(Code::AttributionInput));
    assert_eq!(payout(CAP, WHOLE + 1, &claims(&found)), Err(Code::AttributionInput));
    assert_eq!(payout(CAP, WHOLE, &claims(&found)[1..]), Err(Code::AttributionInput));
    assert_eq!(payout(CAP, WHOLE, &[(address(1), u64::MAX), (address(1), u64::MAX)]), Err(Code::AttributionInput));
    let bad = |one: Standing, output| shares(&[one], output, WHOLE).err();
    assert_eq!(bad(standing(1, 1, 1 << 78, 0), 1), Some(Code::AttributionInput));
    assert_eq!(bad(standing(1, 1, 1, 2), 1), Some(Code::AttributionInput), "more copied than answered");
    let heavy = Standing { weight: WEIGHT_MAX + 1, ..standing(1, 1, 1, 0) };
    assert_eq!(bad(heavy, 1), Some(Code::AttributionInput));
    let twice = [standing(1, 1, 1, 0), standing(1, 2, 1, 0)];
    assert_eq!(shares(&twice, 1, WHOLE).err(), Some(Code::AttributionInput));
}

proptest! {
    #[test]
    fn shares_and_money_are_conserved_in_any_order(
        all in any_standings(), turn in any::<u64>(), atoms in 0u128..=CAP.atoms(), grade in 0u64..=WHOLE,
        cap in 0u64..=WHOLE,
    ) {
        let found = shares(&all, 1_000, cap).unwrap();
        let sum: u64 = found.entries.iter().map(|share| share.share).sum();
        prop_assert!(sum == WHOLE || sum == 0);
        let pool = Amount::from_atoms(atoms);
        let paid = payout(pool, grade, &claims(&found)).unwrap();
        prop_assert_eq!(paid.paid.checked_add(paid.commons), Some(pool));
        prop_assert_eq!(Amount::checked_sum(paid.accounts.iter().map(|(_, amount)| *amount)), Some(paid.paid));
        prop_assert_eq!(Amount::checked_sum(paid.entries.iter().copied()), Some(paid.paid));
        prop_assert!(paid.accounts.windows(2).all(|pair| pair[0].0 < pair[1].0));
        // The entries of an account are its amount.
        let mut by_account: BTreeMap<Address, u128> = BTreeMap::new();
        for ((account, _), amount) in claims(&found).iter().zip(&paid.entries) {
            *by_account.entry(*account).or_default() += amount.atoms();
        }
        by_account.retain(|_, atoms| *atoms > 0);
        let accounts: BTreeMap<Address, u128> = paid.accounts.iter().map(|(a, m)| (*a, m.atoms())).collect();
        prop_assert_eq!(by_account, accounts);

        let mut other = all;
        let mut dice = Dice(turn);
        for at in (1..other.len()).rev() {
            other.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
        }
        prop_assert_eq!(shares(&other, 1_000, cap).unwrap(), found);
    }

    #[test]
    fn splitting_over_identities_is_neutral(
        all in any_standings(), atoms in 0u128..=CAP.atoms(), grade in 0u64..=WHOLE, names in 1u64..10,
    ) {
        // Account 0 takes a new name for each of its clusters, round and round.
        let mut split = all.clone();
        let own = split.iter_mut().filter(|one| one.account == address(0));
        for (n, one) in (0u64..).zip(own) {
            one.account = address(1_000 + n % names);
        }
        let pool = Amount::from_atoms(atoms);
        let money = |all: &[Standing]| payout(pool, grade, &claims(&shares(all, 1_000, WHOLE / 3).unwrap())).unwrap();
        let (one, many) = (money(&all), money(&split));
        prop_assert_eq!((one.paid, one.commons), (many.paid, many.commons));
        let own = |paid: &Payout, mine: &dyn Fn(&Address) -> bool| -> u128 {
            paid.accounts.iter().filter(|(account, _)| mine(account)).map(|(_, amount)| amount.atoms()).sum()
        };
        let before = own(&one, &|account| *account == address(0));
        let after = own(&many, &|account| (1_000..1_000 + names).any(|name| *account == address(name)));
        prop_assert!(before.abs_diff(after) <= u128::from(names), "{before} {after}");
    }
}
