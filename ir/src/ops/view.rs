//! Changes of shape that leave the elements in order.

use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Scalar};
use crate::op::{Argument, AttrDef, Call, Fact, Law, OpDef, Param, Reason, Work, sets};
use crate::ops::shape::{MOST_AXES, contents, distinct_axes, fresh_shape, no_negative, product};
use crate::types::{Type, normalize_axis};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&RESHAPE, &FLATTEN, &SQUEEZE, &UNSQUEEZE];

static RESHAPE: OpDef = OpDef {
    name: "Reshape",
    doc: "The same elements under another shape; -1 is what remains, 0 copies the dim unless allowzero",
    versions: &[1, 5, 13, 14, 19, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T"), Param::required("shape", "tensor(int64)")],
    outputs: &[Param::required("reshaped", "T")],
    attrs: &[AttrDef::int("allowzero", 0)],
    types: &[("T", sets::BEFORE_28), ("tensor(int64)", sets::INT64)],
    infer: infer_reshape,
    unranked: true,
    eval: eval!(reshape),
    work: |_, _| Some(Work::free()),
    laws: &[Law::View],
    ..OpDef::BASE
};

fn infer_reshape(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    if let Argument::Other(Type::Unranked(element)) = call.argument(0)? {
        let shape = reshaped_unranked(call)?;
        return Ok(vec![shape.map(|shape| Fact::new(*element, shape))]);
    }
    let (data, to) = (call.input(0)?, call.input(1)?);
    let shape = match contents(to) {
        Some(target) => reshaped(&data.ty.shape, &target, call.attrs.flag("allowzero"))?,
        None => match fresh_shape(call, to)? {
            // All elements stand in one dim, whatever number the shape holds.
            Some(fresh) if fresh.len() == 1 => vec![product(&data.ty.shape)?],
            Some(fresh) => fresh,
            None => return Ok(vec![None]),
        },
    };
    let content = if shape.len() <= 1 { contents(data) } else { None };
    Ok(vec![Some(Fact::new(data.ty.element, shape).with(content))])
}

/// The shape that the second input asks for, whatever the data is: what depends on the data is fresh.
fn reshaped_unranked(call: &Call) -> Result<Option<Vec<Dim>>, Reason> {
    let to = call.input(1)?;
    let Some(target) = contents(to) else { return fresh_shape(call, to) };
    let copies = |size| size == -1 || (size == 0 && !call.attrs.flag("allowzero"));
    let dims = target.into_iter().enumerate();
    let dims: Vec<Dim> =
        dims.map(|(axis, dim)| if dim.as_known().is_some_and(copies) { call.fresh(axis) } else { dim }).collect();
    no_negative(&dims)?;
    Ok(Some(dims))
}

/// The shape that `target` asks for. Errors: it cannot hold the elements of `from`, or two dims are -1.
fn reshaped(from: &[Dim], target: &[Dim], allow_zero: bool) -> Result<Vec<Dim>, Reason> {
    let mut shape = target.to_vec();
    let mut inferred = None;
    for (axis, dim) in shape.iter_mut().enumerate() {
        match dim.as_known() {
            Some(0) if !allow_zero => match from.get(axis) {
                Some(same) => *dim = same.clone(),
                None => return Err(Reason(format!("dim 0 at axis {axis} copies an axis that the data lacks"))),
            },
            Some(-1) if inferred.is_none() => inferred = Some(axis),
            Some(-1) => return Err(Reason::new("two dims are -1")),
            Some(size) if size < 0 => return Err(Reason(format!("dim {size} at axis {axis} of the shape"))),
            _ => {}
        }
    }
    // Equal dims leave both sides first: what remains is short, and stays within 64 bits more often.
    let mut numerator: Vec<&Dim> = from.iter().collect();
    let mut denominator = Vec::new();
    for (_, dim) in shape.iter().enumerate().filter(|(axis, _)| Some(*axis) != inferred) {
        match numerator.iter().position(|other| *other == dim && !dim.is(0)) {
            Some(at) => {
                numerator.swap_remove(at);
            }
            None => denominator.push(dim),
        }
    }
    let (have, want) = (product(numerator)?, product(denominator)?);
    let mismatch = || {
        let list = |dims: &[Dim]| dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(",");
        Reason(format!("the shape [{}] cannot take the elements of [{}]", list(target), list(from)))
    };
    match inferred {
        Some(_) if want.is(0) => return Err(mismatch()),
        Some(axis) => {
            // The division is exact whenever the call is valid, so the floor changes nothing.
            let rest = have.exact_div(&want).or_else(|| {
                let both_known = have.as_known().is_some() && want.as_known().is_some();
                if both_known { None } else { have.floor_div(&want) }
            });
            shape[axis] = rest.ok_or_else(mismatch)?;
        }
        None if have.as_known().is_some() && want.as_known().is_some() && have != want => return Err(mismatch()),
        None => {}
    }
    Ok(shape)
}

fn reshape<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let data = call.input(0)?;
    let from: Vec<Dim> = data.shape.iter().map(|&dim| dim.into()).collect();
    let target: Vec<Dim> = call.ints(1)?.into_iter().map(Dim::known).collect();
    let shape: Option<Vec<usize>> =
        reshaped(&from, &target, call.attrs.flag("allowzero"))?.iter().map(Dim::as_size).collect();
    Ok(vec![data.reshaped(&shape.ok_or_else(|| Reason::new("a dim would be negative"))?)?])
}

