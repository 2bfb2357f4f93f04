//! Recurrent layers: one cell that runs along a sequence, forwards, backwards or both ways.
//!
//! Gates stand in the weights in the order of the specification: `zrh` in GRU, `iofc` in LSTM. A sequence shorter than the
//! axis is run over its own elements only; behind them the output is zero and the state stays.

use super::functions::{EXP_M1, SIGMOID, SOFTPLUS, TANH};
use super::pointwise::{affordable, maximum, minimum, needs_functions, needs_order};
use super::shape::overflow;
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, TensorType};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&RNN, &GRU, &LSTM];

const BASE: OpDef =
    OpDef { types: &[("T", sets::FLOAT), ("T1", &[Element::Int32])], versions: &[1, 7, 14, 22], ..OpDef::BASE };

static RNN: OpDef = OpDef {
    name: "RNN",
    doc: "H = f(x W^T + H R^T + Wb + Rb), from one element of the sequence to the next",
    inputs: &[
        Param::required("X", "T"),
        Param::required("W", "T"),
        Param::required("R", "T"),
        Param::optional("B", "T"),
        Param::optional("sequence_lens", "T1"),
        Param::optional("initial_h", "T"),
    ],
    outputs: &[Param::optional("Y", "T"), Param::optional("Y_h", "T")],
    attrs: &[
        AttrDef::optional("activation_alpha", AttrKind::Floats),
        AttrDef::optional("activation_beta", AttrKind::Floats),
        AttrDef::strings("activations", &["Tanh", "Tanh"]),
        AttrDef::optional("clip", AttrKind::Float),
        AttrDef::string("direction", "forward"),
        AttrDef::optional("hidden_size", AttrKind::Int),
        AttrDef::int("layout", 0),
    ],
    infer: |call| infer(call, &RNN_CELL),
    eval: eval!(rnn),
    work: |call, outputs| work(call, outputs, &RNN_CELL),
    ..BASE
};

static GRU: OpDef = OpDef {
    name: "GRU",
    doc: "H = (1 - z) h + z H, where z says how much of the state stays and r how much of it the candidate h sees",
    versions: &[1, 3, 7, 14, 22],
    inputs: RNN.inputs,
    outputs: RNN.outputs,
    attrs: &[
        AttrDef::optional("activation_alpha", AttrKind::Floats),
        AttrDef::optional("activation_beta", AttrKind::Floats),
        AttrDef::optional("activations", AttrKind::Strings),
        AttrDef::optional("clip", AttrKind::Float),
        AttrDef::string("direction", "forward"),
        AttrDef::optional("hidden_size", AttrKind::Int),
        AttrDef::int("layout", 0),
        AttrDef::int("linear_before_reset", 0),
    ],
    infer: |call| infer(call, &GRU_CELL),
    eval: eval!(gru),
    work: |call, outputs| work(call, outputs, &GRU_CELL),
    ..BASE
};

static LSTM: OpDef = OpDef {
    name: "LSTM",
    doc: "C = f C + i c, H = o h(C): what the state keeps, takes in and shows is gated",
    inputs: &[
        Param::required("X", "T"),
        Param::required("W", "T"),
        Param::required("R", "T"),
        Param::optional("B", "T"),
        Param::optional("sequence_lens", "T1"),
        Param::optional("initial_h", "T"),
        Param::optional("initial_c", "T"),
        Param::optional("P", "T"),
    ],
    outputs: &[Param::optional("Y", "T"), Param::optional("Y_h", "T"), Param::optional("Y_c", "T")],
    attrs: &[
        AttrDef::optional("activation_alpha", AttrKind::Floats),
        AttrDef::optional("activation_beta", AttrKind::Floats),
        AttrDef::optional("activations", AttrKind::Strings),
        AttrDef::optional("clip", AttrKind::Float),
        AttrDef::string("direction", "forward"),
        AttrDef::optional("hidden_size", AttrKind::Int),
        AttrDef::int("input_forget", 0),
        AttrDef::int("layout", 0),
    ],
    infer: |call| infer(call, &LSTM_CELL),
    eval: eval!(lstm),
    work: |call, outputs| work(call, outputs, &LSTM_CELL),
    ..BASE
};

