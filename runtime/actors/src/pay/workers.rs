//! Agents that sell their work over HTTP: paid first, answered, settled with a receipt of kind `service`.
//!
//! The agent's own account is paid, holds and settles; its own receipt key signs. The receipt names the receipts of what
//! the agent bought for this request as its parents, so that a chain of agents can be followed to the data at its end.
//! The answer and the signed receipt are durable before the money moves: whoever sends the same request with the same
//! payment again gets the same answer, and one debit.

use std::sync::Arc;

use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::pay::{Admission, Answered, Done, Kept, Pending, PricedRequest, ReceiptRef, Work, Workers};
use agora_economy::ports::state::{Journal, Table, Write};
use agora_economy::{declared_attribution, final_legs, provisional_attribution, service_legs};
use agora_receipts::receipt::{LIST_MAX, commit};
use agora_receipts::{Kind, Receipt, State};
use agora_sandbox_api::{PaymentScheme, ServeRequest, ServeResponse};
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher, WITHDRAW_DELAY_MIN_S};
use agora_types::command::{
    Command, FinalizeCall, KeyKind, KeyProof, KeyStatement, PublicKey, RegisterKey, SettleCall, SettleHeld,
};
use agora_types::eip712::command_digest;
use agora_types::key::StatementSigner;
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, Canonical, ChannelId, Code, Hash, Prices, Signed, Timestamp, Usage};
use agora_x402::Refusal;
use agora_x402::check::{DepositPayment, Payment, Purpose, SinglePayment, Terms, payment};
use agora_x402::seller::{ChannelRecord, Charged, Offers, batch_offer, exact_offer, fingerprint, upto_offer};
use agora_x402::wire::{
    NetworkId, Object, PaymentPayload, PaymentRequirements, Resource, SettleResponse, SettledAmount, VerifyRequest,
    Version,
};
use minicbor::{Decode, Encode};

use super::flights::Flights;
use super::rows::{KeptRow, channel_key, load, paid_key, put};
use super::single::{Singles, Stop, refused_or_trouble};
use super::view;
use crate::agent::{AgentsHandle, KeyRing, ServeAnswer, ServeOffer};
use crate::clock::{Clock, Random, fresh_head, random};
use crate::error::CallError;
use crate::purchase::Payer;

/// How long an agent's receipt key acts, in seconds: ten years.
const KEY_LIFE_S: u64 = 315_360_000;
/// Longest offered validity of a payment beyond the agent's own time limit, in seconds.
const TIMEOUT_SLACK_S: u64 = 60;
/// First byte of a sold request's key in [`Table::Till`], and of an agent's count of receipts.
const SOLD: u8 = b's';
const COUNT: u8 = b'n';
/// Sold requests are kept so long for a repeat.
pub const SOLD_KEPT_S: u64 = 7_200;

/// A request that an agent answered, `agora/sold/v1`, by `s` ‖ payer ‖ call id. Written before the money moves.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SoldRow {
    /// The agent.
    #[n(0)]
    pub agent: String,
    /// The answer.
    #[n(1)]
    pub kept: KeptRow,
    /// The signed receipt.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub receipt: Vec<u8>,
    /// What pays: a held single payment …
    #[n(3)]
    pub single: Option<Single>,
    /// … or a channel with its voucher.
    #[n(4)]
    pub channel: Option<(ChannelConfig, Voucher)>,
    /// When it was answered.
    #[n(5)]
    pub at: Timestamp,
    /// Salt of the deposit that came with it.
    #[n(6)]
    pub deposit: Option<Hash>,
}

impl Canonical for SoldRow {
    const TAG: &'static str = "agora/sold/v1";
    const SIZE_MAX: usize = 512 * 1024;
}

/// What selling agents are served with.
#[derive(Clone)]
pub struct WorkersParts {
    /// The agents.
    pub agents: AgentsHandle,
    /// Their keys.
    pub ring: Arc<dyn KeyRing>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Where answers are written down.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub random: Arc<dyn Random>,
    /// Makes the salts of receipts; the same after a restart.
    pub secret: [u8; 32],
}

/// The desk before the agents of a node.
pub struct AgentWorkers(Arc<Inner>);

struct Inner {
    parts: WorkersParts,
    flights: Flights,
    /// Held while a receipt gets its number.
    numbers: futures::lock::Mutex<()>,
}

