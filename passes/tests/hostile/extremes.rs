//! Every operator of the table under attributes and shapes that break arithmetic: sizes of zero, of everything, and the
//! ends of 64 bits.

use eutectic_ir::graph::Op;
use eutectic_ir::op::{Arity, Default, OpDef};
use eutectic_ir::types::TensorType;
use eutectic_ir::{Attr, AttrKind, Attrs, Dim, Element, Graph, Model, Tensor, infer, ops, verify};
use eutectic_passes::fold::{FoldBudget, fold_model};
use std::panic::{AssertUnwindSafe, catch_unwind};

const INTS: &[i64] = &[0, 1, -1, 2, i64::MAX, i64::MIN, 1 << 40];
const FLOATS: &[f32] = &[0.0, -1.0, f32::NAN, f32::INFINITY, 1e30];
const SHAPES: &[&[usize]] = &[&[], &[0], &[1], &[2, 3], &[0, 3], &[1, 2, 4], &[1, 0, 4], &[1, 4, 2, 2], &[0, 0, 0, 0]];
/// Shapes of inputs, which take no memory.
const LARGE: &[&[i64]] = &[&[i64::MAX], &[i64::MAX, i64::MAX], &[1, 1 << 62, 4], &[1, 4, 1 << 40, 1 << 40]];

/// Runs all of them; fails with a list of what panicked or was typed wrongly.
pub fn run() {
    // Panics are counted below; their traces would fill the screen.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found: Vec<String> = ops::all().flat_map(panics_of).collect();
    std::panic::set_hook(hook);
    assert!(found.is_empty(), "{} failures:\n{}", found.len(), found.join("\n"));
}

fn panics_of(def: &'static OpDef) -> Vec<String> {
    let mut found = Vec::new();
    for attrs in attributes(def) {
        for (number, shape) in SHAPES.iter().enumerate() {
            for first in elements(def) {
                attempt(def, &attrs, &mut found, |graph, slot| weight(graph, def, slot, shape, first, number));
            }
        }
        for dims in LARGE {
            let ty = TensorType::new(elements(def)[0], dims.iter().map(|&dim| Dim::known(dim)));
            attempt(def, &attrs, &mut found, |graph, slot| graph.add_input(format!("x{slot}"), Some(ty.clone()), None));
        }
    }
    found
}

/// Builds, checks, types, folds and evaluates one call.
fn attempt(
    def: &'static OpDef,
    attrs: &Attrs,
    found: &mut Vec<String>,
    mut operand: impl FnMut(&mut Graph, usize) -> eutectic_ir::ValueId,
) {
    let Ok(attrs) = def.complete(attrs.clone()) else { return };
    for n_inputs in least(def)..=def.inputs.len() {
        let mut graph = Graph::new("g");
        let inputs: Vec<_> = (0..n_inputs).map(|slot| Some(operand(&mut graph, slot))).collect();
        let outputs: Vec<String> = (0..def.outputs.len()).map(|at| format!("y{at}")).collect();
        let node = graph.add_node(Op::Builtin(def), attrs.clone(), inputs, outputs);
        let output = graph.node(node).output();
        graph.add_output("y0", output);
        let mut model = Model::new(graph);
        let run = catch_unwind(AssertUnwindSafe(|| {
            let _ = verify::verify(&model);
            infer::infer(&mut model);
            let inferred = model.graph.ty(output).cloned();
            // Small, since there are very many calls.
            fold_model(&mut model, FoldBudget { tensor: 1 << 20, total: 1 << 22 });
            let folded = model.graph.weight(model.graph.outputs()[0].value).map(Tensor::ty);
            // What is computed has the type that was inferred.
            match (&inferred, &folded) {
                (Some(inferred), Some(folded)) => !infer::contradicts(inferred, folded),
                _ => true,
            }
        }));
        if !matches!(run, Ok(true)) {
            let what = if run.is_err() { "panics" } else { "is folded to another type than is inferred" };
            found.push(format!("{} {what}: {attrs:?} on {n_inputs} inputs", def.name));
        }
    }
}

