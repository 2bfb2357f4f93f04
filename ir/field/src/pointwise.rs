//! Operators that compute each element of the operands' corresponding elements.

use crate::call::{Arguments, name_key};
use crate::constant::constant;
use crate::prime::{LANES, Prime, primes, random_of};
use crate::run::Evaluator;
use crate::value::{Drawn, Value};
use eutectic_ir::eval::{Broadcast, Contents, Datum, broadcast_shape};
use eutectic_ir::op::{Law, OpDef};
use eutectic_ir::types::{Element, ElementKind};
use eutectic_ir::{Attrs, Reason};
use pulp::Arch;

/// Functions of one number of which no law is known here.
const FUNCTIONS: &[&str] = &[
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "Log", "Round",
    "Sign", "Sin", "Sinh", "Tan", "Tanh",
];

impl Drawn {
    /// `f` of each residue.
    pub(crate) fn map(&self, degree: u64, f: impl Fn(&Prime, f64) -> f64) -> Result<Drawn, Reason> {
        let residues = self.residues()?;
        let lane = |lane: usize| {
            let (prime, f) = (&primes()[lane], &f);
            Arch::new().dispatch(
                #[inline(always)]
                || residues[lane].iter().map(|&x| f(prime, x)).collect::<Vec<f64>>(),
            )
        };
        Ok(self.with(self.shape(), std::array::from_fn(lane), degree))
    }

    /// `f` of each residue and the corresponding one of `other`, both broadcast.
    pub(crate) fn zip(&self, other: &Drawn, degree: u64, f: impl Fn(&Prime, f64, f64) -> f64) -> Result<Drawn, Reason> {
        let (a, b) = (self.residues()?, other.residues()?);
        let shape = common_shape(&[self, other])?;
        let (left, right) = (Broadcast::new(self.shape(), &shape), Broadcast::new(other.shape(), &shape));
        let ((len_a, step_a), (len_b, step_b)) = (left.run(), right.run());
        let len = len_a.min(len_b);
        let starts: Vec<(usize, usize)> = left.starts(len).zip(right.starts(len)).collect();
        let lane = |lane: usize| {
            let (prime, f, a, b) = (&primes()[lane], &f, a[lane], b[lane]);
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    let mut results = Vec::with_capacity(starts.len() * len);
                    for &(at_a, at_b) in &starts {
                        match (step_a, step_b) {
                            (1, 1) => results
                                .extend(a[at_a..][..len].iter().zip(&b[at_b..][..len]).map(|(&x, &y)| f(prime, x, y))),
                            (1, _) => results.extend(a[at_a..][..len].iter().map(|&x| f(prime, x, b[at_b]))),
                            (_, 1) => results.extend(b[at_b..][..len].iter().map(|&y| f(prime, a[at_a], y))),
                            _ => results.extend(std::iter::repeat_n(f(prime, a[at_a], b[at_b]), len)),
                        }
                    }
                    results
                },
            )
        };
        Ok(self.with(&shape, std::array::from_fn(lane), degree))
    }

    pub(crate) fn plus(&self, other: &Drawn) -> Result<Drawn, Reason> {
        self.zip(other, self.degree.max(other.degree), |prime, x, y| prime.reduce(x + y))
    }

    pub(crate) fn minus(&self, other: &Drawn) -> Result<Drawn, Reason> {
        self.zip(other, self.degree.max(other.degree), |prime, x, y| prime.reduce(x - y))
    }

    pub(crate) fn times(&self, other: &Drawn) -> Result<Drawn, Reason> {
        self.zip(other, self.degree.saturating_add(other.degree), Prime::mul)
    }

    /// Multiplied by the constant `factor`.
    pub(crate) fn scaled(&self, factor: f64) -> Result<Drawn, Reason> {
        self.times(&self.one(factor))
    }

    /// The constant `value`, of the same element type, without axes.
    pub(crate) fn one(&self, value: f64) -> Drawn {
        self.with(&[], constant(value).map(|residue| vec![residue]), 0)
    }

    pub(crate) fn max(&self, other: &Drawn) -> Result<Drawn, Reason> {
        self.zip(other, self.degree.max(other.degree), Prime::max)
    }

    pub(crate) fn min(&self, other: &Drawn) -> Result<Drawn, Reason> {
        self.zip(other, self.degree.max(other.degree), |prime, x, y| -prime.max(-x, -y))
    }

    /// The reciprocal of each: a variable of its own, unless it is a constant's.
    pub(crate) fn inverse(&self) -> Result<Drawn, Reason> {
        let residues = self.residues()?;
        let lane = |lane: usize| {
            let prime = &primes()[lane];
            let mut results = Vec::with_capacity(residues[lane].len());
            for stretch in residues[lane].chunks(256) {
                inverses(prime, stretch, &mut results);
            }
            results
        };
        Ok(self.with(self.shape(), std::array::from_fn(lane), self.degree.min(1)))
    }

    pub(crate) fn root(&self) -> Result<Drawn, Reason> {
        self.map(self.degree.min(1), Prime::root)
    }

    /// Each the product of `exponent` times itself.
    pub(crate) fn power(&self, exponent: u32) -> Result<Drawn, Reason> {
        self.map(self.degree.saturating_mul(u64::from(exponent)), |prime, x| prime.power(x, exponent))
    }

    pub(crate) fn is_real(&self) -> bool {
        matches!(self.lanes[0].contents, Contents::Real(_))
    }
}

