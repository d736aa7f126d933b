//! A datanet's versions: whatever falls between draft and ledger, nothing is on the ledger whose text is lost, and the
//! next version can be made.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agora_actors::CallError;
use agora_actors::datanets::{DatanetHead, Keeper, Next, Revealed, Taken};
use agora_actors::ledger::{LedgerActor, LedgerHandle};
use agora_datanets::{
    Act, Batch, Charter, ContributionKind, Curator, DatanetVersion, Item, KindWeights, Policy, Reason, Ruling, Subject,
    Submission, Terms, Verdict, Withdrawal, licence_hash,
};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::log::{Head as LogHead, Index, LogFault, LogStore, Record, Row, Snapshot};
use agora_economy::ports::memory::{MemoryLog, MemoryState};
use agora_economy::ports::state::{StateStore, Table, Write};
use agora_economy::testkit::*;
use agora_types::batch::{Batch as LogBatch, Entry};
use agora_types::command::{Command, CommitData, RegisterDatanet};
use agora_types::key::StatementSigner;
use agora_types::{Canonical as _, Code, DatanetId, Hash, Signed};
use kameo::actor::ActorRef;

use crate::ledger::{Supervisor, spawn};

const LICENCE: &str = "CC0-1.0";
const NOTES: [&str; 3] = [
    "Alder does not rot under water: the piles of many an old bridge and harbour are made of it.",
    "Birch bark burns even when it is wet, for which travellers in the north have always carried some.",
    "Rowan berries are bitter until the first frost, and thrushes leave them hanging until then.",
];

fn signer(number: u8) -> StatementSigner {
    StatementSigner::from_bytes(&[number; 32])
}

/// Lets so many durable steps happen, then the power goes: before the step, or after it and before the answer.
struct Fuse {
    left: AtomicI64,
    persists: AtomicBool,
    /// Reads of the keeper's rows so far: of one, and of several.
    reads: [AtomicI64; 2],
}

impl Fuse {
    fn whole() -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(i64::MAX), persists: AtomicBool::new(false), reads: Default::default() })
    }

    fn arm(&self, steps: i64, persists: bool) {
        self.persists.store(persists, Ordering::SeqCst);
        self.left.store(steps, Ordering::SeqCst);
    }

    fn step(&self, work: impl FnOnce() -> Result<(), LogFault>) -> Result<(), LogFault> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return work();
        }
        if left == 0 && self.persists.load(Ordering::SeqCst) {
            work()?;
        }
        Err(LogFault::Failed { doing: "wrote", reason: "the power went".to_owned() })
    }
}

/// The keeper's rows behind the fuse.
struct FusedRows(Arc<MemoryState>, Arc<Fuse>);

impl StateStore for FusedRows {
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault> {
        self.1.step(|| StateStore::commit(&*self.0, writes))
    }
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        self.1.reads[0].fetch_add(1, Ordering::SeqCst);
        StateStore::get(&*self.0, table, key)
    }
    fn list(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        self.1.reads[1].fetch_add(1, Ordering::SeqCst);
        StateStore::list(&*self.0, table, prefix, limit)
    }
}

/// The ledger's log behind the fuse.
#[derive(Clone)]
struct FusedLog(Arc<Mutex<MemoryLog>>, Arc<Fuse>);

impl LogStore for FusedLog {
    fn append(&mut self, expected_seq: u64, batch: &LogBatch, records: &[Record]) -> Result<(), LogFault> {
        self.1.step(|| self.0.lock().unwrap().append(expected_seq, batch, records))
    }
    fn head(&self) -> Result<Option<LogHead>, LogFault> {
        self.0.lock().unwrap().head()
    }
    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<LogBatch>, LogFault> {
        self.0.lock().unwrap().read_from(seq, limit)
    }
    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        self.0.lock().unwrap().record(index, key)
    }
    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        self.0.lock().unwrap().records_from(index, from, limit)
    }
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        self.0.lock().unwrap().save_snapshot(snapshot)
    }
    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        self.0.lock().unwrap().newest_snapshot()
    }
}

/// A process with the keeper in it.
struct Life {
    keeper: Keeper,
    ledger: LedgerHandle,
    fuse: Arc<Fuse>,
    _actors: (ActorRef<Supervisor>, ActorRef<LedgerActor>),
}

