//! Settings, each with its source: flags, then `AGORA_*` variables, then the project's file, then the user's, then the
//! defaults.
//!
//! A project's file comes with somebody's code, so it may not name where secrets are, and may lower the spending limit
//! but not raise it.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use agora_types::{Amount, Code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};
use crate::output::{Document, Format, Style};
use crate::paths::{NetworkName, PROJECT_FILE, Paths};
use crate::secret::SecretSource;
use crate::text;

/// Largest settings file, bytes.
const FILE_MAX: usize = 64 * 1024;

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In this environment variable.
    Variable(String),
    /// In this file.
    File(PathBuf),
    /// Nowhere.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// What.
    pub value: T,
    /// Who.
    pub source: Source,
}

/// How much the node writes into its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what deserves a look.
    Warn,
    /// And what happens.
    Info,
    /// And how.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for LogLevel {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let found = Self::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| {
            Failure::usage(format!("`{text}` is no log level")).advise("write error, warn, info, debug or trace")
        })
    }
}

/// A number of threads, 1 to 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
pub struct Threads(u32);

impl Threads {
    /// How many.
    pub fn count(self) -> usize {
        self.0 as usize
    }

    /// One for each core that this process may use.
    pub fn of_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(u32::try_from(cores).map_or(1_024, |cores| cores.clamp(1, 1_024)))
    }
}

impl TryFrom<u32> for Threads {
    type Error = &'static str;

    fn try_from(count: u32) -> Result<Self, &'static str> {
        if (1..=1_024).contains(&count) { Ok(Self(count)) } else { Err("give 1 to 1024 threads") }
    }
}

impl FromStr for Threads {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let count = text.parse::<u32>().ok().and_then(|count| Self::try_from(count).ok());
        count.ok_or_else(|| Failure::usage(format!("`{text}` is no number of threads")).advise("give 1 to 1024"))
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a model computes: `cpu`, or `cuda:N`, of which `cuda` is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DeviceChoice {
    /// The processor.
    Cpu,
    /// A device with CUDA, by its number.
    Cuda(u16),
}

impl TryFrom<String> for DeviceChoice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let number = match (text.as_str(), text.strip_prefix("cuda:")) {
            ("cpu", _) => return Ok(Self::Cpu),
            ("cuda", _) => Some(0),
            (_, Some(number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => number.parse().ok(),
            _ => None,
        };
        number.map(Self::Cuda).ok_or("write cpu, cuda or cuda:N")
    }
}

impl FromStr for DeviceChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let wrong = |advice| Failure::usage(format!("`{text}` is no device")).advise(advice);
        text.to_owned().try_into().map_err(wrong)
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// A spending limit as people write it: decimal OPEN, in quotes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit(pub Amount);

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: agora_types::AmountError| error.to_string())
    }
}

impl FromStr for Limit {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        crate::amount::parse_amount(text).map(Self)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])* $name:ident: $type:ty = $variable:literal, $default:expr;)*) => {
        /// What one place says; the rest is left to the places below it.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Overlay { $($(#[doc = $doc])* pub $name: Option<$type>,)* }

        /// Every setting with its source.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings { $($(#[doc = $doc])* pub $name: Sourced<$type>,)* }

        impl Settings {
            /// The defaults.
            pub fn defaults() -> Self {
                Self { $($name: Sourced { value: $default, source: Source::Default },)* }
            }

            /// Lets a higher place speak.
            fn cover(&mut self, overlay: Overlay, source: &Source) {
                $(if let Some(value) = overlay.$name {
                    self.$name = Sourced { value, source: source.clone() };
                })*
            }

            fn cover_with_variables(&mut self, variable: impl Fn(&str) -> Option<String>) -> Outcome<()> {
                $(if let Some(text) = variable($variable) {
                    let value = text.parse::<$type>().map_err(|error| wrong_variable($variable, &error))?;
                    self.$name = Sourced { value, source: Source::Variable($variable.to_owned()) };
                })*
                Ok(())
            }

