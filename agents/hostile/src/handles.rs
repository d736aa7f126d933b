//! It spends what it has not, and uses handles that it has not.

use core::mem;

use agora_sdk::bindings::agora::agent::inference::{TokenStream, open};
use agora_sdk::market::{self, Question, Quote};
use agora_sdk::{Error, inference};

/// The id of the test's listing of this number: 1 is cheap, 2 is dear.
pub(crate) fn listing(number: u32) -> String {
    format!("0x{number:064x}")
}

/// A quote of the cheap listing.
pub(crate) fn quote() -> Result<Quote, Error> {
    market::quote(&listing(1), &Question::new("anything"))
}

/// Opens a quote that is over its budget, without asking first.
pub(crate) fn overspend() -> Result<Vec<u8>, Error> {
    let dear = market::quote(&listing(2), &Question::new("anything"))?;
    match inference::open(dear) {
        Ok(_) => Ok(b"opened".to_vec()),
        Err(error) => Ok(error.code.into_bytes()),
    }
}

/// Opens whatever is on the market, without asking what it may spend.
pub(crate) fn overspend_market() -> Result<Vec<u8>, Error> {
    let offers = market::find("", 1)?;
    let offer = offers.first().ok_or_else(|| Error::new("hostile.no_offer", "the market is empty"))?;
    let mut stream = inference::open(market::quote(&offer.listing, &Question::new("anything"))?)?;
    stream.next();
    Ok(b"opened".to_vec())
}

/// Buys an answer and fails in the middle of it.
pub(crate) fn buy_and_fall() -> Result<Vec<u8>, Error> {
    let offers = market::find("", 1)?;
    let offer = offers.first().ok_or_else(|| Error::new("hostile.no_offer", "the market is empty"))?;
    let mut answer = inference::open(market::quote(&offer.listing, &Question::new("anything"))?)?.batches_of(4);
    answer.next();
    panic!("fell in the middle of an answer that it pays for")
}

/// Keeps quotes; answers with the code of the refusal and how many it got.
pub(crate) fn hoard_quotes(wanted: usize) -> Result<Vec<u8>, Error> {
    let mut kept = Vec::new();
    for _ in 0..wanted {
        match quote() {
            Ok(quote) => kept.push(quote),
            Err(error) => return Ok(format!("{} after {}", error.code, kept.len()).into_bytes()),
        }
    }
    Ok(b"hoarded".to_vec())
}

/// Keeps streams; answers with the code of the refusal and how many it got.
pub(crate) fn hoard_streams(wanted: usize) -> Result<Vec<u8>, Error> {
    let mut kept = Vec::new();
    for _ in 0..wanted {
        match open(quote()?) {
            Ok(stream) => kept.push(stream),
            Err(error) => return Ok(format!("{} after {}", error.code, kept.len()).into_bytes()),
        }
    }
    Ok(b"hoarded".to_vec())
}

/// Opens one quote twice.
pub(crate) fn open_twice() -> Result<Vec<u8>, Error> {
    let first = quote()?;
    // SAFETY: the handle is copied on purpose; the second use is the host's to refuse.
    let second = unsafe { Quote::from_handle(first.handle()) };
    let _stream = open(first)?;
    open(second).map(|_| b"opened twice".to_vec())
}

/// Reads a stream that it never opened.
pub(crate) fn forge(handle: u32) -> Result<Vec<u8>, Error> {
    // SAFETY: the handle is made up on purpose; it is the host's to refuse.
    let stream = mem::ManuallyDrop::new(unsafe { TokenStream::from_handle(handle) });
    stream.next_batch(1).map(|batch| batch.text.into_bytes())
}

/// Reads a stream that it closed.
pub(crate) fn use_closed() -> Result<Vec<u8>, Error> {
    let stream = open(quote()?)?;
    let handle = stream.handle();
    drop(stream);
    forge(handle)
}

/// Reads on after the end; answers with the code of the refusal.
pub(crate) fn read_past_end() -> Result<Vec<u8>, Error> {
    let stream = open(quote()?)?;
    loop {
        match stream.next_batch(u32::MAX) {
            Ok(_) => {}
            Err(error) => return Ok(error.code.into_bytes()),
        }
    }
}

/// Ends well with a stream open.
pub(crate) fn forget_stream() -> Result<Vec<u8>, Error> {
    let stream = open(quote()?)?;
    stream.next_batch(1)?;
    mem::forget(stream);
    Ok(b"forgot".to_vec())
}

/// Reads one token and drops the stream.
pub(crate) fn drop_early() -> Result<Vec<u8>, Error> {
    let mut answer = inference::open(quote()?)?.batches_of(1);
    match answer.next() {
        Some(batch) => batch.map(|batch| batch.text.into_bytes()),
        None => Ok(Vec::new()),
    }
}

/// Panics with a stream open.
pub(crate) fn fall_with_stream() -> Result<Vec<u8>, Error> {
    let _stream = open(quote()?)?;
    panic!("fell with a stream open")
}
