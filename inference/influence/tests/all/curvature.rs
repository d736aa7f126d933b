//! The curvature against dense matrices.

use agora_gradient::{Machine, Sequence, Settings};
use agora_influence::{Blocks, Curvature};
use agora_kernels::{Pool, Simd};

use crate::support::{Random, SEED, adapter, asked, tiny};

const DAMPING_MICRO: u64 = 100_000;

/// Gradients of random answers, and their blocks.
fn gradients(count: usize) -> (Blocks, Vec<f32>) {
    let weights = tiny();
    let mut random = Random(SEED);
    let adapter = adapter(&weights, 2, 0.2, &mut random);
    let blocks = Blocks::new(&adapter.layout, weights.shape().layers - 1).unwrap();
    let words = weights.shape().vocabulary;
    let mut machine = Machine::new(weights, &Settings { threads: 1, ..Settings::default() }).unwrap();
    let mut all = Vec::new();
    for _ in 0..count {
        let asked = asked(&mut random, words);
        let tokens = [asked.prompt.as_slice(), &asked.response].concat();
        let weight = (asked.response.len() as f32).sqrt().recip();
        let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight, passed: &[] }];
        let mut gradient = vec![0.0; adapter.layout.size()];
        machine.gradient((&adapter.layout, &adapter.numbers), &sequences, &mut gradient).unwrap();
        all.extend_from_slice(&gradient[blocks.offset()..]);
    }
    (blocks, all)
}

/// The inverse times a vector, by elimination.
fn solved(mut matrix: Vec<f64>, right: &[f32]) -> Vec<f64> {
    let side = right.len();
    let mut right: Vec<f64> = right.iter().map(|number| f64::from(*number)).collect();
    for at in 0..side {
        for row in at + 1..side {
            let by = matrix[row * side + at] / matrix[at * side + at];
            for column in at..side {
                matrix[row * side + column] -= by * matrix[at * side + column];
            }
            right[row] -= by * right[at];
        }
    }
    for at in (0..side).rev() {
        let known: f64 = (at + 1..side).map(|column| matrix[at * side + column] * right[column]).sum();
        right[at] = (right[at] - known) / matrix[at * side + at];
    }
    right
}

fn product(left: &[f32], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * right).sum()
}

#[test]
fn a_divided_product_is_that_with_the_dense_inverse_of_the_same_curvature() {
    let (blocks, gradients) = gradients(30);
    let (mut pool, simd) = (Pool::new(1).unwrap(), Simd::best());
    let curvature = Curvature::of(&blocks, DAMPING_MICRO, &mut pool, simd, &gradients);
    let mut turned = gradients.clone();
    curvature.turn(&mut pool, simd, &mut turned);
    turned.chunks_exact_mut(blocks.size()).for_each(|one| curvature.divide(one));
    let of = |all: &[f32], at: usize, block: &agora_influence::Block| {
        block.of(&all[at * blocks.size()..][..blocks.size()]).to_vec()
    };
    for (number, block) in blocks.all().iter().enumerate() {
        let (values, left, right) = curvature.block(number);
        let right = right.unwrap();
        let side = block.size();
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / side as f64;
        // The sum over all eigenvectors of lambda * v v^T, and the damping.
        let mut dense = vec![0.0; side * side];
        (0..side).for_each(|at| dense[at * side + at] = mean * DAMPING_MICRO as f64 / 1e6);
        for (i, left) in left.chunks_exact(block.rank).enumerate() {
            for (j, right) in right.chunks_exact(block.width).enumerate() {
                let vector: Vec<f64> =
                    left.iter().flat_map(|l| right.iter().map(|r| f64::from(*l) * f64::from(*r))).collect();
                let value = f64::from(values[i * block.width + j]);
                for row in 0..side {
                    for column in 0..side {
                        dense[row * side + column] += value * vector[row] * vector[column];
                    }
                }
            }
        }
        for (one, other) in [(0, 0), (0, 1), (3, 7), (29, 12)] {
            let exact = product(&of(&gradients, one, block), &solved(dense.clone(), &of(&gradients, other, block)));
            let ours = product(
                &of(&turned, one, block),
                &of(&turned, other, block).iter().map(|number| f64::from(*number)).collect::<Vec<_>>(),
            );
            let size = [one, other].map(|at| {
                let own = of(&turned, at, block);
                product(&own, &own.iter().map(|n| f64::from(*n)).collect::<Vec<_>>()).sqrt()
            });
            assert!((ours - exact).abs() < 1e-4 * size[0] * size[1], "block {number}: {ours} for {exact}");
        }
    }
}

#[test]
fn its_products_follow_those_of_the_true_inverse_more_closely_than_plain_ones() {
    let count = 150;
    let (blocks, gradients) = gradients(count);
    let (mut pool, simd) = (Pool::new(2).unwrap(), Simd::best());
    let curvature = Curvature::of(&blocks, DAMPING_MICRO, &mut pool, simd, &gradients);
    let mut turned = gradients.clone();
    curvature.turn(&mut pool, simd, &mut turned);
    turned.chunks_exact_mut(blocks.size()).for_each(|one| curvature.divide(one));
    let (mut exact, mut ours, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks.all() {
        let all: Vec<&[f32]> = gradients.chunks_exact(blocks.size()).map(|one| block.of(one)).collect();
        let bent: Vec<&[f32]> = turned.chunks_exact(blocks.size()).map(|one| block.of(one)).collect();
        let side = block.size();
        let mut fisher = vec![0.0; side * side];
        for one in &all {
            for (row, left) in one.iter().enumerate() {
                for (column, right) in one.iter().enumerate() {
                    fisher[row * side + column] += f64::from(*left) * f64::from(*right) / count as f64;
                }
            }
        }
        let mean = (0..side).map(|at| fisher[at * side + at]).sum::<f64>() / side as f64;
        (0..side).for_each(|at| fisher[at * side + at] += mean * DAMPING_MICRO as f64 / 1e6);
        for other in 0..10 {
            let inverse = solved(fisher.clone(), all[other]);
            let wide = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>();
            for one in 10..count {
                exact.push(product(all[one], &inverse));
                ours.push(product(bent[one], &wide(bent[other])));
                plain.push(product(all[one], &wide(all[other])));
            }
        }
    }
    let (ours, plain) = (correlation(&exact, &ours), correlation(&exact, &plain));
    println!("correlation with the true inverse: {ours:.3}, plain products {plain:.3}");
    assert!(ours > plain + 0.05 && ours > 0.6, "{ours} against {plain}");
}

fn correlation(left: &[f64], right: &[f64]) -> f64 {
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let (a, b) = (mean(left), mean(right));
    let sum = |f: &dyn Fn(f64, f64) -> f64| left.iter().zip(right).map(|(l, r)| f(l - a, r - b)).sum::<f64>();
    sum(&|l, r| l * r) / (sum(&|l, _| l * l) * sum(&|_, r| r * r)).sqrt()
}
