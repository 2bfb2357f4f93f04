//! Rotary position embedding: Su et al., RoFormer, 2021.

use crate::attr::AttrKind;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::indexing::place;
use crate::types::Element;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ROTARY_EMBEDDING];

static ROTARY_EMBEDDING: OpDef = OpDef {
    name: "RotaryEmbedding",
    doc: "Each pair of features of a head turned by an angle that its position gives",
    versions: &[23],
    inputs: &[
        Param::required("X", "T"),
        Param::required("cos_cache", "T"),
        Param::required("sin_cache", "T"),
        Param::optional("position_ids", "M"),
    ],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::int("interleaved", 0),
        AttrDef::optional("num_heads", AttrKind::Int),
        AttrDef::int("rotary_embedding_dim", 0),
    ],
    types: &[("T", &[Element::Float, Element::Float16, Element::Bfloat16]), ("M", sets::INT64)],
    infer: |call| {
        let x = call.ty(0)?;
        match (x.rank(), call.attrs.int("num_heads")) {
            (4, _) => {}
            (3, Some(heads)) if heads > 0 => {}
            (3, _) => return Err(Reason::new("attribute `num_heads` is needed for three axes")),
            _ => return Err(Reason(format!("three or four axes are expected, found {x}"))),
        }
        Ok(vec![Some(Fact::from(x.clone()))])
    },
    eval: eval!(rotary_embedding),
    // Four products and two sums turn two features.
    work: |call, outputs| Work::pointwise(call, outputs, 3),
    ..OpDef::BASE
};

fn rotary_embedding<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, cos, sin) = (call.input(0)?, call.input(1)?, call.input(2)?);
    // The features of one head stand together in both layouts; only the order of heads and steps differs.
    let (batch, length, heads, width) = match x.shape[..] {
        [batch, heads, length, width] => (batch, length, heads, width),
        [batch, length, hidden] => {
            let heads = call.attrs.int("num_heads").and_then(|heads| usize::try_from(heads).ok()).unwrap_or(0);
            if heads == 0 || hidden % heads != 0 {
                return Err(Reason(format!("{hidden} features in {heads} heads")));
            }
            (batch, length, heads, hidden / heads)
        }
        _ => return Err(Reason(format!("three or four axes are expected, found {:?}", x.shape))),
    };
    let turned = match usize::try_from(call.int("rotary_embedding_dim")?) {
        Ok(0) => width,
        Ok(turned) if turned <= width => turned,
        _ => return Err(Reason(format!("attribute `rotary_embedding_dim` exceeds the {width} features of a head"))),
    };
    let half = turned / 2;
    let positions = call.given(3).map(Datum::to_i64s).transpose()?;
    let (n_rows, columns) = match (&cos.shape[..], &positions) {
        ([rows, columns], Some(positions)) if positions.len() == batch * length => (*rows, *columns),
        ([b, l, columns], None) if (*b, *l) == (batch, length) => (b * l, *columns),
        _ => return Err(Reason(format!("a cache of shape {:?} does not fit {:?}", cos.shape, x.shape))),
    };
    if turned % 2 != 0 || columns != half || sin.shape != cos.shape {
        return Err(Reason(format!("caches of {:?} and {:?} for {turned} features", cos.shape, sin.shape)));
    }
    let (values, cos, sin) = (x.real()?, cos.real()?, sin.real()?);
    let mut y = values.to_vec();
    let by_head = x.rank() == 4;
    for head_at in 0..batch * heads * length {
        let (item, step) = match by_head {
            true => (head_at / (heads * length), head_at % length),
            false => (head_at / (length * heads), head_at / heads % length),
        };
        let row = item * length + step;
        let row = positions.as_ref().map_or(Ok(row), |positions| place(positions[row], n_rows))?;
        for pair in 0..half {
            let (cos, sin) = (cos[row * half + pair], sin[row * half + pair]);
            let (first, second) =
                if call.attrs.flag("interleaved") { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
            let (first, second) = (head_at * width + first, head_at * width + second);
            let (a, b) = (values[first], values[second]);
            y[first] = cos.mul(a).sub(sin.mul(b));
            y[second] = sin.mul(a).add(cos.mul(b));
        }
    }
    Ok(vec![Datum::of_real(x.element, &x.shape, y)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{Attr, Attrs};
    use crate::eval::run_tensors;
    use crate::graph::Op;

    fn turn(attrs: &[(&str, Attr)], shape: &[usize], x: Vec<f64>, cos: Vec<f64>, sin: Vec<f64>) -> Vec<f64> {
        let given: Attrs = attrs.iter().map(|(name, value)| (*name, value.clone())).collect();
        let attrs = ROTARY_EMBEDDING.complete(given).expect("attributes fit");
        let real = |shape: &[usize], values| Some(Datum::of_real(Element::Float, shape, values));
        let cache = [1, cos.len() / 2, 2];
        let inputs = [real(shape, x), real(&cache, cos), real(&cache, sin)];
        run_tensors(&Op::Builtin(&ROTARY_EMBEDDING), &attrs, &inputs, 1).expect("a result")[0]
            .real()
            .expect("real")
            .to_vec()
    }

    #[test]
    fn pairs_are_halves_apart_or_neighbours() {
        // A quarter turn of the first pair, none of the second; the last feature is left alone.
        let (x, cos, sin) = (vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![0.0, 1.0], vec![1.0, 0.0]);
        let part = ("rotary_embedding_dim", Attr::Int(4));
        let halves = turn(std::slice::from_ref(&part), &[1, 1, 1, 5], x.clone(), cos.clone(), sin.clone());
        assert_eq!(halves, [-3.0, 2.0, 1.0, 4.0, 5.0]);
        let neighbours = turn(&[part, ("interleaved", Attr::Int(1))], &[1, 1, 1, 5], x, cos, sin);
        assert_eq!(neighbours, [-2.0, 1.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn both_layouts_turn_by_the_step() {
        let x: Vec<f64> = (0..16).map(f64::from).collect();
        let (cos, sin) = (vec![1.0, 1.0, 0.0, 0.0], vec![0.0, 0.0, 1.0, 1.0]);
        // Two heads of four features, two steps; only the second step turns.
        let by_step = turn(&[("num_heads", Attr::Int(2))], &[1, 2, 8], x.clone(), cos.clone(), sin.clone());
        assert_eq!(by_step[..8], x[..8]);
        assert_eq!(by_step[8..], [-10.0, -11.0, 8.0, 9.0, -14.0, -15.0, 12.0, 13.0]);
        let by_head = turn(&[], &[1, 2, 2, 4], x.clone(), cos, sin);
        assert_eq!([&by_head[..4], &by_head[8..12]], [&x[..4], &x[8..12]]);
        assert_eq!(by_head[4..8], [-6.0, -7.0, 4.0, 5.0]);
    }
}
