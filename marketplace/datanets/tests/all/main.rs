//! What contributors, curators and owners can rely on: stable bytes, and rules that order, copies and hostile files do
//! not bend.

mod checks;
mod commit;
mod export;
mod formats;
mod kit;
mod membership;
mod readers;
mod scale;
mod similar;
mod version;
