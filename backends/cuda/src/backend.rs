//! The backend: from a model to a program, and what there is no kernel for.

use crate::attention::{decompose, has_kernel};
use crate::compile::Cache;
use crate::flat::{Refusal, flatten};
use crate::plan::{Plan, Step, Work, plan};
use crate::program::CudaProgram;
use crate::region::Generated;
use crate::view::Precision;
use crate::{gather, gemm};
use eutectic_backend::{Backend, Calls, Error, Launch as Listed, Options, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::model::Model;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Runs models on the first GPU of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// In which precision a program computes.
    pub precision: Precision,
    /// Where compiled kernels and tuned choices are kept; `None` keeps nothing.
    pub cache: Option<PathBuf>,
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn unsupported(&self, model: &Model) -> Vec<Diagnostic> {
        self.planned(model, Calls::Claim).err().unwrap_or_default()
    }

    fn compile(&self, model: &Model, options: &Options) -> Result<Box<dyn Program>, Error> {
        Ok(Box::new(self.prepare(model, options)?))
    }
}

impl Cuda {
    fn planned(&self, model: &Model, calls: Calls) -> Result<Plan, Vec<Diagnostic>> {
        let mut flat = flatten(model, calls).map_err(|refusal| vec![report(&refusal, 1)])?;
        let fuse = calls == Calls::Claim;
        gather::flatten_positions(&mut flat);
        gemm::expand(&mut flat, fuse);
        decompose(&mut flat, &|flat, call| fuse && self.precision == Precision::F16 && has_kernel(flat, call));
        plan(&flat, self.precision, fuse).map_err(|refusals| grouped(&refusals))
    }

    /// Prepares `model` on the device. Errors: what there is no kernel for, an absent library, a refusal of the device,
    /// memory beyond the limit.
    pub fn prepare(&self, model: &Model, options: &Options) -> Result<CudaProgram, Error> {
        let plan = self.planned(model, options.calls).map_err(|problems| Error(Diagnostics(problems)))?;
        let mut program = CudaProgram::load(plan, &Cache::new(self.cache.clone()), options.memory_limit)?;
        program.record()?;
        Ok(program)
    }

    /// The source of every kernel that `model` needs, without a device. Errors: what there is no kernel for.
    pub fn sources(&self, model: &Model, calls: Calls) -> Result<Vec<String>, Error> {
        let plan = self.planned(model, calls).map_err(|problems| Error(Diagnostics(problems)))?;
        let distinct: BTreeSet<String> =
            plan.steps.iter().filter_map(|step| Some(kernel_of(&step.work)?.source.clone())).collect();
        Ok(distinct.into_iter().collect())
    }

    /// What a run launches, without a device. Errors: what there is no kernel for.
    pub fn listing(&self, model: &Model, calls: Calls) -> Result<Vec<Listed>, Error> {
        let plan = self.planned(model, calls).map_err(|problems| Error(Diagnostics(problems)))?;
        Ok(plan.steps.iter().map(listed).collect())
    }
}

/// The generated kernel of `work`, if it has one.
pub(crate) fn kernel_of(work: &Work) -> Option<&Generated> {
    match work {
        Work::Kernel(generated) | Work::Convolution { otherwise: generated, .. } => Some(generated),
        Work::Product { .. } => None,
    }
}

/// `step` as the listing shows it before it is tuned.
pub(crate) fn listed(step: &Step) -> Listed {
    let kind = match &step.work {
        Work::Kernel(_) => "generated",
        Work::Product { .. } => "cuBLASLt",
        Work::Convolution { .. } => "cuDNN",
    };
    Listed { name: step.name.clone(), kind: kind.into(), nodes: step.nodes.clone() }
}

/// One diagnostic for each operator and reason.
fn grouped(refusals: &[Refusal]) -> Vec<Diagnostic> {
    let mut seen: Vec<(String, &Refusal, usize)> = Vec::new();
    for refusal in refusals {
        let key = format!("{} {}", refusal.call.split(' ').next().unwrap_or_default(), refusal.reason);
        match seen.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, _, n)) => *n += 1,
            None => seen.push((key, refusal, 1)),
        }
    }
    seen.into_iter().map(|(_, refusal, n)| report(refusal, n)).collect()
}

fn report(refusal: &Refusal, n: usize) -> Diagnostic {
    let message = format!("the cuda backend cannot run {}: {}", refusal.call, refusal.reason);
    let problem = Diagnostic::error(Kind::Unsupported, "B0310", message);
    let problem = if n > 1 { problem.note(format!("{n} such calls")) } else { problem };
    problem.help("the cpu backend runs it: --backend cpu")
}
