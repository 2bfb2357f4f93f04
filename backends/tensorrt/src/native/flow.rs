//! Adds the layers of conditionals and loops.

use crate::flow::{Flow, FlowId};
use crate::native::dense::set_input;
use crate::native::network::{Added, Network, pin};
use crate::spec::TensorRef;
use std::collections::HashMap;
use std::pin::Pin;
use trtx_sys::nvinfer1::{IIfConditional, ILayer, ILoop, LoopOutput, TripLimit};

/// The conditionals and loops of one network, and the layers of its carried tensors. The network owns what they point to.
#[derive(Default)]
pub(crate) struct Flows {
    conditionals: HashMap<FlowId, *mut IIfConditional>,
    loops: HashMap<FlowId, *mut ILoop>,
    carried: HashMap<TensorRef, *mut ILayer>,
}

impl Network<'_> {
    /// Adds `flow`, whose result will be tensor `result`.
    pub(super) fn add_flow(&mut self, flow: Flow, result: TensorRef) -> Result<Added, String> {
        let added: *mut ILayer = match flow {
            Flow::Condition { of, condition } => {
                let conditional = self.network.pin().addIfConditional();
                self.flows.conditionals.insert(of, conditional);
                self.conditional(of)?.setCondition(self.read(condition)?).cast()
            }
            Flow::Chosen { of, then, otherwise } => {
                let (then, otherwise) = (self.read(then)?, self.read(otherwise)?);
                self.conditional(of)?.addOutput(then, otherwise).cast()
            }
            Flow::Count { of, turns } => {
                let (within, limit) = (self.in_loop(of), self.read(turns)?);
                entered(within)?.addTripLimit(limit, TripLimit::kCOUNT).cast()
            }
            Flow::While { of, goes_on } => {
                let (within, limit) = (self.in_loop(of), self.read(goes_on)?);
                entered(within)?.addTripLimit(limit, TripLimit::kWHILE).cast()
            }
            Flow::Carried { of, initial } => {
                let (within, initial) = (self.in_loop(of), self.read(initial)?);
                let added = entered(within)?.addRecurrence(initial).cast();
                self.flows.carried.insert(result, added);
                added
            }
            Flow::Next { carried, value } => {
                let layer = *self.flows.carried.get(&carried).ok_or("a tensor that is not carried")?;
                set_input(layer, 1, self.read(value)?)?;
                return Ok(Added::Nothing);
            }
            Flow::Part { of, input, axis, reverse } => {
                let (within, input) = (self.in_loop(of), self.read(input)?);
                entered(within)?.addIterator(input, axis as i32, reverse).cast()
            }
            Flow::Last { of, carried } => {
                let (within, carried) = (self.in_loop(of), self.read(carried)?);
                entered(within)?.addLoopOutput(carried, LoopOutput::kLAST_VALUE, 0).cast()
            }
            Flow::Stacked { of, value, axis, turns, reverse } => {
                let kind = if reverse { LoopOutput::kREVERSE } else { LoopOutput::kCONCATENATE };
                let (within, value, turns) = (self.in_loop(of), self.read(value)?, self.read(turns)?);
                let added = entered(within)?.addLoopOutput(value, kind, axis as i32).cast();
                set_input(added, 1, turns)?;
                added
            }
        };
        Ok(Added::Layer(added))
    }

    #[allow(clippy::mut_from_ref)]
    fn conditional(&self, of: FlowId) -> Result<Pin<&mut IIfConditional>, String> {
        let pointer = *self.flows.conditionals.get(&of).ok_or("a conditional without a condition")?;
        unsafe { pin(pointer) }.ok_or_else(|| "no conditional came of it".into())
    }

    /// The loop `of`, which its first layer begins; null when the library did not.
    fn in_loop(&mut self, of: FlowId) -> *mut ILoop {
        let network = &self.network;
        *self.flows.loops.entry(of).or_insert_with(|| network.pin().addLoop())
    }
}

fn entered<'a>(within: *mut ILoop) -> Result<Pin<&'a mut ILoop>, String> {
    // The network owns its loops and removes none; every caller drops the reference before the network.
    unsafe { pin(within) }.ok_or_else(|| "no loop came of it".into())
}
