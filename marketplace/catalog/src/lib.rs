//! Signed listings and quotes.
