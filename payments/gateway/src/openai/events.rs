//! A completion as server-sent events: each piece leaves at once, a comment while there is none, and the receipt last.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, BoxBody};
use actix_web::web::Bytes;
use agora_economy::ports::pay::{Completion, Piece, Trouble};
use agora_types::Code;
use futures::stream;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::Shape;
use super::streaming;
use crate::admission;
use crate::agents::called;
use crate::door::Shared;
use crate::errors::Failure;

/// Ends a stream that ended well.
const DONE: &str = "data: [DONE]\n\n";
/// Says nothing, so that proxies and clients know that the stream lives.
const COMMENT: &str = ": wait\n\n";

/// The answer whose body is the stream.
pub(super) fn answer(completion: Box<dyn Completion>, shape: Shape, shared: &Shared) -> HttpResponse {
    let announced = completion.announced();
    let (call, replayed) = (shape.call, completion.replayed());
    let (sender, pieces) = mpsc::channel(1);
    // The completion lives on the port's runtime and not on the connection's: what ends it there may still settle.
    shared.runtime.spawn(pump(completion, sender));
    let state = State { pieces, step: Step::First, shape, comment_every: shared.bounds.comment_every };
    let events = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, actix_web::Error>(event), state))
    });
    let mut answer = HttpResponse::Ok().body(BoxBody::new(BodyStream::new(Box::pin(events))));
    streaming(&mut answer);
    admission::paid(answer.headers_mut(), announced.as_ref());
    called(answer.headers_mut(), call);
    if replayed {
        admission::repeated(answer.headers_mut());
    }
    answer
}

/// Takes a piece only when there is room for it: what the client does not read is not generated. Ends when the client
/// has gone, and the completion with it.
async fn pump(mut completion: Box<dyn Completion>, sender: mpsc::Sender<Result<Piece, Trouble>>) {
    while let Ok(room) = sender.reserve().await {
        let piece = tokio::select! {
            piece = completion.next() => piece,
            () = sender.closed() => return,
        };
        let is_last = !matches!(piece, Ok(Piece::Text { .. }));
        room.send(piece);
        if is_last {
            return;
        }
    }
}

enum Step {
    First,
    Pieces,
    Over,
}

struct State {
    pieces: mpsc::Receiver<Result<Piece, Trouble>>,
    step: Step,
    shape: Shape,
    comment_every: Duration,
}

impl State {
    async fn next(&mut self) -> Option<Bytes> {
        match self.step {
            Step::Over => return None,
            Step::First => {
                self.step = Step::Pieces;
                if let Some(first) = self.shape.first() {
                    return Some(Bytes::from(event(&first)));
                }
            }
            Step::Pieces => {}
        }
        let Ok(piece) = tokio::time::timeout(self.comment_every, self.pieces.recv()).await else {
            return Some(Bytes::from_static(COMMENT.as_bytes()));
        };
        let failure = match piece {
            Some(Ok(Piece::Text { text, likelihoods })) => {
                return Some(Bytes::from(event(&self.shape.more(&text, likelihoods.as_deref()))));
            }
            Some(Ok(Piece::End(ended))) => {
                self.step = Step::Over;
                let last: String = self.shape.last(&ended).iter().map(event).collect();
                return Some(Bytes::from(last + DONE));
            }
            Some(Err(trouble)) => Failure::from(trouble),
            None => Failure::new(Code::CallSilent, "the answer stopped"),
        };
        self.step = Step::Over;
        Some(Bytes::from(event(&failure.openai())))
    }
}

/// JSON has no line breaks of its own.
fn event(document: &Value) -> String {
    format!("data: {document}\n\n")
}
