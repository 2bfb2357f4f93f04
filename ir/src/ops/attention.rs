//! Scaled dot-product attention: Vaswani et al., Attention Is All You Need, 2017.

use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Function, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::movement::{joined, transposed};
use crate::ops::pointwise::needs_functions;
use crate::ops::shape::{count_of, overflow};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ATTENTION];

static ATTENTION: OpDef = OpDef {
    name: "Attention",
    doc: "softmax(Q K' * scale + bias) V for each head; the bias masks, the past extends K and V",
    versions: &[23, 24, 25],
    inputs: &[
        Param::required("Q", "T1"),
        Param::required("K", "T1"),
        Param::required("V", "T2"),
        Param::optional("attn_mask", "U"),
        Param::optional("past_key", "T1"),
        Param::optional("past_value", "T2"),
        Param::optional("nonpad_kv_seqlen", "tensor(int64)"),
    ],
    outputs: &[
        Param::required("Y", "T1"),
        Param::optional("present_key", "T1"),
        Param::optional("present_value", "T2"),
        Param::optional("qk_matmul_output", "T1"),
    ],
    attrs: &[
        AttrDef::int("is_causal", 0),
        AttrDef::optional("kv_num_heads", AttrKind::Int),
        AttrDef::int("left_window_size", -1),
        AttrDef::optional("q_num_heads", AttrKind::Int),
        AttrDef::int("qk_matmul_output_mode", 0),
        AttrDef::int("right_window_size", -1),
        AttrDef::optional("scale", AttrKind::Float),
        AttrDef::float("softcap", 0.0),
        AttrDef::optional("softmax_precision", AttrKind::Int),
    ],
    types: &[("T1", sets::FLOAT), ("T2", sets::FLOAT), ("U", sets::NUMERIC_OR_BOOL), ("tensor(int64)", sets::INT64)],
    infer: infer_attention,
    eval: eval!(attention),
    work: |call, outputs| {
        let [q, k, v, _] = heads(call).ok()?;
        let total = total_length(call, &k).ok()?;
        let width = q[3].add(&v[3])?.mul(&Dim::known(2))?;
        let scores = q[0].mul(&q[1])?.mul(&q[2])?.mul(&total)?;
        // Two products, and for each score the exponential, the sum and the quotient.
        Work::streaming(call, outputs, scores.mul(&width.add(&Dim::known(3))?)?)
    },
    ..OpDef::BASE
};

/// The shapes of queries, keys and values, each `batch, heads, length, width`, and that of the result.
pub(super) fn heads(call: &Call) -> Result<[Vec<Dim>; 4], Reason> {
    let head_count = |name: &str| match call.attrs.int(name) {
        Some(count) if count > 0 => Ok(Dim::known(count)),
        count => Err(Reason(format!("attribute `{name}` is {}, three axes need it", count.unwrap_or(0)))),
    };
    let rank = call.ty(0)?.rank();
    let split = |index: usize, name: &str| match call.ty(index)?.shape.as_slice() {
        [batch, heads, length, width] if rank == 4 => {
            Ok(vec![batch.clone(), heads.clone(), length.clone(), width.clone()])
        }
        [batch, length, hidden] if rank == 3 => {
            let heads = head_count(name)?;
            let width = match hidden.exact_div(&heads) {
                Some(width) => width,
                None if hidden.as_known().is_some() => return Err(Reason(format!("{hidden} in {heads} heads"))),
                None => hidden.floor_div(&heads).ok_or_else(overflow)?,
            };
            Ok(vec![batch.clone(), heads, length.clone(), width])
        }
        _ => Err(Reason(format!("input {index} of type {} has no heads", call.ty(index)?))),
    };
    let (q, k, v) = (split(0, "q_num_heads")?, split(1, "kv_num_heads")?, split(2, "kv_num_heads")?);
    let apart = |a: &Dim, b: &Dim| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
    for (a, b) in [(&q[0], &k[0]), (&k[0], &v[0]), (&q[3], &k[3]), (&k[1], &v[1]), (&k[2], &v[2])] {
        if apart(a, b) {
            return Err(Reason(format!("queries {q:?}, keys {k:?} and values {v:?} disagree")));
        }
    }
    if q[1].as_known().zip(k[1].as_known()).is_some_and(|(q, k)| k == 0 || q % k != 0) {
        return Err(Reason(format!("{} query heads do not share {} key heads", q[1], k[1])));
    }
    let y = match rank {
        3 => vec![q[0].clone(), q[2].clone(), q[1].mul(&v[3]).ok_or_else(overflow)?],
        _ => vec![q[0].clone(), q[1].clone(), q[2].clone(), v[3].clone()],
    };
    Ok([q, k, v, y])
}

