//! How much of an error is a model's own: what rounding its weights and inputs alone does to its results.

use crate::certificate::run_on_cpu;
use crate::ir::diag::Diagnostics;
use crate::ir::graph::ValueId;
use crate::ir::{Element, Model, Tensor};

/// The results of `model` when each float32 weight and input is rounded to `bits` bits behind the leading one, computed in
/// float32 by the CPU backend. No program that stores numbers so can be expected to be closer to the exact results.
///
/// Errors: what the CPU backend cannot run.
pub fn with_rounded_operands(model: &Model, inputs: &[Option<Tensor>], bits: u32) -> Result<Vec<Tensor>, Diagnostics> {
    let mut model = model.clone();
    let weights: Vec<(ValueId, Tensor)> =
        model.graph.values().filter_map(|(id, value)| Some((id, rounded(value.weight()?, bits)?))).collect();
    for (id, tensor) in weights {
        // A weight that cannot be replaced stays as exact as it is.
        let _ = model.graph.set_weight(id, tensor);
    }
    let inputs: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|input| input.as_ref().map(|input| rounded(input, bits).unwrap_or_else(|| input.clone())))
        .collect();
    run_on_cpu(&model, &inputs)
}

/// `None` when there is nothing to round.
fn rounded(tensor: &Tensor, bits: u32) -> Option<Tensor> {
    if tensor.element() != Element::Float {
        return None;
    }
    let values = tensor.view::<f32>()?.iter().map(|&x| nearest(x, bits)).collect();
    Tensor::from_vec(tensor.shape(), values).ok()
}

fn nearest(x: f32, bits: u32) -> f32 {
    let dropped = f32::MANTISSA_DIGITS - 1 - bits.min(f32::MANTISSA_DIGITS - 1);
    if dropped == 0 || !x.is_finite() {
        return x;
    }
    // A carry out of the fraction raises the exponent, as it should.
    let up = x.to_bits() + (1 << (dropped - 1));
    f32::from_bits(up & !((1 << dropped) - 1))
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn numbers_lose_the_bits_that_narrow_types_do_not_have() {
        // Neighbours of 1 in float16 are 1 - 2^-11 and 1 + 2^-10, in bfloat16 1 - 2^-8 and 1 + 2^-7.
        for (x, float16, bfloat16) in [
            (1.0, 1.0, 1.0),
            (1.000_4, 1.0, 1.0),
            (1.000_6, 1.000_976_6, 1.0),
            (-1.005, -1.004_882_8, -1.007_812_5),
            (1.999_9, 2.0, 2.0),
            (0.0, 0.0, 0.0),
        ] {
            assert_eq!([nearest(x, 10), nearest(x, 7), nearest(x, 23)], [float16, bfloat16, x], "{x}");
        }
    }
}
