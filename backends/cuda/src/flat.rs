//! A model as one list of calls of built-in operators, with the type of every value known.

use eutectic_ir::attr::{Attrs, Name};
use eutectic_ir::dim::Dim;
use eutectic_ir::eval::{Datum, run_call};
use eutectic_ir::graph::{Def, Graph, NodeId, Op};
use eutectic_ir::infer::infer_call;
use eutectic_ir::model::Model;
use eutectic_ir::op::{Argument, Call, Fact, Law, Reason};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::{Element, TensorType};
use eutectic_ir::value::Value;
use eutectic_ir::walk;

/// Calls after which a model is refused: calls in bodies of calls multiply.
const MAX_CALLS: usize = 1 << 18;

/// A value: one of the graph's inputs, a result, or a constant.
pub(crate) type ValueAt = usize;

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct FlatCall {
    /// The operator.
    pub op: Op,
    /// Complete attributes, references bound.
    pub attrs: Attrs,
    /// Inputs by position.
    pub inputs: Vec<Option<ValueAt>>,
    /// Outputs by position.
    pub outputs: Vec<ValueAt>,
    /// Names of nodes from the outermost call inwards, as one name.
    pub name: Name,
    /// The call of a function that it is part of, a number for [`Flat::groups`]: of a fused function before regions are
    /// formed, of a region afterwards.
    pub group: Option<usize>,
}

impl Flat {
    /// The position of the call that computes each value.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.values.len()];
        for (at, call) in self.calls.iter().enumerate() {
            call.outputs.iter().for_each(|&value| producers[value] = Some(at));
        }
        producers
    }
}

impl FlatCall {
    /// Whether it calls operator `name` of `ai.onnx`.
    pub fn is(&self, name: &str) -> bool {
        self.op.is(name)
    }

    /// Input `index`, when it is given.
    pub fn input(&self, index: usize) -> Option<ValueAt> {
        self.inputs.get(index).copied().flatten()
    }
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Element type and sizes.
    pub element: Element,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// The contents, when they do not depend on the inputs.
    pub constant: Option<Tensor>,
}

/// A model without functions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flat {
    /// In an order in which they may run.
    pub calls: Vec<FlatCall>,
    /// Every value.
    pub values: Vec<Known>,
    /// The graph's inputs.
    pub inputs: Vec<ValueAt>,
    /// The graph's outputs.
    pub outputs: Vec<ValueAt>,
    /// The names of the functions that were called.
    pub groups: Vec<Name>,
}

impl Flat {
    /// Makes `call` the first of a group called `name`, which what it means joins, unless it is of one already.
    pub fn group(&mut self, call: &mut FlatCall, name: &'static str) {
        if call.group.is_none() {
            self.groups.push(Name::new_static(name));
            call.group = Some(self.groups.len() - 1);
        }
    }
}

/// Why a model cannot be planned: the call, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The call.
    pub call: String,
    /// The reason.
    pub reason: Reason,
}

impl Refusal {
    /// A refusal of `call`.
    pub fn new(call: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { call: call.into(), reason: Reason(reason.into()) }
    }
}

/// Inlines every function of `model`; the calls of one form a group.
///
/// Inputs in `bound`, by position, have these contents. Errors: an input with an unknown size, a call that does not fit its
/// inputs or whose result has an unknown size.
pub(crate) fn flatten(model: &Model, bound: &[Option<Tensor>]) -> Result<Flat, Refusal> {
    let mut flattening = Flattening { flat: Flat::default() };
    let graph = &model.graph;
    let mut arguments = Vec::new();
    for (at, &input) in graph.inputs().iter().enumerate() {
        let name = &graph.value(input).name;
        let contents = bound.get(at).cloned().flatten();
        let of_contents = contents.as_ref().map(Tensor::ty);
        let ty = of_contents.as_ref().or_else(|| graph.ty(input));
        let ty = ty.ok_or_else(|| Refusal::new(format!("input `{name}`"), "its type is not known"))?;
        let value =
            flattening.value(ty, contents).map_err(|reason| Refusal { call: format!("input `{name}`"), reason })?;
        flattening.flat.inputs.push(value);
        arguments.push(Some(value));
    }
    let outputs = flattening.inline(graph, &arguments, &Attrs::new(), "", None)?;
    let mut flat = flattening.flat;
    flat.outputs = outputs;
    drop_dead(&mut flat);
    Ok(flat)
}

