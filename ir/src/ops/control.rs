//! Control flow: operators that own their bodies as graphs.
//!
//! A body sees nothing of the enclosing graph but its captures. Types of a loop's carried values are found by joining: what an
//! iteration changes becomes unknown, and the body is inferred again with what is left. Dims that belong to one iteration
//! never leave the body.

use super::content::{self, never_negative};
use super::movement::{identity, moved};
use super::sequence::{item_type, stacked};
use super::shape::contents;
use crate::attr::{AttrKind, Attrs};
use crate::diag::Diagnostics;
use crate::dim::Dim;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::eval_values;
use crate::graph::{Def, Graph, ValueId};
use crate::infer::{body_scope, infer_graph, or_declared};
use crate::op::{AttrDef, Call, Fact, OpDef, Operand, Param, Reason, sets};
use crate::types::{Element, TensorType, Type, normalize_axis};
use crate::value::Value;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&IF, &LOOP, &SCAN, &SEQUENCE_MAP];

/// How often a body is inferred before carried values that still change lose their type.
const MOST_ROUNDS: usize = 3;
/// Bodies that themselves hold bodies more than this deep are inferred once, so that the rounds do not multiply.
const MOST_NESTED: usize = 3;
/// Iterations after which the interpreter gives up.
const MOST_ITERATIONS: i64 = 10_000_000;

const VERSIONS: &[u64] = &[1, 11, 13, 16, 19, 21, 23, 24, 25];

/// What is known of the outputs of body `name`, given what is known of its inputs.
///
/// Errors: the body is absent, or has another number of inputs or outputs than the call needs.
pub(super) fn infer_body(
    call: &Call,
    name: &str,
    inputs: &[Option<Fact>],
    n_outputs: usize,
) -> Result<Vec<Option<Fact>>, Reason> {
    let body = call.body(name)?;
    if body.outputs().len() != n_outputs {
        return Err(Reason(format!("the body `{name}` has {} outputs, {n_outputs} are needed", body.outputs().len())));
    }
    if body.inputs().len() != inputs.len() {
        let (found, needed) = (body.inputs().len(), inputs.len());
        return Err(Reason(format!("the body `{name}` has {found} inputs, {needed} are needed")));
    }
    let inputs = or_declared(body, inputs);
    let scope = body_scope(call.scope, name);
    // Problems inside are reported where the body itself is inferred.
    let facts = infer_graph(body, &inputs, call.captures, &Attrs::new(), &scope, &mut Diagnostics::default());
    Ok(body.outputs().iter().map(|output| facts.get(output.value).cloned()).collect())
}

/// `fact` as seen from outside of body `name`: a dim that belongs to one iteration becomes `fresh`.
fn outside(call: &Call, name: &str, fact: Fact, index: usize) -> Fact {
    let inner = format!("?{}", body_scope(call.scope, name));
    let is_inner = |dim: &Dim| {
        let mut found = false;
        dim.each_symbol(&mut |symbol| found |= symbol.starts_with(inner.as_str()));
        found
    };
    fn renamed(ty: Type, rename: &dyn Fn(usize, Dim) -> Dim) -> Type {
        match ty {
            Type::Tensor(ty) => {
                let dims = ty.shape.into_iter().enumerate().map(|(axis, dim)| rename(axis, dim));
                Type::Tensor(TensorType::new(ty.element, dims))
            }
            Type::Unranked(element) => Type::Unranked(element),
            Type::Sequence(item) => renamed(*item, rename).sequence(),
            Type::Optional(item) => renamed(*item, rename).optional(),
        }
    }
    renamed(fact.ty, &|axis, dim| if is_inner(&dim) { fresh(call, index, axis) } else { dim }).into()
}

/// A dim of output `index`, told apart by its axis.
fn fresh(call: &Call, index: usize, axis: usize) -> Dim {
    Dim::fresh(&format!("{}.{index}", call.scope), axis)
}

