//! Operators that move elements without computing.

use crate::attr::AttrKind;
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Buffer, Contents, Datum, EvalCall, Scalar, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, sets};
use crate::ops::shape::{contents, count_of, distinct_axes, overflow, sizes};
use crate::types::{Element, normalize_axis};
use std::ops::Range;

/// The operators of this family.
pub const OPS: &[&OpDef] =
    &[&TRANSPOSE, &CONCAT, &SPLIT, &TILE, &DEPTH_TO_SPACE, &SPACE_TO_DEPTH, &TRILU, &REVERSE_SEQUENCE];

/// For each axis of a result and each index along it, what it adds to the offset of the source; `None` where nothing is.
pub(super) type Tables = Vec<Vec<Option<usize>>>;

/// The source of each element of a result, last axis fastest, given what each index adds to it.
pub(super) fn sources(tables: &Tables) -> impl Iterator<Item = Option<usize>> + '_ {
    const ALONE: &[Option<usize>] = &[Some(0)];
    let (outer, inner) = match tables.split_last() {
        Some((last, outer)) => (outer, last.as_slice()),
        None => (tables.as_slice(), ALONE),
    };
    let count: usize = if outer.iter().any(Vec::is_empty) { 0 } else { outer.iter().map(Vec::len).product() };
    (0..count).flat_map(move |row| {
        let mut rest = row;
        let mut base = Some(0);
        for table in outer.iter().rev() {
            base = base.zip(table[rest % table.len()]).map(|(sum, add)| sum + add);
            rest /= table.len();
        }
        inner.iter().map(move |&add| base.zip(add).map(|(sum, add)| sum + add))
    })
}

/// The tensor whose elements stand where `tables` say; `None` gives zero. Errors: more elements than one evaluation makes.
pub(super) fn moved<S: Scalar>(x: &Datum<S>, tables: &Tables) -> Result<Datum<S>, Reason> {
    let shape: Vec<usize> = tables.iter().map(Vec::len).collect();
    count_of(&shape)?;
    x.gathered(&shape, sources(tables))
}

/// The indices of each axis of `shape`, as they are.
pub(super) fn identity(shape: &[usize]) -> Tables {
    let table = |(&dim, stride): (&usize, usize)| (0..dim).map(|at| Some(at * stride)).collect();
    shape.iter().zip(strides_of(shape)).map(table).collect()
}

/// Element i of the result is element `at` of tensor `which` of `from`, for the i-th pair of `sources`.
pub(super) fn picked<S: Scalar>(
    from: &[&Datum<S>],
    shape: &[usize],
    sources: impl Iterator<Item = (usize, usize)>,
) -> Result<Datum<S>, Reason> {
    spliced(from, shape, sources.map(|(which, at)| (which, at..at.saturating_add(1))))
}

/// The elements `range` of tensor `which` of `from` one after the other, for each pair of `runs`.
fn spliced<S: Scalar>(
    from: &[&Datum<S>],
    shape: &[usize],
    runs: impl Iterator<Item = (usize, Range<usize>)>,
) -> Result<Datum<S>, Reason> {
    fn pick<T: Clone + Send + Sync + 'static>(
        from: Vec<&[T]>,
        count: usize,
        runs: impl Iterator<Item = (usize, Range<usize>)>,
    ) -> Result<Buffer<T>, Reason> {
        let mut elements = Vec::with_capacity(count.min(from.iter().map(|elements| elements.len()).sum()));
        for (which, range) in runs {
            let out_of_range = || Reason(format!("element {} is out of range", range.start));
            match from.get(which).and_then(|elements| elements.get(range.clone())).ok_or_else(out_of_range)? {
                [one] => elements.push(one.clone()),
                several => elements.extend_from_slice(several),
            }
        }
        Ok(elements.into())
    }
    let count = crate::tensor::count_of(shape).unwrap_or(0);
    let first = from.first().ok_or_else(|| Reason::new("there is no input"))?;
    let text = |datum: &&Datum<S>| match &datum.contents {
        Contents::Text(elements) => Ok(elements.to_vec()),
        _ => Err(Reason(format!("strings are expected, found {}", datum.element))),
    };
    let contents = match &first.contents {
        Contents::Real(_) => {
            Contents::Real(pick(from.iter().map(|datum| datum.real()).collect::<Result<_, _>>()?, count, runs)?)
        }
        Contents::Int(_) => {
            Contents::Int(pick(from.iter().map(|datum| datum.int()).collect::<Result<_, _>>()?, count, runs)?)
        }
        Contents::Bool(_) => {
            Contents::Bool(pick(from.iter().map(|datum| datum.bool()).collect::<Result<_, _>>()?, count, runs)?)
        }
        Contents::Text(_) => {
            let strings = from.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Contents::Text(pick(strings.iter().map(Vec::as_slice).collect(), count, runs)?)
        }
        Contents::Complex(_) => {
            Contents::Complex(pick(from.iter().map(|datum| datum.complex()).collect::<Result<_, _>>()?, count, runs)?)
        }
    };
    Ok(Datum { element: first.element, shape: shape.to_vec(), contents })
}

