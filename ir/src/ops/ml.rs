//! Classical machine learning: what prepares features and names classes.

use super::ML;
use super::movement::joined;
use super::pointwise::{needs_order, same_as_first};
use super::shape::overflow;
use crate::attr::{AttrKind, Attrs, Name};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Fact, Law, OpDef, Param, Reason, Work};
use crate::types::Element;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::cmp::Ordering;
use std::hash::Hash;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&ARRAY_FEATURE_EXTRACTOR, &BINARIZER, &LABEL_ENCODER];

static ARRAY_FEATURE_EXTRACTOR: OpDef = OpDef {
    name: "ArrayFeatureExtractor",
    domain: ML,
    doc: "The elements of the last axis that the indices name",
    versions: &[1],
    inputs: &[Param::required("X", "T"), Param::required("Y", "tensor(int64)")],
    outputs: &[Param::required("Z", "T")],
    types: &[
        ("T", &[Element::Float, Element::Double, Element::Int64, Element::Int32, Element::String]),
        ("tensor(int64)", &[Element::Int64]),
    ],
    infer: |call| {
        let (x, count) = (call.ty(0)?, call.ty(1)?.count().ok_or_else(overflow)?);
        let Some((_, kept)) = x.shape.split_last() else {
            return Err(Reason::new("a tensor without axes has no features"));
        };
        // A vector counts as the one row of a matrix.
        let row = [Dim::known(1)];
        let kept = if kept.is_empty() { &row[..] } else { kept };
        Ok(vec![Some(Fact::new(x.element, kept.iter().cloned().chain([count])))])
    },
    eval: eval!(extracted),
    ..OpDef::BASE
};

fn extracted<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, indices) = (call.input(0)?, call.ints(1)?);
    let Some((&n_features, kept)) = x.shape.split_last() else {
        return Err(Reason::new("a tensor without axes has no features"));
    };
    let within = |&index: &i64| usize::try_from(index).ok().filter(|&index| index < n_features);
    let places: Option<Vec<usize>> = indices.iter().map(within).collect();
    let places = places.ok_or_else(|| Reason(format!("an index of {indices:?} is out of {n_features} features")))?;
    let n_rows: usize = kept.iter().product();
    let sources = (0..n_rows).flat_map(|row| places.iter().map(move |place| Some(row * n_features + place)));
    let mut shape = if kept.is_empty() { vec![1] } else { kept.to_vec() };
    shape.push(places.len());
    Ok(vec![x.gathered(&shape, sources)?])
}

static BINARIZER: OpDef = OpDef {
    name: "Binarizer",
    domain: ML,
    doc: "1 where x > threshold, else 0",
    versions: &[1],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::float("threshold", 0.0)],
    types: &[("T", &[Element::Float, Element::Double, Element::Int64, Element::Int32])],
    infer: same_as_first,
    eval: eval!(binarized),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

fn binarized<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let x = call.input(0)?;
    let threshold = call.attrs.float("threshold").unwrap_or_default();
    Ok(vec![match &x.contents {
        // An integer exceeds a number exactly when it exceeds the integer below it.
        Contents::Int(elements) if !threshold.is_nan() => {
            let above = |&element: &i128| i128::from(element > threshold.floor() as i128);
            Datum::of_int(x.element, &x.shape, elements.iter().map(above).collect())
        }
        Contents::Int(elements) => Datum::of_int(x.element, &x.shape, vec![0; elements.len()]),
        _ => {
            let threshold = S::from_f64(threshold.into());
            let above = |&element: &S| S::from_int((element.compare(threshold) == Some(Ordering::Greater)).into());
            Datum::of_real(x.element, &x.shape, x.real()?.iter().map(above).collect())
        }
    }])
}

const LABELS: &[Element] =
    &[Element::String, Element::Int64, Element::Float, Element::Int32, Element::Int16, Element::Double];

