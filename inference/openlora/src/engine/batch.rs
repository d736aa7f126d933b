//! Continuous batching: rows join and leave at every step.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use agora_inference_api::{Answer, Ending, EngineError, Likelihood, Likelihoods, Piece, Request};
use agora_kernels::{PAGE, Page, Pool};
use agora_types::{Code, Hash, Usage};

use super::desk::{Desk, Doorbell};
use super::fair::{Payer, Served, may_take};
use super::prefixes::Prefixes;
use super::stream::Writer;
use super::thoughts::Thoughts;
use crate::Settings;
use crate::adapter::{Adapter, Found, Ticket};
use crate::constrain::Constraint;
use crate::model::{Cache, Model, Part, Stage};
use crate::sampling::{Sampler, Scratch, nats};
use crate::text::Text;

/// The share of a new measurement in a running mean.
const FRESH: f64 = 0.05;

/// An idle thread looks at its rows this often without being called.
const IDLE: Duration = Duration::from_secs(3_600);

/// One answer in the making.
#[derive(Debug)]
pub(super) struct Row {
    /// The prompt, and the tokens drawn so far.
    tokens: Vec<u32>,
    /// How many of them are computed.
    done: usize,
    /// Keeps its adapter where it is.
    ticket: Option<Ticket>,
    /// The adapter, once the row has joined.
    adapter: Option<Arc<Adapter>>,
    payer: Payer,
    /// When it should have joined.
    deadline: Option<Instant>,
    cache: Cache,
    /// The name of its last full page, and how many it has.
    full: (Hash, usize),
    sampler: Sampler,
    constraint: Option<Constraint>,
    /// How many alternatives are told beside each token, if likelihoods are.
    likelihoods: Option<usize>,
    answer: Answer,
    thoughts: Thoughts,
    usage: Usage,
    output_max: u64,
    writer: Writer,
}

impl Row {
    /// A row that has not begun. The prompt leaves room for at least one token in the context.
    pub(super) fn new(
        tokens: Vec<u32>,
        request: Request,
        (ticket, constraint): (Option<Ticket>, Option<Constraint>),
        (payer, wait_max): (Payer, Option<Duration>),
        (writer, thoughts): (Writer, Thoughts),
        context: usize,
    ) -> Self {
        let room = context.saturating_sub(tokens.len()) as u64;
        Self {
            usage: Usage { input: tokens.len() as u64, ..Usage::default() },
            sampler: Sampler::new(request.sampling, &tokens),
            tokens,
            done: 0,
            full: (Prefixes::start(ticket.as_ref().map(Ticket::hash), payer), 0),
            ticket,
            adapter: None,
            payer,
            deadline: wait_max.and_then(|wait| Instant::now().checked_add(wait)),
            cache: Cache::default(),
            constraint,
            likelihoods: request.logprobs.map(|alternatives| alternatives as usize),
            answer: Answer::new(request.stops),
            thoughts,
            output_max: request.output_max.min(room),
            writer,
        }
    }

    /// Who pays.
    pub(super) fn payer(&self) -> Payer {
        self.payer
    }

