//! Linear attention and causal convolution: sequence operators that carry a state from call to call.
//!
//! Katharopoulos et al., Transformers are RNNs, 2020; Yang et al., Gated Delta Networks, 2024; Gu and Dao, Mamba, 2023.

use super::functions::{EXP, SIGMOID};
use super::pointwise::needs_functions;
use super::shape::{count_of, overflow};
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work};
use crate::types::Element::{self, *};
use crate::types::TensorType;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&LINEAR_ATTENTION, &CAUSAL_CONV_WITH_STATE];

/// The floating-point types without double precision.
const NETWORK_FLOAT: &[Element] = &[Float16, Bfloat16, Float];

static LINEAR_ATTENTION: OpDef = OpDef {
    name: "LinearAttention",
    doc: "o = scale * S' q with the state S = exp(g) * S + k (beta * (v - exp(g) * S' k))', step by step for each head",
    versions: &[27],
    inputs: &[
        Param::required("query", "T"),
        Param::required("key", "T"),
        Param::required("value", "T"),
        Param::optional("past_state", "S"),
        Param::optional("decay", "T"),
        Param::optional("beta", "T"),
    ],
    outputs: &[Param::required("output", "T"), Param::required("present_state", "S")],
    attrs: &[
        AttrDef::int("chunk_size", 64),
        AttrDef::required("kv_num_heads", AttrKind::Int),
        AttrDef::required("q_num_heads", AttrKind::Int),
        AttrDef::float("scale", 0.0),
        AttrDef::string("update_rule", "gated_delta"),
    ],
    types: &[("T", NETWORK_FLOAT), ("S", NETWORK_FLOAT)],
    infer: infer_linear_attention,
    eval: eval!(linear_attention),
    work: linear_attention_work,
    ..OpDef::BASE
};

/// What a step does to the state before it adds the outer product of key and value.
#[derive(Clone, Copy)]
struct UpdateRule {
    /// It decays.
    gated: bool,
    /// What the key retrieves is subtracted from the value, and the rest weighed by `beta`.
    delta: bool,
}

impl UpdateRule {
    /// Errors: the rule is unknown, or the inputs `decay` and `beta` are not those that it reads.
    fn of(attrs: &Attrs, has_decay: bool, has_beta: bool) -> Result<Self, Reason> {
        let name = attrs.string("update_rule").unwrap_or("gated_delta");
        let (gated, delta) = match name {
            "linear" => (false, false),
            "gated" => (true, false),
            "delta" => (false, true),
            "gated_delta" => (true, true),
            _ => return Err(Reason(format!("attribute `update_rule` is `{name}`"))),
        };
        for (input, needed, given) in [("decay", gated, has_decay), ("beta", delta, has_beta)] {
            if needed != given {
                let verb = if needed { "needs" } else { "has no" };
                return Err(Reason(format!("the update rule `{name}` {verb} input `{input}`")));
            }
        }
        Ok(Self { gated, delta })
    }
}

/// Numbers of query heads and of key heads. Errors: not positive, or not shared evenly.
fn head_counts(attrs: &Attrs) -> Result<[i64; 2], Reason> {
    let count = |name: &str| attrs.int(name).unwrap_or(0);
    match [count("q_num_heads"), count("kv_num_heads")] {
        [q, kv] if q > 0 && kv > 0 && q % kv == 0 => Ok([q, kv]),
        [q, kv] => Err(Reason(format!("{q} query heads do not share {kv} key heads"))),
    }
}

/// The dims of a linear attention.
struct Sizes {
    batch: Dim,
    length: Dim,
    q_heads: Dim,
    kv_heads: Dim,
    /// Width of a key.
    key: Dim,
    /// Width of a value.
    value: Dim,
}

impl Sizes {
    fn of(call: &Call) -> Result<Self, Reason> {
        let [q_heads, kv_heads] = head_counts(call.attrs)?.map(Dim::known);
        let (query, key, value) = (three_axes(call, 0)?, three_axes(call, 1)?, three_axes(call, 2)?);
        let width_of = |hidden: &Dim, heads: &Dim| match hidden.exact_div(heads) {
            Some(width) => Ok(width),
            None if hidden.as_known().is_some() => Err(Reason(format!("{hidden} in {heads} heads"))),
            None => hidden.floor_div(heads).ok_or_else(overflow),
        };
        let widths = [width_of(&query[2], &q_heads)?, width_of(&key[2], &kv_heads)?];
        Ok(Self {
            batch: agree(&agree(&query[0], &key[0])?, &value[0])?,
            length: agree(&agree(&query[1], &key[1])?, &value[1])?,
            key: agree(&widths[0], &widths[1])?,
            value: width_of(&value[2], &kv_heads)?,
            q_heads,
            kv_heads,
        })
    }

