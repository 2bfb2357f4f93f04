//! Models of known operators on a few values, with attributes and weights from anywhere: what random bytes hardly make.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use eutectic_ir::{AttrKind, infer, ops, verify};
use eutectic_onnx::{ExportOptions, Limits, Policy, from_bytes, to_bytes};
use eutectic_passes::fold::{FoldBudget, fold_model};
use libfuzzer_sys::fuzz_target;

/// The bytes of a model.
#[derive(Debug)]
struct File(Vec<u8>);

impl<'a> Arbitrary<'a> for File {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut graph = field(2, b"g");
        let n_weights = u.int_in_range(0..=4)?;
        for at in 0..n_weights {
            graph.extend(field(5, &weight(u, &format!("w{at}"))?));
        }
        graph.extend(field(11, &value(u, "x")?));
        let n_nodes = u.int_in_range(1..=6)?;
        for at in 0..n_nodes {
            graph.extend(field(1, &node(u, at, n_weights)?));
        }
        let output = [field(1, format!("v{}", n_nodes - 1).as_bytes())].concat();
        graph.extend(field(12, &output));
        let opset = integer(2, u.int_in_range(7..=28)?);
        Ok(Self([integer(1, 8), field(8, &[field(1, b""), opset].concat()), field(7, &graph)].concat()))
    }
}

/// A call of an operator of the table, on values that stand before it.
fn node(u: &mut Unstructured, at: usize, n_weights: usize) -> Result<Vec<u8>> {
    let all: Vec<_> = ops::all().filter(|def| def.domain.is_empty()).collect();
    let def = *u.choose(&all)?;
    let mut bytes = field(4, def.name.as_bytes());
    for _ in 0..u.int_in_range(0..=def.inputs.len().max(1) + 1)? {
        let name = match u.int_in_range(0..=3)? {
            0 if at > 0 => format!("v{}", u.int_in_range(0..=at - 1)?),
            1 if n_weights > 0 => format!("w{}", u.int_in_range(0..=n_weights - 1)?),
            2 => String::new(),
            _ => "x".to_owned(),
        };
        bytes.extend(field(1, name.as_bytes()));
    }
    bytes.extend(field(2, format!("v{at}").as_bytes()));
    for extra in 1..u.int_in_range(1..=def.outputs.len().max(1))? {
        bytes.extend(field(2, format!("v{at}_{extra}").as_bytes()));
    }
    for attr in def.attrs {
        if u.arbitrary()? {
            bytes.extend(field(5, &attribute(u, attr.name, attr.kind)?));
        }
    }
    Ok(bytes)
}

fn attribute(u: &mut Unstructured, name: &str, kind: AttrKind) -> Result<Vec<u8>> {
    let named = |code: u64, value: Vec<u8>| [field(1, name.as_bytes()), integer(20, code), value].concat();
    Ok(match kind {
        AttrKind::Int => named(2, integer(3, number(u)? as u64)),
        AttrKind::Float => named(1, float(2, u.arbitrary()?)),
        AttrKind::Ints => {
            let n = u.int_in_range(0..=6)?;
            let numbers: Vec<Vec<u8>> = (0..n).map(|_| Ok(integer(8, number(u)? as u64))).collect::<Result<_>>()?;
            named(7, numbers.concat())
        }
        AttrKind::Tensor => named(4, field(5, &weight(u, "")?)),
        _ => {
            let text = *u.choose(&["", "SAME_UPPER", "reflect", "linear", "cubic", "ij->ji", "i,j->", "tf_crop_and_resize"])?;
            named(3, field(4, text.as_bytes()))
        }
    })
}

/// Mostly small, sometimes at the ends of what fits.
fn number(u: &mut Unstructured) -> Result<i64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => *u.choose(&[i64::MIN, i64::MAX, i64::MIN + 1, 1 << 31, 1 << 32, -(1 << 31), 1 << 62])?,
        1 => u.arbitrary()?,
        _ => u.int_in_range(-3..=8)?,
    })
}

fn dims(u: &mut Unstructured) -> Result<Vec<u64>> {
    let rank = u.int_in_range(0..=4)?;
    (0..rank).map(|_| u.int_in_range(0..=4)).collect()
}

fn value(u: &mut Unstructured, name: &str) -> Result<Vec<u8>> {
    let element = *u.choose(&[1u64, 7, 6, 9, 2, 10, 11])?;
    let mut shape = Vec::new();
    for dim in dims(u)? {
        let dim = if u.ratio(1, 8)? { integer(1, number(u)? as u64) } else { integer(1, dim) };
        shape.extend(field(1, &dim));
    }
    let tensor = [integer(1, element), field(2, &shape)].concat();
    Ok([field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat())
}

fn weight(u: &mut Unstructured, name: &str) -> Result<Vec<u8>> {
    let dims = dims(u)?;
    let count: u64 = dims.iter().product();
    let (element, raw): (u64, Vec<u8>) = match u.int_in_range(0..=3)? {
        0 => (7, (0..count).map(|_| Ok(number(u)?.to_le_bytes())).collect::<Result<Vec<_>>>()?.concat()),
        1 => (9, (0..count).map(|_| Ok(u8::from(u.arbitrary::<bool>()?))).collect::<Result<_>>()?),
        2 => (6, (0..count).map(|_| Ok((number(u)? as i32).to_le_bytes())).collect::<Result<Vec<_>>>()?.concat()),
        _ => (1, (0..count).map(|_| Ok((number(u)? as f32).to_le_bytes())).collect::<Result<Vec<_>>>()?.concat()),
    };
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| integer(1, dim)).collect();
    Ok([dims, integer(2, element), field(8, name.as_bytes()), field(9, &raw)].concat())
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn integer(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn float(number: u64, value: f32) -> Vec<u8> {
    [varint(number << 3 | 5), value.to_le_bytes().to_vec()].concat()
}

fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

fuzz_target!(|file: File| {
    let Ok((mut model, _)) = from_bytes(file.0.into(), &Limits::stated(), &Policy::interactive()) else { return };
    let _ = verify::verify(&model);
    infer::infer(&mut model);
    fold_model(&mut model, FoldBudget { tensor: 1 << 20, total: 1 << 22 });
    let _ = to_bytes(&model, &ExportOptions { opset: None, external_data: false });
});
