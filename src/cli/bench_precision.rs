//! What the programs of a benchmark compute in, and the model in those numbers.

use super::Global;
use super::bench::Precision as Stored;
use super::precision::Precision;
use crate::fused::{cost, optimized};
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::ir::graph::{Graph, NodeId};
use crate::passes::precision::{Calibrator, Format, candidates};
use crate::passes::regions::Fusions;
use crate::passes::rules::Library;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Numbers {
    /// What the program computes in; f16 without it on the GPU, f32 on the CPU backend
    #[arg(long, value_enum)]
    precision: Option<In>,
    /// With int8 and fp8, samples for calibration: a folder of .npy, .npz or .pb files; or the cache of an earlier calibration
    #[arg(long, value_name = "PATH")]
    calib: Option<PathBuf>,
    /// How thresholds come from what calibration saw: max, entropy, mse, percentile or percentile:P
    #[arg(long, default_value = "entropy")]
    calibrator: Calibrator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum In {
    /// Single precision throughout
    F32,
    /// Single precision in memory, tf32 in products and convolutions
    Tf32,
    /// Half precision in memory, sums in single precision
    F16,
    /// bfloat16 in memory, sums in single precision
    Bf16,
    /// Products and convolutions with weights quantized to 8-bit integers, everything else as f16
    Int8,
    /// Products with weights quantized to 8-bit floating point (E4M3), everything else as f16
    Fp8,
}

impl Numbers {
    fn precision(&self) -> In {
        self.precision.unwrap_or(In::F16)
    }

    /// Whether numbers are asked for that the CPU backend, which computes in single precision, does not have.
    pub(super) fn is_rounded(&self) -> bool {
        matches!(self.precision, Some(In::Tf32 | In::F16 | In::Bf16))
    }

    /// How numbers that are not quantized are stored on a GPU.
    pub(super) fn stored(&self) -> Stored {
        match self.precision() {
            In::F32 => Stored::F32,
            In::Tf32 => Stored::Tf32,
            In::F16 | In::Int8 | In::Fp8 => Stored::F16,
            In::Bf16 => Stored::Bf16,
        }
    }

    fn format(&self) -> Option<Format> {
        match self.precision() {
            In::Int8 => Some(Format::Int8),
            In::Fp8 => Some(Format::Float8),
            _ => None,
        }
    }

    /// Whether products compute on quantized numbers.
    pub(super) fn is_quantized(&self) -> bool {
        self.format().is_some()
    }

    /// Its name on the command line.
    pub(super) fn name(&self) -> String {
        format!("{:?}", self.precision()).to_lowercase()
    }

    /// Quantizes `model`, where that is asked for: rewritten first, since scales are those of the values that are computed in the end.
    /// `file` is where it comes from; symbolic dims have the sizes that `shapes` gives.
    pub(super) fn quantize(
        &self,
        model: &mut Model,
        library: &Library,
        file: &Path,
        shapes: &str,
        global: &Global,
    ) -> Result<(), Diagnostics> {
        let Some(format) = self.format() else { return Ok(()) };
        optimized(model, library, &Fusions::none(), cost())?;
        let kept = if format == Format::Float8 { named_convolutions(&mut model.graph) } else { Vec::new() };
        Precision::quantized(format, self.calib.clone(), self.calibrator, kept).apply(model, file, shapes, global)?;
        Ok(())
    }
}

/// The names of all convolutions, which compute in half precision where products are of 8-bit floats; each gets one.
fn named_convolutions(graph: &mut Graph) -> Vec<String> {
    let convolutions = candidates(graph).into_iter().filter(|&id| graph.node(id).op.is("Conv"));
    let convolutions: Vec<NodeId> = convolutions.collect();
    for (at, &id) in convolutions.iter().enumerate() {
        if graph.node(id).name.is_empty() {
            graph.node_mut(id).name = format!("Conv:{at}").into();
        }
    }
    convolutions.into_iter().map(|id| graph.node(id).name.to_string()).collect()
}