static LABEL_ENCODER: OpDef = OpDef {
    name: "LabelEncoder",
    domain: ML,
    doc: "The value that belongs to each key; the default for what is no key",
    versions: &[1, 2, 4],
    inputs: &[Param::required("X", "T1")],
    outputs: &[Param::required("Y", "T2")],
    attrs: &[
        AttrDef::float("default_float", -0.0),
        AttrDef::int("default_int64", -1),
        AttrDef::string("default_string", "_Unused"),
        AttrDef::optional("default_tensor", AttrKind::Tensor),
        AttrDef::optional("keys_floats", AttrKind::Floats),
        AttrDef::optional("keys_int64s", AttrKind::Ints),
        AttrDef::optional("keys_strings", AttrKind::Strings),
        AttrDef::optional("keys_tensor", AttrKind::Tensor),
        AttrDef::optional("values_floats", AttrKind::Floats),
        AttrDef::optional("values_int64s", AttrKind::Ints),
        AttrDef::optional("values_strings", AttrKind::Strings),
        AttrDef::optional("values_tensor", AttrKind::Tensor),
    ],
    types: &[("T1", LABELS), ("T2", LABELS)],
    infer: |call| {
        let table = Table::read(call.attrs)?;
        let x = call.ty(0)?;
        if x.element != table.keys.element {
            return Err(Reason(format!("the keys are {}, the input is {}", table.keys.element, x.element)));
        }
        Ok(vec![Some(Fact::new(table.values.element, x.shape.iter().cloned()))])
    },
    eval: eval!(encoded),
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

/// What a `LabelEncoder` maps, in a carrier that keeps every number.
struct Table {
    keys: Datum<f64>,
    /// One for each key, then the default.
    values: Datum<f64>,
}

impl Table {
    /// Errors: keys or values are absent, given twice, of different lengths, or of another type than the default.
    fn read(attrs: &Attrs) -> Result<Table, Reason> {
        let (keys, values) = (listed(attrs, "keys")?, listed(attrs, "values")?);
        if keys.count() != values.count() {
            return Err(Reason(format!("there are {} keys and {} values", keys.count(), values.count())));
        }
        let default = default(attrs, &values)?;
        if default.element != values.element {
            return Err(Reason(format!("the values are {}, the default is {}", values.element, default.element)));
        }
        Ok(Table { keys, values: joined(&[&values, &default], 0)? })
    }
}

fn text(strings: &[Name]) -> Datum<f64> {
    let strings: Vec<Bytes> = strings.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect();
    Datum { element: Element::String, shape: vec![strings.len()], contents: Contents::Text(strings.into()) }
}

/// The one list that the attributes `what_*` give. Errors: none, or several.
fn listed(attrs: &Attrs, what: &str) -> Result<Datum<f64>, Reason> {
    let floats = attrs.floats(&format!("{what}_floats")).map(|values| {
        Ok(Datum::of_real(Element::Float, &[values.len()], values.iter().map(|&value| value.into()).collect()))
    });
    let ints = attrs.ints(&format!("{what}_int64s")).map(|values| Ok(Datum::of_i64s(&[values.len()], values)));
    let strings = attrs.strings(&format!("{what}_strings")).map(|values| Ok(text(values)));
    let tensor = attrs.tensor(&format!("{what}_tensor")).map(Datum::of_tensor);
    let mut given = [floats, ints, strings, tensor].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(one), None) => one.and_then(|one| one.reshaped(&[one.count()])),
        (first, _) => {
            let found = if first.is_some() { "several" } else { "none" };
            Err(Reason(format!("one of `{what}_*` is needed, {found} are given")))
        }
    }
}

/// What stands for everything that is no key, as a list of one.
fn default(attrs: &Attrs, values: &Datum<f64>) -> Result<Datum<f64>, Reason> {
    if let Some(tensor) = attrs.tensor("default_tensor") {
        return Datum::of_tensor(tensor)?.reshaped(&[1]);
    }
    // The defaults of lists are for lists; a tensor of values has its own in a tensor, or these.
    let in_list = attrs.tensor("values_tensor").is_none();
    Ok(match &values.contents {
        Contents::Text(_) => {
            let given = attrs.string("default_string").filter(|_| in_list);
            text(&[given.unwrap_or("_Unused").into()])
        }
        Contents::Int(_) => {
            let given = attrs.int("default_int64").filter(|_| in_list);
            Datum::of_int(values.element, &[1], vec![given.unwrap_or(-1).into()])
        }
        _ => {
            let given = attrs.float("default_float").filter(|_| in_list);
            Datum::of_real(values.element, &[1], vec![given.unwrap_or(-0.0).into()])
        }
    })
}

