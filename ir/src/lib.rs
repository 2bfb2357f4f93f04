//! The intermediate representation: graph, types, operators, text form, verifier and reference interpreter.

pub mod diag;
