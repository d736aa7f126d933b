//! A node is killed (SIGKILL) between the debit of a paid HTTP request and its answer, and started again: the buyer sends
//! the same bytes again, gets the answer that it paid for, and has paid once.
//!
//! `AGORA_SEED=N` repeats the choices of a run, `AGORA_KILLS=N` says how many of the kills must hit that gap.

mod world;

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use agora_x402::wire::Scheme;
use world::buyer::{Buyer, Open, Order, Reply, Shop, Signed, get, send};
use world::dice::{Dice, rounds};
use world::ground::PATIENCE;

/// Kills that must hit the gap.
const KILLS: u64 = 6;
/// Rounds without a hit are for the gap's other sides; more than so many for each hit mean that it is missed.
const ROUNDS_A_HIT: u64 = 30;

/// Somebody who sells, what is asked, and a buyer.
struct Trade {
    what: &'static str,
    order: fn(u64) -> Order,
    buyer: Buyer,
    /// Requests that were paid.
    paid: u64,
    /// Spent on them.
    spent: u128,
    /// When an answer comes after the request, about: kills of vouchers, which show no debit, aim there.
    aim: Duration,
}

fn completion(round: u64) -> Order {
    let words = format!("question {round}: who owns a wreck that the sea gave back");
    let body = serde_json::json!({
        "model": "parrot", "messages": [{"role": "user", "content": words}], "max_tokens": 12, "seed": round,
    });
    Order { path: "/v1/chat/completions", body: body.to_string() }
}

fn summary(round: u64) -> Order {
    let body = serde_json::json!({"text": format!("Wreck {round} belongs to the crown unless claimed."), "words": 8});
    Order { path: "/agents/summariser/", body: body.to_string() }
}

/// The paid request as it runs; its whole answer, where one came.
fn buying(open: &Open, signed: &Signed) -> Receiver<Option<Reply>> {
    let (sender, answer) = channel();
    let (at, bytes) = (open.at, signed.bytes.clone());
    thread::spawn(move || drop(sender.send(send(at, &bytes))));
    answer
}

/// Waits until the debit is seen, or the answer is there.
fn until_debited(
    open: &Open,
    signed: &Signed,
    trade: &Trade,
    answer: &Receiver<Option<Reply>>,
    dice: &mut Dice,
) -> Option<Reply> {
    let begun = Instant::now();
    let jitter = Duration::from_micros(dice.below(2_000));
    loop {
        match answer.try_recv() {
            Ok(reply) => return reply,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => panic!("the buyer's thread ended"),
        }
        let debited = match &signed.status {
            Some(path) => get(open.at, path).is_some_and(|told| told.json()["status"] == "settled"),
            None => begun.elapsed() >= trade.aim + jitter,
        };
        if debited {
            return None;
        }
        assert!(begun.elapsed() < PATIENCE, "{}: no debit and no answer", trade.what);
    }
}

