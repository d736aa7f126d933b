//! What every backend of the bus must do: one function per promise, each panics with the promise that was broken.
//!
//! A backend's tests call each with a fresh bus, or with a shared one: each function uses subjects of its own network.

use std::sync::Arc;

use agora_economy::ports::bus::flow::{ReceiveWindow, SendWindow};
use agora_economy::ports::bus::frame::{Body, Chunk, Frame};
use agora_economy::ports::bus::{
    Bus, Change, FRAME_BYTES_MAX, Inbox, Key, KeyChange, Message, Pattern, Received, Subject,
};
use agora_types::{Amount, CallId, Code};

/// Generous: only a broken bus waits that long.
const PATIENCE_MS: u32 = 10_000;
/// For what must not come.
const SHORT_MS: u32 = 50;

fn subject(network: u64, peer: &str, verb: &str) -> Subject {
    Subject::new(network, peer, verb).expect("a subject")
}

async fn item<T>(inbox: &mut dyn Inbox<T>) -> T {
    match inbox.next(PATIENCE_MS).await.expect("something arrives") {
        Received::Item(item) => item,
        Received::Gap { missed } => panic!("{missed} items were lost in a queue with room"),
    }
}

async fn nothing<T>(inbox: &mut dyn Inbox<T>, why: &str) {
    let code = inbox.next(SHORT_MS).await.err().map(|error| error.code);
    assert_eq!(code, Some(Code::BusTimeout), "{why}");
}

/// Messages arrive at every matching subscription, in order, and nowhere else.
pub async fn messages_arrive_in_order_at_every_match_and_nowhere_else(bus: &dyn Bus) {
    let here = subject(101, "host", "quote");
    let all_verbs = Pattern::new(101, Some("host"), None).expect("a pattern");
    let mut exact = bus.subscribe(&Pattern::from(&here), 16).await.expect("subscribe");
    let mut open = bus.subscribe(&all_verbs, 16).await.expect("subscribe");
    let mut other_network = bus.subscribe(&Pattern::new(102, None, None).expect("a pattern"), 16).await.expect("ok");
    let reply = subject(101, "buyer", "inbox");
    for number in 0..10_u8 {
        bus.publish(&here, Some(&reply), &[number]).await.expect("publish");
    }
    for number in 0..10_u8 {
        let expected = Message { subject: here.clone(), reply: Some(reply.clone()), frame: Arc::from([number]) };
        assert_eq!(item(&mut *exact).await, expected);
        assert_eq!(item(&mut *open).await, expected);
    }
    nothing(&mut *other_network, "a message never crosses networks").await;
    drop(exact);
    bus.publish(&here, None, b"later").await.expect("publishing succeeds when a reader has gone");
    assert_eq!(&*item(&mut *open).await.frame, b"later");
}

/// One member of a queue group gets a message, and the members share the work.
pub async fn a_queue_group_delivers_to_one(bus: &dyn Bus) {
    let here = subject(103, "hosts", "serve");
    let pattern = Pattern::from(&here);
    let mut first = bus.join(&pattern, "q", 64).await.expect("join");
    let mut second = bus.join(&pattern, "q", 64).await.expect("join");
    let mut other_group = bus.join(&pattern, "r", 64).await.expect("join");
    for number in 0..32_u8 {
        bus.publish(&here, None, &[number]).await.expect("publish");
    }
    for number in 0..32_u8 {
        assert_eq!(*item(&mut *other_group).await.frame, [number], "another group gets every message");
    }
    let mut seen = Vec::new();
    for member in [&mut first, &mut second] {
        let before = seen.len();
        while let Ok(Received::Item(message)) = member.next(SHORT_MS).await {
            seen.push(message.frame[0]);
        }
        assert!(seen.len() > before, "each member has a share");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..32).collect::<Vec<u8>>(), "each message to one member");
    drop(first);
    bus.publish(&here, None, &[99]).await.expect("publish");
    assert_eq!(*item(&mut *second).await.frame, [99], "who has left gets nothing");
}

