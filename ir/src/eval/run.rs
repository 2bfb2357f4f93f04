//! The interpreter: one topological walk.

use super::{Datum, EvalCall, Scalar};
use crate::attr::Attrs;
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::model::Model;
use crate::op::Reason;
use crate::tensor::Tensor;
use crate::walk;
use std::fmt;

/// Why a graph could not be run: which call, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// Operator and name of the call.
    pub call: String,
    /// Why it could not be evaluated.
    pub reason: Reason,
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, self.reason)
    }
}

impl std::error::Error for EvalError {}

/// Runs `model` in the carrier `S`, rounding after each call. `inputs` stand by position; one with a default may be `None`.
pub fn run_model<S: Scalar>(model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Datum<S>>, EvalError> {
    let fail = |reason| EvalError { call: "the inputs".into(), reason };
    let read = |(at, id): (usize, &ValueId)| {
        let default = match model.graph.value(*id).def() {
            Def::Input { default, .. } => default.as_ref(),
            _ => None,
        };
        let given = inputs.get(at).and_then(Option::as_ref).or(default);
        Datum::of_tensor(given.ok_or_else(|| Reason(format!("input {at} is missing")))?)
    };
    let inputs = model.graph.inputs().iter().enumerate().map(read).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    run_graph(&model.graph, &inputs, &[], &Attrs::new(), true)
}

/// Runs `graph`; references to formal attributes are taken from `formals`.
///
/// With `round`, results are rounded to their element type after each call, as hardware does; without, the carrier's
/// own precision is kept. Errors: the first call that fails, in topological order.
pub fn run_graph<S: Scalar>(
    graph: &Graph,
    inputs: &[Datum<S>],
    captures: &[Datum<S>],
    formals: &Attrs,
    round: bool,
) -> Result<Vec<Datum<S>>, EvalError> {
    let order = walk::order(graph)
        .map_err(|_| EvalError { call: format!("graph `{}`", graph.name), reason: Reason::new("it has a cycle") })?;
    let mut values: Vec<Option<Datum<S>>> = vec![None; graph.value_bound()];
    let mut reads_left: Vec<usize> = vec![0; graph.value_bound()];
    for (id, value) in graph.values() {
        reads_left[id.index()] = value.uses().len();
        values[id.index()] = match value.def() {
            Def::Input { index, .. } => inputs.get(*index as usize).cloned(),
            Def::Capture(index) => captures.get(*index as usize).cloned(),
            // Weights are read when they are used, so that a large model does not exist twice.
            Def::Weight(_) | Def::Result(..) => None,
        };
    }
    for id in order {
        let node = graph.node(id);
        let fail = |reason| EvalError { call: describe(node), reason };
        let fetch = |value: ValueId| fetch(graph, &values, value);
        let arguments: Vec<Option<Datum<S>>> =
            node.inputs().iter().map(|input| input.map(fetch).transpose()).collect::<Result<_, _>>().map_err(fail)?;
        let captured: Vec<Datum<S>> =
            node.captures().iter().map(|&value| fetch(value)).collect::<Result<_, _>>().map_err(fail)?;
        let attrs = node.attrs.bind(formals);
        let results = run_call(&node.op, &attrs, &arguments, &captured, node.outputs().len(), round)
            .map_err(|error| if error.call.is_empty() { fail(error.reason) } else { error })?;
        drop(arguments);
        for read in node.reads() {
            let left = &mut reads_left[read.index()];
            *left = left.saturating_sub(1);
            if *left == 0 {
                values[read.index()] = None;
            }
        }
        for (&output, result) in node.outputs().iter().zip(results) {
            values[output.index()] = Some(result);
        }
    }
    let read_output = |output: &crate::graph::Output| {
        fetch(graph, &values, output.value)
            .map_err(|reason| EvalError { call: format!("output `{}`", output.name), reason })
    };
    graph.outputs().iter().map(read_output).collect()
}

/// Runs one call. An error with an empty `call` is about this call itself, any other about one inside its body.
pub fn run_call<S: Scalar>(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<Datum<S>>],
    captures: &[Datum<S>],
    n_outputs: usize,
    round: bool,
) -> Result<Vec<Datum<S>>, EvalError> {
    let here = |reason| EvalError { call: String::new(), reason };
    let results = match op {
        Op::Builtin(def) => {
            let call = EvalCall { attrs, inputs, captures, n_outputs };
            let eval =
                S::select(&def.eval).ok_or_else(|| here(Reason(format!("{} is not run in {}", def.name, S::NAME))))?;
            eval(&call).map_err(here)?
        }
        Op::Function(function) => {
            let given: Option<Vec<Datum<S>>> = inputs.iter().cloned().collect();
            let given = given.ok_or_else(|| here(Reason::new("a function is called with an input left out")))?;
            run_graph(&function.body, &given, &[], attrs, round)?
        }
        Op::Opaque(_) => return Err(here(Reason::new("the operator is not known"))),
    };
    if results.len() < n_outputs {
        return Err(here(Reason(format!("{n_outputs} outputs are wanted, {} are computed", results.len()))));
    }
    Ok(if round { results.into_iter().map(Datum::rounded).collect() } else { results })
}

fn fetch<S: Scalar>(graph: &Graph, values: &[Option<Datum<S>>], value: ValueId) -> Result<Datum<S>, Reason> {
    match (&values[value.index()], graph.weight(value)) {
        (Some(datum), _) => Ok(datum.clone()),
        (None, Some(tensor)) => Datum::of_tensor(tensor),
        (None, None) => Err(Reason(format!("value `{}` is not computed", graph.value(value).name))),
    }
}

fn describe(node: &Node) -> String {
    if node.name.is_empty() { node.op.to_string() } else { format!("{} `{}`", node.op, node.name) }
}