static FLATTEN: OpDef = OpDef {
    name: "Flatten",
    doc: "A matrix: the axes before axis become its rows, the others its columns",
    versions: &[1, 9, 11, 13, 21, 23, 24, 25],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("axis", 1)],
    types: &[("T", sets::BEFORE_28)],
    infer: |call| {
        if let Argument::Other(Type::Unranked(element)) = call.argument(0)? {
            return Ok(vec![Some(Fact::new(*element, [call.fresh(0), call.fresh(1)]))]);
        }
        let ty = call.ty(0)?;
        let (rows, columns) = ty.shape.split_at(split_axis(call.int("axis")?, ty.rank())?);
        Ok(vec![Some(Fact::new(ty.element, [product(rows)?, product(columns)?]))])
    },
    unranked: true,
    eval: eval!(flatten),
    work: |_, _| Some(Work::free()),
    laws: &[Law::View],
    ..OpDef::BASE
};

/// Unlike other axes, this one may also be the rank.
fn split_axis(axis: i64, rank: usize) -> Result<usize, Reason> {
    if axis >= 0 && axis as u64 == rank as u64 {
        return Ok(rank);
    }
    normalize_axis(axis, rank).ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))
}

fn flatten<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let (rows, columns) = x.shape.split_at(split_axis(call.int("axis")?, x.rank())?);
    Ok(vec![x.reshaped(&[rows.iter().product(), columns.iter().product()])?])
}

static SQUEEZE: OpDef = OpDef {
    name: "Squeeze",
    doc: "Drops axes of size 1: those given, else all",
    versions: &[1, 11, 13, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T"), Param::optional("axes", "tensor(int64)")],
    outputs: &[Param::required("squeezed", "T")],
    types: &[("T", sets::BEFORE_28), ("tensor(int64)", sets::INT64)],
    infer: infer_squeeze,
    eval: eval!(squeeze),
    work: |_, _| Some(Work::free()),
    laws: &[Law::View],
    ..OpDef::BASE
};

fn infer_squeeze(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let data = call.input(0)?;
    let dropped: Vec<usize> = match call.given(1) {
        Some(axes) => match axes.ints() {
            Some(axes) => distinct_axes(&axes, data.ty.rank())?,
            None => return Ok(vec![None]),
        },
        // A symbolic dim may turn out to be 1, and then the rank is another.
        None if data.ty.shape.iter().any(|dim| dim.as_known().is_none()) => return Ok(vec![None]),
        None => (0..data.ty.rank()).filter(|&axis| data.ty.shape[axis].is(1)).collect(),
    };
    let mut shape = Vec::new();
    for (axis, dim) in data.ty.shape.iter().enumerate() {
        match (dropped.contains(&axis), dim.as_known()) {
            (false, _) => shape.push(dim.clone()),
            (true, None | Some(1)) => {}
            (true, Some(size)) => return Err(Reason(format!("axis {axis} of size {size} cannot be dropped"))),
        }
    }
    Ok(vec![Some(Fact::new(data.ty.element, shape).with(contents(data)))])
}

fn squeeze<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let dropped = match call.given(1) {
        Some(axes) => distinct_axes(&axes.to_i64s()?, x.rank())?,
        None => (0..x.rank()).filter(|&axis| x.shape[axis] == 1).collect(),
    };
    if let Some(axis) = dropped.iter().find(|&&axis| x.shape[axis] != 1) {
        return Err(Reason(format!("axis {axis} of size {} cannot be dropped", x.shape[*axis])));
    }
    let kept: Vec<usize> = (0..x.rank()).filter(|axis| !dropped.contains(axis)).map(|axis| x.shape[axis]).collect();
    Ok(vec![x.reshaped(&kept)?])
}

