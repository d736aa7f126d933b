//! Where things are: the XDG folders, or one folder that holds them all.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use agora_types::Code;
use etcetera::base_strategy::{BaseStrategy as _, Xdg};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};

/// The environment variable that puts everything below one folder.
pub const HOME_VARIABLE: &str = "AGORA_HOME";
/// The settings of a project, in its folder.
pub const PROJECT_FILE: &str = "agora.toml";

/// The name of a network, which is also its folder's: 1 to 32 of a-z, 0-9 and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct NetworkName(String);

impl NetworkName {
    /// The name of the network on this machine when none is given.
    pub fn dev() -> Self {
        Self("dev".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&text.len()) || !text.bytes().all(plain) {
            let text: String = text.chars().take(40).collect();
            let what = format!("`{text}` cannot name a network");
            return Err(Failure::usage(what).advise("use 1 to 32 of a-z, 0-9 and -"));
        }
        // Its folder would be the one of the models, which all networks share.
        if text == MODELS {
            return Err(Failure::usage(format!("`{MODELS}` cannot name a network")).advise("choose another name"));
        }
        // A leading hyphen would read as a flag in every command that names the network.
        if text.starts_with('-') {
            return Err(
                Failure::usage(format!("`{text}` cannot name a network")).advise("begin with a letter or digit")
            );
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for NetworkName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|failure: Failure| format!("{}: {}", failure.what, failure.hint()))
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

const MODELS: &str = "models";
/// Names the folder's version; written last.
const FORMAT: &str = "FORMAT";

/// The folders of this user. Nothing is created here: who writes creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    data: PathBuf,
    config: PathBuf,
    cache: PathBuf,
}

impl Paths {
    /// `--home` if given, else `AGORA_HOME`, else the XDG folders (`XDG_DATA_HOME`, `XDG_CONFIG_HOME`,
    /// `XDG_CACHE_HOME`; relative ones are ignored, as their specification demands).
    ///
    /// # Errors
    /// `node.bad_config` when there is no home folder to start from.
    pub fn find(home: Option<&Path>) -> Outcome<Self> {
        let variable = std::env::var_os(HOME_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(home) = home.map(Path::to_path_buf).or(variable) {
            let home = std::path::absolute(&home).map_err(Failure::io(&home))?;
            return Ok(Self::below(&home));
        }
        let xdg = Xdg::new().map_err(|_| {
            Failure::new(Code::NodeConfig, "this user has no home folder").advise("set HOME, or give --home FOLDER")
        })?;
        let own = |folder: PathBuf| folder.join("agora");
        Ok(Self { data: own(xdg.data_dir()), config: own(xdg.config_dir()), cache: own(xdg.cache_dir()) })
    }

    /// Everything below one folder: `data/`, `config/`, `cache/`.
    pub fn below(home: &Path) -> Self {
        Self { data: home.join("data"), config: home.join("config"), cache: home.join("cache") }
    }

    /// Where the networks' folders and the models are.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where the settings are.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What can be deleted and is made again.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The data folder of a network.
    pub fn network(&self, name: &NetworkName) -> PathBuf {
        self.data.join(name.as_str())
    }

    /// The genesis file of a network: canonical CBOR, and the one thing about it that is never asked of a node.
    pub fn genesis(&self, name: &NetworkName) -> PathBuf {
        self.network(name).join("genesis.cbor")
    }

    /// The keys of a network.
    pub fn keys(&self, name: &NetworkName) -> PathBuf {
        self.network(name).join("keys")
    }

    /// True when the network's folder is there and finished.
    pub fn has_network(&self, name: &NetworkName) -> bool {
        self.network(name).join(FORMAT).is_file()
    }

    /// The names of the networks that have a folder here, sorted.
    ///
    /// # Errors
    /// `node.io`, except that a missing data folder holds no networks.
    pub fn networks(&self) -> Outcome<Vec<NetworkName>> {
        let entries = match std::fs::read_dir(&self.data) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Failure::io(&self.data))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Failure::io(&self.data))?;
            // FORMAT is written last: a folder without it was never finished.
            if entry.path().join(FORMAT).is_file()
                && let Some(Ok(name)) = entry.file_name().to_str().map(str::parse)
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Where the models are, shared by all networks.
    pub fn models(&self) -> PathBuf {
        self.data.join(MODELS)
    }

