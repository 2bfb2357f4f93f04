//! Graphs and curves as SVG: layers from what a call reads to who reads it, without crossing-free ambitions.

use crate::ir::graph::{Graph, NodeId};
use crate::ir::walk;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Text as HTML and SVG show it. Characters that change directions or drive terminals are replaced.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if crate::ir::diag::drives_terminal(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

const WIDTH: usize = 150;
const HEIGHT: usize = 22;
const GAP: [usize; 2] = [14, 26];

/// The calls of `graph`, those of operators that `fresh` names marked. Beyond the largest number of calls that a reader
/// follows, the first of them.
pub(super) fn graph(graph: &Graph, fresh: &BTreeSet<String>) -> String {
    const MOST: usize = 600;
    let order = walk::order(graph).unwrap_or_default();
    let shown = &order[..order.len().min(MOST)];
    let mut layer_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut layers: Vec<Vec<NodeId>> = Vec::new();
    for &id in shown {
        let below = walk::sources(graph, id).filter_map(|source| layer_of.get(&source)).max();
        let layer = below.map_or(0, |layer| layer + 1);
        layer_of.insert(id, layer);
        if layers.len() <= layer {
            layers.resize(layer + 1, Vec::new());
        }
        layers[layer].push(id);
    }
    let mut place: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for (row, layer) in layers.iter().enumerate() {
        for (column, &id) in layer.iter().enumerate() {
            place.insert(id, (column * (WIDTH + GAP[0]), row * (HEIGHT + GAP[1])));
        }
    }
    let widest = layers.iter().map(Vec::len).max().unwrap_or(0);
    let (width, height) = (widest.max(1) * (WIDTH + GAP[0]), layers.len().max(1) * (HEIGHT + GAP[1]));
    let mut svg = format!("<svg width=\"{width}\" height=\"{height}\" viewBox=\"-2 -2 {width} {height}\">");
    for (&id, &(x, y)) in &place {
        let sources: BTreeSet<NodeId> = walk::sources(graph, id).collect();
        for (from_x, from_y) in sources.iter().filter_map(|source| place.get(source)) {
            let (x1, y1, x2) = (from_x + WIDTH / 2, from_y + HEIGHT, x + WIDTH / 2);
            let _ = write!(svg, "<path class=\"e\" d=\"M{x1} {y1}C{x1} {} {x2} {} {x2} {y}\"/>", y1 + 16, y - 16);
        }
    }
    for (&id, &(x, y)) in &place {
        let node = graph.node(id);
        let class = if fresh.contains(&node.op.to_string()) { "n f" } else { "n" };
        let value = graph.value(node.output());
        let ty = value.ty.as_ref().map_or(String::new(), ToString::to_string);
        let _ = write!(
            svg,
            "<g class=\"{class}\"><title>{}: {} {}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"4\"/>\
             <text x=\"{}\" y=\"{}\">{}</text></g>",
            escaped(&value.name),
            escaped(&node.op.to_string()),
            escaped(&ty),
            x + WIDTH / 2,
            y + 15,
            escaped(node.op.name()),
        );
    }
    svg.push_str("</svg>");
    if order.len() > shown.len() {
        let _ = write!(svg, "<p>The first {MOST} of {} calls.</p>", order.len());
    }
    svg
}

/// Curves over the rounds 1, 2, 3, ...: each a name and its values.
pub(super) fn curves(curves: &[(&str, Vec<f64>)]) -> String {
    const SIZE: (f64, f64) = (640.0, 200.0);
    let highest = curves.iter().flat_map(|(_, values)| values).fold(1.0f64, |a, &b| a.max(b));
    let n_rounds = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let step = SIZE.0 / n_rounds.saturating_sub(1).max(1) as f64;
    let mut svg = format!(
        "<svg width=\"800\" height=\"240\" viewBox=\"-10 -20 800 240\"><path class=\"a\" d=\"M0 0V{0}H{1}\"/>",
        SIZE.1, SIZE.0
    );
    let _ = write!(
        svg,
        "<text x=\"4\" y=\"-6\">{highest}</text><text x=\"{}\" y=\"{}\">round {n_rounds}</text>",
        SIZE.0 + 8.0,
        SIZE.1
    );
    for (at, (name, values)) in curves.iter().enumerate() {
        let point = |(round, value): (usize, &f64)| {
            format!("{:.1} {:.1}", round as f64 * step, SIZE.1 - value / highest * SIZE.1)
        };
        let points: Vec<String> = values.iter().enumerate().map(point).collect();
        let last = values.last().map_or(0.0, |value| SIZE.1 - value / highest * SIZE.1);
        let _ = write!(
            svg,
            "<polyline class=\"c{at}\" points=\"{}\"/><text class=\"c{at}\" x=\"{}\" y=\"{last:.1}\">{}</text>",
            points.join(" "),
            SIZE.0 + 8.0,
            escaped(name),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Two bars for each name, before and after, with what they say.
pub(super) fn bars(rows: &[(String, f64, f64)], show: &dyn Fn(f64) -> String) -> String {
    const LONGEST: f64 = 420.0;
    let highest = rows.iter().fold(f64::MIN_POSITIVE, |highest, (_, a, b)| highest.max(*a).max(*b));
    let mut svg = format!("<svg width=\"800\" height=\"{0}\" viewBox=\"0 0 800 {0}\">", rows.len() * 34 + 4);
    for (at, (name, before, after)) in rows.iter().enumerate() {
        let y = at * 34;
        let _ = write!(svg, "<text x=\"210\" y=\"{}\" text-anchor=\"end\">{}</text>", y + 19, escaped(name));
        for (class, value, y) in [("c0", before, y + 2), ("c1", after, y + 16)] {
            let length = value / highest * LONGEST;
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"216\" y=\"{y}\" width=\"{length:.1}\" height=\"12\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{}</text>",
                222.0 + length,
                y + 10,
                escaped(&show(*value)),
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_model_are_text_and_nothing_else() {
        assert_eq!(escaped("<script>\"&\u{202e}"), "&lt;script&gt;&quot;&amp;\u{fffd}");
    }

    #[test]
    fn a_call_stands_below_what_it_reads() {
        let text = "agraph (float[2] x) => (float[2] z) { y = Relu (x) z = Add (x, y) }";
        let (parsed, _) = crate::ir::text::parse_graph(text).expect("it parses");
        let svg = graph(&parsed, &BTreeSet::from(["Add".to_string()]));
        let y_of = |op: &str| {
            let text = &svg[..svg.find(&format!(">{op}<")).expect("a label")];
            let y = &text[text.rfind(" y=\"").expect("a place") + 4..];
            y[..y.find('"').expect("an end")].parse::<usize>().expect("a number")
        };
        assert!(y_of("Add") > y_of("Relu"), "{svg}");
        assert_eq!((svg.matches("class=\"e\"").count(), svg.matches("class=\"n f\"").count()), (1, 1), "{svg}");
    }
}
