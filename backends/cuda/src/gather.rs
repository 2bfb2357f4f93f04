//! GatherND of single elements at constant places as a Gather from the flattened tensor.

use crate::expand::Rewriter;
use crate::flat::Flat;
use eutectic_ir::attr::Attr;
use eutectic_ir::tensor::Tensor;

/// Replaces every GatherND whose positions are constant and name single elements; others stay.
pub(crate) fn flatten_positions(flat: &mut Flat) {
    for call in std::mem::take(&mut flat.calls) {
        if !call.is("GatherND") || one(&mut Rewriter { flat, call: &call }).is_none() {
            flat.calls.push(call);
        }
    }
}

fn one(to: &mut Rewriter) -> Option<()> {
    let call = to.call;
    let (data, positions) = (call.input(0)?, call.input(1)?);
    let (element, shape) = (to.element(data), to.shape(data));
    let tensor = to.flat.values[positions].constant.as_ref()?;
    if call.attrs.int("batch_dims").unwrap_or(0) != 0 || tensor.shape().last() != Some(&shape.len()) || shape.is_empty()
    {
        return None;
    }
    let mut places = Vec::new();
    for position in tensor.to_i64s()?.chunks(shape.len()) {
        let mut place = 0i64;
        for (&at, &size) in position.iter().zip(&shape) {
            let size = size as i64;
            let at = if at < 0 { at + size } else { at };
            if !(0..size).contains(&at) {
                return None;
            }
            place = place * size + at;
        }
        places.push(place);
    }
    let wanted = to.shape(call.outputs[0]);
    let places = to.constant(Tensor::from_vec(&wanted, places).ok()?);
    let line = to.add("Reshape", vec![], &[data], element, &[shape.iter().product()]);
    to.push("Gather", vec![("axis", Attr::Int(0))], &[line, places], call.outputs[0]);
    Some(())
}
