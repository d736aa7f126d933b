//! What users of the actors can rely on.
//!
//! One program, so that it is linked once; a part runs alone by its name:
//! `cargo test --release -p agora-actors --test all agent::`.

mod agent;
mod attacks;
mod call;
mod counter;
mod facilitator;
mod fees;
mod fetch;
mod fetch_attacks;
mod fetch_paid;
mod formats;
mod keeper;
mod ledger;
mod log;
mod measure;
mod models;
mod node;
mod overload;
mod published;
mod relay;
mod scripted;
mod serve;
mod shop;
mod street;
mod till;
mod workers;
mod world;
