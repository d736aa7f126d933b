//! What an agent that sells, its owner and its buyers can rely on, whatever stops at whichever step.

use crate::counter;
use crate::scripted;
use crate::world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agora_actors::agent::{FAILURES_MAX, REQUESTS_WAITING_MAX, ServeAnswer};
use agora_economy::ports::state::Table;
use agora_economy::testkit::key;
use agora_sandbox_api::{AgentError, AgentHost, ServeRequest, ServeResponse};
use agora_types::{Amount, Code};
use counter::{Till, Wires, fetch, payee};
use scripted::*;
use tokio::sync::Notify;
use world::{Fuse, founded};

const TOKENS: u64 = 6;
const LONG: Duration = Duration::from_secs(60);

fn request(id: &str, body: &str) -> ServeRequest {
    ServeRequest {
        id: id.into(),
        payer: Some(key(77).address()),
        price_paid: Amount::from_atoms(1_000),
        method: "POST".into(),
        path: "/".into(),
        query: String::new(),
        content_type: "text/plain".into(),
        body: body.as_bytes().to_vec(),
    }
}

fn text(body: impl Into<Vec<u8>>) -> ServeResponse {
    ServeResponse { status: 200, content_type: "text/plain".into(), body: body.into() }
}

/// Buys an answer of a model and one over HTTP for each request.
async fn selling(request: ServeRequest, host: Arc<dyn AgentHost>) -> Served {
    let words = String::from_utf8(request.body).unwrap();
    let bought = buy(host.as_ref(), &words, TOKENS).await?;
    let more = fetch(host.as_ref(), "paid=70", 100).await?;
    assert_eq!(more.body, b"bought");
    let before = host.get("answers").await?.map_or(0, |bytes| bytes[0]);
    host.set("answers", &[before + 1]).await?;
    Ok(text(bought))
}

async fn open(folder: &Path, fuse: Arc<Fuse>, round: u64, scripts: &Scripts) -> Office {
    Office::with(folder, fuse, round, scripts, |world| Till::on(world, &Arc::<Wires>::default())).await
}

async fn whole(folder: &Path, round: u64, scripts: &Scripts) -> Office {
    open(folder, Fuse::new(None, false), round, scripts).await
}

async fn served(office: &Office, request: ServeRequest) -> Result<ServeAnswer, Code> {
    let served = office.agents.serve(READER, request);
    tokio::time::timeout(LONG, served).await.expect("it is answered").map_err(|error| error.code)
}

#[tokio::test]
async fn a_request_is_answered_once_and_a_repeat_gets_the_first_answer() {
    let folder = founded();
    let office = whole(folder.path(), 0, &Scripts::seller(selling)).await;
    office.deploy(PLENTY).await;
    let answer = served(&office, request("one", "who owns a wreck")).await.unwrap();
    assert_eq!(answer.response, text(scripted::answer("who owns a wreck", TOKENS)));
    office.quiet().await;
    assert_eq!((answer.calls.len(), office.world.receipts()), (2, 2), "a call and a request over HTTP");
    assert_eq!(office.view().await.record.spent, answer.spent);
    let again = served(&office, request("one", "who owns a wreck")).await.unwrap();
    assert_eq!(again, answer);
    for other in [
        request("one", "who salvages it"),
        ServeRequest { price_paid: Amount::ZERO, ..request("one", "who owns a wreck") },
        ServeRequest { payer: None, ..request("one", "who owns a wreck") },
    ] {
        assert_eq!(served(&office, other).await, Err(Code::AgentServedOther));
    }
    assert_eq!(office.kept("answers").await, Some(vec![1]));
    // Another life remembers it too.
    office.end().await;
    let office = whole(folder.path(), 1, &Scripts::seller(selling)).await;
    assert_eq!(served(&office, request("one", "who owns a wreck")).await.unwrap(), answer);
    assert_eq!((office.world.balance(&payee()), office.world.receipts()), (70, 2));
    office.world.audit();
    office.end().await;
}

