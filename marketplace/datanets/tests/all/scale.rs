//! A hundred thousand contributions in one datanet: bytes are counted, and it takes seconds.

use agora_datanets::similar::*;
use agora_datanets::*;
use agora_types::Hash;

use crate::kit::*;

const COUNT: u32 = 100_000;
/// Two submissions: the largest, and the rest.
const SPLIT: u32 = 65_536;
/// What the lists, the marks, the pieces and the result may take together.
const BYTES_MAX: usize = 80 << 20;

/// The text at a place: every tenth is the one five before it with its end changed, every hundredth a copy of the one
/// before. Made anew where it is needed: no test holds all of them.
fn said(place: u32) -> String {
    let number = u64::from(place);
    match place {
        place if place % 100 == 99 => words(number - 1, 50 + (place as usize - 1) % 60),
        place if place % 10 == 7 => {
            let base = words(number - 5, 50 + (place as usize - 5) % 60);
            format!("{base} {}", words(number + 1_000_000, 4))
        }
        place => words(number, 50 + place as usize % 60),
    }
}

#[test]
fn a_hundred_thousand_contributions_fit_a_stated_memory() {
    let begun = std::time::Instant::now();
    let lap = |what: &str| println!("{what}: {} ms", begun.elapsed().as_millis());
    let hasher = MinHasher::default();
    let mut draft = Draft::new(terms(), curated(Admission::Open, 1)).unwrap();
    let mut marks = Vec::with_capacity(COUNT as usize);
    for (seq, from, to) in [(1, 0, SPLIT), (2, SPLIT, COUNT)] {
        let mut batch = Batch::new(address(2), [u8::try_from(seq).unwrap(); 32]);
        let mut sizes = Vec::new();
        for (index, place) in (0u32..).zip(from..to) {
            let item = text(&said(place));
            marks.push(Mark::new(Position { seq, index }, &item, &hasher).unwrap());
            sizes.push(batch.add(item).unwrap().content(&address(2)).unwrap().1);
        }
        let said = signed(submission(2, &batch));
        said.payload().check_contents(batch.contents()).unwrap();
        draft.submit(seq, &said).unwrap();
        for (index, content) in (0u32..).zip(batch.contents()) {
            let position = Position { seq, index };
            let size_bytes = sizes[index as usize];
            draft
                .list(&Contribution { position, submission: said.hash(), content_hash: *content, size_bytes })
                .unwrap();
        }
    }
    lap("texts made, committed to, listed and signed");
    let mut looked = 0u32;
    let shingles = |place: u32| -> Result<_, ()> {
        looked += 1;
        Ok(Some(Shingles::of(&said(place))))
    };
    let clusters = Clusters::find(&marks, Some(800), shingles).unwrap();
    lap("clustered");
    let (version, membership) = draft.version(1, &clusters, at(1)).unwrap();
    lap("version made");
    let bytes = draft.bytes() + Clusters::bytes(COUNT as usize) + size_of_val(membership.standings());
    println!("{} bytes ({} of the draft), {looked} texts looked at again", bytes, draft.bytes());
    assert!(bytes < BYTES_MAX, "{bytes}");
    // 1,000 copies and 10,000 changed ends, of which 4 new words in 54 to 113 leave 0.86 and more.
    let counts = membership.counts();
    assert_eq!(counts.duplicates, 11_000, "{counts:?}");
    assert_eq!(version.included, u64::from(COUNT) - 11_000);
    assert_eq!(version.tree_size, u64::from(COUNT));
    assert!((0..COUNT).all(|place| clusters.owner(place) <= place));
    assert_eq!(version.check_draft(&draft, &clusters).as_ref(), Ok(&membership));
    // Another list of the same contributions has another root, and the same ones are in.
    assert_ne!(version.root, Hash::ZERO);
}
