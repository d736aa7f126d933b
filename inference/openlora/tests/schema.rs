//! Answers by a JSON schema, on the real model and on a tiny one whose tokens are bytes.

mod support;

use std::time::Instant;

use agora_inference_api::{Ending, Engine as _, Request, Sampling};
use agora_openlora::{OpenLora, Settings};
use agora_types::Code;
use serde_json::{Value, json};
use support::tiny::Tiny;
use support::{Random, Whole, answer, engine, read, start};

fn ask(question: &str, schema: &Value, output_max: u64) -> Request {
    Request { schema: Some(schema.to_string()), ..Request::ask(question, output_max) }
}

/// The document of a whole answer, which is one of its schema.
fn document(whole: &Whole, schema: &Value) -> Value {
    assert_eq!(whole.ending, Ending::Stop, "{}", whole.text);
    let document: Value = serde_json::from_str(&whole.text).unwrap_or_else(|error| panic!("{error}: {}", whole.text));
    let validator = jsonschema::validator_for(schema).unwrap();
    if let Err(error) = validator.validate(&document) {
        panic!("{error}: {document}");
    }
    document
}

fn tiny() -> OpenLora {
    Tiny::new(1).engine(Settings { threads: 1, context_max: 256, ..Settings::default() })
}

fn refusal(engine: &OpenLora, schema: &str) -> String {
    let request = Request { schema: Some(schema.to_owned()), ..Request::ask("hi", 8) };
    let error = engine.count(&request).expect_err(schema);
    assert_eq!(error.code, Code::EngineBadRequest, "{error}");
    assert!(error.what.len() < 200, "{error}");
    error.what
}

#[test]
fn the_real_model_answers_with_documents_of_the_schema() {
    let engine = engine();
    let person = json!({"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "mood": {"enum": ["glad", "sad", "tired"]},
        "pets": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 1, "maxItems": 3},
    }, "required": ["name", "age", "mood", "pets"], "additionalProperties": false});
    let choice = json!({"anyOf": [{"type": "object", "properties": {"error": {"type": "string", "maxLength": 30}},
        "required": ["error"], "additionalProperties": false}, {"type": "array", "items": {"type": "number"}, "maxItems": 4}]});
    let node = json!({"$defs": {"node": {"type": "object", "properties": {"value": {"type": "boolean"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["value", "next"],
        "additionalProperties": false}}, "$ref": "#/$defs/node"});
    let cases = [
        ("Describe a person.", &person),
        ("Give me some numbers.", &choice),
        ("Is the sky blue?", &json!({"type": "boolean"})),
        ("Pick one.", &json!({"enum": ["red", 7, null]})),
        (
            "When?",
            &json!({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}, "required": ["day"],
            "additionalProperties": false}),
        ),
        ("A code, please.", &json!({"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2}$"})),
    ];
    for (question, schema) in cases {
        for seed in 0..3 {
            let hot = Sampling { temperature_milli: 1_200 * u32::from(seed > 0), seed, ..Sampling::default() };
            let request = Request { sampling: hot, ..ask(question, schema, 400) };
            document(&answer(engine, request, None), schema);
        }
    }
    // It may go on as long as it likes: a document of it or the beginning of one.
    for seed in 0..3 {
        let hot = Sampling { temperature_milli: 1_000, seed, ..Sampling::default() };
        let whole = answer(engine, Request { sampling: hot, ..ask("A list of truths.", &node, 60) }, None);
        if whole.ending == Ending::Stop {
            document(&whole, &node);
        } else {
            assert_eq!((whole.ending, whole.tokens), (Ending::Length, 60));
        }
    }
}

#[test]
fn fields_stand_in_the_order_of_the_schema() {
    let fields = ["zebra", "apple", "mango"].map(|name| (name.to_owned(), json!({"type": "boolean"})));
    let schema = json!({"type": "object", "properties": Value::Object(fields.into_iter().collect()),
        "required": ["zebra", "apple", "mango"], "additionalProperties": false});
    let whole = answer(engine(), ask("Say anything.", &schema, 100), None);
    let document = document(&whole, &schema);
    assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["zebra", "apple", "mango"]);
}

