//! Verifies a rule: both sides are evaluated on instances that are drawn from its own text.
//!
//! Each instance is evaluated in double precision, and, where the contract is equality of real numbers, again without any
//! rounding: in two prime fields, in fractions where order matters, with functions that have no law in a field taken as
//! pseudo-random ones ([`Exact`](eutectic_ir::eval::Exact)). A difference there disproves the rule whatever the tolerance.
//! `exact` rules are compared bit for bit in double, single, half and brain precision, with infinities, NaN, signed zeros
//! and the largest numbers among the inputs; other rules must not overflow in half precision where their left side does not.

mod counterexample;
mod coverage;
mod draw;
mod hints;
mod instance;
pub mod mutate;
mod random;
mod trial;

pub use counterexample::Counterexample;
pub use coverage::{Coverage, Uncovered};
pub(in crate::rules) use random::split_mix;
pub use trial::{Evidence, FloatEvidence};

use self::random::{Random, Tape};
use self::trial::Outcome;
use super::{Direction, Rule};
use eutectic_ir::Name;
use eutectic_ir::diag::{Diagnostic, Kind as Failure};
use rayon::prelude::*;

/// What the verification of one rule found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The rule.
    pub rule: Name,
    /// Instances on which both sides were compared.
    pub n_instances: usize,
    /// Instances that were drawn; most of the others break a condition.
    pub n_drawn: usize,
    /// In which arithmetic both sides agreed.
    pub evidence: Evidence,
    /// Which attributes the instances had.
    pub coverage: Coverage,
    /// An instance on which the sides differ: the rule is unsound.
    pub counterexample: Option<Box<Counterexample>>,
}

impl Verdict {
    /// True when no counterexample was found.
    pub fn is_sound(&self) -> bool {
        self.counterexample.is_none()
    }
}

/// How much is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Instances to compare.
    pub instances: usize,
    /// Draws at most.
    pub draws: usize,
    /// Selects the draws: draw `k` has the seed `seed + k`.
    pub seed: u64,
    /// Simpler instances to try once a counterexample is found.
    pub shrinks: usize,
}

impl Effort {
    /// 200 instances out of 20,000 draws at most: the least share of draws that may fit is one in a hundred.
    pub const STANDARD: Effort = Effort { instances: 200, draws: 20_000, seed: 1, shrinks: 4_000 };
    /// 48 instances, for builds without optimization.
    pub const QUICK: Effort = Effort { instances: 48, draws: 4_800, seed: 1, shrinks: 2_000 };
}

/// Verifies `rule`. A rule that expands a fused operator is verified on what `recognise`, its other direction, makes.
///
/// A verdict without counterexample means that none was found. Errors: fewer than one draw in a hundred fits the left side
/// (`R0022`); then nothing is known.
pub fn verify(rule: &Rule, recognise: Option<&Rule>, effort: Effort) -> Result<Verdict, Box<Diagnostic>> {
    let source = source(rule, recognise);
    let mut verdict = Verdict {
        rule: rule.name.clone(),
        n_instances: 0,
        n_drawn: 0,
        evidence: Evidence::default(),
        // The calls of a fused operator's body have fixed attributes, or pass on those of the operator.
        coverage: if std::ptr::eq(source, rule) { Coverage::of(rule) } else { Coverage::default() },
        counterexample: None,
    };
    let mut last = String::from("nothing was drawn");
    while verdict.n_instances < effort.instances && verdict.n_drawn < effort.draws {
        // Draws of one batch are made at once; those beyond the last instance that is wanted do not count.
        let draws = verdict.n_drawn..effort.draws.min(verdict.n_drawn + BATCH);
        let one = |draw: usize| {
            let mut random = Random::new(effort.seed.wrapping_add(draw as u64));
            let outcome = trial::run(rule, source, &mut random);
            (outcome, random.tape)
        };
        let outcomes: Vec<(Outcome, Tape)> = draws.into_par_iter().map(one).collect();
        for (outcome, tape) in outcomes {
            if verdict.n_instances == effort.instances {
                break;
            }
            let seed = effort.seed.wrapping_add(verdict.n_drawn as u64);
            verdict.n_drawn += 1;
            match outcome {
                Outcome::Unfit(reason) | Outcome::Unbuilt(reason) => last = reason,
                Outcome::Agrees(agreement) => {
                    verdict.n_instances += 1;
                    verdict.evidence.count(&agreement);
                    verdict.coverage.count(rule, &agreement.records);
                }
                Outcome::Differs(_) => {
                    verdict.n_instances += 1;
                    verdict.counterexample =
                        counterexample::shrink(rule, source, &tape, seed, effort.shrinks).map(Box::new);
                    return Ok(verdict);
                }
            }
        }
    }
    if verdict.n_instances * 100 < verdict.n_drawn {
        let message = format!("only {} of {} drawn instances fit the left side", verdict.n_instances, verdict.n_drawn);
        let problem = Diagnostic::error(Failure::Invalid, "R0022", message)
            .within(format!("rule `{}`", rule.name))
            .in_file(rule.file.as_str())
            .at_span(rule.span.clone())
            .note(format!("the last one failed because: {last}"))
            .help("fix shapes or attributes in an `example` line");
        return Err(Box::new(problem));
    }
    Ok(verdict)
}

/// Draws that are made at once.
const BATCH: usize = 16;

/// The rule whose left side instances of `rule` are drawn from.
fn source<'a>(rule: &'a Rule, recognise: Option<&'a Rule>) -> &'a Rule {
    recognise.filter(|_| rule.fusion == Some(Direction::Expand)).unwrap_or(rule)
}
