//! Files as Python programs write them (`tests/data/make.py`), and files that are broken.

use std::path::{Path, PathBuf};

use agora_datanets::Item;
use agora_datanets::readers::{Limits, Mapping, ReadError, Row};
use agora_intake::open;

fn file(name: &str) -> PathBuf {
    Path::new("tests/data").join(name)
}

fn read(path: &Path, mapping: Mapping, limits: Limits) -> Vec<Result<Row, ReadError>> {
    match open(path, mapping, limits) {
        Ok(rows) => rows.collect(),
        Err(error) => vec![Err(error)],
    }
}

/// Each row as `number: item`, or `number! word`.
fn told(name: &str, mapping: Mapping) -> Vec<String> {
    let tell = |row| match row {
        Ok(Row { line, item }) => format!("{line}: {}", serde_json::to_string(&item).unwrap()),
        Err(ReadError { line, problem }) => format!("{line}! {}", problem.word()),
    };
    read(&file(name), mapping, Limits::default()).into_iter().map(tell).collect()
}

#[test]
fn questions_and_answers_are_pairs() {
    let expected = [
        r#"1: {"pair":{"prompt":"Who owns a wreck?","response":"Its owner keeps it."}}"#,
        r#"2: {"pair":{"prompt":"What is a neap tide?","response":"The lowest high water, at half moon."}}"#,
        "3! missing",
    ];
    assert_eq!(told("pairs.parquet", Mapping::Auto), expected);
    let named = Mapping::Pair { prompt: "question".into(), response: "answer".into() };
    assert_eq!(told("pairs.parquet", named), expected);
}

#[test]
fn a_file_in_memory_is_read_as_one_on_disk() {
    for name in ["pairs.parquet", "messages.parquet", "zstd.parquet", "make.py"] {
        let bytes = std::fs::read(file(name)).unwrap();
        let inside: Vec<_> = match agora_intake::read(bytes, Mapping::Auto, Limits::default()) {
            Ok(rows) => rows.collect(),
            Err(error) => vec![Err(error)],
        };
        assert_eq!(inside, read(&file(name), Mapping::Auto, Limits::default()), "{name}");
    }
}

#[test]
fn conversations_over_several_groups_of_rows_are_read() {
    let talk = |question: &str, answer: &str| {
        format!(
            r#"{{"messages":[{{"role":"user","content":"{question}"}},{{"role":"assistant","content":"{answer}"}}]}}"#
        )
    };
    let expected =
        [format!("1: {}", talk("Q", "A")), "2! wrong_type".to_owned(), format!("3: {}", talk("Again?", "Yes."))];
    assert_eq!(told("messages.parquet", Mapping::Auto), expected);
}

#[test]
fn what_a_mapping_asks_for_in_vain_is_said() {
    assert_eq!(told("pairs.parquet", Mapping::Text { text: "nothing".into() }), ["1! missing"]);
    let number = told("pairs.parquet", Mapping::Text { text: "id".into() });
    assert_eq!(number, ["1! wrong_type", "2! wrong_type", "3! wrong_type"]);
    let zstd = read(&file("zstd.parquet"), Mapping::Auto, Limits::default());
    let said = zstd[0].as_ref().unwrap_err().to_string();
    assert!(said.contains("zstd"), "{said}");
    assert_eq!(zstd.len(), 1);
    assert_eq!(told("none.parquet", Mapping::Auto), ["1! io"]);
    assert_eq!(told("make.py", Mapping::Auto), ["1! damaged"]);
}

#[test]
fn bounds_are_those_of_every_reader() {
    let few = read(&file("pairs.parquet"), Mapping::Auto, Limits { items_max: 1, ..Limits::default() });
    assert_eq!((few.len(), few[1].as_ref().unwrap_err().problem.word()), (2, "too_many_items"));
    let short = read(&file("pairs.parquet"), Mapping::Auto, Limits { line_bytes_max: 40, ..Limits::default() });
    let Ok(Row { item: Item::Pair { prompt, .. }, .. }) = &short[0] else { panic!("{short:?}") };
    assert_eq!(prompt, "Who owns a wreck?");
    assert_eq!(short[1].as_ref().unwrap_err().problem.word(), "line_too_long");
}

#[test]
fn a_file_with_a_byte_changed_or_cut_ends_without_harm() {
    let folder = std::env::temp_dir().join(format!("agora-intake-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let whole = std::fs::read(file("messages.parquet")).unwrap();
    let path = folder.join("bent.parquet");
    let hook = std::panic::take_hook();
    // What the library panics on is expected here.
    std::panic::set_hook(Box::new(|_| ()));
    let mut most = 0;
    for at in (0..whole.len()).step_by(3) {
        let mut bent = whole.clone();
        bent[at] ^= 0x41;
        std::fs::write(&path, &bent).unwrap();
        most = most.max(read(&path, Mapping::Auto, Limits::default()).len());
        std::fs::write(&path, &whole[..at]).unwrap();
        most = most.max(read(&path, Mapping::Auto, Limits::default()).len());
    }
    std::panic::set_hook(hook);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(most < 1_000, "{most}");
}
