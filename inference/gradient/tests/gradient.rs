//! Losses and gradients are those of the formulas, and the same bits however they are computed.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use agora_gradient::{Layout, Sequence, Settings};
use agora_openlora::weights::Role;
use agora_types::Code;
use support::{FAMILIES, Random, adapter, family, formula, machine, tokens};

const SEED: u64 = 20_261_201;

fn settings(threads: usize) -> Settings {
    Settings { threads, ..Settings::default() }
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

/// Three sequences that are computed together, of unlike lengths.
fn company(random: &mut Random, vocabulary: usize) -> [Vec<u32>; 3] {
    [30, 7, 61].map(|count| tokens(random, count, vocabulary))
}

#[test]
fn losses_and_gradients_of_every_family_are_those_of_the_formulas() {
    for name in FAMILIES {
        let weights = family(name);
        let mut random = Random(SEED);
        let (layout, numbers) = adapter(&weights, 3, &mut random);
        // Longer than Gemma's window, and than a block of queries.
        let long = tokens(&mut random, 53, weights.shape().vocabulary);
        let short = tokens(&mut random, 5, weights.shape().vocabulary);
        let sequences = [
            Sequence { tokens: &long, first: 20, weight: 0.5, passed: &[] },
            Sequence { tokens: &short, first: 1, weight: -2.0, passed: &[] },
        ];
        let mut gradient = vec![0.0; layout.size()];
        let mut machine = machine(&weights, settings(2));
        let losses = machine.gradient((&layout, &numbers), &sequences, &mut gradient).unwrap();
        assert_eq!(losses.counts, [33, 4]);
        let wide: Vec<f64> = numbers.iter().map(|number| f64::from(*number)).collect();
        let sum = |numbers: &[f64], sequence: &Sequence<'_>| {
            formula::surprises(&weights, &layout, numbers, sequence.tokens, sequence.first).iter().sum::<f64>()
        };
        for (sequence, ours) in sequences.iter().zip(&losses.sums) {
            let right = sum(&wide, sequence);
            assert!((ours / right - 1.0).abs() < 1e-5, "{name}: {ours} is not {right}, seed {SEED}");
        }
        let loss = |numbers: &[f64]| {
            sequences.iter().map(|sequence| f64::from(sequence.weight) * sum(numbers, sequence)).sum::<f64>()
        };
        // In each matrix of each change: along a direction of random signs.
        for place in layout.places() {
            for range in [place.a(), place.b()] {
                let signs: Vec<f64> = range.clone().map(|_| if random.below(2) == 0 { 1.0 } else { -1.0 }).collect();
                let moved = |step: f64| {
                    let mut moved = wide.clone();
                    moved[range.clone()].iter_mut().zip(&signs).for_each(|(number, sign)| *number += step * sign);
                    loss(&moved)
                };
                let step = 1e-5;
                let right = (moved(step) - moved(-step)) / (2.0 * step);
                let own = &gradient[range.clone()];
                let ours: f64 = own.iter().zip(&signs).map(|(number, sign)| f64::from(*number) * sign).sum();
                let size = own.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
                let what = format!("{name}, {:?} of layer {} at {range:?}", place.role, place.layer);
                assert!(size > 1e-4, "{what}: nothing to compare");
                assert!((ours - right).abs() < 2e-4 * size, "{what}: {ours} is not {right} of {size}, seed {SEED}");
            }
        }
    }
}

#[test]
fn tokens_that_are_passed_over_are_seen_and_not_judged() {
    let weights = family(FAMILIES[0]);
    let mut random = Random(SEED);
    let (layout, numbers) = adapter(&weights, 3, &mut random);
    let tokens = tokens(&mut random, 20, weights.shape().vocabulary);
    let mut machine = machine(&weights, settings(2));
    let mut of = |passed: &[bool]| {
        let mut gradient = vec![0.0; layout.size()];
        let sequences = [Sequence { tokens: &tokens, first: 8, weight: 0.5, passed }];
        machine.gradient((&layout, &numbers), &sequences, &mut gradient).map(|losses| (losses, gradient))
    };
    let odd: Vec<bool> = (0..12).map(|at| at % 2 == 1).collect();
    let even: Vec<bool> = odd.iter().map(|passed| !passed).collect();
    let (whole, parts) = (of(&[]).unwrap(), [of(&odd).unwrap(), of(&even).unwrap()]);
    assert_eq!((whole.0.counts[0], parts[0].0.counts[0], parts[1].0.counts[0]), (12, 6, 6));
    let sum = parts[0].0.sums[0] + parts[1].0.sums[0];
    assert!((sum / whole.0.sums[0] - 1.0).abs() < 1e-12, "{sum} is not {}", whole.0.sums[0]);
    let size = whole.1.iter().map(|number| number.abs()).fold(0.0, f32::max);
    for ((one, other), both) in parts[0].1.iter().zip(&parts[1].1).zip(&whole.1) {
        assert!((one + other - both).abs() < 1e-5 * size, "{one} + {other} is not {both}, seed {SEED}");
    }
    assert_eq!(of(&[false; 12]).unwrap(), whole);
    for bad in [&[true; 12][..], &[false; 11]] {
        assert_eq!(of(bad).unwrap_err().code, Code::EngineBadRequest);
    }
}

