//! The SPDX 3.0.1 document: the adapter, its files, its base model, the datanets that it was trained on, and their licences.
//!
//! Only names of SPDX 3.0.1 are used; `tests/data/validate_spdx.py` has the project's own library read the example. SPDX
//! asks of AI packages and datasets who supplied them and when; where that is not known, they stand as plain packages.

use std::collections::BTreeMap;

use agora_receipts::receipt::DatanetRef;
use agora_types::{Address, Canonical as _, Hash};
use serde_json::{Value, json};

use super::graph::{Graph, dictionary, identifier, other_hash, sha256};
use super::{About, TrainedOn, words};
use crate::Manifest;

/// SPDX' word for what nobody says.
const NO_ASSERTION: &str = "NOASSERTION";
/// Nothing is said of what stands here.
const NO_ELEMENT: &str = "https://spdx.org/rdf/3.0.1/terms/Core/NoAssertionElement";
/// Nothing is said of the licence.
const NO_LICENCE: &str = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense";
/// The profiles that the document keeps to.
const PROFILES: [&str; 5] = ["core", "software", "ai", "dataset", "simpleLicensing"];

/// The document's text; `summary` is the name and the text of the other paper.
pub(super) fn document(about: &About, manifest: &Manifest, summary: (&str, &str)) -> String {
    let said = serde_json::to_vec(about).expect("texts and whole numbers are JSON");
    let hash = Hash::sha256_of(&[b"agora/papers/v1", manifest.hash().as_bytes(), &said]);
    let graph = Graph::new(format!("urn:agora:papers:{hash}"));
    let mut paper = Paper { about, manifest, graph, licences: BTreeMap::new(), accounts: BTreeMap::new() };
    let maker = paper.maker();
    let tool = paper.graph.add("Tool", "tool", json!({"name": manifest.code_version}));
    let adapter = paper.adapter(&maker);
    paper.files(&adapter, summary);
    paper.base(&adapter);
    paper.datanets(&adapter);
    let data_licence = paper.licence(Some("CC0-1.0"));
    let creation = json!({
        "specVersion": "3.0.1",
        "created": about.time.iso(),
        "createdBy": [maker],
        "createdUsing": [tool],
        "comment": "Written from the training's manifest; nobody has reviewed it.",
    });
    let properties = json!({
        "name": format!("{} {}: what it was made of", about.name, about.version),
        "profileConformance": PROFILES,
        "dataLicense": data_licence,
        "rootElement": [adapter],
    });
    paper.graph.text(creation, properties)
}

/// A document in the making.
struct Paper<'a> {
    about: &'a About,
    manifest: &'a Manifest,
    graph: Graph,
    /// Ids of expressions.
    licences: BTreeMap<String, String>,
    /// Ids of agents.
    accounts: BTreeMap<Address, String>,
}

