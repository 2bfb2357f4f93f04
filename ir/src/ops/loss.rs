//! Losses of classification: the negative logarithm of the probability that each sample's class is given.

use super::functions::{EXP, FLOPS, LOG};
use super::lanes::Lanes;
use super::pointwise::{maximum, needs_functions, needs_order};
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::TensorType;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&NEGATIVE_LOG_LIKELIHOOD_LOSS, &SOFTMAX_CROSS_ENTROPY_LOSS];

const LOSS: OpDef = OpDef {
    attrs: &[AttrDef::optional("ignore_index", AttrKind::Int), AttrDef::string("reduction", "mean")],
    types: &[("T", sets::FLOAT), ("Tind", sets::INDEX)],
    ..OpDef::BASE
};

static NEGATIVE_LOG_LIKELIHOOD_LOSS: OpDef = OpDef {
    name: "NegativeLogLikelihoodLoss",
    doc: "loss[n,d] = -weight[c] * input[n,c,d], c = target[n,d]; 0 where c is ignored; the mean divides by the sum of weights",
    versions: &[12, 13, 22],
    inputs: &[Param::required("input", "T"), Param::required("target", "Tind"), Param::optional("weight", "T")],
    outputs: &[Param::required("loss", "T")],
    infer: |call| Ok(vec![Some(infer_loss(call)?)]),
    eval: eval!(negative_log_likelihood),
    // Of the scores only those of the targets are used; each is weighted and summed.
    work: |call, outputs| {
        let targets = call.ty(1).ok()?;
        let scores = TensorType::new(call.ty(0).ok()?.element, targets.shape.iter().cloned());
        let weights = call.given(2).map_or(Some(Dim::known(0)), |weight| weight.ty.bytes())?;
        let read = scores.bytes()?.add(&targets.bytes()?)?.add(&weights)?;
        let flops = targets.count()?.mul(&Dim::known(3))?;
        Some(Work { flops, read, written: outputs.first()?.bytes()? })
    },
    ..LOSS
};

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    None,
    Sum,
    Mean,
}

fn reduction(name: Option<&str>) -> Result<Reduction, Reason> {
    match name.unwrap_or("mean") {
        "none" => Ok(Reduction::None),
        "sum" => Ok(Reduction::Sum),
        "mean" => Ok(Reduction::Mean),
        other => Err(Reason(format!("`reduction` is `none`, `sum` or `mean`, found `{other}`"))),
    }
}

fn infer_loss(call: &Call) -> Result<Fact, Reason> {
    let (scores, targets) = (call.ty(0)?, call.ty(1)?);
    let differ = |a: &Dim, b: &Dim| a.as_known().zip(b.as_known()).is_some_and(|(a, b)| a != b);
    let mismatch = || Reason(format!("targets of type {targets} do not fit scores of type {scores}"));
    if scores.rank() < 2 || targets.rank() + 1 != scores.rank() {
        return Err(mismatch());
    }
    if let Some(weight) = call.given(2) {
        let fits = matches!(weight.ty.shape.as_slice(), [classes] if !differ(classes, &scores.shape[1]));
        if !fits {
            return Err(Reason(format!("weights of type {} do not fit {} classes", weight.ty, scores.shape[1])));
        }
    }
    let positions = std::iter::once(&scores.shape[0]).chain(&scores.shape[2..]);
    let mut shape = Vec::with_capacity(targets.rank());
    for (score, target) in positions.zip(&targets.shape) {
        if differ(score, target) {
            return Err(mismatch());
        }
        shape.push(if score.as_known().is_some() { score.clone() } else { target.clone() });
    }
    let reduced = reduction(call.attrs.string("reduction"))? != Reduction::None;
    Ok(Fact::new(scores.element, if reduced { Vec::new() } else { shape }))
}

fn negative_log_likelihood<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![loss(call, call.real(0)?)?])
}