static IF: OpDef = OpDef {
    name: "If",
    doc: "The outputs of one of two bodies, as the condition says",
    versions: VERSIONS,
    inputs: &[Param::required("cond", "B")],
    outputs: &[Param::mixed("outputs", "V")],
    attrs: &[AttrDef::required("then_branch", AttrKind::Graph), AttrDef::required("else_branch", AttrKind::Graph)],
    types: &[("V", sets::BEFORE_28), ("B", sets::BOOL)],
    infer: infer_if,
    bodies: Some(|_, _| Vec::new()),
    eval: eval_values!(run_if),
    work: |_, _| None,
    ..OpDef::BASE
};

fn infer_if(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let branch = |name| infer_body(call, name, &[], call.n_outputs);
    if let Some(chosen) = known_truth(call.input(0)?) {
        return branch(if chosen { "then_branch" } else { "else_branch" });
    }
    let (then, otherwise) = (branch("then_branch")?, branch("else_branch")?);
    let join = |(index, (a, b)): (usize, (Option<Fact>, Option<Fact>))| {
        let (a, b) = (a?, b?);
        let ty = a.ty.join(&b.ty, &|axis| fresh(call, index, axis))?;
        let content = if a.content == b.content { a.content } else { None };
        Some(Fact::from(ty).with(content))
    };
    Ok(then.into_iter().zip(otherwise).enumerate().map(join).collect())
}

/// The truth value of a condition that is a weight, or computed from shapes so that it is the same for all sizes.
fn known_truth(condition: &Operand) -> Option<bool> {
    if let Some(single) = condition.constant.and_then(|condition| condition.as_single()) {
        return Some(single != 0.0);
    }
    match contents(condition)?.as_slice() {
        [single] => content::truth(single),
        _ => None,
    }
}

/// The only truth value of `datum`. Errors: not one truth value.
fn truth<S: Scalar>(datum: &Datum<S>) -> Result<bool, Reason> {
    match datum.bool()? {
        [one] => Ok(*one),
        several => Err(Reason(format!("a condition is one truth value, found {}", several.len()))),
    }
}

fn run_if<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    call.run_body(if truth(call.input(0)?)? { "then_branch" } else { "else_branch" }, &[])
}

static LOOP: OpDef = OpDef {
    name: "Loop",
    doc: "Runs the body while the condition holds and the trip count lasts; carries values, and stacks what each turn gives",
    versions: VERSIONS,
    inputs: &[Param::optional("M", "I"), Param::optional("cond", "B"), Param::mixed("v_initial", "V")],
    outputs: &[Param::mixed("v_final_and_scan_outputs", "V")],
    attrs: &[AttrDef::required("body", AttrKind::Graph)],
    types: &[("V", sets::BEFORE_28), ("I", sets::INT64), ("B", sets::BOOL)],
    infer: infer_loop,
    unranked: true,
    bodies: Some(|call, _| loop_types(call).map_or(Vec::new(), |types| loop_inputs(&types))),
    eval: eval_values!(run_loop),
    work: |_, _| None,
    ..OpDef::BASE
};

/// Number of values that a loop carries.
fn n_carried(call: &Call) -> usize {
    call.inputs.len().saturating_sub(2)
}

fn loop_inputs(carried: &[Option<Type>]) -> Vec<Option<Fact>> {
    let mut inputs = vec![Some(Fact::new(Element::Int64, [])), Some(Fact::new(Element::Bool, []))];
    inputs.extend(carried.iter().map(|ty| ty.clone().map(Fact::from)));
    inputs
}

/// Types of the carried values that hold before and after every iteration; `None` for one that has none.
fn loop_types(call: &Call) -> Result<Vec<Option<Type>>, Reason> {
    let initial: Vec<Option<Type>> =
        (2..call.inputs.len()).map(|index| call.argument(index).ok().map(|argument| argument.ty())).collect();
    let infer = |carried: &[Option<Type>]| infer_body(call, "body", &loop_inputs(carried), call.n_outputs + 1);
    stable_types(call, "body", initial, infer, 1)
}

