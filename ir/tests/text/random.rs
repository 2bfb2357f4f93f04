//! Graphs at random, and texts with random damage.

use super::describe;
use eutectic_ir::graph::{CustomOp, Graph, Op, ValueId};
use eutectic_ir::ops::builtin;
use eutectic_ir::tensor::Seed;
use eutectic_ir::text::{PrintOptions, Weights, parse_functions, parse_graph, parse_model, print_graph};
use eutectic_ir::types::ElementKind;
use eutectic_ir::{Attr, AttrKind, Attrs, Dim, Element, Name, Tensor, TensorType, Type};
use proptest::prelude::*;
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_graph_survives_printing_and_reading(choices in proptest::collection::vec(any::<u32>(), 1..600)) {
        let graph = Maker { choices: &choices, at: 0, n_named: 0 }.graph(0, &[]).0;
        let printed = print_graph(&graph, &PrintOptions::EXACT);
        let (again, _) = parse_graph(&printed).map_err(|problems| TestCaseError::fail(format!("{problems}\n{printed}")))?;
        prop_assert_eq!(describe::graph(&again, false), describe::graph(&graph, false), "{}", printed);
        prop_assert_eq!(print_graph(&again, &PrintOptions::EXACT), printed);
        let shown = print_graph(&graph, &PrintOptions { weights: Weights::Elide { above: 2 }, materialize: 9, types: false });
        prop_assert!(!shown.is_empty());
    }

    #[test]
    fn damaged_text_is_read_or_reported(file in 0..FILES.len(), cuts in proptest::collection::vec((any::<u32>(), 0..8u32, any::<u32>()), 1..6)) {
        let mut text = FILES[file].to_owned();
        for (place, what, with) in cuts {
            damage(&mut text, place as usize, what, with as usize);
        }
        let read = parse_model(&text);
        if let Err(problems) = &read {
            prop_assert!(problems.has_errors());
            for span in problems.0.iter().filter_map(|problem| problem.place.span.clone()) {
                prop_assert!(text.get(span.clone()).is_some(), "{:?} is no range of the text", span);
            }
        }
        if let Ok((model, _)) = read {
            let printed = eutectic_ir::text::print_model(&model, &PrintOptions::EXACT);
            let again = parse_model(&printed).map_err(|problems| TestCaseError::fail(format!("{problems}\n{printed}")))?.0;
            prop_assert_eq!(eutectic_ir::text::print_model(&again, &PrintOptions::EXACT), printed);
        }
        let _ = (parse_functions(&text), parse_graph(&text));
    }

    #[test]
    fn any_characters_are_read_or_reported(text in "[a-c0-9<>(){}\\[\\]=,:@.\"\\\\#? \\-éx\n]{0,80}") {
        let _ = (parse_model(&text), parse_functions(&text), parse_graph(&text));
    }
}

const FILES: &[&str] = &[
    include_str!("../data/text/attributes.onnxtxt"),
    include_str!("../data/text/control_flow.onnxtxt"),
    include_str!("../data/text/elements.onnxtxt"),
    include_str!("../data/text/functions.onnxtxt"),
    include_str!("../data/text/names.onnxtxt"),
    include_str!("../data/text/recipes.onnxtxt"),
];

/// Drops, doubles, swaps or inserts at `place`.
fn damage(text: &mut String, place: usize, what: u32, with: usize) {
    const INSERTED: &[&str] = &[
        "(", ")", "{", "}", "<", ">", "[", "]", "=", ",", "\"", "#", "@", "é", "nan", "-1", "1e99", "0x", "=>",
        "float", "\\",
    ];
    let boundary =
        |text: &str, at: usize| (0..=at % (text.len() + 1)).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let start = boundary(text, place);
    let end = boundary(text, start + with % 9).max(start);
    match what {
        0 => text.replace_range(start..end, ""),
        1 => {
            let piece = text[start..end].to_owned();
            text.insert_str(boundary(text, with), &piece);
        }
        2 => text.truncate(start),
        _ => text.insert_str(start, INSERTED[with % INSERTED.len()]),
    }
}

/// Draws everything from a list of choices, so that a failing case shrinks with the list.
struct Maker<'a> {
    choices: &'a [u32],
    at: usize,
    n_named: usize,
}

