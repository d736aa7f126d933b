//! The way of one paid call through its host, as one function that reads top to bottom; the buyer's half is
//! [`purchase`](crate::purchase).
//!
//! [`serve_call`] is async over ports, clock and randomness included, and knows no actor and no executor, so that a
//! seeded simulation runs this very function. Every step is keyed by payer and call id and may be repeated. What a crash
//! or a dropped future leaves behind:
//!
//! | it ends | on disk | the money | when the same call is opened again |
//! |---|---|---|---|
//! | before the hold | nothing | untouched | as if for the first time, with a fresh quote |
//! | after the deposit, before the hold | the deposit | in the payer's channel, unclaimed | the deposit's repeat changes nothing; goes on |
//! | after the hold | the sale | untouched; the voucher is a promise only, a single payment is held | the sale ends as it stands: nothing was delivered, nothing is charged |
//! | in the stream | the sale and every chunk that was sent | untouched | the chunks are sent again, then charged exactly |
//! | after the receipt | the signed receipt | untouched | the same receipt is settled |
//! | after the settlement | sale and ledger | host and owner paid, contributors in suspense | the first receipt again; nothing moves twice |
//! | after the final receipt | sale and ledger | everyone paid | the first receipt again |
//! | after the settlement of a measured call | the job | contributors in suspense | the same; see [`measure_waiting`] |
//! | and the buyer never returns | the sale | what the buyer acknowledged is charged, see [`settle_abandoned`] | the first receipt |
//! | and the buyer opens another call first | the sale | the same, at once; the other call is told `channel.busy` | the first receipt |
//!
//! A chunk is written down before it is sent, and charged only if it was sent: the seller never serves past the accepted
//! voucher, the buyer never has more than one window authorised and undelivered.

mod bill;
mod desk;
mod line;
mod measure;
mod queue;
mod sale;
mod sampling;
mod seller;
mod stream;

use agora_economy::ports::bus::frame::{Body, Open};
use agora_types::{Address, CallId, Code, QuoteId};

pub(crate) use line::{Heard, Line};
pub use measure::{
    Proven, Published, claim_earnings, earned, evidence, measure_call, measure_waiting, publish_earnings, published,
};
pub use sale::{ChunkRow, Phase, SellerCall, sweep};
pub(crate) use sale::{spent, unfinished, window_end};
use seller::Turn;
pub use seller::{Seller, SellerParts};

use crate::error::CallError;
use sale::Sale;

/// Output tokens that a buyer authorises ahead of delivery.
pub const WINDOW_TOKENS: u64 = 32;
/// A stream without a sign of life from the buyer ends after this.
pub const SILENCE_MS: u32 = 30_000;

/// Serves one paid call from its opening to its final receipt; answers with the provisional receipt's leaf.
///
/// # Errors
/// The first refusal or fault on the way; the buyer was told. What is written down is settled by a repeat or by
/// [`settle_abandoned`].
pub async fn serve_call(seller: &Seller, call: CallId, open: &Open) -> Result<Vec<u8>, CallError> {
    let mut line = seller.line(&open.channel.payer, call).await?;
    let served = serve(seller, &mut line, call, open).await;
    if let Err(error) = &served {
        // The buyer may be gone; then nobody needs to know.
        let failed = agora_economy::ports::bus::frame::Failed::new(error.code, &error.what);
        let _ = line.send(Body::Failed(failed)).await;
    }
    served
}

async fn serve(seller: &Seller, line: &mut Line, call: CallId, open: &Open) -> Result<Vec<u8>, CallError> {
    // Find: one call at a time on a channel; a call that was begun before goes on where it stands.
    let payer = open.channel.payer;
    let turn = seller.enter(open.channel.id(&seller.network()), call)?;
    if let Some(mut sale) = Sale::load(seller, payer, call).await? {
        sale.recognise(seller, open)?;
        stream::send_again(seller, line, &mut sale, open.credit).await?;
        return finish(seller, Some(line), sale, turn).await;
    }
    if let Some(receipt) = bill::first_receipt(seller, payer, call).await? {
        line.send(Body::Final(receipt.clone())).await?;
        return Ok(receipt);
    }
    // What a crash cut off on this channel comes first: settled after this call, its receipt would never fit again.
    if open.quote != QuoteId::ZERO && settle_cut_off(seller, open).await? {
        return Err(CallError::new(Code::ChannelBusy, "a call that was cut off is settled; open this one again"));
    }
    // Quote: the promise that this very request was given, used up here.
    let quote = seller.take_quote(open)?;
    let request = seller.read_request(open, &quote)?;
    // Hold: deposit and first voucher cover the first window; the sale is on disk before the engine works.
    let is_measured = seller.listing(&quote.listing)?.payload().measure.is_some();
    let mut sale = Sale::hold(seller, call, open, quote, &request, is_measured).await?;
    // Run: every token is metered, written down, sent. An early end leaves what was delivered.
    let interrupted = stream::run(seller, line, &mut sale, request, open.credit).await.err();
    if sale.is_empty() {
        sale.abandon(seller).await?;
        return Err(interrupted.unwrap_or_else(|| CallError::new(Code::CallNoAnswer, "the model said nothing")));
    }
    // Receipt and settlement.
    finish(seller, Some(line), sale, turn).await
}