static TRANSPOSE: OpDef = OpDef {
    name: "Transpose",
    doc: "Axis i of the result is axis perm[i] of the data; without perm, the axes are reversed",
    versions: &[1, 13, 21, 23, 24, 25],
    inputs: &[Param::required("data", "T")],
    outputs: &[Param::required("transposed", "T")],
    attrs: &[AttrDef::optional("perm", AttrKind::Ints)],
    types: &[("T", sets::BEFORE_28)],
    infer: |call| {
        let data = call.input(0)?;
        let perm = permutation(call.attrs.ints("perm"), data.ty.rank())?;
        let shape = perm.iter().map(|&axis| data.ty.shape[axis].clone());
        Ok(vec![Some(Fact::new(data.ty.element, shape).with(contents(data)))])
    },
    eval: eval!(transpose),
    ..OpDef::BASE
};

fn permutation(perm: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, Reason> {
    match perm {
        None => Ok((0..rank).rev().collect()),
        Some(perm) if perm.len() == rank && perm.iter().all(|&axis| axis >= 0) => distinct_axes(perm, rank),
        Some(perm) => Err(Reason(format!("attribute `perm` {perm:?} is no permutation of {rank} axes"))),
    }
}

fn transpose<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let perm = permutation(call.attrs.ints("perm"), x.rank())?;
    Ok(vec![transposed(x, &perm)?])
}

/// Axis i of the result is axis `perm[i]`.
pub(super) fn transposed<S: Scalar>(x: &Datum<S>, perm: &[usize]) -> Result<Datum<S>, Reason> {
    let tables = identity(&x.shape);
    moved(x, &perm.iter().map(|&axis| tables[axis].clone()).collect())
}

static CONCAT: OpDef = OpDef {
    name: "Concat",
    doc: "The inputs one after the other along one axis",
    versions: &[1, 4, 11, 13],
    inputs: &[Param::variadic("inputs", "T")],
    outputs: &[Param::required("concat_result", "T")],
    attrs: &[AttrDef::required("axis", AttrKind::Int)],
    types: &[("T", sets::STANDARD)],
    infer: infer_concat,
    eval: eval!(concat),
    ..OpDef::BASE
};

fn infer_concat(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let first = call.ty(0)?;
    let axis = call.axis("axis", first.rank())?;
    let mut shape = first.shape.clone();
    let mut all = contents(call.input(0)?);
    for index in 1..call.inputs.len() {
        let other = call.input(index)?;
        if other.ty.rank() != shape.len() {
            return Err(Reason(format!("input {index} has rank {}, input 0 has {}", other.ty.rank(), shape.len())));
        }
        for (at, (into, dim)) in shape.iter_mut().zip(&other.ty.shape).enumerate() {
            *into = match (at == axis, into.as_known(), dim.as_known()) {
                (true, _, _) => into.add(dim).ok_or_else(overflow)?,
                (false, Some(a), Some(b)) if a != b => {
                    return Err(Reason(format!("dim {dim} of input {index} meets {into} at axis {at}")));
                }
                (false, None, Some(_)) => dim.clone(),
                _ => continue,
            };
        }
        all = all.zip(contents(other)).map(|(mut all, more)| {
            all.extend(more);
            all
        });
    }
    Ok(vec![Some(Fact::new(first.element, shape).with(all))])
}

