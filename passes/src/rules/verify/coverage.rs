//! Which classes of attribute values the instances of a rule had.

use super::draw::attributes;
use crate::rules::{PatternCall, Rule};
use eutectic_ir::{Attrs, Op};
use std::fmt;

/// How often each class of each attribute that the rule does not fix stood in an instance on which both sides were compared.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    cells: Vec<Cell>,
}

#[derive(Clone, Debug)]
struct Cell {
    call: usize,
    attr: &'static str,
    name: String,
    class: &'static str,
    hits: usize,
}

/// A class that no instance had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// The attribute, by the label of its call or else the operator.
    pub attr: String,
    /// The class.
    pub class: &'static str,
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.attr, self.class)
    }
}

impl Coverage {
    pub(super) fn of(rule: &Rule) -> Self {
        let mut cells = Vec::new();
        for (call, pattern) in rule.left.calls.iter().enumerate() {
            let Op::Builtin(def) = &pattern.op else { continue };
            for attr in def.attrs.iter().filter(|attr| !is_fixed(pattern, attr.name)) {
                let owner = pattern.label.as_deref().unwrap_or(def.name);
                for class in attributes::classes(def.name, attr.name) {
                    cells.push(Cell { call, attr: attr.name, name: format!("{owner}.{}", attr.name), class, hits: 0 });
                }
            }
        }
        Self { cells }
    }

    pub(super) fn count(&mut self, rule: &Rule, records: &[(Attrs, Option<i64>)]) {
        for cell in &mut self.cells {
            let (Some(call), Some((record, n_channels))) = (rule.left.calls.get(cell.call), records.get(cell.call))
            else {
                continue;
            };
            let class = record
                .get(cell.attr)
                .and_then(|value| attributes::class(call.op.name(), cell.attr, value, *n_channels));
            cell.hits += usize::from(class == Some(cell.class));
        }
    }

    /// Number of classes.
    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    /// The classes that no instance had.
    pub fn uncovered(&self) -> impl Iterator<Item = Uncovered> {
        let missed = self.cells.iter().filter(|cell| cell.hits == 0);
        missed.map(|cell| Uncovered { attr: cell.name.clone(), class: cell.class })
    }
}

fn is_fixed(call: &PatternCall, attr: &str) -> bool {
    call.attrs.iter().any(|(name, _)| name == attr)
}
