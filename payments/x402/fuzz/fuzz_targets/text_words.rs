//! Fuzzes `agora_x402::probe::text_words`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    agora_x402::probe::text_words(bytes);
});
