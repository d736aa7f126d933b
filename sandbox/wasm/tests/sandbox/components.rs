//! Components that were not made by a friendly compiler.

use std::sync::Arc;

use agora_sandbox_api::{AgentError, Program, Sandbox as _};
use agora_sandbox_wasm::{Settings, WasmSandbox};
use agora_types::Code;

use super::host::FakeHost;
use super::{component, manifest, message, sandbox};

fn load(bytes: &[u8]) -> Result<Arc<dyn Program>, AgentError> {
    let mut manifest = manifest("hostile");
    manifest.serve = None;
    sandbox().load(bytes, &manifest)
}

fn refused(bytes: &[u8], words: &str) {
    let Err(error) = load(bytes) else { panic!("it was loaded") };
    assert_eq!(error.code, Code::AgentBadComponent, "{error}");
    assert!(error.what.contains(words), "{error}");
}

/// A component around this core module, which exports `mem` and `handle`; it sells when it has a `serve`.
fn around(module: &str, more: &str) -> Vec<u8> {
    joined("", module, "", more)
}

/// As [`around`], with something before the module and arguments to instantiate it with.
fn joined(before: &str, module: &str, with: &str, more: &str) -> Vec<u8> {
    let imports = if with.is_empty() { "" } else { r#"(import "own" "new" (func $new (param i32) (result i32)))"# };
    let text = format!(
        r#"(component
            (type $event' (record (field "id" string) (field "kind" string) (field "payload" (list u8))))
            (export $event "event" (type $event'))
            {before}
            (core module $m
                {imports}
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
                {module})
            (core instance $i (instantiate $m {with}))
            (func $h (param "event" $event) (result (result (list u8) (error string)))
                (canon lift (core func $i "handle") (memory $i "mem") (realloc (func $i "realloc"))))
            (export "handle" (func $h))
            {more})"#
    );
    wat::parse_str(text).expect("a component")
}

const HANDLE: &str = r#"(func (export "handle") (param i32 i32 i32 i32 i32 i32) (result i32)"#;

async fn run(module: &str) -> AgentError {
    let program = load(&around(module, "")).expect("a component of this world");
    program.handle(message(""), Arc::new(FakeHost::new())).await.expect_err("it misbehaves")
}

#[test]
fn garbage_is_refused() {
    refused(b"", "");
    refused(b"#!/bin/sh", "");
    refused(&[0; 4096], "");
    refused(&wat::parse_str("(module)").expect("a module"), "a core module");
    refused(&wat::parse_str("(component)").expect("a component"), "handle");
}

#[test]
fn a_truncated_or_changed_component_is_refused_or_loads_and_never_panics() {
    let whole = component("hostile");
    for part in 1..16 {
        let cut = whole.len() * part / 16;
        assert!(load(&whole[..cut]).is_err(), "{cut} bytes of {}", whole.len());
    }
    // Each changed byte of the first 64 and of some later places.
    for at in (0..64).chain((64..whole.len()).step_by(whole.len() / 16)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        let _ = load(&changed);
    }
}

#[test]
fn a_component_over_the_size_limit_is_refused_unread() {
    let sandbox = WasmSandbox::new(Settings { component_size_max: 1_000, ..Settings::default() }).expect("a sandbox");
    let Err(error) = sandbox.load(&component("hostile"), &manifest("hostile")) else { panic!("it was loaded") };
    assert_eq!(error.code, Code::AgentTooLarge, "{error}");
}

#[test]
fn components_that_expand_are_refused_before_they_are_compiled() {
    let deep = (0..6).fold(String::new(), |inner, _| format!("(component {inner})"));
    refused(&wat::parse_str(deep).expect("a component"), "deep");
    let wide = format!("(component {})", "(core module)".repeat(300));
    refused(&wat::parse_str(wide).expect("a component"), "more than 256 modules");
}

#[tokio::test]
async fn memory_that_is_there_from_the_start_counts() {
    // 257 pages are 64 KiB over 16 MiB; so are two memories of 129.
    for module in [
        format!("(memory (export \"mem\") 257) {HANDLE} unreachable)"),
        format!("(memory (export \"mem\") 129) (memory 129) {HANDLE} unreachable)"),
    ] {
        let error = run(&module).await;
        assert_eq!(error.code, Code::AgentOutOfMemory, "{error}");
    }
}

#[tokio::test]
async fn tables_do_not_grow_without_end() {
    let grow = "(loop $l (drop (table.grow $t (ref.null func) (i32.const 65536))) (br $l)) unreachable";
    let error = run(&format!("(memory (export \"mem\") 1) (table $t 1 funcref) {HANDLE} {grow})")).await;
    assert_eq!(error.code, Code::AgentOutOfMemory, "{error}");
    let error = run(&format!("(memory (export \"mem\") 1) (table 100000000 funcref) {HANDLE} unreachable)")).await;
    assert_eq!(error.code, Code::AgentOutOfMemory, "{error}");
}

#[tokio::test]
async fn handles_of_the_guests_own_do_not_grow_without_end() {
    let own = "(type $r (resource (rep i32))) (core func $new (canon resource.new $r))";
    let with = r#"(with "own" (instance (export "new" (func $new))))"#;
    let text =
        format!("(memory (export \"mem\") 1) {HANDLE} (loop $l (drop (call $new (i32.const 1))) (br $l)) unreachable)");
    let module = joined(own, &text, with, "");
    let program = load(&module).expect("a component of this world");
    let error = program.handle(message(""), Arc::new(FakeHost::new())).await.expect_err("it misbehaves");
    assert_eq!(error.code, Code::AgentTrapped, "{error}");
}

#[tokio::test]
async fn a_loop_before_the_first_event_is_interrupted() {
    let start = "(memory (export \"mem\") 1) (func $s (loop $l (br $l))) (start $s)";
    let error = run(&format!("{start} {HANDLE} unreachable)")).await;
    assert_eq!(error.code, Code::AgentOutOfTime, "{error}");
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    // What address 8 holds: zeros.
    let module = format!("(memory (export \"mem\") 1) {HANDLE} (i32.const 8))");
    let program = load(&around(&module, "")).expect("a component of this world");
    let answer = program.handle(message(""), Arc::new(FakeHost::new())).await.expect("an empty answer");
    assert!(answer.is_empty());
}

#[tokio::test]
async fn an_answer_that_points_outside_is_a_trap() {
    for pointer in ["-1", "65533", "3"] {
        let error = run(&format!("(memory (export \"mem\") 1) {HANDLE} (i32.const {pointer}))")).await;
        assert_eq!(error.code, Code::AgentTrapped, "{error}");
    }
    // A list of 4 GiB at address 8.
    let list = r#"(data (i32.const 8) "\00\00\00\00\08\00\00\00\ff\ff\ff\ff")"#;
    let error = run(&format!("(memory (export \"mem\") 1) {list} {HANDLE} (i32.const 8))")).await;
    assert!([Code::AgentTrapped, Code::AgentTooLarge].contains(&error.code), "{error}");
}

/// A component with a `serve` that takes and gives these records.
fn serving(request: &str, response: &str) -> Vec<u8> {
    // A text or a list is a pointer and a length.
    let flat = " i32 i32".repeat(request.matches("(field ").count());
    let module = format!(
        "(memory (export \"mem\") 1) {HANDLE} unreachable) \
         (func (export \"serve\") (param{flat}) (result i32) unreachable)"
    );
    let more = format!(
        r#"(type $request' (record {request})) (export $request "request" (type $request'))
        (type $response' (record {response})) (export $response "response" (type $response'))
        (func $s (param "request" $request) (result (result $response (error string)))
            (canon lift (core func $i "serve") (memory $i "mem") (realloc (func $i "realloc"))))
        (export "serve" (func $s))"#
    );
    around(&module, &more)
}

const REQUEST: &str = r#"(field "id" string) (field "payer" string) (field "price-paid" string) (field "method" string)
    (field "path" string) (field "query" string) (field "content-type" string) (field "body" (list u8))"#;
const RESPONSE: &str = r#"(field "status" u16) (field "content-type" string) (field "body" (list u8))"#;

#[test]
fn a_component_that_serves_sells() {
    let plain = around(&format!("(memory (export \"mem\") 1) {HANDLE} unreachable)"), "");
    assert!(!load(&plain).expect("an agent").sells());
    assert!(sandbox().load(&serving(REQUEST, RESPONSE), &manifest("hostile")).expect("a seller").sells());
    // A component may serve and its manifest sell nothing.
    assert!(load(&serving(REQUEST, RESPONSE)).expect("a seller").sells());
}

#[test]
fn a_manifest_that_sells_what_the_component_does_not_serve_is_refused() {
    let plain = around(&format!("(memory (export \"mem\") 1) {HANDLE} unreachable)"), "");
    let Err(error) = sandbox().load(&plain, &manifest("hostile")) else { panic!("it was loaded") };
    assert_eq!(error.code, Code::AgentBadComponent, "{error}");
    assert!(error.what.contains("agent.toml has [serve], and the component exports no `serve`"), "{error}");
}

#[test]
fn a_serve_of_another_shape_is_no_serve_of_this_world() {
    let narrow = RESPONSE.replace("u16", "u8");
    let short = REQUEST.replace(r#"(field "query" string)"#, "");
    for (request, response) in [(REQUEST, narrow.as_str()), (&short, RESPONSE)] {
        refused(&serving(request, response), "serve");
    }
}
