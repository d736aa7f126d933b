//! `agora datanet`: founding, giving, judging, versions and export.

mod add;
pub mod args;
pub mod documents;

use std::io::Write as _;

use agora_actors::clock::{Clock as _, fresh_head};
use agora_datanets::export::{Described, FileWriter, Notes, croissant};
use agora_datanets::{
    Act, Action, Admission, Charter, Checks, Contribution, Curator, DatanetVersion, Example, KindWeights, Policy,
    Reason, Reveal, Ruling, Subject, Submission, Terms, Verdict, Withdrawal,
};
use agora_shell::{Failure, Outcome, files, parse_amount};
use agora_types::batch::Entry;
use agora_types::command::Command;
use agora_types::merkle::leaf_hash;
use agora_types::{Canonical, Code, DatanetId, Hash, Signed};
use serde::de::DeserializeOwned;

use super::context::Context;
use super::keys::{Keys, address};
use crate::control::{
    ActTaken, CharterView, DatanetAsk, DatanetView, Datanets, ItemPage, ItemRow, ItemView, PolicyView, Request,
    Service, Status, VersionDraft,
};
use crate::node::System;
pub use add::add;
use args::{Create, Finding, Judge, RulingWord};
use documents::{ItemList, Made, Said, Written};

/// Rows that are asked for at once.
const PAGE: u32 = 256;
/// Longest text of terms.
const TERMS_MAX: usize = 16 << 20;

/// Asks the keeper.
///
/// # Errors
/// The keeper's, the service's.
pub(crate) async fn ask<A: DeserializeOwned>(service: &dyn Service, ask: DatanetAsk) -> Outcome<A> {
    service.call(Request::Datanet { ask }).await
}

/// The datanet of a name or id.
///
/// # Errors
/// `datanet.not_found`; `node.bad_config` for a name that several have.
pub(crate) async fn find(service: &dyn Service, text: &str) -> Outcome<DatanetView> {
    if text.starts_with("0x") {
        let id: DatanetId = text.parse().map_err(|error: agora_types::HexError| Failure::usage(error.to_string()))?;
        return ask(service, DatanetAsk::Show { id }).await;
    }
    let all: Datanets = ask(service, DatanetAsk::List).await?;
    let mut named = all.datanets.into_iter().filter(|net| net.name == text);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::new(Code::DatanetNotFound, format!("no datanet `{text}` here"))
            .advise("`agora datanet list` shows those that are; `agora datanet create` founds one")),
        (Some(one), Some(_)) => {
            Err(Failure::usage(format!("several datanets are named `{text}`"))
                .advise(format!("say its id, as {}", one.id)))
        }
    }
}

/// The signed charter of a datanet.
pub(crate) async fn charter(service: &dyn Service, id: DatanetId) -> Outcome<Signed<Charter>> {
    let view: CharterView = ask(service, DatanetAsk::Charter { id }).await?;
    signed(&view.charter)
}

fn malformed(what: &str) -> Failure {
    Failure::new(Code::WireMalformed, format!("the node's record of a datanet: {what}"))
}

fn bytes(text: &str) -> Outcome<Vec<u8>> {
    hex::decode(text).map_err(|error| malformed(&error.to_string()))
}

fn signed<T: Canonical + Clone>(text: &str) -> Outcome<Signed<T>> {
    Signed::from_bytes(&bytes(text)?).map_err(|error| malformed(&error.to_string()))
}

fn record<T: Canonical>(text: &str) -> Outcome<T> {
    T::from_bytes(&bytes(text)?).map_err(|error| malformed(&error.to_string()))
}

/// `agora datanet create`.
///
/// # Errors
/// `datanet.bad_terms`, `datanet.bad_policy`, the keystore's; the keeper's.
pub async fn create(context: &Context, service: &dyn Service, options: &Create) -> Outcome<DatanetView> {
    let keys = Keys::of(context)?;
    let owner = keys.address(&options.from)?;
    let status: Status = service.call(Request::Status).await?;
    let terms_hash = match &options.terms {
        None => None,
        Some(path) => {
            let text = files::read_bounded(files::open(path)?, path, TERMS_MAX)?;
            let too_large = || Failure::usage(format!("{}: more than {TERMS_MAX} bytes", path.display()));
            Some(Hash::sha256(text.ok_or_else(too_large)?))
        }
    };
    let terms = Terms {
        network: status.chain_id,
        owner,
        name: options.name.clone(),
        title: options.title.clone().unwrap_or_else(|| options.name.clone()),
        description: options.description.clone(),
        licence: options.licence.clone(),
        terms_hash,
        kind_weights: KindWeights::default(),
    };
    let mut curators = options.curators.iter().map(|text| curator(&keys, text)).collect::<Outcome<Vec<_>>>()?;
    curators.sort_unstable_by_key(|curator| (curator.account, curator.key));
    let mut licences = options.also.clone();
    licences.sort();
    let policy = Policy {
        curators,
        admission: if options.accepts == 0 { Admission::Open } else { Admission::Accepts(options.accepts) },
        rejects: options.rejects,
        near: near(&options.near)?,
        fee: parse_amount(&options.fee)?,
        size_min: 1,
        size_max: options.size_max,
        licences,
        checks: Checks {
            personal: action(options.personal),
            secrets: action(options.secrets),
            junk: action(options.junk),
        },
    };
    let charter = Charter { terms, policy, time: System.now() };
    charter.check().map_err(|code| Failure::new(code, "what the flags say"))?;
    let signed = Signed::sign(charter, &keys.statements(&options.from)?);
    ask(service, DatanetAsk::Found { charter: hex::encode(signed.to_bytes()) }).await
}

