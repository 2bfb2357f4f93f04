//! Linear quantization: per tensor, per axis, and in blocks along an axis.

use super::cast::{element_of_code, integer_range, narrowed};
use super::functions::ROUND;
use super::lanes::Lanes;
use super::pointwise::needs_functions;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::narrow::{RoundMode, Rounding};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work};
use crate::types::Element::{self, *};
use crate::types::normalize_axis;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&QUANTIZE_LINEAR, &DEQUANTIZE_LINEAR];

/// What numbers are quantized to.
const QUANTIZED: &[Element] = &[
    Int2,
    Uint2,
    Int4,
    Uint4,
    Int8,
    Uint8,
    Int16,
    Uint16,
    Float4E2M1,
    Float6E2M3,
    Float6E3M2,
    Float8E4M3FN,
    Float8E4M3FNUZ,
    Float8E5M2,
    Float8E5M2FNUZ,
];

static QUANTIZE_LINEAR: OpDef = OpDef {
    name: "QuantizeLinear",
    doc: "y = saturate(round(x / y_scale) + y_zero_point), halves to even; unrounded before the sum for float y",
    versions: &[10, 13, 19, 21, 23, 24, 25, 28],
    inputs: &[Param::required("x", "T1"), Param::required("y_scale", "T2"), Param::optional("y_zero_point", "T3")],
    outputs: &[Param::required("y", "T3")],
    attrs: &[
        AttrDef::int("axis", 1),
        AttrDef::int("block_size", 0),
        AttrDef::int("output_dtype", 0),
        AttrDef::int("precision", 0),
        AttrDef::int("saturate", 1),
    ],
    types: &[
        ("T1", &[Float, Float16, Bfloat16, Int32]),
        ("T2", &[Float, Float16, Bfloat16, Int32, Float8E8M0]),
        ("T3", QUANTIZED),
    ],
    infer: infer_quantize,
    eval: eval!(quantize),
    work: |call, outputs| Work::pointwise(call, outputs, 4),
    ..OpDef::BASE
};

fn quantized_type(code: i64, zero_point: Option<Element>) -> Result<Element, Reason> {
    match (code, zero_point) {
        (0, zero_point) => Ok(zero_point.unwrap_or(Uint8)),
        (code, None) => {
            let element = element_of_code(code)?;
            let problem = || Reason(format!("`output_dtype` is {element}, to which nothing is quantized"));
            QUANTIZED.contains(&element).then_some(element).ok_or_else(problem)
        }
        (code, Some(found)) => {
            let expected = element_of_code(code)?;
            let problem = || Reason(format!("`output_dtype` is {expected}, the zero point is {found}"));
            (found == expected).then_some(found).ok_or_else(problem)
        }
    }
}

fn infer_quantize(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let element = quantized_type(call.int("output_dtype")?, call.given(2).map(|zero| zero.ty.element))?;
    Ok(vec![Some(Fact::new(element, call.ty(0)?.shape.iter().cloned()))])
}

fn quantize<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("rounding")?;
    let (x, scale, zero_point) = (call.input(0)?, call.input(1)?, call.given(2));
    let element = quantized_type(call.int("output_dtype")?, zero_point.map(|zero| zero.element))?;
    let precision = match (call.int("precision")?, scale.element) {
        // Nothing is divided in a type of powers of two.
        (0, Float8E8M0) if x.element.is_real() => x.element,
        (0, Float8E8M0) => Float,
        (0, element) => element,
        (code, _) => element_of_code(code)?,
    };
    let grains = Grains::new(call, &x.shape, scale)?;
    let (numbers, scales) = (reals(x)?, reals(scale)?);
    check_zero_point(zero_point, scale)?;
    let quotient = |at: usize, grain: usize| numbers[at].div(scales[grain]).round(precision);
    let Some((low, high)) = integer_range(element) else {
        let zeros = zero_point.map(Datum::real).transpose()?;
        let mut result = numbers.clone();
        grains.each(|at, grain| {
            let quotient = quotient(at, grain);
            result[at] = zeros.map_or(quotient, |zeros| quotient.add(zeros[grain]));
        });
        let rounding = Rounding { saturate: call.attrs.flag("saturate"), mode: RoundMode::Nearest };
        return Ok(vec![Datum::of_real(element, &x.shape, narrowed(element, result, rounding))]);
    };
    let zeros = zero_point.map(Datum::int).transpose()?;
    let mut result = vec![0i128; numbers.len()];
    grains.each(|at, grain| {
        let steps = quotient(at, grain).apply(&ROUND).to_f64();
        result[at] = saturated(steps, zeros.map_or(0, |zeros| zeros[grain]), (low, high));
    });
    Ok(vec![Datum::of_int(element, &x.shape, result)])
}

/// A whole number plus a zero point within limits. NaN becomes the zero point; infinities end at the limits.
pub(super) fn saturated(steps: f64, zero: i128, (low, high): (i128, i128)) -> i128 {
    (steps as i128).saturating_add(zero).clamp(low, high)
}

/// The elements in the carrier, integers too.
pub(super) fn reals<S: Scalar>(datum: &Datum<S>) -> Result<Vec<S>, Reason> {
    match &datum.contents {
        Contents::Int(elements) => Ok(elements.iter().map(|&value| S::from_int(value)).collect()),
        _ => datum.real().map(<[S]>::to_vec),
    }
}

