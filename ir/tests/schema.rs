//! The operator table agrees with the operator schemas of ONNX, as `data/dump_schemas.py` writes them down.

use eutectic_ir::op::{AttrDef, Default, OpDef, Param};
use eutectic_ir::{Element, op, ops};
use std::collections::{BTreeMap, BTreeSet};

struct Schema<'a> {
    versions: Vec<u64>,
    inputs: Vec<Parameter<'a>>,
    outputs: Vec<Parameter<'a>>,
    attrs: BTreeMap<&'a str, &'a str>,
    types: BTreeMap<&'a str, BTreeSet<Element>>,
}

fn schemas() -> BTreeMap<&'static str, Schema<'static>> {
    include_str!("data/schemas.tsv")
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, versions, inputs, outputs, attrs, types] = fields[..] else { panic!("{line}") };
            let schema = Schema {
                versions: words(versions).map(|word| word.parse().expect(line)).collect(),
                inputs: words(inputs).map(parameter).collect(),
                outputs: words(outputs).map(parameter).collect(),
                attrs: words(attrs).map(|word| word.split_once(':').expect(line)).collect(),
                types: words(types)
                    .map(|word| word.split_once(':').expect(line))
                    .map(|(n, t)| (n, elements(t)))
                    .collect(),
            };
            (name, schema)
        })
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// Name, how often it occurs, whether occurrences may differ in type, type.
type Parameter<'a> = (&'a str, op::Arity, bool, &'a str);

fn parameter(word: &str) -> Parameter<'_> {
    let (name, ty) = word.split_once(':').expect(word);
    if let Some(name) = name.strip_suffix("*+") {
        (name, op::Arity::Variadic, true, ty)
    } else if let Some(name) = name.strip_suffix('?') {
        (name, op::Arity::Optional, false, ty)
    } else if let Some(name) = name.strip_suffix('*') {
        (name, op::Arity::Variadic, false, ty)
    } else {
        (name, op::Arity::Required, false, ty)
    }
}

fn elements(list: &str) -> BTreeSet<Element> {
    list.split(',').filter_map(Element::from_text).collect()
}

fn default_text(def: &AttrDef) -> String {
    let kind = def.kind.text();
    match def.default {
        Default::Required => format!("{kind}!"),
        Default::Absent => format!("{kind}?"),
        Default::Int(value) => format!("{kind}={value}"),
        Default::Float(value) => format!("{kind}={value}"),
        Default::String(value) => format!("{kind}=\"{value}\""),
        Default::Ints(values) => format!("{kind}={values:?}").replace(", ", ","),
        Default::Strings(values) => format!("{kind}={values:?}").replace(", ", ","),
    }
}

/// The schema's default as we write it: floats at single precision.
fn rounded(text: &str) -> String {
    match text.split_once('=') {
        Some(("float", value)) => format!("float={}", value.parse::<f32>().expect(text)),
        _ => text.to_owned(),
    }
}

fn check_parameters(
    what: &str,
    def: &OpDef,
    declared: &[Param],
    expected: &[Parameter],
    schema: &Schema,
    problems: &mut Vec<String>,
) {
    let form =
        |name: &str, arity: op::Arity, mixed: bool| format!("{name} {arity:?}{}", if mixed { " mixed" } else { "" });
    let found: Vec<String> = declared.iter().map(|param| form(param.name, param.arity, param.mixed)).collect();
    let wanted: Vec<String> = expected.iter().map(|(name, arity, mixed, _)| form(name, *arity, *mixed)).collect();
    if found != wanted {
        problems.push(format!("{}: {what}s are {found:?}, expected {wanted:?}", def.name));
        return;
    }
    for (param, (_, _, _, ty)) in declared.iter().zip(expected) {
        let wanted = match ty.strip_prefix("tensor(").and_then(|rest| rest.strip_suffix(')')) {
            Some(element) => elements(element),
            None => schema.types.get(ty).cloned().unwrap_or_default(),
        };
        // Sequences, optionals and maps are not tensors: such a parameter has no element type to declare.
        if wanted.is_empty() {
            continue;
        }
        let found: BTreeSet<Element> = def
            .types
            .iter()
            .find(|(variable, _)| *variable == param.ty)
            .map(|(_, set)| set.iter().copied().collect())
            .unwrap_or_default();
        if found != wanted {
            let extra: Vec<_> = found.difference(&wanted).collect();
            let lacking: Vec<_> = wanted.difference(&found).collect();
            problems.push(format!("{}: {what} `{}` allows also {extra:?}, lacks {lacking:?}", def.name, param.name));
        }
    }
}

/// Parameters share a type variable of ours exactly when they share one of the schema.
fn check_variables(def: &OpDef, schema: &Schema, problems: &mut Vec<String>) {
    let ours = def.inputs.iter().chain(def.outputs);
    let theirs = schema.inputs.iter().chain(&schema.outputs);
    let pairs: Vec<(&str, &str)> = ours
        .zip(theirs)
        .map(|(param, (_, _, _, ty))| (param.ty, *ty))
        .filter(|(_, ty)| !ty.contains('(') && !schema.types.get(ty).is_none_or(BTreeSet::is_empty))
        .collect();
    for (at, a) in pairs.iter().enumerate() {
        for b in &pairs[at + 1..] {
            if (a.0 == b.0) != (a.1 == b.1) {
                problems.push(format!("{}: type variables {a:?} and {b:?} are bound differently", def.name));
            }
        }
    }
}

#[test]
fn every_declaration_agrees_with_the_schema_of_onnx() {
    let schemas = schemas();
    let mut problems = Vec::new();
    let mut n_checked = 0;
    for def in ops::all() {
        let dot = if def.domain.is_empty() { "" } else { "." };
        let name = format!("{}{dot}{}", def.domain, def.name);
        let Some(schema) = schemas.get(name.as_str()) else {
            problems.push(format!("{name} is not an operator of ONNX"));
            continue;
        };
        n_checked += 1;
        if def.versions != schema.versions {
            problems.push(format!("{}: versions are {:?}, expected {:?}", def.name, def.versions, schema.versions));
        }
        check_parameters("input", def, def.inputs, &schema.inputs, schema, &mut problems);
        check_parameters("output", def, def.outputs, &schema.outputs, schema, &mut problems);
        check_variables(def, schema, &mut problems);
        let found: BTreeMap<&str, String> = def.attrs.iter().map(|attr| (attr.name, default_text(attr))).collect();
        // Sparse tensors have no place in the IR: a constant that holds one stays opaque.
        let dense = schema.attrs.iter().filter(|(_, text)| !text.starts_with("sparse_tensor"));
        let wanted: BTreeMap<&str, String> = dense.map(|(name, text)| (*name, rounded(text))).collect();
        if found != wanted {
            problems.push(format!("{}: attributes are {found:?}, expected {wanted:?}", def.name));
        }
        let documented = !def.doc.is_empty() && !def.doc.contains('\n');
        if !documented {
            problems.push(format!("{}: needs one line of documentation", def.name));
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert_eq!(n_checked, ops::all().count());
}

#[test]
fn no_operator_is_declared_twice() {
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = ops::all().filter(|def| !seen.insert((def.domain, def.name))).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
