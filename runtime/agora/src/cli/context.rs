//! What every command knows: folders, settings, the printer, and whether anybody can be asked.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use agora_shell::files;
use agora_shell::settings::{Limit, Overlay};
use agora_shell::{Failure, Format, NetworkName, Outcome, Paths, Printer, Settings, parse_amount};
use agora_types::genesis::Genesis;
use agora_types::{Amount, Canonical as _, Code};

use super::args::AgentCommand;
use super::args::{Call, Cli, Command, Demo, Global, KeyCommand, Paying, PaymentCommand, Up, Wallet};
use super::datanet::args::{Add, DatanetCommand};

/// The surroundings of one command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The user's folders.
    pub paths: Paths,
    /// The settings in force.
    pub settings: Settings,
    /// Where documents and messages go.
    pub printer: Printer,
    /// False: nobody can be asked.
    pub interactive: bool,
    /// How long an answer of a node is waited for; absent: as long as each kind of request deserves.
    pub timeout: Option<Duration>,
}

impl Context {
    /// From the command line and everything below it.
    ///
    /// # Errors
    /// As [`Settings::load`]; the code of whatever flag is wrong.
    pub fn of(cli: &Cli) -> Outcome<Self> {
        let global = &cli.global;
        let paths = Paths::find(global.home.as_deref())?;
        let settings = Settings::load(overlay(cli)?, &paths, ".".as_ref())?;
        let printer = Printer::new(settings.output.value, global.quiet);
        let interactive = !global.non_interactive && io::stdin().is_terminal() && io::stderr().is_terminal();
        let timeout = global.timeout.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(Self { paths, settings, printer, interactive, timeout })
    }

    /// The network spoken to.
    pub fn network(&self) -> &NetworkName {
        &self.settings.network.value
    }

    /// Its folder.
    ///
    /// # Errors
    /// `node.no_network`.
    pub fn folder(&self) -> Outcome<PathBuf> {
        let name = self.network();
        if self.paths.has_network(name) {
            return Ok(self.paths.network(name));
        }
        let folder = self.paths.network(name);
        Err(Failure::new(Code::NodeNoNetwork, format!("there is no network `{name}` at {}", folder.display())))
    }

    /// Its genesis file, read from the folder and never asked of a node.
    ///
    /// # Errors
    /// `node.no_network`, `ledger.genesis_invalid`, `node.io`.
    pub fn genesis(&self) -> Outcome<Genesis> {
        self.folder()?;
        read_genesis(&self.paths.genesis(self.network()))
    }

    /// Refuses an amount over the spending limit.
    ///
    /// # Errors
    /// `wallet.over_max_spend`.
    pub fn allow(&self, amount: Amount) -> Outcome<()> {
        let limit = &self.settings.max_spend;
        if amount <= limit.value.0 {
            return Ok(());
        }
        let what = format!("{amount} OPEN is more than the limit of {} OPEN (from: {})", limit.value, limit.source);
        Err(Failure::new(Code::SpendLimit, what))
    }

    /// Asks before money moves; `yes` answers for the person.
    ///
    /// # Errors
    /// `node.bad_config` when nobody can be asked, or the answer is no.
    pub fn confirm(&self, question: &str, yes: bool) -> Outcome<()> {
        if yes {
            return Ok(());
        }
        if !self.interactive {
            return Err(Failure::usage(format!("{question} nobody can be asked")).advise("add --yes if you mean it"));
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(Failure::io("stdin".as_ref()))?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::usage("you did not say yes").advise("nothing was sent")),
        }
    }
}

/// What the flags say, as the topmost layer of settings.
fn overlay(cli: &Cli) -> Outcome<Overlay> {
    let mut overlay = Overlay { output: format(&cli.global)?, ..Overlay::default() };
    overlay.network = cli.global.network.as_deref().map(str::parse).transpose()?;
    match &cli.command {
        Command::Up(Up { port, bind, model, threads, device, http, .. }) => {
            overlay.http = *http;
            overlay.port = *port;
            overlay.bind = *bind;
            overlay.model.clone_from(model);
            overlay.threads = *threads;
            overlay.device = *device;
        }
        Command::Demo(Demo { model, threads, device, .. }) => {
            overlay.model.clone_from(model);
            overlay.threads = *threads;
            overlay.device = *device;
        }
        Command::Payment(PaymentCommand::Key(KeyCommand::Add { paying, .. }))
        | Command::Wallet(Wallet::Send { paying, .. })
        | Command::Agent(AgentCommand::Deploy { paying, .. })
        | Command::Datanet(DatanetCommand::Add(Add { paying, .. }))
        | Command::Call(Call { paying, .. }) => {
            overlay.max_spend = limit(paying)?;
        }
        _ => {}
    }
    Ok(overlay)
}

fn limit(paying: &Paying) -> Outcome<Option<Limit>> {
    let Some(text) = &paying.max_spend else { return Ok(None) };
    let limit = parse_amount(text);
    limit
        .map(|limit| Some(Limit(limit)))
        .map_err(|failure| Failure::new(failure.code, format!("--max-spend: {}", failure.what)))
}

/// The format that the flags ask for, known before any setting.
///
/// # Errors
/// `node.bad_config`.
pub fn format(global: &Global) -> Outcome<Option<Format>> {
    if global.json { Ok(Some(Format::Json)) } else { global.output.as_deref().map(str::parse).transpose() }
}

/// Reads a genesis file and checks its rules.
///
/// # Errors
/// `node.file_not_found`, `ledger.genesis_invalid`, `node.io`.
pub fn read_genesis(path: &std::path::Path) -> Outcome<Genesis> {
    let file = files::open(path)?;
    let invalid = |what: String| Failure::new(Code::GenesisInvalid, format!("{}: {what}", path.display()));
    let bytes = files::read_bounded(file, path, Genesis::SIZE_MAX)?.ok_or_else(|| invalid("too large".to_owned()))?;
    let genesis = Genesis::from_bytes(&bytes).map_err(|error| invalid(error.to_string()))?;
    genesis.check().map_err(|rule| invalid(rule.to_owned()))?;
    Ok(genesis)
}
