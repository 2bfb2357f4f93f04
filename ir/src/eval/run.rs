//! The interpreter: one topological walk.

use super::{Datum, EvalCall, Scalar};
use crate::attr::Attrs;
use crate::graph::{Def, Graph, Node, Op, ValueId};
use crate::model::Model;
use crate::op::Reason;
use crate::tensor::Tensor;
use crate::value::Value;
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
/// Errors: the first call that fails, and an input or output that is no tensor.
pub fn run_model<S: Scalar>(model: &Model, inputs: &[Option<Tensor>]) -> Result<Vec<Datum<S>>, EvalError> {
    let inputs: Vec<Option<Value<Tensor>>> = inputs.iter().map(|input| input.clone().map(Value::Tensor)).collect();
    let outputs = run_values(model, &inputs)?.into_iter().zip(model.graph.outputs());
    let tensor = |(value, output): (Value<Datum<S>>, &crate::graph::Output)| {
        let reason = Reason(format!("it is {}", value.kind()));
        value.into_tensor().ok_or_else(|| EvalError { call: format!("output `{}`", output.name), reason })
    };
    outputs.map(tensor).collect()
}

/// The same for a model whose inputs or outputs may be sequences or optional values.
pub fn run_values<S: Scalar>(
    model: &Model,
    inputs: &[Option<Value<Tensor>>],
) -> Result<Vec<Value<Datum<S>>>, EvalError> {
    let fail = |reason| EvalError { call: "the inputs".into(), reason };
    let read = |(at, id): (usize, &ValueId)| {
        let given = inputs.get(at).and_then(Option::as_ref);
        match (given, model.graph.value(*id).def()) {
            (Some(given), _) => given.try_map(&mut Datum::of_tensor),
            (None, Def::Input { default: Some(default), .. }) => Datum::of_tensor(default).map(Value::Tensor),
            _ => Err(Reason(format!("input {at} is missing"))),
        }
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
    inputs: &[Value<Datum<S>>],
    captures: &[Value<Datum<S>>],
    formals: &Attrs,
    round: bool,
) -> Result<Vec<Value<Datum<S>>>, EvalError> {
    walk_graph(graph, inputs, captures, &mut Reference { formals, round })
}

/// What a walk over a graph leaves to a carrier: its weights and its calls. `V` is what flows between them.
pub trait Carrier<V> {
    /// A weight, asked for at each use, so that a large model does not exist twice.
    fn weight(&mut self, tensor: &Tensor) -> Result<V, Reason>;

    /// The results of a call. An error with an empty `call` is about this call itself.
    fn call(&mut self, node: &Node, inputs: &[Option<V>], captures: &[V]) -> Result<Vec<V>, EvalError>;
}

struct Reference<'a> {
    formals: &'a Attrs,
    round: bool,
}

impl<S: Scalar> Carrier<Value<Datum<S>>> for Reference<'_> {
    fn weight(&mut self, tensor: &Tensor) -> Result<Value<Datum<S>>, Reason> {
        Datum::of_tensor(tensor).map(Value::Tensor)
    }

    fn call(
        &mut self,
        node: &Node,
        inputs: &[Option<Value<Datum<S>>>],
        captures: &[Value<Datum<S>>],
    ) -> Result<Vec<Value<Datum<S>>>, EvalError> {
        let attrs = node.attrs.bind(self.formals);
        run_call(&node.op, &attrs, inputs, captures, node.outputs().len(), self.round)
    }
}

