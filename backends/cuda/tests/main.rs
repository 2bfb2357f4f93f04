//! The tests of this crate, one binary: linked once, and run side by side.

mod kernels;
mod quantized;
