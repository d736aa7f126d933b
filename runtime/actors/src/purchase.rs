//! The buyer's half of a paid call: find, quote, hold, read, verify the receipt. The host's half is
//! [`call`](crate::call).
//!
//! A purchase is written down before anything that was signed for it is sent. A crash leaves a row in [`Table::Buyer`] that names call,
//! channel and the highest amount that was ever signed; [`Purchase::resume`] opens the same call again, and the host
//! sends everything that it charged for once more. Nothing beyond one window past what arrived is ever signed.

mod desk;

use std::sync::Arc;

use agora_catalog::{Listing, Quote};
use agora_economy::ports::bus::Bus;
use agora_economy::ports::bus::ask;
use agora_economy::ports::bus::flow::ReceiveWindow;
use agora_economy::ports::bus::frame::{Body, Chunk, Failed, NeedVoucher, Open};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::log::call_key;
use agora_economy::ports::state::{Journal, Table, VALUE_MAX, Write};
use agora_inference_api::Likelihoods;
use agora_receipts::Receipt;
use agora_receipts::receipt::commit;
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::key::WalletKey;
use agora_types::{
    Address, Amount, CallId, Canonical, ChannelId, Code, Hash, ListingId, QuoteId, Signed, Timestamp, Usage,
};
use minicbor::{Decode, Encode};

use crate::call::{Heard, Line, SILENCE_MS, spent, window_end};
use crate::clock::{Clock, Random, random};
use crate::error::CallError;

pub use desk::Quoted;

/// How often a call is opened again while the host ends an earlier stream of it, and the silence in between.
const REOPEN_TRIES: u32 = 40;
const REOPEN_WAIT_MS: u32 = 100;
/// Chunks that may be under way.
const CREDIT: u64 = 64;

/// Who pays: the account holds the money, the session key signs vouchers. An agent never sees either.
#[derive(Debug, Clone)]
pub struct Payer {
    /// Its balance is the budget.
    pub account: Arc<WalletKey>,
    /// The channels' `payer_authorizer`.
    pub session: Arc<WalletKey>,
}

/// An answer that is still on its way.
pub type Pending<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = Result<T, CallError>> + Send + 'a>>;

/// Finds listings. Answers are signed and match the ledger; callable from many tasks.
pub trait Directory: Send + Sync {
    /// The listings that fit the words, best first.
    fn find<'a>(&'a self, words: &'a str, limit: usize) -> Pending<'a, Vec<Signed<Listing>>>;

    /// One listing.
    fn get(&self, listing: ListingId) -> Pending<'_, Option<Signed<Listing>>>;
}

/// The buyer's side of a node.
pub struct Buyer {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Where purchases are written down.
    pub journal: Arc<dyn Journal>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Listings.
    pub directory: Arc<dyn Directory>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids and salts.
    pub random: Arc<dyn Random>,
}

/// The row of a purchase, `agora/buyer-call/v1`, by payer ‖ call id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BuyerCall {
    /// What was promised.
    #[n(0)]
    pub quote: Quote,
    /// The channel that pays.
    #[n(1)]
    pub config: ChannelConfig,
    /// The salt of both commitments.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The request's bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// The deposit that went with the opening.
    #[n(4)]
    pub deposit: Option<Entry>,
    /// What was claimed of the channel before this call.
    #[n(5)]
    pub base: Amount,
    /// The highest amount that a voucher of this call was signed for.
    #[n(6)]
    pub authorised: Amount,
    /// When it was opened.
    #[n(7)]
    pub opened_at: Timestamp,
}

/// What opens the two commitments of a receipt, `agora/opening/v1`, by payer ‖ call id in [`Table::Openings`]: the buyer's
/// evidence of what was asked and answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OpeningRow {
    /// The salt of both.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The request's bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// The answer's bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub response: Vec<u8>,
}

impl Canonical for OpeningRow {
    const TAG: &'static str = "agora/opening/v1";
    const SIZE_MAX: usize = 1 << 20;
}

impl Canonical for BuyerCall {
    const TAG: &'static str = "agora/buyer-call/v1";
    const SIZE_MAX: usize = 48 * 1024;
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// More of the answer.
    Text {
        /// The chunk's number.
        seq: u64,
        /// Its text.
        text: String,
        /// Tokens in it.
        tokens: u64,
        /// How likely its token was, where the request asks for it. The host's word: no receipt covers it.
        likelihoods: Option<Box<Likelihoods>>,
    },
    /// The end, with the verified receipt.
    Receipt(Box<Signed<Receipt>>),
}

