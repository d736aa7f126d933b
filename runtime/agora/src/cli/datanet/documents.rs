//! The documents of `agora datanet`, and their forms for people.

use std::io::{self, Write};

use agora_datanets::{Admission, Counts, Standing};
use agora_shell::output::{Document, Style};
use agora_shell::text;
use agora_types::{Amount, DatanetId, Hash};
use schemars::JsonSchema;
use serde::Serialize;

use crate::control::{DatanetView, Datanets, ItemView};

/// Characters of an item in a table.
const SHOWN: usize = 60;

impl Document for DatanetView {
    const TYPE: &'static str = "agora/datanet-view/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{}  {}", style.bold(&text::plain(&self.name)), text::plain(&self.title))?;
        if !self.description.is_empty() {
            writeln!(out, "  {}", text::plain(&self.description))?;
        }
        writeln!(out, "  id             {}", self.id)?;
        writeln!(out, "  owner          {}", self.owner)?;
        writeln!(out, "  licence        {}", text::plain(&self.licence))?;
        writeln!(out, "  admission      {}", admission(self.admission))?;
        for curator in &self.curators {
            writeln!(out, "  curator        {curator}")?;
        }
        writeln!(out, "  fee            {} OPEN an item", self.fee)?;
        writeln!(out, "  contributions  {} in {} batches", self.contributions, self.submissions)?;
        writeln!(out, "  acts           {}", self.acts)?;
        match self.version {
            0 => writeln!(out, "  version        {}", style.faint("none yet")),
            version => {
                writeln!(out, "  version        {version}")?;
                self.statement.map_or(Ok(()), |statement| writeln!(out, "  statement      {statement}"))
            }
        }
    }
}

fn admission(admission: Admission) -> String {
    match admission {
        Admission::Open => "at once".to_owned(),
        Admission::Accepts(1) => "when a curator accepts".to_owned(),
        Admission::Accepts(count) => format!("when {count} curators accept"),
    }
}

impl Document for Datanets {
    const TYPE: &'static str = "agora/datanet-list/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        if self.datanets.is_empty() {
            return writeln!(out, "no datanets here; `agora datanet create` founds one");
        }
        let row = |net: &DatanetView| {
            [
                net.name.clone(),
                net.version.to_string(),
                net.contributions.to_string(),
                net.licence.clone(),
                net.title.clone(),
            ]
        };
        let rows: Vec<[String; 5]> = self.datanets.iter().map(row).collect();
        text::table(out, style, ["DATANET", "VERSION", "CONTRIBUTIONS", "LICENCE", "TITLE"], &rows)
    }
}

/// Contributions of a datanet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ItemList {
    /// Which datanet.
    pub datanet: DatanetId,
    /// As of which version; 0: the lists as they are now.
    pub version: u32,
    /// SHA-256 of the signed version, where one was asked for.
    pub statement: Option<Hash>,
    /// How all of them stand.
    pub counts: Counts,
    /// Some of them, in the order of the list.
    pub items: Vec<ItemView>,
    /// How many there are.
    pub total: u32,
}

impl Document for ItemList {
    const TYPE: &'static str = "agora/datanet-items/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let row = |item: &ItemView| {
            let plain = text::plain(&item.item.plain());
            let mut shown: String = plain.chars().take(SHOWN).collect();
            if shown.len() < plain.len() {
                shown.push('…');
            }
            let contributor = item.contributor.to_string();
            [item.place.to_string(), item.seq.to_string(), standing(item.standing), contributor[..10].to_owned(), shown]
        };
        let rows: Vec<[String; 5]> = self.items.iter().map(row).collect();
        text::table(out, style, ["PLACE", "BATCH", "STANDS", "CONTRIBUTOR", "ITEM"], &rows)?;
        writeln!(out, "{} of {}", self.items.len(), self.total)?;
        counts(out, &self.counts)
    }
}

fn counts(out: &mut dyn Write, counts: &Counts) -> io::Result<()> {
    let Counts { included, withdrawn, duplicates, rejected, open, unfit } = counts;
    writeln!(
        out,
        "{included} in, {withdrawn} withdrawn, {duplicates} duplicates, {rejected} rejected, {open} waiting or flagged, \
         {unfit} unfit"
    )
}

