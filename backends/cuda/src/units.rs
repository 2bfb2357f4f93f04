//! Which calls become one kernel: fused calls with a product or convolution, and regions of pointwise calls and rows.

use crate::flat::{Flat, FlatCall, ValueAt};
use crate::pointwise::{RowOperator, pointwise, row_operator};
use crate::product::Activation;
use crate::region::MAX_COLUMNS;
use crate::view::Class;
use std::collections::BTreeSet;

/// Calls of a region, and operands of its kernel, at most.
const MAX_MEMBERS: usize = 48;

/// Calls that one kernel runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Positions in the list of calls, in order.
    pub calls: Vec<usize>,
    /// What runs them.
    pub kind: Kind,
}

/// What runs a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A generated kernel over one shape.
    Region,
    /// A product or convolution, the first call, with what follows it.
    Anchor(Epilogue),
    /// Anything else: one call.
    Single,
}

/// What follows a product or convolution in its kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epilogue {
    /// A row that is added, of products only.
    pub bias: Option<ValueAt>,
    /// A tensor of the result's shape that is added.
    pub residual: Option<ValueAt>,
    /// What comes at the end; GELU of products only.
    pub activation: Activation,
}

/// How a call may be part of a region.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Role {
    /// One element of the result from one of each input.
    Pointwise,
    /// Rows of the first input; the axes of its columns.
    Row(RowOperator, Vec<usize>),
    /// One element of the result from a looked-up place; both inputs must be in memory.
    Lookup,
}

/// The role of `call`, if it has one.
pub(crate) fn role(flat: &Flat, call: &FlatCall) -> Option<Role> {
    let known = |at: usize| call.input(at).map(|value| &flat.values[value]);
    let first = known(0)?;
    if let Some((operator, axes)) = row_operator(call, &first.shape, &|at| known(at)?.constant.as_ref()?.to_i64s()) {
        return Some(Role::Row(operator, axes));
    }
    if call.is("Gather") {
        return Some(Role::Lookup);
    }
    let n = call.inputs.iter().flatten().count();
    let class = Class::of(first.element);
    let element = flat.values[*call.outputs.first()?].element;
    pointwise(call, element, n, class, &|_| None).map(|_| Role::Pointwise)
}

/// The iteration of a region: its shape, and how many trailing axes are columns.
pub(crate) type Space = (Vec<usize>, usize);

/// Divides the calls into units, in an order in which they may run. With `fuse` false every call is a unit of its own.
pub(crate) fn units(flat: &Flat, fuse: bool) -> Vec<Unit> {
    let roles: Vec<Option<Role>> = flat.calls.iter().map(|call| role(flat, call)).collect();
    let mut division = Division::new(flat, roles);
    if fuse {
        division.claim_groups();
        division.form_regions();
    }
    division.scheduled()
}

struct Division<'a> {
    flat: &'a Flat,
    roles: Vec<Option<Role>>,
    /// The call that computes each value.
    producer: Vec<Option<usize>>,
    /// The calls that read each value.
    readers: Vec<Vec<usize>>,
    /// The unit of each call.
    unit_of: Vec<usize>,
    units: Vec<Option<Unit>>,
}

impl<'a> Division<'a> {
    fn new(flat: &'a Flat, roles: Vec<Option<Role>>) -> Self {
        let mut producer = vec![None; flat.values.len()];
        let mut readers = vec![Vec::new(); flat.values.len()];
        for (at, call) in flat.calls.iter().enumerate() {
            call.outputs.iter().for_each(|&value| producer[value] = Some(at));
            call.inputs.iter().flatten().for_each(|&value| readers[value].push(at));
        }
        let kind = |at: usize| match (&roles[at], &flat.calls[at]) {
            (Some(_), _) => Kind::Region,
            (None, call) if call.is("Conv") || call.is("MatMul") => Kind::Anchor(Epilogue::default()),
            _ => Kind::Single,
        };
        let units = (0..flat.calls.len()).map(|at| Some(Unit { calls: vec![at], kind: kind(at) })).collect();
        let unit_of = (0..flat.calls.len()).collect();
        Self { flat, roles, producer, readers, unit_of, units }
    }

