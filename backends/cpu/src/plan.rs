//! From a model to a list of steps: calls are inlined or claimed, constants are computed once, dead calls are dropped.

use crate::claim;
use crate::ops::{self, Kernel, Setup};
use crate::reference;
use crate::value::{Pool, Value};
use eutectic_backend::{Calls, HostValue};
use eutectic_ir::attr::{Attrs, Name};
use eutectic_ir::graph::{Def, Graph, Node, NodeId, Op};
use eutectic_ir::model::Model;
use eutectic_ir::op::{Law, Reason};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use eutectic_ir::walk;

/// Steps after which a model is refused: calls in bodies of calls multiply.
const MAX_STEPS: usize = 1 << 20;

/// Where a value comes from, seen from a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// Computed: an input, or an output of an earlier step.
    Slot(usize),
    /// Known before the run.
    Constant(usize),
}

/// One call of a built-in operator after inlining.
#[derive(Clone, Debug)]
pub(crate) struct FlatCall {
    /// The operator.
    pub op: Op,
    /// Complete attributes, references bound.
    pub attrs: Attrs,
    /// Inputs by position.
    pub inputs: Vec<Option<Source>>,
    /// What its bodies see.
    pub captures: Vec<Source>,
    /// Slots of the outputs.
    pub outputs: Vec<usize>,
    /// Declared or inferred element types of the outputs.
    pub elements: Vec<Option<Element>>,
    /// Names of nodes, from the outermost call inwards.
    pub path: Vec<Name>,
}

/// One argument of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument {
    /// Left out.
    Absent,
    /// In a slot; the last reader takes it.
    Slot { slot: usize, last: bool },
    /// A constant.
    Constant(usize),
    /// A constant that the kernel has prepared.
    Prepared(usize),
}

/// What is executed at once.
pub(crate) struct Step {
    /// The call that the reference interpreter runs when the kernel declines.
    pub call: FlatCall,
    /// The fast kernel.
    pub kernel: Option<Kernel>,
    /// Its family, for the listing.
    pub kind: &'static str,
    /// Its name, for the listing.
    pub name: String,
    /// The nodes of the model that it computes.
    pub nodes: Vec<Name>,
    /// Inputs by position.
    pub arguments: Vec<Argument>,
    /// What its bodies see.
    pub captures: Vec<Argument>,
    /// For each output, whether anybody reads it.
    pub is_read: Vec<bool>,
    /// What a claimed call means, for when its kernel declines.
    pub body: Option<Body>,
}

/// The body of a claimed call. It reads and writes the same slots as the steps around it.
pub(crate) enum Body {
    /// As planned.
    Calls(Vec<FlatCall>),
    /// With kernels prepared.
    Steps(Vec<Step>),
}

/// A model as a list of steps.
pub(crate) struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Slots of the graph's inputs.
    pub inputs: Vec<usize>,
    /// Where the graph's outputs come from; a slot is taken by its last reader.
    pub outputs: Vec<Argument>,
    /// Constants, as in the file or computed from them.
    pub constants: Vec<Tensor>,
    /// Constants as they are given to kernels; `None` for those that are not.
    pub values: Vec<Option<Value>>,
    /// Number of slots.
    pub n_slots: usize,
}

/// Why a model cannot be planned: the call, and the reason.
pub(crate) struct PlanError {
    /// The call.
    pub call: String,
    /// The reason.
    pub reason: Reason,
}

/// Plans `model`. Errors: a cycle, too many calls, a constant call that fails, the memory limit.
pub(crate) fn plan(model: &Model, calls: Calls, pool: &mut Pool) -> Result<Plan, PlanError> {
    let mut planner = Planner { calls, pool, constants: Vec::new(), flat: Vec::new(), n_slots: 0 };
    let graph = &model.graph;
    let inputs: Vec<usize> = graph.inputs().iter().map(|_| planner.slot()).collect();
    let arguments: Vec<Option<Source>> = inputs.iter().map(|&slot| Some(Source::Slot(slot))).collect();
    let outputs = planner.inline(graph, &arguments, &Attrs::new(), &[])?;
    let Planner { mut flat, constants, n_slots, .. } = planner;
    drop_dead(&mut flat, &outputs, n_slots);
    finish(flat, inputs, outputs, constants, n_slots, pool)
}

