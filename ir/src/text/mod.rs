//! The text form: ONNX's own textual syntax, read and printed.

pub mod lexer;
