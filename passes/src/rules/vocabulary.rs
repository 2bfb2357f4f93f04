//! The functions that rules may use in conditions and attributes: pure, small, each with a line of documentation.

use super::expr::{Known, Value};
use eutectic_ir::tensor::Tensor;
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Dim, Element, Reason};
use std::fmt;

/// One function of the vocabulary.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it gives, in one line.
    pub doc: &'static str,
    /// The kinds of its arguments, in order; the last one may repeat when `is_variadic`.
    pub args: &'static [Sort],
    /// True when the last argument may repeat.
    pub is_variadic: bool,
    /// The kind of its result.
    pub result: Sort,
    /// Its value.
    pub eval: fn(&dyn Known, &[Value]) -> Result<Value, Reason>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Kinds of expressions, as far as the checker tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sort {
    Bool,
    Int,
    Real,
    Text,
    Element,
    List,
    Tensor,
    /// Anything: an attribute, or an item of a list.
    Any,
}

impl Sort {
    /// True when an expression of kind `self` can stand where `wanted` is expected.
    pub fn fits(self, wanted: Sort) -> bool {
        use Sort::{Any, Element, Int, Real};
        self == wanted || self == Any || wanted == Any || matches!((self, wanted), (Int, Real | Element))
    }
}

/// The function `name`.
pub fn lookup(name: &str) -> Option<&'static Function> {
    VOCABULARY.iter().find(|function| function.name == name)
}

macro_rules! vocabulary {
    ($($name:literal ($($arg:ident),* $(; $variadic:ident)?) -> $result:ident, $doc:literal, $eval:expr;)*) => {
        /// Every function, in the order of the documentation.
        pub static VOCABULARY: &[Function] = &[$(Function {
            name: $name,
            doc: $doc,
            args: &[$(Sort::$arg,)* $(Sort::$variadic)?],
            is_variadic: vocabulary!(@flag $($variadic)?),
            result: Sort::$result,
            eval: $eval,
        },)*];
    };
    (@flag) => { false };
    (@flag $variadic:ident) => { true };
}

