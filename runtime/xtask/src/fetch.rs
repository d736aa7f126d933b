//! Fetches a model, as `agora model fetch` does, without building the program.

use agora_shell::fetch::{self, Fetcher, State};
use agora_shell::output::{Document as _, Style};
use agora_shell::{Format, Paths, Printer};
use anyhow::Context as _;

use crate::needs::{self, Need};

/// Makes sure that the model is there; the answer is a line for people.
pub(crate) fn run(name: &str) -> anyhow::Result<String> {
    let model = fetch::find(name)?;
    let folder = Paths::find(None)?.models();
    let state = fetch::state(model, &folder)?;
    if !matches!(state, State::Verified | State::Unchecked) {
        needs::check(&[Need::Pip])?;
    }
    // A model that is known costs no time worth a word.
    let printer = Printer::new(Format::Text, state == State::Verified);
    let bar = printer.bytes_bar(&format!("model {name}"), model.bytes);
    let fetched = Fetcher::default().fetch(model, &folder, &bar);
    bar.finish();
    let mut text = Vec::new();
    fetched?.text(&mut text, &Style::default()).context("writing the answer")?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}
