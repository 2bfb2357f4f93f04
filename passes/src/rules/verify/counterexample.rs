//! Shrinks a difference between the sides of a rule to the smallest instance that still shows it, and tells it.

use super::instance::Instance;
use super::random::{Random, Tape};
use super::trial::{self, Difference, Outcome};
use crate::rules::{Binding, Rule};
use eutectic_ir::eval::{Contents, Datum};
use eutectic_ir::graph::{Graph, ValueId};
use eutectic_ir::types::Element;
use eutectic_ir::{Attrs, Op};
use std::fmt;

/// An instance on which the sides of a rule differ.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What the rule's variables and attributes are, then what differs: one sentence.
    pub sentence: String,
    /// Draws the instance that was shrunk, as [`Effort::seed`](super::Effort).
    pub seed: u64,
    /// The element type of its reals; results are rounded to it after each call unless it is double precision.
    pub real: Element,
    /// The left side. Inputs and outputs of both graphs correspond by position.
    pub left: Graph,
    /// The right side.
    pub right: Graph,
    /// Contents of the inputs of both.
    pub inputs: Vec<Datum<f64>>,
}

impl Counterexample {
    /// True when the sides differ already in the type of some result.
    pub fn differs_in_type(&self) -> bool {
        let types = |graph: &Graph| -> Vec<_> {
            graph.outputs().iter().map(|output| graph.ty(output.value).cloned()).collect()
        };
        types(&self.left) != types(&self.right)
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// The smallest instance, as far as `trials` find it, on which `rule` differs as on the one drawn from `tape`.
pub(super) fn shrink(rule: &Rule, source: &Rule, tape: &Tape, seed: u64, trials: usize) -> Option<Counterexample> {
    let (mut tape, mut best) = attempt(rule, source, Random::replay(tape.clone()))?;
    let mut trials = trials;
    loop {
        let before = tape.clone();
        for candidate in 0.. {
            let Some(random) = simpler(&tape, candidate) else { break };
            if trials == 0 {
                return Some(tell(rule, best, seed));
            }
            trials -= 1;
            if let Some((effective, difference)) = attempt(rule, source, random)
                && effective.is_simpler(&tape)
            {
                (tape, best) = (effective, difference);
            }
        }
        if tape == before {
            return Some(tell(rule, best, seed));
        }
    }
}

fn attempt(rule: &Rule, source: &Rule, mut random: Random) -> Option<(Tape, Difference)> {
    match trial::run(rule, source, &mut random) {
        Outcome::Differs(difference) => Some((random.tape, *difference)),
        _ => None,
    }
}

// A smaller shape needs other contents: so many random ones are tried for it.
const CONTENTS: usize = 4;

/// Candidate number `at`: first with one choice of the structure simpler, then with whole blocks of choices left out or
/// zeroed, then with one choice simpler.
fn simpler(tape: &Tape, mut at: usize) -> Option<Random> {
    let n = tape.structure.len() * 3 * (1 + CONTENTS);
    if at < n {
        let (choice, rest) = (at / (1 + CONTENTS), at % (1 + CONTENTS));
        let mut simpler = tape.clone();
        simpler.structure[choice / 3] = simplified(tape.structure[choice / 3], choice % 3);
        if rest > 0 {
            simpler.contents.clear();
        }
        if rest > CONTENTS / 2 {
            // What follows may have another meaning now.
            simpler.structure.truncate(choice / 3 + 1);
        }
        return Some(if rest == 0 { Random::replay(simpler) } else { Random::after(simpler, rest as u64) });
    }
    at -= n;
    for is_content in [false, true] {
        let mut simpler = tape.clone();
        let choices = if is_content { &mut simpler.contents } else { &mut simpler.structure };
        for width in [128, 32, 8, 3, 1] {
            let n = choices.len().div_ceil(width);
            if at < 2 * n {
                let block = at / 2 * width..(at / 2 * width + width).min(choices.len());
                if at.is_multiple_of(2) {
                    choices.drain(block);
                } else {
                    choices[block].fill(0);
                }
                return Some(Random::replay(simpler));
            }
            at -= 2 * n;
        }
        if let Some(changed) = choices.get_mut(at / 3) {
            *changed = simplified(*changed, at % 3);
            return Some(Random::replay(simpler));
        }
        at -= 3 * choices.len();
    }
    None
}

/// Three ways to make a choice simpler. The first choices of a number are whole.
fn simplified(choice: u64, way: usize) -> u64 {
    match way {
        0 => 0,
        1 => choice.min(1 + choice / 2).min(choice.saturating_sub(1)),
        _ => choice.min(1),
    }
}

fn tell(rule: &Rule, difference: Difference, seed: u64) -> Counterexample {
    let Difference { what, drawn, bare, real, roots, records, values } = difference;
    let mut parts: Vec<String> = Vec::new();
    let mut names: Vec<(ValueId, String)> = Vec::new();
    for (variable, binding) in rule.variables.iter().zip(&values) {
        let bound: Vec<ValueId> = match binding {
            Binding::One(value) => vec![*value],
            Binding::Rest(values) => values.to_vec(),
            Binding::Absent | Binding::Unbound => continue,
        };
        for (at, value) in bound.into_iter().enumerate().filter(|(_, value)| bare.producer(*value).is_none()) {
            let name = match binding {
                Binding::Rest(_) => format!("{}{at}", variable.name),
                _ => variable.name.to_string(),
            };
            match names.iter().find(|(known, _)| *known == value) {
                Some((_, other)) => parts.push(format!("{name} the same value as {other}")),
                None => {
                    parts.push(format!("{name} : {}", shown(&drawn, &bare, value)));
                    names.push((value, name));
                }
            }
        }
    }
    for (call, (record, _)) in rule.left.calls.iter().zip(&records) {
        let Op::Builtin(def) = &call.op else { continue };
        let owner = call.label.as_deref().unwrap_or(def.name);
        let defaults = def.complete(Attrs::new()).unwrap_or_default();
        let given = record.iter().filter(|(name, _)| !call.attrs.iter().any(|(fixed, _)| fixed == *name));
        for (name, value) in given.filter(|(name, value)| defaults.get(name) != Some(*value)) {
            parts.push(format!("{owner}.{name} = {}", crate::rules::Value::of_attr(value)));
        }
    }
    let sentence = match parts.len() {
        0 => what,
        _ => format!("for {} {what}{}", parts.join(", "), in_what(real)),
    };
    let side = |pick: fn(&(ValueId, ValueId)) -> ValueId| {
        let mut graph = bare.clone();
        for (value, name) in &names {
            graph.value_mut(*value).name = name.as_str().into();
        }
        for (at, root) in roots.iter().enumerate() {
            graph.add_output(format!("y{at}"), pick(root));
        }
        // A model that is written of it then shows by itself what it shows.
        for (old, datum) in bare.inputs().iter().copied().zip(&drawn.inputs) {
            let (name, ty) = (std::mem::take(&mut graph.value_mut(old).name), graph.ty(old).cloned());
            let new = graph.add_input(name, ty, datum.to_tensor().ok());
            graph.replace_uses(old, new);
            // Nothing reads it any more.
            let _ = graph.remove_value(old);
        }
        crate::dce::sweep(&mut graph);
        graph
    };
    Counterexample { sentence, seed, real, left: side(|root| root.0), right: side(|root| root.1), inputs: drawn.inputs }
}

fn in_what(real: Element) -> String {
    if real == Element::Double { String::new() } else { format!(", in {real}") }
}

/// The type of a leaf, and its contents when they are few.
fn shown(drawn: &Instance, graph: &Graph, value: ValueId) -> String {
    let ty = graph.ty(value).map_or_else(String::new, ToString::to_string);
    let datum = match graph.weight(value) {
        Some(tensor) => Datum::<f64>::of_tensor(tensor).ok(),
        None => graph.inputs().iter().position(|input| *input == value).map(|at| drawn.inputs[at].clone()),
    };
    let text = datum.map(|datum| match &datum.contents {
        Contents::Real(values) => format!("{:?}", &values[..]),
        Contents::Int(values) => format!("{:?}", &values[..]),
        Contents::Bool(values) => format!("{:?}", &values[..]),
        Contents::Text(_) | Contents::Complex(_) => String::new(),
    });
    match text.filter(|text| text.len() <= 40) {
        Some(text) => format!("{ty} = {text}"),
        None => ty,
    }
}
