//! Convolutions over patches that do not overlap, as products: libraries have fast kernels for many channels, and an image has three.

use crate::expand::Rewriter;
use crate::flat::{Flat, FlatCall};

/// Elements of a patch's plane from which on a product pays for the copy that lines patches up.
const LEAST_PATCH: usize = 16;

/// Replaces every convolution whose windows lie side by side by a product of lined up patches with its filters.
pub(crate) fn expand(flat: &mut Flat) {
    for mut call in std::mem::take(&mut flat.calls) {
        let Some(patch) = patch(flat, &call) else {
            flat.calls.push(call);
            continue;
        };
        flat.group(&mut call, "Conv");
        one(&mut Rewriter { flat, call: &call }, patch);
    }
}

/// Rows and columns of a window of `call`, where windows tile the image and its filters are known.
fn patch(flat: &Flat, call: &FlatCall) -> Option<[usize; 2]> {
    if !call.is("Conv") {
        return None;
    }
    let (image, filters) = (&flat.values[call.input(0)?], &flat.values[call.input(1)?]);
    let (&[_, channels, height, width], &[_, depth, rows, columns]) = (&image.shape[..], &filters.shape[..]) else {
        return None;
    };
    let all = |name: &str, wanted: &[usize]| {
        call.attrs.ints(name).is_none_or(|given| given.iter().map(|&size| size as usize).eq(wanted.iter().copied()))
    };
    let is_tiled = call.attrs.ints("strides").is_some()
        && all("strides", &[rows, columns])
        && all("pads", &[0; 4])
        && all("dilations", &[1; 2])
        && call.attrs.string("auto_pad").is_none_or(|given| !given.starts_with("SAME"))
        && height % rows == 0
        && width % columns == 0;
    let is_whole = depth == channels && filters.constant.is_some();
    (is_tiled && is_whole && rows * columns >= LEAST_PATCH).then_some([rows, columns])
}

fn one(to: &mut Rewriter, [rows, columns]: [usize; 2]) {
    let call = to.call;
    let output = call.outputs[0];
    let [image, filters] = [0, 1].map(|at| call.input(at).unwrap_or_default());
    let [batch, channels, height, width] = to.shape(image)[..] else { return };
    let (n_filters, down, across) = (to.shape(filters)[0], height / rows, width / columns);
    let depth = channels * rows * columns;
    let windows = to.reshaped(image, &[batch, channels, down, rows, across, columns]);
    let windows = to.transposed(windows, &[0, 2, 4, 1, 3, 5]);
    let windows = to.reshaped(windows, &[batch * down * across, depth]);
    let filters = to.reshaped(filters, &[n_filters, depth]);
    let filters = to.transposed(filters, &[1, 0]);
    let element = to.element(output);
    let mut result = to.add("MatMul", vec![], &[windows, filters], element, &[batch * down * across, n_filters]);
    if let Some(bias) = call.input(2) {
        result = to.pointwise("Add", &[result, bias]);
    }
    let result = to.reshaped(result, &[batch, down, across, n_filters]);
    let perm = eutectic_ir::attr::Attr::Ints([0i64, 3, 1, 2].to_vec().into());
    to.push("Transpose", vec![("perm", perm)], &[result], output);
}
