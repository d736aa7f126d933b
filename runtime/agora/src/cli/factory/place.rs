//! Where an adapter's index comes to lie, and what becomes of the one before it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use agora_attribution::AttributionSpec;
use agora_shell::{Failure, Outcome, files};
use agora_types::{Canonical as _, Hash};

use crate::node::adapters::{INDEX, earlier, unfinished};

/// The file that makes a folder an index.
const SPEC_FILE: &str = "spec.cbor";

/// An empty place for an index that is about to be built, inside its adapter's folder; what a stopped build left is gone.
///
/// # Errors
/// `node.io`.
pub(super) fn clear(folder: &Path) -> Outcome<PathBuf> {
    let fresh = folder.join(unfinished());
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Failure::io(&fresh)(error)),
        Ok(()) | Err(_) => Ok(fresh),
    }
}

/// Puts the index that was built to its place. The one that was there stays beside it, under its spec's hash: calls that
/// wait are measured by it, and receipts recomputed. A crash in between leaves the adapter without an index, until it is
/// built again.
///
/// # Errors
/// `node.io`.
pub(super) fn settle(folder: &Path) -> Outcome<()> {
    let (place, fresh) = (folder.join(INDEX), folder.join(unfinished()));
    let moved = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(Failure::io(to));
    if place.exists() {
        let kept = spec_of(&place).map(|spec| folder.join(earlier(&spec)));
        match kept.filter(|kept| !kept.exists()) {
            Some(kept) => moved(&place, &kept)?,
            // It was never finished, or the same is kept already.
            None => std::fs::remove_dir_all(&place).map_err(Failure::io(&place))?,
        }
    }
    moved(&fresh, &place)?;
    files::sync_folder(folder)
}

/// The hash of a finished index's spec.
fn spec_of(place: &Path) -> Option<Hash> {
    let path = place.join(SPEC_FILE);
    let bytes = files::read_bounded(files::open(&path).ok()?, &path, AttributionSpec::SIZE_MAX).ok()??;
    AttributionSpec::from_bytes(&bytes).ok().map(|spec| spec.hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = include_str!("../../../../../marketplace/attribution/tests/data/attribution-spec.hex");

    fn spec() -> AttributionSpec {
        let hex: String = SPEC.split_whitespace().collect();
        AttributionSpec::from_bytes(&hex::decode(hex).unwrap()).unwrap()
    }

    /// "Builds" an index.
    fn build(folder: &Path, spec: Option<&AttributionSpec>, word: &str) {
        let fresh = clear(folder).unwrap();
        assert!(!fresh.exists());
        std::fs::create_dir(&fresh).unwrap();
        std::fs::write(fresh.join("word"), word).unwrap();
        if let Some(spec) = spec {
            std::fs::write(fresh.join(SPEC_FILE), spec.to_bytes()).unwrap();
        }
    }

    #[test]
    fn an_index_that_is_built_anew_leaves_the_one_before_it_under_its_specs_hash() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        let word = |name: &str| std::fs::read_to_string(folder.join(name).join("word")).ok();
        let first = spec();
        let second = AttributionSpec { sample_one_in: first.sample_one_in + 1, ..first.clone() };
        let kept = [&first, &second].map(|spec| earlier(&spec.hash()));
        for (spec, said) in [(&first, "1"), (&second, "2"), (&first, "3")] {
            build(folder, Some(spec), said);
            settle(folder).unwrap();
            assert_eq!(word(INDEX).as_deref(), Some(said));
        }
        assert_eq!([word(&kept[0]), word(&kept[1])], [Some("1".to_owned()), Some("2".to_owned())]);
        // The same again: what is kept is as it was.
        build(folder, Some(&second), "4");
        settle(folder).unwrap();
        assert_eq!([word(INDEX), word(&kept[0])], [Some("4".to_owned()), Some("1".to_owned())]);

        // What a stopped build left is neither kept nor in the way.
        std::fs::remove_file(folder.join(INDEX).join(SPEC_FILE)).unwrap();
        build(folder, None, "5");
        build(folder, Some(&first), "6");
        settle(folder).unwrap();
        assert_eq!([word(INDEX), word(&kept[1])], [Some("6".to_owned()), Some("2".to_owned())]);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 3);
    }
}
