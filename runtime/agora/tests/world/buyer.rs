//! A buyer over plain HTTP/1.1 that signs with our own keys, and a node that sells to it; both end when they must.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use agora_types::eip712::Network;
use agora_types::genesis::Genesis;
use agora_types::key::WalletKey;
use agora_types::{Amount, Canonical as _, Hash, Timestamp};
use agora_x402::buyer::{Answer, BuyerChannel, ChannelKeys, Fresh, PaymentContext, pay_exact, pay_upto};
use agora_x402::check::ChannelView;
use agora_x402::header;
use agora_x402::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Scheme, SettleResponse};
use serde_json::Value;

use super::dice::Dice;
use super::ground::{Node, PATIENCE};
use super::{Done, Home};

/// Where buyers believe to be, whatever the port is: a restart changes nothing that they signed.
const ORIGIN: &str = "http://shop.example";
/// What a buyer gets, in OPEN and in atoms.
pub const FUNDS: (&str, u128) = ("1", 1_000_000_000_000_000_000);

/// A node of a network `dev` that sells the stand-in's answers as `parrot` and summaries by an agent.
pub struct Shop {
    pub home: Home,
    pub genesis: Genesis,
}

/// Its node, and where it listens.
pub struct Open {
    pub node: Node,
    pub at: SocketAddr,
}

impl Shop {
    /// Nothing to sell yet.
    pub fn bare() -> Self {
        let home = Home::dev();
        let genesis = Genesis::from_bytes(&std::fs::read(home.network().join("genesis.cbor")).unwrap()).unwrap();
        Self { home, genesis }
    }

