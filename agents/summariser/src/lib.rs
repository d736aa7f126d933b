//! An agent that sells summaries, written by the cheapest model that reads the text.
//!
//! Start at [`summary`]: ask the offers for quotes, cheapest first → check the price against what was paid → open → read
//! → tell. A buyer POSTs plain text, or JSON `{"text": "…", "words": 40}`; its owner sends the same as a `message`. Each
//! summary is one bought answer, whose receipt stands in the summary.

mod order;

use agora_sdk::serve::{Request, Response};
use agora_sdk::{Agent, Amount, Error, Event, Seller, inference, log, market, wallet};
use serde::Serialize;

use order::Order;

/// Offers that are asked for a quote.
const OFFERS_MAX: usize = 4;
/// Tokens of a word, with some room.
const TOKENS_PER_WORD: u64 = 2;

struct Summariser;

impl Agent for Summariser {
    fn handle(event: Event) -> Result<Vec<u8>, Error> {
        log::panics();
        match event.kind.as_str() {
            "message" => {
                let order = Order::read(&event.payload).map_err(|why| Error::new("summariser.bad_order", why))?;
                json(&summary(&order, wallet::budget()?.next_call())?)
            }
            // Nothing to prepare, and no timer is asked for.
            _ => Ok(Vec::new()),
        }
    }
}

impl Seller for Summariser {
    fn serve(request: Request) -> Result<Response, Error> {
        log::panics();
        if request.method != "POST" {
            return Ok(refusal(405, "POST a text, or JSON with a text and a number of words"));
        }
        let order = match Order::read(&request.body) {
            Ok(order) => order,
            Err(why) => return Ok(refusal(400, &why)),
        };
        // Sold at a loss, a summary would be a way to empty the budget.
        let paid: Amount = request.price_paid.parse()?;
        let told = summary(&order, paid.min(wallet::budget()?.next_call()))?;
        Ok(Response::new(200, "application/json", json(&told)?))
    }
}

agora_sdk::export_seller!(Summariser);

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    summary: String,
    /// Whose model wrote it.
    model: String,
    /// What the model's answer cost in atoms, as decimal text.
    charge: String,
    /// The leaf hash of its receipt.
    receipt: String,
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

/// An answer that is not charged, since its status is no success.
fn refusal(status: u16, why: &str) -> Response {
    let body = serde_json::to_vec(&Refusal { error: why }).unwrap_or_default();
    Response::new(status, "application/json", body)
}

fn json(told: &Told) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(told).map_err(|error| Error::new("summariser.json", error.to_string()))
}

fn summary(order: &Order, most: Amount) -> Result<Told, Error> {
    let (name, quote) = quote(order, most)?;
    let (text, ended) = inference::open(quote)?.whole()?;
    let text = text.trim();
    let receipt = match ended {
        inference::Ended { receipt: Some(receipt), interrupted: None } if !text.is_empty() => receipt,
        inference::Ended { interrupted, .. } => {
            let why = interrupted.unwrap_or_else(|| "the model said nothing".to_owned());
            log::warn(&format!("no summary by {name}: {why}"));
            return Err(Error::new("summariser.no_answer", why));
        }
    };
    log::info(&format!("{} bytes summarised by {name} for {} atoms", order.text.len(), receipt.charge));
    Ok(Told { summary: text.to_owned(), model: name, charge: receipt.charge, receipt: receipt.leaf })
}

/// The first quote that the buyer's money covers, from the cheapest offers on.
fn quote(order: &Order, most: Amount) -> Result<(String, market::Quote), Error> {
    let mut offers = market::find("", 64)?;
    offers.sort_by_key(|offer| price(offer).unwrap_or(u128::MAX));
    let mut last = Error::new("summariser.no_model", "no model is offered");
    for offer in offers.into_iter().take(OFFERS_MAX) {
        let question = market::Question::new(&order.text)
            .system(&format!("Summarise the user's text in at most {} words. Write the summary only.", order.words))
            .output_max((order.words * TOKENS_PER_WORD).min(offer.output_max));
        match market::quote(&offer.listing, &question) {
            Ok(quote) => {
                let charge: Amount = quote.terms().charge_max.parse()?;
                if charge <= most {
                    return Ok((offer.name, quote));
                }
                let what = format!("{} may cost {charge} atoms; {most} are there for it", offer.name);
                last = Error::new("summariser.too_dear", what);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Atoms for a token read and a token written.
fn price(offer: &market::Offer) -> Option<u128> {
    let atoms = |text: &str| text.parse::<Amount>().ok().map(|amount| amount.0);
    atoms(&offer.prices.input)?.checked_add(atoms(&offer.prices.output)?)
}
