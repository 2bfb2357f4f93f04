//! Changes of shape and order of elements.

use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, Weight};
use super::refusal::Refusal;
use super::terms::Term;
use super::{Lowered, Lowering};
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Dim, Element, Tensor};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Reshape", reshape),
    ("Flatten", flatten),
    ("Squeeze", squeeze),
    ("Unsqueeze", unsqueeze),
    ("Transpose", transpose),
    ("Concat", concat),
    ("Expand", expand),
    ("Tile", tile),
    ("DepthToSpace", depth_to_space),
    ("SpaceToDepth", space_to_depth),
    ("Identity", same),
    ("Dropout", dropout),
];

fn same(_: &mut Builder, call: &Call) -> Lowered {
    Ok(vec![call.value(0)?.clone()])
}

/// In inference, dropout is the identity, and its mask keeps everything.
fn dropout(builder: &mut Builder, call: &Call) -> Lowered {
    let is_training = call.given(2).is_some_and(|mode| mode.value.single() != Some(0.0));
    let drops = call.given(1).map_or(Some(0.5), |ratio| ratio.value.single()) != Some(0.0);
    if is_training && drops {
        return Err(Refusal::new("it is in training mode").instead("training_mode false"));
    }
    let x = call.value(0)?.clone();
    if call.used.len() == 1 {
        return Ok(vec![x]);
    }
    let sizes = x.shape().iter().map(Dim::as_size).collect::<Option<Vec<usize>>>();
    let sizes = sizes.ok_or_else(|| Refusal::new("its mask has a dynamic shape").instead("the first output only"))?;
    let mask = Tensor::splat(Element::Bool, &sizes, &[1]).map_err(|error| error.to_string())?;
    Ok(vec![x, builder.weight("", mask).into()])
}

/// A weight under another shape is a weight.
fn reshaped_weight(weight: &Weight, shape: &[Dim]) -> Option<Operand> {
    let sizes: Option<Vec<i64>> = shape.iter().map(Dim::as_known).collect();
    Some(weight.reshaped(&sizes?).ok()?.into())
}

fn reshape(builder: &mut Builder, call: &Call) -> Lowered {
    let data = call.value(0)?;
    let from = data.shape();
    let zero_copies = !call.attrs.flag("allowzero");
    let inferred = call.shape(0).map(<[Dim]>::to_vec);
    let shape = match (inferred, call.arg(1)?.ints().or_else(|| call.attrs.ints("shape").map(<[i64]>::to_vec))) {
        (Some(shape), _) => shape,
        (None, Some(target)) => resolved(builder, &from, &target, zero_copies)?,
        (None, None) => match call.arg(1)?.value.shape().as_slice() {
            [count] => {
                let count = count.as_size().ok_or_else(|| Refusal::new("the rank of its result is not known"))?;
                (0..count).map(|_| builder.fresh()).collect()
            }
            _ => return Err(Refusal::new("the rank of its result is not known")),
        },
    };
    if let Some(weight) = data.weight().and_then(|weight| reshaped_weight(weight, &shape)) {
        return Ok(vec![weight]);
    }
    let x = builder.tensor(data)?;
    let target = call.arg(1)?;
    let y = builder.reshape(&x, &shape, |builder| {
        let terms = builder.terms(target)?;
        resolve_terms(builder, &x, terms, zero_copies)
    })?;
    Ok(vec![y.into()])
}

/// The shape that constant `target` asks for.
fn resolved(builder: &mut Builder, from: &[Dim], target: &[i64], zero_copies: bool) -> Result<Vec<Dim>, Refusal> {
    let mut shape = Vec::new();
    let mut rest = None;
    for (at, &extent) in target.iter().enumerate() {
        shape.push(match extent {
            0 if zero_copies => from.get(at).cloned().ok_or("a 0 copies an axis that the input lacks")?,
            -1 => {
                rest = Some(at);
                Dim::known(1)
            }
            _ => Dim::known(extent),
        });
    }
    if let Some(at) = rest {
        let product = |dims: &[Dim]| dims.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim));
        let quotient = product(from).zip(product(&shape)).and_then(|(have, want)| have.exact_div(&want));
        shape[at] = quotient.unwrap_or_else(|| builder.fresh());
    }
    Ok(shape)
}

/// The extents that a computed target asks for: 0 and -1, where they are known to stand, become what they mean.
fn resolve_terms(builder: &mut Builder, x: &Typed, terms: Vec<Term>, zero_copies: bool) -> Result<Vec<Term>, Refusal> {
    // One -1 is what TensorRT resolves itself.
    let mut resolved = Vec::new();
    for (at, term) in terms.into_iter().enumerate() {
        resolved.push(match term {
            Term::Known(0) if zero_copies && at < x.rank() => builder.extent(x, at)?,
            term => term,
        });
    }
    Ok(resolved)
}

