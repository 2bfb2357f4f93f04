//! Poolings.

use super::builder::Builder;
use super::call::Call;
use super::convolution::{same_padding, widen, window, window_extent};
use super::operand::Typed;
use super::refusal::Refusal;
use super::terms::Term;
use super::view::Cut;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Layer, PoolingKind, ReduceKind, SliceMode, UnaryKind, Window};
use eutectic_ir::{Dim, Tensor};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("LpPool", lp_pool),
    ("GlobalMaxPool", |builder, call| global(builder, call, ReduceKind::Max)),
    ("GlobalAveragePool", global_average),
    ("GlobalLpPool", global_lp),
];

fn global(builder: &mut Builder, call: &Call, kind: ReduceKind) -> Lowered {
    let x = builder.input(call, 0)?;
    let axes: Vec<usize> = (2..x.rank()).collect();
    Ok(vec![builder.reduce(kind, &x, &axes, true).into()])
}

/// Means over the small planes of a convolution are poolings, which read the convolution's own layout: before a reduction a kernel
/// transposes (TensorRT for RTX 1.7 in single precision, MobileNetV3: 82 kernels, 87 with reductions; ResNet-50: 57 and 58). What
/// no convolution computes a reduction shares a kernel with, and what one of 8-bit numbers leaves behind too (ResNet-50: 105 kernels,
/// 106 with a pooling); over large planes it has more threads.
fn global_average(builder: &mut Builder, call: &Call) -> Lowered {
    const MOST_POINTS: i64 = 1024;
    // An activation after a sum with a residual, or one of two layers.
    const EPILOGUE: usize = 2;
    let x = builder.input(call, 0)?;
    let extents: Option<Vec<i64>> = x.shape.iter().skip(2).map(Dim::as_known).collect();
    let is_small = |extents: &Vec<i64>| {
        let n_points = extents.iter().try_fold(1i64, |product, &extent| product.checked_mul(extent));
        (2..=3).contains(&extents.len()) && n_points.is_some_and(|n_points| (1..=MOST_POINTS).contains(&n_points))
    };
    let Some(extents) = extents.filter(is_small).filter(|_| builder.is_of_convolution(x.at, EPILOGUE)) else {
        return global(builder, call, ReduceKind::Mean);
    };
    let shape = [&x.shape[..2], &vec![Dim::known(1); extents.len()]].concat();
    let (kind, window) = (PoolingKind::Average, Window::plain(&extents));
    let layer = Layer::Pooling { input: x.at, kind, window, ceil: false };
    Ok(vec![builder.typed("pooling", layer, x.data_type, shape).into()])
}

/// The p-th root of the sum of p-th powers over the spatial axes.
fn global_lp(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let (axes, p) = ((2..x.rank()).collect::<Vec<_>>(), call.int("p", 2) as f64);
    let size = builder.unary(UnaryKind::Abs, &x);
    let powers = builder.with(ElementWiseKind::Power, &size, p)?;
    let sum = builder.reduce(ReduceKind::Sum, &powers, &axes, true);
    Ok(vec![builder.with(ElementWiseKind::Power, &sum, 1.0 / p)?.into()])
}

fn max_pool(builder: &mut Builder, call: &Call) -> Lowered {
    call.only_first()?;
    let x = builder.input(call, 0)?;
    Ok(vec![pool(builder, call, &x, PoolingKind::Max)?.0.into()])
}

fn average_pool(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let kind =
        if call.attrs.flag("count_include_pad") { PoolingKind::AverageWithPadding } else { PoolingKind::Average };
    Ok(vec![pool(builder, call, &x, kind)?.0.into()])
}

/// The p-th root of the window's sum of p-th powers, from the mean over the window.
fn lp_pool(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let p = call.int("p", 2) as f64;
    let size = builder.unary(UnaryKind::Abs, &x);
    let powers = builder.with(ElementWiseKind::Power, &size, p)?;
    let (mean, volume) = pool(builder, call, &powers, PoolingKind::AverageWithPadding)?;
    let sum = builder.with(ElementWiseKind::Product, &mean, volume as f64)?;
    Ok(vec![builder.with(ElementWiseKind::Power, &sum, 1.0 / p)?.into()])
}

