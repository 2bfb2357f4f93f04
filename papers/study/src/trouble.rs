//! What goes wrong with a study.

use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use std::path::Path;

/// The error of this crate: diagnostics with code, place, cause and next step.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble(pub Diagnostics);

impl Trouble {
    /// Something that is not as it must be.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic::error(Kind::Invalid, code, message).into()
    }

    /// The operating system refused.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::from(Diagnostic::error(Kind::Io, "S0001", error.to_string())).in_file(path)
    }

    /// The place of those without one.
    pub fn in_file(mut self, path: &Path) -> Self {
        for diagnostic in &mut self.0.0 {
            diagnostic.place.file.get_or_insert_with(|| path.to_path_buf());
        }
        self
    }

    /// The next step of those without one.
    pub fn help(mut self, help: &str) -> Self {
        for diagnostic in &mut self.0.0 {
            diagnostic.help.get_or_insert_with(|| help.to_owned());
        }
        self
    }
}

impl From<Diagnostic> for Trouble {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(diagnostic.into())
    }
}

impl From<Trouble> for Diagnostics {
    fn from(trouble: Trouble) -> Self {
        trouble.0
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Trouble {}
