//! What a buyer can rely on: a request has one byte form, and nonsense is refused with a code.

use agora_inference_api::{Message, Request, Role, Sampling};
use agora_types::cbor::CborError;
use agora_types::{Canonical as _, Code};

fn sample() -> Request {
    Request {
        messages: vec![
            Message { role: Role::System, text: "Be brief.".into() },
            Message { role: Role::User, text: "Who owns a wreck?".into() },
        ],
        sampling: Sampling { temperature_milli: 700, top_k: 40, top_p_milli: 950, seed: 7, ..Sampling::default() },
        output_max: 64,
        stops: vec!["\n\n".into()],
        schema: None,
        logprobs: None,
        wait_max_ms: None,
        hidden_max: 0,
    }
}

/// Every option in use.
fn full() -> Request {
    let mut request = sample();
    request.sampling.min_p_milli = 50;
    request.sampling.repetition_milli = 1_100;
    Request { schema: Some(r#"{"type":"boolean"}"#.into()), logprobs: Some(2), ..request }
}

/// One that may think, and does not wait long.
fn thinking() -> Request {
    Request { wait_max_ms: Some(2_000), hidden_max: 256, ..sample() }
}

#[test]
fn a_request_has_golden_bytes_that_its_cddl_describes() {
    let bytes = sample().to_bytes();
    let golden = include_str!("data/request.hex");
    assert_eq!(hex::encode(&bytes), golden.trim(), "the bytes of a request have changed");
    cddl::validate_cbor_from_slice(include_str!("../cddl/request.cddl"), &bytes, None).expect("described by its CDDL");
    assert_eq!(Request::from_bytes(&bytes).expect("canonical"), sample());
}

#[test]
fn later_options_have_golden_bytes_too() {
    let bytes = full().to_bytes();
    let golden = include_str!("data/request-full.hex");
    assert_eq!(hex::encode(&bytes), golden.trim(), "the bytes of a request have changed");
    cddl::validate_cbor_from_slice(include_str!("../cddl/request.cddl"), &bytes, None).expect("described by its CDDL");
    assert_eq!(Request::from_bytes(&bytes).expect("canonical"), full());
}

#[test]
fn a_request_that_may_think_has_golden_bytes() {
    let bytes = thinking().to_bytes();
    let golden = include_str!("data/request-thinking.hex");
    assert_eq!(hex::encode(&bytes), golden.trim(), "the bytes of a request have changed");
    cddl::validate_cbor_from_slice(include_str!("../cddl/request.cddl"), &bytes, None).expect("described by its CDDL");
    assert_eq!(Request::from_bytes(&bytes).expect("canonical"), thinking());
}

#[test]
fn an_option_that_changes_nothing_has_no_bytes() {
    // The sampling of the golden request, with an option behind it.
    let with = |key_and_value: &str| {
        let golden = include_str!("data/request.hex").trim();
        let (before, after) = golden.split_once("a4001902bc011828021903b60307").expect("its sampling");
        let bytes = hex::decode(format!("{before}a5001902bc011828021903b60307{key_and_value}{after}")).expect("hex");
        Request::from_bytes(&bytes)
    };
    assert_eq!(with("041832").expect("a min-p of 0.05").sampling.min_p_milli, 50);
    assert_eq!(with("0519044c").expect("a penalty of 1.1").sampling.repetition_milli, 1_100);
    assert!(matches!(with("0400"), Err(CborError::NotCanonical { .. })), "a min-p that is off");
    assert!(matches!(with("051903e8"), Err(CborError::NotCanonical { .. })), "a penalty that is none");
}

#[test]
fn json_without_the_later_options_is_the_same_request() {
    let json = r#"{"messages":[{"role":"user","text":"q"}],"sampling":{"temperature_milli":0,"top_k":0,"top_p_milli":1000,
        "seed":0},"output_max":5,"stops":[]}"#;
    let request: Request = serde_json::from_str(json).expect("a request");
    assert_eq!(request, Request::ask("q", 5));
    let value = serde_json::to_value(&request).expect("JSON");
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(json).expect("JSON"));
}

/// What is broken, and how.
type Break = (&'static str, fn(&mut Request));

#[test]
fn nonsense_is_refused_with_a_code_and_a_reason() {
    let broken: [Break; 14] = [
        ("messages", |r| r.messages.clear()),
        ("messages", |r| r.messages = vec![r.messages[0].clone(); 65]),
        ("assistant", |r| r.messages.push(Message { role: Role::Assistant, text: "Me.".into() })),
        ("temperature", |r| r.sampling.temperature_milli = 10_001),
        ("top-p", |r| r.sampling.top_p_milli = 0),
        ("one token", |r| r.output_max = 0),
        ("stop", |r| r.stops = vec![String::new()]),
        ("min-p", |r| r.sampling.min_p_milli = 1_001),
        ("repetition", |r| r.sampling.repetition_milli = 999),
        ("repetition", |r| r.sampling.repetition_milli = 2_001),
        ("schema", |r| r.schema = Some(String::new())),
        ("schema", |r| r.schema = Some("x".repeat(8_193))),
        ("alternatives", |r| r.logprobs = Some(21)),
        ("bytes", |r| r.messages[0].text = "x".repeat(40_000)),
    ];
    for (word, change) in broken {
        let mut request = sample();
        change(&mut request);
        let error = request.check().expect_err(word);
        assert_eq!(error.code, Code::EngineBadRequest);
        assert!(error.to_string().contains(word), "{error}");
    }
    sample().check().expect("the sample is good");
    full().check().expect("with every option too");
}
