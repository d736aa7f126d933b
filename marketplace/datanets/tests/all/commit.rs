//! Commit, then reveal: nobody shows anything early, and nobody takes another's place.

use agora_datanets::*;
use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Code, Hash, Signed};
use proptest::prelude::*;

use crate::kit::*;

fn batch_of(who: u8, count: u64) -> (Batch, Vec<Reveal>) {
    let mut batch = Batch::new(address(who), [who; 32]);
    let reveals = (0..count).map(|n| batch.add(text(&words(n, 8))).unwrap()).collect();
    (batch, reveals)
}

#[test]
fn each_item_opens_its_own_place_and_no_other() {
    let (batch, reveals) = batch_of(2, 7);
    let said = submission(2, &batch);
    for (index, reveal) in (0u32..).zip(&reveals) {
        let path = batch.proof(index).unwrap();
        let content = batch.contents()[index as usize];
        assert_eq!(said.check_reveal(index, reveal, &path).unwrap().0, content);
        assert_eq!(said.check_reveal(index ^ 1, reveal, &path), Err(Code::NotCommitted), "another place");
        let resalted = Reveal { salt: [0; 16], ..reveal.clone() };
        assert_eq!(said.check_reveal(index, &resalted, &path), Err(Code::NotCommitted), "another salt");
        let changed = Reveal { item: text("something else"), ..reveal.clone() };
        assert_eq!(said.check_reveal(index, &changed, &path), Err(Code::NotCommitted), "other data");
        let short = Submission { count: index, ..said.clone() };
        assert_eq!(short.check_reveal(index, reveal, &path), Err(Code::NotCommitted), "beyond the count");
    }
    assert_eq!(batch.proof(7), None);
    assert_eq!(said.check_contents(batch.contents()), Ok(()));
    assert_eq!(said.check_contents(&batch.contents()[..6]), Err(Code::NotCommitted));
}

#[test]
fn a_root_copied_before_the_original_is_recorded_opens_nothing_for_the_copier() {
    let (batch, reveals) = batch_of(2, 3);
    // Account 3 saw the commitment on its way and had it recorded first, as its own.
    let copied = Submission { contributor: address(3), ..submission(2, &batch) };
    assert_eq!(copied.commitment().root, batch.root());
    for (index, reveal) in (0u32..).zip(&reveals) {
        let path = batch.proof(index).unwrap();
        assert_eq!(copied.check_reveal(index, reveal, &path), Err(Code::NotCommitted));
    }
}

#[test]
fn equal_items_look_different_before_they_are_shown() {
    let mut batch = Batch::new(address(2), [2; 32]);
    batch.add(text("yes")).unwrap();
    batch.add(text("yes")).unwrap();
    assert_ne!(batch.contents()[0], batch.contents()[1]);
    assert_ne!(salt(&[2; 32], 0), salt(&[3; 32], 0));
    assert!(!format!("{batch:?}").contains("secret"), "a log line gives the secret away");
}

#[test]
fn a_batch_has_at_most_65536_items() {
    let (mut batch, _) = batch_of(2, u64::from(ITEMS_MAX));
    assert_eq!(batch.add(text("one more")).unwrap_err(), Code::SubmissionInvalid);
    assert_eq!(batch.count(), ITEMS_MAX);
    assert_eq!(batch.proof(ITEMS_MAX - 1).unwrap().len(), 16);
    assert_eq!(submission(2, &batch).check(), Ok(()));
    assert_eq!(batch.root(), submission_root(batch.contents()));
    let leaves = batch.contents().iter().map(|content| leaf_hash(content.as_bytes()));
    assert_eq!(batch.root(), Tree::from_leaves(leaves).root());
}

#[test]
fn a_submission_out_of_bounds_or_for_elsewhere_is_refused() {
    type Change = fn(&mut Submission);
    let wrong: &[(&str, Change)] = &[
        ("no weight", |s| s.weight = 0),
        ("weight", |s| s.weight = DECLARED_WEIGHT_MAX + 1),
        ("nothing", |s| s.count = 0),
        ("too many", |s| s.count = ITEMS_MAX + 1),
        ("no licence", |s| s.licence.clear()),
        ("a sentence as licence", |s| s.licence = "all rights reserved".into()),
        ("long licence", |s| s.licence = "x".repeat(65)),
        ("no title", |s| s.title.clear()),
        ("long title", |s| s.title = "x".repeat(121)),
        ("control", |s| s.title = "a\u{1b}[31m".into()),
        ("another datanet", |s| s.datanet = agora_types::DatanetId::new([9; 32])),
        ("another network", |s| s.network = 1),
    ];
    let (batch, _) = batch_of(2, 2);
    for (what, change) in wrong {
        let mut said = submission(2, &batch);
        change(&mut said);
        let mut draft = Draft::new(terms(), Policy::default()).unwrap();
        assert_eq!(draft.submit(1, &signed(said)), Err(Code::SubmissionInvalid), "{what}");
    }
    let mut draft = Draft::new(terms(), Policy::default()).unwrap();
    draft.submit(1, &signed(submission(2, &batch))).unwrap();
    assert_eq!(draft.submit(1, &signed(submission(2, &batch))), Err(Code::SubmissionInvalid), "number taken");
}

#[test]
fn a_contribution_that_does_not_fit_its_submission_is_not_listed() {
    let (batch, _) = batch_of(2, 2);
    let said = signed(submission(2, &batch));
    let mut draft = Draft::new(terms(), Policy::default()).unwrap();
    draft.submit(5, &said).unwrap();
    let good = Contribution {
        position: Position { seq: 5, index: 0 },
        submission: said.hash(),
        content_hash: batch.contents()[0],
        size_bytes: 20,
    };
    let wrong = [
        Contribution { position: Position { seq: 6, index: 0 }, ..good },
        Contribution { position: Position { seq: 5, index: 2 }, ..good },
        Contribution { submission: Hash::ZERO, ..good },
        Contribution { size_bytes: 0, ..good },
    ];
    for one in wrong {
        assert_eq!(draft.list(&one), Err(Code::ContributionInvalid));
    }
    assert_eq!(draft.list(&good), Ok(0));
    assert_eq!(draft.list(&good), Err(Code::ContributionInvalid), "it stands there already");
}

#[test]
fn one_signature_covers_the_whole_batch() {
    let (batch, reveals) = batch_of(2, 5);
    let said = signed(submission(2, &batch));
    let read = Signed::<Submission>::from_bytes(&said.to_bytes()).unwrap();
    assert_eq!(
        read.payload().check_reveal(4, &reveals[4], &batch.proof(4).unwrap()).map(|(hash, _)| hash),
        Ok(batch.contents()[4])
    );
    assert_eq!(read.payload().commitment().licence_hash, licence_hash("CC-BY-4.0"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_place_of_every_batch_is_proven(count in 1u64..40, at in any::<prop::sample::Index>()) {
        let (batch, reveals) = batch_of(4, count);
        let index = at.index(reveals.len());
        let place = u32::try_from(index).unwrap();
        let path = batch.proof(place).unwrap();
        prop_assert!(submission(4, &batch).check_reveal(place, &reveals[index], &path).is_ok());
        let mut bent = path.clone();
        if let Some(first) = bent.first_mut() {
            *first = Hash::ZERO;
            prop_assert!(submission(4, &batch).check_reveal(place, &reveals[index], &bent).is_err());
        }
    }
}
