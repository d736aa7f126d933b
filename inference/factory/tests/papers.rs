//! An adapter's papers. `data/validate_spdx.py` has SPDX' own library read the document of the example, by hand.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use agora_datanets::{
    Admission, ContributionKind, Curator, DatanetVersion, Item, KindWeights, Message, Policy, Position, Role, Terms,
};
use agora_factory::{
    About, AdapterFile, Answer, Answers, Base, BaseNotes, CODE_VERSION, Counts, Losses, Maker, Manifest, Papers,
    Settings, Tally, Target, TrainedOn,
};
use agora_receipts::receipt::DatanetRef;
use agora_types::key::StatementSigner;
use agora_types::{Address, DatanetId, Hash, Timestamp};
use serde_json::Value;
use support::{examples, machine, settings, tiny, trained};

const NO_ELEMENT: &str = "https://spdx.org/rdf/3.0.1/terms/Core/NoAssertionElement";
const NO_LICENCE: &str = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense";

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs).unwrap()
}

fn address(n: u8) -> Address {
    Address::new([n; 20])
}

fn terms(name: &str, title: &str) -> Terms {
    Terms {
        network: 4_020_711,
        owner: address(1),
        name: name.into(),
        title: title.into(),
        description: "Questions and answers about ships and the sea.".into(),
        licence: "CC-BY-4.0".into(),
        terms_hash: None,
        kind_weights: KindWeights::default(),
    }
}

fn curated() -> Policy {
    let curator = |n: u8| Curator { account: address(n), key: StatementSigner::from_bytes(&[n; 32]).public() };
    let licences = vec!["CC0-1.0".to_owned(), "LicenseRef-harbour".to_owned()];
    Policy { curators: [40, 41].map(curator).into(), admission: Admission::Accepts(1), licences, ..Policy::default() }
}

/// Three contributions of two accounts.
fn given() -> [agora_datanets::Example; 3] {
    let example = |place: u32, who: u8, kind, licence: &str, item| agora_datanets::Example {
        place,
        position: Position { seq: u64::from(place), index: 0 },
        contributor: address(who),
        kind,
        licence: licence.into(),
        content_hash: Hash::sha256(place.to_be_bytes()),
        item,
    };
    let pair = Item::Pair { prompt: "Who owns a wreck?".into(), response: "Its owner keeps it.".into() };
    let talk = vec![
        Message { role: Role::User, content: "What is a neap tide?".into() },
        Message { role: Role::Assistant, content: "The lowest high water.".into() },
    ];
    [
        example(0, 2, ContributionKind::Source, "CC-BY-4.0", Item::Text("A lighthouse marks a coast.".into())),
        example(1, 2, ContributionKind::Source, "CC-BY-4.0", pair),
        example(4, 3, ContributionKind::Annotation, "CC0-1.0", Item::Messages(talk)),
    ]
}

fn maritime() -> TrainedOn {
    let version = DatanetVersion {
        terms: terms("maritime-law", "Maritime law"),
        version: 3,
        root: Hash::sha256("contributions"),
        tree_size: 5,
        acts_root: Hash::sha256("acts"),
        acts_size: 4,
        policy_hash: Hash::sha256("policy"),
        standings_root: Hash::sha256("standings"),
        included: 3,
        payees_root: Hash::sha256("payees"),
        members: Vec::new(),
        time: at(86_400),
    };
    let mut tally = Tally::new(&version, &curated());
    for example in &given() {
        tally.add(example);
    }
    TrainedOn { collected: Some((at(0), at(3_600))), ..tally.finish() }
}

/// Open to everybody, and published.
fn harbours() -> TrainedOn {
    TrainedOn {
        terms: Terms { owner: address(9), ..terms("harbours", "Harbours & piers") },
        version: 1,
        root: Hash::sha256("harbours"),
        tree_size: 1,
        time: at(7_200),
        policy: Policy::default(),
        included: 1,
        contributors: 1,
        licences: BTreeMap::from([("CC-BY-4.0".to_owned(), 1)]),
        kinds: BTreeMap::from([(ContributionKind::Source, 1)]),
        size_bytes: 812,
        collected: None,
        page: Some("https://data.example/harbours".into()),
    }
}