/// One call, claimed by a kernel or not yet.
struct Planned {
    call: FlatCall,
    claim: Option<claim::Claim>,
    nodes: Vec<Name>,
    name: String,
}

struct Planner<'a> {
    calls: Calls,
    pool: &'a mut Pool,
    constants: Vec<Tensor>,
    flat: Vec<Planned>,
    n_slots: usize,
}

impl Planner<'_> {
    fn slot(&mut self) -> usize {
        self.n_slots += 1;
        self.n_slots - 1
    }

    fn constant(&mut self, tensor: Tensor) -> Source {
        self.constants.push(tensor);
        Source::Constant(self.constants.len() - 1)
    }

    /// Appends the calls of `graph`; gives where its outputs come from.
    fn inline(
        &mut self,
        graph: &Graph,
        inputs: &[Option<Source>],
        formals: &Attrs,
        path: &[Name],
    ) -> Result<Vec<Source>, PlanError> {
        let fail = |call: String, reason: &str| PlanError { call, reason: Reason::new(reason) };
        let order = walk::order(graph).map_err(|_| fail(format!("graph `{}`", graph.name), "it has a cycle"))?;
        let mut sources: Vec<Option<Source>> = vec![None; graph.value_bound()];
        for (id, value) in graph.values() {
            sources[id.index()] = match value.def() {
                Def::Input { index, default } => match (inputs.get(*index as usize).copied().flatten(), default) {
                    (Some(source), _) => Some(source),
                    (None, Some(default)) => Some(self.constant(default.clone())),
                    (None, None) => None,
                },
                Def::Weight(tensor) if value.uses().len() > 0 => Some(self.constant(tensor.clone())),
                Def::Weight(_) | Def::Capture(_) | Def::Result(..) => None,
            };
        }
        for id in order {
            self.node(graph, id, &mut sources, formals, path)?;
        }
        let source = |output: &eutectic_ir::graph::Output| {
            sources[output.value.index()].ok_or_else(|| fail(format!("output `{}`", output.name), "it is not computed"))
        };
        graph.outputs().iter().map(source).collect()
    }

    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        sources: &mut [Option<Source>],
        formals: &Attrs,
        path: &[Name],
    ) -> Result<(), PlanError> {
        let node = graph.node(id);
        let path: Vec<Name> = path.iter().cloned().chain([node.name.clone()]).collect();
        let fail = |reason: Reason| PlanError { call: describe(&node.op, &path), reason };
        let inputs: Vec<Option<Source>> = node.inputs().iter().map(|input| sources[input.as_ref()?.index()]).collect();
        if self.flat.len() >= MAX_STEPS {
            return Err(fail(Reason::new("inlined, the model has too many calls")));
        }
        let attrs = node.attrs.bind(formals);
        if let Op::Function(function) = &node.op {
            let outputs = match self.claimed(&node.op, &function.body, &inputs, &attrs, &path)? {
                Some(outputs) => outputs,
                None => self.inline(&function.body, &inputs, &attrs, &path)?,
            };
            for (&value, &source) in node.outputs().iter().zip(&outputs) {
                sources[value.index()] = Some(source);
            }
            return Ok(());
        }
        let captures: Option<Vec<Source>> = node.captures().iter().map(|value| sources[value.index()]).collect();
        let captures = captures.ok_or_else(|| fail(Reason::new("a captured value is not computed")))?;
        let mut call = FlatCall {
            op: node.op.clone(),
            attrs,
            inputs,
            captures,
            outputs: Vec::new(),
            elements: node.outputs().iter().map(|&value| graph.ty(value).map(|ty| ty.element)).collect(),
            path: path.clone(),
        };
        if let Some(results) = self.computed_now(&call, node).map_err(fail)? {
            for (&value, tensor) in node.outputs().iter().zip(results) {
                sources[value.index()] = Some(self.constant(tensor));
            }
            return Ok(());
        }
        for &value in node.outputs() {
            let slot = self.slot();
            call.outputs.push(slot);
            sources[value.index()] = Some(Source::Slot(slot));
        }
        let (nodes, name) = (vec![joined(&call.path)], call.op.to_string());
        self.flat.push(Planned { call, claim: None, nodes, name });
        Ok(())
    }

    /// The results of a call that depends on constants alone; `None` for any other.
    fn computed_now(&mut self, call: &FlatCall, node: &Node) -> Result<Option<Vec<Tensor>>, Reason> {
        let Op::Builtin(def) = call.op else { return Ok(None) };
        let constant = |source: Source| match source {
            Source::Constant(at) => Some(self.constants[at].clone()),
            Source::Slot(_) => None,
        };
        if def.has(Law::Impure) || node.bodies().next().is_some() {
            return Ok(None);
        }
        let mut inputs = Vec::new();
        for source in &call.inputs {
            match source.map(constant) {
                None => inputs.push(None),
                Some(Some(tensor)) => inputs.push(Some(tensor)),
                Some(None) => return Ok(None),
            }
        }
        if let Some(filled) = filled(def.name, &call.attrs, &inputs) {
            return Ok(Some(vec![filled]));
        }
        let is_sized =
            |tensor: &Option<Tensor>| tensor.as_ref().is_none_or(|tensor| crate::value::count(tensor.shape()).is_ok());
        if !inputs.iter().all(is_sized) {
            return Err(Reason::new("a constant exceeds the address space"));
        }
        let mut setup = Setup {
            name: def.name,
            attrs: &call.attrs,
            constants: &vec![None; inputs.len()],
            n_inputs: inputs.len(),
            n_outputs: node.outputs().len(),
            prepared: Vec::new(),
            pool: &mut *self.pool,
        };
        let kernel = if def.domain.is_empty() { ops::lookup(def.name) } else { None };
        if let Some(mut kernel) = kernel.map(|(_, prepare)| prepare(&mut setup)).transpose()?.flatten() {
            let given =
                |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| Value::of_tensor(tensor, self.pool)).transpose();
            let mut arguments = inputs.iter().map(given).collect::<Result<Vec<_>, _>>()?;
            if let Some(results) = kernel(&mut arguments, self.pool)? {
                return results.iter().map(|value| value.to_tensor(self.pool)).collect::<Result<Vec<_>, _>>().map(Some);
            }
        }
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.map(HostValue::Tensor)).collect();
        // A sequence is no constant of a plan: the call stays.
        Ok(reference::run(call, &inputs, &[])?.into_iter().map(HostValue::into_tensor).collect())
    }

    /// Appends one call that a kernel claims, and gives where its outputs come from; `None`, with nothing appended, when
    /// none does. Calls inside the body are part of it, so they are not claimed by themselves here.
    fn claimed(
        &mut self,
        op: &Op,
        body: &Graph,
        inputs: &[Option<Source>],
        attrs: &Attrs,
        path: &[Name],
    ) -> Result<Option<Vec<Source>>, PlanError> {
        if self.calls == Calls::Inline {
            return Ok(None);
        }
        let first = self.flat.len();
        self.calls = Calls::Inline;
        let outputs = self.inline(body, inputs, attrs, path);
        self.calls = Calls::Claim;
        let outputs = outputs?;
        let calls: Vec<&FlatCall> = self.flat[first..].iter().map(|planned| &planned.call).collect();
        let claim = match outputs.as_slice() {
            [Source::Slot(output)] if calls.len() > 1 => claim::claim(&calls, *output, &self.constants),
            _ => None,
        };
        let Some((mut claim, inputs)) = claim else {
            self.flat.truncate(first);
            return Ok(None);
        };
        let body: Vec<Planned> = self.flat.drain(first..).collect();
        let nodes = body.iter().flat_map(|planned| planned.nodes.clone()).collect();
        let last = body
            .iter()
            .flat_map(|planned| planned.call.outputs.clone())
            .filter(|&slot| outputs == [Source::Slot(slot)]);
        let call = FlatCall {
            op: op.clone(),
            attrs: claim.attrs.clone(),
            inputs,
            captures: Vec::new(),
            outputs: last.collect(),
            elements: vec![Some(Element::Float)],
            path: path.to_vec(),
        };
        claim.body = body.into_iter().map(|planned| planned.call).collect();
        self.flat.push(Planned { call, claim: Some(claim), nodes, name: op.to_string() });
        Ok(Some(outputs))
    }
}

