//! A price before any route: the payment is reserved, the work runs, the money moves, and only then the answer's last
//! byte leaves.
//!
//! Wraps handlers that answer whole, in streams, or with errors. An answer of 400 and above, a handler's error, and a
//! client that leaves before the end cost nothing.
//!
//! | what happens | what it leaves |
//! |---|---|
//! | the client leaves while the payment is admitted or the handler runs | the reservation is released |
//! | the client leaves while the payment is settled | it is settled, and the answer is kept for a repeat |
//! | the client leaves in the middle of a stream | what a [`Meter`] was told is charged, else it is released |
//! | the port is cut off | as if the client had left |
//! | the process dies | the reservation ends by itself; a settlement is learnt by sending the payment again |

mod meter;
mod reserved;
mod stream;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::Error;
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::CONTENT_TYPE;
use agora_economy::ports::pay::{KEPT_BODY_MAX, Kept, PricedRequest, Till, Trouble};
use agora_types::Code;
use agora_x402::wire::{PaymentPayload, SettleResponse};
use agora_x402::{Reason, Refusal};
use futures::future::{LocalBoxFuture, Ready, ready};
use tokio::runtime::Handle;

pub use meter::Meter;

use crate::admission::{self, Turned};
use crate::body;
use crate::origin::Origin;
use crate::runtime::{PATIENCE, finish};
use reserved::Reserved;

/// How a paywall reads requests and sends answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaywallOptions {
    /// What resource URLs begin with.
    pub origin: Origin,
    /// Most bytes of a request's body; more are answered 413.
    pub body_max: usize,
    /// A body must arrive within this; then the request is answered 408.
    pub body_timeout: Duration,
    /// A stream's newest chunk is held back until the next one or the stream's end, so that money moves before the last
    /// chunk leaves; but at most so long, since a chunk that others follow slowly is not the last. `None`: without end.
    pub hold: Option<Duration>,
}

impl PaywallOptions {
    /// The usual bounds: 1 MiB within 30 seconds, chunks held back for 20 ms.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            body_max: 1024 * 1024,
            body_timeout: Duration::from_secs(30),
            hold: Some(Duration::from_millis(20)),
        }
    }
}

/// The middleware. Make it once, outside of the closure that makes the application, and clone it there: settlements run
/// on the runtime in which it was made, and outlive the worker that began them.
#[derive(Clone)]
pub struct Paywall {
    inner: Arc<Inner>,
}

struct Inner {
    till: Arc<dyn Till>,
    options: PaywallOptions,
    runtime: Handle,
}

impl Paywall {
    /// A paywall with its till.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(till: Arc<dyn Till>, options: PaywallOptions) -> Self {
        Self { inner: Arc::new(Inner { till, options, runtime: Handle::current() }) }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Paywall
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = PaywallService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(PaywallService { service: Rc::new(service), inner: Arc::clone(&self.inner) }))
    }
}

/// A service behind a paywall.
pub struct PaywallService<S> {
    service: Rc<S>,
    inner: Arc<Inner>,
}

