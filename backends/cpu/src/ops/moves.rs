//! Operators that move data without computing, for elements of any type but strings.

use super::{Kernel, Prepare, Setup, given};
use crate::broadcast::{Broadcast, broadcast_shape};
use crate::moves::{self, Cut};
use crate::transpose::{keeps_order, transpose};
use crate::value::{Layout, Pool, Value, count};
use eutectic_ir::op::Reason;
use eutectic_ir::types::{Element, normalize_axis};

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("Transpose", |setup| Ok(Some(transposed(setup)))),
    ("Concat", |setup| Ok(concatenated(setup))),
    ("Split", |setup| Ok(split(setup))),
    ("Slice", |_| Ok(Some(Box::new(sliced)))),
    ("Gather", |setup| Ok(gathered(setup))),
    ("Expand", |_| Ok(Some(Box::new(expanded)))),
    ("Pad", |setup| Ok(padded(setup))),
];

/// Makes a value of `shape` and the element type of `like`; `fill` writes its bytes. `None` for strings and elements
/// narrower than a byte.
fn filled(
    like: &Value,
    shape: &[usize],
    pool: &mut Pool,
    fill: impl FnOnce(usize, &[u8], &mut [u8]),
) -> Result<Option<Value>, Reason> {
    let Some(bytes) = like.as_bytes() else { return Ok(None) };
    let element = like.element();
    let size = element.bits() / 8;
    let len = count(shape)?;
    if element == Element::Float {
        let mut out = pool.take(len)?;
        fill(size, &bytes, bytemuck::cast_slice_mut(&mut out));
        return Ok(Some(Value::floats(shape, out)));
    }
    let n_bytes = len.checked_mul(size).ok_or_else(|| Reason::new("the result exceeds the address space"))?;
    pool.check(n_bytes / 4)?;
    let mut out = vec![0; n_bytes];
    fill(size, &bytes, &mut out);
    Value::host(element, shape, out).map(Some)
}

fn one(value: Option<Value>) -> Option<Vec<Value>> {
    value.map(|value| vec![value])
}

fn transposed(setup: &mut Setup<'_>) -> Kernel {
    let stated: Option<Vec<i64>> = setup.attrs.ints("perm").map(<[i64]>::to_vec);
    Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let rank = x.shape.len();
        let permutation: Vec<usize> = match &stated {
            None => (0..rank).rev().collect(),
            Some(stated) => stated.iter().filter_map(|&axis| usize::try_from(axis).ok()).collect(),
        };
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Ok(None);
        }
        let shape: Vec<usize> = permutation.iter().map(|&axis| x.shape[axis]).collect();
        if x.layout == Layout::ChannelsLast {
            // Axis i of the image is stored as axis `stored(i)`: one move takes it to where it belongs.
            let stored = |axis: usize| match axis {
                0 => 0,
                1 => rank - 1,
                axis => axis - 1,
            };
            let mut extents = x.shape.clone();
            extents[1..].rotate_left(1);
            let permutation: Vec<usize> = permutation.iter().map(|&axis| stored(axis)).collect();
            return permuted(x, &extents, &permutation, &shape, pool).map(one);
        }
        if keeps_order(&x.shape, &permutation) {
            return Ok(Some(vec![x.reshaped(&shape)]));
        }
        permuted(x, &x.shape, &permutation, &shape, pool).map(one)
    })
}

/// The elements of `x`, stored as `extents`, permuted.
fn permuted(
    x: &Value,
    extents: &[usize],
    permutation: &[usize],
    shape: &[usize],
    pool: &mut Pool,
) -> Result<Option<Value>, Reason> {
    if let Some(elements) = x.as_floats() {
        let mut out = pool.take(elements.len())?;
        transpose(extents, permutation, elements, &mut out);
        return Ok(Some(Value::floats(shape, out)));
    }
    fn any<T: bytemuck::Pod + Send + Sync>(extents: &[usize], permutation: &[usize], input: &[u8], out: &mut [u8]) {
        let input = bytemuck::pod_collect_to_vec::<u8, T>(input);
        let mut moved = vec![T::zeroed(); input.len()];
        transpose(extents, permutation, &input, &mut moved);
        out.copy_from_slice(bytemuck::cast_slice(&moved));
    }
    if !matches!(x.element().bits(), 8 | 16 | 32 | 64) {
        return Ok(None);
    }
    filled(x, shape, pool, |size, input, out| match size {
        1 => any::<u8>(extents, permutation, input, out),
        2 => any::<u16>(extents, permutation, input, out),
        4 => any::<u32>(extents, permutation, input, out),
        _ => any::<u64>(extents, permutation, input, out),
    })
}

