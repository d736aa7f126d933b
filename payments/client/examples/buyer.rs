//! A buyer in Rust over reqwest: one question to a model, paid with HTTP 402, and never more than it allows.
//!
//! `BUYER_KEY`, `OPEN_NETWORK` and `OPEN_ASSET` are set as payments/README.md says.

use std::env::var;
use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use agora_types::eip712::Network;
use agora_types::key::WalletKey;
use agora_types::{Amount, Hash, Timestamp};
use agora_x402::buyer::{PaymentContext, Policy, pay_upto};
use agora_x402::header;
use agora_x402::wire::{NetworkId, PaymentRequired, Scheme, SettleResponse};

const URL: &str = "http://127.0.0.1:8402/v1/chat/completions";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut secret = [0; 32];
    hex::decode_to_slice(var("BUYER_KEY")?.trim_start_matches("0x"), &mut secret)?;
    let key = WalletKey::from_bytes(&secret)?;
    let chain_id = var("OPEN_NETWORK")?.parse::<NetworkId>()?.chain_id().ok_or("not an eip155 network")?;
    let network = Network { chain_id, asset: var("OPEN_ASSET")?.parse()? };
    // What may be spent: OPEN of this network, at most 0.1 OPEN for one answer, by upto.
    let policy = Policy {
        networks: vec![network],
        payees: None,
        hosts: None,
        per_call_max: "0.1".parse()?,
        deposit_max: Amount::ZERO,
        schemes: vec![Scheme::Upto],
    };
    let question = serde_json::json!({
        "model": "parrot", "messages": [{"role": "user", "content": "who owns a wreck"}], "max_tokens": 20,
    });
    let question = question.to_string();

    // reqwest with its default features brings a provider of its own; then this line may go.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "TLS is set up twice")?;
    // A redirect would carry the payment to somebody else.
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
    let ask = || client.post(URL).header("content-type", "application/json").body(question.clone());
    let asked = ask().send().await?;
    let required: PaymentRequired = header::decode(asked.headers().get_all("payment-required"))?;
    let offer = policy.choose(URL, &required, None)?;
    let now = Timestamp::from_nanos(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?);
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    let context = PaymentContext { network: &network, required: &required, offer, now };
    let payment = header::encode(&pay_upto(&context, &key, Hash::new(nonce))?)?;

    // Signed once. After a lost answer the very same request is sent again: it is answered, and paid once.
    let answer = ask().header("payment-signature", payment).send().await?;
    let paid: SettleResponse = header::decode(answer.headers().get_all("payment-response"))?;
    let receipt = answer.headers().get("agora-receipt").ok_or("no receipt")?.to_str()?.to_owned();
    let body: serde_json::Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
    println!("{}", body["choices"][0]["message"]["content"].as_str().unwrap_or_default());
    println!("receipt {receipt} cost {:?} of at most {}", paid.amount, offer.amount);
    Ok(())
}
