//! Workspace chores: demo, test, guests, tidy.
fn main() {}
