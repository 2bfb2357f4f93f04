//! One step of gradient descent: new values of tensors from their gradients and what former steps left behind.
//!
//! The inputs are the learning rate, the number of updates so far, and then groups of as many tensors each: the values, their
//! gradients, and one or two running averages. The outputs are the groups that change, in the same order.

use super::TRAINING;
use super::pointwise::needs_functions;
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Function, Scalar};
use crate::infer::contradicts;
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::types::{Element, TensorType};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ADAGRAD, &ADAM, &MOMENTUM];

const WIDE: &[Element] = &[Element::Float, Element::Double];
const INPUTS: &[Param] = &[Param::required("R", "T1"), Param::required("T", "T2"), Param::mixed("inputs", "T3")];
const OUTPUTS: &[Param] = &[Param::mixed("outputs", "T3")];
const TYPES: &[(&str, &[Element])] = &[("T1", WIDE), ("T2", sets::INT64), ("T3", WIDE)];
/// Inputs before the groups.
const N_SCALARS: usize = 2;

static ADAGRAD: OpDef = OpDef {
    name: "Adagrad",
    domain: TRAINING,
    doc: "H += G G; X -= R / (1 + T * decay) * G / (sqrt(H) + epsilon), with G of the regularized loss",
    versions: &[1],
    inputs: INPUTS,
    outputs: OUTPUTS,
    attrs: &[
        AttrDef::float("decay_factor", 0.0),
        AttrDef::float("epsilon", 1e-6),
        AttrDef::float("norm_coefficient", 0.0),
    ],
    types: TYPES,
    infer: |call| infer(call, 3),
    eval: eval!(adagrad),
    work: |call, outputs| work(call, outputs, 9),
    ..OpDef::BASE
};

static ADAM: OpDef = OpDef {
    name: "Adam",
    domain: TRAINING,
    doc: "V and H average G and G G; X -= rate * V / (sqrt(H) + epsilon), with G of the regularized loss",
    versions: &[1],
    inputs: INPUTS,
    outputs: OUTPUTS,
    attrs: &[
        AttrDef::float("alpha", 0.9),
        AttrDef::float("beta", 0.999),
        AttrDef::float("epsilon", 1e-6),
        AttrDef::float("norm_coefficient", 0.0),
        AttrDef::float("norm_coefficient_post", 0.0),
    ],
    types: TYPES,
    infer: |call| infer(call, 4),
    eval: eval!(adam),
    work: |call, outputs| work(call, outputs, 15),
    ..OpDef::BASE
};

static MOMENTUM: OpDef = OpDef {
    name: "Momentum",
    domain: TRAINING,
    doc: "V = alpha V + beta G; X -= R V, or X -= R (G + alpha V) after Nesterov, with G of the regularized loss",
    versions: &[1],
    inputs: INPUTS,
    outputs: OUTPUTS,
    attrs: &[
        AttrDef::required("alpha", AttrKind::Float),
        AttrDef::required("beta", AttrKind::Float),
        AttrDef::required("mode", AttrKind::String),
        AttrDef::required("norm_coefficient", AttrKind::Float),
    ],
    types: TYPES,
    infer: |call| infer(call, 3),
    eval: eval!(momentum),
    work: |call, outputs| work(call, outputs, 9),
    ..OpDef::BASE
};

/// Number of tensors that are optimized, given as `n_groups` groups. Errors: another number of inputs, or none.
fn n_optimized(n_inputs: usize, n_groups: usize) -> Result<usize, Reason> {
    let given = n_inputs.saturating_sub(N_SCALARS);
    if given == 0 || given % n_groups != 0 {
        return Err(Reason(format!("{given} tensors are given, which are not {n_groups} groups of as many each")));
    }
    Ok(given / n_groups)
}

