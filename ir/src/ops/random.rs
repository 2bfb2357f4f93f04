//! Random numbers.
//!
//! ONNX fixes the distributions, not the numbers. Here they come from the counter-based generator of seeded tensors, so
//! that a call with a given attribute `seed` gives the same numbers wherever and whenever it is evaluated; they are not
//! those of another runtime. A call without a seed is evaluated with seed 0, so two of one shape are not independent.

use super::cast::element_of_code;
use super::functions::FLOPS;
use super::pointwise::{affordable, needs_functions, needs_order};
use super::shape::sizes;
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::tensor::Seed;
use crate::types::{Element, TensorType};

/// The operators of this family.
pub const OPS: &[&OpDef] =
    &[&RANDOM_UNIFORM, &RANDOM_UNIFORM_LIKE, &RANDOM_NORMAL, &RANDOM_NORMAL_LIKE, &BERNOULLI, &MULTINOMIAL];

/// Number `index` of the stream of a call, uniform in [0, 1).
fn uniform(attrs: &Attrs, index: u64) -> f64 {
    let seed = attrs.float("seed").unwrap_or(0.0);
    Seed { seed: u64::from(seed.to_bits()), low: 0.0, high: 1.0 }.at(index)
}

/// Number `index` of a stream of the standard normal distribution.
///
/// Box and Muller, Annals of Mathematical Statistics 29 (1958).
fn normal(attrs: &Attrs, index: u64) -> f64 {
    // The logarithm needs a number above zero.
    let radius = (-2.0 * (1.0 - uniform(attrs, index.wrapping_mul(2))).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(attrs, index.wrapping_mul(2).wrapping_add(1))).cos()
}

/// A generated output: nothing is read.
fn generated(outputs: &[TensorType], flops_each: i64) -> Option<Work> {
    let output = outputs.first()?;
    let flops = output.count()?.mul(&Dim::known(flops_each))?;
    Some(Work { flops, read: Dim::known(0), written: output.bytes()? })
}

/// The element type of attribute `dtype`, else `otherwise`. Errors: none of `allowed`.
fn element(attrs: &Attrs, otherwise: Element, allowed: &[Element]) -> Result<Element, Reason> {
    let element = attrs.int("dtype").map_or(Ok(otherwise), element_of_code)?;
    if allowed.contains(&element) { Ok(element) } else { Err(Reason(format!("random numbers of type {element}"))) }
}

const OF_SHAPE: OpDef = OpDef {
    versions: &[1, 22],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::FLOAT)],
    infer: |call| {
        let shape = sizes(call.attrs.ints("shape").unwrap_or_default())?;
        Ok(vec![Some(Fact::new(element(call.attrs, Element::Float, sets::FLOAT)?, shape.into_iter().map(Dim::from)))])
    },
    work: |_, outputs| generated(outputs, FLOPS),
    laws: &[Law::Impure],
    ..OpDef::BASE
};

const LIKE: OpDef = OpDef {
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    types: &[("T1", sets::STANDARD), ("T2", sets::FLOAT)],
    infer: |call| {
        let input = call.ty(0)?;
        Ok(vec![Some(Fact::new(element(call.attrs, input.element, sets::FLOAT)?, input.shape.iter().cloned()))])
    },
    ..OF_SHAPE
};

static RANDOM_UNIFORM: OpDef = OpDef {
    name: "RandomUniform",
    doc: "Numbers from low to high, each equally likely",
    attrs: &[
        AttrDef::int("dtype", 1),
        AttrDef::float("high", 1.0),
        AttrDef::float("low", 0.0),
        AttrDef::optional("seed", AttrKind::Float),
        AttrDef::required("shape", AttrKind::Ints),
    ],
    eval: eval!(random_uniform),
    ..OF_SHAPE
};

fn random_uniform<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    uniforms(call, Element::Float, &sizes(call.attrs.ints("shape").unwrap_or_default())?, 0)
}

static RANDOM_UNIFORM_LIKE: OpDef = OpDef {
    name: "RandomUniformLike",
    doc: "Numbers from low to high, each equally likely, in the shape of the input",
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int),
        AttrDef::float("high", 1.0),
        AttrDef::float("low", 0.0),
        AttrDef::optional("seed", AttrKind::Float),
    ],
    eval: eval!(random_uniform_like),
    ..LIKE
};