fn flatten(builder: &mut Builder, call: &Call) -> Lowered {
    let data = call.value(0)?;
    let from = data.shape();
    let axis = call.int("axis", 1);
    let axis = if usize::try_from(axis).ok() == Some(from.len()) { from.len() } else { call.axis(axis, from.len())? };
    let product = |dims: &[Dim]| dims.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim));
    let shape = product(&from[..axis]).zip(product(&from[axis..])).ok_or("its extents overflow")?;
    let shape = vec![shape.0, shape.1];
    if let Some(weight) = data.weight().and_then(|weight| reshaped_weight(weight, &shape)) {
        return Ok(vec![weight]);
    }
    let x = builder.tensor(data)?;
    let y = builder.reshape(&x, &shape, |builder| {
        let sizes = builder.sizes(&x)?;
        let mut products = Vec::new();
        for part in [&sizes[..axis], &sizes[axis..]] {
            let mut product = Term::Known(1);
            for term in part {
                product = builder.mul(&product, term)?;
            }
            products.push(product);
        }
        Ok(products)
    })?;
    Ok(vec![y.into()])
}

fn squeeze(builder: &mut Builder, call: &Call) -> Lowered {
    let data = call.value(0)?;
    let from = data.shape();
    let axes = match call.axes(1, "axes", from.len())? {
        Some(axes) => axes,
        None => {
            if from.iter().any(|dim| dim.as_known().is_none()) {
                return Err(Refusal::new("which axes it drops depends on a dynamic extent").instead("explicit axes"));
            }
            (0..from.len()).filter(|&at| from[at].is(1)).collect()
        }
    };
    let shape: Vec<Dim> = (0..from.len()).filter(|at| !axes.contains(at)).map(|at| from[at].clone()).collect();
    if let Some(weight) = data.weight().and_then(|weight| reshaped_weight(weight, &shape)) {
        return Ok(vec![weight]);
    }
    let x = builder.tensor(data)?;
    Ok(vec![builder.squeeze(&x, &axes).into()])
}

