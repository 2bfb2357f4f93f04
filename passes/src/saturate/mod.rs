//! Engine 2: equality saturation. The only code that knows egg.
//!
//! egg does what it does well: hash-consing, congruence and analyses. Matching is the rules' own matcher, so that both
//! engines run the same rule; the loop, its budgets and extraction are ours.

mod explain;
mod graph;
mod language;
mod provenance;
mod run;
mod space;
mod steps;
mod why_not;

pub(crate) use explain::explain;
pub use explain::{Explanation, Focus};
pub use graph::{Dump, DumpedNode, Extracted, draw_graph, dump, extract_graph};
pub(crate) use graph::{build_chosen, choose};
pub use language::Conflict;
pub(crate) use run::saturate_watched;
pub use run::{Activity, Limits, RuleActivity, Stop, saturate};
pub use space::Space;
pub use steps::Step;
pub use why_not::WhyNot;
pub(crate) use why_not::why_not;
