//! Progress of long work, on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A moving bar, or nothing at all: work reports to it without asking which.
#[derive(Debug, Clone)]
pub struct Bar(ProgressBar);

impl Bar {
    /// Shows nothing.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(crate) fn bytes(what: &str, total: u64, colour: bool) -> Self {
        let bar = if colour { "{bar:24.cyan}" } else { "{bar:24}" };
        let template = format!("{{msg}} {bar} {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}}");
        Self(ProgressBar::new(total).with_style(style(&template)).with_message(what.to_owned()))
    }

    pub(crate) fn spinner(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar.with_message(what.to_owned()))
    }

    /// Names the step that begins; the bar starts again from nothing.
    pub fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.reset();
    }

    /// How far it is by now.
    pub fn at(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Removes the bar from the terminal.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are valid").progress_chars("=> ")
}
