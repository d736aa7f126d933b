//! The command line: arguments to one command, its document to stdout, its failure to stderr and the exit code.
//!
//! [`args`] is what can be typed, [`context`] what every command knows, [`connect`] where its service comes from. A
//! command is a function from context, service and arguments to a document or a failure; this file joins them.

pub mod agent;
pub mod args;
pub mod call;
pub mod connect;
pub mod context;
pub mod datanet;
pub mod documents;
pub mod factory;
pub mod keys;
pub mod ledger;
pub mod model;
pub mod network;
pub mod payment;
pub mod receipt;
mod schemas;
pub mod verify;
pub mod wallet;

use std::io::{self, Write as _};
use std::process::ExitCode;

use agora_shell::doctor::{self, Subject, System};
use agora_shell::output::{Document, Printer};
use agora_shell::{Failure, Format, Outcome};
use agora_types::Code;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use futures::FutureExt as _;

use args::{
    AgentCommand, Cli, Command, EarningsCommand, KeyCommand, Ledger, Model, NetworkCommand, PaymentCommand, Receipt,
    SellerCommand, Wallet,
};
use context::Context;
use datanet::args::DatanetCommand;
use factory::args::FactoryCommand;
pub use schemas::registry;

use crate::control::{
    AgentStopped, Agents, ApiKeyRemoved, ApiKeys, DatanetAsk, Datanets, Earnings, EarningsClaimed, Request, Secret,
    Sellers, Stopping,
};

/// Exit code of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// Exit code of wrong arguments.
const USAGE: u8 = 2;

/// How a command that did not fail ended: with 0, or with a code that its document explains.
type Ended = Outcome<ExitCode>;

/// Runs the program with this process's arguments.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    // Without folders, settings and threads: it reads what a stranger sent, and its starter left it no environment.
    if matches!(cli.command, Command::ReadParquet) {
        return crate::giving::apart::serve();
    }
    // Until the settings are read, failures are written as the flags ask.
    let early = |format: Option<Format>| Printer::new(format.unwrap_or_default(), cli.global.quiet);
    let format = match context::format(&cli.global) {
        Ok(format) => format,
        Err(failure) => return failed(&early(None), &failure),
    };
    let context = match Context::of(&cli) {
        Ok(context) => context,
        Err(failure) => return failed(&early(format), &failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&context.printer, &Failure::io("the executor".as_ref())(error)),
    };
    let printer = context.printer.clone();
    let ended = runtime.block_on(interruptible(context, cli.command));
    // A thread may still wait for a node's next line; nobody waits for it.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failure| failed(&printer, &failure))
}

fn failed(printer: &Printer, failure: &Failure) -> ExitCode {
    printer.failure(failure);
    ExitCode::from(failure.exit_code())
}

/// Help and version, or what is wrong with the arguments: a document where one was asked for.
fn misused(error: &clap::Error) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let json = arguments.iter().any(|argument| argument == "--json" || argument == "--output=json")
        || arguments.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    if json && !asked {
        let text = error.render().to_string();
        let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::usage(what).advise("see `agora --help`, or --help behind the command");
        Printer::new(Format::Json, false).failure(&failure);
    } else {
        // A reader that left needs no help.
        let _ = error.print();
    }
    if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
}

/// Runs a command until it ends or Ctrl-C. A node ends by itself on Ctrl-C, in its own order.
async fn interruptible(context: Context, command: Command) -> Ended {
    let ends_by_itself =
        matches!(command, Command::Up(_) | Command::Demo(_) | Command::Factory(FactoryCommand::Train(_)));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c().fuse());
    if !ends_by_itself {
        // The first poll installs the handler: from before the command's first word on, Ctrl-C ends it here.
        let _ = futures::poll!(&mut interrupted);
    }
    // A task of its own: a question at the terminal blocks its thread, and Ctrl-C must be heard meanwhile.
    let work = tokio::spawn(async move { dispatch(&context, command).await });
    let ended = tokio::select! {
        ended = work => ended,
        Ok(()) = &mut interrupted, if !ends_by_itself => return Ok(ExitCode::from(INTERRUPTED)),
    };
    // The panic's own words are on stderr already.
    ended.unwrap_or(Ok(ExitCode::FAILURE))
}

