//! What buyers and hosts can rely on: stable bytes, bounded listings, quotes that open one call each.

use agora_catalog::*;
use agora_types::key::StatementSigner;
use agora_types::{Address, Amount, Canonical as _, Code, DatanetId, Hash, Prices, QuoteId, Signed, Timestamp, Usage};

fn signer() -> StatementSigner {
    StatementSigner::from_bytes(&[7; 32])
}

fn address(n: u8) -> Address {
    Address::new([n; 20])
}

fn prices() -> Prices {
    let atoms = Amount::from_atoms;
    Prices { input: atoms(10), cached: atoms(1), output: atoms(40), hidden: atoms(40) }
}

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs).unwrap()
}

fn listing(name: &str, title: &str, topics: &[&str]) -> Listing {
    Listing {
        network: 4_020_711,
        owner: address(1),
        name: name.into(),
        title: title.into(),
        description: "Answers questions about ships and the sea.".into(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        model_owner: address(2),
        hosts: vec![ListingHost { account: address(3), key: signer().public() }],
        base_hash: Hash::new([4; 32]),
        adapter_hash: Some(Hash::new([5; 32])),
        datanets: vec![DatanetPart { datanet: DatanetId::new([6; 32]), weight: 1 }],
        prices: prices(),
        context_max: 8_192,
        output_max: 512,
        time: at(0),
        measure: None,
    }
}

fn quote(n: u8, payer: u8) -> Quote {
    let listing = listing("maritime", "Maritime law", &["law"]);
    Quote {
        network: listing.network,
        id: QuoteId::new([n; 16]),
        payer: address(payer),
        request_commit: Hash::sha256("salted request"),
        listing: listing.id(),
        terms: listing.hash(),
        adapter_hash: listing.adapter_hash,
        caps: TokenCaps { input: 30, output: 128, hidden: 0 },
        prices: prices(),
        host: address(3),
        host_key: signer().public(),
        time: at(0),
        expires_at: at(30),
        readiness: None,
    }
}

#[track_caller]
fn golden(name: &str, schema: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
    cddl::validate_cbor_from_slice(schema, bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn listings_and_quotes_keep_their_bytes_and_are_described_by_their_schemas() {
    let listing = listing("maritime", "Maritime law", &["law", "sea"]);
    golden("listing", include_str!("../cddl/listing.cddl"), &listing.to_bytes());
    assert_eq!(Listing::from_bytes(&listing.to_bytes()), Ok(listing.clone()));
    let quote = quote(1, 9);
    golden("quote", include_str!("../cddl/quote.cddl"), &quote.to_bytes());
    let readiness = Some(Readiness { hot: false, hot_ms: 40, cold_ms: 90 });
    let ready = Quote { readiness, ..quote.clone() };
    golden("quote-ready", include_str!("../cddl/quote.cddl"), &ready.to_bytes());
    let signed = Signed::sign(quote, &signer());
    assert_eq!(Signed::from_bytes(&signed.to_bytes()), Ok(signed));
    assert_eq!(listing.check(), Ok(()));
}

#[test]
fn a_listing_out_of_bounds_is_refused() {
    type Change = fn(&mut Listing);
    let wrong: &[(&str, Change)] = &[
        ("no name", |l| l.name.clear()),
        ("long name", |l| l.name = "x".repeat(65)),
        ("control", |l| l.name = "a\u{1b}[31m".into()),
        ("long title", |l| l.title = "x".repeat(121)),
        ("long description", |l| l.description = "x".repeat(2_001)),
        ("topics", |l| l.topics = vec!["x".into(); 17]),
        ("empty topic", |l| l.topics = vec![String::new()]),
        ("no hosts", |l| l.hosts.clear()),
        ("hosts", |l| l.hosts = vec![l.hosts[0]; 17]),
        ("weight", |l| l.datanets[0].weight = 0),
        ("no answer", |l| l.output_max = 0),
        ("answer above context", |l| l.output_max = l.context_max + 1),
    ];
    for (what, change) in wrong {
        let mut listing = listing("maritime", "Maritime law", &["law"]);
        change(&mut listing);
        assert_eq!(listing.check(), Err(Code::ListingTerms), "{what}");
    }
}

#[test]
fn a_search_finds_the_best_fit_first_and_is_the_same_every_time() {
    let listings = [
        listing("poems", "Short poems", &["poetry"]),
        listing("maritime", "Maritime law", &["law", "sea"]),
        listing("tax", "Tax law", &["tax"]),
    ];
    let names = |text: &str, limit| -> Vec<String> {
        find(&listings, text, limit).into_iter().map(|listing| listing.name.clone()).collect()
    };
    assert_eq!(names("LAW", 9), ["maritime", "tax"]);
    assert_eq!(names("tax law?", 9), ["tax", "maritime"]);
    assert_eq!(names("tax law?", 1), ["tax"]);
    assert_eq!(names("ships", 9).len(), 3, "a word of the description counts");
    assert!(names("astronomy", 9).is_empty());
    assert_eq!(names("", 9).len(), 3);
}

#[test]
fn a_quote_names_the_most_that_its_call_can_cost() {
    let quote = quote(1, 9);
    assert_eq!(quote.charge_max(), Some(Amount::from_atoms(30 * 10 + 128 * 40)));
    let used = Usage { input: 20, cached: 10, output: 128, hidden: 0 };
    assert!(quote.caps.hold(&used) && quote.prices.charge(&used) <= quote.charge_max());
    assert!(!quote.caps.hold(&Usage { output: 129, ..used }));
    assert!(!quote.caps.hold(&Usage { cached: 11, ..used }));
    assert!(!quote.caps.hold(&Usage { hidden: 1, ..used }));
    assert!(!quote.caps.hold(&Usage { input: u64::MAX, ..used }));
}

#[test]
fn a_quote_lives_thirty_seconds_at_most() {
    assert_eq!(quote(1, 9).check(at(29)), Ok(()));
    assert_eq!(quote(1, 9).check(at(30)), Err(Code::QuoteExpired));
    let long = Quote { expires_at: at(31), ..quote(1, 9) };
    assert_eq!(long.check(at(0)), Err(Code::QuoteInvalid));
    let dear = Quote { prices: Prices { output: Amount::from_atoms(u128::MAX), ..prices() }, ..quote(1, 9) };
    assert_eq!(dear.check(at(0)), Err(Code::QuoteInvalid));
}

#[test]
fn a_quote_opens_one_call_and_nobody_hoards_them() {
    let mut quotes = Quotes::new(2, 3);
    quotes.issue(quote(1, 9), at(0)).unwrap();
    assert_eq!(quotes.issue(quote(1, 9), at(0)), Err(Code::QuoteUsed));
    quotes.issue(quote(2, 9), at(0)).unwrap();
    assert_eq!(quotes.issue(quote(3, 9), at(0)), Err(Code::QuoteTooMany), "per payer");
    quotes.issue(quote(4, 8), at(0)).unwrap();
    assert_eq!(quotes.issue(quote(5, 7), at(0)), Err(Code::QuoteTooMany), "in all");
    let cheaper = Quote { prices: Prices::default(), ..quote(1, 9) };
    assert_eq!(quotes.consume(&cheaper, at(1)), Err(Code::QuoteMismatch));
    assert_eq!(quotes.consume(&quote(1, 9), at(1)), Ok(()));
    assert_eq!(quotes.consume(&quote(1, 9), at(1)), Err(Code::QuoteUnknown), "used");
    assert_eq!(quotes.consume(&quote(2, 9), at(30)), Err(Code::QuoteUnknown), "ran out");
    assert!(quotes.is_empty());
    quotes.issue(Quote { time: at(31), expires_at: at(40), ..quote(6, 9) }, at(31)).unwrap();
    assert_eq!(quotes.len(), 1);
    let given = quote(6, 9);
    quotes.void(&given.payer, &agora_types::Hash::sha256("another request"));
    assert_eq!(quotes.len(), 1, "only what was quoted for this request");
    quotes.void(&given.payer, &given.request_commit);
    assert!(quotes.is_empty(), "taken back");
}
