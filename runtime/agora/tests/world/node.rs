//! A node that keeps a real ledger in memory and makes up the rest.

use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use agora::control::*;
use agora_economy::ports::log::payment_key;
use agora_economy::testkit::{HOST, Kit, PAYER, key};
use agora_economy::{HeldPayment, PaymentRecord, PendingState, Sequencer};
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::{Address, Amount, CallId, Canonical as _, Code, Hash, Prices, Timestamp};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use serde::Serialize;
use serde_json::Value;

use super::RECEIPT;

pub fn main_address() -> Address {
    key(PAYER).address()
}

pub fn host_address() -> Address {
    key(HOST).address()
}

/// What a test wants to go wrong, and what the node saw.
#[derive(Default)]
pub struct Faults {
    /// So many commits happen, and their replies are lost.
    pub lost_replies: u32,
    /// The entries of every commit, as they came.
    pub commits: Vec<String>,
    /// Money that a deployed agent lacks.
    pub missing: Amount,
    /// Batches from here on are changed before they are handed out.
    pub lie_from: Option<u64>,
    /// The requests that came, by name.
    pub manifests: Vec<String>,
}

/// A node that keeps a real ledger in memory and makes up the rest.
pub struct FakeNode {
    pub kit: Mutex<Kit>,
    pub faults: Mutex<Faults>,
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap())
}

fn json<T: Serialize>(answer: T) -> Outcome<Value> {
    Ok(serde_json::to_value(answer).unwrap())
}

impl FakeNode {
    pub fn new() -> Self {
        let mut kit = Kit::default();
        "dev".clone_into(&mut kit.genesis.name);
        kit.genesis.time = Timestamp::from_secs(1_700_000_000).unwrap();
        kit.sequencer = Sequencer::new(&kit.genesis).unwrap();
        // The ledger's time stays a little behind: commands are signed by this machine's clock.
        kit.now = Timestamp::from_nanos(now().as_nanos() - 5_000_000_000);
        kit.register();
        kit.deposit(Amount::from_open(100), 0);
        kit.settle(1, 10, 7);
        Self { kit: Mutex::new(kit), faults: Mutex::default() }
    }

    fn agent(&self) -> AgentView {
        AgentView {
            name: "scout".to_owned(),
            status: AgentStatus::Running,
            account: key(30).address(),
            owner: main_address(),
            component: Hash::sha256("component"),
            budget: Amount::from_open(2),
            used: Amount::ZERO,
            balance: Amount::ZERO,
            handled: 3,
            waiting: 0,
            failures: 1,
            failure: Some("it \x1b[2Jfailed".to_owned()),
        }
    }

    fn commit(&self, entries: &[String]) -> Outcome<Value> {
        let mut kit = self.kit.lock().unwrap();
        let mut faults = self.faults.lock().unwrap();
        faults.commits.extend_from_slice(entries);
        let read = |text: &String| Entry::from_bytes(&hex::decode(text).unwrap()).unwrap();
        let answers = kit.batch(entries.iter().map(read).collect());
        if faults.lost_replies > 0 {
            faults.lost_replies -= 1;
            return Err(Failure::new(Code::BusTimeout, "the reply is lost"));
        }
        json(Committed { refused: answers.into_iter().map(|answer| answer.err().map(Code::number)).collect() })
    }

    fn payment(&self, payer: Address, nonce: Hash) -> SinglePayment {
        let kit = self.kit.lock().unwrap();
        if let Some(bytes) = kit.payments.get(&payment_key(&payer, &nonce)) {
            let record = PaymentRecord::from_bytes(bytes).unwrap();
            let PaymentRecord { payee, amount, settler, seq, digest } = record;
            return SinglePayment::Posted { payee, amount, settler, seq, digest };
        }
        match kit.economy().held_payment(payer, nonce) {
            None => SinglePayment::Unknown,
            Some(HeldPayment { digest, payee, max, settler, expires_at, state }) => {
                let open = state == PendingState::Open;
                SinglePayment::Held { digest, payee, max, settler, expires_at, open }
            }
        }
    }

