//! `agora datanet add`: reads a file, checks it, commits to its items on the ledger, then reveals them.
//!
//! A command that was interrupted is given again: the same file for the same datanet is the same batch, so that the
//! commitment stands already and what was revealed is passed over.

use std::io::BufReader;
use std::path::Path;

use agora_actors::clock::{Clock as _, fresh_head};
use agora_datanets::checks::check;
use agora_datanets::readers::{CsvReader, JsonlReader, Limits, Mapping, ReadError, Row, TextReader, TextUnit};
use agora_datanets::{Action, Batch, BatchSeed, Charter, ContributionKind, ITEMS_MAX, Item, Submission, licence_hash};
use agora_shell::{Failure, Outcome, files};
use agora_types::batch::Entry;
use agora_types::command::{Command, CommitData, Transfer};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, Amount, Canonical as _, Code, Hash, Signed};

use super::args::{Add, FileFormat, Kind};
use super::documents::{Given, LeftOut};
use super::{ask, charter, find};
use crate::cli::context::Context;
use crate::cli::keys::Keys;
use crate::control::{Committed, Contributed, DatanetAsk, DatanetView, Request, RevealedItem, Service};
use crate::node::System;

/// Most items of a file.
const FILE_ITEMS_MAX: u32 = 1 << 20;
/// Items and bytes that are revealed at once.
const PAGE_ITEMS: usize = 128;
const PAGE_BYTES: usize = 2 << 20;

/// What is known of a file before anything is given.
struct Sorted {
    items: Vec<Item>,
    left_out: Vec<LeftOut>,
    flagged: Vec<LeftOut>,
}

/// `agora datanet add`.
///
/// # Errors
/// `datanet.not_found`, `datanet.bad_input` or `datanet.item_refused` for a file that is not as it should be, the
/// wallet's and the ledger's refusals; the keeper's.
pub async fn add(context: &Context, service: &dyn Service, options: &Add) -> Outcome<Given> {
    let net = find(service, &options.datanet).await?;
    let charter = charter(service, net.id).await?;
    let Charter { terms, policy, .. } = charter.payload();
    let sorted = read(options, charter.payload())?;
    let count = u32::try_from(sorted.items.len()).unwrap_or(u32::MAX);
    let mut given = Given {
        datanet: net.id,
        items: count,
        new: 0,
        batches: Vec::new(),
        left_out: sorted.left_out,
        flagged: sorted.flagged,
        fee: Amount::ZERO,
        dry_run: options.dry_run,
    };
    if sorted.items.is_empty() {
        let why = given.left_out.first().map_or_else(String::new, |one| format!(": line {}: {}", one.line, one.why));
        return Err(Failure::new(Code::DataInvalid, format!("{} has no item to give{why}", options.file.display())));
    }
    let keys = Keys::of(context)?;
    let from = &options.paying.from;
    // The owner pays itself nothing.
    let fee = if keys.address(from)? == terms.owner { Amount::ZERO } else { policy.fee };
    let whole = fee.atoms().checked_mul(u128::from(count)).map(Amount::from_atoms);
    given.fee = whole.ok_or_else(|| Failure::new(Code::PolicyInvalid, "the fee of so many items"))?;
    if options.dry_run {
        return Ok(given);
    }
    if !given.fee.is_zero() {
        context.allow(given.fee)?;
        context
            .confirm(&format!("Pay {} OPEN to {} for {count} items?", given.fee, terms.owner), options.paying.yes)?;
    }
    let giver = Giver { context, service, net: &net, account: keys.open(from)?, signer: keys.statements(from)? };
    let name = options.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let said = Saying {
        kind: kind(options.kind),
        weight: options.weight,
        licence: options.licence.clone().unwrap_or_else(|| terms.licence.clone()),
        title: options.title.clone().unwrap_or(name),
        fee,
        network: terms.network,
        owner: terms.owner,
    };
    let bar = context.printer.bytes_bar("revealing", u64::from(count));
    let mut done = 0;
    for items in sorted.items.chunks(ITEMS_MAX as usize) {
        let (seq, new) = giver.give(items, &said, &mut |items| bar.at(done + items)).await?;
        done += items.len() as u64;
        given.batches.push(seq);
        given.new += new;
    }
    bar.finish();
    Ok(given)
}

