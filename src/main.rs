//! The `eutectic` program.
fn main() {}
