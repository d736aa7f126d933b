//! The growing tree answers what the definitions of RFC 6962 say, and tiles have the names of C2SP tlog-tiles.

use agora_types::Hash;
use agora_types::merkle::tile::{self, Tile};
use agora_types::merkle::{self, Tree};
use proptest::prelude::*;

fn leaves(count: usize) -> Vec<Hash> {
    (0..count).map(|n| merkle::leaf_hash(&(n as u64).to_be_bytes())).collect()
}

#[test]
fn a_tree_proves_every_leaf_and_prefix_at_every_size_it_had() {
    let leaves = leaves(40);
    let tree = Tree::from_leaves(leaves.iter().copied());
    for size in 0..=leaves.len() {
        let (now, size64) = (&leaves[..size], size as u64);
        assert_eq!(tree.root_at(size64), Some(merkle::root(now)), "{size}");
        for index in 0..=size64 {
            assert_eq!(tree.inclusion_proof(index, size64), merkle::inclusion_proof(now, index), "{index} of {size}");
            assert_eq!(tree.consistency_proof(index, size64), merkle::consistency_proof(now, index), "{index}, {size}");
        }
    }
    assert_eq!(tree.root(), merkle::root(&leaves));
    assert_eq!(tree.leaf(39), Some(leaves[39]));
}

#[test]
fn a_tree_has_no_answer_beyond_its_size() {
    let tree = Tree::from_leaves(leaves(5));
    assert_eq!(tree.root_at(6), None);
    assert_eq!(tree.leaf(5), None);
    assert_eq!(tree.inclusion_proof(0, 6), None);
    assert_eq!(tree.inclusion_proof(5, 5), None);
    assert_eq!(tree.consistency_proof(0, 5), None);
    assert_eq!(tree.consistency_proof(3, 2), None);
    assert_eq!(tree.consistency_proof(1, u64::MAX), None);
    assert_eq!(Tree::default().root(), merkle::empty_root());
    assert_eq!(Tree::default().inclusion_proof(0, 0), None);
}

#[test]
fn tiles_are_named_as_c2sp_names_them() {
    let path = |level, index, width| Tile::new(level, index, width).unwrap().path();
    assert_eq!(path(0, 1_234_067, 256), "tile/0/x001/x234/067");
    assert_eq!(path(0, 0, 256), "tile/0/000");
    assert_eq!(path(1, 1, 17), "tile/1/001.p/17");
    assert_eq!(path(63, u64::MAX, 1), "tile/63/x018/x446/x744/x073/x709/x551/615.p/1");
    assert_eq!(Tile::new(0, 273, 112).unwrap().entries_path(), "tile/entries/273.p/112");
    assert_eq!(Tile::new(64, 0, 256), None);
    assert_eq!(Tile::new(0, 0, 0), None);
    assert_eq!(Tile::new(0, 0, 257), None);
}

#[test]
fn a_tile_has_one_name() {
    for wrong in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/+0/000",
        "tile/64/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/x000/001",
        "tile/0/001/000",
        "tile/0/x001000",
        "tile/0/000/",
        "tile/0/../000",
        "tile/0/000.p/1.p/1",
        "tile/0/é00",
        "/tile/0/000",
        "tile/entries/000",
    ] {
        assert_eq!(Tile::from_path(wrong), None, "{wrong}");
    }
    assert_eq!(Tile::from_path(&"tile/0/".repeat(100)), None);
    assert_eq!(Tile::from_entries_path("tile/0/000"), None);
    assert_eq!(Tile::from_entries_path("tile/entries/x001/000.p/5"), Tile::new(0, 1000, 5));
}

