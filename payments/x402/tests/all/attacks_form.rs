//! Attacks on form: numbers, signatures, headers and JSON that two readers would read differently.

use crate::common;

use agora_types::Hash;
use agora_types::key::WalletSignature;
use agora_x402::Reason;
use agora_x402::header;
use agora_x402::signature::{self, SignatureForm};
use agora_x402::wire::{self, PaymentPayload, PaymentRequired, VerifyRequest, WireError};
use common::*;

#[test]
fn a_number_in_any_other_writing_is_no_number() {
    let rows: &[(&str, &str)] = &[
        ("empty", ""),
        ("hex", "0x3e8"),
        ("plus sign", "+1000"),
        ("minus sign", "-1000"),
        ("leading zero", "01000"),
        ("leading blank", " 1000"),
        ("trailing blank", "1000 "),
        ("newline", "1000\n"),
        ("exponent", "1e3"),
        ("fraction", "1000.0"),
        ("separator", "1_000"),
        ("other digits", "١٠٠٠"),
        ("2^128", "340282366920938463463374607431768211456"),
        ("40 digits", "1000000000000000000000000000000000000000"),
    ];
    for (row, text) in rows {
        for path in ["authorization.value", "authorization.validBefore", "authorization.validAfter"] {
            let mut request = stock_request("exact");
            set(&mut request.payment_payload.payload, path, *text);
            assert_eq!(reason(row, verify(&request)), Reason::InvalidPayload, "{row} in {path}");
        }
        let mut request = stock_request("upto");
        set(&mut request.payment_payload.payload, "permit2Authorization.permitted.amount", *text);
        assert_eq!(reason(row, verify(&request)), Reason::InvalidPayload, "{row} in a permit");
        let mut request = stock_request("voucher");
        set(&mut request.payment_payload.payload, "voucher.maxClaimableAmount", *text);
        assert_eq!(reason(row, verify(&request)), Reason::InvalidPayload, "{row} in a voucher");
        let mut document = serde_json::to_value(stock_request("exact")).unwrap();
        document["paymentRequirements"]["amount"] = (*text).into();
        assert!(wire::read::<VerifyRequest>(document.to_string().as_bytes()).is_err(), "{row} in requirements");
    }
    let mut request = stock_request("exact");
    set(&mut request.payment_payload.payload, "authorization.value", 1_000);
    assert_eq!(reason("a JSON number", verify(&request)), Reason::InvalidPayload);
}

#[test]
fn only_65_bytes_with_low_s_are_a_signature() {
    let good: WalletSignature = {
        let payload = stock_payment("exact").payload;
        payload["signature"].as_str().unwrap().parse().unwrap()
    };
    let mut changed = Vec::new();
    let mut row = |name: &'static str, change: &dyn Fn(&mut [u8; 65])| {
        let mut bytes = *good.as_bytes();
        change(&mut bytes);
        changed.push((name, WalletSignature::new(bytes).to_string()));
    };
    row("v 0", &|bytes| bytes[64] -= 27);
    row("v 29", &|bytes| bytes[64] = 29);
    row("v by EIP-155", &|bytes| bytes[64] = 37);
    row("the other v", &|bytes| bytes[64] = 27 + 28 - bytes[64]);
    row("zero r", &|bytes| bytes[..32].fill(0));
    row("zero s", &|bytes| bytes[32..64].fill(0));
    row("high s", &|bytes| {
        let s = order_minus(bytes[32..64].try_into().unwrap());
        bytes[32..64].copy_from_slice(&s);
        bytes[64] = 27 + 28 - bytes[64];
    });
    row("r above the order", &|bytes| bytes[..32].fill(0xff));
    let digits = |bytes: usize| format!("0x{}", "ab".repeat(bytes));
    let mut rows = changed;
    rows.push(("64 bytes (EIP-2098)", digits(64)));
    rows.push(("66 bytes", digits(66)));
    rows.push(("empty", "0x".to_owned()));
    rows.push(("no 0x", "ab".repeat(65)));
    rows.push(("ERC-6492", format!("{}{}", digits(320), "6492".repeat(16))));
    rows.push(("ERC-1271", digits(130)));
    for (row, text) in &rows {
        let mut request = stock_request("exact");
        set(&mut request.payment_payload.payload, "signature", text.as_str());
        assert_eq!(reason(row, verify(&request)), Reason::Signature, "{row}");
        let mut request = stock_request("upto");
        set(&mut request.payment_payload.payload, "signature", text.as_str());
        assert_eq!(reason(row, verify(&request)), Reason::Signature, "{row}");
        let mut request = stock_request("voucher");
        set(&mut request.payment_payload.payload, "voucher.signature", text.as_str());
        assert_eq!(reason(row, verify(&request)), Reason::VoucherSignature, "{row}");
        let mut request = stock_request("batch-settlement");
        let path = "deposit.authorization.erc3009Authorization.signature";
        set(&mut request.payment_payload.payload, path, text.as_str());
        assert_eq!(reason(row, verify(&request)), Reason::ReceiveAuthorizationSignature, "{row}");
    }
    assert_eq!(signature::parse(&digits(64)), Err(SignatureForm::Compact));
    assert_eq!(signature::parse(&format!("{}{}", digits(1), "6492".repeat(16))), Err(SignatureForm::Erc6492));
    assert_eq!(signature::parse(&digits(130)), Err(SignatureForm::Contract));
    assert!(signature::parse(&digits(65)).is_ok());
}

