//! `agora receipt list | show | export | recompute | explain`.

mod enclosed;
mod explain;
mod level3;
mod page;
mod recompute;

use std::io::{self, Write};
use std::path::Path;

use agora_receipts::envelope::ENVELOPE_SIZE_MAX;
use agora_receipts::{CallText, Envelope, Receipt};
use agora_shell::files::{self, Existing};
use agora_shell::output::{Document, Style};
use agora_shell::{Failure, Outcome, text};
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, Code, Signed};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::context::Context;
use super::keys::Keys;
use crate::control::{ReceiptPage, Request, Service};

pub use enclosed::enclose;
pub use explain::{Explained, explain, write_page};
pub use recompute::{Recomputed, Wanted, recompute};

/// One receipt in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReceiptLine {
    /// Its index in the log.
    pub index: u64,
    /// True for the second receipt of a call.
    #[serde(rename = "final")]
    pub last: bool,
    /// The call.
    pub call: CallId,
    /// Nanoseconds since 1970, by the host's clock.
    pub time: agora_types::Timestamp,
    /// Who paid.
    pub payer: Address,
    /// Who served.
    pub host: Address,
    /// What the call cost.
    pub charge: Amount,
    /// Tokens of the answer.
    pub output: u64,
}

/// Receipts, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReceiptList {
    /// They.
    pub receipts: Vec<ReceiptLine>,
    /// Leaves of the whole log.
    pub size: u64,
}

impl Document for ReceiptList {
    const TYPE: &'static str = "agora/receipt-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |line: &ReceiptLine| {
            let state = if line.last { "final" } else { "provisional" };
            let payer = line.payer.to_string();
            [
                line.index.to_string(),
                state.to_owned(),
                text::amount(line.charge),
                line.output.to_string(),
                payer,
                line.call.to_string(),
            ]
        };
        let rows: Vec<[String; 6]> = self.receipts.iter().map(row).collect();
        text::table(out, style, ["INDEX", "RECEIPT", "CHARGE", "TOKENS", "PAYER", "CALL"], &rows)?;
        writeln!(out, "{}", style.faint(&format!("{} of {} receipts", rows.len(), self.size)))
    }
}

/// `agora receipt list`.
///
/// # Errors
/// What naming the payer says; `call.receipt_invalid` for leaves that are no receipts; the service's.
pub async fn list(context: &Context, service: &dyn Service, payer: Option<&str>, limit: u32) -> Outcome<ReceiptList> {
    let payer = payer.map(|payer| Keys::of(context)?.account(payer)).transpose()?;
    let page: ReceiptPage = service.call(Request::Receipts { payer, before: None, limit }).await?;
    let line = |row: &crate::control::ReceiptRow| {
        let bytes = hex::decode(&row.leaf).unwrap_or_default();
        let signed = Signed::<Receipt>::from_bytes(&bytes)
            .map_err(|error| Failure::new(Code::ReceiptInvalid, format!("receipt {}: {error}", row.index)))?;
        let said = signed.payload();
        Ok(ReceiptLine {
            index: row.index,
            last: said.is_final(),
            call: said.call_id,
            time: said.time,
            payer: said.payer,
            host: said.host,
            charge: said.charge,
            output: said.usage.output,
        })
    };
    Ok(ReceiptList { receipts: page.receipts.iter().map(line).collect::<Outcome<_>>()?, size: page.size })
}

/// A receipt of a call with its place and its signer. Its signature is checked; who vouches for it is `verify`'s work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Placed {
    /// Its index in the log.
    pub index: u64,
    /// The host's key that signed.
    pub key: StatementKey,
    /// What it says.
    pub receipt: Receipt,
}

/// Both receipts of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Call {
    /// Written when the answer ended.
    pub provisional: Placed,
    /// Written when the contributors' part was paid.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<Placed>,
}

impl Document for Call {
    const TYPE: &'static str = "agora/receipt/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        let place = |placed: &'_ Placed| placed.index;
        let last = self.last.as_ref().map(|placed| (place(placed), &placed.receipt));
        writeln!(out, "{}", CallText { provisional: (place(&self.provisional), &self.provisional.receipt), last })
    }
}

impl Call {
    /// Both receipts of an envelope.
    ///
    /// # Errors
    /// `receipt.bad_envelope`.
    pub fn of(envelope: &Envelope) -> Outcome<Self> {
        let malformed = |code| Failure::new(code, "the leaves in it are not signed receipts");
        let (provisional, last) = envelope.receipts().map_err(malformed)?;
        let placed =
            |index, signed: &Signed<Receipt>| Placed { index, key: *signed.key(), receipt: signed.payload().clone() };
        let last = envelope.last.as_ref().zip(last).map(|(logged, signed)| placed(logged.index, &signed));
        Ok(Self { provisional: placed(envelope.provisional.index, &provisional), last })
    }
}

/// How a user names a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// By its index in the log.
    Index(u64),
    /// By its call.
    Call(CallId),
    /// By a file.
    File(std::path::PathBuf),
}