fn about() -> About {
    About {
        name: "sea-lawyer".into(),
        version: "2".into(),
        description: "Answers questions about salvage.".into(),
        licence: "Apache-2.0".into(),
        maker: Maker {
            name: "Kestrel Cooperative".into(),
            account: address(9),
            contact: Some("post@kestrel.example".into()),
            representative: None,
        },
        time: at(172_800),
        page: None,
        placed: None,
        base: BaseNotes {
            licence: Some("Apache-2.0".into()),
            maker: Some("Hugging Face".into()),
            released: Some(at(0)),
            page: Some("https://models.example/base".into()),
            summary: None,
        },
        answers: Answers {
            crawled: Some(Answer { yes: false, note: String::new() }),
            synthetic: Some(Answer { yes: true, note: "A tenth was written by a model.".into() }),
            ..Answers::default()
        },
        datanets: vec![maritime(), harbours()],
    }
}

fn manifest() -> Manifest {
    let file = |name: &str, size| AdapterFile { name: name.into(), size, hash: Hash::sha256(name) };
    Manifest {
        version: 1,
        base: Base {
            name: "SmolLM2-135M-Instruct".into(),
            hash: Hash::sha256("base"),
            tokenizer_hash: Hash::sha256("tokenizer"),
        },
        datanets: vec![maritime().datanet(), harbours().datanet()],
        examples_hash: Hash::sha256("examples"),
        order_hash: Hash::sha256("order"),
        settings: Settings { targets: Target::ALL.to_vec(), epochs: 3, ..Settings::default() },
        code_version: CODE_VERSION.into(),
        counts: Counts { examples: 3, held_out: 1, steps: 9, tokens: 600, response_tokens: 300 },
        losses: Losses {
            first_micro: 3_210_004,
            last_micro: 998_877,
            held_out_first_micro: Some(3_300_000),
            held_out_last_micro: Some(2_900_001),
        },
        adapter_hash: Hash::sha256("adapter"),
        files: vec![file("adapter_config.json", 300), file("adapter_model.safetensors", 3_700_000)],
    }
}

fn papers(about: About) -> Papers {
    Papers::new(about).unwrap()
}

#[track_caller]
fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/data/papers/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "`{name}` has changed; validate it again");
}

fn graph(text: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(text).unwrap();
    assert_eq!(whole["@context"], "https://spdx.org/rdf/3.0.1/spdx-context.jsonld");
    whole["@graph"].as_array().unwrap().clone()
}

fn of_type<'a>(graph: &'a [Value], kind: &str) -> Vec<&'a Value> {
    graph.iter().filter(|node| node["type"] == kind).collect()
}

fn relations<'a>(graph: &'a [Value], kind: &str) -> Vec<&'a Value> {
    graph.iter().filter(|node| node["relationshipType"] == kind).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// What the specification asks of every document, beyond what one example can show.
