//! Fuzzes `agora_x402::probe::buyer_answer`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    agora_x402::probe::buyer_answer(bytes);
});
