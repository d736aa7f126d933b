//! What an agent buys during an event: quotes that it holds, streams that it reads.

use agora_catalog::{Listing, Quote};
use agora_economy::ports::state::Write;
use agora_inference_api::{Message, Request, Role, Sampling};
use agora_receipts::Receipt;
use agora_sandbox_api::{
    AgentError, Ask, Batch, Ended, Offer, QuoteHandle, QuoteTerms, ReceiptView, StreamHandle, Turn, WalletGrant,
};
use agora_types::merkle::leaf_hash;
use agora_types::{Amount, CallId, Canonical as _, Code, Hash, ListingId, Signed};
use serde::{Deserialize, Serialize};

use super::desk::{Desk, State};
use super::memo::{Bytes, Kept};
use super::record::{AgentRecord, MemoKind, Payee};
use super::step::Step;
use crate::error::CallError;
use crate::purchase::{Arrived, Purchase, Quoted};

/// Quotes and streams of one event.
const QUOTES_MAX: usize = 256;
const STREAMS_MAX: usize = 64;
/// Listings that an agent pays in its life.
const PAYEES_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Shop {
    quotes: Vec<Option<Promised>>,
    streams: Vec<Stream>,
}

/// A quote as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promised {
    pub(crate) name: String,
    owner: agora_types::Address,
    quote: Bytes,
    salt: Bytes,
    request: Bytes,
}

/// A stream as it is kept: the call, and everything once it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Bought {
    call: CallId,
    whole: Option<Whole>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    text: String,
    tokens: u64,
    ended: Ended,
}

enum Stream {
    /// It arrives; `memo` and `args` are those of its `open`.
    Live { purchase: Box<Purchase>, memo: u32, args: Hash },
    /// It had ended before the crash.
    Kept(Box<Whole>),
    /// Its end was told.
    Over,
}

impl Promised {
    fn new(listing: &Listing, quoted: &Quoted) -> Self {
        Self {
            name: listing.name.clone(),
            owner: listing.owner,
            quote: Bytes::new(&quoted.quote.to_bytes()),
            salt: Bytes::new(&quoted.salt),
            request: Bytes::new(&quoted.request),
        }
    }

    fn quoted(&self) -> Result<Quoted, AgentError> {
        let damaged = || AgentError::new(Code::StoreDamaged, "a kept quote");
        let quote = Quote::from_bytes(&self.quote.read()?).map_err(|_| damaged())?;
        let salt = self.salt.read()?.try_into().map_err(|_| damaged())?;
        Ok(Quoted { quote, salt, request: self.request.read()? })
    }

    pub(crate) fn terms(&self, handle: QuoteHandle) -> Result<QuoteTerms, AgentError> {
        let quote = self.quoted()?.quote;
        let charge_max = quote.charge_max().ok_or_else(|| AgentError::new(Code::QuoteInvalid, "the price"))?;
        let (input_tokens, output_max) = (quote.caps.input, quote.caps.output);
        Ok(QuoteTerms {
            handle,
            input_tokens,
            output_max,
            prices: quote.prices,
            charge_max,
            expires_at: quote.expires_at,
        })
    }
}

impl Shop {
    pub(crate) fn next_quote(&self) -> Result<QuoteHandle, AgentError> {
        match u32::try_from(self.quotes.len()) {
            Ok(number) if self.quotes.len() < QUOTES_MAX => Ok(QuoteHandle(number)),
            _ => Err(AgentError::new(Code::QuoteTooMany, format!("{QUOTES_MAX} quotes in one event"))),
        }
    }

    pub(crate) fn keep_quote(&mut self, promised: Promised) {
        self.quotes.push(Some(promised));
    }

    fn take_quote(&mut self, handle: QuoteHandle) -> Result<Promised, AgentError> {
        let slot = self.quotes.get_mut(handle.0 as usize).and_then(Option::take);
        slot.ok_or_else(|| AgentError::new(Code::AgentBadHandle, format!("quote {}", handle.0)))
    }

