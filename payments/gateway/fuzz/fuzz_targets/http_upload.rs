//! Fuzzes `agora_gateway::probe::http_upload`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    agora_gateway::probe::http_upload(bytes);
});