/// A request is answered by the listener's reply.
pub async fn a_request_gets_its_answer(bus: &dyn Bus) {
    let here = subject(104, "host", "quote");
    let mut inbox = bus.subscribe(&Pattern::from(&here), 4).await.expect("subscribe");
    let serve = async {
        for _ in 0..3 {
            let asked = item(&mut *inbox).await;
            let reply = asked.reply.expect("a request says where the answer goes");
            bus.publish(&reply, None, &[asked.frame[0] + 100]).await.expect("answer");
        }
    };
    let ask = async {
        for number in 0..3_u8 {
            let answer = bus.request(&here, &[number], PATIENCE_MS).await.expect("an answer");
            assert_eq!(*answer.frame, [number + 100]);
        }
    };
    tokio::join!(serve, ask);
}

/// Nobody there is known at once; somebody silent after the timeout.
pub async fn no_responders_and_silence_have_different_codes(bus: &dyn Bus) {
    let here = subject(105, "host", "quote");
    let error = bus.request(&here, b"?", PATIENCE_MS).await.expect_err("nobody listens");
    assert_eq!(error.code, Code::BusNoResponders);
    let silent = bus.subscribe(&Pattern::from(&here), 4).await.expect("subscribe");
    let error = bus.request(&here, b"?", SHORT_MS).await.expect_err("nobody answers");
    assert_eq!(error.code, Code::BusTimeout);
    drop(silent);
    let error = bus.request(&here, b"?", PATIENCE_MS).await.expect_err("nobody listens any more");
    assert_eq!(error.code, Code::BusNoResponders);
}

/// A slow reader loses messages, sees how many and where, and slows nobody else.
pub async fn a_gap_is_visible_on_overflow(bus: &dyn Bus) {
    let here = subject(106, "host", "news");
    let mut slow = bus.subscribe(&Pattern::from(&here), 4).await.expect("subscribe");
    let mut quick = bus.subscribe(&Pattern::from(&here), 64).await.expect("subscribe");
    for number in 0..10_u8 {
        bus.publish(&here, None, &[number]).await.expect("a slow reader does not stop the publisher");
    }
    for number in 0..10_u8 {
        assert_eq!(*item(&mut *quick).await.frame, [number]);
    }
    for number in 0..4_u8 {
        assert_eq!(*item(&mut *slow).await.frame, [number]);
    }
    assert_eq!(slow.next(PATIENCE_MS).await, Ok(Received::Gap { missed: 6 }), "the gap stands where it happened");
    bus.publish(&here, None, &[10]).await.expect("publish");
    assert_eq!(*item(&mut *slow).await.frame, [10], "after the gap it goes on");
}

/// A frame over 64 KiB is refused everywhere; one of exactly that size passes.
pub async fn an_oversize_frame_is_refused(bus: &dyn Bus) {
    let here = subject(107, "host", "serve");
    let mut inbox = bus.subscribe(&Pattern::from(&here), 4).await.expect("subscribe");
    let (fits, large) = (vec![7; FRAME_BYTES_MAX], vec![7; FRAME_BYTES_MAX + 1]);
    let key = Key::new("sizes", "large").expect("a key");
    let codes = [
        bus.publish(&here, None, &large).await.expect_err("too large").code,
        bus.request(&here, &large, SHORT_MS).await.expect_err("too large").code,
        bus.put(&key, &large).await.expect_err("too large").code,
    ];
    assert_eq!(codes, [Code::BusFrameTooLarge; 3]);
    assert_eq!(bus.get(&key).await.expect("get"), None, "a refused value is not kept");
    bus.publish(&here, None, &fits).await.expect("64 KiB fit");
    assert_eq!(item(&mut *inbox).await.frame.len(), FRAME_BYTES_MAX, "only the one that fits arrives");
}

