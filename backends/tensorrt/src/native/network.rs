//! A network definition that can't be misused from safe code.
//!
//! Guarantees:
//! - a [`TensorHandle`] is an index, checked on use: it can't outlive the network and is refused by another one;
//! - constant data lives as long as the network, which is longer than any build of it;
//! - after each `add` the layer, its results and their inferred extents are checked, so an error names the layer that
//!   caused it and carries what TensorRT logged.

use crate::error::Error;
use crate::layer::Layer;
use crate::listing::origin_tag;
use crate::native::convert;
use crate::native::flow::Flows;
use crate::native::handle::{Builder, Owned};
use crate::native::parameters::parameters;
use crate::parser::{NetworkSummary, TensorSummary};
use crate::spec::{InputSpec, LayerSpec, NetworkSpec, OutputSpec, TensorRef, WeightsRef, WeightsSpec};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use trtx_sys::nvinfer1::{IAttention, ILayer, INetworkDefinition, ITensor, Weights};

/// A tensor of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorHandle {
    network: u64,
    at: usize,
}

/// A network under construction.
pub(crate) struct Network<'builder> {
    pub(crate) network: Owned<INetworkDefinition>,
    pub(crate) builder: &'builder Builder,
    tensors: Vec<NonNull<ITensor>>,
    kept: Vec<Bytes>,
    pub(super) flows: Flows,
    serial: u64,
}

/// What an `add` function of the library returned.
pub(crate) enum Added {
    /// A layer, or null.
    Layer(*mut ILayer),
    /// An attention, which stands for two layers, or null.
    Attention(*mut IAttention),
    /// No layer: an operand of an earlier one was set.
    Nothing,
}

