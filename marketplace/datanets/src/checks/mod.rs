//! What should not be in a datanet: personal data, secrets, junk; found by whole-number rules without a model.
//!
//! A finding says what, where, and what to do; it shows at most the first two characters of what it found, so that
//! reports may be kept. The policy says whether findings of an area refuse an item or flag it. These rules find the
//! usual forms; they cannot promise that nothing is left, and some of what they find is harmless: that is why personal
//! data is flagged unless a policy says otherwise.

mod junk;
mod personal;
mod secrets;

use agora_types::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::act::Reason;
use crate::item::Item;
use crate::policy::{Action, Policy};

/// Most findings of one item that are said.
pub const FINDINGS_MAX: usize = 16;

/// What was found. The words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An email address.
    Email,
    /// A phone number.
    Phone,
    /// A bank account (IBAN, check digits right).
    Iban,
    /// A payment card (check digit right).
    Card,
    /// A public network address.
    IpAddress,
    /// A private key.
    PrivateKey,
    /// A key or token of a known service.
    ApiKey,
    /// A password in an address or assignment.
    Password,
    /// Fewer bytes than the policy asks for.
    TooSmall,
    /// More bytes than the policy allows.
    TooLarge,
    /// Hardly a word.
    TooShort,
    /// The same over and over.
    Repetitive,
    /// Bytes or codes instead of text.
    NotText,
}

/// What an area of findings is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Personal,
    Secrets,
    Junk,
    Size,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// In which part of the item: 0 is the text or the prompt, 1 the response, or the number of the message.
    pub part: u32,
    /// First byte within the part.
    pub at: u32,
    /// Bytes.
    pub size: u32,
    /// What it means for the item.
    pub action: Action,
    /// For people.
    pub sentence: String,
}

/// What the checks say of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// In the order of parts and places, at most [`FINDINGS_MAX`]; none that the policy ignores.
    pub findings: Vec<Finding>,
    /// The heaviest of all findings, said or not.
    pub action: Action,
}

/// A place in a part, before it is a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spot {
    kind: Kind,
    from: usize,
    to: usize,
}

impl Kind {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Iban => "iban",
            Self::Card => "card",
            Self::IpAddress => "ip_address",
            Self::PrivateKey => "private_key",
            Self::ApiKey => "api_key",
            Self::Password => "password",
            Self::TooSmall => "too_small",
            Self::TooLarge => "too_large",
            Self::TooShort => "too_short",
            Self::Repetitive => "repetitive",
            Self::NotText => "not_text",
        }
    }

    fn area(self) -> Area {
        match self {
            Self::Email | Self::Phone | Self::Iban | Self::Card | Self::IpAddress => Area::Personal,
            Self::PrivateKey | Self::ApiKey | Self::Password => Area::Secrets,
            Self::TooShort | Self::Repetitive | Self::NotText => Area::Junk,
            Self::TooSmall | Self::TooLarge => Area::Size,
        }
    }

    /// The reason of a verdict that says the same.
    pub fn reason(self) -> Reason {
        match self.area() {
            Area::Personal => Reason::Personal,
            Area::Secrets => Reason::Secret,
            Area::Junk if self == Self::NotText => Reason::Unreadable,
            Area::Junk | Area::Size => Reason::LowQuality,
        }
    }

    fn action(self, policy: &Policy) -> Action {
        match self.area() {
            Area::Personal => policy.checks.personal,
            Area::Secrets => policy.checks.secrets,
            Area::Junk => policy.checks.junk,
            // A version would leave it out in any case.
            Area::Size => Action::Refuse,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Email => "looks like an email address; replace it by an invented one",
            Self::Phone => "looks like a phone number; replace it by an invented one",
            Self::Iban => "is a bank account with right check digits; remove it",
            Self::Card => "looks like a payment card with a right check digit; remove it",
            Self::IpAddress => "is a public network address; use one that is reserved for documentation",
            Self::PrivateKey => "begins a private key; remove it, and use that key nowhere any more",
            Self::ApiKey => "looks like a service's key; remove it, and revoke it there",
            Self::Password => "looks like a password; remove it, and change it where it is used",
            Self::TooSmall => "is less than this datanet takes",
            Self::TooLarge => "is more than this datanet takes; split it",
            Self::TooShort => "is hardly a word; say more",
            Self::Repetitive => "repeats itself; say it once",
            Self::NotText => "is no text; give what a person can read",
        }
    }
}

/// Checks an item against a policy.
pub fn check(item: &Item, policy: &Policy) -> Report {
    let mut report = Report { findings: Vec::new(), action: Action::Ignore };
    let size = item.parts().iter().map(|part| part.len()).sum::<usize>().max(item.data().map_or(0, |data| data.len()));
    let whole = |kind| Spot { kind, from: 0, to: 0 };
    if size < policy.size_min as usize {
        report.say(0, &whole(Kind::TooSmall), &format!("{size} bytes"), policy);
    }
    if size > policy.size_max as usize {
        report.say(0, &whole(Kind::TooLarge), &format!("{size} bytes"), policy);
    }
    if let Some(kind) = junk::judge(&item.plain()) {
        report.say(0, &whole(kind), "the item", policy);
    }
    for (part, text) in (0u32..).zip(item.parts()) {
        let secrets = secrets::find(text);
        // What is a secret is not a phone number too.
        let secret = |spot: &Spot| secrets.iter().any(|other| spot.from < other.to && other.from < spot.to);
        let mut spots: Vec<Spot> = personal::find(text).into_iter().filter(|spot| !secret(spot)).collect();
        spots.extend(secrets.iter().cloned());
        spots.sort_by_key(|spot| (spot.from, spot.kind));
        for spot in &spots {
            report.say(part, spot, &masked(&text[spot.from..spot.to]), policy);
        }
    }
    report
}

impl Report {
    /// Succeeds unless the item must not be taken.
    ///
    /// # Errors
    /// `datanet.item_refused`.
    pub fn allows(&self) -> Result<(), Code> {
        if self.action == Action::Refuse { Err(Code::ItemRefused) } else { Ok(()) }
    }

    fn say(&mut self, part: u32, spot: &Spot, what: &str, policy: &Policy) {
        let action = spot.kind.action(policy);
        if action == Action::Ignore {
            return;
        }
        self.action = self.action.max(action);
        if self.findings.len() < FINDINGS_MAX {
            let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.findings.push(Finding {
                kind: spot.kind,
                part,
                at: number(spot.from),
                size: number(spot.to - spot.from),
                action,
                sentence: format!("{what} {}", spot.kind.advice()),
            });
        }
    }
}

/// The first two characters and how many follow: enough to find it, too little to use it.
fn masked(text: &str) -> String {
    let shown: String = text.chars().take(2).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("`{shown}…` ({} characters)", text.chars().count())
}

/// True where no letter or digit touches `from..to`.
fn stands_alone(text: &str, from: usize, to: usize) -> bool {
    let touches = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !touches(text[..from].chars().next_back()) && !touches(text[to..].chars().next())
}
