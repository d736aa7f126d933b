//! What both ends of the control port agree on beyond the requests themselves.

use agora_shell::failure::ErrorDocument;
use agora_shell::{Failure, Outcome};
use serde::{Deserialize, Serialize};

use super::AgentStep;

/// Most bytes of one line of a stream.
pub(super) const LINE_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of one answer: a page of the log is 8 MiB, in hex.
pub(super) const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// The body of a question to an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The agent.
    pub(super) name: String,
    /// What it is asked.
    pub(super) message: String,
}

/// One line of the answer to a question.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// A step.
    Step(AgentStep),
    /// The failure that ended it.
    Failed(ErrorDocument),
}

impl From<Outcome<AgentStep>> for Line {
    fn from(outcome: Outcome<AgentStep>) -> Self {
        match outcome {
            Ok(step) => Self::Step(step),
            Err(failure) => Self::Failed(failure.document()),
        }
    }
}

impl From<Line> for Outcome<AgentStep> {
    fn from(line: Line) -> Self {
        match line {
            Line::Step(step) => Ok(step),
            Line::Failed(document) => Err(Failure::from(document)),
        }
    }
}