    /// Products and convolutions take in what follows them in their fused call.
    fn claim_groups(&mut self) {
        for at in 0..self.flat.calls.len() {
            let call = &self.flat.calls[at];
            let Some(Unit { kind: Kind::Anchor(_), .. }) = &self.units[at] else { continue };
            let Some(group) = call.group else { continue };
            // Libraries have no epilogues in double precision, and no products of integers.
            if Class::of(self.flat.values[call.outputs[0]].element) != Class::Real {
                continue;
            }
            let is_product = call.is("MatMul");
            let (mut epilogue, mut calls) = (Epilogue::default(), vec![at]);
            let mut current = call.outputs[0];
            while let [next] = self.readers[current][..] {
                let call = &self.flat.calls[next];
                if call.group != Some(group) || self.flat.outputs.contains(&current) {
                    break;
                }
                let other = call.inputs.iter().flatten().copied().find(|&value| value != current);
                let shape = &self.flat.values[current].shape;
                match (call.op.name(), other) {
                    ("Add", Some(other))
                        if is_product && epilogue == Epilogue::default() && self.is_row(other, shape) =>
                    {
                        epilogue.bias = Some(other);
                    }
                    ("Add", Some(other)) if epilogue.residual.is_none() && self.flat.values[other].shape == *shape => {
                        epilogue.residual = Some(other);
                    }
                    ("Relu", _) => epilogue.activation = Activation::Relu,
                    ("Gelu", _) if is_product => {
                        let is_tanh = call.attrs.string("approximate") == Some("tanh");
                        epilogue.activation = if is_tanh { Activation::GeluTanh } else { Activation::Gelu };
                    }
                    _ => break,
                }
                calls.push(next);
                current = call.outputs[0];
                if epilogue.activation != Activation::None {
                    break;
                }
            }
            // The kernel runs where its last call stands; nothing that it reads may need one of its calls.
            let other_inputs = [epilogue.bias, epilogue.residual];
            let waits = other_inputs.iter().flatten().any(|&value| self.needs(value, at));
            if calls.len() > 1 && !waits {
                for &call in &calls {
                    self.units[call] = None;
                    self.unit_of[call] = at;
                }
                self.units[at] = Some(Unit { calls, kind: Kind::Anchor(epilogue) });
            }
        }
    }

    fn is_row(&self, value: ValueAt, shape: &[usize]) -> bool {
        let known = &self.flat.values[value];
        known.constant.is_some()
            && known.shape.last() == shape.last()
            && known.shape.iter().rev().skip(1).all(|&size| size == 1)
    }

    /// Whether computing `value` needs the result of call `target`.
    fn needs(&self, value: ValueAt, target: usize) -> bool {
        let (mut open, mut seen) = (vec![value], BTreeSet::new());
        while let Some(value) = open.pop() {
            let Some(call) = self.producer[value] else { continue };
            if call == target {
                return true;
            }
            if call > target && seen.insert(call) {
                open.extend(self.flat.calls[call].inputs.iter().flatten());
            }
        }
        false
    }

    /// Every call joins the regions of what it reads, as long as one kernel can run them.
    fn form_regions(&mut self) {
        for at in 0..self.flat.calls.len() {
            if self.roles[at].is_none() || !self.is_region(self.unit_of[at]) {
                continue;
            }
            for value in self.flat.calls[at].inputs.iter().flatten() {
                let Some(producer) = self.producer[*value] else { continue };
                let (from, to) = (self.unit_of[producer], self.unit_of[at]);
                if from != to && self.is_region(from) {
                    self.merge(from, to);
                }
            }
        }
    }

    fn is_region(&self, unit: usize) -> bool {
        matches!(&self.units[unit], Some(Unit { kind: Kind::Region, .. }))
    }

    fn merge(&mut self, from: usize, to: usize) {
        let (Some(a), Some(b)) = (&self.units[from], &self.units[to]) else { return };
        let mut calls: Vec<usize> = a.calls.iter().chain(&b.calls).copied().collect();
        calls.sort_unstable();
        if calls.len() > MAX_MEMBERS || self.space(&calls).is_none() || self.is_crossed(from, to) {
            return;
        }
        for &call in &calls {
            self.unit_of[call] = to;
        }
        self.units[from] = None;
        self.units[to] = Some(Unit { calls, kind: Kind::Region });
    }

    /// The iteration of the region of `calls`; `None` when they are not one region.
    fn space(&self, calls: &[usize]) -> Option<Space> {
        let space = space(self.flat, &self.roles, calls)?;
        let row_shape = row_shape(&space);
        let is_inside =
            |value: ValueAt| self.producer[value].is_some_and(|producer| calls.binary_search(&producer).is_ok());
        for &at in calls {
            let call = &self.flat.calls[at];
            for (position, value) in call.inputs.iter().enumerate().filter_map(|(at, value)| Some((at, (*value)?))) {
                let shape = &self.flat.values[value].shape;
                let fits = match &self.roles[at] {
                    Some(Role::Lookup) | None => false,
                    Some(Role::Row(..)) => position == 0 && *shape == space.0,
                    Some(Role::Pointwise) => *shape == space.0 || *shape == row_shape,
                };
                if is_inside(value) && !fits {
                    return None;
                }
            }
        }
        Some(space)
    }

