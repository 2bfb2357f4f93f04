//! Patterns that `eutectic bench --kernel` measures: small models with operands of given sizes.

use super::misuse;
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::ir::text::parse_model;

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

/// The model of pattern `name` with operands of the sizes in `shapes`. Errors: an unknown pattern, sizes that do not fit.
pub(super) fn pattern(name: &str, shapes: &str) -> Result<Model, Diagnostics> {
    let Some((_, example)) = PATTERNS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = PATTERNS.iter().map(|(known, _)| *known).collect();
        return Err(misuse(format!("no pattern is called `{name}`; there are {}", known.join(", "))));
    };
    let misfit = || misuse(format!("--shape {shapes} does not fit `{name}`; it takes {example}"));
    let sizes = |text: &str| -> Option<Vec<usize>> {
        text.split('x').map(|size| size.trim().parse().ok().filter(|&size| size > 0)).collect()
    };
    let operands: Option<Vec<Vec<usize>>> = shapes.split(',').map(sizes).collect();
    let text = text_of(name, &operands.ok_or_else(misfit)?).ok_or_else(misfit)?;
    Ok(parse_model(&text)?.0)
}

fn text_of(name: &str, operands: &[Vec<usize>]) -> Option<String> {
    let graph = if name.starts_with("conv") { image(name, operands)? } else { matrix(name, operands)? };
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

fn image(name: &str, operands: &[Vec<usize>]) -> Option<String> {
    let (x, filter, step) = match operands {
        [x, filter] => (x, filter, 1),
        [x, filter, step] => (x, filter, *step.first()?),
        _ => return None,
    };
    let (&[n, _, height, width], &[k, depth, rows, columns]) = (&x[..], &filter[..]) else { return None };
    let (top, left) = (rows / 2, columns / 2);
    let along = |size: usize, kernel: usize| Some((size + 2 * (kernel / 2)).checked_sub(kernel)? / step + 1);
    let out = typed(&[n, k, along(height, rows)?, along(width, columns)?]);
    let convolution =
        format!("Conv <pads: ints = [{top},{left},{top},{left}], strides: ints = [{step},{step}]> (x, w, b)");
    let (more, body) = match name {
        "conv-bias" => (String::new(), format!("y = {convolution}")),
        "conv-bias-relu" => (String::new(), format!("c = {convolution}\n  y = Relu (c)")),
        _ => (format!(", {out} r"), format!("c = {convolution}\n  s = Add (c, r)\n  y = Relu (s)")),
    };
    Some(format!(
        "({} x{more}) => ({out} y) <{}, {}> {{\n  {body}\n}}",
        typed(x),
        weight("w", filter, 1, depth * rows * columns),
        weight("b", &[k], 2, 1)
    ))
}

fn matrix(name: &str, operands: &[Vec<usize>]) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_takes_its_own_example() {
        for (name, example) in PATTERNS {
            let shapes = example.rsplit(' ').next().expect("sizes");
            let model = pattern(name, shapes).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            assert_eq!(model.graph.outputs().len(), 1, "{name}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused_with_an_example() {
        let problem = pattern("matmul", "4x5,6x7").expect_err("5 is not 6").to_string();
        assert!(problem.contains("4096x768,768x3072"), "{problem}");
    }
}
