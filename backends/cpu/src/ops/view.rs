//! Operators that give a value another shape, or that only look at its shape.

use super::{Kernel, Prepare, Setup, given};
use crate::value::{Pool, Value};
use eutectic_ir::op::Reason;
use eutectic_ir::types::{Element, normalize_axis};

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("Identity", |_| Ok(Some(Box::new(|arguments, _| Ok(arguments[0].take().map(|x| vec![x])))))),
    ("Dropout", |setup| Ok(dropout(setup))),
    ("Cast", |setup| Ok(cast(setup))),
    ("Reshape", |setup| Ok(Some(reshape(setup)))),
    ("Flatten", |setup| Ok(flatten(setup))),
    ("Squeeze", |setup| Ok(Some(squeeze(setup)))),
    ("Unsqueeze", |setup| Ok(Some(unsqueeze(setup)))),
    ("Shape", |setup| Ok(Some(shape(setup)))),
    ("Size", |_| {
        Ok(Some(Box::new(|arguments, _| {
            let Some(x) = given(arguments, 0) else { return Ok(None) };
            Ok(i64::try_from(x.count()).ok().map(|count| vec![Value::ints(&[count]).reshaped(&[])]))
        })))
    }),
];

/// `x` in row-major order under another shape; `None` when the number of elements differs.
fn under(x: &Value, shape: &[usize], pool: &mut Pool) -> Result<Option<Vec<Value>>, Reason> {
    if eutectic_ir::tensor::count_of(shape) != Some(x.count()) {
        return Ok(None);
    }
    Ok(Some(vec![x.to_plain(pool)?.reshaped(shape)]))
}

/// At inference nothing is dropped; a mask of all true is the interpreter's business.
fn dropout(setup: &mut Setup<'_>) -> Option<Kernel> {
    let training = match setup.constants.get(2) {
        None => false,
        Some(None) if setup.n_inputs <= 2 => false,
        Some(constant) => constant.as_ref()?.as_single()? != 0.0,
    };
    if training || setup.n_outputs != 1 {
        return None;
    }
    Some(Box::new(|arguments, _| Ok(arguments[0].take().map(|x| vec![x]))))
}

/// Between f32 and the integers and truth values that masks are made of.
fn cast(setup: &mut Setup<'_>) -> Option<Kernel> {
    let to = Element::from_code(i32::try_from(setup.attrs.int("to")?).ok()?)?;
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        if x.element() == to {
            return Ok(Some(vec![x.clone()]));
        }
        if to == Element::Float && matches!(x.element(), Element::Bool | Element::Int64 | Element::Int32) {
            let Some(values) = x.to_ints() else { return Ok(None) };
            let mut out = pool.take(values.len())?;
            for (slot, value) in out.iter_mut().zip(values) {
                *slot = value as f32;
            }
            return Ok(Some(vec![Value::floats(&x.shape, out)]));
        }
        Ok(None)
    }))
}

fn reshape(setup: &mut Setup<'_>) -> Kernel {
    let allow_zero = setup.attrs.flag("allowzero");
    Box::new(move |arguments, pool| {
        let (Some(x), Some(Some(target))) = (given(arguments, 0), given(arguments, 1).map(Value::to_ints)) else {
            return Ok(None);
        };
        let mut shape = Vec::with_capacity(target.len());
        let mut unknown = None;
        for (axis, &extent) in target.iter().enumerate() {
            shape.push(match extent {
                -1 if unknown.is_none() => {
                    unknown = Some(axis);
                    1
                }
                0 if !allow_zero => match x.shape.get(axis) {
                    Some(&extent) => extent,
                    None => return Ok(None),
                },
                _ => match usize::try_from(extent) {
                    Ok(extent) => extent,
                    Err(_) => return Ok(None),
                },
            });
        }
        if let Some(axis) = unknown {
            match eutectic_ir::tensor::count_of(&shape) {
                Some(known) if known > 0 && x.count() % known == 0 => shape[axis] = x.count() / known,
                _ => return Ok(None),
            }
        }
        under(x, &shape, pool)
    })
}

fn flatten(setup: &mut Setup<'_>) -> Option<Kernel> {
    let axis = setup.attrs.int("axis")?;
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let rank = x.shape.len();
        // The axis may lie behind the last one.
        let at = if axis == rank as i64 { Some(rank) } else { normalize_axis(axis, rank) };
        let Some(at) = at else { return Ok(None) };
        under(x, &[x.shape[..at].iter().product(), x.shape[at..].iter().product()], pool)
    }))
}

/// The axes that an attribute (old operator sets) or the second input names.
fn axes_of(stated: &Option<Vec<i64>>, second: Option<&Value>) -> Option<Option<Vec<i64>>> {
    match second {
        Some(axes) => axes.to_ints().map(Some),
        None => Some(stated.clone()),
    }
}

fn squeeze(setup: &mut Setup<'_>) -> Kernel {
    let stated = setup.attrs.ints("axes").map(<[i64]>::to_vec);
    Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let Some(axes) = axes_of(&stated, given(arguments, 1)) else { return Ok(None) };
        let mut drop: Vec<bool> = match &axes {
            Some(_) => vec![false; x.shape.len()],
            None => x.shape.iter().map(|&extent| extent == 1).collect(),
        };
        for axis in axes.into_iter().flatten() {
            match normalize_axis(axis, x.shape.len()) {
                Some(axis) if x.shape[axis] == 1 => drop[axis] = true,
                _ => return Ok(None),
            }
        }
        let shape: Vec<usize> = x.shape.iter().zip(drop).filter(|(_, drop)| !drop).map(|(&extent, _)| extent).collect();
        under(x, &shape, pool)
    })
}

fn unsqueeze(setup: &mut Setup<'_>) -> Kernel {
    let stated = setup.attrs.ints("axes").map(<[i64]>::to_vec);
    Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let Some(Some(axes)) = axes_of(&stated, given(arguments, 1)) else { return Ok(None) };
        let rank = x.shape.len() + axes.len();
        let mut added = vec![false; rank];
        for axis in axes {
            match normalize_axis(axis, rank) {
                Some(axis) if !added[axis] => added[axis] = true,
                _ => return Ok(None),
            }
        }
        let mut extents = x.shape.iter();
        let shape: Vec<usize> =
            added.into_iter().map(|added| if added { Some(1) } else { extents.next().copied() }.unwrap_or(1)).collect();
        under(x, &shape, pool)
    })
}

fn shape(setup: &mut Setup<'_>) -> Kernel {
    let (start, end) = (setup.attrs.int("start").unwrap_or(0), setup.attrs.int("end"));
    Box::new(move |arguments, _| {
        let Some(x) = given(arguments, 0) else { return Ok(None) };
        let rank = x.shape.len() as i64;
        let clamp = |axis: i64| if axis < 0 { axis.saturating_add(rank) } else { axis }.clamp(0, rank) as usize;
        let (from, to) = (clamp(start), clamp(end.unwrap_or(rank)));
        let extents: Option<Vec<i64>> =
            x.shape[from..to.max(from)].iter().map(|&extent| i64::try_from(extent).ok()).collect();
        Ok(extents.map(|extents| vec![Value::ints(&extents)]))
    })
}
