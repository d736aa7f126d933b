//! The host's desk: quotes, and unspent deposits given back.

use agora_catalog::{Listing, QUOTE_LIFE_MAX_S, Quote, Readiness, TokenCaps};
use agora_economy::ports::bus::ask::{CountAsk, Counted, QuoteAsk, RefundAsk};
use agora_economy::ports::bus::frame::Open;
use agora_inference_api::{Engine, HIDDEN_LEAST, Request};
use agora_receipts::receipt::commit;
use agora_types::batch::Entry;
use agora_types::command::{Command, Refund};
use agora_types::{Amount, Canonical as _, Code, ListingId, QuoteId, Signed};

use super::seller::Seller;
use crate::clock::random;
use crate::error::CallError;

impl Seller {
    /// The size of a request to a listing, for whoever wants to name a price before anybody pays.
    ///
    /// # Errors
    /// As [`Seller::quote`], but for the book of quotes.
    pub async fn count(&self, ask: &CountAsk) -> Result<Counted, CallError> {
        Ok(self.size(&ask.listing, &ask.request).await?.1)
    }

    async fn size(&self, listing: &ListingId, request: &[u8]) -> Result<(Signed<Listing>, Counted), CallError> {
        let signed = self.listing(listing)?;
        let listing = signed.payload();
        let on_ledger = self.ledger().listing(listing.id()).await?;
        let on_ledger = on_ledger.ok_or_else(|| CallError::new(Code::ListingNotFound, listing.id().to_string()))?;
        if on_ledger.record.terms != signed.hash() {
            return Err(CallError::new(Code::ListingTerms, "the ledger has other terms for this listing"));
        }
        let request = read(request)?;
        let engine = self.engine();
        if engine.base().hash != listing.base_hash {
            return Err(CallError::new(Code::ListingTerms, "this host serves another base model"));
        }
        if let Some(adapter) = listing.adapter_hash
            && engine.adapter(&adapter).is_none()
        {
            return Err(CallError::new(Code::EngineUnknownAdapter, adapter.to_string()));
        }
        if let Some(measure) = &listing.measure
            && !self.parts.attributor.as_ref().is_some_and(|attributor| attributor.knows(&measure.spec))
        {
            return Err(CallError::new(Code::ListingTerms, "this host cannot measure what the listing promises"));
        }
        let mut counted = fit(engine, listing, &request)?;
        if request.thinks() && counted.hidden < HIDDEN_LEAST {
            // No thought fits, so the call will run without, and its prompt is another.
            counted = fit(engine, listing, &Request { hidden_max: 0, ..request })?;
        }
        Ok((signed, counted))
    }

    /// Answers a question for a price with a signed quote, bound to payer, request and listing.
    ///
    /// # Errors
    /// `listing.not_found`, `listing.bad_terms` when ledger and listing differ, the engine's refusals, and those of
    /// the book of quotes.
    pub async fn quote(&self, ask: &QuoteAsk) -> Result<Signed<Quote>, CallError> {
        let (signed, Counted { input, output, hidden }) = self.size(&ask.listing, &ask.request).await?;
        let listing = signed.payload();
        let now = self.now();
        // A cold adapter begins to load now: its buyer is likely to come.
        let ready = self.engine().prepare(listing.adapter_hash.as_ref());
        let quote = Quote {
            network: self.network().chain_id,
            id: QuoteId::ordered(now, random(self.parts.random.as_ref())),
            payer: ask.payer,
            request_commit: commit(&ask.salt, &ask.request),
            listing: ask.listing,
            terms: signed.hash(),
            adapter_hash: listing.adapter_hash,
            caps: TokenCaps { input, output, hidden },
            prices: listing.prices,
            host: self.account(),
            host_key: self.parts.receipt_key.public(),
            time: now,
            expires_at: now.plus_secs(QUOTE_LIFE_MAX_S),
            readiness: Some(Readiness { hot: ready.hot, hot_ms: ready.hot_ms, cold_ms: ready.cold_ms }),
        };
        self.quotes().issue(quote.clone(), now).map_err(|code| CallError::new(code, "the quote"))?;
        Ok(Signed::sign(quote, &self.parts.receipt_key))
    }

