//! The command line as types. Amounts, names and addresses stay texts here, so that a wrong one ends with its own
//! stable code; secrets are never values of flags.

use std::net::IpAddr;
use std::path::PathBuf;

use agora_shell::settings::{DeviceChoice, HttpPort, ModelChoice, Threads};
use clap::{Args, Parser, Subcommand, ValueHint};

use super::datanet::args::DatanetCommand;
use super::factory::args::FactoryCommand;

/// Agents that buy answers of models, with a receipt for each call.
#[derive(Debug, Parser)]
#[command(name = "agora", version, max_term_width = 120, propagate_version = true, subcommand_required = true)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    /// What is wanted of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Flags of every command")]
pub struct Global {
    /// One folder for data, settings and cache, instead of the XDG folders [env: AGORA_HOME]
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub home: Option<PathBuf>,
    /// The network to speak to [env: AGORA_NETWORK] [default: dev]
    #[arg(long, global = true, value_name = "NAME")]
    pub network: Option<String>,
    /// How documents are written: text, json or yaml [env: AGORA_OUTPUT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Short for --output json
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,
    /// Say nothing but results, warnings and failures
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Never ask; automatic without a terminal
    #[arg(long, global = true)]
    pub non_interactive: bool,
    /// Seconds to wait for a node's answer, 1 to 86400
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub timeout: Option<u32>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node in this terminal, and its network if there is none
    Up(Up),
    /// Run the whole economy once on this machine and show who was paid
    Demo(Demo),
    /// Check whether this machine has what Agora needs
    Doctor,
    /// Keys and money
    #[command(subcommand)]
    Wallet(Wallet),
    /// Deploy agents, ask them, stop them
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Send a request over HTTP, and pay for its answer if it costs something
    Call(Call),
    /// Find models and fetch them
    #[command(subcommand)]
    Model(Model),
    /// Read, export and verify receipts
    #[command(subcommand)]
    Receipt(Receipt),
    /// Recount and read the ledger
    #[command(subcommand)]
    Ledger(Ledger),
    /// Data that people give, and the versions made of it
    #[command(subcommand)]
    Datanet(DatanetCommand),
    /// Train adapters on datanets
    #[command(subcommand)]
    Factory(FactoryCommand),
    /// What contributors have earned where shares are measured
    #[command(subcommand)]
    Earnings(EarningsCommand),
    /// Who may charge through this node's facilitator, and API keys with a budget
    #[command(subcommand)]
    Payment(PaymentCommand),
    /// Networks on this machine
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Show the settings in force, each with its source
    Config,
    /// Print the JSON Schema of a document type, or the types' names
    OutputSchema {
        /// The document's `$type`, such as agora/balance/v1
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Print a shell's completion script
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Read a stranger's Parquet file for the node that starts this
    #[command(hide = true)]
    ReadParquet,
}

/// `agora up`.
#[derive(Debug, Default, Args)]
pub struct Up {
    /// The control port; 0 takes any free one [env: AGORA_PORT] [default: 7402]
    #[arg(long)]
    pub port: Option<u16>,
    /// The address to listen at [env: AGORA_BIND] [default: 127.0.0.1]
    #[arg(long)]
    pub bind: Option<IpAddr>,
    /// The base model: a known name, or the path of a GGUF file or a Hugging Face folder [env: AGORA_MODEL]
    #[arg(long, value_name = "PATH|NAME")]
    pub model: Option<ModelChoice>,
    /// Threads that compute tokens [env: AGORA_THREADS]
    #[arg(long)]
    pub threads: Option<Threads>,
    /// Where tokens are computed [env: AGORA_DEVICE] [default: cpu]
    #[arg(long, value_name = "cpu|cuda[:N]")]
    pub device: Option<DeviceChoice>,
    /// The port that others pay at (models, datanets, agents, facilitator); 0 takes any free one, off opens none
    /// [env: AGORA_HTTP_PORT] [default: 8402]
    #[arg(long, value_name = "PORT|off")]
    pub http: Option<HttpPort>,
    /// The certificate chain of that port, PEM; with it the port speaks HTTPS only
    #[arg(long, value_name = "FILE", requires = "tls_key", env = "AGORA_TLS_CERT", value_hint = ValueHint::FilePath)]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", env = "AGORA_TLS_KEY", value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    /// The origin that buyers see, such as `https://models.example`, where a proxy stands before the port
    #[arg(long, value_name = "URL", env = "AGORA_PUBLIC_URL")]
    pub public_url: Option<String>,
}

/// `agora demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// The question that the agent is asked
    #[arg(long, default_value = "What is a lighthouse for, and how does a ship use its light at night?")]
    pub question: String,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=512))]
    pub tokens: u64,
    /// The agent to deploy: its component or its agent.toml [default: researcher, as `cargo xtask guests` builds it]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<std::path::PathBuf>,
    /// The base model: a known name, or the path of a GGUF file or a Hugging Face folder [env: AGORA_MODEL]
    #[arg(long, value_name = "PATH|NAME")]
    pub model: Option<ModelChoice>,
    /// Threads that compute tokens [env: AGORA_THREADS]
    #[arg(long)]
    pub threads: Option<Threads>,
    /// Where tokens are computed [env: AGORA_DEVICE] [default: cpu]
    #[arg(long, value_name = "cpu|cuda[:N]")]
    pub device: Option<DeviceChoice>,
}

