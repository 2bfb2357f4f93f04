//! Normalisations.

use super::{Kernel, Prepare, Setup, given};
use crate::norm::{Center, batch_normalization, normalize_groups, normalize_rows, scale_channels};
use crate::value::{Layout, Value, count, image_extents};
use eutectic_ir::types::normalize_axis;

pub(super) const KERNELS: &[(&str, Prepare)] = &[
    ("LayerNormalization", |setup| Ok(rows(setup, Center::Mean))),
    ("RMSNormalization", |setup| Ok(rows(setup, Center::Zero))),
    ("BatchNormalization", |setup| Ok(batch(setup))),
    ("InstanceNormalization", |setup| Ok(groups(setup, false))),
    ("GroupNormalization", |setup| Ok(groups(setup, true))),
];

fn rows(setup: &mut Setup<'_>, center: Center) -> Option<Kernel> {
    if setup.n_outputs != 1 {
        return None;
    }
    let (axis, epsilon) = (setup.attrs.int("axis")?, setup.attrs.float("epsilon")?);
    Some(Box::new(move |arguments, pool| {
        let (Some(x), Some(scale)) = (given(arguments, 0), given(arguments, 1)) else { return Ok(None) };
        let Some(axis) = normalize_axis(axis, x.shape.len()) else { return Ok(None) };
        let x = x.to_plain(pool)?;
        let width: usize = x.shape[axis..].iter().product();
        let row = |value: &Value| value.shape == x.shape[axis..] && value.layout == Layout::Plain;
        let shift = given(arguments, 2);
        if !row(scale) || shift.is_some_and(|shift| !row(shift) || shift.as_floats().is_none()) {
            return Ok(None);
        }
        let (Some(elements), Some(scale)) = (x.as_floats(), scale.as_floats()) else { return Ok(None) };
        let mut out = pool.take(elements.len())?;
        normalize_rows(center, epsilon, width, elements, scale, shift.and_then(Value::as_floats), &mut out);
        Ok(Some(vec![Value::floats(&x.shape, out)]))
    }))
}

fn batch(setup: &mut Setup<'_>) -> Option<Kernel> {
    if setup.attrs.flag("training_mode") || setup.n_outputs != 1 {
        return None;
    }
    let epsilon = setup.attrs.float("epsilon")?;
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0).filter(|x| x.shape.len() >= 2) else { return Ok(None) };
        let channels = x.shape[1];
        let mut parts: [&[f32]; 4] = [&[]; 4];
        for (at, part) in parts.iter_mut().enumerate() {
            match given(arguments, at + 1).and_then(Value::as_floats).filter(|elements| elements.len() == channels) {
                Some(elements) => *part = elements,
                None => return Ok(None),
            }
        }
        let [scale, shift, mean, variance] = parts;
        let Some(elements) = x.as_floats() else { return Ok(None) };
        let (scale, shift) = batch_normalization(epsilon, scale, shift, mean, variance);
        let mut out = pool.take(elements.len())?;
        let inner = if x.layout == Layout::ChannelsLast { 1 } else { count(&x.shape[2..])? };
        scale_channels(inner, elements, &scale, &shift, &mut out);
        Ok(Some(vec![Value::stored(&x.shape, x.layout, out)]))
    }))
}

fn groups(setup: &mut Setup<'_>, grouped: bool) -> Option<Kernel> {
    let epsilon = setup.attrs.float("epsilon")?;
    let stated = if grouped { Some(usize::try_from(setup.attrs.int("num_groups")?).ok()?) } else { None };
    Some(Box::new(move |arguments, pool| {
        let Some(x) = given(arguments, 0).filter(|x| x.shape.len() >= 3) else { return Ok(None) };
        let x = x.to_plain(pool)?;
        let (_, channels, area) = image_extents(&x.shape);
        let n_groups = stated.unwrap_or(channels);
        let per_channel =
            |index| given(arguments, index).and_then(Value::as_floats).filter(|part| part.len() == channels);
        let (Some(scale), Some(shift), Some(elements)) = (per_channel(1), per_channel(2), x.as_floats()) else {
            return Ok(None);
        };
        if n_groups == 0 || channels % n_groups != 0 {
            return Ok(None);
        }
        let mut out = pool.take(elements.len())?;
        normalize_groups(n_groups, channels, area, epsilon, elements, scale, shift, &mut out);
        Ok(Some(vec![Value::floats(&x.shape, out)]))
    }))
}
