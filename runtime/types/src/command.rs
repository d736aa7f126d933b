//! Everything that can be asked of the ledger: one struct per command, each signed in its own EIP-712 form.

use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::authorization::Authorization;
use crate::channel::ChannelConfig;
use crate::earnings::Earned;
use crate::key::{StatementKey, StatementSignature, WalletSignature};
use crate::merkle::root_from_inclusion;
use crate::{Address, Amount, CallId, ChannelId, CommandId, DatanetId, Hash, ListingId, Timestamp};

/// Most bytes of a receipt inside a command.
pub const RECEIPT_SIZE_MAX: usize = 4096;
/// Most claims in one [`Claim`].
pub const CLAIMS_MAX: usize = 100;
/// Most members over all datanets of a listing: with host, owner, validators and platform they fit 16 legs.
pub const MEMBERS_MAX: usize = 12;
/// Longest name of an attribution method in bytes.
pub const METHOD_SIZE_MAX: usize = 32;
/// The method of listings without a measure; every view adds "declared, not measured".
pub const DECLARED_WEIGHTS: &str = "declared-weights";
/// Most contributions of one commitment.
pub const COMMITTED_MAX: u32 = 65_536;
/// Longest path of an inclusion proof.
const PATH_MAX: usize = 64;
/// Most hosts of a listing and datanets of a listing.
pub const HOSTS_MAX: usize = 16;
/// Longest name in bytes.
pub const NAME_SIZE_MAX: usize = 64;

/// Who signs, under which id, and until when the command may enter the log.
///
/// A repeat of `(signer, id)` with the same content gives the first result and changes nothing; with other content it
/// is refused. Ids are remembered until `expires_at`, which is at most ten minutes ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Head {
    /// The account whose key signs.
    #[n(0)]
    pub signer: Address,
    /// Unique per signer.
    #[n(1)]
    pub id: CommandId,
    /// Last moment, in ledger time.
    #[n(2)]
    pub expires_at: Timestamp,
}

/// Moves `amount` from the signer to `credit`, at once or in two phases.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Transfer {
    /// Signer: the debit account.
    #[n(0)]
    pub head: Head,
    /// Credit account.
    #[n(1)]
    pub credit: Address,
    /// Above zero.
    #[n(2)]
    pub amount: Amount,
    /// Present: a pending transfer that only reserves.
    #[n(3)]
    pub pending: Option<Pending>,
    /// The payer's own reference, any 128 bits (TigerBeetle's user_data_128).
    #[n(4)]
    pub reference: u64,
    /// Index of the receipt that this transfer pays, if any.
    #[n(5)]
    pub receipt: Option<u64>,
}

/// The second phase of a pending transfer: who may post it, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Pending {
    /// Seconds until it is released by itself, 1 to 2,592,000.
    #[n(0)]
    pub timeout_s: u32,
    /// Who may post or void it: the payee, or a facilitator.
    #[n(1)]
    pub settler: Address,
}

/// Completes a pending transfer with at most its amount; the rest is released. Signed by its settler.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PostTransfer {
    /// Signer: the settler.
    #[n(0)]
    pub head: Head,
    /// Signer of the pending transfer.
    #[n(1)]
    pub pending_signer: Address,
    /// Id of the pending transfer.
    #[n(2)]
    pub pending_id: CommandId,
    /// At most the reserved amount; above zero, unless it is a held single payment.
    #[n(3)]
    pub amount: Amount,
}

/// Releases a pending transfer. Signed by its settler.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct VoidTransfer {
    /// Signer: the settler.
    #[n(0)]
    pub head: Head,
    /// Signer of the pending transfer.
    #[n(1)]
    pub pending_signer: Address,
    /// Id of the pending transfer.
    #[n(2)]
    pub pending_id: CommandId,
}

/// The work a key is registered for; one key serves one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// An agent account of the owner (secp256k1 address).
    #[n(0)]
    Agent,
    /// A session key that signs vouchers (secp256k1 address).
    #[n(1)]
    Session,
    /// A host's receipt key (Ed25519).
    #[n(2)]
    Receipt,
    /// A checkpoint key (Ed25519).
    #[n(3)]
    Checkpoint,
    /// A NATS nkey (Ed25519), which signs nothing else.
    #[n(4)]
    Nats,
}

