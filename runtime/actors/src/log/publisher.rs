//! The tree over the receipt log, and the one way by which it becomes public.

use std::sync::Arc;

use agora_economy::ports::ledger::LedgerFailure;
use agora_economy::ports::log::{Index, LogFault, Row};
use agora_economy::ports::tiles::{CHECKPOINT, TileStore};
use agora_receipts::checkpoint::{origin, verifier_key};
use agora_receipts::{Checkpoint, Note, VerifierKey};
use agora_types::merkle::tile::{Tile, WIDTH, grown};
use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Code, Hash};

use super::actor::LogSettings;
use crate::error::CallError;

/// Most leaves of the tree in memory, 4 GiB of hashes; a longer log is not published any more.
pub const LEAVES_MAX: u64 = 1 << 26;
/// Leaves read at once: 8 MiB at most, and no long wait for the ledger's other callers.
const PAGE: u64 = 1_024;

/// A checkpoint with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Size and root.
    pub checkpoint: Checkpoint,
    /// As it was signed.
    pub note: Note,
}

/// Why nothing was published.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The ledger or the disk failed, or the request was wrong: the next try may succeed.
    World(CallError),
    /// What is there does not fit together: nothing may be signed until somebody has looked.
    Contradiction(CallError),
}

impl From<LedgerFailure> for Trouble {
    fn from(failure: LedgerFailure) -> Self {
        Self::World(failure.into())
    }
}

impl From<LogFault> for Trouble {
    fn from(fault: LogFault) -> Self {
        match fault {
            LogFault::Damaged { .. } => Self::Contradiction(fault.into()),
            LogFault::Failed { .. } | LogFault::Fenced { .. } | LogFault::Locked | LogFault::TooLarge { .. } => {
                Self::World(fault.into())
            }
        }
    }
}

impl Trouble {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Contradiction(CallError::new(Code::StoreDamaged, what))
    }

    fn foreign(what: impl Into<String>) -> Self {
        Self::Contradiction(CallError::new(Code::LogForeign, what))
    }
}

/// What the actor works with. The tree may hold leaves that are not published yet, never other ones than the ledger.
pub(super) struct Publisher {
    pub(super) settings: LogSettings,
    pub(super) tree: Tree,
    /// The newest checkpoint that was compared with the tree.
    pub(super) newest: Option<Published>,
    key: VerifierKey,
}

impl Publisher {
    /// An empty tree: the first publication reads the ledger.
    ///
    /// # Errors
    /// `node.bad_config` for a key that is not the network's checkpoint key.
    pub(super) fn new(settings: LogSettings) -> Result<Self, CallError> {
        let (genesis, own) = (&settings.genesis, settings.signer.public());
        if own != genesis.checkpoint_key {
            let what = format!("the checkpoint key of {:?} is {}, not {own}", genesis.name, genesis.checkpoint_key);
            return Err(CallError::new(Code::NodeConfig, what));
        }
        let key = verifier_key(genesis.chain_id, own);
        Ok(Self { settings, tree: Tree::default(), newest: None, key })
    }

    /// Publishes what the ledger has now; without anything new it writes nothing.
    pub(super) async fn publish(&mut self) -> Result<Published, Trouble> {
        let old = self.published().await?;
        let receipts = |economy: &agora_economy::Economy| economy.state().receipts.clone();
        let ledger = self.settings.ledger.query(receipts).await?;
        let (size, root) = (ledger.size(), ledger.root());
        self.catch_up(size).await?;
        if self.tree.root() != root {
            return Err(Trouble::damaged(format!("the {size} receipts of the ledger do not give its own root")));
        }
        let old_size = old.as_ref().map_or(0, |old| old.checkpoint.size);
        if let Some(old) = old {
            if self.tree.root_at(old_size) != Some(old.checkpoint.root) {
                let what =
                    format!("the published checkpoint of {old_size} receipts is not of this ledger, which has {size}");
                return Err(Trouble::foreign(format!("{what}: was a copy restored?")));
            }
            if old_size == size {
                self.newest = Some(old.clone());
                return Ok(old);
            }
        }
        self.write_tiles(old_size, size).await?;
        let checkpoint = Checkpoint { origin: origin(self.settings.genesis.chain_id), size, root };
        let note = checkpoint.sign(&self.settings.signer).expect("an origin, a size and a root are a note");
        self.put(CHECKPOINT.to_owned(), note.to_string().into_bytes()).await?;
        // From here on the world may have read it.
        let published = Published { checkpoint, note };
        self.newest = Some(published.clone());
        self.forget_partial(old_size, size).await;
        Ok(published)
    }

