//! One measured answer for several calls: which is drawn, what each is paid, and what an auditor sees.

use agora_attribution::*;
use agora_types::{Amount, Canonical as _, Code, Hash};

use crate::recompute::receipt_of;
use crate::world::{Dice, World, evidence_of};

fn call(index: u64, pool: u128) -> Sampled {
    Sampled { index, leaf: Hash::sha256(index.to_be_bytes()), pool: Amount::from_atoms(pool) }
}

/// Three calls of different pools.
pub(crate) fn three() -> Sample {
    Sample::new(vec![call(9, 500), call(5, 300), call(7, 0)]).unwrap()
}

#[test]
fn a_sample_keeps_its_bytes_and_its_draw() {
    let sample = three();
    assert_eq!(sample.calls.iter().map(|call| call.index).collect::<Vec<_>>(), [5, 7, 9]);
    let bytes = minicbor::to_vec(&sample).unwrap();
    assert_eq!(minicbor::decode::<Sample>(&bytes).unwrap(), sample);
    let schema = include_str!("../../cddl/attribution-evidence.cddl");
    let schema = format!("start = sample\n{schema}");
    cddl::validate_cbor_from_slice(&schema, &bytes, None).unwrap();
    // These stand in receipts: another draw is another format.
    let hash = sample.hash().to_string();
    assert_eq!((&hash[..18], sample.drawn().index), GOLDEN);
}

const GOLDEN: (&str, u64) = ("0x9bec93a24fcfa131", 9);

#[test]
fn a_sample_of_one_of_too_many_or_with_a_call_twice_is_refused() {
    let calls = |count: u64| (0..count).map(|index| call(index, 1)).collect::<Vec<_>>();
    for wrong in [
        calls(0),
        calls(1),
        calls(SAMPLE_MAX as u64 + 1),
        vec![call(1, 1), call(1, 2)],
        vec![call(1, u128::MAX), call(2, 1)],
        vec![call(1, 1 << 100), call(2, 0)],
    ] {
        assert_eq!(Sample::new(wrong), Err(Code::AttributionInput));
    }
    assert!(Sample::new(calls(SAMPLE_MAX as u64)).is_ok());
}

/// The draw is fair by money: over many groups a call is drawn as often as its part of the pools says.
#[test]
fn calls_are_drawn_in_proportion_to_what_they_pay() {
    let rounds = 20_000u64;
    let mut drawn = [0u64; 3];
    for round in 0..rounds {
        let sample = Sample::new(vec![call(3 * round, 100), call(3 * round + 1, 300), call(3 * round + 2, 0)]).unwrap();
        drawn[usize::try_from(sample.drawn().index % 3).unwrap()] += 1;
    }
    // Six standard deviations of a binomial count: about 370.
    assert!(drawn[0].abs_diff(rounds / 4) < 370 && drawn[2] == 0, "{drawn:?}");
    let free = |round: u64| Sample::new(vec![call(2 * round, 0), call(2 * round + 1, 0)]).unwrap().drawn().index % 2;
    let second: u64 = (0..rounds).map(free).sum();
    assert!(second.abs_diff(rounds / 2) < 425, "without money every call is as likely: {second}");
}

/// What everybody is paid by samples is what measuring every call would have paid, on average.
#[test]
fn sampling_pays_on_average_what_measuring_every_call_pays() {
    let mut world = World::new(3, 3, 4, 48);
    let mut published = world.publish(Method::InfluenceEkfacNnls, true);
    published.spec.sample_one_in = 4;
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let mut dice = Dice(77);
    let (mut every, mut sampled) = ([0u128; 3], [0u128; 3]);
    let groups = 400u64;
    for group in 0..groups {
        let pools: Vec<u128> = (0..4).map(|_| 1_000_000 + u128::from(dice.below(9_000_000))).collect();
        let answers: Vec<Evidence> = (0..4)
            .map(|_| {
                let topic = usize::try_from(dice.below(3)).unwrap();
                evidence_of(&public, &world.query(topic), &[])
            })
            .collect();
        let calls = (0..4u64).zip(&pools).map(|(at, pool)| call(4 * group + at, *pool)).collect();
        let sample = Sample::new(calls).unwrap();
        let measured = &answers[usize::try_from(sample.drawn().index % 4).unwrap()];
        for (at, answer) in answers.iter().enumerate() {
            let index = 4 * group + at as u64;
            let own = answer.for_call(
                &published.spec,
                &Sample::new(vec![call(index, pools[at]), call(index + 1, 0)]).unwrap(),
                index,
            );
            let paid = measured.for_call(&published.spec, &sample, index).unwrap();
            for (sums, evidence) in [(&mut every, &own.unwrap()), (&mut sampled, &paid)] {
                for payout in &evidence.payouts {
                    let who = (0..3u64).find(|who| crate::world::address(*who) == payout.account).unwrap();
                    sums[usize::try_from(who).unwrap()] += payout.amount.atoms();
                }
            }
        }
    }
    for (every, sampled) in every.iter().zip(&sampled) {
        let thousandths = sampled * 1_000 / every;
        assert!((850..1_150).contains(&thousandths), "{sampled} of {every}");
    }
}

#[test]
fn an_auditor_follows_a_sample_and_sees_where_it_was_bent() {
    let mut world = World::new(11, 4, 5, 64);
    let mut published = world.publish(Method::InfluenceEkfacNnls, true);
    published.spec.sample_one_in = 3;
    let matrix = published.matrix();
    let public = Public::new(&published.spec, Some(&matrix), &published.table).unwrap();
    let measured = evidence_of(&public, &world.query(2), &[]);
    let sample = three();
    assert_eq!(measured.for_call(&published.spec, &sample, 6), Err(Code::AttributionInput), "not of this group");
    for index in [5, 7, 9] {
        let paid = measured.for_call(&published.spec, &sample, index).unwrap();
        assert_eq!(Evidence::from_bytes(&paid.to_bytes()).as_ref(), Ok(&paid));
        let own = sample.calls.iter().find(|call| call.index == index).unwrap();
        let receipt = ReceiptFields {
            provisional: (index, own.leaf),
            sampled: Some(SampledOf { calls: 3, measured: sample.drawn().leaf }),
            ..receipt_of(&published.spec, &paid)
        };
        assert_eq!(level1(&published.spec, &paid, &receipt), Verdict::Agrees);
        assert_eq!(level2(&public, &paid), Verdict::Agrees);
        let bent = |place: Place, receipt: &ReceiptFields| match level1(&published.spec, &paid, receipt) {
            Verdict::Differs(difference) => assert_eq!(difference.place, place, "{difference}"),
            other => panic!("{other:?}"),
        };
        let drawn = sample.drawn().leaf;
        let said = |calls, measured| ReceiptFields { sampled: Some(SampledOf { calls, measured }), ..receipt.clone() };
        bent(Place::Sample, &said(3, Hash::ZERO));
        bent(Place::Sample, &said(2, drawn));
        bent(Place::Sample, &ReceiptFields { sampled: None, ..receipt.clone() });
        bent(Place::Sample, &ReceiptFields { provisional: (index, Hash::ZERO), ..receipt.clone() });
        bent(Place::Sample, &ReceiptFields { provisional: (4, own.leaf), ..receipt.clone() });
    }
}
