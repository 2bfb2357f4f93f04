//! NVIDIA's libraries: which of them this machine has.
//!
//! cudarc opens each library at its first call and panics when it is absent, so nothing in this crate calls into one
//! before [`require`] has found it.

#![allow(unsafe_code)]

use cudarc::{cublaslt, cudnn, driver, nvrtc};
use eutectic_ir::diag::{Diagnostic, Kind};
use std::sync::OnceLock;

/// One library that the backend uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The driver: `libcuda.so.1`.
    Driver,
    /// The run-time compiler of CUDA C++.
    Nvrtc,
    /// Matrix products.
    CublasLt,
    /// Convolutions and attention.
    Cudnn,
}

impl Library {
    /// All of them.
    pub const ALL: [Library; 4] = [Library::Driver, Library::Nvrtc, Library::CublasLt, Library::Cudnn];

    /// Its name, and what to install where it is missing.
    fn described(self) -> (&'static str, &'static str) {
        match self {
            Library::Driver => ("the CUDA driver", "install NVIDIA's driver, 570 or newer, on a machine with a GPU"),
            Library::Nvrtc => {
                ("NVRTC", "`pip install nvidia-cuda-nvrtc`, and put its `lib` directory on LD_LIBRARY_PATH")
            }
            Library::CublasLt => {
                ("cuBLASLt", "`pip install nvidia-cublas`, and put its `lib` directory on LD_LIBRARY_PATH")
            }
            Library::Cudnn => {
                ("cuDNN", "`pip install nvidia-cudnn-cu13`, and put its `lib` directory on LD_LIBRARY_PATH")
            }
        }
    }

    /// Its name for readers.
    pub fn name(self) -> &'static str {
        self.described().0
    }

    /// Whether the loader finds it; asked once in the life of the program.
    pub fn is_present(self) -> bool {
        static FOUND: [OnceLock<bool>; 4] = [const { OnceLock::new() }; 4];
        // SAFETY: opening a shared library runs its initialisers; those of NVIDIA's libraries have no preconditions.
        *FOUND[self as usize].get_or_init(|| unsafe {
            match self {
                Library::Driver => driver::sys::is_culib_present(),
                Library::Nvrtc => nvrtc::sys::is_culib_present(),
                Library::CublasLt => cublaslt::sys::is_culib_present(),
                Library::Cudnn => cudnn::sys::is_culib_present(),
            }
        })
    }
}

/// Errors when `library` is not on this machine: `B0301`, with what to install.
pub fn require(library: Library) -> Result<(), Diagnostic> {
    if library.is_present() {
        return Ok(());
    }
    let (name, help) = library.described();
    Err(Diagnostic::error(Kind::Unsupported, "B0301", format!("{name} is not on this machine")).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_library_is_an_error_that_says_what_to_install() {
        for library in Library::ALL.into_iter().filter(|library| !library.is_present()) {
            let problem = require(library).expect_err("it is absent");
            assert!(problem.help.as_deref().is_some_and(|help| help.contains("install")), "{problem:?}");
        }
    }
}
