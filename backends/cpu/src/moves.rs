//! Operators that only move data: gather, concatenate, slice, pad, expand. Elements are bytes in runs of any size, so
//! that one kernel serves every element type.

use crate::broadcast::Broadcast;
use crate::parallel::for_each_chunk;
use crate::window::for_each_index;
use rayon::prelude::*;

/// Bytes that a task should at least move.
const PIECE: usize = 1 << 16;

/// Gathers along the middle axis of `[outer, extent, inner bytes]`: `out` is `[outer, indices, inner bytes]`.
/// Indices are in range; negative ones are resolved by the caller.
///
/// # Panics
/// When the lengths do not fit or an index is out of range.
pub fn gather(extent: usize, inner: usize, indices: &[usize], input: &[u8], out: &mut [u8]) {
    if out.is_empty() {
        return;
    }
    let line = indices.len() * inner;
    assert_eq!(out.len() * extent, input.len() * indices.len(), "outer and inner extents agree");
    let copy = |at: usize, out: &mut [u8]| {
        let (outer, index) = (at / indices.len(), indices[at % indices.len()]);
        assert!(index < extent, "an index is within the axis");
        out.copy_from_slice(&input[(outer * extent + index) * inner..][..inner]);
    };
    debug_assert_eq!(out.len() % line, 0);
    if out.len() >= 2 * PIECE {
        let per_task = (PIECE / inner).max(1);
        out.par_chunks_mut(per_task * inner).enumerate().for_each(|(task_at, out)| {
            out.chunks_exact_mut(inner).enumerate().for_each(|(at, out)| copy(task_at * per_task + at, out));
        });
    } else {
        out.chunks_exact_mut(inner).enumerate().for_each(|(at, out)| copy(at, out));
    }
}

/// Concatenates: part `i` is `[outer, line bytes of part i]`, and `out` has their lines side by side.
///
/// # Panics
/// When the lengths do not fit.
pub fn concat(outer: usize, parts: &[&[u8]], out: &mut [u8]) {
    assert_eq!(out.len(), parts.iter().map(|part| part.len()).sum::<usize>(), "one output per input");
    if out.is_empty() {
        return;
    }
    let lines: Vec<usize> = parts.iter().map(|part| part.len() / outer).collect();
    let line: usize = lines.iter().sum();
    let fill = |at: usize, mut out: &mut [u8]| {
        for (part, &len) in parts.iter().zip(&lines) {
            let (head, tail) = out.split_at_mut(len);
            head.copy_from_slice(&part[at * len..][..len]);
            out = tail;
        }
    };
    if out.len() >= 2 * PIECE {
        out.par_chunks_mut(line).with_min_len(PIECE.div_ceil(line)).enumerate().for_each(|(at, out)| fill(at, out));
    } else {
        out.chunks_exact_mut(line).enumerate().for_each(|(at, out)| fill(at, out));
    }
}

/// One axis of a slice: `count` elements from `start`, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// First element.
    pub start: usize,
    /// Distance to the next one; may be negative.
    pub step: isize,
    /// Number of elements.
    pub count: usize,
}

/// Slices `input` of shape `extents` (elements of `size` bytes) by one cut per axis.
///
/// # Panics
/// When the lengths do not fit or a cut leaves its axis.
pub fn slice(size: usize, extents: &[usize], cuts: &[Cut], input: &[u8], out: &mut [u8]) {
    assert_eq!(extents.len(), cuts.len(), "one cut per axis");
    assert_eq!(out.len(), size * cuts.iter().map(|cut| cut.count).product::<usize>(), "one output per index");
    if out.is_empty() {
        return;
    }
    // Inner axes that are taken whole move as one run, together with a contiguous piece of the axis around them.
    let mut inner = extents.len();
    let mut run = size;
    while inner > 0 && cuts[inner - 1] == (Cut { start: 0, step: 1, count: extents[inner - 1] }) {
        inner -= 1;
        run *= extents[inner];
    }
    let mut steps = vec![run as isize; inner];
    for axis in (0..inner.saturating_sub(1)).rev() {
        steps[axis] = steps[axis + 1] * extents[axis + 1] as isize;
    }
    let base: isize = (0..inner).map(|axis| cuts[axis].start as isize * steps[axis]).sum();
    let mut counts: Vec<usize> = cuts[..inner].iter().map(|cut| cut.count).collect();
    let mut strides: Vec<isize> = (0..inner).map(|axis| cuts[axis].step * steps[axis]).collect();
    if let (Some(&count), Some(1)) = (counts.last(), cuts[..inner].last().map(|cut| cut.step)) {
        run *= count;
        counts.pop();
        strides.pop();
    }
    let mut out = out.chunks_exact_mut(run);
    for_each_index(&counts, |index| {
        let from = base + index.iter().zip(&strides).map(|(&i, stride)| i as isize * stride).sum::<isize>();
        if let Some(line) = out.next() {
            line.copy_from_slice(&input[from as usize..][..run]);
        }
    });
}