fn concat<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let parts: Vec<&Datum<S>> = (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<_, _>>()?;
    let axis = call.axis("axis", call.input(0)?.rank())?;
    Ok(vec![joined(&parts, axis)?])
}

/// `parts`, of which there is at least one, one after the other along `axis`. Errors: other axes differ.
pub(super) fn joined<S: Scalar>(parts: &[&Datum<S>], axis: usize) -> Result<Datum<S>, Reason> {
    let mut shape = parts.first().ok_or_else(|| Reason::new("there is no input"))?.shape.clone();
    let fits = |part: &&Datum<S>| {
        part.rank() == shape.len() && (0..shape.len()).all(|at| at == axis || part.shape[at] == shape[at])
    };
    if let Some(part) = parts.iter().find(|part| !fits(part)) {
        return Err(Reason(format!("{:?} and {shape:?} differ beside axis {axis}", part.shape)));
    }
    shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
    count_of(&shape)?;
    let outer: usize = shape[..axis].iter().product();
    let runs: Vec<usize> = parts.iter().map(|part| part.shape[axis..].iter().product()).collect();
    let row_of = |row: usize| runs.iter().enumerate().map(move |(which, run)| (which, row * run..(row + 1) * run));
    spliced(parts, &shape, (0..outer).flat_map(row_of))
}

static SPLIT: OpDef = OpDef {
    name: "Split",
    doc: "Pieces along one axis: of the given sizes, or num_outputs equal ones with a smaller last",
    versions: &[1, 2, 11, 13, 18],
    inputs: &[Param::required("input", "T"), Param::optional("split", "tensor(int64)")],
    outputs: &[Param::variadic("outputs", "T")],
    attrs: &[AttrDef::int("axis", 0), AttrDef::optional("num_outputs", AttrKind::Int)],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: infer_split,
    eval: eval!(split),
    ..OpDef::BASE
};

fn infer_split(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let input = call.input(0)?;
    let axis = call.axis("axis", input.ty.rank())?;
    let dim = &input.ty.shape[axis];
    let pieces = match call.given(1) {
        Some(split) => match contents(split) {
            Some(pieces) => pieces,
            None => (0..call.n_outputs).map(|index| call.fresh(index)).collect(),
        },
        None => equal_pieces(dim, call.attrs.int("num_outputs"), call.n_outputs)?,
    };
    check_pieces(&pieces, dim, call.n_outputs)?;
    let mut whole = contents(input);
    let fact = |piece: &Dim| {
        let mut shape = input.ty.shape.clone();
        shape[axis] = piece.clone();
        let content = match (&mut whole, piece.as_size()) {
            (Some(rest), Some(size)) if size <= rest.len() => Some(rest.drain(..size).collect()),
            _ => {
                whole = None;
                None
            }
        };
        Some(Fact::new(input.ty.element, shape).with(content))
    };
    Ok(pieces.iter().map(fact).collect())
}

/// Sizes of `n_outputs` pieces of `dim`: its share rounded up, and for the last what remains.
fn equal_pieces(dim: &Dim, declared: Option<i64>, n_outputs: usize) -> Result<Vec<Dim>, Reason> {
    if declared.is_some_and(|declared| declared != n_outputs as i64) {
        return Err(Reason(format!("attribute `num_outputs` disagrees with the {n_outputs} outputs")));
    }
    let n = Dim::from(n_outputs);
    let share = dim.ceil_div(&n).ok_or_else(overflow)?;
    let rest = n.sub(&Dim::known(1)).and_then(|but_one| dim.sub(&share.mul(&but_one)?)).ok_or_else(overflow)?;
    let mut pieces = vec![share; n_outputs.saturating_sub(1)];
    pieces.push(rest);
    Ok(pieces)
}

