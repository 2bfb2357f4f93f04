//! A convolution with the convolution of single pixels that reads its result, with everything behind either.
//!
//! A tile that has all channels of its pixels has everything that the second one wants of them: the result in between is neither written
//! nor read, and one kernel's memory traffic passes while another's products are added.

use super::Pattern;
use super::division::Division;
use eutectic_ir::region::{Epilogues, Role};

pub(super) const PATTERN: Pattern = Pattern {
    name: "chains",
    doc: "convolutions with the convolution of single pixels that reads their result, which is not kept",
    takes: None,
};

/// Lets every anchor that ends a chain take the one whose result only it reads.
pub(super) fn claim(division: &mut Division) {
    if !division.fusions.has_pattern(PATTERN.name) {
        return;
    }
    for at in 0..division.calls.len() {
        let calls = division.calls;
        let Some((_, image)) = calls.inputs(at).next() else { continue };
        let Some(producer) = calls.producer(image) else { continue };
        let from = division.unit_of[producer];
        let before = members(division, from, |epilogues| epilogues.begins_chain);
        let after = members(division, at, |epilogues| epilogues.ends_chain);
        let (Some(before), Some(after)) = (before, after) else { continue };
        let is_last = before.last() == Some(&producer);
        let is_read_once = calls.readers(image).eq([at]) && !calls.is_output(image);
        if !is_last || !is_read_once || division.is_crossed(from, at) {
            continue;
        }
        let mut members = [before, after].concat();
        members.sort_unstable();
        division.replace(at, members, PATTERN.name.into());
    }
}

/// The calls of unit `at`, which begins with the call of that number and has no other anchor, where that one is `able`.
fn members(division: &Division, at: usize, able: fn(&Epilogues) -> bool) -> Option<Vec<usize>> {
    let unit = division.units[at].as_ref()?;
    let anchor = |call: usize| match division.calls.role(call) {
        Some(Role::Anchor(epilogues)) => Some(epilogues),
        _ => None,
    };
    let is_one = unit.calls.iter().all(|&call| call == at || anchor(call).is_none());
    let is_whole = unit.calls[0] == at && is_one && unit.copies.is_empty();
    (is_whole && anchor(at).is_some_and(able)).then(|| unit.calls.clone())
}