    fn state(&self) -> [Dim; 4] {
        [self.batch.clone(), self.kv_heads.clone(), self.key.clone(), self.value.clone()]
    }
}

fn three_axes<'a>(call: &Call<'a>, index: usize) -> Result<&'a [Dim; 3], Reason> {
    let ty: &'a TensorType = call.ty(index)?;
    <&[Dim; 3]>::try_from(ty.shape.as_slice()).map_err(|_| Reason(format!("input {index} has three axes, found {ty}")))
}

/// The one size of two dims, from the one that is known. Errors: both are known and differ.
fn agree(a: &Dim, b: &Dim) -> Result<Dim, Reason> {
    match (a.as_known(), b.as_known()) {
        (Some(x), Some(y)) if x != y => Err(Reason(format!("{x} and {y} should be the same size"))),
        (None, Some(_)) => Ok(b.clone()),
        _ => Ok(a.clone()),
    }
}

fn infer_linear_attention(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    UpdateRule::of(call.attrs, call.given(4).is_some(), call.given(5).is_some())?;
    let mut sizes = Sizes::of(call)?;
    for index in [4, 5] {
        if call.given(index).is_some() {
            let given = three_axes(call, index)?;
            sizes.batch = agree(&sizes.batch, &given[0])?;
            sizes.length = agree(&sizes.length, &given[1])?;
        }
    }
    let mut state = sizes.state();
    if let Some(past) = call.given(3) {
        if past.ty.rank() != 4 {
            return Err(Reason(format!("the past state has four axes, found {}", past.ty)));
        }
        for (dim, of_past) in state.iter_mut().zip(&past.ty.shape) {
            *dim = agree(dim, of_past)?;
        }
        sizes.batch = state[0].clone();
    }
    let element = call.ty(0)?.element;
    // Without a past nothing names the type of the state; it is that of the queries.
    let of_state = call.given(3).map_or(element, |past| past.ty.element);
    let hidden = sizes.q_heads.mul(&sizes.value).ok_or_else(overflow)?;
    let output = Fact::new(element, [sizes.batch.clone(), sizes.length.clone(), hidden]);
    Ok([output, Fact::new(of_state, state)].into_iter().take(call.n_outputs.max(1)).map(Some).collect())
}

/// Each step touches the state of each head: it adds the outer product and reads with every query; decay and correction
/// touch it again.
fn linear_attention_work(call: &Call, outputs: &[TensorType]) -> Option<Work> {
    let rule = UpdateRule::of(call.attrs, call.given(4).is_some(), call.given(5).is_some()).ok()?;
    let sizes = Sizes::of(call).ok()?;
    let writes = 2 + i64::from(rule.gated) + 2 * i64::from(rule.delta);
    let touches = sizes.kv_heads.mul(&Dim::known(writes))?.add(&sizes.q_heads.mul(&Dim::known(2))?)?;
    let steps = sizes.batch.mul(&sizes.length)?;
    Work::streaming(call, outputs, steps.mul(&touches)?.mul(&sizes.key)?.mul(&sizes.value)?)
}

