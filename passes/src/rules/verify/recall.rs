//! What the calls of an instance give: the rule and all of its mutants are compared on it, and most of each graph is the instance.

use super::instance::Instance;
use eutectic_ir::eval::{Carrier, Datum, EvalError, Exact, Scalar, Trace, run_call};
use eutectic_ir::graph::{Node, ValueId};
use eutectic_ir::value::Value;
use eutectic_ir::{Reason, Tensor};
use rustc_hash::FxHashMap;

/// The results of the calls of one instance in each arithmetic, as far as they were asked for.
pub(super) struct Recall {
    /// Values below this number are those of the instance: what a rule builds has larger ones, which other rules reuse.
    n_drawn: usize,
    float: Results<f64>,
    exact: Results<Exact>,
}

/// By the first result of each call, with what limits the meaning of its results.
type Results<S> = FxHashMap<ValueId, (Vec<Value<Datum<S>>>, Trace)>;

impl Recall {
    /// That of an instance to which no rule has been applied.
    pub(super) fn of(drawn: &Instance) -> Self {
        Self { n_drawn: drawn.host.graph.value_bound(), float: Results::default(), exact: Results::default() }
    }

    /// In double precision, results rounded to their element type with `round`, which is the same for one instance.
    pub(super) fn float(&mut self, round: bool) -> Recalled<'_, f64> {
        Recalled { n_drawn: self.n_drawn, known: &mut self.float, round, trace: Trace::default() }
    }

    /// Without rounding.
    pub(super) fn exact(&mut self, round: bool) -> Recalled<'_, Exact> {
        Recalled { n_drawn: self.n_drawn, known: &mut self.exact, round, trace: Trace::default() }
    }
}

/// One evaluation, which recalls what is known and notes what is not.
pub(super) struct Recalled<'a, S> {
    n_drawn: usize,
    known: &'a mut Results<S>,
    round: bool,
    /// What limits the meaning of what was computed or recalled so far.
    pub trace: Trace,
}

impl<S: Scalar> Carrier<Value<Datum<S>>> for Recalled<'_, S> {
    fn weight(&mut self, tensor: &Tensor) -> Result<Value<Datum<S>>, Reason> {
        Datum::of_tensor(tensor).map(Value::Tensor)
    }

    fn call(
        &mut self,
        node: &Node,
        inputs: &[Option<Value<Datum<S>>>],
        captures: &[Value<Datum<S>>],
    ) -> Result<Vec<Value<Datum<S>>>, EvalError> {
        let key = node.output();
        if let Some((results, trace)) = self.known.get(&key) {
            self.trace = either(self.trace, *trace);
            return Ok(results.clone());
        }
        let run = || run_call(&node.op, &node.attrs, inputs, captures, node.outputs().len(), self.round);
        let (results, trace) = Exact::traced(run);
        let results = results?;
        self.trace = either(self.trace, trace);
        if key.index() < self.n_drawn {
            self.known.insert(key, (results.clone(), trace));
        }
        Ok(results)
    }
}

/// What limits the meaning of both.
pub(super) fn either(a: Trace, b: Trace) -> Trace {
    Trace {
        is_opaque: a.is_opaque || b.is_opaque,
        is_exponential: a.is_exponential || b.is_exponential,
        is_ordered: a.is_ordered || b.is_ordered,
        is_lost: a.is_lost || b.is_lost,
        is_undefined: a.is_undefined || b.is_undefined,
        is_close: a.is_close || b.is_close,
    }
}
