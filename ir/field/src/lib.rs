//! Whole graphs in finite fields: two graphs that agree there on random inputs and weights are the same function, but for a
//! stated probability.
//!
//! What a graph computes from its inputs and weights by sums, products and quotients is evaluated modulo two primes of 23
//! bits ([`prime`]). Two different polynomials of degree d agree on a random point with probability d / p at most
//! (Schwartz 1980, Zippel 1979), in both lanes with its square. What is no polynomial:
//!
//! - **Roots** and **the larger of two** have stand-ins that keep the laws by which rules rearrange them ([`prime`]).
//! - **The largest of many** (pools, reductions) adds up cubes: associative and commutative, -inf neutral.
//! - **`Clip`** between two bounds is a pseudo-random function of the place between them, so that both can be scaled and moved.
//! - **Every other function** of one number (`Exp`, `Erf`, `Tanh`, ..) is a pseudo-random one of its operand in all lanes
//!   together. It keeps no law but that equal operands give equal results, and `exp(-inf) == 0`. So softmax is a quotient of
//!   sums, and is certified against every way to write that, but not against one that subtracts the maximum first.
//! - **Every other operator** is a pseudo-random function of all its operands: it must be called alike on both sides.
//! - **Comparisons** of residues ask whether a difference is a square; those of constants are decided in single precision.
//! - **Single constants** are the simple numbers next to them ([`constant`]), weights are drawn element by element by their value:
//!   equal elements are equal, opposite ones opposite, powers of two are themselves. So a weight that another tool
//!   transposed, cut or joined agrees with the original.
//! - **Constants that were folded** are computed anew in the field from what they were folded of ([`Origins`]).
//!
//! Rounding is no part of it, and neither is overflow: that is for a comparison in floating point.
#![forbid(unsafe_code)]

mod attention;
mod call;
pub mod constant;
mod pointwise;
pub mod prime;
mod product;
mod reduce;
mod run;
pub mod value;
mod windows;

pub use run::{Evaluation, Origins, evaluate};
pub use value::{Drawn, Value, equal, is_undefined};
