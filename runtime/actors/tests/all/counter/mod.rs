//! A client for HTTP without a network: its servers are the words of a URL, its money moves on the test's ledger.
//!
//! It behaves as a real one must: what it signs is written down before it moves, and a repeat moves nothing.
#![allow(dead_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use agora_actors::CallError;
use agora_actors::fetch::{HttpAnswer, PaidFetch, Reply, SpendLimits, Withdrawn};
use agora_actors::purchase::{Payer, Pending};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::state::{Journal as _, Table, Write};
use agora_economy::testkit::*;
use agora_sandbox_api::{AgentError, AgentHost, HttpRequest, HttpResponse, Paid};
use agora_types::batch::Entry;
use agora_types::command::{Command, Head, Transfer};
use agora_types::{Address, Amount, CallId, Code, CommandId, Timestamp};
use tokio::sync::Notify;

use crate::world::{DirectLedger, FusedJournal, Steady, World};
use agora_actors::clock::Clock as _;

/// Whom the servers have paid.
pub(crate) fn payee() -> Address {
    key(91).address()
}

/// What a test watches and steers; shared by the lives of a world.
#[derive(Default)]
pub(crate) struct Wires {
    /// Requests that reached a server.
    pub(crate) sent: AtomicUsize,
    /// The client cannot say what something cost.
    pub(crate) dark: AtomicBool,
    /// Told when a request to `/wait` has come; its answer waits for `go`.
    pub(crate) reached: Notify,
    pub(crate) go: Notify,
}

pub(crate) struct Till {
    wires: Arc<Wires>,
    ledger: Arc<DirectLedger>,
    journal: Arc<FusedJournal>,
    clock: Arc<Steady>,
}

/// The last byte of a row: nothing is ever paid under this id; so much is signed.
const GIVEN_UP: u8 = 0;
const SIGNED: u8 = 1;

impl Till {
    pub(crate) fn on(world: &World, wires: &Arc<Wires>) -> Option<Arc<dyn PaidFetch>> {
        Some(Arc::new(Self {
            wires: Arc::clone(wires),
            ledger: Arc::clone(&world.ledger),
            journal: Arc::clone(&world.journal),
            clock: Arc::clone(&world.clock),
        }))
    }

    fn row(payer: &Payer, id: CallId) -> Vec<u8> {
        [b"till", payer.account.address().as_bytes().as_slice(), id.as_bytes()].concat()
    }

    /// The state of an id, the time of its payment and the amount.
    async fn known(&self, payer: &Payer, id: CallId) -> Option<(u8, u64, u128)> {
        let bytes = self.journal.get(Table::Openings, Self::row(payer, id)).await.unwrap()?;
        let time = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        let amount = u128::from_be_bytes(bytes[8..24].try_into().unwrap());
        Some((bytes[24], time, amount))
    }

    async fn write(&self, payer: &Payer, id: CallId, (state, time, amount): (u8, u64, u128)) {
        let value = [time.to_be_bytes().as_slice(), &amount.to_be_bytes(), &[state]].concat();
        let write = Write { table: Table::Openings, key: Self::row(payer, id), value: Some(value) };
        self.journal.commit(vec![write]).await.unwrap();
    }

    /// Moves what was signed; again: nothing.
    async fn pay(&self, payer: &Payer, id: CallId, (time, amount): (u64, u128)) -> Option<Paid> {
        let (signer, id) = (payer.account.address(), CommandId::new(*id.as_bytes()));
        let head = Head { signer, id, expires_at: Timestamp::from_nanos(time) };
        let amount = Amount::from_atoms(amount);
        let transfer = Transfer { head, credit: payee(), amount, pending: None, reference: 0, receipt: None };
        let entry = Entry::sign(&self.ledger.network(), Command::Transfer(transfer), &payer.account);
        let ledger: &dyn Ledger = self.ledger.as_ref();
        ledger.commit_one(entry).await.unwrap();
        Some(Paid { amount, payee: payee(), network: None, transaction: id.to_string(), receipt: None })
    }
}

impl PaidFetch for Till {
    /// It has no channels.
    fn withdraw<'a>(&'a self, _: &'a Payer) -> Pending<'a, Withdrawn> {
        Box::pin(async { Ok(Withdrawn::default()) })
    }

    fn fetch<'a>(
        &'a self,
        payer: &'a Payer,
        id: CallId,
        request: &'a HttpRequest,
        limits: &'a SpendLimits,
    ) -> Pending<'a, HttpAnswer> {
        Box::pin(async move {
            let known = self.known(payer, id).await;
            if known.is_some_and(|(state, ..)| state == GIVEN_UP) {
                return Err(CallError::new(Code::AgentOutOfTime, "given up"));
            }
            self.wires.sent.fetch_add(1, Ordering::SeqCst);
            let path = request.url.rsplit('/').next().unwrap();
            let (what, number) = path.split_once('=').unwrap_or((path, "0"));
            let price = number.parse::<u128>().unwrap();
            if what == "wait" {
                self.wires.reached.notify_one();
                self.wires.go.notified().await;
            }
            let reply = |status, body: Vec<u8>| Reply { status, headers: vec![("a".into(), "b".into())], body };
            let free = |reply| Ok(HttpAnswer { paid: None, reply: Ok(reply) });
            match what {
                "free" => return free(reply(200, b"free".to_vec())),
                "large" => return free(reply(200, vec![7; usize::try_from(price).unwrap()])),
                "away" => return Err(CallError::new(Code::CallNoAnswer, "nobody is there")),
                _ if price > limits.max.atoms() => return free(reply(402, b"pay first".to_vec())),
                _ => {}
            }
            let signed = match known {
                Some((_, time, amount)) => (time, amount),
                None => {
                    let time = self.clock.now().plus_secs(300).as_nanos();
                    self.write(payer, id, (SIGNED, time, price)).await;
                    (time, price)
                }
            };
            if what == "doubtful" {
                return Err(CallError::new(Code::BusTimeout, "the server fell silent after the payment"));
            }
            let paid = self.pay(payer, id, signed).await;
            let reply = match what {
                "broken" => Err(CallError::new(Code::AgentTooLarge, "more than was asked for")),
                "flood" => Ok(reply(200, vec![7; limits.body_bytes_max + 1])),
                _ => Ok(reply(200, b"bought".to_vec())),
            };
            Ok(HttpAnswer { paid, reply })
        })
    }

    fn give_up<'a>(&'a self, payer: &'a Payer, id: CallId) -> Pending<'a, Option<Paid>> {
        Box::pin(async move {
            if self.wires.dark.load(Ordering::SeqCst) {
                return Err(CallError::new(Code::BusTimeout, "nobody knows"));
            }
            match self.known(payer, id).await {
                Some((SIGNED, time, amount)) => Ok(self.pay(payer, id, (time, amount)).await),
                Some(_) => Ok(None),
                None => {
                    self.write(payer, id, (GIVEN_UP, 0, 0)).await;
                    Ok(None)
                }
            }
        })
    }
}

/// A guest's request.
pub(crate) async fn fetch(host: &dyn AgentHost, path: &str, most: u128) -> Result<HttpResponse, AgentError> {
    let request = HttpRequest {
        method: "POST".into(),
        url: format!("http://127.0.0.1:8402/{path}"),
        headers: vec![("content-type".into(), "text/plain".into())],
        body: b"a question".to_vec(),
        max_spend: Amount::from_atoms(most),
    };
    host.fetch(&request).await
}
