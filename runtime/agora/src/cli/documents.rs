//! The documents of wallets, agents and the node, and their forms for people.

use std::io::{self, Write};

use agora_shell::output::{Document, Style};
use agora_shell::text;
use agora_types::{Address, Amount, CommandId, Hash};
use schemars::JsonSchema;
use serde::Serialize;

use crate::control::{
    AgentLine, AgentStatus, AgentStep, AgentStopped, AgentView, Agents, ApiKeyRemoved, ApiKeyView, ApiKeys, Earnings,
    EarningsClaimed, Secret, SellerView, Sellers, Stopping,
};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Balance {
    /// The wallet's name, if it was asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The account.
    pub address: Address,
    /// False when nothing was ever booked on it.
    pub exists: bool,
    /// What it holds.
    pub balance: Amount,
    /// What it can spend now.
    pub available: Amount,
}

impl Document for Balance {
    const TYPE: &'static str = "agora/balance/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let name = self.wallet.as_ref().map(|name| format!("{name}  ")).unwrap_or_default();
        writeln!(out, "{}{}", style.bold(&name), self.address)?;
        writeln!(out, "  balance    {}", text::amount(self.balance))?;
        writeln!(out, "  available  {}", text::amount(self.available))?;
        if self.exists { Ok(()) } else { writeln!(out, "  {}", style.faint("nothing was ever booked on it")) }
    }
}

/// A transfer, done or only looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sent {
    /// Who pays.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// How much.
    pub amount: Amount,
    /// False for a dry run: nothing was sent.
    pub committed: bool,
    /// The transfer's id, unique for its signer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub id: Option<CommandId>,
}

impl Document for Sent {
    const TYPE: &'static str = "agora/transfer/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let what = if self.committed { style.good("sent") } else { style.doubtful("would send") };
        // Exactly what was typed: a transfer is never shown rounded.
        writeln!(out, "{what} {} OPEN", self.amount)?;
        writeln!(out, "  from  {}", self.from)?;
        writeln!(out, "  to    {}", self.to)?;
        match &self.id {
            Some(id) => writeln!(out, "  id    {id}"),
            None => writeln!(out, "  {}", style.faint("a dry run: nothing was sent")),
        }
    }
}

/// A deployed agent, and what it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Deployment {
    /// The agent.
    pub agent: AgentView,
    /// What its account was given now.
    pub funded: Amount,
    /// The id of that transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub transfer: Option<CommandId>,
}

impl Document for Deployment {
    const TYPE: &'static str = "agora/agent-deployed/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let agent = &self.agent;
        writeln!(out, "agent {} is {}", style.bold(&text::plain(&agent.name)), status(agent.status))?;
        writeln!(out, "  account    {}", agent.account)?;
        writeln!(out, "  component  {}", agent.component)?;
        writeln!(out, "  budget     {}, {} used", text::amount(agent.budget), text::amount(agent.used))?;
        writeln!(out, "  balance    {}, {} given now", text::amount(agent.balance), text::amount(self.funded))
    }
}

impl Document for Agents {
    const TYPE: &'static str = "agora/agent-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |agent: &AgentView| {
            [
                agent.name.clone(),
                status(agent.status).to_owned(),
                text::amount(agent.budget),
                text::amount(agent.used),
                text::amount(agent.balance),
                agent.handled.to_string(),
                agent.failure.clone().unwrap_or_default(),
            ]
        };
        let rows: Vec<[String; 7]> = self.agents.iter().map(row).collect();
        let heading = ["AGENT", "STATUS", "BUDGET", "USED", "BALANCE", "HANDLED", "LAST FAILURE"];
        text::table(out, style, heading, &rows)
    }
}

fn status(status: AgentStatus) -> &'static str {
    match status {
        AgentStatus::Running => "running",
        AgentStatus::Suspended => "suspended",
        AgentStatus::Stopped => "stopped",
    }
}

impl Document for AgentLine {
    const TYPE: &'static str = "agora/agent-log-line/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let seconds = self.time.as_secs() % 86_400;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let level = match self.level.as_str() {
            "error" => style.bad("error"),
            "warn" => style.doubtful("warn "),
            level => style.faint(&format!("{:<5}", text::plain(level))),
        };
        writeln!(out, "{hours:02}:{minutes:02}:{seconds:02} {level} {}", text::plain(&self.text))
    }
}

impl Document for AgentStopped {
    const TYPE: &'static str = "agora/agent-stopped/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "agent {} is stopped", text::plain(&self.agent.name))?;
        writeln!(out, "  back from channels  {}", text::amount(self.refunded))?;
        writeln!(out, "  back to its owner   {} at {}", text::amount(self.returned), self.agent.owner)?;
        match self.until {
            Some(until) => {
                let minutes = until.as_secs() / 60;
                let (hours, minutes) = (minutes / 60 % 24, minutes % 60);
                let waiting = text::amount(self.waiting);
                writeln!(out, "  still in channels   {waiting}, with sellers over HTTP")?;
                writeln!(
                    out,
                    "                      goes back to its owner from {hours:02}:{minutes:02} UTC, while a node runs"
                )
            }
            None => Ok(()),
        }
    }
}

impl Document for AgentStep {
    const TYPE: &'static str = "agora/agent-step/v1";

    /// The model's words as they are, everything else as a line.
    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        match self {
            Self::Text { text, .. } => write!(out, "{}", safe_lines(text)),
            other => writeln!(out, "{}", step_note(other)),
        }
    }
}

