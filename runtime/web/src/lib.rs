//! The HTTP face of a node: the control port that commands of the same user speak to.
//!
//! It knows nothing of what is asked: bytes go to a [`Control`], bytes or lines of JSON come back. What it does know is
//! who may ask (`guard.rs`: the token, and no web page), how much, and how long. Start at [`Face::open`].

mod answer;
mod face;
mod guard;

pub use answer::{Answer, Lines, refusal};
pub use face::{ASK_MAX, Bounds, CONNECTIONS_MAX, Face, OpenError, REQUEST_MAX};
pub use guard::{Token, TokenError};

use futures::future::BoxFuture;

/// Where one whole answer is asked for.
pub const REQUEST_PATH: &str = "/control/v1/request";
/// Where an answer is asked for that comes line by line.
pub const ASK_PATH: &str = "/control/v1/ask";

/// What answers behind the port. Called on the port's own thread: work that blocks or spawns belongs elsewhere.
pub trait Control: Send + Sync + 'static {
    /// Answers the body of a request to [`REQUEST_PATH`].
    fn answer(&self, body: Vec<u8>) -> BoxFuture<'_, Answer>;

    /// Answers the body of a request to [`ASK_PATH`]. Lines are dropped when their reader goes away.
    fn ask(&self, body: Vec<u8>) -> BoxFuture<'_, Answer>;
}
