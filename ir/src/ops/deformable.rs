//! Convolutions whose windows are bent: each element of a window has an offset of its own at each place.

use super::convolution::{check_bias, group_of, kernel_of};
use super::pointwise::{affordable, needs_order};
use super::sampling::combined;
use super::shape::{count_of, overflow, product};
use super::windows::{Padding, Windows};
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::TensorType;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&DEFORM_CONV];

static DEFORM_CONV: OpDef = OpDef {
    name: "DeformConv",
    doc: "A convolution whose inputs are interpolated at the places of the window plus offsets, and masked (Zhu et al., CVPR 2019)",
    versions: &[19, 22],
    inputs: &[
        Param::required("X", "T"),
        Param::required("W", "T"),
        Param::required("offset", "T"),
        Param::optional("B", "T"),
        Param::optional("mask", "T"),
    ],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::optional("dilations", AttrKind::Ints),
        AttrDef::int("group", 1),
        AttrDef::optional("kernel_shape", AttrKind::Ints),
        AttrDef::int("offset_group", 1),
        AttrDef::optional("pads", AttrKind::Ints),
        AttrDef::optional("strides", AttrKind::Ints),
    ],
    types: &[("T", sets::FLOAT)],
    infer: infer_deform_conv,
    eval: eval!(deform_conv),
    work: |call, outputs| {
        let (y, x, w) = (outputs.first()?, call.given(0)?.ty, call.given(1)?.ty);
        let n_corners = 2i64.checked_pow(u32::try_from(w.rank().checked_sub(2)?).ok()?)?;
        let window = product(w.shape.get(2..)?).ok()?;
        // Each input channel is interpolated once for each element of each window, then multiplied by the filters.
        let places = product(y.shape.get(2..)?).ok()?.mul(y.shape.first()?)?;
        let per_sample = Dim::known(n_corners.checked_mul(2)?.checked_add(1)?);
        let sampled = places.mul(x.shape.get(1)?)?.mul(&window)?.mul(&per_sample)?;
        let products = y.count()?.mul(w.shape.get(1)?)?.mul(&window)?.mul(&Dim::known(2))?;
        Work::streaming(call, outputs, sampled.add(&products)?)
    },
    ..OpDef::BASE
};

/// The output's type, and the windows where the kernel is known. Errors: operands or attributes that do not go together.
fn plan(
    attrs: &Attrs,
    fresh: &dyn Fn(usize) -> Dim,
    operand: &dyn Fn(usize) -> Option<TensorType>,
) -> Result<(TensorType, Option<Windows>), Reason> {
    let given = |index: usize| operand(index).ok_or_else(|| Reason(format!("input {index} is missing")));
    let (x, w, offset) = (given(0)?, given(1)?, given(2)?);
    let kernel = kernel_of(attrs, &x, &w)?;
    let (group, offset_group) = (group_of(attrs)?, attrs.int("offset_group").unwrap_or(1));
    if let (Some(c), Some(per_group)) = (x.shape[1].as_known(), w.shape[1].as_known())
        && per_group.checked_mul(group) != Some(c)
    {
        return Err(Reason(format!("{c} channels in {group} groups do not go with a filter {w}")));
    }
    if w.shape[0].as_known().is_some_and(|m| m % group != 0) {
        return Err(Reason(format!("{} filters are no multiple of {group} groups", w.shape[0])));
    }
    if offset_group < 1 || x.shape[1].as_known().is_some_and(|c| c % offset_group != 0) {
        return Err(Reason(format!("{} channels in {offset_group} groups of offsets", x.shape[1])));
    }
    check_bias(operand(3).as_ref(), &w.shape[0])?;
    let windows = kernel.map(|kernel| Windows::read(attrs, kernel)).transpose()?;
    let n_axes = x.rank() - 2;
    let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
    for (axis, dim) in x.shape[2..].iter().enumerate() {
        let of_window = match &windows {
            Some(windows) => windows.output_dim(axis, dim)?,
            None => None,
        };
        // The offsets have the shape of the output too.
        let of_offset = offset.shape.get(axis + 2).filter(|dim| dim.as_known().is_some());
        shape.push(of_window.or(of_offset.cloned()).unwrap_or_else(|| fresh(axis)));
    }
    let taps = windows
        .as_ref()
        .and_then(|windows| windows.kernel.iter().try_fold(offset_group, |count, &side| count.checked_mul(side)));
    let check = |name: &str, found: &TensorType, n_each: usize| {
        let channels = taps.and_then(|taps| taps.checked_mul(n_each as i64));
        let lead = [Some(&x.shape[0]).and_then(Dim::as_known), channels];
        let expected: Vec<Option<i64>> = lead.into_iter().chain(shape[2..].iter().map(Dim::as_known)).collect();
        let apart = |(found, wanted): (&Dim, &Option<i64>)| found.as_known().zip(*wanted).is_some_and(|(a, b)| a != b);
        if found.rank() != expected.len() || found.shape.iter().zip(&expected).any(apart) {
            let wanted: Vec<String> =
                expected.iter().map(|dim| dim.map_or("?".into(), |dim| dim.to_string())).collect();
            return Err(Reason(format!("{name} is {found}, the shape [{}] is expected", wanted.join(","))));
        }
        Ok(())
    };
    check("offset", &offset, n_axes)?;
    if let Some(mask) = operand(4) {
        check("mask", &mask, 1)?;
    }
    Ok((TensorType::new(x.element, shape), windows))
}

