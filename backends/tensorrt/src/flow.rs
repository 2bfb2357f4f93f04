//! Layers of conditionals and loops.
//!
//! A conditional or a loop is a number that its layers share; which layers lie within follows from what reads what. They read
//! tensors from outside as they are, while what they compute leaves through [`Flow::Chosen`], [`Flow::Last`] and
//! [`Flow::Stacked`] only.

use crate::spec::TensorRef;
use serde::{Deserialize, Serialize};

/// One conditional or one loop of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowId(pub u32);

/// What a layer does in a conditional or in a loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Flow {
    /// Begins a conditional: a scalar of Bool decides which branch runs. No result.
    Condition {
        /// The conditional.
        of: FlowId,
        /// The scalar.
        condition: TensorRef,
    },
    /// What the branch that ran has computed; both have one type and rank.
    Chosen {
        /// The conditional.
        of: FlowId,
        /// From the branch of a true condition.
        then: TensorRef,
        /// From the other.
        otherwise: TensorRef,
    },
    /// Ends a loop after as many turns as a scalar of I32 or I64 from outside says. No result.
    Count {
        /// The loop.
        of: FlowId,
        /// The scalar.
        turns: TensorRef,
    },
    /// Ends a loop before the first turn in which a scalar of Bool is false. No result.
    While {
        /// The loop.
        of: FlowId,
        /// The scalar, a [`Flow::Carried`].
        goes_on: TensorRef,
    },
    /// `initial` in the first turn, in each later one what [`Flow::Next`] says.
    Carried {
        /// The loop.
        of: FlowId,
        /// From outside.
        initial: TensorRef,
    },
    /// What a carried tensor is in the next turn. No result, and no layer of the library: it closes the circle.
    Next {
        /// The result of a [`Flow::Carried`].
        carried: TensorRef,
        /// Of the same type and extents.
        value: TensorRef,
    },
    /// In turn `i` the part of a tensor at place `i` of an axis, or at place `i` from the end.
    Part {
        /// The loop, which counts its turns.
        of: FlowId,
        /// From outside.
        input: TensorRef,
        /// The axis, which the result lacks.
        axis: u32,
        /// Whether the last part comes first.
        reverse: bool,
    },
    /// A carried tensor after the last turn.
    Last {
        /// The loop.
        of: FlowId,
        /// The result of a [`Flow::Carried`].
        carried: TensorRef,
    },
    /// The values of all turns along a new axis, those of the last turn first when in reverse.
    Stacked {
        /// The loop.
        of: FlowId,
        /// What each turn computes.
        value: TensorRef,
        /// The axis of the result.
        axis: u32,
        /// The number of turns, as [`Flow::Count`] has it.
        turns: TensorRef,
        /// Whether the value of the last turn comes first.
        reverse: bool,
    },
}

impl Flow {
    /// The name of the variant.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Flow::Condition { .. } => "Condition",
            Flow::Chosen { .. } => "Chosen",
            Flow::Count { .. } => "Count",
            Flow::While { .. } => "While",
            Flow::Carried { .. } => "Carried",
            Flow::Next { .. } => "Next",
            Flow::Part { .. } => "Part",
            Flow::Last { .. } => "Last",
            Flow::Stacked { .. } => "Stacked",
        }
    }

    /// Number of tensors it defines.
    pub(crate) fn n_results(self) -> u32 {
        match self {
            Flow::Condition { .. } | Flow::Count { .. } | Flow::While { .. } | Flow::Next { .. } => 0,
            _ => 1,
        }
    }

    /// Every tensor that it reads.
    pub(crate) fn reads(self) -> Vec<TensorRef> {
        match self {
            Flow::Condition { condition: one, .. }
            | Flow::Count { turns: one, .. }
            | Flow::While { goes_on: one, .. }
            | Flow::Carried { initial: one, .. }
            | Flow::Part { input: one, .. }
            | Flow::Last { carried: one, .. } => vec![one],
            Flow::Chosen { then: first, otherwise: second, .. }
            | Flow::Next { carried: first, value: second }
            | Flow::Stacked { value: first, turns: second, .. } => vec![first, second],
        }
    }
}