/// Sends the same bytes until they are answered: a node that has just started may still be busy with the first attempt.
fn again(open: &Open, signed: &Signed, context: &str) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = send(open.at, &signed.bytes).unwrap_or_else(|| panic!("{context}: no answer"));
        if reply.status != 409 {
            assert_eq!(reply.status, 200, "{context}: {reply:?}");
            return reply;
        }
        assert!(begun.elapsed() < PATIENCE, "{context}: {reply:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The answer without the second in which it was written down.
fn said(reply: &Reply) -> serde_json::Value {
    let mut body = reply.json();
    if let Some(created) = body.get_mut("created") {
        *created = 0.into();
    }
    body
}

impl Trade {
    fn new(shop: &Shop, what: &'static str, scheme: Scheme, order: fn(u64) -> Order, dice: &mut Dice) -> Self {
        let buyer = Buyer::new(shop, scheme, dice);
        Self { what, order, buyer, paid: 0, spent: 0, aim: Duration::ZERO }
    }

    /// Available, or in its channel and not charged.
    fn money(&self, shop: &Shop) -> u128 {
        let document = shop.json(&["wallet", "balance", &self.buyer.key.address().to_string()]);
        let available: u128 = document["available"].as_str().unwrap().parse().unwrap();
        available + self.buyer.in_channel()
    }

    /// Calls of this buyer that have a receipt.
    fn calls(&self, shop: &Shop) -> std::collections::BTreeSet<String> {
        let payer = self.buyer.key.address().to_string();
        let list = shop.json(&["receipt", "list", "--payer", &payer, "--limit", "1000"]);
        let lines = list["receipts"].as_array().unwrap();
        lines.iter().map(|line| line["call"].as_str().unwrap().to_owned()).collect()
    }
}

/// One request, killed, answered after the restart, checked. True where the kill came after the debit and before the
/// answer.
fn round(shop: &Shop, open: Open, trade: &mut Trade, number: u64, dice: &mut Dice) -> (Open, bool) {
    let context = format!("{}, round {number}", trade.what);
    let before = trade.calls(shop);
    let order = (trade.order)(number);
    let signed = trade.buyer.sign(open.at, &order, dice);
    let answer = buying(&open, &signed);
    let early = until_debited(&open, &signed, trade, &answer, dice);
    open.node.kill();
    let first = early.or_else(|| answer.recv_timeout(PATIENCE).expect("the buyer's thread"));

    let mut open = shop.open();
    // Some lives are short: killed again while they repair what the first kill left.
    while dice.below(4) == 0 {
        thread::sleep(Duration::from_micros(dice.below(50_000)));
        open.node.kill();
        open = shop.open();
    }
    let debited = trade.calls(shop).len() > before.len();
    let hit = debited && first.is_none();
    // Where vouchers are concerned: later next time, or earlier.
    let step = trade.aim / 16 + Duration::from_micros(200);
    trade.aim = if debited { trade.aim.saturating_sub(step) } else { trade.aim + step };

    let reply = again(&open, &signed, &context);
    let repeat = again(&open, &signed, &context);
    assert_eq!(repeat.header("agora-replayed"), Some("true"), "{context}");
    for (name, other) in [("a repeat", Some(&repeat)), ("the first answer", first.as_ref())] {
        let Some(other) = other else { continue };
        assert_eq!(other.status, 200, "{context}: {name}: {other:?}");
        assert_eq!(said(other), said(&reply), "{context}: {name}");
        for header in ["agora-call", "agora-receipt", "agora-charge", "payment-response"] {
            assert_eq!(other.header(header), reply.header(header), "{context}: {name}: {header}");
        }
    }
    let charge = trade.buyer.answered(&reply).atoms();
    trade.paid += 1;
    trade.spent += charge;
    let calls = trade.calls(shop);
    assert_eq!(calls.len() as u64, trade.paid, "{context}: one call a payment");
    let call = reply.header("agora-call").unwrap();
    assert!(calls.contains(call) && !before.contains(call), "{context}: {call}");
    let receipt = shop.json(&["receipt", "show", call])["provisional"]["receipt"].clone();
    assert_eq!(Some(receipt["charge"].as_str().unwrap()), reply.header("agora-charge"), "{context}");
    assert_eq!(trade.money(shop), world::buyer::FUNDS.1 - trade.spent, "{context}: charged once");
    shop.run(&["ledger", "audit"]).good();
    (open, hit)
}

#[test]
fn a_payment_whose_answer_was_lost_is_charged_once_and_answered_when_it_is_sent_again() {
    let mut dice = Dice::new();
    let wanted = rounds(KILLS);
    let shop = Shop::found();
    let mut open = shop.open();
    let mut trades = [
        ("a model by exact", Scheme::Exact, completion as fn(u64) -> Order),
        ("a model by upto", Scheme::Upto, completion),
        ("a model by batch-settlement", Scheme::BatchSettlement, completion),
        ("an agent by exact", Scheme::Exact, summary),
        ("an agent by upto", Scheme::Upto, summary),
        ("an agent by batch-settlement", Scheme::BatchSettlement, summary),
    ]
    .map(|(what, scheme, order)| Trade::new(&shop, what, scheme, order, &mut dice));
    for trade in &mut trades {
        // What an answer takes without a kill.
        let signed = trade.buyer.sign(open.at, &(trade.order)(0), &mut dice);
        let begun = Instant::now();
        let reply = again(&open, &signed, trade.what);
        trade.aim = begun.elapsed();
        trade.spent += trade.buyer.answered(&reply).atoms();
        trade.paid += 1;
    }
    let (mut hits, mut number) = ([0_u64; 6], 0);
    while hits.iter().sum::<u64>() < wanted {
        number += 1;
        assert!(number <= wanted * ROUNDS_A_HIT, "{hits:?} of {wanted} kills came between debit and answer");
        let at = usize::try_from(number % 6).unwrap();
        let (next, hit) = round(&shop, open, &mut trades[at], number, &mut dice);
        open = next;
        hits[at] += u64::from(hit);
    }
    let told: Vec<String> = trades.iter().zip(hits).map(|(trade, hits)| format!("{} {hits}", trade.what)).collect();
    println!("{number} rounds; kills between debit and answer: {}", told.join(", "));
}