/// An agent as a seller: its terms and its keys.
struct Shop {
    offer: ServeOffer,
    keys: Payer,
    receipt_key: Arc<StatementSigner>,
}

/// What pays one request, checked.
enum Pays {
    Single(SinglePayment),
    Channel { config: ChannelConfig, voucher: Voucher, deposit: Option<Box<DepositPayment>> },
}

type Judged = Result<Admission<Done>, Stop>;

impl AgentWorkers {
    /// Over its parts.
    pub fn new(parts: WorkersParts) -> Self {
        Self(Arc::new(Inner { parts, flights: Flights::default(), numbers: futures::lock::Mutex::new(()) }))
    }

    /// What agents sell, for a catalogue.
    ///
    /// # Errors
    /// Faults.
    pub async fn offers(&self) -> Result<Vec<ServeOffer>, CallError> {
        self.0.parts.agents.offers().await
    }

    /// The ways to pay an agent's offer for a resource.
    pub fn accepts(&self, offer: &ServeOffer) -> Vec<PaymentRequirements> {
        self.0.accepts(offer)
    }

    /// Ends what a crash cut off: answered requests are settled, and get their final receipts. Forgets what is old. To be
    /// called at the start and now and then.
    ///
    /// # Errors
    /// The journal's faults; what cannot be settled stays for the next time.
    pub async fn recover(&self) -> Result<(), CallError> {
        let journal = self.0.parts.journal.as_ref();
        let now = self.0.parts.clock.now();
        for (key, bytes) in journal.list(Table::Till, vec![SOLD], READ_ROWS_MAX).await? {
            let Ok(row) = SoldRow::from_bytes(&bytes) else { continue };
            let ended = async {
                let shop = self.0.shop_by_name(&row.agent).await?;
                self.0.settle(&shop, &row).await.map_err(Stop::into_error)
            };
            match ended.await {
                Ok(()) if now > row.at.plus_secs(SOLD_KEPT_S) => {
                    journal.commit(vec![Write { table: Table::Till, key, value: None }]).await?;
                }
                Ok(()) => {}
                Err(error) => tracing::warn!(agent = %row.agent, %error, "a sold request is not settled yet"),
            }
        }
        Ok(())
    }
}

impl Inner {
    async fn shop(&self, agent: &str) -> Result<Shop, CallError> {
        let offer = self.parts.agents.offer(agent).await?;
        self.with_keys(offer).await
    }

    /// The same for an agent that may have been stopped meanwhile: what it sold is still settled.
    async fn shop_by_name(&self, agent: &str) -> Result<Shop, CallError> {
        let offer = self.parts.agents.offer_of_any(agent).await?;
        self.with_keys(offer).await
    }

    async fn with_keys(&self, offer: ServeOffer) -> Result<Shop, CallError> {
        let keys = self.parts.ring.payer(&offer.name).await?;
        let receipt_key = self.parts.ring.receipt_key(&offer.name).await?;
        Ok(Shop { offer, keys, receipt_key })
    }

    fn accepts(&self, offer: &ServeOffer) -> Vec<PaymentRequirements> {
        let network = self.parts.ledger.network();
        let (account, price) = (offer.account, offer.terms.price);
        let timeout_s = u64::from(offer.terms.timeout_s) * 2 + TIMEOUT_SLACK_S;
        let one = |scheme: &PaymentScheme| match scheme {
            PaymentScheme::Exact => exact_offer(&network, account, price, timeout_s),
            PaymentScheme::Upto => upto_offer(&network, account, price, timeout_s, account),
            PaymentScheme::BatchSettlement => {
                batch_offer(&network, account, price, timeout_s, account, WITHDRAW_DELAY_MIN_S, None)
            }
        };
        offer.terms.schemes.iter().map(one).collect()
    }

    fn offers(&self, offer: &ServeOffer, url: &str) -> Offers {
        Offers {
            resource: Resource {
                url: url.to_owned(),
                description: Some(offer.terms.description.clone()),
                mime_type: Some(offer.terms.mime_type.clone()),
                ..Resource::default()
            },
            accepts: self.accepts(offer),
            extensions: Object::new(),
        }
    }

