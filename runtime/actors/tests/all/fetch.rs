//! What the owner of an agent that pays over HTTP can rely on, whatever stops at whichever step.

use crate::counter;
use crate::scripted;
use crate::world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agora_actors::agent::record::EventRow;
use agora_economy::ports::state::Table;
use agora_sandbox_api::{AgentError, AgentHost, Event, HttpRequest};
use agora_types::{Amount, Code};
use counter::{Till, Wires, fetch, payee};
use scripted::*;
use world::{Fuse, founded};

const TOKENS: u64 = 6;
const PRICE: u128 = 700;

async fn open(folder: &Path, fuse: Arc<Fuse>, round: u64, scripts: &Scripts, wires: &Arc<Wires>) -> Office {
    Office::with(folder, fuse, round, scripts, |world| Till::on(world, wires)).await
}

async fn whole(folder: &Path, round: u64, scripts: &Scripts, wires: &Arc<Wires>) -> Office {
    open(folder, Fuse::new(None, false), round, scripts, wires).await
}

/// Every atom is on the agent's account, in its channel, or with whom it paid; and it counted what it paid.
async fn check_money(office: &Office, over_http: u128) {
    let view = office.view().await;
    let channel = office.world.channel();
    let deposited = channel.as_ref().map_or(0, |channel| channel.unclaimed().atoms());
    let claimed = channel.map_or(0, |channel| channel.total_claimed.atoms());
    assert_eq!(office.world.balance(&payee()), over_http, "paid over HTTP");
    assert_eq!(view.record.spent.atoms(), claimed + over_http, "the agent counts what it paid");
    assert_eq!((view.used, view.record.fetches.len()), (view.record.spent, 0), "nothing is set aside any more");
    let all = office.world.balance(&scripted::reader()) + deposited + claimed + over_http;
    assert_eq!(all, FUND.atoms(), "an atom is missing");
    office.world.audit();
}

/// Fetches what the payload names, for at most 1,000 atoms.
async fn fetching(event: Event, host: Arc<dyn AgentHost>) -> Answer {
    let path = String::from_utf8(event.payload).unwrap();
    Ok(fetch(host.as_ref(), &path, 1_000).await?.body)
}

#[tokio::test]
async fn a_request_sets_its_most_aside_and_is_charged_exactly() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let mut office = whole(folder.path(), 0, &Scripts::reader(fetching), &wires).await;
    office.deploy(PLENTY).await;
    let event = office.tell("wait=700").await.unwrap();
    wires.reached.notified().await;
    let view = office.view().await;
    assert_eq!((view.used, view.record.spent), (Amount::from_atoms(1_000), Amount::ZERO));
    wires.go.notify_one();
    let row = office.ended(Some(&event)).await;
    assert_eq!((done(&row).as_str(), row.spent.atoms(), row.calls.len()), ("bought", PRICE, 1));
    assert_eq!(office.rows(Table::AgentCalls).await, 0);
    check_money(&office, PRICE).await;
    let free = office.handle("free").await;
    assert_eq!((done(&free).as_str(), free.spent, free.calls.len()), ("free", Amount::ZERO, 0));
    let dear = office.handle("paid=1001").await;
    assert_eq!((done(&dear).as_str(), dear.spent), ("pay first", Amount::ZERO));
    check_money(&office, PRICE).await;
    office.end().await;
}

/// Buys an answer of a model and two over HTTP, and keeps how often.
async fn shopping(event: Event, host: Arc<dyn AgentHost>) -> Answer {
    let words = String::from_utf8(event.payload).unwrap();
    let first = fetch(host.as_ref(), "paid=700", 1_000).await?;
    let text = buy(host.as_ref(), &words, TOKENS).await?;
    let second = fetch(host.as_ref(), "paid=70", 100).await?;
    let refused = fetch(host.as_ref(), "paid=71", 70).await?;
    assert_eq!((first.paid.unwrap().amount, second.paid.unwrap().amount), (atoms(700), atoms(70)));
    assert!(refused.paid.is_none() && refused.status == 402);
    let before = host.get("answers").await?.map_or(0, |bytes| bytes[0]);
    host.set("answers", &[before + 1]).await?;
    Ok(text.into_bytes())
}

fn atoms(number: u128) -> Amount {
    Amount::from_atoms(number)
}

