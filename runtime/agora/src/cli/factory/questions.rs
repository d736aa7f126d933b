//! Questions that an adapter or its base model is asked, to see how much of the answers the data explains.

use agora_inference_api::{Engine as _, Job, Piece, Request};
use agora_influence::{Asked, tokens_of};
use agora_openlora::OpenLora;
use agora_openlora::weights::Weights;
use agora_shell::{Failure, Outcome};
use agora_types::{Canonical as _, Hash};
use futures::executor::block_on;

use super::engine_failure;

/// Tokens of an answer for calibration.
const TOKENS: u64 = 48;

/// Asks each question; the likeliest answers, in tokens.
pub(super) fn answered(
    engine: &OpenLora,
    weights: &Weights,
    questions: &[&str],
    adapter: Option<Hash>,
) -> Outcome<Vec<Asked>> {
    let each = questions.iter().map(|question| one(engine, weights, (question, TOKENS), adapter));
    // An answer of nothing explains nothing, and is passed over.
    each.filter(|asked| !matches!(asked, Ok((text, _)) if text.trim().is_empty()))
        .map(|asked| asked.map(|(_, asked)| asked))
        .collect()
}

/// Asks one question; the answer as text and in tokens.
pub(super) fn one(
    engine: &OpenLora,
    weights: &Weights,
    (question, tokens): (&str, u64),
    adapter: Option<Hash>,
) -> Outcome<(String, Asked)> {
    let prompt = weights.prompt(&Request::ask(question, 1)).map_err(engine_failure)?.len();
    let room = weights.shape().context.saturating_sub(prompt);
    let request = Request::ask(question, tokens.min(room as u64).max(1));
    let job = Job { adapter, ..Job::new(request.clone(), weights.shape().context) };
    let mut stream = engine.start(job).map_err(engine_failure)?;
    let mut text = String::new();
    while let Some(piece) = block_on(stream.next()).map_err(engine_failure)? {
        match piece {
            Piece::Token { text: more, .. } | Piece::End { text: more, .. } => text.push_str(&more),
        }
    }
    let asked = tokens_of(weights, &request.to_bytes(), text.as_bytes());
    let mut asked = asked.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    // The text again in tokens may be longer than what was sampled, and an end is added to it.
    asked.response.truncate(room.max(1));
    Ok((text, asked))
}
