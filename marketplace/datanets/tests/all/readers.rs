//! Files from strangers: read within bounds, and what is wrong is said with its line.

use std::io::{BufReader, Read};

use agora_datanets::readers::*;
use agora_datanets::{Item, Message, Role};
use proptest::prelude::*;

use crate::kit::text;

fn small() -> Limits {
    Limits { line_bytes_max: 200, item_bytes_max: 120, items_max: 5, errors_max: 4 }
}

/// Each row as `line: item`, or `line! word`.
fn told(rows: impl Iterator<Item = Result<Row, ReadError>>) -> Vec<String> {
    rows.map(|row| match row {
        Ok(row) => format!("{}: {}", row.line, serde_json::to_string(&row.item).unwrap()),
        Err(error) => {
            assert!(error.to_string().starts_with(&format!("line {}: ", error.line)), "{error}");
            format!("{}! {}", error.line, error.problem.word())
        }
    })
    .collect()
}

fn jsonl(file: &str) -> Vec<String> {
    told(JsonlReader::new(file.as_bytes(), Mapping::Auto, small()))
}

fn csv(file: &str) -> Vec<String> {
    told(CsvReader::new(file.as_bytes(), Mapping::Auto, small()))
}

#[test]
fn json_lines_of_every_usual_form_are_items() {
    let file = "\u{feff}{\"text\": \"A light.\"}\r\n\
                \n\
                {\"prompt\": \"Q\", \"response\": \"A\"}\n\
                {\"instruction\": \"Sum up\", \"input\": \"A long text\", \"output\": \"Short\"}\n\
                {\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}\n\
                {\"conversations\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"gpt\", \"value\": \"A\"}]}";
    let talk = r#"{"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]}"#;
    assert_eq!(
        jsonl(file),
        [
            r#"1: {"text":"A light."}"#.to_owned(),
            r#"3: {"pair":{"prompt":"Q","response":"A"}}"#.to_owned(),
            r#"4: {"pair":{"prompt":"Sum up\n\nA long text","response":"Short"}}"#.to_owned(),
            format!("5: {talk}"),
            format!("6: {talk}"),
        ]
    );
}

#[test]
fn a_mapping_names_the_fields() {
    let file = "{\"q\": \"Q\", \"a\": \"A\", \"text\": \"T\", \"talk\": [{\"role\": \"user\", \"content\": \"Q\"}]}";
    let read = |mapping| JsonlReader::new(file.as_bytes(), mapping, small()).next().unwrap().map(|row| row.item);
    let pair = Mapping::Pair { prompt: "q".into(), response: "a".into() };
    assert_eq!(read(pair), Ok(Item::Pair { prompt: "Q".into(), response: "A".into() }));
    assert_eq!(read(Mapping::Text { text: "a".into() }), Ok(text("A")));
    let talk = Item::Messages(vec![Message { role: Role::User, content: "Q".into() }]);
    assert_eq!(read(Mapping::Messages { messages: "talk".into() }), Ok(talk));
    let missing = read(Mapping::Text { text: "nothing\n".into() }).unwrap_err();
    assert_eq!(missing.to_string(), "line 1: `nothing\u{fffd}` is missing");
}

