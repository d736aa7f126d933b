//! What a node writes down of its calls and payments keeps its bytes, so that the next release reads it, and is described by CDDL.
//!
//! `AGORA_GOLDEN=write cargo test -p agora-actors --test all formats::` writes the golden files anew; do that only with a new
//! version of a format.

use std::fs;

use agora_actors::agent::record::{
    AgentRecord, EventRow, EventState, LineRow, MemoKind, MemoRow, Payee, Reserved, Status,
};
use agora_actors::agent::request::{RequestRow, ResponseRow, SERVE};
use agora_actors::call::{ChunkRow, Phase, SellerCall};
use agora_actors::datanets::{DatanetHead, PendingVersion};
use agora_actors::pay::spend::{
    AwaitedPart, ChannelPart, PaidPart, PurchaseRow, PurchaseState, ReplyPart, SignedPart, SpentChannelRow,
};
use agora_actors::pay::{
    ApiKeyRow, ChannelRow, CompletedRow, FeeRow, KeptRow, LastRow, NamedRow, PaidRow, SellerRow, SoldRow,
};
use agora_actors::purchase::{BuyerCall, OpeningRow};
use agora_catalog::{Quote, TokenCaps};
use agora_economy::testkit::{HOST, Kit, PAYER, atoms, key};
use agora_inference_api::{Likelihood, Likelihoods};
use agora_receipts::receipt::Decoding;
use agora_types::authorization::Single;
use agora_types::{CallId, Canonical, Code, Hash, Prices, QuoteId, Usage};

/// A schema with the words that it builds on.
fn schema(kind: &str) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let word = |name: &str| read(&format!("../types/cddl/{name}.cddl"));
    let own = read(&format!("cddl/{kind}.cddl"));
    // The words that both have: a schema names each once.
    let twice = ["address =", "hash =", "amount ="];
    let quote = read("../../marketplace/catalog/cddl/quote.cddl");
    let quote: Vec<&str> = quote.lines().filter(|line| !twice.iter().any(|word| line.starts_with(word))).collect();
    let quote = quote.join("\n");
    let kept = read("cddl/kept.cddl");
    let parts = match kind {
        "seller-call" => vec![own, quote, word("command"), word("voucher"), word("common")],
        "buyer-call" => vec![own, quote, word("entry"), word("command"), word("voucher"), word("common")],
        "agent" | "agent-event" | "agent-call" | "agent-line" | "agent-request" | "seller" | "till-identifier"
        | "api-key" | "api-fee" => {
            vec![own, word("common")]
        }
        "sold" => vec![own, kept, word("command"), word("voucher"), word("common")],
        "till-payment" | "completed" => vec![own, kept, word("common")],
        "till-channel" => vec![own, kept, word("channel-config"), word("voucher"), word("common")],
        "http-purchase" | "http-channel" => vec![own, word("command"), word("common")],
        _ => vec![own],
    };
    parts.join("\n")
}

fn valid(schema: &str, bytes: &[u8]) -> Result<(), String> {
    cddl::validate_cbor_from_slice(schema, bytes, None).map_err(|error| error.to_string())
}

fn quote(kit: &Kit) -> Quote {
    Quote {
        network: kit.genesis.chain_id,
        id: QuoteId::new([0x31; 16]),
        payer: key(PAYER).address(),
        request_commit: Hash::sha256("salted request"),
        listing: Kit::listing(),
        terms: Hash::sha256("terms"),
        adapter_hash: None,
        caps: TokenCaps { input: 30, output: 128, hidden: 0 },
        prices: Prices { output: atoms(7_000_000_001), ..Prices::default() },
        host: key(HOST).address(),
        host_key: Kit::host_signer().public(),
        time: kit.now,
        expires_at: kit.now.plus_secs(30),
        readiness: None,
    }
}

fn seller_call(phase: Phase) -> SellerCall {
    let kit = Kit::default();
    SellerCall {
        quote: quote(&kit),
        config: kit.config(),
        salt: [0x41; 16],
        decoding: Decoding {
            temperature_milli: 700,
            top_k: 40,
            top_p_milli: 950,
            seed: 9,
            output_max: 128,
            min_p_milli: 0,
            repetition_milli: 1_000,
            hidden_max: 0,
        },
        voucher: kit.voucher(&kit.config(), atoms(900)),
        base: atoms(100),
        acknowledged: 3,
        opened_at: kit.now.plus_secs(1),
        phase,
        single: None,
    }
}

