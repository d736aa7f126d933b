//! The matrix file, exact products, and a scan that does not depend on how it is split.

use agora_attribution::*;
use agora_types::merkle::{leaf_hash, root};
use agora_types::{Code, Hash};
use proptest::prelude::*;

use crate::world::{Dice, World};

fn entries() -> impl Strategy<Value = i8> {
    prop_oneof![4 => -127i8..=127, 1 => Just(127), 1 => Just(-127), 1 => Just(0)]
}

fn rows() -> impl Strategy<Value = Vec<Vec<i8>>> {
    (1usize..70).prop_flat_map(|width| prop::collection::vec(prop::collection::vec(entries(), width), 1..40))
}

/// Best first by exact fractions, sorted the slow way.
fn naive(query: &[i8], rows: &[Vec<i8>], order: Order, count: usize) -> Vec<u32> {
    let dot = |a: &[i8], b: &[i8]| a.iter().zip(b).map(|(a, b)| i128::from(*a) * i128::from(*b)).sum::<i128>();
    let mut all: Vec<(u32, i128, i128)> =
        (0u32..).zip(rows).map(|(at, row)| (at, dot(query, row), dot(row, row))).filter(|(_, _, n)| *n > 0).collect();
    let by = |n: i128| if order == Order::Dot { 1 } else { n };
    all.sort_by(|a, b| {
        let (left, right) = (a.1 * a.1.abs() * by(b.2), b.1 * b.1.abs() * by(a.2));
        right.cmp(&left).then(a.0.cmp(&b.0))
    });
    all.into_iter().take(count).map(|(at, _, _)| at).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_scan_is_the_naive_one_and_does_not_depend_on_the_split(
        rows in rows(), turn in any::<u64>(), count in 1usize..50, by_dot in any::<bool>(),
    ) {
        let order = if by_dot { Order::Dot } else { Order::Cosine };
        let file = file(&rows).unwrap();
        let matrix = Matrix::open(&file).unwrap();
        let mut dice = Dice(turn);
        let query = rows[usize::try_from(dice.below(rows.len() as u64)).unwrap()].clone();
        let vector = Vector::from_entries(&query).unwrap();
        let whole = matrix.scan(&vector.row(), 0..u32::MAX, count, order, |_| true).into_rows();
        let found: Vec<u32> = whole.iter().map(|scored| scored.row).collect();
        prop_assert_eq!(found, naive(&query, &rows, order, count));

        let mut cuts: Vec<u32> = (0..dice.below(6)).map(|_| u32::try_from(dice.below(41)).unwrap()).collect();
        cuts.extend([0, matrix.rows()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|cut| matrix.scan(&vector.row(), cut[0]..cut[1], count, order, |_| true));
        let mut parts: Vec<Best> = parts.collect();
        parts.reverse();
        prop_assert_eq!(merge(parts), whole);
    }

    #[test]
    fn products_are_exact_at_every_length(left in prop::collection::vec(entries(), 1..200), turn in any::<u64>()) {
        let mut dice = Dice(turn);
        let right: Vec<i8> = left.iter().map(|_| i8::try_from(dice.below(255)).unwrap_or(-100)).collect();
        let exact: i64 = left.iter().zip(&right).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
        let (left, right) = (Vector::from_entries(&left).unwrap(), Vector::from_entries(&right).unwrap());
        prop_assert_eq!(i64::from(left.row().dot(&right.row())), exact);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        head in prop::collection::vec(any::<u8>(), 0..100), at in 0usize..64, byte in any::<u8>(), cut in 0usize..100,
    ) {
        let _ = Matrix::open(&head);
        let mut good = file(&[vec![1, 2, 3], vec![4, 5, 6]]).unwrap();
        good[at] = byte;
        good.truncate(cut);
        let _ = Matrix::open(&good);
    }
}

#[test]
fn a_file_out_of_form_is_refused() {
    let good = file(&[vec![1, -2, 3], vec![-127, 5, 127]]).unwrap();
    let matrix = Matrix::open(&good).unwrap();
    assert_eq!((matrix.dimension(), matrix.rows()), (3, 2));
    assert_eq!(matrix.row(1).unwrap().norm_squared(), 2 * 127 * 127 + 25);
    assert!(matrix.row(2).is_none());
    assert_eq!(matrix.leaves()[0], leaf_hash(&[1, 254, 3]));
    assert_eq!(matrix.root(), root(&matrix.leaves()));
    let change = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    for (what, bytes) in [
        ("magic", change(0, 0)),
        ("version", change(8, 2)),
        ("no entries", change(12, 0)),
        ("other width", change(12, 2)),
        ("no rows", change(16, 0)),
        ("more rows", change(16, 3)),
        ("rows above 32 bits", change(21, 1)),
        ("padding", change(63, 1)),
        ("lowest", change(64, 0x80)),
        ("short", good[..good.len() - 1].to_vec()),
        ("long", [good.clone(), vec![0]].concat()),
        ("head only", good[..64].to_vec()),
        ("less than a head", good[..63].to_vec()),
    ] {
        assert_eq!(Matrix::open(&bytes).err(), Some(Code::AttributionMatrix), "{what}");
    }
    assert_eq!(file(&[]), Err(Code::AttributionMatrix));
    assert_eq!(file(&[vec![1], vec![1, 2]]), Err(Code::AttributionMatrix));
    assert_eq!(file(&[vec![-128]]), Err(Code::AttributionMatrix));
    assert_eq!(header(DIMENSION_MAX + 1, 1).err(), Some(Code::AttributionMatrix));
    assert_eq!(header(1, ROWS_MAX + 1).err(), Some(Code::AttributionMatrix));
}

#[test]
fn the_longest_rows_of_the_largest_entries_do_not_overflow() {
    let high = Vector::from_entries(&vec![127; DIMENSION_MAX]).unwrap();
    let low = Vector::from_entries(&vec![-127; DIMENSION_MAX]).unwrap();
    assert_eq!(high.row().norm_squared(), 1_057_030_144);
    assert_eq!(high.row().dot(&low.row()), -1_057_030_144);
    let (high, low) = (high.row(), low.row());
    assert_eq!(cosine(high.dot(&low), high.norm_squared(), low.norm_squared()), -ONE);
    assert!(cosine_at_least(high.dot(&high), high.norm_squared(), high.norm_squared(), WHOLE));
    let mut best = Best::new(2, Order::Cosine);
    best.offer(0, low.dot(&high), low.norm_squared());
    best.offer(1, high.dot(&high), high.norm_squared());
    best.offer(2, 1, 1);
    let rows: Vec<u32> = best.into_rows().iter().map(|scored| scored.row).collect();
    assert_eq!(rows, [1, 2], "equal cosines go to the lower row");
    assert_eq!(Vector::new(vec![0; DIMENSION_MAX + 1]), Err(Code::AttributionInput));
    assert_eq!(Vector::new(vec![0x80]), Err(Code::AttributionInput));
    assert_eq!(Vector::new(vec![]), Err(Code::AttributionInput));
}

#[test]
fn rows_without_a_direction_are_never_found() {
    let file = file(&[vec![0, 0], vec![-1, 0], vec![0, 0]]).unwrap();
    let query = Vector::from_entries(&[1, 0]).unwrap();
    let best = Matrix::open(&file).unwrap().scan(&query.row(), 0..3, 3, Order::Cosine, |_| true).into_rows();
    assert_eq!(best, [Scored { row: 1, dot: -1, norm_squared: 1 }]);
}

/// Run with `--ignored --nocapture`: how long a scan takes here.
#[test]
#[ignore = "a measurement"]
fn scan_of_a_hundred_thousand_rows() {
    let mut world = World::new(1, 4, 1, 4096);
    let query = world.query(0);
    let pattern: Vec<u8> = (0..4096 * 97).map(|_| u8::try_from(world.dice.below(127)).unwrap()).collect();
    let mut bytes = header(4096, 100_000).unwrap().to_vec();
    while bytes.len() < 64 + 4096 * 100_000 {
        bytes.extend_from_slice(&pattern);
    }
    bytes.truncate(64 + 4096 * 100_000);
    let clock = std::time::Instant::now();
    let matrix = Matrix::open(&bytes).unwrap();
    println!("open {:?}", clock.elapsed());
    for _ in 0..5 {
        let clock = std::time::Instant::now();
        let best = matrix.scan(&query.row(), 0..100_000, 256, Order::Cosine, |_| true).into_rows();
        println!("scan {:?}, {} rows", clock.elapsed(), best.len());
    }
    let clock = std::time::Instant::now();
    let variables: Vec<Variable<'_>> = (0..256)
        .map(|at| Variable { id: Position { seq: 1, index: at, item: 0 }, row: matrix.row(at * 390).unwrap() })
        .collect();
    let problem = Problem::new(&query.row(), &variables).unwrap();
    println!("cosines {:?}", clock.elapsed());
    let clock = std::time::Instant::now();
    let solution = problem.solve(50_000);
    println!("solve {:?}, explained {}", clock.elapsed(), solution.explained);
    assert_ne!(matrix.leaves()[0], Hash::ZERO);
}
