//! Mutants of a rule: the rule with one small mistake in it. A verifier that accepts one has a hole, or the mistake is none.

use super::random::{Random, Tape, split_mix};
use super::trial::{self, Outcome};
use super::{Effort, source};
use crate::rules::expr::{Binary, Expr, Value};
use crate::rules::matcher::Match;
use crate::rules::{Condition, PatternInput, Rule, TemplateCall, TemplateInput, TemplateStep};
use eutectic_ir::Op;
use eutectic_ir::graph::{NodeId, ValueId};
use eutectic_ir::op::Law;
use rayon::prelude::*;
use std::fmt;

/// A rule with one mistake.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// What the mistake is.
    pub mistake: String,
    /// True when it is on the left side: the mutant stands where the rule does not.
    pub widens: bool,
    /// True when it is on the right side alone: the mutant stands as the rule does.
    pub keeps_left: bool,
    /// The rule with it.
    pub rule: Rule,
}

/// What the mutants of one rule, or of several, came to.
#[derive(Clone, Debug, Default)]
pub struct Mutation {
    /// A counterexample was found.
    pub n_killed: usize,
    /// The right side cannot be built where the mistake makes a difference: an engine does not apply it.
    pub n_refused: usize,
    /// Both sides agree also on instances that the mistake makes a difference on: it is no mistake.
    pub sound: Vec<(String, String)>,
    /// No counterexample was found, nor an instance that the mistake makes a difference on: the rule's name and the mistake.
    pub survivors: Vec<(String, String)>,
    /// No counterexample was found, and `passes/rules/equivalent.txt` says why: it is no mistake.
    pub equivalent: Vec<(String, String)>,
}

/// So many instances, on which a mutant stands and its rule does not, show what the mistake leads to.
const SHOWN: usize = 8;

impl Mutation {
    /// The share of killed mutants among them and the survivors: 1 when there are none. What is no mistake does not count.
    pub fn kill_rate(&self) -> f64 {
        match self.n_killed + self.survivors.len() {
            0 => 1.0,
            n => self.n_killed as f64 / n as f64,
        }
    }

    /// Both counts together.
    pub fn merged(mut self, other: Mutation) -> Self {
        self.n_killed += other.n_killed;
        self.n_refused += other.n_refused;
        self.sound.extend(other.sound);
        self.survivors.extend(other.survivors);
        self.equivalent.extend(other.equivalent);
        self
    }
}

/// Verifies every mutant of `rule`.
pub fn mutation(rule: &Rule, recognise: Option<&Rule>, effort: Effort) -> Mutation {
    let all = mutants(rule).into_iter().map(Candidate::new);
    let (mut widened, mut candidates): (Vec<_>, Vec<_>) = all.partition(|candidate| candidate.mutant.widens);
    rayon::join(
        || explore(&mut widened, rule, recognise, effort),
        || explore(&mut candidates, rule, recognise, effort),
    );
    candidates.append(&mut widened);
    let mut mutation = Mutation::default();
    for Candidate { mutant, n_shown, n_unbuilt, is_killed, .. } in candidates {
        let named = (rule.name.to_string(), mutant.mistake);
        match n_shown {
            _ if is_killed => mutation.n_killed += 1,
            _ if is_equivalent(&named) => mutation.equivalent.push(named),
            n if n >= SHOWN => mutation.sound.push(named),
            n if n + n_unbuilt >= SHOWN || !mutant.widens => mutation.n_refused += 1,
            _ => mutation.survivors.push(named),
        }
    }
    mutation
}

/// Lets all `candidates` see each instance, which is drawn for one of them in turn, until a counterexample is found or enough
/// is seen. Draws of one batch do not learn from each other, so that they can be made at once, and come to the same on one
/// processor.
fn explore(candidates: &mut [Candidate], rule: &Rule, recognise: Option<&Rule>, effort: Effort) {
    const LARGEST_BATCH: usize = 16;
    let mut chance = effort.seed;
    let mut n_drawn = 0;
    while n_drawn < effort.draws {
        let open: Vec<usize> = (0..candidates.len()).filter(|&at| candidates[at].is_open(effort)).collect();
        if open.is_empty() {
            break;
        }
        // Most mistakes show on the first instances: the first batches are small.
        let n_batch = (n_drawn + 1).min(LARGEST_BATCH).min(effort.draws - n_drawn);
        let draws: Vec<(&Mutant, Random)> = (n_drawn..n_drawn + n_batch)
            .map(|draw| {
                let target = &candidates[open[draw % open.len()]];
                (&target.mutant, target.random(&mut chance))
            })
            .collect();
        n_drawn += n_batch;
        let look = |(target, mut random): (&Mutant, Random)| {
            let seen = look(target, &mut random, candidates, &open, rule, recognise);
            (random.tape, seen)
        };
        let looks: Vec<(Tape, Vec<(usize, Seen)>)> = draws.into_par_iter().map(look).collect();
        for (tape, seen) in looks {
            for (at, seen) in seen {
                candidates[at].note(seen, &tape);
            }
        }
    }
}