fn check_pieces(pieces: &[Dim], dim: &Dim, n_outputs: usize) -> Result<(), Reason> {
    if pieces.len() != n_outputs {
        return Err(Reason(format!("{} pieces are given for {n_outputs} outputs", pieces.len())));
    }
    if let Some(piece) = pieces.iter().find(|piece| piece.as_known().is_some_and(|size| size < 0)) {
        return Err(Reason(format!("a piece would have size {piece}")));
    }
    let sum = pieces.iter().try_fold(Dim::known(0), |sum, piece| sum.add(piece)).ok_or_else(overflow)?;
    match (sum.as_known(), dim.as_known()) {
        (Some(sum), Some(size)) if sum != size => Err(Reason(format!("the pieces sum to {sum}, not to {size}"))),
        _ => Ok(()),
    }
}

fn split<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let axis = call.axis("axis", x.rank())?;
    let dim = Dim::from(x.shape[axis]);
    let pieces: Vec<Dim> = match call.given(1) {
        Some(split) => split.to_i64s()?.into_iter().map(Dim::known).collect(),
        None => equal_pieces(&dim, call.attrs.int("num_outputs"), call.n_outputs)?,
    };
    check_pieces(&pieces, &dim, call.n_outputs)?;
    let whole = identity(&x.shape);
    let mut start = 0;
    let piece = |piece: &Dim| {
        let size = piece.as_size().unwrap_or(0);
        let mut tables = whole.clone();
        tables[axis] = whole[axis][start..start + size].to_vec();
        start += size;
        moved(x, &tables)
    };
    pieces.iter().map(piece).collect()
}

static TILE: OpDef = OpDef {
    name: "Tile",
    doc: "The input repeated along each axis",
    versions: &[1, 6, 13],
    inputs: &[Param::required("input", "T"), Param::required("repeats", "T1")],
    outputs: &[Param::required("output", "T")],
    types: &[("T", sets::STANDARD), ("T1", sets::INT64)],
    infer: infer_tile,
    eval: eval!(tile),
    ..OpDef::BASE
};

fn infer_tile(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let ty = call.ty(0)?;
    let Some(repeats) = contents(call.input(1)?) else {
        let shape: Vec<Dim> = (0..ty.rank()).map(|axis| call.fresh(axis)).collect();
        return Ok(vec![Some(Fact::new(ty.element, shape))]);
    };
    check_repeats(&repeats, ty.rank())?;
    let dims = ty.shape.iter().zip(&repeats).map(|(dim, repeat)| dim.mul(repeat));
    Ok(vec![Some(Fact::new(ty.element, dims.collect::<Option<Vec<_>>>().ok_or_else(overflow)?))])
}

fn check_repeats(repeats: &[Dim], rank: usize) -> Result<(), Reason> {
    if repeats.len() != rank {
        return Err(Reason(format!("{} repeats are given for {rank} axes", repeats.len())));
    }
    match repeats.iter().find(|repeat| repeat.as_known().is_some_and(|repeat| repeat < 0)) {
        Some(repeat) => Err(Reason(format!("{repeat} repeats"))),
        None => Ok(()),
    }
}

fn tile<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let repeats = call.ints(1)?;
    check_repeats(&repeats.iter().copied().map(Dim::known).collect::<Vec<_>>(), x.rank())?;
    let repeats = sizes(&repeats)?;
    let shape: Option<Vec<usize>> =
        x.shape.iter().zip(&repeats).map(|(dim, repeat)| dim.checked_mul(*repeat)).collect();
    let shape = shape.ok_or_else(overflow)?;
    if count_of(&shape)? == 0 {
        return Ok(vec![x.gathered(&shape, std::iter::empty())?]);
    }
    let repeated = |(table, &repeat): (Vec<Option<usize>>, &usize)| table.repeat(repeat);
    Ok(vec![moved(x, &identity(&x.shape).into_iter().zip(&repeats).map(repeated).collect())?])
}

