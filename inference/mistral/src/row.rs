//! One answer: what mistralrs' thread writes, and what its reader takes.
//!
//! mistralrs asks [`Hook`] at every step of a row what to make of the logits. That is where a token is chosen, counted and
//! delivered; mistralrs is then given logits that leave it one choice, that token or the one that ends the row. So a token
//! is a piece and usage is exact, whatever mistralrs would say of it; and a row ends in the step in which it should.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use agora_inference_api::{Answer, Ending, EngineError, Job, Pending, Piece, TokenStream};
use agora_types::{Address, Code, Usage};
use mistralrs::{CustomLogitsProcessor, Tensor};
use tokio::sync::Notify;

use crate::sampling::Sampler;
use crate::text::Text;

/// A logit so low that its token has no weight beside zero.
const NEVER: f32 = -1e9;
/// Longest wait to join, whatever the settings say.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// One answer.
#[derive(Debug)]
pub(crate) struct Row {
    prompt: Vec<u32>,
    payer: Option<Address>,
    /// When it must have joined.
    pub(crate) deadline: Instant,
    ahead_max: usize,
    output_max: u64,
    text: Arc<Text>,
    state: Mutex<State>,
    /// mistralrs' thread waits here when the reader is slow and nobody else wants it.
    moved: Condvar,
    /// Rings the desk.
    bell: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// The answer so far.
    tokens: Vec<u32>,
    sampler: Sampler,
    answer: Answer,
    usage: Usage,
    waiting: VecDeque<Piece>,
    /// The last piece or the failure; it stands outside the bound, so that an ended row can go.
    last: Option<Result<Piece, EngineError>>,
    ended: bool,
    cancelled: bool,
    /// It has left mistralrs for its slow reader's sake, and comes back with the tokens that it has.
    left: bool,
    /// Others want to be computed: it may not wait in its place.
    crowded: bool,
    waker: Option<Waker>,
}

