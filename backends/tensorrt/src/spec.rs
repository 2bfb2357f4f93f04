//! A TensorRT network as plain data.
//!
//! Lowering writes a [`NetworkSpec`]; the worker process replays it against the library. So lowering is testable without
//! TensorRT, and a crash inside the library can't take the program down.
//!
//! Guarantees, checked by [`NetworkSpec::check`], which the worker calls before it replays:
//! - every tensor is defined before it is read, and every weight that is named exists;
//! - a constant or a kernel has exactly as many bytes as its type and count say;
//! - names of inputs, outputs and named tensors are unique and free of NUL.

use crate::layer::Layer;
use bytes::Bytes;
use eutectic_ir::stored::Stored;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Element type of a tensor, in TensorRT's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// 8-bit signed.
    I8,
    /// 32-bit signed.
    I32,
    /// 64-bit signed.
    I64,
    /// One byte, 0 or 1.
    Bool,
    /// 8-bit unsigned; TensorRT accepts it at the network's edge only.
    U8,
    /// 8-bit float, four exponent bits.
    F8E4M3,
    /// 4-bit signed, two to a byte; weights only.
    I4,
    /// 4-bit float, two to a byte.
    F4E2M1,
    /// 8-bit exponent without a mantissa: scales of block quantization.
    F8E8M0,
}

impl DataType {
    /// Size of one element, in bits.
    pub fn bits(self) -> u64 {
        match self {
            DataType::I64 => 64,
            DataType::F32 | DataType::I32 => 32,
            DataType::F16 | DataType::Bf16 => 16,
            DataType::I8 | DataType::Bool | DataType::U8 | DataType::F8E4M3 | DataType::F8E8M0 => 8,
            DataType::I4 | DataType::F4E2M1 => 4,
        }
    }

    /// Bytes of `count` elements; `None` when that overflows.
    pub fn bytes(self, count: u64) -> Option<u64> {
        Some(count.checked_mul(self.bits())?.div_ceil(8))
    }
}

/// A tensor of one [`NetworkSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TensorRef(pub(crate) u32);

/// A weight of one [`NetworkSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WeightsRef(pub(crate) u32);

/// An input of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The name under which it is bound.
    pub name: String,
    /// Element type.
    pub data_type: DataType,
    /// Extents; -1 where the optimization profile decides.
    pub dims: Vec<i64>,
}

/// An output of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// The name under which it is bound.
    pub name: String,
    /// What is returned.
    pub tensor: TensorRef,
}

/// Constant data. The bytes are shared, never copied, and do not travel with the serialized form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightsSpec {
    /// Element type.
    pub data_type: DataType,
    /// Number of elements.
    pub count: u64,
    /// Little-endian elements, row-major.
    #[serde(skip)]
    pub contents: Contents,
}

/// Where constant data lies.
#[derive(Clone, Debug)]
pub enum Contents {
    /// In memory.
    Bytes(Bytes),
    /// In the model file, from which the worker reads it.
    Stored(Arc<Stored>),
}

impl Contents {
    /// Number of bytes. They need not be in memory.
    pub fn len(&self) -> usize {
        match self {
            Contents::Bytes(bytes) => bytes.len(),
            Contents::Stored(stored) => stored.len(),
        }
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, which are read when they lie in a file.
    pub fn bytes(&self) -> Bytes {
        match self {
            Contents::Bytes(bytes) => bytes.clone(),
            Contents::Stored(stored) => stored.contents().clone(),
        }
    }
}

impl Default for Contents {
    fn default() -> Self {
        Contents::Bytes(Bytes::new())
    }
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Contents::Stored(a), Contents::Stored(b)) if Arc::ptr_eq(a, b) => true,
            _ => self.bytes() == other.bytes(),
        }
    }
}

/// One layer with the tensors it defines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// Unique name; it reaches the kernel listing.
    pub name: String,
    /// Source nodes this layer stands for; they reach the kernel listing as metadata.
    pub origins: Vec<String>,
    /// What it computes.
    pub layer: Layer,
    /// Its first result; the others follow.
    pub first_result: TensorRef,
    /// Names of the results, where they matter.
    pub result_names: Vec<Option<String>>,
}

