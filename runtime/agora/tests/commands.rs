//! The commands over a node in memory.