impl Paper<'_> {
    fn maker(&mut self) -> String {
        let maker = &self.about.maker;
        let properties = json!({
            "name": maker.name,
            "externalIdentifier": identifier(format!("agora:account:{}", maker.account)),
            "comment": maker.contact.as_ref().map(|contact| format!("Contact: {contact}")),
        });
        let id = self.graph.add("Agent", "maker", properties);
        self.accounts.insert(maker.account, id.clone());
        id
    }

    /// The agent behind an account.
    fn account(&mut self, account: Address) -> String {
        if let Some(id) = self.accounts.get(&account) {
            return id.clone();
        }
        let properties = json!({
            "name": format!("account {account}"),
            "externalIdentifier": identifier(format!("agora:account:{account}")),
        });
        let id = self.graph.add("Agent", &format!("account:{account}"), properties);
        self.accounts.insert(account, id.clone());
        id
    }

    /// A licence expression.
    fn licence(&mut self, expression: Option<&str>) -> String {
        let Some(expression) = expression else { return NO_LICENCE.to_owned() };
        if let Some(id) = self.licences.get(expression) {
            return id.clone();
        }
        let local = format!("licence:{}", self.licences.len() + 1);
        let properties = json!({"simplelicensing_licenseExpression": expression});
        let id = self.graph.add("simplelicensing_LicenseExpression", &local, properties);
        self.licences.insert(expression.to_owned(), id.clone());
        id
    }

    /// Says of a package under which licence its supplier gives it, and under which one what is in it was given.
    fn licensed(&mut self, package: &str, declared: Option<&str>, concluded: Option<&str>) {
        for (kind, expression) in [("hasDeclaredLicense", declared), ("hasConcludedLicense", concluded)] {
            let licence = self.licence(expression);
            self.graph.relate(kind, package, &[licence], json!({}));
        }
    }

    fn adapter(&mut self, maker: &str) -> String {
        let (about, manifest) = (self.about, self.manifest);
        let comment = "over configuration and weights, as the engine computes it; receipts name the adapter by it";
        let properties = json!({
            "name": about.name,
            "description": (!about.description.is_empty()).then_some(&about.description),
            "suppliedBy": maker,
            "builtTime": about.time.iso(),
            "releaseTime": about.time.iso(),
            "verifiedUsing": other_hash(manifest.adapter_hash, comment),
            "externalIdentifier": identifier(format!("agora:adapter:{}", manifest.adapter_hash)),
            "software_packageVersion": about.version,
            "software_primaryPurpose": "model",
            "software_downloadLocation": about.page.as_deref().unwrap_or(NO_ASSERTION),
            "software_copyrightText": NO_ASSERTION,
            "ai_typeOfModel": ["LoRA adapter"],
            "ai_hyperparameter": dictionary(hyperparameters(manifest)),
            "ai_informationAboutTraining": training(manifest),
            "ai_informationAboutApplication": format!(
                "Works beside the base model {} alone, by its hash; PEFT's form.", manifest.base.name
            ),
            "ai_metric": dictionary(metrics(manifest)),
            "ai_limitation": "It has the limits of its base model. Its loss was measured on held-out contributions of the same \
                datanets at most, which says nothing of other subjects. Facts, bias and safety were not evaluated.",
            "ai_modelDataPreprocessing": [
                "Contributions are written in the chat template of the base model; only the tokens of responses are judged."
            ],
            "ai_autonomyType": "noAssertion",
            "ai_useSensitivePersonalInformation": "noAssertion",
        });
        let id = self.graph.add("ai_AIPackage", "adapter", properties);
        self.licensed(&id, Some(&about.licence), None);
        id
    }

    fn files(&mut self, adapter: &str, (summary_name, summary): (&str, &str)) {
        let manifest = self.manifest;
        let mut made = Vec::new();
        for file in &manifest.files {
            let json = file.name.ends_with(".json");
            let (purpose, kind) =
                if json { ("configuration", "application/json") } else { ("model", "application/octet-stream") };
            made.push(self.file(&file.name, (file.size, file.hash), (purpose, kind)));
        }
        let weights: Vec<String> = manifest
            .files
            .iter()
            .zip(&made)
            .filter(|(file, _)| !file.name.ends_with(".json"))
            .map(|(_, id)| id.clone())
            .collect();
        let text = manifest.to_json();
        let stated = (text.len() as u64, Hash::sha256(&text));
        let stated = self.file("manifest.json", stated, ("manifest", "application/json"));
        let told = (summary.len() as u64, Hash::sha256(summary));
        let told = self.file(summary_name, told, ("documentation", "text/markdown"));
        self.graph.relate("contains", adapter, &made, json!({}));
        self.graph.relate("hasDataFile", adapter, &weights, json!({"completeness": "complete"}));
        self.graph.relate("hasMetadata", adapter, &[stated], json!({}));
        self.graph.relate("hasDocumentation", adapter, &[told], json!({}));
    }

    fn file(&mut self, name: &str, (size, hash): (u64, Hash), (purpose, kind): (&str, &str)) -> String {
        let properties = json!({
            "name": name,
            "comment": words::many(size, "byte"),
            "contentType": kind,
            "software_fileKind": "file",
            "software_primaryPurpose": purpose,
            "verifiedUsing": sha256(hash),
        });
        self.graph.add("software_File", &format!("file:{name}"), properties)
    }

    fn base(&mut self, adapter: &str) {
        let (base, notes) = (&self.manifest.base, &self.about.base);
        let mut properties = json!({
            "name": base.name,
            "verifiedUsing": sha256(base.hash),
            "externalIdentifier": identifier(format!("agora:tokenizer:{}", base.tokenizer_hash)),
            "software_packageVersion": base.hash,
            "software_primaryPurpose": "model",
            "software_downloadLocation": notes.page.as_deref().unwrap_or(NO_ASSERTION),
        });
        if let Some(maker) = &notes.maker {
            properties["suppliedBy"] = json!(self.graph.add("Agent", "base-maker", json!({"name": maker})));
        }
        if let Some(time) = notes.released {
            properties["releaseTime"] = json!(time.iso());
        }
        let known = notes.maker.is_some() && notes.released.is_some();
        let kind = if known { "ai_AIPackage" } else { "software_Package" };
        let id = self.graph.add(kind, "base", properties);
        self.licensed(&id, notes.licence.as_deref(), None);
        let frozen = "The base model is frozen: the adapter changes what it computes, not its file.";
        self.graph.relate("descendantOf", adapter, std::slice::from_ref(&id), json!({"comment": frozen}));
        self.graph.relate("dependsOn", adapter, &[id], json!({}));
    }

    fn datanets(&mut self, adapter: &str) {
        let manifest = self.manifest;
        let all: Vec<String> =
            manifest.datanets.iter().enumerate().map(|(at, named)| self.datanet(at + 1, named)).collect();
        let counts = &manifest.counts;
        let examples = format!(
            "{}, as often as `epochs` says, in the order of hash {}.",
            words::many(counts.examples, "example"),
            manifest.order_hash,
        );
        if all.is_empty() {
            let comment = format!("Examples that belong to no datanet: {examples}");
            self.graph.relate("trainedOn", adapter, &[NO_ELEMENT.to_owned()], json!({"comment": comment}));
            return;
        }
        let whole = json!({"comment": examples, "completeness": "complete"});
        self.graph.relate("trainedOn", adapter, &all, whole);
        if counts.held_out > 0 {
            let comment = format!(
                "{} of the same datanets, chosen by the seed and not learnt from: a measure of what was learnt, not of the \
                 world.",
                words::many(counts.held_out, "held-out example"),
            );
            self.graph.relate("testedOn", adapter, &all, json!({"comment": comment}));
        }
    }

    fn datanet(&mut self, number: usize, named: &DatanetRef) -> String {
        let (about, local) = (self.about, format!("datanet:{number}"));
        let comment = format!(
            "RFC 6962 Merkle root, SHA-256, over {} in the order of the datanet's list",
            words::many(named.tree_size, "contribution"),
        );
        let (root, name) = (other_hash(named.root, &comment), identifier(format!("agora:datanet:{}", named.id)));
        let Some(on) = about.known(named) else {
            let properties = json!({
                "name": format!("datanet {}", named.id),
                "comment": "The training knows nothing else of it.",
                "verifiedUsing": root,
                "externalIdentifier": name,
                "software_primaryPurpose": "data",
            });
            return self.graph.add("software_Package", &local, properties);
        };
        let owner = self.account(on.terms.owner);
        let properties =
            dataset(on, json!({"verifiedUsing": root, "externalIdentifier": name, "originatedBy": [owner]}));
        let id = self.graph.add("dataset_DatasetPackage", &local, properties);
        let given: Vec<&str> = on.licences.keys().map(String::as_str).collect();
        self.licensed(&id, Some(&on.terms.licence), Some(&given.join(" AND ")));
        id
    }
}