fn random_uniform_like<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let input = call.input(0)?;
    uniforms(call, input.element, &input.shape, input.count())
}

fn uniforms<S: Scalar>(
    call: &EvalCall<S>,
    otherwise: Element,
    shape: &[usize],
    given: usize,
) -> Result<Vec<Datum<S>>, Reason> {
    let (low, high) = (call.float("low")?.to_f64(), call.float("high")?.to_f64());
    drawn(call, otherwise, shape, given, |index| low + uniform(call.attrs, index) * (high - low))
}

static RANDOM_NORMAL: OpDef = OpDef {
    name: "RandomNormal",
    doc: "Numbers of the normal distribution with a mean and a standard deviation",
    attrs: &[
        AttrDef::int("dtype", 1),
        AttrDef::float("mean", 0.0),
        AttrDef::float("scale", 1.0),
        AttrDef::optional("seed", AttrKind::Float),
        AttrDef::required("shape", AttrKind::Ints),
    ],
    eval: eval!(random_normal),
    work: |_, outputs| generated(outputs, 4 * FLOPS),
    ..OF_SHAPE
};

fn random_normal<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    normals(call, Element::Float, &sizes(call.attrs.ints("shape").unwrap_or_default())?, 0)
}

static RANDOM_NORMAL_LIKE: OpDef = OpDef {
    name: "RandomNormalLike",
    doc: "Numbers of the normal distribution with a mean and a standard deviation, in the shape of the input",
    attrs: &[
        AttrDef::optional("dtype", AttrKind::Int),
        AttrDef::float("mean", 0.0),
        AttrDef::float("scale", 1.0),
        AttrDef::optional("seed", AttrKind::Float),
    ],
    eval: eval!(random_normal_like),
    work: |_, outputs| generated(outputs, 4 * FLOPS),
    ..LIKE
};

fn random_normal_like<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let input = call.input(0)?;
    normals(call, input.element, &input.shape, input.count())
}

fn normals<S: Scalar>(
    call: &EvalCall<S>,
    otherwise: Element,
    shape: &[usize],
    given: usize,
) -> Result<Vec<Datum<S>>, Reason> {
    let (mean, scale) = (call.float("mean")?.to_f64(), call.float("scale")?.to_f64());
    drawn(call, otherwise, shape, given, |index| mean + scale * normal(call.attrs, index))
}

fn drawn<S: Scalar>(
    call: &EvalCall<S>,
    otherwise: Element,
    shape: &[usize],
    given: usize,
    draw: impl Fn(u64) -> f64,
) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("random numbers")?;
    let element = element(call.attrs, otherwise, sets::FLOAT)?;
    let count = affordable(shape, given)?;
    Ok(vec![Datum::of_real(element, shape, (0..count as u64).map(|index| S::from_f64(draw(index))).collect())])
}

static BERNOULLI: OpDef = OpDef {
    name: "Bernoulli",
    doc: "1 with the probability that the input gives for each element, else 0",
    versions: &[15, 22],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::optional("dtype", AttrKind::Int), AttrDef::optional("seed", AttrKind::Float)],
    types: &[("T1", sets::FLOAT), ("T2", sets::NUMERIC_OR_BOOL)],
    infer: |call| {
        let input = call.ty(0)?;
        let element = element(call.attrs, input.element, sets::NUMERIC_OR_BOOL)?;
        Ok(vec![Some(Fact::new(element, input.shape.iter().cloned()))])
    },
    eval: eval!(bernoulli),
    work: |call, outputs| Work::pointwise(call, outputs, FLOPS),
    laws: &[Law::Impure],
    ..OpDef::BASE
};

fn bernoulli<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let input = call.input(0)?;
    let element = element(call.attrs, input.element, sets::NUMERIC_OR_BOOL)?;
    let draw = |(index, probability): (usize, &S)| {
        let probability = probability.to_f64();
        let sound = (0.0..=1.0).contains(&probability);
        let drawn = uniform(call.attrs, index as u64) < probability;
        if sound { Ok(drawn) } else { Err(Reason(format!("{probability} is no probability"))) }
    };
    let ones: Vec<bool> = input.real()?.iter().enumerate().map(draw).collect::<Result<_, _>>()?;
    Ok(vec![match element {
        Element::Bool => Datum::of_bool(&input.shape, ones),
        _ if element.is_real() => {
            Datum::of_real(element, &input.shape, ones.into_iter().map(|one| S::from_int(one.into())).collect())
        }
        _ => Datum::of_int(element, &input.shape, ones.into_iter().map(i128::from).collect()),
    }])
}

