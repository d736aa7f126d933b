//! Who owns near-duplicates.

use std::collections::BTreeMap;

use agora_attribution::*;
use agora_types::Code;
use proptest::prelude::*;

use crate::world::{Dice, example};

#[test]
fn the_earliest_commitment_owns_whatever_the_row() {
    let examples = [example(1, 9, 0), example(2, 3, 1), example(3, 3, 0), example(4, 1, 0)];
    let found = owners(&examples, &[(0, 1), (2, 0), (2, 1)]).unwrap();
    assert_eq!(found, [2, 2, 2, 3], "seq, then index, then item; whoever has no near-duplicate owns itself");
    let table = RowTable { examples: examples.to_vec(), owners: found };
    assert_eq!(table.check(), Ok(()));
    let owning: Vec<bool> = (0..5).map(|row| table.is_owner(row)).collect();
    assert_eq!(owning, [false, false, true, true, false]);
    assert_eq!(owners(&examples, &[(0, 4)]), Err(Code::AttributionInput));
    assert_eq!(owners(&[], &[]), Ok(vec![]));
}

#[test]
fn what_lies_between_two_lessons_makes_them_no_one_cluster() {
    // The attacker's own came first, the victim's second; then steps from the one to the other.
    let examples: Vec<Example> = (0..6).map(|n| example(n, 1 + n, 0)).collect();
    let steps = [(0, 2), (2, 3), (3, 4), (4, 5), (5, 1), (4, 1)];
    assert_eq!(owners(&examples, &steps).unwrap(), [0, 1, 0, 0, 1, 1], "each with the earliest that it is like");
    assert_eq!(owners(&examples, &[(0, 2), (2, 3), (3, 4)]).unwrap(), [0, 1, 0, 0, 0, 5], "a copy of a copy");
}

#[test]
fn thresholds_are_met_exactly() {
    let four_fifths = (WHOLE * 4).div_ceil(5);
    assert!(jaccard_at_least(81, 100, four_fifths) && !jaccard_at_least(79, 100, four_fifths));
    assert!(jaccard_at_least(1, 1, WHOLE) && !jaccard_at_least(0, 0, 0));
    // cos = 3/5.
    assert!(cosine_at_least(15, 25, 25, WHOLE / 5 * 3) && !cosine_at_least(15, 25, 25, WHOLE / 5 * 3 + 4));
    assert!(!cosine_at_least(-25, 25, 25, 0) && !cosine_at_least(25, 25, 25, WHOLE + 1));
    assert!(cosine_at_least(25, 25, 25, WHOLE));
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let examples = vec![example(1, 1, 0), example(2, 2, 0), example(3, 3, 0)];
    let good = RowTable { examples, owners: vec![0, 0, 2] };
    assert_eq!(good.check(), Ok(()));
    type Change = fn(&mut RowTable);
    let wrong: &[(&str, Change)] = &[
        ("empty", |t| *t = RowTable { examples: vec![], owners: vec![] }),
        ("lengths", |t| t.owners.truncate(2)),
        ("no such row", |t| t.owners[1] = 3),
        ("an owner that is owned", |t| t.owners = vec![0, 0, 1]),
        ("a later owner", |t| t.owners = vec![1, 1, 2]),
        ("one position twice", |t| t.examples[2].position = t.examples[0].position),
        ("weight", |t| t.examples[0].weight = WEIGHT_MAX + 1),
    ];
    for (what, change) in wrong {
        let mut table = good.clone();
        change(&mut table);
        assert_eq!(table.check(), Err(Code::AttributionMatrix), "{what}");
    }
}

proptest! {
    #[test]
    fn order_of_edges_and_of_rows_does_not_matter(
        pairs in prop::collection::vec((0u32..30, 0u32..30), 0..40), turn in any::<u64>(),
    ) {
        let examples: Vec<Example> = (0..30).map(|n| example(n, 100 - n % 7, u32::try_from(n).unwrap())).collect();
        let found = owners(&examples, &pairs).unwrap();
        // The slow way: whoever comes before, by the definition.
        fn owner(row: u32, examples: &[Example], pairs: &[(u32, u32)]) -> u32 {
            let key = |row: u32| (examples[row as usize].position, row);
            let near = |pair: &(u32, u32)| match *pair {
                (left, right) if left == row => Some(right),
                (left, right) if right == row => Some(left),
                _ => None,
            };
            let earliest = pairs.iter().filter_map(near).filter(|other| key(*other) < key(row)).min_by_key(|other| key(*other));
            earliest.map_or(row, |other| owner(other, examples, pairs))
        }
        let slow: Vec<u32> = (0..30).map(|row| owner(row, &examples, &pairs)).collect();
        prop_assert_eq!(&found, &slow);

        let mut dice = Dice(turn);
        let mut places: Vec<u32> = (0..30).collect();
        for at in (1..30).rev() {
            places.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap());
        }
        // Row n of the first world is row places[n] of the second.
        let mut moved = examples.clone();
        for (n, place) in places.iter().enumerate() {
            moved[*place as usize] = examples[n];
        }
        let turned: Vec<(u32, u32)> =
            pairs.iter().rev().map(|(l, r)| (places[*r as usize], places[*l as usize])).collect();
        let again = owners(&moved, &turned).unwrap();
        let owner_of: BTreeMap<Position, Position> =
            moved.iter().zip(&again).map(|(one, owner)| (one.position, moved[*owner as usize].position)).collect();
        for (one, owner) in examples.iter().zip(&found) {
            prop_assert_eq!(owner_of[&one.position], examples[*owner as usize].position);
        }
    }
}
