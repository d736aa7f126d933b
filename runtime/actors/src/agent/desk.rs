//! The node's side of an agent's host calls, for one event.
//!
//! What a crash leaves behind, and what the event does when it is handled again:
//!
//! | it ends | on disk | the money | handled again |
//! |---|---|---|---|
//! | before the first `open` | the waiting event | untouched | as if for the first time |
//! | after the intent to open | the call's id, every answer so far | untouched | the same answers; opens the same call |
//! | in the stream | the same, and the purchase | see [`call`](crate::call) | what was charged for arrives once more |
//! | in a request over HTTP | the same, and the request's id | see [`fetch`](super::fetch) | the same request, paid once |
//! | after the receipt | the whole answer, budget charged | settled | the answer from disk; nothing is paid again |
//! | after the end | the event's end, kept values | settled | it is not |

use std::collections::BTreeMap;
use std::sync::Arc;

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, Write};
use agora_sandbox_api::{
    AgentError, AgentHost, Ask, Batch, Budget, HttpRequest, HttpResponse, Level, Manifest, Offer, Pending, QuoteHandle,
    QuoteTerms, StreamHandle,
};
use agora_types::{Amount, CallId, Code, Hash, ListingId, Timestamp};
use tokio::sync::Mutex;

use super::book::{Book, event_row};
use super::fetch::Fetches;
use super::memo::{Kept, Memos, Refused};
use super::record::{EventRow, EventState, LineRow, MemoKind, Status, key};
use super::request::SERVE;
use super::shop::{Shop, offer};
use super::step::{Progress, Step, level_name};
use crate::error::CallError;
use crate::purchase::Payer;

/// Log lines that wait for the next durable step.
const LINES_WAITING_MAX: usize = 256;
/// Kept values that one event may change.
const CHANGES_MAX: usize = 512;
/// Most listings of one search.
const OFFERS_MAX: usize = 64;

/// One event's desk.
pub(crate) struct Desk {
    pub(crate) book: Arc<Book>,
    pub(crate) event: Arc<str>,
    pub(crate) manifest: Manifest,
    pub(crate) payer: Payer,
    pub(crate) state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) memos: Memos,
    pub(crate) shop: Shop,
    pub(crate) fetches: Fetches,
    lines: Vec<LineRow>,
    changes: BTreeMap<String, Option<Vec<u8>>>,
    /// Bytes of all kept values, once they have been counted.
    kept_bytes: Option<usize>,
    pub(crate) calls: Vec<CallId>,
    pub(crate) spent: Amount,
}

impl Desk {
    pub(crate) async fn open(
        book: Arc<Book>,
        event: &str,
        manifest: Manifest,
        payer: Payer,
    ) -> Result<Self, CallError> {
        let memos = Memos::load(&book.ports, &book.name, event).await?;
        let state = State {
            memos,
            shop: Shop::default(),
            fetches: Fetches::default(),
            lines: Vec::new(),
            changes: BTreeMap::new(),
            kept_bytes: None,
            calls: Vec::new(),
            spent: Amount::ZERO,
        };
        Ok(Self { book, event: event.into(), manifest, payer, state: Mutex::new(state) })
    }

    /// Was something done for the event before a crash?
    pub(crate) async fn begun(&self) -> bool {
        self.state.lock().await.memos.recorded()
    }

    pub(crate) fn tell(&self, step: Step) {
        let (agent, event) = (Arc::clone(&self.book.name), Arc::clone(&self.event));
        self.book.ports.feed.tell(Progress { agent, event, step });
    }