fn sound(text_of: &str) {
    let graph = graph(text_of);
    let ids: Vec<&str> = graph.iter().filter_map(|node| node["spdxId"].as_str()).collect();
    let known: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), known.len(), "every id is there once");
    assert_eq!(ids.len() + 1, graph.len(), "all but the creation have one");
    let space = ids[0].strip_suffix(":document").unwrap();
    assert!(ids.iter().all(|id| id.strip_prefix(space).is_some_and(|local| local.starts_with(':'))));
    let creation = of_type(&graph, "CreationInfo")[0];
    assert_eq!(creation["specVersion"], "3.0.1");
    assert!(graph.iter().filter(|node| node["spdxId"].is_string()).all(|node| node["creationInfo"] == creation["@id"]));
    let documents = of_type(&graph, "SpdxDocument");
    assert_eq!(documents.len(), 1);
    let listed: BTreeSet<&str> = documents[0]["element"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(listed.len() + 1, known.len(), "the document has every element but itself");
    assert!(listed.is_subset(&known));
    let is_there = |id: &Value| known.contains(text(id)) || [NO_ELEMENT, NO_LICENCE].contains(&text(id));
    for node in &graph {
        for name in ["from", "suppliedBy", "dataLicense"] {
            assert!(node[name].is_null() || is_there(&node[name]), "{name} of {node}");
        }
        for name in ["to", "rootElement", "originatedBy", "createdBy", "createdUsing"] {
            assert!(node[name].as_array().into_iter().flatten().all(is_there), "{name} of {node}");
        }
        let asked: &[&str] = match text(&node["type"]) {
            "ai_AIPackage" => &[
                "name",
                "releaseTime",
                "suppliedBy",
                "software_downloadLocation",
                "software_packageVersion",
                "software_primaryPurpose",
            ],
            "dataset_DatasetPackage" => &[
                "name",
                "builtTime",
                "originatedBy",
                "releaseTime",
                "software_downloadLocation",
                "software_primaryPurpose",
                "dataset_datasetType",
            ],
            "software_File" | "software_Package" => &["name", "verifiedUsing", "software_primaryPurpose"],
            "simplelicensing_LicenseExpression" => &["simplelicensing_licenseExpression"],
            "Agent" | "Tool" | "SpdxDocument" => &["name"],
            "Relationship" => &["from", "to", "relationshipType"],
            "CreationInfo" => &["created", "createdBy"],
            other => panic!("{other}"),
        };
        assert!(asked.iter().all(|name| !node[*name].is_null()), "{node}");
        // One of each, where a profile speaks of packages.
        let licensed = ["ai_AIPackage", "dataset_DatasetPackage"].contains(&text(&node["type"]));
        for kind in ["hasDeclaredLicense", "hasConcludedLicense"] {
            let count = relations(&graph, kind).iter().filter(|one| one["from"] == node["spdxId"]).count();
            assert!(!licensed || count == 1, "{count} of {kind}: {node}");
        }
    }
    let mut names = Vec::new();
    in_order(&serde_json::from_str(text_of).unwrap(), &mut names);
    assert!(names.iter().all(|names| names.is_sorted()), "names rise");
    assert!(!text_of.contains("null"), "what is not known is left out");
}

