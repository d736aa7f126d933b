//! The file of one key: Web3 Secret Storage, version 3, which ordinary Ethereum wallets read and write.
//!
//! A file may come from anywhere, so everything in it is bounded before a key is derived: a hostile one can neither
//! take gigabytes nor hours. The passphrase check (`mac`) covers the ciphertext only; names, kinds and addresses beside
//! it are claims, compared with the opened key by [`super::KeyStore::open`].

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use agora_types::key::StatementKey;
use agora_types::{Address, Hash};
use pbkdf2::sha2::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

/// Largest file, bytes; real ones have about 500.
pub const FILE_MAX: usize = 64 * 1024;
/// Most memory of one derivation: twice what the standard cost takes.
const MEMORY_MAX: u64 = 512 << 20;
/// Most work of one derivation, n * r * p: eight times the standard cost, some seconds.
const WORK_MAX: u64 = 1 << 24;
/// Most rounds of PBKDF2, some seconds.
const ROUNDS_MAX: u64 = 10_000_000;

/// What opening a key costs, and so what guessing its passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// n = 2^18, r = 8, p = 1: 256 MiB and about a second. For everything of value.
    Standard,
    /// n = 2^12, r = 8, p = 1: 4 MiB and milliseconds. For the generated keys of a dev network, whose money is worth
    /// nothing.
    Light,
}

impl Cost {
    fn log_n(self) -> u8 {
        match self {
            Self::Standard => 18,
            Self::Light => 12,
        }
    }
}

/// Why a file does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not this format, or over its bounds; the sentence says what.
    Malformed(String),
    /// The passphrase is another one.
    Passphrase,
}

fn bad<T>(what: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Malformed(what.into()))
}

/// The file as JSON. Fields of other programs are ignored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Container {
    version: u64,
    id: String,
    /// Of a secp256k1 key, 40 hex digits; some writers leave it out, some write 0x.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    /// What the standard has no place for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agora: Option<Own>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParameters,
    ciphertext: String,
    kdf: String,
    kdfparams: Value,
    mac: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CipherParameters {
    iv: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    kind: String,
    public: StatementKey,
}

/// Its fields in the order of their names: in that order they are written, whichever map JSON values use.
#[derive(Debug, Serialize, Deserialize)]
struct Scrypt {
    dklen: u64,
    n: u64,
    p: u64,
    r: u64,
    salt: String,
}

#[derive(Debug, Deserialize)]
struct Pbkdf2 {
    dklen: u64,
    c: u64,
    prf: String,
    salt: String,
}

/// Whose key a file says it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// A secp256k1 key, with its address if the file has it.
    Wallet(Option<Address>),
    /// An Ed25519 key.
    Statement(StatementKey),
}

/// A derivation with checked parameters.
enum Derivation {
    Scrypt(scrypt::Params, Vec<u8>),
    Pbkdf2(u32, Vec<u8>),
}

impl Container {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let container: Self = match serde_json::from_slice(bytes) {
            Ok(container) => container,
            Err(error) => return bad(error.to_string()),
        };
        if container.version != 3 {
            return bad(format!("its version is {}, not 3", container.version));
        }
        Ok(container)
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a container is plain JSON");
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn claim(&self) -> Result<Claim, Refused> {
        match (&self.agora, &self.address) {
            (Some(own), None) if own.kind == "ed25519" => Ok(Claim::Statement(own.public)),
            (Some(own), None) => bad(format!("its kind `{}` is not known", short(&own.kind))),
            (Some(_), Some(_)) => bad("it names two kinds of key"),
            (None, None) => Ok(Claim::Wallet(None)),
            (None, Some(text)) => {
                let bytes: [u8; 20] = array(text.strip_prefix("0x").unwrap_or(text), "address")?;
                Ok(Claim::Wallet(Some(Address::new(bytes))))
            }
        }
    }

    /// The 32 secret bytes.
    pub(crate) fn open(&self, passphrase: &str) -> Result<Zeroizing<[u8; 32]>, Refused> {
        let crypto = &self.crypto;
        if crypto.cipher != "aes-128-ctr" {
            return bad(format!("its cipher `{}` is not aes-128-ctr", short(&crypto.cipher)));
        }
        let iv: [u8; 16] = array(&crypto.cipherparams.iv, "iv")?;
        let mut secret = Zeroizing::new(array::<32>(&crypto.ciphertext, "ciphertext")?);
        let mac: [u8; 32] = array(&crypto.mac, "mac")?;
        let derived = crypto.derivation()?.run(passphrase);
        if mac_of(&derived, &secret) != mac {
            return Err(Refused::Passphrase);
        }
        apply_keystream(&derived, &iv, &mut secret);
        Ok(secret)
    }