fn check_zero_point<S: Scalar>(zero: Option<&Datum<S>>, scale: &Datum<S>) -> Result<(), Reason> {
    match zero {
        Some(zero) if zero.count() != scale.count() => {
            Err(Reason(format!("the zero point has shape {:?}, the scale {:?}", zero.shape, scale.shape)))
        }
        _ => Ok(()),
    }
}

static DEQUANTIZE_LINEAR: OpDef = OpDef {
    name: "DequantizeLinear",
    doc: "y = (x - x_zero_point) * x_scale",
    versions: &[10, 13, 19, 21, 23, 24, 25, 28],
    inputs: &[Param::required("x", "T1"), Param::required("x_scale", "T2"), Param::optional("x_zero_point", "T1")],
    outputs: &[Param::required("y", "T3")],
    attrs: &[AttrDef::int("axis", 1), AttrDef::int("block_size", 0), AttrDef::int("output_dtype", 0)],
    types: &[
        (
            "T1",
            &[
                Int2,
                Uint2,
                Int4,
                Uint4,
                Int8,
                Uint8,
                Int16,
                Uint16,
                Int32,
                Float4E2M1,
                Float6E2M3,
                Float6E3M2,
                Float8E4M3FN,
                Float8E4M3FNUZ,
                Float8E5M2,
                Float8E5M2FNUZ,
            ],
        ),
        ("T2", &[Float, Float16, Bfloat16, Float8E8M0]),
        ("T3", &[Float, Float16, Bfloat16]),
    ],
    infer: infer_dequantize,
    eval: eval!(dequantize),
    work: |call, outputs| Work::pointwise(call, outputs, 2),
    ..OpDef::BASE
};

fn dequantized_type(code: i64, scale: Element) -> Result<Element, Reason> {
    let element = if code == 0 { scale } else { element_of_code(code)? };
    let problem = || Reason(format!("`output_dtype` is {element}, a wider floating-point type is expected"));
    [Float, Float16, Bfloat16].contains(&element).then_some(element).ok_or_else(problem)
}

fn infer_dequantize(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let element = dequantized_type(call.int("output_dtype")?, call.ty(1)?.element)?;
    Ok(vec![Some(Fact::new(element, call.ty(0)?.shape.iter().cloned()))])
}

fn dequantize<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, scale, zero_point) = (call.input(0)?, call.input(1)?, call.given(2));
    let element = dequantized_type(call.int("output_dtype")?, scale.element)?;
    let grains = Grains::new(call, &x.shape, scale)?;
    let scales = scale.real()?;
    check_zero_point(zero_point, scale)?;
    let mut result = vec![S::from_int(0); x.count()];
    match &x.contents {
        Contents::Int(steps) => {
            let zeros = zero_point.map(Datum::int).transpose()?;
            grains.each(|at, grain| {
                let zero = zeros.map_or(0, |zeros| zeros[grain]);
                result[at] = S::from_int(steps[at] - zero).mul(scales[grain]);
            });
        }
        _ => {
            let (steps, zeros) = (x.real()?, zero_point.map(Datum::real).transpose()?);
            grains.each(|at, grain| {
                let step = zeros.map_or(steps[at], |zeros| steps[at].sub(zeros[grain]));
                result[at] = step.mul(scales[grain]);
            });
        }
    }
    Ok(vec![Datum::of_real(element, &x.shape, result)])
}

/// Which scale goes with which element: `block` neighbours along an axis share one.
struct Grains {
    lanes: Lanes,
    block: usize,
    /// Lanes of the scale that differ from each other: one when it does not vary across lanes.
    per_lane: bool,
}

impl Grains {
    fn new<S: Scalar>(call: &EvalCall<S>, shape: &[usize], scale: &Datum<S>) -> Result<Self, Reason> {
        if scale.count() == 1 && scale.rank() <= 1 {
            let lanes = Lanes::new(shape, 0..shape.len());
            return Ok(Self { block: lanes.len.max(1), lanes, per_lane: false });
        }
        let problem = || Reason(format!("a scale of shape {:?} does not fit an input of shape {shape:?}", scale.shape));
        // An input of one axis leaves no choice; exporters keep the default of 1 there.
        let axis = if shape.len() == 1 { 0 } else { call.int("axis")? };
        let axis = normalize_axis(axis, shape.len()).ok_or_else(problem)?;
        let lanes = Lanes::new(shape, axis..axis + 1);
        let block = usize::try_from(call.int("block_size")?).map_err(|_| problem())?;
        if block == 0 {
            return if scale.shape == [shape[axis]] {
                Ok(Self { lanes, block: 1, per_lane: false })
            } else {
                Err(problem())
            };
        }
        let blocked = |(at, &dim): (usize, &usize)| if at == axis { dim.div_ceil(block) } else { dim };
        let expected: Vec<usize> = shape.iter().enumerate().map(blocked).collect();
        if scale.shape == expected { Ok(Self { lanes, block, per_lane: true }) } else { Err(problem()) }
    }

    /// Calls `visit` with the place of each element and of its scale.
    fn each(&self, mut visit: impl FnMut(usize, usize)) {
        let Lanes { outer, len, inner } = self.lanes;
        let n_blocks = len.div_ceil(self.block);
        for outer_at in 0..outer {
            for at in 0..len {
                let (start, block_at) = ((outer_at * len + at) * inner, at / self.block);
                let (grain, step) =
                    if self.per_lane { ((outer_at * n_blocks + block_at) * inner, 1) } else { (block_at, 0) };
                (0..inner).for_each(|inner_at| visit(start + inner_at, grain + inner_at * step));
            }
        }
    }
}
