//! Croissant 1.1 with the fields of its Responsible AI extension (RAI 1.0), as JSON-LD.

use agora_types::{Hash, Timestamp};
use serde_json::{Map, Value, json};

use super::file::{CREATORS_MAX, DataFile};
use crate::membership::Counts;
use crate::policy::{Action, Admission, Policy};
use crate::version::DatanetVersion;

/// What only people can say of a datanet; what is empty is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// What it is good for.
    pub use_cases: Vec<String>,
    /// What it is not good for.
    pub limitations: Vec<String>,
    /// Whom it shows too much or too little of.
    pub biases: Vec<String>,
    /// What it may do to people.
    pub social_impact: String,
    /// BCP 47 tags.
    pub languages: Vec<String>,
}

/// Everything a document says.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// The version.
    pub version: &'a DatanetVersion,
    /// SHA-256 of the signed version.
    pub statement: Hash,
    /// Its policy.
    pub policy: &'a Policy,
    /// How its contributions stand.
    pub counts: &'a Counts,
    /// The file.
    pub file: &'a DataFile,
    /// Where the file can be fetched: a URL, or its name where it lies beside the document.
    pub url: &'a str,
    /// First and last commitment of what is in, by the ledger's time.
    pub period: Option<(Timestamp, Timestamp)>,
    /// What people say.
    pub notes: &'a Notes,
}

/// The document. The same arguments give the same text.
pub fn croissant(described: &Described<'_>) -> Value {
    let (version, terms, file) = (described.version, &described.version.terms, described.file);
    let mut document = json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": terms.name,
        "alternateName": terms.title,
        "description": if terms.description.is_empty() { &terms.title } else { &terms.description },
        "identifier": [
            format!("agora:datanet:{}", terms.id()),
            format!("agora:version:{}", described.statement),
            format!("agora:root:{}", version.root),
        ],
        "version": format!("{}.0.0", version.version),
        "datePublished": version.time.iso(),
        "url": described.url,
        "license": licences(described),
        "citeAs": citation(described),
        "creator": creators(file),
        "publisher": {"@type": "sc:Organization", "name": terms.owner},
        "isLiveDataset": false,
        "distribution": [{
            "@type": "cr:FileObject",
            "@id": "items",
            "name": "items.jsonl",
            "description": "One item a line, in the order of training.",
            "contentUrl": described.url,
            "contentSize": format!("{} B", file.size_bytes),
            "encodingFormat": "application/jsonlines",
            "sha256": file.sha256.to_string().trim_start_matches("0x"),
        }],
        "recordSet": [{
            "@type": "cr:RecordSet",
            "@id": "records",
            "name": "records",
            "key": {"@id": "records/place"},
            "field": fields(described),
        }],
    });
    let object = document.as_object_mut().expect("written as an object above");
    responsible(described, object);
    document
}

fn context() -> Value {
    json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "arrayShape": "cr:arrayShape",
        "citeAs": "cr:citeAs",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "containedIn": "cr:containedIn",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "description": {"@container": "@language"},
        "equivalentProperty": "cr:equivalentProperty",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileObject": "cr:fileObject",
        "fileProperty": "cr:fileProperty",
        "fileSet": "cr:fileSet",
        "format": "cr:format",
        "includes": "cr:includes",
        "isArray": "cr:isArray",
        "isLiveDataset": "cr:isLiveDataset",
        "jsonPath": "cr:jsonPath",
        "key": "cr:key",
        "md5": "cr:md5",
        "name": {"@container": "@language"},
        "parentField": "cr:parentField",
        "path": "cr:path",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "recordSet": "cr:recordSet",
        "references": "cr:references",
        "regex": "cr:regex",
        "repeated": "cr:repeated",
        "replace": "cr:replace",
        "samplingRate": "cr:samplingRate",
        "sc": "https://schema.org/",
        "separator": "cr:separator",
        "source": "cr:source",
        "subField": "cr:subField",
        "transform": "cr:transform"
    })
}

/// SPDX ids as addresses; the datanet's own first. What SPDX does not list stays a word.
fn licences(described: &Described<'_>) -> Vec<String> {
    let own = &described.version.terms.licence;
    let others = described.file.licences.iter().filter(|licence| *licence != own);
    let address = |id: &String| {
        if id.starts_with("LicenseRef-") { id.clone() } else { format!("https://spdx.org/licenses/{id}.html") }
    };
    std::iter::once(own).chain(others).map(address).collect()
}

/// BibTeX, as Croissant asks for it.
fn citation(described: &Described<'_>) -> String {
    let (version, terms) = (described.version, &described.version.terms);
    let plain = |text: &str| text.replace(['{', '}', '\\'], "");
    let year = version.time.iso()[..4].to_owned();
    format!(
        "@misc{{{name}-v{number}, title={{{title}, version {number}}}, author={{{owner} and contributors}}, year={{{year}}}, \
         note={{Agora datanet {id}}}}}",
        name = plain(&terms.name).replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
        number = version.version,
        title = plain(&terms.title),
        owner = terms.owner,
        id = terms.id(),
    )
}

fn creators(file: &DataFile) -> Vec<Value> {
    let named = file.contributors.iter().take(CREATORS_MAX);
    named.map(|(account, _)| json!({"@type": "sc:Person", "name": account})).collect()
}

