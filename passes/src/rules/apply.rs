//! Builds the right side of a rule for one match, in whatever an engine builds in.

use super::expr::{Expr, Value};
use super::matcher::{Binding, Host, Match, View};
use super::{Rule, TemplateCall, TemplateInput, TemplateStep};
use eutectic_ir::attr::{Attr, AttrKind};
use eutectic_ir::op::{Arity, OpDef, Param};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attrs, Dim, Element, Op, Reason};
use smallvec::SmallVec;

/// What right sides are built in.
pub trait Sink: Host {
    /// Adds a call with complete attributes, and gives its outputs. Errors: the inputs do not fit the operator.
    fn call(
        &mut self,
        op: &Op,
        attrs: Attrs,
        inputs: &[Option<Self::Value>],
        n_outputs: usize,
    ) -> Result<SmallVec<[Self::Value; 2]>, Reason>;
    /// Adds a weight.
    fn add_weight(&mut self, tensor: Tensor) -> Self::Value;
    /// The inputs of the graph.
    fn given(&self) -> Vec<Self::Value>;
}

/// What a rule says about one match.
#[derive(Clone, Debug)]
pub struct Applied<V> {
    /// Each value that the left side bound to a root, and what the right side has for it. Their types may still differ:
    /// the engine compares them.
    pub roots: Vec<(V, V)>,
}

/// Builds the right side of `rule` for `found`, in order. Errors: why it cannot be built; what was built by then stays.
pub fn apply<S: Sink>(
    rule: &Rule,
    found: &Match<S::Value, S::Call>,
    sink: &mut S,
) -> Result<Applied<S::Value>, Reason> {
    let mut builder = Builder { rule, found, values: found.values.clone(), sink };
    for step in &rule.right.steps {
        match step {
            TemplateStep::Call(call) => builder.build(call)?,
            TemplateStep::Alias(var, input) => {
                let binding = builder.alias(input)?;
                builder.values[var.index()] = binding;
            }
        }
    }
    let root = |&(left, right): &(super::Var, super::Var)| {
        // A root that nothing reads is bound to nothing.
        let old = found.values[left.index()].one()?;
        Some(builder.values[right.index()].one().map(|new| (old, new)))
    };
    let roots: Option<Vec<_>> = rule.roots.iter().filter_map(root).collect();
    Ok(Applied { roots: roots.ok_or_else(|| Reason::new("a root would stand for an input that is left out"))? })
}

struct Builder<'a, S: Sink> {
    rule: &'a Rule,
    found: &'a Match<S::Value, S::Call>,
    values: Vec<Binding<S::Value>>,
    sink: &'a mut S,
}

