//! Studies: a question in `study.toml`, raw samples below `raw/`, and everything that follows from them.
//!
//! What is generated is a function of committed files alone: [`generate`] reads no clock, no machine and no network, and
//! gives the same bytes everywhere. `paper.pdf` needs the feature `pdf`.
#![forbid(unsafe_code)]

pub mod agreement;
pub mod analysis;
pub mod bundle;
pub mod environment;
pub mod figure;
mod generate;
pub mod index;
pub mod lint;
#[cfg(feature = "pdf")]
mod paper;
pub mod plan;
pub mod raw;
mod report;
pub mod run;
pub mod schema;
mod table;
pub mod template;
mod text;
mod trouble;

pub use generate::{Generated, Machines, generate, manifest, write};
pub use trouble::Trouble;

use sha2::{Digest, Sha256};
use std::path::Path;

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a file. Errors: it cannot be read.
pub(crate) fn read_text(path: &Path) -> Result<String, Trouble> {
    std::fs::read_to_string(path).map_err(|error| Trouble::io(path, &error))
}
