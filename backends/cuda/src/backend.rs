//! The backend: from a model to a program, and what there is no kernel for.

use crate::attention::decompose;
use crate::compile::Cache;
use crate::expanded::{Expanded, expanded, read};
use crate::flash::has_kernel;
use crate::flat::{Refusal, flatten};
use crate::plan::{Needs, Ours, Plan, Step, Work};
use crate::planner::plan;
use crate::program::CudaProgram;
use crate::region::Generated;
use crate::view::Precision;
use crate::{bias, expand, gather, gemm, patches};
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

/// Which composite operators stay one call where there is a kernel for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Attention.
    pub attention: bool,
    /// Convolutions with their biases. Those of a fused function keep them in any case.
    pub biases: bool,
}

impl Whole {
    /// All that can.
    pub const ALL: Self = Self { attention: true, biases: true };
}

/// What competes for a product or convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contenders {
    /// The libraries' kernels, and ours.
    All,
    /// The libraries' kernels alone.
    Libraries,
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn unsupported(&self, model: &Model) -> Vec<Diagnostic> {
        let planned = self.expand(model, Whole::ALL, &[]).and_then(|expanded| self.planned(&expanded));
        planned.err().map(|Error(problems)| problems.0).unwrap_or_default()
    }

    /// Compiles each call to a kernel of its own; [`Cuda::expand`] is the way to kernels of several calls.
    fn compile(&self, model: &Model, options: &Options) -> Result<Box<dyn Program>, Error> {
        let expanded = self.expand(model, Whole { attention: options.calls == Calls::Claim, ..Whole::ALL }, &[])?;
        Ok(Box::new(self.prepare(&expanded, Contenders::All, options.memory_limit)?))
    }
}

impl Cuda {
    /// `model` in the calls that kernels run: functions inlined, and composite operators as what they mean but for those that stay
    /// `whole`. Inputs in `bound`, by position, have these contents.
    ///
    /// Errors: sizes that are not known, a call that does not fit its inputs.
    pub fn expand(&self, model: &Model, whole: Whole, bound: &[Option<Tensor>]) -> Result<Expanded, Error> {
        let mut flat = flatten(model, bound).map_err(|refusal| Error(report(&refusal, 1).into()))?;
        gather::flatten_positions(&mut flat);
        gemm::expand(&mut flat);
        patches::expand(&mut flat);
        expand::operators(&mut flat);
        if !whole.biases {
            bias::split(&mut flat);
        }
        decompose(&mut flat, &|flat, call| whole.attention && has_kernel(flat, call, self.precision));
        Ok(expanded(&flat, model, self.precision, bound))
    }

    /// The contents of `inputs` on which sizes of results of `model` may depend: lists of integers, and what resizing operators
    /// read beside their data. `None` when there are none. A program that was expanded for them refuses to run on others.
    pub fn deciding(model: &Model, inputs: &[Tensor]) -> Option<Vec<Option<Tensor>>> {
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
        bound.iter().any(Option::is_some).then_some(bound)
    }

    fn planned(&self, expanded: &Expanded) -> Result<Plan, Error> {
        let fail = |refusals: &[Refusal]| Error(Diagnostics(grouped(refusals)));
        let flat = read(expanded).map_err(|refusal| fail(&[refusal]))?;
        plan(&flat, self.precision).map_err(|refusals| fail(&refusals))
    }

    /// Prepares `expanded` on the device: one kernel for each region, and for each call outside of them. Errors: what there is no
    /// kernel for, an absent library, a refusal of the device, memory beyond the limit.
    pub fn prepare(
        &self,
        expanded: &Expanded,
        contenders: Contenders,
        memory_limit: usize,
    ) -> Result<CudaProgram, Error> {
        let mut plan = self.planned(expanded)?;
        if contenders == Contenders::Libraries {
            plan.leave_to_libraries();
        }
        Ok(CudaProgram::load(plan, &Cache::new(self.cache.clone()), memory_limit)?)
    }

    /// The source of every kernel that `expanded` needs, without a device; of those that compete with libraries for one result, the
    /// first that not only one architecture runs. Errors: what there is no kernel for.
    pub fn sources(&self, expanded: &Expanded) -> Result<Vec<String>, Error> {
        let plan = self.planned(expanded)?;
        let distinct: BTreeSet<String> = plan
            .steps
            .iter()
            .flat_map(|step| {
                let mut competing = competing(&step.work).iter().filter(|ours| ours.needs != Needs::Groups);
                kernels_of(&step.work).into_iter().chain(competing.next().map(|ours| &ours.kernel))
            })
            .map(|generated| generated.source.clone())
            .collect();
        Ok(distinct.into_iter().collect())
    }

    /// What a run launches, without a device. Errors: what there is no kernel for.
    pub fn listing(&self, expanded: &Expanded) -> Result<Vec<Listed>, Error> {
        Ok(self.planned(expanded)?.steps.iter().map(listed).collect())
    }
}

/// The generated kernels that `work` needs, whatever way is chosen.
pub(crate) fn kernels_of(work: &Work) -> Vec<&Generated> {
    match work {
        Work::Kernel(generated) => vec![generated],
        Work::Contraction(ways, _) => {
            let sums = ways.sums.iter().flat_map(|sums| sums.otherwise.iter().chain([&sums.after]));
            let before = ways.before.iter().flat_map(|step| kernels_of(&step.work));
            ways.otherwise.iter().chain(&ways.after).chain(sums).chain(before).collect()
        }
    }
}

/// The generated kernels that compete with libraries for the result of `work`.
pub(crate) fn competing(work: &Work) -> &[Ours] {
    match work {
        Work::Kernel(_) => &[],
        Work::Contraction(ways, _) => &ways.ours,
    }
}

/// `step` as the listing shows it before it is tuned.
pub(crate) fn listed(step: &Step) -> Listed {
    let kind = match &step.work {
        Work::Kernel(_) => "generated",
        Work::Contraction(ways, _) if !ways.has_library() => "generated",
        Work::Contraction(ways, _) if ways.is_convolution() => "cuDNN",
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
