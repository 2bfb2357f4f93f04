//! Trial builds: whether a model can be lowered and built when its inputs are at hand, as those of a conformance case.

use crate::backend::EngineReport;
use crate::engine::{BuildOptions, Profile, ProfileRange, build_in};
use crate::lower::{self, LowerOptions};
use crate::spec::NetworkSpec;
use crate::worker::Session;
use eutectic_ir::diag::{Diagnostics, Kind, Severity};
use eutectic_ir::{Model, Tensor, infer};

/// A model that was built.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What came of it.
    pub report: EngineReport,
    /// The network that was built.
    pub spec: NetworkSpec,
    /// The inputs whose contents had to be known: the model was built for those of the trial.
    pub constant: Vec<String>,
}

/// Lowers and builds `model` for its inputs, `None` where one is left to its default. The profile of a dynamic input is its shape,
/// that of a shape tensor its contents.
///
/// A model that is refused is tried again with its small inputs as constants, since ONNX takes axes, extents and scales from inputs
/// that no TensorRT layer reads at run time. Errors: those of the lowering, or what the library said.
pub fn build(
    session: &mut Session,
    options: &BuildOptions,
    model: &Model,
    inputs: &[Option<Tensor>],
) -> Result<Trial, Diagnostics> {
    let refused = match attempt(session, options, model, inputs) {
        Ok((report, spec)) => return Ok(Trial { report, spec, constant: Vec::new() }),
        Err(refused) => refused,
    };
    let is_refusal = |refused: &Diagnostics| {
        let mut errors = refused.0.iter().filter(|problem| problem.severity == Severity::Error);
        errors.all(|problem| problem.kind == Kind::Unsupported)
    };
    let mut specialized = model.clone();
    let constant = bind(&mut specialized, inputs);
    if constant.is_empty() || !is_refusal(&refused) {
        return Err(refused);
    }
    attempt(session, options, &specialized, inputs).map(|(report, spec)| Trial { report, spec, constant })
}

fn attempt(
    session: &mut Session,
    options: &BuildOptions,
    model: &Model,
    inputs: &[Option<Tensor>],
) -> Result<(EngineReport, NetworkSpec), Diagnostics> {
    let profiles = profile(model, inputs).into_iter().collect();
    let lowered = lower::lower(model, &LowerOptions { profiles })?;
    let options = BuildOptions { profiles: lowered.profiles, ..options.clone() };
    let built = build_in(session, &lowered.spec, &options);
    let (network, engine) = built.map_err(|error| Diagnostics::from(error.diagnostic()))?;
    Ok((EngineReport::new(network, &engine), lowered.spec))
}

/// The most elements of a shape tensor.
const SMALL: usize = 64;

fn is_small(tensor: &Tensor) -> bool {
    tensor.shape().len() <= 1 && tensor.count() <= SMALL
}

/// The ranges of exactly these inputs; `None` when no input needs one.
fn profile(model: &Model, inputs: &[Option<Tensor>]) -> Option<Profile> {
    let graph = &model.graph;
    let mut ranges = Vec::new();
    for (&id, tensor) in graph.inputs().iter().zip(inputs) {
        let (value, Some(tensor)) = (graph.value(id), tensor) else { continue };
        let mut add = |is_values: bool, list: Vec<i64>| {
            let (min, opt, max) = (list.clone(), list.clone(), list);
            ranges.push(ProfileRange { input: value.name.to_string(), is_values, min, opt, max });
        };
        if graph.ty(id).is_some_and(|ty| ty.sizes().is_none()) {
            add(false, tensor.shape().iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect());
        }
        if let Some(contents) = tensor.to_i64s().filter(|contents| is_small(tensor) && !contents.is_empty())
            && value.uses().len() > 0
        {
            add(true, contents);
        }
    }
    (!ranges.is_empty()).then_some(Profile { inputs: ranges })
}

/// Makes the small inputs of `model` constants, but for the first, which is data; their names.
fn bind(model: &mut Model, inputs: &[Option<Tensor>]) -> Vec<String> {
    let mut bound = Vec::new();
    let ids: Vec<_> = model.graph.inputs().to_vec();
    for (&id, tensor) in ids.iter().zip(inputs).skip(1) {
        let Some(tensor) = tensor.as_ref().filter(|tensor| is_small(tensor)) else { continue };
        let name = model.graph.value(id).name.to_string();
        let weight = model.graph.add_weight(format!("{name} as given"), tensor.clone());
        model.graph.replace_uses(id, weight);
        bound.push(name);
    }
    infer::infer(model);
    bound
}
