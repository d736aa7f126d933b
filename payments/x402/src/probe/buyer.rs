//! What a buyer reads of a seller that wishes it ill: whatever is said, no more is signed than was allowed.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use agora_types::channel::ChannelConfig;
use agora_types::eip712::Network;
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Hash, Timestamp};

use crate::buyer::{
    Answer, BuyerChannel, ChannelKeys, Fresh, PaymentContext, Policy, PolicyError, Sent, pay_exact, pay_upto,
};
use crate::check::{self, ChannelView, Purpose, Terms};
use crate::header;
use crate::wire::{
    self, Object, PaymentPayload, PaymentRequired, Resource, Scheme, SettleResponse, VerifyRequest, Version,
};

/// A buyer with limits. The key is the well-known one of the tests, so that their seeds can speak in its name.
struct Buyer {
    key: WalletKey,
    policy: Policy,
    network: Network,
    now: Timestamp,
}

const PER_CALL_MAX: Amount = Amount::from_atoms(10_000);
const DEPOSIT_MAX: Amount = Amount::from_atoms(50_000);

static BUYER: LazyLock<Option<Buyer>> = LazyLock::new(|| {
    let secret = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d".parse::<Hash>().ok()?;
    let network = Network { chain_id: 4_020_711, asset: "0x4F50454E00000000000000000000000000000001".parse().ok()? };
    let policy = Policy {
        networks: vec![network],
        payees: None,
        hosts: None,
        per_call_max: PER_CALL_MAX,
        deposit_max: DEPOSIT_MAX,
        schemes: vec![Scheme::BatchSettlement, Scheme::Upto, Scheme::Exact],
    };
    let key = WalletKey::from_bytes(secret.as_bytes()).ok()?;
    Some(Buyer { key, policy, network, now: Timestamp::from_secs(1_800_000_000)? })
});

fn buyer() -> &'static Buyer {
    assert!(BUYER.is_some(), "the probe's buyer has a key and a network");
    BUYER.as_ref().unwrap_or_else(|| unreachable!("asserted above"))
}

/// The URL that was asked, of which a policy allows or refuses the host: nobody else is to be found at its place.
pub fn buyer_host(bytes: &[u8]) -> bool {
    let Ok(url) = std::str::from_utf8(bytes) else { return false };
    let policy = Policy { hosts: Some(BTreeSet::new()), ..buyer().policy.clone() };
    let resource = Resource {
        url: url.to_owned(),
        description: None,
        mime_type: None,
        service_name: None,
        tags: None,
        icon_url: None,
    };
    let required = PaymentRequired {
        x402_version: Version,
        error: None,
        resource,
        accepts: Vec::new(),
        extensions: Object::new(),
    };
    let host = match policy.choose(url, &required, None) {
        Err(PolicyError::Host(host)) => host,
        Err(PolicyError::Url) => return false,
        other => panic!("{url} passed a policy that allows no host: {other:?}"),
    };
    // Whoever else reads the URL finds the host where it stands here: behind the scheme, up to the first of these.
    let ends = ['/', '?', '#', '\\'];
    assert!(!host.is_empty() && !host.contains(ends) && !host.contains('@'), "{host} is no host");
    assert!(!host.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte.is_ascii_uppercase()), "{host} is no host");
    let rest = url.to_ascii_lowercase();
    let rest = rest.strip_prefix("http").map(|rest| rest.strip_prefix('s').unwrap_or(rest));
    let rest = rest.and_then(|rest| rest.strip_prefix("://")?.strip_prefix(&host));
    assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(ends)), "{url} is not of {host}");
    let allowed = Policy { hosts: Some(BTreeSet::from([host])), ..policy };
    assert_eq!(allowed.choose(url, &required, None), Err(PolicyError::NothingFits(Vec::new())));
    true
}

/// A 402 that is to be paid: what is signed stays within the policy, and a facilitator takes it.
pub fn buyer_offer(bytes: &[u8]) -> bool {
    let Ok(required) = wire::read::<PaymentRequired>(bytes) else { return false };
    let Buyer { key, policy, network, now } = buyer();
    let Ok(offer) = policy.choose(&required.resource.url, &required, None) else { return false };
    assert!(offer.amount <= PER_CALL_MAX && offer.asset == network.asset, "an offer outside the policy was taken");
    assert_eq!(offer.network.chain_id(), Some(network.chain_id), "an offer on another network was taken");
    assert_ne!(offer.pay_to, Address::ZERO, "nobody is paid");
    let context = PaymentContext { network, required: &required, offer, now: *now };
    let (payment, facilitator) = match &offer.scheme {
        Scheme::Exact => (pay_exact(&context, key, Hash::ZERO), Address::ZERO),
        Scheme::Upto => {
            let Ok(payment) = pay_upto(&context, key, Hash::ZERO) else { return false };
            (payment, offer.upto_extra().map_or(Address::ZERO, |extra| extra.facilitator_address))
        }
        Scheme::BatchSettlement => {
            let Some(payment) = from_channel(&context, key) else { return false };
            (payment, Address::ZERO)
        }
        Scheme::Other(_) => unreachable!("the policy names no other scheme"),
    };
    if let Ok(text) = header::encode(&payment) {
        assert_eq!(header::decode::<PaymentPayload>([text]).as_ref(), Ok(&payment), "a payment changed on its way");
    }
    let terms = Terms { network: *network, facilitator, deposit_min: Amount::ZERO };
    let request =
        VerifyRequest { x402_version: Version, payment_payload: payment, payment_requirements: offer.clone() };
    if let Err(refusal) = check::payment(&terms, Purpose::Verify, &request, *now) {
        panic!("what the buyer signed is refused: {refusal}");
    }
    true
}