/// Length of the keys with the past before them.
fn total_length(call: &Call, k: &[Dim]) -> Result<Dim, Reason> {
    match call.given(4) {
        Some(past) if past.ty.rank() == 4 => past.ty.shape[2].add(&k[2]).ok_or_else(overflow),
        Some(past) => Err(Reason(format!("the past keys are {}, four axes are expected", past.ty))),
        None => Ok(k[2].clone()),
    }
}

fn infer_attention(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let [q, k, v, y] = heads(call)?;
    check_caches(call.given(4).is_some(), call.given(5).is_some(), call.given(6).is_some())?;
    let total = total_length(call, &k)?;
    let present = |of: &[Dim]| [of[0].clone(), of[1].clone(), total.clone(), of[3].clone()];
    let element = call.ty(0)?.element;
    let facts = [
        Fact::new(element, y),
        Fact::new(element, present(&k)),
        Fact::new(call.ty(2)?.element, present(&v)),
        Fact::new(element, [q[0].clone(), q[1].clone(), q[2].clone(), total.clone()]),
    ];
    Ok(facts.into_iter().take(call.n_outputs.max(1)).map(Some).collect())
}

fn check_caches(past_key: bool, past_value: bool, lengths: bool) -> Result<(), Reason> {
    if past_key != past_value {
        return Err(Reason::new("past keys and past values go together"));
    }
    if past_key && lengths {
        return Err(Reason::new("a past inside the call and valid lengths of an outer cache exclude each other"));
    }
    Ok(())
}

/// `x` as `batch, heads, length, width`, with the past in front.
fn with_heads<S: Scalar>(x: &Datum<S>, heads: usize, past: Option<&Datum<S>>) -> Result<Datum<S>, Reason> {
    let x = match x.shape[..] {
        [batch, length, hidden] => {
            transposed(&x.reshaped(&[batch, length, heads, hidden / heads.max(1)])?, &[0, 2, 1, 3])?
        }
        _ => x.clone(),
    };
    match past {
        Some(past) => joined(&[past, &x], 2),
        None => Ok(x),
    }
}

/// What is added to each score: the mask given, and minus infinity where a key is out of sight.
struct Bias<S> {
    /// Where in the mask each batch, head, query and key stands, the mask, and its number of keys; those beyond are out of sight.
    mask: Option<(Vec<usize>, Vec<S>, usize)>,
    causal: bool,
    left: i64,
    right: i64,
    /// For each item of the batch: keys before the first query.
    offsets: Vec<i64>,
    /// For each item of the batch: keys that are valid.
    valid: Vec<i64>,
}

impl<S: Scalar> Bias<S> {
    fn read(call: &EvalCall<S>, scores: &[usize; 4]) -> Result<Self, Reason> {
        let [batch, heads, n_queries, n_keys] = *scores;
        let (valid, offsets) = match (call.given(4), call.given(6)) {
            (Some(past), _) => (vec![n_keys as i64; batch], vec![past.shape[2] as i64; batch]),
            (None, Some(lengths)) => {
                let lengths = lengths.to_i64s()?;
                if lengths.len() != batch {
                    return Err(Reason(format!("{} valid lengths are given for a batch of {batch}", lengths.len())));
                }
                let offsets = lengths.iter().map(|length| length.saturating_sub(n_queries as i64)).collect();
                (lengths, offsets)
            }
            (None, None) => (vec![n_keys as i64; batch], vec![0; batch]),
        };
        let mask = match call.given(3) {
            None => None,
            Some(mask) => {
                let length = mask.shape.last().copied().unwrap_or(1);
                let to = [batch, heads, n_queries, length];
                let fits = eval::broadcast_shape([mask.shape.as_slice(), &to]).is_some_and(|shape| shape == to);
                if !fits || mask.rank() == 0 || length > n_keys {
                    return Err(Reason(format!("a mask of shape {:?} for scores of shape {scores:?}", mask.shape)));
                }
                let values: Vec<S> = match &mask.contents {
                    Contents::Bool(seen) => {
                        seen.iter().map(|&seen| if seen { S::from_int(0) } else { out_of_sight() }).collect()
                    }
                    Contents::Int(values) => values.iter().map(|&value| S::from_int(value)).collect(),
                    _ => mask.real()?.to_vec(),
                };
                Some((Broadcast::new(&mask.shape, &to).offsets().collect(), values, length))
            }
        };
        let window = |name: &str| match call.int(name)? {
            size if size >= -1 => Ok(size),
            size => Err(Reason(format!("attribute `{name}` is {size}"))),
        };
        let (left, right) = (window("left_window_size")?, window("right_window_size")?);
        Ok(Self { mask, causal: call.attrs.flag("is_causal"), left, right, offsets, valid })
    }

