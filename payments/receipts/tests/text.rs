//! A receipt reads as people need it: who, what, how much, to whom, and what was not measured.

mod samples;

use agora_receipts::*;
use agora_types::Amount;
use samples::*;

#[test]
fn both_receipts_of_a_call_read_as_one_text() {
    let (first, last) = (settled(), finished());
    let text = CallText { provisional: (PROVISIONAL, &first), last: Some((FINAL, &last)) }.to_string();
    golden_text("call.txt", &(text + "\n"));
    let waiting = CallText { provisional: (PROVISIONAL, &first), last: None }.to_string();
    assert!(waiting.contains("no final receipt yet"), "{waiting}");
}

#[test]
fn one_receipt_reads_alone() {
    golden_text("service.txt", &(service().to_string() + "\n"));
    let text = last().to_string();
    for part in ["final, for provisional receipt 5", "asked by", "base model", "adapter", "= 30 x 0.000000001 + 100 x"]
    {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn declared_weights_are_said_to_be_unmeasured_wherever_they_stand() {
    let text = last().to_string();
    assert_eq!(text.matches("declared, not measured").count(), 3, "two legs and the method:\n{text}");
    let mut measured = last();
    measured.attribution.method = "nnls-v1".into();
    measured.attribution.explained = (1 << 32) / 1_000 * 325;
    measured.attribution.residual = (1 << 32) - measured.attribution.explained;
    let text = measured.to_string();
    assert!(!text.contains("declared") && text.contains("nnls-v1, explains 32.4 % (an estimate)"), "{text}");
}

#[test]
fn a_hosts_words_cannot_steer_a_terminal() {
    let mut receipt = provisional();
    receipt.attribution.method = "\u{1b}[2J\nok".into();
    let text = receipt.to_string();
    assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2J\\nok"), "{text}");
}

#[test]
fn a_free_call_and_a_sampled_one_read_well() {
    let mut receipt = provisional();
    receipt.usage = Usage::default();
    receipt.charge = Amount::ZERO;
    receipt.legs.clear();
    receipt.decoding = receipt.decoding.map(|d| Decoding { temperature_milli: 700, top_k: 40, top_p_milli: 950, ..d });
    let text = receipt.to_string();
    assert!(text.contains("charge       0 OPEN\n") && text.contains("  nothing"), "{text}");
    assert!(text.contains("temperature 0.700, top-p 0.950, top-k 40, seed 0, at most 128 tokens"), "{text}");
    receipt.decoding =
        receipt.decoding.map(|d| Decoding { min_p_milli: 50, repetition_milli: 1_100, hidden_max: 40, ..d });
    let text = receipt.to_string();
    assert!(
        text.contains("top-k 40, min-p 0.050, seed 0, repetition penalty 1.100, at most 128 tokens and 40 hidden"),
        "{text}"
    );
}