/// What pays a call that somebody else asked for and signed for, over HTTP: for all of it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there are few, each on its way into a box")]
pub enum Given {
    /// A voucher that reaches to the quote's end, with the deposit that it needs.
    Channel {
        /// The channel.
        config: ChannelConfig,
        /// Opens it or tops it up.
        deposit: Option<Entry>,
        /// The newest voucher.
        voucher: Voucher,
    },
    /// One single payment.
    Single(Single),
}

impl Given {
    /// Who pays.
    pub fn payer(&self) -> Address {
        match self {
            Self::Channel { config, .. } => config.payer,
            Self::Single(single) => single.authorization.payer(),
        }
    }
}

/// Whose signatures pay a purchase.
enum Means {
    /// Our own: vouchers are signed as the answer arrives, and a crash leaves a row to resume from.
    Own(Payer),
    /// A stranger's: nothing is signed here, and nothing of ours is at stake.
    Given(Box<Given>),
}

impl Means {
    fn address(&self) -> Address {
        match self {
            Self::Own(payer) => payer.account.address(),
            Self::Given(given) => given.payer(),
        }
    }
}

/// A paid answer on its way.
pub struct Purchase {
    buyer: Arc<Buyer>,
    means: Means,
    call: CallId,
    record: BuyerCall,
    line: Line,
    window: ReceiveWindow,
    usage: Usage,
    response: Vec<u8>,
    /// A frame that was heard and not looked at yet.
    heard: Option<Body>,
}

impl Buyer {
    /// A fresh call id.
    pub fn call_id(&self) -> CallId {
        CallId::ordered(self.clock.now(), random(self.random.as_ref()))
    }

    /// What a purchase left behind, if it is not finished.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn unfinished(&self, payer: Address, call: CallId) -> Result<Option<BuyerCall>, CallError> {
        let row = self.journal.get(Table::Buyer, call_key(&payer, &call)).await?;
        let read = |bytes: Vec<u8>| BuyerCall::from_bytes(&bytes);
        let row = row.map(read).transpose();
        row.map_err(|error| CallError::new(Code::StoreDamaged, format!("a purchase: {error}")))
    }

    /// What opens the receipt of a finished purchase, as far as it was bought here.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn opening(&self, payer: Address, call: CallId) -> Result<Option<OpeningRow>, CallError> {
        let row = self.journal.get(Table::Openings, call_key(&payer, &call)).await?;
        let row = row.map(|bytes| OpeningRow::from_bytes(&bytes)).transpose();
        row.map_err(|error| CallError::new(Code::StoreDamaged, format!("an opening: {error}")))
    }

    /// Every unfinished purchase of a payer.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn all_unfinished(&self, payer: Address) -> Result<Vec<(CallId, BuyerCall)>, CallError> {
        let rows = self.journal.list(Table::Buyer, payer.as_bytes().to_vec(), 65_536).await?;
        let mut found = Vec::new();
        for (key, bytes) in rows {
            let call = key.get(Address::SIZE..).and_then(CallId::from_slice);
            if let (Some(call), Ok(record)) = (call, BuyerCall::from_bytes(&bytes)) {
                found.push((call, record));
            }
        }
        Ok(found)
    }
}

impl Purchase {
    /// Opens a call: picks or opens the channel, writes the purchase down, sends deposit and first voucher.
    ///
    /// # Errors
    /// `ledger.exceeds_credits` when the account does not cover the quote, and faults. The host's refusal comes from
    /// [`Purchase::next`].
    pub async fn open(buyer: &Arc<Buyer>, payer: Payer, call: CallId, quoted: &Quoted) -> Result<Self, CallError> {
        let (config, base, deposit) = buyer.channel_for(&payer, &quoted.quote).await?;
        let authorised = window_end(&quoted.quote, base, &start(&quoted.quote));
        let record = BuyerCall {
            quote: quoted.quote.clone(),
            config,
            salt: quoted.salt,
            request: quoted.request.clone(),
            deposit,
            base,
            authorised,
            opened_at: buyer.clock.now(),
        };
        let quote = record.quote.id;
        Self::begin(buyer, Means::Own(payer), call, record, quote).await
    }