impl Life {
    async fn begin(kit: &Kit, rows: &Arc<MemoryState>, log: &Arc<Mutex<MemoryLog>>) -> Self {
        let fuse = Fuse::whole();
        let store = FusedLog(Arc::clone(log), Arc::clone(&fuse));
        let actors = spawn(kit, move || Ok(Box::new(store.clone()))).await;
        let ledger = LedgerHandle::new(actors.1.clone(), &kit.genesis);
        let keeper = Keeper::new(Arc::new(FusedRows(Arc::clone(rows), Arc::clone(&fuse))), ledger.clone());
        Self { keeper, ledger, fuse, _actors: actors }
    }
}

/// A datanet, the ledger beside it, and what survives of both.
struct Stage {
    kit: Kit,
    rows: Arc<MemoryState>,
    log: Arc<Mutex<MemoryLog>>,
    life: Life,
}

/// The keeper blocks.
fn wait<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

impl Stage {
    /// Two contributions, no version.
    async fn found() -> Self {
        let kit = Kit::default();
        let (rows, log) = (Arc::default(), Arc::new(Mutex::new(MemoryLog::new(kit.genesis.hash()))));
        let life = Life::begin(&kit, &rows, &log).await;
        let mut stage = Self { kit, rows, log, life };
        stage.charter("What people know of trees.");
        stage.give(CONTRIBUTORS[0], NOTES[0]).await;
        stage.give(CONTRIBUTORS[1], NOTES[1]).await;
        stage
    }

    /// The process has ended, and another begins so many seconds later.
    async fn reopen(&mut self, secs: u64) {
        self.kit.now = self.kit.now.plus_secs(secs);
        self.life = Life::begin(&self.kit, &self.rows, &self.log).await;
    }

