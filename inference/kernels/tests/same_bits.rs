//! Every kind of vector instructions, any company and any number of threads give the same bits, and these are near the
//! formulas.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use agora_kernels::{
    BLOCK, BadWeights, Block, Change, Dense, Form, Group, Left, PAGE, Packer, Page, Pool, Product, Right, Rows, Simd,
    View, add, attend, dot, from_half, gate, gate_gelu, multiply, products, rms_norm, rms_norm_own, rotate,
    rotate_halves, scale, to_half,
};
use random::{FORMS, Random};

const SEED: u64 = 20_261_129;

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[track_caller]
fn near(ours: &[f32], right: &[f64], bound: f64) {
    let most = right.iter().fold(1e-9_f64, |most, number| most.max(number.abs()));
    for (at, (ours, right)) in ours.iter().zip(right).enumerate() {
        let off = (f64::from(*ours) - right).abs() / most;
        assert!(off <= bound, "number {at}: {ours} is not {right}, off by {off}");
    }
}

#[test]
fn products_of_every_form_are_the_same_bits_everywhere_and_near_the_formula() {
    let mut random = Random(SEED);
    for form in FORMS {
        for _ in 0..12 {
            let (height, columns, rows) = (1 + random.below(70), BLOCK * (1 + random.below(9)), 1 + random.below(19));
            let (matrix, plain) = random.matrix(form, height, columns);
            let mut row = vec![0.0; columns];
            for at in 0..height {
                matrix.row(at, &mut row);
                assert_eq!(row, &plain[at * columns..][..columns], "row {at} of {form:?}, seed {SEED}");
            }
            let x = random.numbers(rows * columns);
            let product = |simd, threads, x: &[f32]| {
                let mut pool = Pool::new(threads).unwrap();
                let mut y = vec![0.0; x.len() / columns * height];
                let mut rounded = Rows::default();
                rounded.fill(&mut pool, simd, x, columns);
                multiply(&mut pool, simd, &rounded, &mut [(&matrix, &mut y)]);
                y
            };
            let first = product(Simd::PORTABLE, 1, &x);
            let dot = |at: usize| {
                let (x, w) = (&x[at / height * columns..][..columns], &plain[at % height * columns..][..columns]);
                x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()
            };
            near(&first, &(0..first.len()).map(dot).collect::<Vec<_>>(), 1e-4);
            for simd in Simd::all() {
                for threads in [1, 3] {
                    let name = simd.name();
                    assert_eq!(bits(&product(simd, threads, &x)), bits(&first), "{form:?} with {name}, seed {SEED}");
                }
                let alone: Vec<f32> = x.chunks_exact(columns).flat_map(|x| product(simd, 1, x)).collect();
                assert_eq!(bits(&alone), bits(&first), "{form:?} alone with {}, seed {SEED}", simd.name());
            }
        }
    }
}

