//! Guests that fail, say too much, or give what is not what they say.

use agora_types::Code;

use super::{Hostile, message, peak_mib};

#[tokio::test]
async fn a_panic_and_a_trap_end_the_event() {
    let hostile = Hostile::new();
    hostile.check("panic", "agent.trapped").await;
    let logged = hostile.host.seen().log.pop().map(|(_, text)| text).unwrap_or_default();
    assert!(logged.contains("the guest panics as it was told") && logged.contains("hostile/src/lib.rs"), "{logged}");
    hostile.check("trap", "agent.trapped").await;
    let error = hostile.told("trap").await.expect_err("a trap");
    assert!(error.what.contains("unreachable"), "{error}");
}

#[tokio::test]
async fn a_failure_carries_the_guests_words_up_to_a_bound() {
    let hostile = Hostile::new();
    let error = hostile.told("fail 10").await.expect_err("a failure");
    assert_eq!((error.code, error.what.as_str()), (Code::AgentFailed, "hostile.failed: xxxxxxxxxx"));
    let error = hostile.told("fail 100000").await.expect_err("a failure");
    assert!(error.code == Code::AgentFailed && error.what.len() < 3_000, "{} bytes", error.what.len());
    hostile.check("fail 2000000", "agent.too_large").await;
}

#[tokio::test]
async fn an_answer_has_64_kib_at_most_and_any_bytes() {
    let hostile = Hostile::new();
    assert_eq!(hostile.told("answer 65536").await.expect("it fits").len(), 65_536);
    hostile.check("answer 65537", "agent.too_large").await;
    hostile.check("answer 8000000", "agent.too_large").await;
    let garbage = hostile.program.handle(message("garbage"), hostile.host.clone()).await.expect("bytes are bytes");
    assert_eq!(garbage, (0..=255).rev().collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_payload_has_64_kib_at_most() {
    let hostile = Hostile::new();
    let error = hostile.told(&"x".repeat(65_537)).await.expect_err("too large");
    assert_eq!(error.code, Code::AgentTooLarge);
}

#[tokio::test]
async fn values_over_their_bound_are_refused_before_the_host_sees_them() {
    let hostile = Hostile::new();
    for (fits, too_large) in [("key 256", "key 257"), ("value 262144", "value 262145")] {
        hostile.check(fits, "kept").await;
        hostile.host.seen().kept.clear();
        let error = hostile.told(too_large).await.expect_err(too_large);
        assert!(error.code == Code::AgentFailed && error.what.starts_with("agent.too_large: "), "{error}");
        assert!(hostile.host.seen().kept.is_empty());
    }
    hostile.check("query 4096", "0").await;
    let error = hostile.told("query 4097").await.expect_err("too large");
    assert!(error.what.starts_with("agent.too_large: a query"), "{error}");
    hostile.check("question 32768", "quoted").await;
    let error = hostile.told("question 32769").await.expect_err("too large");
    assert!(error.what.starts_with("agent.too_large: all messages"), "{error}");
    assert_eq!(hostile.host.seen().asks.len(), 1);
}

#[tokio::test]
async fn more_than_one_call_may_carry_ends_the_event_before_it_is_copied() {
    let hostile = Hostile::new();
    hostile.check("value 8000000", "agent.too_large").await;
    // 100,000 messages that all name the same 64 KiB would be 6 GiB.
    hostile.check("crowd 100000", "agent.too_large").await;
    assert!(peak_mib() < 1_024, "the host took {} MiB", peak_mib());
}

#[tokio::test]
async fn text_that_is_none_and_memory_that_is_not_the_guests_are_traps() {
    let hostile = Hostile::new();
    hostile.check("not-utf8", "agent.trapped").await;
    let error = hostile.told("not-utf8").await.expect_err("no text");
    assert!(error.what.contains("utf-8"), "{error}");
    hostile.check("outside", "agent.trapped").await;
    assert!(hostile.host.seen().log.is_empty() && hostile.host.seen().kept.is_empty());
}
