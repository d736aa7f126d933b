//! Payers with money, and what they sign.

use std::time::{SystemTime, UNIX_EPOCH};

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Deposit;
use agora_types::eip712::Network;
use agora_types::key::WalletKey;
use agora_types::{Amount, Hash, Timestamp};
use agora_x402::buyer::{BuyerChannel, PaymentContext, pay_exact};
use agora_x402::header;
use agora_x402::scheme::batch::{BatchPayload, DepositPayload, VoucherFields, VoucherPayload};
use agora_x402::seller::exact_offer;
use agora_x402::wire::{
    self, PaymentPayload, PaymentRequired, PaymentRequirements, Scheme, SettleRequest, SettleResponse, Version,
};

use crate::Failure;
use crate::connection::Connection;

/// Seconds for which money that is sent to a payer may be taken.
const TIMEOUT_S: u64 = 300;

/// What a seller asks for.
pub(crate) struct Shop {
    network: Network,
    required: PaymentRequired,
}

impl Shop {
    pub(crate) fn of(required: PaymentRequired) -> Result<Self, Failure> {
        let first = required.accepts.iter().find_map(|accept| accept.known()).ok_or("no offer that is known here")?;
        let chain_id = first.network.chain_id().ok_or("an offer on another kind of network")?;
        Ok(Self { network: Network { chain_id, asset: first.asset }, required })
    }

    fn offer(&self, scheme: &Scheme) -> Result<&PaymentRequirements, Failure> {
        let mut offers = self.required.accepts.iter().filter_map(|accept| accept.known());
        offers.find(|offer| offer.scheme == *scheme).ok_or_else(|| format!("no offer of {scheme:?}").into())
    }

    fn price(&self) -> Result<Amount, Failure> {
        Ok(self.required.accepts.iter().find_map(|accept| accept.known()).ok_or("no offer")?.amount)
    }

    fn payment(&self, offer: &PaymentRequirements, payload: BatchPayload) -> PaymentPayload {
        PaymentPayload {
            x402_version: Version,
            resource: Some(self.required.resource.clone()),
            accepted: offer.clone(),
            payload: payload.to_object(),
            extensions: self.required.extensions.clone(),
        }
    }
}

/// The account that gives payers their money, through a facilitator as anybody may.
pub(crate) struct Purse {
    key: WalletKey,
    facilitator: Connection,
    made: u64,
}

/// A payer with money.
pub(crate) struct Payer(WalletKey);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs()).unwrap_or_default()
}

/// Keys and nonces of money that is worth nothing: no two alike, and no secret.
fn number(of: &WalletKey, what: &str, number: u64) -> Hash {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    Hash::sha256(format!("{} {what} {number} {time} {}", of.address(), std::process::id()))
}

impl Purse {
    pub(crate) fn open(secret: &str, facilitator: &str) -> Result<Self, Failure> {
        let secret: Hash = secret.parse().map_err(|_| "BENCH_PURSE: 0x and 64 hexadecimal digits")?;
        let facilitator = Connection::open(&format!("{facilitator}/settle"))?;
        Ok(Self { key: WalletKey::from_bytes(secret.as_bytes())?, facilitator, made: 0 })
    }

    /// A new payer with the money for so many requests: an `exact` payment to it, settled by the facilitator.
    pub(crate) fn payer(&mut self, shop: &Shop, requests: usize) -> Result<Payer, Failure> {
        self.made += 1;
        let key = WalletKey::from_bytes(number(&self.key, "payer", self.made).as_bytes())?;
        let amount = times(shop.price()?, requests)?;
        let offer = exact_offer(&shop.network, key.address(), amount, TIMEOUT_S);
        let context = PaymentContext { network: &shop.network, required: &shop.required, offer: &offer, now: now() };
        let payment = pay_exact(&context, &self.key, number(&self.key, "fund", self.made));
        let request = SettleRequest { x402_version: Version, payment_payload: payment, payment_requirements: offer };
        let request = self.facilitator.post(&wire::write(&request)?);
        let answer = self.facilitator.exchange(&request)?;
        let settled: SettleResponse = wire::read(answer.body)?;
        if !settled.success {
            return Err(format!("a payer got no money: {settled:?}").into());
        }
        Ok(Payer(key))
    }
}

impl Payer {
    /// Requests that each pay by an `exact` payment of their own.
    pub(crate) fn exact(&self, connection: &Connection, shop: &Shop, count: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let offer = shop.offer(&Scheme::Exact)?;
        let context = PaymentContext { network: &shop.network, required: &shop.required, offer, now: now() };
        let numbers = 0..u64::try_from(count)?;
        let requests = numbers.map(|at| {
            let payment = pay_exact(&context, &self.0, number(&self.0, "nonce", at));
            Ok(connection.request(Some(&header::encode(&payment)?)))
        });
        requests.collect()
    }

    /// Opens a channel with a paid request; then the requests that pay by its further vouchers, in order.
    pub(crate) fn channel(
        &self,
        connection: &mut Connection,
        shop: &Shop,
        count: usize,
    ) -> Result<Vec<Vec<u8>>, Failure> {
        let (offer, network) = (shop.offer(&Scheme::BatchSettlement)?, &shop.network);
        let (payer, salt) = (self.0.address(), number(&self.0, "salt", 0));
        let config = BuyerChannel::config_for(offer, &offer.batch_extra()?, payer, payer, salt);
        let first = self.voucher(network, &config, offer.amount);
        let deposit = Deposit {
            config: config.clone(),
            amount: times(offer.amount, count + 1)?,
            valid_after: 0,
            valid_before: now().as_secs() + TIMEOUT_S,
            salt,
        };
        let deposit = BatchPayload::Deposit(DepositPayload::sign(network, deposit, &first, &self.0));
        let request = connection.request(Some(&header::encode(&shop.payment(offer, deposit))?));
        connection.exchange(&request)?.expect_sold(true)?;
        let mut requests = Vec::with_capacity(count);
        for at in 0..count {
            let voucher = VoucherFields::write(&self.voucher(network, &config, times(offer.amount, at + 2)?));
            let payload = BatchPayload::Voucher(VoucherPayload { channel_config: config.clone(), voucher });
            requests.push(connection.request(Some(&header::encode(&shop.payment(offer, payload))?)));
        }
        Ok(requests)
    }

    fn voucher(&self, network: &Network, config: &ChannelConfig, max_claimable: Amount) -> Voucher {
        Voucher::sign(network, config.id(network), max_claimable, &self.0)
    }
}

fn times(amount: Amount, count: usize) -> Result<Amount, Failure> {
    amount.checked_mul(count as u128).ok_or_else(|| "an amount beyond all money".into())
}
