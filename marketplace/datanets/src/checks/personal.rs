//! Email addresses, phone numbers, bank accounts, payment cards and network addresses, in their usual written forms.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Kind, Spot, stands_alone};

/// Everything personal in a text, in order, without overlaps: of two the one that begins first.
pub(super) fn find(text: &str) -> Vec<Spot> {
    let mut all = [emails(text), ibans(text), numbers(text), addresses(text)].concat();
    all.sort_by_key(|spot| (spot.from, spot.kind));
    let mut end = 0;
    all.retain(|spot| {
        let free = spot.from >= end;
        end = if free { spot.to } else { end };
        free
    });
    all
}

fn emails(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let local = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'%' | b'+' | b'-');
    let domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    let mut spots: Vec<Spot> = Vec::new();
    for (at, _) in text.match_indices('@') {
        // Local parts have at most 64 bytes, domains 255: the look around is bounded.
        let before = bytes[..at].iter().rev().take(65).take_while(|b| local(**b)).count();
        let mut after = bytes[at + 1..].iter().take(256).take_while(|b| domain(**b)).count();
        while after > 0 && matches!(bytes[at + after], b'.' | b'-') {
            after -= 1;
        }
        let name = &text[at + 1..at + 1 + after];
        let labels: Vec<&str> = name.split('.').collect();
        let top = labels.last().copied().unwrap_or_default();
        let good = (1..=64).contains(&before)
            && labels.len() >= 2
            && labels.iter().all(|label| !label.is_empty())
            && top.len() >= 2
            && top.bytes().all(|b| b.is_ascii_alphabetic())
            && !is_example(name);
        if good {
            spots.push(Spot { kind: Kind::Email, from: at - before, to: at + 1 + after });
        }
    }
    spots
}

/// Names that nobody has: RFC 2606.
fn is_example(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let under = |top: &str| name == top || name.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
    ["example", "example.com", "example.net", "example.org", "test", "invalid", "localhost"]
        .iter()
        .any(|top| under(top))
}

/// Lengths of IBANs by country, from the SWIFT registry.
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 \
                            DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 \
                            IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 \
                            MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 \
                            SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

fn iban_length(country: &[u8]) -> Option<usize> {
    let country = std::str::from_utf8(country).ok()?;
    IBAN_LENGTHS.split_ascii_whitespace().find_map(|entry| entry.strip_prefix(country)?.parse().ok())
}

fn ibans(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let mut spots: Vec<Spot> = Vec::new();
    let mut at = 0;
    while at + 15 <= bytes.len() {
        let begins = bytes[at].is_ascii_uppercase()
            && bytes[at + 1].is_ascii_uppercase()
            && bytes[at + 2].is_ascii_digit()
            && bytes[at + 3].is_ascii_digit();
        let found = if begins { iban(bytes, at) } else { None };
        match found {
            Some(to) if stands_alone(text, at, to) => {
                spots.push(Spot { kind: Kind::Iban, from: at, to });
                at = to;
            }
            Some(_) | None => at += 1,
        }
    }
    spots
}

/// Where the IBAN that begins here ends, if there is one: right length for its country, single spaces between, ISO
/// 7064.
fn iban(bytes: &[u8], from: usize) -> Option<usize> {
    let length = iban_length(&bytes[from..from + 2])?;
    let mut signs = Vec::with_capacity(length);
    let mut at = from;
    while signs.len() < length {
        match *bytes.get(at)? {
            b' ' if !signs.is_empty() && bytes[at - 1] != b' ' => {}
            sign if sign.is_ascii_uppercase() || sign.is_ascii_digit() => signs.push(sign),
            _ => return None,
        }
        at += 1;
    }
    let rest = signs[4..].iter().chain(&signs[..4]).fold(0u32, |rest, sign| match sign {
        b'0'..=b'9' => (rest * 10 + u32::from(sign - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    (rest == 1).then_some(at)
}

/// Runs of digits with separators: cards, else phones.
fn numbers(text: &str) -> Vec<Spot> {
    let bytes = text.as_bytes();
    let mut spots = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() || (matches!(bytes[at], b'+' | b'(') && follows_digit(bytes, at));
        if !begins {
            at += 1;
            continue;
        }
        let to = run_end(bytes, at);
        if stands_alone(text, at, to) {
            let run = &text[at..to];
            if is_card(run) {
                spots.push(Spot { kind: Kind::Card, from: at, to });
            } else if is_phone(run) {
                spots.push(Spot { kind: Kind::Phone, from: at, to });
            }
        }
        at = to;
    }
    spots
}

fn follows_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at + 1).is_some_and(|next| next.is_ascii_digit() || (*next == b'(' && bytes[at] == b'+'))
}

/// The end of a run of digits with at most two separators between.
fn run_end(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut end) = (from + 1, from + 1);
    while at < bytes.len() {
        if bytes[at].is_ascii_digit() {
            end = at + 1;
        } else if !matches!(bytes[at], b' ' | b'-' | b'.' | b'(' | b')' | b'/') || at + 1 - end > 2 {
            break;
        }
        at += 1;
    }
    end
}