/// Draws an instance for `target`; how the `open` ones among `candidates` stand in it, those that do.
fn look(
    target: &Mutant,
    random: &mut Random,
    candidates: &[Candidate],
    open: &[usize],
    rule: &Rule,
    recognise: Option<&Rule>,
) -> Vec<(usize, Seen)> {
    let source = source(&target.rule, recognise);
    let Ok((setting, mut instance)) = trial::draw(&target.rule, source, random) else { return Vec::new() };
    // Where the rule stands, all that are wider than it stand as well, and all that keep its left side stand in the same way.
    let of_rule = trial::standing(rule, &instance);
    let stands = |&at: &usize| {
        let Mutant { rule: mutant, widens, keeps_left, .. } = &candidates[at].mutant;
        match (&of_rule, widens, keeps_left) {
            (Some(_), true, _) => Some((at, Standing::AsRule)),
            (of_rule, _, true) => of_rule.is_some().then_some((at, Standing::ByLeft)),
            _ => trial::standing(mutant, &instance).map(|found| (at, Standing::Alone(found))),
        }
    };
    let standing: Vec<(usize, Standing)> = open.iter().filter_map(stands).collect();
    // Most instances are drawn in vain: those need no contents.
    if standing.iter().any(|(_, standing)| !matches!(standing, Standing::AsRule)) {
        instance.fill(setting.mode, random);
    }
    let is_left_computed = std::cell::OnceCell::new();
    let see = |(at, standing): (usize, Standing)| {
        let mutant = &candidates[at].mutant.rule;
        let found = match (&standing, &of_rule) {
            (Standing::Alone(found), _) => {
                trial::fits_left(mutant, found, setting, &instance).ok()?;
                found
            }
            (Standing::ByLeft, Some(found)) => {
                let fits = || trial::fits_left(rule, found, setting, &instance).is_ok();
                is_left_computed.get_or_init(fits).then_some(found)?
            }
            _ => return Some((at, Seen::Nothing)),
        };
        let seen = match trial::compare(mutant, found, setting, &instance) {
            Outcome::Unfit(_) => return None,
            Outcome::Unbuilt(_) => Seen::Unbuilt,
            Outcome::Agrees(agreement) if agreement.is_empty => Seen::Nothing,
            Outcome::Agrees(_) => Seen::Agrees,
            Outcome::Differs(_) => Seen::Differs,
        };
        Some((at, seen))
    };
    standing.into_iter().filter_map(see).collect()
}

/// How a mutant stands in an instance.
enum Standing {
    /// As its rule does, which it is wider than: nothing is shown.
    AsRule,
    /// As its rule does, whose left side it has.
    ByLeft,
    /// In its own way.
    Alone(Match<ValueId, NodeId>),
}

/// What an instance says of a mutant that stands in it.
enum Seen {
    /// The rule stands there too, or the results are empty.
    Nothing,
    /// The right side is not built.
    Unbuilt,
    /// Both sides agree.
    Agrees,
    /// They differ.
    Differs,
}

/// The rules and mistakes of `passes/rules/equivalent.txt`, which go unnoticed because they are none.
pub fn equivalents() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("../../../rules/equivalent.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" -- ")?.0.split_once(": "))
}

fn is_equivalent((rule, mistake): &(String, String)) -> bool {
    equivalents().any(|known| known == (rule.as_str(), mistake.as_str()))
}

/// What is known of a mutant so far.
struct Candidate {
    mutant: Mutant,
    /// Instances on which both sides agree, and not because there is nothing in them.
    n_shown: usize,
    /// Instances on which the right side is not built.
    n_unbuilt: usize,
    is_killed: bool,
    /// How some of the instances were drawn in which it stands, wherever its rule stands as well.
    fitting: Vec<Tape>,
    /// How many were.
    n_fitting: usize,
}

impl Candidate {
    // So many tapes are kept.
    const KEPT: usize = 32;

    fn new(mutant: Mutant) -> Self {
        Self { mutant, n_shown: 0, n_unbuilt: 0, is_killed: false, fitting: Vec::new(), n_fitting: 0 }
    }

