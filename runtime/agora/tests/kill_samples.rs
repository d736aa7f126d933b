//! A node is killed (SIGKILL) at random moments while calls wait for the group that they are measured with, while one answer
//! is measured for all of them, and while their final receipts are written. What contributors can rely on: each call gets one
//! final receipt, the calls of a group are paid by the same shares, each out of its own pool and once, and anyone can
//! recompute it.
//!
//! `AGORA_SEED=N` repeats the choices of a run, `AGORA_KILLS=N` makes it longer.

mod world;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use agora::control::{Earnings, ReceiptPage, Request as Control};
use agora_attribution::{Evidence, SampledOf};
use agora_receipts::{Envelope, Receipt, Role, State};
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, Canonical as _, Hash, Signed};
use world::dice::{Dice, rounds};
use world::ground::{Node, PATIENCE};
use world::taught::{Taught, ask};

/// Rounds; each kills at least once.
const KILLS: u64 = 5;
/// One call in so many is measured.
const GROUP: u32 = 3;
const QUESTIONS: [&str; 3] = [
    "who owns a wreck that the sea gave back",
    "what does a lighthouse keeper write down at night",
    "how is a harbour kept free of sand",
];

/// A call with its receipts.
struct Call {
    index: u64,
    leaf: Hash,
    first: Receipt,
    last: Vec<Receipt>,
}

impl Call {
    fn pool(&self) -> Amount {
        leg(&self.first, Role::Contributors)
    }
}

fn leg(receipt: &Receipt, role: Role) -> Amount {
    let legs = receipt.legs.iter().filter(|leg| leg.role == role);
    Amount::checked_sum(legs.map(|leg| leg.amount)).unwrap()
}

struct Stage {
    taught: Taught,
    key: String,
    spec: Hash,
    /// How many answers were asked for.
    asked: usize,
    /// What each call that was checked is paid by.
    evidence: BTreeMap<CallId, Evidence>,
}

impl Stage {
    /// Three people taught an answer each; one call in three is measured.
    fn set() -> (Self, Node) {
        let taught = Taught::set();
        let node = taught.ground.start();
        taught.ground.run(&["model", "publish", "untaught", "--adapter", "taught"]).good();
        let key = taught.key("5");
        let lessons = QUESTIONS.map(|question| (question, taught.buy("untaught", question, &key)));
        let datanet = taught.register();
        node.stop(&taught.ground);
        let spec = taught.teach(&lessons, datanet, GROUP).hash();
        let node = taught.ground.start();
        taught.ground.run(&["model", "publish", "taught", "--adapter", "taught"]).good();
        (Self { taught, key, spec, asked: 0, evidence: BTreeMap::new() }, node)
    }

