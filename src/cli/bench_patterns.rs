//! Patterns that `eutectic bench --kernel` measures: small models with operands of given sizes.

use super::misuse;
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::ir::text::parse_model;
use crate::ir::types::Element;

/// How the operands of a pattern lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// The type of every operand, weight and result.
    pub element: Element,
    /// Laid out as the kernels of a program hand them on, images with their channels last and heads of attention inside of their
    /// tokens; else as in ONNX.
    pub is_handed_on: bool,
}

impl Form {
    /// Operands as ONNX has them.
    pub(super) const ONNX: Self = Self { element: Element::Float, is_handed_on: false };
}

/// What `--kernel` knows: the name, the operands whose sizes `--shape` gives, and an example.
const PATTERNS: [(&str, &str); 15] = [
    ("conv-bias", "image,filter,step: 1x64x56x56,256x64x1x1,1"),
    ("conv-bias-relu", "image,filter,step: 1x64x56x56,64x64x3x3,1"),
    ("conv-bias-add-relu", "image,filter,step: 1x64x56x56,256x64x1x1,1"),
    ("matmul", "left,right: 4096x768,768x3072"),
    ("matmul-bias", "left,right: 4096x768,768x3072"),
    ("matmul-bias-relu", "left,right: 4096x768,768x3072"),
    ("matmul-bias-gelu", "left,right: 4096x768,768x3072"),
    ("attention", "queries: 8x12x128x64"),
    ("gelu", "operand: 4096x3072"),
    ("gelu-tanh", "operand: 4096x3072"),
    ("bias-gelu", "operand: 4096x3072"),
    ("softmax", "operand: 4096x1024"),
    ("layernorm", "operand: 4096x768"),
    ("rmsnorm", "operand: 4096x768"),
    ("add-layernorm", "operand: 4096x768"),
];

/// The patterns and sizes of a list, one of each a line; lines that begin with `#` say nothing. Errors: a line without sizes.
pub(super) fn listed(text: &str) -> Result<Vec<(String, String)>, Diagnostics> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| match line.split_once(' ') {
        Some((name, sizes)) => Ok((name.to_owned(), sizes.trim().to_owned())),
        None => Err(misuse(format!("`{line}` has no sizes; a line is like `softmax 4096x1024`"))),
    };
    lines.map(pair).collect()
}

/// The model of pattern `name` with operands of the sizes in `shapes`, which are those of ONNX whatever their form. Errors: an
/// unknown pattern, sizes that do not fit.
pub(super) fn pattern(name: &str, shapes: &str, form: Form) -> Result<Model, Diagnostics> {
    let Some((_, example)) = PATTERNS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = PATTERNS.iter().map(|(known, _)| *known).collect();
        return Err(misuse(format!("no pattern is called `{name}`; there are {}", known.join(", "))));
    };
    let misfit = || misuse(format!("--shape {shapes} does not fit `{name}`; it takes {example}"));
    let sizes = |text: &str| -> Option<Vec<usize>> {
        text.split('x').map(|size| size.trim().parse().ok().filter(|&size| size > 0)).collect()
    };
    let operands: Option<Vec<Vec<usize>>> = shapes.split(',').map(sizes).collect();
    let text = text_of(name, &operands.ok_or_else(misfit)?, form.is_handed_on).ok_or_else(misfit)?;
    // Bodies are written for single precision.
    Ok(parse_model(&text.replace("float[", &format!("{}[", form.element)))?.0)
}

fn text_of(name: &str, operands: &[Vec<usize>], is_handed_on: bool) -> Option<String> {
    let graph = if name.starts_with("conv") {
        image(name, operands, is_handed_on)?
    } else {
        matrix(name, operands, is_handed_on)?
    };
    Some(format!("<ir_version: 11, opset_import: [\"\": 24]>\npattern {graph}"))
}

fn typed(shape: &[usize]) -> String {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("float[{}]", sizes.join(","))
}

/// Weights of a size that keeps results of sums over `depth` terms near 1.
fn weight(name: &str, shape: &[usize], seed: usize, depth: usize) -> String {
    let high = (3.0 / depth as f64).sqrt();
    format!(
        "{} {name} = [\"location\": \"seed:{seed}\", \"low\": \"{:.4}\", \"high\": \"{high:.4}\"]",
        typed(shape),
        -high
    )
}

