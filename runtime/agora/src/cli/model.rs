//! `agora model`: what is offered on the network, what this node serves or shall serve, and what can be fetched.

use std::io::{self, Write};

use agora_actors::clock::{Clock as _, fresh_head};
use agora_catalog::{DatanetPart, Listing, ListingHost};
use agora_shell::fetch::{self, Fetched, Fetcher, State};
use agora_shell::output::{Document, Style};
use agora_shell::{Failure, Outcome, parse_amount, text};
use agora_types::batch::Entry;
use agora_types::command::Measure;
use agora_types::{Address, Amount, Canonical as _, Code, DatanetId, Hash, ListingId, Prices, Signed};
use schemars::JsonSchema;
use serde::Serialize;

use super::context::Context;
use super::keys::Keys;
use crate::control::{Committed, Listings, ModelView, Models, Offered, Request, Service, Status};
use crate::node::System;

const LISTINGS_MAX: u32 = 256;

/// A model that can be fetched by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KnownModel {
    /// Its name.
    pub name: String,
    /// Its file's name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Hash,
    /// True when the file is here.
    pub here: bool,
}

/// Models, near and far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelList {
    /// Listings of the network that fit the words; absent when nothing can be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listings: Option<Vec<Offered>>,
    /// What this node serves; absent when no node runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Vec<ModelView>>,
    /// What can be fetched.
    pub known: Vec<KnownModel>,
}

impl Document for ModelList {
    const TYPE: &'static str = "agora/model-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        if let Some(listings) = &self.listings {
            let row = |offered: &Offered| {
                let (input, output) = (offered.prices.input, offered.prices.output);
                [
                    offered.name.clone(),
                    text::amount(input),
                    text::amount(output),
                    offered.context_max.to_string(),
                    offered.datanets.len().to_string(),
                    offered.title.clone(),
                ]
            };
            let rows: Vec<[String; 6]> = listings.iter().map(row).collect();
            if rows.is_empty() {
                writeln!(out, "nothing that fits is offered on this network")?;
            } else {
                text::table(out, style, ["OFFERED", "TOKEN IN", "TOKEN OUT", "CONTEXT", "DATANETS", "TITLE"], &rows)?;
            }
            writeln!(out)?;
        }
        if let Some(served) = self.served.as_ref().filter(|served| !served.is_empty()) {
            let row = |model: &ModelView| {
                let kind = model.rank.map_or_else(|| "base".to_owned(), |rank| format!("adapter, rank {rank}"));
                [model.name.clone(), kind, model.hash.to_string()]
            };
            let rows: Vec<[String; 3]> = served.iter().map(row).collect();
            text::table(out, style, ["SERVED HERE", "KIND", "SHA-256"], &rows)?;
            writeln!(out)?;
        }
        let row = |model: &KnownModel| {
            let here = if model.here { "here" } else { "not fetched" };
            [model.name.clone(), text::bytes(model.bytes), here.to_owned()]
        };
        let rows: Vec<[String; 3]> = self.known.iter().map(row).collect();
        text::table(out, style, ["TO FETCH", "SIZE", "STATE"], &rows)
    }
}

/// `agora model list`; `service` is absent when there is neither node nor network.
///
/// # Errors
/// `node.bad_config` for too many words; the service's; `node.io`.
pub async fn list(context: &Context, service: Option<&dyn Service>, words: &[String]) -> Outcome<ModelList> {
    let words = words.join(" ");
    if words.len() > 256 {
        return Err(Failure::usage("more than 256 bytes of words").advise("search for less"));
    }
    let (mut listings, mut served) = (None, None);
    if let Some(service) = service {
        let request = Request::Listings { words, limit: LISTINGS_MAX };
        listings = Some(service.call::<Listings>(request).await?.listings);
        served = match service.call::<Models>(Request::Models).await {
            Ok(models) => Some(models.models),
            // The data folder alone serves no models.
            Err(failure) if failure.code == Code::NodeNotRunning => None,
            Err(failure) => return Err(failure),
        };
    }
    let folder = context.paths.models();
    let known = |model: &fetch::ModelSource| {
        Ok(KnownModel {
            name: model.name.to_owned(),
            file: model.file.to_owned(),
            bytes: model.bytes,
            sha256: model.sha256,
            here: matches!(fetch::state(model, &folder)?, State::Verified | State::Unchecked),
        })
    };
    Ok(ModelList { listings, served, known: fetch::MODELS.iter().map(known).collect::<Outcome<_>>()? })
}