            /// Every setting as text, for `agora doctor` and `agora config`.
            pub fn document(&self) -> SettingsDocument {
                SettingsDocument { settings: vec![$(SettingEntry {
                    key: stringify!($name).to_owned(),
                    value: self.$name.value.to_string(),
                    source: self.$name.source.to_string(),
                    variable: $variable.to_owned(),
                },)*] }
            }
        }
    };
}

settings! {
    /// The network that commands speak to.
    network: NetworkName = "AGORA_NETWORK", NetworkName::dev();
    /// The node's port; 0 takes any free one.
    port: u16 = "AGORA_PORT", 7_402;
    /// The node's address.
    bind: IpAddr = "AGORA_BIND", IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// The port that others pay at; 0 takes any free one, `off` opens none.
    http: HttpPort = "AGORA_HTTP_PORT", HttpPort::Port(8_402);
    /// The base model: a known name, or a path to a GGUF file or a Hugging Face folder.
    model: ModelChoice = "AGORA_MODEL", ModelChoice(crate::fetch::DEFAULT_MODEL.to_owned());
    /// Threads that compute tokens.
    threads: Threads = "AGORA_THREADS", Threads::of_machine();
    /// Where tokens are computed.
    device: DeviceChoice = "AGORA_DEVICE", DeviceChoice::Cpu;
    /// How much the node writes into its log.
    log: LogLevel = "AGORA_LOG", LogLevel::Info;
    /// The form of documents.
    output: Format = "AGORA_OUTPUT", Format::Text;
    /// Where the passphrase of keys comes from.
    passphrase: SecretSource = "AGORA_PASSPHRASE_SOURCE", SecretSource::Prompt;
    /// The most that one command may spend, in OPEN.
    max_spend: Limit = "AGORA_MAX_SPEND", Limit(Amount::from_open(1));
}

/// Where others pay: a port, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum HttpPort {
    /// This port; 0: any free one.
    Port(u16),
    /// The node has no public port.
    Off,
}

impl TryFrom<toml::Value> for HttpPort {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, &'static str> {
        let text = match &value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        text.parse().map_err(|_: Failure| "write a port, or \"off\"")
    }
}

impl FromStr for HttpPort {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        match text {
            "off" => Ok(Self::Off),
            other => {
                let port = other.parse().map_err(|_| Failure::usage(format!("`{text}` is no port")));
                port.map(Self::Port).map_err(|failure| failure.advise("write 0 to 65535, or off"))
            }
        }
    }
}

impl fmt::Display for HttpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Off => f.pad("off"),
        }
    }
}

/// A known model's name, or a path: whatever has a separator or ends in `.gguf` is a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ModelChoice(String);

impl ModelChoice {
    /// The path, if it is one.
    pub fn path(&self) -> Option<&Path> {
        let path = self.0.contains(std::path::is_separator) || self.0.ends_with(".gguf");
        path.then(|| Path::new(&self.0))
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelChoice {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        if text.is_empty() { Err("name a model, or give a path") } else { Ok(Self(text)) }
    }
}

impl FromStr for ModelChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        text.to_owned().try_into().map_err(|what: &str| Failure::usage(what))
    }
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Settings {
    /// The settings of this process, in a project's folder.
    ///
    /// # Errors
    /// `node.bad_config`, naming file and line or the variable; `amount.*` for a spending limit in a variable;
    /// `node.io`.
    pub fn load(flags: Overlay, paths: &Paths, folder: &Path) -> Outcome<Self> {
        let user = Overlay::read(&paths.config_file())?;
        let project = Overlay::read(&folder.join(PROJECT_FILE))?;
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::merge(user, project, variable, flags)
    }

    fn merge(
        user: Option<(PathBuf, Overlay)>,
        project: Option<(PathBuf, Overlay)>,
        variable: impl Fn(&str) -> Option<String>,
        flags: Overlay,
    ) -> Outcome<Self> {
        let mut settings = Self::defaults();
        if let Some((path, overlay)) = user {
            settings.cover(overlay.beside(&path), &Source::File(path));
        }
        if let Some((path, mut overlay)) = project {
            if overlay.passphrase.is_some() {
                let what = format!("{}: `passphrase` does not belong into a project's file", path.display());
                return Err(Failure::usage(what).advise("give it in the user's file or as a variable"));
            }
            overlay.max_spend = overlay.max_spend.filter(|limit| *limit < settings.max_spend.value);
            settings.cover(overlay.beside(&path), &Source::File(path));
        }
        settings.cover_with_variables(variable)?;
        settings.cover(flags, &Source::Flag);
        Ok(settings)
    }
}

