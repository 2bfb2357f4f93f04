//! Gemm as the product, scales and addition that it means, so that only one operator is a product further on.

use crate::expand::Rewriter;
use crate::flat::{Flat, ValueAt};

/// Replaces every Gemm by `alpha op(a) op(b) + beta c`; the parts of one form a group that one kernel may run.
pub(crate) fn expand(flat: &mut Flat) {
    for mut call in std::mem::take(&mut flat.calls) {
        if !call.is("Gemm") {
            flat.calls.push(call);
            continue;
        }
        flat.group(&mut call, "Gemm");
        one(&mut Rewriter { flat, call: &call });
    }
}

fn one(to: &mut Rewriter) {
    let call = to.call;
    let output = call.outputs[0];
    let (element, shape) = (to.element(output), to.shape(output));
    let turned = |to: &mut Rewriter, value: ValueAt, name: &str| match call.attrs.flag(name) {
        true => to.transposed(value, &[1, 0]),
        false => value,
    };
    let scaled = |to: &mut Rewriter, value: ValueAt, name: &str| match call.attrs.float(name) {
        Some(factor) if factor != 1.0 => match to.number(element, f64::from(factor)) {
            Some(factor) => to.pointwise("Mul", &[value, factor]),
            None => value,
        },
        _ => value,
    };
    let [a, b] = [0, 1].map(|at| call.input(at).unwrap_or_default());
    let a = turned(to, a, "transA");
    let a = scaled(to, a, "alpha");
    let b = turned(to, b, "transB");
    match call.input(2) {
        None => to.push("MatMul", vec![], &[a, b], output),
        Some(c) => {
            let c = scaled(to, c, "beta");
            let product = to.add("MatMul", vec![], &[a, b], element, &shape);
            to.push("Add", vec![], &[product, c], output);
        }
    }
}