async fn dispatch(context: &Context, command: Command) -> Ended {
    match command {
        Command::Up(options) => crate::node::up(context, &options).await.map(|()| ExitCode::SUCCESS),
        Command::Demo(options) => crate::demo::run(context, &options).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor => {
            let subject = Subject::new(&context.paths, &context.settings);
            let report = doctor::examine(&subject, &System);
            print(context, &report)?;
            Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Wallet(command) => wallet_command(context, command).await,
        Command::Agent(command) => agent_command(context, command).await,
        Command::Call(options) => {
            let asking = call::prepare(context, &options)?;
            let service = connect::node(context).await?;
            let (answer, failed) = call::call(context, service, asking, &options).await?;
            print(context, &answer)?;
            failed.map_or(Ok(ExitCode::SUCCESS), Err)
        }
        Command::Model(Model::List { words }) => {
            // Models can be fetched before there is a network.
            let service = match connect::any(context).await {
                Ok(service) => Some(service),
                Err(failure) if matches!(failure.code, Code::NodeNoNetwork | Code::NodeNotRunning) => {
                    context.printer.note(&format!("{}; only what can be fetched is listed", failure.what));
                    None
                }
                Err(failure) => return Err(failure),
            };
            print(context, &model::list(context, service.as_deref(), &words).await?)
        }
        Command::Model(Model::Publish { name, title, price_input, price_output, topic, adapter, from }) => {
            let wanted =
                model::Wanted { name, title, input: price_input, output: price_output, topics: topic, adapter, from };
            let service = connect::node(context).await?;
            print(context, &model::publish(context, &*service, wanted).await?)
        }
        Command::Model(Model::Fetch { name }) => print(context, &model::fetch(context, name.as_deref()).await?),
        Command::Model(Model::Load { name }) => {
            let service = connect::node(context).await?;
            print(context, &model::load(&*service, name).await?)
        }
        Command::Model(Model::Unload { name }) => {
            let service = connect::node(context).await?;
            print(context, &model::unload(&*service, name).await?)
        }
        Command::Receipt(command) => receipt_command(context, command).await,
        Command::Ledger(Ledger::Audit) => {
            let service = connect::any(context).await?;
            print(context, &ledger::audit(context, &*service).await?)
        }
        Command::Ledger(Ledger::Balance { address }) => {
            let address = keys::address(&address)?.to_string();
            let service = connect::any(context).await?;
            print(context, &wallet::balance(context, &*service, &address).await?)
        }
        Command::Ledger(Ledger::Log { from, limit }) => {
            let service = connect::any(context).await?;
            ledger::log(context, &*service, from, limit).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Datanet(command) => datanet_command(context, command).await,
        Command::Factory(FactoryCommand::Train(options)) => {
            let service = connect::any(context).await?;
            print(context, &factory::train(context, &*service, *options).await?)
        }
        Command::Factory(FactoryCommand::Ask(options)) => print(context, &factory::ask(context, options).await?),
        Command::Earnings(command) => earnings_command(context, command).await,
        Command::Payment(command) => payment_command(context, command).await,
        Command::Network(NetworkCommand::List) => print(context, &network::list(context).await?),
        Command::Network(NetworkCommand::Stop) => {
            let service = connect::node(context).await?;
            print(context, &service.call::<Stopping>(Request::Shutdown).await?)
        }
        Command::Config => print(context, &context.settings.document()),
        Command::OutputSchema { kind } => output_schema(kind.as_deref()),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "agora", &mut script);
            raw(&script)
        }
        Command::ReadParquet => Ok(crate::giving::apart::serve()),
    }
}

