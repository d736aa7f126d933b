//! Before a purchase: the quote, and the channel that will pay it. After it: the unspent deposit back.

use agora_catalog::{Listing, Quote};
use agora_channels::Channel;
use agora_economy::ports::bus::ask::{self, Ask, CountAsk, Counted, QuoteAsk, RefundAsk, Reply};
use agora_inference_api::Request;
use agora_receipts::receipt::commit;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher, WITHDRAW_DELAY_MIN_S};
use agora_types::command::{Command, Deposit, KeyKind};
use agora_types::{Address, Amount, Canonical as _, Code, Hash, ListingId, Signed};

use super::{Buyer, Payer, channel_salt};
use crate::clock::random;
use crate::error::CallError;

/// How long a host may take to answer a question.
const ASK_MS: u32 = 10_000;
/// A new deposit covers this many calls of the same price, if the account has so much.
const CALLS_AHEAD: u128 = 4;
/// Channels between the same parties: one with a withdrawal under way is passed over.
const CHANNELS_MAX: u8 = 16;
/// How long a deposit may take to enter the ledger.
const DEPOSIT_LIFE_S: u64 = 600;

/// A verified quote, with what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// The promise.
    pub quote: Quote,
    /// The salt of its commitment.
    pub salt: [u8; 16],
    /// The request's bytes.
    pub request: Vec<u8>,
}

impl Buyer {
    /// Asks the listing's hosts, one after the other, for a quote, and checks every word of it.
    ///
    /// # Errors
    /// The last host's refusal; `call.overcharge` for prices above the listing's, `quote.mismatch` for other content,
    /// `call.host_key_unknown` for a key that the ledger does not know.
    pub async fn quote(
        &self,
        payer: &Payer,
        listing: &Signed<Listing>,
        request: &Request,
    ) -> Result<Quoted, CallError> {
        request.check()?;
        let salt = random(self.random.as_ref());
        self.quote_with(payer.account.address(), listing, request.to_bytes(), salt).await
    }

    /// The same for a stranger who pays; the salt is chosen by the caller, so that a repeat has the same commitment.
    ///
    /// # Errors
    /// As [`Buyer::quote`].
    pub async fn quote_for(
        &self,
        payer: Address,
        listing: &Signed<Listing>,
        request: &Request,
        salt: [u8; 16],
    ) -> Result<Quoted, CallError> {
        request.check()?;
        self.quote_with(payer, listing, request.to_bytes(), salt).await
    }