fn fields(described: &Described<'_>) -> Vec<Value> {
    let shapes = described.file.shapes;
    let mut fields =
        vec![field("place", "sc:Integer", "Place of the contribution in the datanet's list, which receipts name.")];
    if shapes.text {
        fields.push(field("text", "sc:Text", "The text."));
    }
    if shapes.pair {
        fields.push(field("prompt", "sc:Text", "The question."));
        fields.push(field("response", "sc:Text", "The answer."));
    }
    if shapes.messages {
        fields.push(json!({
            "@type": "cr:Field",
            "@id": "records/messages",
            "name": "messages",
            "description": "The conversation, turn by turn.",
            "isArray": true,
            "arrayShape": "-1",
            "subField": [turn("role", "Who speaks: system, user, assistant or tool."), turn("content", "What is said.")],
        }));
    }
    fields.push(field("kind", "sc:Text", "How it helps: source, correction, annotation, curation or translation."));
    fields.push(field("licence", "sc:Text", "SPDX licence id."));
    fields.push(field("contributor", "sc:Text", "The account that is paid for it."));
    fields.push(field("content_hash", "sc:Text", "The salted commitment that the ledger recorded."));
    fields
}

fn field(column: &str, kind: &str, description: &str) -> Value {
    json!({
        "@type": "cr:Field",
        "@id": format!("records/{column}"),
        "name": column,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": "items"}, "extract": {"column": column}},
    })
}

/// A part of each message of a conversation.
fn turn(part: &str, description: &str) -> Value {
    json!({
        "@type": "cr:Field",
        "@id": format!("records/messages/{part}"),
        "name": part,
        "description": description,
        "dataType": "sc:Text",
        "source": {
            "fileObject": {"@id": "items"},
            "extract": {"column": "messages"},
            "transform": {"jsonPath": part},
        },
    })
}

/// The RAI fields: what the rules say, and what people say where the rules cannot.
fn responsible(described: &Described<'_>, document: &mut Map<String, Value>) {
    let (policy, counts, notes) = (described.policy, described.counts, described.notes);
    let mut put = |name: &str, value: Value| {
        document.insert(format!("rai:{name}"), value);
    };
    put(
        "dataCollection",
        json!(format!(
            "Given by {} accounts. Each committed to its items with a salted hash on a public ledger before it revealed \
             them, and signed for licence and title. Of {} contributions {} are in, {} were withdrawn, {} say what an earlier \
             one says, {} were rejected, {} wait for curators, {} do not fit the policy.",
            described.file.contributors.len(),
            described.version.tree_size,
            counts.included,
            counts.withdrawn,
            counts.duplicates,
            counts.rejected,
            counts.open,
            counts.unfit,
        )),
    );
    let mut kinds = vec!["User-generated content data"];
    if !policy.curators.is_empty() {
        kinds.push("Manual Human Curator");
    }
    put("dataCollectionType", json!(kinds));
    if let Some((first, last)) = described.period {
        put("dataCollectionTimeFrame", json!([first.iso(), last.iso()]));
    }
    let near = match policy.near {
        Some(parts) => format!(
            "Near-duplicates (Jaccard similarity of five-word shingles of at least {}.{:03}, found by MinHash) are left out; \
             the earliest commitment owns.",
            parts / 1_000,
            parts % 1_000,
        ),
        None => "Identical items are left out; the earliest commitment owns.".to_owned(),
    };
    put("dataPreprocessingProtocol", json!([near]));
    put("dataAnnotationProtocol", json!([curation(policy)]));
    let says = |action: Action| match action {
        Action::Ignore => "not looked for",
        Action::Flag => "looked for, and shown to curators where found",
        Action::Refuse => "looked for, and refused where found",
    };
    put(
        "personalSensitiveInformation",
        json!([
            format!(
                "Email addresses, phone numbers, bank accounts, payment cards and network addresses are {}.",
                says(policy.checks.personal)
            ),
            format!("Passwords and keys are {}.", says(policy.checks.secrets)),
            "The checks find usual forms only; names and descriptions of persons are left to curators.",
        ]),
    );
    put(
        "dataReleaseMaintenancePlan",
        json!("Versions never change. Withdrawals and verdicts count from the next version on."),
    );
    for (name, list) in
        [("dataUseCases", &notes.use_cases), ("dataLimitations", &notes.limitations), ("dataBiases", &notes.biases)]
    {
        if !list.is_empty() {
            put(name, json!(list));
        }
    }
    if !notes.social_impact.is_empty() {
        put("dataSocialImpact", json!(notes.social_impact));
    }
    if !notes.languages.is_empty() {
        document.insert("inLanguage".to_owned(), json!(notes.languages));
    }
}

fn curation(policy: &Policy) -> String {
    let admission = match policy.admission {
        Admission::Open => "A contribution is in at once".to_owned(),
        Admission::Accepts(needed) => format!("A contribution is in when {needed} of the curators accept it"),
    };
    match policy.curators.len() {
        0 => format!("{admission}; nobody curates."),
        _ => format!(
            "{admission}; {} who reject take it out, and a flag until as many accept it. Verdicts are signed, give a reason, \
             and stand in a public list.",
            policy.rejects
        ),
    }
}