    async fn judge(
        &self,
        shop: &Shop,
        offered: &Offers,
        work: &Work,
        request: &PricedRequest,
        paid: &PaymentPayload,
    ) -> Judged {
        let own = offered.taken(paid)?.clone();
        let terms = Terms {
            network: self.parts.ledger.network(),
            facilitator: shop.offer.account,
            deposit_min: self.parts.ledger.parameters().deposit_min,
        };
        let asked =
            VerifyRequest { x402_version: Version, payment_payload: paid.clone(), payment_requirements: own.clone() };
        let print = fingerprint(&request.method, &request.url, &request.body);
        let (key, pays) = match payment(&terms, Purpose::Verify, &asked, self.parts.clock.now())? {
            Payment::Exact(one) | Payment::Upto(one) => {
                (paid_key(&one.authorization.payer(), &one.authorization.key()), Pays::Single(one))
            }
            Payment::Deposit(one) => {
                let (config, voucher) = (one.deposit.config.clone(), one.voucher.clone());
                (channel_key(&voucher.channel_id), Pays::Channel { config, voucher, deposit: Some(one) })
            }
            Payment::Voucher(one) => {
                let pays = Pays::Channel { config: one.config, voucher: one.voucher, deposit: None };
                (channel_key(&pays.channel_id().unwrap_or(ChannelId::ZERO)), pays)
            }
            Payment::Refund(one) => return self.refund(shop, offered, &one.config, &one.voucher, one.amount).await,
            Payment::Claim(_) | Payment::Settle(_) => return Err(Code::WireMalformed.into()),
        };
        let flight = match self.flights.take(key.clone(), print) {
            Ok(flight) => flight,
            Err(taken) if taken == print => return Ok(Admission::Busy(Refusal::from(Code::PaymentInFlight))),
            Err(_) if matches!(pays, Pays::Channel { .. }) => return Err(Code::ChannelBusy.into()),
            Err(_) => return Ok(Admission::Conflict(Refusal::from(Code::PaymentOther))),
        };
        let call = pays.call_id(&key, &print);
        let payer = pays.payer();
        let sold = [&[SOLD], payer.as_bytes().as_slice(), call.as_bytes()].concat();
        let known = load::<SoldRow>(self.parts.journal.as_ref(), sold.clone()).await?;
        // With another deposit it is no repeat, but of a buyer that forgot its channel: it is corrected below.
        if let Some(row) = known.filter(|row| pays.deposit_salt().is_none_or(|salt| row.deposit == Some(salt))) {
            self.settle(shop, &row).await?;
            let (response, receipt) = self.told(&row, &pays)?;
            let answered = Answered { kept: Some(row.kept.kept()), response, receipt: Some(receipt) };
            return Ok(Admission::Answered(Box::new(answered)));
        }
        if let Some(admission) = self.reserve(shop, offered, &own, &pays, print).await? {
            return Ok(admission);
        }
        self.register(shop).await?;
        let answer = self.work(shop, work, Some(payer), call, own.amount).await;
        let served = match answer {
            Ok(served) if served.response.status < 400 => served,
            // The agent's own refusal passes through, unpaid.
            Ok(served) => {
                self.release(shop, &pays).await;
                return Ok(Admission::Serve(Done { answer: kept(served.response), response: None, receipt: None }));
            }
            // It goes on; the same payment asks again.
            Err(error) if error.code == Code::CallInProgress => {
                return Ok(Admission::Busy(Refusal::from(Code::PaymentInFlight)));
            }
            Err(error) => {
                self.release(shop, &pays).await;
                return Err(Stop::Trouble(error.into()));
            }
        };
        let answer = kept(served.response);
        let row = self.sign(shop, &pays, call, work, &answer, &served.calls, own.amount, sold).await?;
        self.settle(shop, &row).await?;
        drop(flight);
        let (response, receipt) = self.told(&row, &pays)?;
        Ok(Admission::Serve(Done { answer, response: Some(response), receipt: Some(receipt) }))
    }

