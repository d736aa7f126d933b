//! What a buyer writes down of its payments over HTTP: purchases with their payment and answer, channels.

use agora_economy::ports::state::{Journal, Table, Write};
use agora_sandbox_api::{HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HttpRequest, Paid};
use agora_types::authorization::Authorization;
use agora_types::channel::ChannelConfig;
use agora_types::{Address, Amount, CallId, Canonical, ChannelId, Code, Hash, Timestamp};
use agora_x402::buyer::{BuyerChannel, Sent};
use minicbor::{Decode, Encode};

use crate::error::CallError;
use crate::fetch::{HttpAnswer, Reply};

/// Longest body that is kept for a repeat; the largest that a manifest can grant.
const KEPT_BODY_MAX: usize = 256 * 1_024;
/// Longest words of a payee's side about a payment, characters.
const WORD_MAX: usize = 512;

/// How far a purchase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PurchaseState {
    /// A payment is signed, and perhaps sent: what it costs is not known.
    #[n(0)]
    Signed,
    /// What it cost is known, and its answer is kept.
    #[n(1)]
    Ended,
    /// Nothing more is paid, and it is not fetched again.
    #[n(2)]
    GivenUp,
}

/// The payment of a purchase.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedPart {
    /// The header `PAYMENT-SIGNATURE`, sent again as it stands.
    #[n(0)]
    pub header: String,
    /// The most that it can cost.
    #[n(1)]
    pub amount: Amount,
    /// Who is paid.
    #[n(2)]
    pub payee: Address,
    /// What the payer signed, of a single payment.
    #[n(3)]
    pub single: Option<Authorization>,
    /// Of a payment out of a channel.
    #[n(4)]
    pub channel: Option<ChannelPart>,
}

/// What a purchase has of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChannelPart {
    /// The channel.
    #[n(0)]
    pub id: ChannelId,
    /// Deposits signed under this purchase, all together.
    #[n(1)]
    pub deposits: Amount,
    /// Corrective 402s that were followed.
    #[n(2)]
    pub corrections: u32,
    /// What the channel was charged before the purchase, by the own count.
    #[n(3)]
    pub charged_before: Amount,
    /// The height of its first voucher.
    #[n(4)]
    pub first_max: Amount,
}

/// What a purchase cost.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PaidPart {
    /// How much; above zero.
    #[n(0)]
    pub amount: Amount,
    /// Whom.
    #[n(1)]
    pub payee: Address,
    /// What the payee's side, or the ledger, calls it.
    #[n(2)]
    pub transaction: String,
    /// Where a receipt is, as the payee says.
    #[n(3)]
    pub receipt: Option<String>,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ReplyPart {
    /// HTTP status.
    #[n(0)]
    pub status: u16,
    /// Names in lower case.
    #[n(1)]
    pub headers: Vec<(String, String)>,
    /// Its bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// A purchase over HTTP, `agora/http-purchase/v1`, by `p` ‖ payer ‖ id. Written before its payment is sent, again before
/// its answer is told, and kept: the id buys nothing a second time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PurchaseRow {
    /// How far it is.
    #[n(0)]
    pub state: PurchaseState,
    /// Of the request; absent when it was given up before anything was signed.
    #[n(1)]
    pub request: Option<Hash>,
    /// The payment; absent likewise.
    #[n(2)]
    pub signed: Option<SignedPart>,
    /// What it cost; absent for nothing.
    #[n(3)]
    pub paid: Option<PaidPart>,
    /// The answer; absent until it ended, and for one that was too large.
    #[n(4)]
    pub reply: Option<ReplyPart>,
    /// When it was written.
    #[n(5)]
    pub at: Timestamp,
}

impl Canonical for PurchaseRow {
    const TAG: &'static str = "agora/http-purchase/v1";
    const SIZE_MAX: usize = KEPT_BODY_MAX + 64 * 1_024;
}

/// The payment of a channel whose answer is awaited.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AwaitedPart {
    /// Whose payment it is.
    #[n(0)]
    pub purchase: CallId,
    /// The most that the request may cost.
    #[n(1)]
    pub amount: Amount,
    /// Deposited with it.
    #[n(2)]
    pub deposit: Amount,
}

/// A channel that a buyer pays sellers out of, `agora/http-channel/v1`, by `c` ‖ payer ‖ channel id. Written together with
/// the purchase that changes it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SpentChannelRow {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// Charged so far, by the own count.
    #[n(1)]
    pub charged: Amount,
    /// The highest voucher that was ever signed.
    #[n(2)]
    pub signed_max: Amount,
    /// Deposited and not refunded, as the ledger said last.
    #[n(3)]
    pub deposited: Amount,
    /// The payment whose answer is awaited.
    #[n(4)]
    pub awaited: Option<AwaitedPart>,
    /// True: the seller contradicted the record; nothing more is signed.
    #[n(5)]
    pub stopped: bool,
    /// When it was written.
    #[n(6)]
    pub at: Timestamp,
}