fn in_order(value: &Value, names: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(object) => {
            names.push(object.keys().cloned().collect());
            object.values().for_each(|value| in_order(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| in_order(value, names)),
        _ => {}
    }
}

/// The headings of the Commission's template.
const HEADINGS: [&str; 18] = [
    "# Public Summary of Training Content",
    "## 1. General information",
    "### 1.1. Provider identification",
    "### 1.2. Model identification",
    "### 1.3. Modalities, overall training data size and other characteristics",
    "## 2. List of data sources",
    "### 2.1. Publicly available datasets",
    "### 2.2. Private non-publicly available datasets obtained from third parties",
    "#### 2.2.1. Datasets commercially licensed by rightsholders or their representatives",
    "#### 2.2.2. Private datasets obtained from other third parties",
    "### 2.3. Data crawled and scraped from online sources",
    "### 2.4. User data",
    "### 2.5. Synthetic data",
    "### 2.6. Other sources of data",
    "## 3. Data processing aspects",
    "### 3.1. Respect of reservation of rights from text and data mining exception or limitation",
    "### 3.2. Removal of illegal content",
    "### 3.3. Other information (optional)",
];

fn headings(summary: &str) -> Vec<&str> {
    summary.lines().filter(|line| line.starts_with('#')).collect()
}

/// The text below a heading.
fn section<'a>(summary: &'a str, heading: &str) -> &'a str {
    let from = summary.find(&format!("{heading}\n")).unwrap() + heading.len();
    let rest = &summary[from..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

#[test]
fn the_example_keeps_its_text_as_it_was_validated() {
    for (name, text) in papers(about()).files(&manifest()) {
        golden(name, &text);
    }
}

#[test]
fn the_document_names_what_the_adapter_was_made_of() {
    let (papers, manifest) = (papers(about()), manifest());
    let text_of = papers.spdx(&manifest);
    sound(&text_of);
    assert_eq!(text_of, papers.files(&manifest)[1].1);
    let graph = graph(&text_of);
    let [adapter, base] = of_type(&graph, "ai_AIPackage")[..] else { panic!("two models") };
    assert_eq!((text(&adapter["name"]), text(&base["name"])), ("sea-lawyer", "SmolLM2-135M-Instruct"));
    assert_eq!(of_type(&graph, "SpdxDocument")[0]["rootElement"][0], adapter["spdxId"]);
    let bare = |hash: Hash| hash.to_string()[2..].to_owned();
    assert_eq!(text(&base["verifiedUsing"][0]["hashValue"]), bare(manifest.base.hash));
    let datasets = of_type(&graph, "dataset_DatasetPackage");
    let [on, _] = datasets[..] else { panic!("two datanets") };
    assert_eq!(text(&on["verifiedUsing"][0]["hashValue"]), bare(manifest.datanets[0].root));
    let size: usize = given().iter().map(|one| one.item.data().unwrap().len()).sum();
    assert_eq!(on["dataset_datasetSize"], size);
    assert_eq!(text(&on["comment"]), "3 contributions in: 2 source, 1 annotation; 2 under CC-BY-4.0, 1 under CC0-1.0.");
    assert!(text(&on["dataset_dataCollectionProcess"]).starts_with("Given by 2 accounts."));
    assert!(on["dataset_datasetAvailability"].is_null());
    let all: Vec<&Value> = datasets.iter().map(|one| &one["spdxId"]).collect();
    for kind in ["trainedOn", "testedOn"] {
        let [one] = relations(&graph, kind)[..] else { panic!("{kind}") };
        assert_eq!((&one["from"], one["to"].as_array().unwrap().iter().collect()), (&adapter["spdxId"], all.clone()));
    }
    // The maker owns a datanet too, and is one agent.
    assert_eq!(of_type(&graph, "Agent").len(), 3);
    assert_eq!(datasets[1]["originatedBy"][0], adapter["suppliedBy"]);
    let licence = |of: &Value, kind: &str| {
        let named = relations(&graph, kind).into_iter().find(|one| one["from"] == of["spdxId"]).unwrap();
        let found = graph.iter().find(|node| node["spdxId"] == named["to"][0]);
        found.map(|node| text(&node["simplelicensing_licenseExpression"]).to_owned())
    };
    assert_eq!(licence(on, "hasDeclaredLicense").unwrap(), "CC-BY-4.0");
    assert_eq!(licence(on, "hasConcludedLicense").unwrap(), "CC-BY-4.0 AND CC0-1.0");
    assert_eq!(licence(adapter, "hasConcludedLicense"), None);
    let entries = adapter["ai_hyperparameter"].as_array().unwrap();
    let entry = |key: &str| text(&entries.iter().find(|one| one["key"] == key).unwrap()["value"]).to_owned();
    assert_eq!((entry("learning_rate"), entry("rank"), entry("layers")), ("0.0003".into(), "8".into(), "all".into()));
    assert_eq!(entry("targets"), "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj");
    assert_eq!(entries.len(), serde_json::to_value(&manifest.settings).unwrap().as_object().unwrap().len());
    assert_eq!(adapter["ai_metric"][3]["value"], "2.900001");
}

#[test]
fn the_same_words_give_the_same_bytes_and_others_give_other_ids() {
    let manifest = manifest();
    let first = papers(about()).files(&manifest);
    let read: About = serde_json::from_str(&serde_json::to_string(&about()).unwrap()).unwrap();
    assert_eq!(read, about());
    assert_eq!(papers(read).files(&manifest), first);
    let space = |about: About, manifest: &Manifest| {
        let text_of = papers(about).spdx(manifest);
        text(&graph(&text_of)[1]["spdxId"]).to_owned()
    };
    let own = space(about(), &manifest);
    assert_ne!(space(About { version: "3".into(), ..about() }, &manifest), own);
    assert_ne!(space(about(), &Manifest { order_hash: Hash::sha256("another"), ..manifest }), own);
}

#[test]
fn what_is_not_known_is_said_to_be_so() {
    let bare = About {
        description: String::new(),
        maker: Maker { contact: None, ..about().maker },
        base: BaseNotes::default(),
        answers: Answers::default(),
        datanets: vec![maritime()],
        ..about()
    };
    // The papers know nothing of the second datanet, and the manifest does not name one that they know.
    let mut manifest = manifest();
    manifest.datanets[1] = DatanetRef { id: DatanetId::new([7; 32]), root: Hash::sha256("unknown"), tree_size: 1 };
    manifest.losses.held_out_last_micro = None;
    let written = papers(bare.clone());
    let text_of = written.spdx(&manifest);
    sound(&text_of);
    golden("spdx-not-known.json", &text_of);
    let found = graph(&text_of);
    let [base, unknown] = of_type(&found, "software_Package")[..] else { panic!("two plain packages") };
    assert_eq!(text(&base["name"]), "SmolLM2-135M-Instruct");
    assert_eq!(text(&unknown["verifiedUsing"][0]["hashValue"]), &Hash::sha256("unknown").to_string()[2..]);
    assert_eq!(relations(&found, "trainedOn")[0]["to"].as_array().unwrap().len(), 2);
    let summary = written.summary(&manifest);
    assert_eq!(headings(&summary), HEADINGS);
    for (heading, words) in [
        (HEADINGS[2], "contact: not known"),
        (HEADINGS[3], "made by: not known; licence: not known"),
        (HEADINGS[8], "[ ] Yes [ ] No; not known"),
        (HEADINGS[10], "[ ] Yes [ ] No; not known"),
        (HEADINGS[13], "[x] Yes [ ] No"),
        (HEADINGS[13], &Hash::sha256("unknown").to_string()),
    ] {
        assert!(section(&summary, heading).contains(words), "{heading}: {}", section(&summary, heading));
    }
    let mut other = bare;
    other.datanets.push(harbours());
    let said = papers(other).summary(&manifest);
    assert_eq!(said, summary, "a datanet that taught nothing is not spoken of");
}

#[test]
fn examples_of_no_datanet_are_not_passed_over() {
    let manifest = Manifest { datanets: Vec::new(), ..manifest() };
    let written = papers(About { datanets: Vec::new(), ..about() });
    let text_of = written.spdx(&manifest);
    sound(&text_of);
    let found = graph(&text_of);
    let [trained] = relations(&found, "trainedOn")[..] else { panic!("one") };
    assert_eq!(trained["to"][0], NO_ELEMENT);
    assert!(text(&trained["comment"]).starts_with("Examples that belong to no datanet: 3 examples"));
    assert!(relations(&found, "testedOn").is_empty());
    let summary = written.summary(&manifest);
    assert_eq!(headings(&summary), HEADINGS);
    assert!(section(&summary, HEADINGS[13]).contains("3 examples that belong to no datanet"));
    assert!(section(&summary, HEADINGS[16]).contains("measures taken: not known"));
}

#[test]
fn a_datanet_is_public_where_it_is_published_and_private_where_it_is_not() {
    let summary = papers(about()).summary(&manifest());
    let (public, private) = (section(&summary, HEADINGS[6]), section(&summary, HEADINGS[9]));
    assert!(public.contains("[x] Yes") && public.contains("Link: <https://data.example/harbours>"), "{public}");
    assert!(public.contains(r"Harbours \& piers") && !public.contains("Maritime"));
    assert!(private.contains("[x] Yes") && private.contains("Maritime law, version 3 of 2027-01-16"), "{private}");
    assert!(private.contains("Period of data collection: 2027-01-15 to 2027-01-15"));
    assert!(private.contains("Licences of the contributions: 2 under CC-BY-4.0, 1 under CC0-1.0"));
    assert!(section(&summary, HEADINGS[12]).contains("[x] Yes [ ] No\n- Additional comments: A tenth was written"));
    let none = Manifest { datanets: vec![maritime().datanet()], ..manifest() };
    let summary = papers(about()).summary(&none);
    assert!(section(&summary, HEADINGS[6]).contains("[ ] Yes [x] No"));
}

#[test]
fn the_size_is_that_of_the_data_and_not_of_its_readings() {
    for (tokens, range) in [
        (600, "[x] Less than 1 billion tokens [ ] 1 billion to 10 trillion tokens [ ] More"),
        (2_999_999_999, "[x] Less"),
        (3_000_000_000, "[x] 1 billion to"),
        (30_000_000_000_000, "[x] More than 10 trillion tokens; 10000000000000 tokens in 3 examples, read 3 times"),
    ] {
        let mut manifest = manifest();
        manifest.counts.tokens = tokens;
        let summary = papers(about()).summary(&manifest);
        assert!(section(&summary, HEADINGS[4]).contains(range), "{tokens}: {}", section(&summary, HEADINGS[4]));
    }
}

#[test]
fn texts_of_strangers_cannot_write_into_the_summary() {
    let mut about = about();
    about.description = "x\n## 4. Nothing to see\n".into();
    about.name = "# <script>alert(1)</script> | `a`".into();
    about.datanets[0].terms.title = "![x](https://evil.example/pixel.png) [y] Yes".into();
    about.datanets[0].terms.description = "a\n\n# 5. More\n- Link: <https://evil.example>\n```\nrest".into();
    about.answers.users = Some(Answer { yes: false, note: "none\n### 2.9. Fine".into() });
    let summary = papers(about.clone()).summary(&manifest());
    assert_eq!(headings(&summary), HEADINGS);
    // A mark behind a backslash is a letter.
    let marks =
        ['\\', '<', '`', '[', '(', '#', '|'].iter().fold(summary, |text, mark| text.replace(&format!("\\{mark}"), ""));
    for raw in ["<script", "![x](", "<https://evil", "`", "](https", "|"] {
        assert!(!marks.contains(raw), "{raw}");
    }
    sound(&papers(about).spdx(&manifest()));
}

#[test]
fn what_papers_may_say_is_checked_before_anything_is_trained() {
    let refused = |change: &dyn Fn(&mut About)| {
        let mut about = about();
        change(&mut about);
        Papers::new(about).unwrap_err().to_string()
    };
    assert_eq!(refused(&|about| about.name = " ".into()), "`name`: one line of 1 to 120 bytes");
    assert_eq!(refused(&|about| about.version = "1\n2".into()), "`version`: one line of 1 to 120 bytes");
    assert_eq!(refused(&|about| about.licence = "CC BY".into()), "`licence`: an SPDX licence id");
    let page = "an address of the web, at most 500 bytes";
    assert_eq!(refused(&|about| about.page = Some("javascript:1".into())), format!("`page`: {page}"));
    assert_eq!(refused(&|about| about.base.summary = Some("https://a>b".into())), format!("`base.summary`: {page}"));
    assert_eq!(
        refused(&|about| about.answers.crawled.as_mut().unwrap().note = "x".repeat(2_001)),
        "`answers.crawled`: at most 2,000 bytes without control characters"
    );
    assert_eq!(
        refused(&|about| about.datanets[1].contributors = 2),
        "`datanets[1].contributors`: from 1 to `included`"
    );
    assert_eq!(refused(&|about| about.datanets[0].included = 6), "`datanets[0].included`: from 1 to `tree_size`");
    assert_eq!(
        refused(&|about| *about.datanets[0].licences.get_mut("CC0-1.0").unwrap() = u64::MAX),
        "`datanets[0].licences`: `included` in all"
    );
    assert_eq!(refused(&|about| about.datanets[0].kinds.clear()), "`datanets[0].kinds`: `included` in all");
    assert_eq!(
        refused(&|about| about.datanets[1].policy.rejects = 0),
        "`datanets[1].policy`: as a datanet's policy may be"
    );
    assert_eq!(
        refused(&|about| about.datanets[1] = about.datanets[0].clone()),
        "`datanets[1].root`: each version once"
    );
}

#[test]
fn papers_lie_beside_the_adapter_and_have_the_hashes_of_its_files() {
    let weights = tiny("llama");
    let (settings, examples) = (settings(), examples(40));
    let trained = trained(&mut machine(&weights, 1), (&settings, &examples), None).unwrap();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("adapter");
    let (papers, datanets) = (papers(about()), [maritime().datanet()]);
    let written = trained.write(&weights, (&settings, &datanets), &|manifest| papers.files(manifest), &folder);
    let manifest = written.unwrap();
    let text_of = std::fs::read_to_string(folder.join("spdx.json")).unwrap();
    sound(&text_of);
    let graph = graph(&text_of);
    let files = of_type(&graph, "software_File");
    let names: Vec<&str> = files.iter().map(|file| text(&file["name"])).collect();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors", "manifest.json", "training-content.md"]);
    for file in files {
        let bytes = std::fs::read(folder.join(text(&file["name"]))).unwrap();
        let hash = &file["verifiedUsing"][0];
        assert_eq!(
            (text(&hash["algorithm"]), text(&hash["hashValue"])),
            ("sha256", &Hash::sha256(&bytes).to_string()[2..])
        );
    }
    let summary = std::fs::read_to_string(folder.join("training-content.md")).unwrap();
    assert_eq!(summary, papers.summary(&manifest));
    assert!(summary.contains(&manifest.adapter_hash.to_string()));
    let first = text(&of_type(&graph, "ai_AIPackage")[0]["ai_metric"][0]["value"]).parse::<f64>().unwrap();
    assert!((first - trained.losses[0]).abs() < 1e-6);
}
