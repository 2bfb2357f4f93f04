//! Matrix multiplication: `MatMul` and `Gemm`.

use super::tail::Tail;
use super::{Kernel, Prepare, Setup, given};
use crate::broadcast::{Broadcast, broadcast_shape};
use crate::epilogue::Epilogue;
use crate::gemm::Packed;
use crate::matmul::{MatMulShape, Storage, matmul, matmul_packed, pack};
use crate::moves;
use crate::transpose::transpose;
use crate::value::{Layout, Pool, Value, count};
use eutectic_ir::op::Reason;

pub(super) const KERNELS: &[(&str, Prepare)] =
    &[("MatMul", |setup| matmul_with_tail(setup, None, Tail::default())), ("Gemm", gemm)];

/// The constant right side at position 1, packed; `None` when it is not a constant matrix of f32.
fn packed_right(setup: &mut Setup<'_>, storage: Storage) -> Result<Option<Packed>, Reason> {
    let Some(right) = setup.floats(1)?.filter(|right| right.shape.len() == 2) else { return Ok(None) };
    let Some(elements) = right.as_floats() else { return Ok(None) };
    let (depth, columns) = extents(&right.shape, storage);
    let packed = pack(elements, depth, columns, storage);
    setup.pool.reserve(packed.len())?;
    setup.prepared.push(1);
    Ok(Some(packed))
}

/// Depth and columns of a stored right side.
fn extents(shape: &[usize], storage: Storage) -> (usize, usize) {
    let [.., a, b] = shape else { return (0, 0) };
    match storage {
        Storage::Plain => (*a, *b),
        Storage::Transposed => (*b, *a),
    }
}

/// A product of inputs 0 and 1, then the bias at input `bias` (one element per column), then the tail.
pub(crate) fn matmul_with_tail(
    setup: &mut Setup<'_>,
    bias: Option<usize>,
    tail: Tail,
) -> Result<Option<Kernel>, Reason> {
    let packed = packed_right(setup, Storage::Plain)?;
    Ok(Some(Box::new(move |arguments, pool| {
        let Some(left) = given(arguments, 0).filter(|left| left.shape.len() >= 2) else { return Ok(None) };
        let left = left.to_plain(pool)?;
        let (rows, depth) = extents(&left.shape, Storage::Plain);
        let left_batch = &left.shape[..left.shape.len() - 2];
        let right = match (&packed, given(arguments, 1)) {
            (Some(packed), _) if packed.depth() == depth => None,
            (None, Some(right)) if right.shape.len() >= 2 && right.shape[right.shape.len() - 2] == depth => {
                Some(right.to_plain(pool)?)
            }
            _ => return Ok(None),
        };
        let columns = match (&right, &packed) {
            (Some(right), _) => extents(&right.shape, Storage::Plain).1,
            (None, Some(packed)) => packed.n_columns(),
            (None, None) => return Ok(None),
        };
        let right_batch = right.as_ref().map_or(&[][..], |right| &right.shape[..right.shape.len() - 2]);
        let Some(batch) = broadcast_shape(&[left_batch, right_batch]) else { return Ok(None) };
        let out_shape = [batch.as_slice(), &[rows, columns]].concat();
        let bias = match bias.map(|index| given(arguments, index)) {
            None => None,
            // A bias is a row: leading axes of extent 1 do not matter.
            Some(Some(value))
                if value.shape.len() <= out_shape.len()
                    && value.count() == columns
                    && value.shape.last() == Some(&columns) =>
            {
                match value.as_floats() {
                    Some(elements) => Some(elements),
                    None => return Ok(None),
                }
            }
            Some(_) => return Ok(None),
        };
        let Some(gathered) = tail.gather(arguments, &out_shape, Layout::Plain, pool)? else { return Ok(None) };
        let Some(operands) = gathered.operands() else { return Ok(None) };
        let Some(left_elements) = left.as_floats() else { return Ok(None) };
        let epilogue = gathered.epilogue(&tail, bias, &operands);
        match (&packed, &right) {
            (Some(packed), _) => {
                let mut out = pool.take(count(&out_shape)?)?;
                matmul_packed(left_elements, count(&out_shape[..out_shape.len() - 1])?, packed, &epilogue, &mut out);
                Ok(Some(vec![Value::floats(&out_shape, out)]))
            }
            (None, Some(right)) => {
                let Some(right_elements) = right.as_floats() else { return Ok(None) };
                let mut out = pool.take(count(&out_shape)?)?;
                let shape = MatMulShape {
                    batch,
                    left_batch: left_batch.to_vec(),
                    right_batch: right_batch.to_vec(),
                    rows,
                    depth,
                    columns,
                    storage: Storage::Plain,
                };
                matmul(&shape, left_elements, right_elements, &epilogue, &mut out);
                Ok(Some(vec![Value::floats(&out_shape, out)]))
            }
            (None, None) => Ok(None),
        }
    })))
}

