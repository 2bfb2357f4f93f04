//! Reductions over axes, and softmax.

use super::conv::pool_all;
use super::{Kernel, Prepare, Setup, given};
use crate::pool::Pool as PoolKind;
use crate::reduce::{Reduce, reduce, softmax};
use crate::value::{Layout, Value, count};
use eutectic_ir::types::normalize_axis;

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("ReduceSum", |setup| Ok(reduced(setup, Reduce::Sum))),
    ("ReduceMean", |setup| Ok(reduced(setup, Reduce::Mean))),
    ("ReduceMax", |setup| Ok(reduced(setup, Reduce::Max))),
    ("ReduceMin", |setup| Ok(reduced(setup, Reduce::Min))),
    ("ReduceProd", |setup| Ok(reduced(setup, Reduce::Prod))),
    ("ReduceL1", |setup| Ok(reduced(setup, Reduce::L1))),
    ("ReduceL2", |setup| Ok(reduced(setup, Reduce::L2))),
    ("ReduceSumSquare", |setup| Ok(reduced(setup, Reduce::SumSquare))),
    ("Softmax", |setup| Ok(normalized(setup, false))),
    ("LogSoftmax", |setup| Ok(normalized(setup, true))),
];

fn reduced(setup: &mut Setup<'_>, kind: Reduce) -> Option<Kernel> {
    let keep = setup.attrs.int("keepdims").is_none_or(|keep| keep != 0);
    let keep_all_without_axes = setup.attrs.flag("noop_with_empty_axes");
    let attribute = setup.attrs.ints("axes").map(<[i64]>::to_vec);
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0).filter(|x| x.as_floats().is_some()) else { return Ok(None) };
        let axes = match given(arguments, 1) {
            Some(axes) => match axes.to_ints() {
                Some(axes) => axes,
                None => return Ok(None),
            },
            None => attribute.clone().unwrap_or_default(),
        };
        let rank = x.shape.len();
        if axes.is_empty() && keep_all_without_axes {
            return Ok(None);
        }
        let mut flags = vec![axes.is_empty(); rank];
        for axis in axes {
            match normalize_axis(axis, rank) {
                Some(axis) => flags[axis] = true,
                None => return Ok(None),
            }
        }
        let mut shape: Vec<usize> = x.shape.iter().zip(&flags).map(|(&n, &flag)| if flag { 1 } else { n }).collect();
        let all_positions = rank >= 3 && !flags[0] && !flags[1] && flags[2..].iter().all(|&flag| flag);
        let pooled = match kind {
            Reduce::Mean if all_positions => pool_all(PoolKind::Average { count_include_pad: false }, x, pool)?,
            Reduce::Max if all_positions => pool_all(PoolKind::Max, x, pool)?,
            _ => None,
        };
        let value = match pooled {
            Some(value) => value,
            None => {
                let plain = x.to_plain(pool)?;
                let Some(elements) = plain.as_floats() else { return Ok(None) };
                let mut out = pool.take(count(&shape)?)?;
                reduce(kind, &plain.shape, &flags, elements, &mut out);
                Value::floats(&shape, out)
            }
        };
        if !keep {
            let mut flags = flags.iter();
            shape.retain(|_| !flags.next().is_some_and(|&flag| flag));
        }
        Ok(Some(vec![value.reshaped(&shape)]))
    }))
}

fn normalized(setup: &mut Setup<'_>, logarithm: bool) -> Option<Kernel> {
    let axis = setup.attrs.int("axis")?;
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let Some(axis) = normalize_axis(axis, x.shape.len()) else { return Ok(None) };
        if x.layout == Layout::ChannelsLast && axis == 1 {
            // The channels of an image are its rows.
            let Some(elements) = x.as_floats() else { return Ok(None) };
            let mut out = pool.take(elements.len())?;
            softmax(logarithm, x.shape[1], 1, elements, &mut out);
            return Ok(Some(vec![Value::image(&x.shape, out)]));
        }
        let x = x.to_plain(pool)?;
        let Some(elements) = x.as_floats() else { return Ok(None) };
        let mut out = pool.take(elements.len())?;
        softmax(logarithm, x.shape[axis], x.shape[axis + 1..].iter().product(), elements, &mut out);
        Ok(Some(vec![Value::floats(&x.shape, out)]))
    }))
}