/// A constant of one repeated element needs no memory.
fn filled(name: &str, attrs: &Attrs, inputs: &[Option<Tensor>]) -> Option<Tensor> {
    match (name, inputs) {
        ("ConstantOfShape", [Some(shape)]) => {
            let shape: Option<Vec<usize>> =
                shape.to_i64s()?.into_iter().map(|extent| usize::try_from(extent).ok()).collect();
            let (element, bytes) = match attrs.tensor("value") {
                Some(value) => (value.element(), value.bytes().into_owned()),
                None => (Element::Float, vec![0; 4]),
            };
            Tensor::splat(element, &shape?, &bytes).ok()
        }
        _ => None,
    }
}

fn drop_dead(flat: &mut Vec<Planned>, outputs: &[Source], n_slots: usize) {
    let mut is_read = vec![false; n_slots];
    let mark = |source: &Source, is_read: &mut Vec<bool>| {
        if let Source::Slot(slot) = source {
            is_read[*slot] = true;
        }
    };
    outputs.iter().for_each(|source| mark(source, &mut is_read));
    let mut keep = vec![true; flat.len()];
    for (at, Planned { call, .. }) in flat.iter().enumerate().rev() {
        keep[at] = call.outputs.iter().any(|&slot| is_read[slot]);
        if keep[at] {
            call.inputs.iter().flatten().chain(&call.captures).for_each(|source| mark(source, &mut is_read));
        }
    }
    let mut keep = keep.into_iter();
    flat.retain(|_| keep.next().unwrap_or(true));
}

