//! The whole economy as one pure state machine: every command, one `apply`, and the ports to the outside world.

pub mod ports;
