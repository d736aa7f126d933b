//! What is sold in tests: two words of a model, and an agent that repeats its question.

use std::convert::Infallible;
use std::sync::Arc;

use agora_economy::ports::pay::{
    Admission, Completion, Done, Kept, Means, ModelCard, Models, Pending, Piece, PricedRequest, Trouble, Work, Workers,
};
use agora_inference_api::Request;
use agora_types::{Amount, CallId, Code};
use agora_x402::wire::{PaymentPayload, SettleResponse};
use tokio::sync::mpsc;

use crate::fakes::{Fakes, Log, MAX, asks, ended, judge, offers, receipt, response, trouble};

impl Models for Fakes {
    fn models(&self) -> Pending<'_, Vec<ModelCard>> {
        let card = ModelCard {
            id: "small".to_owned(),
            created_s: 1_700_000_000,
            owned_by: "someone".to_owned(),
            title: "A small model".to_owned(),
            input: Amount::from_atoms(1),
            output: Amount::from_atoms(2),
            context_max: 2_048,
            output_max: 512,
        };
        let other = ModelCard { id: "owner/model".to_owned(), ..card.clone() };
        Box::pin(async { Ok(vec![card, other]) })
    }

    fn probe<'a>(
        &'a self,
        model: Option<&'a str>,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Infallible>> {
        Box::pin(async move {
            self.log.say(format!("probe {}", model.unwrap_or("any")));
            match payment {
                None => Ok(Admission::Refused(Box::new(offers(request).required(None)))),
                Some(payment) => match judge(request, payment, ())? {
                    Admission::Refunded(response) => Ok(Admission::Refunded(response)),
                    _ => Err(trouble(Code::WireMalformed)),
                },
            }
        })
    }

    fn open<'a>(
        &'a self,
        model: &'a str,
        ask: &'a Request,
        request: &'a PricedRequest,
        means: &'a Means,
        stream: bool,
    ) -> Pending<'a, Admission<Box<dyn Completion>>> {
        Box::pin(async move {
            let text = ask.messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("|");
            self.log.say(format!("open {model} {text} {} {stream}", ask.output_max));
            let completion = |paid: bool| {
                let pieces = self.pieces.lock().unwrap().take();
                Box::new(FakeCompletion { log: Arc::clone(&self.log), paid, pieces, step: 0 }) as Box<dyn Completion>
            };
            match means {
                Means::Nothing => Ok(Admission::Refused(Box::new(offers(request).required(None)))),
                Means::Key(key) if key == "good" => Ok(Admission::Serve(completion(false))),
                Means::Key(_) => Err(Trouble::new(Code::KeyNotRegistered, "the API key")),
                Means::Payment(payment) => judge(request, payment, completion(true)),
            }
        })
    }
}

struct FakeCompletion {
    log: Arc<Log>,
    paid: bool,
    /// Without pieces it says two words.
    pieces: Option<mpsc::Receiver<Result<Piece, Trouble>>>,
    step: usize,
}

impl Drop for FakeCompletion {
    fn drop(&mut self) {
        self.log.say("completion dropped");
    }
}

impl Completion for FakeCompletion {
    fn announced(&self) -> Option<SettleResponse> {
        self.paid.then(|| response(true, MAX))
    }

    fn call(&self) -> CallId {
        receipt().call
    }

    fn next(&mut self) -> Pending<'_, Piece> {
        Box::pin(async move {
            if let Some(pieces) = &mut self.pieces {
                return pieces.recv().await.unwrap_or_else(|| Err(trouble(Code::CallSilent)));
            }
            self.step += 1;
            Ok(match self.step {
                1 => Piece::text("Hello"),
                2 => Piece::text(" world"),
                _ => ended(false, self.paid),
            })
        })
    }

    fn keep(&mut self, answer: Kept) -> Pending<'_, ()> {
        self.log.say(format!("keep {}", answer.content_type));
        Box::pin(async { Ok(()) })
    }
}

impl Workers for Fakes {
    fn bounds<'a>(&'a self, agent: &'a str) -> Pending<'a, (usize, u32)> {
        Box::pin(async move {
            if agent == "researcher" { Ok((1_024, 5)) } else { Err(Trouble::new(Code::AgentNotFound, agent)) }
        })
    }

    fn call<'a>(
        &'a self,
        work: &'a Work,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Done>> {
        Box::pin(async move {
            self.log.say(format!("{} {}?{} {}", work.method, work.path, work.query, request.url));
            let Some(payment) = payment else {
                return Ok(Admission::Refused(Box::new(offers(request).required(None))));
            };
            if asks(payment, "gated").is_some() {
                self.gate.acquire().await.unwrap().forget();
                self.log.say("worked");
            }
            let status = asks(payment, "status").and_then(|status| status.parse().ok()).unwrap_or(201);
            let answer = Kept { status, content_type: "text/html".to_owned(), body: work.body.clone() };
            judge(request, payment, Done { answer, response: Some(response(true, 42)), receipt: Some(receipt()) })
        })
    }
}
