//! Who is in and why the others are not.

use agora_datanets::*;
use agora_types::{Code, Signed};
use proptest::prelude::*;

use crate::kit::*;

const LIGHT: &str = "A lighthouse marks a coast, a reef or a harbour for ships at night and in fog, and its light has a rhythm \
                     of its own, so that a sailor who counts the seconds knows which lighthouse it is and where he must be.";
/// The same with two words changed and other signs.
const LIGHT_COPIED: &str = "A LIGHTHOUSE marks a coast; a reef or a harbour for ships at night and in fog, and its light has a rhythm \
     of its own, so that a sailor who counts the seconds knows which lighthouse it is and where she must sail.";
const TIDE: &str = "Moon and sun pull at the sea. Where both pull in one line the tides are highest: spring tide. A week later \
                    they pull at right angles: neap tide.";

#[test]
fn an_open_datanet_takes_what_nobody_rejects() {
    let mut net = Net::new(curated(Admission::Open, 2));
    let (light, tide) = (net.give(2, 1, LIGHT), net.give(3, 2, TIDE));
    assert_eq!(net.standings(), [Standing::In, Standing::In]);
    net.judge(40, net.content(light), Ruling::Reject, Reason::Wrong);
    assert_eq!(net.standing(light), Standing::In, "the policy asks for two");
    net.judge(41, net.content(light), Ruling::Reject, Reason::OffTopic);
    assert_eq!(net.standing(light), Standing::Rejected { reason: Reason::Wrong }, "the first curator's reason");
    net.accept(41, light);
    assert_eq!(net.standing(light), Standing::In, "the newest word of each counts");
    assert_eq!(net.standing(tide), Standing::In);
}

#[test]
fn a_flag_keeps_out_until_as_many_accept() {
    let mut net = Net::new(curated(Admission::Open, 1));
    let place = net.give(2, 1, LIGHT);
    net.judge(40, net.content(place), Ruling::Flag, Reason::Personal);
    assert_eq!(net.standing(place), Standing::Flagged { reason: Reason::Personal });
    net.accept(41, place);
    assert_eq!(net.standing(place), Standing::In);
}

#[test]
fn a_curated_datanet_waits_for_enough_accepts() {
    let mut net = Net::new(curated(Admission::Accepts(2), 1));
    let place = net.give(2, 1, LIGHT);
    assert_eq!(net.standing(place), Standing::Waiting { accepts: 0 });
    net.accept(40, place);
    net.accept(40, place);
    assert_eq!(net.standing(place), Standing::Waiting { accepts: 1 }, "one curator has one voice");
    net.accept(41, place);
    assert_eq!(net.standing(place), Standing::In);
    net.judge(1, net.content(place), Ruling::Reject, Reason::Harmful);
    assert_eq!(net.standing(place), Standing::Rejected { reason: Reason::Harmful });
}

#[test]
fn nobody_but_the_owner_accepts_what_it_gave_itself() {
    let mut net = Net::new(curated(Admission::Accepts(1), 1));
    let (by_curator, by_owner) = (net.give(40, 1, LIGHT), net.give(OWNER, 2, TIDE));
    net.accept(40, by_curator);
    net.accept(OWNER, by_owner);
    assert_eq!(net.standings(), [Standing::Waiting { accepts: 0 }, Standing::In]);
}

#[test]
fn a_stranger_or_a_foreign_key_says_nothing() {
    let mut net = Net::new(curated(Admission::Open, 1));
    let place = net.give(2, 1, LIGHT);
    net.judge(50, net.content(place), Ruling::Reject, Reason::Wrong);
    let forged = verdict(40, net.content(place), Ruling::Reject, Reason::Wrong);
    net.act(Act::Verdict(Signed::sign(forged, &key(50))));
    assert_eq!(net.standing(place), Standing::In);
    assert_eq!(net.version(1).0.acts_size, 2, "what stands in the list stays there");
}

