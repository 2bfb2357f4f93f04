//! Convolutions and pools over any number of spatial axes.

use super::{Operator, Outcome, refuse, register};
use crate::flat::Refusal;
use std::fmt::Write;

/// Windows that slide over spatial axes.
struct Windows {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    /// Padding before and after each axis.
    pads: Vec<(usize, usize)>,
}

impl Windows {
    /// The windows of a call over axes of `sizes` that give `outputs`.
    fn read(to: &Operator, kernel: &[usize], sizes: &[usize], outputs: &[usize]) -> Result<Self, Refusal> {
        let n = kernel.len();
        let strides = list(to, "strides", n, 1)?;
        let dilations = list(to, "dilations", n, 1)?;
        let same = |axis: usize, is_upper: bool| {
            let span = (kernel[axis] - 1) * dilations[axis] + 1;
            let total = ((outputs[axis].max(1) - 1) * strides[axis] + span).saturating_sub(sizes[axis]);
            if is_upper { (total / 2, total.div_ceil(2)) } else { (total.div_ceil(2), total / 2) }
        };
        let pads = match to.call.attrs.string("auto_pad") {
            Some("SAME_UPPER") => (0..n).map(|axis| same(axis, true)).collect(),
            Some("SAME_LOWER") => (0..n).map(|axis| same(axis, false)).collect(),
            Some("VALID") => vec![(0, 0); n],
            _ => {
                let pads = list(to, "pads", 2 * n, 0)?;
                (0..n).map(|axis| (pads[axis], pads[n + axis])).collect()
            }
        };
        Ok(Self { kernel: kernel.to_vec(), strides, dilations, pads })
    }

    /// Loops over the elements of the window at `o`; inside, `c` has the spatial coordinates. Elements outside of the tensor
    /// are passed over. `w` counts through the window from its axis `first` on.
    fn open(&self, sizes: &[usize], first: usize) -> String {
        let mut text = String::new();
        for (axis, &size) in sizes.iter().enumerate() {
            let (at, w) = (2 + axis, first + axis);
            let _ = writeln!(
                text,
                "  for (w[{w}] = 0; w[{w}] < {}; ++w[{w}]) {{\n    c[{at}] = o[{at}] * {} - {} + w[{w}] * {};\n    \
                 if (c[{at}] < 0 || c[{at}] >= {size}) continue;",
                self.kernel[axis], self.strides[axis], self.pads[axis].0, self.dilations[axis]
            );
        }
        text
    }
}

fn close(n: usize) -> String {
    "}".repeat(n)
}

fn list(to: &Operator, name: &str, len: usize, otherwise: usize) -> Result<Vec<usize>, Refusal> {
    match to.call.attrs.ints(name) {
        None | Some([]) => Ok(vec![otherwise; len]),
        Some(values) => {
            let sizes: Option<Vec<usize>> = values.iter().map(|&value| usize::try_from(value).ok()).collect();
            sizes.filter(|sizes| sizes.len() == len).ok_or_else(|| refuse("its attributes do not fit"))
        }
    }
}

fn group(to: &Operator) -> Result<usize, Refusal> {
    let group = usize::try_from(to.call.attrs.int("group").unwrap_or(1)).ok().filter(|&group| group > 0);
    group.ok_or_else(|| refuse("its attributes do not fit"))
}

