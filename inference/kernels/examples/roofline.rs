//! How far the matrix products are from what the machine can do: bytes of weights read a second beside plain reading, and
//! multiplications a second beside the fastest that were seen.
//!
//! Run: cargo run --release --package agora-kernels --example roofline -- [THREADS] [--json]

use std::hint::black_box;
use std::time::{Duration, Instant};

use agora_kernels::{BLOCK, Block, Form, Matrix, Packer, Pool, Rows, Simd, multiply};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(20);
/// Sizes of weights: inside a core's cache, inside the shared cache, and far outside both.
const SIZES: [(&str, usize); 3] = [("own cache", 1 << 20), ("shared cache", 16 << 20), ("memory", 512 << 20)];
const ROWS: [usize; 6] = [1, 4, 8, 16, 64, 512];
const FORMS: [Form; 5] = [Form::FourCentred, Form::FourLeast, Form::Eight, Form::EightLeast, Form::EightHalves];
const COLUMNS: usize = 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let threads = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(2);
    let mut pool = match Pool::new(threads) {
        Ok(pool) => pool,
        Err(error) => return eprintln!("no threads: {error}"),
    };
    let mut lines = Vec::new();
    for (place, size) in SIZES {
        let read = reading(&mut pool, size);
        lines.push(Line { what: format!("plain reading, {place}"), giga_bytes: read, giga_products: 0.0, share: 1.0 });
        for form in FORMS {
            let matrix = filled(form, size);
            for simd in Simd::all().into_iter().filter(|simd| size == SIZES[0].1 || *simd == Simd::best()) {
                for rows in ROWS.into_iter().filter(|rows| *rows < 64 || size == SIZES[0].1) {
                    let seconds = product(&mut pool, simd, &matrix, rows);
                    let giga_bytes = matrix.size() as f64 / seconds / 1e9;
                    lines.push(Line {
                        what: format!("{form:?}, {rows} rows, {place}, {}", simd.name()),
                        giga_bytes,
                        giga_products: (matrix.rows() * matrix.columns() * rows) as f64 / seconds / 1e9,
                        share: giga_bytes / read,
                    });
                }
            }
        }
    }
    if json {
        let lines: Vec<String> = lines.iter().map(Line::json).collect();
        println!("[{}]", lines.join(",\n"));
    } else {
        println!("{:<52} {:>8} {:>10} {:>10}", "", "GB/s", "of reading", "G prod./s");
        lines.iter().for_each(|line| {
            let Line { what, giga_bytes, giga_products, share } = line;
            println!("{what:<52} {giga_bytes:>8.1} {share:>10.2} {giga_products:>10.1}");
        });
    }
}

struct Line {
    what: String,
    giga_bytes: f64,
    giga_products: f64,
    share: f64,
}

impl Line {
    fn json(&self) -> String {
        let Self { what, giga_bytes, giga_products, .. } = self;
        format!(r#"{{"what":"{what}","giga_bytes_s":{giga_bytes:.2},"giga_products_s":{giga_products:.2}}}"#)
    }
}

/// The median seconds of a call, of several rounds long enough to measure.
fn median(mut call: impl FnMut()) -> f64 {
    call();
    let begun = Instant::now();
    let mut repeats = 0_u32;
    while begun.elapsed() < ROUND {
        call();
        repeats += 1;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            (0..repeats).for_each(|_| call());
            begun.elapsed().as_secs_f64() / f64::from(repeats)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

/// Gigabytes a second that all threads read together.
fn reading(pool: &mut Pool, size: usize) -> f64 {
    let words: Vec<u64> = vec![1; size / 8];
    let tasks = pool.threads() * 8;
    let seconds = median(|| {
        pool.run(tasks, &|task| {
            let part = words.len() / tasks;
            let mut sums = [0_u64; 64];
            for chunk in words[task * part..][..part].as_chunks::<64>().0 {
                for (sum, word) in sums.iter_mut().zip(chunk) {
                    *sum |= word;
                }
            }
            black_box(sums);
        });
    });
    size as f64 / seconds / 1e9
}

/// A matrix of about `size` bytes.
fn filled(form: Form, size: usize) -> Matrix {
    let block = Block { scales: [0.01; 2], least: -0.05, q: [7; BLOCK] };
    let probe = matrix(form, 16, &block).size();
    matrix(form, 16 * (size / probe), &block)
}

fn matrix(form: Form, rows: usize, block: &Block) -> Matrix {
    let mut packer = Packer::new(form, rows, COLUMNS).unwrap_or_else(|error| panic!("{error}"));
    let row = [*block; COLUMNS / BLOCK];
    (0..rows).for_each(|_| packer.push(&row).unwrap_or_else(|error| panic!("{error}")));
    packer.finish()
}

fn product(pool: &mut Pool, simd: Simd, matrix: &Matrix, rows: usize) -> f64 {
    let mut x = Rows::default();
    x.fill(pool, simd, &vec![0.5; rows * COLUMNS], COLUMNS);
    let mut y = vec![0.0; rows * matrix.rows()];
    median(|| multiply(pool, simd, &x, &mut [(matrix, &mut y)]))
}