fn single() -> Single {
    let kit = Kit::default();
    let authorization = kit.upto(kit.config().receiver, 900, HOST, 7);
    let signature = key(PAYER).sign(&authorization.digest(&kit.network()));
    Single { authorization, signature }
}

fn seller_calls() -> Vec<(&'static str, SellerCall)> {
    let receipt = b"a signed receipt".to_vec();
    let at = Kit::default().now.plus_secs(2);
    vec![
        ("seller-call-streaming", seller_call(Phase::Streaming)),
        ("seller-call-signed", seller_call(Phase::Signed(receipt.clone()))),
        ("seller-call-closed", seller_call(Phase::Closed { receipt, at })),
        ("seller-call-single", SellerCall { single: Some(single()), ..seller_call(Phase::Streaming) }),
    ]
}

/// A chunk that tells how likely its token was.
fn chunk_told() -> ChunkRow {
    let likelihoods =
        Likelihoods { chosen: Likelihood::new(b" is", 20), top: vec![Likelihood::new(b" was", 4_000_000)] };
    ChunkRow { likelihoods: Some(Box::new(likelihoods)), ..chunk() }
}

fn chunk() -> ChunkRow {
    ChunkRow {
        usage: Usage { input: 12, cached: 0, output: 4, hidden: 1 },
        data: b"Salvage is".to_vec(),
        likelihoods: None,
    }
}

fn buyer_calls() -> Vec<(&'static str, BuyerCall)> {
    let kit = Kit::default();
    let plain = BuyerCall {
        quote: quote(&kit),
        config: kit.config(),
        salt: [0x41; 16],
        request: b"What is salvage?".to_vec(),
        deposit: None,
        base: atoms(100),
        authorised: atoms(u128::from(u64::MAX) + 1),
        opened_at: kit.now.plus_secs(1),
    };
    let deposit = Some(kit.sign(PAYER, kit.deposit_command(atoms(5_000_000_000), 1)));
    vec![("buyer-call", plain.clone()), ("buyer-call-deposit", BuyerCall { deposit, ..plain })]
}

fn http_purchases() -> Vec<(&'static str, PurchaseRow)> {
    let kit = Kit::default();
    let signed = SignedPart {
        header: "eyJ4NDAyVmVyc2lvbiI6Mn0=".into(),
        amount: atoms(100),
        payee: key(HOST).address(),
        single: Some(kit.exact(key(HOST).address(), 100, 1)),
        channel: None,
    };
    let row = PurchaseRow {
        state: PurchaseState::Signed,
        request: Some(Hash::sha256("request")),
        signed: Some(signed.clone()),
        paid: None,
        reply: None,
        at: kit.now,
    };
    let channel = ChannelPart {
        id: kit.config().id(&kit.network()),
        deposits: atoms(500),
        corrections: 1,
        charged_before: atoms(37),
        first_max: atoms(137),
    };
    let drawn = SignedPart { single: None, channel: Some(channel), ..signed };
    let paid = PaidPart {
        amount: atoms(100),
        payee: key(HOST).address(),
        transaction: "0x11".into(),
        receipt: Some("0x22".into()),
    };
    let reply = ReplyPart { status: 200, headers: vec![("a".into(), "b".into())], body: b"tea".to_vec() };
    let ended = PurchaseRow { state: PurchaseState::Ended, paid: Some(paid), reply: Some(reply), ..row.clone() };
    let given_up = PurchaseRow { state: PurchaseState::GivenUp, request: None, signed: None, ..row.clone() };
    vec![
        ("http-purchase", row.clone()),
        ("http-purchase-channel", PurchaseRow { signed: Some(drawn), ..row }),
        ("http-purchase-ended", ended),
        ("http-purchase-given-up", given_up),
    ]
}

fn http_channels() -> Vec<(&'static str, SpentChannelRow)> {
    let kit = Kit::default();
    let row = SpentChannelRow {
        config: kit.config(),
        charged: atoms(37),
        signed_max: atoms(137),
        deposited: atoms(500),
        awaited: None,
        stopped: false,
        at: kit.now,
    };
    let awaited = AwaitedPart { purchase: CallId::new([9; 16]), amount: atoms(100), deposit: atoms(0) };
    vec![("http-channel", row.clone()), ("http-channel-awaited", SpentChannelRow { awaited: Some(awaited), ..row })]
}

