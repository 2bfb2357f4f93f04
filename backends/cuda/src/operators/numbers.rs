//! Quantization, products of integers, and other arithmetic that no region has.

use super::{Operator, Outcome, refuse, register};
use crate::direct::Direct;
use crate::flat::{FlatCall, Refusal};
use crate::planner::Planner;
use crate::pointwise::{Kind, RowOperator};
use crate::region::{Reduction, spelled};
use crate::view::{Class, Scalar, View};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The least and the largest number of an integer type of at most 16 bits.
fn limits(scalar: Scalar) -> Result<(i64, i64), Refusal> {
    Ok(match scalar {
        Scalar::I8 => (-128, 127),
        Scalar::U8 => (0, 255),
        Scalar::I16 => (-32768, 32767),
        Scalar::U16 => (0, 65535),
        _ => return Err(refuse("there is no kernel for its element type")),
    })
}

/// Declares `g`, the coordinates in a scale of the element at `o`: one for all, one for each position of an axis, or one for
/// each block along it.
fn grains(to: &Operator, shape: &[usize], scale: &View) -> Result<String, Refusal> {
    if scale.count() == 1 && scale.shape.len() <= 1 {
        return Ok("  const i64 g[1] = {0};\n".into());
    }
    let axis = if shape.len() == 1 { 0 } else { to.axis("axis", 1, shape.len())? };
    let block = to.call.attrs.int("block_size").unwrap_or(0);
    if block <= 0 {
        return Ok(format!("  const i64 g[1] = {{o[{axis}]}};\n"));
    }
    let mut text = super::copied(shape.len()).replace('c', "g");
    let _ = writeln!(text, "  g[{axis}] = o[{axis}] / {block};");
    Ok(text)
}

