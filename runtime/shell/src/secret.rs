//! Where a passphrase or another secret comes from: `env:NAME`, `path:FILE` or `prompt`, and never a flag's value,
//! since other users of the machine can read the arguments of a process.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::str::FromStr;

use agora_types::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::files;

/// Longest secret, bytes.
pub const SECRET_MAX: usize = 1_024;

/// A place that a secret is read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum SecretSource {
    /// The environment variable of this name.
    Env(String),
    /// The first line of this file, which must be private, or of this pipe.
    Path(PathBuf),
    /// A person at the terminal, without echo.
    Prompt,
}

/// Whoever can be asked: the terminal, or a script in tests.
pub trait Ask {
    /// The answer to `question`, not shown while it is typed; `None` when nobody can be asked.
    ///
    /// # Errors
    /// What the terminal says.
    fn ask(&self, question: &str) -> io::Result<Option<Zeroizing<String>>>;
}

/// The terminal of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    /// `--non-interactive`: never ask.
    pub silent: bool,
}

impl Ask for Terminal {
    fn ask(&self, question: &str) -> io::Result<Option<Zeroizing<String>>> {
        if self.silent || !io::stdin().is_terminal() {
            return Ok(None);
        }
        rpassword::prompt_password(question).map(Zeroizing::new).map(Some)
    }
}

impl SecretSource {
    /// Reads the secret; `what` is its name in questions and messages, such as `the passphrase of key "alice"`.
    ///
    /// # Errors
    /// `keystore.bad_passphrase` when there is none, it is empty, too long or no UTF-8; `keystore.permissions` for a
    /// file that others may read; `node.io`.
    pub fn read(&self, what: &str, ask: &dyn Ask) -> Outcome<Zeroizing<String>> {
        let secret = match self {
            Self::Env(name) => match std::env::var(name) {
                Ok(secret) => Zeroizing::new(secret),
                Err(std::env::VarError::NotPresent) => {
                    return Err(none(what, format!("the environment variable {name} is not set")));
                }
                Err(std::env::VarError::NotUnicode(_)) => {
                    return Err(none(what, format!("the environment variable {name} is not UTF-8")));
                }
            },
            Self::Path(path) => {
                let file = File::open(path).map_err(Failure::io(path))?;
                files::require_private(&file, path)?;
                let bytes = files::read_bounded(file, path, SECRET_MAX + 2)?.map(Zeroizing::new);
                let bytes = bytes.ok_or_else(|| none(what, format!("{} is too long", path.display())))?;
                let text = std::str::from_utf8(&bytes);
                let text = text.map_err(|_| none(what, format!("{} is not UTF-8", path.display())))?;
                // Editors and `echo` end a file with one line break that nobody means.
                let text = text.strip_suffix('\n').unwrap_or(text);
                Zeroizing::new(text.strip_suffix('\r').unwrap_or(text).to_owned())
            }
            Self::Prompt => self.asked(what, ask)?,
        };
        if secret.is_empty() {
            return Err(none(what, format!("{self} is empty")));
        }
        if secret.len() > SECRET_MAX {
            return Err(none(what, format!("{self} has more than {SECRET_MAX} bytes")));
        }
        Ok(secret)
    }

    /// Reads a secret that is about to be set; a person types it twice.
    ///
    /// # Errors
    /// As [`Self::read`]; `keystore.bad_passphrase` when the two differ.
    pub fn read_new(&self, what: &str, ask: &dyn Ask) -> Outcome<Zeroizing<String>> {
        let secret = self.read(what, ask)?;
        if *self == Self::Prompt && *self.asked(&format!("{what}, again"), ask)? != *secret {
            return Err(none(what, "the two differ".to_owned()).advise("type the same twice"));
        }
        Ok(secret)
    }

    fn asked(&self, what: &str, ask: &dyn Ask) -> Outcome<Zeroizing<String>> {
        let answer = ask.ask(&format!("{what}: "));
        let answer = answer.map_err(|error| none(what, format!("the terminal failed: {error}")))?;
        answer.ok_or_else(|| none(what, "there is no terminal to ask at".to_owned()))
    }
}

