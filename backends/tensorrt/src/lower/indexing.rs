//! Reading and writing by index.

use super::activation::must_be_constant;
use super::builder::Builder;
use super::call::Call;
use super::operand::{Operand, Typed, element};
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{ElementWiseKind, GatherMode, Layer, ScatterMode};
use crate::spec::DataType;
use eutectic_ir::{Dim, Tensor};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[
    ("Gather", gather),
    ("GatherElements", gather_elements),
    ("GatherND", gather_nd),
    ("Compress", compress),
    ("ScatterND", scatter_nd),
    ("ScatterElements", scatter_elements),
    ("TensorScatter", tensor_scatter),
    ("OneHot", one_hot),
    ("Trilu", triangle),
];

/// Indices that address `axis` of `data` from the front. TensorRT does so itself where the extent is known.
fn indices(builder: &mut Builder, operand: &Operand, data: &Typed, axis: usize) -> Result<Typed, Refusal> {
    let indices = builder.tensor(operand)?;
    let known = operand.weight().and_then(|weight| weight.tensor.to_i64s());
    let never_negative = known.is_some_and(|known| known.iter().all(|&index| index >= 0));
    if never_negative || data.shape.get(axis).is_some_and(|dim| dim.as_known().is_some()) {
        return Ok(indices);
    }
    let indices = builder.cast(&indices, DataType::I64);
    let extent = builder.extent(data, axis)?;
    let mut extent = builder.term(&extent)?;
    if indices.rank() == 0 {
        extent = builder.squeeze(&extent, &[0]);
    }
    let shifted = builder.pair(ElementWiseKind::Sum, &indices, &extent)?;
    let is_negative = builder.with(ElementWiseKind::Less, &indices, 0.0)?;
    builder.select(&is_negative.into(), &shifted.into(), &indices.into())
}

fn gather(builder: &mut Builder, call: &Call) -> Lowered {
    let data = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", 0), data.rank())?;
    let indices = indices(builder, call.value(1)?, &data, axis)?;
    let mut shape = data.shape[..axis].to_vec();
    shape.extend(indices.shape.iter().cloned());
    shape.extend(data.shape[axis + 1..].iter().cloned());
    let layer = Layer::Gather {
        data: data.at,
        indices: indices.at,
        mode: GatherMode::Default,
        axis: axis as u32,
        batch_dims: 0,
    };
    Ok(vec![builder.typed("gather", layer, data.data_type, shape).into()])
}

fn gather_elements(builder: &mut Builder, call: &Call) -> Lowered {
    let data = builder.input(call, 0)?;
    let axis = call.axis(call.int("axis", 0), data.rank())?;
    let indices = indices(builder, call.value(1)?, &data, axis)?;
    let layer = Layer::Gather {
        data: data.at,
        indices: indices.at,
        mode: GatherMode::Element,
        axis: axis as u32,
        batch_dims: 0,
    };
    Ok(vec![builder.typed("gather", layer, data.data_type, indices.shape).into()])
}

fn gather_nd(builder: &mut Builder, call: &Call) -> Lowered {
    let (data, indices) = (builder.input(call, 0)?, builder.input(call, 1)?);
    let batch = usize::try_from(call.int("batch_dims", 0)).unwrap_or(usize::MAX);
    let depth = indices.shape.last().and_then(Dim::as_size);
    let depth =
        depth.ok_or_else(|| Refusal::new("the last extent of its indices is dynamic").instead("a constant extent"))?;
    if batch.saturating_add(depth) > data.rank() || batch >= indices.rank() {
        return Err(Refusal::new("its indices address more axes than its data has"));
    }
    let mut shape = indices.shape[..indices.rank() - 1].to_vec();
    shape.extend(data.shape[batch + depth..].iter().cloned());
    let layer =
        Layer::Gather { data: data.at, indices: indices.at, mode: GatherMode::Nd, axis: 0, batch_dims: batch as u32 };
    Ok(vec![builder.typed("gather", layer, data.data_type, shape).into()])
}

