//! What several test programs need.

use eutectic_tensorrt::{Error, Worker};
use std::path::Path;
use std::time::Duration;

/// The worker, when the library is installed.
pub fn worker() -> Option<Worker> {
    let program = env!("CARGO_BIN_EXE_eutectic-tensorrt-worker").into();
    // Tests run in the directory of the crate; the environment stands at the root.
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv");
    let library = (std::env::var_os("VIRTUAL_ENV").is_none() && environment.is_dir()).then_some(environment);
    let worker = Worker { program, arguments: Vec::new(), library, timeout: Duration::from_secs(300) };
    match worker.library_version() {
        Ok(_) => Some(worker),
        Err(error @ (Error::LibraryMissing { .. } | Error::NoBindings)) => {
            eprintln!("skipped: {}", error.diagnostic());
            None
        }
        Err(error) => panic!("{}", error.diagnostic()),
    }
}