/// The reduced loss, given the logarithms of probabilities in the shape of the first input.
fn loss<S: Scalar>(call: &EvalCall<S>, log_probabilities: &[S]) -> Result<Datum<S>, Reason> {
    let (scores, targets) = (call.input(0)?, call.input(1)?);
    let weights = call.given(2).map(Datum::real).transpose()?;
    let ignored = call.attrs.int("ignore_index").map(i128::from);
    let reduction = reduction(call.attrs.string("reduction"))?;
    if scores.rank() < 2 || targets.shape.first() != Some(&scores.shape[0]) || targets.shape[1..] != scores.shape[2..] {
        return Err(Reason(format!("targets of shape {:?} do not fit scores of {:?}", targets.shape, scores.shape)));
    }
    let n_classes = scores.shape[1];
    if let Some(weights) = call.given(2).filter(|weights| weights.shape != [n_classes]) {
        return Err(Reason(format!("weights of shape {:?} for {n_classes} classes", weights.shape)));
    }
    let n_positions = crate::tensor::count_of(&scores.shape[2..]).unwrap_or(0);
    let (mut losses, mut applied) = (Vec::with_capacity(targets.count()), Vec::with_capacity(targets.count()));
    for (at, &target) in targets.int()?.iter().enumerate() {
        if ignored == Some(target) {
            losses.push(S::from_int(0));
            applied.push(S::from_int(0));
            continue;
        }
        let class = usize::try_from(target).ok().filter(|&class| class < n_classes);
        let class = class.ok_or_else(|| Reason(format!("target {target} is none of {n_classes} classes")))?;
        let (sample, position) = (at / n_positions, at % n_positions);
        let weight = weights.map_or(S::from_int(1), |weights| weights[class]);
        losses.push(log_probabilities[(sample * n_classes + class) * n_positions + position].neg().mul(weight));
        applied.push(weight);
    }
    let scalar = |value: S| Datum::of_real(scores.element, &[], vec![value]);
    Ok(match reduction {
        Reduction::None => Datum::of_real(scores.element, &targets.shape, losses),
        Reduction::Sum => scalar(S::sum(losses.into_iter())),
        Reduction::Mean => scalar(S::sum(losses.into_iter()).div(S::sum(applied.into_iter()))),
    })
}

static SOFTMAX_CROSS_ENTROPY_LOSS: OpDef = OpDef {
    name: "SoftmaxCrossEntropyLoss",
    doc: "The negative log likelihood loss of y = log softmax of the scores along the classes, and y itself",
    versions: &[12, 13],
    inputs: &[Param::required("scores", "T"), Param::required("labels", "Tind"), Param::optional("weights", "T")],
    outputs: &[Param::required("output", "T"), Param::optional("log_prob", "T")],
    infer: |call| Ok(vec![Some(infer_loss(call)?), Some(call.ty(0)?.clone().into())]),
    eval: eval!(softmax_cross_entropy),
    work: |call, outputs| Work::reduction(call, outputs, FLOPS + 4),
    ..LOSS
};

fn softmax_cross_entropy<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    needs_order::<S>()?;
    let scores = call.input(0)?;
    if scores.rank() < 2 {
        return Err(Reason(format!("scores have at least two axes, found {:?}", scores.shape)));
    }
    let mut logs = scores.real()?.to_vec();
    let lanes = Lanes::new(&scores.shape, 1..2);
    for start in lanes.starts() {
        let largest = lanes.lane(start).map(|at| logs[at]).reduce(maximum).unwrap_or(S::from_int(0));
        let total = S::sum(lanes.lane(start).map(|at| logs[at].sub(largest).apply(&EXP))).apply(&LOG);
        lanes.lane(start).for_each(|at| logs[at] = logs[at].sub(largest).sub(total));
    }
    let loss = loss(call, &logs)?;
    Ok(vec![loss, Datum::of_real(scores.element, &scores.shape, logs)])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::{infer, infer_outputs};

    #[test]
    fn what_is_known_of_scores_and_targets_is_joined() {
        let none = [("reduction", Attr::String("none".into()))];
        let name = "NegativeLogLikelihoodLoss";
        assert_eq!(infer(name, &none, &["float[n,5,w]", "int64[3,w]"]), "float[3,w]");
        assert_eq!(infer(name, &[], &["float[n,5]", "int32[n]", "float[5]"]), "float[]");
        let both = infer_outputs("SoftmaxCrossEntropyLoss", &none, &["float16[n,5]", "int64[n]"], 2);
        assert_eq!(both, "float16[n]; float16[n,5]");
    }

    #[test]
    fn calls_that_do_not_fit_are_refused() {
        let name = "NegativeLogLikelihoodLoss";
        let odd = [("reduction", Attr::String("median".into()))];
        assert!(infer(name, &odd, &["float[2,5]", "int64[2]"]).contains("median"));
        assert!(infer(name, &[], &["float[2,5]", "int64[3]"]).contains("do not fit"));
        assert!(infer(name, &[], &["float[2]", "int64[]"]).contains("do not fit"));
        assert!(infer(name, &[], &["float[2,5]", "int64[2]", "float[4]"]).contains("5 classes"));
    }
}
