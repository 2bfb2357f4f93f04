//! The text form: ONNX's own textual syntax, read and printed.
//!
//! ```text
//! <ir_version: 10, opset_import: ["": 26, "local": 1]>
//! main (float[N,3] x) => (float[N,3] y) <
//!     float[3] w = {1.0, 2.0, 3.0},
//!     float[64,3,7,7] kernel = ["location": "seed:2"]
//! > {
//!     [label] h = local.Scale <by = 2.0> (x, "", w)    # the second input is left out
//!     y = Relu (h)
//! }
//! <domain: "local", opset_import: ["": 26]>
//! Scale <by, offset: float = 0.0> (x, bias, w) => (y) { ... }
//! ```
//!
//! Guarantees:
//! - with [`PrintOptions::EXACT`], what is printed reads back as the same graph, types and weights, and prints again to
//!   the same bytes; two graphs that print the same are the same up to ids;
//! - `onnx.parser` of the onnx package (1.23) reads what is printed, but for the extensions below;
//! - no text makes the reader panic, exhaust the stack or open a file.
//!
//! **Names.** Identifiers are ASCII letters, digits and `_`. Any other name stands in double quotes, where `\"` and
//! `\\` stand for a quote and a backslash and every other character for itself, line breaks included; so does a name
//! that is a type (`float`). Values without a name, or with one that is taken, are printed with a new one. An output of
//! the graph names the value behind it; where it cannot (an input passed through, one value as two outputs), an
//! `Identity` node is printed.
//!
//! **Types.** `float` is a scalar, `float[]` a tensor of unknown rank, which the IR holds as an unknown type. A dim is a
//! size, a symbol, an expression in quotes (`"2*N + 1"`), or `?`, which is a symbol of its own.
//!
//! **Contents.** Elements in braces; float16 and narrower floats and truth values stand as their bit patterns, as
//! `onnx.parser` has it, and elements of fewer than 8 bits one by one. `["location": "seed:N"]` draws from
//! [`Seed`](crate::tensor::Seed), with `"low"` and `"high"` in other than the default range; `["location": "splat:V"]`
//! repeats one element. Other locations are files, which text does not open. A weight inside a function is printed as
//! a `Constant` node, and every `Constant` node is read as a weight.
//!
//! **Attributes.** Those with their default are not printed and filled in again. `name: kind = value` gives the kind
//! where the value does not.
//!
//! **Extensions** that `onnx.parser` refuses, printed only where it has no way to say the same:
//! - `0x..` for the bits of a NaN with a payload and for the bytes of a string that is not UTF-8;
//! - quotes around domains, operators, attribute names, and names of graphs in attributes, that are no identifiers;
//! - `...` for contents that are left out; the reader refuses them too;
//! - read but never printed: a float literal among elements of float16 and bfloat16, weights with `=` in functions.
//!
//! **Left out**, because the syntax has no place for it: documentation and metadata of graphs, metadata of nodes and of
//! functions, labels of `Constant` nodes.
//!
//! | code | problem |
//! |---|---|
//! | T0001, T0002 | a character that starts no token; a string without its end |
//! | T0003 | something else is expected here |
//! | T0004 | a number does not fit its type |
//! | T0005 | graphs are nested too deep |
//! | T0006 | an unknown or repeated key of a header |
//! | T0007 | a type or kind of attribute that the IR does not hold |
//! | T0008, T0009 | contents without a known shape; contents that do not fit it |
//! | T0010, T0011, T0012 | contents in a file; a malformed recipe; contents that were elided |
//! | T0020, T0021 | a name is defined twice; a name is not defined, or too late |
//! | T0022, T0023, T0026 | an attribute that contradicts itself; that does not fit the operator; that is given twice |
//! | T0024, T0025, T0030 | a function is defined twice; calls itself; has no domain |
//! | T0027 | a reference to an attribute that the function does not have, or of unknown kind |
//! | T0029 | a call without outputs |

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