    fn at(&self, [item, head, query, key]: [usize; 4], [heads, n_queries]: [usize; 2]) -> S {
        let ahead = key as i64 - self.offsets[item].saturating_add(query as i64);
        let unseen = (self.causal && ahead > 0)
            || (self.left >= 0 && -ahead > self.left)
            || (self.right >= 0 && ahead > self.right)
            || key as i64 >= self.valid[item];
        match &self.mask {
            _ if unseen => out_of_sight(),
            None => S::from_int(0),
            Some((_, _, length)) if key >= *length => out_of_sight(),
            Some((places, values, length)) => {
                values[places[((item * heads + head) * n_queries + query) * length + key]]
            }
        }
    }
}

fn out_of_sight<S: Scalar>() -> S {
    S::from_f64(f64::NEG_INFINITY)
}

const EXP: Function = Function { name: "Exp", real: f64::exp };
const TANH: Function = Function { name: "Tanh", real: f64::tanh };

fn head_counts(attrs: &Attrs, q: &[usize], k: &[usize]) -> Result<(usize, usize), Reason> {
    let named = |name: &str| {
        let count = attrs.int(name).and_then(|count| usize::try_from(count).ok()).filter(|&count| count > 0);
        count.ok_or_else(|| Reason(format!("attribute `{name}` is needed for three axes")))
    };
    match (q, k) {
        ([_, _, _], [_, _, _]) => Ok((named("q_num_heads")?, named("kv_num_heads")?)),
        ([_, q_heads, _, _], [_, kv_heads, _, _]) => Ok((*q_heads, *kv_heads)),
        _ => Err(Reason(format!("queries {q:?} and keys {k:?} have no heads"))),
    }
}

fn attention<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("softmax")?;
    check_caches(call.given(4).is_some(), call.given(5).is_some(), call.given(6).is_some())?;
    let (q, k, v) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (q_heads, kv_heads) = head_counts(call.attrs, &q.shape, &k.shape)?;
    let disagree = || Reason(format!("queries {:?}, keys {:?} and values {:?} disagree", q.shape, k.shape, v.shape));
    if v.rank() != k.rank() || kv_heads == 0 || q_heads % kv_heads != 0 {
        return Err(disagree());
    }
    let flat = q.rank() == 3;
    let q = with_heads(q, q_heads, None)?;
    let (k, v) = (with_heads(k, kv_heads, call.given(4))?, with_heads(v, kv_heads, call.given(5))?);
    let ([batch, _, n_queries, width], [k_batch, _, n_keys, k_width]) = (four(&q)?, four(&k)?);
    let [v_batch, v_heads, v_keys, v_width] = four(&v)?;
    let same = [(k_batch, batch), (v_batch, batch), (v_heads, kv_heads), (v_keys, n_keys), (k_width, width)];
    if same.iter().any(|(a, b)| a != b) {
        return Err(disagree());
    }
    let scores_shape = [batch, q_heads, n_queries, n_keys];
    count_of(&scores_shape)?;
    let bias = Bias::read(call, &scores_shape)?;
    // Both factors carry the root of the scale, so that neither product overflows first.
    let scale = call.attrs.float("scale").map_or(1.0 / (width as f64).sqrt(), f64::from);
    let (of_queries, of_keys) = if S::EXACT { (scale, 1.0) } else { (scale.sqrt(), scale.sqrt()) };
    let scaled = |x: &Datum<S>, by: f64| Ok(x.real()?.iter().map(|&x| x.mul(S::from_f64(by))).collect::<Vec<S>>());
    let (queries, keys, values) = (scaled(&q, of_queries)?, scaled(&k, of_keys)?, v.real()?);
    let cap = call.float("softcap")?;
    let capped = |x: S| if cap.to_f64() > 0.0 { x.div(cap).apply(&TANH).mul(cap) } else { x };
    let mode = call.int("qk_matmul_output_mode")?;
    let mut shown = Vec::with_capacity(if call.n_outputs > 3 { count_of(&scores_shape)? } else { 0 });
    let mut y = Vec::with_capacity(count_of(&[batch, q_heads, n_queries, v_width])?);
    for (item, head) in (0..batch).flat_map(|item| (0..q_heads).map(move |head| (item, head))) {
        let of_keys = item * kv_heads + head / (q_heads / kv_heads);
        let row_of_values = &values[of_keys * n_keys * v_width..][..n_keys * v_width];
        for query in 0..n_queries {
            let row = &queries[((item * q_heads + head) * n_queries + query) * width..][..width];
            let key = |at: usize| &keys[(of_keys * n_keys + at) * width..][..width];
            let raw: Vec<S> = (0..n_keys).map(|at| S::dot(row.iter().copied().zip(key(at).iter().copied()))).collect();
            let biases: Vec<S> = (0..n_keys).map(|at| bias.at([item, head, query, at], [q_heads, n_queries])).collect();
            let logits: Vec<S> = raw.iter().zip(&biases).map(|(&raw, &bias)| capped(raw).add(bias)).collect();
            // A query that sees no key attends to nothing.
            let blind = biases.iter().all(|&bias| bias == S::from_f64(f64::NEG_INFINITY));
            let weights = if blind { vec![S::from_int(0); n_keys] } else { softmax(&logits) };
            let column = |at: usize| row_of_values.iter().skip(at).step_by(v_width).copied();
            y.extend((0..v_width).map(|at| S::dot(weights.iter().copied().zip(column(at)))));
            if call.n_outputs > 3 {
                match mode {
                    0 => shown.extend(raw),
                    1 => shown.extend(raw.into_iter().map(capped)),
                    2 => shown.extend(logits),
                    3 => shown.extend(weights),
                    _ => return Err(Reason(format!("attribute `qk_matmul_output_mode` is {mode}"))),
                }
            }
        }
    }
    let y = Datum::of_real(q.element, &[batch, q_heads, n_queries, v_width], y);
    let y = match flat {
        true => transposed(&y, &[0, 2, 1, 3])?.reshaped(&[batch, n_queries, q_heads * v_width])?,
        false => y,
    };
    let mut outputs = vec![y, k, v];
    if call.n_outputs > 3 {
        outputs.push(Datum::of_real(q.element, &scores_shape, shown));
    }
    Ok(outputs)
}

