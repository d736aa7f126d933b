//! The documents of `agora factory`, and their forms for people.

use std::io::{self, Write};
use std::path::PathBuf;

use agora_attribution::Calibration;
use agora_factory::Losses;
use agora_shell::output::{Document, Style};
use agora_shell::text;
use agora_types::{Address, DatanetId, Hash};
use schemars::JsonSchema;
use serde::Serialize;

/// An adapter that was trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TrainedDocument {
    /// Its name.
    pub name: String,
    /// Where it lies, in PEFT's form with manifest, papers and index.
    pub folder: PathBuf,
    /// What receipts name.
    pub adapter: Hash,
    /// SHA-256 of the base model.
    pub base: Hash,
    /// The datanet.
    pub datanet: DatanetId,
    /// Its version.
    pub version: u32,
    /// Questions with answers, conversations' turns, pieces of text.
    pub lessons: u64,
    /// Contributions that were left out, as they repeat an earlier one's answer to the same question.
    pub repeated: u64,
    /// What came of it; absent where the adapter was there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub losses: Option<Losses>,
    /// Hash of the attribution spec, where there is an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Hash>,
    /// How influence is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Explained parts between which the contributors' pool is paid out, in parts of 2^32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// True when the running node serves it from now on; otherwise the next start does.
    pub served: bool,
}

/// A part of 2^32 in per cent.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn per_cent(part: u64) -> String {
    format!("{:.1} %", part as f64 / 42_949_672.96)
}

impl Document for TrainedDocument {
    const TYPE: &'static str = "agora/factory-trained/v1";

    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "adapter {} lies in {}", style.bold(&text::plain(&self.name)), self.folder.display())?;
        writeln!(out, "  hash     {}", self.adapter)?;
        writeln!(out, "  taught   {} lessons of version {} of {}", self.lessons, self.version, self.datanet)?;
        if let Some(losses) = &self.losses {
            let nats = |micro: u64| micro as f64 / 1e6;
            writeln!(out, "  loss     {:.4} to {:.4}", nats(losses.first_micro), nats(losses.last_micro))?;
            if let Some((first, last)) = losses.held_out_first_micro.zip(losses.held_out_last_micro) {
                writeln!(out, "  held out {:.4} to {:.4}", nats(first), nats(last))?;
            }
        }
        match (&self.method, &self.calibration) {
            (Some(method), Some(calibration)) => {
                let (null, own) = (per_cent(calibration.null_p95), per_cent(calibration.own_median));
                writeln!(out, "  measured by {method}; the pool is paid from {null} explained on, in full from {own}")?;
            }
            _ => writeln!(out, "  not measured: contributors are paid by declared weights")?,
        }
        let next = format!("`agora model publish NAME --adapter {}`", text::plain(&self.name));
        match self.served {
            true => writeln!(out, "the node serves it now: offer it with {next}"),
            false => writeln!(out, "the next start of the node takes it up, or `agora model load`; then {next}"),
        }
    }
}

/// What a contributor's data gave to an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Credit {
    /// Who.
    pub account: Address,
    /// Of what is explained, parts of 2^32.
    pub share: u64,
    /// Clusters of contributions that it comes from.
    pub entries: u64,
}

/// An answer, and whose data shaped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Answered {
    /// The answer.
    pub answer: String,
    /// False where the base model answered alone.
    pub adapter: bool,
    /// What the data explains, parts of 2^32; an estimate.
    pub explained: u64,
    /// What it does not.
    pub residual: u64,
    /// The part of the contributors' pool that would be paid, parts of 2^32.
    pub grade: u64,
    /// Runs of tokens that were copied.
    pub copied_spans: u64,
    /// Largest share first.
    pub credits: Vec<Credit>,
}

impl Document for Answered {
    const TYPE: &'static str = "agora/factory-answer/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{}", text::plain(&self.answer))?;
        writeln!(out)?;
        for credit in &self.credits {
            let parts = if credit.entries == 1 { "contribution" } else { "contributions" };
            let share = style.bold(&per_cent(credit.share));
            writeln!(out, "  {share} of what is explained: {} ({} {parts})", credit.account, credit.entries)?;
        }
        writeln!(out, "  explained      {} (an estimate)", per_cent(self.explained))?;
        writeln!(out, "  not explained  {}", per_cent(self.residual))?;
        writeln!(out, "  copied runs    {}", self.copied_spans)?;
        writeln!(
            out,
            "  of the contributors' pool {} would be paid, the rest goes to the commons",
            per_cent(self.grade)
        )
    }
}
