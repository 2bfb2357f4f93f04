//! The two convolutions of a residual block that changes sizes, with everything behind their sum.
//!
//! `Relu (Add (Conv (h, w), Conv (x, v)))` adds two sums over different depths. One kernel that continues the first sum with the
//! products of the second needs neither a launch for the shortcut nor memory for its result.

use super::Pattern;
use super::calls::Calls;
use super::division::Division;
use eutectic_ir::region::{Epilogues, Role};

pub(super) const PATTERN: Pattern = Pattern {
    name: "shortcuts",
    doc: "convolutions with the convolution of their residual connection, added in the same sums",
    takes: None,
};

/// Lets every anchor that adds the result of another one, which nothing else reads, take that one too.
pub(super) fn claim(division: &mut Division) {
    if !division.fusions.has_pattern(PATTERN.name) {
        return;
    }
    for at in 0..division.calls.len() {
        let Some(Role::Anchor(first)) = division.calls.role(at) else { continue };
        let Some(unit) = division.units[at].as_ref().filter(|unit| unit.calls[0] == at && unit.copies.is_empty())
        else {
            continue;
        };
        let Some(other) = residual(division.calls, &unit.calls) else { continue };
        let Some(Role::Anchor(second)) = division.calls.role(other) else { continue };
        let fits = |takes: &Epilogues, is: &Epilogues| takes.takes_shortcut && is.is_shortcut;
        if !(fits(first, second) || fits(second, first)) || !division.is_alone(other) || division.is_crossed(other, at)
        {
            continue;
        }
        let mut members = unit.calls.clone();
        members.push(other);
        members.sort_unstable();
        division.replace(at, members, PATTERN.name.into());
    }
}

/// The call whose result, of the same shape, is added to that of the first of `members` before anything else, and is read nowhere else.
fn residual(calls: &Calls, members: &[usize]) -> Option<usize> {
    let (&first, &at) = (members.first()?, members.get(1)?);
    let sums = calls.outputs(first)[0];
    let beside = calls.inputs(at).map(|(_, value)| value).find(|&value| value != sums);
    let beside = beside.filter(|&value| calls.name(at) == "Add" && calls.shape(value) == calls.shape(sums))?;
    let is_read_here = calls.readers(beside).all(|reader| reader == at) && !calls.is_output(beside);
    calls.producer(beside).filter(|_| is_read_here)
}
