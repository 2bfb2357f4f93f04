//! What cuDNN computes in one kernel besides convolutions, and what it offers for that.

use crate::cudnn::{Cudnn, CudnnPlan, Engine, Note};
use crate::fused_attention::FusedAttention;
use crate::fused_normalization::FusedNormalization;
use crate::view::Scalar;
use eutectic_ir::diag::Diagnostic;

/// What one engine computes. It is checked against the first kernel of ours for the same.
#[derive(Clone, Debug, PartialEq)]
pub enum Fused {
    /// Attention without a mask.
    Attention(Box<FusedAttention>),
    /// The normalization of each row.
    Normalization(FusedNormalization),
}

impl Fused {
    /// What the list of its engines is called.
    pub fn list(&self) -> &'static str {
        match self {
            Self::Attention(_) => "cuDNN attention",
            Self::Normalization(_) => "cuDNN normalization",
        }
    }

    /// Elements of the result, and how they are stored.
    pub(crate) fn result(&self) -> (usize, Scalar) {
        match self {
            Self::Attention(attention) => (attention.out.shape.iter().product(), attention.scalar),
            Self::Normalization(rows) => (rows.rows * rows.columns, rows.scalar),
        }
    }
}

impl Cudnn {
    /// The engines that the heuristics offer for `fused`, in their order, at most `n`. Errors: it cannot be described, or there
    /// is no engine for it.
    pub fn fused_engines(&self, fused: &Fused, n: usize) -> Result<Vec<Engine>, Diagnostic> {
        let graph = match fused {
            Fused::Attention(attention) => self.attention_graph(attention)?,
            Fused::Normalization(normalization) => self.normalization_graph(normalization)?,
        };
        self.offered(graph, n, &is_steady)
    }

    /// Prepares `engine`; this may compile a kernel. Errors: the engine does not support it after all.
    pub fn fused_plan(&self, fused: &Fused, engine: &Engine) -> Result<CudnnPlan, Diagnostic> {
        let arguments = match fused {
            Fused::Attention(attention) => self.attention_arguments(attention),
            Fused::Normalization(normalization) => normalization.arguments(),
        };
        self.prepared(engine, arguments)
    }
}

/// Whether each run of an engine with `notes` gives the same. Whether results have digits enough is found out by a comparison.
pub(crate) fn is_steady(notes: Option<&[Note]>) -> bool {
    notes.is_some_and(|notes| !notes.contains(&Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC))
}
