//! Guests that take time, memory, stack, calls and log without end.

use std::sync::Arc;

use agora_types::Code;

use super::host::FakeHost;
use super::{Hostile, message, peak_mib};

#[tokio::test]
async fn an_endless_loop_is_interrupted() {
    Hostile::new().check("loop", "agent.out_of_time").await;
}

#[tokio::test]
async fn an_endless_loop_lets_others_run_on_the_same_thread() {
    // `tokio::test` has one thread. The loop is started first, and the one that behaves ends first.
    let hostile = Hostile::new();
    let ended = std::sync::Mutex::new(Vec::new());
    let run = async |order| {
        let _ = hostile.told(order).await;
        ended.lock().expect("no panic").push(order);
    };
    tokio::join!(run("loop"), run("behave"));
    assert_eq!(*ended.lock().expect("no panic"), ["behave", "loop"]);
}

#[tokio::test]
async fn computing_for_long_is_fine_with_host_calls_between() {
    let hostile = Hostile::with(|manifest| {
        manifest.limits.compute_ms = 400;
        manifest.limits.event_s = 120;
    });
    hostile.check("work 150", "worked").await;
}

#[tokio::test]
async fn memory_without_end_is_refused_with_a_clear_word() {
    let hostile = Hostile::new();
    hostile.check("allocate", "agent.out_of_memory").await;
    let error = hostile.told("allocate").await.expect_err("out of memory");
    assert!(error.what.contains("limits.memory_mib is 16"), "{error}");
    assert!(peak_mib() < 1_024, "the host took {} MiB", peak_mib());
}

#[tokio::test]
async fn recursion_without_end_is_a_trap_and_some_depth_is_fine() {
    let hostile = Hostile::new();
    hostile.check("recurse 100", "5050").await;
    hostile.check("recurse 0", "agent.trapped").await;
}

#[tokio::test]
async fn a_flood_of_calls_ends_the_event() {
    let hostile = Hostile::new();
    hostile.check("call", "agent.too_many_calls").await;
    let error = hostile.told("call").await.expect_err("too many");
    assert!(error.what.contains("limits.host_calls is 2000"), "{error}");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_refused_and_the_guest_may_go_on() {
    let hostile = Hostile::new();
    // 16 KiB of log: 16 lines of 1,000 bytes and their ends.
    hostile.check("log 1000", "agent.too_large after 16").await;
    assert_eq!(hostile.host.seen().log.len(), 16);
    // Empty lines take space too; before the log is full the event has made all its calls.
    hostile.check("log 0", "agent.too_many_calls").await;
    hostile.check("log 9000", "agent.too_large after 0").await;
}

#[tokio::test]
async fn waiting_for_ever_ends_with_the_event_and_closes_the_stream() {
    let hostile = Hostile::with(|manifest| manifest.limits.event_s = 1);
    let mut host = FakeHost::new();
    host.silent = true;
    let host = Arc::new(host);
    let error = hostile.program.handle(message("wait"), host.clone()).await.expect_err("nothing arrives");
    assert_eq!(error.code, Code::AgentOutOfTime);
    assert!(error.what.contains("limits.event_s"), "{error}");
    assert_eq!(host.seen().closed.len(), 1);
}
