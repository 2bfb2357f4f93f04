//! Conditionals and loops that the network runs itself, where lowering can't tell what they will do.

use super::call::Arg;
use super::control::{Results, body, refused, values};
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::walk::{Coded, Site, Walker};
use crate::layer::{ElementWiseKind, Flow, FlowId, Layer};
use crate::spec::{DataType, TensorRef};
use eutectic_ir::{Attrs, Dim, Graph, Tensor};

/// An input of a scan: it gives each turn its part along an axis, the last one first when in reverse.
pub(super) struct Scanned {
    /// The input.
    pub input: Typed,
    /// The axis.
    pub axis: usize,
    /// Whether the last part comes first.
    pub reverse: bool,
}

/// Both branches, of which the condition runs one.
pub(super) fn choose(walker: &mut Walker, site: &Site, condition: &Operand, captures: Vec<Option<Arg>>) -> Results {
    begin(walker, site);
    let of = walker.builder.new_flow();
    let condition = scalar(walker, condition).map_err(refused)?.at;
    walker.builder.layer("condition", Layer::Flow(Flow::Condition { of, condition }));
    let mut branch = |name: &str| {
        let part = format!("{name}/");
        within(walker, site, body(site, name)?, &part, Vec::new(), captures.clone())
    };
    let (then, otherwise) = (branch("then_branch")?, branch("else_branch")?);
    begin(walker, site);
    let both = then.into_iter().zip(otherwise);
    both.map(|(then, otherwise)| match (then, otherwise) {
        (Some(then), Some(otherwise)) => chosen(walker, of, &then.value, &otherwise.value).map(Some).map_err(refused),
        _ => Ok(None),
    })
    .collect()
}

fn chosen(walker: &mut Walker, of: FlowId, then: &Operand, otherwise: &Operand) -> Result<Operand, Refusal> {
    let builder = &mut walker.builder;
    let (then, otherwise) = (builder.tensor(then)?, builder.tensor(otherwise)?);
    if then.rank() != otherwise.rank() {
        return Err(Refusal::new("its branches differ in rank, and its condition is computed")
            .instead("a constant condition, or branches of one rank"));
    }
    let otherwise = builder.cast(&otherwise, then.data_type);
    let extents = then.shape.iter().zip(&otherwise.shape);
    let shape = extents.map(|(a, b)| if a == b { a.clone() } else { builder.fresh() }).collect();
    let layer = Flow::Chosen { of, then: then.at, otherwise: otherwise.at };
    Ok(builder.typed("chosen", Layer::Flow(layer), then.data_type, shape).into())
}

/// A loop over `args`: trip count, condition, and what it carries.
pub(super) fn repeat(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let graph = body(site, "body")?;
    begin(walker, site);
    let mut args = args.into_iter();
    let (trips, condition) = (args.next().flatten(), args.next().flatten());
    let of = walker.builder.new_flow();
    // Exporters write the largest number where a condition alone is to end the loop.
    let trips = trips.filter(|trips| trips.value.single().is_none_or(|trips| trips <= f64::from(i32::MAX)));
    let turns = trips.map(|trips| counted(walker, of, &trips.value)).transpose().map_err(refused)?;
    let first = constant(walker, Tensor::scalar(0i64));
    let turn = carried(walker, of, &first).map_err(refused)?;
    let truth = Tensor::from_bools(&[], &[true]).map_err(|error| refused(error.to_string()))?;
    let begins = condition.map_or_else(|| constant(walker, truth), |condition| condition.value);
    let goes_on = scalar(walker, &begins).and_then(|begins| carried(walker, of, &begins.into())).map_err(refused)?;
    let state = carried_all(walker, of, args.collect())?;
    let inputs = [&turn, &goes_on].into_iter().chain(&state).map(argument).collect();
    let mut results = within(walker, site, graph, "body/", inputs, captures)?.into_iter();
    begin(walker, site);
    let one = walker.builder.with(ElementWiseKind::Sum, &turn, 1.0).map_err(refused)?;
    next(walker, &turn, &one.into()).map_err(refused)?;
    let ends = results.next().flatten().ok_or_else(|| refused("its body can't be lowered"))?.value;
    let stays = matches!(&ends, Operand::Tensor(tensor) if tensor.at == goes_on.at);
    let is_endless = is_true(&begins) && (stays || is_true(&ends));
    let ends = scalar(walker, &ends).map_err(refused)?;
    next(walker, &goes_on, &ends.into()).map_err(refused)?;
    if is_endless && turns.is_none() {
        return Err(refused(Refusal::new("it never ends").instead("a trip count or a condition")));
    }
    if !is_endless {
        walker.builder.layer("while", Layer::Flow(Flow::While { of, goes_on: goes_on.at }));
    }
    let mut outputs = last(walker, of, &state, &mut results)?;
    for result in results {
        let turns = turns.as_ref().filter(|_| is_endless).ok_or_else(|| {
            refused(Refusal::new("it stacks results, and its condition decides how many").instead("a trip count alone"))
        })?;
        outputs.push(Some(stacked(walker, of, result, 0, turns, false)?));
    }
    Ok(outputs)
}

