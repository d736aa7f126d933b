//! The frames of one paid stream between buyer and host, `agora/frame/v1`.
//!
//! The buyer sends [`Open`], [`Body::Credit`] and [`Body::Voucher`]; the host sends [`Chunk`], [`NeedVoucher`],
//! [`Body::Final`] or [`Body::Failed`]. The host writes accepted and spent amounts down before it sends the chunk that
//! they pay for, so a crash leaves the buyer at most one window behind.

use agora_inference_api::Likelihoods;
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::eip712::Network;
use agora_types::{Address, Amount, CallId, Canonical, ChannelId, Code, Hash, QuoteId, Timestamp, cbor};
use minicbor::{Decode, Encode};

use super::{BusError, FRAME_BYTES_MAX};

/// The one version of frames.
pub const FRAME_VERSION: u16 = 1;
/// Most bytes of a request, and of one chunk.
pub const DATA_BYTES_MAX: usize = 32 * 1024;
/// Most bytes of an error's detail.
pub const DETAIL_BYTES_MAX: usize = 512;
/// Most bytes of the receipt in [`Body::Final`].
pub const RECEIPT_BYTES_MAX: usize = 8 * 1024;

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Frame {
    /// [`FRAME_VERSION`].
    #[n(0)]
    pub version: u16,
    /// The stream is its call; the call id is also the key that makes a repeated open harmless.
    #[n(1)]
    pub stream: CallId,
    /// What it says.
    #[n(2)]
    pub body: Body,
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Buyer: begin.
    #[n(0)]
    Open(#[n(0)] Box<Open>),
    /// Host: a piece of the answer.
    #[n(1)]
    Chunk(#[n(0)] Chunk),
    /// Buyer: chunks below this number may be sent.
    #[n(2)]
    Credit(#[n(0)] u64),
    /// Host: the voucher is nearly used up.
    #[n(3)]
    NeedVoucher(#[n(0)] NeedVoucher),
    /// Buyer: a higher voucher. An equal one is fine, a lower one refused.
    #[n(4)]
    Voucher(#[n(0)] Voucher),
    /// Host: the end, with the signed receipt.
    #[n(5)]
    Final(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Either side: the stream is over without a receipt.
    #[n(6)]
    Failed(#[n(0)] Failed),
}

/// Begins a stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Open {
    /// The channel that pays.
    #[n(0)]
    pub channel: ChannelConfig,
    /// A signed `Deposit`, when the channel is new or needs a top-up.
    #[n(1)]
    pub deposit: Option<Entry>,
    /// Covers the first window.
    #[n(2)]
    pub voucher: Voucher,
    /// The quote that is accepted.
    #[n(3)]
    pub quote: QuoteId,
    /// The salted hash of the request that the quote was made for.
    #[n(4)]
    pub request_hash: Hash,
    /// The salt of that hash.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The request, at most [`DATA_BYTES_MAX`].
    #[cbor(n(6), with = "minicbor::bytes")]
    pub request: Vec<u8>,
    /// Chunks that may be sent before the first credit.
    #[n(7)]
    pub credit: u64,
    /// The single payment that pays instead of a channel; `channel` and `voucher` only name it then.
    #[n(8)]
    pub single: Option<Single>,
}

impl Open {
    /// An opening that a single payment pays: it is named as a channel of its own.
    pub fn with_single(self, network: &Network, host: Address, single: Single) -> Self {
        let (channel, voucher) = (single.as_channel(network, host), single.as_voucher(network, host));
        Self { channel, voucher, deposit: None, single: Some(single), ..self }
    }

    /// Succeeds when the payer signed what pays this call: voucher or single payment.
    ///
    /// # Errors
    /// `channel.channel_id_mismatch`, `channel.voucher_signature`.
    pub fn check_consent(&self, network: &Network) -> Result<(), Code> {
        if self.voucher.channel_id != self.channel.id(network) {
            return Err(Code::ChannelIdMismatch);
        }
        let signed = match &self.single {
            None => self.voucher.verify(network, &self.channel.payer_authorizer).is_ok(),
            Some(single) => {
                let host = self.channel.receiver_authorizer;
                self.channel == single.as_channel(network, host)
                    && self.voucher == single.as_voucher(network, host)
                    && single.verify(network).is_ok()
            }
        };
        if signed { Ok(()) } else { Err(Code::VoucherSignature) }
    }
}

/// A piece of the answer. Token counts and `spent` are those since the stream began.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Chunk {
    /// From 0, without holes.
    #[n(0)]
    pub seq: u64,
    /// Tokens read.
    #[n(1)]
    pub tokens_in: u64,
    /// Tokens written.
    #[n(2)]
    pub tokens_out: u64,
    /// Tokens thought and not shown.
    #[n(3)]
    pub tokens_hidden: u64,
    /// Charged so far on this channel.
    #[n(4)]
    pub spent_cumulative: Amount,
    /// At most [`DATA_BYTES_MAX`].
    #[cbor(n(5), with = "minicbor::bytes")]
    pub data: Vec<u8>,
    /// How likely its token was, where the request asks for it.
    #[n(6)]
    pub likelihoods: Option<Box<Likelihoods>>,
}

/// Asks for a higher voucher.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NeedVoucher {
    /// The channel.
    #[n(0)]
    pub channel_id: ChannelId,
    /// What the next voucher must reach.
    #[n(1)]
    pub required_cumulative: Amount,
    /// What the newest accepted voucher reaches.
    #[n(2)]
    pub accepted_cumulative: Amount,
    /// The channel's deposit.
    #[n(3)]
    pub deposit: Amount,
    /// Charged so far on this channel.
    #[n(4)]
    pub spent_cumulative: Amount,
    /// When the host closes the stream.
    #[n(5)]
    pub deadline: Timestamp,
}

/// Why a stream ends without a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Failed {
    /// The number of a [`Code`]; an unknown one is kept.
    #[n(0)]
    pub code: u16,
    /// At most [`DETAIL_BYTES_MAX`]; from the other side, so never trusted.
    #[n(1)]
    pub detail: String,
}

impl Failed {
    /// With the detail cut to its bound.
    pub fn new(code: Code, detail: &str) -> Self {
        let mut end = detail.len().min(DETAIL_BYTES_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        Self { code: code.number(), detail: detail[..end].to_owned() }
    }

    /// The code, where this release knows it.
    pub fn code(&self) -> Option<Code> {
        Code::from_number(self.code)
    }
}

impl Canonical for Frame {
    const TAG: &'static str = "agora/frame/v1";
    const SIZE_MAX: usize = FRAME_BYTES_MAX;
}

impl Frame {
    /// A frame of this version.
    pub fn new(stream: CallId, body: Body) -> Self {
        Self { version: FRAME_VERSION, stream, body }
    }

    /// The end of a stream by a code.
    pub fn failed(stream: CallId, code: Code, detail: &str) -> Self {
        Self::new(stream, Body::Failed(Failed::new(code, detail)))
    }

    /// Its bytes on the bus, or why it is over a limit.
    pub fn to_wire(&self) -> Result<Vec<u8>, BusError> {
        self.check()?;
        let bytes = self.to_bytes();
        super::check_size(&bytes)?;
        Ok(bytes)
    }

    /// Reads what came over the bus; never panics on hostile bytes.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, BusError> {
        let frame = Self::from_bytes(bytes).map_err(|error| {
            let code = match error {
                cbor::CborError::Malformed { .. } => Code::WireMalformed,
                cbor::CborError::NotCanonical { .. } => Code::WireNotCanonical,
                cbor::CborError::TooLarge { .. } => Code::BusFrameTooLarge,
            };
            BusError::new(code, error.to_string())
        })?;
        frame.check()?;
        Ok(frame)
    }

    fn check(&self) -> Result<(), BusError> {
        if self.version != FRAME_VERSION {
            return Err(BusError::new(Code::WireUnsupported, format!("frame version {}", self.version)));
        }
        let (what, size, limit) = match &self.body {
            Body::Open(open) => ("request", open.request.len(), DATA_BYTES_MAX),
            Body::Chunk(chunk) if chunk.likelihoods.as_ref().is_some_and(|likelihoods| !likelihoods.is_bounded()) => {
                return Err(BusError::new(Code::WireTooLarge, "the likelihoods of a chunk"));
            }
            Body::Chunk(chunk) => ("chunk", chunk.data.len(), DATA_BYTES_MAX),
            Body::Final(receipt) => ("receipt", receipt.len(), RECEIPT_BYTES_MAX),
            Body::Failed(failed) => ("detail", failed.detail.len(), DETAIL_BYTES_MAX),
            Body::Credit(_) | Body::NeedVoucher(_) | Body::Voucher(_) => return Ok(()),
        };
        if size > limit {
            return Err(BusError::new(Code::WireTooLarge, format!("{what} of {size} bytes, limit {limit}")));
        }
        Ok(())
    }
}
