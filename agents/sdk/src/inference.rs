//! Answers of models, token by token, paid as they arrive. Grants: `[grants.inference]`, and `[grants.wallet]` to pay.

use crate::Error;
use crate::bindings::agora::agent::inference;
use crate::market::Quote;

pub use inference::{Batch, Ended, Receipt};

/// Tokens of one batch, if nothing else is said.
const BATCH_MAX: u32 = 16;

/// Opens a paid answer. The quote is used up.
///
/// # Errors
/// `agent.over_budget`, or the host refuses.
pub fn open(quote: Quote) -> Result<Answer, Error> {
    Ok(Answer { stream: Some(inference::open(quote)?), batch_max: BATCH_MAX })
}

/// A paid answer on its way: an iterator over batches, the last of which carries `ended`.
///
/// Dropping it stops the answer: what was delivered is paid, nothing else.
#[derive(Debug)]
pub struct Answer {
    stream: Option<inference::TokenStream>,
    batch_max: u32,
}

impl Answer {
    /// Most tokens of one batch.
    #[must_use]
    pub fn batches_of(mut self, tokens: u32) -> Self {
        self.batch_max = tokens;
        self
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// The first error of a batch; what arrived before it is paid.
    pub fn whole(self) -> Result<(String, Ended), Error> {
        let mut text = String::new();
        for batch in self {
            let batch = batch?;
            text += &batch.text;
            if let Some(ended) = batch.ended {
                return Ok((text, ended));
            }
        }
        Err(Error::new("agent.no_end", "the stream stopped without an end"))
    }
}

impl Iterator for Answer {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.stream.as_ref()?.next_batch(self.batch_max);
        if batch.as_ref().map_or(true, |batch| batch.ended.is_some()) {
            self.stream = None;
        }
        Some(batch)
    }
}