fn concatenated(setup: &mut Setup<'_>) -> Option<Kernel> {
    let (axis, n_inputs) = (setup.attrs.int("axis")?, setup.n_inputs);
    Some(Box::new(move |arguments, pool| {
        let values: Vec<&Value> = arguments.iter().flatten().collect();
        let Some(first) = values.first().filter(|_| values.len() == n_inputs) else { return Ok(None) };
        let rank = first.shape.len();
        let Some(axis) = normalize_axis(axis, rank) else { return Ok(None) };
        let fits = |value: &&Value| {
            value.element() == first.element()
                && value.shape.len() == rank
                && (0..rank).all(|at| at == axis || value.shape[at] == first.shape[at])
        };
        if !values.iter().all(fits) {
            return Ok(None);
        }
        let mut shape = first.shape.clone();
        shape[axis] = values
            .iter()
            .try_fold(0usize, |sum, value| sum.checked_add(value.shape[axis]))
            .ok_or_else(|| Reason::new("the result exceeds the address space"))?;
        // Images stay as they are: their channels are side by side at every position.
        let images = axis == 1 && values.iter().any(|value| value.layout == Layout::ChannelsLast);
        let mut parts = Vec::new();
        for value in values {
            let part = if images { value.to_channels_last(pool)? } else { Some(value.to_plain(pool)?) };
            match part {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        let outer = if images { shape[0] * count(&shape[2..])? } else { count(&shape[..axis])? };
        let bytes: Option<Vec<_>> = parts.iter().map(Value::as_bytes).collect();
        let Some(bytes) = bytes else { return Ok(None) };
        let slices: Vec<&[u8]> = bytes.iter().map(|bytes| &**bytes).collect();
        let value = filled(&parts[0], &shape, pool, |_, _, out| moves::concat(outer, &slices, out))?;
        Ok(
            one(value
                .map(|value| if images { value.seen_as(&shape, Layout::ChannelsLast).normalized() } else { value })),
        )
    }))
}

/// `x` cut along axes; `None` for strings and narrow elements.
fn cut(x: &Value, cuts: &[Cut], pool: &mut Pool) -> Result<Option<Value>, Reason> {
    let shape: Vec<usize> = cuts.iter().map(|cut| cut.count).collect();
    filled(x, &shape, pool, |size, input, out| moves::slice(size, &x.shape, cuts, input, out))
}

fn whole(shape: &[usize]) -> Vec<Cut> {
    shape.iter().map(|&count| Cut { start: 0, step: 1, count }).collect()
}

fn split(setup: &mut Setup<'_>) -> Option<Kernel> {
    let (axis, n_outputs) = (setup.attrs.int("axis")?, setup.n_outputs);
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let Some(axis) = normalize_axis(axis, x.shape.len()) else { return Ok(None) };
        let extent = x.shape[axis];
        let lengths: Vec<usize> = match given(arguments, 1) {
            Some(lengths) => {
                let Some(lengths) = lengths.to_ints() else { return Ok(None) };
                lengths.into_iter().filter_map(|length| usize::try_from(length).ok()).collect()
            }
            None => {
                let each = extent.div_ceil(n_outputs.max(1));
                (0..n_outputs).map(|at| each.min(extent.saturating_sub(at * each))).collect()
            }
        };
        let total = lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length));
        if lengths.len() != n_outputs || total != Some(extent) {
            return Ok(None);
        }
        let x = x.to_plain(pool)?;
        let (mut cuts, mut start, mut parts) = (whole(&x.shape), 0, Vec::new());
        for length in lengths {
            cuts[axis] = Cut { start, step: 1, count: length };
            start += length;
            match cut(&x, &cuts, pool)? {
                Some(part) => parts.push(part),
                None => return Ok(None),
            }
        }
        Ok(Some(parts))
    }))
}

/// `Slice (data, starts, ends, axes, steps)`.
fn sliced(arguments: &mut super::Arguments, pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    let ints = |index: usize| given(arguments, index).map(Value::to_ints);
    let (Some(x), Some(Some(starts)), Some(Some(ends))) = (given(arguments, 0), ints(1), ints(2)) else {
        return Ok(None);
    };
    let axes = ints(3).unwrap_or_else(|| Some((0..starts.len() as i64).collect()));
    let steps = ints(4).unwrap_or_else(|| Some(vec![1; starts.len()]));
    let (Some(axes), Some(steps)) = (axes, steps) else { return Ok(None) };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Ok(None);
    }
    let mut cuts = whole(&x.shape);
    let mut seen = vec![false; x.shape.len()];
    for at in 0..starts.len() {
        let Some(axis) = normalize_axis(axes[at], x.shape.len()) else { return Ok(None) };
        if std::mem::replace(&mut seen[axis], true) {
            return Ok(None);
        }
        let Some(cut) = cut_of(starts[at], ends[at], steps[at], x.shape[axis]) else { return Ok(None) };
        cuts[axis] = cut;
    }
    if cuts == whole(&x.shape) {
        return Ok(Some(vec![x.clone()]));
    }
    let x = x.to_plain(pool)?;
    cut(&x, &cuts, pool).map(one)
}

