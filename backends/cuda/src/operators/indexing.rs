//! Operators that look up, move or select elements.

use super::{Operator, Outcome, copied, refuse, register, with};
use crate::view::View;
use eutectic_ir::types::normalize_axis;
use std::fmt::Write;

/// The dense copy of the first input that a scattering operator changes.
fn changed_copy(to: &mut Operator) -> Result<View, crate::flat::Refusal> {
    let data = to.input(0)?;
    let out = to.result(0)?;
    to.planner.copy(data, out.clone(), &to.call.name)?;
    Ok(out)
}

pub(super) fn pad(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let rank = x.shape.len();
    let mode = to.call.attrs.string("mode").unwrap_or("constant").to_string();
    let every: Vec<i64> = (0..rank as i64).collect();
    let axes = to.integers(3, &every)?;
    let pads = to.integers(1, &[])?;
    if pads.len() != 2 * axes.len() {
        return Err(refuse("its attributes do not fit"));
    }
    let mut before = vec![0i64; rank];
    for (&axis, &pad) in axes.iter().zip(&pads) {
        before[normalize_axis(axis, rank).ok_or_else(|| refuse("an axis is out of range"))?] = pad;
    }
    let fill = to.optional(2)?;
    let out = to.result(0)?;
    let mut body = copied(rank);
    body.push_str("  bool inside = true;\n");
    for (axis, (&before, &size)) in before.iter().zip(&x.shape).enumerate() {
        let c = format!("c[{axis}]");
        let last = size as i64 - 1;
        let _ = writeln!(body, "  {c} -= {before};");
        let _ = match mode.as_str() {
            "edge" => writeln!(body, "  {c} = {c} < 0 ? 0 : {c} > {last} ? {last} : {c};"),
            "reflect" if last > 0 => writeln!(
                body,
                "  {c} = remainder_of({c}, {period}ll); {c} = {c} > {last} ? {period} - {c} : {c};",
                period = 2 * last
            ),
            "reflect" => writeln!(body, "  {c} = 0;"),
            "wrap" => writeln!(body, "  {c} = remainder_of({c}, {size}ll);"),
            _ => writeln!(body, "  inside = inside && {c} >= 0 && {c} <= {last};"),
        };
    }
    let ty = register(&x);
    let mut inputs = vec![x];
    let otherwise = match fill {
        Some(view) => {
            inputs.push(view);
            format!("({ty})X1(zero)")
        }
        None => format!("({ty})0"),
    };
    let _ = write!(
        body,
        "  const i64 zero[1] = {{0}};\n  {ty} value = {otherwise};\n  if (inside) value = X0(c);\n  PUT0(o, value);"
    );
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

pub(super) fn center_crop_pad(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let out = to.result(0)?;
    let mut body = copied(x.shape.len());
    body.push_str("  bool inside = true;\n");
    for (axis, (&from, &size)) in x.shape.iter().zip(&out.shape).enumerate() {
        // Both a crop and a pad begin at half of the difference, rounded down.
        let shift = if from >= size { ((from - size) / 2) as i64 } else { -(((size - from) / 2) as i64) };
        let _ = writeln!(body, "  c[{axis}] += {shift};\n  inside = inside && c[{axis}] >= 0 && c[{axis}] < {from};");
    }
    let ty = register(&x);
    let _ = write!(body, "  {ty} value = 0;\n  if (inside) value = X0(c);\n  PUT0(o, value);");
    to.run(&out.shape.clone(), &[x], &[out], &body)
}

pub(super) fn gather_elements(to: &mut Operator) -> Outcome {
    let (x, places) = (to.input(0)?, to.input(1)?);
    let axis = to.axis("axis", 0, x.shape.len())?;
    let out = to.result(0)?;
    let mut body = copied(x.shape.len());
    let _ = write!(body, "  c[{axis}] = wrapped(X1(o), {});\n  PUT0(o, X0(c));", x.shape[axis]);
    to.run(&out.shape.clone(), &[x, places], &[out], &body)
}

pub(super) fn gather_nd(to: &mut Operator) -> Outcome {
    let (x, places) = (to.input(0)?, to.input(1)?);
    let n_batch = usize::try_from(to.call.attrs.int("batch_dims").unwrap_or(0)).unwrap_or(0);
    let rank = places.shape.len();
    let depth = *places.shape.last().ok_or_else(|| refuse("its positions have no axes"))?;
    if n_batch + depth > x.shape.len() {
        return Err(refuse("its positions do not fit"));
    }
    let out = to.result(0)?;
    let mut body = format!("  i64 c[{}] = {{0}}, p[{rank}];\n", x.shape.len().max(1));
    for axis in 0..rank - 1 {
        let _ = writeln!(body, "  p[{axis}] = o[{axis}];");
    }
    for axis in 0..n_batch {
        let _ = writeln!(body, "  c[{axis}] = o[{axis}];");
    }
    for at in 0..depth {
        let axis = n_batch + at;
        let _ = writeln!(body, "  p[{}] = {at}; c[{axis}] = wrapped(X1(p), {});", rank - 1, x.shape[axis]);
    }
    for (at, axis) in (n_batch + depth..x.shape.len()).enumerate() {
        let _ = writeln!(body, "  c[{axis}] = o[{}];", rank - 1 + at);
    }
    body.push_str("  PUT0(o, X0(c));");
    to.run(&out.shape.clone(), &[x, places], &[out], &body)
}

/// `old` and `new` combined as attribute `reduction` says.
fn combined(to: &Operator) -> Result<&'static str, crate::flat::Refusal> {
    Ok(match to.call.attrs.string("reduction").unwrap_or("none") {
        "none" => "now",
        "add" => "old + now",
        "mul" => "old * now",
        "max" => "larger(old, now)",
        "min" => "smaller(old, now)",
        _ => return Err(refuse("its reduction has no kernel")),
    })
}

