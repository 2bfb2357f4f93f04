//! Recurrent layers, one step after the other.
//!
//! The product of the whole sequence with the input weights is one matrix product; what depends on the state is written out for
//! each step of a short sequence, and is the body of a loop for a long or dynamic one. Gates stand in the weights in the order of
//! ONNX: `zrh` in GRU, `iofc` in LSTM.
//!
//! Sequences that end early are masked: from its end on, the state of a sequence stays as it is, and it shows zeros. Backwards, the
//! steps beyond the end come first and leave the initial state, so that the mask is the same.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::terms::Term;
use super::turns::Scanned;
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

/// Steps that are written out; a loop makes the more.
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

/// An activation with its parameters: `alpha x + beta` when it has no kind.
struct Function {
    kind: Option<ActivationKind>,
    alpha: Option<f32>,
    beta: Option<f32>,
}

/// Hidden and, in LSTM, cell state: `[batch, hidden]`.
#[derive(Clone)]
struct State {
    hidden: Typed,
    cell: Option<Typed>,
}

/// One direction before it runs.
struct Run {
    direction: Direction,
    /// What the input adds to the gates: `[steps, batch, gates hidden]`.
    inputs: Typed,
    initial: State,
    is_backwards: bool,
}

/// What a direction has shown, `[steps, batch, hidden]`, and its last state.
type Ran = (Typed, State);