/// n - s: the other, malleable form of a signature.
fn order_minus(s: [u8; 32]) -> [u8; 32] {
    let n: Hash = "0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141".parse().unwrap();
    let mut out = [0; 32];
    let mut borrow = 0i16;
    for at in (0..32).rev() {
        let digit = i16::from(n.as_bytes()[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(digit < 0);
        out[at] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    out
}

#[test]
fn one_header_of_standard_base64_and_nothing_else() {
    let good = stock()["payloads"]["exact"].as_str().unwrap().to_owned();
    let decode = |values: &[&str]| header::decode::<PaymentPayload>(values);
    assert!(decode(&[&good]).is_ok());
    assert_eq!(decode(&[]), Err(WireError::Missing));
    assert_eq!(decode(&[&good, &good]), Err(WireError::Repeated), "even the same one twice");
    let unpadded = good.trim_end_matches('=');
    let text = serde_json::to_string(&stock_payment("exact")).unwrap();
    for (row, value) in [
        ("two values in one header", format!("{good},{good}")),
        ("a blank", format!("{good} ")),
        ("a line break", format!("{}\n{}", &good[..8], &good[8..])),
        ("plain JSON", text),
        ("nothing", String::new()),
        ("not base64", "%%%%".to_owned()),
        ("too much padding", format!("{unpadded}====")),
        ("something behind the document", format!("{good}e30=")),
    ] {
        assert!(decode(&[&value]).is_err(), "{row}");
    }
    // `?` and `>` make base64 differ from its URL-safe sister.
    let mut payment = stock_payment("exact");
    payment.resource.as_mut().unwrap().description = Some("???>>>~~~".to_owned());
    let standard = header::encode(&payment).unwrap();
    assert!(standard.contains(['+', '/']));
    let url_safe = standard.replace('+', "-").replace('/', "_");
    assert_eq!(decode(&[&url_safe]), Err(WireError::Base64));
    if standard.ends_with('=') {
        assert_eq!(decode(&[standard.trim_end_matches('=')]), Err(WireError::Base64));
    }
    let long = "A".repeat(header::HEADER_MAX + 4);
    assert!(matches!(decode(&[&long]), Err(WireError::TooLarge { .. })));
}

#[test]
fn an_ambiguous_or_endless_document_is_refused() {
    let good = serde_json::to_string(&offers().required(None)).unwrap();
    let read = |text: &str| wire::read::<PaymentRequired>(text.as_bytes());
    assert!(read(&good).is_ok());
    let amount = "\"amount\":\"1000\"";
    for (row, text) in [
        ("an amount twice", good.replacen(amount, "\"amount\":\"1\",\"amount\":\"1000\"", 1)),
        ("an escaped key twice", good.replacen(amount, "\"amount\":\"1000\",\"\\u0061mount\":\"1\"", 1)),
        ("a key twice inside extra", good.replacen("\"name\":", "\"name\":\"X\",\"name\":", 1)),
        ("no offers", {
            let mut document: serde_json::Value = serde_json::from_str(&good).unwrap();
            document["accepts"] = serde_json::json!([]);
            document.to_string()
        }),
        ("33 offers", {
            let mut document: serde_json::Value = serde_json::from_str(&good).unwrap();
            document["accepts"] = serde_json::json!(vec![serde_json::json!({}); 33]);
            document.to_string()
        }),
        ("an array in place of an object", "[2,null,{},[],{}]".to_owned()),
        ("two documents", format!("{good}{good}")),
        (
            "nested too deep",
            good.replacen("\"name\":\"OPEN\"", &format!("\"name\":{}{}", "[".repeat(40), "]".repeat(40)), 1),
        ),
        ("version 1", good.replacen("\"x402Version\":2", "\"x402Version\":1", 1)),
        ("version as text", good.replacen("\"x402Version\":2", "\"x402Version\":\"2\"", 1)),
        ("no version", good.replacen("\"x402Version\":2,", "", 1)),
        ("a long name", good.replacen("\"Agora\"", &format!("\"{}\"", "A".repeat(33)), 1)),
        ("six tags", good.replacen("[\"llm\"]", "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]", 1)),
    ] {
        assert_ne!(text, good, "{row}: nothing was changed");
        assert!(read(&text).is_err(), "{row}");
    }
    assert_eq!(read(&good.replacen("\"x402Version\":2", "\"x402Version\":1", 1)), Err(WireError::Version));
    let long = format!("{}{}", good, " ".repeat(16 * 1024));
    assert!(matches!(read(&long), Err(WireError::TooLarge { .. })));
}

#[test]
fn offers_on_other_chains_are_kept_and_never_known() {
    let mut document = serde_json::to_value(offers().required(None)).unwrap();
    let foreign = serde_json::json!({
        "scheme": "exact", "network": "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", "amount": "1000",
        "asset": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v", "payTo": "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4",
        "maxTimeoutSeconds": 60, "extra": {"feePayer": "x"}, "new": [1, 2.5]
    });
    document["accepts"].as_array_mut().unwrap().insert(0, foreign.clone());
    let required: PaymentRequired = wire::read(document.to_string().as_bytes()).unwrap();
    assert_eq!(required.accepts[0].known(), None);
    assert_eq!(serde_json::to_value(&required).unwrap()["accepts"][0], foreign);
    assert!(required.accepts[1].known().is_some());
}