fn none(what: &str, why: String) -> Failure {
    let advice = "give it with env:NAME or path:FILE, or with prompt at a terminal";
    Failure::new(Code::KeystorePassphrase, format!("{what}: {why}")).advise(advice)
}

impl FromStr for SecretSource {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let source = match text.split_once(':') {
            Some(("env", name)) if is_variable(name) => Some(Self::Env(name.to_owned())),
            Some(("path", file)) if !file.is_empty() => Some(Self::Path(file.into())),
            None if text == "prompt" => Some(Self::Prompt),
            _ => None,
        };
        // The text is not repeated: it may be the secret itself, put there by mistake.
        source.ok_or_else(|| {
            Failure::usage("that is no source of a secret")
                .advise("write env:NAME, path:FILE or prompt, not the secret")
        })
    }
}

fn is_variable(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

impl TryFrom<String> for SecretSource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|failure: Failure| format!("{}; {}", failure.what, failure.hint()))
    }
}

impl From<SecretSource> for String {
    fn from(source: SecretSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Path(path) => write!(f, "path:{}", path.display()),
            Self::Prompt => f.write_str("prompt"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Gives prepared answers, the last one first.
    struct Script(RefCell<Vec<&'static str>>);

    impl Ask for Script {
        fn ask(&self, _: &str) -> io::Result<Option<Zeroizing<String>>> {
            Ok(self.0.borrow_mut().pop().map(|answer| Zeroizing::new(answer.to_owned())))
        }
    }

    fn script(answers: &[&'static str]) -> Script {
        Script(RefCell::new(answers.to_vec()))
    }

    fn private(path: &Path, bytes: &[u8]) {
        files::write_private(path, bytes, files::Existing::Replace).unwrap();
    }

    #[test]
    fn a_secret_in_place_of_its_source_is_refused_and_not_repeated() {
        for text in ["hunter2", "literal:hunter2", "env:", "env:hunter2 x", "env:2hunter2", "path:", "hunter2:env", ""]
        {
            let failure = text.parse::<SecretSource>().expect_err(text);
            assert_eq!(failure.exit_code(), 2);
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
        }
        for text in ["env:AGORA_PASSPHRASE", "path:/run/secret", "path:a:b", "prompt"] {
            assert_eq!(text.parse::<SecretSource>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_file_gives_its_text_without_the_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let source = SecretSource::Path(path.clone());
        for (bytes, secret) in [("a b", "a b"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            private(&path, bytes.as_bytes());
            assert_eq!(*source.read("it", &script(&[])).unwrap(), secret);
        }
        for bytes in [&b""[..], b"\n", b"\xff", &[b'a'; SECRET_MAX + 1]] {
            private(&path, bytes);
            assert_eq!(source.read("it", &script(&[])).unwrap_err().code, Code::KeystorePassphrase);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        private(&path, b"a");
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            match SecretSource::Path(path.clone()).read("it", &script(&[])) {
                Ok(_) => assert!(fine, "{mode:o}"),
                Err(failure) => assert!(!fine && failure.code == Code::KeystorePermissions, "{mode:o} {failure}"),
            }
        }
    }

    #[test]
    fn a_new_passphrase_is_typed_twice_and_an_old_one_once() {
        assert_eq!(*SecretSource::Prompt.read("it", &script(&["a"])).unwrap(), "a");
        assert_eq!(*SecretSource::Prompt.read_new("it", &script(&["a", "a"])).unwrap(), "a");
        assert!(SecretSource::Prompt.read_new("it", &script(&["a", "b"])).unwrap_err().what.contains("differ"));
    }

    #[test]
    fn without_a_terminal_or_a_variable_the_way_out_is_said() {
        let failure = SecretSource::Prompt.read("it", &Terminal { silent: true }).unwrap_err();
        assert!(failure.what.contains("no terminal") && failure.hint().contains("env:NAME"), "{failure}");
        let failure = SecretSource::Env("AGORA_NO_SUCH_VARIABLE".to_owned()).read("it", &script(&[])).unwrap_err();
        assert!(failure.what.contains("AGORA_NO_SUCH_VARIABLE"), "{failure}");
    }
}