/// What is said of every batch of a file.
struct Saying {
    kind: ContributionKind,
    weight: u32,
    licence: String,
    title: String,
    fee: Amount,
    network: u64,
    owner: Address,
}

struct Giver<'a> {
    context: &'a Context,
    service: &'a dyn Service,
    net: &'a DatanetView,
    account: WalletKey,
    signer: StatementSigner,
}

impl Giver<'_> {
    /// Commits to items and reveals them; the number of the commitment, and how many were new.
    async fn give(&self, items: &[Item], said: &Saying, progress: &mut (dyn FnMut(u64) + Send)) -> Outcome<(u64, u32)> {
        let refused = |code: Code| Failure::new(code, "the batch");
        let mut stream = Hash::stream();
        for item in items {
            stream.piece(item.data().map_err(refused)?);
        }
        let seed = BatchSeed { network: said.network, datanet: self.net.id, items: stream.finish() };
        let secret = BatchSeed::secret(&Signed::sign(seed, &self.signer));
        let mut batch = Batch::new(self.account.address(), secret);
        let reveals =
            items.iter().map(|item| batch.add(item.clone())).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let submission = Submission {
            network: said.network,
            datanet: self.net.id,
            contributor: self.account.address(),
            kind: said.kind,
            weight: said.weight,
            licence: said.licence.clone(),
            title: said.title.clone(),
            root: batch.root(),
            count: batch.count(),
            time: System.now(),
        };
        submission.check().map_err(|code| Failure::new(code, "title, licence or weight"))?;
        self.commit(&submission, said).await?;
        let signed = hex::encode(Signed::sign(submission, &self.signer).to_bytes());
        let (mut at, mut new, mut seq) = (0, 0, 0);
        while at < reveals.len() {
            let mut page = Vec::new();
            let mut bytes = 0;
            while at < reveals.len() && page.len() < PAGE_ITEMS && (page.is_empty() || bytes < PAGE_BYTES) {
                let index = u32::try_from(at).expect("at most 65,536 items");
                let reveal = reveals[at].to_bytes();
                bytes += reveal.len();
                let path = batch.proof(index).expect("an item of this batch");
                page.push(RevealedItem { index, reveal: hex::encode(reveal), path });
                at += 1;
            }
            let asked = DatanetAsk::Contribute { submission: signed.clone(), items: page };
            let taken: Contributed = ask(self.service, asked).await?;
            new += taken.new;
            seq = taken.seq;
            progress(at as u64);
        }
        Ok((seq, new))
    }

    /// Fee and commitment in one step. A commitment that stands already was paid for.
    async fn commit(&self, submission: &Submission, said: &Saying) -> Outcome<()> {
        let network = self.context.genesis()?.network();
        let account = self.account.address();
        let mut entries = Vec::new();
        let fee = said.fee.atoms().checked_mul(u128::from(submission.count)).map(Amount::from_atoms);
        let fee = fee.ok_or_else(|| Failure::new(Code::PolicyInvalid, "the fee of so many items"))?;
        if !fee.is_zero() {
            let head = fresh_head(&System, &System, account);
            let transfer =
                Transfer { head, credit: said.owner, amount: fee, pending: None, reference: 0, receipt: None };
            entries.push(Entry::sign(&network, Command::Transfer(transfer), &self.account).linked());
        }
        let commit = CommitData {
            head: fresh_head(&System, &System, account),
            datanet: submission.datanet,
            root: submission.root,
            count: submission.count,
            licence: licence_hash(&submission.licence),
        };
        entries.push(Entry::sign(&network, Command::CommitData(commit), &self.account));
        let entries: Vec<String> = entries.iter().map(|entry| hex::encode(entry.to_bytes())).collect();
        let committed: Committed = self.service.call(Request::Commit { entries }).await?;
        let codes = committed.refused.into_iter().flatten().map(Code::from_number);
        let codes: Vec<Code> = codes.map(|code| code.unwrap_or(Code::WireUnsupported)).collect();
        match codes.iter().find(|code| **code != Code::LinkedFailed) {
            None | Some(Code::DatanetCommitted) => Ok(()),
            Some(code) => Err(Failure::new(*code, "the ledger refused the commitment")),
        }
    }
}