/// Places `input` of shape `extents` (elements of `size` bytes) into `out` of shape `full`, `begin` elements in on
/// each axis, and fills the rest with `value`.
///
/// # Panics
/// When the lengths do not fit.
pub fn pad(
    size: usize,
    extents: &[usize],
    begin: &[usize],
    full: &[usize],
    value: &[u8],
    input: &[u8],
    out: &mut [u8],
) {
    assert_eq!(value.len(), size, "the value is one element");
    assert_eq!(out.len(), size * full.iter().product::<usize>(), "one output per index");
    assert!((0..full.len()).all(|axis| begin[axis] + extents[axis] <= full[axis]), "the input lies within the output");
    out.chunks_exact_mut(size).for_each(|slot| slot.copy_from_slice(value));
    let Some((&width, outer)) = extents.split_last() else {
        out.copy_from_slice(input);
        return;
    };
    let run = width * size;
    if run == 0 {
        return;
    }
    let mut lines = input.chunks_exact(run);
    for_each_index(outer, |index| {
        let line = index.iter().zip(begin).zip(full).fold(0, |at, ((i, b), n)| at * n + i + b);
        let at = (line * full[outer.len()] + begin[outer.len()]) * size;
        if let Some(source) = lines.next() {
            out[at..at + run].copy_from_slice(source);
        }
    });
}

/// Repeats `input` over the shape of `walk`.
///
/// # Panics
/// When the lengths do not fit.
pub fn expand<T: Copy + Send + Sync>(walk: &Broadcast<1>, input: &[T], out: &mut [T]) {
    assert_eq!(walk.len(), out.len(), "one output per element of the broadcast shape");
    let [step] = walk.inner();
    for_each_chunk(out, PIECE, 1, |chunk_at, out| {
        let first = chunk_at * PIECE;
        walk.for_pieces(first..first + out.len(), |at, [from], count| {
            let out = &mut out[at - first..][..count];
            if step == 0 { out.fill(input[from]) } else { out.copy_from_slice(&input[from..from + count]) }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(n: usize) -> Vec<u8> {
        (0..n).map(|i| i as u8).collect()
    }

    #[test]
    fn gathered_lines_follow_the_indices_and_may_repeat() {
        let mut out = [0; 12];
        gather(4, 2, &[3, 0, 3], &bytes(16), &mut out);
        assert_eq!(out, [6, 7, 0, 1, 6, 7, 14, 15, 8, 9, 14, 15]);
    }

    #[test]
    fn a_long_gather_is_divided_without_gaps() {
        let table: Vec<u8> = (0..100u8).flat_map(|i| [i; 700]).collect();
        let indices: Vec<usize> = (0..300).map(|i| i * 7 % 100).collect();
        let mut out = vec![255; 300 * 700];
        gather(100, 700, &indices, &table, &mut out);
        assert!(out.chunks(700).zip(&indices).all(|(line, &index)| line.iter().all(|&b| b == index as u8)));
    }

    #[test]
    fn concatenated_lines_stand_side_by_side() {
        let mut out = [0; 8];
        concat(2, &[&[1, 2], &[], &[3, 4, 5, 6, 7, 8]], &mut out);
        assert_eq!(out, [1, 3, 4, 5, 2, 6, 7, 8]);
    }

    #[test]
    fn slices_step_in_both_directions_on_any_axis() {
        let whole = |count| Cut { start: 0, step: 1, count };
        let input = bytes(24);
        let cases = [
            (vec![whole(2), whole(3), whole(4)], bytes(24)),
            (vec![Cut { start: 1, step: 1, count: 1 }, whole(3), whole(4)], (12..24).collect()),
            (
                vec![whole(2), Cut { start: 2, step: -2, count: 2 }, Cut { start: 1, step: 1, count: 2 }],
                vec![9, 10, 1, 2, 21, 22, 13, 14],
            ),
            (
                vec![
                    Cut { start: 1, step: -1, count: 2 },
                    Cut { start: 0, step: 1, count: 1 },
                    Cut { start: 3, step: -3, count: 2 },
                ],
                vec![15, 12, 3, 0],
            ),
            (vec![whole(2), Cut { start: 0, step: 1, count: 0 }, whole(4)], vec![]),
        ];
        for (cuts, want) in cases {
            let mut out = vec![255; want.len()];
            slice(1, &[2, 3, 4], &cuts, &input, &mut out);
            assert_eq!(out, want, "{cuts:?}");
        }
    }

    #[test]
    fn padding_surrounds_the_input_with_the_value() {
        let mut out = [0; 24];
        pad(2, &[1, 2], &[1, 0], &[3, 4], &[8, 9], &[1, 2, 3, 4], &mut out);
        assert_eq!(out, [8, 9, 8, 9, 8, 9, 8, 9, 1, 2, 3, 4, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9]);
    }

    #[test]
    fn expansion_repeats_axes_of_extent_one() {
        let mut out = [0i64; 12];
        expand(&Broadcast::new(&[2, 3, 2], [&[3, 1]]), &[7, 8, 9], &mut out);
        assert_eq!(out, [7, 7, 8, 8, 9, 9, 7, 7, 8, 8, 9, 9]);
    }
}
