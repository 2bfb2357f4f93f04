//! Instances of a rule's left side: small graphs in which it stands, with contents for every input.
//!
//! Calls are drawn one after the other from what they read to what reads them, so that nearly every draw fits; what the
//! conditions refuse is drawn again. `example` lines fix shapes that chance rarely finds.

use super::draw::{Content, Draw, Leaf, Random, Slot};
use super::expr::{Expr, Mention, Value};
use super::{Binding, PatternCall, PatternInput, Rule, Sink, Var};
use crate::graph_host::GraphHost;
use eutectic_ir::eval::{Contents, Datum};
use eutectic_ir::graph::{Graph, ValueId};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::{Element, TensorType};
use eutectic_ir::{Attrs, Name, Op, Reason};

/// How the contents of an instance are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Between -2 and 2.
    Signed,
    /// Between 1/2 and 2.
    Positive,
    /// With zeros of both signs, infinities and NaN among them.
    Special,
}

/// One instance.
pub(super) struct Instance {
    pub host: GraphHost,
    /// What the variables of the left side are.
    pub values: Vec<Binding<ValueId>>,
    /// Contents of the graph's inputs, by position.
    pub inputs: Vec<Datum<f64>>,
}

/// Draws one instance. Errors: this draw does not fit, another may.
pub(super) fn instance(rule: &Rule, mode: Mode, random: &mut Random) -> Result<Instance, Reason> {
    let n_examples = rule.examples.len();
    // Half of the draws do without the hints, so that these never hide a case.
    let is_free = n_examples == 0 || random.one_in(2);
    let example = if is_free { &[][..] } else { &rule.examples[random.below(n_examples)][..] };
    let constant = constants(rule, &["const", "weight", "same_halves", "ints", "scalar"]);
    let halved = constants(rule, &["same_halves"]);
    let mut maker = Maker {
        rule,
        mode,
        random,
        constant,
        halved,
        real: Element::Double,
        elements: Vec::new(),
        instance: Instance {
            host: GraphHost::new(Graph::new("instance")),
            values: vec![Binding::Unbound; rule.variables.len()],
            inputs: Vec::new(),
        },
    };
    maker.elements = elements(rule, maker.random);
    for call in order(rule) {
        let mut fixed: Attrs = call.attrs.iter().cloned().collect();
        for hint in example {
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
fn elements(rule: &Rule, random: &mut Random) -> Vec<Element> {
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
    let choices = [Element::Float, Element::Double, Element::Int64, Element::Int32, Element::Bool, Element::Float16];
    let chosen: Vec<Element> = allowed
        .iter()
        .map(|allowed| match allowed {
            Some(set) if converts => {
                let fitting: Vec<Element> = choices.iter().copied().filter(|element| set.contains(element)).collect();
                if fitting.is_empty() { Element::Double } else { random.pick(&fitting) }
            }
            Some(set) if !set.contains(&Element::Double) => {
                let preferred = [Element::Int64, Element::Bool].into_iter().find(|element| set.contains(element));
                preferred.or(set.first().copied()).unwrap_or(Element::Double)
            }
            _ => Element::Double,
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
            let element = self.neighbour(&inputs).unwrap_or(self.real);
            let tensor = Tensor::full(element, &[], wanted).map_err(|error| Reason(error.to_string()))?;
            inputs[at] = Some(self.instance.host.weight(tensor));
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
        let is_rest = self.rule.variable(var).arity == super::VarArity::Rest;
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
        let fail = |error: eutectic_ir::tensor::TensorError| Reason(error.to_string());
        if let Content::Ints(values) = &leaf.content {
            return Ok(self.instance.host.weight(Tensor::vector(values)));
        }
        let count: usize = leaf.shape.iter().product();
        let datum = match leaf.element.kind() {
            eutectic_ir::types::ElementKind::Real => {
                let is_single = count == 1 && is_constant;
                let mut values: Vec<f64> =
                    (0..count).map(|_| self.number(leaf.content == Content::Positive, is_single)).collect();
                let row = leaf.shape.last().copied().unwrap_or(0);
                if row > 1 && owner.is_some_and(|var| self.halved.contains(&var)) {
                    values
                        .chunks_exact_mut(row)
                        .for_each(|row| row.copy_within(..row.len() / 2, row.len().div_ceil(2)));
                }
                Datum::of_real(leaf.element, &leaf.shape, values).rounded()
            }
            eutectic_ir::types::ElementKind::Bool => {
                Datum::of_bool(&leaf.shape, (0..count).map(|_| self.random.one_in(2)).collect())
            }
            _ => {
                let values = (0..count).map(|_| self.random.below(5) as i128).collect();
                Datum::of_int(leaf.element, &leaf.shape, values)
            }
        };
        if is_constant || (owner.is_some() && self.random.one_in(6)) {
            let tensor = datum.to_tensor()?;
            return Ok(self.instance.host.weight(tensor));
        }
        let name = format!("x{}", self.instance.inputs.len());
        let ty = TensorType::new(leaf.element, leaf.shape.iter().map(|&size| size.into()));
        count_fits(count).map_err(fail)?;
        self.instance.inputs.push(datum);
        Ok(self.instance.host.input(name.into(), ty))
    }

    // Single-element constants become attributes in single precision now and then: they are dyadic, so nothing is lost.
    fn number(&mut self, is_positive: bool, is_single: bool) -> f64 {
        let unit = (self.random.next() >> 11) as f64 / (1u64 << 53) as f64;
        if is_single {
            return (1 + self.random.below(16)) as f64 / 8.0;
        }
        match self.mode {
            Mode::Special if self.random.one_in(8) && !is_positive => {
                self.random.pick(&[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN])
            }
            Mode::Positive => 0.5 + 1.5 * unit,
            _ if is_positive => 0.5 + 1.5 * unit,
            _ => 4.0 * unit - 2.0,
        }
    }
}

fn count_fits(count: usize) -> Result<(), eutectic_ir::tensor::TensorError> {
    // An instance is small; a draw that is not would only take time.
    if count > 1 << 16 { Err(eutectic_ir::tensor::TensorError::TooLarge) } else { Ok(()) }
}

/// True when every element is a finite number.
pub(super) fn is_finite(datum: &Datum<f64>) -> bool {
    match &datum.contents {
        Contents::Real(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    }
}
