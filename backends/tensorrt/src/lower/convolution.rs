//! Convolutions.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::view::Cut;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Layer, SliceMode, Window};
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("Conv", convolution), ("ConvTranspose", transposed)];

pub(super) fn convolution(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let kernel = call.value(1)?;
    let sizes = kernel_sizes(kernel, x.rank())?;
    let n_maps = sizes[0];
    let groups = call.int("group", 1);
    let mut window = window(call, &sizes[2..])?;
    let kernel_extents = window.kernel.clone();
    match call.string("auto_pad", "NOTSET") {
        "NOTSET" | "VALID" => {}
        mode @ ("SAME_UPPER" | "SAME_LOWER") => same_padding(&mut window, &x.shape[2..], mode == "SAME_UPPER")?,
        other => return Err(Refusal::new(format!("its auto_pad is {other}"))),
    }
    let bias = bias(call, 2);
    let shape: Vec<Dim> =
        (0..kernel_extents.len()).map(|at| window_extent(builder, &window, at, &x.shape[2 + at])).collect();
    let with_map =
        |window: Window, input, kernel, bias| Layer::Convolution { input, kernel, bias, n_maps, groups, window };
    spread(builder, &x, kernel, bias, window, n_maps, shape, with_map)
}

fn transposed(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let kernel = call.value(1)?;
    let sizes = kernel_sizes(kernel, x.rank())?;
    let groups = call.int("group", 1);
    let n_maps = sizes[1].checked_mul(groups).ok_or("its maps overflow")?;
    let mut window = window(call, &sizes[2..])?;
    let n_axes = window.kernel.len();
    let extra = call.attrs.ints("output_padding").map_or_else(|| vec![0; n_axes], <[i64]>::to_vec);
    let wanted = call.attrs.ints("output_shape").filter(|wanted| !wanted.is_empty());
    let mode = call.string("auto_pad", "NOTSET");
    let (mut shape, mut grown) = (Vec::new(), Vec::new());
    for at in 0..n_axes {
        let covered = (window.kernel[at] - 1) * window.dilations[at] + 1;
        let (stride, extra) = (window.strides[at], extra.get(at).copied().unwrap_or(0));
        let input = &x.shape[2 + at];
        let target = match (wanted, mode) {
            (Some(wanted), _) => wanted.get(at).copied().map(Dim::known),
            (None, "SAME_UPPER" | "SAME_LOWER") => input.mul(&Dim::known(stride)),
            _ => None,
        };
        if let Some(target) = target {
            let (Some(target), Some(input)) = (target.as_known(), input.as_known()) else {
                return Err(Refusal::new("its padding depends on a dynamic extent").instead("explicit pads"));
            };
            let total = (input - 1) * stride + covered + extra - target;
            let (small, large) = (total / 2, total - total / 2);
            let (pre, post) = match mode {
                _ if total < 0 => (0, total),
                "SAME_UPPER" => (small, large),
                _ => (large, small),
            };
            (window.pre_padding[at], window.post_padding[at]) = (pre, post);
        }
        // The last rows that the output padding asks for are rows that the padding behind would cut off.
        window.post_padding[at] -= extra;
        // Where there is less to cut off, rows that no input reaches follow.
        grown.push((-window.post_padding[at]).max(0));
        window.post_padding[at] = window.post_padding[at].max(0);
        let cut = window.pre_padding[at] + window.post_padding[at];
        let extent = input.sub(&Dim::known(1)).and_then(|dim| dim.mul(&Dim::known(stride)));
        let extent = extent.and_then(|dim| dim.add(&Dim::known(covered - cut)));
        shape.push(extent.ok_or("its extents overflow")?);
    }
    let bias = bias(call, 2);
    let with_map =
        |window: Window, input, kernel, bias| Layer::Deconvolution { input, kernel, bias, n_maps, groups, window };
    if grown.iter().all(|&rows| rows == 0) {
        return spread(builder, &x, kernel, bias, window, n_maps, shape, with_map);
    }
    let plain = spread(builder, &x, kernel, None, window, n_maps, shape, with_map)?;
    let plain = builder.tensor(plain.first().ok_or("it has no result")?)?;
    let rank = plain.rank();
    let mut cut =
        Cut { start: vec![Term::Known(0); rank], size: builder.sizes(&plain)?, stride: vec![Term::Known(1); rank] };
    let mut shape = plain.shape.clone();
    for (at, &rows) in grown.iter().enumerate() {
        cut.size[2 + at] = builder.add(&cut.size[2 + at], &Term::Known(rows))?;
        shape[2 + at] = shape[2 + at].add(&Dim::known(rows)).ok_or("its extents overflow")?;
    }
    let zero = builder.scalar(0.0, plain.data_type, 0)?;
    let y = builder.slice(&plain, &cut, SliceMode::Fill, Some(zero.at), shape)?;
    let Some(bias) = bias else { return Ok(vec![y.into()]) };
    let bias = builder.tensor(bias)?;
    let bias = builder.unsqueeze(&bias, &(1..rank - 1).collect::<Vec<_>>())?;
    Ok(vec![builder.binary(ElementWiseKind::Sum, &y.into(), &bias.into())?.into()])
}

