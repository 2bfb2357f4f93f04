//! Convolution and pooling.

use super::tail::Tail;
use super::{Arguments, Kernel, Prepare, Setup, given};
use crate::conv::{ConvPlan, ConvWeights, convolve};
use crate::norm;
use crate::pool::{self, Pool as PoolKind};
use crate::value::{Layout, Pool, Value, count, image_extents};
use crate::window::Window;
use eutectic_ir::attr::Attrs;
use eutectic_ir::op::Reason;

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("Conv", |setup| conv_with_tail(setup, Tail::default())),
    ("MaxPool", |setup| Ok(windowed(setup, |_| PoolKind::Max))),
    ("AveragePool", |setup| {
        Ok(windowed(setup, |attrs| PoolKind::Average { count_include_pad: attrs.flag("count_include_pad") }))
    }),
    ("GlobalMaxPool", |_| Ok(Some(global(PoolKind::Max)))),
    ("GlobalAveragePool", |_| Ok(Some(global(PoolKind::Average { count_include_pad: false })))),
    ("LRN", |setup| Ok(local_response(setup))),
];

/// Plans for input shapes that are kept; more than that many shapes in turn are planned anew.
const KEPT_PLANS: usize = 8;

/// A convolution of inputs `(x, w, b)`, and a tail.
pub(crate) fn conv_with_tail(setup: &mut Setup<'_>, tail: Tail) -> Result<Option<Kernel>, Reason> {
    if auto_pad(setup.attrs) {
        return Ok(None);
    }
    let attrs = setup.attrs.clone();
    let prepared = match setup.floats(1)? {
        Some(weights) => match pack(&attrs, &weights, setup.pool)? {
            Some(packed) => Some(packed),
            None => return Ok(None),
        },
        None => None,
    };
    if prepared.is_some() {
        setup.prepared.push(1);
    }
    let mut plans: Vec<(Vec<usize>, ConvPlan)> = Vec::new();
    Ok(Some(Box::new(move |arguments, pool| {
        let packed_now;
        let (weights, window) = match &prepared {
            Some(prepared) => prepared,
            None => {
                plans.clear();
                let Some(weights) = given(arguments, 1) else { return Ok(None) };
                let weights = weights.to_plain(pool)?;
                let Some(packed) = pack(&attrs, &weights, pool)? else { return Ok(None) };
                packed_now = packed;
                &packed_now
            }
        };
        let Some(x) = given(arguments, 0).filter(|x| x.shape.len() == window.rank() + 2) else { return Ok(None) };
        if x.shape[1] != weights.in_channels() {
            return Ok(None);
        }
        let bias = given(arguments, 2).map(Value::as_floats);
        if bias.is_some_and(|bias| bias.is_none_or(|bias| bias.len() != weights.out_channels())) {
            return Ok(None);
        }
        let Some(image) = x.to_channels_last(pool)? else { return Ok(None) };
        let shape = image.shape.clone();
        let at = match plans.iter().position(|(planned, _)| *planned == shape) {
            Some(at) => at,
            None => {
                let padded = window
                    .checked_padded(&shape[2..])
                    .ok_or_else(|| Reason::new("the padding exceeds the address space"))?;
                count(&[shape[0], shape[1], count(&padded)?])?;
                if plans.len() == KEPT_PLANS {
                    plans.clear();
                }
                plans.push((shape.clone(), ConvPlan::new(weights, shape[0], &shape[2..], window.clone())));
                plans.len() - 1
            }
        };
        let plan = &plans[at].1;
        let out_shape: Vec<usize> = [shape[0], weights.out_channels()].iter().chain(plan.output()).copied().collect();
        let Some(gathered) = tail.gather(arguments, &out_shape, Layout::ChannelsLast, pool)? else { return Ok(None) };
        let Some(operands) = gathered.operands() else { return Ok(None) };
        let Some(input) = image.as_floats() else { return Ok(None) };
        let mut out = pool.take(count(&out_shape)?)?;
        let mut scratch = pool.take(plan.scratch_len(weights))?;
        let epilogue = gathered.epilogue(&tail, bias.flatten(), &operands);
        convolve(plan, weights, input, &epilogue, &mut scratch, &mut out);
        pool.put(scratch);
        pool.recycle(image);
        drop(operands);
        gathered.recycle(pool);
        Ok(Some(vec![Value::image(&out_shape, out)]))
    })))
}

/// Packs the weights and reads the window; `None` when they are not for this kernel.
fn pack(attrs: &Attrs, weights: &Value, pool: &mut Pool) -> Result<Option<(ConvWeights, Window)>, Reason> {
    let Some(elements) = weights.as_floats().filter(|_| weights.shape.len() >= 3) else { return Ok(None) };
    let (out_channels, in_per_group, kernel) = (weights.shape[0], weights.shape[1], &weights.shape[2..]);
    let groups = attrs.int("group").and_then(|group| usize::try_from(group).ok()).unwrap_or(0);
    if groups == 0 || out_channels % groups != 0 || weights.shape.contains(&0) {
        return Ok(None);
    }
    let Some(window) = window_of(attrs, kernel) else { return Ok(None) };
    let packed = ConvWeights::new(elements, out_channels, in_per_group, kernel, groups);
    pool.reserve(packed.len())?;
    Ok(Some((packed, window)))
}

