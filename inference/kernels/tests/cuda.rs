//! A device gives the processor's bits. The kernels' source as plain C++ is asked wherever there is a C++ compiler, a real
//! device where there is one.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/random.rs"]
mod random;

use std::sync::Arc;

use agora_kernels::cuda::{self, Activations, Changes, Cuda, Device, DeviceError, Heads, Memory, Room, Sequence, Step};
use agora_kernels::{
    BLOCK, Block, Change, Form, Group, Matrix, PAGE, Packer, Page, Pool, Rows, Simd, add, attend, from_half, gate,
    gate_gelu, multiply, rms_norm, rotate, rotate_halves,
};
use emulator::Emulator;
use random::{FORMS, Random};

const SEED: u64 = 20_261_130;

#[test]
fn the_kernels_as_plain_cpp_give_the_processors_bits() {
    let emulator = match Emulator::new() {
        Ok(emulator) => Arc::new(emulator),
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let device: Arc<dyn Device> = emulator.clone();
    check(&device);
    assert_eq!(emulator.used(), 0, "all memory is freed");
}

#[test]
fn a_device_gives_the_processors_bits() {
    match Cuda::open(0) {
        Ok(cuda) => {
            println!("checking {}", cuda.name());
            let device: Arc<dyn Device> = Arc::new(cuda);
            check(&device);
        }
        Err(DeviceError::Absent(error)) => eprintln!("skipped: no CUDA device: {error}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_device_that_does_not_exist_is_an_error() {
    let error = Cuda::open(1_000).map(drop).unwrap_err();
    assert!(error.to_string().starts_with("no CUDA device: "), "{error}");
    assert!(Cuda::open(usize::MAX).is_err());
}

#[test]
fn a_device_without_memory_or_that_fails_is_an_error() {
    let Ok(emulator) = Emulator::new() else { return eprintln!("skipped: no C++ compiler") };
    let emulator = Arc::new(emulator);
    let device: Arc<dyn Device> = emulator.clone();
    let mut random = Random(SEED);
    let (mut matrix, _) = random.matrix(Form::Eight, 20, 64);
    emulator.bound(1_000, 0);
    assert!(matches!(matrix.place(&device), Err(DeviceError::Memory(_))));
    // It is still here.
    matrix.row(19, &mut [0.0; 64]);
    let x = Memory::of(&device, &[1.0; 32]).unwrap();
    let failed = cuda::add(&x, 32, &x, 32).unwrap_err();
    assert_eq!(failed.to_string(), "the device failed: launch: the test wants it so");
    assert_eq!(emulator.used(), 128);
}

/// Every kernel against its namesake.
fn check(device: &Arc<dyn Device>) {
    let mut random = Random(SEED);
    products(device, &mut random);
    halves(device);
    vectors(device, &mut random);
    for _ in 0..30 {
        attention(device, &mut random);
    }
    adapters(device, &mut random);
}

fn upload(device: &Arc<dyn Device>, numbers: &[f32]) -> Memory {
    Memory::of(device, numbers).unwrap()
}

#[track_caller]
fn same(ours: &Memory, right: &[f32], what: &str) {
    let mut numbers = vec![0.0; right.len()];
    ours.read(&mut numbers).unwrap();
    // What is not a number has no bits that mean something.
    let bits = |number: f32| if number.is_nan() { f32::NAN.to_bits() } else { number.to_bits() };
    for (at, (ours, right)) in numbers.into_iter().zip(right).enumerate() {
        assert_eq!(bits(ours), bits(*right), "{what}: number {at} is {ours}, not {right}; seed {SEED}");
    }
}

/// Numbers of all sizes, and some that are none.
fn wild(random: &mut Random, count: usize) -> Vec<f32> {
    let mut number = || match random.below(40) {
        0 => 0.0,
        1 => -0.0,
        2 => random.number() * 1e-39,
        3 => random.number() * 3e38,
        _ => random.number() * 2.0_f32.powi(random.below(40) as i32 - 20),
    };
    (0..count).map(|_| number()).collect()
}

fn products(device: &Arc<dyn Device>, random: &mut Random) {
    let (mut rounded, mut room, mut pool) = (Activations::default(), Room::default(), Pool::new(1).unwrap());
    for form in FORMS {
        for round in 0..12 {
            let (height, columns) = (1 + random.below(70), BLOCK * (1 + random.below(9)));
            let rows = if round < 3 { 1 } else { 1 + random.below(11) };
            let (mut matrix, mut plain) = random.matrix(form, height, columns);
            plain.chunks_exact_mut(columns).enumerate().for_each(|(row, to)| matrix.row(row, to));
            let mut x = if round % 2 == 0 { random.numbers(rows * columns) } else { wild(random, rows * columns) };
            if round % 4 == 1 {
                x[random.below(rows * columns)] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][random.below(3)];
                x[..BLOCK].fill(0.0);
            }
            if round == 8 {
                // Too small for an inverse: zero, as on the processor.
                x.iter_mut().for_each(|number| *number *= 1e-33);
            }
            let mut right = vec![0.0; rows * height];
            let mut here = Rows::default();
            here.fill(&mut pool, Simd::best(), &x, columns);
            multiply(&mut pool, Simd::best(), &here, &mut [(&matrix, &mut right)]);
            let size = matrix.size();
            matrix.place(device).unwrap();
            matrix.place(device).unwrap();
            assert_eq!(matrix.size(), size);
            let y = upload(device, &vec![f32::NAN; right.len()]);
            rounded.fill(&upload(device, &x), rows, columns).unwrap();
            cuda::multiply(&mut rounded, &matrix, &y).unwrap();
            same(&y, &right, &format!("{rows} rows times {form:?} of {height} x {columns}"));
            let tokens: Vec<cuda::Token> = (0..rows)
                .map(|_| cuda::Token { token: random.below(height) as u32, sequence: 0, position: 0 })
                .collect();
            let pages = [Arc::new(Page::on(device, 1, 16).unwrap())];
            let wanted = [rows - 1, 0];
            let sequence = Sequence { pages: &pages, changes: None };
            let step = Step::new(device, &mut room, &tokens, vec![sequence], &wanted).unwrap();
            let to = upload(device, &vec![f32::NAN; rows * columns]);
            cuda::embed(&step, &matrix, 1.5, &to).unwrap();
            let right: Vec<f32> = tokens
                .iter()
                .flat_map(|token| plain[token.token as usize * columns..][..columns].iter().map(|number| number * 1.5))
                .collect();
            same(&to, &right, &format!("rows of {form:?}"));
            let chosen = upload(device, &vec![f32::NAN; 2 * columns]);
            cuda::gather(&step, &to, columns, &chosen).unwrap();
            same(&chosen, &[&right[(rows - 1) * columns..], &right[..columns]].concat(), "the last row and the first");
        }
    }
}

/// Every finite half, as the scale of a row; and numbers between them, through a page.
fn halves(device: &Arc<dyn Device>) {
    let finite: Vec<u16> = (0..=u16::MAX).filter(|half| from_half(*half).is_finite()).collect();
    let mut packer = Packer::new(Form::Eight, finite.len(), BLOCK).unwrap();
    for half in &finite {
        packer.push(&[Block { scales: [from_half(*half); 2], least: 0.0, q: [1; BLOCK] }]).unwrap();
    }
    let mut matrix: Matrix = packer.finish();
    matrix.place(device).unwrap();
    let tokens: Vec<cuda::Token> =
        (0..finite.len()).map(|token| cuda::Token { token: token as u32, sequence: 0, position: 0 }).collect();
    let pages = [Arc::new(Page::on(device, 1, 16).unwrap())];
    let mut room = Room::default();
    let step = Step::new(device, &mut room, &tokens, vec![Sequence { pages: &pages, changes: None }], &[]).unwrap();
    let to = upload(device, &vec![f32::NAN; finite.len() * BLOCK]);
    cuda::embed(&step, &matrix, 1.0, &to).unwrap();
    let right: Vec<f32> = finite.iter().flat_map(|half| [from_half(*half); BLOCK]).collect();
    same(&to, &right, "halves");

    // One position alone has the weight one.
    let mut numbers: Vec<f32> = Vec::new();
    for half in finite.iter().filter(|half| **half < 0x7BFF).step_by(7) {
        let (low, high) = (from_half(*half), from_half(half + 1));
        let middle = low + (high - low) / 2.0;
        let around = [middle, f32::from_bits(middle.to_bits() - 1), f32::from_bits(middle.to_bits() + 1)];
        numbers.extend(around.into_iter().flat_map(|number| [number, -number]));
    }
    numbers.extend([
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        65_519.0,
        65_520.0,
        f32::MAX,
        1e-40,
        f32::MIN_POSITIVE,
    ]);
    numbers.resize(numbers.len().next_multiple_of(16), 0.0);
    let size = numbers.len();
    let mut page = Page::new(1, size).unwrap();
    let zeros = vec![0.0; size];
    page.write(Simd::best(), 0, 0, &zeros, &numbers);
    let mut right = vec![0.0; size];
    let group = Group { pages: &[Arc::new(page)], head: 0, size, first: 0, end: 1, scale: 1.0 };
    attend(Simd::best(), &zeros, &group, &mut Vec::new(), &mut right);
    let pages = [Arc::new(Page::on(device, 1, size).unwrap())];
    let heads = Heads { query: 1, key: 1, before: 0, size, window: None, scale: 1.0 };
    let sequence = Sequence { pages: &pages, changes: None };
    let token = cuda::Token { token: 0, sequence: 0, position: 0 };
    let step = Step::new(device, &mut room, &[token], vec![sequence], &[]).unwrap();
    let zeros = upload(device, &zeros);
    cuda::remember(&step, &heads, &zeros, &upload(device, &numbers)).unwrap();
    let to = upload(device, &numbers);
    cuda::attend(&step, &heads, &zeros, &mut Default::default(), &to).unwrap();
    same(&to, &right, "rounded to halves");
}

fn vectors(device: &Arc<dyn Device>, random: &mut Random) {
    let (simd, mut room) = (Simd::best(), Room::default());
    for width in [16, 32, 48, 576, 640] {
        let rows = 1 + random.below(5);
        let (x, weight, other) = (wild(random, rows * width), random.numbers(width), random.numbers(rows * width));
        let mut right = vec![0.0; x.len()];
        rms_norm(simd, &x, &weight, 1e-5, &mut right);
        let (ours, weights) = (upload(device, &x), upload(device, &weight));
        cuda::rms_norm(&ours, rows, &weights, 1e-5, &mut room, &ours).unwrap();
        same(&ours, &right, "a norm in place");
        cuda::add(&weights, width, &ours, rows * width).unwrap();
        right.chunks_exact_mut(width).for_each(|row| add(simd, &weight, row));
        same(&ours, &right, "a sum");
        for gelu in [false, true] {
            // Of sizes at which the exponential is held, too.
            let mut right: Vec<f32> = (0..rows * width).map(|_| random.number() * 120.0).collect();
            right[0] = f32::NAN;
            (right[1], right[2]) = (f32::INFINITY, f32::NEG_INFINITY);
            let (ours, up) = (upload(device, &right), upload(device, &other));
            cuda::gate(gelu, &ours, &up, rows * width).unwrap();
            if gelu {
                gate_gelu(simd, &mut right, &other)
            } else {
                gate(simd, &mut right, &other)
            }
            same(&ours, &right, "a gate");
        }
        let (size, positions) = (16, 9);
        let turns = random.numbers(positions * size);
        let tokens: Vec<cuda::Token> =
            (0..rows).map(|_| cuda::Token { token: 0, sequence: 0, position: random.below(positions) }).collect();
        let pages = [Arc::new(Page::on(device, 1, 16).unwrap())];
        let sequence = Sequence { pages: &pages, changes: None };
        let step = Step::new(device, &mut room, &tokens, vec![sequence], &[]).unwrap();
        for halves in [false, true] {
            let (mut right, ours) = (other.clone(), upload(device, &other));
            cuda::rotate(&step, &upload(device, &turns), (width / size, size), halves, &ours).unwrap();
            for (token, row) in tokens.iter().zip(right.chunks_exact_mut(width)) {
                let turns = &turns[token.position * size..][..size];
                if halves { rotate_halves(simd, row, turns) } else { rotate(simd, row, turns) }
            }
            same(&ours, &right, "turned pairs");
        }
    }
}

/// Several sequences of several lengths, each with its last tokens in the step.
fn attention(device: &Arc<dyn Device>, random: &mut Random) {
    let simd = Simd::best();
    let (size, key, together) = (16 * (1 + random.below(4)), 1 + random.below(3), 1 + random.below(5));
    let (layers, query) = (1 + random.below(3), key * together);
    let before = random.below(layers) * key;
    let window = (random.below(2) == 1).then(|| 1 + random.below(40));
    let heads = Heads { query, key, before, size, window, scale: 1.0 / (size as f32).sqrt() };
    let (mut tokens, mut right, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    let mut all_pages = Vec::new();
    let mut rooms: [Room; 3] = Default::default();
    for sequence in 0..1 + random.below(4) {
        let (end, count) = (1 + random.below(70), 1 + random.below(5));
        let first = end - count.min(end);
        let (keys, values) = (random.numbers(end * key * size), random.numbers(end * key * size));
        let mut here: Vec<Page> = (0..end.div_ceil(PAGE)).map(|_| Page::new(layers * key, size).unwrap()).collect();
        let there: Vec<Arc<Page>> =
            here.iter().map(|_| Arc::new(Page::on(device, layers * key, size).unwrap())).collect();
        let each = keys.chunks_exact(size).zip(values.chunks_exact(size)).enumerate();
        for (at, (one, other)) in each {
            here[at / key / PAGE].write(simd, before + at % key, at / key % PAGE, one, other);
        }
        let here: Vec<Arc<Page>> = here.into_iter().map(Arc::new).collect();
        // The positions before the step were written by an earlier one.
        let places: Vec<cuda::Token> =
            (0..end).map(|position| cuda::Token { token: 0, sequence: 0, position }).collect();
        let mut room = Room::default();
        let alone = vec![Sequence { pages: &there, changes: None }];
        let step = Step::new(device, &mut room, &places, alone, &[]).unwrap();
        cuda::remember(&step, &heads, &upload(device, &keys), &upload(device, &values)).unwrap();
        for position in first..end {
            let mine = random.numbers(query * size);
            let mut to = vec![0.0; query * size];
            let each = mine.chunks_exact(together * size).zip(to.chunks_exact_mut(together * size)).enumerate();
            for (at, (query, to)) in each {
                let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
                let group =
                    Group { pages: &here, head: before + at, size, first, end: position + 1, scale: heads.scale };
                attend(simd, query, &group, &mut Vec::new(), to);
            }
            queries.extend(mine);
            right.extend(to);
            tokens.push(cuda::Token { token: 0, sequence, position });
        }
        all_pages.push(there);
    }
    let sequences = all_pages.iter().map(|pages| Sequence { pages, changes: None }).collect();
    let mut room = Room::default();
    let step = Step::new(device, &mut room, &tokens, sequences, &[]).unwrap();
    let to = upload(device, &vec![f32::NAN; right.len()]);
    cuda::attend(&step, &heads, &upload(device, &queries), &mut rooms, &to).unwrap();
    same(&to, &right, "attention");
}

/// Tokens of several adapters of several ranks and of none, in one launch.
fn adapters(device: &Arc<dyn Device>, random: &mut Random) {
    let (mut room, mut inner) = (Room::default(), Room::default());
    for _ in 0..20 {
        let (inputs, outputs) = (16 * (1 + random.below(9)), 16 * (1 + random.below(9)));
        let mut change = |rank: usize| {
            let size = 2.0_f32.powi(random.below(40) as i32 - 20);
            let a: Vec<f32> = random.numbers(rank * inputs).iter().map(|number| number * size).collect();
            let b: Vec<f32> = random.numbers(rank * outputs).iter().map(|number| number / size).collect();
            Change::new(rank, &a, &b, 0.25).unwrap()
        };
        // The matrix in question is the second of three; one adapter changes only the first.
        let changes = [change(1), change(7), change(16), change(40)];
        let tables: Vec<Changes> = (0..4)
            .map(|at| {
                let one = if at == 0 { [Some(&changes[0]), None, None] } else { [None, Some(&changes[at]), None] };
                Changes::new(device, &one).unwrap()
            })
            .collect();
        let pages = [Arc::new(Page::on(device, 1, 16).unwrap())];
        let choices: Vec<Option<usize>> = vec![None, Some(0), Some(1), Some(2), Some(3), Some(1)];
        let sequences =
            choices.iter().map(|choice| Sequence { pages: &pages, changes: choice.map(|at| &tables[at]) }).collect();
        let tokens: Vec<cuda::Token> = (0..1 + random.below(12))
            .map(|_| cuda::Token { token: 0, sequence: random.below(choices.len()), position: 0 })
            .collect();
        let (x, mut right) = (random.numbers(tokens.len() * inputs), random.numbers(tokens.len() * outputs));
        let (ours, y) = (upload(device, &x), upload(device, &right));
        for ((token, x), y) in tokens.iter().zip(x.chunks_exact(inputs)).zip(right.chunks_exact_mut(outputs)) {
            if let Some(at) = choices[token.sequence].filter(|at| *at > 0) {
                changes[at].add(Simd::best(), x, y);
            }
        }
        let step = Step::new(device, &mut room, &tokens, sequences, &[]).unwrap();
        cuda::adapt(&step, 1, (&ours, inputs), &mut inner, (&y, outputs)).unwrap();
        cuda::adapt(&step, 2, (&ours, inputs), &mut inner, (&y, outputs)).unwrap();
        same(&y, &right, "adapters");
    }
}
