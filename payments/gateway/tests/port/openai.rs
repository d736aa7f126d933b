//! OpenAI's API, as stock clients read it.

use std::time::Duration;

use agora_economy::ports::pay::{Piece, Trouble};
use agora_gateway::{Bounds, PublicPort};
use agora_inference_api::{Likelihood, Likelihoods};
use agora_types::Code;
use agora_x402::header;
use agora_x402::wire::PaymentRequired;
use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, Whole, ask, request};
use crate::fakes::{Fakes, bounds, ended, paid, payment, receipt};

const KEY: (&str, &str) = ("Authorization", "Bearer good");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const CHAT: &str = "/v1/chat/completions";

/// Its name, headers and fields, and the status and code of its answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Value, u16, &'a str);

fn question(more: Value) -> Vec<u8> {
    let mut body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

async fn post(port: &PublicPort, headers: &[(&str, &str)], more: Value) -> Whole {
    let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
    ask(port.address(), "POST", CHAT, &headers, &question(more)).await
}

/// The documents of a whole event stream, and whether it ended well.
fn events(text: &str) -> (Vec<Value>, bool) {
    let data: Vec<_> = text.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let done = data.last() == Some(&"[DONE]");
    (data.iter().filter(|text| **text != "[DONE]").map(|text| serde_json::from_str(text).unwrap()).collect(), done)
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_with_their_prices() {
    let port = Fakes::new().open(bounds(), None);
    let list = ask(port.address(), "GET", "/v1/models", &[], b"").await.json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&"list".into(), &"small".into()));
    assert_eq!(list["data"][0]["agora"]["pricePerOutputToken"], "2");
    for id in ["small", "owner/model"] {
        let one = ask(port.address(), "GET", &format!("/v1/models/{id}"), &[], b"").await;
        assert_eq!((one.status(), &one.json()["object"], &one.json()["id"]), (200, &"model".into(), &id.into()));
    }
    let none = ask(port.address(), "GET", "/v1/models/nothing", &[], b"").await;
    assert_eq!((none.status(), &none.json()["error"]["code"]), (404, &"listing.not_found".into()));
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_in_one_piece_has_usage_and_receipt() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let answer = post(&port, &[KEY], json!({"max_tokens": 9})).await;
    let document = answer.json();
    assert_eq!((answer.status(), &document["object"]), (200, &"chat.completion".into()));
    assert_eq!(
        document["choices"][0]["message"],
        json!({"role": "assistant", "content": "Hello world", "refusal": null})
    );
    assert_eq!(document["choices"][0]["finish_reason"], "stop");
    assert_eq!((&document["usage"]["prompt_tokens"], &document["usage"]["total_tokens"]), (&4.into(), &6.into()));
    assert_eq!(answer.get("agora-receipt"), Some(receipt().leaf.to_string().as_str()));
    assert_eq!(answer.get("agora-call"), Some(receipt().call.to_string().as_str()));
    assert_eq!((answer.get("agora-charge"), answer.get("payment-response")), (Some("42"), None));
    assert_eq!(document["agora"]["salt"], format!("0x{}", "66".repeat(16)));

    let signature = payment(&json!({}));
    let answer = post(&port, &[("PAYMENT-SIGNATURE", &signature)], json!({})).await;
    assert_eq!(paid(answer.get("payment-response").unwrap())["amount"], "42");
    assert_eq!(answer.get("cache-control"), Some("private, no-store"));
    let lines = fakes.log.lines();
    assert_eq!(lines[..3], ["open small hi 9 false", "keep application/json", "completion dropped"], "{lines:?}");

    let body = br#"{"model":"small","prompt":"once"}"#;
    let answer = ask(port.address(), "POST", "/v1/completions", &[KEY, JSON], body).await;
    assert_eq!(
        (&answer.json()["object"], &answer.json()["choices"][0]["text"]),
        (&"text_completion".into(), &"Hello world".into())
    );
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_the_role_and_ends_with_the_receipt() {
    let port = Fakes::new().open(bounds(), None);
    let signature = payment(&json!({}));
    for usage in [false, true] {
        let more = json!({"stream": true, "stream_options": {"include_usage": usage}});
        let answer = post(&port, &[("PAYMENT-SIGNATURE", &signature)], more).await;
        assert_eq!(answer.get("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(paid(answer.get("payment-response").unwrap())["amount"], "100", "announced before the body");
        assert_eq!(answer.get("agora-call"), Some(receipt().call.to_string().as_str()));
        let (chunks, done) = events(&answer.text());
        assert!(done);
        let deltas: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
        let texts =
            [json!({"role": "assistant", "content": ""}), json!({"content": "Hello"}), json!({"content": " world"})];
        assert_eq!(deltas[..3], texts);
        assert_eq!((&deltas[3], &chunks[3]["choices"][0]["finish_reason"]), (&json!({}), &"stop".into()));
        assert_eq!(chunks.len(), if usage { 5 } else { 4 });
        let last = chunks.last().unwrap();
        assert_eq!(last["agora"]["receipt"], receipt().leaf.to_string());
        assert_eq!(last["agora"]["paymentResponse"]["amount"], "42");
        if usage {
            assert_eq!((&last["choices"], &last["usage"]["completion_tokens"]), (&json!([]), &2.into()));
            assert!(chunks[..4].iter().all(|chunk| chunk["usage"].is_null()));
        }
        assert!(
            chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"])
        );
    }
    let body = br#"{"model":"small","prompt":"once","stream":true}"#;
    let answer = ask(port.address(), "POST", "/v1/completions", &[KEY, JSON], body).await;
    let (chunks, done) = events(&answer.text());
    assert_eq!(
        (done, &chunks[0]["choices"][0]["text"], &chunks[0]["object"]),
        (true, &"Hello".into(), &"text_completion".into())
    );
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_piece_leaves_at_once_and_silence_is_filled() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { comment_every: Duration::from_millis(50), ..bounds() }, None);
    let pieces = fakes.pieces();
    let mut client = Client::connect(port.address()).await;
    client.send(request("POST", CHAT, &[KEY, JSON], &question(json!({"stream": true})))).await;
    assert_eq!(client.head().await.status, 200);
    assert!(client.chunk().await.unwrap().unwrap().contains("\"role\":\"assistant\""));
    assert_eq!(client.chunk().await.unwrap().unwrap(), ": wait\n\n");
    pieces.send(Ok(Piece::text("one"))).await.unwrap();
    loop {
        let chunk = client.chunk().await.unwrap().unwrap();
        if chunk != ": wait\n\n" {
            assert!(chunk.contains("\"content\":\"one\""), "{chunk}");
            break;
        }
    }
    pieces.send(Ok(ended(true, false))).await.unwrap();
    let rest = client.rest().await.unwrap().concat();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    fakes.log.until("completion dropped").await;
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likelihoods_have_openais_shape_in_chunks_and_in_one_piece() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let crab = "🦀".as_bytes();
    let told = |text: &str, token: &[u8], nats_micro| {
        let top = vec![Likelihood::new(b"no", 0), Likelihood::new(b"never", u32::MAX)];
        let likelihoods = Some(Box::new(Likelihoods { chosen: Likelihood::new(token, nats_micro), top }));
        Piece::Text { text: text.to_owned(), likelihoods }
    };
    let right = json!([
        {"token": "\u{FFFD}", "logprob": -0.25, "bytes": crab[..2], "top_logprobs": [
            {"token": "no", "logprob": 0.0, "bytes": b"no"}, {"token": "never", "logprob": -9999.0, "bytes": b"never"}]},
        {"token": "\u{FFFD}\u{FFFD}", "logprob": -1.5, "bytes": crab[2..], "top_logprobs": [
            {"token": "no", "logprob": 0.0, "bytes": b"no"}, {"token": "never", "logprob": -9999.0, "bytes": b"never"}]},
    ]);
    for stream in [false, true] {
        let pieces = fakes.pieces();
        let all =
            [told("", &crab[..2], 250_000), told("🦀", &crab[2..], 1_500_000), Piece::text("!"), ended(false, false)];
        let sending = tokio::spawn(async move {
            for piece in all {
                pieces.send(Ok(piece)).await.unwrap();
            }
        });
        let answer = post(&port, &[KEY], json!({"logprobs": true, "top_logprobs": 2, "stream": stream})).await;
        if stream {
            let (chunks, done) = events(&answer.text());
            let choices: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
            assert!(done && choices[0]["logprobs"].is_null() && choices[3]["logprobs"].is_null());
            for at in 0..2 {
                assert_eq!(choices[1 + at]["logprobs"]["content"], json!([right[at]]));
            }
            assert_eq!((&choices[1]["delta"]["content"], &choices[2]["delta"]["content"]), (&"".into(), &"🦀".into()));
        } else {
            let choice = &answer.json()["choices"][0];
            assert_eq!(choice["logprobs"], json!({"content": right, "refusal": null}));
            assert_eq!(choice["message"]["content"], "🦀!");
        }
        sending.await.unwrap();
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_is_said_and_not_hidden() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    for lost in [false, true] {
        let pieces = fakes.pieces();
        pieces.send(Ok(Piece::text("one"))).await.unwrap();
        let mut client = Client::connect(port.address()).await;
        client.send(request("POST", CHAT, &[KEY, JSON], &question(json!({"stream": true})))).await;
        client.head().await;
        if !lost {
            pieces.send(Err(Trouble::new(Code::EngineNotFinite, "nan"))).await.unwrap();
        }
        drop(pieces);
        let (chunks, done) = events(&client.rest().await.unwrap().concat());
        let code = if lost { Code::CallSilent } else { Code::EngineNotFinite };
        assert_eq!((done, &chunks.last().unwrap()["error"]["code"]), (false, &code.text().into()));
    }
    let pieces = fakes.pieces();
    pieces.send(Err(Trouble::new(Code::EngineBusy, "full"))).await.unwrap();
    let answer = post(&port, &[KEY], json!({})).await;
    assert_eq!((answer.status(), &answer.json()["error"]["type"]), (503, &"server_error".into()));
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_the_completion() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    for stream in [true, false] {
        let pieces = fakes.pieces();
        let mut client = Client::connect(port.address()).await;
        client.send(request("POST", CHAT, &[KEY, JSON], &question(json!({"stream": stream})))).await;
        fakes.log.until(&format!("open small hi 256 {stream}")).await;
        if stream {
            client.head().await;
        }
        drop(client);
        // The completion takes its end of the channel with it.
        tokio::time::timeout(PATIENCE, pieces.closed()).await.expect("the completion is dropped");
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_openai_s_with_our_codes() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { openai_body_max: 2_000, ..bounds() }, None);
    let unpaid = post(&port, &[], json!({})).await;
    assert_eq!((unpaid.status(), &unpaid.json()["error"]["type"]), (402, &"payment_required".into()));
    assert!(unpaid.get("payment-required").is_some());
    let signature = payment(&json!({}));
    let cases: [Case<'_>; 7] = [
        ("wrong key", &[("Authorization", "Bearer bad")], json!({}), 403, "key.not_registered"),
        ("both", &[KEY, ("PAYMENT-SIGNATURE", &signature)], json!({}), 400, "wire.malformed"),
        ("broken payment", &[("PAYMENT-SIGNATURE", "?")], json!({}), 400, "wire.malformed"),
        ("no such model", &[KEY], json!({"model": "other"}), 404, "listing.not_found"),
        ("tools", &[KEY], json!({"tools": [{"type": "function"}]}), 400, "wire.unsupported_version"),
        ("too many stops", &[KEY], json!({"stop": vec!["a"; 9]}), 400, "engine.bad_request"),
        ("too long", &[KEY], json!({"user": "x".repeat(2_000)}), 413, "wire.too_large"),
    ];
    for (name, headers, more, status, code) in cases {
        let answer = post(&port, headers, more).await;
        assert_eq!(
            (answer.status(), &answer.json()["error"]["code"]),
            (status, &code.into()),
            "{name}: {}",
            answer.text()
        );
        assert!(answer.json()["error"]["message"].is_string(), "{name}");
    }
    let unpaid = post(&port, &[], json!({})).await;
    assert_eq!((unpaid.status(), &unpaid.json()["error"]["code"]), (402, &"payment.required".into()));
    let turned = [
        ("busy", 409, "channel.busy"),
        ("conflict", 409, "channel.nonce_already_used"),
        ("refused", 402, "ledger.exceeds_credits"),
        ("replay", 409, "ledger.pending_transfer_already_posted"),
    ];
    for (what, status, code) in turned {
        let signature = payment(&json!({"ask": what}));
        let answer = post(&port, &[("PAYMENT-SIGNATURE", &signature)], json!({})).await;
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (status, &code.into()), "{what}");
        assert!(answer.json()["error"]["message"].is_string(), "{what}");
        let leaf = (what == "replay").then(|| receipt().leaf.to_string());
        assert_eq!(answer.get("agora-receipt").map(str::to_owned), leaf, "{what}");
    }
    let plain = ask(port.address(), "POST", CHAT, &[KEY], &question(json!({}))).await;
    assert_eq!(plain.status(), 415);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_tells_the_dearest_price_and_pays_refunds_only() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let get = async |path: &str, headers: &[(&str, &str)]| ask(port.address(), "GET", path, headers, b"").await;
    let offer = get("/v1/chat/completions?model=small", &[]).await;
    assert_eq!(offer.status(), 402);
    let required: PaymentRequired = header::decode([offer.get("payment-required").unwrap()]).unwrap();
    assert_eq!(json!(required)["accepts"][0]["amount"], "100");
    let refund = payment(&json!({"ask": "refund"}));
    let refund = get("/v1/completions", &[("PAYMENT-SIGNATURE", &refund)]).await;
    assert_eq!((refund.status(), &paid(refund.get("payment-response").unwrap())["amount"]), (200, &"9".into()));
    let work = payment(&json!({}));
    assert_eq!(get(CHAT, &[("PAYMENT-SIGNATURE", &work)]).await.status(), 400);
    assert_eq!(get(CHAT, &[("PAYMENT-SIGNATURE", "?")]).await.status(), 400);
    assert_eq!(fakes.log.lines(), ["probe small", "probe any", "probe any"]);
    port.close(PATIENCE).await;
}
