//! `Attention` without caches. A window, a soft cap, a short mask and every further output run on the reference.

use super::{Kernel, Prepare, Setup, given};
use crate::attention::{AttentionShape, Mask, Rows, attention};
use crate::transpose::transpose;
use crate::value::{Pool, Value, count};
use eutectic_ir::op::Reason;
use eutectic_ir::types::Element;

pub(super) const KERNELS: &[(&str, Prepare)] = &[("Attention", prepare)];

fn prepare(setup: &mut Setup<'_>) -> Result<Option<Kernel>, Reason> {
    let attrs = setup.attrs;
    let unlimited = ["left_window_size", "right_window_size"].iter().all(|name| attrs.int(name) == Some(-1));
    if setup.n_outputs != 1 || attrs.float("softcap") != Some(0.0) || !unlimited {
        return Ok(None);
    }
    let heads = |name: &str| attrs.int(name).and_then(|count| usize::try_from(count).ok());
    let stated = heads("q_num_heads").zip(heads("kv_num_heads"));
    let (scale, causal) = (attrs.float("scale"), attrs.flag("is_causal"));
    Ok(Some(Box::new(move |arguments, pool| {
        if (4..7).any(|cache| given(arguments, cache).is_some()) {
            return Ok(None);
        }
        let (Some(q), Some(k), Some(v)) = (given(arguments, 0), given(arguments, 1), given(arguments, 2)) else {
            return Ok(None);
        };
        let (q, k, v) = (q.to_plain(pool)?, k.to_plain(pool)?, v.to_plain(pool)?);
        let Some((shape, rows)) = extents([&q.shape, &k.shape, &v.shape], stated) else { return Ok(None) };
        let (Some(queries), Some(keys), Some(values)) = (q.as_floats(), k.as_floats(), v.as_floats()) else {
            return Ok(None);
        };
        let addends = match given(arguments, 3) {
            None => None,
            Some(mask) => match addends(mask, &shape, pool)? {
                Some(mask) => Some(mask),
                None => return Ok(None),
            },
        };
        let mask = addends.as_ref().map(|(data, strides)| Mask { data, strides: *strides });
        let AttentionShape { batch, heads, n_queries, v_width, .. } = shape;
        let by_head = [batch, heads, n_queries, v_width];
        // The scores of as many heads as there are threads live beside the output.
        pool.check(count(&[shape.n_queries, shape.n_keys, rayon::current_num_threads()])?)?;
        let mut out = pool.take(count(&by_head)?)?;
        let scale = scale.unwrap_or_else(|| 1.0 / (shape.width as f32).sqrt());
        let sides = [(queries, rows[0]), (keys, rows[1]), (values, rows[2])];
        attention(&shape, scale, causal, sides, mask, &mut out);
        if q.shape.len() == 4 {
            return Ok(Some(vec![Value::floats(&by_head, out)]));
        }
        let mut flat = pool.take(out.len())?;
        transpose(&by_head, &[0, 2, 1, 3], &out, &mut flat);
        pool.put(out);
        Ok(Some(vec![Value::floats(&[batch, n_queries, heads * v_width], flat)]))
    })))
}

/// The extents of the call and how queries, keys and values lie; `None` when they do not go together, which the
/// reference explains.
fn extents(shapes: [&[usize]; 3], stated: Option<(usize, usize)>) -> Option<(AttentionShape, [Rows; 3])> {
    let split = |shape: &[usize], heads: Option<usize>| match (shape, heads) {
        (&[batch, heads, length, width], _) => {
            let rows = Rows { item: heads * length * width, head: length * width, row: width };
            Some(([batch, heads, length, width], rows))
        }
        (&[batch, length, hidden], Some(heads)) if heads > 0 && hidden % heads == 0 => {
            let rows = Rows { item: length * hidden, head: hidden / heads, row: hidden };
            Some(([batch, heads, length, hidden / heads], rows))
        }
        _ => None,
    };
    let (of_queries, of_keys) = stated.unzip();
    let (q, q_rows) = split(shapes[0], of_queries)?;
    let (k, k_rows) = split(shapes[1], of_keys)?;
    let (v, v_rows) = split(shapes[2], of_keys)?;
    let fits = q[0] == k[0] && k[..3] == v[..3] && q[3] == k[3] && k[1] > 0 && q[1] % k[1] == 0 && k[2] > 0;
    let same_rank = shapes.iter().all(|shape| shape.len() == shapes[0].len());
    (fits && same_rank).then_some((
        AttentionShape {
            batch: q[0],
            heads: q[1],
            kv_heads: k[1],
            n_queries: q[2],
            n_keys: k[2],
            width: q[3],
            v_width: v[3],
        },
        [q_rows, k_rows, v_rows],
    ))
}

/// The mask as addends and their strides; `None` when it does not cover the scores or is of integers.
fn addends(mask: &Value, shape: &AttentionShape, pool: &mut Pool) -> Result<Option<(Vec<f32>, [usize; 4])>, Reason> {
    let full = [shape.batch, shape.heads, shape.n_queries, shape.n_keys];
    let Some(skipped) = full.len().checked_sub(mask.shape.len()) else { return Ok(None) };
    let mut strides = [0; 4];
    let mut stride = 1;
    for axis in (skipped..4).rev() {
        match mask.shape[axis - skipped] {
            1 if axis < 3 || full[axis] == 1 => {}
            extent if extent == full[axis] => strides[axis] = stride,
            // A last axis that is shorter hides the keys behind it, even one of a single element.
            _ => return Ok(None),
        }
        stride *= mask.shape[axis - skipped];
    }
    if mask.shape.is_empty() {
        return Ok(None);
    }
    if mask.element() != Element::Bool {
        let plain = mask.to_plain(pool)?;
        return Ok(plain.as_floats().map(|addends| (addends.to_vec(), strides)));
    }
    let Some(seen) = mask.as_bytes() else { return Ok(None) };
    let addend = |&seen: &u8| if seen != 0 { 0.0 } else { f32::NEG_INFINITY };
    Ok(Some((seen.iter().map(addend).collect(), strides)))
}
