//! What a caller of the ledger actor can rely on, whatever fails below it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agora_actors::clock::Clock;
use agora_actors::ledger::{LedgerActor, LedgerError, LedgerNode, LedgerSettings, Look, Submit};
use agora_economy::Verified;
use agora_economy::ports::log::{Index, LogFault, LogStore, Record, Row, Snapshot};
use agora_economy::ports::memory::MemoryLog;
use agora_economy::testkit::*;
use agora_types::batch::{Batch, Entry, Submitter};
use agora_types::command::Command;
use agora_types::genesis::Parameters;
use agora_types::{Address, Canonical as _, Timestamp, eip712};
use kameo::actor::{ActorRef, Spawn as _};
use kameo::supervision::RestartPolicy;
use kameo::{Actor, error::Infallible};

/// A clock that moves by a microsecond each time it is read.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.fetch_add(1_000, Ordering::Relaxed))
    }
}

/// The disk that all openings share, and the append at which it fails: written all the same, or not.
#[derive(Clone)]
struct Flaky {
    disk: Arc<Mutex<MemoryLog>>,
    appends: Arc<AtomicU64>,
    fail_at: Option<u64>,
    persists: bool,
}

impl LogStore for Flaky {
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault> {
        let fails = self.fail_at == Some(self.appends.fetch_add(1, Ordering::Relaxed));
        if !fails || self.persists {
            self.disk.lock().unwrap().append(expected_seq, batch, records)?;
        }
        let reason = "the cable was pulled".to_owned();
        if fails { Err(LogFault::Failed { doing: "appended a batch", reason }) } else { Ok(()) }
    }
    fn head(&self) -> Result<Option<agora_economy::ports::log::Head>, LogFault> {
        self.disk.lock().unwrap().head()
    }
    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault> {
        self.disk.lock().unwrap().read_from(seq, limit)
    }
    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        self.disk.lock().unwrap().record(index, key)
    }
    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        self.disk.lock().unwrap().records_from(index, from, limit)
    }
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        self.disk.lock().unwrap().save_snapshot(snapshot)
    }
    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        self.disk.lock().unwrap().newest_snapshot()
    }
}

pub(crate) struct Supervisor;