#[test]
fn an_answer_by_a_schema_is_the_same_alone_and_in_company() {
    let engine = engine();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 15},
        "people": {"type": "integer"}}, "required": ["city", "people"], "additionalProperties": false});
    let hot = Sampling { temperature_milli: 900, top_p_milli: 900, seed: 5, ..Sampling::default() };
    let penalty = Sampling { repetition_milli: 1_300, min_p_milli: 20, ..hot };
    let requests = [
        ask("Name a city.", &schema, 60),
        Request { sampling: hot, logprobs: Some(3), ..ask("Name a city.", &schema, 60) },
        Request { sampling: penalty, ..ask("Another one?", &schema, 60) },
        Request { sampling: penalty, logprobs: Some(0), ..Request::ask("Tell me of the sea.", 20) },
    ];
    let alone: Vec<_> = requests.iter().map(|request| answer(engine, request.clone(), None)).collect();
    let streams: Vec<_> = requests.iter().map(|request| start(engine, request.clone(), None)).collect();
    let together: Vec<_> = streams.into_iter().map(|stream| read(stream).unwrap()).collect();
    assert_eq!(together, alone);
    assert_eq!(alone[0].likelihoods.len(), 0);
    assert_eq!(alone[3].likelihoods.len(), alone[3].tokens);
}

#[test]
fn likelihoods_tell_what_the_model_held_likely_whatever_was_chosen() {
    let engine = engine();
    let request = Request { logprobs: Some(20), ..Request::ask("The capital of France is", 12) };
    let whole = answer(engine, request, None);
    assert_eq!(whole.likelihoods.len(), whole.tokens);
    for told in &whole.likelihoods {
        assert_eq!(told.top.len(), 20);
        assert!(told.top.is_sorted_by_key(|other| other.nats_micro), "the likeliest first");
        assert_eq!(told.chosen, told.top[0], "greedy");
        let sum: f64 = told.top.iter().map(|other| (-f64::from(other.nats_micro) / 1e6).exp()).sum();
        assert!((0.1..1.000_1).contains(&sum), "{sum}");
    }
    let bytes: Vec<u8> = whole.likelihoods.iter().flat_map(|told| told.chosen.token.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), whole.text);
    // A schema forces what the model holds unlikely, and the likelihood says so.
    let forced = Request { logprobs: Some(1), ..ask("The capital of France is", &json!({"const": 42}), 12) };
    let whole = answer(engine, forced, None);
    assert_eq!(whole.text, "42");
    assert!(whole.likelihoods[0].chosen.nats_micro > 2_000_000, "{:?}", whole.likelihoods[0]);
}

#[test]
fn a_model_of_single_bytes_never_breaks_a_character() {
    let engine = tiny();
    let schema = json!({"type": "string", "minLength": 3, "maxLength": 6});
    for seed in 0..40 {
        // Random weights choose wild bytes: only the mask keeps them in order.
        let hot = Sampling { temperature_milli: 10_000, seed, ..Sampling::default() };
        let whole = answer(&engine, Request { sampling: hot, ..ask("hi", &schema, 100) }, None);
        let Value::String(text) = document(&whole, &schema) else { panic!("{}", whole.text) };
        assert!(!text.contains(char::REPLACEMENT_CHARACTER) && (3..=6).contains(&text.chars().count()), "{text}");
    }
    let words = json!({"enum": ["🦀", "é", "日本"]});
    for seed in 0..10 {
        let hot = Sampling { temperature_milli: 2_000, seed, ..Sampling::default() };
        document(&answer(&engine, Request { sampling: hot, ..ask("hi", &words, 100) }, None), &words);
    }
}

#[test]
fn output_max_and_stop_strings_cut_a_document_like_any_answer() {
    let engine = tiny();
    let schema = json!({"const": "one two three"});
    let whole = answer(&engine, ask("hi", &schema, 100), None);
    assert_eq!((whole.text.as_str(), whole.ending), ("\"one two three\"", Ending::Stop));
    let cut = answer(&engine, ask("hi", &schema, 5), None);
    assert_eq!((cut.text.as_str(), cut.ending), ("\"one ", Ending::Length));
    let stopped = answer(&engine, Request { stops: vec!["two".to_owned()], ..ask("hi", &schema, 100) }, None);
    assert_eq!((stopped.text.as_str(), stopped.ending), ("\"one ", Ending::StopString));
    // A stop string that begins at the document's end is never reached: what waited for it is shown.
    let waits = answer(&engine, Request { stops: vec!["\"!".to_owned()], ..ask("hi", &schema, 100) }, None);
    assert_eq!((waits.text, waits.ending), (whole.text, Ending::Stop));
}

#[test]
fn white_space_between_the_parts_is_bounded() {
    let engine = tiny();
    let schema = json!({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 2});
    for seed in 0..20 {
        let hot = Sampling { temperature_milli: 10_000, seed, ..Sampling::default() };
        let whole = answer(&engine, Request { sampling: hot, ..ask("hi", &schema, 250) }, None);
        document(&whole, &schema);
    }
}