/// `alpha * A * B + beta * C` of matrices, either transposed on the way in.
fn gemm(setup: &mut Setup<'_>) -> Result<Option<Kernel>, Reason> {
    let (alpha, beta) = (setup.attrs.float("alpha"), setup.attrs.float("beta"));
    if alpha != Some(1.0) || beta != Some(1.0) {
        return Ok(None);
    }
    let transposed_left = setup.attrs.flag("transA");
    let storage = if setup.attrs.flag("transB") { Storage::Transposed } else { Storage::Plain };
    let packed = packed_right(setup, storage)?;
    Ok(Some(Box::new(move |arguments, pool| {
        let Some(left) = given(arguments, 0).filter(|left| left.shape.len() == 2) else { return Ok(None) };
        let left = if transposed_left { transposed(left, pool)? } else { left.clone() };
        let (rows, depth) = extents(&left.shape, Storage::Plain);
        let packed_now;
        let right = match &packed {
            Some(packed) => packed,
            None => {
                let Some(right) = given(arguments, 1).filter(|right| right.shape.len() == 2) else { return Ok(None) };
                let (depth, columns) = extents(&right.shape, storage);
                let Some(elements) = right.as_floats() else { return Ok(None) };
                packed_now = pack(elements, depth, columns, storage);
                &packed_now
            }
        };
        let columns = right.n_columns();
        if right.depth() != depth {
            return Ok(None);
        }
        let shape = [rows, columns];
        let mut residual = None;
        let mut bias = None;
        if let Some(c) = given(arguments, 2) {
            let Some(elements) = c.as_floats() else { return Ok(None) };
            if broadcast_shape(&[&c.shape, &shape]).as_deref() != Some(&shape) {
                return Ok(None);
            }
            if c.count() == columns && c.shape.last() == Some(&columns) {
                bias = Some(elements);
            } else {
                let mut full = pool.take(count(&shape)?)?;
                moves::expand(&Broadcast::new(&shape, [&c.shape]), elements, &mut full);
                residual = Some(full);
            }
        }
        let Some(elements) = left.as_floats() else { return Ok(None) };
        let mut out = pool.take(count(&shape)?)?;
        let epilogue = Epilogue { bias, residual: residual.as_deref(), ..Epilogue::default() };
        matmul_packed(elements, rows, right, &epilogue, &mut out);
        if let Some(residual) = residual {
            pool.put(residual);
        }
        Ok(Some(vec![Value::floats(&shape, out)]))
    })))
}

/// A matrix of f32 transposed; any other value as it is.
fn transposed(value: &Value, pool: &mut Pool) -> Result<Value, Reason> {
    let (Some(elements), [rows, columns]) = (value.as_floats(), value.shape.as_slice()) else {
        return Ok(value.clone());
    };
    let mut out = pool.take(elements.len())?;
    transpose(&[*rows, *columns], &[1, 0], elements, &mut out);
    Ok(Value::floats(&[*columns, *rows], out))
}