    /// Holds a single payment, or checks voucher and channel. An answer when that is refused.
    async fn reserve(
        &self,
        shop: &Shop,
        offered: &Offers,
        own: &PaymentRequirements,
        pays: &Pays,
        print: Hash,
    ) -> Result<Option<Admission<Done>>, Stop> {
        let network = self.parts.ledger.network();
        match pays {
            Pays::Single(single) => {
                // Nobody else holds with the agent's key: whatever is held is from before a crash.
                let now = self.parts.clock.now();
                match self.singles(shop).hold_or_adopt(single, own.max_timeout_seconds, now).await {
                    Ok(()) => Ok(None),
                    // Posted for another request, or long ago.
                    Err(Stop::Refused(refusal)) if refusal.reason == Code::NonceUsed.into() => {
                        Ok(Some(Admission::Conflict(Refusal::from(Code::PaymentOther))))
                    }
                    Err(stop) => Err(stop),
                }
            }
            Pays::Channel { config, voucher, deposit } => {
                let on_ledger = self.parts.ledger.channel(voucher.channel_id).await?;
                let mut record = ChannelRecord::open(config.clone(), on_ledger.as_ref().map(view).unwrap_or_default());
                if record.is_closing() {
                    return Err(Code::WithdrawStarted.into());
                }
                let accepted = match deposit {
                    None => record.accept_voucher(voucher.clone(), own.amount, print),
                    Some(one) => {
                        let amount = one.deposit.amount;
                        record.accept_deposit(amount, Amount::ZERO, voucher.clone(), own.amount, print)
                    }
                };
                if let Err(refusal) = accepted {
                    let required = offered.corrective(&refusal, &record, &network);
                    return Ok(Some(Admission::Refused(Box::new(required))));
                }
                if let Some(one) = deposit {
                    let (command, signature) = (Command::Deposit(one.deposit.clone()), one.signature);
                    let entry = Entry { command, signature, linked: false, submitter: None };
                    self.parts.ledger.commit_one(entry).await.map_err(refused_or_trouble)?;
                }
                Ok(None)
            }
        }
    }

    fn singles(&self, shop: &Shop) -> Singles {
        let WorkersParts { ledger, clock, random, .. } = self.parts.clone();
        Singles::new(ledger, Arc::clone(&shop.keys.account), clock, random)
    }

    async fn release(&self, shop: &Shop, pays: &Pays) {
        if let Pays::Single(single) = pays
            && let Err(stop) = self.singles(shop).release(single).await
        {
            tracing::debug!(error = %stop.into_error(), "a held payment stays until its hold ends");
        }
    }

    async fn work(
        &self,
        shop: &Shop,
        work: &Work,
        payer: Option<Address>,
        call: CallId,
        price: Amount,
    ) -> Result<ServeAnswer, CallError> {
        let request = ServeRequest {
            id: hex::encode(call.as_bytes()),
            payer,
            price_paid: price,
            method: work.method.clone(),
            path: work.path.clone(),
            query: work.query.clone(),
            content_type: work.content_type.clone(),
            body: work.body.clone(),
        };
        self.parts.agents.serve(&shop.offer.name, request).await
    }

    /// Work that costs nothing has no receipt, and each request is a new one.
    async fn free(&self, shop: &Shop, work: &Work) -> Result<ServeResponse, CallError> {
        let call = CallId::ordered(self.parts.clock.now(), random(self.parts.random.as_ref()));
        Ok(self.work(shop, work, None, call, Amount::ZERO).await?.response)
    }

    /// Registers the agent's receipt key, once for ever.
    async fn register(&self, shop: &Shop) -> Result<(), Stop> {
        let public = shop.receipt_key.public();
        if self.parts.ledger.statement_key(public).await?.is_some() {
            return Ok(());
        }
        let key = PublicKey::Statement(public);
        let network = self.parts.ledger.network();
        let owner = shop.offer.account;
        let statement = KeyStatement { chain_id: network.chain_id, owner, kind: KeyKind::Receipt, key };
        let proof = KeyProof::Statement(shop.receipt_key.sign(&statement.tagged()));
        let head = fresh_head(self.parts.clock.as_ref(), self.parts.random.as_ref(), owner);
        let valid_until = self.parts.clock.now().plus_secs(KEY_LIFE_S);
        let register = RegisterKey { head, kind: KeyKind::Receipt, key, valid_until, proof };
        let entry = Entry::sign(&network, Command::RegisterKey(register), &shop.keys.account);
        match self.parts.ledger.commit_one(entry).await {
            Err(failure) if failure.code == Code::KeyRegistered => Ok(()),
            other => other.map_err(refused_or_trouble),
        }
    }

    /// Leaf hashes of the receipts that a request rests on, the first 16 of them.
    async fn parents(&self, account: Address, calls: &[CallId]) -> Result<Vec<Hash>, Stop> {
        let mut parents = Vec::new();
        for call in calls.iter().take(LIST_MAX) {
            if let Some(record) = self.parts.ledger.call(account, *call).await? {
                parents.push(record.leaf);
            }
        }
        Ok(parents)
    }