#[test]
fn what_is_wrong_with_a_line_is_said_and_the_next_one_is_read() {
    let cases = [
        ("{\"text\": 5}", "wrong_type"),
        ("[1]", "not_object"),
        ("{\"text\": ", "not_json"),
        ("{\"text\": \"\\ud800\"}", "not_json"),
        ("{\"title\": \"T\"}", "missing"),
        ("{\"prompt\": \"Q\"}", "missing"),
        ("{\"text\": \" \"}", "blank"),
        ("{\"prompt\": \"\", \"response\": \"A\"}", "blank"),
        ("{\"messages\": []}", "wrong_type"),
        ("{\"messages\": [{\"role\": \"user\"}]}", "wrong_type"),
        ("{\"messages\": [{\"role\": \"pope\", \"content\": \"Q\"}]}", "unknown_role"),
    ];
    for (line, word) in cases {
        assert_eq!(
            jsonl(&format!("{line}\n{{\"text\": \"T\"}}")),
            [format!("1! {word}"), r#"2: {"text":"T"}"#.to_owned()]
        );
    }
    let bytes = b"{\"text\": \"\xff\"}\n{\"text\": \"T\"}";
    let found = told(JsonlReader::new(&bytes[..], Mapping::Auto, small()));
    assert_eq!(found, ["1! not_utf8", r#"2: {"text":"T"}"#]);
    let deep = format!("{}\n{{\"text\": \"T\"}}", "[".repeat(180));
    assert_eq!(jsonl(&deep), ["1! not_json", r#"2: {"text":"T"}"#]);
    let error = JsonlReader::new(&b"{\"a\" 1}"[..], Mapping::Auto, small()).next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "line 1: not JSON: expected `:` (byte 6)");
}

#[test]
fn bounds_hold_for_lines_items_counts_and_errors() {
    let long = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"T\"}}\n", "x".repeat(5_000));
    assert_eq!(jsonl(&long), ["1! line_too_long", r#"2: {"text":"T"}"#]);
    let large = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"T\"}}\n", "x".repeat(150));
    assert_eq!(jsonl(&large), ["1! item_too_large", r#"2: {"text":"T"}"#]);
    let many = "{\"text\": \"T\"}\n".repeat(9);
    assert_eq!(jsonl(&many).last().unwrap(), "6! too_many_items");
    assert_eq!(jsonl(&many).len(), 6);
    let bad = "?\n".repeat(9);
    assert_eq!(jsonl(&bad), ["1! not_json", "2! not_json", "3! not_json", "4! not_json", "5! too_many_errors"]);
}

#[test]
fn csv_is_read_with_its_quotes_and_line_numbers() {
    let file = "\u{feff}id,question,answer\r\n\
                1,\"Who owns a wreck, then?\",\"Its \"\"owner\"\"\"\r\n\
                2,\"two\nlines\",A\r\n\
                3,Q,A\r\n";
    assert_eq!(
        csv(file),
        [
            r#"2: {"pair":{"prompt":"Who owns a wreck, then?","response":"Its \"owner\""}}"#,
            r#"3: {"pair":{"prompt":"two\nlines","response":"A"}}"#,
            r#"5: {"pair":{"prompt":"Q","response":"A"}}"#,
        ]
    );
    assert_eq!(csv("text\nA light.\nAnother."), [r#"2: {"text":"A light."}"#, r#"3: {"text":"Another."}"#]);
}

#[test]
fn what_is_wrong_with_csv_is_said() {
    assert_eq!(csv("a,b\n1,2\n3,4\n"), ["1! missing"], "without columns nothing more is read");
    assert_eq!(csv(""), Vec::<String>::new());
    assert_eq!(csv("text,more\nT,1\n"), [r#"2: {"text":"T"}"#]);
    assert_eq!(csv("more,text\n1\n2,T\n"), ["2! missing", r#"3: {"text":"T"}"#]);
    assert_eq!(csv("text\n\" \"\nT\n"), ["2! blank", r#"3: {"text":"T"}"#]);
    let open = format!("text\n\"{}", "never closed\n".repeat(1_000));
    assert_eq!(csv(&open), ["2! line_too_long"]);
    let wide = format!("text\nT{}\nU\n", ",".repeat(2_000));
    let roomy = Limits { line_bytes_max: 10_000, ..small() };
    assert_eq!(
        told(CsvReader::new(wide.as_bytes(), Mapping::Auto, roomy)),
        ["2! too_many_fields", r#"3: {"text":"U"}"#]
    );
    let talk = Mapping::Messages { messages: "m".into() };
    assert_eq!(told(CsvReader::new(&b"m\n1\n"[..], talk, small())), ["1! unmappable"]);
}

#[test]
fn text_is_cut_at_blank_lines_or_taken_whole() {
    let file = "\r\n\r\nFirst line  \r\nsecond line\r\n\r\n \r\nThird.\r\n";
    let read = |unit| told(TextReader::new(file.as_bytes(), unit, small()));
    assert_eq!(read(TextUnit::Paragraph), [r#"3: {"text":"First line\nsecond line"}"#, r#"7: {"text":"Third."}"#]);
    assert_eq!(read(TextUnit::Whole), [r#"3: {"text":"First line\nsecond line\n\n\nThird."}"#]);
    let bad = b"good\n\nb\xffd\nstill bad\n\ngood".as_slice();
    assert_eq!(
        told(TextReader::new(bad, TextUnit::Paragraph, small())),
        [r#"1: {"text":"good"}"#, "3! not_utf8", r#"6: {"text":"good"}"#]
    );
    let large = format!("{}\n\nT", "many words\n".repeat(50));
    assert_eq!(
        told(TextReader::new(large.as_bytes(), TextUnit::Paragraph, small())),
        ["1! item_too_large", r#"53: {"text":"T"}"#]
    );
    let gap = format!("A{}B", "\n".repeat(5_000));
    assert_eq!(told(TextReader::new(gap.as_bytes(), TextUnit::Whole, small())), ["1! item_too_large"]);
}

/// Gives bytes in small pieces, then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::other("the disk is gone"));
        }
        self.0 -= 1;
        buffer[..2].copy_from_slice(b"T\n");
        Ok(2)
    }
}

#[test]
fn a_disk_that_fails_ends_the_reading() {
    let text = told(TextReader::new(BufReader::new(Failing(1)), TextUnit::Paragraph, small()));
    assert_eq!(text, ["2! io"]);
    assert_eq!(told(JsonlReader::new(BufReader::new(Failing(0)), Mapping::Auto, small())), ["1! io"]);
    assert_eq!(told(CsvReader::new(BufReader::new(Failing(0)), Mapping::Auto, small())), ["1! io"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn hostile_bytes_end_within_bounds(
        bytes in proptest::collection::vec(prop_oneof![
            Just(b'"'), Just(b'\n'), Just(b'\r'), Just(b','), Just(b'{'), Just(b'}'), Just(b':'), Just(b't'), any::<u8>()
        ], 0..2_000),
        piece in 1usize..64,
    ) {
        let most = usize::try_from(small().items_max + small().errors_max + 2).unwrap();
        let input = || BufReader::with_capacity(piece, bytes.as_slice());
        prop_assert!(JsonlReader::new(input(), Mapping::Auto, small()).count() <= most);
        prop_assert!(CsvReader::new(input(), Mapping::Auto, small()).count() <= most);
        prop_assert!(CsvReader::new(BufReader::with_capacity(piece, [b"text\n".as_slice(), &bytes].concat().as_slice()), Mapping::Auto, small()).count() <= most);
        for unit in [TextUnit::Paragraph, TextUnit::Whole] {
            prop_assert!(TextReader::new(input(), unit, small()).count() <= most);
        }
    }

    #[test]
    fn what_is_written_is_read_whatever_the_pieces(said in proptest::collection::vec("[a-z \"\\\\\n,é]{0,20}x", 1..5), piece in 1usize..40) {
        let file: String = said.iter().map(|one| serde_json::json!({"text": one}).to_string() + "\n").collect();
        let input = BufReader::with_capacity(piece, file.as_bytes());
        let found: Vec<Item> = JsonlReader::new(input, Mapping::Auto, small()).map(|row| row.unwrap().item).collect();
        prop_assert_eq!(&found, &said.iter().map(|one| text(one)).collect::<Vec<_>>());
        let quoted = |one: &String| format!("\"{}\"\r\n", one.replace('"', "\"\""));
        let file = format!("text\r\n{}", said.iter().map(quoted).collect::<String>());
        let input = BufReader::with_capacity(piece, file.as_bytes());
        let found: Vec<Item> = CsvReader::new(input, Mapping::Auto, small()).map(|row| row.unwrap().item).collect();
        prop_assert_eq!(found, said.iter().map(|one| text(one)).collect::<Vec<_>>());
    }
}
