//! Where every atom of a charge goes, for any split, any weights and any amount: nothing lost, nothing invented, and
//! never more legs than a receipt can hold.

use std::collections::BTreeMap;

use agora_economy::settle_legs;
use agora_economy::testkit::{HOST, Kit, OWNER, atoms, key};
use agora_receipts::Role;
use agora_receipts::receipt::{DatanetRef, LIST_MAX};
use agora_types::command::*;
use agora_types::genesis::Split;
use agora_types::{Address, Amount, DatanetId, Hash};
use proptest::prelude::*;

fn sum<'a>(legs: impl IntoIterator<Item = &'a agora_receipts::Leg>) -> u128 {
    legs.into_iter().map(|leg| leg.amount.atoms()).sum()
}

/// Largest remainder, the slow and plain way; amounts below 2^90.
fn naive(amount: u128, weights: &[u32]) -> Vec<u128> {
    let whole: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut parts: Vec<u128> = weights.iter().map(|weight| amount * u128::from(*weight) / whole).collect();
    let mut given = vec![false; parts.len()];
    while parts.iter().sum::<u128>() < amount {
        let rest = |at: &usize| amount * u128::from(weights[*at]) % whole;
        let open = (0..parts.len()).filter(|at| !given[*at]);
        let next = open.max_by_key(|at| (rest(at), std::cmp::Reverse(*at))).expect("fewer atoms than parts are left");
        parts[next] += 1;
        given[next] = true;
    }
    parts
}

proptest! {
    #[test]
    fn the_legs_of_a_charge_sum_to_it_for_every_governed_split(
        charge in prop_oneof![0u128..1_000, 0u128..1 << 90, any::<u128>()],
        mut cuts in proptest::collection::vec(0u32..=10_000, 4),
    ) {
        cuts.sort_unstable();
        let [a, b, c, d] = [cuts[0], cuts[1], cuts[2], cuts[3]];
        let parts = Split { contributors: a, model_owner: b - a, host: c - b, validators: d - c, platform: 10_000 - d };
        let legs = settle_legs(&parts, atoms(charge), key(OWNER).address(), key(HOST).address());
        prop_assert_eq!(sum(&legs), charge);
        prop_assert!(legs.iter().all(|leg| !leg.amount.is_zero()), "legs of zero are left out");
        prop_assert!(legs.windows(2).all(|pair| pair[0].role < pair[1].role), "each role once, in order");
        if charge < 1 << 90 {
            let roles = [Role::Contributors, Role::ModelOwner, Role::Host, Role::Validators, Role::Platform];
            let expected = naive(charge, &[a, b - a, c - b, d - c, 10_000 - d]);
            let expected: Vec<_> = roles.into_iter().zip(expected).filter(|(_, amount)| *amount > 0).collect();
            let found: Vec<_> = legs.iter().map(|leg| (leg.role, leg.amount.atoms())).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

/// Datanets with their weights in the listing and members: indices into a pool of twelve accounts, with weights.
type Datanets = Vec<(u32, BTreeMap<u8, u32>)>;

fn datanets() -> impl Strategy<Value = Datanets> {
    let weight = || prop_oneof![1u32..10, 1..=u32::MAX];
    let members = proptest::collection::btree_map(100u8..112, weight(), 1..=12);
    proptest::collection::vec((weight(), members), 0..5)
}

/// Registers the datanets and a listing over them; what a receipt says about them, and each one's accounts and weights.
fn register(kit: &mut Kit, datanets: &Datanets) -> (Vec<DatanetRef>, Vec<Vec<Member>>) {
    let (mut said, mut accounts, mut shares) = (vec![], vec![], vec![]);
    for (number, (weight, members)) in (0u8..).zip(datanets) {
        let mut members: Vec<Member> =
            members.iter().map(|(n, weight)| Member { account: key(*n).address(), weight: *weight }).collect();
        members.sort_by_key(|member| member.account);
        let (name, root) = (format!("datanet {number}"), Hash::new([number; 32]));
        let (head, tree_size, statement) = (kit.head(OWNER), 1, Hash::sha256(&name));
        let register = RegisterDatanet { head, name, version: 1, root, tree_size, members: members.clone(), statement };
        let id: DatanetId = register.datanet();
        kit.submit(OWNER, Command::RegisterDatanet(register)).expect("good terms");
        said.push(DatanetRef { id, root, tree_size });
        shares.push(DatanetShare { datanet: id, weight: *weight });
        accounts.push(members);
    }
    let mut listing = kit.register_listing();
    if let Command::RegisterListing(listing) = &mut listing {
        listing.datanets = shares;
    }
    kit.submit(OWNER, listing).expect("good terms");
    (said, accounts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn contributors_get_the_whole_contributor_part_by_the_weights_of_datanets_and_members(
        datanets in datanets(),
        charge in prop_oneof![0u128..100, 0u128..100_000_000_000_000_000_000],
    ) {
        let mut kit = Kit::ready();
        let (said, accounts) = register(&mut kit, &datanets);
        let mut receipt = kit.receipt(1, 1, charge);
        receipt.datanets = said;
        let part = receipt.legs.iter().find(|leg| leg.role == Role::Contributors).map_or(0, |leg| leg.amount.atoms());
        let settle = kit.settle_command(&receipt);
        prop_assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(settle))), Ok(()));
        let last = kit.final_receipt(&receipt);
        prop_assert!(last.legs.len() <= LIST_MAX && last.attribution.totals.len() <= LIST_MAX);
        prop_assert_eq!(sum(&last.legs), part);
        let finalize = kit.finalize_command(&last);
        prop_assert_eq!(kit.submit(HOST, finalize), Ok(()));

        let mut expected: BTreeMap<Address, u128> = BTreeMap::new();
        if datanets.is_empty() {
            expected.insert(Address::system("commons"), part);
        } else {
            let weights: Vec<u32> = datanets.iter().map(|(weight, _)| *weight).collect();
            for (members, part) in accounts.iter().zip(naive(part, &weights)) {
                let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
                for (member, amount) in members.iter().zip(naive(part, &weights)) {
                    *expected.entry(member.account).or_default() += amount;
                }
            }
        }
        for (account, amount) in expected {
            prop_assert_eq!(kit.balance(&account), amount);
        }
        prop_assert_eq!(kit.balance(&Address::system("suspense")), 0);
        prop_assert_eq!(kit.economy().available(&Address::system("suspense")), Amount::ZERO);
    }
}
