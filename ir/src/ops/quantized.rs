//! Convolutions and matrix products of quantized numbers.
//!
//! Each operand stands for `(q - zero_point) * scale`. Sums of products of the differences are exact and wrap at 32 bits;
//! a result that is quantized again is scaled once, rounded half to even, and saturates.

use super::cast::{integer_range, narrowed};
use super::convolution::{add_bias, convolved, convolved_dims, filter_size};
use super::linear::{product_dims, product_of};
use super::pointwise::{maximum, minimum, needs_functions, needs_order, zip};
use super::quantization::{reals, saturated};
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar, broadcast_shape, wrap};
use crate::narrow::{RoundMode, Rounding};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work};
use crate::types::Element::{self, *};
use crate::types::TensorType;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&DYNAMIC_QUANTIZE_LINEAR, &CONV_INTEGER, &MATMUL_INTEGER, &QLINEAR_CONV, &QLINEAR_MATMUL];

const BYTES: &[Element] = &[Int8, Uint8];

static DYNAMIC_QUANTIZE_LINEAR: OpDef = OpDef {
    name: "DynamicQuantizeLinear",
    doc: "x quantized to uint8 over the range of its elements and 0; also the scale and the zero point",
    versions: &[11],
    inputs: &[Param::required("x", "T1")],
    outputs: &[
        Param::required("y", "T2"),
        Param::required("y_scale", "tensor(float)"),
        Param::required("y_zero_point", "T2"),
    ],
    types: &[("T1", &[Float]), ("T2", &[Uint8]), ("tensor(float)", &[Float])],
    infer: |call| {
        let y = Fact::new(Uint8, call.ty(0)?.shape.iter().cloned());
        Ok(vec![Some(y), Some(Fact::new(Float, [])), Some(Fact::new(Uint8, []))])
    },
    eval: eval!(dynamic_quantize),
    // Two comparisons for the range, then what QuantizeLinear does.
    work: |call, outputs| Work::pointwise(call, outputs, 6),
    ..OpDef::BASE
};

fn dynamic_quantize<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    needs_functions::<S>("rounding")?;
    let (x, zero, steps) = (call.input(0)?, S::from_int(0), S::from_int(255));
    let low = x.real()?.iter().copied().fold(zero, minimum);
    let high = x.real()?.iter().copied().fold(zero, maximum);
    // Zeros alone have no range; any scale reproduces them.
    let range = if low == high { S::from_int(1) } else { high.sub(low) };
    let scale = range.div(steps).round(Float);
    let rounded = |value: S| value.to_f64().round_ties_even();
    let zero_point = saturated(rounded(zero.sub(low.div(scale))), 0, (0, 255));
    let quantized = x.real()?.iter().map(|&x| saturated(rounded(x.div(scale).round(Float)), zero_point, (0, 255)));
    Ok(vec![
        Datum::of_int(Uint8, &x.shape, quantized.collect()),
        Datum::of_real(Float, &[], vec![scale]),
        Datum::of_int(Uint8, &[], vec![zero_point]),
    ])
}

const WINDOW_ATTRS: &[AttrDef] = &[
    AttrDef::string("auto_pad", "NOTSET"),
    AttrDef::optional("dilations", AttrKind::Ints),
    AttrDef::int("group", 1),
    AttrDef::optional("kernel_shape", AttrKind::Ints),
    AttrDef::optional("pads", AttrKind::Ints),
    AttrDef::optional("strides", AttrKind::Ints),
];

static CONV_INTEGER: OpDef = OpDef {
    name: "ConvInteger",
    doc: "The convolution of x - x_zero_point with w - w_zero_point in 32-bit integers",
    versions: &[10],
    inputs: &[
        Param::required("x", "T1"),
        Param::required("w", "T2"),
        Param::optional("x_zero_point", "T1"),
        Param::optional("w_zero_point", "T2"),
    ],
    outputs: &[Param::required("y", "T3")],
    attrs: WINDOW_ATTRS,
    types: &[("T1", BYTES), ("T2", BYTES), ("T3", &[Int32])],
    infer: |call| Ok(vec![Some(Fact::new(Int32, convolved_dims(call, call.ty(0)?, call.ty(1)?, None)?))]),
    eval: eval!(conv_integer),
    work: |call, outputs| conv_work(call, outputs, 1),
    ..OpDef::BASE
};