fn unsqueeze(builder: &mut Builder, call: &Call) -> Lowered {
    let data = call.value(0)?;
    let axes = call.list(1, "axes")?.ok_or("it has no axes")?;
    let rank = data.rank() + axes.len();
    let mut axes: Vec<usize> = axes.into_iter().map(|axis| call.axis(axis, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    if let Operand::Weight(weight) = data {
        let mut sizes = weight.sizes();
        axes.iter().for_each(|&axis| sizes.insert(axis.min(sizes.len()), 1));
        return Ok(vec![weight.reshaped(&sizes)?.into()]);
    }
    let x = builder.tensor(data)?;
    Ok(vec![builder.unsqueeze(&x, &axes)?.into()])
}

fn transpose(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let order: Vec<usize> = match call.attrs.ints("perm") {
        Some(perm) => perm.iter().map(|&axis| call.axis(axis, x.rank())).collect::<Result<_, _>>()?,
        None => (0..x.rank()).rev().collect(),
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().ne(0..x.rank()) {
        return Err(Refusal::new(format!("{order:?} is no permutation of {} axes", x.rank())));
    }
    Ok(vec![builder.transpose(&x, &order).into()])
}

fn concat(builder: &mut Builder, call: &Call) -> Lowered {
    let operands = call.values();
    let axis = call.axis(call.int("axis", 0), operands.first().map_or(0, |operand| operand.rank()))?;
    // An empty part adds nothing, and TensorRT has no form for a constant without elements.
    let is_empty = |operand: &Operand| operand.shape().get(axis).is_some_and(|dim| dim.is(0));
    let all_empty = operands.iter().all(|operand| is_empty(operand));
    let parts = operands.iter().filter(|operand| all_empty || !is_empty(operand));
    let inputs: Vec<Typed> = parts.map(|operand| builder.tensor(operand)).collect::<Result<_, _>>()?;
    Ok(vec![builder.concat(&inputs, axis)?.into()])
}

fn expand(builder: &mut Builder, call: &Call) -> Lowered {
    let target = call.arg(1)?;
    let count = match target.value.shape().as_slice() {
        [count] => count.as_size(),
        _ => None,
    };
    let count = count.ok_or_else(|| Refusal::new("the rank of its result is not known"))?;
    let rank = count.max(call.value(0)?.rank());
    let x = builder.aligned(call.value(0)?, rank)?;
    // A shape that inference knows spares the arithmetic.
    if let Some(shape) = call.shape(0).map(<[Dim]>::to_vec)
        && let Some(known) = shape.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>()
    {
        let terms: Vec<Term> = known.into_iter().map(Term::Known).collect();
        return Ok(vec![builder.expand(&x, &shape, &terms)?.into()]);
    }
    let wanted = builder.terms(target)?;
    let mut terms = vec![Term::Known(1); rank - count];
    terms.extend(wanted);
    let mut shape = Vec::new();
    for (at, term) in terms.iter_mut().enumerate() {
        let from = x.shape[at].clone();
        let inferred = call.shape(0).and_then(|shape| shape.get(at)).cloned();
        // What it asks for wins over an extent of one, and an extent over a one that it asks for.
        *term = match (from.as_known(), *term) {
            (Some(1), term) => term,
            (Some(known), _) => Term::Known(known),
            (None, Term::Known(1)) => builder.extent(&x, at)?,
            (None, Term::Known(known)) => Term::Known(known),
            (None, Term::At(other)) => {
                let extent = builder.extent(&x, at)?;
                if inferred.as_ref() == Some(&from) || extent == Term::At(other) {
                    extent
                } else {
                    builder.max(&extent, &Term::At(other))?
                }
            }
        };
        shape.push(match (inferred, *term) {
            (_, Term::Known(known)) => Dim::known(known),
            (Some(inferred), _) => inferred,
            (None, _) if *term == Term::Known(1) => from,
            (None, _) => builder.fresh(),
        });
    }
    Ok(vec![builder.expand(&x, &shape, &terms)?.into()])
}

/// Reads the input again beyond its end.
fn tile(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let repeats = builder.terms(call.arg(1)?)?;
    if repeats.len() != x.rank() {
        return Err(Refusal::new(format!("{} repeats for {} axes", repeats.len(), x.rank())));
    }
    let (mut size, mut shape) = (Vec::new(), Vec::new());
    for (at, repeat) in repeats.iter().enumerate() {
        let extent = builder.extent(&x, at)?;
        let term = builder.mul(&extent, repeat)?;
        shape.push(match (term, call.shape(0).and_then(|shape| shape.get(at))) {
            (Term::Known(known), _) => Dim::known(known),
            (_, Some(dim)) => dim.clone(),
            _ => builder.fresh(),
        });
        size.push(term);
    }
    let rank = x.rank();
    let cut = super::view::Cut { start: vec![Term::Known(0); rank], size, stride: vec![Term::Known(1); rank] };
    Ok(vec![builder.slice(&x, &cut, crate::layer::SliceMode::Wrap, None, shape)?.into()])
}

fn block(call: &Call, x: &Typed) -> Result<(Dim, [Dim; 4]), Refusal> {
    let size = call.attrs.int("blocksize").filter(|&size| size > 0).ok_or("it has no blocksize")?;
    let shape: [Dim; 4] = x.shape.clone().try_into().map_err(|_| Refusal::new("its input has not four axes"))?;
    Ok((Dim::known(size), shape))
}

fn times(a: &Dim, b: &Dim) -> Result<Dim, Refusal> {
    a.mul(b).ok_or_else(|| Refusal::new("its extents overflow"))
}

fn over(a: &Dim, b: &Dim) -> Result<Dim, Refusal> {
    a.exact_div(b).ok_or_else(|| Refusal::new(format!("the block size {b} does not divide {a}")))
}

/// Reshapes for which the extents of `x` are at hand.
fn reblock(builder: &mut Builder, x: &Typed, parts: &[Dim], order: &[usize], to: &[Dim]) -> Lowered {
    let split = builder.reshape_from(x, parts, &[x])?;
    let moved = builder.transpose(&split, order);
    Ok(vec![builder.reshape_from(&moved, to, &[x])?.into()])
}

fn depth_to_space(builder: &mut Builder, call: &Call) -> Lowered {
    call.one_of("mode", &["DCR", "CRD"])?;
    let x = builder.input(call, 0)?;
    let (size, [n, c, h, w]) = block(call, &x)?;
    let depth = over(&c, &times(&size, &size)?)?;
    let to = [n.clone(), depth.clone(), times(&h, &size)?, times(&w, &size)?];
    if call.string("mode", "DCR") == "CRD" {
        let parts = [n, depth, size.clone(), size, h, w];
        return reblock(builder, &x, &parts, &[0, 1, 4, 2, 5, 3], &to);
    }
    let parts = [n, size.clone(), size, depth, h, w];
    reblock(builder, &x, &parts, &[0, 3, 4, 1, 5, 2], &to)
}

fn space_to_depth(builder: &mut Builder, call: &Call) -> Lowered {
    call.one_of("mode", &["DCR", "CRD"])?;
    let x = builder.input(call, 0)?;
    let (size, [n, c, h, w]) = block(call, &x)?;
    let (rows, columns) = (over(&h, &size)?, over(&w, &size)?);
    let to = [n.clone(), times(&c, &times(&size, &size)?)?, rows.clone(), columns.clone()];
    let parts = [n, c, rows, size.clone(), columns, size];
    match call.string("mode", "DCR") {
        "CRD" => reblock(builder, &x, &parts, &[0, 1, 3, 5, 2, 4], &to),
        _ => reblock(builder, &x, &parts, &[0, 3, 5, 1, 2, 4], &to),
    }
}

/// `axis` in `0..rank`. Errors: out of range.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, Refusal> {
    normalize_axis(axis, rank).ok_or_else(|| Refusal::new(format!("axis {axis} is out of range for rank {rank}")))
}