    /// Uses up the quote that a call was opened with. Without one the buyer only ends a call: whatever opening of it is
    /// still on its way must not begin it, so the quote is taken back. Holds the channel's turn.
    pub(crate) fn take_quote(&self, open: &Open) -> Result<Quote, CallError> {
        let refuse = |code: Code, what: &str| CallError::new(code, what);
        let mut quotes = self.quotes();
        if open.quote == QuoteId::ZERO {
            quotes.void(&open.channel.payer, &open.request_hash);
            return Err(refuse(Code::QuoteUnknown, "the call was never begun, and will not be"));
        }
        let quote = quotes.get(&open.quote).cloned().ok_or_else(|| refuse(Code::QuoteUnknown, "the quote"))?;
        if quote.payer != open.channel.payer || quote.request_commit != open.request_hash {
            return Err(refuse(Code::QuoteMismatch, "payer or request"));
        }
        quotes.consume(&quote, self.now()).map_err(|code| refuse(code, "the quote"))?;
        Ok(quote)
    }

    /// The request of an opened call, which must be the one that was quoted.
    pub(crate) fn read_request(&self, open: &Open, quote: &Quote) -> Result<Request, CallError> {
        if commit(&open.salt, &open.request) != quote.request_commit {
            return Err(CallError::new(Code::QuoteMismatch, "this is not the request that was quoted"));
        }
        let request = read(&open.request)?;
        Ok(Request { output_max: quote.caps.output, hidden_max: quote.caps.hidden, ..request })
    }

    /// Gives everything unclaimed of an idle channel back to its payer. A repeat finds nothing left and says so.
    ///
    /// # Errors
    /// `channel.voucher_signature` unless the payer's authorizer asks; `channel.busy`, and the ledger's refusals.
    pub async fn refund(&self, ask: &RefundAsk) -> Result<Amount, CallError> {
        let network = self.network();
        let id = ask.config.id(&network);
        let refuse = |code: Code| CallError::new(code, id.to_string());
        if ask.config.receiver_authorizer != self.account() {
            return Err(refuse(Code::AuthorizerMismatch));
        }
        if ask.voucher.channel_id != id {
            return Err(refuse(Code::ChannelIdMismatch));
        }
        let signed = ask.voucher.verify(&network, &ask.config.payer_authorizer);
        signed.map_err(|_| refuse(Code::VoucherSignature))?;
        let _turn = self.enter(id, agora_types::CallId::ZERO)?;
        if super::sale::open_on(self, &ask.config.payer, &id).await? {
            return Err(refuse(Code::ChannelBusy));
        }
        let channel = self.ledger().channel(id).await?.ok_or_else(|| refuse(Code::ChannelNotFound))?;
        // An HTTP buyer was told a little more than is claimed: the part of its last request that was not used.
        if ask.voucher.max_claimable < channel.total_claimed {
            return Err(refuse(Code::CumulativeMismatch));
        }
        let amount = channel.unclaimed();
        if amount.is_zero() {
            return Err(refuse(Code::RefundNoBalance));
        }
        let refund = Refund { config: ask.config.clone(), nonce: channel.refund_nonce, amount };
        let entry = Entry::sign(&network, Command::Refund(refund), &self.parts.account);
        self.ledger().commit_one(entry).await?;
        Ok(amount)
    }
}

/// The tokens of a request, and those that the listing and the model's context leave for its answer.
fn fit(engine: &dyn Engine, listing: &Listing, request: &Request) -> Result<Counted, CallError> {
    let input = engine.count(request)?;
    let room = listing.context_max.min(engine.base().context_max).saturating_sub(input);
    let output = request.output_max.min(listing.output_max).min(room);
    if output == 0 {
        return Err(CallError::new(Code::EngineContext, format!("the prompt has {input} tokens")));
    }
    // Thoughts share the listing's bound and the context with the answer, which comes first.
    let thoughts = listing.output_max.min(room).saturating_sub(output);
    let hidden = if request.thinks() { request.hidden_max.min(thoughts) } else { 0 };
    Ok(Counted { input, output, hidden })
}

fn read(bytes: &[u8]) -> Result<Request, CallError> {
    let request = Request::from_bytes(bytes);
    request.map_err(|error| CallError::new(Code::EngineBadRequest, error.to_string()))
}