/// A network: inputs, layers in the order in which they are added, outputs, weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name of the network.
    pub name: String,
    /// Tensors `0..inputs.len()`.
    pub inputs: Vec<InputSpec>,
    /// In order of definition: a layer reads inputs and results of earlier layers only.
    pub layers: Vec<LayerSpec>,
    /// At least one.
    pub outputs: Vec<OutputSpec>,
    /// Constant data.
    pub weights: Vec<WeightsSpec>,
    n_tensors: u32,
}

/// What is wrong with a [`NetworkSpec`], and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SpecError {
    /// The layer, input or output.
    pub place: String,
    /// What was expected and found.
    pub problem: String,
}

impl NetworkSpec {
    /// A network without layers.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds an input; -1 in `dims` is left to the optimization profile. All inputs come before the first layer.
    pub fn input(
        &mut self,
        name: impl Into<String>,
        data_type: DataType,
        dims: &[i64],
    ) -> Result<TensorRef, SpecError> {
        let name = name.into();
        if !self.layers.is_empty() {
            return Err(SpecError { place: format!("input `{name}`"), problem: "inputs come before layers".into() });
        }
        self.inputs.push(InputSpec { name, data_type, dims: dims.to_vec() });
        Ok(self.next_tensor())
    }

    /// Adds constant data of `data_type`; the count of elements follows from the length.
    pub fn weights(&mut self, data_type: DataType, bytes: impl Into<Bytes>) -> WeightsRef {
        let bytes = bytes.into();
        let count = (bytes.len() as u64).saturating_mul(8) / data_type.bits();
        self.add_weights(WeightsSpec { data_type, count, contents: Contents::Bytes(bytes) })
    }

    /// Adds constant data that may lie in a file.
    pub fn add_weights(&mut self, weights: WeightsSpec) -> WeightsRef {
        self.weights.push(weights);
        WeightsRef(index(self.weights.len() - 1))
    }

    /// Adds a layer and returns its first result; for a layer without results, the next tensor that another layer will define.
    pub fn add(&mut self, name: impl Into<String>, layer: Layer) -> TensorRef {
        let n_results = layer.n_results();
        let first_result = TensorRef(self.n_tensors);
        self.n_tensors += n_results;
        self.layers.push(LayerSpec {
            name: name.into(),
            origins: Vec::new(),
            layer,
            first_result,
            result_names: vec![None; n_results as usize],
        });
        first_result
    }

    /// The result of the same layer that stands `offset` places after `first`.
    pub fn result(&self, first: TensorRef, offset: u32) -> TensorRef {
        TensorRef(first.0 + offset)
    }

    /// Notes the source nodes that the layer added last stands for.
    pub fn set_origins<S: Into<String>>(&mut self, origins: impl IntoIterator<Item = S>) {
        if let Some(layer) = self.layers.last_mut() {
            layer.origins = origins.into_iter().map(Into::into).collect();
        }
    }

    /// Names a result of the layer added last.
    pub fn name_result(&mut self, offset: usize, name: impl Into<String>) {
        if let Some(slot) = self.layers.last_mut().and_then(|layer| layer.result_names.get_mut(offset)) {
            *slot = Some(name.into());
        }
    }

    /// Marks `tensor` as an output called `name`. A tensor is marked at most once.
    pub fn output(&mut self, name: impl Into<String>, tensor: TensorRef) {
        self.outputs.push(OutputSpec { name: name.into(), tensor });
    }

