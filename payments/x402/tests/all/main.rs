//! What users of the wire types and schemes can rely on.
//!
//! One program, so that it is linked once; a part runs alone by its name:
//! `cargo test --release -p agora-x402 --test all attacks_buyer::`.

mod attacks_buyer;
mod attacks_check;
mod attacks_form;
mod attacks_seller;
mod common;
mod hostile;
mod interop;
mod schemas;
mod stock;
