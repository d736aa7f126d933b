//! `agora receipt explain`: whose data shaped an answer, as far as it was measured, in words that anybody can follow.
//!
//! Two things are kept apart: *copied spans* are evidence, exact and open to anyone who has the texts; *influence* is an
//! estimate. What neither explains goes to the commons, and is said.

use std::io::{self, Write};
use std::path::Path;

use agora_attribution::{Evidence, Kind, WHOLE, level1};
use agora_inference_api::{Request as Asked, Role as Speaker};
use agora_receipts::{Envelope, Receipt, Role, State};
use agora_shell::files::{self, Existing};
use agora_shell::output::{Document, Style};
use agora_shell::settings::ModelChoice;
use agora_shell::{Failure, Outcome, text};
use agora_types::{Address, Amount, CallId, Canonical as _, Code, DatanetId, Hash};
use schemars::JsonSchema;
use serde::Serialize;

use super::enclosed::{Claim, fields, measured, sum};
use super::recompute::disclosed;
use super::{Named, fetch, level3, page, read_envelope, read_file};
use crate::cli::connect;
use crate::cli::context::Context;
use crate::cli::documents::safe_lines;
use crate::control::{DatanetAsk, DatanetView, Names, Passages, Request, Service};
use crate::node::passages::passages;

/// Characters of a title in a table.
const TITLE_MAX: usize = 32;

/// One turn of what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Said {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub text: String,
}

/// Bytes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Bytes {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

/// Words of the answer that stand in a contribution, token for token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpanView {
    /// The contribution, by its number below.
    pub contribution: usize,
    /// First token of the answer, from 0.
    pub start: u32,
    /// Number of tokens.
    pub length: u32,
    /// Tokens of the whole match that they belong to.
    pub match_length: u32,
    /// Where they stand in the answer; absent where answer or tokenizer are not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Bytes>,
}

/// Where a contribution is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Origin {
    /// The datanet.
    pub datanet: DatanetId,
    /// Its name.
    pub name: String,
    /// The contribution's place in the list: `agora datanet items NAME --skip PLACE --limit 1` shows it.
    pub place: u32,
    /// The title of the batch that it came with.
    pub title: String,
}

/// A contribution that shaped the answer. Parts are parts of 2^32.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContributionView {
    /// Its number here, from 1; the largest share first.
    pub number: usize,
    /// Its leaf hash in its datanet.
    pub contribution: Hash,
    /// Where it is kept, and what it is called there; absent where its datanet's keeper was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// Who is paid.
    pub account: Address,
    /// How it helps.
    pub kind: Kind,
    /// Its part of the influence: an estimate.
    pub influence: u64,
    /// Its part of the copied tokens: evidence.
    pub verbatim: u64,
    /// Its part of what is paid.
    pub share: u64,
    /// What it is paid.
    pub amount: Amount,
}

/// What an account is paid for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PaidView {
    /// Who.
    pub account: Address,
    /// How much.
    pub amount: Amount,
}