/// A sender without credit stops, goes on after a credit, and no chunk is lost on a small queue.
pub async fn credit_stops_the_sender(bus: &dyn Bus) {
    let (host, buyer) = (subject(108, "host", "stream-1"), subject(108, "buyer", "stream-1"));
    let stream = CallId::new([1; 16]);
    let mut credits = bus.subscribe(&Pattern::from(&host), 16).await.expect("subscribe");
    let mut chunks = bus.subscribe(&Pattern::from(&buyer), 4).await.expect("subscribe");
    let mut receiving = ReceiveWindow::new(4);
    let mut sending = SendWindow::new(receiving.through());
    let mut sent = 0_u64;
    let mut received = Vec::new();
    while received.len() < 50 {
        while let Ok(seq) = sending.take() {
            let data = vec![b'.'; 8];
            let chunk = Chunk {
                seq,
                tokens_in: 1,
                tokens_out: seq,
                tokens_hidden: 0,
                spent_cumulative: Amount::ZERO,
                data,
                likelihoods: None,
            };
            let bytes = Frame::new(stream, Body::Chunk(chunk)).to_wire().expect("a frame");
            bus.publish(&buyer, None, &bytes).await.expect("publish");
            sent += 1;
        }
        assert!(sent <= receiving.through(), "the sender stays within its grant");
        let frame = Frame::from_wire(&item(&mut *chunks).await.frame).expect("a frame");
        let Body::Chunk(chunk) = frame.body else { panic!("only chunks go to the buyer") };
        if let Some(through) = receiving.accept(chunk.seq).expect("without a gap") {
            let credit = Frame::new(stream, Body::Credit(through)).to_wire().expect("a frame");
            bus.publish(&host, None, &credit).await.expect("publish");
            let frame = Frame::from_wire(&item(&mut *credits).await.frame).expect("a frame");
            let Body::Credit(through) = frame.body else { panic!("only credits go to the host") };
            sending.grant(through);
        }
        received.push(chunk.seq);
    }
    assert_eq!(received, (0..50).collect::<Vec<u64>>());
}

/// A watch shows what is there, then puts and deletes with rising revisions, of its bucket only.
pub async fn a_watch_sees_updates_and_deletes(bus: &dyn Bus) {
    let key = |bucket: &str, name: &str| Key::new(bucket, name).expect("a key");
    let (before, gone, later) = (key("watched", "before"), key("watched", "gone"), key("watched", "later"));
    bus.put(&before, b"1").await.expect("put");
    bus.put(&gone, b"1").await.expect("put");
    bus.delete(&gone).await.expect("delete");
    let mut watch = bus.watch("watched", 16).await.expect("watch");
    bus.put(&key("unwatched", "other"), b"1").await.expect("put");
    let revision = bus.put(&later, b"2").await.expect("put");
    bus.delete(&key("watched", "never")).await.expect("removing nothing is fine");
    bus.delete(&before).await.expect("delete");
    let mut seen: Vec<KeyChange> = Vec::new();
    for _ in 0..3 {
        seen.push(item(&mut *watch).await);
    }
    let put = |bytes: &[u8]| Change::Put(bytes.into());
    assert_eq!((&seen[0].key, &seen[0].change), (&before, &put(b"1")), "first what is there");
    assert_eq!((&seen[1].key, &seen[1].change, seen[1].revision), (&later, &put(b"2"), revision));
    assert_eq!((&seen[2].key, &seen[2].change), (&before, &Change::Deleted));
    assert!(seen.is_sorted_by(|one, next| one.revision < next.revision), "revisions rise");
    nothing(&mut *watch, "nothing of other buckets, nothing for a delete that removed nothing").await;
    assert_eq!(bus.get(&before).await.expect("get"), None);
    assert_eq!(bus.get(&later).await.expect("get").as_deref(), Some(b"2".as_slice()));
}

/// Names that are no part of a subject are refused.
pub async fn bad_names_are_refused(bus: &dyn Bus) {
    let pattern = Pattern::new(109, None, None).expect("a pattern");
    for wrong in ["", "a.b", "*", ">", "a b"] {
        assert_eq!(bus.join(&pattern, wrong, 1).await.err().map(|e| e.code), Some(Code::BusBadSubject), "{wrong}");
        assert_eq!(bus.watch(wrong, 1).await.err().map(|e| e.code), Some(Code::BusBadSubject), "{wrong}");
    }
}

/// A reader that stops waiting loses nothing.
pub async fn a_dropped_wait_loses_no_message(bus: &dyn Bus) {
    let here = subject(110, "host", "news");
    let mut inbox = bus.subscribe(&Pattern::from(&here), 4).await.expect("subscribe");
    tokio::select! {
        biased;
        _ = inbox.next(PATIENCE_MS) => panic!("nothing was sent"),
        () = tokio::task::yield_now() => {}
    }
    bus.publish(&here, None, b"still here").await.expect("publish");
    assert_eq!(&*item(&mut *inbox).await.frame, b"still here");
}
