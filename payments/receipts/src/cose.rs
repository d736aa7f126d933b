//! A receipt as COSE_Sign1 (RFC 9052), for tools that know COSE and not Agora.
//!
//! The leaf's Ed25519 signature is over our own tagged bytes; COSE signs a `Sig_structure`, so the export carries a
//! second signature, made by the host with the same key. The two cannot be taken for one another: ours starts with an
//! array of two, COSE's with an array of four and the word "Signature1". Payload: the CBOR array `[tag, receipt]`.

use agora_types::key::{StatementKey, StatementSignature, StatementSigner};
use agora_types::{Canonical as _, Code, cbor};
use minicbor::bytes::ByteSlice;
use minicbor::data::Tag;
use minicbor::{Decode, Encode};

use crate::receipt::Receipt;

/// Most bytes of the export.
pub const COSE_SIZE_MAX: usize = 4096 + 256;
/// The tag of COSE_Sign1.
const SIGN1: Tag = Tag::new(18);
/// The algorithm EdDSA.
const EDDSA: i8 = -8;

/// The protected header: algorithm (1) and key (4, the 32 bytes themselves).
#[derive(Encode, Decode)]
#[cbor(map)]
struct Protected(#[n(1)] i8, #[n(4)] StatementKey);

fn protected(key: &StatementKey) -> Vec<u8> {
    cbor::encode(&Protected(EDDSA, *key))
}

fn bytes(bytes: &[u8]) -> &ByteSlice {
    bytes.into()
}

/// The bytes that are signed: RFC 9052 `Sig_structure`, context "Signature1", no external data.
pub fn unsigned_structure(receipt: &Receipt, key: &StatementKey) -> Vec<u8> {
    cbor::encode(&("Signature1", bytes(&protected(key)), bytes(&[]), bytes(&receipt.tagged())))
}

fn assemble(receipt: &Receipt, key: &StatementKey, signature: &StatementSignature) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    let mut encoder = minicbor::Encoder::new(&mut out);
    let mut whole = || -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
        encoder.tag(SIGN1)?.array(4)?.bytes(&protected(key))?.map(0)?;
        encoder.bytes(&receipt.tagged())?.encode(signature)?.ok()
    };
    whole().expect("writing to memory cannot fail");
    out
}

/// Signs a receipt as tagged COSE_Sign1.
pub fn sign1(receipt: &Receipt, signer: &StatementSigner) -> Vec<u8> {
    let key = signer.public();
    let signature = signer.sign(&unsigned_structure(receipt, &key));
    assemble(receipt, &key, &signature)
}

/// Reads and verifies a COSE_Sign1 of a receipt, and gives the key that signed; whether it may speak is the reader's
/// question. Anything but the bytes that [`sign1`] makes is refused.
///
/// # Errors
/// `wire.too_large`, `wire.malformed`, `wire.not_canonical`, `key.bad_signature`.
pub fn verify1(export: &[u8]) -> Result<(Receipt, StatementKey), Code> {
    if export.len() > COSE_SIZE_MAX {
        return Err(Code::WireTooLarge);
    }
    let (receipt, key, signature) = read(export).map_err(|_| Code::WireMalformed)?;
    // Written again, it must be the same: header, tag, order, and no byte more.
    if assemble(&receipt, &key, &signature) != export {
        return Err(Code::WireNotCanonical);
    }
    key.verify(&unsigned_structure(&receipt, &key), &signature).map_err(|_| Code::KeyBadSignature)?;
    Ok((receipt, key))
}

/// Lenient; its caller writes the result again and compares.
fn read(export: &[u8]) -> Result<(Receipt, StatementKey, StatementSignature), minicbor::decode::Error> {
    let mut decoder = minicbor::Decoder::new(export);
    decoder.tag()?;
    decoder.array()?;
    let Protected(_, key) = minicbor::decode(decoder.bytes()?)?;
    decoder.map()?;
    let (_, receipt): (String, Receipt) = minicbor::decode(decoder.bytes()?)?;
    let signature = decoder.decode()?;
    Ok((receipt, key, signature))
}