/// One thread for each line along the axis: positions may repeat, and the last one wins or all are combined in order.
pub(super) fn scatter_elements(to: &mut Operator) -> Outcome {
    let (places, updates) = (to.input(1)?, to.input(2)?);
    let out = changed_copy(to)?;
    let axis = to.axis("axis", 0, out.shape.len())?;
    let combined = combined(to)?;
    let ty = register(&out);
    let mut body = copied(out.shape.len());
    let _ = write!(
        body,
        "  for (i64 at = 0; at < {}; ++at) {{\n    o[{axis}] = at;\n    c[{axis}] = wrapped(X0(o), {});\n    \
         const {ty} old = Y0(c), now = X1(o);\n    PUT0(c, ({ty})({combined}));\n  }}",
        places.shape[axis], out.shape[axis]
    );
    to.run(&with(&places.shape, axis, 1), &[places, updates], &[out], &body)
}

/// One thread for each element of a slice, which walks over all updates in order.
pub(super) fn scatter_nd(to: &mut Operator) -> Outcome {
    let (places, updates) = (to.input(1)?, to.input(2)?);
    let out = changed_copy(to)?;
    let combined = combined(to)?;
    let rank = places.shape.len();
    let depth = places.shape.last().copied().filter(|&depth| depth <= out.shape.len());
    let depth = depth.ok_or_else(|| refuse("its positions do not fit"))?;
    let n_updates: usize = places.shape[..rank - 1].iter().product();
    let ty = register(&out);
    let mut body = format!("  i64 c[{}], p[{rank}], u[{}];\n", out.shape.len().max(1), updates.shape.len().max(1));
    for axis in depth..out.shape.len() {
        let _ = writeln!(body, "  c[{axis}] = o[{0}]; u[{1}] = o[{0}];", axis - depth, rank - 1 + axis - depth);
    }
    let _ = writeln!(body, "  for (i64 n = 0; n < {n_updates}; ++n) {{");
    let mut inner = 1usize;
    for axis in (0..rank - 1).rev() {
        let _ = writeln!(body, "    u[{axis}] = p[{axis}] = n / {inner} % {};", places.shape[axis].max(1));
        inner *= places.shape[axis].max(1);
    }
    for at in 0..depth {
        let _ = writeln!(body, "    p[{}] = {at}; c[{at}] = wrapped(X0(p), {});", rank - 1, out.shape[at]);
    }
    let _ = write!(body, "    const {ty} old = Y0(c), now = X1(u);\n    PUT0(c, ({ty})({combined}));\n  }}");
    let shape = out.shape[depth..].to_vec();
    to.run(&shape, &[places, updates], &[out], &body)
}

pub(super) fn tensor_scatter(to: &mut Operator) -> Outcome {
    let update = to.input(1)?;
    let starts = to.optional(2)?;
    let out = changed_copy(to)?;
    let rank = out.shape.len();
    let axis = to.axis("axis", -2, rank)?;
    let size = out.shape[axis];
    let mut body = copied(rank);
    if starts.is_some() {
        let _ = writeln!(body, "  const i64 b[1] = {{o[0]}};\n  c[{axis}] += X1(b);");
    }
    if to.call.attrs.string("mode") == Some("circular") {
        let _ = writeln!(body, "  c[{axis}] = remainder_of(c[{axis}], {size}ll);");
    }
    let _ = write!(body, "  if (c[{axis}] >= 0 && c[{axis}] < {size}) PUT0(c, X0(o));");
    let shape = update.shape.clone();
    let inputs: Vec<View> = [update].into_iter().chain(starts).collect();
    to.run(&shape, &inputs, &[out], &body)
}

