//! Products of matrices of residues: `out[m, n] = sum_k left[m, k] * right[k, n]`, exact.
//!
//! A task is some columns of the result: it packs a stretch of `k` of the right side and passes all rows of the left over it.
//! Sums of a stretch stay below 2^53 and are then reduced.

use crate::prime::Prime;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use std::ops::Range;

/// Products of residues that add up exactly.
const STRETCH: usize = 448;
/// Rows of a tile of sums that stays in registers.
const ROWS: usize = 8;
/// Vectors of a row of it.
const VECTORS: usize = 3;
/// Columns of the widest one.
const MAX_WIDTH: usize = 8 * VECTORS;

/// Multiplies. `left` is row-major, `depth` wide; `fill(rows, columns, width, panel)` writes some of the right side, row k of the
/// stretch at `k * width`. The result is row-major, `n_columns` wide.
pub fn multiply(
    prime: &Prime,
    left: &[f64],
    depth: usize,
    n_columns: usize,
    fill: impl Fn(Range<usize>, Range<usize>, usize, &mut [f64]) + Sync,
) -> Vec<f64> {
    let n_rows = left.len().checked_div(depth).unwrap_or(0);
    let mut out = vec![0.0; n_rows * n_columns];
    if out.is_empty() {
        return out;
    }
    let width = Arch::new().dispatch(Width);
    let work = |columns: Range<usize>| {
        let mut sums = vec![0.0; n_rows * width];
        let mut panel = vec![0.0; STRETCH.min(depth) * width];
        for from in (0..depth).step_by(STRETCH) {
            let rows = from..depth.min(from + STRETCH);
            let panel = &mut panel[..rows.len() * width];
            fill(rows.clone(), columns.clone(), width, panel);
            Arch::new().dispatch(Stretch { prime, left, depth, rows, panel, sums: &mut sums });
        }
        (columns, sums)
    };
    let panels: Vec<Range<usize>> =
        (0..n_columns).step_by(width).map(|from| from..n_columns.min(from + width)).collect();
    // Sums of a batch of panels, so that memory stays within the size of the result.
    for batch in panels.chunks(64) {
        let done: Vec<(Range<usize>, Vec<f64>)> = if n_rows * depth * width < 1 << 14 {
            batch.iter().cloned().map(work).collect()
        } else {
            batch.par_iter().cloned().map(work).collect()
        };
        for (columns, sums) in done {
            for (row, sums) in sums.chunks_exact(width).enumerate() {
                out[row * n_columns..][columns.clone()].copy_from_slice(&sums[..columns.len()]);
            }
        }
    }
    out
}

struct Width;

impl WithSimd for Width {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F64_LANES * VECTORS
    }
}

/// One stretch of `k` for one panel of columns: all rows.
struct Stretch<'a> {
    prime: &'a Prime,
    left: &'a [f64],
    depth: usize,
    rows: Range<usize>,
    panel: &'a [f64],
    sums: &'a mut [f64],
}

impl WithSimd for Stretch<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = S::F64_LANES * VECTORS;
        let n_rows = self.sums.len() / width;
        let (panel, _) = S::as_simd_f64s(self.panel);
        let (panel, _) = pulp::as_arrays::<VECTORS, _>(panel);
        let mut row = 0;
        while row < n_rows {
            let height = ROWS.min(n_rows - row);
            let lines: [&[f64]; ROWS] = std::array::from_fn(|at| {
                // A tile that is not full computes its last row again.
                let at = row + at.min(height - 1);
                &self.left[at * self.depth + self.rows.start..][..self.rows.len()]
            });
            let mut tile = [[simd.splat_f64s(0.0); VECTORS]; ROWS];
            if height == 1 {
                for (k, weights) in panel.iter().enumerate().take(self.rows.len()) {
                    let x = simd.splat_f64s(lines[0][k]);
                    for v in 0..VECTORS {
                        tile[0][v] = simd.mul_add_e_f64s(x, weights[v], tile[0][v]);
                    }
                }
            } else {
                for (k, weights) in panel.iter().enumerate().take(self.rows.len()) {
                    for m in 0..ROWS {
                        let x = simd.splat_f64s(lines[m][k]);
                        for v in 0..VECTORS {
                            tile[m][v] = simd.mul_add_e_f64s(x, weights[v], tile[m][v]);
                        }
                    }
                }
            }
            let mut flat = [[0.0f64; MAX_WIDTH]; ROWS];
            for m in 0..height {
                let (line, _) = S::as_mut_simd_f64s(&mut flat[m]);
                line[..VECTORS].copy_from_slice(&tile[m]);
                let sums = &mut self.sums[(row + m) * width..][..width];
                for (sum, &more) in sums.iter_mut().zip(&flat[m]) {
                    *sum = self.prime.reduce(*sum + more);
                }
            }
            row += height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prime::{primes, scramble};

    #[test]
    fn sums_of_many_products_are_exact() {
        let prime = &primes()[0];
        let (n_rows, depth, n_columns) = (13, 1001, 37);
        let number = |at: usize| prime.residue(scramble(at as u64));
        let left: Vec<f64> = (0..n_rows * depth).map(number).collect();
        let right: Vec<f64> = (0..depth * n_columns).map(|at| number(at + 1_000_000)).collect();
        let found = multiply(prime, &left, depth, n_columns, |rows, columns, width, panel| {
            for (k, line) in rows.zip(panel.chunks_exact_mut(width)) {
                line[..columns.len()].copy_from_slice(&right[k * n_columns..][columns.clone()]);
            }
        });
        for (at, &found) in found.iter().enumerate() {
            let (row, column) = (at / n_columns, at % n_columns);
            let exact: i128 =
                (0..depth).map(|k| left[row * depth + k] as i128 * right[k * n_columns + column] as i128).sum();
            assert_eq!(found, prime.reduce((exact % prime.modulus as i128) as f64));
        }
    }
}
