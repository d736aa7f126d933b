//! Datanets: what is told of them, and files that contributors with an API key send.

use std::time::Duration;

use agora_economy::ports::datanets::{Columns, Contribution, Datanets, Document, Format};
use agora_economy::ports::pay::{Pending, Trouble};
use agora_gateway::{Bounds, PublicPort, Services};
use agora_types::{Code, ContributionKind, Hash};
use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, Whole, ask, request};
use crate::fakes::{Fakes, LOOPBACK, bounds};

const KEY: (&str, &str) = ("Authorization", "Bearer good");
const JSONL: (&str, &str) = ("Content-Type", "application/jsonl");
const PATH: &str = "/v1/datanets/woods/contributions";

/// Its name, path, headers and body, and the status and code of its answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

fn document(value: &Value) -> Document {
    Document(value.to_string())
}

fn known(key: &str) -> Result<(), Trouble> {
    if key == "good" { Ok(()) } else { Err(Trouble::new(Code::ApiKeyUnknown, "the API key")) }
}

impl Datanets for Fakes {
    fn list(&self, skip: u32, limit: u32) -> Pending<'_, Document> {
        self.log.say(format!("list {skip} {limit}"));
        Box::pin(async { Ok(document(&json!({"$type": "agora/datanet-list/v1", "datanets": []}))) })
    }

    fn show<'a>(&'a self, datanet: &'a str) -> Pending<'a, Document> {
        self.log.say(format!("show {datanet}"));
        Box::pin(async move {
            match datanet {
                "missing" => Err(Trouble::new(Code::DatanetNotFound, "no datanet `missing` here")),
                name => Ok(document(&json!({"$type": "agora/datanet-view/v1", "name": name}))),
            }
        })
    }

    fn admit<'a>(&'a self, key: &'a str) -> Pending<'a, ()> {
        self.log.say(format!("admit {key}"));
        Box::pin(async move { known(key) })
    }

    fn contribute<'a>(&'a self, key: &'a str, contribution: Contribution) -> Pending<'a, Document> {
        Box::pin(async move {
            known(key)?;
            let Contribution { datanet, format, columns, whole, licence, title, kind, weight, .. } = &contribution;
            let (said, body) = (String::from_utf8_lossy(&contribution.body).into_owned(), contribution.body.len());
            self.log.say(format!(
                "give {datanet} {format:?} {columns:?} {whole} {licence:?} {title:?} {kind:?} {weight} {} {} {body}",
                contribution.skip_bad, contribution.dry_run
            ));
            match said.as_str() {
                "gated" => {
                    self.gate.acquire().await.unwrap().forget();
                    self.log.say("given at last");
                }
                "dear" => return Err(Trouble::new(Code::ApiKeyOverBudget, "key app: 5 OPEN at most, 1 OPEN left")),
                "bad" => return Err(Trouble::new(Code::DataInvalid, "line 1: not JSON")),
                "busy" => return Err(Trouble { retry_after_s: Some(1), ..Trouble::new(Code::LedgerBusy, "busy") }),
                _ => {}
            }
            Ok(document(&json!({"$type": "agora/datanet-given/v1", "items": 2, "new": 2, "fee": "7"})))
        })
    }

    fn withdraw<'a>(&'a self, key: &'a str, datanet: &'a str, content: Hash) -> Pending<'a, Document> {
        Box::pin(async move {
            known(key)?;
            self.log.say(format!("withdraw {datanet} {content}"));
            Ok(document(&json!({"$type": "agora/datanet-act/v1", "number": 3})))
        })
    }
}

