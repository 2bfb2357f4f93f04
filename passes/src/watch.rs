//! What the optimizer tells of its work while it does it: for traces, and to find the step that goes wrong.

use crate::pass::PassReport;
use crate::rules::Rule;
use crate::saturate::{Extracted, Stop};
use eutectic_ir::{Model, Name};
use std::time::Duration;

/// One thing that happened.
pub enum Event<'a> {
    /// A pass ran, before the engine or after it.
    Pass {
        /// What it did; a pass that is repeated tells each time.
        report: &'a PassReport,
        /// The model that it left.
        model: &'a Model,
    },
    /// The engine applied a rule, and something is new.
    Applied {
        /// The name of the graph.
        graph: &'a Name,
        /// Which round of the engine it was, from 1.
        round: usize,
        /// The rule.
        rule: &'a Rule,
        /// The value of the original graph that stands for what the first call of its left side computes; empty where none does.
        at: Name,
        /// E-nodes that were not there, or calls where there is no e-graph.
        n_new: usize,
    },
    /// A round of saturation ended.
    Round {
        /// The name of the graph.
        graph: &'a Name,
        /// What it did.
        round: Round,
    },
    /// A graph was chosen from an e-graph.
    Extracted {
        /// The name of the graph.
        graph: &'a Name,
        /// What the graph cost before, as extraction prices it.
        before: Option<f64>,
        /// What the chosen one costs.
        after: Extracted,
        /// Why saturation stopped.
        stop: Stop,
    },
    /// The engine is done, and left this model.
    Rewritten {
        /// The model, before passes finish it.
        model: &'a Model,
    },
}

/// One round of search and apply, and what is left to spend after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Its number, from 1.
    pub number: usize,
    /// E-nodes after it.
    pub n_enodes: usize,
    /// Classes after it.
    pub n_eclasses: usize,
    /// Memory of the e-graph after it, in bytes, as it is estimated.
    pub n_bytes: usize,
    /// Matches found.
    pub n_matched: usize,
    /// Those that told the e-graph something new.
    pub n_applied: u64,
    /// Candidate calls that matching may still look at.
    pub n_candidates_left: u64,
    /// Time of search, and of application with congruence restored.
    pub time: [Duration; 2],
    /// Time that is left; `None` without a limit.
    pub time_left: Option<Duration>,
}

/// Is told of events; `None` where nobody watches, so that nothing is done for it.
pub type Watch<'a, 'b> = Option<&'a mut (dyn FnMut(Event) + 'b)>;
