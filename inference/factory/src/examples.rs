//! What is learnt from: questions and answers in tokens.

use agora_openlora::weights::Shape;
use agora_types::Hash;

use crate::{Settings, TrainError};

/// Most examples of a training.
const EXAMPLES_MAX: usize = 1 << 20;

/// A prompt and the response that is to be learnt. Several may share an id: they are parts of one contribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Whose it is: the hash of the contribution.
    pub id: Hash,
    /// What is given; it is not learnt.
    pub prompt: Vec<u32>,
    /// What is to follow.
    pub response: Vec<u32>,
}

impl Example {
    /// Tokens of prompt and response.
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.response.len()
    }
}

/// Refuses what the model could not compute.
pub(crate) fn check(examples: &[Example], settings: &Settings, shape: &Shape) -> Result<(), TrainError> {
    if !(1..=EXAMPLES_MAX).contains(&examples.len()) {
        return Err(TrainError::Count { found: examples.len(), bounds: format!("1 to {EXAMPLES_MAX} are possible") });
    }
    let most = shape.context.min(settings.batch_tokens as usize);
    for (at, example) in examples.iter().enumerate() {
        let bad = |reason: String| Err(TrainError::Example { at, id: example.id, reason });
        if example.prompt.is_empty() || example.response.is_empty() {
            return bad("a prompt and a response have at least one token each".to_owned());
        }
        if example.tokens() > most {
            let (found, context, batch) = (example.tokens(), shape.context, settings.batch_tokens);
            return bad(format!("{found} tokens; the model's context is {context}, `batch_tokens` is {batch}"));
        }
        let foreign = example.prompt.iter().chain(&example.response).find(|token| **token as usize >= shape.vocabulary);
        if let Some(token) = foreign {
            return bad(format!("token {token}; the model has {}", shape.vocabulary));
        }
    }
    Ok(())
}

/// The hash of examples in their order.
pub(crate) fn hash(examples: &[Example]) -> Hash {
    let mut stream = Hash::stream();
    stream.piece("agora/factory-examples/v1");
    let mut bytes = Vec::new();
    for example in examples {
        stream.piece(example.id.as_bytes());
        for tokens in [&example.prompt, &example.response] {
            bytes.clear();
            bytes.extend(tokens.iter().flat_map(|token| token.to_be_bytes()));
            stream.piece(&bytes);
        }
    }
    stream.finish()
}
