//! Batched matrix multiplication with broadcasting, as ONNX's `MatMul` after shapes are known.

use crate::chain::Operand;
use crate::epilogue::Epilogue;
use crate::gemm::{Left, Packed, Run, Starts, multiply};
use rayon::prelude::*;

/// How the elements of a right side are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// `[depth, columns]`.
    Plain,
    /// `[columns, depth]`.
    Transposed,
}

/// Packs one matrix of `depth` by `columns`. Worth doing once for a constant.
///
/// # Panics
/// When `data` does not have `depth * columns` elements.
pub fn pack(data: &[f32], depth: usize, columns: usize, storage: Storage) -> Packed {
    assert_eq!(data.len(), depth * columns, "one element per row and column");
    Packed::new(1, depth, columns, |_, range, width, panel| match storage {
        Storage::Plain => {
            for (k, line) in panel.chunks_exact_mut(width).enumerate() {
                line[..range.len()].copy_from_slice(&data[k * columns..][range.clone()]);
            }
        }
        Storage::Transposed => {
            // A cache line of each column at a time: columns are far apart, often by a power of two.
            for first in (0..depth).step_by(16) {
                let count = 16.min(depth - first);
                for (n, column) in range.clone().enumerate() {
                    for (k, value) in data[column * depth + first..][..count].iter().enumerate() {
                        panel[(first + k) * width + n] = *value;
                    }
                }
            }
        }
    })
}

/// `out[rows, columns] = epilogue(left[rows, depth] * right)`.
///
/// # Panics
/// When the lengths do not fit.
pub fn matmul_packed(left: &[f32], n_rows: usize, right: &Packed, epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let depth = right.depth();
    assert_eq!(left.len(), n_rows * depth, "one element per row and step");
    let runs = [Run { offset: 0, len: depth }];
    let left = Left { data: left, n_rows, starts: Starts::Strided(depth), runs: &runs, group_stride: 0 };
    multiply(&left, right, epilogue, out);
}

/// The extents of one batched multiplication: `[batch.., rows, depth] x [batch.., depth, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatMulShape {
    /// Batch extents of the output.
    pub batch: Vec<usize>,
    /// Batch extents of the left side, broadcast to `batch` (same rank or shorter).
    pub left_batch: Vec<usize>,
    /// Batch extents of the right side, broadcast to `batch` (same rank or shorter).
    pub right_batch: Vec<usize>,
    /// Rows of a left matrix.
    pub rows: usize,
    /// Columns of a left matrix, rows of a right one.
    pub depth: usize,
    /// Columns of a right matrix.
    pub columns: usize,
    /// How a right matrix is stored.
    pub storage: Storage,
}

/// Multiplies batches; the right side is packed on the way. The epilogue's residual has the output's shape.
///
/// # Panics
/// When the lengths do not fit the shape.
pub fn matmul(shape: &MatMulShape, left: &[f32], right: &[f32], epilogue: &Epilogue<'_>, out: &mut [f32]) {
    let MatMulShape { rows, depth, columns, storage, .. } = *shape;
    let n_batch: usize = shape.batch.iter().product();
    assert_eq!(out.len(), n_batch * rows * columns, "one output per batch, row and column");
    epilogue.check(columns, out.len());
    if out.is_empty() {
        return;
    }
    let right_len = depth * columns;
    if shape.right_batch.iter().product::<usize>() == 1 && shape.left_batch.iter().product::<usize>() == n_batch {
        // One right side for all: the batch is just more rows.
        return matmul_packed(left, n_batch * rows, &pack(&right[..right_len], depth, columns, storage), epilogue, out);
    }
    let left_at = offsets(&shape.batch, &shape.left_batch);
    let right_at = offsets(&shape.batch, &shape.right_batch);
    out.par_chunks_mut(rows * columns).enumerate().for_each(|(at, out)| {
        let packed = pack(&right[right_at[at] * right_len..][..right_len], depth, columns, storage);
        let residual = epilogue.residual.map(|all| &all[at * rows * columns..][..rows * columns]);
        let operands: Vec<Operand<'_>> = epilogue
            .chain
            .map_or(&[][..], |(_, operands)| operands)
            .iter()
            .map(|operand| operand.part(at * rows * columns, rows * columns))
            .collect();
        let chain = epilogue.chain.map(|(chain, _)| (chain, operands.as_slice()));
        let epilogue = Epilogue { residual, chain, ..*epilogue };
        matmul_packed(&left[left_at[at] * rows * depth..][..rows * depth], rows, &packed, &epilogue, out);
    });
}