/// One axis of `Slice`, with ONNX's clamping; `None` for a step of 0.
fn cut_of(start: i64, end: i64, step: i64, extent: usize) -> Option<Cut> {
    let n = i64::try_from(extent).ok()?;
    let from_end = |index: i64| if index < 0 { index.saturating_add(n) } else { index };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let start = from_end(start).clamp(low.max(0), high.max(0));
    let end = from_end(end).clamp(low, high);
    let distance = if step > 0 { end - start } else { start - end };
    let count = match step {
        0 => return None,
        _ if distance <= 0 || n == 0 => 0,
        _ => usize::try_from((distance - 1) as u64 / step.unsigned_abs() + 1).ok()?,
    };
    // The step of a single element does not matter, and a long one must not overflow.
    let step = if count <= 1 { 1 } else { isize::try_from(step).ok()? };
    Some(Cut { start: usize::try_from(start).ok()?, step, count })
}

fn gathered(setup: &mut Setup<'_>) -> Option<Kernel> {
    let axis = setup.attrs.int("axis")?;
    Some(Box::new(move |arguments, pool| {
        let (Some(x), Some(indices)) = (given(arguments, 0), given(arguments, 1)) else { return Ok(None) };
        let Some(axis) = normalize_axis(axis, x.shape.len()) else { return Ok(None) };
        let extent = x.shape[axis];
        let Some(resolved) = indices.to_ints() else { return Ok(None) };
        let resolved: Option<Vec<usize>> = resolved.into_iter().map(|index| normalize_axis(index, extent)).collect();
        let Some(resolved) = resolved else { return Ok(None) };
        let x = x.to_plain(pool)?;
        let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
        let inner: usize = x.shape[axis + 1..].iter().product();
        filled(&x, &shape, pool, |size, input, out| moves::gather(extent, inner * size, &resolved, input, out)).map(one)
    }))
}

fn expanded(arguments: &mut super::Arguments, pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    let (Some(x), Some(Some(target))) = (given(arguments, 0), given(arguments, 1).map(Value::to_ints)) else {
        return Ok(None);
    };
    let target: Option<Vec<usize>> = target.into_iter().map(|extent| usize::try_from(extent).ok()).collect();
    let Some(shape) = target.and_then(|target| broadcast_shape(&[&x.shape, &target])) else { return Ok(None) };
    if shape == x.shape {
        return Ok(Some(vec![x.clone()]));
    }
    let x = x.to_plain(pool)?;
    count(&shape)?;
    let walk = Broadcast::new(&shape, [&x.shape]);
    if let Some(elements) = x.as_floats() {
        let mut out = pool.take(count(&shape)?)?;
        moves::expand(&walk, elements, &mut out);
        return Ok(Some(vec![Value::floats(&shape, out)]));
    }
    fn any<T: bytemuck::Pod + Send + Sync>(walk: &Broadcast<1>, input: &[u8], out: &mut [u8]) {
        let mut repeated = vec![T::zeroed(); walk.len()];
        moves::expand(walk, &bytemuck::pod_collect_to_vec::<u8, T>(input), &mut repeated);
        out.copy_from_slice(bytemuck::cast_slice(&repeated));
    }
    if !matches!(x.element().bits(), 8 | 16 | 32 | 64) {
        return Ok(None);
    }
    filled(&x, &shape, pool, |size, input, out| match size {
        1 => any::<u8>(&walk, input, out),
        2 => any::<u16>(&walk, input, out),
        4 => any::<u32>(&walk, input, out),
        _ => any::<u64>(&walk, input, out),
    })
    .map(one)
}

/// `Pad (data, pads, value, axes)` with a constant; other modes run on the interpreter.
fn padded(setup: &mut Setup<'_>) -> Option<Kernel> {
    if setup.attrs.string("mode").is_some_and(|mode| mode != "constant") {
        return None;
    }
    Some(Box::new(move |arguments, pool| {
        let (Some(x), Some(Some(pads))) = (given(arguments, 0), given(arguments, 1).map(Value::to_ints)) else {
            return Ok(None);
        };
        let rank = x.shape.len();
        let axes = match given(arguments, 3).map(Value::to_ints) {
            None => (0..rank as i64).collect(),
            Some(Some(axes)) => axes,
            Some(None) => return Ok(None),
        };
        if pads.len() != 2 * axes.len() {
            return Ok(None);
        }
        let (mut begin, mut full) = (vec![0; rank], x.shape.clone());
        for (at, axis) in axes.iter().enumerate() {
            let (Some(axis), Ok(before), Ok(after)) =
                (normalize_axis(*axis, rank), usize::try_from(pads[at]), usize::try_from(pads[at + axes.len()]))
            else {
                return Ok(None);
            };
            begin[axis] = before;
            let padded = x.shape[axis].checked_add(before).and_then(|sum| sum.checked_add(after));
            full[axis] = padded.ok_or_else(|| Reason::new("the padding exceeds the address space"))?;
        }
        let zero = [0; 16];
        let size = x.element().bits() / 8;
        let given_value = given(arguments, 2);
        let value = given_value.and_then(Value::as_bytes);
        let value = match &value {
            Some(value) if value.len() == size => value,
            None if given_value.is_none() && size > 0 => &zero[..size],
            _ => return Ok(None),
        };
        let x = x.to_plain(pool)?;
        filled(&x, &full, pool, |size, input, out| moves::pad(size, &x.shape, &begin, &full, value, input, out))
            .map(one)
    }))
}