/// The shape of `x`. Errors: not four axes.
pub(super) fn four<S: Scalar>(x: &Datum<S>) -> Result<[usize; 4], Reason> {
    <[usize; 4]>::try_from(x.shape.as_slice())
        .map_err(|_| Reason(format!("four axes are expected, found the shape {:?}", x.shape)))
}

/// The powers of e of `logits` over their sum; NaN when all are minus infinity.
pub(super) fn softmax<S: Scalar>(logits: &[S]) -> Vec<S> {
    // Only keeps the exponentials from overflowing: the result does not depend on it.
    let largest = match S::EXACT {
        true => 0.0,
        false => logits.iter().map(|logit| logit.to_f64()).fold(f64::NEG_INFINITY, f64::max),
    };
    let powers: Vec<S> = logits.iter().map(|logit| logit.sub(S::from_f64(largest)).apply(&EXP)).collect();
    let sum = S::sum(powers.iter().copied());
    powers.into_iter().map(|power| power.div(sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::{infer, infer_outputs};
    use crate::types::Element;

    #[test]
    fn heads_are_split_and_the_past_extends_the_keys() {
        let heads = [("q_num_heads", Attr::Int(12)), ("kv_num_heads", Attr::Int(4))];
        let inputs = ["float[b,s,768]", "float[b,s,256]", "float[b,s,128]"];
        assert_eq!(infer("Attention", &heads, &inputs), "float[b,s,384]");
        let cached =
            ["float[b,8,s,64]", "float[b,2,s,64]", "float[b,2,s,32]", "", "float[b,2,p,64]", "float[b,2,p,32]"];
        let expected = "float[b,8,s,32]; float[b,2,s + p,64]; float[b,2,s + p,32]; float[b,8,s,s + p]";
        assert_eq!(infer_outputs("Attention", &[], &cached, 4), expected);
    }

    #[test]
    fn heads_that_do_not_go_together_are_refused() {
        let refused = "3 query heads do not share 2 key heads";
        assert_eq!(infer("Attention", &[], &["float[b,3,s,8]", "float[b,2,s,8]", "float[b,2,s,8]"]), refused);
        let (q, k) = ("float[b,2,s,8]", "float[b,2,t,8]");
        assert_eq!(infer("Attention", &[], &[q, k, k, "", k]), "past keys and past values go together");
        let refused = "attribute `q_num_heads` is 0, three axes need it";
        assert_eq!(infer("Attention", &[], &["float[b,s,8]", "float[b,s,8]", "float[b,s,8]"]), refused);
        let odd = [("q_num_heads", Attr::Int(3)), ("kv_num_heads", Attr::Int(1))];
        assert_eq!(infer("Attention", &odd, &["float[b,s,8]", "float[b,s,8]", "float[b,s,8]"]), "8 in 3 heads");
    }

    /// The numbers (i * step mod 11 - 5) / 4.
    fn numbers(shape: &[usize], step: usize) -> Option<Datum<f64>> {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|at| ((at * step % 11) as f64 - 5.0) / 4.0).collect();
        Some(Datum::of_real(Element::Double, shape, values))
    }

    fn check(attrs: &[(&str, Attr)], inputs: &[Option<Datum<f64>>], expected: &[&[f64]]) {
        let given: Attrs = attrs.iter().map(|(name, value)| (*name, value.clone())).collect();
        let attrs = ATTENTION.complete(given).expect("attributes fit");
        let found = run_tensors(&Op::Builtin(&ATTENTION), &attrs, inputs, expected.len()).expect("a result");
        for (found, expected) in found.iter().zip(expected).filter(|(_, expected)| !expected.is_empty()) {
            let found = found.real().expect("real");
            let close = found.iter().zip(*expected).all(|(a, b)| a == b || (a - b).abs() < 1e-8);
            assert!(found.len() == expected.len() && close, "{found:?}, expected {expected:?}");
        }
    }

    // The expected numbers are those of ONNX's reference implementation.

    #[test]
    fn queries_after_a_past_see_it_and_share_their_keys() {
        let inputs = [
            numbers(&[1, 2, 2, 2], 7),
            numbers(&[1, 1, 2, 2], 3),
            numbers(&[1, 1, 2, 1], 5),
            None,
            numbers(&[1, 1, 1, 2], 4),
            numbers(&[1, 1, 1, 1], 9),
        ];
        let y = [-1.25, -0.690947618, -1.25, -0.607238278];
        let keys = [-1.25, -0.25, -1.25, -0.5, 0.25, 1.0];
        let attrs = [("is_causal", Attr::Int(1)), ("scale", Attr::Float(0.5))];
        check(&attrs, &inputs, &[&y, &keys, &[-1.25, -1.25, 0.0]]);
    }

    #[test]
    fn a_short_mask_hides_the_keys_behind_its_end() {
        let mask = Some(Datum::of_bool(&[2, 2], vec![true, false, true, true]));
        let inputs = [numbers(&[1, 2, 4], 7), numbers(&[1, 3, 4], 3), numbers(&[1, 3, 2], 5), mask];
        let y = [-1.25, 0.0, -0.055063646, -0.133404061];
        let hidden = f64::NEG_INFINITY;
        let logits = [
            [0.476161139, hidden, hidden, 0.044079443, -0.044079443, hidden],
            [0.460150513, hidden, hidden, 0.169761549, 0.304429683, hidden],
        ];
        let weights = [[1.0, 0.0, 0.0, 0.522025458, 0.477974542, 0.0], [1.0, 0.0, 0.0, 0.466383755, 0.533616245, 0.0]];
        for (mode, shown) in [(2, logits), (3, weights)] {
            let attrs = [
                ("q_num_heads", Attr::Int(2)),
                ("kv_num_heads", Attr::Int(2)),
                ("softcap", Attr::Float(0.5)),
                ("qk_matmul_output_mode", Attr::Int(mode)),
            ];
            check(&attrs, &inputs, &[&y, &[], &[], &shown.concat()]);
        }
    }

    #[test]
    fn windows_follow_the_valid_keys_and_blind_queries_attend_to_nothing() {
        let (q, k, v) = (numbers(&[2, 1, 3, 2], 7), numbers(&[2, 1, 4, 2], 3), numbers(&[2, 1, 4, 1], 5));
        let lengths = Some(Datum::of_i64s(&[2], &[4, 2]));
        let inputs = [q.clone(), k.clone(), v.clone(), None, None, None, lengths];
        let y = [-0.861262527, 0.425107048, 0.694340144, 0.0, 1.0, -0.047599663];
        check(&[("is_causal", Attr::Int(1)), ("left_window_size", Attr::Int(1))], &inputs, &[&y]);
        let mask = numbers(&[2, 1, 3, 4], 2);
        let y = [-0.716676120, -0.206543524, 0.394953414, -0.239672094, 0.941121895, -0.218063230];
        check(&[("right_window_size", Attr::Int(1))], &[q, k, v, mask], &[&y]);
    }
}
