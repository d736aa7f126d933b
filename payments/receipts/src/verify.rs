//! Verification without a network: an exported receipt against the keys that the reader has pinned.
//!
//! Who vouches for what. The pinned checkpoint key vouches for the log's root; the inclusion proof ties the leaf to it;
//! the leaf holds the host's signature. A host's key is not pinned as a rule: the log admits only receipts by a key that
//! its host has registered on the ledger, so a leaf under a pinned checkpoint is vouched for by the operator, and anyone
//! who recounts the ledger's log can check the operator. A reader who wants more pins `host_keys`.

use std::fmt;

use agora_types::command::RECEIPT_SIZE_MAX;
use agora_types::merkle::leaf_hash;
use agora_types::{Code, Hash, Signed, SignedError};
use serde::Serialize;

use crate::checkpoint::{Checkpoint, origin};
use crate::envelope::{Envelope, LoggedReceipt, Opening};
use crate::note::{Note, NoteError};
use crate::receipt::Receipt;
use crate::trust::{Trust, TrustedNetwork};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable: `provisional.leaf`, `final.pays`, `network`, …
    pub name: String,
    /// True when it holds.
    pub ok: bool,
    /// Why not.
    pub code: Option<Code>,
    /// What holds, or what does not, for people.
    pub sentence: String,
}

/// The outcome of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// `agora/receipt-verdict/v1`.
    #[serde(rename = "$type")]
    kind: &'static str,
    /// The reader's own name of the network, when it is trusted.
    pub network: Option<String>,
    /// The first failing check's code; absent: verified.
    pub code: Option<Code>,
    /// What a command ends with: 0, or the code's exit code.
    pub exit_code: u8,
    /// Everything that was looked at, first what the file says of itself, then who vouches for it.
    pub checks: Vec<Check>,
}

impl Verdict {
    fn new(network: Option<&TrustedNetwork>, checks: Vec<Check>) -> Self {
        let code = checks.iter().find_map(|check| check.code);
        let network = network.map(|known| known.name.clone());
        Self { kind: "agora/receipt-verdict/v1", network, code, exit_code: code.map_or(0, Code::exit_code), checks }
    }

    /// True when every check holds.
    pub fn is_ok(&self) -> bool {
        self.code.is_none()
    }
}

/// One line for each check, and the verdict; without a line break at the end.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = if check.ok { "ok  " } else { "FAIL" };
            writeln!(f, "{mark}  {:<22} {}", check.name, check.sentence)?;
        }
        match self.code {
            None => write!(f, "verified"),
            Some(code) => write!(f, "not verified: {code}: {}", code.meaning()),
        }
    }
}

/// The checks so far.
#[derive(Default)]
pub(crate) struct Checks(Vec<Check>);

impl Checks {
    /// Notes the outcome of one check and says whether it holds.
    pub(crate) fn note(&mut self, name: &str, outcome: Result<String, (Code, String)>) -> bool {
        let (ok, code, sentence) = match outcome {
            Ok(sentence) => (true, None, sentence),
            Err((code, sentence)) => (false, Some(code), sentence),
        };
        self.0.push(Check { name: name.to_owned(), ok, code, sentence });
        ok
    }

    /// The same for a plain condition.
    pub(crate) fn holds(&mut self, name: &str, code: Code, holds: bool, good: &str, bad: &str) -> bool {
        self.note(name, if holds { Ok(good.to_owned()) } else { Err((code, bad.to_owned())) })
    }
}

/// A receipt of the file whose own checks went far enough to read it.
pub(crate) struct Part {
    pub(crate) receipt: Signed<Receipt>,
    pub(crate) index: u64,
    pub(crate) leaf: Hash,
    proof: Option<(Note, Checkpoint)>,
}

/// Verifies a file's text.
pub fn verify_json(text: &str, trust: &Trust) -> Verdict {
    match Envelope::from_json(text) {
        Ok(envelope) => verify(&envelope, trust),
        Err(error) => {
            let mut checks = Checks::default();
            checks.note("file", Err((Code::ReceiptEnvelope, error.to_string())));
            Verdict::new(None, checks.0)
        }
    }
}