fn image(name: &str, operands: &[Vec<usize>], is_handed_on: bool) -> Option<String> {
    let (x, filter, step) = match operands {
        [x, filter] => (x, filter, 1),
        [x, filter, step] => (x, filter, *step.first()?),
        _ => return None,
    };
    let (&[n, channels, height, width], &[k, depth, rows, columns]) = (&x[..], &filter[..]) else { return None };
    let (top, left) = (rows / 2, columns / 2);
    let along = |size: usize, kernel: usize| Some((size + 2 * (kernel / 2)).checked_sub(kernel)? / step + 1);
    let (out_height, out_width) = (along(height, rows)?, along(width, columns)?);
    let image = |channels: usize, height: usize, width: usize| {
        typed(&if is_handed_on { [n, height, width, channels] } else { [n, channels, height, width] })
    };
    let out = image(k, out_height, out_width);
    // A view of what lies in memory otherwise.
    let (from, to) = ("Transpose <perm: ints = [0,3,1,2]>", "Transpose <perm: ints = [0,2,3,1]>");
    let (image_of, residual, result) = if is_handed_on { ("i", "q", "l") } else { ("x", "r", "y") };
    let mut body = Vec::new();
    if is_handed_on {
        body.push(format!("i = {from} (x)"));
    }
    let convolved = if name == "conv-bias" { result } else { "c" };
    body.push(format!(
        "{convolved} = Conv <pads: ints = [{top},{left},{top},{left}], strides: ints = [{step},{step}]> ({image_of}, w, b)"
    ));
    let mut more = String::new();
    match name {
        "conv-bias" => {}
        "conv-bias-relu" => body.push(format!("{result} = Relu (c)")),
        _ => {
            more = format!(", {out} r");
            if is_handed_on {
                body.push(format!("q = {from} (r)"));
            }
            body.extend([format!("s = Add (c, {residual})"), format!("{result} = Relu (s)")]);
        }
    }
    if is_handed_on {
        body.push(format!("y = {to} (l)"));
    }
    Some(format!(
        "({} x{more}) => ({out} y) <{}, {}> {{\n  {}\n}}",
        image(channels, height, width),
        weight("w", filter, 1, depth * rows * columns),
        weight("b", &[k], 2, 1),
        body.join("\n  ")
    ))
}

fn matrix(name: &str, operands: &[Vec<usize>], is_handed_on: bool) -> Option<String> {
    let x = operands.first()?;
    let ty = typed(x);
    if name.starts_with("matmul") {
        let [left, right] = operands else { return None };
        let (&[.., m, k], &[depth, n]) = (&left[..], &right[..]) else { return None };
        let out: Vec<usize> = left[..left.len() - 2].iter().copied().chain([m, n]).collect();
        let body = match name {
            "matmul" => "y = MatMul (x, w)",
            "matmul-bias" => "p = MatMul (x, w)\n  y = Add (p, b)",
            "matmul-bias-relu" => "p = MatMul (x, w)\n  s = Add (p, b)\n  y = Relu (s)",
            _ => "p = MatMul (x, w)\n  s = Add (p, b)\n  y = Gelu (s)",
        };
        let weights = match name {
            "matmul" => weight("w", right, 1, k),
            _ => format!("{}, {}", weight("w", right, 1, k), weight("b", &[n], 2, 1)),
        };
        return (k == depth).then(|| format!("({ty} x) => ({} y) <{weights}> {{\n  {body}\n}}", typed(&out)));
    }
    let n = [*x.last()?];
    let (scale, bias) = (weight("g", &n, 1, 1), weight("b", &n, 2, 1));
    let (inputs, weights, body) = match name {
        "attention" if is_handed_on && operands.len() == 1 => return tokens_first(x),
        "attention" if x.len() == 4 => {
            (format!("{ty} x, {ty} k, {ty} v"), String::new(), "y = Attention (x, k, v)".to_string())
        }
        "gelu" => (format!("{ty} x"), String::new(), "y = Gelu (x)".into()),
        "gelu-tanh" => (format!("{ty} x"), String::new(), "y = Gelu <approximate: string = \"tanh\"> (x)".into()),
        "bias-gelu" => (format!("{ty} x"), bias, "s = Add (x, b)\n  y = Gelu (s)".into()),
        "softmax" => (format!("{ty} x"), String::new(), "y = Softmax <axis: int = -1> (x)".into()),
        "layernorm" => (format!("{ty} x"), format!("{scale}, {bias}"), "y = LayerNormalization (x, g, b)".into()),
        "rmsnorm" => (format!("{ty} x"), scale, "y = RMSNormalization (x, g)".into()),
        "add-layernorm" => (
            format!("{ty} x, {ty} r"),
            format!("{scale}, {bias}"),
            "s = Add (x, r)\n  y = LayerNormalization (s, g, b)".into(),
        ),
        _ => return None,
    };
    let weights = if weights.is_empty() { weights } else { format!(" <{weights}>") };
    (operands.len() == 1).then(|| format!("({inputs}) => ({ty} y){weights} {{\n  {body}\n}}"))
}

