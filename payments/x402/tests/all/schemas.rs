//! The JSON Schemas of all documents, as other programs read them from `schemas/`.
//!
//! A failure means that a document changed. `AGORA_GOLDEN=write cargo test -p agora-x402 --test all schemas::` writes the
//! files anew; say in the commit what changes for the other side.

use agora_x402::extensions::bazaar::Bazaar;
use agora_x402::extensions::identifier::PaymentIdentifier;
use agora_x402::extensions::statement::{SignedOffers, SignedReceiptInfo};
use agora_x402::scheme::batch::BatchPayload;
use agora_x402::scheme::exact::ExactPayload;
use agora_x402::scheme::upto::UptoPayload;
use agora_x402::wire::*;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

#[track_caller]
fn golden<T: JsonSchema>(name: &str) {
    let text = serde_json::to_string_pretty(&schema_for!(T)).unwrap() + "\n";
    let path = format!("schemas/{name}.json");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::create_dir_all("schemas").unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // As values: the order of fields says nothing.
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(value(&text), value(&kept), "the schema of `{name}` has changed");
}

fn document<T: JsonSchema + Document>() {
    golden::<T>(T::NAME);
}

#[test]
fn documents_keep_their_schemas() {
    document::<PaymentRequired>();
    document::<PaymentPayload>();
    document::<VerifyRequest>();
    document::<VerifyResponse>();
    document::<SettleResponse>();
    document::<Supported>();
    document::<DiscoveryPage>();
}

#[test]
fn what_documents_carry_keeps_its_schemas() {
    golden::<ExactPayload>("ExactPayload");
    golden::<UptoPayload>("UptoPayload");
    golden::<BatchPayload>("BatchPayload");
    golden::<ExactExtra>("ExactExtra");
    golden::<UptoExtra>("UptoExtra");
    golden::<BatchExtra>("BatchExtra");
    golden::<SettleResponseExtra>("SettleResponseExtra");
    golden::<PaymentIdentifier>("PaymentIdentifier");
    golden::<SignedOffers>("SignedOffers");
    golden::<SignedReceiptInfo>("SignedReceipt");
    golden::<Bazaar>("Bazaar");
}