#[test]
fn the_largest_whole_numbers_do_not_overflow_a_block() {
    for form in FORMS {
        let q = if matches!(form, Form::FourCentred | Form::FourLeast) { 15 } else { -128 };
        let mut packer = Packer::new(form, 16, 4 * BLOCK).unwrap();
        for _ in 0..16 {
            packer.push(&[Block { scales: [1.0; 2], least: 0.0, q: [q; BLOCK] }; 4]).unwrap();
        }
        let matrix = packer.finish();
        let least = if form == Form::FourCentred { -8.0 } else { 0.0 };
        for sign in [1.0, -1.0] {
            for simd in Simd::all() {
                let (mut pool, mut rows, mut y) = (Pool::new(1).unwrap(), Rows::default(), [0.0; 16]);
                rows.fill(&mut pool, simd, &[sign; 4 * BLOCK], 4 * BLOCK);
                multiply(&mut pool, simd, &rows, &mut [(&matrix, &mut y)]);
                near(&y, &[128.0 * f64::from(sign) * (f64::from(q) + least); 16], 1e-6);
            }
        }
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_no_other_row() {
    let (matrix, _) = Random(SEED).matrix(Form::FourLeast, 33, 64);
    for simd in Simd::all() {
        for hostile in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 3 * 64];
            x[64 + 40] = hostile;
            let (mut pool, mut rows, mut y) = (Pool::new(1).unwrap(), Rows::default(), vec![0.0; 3 * 33]);
            rows.fill(&mut pool, simd, &x, 64);
            multiply(&mut pool, simd, &rows, &mut [(&matrix, &mut y)]);
            assert!(y[33..66].iter().all(|number| number.is_nan()));
            assert!(y[..33].iter().chain(&y[66..]).all(|number| number.is_finite()));
        }
    }
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    assert_eq!(Packer::new(Form::Eight, 0, 32).err(), Some(BadWeights::Shape { rows: 0, columns: 32 }));
    assert_eq!(Packer::new(Form::Eight, 1, 33).err(), Some(BadWeights::Shape { rows: 1, columns: 33 }));
    assert!(Packer::new(Form::Eight, 1 << 24, 1 << 24).is_err());
    for number in [f32::NAN, f32::INFINITY, 7e6, -1e38] {
        let mut packer = Packer::new(Form::Eight, 1, 32).unwrap();
        let block = Block { scales: [number; 2], least: 0.0, q: [1; BLOCK] };
        assert_eq!(packer.push(&[block]), Err(BadWeights::NotFinite));
    }
    let mut packer = Packer::new(Form::Eight, 1, 32).unwrap();
    assert_eq!(packer.push(&[]), Err(BadWeights::Rows));
    packer.push(&[Block::round(&[1.0; BLOCK])]).unwrap();
    assert_eq!(packer.push(&[Block::round(&[1.0; BLOCK])]), Err(BadWeights::Rows));
    let mut with_nan = [0.0; BLOCK];
    with_nan[7] = f32::NAN;
    assert_eq!(Packer::new(Form::Eight, 1, 32).unwrap().push(&[Block::round(&with_nan)]), Err(BadWeights::NotFinite));
}

#[test]
fn rounding_plain_numbers_to_eight_bits_is_off_by_at_most_half_a_step() {
    let mut random = Random(SEED);
    for power in [-12, 0, 9] {
        let numbers: [f32; BLOCK] = std::array::from_fn(|_| random.number() * 2.0_f32.powi(power));
        let block = Block::round(&numbers);
        for (ours, right) in block.numbers().iter().zip(numbers) {
            assert!((ours - right).abs() <= block.scales[0] * 0.501, "{ours} is not {right}, seed {SEED}");
        }
    }
}

#[test]
fn attention_is_the_same_bits_everywhere_and_near_the_formula() {
    let mut random = Random(SEED);
    for _ in 0..40 {
        let (size, heads, together) = (16 * (1 + random.below(8)), 1 + random.below(3), 1 + random.below(6));
        let end = 1 + random.below(70);
        let first = random.below(end);
        let keys = random.numbers(end * heads * size);
        let values = random.numbers(end * heads * size);
        let query = random.numbers(together * size);
        let head = random.below(heads);
        let scale = 1.0 / (size as f32).sqrt();
        let place = |position: usize| (position * heads + head) * size;
        let half = |number: f32| f64::from(from_half(to_half(number)));
        let mut right = Vec::new();
        for query in query.chunks_exact(size) {
            let score = |at: usize| -> f64 {
                let key = &keys[place(at)..][..size];
                f64::from(scale) * query.iter().zip(key).map(|(q, k)| f64::from(*q) * half(*k)).sum::<f64>()
            };
            let weights: Vec<f64> = (first..end).map(|at| score(at).exp()).collect();
            let total: f64 = weights.iter().sum();
            right.extend((0..size).map(|number| {
                let value = |at: usize| half(values[place(at) + number]);
                (first..end).zip(&weights).map(|(at, weight)| weight / total * value(at)).sum::<f64>()
            }));
        }
        let mut seen: Option<Vec<u32>> = None;
        for simd in Simd::all() {
            let mut pages = Vec::new();
            for at in 0..end {
                if at % PAGE == 0 {
                    pages.push(Page::new(heads, size).unwrap());
                }
                for head in 0..heads {
                    let place = (at * heads + head) * size;
                    let (key, value) = (&keys[place..][..size], &values[place..][..size]);
                    pages.last_mut().unwrap().write(simd, head, at % PAGE, key, value);
                }
            }
            let pages: Vec<Arc<Page>> = pages.into_iter().map(Arc::new).collect();
            let group = Group { pages: &pages, head, size, first, end, scale };
            let (mut scores, mut to) = (Vec::new(), vec![0.0; query.len()]);
            attend(simd, &query, &group, &mut scores, &mut to);
            near(&to, &right, 1e-5);
            let mut alone = vec![0.0; query.len()];
            for (query, to) in query.chunks_exact(size).zip(alone.chunks_exact_mut(size)) {
                attend(simd, query, &group, &mut scores, to);
            }
            assert_eq!(bits(&alone), bits(&to), "heads alone with {}, seed {SEED}", simd.name());
            let first = seen.get_or_insert_with(|| bits(&to));
            assert_eq!(*first, bits(&to), "{}, seed {SEED}", simd.name());
        }
    }
}