fn kind(kind: Kind) -> ContributionKind {
    match kind {
        Kind::Source => ContributionKind::Source,
        Kind::Correction => ContributionKind::Correction,
        Kind::Annotation => ContributionKind::Annotation,
        Kind::Curation => ContributionKind::Curation,
        Kind::Translation => ContributionKind::Translation,
    }
}

/// Reads and checks a file. Without `--skip-bad` the first that cannot be given ends it.
fn read(options: &Add, charter: &Charter) -> Outcome<Sorted> {
    let mut sorted = Sorted { items: Vec::new(), left_out: Vec::new(), flagged: Vec::new() };
    let mut bad = None;
    for row in rows(options)? {
        match row {
            Ok(Row { line, item }) => {
                let report = check(&item, &charter.policy);
                let why: Vec<&str> = report.findings.iter().map(|finding| finding.sentence.as_str()).collect();
                let why = why.join("; ");
                match report.action {
                    Action::Refuse => {
                        bad.get_or_insert(Code::ItemRefused);
                        sorted.left_out.push(LeftOut { line, why });
                    }
                    Action::Flag => {
                        sorted.flagged.push(LeftOut { line, why });
                        sorted.items.push(item);
                    }
                    Action::Ignore => sorted.items.push(item),
                }
            }
            Err(error) => {
                bad.get_or_insert(Code::DataInvalid);
                sorted.left_out.push(LeftOut { line: error.line, why: error.problem.to_string() });
            }
        }
    }
    match bad.filter(|_| !options.skip_bad) {
        None => Ok(sorted),
        Some(code) => {
            let lines = sorted.left_out.iter().take(5).map(|one| format!("line {}: {}", one.line, one.why));
            let lines: Vec<String> = lines.collect();
            let count = sorted.left_out.len();
            let what = format!("{}: {count} cannot be given: {}", options.file.display(), lines.join("; "));
            Err(Failure::new(code, what).advise("mend them, or leave them out with --skip-bad"))
        }
    }
}

type Rows = Box<dyn Iterator<Item = Result<Row, ReadError>>>;

fn rows(options: &Add) -> Outcome<Rows> {
    let path: &Path = &options.file;
    let format = match options.format {
        Some(format) => format,
        None => match path.extension().and_then(|end| end.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" | "json" => FileFormat::Jsonl,
            "csv" => FileFormat::Csv,
            "parquet" => FileFormat::Parquet,
            "txt" | "md" | "text" => FileFormat::Text,
            _ => {
                return Err(Failure::usage(format!("{}: no known ending", path.display()))
                    .advise("say what it is: --format jsonl, csv, parquet or text"));
            }
        },
    };
    let mapping = match (&options.text, &options.prompt, &options.response, &options.messages) {
        (Some(text), ..) => Mapping::Text { text: text.clone() },
        (_, Some(prompt), Some(response), _) => Mapping::Pair { prompt: prompt.clone(), response: response.clone() },
        (.., Some(messages)) => Mapping::Messages { messages: messages.clone() },
        _ => Mapping::Auto,
    };
    let limits = Limits { items_max: FILE_ITEMS_MAX, ..Limits::default() };
    Ok(match format {
        FileFormat::Parquet => {
            // A file that is not there is said as everywhere.
            files::open(path)?;
            let reader = agora_intake::open(path, mapping, limits);
            Box::new(reader.map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))?)
        }
        FileFormat::Jsonl => Box::new(JsonlReader::new(BufReader::new(files::open(path)?), mapping, limits)),
        FileFormat::Csv => Box::new(CsvReader::new(BufReader::new(files::open(path)?), mapping, limits)),
        FileFormat::Text => {
            let unit = if options.whole { TextUnit::Whole } else { TextUnit::Paragraph };
            Box::new(TextReader::new(BufReader::new(files::open(path)?), unit, limits))
        }
    })
}