/// A step as one line for people.
pub(super) fn step_note(step: &AgentStep) -> String {
    match step {
        AgentStep::Accepted { event } => format!("accepted as event {}", text::plain(event)),
        AgentStep::Found { names } if names.is_empty() => "found nothing that fits".to_owned(),
        AgentStep::Found { names } => format!("found {}", text::plain(&names.join(", "))),
        AgentStep::Quoted { name, input_tokens, output_max, charge_max } => format!(
            "{} asks at most {} for {input_tokens} tokens in and {output_max} out",
            text::plain(name),
            text::amount(*charge_max)
        ),
        AgentStep::Opened { call, authorised } => {
            format!("call {call} begins; {} authorised", text::amount(*authorised))
        }
        AgentStep::Text { tokens, spent, .. } => format!("{tokens} tokens, {} so far", text::amount(*spent)),
        AgentStep::Receipted { call, index, charge } => {
            let place = index.map(|index| format!(", receipt {index}")).unwrap_or_default();
            format!("call {call} cost {}{place}", text::amount(*charge))
        }
        AgentStep::Fetched { host, status, paid } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            format!("asked {}: {status}, paid {}", text::plain(host), text::amount(*paid))
        }
        AgentStep::Logged { line } => format!("log: {}", text::plain(&line.text)),
        AgentStep::Answered { answer } => format!("answered; it spent {}", text::amount(answer.spent)),
    }
}

/// Words from strangers, with their line breaks and without anything else that steers a terminal.
pub(super) fn safe_lines(words: &str) -> String {
    words.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

impl Document for Stopping {
    const TYPE: &'static str = "agora/stopping/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "the node (process {}) stops; what is under way goes on at its next start", self.pid)
    }
}

/// One network on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkView {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// Its chain id; absent when the genesis file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_id: Option<u64>,
    /// Hash of its genesis file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genesis: Option<Hash>,
    /// True for a network of this machine only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev: Option<bool>,
    /// Where its node answers, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The networks on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NetworkList {
    /// By name.
    pub networks: Vec<NetworkView>,
}

impl Document for NetworkList {
    const TYPE: &'static str = "agora/network-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        if self.networks.is_empty() {
            return writeln!(out, "no network yet; start one with `agora up`");
        }
        let row = |network: &NetworkView| {
            let kind = match (network.dev, &network.problem) {
                (_, Some(problem)) => problem.clone(),
                (Some(true), None) => "dev".to_owned(),
                (Some(false) | None, None) => "shared".to_owned(),
            };
            let chain = network.chain_id.map(|id| id.to_string()).unwrap_or_default();
            let node = network.address.clone().unwrap_or_else(|| "no node".to_owned());
            [network.name.clone(), kind, chain, node, network.folder.clone()]
        };
        let rows: Vec<[String; 5]> = self.networks.iter().map(row).collect();
        text::table(out, style, ["NETWORK", "KIND", "CHAIN", "NODE", "FOLDER"], &rows)
    }
}

impl Document for Secret {
    const TYPE: &'static str = "agora/secret/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{}", self.secret)?;
        writeln!(out, "  {}", style.faint(&format!("for {}, account {}", text::plain(&self.name), self.account)))?;
        writeln!(out, "  {}", style.faint("it is not shown again"))
    }
}

impl Document for Sellers {
    const TYPE: &'static str = "agora/seller-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |seller: &SellerView| [text::plain(&seller.name), seller.receiver.to_string()];
        let rows: Vec<[String; 2]> = self.sellers.iter().map(row).collect();
        text::table(out, style, ["SELLER", "PAID TO"], &rows)
    }
}

impl Document for ApiKeys {
    const TYPE: &'static str = "agora/api-key-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |key: &ApiKeyView| {
            [text::plain(&key.name), text::amount(key.budget), text::amount(key.used), key.account.to_string()]
        };
        let rows: Vec<[String; 4]> = self.keys.iter().map(row).collect();
        text::table(out, style, ["KEY", "BUDGET", "USED", "ACCOUNT"], &rows)
    }
}

impl Document for Earnings {
    const TYPE: &'static str = "agora/earnings/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "earnings of the calls of host {}", self.host)?;
        writeln!(out, "  set aside  {}", text::amount(self.funded))?;
        writeln!(out, "  published  {} in epoch {}", text::amount(self.published), self.epoch)?;
        writeln!(out, "  claimed    {}", text::amount(self.claimed))?;
        for row in &self.accounts {
            let open = row.earned.checked_sub(row.claimed).unwrap_or_default();
            let note =
                if open.is_zero() { "all claimed".to_owned() } else { format!("{} to claim", text::amount(open)) };
            writeln!(out, "  {}  {}, {}", row.account, text::amount(row.earned), style.faint(&note))?;
        }
        match self.count.checked_sub(self.accounts.len() as u64) {
            None | Some(0) => Ok(()),
            Some(more) => writeln!(out, "  and {more} more; name an account to see it"),
        }
    }
}

impl Document for EarningsClaimed {
    const TYPE: &'static str = "agora/earnings-claimed/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "{} was paid {}", self.account, text::amount(self.amount))?;
        writeln!(out, "  earned in all  {}, by epoch {}", text::amount(self.earned), self.epoch)
    }
}

impl Document for ApiKeyRemoved {
    const TYPE: &'static str = "agora/api-key-removed/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "API key {} is ended", text::plain(&self.name))?;
        writeln!(out, "  back from channels  {}", text::amount(self.refunded))?;
        writeln!(out, "  given back          {}", text::amount(self.returned))
    }
}
