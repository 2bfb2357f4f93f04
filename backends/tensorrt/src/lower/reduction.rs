//! Reductions, and what looks for the largest elements.

use super::activation::must_be_constant;
use super::builder::Builder;
use super::call::Call;
use super::operand::Typed;
use super::refusal::Refusal;
use super::terms::Term;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, Layer, ReduceKind, TopKCount, UnaryKind};
use crate::spec::DataType;
use eutectic_ir::Dim;

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("ReduceSum", |builder, call| reduce(builder, call, ReduceKind::Sum)),
    ("ReduceMean", |builder, call| reduce(builder, call, ReduceKind::Mean)),
    ("ReduceProd", |builder, call| reduce(builder, call, ReduceKind::Product)),
    ("ReduceMax", |builder, call| reduce(builder, call, ReduceKind::Max)),
    ("ReduceMin", |builder, call| reduce(builder, call, ReduceKind::Min)),
    ("ReduceL1", l1),
    ("ReduceL2", l2),
    ("ReduceSumSquare", sum_of_squares),
    ("ReduceLogSum", log_of_sum),
    ("ReduceLogSumExp", log_of_sum_of_powers),
    ("ArgMax", |builder, call| extreme_index(builder, call, true)),
    ("ArgMin", |builder, call| extreme_index(builder, call, false)),
    ("TopK", top_k),
    ("CumSum", cumulative_sum),
];

/// What a reduction reduces: no axes mean all of them, or none when `noop_with_empty_axes` says so.
struct Reduction {
    x: Typed,
    axes: Vec<usize>,
    keep: bool,
}

impl Reduction {
    fn of(builder: &mut Builder, call: &Call) -> Result<Self, Refusal> {
        let x = builder.input(call, 0)?;
        let axes = call.axes(1, "axes", x.rank())?.unwrap_or_default();
        let axes = match axes.is_empty() && !call.attrs.flag("noop_with_empty_axes") {
            true => (0..x.rank()).collect(),
            false => axes,
        };
        Ok(Self { x, axes, keep: call.int("keepdims", 1) != 0 })
    }

    fn run(&self, builder: &mut Builder, kind: ReduceKind, x: &Typed) -> Typed {
        builder.reduce(kind, x, &self.axes, self.keep)
    }
}

fn reduce(builder: &mut Builder, call: &Call, kind: ReduceKind) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    if reduction.x.data_type == DataType::Bool {
        // Any and all, in the integers.
        let numbers = builder.cast(&reduction.x, DataType::I32);
        let y = reduction.run(builder, kind, &numbers);
        return Ok(vec![builder.cast(&y, DataType::Bool).into()]);
    }
    Ok(vec![reduction.run(builder, kind, &reduction.x).into()])
}

fn l1(builder: &mut Builder, call: &Call) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    let size = builder.unary(UnaryKind::Abs, &reduction.x);
    Ok(vec![reduction.run(builder, ReduceKind::Sum, &size).into()])
}

fn squares(builder: &mut Builder, reduction: &Reduction) -> Result<Typed, Refusal> {
    let squares = builder.pair(ElementWiseKind::Product, &reduction.x, &reduction.x)?;
    Ok(reduction.run(builder, ReduceKind::Sum, &squares))
}

fn l2(builder: &mut Builder, call: &Call) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    let sum = squares(builder, &reduction)?;
    Ok(vec![builder.unary(UnaryKind::Sqrt, &sum).into()])
}

fn sum_of_squares(builder: &mut Builder, call: &Call) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    Ok(vec![squares(builder, &reduction)?.into()])
}

fn log_of_sum(builder: &mut Builder, call: &Call) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    let sum = reduction.run(builder, ReduceKind::Sum, &reduction.x);
    Ok(vec![builder.unary(UnaryKind::Log, &sum).into()])
}

