//! The tests of this crate, one binary: linked once, and run side by side.

mod blocks;
mod budgets;
mod clock;
mod greedy;
mod gym;
mod targets;
mod taso_search;
mod verify;