static DEPTH_TO_SPACE: OpDef = OpDef {
    name: "DepthToSpace",
    doc: "Channels become blocks of blocksize by blocksize pixels, in the order depth-column-row or column-row-depth",
    versions: &[1, 11, 13, 28],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::required("blocksize", AttrKind::Int), AttrDef::string("mode", "DCR")],
    types: &[("T", sets::STANDARD)],
    infer: |call| {
        let (ty, block) = (call.ty(0)?, block_size(call.int("blocksize")?)?);
        let [n, c, h, w] = ty.shape.as_slice() else { return Err(not_an_image(&ty.to_string())) };
        let area = Dim::known(block * block);
        let channels = match c.exact_div(&area) {
            Some(channels) => channels,
            None if c.as_known().is_some() => return Err(Reason(format!("{c} channels do not fill blocks of {area}"))),
            None => c.floor_div(&area).ok_or_else(overflow)?,
        };
        let scale = |dim: &Dim| dim.mul(&Dim::known(block)).ok_or_else(overflow);
        Ok(vec![Some(Fact::new(ty.element, [n.clone(), channels, scale(h)?, scale(w)?]))])
    },
    eval: eval!(depth_to_space),
    ..OpDef::BASE
};

fn block_size(block: i64) -> Result<i64, Reason> {
    // A side whose square still fits; nothing real comes near.
    if (1..1 << 31).contains(&block) { Ok(block) } else { Err(Reason(format!("attribute `blocksize` is {block}"))) }
}

fn not_an_image(found: &str) -> Reason {
    Reason(format!("a tensor of four axes is expected, found {found}"))
}

fn depth_to_space<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, b) = (call.input(0)?, block_size(call.int("blocksize")?)? as usize);
    let [n, c, h, w] = x.shape[..] else { return Err(not_an_image(&format!("{:?}", x.shape))) };
    if c % (b * b) != 0 {
        return Err(Reason(format!("{c} channels do not fill blocks of {}", b * b)));
    }
    let depth = c / (b * b);
    let (split, perm) = match call.attrs.string("mode") {
        Some("DCR") => ([n, b, b, depth, h, w], [0, 3, 4, 1, 5, 2]),
        Some("CRD") => ([n, depth, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        mode => return Err(Reason(format!("attribute `mode` is {mode:?}"))),
    };
    Ok(vec![transposed(&x.reshaped(&split)?, &perm)?.reshaped(&[n, depth, h * b, w * b])?])
}

static SPACE_TO_DEPTH: OpDef = OpDef {
    name: "SpaceToDepth",
    doc: "Blocks of blocksize by blocksize pixels become channels, in the order depth-column-row or column-row-depth",
    versions: &[1, 13, 28],
    inputs: &[Param::required("input", "T")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::required("blocksize", AttrKind::Int), AttrDef::string("mode", "DCR")],
    types: &[("T", sets::STANDARD)],
    infer: |call| {
        let (ty, block) = (call.ty(0)?, block_size(call.int("blocksize")?)?);
        let [n, c, h, w] = ty.shape.as_slice() else { return Err(not_an_image(&ty.to_string())) };
        let block = Dim::known(block);
        let shrink = |dim: &Dim| match dim.exact_div(&block) {
            Some(dim) => Ok(dim),
            None if dim.as_known().is_some() => Err(Reason(format!("{dim} pixels do not fill blocks of {block}"))),
            None => dim.floor_div(&block).ok_or_else(overflow),
        };
        let channels = c.mul(&block).and_then(|c| c.mul(&block)).ok_or_else(overflow)?;
        Ok(vec![Some(Fact::new(ty.element, [n.clone(), channels, shrink(h)?, shrink(w)?]))])
    },
    eval: eval!(space_to_depth),
    ..OpDef::BASE
};

fn space_to_depth<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let (x, b) = (call.input(0)?, block_size(call.int("blocksize")?)? as usize);
    let [n, c, h, w] = x.shape[..] else { return Err(not_an_image(&format!("{:?}", x.shape))) };
    if h % b != 0 || w % b != 0 {
        return Err(Reason(format!("{h} by {w} pixels do not fill blocks of {b}")));
    }
    let split = x.reshaped(&[n, c, h / b, b, w / b, b])?;
    let channels = c.checked_mul(b * b).ok_or_else(overflow)?;
    let perm = match call.attrs.string("mode") {
        Some("DCR") => [0, 3, 5, 1, 2, 4],
        Some("CRD") => [0, 1, 3, 5, 2, 4],
        mode => return Err(Reason(format!("attribute `mode` is {mode:?}"))),
    };
    Ok(vec![transposed(&split, &perm)?.reshaped(&[n, channels, h / b, w / b])?])
}

