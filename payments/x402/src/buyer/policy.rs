//! What a buyer's owner allows, and the one offer that is taken under it.

use std::collections::BTreeSet;

use agora_types::channel::{WITHDRAW_DELAY_MAX_S, WITHDRAW_DELAY_MIN_S};
use agora_types::eip712::Network;
use agora_types::{Address, Amount};

use crate::check::{TOKEN_DOMAIN, WINDOW_MAX_S, token_domain};
use crate::wire::{NetworkId, PaymentRequired, PaymentRequirements, Scheme};

/// What a buyer may pay for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Networks, each with the one asset that is spent there.
    pub networks: Vec<Network>,
    /// Who may be paid; `None`: anybody.
    pub payees: Option<BTreeSet<Address>>,
    /// Hosts (with port, lower case) that may be asked; `None`: any.
    pub hosts: Option<BTreeSet<String>>,
    /// Most atoms of one request.
    pub per_call_max: Amount,
    /// Most atoms of one deposit.
    pub deposit_max: Amount,
    /// Schemes, the favourite first.
    pub schemes: Vec<Scheme>,
}

/// Why one offer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// On a chain without EVM, or malformed.
    #[error("not in words that are known here")]
    Foreign,
    /// Not among the policy's.
    #[error("the scheme is not wanted")]
    Scheme,
    /// Not among the policy's.
    #[error("the network is not allowed")]
    Network,
    /// Not the one of its network.
    #[error("the asset is not allowed")]
    Asset,
    /// Not among the policy's.
    #[error("the payee is not allowed")]
    Payee,
    /// Above the most of one request.
    #[error("the amount is over the limit of one call")]
    Amount,
    /// Zero, or longer than an authorization may last.
    #[error("the timeout is not 1 to {WINDOW_MAX_S} seconds")]
    Timeout,
    /// `extra` is incomplete, out of range, or of another token.
    #[error("the extra fields do not fit the scheme")]
    Extra,
    /// More than the seller offered before.
    #[error("the price has risen since the earlier offer")]
    PriceDrift,
    /// Somebody else than the seller named before.
    #[error("the payee has changed since the earlier offer")]
    PayeeChanged,
}

/// Why nothing is paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The URL that was asked is no http(s) URL with a host.
    #[error("the address that was asked is not an http or https URL")]
    Url,
    /// Not among the policy's.
    #[error("the host `{0}` is not allowed")]
    Host(String),
    /// The 402 sells another host's resource: a redirect, or a seller that fetches for others.
    #[error("the offer is for the host `{0}`, which was not asked")]
    OtherHost(String),
    /// No offer fits; the reason of each, in order.
    #[error("no offer fits: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    NothingFits(Vec<Unwanted>),
}

impl Policy {
    /// The offer to take: the first that fits, by the order of the policy's schemes, then by the seller's.
    ///
    /// `asked` is the URL that answered 402. `earlier` is the offer that the buyer saw or took before: neither price
    /// nor payee may turn against it.
    ///
    /// # Errors
    /// [`PolicyError`]; nothing is to be signed then.
    pub fn choose<'a>(
        &self,
        asked: &str,
        required: &'a PaymentRequired,
        earlier: Option<&PaymentRequirements>,
    ) -> Result<&'a PaymentRequirements, PolicyError> {
        let host = authority(asked).ok_or(PolicyError::Url)?;
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.contains(&host)) {
            return Err(PolicyError::Host(host));
        }
        let sold = authority(&required.resource.url).ok_or(PolicyError::Url)?;
        if sold != host {
            return Err(PolicyError::OtherHost(sold));
        }
        let judged: Vec<Result<&PaymentRequirements, Unwanted>> = required
            .accepts
            .iter()
            .map(|accept| {
                let offer = accept.known().ok_or(Unwanted::Foreign)?;
                self.wants(offer, earlier).map(|()| offer)
            })
            .collect();
        let fitting: Vec<&PaymentRequirements> = judged.iter().filter_map(|one| one.ok()).collect();
        let best = self.schemes.iter().find_map(|scheme| fitting.iter().find(|offer| offer.scheme == *scheme).copied());
        best.ok_or_else(|| PolicyError::NothingFits(judged.into_iter().filter_map(Result::err).collect()))
    }

    fn wants(&self, offer: &PaymentRequirements, earlier: Option<&PaymentRequirements>) -> Result<(), Unwanted> {
        if !self.schemes.contains(&offer.scheme) {
            return Err(Unwanted::Scheme);
        }
        let network = self.network(&offer.network).ok_or(Unwanted::Network)?;
        if offer.asset != network.asset {
            return Err(Unwanted::Asset);
        }
        if offer.pay_to == Address::ZERO || self.payees.as_ref().is_some_and(|payees| !payees.contains(&offer.pay_to)) {
            return Err(Unwanted::Payee);
        }
        if offer.amount > self.per_call_max {
            return Err(Unwanted::Amount);
        }
        if !(1..=WINDOW_MAX_S).contains(&offer.max_timeout_seconds) {
            return Err(Unwanted::Timeout);
        }
        extra_fits(offer).ok_or(Unwanted::Extra)?;
        if let Some(earlier) = earlier {
            if offer.pay_to != earlier.pay_to {
                return Err(Unwanted::PayeeChanged);
            }
            if offer.amount > earlier.amount {
                return Err(Unwanted::PriceDrift);
            }
        }
        Ok(())
    }

    /// The network of an offer, with its asset.
    pub fn network(&self, id: &NetworkId) -> Option<&Network> {
        self.networks.iter().find(|network| id.chain_id() == Some(network.chain_id))
    }
}

fn extra_fits(offer: &PaymentRequirements) -> Option<()> {
    offer.payment_flow().ok()?;
    match &offer.scheme {
        Scheme::Exact => {
            let extra = offer.exact_extra().ok()?;
            ((extra.name.as_str(), extra.version.as_str()) == TOKEN_DOMAIN).then_some(())
        }
        // The permit's domain is Permit2's; yet a facilitator refuses an offer that names another token than ours.
        Scheme::Upto if token_domain(&offer.extra).is_err() => None,
        Scheme::Upto => (offer.upto_extra().ok()?.facilitator_address != Address::ZERO).then_some(()),
        Scheme::BatchSettlement => {
            let extra = offer.batch_extra().ok()?;
            let fits = (extra.name.as_str(), extra.version.as_str()) == TOKEN_DOMAIN
                && extra.receiver_authorizer != Address::ZERO
                && (WITHDRAW_DELAY_MIN_S..=WITHDRAW_DELAY_MAX_S).contains(&extra.withdraw_delay)
                && extra.asset_transfer_method.as_ref().is_none_or(|method| method == "eip3009");
            fits.then_some(())
        }
        Scheme::Other(_) => None,
    }
}

/// Host and port of an http(s) URL in lower case; `None` for anything with a user, a space, or no host.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let host = rest.split(['/', '?', '#', '\\']).next()?;
    let plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
    plain.then(|| host.to_ascii_lowercase())
}