/// What distinguishes one kind of cell from another before it computes.
struct Cell {
    n_gates: usize,
    /// The activation functions of one direction when none are given.
    activations: &'static [&'static str],
}

const RNN_CELL: Cell = Cell { n_gates: 1, activations: &["Tanh"] };
const GRU_CELL: Cell = Cell { n_gates: 3, activations: &["Sigmoid", "Tanh"] };
const LSTM_CELL: Cell = Cell { n_gates: 4, activations: &["Sigmoid", "Tanh", "Tanh"] };

/// Which ways the cell runs: for each direction of the weights, whether it starts at the end.
fn directions(attrs: &Attrs) -> Result<&'static [bool], Reason> {
    match attrs.string("direction") {
        Some("forward") => Ok(&[false]),
        Some("reverse") => Ok(&[true]),
        Some("bidirectional") => Ok(&[false, true]),
        other => Err(Reason(format!("attribute `direction` is `{}`", other.unwrap_or_default()))),
    }
}

/// The sizes of a layer, as far as its inputs agree on them.
struct Sizes {
    sequence: Dim,
    batch: Dim,
    n_directions: usize,
    input: Dim,
    hidden: Dim,
    /// The batch is the outermost axis of sequences and states.
    batch_first: bool,
}

impl Sizes {
    /// `shape_of` gives the shape of each input. Errors: they contradict each other or the attributes.
    fn read(attrs: &Attrs, cell: &Cell, shape_of: &dyn Fn(usize) -> Option<Vec<Dim>>) -> Result<Self, Reason> {
        let n_directions = directions(attrs)?.len();
        let batch_first = match attrs.int("layout") {
            Some(0) | None => false,
            Some(1) => true,
            Some(other) => return Err(Reason(format!("attribute `layout` is {other}"))),
        };
        let cube = |index: usize, name: &str| match shape_of(index).as_deref() {
            Some([a, b, c]) => Ok([a.clone(), b.clone(), c.clone()]),
            other => Err(Reason(format!("{name} has 3 axes, found the shape {:?}", other.unwrap_or_default()))),
        };
        let [outer, inner, input] = cube(0, "X")?;
        let [_, _, of_recurrence] = cube(2, "R")?;
        let hidden = match attrs.int("hidden_size") {
            Some(size) if size < 0 => return Err(Reason(format!("attribute `hidden_size` is {size}"))),
            Some(size) if of_recurrence.as_known().is_none() => Dim::known(size),
            Some(size) if !of_recurrence.is(size) => {
                return Err(Reason(format!("attribute `hidden_size` is {size}, R has {of_recurrence}")));
            }
            _ => of_recurrence,
        };
        let (sequence, batch) = if batch_first { (inner, outer) } else { (outer, inner) };
        let sizes = Self { sequence, batch, n_directions, input, hidden, batch_first };
        let times = |n: usize| sizes.hidden.mul(&Dim::from(n)).ok_or_else(overflow);
        let (directions, rows) = (Dim::from(n_directions), times(cell.n_gates)?);
        let expected = [
            (1, "W", vec![directions.clone(), rows.clone(), sizes.input.clone()]),
            (2, "R", vec![directions.clone(), rows, sizes.hidden.clone()]),
            (3, "B", vec![directions.clone(), times(2 * cell.n_gates)?]),
            (4, "sequence_lens", vec![sizes.batch.clone()]),
            (5, "initial_h", sizes.state()),
            (6, "initial_c", sizes.state()),
            (7, "P", vec![directions, times(3)?]),
        ];
        for (index, name, expected) in expected {
            let Some(found) = shape_of(index) else { continue };
            let apart = |(a, b): (&Dim, &Dim)| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
            if found.len() != expected.len() || found.iter().zip(&expected).any(apart) {
                return Err(Reason(format!("{name} has the shape {found:?}, {expected:?} is expected")));
            }
        }
        Ok(sizes)
    }

    fn state(&self) -> Vec<Dim> {
        let (directions, batch, hidden) = (Dim::from(self.n_directions), self.batch.clone(), self.hidden.clone());
        if self.batch_first { vec![batch, directions, hidden] } else { vec![directions, batch, hidden] }
    }