/// Verifies an envelope: first what it says of itself, then against what the reader trusts.
pub fn verify(envelope: &Envelope, trust: &Trust) -> Verdict {
    let mut checks = Checks::default();
    let chain_id = envelope.network.chain_id;
    let provisional = read_part(&mut checks, "provisional", &envelope.provisional, chain_id);
    let last = envelope.last.as_ref().and_then(|last| read_part(&mut checks, "final", last, chain_id));
    if let (Some(provisional), Some(last)) = (&provisional, &last) {
        crate::money::check_pair(&mut checks, provisional, last);
    }
    if let (Some(disclosure), Some(part)) = (&envelope.disclosure, &provisional) {
        let receipt = part.receipt.payload();
        let parts = [
            ("disclosed.request", &disclosure.request, receipt.request_commit),
            ("disclosed.response", &disclosure.response, receipt.response_commit),
        ];
        for (name, opening, commitment) in parts {
            let opens = opening.as_ref().map(|opening| Opening::commitment(opening) == Some(commitment));
            if let Some(opens) = opens {
                let good = "the disclosed bytes and salt are the ones that the receipt commits to";
                let bad = "the disclosed bytes or salt are not the ones that the receipt commits to";
                checks.holds(name, Code::ReceiptMismatch, opens, good, bad);
            }
        }
    }
    if let (Some(enclosed), Some(part)) = (&envelope.attribution, &provisional) {
        let hash = enclosed.spec_hash();
        let named = hash.is_some() && hash == part.receipt.payload().spec_hash;
        let good =
            "the enclosed attribution spec is the one that the receipt names; shares are for `receipt recompute`";
        let bad = "the enclosed attribution spec is not the one that the receipt names";
        checks.holds("attribution.spec", Code::ReceiptMismatch, named, good, bad);
    }
    let network = known_network(&mut checks, envelope, trust);
    for (name, part) in [("provisional", &provisional), ("final", &last)] {
        if let Some(part) = part {
            check_trust(&mut checks, name, part, network);
        }
    }
    if let (Some(part), Some(split)) = (&provisional, network.and_then(|network| network.split)) {
        crate::money::check_split(&mut checks, part.receipt.payload(), &split);
    }
    Verdict::new(network, checks.0)
}

/// What one receipt of the file says of itself: bytes, signature, arithmetic, network, place in the log.
fn read_part(checks: &mut Checks, part: &str, logged: &LoggedReceipt, chain_id: u64) -> Option<Part> {
    let name = |what: &str| format!("{part}.{what}");
    let malformed = |why: String| Err((Code::ReceiptInvalid, format!("the leaf is no receipt: {why}")));
    let bytes = logged.leaf_bytes().filter(|bytes| bytes.len() <= RECEIPT_SIZE_MAX);
    let read = bytes.as_ref().map(|bytes| Signed::<Receipt>::from_bytes(bytes));
    let canonical = "the leaf is a receipt in canonical form".to_owned();
    let (leaf, receipt) = match (&bytes, read) {
        (Some(bytes), Some(Ok(receipt))) => (leaf_hash(bytes), receipt),
        (_, Some(Err(SignedError::Key(_)))) => {
            checks.note(&name("leaf"), Ok(canonical));
            let bad = "the host's signature does not fit the receipt".to_owned();
            checks.note(&name("signature"), Err((Code::KeyBadSignature, bad)));
            return None;
        }
        (_, Some(Err(error @ (SignedError::Bytes(_) | SignedError::Tag(_))))) => {
            checks.note(&name("leaf"), malformed(error.to_string()));
            return None;
        }
        (None, _) | (_, None) => {
            checks.note(&name("leaf"), malformed("write base64 of at most 4,096 bytes".to_owned()));
            return None;
        }
    };
    checks.note(&name("leaf"), Ok(canonical));
    checks.note(&name("signature"), Ok(format!("the receipt is signed by the host's key {}", receipt.key())));
    let said = receipt.payload();
    let adds_up = said.check().map(|()| "charge is price times tokens, and the legs add up".to_owned());
    checks.note(&name("arithmetic"), adds_up.map_err(|code| (code, code.meaning().to_owned())));
    let right = said.is_final() == (part == "final");
    checks.holds(
        &name("state"),
        Code::ReceiptInvalid,
        right,
        "it is what the file says it is",
        "it is the other receipt",
    );
    let here = said.network == chain_id;
    let good = "the receipt is of the network that the file names";
    checks.holds(
        &name("network"),
        Code::ReceiptMismatch,
        here,
        good,
        "the receipt is of another network than the file",
    );
    let proof = read_proof(logged, &leaf, chain_id);
    let sentence = proof
        .as_ref()
        .map(|(_, checkpoint)| format!("it is entry {} of the {} under the checkpoint", logged.index, checkpoint.size));
    checks.note(&name("inclusion"), sentence.map_err(|why| (Code::ReceiptProof, why.clone())));
    Some(Part { receipt, index: logged.index, leaf, proof: proof.ok() })
}

