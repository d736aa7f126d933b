//! Sentences that both papers say, and how texts of others are written into them.

use agora_datanets::{Action, Admission, Policy};

use super::TrainedOn;

/// What stands where nothing is known.
pub(super) const NOT_KNOWN: &str = "not known";

/// A text of others as one line of Markdown in which it is nothing but text.
pub(super) fn plain(text: &str) -> String {
    // These turn the direction of what stands beside them.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars().filter(|c| !c.is_control() && !turns(*c)) {
            if "\\`*_{}[]<>()#|~&!".contains(c) {
                line.push('\\');
            }
            line.push(c);
        }
    }
    line.replace("://", "\\://")
}

/// `3 accounts`, `1 account`.
pub(super) fn many(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A loss, from its millionths.
pub(super) fn nats(micro: u64) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

/// How the contributions of a version came together.
pub(super) fn collection(on: &TrainedOn) -> String {
    format!(
        "Given by {}. What is given is committed to with a salted hash on a public ledger before it is shown, and its licence \
         is signed. Of {} {} {} in. {}",
        many(on.contributors, "account"),
        many(on.tree_size, "contribution"),
        on.included,
        if on.included == 1 { "is" } else { "are" },
        curation(&on.policy),
    )
}

fn curation(policy: &Policy) -> String {
    let accepts = match policy.admission {
        Admission::Open => "A contribution is in at once".to_owned(),
        Admission::Accepts(needed) => format!("Curators who must accept a contribution: {needed}"),
    };
    match policy.curators.len() {
        0 => format!("{accepts}; nobody curates."),
        _ => format!(
            "{accepts}; who take it out by rejecting it: {}; a flag keeps it out until as many accept it. Verdicts are signed, \
             give a reason, and stand in a public list.",
            policy.rejects
        ),
    }
}

/// What becomes of items that are alike.
pub(super) fn near(policy: &Policy) -> String {
    match policy.near {
        Some(parts) => format!(
            "Near-duplicates (Jaccard similarity of five-word shingles of at least {}.{:03}, found by MinHash) are left out; \
             the earliest commitment owns.",
            parts / 1_000,
            parts % 1_000,
        ),
        None => "Identical items are left out; the earliest commitment owns.".to_owned(),
    }
}

/// What is looked for in items, as sentences.
pub(super) fn checks(policy: &Policy) -> Vec<String> {
    let says = |action: Action| match action {
        Action::Ignore => "not looked for",
        Action::Flag => "looked for, and shown to curators where found",
        Action::Refuse => "looked for, and refused where found",
    };
    vec![
        format!(
            "Email addresses, phone numbers, bank accounts, payment cards and network addresses are {}.",
            says(policy.checks.personal)
        ),
        format!("Passwords and keys are {}.", says(policy.checks.secrets)),
        format!("Items that are too short, repetitive or no text are {}.", says(policy.checks.junk)),
        "The checks find usual forms only; what else should not be there is left to curators.".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_stay_texts() {
        assert_eq!(plain("a\n\n# b | <i>c</i> [d](e) \u{202e}f"), r"a \# b \| \<i\>c\</i\> \[d\]\(e\) f");
        assert_eq!(plain("see https://example.org/a_b"), r"see https\://example.org/a\_b");
        assert_eq!(
            (nats(3_000_041), many(1, "token"), many(0, "token")),
            ("3.000041".into(), "1 token".into(), "0 tokens".into())
        );
    }
}
