//! An explanation as a page: one file without scripts, and nothing is fetched from anywhere.
//!
//! Every text in it comes from strangers. Texts are escaped, signs that steer the direction of writing stay inside their
//! element, and the page's own policy forbids everything but its one style sheet.

use std::fmt::Write as _;

use agora_attribution::WHOLE;
use agora_shell::text;
use agora_types::Hash;
use base64::Engine as _;

use super::explain::{ContributionView, Explained, percent, short};

/// The style sheet; the policy names its hash.
const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(explained: &Explained) -> String {
    let mut body = String::new();
    head(&mut body, explained);
    answer(&mut body, explained);
    contributors(&mut body, explained);
    footer(&mut body, explained);
    let style = base64::engine::general_purpose::STANDARD.encode(Hash::sha256(STYLE).as_bytes());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Who taught this answer: receipt {index}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         {body}</main>\n</body>\n</html>\n",
        index = explained.index,
    )
}

/// A text that can mean nothing but itself.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(sign),
            sign if sign.is_control() => safe.push('\u{fffd}'),
            sign => safe.push(sign),
        }
    }
    safe
}

// Writing to a string cannot fail.
macro_rules! put {
    ($out:expr, $($arguments:tt)*) => { let _ = writeln!($out, $($arguments)*); };
}

fn head(out: &mut String, explained: &Explained) {
    put!(out, "<h1>Who taught this answer</h1>");
    put!(out, "<dl class=\"facts\">");
    let mut fact = |name: &str, value: &str| {
        put!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    let code = |value: String| format!("<code>{}</code>", escaped(&value));
    fact("Call", &code(explained.call.to_string()));
    let last = explained.last.map_or_else(|| "not final yet".to_owned(), |last| format!("final {last}"));
    fact("Receipt", &format!("{}, {last}", explained.index));
    if let Some(adapter) = &explained.adapter {
        fact("Adapter", &code(short(adapter)));
    }
    fact("Price", &escaped(&text::amount(explained.charge)));
    fact("Shares by", &escaped(&explained.method));
    put!(out, "</dl>");
}

fn answer(out: &mut String, explained: &Explained) {
    let Some(question) = &explained.question else {
        put!(out, "<p class=\"note\">Question and answer are not disclosed.</p>");
        return;
    };
    for said in question {
        put!(out, "<h2>{}</h2>", if said.role == "user" { "Question".to_owned() } else { escaped(&said.role) });
        put!(out, "<blockquote dir=\"auto\">{}</blockquote>", escaped(&said.text));
    }
    put!(out, "<h2>Answer</h2>");
    let mut shown = String::new();
    for (piece, contribution) in explained.pieces() {
        let piece = escaped(piece);
        match contribution {
            None => shown.push_str(&piece),
            Some(number) => {
                let _ = write!(
                    shown,
                    "<mark><a href=\"#c{number}\" title=\"stands in contribution {number}\">{piece}<sup>{number}</sup></a></mark>"
                );
            }
        }
    }
    put!(out, "<blockquote class=\"answer\" dir=\"auto\">{shown}</blockquote>");
}

fn contributors(out: &mut String, explained: &Explained) {
    put!(out, "<h2>Contributors</h2>");
    if !explained.measured {
        put!(
            out,
            "<p class=\"warn\"><strong>Declared, not measured.</strong> A datanet's owner declared these shares.</p>"
        );
    } else if let Some(explained) = explained.explained {
        put!(
            out,
            "<p><strong>Explained: {}</strong> of the answer, by what was measured. Influence is an estimate.</p>",
            percent(explained)
        );
    }
    if let Some(sample) = explained.sample() {
        put!(out, "<p class=\"note\">{}.</p>", escaped(&capital(&sample)));
    }
    if let Some(evidence) = &explained.evidence {
        let copied: u64 = evidence.spans.iter().map(|span| u64::from(span.length)).sum();
        put!(
            out,
            "<p>Copied: {copied} of {} tokens. Marked words stand in a contribution, token for token: they are evidence, not \
             an estimate.</p>",
            evidence.output_tokens
        );
        let hidden: Vec<_> = evidence.spans.iter().filter(|span| span.bytes.is_none()).collect();
        if !hidden.is_empty() {
            put!(out, "<ul>");
            for span in hidden {
                put!(out, "<li><a href=\"#c{}\">{}</a></li>", span.contribution, Explained::span_line(span));
            }
            put!(out, "</ul>");
        }
        put!(out, "<table>\n<thead><tr>");
        for name in ["No.", "Contribution", "Contributor", "Kind", "Influence", "Verbatim", "Share", "Paid"] {
            put!(out, "<th scope=\"col\">{name}</th>");
        }
        put!(out, "</tr></thead>\n<tbody>");
        evidence.contributions.iter().for_each(|one| row(out, one));
        put!(out, "</tbody>\n</table>");
    } else if !explained.accounts.is_empty() {
        put!(
            out,
            "<table>\n<thead><tr><th scope=\"col\">Contributor</th><th scope=\"col\">Paid</th></tr></thead>\n<tbody>"
        );
        for paid in &explained.accounts {
            let amount = escaped(&text::amount(paid.amount));
            put!(
                out,
                "<tr><td data-name=\"Contributor\"><code>{}</code></td><td data-name=\"Paid\">{amount}</td></tr>",
                paid.account
            );
        }
        put!(out, "</tbody>\n</table>");
    }
    if let Some(rest) = explained.rest() {
        put!(out, "<p class=\"rest\"><strong>{}.</strong></p>", escaped(&capital(&rest)));
    }
    if let Some(missing) = &explained.missing {
        put!(out, "<p class=\"note\">{}.</p>", escaped(&capital(missing)));
    }
}

fn row(out: &mut String, one: &ContributionView) {
    let bar = |parts: u64| {
        let thousandths = u128::from(parts) * 1_000 / u128::from(WHOLE);
        format!("{} <meter min=\"0\" max=\"1000\" value=\"{thousandths}\">{}</meter>", percent(parts), percent(parts))
    };
    let cells = [
        ("No.", one.number.to_string()),
        ("Contribution", format!("<span title=\"{}\">{}</span>", one.contribution, escaped(&one.called()))),
        ("Contributor", format!("<code>{}</code>", one.account)),
        ("Kind", one.kind.name().to_owned()),
        ("Influence", percent(one.influence)),
        ("Verbatim", percent(one.verbatim)),
        ("Share", bar(one.share)),
        ("Paid", escaped(&text::amount(one.amount))),
    ];
    put!(out, "<tr id=\"c{}\">", one.number);
    for (name, value) in cells {
        put!(out, "<td data-name=\"{name}\">{value}</td>");
    }
    put!(out, "</tr>");
}

fn footer(out: &mut String, explained: &Explained) {
    let paid = match explained.paid {
        None => "held until attribution is done".to_owned(),
        Some(paid) => format!("{} of it paid to contributors", text::amount(paid)),
    };
    put!(out, "<footer>");
    put!(
        out,
        "<p>The contributors&#39; part of the price: {}, {}.</p>",
        escaped(&text::amount(explained.pool)),
        escaped(&paid)
    );
    put!(
        out,
        "<p>This page proves nothing by itself. Check the exported receipt with <code>agora receipt recompute</code>.</p>"
    );
    put!(out, "</footer>");
}

fn capital(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| first.to_uppercase().chain(signs).collect())
}