impl Row {
    /// An answer that waits to join.
    pub(crate) fn new(
        job: Job,
        prompt: Vec<u32>,
        context: usize,
        wait_max: Duration,
        text: Arc<Text>,
        bell: Arc<Notify>,
    ) -> Self {
        let room = context.saturating_sub(prompt.len()) as u64;
        let state = State {
            tokens: Vec::new(),
            sampler: Sampler::new(job.request.sampling),
            answer: Answer::new(job.request.stops),
            usage: Usage { input: prompt.len() as u64, ..Usage::default() },
            waiting: VecDeque::new(),
            last: None,
            ended: false,
            cancelled: false,
            left: false,
            crowded: false,
            waker: None,
        };
        Self {
            prompt,
            payer: job.payer,
            deadline: Instant::now()
                + job.request.wait_max_ms.map_or(wait_max, Duration::from_millis).min(wait_max).min(WAIT_MAX),
            ahead_max: job.ahead_max.max(1),
            output_max: job.request.output_max.min(room),
            text,
            state: Mutex::new(state),
            moved: Condvar::new(),
            bell,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn payer(&self) -> Option<Address> {
        self.payer
    }

    /// Nothing more will come of it: it has ended, or nobody reads it.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.ended || state.cancelled
    }

    /// Whether its reader is still too far behind to join again: half of what may wait is left. Joining means that prompt
    /// and answer so far are computed once more.
    pub(crate) fn is_paused(&self) -> bool {
        let state = self.state();
        state.left && !state.cancelled && state.waiting.len() > self.ahead_max / 2
    }

    /// The tokens with which it joins, for the first time or again.
    pub(crate) fn join(&self) -> Vec<u32> {
        let mut state = self.state();
        state.left = false;
        self.prompt.iter().chain(&state.tokens).copied().collect()
    }

    /// It has left and will come back.
    pub(crate) fn has_left(&self) -> bool {
        self.state().left
    }

    /// Whether others want to be computed.
    pub(crate) fn crowd(&self, crowded: bool) {
        self.state().crowded = crowded;
        self.moved.notify_all();
    }

    /// Ends it with a failure, unless it has ended.
    pub(crate) fn fail(&self, error: EngineError) {
        self.end(&mut self.state(), Err(error));
        self.moved.notify_all();
    }

    fn end(&self, state: &mut State, last: Result<Piece, EngineError>) {
        if !state.ended {
            state.ended = true;
            state.last = Some(last);
            wake(state);
        }
    }

    /// The next token after these logits; `None` when mistralrs should end the row.
    fn step(&self, logits: &[f32]) -> Option<u32> {
        let mut state = self.state();
        while !state.ended && !state.cancelled && state.waiting.len() >= self.ahead_max {
            if state.crowded {
                state.left = true;
                return None;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended || state.cancelled {
            return None;
        }
        let Some(token) = state.sampler.next(&logits[..logits.len().min(self.text.vocabulary())]) else {
            self.end(&mut state, Err(EngineError::new(Code::EngineNotFinite, "a logit of this answer")));
            return None;
        };
        if self.text.is_end(token) {
            return self.finish(&mut state, Ending::Stop);
        }
        let is_first = state.tokens.is_empty();
        let (text, stopped) = state.answer.push(self.text.bytes(token, is_first));
        state.tokens.push(token);
        state.usage.output += 1;
        let usage = state.usage;
        state.waiting.push_back(Piece::Token { text, usage, likelihoods: None });
        wake(&mut state);
        match stopped {
            true => self.finish(&mut state, Ending::StopString),
            false if usage.output >= self.output_max => self.finish(&mut state, Ending::Length),
            false => Some(token),
        }
    }

    fn finish(&self, state: &mut State, ending: Ending) -> Option<u32> {
        let text = if ending == Ending::StopString { String::new() } else { state.answer.finish() };
        self.end(state, Ok(Piece::End { text, ending, usage: state.usage }));
        None
    }
}

fn wake(state: &mut State) {
    if let Some(waker) = state.waker.take() {
        waker.wake();
    }
}

/// What mistralrs asks at each step of a row, from one join until it leaves.
pub(crate) struct Hook {
    row: Arc<Row>,
    /// The row has left. mistralrs asks again after a row that ended where it read a prompt; by then the row may have
    /// joined anew, with another hook, and these logits are not its own.
    over: AtomicBool,
}

impl Hook {
    pub(crate) fn new(row: Arc<Row>) -> Self {
        Self { row, over: AtomicBool::new(false) }
    }

    /// The token that mistralrs should take.
    fn choose(&self, logits: &[f32]) -> u32 {
        let end = self.row.text.end();
        if self.over.load(Ordering::Relaxed) {
            return end;
        }
        self.row.step(logits).unwrap_or_else(|| {
            self.over.store(true, Ordering::Relaxed);
            end
        })
    }
}

impl CustomLogitsProcessor for Hook {
    fn apply(&self, logits: &Tensor, _context: &[u32]) -> mistralrs::Result<Tensor> {
        // There is no error on a row of numbers in memory.
        let mut logits: Vec<f32> = logits.to_vec1()?;
        let token = self.choose(&logits);
        logits.fill(NEVER);
        if let Some(chosen) = logits.get_mut(token as usize) {
            *chosen = 0.0;
        }
        let count = logits.len();
        Tensor::from_vec(logits, count, &mistralrs::Device::Cpu)
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Arc<Row>);

impl TokenStream for Reader {
    fn next(&mut self) -> Pending<'_, Option<Piece>> {
        let row = &self.0;
        Box::pin(std::future::poll_fn(move |context| {
            let mut state = row.state();
            if let Some(piece) = state.waiting.pop_front() {
                let left = state.left;
                drop(state);
                row.moved.notify_all();
                if left {
                    row.bell.notify_one();
                }
                return Poll::Ready(Ok(Some(piece)));
            }
            if let Some(last) = state.last.take() {
                return Poll::Ready(last.map(Some));
            }
            if state.ended {
                return Poll::Ready(Ok(None));
            }
            state.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.state().cancelled = true;
        self.0.moved.notify_all();
        self.0.bell.notify_one();
    }
}

#[cfg(test)]
impl Row {
    /// With a prompt of two tokens, of the vocabulary of [`Text::tiny`].
    pub(crate) fn tiny(payer: Option<Address>, ahead_max: usize) -> Self {
        let job = Job::new(agora_inference_api::Request::ask("Hello!", 8), ahead_max);
        Self::new(Job { payer, ..job }, vec![1, 1], 64, Duration::ZERO, Arc::new(Text::tiny()), Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support;

    #[test]
    fn a_row_that_left_is_not_fed_by_the_place_that_it_left() {
        let row = Arc::new(Row::tiny(None, 1));
        let mut reader = Reader(Arc::clone(&row));
        assert_eq!(row.join(), [1, 1]);
        let (first, says_a) = (Hook::new(Arc::clone(&row)), [0.0, 1.0]);
        assert_eq!(first.choose(&says_a), 1);
        row.crowd(true);
        assert_eq!((first.choose(&says_a), row.has_left()), (0, true), "its reader is slow, and others wait");
        assert!(matches!(support::block_on(reader.next()), Ok(Some(Piece::Token { .. }))));
        assert_eq!(row.join(), [1, 1, 1], "it comes back with what it has");
        // mistralrs asks once more for the place that it left.
        assert_eq!(first.choose(&says_a), 0);
        assert!(!support::is_ready(&mut reader), "nothing was added");
        assert_eq!(Hook::new(Arc::clone(&row)).choose(&says_a), 1);
        let Ok(Some(Piece::Token { usage, .. })) = support::block_on(reader.next()) else { panic!("a token") };
        assert_eq!(usage.output, 2);
    }
}
