//! Products of matrices.

use crate::dim::Dim;
use crate::eval;
use crate::eval::{Broadcast, Contents, Datum, EvalCall, Scalar, broadcast_shape};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work, sets};
use crate::ops::pointwise::{broadcast_dim, zip};
use crate::ops::shape::count_of;
use crate::types::{Element, TensorType};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&MATMUL, &GEMM];

/// The element types of both.
const TYPES: &[Element] = sets::HIGH_PRECISION;

static MATMUL: OpDef = OpDef {
    name: "MatMul",
    doc: "The matrix product of the last two axes, the others broadcast; a vector is a row on the left, a column on the right",
    versions: &[1, 9, 13],
    inputs: &[Param::required("A", "T"), Param::required("B", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", TYPES)],
    infer: infer_matmul,
    eval: eval!(matmul),
    work: |call, outputs| {
        let terms = call.given(0)?.ty.shape.last()?.clone();
        Work::streaming(call, outputs, outputs.first()?.count()?.mul(&terms)?.mul(&Dim::known(2))?)
    },
    ..OpDef::BASE
};

fn infer_matmul(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (a, b) = (call.ty(0)?, call.ty(1)?);
    Ok(vec![Some(Fact::new(a.element, product_dims(call, a, b)?))])
}

/// The shape of the matrix product of `a` and `b` as `MatMul` defines it. Errors: dims disagree.
pub(super) fn product_dims(call: &Call, a: &TensorType, b: &TensorType) -> Result<Vec<Dim>, Reason> {
    let (left, right) = (Side::left(&a.shape)?, Side::right(&b.shape)?);
    if let (Some(x), Some(y)) = (left.inner.as_known(), right.inner.as_known())
        && x != y
    {
        return Err(Reason(format!("{x} columns of {a} meet {y} rows of {b}")));
    }
    let rank = left.batch.len().max(right.batch.len());
    let at = |batch: &[Dim], axis: usize| {
        let missing = rank - batch.len();
        if axis < missing { Dim::known(1) } else { batch[axis - missing].clone() }
    };
    let mut shape = Vec::with_capacity(rank + 2);
    for axis in 0..rank {
        let (x, y) = (at(left.batch, axis), at(right.batch, axis));
        match broadcast_dim(&x, &y) {
            Some(dim) => shape.push(dim.unwrap_or_else(|| call.fresh(axis))),
            None => return Err(Reason(format!("dims {x} and {y} do not broadcast at axis {axis}"))),
        }
    }
    shape.extend(left.outer.into_iter().chain(right.outer).cloned());
    Ok(shape)
}

/// One factor: its batch axes, the axis that stays and the axis that is summed over.
struct Side<'a, D> {
    batch: &'a [D],
    outer: Option<&'a D>,
    inner: &'a D,
}

impl<'a, D> Side<'a, D> {
    fn left(shape: &'a [D]) -> Result<Self, Reason> {
        match shape {
            [] => Err(Reason::new("a scalar has no matrix product")),
            [inner] => Ok(Self { batch: &[], outer: None, inner }),
            [batch @ .., outer, inner] => Ok(Self { batch, outer: Some(outer), inner }),
        }
    }

    fn right(shape: &'a [D]) -> Result<Self, Reason> {
        match shape {
            [] => Err(Reason::new("a scalar has no matrix product")),
            [inner] => Ok(Self { batch: &[], outer: None, inner }),
            [batch @ .., inner, outer] => Ok(Self { batch, outer: Some(outer), inner }),
        }
    }
}

fn matmul<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    Ok(vec![product_of(call.input(0)?, call.input(1)?)?])
}

/// The matrix product as `MatMul` defines it. Errors: dims disagree, too many elements.
pub(super) fn product_of<S: Scalar>(a: &Datum<S>, b: &Datum<S>) -> Result<Datum<S>, Reason> {
    let (left, right) = (Side::left(&a.shape)?, Side::right(&b.shape)?);
    let fail = || Reason(format!("the shapes {:?} and {:?} have no product", a.shape, b.shape));
    let terms = *left.inner;
    if terms != *right.inner {
        return Err(fail());
    }
    let batch = broadcast_shape([left.batch, right.batch]).ok_or_else(fail)?;
    let (rows, columns) = (left.outer.copied().unwrap_or(1), right.outer.copied().unwrap_or(1));
    let outer: Vec<usize> = left.outer.into_iter().chain(right.outer).copied().collect();
    let shape = [batch.as_slice(), &outer].concat();
    count_of(&shape)?;
    let matrices: Vec<(usize, usize)> = Broadcast::new(left.batch, &batch)
        .offsets()
        .zip(Broadcast::new(right.batch, &batch).offsets())
        .map(|(at_a, at_b)| (at_a * rows * terms, at_b * terms * columns))
        .collect();
    let form = Form { matrices: &matrices, rows, terms, columns };
    match (&a.contents, &b.contents) {
        (Contents::Real(x), Contents::Real(y)) => {
            let dot = |x: &[S], y: &[S]| S::dot(x.iter().copied().zip(y.iter().copied()));
            Ok(Datum::of_real(a.element, &shape, form.products(x, y, dot)))
        }
        (Contents::Int(x), Contents::Int(y)) => {
            // Only the low bits are kept in the end, so that wrapping on the way does no harm.
            let dot = |x: &[i128], y: &[i128]| {
                x.iter().zip(y).fold(0i128, |sum, (x, y)| sum.wrapping_add(x.wrapping_mul(*y)))
            };
            Ok(Datum::of_int(a.element, &shape, form.products(x, y, dot)))
        }
        _ => Err(Reason(format!("{} and {} do not go together", a.element, b.element))),
    }
}

