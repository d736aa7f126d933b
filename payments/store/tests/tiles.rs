//! What a reader of the published files can rely on.

use agora_economy::ports::log::LogFault;
use agora_economy::ports::memory::MemoryTiles;
use agora_economy::ports::tiles::{TILE_PATH_MAX, TILE_SIZE_MAX, TileStore};
use agora_store::FolderTiles;

/// Runs the same sentences against both stores.
fn each(check: impl Fn(&dyn TileStore)) {
    let home = tempfile::tempdir().unwrap();
    check(&FolderTiles::open(&home.path().join("tiles")).unwrap());
    check(&MemoryTiles::default());
}

#[test]
fn a_file_is_read_back_and_the_newest_takes_the_place_of_the_one_before() {
    each(|tiles| {
        assert_eq!(tiles.get("checkpoint").unwrap(), None);
        assert_eq!(tiles.get("tile/0/x001/067").unwrap(), None);
        tiles.put("checkpoint", b"one").unwrap();
        tiles.put("checkpoint", b"two").unwrap();
        tiles.put("tile/0/x001/067", b"hashes").unwrap();
        assert_eq!(tiles.get("checkpoint").unwrap().unwrap(), b"two");
        assert_eq!(tiles.get("tile/0/x001/067").unwrap().unwrap(), b"hashes");
        assert_eq!(tiles.get("checkpoint/067").unwrap(), None, "a file is no folder");
        assert_eq!(tiles.get("tile/0").unwrap(), None, "a folder is no file");
    });
}

#[test]
fn the_partial_forms_of_a_full_tile_go_together_and_nothing_else_does() {
    each(|tiles| {
        for path in ["tile/0/000.p/1", "tile/0/000.p/255", "tile/0/000", "tile/0/001.p/3"] {
            tiles.put(path, path.as_bytes()).unwrap();
        }
        tiles.forget_partial("tile/0/000").unwrap();
        tiles.forget_partial("tile/0/007").unwrap();
        let there = |path: &str| tiles.get(path).unwrap().is_some();
        assert!(!there("tile/0/000.p/1") && !there("tile/0/000.p/255"));
        assert!(there("tile/0/000") && there("tile/0/001.p/3"));
    });
}

#[test]
fn a_path_that_leaves_the_folder_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let tiles = FolderTiles::open(&home.path().join("tiles")).unwrap();
    let long = "a".repeat(TILE_PATH_MAX + 1);
    for path in [
        "",
        "/",
        "/etc/passwd",
        "../up",
        "tile/../../up",
        "tile//0",
        "tile/",
        ".new/0",
        "tile\\0",
        "a\0b",
        "C:x",
        &long,
    ] {
        for refused in [tiles.put(path, b"x"), tiles.get(path).map(drop), tiles.forget_partial(path)] {
            assert!(matches!(refused, Err(LogFault::Failed { .. })), "{path:?}");
        }
        assert!(MemoryTiles::default().put(path, b"x").is_err(), "both stores have one rule: {path:?}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing beside the folder");
}

#[test]
fn a_file_over_the_bound_is_neither_written_nor_read() {
    each(|tiles| {
        let refused = tiles.put("tile/0/000", &vec![0; TILE_SIZE_MAX + 1]);
        assert!(matches!(refused, Err(LogFault::TooLarge { .. })));
        assert_eq!(tiles.get("tile/0/000").unwrap(), None);
    });
    let home = tempfile::tempdir().unwrap();
    let tiles = FolderTiles::open(home.path()).unwrap();
    std::fs::write(home.path().join("checkpoint"), vec![0; TILE_SIZE_MAX + 1]).unwrap();
    assert!(matches!(tiles.get("checkpoint"), Err(LogFault::Damaged { .. })));
}

#[test]
fn what_a_crash_left_half_written_is_gone_after_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let tiles = FolderTiles::open(home.path()).unwrap();
    tiles.put("checkpoint", b"one").unwrap();
    std::fs::write(home.path().join(".new/5"), b"half").unwrap();
    let tiles = FolderTiles::open(home.path()).unwrap();
    assert_eq!(std::fs::read_dir(home.path().join(".new")).unwrap().count(), 0);
    assert_eq!(tiles.get("checkpoint").unwrap().unwrap(), b"one");
}
