//! What a reader of amounts, ids, bytes and proofs can rely on.

use agora_types::merkle::{self, Frontier};
use agora_types::{Address, Amount, CAP, CallId, Canonical, Code, CommandId, Hash, Hasher, ListingId, Timestamp, cbor};
use proptest::prelude::*;

#[track_caller]
fn amount(text: &str) -> Result<u128, Code> {
    text.parse::<Amount>().map(Amount::atoms).map_err(|error| error.code())
}

#[test]
fn decimal_text_with_at_most_18_places_is_an_amount() {
    assert_eq!(amount("0"), Ok(0));
    assert_eq!(amount("1"), Ok(10u128.pow(18)));
    assert_eq!(amount("12.5"), Ok(125 * 10u128.pow(17)));
    assert_eq!(amount("0.000000000000000001"), Ok(1));
    assert_eq!(amount("007.50"), Ok(75 * 10u128.pow(17)));
    assert_eq!(amount("1000000000"), Ok(CAP.atoms()));
}

#[test]
fn anything_else_is_refused_with_a_code_that_says_why() {
    for text in [
        "", "-1", "+1", "1e3", "1E3", "0x10", " 1", "1 ", "1,5", "1_000", ".5", "1.", ".", "1.2.3", "NaN", "inf", "١",
        "1\0",
    ] {
        assert_eq!(amount(text), Err(Code::AmountNotDecimal), "{text:?}");
    }
    assert_eq!(amount("1.0000000000000000001"), Err(Code::AmountTooPrecise));
    assert_eq!(amount("0.0000000000000000000"), Err(Code::AmountTooPrecise));
    for text in ["1000000000.000000000000000001", "1000000001", &format!("1{}", "0".repeat(30)), &"9".repeat(1_000)] {
        assert_eq!(amount(text), Err(Code::AmountAboveCap), "{text:?}");
    }
}

#[test]
fn json_amounts_are_strings_of_atoms() {
    let text = serde_json::to_string(&Amount::from_open(3)).unwrap();
    assert_eq!(text, "\"3000000000000000000\"");
    assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), Amount::from_open(3));
    for bad in ["3", "\"03\"", "\"-3\"", "\"3.0\"", "\"\"", "\"1e3\"", "\"340282366920938463463374607431768211456\""] {
        assert!(serde_json::from_str::<Amount>(bad).is_err(), "{bad}");
    }
}

#[test]
fn amounts_never_wrap() {
    let most = Amount::from_atoms(u128::MAX);
    let one = Amount::from_atoms(1);
    assert_eq!(most.checked_add(one), None);
    assert_eq!(most.checked_mul(2), None);
    assert_eq!(Amount::ZERO.checked_sub(one), None);
    assert_eq!(Amount::checked_sum([most, one]), None);
    assert_eq!(one.saturating_sub(most), Amount::ZERO);
}

#[test]
fn ids_sort_by_the_time_they_were_made() {
    let early = CommandId::ordered(Timestamp::from_secs(1_700_000_000).unwrap(), [255; 10]);
    let late = CommandId::ordered(Timestamp::from_nanos(1_700_000_000_001_000_000), [0; 10]);
    assert!(early < late && early.as_u128() < late.as_u128());
    assert_ne!(CallId::ordered(Timestamp::ZERO, [1; 10]), CallId::ZERO);
}

#[test]
fn hexadecimal_words_are_read_exactly_or_not_at_all() {
    let text = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
    let address: Address = text.parse().unwrap();
    assert_eq!(address.to_string(), text);
    assert_eq!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse::<Address>().unwrap(), address);
    for bad in ["", "0x", &text[2..], &text[..40], &format!("{text}00"), "0xzz997970c51812dc3a010c7d01b50e0d17dc79c8"] {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}

#[test]
fn a_listing_keeps_its_id_and_two_owners_never_share_one() {
    let (a, b) = (Address::new([1; 20]), Address::new([2; 20]));
    assert_eq!(ListingId::derive(&a, "x"), ListingId::derive(&a, "x"));
    assert_ne!(ListingId::derive(&a, "x"), ListingId::derive(&b, "x"));
    assert_ne!(ListingId::derive(&a, "x"), ListingId::derive(&a, "y"));
}

#[test]
fn a_hash_in_pieces_is_the_hash_of_the_whole() {
    let whole = [7u8; 1_000];
    for size in [1, 63, 64, 65, 999, 1_000] {
        let mut hasher = Hasher::new();
        whole.chunks(size).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.finish(), Hash::sha256(whole), "pieces of {size}");
    }
    assert_eq!(Hasher::new().finish(), Hash::sha256([]));
}

#[test]
fn codes_are_numbered_once_and_named_once() {
    let mut numbers: Vec<u16> = Code::ALL.iter().map(|code| code.number()).collect();
    let mut texts: Vec<&str> = Code::ALL.iter().map(|code| code.text()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "the registry is in the order of its numbers");
    numbers.dedup();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!((numbers.len(), texts.len()), (Code::ALL.len(), Code::ALL.len()));
    for code in Code::ALL {
        assert_eq!(Code::from_number(code.number()), Some(*code));
        assert!(code.text().split_once('.').is_some(), "{code}");
        assert!((400..600).contains(&code.http_status()), "{code}");
        assert!((1..=8).contains(&code.exit_code()), "{code}");
        assert!(!code.meaning().is_empty(), "{code}");
    }
}

#[test]
fn bytes_in_another_form_than_the_canonical_are_refused() {
    let read = |text: &str| cbor::decode::<Amount>("amount", 100, &hex::decode(text).unwrap());
    assert!(read("05").is_ok());
    for (text, why) in [
        ("1805", "longer than needed"),
        ("190005", "longer than needed"),
        ("c24105", "a bignum below 2^64"),
        ("c249000000000000000005", "a bignum with leading zeros"),
        ("c25f41ff41ffff", "an indefinite length"),
        ("0500", "bytes behind the value"),
        ("20", "a negative number"),
        ("", "nothing"),
    ] {
        assert!(read(text).is_err(), "{why}");
    }
}