impl<S: Sink> Builder<'_, S> {
    fn evaluate(&self, expr: &Expr) -> Result<Value, Reason> {
        let records: Vec<Option<&Attrs>> = self.found.records.iter().map(Option::as_ref).collect();
        expr.evaluate(&View { host: &*self.sink, values: &self.values, records: &records })
    }

    fn build(&mut self, call: &TemplateCall) -> Result<(), Reason> {
        let attrs = self.attrs(call)?;
        let mut inputs: Vec<Option<S::Value>> = Vec::new();
        let mut pending: Vec<(usize, Value)> = Vec::new();
        for input in &call.inputs {
            match input {
                TemplateInput::Absent => inputs.push(None),
                TemplateInput::Var(var) => match &self.values[var.index()] {
                    Binding::One(value) => inputs.push(Some(*value)),
                    Binding::Rest(values) => inputs.extend(values.iter().copied().map(Some)),
                    Binding::Absent | Binding::Unbound => inputs.push(None),
                },
                // Constants take the element type of their neighbours, so these come first.
                TemplateInput::Constant(expr) => {
                    let value = self.evaluate(expr)?;
                    if value != Value::Absent {
                        pending.push((inputs.len(), value));
                    }
                    inputs.push(None);
                }
            }
        }
        let elements: Vec<Option<Element>> =
            pending.iter().map(|(slot, _)| self.element_of(&call.op, *slot, &inputs)).collect();
        for ((slot, value), element) in pending.into_iter().zip(elements) {
            inputs[slot] = Some(self.constant(&value, element)?);
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        let outputs = self.sink.call(&call.op, attrs, &inputs, call.outputs.len())?;
        for (var, value) in call.outputs.iter().zip(outputs) {
            if let Some(var) = var {
                self.values[var.index()] = Binding::One(value);
            }
        }
        Ok(())
    }

    fn alias(&mut self, input: &TemplateInput) -> Result<Binding<S::Value>, Reason> {
        Ok(match input {
            TemplateInput::Absent => Binding::Absent,
            TemplateInput::Var(var) => self.values[var.index()].clone(),
            TemplateInput::Constant(expr) => {
                let value = self.evaluate(expr)?;
                let element = self.root_element();
                Binding::One(self.constant(&value, element)?)
            }
        })
    }

    fn attrs(&self, call: &TemplateCall) -> Result<Attrs, Reason> {
        let mut attrs = Attrs::new();
        if let Some(record) = call.copies.and_then(|at| self.found.records.get(at)?.as_ref()) {
            attrs = record.clone();
        }
        for (name, kind, expr) in &call.attrs {
            attrs.remove(name);
            let value = self.evaluate(expr)?;
            if let Some(attr) = to_attr(&value, *kind)? {
                attrs.set(name.clone(), attr);
            }
        }
        match &call.op {
            Op::Builtin(def) => def.complete(attrs).map_err(|errors| match errors.first() {
                Some(error) => Reason(format!("{}: {error}", def.name)),
                None => Reason::new("the attributes do not fit"),
            }),
            Op::Function(function) => {
                function.complete(attrs).map_err(|names| Reason(format!("{function} has no attribute {names:?}")))
            }
            Op::Opaque(_) => Ok(attrs),
        }
    }

    // The element type that input `slot` of `op` must have, as far as the operator's other inputs tell.
    fn element_of(&self, op: &Op, slot: usize, inputs: &[Option<S::Value>]) -> Option<Element> {
        let element = |value: &Option<S::Value>| Some(self.sink.ty((*value)?)?.element);
        match op {
            Op::Builtin(def) => {
                let variable = param(def, slot)?.ty;
                let alike = |at: &usize| *at != slot && param(def, *at).is_some_and(|param| param.ty == variable);
                let neighbour = (0..inputs.len()).filter(alike).find_map(|at| element(&inputs[at]));
                let only = def.types.iter().find(|(name, _)| *name == variable).map(|(_, elements)| *elements);
                neighbour.or(match only {
                    Some([element]) => Some(*element),
                    _ => self.root_element(),
                })
            }
            Op::Function(_) | Op::Opaque(_) => inputs.iter().find_map(element).or_else(|| self.root_element()),
        }
    }

    fn root_element(&self) -> Option<Element> {
        let types = self.rule.roots.iter().filter_map(|(left, _)| self.sink.ty(self.found.values[left.index()].one()?));
        types.map(|ty| ty.element).next()
    }

    fn constant(&mut self, value: &Value, element: Option<Element>) -> Result<S::Value, Reason> {
        match value {
            Value::List(items) if items.iter().all(|item| matches!(item, Value::Int(_))) => {
                self.dims(&value.as_dims()?)
            }
            Value::Int(dim) if dim.as_known().is_none() => self.dim(dim),
            Value::Int(_) | Value::Real(..) => {
                let element = element.ok_or_else(|| Reason::new("the element type of a constant is not known"))?;
                let tensor = Tensor::full(element, &[], value.as_real()?);
                Ok(self.sink.add_weight(tensor.map_err(|error| Reason(error.to_string()))?))
            }
            _ => Err(Reason(format!("{value} does not make a constant"))),
        }
    }

    fn dims(&mut self, dims: &[Dim]) -> Result<S::Value, Reason> {
        let known: Option<Vec<i64>> = dims.iter().map(Dim::as_known).collect();
        if let Some(known) = known {
            return Ok(self.sink.add_weight(Tensor::vector(&known)));
        }
        let mut parts = Vec::new();
        for dim in dims {
            parts.push(Some(match dim.as_known() {
                Some(size) => self.sink.add_weight(Tensor::vector(&[size])),
                None => self.dim(dim)?,
            }));
        }
        let attrs = [("axis", Attr::Int(0))].into_iter().collect();
        self.built_in("Concat", attrs, &parts)
    }

    // A symbolic dim is read off the shape of an input, so that all rules read it off the same one, or of a matched value that
    // has it. A root's shape would make a loop.
    fn dim(&mut self, dim: &Dim) -> Result<S::Value, Reason> {
        let is_root = |at: usize| self.rule.roots.iter().any(|(left, _)| left.index() == at);
        let matched = self.found.values.iter().enumerate().filter(|(at, _)| !is_root(*at));
        let mut holders = self.sink.given().into_iter().chain(matched.filter_map(|(_, binding)| binding.one()));
        let place = holders.find_map(|value| {
            let axis = self.sink.ty(value)?.shape.iter().position(|found| found == dim)?;
            Some((value, axis as i64))
        });
        let (value, axis) = place.ok_or_else(|| Reason(format!("no matched value has the dim {dim}")))?;
        let attrs = [("start", Attr::Int(axis)), ("end", Attr::Int(axis + 1))].into_iter().collect();
        self.built_in("Shape", attrs, &[Some(value)])
    }

    fn built_in(&mut self, name: &str, attrs: Attrs, inputs: &[Option<S::Value>]) -> Result<S::Value, Reason> {
        let def = eutectic_ir::ops::lookup("", name).ok_or_else(|| Reason(format!("there is no operator `{name}`")))?;
        let attrs = def.complete(attrs).map_err(|_| Reason(format!("the attributes of `{name}` do not fit")))?;
        let outputs = self.sink.call(&Op::Builtin(def), attrs, inputs, 1)?;
        outputs.first().copied().ok_or_else(|| Reason(format!("`{name}` gives no value")))
    }
}

fn to_attr(value: &Value, kind: Option<AttrKind>) -> Result<Option<Attr>, Reason> {
    let guessed = match value {
        Value::Int(_) | Value::Bool(_) | Value::Element(_) => AttrKind::Int,
        Value::Real(..) => AttrKind::Float,
        Value::Text(_) => AttrKind::String,
        Value::List(_) => AttrKind::Ints,
        Value::Attr(attr) => attr.kind(),
        Value::Absent | Value::Tensor(_) => AttrKind::Tensor,
    };
    value.to_attr(kind.unwrap_or(guessed))
}

/// The declaration of input `index`; the last one stands for all further ones when it is variadic.
pub(super) fn param(def: &'static OpDef, index: usize) -> Option<&'static Param> {
    def.inputs.get(index).or_else(|| def.inputs.last().filter(|last| last.arity == Arity::Variadic))
}
