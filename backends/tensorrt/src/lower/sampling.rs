//! Sampling a tensor at the places of a grid.

use super::builder::Builder;
use super::call::Call;
use super::refusal::Refusal;
use super::{Lowered, Lowering};
use crate::layer::{InterpolationMode, Layer, SliceMode};

/// The operators of this family.
pub(super) const OPS: &[Lowering] = &[("GridSample", grid_sample), ("ReverseSequence", reverse_sequence)];

fn grid_sample(builder: &mut Builder, call: &Call) -> Lowered {
    let (x, grid) = (builder.input(call, 0)?, builder.input(call, 1)?);
    if x.rank() != 4 {
        return Err(Refusal::new(format!("its input has {} axes", x.rank())).instead("four axes"));
    }
    let mode = match call.string("mode", "linear") {
        "nearest" => InterpolationMode::Nearest,
        "cubic" | "bicubic" => InterpolationMode::Cubic,
        _ => InterpolationMode::Linear,
    };
    let outside = match call.string("padding_mode", "zeros") {
        "border" => SliceMode::Clamp,
        "reflection" => SliceMode::Reflect,
        _ => SliceMode::Fill,
    };
    let shape = vec![x.shape[0].clone(), x.shape[1].clone(), grid.shape[1].clone(), grid.shape[2].clone()];
    let align_corners = call.attrs.flag("align_corners");
    let layer = Layer::GridSample { input: x.at, grid: grid.at, mode, outside, align_corners };
    Ok(vec![builder.typed("sample", layer, x.data_type, shape).into()])
}

fn reverse_sequence(builder: &mut Builder, call: &Call) -> Lowered {
    let (x, lengths) = (builder.input(call, 0)?, builder.input(call, 1)?);
    let axis = |name: &str, otherwise: i64| call.axis(call.int(name, otherwise), x.rank());
    let (batch_axis, time_axis) = (axis("batch_axis", 1)? as u32, axis("time_axis", 0)? as u32);
    let layer = Layer::ReverseSequence { input: x.at, lengths: lengths.at, batch_axis, time_axis };
    Ok(vec![builder.typed("reverse", layer, x.data_type, x.shape.clone()).into()])
}
