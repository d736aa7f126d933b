//! What the demo tells: lines for people as it goes on, one document for machines at the end.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use agora_inference_api::BaseInfo;
use agora_receipts::Envelope;
use agora_shell::output::{Document, Style};
use agora_shell::{Format, Outcome, Printer};
use agora_types::genesis::Genesis;
use agora_types::{Address, Amount, CallId};
use schemars::JsonSchema;
use serde::Serialize;

use super::economy::Economy;
use super::open;
use crate::cli::context::Context;
use crate::cli::documents::Deployment;
use crate::cli::ledger::AuditReport;
use crate::cli::receipt::Call;
use crate::cli::verify::VerdictDocument;
use crate::control::AgentStep;

/// What was measured of the one answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Figures {
    /// Tokens of the answer.
    pub tokens: u64,
    /// Milliseconds from the opened channel to the first token: the prompt was read in between.
    pub first_token_ms: u64,
    /// Milliseconds from the first token to the last.
    pub stream_ms: u64,
    /// Milliseconds from the last token to the settled receipt.
    pub settled_ms: u64,
    /// Vouchers that were signed.
    pub vouchers: u64,
    /// The most that was authorised and not delivered, in atoms.
    pub exposure_max: Amount,
    /// What it cost.
    pub charge: Amount,
    authorised: Amount,
}

impl Figures {
    pub(super) fn open(&mut self, authorised: Amount) {
        (self.vouchers, self.authorised, self.exposure_max) = (1, authorised, authorised);
    }

    pub(super) fn text(&mut self, since: Duration, tokens: u64, spent: Amount, authorised: Amount) {
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if self.tokens == 0 {
            self.first_token_ms = millis;
        }
        self.tokens = tokens;
        self.stream_ms = millis.saturating_sub(self.first_token_ms);
        if authorised > self.authorised {
            self.vouchers += 1;
            self.authorised = authorised;
        }
        self.exposure_max = self.exposure_max.max(authorised.saturating_sub(spent));
    }

    pub(super) fn receipted(&mut self, after: Duration, charge: Amount) {
        self.settled_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        self.charge = charge;
    }

    /// Tokens of each second, in tenths.
    fn tokens_per_s_tenths(&self) -> u64 {
        (self.tokens.saturating_sub(1) * 10_000).checked_div(self.stream_ms).unwrap_or(0)
    }
}

/// The demo in one document.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DemoReport {
    /// The network.
    pub network: String,
    /// What the model said.
    pub answer: String,
    /// The call.
    pub call: CallId,
    /// The exported receipt.
    pub file: String,
    /// What was measured.
    pub figures: Figures,
}

impl Document for DemoReport {
    const TYPE: &'static str = "agora/demo/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "{}", self.answer)
    }
}

/// Where it is told.
pub(super) struct Stage {
    printer: Printer,
    /// False when one document at the end is asked for.
    tells: bool,
    streams: bool,
}

/// A name that two people may read at a glance.
fn short(text: impl ToString) -> String {
    let text = text.to_string();
    let cut: String = text.chars().take(10).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { text }
}

impl Stage {
    pub(super) fn new(context: &Context) -> Self {
        let tells = context.printer.format() == Format::Text;
        Self { printer: context.printer.clone(), tells, streams: false }
    }

    fn say(&self, text: &str) {
        if self.tells {
            // A reader that left does not stop the demo.
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{text}").and_then(|()| out.flush());
        }
    }

    fn head(&self, text: &str) {
        self.say(&format!("\n{}", self.printer.style().bold(text)));
    }

    fn show<T: Document>(&self, document: &T) -> Outcome<()> {
        if self.tells {
            self.printer.print(document)?;
        }
        Ok(())
    }

    pub(super) fn network(&self, genesis: &Genesis, folder: &Path) {
        self.head("A node of its own");
        self.say(&format!("  network `{}`, chain id {}, in {}", genesis.name, genesis.chain_id, folder.display()));
        self.say("  a dev network: its money is worth nothing, its keys are random");
    }

    pub(super) fn economy(&self, economy: &Economy, model: &BaseInfo) {
        self.head("Whose data, which model");
        let members: Vec<String> = economy.members.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
        self.say(&format!(
            "  datanet sea-notes ({}): {}; weights declared, not measured",
            short(economy.datanet),
            members.join(", ")
        ));
        self.say(&format!("  model   {} ({})", model.name, short(model.hash)));
        let prices = &economy.listing.prices;
        self.say(&format!(
            "  listing {} ({}): {} a prompt token, {} a written one",
            economy.listing.name,
            short(economy.listing.id()),
            open(prices.input),
            open(prices.output)
        ));
    }

