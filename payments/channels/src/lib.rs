//! Unidirectional payment channels with the semantics of x402 batch-settlement.