#[test]
fn a_curator_with_a_new_key_keeps_its_old_verdicts_and_has_one_voice() {
    let mut policy = curated(Admission::Accepts(2), 1);
    policy.curators.push(Curator { account: address(41), key: key(99).public() });
    policy.curators.sort_by_key(|one| (one.account, one.key));
    let mut net = Net::new(policy);
    let place = net.give(2, 1, LIGHT);
    net.accept(41, place);
    let again = verdict(41, net.content(place), Ruling::Accept, Reason::Good);
    net.act(Act::Verdict(Signed::sign(again, &key(99))));
    assert_eq!(net.standing(place), Standing::Waiting { accepts: 1 });
    net.accept(40, place);
    assert_eq!(net.standing(place), Standing::In);
}

#[test]
fn a_verdict_on_a_submission_covers_its_items_and_one_on_an_item_goes_before() {
    let mut net = Net::new(curated(Admission::Accepts(1), 1));
    net.give_as(2, 9, &[text(LIGHT), text(TIDE)], |_| {});
    net.judge(40, net.content(1), Ruling::Reject, Reason::Wrong);
    net.judge(40, Subject::Submission(9), Ruling::Accept, Reason::Good);
    assert_eq!(net.standings(), [Standing::In, Standing::Rejected { reason: Reason::Wrong }]);
    net.judge(40, Subject::Submission(8), Ruling::Reject, Reason::Wrong);
    assert_eq!(net.standing(0), Standing::In, "another submission");
}

#[test]
fn of_near_duplicates_the_earliest_commitment_owns_whatever_was_revealed_first() {
    let mut net = Net::new(Policy::default());
    let copy = net.give(3, 20, LIGHT_COPIED);
    let own = net.give(3, 21, TIDE);
    assert_eq!(net.paid(), [(3, 200)]);
    let original = net.give(2, 10, LIGHT);
    assert_eq!(net.standing(original), Standing::In);
    assert_eq!(net.standing(copy), Standing::NearDuplicate { of: original });
    assert_eq!(net.standing(own), Standing::In);
    assert_eq!(net.paid(), [(2, 100), (3, 100)]);
}

#[test]
fn duplicating_own_data_pays_nothing_more() {
    let mut net = Net::new(Policy::default());
    for seq in 1..6 {
        net.give(2, seq, LIGHT);
    }
    net.give(2, 6, LIGHT_COPIED);
    assert_eq!(net.paid(), [(2, 100)]);
}

#[test]
fn a_copy_does_not_move_up_when_the_original_is_withdrawn() {
    let mut net = Net::new(Policy::default());
    let (original, copy, tide) = (net.give(2, 1, LIGHT), net.give(3, 2, LIGHT_COPIED), net.give(4, 3, TIDE));
    let (before, _) = net.version(1);
    net.withdraw(2, net.content(original));
    assert_eq!(
        net.standings(),
        [Standing::Withdrawn, Standing::NearDuplicate { of: original }, Standing::In],
        "from the next version on"
    );
    let (after, _) = net.version(2);
    assert_eq!((before.included, after.included), (2, 1));
    assert_eq!(before.root, after.root, "the list of contributions is as it was");
    let again = net.give(2, 4, LIGHT);
    assert_eq!(net.standing(again), Standing::In, "who owned it may give it anew");
    assert_eq!(net.standing(copy), Standing::NearDuplicate { of: again });
    assert_eq!(net.standing(tide), Standing::In);
}

#[test]
fn who_corrects_rejected_data_of_its_own_is_let_in_and_a_copy_of_it_is_not() {
    let mut net = Net::new(curated(Admission::Open, 1));
    let first = net.give(2, 1, LIGHT);
    let copy = net.give(3, 2, LIGHT_COPIED);
    net.judge(40, net.content(first), Ruling::Reject, Reason::Personal);
    assert_eq!(net.standing(copy), Standing::NearDuplicate { of: first });
    let second = net.give(2, 3, LIGHT_COPIED);
    assert_eq!(net.standing(second), Standing::In);
    assert_eq!(net.standing(copy), Standing::NearDuplicate { of: second });
}

