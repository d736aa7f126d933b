//! A receipt for people: who asked, what answered, what it cost, where every unit went.

use std::fmt;

use crate::receipt::{Receipt, Role, State};

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
        })
    }
}

/// Several lines, without a line break at the end.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Provisional => "provisional".to_owned(),
            State::Final { index, .. } => format!("final, for provisional receipt {index}"),
        };
        writeln!(f, "receipt      {state}")?;
        writeln!(f, "call         {}", self.call_id)?;
        writeln!(f, "asked by     {}", self.payer)?;
        writeln!(f, "served by    {}", self.host)?;
        if let Some(base) = &self.base_hash {
            writeln!(f, "base model   {base}")?;
        }
        match &self.adapter_hash {
            Some(adapter) => writeln!(f, "adapter      {adapter}")?,
            None => writeln!(f, "adapter      none")?,
        }
        for datanet in &self.datanets {
            writeln!(f, "datanet      {} ({} contributions)", datanet.id, datanet.tree_size)?;
        }
        let usage = &self.usage;
        let (input, cached, output, hidden) = (usage.input, usage.cached, usage.output, usage.hidden);
        writeln!(f, "tokens       {input} input, {cached} cached, {output} output, {hidden} hidden")?;
        let prices = &self.prices;
        writeln!(f, "unit prices  {} OPEN input, {} OPEN output", prices.input, prices.output)?;
        writeln!(f, "charge       {} OPEN", self.charge)?;
        for leg in &self.legs {
            writeln!(f, "  {:<12} {} OPEN to {}", leg.role, leg.amount, leg.account)?;
        }
        let note = if self.attribution.is_declared() { " (declared, not measured)" } else { "" };
        write!(f, "attribution  {}{note}", self.attribution.method)
    }
}
