//! A division of calls into units, each of which one kernel runs.
//!
//! Guarantees: every call belongs to at most one unit, and what none computes, every unit that reads it repeats; units can be
//! put in an order of execution, since none needs what needs it.

use super::calls::Calls;
use super::price::{Traffic, seconds};
use super::{Fusions, PATTERNS};
use crate::cost::Device;
use eutectic_ir::graph::ValueId;
use eutectic_ir::region::Role;
use std::collections::BTreeSet;

/// Calls that one kernel runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Positions of the calls, ascending.
    pub calls: Vec<usize>,
    /// Calls that it repeats for itself, whose results only it reads.
    pub copies: BTreeSet<usize>,
    /// What brought them together: a pattern, or the fused function that they stem from; empty for a single call.
    pub made_by: String,
}

impl Unit {
    fn of(calls: Vec<usize>, made_by: String) -> Self {
        Self { calls, copies: BTreeSet::new(), made_by }
    }

    /// Whether it computes `call`.
    pub fn computes(&self, call: usize) -> bool {
        self.calls.binary_search(&call).is_ok() || self.copies.contains(&call)
    }

    /// Everything that it computes, ascending.
    pub fn members(&self) -> Vec<usize> {
        let mut members: Vec<usize> = self.calls.iter().chain(&self.copies).copied().collect();
        members.sort_unstable();
        members
    }
}

pub(super) struct Division<'a> {
    pub calls: &'a Calls<'a>,
    pub fusions: &'a Fusions,
    pub device: &'a Device,
    /// The unit of each call.
    pub unit_of: Vec<usize>,
    pub units: Vec<Option<Unit>>,
}

impl<'a> Division<'a> {
    /// Every call is a unit.
    pub fn new(calls: &'a Calls<'a>, fusions: &'a Fusions, device: &'a Device) -> Self {
        let alone = |at| Some(Unit::of(vec![at], String::new()));
        Self {
            calls,
            fusions,
            device,
            unit_of: (0..calls.len()).collect(),
            units: (0..calls.len()).map(alone).collect(),
        }
    }

    /// Whether unit `at` iterates over a shape, so that others of its kind may join it.
    pub fn is_iteration(&self, at: usize) -> bool {
        let joins = |&call: &usize| self.calls.role(call).is_some_and(|role| !matches!(role, Role::Anchor(_)));
        self.units[at].as_ref().is_some_and(|unit| unit.calls.iter().all(joins))
    }

    /// Whether unit `at` is still the one call that it began as.
    pub fn is_alone(&self, at: usize) -> bool {
        self.units[at].as_ref().is_some_and(|unit| unit.made_by.is_empty())
    }

    /// Lets `calls`, each in a unit of its own or in those listed, be unit `to`.
    pub fn replace(&mut self, to: usize, calls: Vec<usize>, made_by: String) {
        for &call in &calls {
            self.units[self.unit_of[call]] = None;
        }
        for &call in &calls {
            self.unit_of[call] = to;
        }
        self.units[to] = Some(Unit::of(calls, made_by));
    }

    /// Every call joins the units of what it reads, where one kernel can run both, the fusions admit it and it pays; until
    /// nothing changes.
    pub fn merge(&mut self) {
        let mut changes = true;
        while std::mem::take(&mut changes) {
            for at in 0..self.calls.len() {
                if !self.is_iteration(self.unit_of[at]) {
                    continue;
                }
                let read: Vec<ValueId> = self.calls.inputs(at).map(|(_, value)| value).collect();
                for producer in read.into_iter().filter_map(|value| self.calls.producer(value)) {
                    let (from, to) = (self.unit_of[producer], self.unit_of[at]);
                    if from != to && self.is_iteration(from) {
                        changes |= self.join(from, to);
                    }
                }
            }
        }
    }

