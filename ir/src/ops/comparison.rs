//! Comparison, logic, bits and selection, element by element over broadcast inputs.

use super::content;
use super::pointwise::{
    binary_numeric, broadcast, broadcast_all, broadcast_dims, broadcast_to_bool, mismatch, needs_order, same_as_first,
    zip,
};
use super::shape::{MOST_CONTENTS, contents};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Scalar};
use crate::op::{AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::types::Element::{self, *};
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[
    &EQUAL,
    &LESS,
    &LESS_OR_EQUAL,
    &GREATER,
    &GREATER_OR_EQUAL,
    &AND,
    &OR,
    &XOR,
    &NOT,
    &WHERE,
    &BITWISE_AND,
    &BITWISE_OR,
    &BITWISE_XOR,
    &BITWISE_NOT,
    &BIT_SHIFT,
];

const COMPARISON: OpDef = OpDef {
    inputs: &[Param::required("A", "T"), Param::required("B", "T")],
    outputs: &[Param::required("C", "T1")],
    types: &[("T", sets::NUMERIC), ("T1", sets::BOOL)],
    work: |call, outputs| Work::pointwise(call, outputs, 1),
    laws: &[Law::Pointwise],
    ..OpDef::BASE
};

const COMPARABLE: &[Element] = &[
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Float16,
    Float,
    Double,
    Bfloat16,
    Element::String,
];

static EQUAL: OpDef = OpDef {
    name: "Equal",
    doc: "c = whether a equals b; NaN equals nothing",
    versions: &[1, 7, 11, 13, 19],
    types: &[("T", COMPARABLE), ("T1", sets::BOOL)],
    infer: |call| broadcast_to_bool(call, content::equal),
    eval: eval!(equal),
    laws: &[Law::Pointwise, Law::Commutative],
    ..COMPARISON
};

fn equal<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let shape = broadcast(&[a, b])?;
    let (left, right) = (a.shape.as_slice(), b.shape.as_slice());
    let truths = match (&a.contents, &b.contents) {
        (Contents::Real(x), Contents::Real(y)) => zip(left, x, right, y, &shape, |x: S, y: S| x == y),
        (Contents::Int(x), Contents::Int(y)) => zip(left, x, right, y, &shape, |x, y| x == y),
        (Contents::Bool(x), Contents::Bool(y)) => zip(left, x, right, y, &shape, |x, y| x == y),
        (Contents::Text(x), Contents::Text(y)) => {
            let pairs = Broadcast::new(left, &shape);
            let others = Broadcast::new(right, &shape);
            pairs.offsets().zip(others.offsets()).map(|(i, j)| x[i] == y[j]).collect()
        }
        _ => return Err(mismatch(a, b)),
    };
    Ok(vec![Datum::of_bool(&shape, truths)])
}

/// Whether the order of each pair is one that `test` accepts; NaN has none.
fn ordered<S: Scalar>(call: &EvalCall<S>, test: impl Fn(Ordering) -> bool) -> Result<Vec<Datum<S>>, Reason> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let shape = broadcast(&[a, b])?;
    let truths = match (&a.contents, &b.contents) {
        (Contents::Real(x), Contents::Real(y)) => {
            needs_order::<S>()?;
            zip(&a.shape, x, &b.shape, y, &shape, |x: S, y: S| x.compare(y).is_some_and(&test))
        }
        (Contents::Int(x), Contents::Int(y)) => zip(&a.shape, x, &b.shape, y, &shape, |x, y| test(x.cmp(&y))),
        _ => return Err(mismatch(a, b)),
    };
    Ok(vec![Datum::of_bool(&shape, truths)])
}

static LESS: OpDef = OpDef {
    name: "Less",
    doc: "c = whether a < b",
    versions: &[1, 7, 9, 13],
    infer: |call| broadcast_to_bool(call, content::less),
    eval: eval!(less),
    ..COMPARISON
};

fn less<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    ordered(call, Ordering::is_lt)
}

static LESS_OR_EQUAL: OpDef = OpDef {
    name: "LessOrEqual",
    doc: "c = whether a <= b",
    versions: &[12, 16],
    infer: |call| broadcast_to_bool(call, |a, b| content::less(b, a).map(|less| !less)),
    eval: eval!(less_or_equal),
    ..COMPARISON
};

fn less_or_equal<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    ordered(call, Ordering::is_le)
}

static GREATER: OpDef = OpDef {
    name: "Greater",
    doc: "c = whether a > b",
    versions: &[1, 7, 9, 13],
    infer: |call| broadcast_to_bool(call, |a, b| content::less(b, a)),
    eval: eval!(greater),
    ..COMPARISON
};

fn greater<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    ordered(call, Ordering::is_gt)
}

static GREATER_OR_EQUAL: OpDef = OpDef {
    name: "GreaterOrEqual",
    doc: "c = whether a >= b",
    versions: &[12, 16],
    infer: |call| broadcast_to_bool(call, |a, b| content::less(a, b).map(|less| !less)),
    eval: eval!(greater_or_equal),
    ..COMPARISON
};

fn greater_or_equal<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    ordered(call, Ordering::is_ge)
}