    fn is_open(&self, effort: Effort) -> bool {
        let enough = effort.instances / if self.mutant.widens { 4 } else { 2 };
        !self.is_killed && self.n_shown < enough && self.n_unbuilt < 4 * enough
    }

    /// The choices of the next instance. A neighbour of an instance that fits breaks one condition, where chance breaks many:
    /// two of three are such, if a condition is to be broken.
    fn random(&self, chance: &mut u64) -> Random {
        let seed = split_mix(chance);
        match self.fitting.get(seed as usize % self.fitting.len().max(1)) {
            Some(tape) if self.mutant.widens && !seed.is_multiple_of(3) => Random::near(tape, split_mix(chance)),
            _ => Random::new(seed),
        }
    }

    fn note(&mut self, seen: Seen, tape: &Tape) {
        match seen {
            Seen::Nothing => {}
            Seen::Unbuilt => self.n_unbuilt += 1,
            Seen::Agrees => self.n_shown += 1,
            Seen::Differs => self.is_killed = true,
        }
        match self.fitting.get_mut(self.n_fitting % Self::KEPT) {
            Some(oldest) => *oldest = tape.clone(),
            None => self.fitting.push(tape.clone()),
        }
        self.n_fitting += 1;
    }
}

/// Every mutant of `rule`: without a condition or a fixed attribute, with another number, with operands, roots, axes or
/// arguments exchanged.
///
/// Conditions that choose where a rule is worth its while (`const`, `not (const)`, `static`, `precedes`) restrict no value,
/// and the operands of a commutative operator make no difference: neither gives a mutant.
pub fn mutants(rule: &Rule) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut add = |mistake: String, change: &dyn Fn(&mut Rule)| {
        let mut mutant = rule.clone();
        change(&mut mutant);
        let widens = mutant.conditions.len() < rule.conditions.len() || n_fixed(&mutant) < n_fixed(rule);
        let inputs = |rule: &Rule| rule.left.calls.iter().map(|call| call.inputs.clone()).collect::<Vec<_>>();
        let keeps_left = !widens && inputs(&mutant) == inputs(rule);
        mutants.push(Mutant { mistake, widens, keeps_left, rule: mutant });
    };
    for (at, condition) in rule.conditions.iter().enumerate().filter(|(_, condition)| restricts(condition)) {
        add(format!("without `{}`", condition.text), &|rule| {
            rule.conditions.remove(at);
        });
    }
    for (at, call) in rule.left.calls.iter().enumerate() {
        let owner = call.label.as_deref().unwrap_or(call.op.name());
        for (place, (name, _)) in call.attrs.iter().enumerate() {
            add(format!("any {owner}.{name}"), &|rule| {
                rule.left.calls[at].attrs.remove(place);
            });
        }
        for (place, input) in call.inputs.iter().enumerate() {
            if let PatternInput::Scalar(number) = *input {
                add(format!("{} instead of {number} in {owner}", number + 1.0), &|rule| {
                    rule.left.calls[at].inputs[place] = PatternInput::Scalar(number + 1.0);
                });
            }
        }
    }
    for at in 1..rule.roots.len() {
        add(format!("roots {} and {at} exchanged", at - 1), &|rule| {
            (rule.roots[at - 1].1, rule.roots[at].1) = (rule.roots[at].1, rule.roots[at - 1].1);
        });
    }
    for (step, built) in rule.right.steps.iter().enumerate() {
        match built {
            TemplateStep::Call(call) => of_call(step, call, &mut add),
            TemplateStep::Alias(_, TemplateInput::Constant(expr)) => {
                for (mistake, changed) in expressions(expr) {
                    add(mistake, &|rule| {
                        if let TemplateStep::Alias(_, input) = &mut rule.right.steps[step] {
                            *input = TemplateInput::Constant(changed.clone());
                        }
                    });
                }
            }
            TemplateStep::Alias(..) => {}
        }
    }
    mutants
}

fn n_fixed(rule: &Rule) -> usize {
    rule.left.calls.iter().map(|call| call.attrs.len()).sum()
}

fn restricts(condition: &Condition) -> bool {
    fn chooses(expr: &Expr) -> bool {
        match expr {
            Expr::Apply(function, args) if function.name == "not" => args.iter().all(chooses),
            Expr::Apply(function, _) => ["const", "static", "precedes"].contains(&function.name),
            _ => false,
        }
    }
    !chooses(&condition.expr)
}

type Add<'a> = dyn FnMut(String, &dyn Fn(&mut Rule)) + 'a;

