//! A description of a graph that does not depend on ids, so that two graphs can be compared.

use eutectic_ir::graph::{Def, Graph, Op, ValueId};
use eutectic_ir::{Attr, Function, Model, Tensor, walk};
use std::fmt::Write;

/// A model, its functions and its header, line by line.
pub fn model(model: &Model) -> String {
    let mut text = graph(&model.graph, true);
    for each in &model.functions {
        text += &function(each);
    }
    let Model { opsets, ir_version, producer_name, producer_version, domain, model_version, doc, metadata, .. } = model;
    let header = (opsets, ir_version, producer_name, producer_version, domain, model_version, doc, metadata);
    let _ = writeln!(text, "{header:?}");
    text
}

/// A graph line by line; `names` says whether the names of values count, or only how they are connected.
pub fn graph(graph: &Graph, names: bool) -> String {
    let mut text = String::new();
    describe(graph, names, &mut text);
    text
}

fn function(function: &Function) -> String {
    let mut text = format!("function {} {:?} {:?} {:?}\n", function, function.overload, function.opsets, function.doc);
    for formal in &function.attrs {
        let _ = writeln!(
            text,
            "  formal {} {:?} {:?}",
            formal.name,
            formal.kind,
            formal.default.as_ref().map(|value| attr(value, true))
        );
    }
    text + &graph(&function.body, true)
}

fn describe(graph: &Graph, names: bool, text: &mut String) {
    let order = walk::order(graph).expect("no cycle");
    let key = |id: ValueId| match graph.value(id).def() {
        Def::Input { index, .. } => format!("input{index}"),
        Def::Weight(_) => {
            let weights = graph.values().filter(|(_, value)| value.weight().is_some());
            format!("weight{}", weights.take_while(|(other, _)| *other != id).count())
        }
        // Which capture it is depends on the order in which a reader met them; the owner's list tells what it is.
        Def::Capture(index) => format!("capture{index}"),
        Def::Result(node, index) => {
            format!("node{}.{index}", order.iter().position(|other| other == node).expect("ordered"))
        }
    };
    let name = |id: ValueId| if names { graph.value(id).name.to_string() } else { String::new() };
    let _ = writeln!(text, "graph {:?}", graph.name);
    for &id in graph.inputs() {
        let default = match graph.value(id).def() {
            Def::Input { default, .. } => default.as_ref().map(tensor),
            _ => None,
        };
        let _ = writeln!(text, "  {} {:?} {:?} default {default:?}", key(id), name(id), graph.value(id).ty);
    }
    for (id, value) in graph.values() {
        if let Some(weight) = value.weight() {
            let _ = writeln!(text, "  {} {:?} {}", key(id), name(id), tensor(weight));
        }
    }
    for &id in &order {
        let node = graph.node(id);
        let overload = match &node.op {
            Op::Builtin(_) => "builtin".to_owned(),
            Op::Function(function) => format!("function {:?}", function.overload),
            Op::Opaque(custom) => format!("opaque {:?}", custom.overload),
        };
        let inputs: Vec<_> = node.inputs().iter().map(|input| input.map(key)).collect();
        let _ = writeln!(text, "  {:?} ({overload}) {:?} {inputs:?}", node.op, node.name);
        for (attr_name, value) in node.attrs.iter() {
            let _ = writeln!(text, "    {attr_name} = {}", attr(value, names));
        }
        let captures: Vec<_> = node.captures().iter().map(|&captured| key(captured)).collect();
        let _ = writeln!(text, "    captures {captures:?}");
        for &output in node.outputs() {
            let _ = writeln!(text, "    defines {:?} {:?}", name(output), graph.value(output).ty);
        }
    }
    for output in graph.outputs() {
        let _ = writeln!(text, "  output {:?} = {}", output.name, key(output.value));
    }
}

fn tensor(tensor: &Tensor) -> String {
    format!("{} {:032x}", tensor.ty(), tensor.content_hash())
}

fn attr(value: &Attr, names: bool) -> String {
    let mut text = format!("{:?} ", value.kind());
    match value {
        Attr::Float(value) => text += &format!("{:08x}", value.to_bits()),
        Attr::Floats(values) => {
            text += &format!("{:x?}", values.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        }
        Attr::Tensor(value) => text += &tensor(value),
        Attr::Tensors(values) => values.iter().for_each(|value| text += &tensor(value)),
        Attr::Graph(_) | Attr::Graphs(_) => value.graphs().iter().for_each(|body| describe(body, names, &mut text)),
        _ => text += &format!("{value:?}"),
    }
    text
}