impl Overlay {
    /// Reads a settings file; `None` when there is none.
    ///
    /// # Errors
    /// `node.bad_config` with file and line; `node.io`.
    pub fn read(path: &Path) -> Outcome<Option<(PathBuf, Self)>> {
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Failure::io(path))?,
        };
        let bytes = crate::files::read_bounded(file, path, FILE_MAX)?;
        let at = path.display();
        let bytes = bytes.ok_or_else(|| Failure::usage(format!("{at}: more than {FILE_MAX} bytes")))?;
        let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{at}: not UTF-8")))?;
        let overlay = Self::parse(&text).map_err(|(line, what)| Failure::usage(format!("{at}:{line}: {what}")))?;
        Ok(Some((path.to_path_buf(), overlay)))
    }

    /// The settings of a text, or the line and the reason.
    fn parse(text: &str) -> Result<Self, (usize, String)> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let span = error.span().unwrap_or_default();
            let line = text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1);
            // The value's own error does not know its key; the line does.
            let key = text.lines().nth(line - 1).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
            let what = error.message().trim();
            match key {
                Some(key) if !what.contains(&format!("`{key}`")) => (line, format!("`{key}`: {what}")),
                _ => (line, what.to_owned()),
            }
        })
    }

    /// A relative path in a file is meant from the file's folder.
    fn beside(mut self, file: &Path) -> Self {
        if let Some(model) = &self.model
            && let (Some(path), Some(folder)) = (model.path(), file.parent())
            && path.is_relative()
        {
            self.model = Some(ModelChoice(folder.join(path).display().to_string()));
        }
        self
    }
}

fn wrong_variable(name: &str, error: &dyn WrongValue) -> Failure {
    let (code, what, advice) = error.parts();
    let failure = Failure::new(code, format!("{name}: {what}"));
    match advice {
        Some(advice) => failure.advise(advice),
        None => failure,
    }
}

/// The errors of the settings' texts, whether ours or the standard library's.
trait WrongValue {
    fn parts(&self) -> (Code, String, Option<String>);
}

impl WrongValue for Failure {
    fn parts(&self) -> (Code, String, Option<String>) {
        (self.code, self.what.clone(), Some(self.hint().to_owned()))
    }
}

impl WrongValue for std::num::ParseIntError {
    fn parts(&self) -> (Code, String, Option<String>) {
        (Code::NodeConfig, self.to_string(), Some("give a number from 0 to 65535".to_owned()))
    }
}

impl WrongValue for std::net::AddrParseError {
    fn parts(&self) -> (Code, String, Option<String>) {
        (Code::NodeConfig, self.to_string(), Some("give an IP address such as 127.0.0.1".to_owned()))
    }
}

/// One setting as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SettingEntry {
    /// Its key in a settings file.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Who said it: `flag`, a variable, a file, or `default`.
    pub source: String,
    /// The environment variable that sets it.
    pub variable: String,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SettingsDocument {
    /// One entry each.
    pub settings: Vec<SettingEntry>,
}

impl Document for SettingsDocument {
    const TYPE: &'static str = "agora/settings/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |entry: &SettingEntry| [entry.key.clone(), entry.value.clone(), entry.source.clone()];
        let rows: Vec<[String; 3]> = self.settings.iter().map(row).collect();
        text::table(out, style, ["SETTING", "VALUE", "SOURCE"], &rows)
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