static TRILU: OpDef = OpDef {
    name: "Trilu",
    doc: "The upper or lower triangle of each matrix from diagonal k on, zero elsewhere",
    versions: &[14],
    inputs: &[Param::required("input", "T"), Param::optional("k", "tensor(int64)")],
    outputs: &[Param::required("output", "T")],
    attrs: &[AttrDef::int("upper", 1)],
    types: &[("T", sets::STANDARD), ("tensor(int64)", sets::INT64)],
    infer: |call| {
        let ty = call.ty(0)?;
        if ty.rank() < 2 {
            return Err(Reason(format!("a matrix is expected, found {ty}")));
        }
        Ok(vec![Some(ty.clone().into())])
    },
    eval: eval!(trilu),
    ..OpDef::BASE
};

fn trilu<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let [.., rows, columns] = x.shape[..] else { return Err(Reason::new("a matrix is expected")) };
    let k = match call.given(1) {
        Some(k) => *k.to_i64s()?.first().ok_or_else(|| Reason::new("the diagonal is empty"))?,
        None => 0,
    };
    let upper = call.attrs.flag("upper");
    let source = |at: usize| {
        let (row, column) = ((at / columns % rows) as i128, (at % columns) as i128);
        let on = column - row - i128::from(k);
        (if upper { on >= 0 } else { on <= 0 }).then_some(at)
    };
    Ok(vec![x.gathered(&x.shape, (0..x.count()).map(source))?])
}