#[test]
fn bad_schemas_are_refused_with_a_reason() {
    let engine = tiny();
    let deep = |levels: usize| {
        let (open, close) = (r#"{"properties":{"a":"#.repeat(levels), "}}".repeat(levels));
        format!("{open}{{\"type\":\"null\"}}{close}")
    };
    let arrays = format!("{}{}", "[".repeat(4_000), "]".repeat(4_000));
    let groups = |count: usize| {
        let group = |at: usize| json!({"anyOf": (0..10).map(|n| json!({"minLength": at + n})).collect::<Vec<_>>()});
        json!({"allOf": (0..count).map(group).collect::<Vec<_>>()}).to_string()
    };
    let cases = [
        ("", "JSON"),
        ("{", "JSON"),
        ("nonsense", "JSON"),
        (&arrays, "JSON"),
        ("[]", "an object"),
        ("true", "an object"),
        ("5", "an object"),
        (&deep(40), "levels"),
        (&deep(100), "JSON"),
        (&groups(20), "combinations"),
        (r#"{"$ref":"http://example.com/schema.json"}"#, "$ref"),
        (r#"{"$ref":"file:///etc/passwd"}"#, "$ref"),
        (r#"{"$ref":"other.json#/a"}"#, "$ref"),
        (r##"{"$ref":"#/$defs/none"}"##, "$ref"),
        (r#"{"$ref":5}"#, "$ref"),
        (r##"{"$ref":"#"}"##, ""),
        (r##"{"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"}"##, ""),
        (
            r##"{"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}},"$ref":"#/$defs/a"}"##,
            "contains itself",
        ),
        (r#"{"type":"string","pattern":"("}"#, ""),
        (r#"{"type":"string","pattern":"(?=a)b"}"#, ""),
        (r#"{"type":"string","pattern":"((((a{100}){100}){100}){100}){100}"}"#, ""),
        (r#"{"type":"string","minLength":5,"maxLength":2}"#, ""),
        (r#"{"type":"string","maxLength":1000000000}"#, "maxLength"),
        (r#"{"type":"array","minItems":-1}"#, "minItems"),
        (r#"{"type":"array","uniqueItems":true}"#, "uniqueItems"),
        (r#"{"not":{}}"#, "not"),
        (r#"{"type":"thing"}"#, ""),
        (r#"{"type":7}"#, ""),
        (r#"{"enum":[]}"#, ""),
        (r#"{"enum":5}"#, ""),
        (r#"{"properties":[]}"#, ""),
        (r#"{"allOf":{}}"#, ""),
        (r#"{"minimum":"x"}"#, ""),
        (r#"{"type":"integer","minimum":5,"maximum":4}"#, ""),
        (r#"{"$schema":"http://example.com/mine"}"#, ""),
        ("false", "an object"),
    ];
    for (schema, word) in cases {
        let begun = Instant::now();
        // Those without a word may also be served: what matters is that nothing breaks.
        if word.is_empty() {
            let request = Request { schema: Some(schema.to_owned()), ..Request::ask("hi", 8) };
            match engine.count(&request) {
                Err(error) => assert_eq!(error.code, Code::EngineBadRequest, "{schema}: {error}"),
                Ok(_) => drop(read(start(&engine, request, None))),
            }
        } else if !schema.is_empty() {
            let what = refusal(&engine, schema);
            assert!(what.contains(word), "{schema}: {what}");
        }
        assert!(begun.elapsed().as_secs() < 5, "{schema} took {:?}", begun.elapsed());
    }
    // The engine is as well as before.
    assert_eq!(answer(&engine, ask("hi", &json!({"const": true}), 9), None).text, "true");
}

#[test]
fn options_of_the_library_inside_a_schema_are_not_the_buyers() {
    let engine = tiny();
    let schema =
        json!({"x-guidance": {"whitespace_flexible": false, "lenient": true}, "type": "array", "uniqueItems": true});
    assert!(refusal(&engine, &schema.to_string()).contains("uniqueItems"));
}

#[test]
fn heavy_schemas_are_served_or_refused_in_bounded_time() {
    let engine = engine();
    let words: Vec<String> = (0..900).map(|at| format!("word{at}")).collect();
    let fields: serde_json::Map<String, Value> =
        (0..300).map(|at| (format!("f{at}"), json!({"type": "null"}))).collect();
    let patterns: serde_json::Map<String, Value> =
        (0..16).map(|at| (format!("^(a|b|ab)*{at}(c|d){{1,50}}$"), json!({}))).collect();
    let unions: Vec<Value> = (0..120).map(|at| json!({"type": "object", "properties": {"k": {"const": at}}})).collect();
    let cases = [
        json!({"enum": words}),
        json!({"type": "object", "properties": fields}),
        json!({"type": "object", "patternProperties": patterns, "additionalProperties": false}),
        json!({"oneOf": unions}),
        json!({"anyOf": unions}),
        json!({"type": "string", "pattern": "^(a|b|ab)*c(a|b|ab){0,500}$"}),
        json!({"type": "string", "pattern": "(.*a.{30}){20}"}),
        json!({"type": "string", "pattern": "^((((x{1,40}){1,40}){1,40}){1,40})$"}),
        json!({"type": "string", "minLength": 4_000, "maxLength": 4_096}),
        json!({"type": "array", "items": {"type": "string", "pattern": "^.{1,100}b$"}, "minItems": 4_096}),
        json!({"type": "number", "multipleOf": 1.234_567_8e-9}),
        json!({"type": "integer", "multipleOf": 999_999_937}),
        json!({"type": "number", "minimum": -1.797_693_134_862_315_7e308, "maximum": 1e-300}),
        json!({"type": "integer", "minimum": 9_007_199_254_740_991_i64}),
        json!({"type": "array", "prefixItems": vec![json!({"enum": ["a", "aa", "aaa"]}); 300]}),
        json!({"anyOf": vec![json!({"type": "array", "items": {"type": "string"}}); 300]}),
        json!({"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {}}}),
        json!({"type": "string", "format": "email"}),
        json!({}),
    ];
    for schema in cases {
        let name: String = schema.to_string().chars().take(90).collect();
        let begun = Instant::now();
        let hot = Sampling { temperature_milli: 1_500, seed: 1, ..Sampling::default() };
        let request = Request { sampling: hot, ..ask("Go on.", &schema, 24) };
        let counted = engine.count(&request);
        let compiled = begun.elapsed();
        let begun = Instant::now();
        let ended = counted.and_then(|_| read(start(engine, request, None))).map(|whole| whole.text);
        println!("{name}: compiled in {compiled:.2?}, answered in {:.2?}: {ended:?}", begun.elapsed());
        if let Err(error) = ended {
            assert_eq!(error.code, Code::EngineBadRequest, "{name}");
        }
        assert!(compiled.as_secs_f64() < 5.0 && begun.elapsed().as_secs() < 20, "{name}");
    }
}

#[test]
fn schemas_from_a_seed_are_answered_with_their_documents_or_refused() {
    let engine = tiny();
    let seed = 77;
    let mut random = Random(seed);
    let (mut served, mut cut, mut refused) = (0, 0, 0);
    for round in 0..300 {
        let schema = wild(&mut random, 3);
        let hot = Sampling { temperature_milli: 1_000, seed: round, ..Sampling::default() };
        let request = Request { sampling: hot, ..ask("hi", &schema, 200) };
        if let Err(error) = engine.count(&request) {
            assert_eq!(error.code, Code::EngineBadRequest);
            refused += 1;
            continue;
        }
        let whole =
            read(start(&engine, request, None)).unwrap_or_else(|error| panic!("seed {seed}: {error}: {schema}"));
        if whole.ending == Ending::Stop {
            document(&whole, &schema);
            served += 1;
        } else {
            cut += 1;
        }
    }
    println!("seed {seed}: {served} served, {cut} cut, {refused} refused");
    assert!(served > 100, "{served} served, {cut} cut, {refused} refused");
}

/// A schema from a seed, at most `depth` deep.
fn wild(random: &mut Random, depth: usize) -> Value {
    let count = 1 + random.below(3);
    match random.below(if depth == 0 { 5 } else { 9 }) {
        0 => json!({"type": "string", "maxLength": random.below(8)}),
        1 => json!({"type": "integer", "minimum": random.below(90), "maximum": 99}),
        2 => json!({"enum": json!(["a", 1, null, "é", false]).as_array().unwrap()[..count]}),
        3 => json!({"type": "boolean"}),
        4 => json!({"type": ["null", "string"], "pattern": "^[a-f]{2,4}$"}),
        5 => json!({"type": "array", "items": wild(random, depth - 1), "minItems": random.below(2), "maxItems": count}),
        6 => json!({"anyOf": (0..count).map(|_| wild(random, depth - 1)).collect::<Vec<_>>()}),
        7 => json!({"allOf": [wild(random, depth - 1), wild(random, depth - 1)]}),
        _ => {
            let fields: serde_json::Map<String, Value> =
                (0..count).map(|at| (format!("f{at}"), wild(random, depth - 1))).collect();
            json!({"type": "object", "properties": fields, "required": ["f0"], "additionalProperties": false})
        }
    }
}