fn stop_at_each_step(persists: bool) {
    let scripts = Scripts::reader(shopping);
    let fresh = founded();
    life(async {
        let office = whole(fresh.path(), 0, &scripts, &Arc::default()).await;
        office.deploy(PLENTY).await;
        office.end().await;
    });
    for step in 0.. {
        let at = format!("step {step}, persists {persists}");
        let (folder, wires) = (copy(fresh.path()), Arc::default());
        let whole_life = life(async {
            let fuse = Fuse::new(Some(step), persists);
            let mut office = open(folder.path(), fuse.clone(), 1, &scripts, &wires).await;
            let work = async {
                office.handle("who owns a wreck").await;
                office.quiet().await;
            };
            tokio::select! {
                () = work => true,
                () = fuse.blown.notified() => false,
            }
        });
        life(async {
            let mut office = whole(folder.path(), 2 + step.unsigned_abs() % 2, &scripts, &wires).await;
            if office.rows(Table::AgentEvents).await == 0 {
                assert!(step == 0 && !persists, "{at}: an accepted event is lost");
                return;
            }
            if office.view().await.waiting > 0 {
                office.ended(None).await;
            }
            office.quiet().await;
            let row = &office.events().await[0];
            assert!(!done(row).is_empty() && answer("who owns a wreck", TOKENS).starts_with(&done(row)), "{at}");
            assert_eq!((row.calls.len(), office.world.receipts()), (3, 2), "{at}");
            assert_eq!(office.kept("answers").await, Some(vec![1]), "{at}");
            assert_eq!((office.rows(Table::Buyer).await, office.rows(Table::AgentCalls).await), (0, 0), "{at}");
            assert_eq!(office.view().await.record.spent, row.spent, "{at}");
            check_money(&office, 770).await;
        });
        if whole_life {
            assert!(step > 20, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_world_that_stops_before_any_step_pays_each_request_once() {
    stop_at_each_step(false);
}

#[test]
fn a_world_that_stops_after_any_step_pays_each_request_once() {
    stop_at_each_step(true);
}

#[test]
fn an_answer_that_was_kept_comes_from_disk_whole_and_nothing_is_sent_again() {
    const LARGEST: usize = 256 * 1_024;
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let scripts = Scripts::reader(|_, host| async move {
        let large = fetch(host.as_ref(), &format!("large={LARGEST}"), 0).await?;
        let bought = fetch(host.as_ref(), "wait=700", 1_000).await?;
        assert_eq!((large.headers.len(), bought.body.as_slice()), (1, &b"bought"[..]));
        Ok(large.body.len().to_string().into_bytes())
    });
    life(async {
        let office = whole(folder.path(), 0, &scripts, &wires).await;
        office.deploy(PLENTY).await;
        office.tell("").await.unwrap();
        wires.reached.notified().await;
    });
    life(async {
        let mut office = whole(folder.path(), 1, &scripts, &wires).await;
        wires.go.notify_one();
        let row = office.ended(None).await;
        assert_eq!(done(&row), LARGEST.to_string());
        assert_eq!(wires.sent.load(Ordering::SeqCst), 3, "the large one once, the other in both lives");
        check_money(&office, PRICE).await;
        office.end().await;
    });
}

/// Ends in the middle of a request, as a guest that takes too long does.
async fn falling(event: Event, host: Arc<dyn AgentHost>, wires: Arc<Wires>) -> Answer {
    let path = String::from_utf8(event.payload).unwrap();
    tokio::select! {
        answer = fetch(host.as_ref(), &path, 1_000) => Ok(answer?.body),
        () = wires.reached.notified() => Err(AgentError::new(Code::AgentOutOfTime, "it took too long")),
    }
}

#[tokio::test]
async fn a_guest_that_falls_within_a_request_pays_nothing_for_it_and_its_most_is_free_again() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let own = Arc::clone(&wires);
    let scripts = Scripts::reader(move |event, host| falling(event, host, Arc::clone(&own)));
    let mut office = whole(folder.path(), 0, &scripts, &wires).await;
    office.deploy(PLENTY).await;
    let row = office.handle("wait=700").await;
    assert_eq!((failed(&row), row.spent, row.calls.len()), (Code::AgentOutOfTime, Amount::ZERO, 0));
    check_money(&office, 0).await;
    office.end().await;
}

/// Goes on after a request that failed, and says how.
async fn patient(event: Event, host: Arc<dyn AgentHost>) -> Answer {
    match fetching(event, host).await {
        Ok(body) => Ok(body),
        Err(error) => Ok(error.code.text().as_bytes().to_vec()),
    }
}

#[tokio::test]
async fn what_a_doubtful_request_cost_is_found_out_when_the_event_ends() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let mut office = whole(folder.path(), 0, &Scripts::reader(patient), &wires).await;
    office.deploy(PLENTY).await;
    let row = office.handle("doubtful=700").await;
    assert_eq!((done(&row).as_str(), row.spent.atoms(), row.calls.len()), ("bus.timeout", PRICE, 1));
    check_money(&office, PRICE).await;
    office.end().await;
}

#[tokio::test]
async fn what_nobody_knows_the_cost_of_stays_set_aside_until_somebody_does() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let mut office = whole(folder.path(), 0, &Scripts::reader(patient), &wires).await;
    office.deploy(PLENTY).await;
    wires.dark.store(true, Ordering::SeqCst);
    let row = office.handle("doubtful=700").await;
    assert_eq!((done(&row).as_str(), row.spent), ("bus.timeout", Amount::ZERO));
    let view = office.view().await;
    assert_eq!((view.used.atoms(), view.record.fetches.len()), (1_000, 1), "the most that it can have cost");
    // Also for the node's next life, and for the next version of the agent.
    office.end().await;
    let mut office = whole(folder.path(), 1, &Scripts::reader(patient), &wires).await;
    office.deploy_again("budget = \"4\"\nper_call = \"1\"\n").await.unwrap();
    assert_eq!(office.view().await.used.atoms(), 1_000);
    wires.dark.store(false, Ordering::SeqCst);
    assert_eq!(done(&office.handle("free").await), "free");
    while !office.view().await.record.fetches.is_empty() {
        tokio::task::yield_now().await;
    }
    check_money(&office, PRICE).await;
    office.end().await;
}

#[tokio::test]
async fn a_stopped_agent_gives_its_requests_up_and_gets_the_rest_back() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let mut office = whole(folder.path(), 0, &Scripts::reader(fetching), &wires).await;
    office.deploy(PLENTY).await;
    done(&office.handle("paid=700").await);
    office.tell("wait=300").await.unwrap();
    wires.reached.notified().await;
    let (view, stopped) = office.agents.stop(READER).await.unwrap();
    assert_eq!((view.record.spent.atoms(), view.record.fetches.len()), (PRICE, 0));
    assert_eq!(stopped.returned.atoms(), FUND.atoms() - PRICE);
    office.end().await;
}

