//! The embedded backend: runs a model on the host.
//!
//! Kernels work on plain slices and shape structs; images are channels-last inside. Nothing here is `unsafe`: vector
//! code comes from `pulp`, which checks the machine at run time.
#![forbid(unsafe_code)]

pub mod attention;
pub mod broadcast;
pub mod chain;
mod claim;
pub mod conv;
pub mod elementwise;
pub mod epilogue;
pub mod gemm;
pub mod math;
pub mod matmul;
pub mod moves;
pub mod norm;
mod ops;
mod parallel;
mod plan;
pub mod pool;
mod program;
pub mod reduce;
mod reference;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod transpose;
pub mod unary;
mod value;
pub mod window;

pub use program::Cpu;