/// The elements along an axis, or of all the data in a row, where a condition holds. How many these are must be known.
fn compress(builder: &mut Builder, call: &Call) -> Lowered {
    let data = builder.input(call, 0)?;
    let Some(condition) = call.arg(1)?.ints() else {
        return Err(Refusal::new("the extents of its result depend on contents").instead("a constant condition"));
    };
    let kept: Vec<i64> = (0..).zip(condition).filter(|(_, holds)| *holds != 0).map(|(at, _)| at).collect();
    if kept.is_empty() {
        return Err(Refusal::new("its result has no elements"));
    }
    let (data, axis) = match call.attrs.int("axis") {
        Some(axis) => {
            let axis = call.axis(axis, data.rank())?;
            (data, axis)
        }
        None => {
            let length = data.shape.iter().try_fold(Dim::known(1), |product, dim| product.mul(dim));
            let length = length.unwrap_or_else(|| builder.fresh());
            (builder.reshape_from(&data, &[length], &[&data])?, 0)
        }
    };
    let mut shape = data.shape.clone();
    shape[axis] = Dim::known(kept.len() as i64);
    let indices = builder.vector(&kept)?;
    let (mode, axis) = (GatherMode::Default, axis as u32);
    let layer = Layer::Gather { data: data.at, indices: indices.at, mode, axis, batch_dims: 0 };
    Ok(vec![builder.typed("gather", layer, data.data_type, shape).into()])
}

fn scatter(builder: &mut Builder, call: &Call, mode: ScatterMode) -> Lowered {
    call.one_of("reduction", &["none"])?;
    let data = builder.input(call, 0)?;
    let (indices, updates) = (builder.input(call, 1)?, builder.input(call, 2)?);
    let axis = match mode {
        ScatterMode::Element => call.axis(call.int("axis", 0), data.rank())?,
        ScatterMode::Nd => 0,
    };
    let layer = Layer::Scatter { data: data.at, indices: indices.at, updates: updates.at, mode, axis: axis as u32 };
    let shape = data.shape.clone();
    Ok(vec![builder.typed("scatter", layer, data.data_type, shape).into()])
}

fn scatter_nd(builder: &mut Builder, call: &Call) -> Lowered {
    scatter(builder, call, ScatterMode::Nd)
}

fn scatter_elements(builder: &mut Builder, call: &Call) -> Lowered {
    scatter(builder, call, ScatterMode::Element)
}

/// The cache with the update of each sample written along one axis from the sample's write index on, perhaps around: a scatter
/// of elements to places that layers compute, since TensorRT's own layer of caches wants one buffer for its input and its output.
fn tensor_scatter(builder: &mut Builder, call: &Call) -> Lowered {
    call.one_of("mode", &["linear", "circular"])?;
    let (cache, update) = (builder.input(call, 0)?, builder.input(call, 1)?);
    let rank = cache.rank();
    let axis = call.axis(call.int("axis", -2), rank)?;
    let length = builder.extent(&update, axis)?;
    let places = builder.count_up(&length, &update.shape[axis])?;
    let mut places = builder.unsqueeze(&places, &(0..rank).filter(|at| *at != axis).collect::<Vec<_>>())?;
    let behind: Vec<usize> = (1..rank).collect();
    if call.given(2).is_some() {
        let starts = builder.input(call, 2)?;
        let starts = builder.unsqueeze(&starts, &behind)?;
        places = builder.pair(ElementWiseKind::Sum, &places, &starts)?;
    }
    if call.string("mode", "linear") == "circular" {
        let longest = builder.extent(&cache, axis)?;
        let longest = builder.term(&longest)?;
        let longest = builder.unsqueeze(&longest, &behind)?;
        let turns = builder.pair(ElementWiseKind::FloorDivide, &places, &longest)?;
        let turns = builder.pair(ElementWiseKind::Product, &turns, &longest)?;
        places = builder.pair(ElementWiseKind::Subtract, &places, &turns)?;
    }
    let sizes = builder.sizes(&update)?;
    let places = builder.expand(&places, &update.shape, &sizes)?;
    let (data, indices, updates, mode) = (cache.at, places.at, update.at, ScatterMode::Element);
    let layer = Layer::Scatter { data, indices, updates, mode, axis: axis as u32 };
    Ok(vec![builder.typed("scatter", layer, cache.data_type, cache.shape).into()])
}

