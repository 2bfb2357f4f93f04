//! Lower precision, as explicit casts and quantization in the graph: any backend that types its tensors runs the result.
//!
//! TensorRT 11 and TensorRT for RTX type networks strongly: the builder flags and calibrators of older versions are gone,
//! and what they decided is decided here, where it can be read, tested and measured.
//!
//! - [`autocast`] lets calls compute in float16 or bfloat16 and keeps those in single precision that need it;
//! - [`quantize`] inserts `QuantizeLinear` and `DequantizeLinear` around products and convolutions;
//! - [`Ranges`] is what calibration saw: a [`Histogram`] of each value, from which a [`Calibrator`] takes the threshold.

mod autocast;
mod calibrator;
mod histogram;
mod quantize;

pub use autocast::{Autocast, autocast};
pub use calibrator::Calibrator;
pub use histogram::{Histogram, N_BINS};
pub use quantize::{Format, Quantize, candidates, quantize};

use eutectic_ir::diag::{Diagnostic, Severity};
use eutectic_ir::graph::{Def, Graph, ValueId};
use eutectic_ir::{Element, Name};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// What calibration saw of each value, by the value's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges(pub BTreeMap<Name, Histogram>);

impl Ranges {
    /// What was seen of value `id`.
    pub fn get(&self, graph: &Graph, id: ValueId) -> Option<&Histogram> {
        self.0.get(&graph.value(id).name)
    }
}

/// The values that calibration looks at: tensors of single precision that change from sample to sample.
pub fn observed(graph: &Graph) -> Vec<ValueId> {
    let is_float = |id: ValueId| graph.ty(id).is_some_and(|ty| ty.element == Element::Float);
    let changes = |id: ValueId| match graph.value(id).def() {
        Def::Weight(_) => false,
        Def::Input { .. } | Def::Capture(_) => true,
        Def::Result(..) => !crate::fold::is_constant(graph, id),
    };
    graph.values().map(|(id, _)| id).filter(|&id| is_float(id) && changes(id)).collect()
}

/// Gives each value without a name one, so that ranges can be kept by name; the same graph gets the same names.
pub fn name_values(graph: &mut Graph) {
    let mut taken: FxHashSet<Name> = graph.values().map(|(_, value)| value.name.clone()).collect();
    let unnamed: Vec<ValueId> = graph.values().filter(|(_, value)| value.name.is_empty()).map(|(id, _)| id).collect();
    for (at, id) in unnamed.into_iter().enumerate() {
        let stem = match graph.producer(id) {
            Some((node, _)) if !graph.node(node).name.is_empty() => graph.node(node).name.clone(),
            Some((node, _)) => graph.node(node).op.name().into(),
            None => "value".into(),
        };
        let mut name: Name = format!("{stem}:{at}").into();
        while !taken.insert(name.clone()) {
            name = format!("{name}'").into();
        }
        graph.value_mut(id).name = name;
    }
}

/// Something that the reader of a report should know.
fn remark(code: &'static str, message: impl Into<String>) -> Diagnostic {
    let mut remark = Diagnostic::warning(code, message);
    remark.severity = Severity::Note;
    remark
}