fn standing(standing: Standing) -> String {
    match standing {
        Standing::In => "in".to_owned(),
        Standing::Withdrawn => "withdrawn".to_owned(),
        Standing::Repeats { of } => format!("repeats {of}"),
        Standing::NearDuplicate { of } => format!("like {of}"),
        Standing::Rejected { reason } => format!("rejected: {}", word(&reason)),
        Standing::Flagged { reason } => format!("flagged: {}", word(&reason)),
        Standing::Waiting { accepts } => format!("waiting ({accepts})"),
        Standing::Licence => "licence".to_owned(),
        Standing::Size => "size".to_owned(),
    }
}

/// The word that JSON has for a value.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Given {
    /// To which datanet.
    pub datanet: DatanetId,
    /// Items of the file that were given, or would be.
    pub items: u32,
    /// Of them, those that were not there already.
    pub new: u32,
    /// Numbers of the commitments on the ledger, one for at most 65,536 items; none for a dry run.
    pub batches: Vec<u64>,
    /// What was left out, and why.
    pub left_out: Vec<LeftOut>,
    /// What was found in items that were given all the same.
    pub flagged: Vec<LeftOut>,
    /// What it cost.
    pub fee: Amount,
    /// True where nothing was given.
    pub dry_run: bool,
}

/// An item of a file, and what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct LeftOut {
    /// Its first line, or its row.
    pub line: u64,
    /// Why.
    pub why: String,
}

impl Document for Given {
    const TYPE: &'static str = "agora/datanet-given/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        match self.dry_run {
            true => writeln!(out, "{} {} items", style.doubtful("would give"), self.items)?,
            false => writeln!(out, "{} {} items, {} of them new", style.good("gave"), self.items, self.new)?,
        }
        for seq in &self.batches {
            writeln!(out, "  batch {seq}")?;
        }
        if !self.fee.is_zero() {
            writeln!(out, "  fee   {} OPEN", self.fee)?;
        }
        for (what, list) in [("left out", &self.left_out), ("flagged", &self.flagged)] {
            for one in list.iter().take(20) {
                writeln!(out, "  {what}: line {}: {}", one.line, text::plain(&one.why))?;
            }
            if list.len() > 20 {
                writeln!(out, "  {what}: {} more", list.len() - 20)?;
            }
        }
        Ok(())
    }
}

/// A verdict or a withdrawal that stands in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Said {
    /// About which datanet.
    pub datanet: DatanetId,
    /// Its number among all acts.
    pub number: u32,
}

impl Document for Said {
    const TYPE: &'static str = "agora/datanet-act/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        writeln!(out, "act {} stands; it counts from the next version on", self.number)
    }
}

/// A version that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Made {
    /// Of which datanet.
    pub datanet: DatanetId,
    /// Its number.
    pub version: u32,
    /// RFC 6962 root over all contributions.
    pub root: Hash,
    /// Number of contributions, in or out.
    pub tree_size: u64,
    /// SHA-256 of the signed version.
    pub statement: Hash,
    /// How contributions stand in it.
    pub counts: Counts,
}

impl Document for Made {
    const TYPE: &'static str = "agora/datanet-version/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "{} {} is on the ledger", style.good("version"), self.version)?;
        writeln!(out, "  root       {}", self.root)?;
        writeln!(out, "  statement  {}", self.statement)?;
        write!(out, "  ")?;
        counts(out, &self.counts)
    }
}

/// A version that was written into a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Written {
    /// Of which datanet.
    pub datanet: DatanetId,
    /// Which version.
    pub version: u32,
    /// The folder.
    pub folder: std::path::PathBuf,
    /// Items.
    pub items: u64,
    /// SHA-256 of `items.jsonl`.
    pub sha256: Hash,
}

impl Document for Written {
    const TYPE: &'static str = "agora/datanet-export/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        let folder = self.folder.display();
        writeln!(out, "wrote {} items of version {} to {folder}/items.jsonl", self.items, self.version)?;
        writeln!(out, "described in {folder}/croissant.json (Croissant 1.1 with RAI)")
    }
}