    /// When it should have joined.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Nobody reads it any more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.writer.is_cancelled()
    }

    /// Ends it before it began.
    pub(super) fn refuse(&self, error: EngineError) {
        self.writer.end(Err(error));
    }

    /// Tokens of its prompt and of its longest answer.
    pub(super) fn tokens(&self) -> (u64, u64) {
        (self.usage.input, self.output_max.saturating_add(self.thoughts.left()))
    }

    /// Pages that it may fill: the last token that it delivers is never computed.
    fn pages(&self) -> usize {
        let output = self.output_max.saturating_sub(self.usage.output).saturating_add(self.thoughts.left());
        let output = usize::try_from(output).unwrap_or(usize::MAX);
        self.tokens.len().saturating_add(output).div_ceil(PAGE)
    }

    /// Looks for its adapter; false if it is not loaded yet.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub(super) fn find_adapter(&mut self) -> Result<bool, EngineError> {
        match self.ticket.as_ref().map(Ticket::find) {
            None => Ok(true),
            Some(Found::Ready(adapter)) => {
                self.adapter = Some(adapter);
                Ok(true)
            }
            Some(Found::Loading) => Ok(false),
            Some(Found::Failed(error)) => Err(error),
        }
    }

    /// Begins with what is found of its prompt.
    fn begin(&mut self, prefixes: &mut Prefixes) {
        let (pages, name) = prefixes.find(self.full.0, &self.tokens);
        self.full = (name, pages.len());
        self.done = pages.len() * PAGE;
        self.usage.cached = self.done as u64;
        self.usage.input -= self.usage.cached;
        self.cache = Cache::new(pages);
    }

    /// Keeps the pages that are full now.
    fn keep(&mut self, prefixes: &mut Prefixes) {
        let (pages, _) = self.tokens[..self.done].as_chunks::<PAGE>();
        for (tokens, page) in pages.iter().zip(self.cache.pages()).skip(self.full.1) {
            self.full = (Prefixes::next(&self.full.0, tokens), self.full.1 + 1);
            prefixes.insert(self.full.0, page);
        }
    }

    /// Takes the logits behind its last token; false when the answer has ended.
    fn take(&mut self, text: &Text, logits: &[f32], scratch: &mut Scratch) -> bool {
        let (token, is_whole) = match self.choose(text, logits, scratch) {
            Ok(chosen) => chosen,
            Err(error) => {
                self.writer.end(Err(error));
                return false;
            }
        };
        if text.is_end(token) {
            self.end(Ending::Stop);
            return false;
        }
        if self.thoughts.take(token) {
            self.usage.hidden = self.usage.hidden.saturating_add(1);
            self.writer.push(Piece::Token { text: String::new(), usage: self.usage, likelihoods: None });
            self.tokens.push(token);
            return true;
        }
        let likelihoods = self.likelihoods.map(|alternatives| Box::new(likelihoods(text, logits, token, alternatives)));
        let (shown, stopped) = self.answer.push(text.bytes(token));
        self.usage.output = self.usage.output.saturating_add(1);
        self.writer.push(Piece::Token { text: shown, usage: self.usage, likelihoods });
        if stopped {
            self.end(Ending::StopString);
            return false;
        }
        if is_whole {
            self.end(Ending::Stop);
            return false;
        }
        if self.usage.output >= self.output_max {
            self.end(Ending::Length);
            return false;
        }
        self.tokens.push(token);
        true
    }

    /// The next token, and whether the schema's document is whole with it.
    fn choose(&mut self, text: &Text, logits: &[f32], scratch: &mut Scratch) -> Result<(u32, bool), EngineError> {
        if let Some(token) = self.thoughts.forced() {
            self.sampler.remember(token);
            return Ok((token, false));
        }
        let thinks = self.thoughts.is_open();
        let mask = self.constraint.as_mut().filter(|_| !thinks).map(Constraint::mask).transpose()?;
        let token = self.sampler.next(logits, mask, scratch);
        let token = token.ok_or_else(|| EngineError::new(Code::EngineNotFinite, "a logit of this answer"))?;
        match self.constraint.as_mut().filter(|_| !thinks) {
            Some(constraint) if !text.is_end(token) => Ok((token, constraint.take(token)?)),
            Some(_) | None => Ok((token, false)),
        }
    }

    fn end(&mut self, ending: Ending) {
        let text = if ending == Ending::StopString { String::new() } else { self.answer.finish() };
        self.writer.end(Ok(Piece::End { text, ending, usage: self.usage }));
    }
}

fn likelihoods(text: &Text, logits: &[f32], token: u32, alternatives: usize) -> Likelihoods {
    let (chosen, top) = nats(logits, token, alternatives);
    let named = |token, nats_micro| Likelihood::new(text.name(token), nats_micro);
    Likelihoods {
        chosen: named(token, chosen),
        top: top.into_iter().map(|(token, nats_micro)| named(token, nats_micro)).collect(),
    }
}

/// The rows, and what computes them.
pub(super) struct Batch {
    model: Arc<Model>,
    text: Arc<Text>,
    pool: Pool,
    stage: Stage,
    scratch: Scratch,
    /// In the order in which they joined.
    rows: Vec<Row>,
    served: Served,
    prefixes: Prefixes,
    pages_max: usize,
    rows_max: usize,
    prompt_step: usize,
    doorbell: Arc<Doorbell>,
}

