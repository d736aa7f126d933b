//! The facilitator: verification reserves on the ledger, settlement posts, and both may be repeated for ever.
//!
//! A single payment is held by `Hold` when it is verified, so one of many equal requests is good and the payer cannot
//! spend the money in between. A deposit enters its channel when it is verified: it stays the payer's until it is claimed.
//! Success is never said before the commit. Which payments moved is the ledger's to remember; there is no other book.

mod settle;

use std::collections::BTreeMap;
use std::sync::Arc;

use agora_economy::PendingState;
use agora_economy::ports::ledger::{Ledger, Payment as OnLedger};
use agora_economy::ports::pay::{Caller, DiscoveryQuery, Facilitator, PaymentStatus, Pending, Trouble};
use agora_types::authorization::permit2_key;
use agora_types::key::WalletKey;
use agora_types::{Address, ChannelId, Code, Hash, Timestamp};
use agora_x402::check::{ChannelView, Payment, Purpose, Terms, payment};
use agora_x402::extensions::identifier;
use agora_x402::scheme::exact::ExactPayload;
use agora_x402::scheme::upto::UptoPayload;
use agora_x402::wire::{
    DiscoveryItem, DiscoveryPage, Kind, NetworkId, Object, Pagination, Scheme, SettleRequest, SettleResponse,
    Supported, UptoExtra, VerifyRequest, VerifyResponse, Version,
};
use agora_x402::{Reason, Refusal};

use super::single::{Singles, Stop, can_pay};
use super::{Sellers, view};
use crate::clock::{Clock, Random};

/// What a facilitator is made of.
#[derive(Clone)]
pub struct FacilitatorParts {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Holds and posts payments; the operator's, since `exact` payments name nobody.
    pub account: Arc<WalletKey>,
    /// Who may settle less than was signed, claim and refund.
    pub sellers: Sellers,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub random: Arc<dyn Random>,
    /// What is for sale here.
    pub catalogue: Arc<dyn Catalogue>,
}

/// Resources for `GET /discovery/resources`, out of what sellers signed themselves.
pub trait Catalogue: Send + Sync {
    /// All of them, at most a few thousand.
    fn resources(&self) -> Pending<'_, Vec<DiscoveryItem>>;
}

/// A facilitator on the ledger.
pub struct LedgerFacilitator {
    parts: FacilitatorParts,
    singles: Singles,
    /// Claims and settlements one after the other, so that what a settlement moved is known.
    claims: futures::lock::Mutex<()>,
}

impl LedgerFacilitator {
    /// Over its parts.
    pub fn new(parts: FacilitatorParts) -> Self {
        let FacilitatorParts { ledger, account, clock, random, .. } = parts.clone();
        Self { parts, singles: Singles::new(ledger, account, clock, random), claims: futures::lock::Mutex::new(()) }
    }

    /// What payments are checked against.
    pub fn terms(&self) -> Terms {
        Terms {
            network: self.parts.ledger.network(),
            facilitator: self.parts.account.address(),
            deposit_min: self.parts.ledger.parameters().deposit_min,
        }
    }

    async fn view(&self, id: ChannelId) -> Result<Option<ChannelView>, Stop> {
        let channel = self.parts.ledger.channel(id).await?;
        Ok(channel.map(|channel| view(&channel)))
    }

    /// The channels of a payment, as the ledger has them.
    async fn views(&self, payment: &Payment) -> Result<BTreeMap<ChannelId, ChannelView>, Stop> {
        let mut views = BTreeMap::new();
        for id in payment.channels(&self.parts.ledger.network()) {
            if let Some(view) = self.view(id).await? {
                views.insert(id, view);
            }
        }
        Ok(views)
    }

