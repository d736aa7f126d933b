//! The public port over real sockets, against fakes of what stands behind it.

mod agents;
mod client;
mod datanets;
mod door;
mod facilitator;
mod fakes;
mod goods;
mod openai;
mod paywall;
mod streams;
mod tls;