/// A public key by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize)]
pub enum PublicKey {
    /// secp256k1, by address: agent and session keys.
    #[n(0)]
    Wallet(#[n(0)] Address),
    /// Ed25519: receipt, checkpoint and NATS keys.
    #[n(1)]
    Statement(#[n(0)] StatementKey),
}

impl PublicKey {
    /// 20 or 32 bytes: the `bytes key` of the EIP-712 struct.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Wallet(address) => address.as_bytes(),
            Self::Statement(key) => key.as_bytes(),
        }
    }
}

/// Binds a key to its owner: the signer says "this key acts for me in this kind of work".
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RegisterKey {
    /// Signer: the owner.
    #[n(0)]
    pub head: Head,
    /// What the key is for.
    #[n(1)]
    pub kind: KeyKind,
    /// The key.
    #[n(2)]
    pub key: PublicKey,
    /// The key acts until then.
    #[n(3)]
    pub valid_until: Timestamp,
    /// The key's own signature over [`KeyStatement`]: nobody registers a key that is not theirs.
    #[n(4)]
    pub proof: KeyProof,
}

/// Possession of the registered key, signed by that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
pub enum KeyProof {
    /// By a secp256k1 key, over the keccak-256 of the tagged [`KeyStatement`].
    #[n(0)]
    Wallet(#[n(0)] WalletSignature),
    /// By an Ed25519 key, over the tagged [`KeyStatement`].
    #[n(1)]
    Statement(#[n(0)] StatementSignature),
}

/// What a key signs to prove possession.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyStatement {
    /// The network.
    #[n(0)]
    pub chain_id: u64,
    /// The owner it will act for.
    #[n(1)]
    pub owner: Address,
    /// The work it will do.
    #[n(2)]
    pub kind: KeyKind,
    /// The key.
    #[n(3)]
    pub key: PublicKey,
}

impl crate::Canonical for KeyStatement {
    const TAG: &'static str = "agora/key-statement/v1";
    const SIZE_MAX: usize = 256;
}

/// Ends a key's work at once. What it signed before stays valid.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RevokeKey {
    /// Signer: the owner.
    #[n(0)]
    pub head: Head,
    /// What the key was for.
    #[n(1)]
    pub kind: KeyKind,
    /// The key.
    #[n(2)]
    pub key: PublicKey,
}

/// Opens a channel or tops it up. Signed by the payer as EIP-3009 `ReceiveWithAuthorization` in the token's domain.
///
/// It has no head: the EIP-3009 nonce, keccak256(abi.encode(channelId, salt)), keyed by payer until `valid_before`,
/// is its id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Deposit {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// Above zero.
    #[n(1)]
    pub amount: Amount,
    /// Unix seconds.
    #[n(2)]
    pub valid_after: u64,
    /// Unix seconds, at most one hour ahead.
    #[n(3)]
    pub valid_before: u64,
    /// Tells deposits into one channel apart (x402 `erc3009Authorization.salt`).
    #[n(4)]
    pub salt: Hash,
}

/// One voucher to claim.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct VoucherClaim {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// The voucher's cumulative amount.
    #[n(1)]
    pub max_claimable: Amount,
    /// The voucher's signature, by `config.payer_authorizer`.
    #[n(2)]
    pub voucher_signature: WalletSignature,
    /// Cumulative claim after this one: at most `max_claimable`.
    #[n(3)]
    pub total_claimed: Amount,
}

/// Turns vouchers into money for their receivers. Signed by the receiver's authorizer as x402 `ClaimBatch`.
///
/// It has no head: a repeat finds `total_claimed` reached and changes nothing. Listings' channels are refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Claim {
    /// 1 to 64, all with the one `receiver_authorizer` that signs.
    #[n(0)]
    pub claims: Vec<VoucherClaim>,
}