    fn question(&mut self) -> &'static str {
        self.asked += 1;
        QUESTIONS[self.asked % QUESTIONS.len()]
    }

    /// Buys an answer; a node that has just started may be busy with what the last life left.
    fn buy(&mut self) {
        let question = self.question();
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = ask(self.taught.at(), "taught", question, &self.key).expect("an answer");
            if reply.status == 200 {
                return;
            }
            assert!(Instant::now() < until, "{reply:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks one question after another until the moment comes, and kills the node then; how many were answered.
    fn killed(&mut self, node: Node, calls: u64, moment: Duration) -> u64 {
        let (at, key) = (self.taught.at(), self.key.clone());
        let questions: Vec<&str> = (0..calls).map(|_| self.question()).collect();
        let asking = thread::spawn(move || {
            let answered = |question: &&str| ask(at, "taught", question, &key).is_some_and(|reply| reply.status == 200);
            questions.iter().take_while(|question| answered(question)).count() as u64
        });
        thread::sleep(moment);
        node.kill();
        asking.join().unwrap()
    }

    /// Every measured call, with what the log has of it.
    fn calls(&self) -> BTreeMap<CallId, Call> {
        let (mut leaves, mut before) = (Vec::new(), None);
        loop {
            let page: ReceiptPage = self.taught.told(Control::Receipts { payer: None, before, limit: 1_000 });
            let Some(oldest) = page.receipts.last() else { break };
            before = Some(oldest.index);
            leaves.extend(page.receipts.into_iter().map(|row| (row.index, hex::decode(row.leaf).unwrap())));
        }
        let mut calls: BTreeMap<CallId, Call> = BTreeMap::new();
        for (index, bytes) in leaves.into_iter().rev() {
            let receipt = Signed::<Receipt>::from_bytes(&bytes).unwrap().payload().clone();
            if receipt.spec_hash != Some(self.spec) {
                continue;
            }
            match receipt.state {
                State::Provisional => {
                    let call = Call { index, leaf: leaf_hash(&bytes), first: receipt, last: Vec::new() };
                    let id = call.first.call_id;
                    assert!(calls.insert(id, call).is_none(), "{id} was settled twice");
                }
                State::Final { index, leaf } => {
                    let call = calls.get_mut(&receipt.call_id).expect("a provisional receipt before the final one");
                    assert_eq!((call.index, call.leaf), (index, leaf));
                    call.last.push(receipt);
                }
            }
        }
        calls
    }

    /// Waits until each call has its final receipt. Where fewer wait than a group has, others are bought: the test does not
    /// wait a minute for them.
    fn settle(&mut self) -> BTreeMap<CallId, Call> {
        let until = Instant::now() + PATIENCE;
        loop {
            let calls = self.calls();
            match calls.values().filter(|call| call.last.is_empty()).count() {
                0 => return calls,
                few if few < GROUP as usize => self.buy(),
                _ => thread::sleep(Duration::from_millis(20)),
            }
            assert!(Instant::now() < until, "calls are not measured");
        }
    }

    /// The evidence of a call as it is given to others, who recompute it.
    fn recomputed(&self, index: u64) -> Evidence {
        let ground = &self.taught.ground;
        let (index, path) = (index.to_string(), ground.home.path().join(format!("{index}.receipt.json")));
        let file = path.to_str().unwrap();
        ground.run(&["receipt", "export", &index, "--attribution", "--out", file]).good();
        let told = ground.json(&["receipt", "recompute", file]);
        for level in 0..2 {
            assert_eq!(told["levels"][level]["verdict"], "agrees", "{told:#}");
        }
        let envelope = Envelope::from_json(&std::fs::read_to_string(file).unwrap()).unwrap();
        Evidence::from_bytes(&envelope.attribution.unwrap().evidence_bytes().unwrap()).unwrap()
    }

    /// Everything that must be true when each call has its end.
    fn check(&mut self, calls: &BTreeMap<CallId, Call>, context: &str) -> usize {
        self.taught.ground.run(&["ledger", "audit"]).good();
        let mut groups: BTreeMap<Hash, Vec<&Call>> = BTreeMap::new();
        let (mut paid, mut earned) = (Amount::ZERO, BTreeMap::<Address, Amount>::new());
        for (id, call) in calls {
            let [last] = &call.last[..] else { panic!("{context}: {id} has {} final receipts", call.last.len()) };
            let evidence = match self.evidence.get(id) {
                Some(known) => known.clone(),
                None => self.recomputed(call.index),
            };
            let told = (leg(last, Role::Earnings), leg(last, Role::Commons));
            assert_eq!(told, (evidence.paid, evidence.commons), "{context}: {id}");
            assert_eq!(told.0.checked_add(told.1), Some(call.pool()), "{context}: {id}: its own pool, whole");
            assert_eq!(last.attribution.sampled, evidence.sampled(), "{context}: {id}");
            groups.entry(evidence.sampled().map_or(call.leaf, |sample| sample.measured)).or_default().push(call);
            paid = paid.checked_add(evidence.paid).unwrap();
            for payout in &evidence.payouts {
                let sum = earned.entry(payout.account).or_default();
                *sum = sum.checked_add(payout.amount).unwrap();
            }
            self.evidence.insert(*id, evidence);
        }
        for (measured, group) in &groups {
            assert!(group.iter().any(|call| call.leaf == *measured), "{context}: one of them was measured");
            let of = |call: &Call| &self.evidence[&call.first.call_id];
            let shares = |call: &Call| of(call).entries.iter().map(|one| (one.cluster, one.share)).collect::<Vec<_>>();
            for call in group {
                let size = of(call).sampled().map_or(1, |SampledOf { calls, .. }| calls as usize);
                assert_eq!(size, group.len(), "{context}: all of them say so");
                assert_eq!(of(call).summary, of(group[0]).summary, "{context}: one answer was measured");
                assert_eq!(shares(call), shares(group[0]), "{context}: by the same shares");
            }
        }
        // Each was counted once, whichever life counted it.
        let told: Earnings = self.taught.told(Control::EarningsPublish);
        assert_eq!((told.funded, told.published), (paid, paid), "{context}: what was set aside is published");
        let accounts: BTreeMap<Address, Amount> = told.accounts.iter().map(|one| (one.account, one.earned)).collect();
        assert_eq!(accounts, earned, "{context}");
        groups.len()
    }
}

#[test]
fn a_node_killed_within_a_group_of_samples_leaves_nothing_half_measured_or_paid_twice() {
    let mut dice = Dice::new();
    let (mut stage, mut node) = Stage::set();
    // What a group takes without a kill.
    let begun = Instant::now();
    for _ in 0..GROUP {
        stage.buy();
    }
    let calls = stage.settle();
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    stage.check(&calls, "before any kill");
    let (mut kills, mut open) = (0_u64, 0);
    for round in 1..=rounds(KILLS) {
        let wanted = 1 + dice.below(2 * u64::from(GROUP));
        let moment = Duration::from_micros(dice.below(whole * wanted / u64::from(GROUP) + whole / 4));
        let answered = stage.killed(node, wanted, moment);
        kills += 1;
        // Some lives are short: killed again while they repair what the first kill left.
        while dice.below(4) == 0 {
            let again = stage.taught.ground.start();
            thread::sleep(Duration::from_micros(dice.below(50_000)));
            again.kill();
            kills += 1;
        }
        node = stage.taught.ground.start();
        open += stage.calls().values().filter(|call| call.last.is_empty()).count();
        let calls = stage.settle();
        stage.check(&calls, &format!("round {round}, killed after {moment:?} and {answered} of {wanted} answers"));
    }
    let calls = stage.settle();
    let groups = stage.check(&calls, "at the end");
    let paid = Amount::checked_sum(stage.evidence.values().map(|evidence| evidence.paid)).unwrap();
    assert!(!paid.is_zero(), "somebody was paid");
    node.stop(&stage.taught.ground);
    println!("{kills} kills, {open} calls open after them, {} calls in {groups} groups, {paid} OPEN paid", calls.len());
}