/// Attention whose operands and result have their heads inside of their tokens, as linear layers make them.
fn tokens_first(sizes: &[usize]) -> Option<String> {
    let &[n, heads, tokens, width] = sizes else { return None };
    let ty = typed(&[n, tokens, heads, width]);
    let swapped = "Transpose <perm: ints = [0,2,1,3]>";
    Some(format!(
        "({ty} x, {ty} k, {ty} v) => ({ty} y) {{
  q = {swapped} (x)
  j = {swapped} (k)
  u = {swapped} (v)
  z = Attention (q, j, u)
  y = {swapped} (z)
}}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::{Cuda, Precision};
    use crate::fused::{cost, divided, optimized};
    use crate::passes::regions::Fusions;
    use crate::passes::rules::Library;

    #[test]
    fn every_pattern_takes_its_own_example() {
        for (name, example) in PATTERNS {
            let shapes = example.rsplit(' ').next().expect("sizes");
            for (element, is_handed_on) in [(Element::Float, false), (Element::Float16, true)] {
                let model = pattern(name, shapes, Form { element, is_handed_on });
                let model = model.unwrap_or_else(|problems| panic!("{name}: {problems}"));
                let types: Vec<_> =
                    model.graph.outputs().iter().filter_map(|output| model.graph.ty(output.value)).collect();
                assert!(matches!(types[..], [ty] if ty.element == element), "{name}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_an_example() {
        let problem = pattern("matmul", "4x5,6x7", Form::ONNX).expect_err("5 is not 6").to_string();
        assert!(problem.contains("4096x768,768x3072"), "{problem}");
    }

    #[test]
    fn a_list_holds_a_pattern_and_its_sizes_a_line() {
        let list = listed("# rows\nsoftmax 4x8\n\ngelu  2x3\n").expect("two lines");
        assert_eq!(list, [("softmax".into(), "4x8".into()), ("gelu".into(), "2x3".into())]);
        let problem = listed("softmax").expect_err("no sizes").to_string();
        assert!(problem.contains("`softmax` has no sizes"), "{problem}");
    }

    #[test]
    fn a_pattern_as_programs_hand_it_on_is_one_kernel_without_copies() {
        let (library, fusions) = (Library::built_in().expect("it loads"), Fusions::all());
        let form = Form { element: Element::Float16, is_handed_on: true };
        for (name, sizes) in [
            ("conv-bias-relu", "1x64x56x56,64x64x3x3,1"),
            ("conv-bias-add-relu", "8x64x56x56,256x64x1x1,1"),
            ("attention", "8x12x128x64"),
            ("add-layernorm", "128x768"),
            ("rmsnorm", "128x768"),
            ("softmax", "128x768"),
            ("bias-gelu", "128x768"),
        ] {
            let mut model = pattern(name, sizes, form).expect("it fits");
            optimized(&mut model, &library, &fusions, cost()).expect("it optimizes");
            let cuda = Cuda { precision: Precision::F16, cache: None };
            let (expanded, _) = divided(&cuda, &model, &fusions, &[]).expect("it expands");
            let kernels: Vec<_> = cuda.listing(&expanded).expect("kernels").into_iter().map(|one| one.name).collect();
            assert_eq!(kernels.len(), 1, "{name}: {kernels:?}");
        }
    }
}