fn conv_work(call: &Call, outputs: &[TensorType], filter_at: usize) -> Option<Work> {
    let per_output = filter_size(call, filter_at)?.mul(&Dim::known(2))?;
    Work::streaming(call, outputs, outputs.first()?.count()?.mul(&per_output)?)
}

fn conv_integer<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (shape, sums) = integer_conv(call, (0, 2), (1, 3))?;
    Ok(vec![Datum::of_int(Int32, &shape, sums)])
}

/// Exact sums of the convolution of an input with filters, each given by the places of itself and its zero point.
fn integer_conv<S: Scalar>(
    call: &EvalCall<S>,
    (x, x_zero): (usize, usize),
    (w, w_zero): (usize, usize),
) -> Result<(Vec<usize>, Vec<i128>), Reason> {
    let (x, w) = (call.input(x)?, call.input(w)?);
    let x_zero = match call.given(x_zero) {
        Some(zero) => single(zero, "the zero point of the input", zero.int()?)?,
        None => 0,
    };
    let data: Vec<i128> = x.int()?.iter().map(|value| value - x_zero).collect();
    let mut filters = w.int()?.to_vec();
    if let Some(zero) = call.given(w_zero) {
        let n_filters = w.shape.first().copied().unwrap_or(0);
        let zeros = per_filter(zero, "the zero point of the filters", zero.int()?, n_filters)?;
        let size = w.shape.iter().skip(1).product::<usize>().max(1);
        for (filter, zero) in filters.chunks_mut(size).zip(zeros) {
            filter.iter_mut().for_each(|weight| *weight -= zero);
        }
    }
    let dot = |x: &[i128], w: &[i128]| x.iter().zip(w).map(|(x, w)| x * w).sum();
    convolved(call.attrs, (&x.shape, &data), (&w.shape, &filters), 0, dot)
}

fn single<S, T: Copy>(datum: &Datum<S>, what: &str, elements: &[T]) -> Result<T, Reason> {
    match elements {
        [element] => Ok(*element),
        _ => Err(Reason(format!("{what} has the shape {:?}, a scalar is expected", datum.shape))),
    }
}

/// One element for each filter, from one for all or one for each.
fn per_filter<S, T: Copy>(datum: &Datum<S>, what: &str, elements: &[T], n_filters: usize) -> Result<Vec<T>, Reason> {
    match elements {
        [element] => Ok(vec![*element; n_filters]),
        _ if datum.shape == [n_filters] => Ok(elements.to_vec()),
        _ => Err(Reason(format!("{what} has the shape {:?}, there are {n_filters} filters", datum.shape))),
    }
}

static QLINEAR_CONV: OpDef = OpDef {
    name: "QLinearConv",
    doc: "The convolution of two quantized tensors plus a bias of scale x_scale * w_scale, quantized",
    versions: &[10],
    inputs: &[
        Param::required("x", "T1"),
        Param::required("x_scale", "tensor(float)"),
        Param::required("x_zero_point", "T1"),
        Param::required("w", "T2"),
        Param::required("w_scale", "tensor(float)"),
        Param::required("w_zero_point", "T2"),
        Param::required("y_scale", "tensor(float)"),
        Param::required("y_zero_point", "T3"),
        Param::optional("B", "T4"),
    ],
    outputs: &[Param::required("y", "T3")],
    attrs: WINDOW_ATTRS,
    types: &[("T1", BYTES), ("T2", BYTES), ("T3", BYTES), ("T4", &[Int32]), ("tensor(float)", &[Float])],
    infer: |call| {
        let bias = call.given(8).map(|bias| bias.ty);
        let shape = convolved_dims(call, call.ty(0)?, call.ty(3)?, bias)?;
        Ok(vec![Some(Fact::new(call.ty(7)?.element, shape))])
    },
    eval: eval!(qlinear_conv),
    work: |call, outputs| conv_work(call, outputs, 3),
    ..OpDef::BASE
};