    fn outputs(&self) -> Vec<Dim> {
        let (sequence, directions) = (self.sequence.clone(), Dim::from(self.n_directions));
        let (batch, hidden) = (self.batch.clone(), self.hidden.clone());
        if self.batch_first {
            vec![batch, sequence, directions, hidden]
        } else {
            vec![sequence, directions, batch, hidden]
        }
    }
}

fn infer(call: &Call, cell: &Cell) -> Result<Vec<Option<Fact>>, Reason> {
    let sizes = Sizes::read(call.attrs, cell, &|index| call.given(index).map(|operand| operand.ty.shape.clone()))?;
    Activation::<f64>::read(call.attrs, cell, sizes.n_directions)?;
    let element = call.ty(0)?.element;
    let states = std::iter::repeat_with(|| Fact::new(element, sizes.state()));
    let outputs = std::iter::once(Fact::new(element, sizes.outputs())).chain(states);
    Ok(outputs.take(call.n_outputs.max(1)).map(Some).collect())
}

/// Every weight is used once for each element of each sequence; each gate costs one function besides.
fn work(call: &Call, outputs: &[TensorType], cell: &Cell) -> Option<Work> {
    const FLOPS_OF_GATE: i64 = 12;
    let sizes =
        Sizes::read(call.attrs, cell, &|index| call.given(index).map(|operand| operand.ty.shape.clone())).ok()?;
    let gates = sizes.hidden.mul(&Dim::from(cell.n_gates * sizes.n_directions))?;
    let each = sizes.input.add(&sizes.hidden)?.mul(&Dim::known(2))?.add(&Dim::known(FLOPS_OF_GATE))?;
    let flops = gates.mul(&each)?.mul(&sizes.sequence)?.mul(&sizes.batch)?;
    Work::streaming(call, outputs, flops)
}

/// An activation function with its parameters.
#[derive(Clone, Copy)]
struct Activation<S> {
    shape: Shape,
    alpha: S,
    beta: S,
}

#[derive(Clone, Copy)]
enum Shape {
    Relu,
    Tanh,
    Sigmoid,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

impl<S: Scalar> Activation<S> {
    /// The functions of all directions, one direction after the other. Errors: unknown, or another number of them.
    fn read(attrs: &Attrs, cell: &Cell, n_directions: usize) -> Result<Vec<Self>, Reason> {
        let n_each = cell.activations.len();
        let names: Vec<&str> = match attrs.strings("activations") {
            Some(names) => names.iter().map(|name| name.as_str()).collect(),
            None => cell.activations.repeat(n_directions),
        };
        // A layer of one direction may name the functions of two, as the default of RNN does.
        if names.len() != n_each * n_directions && names.len() != 2 * n_each {
            let n_wanted = n_each * n_directions;
            return Err(Reason(format!("{n_wanted} activation functions are expected, found {names:?}")));
        }
        // Only functions that have a parameter take one from the list.
        let mut alphas = attrs.floats("activation_alpha").unwrap_or(&[]).iter();
        let mut betas = attrs.floats("activation_beta").unwrap_or(&[]).iter();
        let mut result = Vec::with_capacity(names.len());
        for name in names {
            let (shape, alpha, beta) = match name.to_ascii_lowercase().as_str() {
                "relu" => (Shape::Relu, None, None),
                "tanh" => (Shape::Tanh, None, None),
                "sigmoid" => (Shape::Sigmoid, None, None),
                "affine" => (Shape::Affine, Some(1.0), Some(0.0)),
                "leakyrelu" => (Shape::LeakyRelu, Some(0.01), None),
                "thresholdedrelu" => (Shape::ThresholdedRelu, Some(1.0), None),
                "scaledtanh" => (Shape::ScaledTanh, Some(f32::NAN), Some(f32::NAN)),
                "hardsigmoid" => (Shape::HardSigmoid, Some(0.2), Some(0.5)),
                "elu" => (Shape::Elu, Some(1.0), None),
                "softsign" => (Shape::Softsign, None, None),
                "softplus" => (Shape::Softplus, None, None),
                _ => return Err(Reason(format!("`{name}` is no activation function"))),
            };
            let take = |default: Option<f32>, from: &mut std::slice::Iter<f32>| match default {
                None => Ok(S::from_int(0)),
                Some(default) => {
                    let value = from.next().copied().unwrap_or(default);
                    // ScaledTanh has no operator of its own in ONNX, hence no default parameters.
                    if value.is_nan() && default.is_nan() {
                        return Err(Reason(format!("`{name}` needs activation_alpha and activation_beta")));
                    }
                    Ok(S::from_f64(f64::from(value)))
                }
            };
            result.push(Self { shape, alpha: take(alpha, &mut alphas)?, beta: take(beta, &mut betas)? });
        }
        Ok(result)
    }

