//! Runs the small cases of ONNX's own operator tests, as `data/node_cases.py` writes them down, and random calls that
//! ONNX Runtime has computed (`data/runtime_cases.py`): through the interpreter in single and in double precision, and
//! through inference.

use bytes::Bytes;
use eutectic_ir::eval::{Contents, Datum, Scalar, run_tensors};
use eutectic_ir::op::{Argument, Call, Fact, OpDef, Operand};
use eutectic_ir::types::ElementKind;
use eutectic_ir::{Attr, Attrs, Dim, Element, Op, Tensor, TensorType, ops};
use std::collections::BTreeMap;

/// What ONNX's own test runner tolerates.
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

/// Cases that are not met, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("bernoulli", "what is drawn is random"),
    ("bernoulli_double", "what is drawn is random"),
    ("bernoulli_seed", "what is drawn is random, and the generator is not that of NumPy"),
    (
        "bitcast_float64_to_int64",
        "single precision has not all bits of a double; double precision is tested in `bits.rs`",
    ),
    (
        "bitcast_int64_to_float64",
        "single precision has not all bits of a double; double precision is tested in `bits.rs`",
    ),
    ("training_dropout", "what is dropped in training is random"),
    ("training_dropout_default", "what is dropped in training is random"),
    ("training_dropout_mask", "what is dropped in training is random"),
];

#[derive(Clone, Debug)]
enum Values {
    Real(Vec<f64>),
    Int(Vec<i128>),
    Text(Vec<String>),
}

#[derive(Clone, Debug)]
struct Expected {
    element: Element,
    shape: Vec<usize>,
    values: Values,
}

fn parse_tensor(text: &str) -> Option<Expected> {
    if text == "-" {
        return None;
    }
    let (ty, values) = text.split_once("]=").expect(text);
    let (element, dims) = ty.split_once('[').expect(text);
    let element = Element::from_text(element).expect(text);
    let shape = dims.split(',').filter(|dim| !dim.is_empty()).map(|dim| dim.parse().expect(text)).collect();
    let numbers = || {
        values.split(',').filter(|value| !value.is_empty()).flat_map(|value| {
            let (value, count) = value.split_once('*').unwrap_or((value, "1"));
            std::iter::repeat_n(value, count.parse().expect(text))
        })
    };
    let values = match element.kind() {
        ElementKind::Real => Values::Real(numbers().map(|value| value.parse().expect(text)).collect()),
        ElementKind::Text => Values::Text(strings(values)),
        _ => Values::Int(numbers().map(|value| value.parse().expect(text)).collect()),
    };
    Some(Expected { element, shape, values })
}

/// Reads a list of JSON strings, each perhaps repeated.
fn strings(mut text: &str) -> Vec<String> {
    let mut result = Vec::new();
    while let Some(rest) = text.strip_prefix('"') {
        let mut string = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next().expect("an escaped character").1 {
                    'u' => {
                        let code: String = (0..4).filter_map(|_| chars.next()).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&code, 16).expect("four digits");
                        string.push(char::from_u32(code).expect("a character"));
                    }
                    'n' => string.push('\n'),
                    't' => string.push('\t'),
                    other => string.push(other),
                },
                (_, other) => string.push(other),
            }
        };
        text = &rest[end..];
        let digits = text.strip_prefix('*').map_or(0, |text| text.find(',').unwrap_or(text.len()) + 1);
        let count = if digits == 0 { 1 } else { text[1..digits].parse().expect("a count") };
        text = text[digits..].trim_start_matches(',');
        result.extend(std::iter::repeat_n(string, count));
    }
    result
}

