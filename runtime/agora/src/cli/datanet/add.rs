//! `agora datanet add`: gives the items of one's own file, and pays for them with one's own wallet.

use std::io::BufReader;
use std::path::Path;

use agora_datanets::Submission;
use agora_economy::ports::datanets::{Columns, Format};
use agora_shell::{Failure, Outcome, files};
use agora_types::batch::Entry;
use agora_types::{Amount, Canonical as _, Code};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::args::Add;
use super::documents::Given;
use super::{charter, find};
use crate::cli::context::Context;
use crate::cli::keys::Keys;
use crate::control::{Committed, Request, Service};
use crate::giving::read::{self, Rows, Shape, found, sort};
use crate::giving::{Giver, Offer, Purse, Saying};

/// Most items of a file.
const FILE_ITEMS_MAX: u32 = 1 << 20;

/// `agora datanet add`.
///
/// # Errors
/// `datanet.not_found`, `datanet.bad_input` or `datanet.item_refused` for a file that is not as it should be, the
/// wallet's and the ledger's refusals; the keeper's.
pub async fn add(context: &Context, service: &dyn Service, options: &Add) -> Outcome<Given> {
    let net = find(service, &options.datanet).await?;
    let charter = charter(service, net.id).await?;
    let name = options.file.display().to_string();
    let sorted = sort(rows(options)?, &charter.payload().policy, (&name, options.skip_bad))?;
    let keys = Keys::of(context)?;
    let from = &options.paying.from;
    let offer = Offer::of(charter, keys.address(from)?, sorted)?;
    if options.dry_run {
        return Ok(offer.dry());
    }
    let (count, fee) = (offer.given.items, offer.given.fee);
    if !fee.is_zero() {
        context.allow(fee)?;
        let owner = offer.owner();
        context.confirm(&format!("Pay {fee} OPEN to {owner} for {count} items?"), options.paying.yes)?;
    }
    let (account, signer) = (keys.open(from)?, keys.statements(from)?);
    let (purse, network) = (Wallet(service), context.genesis()?.network());
    let giver = Giver { service, purse: &purse, network, account: &account, signer: &signer };
    let name = options.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let said = Saying {
        kind: options.kind,
        weight: options.weight,
        licence: options.licence.clone(),
        title: options.title.clone().unwrap_or(name),
    };
    let bar = context.printer.bytes_bar("revealing", u64::from(count));
    let given = giver.give(offer, &said, &mut |items| bar.at(items)).await?;
    bar.finish();
    Ok(given)
}

/// The user's own: whoever typed the command has agreed to the price.
struct Wallet<'a>(&'a dyn Service);

impl Purse for Wallet<'_> {
    fn commit<'a>(&'a self, _: &'a Submission, _: Amount, entries: Vec<Entry>) -> BoxFuture<'a, Outcome<bool>> {
        async move {
            let entries: Vec<String> = entries.iter().map(|entry| hex::encode(entry.to_bytes())).collect();
            let committed: Committed = self.0.call(Request::Commit { entries }).await?;
            let codes = committed.refused.into_iter().flatten().map(Code::from_number);
            let codes: Vec<Code> = codes.map(|code| code.unwrap_or(Code::WireUnsupported)).collect();
            match codes.iter().find(|code| **code != Code::LinkedFailed) {
                None => Ok(true),
                Some(Code::DatanetCommitted) => Ok(false),
                Some(code) => Err(Failure::new(*code, "the ledger refused the commitment")),
            }
        }
        .boxed()
    }
}

fn rows(options: &Add) -> Outcome<Rows> {
    let path: &Path = &options.file;
    let format = match options.format {
        Some(format) => format,
        None => match path.extension().and_then(|end| end.to_str()).unwrap_or_default() {
            "jsonl" | "ndjson" | "json" => Format::Jsonl,
            "csv" => Format::Csv,
            "parquet" => Format::Parquet,
            "txt" | "md" | "text" => Format::Text,
            _ => {
                return Err(Failure::usage(format!("{}: no known ending", path.display()))
                    .advise("say what it is: --format jsonl, csv, parquet or text"));
            }
        },
    };
    let columns = match (&options.text, &options.prompt, &options.response, &options.messages) {
        (Some(text), ..) => Columns::Text(text.clone()),
        (_, Some(prompt), Some(response), _) => Columns::Pair(prompt.clone(), response.clone()),
        (.., Some(messages)) => Columns::Messages(messages.clone()),
        _ => Columns::Usual,
    };
    let shape = Shape { format, columns, whole: options.whole, items_max: FILE_ITEMS_MAX };
    // A file that is not there is said as everywhere.
    let file = BufReader::new(files::open(path)?);
    read::rows(file, shape, |_, mapping, limits| {
        let reader = agora_intake::open(path, mapping, limits);
        let reader = reader.map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))?;
        Ok(Box::new(reader.map(found)))
    })
}