/// Pays out what claims have gathered for `receiver`. Anyone may sign; the money has one place to go.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Settle {
    /// Signer: anyone.
    #[n(0)]
    pub head: Head,
    /// The receiver to pay.
    #[n(1)]
    pub receiver: Address,
}

/// Gives unclaimed deposit back to the payer. Signed by the receiver's authorizer as x402 `Refund`.
///
/// It has no head: `nonce` must be the channel's `refund_nonce`, which each refund advances.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Refund {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// The channel's current refund nonce.
    #[n(1)]
    pub nonce: u64,
    /// Above zero, at most what is unclaimed.
    #[n(2)]
    pub amount: Amount,
}

/// Announces that the payer takes the unclaimed deposit back without the receiver's help.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct WithdrawStart {
    /// Signer: payer or payer's authorizer.
    #[n(0)]
    pub head: Head,
    /// The channel.
    #[n(1)]
    pub channel: ChannelId,
}

/// After the withdraw delay, returns everything unclaimed to the payer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct WithdrawFinish {
    /// Signer: payer or payer's authorizer.
    #[n(0)]
    pub head: Head,
    /// The channel.
    #[n(1)]
    pub channel: ChannelId,
}

/// A datanet's part in a listing's contributor share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct DatanetShare {
    /// The datanet.
    #[n(0)]
    pub datanet: DatanetId,
    /// Above zero; relative to the listing's other datanets.
    #[n(1)]
    pub weight: u32,
}

/// How the answers of a listing are attributed: measured, by a published spec.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Measure {
    /// Hash of the attribution spec, which every receipt repeats.
    #[n(0)]
    pub spec: Hash,
    /// The method's name, 1 to 32 bytes, as receipts state it.
    #[n(1)]
    pub method: String,
}

/// Puts a listing's money terms on the ledger, or replaces them. The id is derived from signer and name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RegisterListing {
    /// Signer: the listing's owner.
    #[n(0)]
    pub head: Head,
    /// 1 to 64 bytes, unique per owner.
    #[n(1)]
    pub name: String,
    /// Receives the model owner's part.
    #[n(2)]
    pub model_owner: Address,
    /// Host accounts that may settle calls, 1 to 16.
    #[n(3)]
    pub hosts: Vec<Address>,
    /// Whose data taught the model; empty: the contributor part goes to the commons.
    #[n(4)]
    pub datanets: Vec<DatanetShare>,
    /// The base model that answers.
    #[n(5)]
    pub base_hash: Hash,
    /// The adapter that answers, if any.
    #[n(6)]
    pub adapter_hash: Option<Hash>,
    /// Hash of the signed listing in the catalog.
    #[n(7)]
    pub terms: Hash,
    /// Present: contributors are paid by measured shares. Absent: by the weights that their datanets declare.
    #[n(8)]
    pub measure: Option<Measure>,
}

impl RegisterListing {
    /// The listing's id.
    pub fn listing(&self) -> ListingId {
        ListingId::derive(&self.head.signer, &self.name)
    }
}

/// A contributor's account and weight within a datanet version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Member {
    /// Paid.
    #[n(0)]
    pub account: Address,
    /// Above zero; relative to the other members.
    #[n(1)]
    pub weight: u32,
}

/// Puts a datanet version's root, its members' weights and the hash of its signed text on the ledger. The id is derived
/// from signer and name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct RegisterDatanet {
    /// Signer: the datanet's owner.
    #[n(0)]
    pub head: Head,
    /// 1 to 64 bytes, unique per owner.
    #[n(1)]
    pub name: String,
    /// 1 at first, then one more each time.
    #[n(2)]
    pub version: u32,
    /// Merkle root over the version's contributions.
    #[n(3)]
    pub root: Hash,
    /// Number of contributions.
    #[n(4)]
    pub tree_size: u64,
    /// At most 12, in rising order of account, each once. None: only measured listings can name the datanet.
    #[n(5)]
    pub members: Vec<Member>,
    /// SHA-256 of the signed `agora/datanet/v1`, key and signature included: the wallet so speaks for the statement key,
    /// and one hash over a file tells whether it is what was registered.
    #[n(6)]
    pub statement: Hash,
}

