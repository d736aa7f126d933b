//! The genesis file: what a network is before its first batch. Its hash is `prev` of batch 0.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::command::KINDS;
use crate::eip712::Network;
use crate::key::StatementKey;
use crate::{Address, Amount, CAP, Canonical, Hash, Timestamp};

/// Basis points in a whole.
pub const BASIS_POINTS: u32 = 10_000;
/// Chain ids stay below 2^53: JavaScript's safe integers.
pub const CHAIN_ID_LIMIT: u64 = 1 << 53;
/// Most allocations.
pub const ALLOCATIONS_MAX: usize = 1_024;

/// How the charge of a call is split, in basis points that sum to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Whose data taught the model (in suspense until the final receipt).
    #[n(0)]
    pub contributors: u32,
    /// The listing's model owner.
    #[n(1)]
    pub model_owner: u32,
    /// The host that served.
    #[n(2)]
    pub host: u32,
    /// The validators' pool.
    #[n(3)]
    pub validators: u32,
    /// The platform.
    #[n(4)]
    pub platform: u32,
}

impl Split {
    /// True when the parts sum to [`BASIS_POINTS`].
    pub fn is_whole(&self) -> bool {
        let parts = [self.contributors, self.model_owner, self.host, self.validators, self.platform];
        parts.iter().map(|part| u64::from(*part)).sum::<u64>() == u64::from(BASIS_POINTS)
    }
}

impl Default for Split {
    fn default() -> Self {
        Self { contributors: 5_000, model_owner: 2_000, host: 2_000, validators: 500, platform: 500 }
    }
}

/// The governed parameters.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Parameters {
    /// The split of a call's charge.
    #[n(0)]
    pub split: Split,
    /// Atoms per unit of gas; 0 at genesis.
    #[n(1)]
    pub gas_price: Amount,
    /// Units of gas by command kind, [`KINDS`] of them.
    #[n(2)]
    pub gas_table: Vec<u32>,
    /// `expiresAt` is at most this far ahead, seconds.
    #[n(3)]
    pub command_window_s: u32,
    /// EIP-3009 `validBefore` is at most this far ahead, seconds.
    #[n(4)]
    pub authorization_window_s: u32,
    /// Without a final receipt the contributor part goes to the commons after this, seconds.
    #[n(5)]
    pub suspense_s: u32,
    /// Smallest deposit and top-up.
    #[n(6)]
    pub deposit_min: Amount,
    /// A state root is computed every this many batches.
    #[n(7)]
    pub state_root_interval: u32,
    /// How near a recomputed attribution must come; absent: [`Tolerance::default`].
    #[n(8)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Tolerance>,
}

/// How near an attribution must come that is measured again from question and answer: floating point differs between
/// machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Tolerance {
    /// Least cosine of the two query vectors, parts of 2^30.
    #[n(0)]
    pub cosine_min: u64,
    /// Largest difference of a share, and of the explained part, parts of 2^32.
    #[n(1)]
    pub share_max: u64,
}

impl Default for Tolerance {
    /// 0.999, and 1 %.
    fn default() -> Self {
        Self { cosine_min: (1 << 30) / 1_000 * 999, share_max: (1 << 32) / 100 }
    }
}

impl Parameters {
    /// How near a recomputed attribution must come.
    pub fn tolerance(&self) -> Tolerance {
        self.tolerance.unwrap_or_default()
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            split: Split::default(),
            gas_price: Amount::ZERO,
            gas_table: vec![1, 1, 1, 2, 1, 2, 4, 1, 2, 1, 1, 4, 4, 8, 4, 1, 2, 8, 2, 2, 2],
            command_window_s: 600,
            authorization_window_s: 3_600,
            suspense_s: 3_600,
            deposit_min: Amount::from_atoms(1_000_000_000),
            state_root_interval: 1_024,
            tolerance: None,
        }
    }
}