fn qlinear_conv<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("rounding")?;
    let (shape, mut sums) = integer_conv(call, (0, 2), (3, 5))?;
    if let Some(bias) = call.given(8) {
        add_bias(&mut sums, &shape, bias.int()?, |sum, bias| sum + bias)?;
    }
    let (x_scale, w_scale) = (call.input(1)?, call.input(4)?);
    let (y_scale, y_zero) = (call.input(6)?, call.input(7)?);
    let x_scale = single(x_scale, "the scale of the input", x_scale.real()?)?;
    let w_scales = per_filter(w_scale, "the scale of the filters", w_scale.real()?, shape[1])?;
    let y_scale = single(y_scale, "the scale of the output", y_scale.real()?)?;
    let zero = single(y_zero, "the zero point of the output", y_zero.int()?)?;
    let element = y_zero.element;
    let limits = integer_range(element).ok_or_else(|| Reason(format!("nothing is convolved to {element}")))?;
    let n_places = shape[2..].iter().product::<usize>().max(1);
    let quantized = sums.iter().enumerate().map(|(at, &sum)| {
        let factor = x_scale.mul(w_scales[at / n_places % shape[1]]).div(y_scale);
        saturated((wrap(Int32, sum) as f64 * factor.to_f64()).round_ties_even(), zero, limits)
    });
    Ok(vec![Datum::of_int(element, &shape, quantized.collect())])
}

static MATMUL_INTEGER: OpDef = OpDef {
    name: "MatMulInteger",
    doc: "The matrix product of A - a_zero_point and B - b_zero_point in 32-bit integers",
    versions: &[10],
    inputs: &[
        Param::required("A", "T1"),
        Param::required("B", "T2"),
        Param::optional("a_zero_point", "T1"),
        Param::optional("b_zero_point", "T2"),
    ],
    outputs: &[Param::required("Y", "T3")],
    types: &[("T1", BYTES), ("T2", BYTES), ("T3", &[Int32])],
    infer: |call| Ok(vec![Some(Fact::new(Int32, product_dims(call, call.ty(0)?, call.ty(1)?)?))]),
    eval: eval!(matmul_integer),
    work: matmul_work,
    ..OpDef::BASE
};

fn matmul_work(call: &Call, outputs: &[TensorType]) -> Option<Work> {
    let terms = call.given(0)?.ty.shape.last()?.clone();
    Work::streaming(call, outputs, outputs.first()?.count()?.mul(&terms)?.mul(&Dim::known(2))?)
}

fn matmul_integer<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let a = centred(call.input(0)?, call.given(2), true)?;
    let b = centred(call.input(1)?, call.given(3), false)?;
    Ok(vec![product_of(&a, &b)?])
}

/// `matrix` less its zero point, which is one for all, or one a row, or one a column: 32-bit integers, or reals.
fn centred<S: Scalar>(matrix: &Datum<S>, zero: Option<&Datum<S>>, by_row: bool) -> Result<Datum<S>, Reason> {
    let zero_shape = zero.map_or_else(|| Ok(Vec::new()), |zero| aligned(zero, &matrix.shape, by_row))?;
    match &matrix.contents {
        Contents::Int(elements) => {
            let zeros = zero.map_or(Ok(&[0][..]), Datum::int)?;
            let sub = |value: i128, zero: i128| value - zero;
            Ok(Datum::of_int(
                Int32,
                &matrix.shape,
                zip(&matrix.shape, elements, &zero_shape, zeros, &matrix.shape, sub),
            ))
        }
        _ => {
            let none = [S::from_int(0)];
            let zeros = zero.map_or(Ok(&none[..]), Datum::real)?;
            let elements = matrix.real()?;
            let values =
                zip(&matrix.shape, elements, &zero_shape, zeros, &matrix.shape, |value: S, zero| value.sub(zero));
            Ok(Datum::of_real(Float, &matrix.shape, values))
        }
    }
}

