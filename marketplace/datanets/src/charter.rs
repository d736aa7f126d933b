//! A charter: what a datanet is before it has a version, so that a contributor can read the rules first.

use agora_types::{Canonical, Code, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::policy::Policy;
use crate::terms::Terms;

/// Terms and policy as their owner founds or changes them, signed by a statement key of the owner. The next version is
/// made under the newest charter; versions that are there keep theirs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Charter {
    /// What the owner says.
    #[n(0)]
    pub terms: Terms,
    /// How it is curated.
    #[n(1)]
    pub policy: Policy,
    /// When, by the owner's clock: of two charters the later one counts.
    #[n(2)]
    pub time: Timestamp,
}

impl Canonical for Charter {
    const TAG: &'static str = "agora/datanet-charter/v1";
    const SIZE_MAX: usize = 8 * 1024;
}

impl Charter {
    /// Checks every bound.
    ///
    /// # Errors
    /// `datanet.bad_terms`, `datanet.bad_policy`.
    pub fn check(&self) -> Result<(), Code> {
        if !self.terms.are_bounded() {
            return Err(Code::DatanetTerms);
        }
        self.policy.check()
    }
}