impl ContributionView {
    /// What people call it: datanet, place and title, or else the first digits of its hash.
    pub(super) fn called(&self) -> String {
        match &self.from {
            Some(Origin { name, place, title, .. }) => {
                let cut = if title.chars().count() > TITLE_MAX { "…" } else { "" };
                format!("{name}/{place} {}{cut}", title.chars().take(TITLE_MAX).collect::<String>())
            }
            None => short(&self.contribution),
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MeasuredView {
    /// Hash of the attribution spec.
    pub spec: Hash,
    /// Content address of the evidence.
    pub evidence: Hash,
    /// Whether shares and sums were computed again from spec and evidence; false where the spec is not here.
    pub recomputed: bool,
    /// Tokens of the answer.
    pub output_tokens: u32,
    /// What copied tokens count in a share, parts of 2^32.
    pub verbatim_weight: u64,
    /// The part of the contributors' money that is paid out, parts of 2^32.
    pub grade: u64,
    /// In the answer's order.
    pub spans: Vec<SpanView>,
    /// The largest share first.
    pub contributions: Vec<ContributionView>,
}

/// One answer was measured for several calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SampleView {
    /// How many calls.
    pub calls: u32,
    /// Leaf hash of the measured answer's provisional receipt.
    pub measured: Hash,
    /// True when it is this one.
    pub own: bool,
}

/// Whose data shaped an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explained {
    /// The call.
    pub call: CallId,
    /// Index of the provisional receipt.
    pub index: u64,
    /// Index of the final receipt, once there is one.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Who served.
    pub host: Address,
    /// The base model's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Hash>,
    /// The adapter's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Hash>,
    /// The datanets that taught it.
    pub datanets: Vec<DatanetId>,
    /// What the call cost.
    pub charge: Amount,
    /// How shares were found.
    pub method: String,
    /// False: shares are declared, not measured.
    pub measured: bool,
    /// What was asked; absent where it is not disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<Vec<Said>>,
    /// What was answered; absent where it is not disclosed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The explained part of the answer, parts of 2^32: an estimate. Absent before it is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<u64>,
    /// The part that is not explained, parts of 2^32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unexplained: Option<u64>,
    /// The contributors' part of the charge.
    pub pool: Amount,
    /// Of that, what contributors get; absent before the final receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid: Option<Amount>,
    /// Of that, what the commons get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commons: Option<Amount>,
    /// Who is paid, as the final receipt says; at most the 16 largest.
    pub accounts: Vec<PaidView>,
    /// What was measured, where the evidence is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<MeasuredView>,
    /// Where one answer was measured for several calls, because measuring each would cost more than it is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<SampleView>,
    /// Why there is no more, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A fraction of 2^32 in per cent, with one digit behind the point.
pub(super) fn percent(parts: u64) -> String {
    let tenths = (u128::from(parts) * 1_000 + u128::from(WHOLE / 2)) / u128::from(WHOLE);
    match tenths {
        0 if parts > 0 => "<0.1 %".to_owned(),
        _ => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

/// A hash as people compare it: its first eight digits.
pub(super) fn short(hash: &Hash) -> String {
    hash.to_string().chars().take(10).collect()
}

/// A piece of the answer, and the number of the contribution that it stands in.
pub(super) type Piece<'a> = (&'a str, Option<usize>);

impl Explained {
    /// The answer in pieces, in order: together they are all of it. Without places of spans it is one piece.
    pub(super) fn pieces(&self) -> Vec<Piece<'_>> {
        let Some(answer) = &self.answer else { return Vec::new() };
        let mut pieces = Vec::new();
        let mut from = 0;
        let spans = self.evidence.as_ref().map_or(&[][..], |evidence| &evidence.spans);
        for span in spans {
            let Some(Bytes { start, end }) = span.bytes else { continue };
            // Places come from another process: what does not fit is not marked.
            let (Some(before), Some(inside)) = (answer.get(from..start), answer.get(start..end)) else { continue };
            if inside.is_empty() {
                continue;
            }
            pieces.push((before, None));
            pieces.push((inside, Some(span.contribution)));
            from = end;
        }
        pieces.push((&answer[from..], None));
        pieces.retain(|(text, _)| !text.is_empty());
        pieces
    }

    /// What is said of the unexplained part, wherever an answer was measured.
    pub(super) fn rest(&self) -> Option<String> {
        let (part, commons) = (self.unexplained?, self.commons?);
        Some(format!("not explained: {}, {} went to the commons", percent(part), text::amount(commons)))
    }

    /// What is said where one answer was measured for several calls.
    pub(super) fn sample(&self) -> Option<String> {
        let SampleView { calls, measured, own } = self.sampled?;
        Some(match own {
            true => format!("this answer was measured for {calls} calls, which all pay by its shares"),
            false => format!(
                "one of {calls} calls was measured for all, and not this one: shares and copied words are those of the \
                 answer with receipt {measured}"
            ),
        })
    }

    /// What is said of each copied span where it cannot be shown in the text.
    pub(super) fn span_line(span: &SpanView) -> String {
        let last = u64::from(span.start) + u64::from(span.length);
        let (first, whole) = (u64::from(span.start) + 1, span.match_length);
        format!(
            "tokens {first} to {last} of the answer stand in contribution {}, in a match of {whole}",
            span.contribution
        )
    }
}

impl Document for Explained {
    const TYPE: &'static str = "agora/explained/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        writeln!(out, "call {}, receipt {}, {}", self.call, self.index, text::amount(self.charge))?;
        for said in self.question.iter().flatten() {
            writeln!(out, "{}\n{}", style.bold(&text::plain(&said.role)), safe_lines(&said.text))?;
        }
        if self.answer.is_some() {
            writeln!(out, "{}", style.bold("answer"))?;
            for (piece, contribution) in self.pieces() {
                let piece = safe_lines(piece);
                match contribution {
                    None => write!(out, "{piece}")?,
                    Some(number) if style.colour => {
                        write!(out, "{}{}", style.good(&piece), style.faint(&format!("({number})")))?
                    }
                    Some(number) => write!(out, "[{piece}]({number})")?,
                }
            }
            writeln!(out)?;
        } else {
            writeln!(out, "{}", style.faint("question and answer are not disclosed"))?;
        }
        if !self.measured {
            writeln!(out, "{} ({})", style.bold("contributors"), style.doubtful("declared, not measured"))?;
        } else if let Some(explained) = self.explained {
            writeln!(out, "explained: {} by what was measured (influence is an estimate)", percent(explained))?;
        }
        if let Some(sample) = self.sample() {
            writeln!(out, "{sample}")?;
        }
        if let Some(evidence) = &self.evidence {
            let copied: u64 = evidence.spans.iter().map(|span| u64::from(span.length)).sum();
            let note = "verbatim spans are evidence";
            writeln!(out, "copied: {copied} of {} tokens ({note})", evidence.output_tokens)?;
            for span in evidence.spans.iter().filter(|span| span.bytes.is_none()) {
                writeln!(out, "  {}", Self::span_line(span))?;
            }
            let row = |one: &ContributionView| {
                [
                    one.number.to_string(),
                    one.called(),
                    one.account.to_string(),
                    one.kind.name().to_owned(),
                    percent(one.influence),
                    percent(one.verbatim),
                    percent(one.share),
                    text::amount(one.amount),
                ]
            };
            let rows: Vec<[String; 8]> = evidence.contributions.iter().map(row).collect();
            let heading = ["", "CONTRIBUTION", "CONTRIBUTOR", "KIND", "INFLUENCE", "VERBATIM", "SHARE", "PAID"];
            text::table(out, style, heading, &rows)?;
        } else if !self.accounts.is_empty() {
            let row = |paid: &PaidView| [paid.account.to_string(), text::amount(paid.amount)];
            let rows: Vec<[String; 2]> = self.accounts.iter().map(row).collect();
            text::table(out, style, ["CONTRIBUTOR", "PAID"], &rows)?;
        }
        if let Some(rest) = self.rest() {
            writeln!(out, "{rest}")?;
        }
        let paid = self
            .paid
            .map_or_else(|| "held until attribution is done".to_owned(), |paid| format!("{} paid", text::amount(paid)));
        writeln!(out, "contributors' part: {}, {paid}", text::amount(self.pool))?;
        match &self.missing {
            None => Ok(()),
            Some(missing) => writeln!(out, "{}", style.faint(&text::plain(missing))),
        }
    }
}

/// Where evidence comes from.
enum Source<'a> {
    /// The file holds it, or it is not to be had.
    File,
    /// A node may have it.
    Service(&'a dyn Service),
}

/// `agora receipt explain` for an index, a call or a file.
///
/// # Errors
/// What reading or fetching says; `attribution.mismatch` when evidence and receipt tell of different shares.
pub async fn explain(context: &Context, name: &str, model: Option<&ModelChoice>) -> Outcome<Explained> {
    match Named::read(name) {
        Named::File(path) => {
            let envelope = read_envelope(&read_file(&path)?, name)?;
            // A running node may have the tokenizer; a file is explained without one as well.
            let service = connect::node(context).await.ok();
            of(context, &envelope, &Source::File, service.as_deref(), model).await
        }
        named => {
            let service = connect::any(context).await?;
            let plain = fetch(&*service, &named, false).await?;
            // What this node bought it may show.
            let envelope = fetch(&*service, &named, true).await.unwrap_or(plain);
            of(context, &envelope, &Source::Service(&*service), Some(&*service), model).await
        }
    }
}

async fn of(
    context: &Context,
    envelope: &Envelope,
    source: &Source<'_>,
    service: Option<&dyn Service>,
    model: Option<&ModelChoice>,
) -> Outcome<Explained> {
    let malformed = |code| Failure::new(code, "the leaves in it are not signed receipts");
    let (first, last) = envelope.receipts().map_err(malformed)?;
    let (first, last) = (first.payload(), last.as_ref().map(agora_types::Signed::payload));
    let mut explained = plain(envelope, first, last);
    if explained.measured
        && let Some(last) = last
    {
        let found = match (Claim::of(envelope, first, Some(last)), source) {
            (Claim::Measured(documents), _) => Ok((Some(documents.spec), documents.evidence)),
            (Claim::Malformed(code, what), _) => return Err(Failure::new(code, what)),
            (Claim::Declared | Claim::Missing(_), Source::Service(service)) => {
                measured(*service, envelope.provisional.index).await
            }
            (Claim::Declared, Source::File) => return Ok(explained),
            (Claim::Missing(why), Source::File) => {
                explained.missing = Some(why.to_owned());
                return Ok(explained);
            }
        };
        match found {
            Ok((spec, evidence)) => {
                let fields = fields(first, last);
                let wrong = |what: String| Failure::new(Code::AttributionMismatch, what);
                if Some(evidence.influence_root()) != fields.influence_root
                    || Some(evidence.verbatim_root()) != fields.verbatim_root
                {
                    return Err(wrong("the evidence is not the one that the final receipt commits to".to_owned()));
                }
                if let Some(spec) = &spec
                    && let agora_attribution::Verdict::Differs(difference) = level1(spec, &evidence, &fields)
                {
                    return Err(wrong(difference.to_string()));
                }
                explained.evidence = Some(view(&evidence, spec.is_some()));
                if let (Some(service), Some(view)) = (service, &mut explained.evidence) {
                    name(service, &explained.datanets, &evidence, view).await;
                }
                // Copied words of another answer have no place in this one.
                if explained.sampled.is_none_or(|sample| sample.own) {
                    locate(context, &mut explained, first.tokenizer_hash, service, model).await?;
                }
            }
            Err(failure) if matches!(failure.code, Code::ReceiptUnknown | Code::NodeNotRunning) => {
                explained.missing = Some(format!("the evidence is with host {}: {}", explained.host, failure.what));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(explained)
}

/// What the receipts and the disclosure say alone.
fn plain(envelope: &Envelope, first: &Receipt, last: Option<&Receipt>) -> Explained {
    let measured = !first.attribution.is_declared();
    let texts = disclosed(envelope).and_then(|(request, response)| {
        let question = match Asked::from_bytes(&request) {
            Ok(asked) => asked
                .messages
                .into_iter()
                .map(|one| Said { role: speaker(one.role).to_owned(), text: one.text })
                .collect(),
            Err(_) => vec![Said { role: "user".to_owned(), text: String::from_utf8(request).ok()? }],
        };
        Some((question, String::from_utf8(response).ok()?))
    });
    let (question, answer) = texts.unzip();
    let final_of = |role: Role| last.map(|last| sum(last, role));
    let shares = last.filter(|_| measured).map(|last| &last.attribution);
    let accounts = last.map_or(&[][..], |last| &last.attribution.totals);
    Explained {
        call: first.call_id,
        index: envelope.provisional.index,
        last: envelope.last.as_ref().map(|last| last.index),
        host: first.host,
        base: first.base_hash,
        adapter: first.adapter_hash,
        datanets: first.datanets.iter().map(|datanet| datanet.id).collect(),
        charge: first.charge,
        method: first.attribution.method.clone(),
        measured,
        question,
        answer,
        explained: shares.map(|shares| shares.explained),
        unexplained: shares.map(|shares| shares.residual),
        pool: sum(first, Role::Contributors),
        paid: if measured { final_of(Role::Earnings) } else { final_of(Role::Contributor) },
        commons: final_of(Role::Commons),
        accounts: accounts.iter().map(|paid| PaidView { account: paid.account, amount: paid.amount }).collect(),
        evidence: None,
        sampled: last.and_then(sampled),
        missing: (measured && last.is_none())
            .then(|| "there is no final receipt yet: the answer waits to be measured".to_owned()),
    }
}

/// Of which calls a final receipt has its shares.
fn sampled(last: &Receipt) -> Option<SampleView> {
    let sample = last.attribution.sampled?;
    let own = matches!(last.state, State::Final { leaf, .. } if leaf == sample.measured);
    Some(SampleView { calls: sample.calls, measured: sample.measured, own })
}

fn speaker(role: Speaker) -> &'static str {
    match role {
        Speaker::System => "system",
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    }
}

/// The evidence for people: contributions in order of their shares, with numbers that the spans refer to.
///
/// A contribution is told by its leaf hash; its name is joined by [`name`].
fn view(evidence: &Evidence, recomputed: bool) -> MeasuredView {
    let mut entries: Vec<_> = evidence.entries.iter().collect();
    entries.sort_by_key(|entry| (std::cmp::Reverse(entry.share), entry.cluster));
    let contributions = (1..).zip(&entries).map(|(number, entry)| ContributionView {
        number,
        contribution: entry.contribution,
        from: None,
        account: entry.account,
        kind: entry.kind,
        influence: entry.influence,
        verbatim: entry.verbatim,
        share: entry.share,
        amount: entry.amount,
    });
    let span = |span: &agora_attribution::Span| {
        let at = entries.iter().position(|entry| entry.cluster == span.cluster)?;
        let (start, length, match_length) = (span.start, span.length, span.match_length);
        Some(SpanView { contribution: at + 1, start, length, match_length, bytes: None })
    };
    MeasuredView {
        spec: evidence.summary.spec,
        evidence: evidence.hash(),
        recomputed,
        output_tokens: evidence.summary.output_tokens,
        verbatim_weight: evidence.summary.verbatim_weight,
        grade: evidence.summary.grade,
        spans: evidence.spans.iter().filter_map(span).collect(),
        contributions: contributions.collect(),
    }
}

/// Says where contributions are kept, as far as the node keeps their datanets. Names are a help, not evidence: who does not
/// answer is passed over.
async fn name(service: &dyn Service, datanets: &[DatanetId], evidence: &Evidence, view: &mut MeasuredView) {
    let positions = || evidence.entries.iter().map(|entry| (entry.cluster.seq, entry.cluster.index)).collect();
    for id in datanets {
        let asked = [DatanetAsk::Show { id: *id }, DatanetAsk::Names { id: *id, positions: positions() }];
        let [net, names] = asked.map(|ask| Request::Datanet { ask });
        let Ok(net) = service.call::<DatanetView>(net).await else { continue };
        let Ok(names) = service.call::<Names>(names).await else { continue };
        for one in names.items {
            let of = |view: &&mut ContributionView| view.contribution == one.contribution;
            if let Some(view) = view.contributions.iter_mut().find(of) {
                let (name, place, title) = (net.name.clone(), one.place, one.title);
                view.from = Some(Origin { datanet: *id, name, place, title });
            }
        }
    }
}

/// Finds the spans' bytes, by the node's tokenizer or that of a model that was named.
async fn locate(
    context: &Context,
    explained: &mut Explained,
    tokenizer: Option<Hash>,
    service: Option<&dyn Service>,
    model: Option<&ModelChoice>,
) -> Outcome<()> {
    let (Some(answer), Some(tokenizer), Some(evidence)) = (&explained.answer, tokenizer, &mut explained.evidence)
    else {
        return Ok(());
    };
    if evidence.spans.is_empty() {
        return Ok(());
    }
    let runs: Vec<(u32, u32)> = evidence.spans.iter().map(|span| (span.start, span.length)).collect();
    let mut found: Option<Vec<Bytes>> = None;
    if let Some(choice) = model {
        let weights = level3::weights(context, choice)?.filter(|weights| weights.base().tokenizer_hash == tokenizer);
        let places = weights.and_then(|weights| passages(&weights, answer, &runs));
        found = places.map(|places| places.into_iter().map(|at| Bytes { start: at.start, end: at.end }).collect());
    } else if let Some(service) = service {
        // Another node's release may not know the question: the spans are told by their tokens then.
        let told = service.call::<Passages>(Request::Passages { tokenizer, text: answer.clone(), runs }).await;
        let bytes = |(start, end): (u64, u64)| {
            Some(Bytes { start: usize::try_from(start).ok()?, end: usize::try_from(end).ok()? })
        };
        found = told.ok().and_then(|told| told.bytes?.into_iter().map(bytes).collect());
    }
    for (span, bytes) in evidence.spans.iter_mut().zip(found.into_iter().flatten()) {
        span.bytes = Some(bytes);
    }
    Ok(())
}

/// Writes the explanation as one page that needs nothing else; a file of that name is replaced.
///
/// # Errors
/// `node.io`.
pub fn write_page(explained: &Explained, path: &Path) -> Outcome<()> {
    let path = std::path::absolute(path).map_err(Failure::io(path))?;
    files::write_private(&path, page::page(explained).as_bytes(), Existing::Replace).map(drop)
}