#[test]
fn who_gave_what_was_not_its_own_loses_the_claim() {
    let mut net = Net::new(curated(Admission::Open, 1));
    let (thief, victim, late) = (net.give(3, 1, LIGHT_COPIED), net.give(2, 2, LIGHT), net.give(4, 3, LIGHT));
    assert_eq!(net.standing(victim), Standing::NearDuplicate { of: thief });
    net.judge(40, net.content(thief), Ruling::Reject, Reason::NotOwned);
    assert_eq!(net.standing(thief), Standing::Rejected { reason: Reason::NotOwned });
    assert_eq!(net.standing(victim), Standing::In);
    assert_eq!(net.standing(late), Standing::NearDuplicate { of: victim });
}

#[test]
fn nobody_withdraws_for_another() {
    let mut net = Net::new(Policy::default());
    let place = net.give(2, 1, LIGHT);
    net.withdraw(3, net.content(place));
    let forged = withdrawal(2, net.content(place));
    net.act(Act::Withdrawal(Signed::sign(forged, &key(9))));
    assert_eq!(net.standing(place), Standing::In);
    net.withdraw(2, Subject::Submission(1));
    assert_eq!(net.standing(place), Standing::Withdrawn);
    // There is no way back in for these, by curators either.
    net.judge(40, net.content(place), Ruling::Accept, Reason::Good);
    assert_eq!(net.standing(place), Standing::Withdrawn);
}

#[test]
fn the_policy_decides_on_licence_and_size() {
    let policy = Policy { licences: vec!["CC0-1.0".into()], size_min: 20, size_max: 1_000, ..Policy::default() };
    let mut net = Net::new(policy);
    net.give_as(2, 1, &[text(LIGHT)], |s| s.licence = "CC0-1.0".into());
    net.give_as(2, 2, &[text(TIDE)], |s| s.licence = "GPL-3.0-only".into());
    net.give(2, 3, "Too short.");
    net.give(2, 4, &words(7, 200));
    assert_eq!(net.standings(), [Standing::In, Standing::Licence, Standing::Size, Standing::Size]);
    let membership = net.draft.membership(&net.clusters());
    assert_eq!(membership.counts(), Counts { included: 1, unfit: 3, ..Counts::default() });
}

#[test]
fn a_weight_is_the_kinds_times_the_declared() {
    type Change = fn(&mut Submission);
    let kinds: [(Change, u32); 5] = [
        (|s| s.kind = ContributionKind::Source, 100),
        (|s| s.kind = ContributionKind::Correction, 100),
        (|s| s.kind = ContributionKind::Annotation, 50),
        (|s| s.kind = ContributionKind::Curation, 25),
        (|s| s.kind = ContributionKind::Translation, 50),
    ];
    for (change, weight) in kinds {
        let mut net = Net::new(Policy::default());
        net.give_as(2, 1, &[text(LIGHT), text(TIDE)], change);
        assert_eq!(net.paid(), [(2, 2 * weight)]);
    }
}

#[test]
fn sums_above_32_bits_keep_their_proportion_and_nobody_falls_to_nothing() {
    let kind_weights = KindWeights { source: KIND_WEIGHT_MAX, translation: 1, ..KindWeights::default() };
    let mut net = Net::under(Terms { kind_weights, ..terms() }, Policy::default());
    let items = |from: u64, count| (from..from + count).map(|n| text(&words(n, 6))).collect::<Vec<_>>();
    // 60 x 10^8 and 30 x 10^8 pass 2^32 = 42.9 x 10^8 once; both are halved once.
    net.give_as(2, 1, &items(0, 60), |s| s.weight = DECLARED_WEIGHT_MAX);
    net.give_as(3, 2, &items(100, 30), |s| s.weight = DECLARED_WEIGHT_MAX);
    net.give_as(4, 3, &items(200, 1), |s| s.kind = ContributionKind::Translation);
    assert_eq!(net.paid(), [(2, 3_000_000_000), (3, 1_500_000_000), (4, 1)]);
}

