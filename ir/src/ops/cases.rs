//! Inference of one call written as text, for the tests of the families.

use crate::attr::{Attr, Attrs};
use crate::dim::Dim;
use crate::op::{Argument, Call, Fact};
use crate::types::{Element, TensorType};

/// The facts that the operator `name` infers, as text: `float[n,3]`, `int64[2] = n,3` with contents, `?` when nothing is
/// known of an output; or the reason why it infers none. Inputs are written the same way, an empty text leaves one out.
pub(super) fn infer(name: &str, attrs: &[(&str, Attr)], inputs: &[&str]) -> String {
    infer_outputs(name, attrs, inputs, 1)
}

/// The same for a call with `n_outputs` outputs, separated by semicolons.
pub(super) fn infer_outputs(name: &str, attrs: &[(&str, Attr)], inputs: &[&str], n_outputs: usize) -> String {
    let def = super::lookup("", name).expect(name);
    let attrs: Attrs = attrs.iter().map(|(name, value)| (*name, value.clone())).collect();
    let attrs = def.complete(attrs).expect("attributes fit");
    let facts: Vec<Option<Fact>> = inputs.iter().map(|text| (!text.is_empty()).then(|| parse(text))).collect();
    let inputs: Vec<Option<Argument>> =
        facts.iter().map(|fact| fact.as_ref().map(|fact| Argument::new(fact, None))).collect();
    match (def.infer)(&Call { attrs: &attrs, inputs: &inputs, captures: &[], n_outputs, scope: "t" }) {
        Ok(facts) => facts.iter().map(print).collect::<Vec<_>>().join("; "),
        Err(reason) => reason.to_string(),
    }
}

fn parse(text: &str) -> Fact {
    let (ty, content) = match text.split_once(" = ") {
        Some((ty, content)) => (ty, Some(dims(content))),
        None => (text, None),
    };
    let (element, shape) = ty.strip_suffix(']').and_then(|ty| ty.split_once('[')).expect("a type");
    let ty = TensorType::new(Element::from_text(element).expect("an element type"), dims(shape));
    Fact::from(ty).with(content)
}

fn dims(text: &str) -> Vec<Dim> {
    text.split(',').filter(|text| !text.is_empty()).map(|text| Dim::parse(text).expect("a dim")).collect()
}

fn print(fact: &Option<Fact>) -> String {
    let Some(fact) = fact else { return "?".into() };
    match &fact.content {
        Some(content) => {
            let list: Vec<String> = content.iter().map(Dim::to_string).collect();
            format!("{} = {}", fact.ty, list.join(","))
        }
        None => fact.ty.to_string(),
    }
}
