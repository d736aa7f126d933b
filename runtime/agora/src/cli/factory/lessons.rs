//! From contributions to what a model is taught: prompts and responses in tokens.

use std::collections::BTreeSet;

use agora_datanets::similar::{Answer, repeats};
use agora_datanets::{ContributionKind, Item, Role};
use agora_factory::Example;
use agora_inference_api::{Message, Request, Role as Speaker};
use agora_openlora::weights::Weights;
use agora_shell::{Failure, Outcome};

use crate::cli::datanet::{Read, Whole};

/// One lesson, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Lesson {
    /// As it is learnt.
    pub(super) example: Example,
    /// The same as text in tokens, for copied spans and BM25.
    pub(super) text: Vec<u32>,
    /// The question alone, where there is one.
    pub(super) question: Option<String>,
    /// Its place among the contributions that were read.
    pub(super) row: usize,
    /// Who is paid, and what stands behind it.
    pub(super) about: agora_attribution::Example,
}

/// What contributions teach.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// In the order of the contributions.
    pub(super) lessons: Vec<Lesson>,
    /// Answers that were cut at their ends.
    pub(super) shortened: usize,
    /// Contributions that are left out, as they repeat an earlier one's answer to the same question.
    pub(super) repeated: usize,
}

/// What contributions teach. What is longer than `tokens_max` is cut at its end, or for plain text into pieces. Of a datanet
/// that leaves out near-duplicates, answers that repeat an earlier one are left out here ([`repeats`]).
pub(super) fn lessons(weights: &Weights, whole: &Whole, tokens_max: usize) -> Outcome<Found> {
    let (mut lessons, mut shortened) = (Vec::new(), 0);
    let repeated = match whole.policy.near {
        Some(_) => repeated(whole),
        None => BTreeSet::new(),
    };
    let kinds = whole.signed.payload().terms.kind_weights;
    for (row, (listed, read)) in whole.rows.iter().enumerate().filter(|(row, _)| !repeated.contains(row)) {
        let said = read.submission.payload();
        let id = read.leaf();
        let found = taught(weights, read, tokens_max)
            .map_err(|error| Failure::new(error.code, format!("contribution {}: {}", listed.place, error.what)))?;
        let many = found.len();
        for (item, one) in (0..).zip(found) {
            shortened += usize::from(one.is_shortened);
            let position = agora_attribution::Position {
                seq: read.contribution.position.seq,
                index: read.contribution.position.index,
                item,
            };
            lessons.push(Lesson {
                example: Example { id, prompt: one.prompt, response: one.response },
                text: one.text,
                question: one.question.filter(|_| many == 1),
                row,
                about: agora_attribution::Example {
                    contribution: id,
                    account: said.contributor,
                    position,
                    kind: said.kind,
                    weight: kinds.of(said.kind),
                },
            });
        }
    }
    Ok(Found { lessons, shortened, repeated: repeated.len() })
}

/// Rows that repeat an earlier one's answer. Corrections, annotations and translations say what they are to another's.
fn repeated(whole: &Whole) -> BTreeSet<usize> {
    let sources = whole.rows.iter().enumerate().filter_map(|(row, (_, read))| match &read.reveal.item {
        Item::Pair { prompt, response } if read.submission.payload().kind == ContributionKind::Source => {
            Some((row, Answer { position: read.contribution.position, question: prompt, answer: response }))
        }
        _ => None,
    });
    let (rows, answers): (Vec<usize>, Vec<Answer<'_>>) = sources.unzip();
    let found = repeats(&answers).into_iter().zip(rows);
    found.filter_map(|(earlier, row)| earlier.map(|_| row)).collect()
}

struct Taught {
    prompt: Vec<u32>,
    response: Vec<u32>,
    text: Vec<u32>,
    question: Option<String>,
    is_shortened: bool,
}

type Result<T> = std::result::Result<T, agora_inference_api::EngineError>;

fn taught(weights: &Weights, read: &Read, tokens_max: usize) -> Result<Vec<Taught>> {
    match &read.reveal.item {
        Item::Pair { prompt, response } => {
            let one = pair(weights, &Request::ask(prompt, 1), response, tokens_max)?;
            let text = [weights.encode(prompt), weights.encode(response.trim())].concat();
            Ok(one.map(|one| Taught { text, question: Some(prompt.clone()), ..one }).into_iter().collect())
        }
        Item::Messages(messages) => {
            let mut before: Vec<Message> = Vec::new();
            let mut found = Vec::new();
            for message in messages {
                let speaker = match message.role {
                    Role::System => Speaker::System,
                    // What a tool says is given, as what a person says.
                    Role::User | Role::Tool => Speaker::User,
                    Role::Assistant => Speaker::Assistant,
                };
                if speaker == Speaker::Assistant && !before.is_empty() && !message.content.trim().is_empty() {
                    let request = Request { messages: before.clone(), ..Request::ask("", 1) };
                    if let Some(one) = pair(weights, &request, &message.content, tokens_max)? {
                        found.push(Taught { text: weights.encode(message.content.trim()), ..one });
                    }
                }
                before.push(Message { role: speaker, text: message.content.clone() });
            }
            Ok(found)
        }
        Item::Text(text) => {
            let tokens = weights.encode(text.trim());
            let pieces = tokens.chunks(tokens_max).filter(|piece| piece.len() > 1);
            Ok(pieces
                .map(|piece| Taught {
                    prompt: piece[..1].to_vec(),
                    response: piece[1..].to_vec(),
                    text: piece.to_vec(),
                    question: None,
                    is_shortened: false,
                })
                .collect())
        }
    }
}

/// A question with its answer. `None` where the question alone leaves no room for an answer.
fn pair(weights: &Weights, request: &Request, answer: &str, tokens_max: usize) -> Result<Option<Taught>> {
    let taught = weights.taught(request, answer)?;
    let (prompt, mut response) = (taught.prompt, taught.response);
    let room = tokens_max.saturating_sub(prompt.len());
    let is_shortened = response.len() > room;
    response.truncate(room);
    let one = Taught { prompt, response, text: Vec::new(), question: None, is_shortened };
    Ok(Some(one).filter(|one| !one.response.is_empty()))
}