fn curator(keys: &Keys<'_>, text: &str) -> Outcome<Curator> {
    match text.split_once('=') {
        None => Ok(Curator { account: keys.address(text)?, key: keys.statements(text)?.public() }),
        Some((account, key)) => {
            let key =
                key.parse().map_err(|error: agora_types::key::KeyError| Failure::usage(format!("{text}: {error}")))?;
            Ok(Curator { account: address(account)?, key })
        }
    }
}

fn near(text: &str) -> Outcome<Option<u16>> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || Failure::usage(format!("--near {text}: write a number from 0.5 to 1, or off"));
    let share: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.5..=1.0).contains(&share) {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 500 to 1,000")]
    Ok(Some((share * 1_000.0).round() as u16))
}

fn action(finding: Finding) -> Action {
    match finding {
        Finding::Ignore => Action::Ignore,
        Finding::Flag => Action::Flag,
        Finding::Refuse => Action::Refuse,
    }
}

/// `agora datanet items`.
///
/// # Errors
/// `datanet.not_found`; the keeper's.
pub async fn items(
    service: &dyn Service,
    name: &str,
    version: Option<u32>,
    (from, limit): (u32, u32),
) -> Outcome<ItemList> {
    let net = find(service, name).await?;
    let version = version.unwrap_or(0);
    let asked = DatanetAsk::Items { id: net.id, version, included: false, from, limit };
    let page: ItemPage = ask(service, asked).await?;
    let items = page.items.iter().map(|row| Read::of(row).map(|read| read.view(row))).collect::<Outcome<_>>()?;
    let statement = page.signed.as_deref().map(bytes).transpose()?.map(Hash::sha256);
    Ok(ItemList { datanet: net.id, version, statement, counts: page.counts, items, total: page.total })
}

/// A row with its records read.
pub(crate) struct Read {
    pub(crate) contribution: Contribution,
    pub(crate) submission: Signed<Submission>,
    pub(crate) reveal: Reveal,
}

impl Read {
    /// Reads a row and compares the data with its commitment.
    ///
    /// # Errors
    /// `datanet.not_committed`, `wire.malformed`.
    pub(crate) fn of(row: &ItemRow) -> Outcome<Self> {
        let read = Self {
            contribution: record(&row.contribution)?,
            submission: signed(&row.submission)?,
            reveal: record(&row.reveal)?,
        };
        let (content, size) = read
            .reveal
            .content(&read.submission.payload().contributor)
            .map_err(|code| Failure::new(code, format!("contribution {}", row.place)))?;
        let fits = content == read.contribution.content_hash
            && size == read.contribution.size_bytes
            && read.submission.hash() == read.contribution.submission;
        match fits {
            true => Ok(read),
            false => Err(Failure::new(Code::NotCommitted, format!("contribution {}", row.place))),
        }
    }

    /// Leaf hash: what receipts name.
    pub(crate) fn leaf(&self) -> Hash {
        leaf_hash(&self.contribution.to_bytes())
    }

    fn view(self, row: &ItemRow) -> ItemView {
        let said = self.submission.payload();
        ItemView {
            place: row.place,
            seq: self.contribution.position.seq,
            contribution: self.leaf(),
            content_hash: self.contribution.content_hash,
            contributor: said.contributor,
            licence: said.licence.clone(),
            committed: row.committed,
            standing: row.standing,
            item: self.reveal.item,
        }
    }

    pub(crate) fn example(&self, place: u32) -> Example {
        let said = self.submission.payload();
        Example {
            place,
            position: self.contribution.position,
            contributor: said.contributor,
            kind: said.kind,
            licence: said.licence.clone(),
            content_hash: self.contribution.content_hash,
            item: self.reveal.item.clone(),
        }
    }
}

