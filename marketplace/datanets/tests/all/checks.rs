//! Personal data, secrets and junk: what is found, what is not, and what is said.
//!
//! Nothing here is anybody's: numbers are from documentation, or made up with a right check digit.

use agora_datanets::checks::{FINDINGS_MAX, Finding, Kind, check};
use agora_datanets::*;
use agora_types::Code;
use proptest::prelude::*;

use crate::kit::{text, words};

fn found(said: &str) -> Vec<(Kind, String)> {
    // Junk is not asked for: most examples are short.
    let policy = Policy { checks: Checks { junk: Action::Ignore, ..Checks::default() }, ..Policy::default() };
    let slice = |one: &Finding| said[one.at as usize..(one.at + one.size) as usize].to_owned();
    check(&text(said), &policy).findings.iter().map(|one| (one.kind, slice(one))).collect()
}

#[track_caller]
fn finds(kind: Kind, said: &str, what: &str) {
    assert_eq!(found(said), [(kind, what.to_owned())], "{said}");
}

#[track_caller]
fn passes(said: &str) {
    assert_eq!(found(said), [], "{said}");
}

#[test]
fn email_addresses() {
    finds(Kind::Email, "Write to ada.lovelace+x@analytical-engine.co.uk.", "ada.lovelace+x@analytical-engine.co.uk");
    finds(Kind::Email, "<bo@harbour.dk>", "bo@harbour.dk");
    for said in ["me@example.com", "a@mail.example.org", "user@localhost", "@mention", "a @ b", "v@1.2", "x@y", "1@2.3"]
    {
        passes(said);
    }
}

#[test]
fn phone_numbers() {
    finds(Kind::Phone, "Call +49 30 901820 today", "+49 30 901820");
    finds(Kind::Phone, "Call +1 (212) 555-0143.", "+1 (212) 555-0143");
    finds(Kind::Phone, "at (212) 555-0143,", "(212) 555-0143");
    finds(Kind::Phone, "at 212-555-0143", "212-555-0143");
    finds(Kind::Phone, "at (030) 901820", "(030) 901820");
    finds(Kind::Phone, "at 030/901820", "030/901820");
    for said in [
        "In 2024 there were 1234567 ships",
        "2024-01-02 10:11:12",
        "01/02/2003",
        "2003/01/02",
        "3.14159265358979",
        "1 000 000",
        "version 10.2.33",
        "2 + 34567890123",
        "ISBN 978-3-16-148410-0",
        "212.555.0143",
        "10/20/30/40/50",
    ] {
        passes(said);
    }
}

#[test]
fn bank_accounts_have_right_length_and_check_digits() {
    finds(Kind::Iban, "IBAN: DE89 3704 0044 0532 0130 00.", "DE89 3704 0044 0532 0130 00");
    finds(Kind::Iban, "GB82WEST12345698765432", "GB82WEST12345698765432");
    for said in
        ["DE88 3704 0044 0532 0130 00", "GB82WEST1234569876543", "XX82WEST12345698765432", "ADE89370400440532013000"]
    {
        assert!(found(said).iter().all(|(kind, _)| *kind != Kind::Iban), "{said}");
    }
}

#[test]
fn payment_cards_have_a_known_issuer_and_a_right_check_digit() {
    finds(Kind::Card, "card 4111 1111 1111 1111, please", "4111 1111 1111 1111");
    finds(Kind::Card, "378282246310005", "378282246310005");
    finds(Kind::Card, "5555-5555-5555-4444", "5555-5555-5555-4444");
    for said in ["4111 1111 1111 1112", "9111111111111111", "0000000000000000", "41111111111111110000000"] {
        passes(said);
    }
}

#[test]
fn public_network_addresses() {
    finds(Kind::IpAddress, "from 93.184.216.34:443", "93.184.216.34");
    finds(Kind::IpAddress, "from 2606:2800:220:1:248:1893:25c8:1946", "2606:2800:220:1:248:1893:25c8:1946");
    for said in [
        "192.168.0.1",
        "127.0.0.1",
        "198.51.100.7",
        "1.2.3.4",
        "300.1.1.1",
        "12:30:45",
        "std::vec",
        "2001:db8::1",
        "::1",
        "fe80::1",
    ] {
        passes(said);
    }
}

#[test]
fn secrets() {
    // Joined here, so that no scanner takes this file for a leak.
    let hub = format!("ghp{}{}", "_", "a1B2".repeat(9));
    finds(Kind::ApiKey, &format!("token {hub} here"), &hub);
    let cloud = format!("AKIA{}", "Z9Y8X7W6V5U4T3S2");
    finds(Kind::ApiKey, &format!("aws={cloud}"), &cloud);
    let model = format!("sk{}{}", "-", "a1B2c3D4".repeat(6));
    finds(Kind::ApiKey, &format!("export KEY={model}"), &model);
    let block = format!("-----BEGIN RSA {} KEY-----", "PRIVATE");
    finds(Kind::PrivateKey, &format!("{block}\nMIIEow"), &block);
    finds(Kind::Password, "postgres://admin:hunter22@db.internal/x", "hunter22");
    finds(Kind::Password, "password = \"correcthorse\"", "correcthorse");
    finds(Kind::Password, "{\"api_key\": \"0a1b2c3d4e5f\"}", "0a1b2c3d4e5f");
    for said in [
        "-----BEGIN PUBLIC KEY-----",
        "https://example.com:8080/a@b",
        "password = \"your-password\"",
        "password = os.environ['X']",
        "password: \"<secret>\"",
        "The sk-learn-like-library-with-a-very-long-hyphenated-name-of-words",
        "the word password: is not one",
    ] {
        passes(said);
    }
}