pub(super) fn convolution(to: &mut Operator) -> Outcome {
    let (x, filter, bias) = (to.input(0)?, to.input(1)?, to.optional(2)?);
    let (rank, group) = (x.shape.len(), group(to)?);
    let shape = to.shape(0);
    let depth = filter.shape[1];
    if rank < 3 || depth * group != x.shape[1] || filter.shape[0] % group != 0 {
        return Err(refuse("its attributes do not fit"));
    }
    let windows = Windows::read(to, &filter.shape[2..], &x.shape[2..], &shape[2..])?;
    let out = to.result(0)?;
    let ty = register(&out);
    let mut body = format!("  i64 c[{rank}], w[{rank}];\n  c[0] = o[0]; w[0] = o[1];\n");
    let start = if bias.is_some() { "X2(w)" } else { "0" };
    let _ = writeln!(body, "  {ty} sum = {start};\n  for (w[1] = 0; w[1] < {depth}; ++w[1]) {{");
    let _ = writeln!(body, "  c[1] = o[1] / {} * {depth} + w[1];", filter.shape[0] / group);
    body.push_str(&windows.open(&x.shape[2..], 2));
    let _ = write!(body, "    sum += X0(c) * X1(w);\n{}}}\n  PUT0(o, sum);", close(rank - 2));
    let inputs: Vec<_> = [x, filter].into_iter().chain(bias).collect();
    to.run(&shape, &inputs, &[out], &body)
}

pub(super) fn transposed_convolution(to: &mut Operator) -> Outcome {
    let (x, filter, bias) = (to.input(0)?, to.input(1)?, to.optional(2)?);
    let (rank, group) = (x.shape.len(), group(to)?);
    let shape = to.shape(0);
    let (channels, each) = (x.shape[1], filter.shape[1]);
    if rank < 3 || channels % group != 0 || filter.shape[0] != channels || each * group != shape[1] {
        return Err(refuse("its attributes do not fit"));
    }
    let n = rank - 2;
    let (strides, dilations) = (list(to, "strides", n, 1)?, list(to, "dilations", n, 1)?);
    let (pads, extra) = (list(to, "pads", 2 * n, 0)?, list(to, "output_padding", n, 0)?);
    let padding = to.call.attrs.string("auto_pad").unwrap_or("NOTSET").to_string();
    let is_shaped = to.call.attrs.ints("output_shape").is_some();
    let out = to.result(0)?;
    let ty = register(&out);
    let depth = channels / group;
    let mut body = format!("  i64 c[{rank}], w[{rank}];\n  c[0] = o[0]; w[1] = o[1] % {each};\n");
    let _ = writeln!(body, "  const i64 first = o[1] / {each} * {depth};");
    let start = if bias.is_some() { "X2(k)" } else { "0" };
    let _ = writeln!(body, "  const i64 k[1] = {{o[1]}};\n  {ty} sum = {start};");
    for axis in 0..n {
        let kernel = filter.shape[2 + axis];
        let full = strides[axis] * (x.shape[2 + axis].max(1) - 1) + extra[axis] + (kernel - 1) * dilations[axis] + 1;
        let total = full.saturating_sub(shape[2 + axis]);
        let before = match padding.as_str() {
            "SAME_UPPER" => total / 2,
            "NOTSET" if !is_shaped => pads[axis],
            "VALID" if !is_shaped => 0,
            _ => total.div_ceil(2),
        };
        let (at, stride) = (2 + axis, strides[axis]);
        let _ = writeln!(
            body,
            "  for (w[{at}] = 0; w[{at}] < {kernel}; ++w[{at}]) {{\n    c[{at}] = o[{at}] + {before} - w[{at}] * {};\n    \
             if (c[{at}] < 0 || c[{at}] % {stride} != 0 || (c[{at}] /= {stride}) >= {}) continue;",
            dilations[axis], x.shape[at]
        );
    }
    let _ = write!(
        body,
        "    for (i64 d = 0; d < {depth}; ++d) {{ c[1] = w[0] = first + d; sum += X0(c) * X1(w); }}\n{}\n  PUT0(o, sum);",
        close(n)
    );
    let inputs: Vec<_> = [x, filter].into_iter().chain(bias).collect();
    to.run(&shape, &inputs, &[out], &body)
}

