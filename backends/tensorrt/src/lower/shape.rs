//! Extents as values, and constants.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, element, is_real};
use super::refusal::Refusal;
use super::terms::Term;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Extents, Layer, Steps, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::tensor::encode;
use eutectic_ir::{Attr, Dim, Element, Tensor};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Shape", shape),
    ("Size", size),
    ("Range", range),
    ("EyeLike", eye),
];

fn constant(builder: &mut Builder, call: &Call) -> Lowered {
    let (name, attr) = call.attrs.iter().next().ok_or("it has no value")?;
    let tensor = match attr {
        Attr::Tensor(tensor) => tensor.clone(),
        Attr::Float(value) => Tensor::scalar(*value),
        Attr::Floats(values) => Tensor::vector(values),
        Attr::Int(value) => Tensor::scalar(*value),
        Attr::Ints(values) => Tensor::vector(values),
        _ => return Err(Refusal::new(format!("its {name} is not a number"))),
    };
    Ok(vec![builder.weight("", tensor).into()])
}

/// A weight when the shape is known, else one element that is read again and again.
fn constant_of_shape(builder: &mut Builder, call: &Call) -> Lowered {
    let value = match call.attrs.tensor("value") {
        Some(value) => value.reshape(&[]).map_err(|error| error.to_string())?,
        None => Tensor::scalar(0f32),
    };
    let arg = call.arg(0)?;
    if let Some(sizes) = arg.ints() {
        let shape: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
        let shape = shape.ok_or_else(|| Refusal::new(format!("its shape is {sizes:?}")))?;
        let tensor = Tensor::splat(value.element(), &shape, &value.bytes()).map_err(|error| error.to_string())?;
        return Ok(vec![builder.weight("", tensor).into()]);
    }
    let terms = builder.terms(arg)?;
    let one = builder.weight("", value);
    let one = builder.constant(&one, &vec![1; terms.len()])?;
    let shape = shape_of_terms(builder, &terms, call.shape(0));
    Ok(vec![builder.expand(&one, &shape, &terms)?.into()])
}

fn shape_of_terms(builder: &mut Builder, terms: &[Term], inferred: Option<&[Dim]>) -> Vec<Dim> {
    let dim = |(at, term): (usize, &Term)| match (term, inferred.and_then(|shape| shape.get(at))) {
        (Term::Known(known), _) => Dim::known(*known),
        (Term::At(_), Some(dim)) => dim.clone(),
        (Term::At(_), None) => builder.fresh(),
    };
    terms.iter().enumerate().map(dim).collect()
}

fn shape(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let rank = i64::try_from(x.rank()).unwrap_or(i64::MAX);
    let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
    let (start, end) = (clamp(call.int("start", 0)), clamp(call.int("end", rank)));
    let count = (end - start).max(0);
    let all = Typed { at: builder.shape_of(&x), data_type: DataType::I64, shape: vec![Dim::known(rank)] };
    if count == rank {
        return Ok(vec![all.into()]);
    }
    Ok(vec![builder.part(&all, 0, Term::Known(start), Term::Known(count))?.into()])
}

fn size(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let mut product = Term::Known(1);
    for extent in builder.sizes(&x)? {
        product = builder.mul(&product, &extent)?;
    }
    let product = builder.term(&product)?;
    Ok(vec![builder.squeeze(&product, &[0]).into()])
}