    /// Ends the event: streams are closed and paid, then its end, its kept values and its counts become durable in one
    /// step. Kept values of a failed event are dropped.
    ///
    /// # Errors
    /// Faults; the event is handled again.
    pub(crate) async fn end(
        &self,
        row: EventRow,
        answer: Result<Vec<u8>, AgentError>,
        failures_max: u32,
    ) -> Result<(), CallError> {
        let mut state = self.state.lock().await;
        self.close_all(&mut state).await;
        self.give_up_fetches(&mut state).await?;
        if let Err(error) = &answer {
            state.lines.push(self.line(Level::Error, &format!("the event failed: {error}")));
        }
        let end = match &answer {
            Ok(bytes) => EventState::Done(bytes.clone()),
            Err(error) => EventState::failed(error.code, &error.what),
        };
        // Strangers choose what a seller is asked: one that fails without spending loses nobody anything.
        let counts = row.kind != SERVE || !state.spent.is_zero();
        let row = EventRow { state: end, calls: state.calls.clone(), spent: state.spent, ..row };
        let mut writes = state.memos.forget();
        writes.push(event_row(&self.book.name, &self.event, &row));
        if answer.is_ok() {
            writes.extend(std::mem::take(&mut state.changes).into_iter().map(|(name, value)| self.kept(&name, value)));
        }
        let lines = std::mem::take(&mut state.lines);
        let first = self.book.record().await.next_line;
        writes.extend(self.book.line_rows(first, &lines));
        let count = lines.len() as u64;
        self.book
            .change(
                move |record| {
                    record.next_line += count;
                    record.handled += 1;
                    match answer {
                        Ok(_) => record.failures = 0,
                        Err(error) => {
                            record.failures = record.failures.saturating_add(u32::from(counts));
                            record.failure = Some(error.to_string().chars().take(2_000).collect());
                            if record.failures >= failures_max && record.status == Status::Running {
                                record.status = Status::Suspended;
                            }
                        }
                    }
                },
                writes,
            )
            .await?;
        self.tell_lines(first, &lines);
        self.tell(Step::Ended(Box::new(row)));
        Ok(())
    }

    fn line(&self, level: Level, text: &str) -> LineRow {
        LineRow { time: self.book.ports.buyer.clock.now(), level: level as u8, text: text.to_owned() }
    }

    fn tell_lines(&self, first: u64, lines: &[LineRow]) {
        for (number, line) in (first..).zip(lines) {
            let (time, level, text) = (line.time, level_name(line.level), line.text.clone());
            self.tell(Step::Logged { number, time, level, text });
        }
    }

    /// Makes durable what waits: answers of host calls, and log lines.
    pub(crate) async fn flush(&self, state: &mut State) -> Result<(), CallError> {
        let lines = std::mem::take(&mut state.lines);
        let mut writes = state.memos.take_writes();
        let first = self.book.record().await.next_line;
        writes.extend(self.book.line_rows(first, &lines));
        let count = lines.len() as u64;
        self.book.change(move |record| record.next_line += count, writes).await?;
        self.tell_lines(first, &lines);
        Ok(())
    }

    fn kept(&self, name: &str, value: Option<Vec<u8>>) -> Write {
        Write { table: Table::AgentState, key: key(&self.book.name, name.as_bytes()), value }
    }

    /// The answer kept for this call, or the one that `work` gives, kept from now on.
    async fn memo<T: serde::Serialize + serde::de::DeserializeOwned>(
        &self,
        state: &mut State,
        kind: MemoKind,
        args: Hash,
        work: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, AgentError> {
        if let Some((_, kept)) = state.memos.replay::<Kept<T>>(kind, &args)? {
            return Ok(kept?);
        }
        let answer = work.await;
        let kept: Kept<&T> = answer.as_ref().map_err(|error| Refused::from(error.clone()));
        state.memos.keep(kind, args, &kept)?;
        answer
    }

    async fn read(&self, changed: Option<Option<Vec<u8>>>, name: &str) -> Result<Option<Vec<u8>>, AgentError> {
        if let Some(changed) = changed {
            return Ok(changed);
        }
        let journal = &self.book.ports.buyer.journal;
        let value = journal.get(Table::AgentState, key(&self.book.name, name.as_bytes())).await;
        value.map_err(|fault| CallError::from(fault).into())
    }

    /// Counts what is kept, once for each event.
    async fn kept_bytes(&self, state: &mut State) -> Result<usize, AgentError> {
        if let Some(bytes) = state.kept_bytes {
            return Ok(bytes);
        }
        let prefix = key(&self.book.name, &[]);
        let journal = &self.book.ports.buyer.journal;
        let rows = journal.list(Table::AgentState, prefix.clone(), READ_ROWS_MAX).await.map_err(CallError::from)?;
        let bytes = rows.iter().map(|(key, value)| key.len() - prefix.len() + value.len()).sum();
        state.kept_bytes = Some(bytes);
        Ok(bytes)
    }

    async fn put(&self, name: &str, value: Option<Vec<u8>>) -> Result<(), AgentError> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, |value| name.len() + value.len());
        let before = self.read(state.changes.get(name).cloned(), name).await?;
        let bytes = self.kept_bytes(state).await?.saturating_sub(size(&before)) + size(&value);
        let limit = self.manifest.grants.key_value.map_or(0, |grant| grant.max_kib as usize * 1_024);
        if bytes > limit {
            return Err(AgentError::new(Code::AgentTooLarge, format!("{bytes} bytes kept; {limit} are granted")));
        }
        if state.changes.len() >= CHANGES_MAX && !state.changes.contains_key(name) {
            return Err(AgentError::new(Code::AgentTooLarge, format!("one event changes at most {CHANGES_MAX} keys")));
        }
        state.kept_bytes = Some(bytes);
        state.changes.insert(name.to_owned(), value);
        Ok(())
    }
}