/// Joins `carried` with what `infer` makes of it, until nothing changes. `infer` gives the outputs of a body, of which those
/// from `first` on are the next values of what is carried.
fn stable_types(
    call: &Call,
    name: &str,
    mut carried: Vec<Option<Type>>,
    infer: impl Fn(&[Option<Type>]) -> Result<Vec<Option<Fact>>, Reason>,
    first: usize,
) -> Result<Vec<Option<Type>>, Reason> {
    let scope = body_scope(call.scope, name);
    let rounds = if nesting(call.body(name)?, MOST_NESTED) < MOST_NESTED { MOST_ROUNDS } else { 0 };
    for _ in 0..rounds {
        let next = infer(&carried)?;
        let join = |(at, ty): (usize, &Option<Type>)| {
            let next = next.get(first + at)?.as_ref()?;
            // The symbols of carried dims belong to one iteration, as all others inside the body.
            ty.as_ref()?.join(&next.ty, &|axis| Dim::fresh(&format!("{scope}carried{at}"), axis))
        };
        let joined: Vec<Option<Type>> = carried.iter().enumerate().map(join).collect();
        if joined == carried {
            return Ok(carried);
        }
        carried = joined;
    }
    Ok(vec![None; carried.len()])
}

/// How deep bodies are nested in `graph`, counted up to `most`.
fn nesting(graph: &Graph, most: usize) -> usize {
    if most == 0 {
        return 0;
    }
    let inner = graph.nodes().flat_map(|(_, node)| node.bodies());
    inner.map(|body| 1 + nesting(body, most - 1)).max().unwrap_or(0)
}

fn infer_loop(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let n_carried = n_carried(call);
    if call.n_outputs < n_carried {
        return Err(Reason(format!("{n_carried} values are carried, but there are {} outputs", call.n_outputs)));
    }
    let carried = loop_types(call)?;
    let results = infer_body(call, "body", &loop_inputs(&carried), call.n_outputs + 1)?;
    let body = call.body("body")?;
    let trips = call.given(0).filter(|_| always_continues(call, body)).and_then(|count| count.dims());
    let trips = trips.and_then(|trips| trips.into_iter().next()).filter(never_negative);
    let mut facts: Vec<Option<Fact>> =
        carried.into_iter().enumerate().map(|(at, ty)| Some(outside(call, "body", ty?.into(), at))).collect();
    for (index, result) in results.into_iter().enumerate().skip(1 + n_carried) {
        let index = index - 1;
        let stacked = |fact: Fact| {
            let mut ty = outside(call, "body", fact, index).ty.into_tensor()?;
            let trips = trips.clone().unwrap_or_else(|| fresh(call, index, ty.rank()));
            ty.shape.insert(0, trips);
            Some(Fact::from(ty))
        };
        facts.push(result.and_then(stacked));
    }
    Ok(facts)
}

/// True when the condition of a loop is constantly true, so that the trip count alone ends it.
fn always_continues(call: &Call, body: &Graph) -> bool {
    let is_true = |tensor: &crate::tensor::Tensor| tensor.as_single().is_some_and(|value| value != 0.0);
    let starts = match call.argument(1) {
        Err(_) => true,
        Ok(condition) => condition.tensor().and_then(known_truth) == Some(true),
    };
    let Some(mut value) = body.outputs().first().map(|output| output.value) else { return false };
    while let Some((node, _)) = body.producer(value).filter(|(node, _)| body.node(*node).op.is("Identity")) {
        match body.node(node).input(0) {
            Some(input) => value = input,
            None => return false,
        }
    }
    let continues = |value: ValueId| match body.value(value).def() {
        Def::Weight(tensor) => is_true(tensor),
        Def::Input { index: 1, .. } => true,
        _ => false,
    };
    starts && continues(value)
}

