//! The tests of this crate, one binary: linked once, and run side by side.

mod claims;
mod conformance;
mod program;