fn linear_attention<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let rule = UpdateRule::of(call.attrs, call.given(4).is_some(), call.given(5).is_some())?;
    let [q_heads, kv_heads] = head_counts(call.attrs)?.map(|count| count as usize);
    let (query, key, value) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let ([batch, length, q_hidden], [.., k_hidden], [.., v_hidden]) = (three(query)?, three(key)?, three(value)?);
    let (key_width, value_width) = (k_hidden / kv_heads, v_hidden / kv_heads);
    let fits = [(query, q_hidden), (key, kv_heads * key_width), (value, kv_heads * value_width)];
    let same_width = q_hidden % q_heads == 0 && q_hidden / q_heads == key_width;
    if !same_width || fits.iter().any(|(datum, hidden)| datum.shape != [batch, length, *hidden]) {
        let shapes = [&query.shape, &key.shape, &value.shape];
        return Err(Reason(format!(
            "queries, keys and values of shapes {shapes:?} do not fit {q_heads} and {kv_heads} heads"
        )));
    }
    // The last axis of a gate counts one number a head, or one an element of what it acts on.
    let gate = |index: usize, sizes: [usize; 2]| match call.given(index) {
        None => Ok(None),
        Some(gate) => match gate.shape[..] {
            [b, t, last] if b == batch && t == length && sizes.contains(&last) => Ok(Some((gate.real()?, last))),
            _ => Err(Reason(format!("input {index} has the shape {:?}", gate.shape))),
        },
    };
    if rule.gated {
        needs_functions::<S>("exp")?;
    }
    let (decay, beta) = (gate(4, [kv_heads, kv_heads * key_width])?, gate(5, [kv_heads, 1])?);
    let state_shape = [batch, kv_heads, key_width, value_width];
    let n_state = count_of(&state_shape)?;
    let mut state = match call.given(3) {
        Some(past) if past.shape != state_shape => {
            return Err(Reason(format!("the past state has the shape {:?}, expected {state_shape:?}", past.shape)));
        }
        Some(past) => past.real()?.to_vec(),
        None => vec![S::from_int(0); n_state],
    };
    let scale = match call.float("scale")?.to_f64() {
        0.0 => S::from_f64(1.0 / (key_width as f64).sqrt()),
        scale => S::from_f64(scale),
    };
    let (queries, keys, values) = (query.real()?, key.real()?, value.real()?);
    let output_shape = [batch, length, q_heads.checked_mul(value_width).ok_or_else(overflow)?];
    let mut output = vec![S::from_int(0); count_of(&output_shape)?];
    for (item, step) in (0..batch).flat_map(|item| (0..length).map(move |step| (item, step))) {
        let at = item * length + step;
        for head in 0..kv_heads {
            let state = &mut state[(item * kv_heads + head) * key_width * value_width..][..key_width * value_width];
            let key = &keys[(at * kv_heads + head) * key_width..][..key_width];
            let mut value = values[(at * kv_heads + head) * value_width..][..value_width].to_vec();
            if let Some((decay, last)) = decay {
                for (row, cells) in state.chunks_mut(value_width.max(1)).enumerate() {
                    let gate = if last == kv_heads { head } else { head * key_width + row };
                    let factor = decay[at * last + gate].apply(&EXP);
                    cells.iter_mut().for_each(|cell| *cell = cell.mul(factor));
                }
            }
            let column = |state: &[S], column: usize, with: &[S]| {
                S::dot(with.iter().copied().zip(state[column..].iter().step_by(value_width).copied()))
            };
            if let Some((beta, last)) = beta {
                let beta = beta[at * last + head.min(last - 1)];
                for (column_at, value) in value.iter_mut().enumerate() {
                    *value = beta.mul(value.sub(column(state, column_at, key)));
                }
            }
            for (cells, &key) in state.chunks_mut(value_width.max(1)).zip(key) {
                cells.iter_mut().zip(&value).for_each(|(cell, &value)| *cell = cell.add(key.mul(value)));
            }
            let group = q_heads / kv_heads;
            for head in head * group..(head + 1) * group {
                let query = &queries[(at * q_heads + head) * key_width..][..key_width];
                let row = &mut output[(at * q_heads + head) * value_width..][..value_width];
                row.iter_mut().enumerate().for_each(|(at, into)| *into = scale.mul(column(state, at, query)));
            }
        }
    }
    let of_state = call.given(3).map_or(query.element, |past| past.element);
    Ok(vec![Datum::of_real(query.element, &output_shape, output), Datum::of_real(of_state, &state_shape, state)])
}

fn three<S: Scalar>(x: &Datum<S>) -> Result<[usize; 3], Reason> {
    <[usize; 3]>::try_from(x.shape.as_slice())
        .map_err(|_| Reason(format!("three axes are expected, found the shape {:?}", x.shape)))
}

static CAUSAL_CONV_WITH_STATE: OpDef = OpDef {
    name: "CausalConvWithState",
    doc: "The convolution of each channel with its own kernel over its past and present, perhaps followed by SiLU",
    versions: &[27],
    inputs: &[
        Param::required("input", "T"),
        Param::required("weight", "T"),
        Param::optional("bias", "T"),
        Param::optional("past_state", "T"),
    ],
    outputs: &[Param::required("output", "T"), Param::required("present_state", "T")],
    attrs: &[AttrDef::string("activation", "none")],
    types: &[("T", NETWORK_FLOAT)],
    infer: infer_causal_conv,
    eval: eval!(causal_conv),
    work: |call, outputs| {
        let kernel = call.ty(1).ok()?.shape.get(2)?;
        let each =
            kernel.mul(&Dim::known(2))?.add(&Dim::known(if has_activation(call.attrs).ok()? { 6 } else { 0 }))?;
        Work::streaming(call, outputs, outputs.first()?.count()?.mul(&each)?)
    },
    ..OpDef::BASE
};

/// True when SiLU follows. Errors: another activation.
fn has_activation(attrs: &Attrs) -> Result<bool, Reason> {
    match attrs.string("activation") {
        Some("none") => Ok(false),
        Some("silu" | "swish") => Ok(true),
        other => Err(Reason(format!("attribute `activation` is `{}`", other.unwrap_or_default()))),
    }
}

