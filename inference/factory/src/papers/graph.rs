//! The elements of an SPDX 3.0.1 document in the making, and its text.

use serde_json::{Map, Value, json};

/// The blank node that every element names.
const CREATION: &str = "_:creation";

/// Elements in the order of their making, with ids below one name that no other document has.
pub(super) struct Graph {
    space: String,
    elements: Vec<Value>,
    relations: usize,
}

impl Graph {
    /// Nothing is in it yet.
    pub(super) fn new(space: String) -> Self {
        Self { space, elements: Vec::new(), relations: 0 }
    }

    /// The id of an element, whether it is there yet or not.
    pub(super) fn id(&self, local: &str) -> String {
        format!("{}:{local}", self.space)
    }

    /// Adds an element and gives its id. What is null is left out.
    pub(super) fn add(&mut self, kind: &str, local: &str, properties: Value) -> String {
        let id = self.id(local);
        let Value::Object(mut element) = properties else { unreachable!("properties are an object") };
        element.retain(|_, value| !value.is_null());
        element.insert("type".to_owned(), json!(kind));
        element.insert("spdxId".to_owned(), json!(id));
        element.insert("creationInfo".to_owned(), json!(CREATION));
        self.elements.push(Value::Object(element));
        id
    }

    /// Says that what `from` names stands so to all of `to`; nothing where there are none.
    pub(super) fn relate(&mut self, kind: &str, from: &str, to: &[String], more: Value) {
        if to.is_empty() {
            return;
        }
        self.relations += 1;
        let local = format!("relation:{}", self.relations);
        let mut properties = more;
        properties["relationshipType"] = json!(kind);
        properties["from"] = json!(from);
        properties["to"] = json!(to);
        self.add("Relationship", &local, properties);
    }

    /// The text of the document whose element has these properties. `creation` has no id: its id counts within a text only.
    pub(super) fn text(mut self, mut creation: Value, properties: Value) -> String {
        let ids: Vec<Value> = self.elements.iter().map(|element| element["spdxId"].clone()).collect();
        self.add("SpdxDocument", "document", properties);
        let mut document = self.elements.pop().expect("just added");
        document["element"] = Value::Array(ids);
        creation["@id"] = json!(CREATION);
        creation["type"] = json!("CreationInfo");
        let graph: Vec<Value> = [creation, document].into_iter().chain(self.elements).collect();
        let whole = json!({"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": graph});
        serde_json::to_string_pretty(&sorted(whole)).expect("texts are JSON") + "\n"
    }
}

/// A SHA-256 as SPDX writes it.
pub(super) fn sha256(hash: agora_types::Hash) -> Value {
    json!([{"type": "Hash", "algorithm": "sha256", "hashValue": bare(hash)}])
}

/// A hash over something else than a file's bytes.
pub(super) fn other_hash(hash: agora_types::Hash, comment: &str) -> Value {
    json!([{"type": "Hash", "algorithm": "other", "hashValue": bare(hash), "comment": comment}])
}

fn bare(hash: agora_types::Hash) -> String {
    hash.to_string().trim_start_matches("0x").to_owned()
}

/// A name that Agora gives, as SPDX writes names of others.
pub(super) fn identifier(name: String) -> Value {
    json!([{"type": "ExternalIdentifier", "externalIdentifierType": "other", "identifier": name}])
}

/// Named values, as SPDX writes them.
pub(super) fn dictionary(entries: impl IntoIterator<Item = (String, String)>) -> Value {
    let entry = |(key, value)| json!({"type": "DictionaryEntry", "key": key, "value": value});
    entries.into_iter().map(entry).collect()
}

/// The same with all names in rising order, so that the text does not depend on how it was built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(name, value)| (name, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => values.into_iter().map(sorted).collect(),
        plain => plain,
    }
}
