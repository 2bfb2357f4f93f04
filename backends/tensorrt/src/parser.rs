//! What the library makes of a network, and NVIDIA's own ONNX parser as a second opinion on our lowering.

use crate::engine::{BuildOptions, Engine};
use crate::error::Error;
use crate::shared::Parcel;
use crate::spec::DataType;
use crate::worker::{Answer, Session, Source, Worker, unshared};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An input or output as the library sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSummary {
    /// The name under which it is bound.
    pub name: String,
    /// Element type.
    pub data_type: DataType,
    /// Extents, -1 where they are dynamic; `None` when the library could not infer them.
    pub dims: Option<Vec<i64>>,
}

/// A network as the library sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSummary {
    /// In binding order.
    pub inputs: Vec<TensorSummary>,
    /// In binding order.
    pub outputs: Vec<TensorSummary>,
    /// How many layers of each type, by the library's name of the type (`CONVOLUTION`, `MATRIX_MULTIPLY`, ..).
    pub histogram: BTreeMap<String, usize>,
    /// The layers with a window or weights, in no order of the network; empty for a network that was built, since hashing takes time.
    pub layers: Vec<LayerParameters>,
}

/// A layer with a window or weights.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayerParameters {
    /// The library's name of its type.
    pub kind: String,
    /// Extents, strides, padding and whatever else it was told.
    pub window: String,
    /// Hash of its weights, where they are constant.
    pub weights: Option<String>,
}

impl NetworkSummary {
    /// Number of layers.
    pub fn n_layers(&self) -> usize {
        self.histogram.values().sum()
    }

    /// The histogram without the layers that a parser inserts on its own: shuffles, casts, identities, constants.
    pub fn essential(&self) -> BTreeMap<&str, usize> {
        let inserted = ["SHUFFLE", "CAST", "IDENTITY", "CONSTANT", "SQUEEZE", "UNSQUEEZE"];
        let kept = self.histogram.iter().filter(|(kind, _)| !inserted.contains(&kind.as_str()));
        kept.map(|(kind, count)| (kind.as_str(), *count)).collect()
    }
}

/// What the interfaces of two networks differ in, a line each: names, element types and extents of inputs and outputs, by
/// position. Extents that one side could not infer are not compared, nor those that the parser leaves to run time.
pub fn interface_differences(ours: &NetworkSummary, theirs: &NetworkSummary) -> Vec<String> {
    let mut differences = Vec::new();
    for (what, ours, theirs) in [("input", &ours.inputs, &theirs.inputs), ("output", &ours.outputs, &theirs.outputs)] {
        if ours.len() != theirs.len() {
            differences.push(format!("{} {what}s, the parser has {}", ours.len(), theirs.len()));
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let same_dims = match (&ours.dims, &theirs.dims) {
                (Some(ours), Some(theirs)) => {
                    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| a == b || *b == -1)
                }
                _ => true,
            };
            if (&ours.name, ours.data_type) != (&theirs.name, theirs.data_type) || !same_dims {
                differences.push(format!("{what} {ours}, the parser has {theirs}"));
            }
        }
    }
    differences
}

/// What the layers with a window or weights differ in, a line each. A kind of which one side has more is not compared: the same
/// call may be lowered in several ways.
pub fn parameter_differences(ours: &NetworkSummary, theirs: &NetworkSummary) -> Vec<String> {
    let mut differences = Vec::new();
    for kind in ["CONVOLUTION", "DECONVOLUTION", "POOLING"] {
        let of = |side: &NetworkSummary| -> Vec<LayerParameters> {
            side.layers.iter().filter(|layer| layer.kind == kind).cloned().collect()
        };
        let (ours, theirs) = (of(ours), of(theirs));
        if ours.len() != theirs.len() {
            continue;
        }
        // A padding that the library derives is not told, so that nothing can be said against it.
        let is_told = |layer: &LayerParameters| !layer.window.contains('?');
        if !ours.iter().chain(&theirs).all(is_told) {
            continue;
        }
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if ours.window != theirs.window {
                differences.push(format!("{kind} of {}, the parser has {}", ours.window, theirs.window));
            } else if ours.weights.is_some() && theirs.weights.is_some() && ours.weights != theirs.weights {
                differences.push(format!("{kind} of {} has other weights than the parser's", ours.window));
            }
        }
    }
    differences
}

