//! Convolutions apart from their bias, for programs whose kernels take nothing of what follows them.

use crate::expand::Rewriter;
use crate::flat::Flat;

/// Replaces every convolution with a bias by one without, and an addition.
pub(crate) fn split(flat: &mut Flat) {
    for call in std::mem::take(&mut flat.calls) {
        let bias = call.input(2).filter(|_| call.is("Conv") && call.group.is_none());
        let (Some(bias), &[output]) = (bias, call.outputs.as_slice()) else {
            flat.calls.push(call);
            continue;
        };
        let mut to = Rewriter { flat, call: &call };
        let (element, shape) = (to.element(output), to.shape(output));
        let result = to.value(element, &shape);
        let mut convolution = call.clone();
        convolution.inputs.truncate(2);
        convolution.outputs = vec![result];
        to.flat.calls.push(convolution);
        // One number for each channel, whatever the axes after it.
        let channels: Vec<usize> = [shape[1]].into_iter().chain(shape[2..].iter().map(|_| 1)).collect();
        let bias = to.reshaped(bias, &channels);
        to.push("Add", vec![], &[result, bias], output);
    }
}
