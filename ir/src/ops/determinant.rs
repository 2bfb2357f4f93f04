//! Determinants.

use super::pointwise::{affordable, needs_order};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{Call, Fact, OpDef, Param, Reason, Work, sets};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&DET];

static DET: OpDef = OpDef {
    name: "Det",
    doc: "The determinant of each matrix of the last two axes",
    versions: &[11, 22],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    types: &[("T", sets::FLOAT)],
    infer: infer_det,
    eval: eval!(det),
    // Elimination takes 2/3 n^3 operations for a matrix of n rows.
    work: |call, outputs| {
        let shape = &call.ty(0).ok()?.shape;
        let n_rows = shape.last()?;
        let flops = call.ty(0).ok()?.count()?.mul(n_rows)?.mul(&Dim::known(2))?.ceil_div(&Dim::known(3))?;
        Work::streaming(call, outputs, flops)
    },
    ..OpDef::BASE
};

fn infer_det(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let x = call.ty(0)?;
    let [batch @ .., rows, columns] = x.shape.as_slice() else {
        return Err(Reason(format!("matrices are expected, found {x}")));
    };
    if rows.as_known().zip(columns.as_known()).is_some_and(|(rows, columns)| rows != columns) {
        return Err(Reason(format!("square matrices are expected, found {x}")));
    }
    Ok(vec![Some(Fact::new(x.element, batch.iter().cloned()))])
}

fn det<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_order::<S>()?;
    let x = call.input(0)?;
    let [batch @ .., n_rows, n_columns] = x.shape.as_slice() else {
        return Err(Reason(format!("matrices are expected, found {:?}", x.shape)));
    };
    if n_rows != n_columns {
        return Err(Reason(format!("square matrices are expected, found {:?}", x.shape)));
    }
    let n_matrices = affordable(batch, x.count())?;
    if *n_rows == 0 {
        // The empty product.
        return Ok(vec![Datum::of_real(x.element, batch, vec![S::from_int(1); n_matrices])]);
    }
    let matrices = x.real()?.chunks(n_rows * n_rows);
    let determinants = matrices.map(|matrix| {
        let mut matrix: Vec<f64> = matrix.iter().map(|x| x.to_f64()).collect();
        S::from_f64(determinant(&mut matrix, *n_rows))
    });
    Ok(vec![Datum::of_real(x.element, batch, determinants.collect())])
}

/// By elimination with the largest pivot of each column, in double precision.
fn determinant(matrix: &mut [f64], n_rows: usize) -> f64 {
    let mut product = 1.0;
    for at in 0..n_rows {
        let size = |row: usize| matrix[row * n_rows + at].abs();
        let pivot_row = (at + 1..n_rows).fold(at, |best, row| if size(row) > size(best) { row } else { best });
        let pivot = matrix[pivot_row * n_rows + at];
        product *= pivot;
        if pivot == 0.0 {
            return product;
        }
        if pivot_row != at {
            (0..n_rows).for_each(|column| matrix.swap(at * n_rows + column, pivot_row * n_rows + column));
            product = -product;
        }
        for row in at + 1..n_rows {
            let factor = matrix[row * n_rows + at] / pivot;
            for column in at..n_rows {
                matrix[row * n_rows + column] -= factor * matrix[at * n_rows + column];
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cases::infer;

    #[test]
    fn pivots_are_exchanged_with_their_sign() {
        assert_eq!(determinant(&mut [0.0, 2.0, 3.0, 0.0], 2), -6.0);
        assert_eq!(determinant(&mut [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0], 3), 1.0);
        assert_eq!(determinant(&mut [1.0, 2.0, 2.0, 4.0], 2), 0.0);
        assert!((determinant(&mut [2.0, -1.0, 0.0, -1.0, 2.0, -1.0, 0.0, -1.0, 2.0], 3) - 4.0).abs() < 1e-14);
    }

    #[test]
    fn only_square_matrices_have_one() {
        assert_eq!(infer("Det", &[], &["float[b,n,n]"]), "float[b]");
        assert!(infer("Det", &[], &["float[2,3]"]).contains("square"));
        assert!(infer("Det", &[], &["float[3]"]).contains("matrices"));
    }
}
