//! Matrix products.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Layer, MatrixKind};
use eutectic_ir::Dim;
use std::collections::HashMap;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("MatMul", matmul), ("Gemm", gemm), ("Einsum", einsum)];

fn matmul(builder: &mut Builder, call: &Call) -> Lowered {
    Ok(vec![product(builder, call.value(0)?, call.value(1)?)?.into()])
}

/// The product as NumPy defines it: a vector on the left is a row, on the right a column, and its axis goes.
pub(super) fn product(builder: &mut Builder, a: &Operand, b: &Operand) -> Result<Typed, Refusal> {
    let (is_row, is_column) = (a.rank() == 1, b.rank() == 1);
    if a.rank() == 0 || b.rank() == 0 {
        return Err(Refusal::new("a product with a scalar").instead("Mul"));
    }
    let column = if is_column {
        match b {
            Operand::Weight(weight) => weight.reshaped(&[weight.sizes()[0], 1])?.into(),
            Operand::Tensor(tensor) => builder.unsqueeze(tensor, &[1])?.into(),
        }
    } else {
        b.clone()
    };
    let rank = a.rank().max(column.rank()).max(2);
    let (left, right) = (builder.aligned(a, rank)?, builder.aligned(&column, rank)?);
    let y = builder.matmul(&left, MatrixKind::Plain, &right, MatrixKind::Plain)?;
    let mut dropped = Vec::new();
    if is_row {
        dropped.push(rank - 2);
    }
    if is_column {
        dropped.push(rank - 1);
    }
    Ok(builder.squeeze(&y, &dropped))
}

/// `alpha A' B' + beta C`.
fn gemm(builder: &mut Builder, call: &Call) -> Lowered {
    let (a, b) = (builder.input(call, 0)?, builder.input(call, 1)?);
    let kind = |name| if call.attrs.flag(name) { MatrixKind::Transpose } else { MatrixKind::Plain };
    let mut y = builder.matmul(&a, kind("transA"), &b, kind("transB"))?;
    let (alpha, beta) = (call.float("alpha", 1.0), call.float("beta", 1.0));
    if alpha != 1.0 {
        y = builder.with(ElementWiseKind::Product, &y, f64::from(alpha))?;
    }
    if let Some(c) = call.given(2).filter(|_| beta != 0.0) {
        let mut c = builder.aligned(&c.value, 2)?;
        if beta != 1.0 {
            c = builder.with(ElementWiseKind::Product, &c, f64::from(beta))?;
        }
        y = builder.pair(ElementWiseKind::Sum, &y, &c)?;
    }
    Ok(vec![y.into()])
}

fn einsum(builder: &mut Builder, call: &Call) -> Lowered {
    let equation: String = call.string("equation", "").chars().filter(|c| !c.is_whitespace()).collect();
    if equation.contains('.') {
        return Err(Refusal::new("its equation has an ellipsis").instead("a letter for each axis"));
    }
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_owned(), right.to_owned()),
        // Without an arrow: the letters that occur once, in order.
        None => {
            let mut once: Vec<char> =
                equation.chars().filter(|&c| c != ',' && equation.matches(c).count() == 1).collect();
            once.sort_unstable();
            (equation.clone(), once.into_iter().collect())
        }
    };
    let terms: Vec<&str> = left.split(',').collect();
    let operands = call.values();
    if terms.len() != operands.len() || operands.is_empty() || operands.len() > 2 {
        return Err(
            Refusal::new(format!("its equation has {} operands", operands.len())).instead("at most two at a time")
        );
    }
    let mut inputs = Vec::new();
    let mut extents: HashMap<char, Dim> = HashMap::new();
    for (term, operand) in terms.iter().zip(operands) {
        let input = builder.tensor(operand)?;
        if term.chars().count() != input.rank() {
            return Err(Refusal::new(format!("`{term}` does not name {} axes", input.rank())));
        }
        for (letter, dim) in term.chars().zip(&input.shape) {
            let known = extents.entry(letter).or_insert_with(|| dim.clone());
            if known.is(1) {
                *known = dim.clone();
            }
        }
        inputs.push(input);
    }
    let shape: Option<Vec<Dim>> = right.chars().map(|letter| extents.get(&letter).cloned()).collect();
    let shape = shape.ok_or("its result has a letter that no operand has")?;
    // TensorRT knows lower-case letters only.
    let mut letters: HashMap<char, char> = HashMap::new();
    let mut free = 'a'..='z';
    let mut equation = String::new();
    for c in left.chars().chain("->".chars()).chain(right.chars()) {
        if c.is_alphabetic() {
            let next = letters.get(&c).copied().or_else(|| free.next());
            let next = next.ok_or("its equation has more than 26 letters")?;
            letters.insert(c, next);
            equation.push(next);
        } else {
            equation.push(c);
        }
    }
    let data_type = inputs[0].data_type;
    let inputs = inputs.iter().map(|input| input.at).collect();
    Ok(vec![builder.typed("einsum", Layer::Einsum { inputs, equation }, data_type, shape).into()])
}