/// From the end of the stream to the end of the call. Also the way of a sale that a crash cut off.
async fn finish(
    seller: &Seller,
    line: Option<&mut Line>,
    mut sale: Sale,
    turn: Turn<'_>,
) -> Result<Vec<u8>, CallError> {
    if sale.is_empty() {
        sale.abandon(seller).await?;
        return Err(CallError::new(Code::CallNoAnswer, "the call was cut off before its first token"));
    }
    // Receipt: signed once and written down, so that a repeat settles the very same.
    // Settle: one commit claims the exact charge and pays host and owner; the contributors' part waits in suspense.
    let receipt = bill::settle(seller, &mut sale).await?;
    // What this call took of the channel is claimed: the next call may begin as soon as the buyer hears of it.
    drop(turn);
    if let Some(line) = line {
        line.send(Body::Final(receipt.clone())).await?;
    }
    // Attribution: declared weights are known, so at once; measured shares when somebody has measured them.
    let open = seller.ledger().open_call(sale.payer, sale.call).await?;
    if open.as_ref().is_some_and(|open| open.method.is_some()) {
        let request = sale.request(seller).await?;
        let job = queue::job(&sale, open.as_ref(), bill::spec(&receipt), request);
        sale.close(seller, job.into_iter().flatten()).await?;
        return Ok(receipt);
    }
    bill::finalize(seller, &sale, open).await?;
    sale.close(seller, []).await?;
    Ok(receipt)
}

/// Settles the sales that a crash cut off on the channel of an opening, as [`settle_abandoned`] does; true if there were
/// any. The caller has the channel's turn, so that none of them runs. Housekeeping or the buyer's return closes them.
async fn settle_cut_off(seller: &Seller, open: &Open) -> Result<bool, CallError> {
    let (config, payer) = (&open.channel, open.channel.payer);
    let id = config.id(&seller.network());
    let mut any = false;
    for (_, call, record) in unfinished(seller, Some(&payer)).await? {
        // One that is on the ledger only waits for its final receipt, which takes nothing from the channel.
        if record.config != *config || seller.ledger().call(payer, call).await?.is_some() {
            continue;
        }
        // Nobody but the payer gives up what was not acknowledged.
        open.check_consent(&seller.network()).map_err(|code| CallError::new(code, id.to_string()))?;
        let Some(mut sale) = Sale::load(seller, payer, call).await? else { continue };
        any = true;
        sale.keep_acknowledged();
        match sale.is_empty() {
            true => sale.abandon(seller).await?,
            false => drop(bill::settle(seller, &mut sale).await?),
        }
    }
    Ok(any)
}

/// Ends a sale whose buyer did not come back after a crash of this host: what the buyer acknowledged is charged, no more.
/// Chunks that were written down and perhaps never arrived are the host's loss.
///
/// # Errors
/// The first fault; call it again.
pub async fn settle_abandoned(seller: &Seller, payer: Address, call: CallId) -> Result<(), CallError> {
    let Some(sale) = Sale::load(seller, payer, call).await? else { return Ok(()) };
    let turn = seller.enter(sale.channel_id(seller), call)?;
    // Before its turn it may have been served to its end: what stands on disk now counts.
    let Some(mut sale) = Sale::load(seller, payer, call).await? else { return Ok(()) };
    sale.keep_acknowledged();
    if sale.is_empty() {
        return sale.abandon(seller).await;
    }
    finish(seller, None, sale, turn).await.map(drop)
}