fn run_loop<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let n_carried = call.inputs.len().saturating_sub(2);
    let trips = match call.given(0) {
        None => i64::MAX,
        Some(count) => match count.to_i64s()?[..] {
            [count] => count,
            _ => return Err(Reason::new("the trip count is one integer")),
        },
    };
    let mut goes_on = call.given(1).map_or(Ok(true), truth)?;
    let mut carried: Vec<Value<Datum<S>>> =
        (0..n_carried).map(|at| call.value(2 + at).cloned()).collect::<Result<_, _>>()?;
    let body = call.attrs.graph("body").ok_or_else(|| Reason::new("attribute `body` is missing"))?;
    let n_stacked = body.outputs().len().checked_sub(1 + n_carried);
    let n_stacked = n_stacked.ok_or_else(|| Reason::new("the body has too few outputs"))?;
    let mut stacks: Vec<Vec<Datum<S>>> = vec![Vec::new(); n_stacked];
    let mut turn = 0;
    while goes_on && turn < trips {
        if turn == MOST_ITERATIONS {
            return Err(Reason(format!("the loop does not end within {MOST_ITERATIONS} iterations")));
        }
        let mut inputs =
            vec![Value::Tensor(Datum::of_i64s(&[], &[turn])), Value::Tensor(Datum::of_bool(&[], vec![goes_on]))];
        inputs.append(&mut carried);
        let mut results = call.run_body("body", &inputs)?.into_iter();
        goes_on = results.next().as_ref().and_then(Value::tensor).map_or(Ok(false), truth)?;
        carried = results.by_ref().take(n_carried).collect();
        push_each(&mut stacks, results)?;
        turn += 1;
    }
    for (at, parts) in stacks.iter().enumerate() {
        carried.push(Value::Tensor(stack(body, 1 + n_carried + at, parts, 0)?));
    }
    Ok(carried)
}

/// Puts each result of one iteration on its stack. Errors: one is no tensor.
fn push_each<S: Scalar>(
    stacks: &mut [Vec<Datum<S>>],
    results: impl Iterator<Item = Value<Datum<S>>>,
) -> Result<(), Reason> {
    for (stack, result) in stacks.iter_mut().zip(results) {
        let kind = result.kind();
        stack.push(result.into_tensor().ok_or_else(|| Reason(format!("what is stacked is {kind}")))?);
    }
    Ok(())
}

/// `parts` stacked along `axis`; without parts, an empty tensor of the type that output `index` of `body` has.
fn stack<S: Scalar>(body: &Graph, index: usize, parts: &[Datum<S>], axis: usize) -> Result<Datum<S>, Reason> {
    if !parts.is_empty() {
        return stacked(&parts.iter().collect::<Vec<_>>(), axis);
    }
    let ty = body.outputs().get(index).and_then(|output| body.ty(output.value));
    let ty = ty.ok_or_else(|| Reason::new("no iteration ran, and the type of what is stacked is not known"))?;
    let mut shape: Vec<usize> = ty.shape.iter().map(|dim| dim.as_size().unwrap_or(0)).collect();
    if axis > shape.len() {
        return Err(Reason(format!("axis {axis} is out of range for rank {}", shape.len())));
    }
    shape.insert(axis, 0);
    Ok(match ty.element {
        Element::Bool => Datum::of_bool(&shape, Vec::new()),
        element if element.is_real() => Datum::of_real(element, &shape, Vec::new()),
        element if element.is_integer() => Datum::of_int(element, &shape, Vec::new()),
        Element::String => Datum { element: ty.element, shape, contents: Contents::Text(Vec::new().into()) },
        element => Datum { element, shape, contents: Contents::Complex(Vec::new().into()) },
    })
}

static SCAN: OpDef = OpDef {
    name: "Scan",
    doc: "Runs the body over slices of its scan inputs; carries states, and stacks what each turn gives",
    versions: &[8, 9, 11, 16, 19, 21, 23, 24, 25],
    inputs: &[Param::mixed("initial_state_and_scan_inputs", "V")],
    outputs: &[Param::mixed("final_state_and_scan_outputs", "V")],
    attrs: &[
        AttrDef::required("body", AttrKind::Graph),
        AttrDef::required("num_scan_inputs", AttrKind::Int),
        AttrDef::optional("scan_input_axes", AttrKind::Ints),
        AttrDef::optional("scan_input_directions", AttrKind::Ints),
        AttrDef::optional("scan_output_axes", AttrKind::Ints),
        AttrDef::optional("scan_output_directions", AttrKind::Ints),
    ],
    types: &[("V", sets::BEFORE_28)],
    infer: infer_scan,
    bodies: Some(|call, _| scan_types(call).map_or(Vec::new(), |types| types.inputs())),
    eval: eval_values!(run_scan),
    work: |_, _| None,
    ..OpDef::BASE
};