fn read_proof(logged: &LoggedReceipt, leaf: &Hash, chain_id: u64) -> Result<(Note, Checkpoint), String> {
    let proof = logged.log_proof().map_err(|error| error.to_string())?;
    if proof.extra.is_some() {
        return Err("a receipt's proof has no extra data".to_owned());
    }
    if proof.index != logged.index {
        return Err("file and proof name two indices".to_owned());
    }
    let checkpoint = proof.verify(leaf).map_err(|code| code.meaning().to_owned())?;
    if checkpoint.origin != origin(chain_id) {
        return Err("the checkpoint is of another log".to_owned());
    }
    Ok((proof.checkpoint, checkpoint))
}

fn known_network<'a>(checks: &mut Checks, envelope: &Envelope, trust: &'a Trust) -> Option<&'a TrustedNetwork> {
    let claimed = &envelope.network;
    let known = trust.find(claimed);
    let outcome = match known {
        None => Err(format!("no network with chain id {} and this genesis hash is pinned", claimed.chain_id)),
        Some(known) if known.name != claimed.name => {
            Err(format!("the file calls the network {:?}, trust.toml {:?}", claimed.name, known.name))
        }
        Some(known) => Ok(format!("network {:?} is pinned by chain id and genesis hash", known.name)),
    };
    checks.note("network", outcome.map_err(|why| (Code::ReceiptUntrusted, why)));
    known
}

/// Who vouches for one receipt: a pinned checkpoint key, and a pinned host key where the reader asks for one.
fn check_trust(checks: &mut Checks, part: &str, read: &Part, network: Option<&TrustedNetwork>) {
    let Some((note, _)) = &read.proof else { return };
    let keys = network.map_or(&[][..], |network| &network.checkpoint_keys);
    let outcome = match note.verify(keys) {
        Ok(_) => Ok("a pinned key signed the checkpoint; the log admits receipts by registered host keys only, \
                     so the operator vouches for the host's key"
            .to_owned()),
        Err(NoteError::BadSignature(_)) => Err((
            Code::KeyBadSignature,
            "the signature under a pinned key's name does not fit the checkpoint".to_owned(),
        )),
        Err(NoteError::NoKnownKey | NoteError::Key(_) | NoteError::Malformed(_)) => {
            let names: Vec<String> = note.names().take(4).map(|name| format!("{name:?}")).collect();
            Err((Code::ReceiptUntrusted, format!("signed only by keys that are not pinned: {}", names.join(", "))))
        }
    };
    checks.note(&format!("{part}.checkpoint"), outcome);
    let Some(network) = network.filter(|network| !network.host_keys.is_empty()) else { return };
    let pinned = network.host_keys.contains(read.receipt.key());
    let bad = "the host's key is not among the pinned ones";
    checks.holds(&format!("{part}.host"), Code::ReceiptUntrusted, pinned, "the host's key is pinned", bad);
}

/// True when both parts' checkpoints do not contradict one another: one size has one root.
pub(crate) fn one_log(first: &Part, second: &Part) -> bool {
    match (&first.proof, &second.proof) {
        (Some((_, a)), Some((_, b))) => a.size != b.size || a.root == b.root,
        (None, _) | (_, None) => true,
    }
}