impl Expected {
    fn tensor(&self) -> Tensor {
        match &self.values {
            Values::Real(values) => Tensor::from_f64s(self.element, &self.shape, values).expect("complete"),
            Values::Int(values) if self.element.bits() < 8 => {
                let (bits, mask) = (self.element.bits(), (1i128 << self.element.bits()) - 1);
                let pack =
                    |chunk: &[i128]| chunk.iter().rev().fold(0u8, |byte, value| byte << bits | (value & mask) as u8);
                let bytes: Vec<u8> = values.chunks(8 / bits).map(pack).collect();
                Tensor::new(self.element, &self.shape, bytes.into()).expect("complete")
            }
            Values::Int(values) => {
                let width = self.element.bits() / 8;
                let bytes: Vec<u8> =
                    values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(width)).collect();
                Tensor::new(self.element, &self.shape, bytes.into()).expect("complete")
            }
            Values::Text(values) => {
                let strings = values.iter().map(|value| Bytes::from(value.clone())).collect();
                Tensor::from_strings(&self.shape, strings).expect("complete")
            }
        }
    }

    /// Narrow floats are compared exactly, all others as ONNX's runner does.
    fn compare<S: Scalar>(&self, found: &Datum<S>) -> Result<(), String> {
        if (found.element, &found.shape) != (self.element, &self.shape) {
            return Err(format!("{}{:?}, expected {}{:?}", found.element, found.shape, self.element, self.shape));
        }
        let (relative, absolute) = match self.element {
            Element::Bfloat16 => (1e-2, ABSOLUTE),
            element if element.bits() <= 8 => (0.0, 0.0),
            _ => (RELATIVE, ABSOLUTE),
        };
        let close =
            |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + relative * b.abs();
        let agree = match (&found.contents, &self.values) {
            (Contents::Real(a), Values::Real(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a.to_f64(), *b))
            }
            (Contents::Int(a), Values::Int(b)) => a[..] == b[..],
            (Contents::Bool(a), Values::Int(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| i128::from(*a) == *b)
            }
            (Contents::Text(a), Values::Text(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a[..] == *b.as_bytes())
            }
            _ => false,
        };
        if agree { Ok(()) } else { Err(format!("{:?}, expected {:?}", found.contents, self.values)) }
    }
}

fn parse_attr(word: &str) -> (&str, Attr) {
    let (name, value) = word.split_once('=').expect(word);
    let (kind, value) = value.split_once(':').expect(word);
    fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
        text.split(',').filter(|item| !item.is_empty()).filter_map(|item| item.parse().ok()).collect()
    }
    let attr = match kind {
        "int" => Attr::Int(value.parse().expect(word)),
        "float" => Attr::Float(value.parse().expect(word)),
        "string" => Attr::String(strings(value).pop().expect(word).into()),
        "tensor" => Attr::Tensor(parse_tensor(value).expect(word).tensor()),
        "ints" => Attr::Ints(list(value).into()),
        "strings" => Attr::Strings(strings(value).into_iter().map(Into::into).collect()),
        "floats" => Attr::Floats(list(value).into()),
        _ => panic!("{word}"),
    };
    (name, attr)
}

struct Case<'a> {
    name: &'a str,
    op: &'a str,
    attrs: Attrs,
    inputs: Vec<Option<Expected>>,
    outputs: Vec<Option<Expected>>,
}

fn parse_case(line: &str) -> Case<'_> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, op, attrs, inputs, outputs] = columns[..] else { panic!("{line}") };
    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split(' ').filter(|word| !word.is_empty())
    }
    Case {
        name,
        op,
        attrs: words(attrs).map(parse_attr).collect(),
        inputs: words(inputs).map(parse_tensor).collect(),
        outputs: words(outputs).map(parse_tensor).collect(),
    }
}

fn check_carrier<S: Scalar>(def: &'static OpDef, case: &Case, attrs: &Attrs) -> Result<(), String> {
    let read =
        |input: &Option<Expected>| input.as_ref().map(|input| Datum::<S>::of_tensor(&input.tensor())).transpose();
    let inputs = case.inputs.iter().map(read).collect::<Result<Vec<_>, _>>().map_err(|reason| reason.to_string())?;
    let found = run_tensors(&Op::Builtin(def), attrs, &inputs, case.outputs.len())
        .map_err(|error| format!("{}: {}", S::NAME, error.reason))?;
    for (expected, found) in case.outputs.iter().zip(&found) {
        if let Some(expected) = expected {
            expected.compare(found).map_err(|problem| format!("{}: {problem}", S::NAME))?;
        }
    }
    Ok(())
}

