//! The stream itself: each token metered, written down, sent; vouchers and credit heard in between.

use agora_economy::ports::bus::flow::SendWindow;
use agora_economy::ports::bus::frame::{Body, Chunk, NeedVoucher};
use agora_inference_api::{Job, Piece, Request};
use agora_types::{Amount, Code};

use super::line::{Heard, Line};
use super::sale::{ChunkRow, Sale};
use super::seller::Seller;
use super::{SILENCE_MS, WINDOW_TOKENS};
use crate::error::CallError;

/// Pieces that the engine may be ahead of the stream.
const AHEAD_MAX: usize = 8;

/// What the host knows of its buyer during a stream.
struct Flow {
    window: SendWindow,
    /// Chunks of the first grant: a later grant of n acknowledges n less these.
    first_credit: u64,
    /// The channel's balance: no voucher counts beyond it.
    balance: Amount,
    /// The voucher amount that was asked for last.
    asked: Amount,
}

/// Generates and sends until the answer is whole, or the buyer stops or falls silent.
///
/// # Errors
/// Why it ended early; what was sent stands in `sale`.
pub(super) async fn run(
    seller: &Seller,
    line: &mut Line,
    sale: &mut Sale,
    request: Request,
    credit: u64,
) -> Result<(), CallError> {
    let balance = balance(seller, sale).await?;
    let mut flow = Flow { window: SendWindow::new(credit), first_credit: credit, balance, asked: Amount::ZERO };
    let (adapter, payer) = (sale.record.quote.adapter_hash, Some(sale.payer));
    let job = Job { adapter, payer, ..Job::new(request, AHEAD_MAX) };
    let mut tokens = seller.engine().start(job)?;
    while let Some(piece) = tokens.next().await? {
        let (text, usage, likelihoods) = match piece {
            Piece::Token { text, usage, likelihoods } => (text, usage, likelihoods),
            // The end brings no token of its own: text that waited, or nothing to send.
            Piece::End { text, usage, .. } if text.is_empty() && !sale.is_empty() && usage == sale.usage() => break,
            Piece::End { text, usage, .. } => (text, usage, None),
        };
        if !sale.record.quote.caps.hold(&usage) {
            return Err(CallError::new(Code::EngineBadRequest, "the engine went past the quote's caps"));
        }
        // Wait until money and credit for this chunk are there.
        loop {
            while let Heard::Body(body) = line.hear(0).await? {
                hear(seller, sale, &mut flow, body)?;
            }
            let paid = sale.spent_at(&usage) <= sale.record.voucher.max_claimable;
            if paid && flow.window.is_open() {
                break;
            }
            if !paid {
                ask_voucher(seller, line, sale, &mut flow).await?;
            }
            match line.hear(SILENCE_MS).await? {
                Heard::Body(body) => hear(seller, sale, &mut flow, body)?,
                Heard::Silence => return Err(CallError::new(Code::CallSilent, "the buyer")),
                Heard::Gap(_) => {}
            }
        }
        let row = ChunkRow { usage, data: text.into_bytes(), likelihoods };
        send(seller, line, sale, &mut flow, row).await?;
    }
    Ok(())
}

async fn send(
    seller: &Seller,
    line: &mut Line,
    sale: &mut Sale,
    flow: &mut Flow,
    row: ChunkRow,
) -> Result<(), CallError> {
    let usage = row.usage;
    let chunk = chunk(sale, flow.window.take()?, &row);
    // Written down first: from here on the chunk is charged, and sent again if it is lost.
    sale.write_chunk(seller, row).await?;
    line.send(Body::Chunk(chunk)).await?;
    // Renew early, so that the stream need not wait for money.
    let covered = sale.record.voucher.max_claimable;
    if covered < sale.ahead(&usage, WINDOW_TOKENS / 2) && covered < sale.window_end() {
        ask_voucher(seller, line, sale, flow).await?;
    }
    Ok(())
}

fn chunk(sale: &Sale, seq: u64, row: &ChunkRow) -> Chunk {
    Chunk {
        seq,
        tokens_in: row.usage.input + row.usage.cached,
        tokens_out: row.usage.output,
        tokens_hidden: row.usage.hidden,
        spent_cumulative: sale.spent_at(&row.usage),
        data: row.data.clone(),
        likelihoods: row.likelihoods.clone(),
    }
}

async fn balance(seller: &Seller, sale: &Sale) -> Result<Amount, CallError> {
    if let Some(single) = &sale.record.single {
        return Ok(single.authorization.max());
    }
    let channel = seller.ledger().channel(sale.channel_id(seller)).await?;
    Ok(channel.map_or(Amount::ZERO, |channel| channel.balance()))
}

/// Asks once for each height.
async fn ask_voucher(seller: &Seller, line: &mut Line, sale: &Sale, flow: &mut Flow) -> Result<(), CallError> {
    let required = sale.window_end();
    if required <= flow.asked {
        return Ok(());
    }
    flow.asked = required;
    let need = NeedVoucher {
        channel_id: sale.channel_id(seller),
        required_cumulative: required,
        accepted_cumulative: sale.record.voucher.max_claimable,
        deposit: flow.balance,
        spent_cumulative: sale.spent_at(&sale.usage()),
        deadline: seller.now().plus_secs(u64::from(SILENCE_MS) / 1_000),
    };
    Ok(line.send(Body::NeedVoucher(need)).await?)
}

/// Takes in what the buyer says. Frames that make no sense here are passed over.
fn hear(seller: &Seller, sale: &mut Sale, flow: &mut Flow, body: Body) -> Result<(), CallError> {
    match body {
        Body::Credit(through) => {
            flow.window.grant(through);
            sale.acknowledge(through.saturating_sub(flow.first_credit));
            Ok(())
        }
        Body::Voucher(voucher) => sale.accept(seller, voucher, flow.balance),
        Body::Failed(failed) => Err(CallError::new(
            failed.code().unwrap_or(Code::CallSilent),
            format!("the buyer stopped: {}", failed.detail),
        )),
        Body::Open(_) | Body::Chunk(_) | Body::NeedVoucher(_) | Body::Final(_) => Ok(()),
    }
}

/// Sends every chunk of a sale again, as far as the buyer grants credit. One that falls silent is left alone: the sale
/// stays as it is.
///
/// # Errors
/// The buyer's silence, and faults.
pub(super) async fn send_again(
    seller: &Seller,
    line: &mut Line,
    sale: &mut Sale,
    credit: u64,
) -> Result<(), CallError> {
    let mut flow =
        Flow { window: SendWindow::new(credit), first_credit: credit, balance: Amount::ZERO, asked: Amount::ZERO };
    for number in 0..sale.rows.len() {
        while !flow.window.is_open() {
            match line.hear(SILENCE_MS).await? {
                Heard::Body(Body::Voucher(_)) => {}
                // A buyer that stops here comes back: the sale stays, and everything is sent to its next life.
                Heard::Body(body) => hear(seller, sale, &mut flow, body)?,
                Heard::Silence => return Err(CallError::new(Code::CallSilent, "the buyer")),
                Heard::Gap(_) => {}
            }
        }
        let chunk = chunk(sale, flow.window.take()?, &sale.rows[number]);
        line.send(Body::Chunk(chunk)).await?;
    }
    Ok(())
}
