//! One value of each kind, the same ones as in `tests/data/eip712.mjs`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of them")]

use agora_types::authorization::{Authorization, Upto};
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::*;
use agora_types::eip712::Network;
use agora_types::genesis::{Allocation, Genesis, Parameters, Vesting};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, Amount, CallId, Canonical, ChannelId, CommandId, DatanetId, Hash, ListingId, Timestamp};

pub fn network() -> Network {
    Network { chain_id: 4_020_711, asset: "0x4F50454E00000000000000000000000000000001".parse().unwrap() }
}

/// Payer, seller, facilitator: the well-known development keys of Ethereum tools.
pub fn payer() -> WalletKey {
    key("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
}
pub fn seller() -> WalletKey {
    key("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
}
pub fn facilitator() -> WalletKey {
    key("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")
}

fn key(hex_text: &str) -> WalletKey {
    WalletKey::from_bytes(&hex::decode(hex_text).unwrap().try_into().unwrap()).unwrap()
}

pub fn statement_signer() -> StatementSigner {
    StatementSigner::from_bytes(&[7; 32])
}

pub fn config() -> ChannelConfig {
    ChannelConfig {
        payer: payer().address(),
        payer_authorizer: payer().address(),
        receiver: seller().address(),
        receiver_authorizer: facilitator().address(),
        token: network().asset,
        withdraw_delay: 900,
        salt: Hash::ZERO,
    }
}

pub fn voucher() -> Voucher {
    Voucher::sign(&network(), config().id(&network()), Amount::from_atoms(5_000), &payer())
}

fn head() -> Head {
    Head {
        signer: payer().address(),
        id: CommandId::new([0x21; 16]),
        expires_at: Timestamp::from_nanos(1_900_000_000_000_000_000),
    }
}

fn facilitator_head() -> Head {
    Head { signer: facilitator().address(), ..head() }
}

fn call_id() -> CallId {
    CallId::new([0x31; 16])
}

pub fn key_statement() -> KeyStatement {
    KeyStatement {
        chain_id: network().chain_id,
        owner: payer().address(),
        kind: KeyKind::Receipt,
        key: PublicKey::Statement(statement_signer().public()),
    }
}

/// Every kind of command, in the order of their numbers, with the key that signs it.
pub fn commands() -> Vec<(Command, WalletKey)> {
    let amount = Amount::from_atoms(20_000_000_000_000_000_000);
    let key = PublicKey::Statement(statement_signer().public());
    vec![
        (
            Command::Transfer(Transfer {
                head: head(),
                credit: seller().address(),
                amount,
                pending: Some(Pending { timeout_s: 60, settler: facilitator().address() }),
                reference: 77,
                receipt: Some(5),
            }),
            payer(),
        ),
        (
            Command::PostTransfer(PostTransfer {
                head: facilitator_head(),
                pending_signer: payer().address(),
                pending_id: CommandId::new([0x22; 16]),
                amount: Amount::from_atoms(1_234),
            }),
            facilitator(),
        ),
        (
            Command::VoidTransfer(VoidTransfer {
                head: facilitator_head(),
                pending_signer: payer().address(),
                pending_id: CommandId::new([0x22; 16]),
            }),
            facilitator(),
        ),
        (
            Command::RegisterKey(RegisterKey {
                head: head(),
                kind: KeyKind::Receipt,
                key,
                valid_until: Timestamp::from_nanos(2_000_000_000_000_000_000),
                proof: KeyProof::Statement(statement_signer().sign(&key_statement().tagged())),
            }),
            payer(),
        ),
        (Command::RevokeKey(RevokeKey { head: head(), kind: KeyKind::Receipt, key }), payer()),
        (
            Command::Deposit(Deposit {
                config: config(),
                amount: Amount::from_atoms(100_000),
                valid_after: 0,
                valid_before: 1_900_000_000,
                salt: Hash::new([0; 32]),
            }),
            payer(),
        ),
        (
            Command::Claim(Claim {
                claims: vec![VoucherClaim {
                    config: config(),
                    max_claimable: Amount::from_atoms(5_000),
                    voucher_signature: voucher().signature,
                    total_claimed: Amount::from_atoms(4_000),
                }],
            }),
            facilitator(),
        ),
        (Command::Settle(Settle { head: head(), receiver: seller().address() }), payer()),
        (Command::Refund(Refund { config: config(), nonce: 3, amount: Amount::from_atoms(600) }), facilitator()),
        (Command::WithdrawStart(WithdrawStart { head: head(), channel: config().id(&network()) }), payer()),
        (Command::WithdrawFinish(WithdrawFinish { head: head(), channel: config().id(&network()) }), payer()),
        (
            Command::RegisterListing(RegisterListing {
                head: head(),
                name: "smollm2-maritime".into(),
                model_owner: seller().address(),
                hosts: vec![facilitator().address(), seller().address()],
                datanets: vec![
                    DatanetShare { datanet: DatanetId::new([0x41; 32]), weight: 3 },
                    DatanetShare { datanet: DatanetId::new([0x42; 32]), weight: 1 },
                ],
                base_hash: Hash::new([0x51; 32]),
                adapter_hash: Some(Hash::new([0x52; 32])),
                terms: Hash::new([0x53; 32]),
                measure: Some(Measure { spec: Hash::new([0x54; 32]), method: "influence".into() }),
            }),
            payer(),
        ),
        (
            Command::RegisterDatanet(RegisterDatanet {
                head: head(),
                name: "maritime-law".into(),
                version: 2,
                root: Hash::new([0x61; 32]),
                tree_size: 9,
                members: vec![
                    Member { account: Address::new([0x11; 20]), weight: 5 },
                    Member { account: Address::new([0x12; 20]), weight: 2 },
                ],
                statement: Hash::new([0x66; 32]),
            }),
            payer(),
        ),
        (
            Command::SettleCall(Box::new(SettleCall {
                head: facilitator_head(),
                call_id: call_id(),
                config: config(),
                max_claimable: Amount::from_atoms(5_000),
                voucher_signature: voucher().signature,
                charge: Amount::from_atoms(4_100),
                cumulative: Amount::from_atoms(4_100),
                receipt: b"receipt bytes".to_vec(),
            })),
            facilitator(),
        ),
        (
            Command::FinalizeCall(FinalizeCall {
                head: facilitator_head(),
                payer: payer().address(),
                call_id: call_id(),
                receipt: b"final receipt bytes".to_vec(),
            }),
            facilitator(),
        ),
        (Command::ReleaseVested(ReleaseVested { head: head(), allocation: 4 }), payer()),
        (
            Command::Hold(Box::new(Hold {
                head: facilitator_head(),
                signature: payer().sign(&upto().digest(&network())),
                authorization: upto(),
                timeout_s: 60,
            })),
            facilitator(),
        ),
        (
            Command::SettleHeld(SettleHeld {
                head: facilitator_head(),
                payer: payer().address(),
                pending_id: upto().pending_id(&network()),
                call_id: call_id(),
                charge: Amount::from_atoms(1_234),
                receipt: b"receipt bytes".to_vec(),
            }),
            facilitator(),
        ),
        (
            Command::CommitData(CommitData {
                head: head(),
                datanet: DatanetId::new([0x41; 32]),
                root: Hash::new([0x62; 32]),
                count: 7,
                licence: Hash::sha256("CC-BY-4.0"),
            }),
            payer(),
        ),
        (
            Command::PublishEarnings(PublishEarnings {
                head: facilitator_head(),
                epoch: 3,
                root: Hash::new([0x63; 32]),
                count: 5,
                total: Amount::from_atoms(987_654),
                receipts: 77,
            }),
            facilitator(),
        ),
        (
            Command::ClaimEarnings(ClaimEarnings {
                head: head(),
                host: facilitator().address(),
                epoch: 3,
                account: payer().address(),
                cumulative: Amount::from_atoms(4_321),
                index: 2,
                path: vec![Hash::new([0x64; 32]), Hash::new([0x65; 32])],
            }),
            payer(),
        ),
    ]
}

pub fn upto() -> Authorization {
    let mut nonce = [0; 32];
    nonce[31] = 7;
    Authorization::Upto(Upto {
        from: payer().address(),
        to: seller().address(),
        max: Amount::from_atoms(5_000),
        facilitator: facilitator().address(),
        valid_after: 0,
        deadline: 1_900_000_000,
        nonce: Hash::new(nonce),
    })
}

pub fn genesis() -> Genesis {
    Genesis {
        version: 1,
        name: "golden".into(),
        chain_id: network().chain_id,
        time: Timestamp::from_nanos(1_700_000_000_000_000_000),
        dev: true,
        operator: facilitator().address(),
        checkpoint_key: statement_signer().public(),
        parameters: Parameters::default(),
        allocations: vec![
            Allocation { account: payer().address(), amount: Amount::from_open(1_000), vesting: None },
            Allocation {
                account: seller().address(),
                amount: Amount::from_open(500),
                vesting: Some(Vesting {
                    start: Timestamp::from_nanos(1_700_000_000_000_000_000),
                    cliff_s: 86_400,
                    linear_s: 31_536_000,
                }),
            },
        ],
    }
}

pub fn listing() -> ListingId {
    ListingId::derive(&payer().address(), "smollm2-maritime")
}

pub fn channel() -> ChannelId {
    config().id(&network())
}
