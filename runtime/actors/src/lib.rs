//! The supervised actors of a node and the one readable path of a paid call.