fn from_channel(context: &PaymentContext<'_>, key: &WalletKey) -> Option<PaymentPayload> {
    let extra = context.offer.batch_extra().ok()?;
    let config = BuyerChannel::config_for(context.offer, &extra, key.address(), key.address(), Hash::ZERO);
    let mut channel = BuyerChannel::new(config, &ChannelView::default());
    let keys = ChannelKeys { owner: key, session: key };
    let payment = channel.pay(context, keys, DEPOSIT_MAX, Fresh { salt: Hash::ZERO }).ok()?;
    let deposit = channel.sent.as_ref().map_or(Amount::ZERO, |sent| sent.deposit);
    assert!(deposit <= DEPOSIT_MAX, "more was deposited than is allowed");
    assert!(channel.signed_max <= context.offer.amount, "more was signed than one request costs");
    Some(payment)
}

/// The channel of the tests in the midst of a request.
fn channel(sent: Option<Sent>) -> BuyerChannel {
    let Buyer { key, network, .. } = buyer();
    let config = ChannelConfig {
        payer: key.address(),
        payer_authorizer: key.address(),
        receiver: Address::new([0x22; 20]),
        receiver_authorizer: Address::new([0x33; 20]),
        token: network.asset,
        withdraw_delay: 900,
        salt: Hash::ZERO,
    };
    let atoms = Amount::from_atoms;
    BuyerChannel { config, charged: atoms(100), signed_max: atoms(200), deposited: atoms(1_000), sent, stopped: false }
}

/// An answer to a payment: the own count never leaves what was signed and sent.
pub fn buyer_answer(bytes: &[u8]) -> bool {
    let Ok(response) = wire::read::<SettleResponse>(bytes) else { return false };
    let network = &buyer().network;
    let mut is_believed = false;
    for (deposit, refund) in [(0, false), (500, false), (0, true)] {
        let amount = Amount::from_atoms(if refund { 0 } else { 100 });
        let sent = Sent { amount, deposit: Amount::from_atoms(deposit), refund };
        let before = channel(Some(sent.clone()));
        let mut after = before.clone();
        let answer = after.answered(network, &response);
        assert_eq!(
            (after.signed_max, &after.config),
            (before.signed_max, &before.config),
            "an answer signed something"
        );
        assert!(before.charged <= after.charged && after.charged <= after.signed_max, "the count left its bounds");
        match answer {
            Ok(Answer::Charged(charge)) => {
                assert!(!refund && charge <= sent.amount, "more was charged than was offered");
                assert_eq!(Some(after.charged), before.charged.checked_add(charge));
                assert_eq!(Some(after.deposited), before.deposited.checked_add(sent.deposit));
            }
            Ok(Answer::Refunded(_)) => {
                assert!(refund && after.charged <= after.deposited && after.deposited <= before.deposited);
            }
            Ok(Answer::Refused) => {
                assert_eq!(
                    (after.charged, after.deposited),
                    (before.charged, before.deposited),
                    "a refusal cost money"
                );
            }
            Err(_) => assert_eq!(after, BuyerChannel { stopped: true, ..before.clone() }, "a lie was half believed"),
        }
        is_believed |= answer.is_ok();
    }
    is_believed
}

/// A corrective 402: it is believed as far as the own signature goes, or changes nothing.
pub fn buyer_corrected(bytes: &[u8]) -> bool {
    let Ok(required) = wire::read::<PaymentRequired>(bytes) else { return false };
    let network = &buyer().network;
    let offer = required.accepts.iter().filter_map(wire::Accept::known).next();
    let mut before = channel(None);
    // The seller is whoever the offer names: only numbers and signature are in question.
    if let Some((offer, extra)) = offer.and_then(|offer| Some((offer, offer.batch_extra().ok()?))) {
        let payer = before.config.payer;
        before.config = BuyerChannel::config_for(offer, &extra, payer, payer, Hash::ZERO);
    }
    let mut after = before.clone();
    let adopted = after.adopt(network, &required, 0);
    match adopted {
        Ok(()) => {
            assert!(
                after.charged <= after.signed_max && before.signed_max <= after.signed_max,
                "the count left its bounds"
            );
            assert_eq!(after.config, before.config);
        }
        Err(_) => assert_eq!(after, before, "a correction was half believed"),
    }
    adopted.is_ok()
}
