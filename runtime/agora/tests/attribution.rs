//! A measured answer through a real node: exported with what its shares follow from, recomputed by somebody else at all
//! three levels, and explained.
#![allow(clippy::cast_possible_truncation, reason = "a test's small numbers")]

mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agora_attribution::{Evidence, WHOLE};
use agora_receipts::Envelope;
use agora_receipts::envelope::Enclosed;
use agora_types::{Canonical as _, Code, Hash};
use serde_json::{Value, json};
use world::ground::{Ground, Node, PATIENCE};
use world::taught::{Taught, contributor, tiny};
use world::{Home, validate};

const QUESTION: &str = "who owns a wreck that the sea gave back";

/// The newest call's explanation, once its evidence is there.
fn explained(ground: &Ground) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let newest = ground.json(&["receipt", "list", "--limit", "1"])["receipts"][0]["call"].clone();
        let explained = ground.json(&["receipt", "explain", newest.as_str().unwrap()]);
        if explained["evidence"].is_object() {
            return explained;
        }
        assert!(Instant::now() < until, "the answer is not measured: {explained}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Somebody with the file, the network's genesis file, the adapter and the model; and no node.
struct Auditor {
    home: Home,
    genesis: String,
}

impl Auditor {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Recomputes an envelope with further flags.
    fn recompute(&self, envelope: &Envelope, flags: &[&str]) -> world::Done {
        let file = self.path("file.receipt.json");
        std::fs::write(&file, envelope.to_json().unwrap()).unwrap();
        let first = ["receipt", "recompute", file.to_str().unwrap(), "--genesis", &self.genesis, "--json"];
        self.home.agora(&[&first[..], flags].concat())
    }
}

fn verdicts(document: &Value) -> Vec<&str> {
    validate(document);
    document["levels"].as_array().unwrap().iter().map(|level| level["verdict"].as_str().unwrap()).collect()
}

/// What the command says on stdout although it fails, and where its level does not follow.
#[track_caller]
fn differs(done: &world::Done, level: usize, place: &str, code: Code) {
    done.failed(code);
    let document: Value = serde_json::from_str(&done.out).unwrap();
    let found = &verdicts(&document);
    assert_eq!(found[level - 1], "differs", "{document:#}");
    assert_eq!(document["levels"][level - 1]["difference"]["place"], place, "{document:#}");
}

#[test]
fn a_measured_answer_is_recomputed_by_others_and_explained_to_people() {
    let stage = Taught::set();
    let ground = &stage.ground;
    let node: Node = ground.start();
    ground.run(&["model", "publish", "untaught", "--adapter", "taught"]).good();
    let key = stage.key("1");
    let answer = stage.buy("untaught", QUESTION, &key);
    let datanet = stage.register();
    node.stop(ground);
    let spec = stage.teach(&[(QUESTION, answer.clone())], datanet, 1);
    let node = ground.start();
    ground.run(&["model", "publish", "taught", "--adapter", "taught"]).good();
    assert_eq!(stage.buy("taught", QUESTION, &key), answer, "an index changes no answer");

    // What people are told.
    let explained = explained(ground);
    validate(&explained);
    assert_eq!(explained["answer"], answer.as_str());
    assert_eq!(explained["question"][0]["text"], QUESTION);
    assert_eq!((&explained["measured"], &explained["evidence"]["recomputed"]), (&true.into(), &true.into()));
    assert_eq!(explained["evidence"]["spec"], spec.hash().to_string());
    let parts = |name: &str| explained[name].as_u64().unwrap();
    assert_eq!(parts("explained") + parts("unexplained"), WHOLE);
    let atoms = |value: &Value| value.as_str().map_or(0, |text| text.parse::<u128>().unwrap());
    assert_eq!(atoms(&explained["paid"]) + atoms(&explained["commons"]), atoms(&explained["pool"]));
    assert!(atoms(&explained["paid"]) > 0, "{explained:#}");
    let first = &explained["evidence"]["contributions"][0];
    assert_eq!(first["account"], contributor(0).to_string(), "who wrote the answer comes first");
    assert_eq!(first["contribution"], Hash::sha256(0u64.to_be_bytes()).to_string());
    let spans = explained["evidence"]["spans"].as_array().unwrap();
    assert!(!spans.is_empty() && spans.iter().all(|span| span["contribution"] == 1), "{explained:#}");
    let bytes = |span: &Value| {
        let at = |end: &str| span["bytes"][end].as_u64().unwrap() as usize;
        at("start")..at("end")
    };
    let copied = &answer[bytes(&spans[0])];
    assert!(!copied.trim().is_empty() && answer.trim() == copied.trim(), "all of it stands there: {copied:?}");
    let call = explained["call"].as_str().unwrap();
    let html = ground.home.path().join("why.html");
    let text = ground.run(&["receipt", "explain", call, "--html", html.to_str().unwrap()]);
    for said in ["not explained: ", " went to the commons", "](1)", "an estimate", "evidence"] {
        assert!(text.good().contains(said), "{said}: {}", text.out);
    }
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<mark><a href=\"#c1\"") && page.contains("<tr id=\"c1\">"), "{page}");

    // What others need.
    let file = ground.home.path().join("call.receipt.json");
    let export = ["receipt", "export", call, "--attribution", "--disclose", "--out", file.to_str().unwrap()];
    let exported = ground.json(&export);
    validate(&exported);
    assert_eq!(exported["attribution"], true);
    ground.run(&["receipt", "verify", file.to_str().unwrap()]).good();
    let model = tiny().display().to_string();
    let own = ground.json(&["receipt", "recompute", file.to_str().unwrap(), "--model", &model]);
    assert_eq!(verdicts(&own), ["agrees"; 3], "the network's own adapters are found: {own:#}");
    // So is an index that another one took the place of.
    let earlier = stage.adapter.join(format!("attribution-{}", &spec.hash().to_string()[2..18]));
    std::fs::rename(stage.adapter.join("attribution"), &earlier).unwrap();
    let own = ground.json(&["receipt", "recompute", file.to_str().unwrap(), "--model", &model]);
    assert_eq!(verdicts(&own), ["agrees"; 3], "{own:#}");
    std::fs::rename(&earlier, stage.adapter.join("attribution")).unwrap();

    let genesis = stage.network().join("genesis.cbor").display().to_string();
    let auditor = Auditor { home: Home::empty(), genesis };
    let good = Envelope::from_json(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let adapter = auditor.path("adapter");
    copy(&stage.adapter, &adapter);
    let folder = adapter.display().to_string();
    let all = ["--index", &folder, "--model", &model];
    let agreed = auditor.recompute(&good, &all).document();
    assert_eq!(verdicts(&agreed), ["agrees"; 3], "{agreed:#}");
    assert_eq!(agreed["levels"][2]["nearness"], json!({"cosine": 1 << 30, "share": 0, "explained": 0}));
    let alone = auditor.recompute(&good, &[]).document();
    assert_eq!(verdicts(&alone), ["agrees", "cannot_tell", "cannot_tell"], "the file alone is enough for level 1");
    auditor.recompute(&good, &["--level", "2"]).failed(Code::AttributionEvidence);
    let silent = Envelope { disclosure: None, ..good.clone() };
    auditor.recompute(&silent, &all).failed(Code::AttributionEvidence);
    let two = auditor.recompute(&silent, &["--index", &folder]).document();
    assert_eq!(verdicts(&two), ["agrees", "agrees", "cannot_tell"], "{two:#}");
    auditor.recompute(&Envelope { attribution: None, ..good.clone() }, &[]).failed(Code::AttributionEvidence);

    // Lies, each found where it was told.
    let enclosed = good.attribution.clone().unwrap();
    let evidence = Evidence::from_bytes(&enclosed.evidence_bytes().unwrap()).unwrap();
    let lie = |change: &dyn Fn(&mut Evidence)| {
        let mut evidence = evidence.clone();
        change(&mut evidence);
        let enclosed = Enclosed::new(&spec.to_bytes(), &evidence.to_bytes());
        Envelope { attribution: Some(enclosed), ..good.clone() }
    };
    let mismatch = |envelope: &Envelope, place: &str| {
        differs(&auditor.recompute(envelope, &[]), 1, place, Code::AttributionMismatch);
    };
    let richer = |evidence: &mut Evidence| {
        evidence.entries[0].amount = agora_types::Amount::from_atoms(evidence.entries[0].amount.atoms() + 1);
    };
    mismatch(&lie(&richer), "a cluster's entry");
    mismatch(&lie(&|evidence| evidence.query[0] ^= 1), "the hash of the query vector");
    mismatch(&lie(&|evidence| evidence.pool = agora_types::Amount::from_atoms(7)), "a cluster's entry");
    mismatch(&lie(&|evidence| evidence.candidates[0].weight ^= 1), "the summary");
    let mut other = spec.clone();
    other.sample_one_in += 1;
    let other = Enclosed::new(&other.to_bytes(), &evidence.to_bytes());
    auditor.recompute(&Envelope { attribution: Some(other), ..good.clone() }, &[]).failed(Code::ReceiptMismatch);
    let mut bytes = evidence.to_bytes();
    bytes[0] ^= 1;
    let broken = Enclosed::new(&spec.to_bytes(), &bytes);
    let broken = Envelope { attribution: Some(broken), ..good.clone() };
    auditor.recompute(&broken, &[]).failed(Code::AttributionEvidence);
    let rows = adapter.join("attribution/rows.i8");
    let mut matrix = std::fs::read(&rows).unwrap();
    *matrix.last_mut().unwrap() ^= 1;
    std::fs::write(&rows, matrix).unwrap();
    let done = auditor.recompute(&good, &["--index", &folder]);
    differs(&done, 2, "the root over the matrix", Code::AttributionMismatch);

    // A file is explained without a node, and without its text as well.
    let path = auditor.path("file.receipt.json").display().to_string();
    std::fs::write(&path, silent.to_json().unwrap()).unwrap();
    let told = auditor.home.agora(&["receipt", "explain", &path]);
    assert!(
        told.good().contains("not disclosed") && told.out.contains("of the answer stand in contribution 1"),
        "{}",
        told.out
    );
    assert!(told.out.contains(" went to the commons"), "{}", told.out);
    std::fs::write(&path, good.to_json().unwrap()).unwrap();
    let placed = auditor.home.agora(&["receipt", "explain", &path, "--model", &model, "--json"]).document();
    assert_eq!(placed["evidence"]["spans"], explained["evidence"]["spans"], "{placed:#}");
    std::fs::write(&path, lie(&richer).to_json().unwrap()).unwrap();
    auditor.home.agora(&["receipt", "explain", &path, "--json"]).failed(Code::AttributionMismatch);
    node.stop(ground);
}
