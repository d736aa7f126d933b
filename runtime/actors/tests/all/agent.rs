//! What the owner of an agent can rely on, whatever the agent does and whatever stops at whichever step.

use crate::scripted;
use crate::world;

use std::sync::Arc;
use std::time::Duration;

use agora_actors::agent::record::{EventRow, Status};
use agora_actors::agent::{FAILURES_MAX, PAYLOAD_MAX, Stopped, WAITING_MAX, lines};
use agora_economy::ports::state::Table;
use agora_economy::testkit::*;
use agora_sandbox_api::{AgentError, AgentHost, Event};
use agora_types::{Amount, Code};
use scripted::*;
use tokio::sync::Notify;
use world::{Fuse, founded, prices};

const TOKENS: u64 = 6;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn reader() -> Scripts {
    Scripts::reader(|event, host| reading(event, host, TOKENS))
}

/// What an event's receipts say that it cost, which is what its row says.
fn check_event(office: &Office, row: &EventRow, calls: usize) {
    assert_eq!(row.calls.len(), calls);
    assert_eq!(office.world.receipts(), 2 * calls as u64, "a provisional and a final leaf for each call");
}

/// So much came out of channels and went to the owner, and nothing waits.
fn gave_back(amount: Amount) -> Stopped {
    Stopped { refunded: amount, returned: amount, waiting: Amount::ZERO, until: None }
}