#[test]
fn threads_vectors_memory_and_company_change_no_bit() {
    for name in FAMILIES {
        let weights = family(name);
        let mut random = Random(SEED);
        let (layout, numbers) = adapter(&weights, 4, &mut random);
        let tokens = company(&mut random, weights.shape().vocabulary);
        let sequences = tokens.each_ref().map(|tokens| Sequence { tokens, first: 3, weight: 0.25, passed: &[] });
        let run = |settings: Settings, sequences: &[Sequence<'_>]| {
            let mut gradient = vec![0.0; layout.size()];
            let mut machine = machine(&weights, settings);
            let losses = machine.gradient((&layout, &numbers), sequences, &mut gradient).unwrap();
            assert_eq!(losses, machine.losses(Some((&layout, &numbers)), sequences).unwrap(), "{name}");
            // A second time, in the room of the first.
            let mut again = vec![0.0; layout.size()];
            machine.gradient((&layout, &numbers), sequences, &mut again).unwrap();
            assert_eq!(bits(&gradient), bits(&again), "{name}");
            (losses, bits(&gradient))
        };
        let right = run(settings(1), &sequences);
        assert_eq!(run(settings(2), &sequences), right, "{name}: threads");
        assert_eq!(run(Settings { portable: true, ..settings(2) }, &sequences), right, "{name}: vectors");
        // Room for the states of all layers, and for one layer beside them.
        let (whole, state) = machine(&weights, settings(1)).token_size();
        let rows = 29 + 6 + 60;
        for memory_max in [rows * (state * weights.shape().layers + 4 * 4 * 7 * 7), rows * (whole + state * 8)] {
            assert_eq!(run(Settings { memory_max, ..settings(2) }, &sequences), right, "{name}: memory");
        }
        for (at, sequence) in sequences.iter().enumerate() {
            let alone = run(settings(1), &[*sequence]);
            assert_eq!(alone.0.sums[0].to_bits(), right.0.sums[at].to_bits(), "{name}: company");
        }
    }
}

#[test]
fn a_matrix_unit_gives_the_same_gradients_to_four_digits_and_its_own_bits_again() {
    for name in FAMILIES {
        let weights = family(name);
        let mut random = Random(SEED);
        let (layout, numbers) = adapter(&weights, 4, &mut random);
        let tokens = company(&mut random, weights.shape().vocabulary);
        let sequences = tokens.each_ref().map(|tokens| Sequence { tokens, first: 3, weight: 0.25, passed: &[] });
        let run = |settings: Settings, sequences: &[Sequence<'_>]| {
            let mut gradient = vec![0.0; layout.size()];
            let mut machine = machine(&weights, settings);
            let losses = machine.gradient((&layout, &numbers), sequences, &mut gradient).unwrap();
            (losses, gradient, machine.rounding())
        };
        let fast = |threads| Settings { fast: true, ..settings(threads) };
        let (exact, ours) = (run(settings(2), &sequences), run(fast(1), &sequences));
        assert_eq!(exact.2, None);
        let length = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        let apart: Vec<f32> = ours.1.iter().zip(&exact.1).map(|(ours, exact)| ours - exact).collect();
        let off = length(&apart) / length(&exact.1);
        assert!(off < 1e-4, "{name}: {off}");
        match ours.2 {
            Some(rounding) => assert!(rounding == agora_gradient::BF16X2 && off > 0.0, "{name}: {off}"),
            None => assert_eq!(bits(&ours.1), bits(&exact.1), "{name}: there is no unit here"),
        }
        for (ours, exact) in ours.0.sums.iter().zip(&exact.0.sums) {
            assert!((ours / exact - 1.0).abs() < 1e-4, "{name}: {ours} is not {exact}");
        }
        let again = run(fast(2), &sequences);
        assert_eq!((bits(&again.1), &again.0), (bits(&ours.1), &ours.0), "{name}: threads");
        for (at, sequence) in sequences.iter().enumerate() {
            let alone = run(fast(1), &[*sequence]);
            assert_eq!(alone.0.sums[0].to_bits(), ours.0.sums[at].to_bits(), "{name}: company");
        }
    }
}