#[tokio::test]
async fn an_answer_that_is_paid_and_of_no_use_is_counted_all_the_same() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let mut office = whole(folder.path(), 0, &Scripts::reader(patient), &wires).await;
    office.deploy(PLENTY).await;
    for path in ["broken=700", "flood=700"] {
        let row = office.handle(path).await;
        assert_eq!((done(&row).as_str(), row.spent.atoms()), ("agent.too_large", PRICE), "{path}");
    }
    let row = office.handle("away").await;
    assert_eq!((done(&row).as_str(), row.spent), ("call.no_answer", Amount::ZERO));
    check_money(&office, 2 * PRICE).await;
    office.end().await;
}

fn refused(row: &EventRow) -> (Code, Amount) {
    (failed(row), row.spent)
}

#[tokio::test]
async fn an_agent_without_the_right_grant_or_budget_sends_nothing() {
    let (folder, wires) = (founded(), Arc::new(Wires::default()));
    let scripts = Scripts::reader(|event, host| async move {
        let url = String::from_utf8(event.payload).unwrap();
        let max_spend = Amount::from_atoms(1_000);
        let request = HttpRequest { method: "GET".into(), url, headers: Vec::new(), body: Vec::new(), max_spend };
        Ok(host.fetch(&request).await?.body)
    });
    let url = "http://127.0.0.1:8402/paid=700";
    let mut office = whole(folder.path(), 0, &scripts, &wires).await;
    office.deploy(PLENTY).await;
    for (elsewhere, code) in [
        ("http://127.0.0.1:8403/", Code::AgentDenied),
        ("https://example.com/", Code::AgentDenied),
        ("http://127.0.0.1:8402@evil.com/", Code::AgentBadRequest),
    ] {
        assert_eq!(refused(&office.handle(elsewhere).await), (code, Amount::ZERO), "{elsewhere}");
    }
    let thousand = "0.000000000000001";
    let under = "0.000000000000000999";
    for (wallet, code) in [
        (format!("budget = \"5\"\nper_call = \"{under}\"\n"), Code::AgentOverBudget),
        (format!("budget = \"{under}\"\nper_call = \"{under}\"\n"), Code::AgentOverBudget),
        (format!("{PLENTY}expires_at_s = 1\n"), Code::AgentDenied),
    ] {
        office.deploy_again(&wallet).await.unwrap();
        assert_eq!(refused(&office.handle(url).await), (code, Amount::ZERO), "{wallet}");
    }
    assert_eq!(wires.sent.load(Ordering::SeqCst), 0);
    // Exactly the most is enough, for one request; what it left of the budget is too little for the next.
    office.deploy_again(&format!("budget = \"{thousand}\"\nper_call = \"{thousand}\"\n")).await.unwrap();
    assert_eq!(done(&office.handle(url).await), "bought");
    assert_eq!(refused(&office.handle(url).await), (Code::AgentOverBudget, Amount::ZERO));
    check_money(&office, PRICE).await;
    office.end().await;
}

#[tokio::test]
async fn an_agent_on_a_node_without_a_client_is_told_so() {
    let folder = founded();
    let mut office = Office::whole(folder.path(), 0, &Scripts::reader(fetching)).await;
    office.deploy(PLENTY).await;
    let row = office.handle("free").await;
    assert_eq!(refused(&row), (Code::AgentDenied, Amount::ZERO));
    assert!(format!("{:?}", row.state).contains("no client"), "{row:?}");
    office.end().await;
}
