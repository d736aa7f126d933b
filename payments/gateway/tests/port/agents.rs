//! Agents that sell their work.

use serde_json::json;

use crate::client::{Client, PATIENCE, ask, request};
use crate::fakes::{Fakes, bounds, paid, payment, receipt};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_paid_and_its_answer_carries_the_receipt() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let unpaid = ask(port.address(), "PUT", "/agents/researcher/a/b%20c?x=1", &[], b"question").await;
    assert_eq!(unpaid.status(), 402);
    assert!(unpaid.get("payment-required").is_some());
    let signature = payment(&json!({}));
    let headers = [("PAYMENT-SIGNATURE", signature.as_str()), ("Content-Type", "text/plain")];
    let answer = ask(port.address(), "PUT", "/agents/researcher/a/b%20c?x=1", &headers, b"question").await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, "question"));
    assert_eq!(paid(answer.get("payment-response").unwrap())["amount"], "42");
    assert_eq!(answer.get("agora-receipt"), Some(receipt().leaf.to_string().as_str()));
    assert_eq!(answer.get("agora-call"), Some(receipt().call.to_string().as_str()));
    assert_eq!((answer.get("agora-charge"), answer.get("cache-control")), (Some("42"), Some("private, no-store")));
    assert_eq!(answer.get("agora-receipt-salt"), Some(format!("0x{}", "66".repeat(16)).as_str()));
    assert_eq!(answer.get("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(answer.get("x-content-type-options"), Some("nosniff"));
    let line = "PUT /a/b%20c?x=1 https://shop.example/agents/researcher/a/b%20c?x=1";
    assert_eq!(fakes.log.count(line), 2, "{:?}", fakes.log.lines());
    let root = ask(port.address(), "GET", "/agents/researcher", &headers, b"").await;
    assert_eq!(root.status(), 201);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_refuse_as_a_paywall_does() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let address = port.address();
    let of = |asks: serde_json::Value| async move {
        ask(address, "POST", "/agents/researcher", &[("PAYMENT-SIGNATURE", &payment(&asks))], b"q").await
    };
    for (what, status) in [("busy", 409), ("conflict", 409), ("refused", 402), ("refund", 200), ("trouble", 503)] {
        assert_eq!(of(json!({"ask": what})).await.status(), status, "{what}");
    }
    assert_eq!(of(json!({"status": 99})).await.status(), 502);
    let large = ask(address, "POST", "/agents/researcher", &[], &[b'x'; 1_025]).await;
    assert_eq!(large.status(), 413);
    for path in ["/agents/nobody", "/agents/Bad_Name", "/agents/%72esearcher"] {
        let answer = ask(address, "GET", path, &[], b"").await;
        assert_eq!((answer.status(), &answer.json()["code"]), (404, &"agent.not_found".into()), "{path}");
    }
    let twice =
        ask(address, "GET", "/agents/researcher", &[("PAYMENT-SIGNATURE", "a"), ("PAYMENT-SIGNATURE", "a")], b"");
    assert_eq!(twice.await.status(), 400);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_goes_on_when_its_buyer_leaves() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let mut client = Client::connect(port.address()).await;
    let asks = json!({"gated": true});
    client.send(request("POST", "/agents/researcher", &[("PAYMENT-SIGNATURE", &payment(&asks))], b"q")).await;
    fakes.log.until("POST /? https://shop.example/agents/researcher").await;
    drop(client);
    // The only worker serves this after it saw the end of the first connection.
    ask(port.address(), "GET", "/supported", &[], b"").await;
    fakes.gate.add_permits(1);
    fakes.log.until("worked").await;
    port.close(PATIENCE).await;
}
