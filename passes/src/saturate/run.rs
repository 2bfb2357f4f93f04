//! The saturation loop: search all, apply all, rebuild; budgets are checked inside search and apply.

use super::language::{Conflict, agree};
use super::provenance::Trace;
use super::space::{Call, Space};
use super::steps::Labels;
use crate::rules::{Binding, Budget, Host, Match, Rule, apply, find};
use crate::watch::{Event, Round, Watch};
use egg::Id;
use eutectic_ir::{Attrs, Graph, Name};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// When to stop. The best graph found so far is extracted whichever limit is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most e-nodes, and most matches of one round: hardly one of so many would be applied.
    pub nodes: usize,
    /// Most rounds of search and apply.
    pub iterations: usize,
    /// Most candidate calls that matching looks at, over the whole run.
    pub candidates: u64,
    /// Most memory of the e-graph and the matches of a round, in bytes, as [`Space::n_bytes`] estimates it.
    pub memory: usize,
    /// Most time. `None` in studies: a time limit makes results depend on the machine.
    pub time: Option<Duration>,
}

impl Limits {
    /// A million e-nodes, 30 rounds, a hundred million candidates, 4 GiB, 10 seconds.
    pub const STANDARD: Limits = Limits {
        nodes: 1_000_000,
        iterations: 30,
        candidates: 100_000_000,
        memory: 4 << 30,
        time: Some(Duration::from_secs(10)),
    };
}

