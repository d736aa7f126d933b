//! Clusters of items that say the same, each owned by the earliest commitment.
//!
//! Items are taken in the order of their positions. Each joins the earliest one before it that is near enough, and
//! belongs to whom that one belongs to; so copies of copies stay with the original, two clusters are never merged
//! afterwards, and **nothing that comes later changes anything for what came earlier**. The order of the list does not
//! matter.
//!
//! Candidates share one of 32 pieces of four numbers of their signatures: at similarity 0.8 one in 20 million such
//! pairs has no piece in common, at 0.3 one pair in four has one. Candidates whose signatures agree too little are
//! dropped, the rest are compared by their shingles.
//!
//! Memory for n items, beside the marks (304 n bytes): at most 32 x 8 n bytes for the pieces and 32 n for the rest.
//! Time is bounded too, against data made to collide: of each piece only the [`BUCKET_MAX`] earliest are looked at, and
//! at most [`EXACT_MAX`] candidates are compared by shingles. Copies of the very same data are found whatever the rest
//! does.

use agora_types::{Code, Hash};

use super::minhash::{MinHasher, PERMUTATIONS, Signature};
use super::words::{Shingles, mix};
use crate::contribution::Position;
use crate::item::Item;

/// Of each piece so many items are candidates, the earliest.
pub const BUCKET_MAX: usize = 64;
/// So many candidates of an item are compared by their shingles, the earliest.
pub const EXACT_MAX: usize = 16;
const BANDS: usize = 32;
/// By so much fewer numbers than the threshold asks for may signatures agree that are looked at closely: 4.5 standard
/// deviations of the estimate at 0.8.
const MARGIN: u32 = 20;

/// What is kept of an item to compare it with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// When it was committed to.
    pub position: Position,
    /// SHA-256 of its data, without salt: whoever sees it can guess at the data, so it stays with the keeper.
    pub data: Hash,
    /// Of its text.
    pub signature: Signature,
    /// False for a text without words, which is like nothing but itself.
    pub worded: bool,
}

impl Mark {
    /// Of an item.
    ///
    /// # Errors
    /// `datanet.bad_item`.
    pub fn new(position: Position, item: &Item, hasher: &MinHasher) -> Result<Self, Code> {
        let shingles = Shingles::of(&item.plain());
        let data = Hash::sha256(item.data()?);
        Ok(Self { position, data, signature: hasher.signature(&shingles), worded: !shingles.is_empty() })
    }
}

/// Which items say the same, by their places in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    /// The item that each joined; itself where it joined none.
    like: Vec<u32>,
    /// The first item of each one's cluster.
    owner: Vec<u32>,
}

impl Clusters {
    /// Every one of `count` items is like itself only.
    pub fn none(count: usize) -> Self {
        let own: Vec<u32> = (0u32..).take(count).collect();
        Self { like: own.clone(), owner: own }
    }

    /// The clusters of `marks`, which stand in the order of the list. `near` is the policy's threshold; without one
    /// only the same data is the same. `shingles` gives those of the item at a place; `None` where its text cannot be
    /// had, and then the signatures' agreement decides.
    ///
    /// # Errors
    /// What `shingles` says.
    ///
    /// # Panics
    /// When two marks have one position, or there are 2^32 of them: a draft refuses both.
    pub fn find<E>(
        marks: &[Mark],
        near: Option<u16>,
        mut shingles: impl FnMut(u32) -> Result<Option<Shingles>, E>,
    ) -> Result<Self, E> {
        let mut found = Self::none(marks.len());
        let mut order: Vec<u32> = found.like.clone();
        order.sort_unstable_by_key(|at| marks[*at as usize].position);
        let rising = |pair: &[u32]| marks[pair[0] as usize].position < marks[pair[1] as usize].position;
        assert!(order.windows(2).all(rising), "no two contributions have one position");
        let same = found.join_same_data(marks, &order);
        let Some(parts) = near else { return Ok(found) };
        let bands = Bands::new(marks, &order, &same);
        // Multiplied before it is divided: the smallest agreement that is no less than the threshold.
        let asked = (u32::from(parts) * 128).div_ceil(1_000);
        let mut candidates: Vec<u32> = Vec::new();
        for (rank, at) in (0u32..).zip(&order) {
            if same[*at as usize] || !marks[*at as usize].worded {
                continue;
            }
            let mark = &marks[*at as usize];
            bands.candidates(rank, &mut candidates);
            let mut own = None;
            let mut compared = 0;
            for other in candidates.iter().map(|rank| order[*rank as usize]) {
                let agreement = mark.signature.agreement(&marks[other as usize].signature);
                if agreement + MARGIN < asked {
                    continue;
                }
                if compared == EXACT_MAX {
                    break;
                }
                compared += 1;
                if own.is_none() {
                    own = Some(shingles(*at)?);
                }
                let is_near = match (own.as_ref().expect("just set"), shingles(other)?) {
                    (Some(own), Some(other)) => own.is_near(&other, parts),
                    (None, _) | (_, None) => agreement >= asked,
                };
                if is_near {
                    found.join(*at, other);
                    break;
                }
            }
        }
        // Copies join after their originals did.
        for at in order.iter().filter(|at| same[**at as usize]) {
            found.join(*at, found.like[*at as usize]);
        }
        Ok(found)
    }

