//! The tests of this crate, one binary: linked once, and run side by side.

mod common;
mod control;
mod engines;
mod explain;
mod families;
mod lowering;
mod misuse;
mod onnx;
mod recurrent;
mod workers;
