//! E-graphs for other programs: the JSON of egraph-serialize (its visualizer, the extraction gym), and DOT.

use crate::passes::saturate::Dump;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The JSON of egraph-serialize: `{"nodes": {id: {"op", "cost", "eclass", "children"}}, "root_eclasses": [class]}`. A child is
/// an e-node there; the first of its class stands for the class.
pub fn to_json(dump: &Dump) -> Value {
    let mut nodes = Map::new();
    for (id, node) in ids(dump) {
        let children: Vec<String> = node.children.iter().map(|class| format!("{class}.0")).collect();
        let value = json!({
            "op": node.operator,
            "cost": node.cost,
            "eclass": node.class.to_string(),
            "children": children,
        });
        nodes.insert(id, value);
    }
    json!({ "nodes": nodes, "root_eclasses": [dump.root.to_string()] })
}

/// A graph of DOT: a box for each class with its e-nodes in it, an edge from each e-node to each class that it reads.
pub fn to_dot(dump: &Dump) -> String {
    let mut text = String::from("digraph egraph {\n  compound=true\n  node [shape=box]\n");
    let mut open = None;
    let mut edges = String::new();
    for (id, node) in ids(dump) {
        if open != Some(node.class) {
            if open.is_some() {
                text.push_str("  }\n");
            }
            let _ = writeln!(text, "  subgraph cluster_{} {{", node.class);
            open = Some(node.class);
        }
        let label = node.operator.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "    \"{id}\" [label=\"{label}\"]");
        for child in &node.children {
            let _ = writeln!(edges, "  \"{id}\" -> \"{child}.0\" [lhead=cluster_{child}]");
        }
    }
    if open.is_some() {
        text.push_str("  }\n");
    }
    text + &edges + "}\n"
}

/// Each e-node with its name: its class and its place among those of the class.
fn ids(dump: &Dump) -> impl Iterator<Item = (String, &crate::passes::saturate::DumpedNode)> {
    let mut last = (usize::MAX, 0);
    dump.nodes.iter().map(move |node| {
        last = if last.0 == node.class { (node.class, last.1 + 1) } else { (node.class, 0) };
        (format!("{}.{}", node.class, last.1), node)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::saturate::DumpedNode;

    fn dump() -> Dump {
        let node = |operator: &str, class, cost, children: &[usize]| DumpedNode {
            operator: operator.into(),
            class,
            cost,
            children: children.to_vec(),
        };
        Dump { nodes: vec![node("x", 0, 0.0, &[]), node("\"Relu\"", 1, 1.5, &[0]), node("Max", 1, 2.0, &[0])], root: 1 }
    }

    #[test]
    fn the_json_names_nodes_after_their_class() {
        let json = to_json(&dump());
        assert_eq!(json["root_eclasses"], json!(["1"]));
        assert_eq!(json["nodes"]["1.1"], json!({ "op": "Max", "cost": 2.0, "eclass": "1", "children": ["0.0"] }));
    }

    #[test]
    fn a_label_of_dot_is_quoted() {
        let dot = to_dot(&dump());
        assert!(dot.contains(r#""1.0" [label="\"Relu\""]"#), "{dot}");
        assert!(dot.contains(r#""1.1" -> "0.0" [lhead=cluster_0]"#), "{dot}");
    }
}
