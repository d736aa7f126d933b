//! An agent that answers a question by the best fitting model that its budget allows.
//!
//! Start at [`answer`]: find → quote → check the price → open → read → tell. The event `message` carries the question as
//! plain text, or as JSON `{"question": "…", "output_max": 128}`.

mod choice;
mod topic;

use agora_sdk::{Agent, Amount, Error, Event, inference, kv, log, market, wallet};
use serde::{Deserialize, Serialize};

/// Offers that are looked at.
const OFFERS_MAX: u32 = 16;
/// Tokens of the answer, if the question does not say.
const OUTPUT_MAX: u64 = 256;
/// Tokens of one batch.
const BATCH_MAX: u32 = 8;
/// Where the number of answered questions is kept.
const ANSWERED: &str = "answered";

struct Researcher;

impl Agent for Researcher {
    fn handle(event: Event) -> Result<Vec<u8>, Error> {
        log::panics();
        match event.kind.as_str() {
            "message" => {
                let told = answer(&question(&event.payload)?)?;
                serde_json::to_vec(&told).map_err(|error| Error::new("researcher.json", error.to_string()))
            }
            // Nothing to prepare, and no timer is asked for.
            _ => Ok(Vec::new()),
        }
    }
}

agora_sdk::export!(Researcher);

/// What is asked.
#[derive(Debug, Deserialize)]
struct Asked {
    question: String,
    output_max: Option<u64>,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    listing: String,
    name: String,
    text: String,
    input_tokens: u64,
    output_tokens: u64,
    /// Atoms, as decimal text.
    charge: String,
    /// The receipt's leaf hash.
    receipt: Option<String>,
    /// Why the answer is not whole, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    interrupted: Option<String>,
}

fn question(payload: &[u8]) -> Result<Asked, Error> {
    let bad = |why: &str| Error::new("researcher.bad_question", why);
    let text = core::str::from_utf8(payload).map_err(|_| bad("the question is not UTF-8"))?.trim();
    let asked = match text.starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?,
        false => Asked { question: text.to_owned(), output_max: None },
    };
    if asked.question.trim().is_empty() {
        return Err(bad("the question is empty"));
    }
    Ok(asked)
}

fn answer(asked: &Asked) -> Result<Told, Error> {
    let words = topic::words(&asked.question);
    let offers = offers(&words)?;
    let offer = choice::best(&offers, &words)
        .ok_or_else(|| Error::new("researcher.no_offer", format!("no listing fits {:?}", words.join(" "))))?;
    log::info(&format!("chose {} ({}) of {} offers", offer.name, offer.listing, offers.len()));

    let output_max = asked.output_max.unwrap_or(OUTPUT_MAX).min(offer.output_max);
    let quote = market::quote(&offer.listing, &market::Question::new(&asked.question).output_max(output_max))?;
    affordable(quote.terms().charge_max.parse()?, wallet::budget()?.next_call())?;

    let (text, ended) = inference::open(quote)?.batches_of(BATCH_MAX).whole()?;
    if let Some(why) = &ended.interrupted {
        log::warn(&format!("the answer is not whole: {why}"));
    }
    let count = count()?;
    let told = told(offer, text, ended);
    log::info(&format!("question {count} answered by {} for {} atoms", told.name, told.charge));
    Ok(told)
}

/// Offers for all words together; when none fits them all, for each word.
fn offers(words: &[String]) -> Result<Vec<market::Offer>, Error> {
    let together = market::find(&words.join(" "), OFFERS_MAX)?;
    if !together.is_empty() {
        return Ok(together);
    }
    let mut found: Vec<market::Offer> = Vec::new();
    for word in words {
        for offer in market::find(word, OFFERS_MAX)? {
            if !found.iter().any(|known| known.listing == offer.listing) {
                found.push(offer);
            }
        }
    }
    Ok(found)
}

/// The host refuses what is over the budget too; asked here, the agent can say why without opening anything.
fn affordable(charge_max: Amount, allowed: Amount) -> Result<(), Error> {
    if charge_max <= allowed {
        return Ok(());
    }
    let what = format!("the answer may cost {charge_max} atoms; the budget allows {allowed} for the next call");
    log::warn(&what);
    Err(Error::new("researcher.too_expensive", what))
}

fn count() -> Result<u64, Error> {
    let kept = kv::get(ANSWERED)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let count = kept.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0).saturating_add(1);
    kv::set(ANSWERED, count.to_string().as_bytes())?;
    Ok(count)
}

fn told(offer: &market::Offer, text: String, ended: inference::Ended) -> Told {
    let receipt = ended.receipt.as_ref();
    Told {
        listing: offer.listing.clone(),
        name: offer.name.clone(),
        text,
        input_tokens: receipt.map_or(0, |receipt| receipt.input_tokens),
        output_tokens: receipt.map_or(0, |receipt| receipt.output_tokens),
        charge: receipt.map_or_else(|| "0".to_owned(), |receipt| receipt.charge.clone()),
        receipt: receipt.map(|receipt| receipt.leaf.clone()),
        interrupted: ended.interrupted,
    }
}
