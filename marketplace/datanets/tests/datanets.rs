//! What contributors and owners can rely on: stable bytes, and a rule of payment that order, copies and size do not bend.

use std::collections::BTreeMap;

use agora_datanets::*;
use agora_types::command::{Command, Head, MEMBERS_MAX, Member};
use agora_types::key::StatementSigner;
use agora_types::merkle::{consistency_proof, leaf_hash};
use agora_types::{Address, Canonical as _, Code, CommandId, Hash, Signed, Timestamp};
use proptest::prelude::*;

fn address(n: u8) -> Address {
    Address::new([n; 20])
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs).unwrap()
}

fn terms() -> Terms {
    Terms {
        network: 4_020_711,
        owner: address(1),
        name: "maritime-law".into(),
        title: "Maritime law".into(),
        description: "Questions and answers about ships and the sea.".into(),
        licence: "CC-BY-4.0".into(),
        terms_hash: Some(Hash::sha256("terms")),
        kind_weights: KindWeights::default(),
    }
}

fn offer(who: u8, content: u32) -> Contribution {
    Contribution {
        network: terms().network,
        datanet: terms().id(),
        contributor: address(who),
        kind: ContributionKind::Source,
        weight: 1,
        content_hash: commit(&[who; 16], &content.to_be_bytes()),
        size_bytes: 1_000,
        licence: "CC-BY-4.0".into(),
        time: at(0),
        title: "Salvage cases".into(),
        withdrawn: false,
    }
}

/// Signed by the key of the account named.
fn signed(contribution: Contribution) -> Signed<Contribution> {
    let seed = contribution.contributor.as_bytes()[0];
    Signed::sign(contribution, &StatementSigner::from_bytes(&[seed; 32]))
}

fn version(number: u32, contributions: &[Signed<Contribution>]) -> Result<DatanetVersion, Code> {
    DatanetVersion::new(terms(), number, contributions, at(1))
}

fn paid(contributions: &[Signed<Contribution>]) -> Vec<(u8, u32)> {
    let members = members(contributions, &KindWeights::default()).unwrap();
    members.iter().map(|member| (member.account.as_bytes()[0], member.weight)).collect()
}

