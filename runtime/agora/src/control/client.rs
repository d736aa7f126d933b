//! A running node as a [`Service`]: requests over its control port.
//!
//! The HTTP client blocks, so each request has a thread of the executor's blocking pool; a stream's lines come through a
//! short channel, and dropping the stream ends the reading at the next line.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::Path;
use std::time::Duration;

use agora_shell::failure::ErrorDocument;
use agora_shell::{Failure, Outcome};
use agora_types::Code;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::beacon::Beacon;
use super::wire::{ANSWER_MAX, LINE_MAX, Line, Question};
use super::{AgentStep, Request, Service, Steps};

/// A request waits so long unless the caller says otherwise …
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// … and those that compile an agent, wait for its channels or read an adapter so long.
const LONG_TIMEOUT: Duration = Duration::from_secs(300);
/// An agent's event ends within an hour.
const ASK_TIMEOUT: Duration = Duration::from_secs(3_700);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Steps that wait for a slow reader; then the node waits too.
const STEPS_AHEAD: usize = 64;

/// A node behind its control port.
#[derive(Debug, Clone)]
pub struct HttpService {
    beacon: Beacon,
    agent: Agent,
    timeout: Option<Duration>,
}

impl HttpService {
    /// The node at a network's data folder, as its beacon says; whether it still answers shows at the first request.
    ///
    /// # Errors
    /// `node.not_running` without a beacon; else as [`Beacon::read`].
    pub fn at(folder: &Path, timeout: Option<Duration>) -> Outcome<Self> {
        let none = || Failure::new(Code::NodeNotRunning, format!("no node is at {}", folder.display()));
        Beacon::read(folder)?.ok_or_else(none).map(|beacon| Self::new(beacon, timeout))
    }

    /// The node of a beacon.
    pub fn new(beacon: Beacon, timeout: Option<Duration>) -> Self {
        let agent = Agent::config_builder()
            // A failure's document is in the body of an error status.
            .http_status_as_error(false)
            // The environment's proxies are for other machines, and must not see the token.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build()
            .new_agent();
        Self { beacon, agent, timeout }
    }

    /// Where it asks.
    pub fn beacon(&self) -> &Beacon {
        &self.beacon
    }

    fn post(&self, path: &str, body: &[u8], timeout: Duration) -> Outcome<Response<Body>> {
        let url = format!("http://{}{path}", self.beacon.address);
        let sent = self
            .agent
            .post(url)
            .config()
            .timeout_global(Some(timeout))
            .build()
            .header("Authorization", format!("Bearer {}", self.beacon.token.secret()))
            .header("Content-Type", "application/json")
            .send(body);
        let mut response = sent.map_err(|error| self.failure(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = response.body_mut().with_config().limit(LINE_MAX).read_to_vec().unwrap_or_default();
        let document = serde_json::from_slice::<ErrorDocument>(&bytes);
        Err(document.map_or_else(|_| self.stranger(&format!("status {status}")), Failure::from))
    }

    fn request(&self, request: &Request) -> Outcome<Value> {
        let body = serde_json::to_vec(request).expect("a request is plain JSON");
        let usual = match request {
            Request::AgentDeploy { .. } | Request::AgentStop { .. } | Request::AdapterLoad { .. } => LONG_TIMEOUT,
            _ => REQUEST_TIMEOUT,
        };
        let timeout = self.timeout.unwrap_or(usual);
        let mut response = self.post(agora_web::REQUEST_PATH, &body, timeout)?;
        let bytes = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| self.failure(error))?;
        serde_json::from_slice(&bytes).map_err(|error| self.stranger(&error.to_string()))
    }

    /// Sends the lines of an answer until one is the last, or the reader is gone.
    fn follow(&self, response: Response<Body>, steps: &mpsc::Sender<Outcome<AgentStep>>) {
        let mut reader = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader());
        loop {
            let step = self.next_step(&mut reader);
            let last = !matches!(step, Ok(ref step) if !matches!(step, AgentStep::Answered { .. }));
            if steps.blocking_send(step).is_err() || last {
                return;
            }
        }
    }

    fn next_step(&self, reader: &mut impl std::io::BufRead) -> Outcome<AgentStep> {
        let mut line = Vec::new();
        let read = reader.take(LINE_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| self.failure(ureq::Error::Io(error)))?;
        if line.last() != Some(&b'\n') {
            let what = "the node ended its answer before the agent was done";
            let advice = "the message is written down and will be handled; see `agora agent logs`";
            return Err(Failure::new(Code::NodeNotRunning, what).advise(advice));
        }
        let line: Line = serde_json::from_slice(&line).map_err(|error| self.stranger(&error.to_string()))?;
        line.into()
    }

    /// Whoever answers does not speak this protocol.
    fn stranger(&self, what: &str) -> Failure {
        Failure::new(Code::WireMalformed, format!("{} answers like no node: {what}", self.beacon.address))
            .advise("node and command are of different releases; stop the node and start it anew with this one")
    }

    fn failure(&self, error: ureq::Error) -> Failure {
        let address = self.beacon.address;
        match error {
            ureq::Error::Timeout(_) => Failure::new(Code::BusTimeout, format!("{address}: no answer in time")),
            ureq::Error::Io(error) if error.kind() == ErrorKind::TimedOut || error.kind() == ErrorKind::WouldBlock => {
                Failure::new(Code::BusTimeout, format!("{address}: no answer in time"))
            }
            ureq::Error::BodyExceedsLimit(_) => self.stranger("with too much"),
            error => Failure::new(Code::NodeNotRunning, format!("{address}: {error}")),
        }
    }
}

/// What a thread of the blocking pool found; the pool itself ends only with the program.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Failure::new(Code::NodeBusy, "the command is ending")))
}

impl Service for HttpService {
    fn answer(&self, request: Request) -> BoxFuture<'_, Outcome<Value>> {
        let own = self.clone();
        blocking(move || own.request(&request)).boxed()
    }

    fn ask_agent(&self, name: String, message: String) -> BoxFuture<'_, Outcome<Steps>> {
        let own = self.clone();
        async move {
            let (sender, receiver) = mpsc::channel(STEPS_AHEAD);
            let body = serde_json::to_vec(&Question { name, message }).expect("a question is plain JSON");
            let asking = own.clone();
            let timeout = own.timeout.unwrap_or(ASK_TIMEOUT);
            let response = blocking(move || asking.post(agora_web::ASK_PATH, &body, timeout)).await?;
            tokio::task::spawn_blocking(move || own.follow(response, &sender));
            let steps = futures::stream::unfold(receiver, |mut receiver| async {
                receiver.recv().await.map(|step| (step, receiver))
            });
            Ok(Box::pin(steps) as Steps)
        }
        .boxed()
    }
}
