//! Changes of type, quantization included.

use super::activation::must_be_constant;
use super::builder::Builder;
use super::call::Call;
use super::operand::{Typed, data_type};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{Layer, Scaling};
use crate::spec::DataType;
use eutectic_ir::{Element, TensorType};

/// The operators of this family.
pub(super) const OPS: &[Lowering] =
    &[("Cast", cast), ("CastLike", cast_like), ("QuantizeLinear", quantize), ("DequantizeLinear", dequantize)];

fn cast(builder: &mut Builder, call: &Call) -> Lowered {
    let code = i32::try_from(call.int("to", 0)).unwrap_or(0);
    let to = Element::from_code(code).ok_or_else(|| Refusal::new(format!("no element type has code {code}")))?;
    let x = builder.input(call, 0)?;
    converted(builder, &x, data_type(to)?)
}

fn cast_like(builder: &mut Builder, call: &Call) -> Lowered {
    let to = call.value(1)?.data_type()?;
    let x = builder.input(call, 0)?;
    converted(builder, &x, to)
}

/// Four-bit elements stand in pairs.
fn converted(builder: &mut Builder, x: &Typed, to: DataType) -> Lowered {
    let count = x.sizes().map(|sizes| sizes.iter().product::<i64>());
    if [x.data_type, to].iter().any(|data_type| data_type.bits() < 8) && count.is_none_or(|count| count % 2 != 0) {
        return Err(Refusal::new("it converts an odd number of four-bit elements").instead("an even number"));
    }
    Ok(vec![builder.cast(x, to).into()])
}

fn quantize(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let stated = i32::try_from(call.int("output_dtype", 0)).ok().and_then(Element::from_code);
    let to = match (call.given(2), stated) {
        (Some(zero), _) => zero.value.data_type()?,
        (None, Some(element)) => data_type(element)?,
        (None, None) => DataType::U8,
    };
    let (scale, scaling) = scale(builder, call, &x)?;
    if !matches!(to, DataType::I8 | DataType::F8E4M3 | DataType::I4) {
        return Err(Refusal::new(format!("it quantizes to {to:?}")).instead("int8, float8e4m3fn or int4"));
    }
    let shape = x.shape.clone();
    Ok(vec![builder.typed("quantize", Layer::Quantize { input: x.at, scale: scale.at, scaling, to }, to, shape).into()])
}

fn dequantize(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    if !matches!(x.data_type, DataType::I8 | DataType::F8E4M3 | DataType::I4) {
        let problem = format!("it reads {:?}", x.data_type);
        return Err(Refusal::new(problem).instead("int8, float8e4m3fn or int4"));
    }
    let (scale, scaling) = scale(builder, call, &x)?;
    let to =
        call.types.first().cloned().flatten().map_or(Ok(scale.data_type), |ty: TensorType| data_type(ty.element))?;
    let layer = Layer::Dequantize { input: x.at, scale: scale.at, scaling, to };
    let shape = x.shape.clone();
    Ok(vec![builder.typed("dequantize", layer, to, shape).into()])
}

/// The scale, and which elements share one. Errors: a zero point other than zero.
fn scale(builder: &mut Builder, call: &Call, x: &Typed) -> Result<(Typed, Scaling), Refusal> {
    if let Some(zero) = call.given(2) {
        let weight = zero.value.weight().ok_or_else(|| must_be_constant("zero point"))?;
        if !weight.is_zero() {
            return Err(Refusal::new("its zero point is not zero").instead("symmetric quantization"));
        }
    }
    let scale = call.value(1)?;
    let weight = scale.weight().ok_or_else(|| must_be_constant("scale"))?;
    if weight.tensor.count() == 1 {
        return Ok((builder.constant(weight, &[])?, Scaling::PerTensor));
    }
    let axis = call.axis(call.int("axis", 1), x.rank())?;
    let sizes = weight.sizes();
    let scaling = match call.int("block_size", 0) {
        0 => Scaling::PerAxis(axis as u32),
        size => Scaling::PerBlock((0..x.rank()).map(|at| if at == axis { size } else { 1 }).collect()),
    };
    Ok((builder.constant(weight, &sizes)?, scaling))
}