/// Which matrices are multiplied: where each pair starts, and their common size.
struct Form<'a> {
    matrices: &'a [(usize, usize)],
    rows: usize,
    terms: usize,
    columns: usize,
}

impl Form<'_> {
    fn products<T: Copy>(&self, a: &[T], b: &[T], dot: impl Fn(&[T], &[T]) -> T) -> Vec<T> {
        let mut results = Vec::with_capacity(self.matrices.len() * self.rows * self.columns);
        for &(at_a, at_b) in self.matrices {
            // Columns become rows first, so that both operands of the inner loop are contiguous.
            let at = |column: usize, term: usize| b[at_b + term * self.columns + column];
            let turned: Vec<T> =
                (0..self.columns).flat_map(|column| (0..self.terms).map(move |term| at(column, term))).collect();
            for row in 0..self.rows {
                let left = &a[at_a + row * self.terms..][..self.terms];
                results.extend((0..self.columns).map(|column| dot(left, &turned[column * self.terms..][..self.terms])));
            }
        }
        results
    }
}

static GEMM: OpDef = OpDef {
    name: "Gemm",
    doc: "alpha * A' * B' + beta * C, where A' and B' are A and B or their transposes",
    versions: &[1, 6, 7, 9, 11, 13],
    inputs: &[Param::required("A", "T"), Param::required("B", "T"), Param::optional("C", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::float("alpha", 1.0),
        AttrDef::float("beta", 1.0),
        AttrDef::int("transA", 0),
        AttrDef::int("transB", 0),
    ],
    types: &[("T", TYPES)],
    infer: infer_gemm,
    eval: eval!(gemm),
    work: |call, outputs| {
        let axis = usize::from(!call.attrs.flag("transA"));
        let terms = call.given(0)?.ty.shape.get(axis)?.clone();
        Work::streaming(call, outputs, outputs.first()?.count()?.mul(&terms)?.mul(&Dim::known(2))?)
    },
    ..OpDef::BASE
};

fn infer_gemm(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let matrix = |index: usize, turned: bool| -> Result<(&Dim, &Dim), Reason> {
        match (call.ty(index)?.shape.as_slice(), turned) {
            ([rows, columns], false) | ([columns, rows], true) => Ok((rows, columns)),
            _ => Err(Reason(format!("input {index} is no matrix but {}", call.ty(index)?))),
        }
    };
    let (rows, terms) = matrix(0, call.attrs.flag("transA"))?;
    let (other_terms, columns) = matrix(1, call.attrs.flag("transB"))?;
    if terms.as_known().zip(other_terms.as_known()).is_some_and(|(a, b)| a != b) {
        return Err(Reason(format!("{terms} columns of input 0 meet {other_terms} rows of input 1")));
    }
    let ty = TensorType::new(call.ty(0)?.element, [rows.clone(), columns.clone()]);
    if let Some(c) = call.given(2) {
        let missing = 2usize.checked_sub(c.ty.rank());
        let spread = |missing: usize| {
            c.ty.shape
                .iter()
                .zip(&ty.shape[missing..])
                .all(|(dim, to)| dim.is(1) || dim.as_known().zip(to.as_known()).is_none_or(|(dim, to)| dim == to))
        };
        if !missing.is_some_and(spread) {
            return Err(Reason(format!("input 2 of type {} does not broadcast to {ty}", c.ty)));
        }
    }
    Ok(vec![Some(ty.into())])
}

fn gemm<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let matrix = |index: usize, turned: bool| {
        let x = call.input(index)?;
        match (x.rank(), turned) {
            (2, true) => super::movement::transposed(x, &[1, 0]),
            (2, false) => Ok(x.clone()),
            (rank, _) => Err(Reason(format!("input {index} has {rank} axes, two are expected"))),
        }
    };
    let product = product_of(&matrix(0, call.attrs.flag("transA"))?, &matrix(1, call.attrs.flag("transB"))?)?;
    let (alpha, beta) = (call.attrs.float("alpha").unwrap_or(1.0), call.attrs.float("beta").unwrap_or(1.0));
    let c = call.given(2);
    let fits = |c: &Datum<S>| broadcast_shape([c.shape.as_slice(), &product.shape]).as_ref() == Some(&product.shape);
    if let Some(c) = c.filter(|c| !fits(c)) {
        return Err(Reason(format!("the shape {:?} does not broadcast to {:?}", c.shape, product.shape)));
    }
    Ok(vec![match &product.contents {
        Contents::Real(values) => {
            let (alpha, beta) = (S::from_f64(f64::from(alpha)), S::from_f64(f64::from(beta)));
            let scaled: Vec<S> = values.iter().map(|&value| alpha.mul(value)).collect();
            let sums = match c {
                Some(c) => {
                    zip(&product.shape, &scaled, &c.shape, c.real()?, &product.shape, |x: S, c: S| x.add(beta.mul(c)))
                }
                None => scaled,
            };
            Datum::of_real(product.element, &product.shape, sums)
        }
        _ => {
            let values = product.int()?;
            let whole = |factor: f32| {
                let exact = factor.fract() == 0.0 && factor.abs() < 9e18;
                if exact { Ok(factor as i128) } else { Err(Reason(format!("a factor of {factor} for integers"))) }
            };
            let (alpha, beta) = (whole(alpha)?, whole(beta)?);
            let zero = [0];
            let (c_shape, c) = match c {
                Some(c) => (c.shape.as_slice(), c.int()?),
                None => (&[][..], &zero[..]),
            };
            let sum = |x: i128, c: i128| alpha.wrapping_mul(x).wrapping_add(beta.wrapping_mul(c));
            let sums = zip(&product.shape, values, c_shape, c, &product.shape, sum);
            Datum::of_int(product.element, &product.shape, sums)
        }
    }])
}

