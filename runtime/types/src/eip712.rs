//! EIP-712: the digests that ordinary wallets sign, for x402's structs and for our own commands.
//!
//! Domains (facts of x402 v2): the token's `{name "OPEN", version "1"}`, batch settlement's with a fixed contract
//! address, and our own `{name "Agora Ledger", version "1"}`; all with the network's chain id. Vectors made with an
//! independent library stand in `tests/data/`.

#![allow(missing_docs, reason = "the macro's structs carry Solidity's names; the commands they mirror are documented")]

pub mod statement;

use alloy_primitives::{Address as A, B256, U256, address};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue, sol};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::authorization::Upto;
use crate::channel::ChannelConfig;
use crate::command as c;
use crate::{Address, Amount, ChannelId, Hash};

/// x402's batch-settlement contract address: a constant of its EIP-712 domain.
const BATCH_SETTLEMENT: A = address!("4020074e9dF2ce1deE5A9C1b5c3f541D02a10003");
/// x402's deposit collector: the `to` of each deposit authorization.
const DEPOSIT_COLLECTOR: A = address!("4020806089470a89826cB9fB1f4059150b550004");
/// Permit2's contract address: a constant of its EIP-712 domain, which has no version.
const PERMIT2: A = address!("000000000022D473030F116dDEE9F6B43aC78BA3");
/// x402's `upto` proxy: the `spender` of each permit.
pub const UPTO_SPENDER: Address = Address::new(address!("4020A4f3b7b90ccA423B9fabCc0CE57C6C240002").into_array());

/// What tells one network's signatures from another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Network {
    /// EIP-155 chain id: random below 2^53, one per network.
    #[n(0)]
    pub chain_id: u64,
    /// The address that stands for OPEN on this network.
    #[n(1)]
    pub asset: Address,
}

sol! {
    struct TransferWithAuthorization { address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce; }
    struct ReceiveWithAuthorization { address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce; }
}

mod permit2 {
    alloy_sol_types::sol! {
        struct TokenPermissions { address token; uint256 amount; }
        struct Witness { address to; address facilitator; uint256 validAfter; }
        struct PermitWitnessTransferFrom { TokenPermissions permitted; address spender; uint256 nonce; uint256 deadline; Witness witness; }
    }
}

mod x402 {
    alloy_sol_types::sol! {
        struct ChannelConfig { address payer; address payerAuthorizer; address receiver; address receiverAuthorizer; address token; uint40 withdrawDelay; bytes32 salt; }
        struct Voucher { bytes32 channelId; uint128 maxClaimableAmount; }
        struct Refund { bytes32 channelId; uint256 nonce; uint128 amount; }
        struct ClaimEntry { bytes32 channelId; uint128 maxClaimableAmount; uint128 totalClaimed; }
        struct ClaimBatch { ClaimEntry[] claims; }
    }
}