    fn salt(&self, call: &CallId) -> [u8; 16] {
        let hash = Hash::sha256_of(&[b"agora/http-salt/v1", &self.parts.secret, call.as_bytes()]);
        let mut salt = [0; 16];
        salt.copy_from_slice(&hash.as_bytes()[..16]);
        salt
    }

    /// Signs the receipt and writes it down with the answer: from here on the money moves, and a repeat answers the same.
    #[allow(clippy::too_many_arguments, reason = "all of one sold request, told apart by type")]
    async fn sign(
        &self,
        shop: &Shop,
        pays: &Pays,
        call: CallId,
        work: &Work,
        answer: &Kept,
        calls: &[CallId],
        charge: Amount,
        sold: Vec<u8>,
    ) -> Result<SoldRow, Stop> {
        let network = self.parts.ledger.network();
        let account = shop.offer.account;
        let parents = self.parents(account, calls).await?;
        let (channel, cumulative) = match pays {
            Pays::Single(_) => (None, charge),
            Pays::Channel { voucher, .. } => {
                let on_ledger = self.parts.ledger.channel(voucher.channel_id).await?;
                let claimed = on_ledger.map_or(Amount::ZERO, |channel| channel.total_claimed);
                (Some(voucher.channel_id), claimed.checked_add(charge).ok_or(Code::AmountOverflow)?)
            }
        };
        let salt = self.salt(&call);
        let now = self.parts.clock.now();
        let _numbers = self.numbers.lock().await;
        let count_key = [&[COUNT], account.as_bytes().as_slice()].concat();
        let count = self.parts.journal.get(Table::Till, count_key.clone()).await.map_err(CallError::from)?;
        let number = count.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let receipt = Receipt {
            version: 1,
            kind: Kind::Service,
            network: network.chain_id,
            call_id: call,
            host: account,
            host_seq: number,
            time: now,
            payer: pays.payer(),
            payee: account,
            listing: None,
            parents,
            base_hash: None,
            adapter_hash: None,
            tokenizer_hash: None,
            spec_hash: None,
            datanets: Vec::new(),
            request_commit: commit(&salt, &request_bytes(work)),
            response_commit: commit(&salt, &answer.body),
            decoding: None,
            usage: Usage { output: 1, ..Usage::default() },
            prices: Prices { output: charge, ..Prices::default() },
            charge,
            channel,
            cumulative,
            attribution: provisional_attribution(None),
            legs: service_legs(charge, account),
            state: State::Provisional,
        };
        let (single, channel) = match pays {
            Pays::Single(one) => {
                let Single { authorization, signature } =
                    Single { authorization: one.authorization.clone(), signature: one.signature };
                (Some(Single { authorization, signature }), None)
            }
            Pays::Channel { config, voucher, .. } => (None, Some((config.clone(), voucher.clone()))),
        };
        let row = SoldRow {
            agent: shop.offer.name.clone(),
            kept: KeptRow {
                status: answer.status,
                content_type: answer.content_type.clone(),
                body: answer.body.clone(),
            },
            receipt: Signed::sign(receipt, &shop.receipt_key).to_bytes(),
            single,
            channel,
            at: now,
            deposit: pays.deposit_salt(),
        };
        let next = number.checked_add(1).ok_or(Code::AmountOverflow)?;
        let writes = vec![put(sold, row.to_bytes()), put(count_key, next.to_be_bytes().to_vec())];
        self.parts.journal.commit(writes).await.map_err(CallError::from)?;
        Ok(row)
    }

