//! Continuous batching: rows join and leave at every step.

use std::sync::Arc;

use agora_inference_api::{Ending, EngineError, Likelihood, Likelihoods, Piece, Request};
use agora_types::{Code, Usage};

use super::Doorbell;
use super::stream::Writer;
use crate::Settings;
use crate::adapter::Adapter;
use crate::constrain::Constraint;
use crate::kernels::Pool;
use crate::model::{Cache, Model, Part, Stage};
use crate::sampling::{Sampler, Scratch, nats};
use crate::text::{Answer, Text};

/// One answer in the making.
#[derive(Debug)]
pub(super) struct Row {
    /// The prompt, and then always the one token that was drawn last.
    tokens: Vec<u32>,
    /// How many of them are computed.
    done: usize,
    adapter: Option<Arc<Adapter>>,
    cache: Option<Cache>,
    sampler: Sampler,
    constraint: Option<Constraint>,
    /// How many alternatives are told beside each token, if likelihoods are.
    likelihoods: Option<usize>,
    answer: Answer,
    usage: Usage,
    output_max: u64,
    writer: Writer,
}

impl Row {
    /// A row that has not begun. The prompt leaves room for at least one token in the context.
    pub(super) fn new(
        tokens: Vec<u32>,
        request: Request,
        adapter: Option<Arc<Adapter>>,
        constraint: Option<Constraint>,
        writer: Writer,
        context: usize,
    ) -> Self {
        let room = context.saturating_sub(tokens.len()) as u64;
        Self {
            usage: Usage { input: tokens.len() as u64, ..Usage::default() },
            sampler: Sampler::new(request.sampling, &tokens),
            tokens,
            done: 0,
            adapter,
            cache: None,
            constraint,
            likelihoods: request.logprobs.map(|alternatives| alternatives as usize),
            answer: Answer::new(request.stops),
            output_max: request.output_max.min(room),
            writer,
        }
    }

    /// Positions that it may fill: the last token that it delivers is never computed.
    fn positions(&self) -> usize {
        let output = usize::try_from(self.output_max).unwrap_or(usize::MAX);
        self.tokens.len().saturating_add(output)
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
        self.tokens.clear();
        self.tokens.push(token);
        self.done = 0;
        true
    }

    /// The next token, and whether the schema's document is whole with it.
    fn choose(&mut self, text: &Text, logits: &[f32], scratch: &mut Scratch) -> Result<(u32, bool), EngineError> {
        let mask = self.constraint.as_mut().map(Constraint::mask).transpose()?;
        let token = self.sampler.next(logits, mask, scratch);
        let token = token.ok_or_else(|| EngineError::new(Code::EngineNotFinite, "a logit of this answer"))?;
        match &mut self.constraint {
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
    rows: Vec<Row>,
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
        let (rows_max, prompt_step) = (settings.rows_max.max(1), settings.prompt_step.max(1));
        let (stage, scratch) = (Stage::default(), Scratch::default());
        Self { model, text, pool, stage, scratch, rows: Vec::new(), rows_max, prompt_step, doorbell }
    }

    /// Computes until the engine is dropped.
    pub(super) fn run(mut self) {
        while self.gather() {
            let counts = self.plan();
            self.step(&counts);
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
            self.rows.retain(|row| !row.writer.is_cancelled());
            desk.waiting.retain(|row| !row.writer.is_cancelled());
            while self.rows.len() < self.rows_max {
                let Some(mut row) = desk.waiting.pop_front() else { break };
                row.cache = Cache::new(&self.model.shape, row.positions());
                if row.cache.is_some() {
                    self.rows.push(row);
                } else {
                    row.writer.end(Err(EngineError::new(Code::EngineBusy, "no memory for the sequence")));
                }
            }
            if self.rows.iter().any(|row| row.writer.has_room()) {
                return true;
            }
            // A ring between the look above and here has set `rings`, under this lock.
            while !desk.rings && !desk.stopped {
                desk = doorbell.rung.wait(desk).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
    }

    /// How many tokens each row computes now: one to go on, or a stretch of its prompt while the step has room. Rows whose
    /// reader is slow compute none.
    fn plan(&self) -> Vec<usize> {
        let mut left = self.prompt_step;
        let count = |row: &Row| {
            let open = row.tokens.len() - row.done;
            if !row.writer.has_room() {
                return 0;
            }
            if open == 1 {
                return 1;
            }
            let count = open.min(left);
            left -= count;
            count
        };
        self.rows.iter().map(count).collect()
    }

    /// One step: computes, draws, delivers.
    fn step(&mut self, counts: &[usize]) {
        let mut parts = Vec::new();
        let mut drawing = Vec::new();
        for (at, (row, count)) in self.rows.iter_mut().zip(counts).enumerate() {
            let Some(cache) = row.cache.as_mut().filter(|_| *count > 0) else { continue };
            let tokens = &row.tokens[row.done..][..*count];
            row.done += count;
            let is_whole = row.done == row.tokens.len();
            drawing.extend(is_whole.then_some(at));
            parts.push(Part { tokens, cache, adapter: row.adapter.as_ref(), wanted: usize::from(is_whole) });
        }
        let logits = self.stage.run(&self.model, &mut self.pool, &mut parts);
        drop(parts);
        let mut ended = vec![false; self.rows.len()];
        for (at, logits) in drawing.into_iter().zip(logits.chunks_exact(self.model.shape.vocabulary)) {
            ended[at] = !self.rows[at].take(&self.text, logits, &mut self.scratch);
        }
        let mut ended = ended.into_iter();
        self.rows.retain(|_| !ended.next().unwrap_or(false));
    }
}

impl Drop for Batch {
    /// Whoever still waits learns that the engine stopped, also after a panic here.
    fn drop(&mut self) {
        let mut desk = self.doorbell.desk();
        desk.stopped = true;
        let waiting = std::mem::take(&mut desk.waiting);
        drop(desk);
        drop(waiting);
    }
}
