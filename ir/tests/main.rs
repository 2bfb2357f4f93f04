//! The tests of this crate, one binary: linked once, and run side by side.

mod dynamic;
mod narrow;
mod node_cases;
mod schema;
mod text;