    fn apply(&self, x: S) -> S {
        let (zero, one) = (S::from_int(0), S::from_int(1));
        let below = |bound: S| x.compare(bound) == Some(Ordering::Less);
        match self.shape {
            Shape::Relu => maximum(zero, x),
            Shape::Tanh => x.apply(&TANH),
            Shape::Sigmoid => x.apply(&SIGMOID),
            Shape::Affine => self.alpha.mul(x).add(self.beta),
            Shape::LeakyRelu if below(zero) => self.alpha.mul(x),
            Shape::LeakyRelu => x,
            Shape::ThresholdedRelu if below(self.alpha) => zero,
            Shape::ThresholdedRelu => x,
            Shape::ScaledTanh => self.alpha.mul(self.beta.mul(x).apply(&TANH)),
            Shape::HardSigmoid => maximum(zero, minimum(one, self.alpha.mul(x).add(self.beta))),
            Shape::Elu if below(zero) => self.alpha.mul(x.apply(&EXP_M1)),
            Shape::Elu => x,
            Shape::Softsign => x.div(one.add(super::arithmetic::absolute(x))),
            Shape::Softplus => x.apply(&SOFTPLUS),
        }
    }
}

/// The weights of one direction.
struct Weights<'a, S> {
    input: &'a [S],
    recurrent: &'a [S],
    /// Biases of the input, then those of the state, when there are any.
    bias: Option<&'a [S]>,
    peepholes: Option<&'a [S]>,
    activations: &'a [Activation<S>],
    clip: Option<S>,
    hidden: usize,
    n_gates: usize,
}

impl<S: Scalar> Weights<'_, S> {
    fn of_input(&self, row: usize, x: &[S]) -> S {
        S::dot(self.input[row * x.len()..][..x.len()].iter().copied().zip(x.iter().copied()))
    }

    fn of_state(&self, row: usize, h: &[S]) -> S {
        S::dot(self.recurrent[row * h.len()..][..h.len()].iter().copied().zip(h.iter().copied()))
    }

    fn input_bias(&self, row: usize) -> S {
        self.bias.map_or(S::from_int(0), |bias| bias[row])
    }

    fn state_bias(&self, row: usize) -> S {
        self.bias.map_or(S::from_int(0), |bias| bias[self.n_gates * self.hidden + row])
    }

    /// What reaches gate `gate` of unit `unit` from the input and the state.
    fn gate(&self, gate: usize, unit: usize, x: &[S], h: &[S]) -> S {
        let row = gate * self.hidden + unit;
        let sum = self.of_input(row, x).add(self.of_state(row, h));
        sum.add(self.input_bias(row)).add(self.state_bias(row))
    }

    /// What peephole `which` of unit `unit` lets through of `cell`.
    fn peephole(&self, which: usize, unit: usize, cell: S) -> S {
        self.peepholes.map_or(S::from_int(0), |weights| weights[which * self.hidden + unit].mul(cell))
    }

    fn activate(&self, which: usize, x: S) -> S {
        let clipped = self.clip.map_or(x, |bound| maximum(bound.neg(), minimum(bound, x)));
        self.activations[which].apply(clipped)
    }
}

/// What a cell carries from one element of the sequence to the next.
struct State<S> {
    h: Vec<S>,
    c: Vec<S>,
}

