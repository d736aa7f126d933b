//! Commit, then reveal: how a contributor fixes up to 65,536 items, and when, without showing any of them.
//!
//! What is committed to names the account. Whoever copies a root from the ledger's queue and has it recorded first
//! gains nothing: the items behind it open for the account that made them, and for no other.

use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Address, Canonical, Code, DatanetId, Hash, Signed};
use minicbor::{Decode, Encode};

use crate::item::{Item, Reveal};
use crate::submission::ITEMS_MAX;

/// The commitment to one item: SHA-256("agora/content/v1" ‖ account ‖ 128-bit salt ‖ data). All but the data is of
/// fixed length, so that nothing slides.
pub fn commit(contributor: &Address, salt: &[u8; 16], data: &[u8]) -> Hash {
    Hash::sha256_of(&[b"agora/content/v1", contributor.as_bytes(), salt, data])
}

/// The salt of item `index` under a batch's secret: the first half of SHA-256("agora/salt/v1" ‖ secret ‖ index, 4
/// bytes, big-endian). So a contributor keeps one secret, and a salt shown with one item says nothing of the others.
pub fn salt(secret: &[u8; 32], index: u32) -> [u8; 16] {
    let hash = Hash::sha256_of(&[b"agora/salt/v1", secret, &index.to_be_bytes()]);
    let mut salt = [0; 16];
    salt.copy_from_slice(&hash.as_bytes()[..16]);
    salt
}

/// What a contributor signs to get the secret of a batch, and shows nobody: with the same key, the same items for the same
/// datanet have the same secret, so that a contributor who was interrupted begins again without having kept anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BatchSeed {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// The datanet.
    #[n(1)]
    pub datanet: DatanetId,
    /// SHA-256 over the items' data, one after another.
    #[n(2)]
    pub items: Hash,
}

impl Canonical for BatchSeed {
    const TAG: &'static str = "agora/batch-seed/v1";
    const SIZE_MAX: usize = 128;
}

impl BatchSeed {
    /// SHA-256("agora/batch-secret/v1" ‖ the signed seed): Ed25519 signatures (RFC 8032) are the same each time, and nobody
    /// else can make this one.
    pub fn secret(signed: &Signed<Self>) -> [u8; 32] {
        *Hash::sha256_of(&[b"agora/batch-secret/v1", &signed.to_bytes()]).as_bytes()
    }
}

/// The contributor's side of a submission. It keeps hashes only: 64 bytes an item.
///
/// The secret must be random and kept until the batch is revealed: without it nobody, the contributor included, can
/// open the commitment; with it anyone can guess at the items.
#[derive(Clone)]
pub struct Batch {
    contributor: Address,
    secret: [u8; 32],
    tree: Tree,
    contents: Vec<Hash>,
    size_bytes: u64,
}

impl Batch {
    /// An empty batch.
    pub fn new(contributor: Address, secret: [u8; 32]) -> Self {
        Self { contributor, secret, tree: Tree::from_leaves([]), contents: Vec::new(), size_bytes: 0 }
    }

    /// Adds the next item and gives what will open it.
    ///
    /// # Errors
    /// `datanet.bad_item`; `datanet.bad_submission` beyond [`ITEMS_MAX`] items.
    pub fn add(&mut self, item: Item) -> Result<Reveal, Code> {
        let index = self.count();
        if index >= ITEMS_MAX {
            return Err(Code::SubmissionInvalid);
        }
        let reveal = Reveal { salt: salt(&self.secret, index), item };
        let (content, size) = reveal.content(&self.contributor)?;
        self.tree.push(leaf_hash(content.as_bytes()));
        self.contents.push(content);
        self.size_bytes += u64::from(size);
        Ok(reveal)
    }

    /// Number of items.
    pub fn count(&self) -> u32 {
        u32::try_from(self.contents.len()).expect("at most 65,536 items")
    }

    /// Size of all items, in bytes of their canonical form.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The Merkle root over the content hashes: what the ledger records.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The content hashes, in order. They may be shown at the reveal: with them the root can be computed again.
    pub fn contents(&self) -> &[Hash] {
        &self.contents
    }

    /// The proof that item `index` is under the root; `None` when there is no such item.
    pub fn proof(&self, index: u32) -> Option<Vec<Hash>> {
        self.tree.inclusion_proof(u64::from(index), self.tree.size())
    }
}

impl std::fmt::Debug for Batch {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("contributor", &self.contributor).field("count", &self.contents.len()).finish()
    }
}