/// `agora model fetch`.
///
/// # Errors
/// `engine.file_not_found` for an unknown name; as [`Fetcher::fetch`].
pub async fn fetch(context: &Context, name: Option<&str>) -> Outcome<Fetched> {
    let setting = &context.settings.model.value;
    if name.is_none() && setting.path().is_some() {
        let what = format!("the setting `model` is the file {setting}");
        return Err(Failure::usage(what).advise("name a model to fetch; see `agora model list`"));
    }
    let model = fetch::find(name.unwrap_or(setting.as_str()))?;
    let folder = context.paths.models();
    let bar = context.printer.bytes_bar(&format!("fetching {}", model.name), model.bytes);
    let moving = bar.clone();
    let fetched = tokio::task::spawn_blocking(move || Fetcher::default().fetch(model, &folder, &moving)).await;
    bar.finish();
    fetched.unwrap_or_else(|_| Err(Failure::new(Code::ModelFetch, "the fetch was given up")))
}

/// An adapter of the running node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AdapterDocument {
    /// It, as it is served; of one that is not served any more, as it was.
    pub adapter: ModelView,
    /// Whether it is served now.
    pub served: bool,
}

impl Document for AdapterDocument {
    const TYPE: &'static str = "agora/adapter/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        let name = text::plain(&self.adapter.name);
        if !self.served {
            writeln!(out, "{name} is not served any more: {}", self.adapter.hash)?;
            return writeln!(out, "  its files stay: the next start of the node takes it up again");
        }
        writeln!(out, "{name} is served: {}", self.adapter.hash)?;
        match &self.adapter.measure {
            Some(measure) => writeln!(out, "  measured by {}", text::plain(&measure.method)),
            None => writeln!(out, "  not measured: contributors are paid by declared weights"),
        }
    }
}

/// `agora model load`.
///
/// # Errors
/// `node.bad_config` for what is no name, `engine.unknown_adapter`, `engine.busy`, `engine.unsupported` where the node
/// serves no model of its own, `engine.bad_adapter`, `engine.too_large`, `attribution.*`; the service's.
pub async fn load(service: &dyn Service, name: String) -> Outcome<AdapterDocument> {
    let adapter = service.call(Request::AdapterLoad { name }).await?;
    Ok(AdapterDocument { adapter, served: true })
}

/// `agora model unload`.
///
/// # Errors
/// `node.bad_config` for what is no name, `engine.unknown_adapter`, `engine.busy`, `engine.unsupported` where the node
/// serves no model of its own; the service's.
pub async fn unload(service: &dyn Service, name: String) -> Outcome<AdapterDocument> {
    let adapter = service.call(Request::AdapterRemove { name }).await?;
    Ok(AdapterDocument { adapter, served: false })
}

/// The adapter of this name or hash. One that is not served yet and lies in the node's folder is taken up first.
async fn adapter(service: &dyn Service, models: &[ModelView], name: &str) -> Outcome<ModelView> {
    let mut adapters = models.iter().filter(|model| model.base.is_some());
    match adapters.find(|model| model.name == name || model.hash.to_string() == name) {
        Some(served) => Ok(served.clone()),
        None if name.parse::<Hash>().is_ok() => {
            Err(Failure::new(Code::EngineUnknownAdapter, format!("the node serves no adapter {name}")))
        }
        None => service.call(Request::AdapterLoad { name: name.to_owned() }).await,
    }
}

/// A listing as it should be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Unique for its owner.
    pub name: String,
    /// One line.
    pub title: Option<String>,
    /// OPEN for a token of a prompt.
    pub input: String,
    /// OPEN for a token of an answer.
    pub output: String,
    /// Words to find it by.
    pub topics: Vec<String>,
    /// An adapter of the node; absent: the base model.
    pub adapter: Option<String>,
    /// The wallet that owns it.
    pub from: String,
}