/// Adds the layer; a window of one axis gets a second of extent one.
#[allow(clippy::too_many_arguments)]
fn spread(
    builder: &mut Builder,
    x: &Typed,
    kernel: &Operand,
    bias: Option<&Operand>,
    mut window: Window,
    n_maps: i64,
    shape: Vec<Dim>,
    layer: impl FnOnce(Window, crate::spec::TensorRef, crate::layer::Operand, Option<crate::layer::Operand>) -> Layer,
) -> Lowered {
    let is_line = window.kernel.len() == 1;
    let mut result: Vec<Dim> = vec![x.shape[0].clone(), Dim::known(n_maps)];
    let (x, kernel) = if is_line {
        widen(&mut window);
        result.push(Dim::known(1));
        let kernel = match kernel {
            // The bytes are the same, and the layer takes the extents from the window.
            Operand::Weight(_) => kernel.clone(),
            Operand::Tensor(kernel) => builder.unsqueeze(kernel, &[2])?.into(),
        };
        (builder.unsqueeze(x, &[2])?, kernel)
    } else {
        (x.clone(), kernel.clone())
    };
    result.extend(shape);
    let kernel = builder.kernel(&kernel)?;
    let bias = bias.map(|bias| builder.kernel(bias)).transpose()?;
    let y = builder.typed("convolution", layer(window, x.at, kernel, bias), x.data_type, result);
    let y = if is_line { builder.squeeze(&y, &[2]) } else { y };
    Ok(vec![y.into()])
}

/// A bias that is given and not all zero.
fn bias<'a>(call: &'a Call, index: usize) -> Option<&'a Operand> {
    let bias = &call.given(index)?.value;
    match bias.weight() {
        Some(weight) if weight.is_zero() => None,
        _ => Some(bias),
    }
}

fn kernel_sizes(kernel: &Operand, rank: usize) -> Result<Vec<i64>, Refusal> {
    let sizes: Option<Vec<i64>> = kernel.shape().iter().map(Dim::as_known).collect();
    let sizes = sizes
        .ok_or_else(|| Refusal::new("the extents of its kernel are dynamic").instead("a kernel of constant shape"))?;
    if sizes.len() != rank || !(3..=5).contains(&rank) {
        return Err(Refusal::new(format!("its input has rank {rank}, its kernel {}", sizes.len()))
            .instead("one, two or three spatial axes"));
    }
    Ok(sizes)
}

/// The window of a convolution or pooling with its explicit padding. Errors: lists of other lengths, negative padding.
pub(super) fn window(call: &Call, kernel: &[i64]) -> Result<Window, Refusal> {
    let n_axes = kernel.len();
    let list = |name: &str, otherwise: i64, length: usize| match call.attrs.ints(name) {
        Some(list) if list.len() == length => Ok(list.to_vec()),
        Some([]) | None => Ok(vec![otherwise; length]),
        Some(list) => Err(Refusal::new(format!("{name} {list:?} for {n_axes} spatial axes"))),
    };
    let pads = match call.string("auto_pad", "NOTSET") {
        "NOTSET" => list("pads", 0, 2 * n_axes)?,
        _ => vec![0; 2 * n_axes],
    };
    if pads.iter().any(|&pad| pad < 0) {
        return Err(Refusal::new("its padding is negative").instead("a Slice before it"));
    }
    Ok(Window {
        kernel: kernel.to_vec(),
        strides: list("strides", 1, n_axes)?,
        dilations: list("dilations", 1, n_axes)?,
        pre_padding: pads[..n_axes].to_vec(),
        post_padding: pads[n_axes..].to_vec(),
    })
}

/// Pads so that the output has the input's extent over the stride, rounded up.
pub(super) fn same_padding(window: &mut Window, input: &[Dim], upper: bool) -> Result<(), Refusal> {
    for (at, dim) in input.iter().enumerate() {
        let covered = (window.kernel[at] - 1) * window.dilations[at] + 1;
        let stride = window.strides[at];
        let total = match dim.as_known() {
            Some(extent) => {
                (extent.div_euclid(stride) + i64::from(extent.rem_euclid(stride) != 0) - 1) * stride + covered - extent
            }
            None if stride == 1 => covered - 1,
            None => {
                return Err(Refusal::new("auto_pad depends on a dynamic extent").instead("explicit pads"));
            }
        }
        .max(0);
        let (small, large) = (total / 2, total - total / 2);
        (window.pre_padding[at], window.post_padding[at]) = if upper { (small, large) } else { (large, small) };
    }
    Ok(())
}

/// The extent of the result along spatial axis `at`, rounded down.
pub(super) fn window_extent(builder: &mut Builder, window: &Window, at: usize, input: &Dim) -> Dim {
    let covered = (window.kernel[at] - 1) * window.dilations[at] + 1;
    let padded = Dim::known(window.pre_padding[at] + window.post_padding[at] - covered);
    let steps = input.add(&padded).and_then(|room| room.floor_div(&Dim::known(window.strides[at])));
    steps.and_then(|steps| steps.add(&Dim::known(1))).unwrap_or_else(|| builder.fresh())
}

/// Puts a spatial axis of extent one before the only one.
pub(super) fn widen(window: &mut Window) {
    for ones in [&mut window.kernel, &mut window.strides, &mut window.dilations] {
        ones.insert(0, 1);
    }
    for zeros in [&mut window.pre_padding, &mut window.post_padding] {
        zeros.insert(0, 0);
    }
}
