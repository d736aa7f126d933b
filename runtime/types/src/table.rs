//! An ordered table that can take back its newest changes and knows which rows have changed.
//!
//! The state machine's parts keep their rows in tables: a failed chain of commands is rolled back to its mark, and the
//! state root is computed anew for the dirty rows only.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use minicbor::{Decode, Encode};

/// Rows in order of their keys.
#[derive(Debug, Clone)]
pub struct Table<K, V> {
    rows: BTreeMap<K, V>,
    undo: Vec<(K, Option<V>)>,
    dirty: BTreeSet<K>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new(), dirty: BTreeSet::new() }
    }
}

/// Two tables are equal when their rows are.
impl<K: PartialEq, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// The row of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Inserts or replaces a row.
    pub fn put(&mut self, key: K, value: V) {
        let before = self.rows.insert(key.clone(), value);
        self.dirty.insert(key.clone());
        self.undo.push((key, before));
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, key: &K) {
        if let Some(before) = self.rows.remove(key) {
            self.dirty.insert(key.clone());
            self.undo.push((key.clone(), Some(before)));
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// The rows of a range of keys, in order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        self.rows.range(keys)
    }

    /// The row with the lowest key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.rows.first_key_value()
    }

    /// Where [`Table::roll_back`] may return to.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back every change since `mark`.
    pub fn roll_back(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let Some((key, before)) = self.undo.pop() else { return };
            match before {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    /// Changes so far can no longer be taken back.
    pub fn settle(&mut self) {
        self.undo.clear();
    }

    /// The keys changed since the last call, with their rows now.
    pub fn take_dirty(&mut self) -> Vec<(K, Option<V>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|key| (key.clone(), self.rows.get(&key).cloned())).collect()
    }
}

/// An array of `[key, row]` in order of the keys.
impl<C, K: Encode<C>, V: Encode<C>> Encode<C> for Table<K, V> {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(self.rows.len() as u64)?;
        for (key, value) in &self.rows {
            e.array(2)?;
            key.encode(e, context)?;
            value.encode(e, context)?;
        }
        Ok(())
    }
}

impl<'b, C, K: Decode<'b, C> + Ord + Clone, V: Decode<'b, C>> Decode<'b, C> for Table<K, V> {
    fn decode(d: &mut minicbor::Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        let position = d.position();
        let bad = || minicbor::decode::Error::message("not a table").at(position);
        let count = d.array()?.ok_or_else(bad)?;
        let mut table = Self::default();
        for _ in 0..count {
            if d.array()? != Some(2) {
                return Err(bad());
            }
            let key = K::decode(d, context)?;
            let value = V::decode(d, context)?;
            // Every row of a table that was read is dirty: its state root is not known yet.
            table.dirty.insert(key.clone());
            if table.rows.insert(key, value).is_some() {
                return Err(bad());
            }
        }
        Ok(table)
    }
}
