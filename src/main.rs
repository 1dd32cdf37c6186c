//! The one binary: each command is one arm.
fn main() {}
