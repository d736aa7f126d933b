//! What a payer signs, scheme by scheme, as the protocol writes it and as our ledger's words.
//!
//! Reading a payload checks its form only: every number and address is one, every signature has 65 bytes. Whether it
//! pays for anything is asked in [`crate::check`].

pub mod batch;
pub mod exact;
pub mod upto;

use agora_types::key::WalletSignature;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::reason::{Reason, Refusal};
use crate::signature;
use crate::wire::{Object, view};

fn read<T: DeserializeOwned>(what: &'static str, payload: &Object) -> Result<T, Refusal> {
    view(what, Value::Object(payload.clone())).map_err(|error| Refusal::new(Reason::InvalidPayload, error.to_string()))
}

fn signature(text: &str, reason: Reason) -> Result<WalletSignature, Refusal> {
    signature::parse(text).map_err(|form| Refusal::new(reason, form.to_string()))
}
