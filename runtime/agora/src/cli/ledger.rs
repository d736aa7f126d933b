//! `agora ledger`: a recount that believes no node, and the log as it stands.

use std::collections::BTreeMap;
use std::io::{self, Write};

use agora_audit::{Audit, Finding, Report};
use agora_shell::output::{Document, Style};
use agora_shell::{Bar, Failure, Outcome, Written, text};
use agora_types::batch::Batch;
use agora_types::{Address, Amount, Canonical as _, Code, Hash, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::context::Context;
use crate::control::{LogPage, Request, Service};

/// Batches of one request.
const PAGE: u32 = 1_000;

/// What a clean log adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditReport {
    /// Hash of the genesis file, as it was read from the data folder.
    pub genesis: Hash,
    /// Batches read.
    pub batches: u64,
    /// Commands that were accepted.
    pub accepted: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Hash of the newest header.
    pub head: Hash,
    /// Everything that exists.
    pub supply: Amount,
    /// Reserved by pending transfers.
    pub reserved: Amount,
    /// Unclaimed in channels.
    pub escrow: Amount,
    /// Claimed and not settled.
    pub unsettled: Amount,
    /// Contributor parts that wait for final receipts.
    pub suspense: Amount,
    /// In the commons pot.
    pub commons: Amount,
    /// Set aside by measured shares and not claimed.
    pub earnings: Amount,
    /// Channels that ever were.
    pub channels: u64,
    /// Leaves of the receipt log.
    pub receipts: u64,
    /// Their root.
    pub receipts_root: Hash,
    /// Calls settled.
    pub calls: u64,
    /// Calls with a final receipt.
    pub finalized: u64,
    /// Calls whose deadline passed without one.
    pub lapsed: u64,
    /// Every account's balance.
    pub balances: BTreeMap<Address, Amount>,
}

impl From<Report> for AuditReport {
    fn from(report: Report) -> Self {
        Self {
            genesis: report.genesis,
            batches: report.batches,
            accepted: report.accepted,
            refused: report.refused,
            head: report.head,
            supply: report.supply,
            reserved: report.reserved,
            escrow: report.escrow,
            unsettled: report.unsettled,
            suspense: report.suspense,
            commons: report.commons,
            earnings: report.earnings,
            channels: report.channels,
            receipts: report.receipts,
            receipts_root: report.receipts_root,
            calls: report.calls,
            finalized: report.finalized,
            lapsed: report.lapsed,
            balances: report.balances,
        }
    }
}

impl Document for AuditReport {
    const TYPE: &'static str = "agora/audit/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{}", style.good("the log adds up"))?;
        writeln!(out, "  genesis    {}", self.genesis)?;
        writeln!(out, "  head       {}, {} batches", self.head, self.batches)?;
        writeln!(out, "  commands   {} accepted, {} refused", self.accepted, self.refused)?;
        writeln!(out, "  supply     {} in {} accounts", text::amount(self.supply), self.balances.len())?;
        writeln!(out, "  reserved   {}", text::amount(self.reserved))?;
        writeln!(out, "  escrow     {} in {} channels", text::amount(self.escrow), self.channels)?;
        writeln!(out, "  unsettled  {}", text::amount(self.unsettled))?;
        writeln!(out, "  suspense   {} of contributors", text::amount(self.suspense))?;
        writeln!(out, "  commons    {}", text::amount(self.commons))?;
        writeln!(out, "  earnings   {} not claimed", text::amount(self.earnings))?;
        writeln!(out, "  calls      {}, {} final, {} lapsed", self.calls, self.finalized, self.lapsed)?;
        writeln!(out, "  receipts   {} under {}", self.receipts, self.receipts_root)
    }
}

/// `agora ledger audit`: everything that was durable when the first page came.
///
/// # Errors
/// `ledger.audit_finding`; `node.no_network`, `ledger.genesis_invalid`; the service's.
pub async fn audit(context: &Context, service: &dyn Service) -> Outcome<AuditReport> {
    // From the data folder: a node that lies about its log would lie about its beginning too.
    let genesis = context.genesis()?;
    let bar = context.printer.spinner("recounting the ledger");
    let counted = recount(service, Audit::new(&genesis).map_err(finding)?, &bar).await;
    bar.finish();
    counted
}