    fn batches(&self, from: u64, limit: u32) -> Outcome<Value> {
        let kit = self.kit.lock().unwrap();
        let lie_from = self.faults.lock().unwrap().lie_from;
        // Short pages, so that several are needed.
        let page = kit.log.iter().skip(usize::try_from(from).unwrap()).take(limit.min(3) as usize);
        let batch = |(batch, _): &(agora_types::batch::Batch, _)| {
            let mut batch = batch.clone();
            if lie_from.is_some_and(|seq| batch.header.seq >= seq) {
                batch.header.receipts_size += 1;
            }
            hex::encode(batch.to_bytes())
        };
        json(LogPage { batches: page.map(batch).collect(), size: kit.log.len() as u64 })
    }

    fn receipts(&self, limit: u32) -> Outcome<Value> {
        let kit = self.kit.lock().unwrap();
        let row = |(index, leaf): (usize, &Vec<u8>)| ReceiptRow { index: index as u64, leaf: hex::encode(leaf) };
        let rows = kit.receipts.iter().enumerate().rev().take(limit as usize).map(row);
        json(ReceiptPage { receipts: rows.collect(), size: kit.receipts.len() as u64 })
    }

    fn status(&self) -> Status {
        let kit = self.kit.lock().unwrap();
        Status {
            network: "dev".to_owned(),
            chain_id: kit.genesis.chain_id,
            genesis: kit.genesis.hash(),
            dev: true,
            version: "0.1.0".to_owned(),
            pid: Some(1),
            uptime_ms: 1,
            batches: kit.log.len() as u64,
            receipts: kit.receipts.len() as u64,
            supply: kit.genesis.supply().unwrap(),
            listings: 1,
            agents: 1,
            http: None,
            host: host_address(),
            host_key: Kit::host_signer().public(),
            checkpoint_key: String::new(),
        }
    }

    fn offered() -> Offered {
        Offered {
            listing: Kit::listing(),
            name: "kit".to_owned(),
            title: "A model".to_owned(),
            owner: main_address(),
            prices: Prices { input: Amount::from_atoms(1_000_000_000), ..Prices::default() },
            base_hash: Hash::ZERO,
            adapter_hash: None,
            context_max: 2_048,
            output_max: 256,
            hosts: vec![host_address()],
            datanets: vec![(Hash::ZERO, 1)],
        }
    }

