//! A tensor sampled at places that another tensor gives.

use super::{Operator, Outcome, refuse, register};
use std::fmt::Write;

/// Mirrors `x` at `low` and `high` until it lies between them.
const REFLECT: &str = r#"  auto reflect = [](double x, double low, double high) {
    const double range = high - low, distance = x < low ? low - x : x > high ? x - high : 0.;
    if (distance == 0.) return x;
    if (range <= 0.) return low;
    const double turns = floor(distance / range), rest = distance - turns * range;
    return (fmod(turns, 2.) == 0.) == (x < low) ? low + rest : high - rest;
  };
"#;

/// Cubic weights: Keys, 1981, with a = -0.75.
const CUBIC: &str = r#"  auto cubic = [](double x) {
    const double a = -.75;
    x = fabs(x);
    return x <= 1. ? ((a + 2.) * x - (a + 3.)) * x * x + 1. : x < 2. ? ((a * x - 5. * a) * x + 8. * a) * x - 4. * a : 0.;
  };
"#;

/// Interpolation is separable: each axis contributes a few elements with weights, and their products weigh the elements.
pub(super) fn grid_sample(to: &mut Operator) -> Outcome {
    let (x, grid) = (to.input(0)?, to.input(1)?);
    let shape = to.shape(0);
    let n = x.shape.len().saturating_sub(2);
    if n == 0 || grid.shape.len() != n + 2 {
        return Err(refuse("its grid does not fit"));
    }
    let mode = to.call.attrs.string("mode").unwrap_or("linear").to_string();
    let padding = to.call.attrs.string("padding_mode").unwrap_or("zeros").to_string();
    let aligned = to.call.attrs.flag("align_corners");
    let out = to.result(0)?;
    let (first, last) = match mode.as_str() {
        "nearest" => (0, 0),
        "cubic" => (-1, 2),
        _ => (0, 1),
    };
    let mut body = format!("{REFLECT}{CUBIC}  i64 c[{}], g[{}];\n  c[0] = g[0] = o[0]; c[1] = o[1];\n", n + 2, n + 2);
    for axis in 0..n {
        let _ = writeln!(body, "  g[{}] = o[{}];", 1 + axis, 2 + axis);
    }
    for axis in 0..n {
        let length = x.shape[2 + axis] as f64;
        let (low, high) = if aligned { (0.0, length - 1.0) } else { (-0.5, length - 0.5) };
        // The grid names the innermost axis first.
        let _ = writeln!(
            body,
            "  g[{}] = {};\n  double at{axis} = {low:?} + ((double)X1(g) + 1.) / 2. * {:?};",
            n + 1,
            n - 1 - axis,
            high - low
        );
        if mode == "nearest" {
            let _ = writeln!(body, "  at{axis} = rint(at{axis});");
        }
        let moved = match (padding.as_str(), mode.as_str()) {
            ("border", "cubic") => format!("fmin(fmax(at{axis}, -3.), {:?})", length + 2.0),
            ("border", _) => format!("fmin(fmax(at{axis}, 0.), {:?})", (length - 1.0).max(0.0)),
            ("reflection", _) => format!("reflect(at{axis}, {low:?}, {high:?})"),
            _ => format!("fmin(fmax(at{axis}, -1e9), 1e9)"),
        };
        let _ = writeln!(body, "  if (at{axis} < {low:?} || at{axis} > {high:?}) at{axis} = {moved};");
        let _ = writeln!(body, "  const double base{axis} = floor(at{axis}), ratio{axis} = at{axis} - base{axis};");
    }
    let mut product = Vec::new();
    let _ = writeln!(body, "  double sum = 0.;");
    for axis in 0..n {
        let last_at = x.shape[2 + axis] as f64 - 1.0;
        let (low, high) = if aligned { (0.0, last_at) } else { (-0.5, last_at + 0.5) };
        let weight = match mode.as_str() {
            "nearest" => "1.".to_string(),
            "cubic" => format!("cubic(s{axis} - ratio{axis})"),
            _ => format!("(1. - fabs(s{axis} - ratio{axis}))"),
        };
        let place = match padding.as_str() {
            "border" => format!("fmin(fmax(base{axis} + s{axis}, 0.), {last_at:?})"),
            "reflection" => format!("fmin(fmax(reflect(base{axis} + s{axis}, {low:?}, {high:?}), 0.), {last_at:?})"),
            _ => format!("base{axis} + s{axis}"),
        };
        let _ = writeln!(
            body,
            "  for (int s{axis} = {first}; s{axis} <= {last}; ++s{axis}) {{\n    const double w{axis} = {weight}, p{axis}_ = {place};\n    \
             if (!(p{axis}_ >= 0. && p{axis}_ <= {last_at:?})) continue;\n    c[{}] = (i64)p{axis}_;",
            2 + axis
        );
        product.push(format!("w{axis}"));
    }
    let ty = register(&x);
    let _ =
        write!(body, "    sum += (double)X0(c) * {};\n  {}\n  PUT0(o, ({ty})sum);", product.join(" * "), "}".repeat(n));
    to.run(&shape, &[x, grid], &[out], &body)
}
