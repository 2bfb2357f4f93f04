//! `cargo xtask test`: every test, with the reference tools that they compare against.

use crate::setup::{self, libclang, python, say};
use anyhow::Result;
use std::process::Command;

pub fn run() -> Result<()> {
    libclang()?;
    let python = python("tests/requirements.txt")?;
    say("testing");
    // One command, so that features are resolved once and nothing is built twice. Benches are built, not run.
    let arguments =
        ["test", "--workspace", "--features", "tensorrt,studies", "--lib", "--bins", "--tests", "--no-fail-fast"];
    // The loader finds NVRTC here; without it the kernels of the CUDA backend are generated, not compiled.
    let libraries = setup::nvidia_libraries(&python);
    setup::run(Command::new(env!("CARGO")).args(arguments).env("LD_LIBRARY_PATH", libraries))?;
    setup::run(Command::new(env!("CARGO")).args(["test", "--workspace", "--features", "tensorrt,studies", "--doc"]))
}
