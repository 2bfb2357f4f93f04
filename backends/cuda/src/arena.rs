//! Where results lie: buffers whose lives do not overlap share memory.

use crate::plan::{Content, Plan};

/// Alignment of every buffer, in bytes.
const ALIGNMENT: usize = 256;

/// Offsets of the arena's buffers, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arena {
    /// By buffer; 0 for those that lie elsewhere.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub bytes: usize,
    /// Bytes of all results together, as if nothing were shared.
    pub unshared: usize,
}

/// Places the largest buffers first, each at the lowest offset at which no buffer that lives at the same time lies.
pub(crate) fn arena(plan: &Plan) -> Arena {
    let n = plan.buffers.len();
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; n];
    let mut touch = |buffer: usize, step: usize| {
        let (first, last) = lives[buffer].get_or_insert((step, step));
        (*first, *last) = ((*first).min(step), (*last).max(step));
    };
    for (at, step) in plan.steps.iter().enumerate() {
        step.reads.iter().chain(&step.writes).for_each(|&buffer| touch(buffer, at));
    }
    for (view, _) in &plan.outputs {
        touch(view.buffer, plan.steps.len());
    }
    let size = |buffer: usize| plan.buffers[buffer].bytes.max(1).next_multiple_of(ALIGNMENT);
    let mut open: Vec<(usize, (usize, usize))> = lives
        .iter()
        .enumerate()
        .filter(|(at, _)| plan.buffers[*at].content == Content::Arena)
        .filter_map(|(at, life)| Some((at, (*life)?)))
        .collect();
    open.sort_by_key(|&(buffer, _)| (std::cmp::Reverse(size(buffer)), buffer));
    let mut arena = Arena { offsets: vec![0; n], bytes: 0, unshared: 0 };
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    for (buffer, life) in open {
        let len = size(buffer);
        let mut at = 0;
        // `placed` is ordered by offset, so one pass finds the lowest gap.
        for &(start, end, (first, last)) in &placed {
            if first <= life.1 && life.0 <= last {
                if at + len <= start {
                    break;
                }
                at = at.max(end);
            }
        }
        arena.offsets[buffer] = at;
        arena.bytes = arena.bytes.max(at + len);
        arena.unshared += len;
        let place = placed.partition_point(|&(start, ..)| start < at);
        placed.insert(place, (at, at + len, life));
    }
    arena
}
