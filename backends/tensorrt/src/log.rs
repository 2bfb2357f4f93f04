//! Keeps what TensorRT says while it works.
//!
//! The library returns null and logs the reason, so each failure carries the lines captured since the last one. Of the
//! verbose lines only the listing of the engine's layers is kept.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// How bad a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// A defect inside the library.
    Internal,
    /// The work failed.
    Error,
    /// The work goes on.
    Warning,
    /// For the record.
    Info,
    /// Everything else.
    Verbose,
}

impl Severity {
    /// From the number that the library passes; what it doesn't define counts as verbose.
    pub fn from_number(number: i32) -> Self {
        match number {
            0 => Severity::Internal,
            1 => Severity::Error,
            2 => Severity::Warning,
            3 => Severity::Info,
            _ => Severity::Verbose,
        }
    }

    /// Whether the work failed.
    pub fn is_error(self) -> bool {
        self <= Severity::Error
    }
}

/// One line of the library's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How bad it is.
    pub severity: Severity,
    /// What it says.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Internal => "internal error",
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
            Severity::Verbose => "verbose",
        };
        write!(f, "TensorRT {severity}: {}", self.text)
    }
}

/// At most this many lines are kept; a library gone wild must not fill the memory.
const MAX_LINES: usize = 1000;

/// At most this many bytes of one line are kept.
const MAX_LINE_BYTES: usize = 16 << 10;

/// The captured log of one build. Safe to share with the library's own threads.
#[derive(Default)]
pub struct LogCapture {
    kept: Mutex<Kept>,
    observer: Option<Box<dyn Fn(&LogLine) + Send + Sync>>,
}

#[derive(Default)]
struct Kept {
    lines: Vec<LogLine>,
    listing: Option<String>,
}

impl LogCapture {
    /// Captures, and shows each kept line to `observer` at once, so that it outlives a crash.
    pub fn observed(observer: impl Fn(&LogLine) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..Self::default() }
    }

    /// Takes one message of the library.
    pub fn record(&self, severity: Severity, text: &str) {
        if severity == Severity::Verbose {
            if text.starts_with(LISTING_MARK) {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).listing = Some(text.to_owned());
            }
            return;
        }
        if severity == Severity::Info || is_noise(text) {
            return;
        }
        let line = LogLine { severity, text: shortened(text.trim_end()).to_owned() };
        if let Some(observer) = &self.observer {
            observer(&line);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.len() < MAX_LINES {
            kept.lines.push(line);
        }
    }

    /// The lines since the last call.
    pub fn take_lines(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner).lines)
    }

    /// Whether an error has been logged since the last [`Self::take_lines`].
    pub fn has_error(&self) -> bool {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines.iter().any(|line| line.severity.is_error())
    }

    /// The text of the last listing of engine layers.
    pub fn take_listing(&self) -> Option<String> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).listing.take()
    }
}

/// How the message that lists the engine's layers begins.
pub(crate) const LISTING_MARK: &str = "Layers:";

/// On a machine without a GPU every error is followed by a complaint that the driver is missing, which is not its cause.
fn is_noise(text: &str) -> bool {
    let driver = text.contains("cudaError 35") || text.contains("CUDA driver version is insufficient");
    driver || text.contains("Unable to determine GPU memory usage") || text.contains("CUDA initialization failure")
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_driver_is_not_reported_as_a_cause() {
        let log = LogCapture::default();
        log.record(Severity::Error, "ElementWise: broadcast dimensions must be conformable");
        log.record(Severity::Error, "[checkMacros.cpp::catchCudaError::229] Error Code 1: Cuda Runtime (cudaError 35)");
        assert_eq!(log.take_lines().len(), 1);
    }

    #[test]
    fn of_verbose_lines_only_the_listing_is_kept() {
        let log = LogCapture::default();
        log.record(Severity::Verbose, "Trying tactic 7");
        log.record(Severity::Verbose, "Layers:\nName: a");
        assert_eq!((log.take_lines().len(), log.take_listing().as_deref()), (0, Some("Layers:\nName: a")));
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        let log = LogCapture::default();
        log.record(Severity::Error, &"é".repeat(MAX_LINE_BYTES));
        assert_eq!(log.take_lines()[0].text.len(), MAX_LINE_BYTES);
    }
}