async fn wallet_command(context: &Context, command: Wallet) -> Ended {
    match command {
        Wallet::New { name } => print(context, &keys::Keys::of(context)?.create(&name)?),
        Wallet::List => print(context, &keys::Keys::of(context)?.list()?),
        Wallet::Balance { account } => {
            // A wrong name or address is said before a node is looked for.
            keys::Keys::of(context)?.account(&account)?;
            let service = connect::any(context).await?;
            print(context, &wallet::balance(context, &*service, &account).await?)
        }
        Wallet::Send { to, amount, paying, dry_run } => {
            let transfer = wallet::prepare(context, &to, &amount, &paying)?;
            let service = connect::any(context).await?;
            print(context, &wallet::send(context, &*service, transfer, &paying, dry_run).await?)
        }
    }
}

async fn agent_command(context: &Context, command: AgentCommand) -> Ended {
    match command {
        AgentCommand::Deploy { file, budget, paying } => {
            let package = agent::read_package(context, &file, budget.as_deref())?;
            let service = connect::node(context).await?;
            print(context, &agent::deploy(context, &*service, package, &paying).await?)
        }
        AgentCommand::List => {
            let service = connect::any(context).await?;
            print(context, &service.call::<Agents>(Request::Agents).await?)
        }
        AgentCommand::Logs { name, follow, limit } => {
            // Nothing is added to the log of a folder without a node.
            let service = if follow { connect::node(context).await? } else { connect::any(context).await? };
            agent::logs(context, &*service, &name, limit, follow).await.map(|()| ExitCode::SUCCESS)
        }
        AgentCommand::Stop { name } => {
            let service = connect::node(context).await?;
            print(context, &service.call::<AgentStopped>(Request::AgentStop { name }).await?)
        }
        AgentCommand::Ask { name, message } => {
            let service = connect::node(context).await?;
            agent::ask(context, &*service, &name, &message).await.map(|()| ExitCode::SUCCESS)
        }
    }
}

async fn datanet_command(context: &Context, command: DatanetCommand) -> Ended {
    let service = connect::any(context).await?;
    let service = &*service;
    match command {
        DatanetCommand::Create(options) => print(context, &datanet::create(context, service, &options).await?),
        DatanetCommand::List => {
            let list: Datanets = datanet::ask(service, DatanetAsk::List).await?;
            print(context, &list)
        }
        DatanetCommand::Show { datanet } => print(context, &datanet::find(service, &datanet).await?),
        DatanetCommand::Add(options) => print(context, &datanet::add(context, service, &options).await?),
        DatanetCommand::Items { datanet, version, skip, limit } => {
            print(context, &datanet::items(service, &datanet, version, (skip, limit)).await?)
        }
        DatanetCommand::Judge(options) => print(context, &datanet::judge(context, service, &options).await?),
        DatanetCommand::Withdraw { datanet, subject, from } => {
            print(context, &datanet::withdraw(context, service, (&datanet, &subject, &from)).await?)
        }
        DatanetCommand::Version { datanet, from } => {
            print(context, &datanet::version(context, service, &datanet, &from).await?)
        }
        DatanetCommand::Export { datanet, out, version, languages } => {
            print(context, &datanet::export(service, (&datanet, version), &out, languages).await?)
        }
    }
}

async fn earnings_command(context: &Context, command: EarningsCommand) -> Ended {
    let account = |text: &str| keys::Keys::of(context)?.account(text);
    match command {
        EarningsCommand::Show { account: wanted } => {
            let account = wanted.as_deref().map(account).transpose()?;
            let service = connect::node(context).await?;
            print(context, &service.call::<Earnings>(Request::Earnings { account }).await?)
        }
        EarningsCommand::Claim { account: wanted } => {
            let account = account(&wanted)?;
            let service = connect::node(context).await?;
            print(context, &service.call::<EarningsClaimed>(Request::EarningsClaim { account }).await?)
        }
        EarningsCommand::Publish => {
            let service = connect::node(context).await?;
            print(context, &service.call::<Earnings>(Request::EarningsPublish).await?)
        }
    }
}

