//! What a contributor has earned from one host: a leaf of the Merkle root that the host publishes each epoch.

use minicbor::{Decode, Encode};

use crate::merkle::leaf_hash;
use crate::{Address, Amount, Canonical, Hash};

/// All that one account has earned from one host's calls, from the first on: a later leaf replaces an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Earned {
    /// Whose final receipts set it aside.
    #[n(0)]
    pub host: Address,
    /// Who is paid.
    #[n(1)]
    pub account: Address,
    /// Since the first call.
    #[n(2)]
    pub cumulative: Amount,
}

impl Canonical for Earned {
    const TAG: &'static str = "agora/earned/v1";
    const SIZE_MAX: usize = 128;
}

impl Earned {
    /// Its leaf hash: RFC 6962 over the tagged bytes.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.tagged())
    }
}