/// Why saturation stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No rule adds anything: every equal graph that the rules can reach is in the space.
    Saturated,
    /// The limit of e-nodes.
    Nodes,
    /// The limit of rounds.
    Iterations,
    /// The limit of candidates.
    Candidates,
    /// The limit of memory.
    Memory,
    /// The limit of time.
    Time,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleActivity {
    /// Times its left side matched.
    pub matched: u64,
    /// Times it told the e-graph something new.
    pub applied: u64,
    /// Times its right side could not be built.
    pub refused: u64,
    /// Time spent on it.
    pub time: Duration,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Activity {
    /// Why it stopped.
    pub stop: Stop,
    /// Rounds begun.
    pub iterations: usize,
    /// What each rule did, in the order in which the rules were given.
    pub rules: Vec<RuleActivity>,
    /// Unions refused because their types differ: evidence that a rule is unsound.
    pub conflicts: Vec<Conflict>,
}

impl Activity {
    fn n_applied(&self) -> u64 {
        self.rules.iter().map(|rule| rule.applied).sum()
    }

    /// Adds what a run over another graph did with the same rules. A limit that either hit is why both stopped.
    pub(crate) fn absorb(&mut self, other: Activity) {
        self.iterations = self.iterations.max(other.iterations);
        if self.stop == Stop::Saturated {
            self.stop = other.stop;
        }
        for (sum, rule) in self.rules.iter_mut().zip(other.rules) {
            sum.matched += rule.matched;
            sum.applied += rule.applied;
            sum.refused += rule.refused;
            sum.time += rule.time;
        }
        self.conflicts.extend(other.conflicts);
    }
}

/// Applies `rules` until nothing is new or a limit is hit. Limits are checked at every candidate, match and application; what
/// is found when one is hit stays, so that the space is sound and its best graph can be extracted.
pub fn saturate(space: &mut Space, rules: &[&Rule], limits: Limits) -> Activity {
    saturate_watched(space, rules, limits, &Graph::default(), &mut None)
}

/// The same, telling of each round and application; `original` is the graph that the space was made of.
pub(crate) fn saturate_watched(
    space: &mut Space,
    rules: &[&Rule],
    limits: Limits,
    original: &Graph,
    watch: &mut Watch,
) -> Activity {
    let mut budget = Budget::new(limits.candidates);
    let deadline = limits.time.and_then(|time| Instant::now().checked_add(time));
    let idle = RuleActivity { matched: 0, applied: 0, refused: 0, time: Duration::ZERO };
    let mut clock = Clock { deadline, rebuild: 0.0 };
    let mut activity =
        Activity { stop: Stop::Iterations, iterations: 0, rules: vec![idle; rules.len()], conflicts: Vec::new() };
    while activity.iterations < limits.iterations {
        activity.iterations += 1;
        let before = (space.egraph.nodes().len(), space.egraph.number_of_classes());
        // Half of the time that is left is for applying what is found in the other half.
        budget.deadline = deadline.map(|deadline| {
            let now = Instant::now();
            now + deadline.saturating_duration_since(now) / 2
        });
        let began = Instant::now();
        let n_applied = activity.n_applied();
        let (found, cut_short) = search(space, rules, limits, &mut budget, &mut activity.rules);
        let (searched, n_matched) = (began.elapsed(), found.len());
        let stopped =
            apply_all(space, rules, found, limits, &mut clock, &mut activity, (original, watch)).or(cut_short);
        if let Some(watch) = watch {
            let round = Round {
                number: activity.iterations,
                n_enodes: space.n_nodes(),
                n_eclasses: space.n_classes(),
                n_bytes: space.n_bytes(),
                n_matched,
                n_applied: activity.n_applied() - n_applied,
                n_candidates_left: budget.left,
                time: [searched, began.elapsed() - searched],
                time_left: deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
            };
            watch(Event::Round { graph: &original.name, round });
        }
        if let Some(stop) = stopped {
            activity.stop = stop;
            break;
        }
        if before == (space.egraph.nodes().len(), space.egraph.number_of_classes()) {
            activity.stop = Stop::Saturated;
            break;
        }
    }
    activity
}

type Found = Vec<(usize, Match<Id, Call>)>;

/// Every match of every rule, up to the limits, and the limit that was hit.
fn search(
    space: &Space,
    rules: &[&Rule],
    limits: Limits,
    budget: &mut Budget,
    activity: &mut [RuleActivity],
) -> (Found, Option<Stop>) {
    let mut found = Found::new();
    let mut left = limits.memory.saturating_sub(space.n_bytes());
    for (at, rule) in rules.iter().enumerate() {
        let began = Instant::now();
        let n_bytes = match_bytes(rule);
        let mut full = None;
        let ended = find(rule, space, budget, &mut |matched| {
            if left < n_bytes {
                full = Some(Stop::Memory);
            } else if found.len() >= limits.nodes {
                full = Some(Stop::Nodes);
            }
            if full.is_some() {
                return ControlFlow::Break(());
            }
            left -= n_bytes;
            found.push((at, matched));
            ControlFlow::Continue(())
        });
        activity[at].time += began.elapsed();
        if ended.is_break() {
            let spent = if budget.is_late() { Stop::Time } else { Stop::Candidates };
            return (found, Some(full.unwrap_or(spent)));
        }
    }
    (found, None)
}

/// Memory of one match of `rule`, in bytes.
fn match_bytes(rule: &Rule) -> usize {
    size_of::<(usize, Match<Id, Call>)>()
        + rule.variables.len() * size_of::<Binding<Id>>()
        + rule.left.calls.len() * (size_of::<Call>() + size_of::<Option<Attrs>>())
}

/// When a run ends, and how long what no limit can cut short takes.
struct Clock {
    deadline: Option<Instant>,
    /// Restoring congruence, in seconds for each e-node, as it was last measured.
    rebuild: f64,
}

impl Clock {
    fn rebuild(&mut self, space: &mut Space) {
        let began = Instant::now();
        space.egraph.rebuild();
        self.rebuild = began.elapsed().as_secs_f64() / space.n_nodes().max(1) as f64;
    }

    /// Whether the time that is left is needed to restore congruence once more, and to drop so many matches.
    fn is_over(&self, now: Instant, space: &Space, n_matches: usize) -> bool {
        const DROPPING: f64 = 1e-7;
        let reserve = self.rebuild * space.n_nodes() as f64 + DROPPING * n_matches as f64;
        self.deadline.is_some_and(|deadline| now + Duration::from_secs_f64(reserve) >= deadline)
    }
}

/// Applies what was found and restores congruence; the limit that was hit.
fn apply_all(
    space: &mut Space,
    rules: &[&Rule],
    found: Found,
    limits: Limits,
    clock: &mut Clock,
    activity: &mut Activity,
    (original, watch): (&Graph, &mut Watch),
) -> Option<Stop> {
    // Congruence is restored in portions, so that the last one, which no limit can cut short, is not large. A portion is a
    // part of the whole, since each restoration looks at every class.
    const SMALLEST_PORTION: usize = 4096;
    let portion = |space: &Space| SMALLEST_PORTION.max(space.n_nodes() / 4);
    let mut next_rebuild = space.egraph.nodes().len() + portion(space);
    let mut stopped = None;
    // What matches stand on is noted while the e-graph is as they were found.
    let mut traces =
        found.iter().map_while(|(at, matched)| space.trace(rules[*at], *at, matched)).collect::<Vec<_>>().into_iter();
    // So are the names of the places.
    let mut places = match watch {
        Some(_) => places(space, original, &found),
        None => Vec::new(),
    }
    .into_iter();
    let mut n_left = found.len();
    for (at, matched) in found {
        n_left -= 1;
        let began = Instant::now();
        let before = (activity.rules[at].applied, space.egraph.nodes().len());
        apply_one(space, rules[at], &matched, traces.next(), &mut activity.rules[at], &mut activity.conflicts);
        let now = Instant::now();
        activity.rules[at].time += now - began;
        if let (Some(watch), Some(place)) = (&mut *watch, places.next())
            && activity.rules[at].applied > before.0
        {
            watch(Event::Applied {
                graph: &original.name,
                round: activity.iterations,
                rule: rules[at],
                at: place,
                n_new: space.egraph.nodes().len() - before.1,
            });
        }
        if space.n_nodes() >= limits.nodes {
            stopped = Some(Stop::Nodes);
        } else if space.n_bytes() >= limits.memory {
            stopped = Some(Stop::Memory);
        } else if clock.is_over(now, space, n_left) {
            stopped = Some(Stop::Time);
        }
        if stopped.is_some() {
            break;
        }
        if space.egraph.nodes().len() >= next_rebuild {
            clock.rebuild(space);
            next_rebuild = space.egraph.nodes().len() + portion(space);
        }
    }
    clock.rebuild(space);
    activity.conflicts.append(&mut space.egraph.analysis.conflicts.borrow_mut());
    stopped
}

/// For each match, the original value that stands for what its first call computes; an empty name where none does.
fn places(space: &Space, original: &Graph, found: &Found) -> Vec<Name> {
    let labels = Labels::new(space, original);
    let of_match = |matched: &Match<Id, Call>| {
        let output = space.output(*matched.calls.first()?, 0)?;
        labels.known(output).cloned()
    };
    found.iter().map(|(_, matched)| of_match(matched).unwrap_or_default()).collect()
}

fn apply_one(
    space: &mut Space,
    rule: &Rule,
    matched: &Match<Id, Call>,
    mut trace: Option<Trace>,
    activity: &mut RuleActivity,
    conflicts: &mut Vec<Conflict>,
) {
    activity.matched += 1;
    let applied = apply(rule, matched, space);
    space.note_built(trace.as_mut().filter(|_| applied.is_ok()));
    let Ok(applied) = applied else {
        activity.refused += 1;
        return;
    };
    let mut changed = false;
    for (old, new) in applied.roots {
        if let (Some(left), Some(right)) = (space.ty(old), space.ty(new))
            && !agree(left, right)
        {
            let (left, right) = (left.clone(), right.clone());
            let conflict = Conflict { rule: Some(rule.name.to_string()), left, right };
            if !conflicts.contains(&conflict) {
                conflicts.push(conflict);
            }
            continue;
        }
        if let Some(trace) = &mut trace {
            space.note_union(trace, old, new);
        }
        changed |= space.egraph.union_trusted(old, new, rule.name.as_str());
    }
    if let Some(trace) = trace {
        space.note_application(trace);
    }
    activity.applied += u64::from(changed);
}
