//! Fuzzes `agora_openlora::probe::gguf`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    agora_openlora::probe::gguf(bytes);
});