/// What is said of a datanet version, added to what names it.
fn dataset(on: &TrainedOn, mut properties: Value) -> Value {
    let terms = &on.terms;
    let kinds: Vec<String> = on.kinds.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    let licences: Vec<String> = on.licences.iter().map(|(id, count)| format!("{count} under {id}")).collect();
    let said = json!({
        "name": terms.name,
        "summary": terms.title,
        "description": (!terms.description.is_empty()).then_some(&terms.description),
        "comment": format!("{} in: {}; {}.", words::many(on.included, "contribution"), kinds.join(", "), licences.join(", ")),
        "builtTime": on.time.iso(),
        "releaseTime": on.time.iso(),
        "software_packageVersion": on.version.to_string(),
        "software_primaryPurpose": "data",
        "software_downloadLocation": on.page.as_deref().unwrap_or(NO_ASSERTION),
        "dataset_datasetType": ["text"],
        "dataset_datasetSize": on.size_bytes,
        "dataset_datasetAvailability": on.page.as_ref().map(|_| "directDownload"),
        "dataset_dataCollectionProcess": words::collection(on),
        "dataset_dataPreprocessing": [words::near(&on.policy), words::checks(&on.policy).join(" ")],
        "dataset_datasetUpdateMechanism":
            "A new version with roots of its own; versions never change. Withdrawals and verdicts count from the next one on.",
        "dataset_hasSensitivePersonalInformation": "noAssertion",
        "dataset_anonymizationMethodUsed": ["None: contributions are taken as they are, or not at all."],
        "dataset_knownBias": ["None is recorded. People choose what they give; nobody balances it."],
    });
    let Value::Object(said) = said else { unreachable!("written as an object above") };
    for (name, value) in said {
        properties[name] = value;
    }
    properties
}

/// The settings by their names, lists with commas.
fn hyperparameters(manifest: &Manifest) -> Vec<(String, String)> {
    let settings = serde_json::to_value(&manifest.settings).expect("texts and finite numbers are JSON");
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let mut all: Vec<_> =
        settings.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect();
    all.sort();
    all
}

fn metrics(manifest: &Manifest) -> Vec<(String, String)> {
    let losses = &manifest.losses;
    let all = [
        ("first step", Some(losses.first_micro)),
        ("last step", Some(losses.last_micro)),
        ("held out, before the first step", losses.held_out_first_micro),
        ("held out, behind the last step", losses.held_out_last_micro),
    ];
    let named = |(name, loss): (&str, Option<u64>)| {
        loss.map(|loss| (format!("loss in nats per response token, {name}"), words::nats(loss)))
    };
    all.into_iter().filter_map(named).collect()
}

fn training(manifest: &Manifest) -> String {
    let counts = &manifest.counts;
    format!(
        "{} of AdamW over {}, {} of which {} of responses. The base model is frozen; the adapter's numbers alone change. Hash \
         of the examples {}, of their order {}, of the manifest {}; trained by {}. Settings, examples and base model give the \
         same bits again on the same machine. Energy was not measured.",
        words::many(u64::from(counts.steps), "step"),
        words::many(counts.examples, "example"),
        words::many(counts.tokens, "token"),
        counts.response_tokens,
        manifest.examples_hash,
        manifest.order_hash,
        manifest.hash(),
        manifest.code_version,
    )
}
