//! Rotary position embedding, spelled as products and sums: the builder fuses them for every type and width.

use super::builder::Builder;
use super::call::Call;
use super::operand::Typed;
use super::refusal::Refusal;
use super::terms::Term;
use super::view::Cut;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, GatherMode, Layer, SliceMode};
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("RotaryEmbedding", rotary_embedding)];

/// Turns the pair (a, b) into (a cos - b sin, a sin + b cos); features beyond `rotary_embedding_dim` are left alone.
fn rotary_embedding(builder: &mut Builder, call: &Call) -> Lowered {
    let given = builder.input(call, 0)?;
    let by_head = given.rank() == 4;
    let x = match given.rank() {
        4 => given.clone(),
        3 => {
            let heads = call.attrs.int("num_heads").filter(|&heads| heads > 0).ok_or("it has no num_heads")?;
            let width = given.shape[2].exact_div(&Dim::known(heads));
            let width = width.ok_or_else(|| Refusal::new(format!("{heads} heads do not divide {}", given.shape[2])))?;
            let shape = [given.shape[0].clone(), given.shape[1].clone(), Dim::known(heads), width];
            builder.reshape_from(&given, &shape, &[&given])?
        }
        rank => return Err(Refusal::new(format!("its input has {rank} axes")).instead("three or four axes")),
    };
    let width = x.shape[3].as_known();
    let width = width.ok_or_else(|| Refusal::new("the width of its heads is dynamic").instead("a constant width"))?;
    let turned = match call.int("rotary_embedding_dim", 0) {
        0 => width,
        turned => turned,
    };
    if turned % 2 != 0 || !(2..=width).contains(&turned) {
        return Err(Refusal::new(format!("it turns {turned} of {width} features")));
    }
    let half = turned / 2;
    // Angles are those of a step, whatever the head.
    let head_axis = if by_head { 1 } else { 2 };
    let (cos, sin) = (angles(builder, call, 1, head_axis)?, angles(builder, call, 2, head_axis)?);
    let is_interleaved = call.attrs.flag("interleaved");
    let (a, b) = match is_interleaved {
        true => (features(builder, &x, 0, half, 2)?, features(builder, &x, 1, half, 2)?),
        false => (features(builder, &x, 0, half, 1)?, features(builder, &x, half, half, 1)?),
    };
    let (a_cos, b_sin) = (product(builder, &a, &cos)?, product(builder, &b, &sin)?);
    let (a_sin, b_cos) = (product(builder, &a, &sin)?, product(builder, &b, &cos)?);
    let first = builder.pair(ElementWiseKind::Subtract, &a_cos, &b_sin)?;
    let second = builder.pair(ElementWiseKind::Sum, &a_sin, &b_cos)?;
    let mut parts = if is_interleaved {
        let pairs = [builder.unsqueeze(&first, &[4])?, builder.unsqueeze(&second, &[4])?];
        let pairs = builder.concat(&pairs, 4)?;
        let shape = [x.shape[0].clone(), x.shape[1].clone(), x.shape[2].clone(), Dim::known(turned)];
        vec![builder.reshape_from(&pairs, &shape, &[&x])?]
    } else {
        vec![first, second]
    };
    if turned < width {
        parts.push(features(builder, &x, turned, width - turned, 1)?);
    }
    let y = builder.concat(&parts, 3)?;
    Ok(vec![builder.reshape_from(&y, &given.shape, &[&given])?.into()])
}

fn product(builder: &mut Builder, a: &Typed, b: &Typed) -> Result<Typed, Refusal> {
    builder.pair(ElementWiseKind::Product, a, b)
}

/// `[batch, steps, half]`, looked up by position where positions are given, with an axis of one for the heads.
fn angles(builder: &mut Builder, call: &Call, index: usize, head_axis: usize) -> Result<Typed, Refusal> {
    let cache = builder.input(call, index)?;
    let rows = match call.given(3) {
        None => cache,
        Some(positions) => {
            let positions = builder.tensor(&positions.value)?;
            let mut shape = positions.shape.clone();
            shape.extend(cache.shape[1..].iter().cloned());
            let (data, indices) = (cache.at, positions.at);
            let layer = Layer::Gather { data, indices, mode: GatherMode::Default, axis: 0, batch_dims: 0 };
            builder.typed("angles", layer, cache.data_type, shape)
        }
    };
    builder.unsqueeze(&rows, &[head_axis])
}

/// `count` features from `start` on, every `stride`-th of them.
fn features(builder: &mut Builder, x: &Typed, start: i64, count: i64, stride: i64) -> Result<Typed, Refusal> {
    let rank = x.rank();
    let mut cut =
        Cut { start: vec![Term::Known(0); rank], size: builder.sizes(x)?, stride: vec![Term::Known(1); rank] };
    let mut shape = x.shape.clone();
    (cut.start[rank - 1], cut.size[rank - 1]) = (Term::Known(start), Term::Known(count));
    (cut.stride[rank - 1], shape[rank - 1]) = (Term::Known(stride), Dim::known(count));
    builder.slice(x, &cut, SliceMode::Strict, None, shape)
}