    /// Moves the money of a sold request and gives it its final receipt. A repeat finds both done.
    async fn settle(&self, shop: &Shop, row: &SoldRow) -> Result<(), Stop> {
        let network = self.parts.ledger.network();
        let signed = Signed::<Receipt>::from_bytes(&row.receipt)
            .map_err(|error| CallError::new(Code::StoreDamaged, error.to_string()))?;
        let said = signed.payload();
        let head = || fresh_head(self.parts.clock.as_ref(), self.parts.random.as_ref(), shop.offer.account);
        let sign = |command| Entry::sign(&network, command, &shop.keys.account);
        let known = self.parts.ledger.call(said.payer, said.call_id).await?;
        if known.is_none() {
            let group = match (&row.single, &row.channel) {
                (Some(single), _) => {
                    let settle = || {
                        sign(Command::SettleHeld(SettleHeld {
                            head: head(),
                            payer: said.payer,
                            pending_id: single.authorization.pending_id(&network),
                            call_id: said.call_id,
                            charge: said.charge,
                            receipt: row.receipt.clone(),
                        }))
                    };
                    // A hold that ran out in the meantime is made again in the same step.
                    let answers = self.parts.ledger.commit(vec![settle()]).await?;
                    match answers.into_iter().next() {
                        Some(Err(Code::PendingExpired | Code::PendingNotFound)) => {
                            let hold = agora_types::command::Hold {
                                head: head(),
                                authorization: single.authorization.clone(),
                                signature: single.signature,
                                timeout_s: 1,
                            };
                            vec![sign(Command::Hold(Box::new(hold))).linked(), settle()]
                        }
                        Some(Err(code)) => return Err(code.into()),
                        Some(Ok(())) | None => Vec::new(),
                    }
                }
                (None, Some((config, voucher))) => {
                    let settle = SettleCall {
                        head: head(),
                        call_id: said.call_id,
                        config: config.clone(),
                        max_claimable: voucher.max_claimable,
                        voucher_signature: voucher.signature,
                        charge: said.charge,
                        cumulative: said.cumulative,
                        receipt: row.receipt.clone(),
                    };
                    vec![sign(Command::SettleCall(Box::new(settle)))]
                }
                (None, None) => {
                    return Err(CallError::new(Code::StoreDamaged, "a sold request without a payment").into());
                }
            };
            if !group.is_empty() {
                let answers = self.parts.ledger.commit(group).await?;
                let refused = answers.into_iter().filter_map(Result::err).find(|code| *code != Code::LinkedFailed);
                if let Some(code) = refused {
                    return Err(code.into());
                }
            }
        }
        // The buyer has paid and has its receipt; the final one can also come later.
        if let Some(open) = self.parts.ledger.open_call(said.payer, said.call_id).await? {
            let last = Receipt {
                time: self.parts.clock.now(),
                attribution: declared_attribution(&open),
                legs: final_legs(&open),
                state: State::Final { index: open.record.index, leaf: open.record.leaf },
                ..said.clone()
            };
            let receipt = Signed::sign(last, &shop.receipt_key).to_bytes();
            let finalize = FinalizeCall { head: head(), payer: said.payer, call_id: said.call_id, receipt };
            if let Err(failure) = self.parts.ledger.commit_one(sign(Command::FinalizeCall(finalize))).await {
                tracing::debug!(error = %failure, "a service's final receipt comes later");
            }
        }
        Ok(())
    }

    /// What the payer of a sold request is told.
    fn told(&self, row: &SoldRow, pays: &Pays) -> Result<(SettleResponse, ReceiptRef), Stop> {
        let signed = Signed::<Receipt>::from_bytes(&row.receipt)
            .map_err(|error| CallError::new(Code::StoreDamaged, error.to_string()))?;
        let said = signed.payload();
        let network = self.parts.ledger.network();
        let (transaction, amount, extra) = match pays {
            Pays::Single(single) => {
                let digest = single.authorization.digest(&network);
                (digest.to_string(), SettledAmount::Atoms(said.charge), Object::new())
            }
            Pays::Channel { config, deposit, .. } => {
                let record = ChannelRecord::open(config.clone(), Default::default());
                let charged = Charged { amount: said.charge, cumulative: said.cumulative };
                let mut extra = record.response(&network, &charged).to_object();
                if let Some(state) = extra.get_mut("channelState").and_then(serde_json::Value::as_object_mut) {
                    state.retain(|key, _| key == "channelId" || key == "chargedCumulativeAmount");
                }
                match deposit {
                    None => (String::new(), SettledAmount::Unsaid, extra),
                    Some(one) => {
                        let digest = command_digest(&network, &Command::Deposit(one.deposit.clone()));
                        (digest.to_string(), SettledAmount::Atoms(one.deposit.amount), extra)
                    }
                }
            }
        };
        let receipt = ReceiptRef {
            leaf: leaf_hash(&row.receipt),
            call: said.call_id,
            payer: said.payer,
            charge: said.charge,
            salt: self.salt(&said.call_id),
        };
        let response = self.response(said.payer, transaction, amount, extra);
        Ok((response, receipt))
    }

    fn response(&self, payer: Address, transaction: String, amount: SettledAmount, extra: Object) -> SettleResponse {
        SettleResponse {
            success: true,
            error_reason: None,
            error_message: None,
            payer: Some(payer),
            transaction,
            network: NetworkId::Eip155(self.parts.ledger.network().chain_id),
            amount: Some(amount),
            extra,
            extensions: Object::new(),
        }
    }