#[test]
fn a_log_of_70000_has_the_tiles_that_the_specification_counts() {
    let tiles: Vec<Tile> = tile::grown(0, 70_000).collect();
    let at = |level| tiles.iter().filter(move |tile| tile.level() == level);
    assert_eq!(at(0).filter(|tile| tile.is_full()).count(), 273);
    assert_eq!(at(0).next_back().unwrap().path(), "tile/0/273.p/112");
    assert_eq!(at(1).map(Tile::path).collect::<Vec<_>>(), ["tile/1/000", "tile/1/001.p/17"]);
    assert_eq!(at(2).map(Tile::path).collect::<Vec<_>>(), ["tile/2/000.p/1"]);
    assert_eq!(at(3).count(), 0);
    assert_eq!(tile::grown(70_000, 70_001).map(|t| t.path()).collect::<Vec<_>>(), ["tile/0/273.p/113"]);
    assert_eq!(tile::grown(0, 0).count(), 0);
    assert_eq!(tile::grown(70_000, 70_000).count(), 0);
    assert_eq!(tile::grown(255, 256).map(|t| t.path()).collect::<Vec<_>>(), ["tile/0/000", "tile/1/000.p/1"]);
}

#[test]
fn a_tile_of_level_one_holds_the_roots_of_the_tiles_below() {
    let leaves = leaves(600);
    let tree = Tree::from_leaves(leaves.iter().copied());
    for tile in tile::grown(0, 600) {
        let hashes = tree.tile(&tile).unwrap();
        assert_eq!(hashes.len(), usize::from(tile.width()));
        let first = usize::try_from(tile.index()).unwrap() * 256;
        for (at, hash) in hashes.iter().enumerate() {
            let span = 256usize.pow(u32::from(tile.level()));
            let start = (first + at) * span;
            assert_eq!(*hash, merkle::root(&leaves[start..start + span]), "{}", tile.path());
        }
    }
    assert_eq!(tree.tile(&Tile::new(0, 2, 89).unwrap()), None);
    assert_eq!(tree.tile(&Tile::new(9, 0, 1).unwrap()), None);
    assert_eq!(tree.tile(&Tile::new(0, u64::MAX, 1).unwrap()), None);
}

proptest! {
    #[test]
    fn a_growing_tree_agrees_with_the_slow_functions(size in 1usize..2_000, at in any::<u64>(), old in any::<u64>()) {
        let leaves = leaves(size);
        let tree = Tree::from_leaves(leaves.iter().copied());
        let size = size as u64;
        let (at, old) = (at % size, 1 + old % size);
        let path = tree.inclusion_proof(at, size).unwrap();
        prop_assert_eq!(Some(path.clone()), merkle::inclusion_proof(&leaves, at));
        let leaf = tree.leaf(at).unwrap();
        prop_assert_eq!(merkle::root_from_inclusion(&leaf, at, size, &path), Some(tree.root()));
        let path = tree.consistency_proof(old, size).unwrap();
        prop_assert_eq!(Some(path.clone()), merkle::consistency_proof(&leaves, old));
        let before = tree.root_at(old).unwrap();
        prop_assert!(merkle::verify_consistency(old, &before, size, &tree.root(), &path));
    }

    #[test]
    fn every_name_of_a_tile_reads_back(level in 0u8..64, index in any::<u64>(), width in 1u16..=256) {
        let tile = Tile::new(level, index, width).unwrap();
        prop_assert_eq!(Tile::from_path(&tile.path()), Some(tile));
        let zero = Tile::new(0, index, width);
        prop_assert_eq!(Tile::from_entries_path(&tile.entries_path()), zero);
    }

    #[test]
    fn no_text_makes_a_tile_reader_panic(text in "(tile/)?(entries/)?\\PC{0,70}") {
        let _ = (Tile::from_path(&text), Tile::from_entries_path(&text));
    }

    #[test]
    fn growing_step_by_step_writes_every_tile_of_the_tree(sizes in proptest::collection::vec(0u64..200_000, 1..5)) {
        let mut sizes = sizes;
        sizes.sort_unstable();
        let mut written = std::collections::BTreeSet::new();
        let mut old = 0;
        for size in &sizes {
            written.extend(tile::grown(old, *size));
            old = *size;
        }
        for tile in tile::grown(0, old) {
            prop_assert!(written.contains(&tile), "{}", tile.path());
        }
    }
}