impl Batch {
    pub(super) fn new(
        model: Arc<Model>,
        text: Arc<Text>,
        pool: Pool,
        settings: &Settings,
        doorbell: Arc<Doorbell>,
    ) -> Self {
        Self {
            pages_max: pages_max(&model, settings),
            model,
            text,
            pool,
            stage: Stage::default(),
            scratch: Scratch::default(),
            rows: Vec::new(),
            served: Served::default(),
            prefixes: Prefixes::default(),
            rows_max: settings.rows_max.max(1),
            prompt_step: settings.prompt_step.max(1),
            doorbell,
        }
    }

    /// Computes until the engine is dropped.
    pub(super) fn run(mut self) {
        while self.gather() {
            let counts = self.plan();
            let begun = Instant::now();
            let tokens = self.step(&counts);
            self.doorbell.desk().pace.measure(tokens, begun.elapsed().as_secs_f64());
        }
    }

    /// Lets rows join and leave, and waits until one can go on; false at the end.
    fn gather(&mut self) -> bool {
        let doorbell = Arc::clone(&self.doorbell);
        let mut desk = doorbell.desk();
        loop {
            if desk.stopped {
                return false;
            }
            desk.rings = false;
            self.rows.retain(|row| !row.is_cancelled());
            let now = Instant::now();
            desk.sweep(now);
            self.admit(&mut desk);
            desk.joined = self.rows.len();
            if self.rows.iter().any(|row| row.writer.has_room()) {
                return true;
            }
            // A ring between the look above and here has set `rings`, under this lock.
            while !desk.rings && !desk.stopped {
                let patience = desk.next_deadline().map_or(IDLE, |deadline| deadline.duration_since(Instant::now()));
                let waited =
                    doorbell.rung.wait_timeout(desk, patience.min(IDLE)).unwrap_or_else(PoisonError::into_inner);
                desk = waited.0;
                if waited.1.timed_out() {
                    break;
                }
            }
        }
    }

    /// Lets waiting rows join, those of the payer that was served least first, as far as there are places and pages.
    fn admit(&mut self, desk: &mut Desk) {
        let here = self.rows.iter().map(Row::payer).chain(desk.payers());
        self.served.settle(here);
        let places = 2 * self.rows_max;
        let mut held: HashMap<Payer, (usize, usize)> = HashMap::new();
        let mut pages = 0;
        for row in &self.rows {
            let (rows, own) = held.entry(row.payer).or_default();
            (*rows, *own, pages) = (*rows + 1, *own + row.pages(), pages + row.pages());
        }
        let mut payers: Vec<Payer> = desk.payers().collect();
        while !payers.is_empty() && self.rows.len() < places {
            payers.sort_by_key(|payer| (self.served.of(*payer), held.get(payer).map_or(0, |held| held.0), *payer));
            let payer = payers[0];
            let Some(need) = desk.first(payer).map(Row::pages) else {
                payers.remove(0);
                continue;
            };
            let (rows, own) = held.entry(payer).or_default();
            let free = self.pages_max - pages.min(self.pages_max);
            let has_share = may_take(*rows, 1, places - self.rows.len()) && (*own == 0 || *own + need <= free);
            if !has_share {
                // It has its share; others may pass.
                payers.remove(0);
                continue;
            }
            if need > free {
                // Nobody overtakes it, or a long request would wait forever.
                break;
            }
            let Some(mut row) = desk.take(payer) else { break };
            row.begin(&mut self.prefixes);
            (*rows, *own, pages) = (*rows + 1, *own + need, pages + need);
            self.rows.push(row);
        }
        // Rows and found pages stay within the budget together; a page that both hold is counted twice.
        self.prefixes.shrink(self.pages_max - pages.min(self.pages_max));
    }

