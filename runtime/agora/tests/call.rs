//! `agora call` with the real binary: against a small shop on this machine that settles on the node's ledger.

mod world;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agora_economy::testkit::{HOST, key};
use agora_types::command::{Command, PostTransfer};
use agora_types::{Address, Amount, Code};
use agora_x402::header;
use agora_x402::scheme::exact::ExactPayload;
use agora_x402::seller::{Offers, exact_offer};
use agora_x402::wire::{NetworkId, Object, PaymentPayload, Resource, SettleResponse, SettledAmount};
use world::{FakeNode, World, host_address, main_address, validate};

const PRICE: u128 = 20_000_000_000_000_000;

/// A shop: `/free` costs nothing, `/tea` its price, `/missing` is not there and `/broken` takes the money and falls silent.
struct Shop {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    payments: Arc<AtomicUsize>,
}

impl Shop {
    fn open(node: &Arc<FakeNode>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, payments) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (node, heard, paid, base) = (Arc::clone(node), Arc::clone(&requests), Arc::clone(&payments), url.clone());
        let broken = AtomicBool::new(true);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                serve(socket.unwrap(), &node, &base, &heard, &paid, &broken);
            }
        });
        Self { url, requests, payments }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

fn serve(
    socket: TcpStream,
    node: &FakeNode,
    base: &str,
    heard: &Mutex<Vec<String>>,
    paid: &AtomicUsize,
    broken: &AtomicBool,
) {
    let mut reader = BufReader::new(socket);
    let (mut head, mut length, mut payment) = (String::new(), 0, None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if lower.starts_with("payment-signature:") {
            let text = line.split_once(':').unwrap().1.trim();
            payment = Some(header::decode::<PaymentPayload>([text]).unwrap());
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heard.lock().unwrap().push(format!("{head}\n{}", String::from_utf8(body).unwrap()));
    let network = node.kit.lock().unwrap().network();
    let offers = Offers {
        resource: Resource { url: format!("{base}{path}"), ..Resource::default() },
        accepts: vec![exact_offer(&network, host_address(), Amount::from_atoms(PRICE), 60)],
        extensions: Object::new(),
    };
    let answer = match (path.as_str(), payment) {
        ("/free", _) => "HTTP/1.1 200 OK\r\nx-cup: small\r\ncontent-length: 5\r\n\r\nwater".to_owned(),
        ("/missing", _) => "HTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno".to_owned(),
        (_, None) => {
            let required = header::encode(&offers.required(None)).unwrap();
            format!("HTTP/1.1 402 Pay\r\npayment-required: {required}\r\ncontent-length: 0\r\n\r\n")
        }
        (path, Some(payment)) => {
            paid.fetch_add(1, Ordering::SeqCst);
            let response = settle(node, &payment);
            if path == "/broken" && broken.load(Ordering::SeqCst) {
                // The money moved; nobody is told.
                return;
            }
            let response = header::encode(&response).unwrap();
            format!(
                "HTTP/1.1 200 OK\r\npayment-response: {response}\r\nagora-receipt: 7\r\ncontent-length: 3\r\n\r\ntea"
            )
        }
    };
    // A client that has what it wants may be gone.
    let _ = reader.get_mut().write_all(answer.as_bytes());
}

/// Holds and posts, once.
fn settle(node: &FakeNode, payment: &PaymentPayload) -> SettleResponse {
    let (words, signature) = ExactPayload::read(&payment.payload).unwrap().words().unwrap();
    let mut kit = node.kit.lock().unwrap();
    let network = kit.network();
    let (payer, pending_id) = (words.payer(), words.pending_id(&network));
    let head = kit.head(HOST);
    let hold = agora_types::command::Hold { head, authorization: words.clone(), signature, timeout_s: 60 };
    if kit.submit(HOST, Command::Hold(Box::new(hold))).is_ok() {
        let head = kit.head(HOST);
        let post = PostTransfer { head, pending_signer: payer, pending_id, amount: words.max() };
        kit.submit(HOST, Command::PostTransfer(post)).unwrap();
    }
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: Some(payer),
        transaction: words.digest(&network).to_string(),
        network: NetworkId::Eip155(network.chain_id),
        amount: Some(SettledAmount::Atoms(words.max())),
        extra: Object::new(),
        extensions: Object::new(),
    }
}

fn held(world: &World, account: &Address) -> u128 {
    world.balance(account)
}

#[test]
fn what_costs_nothing_needs_no_limit() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    let answer = world.agora(&["call", &shop.at("/free"), "--json"]).document();
    assert_eq!(
        (&answer["$type"], &answer["status"], &answer["text"]),
        (&"agora/http-answer/v1".into(), &200.into(), &"water".into())
    );
    assert!(answer["paid"].is_null());
    validate(&answer);
    assert_eq!(world.agora(&["call", &shop.at("/free")]).good(), "water", "other programs get the body alone");
}

