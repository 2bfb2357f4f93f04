//! GatherND of single elements at constant places as a Gather from the flattened tensor.

use crate::attention::push;
use crate::flat::{Flat, FlatCall, Known};
use eutectic_ir::attr::Attr;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::Element;

/// Replaces every GatherND whose positions are constant and name single elements; others stay and are refused later.
pub(crate) fn flatten_positions(flat: &mut Flat) {
    for call in std::mem::take(&mut flat.calls) {
        if !call.is("GatherND") || one(flat, &call).is_none() {
            flat.calls.push(call);
        }
    }
}

fn one(flat: &mut Flat, call: &FlatCall) -> Option<()> {
    let (data, positions) = (call.input(0)?, call.input(1)?);
    let Known { element, shape, .. } = flat.values[data].clone();
    let tensor = flat.values[positions].constant.as_ref()?;
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
    let wanted = flat.values[call.outputs[0]].shape.clone();
    let places = Tensor::from_vec(&wanted, places).ok()?;
    flat.values.push(Known { element, shape: vec![shape.iter().product()], constant: None });
    let line = flat.values.len() - 1;
    flat.values.push(Known { element: Element::Int64, shape: wanted, constant: Some(places) });
    let places = flat.values.len() - 1;
    push(flat, call, "Reshape", vec![], &[data], line);
    push(flat, call, "Gather", vec![("axis", Attr::Int(0))], &[line, places], call.outputs[0]);
    Some(())
}