async fn payment_command(context: &Context, command: PaymentCommand) -> Ended {
    let account = |text: &str| keys::Keys::of(context)?.account(text);
    match command {
        PaymentCommand::Seller(SellerCommand::Add { name, receiver }) => {
            let receiver = account(&receiver)?;
            let service = connect::node(context).await?;
            print(context, &service.call::<Secret>(Request::SellerAdd { name, receiver }).await?)
        }
        PaymentCommand::Seller(SellerCommand::List) => {
            let service = connect::node(context).await?;
            print(context, &service.call::<Sellers>(Request::Sellers).await?)
        }
        PaymentCommand::Seller(SellerCommand::Remove { name }) => {
            let service = connect::node(context).await?;
            print(context, &service.call::<Sellers>(Request::SellerRemove { name }).await?)
        }
        PaymentCommand::Key(KeyCommand::Add { name, budget, paying }) => {
            let budget = agora_shell::parse_amount(&budget)?;
            let service = connect::node(context).await?;
            print(context, &wallet::add_key(context, &*service, name, budget, &paying).await?)
        }
        PaymentCommand::Key(KeyCommand::List) => {
            let service = connect::node(context).await?;
            print(context, &service.call::<ApiKeys>(Request::ApiKeys).await?)
        }
        PaymentCommand::Key(KeyCommand::Remove { name, to }) => {
            let to = account(&to)?;
            let service = connect::node(context).await?;
            print(context, &service.call::<ApiKeyRemoved>(Request::ApiKeyRemove { name, to }).await?)
        }
    }
}

async fn receipt_command(context: &Context, command: Receipt) -> Ended {
    match command {
        Receipt::List { payer, limit } => {
            let service = connect::any(context).await?;
            print(context, &receipt::list(context, &*service, payer.as_deref(), limit).await?)
        }
        Receipt::Show { receipt } => {
            let envelope = match receipt::Named::read(&receipt) {
                receipt::Named::File(path) => receipt::read_envelope(&receipt::read_file(&path)?, &receipt)?,
                named => receipt::fetch(&*connect::any(context).await?, &named, false).await?,
            };
            print(context, &receipt::Call::of(&envelope)?)
        }
        Receipt::Verify { file, trust, genesis } => {
            let from = verify::TrustFrom::flags(trust.as_deref(), genesis.as_deref());
            let (verdict, failure) = verify::verify(context, &file, from)?;
            print(context, &verdict)?;
            failure.map_or(Ok(ExitCode::SUCCESS), Err)
        }
        Receipt::Recompute { file, index, model, level, trust, genesis } => {
            let (own, wanted) = (context.clone(), receipt::Wanted { file, index, model, level });
            let work = tokio::task::spawn_blocking(move || {
                let from = verify::TrustFrom::flags(trust.as_deref(), genesis.as_deref());
                receipt::recompute(&own, &wanted, from)
            });
            let (recomputed, failure) =
                work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            print(context, &recomputed)?;
            failure.map_or(Ok(ExitCode::SUCCESS), Err)
        }
        Receipt::Explain { receipt, html, model } => {
            let explained = receipt::explain(context, &receipt, model.as_ref()).await?;
            if let Some(path) = &html {
                receipt::write_page(&explained, path)?;
                context.printer.note(&format!("the page is in {}", path.display()));
            }
            print(context, &explained)
        }
        Receipt::Export { receipt, out, disclose, attribution } => {
            let service = connect::any(context).await?;
            let mut envelope = receipt::fetch(&*service, &receipt::Named::read(&receipt), disclose).await?;
            if attribution {
                receipt::enclose(&*service, &mut envelope).await?;
            }
            match out {
                Some(path) => print(context, &receipt::write(&envelope, &path)?),
                None => print(context, &receipt::Exported::new(envelope)),
            }
        }
    }
}

fn output_schema(kind: Option<&str>) -> Ended {
    let registry = registry();
    match kind {
        Some(kind) => {
            let schema = registry.schema(kind)?;
            raw(format!("{schema:#}\n").as_bytes())
        }
        None => raw((registry.types().join("\n") + "\n").as_bytes()),
    }
}

/// A reader that left wanted no more: that is success.
fn print<T: Document>(context: &Context, document: &T) -> Ended {
    context.printer.print(document).map(|_| ExitCode::SUCCESS)
}

/// Writes what is no document: scripts and schemas.
fn raw(bytes: &[u8]) -> Ended {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("stdout".as_ref())(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}