fn agents() -> Vec<(&'static str, AgentRecord)> {
    let running = AgentRecord {
        manifest: "name = \"reader\"".into(),
        component: Hash::sha256("component"),
        owner: key(PAYER).address(),
        account: key(HOST).address(),
        status: Status::Running,
        spent: atoms(u128::from(u64::MAX) + 1),
        handled: 7,
        failures: 0,
        failure: None,
        deployed_at: Kit::default().now,
        payees: Vec::new(),
        next_line: 300,
        fetches: Vec::new(),
    };
    let failure = Some("agent.trapped: unreachable".to_owned());
    let payees = vec![Payee { listing: Kit::listing(), host: key(HOST).address() }];
    let suspended = AgentRecord { status: Status::Suspended, failures: 5, failure, payees, ..running.clone() };
    let fetches = vec![Reserved { call: CallId::new([9; 16]), max: atoms(70) }];
    let fetching = AgentRecord { fetches, ..running.clone() };
    vec![("agent", running), ("agent-suspended", suspended), ("agent-fetching", fetching)]
}

fn agent_events() -> Vec<(&'static str, EventRow)> {
    let row = |state, calls: &[u8], spent| EventRow {
        kind: "message".into(),
        payload: b"What is salvage?".to_vec(),
        received_at: Kit::default().now,
        state,
        calls: calls.iter().map(|call| CallId::new([*call; 16])).collect(),
        spent: atoms(spent),
    };
    let failed = EventState::Failed { code: Code::AgentFailed.number(), what: "it went another way".into() };
    let (kind, payload) = (SERVE.to_owned(), request().to_bytes());
    let serve = EventRow { kind, payload, ..row(EventState::Done(response().to_bytes()), &[7], 900) };
    vec![
        ("agent-event-waiting", row(EventState::Waiting, &[], 0)),
        ("agent-event-done", row(EventState::Done(b"A reward.".to_vec()), &[7, 8], 900)),
        ("agent-event-failed", row(failed, &[7], 100)),
        ("agent-event-serve", serve),
    ]
}

fn request() -> RequestRow {
    RequestRow {
        id: "order-1".into(),
        payer: Some(key(PAYER).address()),
        price_paid: atoms(5_000),
        method: "POST".into(),
        path: "/summary".into(),
        query: "words=9".into(),
        content_type: "text/plain".into(),
        body: b"What is salvage?".to_vec(),
    }
}

fn response() -> ResponseRow {
    ResponseRow { status: 200, content_type: "text/plain".into(), body: b"A reward.".to_vec() }
}

fn agent_calls() -> Vec<(&'static str, MemoRow)> {
    let kinds = [
        ("agent-call-find", MemoKind::Find),
        ("agent-call-quote", MemoKind::Quote),
        ("agent-call-budget", MemoKind::Budget),
        ("agent-call-open", MemoKind::Open),
        ("agent-call-now", MemoKind::Now),
        ("agent-call-fetch", MemoKind::Fetch),
    ];
    let row = |kind| MemoRow { kind, args: Hash::sha256("arguments"), answer: b"{\"Ok\":[]}".to_vec() };
    kinds.into_iter().map(|(name, kind)| (name, row(kind))).collect()
}

fn agent_line() -> LineRow {
    LineRow { time: Kit::default().now, level: 1, text: "answered".into() }
}

fn opening() -> OpeningRow {
    OpeningRow { salt: [0x41; 16], request: b"What is salvage?".to_vec(), response: b"A reward.".to_vec() }
}

fn seller() -> SellerRow {
    SellerRow { name: "shop".into(), receiver: key(HOST).address(), since: Kit::default().now }
}

fn kept() -> KeptRow {
    KeptRow { status: 200, content_type: "text/plain".into(), body: b"A reward.".to_vec() }
}

fn till_payments() -> Vec<(&'static str, PaidRow)> {
    let fingerprint = Hash::sha256("request");
    let row = |charge, kept| PaidRow { fingerprint, charge: atoms(charge), kept, at: Kit::default().now };
    vec![("till-payment", row(u128::from(u64::MAX) + 1, Some(kept()))), ("till-payment-free", row(0, None))]
}

fn till_identifier() -> NamedRow {
    NamedRow { digest: Hash::sha256("payment"), at: Kit::default().now }
}

fn api_key() -> ApiKeyRow {
    let (budget, spent) = (atoms(900), atoms(37));
    ApiKeyRow { name: "editor".into(), account: key(PAYER).address(), budget, spent, since: Kit::default().now }
}

