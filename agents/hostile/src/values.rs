//! It gives values that are too large, too many, or not what they say.

use core::mem::ManuallyDrop;

use agora_sdk::bindings::agora::agent::log::{Level, log as write};
use agora_sdk::bindings::agora::agent::market::{Ask, Message, Role, Sampling, ask_quote};
use agora_sdk::{Error, kv, market};

use crate::handles::listing;

/// A query of this size.
pub(crate) fn query(size: usize) -> Result<Vec<u8>, Error> {
    market::find(&"q".repeat(size), u32::MAX).map(|offers| offers.len().to_string().into_bytes())
}

/// A question of this size.
pub(crate) fn question(size: usize) -> Result<Vec<u8>, Error> {
    market::quote(&listing(1), &market::Question::new(&"w".repeat(size))).map(|_| b"quoted".to_vec())
}

/// So many messages that all name the same 64 KiB: the host must not copy them all.
pub(crate) fn crowd(messages: usize) -> Result<Vec<u8>, Error> {
    let text = "c".repeat(64 * 1024);
    let one = || {
        // SAFETY: none in truth; several strings share one buffer. They are only read, and never dropped.
        let text = unsafe { String::from_raw_parts(text.as_ptr().cast_mut(), text.len(), text.len()) };
        Message { role: Role::User, text }
    };
    let sampling = Sampling { temperature_milli: 0, top_k: 0, top_p_milli: 1_000, seed: 0 };
    let messages = (0..messages).map(|_| one()).collect();
    let ask = ManuallyDrop::new(Ask { messages, sampling, output_max: 1, stops: Vec::new() });
    ask_quote(&listing(1), &ask).map(|_| b"quoted".to_vec())
}

/// A text that is none.
pub(crate) fn not_utf8() -> Result<Vec<u8>, Error> {
    let bytes = vec![b'a', 0xff, 0xfe, b'z'];
    // SAFETY: none; that is the point. Nothing here looks at the text.
    let text = unsafe { String::from_utf8_unchecked(bytes) };
    write(Level::Info, &text)?;
    Ok(b"logged".to_vec())
}

/// A value that lies outside of the guest's memory.
pub(crate) fn outside() -> Result<Vec<u8>, Error> {
    // SAFETY: none; that is the point. Only the host looks at it, and must not.
    let value = unsafe { core::slice::from_raw_parts(0x7fff_0000 as *const u8, 4096) };
    kv::set("k", value)?;
    Ok(b"kept".to_vec())
}