const LOGIC: OpDef = OpDef {
    types: &[("T", sets::BOOL), ("T1", sets::BOOL)],
    versions: &[1, 7],
    laws: &[Law::Pointwise, Law::Commutative],
    ..COMPARISON
};

fn logic<S: Scalar>(call: &EvalCall<S>, f: impl Fn(bool, bool) -> bool) -> Result<Vec<Datum<S>>, Reason> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let shape = broadcast(&[a, b])?;
    Ok(vec![Datum::of_bool(&shape, zip(&a.shape, a.bool()?, &b.shape, b.bool()?, &shape, f))])
}

fn infer_logic(call: &Call, f: impl Fn(bool, bool) -> bool) -> Result<Vec<Option<Fact>>, Reason> {
    broadcast_to_bool(call, |a, b| Some(f(content::truth(a)?, content::truth(b)?)))
}

static AND: OpDef = OpDef {
    name: "And",
    doc: "c = a and b",
    infer: |call| infer_logic(call, |a, b| a && b),
    eval: eval!(and),
    ..LOGIC
};

fn and<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    logic(call, |a, b| a && b)
}

static OR: OpDef =
    OpDef { name: "Or", doc: "c = a or b", infer: |call| infer_logic(call, |a, b| a || b), eval: eval!(or), ..LOGIC };

fn or<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    logic(call, |a, b| a || b)
}

static XOR: OpDef = OpDef {
    name: "Xor",
    doc: "c = either a or b",
    infer: |call| infer_logic(call, |a, b| a != b),
    eval: eval!(xor),
    ..LOGIC
};

fn xor<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    logic(call, |a, b| a != b)
}

static NOT: OpDef = OpDef {
    name: "Not",
    doc: "y = not x",
    versions: &[1],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::BOOL)],
    infer: infer_not,
    eval: eval!(not),
    ..COMPARISON
};

fn infer_not(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let fact = Fact::from(call.ty(0)?.clone());
    let content = content::map(call, &fact, |x| content::truth(x).map(|truth| Dim::known(i64::from(!truth))));
    Ok(vec![Some(fact.with(content))])
}

fn not<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    Ok(vec![Datum::of_bool(&x.shape, x.bool()?.iter().map(|x| !x).collect())])
}

static WHERE: OpDef = OpDef {
    name: "Where",
    doc: "output = x where the condition holds, y elsewhere",
    versions: &[9, 16],
    inputs: &[Param::required("condition", "B"), Param::required("X", "T"), Param::required("Y", "T")],
    outputs: &[Param::required("output", "T")],
    types: &[
        ("B", sets::BOOL),
        (
            "T",
            &[
                Bool,
                Uint8,
                Uint16,
                Uint32,
                Uint64,
                Int8,
                Int16,
                Int32,
                Int64,
                Float16,
                Float,
                Double,
                Bfloat16,
                Element::String,
                Complex64,
                Complex128,
            ],
        ),
    ],
    infer: infer_where,
    eval: eval!(select),
    ..COMPARISON
};

fn infer_where(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let fact = Fact::new(call.ty(1)?.element, broadcast_dims(call, 0..3)?);
    let content = where_content(call, &fact);
    Ok(vec![Some(fact.with(content))])
}

fn where_content(call: &Call, fact: &Fact) -> Option<Vec<Dim>> {
    let ty = fact.tensor()?;
    if ty.rank() > 1 {
        return None;
    }
    let (x, y) = (contents(call.given(1)?)?, contents(call.given(2)?)?);
    let given = call.given(0)?;
    let condition = match contents(given) {
        Some(condition) => condition,
        // A symbol is neither true nor false for all sizes.
        None => vec![Dim::symbol("?"); given.ty.count()?.as_size().filter(|&length| length <= MOST_CONTENTS)?],
    };
    let pick = |(at, parts): (usize, Vec<&Dim>)| {
        let [condition, x, y] = parts[..] else { return None };
        if x == y {
            return Some(x.clone());
        }
        let chosen = content::truth(condition).map(|holds| if holds { x } else { y }.clone());
        chosen.or_else(|| content::either(call, at, x, y))
    };
    content::checked(ty, content::broadcast(&[&condition, &x, &y])?.enumerate().map(pick).collect::<Option<_>>()?)
}

fn select<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (condition, x, y) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let shape = broadcast(&[condition, x, y])?;
    let holds = condition.bool()?;
    let walks = [condition, x, y].map(|datum| Broadcast::new(&datum.shape, &shape));
    let walk = walks[0].offsets().zip(walks[1].offsets()).zip(walks[2].offsets());
    let places = walk.map(|((at, i), j)| if holds[at] { Ok(i) } else { Err(j) });
    fn pick<T: Clone>(x: &[T], y: &[T], places: impl Iterator<Item = Result<usize, usize>>) -> Vec<T> {
        places.map(|place| place.map_or_else(|j| y[j].clone(), |i| x[i].clone())).collect()
    }
    let contents = match (&x.contents, &y.contents) {
        (Contents::Real(x), Contents::Real(y)) => Contents::Real(pick(x, y, places).into()),
        (Contents::Int(x), Contents::Int(y)) => Contents::Int(pick(x, y, places).into()),
        (Contents::Bool(x), Contents::Bool(y)) => Contents::Bool(pick(x, y, places).into()),
        (Contents::Text(x), Contents::Text(y)) => Contents::Text(pick(x, y, places).into()),
        (Contents::Complex(x), Contents::Complex(y)) => Contents::Complex(pick(x, y, places).into()),
        _ => return Err(mismatch(x, y)),
    };
    Ok(vec![Datum { element: x.element, shape, contents }])
}

