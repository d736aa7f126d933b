//! The file of an export: one line of JSON for each example, in canonical order, and what the document says of it.

use std::collections::{BTreeMap, BTreeSet};

use agora_types::{Address, Hash, HashStream};
use serde_json::{Map, Value, json};

use crate::examples::Example;
use crate::item::Item;

/// So many contributors are named in a document, those with the most items.
pub const CREATORS_MAX: usize = 100;

/// Which forms of items a file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shapes {
    /// Texts.
    pub text: bool,
    /// Questions with answers.
    pub pair: bool,
    /// Conversations.
    pub messages: bool,
}

/// What is known of a file once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// SHA-256 of the file.
    pub sha256: Hash,
    /// Its size.
    pub size_bytes: u64,
    /// Number of lines.
    pub count: u64,
    /// Which fields it has.
    pub shapes: Shapes,
    /// Accounts with the number of their items, most items first, then by account.
    pub contributors: Vec<(Address, u64)>,
    /// SPDX ids, rising.
    pub licences: Vec<String>,
}

/// Turns examples into lines, and remembers what the document needs.
#[derive(Debug, Clone)]
pub struct FileWriter {
    hash: HashStream,
    size_bytes: u64,
    count: u64,
    shapes: Shapes,
    contributors: BTreeMap<Address, u64>,
    licences: BTreeSet<String>,
}

impl Default for FileWriter {
    fn default() -> Self {
        Self {
            hash: Hash::stream(),
            size_bytes: 0,
            count: 0,
            shapes: Shapes::default(),
            contributors: BTreeMap::new(),
            licences: BTreeSet::new(),
        }
    }
}

impl FileWriter {
    /// The line of the next example, with its end. What an item does not have, its line has not either.
    pub fn line(&mut self, example: &Example) -> String {
        let mut line = Map::new();
        line.insert("place".to_owned(), json!(example.place));
        match &example.item {
            Item::Text(text) => {
                self.shapes.text = true;
                line.insert("text".to_owned(), json!(text));
            }
            Item::Pair { prompt, response } => {
                self.shapes.pair = true;
                line.insert("prompt".to_owned(), json!(prompt));
                line.insert("response".to_owned(), json!(response));
            }
            Item::Messages(messages) => {
                self.shapes.messages = true;
                line.insert("messages".to_owned(), json!(messages));
            }
        }
        line.insert("kind".to_owned(), json!(example.kind));
        line.insert("licence".to_owned(), json!(example.licence));
        line.insert("contributor".to_owned(), json!(example.contributor));
        line.insert("content_hash".to_owned(), json!(example.content_hash));
        let text = Value::Object(line).to_string() + "\n";
        self.hash.update(&text);
        self.size_bytes += text.len() as u64;
        self.count += 1;
        *self.contributors.entry(example.contributor).or_default() += 1;
        self.licences.insert(example.licence.clone());
        text
    }

    /// What is known of all lines.
    pub fn finish(self) -> DataFile {
        let mut contributors: Vec<(Address, u64)> = self.contributors.into_iter().collect();
        contributors.sort_by_key(|(account, items)| (std::cmp::Reverse(*items), *account));
        DataFile {
            sha256: self.hash.finish(),
            size_bytes: self.size_bytes,
            count: self.count,
            shapes: self.shapes,
            contributors,
            licences: self.licences.into_iter().collect(),
        }
    }
}