/// Each group but the gradients is given back changed, in types that it had.
fn infer(call: &Call, n_groups: usize) -> Result<Vec<Option<Fact>>, Reason> {
    let n = n_optimized(call.inputs.len(), n_groups)?;
    let ty = |group: usize, at: usize| call.ty(N_SCALARS + group * n + at);
    for (group, at) in (1..n_groups).flat_map(|group| (0..n).map(move |at| (group, at))) {
        let (value, other) = (ty(0, at)?, ty(group, at)?);
        if contradicts(value, other) {
            return Err(Reason(format!("tensor {at} is {value}, in group {group} it is {other}")));
        }
    }
    let kept = (0..n_groups).filter(|&group| group != 1).flat_map(|group| (0..n).map(move |at| (group, at)));
    kept.map(|(group, at)| Ok(Some(Fact::from(ty(group, at)?.clone())))).collect()
}

fn work(call: &Call, outputs: &[TensorType], flops_each: i64) -> Option<Work> {
    let count = outputs.iter().try_fold(Dim::known(0), |sum, ty| sum.add(&ty.count()?))?;
    Work::streaming(call, outputs, count.mul(&Dim::known(flops_each))?)
}

const SQRT: Function = Function { name: "Sqrt", real: f64::sqrt };

/// The learning rate and the number of updates. Errors: either is not one number.
fn rate_and_updates<S: Scalar>(call: &EvalCall<S>) -> Result<(S, i64), Reason> {
    match (call.real(0)?, call.ints(1)?.as_slice()) {
        (&[rate], &[updates]) => Ok((rate, updates)),
        _ => Err(Reason::new("the learning rate and the number of updates are one number each")),
    }
}

/// Applies `step` to each element of each tensor: `N` numbers in, one of each group, of which the second is the gradient of
/// the regularized loss; `M` numbers out.
fn optimized<S: Scalar, const N: usize, const M: usize>(
    call: &EvalCall<S>,
    step: impl Fn([S; N]) -> [S; M],
) -> Result<Vec<Datum<S>>, Reason> {
    let n = n_optimized(call.inputs.len(), N)?;
    let norm = call.float("norm_coefficient")?;
    let mut outputs: Vec<Vec<Datum<S>>> = vec![Vec::new(); M];
    for at in 0..n {
        let mut groups: [&[S]; N] = [&[]; N];
        let value = call.input(N_SCALARS + at)?;
        for (group, elements) in groups.iter_mut().enumerate() {
            let given = call.input(N_SCALARS + group * n + at)?;
            if given.shape != value.shape {
                return Err(Reason(format!("tensor {at} is {:?}, in group {group} {:?}", value.shape, given.shape)));
            }
            *elements = given.real()?;
        }
        let mut results: [Vec<S>; M] = std::array::from_fn(|_| Vec::with_capacity(value.count()));
        for element in 0..value.count() {
            let mut numbers = groups.map(|group| group[element]);
            numbers[1] = norm.mul(numbers[0]).add(numbers[1]);
            results.iter_mut().zip(step(numbers)).for_each(|(result, number)| result.push(number));
        }
        for (output, result) in outputs.iter_mut().zip(results) {
            output.push(Datum::of_real(value.element, &value.shape, result));
        }
    }
    Ok(outputs.concat())
}

fn adagrad<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("Sqrt")?;
    let (rate, updates) = rate_and_updates(call)?;
    let (decay, epsilon) = (call.float("decay_factor")?, call.float("epsilon")?);
    let rate = rate.div(S::from_int(1).add(S::from_int(updates.into()).mul(decay)));
    optimized(call, |[x, g, h]| {
        let h = h.add(g.mul(g));
        [x.sub(rate.mul(g).div(h.apply(&SQRT).add(epsilon))), h]
    })
}