    fn now_answer(&self, request: Request) -> Outcome<Value> {
        match request {
            Request::Status => json(self.status()),
            Request::Commit { entries } => self.commit(&entries),
            Request::Account { address } => {
                let balance = Amount::from_atoms(self.kit.lock().unwrap().balance(&address));
                json(Account { address, exists: !balance.is_zero(), balance, available: balance })
            }
            Request::Payment { payer, nonce } => json(self.payment(payer, nonce)),
            Request::Batches { from, limit } => self.batches(from, limit),
            Request::Receipts { limit, .. } => self.receipts(limit),
            Request::ReceiptOf { call } if call == CallId::ZERO => json(ReceiptPage { receipts: Vec::new(), size: 1 }),
            Request::ReceiptOf { .. } => self.receipts(1),
            Request::Export { index: 0, .. } => Ok(serde_json::from_str(RECEIPT).unwrap()),
            Request::Export { index, .. } => {
                Err(Failure::new(Code::ReceiptUnknown, format!("no receipt {index}")).advise("there is one receipt"))
            }
            Request::Evidence { index } => {
                Err(Failure::new(Code::ReceiptUnknown, format!("this node did not measure receipt {index}")))
            }
            Request::Passages { .. } => json(Passages { bytes: None }),
            Request::Datanet { .. } => Err(Failure::new(Code::NodeNotRunning, "no datanets are kept here")),
            Request::Listings { words, .. } => {
                let fits = words.is_empty() || words == "kit";
                json(Listings { listings: fits.then(Self::offered).into_iter().collect() })
            }
            Request::SellerAdd { name, receiver } => {
                json(Secret { name, secret: "agora-seller-test".to_owned(), account: receiver })
            }
            Request::Sellers | Request::SellerRemove { .. } => {
                json(Sellers { sellers: vec![SellerView { name: "shop".to_owned(), receiver: main_address() }] })
            }
            Request::ApiKeyAdd { name, .. } => {
                json(Secret { name, secret: "agora-test".to_owned(), account: host_address() })
            }
            Request::ApiKeys => json(ApiKeys {
                keys: vec![ApiKeyView {
                    name: "app".to_owned(),
                    account: host_address(),
                    budget: Amount::from_open(1),
                    used: Amount::ZERO,
                }],
            }),
            Request::ApiKeyRemove { name, .. } => {
                json(ApiKeyRemoved { name, refunded: Amount::ZERO, returned: Amount::ZERO })
            }
            Request::Earnings { .. } | Request::EarningsPublish => json(Earnings {
                host: host_address(),
                epoch: 2,
                funded: Amount::from_open(3),
                published: Amount::from_open(2),
                claimed: Amount::from_open(1),
                accounts: vec![EarnedView {
                    account: main_address(),
                    earned: Amount::from_open(2),
                    claimed: Amount::from_open(1),
                }],
                count: 1,
            }),
            Request::EarningsClaim { account } => {
                let (amount, earned) = (Amount::from_open(1), Amount::from_open(2));
                json(EarningsClaimed { account, amount, earned, epoch: 2 })
            }
            Request::Publish { .. } => json(Listings { listings: vec![Self::offered()] }),
            Request::Models => json(Models {
                models: vec![ModelView {
                    name: "base".to_owned(),
                    hash: Hash::ZERO,
                    base: None,
                    context_max: Some(2_048),
                    rank: None,
                    measure: None,
                }],
            }),
            Request::AdapterLoad { name } | Request::AdapterRemove { name } => json(ModelView {
                name,
                hash: Hash::sha256("adapter"),
                base: Some(Hash::ZERO),
                context_max: None,
                rank: Some(8),
                measure: None,
            }),
            Request::AgentDeploy { manifest, .. } => {
                let mut faults = self.faults.lock().unwrap();
                faults.manifests.push(manifest);
                json(Deployed { agent: self.agent(), missing: faults.missing })
            }
            Request::Agents => json(Agents { agents: vec![self.agent()] }),
            Request::AgentLogs { name, .. } if name == "scout" => {
                let line = |number| AgentLine {
                    number,
                    time: Timestamp::from_secs(3_661).unwrap(),
                    level: "info".to_owned(),
                    text: format!("line {number}"),
                };
                json(AgentLogs { lines: vec![line(0), line(1)] })
            }
            Request::AgentLogs { name, .. } => Err(Failure::new(Code::AgentNotFound, name)),
            Request::AgentStop { .. } => json(AgentStopped {
                agent: self.agent(),
                refunded: Amount::ZERO,
                returned: Amount::from_open(1),
                waiting: Amount::ZERO,
                until: None,
            }),
            Request::Shutdown => json(Stopping { pid: 1 }),
        }
    }
}

/// What an agent does when asked.
pub fn steps() -> Vec<AgentStep> {
    let call = CallId::new([7; 16]);
    let text = |text: &str, tokens| AgentStep::Text {
        text: text.to_owned(),
        tokens,
        spent: Amount::from_atoms(5),
        authorised: Amount::from_atoms(9),
    };
    vec![
        AgentStep::Accepted { event: "e1".to_owned() },
        AgentStep::Found { names: vec!["kit".to_owned()] },
        text("Hello,", 1),
        text(" world \x1b[2J", 2),
        AgentStep::Receipted { call, index: Some(0), charge: Amount::from_atoms(5) },
        AgentStep::Answered {
            answer: AgentAnswer {
                event: "e1".to_owned(),
                text: "It said hello.".to_owned(),
                calls: vec![call],
                spent: Amount::from_atoms(5),
            },
        },
    ]
}

impl Service for FakeNode {
    fn answer(&self, request: Request) -> BoxFuture<'_, Outcome<Value>> {
        async move { self.now_answer(request) }.boxed()
    }

    fn ask_agent(&self, name: String, message: String) -> BoxFuture<'_, Outcome<Steps>> {
        async move {
            let mut outcomes: Vec<Outcome<AgentStep>> = steps().into_iter().map(Ok).collect();
            match (name.as_str(), message.as_str()) {
                ("scout", "fail") => {
                    outcomes.truncate(3);
                    outcomes.push(Err(Failure::new(Code::AgentOverBudget, "it has nothing left")));
                }
                ("scout", "break off") => outcomes.truncate(3),
                ("scout", _) => {}
                _ => return Err(Failure::new(Code::AgentNotFound, name)),
            }
            Ok(futures::stream::iter(outcomes).boxed())
        }
        .boxed()
    }
}
