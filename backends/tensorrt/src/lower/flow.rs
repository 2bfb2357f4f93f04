//! Conditionals and loops that the network runs itself, where lowering can't tell what they will do.

use super::call::Arg;
use super::control::{Results, body, refused};
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::turns::Scanned;
use super::walk::{Coded, Site, Walker};
use crate::layer::{ElementWiseKind, Flow, FlowId, Layer};
use eutectic_ir::{Attrs, Graph, Tensor};

/// Both branches, of which the condition runs one.
pub(super) fn choose(walker: &mut Walker, site: &Site, condition: &Operand, captures: Vec<Option<Arg>>) -> Results {
    begin(walker, site);
    let of = walker.builder.new_flow();
    let condition = walker.builder.single(condition).map_err(refused)?.at;
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
    let turns = trips.map(|trips| walker.builder.counted(of, &trips.value)).transpose().map_err(refused)?;
    let first = constant(walker, Tensor::scalar(0i64));
    let turn = walker.builder.carried(of, &first).map_err(refused)?;
    let truth = Tensor::from_bools(&[], &[true]).map_err(|error| refused(error.to_string()))?;
    let begins = condition.map_or_else(|| constant(walker, truth), |condition| condition.value);
    let starts = walker.builder.single(&begins).map_err(refused)?;
    let goes_on = walker.builder.carried(of, &starts.into()).map_err(refused)?;
    let state = carried_all(walker, of, args.collect())?;
    let inputs = [&turn, &goes_on].into_iter().chain(&state).map(argument).collect();
    let mut results = within(walker, site, graph, "body/", inputs, captures)?.into_iter();
    begin(walker, site);
    let one = walker.builder.with(ElementWiseKind::Sum, &turn, 1.0).map_err(refused)?;
    walker.builder.next(&turn, &one.into()).map_err(refused)?;
    let ends = lowered(results.next().flatten())?;
    let stays = matches!(&ends, Operand::Tensor(tensor) if tensor.at == goes_on.at);
    let is_endless = is_true(&begins) && (stays || is_true(&ends));
    let ends = walker.builder.single(&ends).map_err(refused)?;
    walker.builder.next(&goes_on, &ends.into()).map_err(refused)?;
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
        let result = lowered(result)?;
        outputs.push(Some(walker.builder.stacked(of, &result, 0, turns, false).map_err(refused)?.into()));
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
    let turns = walker.builder.counted_by(of, first).map_err(refused)?;
    let state = carried_all(walker, of, states)?;
    let parts: Vec<Typed> = scanned.iter().map(|scanned| walker.builder.scanned(of, scanned)).collect();
    let inputs = state.iter().chain(&parts).map(argument).collect();
    let mut results = within(walker, site, body(site, "body")?, "body/", inputs, captures)?.into_iter();
    begin(walker, site);
    let mut outputs = last(walker, of, &state, &mut results)?;
    for (result, &(axis, reverse)) in results.zip(stacks) {
        let result = lowered(result)?;
        outputs.push(Some(walker.builder.stacked(of, &result, axis, &turns, reverse).map_err(refused)?.into()));
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

/// A result of a body.
fn lowered(result: Option<Arg>) -> Result<Operand, Coded> {
    Ok(result.ok_or_else(|| refused("its body can't be lowered"))?.value)
}

fn carried_all(walker: &mut Walker, of: FlowId, args: Vec<Option<Arg>>) -> Result<Vec<Typed>, Coded> {
    let one = |arg: Option<Arg>| {
        let arg = arg.ok_or_else(|| refused("a value that it carries is missing"))?;
        walker.builder.carried(of, &arg.value).map_err(refused)
    };
    args.into_iter().map(one).collect()
}

/// Closes the circle of each state with its result of a turn, and returns each after the last turn.
fn last(walker: &mut Walker, of: FlowId, state: &[Typed], results: &mut impl Iterator<Item = Option<Arg>>) -> Results {
    for (carried, result) in state.iter().zip(results.by_ref().take(state.len())) {
        walker.builder.next(carried, &lowered(result)?).map_err(refused)?;
    }
    Ok(state.iter().map(|state| Some(walker.builder.last(of, state).into())).collect())
}
