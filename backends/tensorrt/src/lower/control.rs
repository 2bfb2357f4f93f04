//! Control flow: branches are chosen and loops are written out where what they do is known now; the rest is left to the network.

use super::call::Arg;
use super::flex_attention::flex_attention;
use super::flow;
use super::operand::Operand;
use super::refusal::Refusal;
use super::terms::Term;
use super::turns::Scanned;
use super::walk::{Coded, Site, Walker};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attrs, Graph, Tensor};

/// The outputs of a call; `None` for one that could not be lowered.
pub(super) type Results = Result<Vec<Option<Operand>>, Coded>;

/// How one operator with bodies is lowered: its call, inputs and captures.
type Control = fn(&mut Walker, &Site, Vec<Option<Arg>>, Vec<Option<Arg>>) -> Results;

/// The operators of this family, those of `ai.onnx.preview` included.
pub(super) const OPS: &[(&str, Control)] =
    &[("If", choose), ("Loop", repeat), ("Scan", scan), ("FlexAttention", flex_attention)];

/// Turns of a loop that are written out.
const MOST_TURNS: i64 = 256;

/// The lowering of operator `name`, when it has bodies.
pub(super) fn control(name: &str) -> Option<Control> {
    OPS.iter().find(|(known, _)| *known == name).map(|(_, lower)| *lower)
}

pub(super) fn refused(refusal: impl Into<Refusal>) -> Coded {
    ("B0601", refusal.into())
}

/// A body of the call.
pub(super) fn body<'a>(site: &Site<'a>, name: &str) -> Result<&'a Graph, Coded> {
    site.attrs.graph(name).ok_or_else(|| refused(format!("it has no {name}")))
}

/// The branch that a known condition chooses.
fn choose(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let condition = args.into_iter().next().flatten().ok_or_else(|| refused("it has no condition"))?;
    let Some(truth) = condition.value.single() else { return flow::choose(walker, site, &condition.value, captures) };
    let name = if truth != 0.0 { "then_branch" } else { "else_branch" };
    let chosen = walker.body(site, body(site, name)?, &format!("{name}/"), Vec::new(), captures, &Attrs::new())?;
    Ok(values(chosen))
}

/// What the arguments hold.
pub(super) fn values(args: Vec<Option<Arg>>) -> Vec<Option<Operand>> {
    args.into_iter().map(|arg| arg.map(|arg| arg.value)).collect()
}

fn constant(walker: &mut Walker, tensor: Tensor) -> Option<Arg> {
    Some(Arg { value: walker.builder.weight("", tensor).into(), content: None })
}

fn truth_value(truth: bool) -> Result<Tensor, Coded> {
    Tensor::from_bools(&[], &[truth]).map_err(|error| refused(error.to_string()))
}

/// Writes out each turn where it is known whether there is another one.
fn repeat(walker: &mut Walker, site: &Site, args: Vec<Option<Arg>>, captures: Vec<Option<Arg>>) -> Results {
    let before = walker.clone();
    match written_out(walker, site, args.clone(), captures.clone())? {
        Some(outputs) => Ok(outputs),
        None => {
            *walker = before;
            flow::repeat(walker, site, args, captures)
        }
    }
}

/// The outputs of a loop whose turns are written out; `None` when their number is not known or large.
fn written_out(
    walker: &mut Walker,
    site: &Site,
    args: Vec<Option<Arg>>,
    captures: Vec<Option<Arg>>,
) -> Result<Option<Vec<Option<Operand>>>, Coded> {
    let graph = body(site, "body")?;
    let mut args = args.into_iter();
    let (trips, condition) = (args.next().flatten(), args.next().flatten());
    let truth = |arg: &Arg| arg.value.single().map(|truth| truth != 0.0);
    let known = match &trips {
        Some(trips) => trips.ints().and_then(|ints| ints.first().copied()),
        None => Some(i64::MAX),
    };
    let Some(trips) = known else { return Ok(None) };
    let Some(mut goes_on) = condition.as_ref().map_or(Some(true), truth) else { return Ok(None) };
    let mut carried: Vec<Option<Arg>> = args.collect();
    let n_carried = carried.len();
    let n_stacked =
        graph.outputs().len().checked_sub(1 + n_carried).ok_or_else(|| refused("its body has too few outputs"))?;
    let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); n_stacked];
    let mut turn = 0;
    while goes_on && turn < trips {
        if turn == MOST_TURNS {
            return Ok(None);
        }
        let mut inputs = vec![constant(walker, Tensor::scalar(turn)), constant(walker, truth_value(goes_on)?)];
        inputs.append(&mut carried);
        let results = walker.body(site, graph, &format!("{turn}/"), inputs, captures.clone(), &Attrs::new())?;
        let mut results = results.into_iter();
        let condition = results.next().flatten().ok_or_else(|| refused("its body can't be lowered"))?;
        let Some(known) = truth(&condition) else { return Ok(None) };
        goes_on = known;
        carried = results.by_ref().take(n_carried).collect();
        push_each(&mut stacks, results)?;
        turn += 1;
    }
    let mut outputs = values(carried);
    walker.builder.begin(site.name, vec![site.name.to_owned()]);
    for parts in stacks {
        outputs.push(Some(stacked(walker, &parts, 0).map_err(refused)?));
    }
    Ok(Some(outputs))
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

/// Writes out each turn, over slices of the scanned inputs, where their number is known and not large.
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
    let mut scanned = Vec::new();
    for (at, arg) in scanned_args.into_iter().enumerate() {
        let arg = arg.ok_or_else(|| refused("a scan input is missing"))?;
        let input = walker.builder.tensor(&arg.value).map_err(refused)?;
        let axis = normalize_axis(entry("scan_input_axes", at), input.rank());
        let axis = axis.ok_or_else(|| refused("an axis is out of range"))?;
        scanned.push(Scanned { input, axis, reverse: entry("scan_input_directions", at) == 1 });
    }
    let length = scanned.first().and_then(|scanned| scanned.input.shape[scanned.axis].as_known());
    let Some(length) = length.filter(|length| *length <= MOST_TURNS) else {
        let output = |at: usize| (entry("scan_output_axes", at), entry("scan_output_directions", at) == 1);
        let stacks: Vec<(i64, bool)> = (0..n_stacked).map(output).collect();
        return flow::scan(walker, site, states, &scanned, &stacks, captures);
    };
    let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); n_stacked];
    for turn in 0..length {
        walker.builder.begin(site.name, vec![site.name.to_owned()]);
        let mut inputs = std::mem::take(&mut states);
        for Scanned { input, axis, reverse } in &scanned {
            let at = if *reverse { length - 1 - turn } else { turn };
            let part = walker.builder.part(input, *axis, Term::Known(at), Term::Known(1)).map_err(refused)?;
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