/// `max + log(sum(exp(x - max)))`, which does not overflow.
fn log_of_sum_of_powers(builder: &mut Builder, call: &Call) -> Lowered {
    let reduction = Reduction::of(builder, call)?;
    let top = builder.reduce(ReduceKind::Max, &reduction.x, &reduction.axes, true);
    let lowered = builder.pair(ElementWiseKind::Subtract, &reduction.x, &top)?;
    let powers = builder.unary(UnaryKind::Exp, &lowered);
    let sum = reduction.run(builder, ReduceKind::Sum, &powers);
    let log = builder.unary(UnaryKind::Log, &sum);
    let top = if reduction.keep { top } else { builder.squeeze(&top, &reduction.axes) };
    Ok(vec![builder.pair(ElementWiseKind::Sum, &log, &top)?.into()])
}

impl Builder {
    /// Where the first of the largest elements along `axis` stands; the axis stays, with one element.
    pub(super) fn first_largest(&mut self, x: &Typed, axis: usize) -> Result<Typed, Refusal> {
        Ok(top(self, x, true, TopKCount::Known(1), axis, Dim::known(1))?.1)
    }
}

/// Values and indices of the `k` largest or smallest along `axis`.
fn top(
    builder: &mut Builder,
    x: &Typed,
    largest: bool,
    k: TopKCount,
    axis: usize,
    count: Dim,
) -> Result<(Typed, Typed), Refusal> {
    if x.rank() == 1 {
        let row = builder.unsqueeze(x, &[0])?;
        let (values, indices) = top(builder, &row, largest, k, 1, count)?;
        return Ok((builder.squeeze(&values, &[0]), builder.squeeze(&indices, &[0])));
    }
    let mut shape = x.shape.clone();
    shape[axis] = count;
    let layer = Layer::TopK { input: x.at, largest, k, axis: axis as u32, indices: DataType::I64 };
    let at = builder.layer("topk", layer);
    let values = Typed { at, data_type: x.data_type, shape: shape.clone() };
    Ok((values, Typed { at: builder.spec.result(at, 1), data_type: DataType::I64, shape }))
}

fn extreme_index(builder: &mut Builder, call: &Call, largest: bool) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", 0), x.rank())?;
    let is_last = call.attrs.flag("select_last_index");
    // The last of equal elements is the first of the reversed axis.
    let read = if is_last { builder.reversed(&x, axis)? } else { x.clone() };
    let (_, mut indices) = top(builder, &read, largest, TopKCount::Known(1), axis, Dim::known(1))?;
    if is_last {
        let length = builder.extent(&x, axis)?;
        let end = builder.sub(&length, &Term::Known(1))?;
        let end = builder.term(&end)?;
        indices = builder.binary(ElementWiseKind::Subtract, &end.into(), &indices.into())?;
    }
    let keep = call.int("keepdims", 1) != 0;
    Ok(vec![if keep { indices } else { builder.squeeze(&indices, &[axis]) }.into()])
}

fn top_k(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", -1), x.rank())?;
    let largest = call.int("largest", 1) != 0;
    let (k, count) = match call.list(1, "k") {
        Ok(Some(known)) => {
            let known = known.first().copied().ok_or("it has no k")?;
            let k = i32::try_from(known).map_err(|_| Refusal::new(format!("its k is {known}")))?;
            (TopKCount::Known(k), Dim::known(known))
        }
        _ => {
            let k = builder.input(call, 1)?;
            let k = builder.cast(&k, DataType::I32);
            let k = if k.rank() == 1 { builder.squeeze(&k, &[0]) } else { k };
            (TopKCount::Computed(k.at), builder.fresh())
        }
    };
    let (values, indices) = top(builder, &x, largest, k, axis, count)?;
    Ok(vec![values.into(), indices.into()])
}

fn cumulative_sum(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let axis = call.axes(1, "axis", x.rank()).map_err(|_| must_be_constant("axis"))?;
    let axis = axis.and_then(|axes| axes.first().copied()).ok_or("it has no axis")?;
    let axis = builder.scalar(axis as f64, DataType::I32, 0)?;
    let (exclusive, reverse) = (call.attrs.flag("exclusive"), call.attrs.flag("reverse"));
    let layer = Layer::CumulativeSum { input: x.at, axis: axis.at, exclusive, reverse };
    let y = builder.typed("cumsum", layer, x.data_type, x.shape.clone());
    Ok(vec![y.into()])
}