impl Actor for Supervisor {
    type Args = ();
    type Error = Infallible;
    async fn on_start((): (), _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

pub(crate) async fn spawn(
    kit: &Kit,
    open: impl Fn() -> Result<Box<dyn LogStore>, LogFault> + Send + Sync + 'static,
) -> (ActorRef<Supervisor>, ActorRef<LedgerActor>) {
    let settings = LedgerSettings {
        genesis: Arc::new(kit.genesis.clone()),
        open: Arc::new(open),
        clock: Arc::new(Ticking(AtomicU64::new(kit.now.as_nanos()))),
        snapshot_every: 3,
    };
    let supervisor = Supervisor::spawn(());
    let ledger = LedgerActor::supervise(&supervisor, settings)
        .restart_policy(RestartPolicy::Transient)
        .restart_limit(100, Duration::from_secs(60))
        .spawn_in_thread()
        .await;
    (supervisor, ledger)
}

fn verified(kit: &Kit, entries: Vec<Entry>) -> Vec<Verified> {
    entries.into_iter().map(|entry| Verified::check(&kit.network(), entry).unwrap()).collect()
}

/// Asks until there is an answer, as a caller with an id does.
async fn submit(ledger: &ActorRef<LedgerActor>, group: Vec<Verified>) -> Vec<Result<(), agora_types::Code>> {
    for _ in 0..100 {
        match ledger.ask(Submit(group.clone())).reply_timeout(Duration::from_secs(20)).await {
            Ok(answers) => return answers,
            Err(kameo::error::SendError::HandlerError(LedgerError::Uncertain(_) | LedgerError::Busy { .. })) => {}
            Err(error) => eprintln!("asked again after: {error}"),
        }
        tokio::task::yield_now().await;
    }
    panic!("no answer after a hundred repeats");
}

async fn balance(ledger: &ActorRef<LedgerActor>, account: Address) -> u128 {
    let query = Look::new(move |node| Ok(node.economy().available(&account).atoms()));
    ledger.ask(query).reply_timeout(Duration::from_secs(20)).await.unwrap()
}

/// Registrations, a deposit, a settled and finalized call, and a transfer, as entries with fixed ids.
fn story() -> (Kit, Vec<Entry>) {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 100, 1_000);
    let last = kit.final_receipt(&receipt);
    let command = kit.finalize_command(&last);
    kit.submit(HOST, command).unwrap();
    let transfer = kit.transfer(PAYER, 30, 500);
    kit.submit(PAYER, transfer).unwrap();
    let entries = kit.log.iter().flat_map(|(batch, _)| batch.open().unwrap().entries).collect();
    // A world before all of this, at the same time.
    let mut fresh = Kit::default();
    fresh.now = fresh.genesis.time.plus_secs(1);
    (fresh, entries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_reply_does_not_pay_twice() {
    let (kit, entries) = story();
    for persists in [true, false] {
        for fail_at in 0..entries.len() as u64 {
            let disk = Arc::new(Mutex::new(MemoryLog::new(kit.genesis.hash())));
            let store = Flaky { disk: disk.clone(), appends: Arc::default(), fail_at: Some(fail_at), persists };
            let (_supervisor, ledger) = spawn(&kit, move || Ok(Box::new(store.clone()))).await;
            for entry in &entries {
                assert_eq!(submit(&ledger, verified(&kit, vec![entry.clone()])).await, [Ok(())], "append {fail_at}");
            }
            assert_eq!(balance(&ledger, key(30).address()).await, 500, "append {fail_at}, persisted: {persists}");
            assert_eq!(balance(&ledger, key(HOST).address()).await, 20_000, "append {fail_at}");
            let batches = disk.lock().unwrap().read_from(0, usize::MAX).unwrap();
            let report = agora_audit::audit(&kit.genesis, &batches).expect("the log audits clean");
            assert_eq!((report.calls, report.finalized, report.receipts), (1, 1, 2), "append {fail_at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_restart_from_disk() {
    let (kit, entries) = story();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ledger.redb");
    let genesis = kit.genesis.hash();
    let open =
        move || -> Result<Box<dyn LogStore>, LogFault> { Ok(Box::new(agora_store::RedbLog::open(&path, &genesis)?)) };
    let (_supervisor, ledger) = spawn(&kit, open.clone()).await;
    for entry in &entries {
        assert_eq!(submit(&ledger, verified(&kit, vec![entry.clone()])).await, [Ok(())]);
    }
    ledger.stop_gracefully().await.unwrap();
    ledger.wait_for_shutdown().await;
    drop(ledger);
    let (_second, again) = spawn(&kit, open).await;
    assert_eq!(balance(&again, key(30).address()).await, 500);
    for entry in
        entries.iter().filter(|entry| matches!(entry.command, Command::SettleCall(_) | Command::FinalizeCall(_)))
    {
        assert_eq!(submit(&again, verified(&kit, vec![entry.clone()])).await, [Ok(())], "a repeat gets its answer");
    }
    assert_eq!(balance(&again, key(HOST).address()).await, 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_commits_and_each_gets_its_own_answer() {
    let mut kit = Kit::default();
    let disk = Arc::new(Mutex::new(MemoryLog::new(kit.genesis.hash())));
    let store = Flaky { disk: disk.clone(), appends: Arc::default(), fail_at: None, persists: true };
    let (_supervisor, ledger) = spawn(&kit, move || Ok(Box::new(store.clone()))).await;
    let mut tasks = Vec::new();
    for at in 0..200u8 {
        let good = kit.transfer(PAYER, 100 + at % 50, 1);
        let bad = kit.transfer(99, 30, 1);
        let broke = at % 10 == 0;
        let entries =
            if broke { vec![kit.sign(PAYER, good).linked(), kit.sign(99, bad)] } else { vec![kit.sign(PAYER, good)] };
        let (group, ledger) = (verified(&kit, entries), ledger.clone());
        tasks.push(tokio::spawn(async move { (broke, submit(&ledger, group).await) }));
    }
    for task in tasks {
        let (broke, answers) = task.await.unwrap();
        assert_eq!(answers.iter().all(Result::is_ok), !broke);
    }
    let batches = disk.lock().unwrap().read_from(0, usize::MAX).unwrap();
    let entries: u32 = batches.iter().map(|batch| batch.header.count).sum();
    assert_eq!(entries, 220);
    let report = agora_audit::audit(&kit.genesis, &batches).unwrap();
    assert_eq!((report.accepted, report.refused), (180, 40));
}

#[test]
fn gas_for_one_command_lets_one_command_into_the_log() {
    let parameters = Parameters { gas_price: atoms(10), ..Parameters::default() };
    let mut kit = Kit::new(parameters);
    let log = Flaky {
        disk: Arc::new(Mutex::new(MemoryLog::new(kit.genesis.hash()))),
        appends: Arc::default(),
        fail_at: None,
        persists: true,
    };
    let disk = log.disk.clone();
    let mut node = LedgerNode::open(&kit.genesis, Box::new(log), 1_000).unwrap();
    let fund = kit.transfer(PAYER, 40, 10);
    let fund = verified(&kit, vec![kit.sign(PAYER, fund)]);
    assert_eq!(node.commit(kit.now, vec![fund]).unwrap(), [[Ok(())]]);
    let groups = (0..3)
        .map(|_| {
            let command = kit.transfer(PAYER, 30, 1);
            let digest = eip712::command_digest(&kit.network(), &command);
            let account = key(40).address();
            let signature = key(40).sign(&eip712::submission_digest(&kit.network(), &account, &digest, atoms(10)));
            let submitter = Some(Submitter { account, gas_max: atoms(10), signature });
            verified(&kit, vec![Entry { submitter, ..kit.sign(PAYER, command) }])
        })
        .collect();
    let unpaid = Err(agora_types::Code::GasUnpaid);
    assert_eq!(node.commit(kit.now, groups).unwrap(), [[Ok(())], [unpaid], [unpaid]]);
    let batches = disk.lock().unwrap().read_from(0, usize::MAX).unwrap();
    assert_eq!(batches.iter().map(|batch| batch.header.count).collect::<Vec<_>>(), [1, 1]);
    agora_audit::audit(&kit.genesis, &batches).unwrap();
}

#[test]
fn a_group_too_large_for_a_batch_is_refused_and_the_others_go_on() {
    let mut kit = Kit::default();
    let log = MemoryLog::new(kit.genesis.hash());
    let mut node = LedgerNode::open(&kit.genesis, Box::new(log), 2).unwrap();
    let one = kit.transfer(PAYER, 30, 1);
    let one = verified(&kit, vec![kit.sign(PAYER, one)]);
    let many = vec![one[0].clone(); 8_193];
    let answers = node.commit(kit.now, vec![one.clone(), many, one.clone()]).unwrap();
    assert_eq!((&answers[0], &answers[2]), (&vec![Ok(())], &vec![Ok(())]));
    assert!(answers[1].iter().all(|answer| *answer == Err(agora_types::Code::WireTooLarge)));
    assert_eq!(node.economy().available(&key(30).address()).atoms(), 1, "the second is a repeat of the first");
}

#[test]
fn more_than_a_batch_holds_goes_into_several() {
    let mut kit = Kit::default();
    let disk = Arc::new(Mutex::new(MemoryLog::new(kit.genesis.hash())));
    let log = Flaky { disk: disk.clone(), appends: Arc::default(), fail_at: None, persists: true };
    let mut node = LedgerNode::open(&kit.genesis, Box::new(log), 1_000).unwrap();
    let one = kit.transfer(PAYER, 30, 1);
    let one = verified(&kit, vec![kit.sign(PAYER, one)]);
    let groups = vec![one; 10_000];
    let answers = node.commit(kit.now, groups).unwrap();
    assert!(answers.iter().all(|answer| answer == &[Ok(())]));
    let batches = disk.lock().unwrap().read_from(0, usize::MAX).unwrap();
    assert!(batches.len() > 1);
    assert_eq!(batches.iter().map(|batch| batch.header.count).sum::<u32>(), 10_000);
    assert_eq!(node.economy().available(&key(30).address()).atoms(), 1);
}