async fn post(port: &PublicPort, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Whole {
    ask(port.address(), "POST", path, headers, body).await
}

/// The line that the fake writes down of a file with the usual words.
fn usual(format: Format, body: usize) -> String {
    let (columns, kind) = (Columns::Usual, ContributionKind::Source);
    format!("give woods {format:?} {columns:?} false None None {kind:?} 100 false false {body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_may_read_what_datanets_there_are() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let get = async |path: &str| ask(port.address(), "GET", path, &[], b"").await;
    let list = get("/v1/datanets").await;
    assert_eq!((list.status(), &list.json()["$type"]), (200, &"agora/datanet-list/v1".into()));
    assert_eq!((list.get("content-type"), list.get("cache-control")), (Some("application/json"), Some("no-store")));
    get("/v1/datanets?skip=7&limit=9").await;
    get("/v1/datanets?limit=100000").await;
    let one = get("/v1/datanets/old%20woods%2Fby%20ada").await;
    assert_eq!((one.status(), &one.json()["name"]), (200, &"old woods/by ada".into()));
    let missing = get("/v1/datanets/missing").await;
    assert_eq!((missing.status(), &missing.json()["error"]["code"]), (404, &"datanet.not_found".into()));
    for query in ["limit=x", "limit=1&limit=2", "offset=1"] {
        assert_eq!(get(&format!("/v1/datanets?{query}")).await.status(), 400, "{query}");
    }
    let expected = ["list 0 256", "list 7 9", "list 0 256", "show old woods/by ada", "show missing"];
    assert_eq!(fakes.log.lines(), expected);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_s_type_says_how_it_is_read_and_the_answer_is_the_program_s() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let kinds = [
        ("application/jsonl", Format::Jsonl),
        ("application/x-ndjson; charset=utf-8", Format::Jsonl),
        ("application/json", Format::Jsonl),
        ("text/csv", Format::Csv),
        ("text/plain", Format::Text),
        ("text/markdown", Format::Text),
        ("application/vnd.apache.parquet", Format::Parquet),
    ];
    for (kind, format) in kinds {
        let given = post(&port, PATH, &[KEY, ("Content-Type", kind)], b"\x00items").await;
        let expected = json!({"$type": "agora/datanet-given/v1", "items": 2, "new": 2, "fee": "7"});
        assert_eq!((given.status(), given.json()), (200, expected), "{kind}");
        assert_eq!(given.get("cache-control"), Some("no-store"), "{kind}");
        assert_eq!(fakes.log.lines().last().unwrap(), &usual(format, 6), "{kind}");
    }
    let words =
        "kind=correction&weight=9&licence=CC0-1.0&title=a+b&prompt=q&response=a&whole=true&skip_bad=true&dry_run=true";
    let given = post(&port, &format!("{PATH}?{words}"), &[KEY, JSONL], b"x").await;
    assert_eq!(given.status(), 200, "{}", given.text());
    let line = r#"give woods Jsonl Pair("q", "a") true Some("CC0-1.0") Some("a b") Correction 9 true true 1"#;
    assert_eq!(fakes.log.lines().last().unwrap(), line);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_refused_with_a_stable_code() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { upload_body_max: 64, ..bounds() }, None);
    let bad_key = ("Authorization", "Bearer bad");
    let cases: [Case<'_>; 13] = [
        ("no key", PATH, &[JSONL], b"x", 401, "payment.key_unknown"),
        (
            "another kind of authorization",
            PATH,
            &[("Authorization", "Basic good"), JSONL],
            b"x",
            401,
            "payment.key_unknown",
        ),
        ("a wrong key", PATH, &[bad_key, JSONL], b"x", 401, "payment.key_unknown"),
        ("two keys", PATH, &[KEY, KEY, JSONL], b"x", 400, "wire.malformed"),
        ("no type", PATH, &[KEY], b"x", 415, "wire.unsupported_version"),
        ("another type", PATH, &[KEY, ("Content-Type", "text/html")], b"x", 415, "wire.unsupported_version"),
        ("an unknown word", &format!("{PATH}?dryrun=true"), &[KEY, JSONL], b"x", 400, "wire.malformed"),
        ("half a pair", &format!("{PATH}?prompt=a"), &[KEY, JSONL], b"x", 400, "wire.malformed"),
        ("no weight", &format!("{PATH}?weight=0"), &[KEY, JSONL], b"x", 400, "wire.malformed"),
        ("too large", PATH, &[KEY, JSONL], &[b'x'; 65], 413, "wire.too_large"),
        ("over the budget", PATH, &[KEY, JSONL], b"dear", 402, "payment.key_over_budget"),
        ("no items", PATH, &[KEY, JSONL], b"bad", 400, "datanet.bad_input"),
        ("a busy ledger", PATH, &[KEY, JSONL], b"busy", 503, "store.busy"),
    ];
    for (name, path, headers, body, status, code) in cases {
        let answer = post(&port, path, headers, body).await;
        let text = answer.text();
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (status, &code.into()), "{name}: {text}");
        assert!(answer.json()["error"]["message"].is_string(), "{name}: {text}");
        assert_eq!(answer.get("retry-after"), (status == 503).then_some("1"), "{name}");
    }
    let lines = fakes.log.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("give")).count(), 3, "{lines:?}");
    // Everything else was refused before the key was asked for.
    assert_eq!(lines.iter().filter(|line| *line == "admit good").count(), 4, "{lines:?}");
    for (method, path) in [("PUT", PATH), ("GET", PATH), ("DELETE", "/v1/datanets/woods")] {
        let answer = ask(port.address(), method, path, &[KEY], b"").await;
        assert!([404, 405].contains(&answer.status()), "{method} {path}: {}", answer.status());
    }
    port.close(PATIENCE).await;
    // Without datanets behind it the port has no such routes.
    let bare =
        PublicPort::open(LOOPBACK, true, None, Services { datanets: None, ..fakes.services() }, bounds()).unwrap();
    assert_eq!(post(&bare, PATH, &[KEY, JSONL], b"x").await.status(), 404);
    bare.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_file_is_not_read_and_a_slow_one_is_not_waited_for() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { upload_timeout: Duration::from_millis(300), ..bounds() }, None);
    let head = |key: &str| {
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/jsonl\r\nContent-Length: 9\r\n\r\n"
        )
    };
    let mut stranger = Client::connect(port.address()).await;
    stranger.send(head("bad")).await;
    assert_eq!(stranger.whole().await.status(), 401, "answered before a byte of the file came");
    let mut slow = Client::connect(port.address()).await;
    slow.send(head("good") + "half").await;
    assert_eq!(slow.whole().await.status(), 408);
    // Its place is free again.
    assert_eq!(post(&port, PATH, &[KEY, JSONL], b"x").await.status(), 200);
    assert!(!fakes.log.lines().iter().any(|line| line.ends_with(" 4")), "{:?}", fakes.log.lines());
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_files_are_worked_on_at_once_and_each_to_its_end() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { uploads_at_once: 1, ..bounds() }, None);
    let mut client = Client::connect(port.address()).await;
    client.send(request("POST", PATH, &[KEY, JSONL], b"gated")).await;
    fakes.log.until(&usual(Format::Jsonl, 5)).await;
    let busy = post(&port, PATH, &[KEY, JSONL], b"x").await;
    assert_eq!((busy.status(), &busy.json()["error"]["code"]), (503, &"node.busy".into()));
    assert_eq!(busy.get("retry-after"), Some("5"));
    // Who sent the first one leaves: it goes on, and keeps its place.
    drop(client);
    assert_eq!(post(&port, PATH, &[KEY, JSONL], b"x").await.status(), 503);
    fakes.gate.add_permits(1);
    fakes.log.until("given at last").await;
    loop {
        let answer = post(&port, PATH, &[KEY, JSONL], b"x").await;
        if answer.status() == 200 {
            break;
        }
        // The place is given back a moment after the work's last word.
        assert_eq!(answer.status(), 503);
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_is_taken_back_by_its_hash() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let content = Hash::new([0x17; 32]);
    let delete = async |headers: &[(&str, &str)], content: &str| {
        ask(port.address(), "DELETE", &format!("{PATH}/{content}"), headers, b"").await
    };
    let taken = delete(&[KEY], &content.to_string()).await;
    assert_eq!((taken.status(), &taken.json()["number"]), (200, &3.into()));
    assert_eq!(fakes.log.lines(), [format!("withdraw woods {content}")]);
    assert_eq!(delete(&[], &content.to_string()).await.status(), 401);
    assert_eq!(delete(&[("Authorization", "Bearer bad")], &content.to_string()).await.status(), 401);
    assert_eq!(delete(&[KEY], "17").await.status(), 400);
    port.close(PATIENCE).await;
}