/// The shape under which a scale or zero point broadcasts to `whole`: a vector may hold one for each row.
fn aligned<S: Scalar>(parameter: &Datum<S>, whole: &[usize], by_row: bool) -> Result<Vec<usize>, Reason> {
    let shape = match parameter.shape.as_slice() {
        [1] => Vec::new(),
        [n] if by_row => vec![*n, 1],
        shape => shape.to_vec(),
    };
    let fits = broadcast_shape([shape.as_slice(), whole]).as_deref() == Some(whole);
    let problem = || Reason(format!("a scale or zero point of shape {:?} does not go with {whole:?}", parameter.shape));
    fits.then_some(shape).ok_or_else(problem)
}

/// What matrices are quantized to in QLinearMatMul.
const FACTORS: &[Element] = &[Int8, Uint8, Float8E4M3FN, Float8E4M3FNUZ, Float8E5M2, Float8E5M2FNUZ];

static QLINEAR_MATMUL: OpDef = OpDef {
    name: "QLinearMatMul",
    doc: "The matrix product of two quantized tensors, quantized",
    versions: &[10, 21],
    inputs: &[
        Param::required("a", "T1"),
        Param::required("a_scale", "TS"),
        Param::required("a_zero_point", "T1"),
        Param::required("b", "T2"),
        Param::required("b_scale", "TS"),
        Param::required("b_zero_point", "T2"),
        Param::required("y_scale", "TS"),
        Param::required("y_zero_point", "T3"),
    ],
    outputs: &[Param::required("y", "T3")],
    types: &[("TS", &[Float, Float16, Bfloat16]), ("T1", FACTORS), ("T2", FACTORS), ("T3", FACTORS)],
    infer: |call| {
        let shape = product_dims(call, call.ty(0)?, call.ty(3)?)?;
        Ok(vec![Some(Fact::new(call.ty(7)?.element, shape))])
    },
    eval: eval!(qlinear_matmul),
    work: matmul_work,
    ..OpDef::BASE
};

fn qlinear_matmul<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("rounding")?;
    let (a_scale, b_scale, y_scale, y_zero) = (call.input(1)?, call.input(4)?, call.input(6)?, call.input(7)?);
    let a = centred(call.input(0)?, call.given(2), true)?;
    let b = centred(call.input(3)?, call.given(5), false)?;
    let sums = match (&a.contents, &b.contents) {
        (Contents::Int(_), Contents::Int(_)) => product_of(&a, &b)?,
        _ => product_of(&real(&a)?, &real(&b)?)?,
    };
    // Scales speak of rows and columns, which the product of a vector lacks.
    let mut whole = sums.shape.clone();
    if b.rank() == 1 {
        whole.push(1);
    }
    if a.rank() == 1 {
        whole.insert(whole.len() - 1, 1);
    }
    let spread = |parameter: &Datum<S>, by_row: bool, elements: &[S]| -> Result<Vec<S>, Reason> {
        let shape = aligned(parameter, &whole, by_row)?;
        Ok(zip(&whole, &vec![(); sums.count()], &shape, elements, &whole, |(), element| element))
    };
    let a_scales = spread(a_scale, true, a_scale.real()?)?;
    let b_scales = spread(b_scale, false, b_scale.real()?)?;
    let y_scales = spread(y_scale, true, y_scale.real()?)?;
    let zeros = spread(y_zero, true, &reals(y_zero)?)?;
    let values: Vec<f64> = match &sums.contents {
        Contents::Int(sums) => sums.iter().map(|&sum| sum as f64).collect(),
        _ => sums.real()?.iter().map(|sum| sum.to_f64()).collect(),
    };
    let scaled = values.iter().enumerate().map(|(at, value)| {
        let factor = a_scales[at].mul(b_scales[at]).round(a_scale.element).div(y_scales[at]).round(a_scale.element);
        value * factor.to_f64()
    });
    let element = y_zero.element;
    Ok(vec![match integer_range(element) {
        Some(limits) => {
            let quantized = scaled.zip(&zeros);
            let quantized =
                quantized.map(|(value, zero)| saturated(value.round_ties_even(), zero.to_f64() as i128, limits));
            Datum::of_int(element, &sums.shape, quantized.collect())
        }
        None => {
            let shifted = scaled.zip(&zeros).map(|(value, zero)| S::from_f64(value).add(*zero)).collect();
            let rounding = Rounding { saturate: true, mode: RoundMode::Nearest };
            Datum::of_real(element, &sums.shape, narrowed(element, shifted, rounding))
        }
    }])
}