pub(super) fn trilu(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let diagonal = to.optional(1)?;
    let out = to.result(0)?;
    let rank = x.shape.len();
    if rank < 2 {
        return Err(refuse("it has no matrix"));
    }
    let comparison = if to.call.attrs.int("upper").unwrap_or(1) != 0 { ">=" } else { "<=" };
    let k = if diagonal.is_some() { "X1(zero)" } else { "0" };
    let ty = register(&x);
    let body = format!(
        "  const i64 zero[1] = {{0}};\n  {ty} value = 0;\n  if (o[{}] - o[{}] {comparison} {k}) value = X0(o);\n  PUT0(o, value);",
        rank - 1,
        rank - 2
    );
    let inputs: Vec<View> = [x].into_iter().chain(diagonal).collect();
    to.run(&out.shape.clone(), &inputs, &[out], &body)
}

pub(super) fn eye_like(to: &mut Operator) -> Outcome {
    let out = to.result(0)?;
    let k = to.call.attrs.int("k").unwrap_or(0);
    let body = format!("  PUT0(o, ({})(o[1] - o[0] == {k} ? 1 : 0));", register(&out));
    to.run(&out.shape.clone(), &[], &[out], &body)
}

pub(super) fn range(to: &mut Operator) -> Outcome {
    let (start, delta) = (to.input(0)?, to.input(2)?);
    let out = to.result(0)?;
    let body = format!("  const i64 zero[1] = {{0}};\n  PUT0(o, ({})(X0(zero) + o[0] * X1(zero)));", register(&out));
    to.run(&out.shape.clone(), &[start, delta], &[out], &body)
}

pub(super) fn one_hot(to: &mut Operator) -> Outcome {
    let (places, values) = (to.input(0)?, to.input(2)?);
    let out = to.result(0)?;
    let axis = to.axis("axis", -1, out.shape.len())?;
    let depth = out.shape[axis];
    let mut body = format!("  i64 c[{}];\n", places.shape.len().max(1));
    for at in 0..places.shape.len() {
        let _ = writeln!(body, "  c[{at}] = o[{}];", if at < axis { at } else { at + 1 });
    }
    let _ = write!(
        body,
        "  i64 place = (i64)X0(c);\n  place = place < 0 ? place + {depth} : place;\n  \
         const i64 which[1] = {{place == o[{axis}]}};\n  PUT0(o, X1(which));"
    );
    to.run(&out.shape.clone(), &[places, values], &[out], &body)
}

pub(super) fn tile(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let out = to.result(0)?;
    let mut body = copied(x.shape.len());
    for (axis, &size) in x.shape.iter().enumerate() {
        let _ = writeln!(body, "  c[{axis}] %= {};", size.max(1));
    }
    body.push_str("  PUT0(o, X0(c));");
    to.run(&out.shape.clone(), &[x], &[out], &body)
}

/// Slices that walk backwards; the others are views.
pub(super) fn slice(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let rank = x.shape.len();
    let starts = to.integers(1, &[])?;
    let every: Vec<i64> = (0..starts.len() as i64).collect();
    let (axes, steps) = (to.integers(3, &every)?, to.integers(4, &vec![1; starts.len()])?);
    let out = to.result(0)?;
    let mut body = copied(rank);
    for ((&start, &axis), &step) in starts.iter().zip(&axes).zip(&steps) {
        let axis = normalize_axis(axis, rank).ok_or_else(|| refuse("an axis is out of range"))?;
        let size = x.shape[axis] as i64;
        let start = if start < 0 { start.saturating_add(size) } else { start };
        let start = if step < 0 { start.clamp(-1, size - 1) } else { start.clamp(0, size) };
        let _ = writeln!(body, "  c[{axis}] = {start} + c[{axis}] * {}ll;", literal_step(step));
    }
    body.push_str("  PUT0(o, X0(c));");
    to.run(&out.shape.clone(), &[x], &[out], &body)
}

/// Steps beyond any axis take one element; a literal of C++ holds them.
fn literal_step(step: i64) -> i64 {
    step.clamp(-(1 << 60), 1 << 60)
}

