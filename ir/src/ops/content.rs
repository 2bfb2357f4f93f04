//! Contents of small integer tensors that are computed from shapes: what calls make of them, symbolically.
//!
//! Nothing is guessed: what the form of [`Dim`] cannot express, or what depends on the values of symbols, is no content.
//! Truth values stand as 0 and 1.

use super::shape::contents;
use crate::dim::Dim;
use crate::eval::wrap;
use crate::op::{Call, Fact};
use crate::types::{Element, TensorType};

/// Contents for `fact`: the inputs broadcast, combined by `f` from left to right.
pub(super) fn fold(call: &Call, fact: &Fact, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Vec<Dim>> {
    let ty = fact.tensor()?;
    if ty.rank() > 1 {
        return None;
    }
    let mut result = contents(call.given(0)?)?;
    for index in 1..call.inputs.len() {
        let next = contents(call.given(index)?)?;
        let combined: Option<Vec<Dim>> = broadcast(&[&result, &next])?.map(|pair| f(pair[0], pair[1])).collect();
        result = combined?;
    }
    checked(ty, result)
}

/// The contents of the first input, each changed by `f`.
pub(super) fn map(call: &Call, fact: &Fact, f: impl Fn(&Dim) -> Option<Dim>) -> Option<Vec<Dim>> {
    checked(fact.tensor()?, contents(call.given(0)?)?.iter().map(f).collect::<Option<_>>()?)
}

/// Several contents read side by side, those of length 1 repeated; `None` when the lengths do not go together.
pub(super) fn broadcast<'a>(several: &[&'a Vec<Dim>]) -> Option<impl Iterator<Item = Vec<&'a Dim>>> {
    let len = several.iter().map(|content| content.len()).find(|&len| len != 1).unwrap_or(1);
    let several = several.to_vec();
    let fits = several.iter().all(|content| content.len() == len || content.len() == 1);
    let at = move |index: usize| -> Vec<&'a Dim> {
        several.iter().map(|content| if content.len() == 1 { &content[0] } else { &content[index] }).collect()
    };
    fits.then(|| (0..len).map(at))
}

/// `content` when `ty` can hold it. Symbols are sizes, and are taken to fit the types that shapes are computed in.
pub(super) fn checked(ty: &TensorType, content: Vec<Dim>) -> Option<Vec<Dim>> {
    let in_range = |dim: &Dim| match (dim.as_known(), ty.element) {
        (Some(value), Element::Bool) => value == 0 || value == 1,
        (Some(value), element) => element.is_integer() && wrap(element, value.into()) == i128::from(value),
        (None, element) => matches!(element, Element::Int32 | Element::Int64),
    };
    content.iter().all(in_range).then_some(content)
}

/// `a / b` rounded towards zero, as integers divide.
pub(super) fn div(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.as_known(), b.as_known()) {
        (Some(a), Some(b)) => a.checked_div(b).map(Dim::known),
        // Floor and truncation agree where nothing is rounded, and where nothing is negative.
        _ => a.exact_div(b).or_else(|| a.floor_div(b).filter(|_| never_negative(a) && never_negative(b))),
    }
}

/// True when no sizes make it negative, as far as its form shows.
pub(super) fn never_negative(dim: &Dim) -> bool {
    dim.lower_bound().is_some_and(|bound| bound >= 0)
}

/// `a - b * floor(a / b)` for a positive `b`.
pub(super) fn modulo(a: &Dim, b: &Dim) -> Option<Dim> {
    if !never_negative(b) {
        return None;
    }
    a.sub(&a.floor_div(b)?.mul(b)?)
}

/// The larger one, when it is so for all values of the symbols.
pub(super) fn max(a: &Dim, b: &Dim) -> Option<Dim> {
    less(a, b)
        .map(|less| if less { b.clone() } else { a.clone() })
        .or_else(|| less(b, a).filter(|less| !less).map(|_| b.clone()))
}

/// The smaller one, when it is so for all values of the symbols.
pub(super) fn min(a: &Dim, b: &Dim) -> Option<Dim> {
    less(a, b)
        .map(|less| if less { a.clone() } else { b.clone() })
        .or_else(|| less(b, a).filter(|less| !less).map(|_| a.clone()))
}

/// Element `at` of a result that is `a` or `b`: a size that nothing else is known of. `None` when one may be negative, since
/// symbols never are.
pub(super) fn either(call: &Call, at: usize, a: &Dim, b: &Dim) -> Option<Dim> {
    (never_negative(a) && never_negative(b)).then(|| Dim::fresh(&format!("{}.element", call.scope), at))
}

/// Whether `a < b`, when it is the same for all values of the symbols.
pub(super) fn less(a: &Dim, b: &Dim) -> Option<bool> {
    if never_negative(&b.sub(a)?.sub(&Dim::known(1))?) {
        return Some(true);
    }
    never_negative(&a.sub(b)?).then_some(false)
}

/// Whether `a == b`, when it is the same for all values of the symbols.
pub(super) fn equal(a: &Dim, b: &Dim) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    let apart = less(a, b) == Some(true) || less(b, a) == Some(true);
    apart.then_some(false)
}

/// The truth value that `dim` stands for, when it is known.
pub(super) fn truth(dim: &Dim) -> Option<bool> {
    equal(dim, &Dim::known(0)).map(|zero| !zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(text: &str) -> Dim {
        Dim::parse(text).expect(text)
    }

    #[test]
    fn division_truncates_and_is_not_guessed_below_zero() {
        assert_eq!(div(&dim("-7"), &dim("2")), Some(dim("-3")));
        assert_eq!(div(&dim("7"), &dim("0")), None);
        assert_eq!(div(&dim("n"), &dim("2")), Some(dim("floor(n/2)")));
        assert_eq!(div(&dim("4*n - 4"), &dim("2")), Some(dim("2*n - 2")));
        assert_eq!(div(&dim("n - 1"), &dim("2")), None);
        assert_eq!(div(&dim("n"), &dim("-2")), None);
    }

    #[test]
    fn comparisons_hold_for_every_size_or_are_not_decided() {
        assert_eq!(equal(&dim("n"), &dim("-1")), Some(false));
        assert_eq!(equal(&dim("n"), &dim("1")), None);
        assert_eq!(less(&dim("n"), &dim("n + 1")), Some(true));
        assert_eq!(less(&dim("n"), &dim("0")), Some(false));
        assert_eq!(less(&dim("0"), &dim("n")), None);
        assert_eq!(max(&dim("0"), &dim("n")), Some(dim("n")));
        assert_eq!(min(&dim("m"), &dim("n")), None);
    }
}