/// The outputs of `graph` as `carrier` computes them; a value is dropped after its last reader. Errors: a cycle, or the first
/// call that fails, in topological order.
pub fn walk_graph<V: Clone>(
    graph: &Graph,
    inputs: &[V],
    captures: &[V],
    carrier: &mut impl Carrier<V>,
) -> Result<Vec<V>, EvalError> {
    let order = walk::order(graph)
        .map_err(|_| EvalError { call: format!("graph `{}`", graph.name), reason: Reason::new("it has a cycle") })?;
    let mut values: Vec<Option<V>> = vec![None; graph.value_bound()];
    let mut reads_left: Vec<usize> = vec![0; graph.value_bound()];
    for (id, value) in graph.values() {
        reads_left[id.index()] = value.uses().len();
        values[id.index()] = match value.def() {
            Def::Input { index, .. } => inputs.get(*index as usize).cloned(),
            Def::Capture(index) => captures.get(*index as usize).cloned(),
            Def::Weight(_) | Def::Result(..) => None,
        };
    }
    for id in order {
        let node = graph.node(id);
        let fail = |reason| EvalError { call: describe(node), reason };
        let mut fetch = |value: ValueId| fetch(graph, &values, carrier, value);
        let arguments: Vec<Option<V>> = node
            .inputs()
            .iter()
            .map(|input| input.map(&mut fetch).transpose())
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        let captured: Vec<V> =
            node.captures().iter().map(|&value| fetch(value)).collect::<Result<_, _>>().map_err(fail)?;
        let results = carrier
            .call(node, &arguments, &captured)
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
        fetch(graph, &values, carrier, output.value)
            .map_err(|reason| EvalError { call: format!("output `{}`", output.name), reason })
    };
    graph.outputs().iter().map(read_output).collect()
}

/// Runs one call. An error with an empty `call` is about this call itself, any other about one inside its body.
pub fn run_call<S: Scalar>(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<Value<Datum<S>>>],
    captures: &[Value<Datum<S>>],
    n_outputs: usize,
    round: bool,
) -> Result<Vec<Value<Datum<S>>>, EvalError> {
    let here = |reason| EvalError { call: String::new(), reason };
    let results = match op {
        Op::Builtin(def) => {
            let call = EvalCall { attrs, inputs, captures, n_outputs, round };
            let eval =
                S::select(&def.eval).ok_or_else(|| here(Reason(format!("{} is not run in {}", def.name, S::NAME))))?;
            eval(&call).map_err(here)?
        }
        Op::Function(function) => {
            let given: Option<Vec<Value<Datum<S>>>> = inputs.iter().cloned().collect();
            let given = given.ok_or_else(|| here(Reason::new("a function is called with an input left out")))?;
            run_graph(&function.body, &given, &[], attrs, round)?
        }
        Op::Opaque(_) => return Err(here(Reason::new("the operator is not known"))),
    };
    if results.len() < n_outputs {
        return Err(here(Reason(format!("{n_outputs} outputs are wanted, {} are computed", results.len()))));
    }
    Ok(if round { results.into_iter().map(rounded).collect() } else { results })
}

/// Runs one call whose inputs and outputs are tensors, rounding its results.
pub fn run_tensors<S: Scalar>(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<Datum<S>>],
    n_outputs: usize,
) -> Result<Vec<Datum<S>>, EvalError> {
    let inputs: Vec<Option<Value<Datum<S>>>> = inputs.iter().map(|input| input.clone().map(Value::Tensor)).collect();
    let tensor = |value: Value<Datum<S>>| {
        let reason = Reason(format!("a result is {}", value.kind()));
        value.into_tensor().ok_or(EvalError { call: String::new(), reason })
    };
    run_call(op, attrs, &inputs, &[], n_outputs, true)?.into_iter().map(tensor).collect()
}

fn rounded<S: Scalar>(value: Value<Datum<S>>) -> Value<Datum<S>> {
    match value {
        Value::Tensor(datum) => Value::Tensor(datum.rounded()),
        // What is in a sequence has been rounded when it was computed.
        other => other,
    }
}

fn fetch<V: Clone>(
    graph: &Graph,
    values: &[Option<V>],
    carrier: &mut impl Carrier<V>,
    value: ValueId,
) -> Result<V, Reason> {
    match (&values[value.index()], graph.weight(value)) {
        (Some(held), _) => Ok(held.clone()),
        (None, Some(tensor)) => carrier.weight(tensor),
        (None, None) => Err(Reason(format!("value `{}` is not computed", graph.value(value).name))),
    }
}

fn describe(node: &Node) -> String {
    if node.name.is_empty() { node.op.to_string() } else { format!("{} `{}`", node.op, node.name) }
}