/// What every paying command takes.
#[derive(Debug, Clone, Args)]
pub struct Paying {
    /// The wallet that pays
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub from: String,
    /// The most that this command may spend, in OPEN [env: AGORA_MAX_SPEND] [default: 1]
    #[arg(long, value_name = "OPEN", allow_negative_numbers = true)]
    pub max_spend: Option<String>,
    /// Do not ask before paying
    #[arg(long, short)]
    pub yes: bool,
}

/// `agora wallet`.
#[derive(Debug, Subcommand)]
pub enum Wallet {
    /// Make a key and store it encrypted
    New {
        /// Its name
        #[arg(default_value = "main")]
        name: String,
    },
    /// List the keys of this network
    List,
    /// Show what an account holds
    Balance {
        /// A wallet's name or an address
        #[arg(value_name = "NAME|ADDRESS", default_value = "main")]
        account: String,
    },
    /// Send OPEN to an account
    Send {
        /// A wallet's name or an address
        to: String,
        /// Decimal OPEN, such as 0.00042
        #[arg(allow_negative_numbers = true)]
        amount: String,
        /// Who pays, and how much at most
        #[command(flatten)]
        paying: Paying,
        /// Say what would happen, and send nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// `agora earnings`.
#[derive(Debug, Subcommand)]
pub enum EarningsCommand {
    /// Show what contributors have earned of this node's calls
    Show {
        /// A wallet's name or an address; absent: everybody
        #[arg(value_name = "NAME|ADDRESS")]
        account: Option<String>,
    },
    /// Pay a contributor what is published and not claimed yet
    Claim {
        /// A wallet's name or an address
        #[arg(value_name = "NAME|ADDRESS", default_value = "main")]
        account: String,
    },
    /// Publish what is earned now, without waiting for the epoch's end
    Publish,
}

/// `agora agent`.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Deploy an agent, or its next version, and fund its budget
    Deploy {
        /// A component with its manifest beside it (its own name with .toml, or agent.toml), or the manifest
        #[arg(value_name = "FILE.wasm|agent.toml", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// What it may spend, in OPEN, if its manifest grants no wallet
        #[arg(long, value_name = "OPEN", allow_negative_numbers = true)]
        budget: Option<String>,
        /// Who owns and funds it
        #[command(flatten)]
        paying: Paying,
    },
    /// List the agents of this node
    List,
    /// Show an agent's log
    Logs {
        /// The agent
        name: String,
        /// Wait for further lines
        #[arg(long, short)]
        follow: bool,
        /// At most so many lines, the newest
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Stop an agent and return its money to its owner
    Stop {
        /// The agent
        name: String,
    },
    /// Ask an agent and follow its answer
    Ask {
        /// The agent
        name: String,
        /// The message
        message: String,
    },
}

/// `agora call`.
#[derive(Debug, Args)]
pub struct Call {
    /// Where to: https://host/path; http:// to this machine only
    pub url: String,
    /// GET, HEAD, POST, PUT, PATCH or DELETE [default: GET, with --data POST]
    #[arg(long, short = 'X')]
    pub method: Option<String>,
    /// The body, or @ and the file that holds it
    #[arg(long, short, value_name = "TEXT|@FILE")]
    pub data: Option<String>,
    /// A header; may be given several times
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE")]
    pub headers: Vec<String>,
    /// Repeat an earlier call under its id: nothing is paid twice
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Who pays, and how much at most
    #[command(flatten)]
    pub paying: Paying,
}

/// `agora model`.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// List what is offered, served and can be fetched
    List {
        /// Words that a listing should fit
        words: Vec<String>,
    },
    /// Offer the model that this node serves, at a price
    Publish {
        /// The listing's name, unique for its owner
        name: String,
        /// One line for people
        #[arg(long)]
        title: Option<String>,
        /// OPEN for a token of a prompt
        #[arg(long, value_name = "OPEN", default_value = "0.000001", allow_negative_numbers = true)]
        price_input: String,
        /// OPEN for a token of an answer
        #[arg(long, value_name = "OPEN", default_value = "0.000004", allow_negative_numbers = true)]
        price_output: String,
        /// Words to find it by
        #[arg(long, value_name = "WORD")]
        topic: Vec<String>,
        /// An adapter of the node, by name or hash; one of its folder is loaded first [default: the base model as it is]
        #[arg(long, value_name = "NAME|HASH")]
        adapter: Option<String>,
        /// The wallet that owns it and is paid the owner's part
        #[arg(long, value_name = "NAME", default_value = "main")]
        from: String,
    },
    /// Fetch a model and check its hash
    Fetch {
        /// Its name; the setting's if absent
        name: Option<String>,
    },
    /// Have the running node serve an adapter of its folder, or what became of its files
    Load {
        /// Its folder among the network's adapters
        name: String,
    },
    /// Have the running node serve an adapter no longer; its files stay, and the next start takes it up again
    Unload {
        /// The adapter
        name: String,
    },
}

/// `agora payment`.
#[derive(Debug, Subcommand)]
pub enum PaymentCommand {
    /// Sellers that settle through this node's facilitator
    #[command(subcommand)]
    Seller(SellerCommand),
    /// API keys for this node's models, each with a prepaid budget
    #[command(subcommand)]
    Key(KeyCommand),
}

/// `agora payment seller`.
#[derive(Debug, Subcommand)]
pub enum SellerCommand {
    /// Make a token with which a seller settles, claims and refunds; it is shown once
    Add {
        /// The seller's name
        name: String,
        /// The account that it is paid to
        #[arg(long, value_name = "NAME|ADDRESS", default_value = "main")]
        receiver: String,
    },
    /// List the sellers
    List,
    /// End a seller's token
    Remove {
        /// The seller's name
        name: String,
    },
}

/// `agora payment key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make an API key and fund it; it is shown once
    Add {
        /// The key's name
        name: String,
        /// What its calls may cost in all, in OPEN
        #[arg(long, value_name = "OPEN", allow_negative_numbers = true)]
        budget: String,
        /// Who funds it
        #[command(flatten)]
        paying: Paying,
    },
    /// List the keys
    List,
    /// End a key and return what is left
    Remove {
        /// The key's name
        name: String,
        /// Who gets what is left
        #[arg(long, value_name = "NAME|ADDRESS", default_value = "main")]
        to: String,
    },
}

