//! The text form: ONNX's own textual syntax, read and printed.

mod cursor;
pub mod lexer;
mod lower;
mod lower_model;
mod names;
mod parse;
mod parse_attr;
mod parse_tensor;
mod print;
mod print_tensor;
mod syntax;
#[cfg(test)]
mod tests;

use crate::diag::Diagnostics;
use crate::graph::Graph;
use crate::model::{Function, Model};
use cursor::Cursor;
use std::sync::Arc;

pub use print::{PrintOptions, Weights, print_function, print_graph, print_model, print_node};

/// Reads a model: a header, a graph and functions. Gives warnings beside it, or every problem.
pub fn parse_model(text: &str) -> Result<(Model, Diagnostics), Diagnostics> {
    let mut cursor = Cursor::new(text);
    let syntax = cursor.model();
    let model = lower_model::model(&mut cursor, syntax);
    cursor.problems.into_result(model)
}

/// Reads one graph without a header; calls of functions are opaque.
pub fn parse_graph(text: &str) -> Result<(Graph, Diagnostics), Diagnostics> {
    parse_graph_with(text, &[])
}

/// Reads one graph without a header that may call `functions`.
pub fn parse_graph_with(text: &str, functions: &[Arc<Function>]) -> Result<(Graph, Diagnostics), Diagnostics> {
    let mut cursor = Cursor::new(text);
    let graph = match cursor.only_graph() {
        Some(syntax) => lower_model::graph(&mut cursor, syntax, functions),
        None => Graph::default(),
    };
    cursor.problems.into_result(graph)
}

/// Reads functions, in any order, to the end of the text.
pub fn parse_functions(text: &str) -> Result<(Vec<Arc<Function>>, Diagnostics), Diagnostics> {
    parse_functions_with(text, &[])
}

/// Reads functions that may call each other and `known` ones.
pub fn parse_functions_with(
    text: &str,
    known: &[Arc<Function>],
) -> Result<(Vec<Arc<Function>>, Diagnostics), Diagnostics> {
    let mut cursor = Cursor::new(text);
    let syntax = cursor.functions();
    let functions = lower_model::library(&mut cursor, syntax, known);
    cursor.problems.into_result(functions)
}
