//! What a graph computes with here: numbers that are known, and residues.

use crate::constant::constant;
use crate::prime::{LANES, primes};
use eutectic_ir::Reason;
use eutectic_ir::eval::{Contents, Datum};

/// A tensor of a graph that is evaluated in every lane at once.
#[derive(Clone, Debug)]
pub enum Value {
    /// Integers and truth values, which are what they are in every lane; and reals that so far were only moved, which are
    /// drawn where they are first computed with.
    Numbers(Datum<f32>),
    /// Residues.
    Drawn(Drawn),
}

/// Residues in every lane; truth values that were found by comparing residues may differ from lane to lane.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// One tensor for each prime: real elements are residues, or infinite.
    pub lanes: [Datum<f64>; LANES],
    /// A bound of the degree of each element as a polynomial in what was drawn.
    pub degree: u64,
    /// What it is in single precision, for constants: where elements are counted or chosen, this decides.
    pub numbers: Option<Datum<f32>>,
}

impl Value {
    /// The known numbers.
    pub fn numbers(&self) -> Option<&Datum<f32>> {
        match self {
            Value::Numbers(numbers) => Some(numbers),
            Value::Drawn(drawn) => drawn.numbers.as_ref(),
        }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Value::Numbers(numbers) => &numbers.shape,
            Value::Drawn(drawn) => &drawn.lanes[0].shape,
        }
    }

    /// True for numbers that are one real number throughout: a constant of the model, rather than a weight.
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self, Value::Numbers(numbers) if single(numbers).is_some())
    }

    /// The residues: those of numbers are drawn, the same for equal numbers.
    pub fn drawn(&self) -> Drawn {
        match self {
            Value::Numbers(numbers) => draw(numbers),
            Value::Drawn(drawn) => drawn.clone(),
        }
    }
}

impl From<Drawn> for Value {
    fn from(drawn: Drawn) -> Self {
        Value::Drawn(drawn)
    }
}

/// The one real number that `numbers` holds throughout.
fn single(numbers: &Datum<f32>) -> Option<f32> {
    match &numbers.contents {
        Contents::Real(elements) => match &elements[..] {
            [first, rest @ ..] if rest.iter().all(|element| element.to_bits() == first.to_bits()) => Some(*first),
            _ => None,
        },
        _ => None,
    }
}

fn draw(numbers: &Datum<f32>) -> Drawn {
    let single = single(numbers).map(|number| constant(f64::from(number)));
    let lane = |lane: usize| {
        let contents = match &numbers.contents {
            Contents::Real(elements) => {
                let prime = &primes()[lane];
                let drawn: Vec<f64> = match single {
                    Some(constant) => vec![constant[lane]; elements.len()],
                    None => elements.iter().map(|&element| prime.of_number(element)).collect(),
                };
                Contents::Real(drawn.into())
            }
            Contents::Int(elements) => Contents::Int(elements.clone()),
            Contents::Bool(elements) => Contents::Bool(elements.clone()),
            Contents::Text(elements) => Contents::Text(elements.clone()),
            Contents::Complex(elements) => Contents::Complex(elements.clone()),
        };
        Datum { element: numbers.element, shape: numbers.shape.clone(), contents }
    };
    // A constant is no variable.
    let degree = u64::from(single.is_none());
    Drawn { lanes: std::array::from_fn(lane), degree, numbers: Some(numbers.clone()) }
}

impl Drawn {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        &self.lanes[0].shape
    }

    /// The residues of each lane. Errors: not real.
    pub fn residues(&self) -> Result<[&[f64]; LANES], Reason> {
        let mut residues = [&[][..]; LANES];
        for (into, lane) in residues.iter_mut().zip(&self.lanes) {
            *into = lane.real()?;
        }
        Ok(residues)
    }

    /// The same type with other residues.
    pub fn with(&self, shape: &[usize], residues: [Vec<f64>; LANES], degree: u64) -> Self {
        let element = self.lanes[0].element;
        let lanes = residues.map(|residues| Datum::of_real(element, shape, residues));
        Self { lanes, degree, numbers: None }
    }
}

/// True when two values are equal in every lane.
pub fn equal(a: &Value, b: &Value) -> bool {
    let (a, b) = (a.drawn(), b.drawn());
    a.lanes.iter().zip(&b.lanes).all(|(a, b)| a.equals(b))
}

/// True when something in it is not a number: nothing can be said of it.
pub fn is_undefined(value: &Value) -> bool {
    let nan = |lane: &Datum<f64>| matches!(&lane.contents, Contents::Real(x) if x.iter().any(|x| x.is_nan()));
    value.drawn().lanes.iter().any(nan)
}