    /// How many tokens each row computes now: one to go on, or a stretch of its prompt while the step has room. Rows whose
    /// reader is slow compute none; of too many rows, those of the payers served least compute.
    fn plan(&mut self) -> Vec<usize> {
        let mut counts = vec![0; self.rows.len()];
        let mut left = self.prompt_step;
        let mut given: HashMap<Payer, u64> = HashMap::new();
        let mut open: Vec<usize> = (0..self.rows.len()).filter(|at| self.rows[*at].writer.has_room()).collect();
        for _ in 0..self.rows_max {
            let turn = |at: &usize| {
                let payer = self.rows[*at].payer;
                (self.served.of(payer) + given.get(&payer).copied().unwrap_or_default(), *at)
            };
            let Some(next) = (0..open.len()).min_by_key(|next| turn(&open[*next])) else { break };
            let at = open.remove(next);
            let row = &self.rows[at];
            let ahead = row.tokens.len() - row.done;
            counts[at] = if ahead == 1 { 1 } else { ahead.min(left) };
            if ahead > 1 {
                left -= counts[at];
            }
            *given.entry(row.payer).or_default() += counts[at] as u64;
        }
        for (payer, count) in given {
            self.served.add(payer, count);
        }
        counts
    }

    /// One step: computes, draws, delivers. Tokens that were computed.
    fn step(&mut self, counts: &[usize]) -> usize {
        let shape = &self.model.shape;
        let mut ended = vec![false; self.rows.len()];
        let mut parts = Vec::new();
        for (at, (row, count)) in self.rows.iter_mut().zip(counts).enumerate() {
            if *count == 0 {
                continue;
            }
            let fetched = row.adapter.as_ref().map_or(Ok(()), |adapter| self.model.fetch(adapter));
            if let Err(error) = fetched.and_then(|()| row.cache.reserve(&self.model, *count)) {
                row.writer.end(Err(error));
                ended[at] = true;
                continue;
            }
            let first = row.done;
            row.done += count;
            let is_whole = row.done == row.tokens.len();
            let tokens = &row.tokens[first..row.done];
            let part = Part { tokens, cache: &mut row.cache, adapter: row.adapter.as_ref(), wanted: is_whole.into() };
            parts.push((at, part));
        }
        // Rows of one adapter stand together, so that its matrices are fetched once for several.
        parts.sort_by_key(|(_, part)| part.adapter.map(|adapter| adapter.hash()));
        let computing: Vec<usize> = parts.iter().map(|(at, _)| *at).collect();
        let drawing: Vec<usize> = parts.iter().filter(|(_, part)| part.wanted > 0).map(|(at, _)| *at).collect();
        let mut parts: Vec<Part<'_>> = parts.into_iter().map(|(_, part)| part).collect();
        let computed = self.stage.run(&self.model, &mut self.pool, &mut parts);
        drop(parts);
        match computed {
            Ok(logits) => {
                for (at, logits) in drawing.into_iter().zip(logits.chunks_exact(shape.vocabulary)) {
                    ended[at] = !self.rows[at].take(&self.text, logits, &mut self.scratch);
                }
                for at in computing {
                    self.rows[at].keep(&mut self.prefixes);
                }
            }
            // What their pages hold is not known: nobody may find them.
            Err(error) => {
                for at in computing {
                    self.rows[at].writer.end(Err(error.clone()));
                    ended[at] = true;
                }
            }
        }
        let mut lengths = Vec::new();
        let mut at = 0;
        self.rows.retain(|row| {
            at += 1;
            if ended[at - 1] {
                let drawn = row.usage.output.saturating_add(row.usage.hidden);
                lengths.push(drawn as f64);
                if let Some(ticket) = &row.ticket {
                    ticket.served(row.usage.input.saturating_add(drawn));
                }
            }
            !ended[at - 1]
        });
        if !lengths.is_empty() {
            let mut desk = self.doorbell.desk();
            for length in lengths {
                desk.length += FRESH * (length - desk.length);
            }
        }
        counts.iter().sum()
    }
}

/// Pages that fit the settings' bytes; one row of the whole context always fits.
fn pages_max(model: &Model, settings: &Settings) -> usize {
    let page = Page::size(model.shape.layers * model.shape.key_heads, model.shape.head_size);
    (settings.cache_size_max / page.max(1)).max(model.shape.context.div_ceil(PAGE))
}

impl Drop for Batch {
    /// Whoever still waits learns that the engine stopped, also after a panic here.
    fn drop(&mut self) {
        let mut desk = self.doorbell.desk();
        desk.stopped = true;
        let waiting = desk.clear();
        drop(desk);
        drop(waiting);
    }
}
