//! Versions: fixed for ever, one after another, recomputable by anyone, registered as the ledger wants them.

use agora_datanets::*;
use agora_types::command::{Command, Head, MEMBERS_MAX, Member};
use agora_types::merkle::{consistency_proof, leaf_hash};
use agora_types::{Canonical as _, Code, CommandId, Hash, Signed, Timestamp};

use crate::kit::*;

fn two() -> Net {
    let mut net = Net::new(curated(Admission::Open, 1));
    net.give(3, 1, &words(1, 20));
    net.give(2, 2, &words(2, 20));
    net
}

fn leaves(net: &Net) -> (Vec<Hash>, Vec<Hash>) {
    let contributions = net.contributions.iter().map(|one| leaf_hash(&one.to_bytes())).collect();
    (contributions, net.acts.iter().map(|act| leaf_hash(&act.to_bytes())).collect())
}

#[test]
fn a_version_is_registered_as_the_ledger_wants_it() {
    let (version, _) = two().version(1);
    let head = Head { signer: address(OWNER), id: CommandId::new([5; 16]), expires_at: at(60) };
    let signed = Signed::sign(version.clone(), &key(OWNER));
    let command = version.registration(head, signed.hash());
    assert_eq!(command.datanet(), version.terms.id());
    assert_eq!((command.version, command.root, command.tree_size), (1, version.root, 2));
    let weights = [Member { account: address(2), weight: 100 }, Member { account: address(3), weight: 100 }];
    assert_eq!(command.members, weights, "rising by account");
    assert_eq!(command.statement, Hash::sha256(signed.to_bytes()), "one hash over the file");
    let command = Command::RegisterDatanet(command);
    assert_eq!(Command::from_bytes(&command.to_bytes()), Ok(command));
}

#[test]
fn both_lists_only_grow_from_version_to_version() {
    let mut net = two();
    let (first, _) = net.version(1);
    net.give(4, 3, &words(3, 20));
    net.judge(40, Subject::Submission(1), Ruling::Reject, Reason::Wrong);
    let (second, _) = net.version(2);
    let (contributions, acts) = leaves(&net);
    let path = consistency_proof(&contributions, 2).unwrap();
    assert_eq!(second.check_follows(&first, &path, &[]), Ok(()), "of an empty list there is nothing to prove");
    net.withdraw(2, Subject::Submission(2));
    let (third, _) = net.version(3);
    let (_, more) = leaves(&net);
    assert_eq!(acts, more[..1]);
    let path = consistency_proof(&more, 1).unwrap();
    assert_eq!(third.check_follows(&second, &[], &path), Ok(()), "the first list is as it was");
    assert_eq!(third.check_follows(&second, &[], &[]), Err(Code::DatanetRecord));
    assert_eq!(third.check_follows(&first, &[], &path), Err(Code::DatanetVersion));
    assert_eq!((first.included, second.included, third.included), (2, 2, 1));
}

#[test]
fn a_rewritten_list_does_not_follow() {
    let (before, _) = two().version(1);
    let mut other = Net::new(curated(Admission::Open, 1));
    other.give(3, 1, &words(9, 20));
    other.give(2, 2, &words(2, 20));
    other.give(4, 3, &words(3, 20));
    let (after, _) = other.version(2);
    let path = consistency_proof(&leaves(&other).0, 2).unwrap();
    assert_eq!(after.check_follows(&before, &path, &[]), Err(Code::DatanetRecord));
}

#[test]
fn a_record_that_says_other_than_its_lists_is_refused() {
    let net = two();
    let (good, _) = net.version(1);
    let mut richer = good.clone();
    richer.members[0].weight += 1;
    assert_eq!(richer.check(), Err(Code::DatanetTerms), "the root over payees does not fit");
    let wrong = [
        richer,
        DatanetVersion { root: Hash::ZERO, ..good.clone() },
        DatanetVersion { acts_root: Hash::ZERO, ..good.clone() },
        DatanetVersion { standings_root: Hash::ZERO, ..good.clone() },
        DatanetVersion { policy_hash: Hash::ZERO, ..good.clone() },
        DatanetVersion { included: 1, ..good.clone() },
        DatanetVersion { tree_size: 3, ..good.clone() },
    ];
    for record in wrong {
        assert_eq!(record.check_draft(&net.draft, &net.clusters()), Err(Code::DatanetRecord));
    }
}

