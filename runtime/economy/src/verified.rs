//! Signatures are checked once, before the log; what passed is the only thing that `apply` takes.

use agora_receipts::Receipt;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::{
    CLAIMS_MAX, Command, KeyKind, KeyProof, KeyStatement, PublicKey, RECEIPT_SIZE_MAX, RegisterKey,
};
use agora_types::eip712::{self, Network};
use agora_types::key::WalletSignature;
use agora_types::{Address, Amount, Canonical as _, ChannelId, Code, Hash, Signed};

/// Whose entries they are, and so what must be checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    Nobody,
    OwnLog,
}

/// An entry whose every signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    entry: Entry,
    digest: Hash,
    channels: Vec<ChannelId>,
    receipt: Option<Signed<Receipt>>,
}

impl Verified {
    /// Checks the signatures of the command, its submitter, its vouchers, its key proof and its receipt.
    ///
    /// # Errors
    /// `key.bad_signature`, `channel.voucher_signature`, `key.bad_proof`, `key.wrong_length`, `call.receipt_invalid`,
    /// `channel.claim_count`, `channel.receiver_authorizer_mismatch`. Such an entry never enters the log.
    pub fn check(network: &Network, entry: Entry) -> Result<Self, Code> {
        Self::read(network, entry, Trust::Nobody)
    }

    /// The same without wallet signatures: for a node's own log, whose bytes it verified before it wrote them.
    pub(crate) fn from_own_log(network: &Network, entry: Entry) -> Result<Self, Code> {
        Self::read(network, entry, Trust::OwnLog)
    }

    fn read(network: &Network, entry: Entry, trust: Trust) -> Result<Self, Code> {
        let digest = eip712::command_digest(network, &entry.command);
        let signer = entry.command.signer().ok_or(Code::ClaimCount)?;
        if trust == Trust::Nobody {
            let bad = |_| Code::KeyBadSignature;
            entry.signature.verify(&digest, &signer).map_err(bad)?;
            if let Some(submitter) = &entry.submitter {
                let submission = eip712::submission_digest(network, &submitter.account, &digest, submitter.gas_max);
                submitter.signature.verify(&submission, &submitter.account).map_err(bad)?;
            }
        }
        let mut channels = Vec::new();
        let mut receipt = None;
        match &entry.command {
            Command::Claim(claim) => {
                if claim.claims.len() > CLAIMS_MAX {
                    return Err(Code::ClaimCount);
                }
                for one in &claim.claims {
                    if one.config.receiver_authorizer != signer {
                        return Err(Code::AuthorizerMismatch);
                    }
                    channels.push(voucher(network, &one.config, one.max_claimable, one.voucher_signature, trust)?);
                }
            }
            Command::SettleCall(settle) => {
                channels.push(voucher(network, &settle.config, settle.max_claimable, settle.voucher_signature, trust)?);
                receipt = Some(read_receipt(&settle.receipt)?);
            }
            Command::SettleHeld(settle) => receipt = Some(read_receipt(&settle.receipt)?),
            Command::Hold(hold) if trust == Trust::Nobody => {
                hold.authorization.verify(network, &hold.signature).map_err(|_| Code::KeyBadSignature)?;
            }
            Command::FinalizeCall(finalize) => receipt = Some(read_receipt(&finalize.receipt)?),
            Command::Deposit(deposit) => channels.push(deposit.config.id(network)),
            Command::Refund(refund) => channels.push(refund.config.id(network)),
            Command::RegisterKey(register) => key_proof(network, register)?,
            Command::Hold(_)
            | Command::Transfer(_)
            | Command::PostTransfer(_)
            | Command::VoidTransfer(_)
            | Command::RevokeKey(_)
            | Command::Settle(_)
            | Command::WithdrawStart(_)
            | Command::WithdrawFinish(_)
            | Command::RegisterListing(_)
            | Command::RegisterDatanet(_)
            | Command::ReleaseVested(_)
            | Command::CommitData(_)
            | Command::PublishEarnings(_)
            | Command::ClaimEarnings(_) => {}
        }
        Ok(Self { entry, digest, channels, receipt })
    }

    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The entry, to be written.
    pub fn into_entry(self) -> Entry {
        self.entry
    }

    /// The digest that the command's signer signed.
    pub fn digest(&self) -> &Hash {
        &self.digest
    }

    /// Ids of the channels whose configs the command carries, in order.
    pub(crate) fn channels(&self) -> &[ChannelId] {
        &self.channels
    }

    /// The receipt that the command carries.
    pub(crate) fn receipt(&self) -> &Signed<Receipt> {
        self.receipt.as_ref().expect("a call's command carries a receipt")
    }

    /// The call whose permanent record `apply` will ask for.
    pub fn call(&self) -> Option<(Address, agora_types::CallId)> {
        match &self.entry.command {
            Command::SettleCall(settle) => Some((settle.config.payer, settle.call_id)),
            Command::SettleHeld(settle) => Some((settle.payer, settle.call_id)),
            Command::FinalizeCall(finalize) => Some((finalize.payer, finalize.call_id)),
            _ => None,
        }
    }
}

fn voucher(
    network: &Network,
    config: &ChannelConfig,
    max_claimable: Amount,
    signature: WalletSignature,
    trust: Trust,
) -> Result<ChannelId, Code> {
    let channel_id = config.id(network);
    if trust == Trust::Nobody {
        let voucher = Voucher { channel_id, max_claimable, signature };
        voucher.verify(network, &config.payer_authorizer).map_err(|_| Code::VoucherSignature)?;
    }
    Ok(channel_id)
}

fn read_receipt(bytes: &[u8]) -> Result<Signed<Receipt>, Code> {
    if bytes.len() > RECEIPT_SIZE_MAX {
        return Err(Code::ReceiptInvalid);
    }
    Signed::from_bytes(bytes).map_err(|_| Code::ReceiptInvalid)
}

fn key_proof(network: &Network, command: &RegisterKey) -> Result<(), Code> {
    let statement =
        KeyStatement { chain_id: network.chain_id, owner: command.head.signer, kind: command.kind, key: command.key };
    let tagged = statement.tagged();
    let wallet_kind = matches!(command.kind, KeyKind::Agent | KeyKind::Session);
    match (&command.key, &command.proof) {
        (PublicKey::Wallet(key), KeyProof::Wallet(proof)) if wallet_kind => {
            proof.verify(&Hash::keccak256(&tagged), key).map_err(|_| Code::KeyBadProof)
        }
        (PublicKey::Statement(key), KeyProof::Statement(proof)) if !wallet_kind => {
            key.verify(&tagged, proof).map_err(|_| Code::KeyBadProof)
        }
        (PublicKey::Wallet(_) | PublicKey::Statement(_), KeyProof::Wallet(_) | KeyProof::Statement(_)) => {
            Err(Code::KeyWrongLength)
        }
    }
}
