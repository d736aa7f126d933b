//! A signature as text: 65 bytes by an ordinary key, and a word of its own for every other form that wallets make.

use agora_types::key::WalletSignature;

/// What ERC-6492 signatures end with.
const ERC6492_MAGIC: &str = "6492649264926492649264926492649264926492649264926492649264926492";
/// Most characters: contract wallets sign long texts, and none of them is read here.
pub const TEXT_MAX: usize = 8 * 1024;

/// Why a text is no signature that is accepted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureForm {
    /// Not `0x` and pairs of hexadecimal digits.
    #[error("a signature is 0x and 130 hexadecimal digits")]
    NotHex,
    /// EIP-2098.
    #[error("a 64-byte signature (EIP-2098) is not accepted; send r, s and v, 65 bytes")]
    Compact,
    /// ERC-6492.
    #[error("a signature of a wallet that is not deployed (ERC-6492) is not accepted; sign with an ordinary key")]
    Erc6492,
    /// ERC-1271, most likely.
    #[error("a signature of a contract wallet (ERC-1271) is not accepted; sign with an ordinary key, 65 bytes")]
    Contract,
}

/// Reads a signature; whether it is anybody's is checked with its digest.
///
/// # Errors
/// [`SignatureForm`] for every other form.
pub fn parse(text: &str) -> Result<WalletSignature, SignatureForm> {
    let digits = text.strip_prefix("0x").ok_or(SignatureForm::NotHex)?;
    if text.len() > TEXT_MAX || digits.len() % 2 != 0 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(SignatureForm::NotHex);
    }
    match digits.len() {
        130 => text.parse().map_err(|_| SignatureForm::NotHex),
        128 => Err(SignatureForm::Compact),
        _ if digits.ends_with(ERC6492_MAGIC) => Err(SignatureForm::Erc6492),
        _ => Err(SignatureForm::Contract),
    }
}
