//! What agents do, as it happens, for whoever follows. Nothing here is durable: who misses a step reads the event's row.

use std::sync::Arc;

use agora_types::{Amount, CallId, Timestamp};
use tokio::sync::broadcast;

use super::record::EventRow;

/// Steps that wait for a slow follower; older ones are lost to it.
const FEED_CAPACITY: usize = 4_096;

/// A step of an agent's work on an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which agent.
    pub agent: Arc<str>,
    /// Which event.
    pub event: Arc<str>,
    /// What it did.
    pub step: Step,
}

/// One thing that an agent did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It looked for listings: the names found, best first.
    Found(Vec<String>),
    /// A host promised a price.
    Quoted {
        /// The listing's name.
        name: String,
        /// Tokens of the prompt.
        input_tokens: u64,
        /// Most tokens of the answer.
        output_max: u64,
        /// The most it can cost.
        charge_max: Amount,
    },
    /// A paid stream began.
    Opened {
        /// The call.
        call: CallId,
        /// What the first voucher covers.
        authorised: Amount,
    },
    /// More of the answer.
    Text {
        /// It.
        text: String,
        /// Tokens so far.
        tokens: u64,
        /// Charged so far.
        spent: Amount,
        /// What the newest voucher covers.
        authorised: Amount,
    },
    /// The call is settled.
    Receipted {
        /// The call.
        call: CallId,
        /// Index of the provisional receipt.
        index: Option<u64>,
        /// What it cost.
        charge: Amount,
    },
    /// A request over HTTP has its end.
    Fetched {
        /// Host and port.
        host: String,
        /// The answer's status; absent when there is no answer.
        status: Option<u16>,
        /// What was paid.
        paid: Amount,
    },
    /// A line of the agent's log.
    Logged {
        /// Its number.
        number: u64,
        /// When.
        time: Timestamp,
        /// `debug`, `info`, `warn` or `error`.
        level: &'static str,
        /// What.
        text: String,
    },
    /// The event has its end.
    Ended(Box<EventRow>),
}

/// Where steps are told. Clones tell the same followers.
#[derive(Debug, Clone)]
pub struct Feed(broadcast::Sender<Progress>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(FEED_CAPACITY))
    }
}

impl Feed {
    /// Follows from now on.
    pub fn follow(&self) -> broadcast::Receiver<Progress> {
        self.0.subscribe()
    }

    /// Tells; nobody needs to listen.
    pub(crate) fn tell(&self, progress: Progress) {
        let _ = self.0.send(progress);
    }
}

/// The name of a log level on disk and in steps.
pub(crate) fn level_name(level: u8) -> &'static str {
    match level {
        0 => "debug",
        1 => "info",
        2 => "warn",
        _ => "error",
    }
}
