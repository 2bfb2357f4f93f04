//! What an engine consists of.
//!
//! With detailed verbosity, one message of the build log lists every engine layer: its kind, its operands, and in its metadata
//! the network layers that were fused into it. The format is undocumented, so a field that is missing or unreadable is left
//! empty and never fails a build.

use crate::log::LISTING_MARK;
use serde::{Deserialize, Serialize};

/// One step of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineLayer {
    /// The library's name of it, derived from the layers in it.
    pub name: String,
    /// `correlation` (library convolution), `gemm`, `runtime_fusion` (dense work with an epilogue, compiled at load), `kgen`
    /// (generated pointwise, reduction or layout kernel), `signal`, `wait`, `shape_call`, ..
    pub kind: String,
    /// What it reads.
    pub inputs: Vec<EngineTensor>,
    /// Weights that it reads.
    pub constants: Vec<EngineTensor>,
    /// What it writes.
    pub outputs: Vec<EngineTensor>,
    /// Name of the implementation.
    pub tactic: String,
    /// The source nodes in it; a node may be in several layers.
    pub origins: Vec<String>,
}

/// An operand of an engine layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineTensor {
    /// The library's name of it.
    pub name: String,
    /// Extents; -1 where they are dynamic.
    pub dims: Vec<i64>,
    /// Element type, in the library's words (`Float`, `Half`, `Int8`, ..).
    pub data_type: String,
    /// Memory layout, in the library's words.
    pub format: String,
}

impl EngineLayer {
    /// Whether it runs on the device; `signal` and `wait` order streams, `shape_call` computes extents on the host and
    /// `ShapeHostToDevice` copies them.
    pub fn is_kernel(&self) -> bool {
        !matches!(self.kind.as_str(), "signal" | "wait" | "shape_call" | "ShapeHostToDevice")
    }
}

/// The layers that are kernels.
pub fn kernels(layers: &[EngineLayer]) -> impl Iterator<Item = &EngineLayer> {
    layers.iter().filter(|layer| layer.is_kernel())
}

/// Reads the library's message.
pub fn parse(text: &str) -> Vec<EngineLayer> {
    let Some(body) = text.strip_prefix(LISTING_MARK) else { return Vec::new() };
    // Bindings follow after an empty line; in that part the lines begin with a space.
    let body = body.split_once("\n\nI/O Tensors:").map_or(body, |(layers, _)| layers);
    body.lines().filter_map(|line| line.strip_prefix("Name: ")).map(parse_layer).collect()
}

/// The tag by which a layer names a source node in its metadata; as NVIDIA's ONNX parser writes it.
pub(crate) fn origin_tag(origin: &str) -> String {
    format!("{ORIGIN}{origin}]")
}

const ORIGIN: &str = "[ONNX Layer: ";

/// `line` begins after `Name: `.
fn parse_layer(line: &str) -> EngineLayer {
    // Names may hold commas and colons, so fields are found by the keys that end them, in order.
    let (name, rest) = cut(line, ", LayerType: ");
    let (kind, rest) = cut(rest, ", Inputs: ");
    let (inputs, rest) = cut(rest, ", Constants: ");
    let (constants, rest) = cut(rest, ", Outputs: ");
    let (outputs, rest) = cut(rest, ", TacticName: ");
    let (tail, metadata) = cut(rest, ", Metadata: ");
    let (tactic, _stream) = cut(tail, ", StreamId: ");
    EngineLayer {
        name: name.to_owned(),
        kind: kind.to_owned(),
        inputs: parse_tensors(inputs),
        constants: parse_tensors(constants),
        outputs: parse_tensors(outputs),
        tactic: tactic.to_owned(),
        origins: parse_origins(metadata),
    }
}

fn parse_tensors(list: &str) -> Vec<EngineTensor> {
    list.split("{ Name: ").skip(1).map(parse_tensor).collect()
}

