//! Finding offers and asking for quotes.

use agora_sandbox_api::{AgentError, Ask, Offer, Turn};
use agora_types::{Code, ListingId};
use wasmtime::component::Resource;

use super::{atoms, prices};
use crate::bindings::agora::agent::market;
use crate::failure::{Refusal, bounded, within};
use crate::guest::{Guest, HeldQuote};
use crate::limits;

/// Bytes of a listing's id: 0x and 64 digits, with some room for those who write it otherwise.
const LISTING_MAX: usize = 80;

impl market::Host for Guest {
    async fn find(&mut self, query: String, limit: u32) -> Result<Vec<market::Offer>, Refusal> {
        self.begin_call()?;
        within("a query, bytes", query.len(), limits::QUERY_MAX)?;
        let limit = limit.min(limits::OFFERS_MAX);
        let mut offers = self.host.find(&query, limit).await?;
        offers.truncate(limit as usize);
        Ok(offers.iter().map(offer).collect())
    }

    async fn ask_quote(&mut self, listing: String, ask: market::Ask) -> Result<Resource<HeldQuote>, Refusal> {
        self.begin_call()?;
        within("a listing's id, bytes", listing.len(), LISTING_MAX)?;
        let ask = checked(ask)?;
        within("quotes held at once", self.quotes + 1, limits::QUOTES_MAX)?;
        let listing: ListingId = listing.parse().map_err(|error| {
            AgentError::new(Code::ListingNotFound, bounded(&format!("{listing:?} is no listing's id: {error}")))
        })?;
        let terms = self.host.quote(&listing, &ask).await?;
        let quote = self.table.push(HeldQuote { terms }).map_err(wasmtime::Error::from)?;
        self.quotes += 1;
        Ok(quote)
    }
}

impl market::HostQuote for Guest {
    async fn terms(&mut self, quote: Resource<HeldQuote>) -> wasmtime::Result<market::Terms> {
        self.begin_call()?;
        let terms = &self.table.get(&quote)?.terms;
        Ok(market::Terms {
            input_tokens: terms.input_tokens,
            output_max: terms.output_max,
            prices: prices(&terms.prices),
            charge_max: atoms(terms.charge_max),
            expires_at_ms: terms.expires_at.as_millis(),
        })
    }

    /// The quote runs out by itself.
    async fn drop(&mut self, quote: Resource<HeldQuote>) -> wasmtime::Result<()> {
        self.table.delete(quote)?;
        self.quotes -= 1;
        Ok(())
    }
}

/// Bounds what a question brings, and translates it.
fn checked(ask: market::Ask) -> Result<Ask, AgentError> {
    within("messages", ask.messages.len(), limits::MESSAGE_COUNT_MAX)?;
    let size = ask.messages.iter().map(|message| message.text.len()).sum();
    within("all messages together, bytes", size, limits::MESSAGES_MAX)?;
    within("stops", ask.stops.len(), limits::STOPS_MAX)?;
    let longest = ask.stops.iter().map(String::len).max().unwrap_or(0);
    within("a stop, bytes", longest, limits::STOP_SIZE_MAX)?;
    let turn = |role| match role {
        market::Role::System => Turn::System,
        market::Role::User => Turn::User,
        market::Role::Assistant => Turn::Assistant,
    };
    Ok(Ask {
        messages: ask.messages.into_iter().map(|message| (turn(message.role), message.text)).collect(),
        temperature_milli: ask.sampling.temperature_milli,
        top_k: ask.sampling.top_k,
        top_p_milli: ask.sampling.top_p_milli,
        seed: ask.sampling.seed,
        output_max: ask.output_max,
        stops: ask.stops,
    })
}

fn offer(offer: &Offer) -> market::Offer {
    market::Offer {
        listing: offer.listing.to_string(),
        name: offer.name.clone(),
        title: offer.title.clone(),
        description: offer.description.clone(),
        owner: offer.owner.to_string(),
        prices: prices(&offer.prices),
        context_max: offer.context_max,
        output_max: offer.output_max,
    }
}
