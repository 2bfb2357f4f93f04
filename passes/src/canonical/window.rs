//! Normal forms of what slides a window: convolutions and pools.

use crate::rewire::set_attrs;
use eutectic_ir::graph::{Graph, NodeId};
use eutectic_ir::types::TensorType;
use eutectic_ir::{Attr, Tensor};

/// Bias, window and padding of `Conv` and `ConvTranspose`.
pub(super) fn convolution(graph: &mut Graph, id: NodeId, transposed: bool) -> Option<()> {
    let window = convolution_window(graph, id, transposed);
    let bias = zero_bias(graph, id, transposed);
    window.or(bias)
}

/// A missing bias becomes one zero for each output channel.
fn zero_bias(graph: &mut Graph, id: NodeId, transposed: bool) -> Option<()> {
    let node = graph.node(id);
    if node.input(2).is_some() || node.inputs().len() < 2 {
        return None;
    }
    let weight = graph.ty(node.input(1)?)?;
    let n_channels = if transposed {
        weight.shape.get(1)?.as_size()?.checked_mul(usize::try_from(node.attrs.int("group")?).ok()?)?
    } else {
        weight.shape.first()?.as_size()?
    };
    let zeros = Tensor::full(weight.element, &[n_channels], 0.0).ok()?;
    let zeros = graph.add_weight("", zeros);
    graph.set_input(id, 2, Some(zeros));
    Some(())
}

fn convolution_window(graph: &mut Graph, id: NodeId, transposed: bool) -> Option<()> {
    let node = graph.node(id);
    let (input, weight) = (graph.ty(node.input(0)?)?, graph.ty(node.input(1)?)?);
    let n_axes = weight.rank().checked_sub(2)?;
    let kernel = match node.attrs.get("kernel_shape") {
        Some(_) => node.attrs.ints("kernel_shape")?.to_vec(),
        None => weight.shape[2..].iter().map(|dim| dim.as_known()).collect::<Option<_>>()?,
    };
    let mut window = Window::of(graph, id, n_axes, kernel)?;
    let mut changed = vec![("kernel_shape", Attr::Ints(window.kernel.clone().into()))];
    if transposed {
        let output_padding = ints_or(graph, id, "output_padding", n_axes, 0)?;
        // With `output_shape`, the padding follows from it, and only the rest is made explicit.
        if node.attrs.get("output_shape").is_none() {
            window.resolve_transposed(&output_padding);
        }
        changed.push(("output_padding", Attr::Ints(output_padding.into())));
    } else {
        window.resolve(input);
    }
    changed.extend(window.attrs());
    set_attrs(graph, id, changed)
}

/// Window and padding of a pool.
pub(super) fn pool(graph: &mut Graph, id: NodeId) -> Option<()> {
    let node = graph.node(id);
    let kernel = node.attrs.ints("kernel_shape")?.to_vec();
    let mut window = Window::of(graph, id, kernel.len(), kernel)?;
    // Whether `VALID` rounds up is where specification and runtimes differ, so that call stays.
    let rounds_up = node.attrs.flag("ceil_mode");
    if !(rounds_up && window.auto_pad == "VALID") {
        window.resolve(graph.ty(node.input(0)?)?);
    }
    let mut changed = window.attrs();
    if rounds_up && node.attrs.string("auto_pad") != Some(&window.auto_pad) {
        // The explicit pads of SAME fill every window, so both roundings agree, and the usual one is the normal form.
        changed.push(("ceil_mode", Attr::Int(0)));
    }
    set_attrs(graph, id, changed)
}

struct Window {
    auto_pad: String,
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    pads: Vec<i64>,
}

impl Window {
    fn of(graph: &Graph, id: NodeId, n_axes: usize, kernel: Vec<i64>) -> Option<Self> {
        let auto_pad = graph.node(id).attrs.string("auto_pad").unwrap_or("NOTSET").to_string();
        let strides = ints_or(graph, id, "strides", n_axes, 1)?;
        let dilations = ints_or(graph, id, "dilations", n_axes, 1)?;
        let pads = ints_or(graph, id, "pads", n_axes.checked_mul(2)?, 0)?;
        let fits = kernel.len() == n_axes && kernel.iter().chain(&strides).chain(&dilations).all(|&size| size > 0);
        fits.then_some(Self { auto_pad, kernel, strides, dilations, pads })
    }

    /// Lets `auto_pad` become explicit padding, where the sizes it depends on are known.
    fn resolve(&mut self, input: &TensorType) {
        let totals: Option<Vec<i64>> = match self.auto_pad.as_str() {
            "VALID" => Some(vec![0; self.kernel.len()]),
            "SAME_UPPER" | "SAME_LOWER" => (0..self.kernel.len())
                .map(|axis| {
                    let size = input.shape.get(axis.checked_add(2)?)?.as_known()?;
                    let n_windows = size.checked_add(self.strides[axis])?.checked_sub(1)? / self.strides[axis];
                    let reach = n_windows.checked_sub(1)?.checked_mul(self.strides[axis])?;
                    Some(reach.checked_add(self.extent(axis)?)?.checked_sub(size)?.max(0))
                })
                .collect(),
            _ => None,
        };
        self.set_totals(totals);
    }

    /// The same for a transposed convolution: SAME makes the output `stride` times as large as the input.
    fn resolve_transposed(&mut self, output_padding: &[i64]) {
        let totals: Option<Vec<i64>> = match self.auto_pad.as_str() {
            "VALID" => Some(vec![0; self.kernel.len()]),
            "SAME_UPPER" | "SAME_LOWER" => (0..self.kernel.len())
                .map(|axis| {
                    let total =
                        output_padding[axis].checked_add(self.extent(axis)?)?.checked_sub(self.strides[axis])?;
                    (total >= 0).then_some(total)
                })
                .collect(),
            _ => None,
        };
        self.set_totals(totals);
    }

    fn set_totals(&mut self, totals: Option<Vec<i64>>) {
        let Some(totals) = totals else { return };
        // The odd one goes to the end in SAME_UPPER and to the beginning in SAME_LOWER.
        let lower = |total: &i64| if self.auto_pad == "SAME_LOWER" { total - total / 2 } else { total / 2 };
        let begins: Vec<i64> = totals.iter().map(lower).collect();
        let ends: Vec<i64> = totals.iter().zip(&begins).map(|(total, begin)| total - begin).collect();
        self.pads = [begins, ends].concat();
        self.auto_pad = "NOTSET".into();
    }

    /// How far the window reaches along `axis`, dilation included.
    fn extent(&self, axis: usize) -> Option<i64> {
        self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?.checked_add(1)
    }

    fn attrs(&self) -> Vec<(&'static str, Attr)> {
        let mut attrs = vec![
            ("strides", Attr::Ints(self.strides.clone().into())),
            ("dilations", Attr::Ints(self.dilations.clone().into())),
            ("auto_pad", Attr::String(self.auto_pad.as_str().into())),
        ];
        // Beside an unresolved `auto_pad`, explicit padding would be an error.
        if self.auto_pad == "NOTSET" {
            attrs.push(("pads", Attr::Ints(self.pads.clone().into())));
        }
        attrs
    }
}

/// The integers `name`, or `n` times `default` when absent; `None` when they are not `n`, or a reference.
fn ints_or(graph: &Graph, id: NodeId, name: &str, n: usize, default: i64) -> Option<Vec<i64>> {
    let attrs = &graph.node(id).attrs;
    match attrs.get(name) {
        Some(_) => attrs.ints(name).filter(|values| values.len() == n).map(<[i64]>::to_vec),
        None => Some(vec![default; n]),
    }
}