/// `agora receipt`.
#[derive(Debug, Subcommand)]
pub enum Receipt {
    /// List receipts, newest first
    List {
        /// Only calls that this account paid
        #[arg(long, value_name = "NAME|ADDRESS")]
        payer: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Show a call: what it cost and who was paid
    Show {
        /// An index, a call's id, or an exported file
        #[arg(value_name = "INDEX|CALL|FILE")]
        receipt: String,
    },
    /// Verify an exported file without any network
    Verify {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Trust exactly what this file pins
        #[arg(long, value_name = "trust.toml", conflicts_with = "genesis", value_hint = ValueHint::FilePath)]
        trust: Option<PathBuf>,
        /// Trust exactly the network of this genesis file
        #[arg(long, value_name = "genesis.cbor", value_hint = ValueHint::FilePath)]
        genesis: Option<PathBuf>,
    },
    /// Write a receipt with its proofs as a file for others
    Export {
        /// An index or a call's id
        #[arg(value_name = "INDEX|CALL")]
        receipt: String,
        /// The new file; stdout if absent
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        out: Option<PathBuf>,
        /// Also reveal question and answer
        #[arg(long)]
        disclose: bool,
        /// Also enclose what measured shares follow from, so that others can recompute them
        #[arg(long)]
        attribution: bool,
    },
    /// Recompute an exported receipt's attribution: sums and roots, the public matrix, the model
    Recompute {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The adapter's folder with its attribution index [default: the one among this network's adapters]
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        index: Option<PathBuf>,
        /// The base model: a known name, or a path [env: AGORA_MODEL]
        #[arg(long, value_name = "PATH|NAME")]
        model: Option<ModelChoice>,
        /// Fail unless everything up to this level can be recomputed [default: what --index and --model are for]
        #[arg(long, value_name = "1|2|3", value_parser = clap::value_parser!(u8).range(1..=3))]
        level: Option<u8>,
        /// Trust exactly what this file pins
        #[arg(long, value_name = "trust.toml", conflicts_with = "genesis", value_hint = ValueHint::FilePath)]
        trust: Option<PathBuf>,
        /// Trust exactly the network of this genesis file
        #[arg(long, value_name = "genesis.cbor", value_hint = ValueHint::FilePath)]
        genesis: Option<PathBuf>,
    },
    /// Explain whose data shaped an answer, what was copied, and what is not explained
    Explain {
        /// An index, a call's id, or an exported file
        #[arg(value_name = "INDEX|CALL|FILE")]
        receipt: String,
        /// Also write it as a page that needs nothing else
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        html: Option<PathBuf>,
        /// The model whose tokenizer shows what was copied [default: the running node's]
        #[arg(long, value_name = "PATH|NAME")]
        model: Option<ModelChoice>,
    },
}

/// `agora ledger`.
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Recount the whole log, believing nothing that is not signed
    Audit,
    /// Show what an account holds
    Balance {
        /// The account
        address: String,
    },
    /// Show the batches of the log
    Log {
        /// The first position; the newest batches if absent
        #[arg(long)]
        from: Option<u64>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
}

/// `agora network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum NetworkCommand {
    /// List the networks on this machine
    List,
    /// Stop the node of the network
    Stop,
}
