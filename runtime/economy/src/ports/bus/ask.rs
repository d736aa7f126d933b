//! Short questions to a host, `agora/ask/v1`, and their answers, `agora/reply/v1`: a quote, or the unspent deposit back.

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::{Address, Amount, CallId, Canonical, Hash, ListingId, cbor};
use minicbor::{Decode, Encode};

use super::frame::{DATA_BYTES_MAX, Failed};
use super::{BusError, FRAME_BYTES_MAX, Subject};
use agora_types::Code;

/// What a buyer asks of a host.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// What would this cost?
    #[n(0)]
    Quote(#[n(0)] Box<QuoteAsk>),
    /// Give back what is unspent.
    #[n(1)]
    Refund(#[n(0)] Box<RefundAsk>),
    /// How many tokens is this, and how many may the answer have? For a price without a promise.
    #[n(2)]
    Count(#[n(0)] Box<CountAsk>),
}

/// Asks for the size of a request, before anybody is known to pay.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CountAsk {
    /// What would be called.
    #[n(0)]
    pub listing: ListingId,
    /// The request, at most 32 KiB.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: Vec<u8>,
}

/// The size of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Counted {
    /// Tokens of the prompt.
    #[n(0)]
    pub input: u64,
    /// Most tokens of the answer.
    #[n(1)]
    pub output: u64,
    /// Most hidden tokens; 0 is left out.
    #[cbor(n(2), skip_if = "is_zero")]
    pub hidden: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as minicbor calls it")]
fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

/// Asks for a quote. The host counts the prompt's tokens, so it needs the request itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct QuoteAsk {
    /// Who will pay.
    #[n(0)]
    pub payer: Address,
    /// What is called.
    #[n(1)]
    pub listing: ListingId,
    /// The payer's salt.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The request, at most 32 KiB.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub request: Vec<u8>,
}

/// Asks for the unspent deposit of a channel on which no call runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RefundAsk {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// Signed for what the buyer was told is charged, at least what is claimed: the payer's authorizer asks.
    #[n(1)]
    pub voucher: Voucher,
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// A signed quote.
    #[n(0)]
    Quote(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// So much went back.
    #[n(1)]
    Refunded(#[n(0)] Amount),
    /// Why not.
    #[n(2)]
    Failed(#[n(0)] Failed),
    /// The size.
    #[n(3)]
    Counted(#[n(0)] Counted),
}

impl Canonical for Ask {
    const TAG: &'static str = "agora/ask/v1";
    const SIZE_MAX: usize = FRAME_BYTES_MAX;
}

impl Canonical for Reply {
    const TAG: &'static str = "agora/reply/v1";
    const SIZE_MAX: usize = 8 * 1024;
}

impl Ask {
    /// Reads what came over the bus; never panics on hostile bytes.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BusError> {
        let ask = read::<Self>(bytes)?;
        match &ask {
            Self::Quote(quote) if quote.request.len() > DATA_BYTES_MAX => {
                Err(BusError::new(Code::WireTooLarge, format!("request of {} bytes", quote.request.len())))
            }
            Self::Count(count) if count.request.len() > DATA_BYTES_MAX => {
                Err(BusError::new(Code::WireTooLarge, format!("request of {} bytes", count.request.len())))
            }
            Self::Quote(_) | Self::Refund(_) | Self::Count(_) => Ok(ask),
        }
    }
}

impl Reply {
    /// Reads what came over the bus; never panics on hostile bytes.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BusError> {
        read(bytes)
    }

    /// A refusal.
    pub fn failed(code: Code, detail: &str) -> Self {
        Self::Failed(Failed::new(code, detail))
    }
}

fn read<T: Canonical>(bytes: &[u8]) -> Result<T, BusError> {
    T::from_bytes(bytes).map_err(|error| {
        let code = match error {
            cbor::CborError::Malformed { .. } => Code::WireMalformed,
            cbor::CborError::NotCanonical { .. } => Code::WireNotCanonical,
            cbor::CborError::TooLarge { .. } => Code::WireTooLarge,
        };
        BusError::new(code, error.to_string())
    })
}

/// Where a host hears questions.
pub fn host_ask(network: u64, host: &Address) -> Result<Subject, BusError> {
    Subject::new(network, &peer(host), "ask")
}

/// Where a host hears opened streams.
pub fn host_open(network: u64, host: &Address) -> Result<Subject, BusError> {
    Subject::new(network, &peer(host), "open")
}

/// Where the host of a stream listens.
pub fn stream_up(network: u64, payer: &Address, call: &CallId) -> Result<Subject, BusError> {
    Subject::new(network, &stream(payer, call), "up")
}

/// Where the buyer of a stream listens.
pub fn stream_down(network: u64, payer: &Address, call: &CallId) -> Result<Subject, BusError> {
    Subject::new(network, &stream(payer, call), "down")
}

/// A host's name on the bus: its address in hex.
pub fn peer(host: &Address) -> String {
    host.to_string().trim_start_matches("0x").to_owned()
}

/// A stream's name on the bus: 64 hex digits that bind payer and call.
fn stream(payer: &Address, call: &CallId) -> String {
    let hash = Hash::sha256_of(&[b"agora/stream/v1", payer.as_bytes(), call.as_bytes()]);
    hash.to_string().trim_start_matches("0x").to_owned()
}
