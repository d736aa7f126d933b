//! Why a command ended without doing what was asked: a stable code, what happened, and what to do next.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use agora_types::{AmountError, Code, Rejection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::output::{Document, Style};

/// What a fallible step of a command returns.
pub type Outcome<T> = Result<T, Failure>;

/// A command's end without success. Its code decides the exit code, so scripts can tell the reasons apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {} [{}]", self.hint(), .code.text())]
pub struct Failure {
    /// Which of the registered reasons.
    pub code: Code,
    /// What happened, with the names involved.
    pub what: String,
    /// Better advice than the code's own, where the place of failure knows more.
    advice: Option<Cow<'static, str>>,
}

impl Failure {
    /// A failure with the advice that its code carries.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), advice: None }
    }

    /// The same failure with advice for exactly this place.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The disk or the system refused something about `path`; for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |error| {
            let failure = Self::new(Code::NodeIo, format!("{path}: {error}"));
            match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    failure.advise("the disk is full: free some space, then try again")
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    failure.advise("this user may not do that there: change owner or mode, or choose another folder")
                }
                _ => failure,
            }
        }
    }

    /// A setting or an argument is wrong.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Code::NodeConfig, what)
    }

    /// What to do next.
    pub fn hint(&self) -> &str {
        self.advice.as_deref().unwrap_or_else(|| self.code.meaning())
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        self.code.exit_code()
    }

    /// The form for machines.
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument {
            code: self.code.text().to_owned(),
            number: self.code.number(),
            message: self.what.clone(),
            hint: self.hint().to_owned(),
        }
    }
}

/// A failure that came from another process. A number that is unknown here was written by a newer release.
impl From<ErrorDocument> for Failure {
    fn from(document: ErrorDocument) -> Self {
        match Code::from_number(document.number) {
            Some(code) => Self::new(code, document.message).advise(document.hint),
            None => Self::new(Code::WireUnsupported, format!("{} [{}]", document.message, document.code)),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection.code, "the rules refuse this")
    }
}

impl From<AmountError> for Failure {
    fn from(error: AmountError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// A failure as JSON, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDocument {
    /// `area.reason`; stable.
    pub code: String,
    /// The code's number; stable.
    pub number: u16,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Document for ErrorDocument {
    const TYPE: &'static str = "agora/error/v1";

    fn text(&self, out: &mut dyn io::Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{} {}", style.bad("error:"), self.message)?;
        writeln!(out, "  {} {}", style.faint("hint:"), self.hint)?;
        writeln!(out, "  {} {} ({})", style.faint("code:"), self.code, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_happened_and_what_to_do_next() {
        let failure = Failure::new(Code::NodePortInUse, "127.0.0.1:7402 is taken");
        let text = failure.to_string();
        assert!(text.starts_with("127.0.0.1:7402 is taken: "), "{text}");
        assert!(text.contains("give another with --port") && text.ends_with("[node.port_in_use]"), "{text}");
        assert_eq!(failure.exit_code(), 7);
        assert_eq!(failure.advise("wait").hint(), "wait");
    }

    #[test]
    fn a_full_disk_says_so_and_names_the_file() {
        let failure = Failure::io(Path::new("/data/x"))(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(failure.code, Code::NodeIo);
        assert!(failure.what.starts_with("/data/x: "), "{}", failure.what);
        assert!(failure.hint().contains("disk is full"));
    }

    #[test]
    fn every_code_makes_a_complete_document() {
        for code in Code::ALL {
            let document = Failure::new(*code, "it").document();
            assert_eq!((document.code.as_str(), document.number), (code.text(), code.number()));
            assert!(!document.hint.is_empty());
            assert_eq!(Failure::from(document.clone()).document(), document, "a failure crosses processes whole");
        }
    }
}
