//! The engine port: streaming, cancellable, bounded generation.
