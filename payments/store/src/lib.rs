//! The hash-chained command log and node state on redb.