impl<'builder> Network<'builder> {
    /// An empty network, strongly typed.
    pub(crate) fn new(builder: &'builder Builder) -> Result<Self, Error> {
        static SERIALS: AtomicU64 = AtomicU64::new(0);
        let pointer = builder.builder.pin().createNetworkV2(0);
        // The builder outlives the network by the lifetime.
        let network = unsafe { Owned::new(pointer) }.ok_or_else(|| Error::Build { log: builder.log().take_lines() })?;
        let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { network, builder, tensors: Vec::new(), kept: Vec::new(), flows: Flows::default(), serial })
    }

    /// The network that `spec` describes. `progress` hears the name of each layer before it is added.
    pub(crate) fn replay(
        builder: &'builder Builder,
        spec: &NetworkSpec,
        progress: &dyn Fn(&str),
    ) -> Result<Self, Error> {
        spec.check()?;
        let mut network = Self::new(builder)?;
        if let Ok(name) = CString::new(spec.name.as_str()) {
            unsafe { network.network.pin().setName(name.as_ptr()) };
        }
        for input in &spec.inputs {
            network.add_input(input)?;
        }
        for layer in &spec.layers {
            progress(&layer.name);
            network.add_layer(spec, layer)?;
        }
        for output in &spec.outputs {
            network.mark_output(output)?;
        }
        Ok(network)
    }

    fn add_input(&mut self, input: &InputSpec) -> Result<TensorHandle, Error> {
        let place = || format!("input `{}`", input.name);
        let name = c_string(&input.name).map_err(|problem| self.refused(place(), problem))?;
        if input.dims.len() > crate::layer::MAX_RANK {
            return Err(self.refused(place(), format!("has rank {}", input.dims.len())));
        }
        let data_type = convert::data_type(input.data_type);
        let tensor = unsafe { self.network.pin().addInput(name.as_ptr(), data_type, &convert::dims(&input.dims)) };
        self.keep_tensor(tensor).map_err(|problem| self.refused(place(), problem))
    }

    fn add_layer(&mut self, spec: &NetworkSpec, layer: &LayerSpec) -> Result<(), Error> {
        let place = || format!("layer `{}` ({})", layer.name, layer.layer.kind());
        let refuse = |network: &Self, problem: String| network.refused(place(), problem);
        let name = c_string(&layer.name).map_err(|problem| refuse(self, problem))?;
        let tags: String = layer.origins.iter().map(|origin| origin_tag(origin)).collect();
        let tags = c_string(&tags).map_err(|problem| refuse(self, problem))?;
        let added = self.add(spec, layer).map_err(|problem| refuse(self, problem))?;
        let n_results = layer.layer.n_results() as i32;
        let results: Vec<*mut ITensor> = match added {
            Added::Layer(pointer) => {
                let added = unsafe { pin(pointer) };
                let Some(mut added) = added else { return Err(refuse(self, "no layer came of it".into())) };
                unsafe { added.as_mut().setName(name.as_ptr()) };
                unsafe { added.as_mut().setMetadata(tags.as_ptr()) };
                (0..n_results).map(|at| added.getOutput(at)).collect()
            }
            Added::Attention(pointer) => {
                let added = unsafe { pin(pointer) };
                let Some(mut added) = added else { return Err(refuse(self, "no layer came of it".into())) };
                let named = unsafe { added.as_mut().setName(name.as_ptr()) };
                let tagged = unsafe { added.as_mut().setMetadata(tags.as_ptr()) };
                if !(named && tagged) {
                    return Err(refuse(self, "its name was refused".into()));
                }
                (0..n_results).map(|at| added.getOutput(at)).collect()
            }
            Added::Nothing => Vec::new(),
        };
        for (result, name) in results.into_iter().zip(&layer.result_names) {
            let handle = self.keep_tensor(result).map_err(|problem| refuse(self, problem))?;
            if let Some(name) = name {
                self.name(handle, name).map_err(|problem| refuse(self, problem))?;
            }
        }
        // Setters return nothing and log what they refuse.
        if self.builder.log().has_error() { Err(refuse(self, "a parameter was refused".into())) } else { Ok(()) }
    }

    fn mark_output(&mut self, output: &OutputSpec) -> Result<(), Error> {
        let place = || format!("output `{}`", output.name);
        let handle = self.handle(output.tensor);
        self.name(handle, &output.name).map_err(|problem| self.refused(place(), problem))?;
        let before = self.network.pin().getNbOutputs();
        let tensor = self.tensor(handle).map_err(|problem| self.refused(place(), problem))?;
        self.network.pin().markOutput(tensor);
        if self.network.pin().getNbOutputs() != before + 1 {
            return Err(self.refused(place(), "it was not marked".into()));
        }
        Ok(())
    }

    fn name(&self, handle: TensorHandle, name: &str) -> Result<(), String> {
        let wanted = c_string(name)?;
        let mut tensor = self.tensor(handle)?;
        unsafe { tensor.as_mut().setName(wanted.as_ptr()) };
        let given = text(tensor.getName());
        if given == name { Ok(()) } else { Err(format!("its result is called `{given}`, not `{name}`")) }
    }

    /// The tensor that the spec means.
    pub(crate) fn handle(&self, tensor: TensorRef) -> TensorHandle {
        TensorHandle { network: self.serial, at: tensor.0 as usize }
    }

    /// The tensor behind a handle of this network.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn tensor(&self, handle: TensorHandle) -> Result<Pin<&mut ITensor>, String> {
        if handle.network != self.serial {
            return Err("a tensor of another network".into());
        }
        let pointer = self.tensors.get(handle.at).ok_or("a tensor that is not defined")?;
        // The network owns its tensors, and removes none.
        Ok(unsafe { Pin::new_unchecked(&mut *pointer.as_ptr()) })
    }

    /// The tensor that the spec means, for the functions that add layers.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn read(&self, tensor: TensorRef) -> Result<Pin<&mut ITensor>, String> {
        self.tensor(self.handle(tensor))
    }

    /// Constant data of the spec, kept alive with the network.
    pub(crate) fn weights(&mut self, spec: &NetworkSpec, weights: WeightsRef) -> Result<Weights, String> {
        let weights = spec.weights.get(weights.0 as usize).ok_or("weights that do not exist")?;
        self.keep_weights(weights)
    }

    /// Constant data, kept alive with the network.
    pub(crate) fn keep_weights(&mut self, weights: &WeightsSpec) -> Result<Weights, String> {
        let bytes = weights.contents.bytes();
        if weights.data_type.bytes(weights.count) != Some(bytes.len() as u64) {
            return Err(format!("{} bytes for {} elements", bytes.len(), weights.count));
        }
        let count = i64::try_from(weights.count).map_err(|_| "too many elements")?;
        let values = bytes.as_ptr().cast();
        // The bytes keep their address.
        self.kept.push(bytes);
        Ok(Weights { type_: convert::data_type(weights.data_type), values, count })
    }

    fn keep_tensor(&mut self, tensor: *mut ITensor) -> Result<TensorHandle, String> {
        let pointer = NonNull::new(tensor).ok_or("it has no result")?;
        self.tensors.push(pointer);
        let handle = TensorHandle { network: self.serial, at: self.tensors.len() - 1 };
        // Shapes are inferred when they are asked for, so this is where a mismatch shows.
        let dims = self.tensor(handle)?.getDimensions();
        convert::extents(&dims)
            .map_or_else(|| Err("the extents of its result can't be inferred".into()), |_| Ok(handle))
    }

    /// An error at `place` with the log so far.
    pub(crate) fn refused(&self, place: String, problem: String) -> Error {
        Error::Layer { place, problem, log: self.builder.log().take_lines() }
    }

    /// What the network is, as the library sees it; the parameters of its layers, weights by hash, when asked for.
    pub(crate) fn summary(&self, with_parameters: bool) -> NetworkSummary {
        let network = self.network.pin();
        let tensors = |count: i32, get: &dyn Fn(i32) -> *mut ITensor| {
            (0..count).filter_map(|at| unsafe { pin(get(at)) }).map(|tensor| tensor_summary(&tensor)).collect()
        };
        let inputs = tensors(network.getNbInputs(), &|at| network.getInput(at));
        let outputs = tensors(network.getNbOutputs(), &|at| network.getOutput(at));
        let (mut histogram, mut layers) = (BTreeMap::new(), Vec::new());
        for at in 0..network.getNbLayers() {
            let pointer = network.getLayer(at);
            let Some(layer) = (unsafe { pin(pointer) }) else { continue };
            let kind: trtx_sys::LayerType = layer.getType().into();
            *histogram.entry(format!("{kind:?}").trim_start_matches('k').to_owned()).or_insert(0) += 1;
            if with_parameters {
                layers.extend(parameters(pointer, kind));
            }
        }
        layers.sort_unstable();
        NetworkSummary { inputs, outputs, histogram, layers }
    }

    fn add(&mut self, spec: &NetworkSpec, added: &LayerSpec) -> Result<Added, String> {
        use Layer::*;
        let layer = &added.layer;
        match layer {
            Flow(flow) => self.add_flow(*flow, added.first_result),
            Constant { .. }
            | Convolution { .. }
            | Deconvolution { .. }
            | Pooling { .. }
            | MatrixMultiply { .. }
            | Attention { .. }
            | Einsum { .. }
            | Lrn { .. }
            | Normalization { .. } => self.add_dense(spec, layer),
            ElementWise { .. }
            | Unary { .. }
            | Activation { .. }
            | SoftMax { .. }
            | Reduce { .. }
            | Select { .. }
            | Cast { .. }
            | Identity { .. }
            | TopK { .. }
            | Quantize { .. }
            | Dequantize { .. }
            | CumulativeSum { .. }
            | ParametricRelu { .. } => self.add_pointwise(layer),
            Shuffle { .. }
            | Concatenation { .. }
            | Slice { .. }
            | Gather { .. }
            | Shape { .. }
            | Resize { .. }
            | Scatter { .. }
            | Range { .. }
            | OneHot { .. }
            | GridSample { .. }
            | ReverseSequence { .. }
            | Squeeze { .. }
            | Unsqueeze { .. } => self.add_shape(layer),
        }
    }
}

/// The object behind a pointer; `None` for null.
///
/// # Safety
/// `pointer` is null, or the network returned and owns it, and the network outlives `'a`.
pub(crate) unsafe fn pin<'a, T>(pointer: *mut T) -> Option<Pin<&'a mut T>> {
    NonNull::new(pointer).map(|pointer| unsafe { Pin::new_unchecked(&mut *pointer.as_ptr()) })
}

fn tensor_summary(tensor: &Pin<&mut ITensor>) -> TensorSummary {
    TensorSummary {
        name: text(tensor.getName()),
        data_type: convert::data_type_of(&tensor.getType()),
        dims: convert::extents(&tensor.getDimensions()),
    }
}

/// Text that the library owns.
pub(crate) fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // The library's names end in NUL and live as long as their object.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a name with a NUL".into())
}