fn least(def: &OpDef) -> usize {
    def.inputs.iter().filter(|param| param.arity == Arity::Required).count().max(def.inputs.len().min(1))
}

/// The defaults, and each attribute in turn at each extreme. What is required has a modest value meanwhile.
fn attributes(def: &OpDef) -> Vec<Attrs> {
    let required = def.attrs.iter().filter(|attr| matches!(attr.default, Default::Required));
    let modest: Attrs =
        required.filter_map(|attr| Some((attr.name, extremes(attr.kind).into_iter().nth(1)?))).collect();
    let mut all = vec![modest.clone()];
    for attr in def.attrs {
        for value in extremes(attr.kind) {
            let mut attrs = modest.clone();
            attrs.set(attr.name, value);
            all.push(attrs);
        }
    }
    all
}

fn extremes(kind: AttrKind) -> Vec<Attr> {
    match kind {
        AttrKind::Int => INTS.iter().map(|&value| Attr::Int(value)).collect(),
        AttrKind::Float => FLOATS.iter().map(|&value| Attr::Float(value)).collect(),
        AttrKind::Ints => {
            let lists = INTS.iter().flat_map(|&value| [1, 2, 4, 5].map(|n| vec![value; n]));
            [vec![], vec![2, 2]].into_iter().chain(lists).map(|list| Attr::Ints(list.into())).collect()
        }
        AttrKind::String => ["", "ij->ji", "linear", "reflect", "SAME_UPPER", "mean", "\u{202e}"]
            .map(|text| Attr::String(text.into()))
            .into(),
        AttrKind::Tensor => vec![Attr::Tensor(Tensor::vector::<f32>(&[])), Attr::Tensor(Tensor::vector(&[1.0f32]))],
        AttrKind::Floats => vec![Attr::Floats([].into()), Attr::Floats([f32::NAN; 4].into())],
        _ => Vec::new(),
    }
}

/// Element types worth trying for the first variable.
fn elements(def: &OpDef) -> Vec<Element> {
    let admitted = def.inputs.first().and_then(|param| def.types.iter().find(|(name, _)| *name == param.ty));
    let wanted = [Element::Float, Element::Int64, Element::Bool, Element::Uint8];
    match admitted {
        Some((_, admitted)) => {
            let both: Vec<Element> = wanted.into_iter().filter(|element| admitted.contains(element)).collect();
            if both.is_empty() { vec![admitted[0]] } else { both }
        }
        None => vec![Element::Float],
    }
}

/// A weight of the element type that the slot admits; small vectors of integers take the extremes in turn.
fn weight(
    graph: &mut Graph,
    def: &OpDef,
    slot: usize,
    shape: &[usize],
    first: Element,
    number: usize,
) -> eutectic_ir::ValueId {
    let param = def.input(slot).expect("a parameter");
    let same = def.inputs.first().is_some_and(|other| other.ty == param.ty);
    let admitted = def.types.iter().find(|(name, _)| *name == param.ty).map(|(_, admitted)| *admitted);
    let element = match admitted {
        _ if same => first,
        Some(admitted) if admitted.contains(&Element::Float) => Element::Float,
        Some(admitted) if admitted.contains(&Element::Int64) => Element::Int64,
        Some(admitted) => admitted[0],
        None => Element::Float,
    };
    let count: usize = shape.iter().product();
    let at = |index: usize| INTS[(index + slot + number) % INTS.len()];
    let tensor = match element {
        Element::Float => Tensor::from_vec(shape, (0..count).map(|i| at(i) as f32).collect::<Vec<f32>>()),
        Element::Int64 => Tensor::from_vec(shape, (0..count).map(at).collect::<Vec<i64>>()),
        Element::Bool => Tensor::from_bools(shape, &vec![true; count]),
        Element::String => Tensor::from_strings(shape, vec![bytes(); count]),
        element => Tensor::splat(element, shape, &vec![1; element.bits().div_ceil(8)]),
    };
    graph.add_weight(format!("w{slot}"), tensor.expect("it fits"))
}

fn bytes() -> bytes::Bytes {
    bytes::Bytes::from_static(b"text")
}