    /// The checkpoint that the world sees, if it is one of this log.
    async fn published(&self) -> Result<Option<Published>, Trouble> {
        let Some(bytes) = self.store(|tiles| tiles.get(CHECKPOINT)).await? else { return Ok(None) };
        let foreign = |why: String| Trouble::foreign(format!("the published checkpoint: {why}"));
        let text = String::from_utf8(bytes).map_err(|error| foreign(error.to_string()))?;
        let note = Note::parse(&text).map_err(|error| foreign(error.to_string()))?;
        let checkpoint =
            Checkpoint::verify(&note, std::slice::from_ref(&self.key)).map_err(|error| foreign(error.to_string()))?;
        if checkpoint.origin != self.key.name() {
            return Err(foreign(format!("it is of the log {:?}, not of {:?}", checkpoint.origin, self.key.name())));
        }
        Ok(Some(Published { checkpoint, note }))
    }

    /// Brings the tree to the ledger's size.
    async fn catch_up(&mut self, size: u64) -> Result<(), Trouble> {
        if size < self.tree.size() {
            let what = format!("the ledger had {} receipts and has {size}", self.tree.size());
            return Err(Trouble::damaged(what));
        }
        if size > LEAVES_MAX {
            let what = format!("the receipt log has {size} entries, more than {LEAVES_MAX}");
            return Err(Trouble::Contradiction(CallError::new(Code::StoreTooLarge, what)));
        }
        while self.tree.size() < size {
            let from = self.tree.size();
            for leaf in self.leaves(from, PAGE.min(size - from)).await? {
                self.tree.push(leaf_hash(&leaf));
            }
        }
        Ok(())
    }

    /// So many leaves from an index on; the ledger has them, so fewer are damage.
    async fn leaves(&self, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Trouble> {
        let limit = usize::try_from(count).expect("a page or a tile");
        let rows = self.settings.ledger.rows(Index::Receipt, from.to_be_bytes().to_vec(), limit).await?;
        let whole = rows.len() == limit && (from..).zip(&rows).all(|(index, (key, _))| *key == index.to_be_bytes());
        if !whole {
            return Err(Trouble::damaged(format!("receipts {from} to {} are not all there", from + count - 1)));
        }
        Ok(rows.into_iter().map(|(_, leaf): Row| leaf).collect())
    }

    /// Writes every tile that the tree of `new` leaves has beyond that of `old`: under names that the old tree lacks.
    async fn write_tiles(&self, old: u64, new: u64) -> Result<(), Trouble> {
        for tile in grown(old, new) {
            if tile.level() == 0 {
                let bundle = self.entries(&tile).await?;
                self.put(tile.entries_path(), bundle).await?;
            }
            let hashes = self.tree.tile(&tile).expect("the tree has as many leaves");
            let bytes = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
            self.put(tile.path(), bytes).await?;
        }
        Ok(())
    }

    /// The entries under a tile of level 0, each behind its length in two bytes.
    async fn entries(&self, tile: &Tile) -> Result<Vec<u8>, Trouble> {
        let from = tile.index() * WIDTH as u64;
        let mut bundle = Vec::new();
        for (index, leaf) in (from..).zip(self.leaves(from, u64::from(tile.width())).await?) {
            self.check_leaf(index, &leaf)?;
            let length =
                u16::try_from(leaf.len()).map_err(|_| Trouble::damaged(format!("receipt {index} is too long")))?;
            bundle.extend(length.to_be_bytes());
            bundle.extend(leaf);
        }
        Ok(bundle)
    }

    /// Succeeds when the ledger still gives the leaf that the tree was built from.
    pub(super) fn check_leaf(&self, index: u64, leaf: &[u8]) -> Result<Hash, Trouble> {
        let hash = leaf_hash(leaf);
        let known = self.tree.leaf(index) == Some(hash);
        if known { Ok(hash) } else { Err(Trouble::damaged(format!("receipt {index} is another than before"))) }
    }

    /// A failure leaves files that are only in the way, and is no reason to say that nothing was published.
    async fn forget_partial(&self, old: u64, new: u64) {
        let forget = move |tiles: &dyn TileStore| {
            for tile in grown(old, new).filter(Tile::is_full) {
                tiles.forget_partial(&tile.path())?;
                if tile.level() == 0 {
                    tiles.forget_partial(&tile.entries_path())?;
                }
            }
            Ok(())
        };
        if let Err(fault) = self.store(forget).await {
            tracing::warn!(%fault, "partial tiles stay beside their full ones");
        }
    }

    async fn put(&self, path: String, bytes: Vec<u8>) -> Result<(), LogFault> {
        self.store(move |tiles| tiles.put(&path, &bytes)).await
    }

    /// Works on the published files, on a thread that may block.
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn TileStore) -> Result<T, LogFault> + Send + 'static,
    ) -> Result<T, LogFault> {
        let tiles = Arc::clone(&self.settings.tiles);
        let done = tokio::task::spawn_blocking(move || work(tiles.as_ref())).await;
        done.map_err(|error| LogFault::Failed { doing: "published the receipt log", reason: error.to_string() })?
    }
}