    /// Opens a call that a stranger's payment covers to the quote's end; opened again with the same payment and request, it
    /// gets the same answer. The buyer of record is the stranger: receipts name its account.
    ///
    /// # Errors
    /// Faults. The host's refusal comes from [`Purchase::next`].
    pub async fn relay(buyer: &Arc<Buyer>, given: Given, call: CallId, quoted: &Quoted) -> Result<Self, CallError> {
        let network = buyer.ledger.network();
        let (config, deposit, authorised, base) = match &given {
            Given::Channel { config, deposit, voucher } => {
                let channel = buyer.ledger.channel(config.id(&network)).await?;
                let base = channel.map_or(Amount::ZERO, |channel| channel.total_claimed);
                (config.clone(), deposit.clone(), voucher.max_claimable, base)
            }
            Given::Single(single) => {
                let config = single.as_channel(&network, quoted.quote.host);
                (config, None, single.authorization.max(), Amount::ZERO)
            }
        };
        let record = BuyerCall {
            quote: quoted.quote.clone(),
            config,
            salt: quoted.salt,
            request: quoted.request.clone(),
            deposit,
            base,
            authorised,
            opened_at: buyer.clock.now(),
        };
        let quote = record.quote.id;
        Self::begin(buyer, Means::Given(Box::new(given)), call, record, quote).await
    }

    /// Opens an unfinished call again after a crash: everything that was charged for arrives once more, then the
    /// receipt. `None` when there is nothing unfinished. When the host knows nothing of it, it starts anew under the
    /// same id, with a fresh quote that is no dearer.
    ///
    /// # Errors
    /// As [`Purchase::open`]; `call.overcharge` for a fresh quote that is dearer.
    pub async fn resume(buyer: &Arc<Buyer>, payer: Payer, call: CallId) -> Result<Option<Self>, CallError> {
        let Some(mut record) = buyer.unfinished(payer.account.address(), call).await? else { return Ok(None) };
        let settled = buyer.ledger.call(payer.account.address(), call).await?.is_some();
        let channel = buyer.ledger.channel(record.config.id(&buyer.ledger.network())).await?;
        let funded = channel.as_ref().is_some_and(|channel| channel.balance() >= record.authorised);
        if settled || funded {
            record.deposit = None;
        }
        let quote = record.quote.id;
        let (purchase, known) = Self::reopen(buyer, payer.clone(), call, record, quote).await?;
        if settled || known {
            return Ok(Some(purchase));
        }
        let old = purchase.record.clone();
        drop(purchase);
        let old = Quoted { quote: old.quote, salt: old.salt, request: old.request };
        let quoted = buyer.renew(&payer, &old).await?;
        Self::open(buyer, payer, call, &quoted).await.map(Some)
    }

    /// Opens an unfinished call again only to end it: what the host charged for arrives once more, then the receipt.
    /// `None` when the host knows nothing of it, so that nothing was charged; its row is gone then.
    ///
    /// # Errors
    /// The host's refusal or silence, and faults; the row stays for another try.
    pub async fn settle(buyer: &Arc<Buyer>, payer: Payer, call: CallId) -> Result<Option<Self>, CallError> {
        let Some(mut record) = buyer.unfinished(payer.account.address(), call).await? else { return Ok(None) };
        let settled = buyer.ledger.call(payer.account.address(), call).await?.is_some();
        record.deposit = None;
        // Without a quote the host begins nothing: it sends what it charged for, or knows nothing.
        let (purchase, known) = Self::reopen(buyer, payer, call, record, QuoteId::ZERO).await?;
        if settled || known {
            return Ok(Some(purchase));
        }
        purchase.finish(Vec::new()).await?;
        Ok(None)
    }

