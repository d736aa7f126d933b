//! `agora demo`: the whole line once, on this machine, with real weights and a real agent.
//!
//! It works in a dev network of its own, `demo`, whose money is worth nothing; a second run goes on in the same network.

mod economy;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agora_shell::settings::Source;
use agora_shell::{Failure, NetworkName, Outcome, text};
use agora_types::{Amount, CallId, Code};
use futures::StreamExt as _;

use crate::cli::args::{Demo, Paying};
use crate::cli::context::Context;
use crate::cli::{agent, ledger, receipt, verify};
use crate::control::{AgentStep, Service};
use crate::node::{Running, load_engine, network, start_log};
use economy::Economy;
pub use story::DemoReport;
use story::{Figures, Stage};

/// The demo's network.
const NETWORK: &str = "demo";
/// What the wallet that pays gets from the dev genesis, in OPEN.
const WALLET_OPEN: u64 = 10;
/// How long the final receipt may take after the answer.
const FINAL: Duration = Duration::from_secs(20);

/// Runs the demo.
///
/// # Errors
/// Whatever keeps one of its steps from succeeding, with its code.
pub async fn run(context: &Context, options: &Demo) -> Outcome<()> {
    let mut context = context.clone();
    let own: NetworkName = NETWORK.parse()?;
    if context.settings.network.source == Source::Default {
        context.settings.network.value = own;
    }
    let package = package(options)?;
    start_log(&context);
    let mut stage = Stage::new(&context);

    let network = network::open_or_make(&context.paths, &context.settings)?;
    if !network.folder.genesis().dev {
        return Err(Failure::usage("the demo runs in dev networks only").advise("leave --network out"));
    }
    let engine = load_engine(&context, true).await?;
    let model = engine.engine.base().clone();
    let running = Running::start_with(network, Some(engine), &context.paths).await?;
    let told = tell(&context, &running, &mut stage, &model, &package, options).await;
    // Orderly, whatever happened: the next start has nothing to repair.
    running.stop().await;
    let report = told?;
    if context.printer.format() != agora_shell::Format::Text {
        context.printer.print(&report)?;
    }
    Ok(())
}

async fn tell(
    context: &Context,
    running: &Running,
    stage: &mut Stage,
    model: &agora_inference_api::BaseInfo,
    package: &Path,
    options: &Demo,
) -> Outcome<DemoReport> {
    let service = running.service();
    stage.network(running.genesis(), &context.folder()?);
    let economy = Economy::found(running, model).await?;
    stage.economy(&economy, model);
    let wallet = economy.fund(running, Amount::from_open(WALLET_OPEN)).await?;
    stage.wallet(&wallet, Amount::from_open(WALLET_OPEN));
    let paying = Paying { from: economy::WALLET.to_owned(), max_spend: None, yes: true };
    let mut spender = context.clone();
    spender.settings.max_spend.value = agora_shell::settings::Limit(Amount::from_open(WALLET_OPEN));
    let package = agent::read_package(&spender, package, None)?;
    let deployed = agent::deploy(&spender, &*service, package, &paying).await?;
    stage.deployed(&deployed);

    let asked = Instant::now();
    let (call, figures, answer) = ask(&service, stage, options, asked).await?;
    stage.answered(&figures);

    let envelope = whole_receipt(&service, call).await?;
    stage.receipt(&envelope, &economy)?;
    let file = context.folder()?.join(format!("receipt-{call}.json"));
    if !file.exists() {
        receipt::write(&envelope, &file)?;
    }
    let genesis = context.paths.genesis(context.network());
    let (verdict, _) = verify::verify(context, &file, verify::TrustFrom::Genesis(&genesis))?;
    stage.verified(&file, &verdict)?;
    if verdict.exit_code != 0 {
        return Err(Failure::new(Code::ReceiptProof, "the demo's own receipt does not verify"));
    }
    let audit = ledger::audit(context, &*service).await?;
    stage.audited(&audit)?;
    let paid = economy.earnings(&service).await?;
    stage.paid(&paid);
    stage.next(&file, context);
    Ok(DemoReport { network: running.genesis().name.clone(), answer, call, file: file.display().to_string(), figures })
}

/// The example agent: the given one, or that beside this program's build.
fn package(options: &Demo) -> Outcome<PathBuf> {
    if let Some(file) = &options.agent {
        return Ok(file.clone());
    }
    let program = std::env::current_exe().map_err(Failure::io("this program".as_ref()))?;
    let built = program.parent().and_then(Path::parent).map(|target| target.join("guests/researcher.wasm"));
    built.filter(|file| file.is_file()).ok_or_else(|| {
        Failure::new(Code::FileMissing, "the example agent researcher.wasm is not beside this program")
            .advise("build it with `cargo xtask guests`, or name one with --agent FILE")
    })
}

async fn ask(
    service: &Arc<dyn Service>,
    stage: &mut Stage,
    options: &Demo,
    asked: Instant,
) -> Outcome<(CallId, Figures, String)> {
    let message = serde_json::json!({ "question": options.question, "output_max": options.tokens }).to_string();
    let mut steps = service.ask_agent("researcher".to_owned(), message).await?;
    let (mut figures, mut call, mut answer) = (Figures::default(), None, String::new());
    let (mut opened, mut newest) = (asked, asked);
    while let Some(step) = steps.next().await {
        let step = step?;
        match &step {
            AgentStep::Opened { call: begun, authorised } => {
                (call, opened) = (Some(*begun), Instant::now());
                figures.open(*authorised);
            }
            AgentStep::Text { text, tokens, spent, authorised } => {
                newest = Instant::now();
                figures.text(newest - opened, *tokens, *spent, *authorised);
                answer.push_str(text);
            }
            AgentStep::Receipted { charge, .. } => figures.receipted(newest.elapsed(), *charge),
            AgentStep::Accepted { .. }
            | AgentStep::Found { .. }
            | AgentStep::Quoted { .. }
            | AgentStep::Fetched { .. }
            | AgentStep::Logged { .. }
            | AgentStep::Answered { .. } => {}
        }
        stage.step(&step);
    }
    let none = || Failure::new(Code::CallNoAnswer, "the agent bought nothing");
    Ok((call.ok_or_else(none)?, figures, answer))
}

/// The call's receipts, once the final one stands in the log.
async fn whole_receipt(service: &Arc<dyn Service>, call: CallId) -> Outcome<agora_receipts::Envelope> {
    let until = Instant::now() + FINAL;
    loop {
        let envelope = receipt::fetch(&**service, &receipt::Named::Call(call), false).await?;
        if envelope.last.is_some() || Instant::now() >= until {
            return Ok(envelope);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An amount with its unit.
fn open(amount: Amount) -> String {
    text::amount(amount)
}