fn parse_tensor(item: &str) -> EngineTensor {
    let (name, rest) = cut(item, ", Dimensions: [");
    let (dims, rest) = cut(rest, "]");
    let (_strides, rest) = cut(rest, "Datatype: ");
    let (data_type, rest) = cut(rest, ", Format: ");
    let (format, _) = cut(rest, " }");
    EngineTensor {
        name: name.to_owned(),
        dims: dims.split(',').filter_map(|extent| extent.trim().parse().ok()).collect(),
        data_type: data_type.to_owned(),
        format: format.to_owned(),
    }
}

fn parse_origins(metadata: &str) -> Vec<String> {
    let mut origins: Vec<String> = Vec::new();
    for part in metadata.split(ORIGIN).skip(1) {
        // Layers are separated by control characters.
        let part = part.trim_end_matches(|c: char| c.is_control() || c.is_whitespace());
        let origin = part.strip_suffix(']').unwrap_or(part);
        if !origins.iter().any(|known| known == origin) {
            origins.push(origin.to_owned());
        }
    }
    origins
}

/// What stands before and after `key`; everything and nothing when it is absent.
fn cut<'text>(text: &'text str, key: &str) -> (&'text str, &'text str) {
    text.split_once(key).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "Layers:\n\
        Name: move_0, LayerType: kgen, Inputs: [ { Name: x, Dimensions: [-1,3,8,8], Strides: [192,64,8,1], \
        StrideOrder: [3,2,1,0], Datatype: Half, Format: (Linear) Row major linear format }], Constants: [], \
        Outputs: [ { Name: t, Dimensions: [-1,3,8,8], Strides: [192,1,24,3], StrideOrder: [3,0,2,1], Datatype: Half, \
        Format: (NHWC) Channel major format }], TacticName: __move_0x1, StreamId: 0, Metadata: \n\
        Name: stem, a: b_1, LayerType: correlation, Inputs: [ { Name: t, Dimensions: [-1,3,8,8], Datatype: Half, Format: f }], \
        Constants: [ { Name: w, Dimensions: [4,3,3,3], Datatype: Half, Format: f }, { Name: b, Dimensions: [], Datatype: \
        Half, Format: f }], Outputs: [ { Name: y, Dimensions: [-1,4,8,8], Datatype: Half, Format: f }], \
        TacticName: lib, StreamId: 0, Metadata: [ONNX Layer: /stem/Conv]\u{1f}[ONNX Layer: /stem/Act[0]]\u{1e}\n\
        Name: sync, LayerType: signal, Inputs: [], Outputs: []\n\
        \nI/O Tensors:\n Name: x, IOMode: Input\n";

    #[test]
    fn a_kernel_knows_the_nodes_that_were_fused_into_it() {
        let layers = parse(SAMPLE);
        assert_eq!(layers[1].origins, ["/stem/Conv", "/stem/Act[0]"]);
        assert_eq!((layers[1].name.as_str(), layers[1].kind.as_str()), ("stem, a: b_1", "correlation"));
    }

    #[test]
    fn stream_synchronization_is_no_kernel() {
        let layers = parse(SAMPLE);
        assert_eq!((layers.len(), kernels(&layers).count()), (3, 2));
    }

    #[test]
    fn operands_keep_their_dims_types_and_layouts() {
        let layers = parse(SAMPLE);
        let output = &layers[0].outputs[0];
        assert_eq!((output.dims.as_slice(), output.data_type.as_str()), ([-1, 3, 8, 8].as_slice(), "Half"));
        assert_eq!(output.format, "(NHWC) Channel major format");
        let constants: Vec<_> = layers[1].constants.iter().map(|tensor| tensor.dims.len()).collect();
        assert_eq!(constants, [4, 0]);
    }

    #[test]
    fn what_is_not_understood_is_left_empty() {
        assert_eq!(parse("something else"), []);
        let layers = parse("Layers:\nName: odd, Kind: 7\n");
        assert_eq!((layers.len(), layers[0].kind.as_str(), layers[0].inputs.len()), (1, "", 0));
    }

    #[test]
    fn a_tag_survives_the_round_trip() {
        assert_eq!(parse_origins(&format!("{}{}", origin_tag("a, b]"), origin_tag("c"))), ["a, b]", "c"]);
    }
}
