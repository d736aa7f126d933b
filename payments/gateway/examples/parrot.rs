//! A port with one model that repeats what it is told, for trying OpenAI clients by hand.
//!
//! `cargo run --release -p agora-gateway --example parrot`, then point a client at the printed address with the API key
//! `parrot`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::pay::{
    Admission, Completion, Ended, Means, ModelCard, Models, Pending, Piece, PricedRequest, ReceiptRef, Trouble,
};
use agora_gateway::{Bounds, PublicPort, Services};
use agora_inference_api::Request;
use agora_types::{Address, Amount, CallId, Code, Hash, Usage};
use agora_x402::wire::{PaymentPayload, SettleResponse};

struct Parrot;

struct Saying {
    words: VecDeque<String>,
    said: u64,
}

impl Models for Parrot {
    fn models(&self) -> Pending<'_, Vec<ModelCard>> {
        let card = ModelCard {
            id: "parrot".to_owned(),
            created_s: 1_790_000_000,
            owned_by: "nobody".to_owned(),
            title: "Repeats what it is told".to_owned(),
            input: Amount::ZERO,
            output: Amount::from_atoms(1),
            context_max: 2_048,
            output_max: 512,
        };
        Box::pin(async { Ok(vec![card]) })
    }

    fn probe<'a>(
        &'a self,
        _: Option<&'a str>,
        _: &'a PricedRequest,
        _: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Infallible>> {
        Box::pin(async { Err(Trouble::new(Code::WireUnsupported, "the parrot takes keys only")) })
    }

    fn open<'a>(
        &'a self,
        _: &'a str,
        ask: &'a Request,
        _: &'a PricedRequest,
        means: &'a Means,
        _: bool,
    ) -> Pending<'a, Admission<Box<dyn Completion>>> {
        Box::pin(async move {
            if *means != Means::Key("parrot".to_owned()) {
                return Err(Trouble::new(Code::KeyNotRegistered, "the key here is `parrot`"));
            }
            let text = ask.messages.last().map_or("", |message| message.text.as_str());
            let words: VecDeque<_> = text.split_inclusive(' ').map(str::to_owned).collect();
            let saying: Box<dyn Completion> = Box::new(Saying { words, said: 0 });
            Ok(Admission::Serve(saying))
        })
    }
}

impl Completion for Saying {
    fn announced(&self) -> Option<SettleResponse> {
        None
    }

    fn call(&self) -> CallId {
        CallId::new([7; 16])
    }

    fn next(&mut self) -> Pending<'_, Piece> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(word) = self.words.pop_front() {
                self.said += 1;
                return Ok(Piece::text(word));
            }
            let charge = Amount::from_atoms(u128::from(self.said));
            let receipt = ReceiptRef {
                leaf: Hash::sha256(b"parrot"),
                call: self.call(),
                payer: Address::new([1; 20]),
                charge,
                salt: [2; 16],
            };
            let usage = Usage { input: self.said, output: self.said, ..Usage::default() };
            Ok(Piece::End(Box::new(Ended { usage, is_cut: false, receipt, response: None })))
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let services = Services { models: Some(Arc::new(Parrot)), ..Services::default() };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let port = PublicPort::open(address, true, None, services, Bounds::default())?;
    println!("http://{}/v1", port.address());
    tokio::signal::ctrl_c().await?;
    port.close(Duration::from_secs(10)).await;
    Ok(())
}
