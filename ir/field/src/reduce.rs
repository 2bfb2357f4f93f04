//! Reductions, and what divides by them: softmax and normalizations.

use crate::call::{Arguments, apply, ints, moved, reduced};
use crate::prime::{LANES, Prime, primes};
use crate::run::Evaluator;
use crate::value::{Drawn, Value};
use eutectic_ir::op::OpDef;
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attr, Attrs, Reason};

/// The sum over `axes`, which stay with size 1.
pub(crate) fn sum(x: &Drawn, axes: &[i64]) -> Result<Drawn, Reason> {
    apply("ReduceSum", &[("keepdims", Attr::Int(1))], &[Some(x.clone()), Some(ints(axes))])
}

/// The mean over `axes`, which stay with size 1.
pub(crate) fn mean(x: &Drawn, axes: &[i64]) -> Result<Drawn, Reason> {
    averaged(x, sum(x, axes)?)
}

/// `sum`, a sum of elements of `x`, over the number of elements of each.
fn averaged(x: &Drawn, sum: Drawn) -> Result<Drawn, Reason> {
    let count = |drawn: &Drawn| drawn.shape().iter().product::<usize>();
    let terms = count(x) / count(&sum).max(1);
    let inverses: [f64; LANES] =
        std::array::from_fn(|lane| primes()[lane].inverse_of(terms as f64 % primes()[lane].modulus));
    let inverse = sum.with(&[], inverses.map(|inverse| vec![inverse]), 0);
    sum.times(&inverse)
}

/// What stands for the largest over `axes`, which stay with size 1.
pub(crate) fn largest(x: &Drawn, axes: &[i64]) -> Result<Drawn, Reason> {
    sum(&x.map(1, Prime::to_sum)?, axes)?.map(1, Prime::of_sum)
}

fn negated(x: &Drawn) -> Result<Drawn, Reason> {
    x.map(x.degree, |_, x| -x)
}