#[test]
fn an_adapter_is_the_same_bits_everywhere_and_near_the_formula() {
    let mut random = Random(SEED);
    for power in [-20, 0, 20] {
        for _ in 0..10 {
            let (rank, inputs, outputs) =
                (1 + random.below(40), 16 * (1 + random.below(9)), 16 * (1 + random.below(9)));
            let rows = 1 + random.below(9);
            let size = 2.0_f32.powi(power);
            let a: Vec<f32> = random.numbers(rank * inputs).iter().map(|number| number * size).collect();
            let b: Vec<f32> = random.numbers(rank * outputs).iter().map(|number| number / size).collect();
            let (x, before) = (random.numbers(rows * inputs), random.numbers(rows * outputs));
            let change = Change::new(rank, &a, &b, 0.25).unwrap();
            let mut right: Vec<f64> = before.iter().map(|number| f64::from(*number)).collect();
            for (x, y) in x.chunks_exact(inputs).zip(right.chunks_exact_mut(outputs)) {
                for (a, b) in a.chunks_exact(inputs).zip(b.chunks_exact(outputs)) {
                    let inner: f64 = x.iter().zip(a).map(|(x, a)| f64::from(*x) * f64::from(*a)).sum();
                    for (y, b) in y.iter_mut().zip(b) {
                        *y += 0.25 * inner * f64::from(*b);
                    }
                }
            }
            let mut seen: Option<Vec<u32>> = None;
            for simd in Simd::all() {
                let mut y = before.clone();
                change.add(simd, &x, &mut y);
                near(&y, &right, 2e-3);
                let mut alone = before.clone();
                for (x, y) in x.chunks_exact(inputs).zip(alone.chunks_exact_mut(outputs)) {
                    change.add(simd, x, y);
                }
                assert_eq!(bits(&alone), bits(&y), "rows alone with {}, seed {SEED}", simd.name());
                let first = seen.get_or_insert_with(|| bits(&y));
                assert_eq!(*first, bits(&y), "{}, seed {SEED}", simd.name());
            }
        }
    }
    for scale in [0.25, 1.7, -0.3, 0.0] {
        let change = Change::new(5, &random.numbers(5 * 32), &random.numbers(5 * 48), scale).unwrap();
        let (a, b) = change.matrices();
        let again = Change::new(5, &a, &b, change.scale()).unwrap();
        let x = random.numbers(64);
        let (mut first, mut second) = (vec![0.5; 96], vec![0.5; 96]);
        change.add(Simd::best(), &x, &mut first);
        again.add(Simd::best(), &x, &mut second);
        assert_eq!(bits(&first), bits(&second), "taken apart and put together again, scale {scale}");
    }
    assert!(Change::new(1, &[f32::NAN; 16], &[0.0; 16], 1.0).is_err());
    assert!(Change::new(1, &[1.0; 16], &[0.0; 16], f32::INFINITY).is_err());
}