impl Maker<'_> {
    fn draw(&mut self, n: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        choice as usize % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.draw(256) as u8).collect()
    }

    /// A name that no other value has, or none.
    fn name(&mut self) -> Name {
        self.n_named += 1;
        let n = self.n_named;
        match self.draw(8) {
            0 => Name::default(),
            1 => format!("/layer{n}/Conv.0_output").into(),
            2 => format!("a \"b\" \\ {n}\n").into(),
            3 => format!("onnx::{n} é").into(),
            4 if n < Element::ALL.len() => Element::ALL[n].text().into(),
            5 => format!("{n}").into(),
            6 => format!("v_{n}").into(),
            _ => format!("x{n}").into(),
        }
    }

    fn dim(&mut self) -> Dim {
        match self.draw(6) {
            0 => Dim::symbol("N"),
            1 => Dim::symbol("batch size"),
            2 => Dim::symbol("n").mul(&Dim::known(2)).and_then(|dim| dim.add(&Dim::known(-1))).expect("small"),
            3 => Dim::fresh("elsewhere", self.draw(3)),
            4 => Dim::symbol("s").floor_div(&Dim::known(2)).expect("not zero"),
            _ => Dim::known(self.draw(5) as i64),
        }
    }

    fn ty(&mut self) -> Option<Type> {
        let element = Element::ALL[self.draw(Element::ALL.len())];
        let rank = self.draw(4);
        let shape: Vec<Dim> = (0..rank).map(|_| self.dim()).collect();
        let mut ty = Type::from(TensorType::new(element, shape));
        match self.draw(8) {
            0 | 1 => return None,
            2 => ty = Type::Unranked(element),
            3 => ty = ty.sequence().optional(),
            4 => ty = ty.sequence(),
            _ => {}
        }
        Some(ty)
    }

    fn tensor(&mut self) -> Tensor {
        let element = Element::ALL[self.draw(Element::ALL.len())];
        let rank = self.draw(3);
        let shape: Vec<usize> = (0..rank).map(|_| self.draw(4)).collect();
        let count: usize = shape.iter().product();
        if element == Element::String {
            let strings = (0..count).map(|_| {
                let len = self.draw(4);
                self.bytes(len).into()
            });
            return Tensor::from_strings(&shape, strings.collect()).expect("counted");
        }
        if self.draw(4) == 0 && matches!(element.kind(), ElementKind::Real) && element.bits() >= 16 {
            let seed = Seed { seed: self.draw(1 << 20) as u64, low: -0.5, high: self.draw(100) as f64 };
            return Tensor::seeded(element, &shape, seed).expect("a wide float");
        }
        let width = element.bits().div_ceil(8);
        let mut value = self.bytes(width);
        if element.bits() < 8 {
            value[0] &= (1 << element.bits()) - 1;
        }
        if self.draw(3) == 0 {
            return Tensor::splat(element, &shape, &value).expect("one element");
        }
        let mut bytes = self.bytes(element.byte_len(count).expect("small"));
        let used = count * element.bits() % 8;
        if let Some(last) = bytes.last_mut().filter(|_| used != 0) {
            *last &= (1 << used) - 1; // What stands behind the last narrow element is not part of the contents.
        }
        Tensor::new(element, &shape, bytes.into()).expect("counted")
    }

    fn float(&mut self) -> f32 {
        f32::from_bits((self.draw(1 << 16) << 16 | self.draw(1 << 16)) as u32)
    }

    fn attr(&mut self, depth: usize, graph: &Graph, visible: &[ValueId], captures: &mut Vec<ValueId>) -> Attr {
        let n = self.draw(3);
        match self.draw(12) {
            0 => Attr::Float(self.float()),
            1 => Attr::String(format!("s\"\\\n{}", self.draw(9)).into()),
            2 => Attr::Bytes([vec![0xff], self.bytes(2)].concat().into()),
            3 => Attr::Tensor(self.tensor()),
            4 => Attr::Ints((0..n).map(|_| self.draw(1 << 20) as i64 - 1000).collect()),
            5 => Attr::Floats((0..n).map(|_| self.float()).collect()),
            6 => Attr::Strings((0..n).map(|at| Name::from(format!("{at}"))).collect()),
            7 => Attr::Tensors((0..n).map(|_| self.tensor()).collect()),
            8 => Attr::Type(self.ty().unwrap_or(Type::Unranked(Element::Bool))),
            // One body that captures an owner, so that the order of captures is that of the body's text.
            9 | 10 if depth < 3 && captures.is_empty() => {
                let types: Vec<_> = visible.iter().map(|&id| graph.value(id).ty.clone()).collect();
                let (body, captured) = self.graph(depth + 1, &types);
                captures.extend(captured.into_iter().map(|at| visible[at]));
                Attr::Graph(Arc::new(body))
            }
            _ => Attr::Int(self.draw(1 << 20) as i64 - (1 << 19)),
        }
    }

    /// A graph that may capture values of these types, and which of them it does, in the order of reading.
    fn graph(&mut self, depth: usize, outer: &[Option<Type>]) -> (Graph, Vec<usize>) {
        let mut graph = Graph::new(if self.draw(2) == 0 { "main" } else { "a graph" });
        let mut captured: Vec<(usize, ValueId)> = Vec::new();
        let mut visible: Vec<ValueId> = Vec::new();
        for _ in 0..self.draw(3) {
            let default = if depth == 0 && self.draw(4) == 0 { Some(self.tensor()) } else { None };
            let ty = self.ty();
            let of_default = default.as_ref().map(|tensor| Type::from(tensor.ty()));
            let ty = if self.draw(2) == 0 { of_default.or(ty) } else { ty };
            let name = self.name();
            let id = graph.add_input(name, None, default);
            graph.value_mut(id).ty = ty;
            visible.push(id);
        }
        for _ in 0..self.draw(3) {
            let name = self.name();
            visible.push(graph.add_weight(name, self.tensor()));
        }
        for _ in 0..self.draw(6) {
            let mut inputs: Vec<Option<ValueId>> = Vec::new();
            for _ in 0..self.draw(4) {
                let at = self.draw(visible.len() + outer.len() + 1);
                inputs.push(if at < visible.len() {
                    Some(visible[at])
                } else if at < visible.len() + outer.len() {
                    let at = at - visible.len();
                    Some(match captured.iter().find(|(other, _)| *other == at) {
                        Some((_, id)) => *id,
                        None => {
                            let name = self.name();
                            let id = graph.add_capture(name, outer[at].clone(), captured.len() as u32);
                            captured.push((at, id));
                            id
                        }
                    })
                } else {
                    None
                });
            }
            self.node(depth, &mut graph, &mut visible, inputs);
        }
        for at in 0..visible.len().min(2) {
            let id = visible[visible.len() - 1 - at];
            let name = graph.value(id).name.clone();
            if !name.is_empty() {
                graph.add_output(name, id);
            }
        }
        (graph, captured.into_iter().map(|(at, _)| at).collect())
    }

    fn node(&mut self, depth: usize, graph: &mut Graph, visible: &mut Vec<ValueId>, inputs: Vec<Option<ValueId>>) {
        let (mut captures, mut attrs) = (Vec::new(), Attrs::new());
        let op = if self.draw(3) == 0 {
            attrs = Attrs::from_iter([("alpha", Attr::Float(self.float()))]);
            builtin("LeakyRelu")
        } else {
            for at in 0..self.draw(4) {
                let value = self.attr(depth, graph, visible, &mut captures);
                attrs.set(if at == 2 { "a name".to_owned() } else { format!("a{at}") }, value);
            }
            let (domain, overload) = [("com.example", ""), ("odd domain", "fast"), ("a.b.c", "")][self.draw(3)];
            let name = if self.draw(3) == 0 { "odd op" } else { "Op" };
            Op::Opaque(Arc::new(CustomOp { domain: domain.into(), name: name.into(), overload: overload.into() }))
        };
        let n_outputs = 1 + self.draw(2);
        let names: Vec<Name> = (0..n_outputs).map(|_| self.name()).collect();
        let node = graph.add_node(op, attrs, inputs, names);
        graph.node_mut(node).name = self.name();
        for captured in captures {
            graph.capture(node, captured);
        }
        for id in graph.node(node).outputs().to_vec() {
            let ty = self.ty();
            // A value without a name carries no type through text unless it is read; leave those out.
            if !graph.value(id).name.is_empty() {
                graph.value_mut(id).ty = ty;
            }
            visible.push(id);
        }
    }
}

#[test]
fn the_kinds_of_attributes_print_by_their_names() {
    assert_eq!(AttrKind::Type.text(), "type_proto");
}
