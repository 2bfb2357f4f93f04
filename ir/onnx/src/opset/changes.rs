//! What changed when: the table of steps between versions of the default operator set.
//!
//! A version of an operator that is not here only admitted more element types (`widened.rs`) or means the same as the one
//! before (`unchanged.rs`); `tests.rs` compares the three with the schema history of ONNX.

use super::steps::attention::*;
use super::steps::linear::*;
use super::steps::movement::*;
use super::steps::normalization::*;
use super::steps::pointwise::*;
use super::steps::pooling::*;
use super::steps::quantization::*;
use super::steps::recurrent::*;
use super::steps::reduction::*;
use super::steps::resize::*;
use super::steps::scatter::*;
use super::steps::{input_to_ints, ints_to_input, same};
use crate::call::{Call, Facts};
use eutectic_ir::{Attr, Reason};

/// One change of an operator.
pub(super) enum Change {
    /// A new attribute; leaving it out means what the operator did before.
    Attr(&'static str, Means),
    /// An attribute without a meaning is gone.
    Gone(&'static str),
    /// A list of integers that was an attribute became an input, at this position.
    IntsToInput(&'static str, usize),
    /// Anything else.
    Step { up: Convert, down: Convert },
}

/// What the absence of an attribute means.
pub(super) enum Means {
    /// Something that no value expresses.
    Absent,
    Int(i64),
    String(&'static str),
    /// A list of ones.
    Ones,
}

/// Rewrites a call for the next or the previous version.
pub(super) type Convert = fn(Call, &dyn Facts) -> Result<Vec<Call>, Reason>;

impl Change {
    /// The attribute that comes or goes, where that is all.
    #[cfg(test)]
    pub fn attribute(&self) -> Option<&'static str> {
        match self {
            Change::Attr(name, _) | Change::Gone(name) | Change::IntsToInput(name, _) => Some(name),
            Change::Step { .. } => None,
        }
    }

    /// From the version before to the version of the change.
    pub fn up(&self, mut call: Call, facts: &dyn Facts) -> Result<Vec<Call>, Reason> {
        match self {
            Change::Attr(..) => {}
            Change::Gone(name) => drop(call.attrs.remove(name)),
            Change::IntsToInput(attr, slot) => ints_to_input(&mut call, attr, *slot),
            Change::Step { up, .. } => return up(call, facts),
        }
        Ok(vec![call])
    }

    /// From the version of the change to the version before.
    pub fn down(&self, mut call: Call, facts: &dyn Facts) -> Result<Vec<Call>, Reason> {
        match self {
            Change::Attr(name, means) => {
                if let Some(value) = call.attrs.get(name)
                    && !means.is(value)
                {
                    return Err(Reason(format!("{} has the attribute `{name}`", call.op_type)));
                }
                call.attrs.remove(name);
            }
            Change::Gone(_) => {}
            Change::IntsToInput(attr, slot) => input_to_ints(&mut call, attr, *slot, facts)?,
            Change::Step { down, .. } => return down(call, facts),
        }
        Ok(vec![call])
    }
}

impl Means {
    fn is(&self, value: &Attr) -> bool {
        match (self, value) {
            (Means::Int(expected), Attr::Int(found)) => expected == found,
            (Means::String(expected), Attr::String(found)) => expected == found,
            (Means::Ones, Attr::Ints(found)) => found.iter().all(|&one| one == 1),
            _ => false,
        }
    }
}

use Change::{Attr as New, Gone, IntsToInput, Step};
use Means::{Absent, Int, Ones, String};

/// Inputs that the operator might overwrite, in the first releases.
const CONSUMED: &str = "consumed_inputs";

/// The changes of operator `name`, by ascending version.
pub(super) fn changes(name: &str) -> &'static [(u64, Change)] {
    match name {
        "Abs"
        | "Ceil"
        | "Elu"
        | "Exp"
        | "Floor"
        | "HardSigmoid"
        | "InstanceNormalization"
        | "LeakyRelu"
        | "Log"
        | "Neg"
        | "Reciprocal"
        | "Relu"
        | "Sigmoid"
        | "Sqrt"
        | "Tanh" => &[(6, Gone(CONSUMED))],
        "Add" | "Div" | "Mul" | "Sub" => {
            &[(6, Gone(CONSUMED)), (7, Step { up: broadcast_to_7, down: broadcast_from_7 })]
        }
        "And" | "Equal" | "Greater" | "Less" | "Or" | "Xor" => {
            &[(7, Step { up: broadcast_to_7, down: broadcast_from_7 })]
        }
        "ArgMax" | "ArgMin" => &[(12, New("select_last_index", Int(0)))],
        "Attention" => &[
            (24, Step { up: same, down: attention_without_lengths }),
            (25, New("left_window_size", Int(-1))),
            (25, New("right_window_size", Int(-1))),
        ],
        "AveragePool" => &[
            (7, New("count_include_pad", Int(0))),
            (10, New("ceil_mode", Int(0))),
            (19, New("dilations", Ones)),
            (22, Step { up: same, down: windows_within }),
        ],
        "BatchNormalization" => &[
            (6, Step { up: batch_norm_to_6, down: batch_norm_from_6 }),
            (7, Step { up: inference_to_7, down: inference_from_7 }),
            (9, Step { up: batch_norm_to_9, down: same }),
            (14, Step { up: batch_norm_to_14, down: batch_norm_from_14 }),
            (15, Step { up: same, down: batch_norm_from_15 }),
        ],
        "Cast" => &[
            (6, Step { up: cast_to_6, down: cast_from_6 }),
            (19, New("saturate", Int(1))),
            (24, New("round_mode", String("up"))),
        ],
        "Bernoulli" => &[(22, Step { up: same, down: probabilities_without_bfloat16 })],
        "CastLike" => &[(19, New("saturate", Int(1))), (24, New("round_mode", String("up")))],
        "Clip" => &[(6, Step { up: clip_to_6, down: same }), (11, Step { up: clip_to_11, down: clip_from_11 })],
        "Concat" => &[(4, Step { up: concat_to_4, down: same })],
        "DFT" => &[(20, Step { up: dft_to_20, down: dft_from_20 })],
        "DepthToSpace" => &[(11, New("mode", String("DCR")))],
        "DequantizeLinear" => &[
            (13, Step { up: same, down: one_scale }),
            (21, New("block_size", Int(0))),
            (23, New("output_dtype", Int(0))),
        ],
        "Dropout" => &[
            (6, Gone(CONSUMED)),
            (7, Step { up: inference_to_7, down: inference_from_7 }),
            (12, Step { up: dropout_to_12, down: dropout_from_12 }),
            (22, Step { up: same, down: dropout_from_22 }),
        ],
        "Erf" => &[(13, Step { up: integers_as_reals, down: same })],
        "GRU" => &[
            (3, Step { up: gru_to_3, down: gru_from_3 }),
            (7, Step { up: sequence_to_7, down: sequence_from_7 }),
            (14, New("layout", Int(0))),
        ],
        "GatherND" => &[(12, New("batch_dims", Int(0)))],
        "Gemm" => &[(7, Step { up: gemm_to_7, down: gemm_from_7 }), (11, Step { up: same, down: gemm_with_bias })],
        "GlobalLpPool" => &[(2, Step { up: norm_to_2, down: norm_from_2 })],
        "GridSample" => &[(20, Step { up: grid_sample_to_20, down: grid_sample_from_20 })],
        "GroupNormalization" => &[(21, Step { up: per_group, down: per_channel })],
        "Hardmax" | "LogSoftmax" | "Softmax" => &[(13, Step { up: softmax_to_13, down: softmax_from_13 })],
        "LSTM" | "RNN" => &[(7, Step { up: sequence_to_7, down: sequence_from_7 }), (14, New("layout", Int(0)))],
        "LpPool" => &[
            (2, Step { up: norm_to_2, down: norm_from_2 }),
            (18, New("ceil_mode", Int(0))),
            (18, New("dilations", Ones)),
        ],
        "Max" | "Mean" | "Min" | "Sum" => &[(6, Gone(CONSUMED)), (8, Step { up: same, down: one_shape })],
        "MaxPool" => &[
            (8, Step { up: same, down: one_output }),
            (8, New("storage_order", Int(0))),
            (10, New("ceil_mode", Int(0))),
            (10, New("dilations", Ones)),
            (22, Step { up: same, down: windows_within }),
        ],
        "Mod" => &[(28, Step { up: same, down: mod_from_28 })],
        "OptionalGetElement" => &[(18, Step { up: same, down: no_tensor })],
        "OptionalHasElement" => &[(18, Step { up: same, down: has_input })],
        "PRelu" => &[(6, Gone(CONSUMED)), (7, Step { up: prelu_to_7, down: prelu_from_7 })],
        "Pad" => &[
            (2, Step { up: pad_to_2, down: pad_from_2 }),
            (11, Step { up: pad_to_11, down: pad_from_11 }),
            (18, Step { up: same, down: pad_every_axis }),
            (19, Step { up: same, down: pad_without_wrap }),
        ],
        "Pow" => &[
            (7, Step { up: broadcast_to_7, down: broadcast_from_7 }),
            (12, Step { up: same, down: one_type }),
            (15, Step { up: same, down: exponent_without_bfloat16 }),
        ],
        "QuantizeLinear" => &[
            (13, Step { up: same, down: one_scale }),
            (19, New("saturate", Int(1))),
            (19, Step { up: same, down: float_scale }),
            (21, New("block_size", Int(0))),
            (21, New("output_dtype", Int(0))),
            (23, New("precision", Int(0))),
            (23, Step { up: same, down: scale_of_data }),
        ],
        "Range" => &[(27, New("stash_type", Int(1)))],
        "ReduceL1" | "ReduceL2" | "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare" => {
            &[(18, IntsToInput("axes", 1)), (18, Step { up: same, down: without_noop })]
        }
        "ReduceLogSum" | "ReduceLogSumExp" => &[
            (18, IntsToInput("axes", 1)),
            (18, Step { up: same, down: without_noop }),
            (28, Step { up: integers_as_reals, down: same }),
        ],
        "ReduceSum" => &[(13, IntsToInput("axes", 1)), (13, Step { up: same, down: without_noop })],
        "Reshape" => {
            &[(5, Step { up: reshape_to_5, down: reshape_from_5 }), (14, Step { up: same, down: reshape_from_14 })]
        }
        "Resize" => &[
            (10, Step { up: same, down: resize_to_upsample }),
            (11, Step { up: resize_to_11, down: resize_from_11 }),
            (13, Step { up: resize_to_13, down: resize_from_13 }),
            (18, New("antialias", Int(0))),
            (18, New("axes", Absent)),
            (18, New("keep_aspect_ratio_policy", String("stretch"))),
            (19, Step { up: same, down: resize_from_19 }),
        ],
        "RoiAlign" => &[(16, Step { up: roi_align_to_16, down: roi_align_from_16 })],
        "Scan" => &[(9, Step { up: scan_to_9, down: scan_from_9 }), (11, Step { up: same, down: scan_from_11 })],
        "Scatter" => &[(11, Step { up: scatter_to_11, down: same })],
        "ScatterElements" => &[
            (11, Step { up: same, down: scatter_from_11 }),
            (16, New("reduction", String("none"))),
            (18, Step { up: same, down: scatter_from_18 }),
        ],
        "ScatterND" => &[(16, New("reduction", String("none"))), (18, Step { up: same, down: scatter_from_18 })],
        "Selu" => &[(6, Step { up: selu_to_6, down: same })],
        "Shape" => &[(15, Step { up: same, down: shape_from_15 })],
        "Slice" => &[(10, Step { up: slice_to_10, down: slice_from_10 }), (11, Step { up: same, down: slice_from_11 })],
        "SpaceToDepth" => &[(28, New("mode", String("DCR")))],
        "Split" => &[
            (2, Step { up: split_to_2, down: same }),
            (13, IntsToInput("split", 1)),
            (18, Step { up: split_to_18, down: split_from_18 }),
        ],
        "Squeeze" | "Unsqueeze" => &[(13, IntsToInput("axes", 1))],
        "Tile" => &[(6, Step { up: tile_to_6, down: tile_from_6 })],
        "TopK" => &[
            (10, Step { up: top_k_to_10, down: top_k_from_10 }),
            (11, New("largest", Int(1))),
            (11, New("sorted", Int(1))),
            (11, Step { up: same, down: top_k_from_11 }),
        ],
        "Upsample" => &[
            (7, Step { up: upsample_to_7, down: upsample_from_7 }),
            (9, Step { up: upsample_to_9, down: upsample_from_9 }),
            (10, Step { up: upsample_to_resize, down: same }),
        ],
        _ => &[],
    }
}