    /// Gives an idle channel's rest back. Everything that was charged is claimed already.
    async fn refund(
        &self,
        shop: &Shop,
        offered: &Offers,
        config: &ChannelConfig,
        voucher: &Voucher,
        amount: Option<Amount>,
    ) -> Judged {
        let (id, network) = (voucher.channel_id, self.parts.ledger.network());
        let Ok(_flight) = self.flights.take(channel_key(&id), Hash::ZERO) else {
            return Err(Code::ChannelBusy.into());
        };
        let on_ledger = self.parts.ledger.channel(id).await?;
        let mut record = ChannelRecord::open(config.clone(), on_ledger.as_ref().map(view).unwrap_or_default());
        let plan = match record.refund(voucher.clone(), amount, Hash::ZERO) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(Admission::Refused(Box::new(offered.corrective(&refusal, &record, &network)))),
        };
        let amount = plan.refund.amount;
        let refund = Command::Refund(plan.refund);
        let digest = command_digest(&network, &refund);
        let entry = Entry::sign(&network, refund, &shop.keys.account);
        self.parts.ledger.commit_one(entry).await.map_err(refused_or_trouble)?;
        let charged = Charged { amount: Amount::ZERO, cumulative: record.charged };
        let extra = record.response(&network, &charged).to_object();
        let response = self.response(config.payer, digest.to_string(), SettledAmount::Atoms(amount), extra);
        Ok(Admission::Refunded(Box::new(response)))
    }
}

impl Pays {
    fn payer(&self) -> Address {
        match self {
            Self::Single(single) => single.authorization.payer(),
            Self::Channel { config, .. } => config.payer,
        }
    }

    fn channel_id(&self) -> Option<ChannelId> {
        match self {
            Self::Single(_) => None,
            Self::Channel { voucher, .. } => Some(voucher.channel_id),
        }
    }

    fn deposit_salt(&self) -> Option<Hash> {
        match self {
            Self::Channel { deposit: Some(one), .. } => Some(one.deposit.salt),
            Self::Channel { deposit: None, .. } | Self::Single(_) => None,
        }
    }

    /// The call's id: the same for the same payment and request, of nobody's choosing.
    fn call_id(&self, key: &[u8], print: &Hash) -> CallId {
        let height = match self {
            Self::Single(_) => 0,
            Self::Channel { voucher, .. } => voucher.max_claimable.atoms(),
        };
        let hash = Hash::sha256_of(&[b"agora/http-call/v1", key, &height.to_be_bytes(), print.as_bytes()]);
        CallId::from_slice(&hash.as_bytes()[..CallId::SIZE]).unwrap_or(CallId::ZERO)
    }
}

/// The bytes that a service receipt's request commitment is over: method, path and query, type, body, each on its line.
fn request_bytes(work: &Work) -> Vec<u8> {
    let head = format!("{} {}?{}\n{}\n\n", work.method, work.path, work.query, work.content_type);
    [head.as_bytes(), &work.body].concat()
}

fn kept(response: ServeResponse) -> Kept {
    Kept { status: response.status, content_type: response.content_type, body: response.body }
}

impl Workers for AgentWorkers {
    fn bounds<'a>(&'a self, agent: &'a str) -> Pending<'a, (usize, u32)> {
        Box::pin(async move {
            let offer = self.0.parts.agents.offer(agent).await?;
            Ok((offer.terms.input_bytes_max(), offer.terms.timeout_s))
        })
    }

    fn call<'a>(
        &'a self,
        work: &'a Work,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Done>> {
        Box::pin(async move {
            let shop = self.0.shop(&work.agent).await?;
            let offered = self.0.offers(&shop.offer, &request.url);
            if shop.offer.terms.price.is_zero() {
                let free = self.0.free(&shop, work).await?;
                return Ok(Admission::Serve(Done { answer: kept(free), response: None, receipt: None }));
            }
            let Some(paid) = payment else {
                return Ok(Admission::Refused(Box::new(offered.required(None))));
            };
            match self.0.judge(&shop, &offered, work, request, paid).await {
                Ok(admission) => Ok(admission),
                Err(Stop::Refused(refusal)) => Ok(Admission::Refused(Box::new(offered.required(Some(&refusal))))),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            }
        })
    }
}