    /// Whether something outside of two units needs one and is needed by the other.
    fn is_crossed(&self, from: usize, to: usize) -> bool {
        let reaches = |start: usize, target: usize| {
            let mut open: Vec<usize> = self.successors(start).filter(|&unit| unit != target).collect();
            let mut seen: BTreeSet<usize> = open.iter().copied().collect();
            while let Some(unit) = open.pop() {
                for next in self.successors(unit) {
                    if next == target {
                        return true;
                    }
                    if next != start && seen.insert(next) {
                        open.push(next);
                    }
                }
            }
            false
        };
        reaches(from, to) || reaches(to, from)
    }

    fn successors(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        let calls = self.units[unit].iter().flat_map(|unit| &unit.calls);
        let values = calls.flat_map(|&call| &self.flat.calls[call].outputs);
        values
            .flat_map(|&value| &self.readers[value])
            .map(|&reader| self.unit_of[reader])
            .filter(move |&next| next != unit)
    }

    /// The units, each after those that it reads from, and otherwise as early as their calls stand.
    fn scheduled(self) -> Vec<Unit> {
        let n = self.units.len();
        let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); n];
        let mut frees: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); n];
        for (unit, calls) in self.units.iter().enumerate().filter_map(|(at, unit)| Some((at, &unit.as_ref()?.calls))) {
            for &value in calls.iter().flat_map(|&call| self.flat.calls[call].inputs.iter().flatten()) {
                if let Some(producer) =
                    self.producer[value].map(|call| self.unit_of[call]).filter(|&other| other != unit)
                {
                    waits[unit].insert(producer);
                    frees[producer].insert(unit);
                }
            }
        }
        let place = |unit: usize| self.units[unit].as_ref().and_then(|unit| unit.calls.last().copied()).unwrap_or(0);
        let mut ready: BTreeSet<(usize, usize)> = (0..n)
            .filter(|&unit| self.units[unit].is_some() && waits[unit].is_empty())
            .map(|unit| (place(unit), unit))
            .collect();
        let mut order = Vec::new();
        while let Some((_, unit)) = ready.pop_first() {
            order.push(unit);
            for &next in &frees[unit] {
                waits[next].remove(&unit);
                if waits[next].is_empty() {
                    ready.insert((place(next), next));
                }
            }
        }
        let mut units = self.units;
        order.into_iter().filter_map(|unit| units[unit].take()).collect()
    }
}

/// `shape` with its column axes of size one.
pub(crate) fn row_shape((shape, n_columns): &Space) -> Vec<usize> {
    let rows = shape.len() - n_columns;
    shape.iter().enumerate().map(|(axis, &size)| if axis < rows { size } else { 1 }).collect()
}

/// The iteration that all of `calls` fit in; `None` when there is none. A single call may have its columns anywhere.
pub(crate) fn space(flat: &Flat, roles: &[Option<Role>], calls: &[usize]) -> Option<Space> {
    let mut space: Option<Space> = None;
    for &at in calls {
        if let Some(Role::Row(_, axes)) = &roles[at] {
            let shape = &flat.values[flat.calls[at].input(0)?].shape;
            let first = shape.len() - axes.len();
            if !axes.iter().copied().eq(first..shape.len()) || shape[first..].iter().product::<usize>() > MAX_COLUMNS {
                return None;
            }
            match &space {
                None => space = Some((shape.clone(), axes.len())),
                Some((known, n)) if known == shape && *n == axes.len() => {}
                Some(_) => return None,
            }
        }
    }
    let outputs = calls.iter().map(|&at| &flat.values[flat.calls[at].outputs[0]].shape);
    let space = match space {
        Some(space) => space,
        None => (outputs.clone().next()?.clone(), 0),
    };
    let row_shape = row_shape(&space);
    for (&at, shape) in calls.iter().zip(outputs) {
        let is_reduction = matches!(&roles[at], Some(Role::Row(RowOperator::Reduce(_), _)));
        if !is_reduction && *shape != space.0 && (space.1 == 0 || *shape != row_shape) {
            return None;
        }
    }
    Some(space)
}