static MULTINOMIAL: OpDef = OpDef {
    name: "Multinomial",
    doc: "For each row, samples of column numbers, drawn with probabilities proportional to exp of the row's elements",
    versions: &[7, 22],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::int("dtype", 6), AttrDef::int("sample_size", 1), AttrDef::optional("seed", AttrKind::Float)],
    types: &[("T1", sets::FLOAT), ("T2", sets::INDEX)],
    infer: infer_multinomial,
    eval: eval!(multinomial),
    // Exponentials and running sums of the input, then a search in each row for each sample.
    work: |call, outputs| {
        let drawn = outputs.first()?.count()?.mul(&Dim::known(2 * FLOPS))?;
        let prepared = call.ty(0).ok()?.count()?.mul(&Dim::known(FLOPS + 2))?;
        Work::streaming(call, outputs, drawn.add(&prepared)?)
    },
    laws: &[Law::Impure],
    ..OpDef::BASE
};

fn infer_multinomial(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let input = call.ty(0)?;
    let [n_rows, _] = input.shape.as_slice() else {
        return Err(Reason(format!("a matrix is expected, found {input}")));
    };
    let n_samples = sizes(&[call.int("sample_size")?])?;
    let shape = [n_rows.clone(), Dim::from(n_samples[0])];
    Ok(vec![Some(Fact::new(element(call.attrs, Element::Int32, sets::INDEX)?, shape))])
}

