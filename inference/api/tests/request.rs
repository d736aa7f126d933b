//! What a buyer can rely on: a request has one byte form, and nonsense is refused with a code.

use agora_inference_api::{Message, Request, Role, Sampling};
use agora_types::{Canonical as _, Code};

fn sample() -> Request {
    Request {
        messages: vec![
            Message { role: Role::System, text: "Be brief.".into() },
            Message { role: Role::User, text: "Who owns a wreck?".into() },
        ],
        sampling: Sampling { temperature_milli: 700, top_k: 40, top_p_milli: 950, seed: 7 },
        output_max: 64,
        stops: vec!["\n\n".into()],
    }
}

#[test]
fn a_request_has_golden_bytes_that_its_cddl_describes() {
    let bytes = sample().to_bytes();
    let golden = include_str!("data/request.hex");
    assert_eq!(hex::encode(&bytes), golden.trim(), "the bytes of a request have changed");
    cddl::validate_cbor_from_slice(include_str!("../cddl/request.cddl"), &bytes, None).expect("described by its CDDL");
    assert_eq!(Request::from_bytes(&bytes).expect("canonical"), sample());
}

/// What is broken, and how.
type Break = (&'static str, fn(&mut Request));

#[test]
fn nonsense_is_refused_with_a_code_and_a_reason() {
    let broken: [Break; 8] = [
        ("messages", |r| r.messages.clear()),
        ("messages", |r| r.messages = vec![r.messages[0].clone(); 65]),
        ("assistant", |r| r.messages.push(Message { role: Role::Assistant, text: "Me.".into() })),
        ("temperature", |r| r.sampling.temperature_milli = 10_001),
        ("top-p", |r| r.sampling.top_p_milli = 0),
        ("one token", |r| r.output_max = 0),
        ("stop", |r| r.stops = vec![String::new()]),
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
}