    pub(super) fn wallet(&self, address: &Address, amount: Amount) {
        self.head("A wallet and an agent");
        self.say(&format!("  wallet `demo` ({}) got {} from the dev genesis", short(address), open(amount)));
    }

    pub(super) fn deployed(&self, deployment: &Deployment) {
        let agent = &deployment.agent;
        self.say(&format!(
            "  agent `{}` runs in a sandbox with an account of its own ({}): it may spend {} in all, and holds no key",
            agent.name,
            short(agent.account),
            open(agent.budget)
        ));
        self.head("The agent at work");
    }

    pub(super) fn step(&mut self, step: &AgentStep) {
        if self.streams && !matches!(step, AgentStep::Text { .. }) {
            self.streams = false;
            self.say("\n");
        }
        match step {
            AgentStep::Accepted { event } => self.say(&format!("  question accepted as event {}", short(event))),
            AgentStep::Found { names } => self.say(&format!("  found listings: {}", names.join(", "))),
            AgentStep::Quoted { name, input_tokens, output_max, charge_max } => self.say(&format!(
                "  signed quote of {name}: {input_tokens} prompt tokens, at most {output_max} written, at most {}",
                open(*charge_max)
            )),
            AgentStep::Opened { authorised, .. } => {
                self.say(&format!(
                    "  channel open; the first voucher covers {}; the answer, token by token:\n",
                    open(*authorised)
                ));
            }
            AgentStep::Text { text, .. } => {
                if self.tells {
                    self.streams = true;
                    let mut out = io::stdout().lock();
                    // What a model says must not steer the terminal; it may begin new lines.
                    let lines: Vec<String> = text.split('\n').map(agora_shell::text::plain).collect();
                    let _ = write!(out, "{}", lines.join("\n")).and_then(|()| out.flush());
                }
            }
            AgentStep::Receipted { charge, .. } => self.say(&format!("  settled: {}", open(*charge))),
            AgentStep::Fetched { host, paid, .. } => self.say(&format!("  asked {host}, paid {}", open(*paid))),
            AgentStep::Logged { line } => self.say(&format!("  log ({}): {}", line.level, line.text)),
            AgentStep::Answered { .. } => {}
        }
    }

    pub(super) fn answered(&self, figures: &Figures) {
        let speed = figures.tokens_per_s_tenths();
        self.say("  (a 135M model is tiny: it writes fluently and knows little)");
        self.say(&format!(
            "  first token after {} ms, {}.{} tokens/s, settled {} ms after the last token",
            figures.first_token_ms,
            speed / 10,
            speed % 10,
            figures.settled_ms
        ));
        self.say(&format!(
            "  {} vouchers for {} tokens; never more than {} authorised and not delivered",
            figures.vouchers,
            figures.tokens,
            open(figures.exposure_max)
        ));
    }

    pub(super) fn receipt(&self, envelope: &Envelope, economy: &Economy) -> Outcome<()> {
        self.head("The receipt");
        self.show(&Call::of(envelope)?)?;
        self.say("who is who:");
        for (name, address) in &economy.people {
            self.say(&format!("  {name:<6} {address}"));
        }
        Ok(())
    }

    pub(super) fn verified(&self, file: &Path, verdict: &VerdictDocument) -> Outcome<()> {
        self.head(&format!("agora receipt verify {}   (offline)", file.display()));
        self.show(verdict)
    }

    pub(super) fn audited(&self, report: &AuditReport) -> Outcome<()> {
        self.head("agora ledger audit   (recounted from the log, by code that moved nothing)");
        self.show(report)
    }

    pub(super) fn paid(&self, balances: &[(String, Amount)]) {
        self.head("Who has been paid by now");
        for (name, balance) in balances {
            self.say(&format!("  {name:<6} {}", open(*balance)));
        }
    }

    pub(super) fn next(&self, file: &Path, context: &Context) {
        let network = context.network();
        self.head("Go on");
        self.say(&format!("  agora receipt verify {}", file.display()));
        self.say(&format!("  agora --network {network} receipt list"));
        self.say(&format!("  agora --network {network} up          and, beside it:"));
        self.say(&format!("  agora --network {network} agent ask researcher \"How do tides come about?\""));
    }
}