async fn recount(service: &dyn Service, mut audit: Audit, bar: &Bar) -> Outcome<AuditReport> {
    let (mut from, mut end) = (0, None);
    loop {
        let page: LogPage = service.call(Request::Batches { from, limit: PAGE }).await?;
        // A node that works on adds batches faster than this ends, perhaps for ever.
        let end = *end.get_or_insert(page.size);
        for text in page.batches.iter().take(usize::try_from(end - from).unwrap_or(usize::MAX)) {
            audit.batch(&read(text, from)?).map_err(finding)?;
            from += 1;
        }
        bar.at(from);
        if from >= end {
            return audit.report().map(AuditReport::from).map_err(finding);
        }
        if page.batches.is_empty() {
            let what = format!("the log says it has {end} batches, and none comes after {from}");
            return Err(Failure::new(Code::AuditFinding, what));
        }
    }
}

fn read(text: &str, seq: u64) -> Outcome<Batch> {
    let bad = |what: String| Failure::new(Code::AuditFinding, format!("batch {seq}: {what}"));
    let bytes = hex::decode(text).map_err(|error| bad(error.to_string()))?;
    Batch::from_bytes(&bytes).map_err(|error| bad(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn finding(finding: Finding) -> Failure {
    Failure::new(Code::AuditFinding, finding.to_string())
}

/// One batch of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogBatch {
    /// Its position.
    pub seq: u64,
    /// Ledger time, nanoseconds since 1970.
    pub time: Timestamp,
    /// Hash of its header.
    pub hash: Hash,
    /// Commands by kind, in order, each with the code that refused it.
    pub commands: Vec<LogCommand>,
    /// Leaves of the receipt log after it.
    pub receipts: u64,
}

/// One command of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LogCommand {
    /// Its kind.
    pub kind: String,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<Address>,
    /// Why it was refused; absent: accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Document for LogBatch {
    const TYPE: &'static str = "agora/log-batch/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let hash = style.faint(&self.hash.to_string()[..18]);
        writeln!(out, "{} {hash} {:?}, {} receipts", style.bold(&self.seq.to_string()), self.time, self.receipts)?;
        for command in &self.commands {
            let signer = command.signer.map(|signer| format!(" by {signer}")).unwrap_or_default();
            let refused = command.refused.as_ref().map(|code| style.doubtful(&format!(" refused: {code}")));
            writeln!(out, "    {}{signer}{}", command.kind, refused.unwrap_or_default())?;
        }
        Ok(())
    }
}

/// `agora ledger log`: batches from a position, or the newest.
///
/// # Errors
/// `store.damaged` for what is no batch; the service's.
pub async fn log(context: &Context, service: &dyn Service, from: Option<u64>, limit: u32) -> Outcome<()> {
    let from = match from {
        Some(from) => from,
        None => {
            let page: LogPage = service.call(Request::Batches { from: 0, limit: 1 }).await?;
            page.size.saturating_sub(limit.into())
        }
    };
    let (mut at, end) = (from, from.saturating_add(limit.into()));
    while at < end {
        let limit = u32::try_from(end - at).unwrap_or(PAGE).min(PAGE);
        let page: LogPage = service.call(Request::Batches { from: at, limit }).await?;
        for text in &page.batches {
            if context.printer.stream(&describe(text, at)?)? == Written::ReaderGone {
                return Ok(());
            }
            at += 1;
        }
        if page.batches.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

fn describe(text: &str, seq: u64) -> Outcome<LogBatch> {
    let damaged = |what: String| Failure::new(Code::StoreDamaged, format!("batch {seq}: {what}"));
    let batch = read(text, seq).map_err(|failure| damaged(failure.what))?;
    let body = batch.open().map_err(|error| damaged(error.to_string()))?;
    let command = |(entry, outcome): (&agora_types::batch::Entry, &agora_types::batch::Outcome)| LogCommand {
        kind: entry.command.kind_name().to_owned(),
        signer: entry.command.signer(),
        refused: (!outcome.is_ok()).then(|| outcome.code().map_or("unknown", Code::text).to_owned()),
    };
    Ok(LogBatch {
        seq: batch.header.seq,
        time: batch.header.time,
        hash: batch.header.hash(),
        commands: body.entries.iter().zip(&body.outcomes).map(command).collect(),
        receipts: batch.header.receipts_size,
    })
}
