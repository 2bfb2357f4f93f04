//! Attention, by the operators that it is a name for.

use crate::call::{Arguments, apply, ints};
use crate::prime::LANES;
use crate::reduce::shaped;
use crate::run::Evaluator;
use crate::value::{Drawn, Value};
use crate::windows::matmul;
use eutectic_ir::eval::Contents;
use eutectic_ir::{Attr, Attrs, Reason};

fn turned(x: &Drawn, perm: [i64; 4]) -> Result<Drawn, Reason> {
    apply("Transpose", &[("perm", Attr::Ints(perm.into()))], &[Some(x.clone())])
}

/// `x` as `batch, heads, length, width`.
fn with_heads(x: Drawn, heads: Option<i64>) -> Result<Drawn, Reason> {
    match (x.shape(), heads.and_then(|heads| usize::try_from(heads).ok()).filter(|&heads| heads > 0)) {
        ([_, _, _, _], _) => Ok(x),
        (&[batch, length, hidden], Some(heads)) if hidden % heads == 0 => {
            turned(&shaped(&x, &[batch, length, heads, hidden / heads])?, [0, 2, 1, 3])
        }
        (shape, _) => Err(Reason(format!("{shape:?} has no heads"))),
    }
}

fn after(past: Option<Drawn>, x: Drawn) -> Result<Drawn, Reason> {
    match past {
        Some(past) => apply("Concat", &[("axis", Attr::Int(2))], &[Some(past), Some(x)]),
        None => Ok(x),
    }
}

/// Each head of `x` as many times as queries share it.
fn repeated(x: &Drawn, heads: usize) -> Result<Drawn, Reason> {
    let of = x.shape().get(1).copied().filter(|&of| of > 0 && heads % of == 0);
    let each = heads / of.ok_or_else(|| Reason::new("query heads do not share key heads"))?;
    if each == 1 {
        return Ok(x.clone());
    }
    let heads: Vec<i64> = (0..heads).map(|head| (head / each) as i64).collect();
    apply("Gather", &[("axis", Attr::Int(1))], &[Some(x.clone()), Some(ints(&heads))])
}

impl Evaluator<'_> {
    pub(crate) fn attention(
        &mut self,
        attrs: &Attrs,
        arguments: &Arguments,
        n_outputs: usize,
    ) -> Result<Vec<Value>, Reason> {
        if arguments.given(6).is_some() || n_outputs > 3 {
            return Err(Reason::new("valid lengths and inner results of attention are not evaluated in a field"));
        }
        let q = arguments.drawn(0)?;
        let is_flat = q.shape().len() == 3;
        let q = with_heads(q, attrs.int("q_num_heads"))?;
        let k = after(arguments.given(4), with_heads(arguments.drawn(1)?, attrs.int("kv_num_heads"))?)?;
        let v = after(arguments.given(5), with_heads(arguments.drawn(2)?, attrs.int("kv_num_heads"))?)?;
        let (&[batch, heads, n_queries, width], n_keys) = (&four(&q)?, four(&k)?[2]);
        let scale = attrs.float("scale").map_or(1.0 / (width as f64).sqrt(), f64::from);
        let keys = turned(&repeated(&k, heads)?, [0, 1, 3, 2])?;
        let mut scores = matmul(&q.into(), &keys.into())?.scaled(scale)?;
        let cap = attrs.float("softcap").map_or(0.0, f64::from);
        if cap > 0.0 {
            let inner = scores.times(&scores.one(cap).inverse()?)?;
            scores = self.random("Tanh", 0, &[&inner])?.scaled(cap)?;
        }
        if let Some(mask) = arguments.given(3) {
            scores = scores.plus(&bias(&mask, &scores, n_keys)?)?;
        }
        let past = arguments.given(4).map_or(0, |past| past.shape().get(2).copied().unwrap_or(0));
        if let Some(hidden) = window(attrs, n_queries, n_keys, past) {
            scores = scores.plus(&scores.with(&[n_queries, n_keys], std::array::from_fn(|_| hidden.clone()), 0))?;
        }
        let shares = self.softmax(&scores, -1)?;
        let y = matmul(&shares.into(), &repeated(&v, heads)?.into())?;
        let y = match is_flat {
            true => {
                let width = y.shape()[3];
                shaped(&turned(&y, [0, 2, 1, 3])?, &[batch, n_queries, heads * width])?
            }
            false => y,
        };
        Ok([y, k, v].into_iter().take(n_outputs.max(1)).map(Value::Drawn).collect())
    }
}

fn four(x: &Drawn) -> Result<[usize; 4], Reason> {
    <[usize; 4]>::try_from(x.shape()).map_err(|_| Reason(format!("four axes are expected, found {:?}", x.shape())))
}

/// What a mask adds to the scores; keys beyond its end are hidden.
fn bias(mask: &Drawn, scores: &Drawn, n_keys: usize) -> Result<Drawn, Reason> {
    let lane = |lane: usize| match &mask.lanes[lane].contents {
        Contents::Bool(seen) => Ok(seen.iter().map(|&seen| if seen { 0.0 } else { f64::NEG_INFINITY }).collect()),
        Contents::Int(all) => Ok(all.iter().map(|&x| x as f64).collect()),
        _ => mask.lanes[lane].real().map(<[f64]>::to_vec),
    };
    let mut lanes: [Vec<f64>; LANES] = Default::default();
    for (at, into) in lanes.iter_mut().enumerate() {
        *into = lane(at)?;
    }
    let bias = scores.with(mask.shape(), lanes, mask.degree);
    let length = mask.shape().last().copied().unwrap_or(n_keys);
    if length >= n_keys {
        return Ok(bias);
    }
    let rank = mask.shape().len();
    let mut pads = vec![0; 2 * rank];
    pads[2 * rank - 1] = (n_keys - length) as i64;
    let hidden = bias.with(&[], std::array::from_fn(|_| vec![f64::NEG_INFINITY]), 0);
    apply("Pad", &[], &[Some(bias), Some(ints(&pads)), Some(hidden)])
}

/// Minus infinity where a query does not see a key, row-major; `None` when every query sees every key.
fn window(attrs: &Attrs, n_queries: usize, n_keys: usize, past: usize) -> Option<Vec<f64>> {
    let (left, right) = (attrs.int("left_window_size").unwrap_or(-1), attrs.int("right_window_size").unwrap_or(-1));
    if !attrs.flag("is_causal") && left < 0 && right < 0 {
        return None;
    }
    let is_hidden = |query: usize, key: usize| {
        let ahead = key as i64 - (past + query) as i64;
        attrs.flag("is_causal") && ahead > 0 || left >= 0 && -ahead > left || right >= 0 && ahead > right
    };
    let places = (0..n_queries).flat_map(|query| (0..n_keys).map(move |key| (query, key)));
    Some(places.map(|(query, key)| if is_hidden(query, key) { f64::NEG_INFINITY } else { 0.0 }).collect())
}