/// A listing that is offered now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Published {
    /// Its id.
    pub listing: ListingId,
    /// Its name, which buyers put into `model`.
    pub name: String,
    /// Who owns it.
    pub owner: Address,
    /// OPEN for a token of a prompt.
    pub input: Amount,
    /// OPEN for a token of an answer.
    pub output: Amount,
}

impl Document for Published {
    const TYPE: &'static str = "agora/published/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "{} is offered: {}", text::plain(&self.name), self.listing)?;
        writeln!(out, "  token in   {}", text::amount(self.input))?;
        writeln!(out, "  token out  {}", text::amount(self.output))
    }
}

/// `agora model publish`: the money terms on the ledger, then the listing to everybody. A repeat replaces both.
///
/// # Errors
/// `amount.*`, `keystore.*`, `listing.bad_terms`, the ledger's refusal; the service's, and for an adapter that is not served
/// yet those of [`load`].
pub async fn publish(context: &Context, service: &dyn Service, wanted: Wanted) -> Outcome<Published> {
    let prices = Prices {
        input: parse_amount(&wanted.input)?,
        cached: parse_amount(&wanted.input)?,
        output: parse_amount(&wanted.output)?,
        hidden: parse_amount(&wanted.output)?,
    };
    let keys = Keys::of(context)?;
    let owner = keys.open(&wanted.from)?;
    let signer = keys.statements(&wanted.from)?;
    let status: Status = service.call(Request::Status).await?;
    let models: Models = service.call(Request::Models).await?;
    let base = models.models.iter().find(|model| model.base.is_none());
    let base = base.ok_or_else(|| Failure::new(Code::EngineStopped, "the node serves no model"))?;
    let context_max = base.context_max.unwrap_or(0);
    let adapter = match &wanted.adapter {
        None => None,
        Some(name) => Some(adapter(service, &models.models, name).await?),
    };
    let measure = adapter.as_ref().and_then(|adapter| adapter.measure.as_ref());
    let part = |datanet: &DatanetId| DatanetPart { datanet: *datanet, weight: 1 };
    let listing = Listing {
        network: status.chain_id,
        owner: owner.address(),
        name: wanted.name,
        title: wanted.title.unwrap_or_else(|| base.name.clone()),
        description: match &adapter {
            None => format!("{}, offered as it is.", base.name),
            Some(adapter) => format!("{} with the adapter {}.", base.name, adapter.name),
        },
        topics: wanted.topics,
        model_owner: owner.address(),
        hosts: vec![ListingHost { account: status.host, key: status.host_key }],
        base_hash: base.hash,
        adapter_hash: adapter.as_ref().map(|adapter| adapter.hash),
        datanets: measure.map_or_else(Vec::new, |measure| measure.datanets.iter().map(part).collect()),
        prices,
        context_max,
        output_max: (context_max / 2).max(1),
        time: System.now(),
        measure: measure.map(|measure| Measure { spec: measure.spec, method: measure.method.clone() }),
    };
    listing.check().map_err(|code| Failure::new(code, "the listing"))?;
    let signed = Signed::sign(listing.clone(), &signer);
    let head = fresh_head(&System, &System, owner.address());
    let command = agora_types::command::Command::RegisterListing(listing.registration(head, signed.hash()));
    let entry = Entry::sign(&context.genesis()?.network(), command, &owner);
    let committed: Committed = service.call(Request::Commit { entries: vec![hex::encode(entry.to_bytes())] }).await?;
    if let Some(number) = committed.refused.into_iter().flatten().next() {
        let code = Code::from_number(number).unwrap_or(Code::WireUnsupported);
        return Err(Failure::new(code, "the ledger refused the listing"));
    }
    let _: Listings = service.call(Request::Publish { listing: hex::encode(signed.to_bytes()) }).await?;
    Ok(Published {
        listing: listing.id(),
        name: listing.name,
        owner: listing.owner,
        input: prices.input,
        output: prices.output,
    })
}