pub(super) fn quantize(to: &mut Operator) -> Outcome {
    let (x, scale, zero) = (to.input(0)?, to.input(1)?, to.optional(2)?);
    if to.call.attrs.int("precision").unwrap_or(0) != 0 {
        return Err(refuse("its precision has no kernel"));
    }
    let out = to.result(0)?;
    let (low, high) = limits(out.scalar)?;
    let mut body = grains(to, &x.shape, &scale)?;
    let point = if zero.is_some() { "X2(g)" } else { "0" };
    let _ = write!(
        body,
        "  const float steps = rint((float)X0(o) / (float)X1(g));\n  \
         const i64 whole = (i64)(steps != steps ? 0.f : fminf(fmaxf(steps, -1e6f), 1e6f)) + {point};\n  \
         PUT0(o, whole < {low} ? (i64){low} : whole > {high} ? (i64){high} : whole);"
    );
    let inputs: Vec<View> = [x, scale].into_iter().chain(zero).collect();
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

pub(super) fn dequantize(to: &mut Operator) -> Outcome {
    let (x, scale, zero) = (to.input(0)?, to.input(1)?, to.optional(2)?);
    if x.scalar.class() != Class::Integer {
        return Err(refuse("there is no kernel for its element type"));
    }
    let out = to.result(0)?;
    let mut body = grains(to, &x.shape, &scale)?;
    let point = if zero.is_some() { "X2(g)" } else { "0" };
    let _ = write!(body, "  PUT0(o, (float)(X0(o) - {point}) * X1(g));");
    let inputs: Vec<View> = [x, scale].into_iter().chain(zero).collect();
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

/// The coordinates `a` and `b` of the operands of a product at `o`; `k` walks over the terms.
fn operands(left: &View, right: &View, out: &View) -> (String, String, String) {
    let rank = out.shape.len();
    let mut text = format!("  i64 a[{}] = {{0}}, b[{}] = {{0}};\n", left.shape.len(), right.shape.len());
    let (l, r) = (left.shape.len(), right.shape.len());
    let n_outer = l.max(r).saturating_sub(2);
    for (name, view, rank) in [("a", left, l), ("b", right, r)] {
        for axis in 0..rank.saturating_sub(2) {
            let at = axis + n_outer - (rank - 2);
            if view.shape[axis] != 1 {
                let _ = writeln!(text, "  {name}[{axis}] = o[{at}];");
            }
        }
    }
    // A vector is a row on the left and a column on the right; its axis is missing in the result.
    if l > 1 {
        let _ = writeln!(text, "  a[{}] = o[{n_outer}];", l - 2);
    }
    if r > 1 {
        let _ = writeln!(text, "  b[{}] = o[{}];", r - 1, rank - 1);
    }
    (text, format!("a[{}]", l - 1), format!("b[{}]", r.saturating_sub(2)))
}

/// Products of integers, and those in double precision that no library takes.
pub(crate) fn integer_product(planner: &mut Planner, call: &FlatCall) -> Outcome {
    let to = &mut Operator { planner, call };
    product_with_offsets(to, 0, 1, None, None)
}

fn product_with_offsets(
    to: &mut Operator,
    left: usize,
    right: usize,
    zeros: Option<[usize; 2]>,
    scale: Option<[usize; 4]>,
) -> Outcome {
    let (a, b) = (to.input(left)?, to.input(right)?);
    let out = to.result(0)?;
    if a.shape.is_empty() || b.shape.is_empty() {
        return Err(refuse("an operand has no axes"));
    }
    let (mut body, ka, kb) = operands(&a, &b, &out);
    let depth = a.shape[a.shape.len() - 1];
    let (n_left, n_right) = (a.shape.len(), b.shape.len());
    let mut inputs = vec![a, b];
    let mut zero = |to: &mut Operator, at: usize, coordinate: String| -> Result<String, Refusal> {
        let Some(view) = to.optional(at)? else { return Ok("0".into()) };
        let name = format!("z{}", inputs.len());
        // One for all, or one for each row of the left and each column of the right operand.
        let place = if view.count() == 1 { "0".into() } else { coordinate };
        let rank = view.shape.len().max(1);
        let mut lead = "0, ".repeat(rank - 1);
        lead.push_str(&place);
        let _ = writeln!(
            body,
            "  const i64 {name}_[{rank}] = {{{lead}}};\n  const auto {name} = X{}({name}_);",
            inputs.len()
        );
        inputs.push(view);
        Ok(name)
    };
    let row = if n_left > 1 { format!("a[{}]", n_left - 2) } else { "0".into() };
    let column = if n_right > 1 { format!("b[{}]", n_right - 1) } else { "0".into() };
    let (left_zero, right_zero) = match zeros {
        Some([l, r]) => (zero(to, l, row.clone())?, zero(to, r, column.clone())?),
        None => ("0".into(), "0".into()),
    };
    let factors = match scale {
        Some([l, r, y, point]) => {
            Some([zero(to, l, row)?, zero(to, r, column)?, zero(to, y, "0".into())?, zero(to, point, "0".into())?])
        }
        None => None,
    };
    let ty = if out.scalar.class() == Class::Unsigned { "u64" } else { "i64" };
    let _ = writeln!(
        body,
        "  {ty} sum = 0;\n  for (i64 k = 0; k < {depth}; ++k) {{ {ka} = k; {kb} = k; sum += ({ty})(X0(a) - {left_zero}) * ({ty})(X1(b) - {right_zero}); }}"
    );
    match factors {
        None => body.push_str("  PUT0(o, sum);"),
        Some([l, r, y, point]) => {
            let (low, high) = limits(out.scalar)?;
            let _ = write!(
                body,
                "  const i64 whole = (i64)rint((float)sum * ((float){l} * (float){r} / (float){y})) + {point};\n  \
                 PUT0(o, whole < {low} ? (i64){low} : whole > {high} ? (i64){high} : whole);"
            );
        }
    }
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

pub(super) fn matmul_integer(to: &mut Operator) -> Outcome {
    product_with_offsets(to, 0, 1, Some([2, 3]), None)
}

/// Inputs: a, its scale, its zero point, b, its scale, its zero point, the scale and zero point of the result.
pub(super) fn quantized_product(to: &mut Operator) -> Outcome {
    product_with_offsets(to, 0, 3, Some([2, 5]), Some([1, 4, 6, 7]))
}

/// Other numbers of the same bits.
pub(super) fn bit_cast(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let output = to.call.outputs[0];
    let scalar = to.planner.scalar(output)?;
    let stored = to.call.input(0).map(|value| to.planner.flat.values[value].element.bits());
    let is_exact =
        stored == Some(8 * x.scalar.bytes()) && to.planner.flat.values[output].element.bits() == 8 * scalar.bytes();
    if !is_exact || x.scalar.bytes() != scalar.bytes() {
        return Err(refuse("its element types differ in size here"));
    }
    to.planner.views[output] = Some(View { scalar, ..x });
    Ok(())
}

pub(super) fn rotary(to: &mut Operator) -> Outcome {
    let (x, cos, sin, positions) = (to.input(0)?, to.input(1)?, to.input(2)?, to.optional(3)?);
    let out = to.result(0)?;
    let rank = x.shape.len();
    let n_heads = usize::try_from(to.call.attrs.int("num_heads").unwrap_or(0)).unwrap_or(0);
    let width = match (rank, n_heads) {
        (4, _) => x.shape[3],
        (3, heads) if heads > 0 => x.shape[2] / heads,
        _ => return Err(refuse("its attributes do not fit")),
    };
    let turned = match usize::try_from(to.call.attrs.int("rotary_embedding_dim").unwrap_or(0)) {
        Ok(0) | Err(_) => width,
        Ok(turned) => turned.min(width),
    };
    let half = turned / 2;
    let (step, feature) = if rank == 4 { (2, 3) } else { (1, 2) };
    let mut body = super::copied(rank);
    let (pair, is_first, other) = match to.call.attrs.flag("interleaved") {
        true => ("f / 2".to_string(), "f % 2 == 0".to_string(), "1".to_string()),
        false => (format!("f % {half}"), format!("f < {half}"), half.to_string()),
    };
    let ty = register(&x);
    let _ = writeln!(
        body,
        "  const i64 f = o[{feature}] % {width};\n  if (f >= {turned}) {{ PUT0(o, X0(o)); return; }}\n  const bool is_first = {is_first};\n  \
         c[{feature}] += is_first ? {other} : -{other};"
    );
    if positions.is_some() {
        let _ = writeln!(
            body,
            "  const i64 b[2] = {{o[0], o[{step}]}}, t[2] = {{wrapped(X3(b), {}), {pair}}};",
            cos.shape[0]
        );
    } else {
        let _ = writeln!(body, "  const i64 t[3] = {{o[0], o[{step}], {pair}}};");
    }
    let _ = write!(
        body,
        "  const {ty} mine = X0(o), others = X0(c);\n  PUT0(o, is_first ? X1(t) * mine - X2(t) * others : X2(t) * others + X1(t) * mine);"
    );
    let inputs: Vec<View> = [x, cos, sin].into_iter().chain(positions).collect();
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

/// One thread for each element of the result, which sums over all labels that are not in it.
pub(super) fn einsum(to: &mut Operator) -> Outcome {
    let equation: String = to.call.attrs.string("equation").unwrap_or_default().split_whitespace().collect();
    let n = to.call.inputs.len();
    let views = (0..n).map(|at| to.input(at)).collect::<Result<Vec<View>, _>>()?;
    let (terms, result) = match equation.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (equation.as_str(), None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    if terms.len() != n {
        return Err(refuse("its equation does not fit"));
    }
    // The axes that `...` stands for become labels of their own, counted from the last one.
    let labels_of = |term: &str, rank: usize| -> Option<Vec<String>> {
        let named = term.replace("...", "").chars().count();
        let hidden = if term.contains("...") { rank.checked_sub(named)? } else { 0 };
        let mut labels = Vec::new();
        let mut rest = term;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("...") {
                labels.extend((0..hidden).rev().map(|at| format!("e{at}")));
                rest = after;
            } else {
                labels.push(format!("l{}", u32::from(first)));
                rest = &rest[first.len_utf8()..];
            }
        }
        (labels.len() == rank).then_some(labels)
    };
    let misfit = || refuse("its equation does not fit");
    let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_inputs = Vec::new();
    for (term, view) in terms.iter().zip(&views) {
        let labels = labels_of(term, view.shape.len()).ok_or_else(misfit)?;
        for (label, &size) in labels.iter().zip(&view.shape) {
            let known = sizes.entry(label.clone()).or_insert(1);
            *known = (*known).max(size);
        }
        of_inputs.push(labels);
    }
    let shape = to.shape(0);
    let of_result = match result {
        Some(result) => labels_of(result, shape.len()).ok_or_else(misfit)?,
        None => {
            let is_single = |label: &&String| of_inputs.iter().flatten().filter(|other| other == label).count() == 1;
            let mut hidden: Vec<String> = sizes.keys().filter(|label| label.starts_with('e')).cloned().collect();
            hidden.sort_by_key(|label| std::cmp::Reverse(label[1..].parse::<usize>().unwrap_or(0)));
            let mut named: Vec<String> =
                sizes.keys().filter(|label| label.starts_with('l')).filter(is_single).cloned().collect();
            named.sort_by_key(|label| label[1..].parse::<u32>().unwrap_or(0));
            hidden.into_iter().chain(named).collect()
        }
    };
    let out = to.result(0)?;
    let ty = register(&out);
    let mut body = String::new();
    for (axis, label) in of_result.iter().enumerate() {
        let _ = writeln!(body, "  const i64 {label} = o[{axis}];");
    }
    let _ = writeln!(body, "  {ty} sum = 0;");
    let summed: Vec<(&String, &usize)> = sizes.iter().filter(|(label, _)| !of_result.contains(label)).collect();
    for (label, size) in &summed {
        let _ = writeln!(body, "  for (i64 {label} = 0; {label} < {size}; ++{label}) {{");
    }
    let mut product = Vec::new();
    for (at, (labels, view)) in of_inputs.iter().zip(&views).enumerate() {
        let places: Vec<&str> =
            labels.iter().zip(&view.shape).map(|(label, &size)| if size == 1 { "0" } else { label.as_str() }).collect();
        let list = if places.is_empty() { "0".into() } else { places.join(", ") };
        let _ = writeln!(body, "    const i64 i{at}[{}] = {{{list}}};", places.len().max(1));
        product.push(format!("X{at}(i{at})"));
    }
    let _ = write!(body, "    sum += {};\n  {}\n  PUT0(o, sum);", product.join(" * "), "}".repeat(summed.len()));
    to.run(&shape, &views, &[out], &body)
}

/// A reduction that walks over its rows: a block for each row, when no block holds it in registers; or, with `by_block`
/// false, a thread, when neighbouring threads then read neighbouring elements.
pub(crate) fn walking_reduction(
    planner: &mut Planner,
    call: &FlatCall,
    operator: RowOperator,
    axes: &[usize],
    by_block: bool,
) -> Outcome {
    let RowOperator::Reduce(kind) = operator else { return Err(refuse("its rows are too long for one block")) };
    let to = &mut Operator { planner, call };
    let x = to.input(0)?;
    let out = to.result(0)?;
    let class = if x.scalar.class() == Class::Truth { Class::Integer } else { x.scalar.class() };
    let ty = spelled(class);
    let n: usize = axes.iter().map(|&axis| x.shape[axis]).product();
    let (reduction, term, end) = match kind {
        Kind::Plain(reduction) => (reduction, "x", "total".to_string()),
        Kind::Mean => (Reduction::Sum, "x", format!("total / ({ty}){n}")),
        Kind::SumOfMagnitudes => (Reduction::Sum, "(x < 0 ? -x : x)", "total".into()),
        Kind::SumOfSquares => (Reduction::Sum, "x * x", "total".into()),
        Kind::Norm => (Reduction::Sum, "x * x", format!("({ty})sqrt((double)total)")),
        Kind::LogOfSum => (Reduction::Sum, "x", format!("({ty})log((double)total)")),
        Kind::LogOfSumOfPowers => return Err(refuse("its rows are too long for one block")),
    };
    let first: String = axes.iter().map(|axis| format!("  o[{axis}] = 0;\n")).collect();
    let term = format!("const {ty} x = X0(o); total = {reduction:?}::of(total, ({ty})({term}));");
    let mut body = format!("  {ty} total = {reduction:?}::none<{ty}>();\n");
    if by_block {
        let _ = writeln!(body, "  for (i64 at_ = lane; at_ < {n}; at_ += LANES) {{\n    i64 rest = at_;");
        for &axis in axes.iter().rev() {
            let _ = writeln!(body, "    o[{axis}] = rest % {0}; rest /= {0};", x.shape[axis].max(1));
        }
        let _ = writeln!(body, "    {term}\n  }}\n  total = reduced<{reduction:?}, LANES>(total, scratch);");
        let _ = write!(body, "{first}  if (lane == 0) PUT0(o, {end});");
    } else {
        for &axis in axes {
            let _ = writeln!(body, "  for (o[{axis}] = 0; o[{axis}] < {}; ++o[{axis}])", x.shape[axis]);
        }
        let _ = write!(body, "  {{ {term} }}\n{first}  PUT0(o, {end});");
    }
    let mut shape = x.shape.clone();
    axes.iter().for_each(|&axis| shape[axis] = 1);
    let target = if out.shape.len() == shape.len() {
        out
    } else {
        // Without `keepdims` the axes are gone.
        let mut strides = out.strides.iter();
        let strides = (0..shape.len()).map(|axis| match axes.contains(&axis) {
            true => 0,
            false => strides.next().copied().unwrap_or(0),
        });
        View { strides: strides.collect(), shape: shape.clone(), ..out }
    };
    to.launch(Direct { shape: &shape, inputs: &[x], outputs: &[target], body: &body, by_block })
}
