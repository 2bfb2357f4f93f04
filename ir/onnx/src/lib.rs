//! ONNX files in and out, under stated budgets.
//!
//! For any bytes and any directory content, reading ends within its [`Limits`] with a model or a typed error; it opens
//! regular files below the granted directory only, and it never panics. Weights are slices of what was read: each large
//! one has an allocation of its own, so the file is in memory once and a weight can be freed by itself.
//!
//! | codes | what |
//! |---|---|
//! | `L0100`..`L0119` | the bytes of the file: format, protobuf, budgets |
//! | `L0120`..`L0129` | opening and reading |
//! | `L0130`..`L0159` | external data |
//! | `L0160`..`L0179` | writing |
#![forbid(unsafe_code)]

mod elements;
mod external;
mod input;
mod limits;
mod load;
mod proto;
mod rope;
mod save;
mod scan;
mod sniff;
mod wire;

pub use external::Policy;
pub use limits::Limits;

/// The version of ONNX whose schema this crate knows.
pub const ONNX: &str = "1.23";

#[cfg(test)]
mod tests;