    fn keep_stream(&mut self, stream: Stream) -> StreamHandle {
        self.streams.push(stream);
        StreamHandle(u32::try_from(self.streams.len() - 1).expect("streams are bounded"))
    }
}

/// A listing as the guest sees it.
pub(crate) fn offer(listing: &Listing) -> Offer {
    Offer {
        listing: listing.id(),
        name: listing.name.clone(),
        title: listing.title.clone(),
        description: listing.description.clone(),
        owner: listing.owner,
        prices: listing.prices,
        context_max: listing.context_max,
        output_max: listing.output_max,
    }
}

fn request(ask: &Ask) -> Request {
    let role = |turn: &Turn| match turn {
        Turn::System => Role::System,
        Turn::User => Role::User,
        Turn::Assistant => Role::Assistant,
    };
    Request {
        messages: ask.messages.iter().map(|(turn, text)| Message { role: role(turn), text: text.clone() }).collect(),
        sampling: Sampling {
            temperature_milli: ask.temperature_milli,
            top_k: ask.top_k,
            top_p_milli: ask.top_p_milli,
            seed: ask.seed,
            ..Sampling::default()
        },
        output_max: ask.output_max,
        stops: ask.stops.clone(),
        schema: None,
        logprobs: None,
        wait_max_ms: None,
        hidden_max: 0,
    }
}

impl Desk {
    pub(crate) fn wallet(&self) -> Result<&WalletGrant, AgentError> {
        self.manifest.grants.wallet.as_ref().ok_or_else(|| AgentError::new(Code::AgentDenied, "wallet"))
    }

    pub(crate) async fn ask_quote(&self, id: &ListingId, ask: &Ask) -> Result<Promised, AgentError> {
        let buyer = &self.book.ports.buyer;
        let listing = buyer.directory.get(*id).await?;
        let listing = listing.ok_or_else(|| AgentError::new(Code::ListingNotFound, id.to_string()))?;
        let quoted = buyer.quote(&self.payer, &listing, &request(ask)).await?;
        Ok(Promised::new(listing.payload(), &quoted))
    }

    /// Grants, budget and the limit of one call.
    async fn may_spend(&self, promised: &Promised, quote: &Quote) -> Result<(), AgentError> {
        let grant = self.wallet()?;
        let named = grant.listings.is_empty() && grant.owners.is_empty();
        if !named && !grant.listings.contains(&quote.listing) && !grant.owners.contains(&promised.owner) {
            return Err(AgentError::new(Code::AgentDenied, format!("paying listing {}", quote.listing)));
        }
        let charge = quote.charge_max().ok_or_else(|| AgentError::new(Code::QuoteInvalid, "the price"))?;
        self.within_wallet(charge).await?;
        let payees = self.book.record().await.payees;
        let payee = Payee { listing: quote.listing, host: quote.host };
        if payees.len() >= PAYEES_MAX && !payees.contains(&payee) {
            return Err(AgentError::new(Code::AgentTooLarge, format!("an agent pays at most {PAYEES_MAX} listings")));
        }
        Ok(())
    }

    /// The wallet's expiry, its limit of one call, and its budget, for the most that something can cost.
    pub(crate) async fn within_wallet(&self, most: Amount) -> Result<(), AgentError> {
        let grant = self.wallet()?;
        let now = self.book.ports.buyer.clock.now().as_secs();
        if grant.expires_at_s.is_some_and(|end| now >= end) {
            return Err(AgentError::new(Code::AgentDenied, "the wallet grant has expired"));
        }
        let over = |what: String| Err(AgentError::new(Code::AgentOverBudget, what));
        if most > grant.per_call {
            return over(format!("{most} OPEN for one call; {} are granted", grant.per_call));
        }
        let used = self.book.used().await?;
        if used.checked_add(most).is_none_or(|sum| sum > grant.budget) {
            return over(format!("{most} OPEN beside {used} that are used; {} are granted", grant.budget));
        }
        Ok(())
    }

