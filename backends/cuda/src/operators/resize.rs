//! Resize as a weighted sum of a few elements along each axis; the weights are found beforehand.

use super::{Operator, Outcome, refuse, register};
use crate::flat::Refusal;
use eutectic_ir::attr::Attr;
use eutectic_ir::eval::{Datum, run_call};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;
use eutectic_ir::types::normalize_axis;
use eutectic_ir::value::Value;
use std::fmt::Write;

/// Elements of the matrix of weights of one axis, at most.
const MAX_WEIGHTS: usize = 1 << 26;

/// Each axis maps its elements linearly, the same along every line: the reference evaluation of the call on the unit matrix
/// gives the weights, whatever its modes are.
pub(super) fn resize(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let shape = to.shape(0);
    let rank = x.shape.len();
    let mut body = super::copied(rank);
    let mut inputs = vec![x.clone()];
    let mut loops = 0;
    let mut weight = String::new();
    let mut outside = String::new();
    for axis in 0..rank {
        let Some(weights) = weights(to, axis, x.shape[axis], shape[axis])? else { continue };
        let lines = weights.chunks(x.shape[axis].max(1));
        let taps = |line: &[f64]| line.iter().filter(|&&weight| weight != 0.0).count();
        let n_taps = lines.clone().map(taps).max().unwrap_or(0).max(1);
        let (mut places, mut factors) = (Vec::new(), Vec::new());
        for line in lines {
            let found = line.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
            let mut found: Vec<(i64, f32)> = found.map(|(at, &weight)| (at as i64, weight as f32)).collect();
            found.resize(n_taps, (0, 0.0));
            places.extend(found.iter().map(|tap| tap.0));
            factors.extend(found.iter().map(|tap| tap.1));
        }
        let table = [shape[axis], n_taps];
        let places = to.table(&table, &places);
        let factors = to.real_table(&table, &factors);
        let (p, f) = (inputs.len(), inputs.len() + 1);
        inputs.extend([places, factors]);
        let _ = writeln!(body, "  bool seen{axis} = false;");
        let _ = writeln!(
            weight,
            "  for (i64 t{axis} = 0; t{axis} < {n_taps}; ++t{axis}) {{\n    const i64 e{axis}[2] = {{o[{axis}], t{axis}}};\n    \
             const float w{axis} = X{f}(e{axis});\n    if (w{axis} == 0.f) continue;\n    seen{axis} = true;\n    c[{axis}] = X{p}(e{axis});"
        );
        let _ = write!(outside, " || !seen{axis}");
        loops += 1;
    }
    let ty = register(&x);
    let product: Vec<String> =
        (0..rank).filter(|axis| body.contains(&format!("seen{axis} "))).map(|axis| format!("w{axis}")).collect();
    let product = if product.is_empty() { "1.f".into() } else { product.join(" * ") };
    let sum = if x.scalar.class().is_real() { ty } else { "float" };
    let value = to.call.attrs.float("extrapolation_value").unwrap_or(0.0);
    let _ = write!(
        body,
        "  {sum} sum = 0;\n{weight}    sum += ({sum})X0(c) * ({sum})({product});\n  {}\n  if (false{outside}) sum = ({sum}){value:e};\n  \
         PUT0(o, {});",
        "}".repeat(loops),
        // Integers are rounded as the reference does it: towards zero.
        if x.scalar.class().is_real() { "sum".into() } else { format!("({ty})sum") }
    );
    let out = to.result(0)?;
    to.run(&shape, &inputs, &[out], &body)
}

/// The weights of `axis`, a row for each of `new` results; `None` when it stays as it is. A row of zeros lies outside.
fn weights(to: &Operator, axis: usize, old: usize, new: usize) -> Result<Option<Vec<f64>>, Refusal> {
    let call = to.call;
    let problem = || refuse("its sizes are computed, not constant");
    let constant =
        |at: usize| call.input(at).map(|value| to.planner.flat.values[value].constant.as_ref().ok_or_else(problem));
    let rank = to.shape(0).len();
    let axes: Vec<usize> = match call.attrs.ints("axes") {
        Some(axes) => axes.iter().filter_map(|&axis| normalize_axis(axis, rank)).collect(),
        None => (0..rank).collect(),
    };
    let Some(position) = axes.iter().position(|&known| known == axis) else { return Ok(None) };
    let picked = |at: usize, n_each: usize| -> Result<Option<Vec<f64>>, Refusal> {
        let Some(tensor) = constant(at).transpose()?.filter(|tensor| tensor.count() > 0) else { return Ok(None) };
        let values = tensor.to_f64s().ok_or_else(problem)?;
        let found = (0..n_each).map(|part| values.get(part * axes.len() + position).copied());
        found.collect::<Option<Vec<f64>>>().map(Some).ok_or_else(problem)
    };
    // A region of interest counts only where it is cropped to.
    let is_cropped = call.attrs.string("coordinate_transformation_mode") == Some("tf_crop_and_resize");
    let roi = if is_cropped { picked(1, 2)? } else { None };
    let (scales, sizes) = (picked(2, 1)?, picked(3, 1)?);
    if old == new && scales.as_ref().is_none_or(|scales| scales[0] == 1.0) && roi.is_none() {
        return Ok(None);
    }
    if old.saturating_mul(old.max(new)) > MAX_WEIGHTS {
        return Err(refuse("its axes are too long"));
    }
    let real = |values: &[f64]| values.iter().map(|&value| value as f32).collect::<Vec<f32>>();
    let unit: Vec<f32> = (0..old * old).map(|at| f32::from(u8::from(at / old == at % old))).collect();
    let given = [
        Tensor::from_vec(&[old, old], unit).ok(),
        roi.map(|roi| Tensor::vector(&real(&roi))),
        scales.filter(|_| sizes.is_none()).map(|scales| Tensor::vector(&real(&scales))),
        sizes.map(|_| Tensor::vector(&[new as i64])),
    ];
    let mut attrs = call.attrs.clone();
    attrs.set("axes", Attr::Ints([0].into()));
    attrs.set("extrapolation_value", Attr::Float(0.0));
    attrs.set("keep_aspect_ratio_policy", Attr::String("stretch".into()));
    let inputs: Result<Vec<Option<Value<Datum<f32>>>>, _> = given
        .iter()
        .map(|tensor| tensor.as_ref().map(|tensor| Datum::<f32>::of_tensor(tensor).map(Value::Tensor)).transpose())
        .collect();
    let outcome = run_call(&call.op, &attrs, &inputs.map_err(|reason| Refusal::new("", reason.0))?, &[], 1, true);
    let outcome = outcome.map_err(|error| Refusal::new("", error.to_string()))?;
    let tensor =
        outcome.first().and_then(Value::tensor).and_then(|datum| datum.to_tensor().ok()).ok_or_else(problem)?;
    let values = tensor.to_f64s().filter(|values| values.len() == new * old && tensor.element() == Element::Float);
    values.map(Some).ok_or_else(|| refuse("its sizes do not fit"))
}