const BITWISE: OpDef = OpDef {
    versions: &[18],
    outputs: &[Param::required("C", "T")],
    types: &[("T", sets::INTEGER)],
    infer: broadcast_all,
    laws: &[Law::Pointwise, Law::Commutative],
    ..COMPARISON
};

/// For the bits of integers, which are the same however wide the two's complement.
fn bitwise<S: Scalar>(call: &EvalCall<S>, f: impl Fn(i128, i128) -> i128) -> Result<Vec<Datum<S>>, Reason> {
    call.input(0)?.int()?;
    binary_numeric(call, |a, _| a, |a, b| Ok(f(a, b)))
}

static BITWISE_AND: OpDef =
    OpDef { name: "BitwiseAnd", doc: "c = the bits set in a and in b", eval: eval!(bitwise_and), ..BITWISE };

fn bitwise_and<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    bitwise(call, |a, b| a & b)
}

static BITWISE_OR: OpDef =
    OpDef { name: "BitwiseOr", doc: "c = the bits set in a or in b", eval: eval!(bitwise_or), ..BITWISE };

fn bitwise_or<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    bitwise(call, |a, b| a | b)
}

static BITWISE_XOR: OpDef =
    OpDef { name: "BitwiseXor", doc: "c = the bits set in either a or b", eval: eval!(bitwise_xor), ..BITWISE };

fn bitwise_xor<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    bitwise(call, |a, b| a ^ b)
}

static BITWISE_NOT: OpDef = OpDef {
    name: "BitwiseNot",
    doc: "y = the bits not set in x",
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    infer: same_as_first,
    eval: eval!(bitwise_not),
    laws: &[Law::Pointwise],
    ..BITWISE
};

fn bitwise_not<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    Ok(vec![Datum::of_int(x.element, &x.shape, x.int()?.iter().map(|x| !x).collect())])
}

static BIT_SHIFT: OpDef = OpDef {
    name: "BitShift",
    doc: "z = the bits of x shifted by y places, to the left or to the right; copies of the sign bit or zeros move in",
    versions: &[11, 28],
    inputs: &[Param::required("X", "T"), Param::required("Y", "T")],
    outputs: &[Param::required("Z", "T")],
    attrs: &[AttrDef::required("direction", crate::attr::AttrKind::String)],
    infer: |call| to_the_left(call.attrs.string("direction")).and_then(|_| broadcast_all(call)),
    eval: eval!(bit_shift),
    laws: &[Law::Pointwise],
    ..BITWISE
};

fn to_the_left(direction: Option<&str>) -> Result<bool, Reason> {
    match direction {
        Some("LEFT") => Ok(true),
        Some("RIGHT") => Ok(false),
        other => Err(Reason(format!("`direction` is `LEFT` or `RIGHT`, found `{}`", other.unwrap_or_default()))),
    }
}

fn bit_shift<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let left = to_the_left(call.attrs.string("direction"))?;
    // Elements are at most 64 bits wide: a longer shift, or a negative one, leaves zeros or copies of the sign bit.
    bitwise(call, |x, places| match (u32::try_from(places).ok().filter(|&places| places < 64), left) {
        (Some(places), true) => x << places,
        (Some(places), false) => x >> places,
        (None, true) => 0,
        (None, false) => x >> 127,
    })
}

#[cfg(test)]
mod tests {
    use crate::ops::cases::infer;

    #[test]
    fn the_shape_that_exporters_build_for_expand_stays_symbolic() {
        // PyTorch writes expand(n, -1, 4) as Where(Equal(shape, -1), ones, shape).
        let test = infer("Equal", &[], &["int64[3] = n,-1,4", "int64[] = -1"]);
        assert_eq!(test, "bool[3] = 0,1,0");
        let shape = infer("Where", &[], &[&test, "int64[3] = 1,1,1", "int64[3] = n,-1,4"]);
        assert_eq!(shape, "int64[3] = n,1,4");
    }

    #[test]
    fn what_depends_on_a_size_is_not_decided() {
        assert_eq!(infer("Equal", &[], &["int64[1] = n", "int64[1] = 1"]), "bool[1]");
        assert_eq!(infer("Less", &[], &["int64[] = n", "int64[] = 0"]), "bool[] = 0");
        let either = "int64[2] = ?t.element.0,3";
        assert_eq!(infer("Where", &[], &["bool[2]", "int64[2] = n,3", "int64[2] = m,3"]), either);
        assert_eq!(infer("Where", &[], &["bool[1]", "int64[1] = n", "int64[1] = -1"]), "int64[1]");
    }
}
