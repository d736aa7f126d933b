//! What is in the engine: answers wait, are computed by mistralrs, pause for slow readers, and go.
//!
//! One thread decides. mistralrs computes one row at a time: on the processor, its attention gives every row of a batch
//! what belongs to the last one (0.8.1, `flash_attn_cpu_single_q`), so that one buyer's answer would depend on another's,
//! and rows of different lengths it computes in turns anyway. A request that mistralrs has taken is always heard to its
//! end: an answer that nobody receives is an error there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agora_inference_api::EngineError;
use agora_types::{Address, Code};
use mistralrs::core::{NormalRequest, RequestMessage, Response};
use mistralrs::{Constraint, Request, SamplingParams};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::Settings;
use crate::row::{Hook, Row};

/// Shortest and longest wait that a refused caller is told, in milliseconds.
const RETRY_MS: (u64, u64) = (50, 60_000);
/// How much the newest answer counts in the mean.
const FRESH: f64 = 0.2;
/// Looks again at least this often.
const IDLE: Duration = Duration::from_secs(10);

/// What callers and the desk's thread share.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    book: Mutex<Book>,
    /// Something has changed: a row came, a reader took or left, the engine is dropped.
    pub(crate) bell: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Book {
    incoming: Vec<Arc<Row>>,
    /// Answers that are computed, wait or pause, by payer.
    held: BTreeMap<Option<Address>, usize>,
    stopped: bool,
    /// Seconds of an answer in mistralrs, of late; 0 before the first.
    answer_s: f64,
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a row, if the engine is alive and its payer's share of places allows.
    ///
    /// # Errors
    /// `engine.stopped`; `engine.busy`, saying when to come back.
    pub(crate) fn push(&self, row: Arc<Row>, settings: &Settings) -> Result<(), EngineError> {
        let mut book = self.book();
        if book.stopped {
            return Err(stopped("mistralrs does not compute any more"));
        }
        let own = book.held.get(&row.payer()).copied().unwrap_or_default();
        let all: usize = book.held.values().sum();
        let free = settings.answers_max.saturating_sub(all);
        if free == 0 || (own > 0 && own + 1 > free) {
            let what = format!("{own} answers of this payer are at work, {all} in all");
            let retry_ms = book.wait_ms().clamp(RETRY_MS.0, RETRY_MS.1);
            return Err(EngineError::new(Code::EngineBusy, what).retry_after(retry_ms));
        }
        book.held.insert(row.payer(), own + 1);
        book.incoming.push(row);
        drop(book);
        self.bell.notify_one();
        Ok(())
    }

    /// About how long a new answer waits to join, in milliseconds.
    pub(crate) fn wait_ms(&self) -> u64 {
        self.book().wait_ms()
    }

    /// Ends everything.
    pub(crate) fn stop(&self) {
        self.book().stopped = true;
        self.bell.notify_one();
    }
}

impl Book {
    fn wait_ms(&self) -> u64 {
        let ahead: usize = self.held.values().sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; `as` saturates")]
        let wait_ms = (ahead as f64 * self.answer_s * 1e3).ceil() as u64;
        wait_ms
    }
}

fn stopped(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineStopped, what)
}

/// How a request left mistralrs.
enum Outcome {
    Done,
    Failed(String),
    /// Its thread is gone.
    Died,
}

/// The desk's thread.
pub(crate) struct Clerk {
    desk: Arc<Desk>,
    engine: mpsc::Sender<Request>,
    /// Rows that may join, in the order in which they came.
    ready: Vec<Arc<Row>>,
    /// Rows that wait for their readers.
    paused: Vec<Arc<Row>>,
    /// The row in mistralrs.
    joined: Option<Arc<Row>>,
    /// The payer who joined last.
    last: Option<Option<Address>>,
    running: JoinSet<(Arc<Row>, Instant, Outcome)>,
}

impl Clerk {
    pub(crate) fn new(desk: Arc<Desk>, engine: mpsc::Sender<Request>) -> Self {
        let (ready, paused, joined, last) = (Vec::new(), Vec::new(), None, None);
        Self { desk, engine, ready, paused, joined, last, running: JoinSet::new() }
    }

    /// Serves until the engine is dropped or mistralrs' thread is gone.
    pub(crate) async fn run(mut self) {
        loop {
            if self.desk.book().stopped {
                return self.end().await;
            }
            self.sort();
            while self.joined.is_none()
                && let Some(row) = self.next()
            {
                self.join(row);
            }
            if let Some(row) = &self.joined {
                row.crowd(!self.ready.is_empty());
            }
            let patience = self.ready.iter().filter(|row| !row.has_left()).map(|row| row.deadline).min();
            let patience = patience.map_or(IDLE, |deadline| deadline.saturating_duration_since(Instant::now()));
            let (bell, engine) = (Arc::clone(&self.desk.bell), self.engine.clone());
            tokio::select! {
                Some(done) = self.running.join_next() => match done {
                    Ok((row, begun, outcome)) => self.leave(&row, begun, outcome),
                    Err(_) => return,
                },
                () = bell.notified() => {}
                () = engine.closed() => return,
                () = tokio::time::sleep(patience.min(IDLE)) => {}
            }
        }
    }

