//! It takes time, memory, stack, calls and log without end.

use core::hint::black_box;

use agora_sdk::bindings::agora::agent::log::{Level, log as write};
use agora_sdk::{Error, clock, inference};

use crate::handles;

/// Never ends and never calls.
pub(crate) fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

/// Computes in pieces of a few milliseconds, with a host call after each: together they may be far over `compute_ms`.
pub(crate) fn work(pieces: usize) -> Result<Vec<u8>, Error> {
    for _ in 0..pieces {
        for n in 0..4_000_000_u64 {
            black_box(n);
        }
        clock::now_ms()?;
    }
    Ok(b"worked".to_vec())
}

/// Takes memory until it gets none.
pub(crate) fn allocate() -> ! {
    loop {
        black_box(vec![1_u8; 1 << 20].leak());
    }
}

/// Calls itself, with a frame that the compiler cannot fold; 0 is without end.
pub(crate) fn recurse(left: u64) -> u64 {
    let frame = black_box([left; 64]);
    match left {
        1 => frame[7],
        _ => recurse(left.wrapping_sub(1)).wrapping_add(black_box(frame)[9]),
    }
}

/// Calls the host without end, whatever it answers.
pub(crate) fn call() -> ! {
    loop {
        let _ = clock::now_ms();
    }
}

/// Logs lines of this size until it is refused; answers with the code and how many lines passed.
pub(crate) fn log(size: usize) -> Result<Vec<u8>, Error> {
    let line = "l".repeat(size);
    let mut lines = 0_u64;
    loop {
        match write(Level::Info, &line) {
            Ok(()) => lines += 1,
            Err(error) => return Ok(format!("{} after {lines}", error.code).into_bytes()),
        }
    }
}

/// Reads a stream on which nothing arrives.
pub(crate) fn wait() -> Result<Vec<u8>, Error> {
    let mut stream = inference::open(handles::quote()?)?;
    match stream.next() {
        Some(batch) => batch.map(|batch| batch.text.into_bytes()),
        None => Ok(Vec::new()),
    }
}