    /// Makes outputs of the results that are called `names`, or of every result with a name when `names` is empty, so that nothing
    /// is fused across them. Returns the names that no result has.
    ///
    /// Constants and what computes extents stay as they are.
    pub fn break_fusions(&mut self, names: &[String]) -> Vec<String> {
        let returned: HashSet<TensorRef> = self.outputs.iter().map(|output| output.tensor).collect();
        let mut found = Vec::new();
        for layer in &self.layers {
            if matches!(layer.layer, Layer::Constant { .. } | Layer::Shape { .. }) {
                continue;
            }
            for (name, at) in layer.result_names.iter().zip(layer.first_result.0..) {
                let Some(name) = name.as_ref().filter(|name| names.is_empty() || names.contains(name)) else {
                    continue;
                };
                found.push((name.clone(), TensorRef(at)));
            }
        }
        let missing = |name: &&String| {
            found.iter().all(|(known, _)| known != *name) && self.outputs.iter().all(|output| output.name != **name)
        };
        let unknown = names.iter().filter(missing).cloned().collect();
        self.outputs.extend(
            found
                .into_iter()
                .filter(|(_, tensor)| !returned.contains(tensor))
                .map(|(name, tensor)| OutputSpec { name, tensor }),
        );
        unknown
    }

    /// Bytes of all weights together.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|weights| weights.contents.len() as u64).sum()
    }

    /// Number of tensors: inputs and results.
    pub fn n_tensors(&self) -> u32 {
        self.n_tensors
    }

    /// Holds the guarantees of this page, and returns the first that is broken.
    pub fn check(&self) -> Result<(), SpecError> {
        let fail = |place: String, problem: String| Err(SpecError { place, problem });
        for (at, weights) in self.weights.iter().enumerate() {
            if weights.data_type.bytes(weights.count) != Some(weights.contents.len() as u64) {
                return fail(
                    format!("weights {at}"),
                    format!(
                        "{} elements of {:?} in {} bytes",
                        weights.count,
                        weights.data_type,
                        weights.contents.len()
                    ),
                );
            }
        }
        let mut n_defined = index(self.inputs.len());
        let mut layer_names = HashSet::new();
        for layer in &self.layers {
            let place = || format!("layer `{}` ({})", layer.name, layer.layer.kind());
            if !layer_names.insert(layer.name.as_str()) {
                return fail(place(), "another layer has the same name".into());
            }
            if layer.first_result.0 != n_defined {
                return fail(place(), format!("defines tensor {}, expected {n_defined}", layer.first_result.0));
            }
            if let Some(unknown) = layer.layer.reads().into_iter().find(|tensor| tensor.0 >= n_defined) {
                return fail(place(), format!("reads tensor {} before it is defined", unknown.0));
            }
            for weights in layer.layer.weights() {
                if weights.0 as usize >= self.weights.len() {
                    return fail(place(), format!("weights {} do not exist", weights.0));
                }
            }
            if layer.result_names.len() != layer.layer.n_results() as usize {
                return fail(place(), "has a wrong number of result names".into());
            }
            layer.layer.check(self).map_err(|problem| SpecError { place: place(), problem })?;
            n_defined = n_defined.saturating_add(layer.layer.n_results());
        }
        self.check_outputs(n_defined)?;
        self.check_names()
    }

    fn check_outputs(&self, n_defined: u32) -> Result<(), SpecError> {
        if self.outputs.is_empty() {
            return Err(SpecError { place: "network".into(), problem: "has no output".into() });
        }
        let mut returned = HashSet::new();
        for output in &self.outputs {
            let place = || format!("output `{}`", output.name);
            if output.tensor.0 >= n_defined {
                return Err(SpecError {
                    place: place(),
                    problem: format!("tensor {} is not defined", output.tensor.0),
                });
            }
            // TensorRT logs this and goes on without the output; an identity layer in between is what it wants.
            if (output.tensor.0 as usize) < self.inputs.len() {
                return Err(SpecError { place: place(), problem: "is an input".into() });
            }
            if !returned.insert(output.tensor) {
                return Err(SpecError { place: place(), problem: "returns a tensor that is an output already".into() });
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), SpecError> {
        let renamed: HashSet<u32> = self.outputs.iter().map(|output| output.tensor.0).collect();
        let results = self.layers.iter().flat_map(|layer| {
            let first = layer.first_result.0;
            layer.result_names.iter().zip(first..).filter_map(|(name, at)| Some((name.as_ref()?, at)))
        });
        let named = self.inputs.iter().map(|input| &input.name);
        let named = named.chain(self.outputs.iter().map(|output| &output.name));
        let named = named.chain(results.filter(|(_, at)| !renamed.contains(at)).map(|(name, _)| name));
        let mut seen = HashSet::new();
        for name in named {
            if name.is_empty() || name.contains('\0') {
                return Err(SpecError { place: format!("tensor `{name}`"), problem: "is not a usable name".into() });
            }
            if !seen.insert(name.as_str()) {
                return Err(SpecError { place: format!("tensor `{name}`"), problem: "the name is used twice".into() });
            }
        }
        Ok(())
    }

    fn next_tensor(&mut self) -> TensorRef {
        self.n_tensors += 1;
        TensorRef(self.n_tensors - 1)
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{ActivationKind, ElementWiseKind};

    fn relu(input: TensorRef) -> Layer {
        Layer::Activation { input, kind: ActivationKind::Relu, alpha: None, beta: None }
    }

    #[test]
    fn breaking_fusions_makes_outputs_of_named_values() {
        let mut spec = NetworkSpec::new("two");
        let x = spec.input("x", DataType::F32, &[2]).unwrap();
        let h = spec.add("first", relu(x));
        spec.name_result(0, "h");
        let y = spec.add("second", relu(h));
        spec.output("y", y);
        let mut all = spec.clone();
        assert_eq!(spec.break_fusions(&["k".into(), "y".into()]), ["k"]);
        assert!(spec.break_fusions(&["h".into()]).is_empty() && all.break_fusions(&[]).is_empty());
        for broken in [spec, all] {
            assert_eq!(broken.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>(), ["y", "h"]);
            broken.check().unwrap();
        }
    }

    fn relu_network() -> NetworkSpec {
        let mut spec = NetworkSpec::new("relu");
        let x = spec.input("x", DataType::F32, &[2]).unwrap();
        let y = spec.add("relu", relu(x));
        spec.output("y", y);
        spec
    }

    #[test]
    fn a_network_of_one_layer_is_sound() {
        assert_eq!(relu_network().check(), Ok(()));
    }

    #[test]
    fn a_tensor_that_is_read_before_it_is_defined_is_refused() {
        let mut spec = relu_network();
        let later = TensorRef(9);
        spec.add("sum", Layer::ElementWise { kind: ElementWiseKind::Sum, a: later, b: later });
        let error = spec.check().unwrap_err();
        assert_eq!(error.to_string(), "layer `sum` (ElementWise): reads tensor 9 before it is defined");
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let mut spec = relu_network();
        spec.outputs[0].name = "x".into();
        assert_eq!(spec.check().unwrap_err().problem, "the name is used twice");
    }

    #[test]
    fn a_constant_whose_bytes_do_not_fill_its_dims_is_refused() {
        let mut spec = relu_network();
        let weights = spec.weights(DataType::F32, vec![0; 12]);
        spec.add("c", Layer::Constant { weights, dims: vec![2, 2] });
        assert_eq!(spec.check().unwrap_err().problem, "3 elements do not fill dims [2, 2]");
    }

    #[test]
    fn an_input_is_not_an_output() {
        let mut spec = relu_network();
        spec.outputs[0].tensor = TensorRef(0);
        assert_eq!(spec.check().unwrap_err().problem, "is an input");
    }

    #[test]
    fn the_serialized_form_carries_no_weight_bytes() {
        let mut spec = relu_network();
        spec.weights(DataType::F16, vec![7; 4096]);
        let text = serde_json::to_string(&spec).unwrap();
        assert!(text.len() < 1000, "{} bytes", text.len());
        let read: NetworkSpec = serde_json::from_str(&text).unwrap();
        assert_eq!((read.weights[0].count, read.weights[0].contents.len()), (2048, 0));
    }
}