fn adam<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("Sqrt")?;
    let (rate, updates) = rate_and_updates(call)?;
    let (alpha, beta, epsilon) = (call.float("alpha")?, call.float("beta")?, call.float("epsilon")?);
    let one = S::from_int(1);
    let kept = one.sub(call.float("norm_coefficient_post")?);
    // The averages begin at zero; early steps make up for it.
    let rate = match updates {
        ..=0 => rate,
        _ => {
            let missing = |average: S| one.sub(average.power(S::from_int(updates.into())));
            rate.mul(missing(beta).apply(&SQRT)).div(missing(alpha))
        }
    };
    optimized(call, |[x, g, v, h]| {
        let v = alpha.mul(v).add(one.sub(alpha).mul(g));
        let h = beta.mul(h).add(one.sub(beta).mul(g).mul(g));
        let x = x.sub(rate.mul(v).div(h.apply(&SQRT).add(epsilon)));
        [kept.mul(x), v, h]
    })
}

fn momentum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (rate, updates) = rate_and_updates(call)?;
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    let beta = if updates > 0 { beta } else { S::from_int(1) };
    let nesterov = match call.attrs.string("mode") {
        Some("standard") => false,
        Some("nesterov") => true,
        mode => return Err(Reason(format!("attribute `mode` is `{}`", mode.unwrap_or_default()))),
    };
    optimized(call, |[x, g, v]| {
        let v = alpha.mul(v).add(beta.mul(g));
        let direction = if nesterov { g.add(alpha.mul(v)) } else { v };
        [x.sub(rate.mul(direction)), v]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{Attr, Attrs};
    use crate::eval::run_tensors;
    use crate::graph::Op;

    fn run(def: &'static OpDef, attrs: &[(&str, Attr)], updates: i64, groups: &[&[f64]]) -> Result<Vec<f64>, String> {
        let real = |values: &[f64]| Datum::of_real(Element::Double, &[values.len()], values.to_vec());
        let mut inputs =
            vec![Some(Datum::of_real(Element::Double, &[], vec![0.5])), Some(Datum::of_i64s(&[], &[updates]))];
        inputs.extend(groups.iter().map(|group| Some(real(group))));
        let given: Attrs = attrs.iter().cloned().collect();
        let attrs = def.complete(given).map_err(|errors| format!("{errors:?}"))?;
        let n_outputs = groups.len() - 1;
        let found = run_tensors::<f64>(&Op::Builtin(def), &attrs, &inputs, n_outputs.min(3));
        let found = found.map_err(|error| error.reason.to_string())?;
        Ok(found.iter().flat_map(|datum| datum.real().map(<[f64]>::to_vec).unwrap_or_default()).collect())
    }

    fn momentum_attrs(mode: &str) -> [(&'static str, Attr); 4] {
        let float = |value: f32| Attr::Float(value);
        [
            ("alpha", float(0.5)),
            ("beta", float(0.25)),
            ("mode", Attr::String(mode.into())),
            ("norm_coefficient", float(0.0)),
        ]
    }

    #[test]
    fn the_first_momentum_is_the_whole_gradient() {
        let step = |updates| run(&MOMENTUM, &momentum_attrs("standard"), updates, &[&[1.0], &[4.0], &[0.0]]);
        assert_eq!(step(0), Ok(vec![-1.0, 4.0]));
        assert_eq!(step(1), Ok(vec![0.5, 1.0]));
    }

    #[test]
    fn nesterov_looks_ahead_and_other_modes_are_refused() {
        let step = |mode| run(&MOMENTUM, &momentum_attrs(mode), 1, &[&[1.0], &[4.0], &[0.0]]);
        assert_eq!(step("nesterov"), Ok(vec![-1.25, 1.0]));
        assert_eq!(step("heavy"), Err("attribute `mode` is `heavy`".to_owned()));
    }

    #[test]
    fn groups_are_complete_and_of_one_shape() {
        let refused = "2 tensors are given, which are not 3 groups of as many each";
        assert_eq!(run(&ADAGRAD, &[], 0, &[&[1.0], &[4.0]]), Err(refused.to_owned()));
        let refused = "tensor 0 is [1], in group 2 [2]";
        assert_eq!(run(&ADAGRAD, &[], 0, &[&[1.0], &[4.0], &[0.0, 0.0]]), Err(refused.to_owned()));
    }
}
