//! Products and convolutions of quantized numbers, in single precision.
//!
//! An operand stands for `(q - zero_point) scale`. The differences are whole and below 2^8, so that sums of up to 2^8 products are
//! exact; longer ones are refused where the result is an integer, and rounded where it is quantized again.

use super::builder::Builder;
use super::call::{Arg, Call};
use super::linear::product;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::{Lowered, Lowering, convolution};
use crate::layer::{ElementWiseKind, Layer, ReduceKind, Scaling, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("MatMulInteger", matmul_integer),
    ("ConvInteger", convolution_integer),
    ("QLinearMatMul", matmul_quantized),
    ("QLinearConv", convolution_quantized),
    ("DynamicQuantizeLinear", dynamic_quantize),
];

/// Products that a sum may have to be exact in single precision.
const MOST_EXACT: i64 = 256;

fn exact(depth: Option<i64>) -> Result<(), Refusal> {
    match depth {
        Some(depth) if depth <= MOST_EXACT => Ok(()),
        Some(depth) => Err(Refusal::new(format!("it sums {depth} products")).instead(format!("at most {MOST_EXACT}"))),
        None => Err(Refusal::new("the number of products that it sums is dynamic").instead("constant extents")),
    }
}

/// A per-row parameter as a column, so that it broadcasts against rows; a scalar as it is.
fn column(builder: &mut Builder, parameter: &Operand, after: usize) -> Result<Typed, Refusal> {
    let parameter = builder.tensor(parameter)?;
    let is_one = parameter.shape.iter().all(|dim| dim.is(1));
    match parameter.rank() {
        1 if is_one => Ok(builder.squeeze(&parameter, &[0])),
        1 => builder.unsqueeze(&parameter, &(1..=after).collect::<Vec<_>>()),
        _ => Ok(parameter),
    }
}

/// `q - zero_point` in single precision; `after` axes stand behind the one along which the zero point varies.
fn centred(builder: &mut Builder, call: &Call, index: usize, zero: usize, after: usize) -> Result<Typed, Refusal> {
    let q = builder.input(call, index)?;
    let q = builder.cast(&q, DataType::F32);
    match call.given(zero).filter(|zero| zero.value.weight().is_none_or(|zero| !zero.is_zero())) {
        None => Ok(q),
        Some(zero) => {
            let zero = column(builder, &zero.value, after)?;
            let zero = builder.cast(&zero, DataType::F32);
            Ok(builder.binary(ElementWiseKind::Subtract, &q.into(), &zero.into())?)
        }
    }
}

fn matmul_integer(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (centred(builder, call, 0, 2, 1)?, centred(builder, call, 1, 3, 0)?);
    exact(a.shape.last().and_then(Dim::as_known))?;
    let y = product(builder, &a.into(), &b.into())?;
    Ok(vec![builder.cast(&y, DataType::I32).into()])
}

/// The call of a convolution over these operands.
fn convolved(builder: &mut Builder, call: &Call, x: Typed, kernel: Typed) -> Result<Typed, Refusal> {
    let arg = |value: Typed| Some(Arg { value: value.into(), content: None });
    let inner = Call { attrs: call.attrs, args: vec![arg(x), arg(kernel)], types: Vec::new(), used: vec![true] };
    let y = convolution::convolution(builder, &inner)?.into_iter().next().ok_or("it has no result")?;
    builder.tensor(&y)
}

fn convolution_integer(builder: &mut Builder, call: &Call) -> Lowered {
    let rank = call.value(0)?.rank();
    let (x, kernel) = (centred(builder, call, 0, 2, 0)?, centred(builder, call, 1, 3, rank - 1)?);
    let depth = kernel.shape.iter().skip(1).map(Dim::as_known).try_fold(1i64, |depth, dim| depth.checked_mul(dim?));
    exact(depth)?;
    let y = convolved(builder, call, x, kernel)?;
    Ok(vec![builder.cast(&y, DataType::I32).into()])
}

fn matmul_quantized(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (centred(builder, call, 0, 2, 1)?, centred(builder, call, 3, 5, 0)?);
    let (a_scale, b_scale) = (column(builder, call.value(1)?, 1)?, column(builder, call.value(4)?, 0)?);
    let y = product(builder, &a.into(), &b.into())?;
    let factor = builder.binary(ElementWiseKind::Product, &a_scale.into(), &b_scale.into())?;
    let factor = builder.cast(&factor, DataType::F32);
    let y = builder.binary(ElementWiseKind::Product, &y.into(), &factor.into())?;
    requantized(builder, call, &y, 6, 7)
}

