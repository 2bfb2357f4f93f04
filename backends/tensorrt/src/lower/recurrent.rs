//! Recurrent layers, one step after the other.
//!
//! The product of the whole sequence with the input weights is one matrix product; what depends on the state is written out for
//! each step. Gates stand in the weights in the order of ONNX: `zrh` in GRU, `iofc` in LSTM.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::{Lowered, Lowering};
use crate::layer::{ActivationKind, ElementWiseKind, MatrixKind};
use eutectic_ir::{Dim, Name};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("RNN", |builder, call| recurrent(builder, call, &Cell { n_gates: 1, activations: &["Tanh"], step: rnn_step })),
    ("GRU", |builder, call| {
        recurrent(builder, call, &Cell { n_gates: 3, activations: &["Sigmoid", "Tanh"], step: gru_step })
    }),
    ("LSTM", |builder, call| {
        recurrent(builder, call, &Cell { n_gates: 4, activations: &["Sigmoid", "Tanh", "Tanh"], step: lstm_step })
    }),
];

/// Steps that are written out.
const MOST_STEPS: i64 = 512;

/// What distinguishes one kind of cell from another.
struct Cell {
    n_gates: i64,
    activations: &'static [&'static str],
    /// The next state, given that of one direction and what the input adds to the gates.
    step: fn(&mut Builder, &Call, &Direction, &State, &Typed) -> Result<State, Refusal>,
}

/// The weights of one direction, all two-dimensional.
struct Direction {
    recurrence: Typed,
    /// What the recurrence adds to the gates whatever the state: `[1, gates hidden]`.
    recurrent_bias: Option<Typed>,
    peepholes: Option<Typed>,
    activations: Vec<Function>,
    hidden: i64,
    clip: Option<f32>,
}

/// An activation with its parameters.
struct Function {
    kind: ActivationKind,
    alpha: Option<f32>,
    beta: Option<f32>,
}

/// Hidden and, in LSTM, cell state: `[batch, hidden]`.
#[derive(Clone)]
struct State {
    hidden: Typed,
    cell: Option<Typed>,
}

fn recurrent(builder: &mut Builder, call: &Call, cell: &Cell) -> Lowered {
    if call.given(4).is_some() {
        return Err(Refusal::new("it has sequence_lens").instead("sequences of one length"));
    }
    let batch_first = call.attrs.flag("layout");
    let x = builder.input(call, 0)?;
    if x.rank() != 3 {
        return Err(Refusal::new("its input has not three axes"));
    }
    let x = if batch_first { builder.transpose(&x, &[1, 0, 2]) } else { x };
    let length =
        x.shape[0].as_known().ok_or_else(|| Refusal::new("its sequence is dynamic").instead("a constant length"))?;
    if length > MOST_STEPS {
        return Err(Refusal::new(format!("it has {length} steps")).instead(format!("at most {MOST_STEPS}")));
    }
    let recurrence = call.value(2)?.shape();
    let hidden = recurrence.get(2).and_then(Dim::as_known).ok_or("the extents of its weights are dynamic")?;
    let ways: &[bool] = match call.string("direction", "forward") {
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        _ => &[false],
    };
    let (mut sequences, mut last) = (Vec::new(), Vec::new());
    for (at, &is_backwards) in ways.iter().enumerate() {
        let (direction, inputs) = direction(builder, call, cell, &x, at, hidden)?;
        let mut state = initial(builder, call, cell, &direction, at, &x, batch_first)?;
        let mut steps = Vec::new();
        for step in 0..length {
            let at = if is_backwards { length - 1 - step } else { step };
            let input = builder.part(&inputs, 0, Term::Known(at), Term::Known(1))?;
            let input = builder.squeeze(&input, &[0]);
            state = (cell.step)(builder, call, &direction, &state, &input)?;
            steps.push(builder.unsqueeze(&state.hidden, &[0, 1])?);
        }
        if is_backwards {
            steps.reverse();
        }
        if !steps.is_empty() {
            sequences.push(builder.concat(&steps, 0)?);
        }
        last.push(state);
    }
    if sequences.is_empty() {
        return Err(Refusal::new("its sequence is empty"));
    }
    // [steps, directions, batch, hidden], or [batch, steps, directions, hidden].
    let sequence = builder.concat(&sequences, 1)?;
    let sequence = if batch_first { builder.transpose(&sequence, &[2, 0, 1, 3]) } else { sequence };
    let mut outputs: Vec<Operand> = vec![sequence.into()];
    let mut gathered = |states: Vec<Typed>| -> Result<Operand, Refusal> {
        let rows: Vec<Typed> = states.iter().map(|state| builder.unsqueeze(state, &[0])).collect::<Result<_, _>>()?;
        let all = builder.concat(&rows, 0)?;
        Ok(if batch_first { builder.transpose(&all, &[1, 0, 2]) } else { all }.into())
    };
    outputs.push(gathered(last.iter().map(|state| state.hidden.clone()).collect())?);
    let cells: Vec<Typed> = last.into_iter().filter_map(|state| state.cell).collect();
    if !cells.is_empty() {
        outputs.push(gathered(cells)?);
    }
    outputs.truncate(call.used.len());
    Ok(outputs)
}