    /// Where compiled agents are kept.
    pub fn aot(&self) -> PathBuf {
        self.cache.join("aot")
    }

    /// The user's settings.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The operators' keys and genesis hashes that this user trusts.
    pub fn trust_file(&self) -> PathBuf {
        self.config.join("trust.toml")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_network_is_named_by_plain_characters_and_not_like_the_folder_of_models() {
        for name in ["dev", "a", "0", "open-main-2", &"x".repeat(32)] {
            assert_eq!(name.parse::<NetworkName>().unwrap().as_str(), name);
        }
        for name in ["", "Dev", "a_b", "a/b", "..", "a b", "é", "models", "-x", &"x".repeat(33)] {
            let failure = name.parse::<NetworkName>().expect_err(name);
            assert_eq!((failure.code, failure.exit_code()), (Code::NodeConfig, 2), "{name}");
        }
    }

    #[test]
    fn one_home_holds_everything() {
        let paths = Paths::below(Path::new("/h"));
        assert_eq!(paths.network(&NetworkName::dev()), Path::new("/h/data/dev"));
        assert_eq!(paths.models(), Path::new("/h/data/models"));
        assert_eq!(paths.aot(), Path::new("/h/cache/aot"));
        assert_eq!(paths.config_file(), Path::new("/h/config/config.toml"));
        assert_eq!(paths.trust_file(), Path::new("/h/config/trust.toml"));
    }

    #[test]
    fn only_finished_folders_are_networks() {
        let home = tempfile::tempdir().unwrap();
        let paths = Paths::below(home.path());
        assert_eq!(paths.networks().unwrap(), []);
        for (name, finished) in [("b", true), ("a", true), ("half", false), ("models", true), ("BAD", true)] {
            std::fs::create_dir_all(paths.data().join(name)).unwrap();
            if finished {
                std::fs::write(paths.data().join(name).join("FORMAT"), "").unwrap();
            }
        }
        let names: Vec<String> = paths.networks().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "b"]);
    }

    /// Prints what the environment of this process leads to; the test below runs it with several environments.
    #[test]
    #[ignore = "a part of the_environment_chooses_the_folders"]
    fn prints_the_folders() {
        println!("folders: {:?}", Paths::find(None).map(|p| (p.data, p.config, p.cache)));
    }

    #[test]
    fn the_environment_chooses_the_folders() {
        let folders = |environment: &[(&str, &str)]| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--ignored", "--exact", "--nocapture", "paths::tests::prints_the_folders"]);
            for name in ["AGORA_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
                command.env_remove(name);
            }
            let output = command.env("HOME", "/home/ada").envs(environment.iter().copied()).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let at = text.find("folders: ").unwrap_or_else(|| panic!("{text}"));
            text[at..].lines().next().unwrap().to_owned()
        };
        let own =
            r#"folders: Ok(("/home/ada/.local/share/agora", "/home/ada/.config/agora", "/home/ada/.cache/agora"))"#;
        assert_eq!(folders(&[]), own);
        assert_eq!(folders(&[("XDG_DATA_HOME", "relative")]), own);
        assert_eq!(
            folders(&[("XDG_DATA_HOME", "/d"), ("XDG_CONFIG_HOME", "/c"), ("XDG_CACHE_HOME", "/t")]),
            r#"folders: Ok(("/d/agora", "/c/agora", "/t/agora"))"#
        );
        assert_eq!(
            folders(&[("XDG_DATA_HOME", "/d"), ("AGORA_HOME", "/one")]),
            r#"folders: Ok(("/one/data", "/one/config", "/one/cache"))"#
        );
    }
}
