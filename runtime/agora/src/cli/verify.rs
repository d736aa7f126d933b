//! `agora receipt verify`: a file against what the reader trusts, with no network and no node.

use std::io::{self, Write};
use std::path::Path;

use agora_receipts::trust::TRUST_SIZE_MAX;
use agora_receipts::{Trust, TrustedNetwork, verify_json};
use agora_shell::output::{Document, Style};
use agora_shell::{Failure, Outcome, files};
use agora_types::Code;
use schemars::JsonSchema;
use serde::Serialize;

use super::context::{Context, read_genesis};
use super::receipt::read_file;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Checked {
    /// What; stable.
    pub name: String,
    /// True when it holds.
    pub ok: bool,
    /// Why not: a stable code.
    pub code: Option<String>,
    /// What holds, or what does not.
    pub sentence: String,
}

/// The verdict on a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictDocument {
    /// The reader's own name of the network, when it is trusted.
    pub network: Option<String>,
    /// The first failing check's code; absent: verified.
    pub code: Option<String>,
    /// What the command ends with.
    pub exit_code: u8,
    /// Everything that was looked at.
    pub checks: Vec<Checked>,
    /// The files that said whom to trust.
    pub trusted: Vec<String>,
}

impl Document for VerdictDocument {
    const TYPE: &'static str = "agora/receipt-verdict/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        for check in &self.checks {
            let mark = if check.ok { style.good("ok  ") } else { style.bad("FAIL") };
            writeln!(out, "{mark}  {:<24}  {}", check.name, agora_shell::text::plain(&check.sentence))?;
        }
        match &self.code {
            None => writeln!(out, "{}", style.good("verified"))?,
            Some(code) => writeln!(out, "{} ({code})", style.bad("not verified"))?,
        }
        let trusted =
            if self.trusted.is_empty() { "nothing is trusted yet".to_owned() } else { self.trusted.join(", ") };
        writeln!(out, "{} {trusted}", style.faint("trust from:"))
    }
}

/// Where trust comes from, as the flags say.
#[derive(Debug, Clone, Copy)]
pub enum TrustFrom<'a> {
    /// Exactly this `trust.toml`.
    File(&'a Path),
    /// Exactly the network of this genesis file.
    Genesis(&'a Path),
    /// The user's `trust.toml`, and the genesis files of the networks on this machine.
    Machine,
}

impl<'a> TrustFrom<'a> {
    /// As `--trust` and `--genesis` say.
    pub(super) fn flags(trust: Option<&'a Path>, genesis: Option<&'a Path>) -> Self {
        match (trust, genesis) {
            (Some(path), _) => Self::File(path),
            (None, Some(path)) => Self::Genesis(path),
            (None, None) => Self::Machine,
        }
    }
}

/// The trust and the files that it came from.
///
/// # Errors
/// `node.file_not_found`, `node.bad_config` for a malformed `trust.toml`, `ledger.genesis_invalid`, `node.io`.
pub fn trust(context: &Context, from: TrustFrom<'_>) -> Outcome<(Trust, Vec<String>)> {
    match from {
        TrustFrom::File(path) => Ok((read_trust(path)?, vec![path.display().to_string()])),
        TrustFrom::Genesis(path) => {
            let network = TrustedNetwork::from_genesis(&read_genesis(path)?);
            Ok((whole(vec![network], path)?, vec![path.display().to_string()]))
        }
        TrustFrom::Machine => of_machine(context),
    }
}

fn of_machine(context: &Context) -> Outcome<(Trust, Vec<String>)> {
    let paths = &context.paths;
    let (mut networks, mut sources) = (Vec::new(), Vec::new());
    let file = paths.trust_file();
    if file.is_file() {
        networks.extend_from_slice(read_trust(&file)?.networks());
        sources.push(file.display().to_string());
    }
    for name in paths.networks()? {
        let path = paths.genesis(&name);
        // One damaged folder does not hide the other networks.
        let genesis = match read_genesis(&path) {
            Ok(genesis) => genesis,
            Err(failure) => {
                context.printer.warn(&format!("network `{name}` is not trusted: {failure}"));
                continue;
            }
        };
        let found = TrustedNetwork::from_genesis(&genesis);
        // What the user wrote goes first: it may pin more than a genesis file does.
        let same = |known: &TrustedNetwork| known.genesis_hash == found.genesis_hash || known.name == found.name;
        if !networks.iter().any(same) {
            networks.push(found);
            sources.push(path.display().to_string());
        }
    }
    Ok((whole(networks, &file)?, sources))
}

fn whole(networks: Vec<TrustedNetwork>, path: &Path) -> Outcome<Trust> {
    Trust::new(networks).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

fn read_trust(path: &Path) -> Outcome<Trust> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let bytes = files::read_bounded(files::open(path)?, path, TRUST_SIZE_MAX)?;
    let bytes = bytes.ok_or_else(|| wrong(format!("more than {TRUST_SIZE_MAX} bytes")))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8".to_owned()))?;
    Trust::from_toml(&text).map_err(|error| wrong(error.to_string()))
}

/// `agora receipt verify`: the verdict, and the failure that the command ends with.
///
/// # Errors
/// What reading file and trust says. A bad verdict is no error here.
pub fn verify(context: &Context, file: &Path, from: TrustFrom<'_>) -> Outcome<(VerdictDocument, Option<Failure>)> {
    judge(context, &file.display().to_string(), &read_file(file)?, from)
}

/// The verdict on a file's text.
///
/// # Errors
/// What reading trust says.
pub(super) fn judge(
    context: &Context,
    name: &str,
    text: &str,
    from: TrustFrom<'_>,
) -> Outcome<(VerdictDocument, Option<Failure>)> {
    let (trust, trusted) = trust(context, from)?;
    let verdict = verify_json(text, &trust);
    let checked = |check: &agora_receipts::verify::Check| Checked {
        name: check.name.clone(),
        ok: check.ok,
        code: check.code.map(|code| code.text().to_owned()),
        sentence: check.sentence.clone(),
    };
    let document = VerdictDocument {
        network: verdict.network.clone(),
        code: verdict.code.map(|code| code.text().to_owned()),
        exit_code: verdict.exit_code,
        checks: verdict.checks.iter().map(checked).collect(),
        trusted,
    };
    let first = verdict.checks.iter().find(|check| !check.ok).map_or("", |check| check.sentence.as_str());
    let failure = verdict.code.map(|code: Code| Failure::new(code, format!("{name}: {first}")));
    Ok((document, failure))
}