#[test]
fn a_finding_says_where_it_is_and_does_not_repeat_it() {
    let item = Item::Pair { prompt: "Who?".into(), response: "Ask bo@harbour.dk about it, he knows.".into() };
    let report = check(&item, &Policy::default());
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.part, finding.at, finding.size, finding.action), (1, 4, 13, Action::Flag));
    assert_eq!(finding.sentence, "`bo…` (13 characters) looks like an email address; replace it by an invented one");
    assert_eq!((report.allows(), finding.kind.reason(), finding.kind.word()), (Ok(()), Reason::Personal, "email"));
    let json = serde_json::to_string(&report).unwrap();
    assert!(!json.contains("harbour"), "{json}");
}

#[test]
fn the_policy_says_what_a_finding_means() {
    let said = text("Ask bo@harbour.dk about it, he knows.");
    let with = |personal| Policy { checks: Checks { personal, ..Checks::default() }, ..Policy::default() };
    assert_eq!(check(&said, &with(Action::Refuse)).allows(), Err(Code::ItemRefused));
    assert_eq!(check(&said, &with(Action::Flag)).action, Action::Flag);
    let ignored = check(&said, &with(Action::Ignore));
    assert_eq!((ignored.action, ignored.findings.len()), (Action::Ignore, 0));
    let secret = check(&text("postgres://admin:hunter22@db.internal/x"), &Policy::default());
    assert_eq!(secret.allows(), Err(Code::ItemRefused));
    let many = check(&text(&"bo@harbour.dk ".repeat(100)), &with(Action::Flag));
    assert_eq!(many.findings.len(), FINDINGS_MAX);
}

#[test]
fn sizes_are_those_of_the_policy() {
    let policy = Policy { size_min: 20, size_max: 200, ..Policy::default() };
    let kinds = |said: &str| check(&text(said), &policy).findings.iter().map(|one| one.kind).collect::<Vec<_>>();
    assert_eq!(kinds("Short but a word"), [Kind::TooSmall]);
    assert_eq!(kinds(&words(3, 60)), [Kind::TooLarge]);
    assert_eq!(kinds("A light that is long enough"), []);
    assert_eq!(check(&text("Short"), &policy).allows(), Err(Code::ItemRefused));
    assert_eq!(check(&text(&"x".repeat(ITEM_SIZE_MAX + 1)), &policy).allows(), Err(Code::ItemRefused));
}

fn junk(said: &str) -> Option<Kind> {
    let findings = check(&text(said), &Policy::default()).findings;
    findings.iter().map(|one| one.kind).find(|kind| matches!(kind, Kind::TooShort | Kind::Repetitive | Kind::NotText))
}

#[test]
fn junk_in_any_language() {
    assert_eq!(junk("?!"), Some(Kind::TooShort));
    assert_eq!(junk(&"buy now ".repeat(100)), Some(Kind::Repetitive));
    assert_eq!(junk(&"a".repeat(100)), Some(Kind::Repetitive));
    assert_eq!(junk(&"Zm9vYmFy".repeat(200)), Some(Kind::NotText));
    assert_eq!(junk("caf\u{fffd} au lait"), Some(Kind::NotText));
    assert_eq!(junk("nul\u{0}byte"), Some(Kind::NotText));
    assert_eq!(junk(&"a{}[]();<>|&^%$".repeat(20)), Some(Kind::NotText));
}

#[test]
fn what_people_write_is_no_junk() {
    for said in [
        "Yes.",
        "42 + 1",
        "是",
        "灯台は夜と霧の中で船に海岸や暗礁や港の位置を知らせる。光にはそれぞれの律動がある。",
        "ประภาคารบอกตำแหน่งชายฝั่งแก่เรือในเวลากลางคืนและในหมอก",
        "Маяк указывает кораблям берег, риф или гавань ночью и в тумане.",
        "المنارة ترشد السفن ليلا وفي الضباب",
        "fn main() {\n    let x: Vec<u8> = (0..10).map(|n| n * 2).collect();\n    println!(\"{x:?}\");\n}\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "Title\n=========================================================================\n\nA text.",
    ] {
        assert_eq!(junk(said), None, "{said}");
    }
    assert_eq!(junk(&words(8, 400)), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_a_check_panic(said in "(\\PC|[-+@:/.0-9A-Z ]){0,120}") {
        let report = check(&Item::Text(said.clone()), &Policy::default());
        for finding in report.findings {
            let end = (finding.at + finding.size) as usize;
            prop_assert!(said.is_char_boundary(finding.at as usize) && said.is_char_boundary(end));
        }
    }
}

#[test]
fn hostile_texts_are_checked_in_time() {
    // Each is half a MiB of the beginning of something; a rule that looks far ahead from every byte would take minutes.
    for piece in [
        "a@",
        "+12345678 ",
        "://a:b",
        "sk-",
        "=",
        "password='",
        "-----BEGIN ",
        "1.1.",
        "DE89 ",
        "0(",
        "aaaa:",
        "ghp_a1",
        "4111 ",
    ] {
        let said = piece.repeat(ITEM_SIZE_MAX / piece.len() - 8);
        let _ = check(&Item::Text(said), &Policy::default());
    }
}
