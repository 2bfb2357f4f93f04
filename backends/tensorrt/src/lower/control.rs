//! Control flow, without any: branches are chosen now or computed both, loops are unrolled.

use super::call::Arg;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::walk::{Coded, Site, Walker};
use crate::layer::{ElementWiseKind, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attrs, Graph, Tensor};

/// The outputs of a call; `None` for one that could not be lowered.
type Results = Result<Vec<Option<Operand>>, Coded>;

/// How one operator with bodies is lowered: its call, inputs and captures.
type Control = fn(&mut Walker, &Site, Vec<Option<Arg>>, Vec<Option<Arg>>) -> Results;

/// The operators of this family.
pub(super) const OPS: &[(&str, Control)] = &[("If", choose), ("Loop", repeat), ("Scan", scan)];

/// Turns of a loop that are written out.
const MOST_TURNS: i64 = 256;

/// The lowering of operator `name` of `ai.onnx`, when it has bodies.
pub(super) fn control(name: &str) -> Option<Control> {
    OPS.iter().find(|(known, _)| *known == name).map(|(_, lower)| *lower)
}

fn refused(refusal: impl Into<Refusal>) -> Coded {
    ("B0601", refusal.into())
}

fn body<'a>(site: &Site<'a>, name: &str) -> Result<&'a Graph, Coded> {
    site.attrs.graph(name).ok_or_else(|| refused(format!("it has no {name}")))
}

/// The branch that a known condition chooses; else both, and of each output the one that the condition selects.
fn choose(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let condition = args.into_iter().next().flatten().ok_or_else(|| refused("it has no condition"))?;
    let branch = |walker: &mut Walker, name: &str| {
        walker.body(site, body(site, name)?, &format!("{name}/"), Vec::new(), captures.clone(), &Attrs::new())
    };
    if let Some(truth) = condition.value.single() {
        let chosen = branch(walker, if truth != 0.0 { "then_branch" } else { "else_branch" })?;
        return Ok(values(chosen));
    }
    let (then, otherwise) = (branch(walker, "then_branch")?, branch(walker, "else_branch")?);
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
    let mut results = Vec::new();
    for (then, otherwise) in then.into_iter().zip(otherwise) {
        let (Some(then), Some(otherwise)) = (then, otherwise) else {
            results.push(None);
            continue;
        };
        results.push(Some(selected(walker, &condition.value, &then.value, &otherwise.value).map_err(refused)?));
    }
    Ok(results)
}

fn selected(walker: &mut Walker, condition: &Operand, then: &Operand, otherwise: &Operand) -> Result<Operand, Refusal> {
    if then.shape() != otherwise.shape() {
        return Err(Refusal::new("its branches differ in shape, and its condition is computed")
            .instead("a constant condition, or branches of one shape"));
    }
    let condition = walker.builder.tensor(condition)?;
    let scalar = match condition.rank() {
        0 => condition,
        rank => walker.builder.squeeze(&condition, &(0..rank).collect::<Vec<_>>()),
    };
    if then.data_type()? != DataType::Bool {
        return Ok(walker.builder.select(&scalar.into(), then, otherwise)?.into());
    }
    let inverse: Operand = walker.builder.unary(UnaryKind::Not, &scalar).into();
    let left: Operand = walker.builder.binary(ElementWiseKind::And, &scalar.into(), then)?.into();
    let right: Operand = walker.builder.binary(ElementWiseKind::And, &inverse, otherwise)?.into();
    Ok(walker.builder.binary(ElementWiseKind::Or, &left, &right)?.into())
}

fn values(args: Vec<Option<Arg>>) -> Vec<Option<Operand>> {
    args.into_iter().map(|arg| arg.map(|arg| arg.value)).collect()
}

fn constant(walker: &mut Walker, tensor: Tensor) -> Option<Arg> {
    Some(Arg { value: walker.builder.weight("", tensor).into(), content: None })
}

fn truth_value(truth: bool) -> Result<Tensor, Coded> {
    Tensor::from_bools(&[], &[truth]).map_err(|error| refused(error.to_string()))
}