impl RegisterDatanet {
    /// The datanet's id.
    pub fn datanet(&self) -> DatanetId {
        DatanetId::derive(&self.head.signer, &self.name)
    }
}

/// Ends a paid call: claims the exact charge from the channel, pays host, owner, validators and platform, puts the
/// contributor part in suspense, and appends the provisional receipt.
///
/// Keyed by `(payer, call_id)`, kept forever: a repeat gives the first result whatever the head says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct SettleCall {
    /// Signer: the host account, which is the channel's `receiver_authorizer`.
    #[n(0)]
    pub head: Head,
    /// The payer's id of the call.
    #[n(1)]
    pub call_id: CallId,
    /// The channel; its receiver is the listing's account.
    #[n(2)]
    pub config: ChannelConfig,
    /// The newest voucher's cumulative amount.
    #[n(3)]
    pub max_claimable: Amount,
    /// The newest voucher's signature.
    #[n(4)]
    pub voucher_signature: WalletSignature,
    /// Atoms this call costs; zero is allowed.
    #[n(5)]
    pub charge: Amount,
    /// The channel's `total_claimed` afterwards: before + charge.
    #[n(6)]
    pub cumulative: Amount,
    /// The signed provisional receipt, at most 4 KiB.
    #[cbor(n(7), with = "minicbor::bytes")]
    #[serde(skip)]
    pub receipt: Vec<u8>,
}

/// Appends the final receipt and releases the suspense by its shares.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct FinalizeCall {
    /// Signer: the host that settled the call.
    #[n(0)]
    pub head: Head,
    /// The payer of the call.
    #[n(1)]
    pub payer: Address,
    /// The payer's id of the call.
    #[n(2)]
    pub call_id: CallId,
    /// The signed final receipt, at most 4 KiB.
    #[cbor(n(3), with = "minicbor::bytes")]
    #[serde(skip)]
    pub receipt: Vec<u8>,
}

/// Reserves a single payment that its payer authorised (x402 `exact` or `upto`) as a pending transfer, which the signer
/// posts, voids, or lets expire.
///
/// An `upto` authorization names its settler. An `exact` one names nobody, so only the payee, a host of the payee's
/// listing, or the operator may hold it. A payer's nonce is held once: again only after a void or an expiry.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Hold {
    /// Signer: the settler.
    #[n(0)]
    pub head: Head,
    /// What the payer signed.
    #[n(1)]
    #[serde(skip)]
    pub authorization: Authorization,
    /// The payer's signature over it.
    #[n(2)]
    pub signature: WalletSignature,
    /// Seconds until the reservation is released by itself, 1 to 3,600.
    #[n(3)]
    pub timeout_s: u32,
}

/// Ends a paid call whose payment is held: posts the exact charge out of the hold, releases the rest, pays as
/// [`SettleCall`] does, and appends the provisional receipt.
///
/// Keyed by `(payer, call_id)` like [`SettleCall`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct SettleHeld {
    /// Signer: the host account, which is the hold's settler.
    #[n(0)]
    pub head: Head,
    /// Who pays.
    #[n(1)]
    pub payer: Address,
    /// The hold's pending transfer, in the payer's namespace.
    #[n(2)]
    pub pending_id: CommandId,
    /// The payer's id of the call.
    #[n(3)]
    pub call_id: CallId,
    /// Atoms this call costs, at most what is held; zero is allowed.
    #[n(4)]
    pub charge: Amount,
    /// The signed provisional receipt, at most 4 KiB.
    #[cbor(n(5), with = "minicbor::bytes")]
    #[serde(skip)]
    pub receipt: Vec<u8>,
}

/// Pays out what has vested of a genesis allocation. Signed by its account.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ReleaseVested {
    /// Signer: the allocation's account.
    #[n(0)]
    pub head: Head,
    /// Index of the allocation in the genesis file.
    #[n(1)]
    pub allocation: u32,
}

