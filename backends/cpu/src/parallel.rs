//! Divides work among threads, where that pays.

use rayon::prelude::*;

/// Element operations below which the caller does all the work: about what waking a thread costs.
const WORTH_A_THREAD: usize = 1 << 15;

/// True when `operations` are so few that dividing them costs more than it gains.
pub(crate) fn is_small(operations: usize) -> bool {
    operations < WORTH_A_THREAD || rayon::current_num_threads() == 1
}

/// Calls `f(at, chunk)` for the `at`-th `chunk_len` elements of `out`, each element costing about `cost` operations.
pub(crate) fn for_each_chunk<T: Send>(
    out: &mut [T],
    chunk_len: usize,
    cost: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if is_small(out.len().saturating_mul(cost)) {
        out.chunks_mut(chunk_len).enumerate().for_each(|(at, chunk)| f(at, chunk));
    } else {
        out.par_chunks_mut(chunk_len).enumerate().for_each(|(at, chunk)| f(at, chunk));
    }
}

/// The same for two slices of one length, each cut alike.
pub(crate) fn for_each_pair<T: Send, U: Sync>(
    out: &mut [T],
    input: &[U],
    chunk_len: usize,
    cost: usize,
    f: impl Fn(usize, &mut [T], &[U]) + Sync,
) {
    for_each_chunk(out, chunk_len, cost, |at, chunk| f(at, chunk, &input[at * chunk_len..][..chunk.len()]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_is_visited_once_with_its_position_however_much_work_there_is() {
        for cost in [1, 1 << 20] {
            let mut out = [0; 10];
            for_each_pair(&mut out, &[7; 10], 4, cost, |at, out, input| {
                out.iter_mut().zip(input).for_each(|(slot, x)| *slot += x + at);
            });
            assert_eq!(out, [7, 7, 7, 7, 8, 8, 8, 8, 9, 9]);
        }
    }
}
