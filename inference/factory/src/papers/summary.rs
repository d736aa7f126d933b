//! The public summary of training content, section by section as in the Commission's template of July 2025.
//!
//! An adapter is a modification: the summary is of its data alone, and points to the base model's own. What the template asks
//! and neither the training nor the maker says is said to be not known.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agora_receipts::receipt::DatanetRef;
use agora_types::{Canonical as _, Timestamp};

use super::words::{self, NOT_KNOWN, many, plain};
use super::{About, Answer, TrainedOn};
use crate::Manifest;

/// Tokens from which the template's next range of sizes begins.
const RANGES: [u64; 2] = [1_000_000_000, 10_000_000_000_000];

/// The summary's text.
pub(super) fn summary(about: &About, manifest: &Manifest) -> String {
    let known: Vec<&TrainedOn> = manifest.datanets.iter().filter_map(|named| about.known(named)).collect();
    let unknown: Vec<&DatanetRef> = manifest.datanets.iter().filter(|named| about.known(named).is_none()).collect();
    let parts = [
        head(about, manifest),
        identification(about, manifest),
        data(manifest, &known),
        datasets(about, &known),
        others(about, manifest, &unknown),
        processing(about, manifest, &known),
    ];
    parts.join("\n")
}

fn head(about: &About, manifest: &Manifest) -> String {
    format!(
        "# Public Summary of Training Content\n\n\
         Follows the European Commission's template of 24 July 2025 for Article 53(1)(d) of Regulation (EU) 2024/1689 (AI \
         Act). Written by {code} from the training's manifest and the maker's answers; nobody has reviewed it. \"Not known\" \
         means that neither says it.\n\n\
         {name} is an adapter: a modification of the model {base}. As recital 109 of the act says of modifications, this \
         summary is limited to the data of the modification. For what the base model was trained on, {summary}.\n\n\
         - Version of the Summary: 1\n\
         - Last update: {date}\n",
        code = plain(&manifest.code_version),
        name = plain(&about.name),
        base = plain(&manifest.base.name),
        summary = match &about.base.summary {
            Some(page) => format!("see its own summary: <{page}>"),
            None => "see its own summary; where it is found is not known".to_owned(),
        },
        date = about.time.day(),
    )
}

fn identification(about: &About, manifest: &Manifest) -> String {
    let (maker, base) = (&about.maker, &about.base);
    let or_not = |text: &Option<String>| text.as_deref().map_or(NOT_KNOWN.to_owned(), plain);
    format!(
        "## 1. General information\n\n\
         ### 1.1. Provider identification\n\n\
         - Provider name and contact details: {maker}, account {account}; contact: {contact}\n\
         - Authorised representative name and contact details: {representative}\n\n\
         ### 1.2. Model identification\n\n\
         - Versioned model name(s): {name}, version {version}; adapter {adapter}; licence {licence}\n\
         - Model dependencies: {base_name}, SHA-256 {base_hash}; made by: {base_maker}; licence: {base_licence}\n\
         - Date of placement of the model on the Union market: {placed}\n",
        maker = plain(&maker.name),
        account = maker.account,
        contact = or_not(&maker.contact),
        representative = or_not(&maker.representative),
        name = plain(&about.name),
        version = plain(&about.version),
        adapter = manifest.adapter_hash,
        licence = plain(&about.licence),
        base_name = plain(&manifest.base.name),
        base_hash = manifest.base.hash,
        base_maker = or_not(&base.maker),
        base_licence = or_not(&base.licence),
        placed = about.placed.map_or(NOT_KNOWN.to_owned(), Timestamp::day),
    )
}

fn data(manifest: &Manifest, known: &[&TrainedOn]) -> String {
    // Each epoch reads all that is learnt from.
    let tokens = manifest.counts.tokens / u64::from(manifest.settings.epochs.max(1));
    let range = RANGES.iter().filter(|from| tokens >= **from).count();
    let sizes = ["Less than 1 billion tokens", "1 billion to 10 trillion tokens", "More than 10 trillion tokens"];
    let sizes = sizes.iter().enumerate().map(|(at, size)| format!("[{}] {size}", if at == range { 'x' } else { ' ' }));
    let latest = known.iter().map(|on| on.collected.map_or(on.time, |(_, last)| last)).max();
    let titles: Vec<String> = known.iter().map(|on| plain(&on.terms.title)).collect();
    format!(
        "### 1.3. Modalities, overall training data size and other characteristics\n\n\
         - Modality: [x] Text [ ] Image [ ] Audio [ ] Video [ ] Other\n\
         - Training data size: {sizes}; {tokens} in {examples}, read {epochs}\n\
         - Types of content: {kinds}; titles: {titles}\n\
         - Latest date of data acquisition/collection for model training: {latest}; it is not trained on new data afterwards\n\
         - Description of the linguistic characteristics of the overall training data: {NOT_KNOWN}, as datanets do not \
         record languages\n\
         - Other relevant characteristics of the overall training data: only the tokens of responses are learnt; {held}\n",
        sizes = sizes.collect::<Vec<_>>().join(" "),
        tokens = many(tokens, "token"),
        examples = many(manifest.counts.examples, "example"),
        epochs = many(u64::from(manifest.settings.epochs), "time"),
        kinds = kinds(known),
        titles = if titles.is_empty() { NOT_KNOWN.to_owned() } else { titles.join("; ") },
        latest = latest.map_or(NOT_KNOWN.to_owned(), Timestamp::day),
        held = match manifest.counts.held_out {
            0 => "nothing is held out".to_owned(),
            1 => "1 more example is held out to measure the loss".to_owned(),
            count => format!("{count} more examples are held out to measure the loss"),
        },
    )
}