fn of_call(step: usize, call: &TemplateCall, add: &mut Add) {
    fn changed(rule: &mut Rule, step: usize) -> &mut TemplateCall {
        match &mut rule.right.steps[step] {
            TemplateStep::Call(call) => call,
            TemplateStep::Alias(..) => unreachable!("a mutant has the steps of its rule"),
        }
    }
    let op = call.op.name();
    let is_commutative = matches!(&call.op, Op::Builtin(def) if def.has(Law::Commutative));
    for at in 1..call.inputs.len() {
        let (a, b) = (&call.inputs[at - 1], &call.inputs[at]);
        let are_alike = matches!((a, b), (TemplateInput::Var(a), TemplateInput::Var(b)) if a == b);
        let is_idle = are_alike || (is_commutative && at == 1);
        if !is_idle {
            add(format!("operands {} and {at} of {op} exchanged", at - 1), &|rule| {
                changed(rule, step).inputs.swap(at - 1, at);
            });
        }
    }
    for (at, input) in call.inputs.iter().enumerate() {
        let TemplateInput::Constant(expr) = input else { continue };
        for (mistake, expr) in expressions(expr) {
            add(format!("{mistake} in operand {at} of {op}"), &|rule| {
                changed(rule, step).inputs[at] = TemplateInput::Constant(expr.clone());
            });
        }
    }
    for (at, (name, _, expr)) in call.attrs.iter().enumerate() {
        if call.copies.is_some() {
            add(format!("{op}.{name} as matched"), &|rule| {
                changed(rule, step).attrs.remove(at);
            });
        }
        for (mistake, expr) in expressions(expr) {
            add(format!("{mistake} in {op}.{name}"), &|rule| changed(rule, step).attrs[at].2 = expr.clone());
        }
    }
    for at in 1..call.outputs.len() {
        add(format!("outputs {} and {at} of {op} exchanged", at - 1), &|rule| {
            changed(rule, step).outputs.swap(at - 1, at);
        });
    }
}

/// `expr` with one mistake, in every way.
fn expressions(expr: &Expr) -> Vec<(String, Expr)> {
    let mut mutants = Vec::new();
    let within = |items: &[Expr], rebuild: &dyn Fn(Vec<Expr>) -> Expr, mutants: &mut Vec<(String, Expr)>| {
        for (at, item) in items.iter().enumerate() {
            for (mistake, changed) in expressions(item) {
                let mut items = items.to_vec();
                items[at] = changed;
                mutants.push((mistake, rebuild(items)));
            }
        }
    };
    match expr {
        Expr::Literal(Value::Int(value)) => {
            if let Some(value) = value.as_known() {
                mutants.push((format!("{} instead of {value}", value + 1), Expr::Literal(Value::int(value + 1))));
            }
        }
        Expr::Literal(Value::Real(value, element)) => {
            let other = Value::Real(value + 0.5, *element);
            mutants.push((format!("{} instead of {value}", value + 0.5), Expr::Literal(other)));
        }
        Expr::Literal(_) | Expr::Var(_) | Expr::Attr(..) => {}
        Expr::List(items) => {
            within(items, &Expr::List, &mut mutants);
            if items.len() > 1 {
                mutants.push(("a list turned round".into(), Expr::List(items.iter().rev().cloned().collect())));
            }
        }
        Expr::Binary(operator, a, b) => {
            let pair = |items: Vec<Expr>| {
                let [a, b] = <[Expr; 2]>::try_from(items).unwrap_or_else(|_| unreachable!("two operands stay two"));
                Expr::Binary(*operator, a.into(), b.into())
            };
            within(&[(**a).clone(), (**b).clone()], &pair, &mut mutants);
            let other = match operator {
                Binary::Add => Binary::Sub,
                Binary::Sub => Binary::Add,
                Binary::Mul => Binary::Div,
                Binary::Div => Binary::Mul,
                _ => return mutants,
            };
            mutants.push((format!("{other:?} instead of {operator:?}"), Expr::Binary(other, a.clone(), b.clone())));
        }
        Expr::Apply(function, args) => {
            within(args, &|args| Expr::Apply(function, args), &mut mutants);
            let is_symmetric = ["add", "mul"].contains(&function.name);
            for at in (1..args.len()).filter(|_| !is_symmetric) {
                let sort = |at: usize| function.args.get(at).or(function.args.last());
                if sort(at) == sort(at - 1) {
                    let mut turned = args.clone();
                    turned.swap(at - 1, at);
                    mutants.push((format!("arguments of {} exchanged", function.name), Expr::Apply(function, turned)));
                }
            }
        }
    }
    mutants
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name, self.mistake)
    }
}
