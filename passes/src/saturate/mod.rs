//! Engine 2: equality saturation. The only code that knows egg.
//!
//! egg does what it does well: hash-consing, congruence and analyses. Matching is the rules' own matcher, so that both
//! engines run the same rule; the loop, its budgets and extraction are ours.

mod graph;
mod language;
mod run;
mod space;

pub use graph::{Dump, DumpedNode, Extracted, dump, extract_graph};
pub use language::Conflict;
pub use run::{Activity, Limits, RuleActivity, Stop, saturate};
pub use space::Space;
