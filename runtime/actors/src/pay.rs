//! Payments over HTTP 402 on the ledger: a facilitator for any seller, the tills of this node's own priced routes, and the
//! client that pays others ([`spend`], with a table of its own).
//!
//! The first two implement the ports of `economy::ports::pay` and know neither sockets nor HTTP. What a crash leaves:
//!
//! | it ends | on disk | the money | the same request again |
//! |---|---|---|---|
//! | after a payment is held | the hold | reserved, the payer's | refused as used until the hold runs out, or served by its till |
//! | after it is posted, before the answer | the payment's permanent record | moved once | success, the same transaction |
//! | after a voucher is accepted, before the work is done | the till's row | untouched; the voucher is a promise only | served |
//! | after the charge is noted, before the answer | the till's row | charged once | the kept answer |

mod facilitator;
mod flights;
mod keys;
mod models;
mod rows;
mod sellers;
mod single;
pub mod spend;
mod till;
mod workers;

use agora_channels::Channel;
use agora_x402::check::ChannelView;

pub use facilitator::{Catalogue, FacilitatorParts, LedgerFacilitator};
pub use keys::{ApiKeyRow, ApiKeys, Contributor, Fee, FeeRow};
pub use models::{CompletedRow, NodeModels};
pub use rows::{ChannelRow, KeptRow, LastRow, NamedRow, PaidRow};
pub use sellers::{SellerRow, Sellers};
pub use till::{KEEP_S, PlainTill, TillParts, TillTerms};
pub use workers::{AgentWorkers, SOLD_KEPT_S, SoldRow, WorkersParts};

/// A channel as x402 speaks of it.
pub(crate) fn view(channel: &Channel) -> ChannelView {
    ChannelView {
        balance: channel.balance(),
        total_claimed: channel.total_claimed,
        refund_nonce: channel.refund_nonce,
        withdraw_requested_at: channel.withdraw_requested_at,
    }
}
