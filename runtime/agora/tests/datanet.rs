//! A datanet by the commands that people give: what they can rely on from its founding to an adapter that learnt it.

mod world;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agora_types::Code;
use serde_json::Value;
use world::buyer::{Reply, Shop, get, send};
use world::ground::{Ground, Node};
use world::{Home, validate};

/// A network of its own, with the wallets `ada`, `bo` and `chi`.
fn network(model: &'static str) -> (Ground, Node) {
    let ground = Ground { home: Home::empty(), model };
    let node = ground.start();
    for name in ["ada", "bo", "chi"] {
        ground.run(&["wallet", "new", name]).good();
        ground.run(&["wallet", "send", name, "10", "--yes", "--max-spend", "10"]).good();
    }
    (ground, node)
}

fn file(ground: &Ground, name: &str, text: &str) -> String {
    let path = ground.home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pairs(what: &str, count: usize) -> String {
    let line = |at: usize| {
        let prompt = format!("Question {at} about {what}: what does number {at} mean?");
        let words = ["alder", "birch", "cedar", "elder", "hazel", "linden", "maple", "rowan"];
        let (one, two) = (words[at % 8], words[(at * 3 + 1) % 8]);
        let response = format!("In {what}, number {at} stands for {one} beside {two}, seen {} times.", at * 17);
        serde_json::json!({ "prompt": prompt, "response": response }).to_string() + "\n"
    };
    (0..count).map(line).collect()
}

fn stands(items: &Value) -> Vec<String> {
    let word = |standing: &Value| match standing {
        Value::String(word) => word.clone(),
        Value::Object(one) => one.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    items["items"].as_array().unwrap().iter().map(|item| word(&item["standing"])).collect()
}

#[test]
fn what_is_given_stands_judged_withdrawn_or_owned_by_who_came_first() {
    let (ground, mut node) = network("fake");
    let create = ["datanet", "create", "woods", "--licence", "CC-BY-4.0", "--curator", "main", "--curator", "chi"];
    let founded = ground.json(&create);
    assert_eq!(
        (&founded["name"], &founded["version"], &founded["contributions"]),
        (&"woods".into(), &0.into(), &0.into())
    );
    ground.run(&["datanet", "add", "meadows", "x.txt", "--json"]).failed(Code::DatanetNotFound);

    // Three kinds of files, by three people.
    let jsonl = file(&ground, "trees.jsonl", &pairs("trees", 3));
    let given = ground.json(&["datanet", "add", "woods", &jsonl, "--from", "ada"]);
    assert_eq!((&given["items"], &given["new"]), (&3.into(), &3.into()));
    let csv =
        file(&ground, "moss.csv", "question,answer\nWhere does moss grow?,On the shaded side of trees and stones.\n");
    ground.json(&["datanet", "add", "woods", &csv, "--from", "bo", "--kind", "annotation"]);
    let text = "Ferns unroll in spring.\nThey bear no flowers.\n\nMushrooms feed on fallen wood and hand it back to the soil.\n";
    let given = ground.json(&["datanet", "add", "woods", &file(&ground, "notes.txt", text), "--from", "chi"]);
    assert_eq!(given["items"], 2);
    // The same again changes nothing, and says so.
    let again = ground.json(&["datanet", "add", "woods", &jsonl, "--from", "ada"]);
    assert_eq!((&again["items"], &again["new"], &again["batches"]), (&3.into(), &0.into(), &serde_json::json!([0])));
    // Who copies is second, and out.
    ground.json(&["datanet", "add", "woods", &jsonl, "--from", "bo"]);
    let items = ground.json(&["datanet", "items", "woods"]);
    assert_eq!(stands(&items), [vec!["in"; 6], vec!["near_duplicate"; 3]].concat(), "{items}");

    // A curator rejects, with a reason; a stranger is not heard; only who gave it takes it back.
    let judge = ["datanet", "judge", "woods", "3", "reject", "--reason", "off-topic", "--from", "chi"];
    let judged = ground.json(&judge);
    assert_eq!(ground.json(&judge), judged, "said again, it is the same act");
    ground.run(&["datanet", "judge", "woods", "4", "accept", "--from", "bo", "--json"]).failed(Code::ActInvalid);
    ground.run(&["datanet", "withdraw", "woods", "0", "--from", "bo", "--json"]).failed(Code::ActInvalid);
    let made = ground.json(&["datanet", "version", "woods"]);
    assert_eq!((&made["version"], &made["tree_size"]), (&1.into(), &9.into()));
    assert_eq!(made["counts"]["included"], 5);
    let withdraw = ["datanet", "withdraw", "woods", "0", "--from", "ada"];
    let withdrawn = ground.json(&withdraw);
    assert_eq!(ground.json(&withdraw), withdrawn, "taken back once");
    assert_eq!(ground.json(&["datanet", "show", "woods"])["acts"], 2);
    let now = stands(&ground.json(&["datanet", "items", "woods"]));
    assert_eq!(now[0], "withdrawn");
    assert_eq!(now[3], "rejected");
    // A version that is made stays as it was; the next one honours the withdrawal, and the copy stays out.
    assert_eq!(stands(&ground.json(&["datanet", "items", "woods", "--version", "1"]))[0], "in");
    assert_eq!(ground.json(&["datanet", "version", "woods"])["counts"]["included"], 4);
    assert_eq!(stands(&ground.json(&["datanet", "items", "woods", "--version", "1"]))[0], "in");
    // Nothing has come since: the version stands, and the ledger names its text.
    let again = ground.json(&["datanet", "version", "woods"]);
    assert_eq!(again["version"], 2);
    assert_eq!(ground.json(&["datanet", "show", "woods"])["statement"], again["statement"]);
    let second = ground.json(&["datanet", "items", "woods", "--version", "2"]);
    assert_eq!((&second["statement"], made["statement"] == again["statement"]), (&again["statement"], false));

    // The node is killed, and all of it is there.
    node.0.kill().unwrap();
    node.0.wait().unwrap();
    let node = ground.start();
    let out = ground.home.path().join("export");
    let exported = ground.json(&["datanet", "export", "woods", "--out", out.to_str().unwrap(), "--language", "en"]);
    assert_eq!((&exported["version"], &exported["items"]), (&2.into(), &4.into()));
    let described: Value = serde_json::from_slice(&std::fs::read(out.join("croissant.json")).unwrap()).unwrap();
    assert_eq!(described["conformsTo"][0], "http://mlcommons.org/croissant/1.1");
    assert_eq!(std::fs::read_to_string(out.join("items.jsonl")).unwrap().lines().count(), 4);

    // Other rules, and a version under them: what was made before is exported as it was.
    ground.json(&["datanet", "create", "woods", "--licence", "CC-BY-4.0", "--accepts", "1", "--curator", "main"]);
    ground.json(&["datanet", "judge", "woods", "4", "accept"]);
    assert_eq!(ground.json(&["datanet", "version", "woods"])["counts"]["included"], 1);
    for (version, items) in [(1, 5), (2, 4), (3, 1)] {
        let (number, folder) = (version.to_string(), ground.home.path().join(format!("export-{version}")));
        let (export, to) = (["datanet", "export", "woods", "--version", &number], folder.to_str().unwrap());
        let exported = ground.json(&[&export[..], &["--out", to, "--language", "en"]].concat());
        assert_eq!((&exported["version"], &exported["items"]), (&version.into(), &items.into()));
    }
    for name in ["items.jsonl", "croissant.json"] {
        let read = |folder: &str| std::fs::read(ground.home.path().join(folder).join(name)).unwrap();
        assert_eq!(read("export"), read("export-2"), "{name}");
    }
    ground.run(&["ledger", "audit"]).good();
    node.stop(&ground);
}

#[test]
fn a_fee_is_paid_with_the_commitment_and_what_the_rules_refuse_is_named_before_anything_is_given() {
    let (ground, node) = network("fake");
    ground.json(&["datanet", "create", "paid", "--licence", "CC0-1.0", "--fee", "0.5", "--personal", "refuse"]);
    let before = (ground.atoms("main"), ground.atoms("ada"));
    let good = file(&ground, "good.jsonl", &pairs("stones", 4));
    let command = ["datanet", "add", "paid", &good, "--from", "ada"];
    ground.run(&[&command[..], &["--yes", "--json"]].concat()).failed(Code::SpendLimit);
    ground.run(&[&command[..], &["--max-spend", "2", "--json"]].concat()).failed(Code::NodeConfig);
    assert_eq!(ground.json(&[&command[..], &["--dry-run"]].concat())["new"], 0);
    assert_eq!(ground.atoms("ada"), before.1, "nothing was paid so far");
    let given = ground.json(&[&command[..], &["--max-spend", "2", "--yes"]].concat());
    assert_eq!(given["fee"], "2000000000000000000");
    let after = (ground.atoms("main"), ground.atoms("ada"));
    assert_eq!((after.0 - before.0, before.1 - after.1), (2_000_000_000_000_000_000, 2_000_000_000_000_000_000));
    // Again: the fee was paid with the commitment that stands.
    assert_eq!(ground.json(&[&command[..], &["--max-spend", "2", "--yes"]].concat())["new"], 0);
    assert_eq!(ground.atoms("ada"), after.1);

    let bad = pairs("bricks", 1)
        + "{\"prompt\": \"Who?\", \"response\": \"Write to jane.roe@harbour-office.co.uk today.\"}\nno json\n";
    let bad = file(&ground, "bad.jsonl", &bad);
    let adding = ["datanet", "add", "paid", &bad, "--from", "bo", "--yes", "--max-spend", "2"];
    let refused = ground.run(&[&adding[..], &["--json"]].concat()).failed(Code::ItemRefused);
    assert!(refused["message"].as_str().unwrap().contains("line 2"), "{refused}");
    let given = ground.json(&[&adding[..], &["--skip-bad"]].concat());
    assert_eq!((&given["items"], given["left_out"].as_array().unwrap().len()), (&1.into(), 2));
    ground.run(&["ledger", "audit"]).good();
    node.stop(&ground);
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inference/openlora/tests/data/families/llama.gguf")
}

#[test]
fn an_adapter_is_trained_on_a_version_and_served_with_what_measures_it() {
    let model: &'static str = tiny().to_str().unwrap().to_owned().leak();
    let (ground, node) = network(model);
    ground.json(&["datanet", "create", "woods", "--licence", "CC0-1.0"]);
    for (name, what) in [("ada", "trees"), ("bo", "stones")] {
        let path = file(&ground, &format!("{what}.jsonl"), &pairs(what, 6));
        ground.json(&["datanet", "add", "woods", &path, "--from", name]);
    }
    let train = ["factory", "train", "woods-1", "--datanet", "woods", "--base", model, "--threads", "1"];
    let small = ["--rank", "2", "--epochs", "2", "--learning-rate", "0.05", "--dimension", "256", "--held-out", "0"];
    let whole = [&train[..], &small].concat();
    // Without a version there is nothing to train on.
    ground.run(&[&whole[..], &["--json"]].concat()).failed(Code::DatanetNotFound);
    ground.json(&["datanet", "version", "woods"]);
    let trained = ground.run(&[&whole[..], &["--json"]].concat());
    // So small a model explains its own data no better than anything else: then there is no index, and that is said.
    if trained.code != 0 {
        trained.failed(Code::AttributionInput);
    }
    let folder = ground.home.path().join("data/demo/adapters/woods-1");
    for name in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "loss.svg",
        "spdx.json",
        "training-content.md",
    ] {
        assert!(folder.join(name).is_file(), "{name} is missing");
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["counts"]["examples"], 12, "{manifest}");
    // Another method needs no model that is any good. The adapter is there: only its index is made.
    let bm25 = ground.json(&[&whole[..], &["--method", "bm25"]].concat());
    assert_eq!(bm25["adapter"], manifest["adapter_hash"]);
    // Measured another way, it keeps what it was measured by.
    let kept = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("attribution-")).count()
    };
    let before = kept();
    let sampled = ground.json(&[&whole[..], &["--method", "bm25", "--sample-one-in", "2"]].concat());
    assert_eq!((&sampled["adapter"], kept()), (&bm25["adapter"], before + 1));
    assert_ne!(sampled["spec"], bm25["spec"]);
    let spec = bm25["spec"].as_str().unwrap();
    assert!(folder.join(format!("attribution-{}", &spec[2..18])).join("spec.cbor").is_file(), "{spec}");
    assert_eq!((&bm25["served"], &sampled["served"]), (&true.into(), &true.into()), "the running node has it by now");
    let other = [&train[..], &["--rank", "4", "--json"]].concat();
    ground.run(&other).failed(Code::FactoryExists);
    let served = ground.json(&["model", "list"])["served"][1].clone();
    assert_eq!((&served["name"], &served["measure"]["spec"]), (&"woods-1".into(), &sampled["spec"]), "{served}");
    ground.json(&["model", "publish", "woods", "--adapter", "woods-1"]);
    let listed = ground.json(&["model", "list", "woods"]);
    assert_eq!(listed["listings"][0]["name"], "woods", "{listed}");
    assert_eq!(listed["listings"][0]["datanets"].as_array().map(Vec::len), Some(1), "{listed}");
    let answered = ground.json(&["factory", "ask", "woods-1", "What about trees?", "--tokens", "8", "--base", model]);
    let (explained, residual) = (answered["explained"].as_u64().unwrap(), answered["residual"].as_u64().unwrap());
    assert_eq!(explained + residual, 1 << 32);
    node.stop(&ground);
}