    /// Encrypts 32 secret bytes. `random` is 16 bytes of id, 16 of iv and 32 of salt, never used twice.
    pub(crate) fn seal(secret: &[u8; 32], claim: &Claim, passphrase: &str, cost: Cost, random: &[u8; 64]) -> Self {
        let (id, rest) = random.split_first_chunk::<16>().expect("64 random bytes");
        let (iv, salt) = rest.split_first_chunk::<16>().expect("48 random bytes are left");
        let parameters = scrypt::Params::new(cost.log_n(), 8, 1).expect("both costs are valid parameters");
        let derived = Derivation::Scrypt(parameters, salt.to_vec()).run(passphrase);
        let mut ciphertext = *secret;
        apply_keystream(&derived, iv, &mut ciphertext);
        let mac = hex::encode(mac_of(&derived, &ciphertext));
        let kdfparams = Scrypt { dklen: 32, n: 1 << cost.log_n(), r: 8, p: 1, salt: hex::encode(salt) };
        let (address, agora) = match claim {
            Claim::Wallet(address) => (address.map(|address| hex::encode(address.as_bytes())), None),
            Claim::Statement(public) => (None, Some(Own { kind: "ed25519".to_owned(), public: *public })),
        };
        let crypto = Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParameters { iv: hex::encode(iv) },
            ciphertext: hex::encode(ciphertext),
            kdf: "scrypt".to_owned(),
            kdfparams: serde_json::to_value(kdfparams).expect("parameters are plain JSON"),
            mac,
        };
        Self { version: 3, id: uuid(*id), address, crypto, agora }
    }
}

impl Crypto {
    fn derivation(&self) -> Result<Derivation, Refused> {
        let unreadable = |error: serde_json::Error| Refused::Malformed(format!("its kdfparams: {error}"));
        match self.kdf.as_str() {
            "scrypt" => {
                let Scrypt { dklen, n, r, p, salt } = Scrypt::deserialize(&self.kdfparams).map_err(unreadable)?;
                let in_range = n.is_power_of_two() && (2..=1 << 24).contains(&n);
                if !in_range || !(1..=1 << 10).contains(&r) || !(1..=1 << 10).contains(&p) {
                    return bad(format!("its scrypt parameters n {n}, r {r}, p {p} are out of range"));
                }
                // Below 2^44 each, by the ranges above.
                if 128 * n * r > MEMORY_MAX || n * r * p > WORK_MAX {
                    return bad(format!("its scrypt parameters n {n}, r {r}, p {p} would take too much to compute"));
                }
                let small = |value: u64| u32::try_from(value).expect("in range");
                let log_n = u8::try_from(n.trailing_zeros()).expect("a u64 has few bits");
                let Ok(parameters) = scrypt::Params::new(log_n, small(r), small(p)) else {
                    return bad(format!("its scrypt parameters n {n}, r {r}, p {p} are not allowed"));
                };
                Ok(Derivation::Scrypt(parameters, salt_of(&salt, dklen)?))
            }
            "pbkdf2" => {
                let Pbkdf2 { dklen, c, prf, salt } = Pbkdf2::deserialize(&self.kdfparams).map_err(unreadable)?;
                if prf != "hmac-sha256" {
                    return bad(format!("its prf `{}` is not hmac-sha256", short(&prf)));
                }
                if !(1..=ROUNDS_MAX).contains(&c) {
                    return bad(format!("its {c} rounds are out of range (1 to {ROUNDS_MAX})"));
                }
                Ok(Derivation::Pbkdf2(u32::try_from(c).expect("in range"), salt_of(&salt, dklen)?))
            }
            other => bad(format!("its kdf `{}` is neither scrypt nor pbkdf2", short(other))),
        }
    }
}

impl Derivation {
    fn run(&self, passphrase: &str) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        match self {
            Self::Scrypt(parameters, salt) => {
                scrypt::scrypt(passphrase.as_bytes(), salt, parameters, &mut *key).expect("32 bytes can be derived");
            }
            Self::Pbkdf2(rounds, salt) => {
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.as_bytes(), salt, *rounds, &mut *key);
            }
        }
        key
    }
}

fn mac_of(derived: &[u8; 32], ciphertext: &[u8; 32]) -> [u8; 32] {
    let mut bytes = Zeroizing::new([0; 48]);
    bytes[..16].copy_from_slice(&derived[16..]);
    bytes[16..].copy_from_slice(ciphertext);
    *Hash::keccak256(*bytes).as_bytes()
}

fn apply_keystream(derived: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8; 32]) {
    let (key, _) = derived.split_first_chunk::<16>().expect("32 bytes hold 16");
    ctr::Ctr128BE::<aes::Aes128>::new(key.into(), iv.into()).apply_keystream(bytes);
}

fn salt_of(text: &str, dklen: u64) -> Result<Vec<u8>, Refused> {
    if dklen != 32 {
        return bad(format!("its dklen is {dklen}, not 32"));
    }
    match hex::decode(text) {
        Ok(salt) if (1..=128).contains(&salt.len()) => Ok(salt),
        _ => bad("its salt is not 1 to 128 bytes of hex"),
    }
}

fn array<const SIZE: usize>(text: &str, what: &str) -> Result<[u8; SIZE], Refused> {
    let mut bytes = [0; SIZE];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => bad(format!("its {what} is not {SIZE} bytes of hex")),
    }
}

/// A random (version 4) UUID.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