/// True when the padding depends on the shape of the input; import resolves that where shapes are known.
fn auto_pad(attrs: &Attrs) -> bool {
    attrs.string("auto_pad").is_some_and(|mode| mode != "NOTSET")
}

/// The window that the attributes describe; `None` when they contradict each other or pad by negative amounts.
fn window_of(attrs: &Attrs, kernel: &[usize]) -> Option<Window> {
    let rank = kernel.len();
    let list = |name: &str, len: usize, default: usize, least: usize| -> Option<Vec<usize>> {
        match attrs.ints(name) {
            None | Some([]) => Some(vec![default; len]),
            Some(values) if values.len() == len => {
                values.iter().map(|&value| usize::try_from(value).ok().filter(|&value| value >= least)).collect()
            }
            Some(_) => None,
        }
    };
    if !list("kernel_shape", rank, 0, 0).is_some_and(|stated| stated.contains(&0) || stated == kernel) {
        return None;
    }
    let pads = list("pads", 2 * rank, 0, 0)?;
    let window = Window {
        kernel: kernel.to_vec(),
        strides: list("strides", rank, 1, 1)?,
        dilations: list("dilations", rank, 1, 1)?,
        pads_begin: pads[..rank].to_vec(),
        pads_end: pads[rank..].to_vec(),
    };
    window.is_sane().then_some(window)
}

fn windowed(setup: &mut Setup<'_>, kind: fn(&Attrs) -> PoolKind) -> Option<Kernel> {
    let kernel: Vec<usize> =
        setup.attrs.ints("kernel_shape")?.iter().map(|&k| usize::try_from(k).ok()).collect::<Option<_>>()?;
    let column_major = setup.attrs.int("storage_order").is_some_and(|order| order != 0);
    if auto_pad(setup.attrs) || kernel.contains(&0) || setup.n_outputs != 1 || column_major {
        return None;
    }
    let window = window_of(setup.attrs, &kernel)?;
    // A window that may lie in the padding alone has no maximum and no mean.
    if (0..window.rank()).any(|axis| window.pads_begin[axis].max(window.pads_end[axis]) >= window.span(axis)) {
        return None;
    }
    let (kind, ceil) = (kind(setup.attrs), setup.attrs.flag("ceil_mode"));
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0).filter(|x| x.shape.len() == window.rank() + 2) else { return Ok(None) };
        let Some(image) = x.to_channels_last(pool)? else { return Ok(None) };
        let Some(elements) = image.as_floats() else { return Ok(None) };
        let shape = image.shape.clone();
        if window.checked_padded(&shape[2..]).is_none() {
            return Err(Reason::new("the padding exceeds the address space"));
        }
        let output = window.output(&shape[2..], ceil);
        let out_shape: Vec<usize> = shape[..2].iter().chain(&output).copied().collect();
        let mut out = pool.take(count(&out_shape)?)?;
        pool::pool(kind, &window, shape[0], &shape[2..], &output, shape[1], elements, &mut out);
        pool.recycle(image);
        Ok(Some(vec![Value::image(&out_shape, out)]))
    }))
}

fn global(kind: PoolKind) -> Kernel {
    Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let Some(value) = pool_all(kind, x, pool)? else { return Ok(None) };
        Ok(Some(vec![value]))
    })
}

/// Pools all positions of an image to one; `None` when `x` is not an image of f32 with at least one position.
pub(super) fn pool_all(kind: PoolKind, x: &Value, pool: &mut Pool) -> Result<Option<Value>, Reason> {
    if x.shape.len() < 3 || x.shape[2..].contains(&0) {
        return Ok(None);
    }
    let Some(image) = x.to_channels_last(pool)? else { return Ok(None) };
    let Some(elements) = image.as_floats() else { return Ok(None) };
    let (batch, channels, area) = image_extents(&image.shape);
    let mut out = pool.take(batch * channels)?;
    pool::pool_globally(kind, batch, area, channels, elements, &mut out);
    let mut shape = vec![1; image.shape.len()];
    shape[..2].copy_from_slice(&image.shape[..2]);
    pool.recycle(image);
    Ok(Some(Value::floats(&shape, out)))
}

/// `x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta`.
fn local_response(setup: &mut Setup<'_>) -> Option<Kernel> {
    let size = usize::try_from(setup.attrs.int("size")?).ok().filter(|&size| size > 0)?;
    let attrs = setup.attrs;
    let (alpha, beta, bias) = (attrs.float("alpha")?, attrs.float("beta")?, attrs.float("bias")?);
    Some(Box::new(move |arguments: &mut Arguments, pool: &mut Pool| {
        let Some(image) = given(arguments, 0).map(|x| x.to_channels_last(pool)).transpose()?.flatten() else {
            return Ok(None);
        };
        let Some(elements) = image.as_floats() else { return Ok(None) };
        let mut out = pool.take(elements.len())?;
        norm::normalize_neighbours(size, alpha / size as f32, beta, bias, image.shape[1], elements, &mut out);
        let shape = image.shape.clone();
        pool.recycle(image);
        Ok(Some(vec![Value::image(&shape, out)]))
    }))
}