vocabulary! {
    "const" (; Tensor) -> Bool, "each is a weight, or computed from weights alone; so is an input that is left out",
        |known, args| all(args, |arg| Ok(*arg == Value::Absent || known.is_constant(arg.as_var()?)));
    "weight" (; Tensor) -> Bool, "each is a weight as it stands, not computed from weights, so that what a rule builds from weights does not match it again",
        |known, args| all(args, |arg| Ok(known.weight(arg.as_var()?).is_some()));
    "same_halves" (Tensor) -> Bool, "the second half of each row of this weight is equal to the first half; rows are along the last axis",
        |known, args| {
            let weight = known.weight(args[0].as_var()?).ok_or_else(|| Reason::new("it is not a weight"))?;
            Ok(Value::Bool(same_halves(weight)))
        };
    "given" (Any) -> Bool, "the optional input or attribute is not left out",
        |_, args| Ok(Value::Bool(args[0] != Value::Absent));
    "static" (; Tensor) -> Bool, "each has a shape whose dims are all known",
        |known, args| all(args, |arg| Ok(known.ty(arg.as_var()?)?.sizes().is_some()));
    "same_type" (Tensor, Tensor) -> Bool, "both have the same element type and the same shape",
        |known, args| Ok(Value::Bool(known.ty(args[0].as_var()?)? == known.ty(args[1].as_var()?)?));
    "same_shape" (Tensor, Tensor) -> Bool, "both have the same shape",
        |known, args| Ok(Value::Bool(known.ty(args[0].as_var()?)?.shape == known.ty(args[1].as_var()?)?.shape));
    "broadcasts" (Tensor, Tensor) -> Bool, "the first broadcasts to the shape of the second, and the second is not widened",
        |known, args| broadcasts(&known.ty(args[0].as_var()?)?.shape, &known.ty(args[1].as_var()?)?.shape);
    "is_float" (Tensor) -> Bool, "its elements are floating point",
        |known, args| Ok(Value::Bool(known.ty(args[0].as_var()?)?.element.is_real()));
    "lossless" (Element, Element) -> Bool, "the second element type holds every number of the first",
        |_, args| Ok(Value::Bool(is_lossless(args[0].as_element()?, args[1].as_element()?)));
    "divides" (Int, Int) -> Bool, "the first divides the second",
        |_, args| divides(args[0].as_dim()?, args[1].as_dim()?);
    "not" (Bool) -> Bool, "the opposite",
        |_, args| Ok(Value::Bool(!args[0].as_bool()?));
    "any" (; Bool) -> Bool, "one of them holds; what cannot be told does not hold",
        |_, args| Ok(Value::Bool(args.contains(&Value::Bool(true))));
    "precedes" (Tensor, Tensor) -> Bool, "the first value comes before the second in some fixed order, so that siblings match in one order",
        |known, args| Ok(Value::Bool(known.precedes(args[0].as_var()?, args[1].as_var()?)));
    "per_channel" (Tensor, Tensor) -> Bool, "against the second, the first differs along the channel axis alone, or not at all",
        |known, args| per_channel(&known.ty(args[0].as_var()?)?.shape, &known.ty(args[1].as_var()?)?.shape);
    "per_column" (Tensor, Tensor) -> Bool, "against the second, the first differs along the last axis alone, or not at all",
        |known, args| per_axis(&known.ty(args[0].as_var()?)?.shape, &known.ty(args[1].as_var()?)?.shape, 1);
    "all_equal" (List, Any) -> Bool, "every item is this one",
        |_, args| Ok(Value::Bool(args[0].as_list()?.iter().all(|item| *item == args[1])));
    "non_negative" (List) -> Bool, "no item is below zero",
        |_, args| Ok(Value::Bool(args[0].as_ints()?.iter().all(|item| *item >= 0)));
    "rank" (Tensor) -> Int, "its number of axes",
        |known, args| Ok(Value::Int(known.ty(args[0].as_var()?)?.rank().into()));
    "dim" (Tensor, Int) -> Int, "its size along an axis, counted from the end when negative",
        |known, args| dim(known, &args[0], args[1].as_int()?);
    "shape" (Tensor) -> List, "its sizes along all axes",
        |known, args| Ok(Value::dims(known.ty(args[0].as_var()?)?.shape.iter().cloned()));
    "elem" (Tensor) -> Element, "its element type",
        |known, args| Ok(Value::Element(known.ty(args[0].as_var()?)?.element));
    "count" (Tensor) -> Int, "its number of elements",
        |known, args| known.ty(args[0].as_var()?)?.count().map(Value::Int).ok_or_else(too_large);
    "scalar" (Tensor) -> Real, "its element, when it is a constant of one element",
        |known, args| scalar(known, &args[0]);
    "splat" (Tensor) -> Real, "the number that each of its elements is, when it is a weight that is stored as this one number",
        |known, args| splat(known, &args[0]);
    "ints" (Tensor) -> List, "its elements, when it is a vector of integers that are known as dims",
        |known, args| content(known, &args[0]).map(Value::dims);
    "reshape_to" (Tensor, List) -> List, "this shape as Reshape takes it: 0 for a symbolic dim that the tensor has at the same axis, -1 for one other",
        |known, args| reshape_to(&known.ty(args[0].as_var()?)?.shape, &args[1].as_dims()?);
    "len" (List) -> Int, "number of items",
        |_, args| Ok(Value::Int(args[0].as_list()?.len().into()));
    "at" (List, Int) -> Any, "the item at a position, counted from the end when negative",
        |_, args| item(args[0].as_list()?, args[1].as_int()?);
    "slice" (List, Int, Int) -> List, "the items from one position to before another",
        |_, args| slice(args[0].as_list()?, args[1].as_int()?, args[2].as_int()?);
    "concat" (; List) -> List, "all items of all lists, in order",
        |_, args| {
            let lists = args.iter().map(Value::as_list).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::List(lists.concat()))
        };
    "fill" (Int, Any) -> List, "a list of so many equal items",
        |_, args| Ok(Value::List(vec![args[1].clone(); length(&args[0])?]));
    "range" (Int, Int) -> List, "the integers from the first to before the second",
        |_, args| range(args[0].as_int()?, args[1].as_int()?);
    "contains" (List, Any) -> Bool, "the list has this item",
        |_, args| Ok(Value::Bool(args[0].as_list()?.contains(&args[1])));
    "product" (List) -> Int, "the product of the items",
        |_, args| {
            let dims = args[0].as_dims()?;
            dims.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim)).map(Value::Int).ok_or_else(too_large)
        };
    "add" (List, List) -> List, "item by item, the sum",
        |_, args| zip(&args[0], &args[1], |a, b| a.checked_add(b));
    "mul" (List, List) -> List, "item by item, the product",
        |_, args| zip(&args[0], &args[1], |a, b| a.checked_mul(b));
    "permute" (List, List) -> List, "the items of the first list in the order that the second list gives",
        |_, args| permute(args[0].as_list()?, &args[1].as_ints()?);
    "compose" (List, List) -> List, "the permutation of a Transpose by the first and then by the second",
        |_, args| permute(args[0].as_list()?, &args[1].as_ints()?);
    "inverse" (List) -> List, "the permutation that undoes this one",
        |_, args| inverse(&args[0].as_ints()?);
    "normalize" (List, Int) -> List, "axes of a tensor of so many axes, counted from the start and sorted",
        |_, args| {
            let mut axes = normalize(&args[0].as_ints()?, args[1].as_int()?)?;
            axes.sort_unstable();
            Ok(Value::ints(axes))
        };
    "union" (List, List) -> List, "the integers of both lists, ascending, each once",
        |_, args| {
            let mut items = [args[0].as_ints()?, args[1].as_ints()?].concat();
            items.sort_unstable();
            items.dedup();
            Ok(Value::ints(items))
        };
    "restore" (List, List) -> List, "axes as counted before the axes of the second list, ascending, were taken out",
        |_, args| restore(&args[0].as_ints()?, &args[1].as_ints()?);
    "remaining" (List, List) -> List, "the permutation that is left when these axes of a Transpose's result are taken out",
        |_, args| remaining(&args[0].as_ints()?, &args[1].as_ints()?);
    "axis" (Int, Int) -> Int, "an axis of a tensor of so many axes, counted from the start",
        |_, args| Ok(Value::int(normalize(&[args[0].as_int()?], args[1].as_int()?)?[0]));
    "outer_pads" (List) -> List, "the pads of the first two axes, batch and channel, in a Pad's order",
        |_, args| halves(args[0].as_list()?, |half| half.get(..2)).map(Value::List);
    "spatial" (List) -> List, "the pads of all axes but the first two, in a Pad's order",
        |_, args| halves(args[0].as_list()?, |half| half.get(2..)).map(Value::List);
    "moves_ones" (List, List) -> Bool, "transposing a tensor of the first shape by the second moves axes of size 1 alone",
        |_, args| moves_ones_alone(&args[0].as_dims()?, &args[1].as_ints()?);
}