fn digits(run: &str) -> Vec<u8> {
    run.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect()
}

/// 13 to 19 digits in one block, or in blocks of equal separators; of a known issuer; with the check digit of Luhn.
fn is_card(run: &str) -> bool {
    let digits = digits(run);
    let plain = run.bytes().all(|b| b.is_ascii_digit());
    let grouped = [' ', '-'].iter().any(|separator| {
        let blocks: Vec<&str> = run.split(*separator).collect();
        blocks.len() >= 3
            && blocks.iter().all(|block| (3..=7).contains(&block.len()) && block.bytes().all(|b| b.is_ascii_digit()))
    });
    if !(13..=19).contains(&digits.len()) || !(plain || grouped) {
        return false;
    }
    let first = |n: usize| digits[..n].iter().fold(0u32, |number, digit| number * 10 + u32::from(*digit));
    let issuer = match digits[0] {
        4 => matches!(digits.len(), 13 | 16 | 19),
        5 => (51..=55).contains(&first(2)) && digits.len() == 16 || matches!(first(2), 50 | 56..=58),
        2 => (2_221..=2_720).contains(&first(4)) && digits.len() == 16,
        3 => matches!(first(2), 34 | 37) && digits.len() == 15 || matches!(first(2), 30 | 35 | 36 | 38 | 39),
        6 => matches!(first(2), 60..=65 | 67..=69),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let twice = u32::from(*digit) * if at % 2 == 1 { 2 } else { 1 };
            if twice > 9 { twice - 9 } else { twice }
        })
        .sum();
    issuer && sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != digits[0])
}

/// `+` and 8 to 15 digits; or ten digits written as three, three and four (North America), or four groups or fewer
/// behind a zero with brackets or a slash. A bare row of digits is a number like any other.
fn is_phone(run: &str) -> bool {
    let count = run.bytes().filter(u8::is_ascii_digit).count();
    if run.starts_with('+') {
        return (8..=15).contains(&count);
    }
    let groups: Vec<usize> =
        run.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).map(str::len).collect();
    // Written with points alone it may be a version or a sum.
    let spoken = run.contains(['-', '(', '/', ' ']);
    let american = groups == [3, 3, 4] || (groups == [1, 3, 3, 4] && run.starts_with('1'));
    let national = run.trim_start_matches('(').starts_with('0')
        && run.contains(['(', '/'])
        && (8..=15).contains(&count)
        && (2..=4).contains(&groups.len())
        && groups[0] >= 2
        && !is_date(&groups);
    spoken && (american || national)
}

/// `01/02/2003` and `2003/01/02` are dates.
fn is_date(groups: &[usize]) -> bool {
    matches!(groups, [1..=2, 1..=2, 2 | 4] | [4, 1..=2, 1..=2])
}

/// Public IPv4 and IPv6 addresses.
fn addresses(text: &str) -> Vec<Spot> {
    let part = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    let mut spots = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let Some(begin) = rest.find(part) else { break };
        let run = &rest[begin..];
        let run = &run[..run.find(|c| !part(c)).unwrap_or(run.len())];
        let from = at + begin;
        at = from + run.len();
        let trimmed = run.trim_end_matches(['.', ':']);
        let alone = stands_alone(text, from, from + trimmed.len()) && (7..=45).contains(&trimmed.len());
        // A port may follow.
        let host = match trimmed.split_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && host.contains('.') => host,
            Some(_) | None => trimmed,
        };
        let public =
            host.parse::<Ipv4Addr>().is_ok_and(is_public_v4) || host.parse::<Ipv6Addr>().is_ok_and(is_public_v6);
        if alone && public {
            spots.push(Spot { kind: Kind::IpAddress, from, to: from + host.len() });
        }
    }
    spots
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    // Carrier and benchmark ranges, and small numbers that are versions more often than hosts.
    let odd = (a == 100 && (64..128).contains(&b)) || (a == 198 && (18..20).contains(&b)) || !(6..224).contains(&a);
    !(address.is_private() || address.is_loopback() || address.is_link_local() || address.is_documentation() || odd)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3; 2001:db8::/32 is for documentation.
    (0x2000..0x4000).contains(&a) && !(a == 0x2001 && b == 0x0db8)
}