    pub(crate) async fn open_stream(&self, state: &mut State, handle: QuoteHandle) -> Result<StreamHandle, AgentError> {
        if state.shop.streams.len() >= STREAMS_MAX {
            return Err(AgentError::new(Code::AgentTooManyCalls, format!("{STREAMS_MAX} streams in one event")));
        }
        let promised = state.shop.take_quote(handle)?;
        let quoted = promised.quoted()?;
        let args = quoted.quote.request_commit;
        let kept = state.memos.replay::<Kept<Bought>>(MemoKind::Open, &args)?;
        let kept = kept.map(|(memo, answer)| Ok::<_, AgentError>((memo, answer?))).transpose()?;
        let (memo, call, again) = match kept {
            Some((_, Bought { call, whole: Some(whole) })) => {
                state.calls.push(call);
                if let Some(receipt) = &whole.ended.receipt {
                    state.spent = state.spent.checked_add(receipt.charge).unwrap_or(state.spent);
                }
                return Ok(state.shop.keep_stream(Stream::Kept(Box::new(whole))));
            }
            Some((memo, Bought { call, whole: None })) => (memo, call, true),
            None => {
                if let Err(refused) = self.may_spend(&promised, &quoted.quote).await {
                    state.memos.keep(MemoKind::Open, args, &Kept::<Bought>::Err(refused.clone().into()))?;
                    return Err(refused);
                }
                let call = self.book.ports.buyer.call_id();
                let memo = state.memos.keep(MemoKind::Open, args, &Kept::Ok(Bought { call, whole: None }))?;
                // The intent is durable before anything is signed: after a crash this call is opened again, no other.
                self.write_intent(state, Payee { listing: quoted.quote.listing, host: quoted.quote.host }).await?;
                (memo, call, false)
            }
        };
        state.calls.push(call);
        let purchase = Box::new(self.begin(call, quoted, again).await?);
        self.tell(Step::Opened { call, authorised: purchase.authorised() });
        Ok(state.shop.keep_stream(Stream::Live { purchase, memo, args }))
    }

    async fn write_intent(&self, state: &mut State, payee: Payee) -> Result<(), CallError> {
        let writes = state.memos.take_writes();
        let change = move |record: &mut AgentRecord| {
            if !record.payees.contains(&payee) {
                record.payees.push(payee);
            }
        };
        self.book.change(change, writes).await
    }

    /// Opens the call, or opens it `again` when a crash cut it off: the host may have been there too and know no quote of
    /// that time any more.
    async fn begin(&self, call: CallId, quoted: Quoted, again: bool) -> Result<Purchase, CallError> {
        let buyer = &self.book.ports.buyer;
        if let Some(purchase) = Purchase::resume(buyer, self.payer.clone(), call).await? {
            return Ok(purchase);
        }
        let fresh = if !again && quoted.quote.check(buyer.clock.now()).is_ok() {
            quoted
        } else {
            buyer.renew(&self.payer, &quoted).await?
        };
        Purchase::open(buyer, self.payer.clone(), call, &fresh).await
    }

    pub(crate) async fn read_stream(
        &self,
        state: &mut State,
        handle: StreamHandle,
        max: u32,
    ) -> Result<Batch, AgentError> {
        let bad = || AgentError::new(Code::AgentBadHandle, format!("stream {}", handle.0));
        let slot = handle.0 as usize;
        let stream = state.shop.streams.get_mut(slot).ok_or_else(bad)?;
        match std::mem::replace(stream, Stream::Over) {
            Stream::Over => Err(bad()),
            Stream::Kept(whole) => {
                let tokens = u32::try_from(whole.tokens).unwrap_or(u32::MAX);
                Ok(Batch { text: whole.text, tokens, ended: Some(whole.ended) })
            }
            Stream::Live { mut purchase, memo, args } => {
                let mut batch = Batch::default();
                let ended = self.fill(&mut purchase, &mut batch, max).await;
                match ended {
                    Ok(None) => state.shop.streams[slot] = Stream::Live { purchase, memo, args },
                    Ok(Some(receipt)) => {
                        batch.ended = Some(self.settle(state, *purchase, &receipt, (memo, args), None).await?);
                    }
                    Err(error) => batch.ended = Some(Ended { receipt: None, interrupted: Some(error.to_string()) }),
                }
                Ok(batch)
            }
        }
    }