fn multinomial<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("exp")?;
    let input = call.input(0)?;
    let [n_rows, n_classes] = input.shape[..] else {
        return Err(Reason(format!("a matrix is expected, found {:?}", input.shape)));
    };
    let element = element(call.attrs, Element::Int32, sets::INDEX)?;
    let n_samples = sizes(&[call.int("sample_size")?])?[0];
    let shape = [n_rows, n_samples];
    let mut result = Vec::with_capacity(affordable(&shape, input.count())?);
    if n_classes == 0 && n_rows * n_samples > 0 {
        return Err(Reason::new("there is no class to draw"));
    }
    let elements = input.real()?;
    for row in 0..if n_samples == 0 { 0 } else { n_rows } {
        let logs = &elements[row * n_classes..(row + 1) * n_classes];
        let largest = logs.iter().map(|log| log.to_f64()).fold(f64::NEG_INFINITY, f64::max);
        let mut total = 0.0;
        let sums: Vec<f64> = logs
            .iter()
            .map(|log| {
                total += (log.to_f64() - largest).exp();
                total
            })
            .collect();
        if !total.is_finite() {
            return Err(Reason(format!("row {row} gives no probabilities")));
        }
        for sample in 0..n_samples {
            let drawn = total * uniform(call.attrs, (row * n_samples + sample) as u64);
            // Rounding may carry the product up to the total itself, which is the last class that has a probability.
            let class = sums.partition_point(|&sum| sum <= drawn);
            result.push(class.min(sums.partition_point(|&sum| sum < total)) as i128);
        }
    }
    Ok(vec![Datum::of_int(element, &shape, result)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::infer;

    fn run(name: &str, attrs: &[(&'static str, Attr)], inputs: &[Datum<f64>]) -> Result<Datum<f64>, Reason> {
        let def = crate::ops::lookup("", name).expect(name);
        let attrs = def.complete(attrs.iter().cloned().collect()).expect("attributes fit");
        let inputs: Vec<_> = inputs.iter().cloned().map(Some).collect();
        let results = run_tensors(&Op::Builtin(def), &attrs, &inputs, 1).map_err(|error| error.reason)?;
        results.into_iter().next().ok_or_else(|| Reason::new("no result"))
    }

    fn shape(dims: &[i64]) -> (&'static str, Attr) {
        ("shape", Attr::Ints(dims.into()))
    }

    /// Mean, variance, and the third and fourth moments of the standardized numbers.
    fn moments(x: &[f64]) -> [f64; 4] {
        let mean_of = |f: &dyn Fn(f64) -> f64| x.iter().map(|&x| f(x)).sum::<f64>() / x.len() as f64;
        let mean = mean_of(&|x| x);
        let variance = mean_of(&|x| (x - mean).powi(2));
        let central = |power| mean_of(&|x| ((x - mean) / variance.sqrt()).powi(power));
        [mean, variance, central(3), central(4)]
    }

    fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
        let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < tolerance);
        assert!(close, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn uniform_and_normal_numbers_have_their_moments() {
        let attrs = [shape(&[100_000]), ("low", Attr::Float(-1.0)), ("high", Attr::Float(3.0))];
        let x = run("RandomUniform", &attrs, &[]).expect("numbers");
        assert!(x.real().expect("real").iter().all(|x| (-1.0..3.0).contains(x)));
        assert_close(&moments(x.real().expect("real")), &[1.0, 16.0 / 12.0, 0.0, 1.8], 0.03);
        let attrs = [shape(&[100_000]), ("mean", Attr::Float(2.0)), ("scale", Attr::Float(0.5))];
        let x = run("RandomNormal", &attrs, &[]).expect("numbers");
        assert_close(&moments(x.real().expect("real")), &[2.0, 0.25, 0.0, 3.0], 0.05);
    }

    #[test]
    fn neighbours_are_not_correlated() {
        let x = run("RandomNormal", &[shape(&[100_000])], &[]).expect("numbers");
        let x = x.real().expect("real");
        for lag in [1, 2, 7] {
            let product = x.iter().zip(&x[lag..]).map(|(a, b)| a * b).sum::<f64>() / x.len() as f64;
            assert!(product.abs() < 0.02, "{lag}: {product}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_one_others() {
        let draw = |seed: f32| run("RandomNormal", &[shape(&[8]), ("seed", Attr::Float(seed))], &[]).expect("numbers");
        let (a, b, c) = (draw(1.5), draw(1.5), draw(2.0));
        assert_eq!(a.real(), b.real());
        assert!(a.real().expect("real").iter().zip(c.real().expect("real")).all(|(a, c)| a != c));
    }

    #[test]
    fn bernoulli_draws_as_often_as_the_probability_says() {
        for probability in [0.0, 0.25, 1.0] {
            let input = Datum::of_real(Element::Double, &[40_000], vec![probability; 40_000]);
            let drawn = run("Bernoulli", &[("dtype", Attr::Int(9))], &[input]).expect("truth values");
            let share = drawn.bool().expect("truth values").iter().filter(|&&one| one).count() as f64 / 40_000.0;
            assert_close(&[share], &[probability], 0.01);
        }
        let input = Datum::of_real(Element::Double, &[1], vec![1.5]);
        assert!(run("Bernoulli", &[], &[input]).is_err());
    }

    #[test]
    fn multinomial_draws_in_proportion_and_never_the_impossible() {
        let logs = vec![2f64.ln(), f64::NEG_INFINITY, 1f64.ln(), 5f64.ln(), f64::NEG_INFINITY];
        let input = Datum::of_real(Element::Double, &[1, 5], logs);
        let drawn = run("Multinomial", &[("sample_size", Attr::Int(40_000))], &[input]).expect("classes");
        let share = |class: i128| {
            drawn.int().expect("integers").iter().filter(|&&drawn| drawn == class).count() as f64 / 40_000.0
        };
        assert_close(&[0, 1, 2, 3, 4].map(share), &[0.25, 0.0, 0.125, 0.625, 0.0], 0.01);
        let impossible = Datum::of_real(Element::Double, &[1, 1], vec![f64::NEG_INFINITY]);
        assert!(run("Multinomial", &[], &[impossible]).is_err());
    }

    #[test]
    fn unreasonable_shapes_and_types_are_refused() {
        assert!(run("RandomNormal", &[shape(&[1 << 40, 1 << 40])], &[]).is_err());
        assert!(infer("RandomNormal", &[shape(&[-1])], &[]).contains("-1"));
        assert!(infer("RandomNormal", &[shape(&[1]), ("dtype", Attr::Int(7))], &[]).contains("int64"));
        assert_eq!(infer("RandomUniformLike", &[("dtype", Attr::Int(11))], &["string[n]"]), "double[n]");
        assert!(infer("RandomUniformLike", &[], &["string[n]"]).contains("string"));
        assert_eq!(infer("Multinomial", &[("sample_size", Attr::Int(3))], &["float[n,5]"]), "int32[n,3]");
    }
}
