//! What a target understands: the vocabulary that extraction may choose from, and the spelling of fused calls.

use crate::rewire::bodies_of;
use eutectic_ir::graph::{CustomOp, Graph, NodeId, Op};
use eutectic_ir::op::CANONICAL_OPSET;
use eutectic_ir::{Attr, Attrs, Function, Name};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Who will run the optimized model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Anybody: fused operators are model-local functions, which every ONNX runtime can inline.
    Portable,
    /// Standard operators only.
    Onnx,
    /// ONNX Runtime: standard operators and those of `com.microsoft` that its CPU provider runs.
    Ort,
    /// TensorRT: standard operators; the builder fuses them itself.
    TensorRt,
    /// Our CPU backend: every fused operator.
    Cpu,
}

impl Target {
    /// Every target.
    pub const ALL: &'static [Target] = &[Target::Portable, Target::Onnx, Target::Ort, Target::TensorRt, Target::Cpu];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Target::Portable => "portable",
            Target::Onnx => "onnx",
            Target::Ort => "ort",
            Target::TensorRt => "tensorrt",
            Target::Cpu => "cpu",
        }
    }

    /// Whether `op` may be chosen when the file may import `ai.onnx` up to version `opset`.
    pub fn allows(self, op: &Op, opset: u64) -> bool {
        match op {
            Op::Builtin(def) => {
                let is_known = def.versions.first().is_none_or(|&first| first <= opset.min(CANONICAL_OPSET));
                is_known && !self.does_without(def.name, opset)
            }
            Op::Opaque(_) => true,
            Op::Function(function) => self.calls(function),
        }
    }

    /// Whether ONNX Runtime, which reads what is written for anybody too, refuses a file of operator set `opset` that calls the
    /// standard operator `name`.
    fn does_without(self, name: &str, opset: u64) -> bool {
        match self {
            Target::Ort => LACKED_BY_ORT.contains(&name),
            Target::Portable | Target::Onnx => LACKED_BY_ORT.contains(&name) && opset > EXPANDED_BY_ORT,
            Target::TensorRt | Target::Cpu => false,
        }
    }

    /// Whether a rule that applies when nothing else is said pays on this target.
    ///
    /// TensorRT merges all products and convolutions of one input by itself; where a graph has merged pairs of them, it merges
    /// less (TensorRT for RTX 1.7, NasRNN: 27 kernels with these rules, 15 without). It takes packed heads apart within the
    /// kernel that reads them, but not once they are a split (ViT-B/16: 209 kernels, 197 without the rule).
    pub fn profits_from(self, rule: &str) -> bool {
        self != Target::TensorRt || !LEFT_TO_TENSORRT.contains(&rule)
    }

    /// Whether a call of `function` may stay one; else its body is written in its place.
    pub(crate) fn calls(self, function: &Function) -> bool {
        function.domain != FUSION_DOMAIN
            || match self {
                Target::Portable | Target::Cpu => true,
                Target::Onnx | Target::TensorRt => false,
                Target::Ort => ort_spelling(function).is_some(),
            }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Target::ALL.iter().copied().find(|target| target.name() == text);
        found.ok_or_else(|| {
            format!("`{text}` is none of {}", Target::ALL.iter().map(|t| t.name()).collect::<Vec<_>>().join(", "))
        })
    }
}

/// Rules whose work TensorRT's builder does better by itself.
const LEFT_TO_TENSORRT: [&str; 6] = [
    "merge_two_matmuls",
    "merge_three_matmuls",
    "merge_two_linear",
    "merge_three_linear",
    "merge_two_convolutions",
    "split_of_packed_heads",
];

/// The domain of our fused operators.
pub const FUSION_DOMAIN: &str = "eutectic";

/// Operators that ONNX Runtime 1.32 has no kernel for on its CPU provider.
const LACKED_BY_ORT: [&str; 1] = ["Swish"];

/// The operator set in whose files it expands them to their bodies; in those of a later one it refuses them.
const EXPANDED_BY_ORT: u64 = 24;

/// How ONNX Runtime spells a fused convolution.
struct OrtSpelling {
    activation: Option<&'static str>,
    /// Position of the residual among the inputs of our function.
    residual: Option<usize>,
}

/// ONNX Runtime's `FusedConv` takes X, W, B, Z and one activation (contrib operators, `com.microsoft` version 1).
fn ort_spelling(function: &Function) -> Option<OrtSpelling> {
    let plain = |activation| Some(OrtSpelling { activation: Some(activation), residual: None });
    match function.name.as_str() {
        "ConvRelu" => plain("Relu"),
        "ConvSigmoid" => plain("Sigmoid"),
        "ConvLeakyRelu" => plain("LeakyRelu"),
        "ConvAddRelu" => Some(OrtSpelling { activation: Some("Relu"), residual: Some(3) }),
        "ConvAdd" => Some(OrtSpelling { activation: None, residual: Some(3) }),
        _ => None,
    }
}

/// Spells the fused calls of `graph` as ONNX Runtime's own operators; the number of calls changed.
pub fn spell_for_ort(graph: &mut Graph) -> usize {
    let calls: Vec<(NodeId, Arc<Function>)> = graph
        .nodes()
        .filter_map(|(id, node)| match &node.op {
            Op::Function(function) if function.domain == FUSION_DOMAIN => Some((id, Arc::clone(function))),
            _ => None,
        })
        .collect();
    let mut n_changed = 0;
    bodies_of(graph, &mut |body| n_changed += spell_for_ort(body));
    for (id, function) in calls {
        let Some(spelling) = ort_spelling(&function) else { continue };
        let node = graph.node(id);
        // ONNX Runtime adds its residual element by element, without broadcasting.
        let residual = spelling.residual.and_then(|at| node.input(at));
        if spelling.residual.is_some() && residual.and_then(|id| graph.ty(id)) != graph.ty(node.output()) {
            continue;
        }
        let mut attrs = Attrs::new();
        for name in ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"] {
            if let Some(value) = node.attrs.get(name) {
                attrs.set(name, value.clone());
            }
        }
        if let Some(activation) = spelling.activation {
            attrs.set("activation", Attr::String(activation.into()));
        }
        if let Some(alpha) = node.attrs.float("alpha") {
            attrs.set("activation_params", Attr::Floats([alpha].into()));
        }
        let mut inputs: Vec<_> = node.inputs().iter().take(3).copied().collect();
        inputs.extend(spelling.residual.map(|at| node.input(at)));
        let names: Vec<Name> = node.outputs().iter().map(|&output| graph.value(output).name.clone()).collect();
        let (name, metadata, old) = (node.name.clone(), node.metadata.clone(), node.outputs().to_vec());
        let op = Op::Opaque(Arc::new(CustomOp {
            domain: "com.microsoft".into(),
            name: "FusedConv".into(),
            overload: Name::default(),
        }));
        for &output in &old {
            graph.value_mut(output).name = Name::default();
        }
        let new = graph.add_node(op, attrs, inputs, names);
        graph.node_mut(new).name = name;
        graph.node_mut(new).metadata = metadata;
        for (old, new) in old.into_iter().zip(graph.node(new).outputs().to_vec()) {
            graph.value_mut(new).ty = graph.value(old).ty.clone();
            graph.replace_uses(old, new);
        }
        // Its results have no readers any more.
        let _ = graph.remove_node(id);
        n_changed += 1;
    }
    n_changed
}