    /// Joins what has the very same data as an earlier one, and says which did.
    fn join_same_data(&mut self, marks: &[Mark], order: &[u32]) -> Vec<bool> {
        let mut same = vec![false; marks.len()];
        let mut by_data: Vec<u32> = order.to_vec();
        // Stable: within the same data the earliest position stays first.
        by_data.sort_by_key(|at| marks[*at as usize].data);
        for run in by_data.chunk_by(|a, b| marks[*a as usize].data == marks[*b as usize].data) {
            for at in &run[1..] {
                same[*at as usize] = true;
                self.join(*at, run[0]);
            }
        }
        same
    }

    fn join(&mut self, at: u32, other: u32) {
        self.like[at as usize] = other;
        self.owner[at as usize] = self.owner[other as usize];
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.owner.len()
    }

    /// True over no items.
    pub fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    /// The first item of the cluster that the item at this place belongs to.
    pub fn owner(&self, at: u32) -> u32 {
        self.owner[at as usize]
    }

    /// The earlier item that this one was found to be like; itself where there is none.
    pub fn like(&self, at: u32) -> u32 {
        self.like[at as usize]
    }

    /// Number of clusters.
    pub fn count(&self) -> usize {
        (0u32..).zip(&self.owner).filter(|(at, owner)| at == *owner).count()
    }

    /// Bytes that finding clusters of `count` items takes at most, with the marks.
    pub const fn bytes(count: usize) -> usize {
        count * (size_of::<Mark>() + BANDS * 2 * size_of::<u32>() + 32)
    }
}

/// For each piece the items that have it, and for each item where those that share a piece with it begin.
struct Bands {
    /// Of each band all ranks, sorted by piece and then by rank.
    ranks: Vec<Vec<u32>>,
    /// Of each rank one number a band: the place in `ranks` of the earliest that shares its piece. `ALONE` where that
    /// is the rank itself: most are, and nothing more is looked at for them.
    first: Vec<[u32; BANDS]>,
}

const ALONE: u32 = u32::MAX;

impl Bands {
    fn new(marks: &[Mark], order: &[u32], same: &[bool]) -> Self {
        let mut bands = Self { ranks: Vec::with_capacity(BANDS), first: vec![[ALONE; BANDS]; order.len()] };
        // 32 bits of a piece's hash above 32 bits of rank: pieces that collide only cost a comparison.
        let mut entries: Vec<u64> = Vec::new();
        for band in 0..BANDS {
            entries.clear();
            let worded = |at: &u32| marks[*at as usize].worded && !same[*at as usize];
            let piece = |at: &u32| mix(marks[*at as usize].signature.band(band)) & !0xffff_ffff;
            entries.extend((0u64..).zip(order).filter(|(_, at)| worded(at)).map(|(rank, at)| piece(at) | rank));
            entries.sort_unstable();
            let rank = |entry: &u64| u32::try_from(entry & 0xffff_ffff).expect("the lower half");
            let mut from = 0u32;
            for run in entries.chunk_by(|a, b| a >> 32 == b >> 32) {
                for entry in &run[1..] {
                    bands.first[rank(entry) as usize][band] = from;
                }
                from += u32::try_from(run.len()).expect("no more than ranks");
            }
            bands.ranks.push(entries.iter().map(rank).collect());
        }
        bands
    }

    /// Ranks below `rank` that share a piece with it, rising, each once.
    fn candidates(&self, rank: u32, found: &mut Vec<u32>) {
        found.clear();
        for (ranks, first) in self.ranks.iter().zip(&self.first[rank as usize]) {
            if *first != ALONE {
                let run = &ranks[*first as usize..];
                found.extend(run.iter().take_while(|other| **other < rank).take(BUCKET_MAX));
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}

const _: () = assert!(BANDS * 4 == PERMUTATIONS);
