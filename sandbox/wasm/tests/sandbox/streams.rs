//! Money and handles: nothing is opened that the host refuses, and nothing stays open.

use super::Hostile;

#[tokio::test]
async fn a_call_over_the_budget_is_refused_and_the_guest_may_go_on() {
    let hostile = Hostile::new();
    hostile.check("overspend", "agent.over_budget").await;
    assert!(hostile.host.seen().opened.is_empty());
}

#[tokio::test]
async fn a_quote_opens_once() {
    let hostile = Hostile::new();
    hostile.check("open-twice", "agent.bad_handle").await;
    let seen = hostile.host.seen();
    assert_eq!((seen.opened.len(), seen.closed.len()), (1, 1), "the first is open until the guest falls");
}

#[tokio::test]
async fn forged_and_closed_handles_end_the_event() {
    let hostile = Hostile::new();
    for order in ["forge 0", "forge 1", "forge 7", "forge 4294967295", "use-closed"] {
        hostile.check(order, "agent.bad_handle").await;
    }
    let seen = hostile.host.seen();
    assert_eq!((seen.opened.len(), seen.closed.len()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_is_dropped_early_is_closed_at_once() {
    let hostile = Hostile::new();
    hostile.check("drop-early", "Ethanol").await;
    let seen = hostile.host.seen();
    assert_eq!((seen.batch_sizes.as_slice(), seen.closed.len()), ([1].as_slice(), 1));
}

#[tokio::test]
async fn a_stream_that_is_forgotten_or_left_by_a_panic_is_closed_with_the_event() {
    let hostile = Hostile::new();
    hostile.check("forget-stream", "forgot").await;
    assert_eq!(hostile.host.seen().closed.len(), 1);
    hostile.check("fall-with-stream", "agent.trapped").await;
    assert_eq!(hostile.host.seen().closed.len(), 2);
}

#[tokio::test]
async fn a_stream_that_ended_is_not_closed_and_not_read_on() {
    let hostile = Hostile::new();
    hostile.check("read-past-end", "agent.bad_handle").await;
    let seen = hostile.host.seen();
    assert!(seen.closed.is_empty());
    assert_eq!(seen.batch_sizes, [256, 256], "a batch is clamped");
}

#[tokio::test]
async fn quotes_and_streams_are_held_in_small_numbers() {
    let hostile = Hostile::new();
    hostile.check("hoard-quotes 1000", "agent.too_large after 64").await;
    hostile.check("hoard-streams 1000", "agent.too_large after 16").await;
    let seen = hostile.host.seen();
    assert_eq!((seen.opened.len(), seen.closed.len()), (16, 16));
}