impl Named {
    /// Digits are an index, 0x and 32 digits a call, anything else a file.
    pub fn read(text: &str) -> Self {
        if let Ok(index) = text.parse::<u64>() {
            return Self::Index(index);
        }
        text.parse().map_or_else(|_| Self::File(text.into()), Self::Call)
    }
}

/// Reads an exported file; nothing about it is believed yet.
///
/// # Errors
/// `node.file_not_found`, `receipt.bad_envelope`, `node.io`.
pub fn read_file(path: &Path) -> Outcome<String> {
    let bad = |what: &str| Failure::new(Code::ReceiptEnvelope, format!("{}: {what}", path.display()));
    let bytes = files::read_bounded(files::open(path)?, path, ENVELOPE_SIZE_MAX)?;
    let bytes = bytes.ok_or_else(|| bad(&format!("more than {ENVELOPE_SIZE_MAX} bytes")))?;
    String::from_utf8(bytes).map_err(|_| bad("not UTF-8"))
}

/// Reads an envelope out of a file's text.
///
/// # Errors
/// `receipt.bad_envelope`.
pub fn read_envelope(text: &str, from: &str) -> Outcome<Envelope> {
    Envelope::from_json(text).map_err(|error| Failure::new(Code::ReceiptEnvelope, format!("{from}: {error}")))
}

/// The envelope of a receipt in the log.
///
/// # Errors
/// `receipt.not_found`; `receipt.bad_envelope` when the node's answer is none; the service's.
pub async fn fetch(service: &dyn Service, named: &Named, disclose: bool) -> Outcome<Envelope> {
    let index = match named {
        Named::Index(index) => *index,
        Named::Call(call) => {
            let page: ReceiptPage = service.call(Request::ReceiptOf { call: *call }).await?;
            let unknown = || Failure::new(Code::ReceiptUnknown, format!("no receipt of call {call}"));
            page.receipts.first().ok_or_else(unknown)?.index
        }
        Named::File(path) => {
            let what = format!("`{}` is neither an index nor a call's id", path.display());
            return Err(Failure::usage(what).advise("write digits, or 0x and 32 hexadecimal digits"));
        }
    };
    let answer: Value = service.call(Request::Export { index, disclose }).await?;
    read_envelope(&answer.to_string(), "the node's answer")
}

/// An exported receipt on stdout: the very file, in every format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported(Envelope);

impl Exported {
    /// Of an envelope.
    pub fn new(envelope: Envelope) -> Self {
        Self(envelope)
    }
}

impl Serialize for Exported {
    /// Without its `$type`, which every document gets.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = serde_json::to_value(&self.0).map_err(serde::ser::Error::custom)?;
        let mut fields: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
        fields.remove("$type");
        fields.serialize(serializer)
    }
}

impl JsonSchema for Exported {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exported".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Envelope::json_schema(generator);
        let object = schema.ensure_object();
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.remove("$type");
        }
        if let Some(Value::Array(required)) = object.get_mut("required") {
            required.retain(|name| name != "$type");
        }
        schema
    }
}

impl Document for Exported {
    const TYPE: &'static str = "agora/receipt-envelope/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        out.write_all(self.0.to_json().map_err(io::Error::other)?.as_bytes())
    }
}

/// A written file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Export {
    /// The file.
    pub file: String,
    /// Index of the provisional receipt.
    pub index: u64,
    /// Whether the final receipt is in it.
    #[serde(rename = "final")]
    pub last: bool,
    /// Whether question or answer are in it.
    pub disclosed: bool,
    /// Whether spec and evidence of its attribution are in it.
    pub attribution: bool,
}

impl Document for Export {
    const TYPE: &'static str = "agora/receipt-export/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        let disclosed = if self.disclosed { ", with what was asked and answered" } else { "" };
        let (attribution, check) =
            if self.attribution { (", with its attribution", "recompute") } else { ("", "verify") };
        writeln!(out, "receipt {} is in {}{disclosed}{attribution}", self.index, self.file)?;
        writeln!(out, "check it anywhere with `agora receipt {check} {}`", self.file)
    }
}

/// Writes an envelope as a new file that only its user may read: it may hold what was asked.
///
/// # Errors
/// `receipt.bad_envelope` when it does not fit; `node.bad_config` when the file exists; `node.io`.
pub fn write(envelope: &Envelope, path: &Path) -> Outcome<Export> {
    let large = |error: agora_receipts::envelope::EnvelopeError| {
        Failure::new(Code::ReceiptEnvelope, error.to_string()).advise("export it without --disclose")
    };
    let json = envelope.to_json().map_err(large)?;
    // Relative to this folder, said so: a bare name has an empty parent.
    let path = std::path::absolute(path).map_err(Failure::io(path))?;
    if !files::write_private(&path, json.as_bytes(), Existing::Refuse)? {
        return Err(Failure::usage(format!("{} exists", path.display())).advise("choose another file"));
    }
    Ok(Export {
        file: path.display().to_string(),
        index: envelope.provisional.index,
        last: envelope.last.is_some(),
        disclosed: envelope.disclosure.is_some(),
        attribution: envelope.attribution.is_some(),
    })
}