/// A request about a datanet over the public port, with an API key.
fn ask(at: SocketAddr, line: &str, key: &str, kind: &str, body: &[u8]) -> Reply {
    let (method, path) = line.split_once(' ').unwrap();
    let length = body.len();
    let head = format!(
        "{method} /v1/datanets/{path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\
         authorization: Bearer {key}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    send(at, &[head.as_bytes(), body].concat()).expect("an answer")
}

/// What was given, as the answer says it.
fn given(reply: &Reply) -> (Value, Value, Value) {
    assert_eq!(reply.status, 200, "{reply:?}");
    let document = reply.json();
    validate(&document);
    (document["items"].clone(), document["new"].clone(), document["fee"].clone())
}

/// A Parquet file whose dictionary announces 2^31 - 1 texts: its reader asks for 80 GiB.
const BOMB: &str = "\
    504152311504150815084c15feffffff0f15000000000000001500150415042c1502151015061506000000001504192c4806736368656d61\
    150200150c2500180474657874001602191c191c26081c150c19250010191804746578741500160216501650263226080000165016020000\
    4400000050415231";

/// A Parquet file with a hundred thousand groups, each in the one before: its reader goes as deep.
fn deep() -> Vec<u8> {
    let group = b"\x35\x00\x18\x01a\x15\x02\x00".repeat(100_000);
    let footer = [b"\x15\x02\x19\xfc\xa0\x8d\x06", group.as_slice(), b"\x16\x00\x19\x0c\x00"].concat();
    let length = u32::try_from(footer.len()).unwrap().to_le_bytes();
    [b"PAR1", footer.as_slice(), &length, b"PAR1"].concat()
}

#[test]
fn files_over_http_are_given_by_an_api_key_and_paid_from_its_budget_once() {
    const CENT: u128 = 10_000_000_000_000_000;
    const GIVE: &str = "POST paid/contributions";
    let shop = Shop::bare();
    let open = shop.open();
    shop.json(&["datanet", "create", "paid", "--licence", "CC0-1.0", "--fee", "0.01"]);
    let made = shop.json(&["payment", "key", "add", "app", "--budget", "0.1", "--yes"]);
    let (key, account) = (made["secret"].as_str().unwrap(), made["account"].as_str().unwrap());
    let other = shop.json(&["payment", "key", "add", "other", "--budget", "0.1", "--yes"]);
    let amount = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    // What the key has used, what its account holds, how many contributions there are.
    let state = || {
        let keys = shop.json(&["payment", "key", "list"]);
        let held = shop.json(&["wallet", "balance", account]);
        let items = shop.json(&["datanet", "items", "paid"]);
        (amount(&keys["keys"][0]["used"]), amount(&held["balance"]), items["total"].as_u64().unwrap())
    };
    let fee = |cents: u128| Value::from((cents * CENT).to_string());

    let list = get(open.at, "/v1/datanets").unwrap().json();
    validate(&list);
    assert_eq!((&list["$type"], &list["datanets"][0]["name"]), (&"agora/datanet-list/v1".into(), &"paid".into()));
    let shown = get(open.at, "/v1/datanets/paid").unwrap().json();
    assert_eq!((&shown["$type"], &shown["fee"]), (&"agora/datanet-view/v1".into(), &fee(1)));

    // Three kinds of files, each paid once, whatever is repeated.
    let trees = pairs("trees", 4);
    let dry = ask(open.at, &format!("{GIVE}?dry_run=true"), key, "application/jsonl", trees.as_bytes());
    assert_eq!((given(&dry), state()), ((4.into(), 0.into(), fee(4)), (0, 10 * CENT, 0)));
    let first = ask(open.at, GIVE, key, "application/jsonl", trees.as_bytes());
    assert_eq!((given(&first), state()), ((4.into(), 4.into(), fee(4)), (4 * CENT, 6 * CENT, 4)));
    let again = ask(open.at, GIVE, key, "application/x-ndjson", trees.as_bytes());
    assert_eq!((given(&again), state()), ((4.into(), 0.into(), fee(0)), (4 * CENT, 6 * CENT, 4)));
    assert_eq!(again.json()["batches"], first.json()["batches"]);
    let moss = "Frage,Antwort\nWhere does moss grow?,On the shaded side of trees and stones.\n";
    let moss = ask(
        open.at,
        &format!("{GIVE}?prompt=Frage&response=Antwort&kind=annotation"),
        key,
        "text/csv; charset=utf-8",
        moss.as_bytes(),
    );
    assert_eq!((given(&moss), state()), ((1.into(), 1.into(), fee(1)), (5 * CENT, 5 * CENT, 5)));
    let wrecks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../marketplace/intake/tests/data/pairs.parquet");
    let (wrecks, parquet) = (std::fs::read(wrecks).unwrap(), "application/vnd.apache.parquet");
    let bad = ask(open.at, GIVE, key, parquet, &wrecks);
    assert_eq!((bad.status, &bad.json()["error"]["code"]), (400, &Code::DataInvalid.text().into()), "{bad:?}");
    let most = ask(open.at, &format!("{GIVE}?skip_bad=true"), key, parquet, &wrecks);
    assert_eq!((given(&most), state()), ((2.into(), 2.into(), fee(2)), (7 * CENT, 3 * CENT, 7)));
    assert_eq!(most.json()["left_out"][0]["line"], 3);
    let broken = ask(open.at, GIVE, key, parquet, &wrecks[..wrecks.len() / 2]);
    assert_eq!((broken.status, &broken.json()["error"]["code"]), (400, &Code::DataInvalid.text().into()));
    for bomb in [hex::decode(BOMB).unwrap(), deep()] {
        let refused = ask(open.at, GIVE, key, parquet, &bomb);
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &Code::DataInvalid.text().into()));
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("more than this node gives"), "{message}");
    }

    // Over the budget, by nobody, to nowhere: refused, and nothing changed.
    let stones = pairs("stones", 4);
    for (line, key, status, code) in [
        (GIVE, key, 402, Code::ApiKeyOverBudget),
        (GIVE, "agora-nobody", 401, Code::ApiKeyUnknown),
        ("POST unpaid/contributions", key, 404, Code::DatanetNotFound),
    ] {
        let refused = ask(open.at, line, key, "application/jsonl", stones.as_bytes());
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (status, &code.text().into()), "{refused:?}");
        assert_eq!(state(), (7 * CENT, 3 * CENT, 7));
    }

    // The node is killed, and all of it is there; who gave a contribution takes it back, once.
    open.node.kill();
    let open = shop.open();
    let again = ask(open.at, GIVE, key, "application/jsonl", trees.as_bytes());
    assert_eq!((given(&again), state()), ((4.into(), 0.into(), fee(0)), (7 * CENT, 3 * CENT, 7)));
    let items = shop.json(&["datanet", "items", "paid"]);
    assert!(items["items"].as_array().unwrap().iter().all(|item| item["contributor"] == account), "{items}");
    let line = format!("DELETE paid/contributions/{}", items["items"][0]["content_hash"].as_str().unwrap());
    let stranger = ask(open.at, &line, other["secret"].as_str().unwrap(), "text/plain", b"");
    assert_eq!((stranger.status, &stranger.json()["error"]["code"]), (400, &Code::ActInvalid.text().into()));
    for _ in 0..2 {
        let taken = ask(open.at, &line, key, "text/plain", b"");
        assert_eq!((taken.status, &taken.json()["number"]), (200, &0.into()), "{taken:?}");
    }
    assert_eq!(stands(&shop.json(&["datanet", "items", "paid"]))[0], "withdrawn");
    shop.run(&["ledger", "audit"]).good();
    open.node.kill();
}
