//! The walk over a graph, and where its weights come from.

use crate::value::Value;
use eutectic_ir::eval::{Carrier, Datum, EvalError, walk_graph};
use eutectic_ir::graph::{Graph, Node, Op};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attr, Attrs, Reason};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// How tensors were computed that a graph now holds as weights.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    steps: Vec<Step>,
    by_key: FxHashMap<u128, (usize, usize)>,
    /// Tensors that stand for themselves.
    known: FxHashSet<u128>,
}

/// One call that was computed.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    attrs: Attrs,
    inputs: Vec<Option<Tensor>>,
    n_outputs: usize,
}

impl Origins {
    /// Nothing was computed; the real tensors of `graph` and of the functions that it calls stand for themselves.
    pub fn of(graph: &Graph) -> Self {
        let mut origins = Self::default();
        origins.add(graph);
        origins
    }

    fn add(&mut self, graph: &Graph) {
        let weights = graph.values().filter_map(|(_, value)| value.weight());
        let attributes = graph.nodes().flat_map(|(_, node)| node.attrs.iter()).filter_map(|(_, attr)| match attr {
            Attr::Tensor(tensor) => Some(tensor),
            _ => None,
        });
        self.known.extend(weights.chain(attributes).filter(|tensor| tensor.element().is_real()).map(key));
        for (_, node) in graph.nodes() {
            if let Op::Function(function) = &node.op {
                self.add(&function.body);
            }
        }
    }

    /// The call `op` of `inputs` gave `results`. Calls are told in the order in which they were computed.
    pub fn computed(&mut self, op: &Op, attrs: &Attrs, inputs: &[Option<Tensor>], results: &[Tensor]) {
        let step = self.steps.len();
        let mut is_new = false;
        for (at, result) in results.iter().enumerate().filter(|(_, result)| result.element().is_real()) {
            let key = key(result);
            // What was known before keeps its meaning: so no tensor is computed of itself.
            if !self.known.contains(&key) && !self.by_key.contains_key(&key) {
                self.by_key.insert(key, (step, at));
                is_new = true;
            }
        }
        if is_new {
            self.steps.push(Step {
                op: op.clone(),
                attrs: attrs.clone(),
                inputs: inputs.to_vec(),
                n_outputs: results.len(),
            });
        }
    }

    /// True when `tensor` stands for itself.
    pub fn is_known(&self, tensor: &Tensor) -> bool {
        self.known.contains(&key(tensor))
    }

    /// True when it is told how `tensor` was computed.
    pub fn is_computed(&self, tensor: &Tensor) -> bool {
        self.by_key.contains_key(&key(tensor))
    }

    /// `tensor` was computed as `other` was, up to rounding.
    pub fn alike(&mut self, tensor: &Tensor, other: &Tensor) {
        if let Some(&place) = self.by_key.get(&key(other)) {
            self.by_key.entry(key(tensor)).or_insert(place);
        }
    }

    /// The step before `limit` that computed `tensor`, and which of its results it is.
    fn find(&self, tensor: &Tensor, limit: usize) -> Option<(usize, usize)> {
        if self.by_key.is_empty() || !tensor.element().is_real() {
            return None;
        }
        self.by_key.get(&key(tensor)).copied().filter(|&(step, _)| step < limit)
    }

    /// What `tensor` is in double precision when it is computed anew of what stands for itself, without rounding to its
    /// type in between; `None` when it was not computed. Errors: a call that does not run.
    pub fn recomputed(
        &self,
        tensor: &Tensor,
        memo: &mut FxHashMap<usize, Vec<Datum<f64>>>,
    ) -> Result<Option<Datum<f64>>, Reason> {
        match self.find(tensor, usize::MAX) {
            Some((step, at)) => self.recompute(step, memo).map(|results| results.into_iter().nth(at)),
            None => Ok(None),
        }
    }

    fn recompute(&self, step: usize, memo: &mut FxHashMap<usize, Vec<Datum<f64>>>) -> Result<Vec<Datum<f64>>, Reason> {
        if let Some(results) = memo.get(&step) {
            return Ok(results.clone());
        }
        let Step { op, attrs, inputs, n_outputs } = &self.steps[step];
        let mut values = Vec::with_capacity(inputs.len());
        for input in inputs {
            values.push(match input {
                None => None,
                Some(tensor) => Some(match self.find(tensor, step) {
                    Some((earlier, at)) => self.recompute(earlier, memo)?.swap_remove(at),
                    None => Datum::of_tensor(tensor)?,
                }),
            });
        }
        let results = crate::call::reference::<f64>(op, attrs, &values, *n_outputs, false)?;
        memo.insert(step, results.clone());
        Ok(results)
    }
}