fn infer_deform_conv(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let operand = |index: usize| call.given(index).map(|operand| operand.ty.clone());
    Ok(vec![Some(plan(call.attrs, &|axis| call.fresh(axis), &operand)?.0.into())])
}

fn deform_conv<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let operand = |index: usize| {
        let ty = |datum: &Datum<S>| TensorType::new(datum.element, datum.shape.iter().map(|&dim| dim.into()));
        call.given(index).map(ty)
    };
    let (ty, windows) = plan(call.attrs, &|_| Dim::known(0), &operand)?;
    let (Some(shape), Some(windows)) = (ty.sizes(), windows) else { return Err(overflow()) };
    let Padding::Explicit(pads) = &windows.padding else { return Err(Reason::new("padding is explicit")) };
    let (x, w) = (call.input(0)?, call.input(1)?);
    let (sizes, outputs) = (&x.shape[2..], &shape[2..]);
    let (n, c, m, c_each) = (x.shape[0], x.shape[1], w.shape[0], w.shape[1]);
    let size_of = |name: &str| call.int(name).and_then(|n| usize::try_from(n).map_err(|_| overflow()));
    let (group, offset_group) = (size_of("group")?, size_of("offset_group")?);
    let mut y = vec![S::from_int(0); affordable(&shape, x.count().max(w.count()))?];
    if y.is_empty() {
        return Ok(vec![Datum::of_real(x.element, &shape, y)]);
    }
    let kernel: Vec<usize> = w.shape[2..].to_vec();
    let (area, n_places, n_taps): (usize, usize, usize) =
        (count_of(sizes)?, outputs.iter().product(), kernel.iter().product());
    let (n_axes, strides) = (sizes.len(), strides_of(sizes));
    let (data, filters, offsets) = (x.real()?, w.real()?, call.real(2)?);
    let bias = call.given(3).map(Datum::real).transpose()?;
    let mask = call.given(4).map(Datum::real).transpose()?;
    let (m_each, c_offset) = (m / group, c / offset_group);
    for item in 0..n {
        let mut place = 0;
        each_index(outputs, |index| {
            // Every channel at every element of the window, zero outside the input.
            let mut row = vec![S::from_int(0); c * n_taps];
            for of_group in 0..offset_group {
                let mut tap = 0;
                each_index(&kernel, |within| {
                    let at = (item * offset_group + of_group) * n_taps + tap;
                    let mut taps = Vec::with_capacity(n_axes);
                    for axis in 0..n_axes {
                        let start = index[axis] as i64 * windows.strides[axis] - pads[axis].0;
                        let regular = start + within[axis] as i64 * windows.dilations[axis];
                        let offset = offsets[(at * n_axes + axis) * n_places + place].to_f64();
                        taps.push(neighbours(regular as f64 + offset, sizes[axis])?);
                    }
                    let seen = combined(&taps, &strides);
                    let weight = mask.map_or(S::from_int(1), |mask| mask[at * n_places + place]);
                    for channel in of_group * c_offset..(of_group + 1) * c_offset {
                        let plane = &data[(item * c + channel) * area..][..area];
                        let sample = S::dot(seen.iter().map(|&(at, part)| (plane[at], S::from_f64(part))));
                        row[channel * n_taps + tap] = sample.mul(weight);
                    }
                    tap += 1;
                    Ok::<(), Reason>(())
                })?;
            }
            for filter in 0..m {
                let first = filter / m_each * c_each * n_taps;
                let (inputs, weights) = (&row[first..][..c_each * n_taps], &filters[filter * c_each * n_taps..]);
                let sum = S::dot(inputs.iter().copied().zip(weights.iter().copied()));
                y[(item * m + filter) * n_places + place] = bias.map_or(sum, |bias| sum.add(bias[filter]));
            }
            place += 1;
            Ok::<(), Reason>(())
        })?;
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

/// The elements of an axis of `size` around `place`, and their weights; those outside the axis are left out.
fn neighbours(place: f64, size: usize) -> Result<Vec<(usize, f64)>, Reason> {
    if place.is_nan() {
        return Err(Reason::new("an offset is no number"));
    }
    let (base, ratio) = (place.floor(), place - place.floor());
    let inside = |&(at, _): &(f64, f64)| at >= 0.0 && at < size as f64;
    let both = [(base, 1.0 - ratio), (base + 1.0, ratio)];
    Ok(both.into_iter().filter(inside).map(|(at, weight)| (at as usize, weight)).collect())
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn windows_and_offsets_give_the_shape() {
        let inputs = ["float[n,4,h,9]", "float[8,4,3,3]", "float[n,18,k,7]"];
        assert_eq!(infer("DeformConv", &[], &inputs), "float[n,8,h - 2,7]");
        let unknown = ["float[n,4,h,9]", "float[8,4,3,l]", "float[n,k,5,7]"];
        assert_eq!(infer("DeformConv", &[], &unknown), "float[n,8,5,7]");
    }

    #[test]
    fn offsets_and_groups_that_do_not_fit_are_refused() {
        let inputs = ["float[1,4,9,9]", "float[8,4,3,3]", "float[1,9,7,7]"];
        let refused = "offset is float[1,9,7,7], the shape [1,18,7,7] is expected";
        assert_eq!(infer("DeformConv", &[], &inputs), refused);
        let groups = |n: i64| [("offset_group", Attr::Int(n))];
        assert_eq!(infer("DeformConv", &groups(3), &inputs), "4 channels in 3 groups of offsets");
        assert_eq!(infer("DeformConv", &groups(0), &inputs), "4 channels in 0 groups of offsets");
    }
}