mod own {
    alloy_sol_types::sol! {
        struct Transfer { address signer; uint128 id; uint64 expiresAt; address credit; uint128 amount; bool pending; uint32 timeoutSeconds; address settler; uint64 reference; bool hasReceipt; uint64 receipt; }
        struct PostTransfer { address signer; uint128 id; uint64 expiresAt; address pendingSigner; uint128 pendingId; uint128 amount; }
        struct VoidTransfer { address signer; uint128 id; uint64 expiresAt; address pendingSigner; uint128 pendingId; }
        struct RegisterKey { address signer; uint128 id; uint64 expiresAt; uint8 kind; bytes key; uint64 validUntil; }
        struct RevokeKey { address signer; uint128 id; uint64 expiresAt; uint8 kind; bytes key; }
        struct Settle { address signer; uint128 id; uint64 expiresAt; address receiver; }
        struct WithdrawStart { address signer; uint128 id; uint64 expiresAt; bytes32 channelId; }
        struct WithdrawFinish { address signer; uint128 id; uint64 expiresAt; bytes32 channelId; }
        struct DatanetShare { bytes32 datanet; uint32 weight; }
        struct RegisterListing { address signer; uint128 id; uint64 expiresAt; string name; address modelOwner; address[] hosts; DatanetShare[] datanets; bytes32 baseHash; bool hasAdapter; bytes32 adapterHash; bytes32 terms; bytes32 spec; string method; }
        struct Member { address account; uint32 weight; }
        struct RegisterDatanet { address signer; uint128 id; uint64 expiresAt; string name; uint32 version; bytes32 root; uint64 treeSize; Member[] members; bytes32 statement; }
        struct SettleCall { address signer; uint128 id; uint64 expiresAt; uint128 callId; bytes32 channelId; uint128 maxClaimable; uint128 charge; uint128 cumulative; bytes32 receiptHash; }
        struct FinalizeCall { address signer; uint128 id; uint64 expiresAt; address payer; uint128 callId; bytes32 receiptHash; }
        struct Hold { address signer; uint128 id; uint64 expiresAt; bytes32 authorization; uint32 timeoutSeconds; }
        struct SettleHeld { address signer; uint128 id; uint64 expiresAt; address payer; uint128 pendingId; uint128 callId; uint128 charge; bytes32 receiptHash; }
        struct ReleaseVested { address signer; uint128 id; uint64 expiresAt; uint32 allocation; }
        struct CommitData { address signer; uint128 id; uint64 expiresAt; bytes32 datanet; bytes32 root; uint32 count; bytes32 licence; }
        struct PublishEarnings { address signer; uint128 id; uint64 expiresAt; uint64 epoch; bytes32 root; uint64 count; uint128 total; uint64 receipts; }
        struct ClaimEarnings { address signer; uint128 id; uint64 expiresAt; address host; uint64 epoch; address account; uint128 cumulative; uint64 index; bytes32[] path; }
        struct Submission { address submitter; bytes32 command; uint128 gasMax; }
    }
}

fn a(address: &Address) -> A {
    A::new(*address.as_bytes())
}

fn b(bytes: &[u8; 32]) -> B256 {
    B256::new(*bytes)
}

fn hash(digest: B256) -> Hash {
    Hash::new(digest.0)
}

impl Network {
    fn domain(&self, name: &'static str, contract: A) -> Eip712Domain {
        Eip712Domain {
            name: Some(name.into()),
            version: Some("1".into()),
            chain_id: Some(U256::from(self.chain_id)),
            verifying_contract: Some(contract),
            salt: None,
        }
    }

    fn token(&self) -> Eip712Domain {
        self.domain("OPEN", a(&self.asset))
    }

    fn batch_settlement(&self) -> Eip712Domain {
        self.domain("x402 Batch Settlement", BATCH_SETTLEMENT)
    }

    fn ledger(&self) -> Eip712Domain {
        self.domain("Agora Ledger", a(&self.asset))
    }
}

/// The id of a channel: the full EIP-712 digest of its config (x402 batch-settlement).
pub fn channel_id(network: &Network, config: &ChannelConfig) -> ChannelId {
    let typed = x402::ChannelConfig {
        payer: a(&config.payer),
        payerAuthorizer: a(&config.payer_authorizer),
        receiver: a(&config.receiver),
        receiverAuthorizer: a(&config.receiver_authorizer),
        token: a(&config.token),
        withdrawDelay: alloy_primitives::Uint::from(config.withdraw_delay),
        salt: b(config.salt.as_bytes()),
    };
    ChannelId::new(typed.eip712_signing_hash(&network.batch_settlement()).0)
}

/// The digest of a voucher (x402 batch-settlement).
pub fn voucher_digest(network: &Network, channel: &ChannelId, max_claimable: Amount) -> Hash {
    let typed = x402::Voucher { channelId: b(channel.as_bytes()), maxClaimableAmount: max_claimable.atoms() };
    hash(typed.eip712_signing_hash(&network.batch_settlement()))
}

/// The digest of an EIP-3009 transfer (x402 `exact`); times in unix seconds.
pub fn exact_digest(
    network: &Network,
    from: &Address,
    to: &Address,
    value: Amount,
    valid: std::ops::Range<u64>,
    nonce: &Hash,
) -> Hash {
    let typed = TransferWithAuthorization {
        from: a(from),
        to: a(to),
        value: U256::from(value.atoms()),
        validAfter: U256::from(valid.start),
        validBefore: U256::from(valid.end),
        nonce: b(nonce.as_bytes()),
    };
    hash(typed.eip712_signing_hash(&network.token()))
}

