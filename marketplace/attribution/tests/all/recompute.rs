//! Auditors: the same bits however the work is split, and the first thing that does not follow.

use agora_attribution::spans::Run;
use agora_attribution::*;
use agora_types::{Amount, Canonical as _, Code, Hash};

use crate::world::{Dice, Published, World, address, evidence_of, pool};

/// What a host writes into its final receipt.
pub(crate) fn receipt_of(spec: &AttributionSpec, evidence: &Evidence) -> ReceiptFields {
    ReceiptFields {
        spec_hash: Some(spec.hash()),
        method: evidence.summary.method.name().to_owned(),
        verbatim_root: Some(evidence.verbatim_root()),
        influence_root: Some(evidence.influence_root()),
        explained: evidence.summary.explained,
        residual: evidence.summary.residual,
        totals: evidence.totals(),
        pool: evidence.pool,
        paid: evidence.paid,
        provisional: (7, Hash::sha256("provisional")),
        sampled: None,
    }
}

fn small() -> (Published, Vector) {
    let mut world = World::new(11, 4, 5, 64);
    let query = world.query(2);
    (world.publish(Method::InfluenceEkfacNnls, true), query)
}

fn runs_for(published: &Published, dice: &mut Dice) -> Vec<Run> {
    let owners: Vec<Position> = (0u32..)
        .zip(&published.table.examples)
        .filter(|(row, _)| published.table.is_owner(*row))
        .map(|(_, example)| example.position)
        .collect();
    let pick = |dice: &mut Dice| owners[usize::try_from(dice.below(owners.len() as u64)).unwrap()];
    let run = |n: u64, dice: &mut Dice| Run {
        start: u32::try_from(n * 30).unwrap(),
        length: 8 + u32::try_from(dice.below(20)).unwrap(),
        match_length: 30,
        cluster: pick(dice),
    };
    (0..dice.below(4)).map(|n| run(n, dice)).collect()
}