/// Runs `step` along each sequence in each direction; gives the outputs, the last states and the last cells.
fn run<S: Scalar>(
    call: &EvalCall<S>,
    cell: &Cell,
    step: impl Fn(&Weights<S>, &[S], &mut State<S>),
) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    needs_functions::<S>("exp")?;
    let shape_of = |index: usize| call.given(index).map(|datum| datum.shape.iter().map(|&size| size.into()).collect());
    let sizes = Sizes::read(call.attrs, cell, &shape_of)?;
    let size = |dim: &Dim| dim.as_size().ok_or_else(overflow);
    let (n_steps, n_items) = (size(&sizes.sequence)?, size(&sizes.batch)?);
    let (input, hidden, n_directions) = (size(&sizes.input)?, size(&sizes.hidden)?, sizes.n_directions);
    let activations = Activation::read(call.attrs, cell, n_directions)?;
    let given = |index: usize| call.given(index).map(Datum::real).transpose();
    let (x, w, r) = (call.real(0)?, call.real(1)?, call.real(2)?);
    let (b, initial_h, initial_c, p) = (given(3)?, given(5)?, given(6)?, given(7)?);
    affordable(&[n_items, n_steps], x.len())?;
    let lengths = lengths(call, n_items, n_steps)?;
    let concrete = |dims: Vec<Dim>| dims.iter().map(size).collect::<Result<Vec<usize>, Reason>>();
    let (y_shape, state_shape) = (concrete(sizes.outputs())?, concrete(sizes.state())?);
    let zeros = |shape: &[usize]| Ok::<_, Reason>(vec![S::from_int(0); affordable(shape, w.len())?]);
    let (mut y, mut y_h, mut y_c) = (zeros(&y_shape)?, zeros(&state_shape)?, zeros(&state_shape)?);
    let rows = cell.n_gates * hidden;
    for (direction, &backwards) in directions(call.attrs)?.iter().enumerate() {
        let weights = Weights {
            input: &w[direction * rows * input..][..rows * input],
            recurrent: &r[direction * rows * hidden..][..rows * hidden],
            bias: b.map(|b| &b[direction * 2 * rows..][..2 * rows]),
            peepholes: p.map(|p| &p[direction * 3 * hidden..][..3 * hidden]),
            activations: &activations[direction * cell.activations.len()..],
            clip: call.attrs.float("clip").map(|clip| S::from_f64(f64::from(clip))),
            hidden,
            n_gates: cell.n_gates,
        };
        for (item, &length) in lengths.iter().enumerate() {
            let (of_state, of_x, of_y): (usize, [usize; 2], [usize; 2]) = if sizes.batch_first {
                (
                    item * n_directions + direction,
                    [item * n_steps, 1],
                    [item * n_steps * n_directions + direction, n_directions],
                )
            } else {
                let of_y = [direction * n_items + item, n_directions * n_items];
                (direction * n_items + item, [item, n_items], of_y)
            };
            let range = of_state * hidden..(of_state + 1) * hidden;
            let start =
                |from: Option<&[S]>| from.map_or_else(|| vec![S::from_int(0); hidden], |h| h[range.clone()].to_vec());
            let mut state = State { h: start(initial_h), c: start(initial_c) };
            for at in 0..length {
                let time = if backwards { length - 1 - at } else { at };
                step(&weights, &x[(of_x[0] + time * of_x[1]) * input..][..input], &mut state);
                y[(of_y[0] + time * of_y[1]) * hidden..][..hidden].copy_from_slice(&state.h);
            }
            y_h[range.clone()].copy_from_slice(&state.h);
            y_c[range].copy_from_slice(&state.c);
        }
    }
    let element = call.input(0)?.element;
    let state = |elements: Vec<S>| Datum::of_real(element, &state_shape, elements);
    let mut outputs = vec![Datum::of_real(element, &y_shape, y), state(y_h), state(y_c)];
    outputs.truncate(call.n_outputs.max(1));
    Ok(outputs)
}

/// The length of each sequence. Errors: negative, or beyond the axis.
fn lengths<S: Scalar>(call: &EvalCall<S>, n_items: usize, n_steps: usize) -> Result<Vec<usize>, Reason> {
    if call.given(4).is_none() {
        return Ok(vec![n_steps; n_items]);
    }
    let length = |&length: &i64| {
        let fits = usize::try_from(length).ok().filter(|&length| length <= n_steps);
        fits.ok_or_else(|| Reason(format!("a sequence of {length} in an axis of {n_steps}")))
    };
    call.ints(4)?.iter().map(length).collect()
}