fn drop_dead(flat: &mut Flat) {
    let mut is_read = vec![false; flat.values.len()];
    flat.outputs.iter().for_each(|&value| is_read[value] = true);
    let mut kept: Vec<FlatCall> = Vec::new();
    for call in std::mem::take(&mut flat.calls).into_iter().rev() {
        if call.outputs.iter().any(|&value| is_read[value]) {
            call.inputs.iter().flatten().for_each(|&value| is_read[value] = true);
            kept.push(call);
        }
    }
    kept.reverse();
    flat.calls = kept;
}

struct Flattening {
    flat: Flat,
}

impl Flattening {
    fn value(&mut self, ty: &TensorType, constant: Option<Tensor>) -> Result<ValueAt, Reason> {
        let shape = ty.sizes().ok_or_else(|| {
            Reason(format!("its type {ty} has a size that is not known; give sizes with --shapes or --batch"))
        })?;
        if eutectic_ir::tensor::count_of(&shape).is_none_or(|count| count > 1 << 40) {
            return Err(Reason(format!("{ty} exceeds the address space")));
        }
        self.flat.values.push(Known { element: ty.element, shape, constant });
        Ok(self.flat.values.len() - 1)
    }

    fn inline(
        &mut self,
        graph: &Graph,
        inputs: &[Option<ValueAt>],
        formals: &Attrs,
        path: &str,
        group: Option<usize>,
    ) -> Result<Vec<ValueAt>, Refusal> {
        let whole = || format!("graph `{}`", graph.name);
        let order = walk::order(graph).map_err(|_| Refusal::new(whole(), "it has a cycle"))?;
        let mut at: Vec<Option<ValueAt>> = vec![None; graph.value_bound()];
        for (id, value) in graph.values() {
            let given = match value.def() {
                Def::Input { index, .. } => inputs.get(*index as usize).copied().flatten(),
                _ => None,
            };
            let constant = match value.def() {
                Def::Input { default, .. } if given.is_none() => default.clone(),
                Def::Weight(tensor) if value.uses().len() > 0 => Some(tensor.clone()),
                _ => None,
            };
            at[id.index()] = match constant {
                Some(tensor) => {
                    let made = self.value(&tensor.ty(), Some(tensor));
                    Some(made.map_err(|reason| Refusal { call: format!("weight `{}`", value.name), reason })?)
                }
                None => given,
            };
        }
        for id in order {
            self.node(graph, id, &mut at, formals, path, group)?;
        }
        let outputs = graph.outputs().iter().map(|output| {
            at[output.value.index()]
                .ok_or_else(|| Refusal::new(whole(), format!("output `{}` is not computed", output.name)))
        });
        outputs.collect()
    }

    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        at: &mut [Option<ValueAt>],
        formals: &Attrs,
        path: &str,
        group: Option<usize>,
    ) -> Result<(), Refusal> {
        let node = graph.node(id);
        let name = match (path, node.name.as_str()) {
            ("", name) => name.to_string(),
            (path, "") => path.to_string(),
            (path, name) => format!("{path}/{name}"),
        };
        let described = if name.is_empty() { node.op.to_string() } else { format!("{} `{name}`", node.op) };
        let refuse = |reason: Reason| Refusal { call: described.clone(), reason };
        if self.flat.calls.len() >= MAX_CALLS {
            return Err(refuse(Reason::new("inlined, the model has too many calls")));
        }
        let inputs: Vec<Option<ValueAt>> = node.inputs().iter().map(|input| at[input.as_ref()?.index()]).collect();
        let attrs = node.attrs.bind(formals);
        if let Op::Function(function) = &node.op {
            let group = group.unwrap_or_else(|| {
                self.flat.groups.push(function.name.clone());
                self.flat.groups.len() - 1
            });
            let outputs = self.inline(&function.body, &inputs, &attrs, &name, Some(group))?;
            for (&value, output) in node.outputs().iter().zip(outputs) {
                at[value.index()] = Some(output);
            }
            return Ok(());
        }
        let (facts, folded) = self.infer(&node.op, &attrs, &inputs, node.outputs().len()).map_err(refuse)?;
        let is_constant = folded.is_some();
        let mut folded = folded.unwrap_or_default().into_iter();
        let mut outputs = Vec::new();
        for (&value, fact) in node.outputs().iter().zip(&facts) {
            let constant = folded.next();
            let ty = match (&constant, fact) {
                (Some(tensor), _) => Some(tensor.ty()),
                (None, Some(fact)) => fact.tensor().cloned(),
                (None, None) => graph.ty(value).cloned(),
            };
            let ty = ty.ok_or_else(|| refuse(Reason::new("the type of a result is not known")))?;
            let made = self.value(&ty, constant).map_err(refuse)?;
            at[value.index()] = Some(made);
            outputs.push(made);
        }
        if !is_constant {
            self.flat.calls.push(FlatCall { op: node.op.clone(), attrs, inputs, outputs, name: name.into(), group });
        }
        Ok(())
    }

    /// The types of a call's results, and their contents when nothing that it reads depends on the inputs.
    fn infer(
        &self,
        op: &Op,
        attrs: &Attrs,
        inputs: &[Option<ValueAt>],
        n_outputs: usize,
    ) -> Result<(Vec<Option<Fact>>, Option<Vec<Tensor>>), Reason> {
        let known: Vec<Option<&Known>> = inputs.iter().map(|input| input.map(|at| &self.flat.values[at])).collect();
        let facts: Vec<Option<Fact>> = known
            .iter()
            .map(|known| {
                known.map(|known| Fact::new(known.element, known.shape.iter().map(|&size| Dim::known(size as i64))))
            })
            .collect();
        let arguments: Vec<Option<Argument>> = facts
            .iter()
            .zip(&known)
            .map(|(fact, known)| fact.as_ref().map(|fact| Argument::new(fact, known.and_then(|k| k.constant.as_ref()))))
            .collect();
        let call = Call { attrs, inputs: &arguments, captures: &[], n_outputs, scope: "" };
        let outputs = infer_call(op, &call)?;
        if let Op::Builtin(def) = op {
            if def.name == "Shape"
                && let Some(content) = outputs.first().and_then(Option::as_ref).and_then(|fact| fact.content.as_ref())
                && let Some(dims) = content.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>()
            {
                return Ok((outputs, Some(vec![Tensor::vector(&dims)])));
            }
            let constants: Option<Vec<Option<&Tensor>>> = known
                .iter()
                .map(|known| match known {
                    None => Some(None),
                    Some(known) => known.constant.as_ref().map(Some),
                })
                .collect();
            if let Some(constants) = constants
                && !def.has(Law::Impure)
                && def.eval.given
                // A quantized weight says how the product that reads it may compute.
                && def.name != "DequantizeLinear"
            {
                return Ok((outputs, Some(evaluate(op, attrs, &constants, n_outputs)?)));
            }
        }
        Ok((outputs, None))
    }
}

/// What a call of `op` on constants gives. Errors: what its evaluation refuses.
pub(crate) fn evaluate(
    op: &Op,
    attrs: &Attrs,
    inputs: &[Option<&Tensor>],
    n_outputs: usize,
) -> Result<Vec<Tensor>, Reason> {
    let inputs = inputs
        .iter()
        .map(|tensor| tensor.map(|tensor| Datum::<f32>::of_tensor(tensor).map(Value::Tensor)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let results = run_call(op, attrs, &inputs, &[], n_outputs, true).map_err(|error| Reason::new(error.to_string()))?;
    let tensor = |result: &Value<Datum<f32>>| match result.tensor() {
        Some(datum) => datum.to_tensor(),
        None => Err(Reason(format!("a result is {}", result.kind()))),
    };
    results.iter().map(tensor).collect()
}