pub(super) fn reverse_sequence(to: &mut Operator) -> Outcome {
    let (x, lengths) = (to.input(0)?, to.input(1)?);
    let (batch, time) = (to.axis("batch_axis", 1, x.shape.len())?, to.axis("time_axis", 0, x.shape.len())?);
    let out = to.result(0)?;
    let mut body = copied(x.shape.len());
    let _ = write!(
        body,
        "  const i64 b[1] = {{o[{batch}]}}, n = smaller((i64)X1(b), (i64){});\n  if (o[{time}] < n) c[{time}] = n - 1 - o[{time}];\n  PUT0(o, X0(c));",
        x.shape[time]
    );
    to.run(&out.shape.clone(), &[x, lengths], &[out], &body)
}

pub(super) fn running(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let rank = x.shape.len();
    let axis = to.integers(1, &[])?;
    let axis =
        axis.first().and_then(|&axis| normalize_axis(axis, rank)).ok_or_else(|| refuse("its axis is unknown"))?;
    let out = to.result(0)?;
    let ty = register(&out);
    let n = x.shape[axis];
    let (start, operation) = if to.call.is("CumSum") { (0, "+") } else { (1, "*") };
    let place = if to.call.attrs.flag("reverse") { format!("{n} - 1 - at") } else { "at".into() };
    let step = format!("total = total {operation} X0(o);");
    let (before, after) = if to.call.attrs.flag("exclusive") { ("", step.as_str()) } else { (step.as_str(), "") };
    let body = format!(
        "  {ty} total = {start};\n  for (i64 at = 0; at < {n}; ++at) {{\n    o[{axis}] = {place};\n    {before}\n    \
         const {ty} shown = total;\n    {after}\n    PUT0(o, shown);\n  }}"
    );
    to.run(&with(&out.shape, axis, 1), &[x], &[out], &body)
}

/// Finds `place`, that of the largest or smallest element along `axis`; a NaN wins.
fn extreme(view: &View, axis: usize, comparison: &str) -> String {
    format!(
        "  i64 place = 0;\n  o[{axis}] = 0;\n  {ty} best = X0(o);\n  for (i64 at = 1; at < {n}; ++at) {{\n    o[{axis}] = at;\n    \
         const {ty} x = X0(o);\n    if ((x {comparison} best && best == best) || (x != x && best == best)) {{ best = x; place = at; }}\n  }}\n",
        ty = register(view),
        n = view.shape[axis]
    )
}

pub(super) fn arg_extreme(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let rank = x.shape.len();
    let axis = to.axis("axis", 0, rank)?;
    let out = to.result(0)?;
    let comparison = match (to.call.is("ArgMax"), to.call.attrs.flag("select_last_index")) {
        (true, false) => ">",
        (true, true) => ">=",
        (false, false) => "<",
        (false, true) => "<=",
    };
    let mut body = extreme(&x, axis, comparison);
    let _ = writeln!(body, "  o[{axis}] = 0;");
    let lines = with(&x.shape, axis, 1);
    // Without `keepdims` the axis is gone.
    let target = if out.shape.len() == rank {
        out
    } else {
        let mut strides = out.strides.clone();
        strides.insert(axis, 0);
        View { shape: lines.clone(), strides, ..out }
    };
    body.push_str("  PUT0(o, place);");
    to.run(&lines, &[x], &[target], &body)
}

pub(super) fn hardmax(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let axis = to.axis("axis", -1, x.shape.len())?;
    let out = to.result(0)?;
    let mut body = extreme(&x, axis, ">");
    let _ = write!(
        body,
        "  for (i64 at = 0; at < {}; ++at) {{ o[{axis}] = at; PUT0(o, ({})(at == place)); }}",
        x.shape[axis],
        register(&out)
    );
    to.run(&with(&out.shape, axis, 1), &[x], &[out], &body)
}

/// Each element counts those of its line that come before it, which is its place in the order.
pub(super) fn top_k(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let axis = to.axis("axis", -1, x.shape.len())?;
    let (values, places) = (to.result(0)?, to.result(1)?);
    let comparison = if to.call.attrs.int("largest").unwrap_or(1) != 0 { ">" } else { "<" };
    let ty = register(&x);
    let mut body = copied(x.shape.len());
    let _ = write!(
        body,
        "  const {ty} mine = X0(o);\n  i64 n_before = 0;\n  for (i64 at = 0; at < {n}; ++at) {{\n    c[{axis}] = at;\n    \
         const {ty} x = X0(c);\n    n_before += x {comparison} mine || (x == mine && at < o[{axis}]);\n  }}\n  \
         if (n_before < {k}) {{ c[{axis}] = n_before; PUT0(c, mine); PUT1(c, o[{axis}]); }}",
        n = x.shape[axis],
        k = values.shape[axis]
    );
    let shape = x.shape.clone();
    to.run(&shape, &[x], &[values, places], &body)
}