#[test]
fn a_thousand_receipts_are_recomputed_bit_for_bit_however_the_scan_is_split() {
    let mut world = World::new(2_026, 12, 40, 96);
    // Some repeat themselves, some copy: clusters are in the way of a naive split.
    for at in (0..world.rows.len()).step_by(9) {
        world.rows.push(world.rows[at].clone());
        world.examples.push(crate::world::example(90 + at as u64 % 3, 1_000 + at as u64, 0));
    }
    let published = world.publish(Method::InfluenceEkfacNnls, true);
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    assert_eq!(public.check_roots(), Verdict::Agrees);
    let work: Vec<(u64, Vector, Vec<Run>)> = (0..1_000u64)
        .map(|n| {
            let topic = usize::try_from(world.dice.below(12)).unwrap();
            (n, world.query(topic), runs_for(&published, &mut world.dice))
        })
        .collect();
    let check = |(n, query, runs): &(u64, Vector, Vec<Run>)| {
        let evidence = evidence_of(&public, query, runs);
        assert_eq!(level1(&published.spec, &evidence, &receipt_of(&published.spec, &evidence)), Verdict::Agrees);
        // Cut anywhere, scanned by as many threads as there are parts, merged in another order.
        let mut dice = Dice(*n);
        let parts = 1 + dice.below(8);
        let mut cuts: Vec<u32> =
            (1..parts).map(|_| u32::try_from(dice.below(u64::from(matrix.rows()))).unwrap()).collect();
        cuts.extend([0, matrix.rows()]);
        cuts.sort_unstable();
        let mut found: Vec<Best> = std::thread::scope(|scope| {
            let scan = |cut: &[u32]| {
                let range = cut[0]..cut[1];
                let public = &public;
                scope.spawn(move || public.scan(query, range).unwrap())
            };
            let threads: Vec<_> = cuts.windows(2).map(scan).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let turn = usize::try_from(dice.below(parts)).unwrap();
        found.rotate_left(turn);
        assert_eq!(level2_from(&public, &evidence, &merge(found)), Verdict::Agrees, "receipt {n}");
        evidence.hash()
    };
    // In one thread, and spread over three: the same documents.
    let alone: Vec<Hash> = work[..100].iter().map(check).collect();
    let spread: Vec<Hash> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            work.chunks(334).map(|chunk| scope.spawn(|| chunk.iter().map(check).collect::<Vec<Hash>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((spread.len(), &spread[..100]), (1_000, &alone[..]));
}

#[test]
fn every_method_with_a_matrix_is_recomputed() {
    let mut world = World::new(5, 4, 6, 48);
    let query = world.query(3);
    for method in Method::ALL.into_iter().filter(|method| method.rule() != Rule::None) {
        let published = world.publish(method, true);
        let matrix = published.matrix();
        let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
        let evidence = evidence_of(&public, &query, &[]);
        assert_eq!(level2(&public, &evidence), Verdict::Agrees, "{method}");
        let receipt = receipt_of(&published.spec, &evidence);
        assert_eq!(level1(&published.spec, &evidence, &receipt), Verdict::Agrees, "{method}");
        assert_eq!(receipt.method, method.name());
        assert!(evidence.paid > Amount::ZERO, "{method}");
    }
}

#[test]
fn words_are_attributed_without_a_matrix_and_checked_at_level_1() {
    let mut world = World::new(5, 3, 1, 8);
    let mut published = world.publish(Method::GradientCosine, false);
    published.spec.method = Method::Bm25;
    (published.spec.commitments.matrix_root, published.spec.gradient.dimension) = (None, 0);
    let public = Public::new(&published.spec, None, &published.table).unwrap();
    let index = bm25::Index::new(bm25::Constants::default(), &[[1, 2, 3], [1, 4, 5], [1, 6, 7]]).unwrap();
    let scores = index.scores(&[4, 5, 9]).unwrap();
    let credits = (0u32..).zip(&scores).map(|(row, score)| (row, u128::from(*score))).collect();
    let measured = Measured { candidates: vec![], credits, explained: index.explained(&[4, 5, 9]).unwrap() };
    let asked = Asked { query: None, output_tokens: 3, runs: &[], pool: pool() };
    let evidence = public.attribute(&asked, measured).unwrap();
    assert_eq!(evidence.payouts.len(), 1);
    assert_eq!(evidence.payouts[0].account, address(1));
    assert_eq!(level1(&published.spec, &evidence, &receipt_of(&published.spec, &evidence)), Verdict::Agrees);
    let verdict = level2(&public, &evidence);
    assert!(matches!(verdict, Verdict::CannotTell(_)), "{verdict:?}");
    assert_eq!(public.scan(&world.query(0), 0..1).err(), Some(Code::AttributionInput));
}

#[track_caller]
fn differs(verdict: &Verdict, place: Place, index: Option<usize>) {
    match verdict {
        Verdict::Differs(difference) => {
            assert_eq!((difference.place, difference.index), (place, index), "{difference}");
            assert!(difference.to_string().contains(place.text()));
        }
        other => panic!("{place:?}: {other:?}"),
    }
    assert_eq!(verdict.code(), Some(Code::AttributionMismatch));
}

#[test]
fn the_first_thing_that_does_not_follow_is_named_at_level_1() {
    let (published, query) = small();
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let run = Run { start: 3, length: 8, match_length: 8, cluster: published.table.examples[0].position };
    let good = evidence_of(&public, &query, &[run]);
    let spec = &published.spec;
    let receipt = receipt_of(spec, &good);
    assert_eq!(level1(spec, &good, &receipt), Verdict::Agrees);
    assert_eq!(level1(spec, &good.clone().withheld(), &receipt), Verdict::Agrees, "without the query vector");

    type Change = fn(&mut Evidence);
    let wrong: &[(Place, Option<usize>, Change)] = &[
        (Place::SpecHash, None, |e| e.summary.spec = Hash::ZERO),
        (Place::Bounds, None, |e| e.spans[0].length = 0),
        (Place::QueryHash, None, |e| e.query[0] ^= 1),
        (Place::Residual, None, |e| e.summary.residual -= 1),
        (Place::VerbatimWeight, None, |e| e.summary.verbatim_weight += 1),
        (Place::Grade, None, |e| e.summary.grade += 1),
        (Place::Entry, Some(0), |e| e.entries[0].share += 1),
        (Place::Entry, Some(1), |e| e.entries[1].amount = Amount::ZERO),
        (Place::Entry, Some(0), |e| e.entries[0].verbatim -= 1),
        (Place::Summary, None, |e| e.candidates[0].weight += 1),
        (Place::Paid, None, |e| e.paid = e.pool),
        (Place::Commons, None, |e| e.commons = Amount::ZERO),
        (Place::Payout, Some(0), |e| e.payouts[0].account = address(99)),
    ];
    for (place, index, change) in wrong {
        let mut evidence = good.clone();
        change(&mut evidence);
        differs(&level1(spec, &evidence, &receipt), *place, *index);
    }
    type ChangeReceipt = fn(&mut ReceiptFields);
    let wrong: &[(Place, Option<usize>, ChangeReceipt)] = &[
        (Place::SpecHash, None, |r| r.spec_hash = None),
        (Place::Method, None, |r| r.method = "gradient-dot".into()),
        (Place::ReceiptExplained, None, |r| r.explained += 1),
        (Place::ReceiptResidual, None, |r| r.residual += 1),
        (Place::VerbatimRoot, None, |r| r.verbatim_root = Some(Hash::ZERO)),
        (Place::InfluenceRoot, None, |r| r.influence_root = None),
        (Place::Pool, None, |r| r.pool = Amount::ZERO),
        (Place::ReceiptPaid, None, |r| r.paid = r.pool),
        (Place::Total, Some(1), |r| r.totals[1].amount = Amount::ZERO),
        (Place::Total, Some(0), |r| r.totals.clear()),
    ];
    for (place, index, change) in wrong {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        differs(&level1(spec, &good, &receipt), *place, *index);
    }
    let mut other = spec.clone();
    other.solver.l1_micro = 2_000_000;
    differs(&level1(&other, &good, &receipt), Place::Spec, None);
}

#[test]
fn a_host_that_pays_a_friend_is_caught_at_level_2() {
    let (published, query) = small();
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let best = public.scan(&query, 0..u32::MAX).unwrap().into_rows();
    let honest = public.measure(&query, &best).unwrap();
    let asked = Asked { query: Some(&query), output_tokens: 100, runs: &[], pool: pool() };
    let settle = |measured: Measured| public.attribute(&asked, measured).unwrap();

    // Each lie is settled consistently, so that level 1 has nothing to say.
    let mut friend = honest.clone();
    friend.credits[0].1 /= 2;
    let mut more = honest.clone();
    more.explained += 1;
    let mut weights = honest.clone();
    weights.candidates[3].weight += 1;
    let mut fewer = honest.clone();
    fewer.candidates.pop();
    fewer.credits.pop();
    let last = fewer.candidates.len();
    // The order of the entries is that of the clusters.
    let paid = settle(honest.clone());
    let changed = (0..paid.entries.len()).find(|at| paid.entries[*at] != settle(friend.clone()).entries[*at]);
    for (measured, place, index) in [
        (friend, Place::Entry, changed),
        (more, Place::Explained, None),
        (weights, Place::Candidate, Some(3)),
        (fewer, Place::Candidate, Some(last)),
    ] {
        let evidence = settle(measured);
        assert_eq!(level1(&published.spec, &evidence, &receipt_of(&published.spec, &evidence)), Verdict::Agrees);
        differs(&level2(&public, &evidence), place, index);
    }
    let verdict = level2(&public, &paid.clone().withheld());
    assert!(matches!(verdict, Verdict::CannotTell(_)), "{verdict:?}");
    assert_eq!(level2(&public, &paid), Verdict::Agrees);
}

#[test]
fn rows_that_no_scan_finds_are_refused() {
    let (published, query) = small();
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let best = public.scan(&query, 0..u32::MAX).unwrap().into_rows();
    let evidence = evidence_of(&public, &query, &[]);
    type Change = fn(&mut Vec<Scored>);
    let wrong: &[(&str, Change)] = &[
        ("another product", |b| b[0].dot += 1),
        ("another norm", |b| b[0].norm_squared += 1),
        ("no such row", |b| b[0].row = 9_999),
        ("another order", |b| b.swap(0, 1)),
        ("a row twice", |b| b.insert(0, b[0])),
    ];
    for (what, change) in wrong {
        let mut best = best.clone();
        change(&mut best);
        assert_eq!(public.measure(&query, &best), Err(Code::AttributionInput), "{what}");
        differs(&level2_from(&public, &evidence, &best), Place::Bounds, None);
    }
    let short = Vector::from_entries(&[1, 2]).unwrap();
    assert_eq!(public.scan(&short, 0..1).err(), Some(Code::AttributionInput));
}

#[test]
fn data_that_the_spec_does_not_commit_to_is_named() {
    let (published, _) = small();
    let matrix = published.matrix();
    let change = |change: fn(&mut AttributionSpec)| {
        let mut spec = published.spec.clone();
        change(&mut spec);
        Public::new(&spec, Some(&matrix), &published.table).map(|public| public.check_roots())
    };
    differs(&change(|s| s.commitments.examples_root = Hash::ZERO).unwrap(), Place::ExamplesRoot, None);
    differs(&change(|s| s.commitments.clusters_root = Hash::ZERO).unwrap(), Place::ClustersRoot, None);
    differs(&change(|s| s.commitments.matrix_root = Some(Hash::ZERO)).unwrap(), Place::MatrixRoot, None);
    assert_eq!(change(|s| s.commitments.examples += 1).err(), Some(Code::AttributionMatrix));
    assert_eq!(change(|s| s.gradient.dimension += 1).err(), Some(Code::AttributionMatrix));
    assert_eq!(change(|s| s.sample_one_in = 0).err(), Some(Code::AttributionSpec));
    assert_eq!(change(|_| ()).unwrap(), Verdict::Agrees);
}

#[test]
fn where_more_are_paid_than_a_receipt_holds_it_names_the_largest() {
    let mut world = World::new(21, 40, 1, 32);
    let query = world.query(0);
    let mut published = world.publish(Method::GradientCosine, true);
    published.spec.calibration = Calibration { null_p95: 0, own_median: 1 };
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let evidence = evidence_of(&public, &query, &[]);
    let totals = evidence.totals();
    assert!(evidence.payouts.len() > 12, "{}", evidence.payouts.len());
    assert_eq!(totals.len(), 12);
    assert!(totals.windows(2).all(|pair| pair[0].account < pair[1].account));
    let least = totals.iter().map(|paid| paid.amount).min().unwrap();
    let above = evidence.payouts.iter().filter(|paid| paid.amount > least).count();
    assert!(above < 12);
    assert_eq!(level1(&published.spec, &evidence, &receipt_of(&published.spec, &evidence)), Verdict::Agrees);
}
