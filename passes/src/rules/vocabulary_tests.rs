//! Each function of the vocabulary is evaluated at least once; the last test holds that.

use super::expr::{Known, Value};
use super::vocabulary::{VOCABULARY, lookup, same_halves};
use super::{Library, Var};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attr, Dim, Element, Reason, TensorType};
use std::collections::BTreeSet;

/// Three values: `x` float [n, 4, 5], `v` a constant float [4, 1], `i` the constant integers [2, 3].
struct Values([TensorType; 3], Tensor);

impl Values {
    fn new() -> Self {
        let x = TensorType::new(Element::Float, [Dim::symbol("n"), Dim::known(4), Dim::known(5)]);
        let weight = Tensor::full(Element::Float, &[4, 1], 0.5).expect("four elements");
        Self([x, TensorType::of(Element::Float, &[4, 1]), TensorType::of(Element::Int64, &[2])], weight)
    }
}

impl Known for Values {
    fn ty(&self, var: Var) -> Result<&TensorType, Reason> {
        self.0.get(var.index()).ok_or_else(|| Reason::new("there is none"))
    }
    fn is_constant(&self, var: Var) -> bool {
        var.index() > 0
    }
    fn weight(&self, var: Var) -> Option<&Tensor> {
        (var.index() == 1).then_some(&self.1)
    }
    fn scalar(&self, var: Var) -> Option<f64> {
        (var.index() == 1).then_some(0.5)
    }
    fn splat(&self, var: Var) -> Option<f64> {
        (var.index() == 1).then_some(0.5)
    }
    fn content(&self, var: Var) -> Option<Vec<Dim>> {
        (var.index() == 2).then(|| vec![Dim::known(2), Dim::known(3)])
    }
    fn n_values(&self, _: Var) -> usize {
        1
    }
    fn same(&self, a: Var, b: Var) -> bool {
        a == b
    }
    fn precedes(&self, a: Var, b: Var) -> bool {
        a < b
    }
    fn attr(&self, _: usize, _: &str) -> Option<&Attr> {
        None
    }
}

/// What each expression gives, as text; an expression that has no value gives its reason.
const CASES: &[(&str, &str)] = &[
    ("splat (v)", "0.5"),
    ("splat (x)", "it is not a weight that is stored as one number"),
    ("const (v, i)", "true"),
    ("const (x, v)", "false"),
    ("weight (v)", "true"),
    ("weight (v, x)", "false"),
    ("same_halves (v)", "false"),
    ("same_halves (x)", "it is not a weight"),
    ("given (x)", "true"),
    ("static (v)", "true"),
    ("static (x)", "false"),
    ("same_type (x, x)", "true"),
    ("same_type (x, v)", "false"),
    ("same_shape (v, v)", "true"),
    ("broadcasts (v, x)", "true"),
    ("broadcasts (x, v)", "false"),
    ("is_float (i)", "false"),
    ("lossless (int32, double)", "true"),
    ("lossless (int32, float)", "false"),
    ("lossless (int64, double)", "false"),
    ("lossless (float16, float)", "true"),
    ("lossless (bfloat16, float16)", "false"),
    ("lossless (uint8, int8)", "false"),
    ("lossless (uint8, int16)", "true"),
    ("lossless (bool, int8)", "true"),
    ("divides (4, 12)", "true"),
    ("divides (4, 13)", "false"),
    ("divides (dim (x, 0), dim (x, 0) * 3)", "true"),
    ("divides (4, dim (x, 0))", "it is not known whether 4 divides n"),
    ("not (true_ == true_)", "false"),
    ("any (1 == 2, 2 == 2)", "true"),
    ("any (1 == 2)", "false"),
    ("precedes (x, v)", "true"),
    ("per_channel (v, x)", "true"),
    ("per_channel (x, v)", "false"),
    ("per_column (v, x)", "false"),
    ("all_equal ([1, 1], 1)", "true"),
    ("all_equal ([1, 2], 1)", "false"),
    ("non_negative ([0, -1])", "false"),
    ("rank (x)", "3"),
    ("dim (x, 0)", "n"),
    ("dim (x, -1)", "5"),
    ("dim (x, 3)", "axis 3 is out of range for rank 3"),
    ("shape (x)", "[n, 4, 5]"),
    ("elem (i)", "int64"),
    ("count (x)", "20*n"),
    ("scalar (v)", "0.5"),
    ("scalar (x)", "it is not a constant of one element"),
    ("ints (i)", "[2, 3]"),
    ("reshape_to (x, [dim (x, 0), 20])", "[0, 20]"),
    ("reshape_to (x, [4, dim (x, 0) * 5])", "[4, -1]"),
    ("reshape_to (x, [0])", "a size of 0 would stand for another dim"),
    ("reshape_to (x, [4, dim (x, 0), dim (x, 0) * 2])", "two dims are symbolic and new"),
    ("len ([7, 8])", "2"),
    ("at ([7, 8], -1)", "8"),
    ("at ([7, 8], 2)", "item 2 is out of range in a list of 2"),
    ("slice ([7, 8, 9], 0, -1)", "[7, 8]"),
    ("slice ([7, 8, 9], 2, 1)", "the slice is out of range"),
    ("concat ([7], [], [8])", "[7, 8]"),
    ("fill (2, 7)", "[7, 7]"),
    ("fill (1000000000000, 7)", "1000000000000 is no length of a list"),
    ("range (1, 3)", "[1, 2]"),
    ("range (3, 1)", "[]"),
    ("contains ([7, 8], 8)", "true"),
    ("product ([2, dim (x, 0)])", "2*n"),
    ("add ([1, 2], [3, 4])", "[4, 6]"),
    ("add ([1], [3, 4])", "lists of 1 and of 2 items do not go together"),
    ("mul ([1, 2], [3, 4])", "[3, 8]"),
    ("permute ([7, 8, 9], [2, 0, 1])", "[9, 7, 8]"),
    ("compose ([1, 2, 0], [1, 2, 0])", "[2, 0, 1]"),
    ("inverse ([1, 2, 0])", "[2, 0, 1]"),
    ("inverse ([1, 1, 0])", "it is not a permutation"),
    ("normalize ([-1, 0], 3)", "[0, 2]"),
    ("normalize ([3], 3)", "an axis is out of range for rank 3"),
    ("union ([2, 0], [1, 2])", "[0, 1, 2]"),
    ("restore ([0, 1, 2], [1, 3])", "[0, 2, 4]"),
    ("restore ([-1], [1])", "-1 is no axis from the start"),
    ("remaining ([3, 0, 2, 1], [1, 2])", "[1, 0]"),
    ("remaining ([1, 0], [2])", "an axis is out of range for rank 2"),
    ("axis (-1, 3)", "2"),
    ("outer_pads ([1, 2, 3, 4, 5, 6, 7, 8])", "[1, 2, 5, 6]"),
    ("spatial ([1, 2, 3, 4, 5, 6, 7, 8])", "[3, 4, 7, 8]"),
    ("spatial ([1, 2, 3])", "3 pads are not those of two axes and more"),
    ("moves_ones ([1, 2, 3], [1, 0, 2])", "true"),
    ("moves_ones ([2, 2, 3], [1, 0, 2])", "false"),
    ("1 / 2 * 2.0", "0"),
    ("7 % 4 - -1", "4"),
    ("9223372036854775807 + 1", "9223372036854775807 and 1 have no such result in 64 bits"),
    ("dim (x, 0) == 4", "it is not known whether n equals 4"),
    ("0.70710677 ~ 0.7071067811865476", "true"),
    ("0.7071 ~ 0.7071067811865476", "false"),
];