#[test]
fn a_version_out_of_bounds_is_refused() {
    type Change = fn(&mut DatanetVersion);
    let wrong: &[(&str, Change)] = &[
        ("no name", |v| v.terms.name.clear()),
        ("long name", |v| v.terms.name = "x".repeat(65)),
        ("long description", |v| v.terms.description = "x".repeat(2_001)),
        ("control", |v| v.terms.description = "a\u{7}".into()),
        ("licence", |v| v.terms.licence = "?".into()),
        ("kind weight", |v| v.terms.kind_weights.source = KIND_WEIGHT_MAX + 1),
        ("version", |v| v.version = 0),
        ("nothing", |v| v.tree_size = 0),
        ("none in", |v| v.included = 0),
        ("more in than there are", |v| v.included = v.tree_size + 1),
        ("weightless", |v| v.members[0].weight = 0),
        ("twice", |v| v.members.push(v.members[0])),
    ];
    for (what, change) in wrong {
        let (mut version, _) = two().version(1);
        change(&mut version);
        assert_eq!(version.check(), Err(Code::DatanetTerms), "{what}");
    }
    let nameless = Terms { name: String::new(), ..terms() };
    assert_eq!(Draft::new(nameless, Policy::default()).map(|_| ()), Err(Code::DatanetTerms));
}

#[test]
fn a_version_without_anything_in_it_is_not_made() {
    let mut net = Net::new(curated(Admission::Accepts(1), 1));
    let none = net.draft.version(1, &net.clusters(), at(1)).map(|_| ());
    assert_eq!(none, Err(Code::DatanetEmpty));
    net.give(2, 1, &words(1, 20));
    assert_eq!(net.draft.version(1, &net.clusters(), at(1)).map(|_| ()), Err(Code::DatanetEmpty));
    net.accept(40, 0);
    assert_eq!(net.version(1).0.included, 1);
}

#[test]
fn beyond_twelve_payees_none_is_a_member_and_the_root_names_them_all() {
    let mut net = Net::new(Policy::default());
    for who in 0..12 {
        net.give(50 + who, u64::from(who), &words(u64::from(who), 20));
    }
    assert_eq!(net.version(1).0.members.len(), MEMBERS_MAX);
    net.give(70, 99, &words(99, 20));
    let (version, membership) = net.version(2);
    assert!(version.members.is_empty());
    let payees = net.draft.payees(&membership).unwrap();
    assert_eq!((payees.len(), payees_root(&payees)), (13, version.payees_root));
    assert_eq!(version.check(), Ok(()));
}

#[test]
fn training_reads_what_is_in_in_the_order_of_the_list_and_nothing_that_was_exchanged() {
    let mut net = two();
    net.give(4, 0, &words(4, 20));
    net.withdraw(2, Subject::Submission(2));
    let (_, membership) = net.version(1);
    let fetch = |hash: &Hash| -> Result<Option<Reveal>, ()> {
        let place = net.contributions.iter().position(|one| one.content_hash == *hash);
        Ok(place.map(|place| net.reveals[place].clone()))
    };
    let found: Vec<Example> = examples(&net.draft, &membership, fetch).map(Result::unwrap).collect();
    let names: Vec<(u32, u8, u64)> =
        found.iter().map(|one| (one.place, one.contributor.as_bytes()[0], one.position.seq)).collect();
    assert_eq!(names, [(0, 3, 1), (2, 4, 0)]);
    assert_eq!(found[1].item, text(&words(4, 20)));
    let exchanged = |_: &Hash| -> Result<Option<Reveal>, ()> { Ok(Some(net.reveals[1].clone())) };
    let missing = |_: &Hash| -> Result<Option<Reveal>, ()> { Ok(None) };
    let broken = |_: &Hash| -> Result<Option<Reveal>, &str> { Err("disk") };
    let wrong = Err(ExampleError::Data { place: 0, code: Code::NotCommitted });
    assert_eq!(examples(&net.draft, &membership, exchanged).next(), Some(wrong.clone()));
    assert_eq!(examples(&net.draft, &membership, missing).next(), Some(wrong));
    assert_eq!(examples(&net.draft, &membership, broken).next(), Some(Err(ExampleError::Fetch("disk"))));
}

#[test]
fn the_same_lists_give_the_same_version_whenever_it_is_made() {
    let net = two();
    let (early, _) = net.draft.version(1, &net.clusters(), Timestamp::ZERO).unwrap();
    let (late, _) = net.version(1);
    assert_eq!(DatanetVersion { time: early.time, ..late }, early);
}