/// Says, before anybody sees them, that the signer has these contributions: whoever committed to a content first owns it.
///
/// It stands for ever, and its number among all says who was first; the signer's second one to the same root is refused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct CommitData {
    /// Signer: the contributor's account, which is paid.
    #[n(0)]
    pub head: Head,
    /// The datanet that they are meant for; it may be registered later.
    #[n(1)]
    pub datanet: DatanetId,
    /// RFC 6962 root over the salted hashes of the contents, in the order of the submission.
    #[n(2)]
    pub root: Hash,
    /// How many, 1 to 65,536.
    #[n(3)]
    pub count: u32,
    /// SHA-256 of the licence id under which they are given.
    #[n(4)]
    pub licence: Hash,
}

/// Publishes what each contributor has earned from a host's calls so far: a Merkle root over [`crate::Earned`] leaves.
///
/// Amounts are cumulative: a newer epoch replaces the one before, and what was claimed is subtracted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct PublishEarnings {
    /// Signer: the host whose final receipts set the money aside.
    #[n(0)]
    pub head: Head,
    /// 1 at first, then one more each time.
    #[n(1)]
    pub epoch: u64,
    /// RFC 6962 root over the leaves, in rising order of account.
    #[n(2)]
    pub root: Hash,
    /// Number of leaves.
    #[n(3)]
    pub count: u64,
    /// Sum of the leaves: not less than before, and not more than was set aside.
    #[n(4)]
    pub total: Amount,
    /// The receipt log's size up to which the final receipts of this host are counted.
    #[n(5)]
    pub receipts: u64,
}

/// Pays a contributor what a published root says, less what was claimed before. Anyone may sign; the money has one place
/// to go.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct ClaimEarnings {
    /// Signer: anyone.
    #[n(0)]
    pub head: Head,
    /// Whose calls earned it.
    #[n(1)]
    pub host: Address,
    /// The epoch whose root the proof leads to: the newest.
    #[n(2)]
    pub epoch: u64,
    /// Who is paid.
    #[n(3)]
    pub account: Address,
    /// All that the account has earned from this host so far.
    #[n(4)]
    pub cumulative: Amount,
    /// Index of the leaf.
    #[n(5)]
    pub index: u64,
    /// Inclusion proof of the leaf, at most 64 hashes.
    #[n(6)]
    pub path: Vec<Hash>,
}

impl ClaimEarnings {
    /// True when the proof leads from the claimed leaf to a root over `count` leaves.
    pub fn leads_to(&self, root: &Hash, count: u64) -> bool {
        let leaf = Earned { host: self.host, account: self.account, cumulative: self.cumulative }.leaf();
        self.path.len() <= PATH_MAX && root_from_inclusion(&leaf, self.index, count, &self.path) == Some(*root)
    }
}

