//! One piece of data, a text, a question with its answer, or a conversation, in the one form that is hashed and trained
//! on.

use agora_types::{Address, Canonical, Code, Hash};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::commit;

/// Most bytes of an item's canonical form; with its salt it fits one row of a store.
pub const ITEM_SIZE_MAX: usize = 512 * 1024;
/// Most messages of a conversation.
pub const MESSAGES_MAX: usize = 256;

/// Who speaks in a conversation. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Says how to behave.
    #[n(0)]
    System,
    /// Asks.
    #[n(1)]
    User,
    /// Answers: what training teaches.
    #[n(2)]
    Assistant,
    /// What a tool answered.
    #[n(3)]
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    #[n(0)]
    pub role: Role,
    /// What is said.
    #[n(1)]
    pub content: String,
}

/// One piece of data.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(flat)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    /// A text.
    #[n(0)]
    Text(#[n(0)] String),
    /// A question and the answer to learn.
    #[n(1)]
    Pair {
        /// The question.
        #[n(0)]
        prompt: String,
        /// The answer.
        #[n(1)]
        response: String,
    },
    /// A conversation.
    #[n(2)]
    Messages(#[n(0)] Vec<Message>),
}

impl Canonical for Item {
    const TAG: &'static str = "agora/item/v1";
    const SIZE_MAX: usize = ITEM_SIZE_MAX;
}

impl Item {
    /// The texts it is made of, in order.
    pub fn parts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Pair { prompt, response } => vec![prompt, response],
            Self::Messages(messages) => messages.iter().map(|message| message.content.as_str()).collect(),
        }
    }

    /// All its texts, one below the other: what is compared and checked.
    pub fn plain(&self) -> String {
        self.parts().join("\n")
    }

    /// True when there is something to learn: no part that must say something is blank.
    pub fn says_something(&self) -> bool {
        let says = |text: &str| !text.trim().is_empty();
        match self {
            Self::Text(text) => says(text),
            Self::Pair { prompt, response } => says(prompt) && says(response),
            Self::Messages(messages) => {
                (1..=MESSAGES_MAX).contains(&messages.len()) && messages.iter().any(|one| says(&one.content))
            }
        }
    }

    /// Its canonical bytes: what is salted and hashed, and what the sizes of a policy count.
    ///
    /// # Errors
    /// `datanet.bad_item` for one that says nothing or is above [`ITEM_SIZE_MAX`].
    pub fn data(&self) -> Result<Vec<u8>, Code> {
        // Counted before it is encoded, so that no second copy of something huge is made.
        let size: usize = self.parts().iter().map(|part| part.len()).sum();
        if size > ITEM_SIZE_MAX || !self.says_something() {
            return Err(Code::ItemInvalid);
        }
        let bytes = self.to_bytes();
        if bytes.len() <= ITEM_SIZE_MAX { Ok(bytes) } else { Err(Code::ItemInvalid) }
    }
}

/// What opens a commitment: the salt and the item.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reveal {
    /// The item's own salt.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The item.
    #[n(1)]
    pub item: Item,
}

impl Canonical for Reveal {
    const TAG: &'static str = "agora/reveal/v1";
    const SIZE_MAX: usize = ITEM_SIZE_MAX + 64;
}

impl Reveal {
    /// The content hash that `contributor` committed to, and the size of the data.
    ///
    /// # Errors
    /// `datanet.bad_item`.
    pub fn content(&self, contributor: &Address) -> Result<(Hash, u32), Code> {
        let data = self.item.data()?;
        let size = u32::try_from(data.len()).map_err(|_| Code::ItemInvalid)?;
        Ok((commit(contributor, &self.salt, &data), size))
    }
}
