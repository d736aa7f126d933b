//! An agent that behaves: the researcher buys an answer.

use std::sync::Arc;

use agora_sandbox_api::{Budget, Level, Program, Sandbox as _};
use agora_types::{Amount, Code, Hash};
use serde_json::{Value, json};

use super::host::{FakeHost, listing};
use super::{component, manifest, message, sandbox};

const QUESTION: &str = "What is the boiling point of ethanol? I like chemistry.";

fn researcher() -> Arc<dyn Program> {
    sandbox().load(&component("researcher"), &manifest("researcher")).expect("the researcher")
}

#[tokio::test]
async fn it_buys_an_answer_from_the_cheapest_of_the_best_fitting_and_remembers() {
    let (program, host) = (researcher(), Arc::new(FakeHost::new()));
    let answer = program.handle(message(QUESTION), host.clone()).await.expect("an answer");
    let told: Value = serde_json::from_slice(&answer).expect("JSON");
    let expected = json!({
        "listing": listing(1).to_string(),
        "name": "chem-small",
        "text": "Ethanol boils at 78 °C.",
        "input_tokens": 10,
        "output_tokens": 5,
        "charge": "75",
        "receipt": Hash::sha256(b"receipt").to_string(),
    });
    assert_eq!(told, expected);
    {
        let seen = host.seen();
        assert_eq!(seen.queries, ["boiling point ethanol chemistry"]);
        assert_eq!(seen.asks[0].1.messages[0].1, QUESTION);
        assert_eq!(seen.batch_sizes, [8]);
        assert!(seen.closed.is_empty(), "a stream that ended is not closed again");
        assert!(seen.log.iter().any(|(level, text)| *level == Level::Info && text.contains("answered by chem-small")));
    }
    let asked = json!({"question": QUESTION, "output_max": 3}).to_string();
    program.handle(message(asked), host.clone()).await.expect("another answer");
    let seen = host.seen();
    assert_eq!(seen.asks[1].1.output_max, 3);
    assert_eq!(seen.kept.get("answered").map(Vec::as_slice), Some(b"2".as_slice()));
}

#[tokio::test]
async fn it_opens_nothing_that_its_budget_does_not_cover() {
    let mut host = FakeHost::new();
    host.budget =
        Budget { granted: Amount::from_atoms(1_000), used: Amount::from_atoms(990), per_call: Amount::from_atoms(500) };
    let host = Arc::new(host);
    let error = researcher().handle(message(QUESTION), host.clone()).await.expect_err("too expensive");
    assert_eq!(error.code, Code::AgentFailed);
    assert!(error.what.contains("researcher.too_expensive"), "{error}");
    assert!(error.what.contains("allows 10"), "{error}");
    assert!(host.seen().opened.is_empty());
}

#[tokio::test]
async fn it_says_why_it_cannot_answer() {
    let program = researcher();
    for (payload, why) in [
        ("What about gardening?", "no listing fits \"gardening\""),
        ("{\"question\": 7}", "researcher.bad_question"),
        ("  ", "the question is empty"),
    ] {
        let error = program.handle(message(payload), Arc::new(FakeHost::new())).await.expect_err(why);
        assert_eq!(error.code, Code::AgentFailed, "{error}");
        assert!(error.what.contains(why), "{error}");
    }
}

#[tokio::test]
async fn many_events_run_at_once() {
    let (program, host) = (researcher(), Arc::new(FakeHost::new()));
    let events: Vec<_> = (0..40)
        .map(|_| {
            let (program, host) = (program.clone(), host.clone());
            tokio::spawn(async move { program.handle(message(QUESTION), host).await })
        })
        .collect();
    for event in events {
        event.await.expect("no panic").expect("an answer");
    }
    assert_eq!(host.seen().opened.len(), 40);
}

#[test]
fn it_does_not_sell_and_says_which_bytes_it_is() {
    let program = researcher();
    assert!(!program.sells());
    assert_eq!(program.hash(), Hash::sha256(component("researcher")));
}
