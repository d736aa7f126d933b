//! A guest that misbehaves in every way that the sandbox must survive. The event's payload says how.
//!
//! [`Hostile::handle`] is the table of behaviours; the tests of `sandbox/wasm` name them.

mod greed;
mod handles;
mod serves;
mod values;

use agora_sdk::serve::{Request, Response};
use agora_sdk::{Agent, Error, Event, Seller, clock, kv, log};

struct Hostile;

impl Agent for Hostile {
    fn handle(event: Event) -> Result<Vec<u8>, Error> {
        let order = String::from_utf8_lossy(&event.payload).into_owned();
        let (what, amount) = order.split_once(' ').unwrap_or((&order, "0"));
        let amount = amount.parse::<usize>().unwrap_or(0);
        match what {
            // It takes what is not its own.
            "loop" => greed::spin(),
            "work" => greed::work(amount),
            "allocate" => greed::allocate(),
            "recurse" => Ok(greed::recurse(amount as u64).to_string().into_bytes()),
            "call" => greed::call(),
            "log" => greed::log(amount),
            "wait" => greed::wait(),
            // It fails.
            "panic" => {
                log::panics();
                panic!("the guest panics as it was told")
            }
            "trap" => trap(),
            "fail" => Err(Error::new("hostile.failed", "x".repeat(amount))),
            // It says too much, or nonsense.
            "answer" => Ok(vec![b'x'; amount]),
            "garbage" => Ok((0..=255).rev().collect()),
            "key" => kv::set(&"k".repeat(amount), b"v").map(|()| b"kept".to_vec()),
            "value" => kv::set("k", &vec![7; amount]).map(|()| b"kept".to_vec()),
            "query" => values::query(amount),
            "question" => values::question(amount),
            "crowd" => values::crowd(amount),
            "not-utf8" => values::not_utf8(),
            "outside" => values::outside(),
            "fetch-body" | "fetch-headers" | "fetch-url" | "fetch-value" => serves::large(what, amount),
            // It spends what it has not, and uses what it has not.
            "overspend" => handles::overspend(),
            "overspend-market" => handles::overspend_market(),
            "buy-and-fall" => handles::buy_and_fall(),
            "hoard-quotes" => handles::hoard_quotes(amount),
            "hoard-streams" => handles::hoard_streams(amount),
            "open-twice" => handles::open_twice(),
            "forge" => handles::forge(amount as u32),
            "use-closed" => handles::use_closed(),
            "read-past-end" => handles::read_past_end(),
            "forget-stream" => handles::forget_stream(),
            "drop-early" => handles::drop_early(),
            "fall-with-stream" => handles::fall_with_stream(),
            // It behaves.
            "fetch" => serves::fetch(order.split_once(' ').map_or("", |(_, url)| url)),
            "behave" => Ok(clock::now_ms()?.to_string().into_bytes()),
            other => Err(Error::new("hostile.unknown", other)),
        }
    }
}

impl Seller for Hostile {
    fn serve(request: Request) -> Result<Response, Error> {
        serves::serve(&request)
    }
}

agora_sdk::export_seller!(Hostile);

/// An `unreachable` instruction, without a panic's words.
fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort()
}