#[track_caller]
fn golden(name: &str, schema: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
    cddl::validate_cbor_from_slice(schema, bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn contributions_and_versions_keep_their_bytes_and_are_described_by_their_schemas() {
    let contribution = Contribution { kind: ContributionKind::Translation, ..offer(2, 7) };
    golden("contribution", include_str!("../cddl/contribution.cddl"), &contribution.to_bytes());
    assert_eq!(Contribution::from_bytes(&contribution.to_bytes()), Ok(contribution.clone()));
    let both = [signed(contribution), signed(offer(3, 8))];
    assert_eq!(Signed::from_bytes(&both[0].to_bytes()).as_ref(), Ok(&both[0]));
    let version = version(1, &both).unwrap();
    golden("datanet", include_str!("../cddl/datanet.cddl"), &version.to_bytes());
    assert_eq!(DatanetVersion::from_bytes(&version.to_bytes()), Ok(version.clone()));
    assert_eq!(version.root, contributions_root(&both));
    assert_eq!((version.check(), version.check_contributions(&both)), (Ok(()), Ok(())));
}

#[test]
fn a_version_is_registered_as_the_ledger_wants_it() {
    let version = version(1, &[signed(offer(3, 1)), signed(offer(2, 2))]).unwrap();
    let head = Head { signer: address(1), id: CommandId::new([5; 16]), expires_at: at(60) };
    let command = version.registration(head);
    assert_eq!(command.datanet(), version.terms.id());
    assert_eq!((command.version, command.root, command.tree_size), (1, version.root, 2));
    let weights = [Member { account: address(2), weight: 100 }, Member { account: address(3), weight: 100 }];
    assert_eq!(command.members, weights, "rising by account");
    let command = Command::RegisterDatanet(command);
    assert_eq!(Command::from_bytes(&command.to_bytes()), Ok(command));
}

#[test]
fn a_weight_is_the_kinds_times_the_declared() {
    let kinds = [
        (ContributionKind::Source, 100),
        (ContributionKind::Correction, 100),
        (ContributionKind::Annotation, 50),
        (ContributionKind::Curation, 25),
        (ContributionKind::Translation, 50),
    ];
    for (kind, weight) in kinds {
        assert_eq!(paid(&[signed(Contribution { kind, weight: 3, ..offer(2, 1) })]), [(2, 3 * weight)]);
    }
    let none = KindWeights { curation: 0, ..KindWeights::default() };
    let curated = signed(Contribution { kind: ContributionKind::Curation, ..offer(2, 1) });
    assert_eq!(members(&[curated], &none), Err(Code::DatanetTerms), "nobody would be paid");
}

#[test]
fn a_copied_commitment_earns_nothing_and_the_first_in_the_list_owns_it() {
    let original = signed(offer(2, 1));
    // The copycat states an earlier time and a higher weight.
    let copy = signed(Contribution { contributor: address(3), time: Timestamp::ZERO, weight: 9, ..offer(2, 1) });
    let own = signed(offer(3, 2));
    assert_eq!(paid(&[original.clone(), copy.clone(), own.clone()]), [(2, 100), (3, 100)]);
    assert_eq!(paid(&[original.clone(), original.clone(), original]), [(2, 100)], "own repeats count once");
    assert_eq!(paid(&[copy, own]), [(3, 1_000)]);
}

#[test]
fn what_is_withdrawn_is_not_paid_from_the_next_version_on() {
    let (first, other) = (signed(offer(2, 1)), signed(offer(3, 2)));
    let withdrawal = signed(Contribution { withdrawn: true, ..offer(2, 1) });
    let copy = signed(Contribution { contributor: address(4), ..offer(2, 1) });
    let before = version(1, &[first.clone(), other.clone()]).unwrap();
    assert_eq!(before.members.len(), 2);
    let list = [first.clone(), other.clone(), withdrawal.clone(), copy];
    assert_eq!(paid(&list), [(3, 100)], "and nobody's copy moves up");
    let after = version(2, &list).unwrap();
    let leaves: Vec<Hash> = list.iter().map(|one| leaf_hash(&one.to_bytes())).collect();
    let path = consistency_proof(&leaves, 2).unwrap();
    assert_eq!(after.check_follows(&before, &path), Ok(()));
    assert_eq!(paid(&[first.clone(), other.clone(), withdrawal, first.clone()]), [(2, 100), (3, 100)], "offered again");
    // Nobody withdraws for another: not another account, not another key for the same account.
    let foreign = Contribution { contributor: address(3), withdrawn: true, ..offer(2, 1) };
    let forged = Contribution { withdrawn: true, ..offer(2, 1) };
    let forged = Signed::sign(forged, &StatementSigner::from_bytes(&[9; 32]));
    assert_eq!(paid(&[first, other, signed(foreign), forged]), [(2, 100), (3, 100)]);
}

#[test]
fn a_rewritten_list_does_not_follow() {
    let before = version(1, &[signed(offer(2, 1)), signed(offer(3, 2))]).unwrap();
    let other = [signed(offer(2, 5)), signed(offer(3, 2)), signed(offer(4, 3))];
    let leaves: Vec<Hash> = other.iter().map(|one| leaf_hash(&one.to_bytes())).collect();
    let path = consistency_proof(&leaves, 2).unwrap();
    assert_eq!(version(2, &other).unwrap().check_follows(&before, &path), Err(Code::DatanetRecord));
    assert_eq!(version(3, &other).unwrap().check_follows(&before, &path), Err(Code::DatanetVersion));
}

#[test]
fn a_record_that_says_other_than_its_contributions_is_refused() {
    let list = [signed(offer(2, 1)), signed(offer(3, 2))];
    let good = version(1, &list).unwrap();
    let mut richer = good.clone();
    richer.members[0].weight += 1;
    let root = DatanetVersion { root: Hash::ZERO, ..good.clone() };
    for wrong in [richer, root, DatanetVersion { tree_size: 3, ..good.clone() }] {
        assert_eq!(wrong.check_contributions(&list), Err(Code::DatanetRecord));
    }
    assert_eq!(good.check_contributions(&list[..1]), Err(Code::DatanetRecord));
    let stray = signed(Contribution { datanet: agora_types::DatanetId::new([9; 32]), ..offer(4, 3) });
    assert_eq!(version(1, &[stray]), Err(Code::ContributionInvalid));
    let foreign = signed(Contribution { network: 1, ..offer(4, 3) });
    assert_eq!(version(1, &[foreign]), Err(Code::ContributionInvalid));
}

#[test]
fn a_contribution_or_version_out_of_bounds_is_refused() {
    type Change = fn(&mut Contribution);
    let wrong: &[(&str, Change)] = &[
        ("no weight", |c| c.weight = 0),
        ("weight", |c| c.weight = DECLARED_WEIGHT_MAX + 1),
        ("empty", |c| c.size_bytes = 0),
        ("no licence", |c| c.licence.clear()),
        ("a sentence as licence", |c| c.licence = "all rights reserved".into()),
        ("long licence", |c| c.licence = "x".repeat(65)),
        ("no title", |c| c.title.clear()),
        ("long title", |c| c.title = "x".repeat(121)),
        ("control", |c| c.title = "a\u{1b}[31m".into()),
    ];
    for (what, change) in wrong {
        let mut contribution = offer(2, 1);
        change(&mut contribution);
        assert_eq!(contribution.check(), Err(Code::ContributionInvalid), "{what}");
        assert_eq!(version(1, &[signed(contribution)]), Err(Code::ContributionInvalid), "{what}");
    }
    type ChangeVersion = fn(&mut DatanetVersion);
    let wrong: &[(&str, ChangeVersion)] = &[
        ("no name", |v| v.terms.name.clear()),
        ("long name", |v| v.terms.name = "x".repeat(65)),
        ("long description", |v| v.terms.description = "x".repeat(2_001)),
        ("control", |v| v.terms.description = "a\u{7}".into()),
        ("licence", |v| v.terms.licence = "?".into()),
        ("kind weight", |v| v.terms.kind_weights.source = KIND_WEIGHT_MAX + 1),
        ("version", |v| v.version = 0),
        ("nothing", |v| v.tree_size = 0),
        ("nobody", |v| v.members.clear()),
        ("weightless", |v| v.members[0].weight = 0),
        ("twice", |v| v.members.push(v.members[0])),
    ];
    for (what, change) in wrong {
        let mut version = version(1, &[signed(offer(2, 1))]).unwrap();
        change(&mut version);
        assert_eq!(version.check(), Err(Code::DatanetTerms), "{what}");
    }
    assert_eq!(version(1, &[]), Err(Code::DatanetTerms));
    let full: Vec<_> = (1..=12).map(|who| signed(offer(who, 1))).collect();
    assert_eq!(version(1, &full).unwrap().members.len(), MEMBERS_MAX);
    let over: Vec<_> = (1..=13).map(|who| signed(offer(who, 1))).collect();
    assert_eq!(version(1, &over), Err(Code::DatanetTerms));
}

#[test]
fn sums_above_32_bits_keep_their_proportion_and_nobody_falls_to_nothing() {
    let weights = KindWeights { source: KIND_WEIGHT_MAX, translation: 1, ..KindWeights::default() };
    let heavy = |who, content| signed(Contribution { weight: DECLARED_WEIGHT_MAX, ..offer(who, content) });
    // 60 x 10^8 and 30 x 10^8 pass 2^32 = 42.9 x 10^8 once; both are halved once.
    let mut list: Vec<_> = (0..60).map(|n| heavy(2, n)).chain((0..30).map(|n| heavy(3, n))).collect();
    list.push(signed(Contribution { kind: ContributionKind::Translation, ..offer(4, 1) }));
    let found: Vec<u32> = members(&list, &weights).unwrap().iter().map(|member| member.weight).collect();
    assert_eq!(found, [3_000_000_000, 1_500_000_000, 1]);
}

fn any_offer() -> impl Strategy<Value = (u8, u8, u32)> {
    (1u8..=12, 0u8..5, 1u32..=DECLARED_WEIGHT_MAX)
}

fn list_of(parts: &[(u8, u8, u32)]) -> Vec<Signed<Contribution>> {
    let kinds = [
        ContributionKind::Source,
        ContributionKind::Correction,
        ContributionKind::Annotation,
        ContributionKind::Curation,
        ContributionKind::Translation,
    ];
    let one = |(content, (who, kind, weight)): (u32, &(u8, u8, u32))| {
        signed(Contribution { kind: kinds[usize::from(*kind)], weight: *weight, ..offer(*who, content) })
    };
    (0u32..).zip(parts).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_among_different_contents_does_not_matter(parts in proptest::collection::vec(any_offer(), 1..20), turn in any::<usize>()) {
        let list = list_of(&parts);
        let mut other = list.clone();
        other.rotate_left(turn % list.len());
        other.reverse();
        prop_assert_eq!(members(&list, &KindWeights::default()), members(&other, &KindWeights::default()));
    }

    #[test]
    fn weights_are_conserved_bounded_and_in_order(parts in proptest::collection::vec(any_offer(), 1..20)) {
        let weights = KindWeights::default();
        let list = list_of(&parts);
        let found = members(&list, &weights).unwrap();
        let mut expected: BTreeMap<Address, u64> = BTreeMap::new();
        for one in &list {
            let one = one.payload();
            *expected.entry(one.contributor).or_default() += u64::from(weights.of(one.kind)) * u64::from(one.weight);
        }
        let found_sums: BTreeMap<Address, u64> = found.iter().map(|m| (m.account, u64::from(m.weight))).collect();
        prop_assert_eq!(found_sums, expected);
        prop_assert!(found.windows(2).all(|pair| pair[0].account < pair[1].account));
        prop_assert!(found.len() <= MEMBERS_MAX && found.iter().all(|member| member.weight > 0));
    }

    #[test]
    fn repeating_everything_pays_nobody_more(parts in proptest::collection::vec(any_offer(), 1..12), times in 2usize..5) {
        let list = list_of(&parts);
        let repeated = vec![list.clone(); times].concat();
        prop_assert_eq!(members(&repeated, &KindWeights::default()), members(&list, &KindWeights::default()));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Signed::<Contribution>::from_bytes(&bytes);
        let _ = DatanetVersion::from_bytes(&bytes);
    }
}