/// Prepares kernels, and finds the last reader of every slot.
fn finish(
    flat: Vec<Planned>,
    inputs: Vec<usize>,
    outputs: Vec<Source>,
    constants: Vec<Tensor>,
    n_slots: usize,
    pool: &mut Pool,
) -> Result<Plan, PlanError> {
    let mut values: Vec<Option<Value>> = vec![None; constants.len()];
    let mut steps = Vec::new();
    for planned in flat {
        steps.push(step(planned, &constants, &mut values, pool)?);
    }
    let mut outputs: Vec<Argument> = outputs.into_iter().map(|source| argument(Some(source))).collect();
    for &given in &outputs {
        load(given, &constants, &mut values, pool).map_err(|reason| PlanError { call: "an output".into(), reason })?;
    }
    mark_last_readers(&mut steps, &mut outputs, n_slots);
    Ok(Plan { steps, inputs, outputs, constants, values, n_slots })
}

/// Makes the value of a constant that a kernel will be given.
fn load(given: Argument, constants: &[Tensor], values: &mut [Option<Value>], pool: &mut Pool) -> Result<(), Reason> {
    if let Argument::Constant(at) = given
        && values[at].is_none()
    {
        values[at] = Some(Value::of_tensor(&constants[at], pool)?);
    }
    Ok(())
}