/// A version with everything that is in it.
pub(crate) struct Whole {
    pub(crate) signed: Signed<DatanetVersion>,
    /// The rules that it was made under, whatever the datanet's are by now.
    pub(crate) policy: Policy,
    pub(crate) counts: agora_datanets::Counts,
    pub(crate) rows: Vec<(ItemRow, Read)>,
}

/// Reads all that is in a version, with its rules; the newest if none is named.
///
/// # Errors
/// `datanet.not_found`, also before the first version; `datanet.not_committed`; the keeper's.
pub(crate) async fn whole(service: &dyn Service, net: &DatanetView, version: Option<u32>) -> Outcome<Whole> {
    let version = version.unwrap_or(net.version);
    if version == 0 {
        let what = format!("datanet `{}` has no version yet", net.name);
        return Err(Failure::new(Code::DatanetNotFound, what).advise("its owner makes one: `agora datanet version`"));
    }
    let (mut rows, mut from) = (Vec::new(), 0);
    loop {
        let asked = DatanetAsk::Items { id: net.id, version, included: true, from, limit: PAGE };
        let page: ItemPage = ask(service, asked).await?;
        let read = u32::try_from(page.items.len()).unwrap_or(u32::MAX);
        for row in page.items {
            let read = Read::of(&row)?;
            rows.push((row, read));
        }
        from += read;
        if from < page.total && read > 0 {
            continue;
        }
        let text = page.signed.ok_or_else(|| malformed("a version without its statement"))?;
        let signed: Signed<DatanetVersion> = signed(&text)?;
        let said = signed.payload();
        if said.terms.id() != net.id || said.version != version || said.included != rows.len() as u64 {
            return Err(Failure::new(Code::DatanetRecord, format!("version {version} of {}", net.id)));
        }
        let policy = policy_of(service, said).await?;
        return Ok(Whole { signed, policy, counts: page.counts, rows });
    }
}

async fn policy_of(service: &dyn Service, version: &DatanetVersion) -> Outcome<Policy> {
    let asked = DatanetAsk::Policy { id: version.terms.id(), hash: version.policy_hash };
    let view: PolicyView = ask(service, asked).await?;
    let policy: Policy = record(&view.policy)?;
    match policy.hash() == version.policy_hash {
        true => Ok(policy),
        false => Err(Failure::new(Code::DatanetRecord, format!("the policy of version {}", version.version))),
    }
}

/// What an act is about, as people write it.
async fn subject(service: &dyn Service, net: &DatanetView, text: &str) -> Outcome<Subject> {
    let wrong = || Failure::usage(format!("`{text}`: write a place, batch:NUMBER, or a content hash"));
    if let Some(seq) = text.strip_prefix("batch:") {
        return seq.parse().map(Subject::Submission).map_err(|_| wrong());
    }
    if text.starts_with("0x") {
        return text.parse().map(Subject::Contribution).map_err(|_| wrong());
    }
    let from: u32 = text.parse().map_err(|_| wrong())?;
    let asked = DatanetAsk::Items { id: net.id, version: 0, included: false, from, limit: 1 };
    let page: ItemPage = ask(service, asked).await?;
    let row = page.items.first();
    let row = row.ok_or_else(|| Failure::new(Code::DatanetNotFound, format!("no contribution at place {from}")))?;
    Ok(Subject::Contribution(Read::of(row)?.contribution.content_hash))
}

/// `agora datanet judge`.
///
/// # Errors
/// `datanet.bad_act`; the keystore's and the keeper's.
pub async fn judge(context: &Context, service: &dyn Service, options: &Judge) -> Outcome<Said> {
    let net = find(service, &options.datanet).await?;
    let keys = Keys::of(context)?;
    let ruling = match options.ruling {
        RulingWord::Accept => Ruling::Accept,
        RulingWord::Reject => Ruling::Reject,
        RulingWord::Flag => Ruling::Flag,
    };
    let reason = match (&options.reason, ruling) {
        (Some(text), _) => serde_json::from_value::<Reason>(text.replace('-', "_").into())
            .map_err(|_| Failure::usage(format!("--reason {text}: see `agora datanet judge --help`")))?,
        (None, Ruling::Accept) => Reason::Good,
        (None, _) => return Err(Failure::usage("a rejection or flag needs a reason").advise("say why with --reason")),
    };
    let status: Status = service.call(Request::Status).await?;
    let verdict = Verdict {
        network: status.chain_id,
        datanet: net.id,
        curator: keys.address(&options.from)?,
        subject: subject(service, &net, &options.subject).await?,
        ruling,
        reason,
        note: options.note.clone(),
        time: System.now(),
    };
    verdict.check().map_err(|code| Failure::new(code, "ruling, reason and note"))?;
    let act = Act::Verdict(Signed::sign(verdict, &keys.statements(&options.from)?));
    say(service, &net, &act).await
}

