//! A convolution with the convolution of single pixels that reads its result, with everything behind either.
//!
//! A tile that has all channels of its pixels has everything that the second one wants of them: the result in between is neither written
//! nor read, and one kernel's memory traffic passes while another's products are added.

use super::Pattern;
use super::calls::Calls;
use super::division::Division;
use eutectic_ir::region::Role;

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
        let (Some(before), Some(after)) = (begun(division, from), ended(division, at)) else { continue };
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

/// The calls of unit `at`, where it is one anchor that may begin a chain, with what follows it.
fn begun(division: &Division, at: usize) -> Option<Vec<usize>> {
    members(division, at).filter(|_| matches!(division.calls.role(at), Some(Role::Anchor(own)) if own.begins_chain))
}

/// The same of one that may end it.
fn ended(division: &Division, at: usize) -> Option<Vec<usize>> {
    members(division, at).filter(|_| matches!(division.calls.role(at), Some(Role::Anchor(own)) if own.ends_chain))
}

/// The calls of unit `at`, which begins with the call of that number and has no other anchor.
fn members(division: &Division, at: usize) -> Option<Vec<usize>> {
    let unit = division.units[at].as_ref()?;
    let is_anchor = |calls: &Calls, call: usize| matches!(calls.role(call), Some(Role::Anchor(_)));
    let is_one = unit.calls.iter().all(|&call| call == at || !is_anchor(division.calls, call));
    (unit.calls[0] == at && is_one && unit.copies.is_empty()).then(|| unit.calls.clone())
}
