//! The in-process bus keeps every promise of the port, and its own limits.

use agora_bus::{Limits, LocalBus, conformance};
use agora_economy::ports::bus::{Bus, Key, Pattern, Received, Subject};
use agora_types::Code;

macro_rules! keeps {
    ($($promise:ident),* $(,)?) => { $(
        #[tokio::test]
        async fn $promise() {
            conformance::$promise(&LocalBus::default()).await;
        }
    )* };
}

keeps!(
    messages_arrive_in_order_at_every_match_and_nowhere_else,
    a_queue_group_delivers_to_one,
    a_request_gets_its_answer,
    no_responders_and_silence_have_different_codes,
    a_gap_is_visible_on_overflow,
    an_oversize_frame_is_refused,
    credit_stops_the_sender,
    a_watch_sees_updates_and_deletes,
    bad_names_are_refused,
    a_dropped_wait_loses_no_message,
);

#[tokio::test]
async fn a_full_bus_refuses_and_a_dropped_reader_makes_room() {
    let bus = LocalBus::new(Limits { subscriptions_max: 2, keys_max: 1 });
    let pattern = Pattern::new(1, None, None).unwrap();
    let first = bus.subscribe(&pattern, 1).await.unwrap();
    let _second = bus.watch("bucket", 1).await.unwrap();
    assert_eq!(bus.subscribe(&pattern, 1).await.err().unwrap().code, Code::BusFull);
    drop(first);
    assert!(bus.subscribe(&pattern, 1).await.is_ok());

    let (one, two) = (Key::new("bucket", "one").unwrap(), Key::new("bucket", "two").unwrap());
    bus.put(&one, b"1").await.unwrap();
    assert_eq!(bus.put(&two, b"1").await.unwrap_err().code, Code::BusFull);
    bus.put(&one, b"2").await.expect("a present key may change");
    bus.delete(&one).await.unwrap();
    bus.put(&two, b"1").await.expect("a removed key makes room");
}

#[tokio::test]
async fn readers_of_a_stopped_bus_get_what_waits_and_then_its_code() {
    let bus = LocalBus::default();
    let subject = Subject::new(1, "host", "news").unwrap();
    let mut inbox = bus.subscribe(&Pattern::from(&subject), 4).await.unwrap();
    bus.publish(&subject, None, b"last").await.unwrap();
    drop(bus);
    assert!(matches!(inbox.next(1_000).await, Ok(Received::Item(message)) if &*message.frame == b"last"));
    assert_eq!(inbox.next(1_000).await.unwrap_err().code, Code::BusClosed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_threads() {
    let bus = LocalBus::default();
    let subject = Subject::new(1, "host", "serve").unwrap();
    let mut inbox = bus.join(&Pattern::from(&subject), "q", 64).await.unwrap();
    let server = bus.clone();
    let serving = tokio::spawn(async move {
        for _ in 0..2_000 {
            let Received::Item(message) = inbox.next(10_000).await.unwrap() else { panic!("nothing overflows") };
            server.publish(&message.reply.unwrap(), None, &message.frame).await.unwrap();
        }
    });
    for number in 0..2_000_u32 {
        let answer = bus.request(&subject, &number.to_be_bytes(), 10_000).await.unwrap();
        assert_eq!(*answer.frame, number.to_be_bytes());
    }
    serving.await.unwrap();
}
