//! Measured attribution as a host asks for it: one answer in, evidence out.

use std::future::Future;
use std::pin::Pin;

use agora_attribution::{AttributionSpec, Evidence};
use agora_types::{Amount, Code, Hash};

/// Evidence that is still on its way.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<Evidence, AttributionFailure>> + Send + 'a>>;

/// It could not be measured; the same may be asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct AttributionFailure {
    /// The stable code.
    pub code: Code,
    /// What went wrong.
    pub what: String,
}

/// An answer that was given and paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Hash of the attribution spec that its listing names.
    pub spec: Hash,
    /// Bytes of the request, as the quote committed to them; caps already in it.
    pub request: Vec<u8>,
    /// Bytes of the answer that the buyer has.
    pub response: Vec<u8>,
    /// The contributors' part of its charge.
    pub pool: Amount,
}

/// Measures answers. Callable from many tasks; slow, and bounded by who implements it.
///
/// The same answer under the same spec gives evidence that recomputes to the same shares; its query vector may differ in
/// the last digits between machines, which is why a host keeps the evidence that it used.
pub trait Attributor: Send + Sync {
    /// Whether it has what the spec commits to.
    fn knows(&self, spec: &Hash) -> bool;

    /// The spec by which an adapter's answers are measured here.
    fn spec_of(&self, adapter: &Hash) -> Option<AttributionSpec>;

    /// A spec that it knows.
    fn spec(&self, spec: &Hash) -> Option<AttributionSpec>;

    /// Measures one answer.
    fn attribute(&self, answer: Answer) -> Pending<'_>;
}