fn infer_causal_conv(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    has_activation(call.attrs)?;
    let ([batch, channels, _], [of_kernel, one, kernel]) = (three_axes(call, 0)?, three_axes(call, 1)?);
    let mut channels = agree(channels, of_kernel)?;
    agree(one, &Dim::known(1))?;
    if kernel.is(0) {
        return Err(Reason::new("the kernel is empty"));
    }
    let before = kernel.sub(&Dim::known(1)).ok_or_else(overflow)?;
    if let Some(bias) = call.given(2) {
        let [of_bias] = bias.ty.shape.as_slice() else { return Err(Reason(format!("the bias is {}", bias.ty))) };
        channels = agree(&channels, of_bias)?;
    }
    let mut state = [batch.clone(), channels, before];
    if call.given(3).is_some() {
        for (dim, of_past) in state.iter_mut().zip(three_axes(call, 3)?) {
            *dim = agree(dim, of_past)?;
        }
    }
    let ty = call.ty(0)?;
    let output = [state[0].clone(), state[1].clone(), ty.shape[2].clone()];
    let facts = [Fact::new(ty.element, output), Fact::new(ty.element, state)];
    Ok(facts.into_iter().take(call.n_outputs.max(1)).map(Some).collect())
}

fn causal_conv<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let activation = has_activation(call.attrs)?;
    if activation {
        needs_functions::<S>("exp")?;
    }
    let (input, weight) = (call.input(0)?, call.input(1)?);
    let ([batch, channels, length], [of_kernel, one, kernel]) = (three(input)?, three(weight)?);
    if of_kernel != channels || one != 1 || kernel == 0 {
        return Err(Reason(format!("a kernel of shape {:?} for an input of shape {:?}", weight.shape, input.shape)));
    }
    let before = kernel - 1;
    let state_shape = [batch, channels, before];
    let optional = |index: usize, shape: &[usize]| match call.given(index) {
        Some(given) if given.shape != shape => {
            Err(Reason(format!("input {index} has the shape {:?}, expected {shape:?}", given.shape)))
        }
        Some(given) => Ok(Some(given.real()?)),
        None => Ok(None),
    };
    let (bias, past) = (optional(2, &[channels])?, optional(3, &state_shape)?);
    let (input_elements, kernels) = (input.real()?, weight.real()?);
    let n_state = count_of(&state_shape)?;
    let (mut output, mut present) = (Vec::with_capacity(input.count()), Vec::with_capacity(n_state));
    for row in 0..batch * channels {
        let channel = row % channels;
        let mut padded = match past {
            Some(past) => past[row * before..][..before].to_vec(),
            None => vec![S::from_int(0); before],
        };
        padded.extend(&input_elements[row * length..][..length]);
        let kernel_of_channel = &kernels[channel * kernel..][..kernel];
        for window in padded.windows(kernel) {
            let sum = S::dot(window.iter().copied().zip(kernel_of_channel.iter().copied()));
            let y = bias.map_or(sum, |bias| sum.add(bias[channel]));
            output.push(if activation { y.mul(y.apply(&SIGMOID)) } else { y });
        }
        present.extend(&padded[length..]);
    }
    Ok(vec![Datum::of_real(input.element, &input.shape, output), Datum::of_real(input.element, &state_shape, present)])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn the_state_has_one_matrix_for_each_key_head() {
        let heads = |q: i64, kv: i64, rule: &str| {
            [("q_num_heads", Attr::Int(q)), ("kv_num_heads", Attr::Int(kv)), ("update_rule", Attr::String(rule.into()))]
        };
        let packed = ["float[b,t,32]", "float[b,t,16]", "float[b,t,24]"];
        assert_eq!(infer("LinearAttention", &heads(4, 2, "linear"), &packed), "float[b,t,48]");
        let refused = "3 query heads do not share 2 key heads";
        assert_eq!(infer("LinearAttention", &heads(3, 2, "linear"), &packed), refused);
        let refused = "the update rule `gated` needs input `decay`";
        assert_eq!(infer("LinearAttention", &heads(4, 2, "gated"), &packed), refused);
        assert_eq!(infer("LinearAttention", &heads(4, 4, "linear"), &packed), "8 and 4 should be the same size");
    }

    #[test]
    fn a_causal_convolution_keeps_the_length() {
        assert_eq!(infer("CausalConvWithState", &[], &["float[b,c,t]", "float[c,1,4]"]), "float[b,c,t]");
        let refused = "8 and 4 should be the same size";
        assert_eq!(infer("CausalConvWithState", &[], &["float[b,8,t]", "float[4,1,4]"]), refused);
    }
}