#[test]
fn the_small_functions_are_the_same_bits_everywhere() {
    let mut random = Random(SEED);
    for size in [16, 32, 48, 576, 640] {
        let (a, b, turns) = (random.numbers(size), random.numbers(size), random.numbers(16));
        let mut seen: Option<Vec<u32>> = None;
        for simd in Simd::all() {
            let mut all = vec![dot(simd, &a, &b)];
            let mut to = b.clone();
            add(simd, &a, &mut to);
            all.extend(&to);
            rms_norm(simd, &a, &b, 1e-5, &mut to);
            all.extend(&to);
            let mut own = a.clone();
            rms_norm_own(simd, &mut own, &b, 1e-5);
            assert_eq!(bits(&own), bits(&to), "in place");
            scale(simd, &mut own, 1.5);
            gate_gelu(simd, &mut own, &b);
            all.extend(&own);
            let mut up = a.clone();
            gate(simd, &mut up, &b);
            all.extend(&up);
            rotate(simd, &mut up, &turns);
            all.extend(&up);
            rotate_halves(simd, &mut up, &turns);
            all.extend(&up);
            let first = seen.get_or_insert_with(|| bits(&all));
            assert_eq!(*first, bits(&all), "{}, seed {SEED}", simd.name());
        }
    }
}

/// The formula of `products`: one fused sum from the first to the last.
fn fused(left: impl Fn(usize) -> f32, right: impl Fn(usize) -> f32, depth: usize, begin: f32) -> f32 {
    (0..depth).fold(begin, |sum, at| left(at).mul_add(right(at), sum))
}

#[test]
fn plain_products_are_one_fused_sum_whatever_computes_them() {
    let mut random = Random(SEED);
    for round in 0..40 {
        let (rows, columns) = (1 + random.below(150), 1 + random.below(100));
        let (depth, more) = (random.below(700), 1 + random.below(9));
        let (a, b) = (random.numbers(rows * depth), random.numbers(depth * columns));
        let (c, d) = (random.numbers(rows * more), random.numbers(more * columns));
        let begin = random.numbers(rows * columns);
        let turn = |numbers: &[f32], width: usize| -> Vec<f32> {
            (0..numbers.len())
                .map(|at| numbers[at % (numbers.len() / width) * width + at / (numbers.len() / width)])
                .collect()
        };
        let (a_turned, b_turned) = (turn(&a, depth.max(1)), turn(&b, columns));
        let adds = round % 2 == 0;
        let right: Vec<f32> = (0..rows * columns)
            .map(|at| {
                let (row, column) = (at / columns, at % columns);
                let sum = if adds { begin[at] } else { 0.0 };
                let sum = fused(|k| a[row * depth + k], |k| b[k * columns + column], depth, sum);
                fused(|k| c[row * more + k], |k| d[k * columns + column], more, sum)
            })
            .collect();
        for simd in Simd::all() {
            for threads in [1, 2] {
                for turned in [false, true] {
                    if depth == 0 {
                        continue;
                    }
                    let mut pool = Pool::new(threads).unwrap();
                    let left = if turned { Left::turned(&a_turned, rows) } else { Left::new(&a, depth) };
                    let other = if turned { Right::turned(&b_turned, depth) } else { Right::new(&b, columns) };
                    let terms = [(left, other), (Left::new(&c, more), Right::new(&d, columns))];
                    let mut to = begin.clone();
                    let job = Product { terms: &terms, to: &mut to, width: columns, add: adds };
                    products(&mut pool, simd, &mut [job]);
                    assert_eq!(bits(&to), bits(&right), "{}, {rows} x {columns} x {depth}, seed {SEED}", simd.name());
                }
            }
        }
    }
}

#[test]
fn frozen_weights_multiply_as_their_numbers_do_both_ways() {
    let mut random = Random(SEED);
    for form in FORMS {
        for _ in 0..6 {
            let (height, width, rows) = (1 + random.below(400), BLOCK * (1 + random.below(14)), 1 + random.below(30));
            let (matrix, plain) = random.matrix(form, height, width);
            let (x, y) = (random.numbers(rows * width), random.numbers(rows * height));
            for simd in Simd::all() {
                let mut pool = Pool::new(2).unwrap();
                let mut product = |left: Left<'_>, right: Right<'_>| {
                    let mut to = vec![f32::NAN; left.rows() * right.columns()];
                    let (terms, width) = ([(left, right)], right.columns());
                    products(&mut pool, simd, &mut [Product { terms: &terms, to: &mut to, width, add: false }]);
                    bits(&to)
                };
                let forward = product(Left::new(&x, width), Right::WeightsTurned(&matrix));
                assert_eq!(
                    forward,
                    product(Left::new(&x, width), Right::turned(&plain, width)),
                    "{form:?}, seed {SEED}"
                );
                let backward = product(Left::new(&y, height), Right::Weights(&matrix));
                assert_eq!(
                    backward,
                    product(Left::new(&y, height), Right::new(&plain, width)),
                    "{form:?}, seed {SEED}"
                );
            }
        }
    }
}