#[test]
fn acts_and_policies_out_of_bounds_are_refused() {
    type Change = fn(&mut Verdict);
    let wrong: &[(&str, Change)] = &[
        ("long note", |v| v.note = "x".repeat(NOTE_SIZE_MAX + 1)),
        ("control", |v| v.note = "a\u{1b}[31m".into()),
        ("rejected as good", |v| v.reason = Reason::Good),
        ("other, without a note", |v| v.reason = Reason::Other),
        ("accepted as wrong", |v| v.ruling = Ruling::Accept),
        ("another datanet", |v| v.datanet = agora_types::DatanetId::new([9; 32])),
        ("another network", |v| v.network = 1),
    ];
    for (what, change) in wrong {
        let mut net = Net::new(curated(Admission::Open, 1));
        let mut said = verdict(40, Subject::Submission(1), Ruling::Reject, Reason::Wrong);
        change(&mut said);
        assert_eq!(net.draft.act(&Act::Verdict(Signed::sign(said, &key(40)))), Err(Code::ActInvalid), "{what}");
        net.draft.act(&Act::Withdrawal(Signed::sign(withdrawal(2, Subject::Submission(1)), &key(2)))).unwrap();
    }
    type Bend = fn(&mut Policy);
    let wrong: &[(&str, Bend)] = &[
        ("more accepts than curators", |p| p.admission = Admission::Accepts(4)),
        ("no accepts", |p| p.admission = Admission::Accepts(0)),
        ("no rejects", |p| p.rejects = 0),
        ("more rejects than curators", |p| p.rejects = 4),
        ("curators out of order", |p| p.curators.reverse()),
        ("a curator twice", |p| p.curators[1] = p.curators[0]),
        ("a voice for each key", |p| {
            p.curators[1] = Curator { account: p.curators[2].account, key: key(3).public() };
            p.curators.sort_by_key(|one| (one.account, one.key));
            p.rejects = 3;
        }),
        ("similarity", |p| p.near = Some(499)),
        ("similarity above all", |p| p.near = Some(1_001)),
        ("sizes", |p| p.size_min = p.size_max + 1),
        ("no size", |p| p.size_min = 0),
        ("size", |p| p.size_max = 600_000),
        ("licences out of order", |p| p.licences = vec!["MIT".into(), "CC0-1.0".into()]),
        ("licence", |p| p.licences = vec!["a sentence".into()]),
    ];
    for (what, bend) in wrong {
        let mut policy = curated(Admission::Open, 1);
        bend(&mut policy);
        assert_eq!(Draft::new(terms(), policy).map(|_| ()), Err(Code::PolicyInvalid), "{what}");
    }
    assert_eq!(Policy::default().fee_of(7).map(|fee| fee.atoms()), Some(0));
}

