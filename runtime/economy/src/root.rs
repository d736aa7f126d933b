//! The state root: one hash over every row of every table, brought up to date for changed rows only.
//!
//! A row's place is SHA-256(0x02 || table || key); its first 16 bits choose one of 65,536 buckets. A bucket hashes its
//! rows in order of place, SHA-256(0x00 || place || SHA-256(value) || ...); above the buckets stands a binary tree,
//! SHA-256(0x01 || left || right). An empty bucket and an empty subtree are 32 zero bytes.

use std::collections::{BTreeMap, BTreeSet};

use agora_types::Hash;

const LEVELS: u32 = 16;

/// The tree over all rows.
#[derive(Debug, Clone, Default)]
pub struct StateRoot {
    buckets: BTreeMap<u32, BTreeMap<Hash, Hash>>,
    /// Hashes of nodes that are not empty, by level (0 are buckets) and index.
    nodes: BTreeMap<(u32, u32), Hash>,
    stale: BTreeSet<u32>,
}

impl StateRoot {
    /// Sets or removes a row.
    pub fn set(&mut self, table: u8, key: &[u8], value: Option<Vec<u8>>) {
        let place = Hash::sha256_of(&[&[2, table], key]);
        let bytes = place.as_bytes();
        let bucket = u32::from(bytes[0]) << 8 | u32::from(bytes[1]);
        let rows = self.buckets.entry(bucket).or_default();
        match value {
            Some(value) => rows.insert(place, Hash::sha256(value)),
            None => rows.remove(&place),
        };
        self.stale.insert(bucket);
    }

    /// The root over everything set so far.
    pub fn root(&mut self) -> Hash {
        let mut stale = std::mem::take(&mut self.stale);
        for bucket in &stale {
            let hash = self.buckets.get(bucket).filter(|rows| !rows.is_empty()).map(|rows| {
                let mut bytes = vec![0];
                for (place, value) in rows {
                    bytes.extend_from_slice(place.as_bytes());
                    bytes.extend_from_slice(value.as_bytes());
                }
                Hash::sha256(bytes)
            });
            self.put(0, *bucket, hash);
        }
        for level in 1..=LEVELS {
            stale = stale.iter().map(|index| index / 2).collect();
            for index in &stale {
                let child = |side| self.nodes.get(&(level - 1, 2 * index + side)).copied().unwrap_or(Hash::ZERO);
                let (left, right) = (child(0), child(1));
                let empty = left == Hash::ZERO && right == Hash::ZERO;
                let hash = (!empty).then(|| Hash::sha256_of(&[&[1], left.as_bytes(), right.as_bytes()]));
                self.put(level, *index, hash);
            }
        }
        self.nodes.get(&(LEVELS, 0)).copied().unwrap_or(Hash::ZERO)
    }

    fn put(&mut self, level: u32, index: u32, hash: Option<Hash>) {
        match hash {
            Some(hash) => self.nodes.insert((level, index), hash),
            None => self.nodes.remove(&(level, index)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_root_depends_on_the_rows_and_not_on_how_they_came(
            changes in proptest::collection::vec((0u8..3, 0u8..20, proptest::option::of(0u8..5)), 0..60),
        ) {
            let mut stepwise = StateRoot::default();
            let mut rows = BTreeMap::new();
            for (table, key, value) in &changes {
                stepwise.set(*table, &[*key], value.map(|v| vec![v]));
                stepwise.root();
                match value {
                    Some(value) => rows.insert((*table, *key), *value),
                    None => rows.remove(&(*table, *key)),
                };
            }
            let mut fresh = StateRoot::default();
            for ((table, key), value) in rows.iter().rev() {
                fresh.set(*table, &[*key], Some(vec![*value]));
            }
            prop_assert_eq!(stepwise.root(), fresh.root());
            prop_assert_eq!(rows.is_empty(), fresh.root() == Hash::ZERO);
            fresh.set(9, b"one more", Some(vec![1]));
            prop_assert_ne!(stepwise.root(), fresh.root());
        }
    }
}
