//! Why a call has no TensorRT form, and what has.

use std::fmt;

/// A reason, and the nearest form that can be lowered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refusal {
    /// A sentence without a full stop.
    pub(super) reason: String,
    /// What to write instead.
    pub(super) instead: Option<String>,
}

impl Refusal {
    /// A reason from its sentence.
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), instead: None }
    }

    /// Adds what to write instead.
    pub(super) fn instead(mut self, instead: impl Into<String>) -> Self {
        self.instead = Some(instead.into());
        self
    }
}

/// Why operator `op`, which has no lowering, has none. TensorRT for RTX 1.7 has layers for NonZero and NonMaxSuppression and infers
/// their extents, but its builder "has no runners that implement" either.
pub(super) fn without_lowering(op: &str) -> Refusal {
    let instead = match op {
        "NonZero" => "a mask, and Where",
        "NonMaxSuppression" => "TopK of the scores, with the suppression outside of the engine",
        "Unique" => "OneHot and ReduceMax, for a known number of values",
        _ => return Refusal::new("it has no lowering to TensorRT"),
    };
    Refusal::new("the extents of its result depend on contents").instead(instead)
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::new(reason)
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::new(reason)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
