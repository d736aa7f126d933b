//! What every request passes before it is looked at: is the port open, is the head small enough, does its client take
//! too much?

use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_http::ConnectionType;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpResponse};
use agora_types::Code;

use super::Shared;
use super::wire::Busy;
use crate::clients::{Counted, Refused};
use crate::errors::{Failure, Style};

/// Seconds after which a port that closes is worth another try: most often another one has its place then.
const CLOSING_RETRY_S: u32 = 5;

/// Lets a request pass, and counts it until its answer's last byte.
pub(super) async fn pass(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let style = if request.path().starts_with("/v1/") { Style::OpenAi } else { Style::Document };
    let Some(shared) = request.app_data::<Data<Shared>>().cloned() else {
        // `door.rs` puts it there; without it nothing is bounded, so nothing is served.
        let failure = Failure::new(Code::NodeBusy, "the port is not set up");
        return Ok(request.into_response(failure.answer(style)));
    };
    let held = Held::new(shared.clone().into_inner(), request.conn_data::<Busy>().cloned());
    match judge(&shared, &request) {
        Err(failure) => {
            let mut answer = failure.answer(style);
            // Whoever is refused here gives its connection back as well.
            answer.head_mut().set_connection_type(ConnectionType::Close);
            Ok(request.into_response(answer))
        }
        Ok(counted) => {
            let mut answer = next.call(request).await?;
            answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(answer.map_body(|_, body| BoxBody::new(Tracked { body, _held: held, _counted: counted })))
        }
    }
}

fn judge(shared: &Shared, request: &ServiceRequest) -> Result<Counted, Failure> {
    if *shared.closing.borrow() {
        return Err(Failure::new(Code::NodeBusy, "the port is closing").retry(CLOSING_RETRY_S));
    }
    // The parser took the head already, up to its own bound; whatever comes behind this line may rely on ours.
    let lines = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let size = lines.sum::<usize>() + path + request.method().as_str().len() + 12;
    let max = shared.bounds.head_max;
    if size > max {
        let message = format!("a request's line and headers have at most {max} bytes");
        return Err(Failure::with(431, Code::WireTooLarge, message));
    }
    let address = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    shared.clients.request(address, Instant::now()).map_err(|refused| match refused {
        Refused::Rate(seconds) => Failure::with(429, Code::NodeBusy, "too many requests a second").retry(seconds),
        Refused::Crowd => Failure::with(429, Code::NodeBusy, "too many requests at the same time").retry(1),
    })
}

/// Another path or method.
pub(super) async fn elsewhere() -> HttpResponse {
    Failure::with(404, Code::WireUnsupported, "there is nothing at this path and method").answer(Style::Document)
}

/// A request that is being answered.
struct Held {
    shared: Arc<Shared>,
    busy: Option<Busy>,
}

impl Held {
    fn new(shared: Arc<Shared>, busy: Option<Busy>) -> Self {
        shared.open.send_modify(|open| *open += 1);
        if let Some(busy) = &busy {
            busy.fetch_add(1, Ordering::Relaxed);
        }
        Self { shared, busy }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| *open = open.saturating_sub(1));
        if let Some(busy) = &self.busy {
            busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// An answer's body; dropped when it has ended or its client has gone.
struct Tracked {
    body: BoxBody,
    _held: Held,
    _counted: Counted,
}

impl MessageBody for Tracked {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