/// What `text` gives for a rule whose variables are those of [`Values`].
fn evaluate(text: &str) -> String {
    let text = text.replace("true_", "1");
    let condition = format!("({text}) == ({text})");
    let source = format!("/// d\nrule a : exact {{ y = Concat <axis = 0> (x, v, i) where {condition} => y = x }}");
    let mut library = Library::new();
    library.load_rules("vocabulary.rules", &source).unwrap_or_else(|problems| panic!("{text}: {problems}"));
    // Both sides of the comparison are the expression; the first of them is what is asked for.
    let super::Expr::Binary(_, expr, _) = &library.rules()[0].conditions[0].expr else { panic!("{text}") };
    match expr.evaluate(&Values::new()) {
        Ok(value) => value.to_string(),
        Err(reason) => reason.to_string(),
    }
}

#[test]
fn functions_give_what_they_say() {
    let found: Vec<(&str, String)> = CASES.iter().map(|(text, _)| (*text, evaluate(text))).collect();
    let wanted: Vec<(&str, String)> = CASES.iter().map(|(text, value)| (*text, (*value).to_owned())).collect();
    assert_eq!(found, wanted);
}

#[test]
fn every_function_has_a_case() {
    let called: BTreeSet<&str> =
        CASES.iter().filter_map(|(text, _)| text.split_once(" (").map(|(name, _)| name)).collect();
    let missing: Vec<&str> =
        VOCABULARY.iter().map(|function| function.name).filter(|name| !called.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(VOCABULARY.iter().all(|function| lookup(function.name).is_some_and(|found| std::ptr::eq(found, function))));
}

#[test]
fn an_attribute_never_rounds_a_number_of_a_double_precision_tensor() {
    let kind = eutectic_ir::AttrKind::Float;
    assert_eq!(Value::Real(0.1, Element::Float).to_attr(kind), Ok(Some(Attr::Float(0.1))));
    assert_eq!(Value::Real(0.125, Element::Double).to_attr(kind), Ok(Some(Attr::Float(0.125))));
    assert!(Value::Real(0.1, Element::Double).to_attr(kind).is_err());
}

#[test]
fn halves_are_those_of_each_row() {
    let halves = |values: &[f64]| same_halves(&Tensor::from_f64s(Element::Float, &[2, 2], values).expect("two rows"));
    assert_eq!((halves(&[1.0, 1.0, 2.0, 2.0]), halves(&[1.0, 2.0, 1.0, 2.0])), (true, false));
}