/// Number of states and of scan inputs. Errors: `num_scan_inputs` is negative or beyond the inputs.
fn scan_counts(attrs: &Attrs, n_inputs: usize) -> Result<(usize, usize), Reason> {
    let given = attrs.int("num_scan_inputs").unwrap_or(0);
    let n_scanned = usize::try_from(given).ok().filter(|&count| count >= 1 && count <= n_inputs);
    let n_scanned =
        n_scanned.ok_or_else(|| Reason(format!("`num_scan_inputs` is {given}, there are {n_inputs} inputs")))?;
    Ok((n_inputs - n_scanned, n_scanned))
}

/// The axis of the scan input or output `index`, by attribute `name`; 0 when the attribute is absent.
fn scan_axis(attrs: &Attrs, name: &str, index: usize, rank: usize) -> Result<usize, Reason> {
    let axis = attrs.ints(name).map_or(Ok(0), |axes| {
        axes.get(index).copied().ok_or_else(|| Reason(format!("`{name}` has no element {index}")))
    })?;
    normalize_axis(axis, rank).ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))
}

fn scan_reversed(attrs: &Attrs, name: &str, index: usize) -> bool {
    attrs.ints(name).and_then(|directions| directions.get(index)).is_some_and(|direction| *direction == 1)
}

struct ScanTypes {
    states: Vec<Option<Type>>,
    slices: Vec<Option<Type>>,
    length: Dim,
}

impl ScanTypes {
    fn inputs(&self) -> Vec<Option<Fact>> {
        self.states.iter().chain(&self.slices).map(|ty| ty.clone().map(Fact::from)).collect()
    }
}

fn scan_types(call: &Call) -> Result<ScanTypes, Reason> {
    let (n_states, n_scanned) = scan_counts(call.attrs, call.inputs.len())?;
    let mut length: Option<Dim> = None;
    let mut slices = Vec::new();
    for at in 0..n_scanned {
        let ty = call.ty(n_states + at)?;
        let axis = scan_axis(call.attrs, "scan_input_axes", at, ty.rank())?;
        let mut shape = ty.shape.clone();
        let dim = shape.remove(axis);
        match (&length, dim.as_known()) {
            (Some(other), Some(size)) if other.as_known().is_some_and(|other| other != size) => {
                return Err(Reason(format!("scan inputs of lengths {other} and {size}")));
            }
            // A known length says more than a symbol.
            (Some(other), None) if other.as_known().is_some() => {}
            _ => length = Some(dim),
        }
        slices.push(Some(Type::Tensor(TensorType::new(ty.element, shape))));
    }
    let initial = (0..n_states).map(|index| call.argument(index).ok().map(|argument| argument.ty())).collect();
    let n_outputs = call.n_outputs;
    let infer = |states: &[Option<Type>]| {
        let inputs: Vec<_> = states.iter().chain(&slices).map(|ty| ty.clone().map(Fact::from)).collect();
        infer_body(call, "body", &inputs, n_outputs)
    };
    let states = stable_types(call, "body", initial, infer, 0)?;
    Ok(ScanTypes { states, slices, length: length.unwrap_or_else(|| call.fresh(0)) })
}

fn infer_scan(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let types = scan_types(call)?;
    let n_states = types.states.len();
    let results = infer_body(call, "body", &types.inputs(), call.n_outputs)?;
    let states = types.states.into_iter().enumerate();
    let mut facts: Vec<Option<Fact>> = states.map(|(at, ty)| Some(outside(call, "body", ty?.into(), at))).collect();
    for (index, result) in results.into_iter().enumerate().skip(n_states) {
        let Some(mut ty) = result.and_then(|fact| outside(call, "body", fact, index).ty.into_tensor()) else {
            facts.push(None);
            continue;
        };
        let axis = scan_axis(call.attrs, "scan_output_axes", index - n_states, ty.rank() + 1)?;
        ty.shape.insert(axis, types.length.clone());
        facts.push(Some(ty.into()));
    }
    Ok(facts)
}

