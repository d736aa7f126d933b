//! What a caller of the blobs can rely on.

use std::fs;
use std::path::PathBuf;
use std::thread;

use agora_economy::ports::log::LogFault;
use agora_economy::ports::state::{BLOB_SIZE_MAX, Blobs as _};
use agora_store::FolderBlobs;
use agora_types::Hash;

fn opened() -> (tempfile::TempDir, FolderBlobs) {
    let home = tempfile::tempdir().unwrap();
    let blobs = FolderBlobs::open(&home.path().join("blobs")).unwrap();
    (home, blobs)
}

fn file(home: &tempfile::TempDir, hash: &Hash) -> PathBuf {
    let digits = hash.to_string()[2..].to_owned();
    home.path().join("blobs").join(&digits[..2]).join(&digits[2..4]).join(digits)
}

#[test]
fn a_blob_is_found_by_its_hash_also_after_a_restart() {
    let (home, blobs) = opened();
    for bytes in [b"".as_slice(), b"a component", &[7; 100_000]] {
        let hash = blobs.put(bytes).unwrap();
        assert_eq!(hash, Hash::sha256(bytes));
        assert_eq!(blobs.get(&hash).unwrap().unwrap(), bytes);
        let again = FolderBlobs::open(&home.path().join("blobs")).unwrap();
        assert_eq!(again.get(&hash).unwrap().unwrap(), bytes);
    }
    assert_eq!(blobs.get(&Hash::sha256("never kept")).unwrap(), None);
}

#[test]
fn keeping_the_same_bytes_again_changes_nothing() {
    let (home, blobs) = opened();
    let hash = blobs.put(b"once").unwrap();
    let before = fs::metadata(file(&home, &hash)).unwrap().modified().unwrap();
    assert_eq!(blobs.put(b"once").unwrap(), hash);
    assert_eq!(fs::metadata(file(&home, &hash)).unwrap().modified().unwrap(), before);
}

#[test]
fn every_kind_of_damage_is_noticed_and_who_brings_the_bytes_heals_it() {
    let (home, blobs) = opened();
    let bytes = b"what was written";
    let hash = blobs.put(bytes).unwrap();
    let mut flipped = bytes.to_vec();
    flipped[3] ^= 1;
    for damaged in [&flipped[..], &bytes[..5], b"", b"what was written and more"] {
        fs::write(file(&home, &hash), damaged).unwrap();
        assert!(matches!(blobs.get(&hash), Err(LogFault::Damaged { .. })), "{damaged:?}");
        blobs.put(bytes).unwrap();
        assert_eq!(blobs.get(&hash).unwrap().unwrap(), bytes);
    }
}

#[test]
fn a_blob_over_the_bound_is_neither_written_nor_read() {
    let (home, blobs) = opened();
    let large = vec![0; BLOB_SIZE_MAX + 1];
    assert!(matches!(blobs.put(&large), Err(LogFault::TooLarge { .. })));
    let hash = blobs.put(b"small").unwrap();
    fs::write(file(&home, &hash), &large).unwrap();
    assert!(matches!(blobs.get(&hash), Err(LogFault::Damaged { .. })));
}

#[test]
fn what_a_crash_left_half_written_is_gone_after_the_next_start() {
    let (home, blobs) = opened();
    let hash = blobs.put(b"whole").unwrap();
    let fresh = home.path().join("blobs/.new");
    fs::write(fresh.join("3"), b"half").unwrap();
    let blobs = FolderBlobs::open(&home.path().join("blobs")).unwrap();
    assert_eq!(fs::read_dir(&fresh).unwrap().count(), 0);
    assert_eq!(blobs.get(&hash).unwrap().unwrap(), b"whole");
}

#[test]
fn many_threads_keep_the_same_and_different_blobs() {
    let (_home, blobs) = opened();
    thread::scope(|scope| {
        for number in 0..8u8 {
            let blobs = &blobs;
            scope.spawn(move || {
                for round in 0..20u8 {
                    blobs.put(&[round]).unwrap();
                    blobs.put(&[number, round]).unwrap();
                    assert_eq!(blobs.get(&Hash::sha256([round])).unwrap().unwrap(), [round]);
                }
            });
        }
    });
    for number in 0..8u8 {
        assert_eq!(blobs.get(&Hash::sha256([number, 19])).unwrap().unwrap(), [number, 19]);
    }
}
