//! The reference semantics: each operator is written once, generic over the scalar that carries real numbers.
//!
//! A carrier decides what "real" means: [`f32`] and [`f64`] round as the machine does, [`Exact`] computes without rounding
//! in a pair of prime fields and in fractions, [`M61`] in the prime field 2^61 - 1. Integers and truth values are exact in every carrier. The interpreter is the oracle, not an
//! executor: it favours plain loops over speed.

mod array;
mod bounded;
mod datum;
mod exact;
mod run;
mod scalar;

pub use array::{Broadcast, Buffer, broadcast_shape, each_index, strides_of};
pub use bounded::Bounded;
pub use datum::{Contents, Datum, wrap};
pub use exact::{Exact, Trace};
pub use run::{Carrier, EvalError, run_call, run_graph, run_model, run_tensors, run_values, walk_graph};
pub use scalar::{Function, M61, Scalar};

use crate::attr::Attrs;
use crate::graph::Graph;
use crate::op::Reason;
use crate::value::Value;

/// One call as the reference semantics sees it.
pub struct EvalCall<'a, S> {
    /// Complete attributes, references bound.
    pub attrs: &'a Attrs,
    /// Inputs by position; `None` when left out.
    pub inputs: &'a [Option<Value<Datum<S>>>],
    /// What the bodies of a control-flow operator see of the enclosing graph.
    pub captures: &'a [Value<Datum<S>>],
    /// Number of outputs that the call has.
    pub n_outputs: usize,
    /// Whether results are rounded to their element type after each call.
    pub round: bool,
}

impl<S: Scalar> EvalCall<'_, S> {
    /// Input `index`, a tensor. Errors: left out, or no tensor.
    pub fn input(&self, index: usize) -> Result<&Datum<S>, Reason> {
        let value = self.value(index)?;
        value.tensor().ok_or_else(|| Reason(format!("input {index} is {}, a tensor is expected", value.kind())))
    }

    /// Input `index`, when it is given and a tensor.
    pub fn given(&self, index: usize) -> Option<&Datum<S>> {
        self.inputs.get(index)?.as_ref()?.tensor()
    }

    /// Input `index`, whatever it is. Errors: left out.
    pub fn value(&self, index: usize) -> Result<&Value<Datum<S>>, Reason> {
        let given = self.inputs.get(index).and_then(Option::as_ref);
        given.ok_or_else(|| Reason(format!("input {index} is missing")))
    }

    /// Runs body `name` of a control-flow operator. Errors: absent, another number of inputs, or what fails inside it.
    pub fn run_body(&self, name: &str, inputs: &[Value<Datum<S>>]) -> Result<Vec<Value<Datum<S>>>, Reason> {
        let body: &Graph = self.attrs.graph(name).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))?;
        if body.inputs().len() != inputs.len() {
            let (wanted, given) = (body.inputs().len(), inputs.len());
            return Err(Reason(format!("the body `{name}` has {wanted} inputs, {given} are given")));
        }
        run_graph(body, inputs, self.captures, &Attrs::new(), self.round)
            .map_err(|error| Reason(format!("in the body `{name}`: {error}")))
    }

    /// Real elements of input `index`. Errors: left out, or not real.
    pub fn real(&self, index: usize) -> Result<&[S], Reason> {
        self.input(index)?.real()
    }

    /// Integers of input `index`, for axes, shapes and indices. Errors: left out, not integers, beyond 64 bits.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, Reason> {
        self.input(index)?.to_i64s()
    }

    /// Integer attribute `name`. Errors: absent.
    pub fn int(&self, name: &str) -> Result<i64, Reason> {
        self.attrs.int(name).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))
    }

    /// Float attribute `name` in the carrier. Errors: absent.
    pub fn float(&self, name: &str) -> Result<S, Reason> {
        let value = self.attrs.float(name).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))?;
        Ok(S::from_f64(f64::from(value)))
    }

    /// The axis that attribute `name` gives for a tensor of `rank` axes. Errors: absent or out of range.
    pub fn axis(&self, name: &str, rank: usize) -> Result<usize, Reason> {
        let axis = self.int(name)?;
        crate::types::normalize_axis(axis, rank)
            .ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))
    }
}

/// The reference semantics in one carrier.
pub type EvalFn<S> = fn(&EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason>;

/// The reference semantics of one operator in the carriers that the interpreter runs; [`eval!`](crate::eval!) makes it from one generic function.
#[derive(Clone, Copy)]
pub struct Eval {
    /// In single precision, rounded to the element type after each call: what constant folding computes with.
    pub f32: EvalFn<f32>,
    /// In double precision: the oracle of tests.
    pub f64: EvalFn<f64>,
    /// Without rounding: what rules are verified in.
    pub exact: EvalFn<Exact>,
    /// False for an operator that has no reference semantics.
    pub given: bool,
}

impl Eval {
    /// For an operator that has no reference semantics.
    pub const NONE: Eval = Eval { f32: none, f64: none, exact: none, given: false };
}

fn none<S>(_: &EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason> {
    Err(Reason::new("this operator has no reference semantics"))
}

/// What [`eval!`](crate::eval!) wraps an operator's results with.
pub fn tensors<S>(results: Vec<Datum<S>>) -> Vec<Value<Datum<S>>> {
    results.into_iter().map(Value::Tensor).collect()
}

/// The [`Eval`] of a function `fn<S: Scalar>(&EvalCall<S>) -> Result<Vec<Datum<S>>, Reason>`.
#[macro_export]
macro_rules! eval {
    ($function:path) => {
        $crate::eval::Eval {
            f32: |call| $function(call).map($crate::eval::tensors::<f32>),
            f64: |call| $function(call).map($crate::eval::tensors::<f64>),
            exact: |call| $function(call).map($crate::eval::tensors::<$crate::eval::Exact>),
            given: true,
        }
    };
}

/// The [`Eval`] of a function `fn<S: Scalar>(&EvalCall<S>) -> Result<Vec<Value<Datum<S>>>, Reason>`, whose inputs or results
/// are not all tensors.
#[macro_export]
macro_rules! eval_values {
    ($function:path) => {
        $crate::eval::Eval { f32: $function, f64: $function, exact: $function, given: true }
    };
}