    fn join(&mut self, from: usize, to: usize) -> bool {
        let (Some(a), Some(b)) = (&self.units[from], &self.units[to]) else { return false };
        let mut both: Vec<usize> = a.calls.iter().chain(&b.calls).copied().collect();
        both.sort_unstable();
        let Some(made_by) = self.admitted(&both) else { return false };
        let Some(time) = self.seconds(&both) else { return false };
        let apart = self.seconds(&a.calls).zip(self.seconds(&b.calls)).map(|(a, b)| a + b);
        if apart.is_some_and(|apart| apart < time) || self.is_crossed(from, to) {
            return false;
        }
        self.replace(to, both, made_by);
        true
    }

    /// What lets `members` share a kernel: the pattern that they are, when it is asked for, or the fused function that all of
    /// them stem from.
    pub fn admitted(&self, members: &[usize]) -> Option<String> {
        let roles: Vec<&Role> = members.iter().map(|&at| self.calls.role(at)).collect::<Option<_>>()?;
        let pattern = PATTERNS.iter().find(|pattern| pattern.takes.is_some_and(|takes| takes(&roles)))?;
        let origin = self.calls.origin(members[0]);
        let one = origin.filter(|_| members.iter().all(|&at| self.calls.origin(at) == origin));
        let function = one.map(|origin| self.calls.abilities.origins[origin].as_str());
        self.fusions.admits(pattern.name, function)
    }

    /// The predicted time of a kernel of `members`; `None` when they are not one.
    pub fn seconds(&self, members: &[usize]) -> Option<f64> {
        let space = self.calls.space(members)?;
        let is_read_elsewhere =
            |value: ValueId| self.calls.readers(value).any(|reader| members.binary_search(&reader).is_err());
        let traffic = Traffic::of(self.calls, members, &is_read_elsewhere);
        let fits = traffic.reads.len() + traffic.writes.len() <= self.calls.abilities.limits.operands;
        (fits || members.len() == 1).then(|| seconds(self.calls, members, &space, &traffic, self.device))
    }

    /// Whether something outside of two units, of which `to` reads `from`, needs `from` and is needed by `to`. The other way
    /// round there is nothing, since no unit needs what needs it.
    pub fn is_crossed(&self, from: usize, to: usize) -> bool {
        let mut open: Vec<usize> = self.successors(from).filter(|&unit| unit != to).collect();
        let mut seen: BTreeSet<usize> = open.iter().copied().collect();
        while let Some(unit) = open.pop() {
            for next in self.successors(unit) {
                if next == to {
                    return true;
                }
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        false
    }

    fn successors(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        let calls = self.units[unit].iter().flat_map(|unit| &unit.calls);
        let values = calls.flat_map(|&call| self.calls.outputs(call));
        values
            .flat_map(|&value| self.calls.readers(value))
            .map(|reader| self.unit_of[reader])
            .filter(move |&next| next != unit)
    }

    /// The units in an order of execution: each after those that it reads from, and otherwise as early as the last of its own
    /// calls stands.
    pub fn scheduled(mut self) -> Vec<Unit> {
        let n = self.units.len();
        let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); n];
        let mut frees: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); n];
        for (at, unit) in self.units.iter().enumerate().filter_map(|(at, unit)| Some((at, unit.as_ref()?))) {
            let reads = unit.members().into_iter().flat_map(|call| self.calls.reads(call).collect::<Vec<_>>());
            for producer in reads.filter_map(|value| self.calls.producer(value)).filter(|&call| !unit.computes(call)) {
                waits[at].insert(self.unit_of[producer]);
                frees[self.unit_of[producer]].insert(at);
            }
        }
        let place = |unit: &Option<Unit>| unit.as_ref().and_then(|unit| unit.calls.last().copied());
        let places: Vec<Option<usize>> = self.units.iter().map(place).collect();
        let mut ready: BTreeSet<(usize, usize)> =
            (0..n).filter(|&unit| waits[unit].is_empty()).filter_map(|unit| Some((places[unit]?, unit))).collect();
        let mut order = Vec::new();
        while let Some((_, unit)) = ready.pop_first() {
            order.push(unit);
            for &next in &frees[unit] {
                waits[next].remove(&unit);
                if let Some(place) = places[next].filter(|_| waits[next].is_empty()) {
                    ready.insert((place, next));
                }
            }
        }
        order.into_iter().filter_map(|unit| self.units[unit].take()).collect()
    }
}