/// What may happen to a datanet.
#[derive(Debug, Clone)]
enum Step {
    Give { who: u8, seq: u64, said: u8 },
    Judge { who: u8, seq: u64, ruling: Ruling },
    Withdraw { who: u8, seq: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let ruling = prop_oneof![Just(Ruling::Accept), Just(Ruling::Reject), Just(Ruling::Flag)];
    prop_oneof![
        3 => (2u8..6, 0u64..40, 0u8..6).prop_map(|(who, seq, said)| Step::Give { who, seq, said }),
        1 => (40u8..42, 0u64..40, ruling).prop_map(|(who, seq, ruling)| Step::Judge { who, seq, ruling }),
        1 => (2u8..6, 0u64..40).prop_map(|(who, seq)| Step::Withdraw { who, seq }),
    ]
}

/// Plays steps; a number is given once. The standing of each by its number.
fn play(gives: &[&Step], acts: &[&Step]) -> Vec<(u64, Standing)> {
    let mut net = Net::new(curated(Admission::Open, 2));
    let mut places = std::collections::BTreeMap::new();
    for step in gives {
        if let Step::Give { who, seq, said } = step
            && !places.contains_key(seq)
        {
            places.insert(*seq, net.give(*who, *seq, &words(u64::from(*said), 40)));
        }
    }
    for step in acts {
        match step {
            Step::Judge { who, seq, ruling } => {
                let reason = if *ruling == Ruling::Accept { Reason::Good } else { Reason::Wrong };
                net.judge(*who, Subject::Submission(*seq), *ruling, reason);
            }
            Step::Withdraw { who, seq } => net.withdraw(*who, Subject::Submission(*seq)),
            Step::Give { .. } => {}
        }
    }
    let standings = net.standings();
    // Places of the list become numbers, which do not depend on its order.
    let number =
        |place: u32| places.iter().find(|(_, at)| **at == place).map(|(seq, _)| u32::try_from(*seq).unwrap()).unwrap();
    let named = |standing: Standing| match standing {
        Standing::NearDuplicate { of } => Standing::NearDuplicate { of: number(of) },
        Standing::Repeats { of } => Standing::Repeats { of: number(of) },
        other => other,
    };
    places.iter().map(|(seq, place)| (*seq, named(standings[*place as usize]))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_the_list_does_not_matter(steps in proptest::collection::vec(any_step(), 1..40), turn in any::<usize>()) {
        // Which of two steps with one number counts must not depend on the order either.
        let mut seen = std::collections::BTreeSet::new();
        let gives: Vec<&Step> = steps.iter().filter(|step| matches!(step, Step::Give { seq, .. } if seen.insert(*seq))).collect();
        let acts: Vec<&Step> = steps.iter().filter(|step| !matches!(step, Step::Give { .. })).collect();
        let mut other = gives.clone();
        if !other.is_empty() {
            let by = turn % other.len();
            other.rotate_left(by);
            other.reverse();
        }
        prop_assert_eq!(play(&gives, &acts), play(&other, &acts));
    }

    #[test]
    fn what_comes_later_takes_nothing_out(steps in proptest::collection::vec(any_step(), 1..30)) {
        let all: Vec<&Step> = steps.iter().collect();
        let before = play(&all, &all);
        let last = before.last().map_or(0, |(seq, _)| *seq);
        let late: Vec<Step> = (0..6).map(|said| Step::Give { who: 5, seq: last + 1 + u64::from(said), said }).collect();
        let more: Vec<&Step> = all.iter().copied().chain(&late).collect();
        // Judged and withdrawn numbers stay below, so that only the new contributions differ.
        let acts: Vec<&Step> = all.iter().copied().filter(|step| match step {
            Step::Give { .. } => false,
            Step::Judge { seq, .. } | Step::Withdraw { seq, .. } => *seq <= last,
        }).collect();
        let after = play(&more, &acts);
        for ((seq, was), (same, is)) in before.iter().zip(&after) {
            prop_assert_eq!(seq, same);
            prop_assert_eq!(*was == Standing::In, *is == Standing::In, "{}", seq);
        }
    }

    #[test]
    fn of_what_says_the_same_at_most_one_is_in_and_only_owners_text_is(steps in proptest::collection::vec(any_step(), 1..40)) {
        let all: Vec<&Step> = steps.iter().collect();
        let found = play(&all, &all);
        let mut first = std::collections::BTreeMap::new();
        for step in &steps {
            if let Step::Give { who, seq, said } = step {
                first.entry(*seq).or_insert((*who, *said));
            }
        }
        for said in 0u8..6 {
            let same: Vec<(u64, u8)> = first.iter().filter(|(_, (_, text))| *text == said).map(|(seq, (who, _))| (*seq, *who)).collect();
            let taken: Vec<&(u64, u8)> = same.iter().filter(|(seq, _)| found.contains(&(*seq, Standing::In))).collect();
            prop_assert!(taken.len() <= 1);
            prop_assert!(taken.iter().all(|(_, who)| *who == same[0].1), "the earliest commitment owns");
        }
    }
}