impl<S, B> Service<ServiceRequest> for PaywallService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (service, inner) = (Rc::clone(&self.service), Arc::clone(&self.inner));
        Box::pin(async move {
            let style = admission::style_of(request.headers());
            let (priced, reserved) = match inner.admit(&mut request).await {
                Ok(admitted) => admitted,
                Err(turned) => return Ok(request.into_response(turned.answer(style))),
            };
            request.extensions_mut().insert(reserved.meter().clone());
            // An error drops the reservation, which releases it.
            let answer = service.call(request).await?.map_into_boxed_body();
            if answer.status().as_u16() >= 400 {
                reserved.cancel().await;
                return Ok(answer);
            }
            let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let (is_events, kind) = (kind.starts_with("text/event-stream"), kind.to_owned());
            let (request, answer) = answer.into_parts();
            let (mut answer, body) = answer.into_parts();
            let size = body.size();
            let body = match body.try_into_bytes() {
                Err(body) if in_memory(size) => actix_web::body::to_bytes(body).await.map_err(unreadable)?,
                Err(body) => {
                    let announced = reserved.announced();
                    admission::paid(answer.headers_mut(), announced.as_ref());
                    let trailer = is_events && announced.is_none() && size == BodySize::Stream;
                    let body = stream::paid(body, size, reserved, inner.options.hold, trailer);
                    return Ok(ServiceResponse::new(request, answer.set_body(body)));
                }
                Ok(body) => body,
            };
            let keeps = body.len() <= KEPT_BODY_MAX;
            let kept =
                keeps.then(|| Kept { status: answer.status().as_u16(), content_type: kind, body: body.to_vec() });
            match inner.settle(priced, reserved, kept).await {
                Ok(response) => {
                    admission::paid(answer.headers_mut(), Some(&response));
                    Ok(ServiceResponse::new(request, answer.set_body(BoxBody::new(body))))
                }
                // The work is lost: what is not paid is not sent.
                Err(turned) => Ok(ServiceResponse::new(request, turned.answer(style))),
            }
        })
    }
}

/// True for a body of known size that is collected before it is sent.
fn in_memory(size: BodySize) -> bool {
    match size {
        BodySize::None => true,
        BodySize::Sized(bytes) => usize::try_from(bytes).is_ok_and(|bytes| bytes <= KEPT_BODY_MAX),
        BodySize::Stream => false,
    }
}

fn unreadable(error: Box<dyn std::error::Error>) -> Error {
    actix_web::error::ErrorInternalServerError(format!("the answer's body: {error}"))
}

impl Inner {
    /// Reads body and payment, and has the till judge them. The body is put back for the handler.
    async fn admit(&self, request: &mut ServiceRequest) -> Result<(PricedRequest, Reserved), Turned> {
        let payment = admission::payment(request.headers())?;
        let mut payload = request.take_payload();
        let options = &self.options;
        let body = body::read(request.headers(), &mut payload, options.body_max, options.body_timeout).await?;
        let priced = options.origin.priced(request.request(), &body)?;
        request.set_payload(Payload::from(body));
        let Some(payment) = payment else {
            let till = Arc::clone(&self.till);
            let offers = finish(&self.runtime, PATIENCE, async move { till.offers(&priced).await }).await?;
            return Err(Turned::Unpaid(Box::new(offers.required(None)), None));
        };
        self.reserve(priced, payment).await
    }

    async fn reserve(
        &self,
        priced: PricedRequest,
        payment: PaymentPayload,
    ) -> Result<(PricedRequest, Reserved), Turned> {
        let (till, runtime) = (Arc::clone(&self.till), self.runtime.clone());
        let work = async move {
            let admission = till.admit(&priced, &payment).await?;
            // The guard exists before anybody is told: a client that left meanwhile drops it, and it releases.
            let sorted = admission::sort(admission).map(|ticket| Reserved::new(ticket, runtime));
            Ok(sorted.map(|reserved| (priced, reserved)))
        };
        finish(&self.runtime, PATIENCE, work).await?
    }

    async fn settle(
        &self,
        priced: PricedRequest,
        reserved: Reserved,
        kept: Option<Kept>,
    ) -> Result<SettleResponse, Turned> {
        let response = reserved.settle(kept).await?;
        if response.success {
            return Ok(response);
        }
        let till = Arc::clone(&self.till);
        let offers = finish(&self.runtime, PATIENCE, async move { till.offers(&priced).await }).await?;
        let known = response.error_reason.as_deref().and_then(|reason| reason.parse().ok());
        let refusal = Refusal::new(known.unwrap_or(Reason::UnexpectedSettleError), "the payment was not settled");
        Err(Turned::Unpaid(Box::new(offers.required(Some(&refusal))), Some(Box::new(response))))
    }
}

/// Used where a settlement failed and the answer is on its way already.
fn unpaid(response: &SettleResponse) -> Trouble {
    let reason = response.error_reason.as_deref().unwrap_or("no reason");
    Trouble::new(Code::CallNotHeld, format!("the payment was not settled: {reason}"))
}