/// Prepares the kernel of one call.
fn step(
    planned: Planned,
    constants: &[Tensor],
    values: &mut [Option<Value>],
    pool: &mut Pool,
) -> Result<Step, PlanError> {
    let Planned { call, claim, nodes, name } = planned;
    let fail = |reason: Reason| PlanError { call: describe(&call.op, &call.path), reason };
    let known: Vec<Option<Tensor>> = call
        .inputs
        .iter()
        .map(|source| match source {
            Some(Source::Constant(at)) => Some(constants[*at].clone()),
            _ => None,
        })
        .collect();
    let mut setup = Setup {
        name: call.op.name(),
        attrs: &call.attrs,
        constants: &known,
        n_inputs: call.inputs.len(),
        n_outputs: call.outputs.len(),
        prepared: Vec::new(),
        pool: &mut *pool,
    };
    let (kind, kernel) = match &claim {
        Some(claim) => ("fused", claim.prepare(&mut setup).map_err(fail)?),
        None => match ops::lookup(call.op.name()).filter(|_| call.op.domain().is_empty()) {
            Some((family, prepare)) => (family, prepare(&mut setup).map_err(fail)?),
            None => ("", None),
        },
    };
    let kind = if kernel.is_some() { kind } else { "reference interpreter" };
    let prepared = setup.prepared;
    let mut arguments: Vec<Argument> = call.inputs.iter().map(|source| argument(*source)).collect();
    for at in prepared {
        if let Argument::Constant(constant) = arguments[at] {
            arguments[at] = Argument::Prepared(constant);
        }
    }
    let captures: Vec<Argument> = call.captures.iter().map(|&source| argument(Some(source))).collect();
    for &given in arguments.iter().chain(&captures) {
        load(given, constants, values, pool).map_err(fail)?;
    }
    let is_read = vec![true; call.outputs.len()];
    let body = claim.map(|claim| Body::Calls(claim.body));
    Ok(Step { call, kernel, kind, name, nodes, arguments, captures, is_read, body })
}

impl Body {
    /// The body as steps, prepared when it is first needed: a claimed call declines only on unusual shapes.
    pub fn steps(
        &mut self,
        constants: &[Tensor],
        values: &mut [Option<Value>],
        pool: &mut Pool,
    ) -> Result<&mut [Step], PlanError> {
        if let Body::Calls(calls) = self {
            let mut steps = Vec::new();
            for call in std::mem::take(calls) {
                let planned = Planned { nodes: Vec::new(), name: call.op.to_string(), claim: None, call };
                steps.push(step(planned, constants, values, pool)?);
            }
            *self = Body::Steps(steps);
        }
        match self {
            Body::Steps(steps) => Ok(steps),
            Body::Calls(_) => Ok(&mut []),
        }
    }
}

fn argument(source: Option<Source>) -> Argument {
    match source {
        None => Argument::Absent,
        Some(Source::Slot(slot)) => Argument::Slot { slot, last: false },
        Some(Source::Constant(at)) => Argument::Constant(at),
    }
}

fn mark_last_readers(steps: &mut [Step], outputs: &mut [Argument], n_slots: usize) {
    let mut is_read = vec![false; n_slots];
    let mut visit = |argument: &mut Argument| {
        if let Argument::Slot { slot, last } = argument {
            *last = !std::mem::replace(&mut is_read[*slot], true);
        }
    };
    outputs.iter_mut().rev().for_each(&mut visit);
    for step in steps.iter_mut().rev() {
        step.captures.iter_mut().rev().for_each(&mut visit);
        step.arguments.iter_mut().rev().for_each(&mut visit);
    }
    for step in steps {
        for (slot, flag) in step.call.outputs.iter().zip(&mut step.is_read) {
            *flag = is_read[*slot];
        }
    }
}

/// True when an operator can run here: it has reference semantics. Fast kernels exist only for operators that have.
pub(crate) fn can_run(op: &Op) -> bool {
    match op {
        Op::Builtin(def) => def.eval.given,
        Op::Function(_) => true,
        Op::Opaque(_) => false,
    }
}

/// The operator and the names of the nodes that lead to it.
pub(crate) fn describe(op: &Op, path: &[Name]) -> String {
    match joined(path).as_str() {
        "" => op.to_string(),
        name => format!("{op} `{name}`"),
    }
}

/// Names of nodes from the outermost call inwards, as one name.
pub(crate) fn joined(path: &[Name]) -> Name {
    let named: Vec<&str> = path.iter().map(Name::as_str).filter(|name| !name.is_empty()).collect();
    named.join("/").into()
}
