//! What the tests share: the real model, found as OpenLoRA's tests find theirs, and answers read to their end.
#![allow(dead_code, reason = "each test file uses a part")]

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use agora_inference_api::{Ending, EngineError, Piece, TokenStream};
use agora_types::Usage;

/// SHA-256 of the model that the tests use.
pub(crate) const MODEL_HASH: &str = "0xb179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Where the real model lies.
pub(crate) fn model_path() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_default().join(".local/share");
    let path = data.unwrap_or_else(home).join("agora/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "{} is missing: fetch it with `cargo xtask fetch`", path.display());
    path
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Waits for a future.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = waker();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Whether there is a piece already; it is taken.
pub(crate) fn is_ready(stream: &mut dyn TokenStream) -> bool {
    stream.next().as_mut().poll(&mut Context::from_waker(&waker())).is_ready()
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) text: String,
    pub(crate) ending: Ending,
    pub(crate) usage: Usage,
}

/// Reads an answer to its end.
pub(crate) fn read(mut stream: Box<dyn TokenStream>) -> Result<Whole, EngineError> {
    let (mut text, mut tokens) = (String::new(), 0);
    loop {
        match block_on(stream.next())?.expect("an answer ends with its end") {
            Piece::Token { text: more, usage, .. } => {
                text += &more;
                tokens += 1;
                assert_eq!(usage.output, tokens, "a piece is a token");
            }
            Piece::End { text: more, ending, usage } => {
                text += &more;
                assert_eq!(usage.output, tokens);
                assert_eq!(block_on(stream.next())?, None, "nothing follows the end");
                return Ok(Whole { text, ending, usage });
            }
        }
    }
}