/// Writes out each turn. Whether there is another one must be known.
fn repeat(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let graph = body(site, "body")?;
    let mut args = args.into_iter();
    let (trips, condition) = (args.next().flatten(), args.next().flatten());
    let trips = match &trips {
        Some(trips) => {
            let known = trips.ints().and_then(|ints| ints.first().copied());
            known.ok_or_else(|| refused(Refusal::new("its trip count is computed").instead("a constant trip count")))?
        }
        None => i64::MAX,
    };
    let computed = || refused(Refusal::new("its condition is computed").instead("a trip count alone"));
    let truth =
        |arg: Option<&Arg>| arg.ok_or_else(computed)?.value.single().map(|truth| truth != 0.0).ok_or_else(computed);
    let mut goes_on = condition.as_ref().map_or(Ok(true), |condition| truth(Some(condition)))?;
    let mut carried: Vec<Option<Arg>> = args.collect();
    let n_carried = carried.len();
    let n_stacked =
        graph.outputs().len().checked_sub(1 + n_carried).ok_or_else(|| refused("its body has too few outputs"))?;
    let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); n_stacked];
    let mut turn = 0;
    while goes_on && turn < trips {
        if turn == MOST_TURNS {
            return Err(refused(format!("it has more than {MOST_TURNS} turns")));
        }
        let mut inputs = vec![constant(walker, Tensor::scalar(turn)), constant(walker, truth_value(goes_on)?)];
        inputs.append(&mut carried);
        let results = walker.body(site, graph, &format!("{turn}/"), inputs, captures.clone(), &Attrs::new())?;
        let mut results = results.into_iter();
        goes_on = truth(results.next().flatten().as_ref())?;
        carried = results.by_ref().take(n_carried).collect();
        push_each(&mut stacks, results)?;
        turn += 1;
    }
    let mut outputs = values(carried);
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
    for parts in stacks {
        outputs.push(Some(stacked(walker, &parts, 0).map_err(refused)?));
    }
    Ok(outputs)
}

/// Puts each result of one turn on its stack.
fn push_each(stacks: &mut [Vec<Operand>], results: impl Iterator<Item = Option<Arg>>) -> Result<(), Coded> {
    for (stack, result) in stacks.iter_mut().zip(results) {
        stack.push(result.ok_or_else(|| refused("its body can't be lowered"))?.value);
    }
    Ok(())
}

/// Tensors of one shape along a new axis.
fn stacked(walker: &mut Walker, parts: &[Operand], axis: usize) -> Result<Operand, Refusal> {
    if parts.is_empty() {
        return Err(Refusal::new("it has no turns, so that what it stacks is empty"));
    }
    let mut rows = Vec::new();
    for part in parts {
        let part = walker.builder.tensor(part)?;
        rows.push(walker.builder.unsqueeze(&part, &[axis])?);
    }
    Ok(walker.builder.concat(&rows, axis)?.into())
}

/// Writes out each turn, over slices of the scanned inputs.
fn scan(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let graph = body(site, "body")?;
    let n_scanned = site.attrs.int("num_scan_inputs").and_then(|count| usize::try_from(count).ok());
    let n_states = n_scanned.and_then(|count| args.len().checked_sub(count));
    let n_states = n_states.ok_or_else(|| refused("it has too few inputs"))?;
    let n_stacked =
        graph.outputs().len().checked_sub(n_states).ok_or_else(|| refused("its body has too few outputs"))?;
    let entry = |name: &str, at: usize| site.attrs.ints(name).and_then(|list| list.get(at)).copied().unwrap_or(0);
    let mut states: Vec<Option<Arg>> = args;
    let scanned_args = states.split_off(n_states);
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
    let mut scanned: Vec<(Typed, usize, bool)> = Vec::new();
    for (at, arg) in scanned_args.into_iter().enumerate() {
        let arg = arg.ok_or_else(|| refused("a scan input is missing"))?;
        let x = walker.builder.tensor(&arg.value).map_err(refused)?;
        let axis =
            normalize_axis(entry("scan_input_axes", at), x.rank()).ok_or_else(|| refused("an axis is out of range"))?;
        scanned.push((x, axis, entry("scan_input_directions", at) == 1));
    }
    let length = scanned.first().and_then(|(x, axis, _)| x.shape[*axis].as_known());
    let length = length
        .ok_or_else(|| refused(Refusal::new("the length of its sequence is dynamic").instead("a constant length")))?;
    if length > MOST_TURNS {
        return Err(refused(format!("it has more than {MOST_TURNS} turns")));
    }
    let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); n_stacked];
    for turn in 0..length {
        walker.builder.begin(site.name, vec![site.name.to_owned()]);
        let mut inputs = std::mem::take(&mut states);
        for (x, axis, is_reversed) in &scanned {
            let at = if *is_reversed { length - 1 - turn } else { turn };
            let part = walker.builder.part(x, *axis, Term::Known(at), Term::Known(1)).map_err(refused)?;
            let part = walker.builder.squeeze(&part, &[*axis]);
            inputs.push(Some(Arg { value: part.into(), content: None }));
        }
        let results = walker.body(site, graph, &format!("{turn}/"), inputs, captures.clone(), &Attrs::new())?;
        let mut results = results.into_iter();
        states = results.by_ref().take(n_states).collect();
        push_each(&mut stacks, results)?;
    }
    let mut outputs = values(states);
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
    for (at, mut parts) in stacks.into_iter().enumerate() {
        if entry("scan_output_directions", at) == 1 {
            parts.reverse();
        }
        let rank = parts.first().map_or(0, Operand::rank) + 1;
        let axis =
            normalize_axis(entry("scan_output_axes", at), rank).ok_or_else(|| refused("an axis is out of range"))?;
        outputs.push(Some(stacked(walker, &parts, axis).map_err(refused)?));
    }
    Ok(outputs)
}