fn convolution_quantized(builder: &mut Builder, call: &Call) -> Lowered {
    let rank = call.value(0)?.rank();
    let (x, kernel) = (centred(builder, call, 0, 2, 0)?, centred(builder, call, 3, 5, rank - 1)?);
    let mut y = convolved(builder, call, x, kernel)?;
    if let Some(bias) = call.given(8) {
        let bias = builder.tensor(&bias.value)?;
        let bias = builder.cast(&bias, DataType::F32);
        let bias = builder.unsqueeze(&bias, &(1..=rank - 2).collect::<Vec<_>>())?;
        y = builder.binary(ElementWiseKind::Sum, &y.into(), &bias.into())?;
    }
    let (x_scale, w_scale) = (column(builder, call.value(1)?, 0)?, column(builder, call.value(4)?, rank - 2)?);
    let factor = builder.binary(ElementWiseKind::Product, &x_scale.into(), &w_scale.into())?;
    let factor = builder.cast(&factor, DataType::F32);
    let y = builder.binary(ElementWiseKind::Product, &y.into(), &factor.into())?;
    requantized(builder, call, &y, 6, 7)
}

/// `round(y / scale) + zero_point`, saturated.
fn requantized(builder: &mut Builder, call: &Call, y: &Typed, scale: usize, zero: usize) -> Lowered {
    let to = call.value(zero)?.data_type()?;
    let (scale, zero) = (column(builder, call.value(scale)?, 1)?, column(builder, call.value(zero)?, 1)?);
    let scale = builder.cast(&scale, DataType::F32);
    let steps = builder.binary(ElementWiseKind::Divide, &y.clone().into(), &scale.into())?;
    let steps = builder.unary(UnaryKind::Round, &steps);
    let zero = builder.cast(&zero, DataType::F32);
    let steps = builder.binary(ElementWiseKind::Sum, &steps.into(), &zero.into())?;
    Ok(vec![builder.saturated(&steps, to)?.into()])
}

impl Builder {
    /// Whole numbers as bytes; what does not fit becomes the nearest that does.
    pub(super) fn saturated(&mut self, whole: &Typed, to: DataType) -> Result<Typed, Refusal> {
        if to == DataType::I8 {
            // The quantization by a scale of one saturates itself.
            let scale = self.scalar(1.0, whole.data_type, 0)?;
            let layer = Layer::Quantize { input: whole.at, scale: scale.at, scaling: Scaling::PerTensor, to };
            return Ok(self.typed("quantize", layer, to, whole.shape.clone()));
        }
        let low = self.with(ElementWiseKind::Max, whole, 0.0)?;
        let bounded = self.with(ElementWiseKind::Min, &low, 255.0)?;
        Ok(self.cast(&bounded, to))
    }
}

/// Quantizes to uint8 over the range of the elements and 0.
fn dynamic_quantize(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let all: Vec<usize> = (0..x.rank()).collect();
    let low = builder.reduce(ReduceKind::Min, &x, &all, false);
    let low = builder.with(ElementWiseKind::Min, &low, 0.0)?;
    let high = builder.reduce(ReduceKind::Max, &x, &all, false);
    let high = builder.with(ElementWiseKind::Max, &high, 0.0)?;
    let range = builder.pair(ElementWiseKind::Subtract, &high, &low)?;
    let scale = builder.with(ElementWiseKind::Divide, &range, 255.0)?;
    let is_flat = builder.with(ElementWiseKind::Equal, &range, 0.0)?;
    let any = builder.scalar(1.0 / 255.0, x.data_type, 0)?;
    // Zeros alone have no range; any scale reproduces them.
    let scale = builder.select(&is_flat.into(), &any.into(), &scale.into())?;
    let zero = builder.pair(ElementWiseKind::Divide, &low, &scale)?;
    let zero = builder.unary(UnaryKind::Negate, &zero);
    let zero = builder.unary(UnaryKind::Round, &zero);
    let steps = builder.binary(ElementWiseKind::Divide, &x.into(), &scale.clone().into())?;
    let steps = builder.unary(UnaryKind::Round, &steps);
    let steps = builder.binary(ElementWiseKind::Sum, &steps.into(), &zero.clone().into())?;
    let (y, zero) = (builder.saturated(&steps, DataType::U8)?, builder.saturated(&zero, DataType::U8)?);
    Ok(vec![y.into(), scale.into(), zero.into()])
}