static REVERSE_SEQUENCE: OpDef = OpDef {
    name: "ReverseSequence",
    doc: "The first sequence_lens[i] steps of batch item i in reverse order, the others as they are",
    versions: &[10, 28],
    inputs: &[Param::required("input", "T"), Param::required("sequence_lens", "tensor(int64)")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[AttrDef::int("batch_axis", 1), AttrDef::int("time_axis", 0)],
    types: &[("T", sets::STANDARD), ("tensor(int64)", &[Element::Int64])],
    infer: |call| {
        let ty = call.ty(0)?;
        sequence_axes(call.int("batch_axis")?, call.int("time_axis")?, ty.rank())?;
        Ok(vec![Some(ty.clone().into())])
    },
    eval: eval!(reverse_sequence),
    ..OpDef::BASE
};

fn sequence_axes(batch: i64, time: i64, rank: usize) -> Result<(usize, usize), Reason> {
    match (normalize_axis(batch, rank), normalize_axis(time, rank)) {
        (Some(batch), Some(time)) if batch < 2 && time < 2 && batch != time => Ok((batch, time)),
        _ => Err(Reason(format!("batch axis {batch} and time axis {time} are not the first two of {rank} axes"))),
    }
}

fn reverse_sequence<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let x = call.input(0)?;
    let (batch, time) = sequence_axes(call.int("batch_axis")?, call.int("time_axis")?, x.rank())?;
    let lengths = call.ints(1)?;
    let steps = x.shape[time];
    if lengths.len() != x.shape[batch] || lengths.iter().any(|&length| length < 0 || length as u64 > steps as u64) {
        return Err(Reason(format!("lengths {lengths:?} do not fit the shape {:?}", x.shape)));
    }
    let strides = strides_of(&x.shape);
    let source = |at: usize| {
        let (item, step) = (at / strides[batch] % x.shape[batch], at / strides[time] % steps);
        let length = lengths[item] as usize;
        let from = if step < length { length - 1 - step } else { step };
        Some(at - step * strides[time] + from * strides[time])
    };
    Ok(vec![x.gathered(&x.shape, (0..x.count()).map(source))?])
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::{infer, infer_outputs};

    #[test]
    fn movements_carry_dims_and_contents() {
        let axis = |axis| [("axis", Attr::Int(axis))];
        let perm = |perm: &[i64]| [("perm", Attr::Ints(perm.into()))];
        assert_eq!(infer("Transpose", &[], &["float[n,3,m]"]), "float[m,3,n]");
        assert_eq!(infer("Transpose", &perm(&[1, 0]), &["float[n,3]"]), "float[3,n]");
        assert_eq!(infer("Transpose", &perm(&[0, 0]), &["float[n,3]"]), "axis 0 is given twice");
        assert_eq!(infer("Concat", &axis(0), &["int64[1] = n", "int64[2] = -1,64"]), "int64[3] = n,-1,64");
        assert_eq!(infer("Concat", &axis(0), &["int64[1] = n", "int64[2]"]), "int64[3]");
        assert_eq!(infer("Concat", &axis(-1), &["float[b,p]", "float[2,s]"]), "float[2,s + p]");
        assert_eq!(infer("Concat", &axis(1), &["float[2,3]", "float[3,3]"]), "dim 3 of input 1 meets 2 at axis 0");
        assert_eq!(infer("Concat", &axis(0), &["float[]"]), "axis 0 is out of range for rank 0");
        assert_eq!(infer("Tile", &[], &["float[n,3]", "int64[2] = 2,k"]), "float[2*n,3*k]");
        assert_eq!(infer("Tile", &[], &["float[n,3]", "int64[1] = 2"]), "1 repeats are given for 2 axes");
        let block = [("blocksize", Attr::Int(2))];
        assert_eq!(infer("DepthToSpace", &block, &["float[n,8,h,w]"]), "float[n,2,2*h,2*w]");
        assert_eq!(infer("SpaceToDepth", &block, &["float[n,c,2*h,6]"]), "float[n,4*c,h,3]");
        assert_eq!(infer("SpaceToDepth", &block, &["float[n,c,h,5]"]), "5 pixels do not fill blocks of 2");
    }

    #[test]
    fn pieces_fill_their_axis() {
        let split = |attrs: &[(&str, Attr)], inputs: &[&str], n| infer_outputs("Split", attrs, inputs, n);
        assert_eq!(split(&[], &["float[12*n]"], 3), "float[4*n]; float[4*n]; float[4*n]");
        assert_eq!(split(&[], &["float[7]"], 3), "float[3]; float[3]; float[1]");
        assert_eq!(split(&[], &["float[5]"], 4), "a piece would have size -1");
        assert_eq!(split(&[], &["int64[3] = n,2,m", "int64[2] = 1,2"], 2), "int64[1] = n; int64[2] = 2,m");
        assert_eq!(split(&[], &["float[5]", "int64[2] = 1,2"], 2), "the pieces sum to 3, not to 5");
        assert_eq!(split(&[], &["float[5]", "int64[2]"], 2), "float[?t.0]; float[?t.1]");
        let refused = "attribute `num_outputs` disagrees with the 2 outputs";
        assert_eq!(split(&[("num_outputs", Attr::Int(3))], &["float[6]"], 2), refused);
        assert_eq!(split(&[], &["float[n]"], 1), "float[n]");
    }
}
