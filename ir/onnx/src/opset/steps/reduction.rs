//! Functions of integers, which ended, and reductions.

use super::{Steps, cannot};
use crate::call::{Call, Facts, Operand};
use eutectic_ir::{Attr, Attrs, Element, Name};

/// Before the axes were an input, none meant all. Stands behind the step that makes them an attribute again.
pub(crate) fn without_noop(mut call: Call, _: &dyn Facts) -> Steps {
    let names_axes = call.attrs.ints("axes").is_some_and(|axes| !axes.is_empty());
    if call.attrs.flag("noop_with_empty_axes") && !names_axes {
        return cannot(&call, "reduces nothing where it names no axes");
    }
    call.attrs.remove("noop_with_empty_axes");
    Ok(vec![call])
}

/// Earlier versions took integers: the result is that of the same real numbers, truncated.
pub(crate) fn integers_as_reals(mut call: Call, facts: &dyn Facts) -> Steps {
    let Some(element) = call.inputs.first().and_then(|operand| facts.ty(operand)).map(|ty| ty.element) else {
        return Ok(vec![call]);
    };
    if !element.is_integer() {
        return Ok(vec![call]);
    }
    let (Some(output), Some(input)) = (call.outputs.first().cloned(), call.inputs.first().cloned()) else {
        return cannot(&call, "lacks an input or an output");
    };
    let (before, after) = (Name::from(format!("{output}/real")), Name::from(format!("{output}/result")));
    let to = |element: Element| -> Attrs { [("to", Attr::Int(element.code().into()))].into_iter().collect() };
    let widen = call.helper("Cast", vec![input], before.clone(), to(Element::Double));
    let narrow = call.helper("Cast", vec![Operand::Named(after.clone())], output, to(element));
    call.inputs[0] = Operand::Named(before);
    call.outputs = vec![after];
    Ok(vec![widen, call, narrow])
}
