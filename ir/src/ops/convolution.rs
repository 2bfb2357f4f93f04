//! Convolutions of any number of spatial axes.

use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::shape::{count_of, overflow, product};
use crate::ops::windows::{Padding, Windows, counts, window};
use crate::types::{Element, TensorType};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&CONV, &CONV_TRANSPOSE];

static CONV: OpDef = OpDef {
    name: "Conv",
    doc: "Each output is a window of the input times the filter of its channel, plus a bias per channel",
    versions: &[1, 11, 22],
    inputs: &[Param::required("X", "T"), Param::required("W", "T"), Param::optional("B", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::string("auto_pad", "NOTSET"),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::int("group", 1),
        AttrDef::optional("kernel_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::FLOAT)],
    infer: infer_conv,
    eval: eval!(conv),
    work: |call, outputs| {
        let per_output = filter_size(call, 1)?.mul(&Dim::known(2))?;
        Work::streaming(call, outputs, outputs.first()?.count()?.mul(&per_output)?)
    },
    ..OpDef::BASE
};

/// Number of weights behind one row of the filter tensor, which is input `index`.
pub(super) fn filter_size(call: &Call, index: usize) -> Option<Dim> {
    product(call.given(index)?.ty.shape.get(1..)?).ok()
}

/// The size of the window, when it is known. Errors: attribute and weight disagree, or ranks do.
pub(super) fn kernel_of(attrs: &Attrs, x: &TensorType, w: &TensorType) -> Result<Option<Vec<i64>>, Reason> {
    if x.rank() < 3 || w.rank() != x.rank() {
        return Err(Reason(format!("a filter {w} does not go with an input {x}")));
    }
    let of_weight: Option<Vec<i64>> = w.shape[2..].iter().map(Dim::as_known).collect();
    match (attrs.ints("kernel_shape"), of_weight) {
        (Some(declared), _) if declared.len() != x.rank() - 2 => {
            Err(Reason(format!("attribute `kernel_shape` is {declared:?} for an input {x}")))
        }
        (Some(declared), Some(found)) if declared != found => {
            Err(Reason(format!("attribute `kernel_shape` is {declared:?}, the filter is {w}")))
        }
        (Some(declared), _) => Ok(Some(declared.to_vec())),
        (None, found) => Ok(found),
    }
}

pub(super) fn group_of(attrs: &Attrs) -> Result<i64, Reason> {
    match attrs.int("group") {
        Some(group) if group > 0 => Ok(group),
        group => Err(Reason(format!("attribute `group` is {}", group.unwrap_or(0)))),
    }
}

pub(super) fn check_bias(bias: Option<&TensorType>, channels: &Dim) -> Result<(), Reason> {
    let Some(bias) = bias else { return Ok(()) };
    let fits = match bias.shape.as_slice() {
        [length] => length.as_known().zip(channels.as_known()).is_none_or(|(length, channels)| length == channels),
        _ => false,
    };
    if fits { Ok(()) } else { Err(Reason(format!("a bias {bias} does not go with {channels} channels"))) }
}

fn infer_conv(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (x, w) = (call.ty(0)?, call.ty(1)?);
    Ok(vec![Some(Fact::new(x.element, convolved_dims(call, x, w, call.given(2).map(|bias| bias.ty))?))])
}

/// The shape of the convolution of `x` with `w` as `Conv` defines it. Errors: filter, bias or attributes do not fit.
pub(super) fn convolved_dims(
    call: &Call,
    x: &TensorType,
    w: &TensorType,
    bias: Option<&TensorType>,
) -> Result<Vec<Dim>, Reason> {
    let kernel = kernel_of(call.attrs, x, w)?;
    let group = group_of(call.attrs)?;
    if let (Some(c), Some(per_group)) = (x.shape[1].as_known(), w.shape[1].as_known())
        && per_group.checked_mul(group) != Some(c)
    {
        return Err(Reason(format!("{c} channels in {group} groups do not go with a filter {w}")));
    }
    if w.shape[0].as_known().is_some_and(|m| m % group != 0) {
        return Err(Reason(format!("{} filters are no multiple of {group} groups", w.shape[0])));
    }
    check_bias(bias, &w.shape[0])?;
    let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
    let windows = kernel.map(|kernel| Windows::read(call.attrs, kernel)).transpose()?;
    for (axis, dim) in x.shape[2..].iter().enumerate() {
        let known = match &windows {
            Some(windows) => windows.output_dim(axis, dim)?,
            None => None,
        };
        shape.push(known.unwrap_or_else(|| call.fresh(axis)));
    }
    Ok(shape)
}

/// Windows and number of groups for operands of these shapes.
fn geometry(attrs: &Attrs, x: &[usize], w: &[usize]) -> Result<(Windows, usize), Reason> {
    // Element types only serve messages here.
    let ty = |shape: &[usize]| TensorType::new(Element::Float, shape.iter().map(|&dim| dim.into()));
    let kernel = kernel_of(attrs, &ty(x), &ty(w))?.ok_or_else(overflow)?;
    let group = usize::try_from(group_of(attrs)?).map_err(|_| overflow())?;
    Ok((Windows::read(attrs, kernel)?, group))
}

fn conv<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let dot = |x: &[S], w: &[S]| S::dot(x.iter().copied().zip(w.iter().copied()));
    let (shape, mut y) = convolved(call.attrs, (&x.shape, x.real()?), (&w.shape, w.real()?), S::from_int(0), dot)?;
    if let Some(bias) = call.given(2) {
        add_bias(&mut y, &shape, bias.real()?, Scalar::add)?;
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

/// Adds `bias`, one number a channel, to elements of `shape` in place. Errors: another number of channels.
pub(super) fn add_bias<T: Copy>(
    y: &mut [T],
    shape: &[usize],
    bias: &[T],
    add: impl Fn(T, T) -> T,
) -> Result<(), Reason> {
    if bias.len() != shape[1] {
        return Err(Reason(format!("a bias of {} does not go with {} filters", bias.len(), shape[1])));
    }
    let n_places: usize = shape[2..].iter().product();
    for (map, &bias) in y.chunks_mut(n_places.max(1)).zip(bias.iter().cycle()) {
        map.iter_mut().for_each(|value| *value = add(*value, bias));
    }
    Ok(())
}

/// The convolution of `x` with the filters `w`, each a shape and elements, without bias: shape and elements. `zero` stands
/// in the padding, `dot` multiplies a window with a filter.
pub(super) fn convolved<T: Copy>(
    attrs: &Attrs,
    (x_shape, data): (&[usize], &[T]),
    (w_shape, filters): (&[usize], &[T]),
    zero: T,
    dot: impl Fn(&[T], &[T]) -> T,
) -> Result<(Vec<usize>, Vec<T>), Reason> {
    let (windows, group) = geometry(attrs, x_shape, w_shape)?;
    let (n, c, m, c_each) = (x_shape[0], x_shape[1], w_shape[0], w_shape[1]);
    if c_each.checked_mul(group) != Some(c) || m % group != 0 {
        return Err(Reason(format!("{c} channels in {group} groups and {m} filters of {c_each} disagree")));
    }
    let sizes = &x_shape[2..];
    let axes = windows.place(sizes)?;
    let outputs = counts(&axes);
    let shape = [&[n, m], outputs.as_slice()].concat();
    let mut y = vec![zero; count_of(&shape)?];
    let (area, n_places): (usize, usize) = (sizes.iter().product(), outputs.iter().product());
    let taps: usize = w_shape[2..].iter().product();
    let (length, m_each) = (c_each * taps, m / group);
    let mut place = 0;
    each_index(&outputs, |index| {
        let window = window(&axes, &windows.kernel, sizes, index);
        // One row holds the window of a group of channels, zero where it lies in the padding; every filter reads it.
        let mut row = vec![zero; length];
        for (item, of_group) in (0..n).flat_map(|item| (0..group).map(move |of_group| (item, of_group))) {
            for channel in 0..c_each {
                let channel_data = &data[(item * c + of_group * c_each + channel) * area..][..area];
                let channel_row = &mut row[channel * taps..][..taps];
                for &(tap, offset) in &window.inside {
                    channel_row[tap] = channel_data[offset];
                }
            }
            for filter in of_group * m_each..(of_group + 1) * m_each {
                y[(item * m + filter) * n_places + place] = dot(&row, &filters[filter * length..][..length]);
            }
        }
        place += 1;
        Ok::<(), Reason>(())
    })?;
    Ok((shape, y))
}

static CONV_TRANSPOSE: OpDef = OpDef {
    name: "ConvTranspose",
    doc: "The transposed map of a convolution: each input adds the filter of its channel into a window of the output",
    versions: &[1, 11, 22],
    inputs: &[Param::required("X", "T"), Param::required("W", "T"), Param::optional("B", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::string("auto_pad", "NOTSET"),
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::int("group", 1),
        AttrDef::optional("kernel_shape", AttrKind::Ints),
        AttrDef::optional("output_padding", AttrKind::Ints),
        AttrDef::optional("output_shape", AttrKind::Ints),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::FLOAT)],
    infer: infer_conv_transpose,
    eval: eval!(conv_transpose),
    work: |call, outputs| {
        let per_input = filter_size(call, 1)?.mul(&Dim::known(2))?;
        Work::streaming(call, outputs, call.given(0)?.ty.count()?.mul(&per_input)?)
    },
    ..OpDef::BASE
};

fn infer_conv_transpose(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (x, w) = (call.ty(0)?, call.ty(1)?);
    let kernel = kernel_of(call.attrs, x, w)?;
    let group = group_of(call.attrs)?;
    if let (Some(c), Some(filters)) = (x.shape[1].as_known(), w.shape[0].as_known())
        && (c != filters || c % group != 0)
    {
        return Err(Reason(format!("{c} channels in {group} groups do not go with a filter {w}")));
    }
    let channels = w.shape[1].mul(&Dim::known(group)).ok_or_else(overflow)?;
    check_bias(call.given(2).map(|bias| bias.ty), &channels)?;
    let mut shape = vec![x.shape[0].clone(), channels];
    let windows = kernel.map(|kernel| Windows::read(call.attrs, kernel)).transpose()?;
    for (axis, dim) in x.shape[2..].iter().enumerate() {
        shape.push(match &windows {
            Some(windows) => transposed_axis(call.attrs, windows, axis, dim)?.0,
            None => call.fresh(axis),
        });
    }
    Ok(vec![Some(Fact::new(x.element, shape))])
}

/// The size of `axis` after transposed convolution of `dim`, and the padding taken away before it when `dim` is known.
fn transposed_axis(attrs: &Attrs, windows: &Windows, axis: usize, dim: &Dim) -> Result<(Dim, i64), Reason> {
    let n = windows.kernel.len();
    let list = |name: &str| match attrs.ints(name) {
        Some(values) if values.len() == n && values.iter().all(|value| (0..1 << 31).contains(value)) => {
            Ok(Some(values[axis]))
        }
        Some(values) => Err(Reason(format!("attribute `{name}` is {values:?} for {n} spatial axes"))),
        None => Ok(None),
    };
    let extra = list("output_padding")?.unwrap_or(0);
    // stride * (dim - 1) + output_padding + span: the size before padding is taken away.
    let full = dim.sub(&Dim::known(1)).and_then(|dim| dim.mul(&Dim::known(windows.strides[axis])));
    let full = full.and_then(|full| full.add(&Dim::known(extra + windows.span(axis)))).ok_or_else(overflow)?;
    let wanted = match (list("output_shape")?, &windows.padding) {
        (Some(wanted), _) => Dim::known(wanted),
        (None, Padding::Same { .. }) => dim.mul(&Dim::known(windows.strides[axis])).ok_or_else(overflow)?,
        (None, Padding::Explicit(pads)) => {
            let size = full.sub(&Dim::known(pads[axis].0 + pads[axis].1)).ok_or_else(overflow)?;
            return match size.as_known() {
                Some(known) if known < 0 => Err(Reason(format!("axis {axis} would have size {known}"))),
                _ => Ok((size, pads[axis].0)),
            };
        }
    };
    let total = full.sub(&wanted).and_then(|total| total.as_known()).unwrap_or(0).max(0);
    let upper = matches!(windows.padding, Padding::Same { upper: true });
    Ok((wanted, if upper { total / 2 } else { total - total / 2 }))
}

fn conv_transpose<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let (windows, group) = geometry(call.attrs, &x.shape, &w.shape)?;
    let (n, c, m_each) = (x.shape[0], x.shape[1], w.shape[1]);
    let m = m_each.checked_mul(group).ok_or_else(overflow)?;
    if w.shape[0] != c || c % group != 0 {
        return Err(Reason(format!("{c} channels in {group} groups and filters for {} disagree", w.shape[0])));
    }
    let sizes = &x.shape[2..];
    let mut outputs = Vec::with_capacity(sizes.len());
    // For each axis and each place in the output: which taps of the filter reach it, from which inputs.
    let mut reach: Vec<Vec<Vec<(usize, usize)>>> = Vec::with_capacity(sizes.len());
    for (axis, &size) in sizes.iter().enumerate() {
        let (dim, before) = transposed_axis(call.attrs, &windows, axis, &size.into())?;
        let output = dim.as_size().ok_or_else(overflow)?;
        count_of(&[output])?;
        let (stride, dilation) = (windows.strides[axis], windows.dilations[axis]);
        let taps_at = |at: usize| {
            let from = |tap: i64| {
                let distance = at as i64 + before - tap * dilation;
                let input = usize::try_from(distance.div_euclid(stride)).ok()?;
                (distance.rem_euclid(stride) == 0 && input < size).then_some((tap as usize, input))
            };
            (0..windows.kernel[axis]).filter_map(from).collect()
        };
        reach.push((0..output).map(taps_at).collect());
        outputs.push(output);
    }
    let shape = [&[n, m], outputs.as_slice()].concat();
    let mut y = vec![S::from_int(0); count_of(&shape)?];
    let (area, n_places): (usize, usize) = (sizes.iter().product(), outputs.iter().product());
    let (taps, c_each) = (w.shape[2..].iter().product::<usize>(), c / group);
    let (in_filter, in_data) = (strides_of(&w.shape[2..]), strides_of(sizes));
    let (data, filters) = (x.real()?, w.real()?);
    let mut place = 0;
    each_index(&outputs, |index| {
        let mut pairs = vec![(0, 0)];
        for (axis, &at) in index.iter().enumerate() {
            let extend = |&(tap, offset): &(usize, usize)| {
                let (in_filter, in_data) = (in_filter[axis], in_data[axis]);
                reach[axis][at]
                    .iter()
                    .map(move |&(t, o)| (tap + t * in_filter, offset + o * in_data))
                    .collect::<Vec<_>>()
            };
            pairs = pairs.iter().flat_map(extend).collect();
        }
        for (item, filter) in (0..n).flat_map(|item| (0..m).map(move |filter| (item, filter))) {
            let (of_group, within) = (filter / m_each, filter % m_each);
            let channels = of_group * c_each..(of_group + 1) * c_each;
            let products = channels.flat_map(|channel| {
                let (data, filters) =
                    (&data[(item * c + channel) * area..], &filters[(channel * m_each + within) * taps..]);
                pairs.iter().map(move |&(tap, offset)| (data[offset], filters[tap]))
            });
            y[(item * m + filter) * n_places + place] = S::dot(products);
        }
        place += 1;
        Ok::<(), Reason>(())
    })?;
    if let Some(bias) = call.given(2) {
        add_bias(&mut y, &shape, bias.real()?, Scalar::add)?;
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    fn ints(values: &[i64]) -> Attr {
        Attr::Ints(values.into())
    }

    #[test]
    fn convolutions_keep_symbolic_dims() {
        let strided = [("pads", ints(&[3, 3, 3, 3])), ("strides", ints(&[2, 2]))];
        let resnet = ["float[n,3,h,224]", "float[64,3,7,7]", "float[64]"];
        assert_eq!(infer("Conv", &strided, &resnet), "float[n,64,floor((h - 1)/(2)) + 1,112]");
        let same = [("auto_pad", Attr::String("SAME_UPPER".into())), ("strides", ints(&[2]))];
        assert_eq!(infer("Conv", &same, &["float[n,3,2*k]", "float[8,3,5]"]), "float[n,8,k]");
        let depthwise = [("group", Attr::Int(3)), ("dilations", ints(&[2]))];
        assert_eq!(infer("Conv", &depthwise, &["float[n,3,9]", "float[6,1,3]"]), "float[n,6,5]");
        assert_eq!(infer("Conv", &[], &["float[n,3,9]", "float[6,3,k]"]), "float[n,6,?t.0]");
    }

    #[test]
    fn filters_that_do_not_fit_are_refused() {
        let refused = |attrs: &[(&str, Attr)], inputs: &[&str], reason: &str| {
            assert_eq!(infer("Conv", attrs, inputs), reason);
        };
        let (x, w) = ("float[1,3,9]", "float[6,3,3]");
        refused(&[("group", Attr::Int(0))], &[x, w], "attribute `group` is 0");
        refused(&[], &[x, "float[6,2,3]"], "3 channels in 1 groups do not go with a filter float[6,2,3]");
        refused(&[], &[x, "float[6,3,10]"], "a window of 10 does not fit axis 0 of 9, pads (0, 0)");
        refused(&[], &[x, "float[6,3,0]"], "a window of size 0");
        refused(&[("strides", ints(&[0]))], &[x, w], "attribute `strides` is [0] for 1 spatial axes");
        refused(&[("pads", ints(&[1]))], &[x, w], "attribute `pads` is [1] for 1 spatial axes");
        refused(&[], &[x, w, "float[5]"], "a bias float[5] does not go with 6 channels");
        refused(&[], &["float[3]", w], "a filter float[6,3,3] does not go with an input float[3]");
    }

    #[test]
    fn transposed_convolutions_invert_the_size_of_convolutions() {
        let strided = [("strides", ints(&[2, 2])), ("pads", ints(&[1, 1, 1, 1])), ("output_padding", ints(&[1, 1]))];
        let inputs = ["float[n,8,h,7]", "float[8,4,3,3]"];
        assert_eq!(infer("ConvTranspose", &strided, &inputs), "float[n,4,2*h,14]");
        let shaped = [("output_shape", ints(&[10, 8])), ("strides", ints(&[3, 2]))];
        assert_eq!(infer("ConvTranspose", &shaped, &["float[1,1,3,3]", "float[1,2,3,3]"]), "float[1,2,10,8]");
        let grouped = [("group", Attr::Int(2))];
        assert_eq!(infer("ConvTranspose", &grouped, &["float[1,4,n]", "float[4,3,2]"]), "float[1,6,n + 1]");
    }
}
