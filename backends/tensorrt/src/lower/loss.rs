//! Losses of classification.

use super::activation::log_softmax_along;
use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, GatherMode, Layer, ReduceKind, UnaryKind};
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] =
    &[("NegativeLogLikelihoodLoss", log_likelihood), ("SoftmaxCrossEntropyLoss", cross_entropy)];

fn log_likelihood(builder: &mut Builder, call: &Call) -> Lowered {
    let scores = builder.input(call, 0)?;
    Ok(vec![loss(builder, call, &scores)?.into()])
}

fn cross_entropy(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let scores = log_softmax_along(builder, &x, 1)?;
    let mut results: Vec<Operand> = vec![loss(builder, call, &scores)?.into(), scores.into()];
    results.truncate(call.used.len());
    Ok(results)
}

/// `-weight[c] scores[n, c, ..]` for the class c that the target gives, 0 where c is ignored; the mean divides by the weights.
fn loss(builder: &mut Builder, call: &Call, scores: &Typed) -> Result<Typed, Refusal> {
    call.one_of("reduction", &["mean", "sum", "none"])?;
    let mut target = builder.input(call, 1)?;
    let mut is_ignored = None;
    if let Some(ignored) = call.attrs.int("ignore_index") {
        let at = builder.with(ElementWiseKind::Equal, &target, ignored as f64)?;
        // Any class will do there, since its weight becomes 0.
        let zero = builder.scalar(0.0, target.data_type, target.rank())?;
        target = builder.select(&at.clone().into(), &zero.into(), &target.into())?;
        is_ignored = Some(at);
    }
    let column = builder.unsqueeze(&target, &[1])?;
    let picked = gather(builder, scores, &column, GatherMode::Element, 1, column.shape.clone());
    let picked = builder.squeeze(&picked, &[1]);
    let mut loss = builder.unary(UnaryKind::Negate, &picked);
    let mut weight = None;
    if let Some(given) = call.given(2) {
        let given = builder.tensor(&given.value)?;
        weight = Some(gather(builder, &given, &target, GatherMode::Default, 0, target.shape.clone()));
    }
    if let Some(is_ignored) = is_ignored {
        let zero = builder.scalar(0.0, loss.data_type, loss.rank())?;
        let otherwise = match weight {
            Some(weight) => weight,
            None => builder.scalar(1.0, loss.data_type, loss.rank())?,
        };
        weight = Some(builder.select(&is_ignored.into(), &zero.into(), &otherwise.into())?);
    }
    if let Some(weight) = &weight {
        loss = builder.pair(ElementWiseKind::Product, &loss, weight)?;
    }
    let all: Vec<usize> = (0..loss.rank()).collect();
    Ok(match (call.string("reduction", "mean"), weight) {
        ("none", _) => loss,
        ("sum", _) => builder.reduce(ReduceKind::Sum, &loss, &all, false),
        (_, None) => builder.reduce(ReduceKind::Mean, &loss, &all, false),
        (_, Some(weight)) => {
            let sum = builder.reduce(ReduceKind::Sum, &loss, &all, false);
            let weight = builder.reduce(ReduceKind::Sum, &weight, &all, false);
            builder.pair(ElementWiseKind::Divide, &sum, &weight)?
        }
    })
}

fn gather(builder: &mut Builder, data: &Typed, indices: &Typed, mode: GatherMode, axis: u32, shape: Vec<Dim>) -> Typed {
    let layer = Layer::Gather { data: data.at, indices: indices.at, mode, axis, batch_dims: 0 };
    builder.typed("gather", layer, data.data_type, shape)
}
