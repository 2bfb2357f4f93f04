//! Products and convolutions of quantized numbers, with what dequantizes their operands and everything elementwise behind them.
//!
//! `DequantizeLinear` around a product says that it may be computed on the stored numbers, its scales behind the sums. Each kernel
//! dequantizes for itself, so that a value that several of them read is in memory only as it was quantized.

use super::Pattern;
use super::calls::Calls;
use super::division::Division;
use super::epilogues::{is_elementwise, needs};
use eutectic_ir::region::Role;

pub(super) const PATTERN: Pattern = Pattern {
    name: "quantized",
    doc: "products and convolutions of quantized numbers, with what dequantizes their operands and the elementwise calls behind them",
    takes: None,
};

/// Lets every anchor that can read its operands as they are stored take them so, and what follows it.
pub(super) fn claim(division: &mut Division) {
    if !division.fusions.has_pattern(PATTERN.name) {
        return;
    }
    for at in 0..division.calls.len() {
        let calls = division.calls;
        if !matches!(calls.role(at), Some(Role::Anchor(epilogues)) if epilogues.dequantizes) {
            continue;
        }
        let members = followed(calls, at, &|call| division.unit_of[call] != call);
        let read = members.iter().flat_map(|&call| calls.inputs(call).map(move |(slot, value)| (call, slot, value)));
        let copies = read.filter_map(|(call, slot, value)| {
            let producer = calls.producer(value).filter(|&producer| dequantizes(calls, producer))?;
            let is_operand = call == at && slot < 2;
            let is_beside = calls.role(producer) == Some(&Role::Pointwise)
                && calls.shape(value) == calls.shape(calls.outputs(at)[0])
                && call != at;
            (is_operand || is_beside).then_some(producer)
        });
        let copies = copies.collect();
        division.replace(at, members, PATTERN.name.into());
        if let Some(unit) = &mut division.units[at] {
            unit.copies = copies;
        }
    }
}

/// Leaves out what dequantizes for readers that all do it themselves.
pub(super) fn leave_out_repeated(division: &mut Division) {
    for at in (0..division.calls.len()).filter(|&at| dequantizes(division.calls, at)) {
        let value = division.calls.outputs(at)[0];
        let repeats = |reader: usize| {
            let unit = division.units[division.unit_of[reader]].as_ref();
            unit.is_some_and(|unit| unit.copies.contains(&at))
        };
        if division.calls.is_output(value) || !division.calls.readers(value).all(repeats) {
            continue;
        }
        let home = division.unit_of[at];
        if let Some(unit) = &mut division.units[home] {
            unit.calls.retain(|&call| call != at);
            if unit.members().len() == 1 {
                unit.made_by.clear();
            }
        }
        division.units[home].take_if(|unit| unit.calls.is_empty());
    }
}

fn dequantizes(calls: &Calls, at: usize) -> bool {
    calls.name(at) == "DequantizeLinear"
}

/// `anchor` and the elementwise calls behind it, each the only reader of the one before, up to where numbers are quantized again.
fn followed(calls: &Calls, anchor: usize, is_taken: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let mut members = vec![anchor];
    let mut current = calls.outputs(anchor)[0];
    while !calls.is_output(current) && calls.name(members[members.len() - 1]) != "QuantizeLinear" {
        let mut readers: Vec<usize> = calls.readers(current).collect();
        readers.dedup();
        let &[next] = readers.as_slice() else { break };
        let &[result] = calls.outputs(next) else { break };
        let mut others = calls.inputs(next).map(|(_, value)| value).filter(|&value| value != current);
        if is_taken(next) || !is_elementwise(calls, next, current) || others.any(|value| needs(calls, value, anchor)) {
            break;
        }
        members.push(next);
        current = result;
    }
    members
}
