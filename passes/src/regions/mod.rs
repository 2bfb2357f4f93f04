//! Regions: which calls share a kernel.
//!
//! A backend says which calls may be part of a kernel of several calls ([`Abilities`]); this pass decides which are, by the
//! patterns that are asked for and by predicted time, and replaces each region by a call of a function whose body lists its
//! calls. What comes out is a model like any other: it prints, runs and is compared as one, and a backend compiles each
//! function of the domain of regions to one kernel and every other call to a kernel of its own.
//!
//! | step | file |
//! |---|---|
//! | products and convolutions take what follows them | `epilogues.rs`; those of quantized numbers, `quantized.rs` |
//! | the shortcut of a residual block is added in the sums of its convolution | `shortcuts.rs` |
//! | convolutions take the one whose result only they read | `chains.rs` |
//! | calls join what they read: patterns by what a kernel holds | `lookups.rs`, `rows.rs`, `pointwise.rs` |
//! | cheap calls are repeated instead of kept in memory | `recompute.rs` |
//! | regions become functions | `outline.rs` |
//!
//! Nothing is merged that cannot run in one piece (`division.rs`: units stay in an order of execution) and nothing that is
//! predicted to take longer than apart (`price.rs`).

mod calls;
mod chains;
mod division;
mod epilogues;
mod lookups;
mod outline;
mod pointwise;
mod price;
mod quantized;
mod recompute;
mod rows;
mod shortcuts;
#[cfg(test)]
mod tests;

use crate::cost::Device;
use calls::Calls;
use division::Division;
use eutectic_ir::Model;
use eutectic_ir::region::{Abilities, DOMAIN, Role};
use std::collections::BTreeSet;

/// A reason for which calls share a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Whether calls of these roles, in a kernel that iterates over a shape, are this pattern; `None` where it is none of
    /// those kernels.
    takes: Option<fn(&[&Role]) -> bool>,
}

/// Attention is one call before regions are formed: a backend that has a kernel for it leaves it whole.
const ATTENTION: Pattern = Pattern {
    name: "attention",
    doc: "attention in one kernel that keeps its scores out of memory, where the backend has one",
    takes: None,
};

/// Every pattern. The first that takes the calls of a kernel is the one that must be asked for.
pub const PATTERNS: [Pattern; 9] = [
    epilogues::PATTERN,
    quantized::PATTERN,
    shortcuts::PATTERN,
    chains::PATTERN,
    lookups::PATTERN,
    rows::PATTERN,
    pointwise::PATTERN,
    recompute::PATTERN,
    ATTENTION,
];

/// Which fusions are asked for: patterns and fused functions by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fusions {
    all: bool,
    named: BTreeSet<String>,
    left_out: BTreeSet<String>,
}

impl Fusions {
    /// Every pattern and every fused function.
    pub fn all() -> Self {
        Self { all: true, ..Self::none() }
    }

    /// None: every call is a kernel of its own.
    pub fn none() -> Self {
        Self { all: false, named: BTreeSet::new(), left_out: BTreeSet::new() }
    }

    /// What a list of names says: `all`, `none`, names, and names after a `-`, which are left out.
    pub fn of(names: &[String]) -> Self {
        let mut fusions = Self::none();
        for name in names {
            match (name.as_str(), name.strip_prefix('-')) {
                ("all", _) => fusions.all = true,
                ("none" | "", _) => {}
                (_, Some(left_out)) => drop(fusions.left_out.insert(left_out.into())),
                (name, None) => drop(fusions.named.insert(name.into())),
            }
        }
        fusions
    }

    /// The same without `name`.
    pub fn without(&self, name: &str) -> Self {
        let mut fusions = self.clone();
        fusions.left_out.insert(name.into());
        fusions
    }

    /// The names that are asked for or left out, `all` and `none` not among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().chain(&self.left_out).map(String::as_str)
    }

    /// Whether nothing may share a kernel.
    pub fn is_none(&self) -> bool {
        !self.all && self.named.difference(&self.left_out).next().is_none()
    }

    /// Whether pattern `name` applies to any calls.
    pub fn has_pattern(&self, name: &str) -> bool {
        (self.all || self.named.contains(name)) && !self.left_out.contains(name)
    }

    /// Whether the optimizer may call the fused function `name`: it is asked for, or products and convolutions take what
    /// follows them, which fused functions tell.
    pub fn has_function(&self, name: &str) -> bool {
        (self.all || self.named.contains(name) || self.has_pattern(epilogues::PATTERN.name))
            && !self.left_out.contains(name)
    }

    /// What admits a kernel of pattern `pattern` whose calls stem from one call of `function`: either of them by name.
    fn admits(&self, pattern: &str, function: Option<&str>) -> Option<String> {
        if self.left_out.contains(pattern) {
            return None;
        }
        let function = function.filter(|function| self.named.contains(*function) && !self.left_out.contains(*function));
        if self.has_pattern(pattern) { Some(pattern.into()) } else { function.map(str::to_owned) }
    }
}

/// A region that was formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formed {
    /// The name of its function.
    pub name: String,
    /// What brought its calls together: a pattern, or a fused function.
    pub made_by: String,
    /// How many calls it has.
    pub n_calls: usize,
}

/// Replaces calls of the main graph of `model` by regions, as `fusions` asks and as it pays on `device`; the regions, in order
/// of execution. `abilities` describes the calls as they are now. Types must have been inferred; a call whose sizes are not
/// known runs alone, and a graph with a cycle, which `verify` reports, stays as it is.
pub fn form(model: &mut Model, abilities: &Abilities, fusions: &Fusions, device: &Device) -> Vec<Formed> {
    let Some(calls) = Calls::new(&model.graph, abilities) else { return Vec::new() };
    let mut division = Division::new(&calls, fusions, device);
    quantized::claim(&mut division);
    epilogues::claim(&mut division);
    shortcuts::claim(&mut division);
    chains::claim(&mut division);
    division.merge();
    recompute::repeat(&mut division);
    quantized::leave_out_repeated(&mut division);
    let units = division.scheduled();
    let outline::Outlined { graph, functions, formed } = outline::outlined(model, &calls, &units);
    model.graph = graph;
    if !functions.is_empty() {
        model.functions.extend(functions);
        model.opsets.push((DOMAIN.into(), 1));
    }
    formed
}
