//! Where callers leave their rows, and what the thread should know.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agora_inference_api::EngineError;
use agora_types::Code;

use super::batch::Row;
use super::fair::{Payer, may_take};
use super::pace::Pace;

/// What an answer is taken to be long, in tokens, until some have ended.
const LENGTH_AT_FIRST: f64 = 128.0;
/// Shortest and longest wait that a refused caller is told.
const RETRY_MS: (f64, f64) = (50.0, 60_000.0);

/// What callers and the thread share.
#[derive(Debug)]
pub(super) struct Doorbell {
    desk: Mutex<Desk>,
    pub(super) rung: Condvar,
}

impl Doorbell {
    /// For a batch of so many rows.
    pub(super) fn new(rows_max: usize) -> Self {
        Self { desk: Mutex::new(Desk::new(rows_max)), rung: Condvar::new() }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something has changed: a reader took a piece or left.
    pub(super) fn ring(&self) {
        self.desk().rings = true;
        self.rung.notify_one();
    }
}

/// Rows that wait to join, by payer, and what the thread should know.
#[derive(Debug)]
pub(super) struct Desk {
    waiting: BTreeMap<Payer, VecDeque<Row>>,
    count: usize,
    pub(super) rings: bool,
    pub(super) stopped: bool,
    /// Rows that have joined.
    pub(super) joined: usize,
    /// What can be computed in a second, of late.
    pub(super) pace: Pace,
    rows_max: usize,
    /// Tokens of an answer, of late.
    pub(super) length: f64,
}

impl Desk {
    fn new(rows_max: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            count: 0,
            rings: false,
            stopped: false,
            joined: 0,
            pace: Pace::default(),
            rows_max,
            length: LENGTH_AT_FIRST,
        }
    }

    /// Takes a row, if its payer's share of `places` and its patience allow.
    ///
    /// # Errors
    /// `engine.busy`, saying when to come back.
    pub(super) fn push(&mut self, row: Row, places: usize, wait_max: Duration) -> Result<(), EngineError> {
        let own = self.waiting.get(&row.payer()).map_or(0, VecDeque::len);
        let wait_s = self.wait_s();
        let busy = |what: String, retry_s: f64| {
            let retry_ms = (retry_s * 1e3).clamp(RETRY_MS.0, RETRY_MS.1);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            Err(EngineError::new(Code::EngineBusy, what).retry_after(retry_ms as u64))
        };
        if !may_take(own, 1, places.saturating_sub(self.count)) {
            return busy(format!("{own} answers of this payer wait, {} in all", self.count), wait_s / 2.0);
        }
        let patience = row.deadline().map_or(wait_max, |deadline| deadline.saturating_duration_since(Instant::now()));
        let patience = patience.min(wait_max).as_secs_f64();
        if self.count > 0 && wait_s > patience {
            return busy(format!("about {wait_s:.1} s of work wait"), wait_s - patience);
        }
        self.waiting.entry(row.payer()).or_default().push_back(row);
        self.count += 1;
        Ok(())
    }

    /// About how long the rows that wait will keep the engine busy, in seconds.
    pub(super) fn wait_s(&self) -> f64 {
        let (Some(reading), Some(drawing)) = (self.pace.of(usize::MAX), self.pace.of(self.rows_max)) else {
            return 0.0;
        };
        let seconds = |row: &Row| {
            let (input, output) = row.tokens();
            input as f64 / reading + self.length.min(output as f64) / drawing
        };
        self.waiting.values().flatten().map(seconds).sum::<f64>()
    }

    /// Payers of whom a row waits.
    pub(super) fn payers(&self) -> impl Iterator<Item = Payer> {
        self.waiting.keys().copied()
    }

    /// The first row of a payer whose adapter is there; it is moved to the front. Rows whose adapter cannot be loaded are
    /// refused.
    pub(super) fn first(&mut self, payer: Payer) -> Option<&Row> {
        let rows = self.waiting.get_mut(&payer)?;
        let mut at = 0;
        while at < rows.len() {
            match rows[at].find_adapter() {
                Ok(true) => {
                    let row = rows.remove(at)?;
                    rows.push_front(row);
                    return rows.front();
                }
                Ok(false) => at += 1,
                Err(error) => {
                    if let Some(row) = rows.remove(at) {
                        row.refuse(error);
                        self.count -= 1;
                    }
                }
            }
        }
        None
    }

    /// Takes the first row of a payer.
    pub(super) fn take(&mut self, payer: Payer) -> Option<Row> {
        let row = self.waiting.get_mut(&payer)?.pop_front()?;
        self.count -= 1;
        self.waiting.retain(|_, rows| !rows.is_empty());
        Some(row)
    }

    /// Drops rows that nobody reads any more, and refuses those that have waited too long.
    pub(super) fn sweep(&mut self, now: Instant) {
        for rows in self.waiting.values_mut() {
            rows.retain(|row| {
                let late = row.deadline().is_some_and(|deadline| deadline <= now);
                if late {
                    row.refuse(EngineError::new(Code::EngineBusy, "the deadline passed before the answer began"));
                }
                !late && !row.is_cancelled()
            });
        }
        self.waiting.retain(|_, rows| !rows.is_empty());
        self.count = self.waiting.values().map(VecDeque::len).sum();
    }

    /// When the next waiting row has waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().flatten().filter_map(Row::deadline).min()
    }

    /// Takes everything.
    pub(super) fn clear(&mut self) -> BTreeMap<Payer, VecDeque<Row>> {
        self.count = 0;
        std::mem::take(&mut self.waiting)
    }
}