static UNSQUEEZE: OpDef = OpDef {
    name: "Unsqueeze",
    doc: "Adds axes of size 1, at positions counted in the result",
    versions: &[1, 11, 13, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T"), Param::required("axes", "tensor(int64)")],
    outputs: &[Param::required("expanded", "T")],
    types: &[("T", sets::BEFORE_28), ("tensor(int64)", sets::INT64)],
    infer: infer_unsqueeze,
    eval: eval!(unsqueeze),
    work: |_, _| Some(Work::free()),
    laws: &[Law::View],
    ..OpDef::BASE
};

fn infer_unsqueeze(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let (data, axes) = (call.input(0)?, call.input(1)?);
    let Some(axes) = axes.ints() else {
        let n_axes = axes.ty.count().and_then(|count| count.as_size());
        let rank = n_axes.filter(|&count| count <= MOST_AXES).map(|count| count + data.ty.rank());
        let fresh = |rank: usize| Fact::new(data.ty.element, (0..rank).map(|axis| call.fresh(axis)));
        return Ok(vec![rank.map(fresh)]);
    };
    let shape = with_ones(&data.ty.shape, &axes, Dim::known(1))?;
    let content = if shape.len() <= 1 { contents(data) } else { None };
    Ok(vec![Some(Fact::new(data.ty.element, shape).with(content))])
}

/// `shape` with `one` at `axes` of the result.
fn with_ones<D: Clone>(shape: &[D], axes: &[i64], one: D) -> Result<Vec<D>, Reason> {
    if axes.len() > MOST_AXES {
        return Err(Reason(format!("a tensor of {} axes", axes.len())));
    }
    let rank = shape.len() + axes.len();
    let added = distinct_axes(axes, rank)?;
    let mut rest = shape.iter().cloned();
    let dim = |axis| if added.contains(&axis) { Some(one.clone()) } else { rest.next() };
    Ok((0..rank).filter_map(dim).collect())
}

fn unsqueeze<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    Ok(vec![x.reshaped(&with_ones(&x.shape, &call.ints(1)?, 1)?)?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    #[test]
    fn reshape_divides_symbolic_dims_exactly() {
        for (data, shape, expected) in [
            ("float[batch,128,768]", "int64[4] = batch,-1,12,64", "float[batch,128,12,64]"),
            ("float[batch,seq,768]", "int64[4] = 0,0,12,-1", "float[batch,seq,12,64]"),
            ("float[batch,seq,768]", "int64[4] = batch,-1,12,64", "float[batch,seq,12,64]"),
            ("float[b,p+s,12,64]", "int64[3] = b,s+p,-1", "float[b,s + p,768]"),
            ("float[b*s,8]", "int64[2] = s,-1", "float[s,8*b]"),
            ("float[n,6]", "int64[2] = -1,4", "float[floor((6*n)/(4)),4]"),
            ("float[0,3]", "int64[2] = -1,3", "float[0,3]"),
            ("float[0,3]", "int64[2] = 0,-1", "the shape [0,-1] cannot take the elements of [0,3]"),
            ("float[2,3]", "int64[1] = -1", "float[6]"),
            ("float[2,3]", "int64[1] = 7", "the shape [7] cannot take the elements of [2,3]"),
            ("float[2,3]", "int64[2] = 4,-1", "the shape [4,-1] cannot take the elements of [2,3]"),
            ("float[2,3]", "int64[2] = -1,-1", "two dims are -1"),
            ("float[2,3]", "int64[3] = 2,3,0", "dim 0 at axis 2 copies an axis that the data lacks"),
            ("float[n,3]", "int64[1]", "float[3*n]"),
            ("float[n,3]", "int64[2]", "float[?t.0,?t.1]"),
            ("float[n,3]", "int64[k]", "?"),
            ("int64[] = n", "int64[1] = -1", "int64[1] = n"),
            ("float[9223372036854775807,2]", "int64[1] = -1", "a size exceeds 64 bits"),
        ] {
            assert_eq!(infer("Reshape", &[], &[data, shape]), expected, "{data} {shape}");
        }
        let zeros = [("allowzero", Attr::Int(1))];
        assert_eq!(infer("Reshape", &zeros, &["float[0,3]", "int64[2] = 3,0"]), "float[3,0]");
    }

    #[test]
    fn views_move_axes_of_one_and_keep_contents() {
        assert_eq!(infer("Unsqueeze", &[], &["int64[] = n", "int64[1] = 0"]), "int64[1] = n");
        assert_eq!(infer("Unsqueeze", &[], &["float[n,3]", "int64[2] = -1,0"]), "float[1,n,3,1]");
        assert_eq!(infer("Unsqueeze", &[], &["float[n]", "int64[2] = 0,-3"]), "axis -3 is given twice");
        assert_eq!(infer("Unsqueeze", &[], &["float[n]", "int64[1] = 2"]), "axis 2 is out of range for rank 2");
        assert_eq!(infer("Squeeze", &[], &["int64[1] = 4*n", "int64[1] = 0"]), "int64[] = 4*n");
        assert_eq!(infer("Squeeze", &[], &["float[1,n,1]", "int64[1] = -1"]), "float[1,n]");
        assert_eq!(infer("Squeeze", &[], &["float[1,5,1]"]), "float[5]");
        assert_eq!(infer("Squeeze", &[], &["float[1,n]"]), "?");
        let refused = "axis 0 of size 2 cannot be dropped";
        assert_eq!(infer("Squeeze", &[], &["float[2,n]", "int64[1] = 0"]), refused);
        assert_eq!(infer("Flatten", &[], &["float[n,2,m,3]"]), "float[n,6*m]");
        assert_eq!(infer("Flatten", &[("axis", Attr::Int(4))], &["float[n,2,m,3]"]), "float[6*m*n,1]");
        assert_eq!(infer("Flatten", &[("axis", Attr::Int(0))], &["float[]"]), "float[1,1]");
        assert_eq!(infer("Flatten", &[("axis", Attr::Int(2))], &["float[n]"]), "axis 2 is out of range for rank 1");
    }
}