/// `agora datanet withdraw`.
///
/// # Errors
/// `datanet.bad_act`; the keystore's and the keeper's.
pub async fn withdraw(
    context: &Context,
    service: &dyn Service,
    (name, text, from): (&str, &str, &str),
) -> Outcome<Said> {
    let net = find(service, name).await?;
    let keys = Keys::of(context)?;
    let status: Status = service.call(Request::Status).await?;
    let withdrawal = Withdrawal {
        network: status.chain_id,
        datanet: net.id,
        contributor: keys.address(from)?,
        subject: subject(service, &net, text).await?,
        time: System.now(),
    };
    let act = Act::Withdrawal(Signed::sign(withdrawal, &keys.statements(from)?));
    say(service, &net, &act).await
}

async fn say(service: &dyn Service, net: &DatanetView, act: &Act) -> Outcome<Said> {
    let taken: ActTaken = ask(service, DatanetAsk::Act { act: hex::encode(act.to_bytes()) }).await?;
    Ok(Said { datanet: net.id, number: taken.number })
}

/// `agora datanet version`: the keeper drafts it, the owner signs it and its registration, the keeper writes both down
/// and brings them to the ledger. Given again, it goes on where it was; where nothing has come since, the newest version
/// stands.
///
/// # Errors
/// `datanet.empty_version`, the keystore's and the ledger's refusals; the keeper's.
pub async fn version(context: &Context, service: &dyn Service, name: &str, from: &str) -> Outcome<Made> {
    let net = find(service, name).await?;
    let keys = Keys::of(context)?;
    let owner = keys.open(from)?;
    if owner.address() != net.owner {
        let what = format!("`{from}` is not the owner of `{}`", net.name);
        return Err(
            Failure::new(Code::DatanetTerms, what).advise(format!("name the wallet of {} with --from", net.owner))
        );
    }
    let draft: VersionDraft = ask(service, DatanetAsk::Draft { id: net.id }).await?;
    let kept: Option<Signed<DatanetVersion>> = draft.kept.then(|| signed(&draft.version)).transpose()?;
    let version = match &kept {
        Some(kept) => kept.payload().clone(),
        None => record(&draft.version)?,
    };
    // What the owner signs is its own datanet, whatever the node made.
    if version.terms.id() != net.id || version.version < net.version {
        return Err(malformed("a draft of another version"));
    }
    version.check().map_err(|code| Failure::new(code, "the draft"))?;
    let statement = match kept {
        Some(kept) => kept.hash(),
        None => {
            let signed = Signed::sign(version.clone(), &keys.statements(from)?);
            let registration = version.registration(fresh_head(&System, &System, owner.address()), signed.hash());
            let entry = Entry::sign(&context.genesis()?.network(), Command::RegisterDatanet(registration), &owner);
            let (version, entry) = (hex::encode(signed.to_bytes()), hex::encode(entry.to_bytes()));
            let _: DatanetView = ask(service, DatanetAsk::Publish { version, entry }).await?;
            signed.hash()
        }
    };
    Ok(Made {
        datanet: net.id,
        version: version.version,
        root: version.root,
        tree_size: version.tree_size,
        statement,
        counts: draft.counts,
    })
}

/// `agora datanet export`.
///
/// # Errors
/// `datanet.not_found`, `node.io`, also for a folder that is there; the keeper's.
pub async fn export(
    service: &dyn Service,
    (name, version): (&str, Option<u32>),
    out: &std::path::Path,
    languages: Vec<String>,
) -> Outcome<Written> {
    let net = find(service, name).await?;
    let Whole { signed, policy, counts, rows } = whole(service, &net, version).await?;
    std::fs::create_dir(out).map_err(Failure::io(out))?;
    let path = out.join("items.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create_new(&path).map_err(Failure::io(&path))?);
    let mut writer = FileWriter::default();
    for (row, read) in &rows {
        file.write_all(writer.line(&read.example(row.place)).as_bytes()).map_err(Failure::io(&path))?;
    }
    file.flush().map_err(Failure::io(&path))?;
    let data = writer.finish();
    let times = || rows.iter().filter_map(|(row, _)| row.committed);
    let notes = Notes { languages, ..Notes::default() };
    let described = Described {
        version: signed.payload(),
        statement: signed.hash(),
        policy: &policy,
        counts: &counts,
        file: &data,
        url: "items.jsonl",
        period: times().min().zip(times().max()),
        notes: &notes,
    };
    let path = out.join("croissant.json");
    let text = format!("{:#}\n", croissant(&described));
    std::fs::write(&path, text).map_err(Failure::io(&path))?;
    files::sync_folder(out)?;
    Ok(Written {
        datanet: net.id,
        version: signed.payload().version,
        folder: out.to_path_buf(),
        items: data.count,
        sha256: data.sha256,
    })
}