/// How the contributions help, over all datanets.
fn kinds(known: &[&TrainedOn]) -> String {
    let mut sums: BTreeMap<_, u64> = BTreeMap::new();
    for (kind, count) in known.iter().flat_map(|on| &on.kinds) {
        let sum = sums.entry(*kind).or_default();
        *sum = sum.saturating_add(*count);
    }
    let each: Vec<String> = sums.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    match each.is_empty() {
        true => NOT_KNOWN.to_owned(),
        false => format!("texts, questions with answers and conversations, given as {}", each.join(", ")),
    }
}

fn datasets(about: &About, known: &[&TrainedOn]) -> String {
    let (public, private): (Vec<&TrainedOn>, Vec<&TrainedOn>) = known.iter().partition(|on| on.page.is_some());
    let list = |datanets: &[&TrainedOn], name: &str| {
        let entries: String = datanets.iter().map(|on| described(on)).collect();
        match datanets.is_empty() {
            true => String::new(),
            false => format!("- Modality(ies) of the content covered: text\n- {name}:\n{entries}"),
        }
    };
    let (licensed, signed) =
        told(about.answers.licensed.as_ref(), Some("the licences that contributors signed stand with each dataset"));
    format!(
        "## 2. List of data sources\n\n\
         ### 2.1. Publicly available datasets\n\n\
         - Have you used publicly available datasets to train the model? {is_public}\n\
         {public}\n\
         ### 2.2. Private non-publicly available datasets obtained from third parties\n\n\
         #### 2.2.1. Datasets commercially licensed by rightsholders or their representatives\n\n\
         - Have you concluded transactional commercial licensing agreement(s) with rightsholder(s) or with their \
         representatives? {licensed}\n\
         {signed}\n\
         #### 2.2.2. Private datasets obtained from other third parties\n\n\
         - Have you obtained private datasets from third parties that are not licensed as described in Section 2.2.1, such \
         as data obtained from providers of private databases, or data intermediaries? {is_private}\n\
         {private}",
        is_public = boxes(Some(!public.is_empty())),
        public = list(&public, "List of publicly available datasets, large or small"),
        is_private = boxes(Some(!private.is_empty())),
        private = list(&private, "List of private datasets, whose contributions are not published"),
    )
}

fn others(about: &About, manifest: &Manifest, unknown: &[&DatanetRef]) -> String {
    let answers = &about.answers;
    let outside = manifest.datanets.is_empty();
    let (crawled, crawlers) = told(
        answers.crawled.as_ref(),
        Some("ModelFactory has no crawler; whether contributors copied from the web is not known"),
    );
    let (users, of_users) = told(answers.users.as_ref(), None);
    let (services, of_services) = told(answers.services.as_ref(), Some("ModelFactory takes nothing from calls"));
    let (synthetic, models) = told(
        answers.synthetic.as_ref(),
        Some("ModelFactory makes none; datanets do not record whether a model wrote a contribution"),
    );
    let mut text = format!(
        "### 2.3. Data crawled and scraped from online sources\n\n\
         - Were crawlers used by the provider or on behalf of? {crawled}\n\
         {crawlers}\n\
         ### 2.4. User data\n\n\
         - Was data from user interactions with the AI model (e.g. user input and prompts) used to train the model? {users}\n\
         {of_users}\
         - Was data collected from user interactions with the provider's other services or products used to train the model? \
         {services}\n\
         {of_services}\n\
         ### 2.5. Synthetic data\n\n\
         - Was synthetic AI-generated data created by the provider or on their behalf to train the model? {synthetic}\n\
         {models}\n\
         ### 2.6. Other sources of data\n\n\
         - Have data sources other than those described in Sections 2.1 to 2.5 been used to train the model? {other}\n",
        other = boxes(Some(outside || !unknown.is_empty())),
    );
    for named in unknown {
        let _ = writeln!(
            text,
            "- Narrative description: datanet {}, {}, Merkle root {}; nothing else is known of it",
            named.id,
            many(named.tree_size, "contribution"),
            named.root
        );
    }
    if outside {
        let _ = writeln!(
            text,
            "- Narrative description: {} that belong to no datanet, of hash {}; nothing else is known of them",
            many(manifest.counts.examples, "example"),
            manifest.examples_hash
        );
    }
    text
}