/// A loop over the parts of `scanned`, which is not empty; `stacks` has axis and direction of each result that is stacked.
pub(super) fn scan(
    walker: &mut Walker,
    site: &Site,
    states: Vec<Option<Arg>>,
    scanned: &[Scanned],
    stacks: &[(i64, bool)],
    captures: Vec<Option<Arg>>,
) -> Results {
    begin(walker, site);
    let of = walker.builder.new_flow();
    let Some(first) = scanned.first() else { return Err(refused("it scans nothing")) };
    let length = walker.builder.extent(&first.input, first.axis).and_then(|length| walker.builder.term(&length));
    let turns = counted(walker, of, &length.map_err(refused)?.into()).map_err(refused)?;
    let state = carried_all(walker, of, states)?;
    let parts: Vec<Typed> = scanned.iter().map(|scanned| part(walker, of, scanned)).collect();
    let inputs = state.iter().chain(&parts).map(argument).collect();
    let mut results = within(walker, site, body(site, "body")?, "body/", inputs, captures)?.into_iter();
    begin(walker, site);
    let mut outputs = last(walker, of, &state, &mut results)?;
    for (result, &(axis, reverse)) in results.zip(stacks) {
        outputs.push(Some(stacked(walker, of, result, axis, &turns, reverse)?));
    }
    Ok(outputs)
}

fn begin(walker: &mut Walker, site: &Site) {
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
}

/// The outputs of a body that lies within a conditional or a loop: what it computes of extents is forgotten after it, since no
/// layer outside may read it.
fn within(
    walker: &mut Walker,
    site: &Site,
    body: &Graph,
    part: &str,
    inputs: Vec<Option<Arg>>,
    captures: Vec<Option<Arg>>,
) -> Result<Vec<Option<Arg>>, Coded> {
    let outside = walker.builder.enter();
    let results = walker.body(site, body, part, inputs, captures, &Attrs::new());
    walker.builder.leave(outside);
    results
}

fn argument(tensor: &Typed) -> Option<Arg> {
    Some(Arg { value: tensor.clone().into(), content: None })
}

fn constant(walker: &mut Walker, tensor: Tensor) -> Operand {
    walker.builder.weight("", tensor).into()
}

fn is_true(operand: &Operand) -> bool {
    operand.single().is_some_and(|truth| truth != 0.0)
}

/// A tensor of one element, without axes.
fn scalar(walker: &mut Walker, operand: &Operand) -> Result<Typed, Refusal> {
    let tensor = walker.builder.tensor(operand)?;
    Ok(walker.builder.squeeze(&tensor, &(0..tensor.rank()).collect::<Vec<_>>()))
}