/// The digest of a Permit2 transfer with x402's witness (x402 `upto`).
pub fn upto_digest(network: &Network, upto: &Upto) -> Hash {
    let typed = permit2::PermitWitnessTransferFrom {
        permitted: permit2::TokenPermissions { token: a(&network.asset), amount: U256::from(upto.max.atoms()) },
        spender: a(&UPTO_SPENDER),
        nonce: U256::from_be_bytes(*upto.nonce.as_bytes()),
        deadline: U256::from(upto.deadline),
        witness: permit2::Witness {
            to: a(&upto.to),
            facilitator: a(&upto.facilitator),
            validAfter: U256::from(upto.valid_after),
        },
    };
    let domain = Eip712Domain { version: None, ..network.domain("Permit2", PERMIT2) };
    hash(typed.eip712_signing_hash(&domain))
}

/// The EIP-3009 nonce of a deposit: keccak256(abi.encode(bytes32 channelId, uint256 salt)).
pub fn deposit_nonce(channel: &ChannelId, salt: &Hash) -> Hash {
    Hash::keccak256((b(channel.as_bytes()), U256::from_be_bytes(*salt.as_bytes())).abi_encode())
}

fn deposit_digest(network: &Network, deposit: &c::Deposit) -> Hash {
    let nonce = deposit_nonce(&deposit.config.id(network), &deposit.salt);
    let typed = ReceiveWithAuthorization {
        from: a(&deposit.config.payer),
        to: DEPOSIT_COLLECTOR,
        value: U256::from(deposit.amount.atoms()),
        validAfter: U256::from(deposit.valid_after),
        validBefore: U256::from(deposit.valid_before),
        nonce: b(nonce.as_bytes()),
    };
    hash(typed.eip712_signing_hash(&network.token()))
}

fn claim_digest(network: &Network, claim: &c::Claim) -> Hash {
    let entry = |claim: &c::VoucherClaim| x402::ClaimEntry {
        channelId: b(claim.config.id(network).as_bytes()),
        maxClaimableAmount: claim.max_claimable.atoms(),
        totalClaimed: claim.total_claimed.atoms(),
    };
    let typed = x402::ClaimBatch { claims: claim.claims.iter().map(entry).collect() };
    hash(typed.eip712_signing_hash(&network.batch_settlement()))
}

fn refund_digest(network: &Network, refund: &c::Refund) -> Hash {
    let typed = x402::Refund {
        channelId: b(refund.config.id(network).as_bytes()),
        nonce: U256::from(refund.nonce),
        amount: refund.amount.atoms(),
    };
    hash(typed.eip712_signing_hash(&network.batch_settlement()))
}

/// What a submitter other than signer and operator signs: it pays at most `gas_max` for this command.
pub fn submission_digest(network: &Network, submitter: &Address, command: &Hash, gas_max: Amount) -> Hash {
    let typed = own::Submission { submitter: a(submitter), command: b(command.as_bytes()), gasMax: gas_max.atoms() };
    hash(typed.eip712_signing_hash(&network.ledger()))
}

