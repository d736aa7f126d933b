//! The agora program: node and command line in one binary.
fn main() {}