#[test]
fn parts_of_matrices_multiply_like_copies_of_them() {
    let mut random = Random(SEED);
    let (a, b) = (random.numbers(40 * 70), random.numbers(70 * 50));
    let (left, right) = (View::new(&a, 70).part(3..33, 10..60), View::new(&b, 50).part(11..61, 7..30));
    let copy = |numbers: &[f32], step: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
        rows.flat_map(|row| numbers[row * step..][columns.clone()].to_vec()).collect::<Vec<f32>>()
    };
    let (a_copy, b_copy) = (copy(&a, 70, 3..33, 10..60), copy(&b, 50, 11..61, 7..30));
    let product = |left: Left<'_>, right: Right<'_>| {
        let mut to = vec![f32::NAN; 30 * 23];
        let job = Product { terms: &[(left, right)], to: &mut to, width: 23, add: false };
        products(&mut Pool::new(1).unwrap(), Simd::best(), &mut [job]);
        bits(&to)
    };
    assert_eq!(product(left.into(), Right::Plain(right)), product(Left::new(&a_copy, 50), Right::new(&b_copy, 23)));
}

#[test]
fn a_matrix_unit_multiplies_frozen_weights_to_five_digits_and_neither_threads_nor_company_change_a_bit() {
    let fast = Dense::fast(Simd::best());
    if fast.rounding().is_none() {
        println!("this processor has no matrix unit that we know: nothing to compare");
    }
    let mut random = Random(SEED);
    for round in 0..40 {
        let form = FORMS[round % FORMS.len()];
        let (height, width, rows) = (1 + random.below(400), BLOCK * (1 + random.below(14)), 1 + random.below(230));
        let (matrix, plain) = random.matrix(form, height, width);
        let rank = 1 + random.below(20);
        for back in [false, true] {
            let (depth, columns) = if back { (height, width) } else { (width, height) };
            let x = random.numbers(rows * depth);
            let (c, d) = (random.numbers(rows * rank), random.numbers(rank * columns));
            let begin = random.numbers(rows * columns);
            let weight =
                |k: usize, column: usize| if back { plain[k * width + column] } else { plain[column * width + k] };
            let right = if back { Right::Weights(&matrix) } else { Right::WeightsTurned(&matrix) };
            let product = |dense: Dense, threads: usize, rows: std::ops::Range<usize>, add: bool| {
                let part = |numbers, width| View::new(numbers, width).part(rows.clone(), 0..width);
                let terms = [(Left::from(part(&x, depth)), right), (part(&c, rank).into(), Right::new(&d, columns))];
                let mut to = begin[rows.start * columns..rows.end * columns].to_vec();
                let job = Product { terms: &terms, to: &mut to, width: columns, add };
                products(&mut Pool::new(threads).unwrap(), dense, &mut [job]);
                to
            };
            for add in [false, true] {
                let all = product(fast, 1, 0..rows, add);
                for (at, number) in all.iter().enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let mut sums = [if add { f64::from(begin[at]) } else { 0.0 }; 2];
                    sums[1] = sums[1].abs();
                    let mut more = |a: f32, b: f32| {
                        let product = f64::from(a) * f64::from(b);
                        sums = [sums[0] + product, sums[1] + product.abs()];
                    };
                    (0..depth).for_each(|k| more(x[row * depth + k], weight(k, column)));
                    (0..rank).for_each(|k| more(c[row * rank + k], d[k * columns + column]));
                    let off = (f64::from(*number) - sums[0]).abs();
                    assert!(off <= 2e-5 * sums[1], "{form:?}, {rows} x {columns} x {depth}: {off}, seed {SEED}");
                }
                assert_eq!(bits(&all), bits(&product(fast, 3, 0..rows, add)), "threads, seed {SEED}");
                let some = random.below(rows)..rows;
                let own = bits(&product(fast, 2, some.clone(), add));
                assert_eq!(own, bits(&all[some.start * columns..]), "company, seed {SEED}");
            }
        }
    }
}
