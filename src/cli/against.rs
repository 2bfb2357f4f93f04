//! `--against`: what is tested, for `fuzz`, `reduce` and `compare`.

use super::{bound, misuse};
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::partners::{Partner, Program};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// How what is tested is found.
#[derive(Args)]
pub(super) struct Partners {
    /// The Python that has onnxruntime
    #[arg(long, value_name = "PATH", default_value = "python3")]
    python: PathBuf,
    /// Compute capability that TensorRT builds for, ten times the version
    #[arg(long, default_value_t = 86)]
    sm: u16,
    /// Most seconds of one run of a program or a command
    #[arg(long, default_value_t = 60.0, value_parser = bound, allow_negative_numbers = true)]
    timeout: f64,
}

impl Partners {
    /// What `name` says: cpu, ort, tensorrt, or the path of a program. Errors: it is not there.
    pub(super) fn partner(&self, name: &str, model: &Model, shapes: &str) -> Result<Partner, Diagnostics> {
        match name {
            "cpu" => Ok(Partner::Cpu),
            "ort" => Partner::onnx_runtime(&self.python),
            "tensorrt" => tensorrt(self.sm, model, shapes),
            path => {
                let path = std::path::absolute(path).unwrap_or(path.into());
                if !path.is_file() {
                    let why = format!("`--against {name}`: neither cpu, ort nor tensorrt, and no program lies there");
                    return Err(misuse(why));
                }
                Ok(Partner::Program(Program { path, most: self.most()? }))
            }
        }
    }

    /// Most time of one run. Errors: a number that is none.
    pub(super) fn most(&self) -> Result<Duration, Diagnostics> {
        Duration::try_from_secs_f64(self.timeout)
            .map_err(|error| misuse(format!("`--timeout {}`: {error}", self.timeout)))
    }
}

#[cfg(feature = "lowering")]
fn tensorrt(sm: u16, model: &Model, shapes: &str) -> Result<Partner, Diagnostics> {
    use crate::tensorrt::engine::{BuildOptions, Profile, ProfileRange};
    let mut options = BuildOptions::for_target(sm);
    let mut profile = Profile::default();
    for (input, shape) in crate::inputs::shapes_by_input(&model.graph, shapes)? {
        profile.inputs.push(ProfileRange {
            input,
            is_values: false,
            min: shape.clone(),
            opt: shape.clone(),
            max: shape,
        });
    }
    if !profile.inputs.is_empty() {
        options.profiles.push(profile);
    }
    Ok(Partner::TensorRt(crate::tensorrt::TensorRt { worker: super::lower::worker(None)?, options }))
}

#[cfg(not(feature = "lowering"))]
fn tensorrt(_: u16, _: &Model, _: &str) -> Result<Partner, Diagnostics> {
    Err(super::lower::without_tensorrt())
}
