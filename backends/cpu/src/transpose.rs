//! Permuting axes, for elements of any size.

use crate::parallel::{for_each_chunk, is_small};
use rayon::prelude::*;

/// Edge of the square that is transposed at a time: its lines of both sides stay in the first-level cache.
const TILE: usize = 16;

/// The shortest description of a permutation: axes of extent 1 dropped, axes that stay neighbours merged.
/// Returns extents of the input and the permutation.
fn simplify(extents: &[usize], permutation: &[usize]) -> (Vec<usize>, Vec<usize>) {
    // Groups of input axes, in output order.
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &axis in permutation.iter().filter(|&&axis| extents[axis] != 1) {
        match groups.last_mut() {
            // Neighbours, but for axes of extent 1 between them.
            Some(group)
                if group.last().is_some_and(|&last| last < axis && extents[last + 1..axis].iter().all(|&n| n == 1)) =>
            {
                group.push(axis);
            }
            _ => groups.push(vec![axis]),
        }
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&at| groups[at][0]);
    let merged = order.iter().map(|&at| groups[at].iter().map(|&axis| extents[axis]).product()).collect();
    let mut rank_of = vec![0; groups.len()];
    for (rank, at) in order.into_iter().enumerate() {
        rank_of[at] = rank;
    }
    (merged, rank_of)
}

/// True when the permutation moves no element.
pub fn keeps_order(extents: &[usize], permutation: &[usize]) -> bool {
    simplify(extents, permutation).1.len() <= 1
}

/// Permutes the axes of `input`, which has shape `extents`: axis `i` of `out` is axis `permutation[i]` of `input`.
///
/// # Panics
/// When the lengths do not fit, or `permutation` is not one of the axes.
pub fn transpose<T: Copy + Send + Sync>(extents: &[usize], permutation: &[usize], input: &[T], out: &mut [T]) {
    assert_eq!(extents.len(), permutation.len(), "one entry per axis");
    assert_eq!(input.len(), extents.iter().product::<usize>(), "one input per index");
    assert_eq!(input.len(), out.len(), "one output per input");
    if out.is_empty() {
        return;
    }
    let (extents, permutation) = simplify(extents, permutation);
    let rank = extents.len();
    if rank <= 1 {
        out.copy_from_slice(input);
        return;
    }
    let mut strides = vec![1; rank];
    for axis in (0..rank - 1).rev() {
        strides[axis] = strides[axis + 1] * extents[axis + 1];
    }
    let shape: Vec<usize> = permutation.iter().map(|&axis| extents[axis]).collect();
    let steps: Vec<usize> = permutation.iter().map(|&axis| strides[axis]).collect();
    let width = shape[rank - 1];
    if steps[rank - 1] == 1 {
        // Whole lines move.
        let per_task = (4096 / width).max(1);
        for_each_chunk(out, per_task * width, 1, |task_at, out| {
            for (at, line) in out.chunks_exact_mut(width).enumerate() {
                let from = offset(task_at * per_task + at, &shape[..rank - 1], &steps);
                line.copy_from_slice(&input[from..from + width]);
            }
        });
        return;
    }
    // The innermost axis of the input is output axis `fast`. Tiles span it and the innermost axis of the output; the
    // output is cut into blocks in which only the axes from `fast` on vary.
    let fast = steps.iter().position(|&step| step == 1).unwrap_or(0);
    let block: usize = shape[fast..].iter().product();
    let line = block / shape[fast];
    let middle = &shape[fast + 1..rank - 1];
    let (n_middle, column_step) = (middle.iter().product::<usize>(), steps[rank - 1]);
    // When there is one block, its rows are the tasks.
    let rows_per_task = if out.len() / block >= 4 { shape[fast] } else { TILE.max(shape[fast].div_ceil(16)) };
    let tasks_per_block = shape[fast].div_ceil(rows_per_task);
    let mut tasks = Vec::new();
    for (block_at, block) in out.chunks_mut(block).enumerate() {
        let from = offset(block_at, &shape[..fast], &steps);
        for (at, part) in block.chunks_mut(rows_per_task * line).enumerate() {
            tasks.push((from + at * rows_per_task, part));
        }
    }
    debug_assert_eq!(tasks.len() % tasks_per_block, 0);
    let tile = |(from, part): (usize, &mut [T])| {
        let n_rows = part.len() / line;
        for middle_at in 0..n_middle {
            let from = from + offset(middle_at, middle, &steps[fast + 1..]);
            for column in (0..width).step_by(TILE) {
                let n_columns = TILE.min(width - column);
                for row in (0..n_rows).step_by(TILE) {
                    let mut tile = [[input[0]; TILE]; TILE];
                    let tile_rows = TILE.min(n_rows - row);
                    for c in 0..n_columns {
                        let source = &input[from + row + (column + c) * column_step..][..tile_rows];
                        for (r, &value) in source.iter().enumerate() {
                            tile[r][c] = value;
                        }
                    }
                    for (r, values) in tile[..tile_rows].iter().enumerate() {
                        let at = (row + r) * line + middle_at * width + column;
                        part[at..at + n_columns].copy_from_slice(&values[..n_columns]);
                    }
                }
            }
        }
    };
    if is_small(input.len()) {
        tasks.into_iter().for_each(tile);
    } else {
        tasks.into_par_iter().for_each(tile);
    }
}

/// Where the `at`-th index of `shape` lies when its axes advance by `steps`.
fn offset(at: usize, shape: &[usize], steps: &[usize]) -> usize {
    let (mut rest, mut offset) = (at, 0);
    for axis in (0..shape.len()).rev() {
        offset += rest % shape[axis] * steps[axis];
        rest /= shape[axis];
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::for_each_index;

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(n - 1);
        shorter.iter().flat_map(|p| (0..n).map(move |at| [&p[..at], &[n - 1], &p[at..]].concat())).collect()
    }

    #[test]
    fn every_permutation_of_up_to_four_axes_agrees_with_the_definition() {
        for extents in [[2, 3, 4, 5].as_slice(), &[17, 1, 33], &[40, 50], &[1, 3, 20, 1], &[6], &[], &[18, 2, 19, 3]] {
            let input: Vec<u32> = (0..extents.iter().product::<usize>() as u32).collect();
            for permutation in permutations(extents.len()) {
                let shape: Vec<usize> = permutation.iter().map(|&axis| extents[axis]).collect();
                let mut want = Vec::new();
                for_each_index(&shape, |index| {
                    let mut source = vec![0; extents.len()];
                    for (i, &axis) in permutation.iter().enumerate() {
                        source[axis] = index[i];
                    }
                    want.push(input[source.iter().zip(extents).fold(0, |at, (i, n)| at * n + i)]);
                });
                let mut out = vec![u32::MAX; input.len()];
                transpose(extents, &permutation, &input, &mut out);
                assert_eq!(out, want, "{extents:?} {permutation:?}");
            }
        }
    }

    #[test]
    fn axes_of_extent_one_do_not_move_elements() {
        assert!(keeps_order(&[4, 1, 5], &[1, 0, 2]));
        assert!(!keeps_order(&[4, 2, 5], &[1, 0, 2]));
    }
}