fn encoded<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let Table { keys, values } = Table::read(call.attrs)?;
    let n_keys = keys.count();
    let places = match (&keys.contents, &x.contents) {
        (Contents::Text(keys), Contents::Text(elements)) => found(keys.iter(), elements.iter(), n_keys),
        (Contents::Int(keys), Contents::Int(elements)) => found(keys.iter(), elements.iter(), n_keys),
        (Contents::Real(keys), Contents::Real(elements)) => {
            // Keys are compared as the carrier holds them; it may hold fewer digits than the file.
            let keys = keys.iter().map(|&key| number(S::from_f64(key).to_f64()));
            found(keys, elements.iter().map(|element| number(element.to_f64())), n_keys)
        }
        _ => return Err(Reason(format!("the keys are {}, the input is {}", keys.element, x.element))),
    };
    // The values in the carrier of the call.
    let values = Datum::<S>::of_tensor(&values.to_tensor()?)?;
    Ok(vec![values.gathered(&x.shape, places.into_iter().map(Some))?])
}

/// A number as something that equal numbers have in common: the zeros are one, and so is everything that is no number.
fn number(value: f64) -> u64 {
    match value {
        _ if value.is_nan() => f64::NAN.to_bits(),
        0.0 => 0,
        _ => value.to_bits(),
    }
}