fn recurrent(builder: &mut Builder, call: &Call, cell: &Cell) -> Lowered {
    let batch_first = call.attrs.flag("layout");
    let x = builder.input(call, 0)?;
    if x.rank() != 3 {
        return Err(Refusal::new("its input has not three axes"));
    }
    let x = if batch_first { builder.transpose(&x, &[1, 0, 2]) } else { x };
    if x.shape[0].as_known() == Some(0) {
        return Err(Refusal::new("its sequence is empty"));
    }
    let recurrence = call.value(2)?.shape();
    let hidden = recurrence.get(2).and_then(Dim::as_known).ok_or("the extents of its weights are dynamic")?;
    let ways: &[bool] = match call.string("direction", "forward") {
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        _ => &[false],
    };
    let goes_on = mask(builder, call, &x)?;
    let mut runs = Vec::new();
    for (at, &is_backwards) in ways.iter().enumerate() {
        let (direction, inputs) = direction(builder, call, cell, &x, at, hidden)?;
        let initial = initial(builder, call, cell, &direction, at, &x, batch_first)?;
        runs.push(Run { direction, inputs, initial, is_backwards });
    }
    let mut step = |builder: &mut Builder, run: &Run, state: &State, input: &Typed, goes_on: Option<&Typed>| {
        let next = (cell.step)(builder, call, &run.direction, state, input)?;
        match goes_on {
            Some(goes_on) => masked(builder, goes_on, state, next),
            None => Ok((next.hidden.clone(), next)),
        }
    };
    let ran = match x.shape[0].as_known() {
        Some(length) if length <= MOST_STEPS => {
            runs.iter().map(|run| written_out(builder, run, goes_on.as_ref(), length, &mut step)).collect()
        }
        _ => looped(builder, &runs, goes_on.as_ref(), &mut step),
    };
    let (mut sequences, mut last) = (Vec::new(), Vec::new());
    for (shown, state) in ran? {
        sequences.push(builder.unsqueeze(&shown, &[1])?);
        last.push(state);
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

/// What a step of a run shows, `[batch, hidden]`, and the state after it; given the state before it, a part of the inputs and one
/// of the mask.
type Step<'a> = dyn FnMut(&mut Builder, &Run, &State, &Typed, Option<&Typed>) -> Result<(Typed, State), Refusal> + 'a;

/// A run with a layer for each step. `goes_on` says which sequences do, `[steps, batch, 1]`; without it all have every step.
fn written_out(
    builder: &mut Builder,
    run: &Run,
    goes_on: Option<&Typed>,
    length: i64,
    step: &mut Step,
) -> Result<Ran, Refusal> {
    let (mut shown, mut state) = (Vec::new(), run.initial.clone());
    for turn in 0..length {
        let at = if run.is_backwards { length - 1 - turn } else { turn };
        let mut part = |of: &Typed| -> Result<Typed, Refusal> {
            let part = builder.part(of, 0, Term::Known(at), Term::Known(1))?;
            Ok(builder.squeeze(&part, &[0]))
        };
        let (input, goes_on) = (part(&run.inputs)?, goes_on.map(part).transpose()?);
        let (hidden, after) = step(builder, run, &state, &input, goes_on.as_ref())?;
        shown.push(builder.unsqueeze(&hidden, &[0])?);
        state = after;
    }
    if run.is_backwards {
        shown.reverse();
    }
    Ok((builder.concat(&shown, 0)?, state))
}

/// All runs by one loop of the network, so that both directions share its turns.
fn looped(builder: &mut Builder, runs: &[Run], goes_on: Option<&Typed>, step: &mut Step) -> Result<Vec<Ran>, Refusal> {
    let of = builder.new_flow();
    let first = runs.first().ok_or("it has no direction")?;
    let parts_of = |input: &Typed, run: &Run| Scanned { input: input.clone(), axis: 0, reverse: run.is_backwards };
    let turns = builder.counted_by(of, &parts_of(&first.inputs, first))?;
    let mut ran = Vec::new();
    for run in runs {
        let hidden = builder.carried(of, &run.initial.hidden.clone().into())?;
        let cell = run.initial.cell.clone().map(|cell| builder.carried(of, &cell.into())).transpose()?;
        let before = State { hidden, cell };
        let input = builder.scanned(of, &parts_of(&run.inputs, run));
        let goes_on = goes_on.map(|mask| builder.scanned(of, &parts_of(mask, run)));
        // What the turns ask of extents is computed once, outside.
        builder.sizes(&run.inputs)?;
        let outside = builder.enter();
        let taken = step(builder, run, &before, &input, goes_on.as_ref());
        builder.leave(outside);
        let (shown, after) = taken?;
        let mut closed = |before: &Typed, after: Typed| -> Result<Typed, Refusal> {
            builder.next(before, &after.into())?;
            Ok(builder.last(of, before))
        };
        let hidden = closed(&before.hidden, after.hidden)?;
        let cell = before.cell.as_ref().zip(after.cell).map(|(before, after)| closed(before, after)).transpose()?;
        let shown = builder.stacked(of, &shown.into(), 0, &turns, run.is_backwards)?;
        ran.push((shown, State { hidden, cell }));
    }
    Ok(ran)
}

/// Whether each sequence of `x`, `[steps, batch, input]`, has each step: `[steps, batch, 1]`; `None` when no lengths are given.
fn mask(builder: &mut Builder, call: &Call, x: &Typed) -> Result<Option<Typed>, Refusal> {
    let Some(lengths) = call.given(4) else { return Ok(None) };
    let lengths = builder.tensor(&lengths.value)?;
    let mut lengths = builder.unsqueeze(&lengths, &[0, 2])?;
    lengths.shape[1] = x.shape[1].clone();
    let steps = builder.extent(x, 0)?;
    let steps = builder.count_up(&steps, &x.shape[0])?;
    let steps = builder.unsqueeze(&steps, &[1, 2])?;
    let steps = builder.cast(&steps, lengths.data_type);
    builder.pair(ElementWiseKind::Less, &steps, &lengths).map(Some)
}

/// Where a sequence has ended, its state stays and zeros are shown.
fn masked(builder: &mut Builder, goes_on: &Typed, before: &State, after: State) -> Result<(Typed, State), Refusal> {
    let mut chosen = |after: &Typed, otherwise: &Typed| {
        builder.select(&goes_on.clone().into(), &after.clone().into(), &otherwise.clone().into())
    };
    let hidden = chosen(&after.hidden, &before.hidden)?;
    let cell =
        after.cell.as_ref().zip(before.cell.as_ref()).map(|(after, before)| chosen(after, before)).transpose()?;
    let zero = builder.scalar(0.0, after.hidden.data_type, 2)?;
    let shown = builder.select(&goes_on.clone().into(), &after.hidden.into(), &zero.into())?;
    Ok((shown, State { hidden, cell }))
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
    let activations = functions(call, cell)?.into_iter().skip(at * cell.activations.len()).collect();
    let peepholes = of_direction(builder, call, 7, at)?;
    let clip = call.attrs.float("clip");
    Ok((Direction { recurrence, recurrent_bias, peepholes, activations, hidden, clip }, inputs))
}

/// The functions of all directions, one direction after the other. Those that have a parameter take the next one of its list.
fn functions(call: &Call, cell: &Cell) -> Result<Vec<Function>, Refusal> {
    let names: Vec<&str> = match call.attrs.strings("activations").filter(|names| !names.is_empty()) {
        Some(names) => names.iter().map(Name::as_str).collect(),
        None => cell.activations.repeat(2),
    };
    let list = |name: &str| call.attrs.floats(name).unwrap_or_default().iter().copied();
    let (mut alphas, mut betas) = (list("activation_alpha"), list("activation_beta"));
    let mut next = |alpha: Option<f32>, beta: Option<f32>| {
        let alpha = alpha.map(|default| alphas.next().unwrap_or(default));
        (alpha, beta.map(|default| betas.next().unwrap_or(default)))
    };
    let function = |name: &str| {
        use ActivationKind::*;
        let (kind, (alpha, beta)) = match name.to_ascii_lowercase().as_str() {
            "relu" => (Some(Relu), next(None, None)),
            "tanh" => (Some(Tanh), next(None, None)),
            "sigmoid" => (Some(Sigmoid), next(None, None)),
            "softsign" => (Some(Softsign), next(None, None)),
            "softplus" => (Some(Softplus), (Some(1.0), Some(1.0))),
            "affine" => (None, next(Some(1.0), Some(0.0))),
            "leakyrelu" => (Some(LeakyRelu), next(Some(0.01), None)),
            "thresholdedrelu" => (Some(ThresholdedRelu), next(Some(1.0), None)),
            "elu" => (Some(Elu), next(Some(1.0), None)),
            "scaledtanh" => (Some(ScaledTanh), next(Some(1.0), Some(1.0))),
            "hardsigmoid" => (Some(HardSigmoid), next(Some(0.2), Some(0.5))),
            _ => return Err(Refusal::new(format!("its activation is {name}")).instead("a named activation of ONNX")),
        };
        Ok(Function { kind, alpha, beta })
    };
    names.into_iter().map(function).collect()
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
                let one = builder.squeeze(&one, &[0]);
                Ok(Typed { shape: vec![x.shape[1].clone(), Dim::known(direction.hidden)], ..one })
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
    let Some(kind) = function.kind else {
        let scaled = builder.with(ElementWiseKind::Product, &clipped, function.alpha.map_or(1.0, f64::from))?;
        return builder.with(ElementWiseKind::Sum, &scaled, function.beta.map_or(0.0, f64::from));
    };
    Ok(builder.activation(kind, &clipped, function.alpha, function.beta))
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
