//! Instances of a rule's left side: small graphs in which it stands, with contents for every input.
//!
//! Calls are drawn one after the other from what they read to what reads them, so that nearly every draw fits; what the
//! conditions refuse is drawn again. `example` lines fix shapes that chance rarely finds.

use super::draw::{Content, Draw, Leaf, Slot};
use super::hints::hints;
use super::random::Random;
use crate::graph_host::GraphHost;
use crate::rules::expr::{Binary, Expr, Mention, Value};
use crate::rules::{Binding, Contract, Host, PatternCall, PatternInput, Rule, Sink, Var, VarArity};
use eutectic_ir::eval::Datum;
use eutectic_ir::graph::{Graph, ValueId};
use eutectic_ir::tensor::{Tensor, count_of};
use eutectic_ir::types::{Element, ElementKind, TensorType};
use eutectic_ir::{Attrs, Name, Op, Reason};

/// How the contents of an instance are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Small whole numbers of either sign, which all arithmetic is exact on.
    Whole,
    /// Between -2 and 2.
    Signed,
    /// Between 1/2 and 2.
    Positive,
    /// Between -12 and 12: exponentials and powers overflow in half precision.
    Wide,
    /// With zeros of both signs, infinities, NaN and the largest numbers among them.
    Special,
}

/// How one instance is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub mode: Mode,
    /// The element type of reals.
    pub real: Element,
    /// True when operators that take reals and integers are given integers.
    pub is_integer: bool,
}

impl Setting {
    pub(super) fn draw(contract: Contract, random: &mut Random) -> Self {
        use Element::{Bfloat16, Double, Float, Float16};
        use Mode::{Positive, Signed, Special, Whole, Wide};
        let (mode, real) = match contract {
            Contract::Exact => (
                random.pick(&[Whole, Signed, Positive, Special]),
                random.pick(&[Double, Double, Float, Float16, Bfloat16]),
            ),
            Contract::ExactFinite => (
                random.pick(&[Whole, Signed, Positive, Wide]),
                random.pick(&[Double, Double, Float, Float16, Bfloat16]),
            ),
            _ if random.one_in(6) => (Wide, Float16),
            _ if random.one_in(8) => (random.pick(&[Signed, Positive]), random.pick(&[Float, Float16, Bfloat16])),
            Contract::Reassociates | Contract::Approximates(_) => (random.pick(&[Whole, Signed, Positive]), Double),
        };
        Self { mode, real, is_integer: real == Double && random.one_in(6) }
    }
}

/// One instance.
#[derive(Clone)]
pub(super) struct Instance {
    pub host: GraphHost,
    /// What the variables of the left side are.
    pub values: Vec<Binding<ValueId>>,
    /// Contents of the graph's inputs, by position; none until they are drawn.
    pub inputs: Vec<Datum<f64>>,
    /// What they are to be.
    unfilled: Vec<Leaf>,
    /// The inputs and weights that were drawn.
    pub leaves: Vec<ValueId>,
}

/// Draws one instance, without the contents of inputs, which no rule sees. Errors: this draw does not fit, another may.
pub(super) fn instance(rule: &Rule, setting: Setting, random: &mut Random) -> Result<Instance, Reason> {
    random.choose_sizes();
    let example = hints(rule, random);
    let constant = constants(rule, &["const", "weight", "same_halves", "ints", "scalar"]);
    let halved = constants(rule, &["same_halves"]);
    let splats = splats(rule);
    let mut maker = Maker {
        rule,
        mode: setting.mode,
        random,
        constant,
        splats,
        halved,
        real: setting.real,
        elements: Vec::new(),
        instance: Instance {
            host: GraphHost::new(Graph::new("instance")),
            values: vec![Binding::Unbound; rule.variables.len()],
            inputs: Vec::new(),
            unfilled: Vec::new(),
            leaves: Vec::new(),
        },
    };
    maker.elements = elements(rule, setting, maker.random);
    for call in order(rule) {
        let mut fixed: Attrs = call.attrs.iter().cloned().collect();
        for hint in &example {
            maker.hint(call, &hint.name, &hint.value, &mut fixed)?;
        }
        maker.call(call, &fixed)?;
    }
    Ok(maker.instance)
}

