//! Attention whose scores and probabilities go through functions that the model itself brings along as graphs.
//!
//! Dong et al., Flex Attention: A Programming Model for Generating Optimized Attention Kernels, 2024.

use super::PREVIEW;
use super::attention::{four, heads, softmax};
use super::control::infer_body;
use super::pointwise::needs_functions;
use super::shape::count_of;
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::infer::contradicts;
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::Element;
use crate::value::Value;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&FLEX_ATTENTION];

static FLEX_ATTENTION: OpDef = OpDef {
    name: "FlexAttention",
    domain: PREVIEW,
    doc: "prob_mod(softmax(score_mod(Q K' * scale))) V for each head; query heads share key heads in groups",
    versions: &[1],
    inputs: &[Param::required("Q", "T1"), Param::required("K", "T1"), Param::required("V", "T1")],
    outputs: &[Param::required("Y", "T1")],
    attrs: &[
        AttrDef::optional("prob_mod", AttrKind::Graph),
        AttrDef::optional("scale", AttrKind::Float),
        AttrDef::optional("score_mod", AttrKind::Graph),
        AttrDef::optional("softmax_precision", AttrKind::Int),
    ],
    types: &[("T1", sets::FLOAT)],
    infer,
    bodies: Some(|call, _| vec![scores(call).ok()]),
    eval: eval!(flex_attention),
    work: |call, outputs| {
        if MODIFIERS.iter().any(|name| call.attrs.graph(name).is_some()) {
            return None;
        }
        let [q, k, v, _] = heads(call).ok()?;
        let width = q[3].add(&v[3])?.mul(&Dim::known(2))?;
        let scores = q[0].mul(&q[1])?.mul(&q[2])?.mul(&k[2])?;
        // Two products, and for each score the exponential, the sum and the quotient.
        Work::streaming(call, outputs, scores.mul(&width.add(&Dim::known(3))?)?)
    },
    ..OpDef::BASE
};

const MODIFIERS: [&str; 2] = ["score_mod", "prob_mod"];

/// The element type of the scores. Errors: `softmax_precision` is no type of real numbers.
fn precision(attrs: &Attrs, given: Element) -> Result<Element, Reason> {
    match attrs.int("softmax_precision") {
        None if given == Element::Double => Ok(Element::Double),
        None => Ok(Element::Float),
        Some(code) => {
            let named = i32::try_from(code).ok().and_then(Element::from_code);
            let admitted = named.filter(|element| sets::FLOAT.contains(element));
            admitted.ok_or_else(|| Reason(format!("attribute `softmax_precision` is {code}")))
        }
    }
}

/// What a modifier is given, and has to give back.
fn scores(call: &Call) -> Result<Fact, Reason> {
    let [q, k, _, _] = heads(call)?;
    let element = precision(call.attrs, call.ty(0)?.element)?;
    Ok(Fact::new(element, [q[0].clone(), q[1].clone(), q[2].clone(), k[2].clone()]))
}

fn infer(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    if let Some(index) = (0..3).find(|&index| call.ty(index).is_ok_and(|ty| ty.rank() != 4)) {
        return Err(Reason(format!("input {index} is {}, four axes are expected", call.ty(index)?)));
    }
    let [.., y] = heads(call)?;
    let scores = scores(call)?;
    for name in MODIFIERS.into_iter().filter(|name| call.attrs.graph(name).is_some()) {
        let given = infer_body(call, name, &[Some(scores.clone())], 1)?;
        let given = given.first().and_then(|fact| fact.as_ref()?.tensor());
        if let Some((given, wanted)) = given.zip(scores.tensor()).filter(|(given, wanted)| contradicts(given, wanted)) {
            return Err(Reason(format!("`{name}` makes {given} of {wanted}")));
        }
    }
    Ok(vec![Some(Fact::new(call.ty(0)?.element, y))])
}

