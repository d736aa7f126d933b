//! Listings and quotes: what is offered, and what one call of it will cost at most, each signed by who says it.

mod book;
mod listing;
mod quote;

pub use book::Quotes;
pub use listing::{DatanetPart, Listing, ListingHost, find};
pub use quote::{QUOTE_LIFE_MAX_S, Quote, Readiness, TokenCaps};
