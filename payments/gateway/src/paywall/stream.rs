//! A paid answer that comes in pieces: passed on as they come, settled before the last one leaves.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody as _, SizedStream};
use actix_web::web::Bytes;
use agora_economy::ports::pay::Trouble;
use agora_x402::header;
use futures::stream;

use super::reserved::Reserved;
use super::unpaid;

/// The body that settles itself. `trailer` asks for a last event that says what was paid.
pub(super) fn paid(
    body: BoxBody,
    size: BodySize,
    mut reserved: Reserved,
    hold: Option<Duration>,
    trailer: bool,
) -> BoxBody {
    reserved.flows();
    let state = State { body, reserved: Some(reserved), held: None, after: None, hold, trailer };
    let chunks = stream::unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Some((chunk, state))
    });
    let chunks = Box::pin(chunks);
    match size {
        BodySize::Sized(bytes) => BoxBody::new(SizedStream::new(bytes, chunks)),
        BodySize::None | BodySize::Stream => BoxBody::new(BodyStream::new(chunks)),
    }
}

type Chunk = Result<Bytes, Box<dyn std::error::Error>>;

struct State {
    body: BoxBody,
    /// Gone once the answer is settled or has failed; dropped with the stream when its client leaves.
    reserved: Option<Reserved>,
    /// The newest chunk: perhaps the last one.
    held: Option<Bytes>,
    /// What follows the last chunk.
    after: Option<Bytes>,
    hold: Option<Duration>,
    trailer: bool,
}

impl State {
    async fn next(&mut self) -> Option<Chunk> {
        loop {
            if self.reserved.is_none() {
                return self.after.take().map(Ok);
            }
            match self.pull().await {
                Pulled::Chunk(chunk) => {
                    if let Some(held) = self.held.replace(chunk) {
                        return Some(Ok(held));
                    }
                }
                Pulled::Nothing => {
                    if let Some(held) = self.held.take() {
                        return Some(Ok(held));
                    }
                }
                Pulled::End => return self.end().await,
                Pulled::Failed(error) => {
                    if let Some(reserved) = self.reserved.take() {
                        reserved.cancel().await;
                    }
                    return Some(Err(error));
                }
            }
        }
    }

    /// Waits for the next chunk, but not for longer than the held one may be held.
    async fn pull(&mut self) -> Pulled {
        let body = &mut self.body;
        let next = poll_fn(|cx| Pin::new(&mut *body).poll_next(cx));
        let next = match self.hold.filter(|_| self.held.is_some()) {
            None => next.await,
            // A body may be polled anew at any time, so that nothing is lost here.
            Some(hold) => match tokio::time::timeout(hold, next).await {
                Ok(next) => next,
                Err(_) => return Pulled::Nothing,
            },
        };
        match next {
            Some(Ok(chunk)) => Pulled::Chunk(chunk),
            Some(Err(error)) => Pulled::Failed(error),
            None => Pulled::End,
        }
    }

    /// Moves the money; the last chunk goes out only if that worked.
    async fn end(&mut self) -> Option<Chunk> {
        let settled = self.reserved.take()?.settle(None).await;
        let response = match settled {
            Ok(response) if response.success => response,
            Ok(response) => return Some(failed(unpaid(&response))),
            Err(trouble) => return Some(failed(trouble)),
        };
        if self.trailer {
            let said = header::encode(&response).ok();
            self.after = said.map(|text| Bytes::from(format!("event: payment-response\ndata: {text}\n\n")));
        }
        self.held.take().or_else(|| self.after.take()).map(Ok)
    }
}

enum Pulled {
    Chunk(Bytes),
    Nothing,
    End,
    Failed(Box<dyn std::error::Error>),
}

fn failed(trouble: Trouble) -> Chunk {
    Err(Box::new(trouble))
}