fn flex_attention<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("softmax")?;
    let (q, k, v) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let ([batch, q_heads, n_queries, width], [k_batch, kv_heads, n_keys, k_width]) = (four(q)?, four(k)?);
    let [v_batch, v_heads, v_keys, v_width] = four(v)?;
    let same = [(k_batch, batch), (v_batch, batch), (v_heads, kv_heads), (v_keys, n_keys), (k_width, width)];
    if same.iter().any(|(a, b)| a != b) || kv_heads == 0 || q_heads % kv_heads != 0 {
        return Err(Reason(format!("queries {:?}, keys {:?} and values {:?} disagree", q.shape, k.shape, v.shape)));
    }
    let precision = precision(call.attrs, q.element)?;
    let rounded = |x: S, element: Element| if call.round { x.round(element) } else { x };
    // Both factors carry the root of the scale, so that neither product overflows first.
    let root = call.attrs.float("scale").map_or(1.0 / (width as f64).sqrt(), f64::from).sqrt();
    let root = rounded(S::from_f64(root), q.element);
    let scaled = |x: &Datum<S>| Ok(x.real()?.iter().map(|&x| rounded(x.mul(root), q.element)).collect::<Vec<S>>());
    let (queries, keys, values) = (scaled(q)?, scaled(k)?, v.real()?);
    let group = q_heads / kv_heads;
    let of_keys = |item: usize, head: usize| item * kv_heads + head / group;
    let rows = || (0..batch).flat_map(|item| (0..q_heads).map(move |head| (item, head)));
    let shape = [batch, q_heads, n_queries, n_keys];
    let mut scores = Vec::with_capacity(count_of(&shape)?);
    for (item, head) in rows() {
        for query in 0..n_queries {
            let row = &queries[((item * q_heads + head) * n_queries + query) * width..][..width];
            let key = |at: usize| &keys[(of_keys(item, head) * n_keys + at) * width..][..width];
            let product = |at: usize| S::dot(row.iter().copied().zip(key(at).iter().copied()));
            scores.extend((0..n_keys).map(|at| rounded(rounded(product(at), q.element), precision)));
        }
    }
    let scores = modified(call, "score_mod", Datum::of_real(precision, &shape, scores))?;
    let mut weights = Vec::with_capacity(scores.count());
    for row in scores.real()?.chunks_exact(n_keys.max(1)) {
        weights.extend(softmax(row).into_iter().map(|weight| rounded(weight, precision)));
    }
    let weights = modified(call, "prob_mod", Datum::of_real(precision, &shape, weights))?;
    let weights = weights.real()?;
    let y_shape = [batch, q_heads, n_queries, v_width];
    let mut y = Vec::with_capacity(count_of(&y_shape)?);
    for (at, (item, head)) in rows().enumerate() {
        let of_head = &values[of_keys(item, head) * n_keys * v_width..][..n_keys * v_width];
        for query in 0..n_queries {
            let row = &weights[(at * n_queries + query) * n_keys..][..n_keys];
            let value = |column: usize| (0..n_keys).map(move |key| of_head[key * v_width + column]);
            y.extend((0..v_width).map(|column| rounded(S::dot(row.iter().copied().zip(value(column))), precision)));
        }
    }
    Ok(vec![Datum::of_real(v.element, &y_shape, y)])
}

/// `scores` as body `name` changes them, when there is one. Errors: it fails, or gives another type.
fn modified<S: Scalar>(call: &EvalCall<S>, name: &str, scores: Datum<S>) -> Result<Datum<S>, Reason> {
    if call.attrs.graph(name).is_none() {
        return Ok(scores);
    }
    let (element, shape) = (scores.element, scores.shape.clone());
    match call.run_body(name, &[Value::Tensor(scores)])?.as_slice() {
        [Value::Tensor(given)] if given.element == element && given.shape == shape => Ok(given.clone()),
        _ => Err(Reason(format!("`{name}` does not give one tensor of the type that it takes"))),
    }
}