fn too_large() -> Reason {
    Reason::new("the number of elements exceeds 64 bits")
}

fn all(args: &[Value], mut holds: impl FnMut(&Value) -> Result<bool, Reason>) -> Result<Value, Reason> {
    for arg in args {
        if !holds(arg)? {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

// A dim that is not known to be 1 or equal might widen the other.
fn broadcasts(from: &[Dim], to: &[Dim]) -> Result<Value, Reason> {
    let Some(offset) = to.len().checked_sub(from.len()) else { return Ok(Value::Bool(false)) };
    Ok(Value::Bool(from.iter().zip(&to[offset..]).all(|(a, b)| a.is(1) || a == b)))
}

fn per_channel(from: &[Dim], to: &[Dim]) -> Result<Value, Reason> {
    let behind = to.len().checked_sub(1).filter(|behind| *behind > 0);
    per_axis(from, to, behind.ok_or_else(|| Reason::new("there is no channel axis"))?)
}

// Aligned at the last axis as broadcasting does, only the axis that is `place` from the end may have a size other than 1.
fn per_axis(from: &[Dim], to: &[Dim], place: usize) -> Result<Value, Reason> {
    if from.len() > to.len() {
        return Ok(Value::Bool(false));
    }
    let fits = |(at, dim): (usize, &Dim)| dim.is(1) || (from.len() - at == place && *dim == to[to.len() - place]);
    Ok(Value::Bool(from.iter().enumerate().all(fits)))
}

fn reshape_to(from: &[Dim], to: &[Dim]) -> Result<Value, Reason> {
    let mut is_inferred = false;
    let mut items = Vec::with_capacity(to.len());
    for (axis, dim) in to.iter().enumerate() {
        items.push(match dim.as_known() {
            Some(0) => return Err(Reason::new("a size of 0 would stand for another dim")),
            Some(size) => size,
            None if from.get(axis) == Some(dim) => 0,
            None if !std::mem::replace(&mut is_inferred, true) => -1,
            None => return Err(Reason::new("two dims are symbolic and new")),
        });
    }
    Ok(Value::ints(items))
}

fn is_lossless(from: Element, to: Element) -> bool {
    use Element::{Bfloat16, Bool, Double, Float, Float16};
    if from == to {
        return true;
    }
    // Significant bits and the largest binary exponent of each.
    let float = |element| match element {
        Bfloat16 => Some((8, 127)),
        Float16 => Some((11, 15)),
        Float => Some((24, 127)),
        Double => Some((53, 1023)),
        _ => None,
    };
    let magnitude_bits = |element: Element| element.bits() - usize::from(is_signed(element));
    match (float(from), float(to)) {
        (Some((a, i)), Some((b, j))) => a <= b && i <= j,
        (None, Some((significant, _))) => from == Bool || (from.is_integer() && magnitude_bits(from) <= significant),
        (Some(_), None) => false,
        (None, None) if from == Bool => to.is_integer(),
        (None, None) => {
            from.is_integer()
                && to.is_integer()
                && magnitude_bits(from) <= magnitude_bits(to)
                && (is_signed(to) || !is_signed(from))
        }
    }
}

fn is_signed(element: Element) -> bool {
    element.kind() == eutectic_ir::types::ElementKind::Signed
}

fn divides(a: &Dim, b: &Dim) -> Result<Value, Reason> {
    let quotient = b.floor_div(a).ok_or_else(|| Reason(format!("{b} cannot be divided by {a}")))?;
    let product = quotient.mul(a).ok_or_else(too_large)?;
    match (product == *b, product.as_known().is_some() && b.as_known().is_some()) {
        (true, _) => Ok(Value::Bool(true)),
        (false, true) => Ok(Value::Bool(false)),
        (false, false) => Err(Reason(format!("it is not known whether {a} divides {b}"))),
    }
}

fn dim(known: &dyn Known, tensor: &Value, axis: i64) -> Result<Value, Reason> {
    let ty = known.ty(tensor.as_var()?)?;
    let axis = ty.axis(axis).ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {}", ty.rank())))?;
    Ok(Value::Int(ty.shape[axis].clone()))
}

fn scalar(known: &dyn Known, tensor: &Value) -> Result<Value, Reason> {
    let var = tensor.as_var()?;
    let value = known.scalar(var).ok_or_else(|| Reason::new("it is not a constant of one element"))?;
    Ok(Value::Real(value, known.ty(var)?.element))
}

fn splat(known: &dyn Known, tensor: &Value) -> Result<Value, Reason> {
    let var = tensor.as_var()?;
    let value = known.splat(var).ok_or_else(|| Reason::new("it is not a weight that is stored as one number"))?;
    Ok(Value::Real(value, known.ty(var)?.element))
}

fn content(known: &dyn Known, tensor: &Value) -> Result<Vec<Dim>, Reason> {
    known.content(tensor.as_var()?).ok_or_else(|| Reason::new("its elements are not known"))
}

fn item(items: &[Value], at: i64) -> Result<Value, Reason> {
    let found = normalize_axis(at, items.len()).and_then(|at| items.get(at)).cloned();
    found.ok_or_else(|| Reason(format!("item {at} is out of range in a list of {}", items.len())))
}

fn slice(items: &[Value], from: i64, to: i64) -> Result<Value, Reason> {
    let end = |at: i64| usize::try_from(if at < 0 { at.saturating_add(items.len() as i64) } else { at }).ok();
    let range = end(from).zip(end(to)).and_then(|(from, to)| items.get(from..to));
    range.map(|items| Value::List(items.to_vec())).ok_or_else(|| Reason::new("the slice is out of range"))
}

// Lists have the length of a rank; the bound keeps a hostile number from exhausting memory.
fn length(value: &Value) -> Result<usize, Reason> {
    let length = value.as_int()?;
    usize::try_from(length)
        .ok()
        .filter(|&n| n <= 1024)
        .ok_or_else(|| Reason(format!("{length} is no length of a list")))
}

fn range(from: i64, to: i64) -> Result<Value, Reason> {
    length(&Value::int(to.saturating_sub(from).max(0)))?;
    Ok(Value::ints(from..to))
}

fn zip(a: &Value, b: &Value, f: impl Fn(i64, i64) -> Option<i64>) -> Result<Value, Reason> {
    let (a, b) = (a.as_ints()?, b.as_ints()?);
    if a.len() != b.len() {
        return Err(Reason(format!("lists of {} and of {} items do not go together", a.len(), b.len())));
    }
    let results: Option<Vec<i64>> = a.into_iter().zip(b).map(|(a, b)| f(a, b)).collect();
    results.map(Value::ints).ok_or_else(too_large)
}

fn permute(items: &[Value], order: &[i64]) -> Result<Value, Reason> {
    order.iter().map(|&at| item(items, at)).collect::<Result<_, _>>().map(Value::List)
}

fn inverse(permutation: &[i64]) -> Result<Value, Reason> {
    let mut inverse = vec![-1; permutation.len()];
    for (at, &axis) in permutation.iter().enumerate() {
        let slot = usize::try_from(axis).ok().and_then(|axis| inverse.get_mut(axis));
        *slot.ok_or_else(|| Reason::new("it is not a permutation"))? = at as i64;
    }
    if inverse.contains(&-1) { Err(Reason::new("it is not a permutation")) } else { Ok(Value::ints(inverse)) }
}

fn restore(axes: &[i64], taken: &[i64]) -> Result<Value, Reason> {
    let one = |&axis: &i64| {
        let place = |axis: i64, &taken: &i64| if taken <= axis { axis.checked_add(1) } else { Some(axis) };
        match axis {
            0.. => taken.iter().try_fold(axis, place).ok_or_else(too_large),
            _ => Err(Reason(format!("{axis} is no axis from the start"))),
        }
    };
    axes.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::ints)
}

fn remaining(permutation: &[i64], taken: &[i64]) -> Result<Value, Reason> {
    let rank = permutation.len() as i64;
    let (permutation, taken) = (normalize(permutation, rank)?, normalize(taken, rank)?);
    let is_kept = |at: &usize| !taken.contains(&(*at as i64));
    let kept: Vec<i64> = (0..permutation.len()).filter(is_kept).map(|at| permutation[at]).collect();
    Ok(Value::ints(kept.iter().map(|axis| kept.iter().filter(|other| *other < axis).count() as i64)))
}

/// True when the second half of each row along the last axis has the bytes of the first half.
pub(super) fn same_halves(weight: &Tensor) -> bool {
    // A large tensor is no table of positions, and reading it would take time in each match.
    const LARGEST_TABLE: usize = 1 << 24;
    let Some(row) = weight.shape().last().map(|n| n * weight.element().bits() / 8).filter(|row| row % 2 == 0) else {
        return false;
    };
    row > 0
        && weight.byte_len() <= LARGEST_TABLE
        && weight.bytes().chunks_exact(row).all(|row| {
            let (first, second) = row.split_at(row.len() / 2);
            first == second
        })
}

fn normalize(axes: &[i64], rank: i64) -> Result<Vec<i64>, Reason> {
    let rank = usize::try_from(rank).map_err(|_| Reason(format!("{rank} is no rank")))?;
    let one = |&axis: &i64| normalize_axis(axis, rank).map(|axis| axis as i64);
    axes.iter()
        .map(one)
        .collect::<Option<_>>()
        .ok_or_else(|| Reason(format!("an axis is out of range for rank {rank}")))
}

fn halves<'a>(items: &'a [Value], take: impl Fn(&'a [Value]) -> Option<&'a [Value]>) -> Result<Vec<Value>, Reason> {
    let (begins, ends) = items.split_at(items.len() / 2);
    let taken = take(begins).zip(take(ends)).filter(|_| items.len() % 2 == 0);
    taken
        .map(|(a, b)| [a, b].concat())
        .ok_or_else(|| Reason(format!("{} pads are not those of two axes and more", items.len())))
}

fn moves_ones_alone(shape: &[Dim], order: &[i64]) -> Result<Value, Reason> {
    let moved = normalize(order, shape.len() as i64)?.into_iter().filter(|&axis| !shape[axis as usize].is(1));
    Ok(Value::Bool(moved.collect::<Vec<_>>().is_sorted()))
}