fn check_inference(def: &'static OpDef, case: &Case, attrs: &Attrs, with_constants: bool) -> Result<(), String> {
    let tensors: Vec<Option<Tensor>> = case.inputs.iter().map(|input| input.as_ref().map(Expected::tensor)).collect();
    let types: Vec<_> = tensors.iter().map(|tensor| tensor.as_ref().map(Tensor::ty)).collect();
    fn operand<'a>(ty: &'a Option<TensorType>, constant: Option<&'a Tensor>) -> Option<Argument<'a>> {
        ty.as_ref().map(|ty| Operand { ty, content: None, constant }.into())
    }
    let operands: Vec<Option<Argument>> = types
        .iter()
        .zip(&tensors)
        .map(|(ty, tensor)| operand(ty, tensor.as_ref().filter(|_| with_constants)))
        .collect();
    let call = Call { attrs, inputs: &operands, captures: &[], n_outputs: case.outputs.len(), scope: "case" };
    let facts = (def.infer)(&call).map_err(|reason| format!("inference: {reason}"))?;
    if facts.len() < case.outputs.len() {
        return Err(format!("inference: {} of {} outputs", facts.len(), case.outputs.len()));
    }
    for (expected, fact) in case.outputs.iter().zip(&facts) {
        match (expected, fact) {
            (Some(expected), Some(fact)) => agrees(expected, fact)?,
            (Some(_), None) if with_constants => return Err("inference: no type".into()),
            _ => {}
        }
    }
    Ok(())
}

fn agrees(expected: &Expected, fact: &Fact) -> Result<(), String> {
    let dim_agrees = |(dim, &size): (&Dim, &usize)| dim.as_size() == Some(size) || dim.is_unknown();
    let fits = |ty: &TensorType| {
        ty.element == expected.element
            && ty.rank() == expected.shape.len()
            && ty.shape.iter().zip(&expected.shape).all(dim_agrees)
    };
    let same = fact.tensor().is_some_and(fits);
    if !same {
        return Err(format!("inferred {}, computed {}{:?}", fact.ty, expected.element, expected.shape));
    }
    match (&fact.content, &expected.values) {
        (Some(content), Values::Int(values)) => {
            let found: Vec<Option<i64>> = content.iter().map(Dim::as_known).collect();
            let wanted: Vec<Option<i64>> = values.iter().map(|&value| i64::try_from(value).ok()).collect();
            if found == wanted { Ok(()) } else { Err(format!("inferred contents {content:?}, computed {wanted:?}")) }
        }
        (Some(_), _) => Err(format!("{} has contents", fact.ty)),
        (None, _) => Ok(()),
    }
}

fn check(def: &'static OpDef, case: &Case) -> Result<(), String> {
    let attrs = def.complete(case.attrs.clone()).map_err(|errors| format!("{errors:?}"))?;
    check_carrier::<f32>(def, case, &attrs)?;
    check_carrier::<f64>(def, case, &attrs)?;
    check_inference(def, case, &attrs, true)?;
    check_inference(def, case, &attrs, false)
}

#[test]
fn every_operator_meets_the_cases_of_onnx() {
    check_all(include_str!("data/node_cases.tsv"), EXCEPTIONS);
}

#[test]
fn operators_with_few_cases_meet_onnx_runtime() {
    check_all(include_str!("data/runtime_cases.tsv"), &[]);
}

fn check_all(cases: &str, exceptions: &[(&str, &str)]) {
    let (mut n_met, mut missing, mut failures) = (0, BTreeMap::<&str, usize>::new(), Vec::new());
    let mut unneeded: Vec<&str> = exceptions.iter().map(|(name, _)| *name).collect();
    for line in cases.lines() {
        let case = parse_case(line);
        let Some(def) = ops::lookup("", case.op) else {
            *missing.entry(case.op).or_default() += 1;
            continue;
        };
        match check(def, &case) {
            Ok(()) => n_met += 1,
            Err(_) if unneeded.contains(&case.name) => unneeded.retain(|name| *name != case.name),
            Err(problem) => failures.push(format!("{} ({}): {problem}", case.name, case.op)),
        }
    }
    let n_missing: usize = missing.values().sum();
    println!("{n_met} cases met, {n_missing} not in the table: {missing:?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(unneeded.is_empty(), "these are met after all, or gone: {unneeded:?}");
    assert!(n_met > 0, "no case was run");
}

#[test]
fn quantized_arithmetic_is_that_of_onnx_runtime() {
    let failures: Vec<String> = include_str!("data/quantized_cases.tsv")
        .lines()
        .filter_map(|line| {
            let case = parse_case(line);
            let def = ops::lookup("", case.op).expect(case.op);
            check(def, &case).err().map(|problem| format!("{}: {problem}", case.name))
        })
        .collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
