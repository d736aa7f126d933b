//! What the command line asks of a node, and what a node answers: one enum each way, the same over HTTP and in process.
//!
//! A [`Service`] answers requests. A running node is one behind its control port; without a running node the command
//! opens the data folder itself, and the same requests are answered as far as they need no agents and no model.
//! Money is moved by entries that the command signs with the user's key; the node never holds that key.

mod answer;
pub mod beacon;
pub mod client;
mod datanet;
mod request;
pub mod serve;
mod wire;

use std::pin::Pin;

use agora_shell::{Failure, Outcome};
use futures::Stream;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use answer::{
    Account, AgentAnswer, AgentLine, AgentLogs, AgentStatus, AgentStep, AgentStopped, AgentView, Agents, ApiKeyRemoved,
    ApiKeyView, ApiKeys, Committed, Deployed, EarnedView, Earnings, EarningsClaimed, Listings, LogPage, MeasureView,
    Measured, ModelView, Models, Offered, Passages, ReceiptPage, ReceiptRow, Secret, SellerView, Sellers,
    SinglePayment, Status, Stopping,
};
pub use datanet::{
    ActTaken, CharterView, Contributed, DatanetAsk, DatanetView, Datanets, ItemName, ItemPage, ItemRow, ItemView,
    Names, PolicyView, RevealedItem, VersionDraft,
};
pub use request::Request;

/// Steps of an agent's answer, the last one being [`AgentStep::Answered`], or the failure that ended it.
pub type Steps = Pin<Box<dyn Stream<Item = Outcome<AgentStep>> + Send>>;

/// Answers requests. Callable from many tasks at once; every request may be repeated.
pub trait Service: Send + Sync {
    /// The answer to one request, as the JSON of the request's answer type.
    fn answer(&self, request: Request) -> BoxFuture<'_, Outcome<Value>>;

    /// Gives an agent a message and follows what it does. Dropping the stream leaves the agent at work.
    fn ask_agent(&self, name: String, message: String) -> BoxFuture<'_, Outcome<Steps>>;
}

impl dyn Service + '_ {
    /// The answer as its type.
    ///
    /// # Errors
    /// The service's failure; `wire.malformed` when the node speaks another version.
    pub async fn call<A: DeserializeOwned>(&self, request: Request) -> Outcome<A> {
        let answer = self.answer(request).await?;
        serde_json::from_value(answer).map_err(|error| {
            Failure::new(agora_types::Code::WireMalformed, format!("the node's answer: {error}"))
                .advise("node and command are of different releases; stop the node and start it anew with this one")
        })
    }
}