/// The matrix or vector of one direction.
fn of_direction(builder: &mut Builder, call: &Call, index: usize, at: usize) -> Result<Option<Typed>, Refusal> {
    let Some(arg) = call.given(index) else { return Ok(None) };
    let all = builder.tensor(&arg.value)?;
    let one = builder.part(&all, 0, Term::Known(at as i64), Term::Known(1))?;
    // A vector stays a row.
    Ok(Some(if one.rank() == 2 { one } else { builder.squeeze(&one, &[0]) }))
}

/// The weights of direction `at`, and what the whole sequence adds to the gates: `[steps, batch, gates hidden]`.
fn direction(
    builder: &mut Builder,
    call: &Call,
    cell: &Cell,
    x: &Typed,
    at: usize,
    hidden: i64,
) -> Result<(Direction, Typed), Refusal> {
    let weights = of_direction(builder, call, 1, at)?.ok_or("it has no weights")?;
    let recurrence = of_direction(builder, call, 2, at)?.ok_or("it has no weights of the recurrence")?;
    let weights = builder.unsqueeze(&weights, &[0])?;
    let mut inputs = builder.matmul(x, MatrixKind::Plain, &weights, MatrixKind::Transpose)?;
    let mut recurrent_bias = None;
    if let Some(biases) = of_direction(builder, call, 3, at)? {
        let width = cell.n_gates * hidden;
        let of_input = builder.part(&biases, 1, Term::Known(0), Term::Known(width))?;
        let of_input = builder.unsqueeze(&of_input, &[0])?;
        inputs = builder.pair(ElementWiseKind::Sum, &inputs, &of_input)?;
        recurrent_bias = Some(builder.part(&biases, 1, Term::Known(width), Term::Known(width))?);
    }
    let n_functions = cell.activations.len();
    let named = call.attrs.strings("activations").filter(|named| !named.is_empty());
    let functions = (0..n_functions).map(|index| {
        let place = at * n_functions + index;
        let name = named.map_or(cell.activations.get(index).copied(), |named| named.get(place).map(Name::as_str));
        let parameter = |name: &str| call.attrs.floats(name).and_then(|list| list.get(place)).copied();
        function(name.unwrap_or_default(), parameter("activation_alpha"), parameter("activation_beta"))
    });
    let activations = functions.collect::<Result<_, _>>()?;
    let peepholes = of_direction(builder, call, 7, at)?;
    let clip = call.attrs.float("clip");
    Ok((Direction { recurrence, recurrent_bias, peepholes, activations, hidden, clip }, inputs))
}