impl std::fmt::Display for TensorSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.data_type)?;
        self.dims.as_ref().map_or(Ok(()), |dims| write!(f, "{dims:?}"))
    }
}

/// An ONNX model for NVIDIA's parser.
#[derive(Clone, Debug)]
pub enum Onnx {
    /// A file; external data is found beside it.
    File(PathBuf),
    /// A whole model.
    Bytes(Bytes),
}

/// Reads `model` with NVIDIA's ONNX parser in the worker process, and builds an engine of it when `build` says how.
///
/// Errors: `Parser` with the parser's own words; those of a build.
pub fn read_onnx(
    worker: &Worker,
    model: Onnx,
    build: Option<&BuildOptions>,
) -> Result<(NetworkSummary, Option<Engine>), Error> {
    read_onnx_in(&mut worker.session(), model, build)
}

/// The same in a process that is kept.
pub fn read_onnx_in(
    session: &mut Session,
    model: Onnx,
    build: Option<&BuildOptions>,
) -> Result<(NetworkSummary, Option<Engine>), Error> {
    let mut parcel = Parcel::default();
    let source = match model {
        Onnx::File(path) => {
            // The worker may run in another directory, and the parser wants an absolute path for external data.
            let path = std::path::absolute(&path).map_err(|error| Error::Io { path, problem: error.to_string() })?;
            Source::OnnxFile(path)
        }
        // TensorRT's parser calls no bytes at all a model without layers.
        Onnx::Bytes(bytes) if bytes.is_empty() => {
            return Err(Error::Parser { problem: "the model is empty".into(), log: Vec::new() });
        }
        Onnx::Bytes(bytes) => Source::OnnxBytes(parcel.put_bytes(&bytes).map_err(unshared)?),
    };
    let Answer { summary, engine, .. } = session.run(source, parcel, build)?;
    // Bytes that are no model at all are an empty network to the parser.
    if summary.outputs.is_empty() {
        return Err(Error::Parser { problem: "the model has no outputs".into(), log: Vec::new() });
    }
    Ok((summary, engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, dims: Option<&[i64]>) -> NetworkSummary {
        let output = TensorSummary { name: name.into(), data_type: DataType::F32, dims: dims.map(<[i64]>::to_vec) };
        NetworkSummary { outputs: vec![output], ..NetworkSummary::default() }
    }

    #[test]
    fn layers_differ_in_windows_and_weights() {
        let network = |window: &str, weights: Option<&str>| {
            let layer = LayerParameters {
                kind: "CONVOLUTION".into(),
                window: window.into(),
                weights: weights.map(ToOwned::to_owned),
            };
            NetworkSummary { layers: vec![layer], ..NetworkSummary::default() }
        };
        let known = network("kernel [3, 3]", Some("ab"));
        assert!(parameter_differences(&known, &network("kernel [3, 3]", None)).is_empty());
        assert!(parameter_differences(&known, &NetworkSummary::default()).is_empty());
        let other = parameter_differences(&known, &network("kernel [1, 1]", Some("ab")));
        assert_eq!(other, ["CONVOLUTION of kernel [3, 3], the parser has kernel [1, 1]"]);
        let other = parameter_differences(&known, &network("kernel [3, 3]", Some("cd")));
        assert_eq!(other, ["CONVOLUTION of kernel [3, 3] has other weights than the parser's"]);
    }

    #[test]
    fn interfaces_differ_in_names_and_extents_that_are_known() {
        let known = network("y", Some(&[1, 10]));
        assert!(interface_differences(&known, &known).is_empty());
        assert!(interface_differences(&known, &network("y", None)).is_empty());
        let other = interface_differences(&known, &network("z", Some(&[1, 10])));
        assert_eq!(other, ["output `y` F32[1, 10], the parser has `z` F32[1, 10]"]);
        let fewer = interface_differences(&known, &NetworkSummary::default());
        assert_eq!(fewer, ["1 outputs, the parser has 0"]);
    }
}
