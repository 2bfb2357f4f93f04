//! The backend: from a model to a program, and what there is no kernel for.

use crate::attention::decompose;
use crate::compile::Cache;
use crate::flash::has_kernel;
use crate::flat::{Refusal, flatten};
use crate::plan::{Plan, Step, Work, plan};
use crate::program::CudaProgram;
use crate::region::Generated;
use crate::view::Precision;
use crate::{expand, gather, gemm};
use eutectic_backend::{Backend, Calls, Error, Launch as Listed, Options, Program};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use eutectic_ir::graph::Use;
use eutectic_ir::model::Model;
use eutectic_ir::tensor::Tensor;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Inputs of operators that decide about sizes of results, and may be no integers.
const DECIDING: [(&str, u32); 6] =
    [("Resize", 1), ("Resize", 2), ("OneHot", 1), ("Range", 0), ("Range", 1), ("Range", 2)];

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
        self.planned(model, Calls::Claim, &[]).err().unwrap_or_default()
    }

    fn compile(&self, model: &Model, options: &Options) -> Result<Box<dyn Program>, Error> {
        Ok(Box::new(self.prepare(model, options)?))
    }
}

impl Cuda {
    fn planned(&self, model: &Model, calls: Calls, bound: &[Option<Tensor>]) -> Result<Plan, Vec<Diagnostic>> {
        let mut flat = flatten(model, calls, bound).map_err(|refusal| vec![report(&refusal, 1)])?;
        let fuse = calls == Calls::Claim;
        gather::flatten_positions(&mut flat);
        gemm::expand(&mut flat, fuse);
        expand::operators(&mut flat);
        decompose(&mut flat, &|flat, call| fuse && has_kernel(flat, call, self.precision));
        plan(&flat, self.precision, fuse).map_err(|refusals| grouped(&refusals))
    }

    fn loaded(&self, plan: Plan, options: &Options) -> Result<CudaProgram, Error> {
        Ok(CudaProgram::load(plan, &Cache::new(self.cache.clone()), options.memory_limit)?)
    }

    /// Prepares `model` on the device. Errors: what there is no kernel for, an absent library, a refusal of the device,
    /// memory beyond the limit.
    pub fn prepare(&self, model: &Model, options: &Options) -> Result<CudaProgram, Error> {
        let plan = self.planned(model, options.calls, &[]).map_err(|problems| Error(Diagnostics(problems)))?;
        self.loaded(plan, options)
    }

    /// Like [`Cuda::prepare`]; where that is refused, for these contents of the inputs on which sizes of results may depend:
    /// lists of integers, and what resizing operators read beside their data. Such a program refuses to run on others.
    pub fn prepare_for(&self, model: &Model, options: &Options, inputs: &[Tensor]) -> Result<CudaProgram, Error> {
        let problems = match self.planned(model, options.calls, &[]) {
            Ok(plan) => return self.loaded(plan, options),
            Err(problems) => problems,
        };
        let graph = &model.graph;
        let decides = |(at, tensor): (usize, &Tensor)| {
            let is_list = tensor.element().is_integer() && tensor.shape().len() < 2;
            let is_read = |(op, slot): (&str, u32)| {
                graph.inputs().get(at).is_some_and(|&input| {
                    graph.value(input).uses().any(|used| match used {
                        Use::Input(node, place) => place == slot && graph.node(node).op.is(op),
                        _ => false,
                    })
                })
            };
            (is_list || DECIDING.into_iter().any(is_read)).then(|| tensor.clone())
        };
        let bound: Vec<Option<Tensor>> = inputs.iter().enumerate().map(decides).collect();
        if bound.iter().all(Option::is_none) {
            return Err(Error(Diagnostics(problems)));
        }
        let plan = self.planned(model, options.calls, &bound).map_err(|problems| Error(Diagnostics(problems)))?;
        self.loaded(plan, options)
    }

    /// The source of every kernel that `model` needs, without a device. Errors: what there is no kernel for.
    pub fn sources(&self, model: &Model, calls: Calls) -> Result<Vec<String>, Error> {
        let plan = self.planned(model, calls, &[]).map_err(|problems| Error(Diagnostics(problems)))?;
        let distinct: BTreeSet<String> = plan
            .steps
            .iter()
            .flat_map(|step| kernels_of(&step.work))
            .map(|generated| generated.source.clone())
            .collect();
        Ok(distinct.into_iter().collect())
    }

    /// What a run launches, without a device. Errors: what there is no kernel for.
    pub fn listing(&self, model: &Model, calls: Calls) -> Result<Vec<Listed>, Error> {
        let plan = self.planned(model, calls, &[]).map_err(|problems| Error(Diagnostics(problems)))?;
        Ok(plan.steps.iter().map(listed).collect())
    }
}

/// The generated kernels that `work` may run.
pub(crate) fn kernels_of(work: &Work) -> Vec<&Generated> {
    match work {
        Work::Kernel(generated) => vec![generated],
        Work::Contraction(ways, _) => ways.otherwise.iter().chain(&ways.after).collect(),
    }
}

/// `step` as the listing shows it before it is tuned.
pub(crate) fn listed(step: &Step) -> Listed {
    let kind = match &step.work {
        Work::Kernel(_) => "generated",
        Work::Contraction(ways, _) if ways.convolution.is_some() => "cuDNN",
        Work::Contraction(..) => "cuBLASLt",
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
