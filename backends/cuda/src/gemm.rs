//! Gemm as the product, scales and addition that it means, so that only one operator is a product further on.

use crate::attention::push;
use crate::flat::{Flat, FlatCall, Known, ValueAt};
use eutectic_ir::attr::Attr;
use eutectic_ir::tensor::Tensor;

/// Replaces every Gemm by `alpha op(a) op(b) + beta c`; with `fuse` the parts of one form a group that one kernel may run.
pub(crate) fn expand(flat: &mut Flat, fuse: bool) {
    let n_groups = flat.calls.iter().filter_map(|call| call.group).max().map_or(0, |group| group + 1);
    for (at, mut call) in std::mem::take(&mut flat.calls).into_iter().enumerate() {
        if !call.is("Gemm") {
            flat.calls.push(call);
            continue;
        }
        if fuse && call.group.is_none() {
            call.group = Some(n_groups + at);
        }
        one(flat, &call);
    }
}

fn one(flat: &mut Flat, call: &FlatCall) {
    let output = call.outputs[0];
    let Known { element, shape, .. } = flat.values[output].clone();
    let turned = |flat: &mut Flat, value: ValueAt, is_turned: bool| {
        let known = flat.values[value].shape.clone();
        let [rows, columns] = known[..] else { return value };
        if !is_turned {
            return value;
        }
        flat.values.push(Known { element, shape: vec![columns, rows], constant: None });
        let result = flat.values.len() - 1;
        push(flat, call, "Transpose", vec![("perm", Attr::Ints([1, 0].into()))], &[value], result);
        result
    };
    let scaled = |flat: &mut Flat, value: ValueAt, name: &str| match call.attrs.float(name) {
        Some(factor) if factor != 1.0 => match Tensor::full(element, &[], f64::from(factor)) {
            Ok(tensor) => {
                flat.values.push(Known { element, shape: Vec::new(), constant: Some(tensor) });
                let factor = flat.values.len() - 1;
                let shape = flat.values[value].shape.clone();
                flat.values.push(Known { element, shape, constant: None });
                let result = flat.values.len() - 1;
                push(flat, call, "Mul", vec![], &[value, factor], result);
                result
            }
            Err(_) => value,
        },
        _ => value,
    };
    let [a, b] = [0, 1].map(|at| call.input(at).unwrap_or_default());
    let a = turned(flat, a, call.attrs.flag("transA"));
    let a = scaled(flat, a, "alpha");
    let b = turned(flat, b, call.attrs.flag("transB"));
    match call.input(2) {
        None => push(flat, call, "MatMul", vec![], &[a, b], output),
        Some(c) => {
            let c = scaled(flat, c, "beta");
            flat.values.push(Known { element, shape, constant: None });
            let product = flat.values.len() - 1;
            push(flat, call, "MatMul", vec![], &[a, b], product);
            push(flat, call, "Add", vec![], &[product, c], output);
        }
    }
}