impl Evaluator<'_> {
    /// The result of a reduction or a softmax; `None` for another operator.
    pub(crate) fn reduction(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        arguments: &Arguments,
    ) -> Result<Option<Drawn>, Reason> {
        let x = || arguments.drawn(0);
        // The reference semantics reads axes, and which of them stay.
        let add = |x: Drawn| -> Result<Drawn, Reason> {
            let (degree, sum) = (x.degree, crate::call::standard("ReduceSum")?);
            let results = moved(sum, attrs, &[Some(x), arguments.given(1)], 1, degree)?;
            match results.first().map(|value| reduced(value, degree)).transpose()? {
                Some(Value::Drawn(drawn)) => Ok(drawn),
                _ => Err(Reason::new("a sum gives no residues")),
            }
        };
        let square = |x: Drawn| x.power(2);
        let most = |x: &Drawn| add(x.map(1, Prime::to_sum)?)?.map(1, Prime::of_sum);
        let result = match def.name {
            "ReduceSum" => add(x()?)?,
            "ReduceMean" => averaged(&x()?, add(x()?)?)?,
            "ReduceSumSquare" => add(square(x()?)?)?,
            "ReduceL2" => add(square(x()?)?)?.root()?,
            "ReduceL1" => add(x().and_then(|x| x.max(&negated(&x)?))?)?,
            "ReduceMax" => most(&x()?)?,
            "ReduceMin" => negated(&most(&negated(&x()?)?)?)?,
            "ReduceLogSum" => self.random("Log", 0, &[&add(x()?)?])?,
            "ReduceLogSumExp" => {
                let powers = self.exp(&x()?)?;
                self.random("Log", 0, &[&add(powers)?])?
            }
            "Softmax" => self.softmax(&x()?, axis(attrs, &x()?)?)?,
            "LogSoftmax" => {
                let shares = self.softmax(&x()?, axis(attrs, &x()?)?)?;
                self.random("Log", 0, &[&shares])?
            }
            _ => return Ok(None),
        };
        Ok(Some(result))
    }

    pub(crate) fn softmax(&mut self, x: &Drawn, axis: i64) -> Result<Drawn, Reason> {
        let powers = self.exp(x)?;
        powers.times(&sum(&powers, &[axis])?.inverse()?)
    }

    /// The results of a normalization; `None` for another operator.
    pub(crate) fn normalization(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        arguments: &Arguments,
        n_outputs: usize,
    ) -> Result<Option<Vec<Value>>, Reason> {
        let epsilon = attrs.float("epsilon").map(f64::from);
        let x = arguments.drawn(0)?;
        let rank = x.shape().len();
        let per_channel = |index: usize| {
            let operand = arguments.drawn(index)?;
            let shape: Vec<usize> =
                operand.shape().iter().copied().chain(std::iter::repeat_n(1, rank.saturating_sub(2))).collect();
            shaped(&operand, &shape)
        };
        let from_axis = || Ok::<_, Reason>((axis(attrs, &x)?..rank as i64).collect::<Vec<i64>>());
        let centred = |x: &Drawn, axes: &[i64]| {
            let mean = mean(x, axes)?;
            let rest = x.minus(&mean)?;
            let inverse = inverse_deviation(&rest, axes, epsilon.unwrap_or(0.0))?;
            Ok::<_, Reason>((rest.times(&inverse)?, mean, inverse))
        };
        let result = match def.name {
            "BatchNormalization" if !attrs.flag("training_mode") => {
                let [scale, shift, mean, variance] =
                    [per_channel(1)?, per_channel(2)?, per_channel(3)?, per_channel(4)?];
                let root = variance.plus(&variance.one(epsilon.unwrap_or(0.0)))?.root()?;
                x.minus(&mean)?.times(&scale.times(&root.inverse()?)?)?.plus(&shift)?
            }
            "LayerNormalization" => {
                let (normal, mean, inverse) = centred(&x, &from_axis()?)?;
                let scaled = normal.times(&arguments.drawn(1)?)?;
                let result = match arguments.given(2) {
                    Some(shift) => scaled.plus(&shift)?,
                    None => scaled,
                };
                return Ok(Some(
                    [result, mean, inverse].into_iter().take(n_outputs.max(1)).map(Value::Drawn).collect(),
                ));
            }
            "RMSNormalization" => {
                let inverse = inverse_deviation(&x, &from_axis()?, epsilon.unwrap_or(0.0))?;
                x.times(&inverse)?.times(&arguments.drawn(1)?)?
            }
            "InstanceNormalization" => {
                let (normal, ..) = centred(&x, &(2..rank as i64).collect::<Vec<_>>())?;
                normal.times(&per_channel(1)?)?.plus(&per_channel(2)?)?
            }
            "GroupNormalization" => {
                let n_groups = attrs.int("num_groups").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
                let [n, channels, ..] = x.shape()[..] else {
                    return Err(Reason::new("the input has no axis of channels"));
                };
                if n_groups == 0 || channels % n_groups != 0 {
                    return Err(Reason(format!("{channels} channels do not make {n_groups} equal groups")));
                }
                let len = x.shape()[1..].iter().product::<usize>() / n_groups;
                let (normal, ..) = centred(&shaped(&x, &[n, n_groups, len])?, &[2])?;
                shaped(&normal, x.shape())?.times(&per_channel(1)?)?.plus(&per_channel(2)?)?
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![result.into()]))
    }
}

/// 1 / sqrt(mean of x^2 + epsilon) over `axes`.
fn inverse_deviation(x: &Drawn, axes: &[i64], epsilon: f64) -> Result<Drawn, Reason> {
    let square = mean(&x.power(2)?, axes)?;
    square.plus(&square.one(epsilon))?.root()?.inverse()
}

/// The same elements under another shape.
pub(crate) fn shaped(x: &Drawn, shape: &[usize]) -> Result<Drawn, Reason> {
    let mut lanes = x.lanes.clone();
    for lane in &mut lanes {
        *lane = lane.reshaped(shape)?;
    }
    Ok(Drawn { lanes, ..x.clone() })
}

fn axis(attrs: &Attrs, x: &Drawn) -> Result<i64, Reason> {
    let given = attrs.int("axis").unwrap_or(-1);
    let axis = normalize_axis(given, x.shape().len());
    axis.map(|axis| axis as i64).ok_or_else(|| Reason(format!("axis {given} is out of range")))
}