#[test]
fn genesis_rules_are_named_when_broken() {
    use agora_types::genesis::{Allocation, Genesis, Parameters};
    let good = Genesis {
        version: 1,
        name: "dev".into(),
        chain_id: 7,
        time: Timestamp::ZERO,
        dev: true,
        operator: Address::new([1; 20]),
        checkpoint_key: agora_types::key::StatementKey::new([0; 32]),
        parameters: Parameters::default(),
        allocations: vec![Allocation { account: Address::new([2; 20]), amount: CAP, vesting: None }],
    };
    assert_eq!(good.check(), Ok(()));
    let broken = |change: &dyn Fn(&mut Genesis)| {
        let mut genesis = good.clone();
        change(&mut genesis);
        genesis.check().expect_err("a broken rule")
    };
    assert!(broken(&|g| g.version = 2).contains("version"));
    assert!(broken(&|g| g.name = "../x".into()).contains("name"));
    assert!(broken(&|g| g.chain_id = 1 << 53).contains("chain id"));
    assert!(broken(&|g| g.parameters.split.host += 1).contains("split"));
    assert!(broken(&|g| g.parameters.gas_table.truncate(3)).contains("gas table"));
    assert!(broken(&|g| g.allocations.push(g.allocations[0])).contains("1,000,000,000"));
    assert!(broken(&|g| g.allocations[0].amount = Amount::ZERO).contains("above zero"));
}

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| merkle::leaf_hash(&(n as u64).to_be_bytes())).collect()
}

proptest! {
    #[test]
    fn every_amount_reads_back_from_each_of_its_forms(atoms in prop_oneof![any::<u64>().prop_map(u128::from), 0..=CAP.atoms()]) {
        let amount = Amount::from_atoms(atoms);
        prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        prop_assert_eq!(Amount::from_atoms_text(&amount.to_atoms_text()).unwrap(), amount);
        prop_assert_eq!(cbor::decode::<Amount>("amount", 32, &cbor::encode(&amount)).unwrap(), amount);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        use agora_types::{Signed, batch::{Batch, Entry}, command::{Command, KeyStatement}, genesis::Genesis};
        let _ = Command::from_bytes(&bytes);
        let _ = Entry::from_bytes(&bytes);
        let _ = Batch::from_bytes(&bytes);
        let _ = Genesis::from_bytes(&bytes);
        let _ = Signed::<KeyStatement>::from_bytes(&bytes);
    }

    #[test]
    fn every_leaf_is_proved_and_no_other(size in 1usize..70, at in 0usize..70, flip in 0usize..256) {
        let leaves = leaves(size);
        let root = merkle::root(&leaves);
        let at = at % size;
        let path = merkle::inclusion_proof(&leaves, at as u64).unwrap();
        let reach = |leaf: &Hash, at: u64, size: u64, path: &[Hash]| merkle::root_from_inclusion(leaf, at, size, path);
        let (at64, size64) = (at as u64, size as u64);
        prop_assert_eq!(reach(&leaves[at], at64, size64, &path), Some(root));
        let mut other = *leaves[at].as_bytes();
        other[flip / 8] ^= 1 << (flip % 8);
        prop_assert_ne!(reach(&Hash::new(other), at64, size64, &path), Some(root));
        prop_assert_ne!(reach(&leaves[at], at64 + size64, size64, &path), Some(root));
        prop_assert_ne!(reach(&leaves[at], at64, size64, &[path.as_slice(), &[root]].concat()), Some(root));
        if let Some((_, shorter)) = path.split_last() {
            prop_assert_ne!(reach(&leaves[at], at64, size64, shorter), Some(root));
        }
    }

    #[test]
    fn a_grown_tree_is_consistent_with_each_earlier_one_and_a_changed_tree_is_not(new in 1usize..60, old in 1usize..60, flip in 0usize..256) {
        let old = 1 + (old - 1) % new;
        let leaves = leaves(new);
        let (before, after) = (merkle::root(&leaves[..old]), merkle::root(&leaves));
        let path = merkle::consistency_proof(&leaves, old as u64).unwrap();
        let (old64, new64) = (old as u64, new as u64);
        prop_assert!(merkle::verify_consistency(old64, &before, new64, &after, &path));
        let mut other = *before.as_bytes();
        other[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(!merkle::verify_consistency(old64, &Hash::new(other), new64, &after, &path));
        let mut other = *after.as_bytes();
        other[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(!merkle::verify_consistency(old64, &before, new64, &Hash::new(other), &path));
    }

    #[test]
    fn the_right_edge_gives_the_same_root_as_the_whole_tree(size in 0usize..200) {
        let leaves = leaves(size);
        let mut frontier = Frontier::default();
        for leaf in &leaves { frontier.push(*leaf); }
        prop_assert_eq!(frontier.size(), size as u64);
        prop_assert!(frontier.is_whole());
        // Recursive definition, RFC 6962 section 2.1.
        fn tree(leaves: &[Hash]) -> Hash {
            match leaves {
                [] => merkle::empty_root(),
                [one] => *one,
                many => {
                    let middle = many.len().next_power_of_two() / 2;
                    merkle::node_hash(&tree(&many[..middle]), &tree(&many[middle..]))
                }
            }
        }
        prop_assert_eq!(frontier.root(), tree(&leaves));
        let again: Frontier = cbor::decode("frontier", 4096, &cbor::encode(&frontier)).unwrap();
        prop_assert_eq!(again, frontier);
    }
}
