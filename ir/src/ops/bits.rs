//! The bits of elements read as another type.

use super::cast::element_of_code;
use super::content;
use super::pointwise::needs_order;
use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar, wrap};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::tensor::Tensor;
use crate::types::Element::{self, *};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&BIT_CAST];

static BIT_CAST: OpDef = OpDef {
    name: "BitCast",
    doc: "The bits of each element read as the type `to`, which has the same width",
    versions: &[26],
    inputs: &[Param::required("input", "T1")],
    outputs: &[Param::required("output", "T2")],
    attrs: &[AttrDef::required("to", AttrKind::Int)],
    types: &[("T1", sets::NOT_TEXT), ("T2", sets::NOT_TEXT)],
    infer: infer_bit_cast,
    eval: eval!(bit_cast),
    work: |call, outputs| Work::pointwise(call, outputs, 0),
    // Not a view: who looks through views may take the elements for the same numbers.
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

/// The type to read as. Errors: not one, a string, or of another width.
fn target(from: Element, code: i64) -> Result<Element, Reason> {
    let to = element_of_code(code)?;
    if to.bits() != from.bits() || to == Element::String || from == Element::String {
        return Err(Reason(format!("the bits of {from} are not those of {to}")));
    }
    Ok(to)
}

fn infer_bit_cast(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let from = call.ty(0)?;
    let to = target(from.element, call.int("to")?)?;
    let fact = Fact::new(to, from.shape.iter().cloned());
    let whole = |element: Element| element.is_integer() || element == Bool;
    let content = if to.is_integer() && whole(from.element) {
        content::map(call, &fact, |x| match x.as_known() {
            Some(value) => i64::try_from(wrap(to, value.into())).ok().map(Dim::known),
            None => Some(x.clone()),
        })
    } else {
        None
    };
    Ok(vec![Some(fact.with(content))])
}

fn bit_cast<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    // A field holds residues instead of floating-point numbers.
    needs_order::<S>()?;
    let input = call.input(0)?;
    let to = target(input.element, call.int("to")?)?;
    if to == input.element {
        return Ok(vec![input.clone()]);
    }
    let next_to_one = 1.0 + f64::EPSILON;
    if (to == Double || input.element == Double) && S::from_f64(next_to_one).to_f64() != next_to_one {
        return Err(Reason(format!("{} does not hold all bits of a double", S::NAME)));
    }
    let bits = input.to_tensor()?;
    let read = Tensor::new(to, &input.shape, bits.bytes().into_owned().into());
    Ok(vec![Datum::of_tensor(&read.map_err(|error| Reason(error.to_string()))?)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::ops::cases::infer;

    fn cast<S: Scalar>(input: &Tensor, to: Element) -> Result<Tensor, Reason> {
        let attrs = [("to", Attr::Int(to.code().into()))].into_iter().collect();
        let input = Datum::<S>::of_tensor(input)?;
        let outputs = run_tensors(&Op::Builtin(&BIT_CAST), &attrs, &[Some(input)], 1);
        outputs.map_err(|error| error.reason)?[0].to_tensor()
    }

    #[test]
    fn doubles_keep_their_bits_in_double_precision_and_are_refused_in_single() {
        let (numbers, bits) = (Tensor::vector(&[0.1f64, -0.0]), Tensor::vector(&[0x3FB9_9999_9999_999Ai64, i64::MIN]));
        assert_eq!(cast::<f64>(&numbers, Int64), Ok(bits.clone()));
        assert_eq!(cast::<f64>(&bits, Double), Ok(numbers.clone()));
        assert!(cast::<f32>(&numbers, Int64).is_err() && cast::<f32>(&bits, Double).is_err());
    }

    #[test]
    fn packed_integers_keep_their_bits() {
        for (from, to) in [(Uint4, Int4), (Int4, Uint4), (Uint2, Int2), (Int2, Uint2)] {
            let bytes: Vec<u8> = if from.bits() == 4 { vec![0xF7, 0x0A] } else { vec![0b0001_1011] };
            let input = Tensor::new(from, &[3], bytes[..from.byte_len(3).expect("small")].to_vec().into());
            let (input, there) = (input.expect("complete"), |tensor: &Tensor| cast::<f32>(tensor, to).expect("bits"));
            assert_eq!(cast::<f32>(&there(&input), from), cast::<f32>(&input, from));
        }
    }

    #[test]
    fn contents_are_wrapped_and_widths_must_agree() {
        let to = |element: Element| [("to", Attr::Int(element.code().into()))];
        assert_eq!(infer("BitCast", &to(Uint32), &["int32[2] = -1,3"]), "uint32[2] = 4294967295,3");
        assert_eq!(infer("BitCast", &to(Float), &["int32[n,2]"]), "float[n,2]");
        assert_eq!(infer("BitCast", &to(Int64), &["double[n]"]), "int64[n]");
        assert_eq!(infer("BitCast", &to(Int64), &["float[n]"]), "the bits of float are not those of int64");
        assert_eq!(infer("BitCast", &to(Complex64), &["uint64[1] = 3"]), "complex64[1]");
    }
}
