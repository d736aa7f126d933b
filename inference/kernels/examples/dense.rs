//! How far products for training are from the machine's peak of fused products, beside the crate `gemm` in the same run.
//!
//! Run: cargo run --release --package agora-kernels --example dense -- [--json]

use std::hint::black_box;
use std::time::Instant;

use agora_kernels::{BLOCK, Block, Dense, Form, Left, Matrix, Packer, Pool, Product, Right, Simd, products};

const ROUNDS: usize = 9;
/// Rows, columns and depth: of SmolLM2-135M's layers and head, of its adapters, and a large square.
const SIDES: [(usize, usize, usize); 9] = [
    (512, 576, 576),
    (512, 192, 576),
    (512, 1536, 576),
    (512, 576, 1536),
    (128, 1536, 576),
    (256, 8192, 576),
    (256, 576, 8192),
    (512, 8, 576),
    (2048, 2048, 2048),
];

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let simd = Simd::best();
    let fast = Dense::fast(simd);
    let mut lines = Vec::new();
    for threads in [1, 2] {
        let mut pool = match Pool::new(threads) {
            Ok(pool) => pool,
            Err(error) => return eprintln!("no threads: {error}"),
        };
        for (rows, columns, depth) in SIDES {
            let (a, b) = (numbers(rows * depth), numbers(columns * depth));
            let mut c = vec![0.0; rows * columns];
            let weights = (columns.is_multiple_of(BLOCK) && depth.is_multiple_of(BLOCK))
                .then(|| (matrix(depth, columns), matrix(columns, depth)));
            let left = Left::new(&a, depth);
            let mut rights = vec![("plain", Right::new(&b, columns)), ("turned", Right::turned(&b, depth))];
            if let Some((backward, forward)) = &weights {
                rights
                    .extend([("weights", Right::Weights(backward)), ("weights turned", Right::WeightsTurned(forward))]);
                if fast.rounding().is_some() {
                    rights.extend([
                        ("weights, AMX", Right::Weights(backward)),
                        ("weights turned, AMX", Right::WeightsTurned(forward)),
                    ]);
                }
            }
            // All kinds take turns in each round, so that a disturbance meets them alike.
            let mut seconds = vec![Vec::new(); rights.len() + 2];
            for _ in 0..ROUNDS {
                for ((name, right), seconds) in rights.iter().zip(&mut seconds) {
                    let dense = if name.ends_with("AMX") { fast } else { Dense::exact(simd) };
                    let terms = [(left, *right)];
                    let job = Product { terms: &terms, to: &mut c, width: columns, add: false };
                    let begun = Instant::now();
                    products(&mut pool, dense, &mut [job]);
                    seconds.push(begun.elapsed().as_secs_f64());
                }
                let begun = Instant::now();
                peer(threads, &a, &b, &mut c, (rows, columns, depth));
                seconds[rights.len()].push(begun.elapsed().as_secs_f64());
                let begun = Instant::now();
                let done = peak(&mut pool);
                seconds[rights.len() + 1].push(begun.elapsed().as_secs_f64() / done);
            }
            let flop = 2.0 * (rows * columns * depth) as f64;
            let rate = |seconds: &mut Vec<f64>, flop: f64| {
                seconds.sort_by(f64::total_cmp);
                flop / seconds[seconds.len() / 2] / 1e9
            };
            let peak = rate(&mut seconds[rights.len() + 1], 1.0);
            let gemm = rate(&mut seconds[rights.len()], flop);
            for ((name, _), seconds) in rights.iter().zip(&mut seconds) {
                let what = format!("{rows} x {columns} x {depth}, {name}");
                lines.push((threads, what, rate(seconds, flop), gemm, peak));
            }
        }
    }
    for (threads, what, ours, gemm, peak) in lines {
        match json {
            true => println!(
                r#"{{"threads":{threads},"what":"{what}","gflops":{ours:.1},"gemm":{gemm:.1},"peak":{peak:.1}}}"#
            ),
            false => println!(
                "{threads} threads, {what:<40} {ours:>7.1} GFLOP/s, gemm {gemm:>7.1}, peak {peak:>7.1}: {:>4.0} %",
                100.0 * ours / peak
            ),
        }
    }
}

/// The peer, of both plain matrices row by row.
#[allow(unsafe_code)]
fn peer(threads: usize, a: &[f32], b: &[f32], c: &mut [f32], (rows, columns, depth): (usize, usize, usize)) {
    assert!(a.len() == rows * depth && b.len() == depth * columns && c.len() == rows * columns);
    let parallel = if threads == 1 { gemm::Parallelism::None } else { gemm::Parallelism::Rayon(threads) };
    let step = |width: usize| isize::try_from(width).expect("a small width");
    let (c, a, b) = (c.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    // SAFETY: the three matrices have their sides, as just checked.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c,
            1,
            step(columns),
            false,
            a,
            1,
            step(depth),
            b,
            1,
            step(columns),
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            parallel,
        );
    }
}

/// Fused products on registers alone, on every thread; how many operations that were.
fn peak(pool: &mut Pool) -> f64 {
    const STEPS: usize = 100_000;
    let threads = pool.threads();
    pool.run(threads, &|_| {
        black_box(fused(STEPS, black_box(0.5)));
    });
    (threads * STEPS * 2 * 12 * 16) as f64
}

/// Twelve vectors of sixteen numbers, each `factor * number + factor` again and again.
#[allow(unsafe_code)]
fn fused(steps: usize, factor: f32) -> f32 {
    #[inline(always)]
    fn body<const VECTORS: usize>(steps: usize, factor: f32) -> f32 {
        let mut sums = [[factor; 8]; VECTORS];
        for _ in 0..steps {
            for sum in &mut sums {
                for lane in sum {
                    *lane = lane.mul_add(factor, factor);
                }
            }
        }
        sums.as_flattened().iter().sum()
    }
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2(steps: usize, factor: f32) -> f32 {
            // Twice, since so many vectors do not fit the registers at once.
            body::<12>(steps, factor) + body::<12>(steps, factor)
        }
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn avx512(steps: usize, factor: f32) -> f32 {
            body::<24>(steps, factor)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: as just checked.
            return unsafe { avx512(steps, factor) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as just checked.
            return unsafe { avx2(steps, factor) };
        }
    }
    body::<24>(steps, factor)
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at * 7 % 31) as f32 / 31.0 - 0.5).collect()
}

fn matrix(rows: usize, columns: usize) -> Matrix {
    let mut packer = Packer::new(Form::FourLeast, rows, columns).expect("a matrix");
    for row in 0..rows {
        let block = |at: usize| Block {
            scales: [0.01; 2],
            least: -0.08,
            q: [i8::try_from((row + at) % 16).expect("small"); BLOCK],
        };
        packer.push(&(0..columns / BLOCK).map(block).collect::<Vec<_>>()).expect("a row");
    }
    packer.finish()
}
