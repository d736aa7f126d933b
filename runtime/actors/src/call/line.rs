//! One end of a paid stream on the bus: frames of one call, in order.

use std::sync::Arc;

use agora_economy::ports::bus::frame::{Body, Frame};
use agora_economy::ports::bus::{Bus, BusError, Inbox, Message, Received, Subject};
use agora_types::{CallId, Code};

/// Frames that wait on one end.
pub(crate) const LINE_QUEUE: usize = 512;

/// Sends to the other side and hears it.
pub(crate) struct Line {
    bus: Arc<dyn Bus>,
    to: Subject,
    own: Subject,
    inbox: Box<dyn Inbox<Message>>,
    call: CallId,
}

/// What was heard.
pub(crate) enum Heard {
    /// A frame of this call.
    Body(Body),
    /// Nothing came in time.
    Silence,
    /// So many frames are lost.
    Gap(u64),
}

impl Line {
    /// Listens on `own`, speaks to `to`.
    pub(crate) async fn open(bus: Arc<dyn Bus>, call: CallId, own: Subject, to: Subject) -> Result<Self, BusError> {
        let inbox = bus.subscribe(&(&own).into(), LINE_QUEUE).await?;
        Ok(Self { bus, to, own, inbox, call })
    }

    /// Sends a frame; whether it arrives is not known.
    pub(crate) async fn send(&mut self, body: Body) -> Result<(), BusError> {
        let to = self.to.clone();
        self.send_to(&to, body).await
    }

    /// Sends the frame that opens the stream, to the host's common subject.
    pub(crate) async fn send_to(&mut self, subject: &Subject, body: Body) -> Result<(), BusError> {
        let wire = Frame::new(self.call, body).to_wire()?;
        self.bus.publish(subject, Some(&self.own), &wire).await
    }

    /// Waits at most `timeout_ms` for the next frame of this call; foreign and malformed frames are passed over.
    pub(crate) async fn hear(&mut self, timeout_ms: u32) -> Result<Heard, BusError> {
        loop {
            let message = match self.inbox.next(timeout_ms).await {
                Ok(Received::Item(message)) => message,
                Ok(Received::Gap { missed }) => return Ok(Heard::Gap(missed)),
                Err(error) if error.code == Code::BusTimeout => return Ok(Heard::Silence),
                Err(error) => return Err(error),
            };
            match Frame::from_wire(&message.frame) {
                Ok(frame) if frame.stream == self.call => return Ok(Heard::Body(frame.body)),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
