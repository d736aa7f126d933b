//! The file and its document. `tests/data/validate_croissant.py` has mlcroissant read both, by hand.

use agora_datanets::export::*;
use agora_datanets::*;
use agora_types::Hash;

use crate::kit::*;

const PAIR: (&str, &str) = ("Who owns a wreck?", "Its owner keeps it; a salvor is owed a reward.");

fn net() -> Net {
    let mut net = Net::new(curated(Admission::Open, 1));
    let talk = vec![
        Message { role: Role::User, content: "What is a neap tide?".into() },
        Message { role: Role::Assistant, content: "The lowest high water, at half moon.".into() },
    ];
    let pair = Item::Pair { prompt: PAIR.0.into(), response: PAIR.1.into() };
    net.give_as(2, 1, &[text("A lighthouse marks a coast, a reef or a harbour."), pair], |_| {});
    net.give_as(3, 2, &[Item::Messages(talk)], |s| {
        s.licence = "CC-BY-4.0".into();
        s.kind = ContributionKind::Annotation;
    });
    net.give(4, 3, "A lighthouse marks a coast, a reef or a harbour.");
    net.judge(40, net.content(1), Ruling::Accept, Reason::Good);
    net
}

/// The lines and the document of the example.
fn export() -> (String, String) {
    let net = net();
    let (version, membership) = net.version(1);
    let fetch = |hash: &Hash| -> Result<Option<Reveal>, ()> {
        let place = net.contributions.iter().position(|one| one.content_hash == *hash);
        Ok(place.map(|place| net.reveals[place].clone()))
    };
    let mut writer = FileWriter::default();
    let lines: String = examples(&net.draft, &membership, fetch).map(|one| writer.line(&one.unwrap())).collect();
    let file = writer.finish();
    assert_eq!((file.size_bytes, file.sha256), (lines.len() as u64, Hash::sha256(&lines)));
    assert_eq!((file.count, file.contributors.as_slice()), (3, [(address(2), 2), (address(3), 1)].as_slice()));
    let notes = Notes {
        use_cases: vec!["Teaching small models about the sea.".into()],
        limitations: vec!["Three items: an example.".into()],
        biases: vec!["European law only.".into()],
        social_impact: "None known.".into(),
        languages: vec!["en".into()],
    };
    let described = Described {
        version: &version,
        statement: Hash::sha256("signed version"),
        policy: net.draft.policy(),
        counts: &membership.counts(),
        file: &file,
        url: "items.jsonl",
        period: Some((at(0), at(86_400))),
        notes: &notes,
    };
    (lines, serde_json::to_string_pretty(&croissant(&described)).unwrap() + "\n")
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let path = format!("tests/data/{name}");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "`{name}` has changed; validate it again");
}

#[test]
fn the_example_keeps_its_text_as_it_was_validated() {
    let (lines, document) = export();
    golden("croissant/items.jsonl", &lines);
    golden("croissant/croissant.json", &document);
}

#[test]
fn a_line_has_what_the_item_has_and_reads_back() {
    let (lines, _) = export();
    let found: Vec<Item> =
        readers::JsonlReader::new(lines.as_bytes(), readers::Mapping::Auto, readers::Limits::default())
            .map(|row| row.unwrap().item)
            .collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[1], Item::Pair { prompt: PAIR.0.into(), response: PAIR.1.into() });
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let fields: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["place", "text", "kind", "licence", "contributor", "content_hash"]);
}

#[test]
fn the_document_says_what_rules_did_and_leaves_out_what_nobody_said() {
    let (_, document) = export();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["conformsTo"][0], "http://mlcommons.org/croissant/1.1");
    assert_eq!(document["version"], "1.0.0");
    assert!(document["rai:dataCollection"].as_str().unwrap().contains("Of 4 contributions 3 are in"));
    assert_eq!(document["license"], serde_json::json!(["https://spdx.org/licenses/CC-BY-4.0.html"]));
    let net = net();
    let (version, membership) = net.version(1);
    let file = FileWriter::default().finish();
    let bare = croissant(&Described {
        version: &version,
        statement: Hash::ZERO,
        policy: &Policy::default(),
        counts: &membership.counts(),
        file: &file,
        url: "https://example.org/items.jsonl",
        period: None,
        notes: &Notes::default(),
    });
    for name in
        ["rai:dataBiases", "rai:dataUseCases", "rai:dataSocialImpact", "rai:dataCollectionTimeFrame", "inLanguage"]
    {
        assert!(bare.get(name).is_none(), "{name}");
    }
}