pub(super) fn pool(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let rank = x.shape.len();
    let shape = to.shape(0);
    let n = rank.saturating_sub(2);
    let kernel = list(to, "kernel_shape", n, 1)?;
    let sizes = x.shape[2..].to_vec();
    let windows = Windows::read(to, &kernel, &sizes, &shape[2..])?;
    let out = to.result(0)?;
    let ty = register(&out);
    let mut body = format!("  i64 c[{rank}], w[{}];\n  c[0] = o[0]; c[1] = o[1];\n", n.max(1));
    let mut outputs = vec![out];
    let mut place = format!("(c[0] * {} + c[1])", x.shape[1]);
    let order: Vec<usize> = if to.call.attrs.flag("storage_order") { (0..n).rev().collect() } else { (0..n).collect() };
    for axis in order {
        place = format!("({place} * {} + c[{}])", sizes[axis], 2 + axis);
    }
    let counted = if to.call.attrs.flag("count_include_pad") { "padded" } else { "n" };
    let p = to.call.attrs.int("p").unwrap_or(2);
    let (start, step, end) = match (to.call.op.name(), p) {
        ("MaxPool", _) => (
            format!("{ty} best = lowest<{ty}>(); i64 place = -1;"),
            format!("const {ty} x = X0(c); if (x > best || x != x || place < 0) {{ best = x; place = {place}; }}"),
            "PUT0(o, best);".to_string(),
        ),
        ("AveragePool", _) => (
            format!("{ty} sum = 0; i64 n = 0;"),
            "sum += X0(c); ++n;".to_string(),
            format!("PUT0(o, sum / ({counted} > 0 ? {counted} : 1));"),
        ),
        (_, p) => (
            format!("{ty} sum = 0;"),
            format!("sum += pow(fabs(X0(c)), ({ty}){p});"),
            format!("PUT0(o, pow(sum, ({ty})(1. / {p})));"),
        ),
    };
    let _ = writeln!(body, "  {start}");
    body.push_str(&windows.open(&sizes, 0));
    let _ = writeln!(body, "    {step}\n{}", close(n));
    // An average counts the padding when it is told to, but never what lies beyond it.
    let padded = |axis: usize| {
        let (before, after) = windows.pads[axis];
        let limit = sizes[axis] + after + before;
        let (stride, dilation) = (windows.strides[axis], windows.dilations[axis]);
        let fits = format!("({limit} - 1 - o[{}] * {stride}) / {dilation} + 1", 2 + axis);
        format!("smaller({fits}, (i64){})", kernel[axis])
    };
    let product: Vec<String> = (0..n).map(padded).collect();
    let _ = writeln!(body, "  const i64 padded = {};\n  {end}", if n == 0 { "1".into() } else { product.join(" * ") });
    if to.call.outputs.len() > 1 {
        outputs.push(to.result(1)?);
        body.push_str("  PUT1(o, place);");
    }
    to.run(&shape, &[x], &outputs, &body)
}

pub(super) fn local_response(to: &mut Operator) -> Outcome {
    let x = to.input(0)?;
    let out = to.result(0)?;
    let attribute = |name: &str| to.call.attrs.float(name).unwrap_or(0.0);
    let size = to.call.attrs.int("size").unwrap_or(1).max(1);
    let (alpha, beta, bias) = (attribute("alpha"), attribute("beta"), attribute("bias"));
    let ty = register(&x);
    let mut body = super::copied(x.shape.len());
    let _ = write!(
        body,
        "  {ty} sum = 0;\n  for (i64 k = o[1] - {}; k <= o[1] + {}; ++k) {{\n    if (k < 0 || k >= {}) continue;\n    \
         c[1] = k;\n    const {ty} x = X0(c);\n    sum += x * x;\n  }}\n  \
         PUT0(o, X0(o) / pow(({ty}){bias:e} + ({ty}){:e} * sum, ({ty}){beta:e}));",
        (size - 1) / 2,
        size / 2,
        x.shape[1],
        alpha / size as f32
    );
    to.run(&out.shape.clone(), &[x], &[out], &body)
}
