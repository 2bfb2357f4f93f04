//! The layers that make a loop, whatever its turns compute.

use super::builder::Builder;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use crate::layer::{Flow, FlowId, Layer};
use crate::spec::{DataType, TensorRef};
use eutectic_ir::Dim;
use eutectic_ir::types::normalize_axis;

/// How many turns a loop has: a scalar of I32, and the extent of what it stacks.
#[derive(Clone)]
pub(super) struct Turns {
    at: TensorRef,
    dim: Dim,
}

/// A tensor of which a loop reads one part in each turn.
pub(super) struct Scanned {
    /// The tensor.
    pub input: Typed,
    /// The axis that has as many parts as the loop has turns.
    pub axis: usize,
    /// Whether the last part comes first.
    pub reverse: bool,
}

impl Builder {
    /// A tensor of one element, without axes.
    pub fn single(&mut self, operand: &Operand) -> Result<Typed, Refusal> {
        let tensor = self.tensor(operand)?;
        Ok(self.squeeze(&tensor, &(0..tensor.rank()).collect::<Vec<_>>()))
    }

    /// Ends the loop after `trips` turns.
    pub fn counted(&mut self, of: FlowId, trips: &Operand) -> Result<Turns, Refusal> {
        let known = trips.single().filter(|trips| *trips >= 0.0).map(|trips| Dim::known(trips as i64));
        let dim = known.unwrap_or_else(|| self.fresh());
        let trips = self.single(trips)?;
        // A loop that a condition may end too takes no wider number.
        let at = self.cast(&trips, DataType::I32).at;
        self.layer("count", Layer::Flow(Flow::Count { of, turns: at }));
        Ok(Turns { at, dim })
    }

    /// Ends the loop after as many turns as `scanned` has parts.
    pub fn counted_by(&mut self, of: FlowId, scanned: &Scanned) -> Result<Turns, Refusal> {
        let length = self.extent(&scanned.input, scanned.axis)?;
        let length = self.term(&length)?;
        let turns = self.counted(of, &length.into())?;
        Ok(Turns { dim: scanned.input.shape[scanned.axis].clone(), ..turns })
    }

    /// `initial` in the first turn, in each later one what [`Builder::next`] says.
    pub fn carried(&mut self, of: FlowId, initial: &Operand) -> Result<Typed, Refusal> {
        let Typed { at: initial, data_type, shape } = self.tensor(initial)?;
        Ok(self.typed("carried", Layer::Flow(Flow::Carried { of, initial }), data_type, shape))
    }

    /// What `carried` is in the next turn.
    pub fn next(&mut self, carried: &Typed, value: &Operand) -> Result<(), Refusal> {
        let value = self.tensor(value)?;
        if value.shape != carried.shape {
            let describe = |shape: &[Dim]| shape.iter().map(Dim::to_string).collect::<Vec<_>>().join(",");
            let (before, after) = (describe(&carried.shape), describe(&value.shape));
            return Err(Refusal::new(format!("a value that it carries grows from [{before}] to [{after}]"))
                .instead("extents that every turn keeps"));
        }
        let value = self.cast(&value, carried.data_type);
        // A recurrence is not its own second operand.
        let value = if value.at == carried.at { self.identity(&value) } else { value };
        self.layer("next", Layer::Flow(Flow::Next { carried: carried.at, value: value.at }));
        Ok(())
    }

    /// The part that a turn reads.
    pub fn scanned(&mut self, of: FlowId, scanned: &Scanned) -> Typed {
        let Scanned { input, axis, reverse } = scanned;
        let mut shape = input.shape.clone();
        shape.remove(*axis);
        let layer = Flow::Part { of, input: input.at, axis: *axis as u32, reverse: *reverse };
        self.typed("part", Layer::Flow(layer), input.data_type, shape)
    }

    /// A carried tensor after the last turn.
    pub fn last(&mut self, of: FlowId, carried: &Typed) -> Typed {
        let layer = Layer::Flow(Flow::Last { of, carried: carried.at });
        self.typed("last", layer, carried.data_type, carried.shape.clone())
    }

    /// What each turn computes, along a new axis; that of the last turn first when in reverse.
    pub fn stacked(
        &mut self,
        of: FlowId,
        value: &Operand,
        axis: i64,
        turns: &Turns,
        reverse: bool,
    ) -> Result<Typed, Refusal> {
        let value = self.tensor(value)?;
        let axis = normalize_axis(axis, value.rank() + 1).ok_or("an axis is out of range")?;
        let mut shape = value.shape.clone();
        shape.insert(axis, turns.dim.clone());
        let layer = Flow::Stacked { of, value: value.at, axis: axis as u32, turns: turns.at, reverse };
        Ok(self.typed("stacked", Layer::Flow(layer), value.data_type, shape))
    }
}
