//! Elementwise calls that each reader computes for itself.
//!
//! A value that several kernels read must be written and read again; where its inputs are smaller, or are read by those kernels
//! anyway, computing it once more in each of them is cheaper. Only calls whose inputs are in memory in any case are repeated,
//! so that nothing else has to be kept for them.

use super::Pattern;
use super::division::Division;
use super::price::{Traffic, seconds};
use eutectic_ir::graph::ValueId;
use eutectic_ir::region::Role;
use std::collections::BTreeSet;

pub(super) const PATTERN: Pattern = Pattern {
    name: "recompute",
    doc: "elementwise calls computed again by each kernel that reads them, where that moves fewer bytes",
    takes: None,
};

/// Repeats calls in the units that read them, where that is predicted to take less time.
pub(super) fn repeat(division: &mut Division) {
    if !division.fusions.has_pattern(PATTERN.name) {
        return;
    }
    for at in 0..division.calls.len() {
        if let Some(readers) = profits(division, at) {
            for reader in readers {
                if let Some(unit) = &mut division.units[reader] {
                    unit.copies.insert(at);
                    // A call that stood alone becomes a region.
                    if unit.made_by.is_empty() {
                        unit.made_by = PATTERN.name.into();
                    }
                }
            }
            let home = division.unit_of[at];
            division.units[home].take_if(|unit| unit.calls == [at]);
        }
    }
}

/// The units that should compute call `at` themselves; `None` when it is better computed once.
fn profits(division: &Division, at: usize) -> Option<BTreeSet<usize>> {
    let calls = division.calls;
    let is_pointwise = |call: usize| calls.role(call) == Some(&Role::Pointwise);
    let value = *calls.outputs(at).first()?;
    let home = division.unit_of[at];
    let own = &division.units[home].as_ref()?.calls;
    let is_inside = |value: ValueId| calls.producer(value).is_some_and(|call| own.binary_search(&call).is_ok());
    if !is_pointwise(at) || calls.is_output(value) || calls.reads(at).any(is_inside) {
        return None;
    }
    let readers: BTreeSet<usize> =
        calls.readers(value).map(|call| division.unit_of[call]).filter(|&unit| unit != home).collect();
    // Units that repeat calls already are priced without them.
    let is_open = |&unit: &usize| {
        division.units[unit].as_ref().is_some_and(|unit| unit.copies.is_empty()) && division.is_iteration(unit)
    };
    if readers.is_empty() || !is_open(&home) || !readers.iter().all(is_open) {
        return None;
    }
    let is_read_outside =
        |members: &[usize], value: ValueId| calls.readers(value).any(|reader| members.binary_search(&reader).is_err());
    let time = |members: &[usize], kept: Option<ValueId>| {
        let space = calls.space(members)?;
        let traffic = Traffic::of(calls, members, &|value| Some(value) != kept && is_read_outside(members, value));
        Some(seconds(calls, members, &space, &traffic, division.device))
    };
    let mut gain = time(own, None)?;
    if own.len() > 1 {
        gain -= time(own, Some(value))?;
    }
    for &reader in &readers {
        let members = &division.units[reader].as_ref()?.calls;
        let mut with = members.clone();
        with.push(at);
        with.sort_unstable();
        division.admitted(&with)?;
        gain += time(members, None)? - time(&with, Some(value))?;
    }
    (gain > 0.0).then_some(readers)
}