#[test]
fn a_paid_answer_says_its_price_first_and_what_was_paid_after() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    let (payer, payee) = (held(&world, &main_address()), held(&world, &host_address()));
    let call = ["call", &shop.at("/tea"), "--max-spend", "0.02", "--data", "green", "--header", "x-cup: large"];
    let done = world.agora(&[&call[..], &["--json"]].concat());
    let answer = done.document();
    validate(&answer);
    assert_eq!((&answer["text"], &answer["paid"]["amount"]), (&"tea".into(), &PRICE.to_string().into()));
    assert_eq!(answer["paid"]["receipt"], "7");
    assert!(answer["paid"]["payee"].as_str().unwrap().parse::<Address>().unwrap() == host_address());
    let (price, paid) = (done.err.find("costs 0.02 OPEN"), done.err.find("paid 0.02 OPEN"));
    assert!(price.is_some() && price < paid, "{}", done.err);
    assert_eq!(held(&world, &main_address()), payer - PRICE);
    assert_eq!(held(&world, &host_address()), payee + PRICE);
    let requests = shop.requests.lock().unwrap();
    assert!(requests.iter().all(|one| one.starts_with("POST /tea") && one.contains("x-cup: large")), "{requests:?}");
    assert!(requests.iter().all(|one| one.ends_with("green")));
    // The key's file and the passphrase stay where they are.
    let secret = hex::encode(*key(agora_economy::testkit::PAYER).to_bytes());
    assert!(!requests.concat().contains(&secret) && !done.err.contains(&secret));
    drop(requests);
    let id = answer["id"].as_str().unwrap().to_owned();
    let again = world.agora(&[&call[..], &["--id", &id, "--json"]].concat()).document();
    assert_eq!((&again["text"], &again["paid"]), (&answer["text"], &answer["paid"]));
    assert_eq!((held(&world, &main_address()), shop.payments.load(Ordering::SeqCst)), (payer - PRICE, 1));
}

#[test]
fn a_price_over_the_limit_is_not_paid() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    let before = held(&world, &main_address());
    let done = world.agora(&["call", &shop.at("/tea"), "--max-spend", "0.019999999999999999", "--json"]);
    let failure = done.failed(Code::SpendLimit);
    assert!(failure["message"].as_str().unwrap().contains("0.02"), "{failure}");
    assert_eq!((held(&world, &main_address()), shop.payments.load(Ordering::SeqCst)), (before, 0));
}

#[test]
fn without_a_typed_limit_somebody_has_to_say_yes() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    world.agora(&["call", &shop.at("/tea"), "--json"]).failed(Code::NodeConfig);
    assert_eq!(shop.payments.load(Ordering::SeqCst), 0);
    world.agora(&["call", &shop.at("/tea"), "--yes"]).good();
    assert_eq!(shop.payments.load(Ordering::SeqCst), 1);
}

#[test]
fn silence_after_the_payment_is_told_with_the_id_that_repeats_it() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    let before = held(&world, &main_address());
    let call = ["call", &shop.at("/broken"), "--max-spend", "1", "--json"];
    let failure = world.agora(&call).failed(Code::PaymentUncertain);
    let hint = failure["hint"].as_str().unwrap();
    let id = hint.split("--id ").nth(1).unwrap().split(':').next().unwrap().to_owned();
    world.agora(&[&call[..], &["--id", &id]].concat()).failed(Code::PaymentUncertain);
    assert_eq!(held(&world, &main_address()), before - PRICE, "paid once, whatever is repeated");
}

#[test]
fn a_status_and_a_wrong_argument_have_their_exit_codes() {
    let world = World::start();
    let shop = Shop::open(&world.node);
    let missing = world.agora(&["call", &shop.at("/missing"), "--json"]);
    missing.failed(Code::FileMissing);
    assert!(missing.out.contains("\"text\": \"no\""), "the answer is printed all the same: {}", missing.out);
    for (arguments, code) in [
        (vec!["http://example.com/"], Code::AgentBadRequest),
        (vec!["ftp://127.0.0.1/"], Code::AgentBadRequest),
        (vec!["http://127.0.0.1:1/", "--method", "CONNECT"], Code::AgentBadRequest),
        (vec!["http://127.0.0.1:1/", "--header", "payment-signature: x"], Code::AgentBadRequest),
        (vec!["http://127.0.0.1:1/", "--header", "nothing"], Code::NodeConfig),
        (vec!["http://127.0.0.1:1/", "--id", "7"], Code::NodeConfig),
        (vec!["http://127.0.0.1:1/", "--data", "@/nowhere"], Code::FileMissing),
        (vec!["http://127.0.0.1:1/", "--max-spend", "-1"], Code::AmountNotDecimal),
        (vec!["http://127.0.0.1:1/"], Code::CallNoAnswer),
    ] {
        world.agora(&[&["call", "--json"], &arguments[..]].concat()).failed(code);
    }
}