fn one_hot(builder: &mut Builder, call: &Call) -> Lowered {
    let (indices, values) = (builder.input(call, 0)?, builder.input(call, 2)?);
    let axis = call.axis(call.int("axis", -1), indices.rank() + 1)?;
    let depth_known = call.arg(1)?.ints().and_then(|depth| depth.first().copied());
    let dim = match (depth_known, call.shape(0).and_then(|shape| shape.get(axis))) {
        (Some(known), _) => Dim::known(known),
        (None, Some(dim)) => dim.clone(),
        (None, None) => builder.fresh(),
    };
    let mut shape = indices.shape.clone();
    shape.insert(axis, dim);
    let indices = builder.cast(&indices, DataType::I64);
    let depth = match depth_known {
        Some(known) => builder.scalar(known as f64, DataType::I64, 0)?,
        None => {
            let depth = builder.input(call, 1)?;
            let depth = builder.cast(&depth, DataType::I64);
            builder.squeeze(&depth, &(0..depth.rank()).collect::<Vec<_>>())
        }
    };
    // An index below zero counts from the end.
    let is_negative = builder.with(ElementWiseKind::Less, &indices, 0.0)?;
    let from_end = builder.binary(ElementWiseKind::Sum, &indices.clone().into(), &depth.clone().into())?;
    let indices = builder.select(&is_negative.into(), &from_end.into(), &indices.into())?;
    let layer = Layer::OneHot { indices: indices.at, values: values.at, depth: depth.at, axis: axis as u32 };
    Ok(vec![builder.typed("onehot", layer, values.data_type, shape).into()])
}

/// Keeps a triangle of the last two axes and sets the rest to zero, by a constant mask.
fn triangle(builder: &mut Builder, call: &Call) -> Lowered {
    let x = builder.input(call, 0)?;
    let rank = x.rank();
    if rank < 2 {
        return Err(Refusal::new(format!("its input has rank {rank}")));
    }
    let (Some(rows), Some(columns)) = (x.shape[rank - 2].as_size(), x.shape[rank - 1].as_size()) else {
        return Err(Refusal::new("the last two extents of its input are dynamic").instead("constant extents"));
    };
    let diagonal = match call.given(1) {
        Some(arg) => arg.ints().and_then(|ints| ints.first().copied()).ok_or_else(|| must_be_constant("diagonal"))?,
        None => 0,
    };
    let upper = call.int("upper", 1) != 0;
    let keeps = |row: usize, column: usize| {
        let distance = column as i64 - row as i64;
        if upper { distance >= diagonal } else { distance <= diagonal }
    };
    let mask: Vec<bool> = (0..rows).flat_map(|row| (0..columns).map(move |column| keeps(row, column))).collect();
    let mask = Tensor::from_bools(&[rows, columns], &mask).map_err(|error| error.to_string())?;
    let mask: Operand = builder.weight("", mask).into();
    if x.data_type == DataType::Bool {
        return Ok(vec![builder.binary(ElementWiseKind::And, &x.into(), &mask)?.into()]);
    }
    let zero = Tensor::full(element(x.data_type), &[], 0.0).map_err(|error| error.to_string())?;
    let zero: Operand = builder.weight("", zero).into();
    Ok(vec![builder.select(&mask, &x.into(), &zero)?.into()])
}
