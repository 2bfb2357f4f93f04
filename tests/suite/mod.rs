//! ONNX's own backend tests as folders, for the tests that need them, and the Python that writes them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that has the package `onnx`; `None`, and a message, without it.
pub fn python() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    if !python.exists() {
        eprintln!("skipped: no .venv; `cargo xtask test` makes it");
        return None;
    }
    Some(python)
}

/// The folder of the generated suite; `None` without Python.
pub fn suite() -> Option<&'static Path> {
    static SUITE: OnceLock<Option<PathBuf>> = OnceLock::new();
    SUITE.get_or_init(write_suite).as_deref()
}

fn write_suite() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("onnx-suite");
    let output = Command::new(python()?).arg(root().join("tests/python/suite.py")).arg(target).output();
    let output = output.expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).expect("UTF-8").trim_end().into())
}
