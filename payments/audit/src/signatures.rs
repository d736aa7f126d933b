//! Every signature in an entry, checked again from the log's own bytes.

use agora_receipts::Receipt;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::{Command, KeyKind, KeyProof, KeyStatement, PublicKey};
use agora_types::eip712::{self, Network};
use agora_types::key::WalletSignature;
use agora_types::{Amount, Canonical as _, Hash, Signed};

/// Checks command, submitter, vouchers, key proof and receipt of one entry.
pub(crate) fn check(network: &Network, entry: &Entry) -> Result<(), String> {
    let bad = |what: &str| format!("the signature of {what} does not fit");
    let digest = eip712::command_digest(network, &entry.command);
    let signer = entry.command.signer().ok_or("a command without a signer")?;
    entry.signature.verify(&digest, &signer).map_err(|_| bad("the command"))?;
    if let Some(by) = &entry.submitter {
        let submission = eip712::submission_digest(network, &by.account, &digest, by.gas_max);
        by.signature.verify(&submission, &by.account).map_err(|_| bad("the submitter"))?;
    }
    let voucher = |config: &ChannelConfig, max_claimable: Amount, signature: WalletSignature| {
        let voucher = Voucher { channel_id: config.id(network), max_claimable, signature };
        voucher.verify(network, &config.payer_authorizer).map_err(|_| bad("a voucher"))
    };
    match &entry.command {
        Command::Claim(claim) => {
            for one in &claim.claims {
                voucher(&one.config, one.max_claimable, one.voucher_signature)?;
                if one.config.receiver_authorizer != signer {
                    return Err("a claim of a channel with another authorizer".to_owned());
                }
            }
        }
        Command::SettleCall(settle) => {
            voucher(&settle.config, settle.max_claimable, settle.voucher_signature)?;
            receipt(&settle.receipt)?;
        }
        Command::SettleHeld(settle) => {
            receipt(&settle.receipt)?;
        }
        Command::Hold(hold) => {
            hold.authorization.verify(network, &hold.signature).map_err(|_| bad("a single payment"))?;
        }
        Command::FinalizeCall(finalize) => {
            receipt(&finalize.receipt)?;
        }
        Command::RegisterKey(register) => {
            let statement = KeyStatement {
                chain_id: network.chain_id,
                owner: register.head.signer,
                kind: register.kind,
                key: register.key,
            };
            let fits = match (register.kind, &register.key, &register.proof) {
                (KeyKind::Agent | KeyKind::Session, PublicKey::Wallet(key), KeyProof::Wallet(proof)) => {
                    proof.verify(&Hash::keccak256(statement.tagged()), key).is_ok()
                }
                (
                    KeyKind::Receipt | KeyKind::Checkpoint | KeyKind::Nats,
                    PublicKey::Statement(key),
                    KeyProof::Statement(proof),
                ) => key.verify(&statement.tagged(), proof).is_ok(),
                _ => false,
            };
            if !fits {
                return Err(bad("the registered key"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads a receipt and checks its signature; whether its key may speak is for the books.
pub(crate) fn receipt(bytes: &[u8]) -> Result<Signed<Receipt>, String> {
    if bytes.len() > agora_types::command::RECEIPT_SIZE_MAX {
        return Err("a receipt over 4 KiB".to_owned());
    }
    Signed::from_bytes(bytes).map_err(|error| format!("a receipt: {error}"))
}
