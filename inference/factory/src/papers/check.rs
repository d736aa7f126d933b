//! What papers may say: every text and number is looked at before anything is trained.

use agora_datanets::LICENCES_MAX;

use super::{About, TrainedOn};

const LINE_SIZE_MAX: usize = 120;
const PARAGRAPH_SIZE_MAX: usize = 2_000;
const PAGE_SIZE_MAX: usize = 500;
const DATANETS_MAX: usize = 256;

/// Why papers cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {bounds}")]
pub struct PapersError {
    /// What is wrong.
    pub field: String,
    /// What it may be.
    pub bounds: &'static str,
}

/// Looks at everything.
pub(super) fn check(about: &About) -> Result<(), PapersError> {
    let base = &about.base;
    line("name", Some(&about.name))?;
    line("version", Some(&about.version))?;
    line("maker.name", Some(&about.maker.name))?;
    line("maker.contact", about.maker.contact.as_deref())?;
    line("maker.representative", about.maker.representative.as_deref())?;
    line("base.maker", base.maker.as_deref())?;
    licence("licence", Some(&about.licence))?;
    licence("base.licence", base.licence.as_deref())?;
    page("page", about.page.as_deref())?;
    page("base.page", base.page.as_deref())?;
    page("base.summary", base.summary.as_deref())?;
    paragraph("description", &about.description)?;
    let answers = &about.answers;
    for (field, answer) in [
        ("answers.licensed", &answers.licensed),
        ("answers.crawled", &answers.crawled),
        ("answers.users", &answers.users),
        ("answers.services", &answers.services),
        ("answers.synthetic", &answers.synthetic),
        ("answers.signatory", &answers.signatory),
    ] {
        paragraph(field, answer.as_ref().map_or("", |answer| &answer.note))?;
    }
    demand(about.datanets.len() <= DATANETS_MAX, "datanets", "at most 256")?;
    for (at, one) in about.datanets.iter().enumerate() {
        let of = |field: &str| format!("datanets[{at}].{field}");
        demand(one.terms.are_bounded(), of("terms"), "as a datanet's terms may be")?;
        demand(one.policy.check().is_ok(), of("policy"), "as a datanet's policy may be")?;
        demand(one.version > 0, of("version"), "from 1")?;
        page(&of("page"), one.page.as_deref())?;
        counts(one, of)?;
        for id in one.licences.keys() {
            licence(&of("licences"), Some(id))?;
        }
        demand(one.collected.is_none_or(|(first, last)| first <= last), of("collected"), "first, then last")?;
        let twice = about.datanets[..at].iter().any(|before| before.datanet() == one.datanet());
        demand(!twice, of("root"), "each version once")?;
    }
    Ok(())
}

/// The numbers of a datanet agree with each other.
fn counts(one: &TrainedOn, of: impl Fn(&str) -> String) -> Result<(), PapersError> {
    demand((1..=one.tree_size).contains(&one.included), of("included"), "from 1 to `tree_size`")?;
    demand((1..=one.included).contains(&one.contributors), of("contributors"), "from 1 to `included`")?;
    demand(one.licences.len() <= LICENCES_MAX + 1, of("licences"), "at most 17")?;
    demand(sum(one.licences.values()) == Some(one.included), of("licences"), "`included` in all")?;
    demand(sum(one.kinds.values()) == Some(one.included), of("kinds"), "`included` in all")
}

fn sum<'a>(mut counts: impl Iterator<Item = &'a u64>) -> Option<u64> {
    counts.try_fold(0_u64, |sum, count| sum.checked_add(*count))
}

fn demand(good: bool, field: impl Into<String>, bounds: &'static str) -> Result<(), PapersError> {
    if good { Ok(()) } else { Err(PapersError { field: field.into(), bounds }) }
}

fn line(field: &str, text: Option<&str>) -> Result<(), PapersError> {
    let fits = |text: &str| {
        let says = !text.trim().is_empty() && !text.chars().any(char::is_control);
        says && text.len() <= LINE_SIZE_MAX
    };
    demand(text.is_none_or(fits), field, "one line of 1 to 120 bytes")
}

fn paragraph(field: &str, text: &str) -> Result<(), PapersError> {
    let fits = text.len() <= PARAGRAPH_SIZE_MAX && !text.chars().any(|c| c.is_control() && c != '\n');
    demand(fits, field, "at most 2,000 bytes without control characters")
}

fn licence(field: &str, text: Option<&str>) -> Result<(), PapersError> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let fits = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(letter);
    demand(text.is_none_or(fits), field, "an SPDX licence id")
}

fn page(field: &str, text: Option<&str>) -> Result<(), PapersError> {
    let letter = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'\\' | b'`');
    let fits = |text: &str| {
        let web = text.starts_with("https://") || text.starts_with("http://");
        web && text.len() <= PAGE_SIZE_MAX && text.bytes().all(letter)
    };
    demand(text.is_none_or(fits), field, "an address of the web, at most 500 bytes")
}