/// The template's boxes with an answer.
fn boxes(answer: Option<bool>) -> &'static str {
    match answer {
        Some(true) => "[x] Yes [ ] No",
        Some(false) => "[ ] Yes [x] No",
        None => "[ ] Yes [ ] No; not known",
    }
}

/// The boxes with a maker's answer, and the line of comments below.
fn told(answer: Option<&Answer>, ours: Option<&str>) -> (&'static str, String) {
    let note = answer.map(|answer| plain(answer.note.trim_end_matches('.'))).filter(|note| !note.is_empty());
    let said: Vec<&str> = note.as_deref().into_iter().chain(ours).collect();
    let line = match said.is_empty() {
        true => String::new(),
        false => format!("- Additional comments: {}\n", said.join("; ")),
    };
    (boxes(answer.map(|answer| answer.yes)), line)
}

/// A datanet version as an entry of a list.
fn described(on: &TrainedOn) -> String {
    let terms = &on.terms;
    let licences: Vec<String> = on.licences.iter().map(|(id, count)| format!("{count} under {}", plain(id))).collect();
    let mut entry = format!("  - {}, version {} of {}\n", plain(&terms.title), on.version, on.time.day());
    let mut say = |name: &str, what: &str| {
        let _ = writeln!(entry, "    - {name}: {what}");
    };
    say("Name", &format!("{}, datanet {}, Merkle root {}", plain(&terms.name), terms.id(), on.root));
    if let Some(page) = &on.page {
        say("Link", &format!("<{page}>"));
    }
    if !terms.description.is_empty() {
        say("Description", &plain(&terms.description));
    }
    say("Owner", &format!("account {}", terms.owner));
    say("Licence of the whole", &plain(&terms.licence));
    say("Licences of the contributions", &licences.join(", "));
    say("Size", &format!("{}, {}", many(on.included, "contribution"), many(on.size_bytes, "byte")));
    let period =
        on.collected.map_or(NOT_KNOWN.to_owned(), |(first, last)| format!("{} to {}", first.day(), last.day()));
    say("Period of data collection", &period);
    say("How it was collected", &words::collection(on));
    entry
}

fn processing(about: &About, manifest: &Manifest, known: &[&TrainedOn]) -> String {
    let (signatory, of_the_code) = told(about.answers.signatory.as_ref(), None);
    let checks = once_each(known.iter().flat_map(|on| words::checks(&on.policy)));
    let removal = match checks.is_empty() {
        true => NOT_KNOWN.to_owned(),
        false => format!(
            "{} Curators, where a datanet has them, reject with a reason what would do harm, is not the contributor's own, or \
             tells of private persons. No classifier for illegal content is run.",
            checks.join(" ")
        ),
    };
    let alike: String =
        once_each(known.iter().map(|on| words::near(&on.policy))).iter().map(|one| format!("- {one}\n")).collect();
    format!(
        "## 3. Data processing aspects\n\n\
         ### 3.1. Respect of reservation of rights from text and data mining exception or limitation\n\n\
         - Are you a Signatory to the Code of Practice for general-purpose AI models that includes commitments to respect \
         reservations of rights from the TDM exception or limitation? {signatory}\n\
         {of_the_code}\
         - Measures implemented before model training: {measures}\n\n\
         ### 3.2. Removal of illegal content\n\n\
         - General description of measures taken: {removal}\n\n\
         ### 3.3. Other information (optional)\n\n\
         - Manifest of the training: {hash}; examples {examples}; order of the examples {order}\n\
         - Each contribution can be proven against its datanet's Merkle root (RFC 6962) without showing another.\n\
         {alike}",
        measures = match known.is_empty() {
            true => NOT_KNOWN,
            false =>
                "contributions come from the accounts that signed for their licence, not from mining; licences that a datanet's \
                 policy does not name are not taken; what a contributor withdraws is out of every later version. Reservations \
                 that others declare on the web are not looked up.",
        },
        hash = manifest.hash(),
        examples = manifest.examples_hash,
        order = manifest.order_hash,
    )
}

/// Sentences without their repeats.
fn once_each(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for sentence in sentences {
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    said
}
