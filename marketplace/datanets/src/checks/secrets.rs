//! Private keys, keys of known services, and passwords in addresses or assignments.

use super::{Kind, Spot};

/// How keys of known services begin, and how many signs follow at least.
const PREFIXES: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 35),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghu_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("hf_", 30),
    ("npm_", 36),
    ("pypi-", 60),
    ("sk-ant-", 40),
    ("sk-proj-", 40),
    ("sk-", 40),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("sk_test_", 20),
    ("xoxa-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxr-", 20),
    ("xoxs-", 20),
    ("SG.", 60),
    ("dop_v1_", 60),
    ("eyJ", 60),
];

/// Names before `=` or `:` whose value is a secret.
const NAMES: &[&str] =
    &["password", "passwd", "api_key", "apikey", "api-key", "secret_key", "client_secret", "access_token"];

/// Longest sign run that is looked at.
const RUN_MAX: usize = 2_048;

/// Every secret in a text.
pub(super) fn find(text: &str) -> Vec<Spot> {
    let mut spots = private_keys(text);
    for spot in [api_keys(text), addresses(text), assignments(text)].concat() {
        if !spots.iter().any(|other: &Spot| spot.from < other.to && other.from < spot.to) {
            spots.push(spot);
        }
        // More would only be counted.
        if spots.len() > 64 {
            break;
        }
    }
    spots
}

fn private_keys(text: &str) -> Vec<Spot> {
    const BEGIN: &str = "-----BEGIN ";
    let block = |at: usize| {
        let label = &text.as_bytes()[at + BEGIN.len()..];
        let label = &label[..label.len().min(64)];
        let end = label.windows(5).position(|five| five == b"-----")?;
        let is_key = label[..end].windows(11).any(|word| word == b"PRIVATE KEY");
        is_key.then_some(Spot { kind: Kind::PrivateKey, from: at, to: at + BEGIN.len() + end + 5 })
    };
    text.match_indices(BEGIN).take(64).filter_map(|(at, _)| block(at)).collect()
}

fn is_sign(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/' | b'+' | b'=')
}

fn api_keys(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let mut spots = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        // Keys begin where a run of signs does.
        let begins = is_sign(bytes[at]) && (at == 0 || !is_sign(bytes[at - 1]) || matches!(bytes[at - 1], b'=' | b'/'));
        if !begins {
            at += 1;
            continue;
        }
        // The run is measured only behind a known beginning: time stays linear in the text.
        let Some((prefix, least)) = PREFIXES.iter().find(|(prefix, _)| bytes[at..].starts_with(prefix.as_bytes()))
        else {
            at += 1;
            continue;
        };
        let run = bytes[at..].iter().take(RUN_MAX).take_while(|b| is_sign(**b)).count();
        let body = &bytes[at + prefix.len()..at + run];
        // A key mixes letters and digits; `sk-` may begin a hyphenated word. A web token has three parts.
        let good = body.len() >= *least
            && body.iter().any(u8::is_ascii_digit)
            && body.iter().any(u8::is_ascii_alphabetic)
            && (*prefix != "eyJ" || body.iter().filter(|b| **b == b'.').count() == 2);
        if good {
            spots.push(Spot { kind: Kind::ApiKey, from: at, to: at + run });
        }
        at += if good { run } else { 1 };
    }
    spots
}

/// `scheme://user:password@host`.
fn addresses(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let mut spots = Vec::new();
    for (at, _) in text.match_indices("://") {
        let from = at + 3;
        let authority = bytes[from..]
            .iter()
            .take(256)
            .take_while(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'"' | b'\'' | b'<' | b'>'));
        let authority = &bytes[from..from + authority.count()];
        let Some(end) = authority.iter().rposition(|b| *b == b'@') else { continue };
        let Some(colon) = authority[..end].iter().position(|b| *b == b':') else { continue };
        let password = &authority[colon + 1..end];
        if password.len() >= 4 && !is_placeholder(password) {
            spots.push(Spot { kind: Kind::Password, from: from + colon + 1, to: from + end });
        }
    }
    spots
}

/// `password = "…"` and its like, with a quoted value of 8 to 200 signs without spaces.
fn assignments(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let mut spots = Vec::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| matches!(b, b'=' | b':')) {
        let before = &bytes[at.saturating_sub(24)..at];
        let name = before.trim_ascii_end();
        let name = name.strip_suffix(b"\"").or_else(|| name.strip_suffix(b"'")).unwrap_or(name);
        let lower = name.to_ascii_lowercase();
        if !NAMES.iter().any(|known| lower.ends_with(known.as_bytes())) {
            continue;
        }
        let after = &bytes[at + 1..];
        let gap = after.iter().take(4).take_while(|b| matches!(b, b' ' | b'=')).count();
        let Some(quote @ (b'"' | b'\'')) = after.get(gap).copied() else { continue };
        let value = &after[gap + 1..];
        let size = value.iter().take(201).take_while(|b| b.is_ascii_graphic() && **b != quote).count();
        if (8..=200).contains(&size) && value.get(size) == Some(&quote) && !is_placeholder(&value[..size]) {
            let from = at + 1 + gap + 1;
            spots.push(Spot { kind: Kind::Password, from, to: from + size });
        }
    }
    spots
}

/// What stands in examples instead of a secret.
fn is_placeholder(value: &[u8]) -> bool {
    let lower = value.to_ascii_lowercase();
    let has = |word: &str| lower.windows(word.len()).any(|window| window == word.as_bytes());
    let same = value.iter().all(|b| *b == value[0]);
    same || matches!(lower[0], b'<' | b'$' | b'{' | b'%')
        || ["your", "example", "changeme", "password", "xxxx", "****"].iter().any(|word| has(word))
}