fn stop_at_each_step(persists: bool) {
    let scripts = Scripts::seller(selling);
    let fresh = founded();
    life(async {
        let office = whole(fresh.path(), 0, &scripts).await;
        office.deploy(PLENTY).await;
        office.end().await;
    });
    let asked = || request("one", "who owns a wreck");
    for step in 0.. {
        let at = format!("step {step}, persists {persists}");
        let folder = copy(fresh.path());
        let first = life(async {
            let fuse = Fuse::new(Some(step), persists);
            let office = open(folder.path(), fuse.clone(), 1, &scripts).await;
            let work = async {
                let answer = served(&office, asked()).await.unwrap();
                office.quiet().await;
                answer
            };
            tokio::select! {
                answer = work => Some(answer),
                () = fuse.blown.notified() => None,
            }
        });
        life(async {
            let office = whole(folder.path(), 2 + step.unsigned_abs() % 2, &scripts).await;
            let answer = served(&office, asked()).await.unwrap();
            let body = String::from_utf8(answer.response.body.clone()).unwrap();
            assert!(!body.is_empty() && scripted::answer("who owns a wreck", TOKENS).starts_with(&body), "{at}");
            assert!(first.as_ref().is_none_or(|first| *first == answer), "{at}");
            assert_eq!(served(&office, asked()).await.unwrap(), answer, "{at}");
            office.quiet().await;
            assert_eq!((answer.calls.len(), office.world.receipts()), (2, 2), "{at}");
            assert_eq!((office.kept("answers").await, office.world.balance(&payee())), (Some(vec![1]), 70), "{at}");
            let view = office.view().await;
            assert_eq!((view.record.spent, view.used, view.record.handled), (answer.spent, answer.spent, 1), "{at}");
            let left = (office.rows(Table::Buyer).await, office.rows(Table::AgentCalls).await);
            assert_eq!((left, office.rows(Table::AgentEvents).await), ((0, 0), 1), "{at}");
            office.world.audit();
        });
        if first.is_some() {
            assert!(step > 14, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_world_that_stops_before_any_step_serves_the_request_once() {
    stop_at_each_step(false);
}

#[test]
fn a_world_that_stops_after_any_step_serves_the_request_once() {
    stop_at_each_step(true);
}

#[tokio::test]
async fn a_failed_request_stays_failed_and_strangers_cannot_suspend_an_agent_with_it() {
    let folder = founded();
    let scripts = Scripts::seller(|request, host| async move {
        match request.body.as_slice() {
            b"spend and fail" => {
                fetch(host.as_ref(), "paid=70", 100).await?;
                Err(AgentError::new(Code::AgentFailed, "after paying"))
            }
            b"fail" => Err(AgentError::new(Code::AgentFailed, "as it was told")),
            b"nonsense" => Ok(ServeResponse { status: 99, ..text("") }),
            body => Ok(text(body)),
        }
    });
    let office = whole(folder.path(), 0, &scripts).await;
    office.deploy(PLENTY).await;
    for number in 0..=FAILURES_MAX {
        let failing = || request(&format!("fail-{number}"), "fail");
        assert_eq!(served(&office, failing()).await, Err(Code::AgentFailed));
        assert_eq!(served(&office, failing()).await, Err(Code::AgentFailed), "the first answer again");
        assert_eq!(served(&office, request(&format!("nonsense-{number}"), "nonsense")).await, Err(Code::AgentFailed));
    }
    assert_eq!(served(&office, request("well", "hello")).await.unwrap().response, text("hello"));
    // One that spends and fails is another matter: each costs the owner.
    for number in 0..FAILURES_MAX {
        let spending = request(&format!("spend-{number}"), "spend and fail");
        assert_eq!(served(&office, spending).await, Err(Code::AgentFailed));
    }
    assert_eq!(office.view().await.used, Amount::from_atoms(70 * u128::from(FAILURES_MAX)));
    assert_eq!(served(&office, request("more", "hello")).await, Err(Code::AgentSuspended));
    office.end().await;
}

/// A seller that waits at a gate in each request, and counts them.
fn gated(go: &Arc<Notify>, count: &Arc<AtomicUsize>) -> Scripts {
    let (go, count) = (Arc::clone(go), Arc::clone(count));
    Scripts::seller(move |request, _| {
        let (go, count) = (Arc::clone(&go), Arc::clone(&count));
        async move {
            go.notified().await;
            go.notify_one();
            count.fetch_add(1, Ordering::SeqCst);
            Ok(text(request.body))
        }
    })
}

/// Waits until so many requests are written down.
async fn written(office: &Office, count: usize) {
    let wait = async {
        while office.rows(Table::AgentEvents).await < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("they are written down");
}

#[tokio::test]
async fn a_bounded_number_of_requests_waits_and_the_owner_is_heard_all_the_same() {
    let (folder, go, count) = (founded(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut office = whole(folder.path(), 0, &gated(&go, &count)).await;
    office.deploy(PLENTY).await;
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..REQUESTS_WAITING_MAX {
        let agents = office.agents.clone();
        waiting.spawn(async move { agents.serve(READER, request(&format!("r{number}"), "hello")).await });
        written(&office, number + 1).await;
    }
    // Twice the same is one request.
    let agents = office.agents.clone();
    waiting.spawn(async move { agents.serve(READER, request("r0", "hello")).await });
    assert_eq!(served(&office, request("one-too-many", "hello")).await, Err(Code::AgentBusy));
    let event = office.tell("from the owner").await.unwrap();
    go.notify_one();
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap().unwrap().response, text("hello"));
    }
    assert_eq!(count.load(Ordering::SeqCst), REQUESTS_WAITING_MAX);
    assert_eq!(done(&office.ended(Some(&event)).await), "from the owner");
    assert_eq!(served(&office, request("room-again", "hello")).await.unwrap().response, text("hello"));
    office.end().await;
}

#[tokio::test]
async fn a_request_whose_turn_comes_too_late_is_not_begun() {
    let (folder, go, count) = (founded(), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let office = whole(folder.path(), 0, &gated(&go, &count)).await;
    office.deploy(PLENTY).await;
    let ask = |id: &'static str| {
        let agents = office.agents.clone();
        tokio::spawn(async move { agents.serve(READER, request(id, "hello")).await.map_err(|error| error.code) })
    };
    let first = ask("first");
    written(&office, 1).await;
    let second = ask("second");
    written(&office, 2).await;
    // `serve.timeout_s` is 60.
    office.world.clock.skip_secs(61);
    go.notify_one();
    assert_eq!(first.await.unwrap().unwrap().response, text("hello"));
    assert_eq!(second.await.unwrap(), Err(Code::AgentBusy));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    office.end().await;
}

#[test]
fn a_request_that_was_begun_is_ended_however_late_the_node_is_back() {
    let folder = founded();
    let scripts = Scripts::seller(|request, host| async move {
        fetch(host.as_ref(), "paid=70", 100).await?;
        fetch(host.as_ref(), "paid=7", 100).await?;
        Ok(text(request.body))
    });
    life(async {
        let office = whole(folder.path(), 0, &scripts).await;
        office.deploy(PLENTY).await;
        office.end().await;
    });
    life(async {
        // Accepted, then intent, signed, paid and kept of what is bought first.
        let fuse = Fuse::new(Some(5), false);
        let office = open(folder.path(), fuse.clone(), 1, &scripts).await;
        let agents = office.agents.clone();
        tokio::spawn(async move { agents.serve(READER, request("begun", "hello")).await });
        fuse.blown.notified().await;
    });
    life(async {
        // Far over `serve.timeout_s`.
        let office = whole(folder.path(), 20, &scripts).await;
        assert_eq!(served(&office, request("begun", "hello")).await.unwrap().response, text("hello"));
        assert_eq!(office.world.balance(&payee()), 77);
        office.end().await;
    });
}

#[tokio::test]
async fn a_request_that_brings_a_program_to_its_knees_is_answered_with_the_agents_state() {
    let folder = founded();
    let scripts = Scripts::seller(|request, _| async move {
        assert_ne!(request.body, b"panic", "a bug in the sandbox");
        Ok(text(request.body))
    });
    let office = whole(folder.path(), 0, &scripts).await;
    office.deploy(PLENTY).await;
    assert_eq!(served(&office, request("bad", "panic")).await, Err(Code::AgentSuspended));
    office.end().await;
}

#[tokio::test]
async fn only_what_the_manifest_sells_is_served_and_only_within_its_bounds() {
    let folder = founded();
    let office = whole(folder.path(), 0, &Scripts::seller(|request, _| async move { Ok(text(request.body)) })).await;
    assert_eq!(served(&office, request("one", "")).await, Err(Code::AgentNotFound));
    office.deploy(PLENTY).await;
    let offer = office.agents.offer(READER).await.unwrap();
    assert_eq!((offer.name.as_str(), offer.account), (READER, scripted::reader()));
    assert_eq!((offer.terms.price, offer.terms.timeout_s), ("0.001".parse().unwrap(), 60));
    assert_eq!(office.agents.offers().await.unwrap(), [offer]);
    // `serve.input_kib` is 1.
    assert_eq!(served(&office, request("fits", &"x".repeat(1_024))).await.unwrap().response.body.len(), 1_024);
    assert_eq!(served(&office, request("large", &"x".repeat(1_025))).await, Err(Code::AgentTooLarge));
    assert_eq!(served(&office, request("", "x")).await, Err(Code::AgentBadRequest));
    let told = office.agents.tell(READER, "serve", Vec::new()).await.unwrap_err();
    assert_eq!(told.code, Code::AgentBadRequest, "nobody forges a request as an event");
    assert_eq!(office.rows(Table::AgentEvents).await, 1);
    let plain = manifest(PLENTY).replace(SELLS, "");
    office.agents.deploy(plain, READER.into(), owner()).await.unwrap();
    assert_eq!(served(&office, request("one", "")).await, Err(Code::AgentSellsNothing));
    assert_eq!(office.agents.offers().await.unwrap(), []);
    office.deploy_again(PLENTY).await.unwrap();
    office.agents.stop(READER).await.unwrap();
    assert_eq!(served(&office, request("one", "")).await, Err(Code::AgentStopped));
    assert_eq!(office.agents.offers().await.unwrap(), []);
    office.end().await;
}
