//! Messages between peers inside one process: the default backend of the bus port, and the one for simulation.
//!
//! ```
//! # use agora_bus::LocalBus;
//! # use agora_economy::ports::bus::{Bus, Pattern, Received, Subject};
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let bus = LocalBus::default();
//! let subject = Subject::new(31_337, "host", "quote")?;
//! let mut inbox = bus.subscribe(&Pattern::from(&subject), 16).await?;
//! bus.publish(&subject, None, b"how much?").await?;
//! let Received::Item(message) = inbox.next(1_000).await? else { panic!("nothing was lost") };
//! assert_eq!(&*message.frame, b"how much?");
//! # Ok::<(), agora_economy::ports::bus::BusError>(()) }).unwrap();
//! ```

#[cfg(feature = "conformance")]
pub mod conformance;
mod local;
mod queue;

pub use local::{Limits, LocalBus};
