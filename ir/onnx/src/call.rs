//! One call on its way between the file and the graph, in whichever operator set it is written.

use eutectic_ir::{Attrs, Name, Tensor, TensorType};

/// A call of an operator, its operands still names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    pub domain: Name,
    pub op_type: Name,
    pub overload: Name,
    /// Name of the node.
    pub name: Name,
    pub inputs: Vec<Operand>,
    /// An empty name is an output that is left out.
    pub outputs: Vec<Name>,
    pub attrs: Attrs,
    pub metadata: Vec<(Name, Name)>,
    /// What its bodies read of the enclosing graph, by the position of the capture.
    pub captures: Vec<Name>,
    /// True when the call stays as the file has it, though the table may know its operator.
    pub as_written: bool,
}

/// What a call reads.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// An optional input that is left out.
    Absent,
    /// The value of this name.
    Named(Name),
    /// New contents, which have no name yet.
    Weight(Tensor),
}

/// What is known of operands.
pub(crate) trait Facts {
    /// The type of an operand.
    fn ty(&self, operand: &Operand) -> Option<TensorType>;
    /// The contents of an operand that never change.
    fn weight(&self, operand: &Operand) -> Option<Tensor>;
    /// What an operand was before a `Squeeze` took these axes from it, when that is where it comes from. A caller that reads it
    /// instead has no use for the `Squeeze` any more.
    fn before_squeeze(&self, _operand: &Operand, _axes: &[i64]) -> Option<Operand> {
        None
    }
}

impl Call {
    /// A further call in the default domain, which takes part in expressing `self`.
    pub fn helper(&self, op_type: &str, inputs: Vec<Operand>, output: Name, attrs: Attrs) -> Call {
        Call {
            op_type: op_type.into(),
            name: if self.name.is_empty() { Name::default() } else { format!("{}/{op_type}", self.name).into() },
            inputs,
            outputs: vec![output],
            attrs,
            metadata: self.metadata.clone(),
            ..Call::default()
        }
    }

    /// Input `slot`, when it is given.
    pub fn given(&self, slot: usize) -> Option<&Operand> {
        self.inputs.get(slot).filter(|operand| !matches!(operand, Operand::Absent))
    }

    /// Sets input `slot`, leaving those between out.
    pub fn set_input(&mut self, slot: usize, operand: Operand) {
        while self.inputs.len() <= slot {
            self.inputs.push(Operand::Absent);
        }
        self.inputs[slot] = operand;
    }

    /// Drops trailing inputs that are left out.
    pub fn trim_inputs(&mut self) {
        while matches!(self.inputs.last(), Some(Operand::Absent)) {
            self.inputs.pop();
        }
    }

    /// Drops trailing outputs that are left out; the first stays.
    pub fn trim_outputs(&mut self) {
        while self.outputs.len() > 1 && self.outputs.last().is_some_and(|name| name.is_empty()) {
            self.outputs.pop();
        }
    }
}

/// Gives what the calls that express one call hand to each other the names that `free` makes of theirs. `outputs` are
/// those of the call that they express, which stay.
pub(crate) fn free_names(calls: &mut [Call], outputs: &[Name], mut free: impl FnMut(&Name) -> Name) {
    for at in 0..calls.len() {
        let made: Vec<Name> = calls[at].outputs.clone();
        for name in made.into_iter().filter(|name| !name.is_empty() && !outputs.contains(name)) {
            let free = free(&name);
            if free == name {
                continue;
            }
            for output in calls[at].outputs.iter_mut().filter(|output| **output == name) {
                *output = free.clone();
            }
            // What stands before, and the call itself, read the value that had the name already.
            for input in calls[at + 1..].iter_mut().flat_map(|call| &mut call.inputs) {
                if matches!(input, Operand::Named(read) if *read == name) {
                    *input = Operand::Named(free.clone());
                }
            }
        }
    }
}
