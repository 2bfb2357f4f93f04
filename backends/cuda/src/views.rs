//! Operators that only look at memory in another way, and those that copy into parts of a result.

use crate::flat::{FlatCall, Refusal};
use crate::planner::Planner;
use crate::view::{View, row_major};
use eutectic_ir::types::normalize_axis;

/// Plans `call` when it moves elements without computing; `None` for other operators.
pub(crate) fn lower(planner: &mut Planner, call: &FlatCall) -> Option<Result<(), Refusal>> {
    if !call.op.domain().is_empty() {
        return None;
    }
    Some(match call.op.name() {
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => reshape(planner, call),
        "Transpose" => transpose(planner, call),
        "Expand" => expand(planner, call),
        "Slice" if integers(planner, call, 4).is_none_or(|steps| steps.iter().all(|&step| step > 0)) => {
            slice(planner, call)
        }
        "Split" => split(planner, call),
        "Concat" => concat(planner, call),
        _ => return None,
    })
}

fn input(planner: &mut Planner, call: &FlatCall) -> Result<View, Refusal> {
    let value = call.input(0).ok_or_else(|| Refusal::new("", "its first input is missing"))?;
    planner.view(value)
}

fn integers(planner: &Planner, call: &FlatCall, at: usize) -> Option<Vec<i64>> {
    planner.flat.values[call.input(at)?].constant.as_ref()?.to_i64s()
}

fn reshape(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let view = input(planner, call)?;
    let shape = &planner.flat.values[call.outputs[0]].shape;
    let reshaped = match view.reshaped(shape) {
        Some(reshaped) => reshaped,
        None => {
            // What is copied anyway is stored as the program stores it.
            let (scalar, order) = (planner.scalar(call.outputs[0])?, row_major(view.shape.len()));
            let dense = planner.copied(view, scalar, &order, &call.name)?;
            dense.reshaped(shape).ok_or_else(|| Refusal::new("", "its sizes do not fit"))?
        }
    };
    planner.views[call.outputs[0]] = Some(reshaped);
    Ok(())
}

fn transpose(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let view = input(planner, call)?;
    let rank = view.shape.len();
    let axes: Option<Vec<usize>> = match call.attrs.ints("perm") {
        Some(axes) => axes.iter().map(|&axis| normalize_axis(axis, rank)).collect(),
        None => Some((0..rank).rev().collect()),
    };
    let axes = axes.filter(|axes| axes.len() == rank).ok_or_else(|| Refusal::new("", "its axes do not fit"))?;
    planner.views[call.outputs[0]] = Some(view.transposed(&axes));
    Ok(())
}

fn expand(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let view = input(planner, call)?;
    let shape = &planner.flat.values[call.outputs[0]].shape;
    let expanded = view.broadcast(shape).ok_or_else(|| Refusal::new("", "its sizes do not fit"))?;
    planner.views[call.outputs[0]] = Some(expanded);
    Ok(())
}

fn slice(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let mut view = input(planner, call)?;
    let unknown = || Refusal::new("", "its positions are computed, not constant");
    let (starts, ends) =
        (integers(planner, call, 1).ok_or_else(unknown)?, integers(planner, call, 2).ok_or_else(unknown)?);
    let given = |at: usize, otherwise: Vec<i64>| match call.input(at) {
        Some(_) => integers(planner, call, at).ok_or_else(unknown),
        None => Ok(otherwise),
    };
    let axes = given(3, (0..starts.len() as i64).collect())?;
    let steps = given(4, vec![1; starts.len()])?;
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let axis = normalize_axis(axis, view.shape.len()).ok_or_else(|| Refusal::new("", "an axis is out of range"))?;
        let size = view.shape[axis] as i64;
        let place = |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
        let (start, end) = (place(start), place(end));
        let len = (end - start).max(0) as usize;
        view = view.sliced(axis, start as usize, len.div_ceil(step as usize), step as usize);
    }
    planner.views[call.outputs[0]] = Some(view);
    Ok(())
}

fn split(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let view = input(planner, call)?;
    let axis = normalize_axis(call.attrs.int("axis").unwrap_or(0), view.shape.len());
    let axis = axis.ok_or_else(|| Refusal::new("", "its axis is out of range"))?;
    let mut start = 0;
    for &output in &call.outputs {
        let len = planner.flat.values[output].shape[axis];
        planner.views[output] = Some(view.sliced(axis, start, len, 1));
        start += len;
    }
    Ok(())
}

fn concat(planner: &mut Planner, call: &FlatCall) -> Result<(), Refusal> {
    let output = call.outputs[0];
    let shape = planner.flat.values[output].shape.clone();
    let axis = normalize_axis(call.attrs.int("axis").unwrap_or(0), shape.len());
    let axis = axis.ok_or_else(|| Refusal::new("", "its axis is out of range"))?;
    let parts = call.inputs.iter().flatten().map(|&value| planner.view(value)).collect::<Result<Vec<View>, _>>()?;
    let order = parts.first().map_or_else(|| row_major(shape.len()), View::order);
    let out = planner.fresh(planner.scalar(output)?, &shape, &order);
    let mut start = 0;
    for part in parts {
        let len = part.shape[axis];
        planner.copy(part, out.sliced(axis, start, len, 1), &call.name)?;
        start += len;
    }
    planner.views[output] = Some(out);
    Ok(())
}