    /// Ends all rows, and hears mistralrs out for a while.
    async fn end(&mut self) {
        if let Some(row) = self.joined.take() {
            row.fail(stopped("the engine was dropped"));
        }
        let drain = async { while self.running.join_next().await.is_some() {} };
        // A row goes after its step; a long prompt may be one. What comes of a longer wait is mistralrs' own matter.
        let _ = tokio::time::timeout(IDLE, drain).await;
    }

    /// Takes what came, lets paused rows come back, drops rows that are over, and refuses those that waited too long.
    fn sort(&mut self) {
        let incoming = std::mem::take(&mut self.desk.book().incoming);
        self.ready.extend(incoming);
        let now = Instant::now();
        for row in &self.ready {
            if row.deadline <= now && !row.has_left() {
                let what = "the deadline passed before the answer began";
                row.fail(EngineError::new(Code::EngineBusy, what).retry_after(RETRY_MS.0));
            }
        }
        self.ready.extend(self.paused.extract_if(.., |row| !row.is_paused()));
        let over: Vec<Arc<Row>> = self.ready.extract_if(.., |row| row.is_over()).collect();
        for row in over {
            self.release(&row);
        }
    }

    /// The next row to join: the oldest, but nobody's twice in a row while others wait.
    fn next(&mut self) -> Option<Arc<Row>> {
        let at = (0..self.ready.len()).min_by_key(|at| (self.last == Some(self.ready[*at].payer()), *at))?;
        let row = self.ready.remove(at);
        self.last = Some(row.payer());
        Some(row)
    }

    fn join(&mut self, row: Arc<Row>) {
        let (response, mut answer) = mpsc::channel(1);
        let request = NormalRequest {
            messages: RequestMessage::CompletionTokens(row.join()),
            // The hook leaves one choice. Without a temperature mistralrs would take 1, not the likeliest.
            sampling_params: SamplingParams::deterministic(),
            response,
            return_logprobs: false,
            is_streaming: false,
            id: 0,
            constraint: Constraint::None,
            suffix: None,
            tools: None,
            tool_choice: None,
            logits_processors: Some(vec![Arc::new(Hook::new(Arc::clone(&row)))]),
            return_raw_logits: false,
            web_search_options: None,
            model_id: None,
            truncate_sequence: false,
        };
        if self.engine.try_send(Request::Normal(Box::new(request))).is_err() {
            row.fail(stopped("mistralrs takes no requests"));
            self.release(&row);
            return;
        }
        self.joined = Some(Arc::clone(&row));
        let begun = Instant::now();
        self.running.spawn(async move {
            let outcome = match answer.recv().await {
                None => Outcome::Died,
                Some(Response::InternalError(error) | Response::ValidationError(error)) => {
                    Outcome::Failed(error.to_string())
                }
                Some(Response::ModelError(error, _) | Response::CompletionModelError(error, _)) => {
                    Outcome::Failed(error)
                }
                Some(_) => Outcome::Done,
            };
            (row, begun, outcome)
        });
    }

    fn leave(&mut self, row: &Arc<Row>, begun: Instant, outcome: Outcome) {
        self.joined = None;
        match outcome {
            Outcome::Done if row.has_left() && !row.is_over() => return self.paused.push(Arc::clone(row)),
            Outcome::Done => row.fail(stopped("mistralrs ended the answer early")),
            Outcome::Failed(error) => row.fail(stopped(format!("mistralrs: {error}"))),
            Outcome::Died => row.fail(stopped("mistralrs ended during the answer")),
        }
        let took_s = begun.elapsed().as_secs_f64();
        let mut book = self.desk.book();
        book.answer_s += if book.answer_s > 0.0 { FRESH * (took_s - book.answer_s) } else { took_s };
        drop(book);
        self.release(row);
    }

    /// Frees the place of a row that is over.
    fn release(&self, row: &Row) {
        let mut book = self.desk.book();
        if let Some(held) = book.held.get_mut(&row.payer()) {
            *held = held.saturating_sub(1);
        }
        book.held.retain(|_, held| *held > 0);
    }
}

impl Drop for Clerk {
    /// Whoever still waits learns that the engine stopped, also after a panic here.
    fn drop(&mut self) {
        let mut book = self.desk.book();
        book.stopped = true;
        let incoming = std::mem::take(&mut book.incoming);
        book.held.clear();
        drop(book);
        for row in incoming.iter().chain(&self.ready).chain(&self.paused).chain(&self.joined) {
            row.fail(stopped("the engine ended during the answer"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_joins_twice_in_a_row_while_others_wait() {
        let (engine, _kept) = mpsc::channel(1);
        let mut clerk = Clerk::new(Arc::default(), engine);
        let [flood, guest] = [7, 8].map(|byte| Some(Address::new([byte; 20])));
        clerk.ready = [flood, flood, flood, guest, None].map(|payer| Arc::new(Row::tiny(payer, 1))).to_vec();
        let joined: Vec<_> = std::iter::from_fn(|| clerk.next()).map(|row| row.payer()).collect();
        assert_eq!(joined, [flood, guest, flood, None, flood]);
    }
}
