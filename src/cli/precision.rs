//! What `quantize` and `lower` share: lower precision as trtexec's flags ask for it, calibration included.

use super::{Global, file_hash, misuse, progress};
use crate::calibrate::{Sample, calibrate, load_cache, read_sample, samples_in, save_cache};
use crate::inputs::{seeded, sizes_from_shapes};
use crate::ir::diag::{Diagnostic, Diagnostics};
use crate::ir::{Element, Model};
use crate::passes::cse::cse;
use crate::passes::dce::dce;
use crate::passes::fold::{FoldBudget, fold};
use crate::passes::pass::{Pass, PassReport, Pipeline};
use crate::passes::pipeline::types;
use crate::passes::precision::{Autocast, Calibrator, Format, Quantize, Ranges, autocast, name_values, quantize};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Precision {
    /// Compute in float16 where it is safe
    #[arg(long, conflicts_with = "bf16")]
    fp16: bool,
    /// Compute in bfloat16 where it is safe
    #[arg(long)]
    bf16: bool,
    /// Quantize products and convolutions to 8-bit integers
    #[arg(long, conflicts_with_all = ["fp8", "int4"])]
    int8: bool,
    /// Quantize products and convolutions to 8-bit floating point (E4M3)
    #[arg(long, conflicts_with = "int4")]
    fp8: bool,
    /// Quantize constant matrices to 4-bit integers, with a scale for so many elements
    #[arg(long, value_name = "BLOCK", num_args = 0..=1, default_missing_value = "128")]
    int4: Option<usize>,
    /// Samples for calibration: a folder of .npy, .npz or .pb files; or the cache of an earlier calibration
    #[arg(long, value_name = "PATH")]
    calib: Option<PathBuf>,
    /// Write what calibration saw here
    #[arg(long = "calibCache", value_name = "FILE", requires = "calib")]
    calib_cache: Option<PathBuf>,
    /// How thresholds come from what calibration saw: max, entropy, mse, percentile or percentile:P
    #[arg(long, default_value = "entropy")]
    calibrator: Calibrator,
    /// Nodes that stay in single precision, by name
    #[arg(long, value_name = "NODES", value_delimiter = ',')]
    keep: Vec<String>,
}

impl Precision {
    /// Quantized to `format` with the samples in `calib`, but for the nodes `keep`.
    pub(super) fn quantized(format: Format, calib: Option<PathBuf>, calibrator: Calibrator, keep: Vec<String>) -> Self {
        let int4 = match format {
            Format::Int4 { block } => Some(block),
            _ => None,
        };
        Self {
            fp16: false,
            bf16: false,
            int8: format == Format::Int8,
            fp8: format == Format::Float8,
            int4,
            calib,
            calib_cache: None,
            calibrator,
            keep,
        }
    }

    /// Whether any precision but the model's own is asked for.
    pub(super) fn is_asked(&self) -> bool {
        self.fp16 || self.bf16 || self.format().is_some()
    }

    /// What is computed in, as trtexec says it.
    #[cfg(feature = "lowering")]
    pub(super) fn in_words(&self) -> String {
        let format = self.format().map(|format| match format {
            Format::Int8 => "INT8",
            Format::Float8 => "FP8",
            Format::Int4 { .. } => "INT4",
        });
        let half = if self.fp16 { Some("FP16") } else { self.bf16.then_some("BF16") };
        let words: Vec<&str> = ["FP32"].into_iter().chain(half).chain(format).collect();
        words.join("+")
    }

    /// What is quantized to, if anything.
    pub(super) fn format(&self) -> Option<Format> {
        match (self.int8, self.fp8, self.int4) {
            (true, ..) => Some(Format::Int8),
            (_, true, _) => Some(Format::Float8),
            (.., Some(block)) => Some(Format::Int4 { block }),
            _ => None,
        }
    }

    /// Lowers the precision of `model`, which is optimized and inlined; `file` is where it comes from. Symbolic dims that no
    /// sample settles have the sizes that `shapes` gives.
    pub(super) fn apply(
        &self,
        model: &mut Model,
        file: &Path,
        shapes: &str,
        global: &Global,
    ) -> Result<Vec<PassReport>, Diagnostics> {
        let format = self.format();
        let wants_ranges = matches!(format, Some(Format::Int8 | Format::Float8)) || self.calib.is_some();
        let ranges = if wants_ranges { Some(self.ranges(model, file, shapes, global)?) } else { None };
        let mut passes: Vec<Pass> = Vec::new();
        if let Some(format) = format {
            passes.push(quantize(self.quantization(format, ranges.clone().unwrap_or_default())));
        }
        if self.fp16 || self.bf16 {
            let to = if self.fp16 { Element::Float16 } else { Element::Bfloat16 };
            passes.push(autocast(Autocast { to, keep: self.kept(), ranges }));
        }
        passes.extend([fold(FoldBudget::STANDARD, false), cse(), dce(), types()]);
        let reports = Pipeline(passes).run(model)?;
        for report in &reports {
            global.warn(&report.change.notes);
        }
        Ok(reports)
    }

    pub(super) fn quantization(&self, format: Format, ranges: Ranges) -> Quantize {
        Quantize { format, calibrator: self.calibrator, ranges, keep: self.kept(), only: None }
    }

    fn kept(&self) -> Vec<crate::ir::Name> {
        self.keep.iter().map(Into::into).collect()
    }

    /// What each value of `model` was: read from a cache, or counted over samples.
    pub(super) fn ranges(
        &self,
        model: &mut Model,
        file: &Path,
        shapes: &str,
        global: &Global,
    ) -> Result<Ranges, Diagnostics> {
        let Some(path) = &self.calib else {
            let message = "no samples are given: ranges come from one random input, so only times mean anything";
            global.warn(&Diagnostic::warning("C0150", message).help("give `--calib DIR`").into());
            let sample = seeded(model, &sizes_from_shapes(&model.graph, shapes)?, 0)?;
            return calibrate(model, &mut std::iter::once(Ok(sample)), &mut |_| {});
        };
        if path.is_file() {
            name_values(&mut model.graph);
            return Ok(load_cache(path, &file_hash(file)?)?.0);
        }
        let files = samples_in(path)?;
        let source = model.clone();
        let mut samples = files.iter().map(|sample| -> Result<Sample, Diagnostics> { read_sample(&source, sample) });
        let bar = progress(global, files.len(), "calibrating {bar:30} {pos}/{len} samples, {eta} left");
        let ranges = calibrate(model, &mut samples, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        if let Some(cache) = &self.calib_cache {
            save_cache(cache, &ranges, &file_hash(file)?, files.len())?;
        }
        if ranges.0.values().any(|seen| seen.n_not_finite() > 0) {
            return Err(misuse(
                "a sample makes a value of the model infinite or not a number: its ranges mean nothing",
            ));
        }
        Ok(ranges)
    }
}