#[cfg(test)]
mod tests {
    use super::product_of;
    use crate::attr::Attr;
    use crate::eval::{Datum, M61};
    use crate::op::Reason;
    use crate::ops::cases::infer;
    use crate::types::Element;

    #[test]
    fn products_keep_symbolic_dims() {
        for (a, b, expected) in [
            ("float[b,12,s,64]", "float[b,12,64,s]", "float[b,12,s,s]"),
            ("float[b,s,768]", "float[768,3072]", "float[b,s,3072]"),
            ("float[k]", "float[k]", "float[]"),
            ("float[k]", "float[b,k,n]", "float[b,n]"),
            ("float[b,m,k]", "float[k]", "float[b,m]"),
            ("float[a,2,3]", "float[b,3,4]", "float[?t.0,2,4]"),
            ("float[2,3]", "float[4,5]", "3 columns of float[2,3] meet 4 rows of float[4,5]"),
            ("float[2,2,3]", "float[3,3,4]", "dims 2 and 3 do not broadcast at axis 0"),
            ("float[]", "float[3]", "a scalar has no matrix product"),
        ] {
            assert_eq!(infer("MatMul", &[], &[a, b]), expected, "{a} {b}");
        }
        let turned = [("transA", Attr::Int(1)), ("transB", Attr::Int(1))];
        assert_eq!(infer("Gemm", &turned, &["float[k,n]", "float[5,k]", "float[5]"]), "float[n,5]");
        assert_eq!(infer("Gemm", &[], &["float[n,k]", "float[k,5]", "float[n,1]"]), "float[n,5]");
        let refused = "input 2 of type float[4] does not broadcast to float[n,5]";
        assert_eq!(infer("Gemm", &[], &["float[n,k]", "float[k,5]", "float[4]"]), refused);
        assert_eq!(infer("Gemm", &[], &["float[2,n,k]", "float[k,5]"]), "input 0 is no matrix but float[2,n,k]");
    }

    #[test]
    fn a_product_is_associative_in_the_field_and_wraps_for_integers() -> Result<(), Reason> {
        let matrix = |shape: &[usize], seed: i128| {
            let count: usize = shape.iter().product();
            let element = |at: usize| M61::new((seed * 7919).pow(3) as u64 ^ (at as u64 * 104_729));
            Datum::of_real(Element::Double, shape, (0..count).map(element).collect())
        };
        let (a, b, c) = (matrix(&[2, 3, 4], 5), matrix(&[4, 5], 6), matrix(&[2, 5, 2], 7));
        let left = product_of(&product_of(&a, &b)?, &c)?;
        let right = product_of(&a, &product_of(&b, &c)?)?;
        assert_eq!((left.shape.as_slice(), left.real()?), (&[2, 3, 2][..], right.real()?));
        let most = Datum::<f32>::of_int(Element::Uint64, &[2], vec![i128::from(u64::MAX); 2]);
        assert_eq!(product_of(&most, &most)?.int()?, [2]);
        Ok(())
    }

    #[test]
    fn an_empty_sum_is_zero() -> Result<(), Reason> {
        let (a, b) =
            (Datum::<f32>::of_real(Element::Float, &[2, 0], vec![]), Datum::of_real(Element::Float, &[0, 1], vec![]));
        assert_eq!(product_of(&a, &b)?.real()?, [0.0, 0.0]);
        Ok(())
    }
}
