//! A service behind the control port: requests in, answers and failures out, as JSON.

use std::sync::Arc;

use agora_shell::output::to_json;
use agora_shell::{Failure, Outcome};
use agora_types::Code;
use agora_web::{Answer, Control};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::Service;
use super::wire::{Line, Question};

/// Puts a service behind an [`agora_web::Face`].
///
/// # Panics
/// Outside of a tokio runtime. What the service does runs on this runtime, never on the port's thread: what it spawns
/// must live on when a connection or the port ends.
pub fn serve(service: Arc<dyn Service>) -> Arc<dyn Control> {
    Arc::new(Served { service, runtime: Handle::current() })
}

struct Served {
    service: Arc<dyn Service>,
    runtime: Handle,
}

impl Served {
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = Outcome<T>> + Send + 'static) -> Outcome<T> {
        let done = self.runtime.spawn(work).await;
        done.unwrap_or_else(|_| {
            Err(Failure::new(Code::NodeIo, "the node failed at this request")
                .advise("this is a bug; see the node's log, and report it"))
        })
    }
}

impl Control for Served {
    fn answer(&self, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        async move {
            let service = Arc::clone(&self.service);
            let answered = self.run(async move { service.answer(read(&body)?).await }).await;
            match answered {
                Ok(value) => Answer::Whole { status: 200, json: value.to_string().into_bytes() },
                Err(failure) => refused(&failure),
            }
        }
        .boxed()
    }

    fn ask(&self, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        async move {
            let service = Arc::clone(&self.service);
            let asked = self.run(async move {
                let question: Question = read(&body)?;
                service.ask_agent(question.name, question.message).await
            });
            match asked.await {
                Ok(steps) => Answer::Lines(steps.map(|step| line(step.into())).boxed()),
                Err(failure) => refused(&failure),
            }
        }
        .boxed()
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Outcome<T> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(Code::WireMalformed, format!("the request: {error}"))
            .advise("node and command are of different releases; stop the node and start it anew with this one")
    })
}

fn line(line: Line) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(&line).expect("a step is plain JSON");
    bytes.push(b'\n');
    bytes
}

fn refused(failure: &Failure) -> Answer {
    let json = to_json(&failure.document()).to_string().into_bytes();
    Answer::Whole { status: failure.code.http_status(), json }
}