/// The pooled tensor, and how many points the window has.
fn pool(builder: &mut Builder, call: &Call, x: &Typed, kind: PoolingKind) -> Result<(Typed, i64), Refusal> {
    let n_axes = x.rank().saturating_sub(2);
    let kernel = call.attrs.ints("kernel_shape").ok_or("it has no kernel_shape")?;
    if kernel.len() != n_axes || !(1..=3).contains(&n_axes) {
        return Err(Refusal::new(format!("its window {kernel:?} has another number of axes than its input"))
            .instead("one, two or three spatial axes"));
    }
    let mut window = window(call, kernel)?;
    match call.string("auto_pad", "NOTSET") {
        "SAME_UPPER" => same_padding(&mut window, &x.shape[2..], true)?,
        "SAME_LOWER" => same_padding(&mut window, &x.shape[2..], false)?,
        _ => {}
    }
    let ceil = call.attrs.flag("ceil_mode") && rounds_up(&window, &x.shape[2..]);
    let volume = window.kernel.iter().product();
    let mut shape = x.shape[..2].to_vec();
    for (at, dim) in x.shape[2..].iter().enumerate() {
        let floor = window_extent(builder, &window, at, dim);
        shape.push(if !ceil {
            floor
        } else {
            match dim.as_known() {
                Some(extent) => Dim::known(ceil_extent(&window, at, extent)),
                None => builder.fresh(),
            }
        });
    }
    if window.dilations.iter().any(|&dilation| dilation != 1) {
        return Ok((dilated(builder, x, kind, &window, &shape)?, volume));
    }
    let is_line = n_axes == 1;
    let input = if is_line {
        widen(&mut window);
        shape.insert(2, Dim::known(1));
        builder.unsqueeze(x, &[2])?
    } else {
        x.clone()
    };
    let y = builder.typed("pooling", Layer::Pooling { input: input.at, kind, window, ceil }, x.data_type, shape);
    Ok((if is_line { builder.squeeze(&y, &[2]) } else { y }, volume))
}

/// A pooling whose window has gaps, which TensorRT's layer lacks: the points of the window, each a strided slice of the padded
/// input, one after the other.
fn dilated(
    builder: &mut Builder,
    x: &Typed,
    kind: PoolingKind,
    window: &Window,
    shape: &[Dim],
) -> Result<Typed, Refusal> {
    const MOST_POINTS: i64 = 128;
    let volume: i64 = window.kernel.iter().product();
    let known = |shape: &[Dim]| shape.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>();
    let (Some(extents), Some(sizes)) = (known(&x.shape[2..]), known(&shape[2..])) else {
        return Err(Refusal::new("its window is dilated, and its extents dynamic").instead("dilations of 1"));
    };
    if volume > MOST_POINTS {
        return Err(Refusal::new(format!("its dilated window has {volume} points")).instead("dilations of 1"));
    }
    let (join, fill) = match kind {
        PoolingKind::Max => (ElementWiseKind::Max, f64::NEG_INFINITY),
        _ => (ElementWiseKind::Sum, 0.0),
    };
    let mut result = None;
    // How many points of the input each mean is over.
    let mut counts = vec![0.0f32; sizes.iter().product::<i64>().max(0) as usize];
    for point in 0..volume {
        let mut rest = point;
        let mut start = vec![Term::Known(0); 2];
        let mut offsets = Vec::new();
        for axis in 0..window.kernel.len() {
            let at = rest % window.kernel[axis];
            rest /= window.kernel[axis];
            offsets.push(at * window.dilations[axis] - window.pre_padding[axis]);
        }
        start.extend(offsets.iter().copied().map(Term::Known));
        let mut size = vec![builder.extent(x, 0)?, builder.extent(x, 1)?];
        size.extend(sizes.iter().copied().map(Term::Known));
        let mut stride = vec![Term::Known(1); 2];
        stride.extend(window.strides.iter().copied().map(Term::Known));
        let fill = builder.scalar(fill, x.data_type, 0)?;
        let part = builder.slice(x, &Cut { start, size, stride }, SliceMode::Fill, Some(fill.at), shape.to_vec())?;
        result = Some(match result {
            None => part,
            Some(result) => builder.pair(join, &result, &part)?,
        });
        for (at, count) in counts.iter_mut().enumerate() {
            let mut rest = at as i64;
            let is_inside = (0..sizes.len()).rev().all(|axis| {
                let place = rest % sizes[axis] * window.strides[axis] + offsets[axis];
                rest /= sizes[axis];
                let (low, high) = match kind {
                    PoolingKind::AverageWithPadding => {
                        (-window.pre_padding[axis], extents[axis] + window.post_padding[axis])
                    }
                    _ => (0, extents[axis]),
                };
                (low..high).contains(&place)
            });
            *count += f32::from(u8::from(is_inside));
        }
    }
    let result = result.ok_or("its window is empty")?;
    if kind == PoolingKind::Max {
        return Ok(result);
    }
    let counts = Tensor::from_vec(&sizes.iter().map(|&size| size as usize).collect::<Vec<_>>(), counts);
    let counts = builder.weight("", counts.map_err(|error| error.to_string())?);
    let counts = builder.aligned(&counts.into(), x.rank())?;
    let counts = builder.cast(&counts, x.data_type);
    builder.pair(ElementWiseKind::Divide, &result, &counts)
}

fn ceil_extent(window: &Window, at: usize, extent: i64) -> i64 {
    let covered = (window.kernel[at] - 1) * window.dilations[at] + 1;
    let room = extent + window.pre_padding[at] + window.post_padding[at] - covered;
    room.div_euclid(window.strides[at]) + i64::from(room.rem_euclid(window.strides[at]) != 0) + 1
}

/// Whether rounding up is what ONNX means: a window that would begin in the padding behind the input is dropped there, and
/// then rounding down gives the same.
fn rounds_up(window: &Window, input: &[Dim]) -> bool {
    input.iter().enumerate().all(|(at, dim)| match dim.as_known() {
        Some(extent) => (ceil_extent(window, at, extent) - 1) * window.strides[at] < extent + window.pre_padding[at],
        None => true,
    })
}