/// What tells tensors apart: type, shape and elements.
fn key(tensor: &Tensor) -> u128 {
    let mut word = tensor.element().code() as u64;
    for &size in tensor.shape() {
        word = crate::prime::scramble(word ^ size as u64);
    }
    tensor.hash_of_elements() ^ u128::from(word) << 64 ^ u128::from(word)
}

/// What the evaluation of a graph gave.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Its outputs.
    pub outputs: Vec<Value>,
    /// A bound of the degree of any output as a polynomial in what was drawn and in the results of functions.
    pub degree: u64,
    /// Functions of which nothing is known but that equal operands give equal results, by name.
    pub functions: BTreeSet<&'static str>,
}

/// Evaluates `graph` of `inputs` in every lane; weights that `origins` knows as computed are computed anew.
///
/// Errors: a call that cannot be evaluated here, and why.
pub fn evaluate(graph: &Graph, inputs: &[Value], origins: &Origins) -> Result<Evaluation, EvalError> {
    let mut evaluator = Evaluator { origins, memo: FxHashMap::default(), functions: BTreeSet::new() };
    let outputs = evaluator.graph(graph, inputs, &Attrs::new())?;
    let degree = |value: &Value| match value {
        Value::Numbers(_) => 1,
        Value::Drawn(drawn) => drawn.degree,
    };
    let degree = outputs.iter().map(degree).max().unwrap_or(0);
    Ok(Evaluation { outputs, degree, functions: evaluator.functions })
}

pub(crate) struct Evaluator<'a> {
    origins: &'a Origins,
    /// Results of the steps of `origins` that were needed so far.
    memo: FxHashMap<usize, Vec<Value>>,
    pub(crate) functions: BTreeSet<&'static str>,
}

struct Walk<'w, 'a> {
    evaluator: &'w mut Evaluator<'a>,
    formals: &'w Attrs,
}

impl Carrier<Value> for Walk<'_, '_> {
    fn weight(&mut self, tensor: &Tensor) -> Result<Value, Reason> {
        self.evaluator.weight(tensor, usize::MAX)
    }

    fn call(&mut self, node: &Node, inputs: &[Option<Value>], _: &[Value]) -> Result<Vec<Value>, EvalError> {
        let attrs = node.attrs.bind(self.formals);
        let here = |reason| EvalError { call: String::new(), reason };
        self.evaluator.call(&node.op, &attrs, inputs, node.outputs().len()).map_err(here)
    }
}

impl Evaluator<'_> {
    pub(crate) fn graph(&mut self, graph: &Graph, inputs: &[Value], formals: &Attrs) -> Result<Vec<Value>, EvalError> {
        walk_graph(graph, inputs, &[], &mut Walk { evaluator: self, formals })
    }

    /// A weight, computed anew when a step before `limit` computed it.
    fn weight(&mut self, tensor: &Tensor, limit: usize) -> Result<Value, Reason> {
        let numbers = Datum::<f32>::of_tensor(tensor)?;
        let Some((step, at)) = self.origins.find(tensor, limit) else { return Ok(Value::Numbers(numbers)) };
        if !self.memo.contains_key(&step) {
            let Step { op, attrs, inputs, n_outputs } = &self.origins.steps[step];
            let mut values = Vec::with_capacity(inputs.len());
            for input in inputs {
                values.push(input.as_ref().map(|input| self.weight(input, step)).transpose()?);
            }
            let results = self.call(op, attrs, &values, *n_outputs)?;
            self.memo.insert(step, results);
        }
        let value = self.memo.get(&step).and_then(|results| results.get(at)).cloned();
        let value = value.ok_or_else(|| Reason::new("a folded call has fewer results than it had"))?;
        Ok(match value {
            Value::Drawn(mut drawn) => {
                drawn.numbers = Some(numbers);
                Value::Drawn(drawn)
            }
            moved => moved,
        })
    }
}