/// Linear release after a cliff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Vesting {
    /// Counting from here.
    #[n(0)]
    pub start: Timestamp,
    /// Nothing before start + cliff, seconds.
    #[n(1)]
    pub cliff_s: u64,
    /// After the cliff, everything within this many seconds, linearly; 0: all at the cliff.
    #[n(2)]
    pub linear_s: u64,
}

/// Money that exists from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Allocation {
    /// The account.
    #[n(0)]
    pub account: Address,
    /// Above zero.
    #[n(1)]
    pub amount: Amount,
    /// Absent: at once.
    #[n(2)]
    pub vesting: Option<Vesting>,
}

/// The genesis file.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Genesis {
    /// 1.
    #[n(0)]
    pub version: u16,
    /// Lower-case letters, digits and hyphens, 1 to 32; the folder's name.
    #[n(1)]
    pub name: String,
    /// Random, above 0 and below 2^53.
    #[n(2)]
    pub chain_id: u64,
    /// When it was made.
    #[n(3)]
    pub time: Timestamp,
    /// Dev networks refuse to bind non-loopback addresses and to join others.
    #[n(4)]
    pub dev: bool,
    /// Sequences, submits and pays gas.
    #[n(5)]
    pub operator: Address,
    /// Signs checkpoints of the receipt log.
    #[n(6)]
    pub checkpoint_key: StatementKey,
    /// The rules' numbers.
    #[n(7)]
    pub parameters: Parameters,
    /// At most [`ALLOCATIONS_MAX`]; together at most [`CAP`].
    #[n(8)]
    pub allocations: Vec<Allocation>,
}

impl Canonical for Genesis {
    const TAG: &'static str = "agora/genesis/v1";
    const SIZE_MAX: usize = 256 * 1024;
}

impl Genesis {
    /// Chain id and asset; the asset is the last 20 bytes of keccak256("OPEN" || genesis hash).
    pub fn network(&self) -> Network {
        let asset = Hash::keccak256([b"OPEN".as_slice(), self.hash().as_bytes()].concat());
        Network { chain_id: self.chain_id, asset: Address::from_hash(&asset) }
    }

    /// Everything allocated; `None` above u128.
    pub fn supply(&self) -> Option<Amount> {
        Amount::checked_sum(self.allocations.iter().map(|allocation| allocation.amount))
    }

    /// Checks every rule of the file and names the first that is broken.
    pub fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, text| if holds { Ok(()) } else { Err(text) };
        let name = self.name.as_bytes();
        let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        rule(self.version == 1, "the version must be 1")?;
        rule((1..=32).contains(&name.len()) && name.iter().all(plain), "the name is 1 to 32 of a-z, 0-9 and -")?;
        rule(self.chain_id > 0 && self.chain_id < CHAIN_ID_LIMIT, "the chain id is above 0 and below 2^53")?;
        let p = &self.parameters;
        rule(p.split.is_whole(), "the split must sum to 10,000 basis points")?;
        rule(p.gas_table.len() == KINDS, "the gas table has one number for each command kind")?;
        rule((1..=600).contains(&p.command_window_s), "the command window is 1 to 600 seconds")?;
        rule((1..=3_600).contains(&p.authorization_window_s), "the authorization window is 1 to 3,600 seconds")?;
        rule((1..=2_592_000).contains(&p.suspense_s), "the suspense deadline is 1 second to 30 days")?;
        rule(p.state_root_interval > 0, "the state root interval is above zero")?;
        let near = p.tolerance();
        rule(near.cosine_min <= 1 << 30, "a cosine is at most 2^30 parts")?;
        rule(near.share_max <= 1 << 32, "a share is at most 2^32 parts")?;
        rule(p.gas_price <= CAP && p.deposit_min <= CAP, "prices and minima are at most the cap")?;
        rule(self.allocations.len() <= ALLOCATIONS_MAX, "there are at most 1,024 allocations")?;
        rule(self.allocations.iter().all(|a| !a.amount.is_zero()), "an allocation is above zero")?;
        rule(self.supply().is_some_and(|supply| supply <= CAP), "no more than 1,000,000,000 OPEN can exist")
    }
}