#[cfg(test)]
mod tests {
    use super::super::explain::{Bytes, MeasuredView, Said, SpanView};
    use super::*;
    use agora_attribution::Kind;
    use agora_shell::output::{Document as _, Style};
    use agora_types::{Address, Amount, CallId};

    fn explained(answer: &str, bytes: Option<Bytes>) -> Explained {
        let one = ContributionView {
            number: 1,
            contribution: Hash::sha256("notes"),
            from: None,
            account: Address::system("ada"),
            kind: Kind::Source,
            influence: WHOLE / 2,
            verbatim: WHOLE,
            share: WHOLE / 4 * 3,
            amount: Amount::from_atoms(75),
        };
        let two = ContributionView {
            number: 2,
            verbatim: 0,
            share: WHOLE / 4,
            amount: Amount::from_atoms(25),
            ..one.clone()
        };
        Explained {
            call: CallId::ZERO,
            index: 4,
            last: Some(5),
            host: Address::system("host"),
            base: None,
            adapter: Some(Hash::sha256("adapter")),
            datanets: vec![],
            charge: Amount::from_atoms(400),
            method: "influence-ekfac-nnls".to_owned(),
            measured: true,
            question: Some(vec![Said { role: "user".to_owned(), text: "<b>why</b>?".to_owned() }]),
            answer: Some(answer.to_owned()),
            explained: Some(WHOLE / 8 * 5),
            unexplained: Some(WHOLE / 8 * 3),
            pool: Amount::from_atoms(200),
            paid: Some(Amount::from_atoms(100)),
            commons: Some(Amount::from_atoms(100)),
            accounts: vec![],
            evidence: Some(MeasuredView {
                spec: Hash::ZERO,
                evidence: Hash::ZERO,
                recomputed: true,
                output_tokens: 12,
                verbatim_weight: 0,
                grade: WHOLE / 2,
                spans: vec![SpanView { contribution: 1, start: 2, length: 8, match_length: 9, bytes }],
                contributions: vec![one, two],
            }),
            sampled: None,
            missing: None,
        }
    }