    /// The same process, once its disk is good again.
    async fn mend(&self) {
        self.life.fuse.arm(i64::MAX, false);
        for _ in 0..1_000 {
            if self.life.ledger.size().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("the ledger does not come back");
    }

    fn id() -> DatanetId {
        DatanetId::derive(&key(OWNER).address(), "woods")
    }

    /// Founds the datanet, or changes its rules.
    fn charter(&mut self, description: &str) {
        self.kit.now = self.kit.now.plus_nanos(1_000);
        let terms = Terms {
            network: self.kit.genesis.chain_id,
            owner: key(OWNER).address(),
            name: "woods".into(),
            title: "Woods".into(),
            description: description.into(),
            licence: LICENCE.into(),
            terms_hash: None,
            kind_weights: KindWeights::default(),
        };
        let curators = vec![Curator { account: key(OWNER).address(), key: signer(OWNER).public() }];
        let size_max = 1_000 + u32::try_from(description.len()).unwrap();
        let policy = Policy { curators, size_max, ..Policy::default() };
        let charter = Charter { terms, policy, time: self.kit.now };
        wait(|| self.life.keeper.found(&Signed::sign(charter, &signer(OWNER)))).unwrap();
    }

    /// Commits to a note and reveals it.
    async fn give(&mut self, who: u8, note: &str) -> Taken {
        let contributor = key(who).address();
        let mut batch = Batch::new(contributor, *Hash::sha256(note).as_bytes());
        let reveal = batch.add(Item::Text(note.to_owned())).unwrap();
        let (root, count) = (batch.root(), batch.count());
        let (head, licence) = (self.kit.head(who), licence_hash(LICENCE));
        let commit = CommitData { head, datanet: Self::id(), root, count, licence };
        self.commit(who, Command::CommitData(commit)).await;
        let submission = Submission {
            network: self.kit.genesis.chain_id,
            datanet: Self::id(),
            contributor,
            kind: ContributionKind::Source,
            weight: 100,
            licence: LICENCE.into(),
            title: "Notes".into(),
            root,
            count,
            time: self.kit.now,
        };
        let revealed = Revealed { index: 0, reveal, path: batch.proof(0).unwrap() };
        // Twice in a page is once in the list.
        let page = [revealed.clone(), revealed];
        let taken = wait(|| self.life.keeper.contribute(&Signed::sign(submission, &signer(who)), &page)).unwrap();
        assert_eq!(taken.new, 1);
        taken
    }

    /// The owner rejects everything that came with a commitment.
    fn reject(&mut self, seq: u64) {
        let act = self.verdict(seq, Ruling::Reject, Reason::OffTopic);
        self.say(&act);
    }

    /// What the owner says of everything that came with a commitment, each time at another time.
    fn verdict(&mut self, seq: u64, ruling: Ruling, reason: Reason) -> Act {
        self.kit.now = self.kit.now.plus_nanos(1_000);
        let verdict = Verdict {
            network: self.kit.genesis.chain_id,
            datanet: Self::id(),
            curator: key(OWNER).address(),
            subject: Subject::Submission(seq),
            ruling,
            reason,
            note: String::new(),
            time: self.kit.now,
        };
        Act::Verdict(Signed::sign(verdict, &signer(OWNER)))
    }

    /// Who gave it takes it back.
    fn withdrawal(&mut self, who: u8, seq: u64) -> Act {
        self.kit.now = self.kit.now.plus_nanos(1_000);
        let withdrawal = Withdrawal {
            network: self.kit.genesis.chain_id,
            datanet: Self::id(),
            contributor: key(who).address(),
            subject: Subject::Submission(seq),
            time: self.kit.now,
        };
        Act::Withdrawal(Signed::sign(withdrawal, &signer(who)))
    }

    /// The number of an act that is said.
    fn say(&self, act: &Act) -> u32 {
        wait(|| self.life.keeper.act(act)).unwrap()
    }

    /// How many acts there are.
    fn acts(&self) -> u32 {
        wait(|| self.life.keeper.get(&Self::id())).unwrap().head.acts
    }

    async fn commit(&self, who: u8, command: Command) {
        let entry = self.kit.sign(who, command);
        assert_eq!(self.life.ledger.commit(vec![entry]).await.unwrap(), [Ok(())]);
    }

    fn draft(&self) -> Next {
        wait(|| self.life.keeper.draft(&Self::id(), self.kit.now)).unwrap().0
    }

    #[track_caller]
    fn drafted(&self, number: u32) -> DatanetVersion {
        match self.draft() {
            Next::Draft(version) if version.version == number => version,
            other => panic!("not a draft of version {number}: {other:?}"),
        }
    }

    /// What the owner signs.
    fn sign(&mut self, version: &DatanetVersion) -> (Signed<DatanetVersion>, Entry) {
        let signed = Signed::sign(version.clone(), &signer(OWNER));
        let registration = version.registration(self.kit.head(OWNER), signed.hash());
        (signed, self.kit.sign(OWNER, Command::RegisterDatanet(registration)))
    }

    fn publish(&self, (signed, entry): &(Signed<DatanetVersion>, Entry)) -> Result<(), CallError> {
        wait(|| self.life.keeper.publish(signed, entry))
    }

    fn kept(&self, version: u32) -> Signed<DatanetVersion> {
        let opened = wait(|| self.life.keeper.open(&Self::id(), version)).unwrap();
        opened.signed.clone().unwrap()
    }

    /// Every version that the ledger ever took is kept, and is what the ledger names; both have the same newest one.
    async fn check(&self, context: &str) {
        let head = wait(|| self.life.keeper.get(&Self::id())).unwrap();
        let id = Self::id();
        let record = self.life.ledger.query(move |economy| economy.datanet(&id).cloned()).await.unwrap().unwrap();
        assert_eq!((head.head.version, head.statement), (record.version, Some(record.statement)), "{context}");
        let batches = self.log.lock().unwrap().read_from(0, usize::MAX).unwrap();
        let mut registered = 0;
        for batch in &batches {
            let body = batch.open().unwrap();
            for (entry, outcome) in body.entries.iter().zip(&body.outcomes) {
                let Command::RegisterDatanet(command) = &entry.command else { continue };
                if outcome.is_ok() {
                    assert_eq!(self.kept(command.version).hash(), command.statement, "{context}");
                    registered = registered.max(command.version);
                }
            }
        }
        assert_eq!(registered, record.version, "{context}");
        agora_audit::audit(&self.kit.genesis, &batches).expect("the log audits clean");
    }
}

/// What comes between a fall and the next draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    Contribution,
    Verdict,
    Charter,
    All,
}

impl Between {
    const EACH: [Self; 5] = [Self::Nothing, Self::Contribution, Self::Verdict, Self::Charter, Self::All];

    async fn happen(self, stage: &mut Stage) {
        if matches!(self, Self::Contribution | Self::All) {
            stage.give(CONTRIBUTORS[2], NOTES[2]).await;
        }
        if matches!(self, Self::Verdict | Self::All) {
            stage.reject(0);
        }
        if matches!(self, Self::Charter | Self::All) {
            stage.charter("What people know of trees and of what lives in them.");
        }
    }
}

/// How it goes on after a fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The process lives, and its disk is good again.
    Same,
    /// Another process begins soon: the registration is good for a minute.
    Soon,
    /// Another process begins when the registration is not good any more.
    Late,
}