#[tokio::test]
async fn a_question_is_answered_paid_and_receipted_and_the_budget_is_charged_exactly() {
    let folder = founded();
    let (kept, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (Arc::clone(&kept), Arc::clone(&go));
    let scripts = Scripts::reader(move |event, host| {
        let (kept, go) = gates.clone();
        async move {
            let answer = reading(event, host, TOKENS).await;
            kept.notify_one();
            go.notified().await;
            answer
        }
    });
    let mut office = Office::whole(folder.path(), 0, &scripts).await;
    let view = office.deploy(PLENTY).await;
    assert_eq!((view.budget, view.used, view.balance), (Amount::from_open(5), Amount::ZERO, FUND));
    let event = office.tell("who owns a wreck").await.unwrap();
    kept.notified().await;
    assert_eq!(office.kept("answers").await, None, "kept values wait for the end of the event");
    assert_eq!(office.view().await.waiting, 1);
    go.notify_one();
    let row = office.ended(Some(&event)).await;
    assert_eq!(office.kept("answers").await, Some(vec![1]));
    assert_eq!(office.agents.event(READER, &event).await.unwrap().as_ref(), Some(&row));
    assert_eq!((done(&row), row.kind.as_str()), (answer("who owns a wreck", TOKENS), "message"));
    office.quiet().await;
    check_event(&office, &row, 1);
    let view = office.view().await;
    assert_eq!((view.used, view.record.spent, view.record.handled), (row.spent, row.spent, 1));
    let opening = office.world.buyer.opening(scripted::reader(), row.calls[0]).await.unwrap();
    assert_eq!(opening.expect("the evidence").response, done(&row).into_bytes());
    let log = lines(office.world.journal.as_ref(), READER, None, 10).await.unwrap();
    assert_eq!(log.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["answered who owns a wreck"]);
    assert_eq!((office.rows(Table::Buyer).await, office.rows(Table::AgentCalls).await), (0, 0));
    office.check_money(row.spent, Amount::ZERO);
    // The next event finds what this one kept, and pays out of the same channel.
    go.notify_one();
    let before = office.world.balance(&scripted::reader());
    let next = office.handle("and who salvages it").await;
    assert_eq!(office.kept("answers").await, Some(vec![2]));
    assert_eq!(office.world.balance(&scripted::reader()), before);
    office.quiet().await;
    office.check_money(row.spent.checked_add(next.spent).unwrap(), Amount::ZERO);
    office.end().await;
}

/// A folder with a deployed and funded agent, at rest.
fn deployed(scripts: &Scripts) -> tempfile::TempDir {
    let folder = founded();
    life(async {
        let office = Office::whole(folder.path(), 0, scripts).await;
        office.deploy(PLENTY).await;
        office.end().await;
    });
    folder
}

/// Stops the world at each durable step of an event in turn, and starts it again.
fn stop_at_each_step(persists: bool) {
    let scripts = reader();
    let fresh = deployed(&scripts);
    for step in 0.. {
        let at = format!("step {step}, persists {persists}");
        let folder = copy(fresh.path());
        let whole = life(async {
            let fuse = Fuse::new(Some(step), persists);
            let mut office = Office::open(folder.path(), fuse.clone(), 1, &scripts).await;
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
            // A quote of the first life is still good in the one half of the cases, and has expired in the other.
            let mut office = Office::whole(folder.path(), 2 + step.unsigned_abs() % 2, &scripts).await;
            if office.rows(Table::AgentEvents).await == 0 {
                assert!(step == 0 && !persists, "{at}: an accepted event is lost");
                assert_eq!(office.world.receipts(), 0);
                return;
            }
            if office.view().await.waiting > 0 {
                office.ended(None).await;
            }
            office.quiet().await;
            let events = office.events().await;
            assert_eq!(events.len(), 1, "{at}");
            let (text, words) = (done(&events[0]), "who owns a wreck");
            assert!(!text.is_empty() && answer(words, TOKENS).starts_with(&text), "{at}: {text}");
            check_event(&office, &events[0], 1);
            let view = office.view().await;
            assert_eq!((view.used, view.record.handled), (events[0].spent, 1), "{at}");
            assert_eq!(office.kept("answers").await, Some(vec![1]), "{at}");
            let left = (office.rows(Table::Buyer).await, office.rows(Table::AgentCalls).await);
            assert_eq!(left, (0, 0), "{at}");
            office.check_money(events[0].spent, Amount::ZERO);
        });
        if whole {
            assert!(step > 12, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_world_that_stops_before_any_step_handles_the_event_again_and_pays_once() {
    stop_at_each_step(false);
}

#[test]
fn a_world_that_stops_after_any_step_handles_the_event_again_and_pays_once() {
    stop_at_each_step(true);
}

/// The reader, and the price of its question as the answer to `price`.
fn pricing() -> Scripts {
    Scripts::reader(|event, host| async move {
        if event.payload != b"price" {
            return reading(event, host, TOKENS).await;
        }
        let terms = quote(host.as_ref(), "who owns a wreck", TOKENS).await?;
        Ok(terms.charge_max.to_string().into_bytes())
    })
}

#[tokio::test]
async fn an_agent_without_the_right_grant_or_budget_is_refused_before_anything_is_signed() {
    let stranger = key(77).address();
    let folder = founded();
    let mut office = Office::whole(folder.path(), 0, &pricing()).await;
    office.deploy(PLENTY).await;
    let price: Amount = done(&office.handle("price").await).parse().unwrap();
    let under = Amount::from_atoms(price.atoms() - 1);
    let wallets = [
        (format!("budget = \"5\"\nper_call = \"{under}\"\n"), Code::AgentOverBudget),
        (format!("budget = \"{under}\"\nper_call = \"{under}\"\n"), Code::AgentOverBudget),
        (format!("{PLENTY}owners = [\"{stranger}\"]\n"), Code::AgentDenied),
        (format!("{PLENTY}listings = [\"{}\"]\n", agora_types::ListingId::new([7; 32])), Code::AgentDenied),
        (format!("{PLENTY}expires_at_s = 1\n"), Code::AgentDenied),
    ];
    for (wallet, code) in wallets {
        office.deploy_again(&wallet).await.unwrap();
        let row = office.handle("who owns a wreck").await;
        assert_eq!((failed(&row), row.spent, row.calls.len()), (code, Amount::ZERO, 0), "{wallet}");
        assert_eq!((office.world.receipts(), office.rows(Table::Buyer).await), (0, 0), "{wallet}");
        assert_eq!(office.world.balance(&scripted::reader()), FUND.atoms(), "{wallet}");
        assert!(office.world.channel().is_none(), "{wallet}");
        assert_eq!(office.view().await.record.payees, [], "{wallet}");
    }
    // Exactly the price is enough, for one call.
    let wallet = format!("budget = \"{price}\"\nper_call = \"{price}\"\nowners = [\"{}\"]\n", owner());
    office.deploy_again(&wallet).await.unwrap();
    let paid = office.handle("who owns a wreck").await;
    assert_eq!((done(&paid), paid.spent), (answer("who owns a wreck", TOKENS), price));
    let row = office.handle("who owns a wreck").await;
    assert_eq!((failed(&row), row.spent), (Code::AgentOverBudget, Amount::ZERO), "the budget is spent");
    office.quiet().await;
    check_event(&office, &paid, 1);
    office.check_money(price, Amount::ZERO);
    office.end().await;
}

/// Fails with a stream open when the payload says so.
async fn trapping(event: Event, host: Arc<dyn AgentHost>) -> Answer {
    if event.payload != b"trap" {
        return reading(event, host, TOKENS).await;
    }
    host.set("answers", b"lost").await?;
    let terms = quote(host.as_ref(), "who owns a wreck", 400).await?;
    let stream = host.open(terms.handle).await?;
    host.next_batch(stream, 1).await?;
    Err(AgentError::new(Code::AgentTrapped, "unreachable"))
}

#[tokio::test]
async fn an_agent_that_fails_pays_for_what_arrived_and_is_suspended_when_it_goes_on() {
    let folder = founded();
    let mut office = Office::whole(folder.path(), 0, &Scripts::reader(trapping)).await;
    office.deploy(PLENTY).await;
    let mut spent = Amount::ZERO;
    let whole = prices().charge(&agora_types::Usage { output: 400, ..Default::default() }).unwrap();
    for failures in 1..=FAILURES_MAX {
        let row = office.handle("trap").await;
        assert_eq!(failed(&row), Code::AgentTrapped);
        office.quiet().await;
        check_event(
            &office,
            &EventRow { calls: row.calls.repeat(failures as usize), ..row.clone() },
            failures as usize,
        );
        assert!(!row.spent.is_zero() && row.spent < whole, "{} of {whole} for some tokens of 400", row.spent);
        spent = spent.checked_add(row.spent).unwrap();
        office.check_money(spent, Amount::ZERO);
        assert_eq!(office.kept("answers").await, None);
        let record = office.view().await.record;
        assert_eq!((record.failures, record.spent), (failures, spent));
        assert!(record.failure.unwrap().contains("unreachable"));
    }
    assert_eq!(office.agents.status(READER).await.unwrap(), Status::Suspended);
    assert_eq!(office.tell("who owns a wreck").await.unwrap_err().code, Code::AgentSuspended);
    // Also after the node was started anew.
    office.end().await;
    let mut office = Office::whole(folder.path(), 1, &Scripts::reader(trapping)).await;
    assert_eq!(office.tell("who owns a wreck").await.unwrap_err().code, Code::AgentSuspended);
    let view = office.deploy_again(PLENTY).await.unwrap();
    assert_eq!((view.record.status, view.record.failures, view.used), (Status::Running, 0, spent));
    let row = office.handle("who owns a wreck").await;
    assert_eq!(done(&row), answer("who owns a wreck", TOKENS));
    office.quiet().await;
    office.check_money(spent.checked_add(row.spent).unwrap(), Amount::ZERO);
    office.end().await;
}

/// A reader that stops in the middle of each answer: it tells the first gate, and waits at the second.
fn halfway(reached: &Arc<Notify>, go: &Arc<Notify>) -> Scripts {
    let gates = (Arc::clone(reached), Arc::clone(go));
    Scripts::reader(move |_, host| {
        let (reached, go) = gates.clone();
        async move {
            let terms = quote(host.as_ref(), "who owns a wreck", 400).await?;
            let stream = host.open(terms.handle).await?;
            let first = host.next_batch(stream, 1).await?;
            reached.notify_one();
            go.notified().await;
            let text = first.text + &read(host.as_ref(), stream).await?;
            Ok(text.into_bytes())
        }
    })
}

#[tokio::test]
async fn an_agent_that_is_stopped_pays_for_what_arrived_and_returns_the_rest_to_its_owner() {
    let folder = founded();
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let office = Office::whole(folder.path(), 0, &halfway(&reached, &go)).await;
    office.deploy(PLENTY).await;
    let before = office.world.balance(&owner());
    let event = office.tell("").await.unwrap();
    reached.notified().await;
    let stopped = tokio::time::timeout(LONG, office.agents.stop(READER)).await.expect("it waits for nobody");
    let (view, stopped) = stopped.unwrap();
    assert_eq!((view.record.status, view.balance), (Status::Stopped, Amount::ZERO));
    assert_eq!((office.rows(Table::Buyer).await, view.used), (0, view.record.spent));
    office.quiet().await;
    assert_eq!(office.world.receipts(), 2);
    let back = Amount::from_atoms(FUND.atoms() - view.record.spent.atoms());
    assert_eq!(stopped.returned, back);
    // The owner is the model's owner too, and has a share of what the call cost.
    let share = office.world.balance(&owner()) - before - back.atoms();
    assert!(share < view.record.spent.atoms());
    assert!(office.world.channel().unwrap().unclaimed().is_zero());
    office.check_money(view.record.spent, back);
    let (again, nothing) = office.agents.stop(READER).await.unwrap();
    assert_eq!(nothing, gave_back(Amount::ZERO));
    assert_eq!((again, office.world.receipts()), (view, 2));
    assert_eq!(office.tell("").await.unwrap_err().code, Code::AgentStopped);
    let row = office.agents.event(READER, &event).await.unwrap().unwrap();
    assert_eq!((failed(&row), office.rows(Table::AgentCalls).await), (Code::AgentStopped, 0));
    office.check_money(office.view().await.record.spent, back);
    office.end().await;
}

#[tokio::test]
async fn a_host_that_is_gone_keeps_its_deposit_only_until_it_is_back() {
    let folder = founded();
    let mut office = Office::whole(folder.path(), 0, &reader()).await;
    office.deploy(PLENTY).await;
    let row = office.handle("who owns a wreck").await;
    office.quiet().await;
    let deposited = office.world.channel().unwrap().unclaimed();
    office.world.silence().await;
    assert_eq!(office.agents.stop(READER).await.unwrap_err().code, Code::BusNoResponders);
    let returned = Amount::from_atoms(FUND.atoms() - row.spent.atoms() - deposited.atoms());
    assert_eq!(office.world.balance(&scripted::reader()), 0, "what no host holds is back");
    office.check_money(row.spent, returned);
    office.world.listen().await;
    let (view, stopped) = office.agents.stop(READER).await.unwrap();
    assert_eq!(stopped, gave_back(deposited));
    assert!(view.balance.is_zero());
    office.check_money(row.spent, returned.checked_add(deposited).unwrap());
    office.end().await;
}

#[test]
fn an_agent_that_does_something_else_after_a_crash_fails_and_its_call_is_settled() {
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let first = halfway(&reached, &go);
    let folder = deployed(&first);
    let event = life(async {
        let office = Office::whole(folder.path(), 1, &first).await;
        let event = office.tell("who salvages it").await.unwrap();
        reached.notified().await;
        event
    });
    life(async {
        let mut office = Office::whole(folder.path(), 2, &reader()).await;
        let row = office.ended(Some(&event)).await;
        assert_eq!(failed(&row), Code::AgentFailed);
        office.quiet().await;
        assert_eq!(office.world.receipts(), 2);
        let view = office.view().await;
        assert!(!view.record.spent.is_zero());
        assert_eq!((view.used, view.record.failures), (view.record.spent, 1));
        assert_eq!(office.rows(Table::AgentCalls).await, 0);
        office.check_money(view.record.spent, Amount::ZERO);
        office.end().await;
    });
}

#[tokio::test]
async fn an_event_that_runs_when_the_next_version_is_deployed_goes_on_there_and_is_paid_once() {
    let folder = founded();
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut office = Office::whole(folder.path(), 0, &halfway(&reached, &go)).await;
    office.deploy(PLENTY).await;
    let event = office.tell("").await.unwrap();
    reached.notified().await;
    office.deploy_again("budget = \"6\"\nper_call = \"1\"\n").await.unwrap();
    go.notify_one();
    let row = office.ended(Some(&event)).await;
    assert!(answer("who owns a wreck", 400).starts_with(&done(&row)), "{row:?}");
    office.quiet().await;
    check_event(&office, &row, 1);
    let view = office.view().await;
    assert_eq!((view.budget, view.used), (Amount::from_open(6), row.spent));
    office.check_money(row.spent, Amount::ZERO);
    office.end().await;
}

#[tokio::test]
async fn an_agent_that_buys_twice_in_a_row_is_served_twice() {
    let folder = founded();
    let scripts = Scripts::reader(|_, host| async move {
        for number in 0..5 {
            let text = buy(host.as_ref(), "who owns a wreck", TOKENS).await?;
            assert_eq!(text, answer("who owns a wreck", TOKENS), "call {number}");
        }
        Ok(Vec::new())
    });
    let mut office = Office::whole(folder.path(), 0, &scripts).await;
    office.deploy(PLENTY).await;
    let row = office.handle("").await;
    done(&row);
    office.quiet().await;
    check_event(&office, &row, 5);
    office.check_money(row.spent, Amount::ZERO);
    office.end().await;
}

#[tokio::test]
async fn a_program_that_panics_suspends_its_agent_and_no_other_event_waits_for_ever() {
    let folder = founded();
    let scripts = Scripts::reader(|event, host| async move {
        assert_ne!(event.payload, b"panic", "a bug in the sandbox");
        reading(event, host, TOKENS).await
    });
    let office = Office::whole(folder.path(), 0, &scripts).await;
    office.deploy(PLENTY).await;
    office.tell("panic").await.unwrap();
    let suspended = async {
        while office.agents.status(READER).await.unwrap() != Status::Suspended {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, suspended).await.expect("an agent that cannot run stays down");
    assert_eq!(office.tell("who owns a wreck").await.unwrap_err().code, Code::AgentSuspended);
    office.check_money(Amount::ZERO, Amount::ZERO);
    office.end().await;
}

#[tokio::test]
async fn what_an_agent_is_told_has_bounds() {
    let folder = founded();
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let scripts = Scripts::reader(move |event, _| {
        let gate = Arc::clone(&gate);
        async move {
            gate.notified().await;
            gate.notify_one();
            Ok(event.payload)
        }
    });
    let mut office = Office::whole(folder.path(), 0, &scripts).await;
    assert_eq!(office.tell("").await.unwrap_err().code, Code::AgentNotFound);
    assert_eq!(office.agents.status(READER).await.unwrap_err().code, Code::AgentNotFound);
    assert_eq!(office.agents.stop(READER).await.unwrap_err().code, Code::AgentNotFound);
    office.deploy(PLENTY).await;
    let tell = async |kind: String, size: usize| office.agents.tell(READER, &kind, vec![7; size]).await;
    assert_eq!(tell("message".into(), PAYLOAD_MAX + 1).await.unwrap_err().code, Code::AgentTooLarge);
    assert_eq!(tell("k".repeat(33), 1).await.unwrap_err().code, Code::AgentTooLarge);
    let mut events = vec![tell("k".repeat(32), PAYLOAD_MAX).await.unwrap()];
    for number in 1..WAITING_MAX {
        events.push(office.tell(&number.to_string()).await.unwrap());
    }
    assert_eq!(office.tell("one too many").await.unwrap_err().code, Code::NodeBusy);
    go.notify_one();
    let first = office.ended(None).await;
    assert_eq!(done(&first).len(), PAYLOAD_MAX);
    for number in 1..WAITING_MAX {
        assert_eq!(done(&office.ended(None).await), number.to_string(), "in the order of arrival");
    }
    assert_eq!(office.handle("room again").await.calls, []);
    office.end().await;
}

#[tokio::test]
async fn a_next_version_keeps_what_was_spent_and_the_same_again_changes_nothing() {
    let folder = founded();
    let mut office = Office::whole(folder.path(), 0, &reader()).await;
    let view = office.deploy(PLENTY).await;
    assert_eq!(office.deploy_again(PLENTY).await.unwrap(), view, "the same again is a repeat");
    let row = office.handle("who owns a wreck").await;
    office.quiet().await;
    let refused = office.agents.deploy(manifest(PLENTY), READER.into(), key(78).address()).await;
    assert_eq!(refused.unwrap_err().code, Code::AgentExists);
    let refused = office.agents.deploy(manifest(PLENTY), b"nothing of ours".to_vec(), owner()).await;
    assert_eq!(refused.unwrap_err().code, Code::AgentBadComponent);
    let refused = office.agents.deploy("name = 7".into(), READER.into(), owner()).await;
    assert_eq!(refused.unwrap_err().code, Code::AgentBadManifest);
    let before = office.view().await;
    assert_eq!(office.deploy_again(PLENTY).await.unwrap(), before);
    let next = office.deploy_again("budget = \"7\"\nper_call = \"1\"\n").await.unwrap();
    assert_eq!((next.budget, next.used, next.record.spent), (Amount::from_open(7), row.spent, row.spent));
    assert_eq!((next.record.handled, &next.record.payees), (1, &before.record.payees));
    office.end().await;
    let office = Office::whole(folder.path(), 1, &reader()).await;
    assert_eq!(office.view().await, next, "it is all there after a restart");
    office.end().await;
}