    async fn checked(&self, purpose: Purpose, request: &VerifyRequest) -> Result<Payment, Stop> {
        let terms = self.terms();
        let payment = match payment(&terms, purpose, request, self.parts.clock.now()) {
            Err(refusal) if purpose == Purpose::Settle && refusal.reason == Reason::AuthorizationValidBefore => {
                self.late(&terms, request, refusal)?
            }
            other => other?,
        };
        let views = self.views(&payment).await?;
        if let Payment::Deposit(one) = &payment
            && !views.contains_key(&one.voucher.channel_id)
        {
            can_pay(self.parts.ledger.as_ref(), one.deposit.config.payer, one.deposit.amount).await?;
        }
        match payment.against(&terms.network, |id| views.get(id).copied()) {
            Ok(()) => Ok(payment),
            // A repeat of what was settled finds it done: the ledger answers it.
            Err(refusal) if purpose == Purpose::Settle && self.is_repeat(&payment, refusal.reason).await? => {
                Ok(payment)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// A single payment that is settled after its window: judged as of its last second, because it may be held or
    /// posted since then. If it is neither, the ledger refuses it.
    fn late(&self, terms: &Terms, request: &SettleRequest, refusal: Refusal) -> Result<Payment, Refusal> {
        let payload = &request.payment_payload.payload;
        let authorization = match &request.payment_requirements.scheme {
            Scheme::Exact => ExactPayload::read(payload)?.words()?.0,
            Scheme::Upto => UptoPayload::read(payload)?.words(&terms.network)?.0,
            // A deposit's nonce is forgotten with its window, so nobody can tell its repeat from a late one.
            Scheme::BatchSettlement | Scheme::Other(_) => return Err(refusal),
        };
        let last = authorization.window().1.checked_sub(1).and_then(Timestamp::from_secs).ok_or(refusal)?;
        payment(terms, Purpose::Settle, request, last)
    }

    async fn verified(&self, request: &VerifyRequest) -> Result<VerifyResponse, Stop> {
        let payment = self.checked(Purpose::Verify, request).await?;
        let mut extra = Object::new();
        match &payment {
            Payment::Exact(single) | Payment::Upto(single) => {
                self.singles.hold(single, request.payment_requirements.max_timeout_seconds).await?;
            }
            Payment::Deposit(one) => {
                self.commit_channel(&payment).await?;
                self.covered(one).await?;
            }
            Payment::Voucher(_) | Payment::Refund(_) | Payment::Claim(_) | Payment::Settle(_) => {}
        }
        let network = self.parts.ledger.network();
        if let [id] = payment.channels(&network).as_slice()
            && let Some(view) = self.view(*id).await?
        {
            extra = view.state(*id).to_object();
        }
        Ok(VerifyResponse {
            is_valid: true,
            invalid_reason: None,
            invalid_message: None,
            payer: Some(payment.payer()),
            extra,
            extensions: Object::new(),
        })
    }

    /// The answer without success. `named` is what the payment is called on the ledger, where that is known already.
    fn failed(&self, stop: Stop, request: &SettleRequest, named: String) -> Result<SettleResponse, Trouble> {
        let network = NetworkId::Eip155(self.parts.ledger.network().chain_id);
        let answer = |reason: String, message: String, transaction: String| SettleResponse {
            success: false,
            error_reason: Some(reason),
            error_message: Some(message),
            payer: None,
            transaction,
            network: network.clone(),
            amount: None,
            extra: Object::new(),
            extensions: Object::new(),
        };
        match stop {
            Stop::Refused(refusal) => Ok(answer(refusal.reason.to_string(), refusal.message, String::new())),
            // Nobody knows whether it was committed: the store may have failed after it, or the answer may be late. A
            // stock seller asks once more at this; asking again is safe.
            Stop::Trouble(trouble) if matches!(trouble.code, Code::StoreFailed | Code::LedgerBusy) => {
                let message = trouble.to_string();
                let name = match named.is_empty() {
                    true => identifier::payload_digest(&request.payment_payload).to_string(),
                    false => named,
                };
                Ok(answer(Reason::SettlementPending.to_string(), message, name))
            }
            Stop::Trouble(trouble) => Err(trouble),
        }
    }
}

impl Facilitator for LedgerFacilitator {
    fn verify<'a>(&'a self, _: &'a Caller, request: &'a VerifyRequest) -> Pending<'a, VerifyResponse> {
        Box::pin(async move {
            match self.verified(request).await {
                Ok(response) => Ok(response),
                Err(Stop::Refused(refusal)) => Ok(VerifyResponse {
                    is_valid: false,
                    invalid_reason: Some(refusal.reason.to_string()),
                    invalid_message: Some(refusal.message),
                    payer: None,
                    extra: Object::new(),
                    extensions: Object::new(),
                }),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            }
        })
    }

    fn settle<'a>(&'a self, caller: &'a Caller, request: &'a SettleRequest) -> Pending<'a, SettleResponse> {
        Box::pin(async move {
            let payment = match self.checked(Purpose::Settle, request).await {
                Ok(payment) => payment,
                Err(stop) => return self.failed(stop, request, String::new()),
            };
            let settled = match self.may_settle(caller, request, &payment).await {
                Ok(()) => self.settled(&payment).await,
                Err(stop) => Err(stop),
            };
            let settled = match settled {
                Ok(settled) => settled,
                Err(stop) => return self.failed(stop, request, self.transaction(&payment)),
            };
            let mut extra = Object::new();
            // The money has moved: a channel that cannot be read now is no failure of the settlement.
            if let Some(id) = settled.channel
                && let Ok(Some(view)) = self.view(id).await
            {
                extra.insert("channelState".to_owned(), view.state(id).to_object().into());
            }
            Ok(SettleResponse {
                success: true,
                error_reason: None,
                error_message: None,
                payer: Some(payment.payer()),
                transaction: settled.transaction,
                network: NetworkId::Eip155(self.parts.ledger.network().chain_id),
                amount: Some(settled.amount),
                extra,
                extensions: Object::new(),
            })
        })
    }

    fn supported(&self) -> Supported {
        let network = NetworkId::Eip155(self.parts.ledger.network().chain_id);
        let account = self.parts.account.address();
        let upto = UptoExtra { facilitator_address: account }.to_object();
        let mut batch = Object::new();
        batch.insert("receiverAuthorizer".to_owned(), account.to_string().into());
        Supported {
            kinds: vec![
                Kind::new(Scheme::Exact, &network, Object::new()),
                Kind::new(Scheme::Upto, &network, upto),
                Kind::new(Scheme::BatchSettlement, &network, batch),
            ],
            extensions: vec![identifier::NAME.to_owned()],
            signers: BTreeMap::from([("eip155:*".to_owned(), vec![account.to_string()])]),
        }
    }

    fn payment(&self, payer: Address, nonce: Hash, permit2: bool) -> Pending<'_, PaymentStatus> {
        Box::pin(async move {
            let key = if permit2 { permit2_key(&nonce) } else { nonce };
            let found = self.parts.ledger.payment(payer, key).await.map_err(crate::CallError::from)?;
            Ok(match found {
                None => PaymentStatus::Unknown,
                Some(OnLedger::Posted(record)) => PaymentStatus::Settled {
                    amount: record.amount,
                    payee: record.payee,
                    transaction: record.digest.to_string(),
                },
                Some(OnLedger::Held(held)) => match held.state {
                    // Open after its end: the next batch releases it.
                    PendingState::Open if held.expires_at <= self.parts.clock.now() => PaymentStatus::Released,
                    // Posted between the two looks: the next question finds its record.
                    PendingState::Open | PendingState::Posted => {
                        PaymentStatus::Held { max: held.max, until_s: held.expires_at.as_secs() }
                    }
                    PendingState::Voided | PendingState::Expired => PaymentStatus::Released,
                },
            })
        })
    }

    fn resources<'a>(&'a self, query: &'a DiscoveryQuery) -> Pending<'a, DiscoveryPage> {
        Box::pin(async move {
            let fits = |item: &DiscoveryItem| {
                let offers = || item.accepts.iter().filter_map(|accept| accept.known());
                query.kind.as_ref().is_none_or(|kind| *kind == item.kind)
                    && query.pay_to.is_none_or(|pay_to| offers().any(|offer| offer.pay_to == pay_to))
                    && query.scheme.as_ref().is_none_or(|scheme| offers().any(|offer| offer.scheme.name() == scheme))
                    && query.network.as_ref().is_none_or(|network| offers().any(|offer| offer.network == *network))
            };
            let all: Vec<DiscoveryItem> = self.parts.catalogue.resources().await?.into_iter().filter(fits).collect();
            let pagination = Pagination::clamped(query.limit, Some(u64::from(query.offset)), all.len() as u64);
            let (offset, limit) = (query.offset as usize, pagination.limit as usize);
            let items = all.into_iter().skip(offset).take(limit).collect();
            Ok(DiscoveryPage { x402_version: Version, items, pagination })
        })
    }
}
