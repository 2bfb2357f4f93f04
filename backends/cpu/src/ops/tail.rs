//! What a fused call does after its product, and fused calls that are pointwise from end to end.

use super::{Arguments, Kernel, given};
use crate::broadcast::broadcast_shape;
use crate::chain::{Chain, Operand};
use crate::epilogue::Epilogue;
use crate::parallel::for_each_chunk;
use crate::simd::vectorized;
use crate::unary::Unary;
use crate::value::{Layout, Pool, Value, count};
use eutectic_ir::op::Reason;

/// Adds one input, then applies an activation, or any chain of pointwise operators.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tail {
    /// Position of the input that is added, same shape as the output.
    pub residual: Option<usize>,
    /// Applied after the addition.
    pub activation: Option<Unary>,
    /// Applied last, with the positions of the inputs that are its operands.
    pub chain: Option<(Chain, Vec<usize>)>,
}

/// The operands of a tail, in the layout of its output.
pub(crate) struct TailValues {
    residual: Option<Value>,
    /// Each with whether it is a row.
    operands: Vec<(Value, bool)>,
}

impl Tail {
    /// Brings the operands to the layout of an output of `shape`; `None` when one does not fit.
    pub fn gather(
        &self,
        arguments: &Arguments,
        shape: &[usize],
        layout: Layout,
        pool: &mut Pool,
    ) -> Result<Option<TailValues>, Reason> {
        let residual = match self.residual.map(|index| given(arguments, index)) {
            None => None,
            Some(Some(value)) if value.shape == shape => match arranged(value, layout, pool)? {
                Some(value) => Some(value),
                None => return Ok(None),
            },
            Some(_) => return Ok(None),
        };
        let mut operands = Vec::new();
        for &index in self.chain.iter().flat_map(|(_, positions)| positions) {
            let Some(value) = given(arguments, index) else { return Ok(None) };
            match operand(value, shape, layout, pool)? {
                Some(operand) => operands.push(operand),
                None => return Ok(None),
            }
        }
        Ok(Some(TailValues { residual, operands }))
    }
}

impl TailValues {
    /// The operands of the chain as slices.
    pub fn operands(&self) -> Option<Vec<Operand<'_>>> {
        let mut slices = Vec::new();
        for (value, is_row) in &self.operands {
            let elements = value.as_floats()?;
            slices.push(if *is_row { Operand::Row(elements) } else { Operand::Full(elements) });
        }
        Some(slices)
    }

    /// The epilogue of a product with `bias`; `operands` are those of [`TailValues::operands`].
    pub fn epilogue<'a>(
        &'a self,
        tail: &'a Tail,
        bias: Option<&'a [f32]>,
        operands: &'a [Operand<'a>],
    ) -> Epilogue<'a> {
        Epilogue {
            bias,
            residual: self.residual.as_ref().and_then(Value::as_floats),
            activation: tail.activation,
            chain: tail.chain.as_ref().map(|(chain, _)| (chain, operands)),
        }
    }

    /// Gives back memory that was made for the operands.
    pub fn recycle(self, pool: &mut Pool) {
        self.residual
            .into_iter()
            .chain(self.operands.into_iter().map(|(value, _)| value))
            .for_each(|value| pool.recycle(value));
    }
}

/// `value` in `layout`, when it is of f32.
fn arranged(value: &Value, layout: Layout, pool: &mut Pool) -> Result<Option<Value>, Reason> {
    match layout {
        Layout::ChannelsLast => value.to_channels_last(pool),
        Layout::Plain => value.to_plain(pool).map(|value| value.as_floats().is_some().then_some(value)),
    }
}

/// `value` as an operand of an output of `shape`, and whether it is one row of it; `None` when it is neither.
fn operand(value: &Value, shape: &[usize], layout: Layout, pool: &mut Pool) -> Result<Option<(Value, bool)>, Reason> {
    if value.as_floats().is_none() {
        return Ok(None);
    }
    if value.shape == shape {
        return Ok(arranged(value, layout, pool)?.map(|value| (value, false)));
    }
    let column_axis = match layout {
        Layout::ChannelsLast => 1,
        Layout::Plain => shape.len().saturating_sub(1),
    };
    let Some(skipped) = shape.len().checked_sub(value.shape.len()) else { return Ok(None) };
    if shape.is_empty() || !(0..value.shape.len()).all(|axis| value.shape[axis] == 1 || axis + skipped == column_axis) {
        return Ok(None);
    }
    let n_columns = shape[column_axis];
    if let (Some(single), true) = (value.as_single(), n_columns != 1) {
        let mut row = pool.take(n_columns)?;
        row.fill(single);
        return Ok(Some((Value::floats(&[n_columns], row), true)));
    }
    Ok((value.count() == n_columns).then(|| (value.clone(), true)))
}

/// Elements that one task works on.
const PIECE: usize = 8192;

/// A call that is a chain from end to end: it starts from its operands alone.
pub(crate) fn pointwise(tail: Tail) -> Option<Kernel> {
    tail.chain.as_ref()?;
    Some(Box::new(move |arguments, pool| {
        let Some((chain, positions)) = &tail.chain else { return Ok(None) };
        let values: Option<Vec<&Value>> = positions.iter().map(|&index| given(arguments, index)).collect();
        let Some(values) = values else { return Ok(None) };
        let shapes: Vec<&[usize]> = values.iter().map(|value| value.shape.as_slice()).collect();
        let Some(shape) = broadcast_shape(&shapes) else { return Ok(None) };
        let len = count(&shape)?;
        let is_image = values.iter().any(|value| value.layout == Layout::ChannelsLast && value.shape == shape);
        let layout = if is_image { Layout::ChannelsLast } else { Layout::Plain };
        let Some(gathered) = tail.gather(arguments, &shape, layout, pool)? else { return Ok(None) };
        let Some(operands) = gathered.operands() else { return Ok(None) };
        let has_rows = operands.iter().any(|operand| matches!(operand, Operand::Row(_)));
        let n_columns = match (has_rows, layout) {
            (false, _) => len,
            (true, Layout::ChannelsLast) => shape[1],
            (true, Layout::Plain) => shape.last().copied().unwrap_or(1),
        };
        let mut out = pool.take(len)?;
        for_each_chunk(&mut out, PIECE, chain.cost(), |chunk_at, out| {
            vectorized(
                #[inline(always)]
                || {
                    let mut done = 0;
                    while done < out.len() {
                        let at = chunk_at * PIECE + done;
                        let piece = (n_columns - at % n_columns).min(out.len() - done);
                        chain.apply(at, at % n_columns, &operands, &mut out[done..done + piece]);
                        done += piece;
                    }
                },
            );
        });
        drop(operands);
        gathered.recycle(pool);
        Ok(Some(vec![Value::stored(&shape, layout, out)]))
    }))
}
