//! Signed receipts, their split, their transparency log and offline proofs.