pub(crate) fn args<T: serde::Serialize>(of: &T) -> Hash {
    Hash::sha256(serde_json::to_vec(of).expect("arguments are plain JSON"))
}

impl AgentHost for Desk {
    fn find<'a>(&'a self, query: &'a str, limit: u32) -> Pending<'a, Vec<Offer>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let limit = (limit as usize).min(OFFERS_MAX);
            let work = async {
                let found = self.book.ports.buyer.directory.find(query, limit).await?;
                Ok(found.iter().map(|listing| offer(listing.payload())).collect::<Vec<_>>())
            };
            let offers = self.memo(&mut state, MemoKind::Find, args(&(query, limit)), work).await?;
            self.tell(Step::Found(offers.iter().map(|offer| offer.name.clone()).collect()));
            Ok(offers)
        })
    }

    fn quote<'a>(&'a self, listing: &'a ListingId, ask: &'a Ask) -> Pending<'a, QuoteTerms> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let state = &mut *state;
            let handle = state.shop.next_quote()?;
            let promised =
                self.memo(state, MemoKind::Quote, args(&(listing, ask)), self.ask_quote(listing, ask)).await?;
            let terms = promised.terms(handle)?;
            self.tell(Step::Quoted {
                name: promised.name.clone(),
                input_tokens: terms.input_tokens,
                output_max: terms.output_max,
                charge_max: terms.charge_max,
            });
            state.shop.keep_quote(promised);
            Ok(terms)
        })
    }

    fn budget(&self) -> Pending<'_, Budget> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let grant = self.wallet()?;
            let work = async {
                let used = self.book.used().await?;
                Ok(Budget { granted: grant.budget, used, per_call: grant.per_call })
            };
            self.memo(&mut state, MemoKind::Budget, Hash::ZERO, work).await
        })
    }

    fn open(&self, quote: QuoteHandle) -> Pending<'_, StreamHandle> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            self.open_stream(&mut state, quote).await
        })
    }

    fn next_batch(&self, stream: StreamHandle, max: u32) -> Pending<'_, Batch> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            self.read_stream(&mut state, stream, max.max(1)).await
        })
    }

    fn close(&self, stream: StreamHandle) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            self.close_stream(&mut state, stream).await
        })
    }

    fn fetch<'a>(&'a self, request: &'a HttpRequest) -> Pending<'a, HttpResponse> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            self.send(&mut state, request).await
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let state = self.state.lock().await;
            self.read(state.changes.get(key).cloned(), key).await
        })
    }

    fn set<'a>(&'a self, key: &'a str, value: &'a [u8]) -> Pending<'a, ()> {
        Box::pin(self.put(key, Some(value.to_vec())))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Pending<'a, ()> {
        Box::pin(self.put(key, None))
    }

    fn keys<'a>(&'a self, prefix: &'a str, limit: u32) -> Pending<'a, Vec<String>> {
        Box::pin(async move {
            let state = self.state.lock().await;
            let own = key(&self.book.name, &[]).len();
            let journal = &self.book.ports.buyer.journal;
            let at = key(&self.book.name, prefix.as_bytes());
            let rows = journal.list(Table::AgentState, at, READ_ROWS_MAX).await.map_err(CallError::from)?;
            let names = rows.into_iter().map(|(key, _)| String::from_utf8_lossy(&key[own..]).into_owned());
            let mut names: std::collections::BTreeSet<String> = names.collect();
            for (name, value) in state.changes.iter().filter(|(name, _)| name.starts_with(prefix)) {
                match value {
                    Some(_) => names.insert(name.clone()),
                    None => names.remove(name),
                };
            }
            Ok(names.into_iter().take(limit as usize).collect())
        })
    }

    fn log<'a>(&'a self, level: Level, text: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let line = self.line(level, text);
            state.lines.push(line);
            if state.lines.len() >= LINES_WAITING_MAX {
                self.flush(&mut state).await?;
            }
            Ok(())
        })
    }

    fn now(&self) -> Pending<'_, Timestamp> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let work = async { Ok(self.book.ports.buyer.clock.now()) };
            self.memo(&mut state, MemoKind::Now, Hash::ZERO, work).await
        })
    }
}