    fn shown(explained: &Explained, colour: bool) -> String {
        let mut out = Vec::new();
        explained.text(&mut out, &Style { colour }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hostile_answer_stays_text() {
        let evil = "</blockquote><script>alert('1')</script> & \"\u{1b}[2J";
        let page = page(&explained(evil, Some(Bytes { start: 13, end: 32 })));
        assert!(!page.contains("<script") && !page.contains('\u{1b}'), "{page}");
        assert!(page.contains("&lt;/blockquote&gt;<mark><a href=\"#c1\""), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(&#39;1&#39;&lt;") || page.contains("&lt;script&gt;alert(&#39;1&#39;"),
            "{page}"
        );
        assert!(page.contains("&lt;b&gt;why&lt;/b&gt;?"));
        let text = shown(&explained(evil, None), false);
        assert!(!text.contains('\u{1b}') && text.contains("?[2J"), "{text}");
    }

    #[test]
    fn copied_words_are_marked_and_linked_and_the_rest_is_said() {
        let good = explained("The keeper lights the lamp.", Some(Bytes { start: 4, end: 17 }));
        let html = page(&good);
        assert!(html.contains(
            "The <mark><a href=\"#c1\" title=\"stands in contribution 1\">keeper lights<sup>1</sup></a></mark> the"
        ));
        assert!(html.contains("<tr id=\"c1\">") && html.contains("<tr id=\"c2\">"));
        assert!(html.contains("Not explained: 37.5 %, 100 atoms went to the commons."), "{html}");
        let text = shown(&good, false);
        assert!(text.contains("The [keeper lights](1) the lamp."), "{text}");
        assert!(text.contains("not explained: 37.5 %, 100 atoms went to the commons"), "{text}");
        for view in [&html, &text] {
            assert!(view.contains("an estimate") && view.contains("evidence"), "{view}");
        }
        assert!(shown(&good, true).contains("\u{1b}[32mkeeper lights\u{1b}[0m"));
    }

    #[test]
    fn the_policy_allows_the_pages_own_style_and_nothing_else() {
        let html = page(&explained("a", None));
        let hash = base64::engine::general_purpose::STANDARD.encode(Hash::sha256(STYLE).as_bytes());
        assert!(html.contains(&format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'")));
        assert!(html.contains(&format!("<style>{STYLE}</style>")));
        for outside in ["http:", "https:", "src=", "url(", "@import", " style=", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn places_that_do_not_fit_the_text_mark_nothing_and_lose_nothing() {
        let answer = "caf\u{e9} au lait";
        for (start, end) in [(0, 4), (4, 9), (3, 99), (9, 3), (0, 0)] {
            let explained = explained(answer, Some(Bytes { start, end }));
            let whole: String = explained.pieces().iter().map(|(text, _)| *text).collect();
            assert_eq!(whole, answer, "{start} to {end}");
            assert!(explained.pieces().iter().all(|(_, mark)| mark.is_none()), "{start} to {end}");
        }
    }

    #[test]
    fn what_is_declared_or_without_text_is_said_to_be_so() {
        let declared = Explained {
            measured: false,
            evidence: None,
            explained: None,
            unexplained: None,
            question: None,
            answer: None,
            ..explained("", None)
        };
        let (html, text) = (page(&declared), shown(&declared, false));
        assert!(html.contains("Declared, not measured") && html.contains("not disclosed"), "{html}");
        assert!(text.contains("declared, not measured") && text.contains("not disclosed"), "{text}");
        let unplaced = shown(&explained("a", None), false);
        assert!(unplaced.contains("tokens 3 to 10 of the answer stand in contribution 1"), "{unplaced}");
    }
}