/// Ends the loop after `trips` turns: their number as a scalar, and as an extent.
fn counted(walker: &mut Walker, of: FlowId, trips: &Operand) -> Result<(TensorRef, Dim), Refusal> {
    let known = trips.single().filter(|trips| *trips >= 0.0).map(|trips| Dim::known(trips as i64));
    let trips = scalar(walker, trips)?;
    // A loop that a condition may end too takes no wider number.
    let turns = walker.builder.cast(&trips, DataType::I32).at;
    walker.builder.layer("count", Layer::Flow(Flow::Count { of, turns }));
    Ok((turns, known.unwrap_or_else(|| walker.builder.fresh())))
}

fn carried(walker: &mut Walker, of: FlowId, initial: &Operand) -> Result<Typed, Refusal> {
    let Typed { at: initial, data_type, shape } = walker.builder.tensor(initial)?;
    Ok(walker.builder.typed("carried", Layer::Flow(Flow::Carried { of, initial }), data_type, shape))
}

fn carried_all(walker: &mut Walker, of: FlowId, args: Vec<Option<Arg>>) -> Result<Vec<Typed>, Coded> {
    let one = |arg: Option<Arg>| {
        let arg = arg.ok_or_else(|| refused("a value that it carries is missing"))?;
        carried(walker, of, &arg.value).map_err(refused)
    };
    args.into_iter().map(one).collect()
}

/// What `carried` is in the next turn.
fn next(walker: &mut Walker, carried: &Typed, value: &Operand) -> Result<(), Refusal> {
    let value = walker.builder.tensor(value)?;
    if value.shape != carried.shape {
        let describe = |shape: &[Dim]| shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(",");
        let (before, after) = (describe(&carried.shape), describe(&value.shape));
        return Err(Refusal::new(format!("a value that it carries grows from [{before}] to [{after}]"))
            .instead("extents that every turn keeps"));
    }
    let value = walker.builder.cast(&value, carried.data_type);
    // A recurrence is not its own second operand.
    let value = if value.at == carried.at { walker.builder.identity(&value) } else { value };
    walker.builder.layer("next", Layer::Flow(Flow::Next { carried: carried.at, value: value.at }));
    Ok(())
}

fn part(walker: &mut Walker, of: FlowId, scanned: &Scanned) -> Typed {
    let Scanned { input, axis, reverse } = scanned;
    let mut shape = input.shape.clone();
    shape.remove(*axis);
    let layer = Flow::Part { of, input: input.at, axis: *axis as u32, reverse: *reverse };
    walker.builder.typed("part", Layer::Flow(layer), input.data_type, shape)
}

/// Closes the circle of each state with its result of a turn, and returns each after the last turn.
fn last(walker: &mut Walker, of: FlowId, state: &[Typed], results: &mut impl Iterator<Item = Option<Arg>>) -> Results {
    let arguments: Vec<Option<Arg>> = results.take(state.len()).collect();
    for (carried, result) in state.iter().zip(values(arguments)) {
        let result = result.ok_or_else(|| refused("its body can't be lowered"))?;
        next(walker, carried, &result).map_err(refused)?;
    }
    let after = state.iter().map(|state| {
        let layer = Layer::Flow(Flow::Last { of, carried: state.at });
        Some(walker.builder.typed("last", layer, state.data_type, state.shape.clone()).into())
    });
    Ok(after.collect())
}

/// The results of all turns along a new axis.
fn stacked(
    walker: &mut Walker,
    of: FlowId,
    result: Option<Arg>,
    axis: i64,
    (turns, dim): &(TensorRef, Dim),
    reverse: bool,
) -> Result<Operand, Coded> {
    let result = result.ok_or_else(|| refused("its body can't be lowered"))?;
    let value = walker.builder.tensor(&result.value).map_err(refused)?;
    let axis = eutectic_ir::types::normalize_axis(axis, value.rank() + 1);
    let axis = axis.ok_or_else(|| refused("an axis is out of range"))?;
    let mut shape = value.shape.clone();
    shape.insert(axis, dim.clone());
    let layer = Flow::Stacked { of, value: value.at, axis: axis as u32, turns: *turns, reverse };
    Ok(walker.builder.typed("stacked", Layer::Flow(layer), value.data_type, shape).into())
}
