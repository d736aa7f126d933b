//! What users of the rules can rely on.
//!
//! One program, so that it is linked once; a part runs alone by its name:
//! `cargo test --release -p agora-economy --test all admission::`.

mod admission;
mod calls;
mod cddl;
mod earnings;
mod export;
mod frames;
mod holds;
mod log;
mod random_history;
mod repeats;
mod rules;
mod snapshot;
mod split;
mod wire;