/// Three products and one inverse for all, instead of an inverse each.
fn inverses(prime: &Prime, stretch: &[f64], results: &mut Vec<f64>) {
    let is_unit = |x: f64| x.is_finite() && x != 0.0;
    let mut product = 1.0;
    let first = results.len();
    for &x in stretch {
        results.push(product);
        product = if is_unit(x) { prime.mul(product, x) } else { product };
    }
    let mut inverse = prime.inverse_of(product);
    for (&x, result) in stretch.iter().zip(&mut results[first..]).rev() {
        if is_unit(x) {
            *result = prime.mul(*result, inverse);
            inverse = prime.mul(inverse, x);
        } else {
            *result = prime.inverse_of(x);
        }
    }
}

pub(crate) fn common_shape(operands: &[&Drawn]) -> Result<Vec<usize>, Reason> {
    let shapes = || operands.iter().map(|operand| operand.shape());
    broadcast_shape(shapes()).ok_or_else(|| Reason(format!("{:?} do not broadcast", shapes().collect::<Vec<_>>())))
}

impl Evaluator<'_> {
    /// A pseudo-random function of corresponding elements, chosen by `name` and `key`.
    pub(crate) fn random(&mut self, name: &'static str, key: u64, operands: &[&Drawn]) -> Result<Drawn, Reason> {
        self.functions.insert(name);
        let shape = common_shape(operands)?;
        let key = name_key(name) ^ key;
        let residues: Vec<[&[f64]; LANES]> =
            operands.iter().map(|operand| operand.residues()).collect::<Result<_, _>>()?;
        let count = shape.iter().product();
        let mut results: [Vec<f64>; LANES] = std::array::from_fn(|_| Vec::with_capacity(count));
        let mut push = |drawn: [f64; LANES]| results.iter_mut().zip(drawn).for_each(|(lane, drawn)| lane.push(drawn));
        match &residues[..] {
            [x] => (0..count).for_each(|at| push(random_of(key, std::iter::once(x.map(|lane| lane[at]))))),
            _ => {
                let offsets: Vec<Vec<usize>> = operands
                    .iter()
                    .map(|operand| Broadcast::new(operand.shape(), &shape).offsets().collect())
                    .collect();
                for at in 0..count {
                    let operands = residues.iter().zip(&offsets).map(|(x, offsets)| x.map(|lane| lane[offsets[at]]));
                    push(random_of(key, operands));
                }
            }
        }
        let degree = operands.iter().map(|operand| operand.degree.min(1)).max().unwrap_or(1);
        let first = operands.first().ok_or_else(|| Reason::new("a function of nothing"))?;
        Ok(first.with(&shape, results, degree))
    }

    pub(crate) fn exp(&mut self, x: &Drawn) -> Result<Drawn, Reason> {
        let power = self.random("Exp", 0, &[x])?;
        power.zip(x, power.degree, |_, power, x| if x == f64::NEG_INFINITY { 0.0 } else { power })
    }

    fn sigmoid(&mut self, x: &Drawn) -> Result<Drawn, Reason> {
        let power = self.exp(&x.map(x.degree, |_, x| -x)?)?;
        power.plus(&x.one(1.0))?.inverse()
    }

    /// The results of an operator on corresponding elements; `None` for one that is none.
    pub(crate) fn pointwise(
        &mut self,
        def: &'static OpDef,
        attrs: &Attrs,
        arguments: &Arguments,
    ) -> Result<Option<Value>, Reason> {
        let float = |name: &str| {
            attrs.float(name).map(f64::from).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))
        };
        let x = || arguments.drawn(0);
        let pair = || Ok::<_, Reason>((arguments.drawn(0)?, arguments.drawn(1)?));
        let fold = |f: fn(&Drawn, &Drawn) -> Result<Drawn, Reason>| {
            let mut all = arguments.all_drawn().into_iter();
            let first = all.next().ok_or_else(|| Reason::new("no operand"))?;
            all.try_fold(first, |so_far, next| f(&so_far, &next))
        };
        let result = match def.name {
            "Add" | "Sum" => fold(Drawn::plus)?,
            "Sub" => fold(Drawn::minus)?,
            "Mul" => fold(Drawn::times)?,
            "Max" => fold(Drawn::max)?,
            "Min" => fold(Drawn::min)?,
            "Mean" => fold(Drawn::plus)?.times(&x()?.one(arguments.len() as f64).inverse()?)?,
            "Div" => pair().and_then(|(x, y)| x.times(&y.inverse()?))?,
            "Reciprocal" => x()?.inverse()?,
            "Neg" => x()?.map(x()?.degree, |_, x| -x)?,
            "Sqrt" => x()?.root()?,
            "Pow" => self.pow(arguments)?,
            "Abs" => x().and_then(|x| x.max(&x.map(x.degree, |_, x| -x)?))?,
            "Relu" => x().and_then(|x| x.max(&x.one(0.0)))?,
            "Clip" => self.clip(&x()?, arguments.given(1), arguments.given(2))?,
            "LeakyRelu" => bent(&x()?, &x()?.one(float("alpha")?))?,
            "PRelu" => pair().and_then(|(x, slope)| bent(&x, &slope))?,
            "HardSigmoid" => self.hard_sigmoid(&x()?, float("alpha")?, float("beta")?)?,
            "HardSwish" => x().and_then(|x| x.times(&self.hard_sigmoid(&x, 1.0 / 6.0, 0.5)?))?,
            "Sigmoid" => self.sigmoid(&x()?)?,
            "Swish" => x().and_then(|x| x.times(&self.sigmoid(&x.scaled(float("alpha")?)?)?))?,
            "Softplus" => self.softplus(&x()?)?,
            "Mish" => {
                let softplus = self.softplus(&x()?)?;
                x()?.times(&self.random("Tanh", 0, &[&softplus])?)?
            }
            "Softsign" => {
                let x = x()?;
                let size = x.max(&x.map(x.degree, |_, x| -x)?)?;
                x.times(&size.plus(&x.one(1.0))?.inverse()?)?
            }
            "Elu" => {
                let x = x()?;
                let bent = self.exp(&x)?.minus(&x.one(1.0))?.scaled(float("alpha")?)?;
                x.zip(&bent, x.degree.max(bent.degree), |prime, x, bent| if prime.is_positive(-x) { bent } else { x })?
            }
            "Gelu" => self.gelu(&x()?, attrs.string("approximate") == Some("tanh"))?,
            "Equal" => {
                compared(
                    arguments,
                    |prime, x, y| if x.is_finite() && y.is_finite() { prime.reduce(x - y) == 0.0 } else { x == y },
                )?
            }
            "Less" => compared(arguments, less)?,
            "Greater" => compared(arguments, |prime, x, y| less(prime, y, x))?,
            "LessOrEqual" => compared(arguments, |prime, x, y| !less(prime, y, x))?,
            "GreaterOrEqual" => compared(arguments, |prime, x, y| !less(prime, x, y))?,
            "Cast" | "CastLike" => return self.cast(def, attrs, arguments).map(Some),
            "Exp" => self.exp(&x()?)?,
            name if FUNCTIONS.contains(&name) => self.random(def.name, 0, &[&x()?])?,
            _ if def.has(Law::Pointwise)
                && arguments.all_drawn().iter().all(Drawn::is_real)
                && def.outputs.len() == 1 =>
            {
                let all = arguments.all_drawn();
                self.random(def.name, crate::call::attributes_key(attrs), &all.iter().collect::<Vec<_>>())?
            }
            _ => return Ok(None),
        };
        Ok(Some(result.into()))
    }

    /// Between two bounds, a random function of where between them it is: `clip(c x + d, c l + d, c h + d) == c clip(x, l, h) + d`.
    fn clip(&mut self, x: &Drawn, least: Option<Drawn>, most: Option<Drawn>) -> Result<Drawn, Reason> {
        let is_bound = |bound: &Drawn| bound.lanes[0].real().is_ok_and(|bound| bound.iter().all(|x| x.is_finite()));
        match (least.filter(is_bound), most.filter(is_bound)) {
            (None, None) => Ok(x.clone()),
            (Some(least), None) => x.max(&least),
            (None, Some(most)) => x.min(&most),
            (Some(least), Some(most)) => {
                let span = most.minus(&least)?;
                let place = x.minus(&least)?.times(&span.inverse()?)?;
                self.random("Clip", 0, &[&place])?.times(&span)?.plus(&least)
            }
        }
    }

    fn hard_sigmoid(&mut self, x: &Drawn, slope: f64, offset: f64) -> Result<Drawn, Reason> {
        let line = x.scaled(slope)?.plus(&x.one(offset))?;
        self.random("Clip", 0, &[&line])
    }

    fn softplus(&mut self, x: &Drawn) -> Result<Drawn, Reason> {
        let sum = self.exp(x)?.plus(&x.one(1.0))?;
        self.random("Log", 0, &[&sum])
    }

    fn gelu(&mut self, x: &Drawn, by_tanh: bool) -> Result<Drawn, Reason> {
        let gate = if by_tanh {
            let cube = x.power(3)?.scaled(0.044715)?;
            let inner = x.plus(&cube)?.scaled(std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2)?;
            self.random("Tanh", 0, &[&inner])?
        } else {
            self.random("Erf", 0, &[&x.scaled(std::f64::consts::FRAC_1_SQRT_2)?])?
        };
        x.times(&gate.plus(&x.one(1.0))?)?.scaled(0.5)
    }

    fn pow(&mut self, arguments: &Arguments) -> Result<Drawn, Reason> {
        let (x, y) = (arguments.drawn(0)?, arguments.value(1)?);
        let exponent = y.numbers().and_then(|numbers| match &numbers.contents {
            Contents::Real(all) if all.iter().all(|one| *one == all[0]) => all.first().map(|&one| f64::from(one)),
            Contents::Int(all) if all.iter().all(|one| *one == all[0]) => all.first().map(|&one| one as f64),
            _ => None,
        });
        let whole = |exponent: f64| exponent.fract() == 0.0 && exponent.abs() <= 64.0;
        let powers = match exponent {
            Some(exponent) if whole(exponent) && exponent >= 0.0 => x.power(exponent as u32)?,
            Some(exponent) if whole(exponent) => x.power(-exponent as u32)?.inverse()?,
            Some(0.5) => x.root()?,
            Some(-0.5) => x.root()?.inverse()?,
            _ => {
                let y = y.drawn();
                // An integral exponent is one of the same value.
                let y = if y.is_real() { y } else { self.real_of(&y, x.lanes[0].element)? };
                return self.random("Pow", 0, &[&x, &y]);
            }
        };
        let shape =
            broadcast_shape([x.shape(), y.shape()]).ok_or_else(|| Reason::new("the exponent does not broadcast"))?;
        if shape == x.shape() {
            return Ok(powers);
        }
        powers.plus(&x.with(&shape, std::array::from_fn(|_| vec![0.0; shape.iter().product()]), 0))
    }

    /// Truth values and integers as reals of type `element`.
    fn real_of(&mut self, x: &Drawn, element: Element) -> Result<Drawn, Reason> {
        let lane = |lane: usize| match &x.lanes[lane].contents {
            Contents::Bool(all) => Ok(all.iter().map(|&one| f64::from(u8::from(one))).collect()),
            Contents::Int(all) => Ok(all
                .iter()
                .map(|&one| primes()[lane].reduce((one % primes()[lane].modulus as i128) as f64))
                .collect()),
            _ => x.lanes[lane].real().map(<[f64]>::to_vec),
        };
        let mut lanes = x.lanes.clone();
        for (at, into) in lanes.iter_mut().enumerate() {
            *into = Datum::of_real(element, x.shape(), lane(at)?);
        }
        Ok(Drawn { lanes, degree: x.degree, numbers: None })
    }

    /// Between real types nothing changes; residues are counted as true unless they are zero.
    fn cast(&mut self, def: &'static OpDef, attrs: &Attrs, arguments: &Arguments) -> Result<Value, Reason> {
        let x = arguments.drawn(0)?;
        let to = if def.name == "Cast" {
            attrs
                .int("to")
                .and_then(|code| Element::from_code(code as i32))
                .ok_or_else(|| Reason::new("attribute `to` names no type"))?
        } else {
            match arguments.value(1)? {
                Value::Numbers(like) => like.element,
                Value::Drawn(like) => like.lanes[0].element,
            }
        };
        match (to.kind(), x.is_real()) {
            (ElementKind::Real, _) => Ok(self.real_of(&x, to)?.into()),
            (ElementKind::Bool, true) => Ok(compared_with(&x, &x.one(0.0), |_, x, _| x != 0.0)?.into()),
            (ElementKind::Signed | ElementKind::Unsigned, false) => {
                let lanes = x.lanes.clone().map(|lane| match &lane.contents {
                    Contents::Bool(all) => {
                        Datum::of_int(to, &lane.shape, all.iter().map(|&one| i128::from(one)).collect())
                    }
                    Contents::Int(all) => Datum::of_int(to, &lane.shape, all.to_vec()),
                    _ => lane,
                });
                Ok(Drawn { lanes, degree: x.degree, numbers: None }.into())
            }
            _ => Err(Reason(format!("residues are no {to}"))),
        }
    }
}

fn less(prime: &Prime, x: f64, y: f64) -> bool {
    if x.is_finite() && y.is_finite() { prime.is_positive(prime.reduce(y - x)) } else { x < y }
}

fn bent(x: &Drawn, slope: &Drawn) -> Result<Drawn, Reason> {
    x.zip(
        slope,
        x.degree.saturating_add(slope.degree),
        |prime, x, slope| if prime.is_positive(-x) { prime.mul(slope, x) } else { x },
    )
}

fn compared(arguments: &Arguments, f: impl Fn(&Prime, f64, f64) -> bool) -> Result<Drawn, Reason> {
    compared_with(&arguments.drawn(0)?, &arguments.drawn(1)?, f)
}

fn compared_with(x: &Drawn, y: &Drawn, f: impl Fn(&Prime, f64, f64) -> bool) -> Result<Drawn, Reason> {
    let found = x.zip(y, 1, |prime, x, y| f64::from(u8::from(f(prime, x, y))))?;
    let lanes = found.lanes.map(|lane| match &lane.contents {
        Contents::Real(all) => Datum::of_bool(&lane.shape, all.iter().map(|&one| one == 1.0).collect()),
        _ => lane,
    });
    Ok(Drawn { lanes, degree: 1, numbers: None })
}