    /// Asks the listing's hosts for the size of a request; the first one that answers is named.
    ///
    /// # Errors
    /// The last host's refusal.
    pub async fn count(&self, listing: &Signed<Listing>, request: &Request) -> Result<(Address, Counted), CallError> {
        request.check()?;
        let mut last = CallError::new(Code::ListingTerms, "the listing names no host");
        for host in &listing.payload().hosts {
            let ask = CountAsk { listing: listing.payload().id(), request: request.to_bytes() };
            match self.ask(&host.account, &Ask::Count(Box::new(ask))).await {
                Ok(Reply::Counted(counted)) => return Ok((host.account, counted)),
                Ok(Reply::Failed(failed)) => last = super::said(&failed),
                Ok(Reply::Refunded(_) | Reply::Quote(_)) => {
                    last = CallError::new(Code::QuoteMismatch, "another answer than a size");
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks a host to give back what is unspent of a channel whose payer signed for that.
    ///
    /// # Errors
    /// The host's refusal, and faults.
    pub async fn ask_refund(&self, config: &ChannelConfig, voucher: &Voucher) -> Result<Amount, CallError> {
        let ask = RefundAsk { config: config.clone(), voucher: voucher.clone() };
        match self.ask(&config.receiver_authorizer, &Ask::Refund(Box::new(ask))).await? {
            Reply::Refunded(amount) => Ok(amount),
            Reply::Failed(failed) => Err(super::said(&failed)),
            Reply::Quote(_) | Reply::Counted(_) => {
                Err(CallError::new(Code::QuoteMismatch, "another answer than a refund"))
            }
        }
    }

    /// A fresh quote for the same request, no dearer than the first.
    ///
    /// # Errors
    /// As [`Buyer::quote`]; `call.overcharge` for a dearer one.
    pub async fn renew(&self, payer: &Payer, old: &Quoted) -> Result<Quoted, CallError> {
        let listing = self.directory.get(old.quote.listing).await?;
        let listing = listing.ok_or_else(|| CallError::new(Code::ListingNotFound, old.quote.listing.to_string()))?;
        let quoted = self.quote_with(payer.account.address(), &listing, old.request.clone(), old.salt).await?;
        if quoted.quote.charge_max() > old.quote.charge_max() {
            return Err(CallError::new(Code::CallOvercharge, "the price has risen since the call was opened"));
        }
        Ok(quoted)
    }

    async fn quote_with(
        &self,
        payer: Address,
        listing: &Signed<Listing>,
        request: Vec<u8>,
        salt: [u8; 16],
    ) -> Result<Quoted, CallError> {
        let mut last = CallError::new(Code::ListingTerms, "the listing names no host");
        for host in &listing.payload().hosts {
            let ask = QuoteAsk { payer, listing: listing.payload().id(), salt, request: request.clone() };
            match self.ask(&host.account, &Ask::Quote(Box::new(ask))).await {
                Ok(Reply::Quote(bytes)) => {
                    let quote = self.check_quote(&bytes, payer, listing, commit(&salt, &request)).await?;
                    return Ok(Quoted { quote, salt, request });
                }
                Ok(Reply::Failed(failed)) => last = super::said(&failed),
                Ok(Reply::Refunded(_) | Reply::Counted(_)) => {
                    last = CallError::new(Code::QuoteMismatch, "another answer than a quote");
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, host: &Address, ask: &Ask) -> Result<Reply, CallError> {
        let subject = ask::host_ask(self.ledger.network().chain_id, host)?;
        let message = self.bus.request(&subject, &ask.to_bytes(), ASK_MS).await?;
        Ok(Reply::from_wire(&message.frame)?)
    }

    async fn check_quote(
        &self,
        bytes: &[u8],
        payer: Address,
        listing: &Signed<Listing>,
        request: Hash,
    ) -> Result<Quote, CallError> {
        let signed = Signed::<Quote>::from_bytes(bytes);
        let signed = signed.map_err(|error| CallError::new(Code::QuoteMismatch, error.to_string()))?;
        let (quote, terms) = (signed.payload(), listing.payload());
        quote.check(self.clock.now()).map_err(|code| CallError::new(code, "the quote"))?;
        let says = *signed.key() == quote.host_key
            && quote.network == self.ledger.network().chain_id
            && quote.payer == payer
            && quote.request_commit == request
            && quote.listing == terms.id()
            && quote.terms == listing.hash()
            && quote.adapter_hash == terms.adapter_hash
            && terms.hosts.iter().any(|host| host.account == quote.host && host.key == quote.host_key);
        if !says {
            return Err(CallError::new(Code::QuoteMismatch, "the quote is not what was asked for"));
        }
        let (asked, listed) = (&quote.prices, &terms.prices);
        let dearer = asked.input > listed.input
            || asked.cached > listed.cached
            || asked.output > listed.output
            || asked.hidden > listed.hidden;
        if dearer {
            return Err(CallError::new(Code::CallOvercharge, "the quote is dearer than the listing"));
        }
        let key = self.ledger.statement_key(quote.host_key).await?;
        let speaks = key.is_some_and(|key| key.owner == quote.host && key.kind == KeyKind::Receipt && !key.revoked);
        if speaks { Ok(quote.clone()) } else { Err(CallError::new(Code::HostKeyUnknown, quote.host_key.to_string())) }
    }

    /// The channel between payer and listing, what was claimed of it, and a deposit if it holds too little.
    pub(super) async fn channel_for(
        &self,
        payer: &Payer,
        quote: &Quote,
    ) -> Result<(ChannelConfig, Amount, Option<Entry>), CallError> {
        let network = self.ledger.network();
        let charge_max = quote.charge_max().ok_or_else(|| CallError::new(Code::QuoteInvalid, "the price"))?;
        for number in 0..CHANNELS_MAX {
            let config = channel_config(payer, quote.listing, quote.host, network.asset, number);
            let channel = self.ledger.channel(config.id(&network)).await?;
            if channel.as_ref().is_some_and(|channel| channel.withdraw_requested_at.is_some()) {
                continue;
            }
            let base = channel.as_ref().map_or(Amount::ZERO, |channel| channel.total_claimed);
            let unclaimed = channel.as_ref().map_or(Amount::ZERO, |channel| channel.unclaimed());
            let missing = charge_max.saturating_sub(unclaimed);
            if missing.is_zero() {
                return Ok((config, base, None));
            }
            let least = missing.max(self.ledger.parameters().deposit_min);
            let available = self.ledger.available(payer.account.address()).await?;
            if available < least {
                let what = format!("{least} OPEN are needed for the deposit, the account has {available}");
                return Err(CallError::new(Code::ExceedsCredits, what));
            }
            let ahead = charge_max.checked_mul(CALLS_AHEAD).unwrap_or(least);
            let amount = ahead.max(least).min(available);
            let deposit = Deposit {
                config: config.clone(),
                amount,
                valid_after: 0,
                valid_before: self.clock.now().as_secs() + DEPOSIT_LIFE_S,
                salt: Hash::new(random(self.random.as_ref())),
            };
            let entry = Entry::sign(&network, Command::Deposit(deposit), &payer.account);
            return Ok((config, base, Some(entry)));
        }
        Err(CallError::new(Code::WithdrawStarted, "every channel to this listing is being withdrawn"))
    }

    /// The channels between a payer and a listing's host, as far as they were ever opened.
    async fn channels(
        &self,
        payer: &Payer,
        listing: ListingId,
        host: Address,
    ) -> Result<Vec<(ChannelConfig, Channel)>, CallError> {
        let network = self.ledger.network();
        let mut found = Vec::new();
        for number in 0..CHANNELS_MAX {
            let config = channel_config(payer, listing, host, network.asset, number);
            let Some(channel) = self.ledger.channel(config.id(&network)).await? else { break };
            found.push((config, channel));
        }
        Ok(found)
    }

    /// What lies unclaimed in the channels between a payer and a listing's host.
    ///
    /// # Errors
    /// The ledger's faults.
    pub async fn unclaimed(&self, payer: &Payer, listing: ListingId, host: Address) -> Result<Amount, CallError> {
        let channels = self.channels(payer, listing, host).await?;
        let sum = Amount::checked_sum(channels.iter().map(|(_, channel)| channel.unclaimed()));
        Ok(sum.expect("channels hold no more than exists"))
    }

    /// Asks the host of a listing for the unspent deposit; answers with what came back.
    ///
    /// # Errors
    /// The host's refusal; `channel.not_found`, `channel.refund_no_balance` when nothing is there.
    pub async fn refund(&self, payer: &Payer, listing: ListingId, host: Address) -> Result<Amount, CallError> {
        let network = self.ledger.network();
        let mut back = Amount::ZERO;
        for (config, channel) in self.channels(payer, listing, host).await? {
            if channel.unclaimed().is_zero() {
                continue;
            }
            let voucher = Voucher::sign(&network, config.id(&network), channel.total_claimed, &payer.session);
            let refunded = self.ask_refund(&config, &voucher).await?;
            back = back.checked_add(refunded).unwrap_or(back);
        }
        Ok(back)
    }
}

/// The numbered channel between a payer and a listing's host.
fn channel_config(payer: &Payer, listing: ListingId, host: Address, asset: Address, number: u8) -> ChannelConfig {
    ChannelConfig {
        payer: payer.account.address(),
        payer_authorizer: payer.session.address(),
        receiver: Address::listing(&listing),
        receiver_authorizer: host,
        token: asset,
        withdraw_delay: WITHDRAW_DELAY_MIN_S,
        salt: channel_salt(number),
    }
}