    /// Opens a call again; true when the host knows it. Where the host still speaks to an earlier life of this buyer, that
    /// stream is ended first, so that everything it charged for can be sent once more.
    async fn reopen(
        buyer: &Arc<Buyer>,
        payer: Payer,
        call: CallId,
        record: BuyerCall,
        quote: QuoteId,
    ) -> Result<(Self, bool), CallError> {
        let mut tries = REOPEN_TRIES;
        let mut is_receipt_alone = false;
        loop {
            tries -= 1;
            let means = Means::Own(payer.clone());
            let mut purchase = Self::begin(buyer, means, call, record.clone(), quote).await?;
            match purchase.known().await {
                // A receipt before any chunk was meant for the earlier life too, unless it is all that the host still has.
                Ok(true) if matches!(purchase.heard, Some(Body::Final(_))) && !is_receipt_alone && tries > 0 => {
                    is_receipt_alone = true;
                    while purchase.hear(REOPEN_WAIT_MS).await?.is_some() {}
                }
                Ok(known) => return Ok((purchase, known)),
                Err(error) if error.code == Code::CallInProgress && tries > 0 => {
                    purchase.stop().await?;
                    // Whatever comes now was meant for the earlier life.
                    while purchase.hear(REOPEN_WAIT_MS).await?.is_some() {}
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn begin(
        buyer: &Arc<Buyer>,
        means: Means,
        call: CallId,
        record: BuyerCall,
        quote: QuoteId,
    ) -> Result<Self, CallError> {
        let network = buyer.ledger.network();
        let account = means.address();
        let down = ask::stream_down(network.chain_id, &account, &call)?;
        let up = ask::stream_up(network.chain_id, &account, &call)?;
        let line = Line::open(Arc::clone(&buyer.bus), call, down, up).await?;
        let usage = start(&record.quote);
        let window = ReceiveWindow::new(CREDIT);
        let buyer = Arc::clone(buyer);
        let mut purchase = Self { buyer, means, call, record, line, window, usage, response: Vec::new(), heard: None };
        // Written down before anything that was signed is sent.
        purchase.write(Vec::new()).await?;
        purchase.send_open(quote).await?;
        Ok(purchase)
    }

    async fn send_open(&mut self, quote: QuoteId) -> Result<(), CallError> {
        let (record, network) = (&self.record, self.buyer.ledger.network());
        let open = Open {
            channel: record.config.clone(),
            deposit: record.deposit.clone(),
            voucher: match &self.means {
                Means::Own(payer) => self.voucher(payer, record.authorised),
                Means::Given(given) => match given.as_ref() {
                    Given::Channel { voucher, .. } => voucher.clone(),
                    Given::Single(single) => single.as_voucher(&network, record.quote.host),
                },
            },
            quote,
            request_hash: record.quote.request_commit,
            salt: record.salt,
            request: record.request.clone(),
            credit: CREDIT,
            single: self.single().cloned(),
        };
        let host = ask::host_open(network.chain_id, &record.quote.host)?;
        Ok(self.line.send_to(&host, Body::Open(Box::new(open))).await?)
    }

    /// Waits for the host's first word about a resumed call: false when it knows neither sale nor quote.
    async fn known(&mut self) -> Result<bool, CallError> {
        match self.hear(SILENCE_MS).await? {
            None => Err(CallError::new(Code::CallSilent, "the host")),
            Some(Body::Failed(failed)) => match failed.code() {
                // A deposit that never arrived: the host held nothing and delivered nothing.
                Some(
                    Code::QuoteUnknown
                    | Code::QuoteExpired
                    | Code::CallNoAnswer
                    | Code::ChannelNotFound
                    | Code::CallNotHeld,
                ) => Ok(false),
                _ => Err(said(&failed)),
            },
            // The middle of a stream: the host still speaks to an earlier life of this buyer.
            Some(body)
                if matches!(&body, Body::NeedVoucher(_)) || matches!(&body, Body::Chunk(chunk) if chunk.seq > 0) =>
            {
                Err(CallError::new(Code::CallInProgress, self.call.to_string()))
            }
            Some(body) => {
                self.heard = Some(body);
                Ok(true)
            }
        }
    }

    /// Waits for what comes next. After an error the purchase is over; [`Purchase::resume`] may go on.
    ///
    /// # Errors
    /// The host's refusal, its silence, lost chunks, and everything that it may not do: `call.overcharge`,
    /// `call.receipt_mismatch`, `call.response_mismatch`.
    pub async fn next(&mut self) -> Result<Arrived, CallError> {
        let arrived = self.next_within(SILENCE_MS).await?;
        arrived.ok_or_else(|| CallError::new(Code::CallSilent, "the host"))
    }

    /// The same, or `None` when nothing came for `timeout_ms`; the purchase goes on.
    ///
    /// # Errors
    /// As [`Purchase::next`].
    pub async fn next_within(&mut self, timeout_ms: u32) -> Result<Option<Arrived>, CallError> {
        loop {
            match self.hear(timeout_ms).await? {
                None => return Ok(None),
                Some(Body::Chunk(chunk)) => {
                    if let Some(arrived) = self.take(chunk).await? {
                        return Ok(Some(arrived));
                    }
                }
                Some(Body::NeedVoucher(need)) => self.renew(&need).await?,
                Some(Body::Final(receipt)) => {
                    return Ok(Some(Arrived::Receipt(Box::new(self.verify(&receipt)?))));
                }
                // It is this very stream that is in progress, heard from its first chunk on.
                Some(Body::Failed(failed))
                    if failed.code() == Some(Code::CallInProgress) && !self.response.is_empty() => {}
                Some(Body::Failed(failed)) => return Err(said(&failed)),
                Some(Body::Open(_) | Body::Credit(_) | Body::Voucher(_)) => {}
            }
        }
    }

    /// Tells the host to stop; what was delivered is settled, and [`Purchase::next`] goes on until the receipt.
    ///
    /// # Errors
    /// The bus's.
    pub async fn stop(&mut self) -> Result<(), CallError> {
        let stop = Failed::new(Code::AgentStopped, "the buyer has enough");
        Ok(self.line.send(Body::Failed(stop)).await?)
    }

    /// Reads on until the receipt.
    ///
    /// # Errors
    /// As [`Purchase::next`].
    pub async fn drain(&mut self) -> Result<Box<Signed<Receipt>>, CallError> {
        loop {
            if let Arrived::Receipt(receipt) = self.next().await? {
                return Ok(receipt);
            }
        }
    }

    /// Ends the purchase after its receipt: removes its row and keeps what opens the receipt's commitments, together with
    /// the caller's own writes.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn finish(self, with: Vec<Write>) -> Result<(), CallError> {
        let mut writes = with;
        let (salt, request) = (self.record.salt, self.record.request.clone());
        let opening = OpeningRow { salt, request, response: self.response.clone() }.to_bytes();
        if !self.response.is_empty() && opening.len() <= VALUE_MAX {
            writes.push(Write { table: Table::Openings, key: self.key(), value: Some(opening) });
        }
        writes.push(Write { table: Table::Buyer, key: self.key(), value: None });
        Ok(self.buyer.journal.commit(writes).await?)
    }

    /// The call.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// What was promised, and what it may cost.
    pub fn quote(&self) -> &Quote {
        &self.record.quote
    }

    /// What the vouchers of this call cover so far.
    pub fn authorised(&self) -> Amount {
        self.record.authorised.saturating_sub(self.record.base)
    }

    /// What was delivered costs so much.
    pub fn spent(&self) -> Amount {
        self.record.quote.prices.charge(&self.usage).unwrap_or(Amount::ZERO)
    }

    /// The salt, which opens the receipt's commitments.
    pub fn salt(&self) -> [u8; 16] {
        self.record.salt
    }

    /// The answer's bytes so far.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Tokens that arrived.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    async fn hear(&mut self, timeout_ms: u32) -> Result<Option<Body>, CallError> {
        if let Some(body) = self.heard.take() {
            return Ok(Some(body));
        }
        match self.line.hear(timeout_ms).await? {
            Heard::Body(body) => Ok(Some(body)),
            Heard::Silence => Ok(None),
            Heard::Gap(missed) => Err(CallError::new(Code::BusGap, format!("{missed} frames"))),
        }
    }

    /// Checks a chunk against quote and authorisation, and takes it in. `None` for a repeat.
    async fn take(&mut self, chunk: Chunk) -> Result<Option<Arrived>, CallError> {
        let grant = match self.window.accept(chunk.seq) {
            Ok(grant) => grant,
            Err(error) if error.code == Code::BusRepeated => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let usage = Usage { input: chunk.tokens_in, cached: 0, output: chunk.tokens_out, hidden: chunk.tokens_hidden };
        let rises = usage.output >= self.usage.output && usage.hidden >= self.usage.hidden;
        let fair = spent(&self.record.quote, self.record.base, &usage);
        let most = fair.min(self.record.authorised);
        if !rises || !self.record.quote.caps.hold(&usage) || chunk.spent_cumulative > most {
            let what = format!("{} charged, {} is fair", chunk.spent_cumulative, most);
            return Err(self.refuse(Code::CallOvercharge, what).await);
        }
        let tokens = usage.output - self.usage.output;
        self.usage = usage;
        self.response.extend_from_slice(&chunk.data);
        if let Some(through) = grant {
            self.line.send(Body::Credit(through)).await?;
        }
        let text = String::from_utf8_lossy(&chunk.data).into_owned();
        Ok(Some(Arrived::Text { seq: chunk.seq, text, tokens, likelihoods: chunk.likelihoods }))
    }

    /// Signs what the host asks for, but never more than one window beyond what arrived.
    async fn renew(&mut self, need: &NeedVoucher) -> Result<(), CallError> {
        let Means::Own(payer) = &self.means else { return Ok(()) };
        let payer = payer.clone();
        let fair = window_end(&self.record.quote, self.record.base, &self.usage);
        let amount = need.required_cumulative.min(fair);
        if need.channel_id != self.channel_id() || amount < self.record.authorised {
            return Ok(());
        }
        if amount > self.record.authorised {
            self.record.authorised = amount;
            self.write(Vec::new()).await?;
        }
        Ok(self.line.send(Body::Voucher(self.voucher(&payer, amount))).await?)
    }

    /// Everything that a receipt of this call must say, from what the buyer knows itself.
    fn verify(&self, bytes: &[u8]) -> Result<Signed<Receipt>, CallError> {
        let signed = Signed::<Receipt>::from_bytes(bytes);
        let signed = signed.map_err(|error| CallError::new(Code::ReceiptInvalid, error.to_string()))?;
        let (receipt, quote) = (signed.payload(), &self.record.quote);
        receipt.check().map_err(|code| CallError::new(code, "the receipt"))?;
        let tokens = (receipt.usage.input + receipt.usage.cached, receipt.usage.output, receipt.usage.hidden);
        let says = *signed.key() == quote.host_key
            && receipt.network == quote.network
            && receipt.call_id == self.call
            && receipt.host == quote.host
            && receipt.payer == quote.payer
            && receipt.listing == Some(quote.listing)
            && receipt.adapter_hash == quote.adapter_hash
            && receipt.prices == quote.prices
            && receipt.channel == self.single().is_none().then(|| self.channel_id())
            && receipt.cumulative <= self.record.authorised
            && receipt.request_commit == quote.request_commit
            && tokens == (self.usage.input, self.usage.output, self.usage.hidden);
        if !says {
            return Err(CallError::new(Code::ReceiptMismatch, self.call.to_string()));
        }
        if receipt.response_commit != commit(&self.record.salt, &self.response) {
            return Err(CallError::new(Code::CallResponse, self.call.to_string()));
        }
        Ok(signed)
    }

    async fn refuse(&mut self, code: Code, what: String) -> CallError {
        // Whether the host hears it or not, nothing more is signed.
        let _ = self.line.send(Body::Failed(Failed::new(code, &what))).await;
        CallError::new(code, what)
    }

    async fn write(&mut self, with: Vec<Write>) -> Result<(), CallError> {
        let mut writes = with;
        if let Means::Own(_) = &self.means {
            writes.push(Write { table: Table::Buyer, key: self.key(), value: Some(self.record.to_bytes()) });
        }
        if writes.is_empty() {
            return Ok(());
        }
        Ok(self.buyer.journal.commit(writes).await?)
    }

    fn key(&self) -> Vec<u8> {
        call_key(&self.means.address(), &self.call)
    }

    fn channel_id(&self) -> ChannelId {
        self.record.config.id(&self.buyer.ledger.network())
    }

    fn single(&self) -> Option<&Single> {
        match &self.means {
            Means::Own(_) => None,
            Means::Given(given) => match given.as_ref() {
                Given::Channel { .. } => None,
                Given::Single(single) => Some(single),
            },
        }
    }

    fn voucher(&self, payer: &Payer, amount: Amount) -> Voucher {
        Voucher::sign(&self.buyer.ledger.network(), self.channel_id(), amount, &payer.session)
    }
}

/// Before anything is delivered.
fn start(quote: &Quote) -> Usage {
    Usage { input: quote.caps.input, ..Usage::default() }
}

/// The host's words as an error.
fn said(failed: &Failed) -> CallError {
    let code = failed.code().unwrap_or(Code::CallNoAnswer);
    CallError::new(code, format!("the host says: {}", failed.detail))
}

/// A salt for a channel, by its number between the same parties.
pub(crate) fn channel_salt(number: u8) -> Hash {
    let mut bytes = [0; 32];
    bytes[31] = number;
    Hash::new(bytes)
}