fn function(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Result<Function, Refusal> {
    let (kind, alpha, beta) = match name.to_ascii_lowercase().as_str() {
        "relu" => (ActivationKind::Relu, None, None),
        "tanh" => (ActivationKind::Tanh, None, None),
        "sigmoid" => (ActivationKind::Sigmoid, None, None),
        "softsign" => (ActivationKind::Softsign, None, None),
        "softplus" => (ActivationKind::Softplus, Some(1.0), Some(1.0)),
        "leakyrelu" => (ActivationKind::LeakyRelu, Some(alpha.unwrap_or(0.01)), None),
        "thresholdedrelu" => (ActivationKind::ThresholdedRelu, Some(alpha.unwrap_or(1.0)), None),
        "elu" => (ActivationKind::Elu, Some(alpha.unwrap_or(1.0)), None),
        "scaledtanh" => (ActivationKind::ScaledTanh, Some(alpha.unwrap_or(1.0)), Some(beta.unwrap_or(1.0))),
        "hardsigmoid" => (ActivationKind::HardSigmoid, Some(alpha.unwrap_or(0.2)), Some(beta.unwrap_or(0.5))),
        _ => return Err(Refusal::new(format!("its activation is {name}")).instead("a named activation of ONNX")),
    };
    Ok(Function { kind, alpha, beta })
}

fn initial(
    builder: &mut Builder,
    call: &Call,
    cell: &Cell,
    direction: &Direction,
    at: usize,
    x: &Typed,
    batch_first: bool,
) -> Result<State, Refusal> {
    let mut state = |index: usize| -> Result<Typed, Refusal> {
        match call.given(index) {
            Some(arg) => {
                let all = builder.tensor(&arg.value)?;
                let all = if batch_first { builder.transpose(&all, &[1, 0, 2]) } else { all };
                let one = builder.part(&all, 0, Term::Known(at as i64), Term::Known(1))?;
                Ok(builder.squeeze(&one, &[0]))
            }
            None => {
                let zero = builder.scalar(0.0, direction.recurrence.data_type, 2)?;
                let batch_term = builder.extent(x, 1)?;
                let terms = [batch_term, Term::Known(direction.hidden)];
                builder.expand(&zero, &[x.shape[1].clone(), Dim::known(direction.hidden)], &terms)
            }
        }
    };
    let hidden = state(5)?;
    let cell = if cell.n_gates == 4 { Some(state(6)?) } else { None };
    Ok(State { hidden, cell })
}

fn activated(builder: &mut Builder, direction: &Direction, at: usize, x: &Typed) -> Result<Typed, Refusal> {
    let clipped = match direction.clip {
        Some(clip) => builder.activation(ActivationKind::Clip, x, Some(-clip), Some(clip)),
        None => x.clone(),
    };
    let function = direction.activations.get(at).ok_or("it has too few activations")?;
    Ok(builder.activation(function.kind, &clipped, function.alpha, function.beta))
}

/// `state R'`, bias included.
fn recurrence(builder: &mut Builder, direction: &Direction, state: &Typed) -> Result<Typed, Refusal> {
    let product = builder.matmul(state, MatrixKind::Plain, &direction.recurrence, MatrixKind::Transpose)?;
    match &direction.recurrent_bias {
        Some(bias) => builder.pair(ElementWiseKind::Sum, &product, bias),
        None => Ok(product),
    }
}

/// Gate `at` of `[rows, gates hidden]`.
fn gate(builder: &mut Builder, direction: &Direction, gates: &Typed, at: i64) -> Result<Typed, Refusal> {
    builder.part(gates, 1, Term::Known(at * direction.hidden), Term::Known(direction.hidden))
}

fn rnn_step(
    builder: &mut Builder,
    _: &Call,
    direction: &Direction,
    state: &State,
    input: &Typed,
) -> Result<State, Refusal> {
    let from_state = recurrence(builder, direction, &state.hidden)?;
    let sum = builder.pair(ElementWiseKind::Sum, input, &from_state)?;
    Ok(State { hidden: activated(builder, direction, 0, &sum)?, cell: None })
}

/// `H = (1 - z) h + z H`.
fn gru_step(
    builder: &mut Builder,
    call: &Call,
    direction: &Direction,
    state: &State,
    input: &Typed,
) -> Result<State, Refusal> {
    let from_state = recurrence(builder, direction, &state.hidden)?;
    let mut opened = |at: i64| -> Result<Typed, Refusal> {
        let (x, h) = (gate(builder, direction, input, at)?, gate(builder, direction, &from_state, at)?);
        let sum = builder.pair(ElementWiseKind::Sum, &x, &h)?;
        activated(builder, direction, 0, &sum)
    };
    let (update, reset) = (opened(0)?, opened(1)?);
    let candidate = if call.attrs.flag("linear_before_reset") {
        let h = gate(builder, direction, &from_state, 2)?;
        builder.pair(ElementWiseKind::Product, &reset, &h)?
    } else {
        let seen = builder.pair(ElementWiseKind::Product, &reset, &state.hidden)?;
        let weights =
            builder.part(&direction.recurrence, 0, Term::Known(2 * direction.hidden), Term::Known(direction.hidden))?;
        let product = builder.matmul(&seen, MatrixKind::Plain, &weights, MatrixKind::Transpose)?;
        match &direction.recurrent_bias {
            Some(bias) => {
                let bias = gate(builder, direction, bias, 2)?;
                builder.pair(ElementWiseKind::Sum, &product, &bias)?
            }
            None => product,
        }
    };
    let x = gate(builder, direction, input, 2)?;
    let candidate = builder.pair(ElementWiseKind::Sum, &x, &candidate)?;
    let candidate = activated(builder, direction, 1, &candidate)?;
    // (1 - z) H + z h == H + z (h - H).
    let difference = builder.pair(ElementWiseKind::Subtract, &state.hidden, &candidate)?;
    let kept = builder.pair(ElementWiseKind::Product, &update, &difference)?;
    Ok(State { hidden: builder.pair(ElementWiseKind::Sum, &candidate, &kept)?, cell: None })
}

/// `C = f C + i c`, `H = o h(C)`; peepholes let the gates see the cell.
fn lstm_step(
    builder: &mut Builder,
    call: &Call,
    direction: &Direction,
    state: &State,
    input: &Typed,
) -> Result<State, Refusal> {
    let cell = state.cell.as_ref().ok_or("it has no cell")?;
    let from_state = recurrence(builder, direction, &state.hidden)?;
    let sum = builder.pair(ElementWiseKind::Sum, input, &from_state)?;
    let seen = |builder: &mut Builder, gate: Typed, at: i64, cell: &Typed| -> Result<Typed, Refusal> {
        let Some(peepholes) = &direction.peepholes else { return Ok(gate) };
        let peephole = builder.part(peepholes, 1, Term::Known(at * direction.hidden), Term::Known(direction.hidden))?;
        let seen = builder.pair(ElementWiseKind::Product, &peephole, cell)?;
        builder.pair(ElementWiseKind::Sum, &gate, &seen)
    };
    let input_gate = gate(builder, direction, &sum, 0)?;
    let input_gate = seen(builder, input_gate, 0, cell)?;
    let input_gate = activated(builder, direction, 0, &input_gate)?;
    let forget_gate = if call.attrs.flag("input_forget") {
        let one = builder.scalar(1.0, input_gate.data_type, 2)?;
        builder.pair(ElementWiseKind::Subtract, &one, &input_gate)?
    } else {
        let forget_gate = gate(builder, direction, &sum, 2)?;
        let forget_gate = seen(builder, forget_gate, 2, cell)?;
        activated(builder, direction, 0, &forget_gate)?
    };
    let candidate = gate(builder, direction, &sum, 3)?;
    let candidate = activated(builder, direction, 1, &candidate)?;
    let kept = builder.pair(ElementWiseKind::Product, &forget_gate, cell)?;
    let taken = builder.pair(ElementWiseKind::Product, &input_gate, &candidate)?;
    let cell = builder.pair(ElementWiseKind::Sum, &kept, &taken)?;
    let output_gate = gate(builder, direction, &sum, 1)?;
    let output_gate = seen(builder, output_gate, 1, &cell)?;
    let output_gate = activated(builder, direction, 0, &output_gate)?;
    let shown = activated(builder, direction, 2, &cell)?;
    Ok(State { hidden: builder.pair(ElementWiseKind::Product, &output_gate, &shown)?, cell: Some(cell) })
}
