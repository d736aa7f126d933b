//! x402's `offer-receipt` statements: what a seller signs about an offer and about a payment, beside the payment itself.
//!
//! Their domains have no contract and always chain id 1, so the network is a field of the words.

use alloy_primitives::U256;
use alloy_sol_types::{Eip712Domain, SolStruct, sol};

use crate::Hash;

/// The version of both statements.
const VERSION: u64 = 1;

sol! {
    struct Offer { uint256 version; string resourceUrl; string scheme; string network; string asset; string payTo; string amount; uint256 validUntil; }
    struct Receipt { uint256 version; string network; string resourceUrl; string payer; uint256 issuedAt; string transaction; }
}

/// "I sell this for that": every field as it is written on the wire, since the text is what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferWords<'a> {
    /// What is sold.
    pub resource_url: &'a str,
    /// How it is paid.
    pub scheme: &'a str,
    /// Where (CAIP-2).
    pub network: &'a str,
    /// In which token.
    pub asset: &'a str,
    /// To whom.
    pub pay_to: &'a str,
    /// How much, in atoms.
    pub amount: &'a str,
    /// Unix seconds.
    pub valid_until: u64,
}

/// "I was paid for this": as [`OfferWords`], the text is what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptWords<'a> {
    /// Where (CAIP-2).
    pub network: &'a str,
    /// What was sold.
    pub resource_url: &'a str,
    /// Who paid.
    pub payer: &'a str,
    /// Unix seconds.
    pub issued_at: u64,
    /// Its id on the ledger, or nothing.
    pub transaction: &'a str,
}

fn domain(name: &'static str) -> Eip712Domain {
    Eip712Domain {
        name: Some(name.into()),
        version: Some("1".into()),
        chain_id: Some(U256::from(1)),
        verifying_contract: None,
        salt: None,
    }
}

/// The digest of an offer.
pub fn offer_digest(words: &OfferWords<'_>) -> Hash {
    let typed = Offer {
        version: U256::from(VERSION),
        resourceUrl: words.resource_url.to_owned(),
        scheme: words.scheme.to_owned(),
        network: words.network.to_owned(),
        asset: words.asset.to_owned(),
        payTo: words.pay_to.to_owned(),
        amount: words.amount.to_owned(),
        validUntil: U256::from(words.valid_until),
    };
    Hash::new(typed.eip712_signing_hash(&domain("x402 offer")).0)
}

/// The digest of a receipt.
pub fn receipt_digest(words: &ReceiptWords<'_>) -> Hash {
    let typed = Receipt {
        version: U256::from(VERSION),
        network: words.network.to_owned(),
        resourceUrl: words.resource_url.to_owned(),
        payer: words.payer.to_owned(),
        issuedAt: U256::from(words.issued_at),
        transaction: words.transaction.to_owned(),
    };
    Hash::new(typed.eip712_signing_hash(&domain("x402 receipt")).0)
}