/// Written down, on the ledger, kept: the world stops at one of these steps.
async fn stopped((steps, persists): (i64, bool), then: Then, recovers: bool, between: Between) {
    let context = format!("step {steps}, done: {persists}, then {then:?}, recovers: {recovers}, and {between:?}");
    let mut stage = Stage::found().await;
    let first = stage.drafted(1);
    let first = stage.sign(&first);
    stage.life.fuse.arm(steps, persists);
    assert_eq!(stage.publish(&first).is_ok(), steps == 3, "{context}");
    match then {
        Then::Same => stage.mend().await,
        Then::Soon => stage.reopen(1).await,
        Then::Late => stage.reopen(130).await,
    }
    if recovers {
        wait(|| stage.life.keeper.recover()).unwrap();
    }
    between.happen(&mut stage).await;

    let written = steps > 0 || persists;
    let registered = steps > 1 || (steps == 1 && persists);
    let next = stage.draft();
    let kept = registered || (written && then != Then::Late);
    if kept {
        assert_eq!(stage.kept(1).to_bytes(), first.0.to_bytes(), "{context}: byte by byte");
    }
    match next {
        Next::Kept(again) => {
            assert!(kept && between == Between::Nothing, "{context}");
            assert_eq!(again, first.0, "{context}");
        }
        Next::Draft(version) => {
            assert_eq!(version.version, if kept { 2 } else { 1 }, "{context}");
            let signed = stage.sign(&version);
            stage.publish(&signed).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(stage.publish(&signed), Ok(()), "{context}: a repeat changes nothing");
            let Next::Kept(known) = stage.draft() else { panic!("{context}: nothing has come since") };
            assert_eq!(known, signed.0, "{context}");
        }
    }
    stage.check(&context).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_stopped_at_any_step_is_kept_or_makes_room_for_the_next() {
    for stop in [(0, false), (0, true), (1, false), (1, true), (2, false), (2, true), (3, false)] {
        for (then, recovers) in
            [(Then::Same, false), (Then::Soon, true), (Then::Soon, false), (Then::Late, true), (Then::Late, false)]
        {
            for between in Between::EACH {
                stopped(stop, then, recovers, between).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_the_owner_signs_waits_for_the_next_version_but_new_rules_end_the_draft() {
    let mut stage = Stage::found().await;
    let first = stage.drafted(1);
    let first = stage.sign(&first);
    stage.give(CONTRIBUTORS[2], NOTES[2]).await;
    stage.reject(0);
    assert_eq!(stage.publish(&first), Ok(()));
    assert_eq!((first.0.payload().tree_size, stage.drafted(2).tree_size), (2, 3));
    let second = stage.drafted(2);
    let second = stage.sign(&second);
    stage.charter("What people know of trees and of what lives in them.");
    assert_eq!(stage.publish(&second).unwrap_err().code, Code::DatanetRecord);
    let second = stage.drafted(2);
    let second = stage.sign(&second);
    assert_eq!(stage.publish(&second), Ok(()));
    // Two owners' commands at once: the later one learns that the number is taken.
    let other = DatanetVersion { time: stage.kit.now.plus_secs(1), ..second.0.payload().clone() };
    let other = stage.sign(&other);
    assert_eq!(stage.publish(&other).unwrap_err().code, Code::DatanetVersion);
    stage.check("signed while others came").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_registers_something_else_is_not_given_to_the_ledger() {
    let mut stage = Stage::found().await;
    let version = stage.drafted(1);
    let (signed, good) = stage.sign(&version);
    let Command::RegisterDatanet(command) = good.command.clone() else { unreachable!() };
    let changed = |change: fn(&mut RegisterDatanet)| {
        let mut command = command.clone();
        change(&mut command);
        stage.kit.sign(OWNER, Command::RegisterDatanet(command))
    };
    let wrong = [
        changed(|command| command.statement = Hash::ZERO),
        changed(|command| command.root = Hash::ZERO),
        changed(|command| command.members.truncate(1)),
        changed(|command| command.version = 2),
        changed(|command| command.name = "meadows".into()),
        changed(|command| command.head.signer = key(PAYER).address()),
    ];
    for entry in wrong {
        let refused = stage.publish(&(signed.clone(), entry.clone())).unwrap_err();
        assert_eq!(refused.code, Code::DatanetRecord, "{:?}", entry.command);
    }
    // Signed by nobody, or too late: the ledger refuses it, and the number is free.
    let forged = Entry { signature: stage.kit.sign(PAYER, good.command.clone()).signature, ..good };
    stage.publish(&(signed.clone(), forged)).unwrap_err();
    let mut old = command;
    old.head.expires_at = stage.kit.genesis.time;
    let old = stage.kit.sign(OWNER, Command::RegisterDatanet(old));
    assert_eq!(stage.publish(&(signed, old)).unwrap_err().code, Code::CommandExpired);
    let version = stage.drafted(1);
    let whole = stage.sign(&version);
    assert_eq!(stage.publish(&whole), Ok(()));
    stage.check("after refusals").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_registered_by_other_means_does_not_block_the_next() {
    let mut stage = Stage::found().await;
    let lost = stage.drafted(1);
    let lost = stage.sign(&lost);
    stage.commit(OWNER, lost.1.command).await;
    let second = stage.drafted(2);
    let second = stage.sign(&second);
    assert_eq!(stage.publish(&second), Ok(()));
    assert_eq!(stage.kept(2), second.0);
    let missing = wait(|| stage.life.keeper.open(&Stage::id(), 1)).err().unwrap();
    assert_eq!(missing.code, Code::DatanetNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_again_is_answered_as_the_first_time_and_adds_no_act() {
    let mut stage = Stage::found().await;
    stage.give(CONTRIBUTORS[2], NOTES[2]).await;
    let first = stage.verdict(0, Ruling::Reject, Reason::OffTopic);
    assert_eq!(stage.say(&first), 0);
    for (seq, ruling, reason, number) in [
        (0, Ruling::Reject, Reason::OffTopic, 0),
        (1, Ruling::Reject, Reason::OffTopic, 1),
        (0, Ruling::Reject, Reason::OffTopic, 0),
        (0, Ruling::Flag, Reason::OffTopic, 2),
        // Something else was said in between: it is no repeat.
        (0, Ruling::Reject, Reason::OffTopic, 3),
        (0, Ruling::Reject, Reason::OffTopic, 3),
        (0, Ruling::Reject, Reason::Wrong, 4),
        (1, Ruling::Reject, Reason::OffTopic, 1),
    ] {
        let act = stage.verdict(seq, ruling, reason);
        assert_eq!(stage.say(&act), number, "{act:?}");
    }
    for _ in 0..2 {
        let act = stage.withdrawal(CONTRIBUTORS[0], 0);
        assert_eq!(stage.say(&act), 5);
    }
    assert_eq!(stage.say(&first), 0, "the very same act was said before");
    assert_eq!(stage.acts(), 6);
    let version = stage.drafted(1);
    let version = stage.sign(&version);
    stage.publish(&version).unwrap();

    // An earlier release did not write down who said what last.
    for prefix in [b"n", b"m"] {
        for (key, _) in StateStore::list(&*stage.rows, Table::Datanets, prefix, 100).unwrap() {
            StateStore::commit(&*stage.rows, &[Write { table: Table::Datanets, key, value: None }]).unwrap();
        }
    }
    stage.reopen(1).await;
    let act = stage.verdict(0, Ruling::Reject, Reason::Wrong);
    assert_eq!(stage.say(&act), 4);
    let act = stage.withdrawal(CONTRIBUTORS[0], 0);
    assert_eq!(stage.say(&act), 5);
    let Next::Kept(known) = stage.draft() else { panic!("nothing has come since") };
    assert_eq!(known, version.0);
    let act = stage.withdrawal(CONTRIBUTORS[1], 1);
    assert_eq!(stage.say(&act), 6);
    assert_eq!(stage.acts(), 7);
    stage.drafted(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_datanets_reads_their_heads_only_and_those_of_an_earlier_release_as_well() {
    let mut stage = Stage::found().await;
    let version = stage.drafted(1);
    let version = stage.sign(&version);
    stage.publish(&version).unwrap();
    let listed = |stage: &Stage| {
        let reads = || stage.life.fuse.reads.each_ref().map(|reads| reads.load(Ordering::SeqCst));
        let before = reads();
        let all = wait(|| stage.life.keeper.all()).unwrap();
        let after = reads();
        assert_eq!((all.len(), all[0].id), (1, Stage::id()));
        (all[0].statement, [after[0] - before[0], after[1] - before[1]])
    };
    assert_eq!(listed(&stage), (Some(version.0.hash()), [0, 1]));
    let (key, head) = StateStore::list(&*stage.rows, Table::Datanets, b"d", 2).unwrap().remove(0);
    let old = DatanetHead { statement: None, ..DatanetHead::from_bytes(&head).unwrap() }.to_bytes();
    StateStore::commit(&*stage.rows, &[Write { table: Table::Datanets, key, value: Some(old) }]).unwrap();
    assert_eq!(listed(&stage), (Some(version.0.hash()), [1, 1]));
    stage.reject(0);
    let next = stage.drafted(2);
    let next = stage.sign(&next);
    stage.publish(&next).unwrap();
    assert_eq!(listed(&stage), (Some(next.0.hash()), [0, 1]));
    stage.check("heads of two releases").await;
}