/// For each element the position of its key, the last of equal ones; `otherwise` for what is no key.
fn found<K: Eq + Hash>(
    keys: impl Iterator<Item = K>,
    elements: impl Iterator<Item = K>,
    otherwise: usize,
) -> Vec<usize> {
    let places: FxHashMap<K, usize> = keys.zip(0..).collect();
    elements.map(|element| places.get(&element).copied().unwrap_or(otherwise)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::eval::run_tensors;
    use crate::graph::Op;
    use crate::tensor::Tensor;

    fn run(def: &'static OpDef, attrs: &[(&str, Attr)], inputs: &[Tensor]) -> Result<Tensor, String> {
        let attrs = def.complete(attrs.iter().cloned().collect()).map_err(|errors| format!("{errors:?}"))?;
        let inputs: Vec<Option<Datum<f32>>> = inputs.iter().map(|input| Datum::of_tensor(input).ok()).collect();
        let found = run_tensors(&Op::Builtin(def), &attrs, &inputs, 1).map_err(|error| error.reason.to_string())?;
        found[0].to_tensor().map_err(|reason| reason.to_string())
    }

    fn strings(values: &[&str]) -> Tensor {
        let bytes = values.iter().map(|value| Bytes::copy_from_slice(value.as_bytes())).collect();
        Tensor::from_strings(&[values.len()], bytes).expect("counted")
    }

    #[test]
    fn every_type_of_key_meets_every_type_of_value() {
        let (floats, ints) = (|values: &[f32]| Attr::Floats(values.into()), |values: &[i64]| Attr::Ints(values.into()));
        let names = |values: &[&str]| Attr::Strings(values.iter().map(|&value| value.into()).collect());
        let of = |element, values: &[f64]| Tensor::from_f64s(element, &[values.len()], values).expect("counted");
        let mut keys = vec![
            ("keys_floats", floats(&[1.5, 2.0]), Tensor::vector(&[2.0f32, 3.0, 1.5])),
            ("keys_int64s", ints(&[1, 2]), Tensor::vector(&[2i64, 3, 1])),
            ("keys_strings", names(&["one", "two"]), strings(&["two", "three", "one"])),
        ];
        let mut values = vec![
            ("values_floats", floats(&[7.5, 8.0]), Tensor::vector(&[8.0f32, -0.0, 7.5])),
            ("values_int64s", ints(&[7, 8]), Tensor::vector(&[8i64, -1, 7])),
            ("values_strings", names(&["seven", "eight"]), strings(&["eight", "_Unused", "seven"])),
            ("values_tensor", Attr::Tensor(strings(&["seven", "eight"])), strings(&["eight", "_Unused", "seven"])),
        ];
        for &element in LABELS.iter().filter(|element| **element != Element::String) {
            keys.push(("keys_tensor", Attr::Tensor(of(element, &[1.0, 2.0])), of(element, &[2.0, 3.0, 1.0])));
            let default = if element.is_real() { -0.0 } else { -1.0 };
            let expected = of(element, &[8.0, default, 7.0]);
            values.push(("values_tensor", Attr::Tensor(of(element, &[7.0, 8.0])), expected));
        }
        for (key, key_list, x) in &keys {
            for (value, value_list, expected) in &values {
                let attrs = [(*key, key_list.clone()), (*value, value_list.clone())];
                let found = run(&LABEL_ENCODER, &attrs, std::slice::from_ref(x));
                assert_eq!(found.as_ref(), Ok(expected), "{key} {value}");
            }
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts_and_nan_is_a_key() {
        let attrs = [
            ("keys_floats", Attr::Floats([f32::NAN, 0.0, -0.0].into())),
            ("values_int64s", Attr::Ints([5, 6, 7].into())),
            ("default_int64", Attr::Int(9)),
        ];
        let x = Tensor::vector(&[-f32::NAN, 0.0, -0.0, 1.0]);
        assert_eq!(run(&LABEL_ENCODER, &attrs, &[x]), Ok(Tensor::vector(&[5i64, 7, 7, 9])));
    }

    #[test]
    fn tables_that_do_not_fit_are_refused() {
        let refused = |attrs: &[(&str, Attr)]| run(&LABEL_ENCODER, attrs, &[Tensor::vector(&[1i64])]);
        let (one, two) = (Attr::Ints([1].into()), Attr::Ints([1, 2].into()));
        let text = |message: &str| Err(message.to_owned());
        assert_eq!(refused(&[("keys_int64s", one.clone())]), text("one of `values_*` is needed, none are given"));
        let both = [("keys_int64s", one.clone()), ("values_int64s", two.clone())];
        assert_eq!(refused(&both), text("there are 1 keys and 2 values"));
        let float = Attr::Tensor(Tensor::vector(&[1f32]));
        let mixed = [("keys_int64s", one.clone()), ("values_int64s", one.clone()), ("default_tensor", float)];
        assert_eq!(refused(&mixed), text("the values are int64, the default is float"));
        let twice =
            [("keys_int64s", one.clone()), ("values_int64s", one), ("values_floats", Attr::Floats([1.0].into()))];
        assert_eq!(refused(&twice), text("one of `values_*` is needed, several are given"));
    }

    #[test]
    fn integers_are_compared_with_the_threshold_exactly() {
        let large = (1i64 << 53) + 1;
        let found = |threshold: f32, x: Tensor| run(&BINARIZER, &[("threshold", Attr::Float(threshold))], &[x]);
        assert_eq!(found(9_007_199_254_740_992.0, Tensor::vector(&[large, large - 1])), Ok(Tensor::vector(&[1i64, 0])));
        assert_eq!(found(-0.5, Tensor::vector(&[0i64, -1])), Ok(Tensor::vector(&[1i64, 0])));
        assert_eq!(found(0.5, Tensor::vector(&[0.5f32, 0.75, f32::NAN])), Ok(Tensor::vector(&[0f32, 1.0, 0.0])));
    }

    #[test]
    fn features_of_a_vector_are_a_row_and_indices_stay_within() {
        let found = |indices: &[i64]| {
            run(&ARRAY_FEATURE_EXTRACTOR, &[], &[Tensor::vector(&[1f32, 2.0, 3.0]), Tensor::vector(indices)])
        };
        let row = Tensor::vector(&[3f32, 1.0]).reshape(&[1, 2]).expect("counted");
        assert_eq!(found(&[2, 0]), Ok(row));
        assert_eq!(found(&[3]), Err("an index of [3] is out of 3 features".to_owned()));
        assert_eq!(found(&[-1]), Err("an index of [-1] is out of 3 features".to_owned()));
    }
}