fn range(builder: &mut Builder, call: &Call) -> Lowered {
    let parts = [call.value(0)?, call.value(1)?, call.value(2)?];
    let data_type = parts[0].data_type()?;
    if let [Some(start), Some(limit), Some(delta)] = parts.map(Operand::single) {
        return known_range(builder, start, limit, delta, data_type);
    }
    let inferred = call.shape(0).and_then(<[Dim]>::first).cloned();
    if is_real(data_type) {
        let mut scalars = Vec::new();
        for part in parts {
            let part = builder.tensor(part)?;
            let part = if part.rank() == 1 { builder.squeeze(&part, &[0]) } else { part };
            // Narrow floats count in single precision, as `stash_type` asks.
            scalars.push(builder.cast(&part, DataType::F32));
        }
        let (start, limit, delta) = (&scalars[0], &scalars[1], &scalars[2]);
        let span = builder.pair(ElementWiseKind::Subtract, limit, start)?;
        let steps = builder.pair(ElementWiseKind::Divide, &span, delta)?;
        let steps = builder.unary(UnaryKind::Ceil, &steps);
        let steps = builder.with(ElementWiseKind::Max, &steps, 0.0)?;
        let length = builder.cast(&steps, DataType::I64);
        let length = builder.unsqueeze(&length, &[0])?;
        let delta = builder.unsqueeze(delta, &[0])?;
        let steps = Steps::Computed { start: start.at, delta: delta.at, data_type: DataType::F32 };
        let layer = Layer::Range { length: Extents::Computed(length.at), steps };
        let shape = vec![inferred.unwrap_or_else(|| builder.fresh())];
        let y = builder.typed("range", layer, DataType::F32, shape);
        return Ok(vec![builder.cast(&y, data_type).into()]);
    }
    let mut terms = Vec::new();
    for at in 0..3 {
        terms.push(*builder.terms(call.arg(at)?)?.first().ok_or("it has an empty operand")?);
    }
    let (start, limit, delta) = (terms[0], terms[1], terms[2]);
    // ceil((limit - start) / delta), whatever the sign of delta.
    let span = builder.sub(&start, &limit)?;
    let quotient = builder.floor_div(&span, &delta)?;
    let length = builder.sub(&Term::Known(0), &quotient)?;
    let length = builder.max(&length, &Term::Known(0))?;
    let shape = vec![match (length, inferred) {
        (Term::Known(known), _) => Dim::known(known),
        (_, Some(dim)) => dim,
        _ => builder.fresh(),
    }];
    let length = builder.extents_of(&[length])?;
    let steps = match (start, delta) {
        (Term::Known(start), Term::Known(delta)) => Steps::Int { start, delta },
        _ => {
            let (start, delta) = (builder.term(&start)?, builder.term(&delta)?);
            let start = builder.squeeze(&start, &[0]);
            Steps::Computed { start: start.at, delta: delta.at, data_type: DataType::I64 }
        }
    };
    let y = builder.typed("range", Layer::Range { length, steps }, DataType::I64, shape);
    Ok(vec![builder.cast(&y, data_type).into()])
}

/// A constant with ones on a diagonal.
fn eye(builder: &mut Builder, call: &Call) -> Lowered {
    let x = call.value(0)?;
    let sizes = x.shape().iter().map(Dim::as_size).collect::<Option<Vec<usize>>>();
    let sizes = sizes.ok_or_else(|| Refusal::new("its shape is dynamic").instead("a constant shape"))?;
    let [rows, columns] = sizes.as_slice() else { return Err(Refusal::new("its input has not two axes")) };
    let stated = call.attrs.int("dtype").and_then(|code| i32::try_from(code).ok()).and_then(Element::from_code);
    let to = stated.map_or_else(|| x.data_type().map(element), Ok)?;
    let offset = call.int("k", 0);
    let is_one = |at: usize| (at % columns) as i64 - (at / columns) as i64 == offset;
    let bytes = (0..rows * columns).map(|at| encode(to, if is_one(at) { 1.0 } else { 0.0 }));
    let bytes = bytes.collect::<Option<Vec<_>>>().ok_or_else(|| Refusal::new(format!("it makes {to}")))?.concat();
    let tensor = Tensor::new(to, &[*rows, *columns], bytes.into()).map_err(|error| error.to_string())?;
    Ok(vec![builder.weight("", tensor).into()])
}

fn known_range(builder: &mut Builder, start: f64, limit: f64, delta: f64, data_type: DataType) -> Lowered {
    const LONGEST: f64 = 1e8;
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count.is_nan() || count > LONGEST {
        return Err(Refusal::new(format!("it has {count} elements")));
    }
    let count = count as usize;
    let values = (0..count).map(|at| start + at as f64 * delta);
    let tensor = match data_type {
        DataType::I64 => Tensor::vector(&values.map(|value| value as i64).collect::<Vec<_>>()),
        DataType::I32 => Tensor::vector(&values.map(|value| value as i32).collect::<Vec<_>>()),
        DataType::F32 => Tensor::vector(&values.map(|value| value as f32).collect::<Vec<_>>()),
        other => return Err(Refusal::new(format!("a range of {other:?}")).instead("int64, int32 or float")),
    };
    Ok(vec![builder.weight("", tensor).into()])
}