fn run_scan<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let (n_states, n_scanned) = scan_counts(call.attrs, call.inputs.len())?;
    let mut states: Vec<Value<Datum<S>>> = (0..n_states).map(|at| call.value(at).cloned()).collect::<Result<_, _>>()?;
    let mut scanned = Vec::new();
    for at in 0..n_scanned {
        let x = call.input(n_states + at)?;
        let axis = scan_axis(call.attrs, "scan_input_axes", at, x.rank())?;
        scanned.push((x, axis, scan_reversed(call.attrs, "scan_input_directions", at)));
    }
    let length = scanned.first().map_or(0, |(x, axis, _)| x.shape[*axis]);
    if scanned.iter().any(|(x, axis, _)| x.shape[*axis] != length) {
        return Err(Reason::new("the scan inputs have different lengths"));
    }
    let body = call.attrs.graph("body").ok_or_else(|| Reason::new("attribute `body` is missing"))?;
    let n_stacked = body.outputs().len().checked_sub(n_states);
    let n_stacked = n_stacked.ok_or_else(|| Reason::new("the body has too few outputs"))?;
    let mut stacks: Vec<Vec<Datum<S>>> = vec![Vec::new(); n_stacked];
    for turn in 0..length {
        let mut inputs = std::mem::take(&mut states);
        for (x, axis, reversed) in &scanned {
            let at = if *reversed { length - 1 - turn } else { turn };
            inputs.push(Value::Tensor(slice(x, *axis, at)?));
        }
        let mut results = call.run_body("body", &inputs)?.into_iter();
        states = results.by_ref().take(n_states).collect();
        push_each(&mut stacks, results)?;
    }
    for (at, mut parts) in stacks.into_iter().enumerate() {
        if scan_reversed(call.attrs, "scan_output_directions", at) {
            parts.reverse();
        }
        let rank = parts.first().map_or(0, Datum::rank);
        let axis = scan_axis(call.attrs, "scan_output_axes", at, rank + 1)?;
        states.push(Value::Tensor(stack(body, n_states + at, &parts, axis)?));
    }
    Ok(states)
}

/// Position `at` of `axis`, which is dropped.
fn slice<S: Scalar>(x: &Datum<S>, axis: usize, at: usize) -> Result<Datum<S>, Reason> {
    let mut tables = identity(&x.shape);
    tables[axis] = vec![tables[axis][at]];
    let mut shape = x.shape.clone();
    shape.remove(axis);
    moved(x, &tables)?.reshaped(&shape)
}

static SEQUENCE_MAP: OpDef = OpDef {
    name: "SequenceMap",
    doc: "Runs the body on each item of its sequences; tensors are given to each turn as they are",
    versions: &[17],
    inputs: &[Param::required("input_sequence", "S"), Param::mixed("additional_inputs", "V")],
    outputs: &[Param::mixed("out_sequence", "S")],
    attrs: &[AttrDef::required("body", AttrKind::Graph)],
    types: &[("V", sets::EARLY)],
    infer: |call| {
        let inputs = map_inputs(call);
        let results = infer_body(call, "body", &inputs, call.n_outputs)?;
        let sequence =
            |(index, fact): (usize, Option<Fact>)| Some(Fact::from(outside(call, "body", fact?, index).ty.sequence()));
        Ok(results.into_iter().enumerate().map(sequence).collect())
    },
    bodies: Some(|call, _| map_inputs(call)),
    eval: eval_values!(run_sequence_map),
    work: |_, _| None,
    ..OpDef::BASE
};

fn map_inputs(call: &Call) -> Vec<Option<Fact>> {
    let input = |index: usize| match item_type(call, index) {
        Ok(item) => Some(Fact::from(item)),
        Err(_) => call.argument(index).ok().map(|argument| argument.ty().into()),
    };
    (0..call.inputs.len()).map(input).collect()
}

fn run_sequence_map<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    let Value::Sequence(first) = call.value(0)? else { return Err(Reason::new("input 0 is no sequence")) };
    let mut results: Vec<Vec<Value<Datum<S>>>> = vec![Vec::new(); call.n_outputs];
    for turn in 0..first.len() {
        let item = |index: usize| match call.value(index)? {
            Value::Sequence(items) => items
                .get(turn)
                .cloned()
                .ok_or_else(|| Reason(format!("input {index} has {} items, input 0 has {}", items.len(), first.len()))),
            other => Ok(other.clone()),
        };
        let inputs: Vec<Value<Datum<S>>> = (0..call.inputs.len()).map(item).collect::<Result<_, _>>()?;
        for (into, result) in results.iter_mut().zip(call.run_body("body", &inputs)?) {
            into.push(result);
        }
    }
    Ok(results.into_iter().map(Value::Sequence).collect())
}