/// Any command. The numbers are the CBOR variant and the index into the gas table; they are never reused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[allow(missing_docs)]
pub enum Command {
    #[n(0)]
    Transfer(#[n(0)] Transfer),
    #[n(1)]
    PostTransfer(#[n(0)] PostTransfer),
    #[n(2)]
    VoidTransfer(#[n(0)] VoidTransfer),
    #[n(3)]
    RegisterKey(#[n(0)] RegisterKey),
    #[n(4)]
    RevokeKey(#[n(0)] RevokeKey),
    #[n(5)]
    Deposit(#[n(0)] Deposit),
    #[n(6)]
    Claim(#[n(0)] Claim),
    #[n(7)]
    Settle(#[n(0)] Settle),
    #[n(8)]
    Refund(#[n(0)] Refund),
    #[n(9)]
    WithdrawStart(#[n(0)] WithdrawStart),
    #[n(10)]
    WithdrawFinish(#[n(0)] WithdrawFinish),
    #[n(11)]
    RegisterListing(#[n(0)] RegisterListing),
    #[n(12)]
    RegisterDatanet(#[n(0)] RegisterDatanet),
    #[n(13)]
    SettleCall(#[n(0)] Box<SettleCall>),
    #[n(14)]
    FinalizeCall(#[n(0)] FinalizeCall),
    #[n(15)]
    ReleaseVested(#[n(0)] ReleaseVested),
    #[n(16)]
    Hold(#[n(0)] Box<Hold>),
    #[n(17)]
    SettleHeld(#[n(0)] SettleHeld),
    #[n(18)]
    CommitData(#[n(0)] CommitData),
    #[n(19)]
    PublishEarnings(#[n(0)] PublishEarnings),
    #[n(20)]
    ClaimEarnings(#[n(0)] ClaimEarnings),
}

/// Number of command kinds; the length of the gas table.
pub const KINDS: usize = 21;

impl Command {
    /// The kind's number.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Transfer(_) => 0,
            Self::PostTransfer(_) => 1,
            Self::VoidTransfer(_) => 2,
            Self::RegisterKey(_) => 3,
            Self::RevokeKey(_) => 4,
            Self::Deposit(_) => 5,
            Self::Claim(_) => 6,
            Self::Settle(_) => 7,
            Self::Refund(_) => 8,
            Self::WithdrawStart(_) => 9,
            Self::WithdrawFinish(_) => 10,
            Self::RegisterListing(_) => 11,
            Self::RegisterDatanet(_) => 12,
            Self::SettleCall(_) => 13,
            Self::FinalizeCall(_) => 14,
            Self::ReleaseVested(_) => 15,
            Self::Hold(_) => 16,
            Self::SettleHeld(_) => 17,
            Self::CommitData(_) => 18,
            Self::PublishEarnings(_) => 19,
            Self::ClaimEarnings(_) => 20,
        }
    }

    /// The kind's name, as in [`Command`]'s JSON view.
    pub const fn kind_name(&self) -> &'static str {
        const NAMES: [&str; KINDS] = [
            "transfer",
            "post_transfer",
            "void_transfer",
            "register_key",
            "revoke_key",
            "deposit",
            "claim",
            "settle",
            "refund",
            "withdraw_start",
            "withdraw_finish",
            "register_listing",
            "register_datanet",
            "settle_call",
            "finalize_call",
            "release_vested",
            "hold",
            "settle_held",
            "commit_data",
            "publish_earnings",
            "claim_earnings",
        ];
        NAMES[self.kind() as usize]
    }

    /// The head, for the commands that have one.
    pub const fn head(&self) -> Option<&Head> {
        match self {
            Self::Transfer(c) => Some(&c.head),
            Self::PostTransfer(c) => Some(&c.head),
            Self::VoidTransfer(c) => Some(&c.head),
            Self::RegisterKey(c) => Some(&c.head),
            Self::RevokeKey(c) => Some(&c.head),
            Self::Settle(c) => Some(&c.head),
            Self::WithdrawStart(c) => Some(&c.head),
            Self::WithdrawFinish(c) => Some(&c.head),
            Self::RegisterListing(c) => Some(&c.head),
            Self::RegisterDatanet(c) => Some(&c.head),
            Self::SettleCall(c) => Some(&c.head),
            Self::FinalizeCall(c) => Some(&c.head),
            Self::ReleaseVested(c) => Some(&c.head),
            Self::Hold(c) => Some(&c.head),
            Self::SettleHeld(c) => Some(&c.head),
            Self::CommitData(c) => Some(&c.head),
            Self::PublishEarnings(c) => Some(&c.head),
            Self::ClaimEarnings(c) => Some(&c.head),
            Self::Deposit(_) | Self::Claim(_) | Self::Refund(_) => None,
        }
    }

    /// The account whose signature the command needs; `None` for a claim without claims.
    pub fn signer(&self) -> Option<Address> {
        match self {
            Self::Deposit(c) => Some(c.config.payer),
            Self::Refund(c) => Some(c.config.receiver_authorizer),
            Self::Claim(c) => c.claims.first().map(|claim| claim.config.receiver_authorizer),
            other => other.head().map(|head| head.signer),
        }
    }
}

impl crate::Canonical for Command {
    const TAG: &'static str = "agora/command/v1";
    const SIZE_MAX: usize = 60 * 1024;
}