/// The variables that conditions hand to one of `functions`.
fn constants(rule: &Rule, functions: &[&str]) -> Vec<Var> {
    fn collect(expr: &Expr, functions: &[&str], found: &mut Vec<Var>) {
        match expr {
            Expr::Apply(function, _) if function.name == "not" => {}
            Expr::Apply(function, args) if functions.contains(&function.name) => {
                args.iter().for_each(|arg| {
                    arg.each_mention(&mut |mention| {
                        if let Mention::Var(var) = mention {
                            found.push(var);
                        }
                    });
                });
            }
            Expr::Apply(_, items) | Expr::List(items) => items.iter().for_each(|item| collect(item, functions, found)),
            Expr::Binary(_, a, b) => {
                collect(a, functions, found);
                collect(b, functions, found);
            }
            Expr::Literal(_) | Expr::Var(_) | Expr::Attr(..) => {}
        }
    }
    let mut found = Vec::new();
    rule.conditions.iter().for_each(|condition| collect(&condition.expr, functions, &mut found));
    found
}

/// The variables of conditions `splat (v) == number`, and the number.
fn splats(rule: &Rule) -> Vec<(Var, f64)> {
    let one = |expr: &Expr| match expr {
        Expr::Binary(Binary::Eq, a, b) => match (&**a, &**b) {
            (Expr::Apply(function, args), Expr::Literal(value)) if function.name == "splat" => match args[..] {
                [Expr::Var(var)] => Some((var, value.as_real().ok()?)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    rule.conditions.iter().filter_map(|condition| one(&condition.expr)).collect()
}

/// The calls, each after those it reads.
fn order(rule: &Rule) -> Vec<&PatternCall> {
    let calls = &rule.left.calls;
    let mut order: Vec<&PatternCall> = Vec::new();
    let defined = |order: &[&PatternCall], var: Var| {
        let is_result = calls.iter().any(|call| call.outputs.contains(&Some(var)));
        !is_result || order.iter().any(|call| call.outputs.contains(&Some(var)))
    };
    while let Some(next) = calls.iter().find(|call| {
        let reads = call.inputs.iter().filter_map(input_var);
        !order.iter().any(|done| std::ptr::eq(*done, *call)) && reads.into_iter().all(|var| defined(&order, var))
    }) {
        order.push(next);
    }
    order
}

/// The element type of each variable: variables that a type variable of some operator joins have the same one.
fn elements(rule: &Rule, setting: Setting, random: &mut Random) -> Vec<Element> {
    let mut leader: Vec<usize> = (0..rule.variables.len()).collect();
    fn find(leader: &[usize], mut at: usize) -> usize {
        while leader[at] != at {
            at = leader[at];
        }
        at
    }
    let mut allowed: Vec<Option<Vec<Element>>> = vec![None; leader.len()];
    let mut converts = false;
    for call in &rule.left.calls {
        let Op::Builtin(def) = &call.op else { continue };
        converts |= def.name == "Cast";
        let inputs =
            call.inputs.iter().enumerate().filter_map(|(at, input)| Some((def.input(at)?.ty, input_var(input)?)));
        let outputs = call.outputs.iter().enumerate().filter_map(|(at, var)| Some((def.output(at)?.ty, (*var)?)));
        let typed: Vec<(&str, Var)> = inputs.chain(outputs).collect();
        for (at, (name, var)) in typed.iter().enumerate() {
            let root = find(&leader, var.index());
            if let Some((_, set)) = def.types.iter().find(|(known, _)| known == name) {
                let known = allowed[root].get_or_insert_with(|| Element::ALL.to_vec());
                known.retain(|element| set.contains(element));
            }
            if let Some((_, first)) = typed[..at].iter().find(|(known, _)| known == name) {
                let other = find(&leader, first.index());
                if other != root {
                    leader[root] = other;
                    if let Some(mine) = allowed[root].take() {
                        allowed[other]
                            .get_or_insert_with(|| Element::ALL.to_vec())
                            .retain(|element| mine.contains(element));
                    }
                }
            }
        }
    }
    let real = setting.real;
    let choices = [Element::Float, Element::Double, Element::Int64, Element::Int32, Element::Bool, Element::Float16];
    let chosen: Vec<Element> = allowed
        .iter()
        .map(|allowed| match allowed {
            Some(set) if converts => {
                let fitting: Vec<Element> = choices.iter().copied().filter(|element| set.contains(element)).collect();
                if fitting.is_empty() { real } else { random.pick(&fitting) }
            }
            Some(set) if setting.is_integer && set.contains(&Element::Int64) => Element::Int64,
            Some(set) if !set.contains(&real) => {
                let preferred =
                    [Element::Double, Element::Int64, Element::Bool].into_iter().find(|element| set.contains(element));
                // Of quantized types, one with a sign and one without.
                let others = &set[..set.len().min(2)];
                preferred.unwrap_or_else(|| if others.is_empty() { real } else { random.pick(others) })
            }
            _ => real,
        })
        .collect();
    (0..leader.len()).map(|at| chosen[find(&leader, at)]).collect()
}

fn input_var(input: &PatternInput) -> Option<Var> {
    match input {
        PatternInput::Var(var) | PatternInput::Optional(var) | PatternInput::Rest(var) => Some(*var),
        PatternInput::Absent | PatternInput::Scalar(_) => None,
    }
}

struct Maker<'a> {
    rule: &'a Rule,
    mode: Mode,
    random: &'a mut Random,
    constant: Vec<Var>,
    /// The variables that conditions want to be one number throughout, and that number.
    splats: Vec<(Var, f64)>,
    /// Weights whose rows are one half twice.
    halved: Vec<Var>,
    real: Element,
    /// The element type of each variable.
    elements: Vec<Element>,
    instance: Instance,
}

impl Maker<'_> {
    fn hint(&mut self, call: &PatternCall, name: &Name, value: &Value, fixed: &mut Attrs) -> Result<(), Reason> {
        let Op::Builtin(def) = &call.op else { return Ok(()) };
        if let Some((label, attr)) = name.split_once('.') {
            if call.label.as_deref() == Some(label)
                && let Some(kind) = def.attr(attr).map(|attr| attr.kind)
                && let Some(value) = value.to_attr(kind)?
            {
                fixed.set(attr, value);
            }
            return Ok(());
        }
        let is_named = |input: &PatternInput| input_var(input).is_some_and(|var| self.rule.variable(var).name == *name);
        let Some(at) = call.inputs.iter().position(is_named) else { return Ok(()) };
        let Some(var) = input_var(&call.inputs[at]) else { return Ok(()) };
        if self.instance.values[var.index()] != Binding::Unbound {
            return Ok(());
        }
        let numbers = value.as_ints()?;
        let wants = def.inputs.get(at).and_then(|param| def.types.iter().find(|(name, _)| *name == param.ty));
        let leaf = match wants {
            Some((_, elements)) if elements.iter().all(|element| element.is_integer()) => Leaf::ints(numbers),
            _ => {
                let shape = numbers.iter().map(|&size| size as usize).collect();
                Leaf { element: self.elements[var.index()], shape, content: Content::Drawn }
            }
        };
        let value = self.leaf(&leaf, Some(var))?;
        self.instance.values[var.index()] = Binding::One(value);
        Ok(())
    }

    fn call(&mut self, call: &PatternCall, fixed: &Attrs) -> Result<(), Reason> {
        let Op::Builtin(def) = &call.op else {
            return Err(Reason(format!("`{}` is drawn from its body, not by itself", call.op)));
        };
        // One slot for each input; a rest may be several.
        let mut slots: Vec<Slot> = Vec::new();
        let mut owners: Vec<Option<Var>> = Vec::new();
        let mut scalars: Vec<(usize, f64)> = Vec::new();
        let mut inputs: Vec<Option<ValueId>> = Vec::new();
        for input in &call.inputs {
            if let PatternInput::Scalar(value) = input {
                scalars.push((slots.len(), *value));
            }
            let bound: Vec<Option<ValueId>> = match input_var(input).map(|var| &self.instance.values[var.index()]) {
                None | Some(Binding::Absent) => vec![None],
                Some(Binding::One(value)) => vec![Some(*value)],
                Some(Binding::Rest(values)) => values.iter().copied().map(Some).collect(),
                Some(Binding::Unbound) => {
                    let n = match input {
                        PatternInput::Rest(_) => usize::from(slots.is_empty()) + self.random.below(3),
                        PatternInput::Optional(_) => usize::from(!self.random.one_in(2)),
                        _ => 1,
                    };
                    for _ in 0..n {
                        slots.push(Slot::Missing);
                        owners.push(input_var(input));
                        inputs.push(None);
                    }
                    if n == 0 && matches!(input, PatternInput::Optional(_)) {
                        slots.push(Slot::Absent);
                        owners.push(None);
                        inputs.push(None);
                        if let Some(var) = input_var(input) {
                            self.instance.values[var.index()] = Binding::Absent;
                        }
                    }
                    continue;
                }
            };
            for value in bound {
                slots.push(match value {
                    Some(value) => self.slot(value)?,
                    None => Slot::Absent,
                });
                owners.push(None);
                inputs.push(value);
            }
        }
        let n_outputs = call.outputs.len();
        let mut draw = Draw { def, fixed, slots: &slots, n_outputs, real: self.real, random: self.random };
        let (drawn, leaves) = draw.draw().ok_or_else(|| Reason(format!("no `{}` fits", def.name)))?;
        for (at, leaf) in leaves.iter().enumerate() {
            let Some(leaf) = leaf else { continue };
            let mut leaf = leaf.clone();
            if let (Some(var), false) = (owners[at], matches!(leaf.content, Content::Ints(_))) {
                leaf.element = self.elements[var.index()];
            }
            let value = self.leaf(&leaf, owners[at])?;
            inputs[at] = Some(value);
            self.own(owners[at], value);
        }
        for (at, wanted) in scalars {
            let near = self.neighbour(&inputs).unwrap_or(self.real);
            // An index has not the type of what it is an index into.
            let taken = def.input(at).and_then(|param| def.types.iter().find(|(name, _)| *name == param.ty));
            let element = match taken {
                Some((_, elements)) if !elements.contains(&near) => {
                    if elements.contains(&Element::Int64) {
                        Element::Int64
                    } else {
                        *elements.first().unwrap_or(&near)
                    }
                }
                _ => near,
            };
            // A constant of one element may have axes.
            let shape = vec![1; self.random.pick(&[0, 0, 0, 0, 1, 0, 0, 2])];
            let tensor = Tensor::full(element, &shape, wanted).map_err(|error| Reason(error.to_string()))?;
            inputs[at] = Some(self.instance.host.add_weight(tensor));
        }
        for var in call.inputs.iter().filter_map(input_var) {
            if self.instance.values[var.index()] == Binding::Unbound {
                self.instance.values[var.index()] = Binding::Rest(Default::default());
            }
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let mut attrs = fixed.clone();
        drawn.into_iter().filter(|(name, _)| def.attr(name).is_some()).for_each(|(name, value)| attrs.set(name, value));
        let attrs = def.complete(attrs).map_err(|errors| Reason(format!("{errors:?}")))?;
        let outputs = self.instance.host.call(&call.op, attrs, &inputs, n_outputs)?;
        for (at, value) in outputs.into_iter().enumerate() {
            let name = format!("v{}", value.index());
            self.instance.host.graph.value_mut(value).name = name.into();
            if let Some(var) = call.outputs[at] {
                self.instance.values[var.index()] = Binding::One(value);
            }
        }
        Ok(())
    }

    fn own(&mut self, owner: Option<Var>, value: ValueId) {
        let Some(var) = owner else { return };
        let is_rest = self.rule.variable(var).arity == VarArity::Rest;
        match &mut self.instance.values[var.index()] {
            Binding::Rest(values) => values.push(value),
            slot if is_rest => *slot = Binding::Rest([value].into_iter().collect()),
            slot => *slot = Binding::One(value),
        }
    }

    fn slot(&self, value: ValueId) -> Result<Slot, Reason> {
        let ty = self.instance.host.graph.ty(value).ok_or_else(|| Reason::new("a result has no type"))?;
        let sizes = ty.sizes().ok_or_else(|| Reason::new("a result has no sizes"))?;
        Ok(Slot::Known(ty.element, sizes))
    }

    fn neighbour(&self, inputs: &[Option<ValueId>]) -> Option<Element> {
        inputs.iter().flatten().find_map(|&value| Some(self.instance.host.graph.ty(value)?.element))
    }

    fn leaf(&mut self, leaf: &Leaf, owner: Option<Var>) -> Result<ValueId, Reason> {
        let is_constant = owner.is_some_and(|var| self.constant.contains(&var));
        if let Content::Ints(values) = &leaf.content {
            return Ok(self.instance.host.add_weight(Tensor::vector(values)));
        }
        if let Some((_, number)) = self.splats.iter().find(|(var, _)| owner == Some(*var)) {
            let tensor = Tensor::full(leaf.element, &leaf.shape, *number).map_err(|error| Reason(error.to_string()))?;
            return Ok(self.instance.host.add_weight(tensor));
        }
        let ty = TensorType::new(leaf.element, leaf.shape.iter().map(|&size| size.into()));
        // Two variables of a rule may stand for one value.
        let host = &self.instance.host;
        let alike = |id: &ValueId| host.graph.ty(*id) == Some(&ty) && host.is_constant(*id) == is_constant;
        if let Some(same) = self.instance.leaves.iter().copied().find(alike).filter(|_| leaf.content == Content::Drawn)
            && self.random.one_in(5)
        {
            return Ok(same);
        }
        let too_large = || Reason(format!("the shape {:?} exceeds the address space", leaf.shape));
        let count = count_of(&leaf.shape).ok_or_else(too_large)?;
        count_fits(count).map_err(|error| Reason(error.to_string()))?;
        let is_weight = is_constant || (owner.is_some() && self.random.one_in(6));
        let value = if is_weight {
            let mut contents = Contents { mode: self.mode, random: &mut *self.random };
            let is_halved = owner.is_some_and(|var| self.halved.contains(&var));
            let datum = contents.of(leaf, is_halved, count == 1 && is_constant);
            self.instance.host.add_weight(datum.to_tensor()?)
        } else {
            let name = format!("x{}", self.instance.unfilled.len());
            self.instance.unfilled.push(leaf.clone());
            self.instance.host.input(name.into(), ty)
        };
        self.instance.leaves.push(value);
        Ok(value)
    }
}

impl Instance {
    /// Draws the contents of the inputs.
    pub(super) fn fill(&mut self, mode: Mode, random: &mut Random) {
        let mut contents = Contents { mode, random };
        self.inputs.extend(self.unfilled.drain(..).map(|leaf| contents.of(&leaf, false, false)));
    }
}

/// Draws what tensors hold.
struct Contents<'a> {
    mode: Mode,
    random: &'a mut Random,
}

impl Contents<'_> {
    /// The contents of `leaf`: rows of one half twice where it is halved, and a number that attributes have room for where it is
    /// a single constant.
    fn of(&mut self, leaf: &Leaf, is_halved: bool, is_single: bool) -> Datum<f64> {
        let Leaf { element, shape, content } = leaf;
        // A leaf has a count; where other dims are huge, one of them is 0, and their plain product would overflow before it.
        let count = count_of(shape).unwrap_or(0);
        self.random.is_content = true;
        let datum = match (element.kind(), content) {
            (ElementKind::Real, content) => {
                let is_positive = *content == Content::Positive;
                let mut values: Vec<f64> = (0..count).map(|_| self.number(*element, is_positive, is_single)).collect();
                let row = shape.last().copied().unwrap_or(0);
                if row > 1 && is_halved {
                    values
                        .chunks_exact_mut(row)
                        .for_each(|row| row.copy_within(..row.len() / 2, row.len().div_ceil(2)));
                }
                Datum::of_real(*element, shape, values).rounded()
            }
            (ElementKind::Bool, _) => Datum::of_bool(shape, (0..count).map(|_| self.random.one_in(2)).collect()),
            (_, Content::Below(n)) => {
                let n = *n as i128;
                let index = |drawn: i128| if drawn < n { drawn } else { n - 1 - drawn };
                let values = (0..count).map(|_| index(self.random.below(2 * n as usize) as i128)).collect();
                Datum::of_int(*element, shape, values)
            }
            _ => {
                let values = (0..count).map(|_| self.random.pick(&[0, 1, -1, 2, 3, 5, -2])).collect();
                Datum::of_int(*element, shape, values)
            }
        };
        self.random.is_content = false;
        datum
    }

    fn number(&mut self, element: Element, is_positive: bool, is_single: bool) -> f64 {
        // A rule may read a constant of one element and make an attribute of it, in single precision: these are dyadic.
        if is_single {
            return self.random.pick(&[1.0, 2.0, 0.5, 4.0, 0.25, 3.0, 0.75, -1.0, -2.0, 0.0, 0.125]);
        }
        if self.mode == Mode::Whole {
            return if is_positive { self.random.pick(&[1.0, 2.0, 4.0, 3.0]) } else { self.random.pick(&WHOLE) };
        }
        if self.mode == Mode::Special && !is_positive && self.random.one_in(8) {
            let (largest, least) = match element {
                Element::Float16 => (65504.0, 6e-8),
                Element::Double => (f64::MAX, 5e-324),
                _ => (3e38, 1e-45),
            };
            let nan = f64::NAN;
            let special = [-0.0, f64::INFINITY, f64::NEG_INFINITY, nan, largest, -largest, least, 0.5 * largest];
            return self.random.pick(&special);
        }
        // The first numbers are for shrinking: chance does not find them.
        let chosen = self.random.choose(1 << 53);
        let unit = chosen as f64 / (1u64 << 53) as f64;
        match (self.mode, chosen) {
            (Mode::Positive, at @ 0..4) => [1.0, 2.0, 0.5, 1.5][at as usize],
            (_, at @ 0..4) if is_positive => [1.0, 2.0, 0.5, 1.5][at as usize],
            (_, at @ 0..4) => [0.0, 1.0, -1.0, 2.0][at as usize],
            (Mode::Positive, _) => 0.5 + 1.5 * unit,
            _ if is_positive => 0.5 + 1.5 * unit,
            (Mode::Wide, _) => 24.0 * unit - 12.0,
            _ => 4.0 * unit - 2.0,
        }
    }
}

const WHOLE: [f64; 9] = [0.0, 1.0, -1.0, 2.0, 3.0, -2.0, 5.0, -3.0, 7.0];

fn count_fits(count: usize) -> Result<(), eutectic_ir::tensor::TensorError> {
    // An instance is small; a draw that is not would only take time.
    if count > 1 << 16 { Err(eutectic_ir::tensor::TensorError::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tensor_with_huge_dims_is_filled() {
        let leaf = Leaf { element: Element::Float, shape: vec![1 << 40, 1 << 40, 0], content: Content::Drawn };
        let datum = Contents { mode: Mode::Whole, random: &mut Random::new(1) }.of(&leaf, false, false);
        assert_eq!(datum.to_tensor().map(|tensor| tensor.count()).ok(), Some(0));
    }
}