    pub fn found() -> Self {
        let shop = Self::bare();
        let open = shop.open();
        shop.run(&["model", "publish", "parrot"]).good();
        let agent = super::ground::guest("summariser.wasm");
        shop.run(&["agent", "deploy", agent.to_str().unwrap(), "--yes", "--max-spend", "10"]).good();
        open.node.kill();
        shop
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        self.home.agora(&[arguments, &["--non-interactive"]].concat())
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).document()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("up.log")).unwrap_or_default()
    }

    /// Starts the node and waits until it listens.
    pub fn open(&self) -> Open {
        let path = self.home.path().join("up.log");
        let before = self.log().len();
        let log = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        let arguments = ["up", "--port", "0", "--http", "0", "--model", "fake:1", "--public-url", ORIGIN];
        let mut command = self.home.command(&arguments);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut node = Node(child);
        let begun = std::time::Instant::now();
        loop {
            let log = self.log();
            let said = log[before..].lines().find_map(|line| line.strip_prefix("paying")).map(str::to_owned);
            if let Some(at) = said.as_deref().and_then(listening) {
                return Open { node, at };
            }
            assert!(node.0.try_wait().unwrap().is_none(), "the node does not start: {log}");
            assert!(begun.elapsed() < PATIENCE, "the node hangs: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Shop {
    /// What the nodes said, when a check failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the nodes' log:\n{}", self.log());
        }
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    line.split([' ', ';']).find_map(|word| word.parse().ok())
}

/// What is bought.
pub struct Order {
    pub path: &'static str,
    pub body: String,
}

/// A signed request: the same bytes each time it is sent.
#[derive(Clone)]
pub struct Signed {
    pub bytes: Vec<u8>,
    /// Where the public port tells the end of a single payment.
    pub status: Option<String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A key with money on it that pays by one scheme.
pub struct Buyer {
    pub key: WalletKey,
    pub scheme: Scheme,
    network: Network,
    channel: Option<BuyerChannel>,
}

impl Buyer {
    pub fn new(shop: &Shop, scheme: Scheme, dice: &mut Dice) -> Self {
        let key = WalletKey::from_bytes(random(dice).as_bytes()).unwrap();
        shop.run(&["wallet", "send", &key.address().to_string(), FUNDS.0, "--yes", "--max-spend", FUNDS.0]).good();
        Self { key, scheme, network: shop.genesis.network(), channel: None }
    }

    /// Signs an order after it was told the price.
    pub fn sign(&mut self, at: SocketAddr, order: &Order, dice: &mut Dice) -> Signed {
        let unpaid = send(at, &request(order, None)).expect("an answer without payment");
        assert_eq!(unpaid.status, 402, "{unpaid:?}");
        let required: PaymentRequired = header::decode(unpaid.header("payment-required")).unwrap();
        let mut offers = required.accepts.iter().filter_map(|offer| offer.known());
        let offer = offers.find(|offer| offer.scheme == self.scheme).expect("an offer").clone();
        let network = self.network;
        let context = PaymentContext { network: &network, required: &required, offer: &offer, now: now() };
        let nonce = random(dice);
        let payer = self.key.address();
        let (payment, status) = match self.scheme {
            Scheme::Exact => (pay_exact(&context, &self.key, nonce), Some(format!("/payments/{payer}/{nonce}"))),
            Scheme::Upto => {
                (pay_upto(&context, &self.key, nonce).unwrap(), Some(format!("/payments/{payer}/permit2:{nonce}")))
            }
            Scheme::BatchSettlement => (self.voucher(&context, &offer, nonce), None),
            Scheme::Other(_) => panic!("no scheme of ours"),
        };
        Signed { bytes: request(order, Some(&payment)), status }
    }

    fn voucher(&mut self, context: &PaymentContext<'_>, offer: &PaymentRequirements, salt: Hash) -> PaymentPayload {
        let payer = self.key.address();
        let channel = self.channel.get_or_insert_with(|| {
            let extra = offer.batch_extra().unwrap();
            let config = BuyerChannel::config_for(offer, &extra, payer, payer, Hash::ZERO);
            BuyerChannel::new(config, &ChannelView::default())
        });
        let keys = ChannelKeys { owner: &self.key, session: &self.key };
        channel.pay(context, keys, Amount::from_atoms(FUNDS.1), Fresh { salt }).unwrap()
    }

    /// Notes an answer; what it cost by the buyer's own count.
    pub fn answered(&mut self, reply: &Reply) -> Amount {
        let response: SettleResponse = header::decode(reply.header("payment-response")).unwrap();
        assert!(response.success, "{response:?}");
        match (&mut self.channel, response.amount) {
            (Some(channel), _) => match channel.answered(&self.network, &response).unwrap() {
                Answer::Charged(charge) => charge,
                other => panic!("{other:?}"),
            },
            (None, Some(agora_x402::wire::SettledAmount::Atoms(amount))) => amount,
            (None, amount) => panic!("{amount:?}"),
        }
    }

    /// What it deposited and was not charged.
    pub fn in_channel(&self) -> u128 {
        self.channel.as_ref().map_or(0, |channel| channel.deposited.saturating_sub(channel.charged).atoms())
    }
}

/// Sends bytes and reads the whole answer; `None` where it did not come whole.
pub fn send(at: SocketAddr, bytes: &[u8]) -> Option<Reply> {
    let mut socket = TcpStream::connect(at).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(bytes).ok()?;
    let mut answer = Vec::new();
    // A killed node resets the connection, and what came before that counts.
    drop(socket.read_to_end(&mut answer));
    let text = String::from_utf8(answer).expect("an answer in UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let reply = Reply { status, head: head.to_owned(), body: body.to_owned() };
    let length: usize = reply.header("content-length")?.parse().ok()?;
    (reply.body.len() == length).then_some(reply)
}

/// What the public port says at a path.
pub fn get(at: SocketAddr, path: &str) -> Option<Reply> {
    send(at, format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n").as_bytes())
}

fn request(order: &Order, payment: Option<&PaymentPayload>) -> Vec<u8> {
    let Order { path, body } = order;
    let length = body.len();
    let paid = payment.map(|payment| format!("payment-signature: {}\r\n", header::encode(payment).unwrap()));
    let paid = paid.unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{paid}\r\n"
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

fn random(dice: &mut Dice) -> Hash {
    let mut bytes = [0_u8; 32];
    bytes.fill_with(|| u8::try_from(dice.below(256)).unwrap());
    Hash::new(bytes)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap())
}