#[test]
fn the_last_layers_alone_have_the_same_gradient_as_all_have_there() {
    let weights = family("gemma3");
    let mut random = Random(SEED);
    let (all, numbers) = adapter(&weights, 2, &mut random);
    let tokens = tokens(&mut random, 25, weights.shape().vocabulary);
    let sequences = [Sequence { tokens: &tokens, first: 8, weight: 1.0, passed: &[] }];
    let mut machine = machine(&weights, settings(1));
    let mut right = vec![0.0; all.size()];
    // Below the last layers nothing is changed in both.
    let roles: Vec<&[Role]> =
        vec![&Role::ALL, &[Role::Query, Role::Value], &[Role::Output], &[Role::Up], &[Role::Down]];
    for roles in roles {
        let own = Layout::new(weights.shape(), 2, 2.0, roles, 5..7).unwrap();
        let mut held = vec![0.0; all.size()];
        let mut some = vec![0.0; own.size()];
        for place in own.places() {
            let from = all.place(place.layer, place.role).unwrap();
            held[from.a().start..from.b().end].copy_from_slice(&numbers[from.a().start..from.b().end]);
            some[place.a().start..place.b().end].copy_from_slice(&numbers[from.a().start..from.b().end]);
        }
        right.fill(0.0);
        let losses = machine.gradient((&all, &held), &sequences, &mut right).unwrap();
        let mut ours = vec![0.0; own.size()];
        assert_eq!(machine.gradient((&own, &some), &sequences, &mut ours).unwrap(), losses);
        for place in own.places() {
            let from = all.place(place.layer, place.role).unwrap();
            let part = bits(&ours[place.a().start..place.b().end]);
            assert_eq!(part, bits(&right[from.a().start..from.b().end]), "{:?} of {roles:?}", place.role);
        }
    }
}

#[test]
fn the_way_back_may_end_early_while_the_whole_adapter_counts() {
    for name in FAMILIES {
        let weights = family(name);
        let mut random = Random(SEED);
        let (layout, numbers) = adapter(&weights, 3, &mut random);
        let tokens = tokens(&mut random, 25, weights.shape().vocabulary);
        let sequences = [Sequence { tokens: &tokens, first: 8, weight: 1.0, passed: &[] }];
        let mut machine = machine(&weights, settings(2));
        let mut all = vec![0.0; layout.size()];
        let losses = machine.gradient((&layout, &numbers), &sequences, &mut all).unwrap();
        for first in 0..weights.shape().layers {
            let mut some = vec![0.0; layout.size()];
            let same = machine.gradient_from((&layout, &numbers), first, &sequences, &mut some).unwrap();
            assert_eq!(same, losses, "{name}");
            let start = layout.places().iter().find(|place| place.layer >= first).unwrap().start;
            assert!(some[..start].iter().all(|number| *number == 0.0), "{name} from {first}");
            assert_eq!(bits(&some[start..]), bits(&all[start..]), "{name} from {first}");
        }
        let none = machine.gradient_from((&layout, &numbers), weights.shape().layers, &sequences, &mut all);
        assert_eq!(none.unwrap_err().code, Code::EngineBadRequest);
        let surprises = machine.surprises(Some((&layout, &numbers)), &sequences).unwrap();
        assert_eq!((surprises.len(), surprises.iter().sum::<f64>()), (17, losses.sums[0]), "{name}");
        let means = machine.embeddings(Some((&layout, &numbers)), &sequences).unwrap();
        assert!(means[0].len() == weights.shape().width && means[0].iter().any(|number| *number != 0.0), "{name}");
    }
}

#[test]
fn what_a_model_cannot_take_is_refused_and_leaves_the_gradient_alone() {
    let weights = family("llama");
    let (layout, mut numbers) = adapter(&weights, 2, &mut Random(SEED));
    let mut machine = machine(&weights, Settings { memory_max: 1 << 16, ..settings(1) });
    let long = vec![1; weights.shape().context + 1];
    let mut gradient = vec![1.0; layout.size()];
    let mut refused = |numbers: &[f32], tokens: &[u32], first: usize, weight: f32| {
        let sequences = [Sequence { tokens, first, weight, passed: &[] }];
        let refused = machine.gradient((&layout, numbers), &sequences, &mut gradient).unwrap_err().code;
        assert!(gradient.iter().all(|number| *number == 1.0));
        refused
    };
    assert_eq!(refused(&numbers, &[1, 2], 0, 1.0), Code::EngineBadRequest);
    assert_eq!(refused(&numbers, &[1, 2], 2, 1.0), Code::EngineBadRequest);
    assert_eq!(refused(&numbers, &[1, 300], 1, 1.0), Code::EngineBadRequest);
    assert_eq!(refused(&numbers, &[1, 2], 1, f32::NAN), Code::EngineBadRequest);
    assert_eq!(refused(&numbers, &long, 1, 1.0), Code::EngineBadRequest);
    assert_eq!(refused(&numbers[1..], &[1, 2], 1, 1.0), Code::EngineBadRequest);
    assert_eq!(refused(&numbers, &long[..weights.shape().context], 1, 1.0), Code::EngineTooLarge);
    numbers[0] = f32::NAN;
    assert_eq!(refused(&numbers, &[1, 2], 1, 1.0), Code::EngineNotFinite);
    let other = family("qwen3");
    let (other, numbers) = adapter(&other, 2, &mut Random(SEED));
    let sequences = [Sequence { tokens: &[1, 2], first: 1, weight: 1.0, passed: &[] }];
    let refused = machine.losses(Some((&other, &numbers)), &sequences).unwrap_err();
    assert_eq!(refused.code, Code::EngineBadRequest);
    assert!(Layout::new(weights.shape(), 0, 1.0, &Role::ALL, 0..2).is_err());
    assert!(Layout::new(weights.shape(), 4, 1.0, &Role::ALL, 0..3).is_err());
    assert!(Layout::new(weights.shape(), 4, 1.0, &[], 0..2).is_err());
}