fn api_fee() -> FeeRow {
    FeeRow { amount: atoms(900), until: Kit::default().now }
}

fn completed() -> CompletedRow {
    CompletedRow { kept: kept(), response: b"{}".to_vec(), at: Kit::default().now }
}

fn sold() -> Vec<(&'static str, SoldRow)> {
    let kit = Kit::default();
    let (config, single) = (kit.config(), single());
    let voucher = kit.voucher(&config, atoms(900));
    let row = |single, channel, deposit| SoldRow {
        agent: "summariser".into(),
        kept: kept(),
        receipt: b"a signed receipt".to_vec(),
        single,
        channel,
        at: kit.now,
        deposit,
    };
    vec![
        ("sold-single", row(Some(single), None, None)),
        ("sold-channel", row(None, Some((config, voucher)), Some(Hash::sha256("deposit")))),
    ]
}

fn till_channels() -> Vec<(&'static str, ChannelRow)> {
    let kit = Kit::default();
    let config = kit.config();
    let voucher = Some(kit.voucher(&config, atoms(900)));
    let last = |kept, deposit| LastRow {
        max_claimable: atoms(900),
        fingerprint: Hash::sha256("request"),
        charge: atoms(37),
        kept,
        deposit,
    };
    let row = |voucher, last| ChannelRow { config: kit.config(), charged: atoms(837), voucher, last, at: kit.now };
    vec![
        ("till-channel", row(voucher.clone(), Some(last(Some(kept()), None)))),
        ("till-channel-stream", row(voucher.clone(), Some(last(None, None)))),
        ("till-channel-deposit", row(voucher, Some(last(None, Some(Hash::sha256("deposit")))))),
        ("till-channel-bare", row(None, None)),
    ]
}

fn check<T: Canonical + PartialEq + std::fmt::Debug>(name: &str, value: &T, schema: &str) {
    let bytes = value.to_bytes();
    let text = hex::encode(&bytes);
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let lines: Vec<&[u8]> = text.as_bytes().chunks(120).collect();
        fs::write(&path, lines.join(&b'\n')).unwrap();
    }
    let golden: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(text, golden, "the bytes of `{name}` have changed");
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value), "{name}");
    valid(schema, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    hostile(name, value, &bytes);
}

/// Damaged rows are refused or another value, never a second form of the same one, and never a panic.
fn hostile<T: Canonical + PartialEq>(name: &str, value: &T, bytes: &[u8]) {
    for end in 0..bytes.len() {
        assert!(T::from_bytes(&bytes[..end]).is_err(), "{name} cut to {end} bytes was read");
    }
    for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bent = bytes.to_vec();
        bent[at] ^= 1 << bit;
        assert!(T::from_bytes(&bent).map_or(true, |other| other != *value), "{name}: two byte forms of one value");
    }
    assert!(T::from_bytes(&[bytes, &[0]].concat()).is_err(), "{name}: a byte too many");
    // The same map without a definite length is well-formed CBOR and not canonical.
    let endless = [&[0xbf], &bytes[1..], &[0xff]].concat();
    assert!(T::from_bytes(&endless).is_err(), "{name}: of indefinite length");
    assert!(T::from_bytes(&vec![0; T::SIZE_MAX + 1]).is_err(), "{name}: over its bound");
}

#[test]
fn the_sellers_rows_keep_their_bytes_and_are_described_by_their_schemas() {
    for (name, row) in seller_calls() {
        check(name, &row, &schema("seller-call"));
    }
    check("seller-chunk", &chunk(), &schema("seller-chunk"));
    check("seller-chunk-told", &chunk_told(), &schema("seller-chunk"));
}

#[test]
fn the_buyers_row_keeps_its_bytes_and_is_described_by_its_schema() {
    for (name, row) in buyer_calls() {
        check(name, &row, &schema("buyer-call"));
    }
}

#[test]
fn the_rows_of_payments_over_http_keep_their_bytes_and_are_described_by_their_schemas() {
    for (name, row) in http_purchases() {
        check(name, &row, &schema("http-purchase"));
    }
    for (name, row) in http_channels() {
        check(name, &row, &schema("http-channel"));
    }
}