/// The digest that [`c::Command::signer`] signs.
pub fn command_digest(network: &Network, command: &c::Command) -> Hash {
    use c::Command as C;
    let domain = network.ledger();
    macro_rules! digest {
        ($command:expr, $name:ident { $($rest:tt)* }) => {
            hash(own::$name {
                signer: a(&$command.head.signer),
                id: $command.head.id.as_u128(),
                expiresAt: $command.head.expires_at.as_nanos(),
                $($rest)*
            }.eip712_signing_hash(&domain))
        };
    }
    match command {
        C::Deposit(c) => deposit_digest(network, c),
        C::Claim(c) => claim_digest(network, c),
        C::Refund(c) => refund_digest(network, c),
        C::Transfer(c) => digest!(
            c,
            Transfer {
                credit: a(&c.credit),
                amount: c.amount.atoms(),
                pending: c.pending.is_some(),
                timeoutSeconds: c.pending.map_or(0, |p| p.timeout_s),
                settler: a(&c.pending.map_or(Address::ZERO, |p| p.settler)),
                reference: c.reference,
                hasReceipt: c.receipt.is_some(),
                receipt: c.receipt.unwrap_or(0),
            }
        ),
        C::PostTransfer(c) => digest!(
            c,
            PostTransfer {
                pendingSigner: a(&c.pending_signer),
                pendingId: c.pending_id.as_u128(),
                amount: c.amount.atoms(),
            }
        ),
        C::VoidTransfer(c) => {
            digest!(c, VoidTransfer { pendingSigner: a(&c.pending_signer), pendingId: c.pending_id.as_u128() })
        }
        C::RegisterKey(c) => digest!(
            c,
            RegisterKey {
                kind: c.kind as u8,
                key: c.key.as_slice().to_vec().into(),
                validUntil: c.valid_until.as_nanos(),
            }
        ),
        C::RevokeKey(c) => digest!(c, RevokeKey { kind: c.kind as u8, key: c.key.as_slice().to_vec().into() }),
        C::Settle(c) => digest!(c, Settle { receiver: a(&c.receiver) }),
        C::WithdrawStart(c) => digest!(c, WithdrawStart { channelId: b(c.channel.as_bytes()) }),
        C::WithdrawFinish(c) => digest!(c, WithdrawFinish { channelId: b(c.channel.as_bytes()) }),
        C::RegisterListing(c) => digest!(
            c,
            RegisterListing {
                name: c.name.clone(),
                modelOwner: a(&c.model_owner),
                hosts: c.hosts.iter().map(a).collect(),
                datanets: c
                    .datanets
                    .iter()
                    .map(|s| own::DatanetShare { datanet: b(s.datanet.as_bytes()), weight: s.weight })
                    .collect(),
                baseHash: b(c.base_hash.as_bytes()),
                hasAdapter: c.adapter_hash.is_some(),
                adapterHash: b(c.adapter_hash.unwrap_or(Hash::ZERO).as_bytes()),
                terms: b(c.terms.as_bytes()),
                spec: b(c.measure.as_ref().map_or(Hash::ZERO, |measure| measure.spec).as_bytes()),
                method: c.measure.as_ref().map_or_else(String::new, |measure| measure.method.clone()),
            }
        ),
        C::RegisterDatanet(c) => digest!(
            c,
            RegisterDatanet {
                name: c.name.clone(),
                version: c.version,
                root: b(c.root.as_bytes()),
                treeSize: c.tree_size,
                members: c.members.iter().map(|m| own::Member { account: a(&m.account), weight: m.weight }).collect(),
                statement: b(c.statement.as_bytes()),
            }
        ),
        C::SettleCall(c) => digest!(
            c,
            SettleCall {
                callId: c.call_id.as_u128(),
                channelId: b(c.config.id(network).as_bytes()),
                maxClaimable: c.max_claimable.atoms(),
                charge: c.charge.atoms(),
                cumulative: c.cumulative.atoms(),
                receiptHash: b(Hash::sha256(&c.receipt).as_bytes()),
            }
        ),
        C::FinalizeCall(c) => digest!(
            c,
            FinalizeCall {
                payer: a(&c.payer),
                callId: c.call_id.as_u128(),
                receiptHash: b(Hash::sha256(&c.receipt).as_bytes()),
            }
        ),
        C::Hold(c) => digest!(
            c,
            Hold { authorization: b(c.authorization.digest(network).as_bytes()), timeoutSeconds: c.timeout_s }
        ),
        C::CommitData(c) => digest!(
            c,
            CommitData {
                datanet: b(c.datanet.as_bytes()),
                root: b(c.root.as_bytes()),
                count: c.count,
                licence: b(c.licence.as_bytes()),
            }
        ),
        C::PublishEarnings(c) => digest!(
            c,
            PublishEarnings {
                epoch: c.epoch,
                root: b(c.root.as_bytes()),
                count: c.count,
                total: c.total.atoms(),
                receipts: c.receipts,
            }
        ),
        C::ClaimEarnings(c) => digest!(
            c,
            ClaimEarnings {
                host: a(&c.host),
                epoch: c.epoch,
                account: a(&c.account),
                cumulative: c.cumulative.atoms(),
                index: c.index,
                path: c.path.iter().map(|hash| b(hash.as_bytes())).collect(),
            }
        ),
        C::SettleHeld(c) => digest!(
            c,
            SettleHeld {
                payer: a(&c.payer),
                pendingId: c.pending_id.as_u128(),
                callId: c.call_id.as_u128(),
                charge: c.charge.atoms(),
                receiptHash: b(Hash::sha256(&c.receipt).as_bytes()),
            }
        ),
        C::ReleaseVested(c) => digest!(c, ReleaseVested { allocation: c.allocation }),
    }
}
