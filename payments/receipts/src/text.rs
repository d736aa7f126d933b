//! A receipt for people: who asked, what answered, what it cost, where every unit went.

use std::fmt;

use agora_types::Timestamp;

use crate::receipt::{Attribution, Decoding, Kind, Receipt, Role, State, WHOLE};

/// Stands wherever shares were declared by a datanet's owner and not measured.
const DECLARED: &str = " (declared, not measured)";

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Contributors => "contributors",
            Self::ModelOwner => "model owner",
            Self::Host => "host",
            Self::Validators => "validators",
            Self::Platform => "platform",
            Self::Contributor => "contributor",
            Self::Commons => "commons",
            Self::Earnings => "earnings",
            Self::Seller => "seller",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inference => "inference",
            Self::Service => "service",
            Self::Training => "training",
            Self::Datanet => "datanet",
        })
    }
}

/// Both receipts of a call as one text, with their places in the log.
#[derive(Debug, Clone, Copy)]
pub struct CallText<'a> {
    /// Index and provisional receipt.
    pub provisional: (u64, &'a Receipt),
    /// Index and final receipt, once there is one.
    pub last: Option<(u64, &'a Receipt)>,
}

/// Several lines, without a line break at the end.
impl fmt::Display for CallText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (index, first) = self.provisional;
        facts(f, first)?;
        writeln!(f, "paid when the answer ended (provisional receipt, entry {index} of the log)")?;
        legs(f, first)?;
        match self.last {
            None => {
                writeln!(f, "no final receipt yet: what is held for contributors waits for attribution")?;
                attribution(f, &first.attribution)
            }
            Some((index, last)) => {
                writeln!(f, "paid out of the contributors' part (final receipt, entry {index} of the log)")?;
                legs(f, last)?;
                attribution(f, &last.attribution)
            }
        }
    }
}

/// Several lines, without a line break at the end.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Provisional => writeln!(f, "receipt      provisional")?,
            State::Final { index, .. } => writeln!(f, "receipt      final, for provisional receipt {index}")?,
        }
        facts(f, self)?;
        writeln!(f, "paid")?;
        legs(f, self)?;
        attribution(f, &self.attribution)
    }
}

fn facts(f: &mut fmt::Formatter<'_>, receipt: &Receipt) -> fmt::Result {
    writeln!(f, "call         {}, {}, network {}", receipt.call_id, receipt.kind, receipt.network)?;
    writeln!(f, "ended        {} by the host's clock", Utc(receipt.time))?;
    writeln!(f, "asked by     {}", receipt.payer)?;
    writeln!(f, "served by    {}, its call {}", receipt.host, receipt.host_seq)?;
    if let Some(listing) = &receipt.listing {
        writeln!(f, "listing      {listing}")?;
    }
    if let Some(base) = &receipt.base_hash {
        writeln!(f, "base model   {base}")?;
        match &receipt.adapter_hash {
            Some(adapter) => writeln!(f, "adapter      {adapter}")?,
            None => writeln!(f, "adapter      none")?,
        }
    }
    for datanet in &receipt.datanets {
        writeln!(f, "datanet      {} ({} contributions)", datanet.id, datanet.tree_size)?;
    }
    for parent in &receipt.parents {
        writeln!(f, "rests on     receipt {parent}")?;
    }
    if let Some(decoding) = &receipt.decoding {
        writeln!(f, "decoding     {decoding}")?;
    }
    let usage = &receipt.usage;
    let (input, cached, output, hidden) = (usage.input, usage.cached, usage.output, usage.hidden);
    writeln!(f, "tokens       {input} input, {cached} cached, {output} output, {hidden} hidden")?;
    let prices = &receipt.prices;
    let kinds = [
        ("input", input, prices.input),
        ("cached", cached, prices.cached),
        ("output", output, prices.output),
        ("hidden", hidden, prices.hidden),
    ];
    write!(f, "prices       OPEN per token:")?;
    for (at, (kind, _, price)) in kinds.iter().enumerate() {
        write!(f, "{} {price} {kind}", if at == 0 { "" } else { "," })?;
    }
    write!(f, "\ncharge       {} OPEN", receipt.charge)?;
    let used = kinds.iter().filter(|(_, tokens, _)| *tokens > 0);
    for (at, (_, tokens, price)) in used.enumerate() {
        write!(f, " {} {tokens} x {price}", if at == 0 { "=" } else { "+" })?;
    }
    writeln!(f)
}

fn legs(f: &mut fmt::Formatter<'_>, receipt: &Receipt) -> fmt::Result {
    let amounts: Vec<String> = receipt.legs.iter().map(|leg| leg.amount.to_string()).collect();
    let width = amounts.iter().map(String::len).max().unwrap_or(0);
    for (leg, amount) in receipt.legs.iter().zip(&amounts) {
        let note = match leg.role {
            Role::Contributors => ", held until attribution is done",
            Role::Contributor if receipt.attribution.is_declared() => DECLARED,
            Role::Earnings => ", which contributors claim",
            Role::Contributor
            | Role::ModelOwner
            | Role::Host
            | Role::Validators
            | Role::Platform
            | Role::Commons
            | Role::Seller => "",
        };
        writeln!(f, "  {:<12} {amount:<width$} OPEN to {}{note}", leg.role, leg.account)?;
    }
    if receipt.legs.is_empty() {
        writeln!(f, "  nothing")?;
    }
    Ok(())
}

fn attribution(f: &mut fmt::Formatter<'_>, attribution: &Attribution) -> fmt::Result {
    // The method is the host's word: nothing of it may steer a terminal.
    let method = attribution.method.escape_default();
    write!(f, "attribution  {method}")?;
    if attribution.is_declared() {
        return write!(f, "{DECLARED}");
    }
    if attribution.explained.checked_add(attribution.residual) == Some(WHOLE) {
        let tenths = u128::from(attribution.explained) * 1_000 / u128::from(WHOLE);
        write!(f, ", explains {}.{} % (an estimate); the rest goes to the commons", tenths / 10, tenths % 10)?;
    }
    if let Some(sample) = attribution.sampled {
        write!(f, "; one of {} calls was measured for all, receipt leaf {}", sample.calls, sample.measured)?;
    }
    Ok(())
}

impl fmt::Display for Decoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milli = |n: u32| format!("{}.{:03}", n / 1_000, n % 1_000);
        if self.temperature_milli == 0 {
            write!(f, "greedy")?;
        } else {
            write!(f, "temperature {}, top-p {}", milli(self.temperature_milli), milli(self.top_p_milli))?;
            if self.top_k > 0 {
                write!(f, ", top-k {}", self.top_k)?;
            }
            if self.min_p_milli > 0 {
                write!(f, ", min-p {}", milli(self.min_p_milli))?;
            }
            write!(f, ", seed {}", self.seed)?;
        }
        if self.repetition_milli != 1_000 {
            write!(f, ", repetition penalty {}", milli(self.repetition_milli))?;
        }
        write!(f, ", at most {} tokens", self.output_max)?;
        if self.hidden_max > 0 {
            write!(f, " and {} hidden", self.hidden_max)?;
        }
        Ok(())
    }
}

/// A moment as people write it, in whole seconds.
struct Utc(Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (days, rest) = (secs / 86_400, secs % 86_400);
        // Years start in March, so that the leap day is the last one; 400 years have 146,097 days.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}