#[test]
fn the_agents_rows_keep_their_bytes_and_are_described_by_their_schemas() {
    for (name, row) in agents() {
        check(name, &row, &schema("agent"));
    }
    for (name, row) in agent_events() {
        check(name, &row, &schema("agent-event"));
    }
    for (name, row) in agent_calls() {
        check(name, &row, &schema("agent-call"));
    }
    check("agent-line", &agent_line(), &schema("agent-line"));
    check("agent-request", &request(), &schema("agent-request"));
    let free = RequestRow { payer: None, price_paid: atoms(0), ..request() };
    check("agent-request-free", &free, &schema("agent-request"));
    check("agent-response", &response(), &schema("agent-response"));
}

#[test]
fn the_rows_of_a_datanet_keep_their_bytes_and_are_described_by_their_schemas() {
    let charter = b"a signed charter".to_vec();
    let head = DatanetHead { charter, contributions: 100_000, acts: 12, submissions: 3, version: 2, statement: None };
    check("datanet-head", &head, &schema("datanet-head"));
    let stated = DatanetHead { statement: Some(Hash::sha256("signed version")), ..head };
    check("datanet-head-stated", &stated, &schema("datanet-head"));
    let pending = PendingVersion { version: b"a signed version".to_vec(), entry: b"a signed registration".to_vec() };
    check("datanet-pending", &pending, &schema("datanet-pending"));
}

#[test]
fn the_evidence_of_a_receipt_keeps_its_bytes_and_is_described_by_its_schema() {
    check("opening", &opening(), &schema("opening"));
}

#[test]
fn the_rows_of_tills_and_sellers_keep_their_bytes_and_are_described_by_their_schemas() {
    check("seller", &seller(), &schema("seller"));
    for (name, row) in till_payments() {
        check(name, &row, &schema("till-payment"));
    }
    check("till-identifier", &till_identifier(), &schema("till-identifier"));
    for (name, row) in till_channels() {
        check(name, &row, &schema("till-channel"));
    }
    check("api-key", &api_key(), &schema("api-key"));
    check("api-fee", &api_fee(), &schema("api-fee"));
    check("completed", &completed(), &schema("completed"));
    for (name, row) in sold() {
        check(name, &row, &schema("sold"));
    }
}

#[test]
fn the_smallest_identifier_is_what_the_text_of_the_format_says() {
    // {0: 32 zero bytes, 1: 0}
    let row = NamedRow { digest: Hash::ZERO, at: agora_types::Timestamp::from_nanos(0) };
    assert_eq!(hex::encode(row.to_bytes()), format!("a2005820{}0100", "00".repeat(32)));
}

#[test]
fn the_smallest_chunk_is_what_the_text_of_the_format_says() {
    // {0: {0: 0, 1: 0, 2: 0, 3: 0}, 1: h''}
    let row = ChunkRow { usage: Usage::default(), data: Vec::new(), likelihoods: None };
    assert_eq!(hex::encode(row.to_bytes()), "a200a400000100020003000140");
    // The same with a number in two bytes instead of one, and with its keys in another order.
    for other in ["a200a40018000100020003000140", "a2014000a40000010002000300"] {
        assert!(ChunkRow::from_bytes(&hex::decode(other).unwrap()).is_err(), "{other}");
    }
}

#[test]
fn no_schema_describes_another_kind() {
    let rows = [
        ("seller-call", seller_calls()[0].1.to_bytes()),
        ("seller-chunk", chunk().to_bytes()),
        ("buyer-call", buyer_calls()[0].1.to_bytes()),
        ("agent", agents()[0].1.to_bytes()),
        ("agent-event", agent_events()[0].1.to_bytes()),
        ("agent-call", agent_calls()[0].1.to_bytes()),
        ("agent-line", agent_line().to_bytes()),
        ("agent-request", request().to_bytes()),
        ("agent-response", response().to_bytes()),
        ("opening", opening().to_bytes()),
        ("seller", seller().to_bytes()),
        ("till-payment", till_payments()[0].1.to_bytes()),
        ("till-identifier", till_identifier().to_bytes()),
        ("till-channel", till_channels()[0].1.to_bytes()),
        ("api-key", api_key().to_bytes()),
        ("api-fee", api_fee().to_bytes()),
        ("completed", completed().to_bytes()),
        ("sold", sold()[0].1.to_bytes()),
        ("http-purchase", http_purchases()[0].1.to_bytes()),
        ("http-channel", http_channels()[0].1.to_bytes()),
    ];
    for (kind, _) in &rows {
        for (other, bytes) in &rows {
            assert_eq!(valid(&schema(kind), bytes).is_ok(), kind == other, "{kind} describes {other}");
        }
    }
}