fn rnn<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    run(call, &RNN_CELL, |weights, x, state| {
        let unit = |unit: usize| weights.activate(0, weights.gate(0, unit, x, &state.h));
        state.h = (0..weights.hidden).map(unit).collect();
    })
}

fn gru<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let linear_before_reset = call.attrs.flag("linear_before_reset");
    run(call, &GRU_CELL, |weights, x, state| {
        let (h, n) = (&state.h, weights.hidden);
        let gate = |gate: usize| (0..n).map(move |unit| weights.activate(0, weights.gate(gate, unit, x, h)));
        let (update, reset): (Vec<S>, Vec<S>) = (gate(0).collect(), gate(1).collect());
        let kept: Vec<S> = reset.iter().zip(h).map(|(reset, h)| reset.mul(*h)).collect();
        let unit = |unit: usize| {
            let row = 2 * n + unit;
            let of_input = weights.of_input(row, x).add(weights.input_bias(row));
            let of_state = if linear_before_reset {
                reset[unit].mul(weights.of_state(row, h).add(weights.state_bias(row)))
            } else {
                weights.of_state(row, &kept).add(weights.state_bias(row))
            };
            let candidate = weights.activate(1, of_input.add(of_state));
            S::from_int(1).sub(update[unit]).mul(candidate).add(update[unit].mul(h[unit]))
        };
        state.h = (0..n).map(unit).collect();
    })
}

fn lstm<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let coupled = call.attrs.flag("input_forget");
    run(call, &LSTM_CELL, |weights, x, state| {
        let (mut hidden, mut cells) = (Vec::with_capacity(weights.hidden), Vec::with_capacity(weights.hidden));
        for unit in 0..weights.hidden {
            let old = state.c[unit];
            let gate = |gate: usize| weights.gate(gate, unit, x, &state.h);
            let taken = weights.activate(0, gate(0).add(weights.peephole(0, unit, old)));
            let kept = if coupled {
                S::from_int(1).sub(taken)
            } else {
                weights.activate(0, gate(2).add(weights.peephole(2, unit, old)))
            };
            let cell = kept.mul(old).add(taken.mul(weights.activate(1, gate(3))));
            let shown = weights.activate(0, gate(1).add(weights.peephole(1, unit, cell)));
            hidden.push(shown.mul(weights.activate(2, cell)));
            cells.push(cell);
        }
        (state.h, state.c) = (hidden, cells);
    })
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::{infer, infer_outputs};

    #[test]
    fn outputs_keep_symbolic_sizes() {
        let inputs = ["float[s,n,8]", "float[1,16,8]", "float[1,16,4]"];
        let found = infer_outputs("LSTM", &[], &inputs, 3);
        assert_eq!(found, "float[s,1,n,4]; float[1,n,4]; float[1,n,4]");
        let both = [("direction", Attr::String("bidirectional".into())), ("layout", Attr::Int(1))];
        let inputs = ["float[n,s,8]", "float[2,12,8]", "float[2,12,4]"];
        assert_eq!(infer_outputs("GRU", &both, &inputs, 2), "float[n,s,2,4]; float[n,2,4]");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refused = |attrs: &[(&str, Attr)], inputs: &[&str], reason: &str| {
            assert_eq!(infer("RNN", attrs, inputs), reason);
        };
        let good = ["float[s,n,8]", "float[1,4,8]", "float[1,4,4]"];
        refused(&[], &["float[s,n]", good[1], good[2]], "X has 3 axes, found the shape [s, n]");
        refused(&[], &[good[0], "float[1,5,8]", good[2]], "W has the shape [1, 5, 8], [1, 4, 8] is expected");
        refused(&[("hidden_size", Attr::Int(3))], &good, "attribute `hidden_size` is 3, R has 4");
        refused(&[("direction", Attr::String("up".into()))], &good, "attribute `direction` is `up`");
        let named = |name: &str| [("activations", Attr::Strings([name.into()].into()))];
        refused(&named("Gelu"), &good, "`Gelu` is no activation function");
        refused(&named("ScaledTanh"), &good, "`ScaledTanh` needs activation_alpha and activation_beta");
    }
}