impl Canonical for SpentChannelRow {
    const TAG: &'static str = "agora/http-channel/v1";
    const SIZE_MAX: usize = 1_024;
}

impl SpentChannelRow {
    /// What stands on disk of a channel; `purchase` is whose payment is awaited, where one is.
    pub(super) fn of(channel: &BuyerChannel, purchase: CallId, at: Timestamp) -> Self {
        let awaited = |sent: &Sent| AwaitedPart { purchase, amount: sent.amount, deposit: sent.deposit };
        Self {
            config: channel.config.clone(),
            charged: channel.charged,
            signed_max: channel.signed_max,
            deposited: channel.deposited,
            awaited: channel.sent.as_ref().map(awaited),
            stopped: channel.stopped,
            at,
        }
    }

    /// As the rules know it.
    pub(super) fn channel(self) -> BuyerChannel {
        let sent = |one: AwaitedPart| Sent { amount: one.amount, deposit: one.deposit, refund: false };
        BuyerChannel {
            config: self.config,
            charged: self.charged,
            signed_max: self.signed_max,
            deposited: self.deposited,
            sent: self.awaited.map(sent),
            stopped: self.stopped,
        }
    }
}

impl PaidPart {
    /// What is told of it.
    pub(super) fn paid(&self) -> Paid {
        Paid {
            amount: self.amount,
            payee: self.payee,
            network: None,
            transaction: self.transaction.clone(),
            receipt: self.receipt.clone(),
        }
    }

    /// `None` for nothing; words of strangers are cut.
    pub(super) fn of(amount: Amount, payee: Address, transaction: &str, receipt: Option<&str>) -> Option<Self> {
        let cut = |text: &str| text.chars().take(WORD_MAX).collect::<String>();
        let paid = Self { amount, payee, transaction: cut(transaction), receipt: receipt.map(cut) };
        (!amount.is_zero()).then_some(paid)
    }
}

impl PurchaseRow {
    /// The kept answer again.
    pub(super) fn answer(self) -> HttpAnswer {
        let reply = self.reply.map(|ReplyPart { status, headers, body }| Reply { status, headers, body });
        let reply = reply.ok_or_else(|| CallError::new(Code::AgentTooLarge, "the answer was too large to be kept"));
        HttpAnswer { paid: self.paid.as_ref().map(PaidPart::paid), reply }
    }
}

/// What is kept of an answer: as many headers as an answer may have, nothing where the body is too long.
pub(super) fn kept(reply: &Reply) -> Option<ReplyPart> {
    let mut left = HTTP_HEADER_BYTES_MAX;
    let fits = |(name, value): &&(String, String)| {
        let size = name.len() + value.len();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    let headers = reply.headers.iter().take(HTTP_HEADERS_MAX).take_while(fits).cloned().collect();
    let part = ReplyPart { status: reply.status, headers, body: reply.body.clone() };
    (reply.body.len() <= KEPT_BODY_MAX).then_some(part)
}

/// What names a request: everything that a server sees of it. The limit is part of it, so that no repeat raises it.
pub(super) fn request_hash(request: &HttpRequest, max: Amount) -> Hash {
    let mut stream = Hash::stream();
    stream.piece("agora/http-request/v1");
    stream.piece(&request.method);
    stream.piece(&request.url);
    for (name, value) in &request.headers {
        stream.piece(name);
        stream.piece(value);
    }
    stream.piece(&request.body);
    stream.piece(max.to_atoms_text());
    stream.finish()
}

const PURCHASE: u8 = b'p';
const CHANNEL: u8 = b'c';

pub(super) fn purchase_key(payer: &Address, id: &CallId) -> Vec<u8> {
    [&[PURCHASE], payer.as_bytes().as_slice(), id.as_bytes()].concat()
}

pub(super) fn channels_prefix(payer: &Address) -> Vec<u8> {
    [&[CHANNEL], payer.as_bytes().as_slice()].concat()
}

pub(super) fn channel_key(payer: &Address, id: &ChannelId) -> Vec<u8> {
    [&[CHANNEL], payer.as_bytes().as_slice(), id.as_bytes()].concat()
}

/// A row as it stands on disk.
pub(super) async fn load<T: Canonical>(journal: &dyn Journal, key: Vec<u8>) -> Result<Option<T>, CallError> {
    let row = journal.get(Table::Spent, key).await?;
    let row = row.map(|bytes| T::from_bytes(&bytes)).transpose();
    row.map_err(|error| CallError::new(Code::StoreDamaged, format!("a buyer's row: {error}")))
}

pub(super) fn put(key: Vec<u8>, row: &impl Canonical) -> Write {
    Write { table: Table::Spent, key, value: Some(row.to_bytes()) }
}
