//! The budgets under which a file is read.

use eutectic_ir::types::MAX_RANK;
use std::fmt;

/// What a file may ask for. Every field is a stated number, so that a refusal can name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the model file itself, in bytes.
    pub model_bytes: u64,
    /// Size of all external data that the model refers to, in bytes, ranges that coincide counted once.
    pub external_bytes: u64,
    /// Protobuf messages inside the model, of every kind.
    pub messages: u64,
    /// Memory that lists, names and messages take once decoded, in bytes; tensor data kept as it is in the file is
    /// not counted.
    pub decoded_bytes: u64,
    /// Graphs inside one another, the main graph included.
    pub nested_graphs: u32,
    /// Nodes of all graphs and functions.
    pub nodes: u64,
    /// Nodes when every function call is replaced by its body.
    pub expanded_nodes: u64,
    /// Dimensions of a tensor.
    pub rank: u32,
    /// Length of a name, in bytes.
    pub name_bytes: u64,
    /// Length of a documentation string or a metadata value, in bytes.
    pub text_bytes: u64,
}

impl Limits {
    /// The budgets that hold unless the user states others.
    pub const fn stated() -> Self {
        Self {
            model_bytes: 2 << 30,
            external_bytes: 64 << 30,
            messages: 1_000_000,
            decoded_bytes: 1 << 30,
            nested_graphs: 32,
            nodes: 256 << 10,
            expanded_nodes: 1_000_000,
            rank: MAX_RANK as u32,
            name_bytes: 4 << 10,
            text_bytes: 16 << 20,
        }
    }
}

impl fmt::Display for Limits {
    /// One line per budget: its name and its value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that a new budget cannot be forgotten here.
        let Self {
            model_bytes,
            external_bytes,
            messages,
            decoded_bytes,
            nested_graphs,
            nodes,
            expanded_nodes,
            rank,
            name_bytes,
            text_bytes,
        } = self;
        writeln!(f, "model_bytes     {model_bytes}")?;
        writeln!(f, "external_bytes  {external_bytes}")?;
        writeln!(f, "messages        {messages}")?;
        writeln!(f, "decoded_bytes   {decoded_bytes}")?;
        writeln!(f, "nested_graphs   {nested_graphs}")?;
        writeln!(f, "nodes           {nodes}")?;
        writeln!(f, "expanded_nodes  {expanded_nodes}")?;
        writeln!(f, "rank            {rank}")?;
        writeln!(f, "name_bytes      {name_bytes}")?;
        writeln!(f, "text_bytes      {text_bytes}")
    }
}
