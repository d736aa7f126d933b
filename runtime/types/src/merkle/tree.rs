//! A growing tree that keeps the root of every perfect subtree, so that each proof takes logarithmic time.

use super::tile::{self, Tile};
use super::{empty_root, node_hash, split_point};
use crate::Hash;

/// All hashes of a log, in memory: 64 bytes an entry. It answers for every size it ever had, not for the newest only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// `levels[l][n]` is the root over the leaves from n * 2^l, 2^l of them; only perfect subtrees stand here.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over leaf hashes.
    pub fn from_leaves(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let mut tree = Self::default();
        for leaf in leaves {
            tree.push(leaf);
        }
        tree
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The leaf hash at `index`.
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        self.node(0, index)
    }

    /// Appends a leaf hash and gives its index; one node hash an append on average, at most one for each level.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size();
        let mut node = leaf;
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(node);
            // An odd one waits for its right neighbour.
            let [.., left, right] = nodes.as_slice() else { break };
            if nodes.len() % 2 == 1 {
                break;
            }
            node = node_hash(left, right);
        }
        index
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        self.subtree(0, self.size())
    }

    /// The root as it was over the first `size` leaves; `None` above the tree's size.
    pub fn root_at(&self, size: u64) -> Option<Hash> {
        (size <= self.size()).then(|| self.subtree(0, size))
    }

    /// The hashes beside the path from leaf `index` to the root over the first `size` leaves, leaf first: equal to
    /// [`super::inclusion_proof`] over those leaves. `None` when there is no such leaf or size.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut start, mut rest) = (0, size);
        let mut path = Vec::new();
        while rest > 1 {
            let middle = split_point(rest);
            if index - start < middle {
                path.push(self.subtree(start + middle, rest - middle));
                rest = middle;
            } else {
                path.push(self.subtree(start, middle));
                start += middle;
                rest -= middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// The proof that the first `old` leaves are a prefix of the first `new`: equal to [`super::consistency_proof`].
    /// `None` for `old` of zero, `old` above `new`, or `new` above the tree's size.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        if old == 0 || old > new || new > self.size() {
            return None;
        }
        let (mut start, mut rest, mut old, mut whole) = (0, new, old, true);
        let mut path = Vec::new();
        while old != rest {
            let middle = split_point(rest);
            if old <= middle {
                path.push(self.subtree(start + middle, rest - middle));
                rest = middle;
            } else {
                path.push(self.subtree(start, middle));
                start += middle;
                rest -= middle;
                old -= middle;
                whole = false;
            }
        }
        if !whole {
            path.push(self.subtree(start, rest));
        }
        path.reverse();
        Some(path)
    }

    /// The hashes of a tile of this tree, leftmost first; `None` when the tree is too small for it.
    pub fn tile(&self, tile: &Tile) -> Option<&[Hash]> {
        let nodes = self.levels.get(usize::from(tile.level()) * tile::HEIGHT)?;
        let start = usize::try_from(tile.index()).ok()?.checked_mul(tile::WIDTH)?;
        nodes.get(start..start.checked_add(usize::from(tile.width()))?)
    }

    fn node(&self, level: usize, index: u64) -> Option<Hash> {
        self.levels.get(level)?.get(usize::try_from(index).ok()?).copied()
    }

    /// The root over `size` leaves from `start`, where `start` is a multiple of the next power of two.
    fn subtree(&self, start: u64, size: u64) -> Hash {
        if size == 0 {
            return empty_root();
        }
        // Perfect subtrees from right to left, as in a frontier.
        let (mut end, mut rest) = (start + size, size);
        let mut root = None;
        while rest > 0 {
            let level = rest.trailing_zeros();
            let index = (end - 1) >> level;
            let peak = self.node(level as usize, index).expect("a perfect subtree below the size is kept");
            root = Some(root.map_or(peak, |right| node_hash(&peak, &right)));
            end -= 1 << level;
            rest &= rest - 1;
        }
        root.expect("at least one subtree")
    }
}