fn real<S: Scalar>(datum: &Datum<S>) -> Result<Datum<S>, Reason> {
    Ok(Datum::of_real(Float, &datum.shape, reals(datum)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::{Attr, Attrs};
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::{infer, infer_outputs};

    type D = Datum<f32>;

    fn run(name: &str, attrs: &[(&str, Attr)], inputs: &[Option<D>]) -> Result<D, Reason> {
        let def = crate::ops::lookup("", name).expect("declared");
        let attrs: Attrs = attrs.iter().map(|(name, value)| (*name, value.clone())).collect();
        let attrs = def.complete(attrs).expect("attributes fit");
        let results = run_tensors(&Op::Builtin(def), &attrs, inputs, 1).map_err(|error| error.reason)?;
        results.into_iter().next().ok_or_else(|| Reason::new("no result"))
    }

    fn ints(element: Element, shape: &[usize], values: &[i128]) -> Option<D> {
        Some(D::of_int(element, shape, values.to_vec()))
    }

    fn reals(shape: &[usize], values: &[f32]) -> Option<D> {
        Some(D::of_real(Float, shape, values.to_vec()))
    }

    #[test]
    fn zero_points_differ_by_row_and_by_column() -> Result<(), Reason> {
        let (a, b) = (ints(Uint8, &[2, 2], &[1, 2, 3, 4]), ints(Int8, &[2, 3], &[1, 2, 3, 4, 5, 6]));
        let (rows, columns) = (ints(Uint8, &[2], &[1, 3]), ints(Int8, &[3], &[1, 2, 3]));
        let product = run("MatMulInteger", &[], &[a.clone(), b.clone(), rows, columns])?;
        assert_eq!((product.element, product.int()?), (Int32, &[3, 3, 3, 3, 3, 3][..]));
        let batched = ints(Uint8, &[1, 2, 1], &[1, 3]);
        let stacked = D { shape: vec![1, 2, 2], ..a.clone().expect("given") };
        let product = run("MatMulInteger", &[], &[Some(stacked), b.clone(), batched, None])?;
        assert_eq!((product.shape.as_slice(), product.int()?), (&[1, 2, 3][..], &[4, 5, 6, 4, 5, 6][..]));
        let wrong = run("MatMulInteger", &[], &[a, b, ints(Uint8, &[3], &[0; 3]), None]);
        assert_eq!(wrong.map(|_| ()), Err(Reason::new("a scale or zero point of shape [3] does not go with [2, 2]")));
        Ok(())
    }

    #[test]
    fn padding_counts_as_the_zero_point_and_filters_have_their_own() -> Result<(), Reason> {
        let (x, w) = (ints(Uint8, &[1, 2, 3], &[5, 6, 7, 8, 9, 10]), ints(Int8, &[2, 1, 2], &[1, 1, 3, 4]));
        let attrs = [("group", Attr::Int(2)), ("pads", Attr::Ints([1, 0].as_slice().into()))];
        let zeros = [ints(Uint8, &[], &[5]), ints(Int8, &[2], &[0, 2])];
        let y = run("ConvInteger", &attrs, &[x, w, zeros[0].clone(), zeros[1].clone()])?;
        assert_eq!((y.shape.as_slice(), y.int()?), (&[1, 2, 3][..], &[0, 1, 3, 6, 11, 14][..]));
        Ok(())
    }

    #[test]
    fn halves_go_to_even_before_the_zero_point_is_added_and_results_saturate() -> Result<(), Reason> {
        let x = ints(Uint8, &[1, 1, 4], &[1, 3, 5, 255]);
        let one = || ints(Int8, &[1], &[0]);
        let scale = |value| reals(&[], &[value]);
        let inputs = [
            x.clone(),
            scale(1.0),
            ints(Uint8, &[], &[0]),
            ints(Int8, &[1, 1, 1], &[1]),
            scale(1.0),
            one(),
            scale(2.0),
            ints(Int8, &[], &[1]),
            ints(Int32, &[1], &[0]),
        ];
        assert_eq!(run("QLinearConv", &[], &inputs)?.int()?, [1, 3, 3, 127]);
        let row = D { shape: vec![4, 1], ..x.expect("given") };
        let inputs = [
            Some(row),
            reals(&[4], &[1.0, 1.0, 1.0, 0.1]),
            ints(Uint8, &[], &[0]),
            ints(Int8, &[1], &[1]),
            scale(1.0),
            one(),
            scale(2.0),
            ints(Int8, &[], &[1]),
        ];
        let y = run("QLinearMatMul", &[], &inputs)?;
        assert_eq!((y.shape.as_slice(), y.int()?), (&[4][..], &[1, 3, 3, 14][..]));
        Ok(())
    }

    #[test]
    fn products_of_narrow_floats_saturate() -> Result<(), Reason> {
        let narrow = |element, shape: &[usize], values: &[f32]| Some(D::of_real(element, shape, values.to_vec()));
        let (a, b) = (Float8E4M3FN, Float8E5M2);
        let inputs = [
            narrow(a, &[1, 2], &[1.5, 448.0]),
            reals(&[], &[1.0]),
            narrow(a, &[], &[0.0]),
            narrow(b, &[2, 2], &[2.0, 1.0, 0.0, 1.0]),
            reals(&[], &[1.0]),
            narrow(b, &[], &[0.0]),
            reals(&[], &[0.5]),
            narrow(a, &[], &[0.0]),
        ];
        let y = run("QLinearMatMul", &[], &inputs)?;
        assert_eq!((y.element, y.real()?), (a, &[6.0, 448.0][..]));
        Ok(())
    }

    #[test]
    fn quantized_results_keep_symbolic_dims() {
        let conv =
            ["uint8[n,3,h,8]", "float[]", "uint8[]", "int8[4,3,3,3]", "float[4]", "int8[4]", "float[]", "int8[]"];
        assert_eq!(infer("QLinearConv", &[], &conv), "int8[n,4,h - 2,6]");
        assert_eq!(infer("ConvInteger", &[], &["uint8[n,3,h,8]", "int8[4,3,3,3]"]), "int32[n,4,h - 2,6]");
        let product = ["uint8[b,m,k]", "float[]", "uint8[]", "int8[k,4]", "float[4]", "int8[4]", "float[]", "uint8[]"];
        assert_eq!(infer("QLinearMatMul", &[], &product), "uint8[b,m,4]");
        assert_eq!(infer("MatMulInteger", &[], &["uint8[b,m,k]", "int8[k,4]"]), "int32[b,m,4]");
        let dynamic = infer_outputs("DynamicQuantizeLinear", &[], &["float[n,2]"], 3);
        assert_eq!(dynamic, "uint8[n,2]; float[]; uint8[]");
    }
}
