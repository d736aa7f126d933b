//! `agora agent`: deploying with funds, logs, questions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agora_sandbox_api::{Manifest, WalletGrant};
use agora_shell::{Failure, Format, Outcome, Printer, Written, files, parse_amount, text};
use agora_types::{Amount, Code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;

use super::args::Paying;
use super::context::Context;
use super::documents::{Deployment, step_note};
use super::keys::Keys;
use super::payment::Payment;
use crate::control::{AgentAnswer, AgentLogs, AgentStep, Deployed, Request, Service};

/// The manifest beside a component.
const MANIFEST: &str = "agent.toml";
const MANIFEST_MAX: usize = 64 * 1024;
/// Largest component; in base64 it fits a request.
const COMPONENT_MAX: usize = 64 * 1024 * 1024;
const POLL: Duration = Duration::from_millis(500);
const PAGE: u32 = 1_000;

/// What is sent to the node.
#[derive(Debug)]
pub struct Package {
    /// The manifest's text.
    pub manifest: String,
    /// The component's bytes.
    pub component: Vec<u8>,
}

/// Reads component and manifest, whichever of both the user named.
///
/// # Errors
/// `node.file_not_found`, `agent.bad_manifest`, `agent.too_large`, `amount.*`, `node.io`.
pub fn read_package(context: &Context, file: &Path, budget: Option<&str>) -> Outcome<Package> {
    let budget = budget.map(parse_amount).transpose()?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let is_manifest = file.extension().is_some_and(|extension| extension == "toml");
    let path = if is_manifest {
        file.to_path_buf()
    } else {
        // The file that was named is the first to be missed.
        files::open(file)?;
        // Where several components share a folder, each has a manifest of its name.
        Some(file.with_extension("toml")).filter(|own| own.is_file()).unwrap_or_else(|| folder.join(MANIFEST))
    };
    let bad = |what: String| Failure::new(Code::AgentBadManifest, format!("{}: {what}", path.display()));
    let text = read(&path, MANIFEST_MAX)?;
    let text = String::from_utf8(text).map_err(|_| bad("not UTF-8".to_owned()))?;
    let mut manifest = Manifest::parse(&text).map_err(|error| bad(error.to_string()))?;
    let text = with_budget(context, &mut manifest, budget)?.unwrap_or(text);
    let component: PathBuf = if is_manifest { folder.join(&manifest.component) } else { file.to_path_buf() };
    Ok(Package { manifest: text, component: read(&component, COMPONENT_MAX)? })
}

/// A budget of the command line counts only where the manifest has none; then the manifest is written anew.
fn with_budget(context: &Context, manifest: &mut Manifest, budget: Option<Amount>) -> Outcome<Option<String>> {
    let Some(budget) = budget else { return Ok(None) };
    if let Some(grant) = &manifest.grants.wallet {
        context.printer.warn(&format!("the manifest's budget of {} OPEN counts, not --budget", grant.budget));
        return Ok(None);
    }
    manifest.grants.wallet =
        Some(WalletGrant { budget, per_call: budget, listings: Vec::new(), owners: Vec::new(), expires_at_s: None });
    let bad = |error: toml::ser::Error| Failure::new(Code::AgentBadManifest, error.to_string());
    toml::to_string(manifest).map(Some).map_err(bad)
}

fn read(path: &Path, limit: usize) -> Outcome<Vec<u8>> {
    let bytes = files::read_bounded(files::open(path)?, path, limit)?;
    bytes.ok_or_else(|| Failure::new(Code::AgentTooLarge, format!("{}: more than {limit} bytes", path.display())))
}

/// `agora agent deploy`: the agent first, then what its account lacks.
///
/// # Errors
/// `keystore.*`, the node's; `wallet.over_max_spend` and payment failures, after which the agent is deployed but
/// lacks funds, as the advice says.
pub async fn deploy(
    context: &Context,
    service: &dyn Service,
    package: Package,
    paying: &Paying,
) -> Outcome<Deployment> {
    let keys = Keys::of(context)?;
    let owner = keys.address(&paying.from)?;
    let request =
        Request::AgentDeploy { manifest: package.manifest, component: STANDARD.encode(package.component), owner };
    let Deployed { agent, missing } = service.call(request).await?;
    let mut deployment = Deployment { agent, funded: Amount::ZERO, transfer: None };
    if missing.is_zero() {
        return Ok(deployment);
    }
    let account = deployment.agent.account;
    let funds = async {
        context.allow(missing)?;
        context.confirm(&format!("Give agent {} {missing} OPEN to spend?", deployment.agent.name), paying.yes)?;
        let payment = Payment::sign(&context.genesis()?, &keys.open(&paying.from)?, account, missing)?;
        payment.commit(service).await?;
        Ok::<_, Failure>(payment)
    };
    let payment = funds.await.map_err(|failure: Failure| {
        let advice = format!(
            "{}; the agent is deployed and lacks {missing} OPEN: deploy again, or `agora wallet send {account} {missing}`",
            failure.hint()
        );
        failure.advise(advice)
    })?;
    deployment.funded = missing;
    deployment.transfer = Some(payment.id);
    deployment.agent.balance = deployment.agent.balance.checked_add(missing).unwrap_or(deployment.agent.balance);
    Ok(deployment)
}

/// `agora agent logs`: the newest lines, then with `follow` whatever comes, until Ctrl-C.
///
/// # Errors
/// `agent.not_found`; the service's.
pub async fn logs(context: &Context, service: &dyn Service, name: &str, limit: u32, follow: bool) -> Outcome<()> {
    let (mut after, mut limit) = (None, limit);
    loop {
        let page: AgentLogs = service.call(Request::AgentLogs { name: name.to_owned(), after, limit }).await?;
        for line in &page.lines {
            after = Some(line.number);
            if context.printer.stream(line)? == Written::ReaderGone {
                return Ok(());
            }
        }
        if !follow {
            return Ok(());
        }
        limit = PAGE;
        if page.lines.len() < PAGE as usize {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// `agora agent ask`: for people the answer on stdout as it comes, and the rest as messages; else a line for each step.
///
/// # Errors
/// `agent.not_found`, whatever ended the work; the service's.
pub async fn ask(context: &Context, service: &dyn Service, name: &str, message: &str) -> Outcome<()> {
    let printer = &context.printer;
    let mut steps = service.ask_agent(name.to_owned(), message.to_owned()).await?;
    let mut reading = Reading { printer, words: String::new() };
    while let Some(step) = steps.next().await {
        let step = step?;
        let written = match printer.format() {
            Format::Text => reading.step(&step)?,
            Format::Json | Format::Yaml => printer.stream(&step)?,
        };
        if written == Written::ReaderGone || matches!(step, AgentStep::Answered { .. }) {
            return Ok(());
        }
    }
    Err(Failure::new(Code::BusClosed, "the answer ended before the agent was done").advise("see `agora agent logs`"))
}

/// What a person has read so far.
struct Reading<'a> {
    printer: &'a Printer,
    /// The model's words, which stand on stdout.
    words: String,
}

impl Reading<'_> {
    fn step(&mut self, step: &AgentStep) -> Outcome<Written> {
        match step {
            AgentStep::Text { text, .. } => {
                self.words.push_str(text);
                self.printer.stream(step)
            }
            AgentStep::Answered { answer } => {
                let written = self.answer(answer);
                let spent = text::amount(answer.spent);
                self.printer.note(&format!("{} paid calls, {spent}", answer.calls.len()));
                written
            }
            other => {
                self.printer.note(&step_note(other));
                Ok(Written::Whole)
            }
        }
    }

    /// The agent's own answer on lines of its own; not again where it only repeats the model's words.
    fn answer(&self, answer: &AgentAnswer) -> Outcome<Written> {
        let mut text = String::new();
        if !self.words.is_empty() && !self.words.ends_with('\n') {
            text.push('\n');
        }
        if answer.text.trim() != self.words.trim() {
            text.push_str(&answer.text);
            text.push('\n');
        }
        let nothing = Amount::ZERO;
        self.printer.stream(&AgentStep::Text { text, tokens: 0, spent: nothing, authorised: nothing })
    }
}