/// For each index of `full`, the row-major index into `part`, which is broadcast to it.
fn offsets(full: &[usize], part: &[usize]) -> Vec<usize> {
    let skipped = full.len() - part.len();
    let mut offsets = Vec::new();
    crate::window::for_each_index(full, |index| {
        let at = index[skipped..].iter().zip(part).fold(0, |at, (&i, &n)| at * n + if n == 1 { 0 } else { i });
        offsets.push(at);
    });
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, noise};
    use crate::unary::Unary;

    fn check(batch: &[usize], left_batch: &[usize], right_batch: &[usize], rows: usize, depth: usize, columns: usize) {
        for storage in [Storage::Plain, Storage::Transposed] {
            let shape = MatMulShape {
                batch: batch.to_vec(),
                left_batch: left_batch.to_vec(),
                right_batch: right_batch.to_vec(),
                rows,
                depth,
                columns,
                storage,
            };
            let n_batch: usize = batch.iter().product();
            let left = noise(1, left_batch.iter().product::<usize>() * rows * depth);
            let right = noise(2, right_batch.iter().product::<usize>() * depth * columns);
            let (bias, residual) = (noise(3, columns), noise(4, n_batch * rows * columns));
            let mut want = Vec::new();
            for (l, r) in offsets(batch, left_batch).into_iter().zip(offsets(batch, right_batch)) {
                for m in 0..rows {
                    for n in 0..columns {
                        let element = |k| match storage {
                            Storage::Plain => right[(r * depth + k) * columns + n],
                            Storage::Transposed => right[(r * columns + n) * depth + k],
                        };
                        let sum: f64 =
                            (0..depth).map(|k| left[(l * rows + m) * depth + k] as f64 * element(k) as f64).sum();
                        want.push(((sum as f32) + bias[n] + residual[want.len()]).max(-0.25));
                    }
                }
            }
            let activation = Some(Unary::Clip { min: -0.25, max: f32::INFINITY });
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), activation, chain: None };
            let mut out = vec![f32::NAN; want.len()];
            matmul(&shape, &left, &right, &epilogue, &mut out);
            assert_close(&out, &want, 1e-5);
        }
    }

    #[test]
    fn product_agrees_with_the_definition_for_awkward_extents() {
        for (rows, depth, columns) in [(1, 1, 1), (1, 7, 3), (13, 5, 66), (100, 33, 17), (7, 2000, 30), (3, 0, 4)] {
            check(&[], &[], &[], rows, depth, columns);
        }
    }

    #[test]
    fn batches_broadcast_on_both_sides() {
        check(&[2, 3], &[2, 3], &[2, 3], 4, 5, 6);
        check(&[2, 3], &[3], &[2, 1], 4, 5, 6);
        check(&[2, 3], &[2, 3], &[], 4, 5, 6);
        check(&[2, 3], &[], &[2, 3], 4, 5, 6);
        check(&[0], &[0], &[1], 4, 5, 6);
    }

    #[test]
    fn index_of_a_broadcast_batch_ignores_its_axes_of_extent_one() {
        assert_eq!(offsets(&[2, 3], &[2, 1]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(offsets(&[2, 3], &[3]), [0, 1, 2, 0, 1, 2]);
    }
}