    /// Waits for the first piece, and takes what else has arrived, up to `max` tokens.
    async fn fill(
        &self,
        purchase: &mut Purchase,
        batch: &mut Batch,
        max: u32,
    ) -> Result<Option<Box<Signed<Receipt>>>, CallError> {
        while batch.tokens < max {
            let arrived = match batch.tokens {
                0 => Some(purchase.next().await?),
                _ => purchase.next_within(0).await?,
            };
            match arrived {
                None => break,
                Some(Arrived::Text { text, tokens, .. }) => {
                    self.tell(Step::Text {
                        text: text.clone(),
                        tokens: purchase.usage().output,
                        spent: purchase.spent(),
                        authorised: purchase.authorised(),
                    });
                    batch.text.push_str(&text);
                    batch.tokens = batch.tokens.saturating_add(u32::try_from(tokens).unwrap_or(u32::MAX).max(1));
                }
                Some(Arrived::Receipt(receipt)) => return Ok(Some(receipt)),
            }
        }
        Ok(None)
    }

    /// One durable step: the purchase is over, the budget is charged, the whole answer is kept.
    async fn settle(
        &self,
        state: &mut State,
        purchase: Purchase,
        receipt: &Signed<Receipt>,
        (memo, args): (u32, Hash),
        interrupted: Option<String>,
    ) -> Result<Ended, CallError> {
        let said = receipt.payload();
        let view = ReceiptView {
            leaf: leaf_hash(&receipt.to_bytes()),
            input_tokens: said.usage.input + said.usage.cached,
            output_tokens: said.usage.output,
            charge: said.charge,
        };
        let ended = Ended { receipt: Some(view), interrupted };
        let (call, charge) = (purchase.call(), said.charge);
        let text = String::from_utf8_lossy(purchase.response()).into_owned();
        let whole = Whole { text, tokens: said.usage.output, ended: ended.clone() };
        let bought: Kept<Bought> = Ok(Bought { call, whole: Some(whole) });
        let writes: Vec<Write> = vec![state.memos.row(memo, MemoKind::Open, args, &bought)];
        self.book.pay(purchase, charge, writes).await?;
        state.spent = state.spent.checked_add(charge).unwrap_or(state.spent);
        let index = self.book.ports.buyer.ledger.call(said.payer, call).await.ok().flatten();
        self.tell(Step::Receipted { call, index: index.map(|record| record.index), charge });
        Ok(ended)
    }

    pub(crate) async fn close_stream(&self, state: &mut State, handle: StreamHandle) -> Result<(), AgentError> {
        let slot = handle.0 as usize;
        let bad = || AgentError::new(Code::AgentBadHandle, format!("stream {}", handle.0));
        let stream = state.shop.streams.get_mut(slot).ok_or_else(bad)?;
        let Stream::Live { mut purchase, memo, args } = std::mem::replace(stream, Stream::Over) else { return Ok(()) };
        purchase.stop().await?;
        let receipt = purchase.drain().await?;
        let stopped = Some("the agent closed the stream".to_owned());
        self.settle(state, *purchase, &receipt, (memo, args), stopped).await?;
        Ok(())
    }

    /// Closes every stream that still arrives. One that cannot be settled now stays written down and is settled later.
    pub(crate) async fn close_all(&self, state: &mut State) {
        for number in 0..state.shop.streams.len() {
            let handle = StreamHandle(u32::try_from(number).expect("streams are bounded"));
            if let Err(error) = self.close_stream(state, handle).await {
                tracing::warn!(agent = %self.book.name, %error, "a stream is settled later");
            }
        }
    }
}
