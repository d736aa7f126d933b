//! Which offer of a 402 is taken: one for the URL that was asked, within the limits, in the order of the client's schemes.

use agora_types::{Amount, Code};
use agora_x402::buyer::Policy;
use agora_x402::wire::{PaymentRequired, PaymentRequirements, Scheme};

use super::PaidClient;
use super::channel::Held;
use crate::error::CallError;
use crate::fetch::SpendLimits;
use crate::purchase::Payer;

/// The offer, with what pays it.
pub(super) enum Plan {
    /// One payment.
    Single(PaymentRequirements),
    /// Out of a channel, whose turn it is.
    Channel(PaymentRequirements, Box<Held>),
}

impl Plan {
    pub(super) fn offer(&self) -> &PaymentRequirements {
        match self {
            Self::Single(offer) | Self::Channel(offer, _) => offer,
        }
    }
}

impl PaidClient {
    fn policy(&self, limits: &SpendLimits, scheme: &Scheme) -> Policy {
        Policy {
            networks: vec![self.parts.ledger.network()],
            payees: (!limits.payees.is_empty()).then(|| limits.payees.iter().copied().collect()),
            hosts: None,
            per_call_max: limits.max,
            deposit_max: limits.max,
            schemes: vec![scheme.clone()],
        }
    }

    /// One offer in one scheme; `None`: nothing of it is taken.
    pub(super) fn choose<'a>(
        &self,
        payer: &Payer,
        required: &'a PaymentRequired,
        limits: &SpendLimits,
        scheme: &Scheme,
        earlier: Option<&PaymentRequirements>,
    ) -> Option<&'a PaymentRequirements> {
        let asked = limits.target.url();
        if !sells(&asked, &required.resource.url) {
            tracing::debug!("a 402 sells another resource than was asked for");
            return None;
        }
        match self.policy(limits, scheme).choose(&asked, required, earlier) {
            Ok(offer) => Some(offer).filter(|offer| offer.pay_to != payer.account.address() && !offer.amount.is_zero()),
            Err(why) => {
                tracing::debug!(%scheme, %why, "no offer of a 402 is taken");
                None
            }
        }
    }

    /// What is done about a 402; `None`: nothing, it is the answer.
    ///
    /// # Errors
    /// The ledger's faults; `ledger.exceeds_credits` when the account has too little for an offer that fits.
    pub(super) async fn plan(
        &self,
        payer: &Payer,
        required: &PaymentRequired,
        limits: &SpendLimits,
        earlier: Option<&PaymentRequirements>,
    ) -> Result<Option<Plan>, CallError> {
        for scheme in &self.parts.schemes {
            let Some(offer) = self.choose(payer, required, limits, scheme, earlier) else { continue };
            let (plan, needed) = match scheme {
                Scheme::Exact | Scheme::Upto => (Plan::Single(offer.clone()), offer.amount),
                Scheme::BatchSettlement => {
                    let Some(held) = self.held(payer, offer, limits.max).await? else { continue };
                    let deposit = held.deposit(offer);
                    (Plan::Channel(offer.clone(), Box::new(held)), deposit)
                }
                Scheme::Other(_) => continue,
            };
            self.afford(payer, needed).await?;
            return Ok(Some(plan));
        }
        Ok(None)
    }

    async fn afford(&self, payer: &Payer, needed: Amount) -> Result<(), CallError> {
        let available = self.parts.ledger.available(payer.account.address()).await?;
        if needed > available {
            let what = format!("{needed} OPEN are asked for, the account can spend {available}");
            return Err(CallError::new(Code::ExceedsCredits, what));
        }
        Ok(())
    }
}

/// True when the resource is the one that was asked for: the same path, and the same query where one is named (sellers
/// behind a proxy name another scheme than the buyer sees; the host is the policy's to compare).
fn sells(asked: &str, sold: &str) -> bool {
    let parts = |url: &str| -> Option<(String, Option<String>)> {
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let path = if path.is_empty() { "/" } else { path };
        Some((path.to_owned(), query.map(str::to_owned)))
    };
    match (parts(asked), parts(sold)) {
        (Some((asked, query)), Some((sold, named))) => asked == sold && (named.is_none() || named == query),
        (None, Some(_)) | (Some(_) | None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::sells;

    #[test]
    fn a_resource_is_the_one_that_was_asked_for_or_none_is_bought() {
        let asked = "https://shop.example/tea/1?cups=2";
        for sold in ["https://shop.example/tea/1?cups=2", "http://shop.example/tea/1", "https://other.example/tea/1"] {
            assert!(sells(asked, sold), "{sold}");
        }
        for sold in ["https://shop.example/tea/2", "https://shop.example/tea/1?cups=3", "https://shop.example", "tea/1"]
        {
            assert!(!sells(asked, sold), "{sold}");
        }
        assert!(sells("https://shop.example/", "https://shop.example"));
    }
}
