//! What can be decided without search: a smaller problem whose optimum is that of the whole.
//!
//! Each rule keeps an optimal acyclic choice:
//! - a candidate that needs no more than another of its class and costs no less goes;
//! - a class that costs nothing and needs nothing is free, and nobody has to mention it;
//! - a class that every derivation needs is *required*: it is paid for once, apart from who reads it. Readers of one that
//!   lies on no cycle need not mention it, which is what lets a deep graph fall into independent parts;
//! - a class with one candidate, of no cost of its own, stands for what that candidate needs;
//! - a class that one candidate alone reads is merged into it.

use super::Problem;
use super::cycles::components;
use smallvec::SmallVec;
use std::cmp::Reverse;
use std::collections::VecDeque;

/// A candidate of the reduced problem: one of the whole, with the choices that were merged into it.
#[derive(Clone, Debug)]
pub(super) struct Alternative {
    pub cost: f64,
    /// Distinct and ascending.
    pub children: SmallVec<[usize; 4]>,
    /// Classes of the whole problem and the candidate that each takes with this alternative.
    pub picks: SmallVec<[(usize, usize); 1]>,
}

/// A problem reduced as far as the rules go; its classes are numbered as in the whole.
pub(super) struct Core {
    /// What is still to be decided; empty for a class that is decided, merged or not needed.
    pub classes: Vec<Vec<Alternative>>,
    /// Whether every derivation needs the class.
    pub required: Vec<bool>,
    /// What is decided, provided that the class is needed.
    pub fixed: Vec<Option<usize>>,
    /// The cost of what is decided and required.
    pub paid: f64,
    /// Whether readers need not mention the class.
    silent: Vec<bool>,
    /// What stands for a class that costs nothing itself.
    aliases: Vec<Option<SmallVec<[usize; 4]>>>,
}

/// Who reads a class.
#[derive(Clone, Copy, PartialEq)]
enum Readers {
    None,
    One(usize),
    Many,
}

/// Most picks that an alternative carries: longer chains of merged choices would make merging quadratic.
const MOST_PICKS: usize = 32;

impl Core {
    /// Reduces `problem`, whose root can be derived; `derivable` tells which classes can. Candidates of at most `negligible` cost are
    /// free. The rules are repeated until none applies, or until the rounds end: stopping early only leaves a larger problem.
    pub(super) fn new(problem: &Problem, derivable: &[bool], negligible: f64) -> Self {
        let n = problem.classes.len();
        let alternatives = |(class, candidates): (usize, &Vec<super::Candidate>)| {
            let usable = candidates
                .iter()
                .enumerate()
                .filter(|(_, candidate)| candidate.children.iter().all(|&child| derivable[child] && child != class));
            let of = |(at, candidate): (usize, &super::Candidate)| Alternative {
                cost: if candidate.cost > negligible { candidate.cost } else { 0.0 },
                children: sorted(candidate.children.iter().copied()),
                picks: SmallVec::from_iter([(class, at)]),
            };
            usable.map(of).collect()
        };
        let mut core = Self {
            classes: problem.classes.iter().enumerate().map(alternatives).collect(),
            required: vec![false; n],
            fixed: vec![None; n],
            paid: 0.0,
            silent: vec![false; n],
            aliases: vec![None; n],
        };
        core.required[problem.root] = true;
        const MOST_ROUNDS: usize = 64;
        for _ in 0..MOST_ROUNDS {
            if !core.round() && !core.require_landmarks() {
                break;
            }
        }
        core
    }

    /// Classes still to be decided, each after those it needs where they form no cycle. Forgets what nothing needs.
    pub(super) fn order(&mut self) -> Vec<usize> {
        let n = self.classes.len();
        let mut entered = vec![false; n];
        let mut order = Vec::new();
        for start in (0..n).filter(|&class| self.required[class]) {
            let mut stack = vec![(start, false)];
            while let Some((class, leaving)) = stack.pop() {
                if leaving {
                    order.push(class);
                } else if !std::mem::replace(&mut entered[class], true) {
                    stack.push((class, true));
                    let children = self.classes[class].iter().flat_map(|alternative| &alternative.children);
                    stack.extend(children.map(|&child| (child, false)));
                    stack.extend(self.aliases[class].iter().flatten().map(|&child| (child, false)));
                }
            }
        }
        for class in (0..n).filter(|&class| !entered[class]) {
            self.classes[class].clear();
        }
        order.retain(|&class| !self.classes[class].is_empty());
        order
    }

    /// Applies the rules to each class once; whether anything changed.
    fn round(&mut self) -> bool {
        let order = self.order();
        let mut changed = false;
        for &class in &order {
            changed |= self.rewrite_children(class);
        }
        changed |= self.require_common_children(&order);
        let children: Vec<Vec<usize>> = self.classes.iter().map(|alternatives| children_of(alternatives)).collect();
        let (component, sizes) = components(&children);
        let mut readers = vec![Readers::None; self.classes.len()];
        for &class in &order {
            for &child in &children[class] {
                readers[child] = readers[child].and(class);
            }
        }
        for class in order {
            if self.classes[class].is_empty() {
                // Merged into a class before.
                continue;
            }
            changed |= self.rewrite_children(class);
            changed |= self.merge_children(class, &mut readers);
            let before = self.classes[class].len();
            prune_dominated(&mut self.classes[class]);
            changed |= self.classes[class].len() != before;
            changed |= self.decide(class, sizes[component[class]] == 1);
            // Whoever mentions what has just got an alias reads what that stands for.
            for &child in self.aliases[class].iter().flatten() {
                readers[child] = Readers::Many;
            }
        }
        changed
    }

    /// Marks what every alternative of a required class needs, from the root down; whether there is anything new.
    fn require_common_children(&mut self, order: &[usize]) -> bool {
        let mut changed = false;
        let mut stack: Vec<usize> = order.iter().copied().filter(|&class| self.required[class]).collect();
        while let Some(class) = stack.pop() {
            for child in common_children(&self.classes[class]) {
                if !std::mem::replace(&mut self.required[child], true) {
                    changed = true;
                    stack.push(child);
                }
            }
        }
        changed
    }

    /// Takes out the silent children of `class`, and puts what stands for the others in their place.
    fn rewrite_children(&mut self, class: usize) -> bool {
        let mut alternatives = std::mem::take(&mut self.classes[class]);
        let is_plain = |&child: &usize| !self.silent[child] && self.aliases[child].is_none();
        let mut changed = false;
        for alternative in alternatives.iter_mut().filter(|alternative| !alternative.children.iter().all(is_plain)) {
            changed = true;
            let mut children: Vec<usize> = Vec::new();
            let mut stack: Vec<usize> = alternative.children.to_vec();
            while let Some(child) = stack.pop() {
                match &self.aliases[child] {
                    Some(others) => stack.extend(others),
                    None if self.silent[child] => {}
                    None => children.push(child),
                }
            }
            alternative.children = sorted(children);
        }
        alternatives.retain(|alternative| !alternative.children.contains(&class));
        self.classes[class] = alternatives;
        changed
    }

    /// Merges children that nothing but `class` reads into its alternatives.
    fn merge_children(&mut self, class: usize, readers: &mut [Readers]) -> bool {
        let mut changed = false;
        while let Some(child) = self.mergeable(class, readers) {
            changed = true;
            let inner = std::mem::take(&mut self.classes[child]);
            if let [only] = inner.as_slice() {
                // What has no alternative needs no memory of who chose it.
                self.fix(&only.picks.clone());
            }
            for &grandchild in inner.iter().flat_map(|alternative| &alternative.children) {
                readers[grandchild] = match readers[grandchild] {
                    Readers::One(reader) if reader == child || reader == class => Readers::One(class),
                    _ => Readers::Many,
                };
            }
            let outer = std::mem::take(&mut self.classes[class]);
            for alternative in outer {
                if !alternative.children.contains(&child) {
                    self.classes[class].push(alternative);
                    continue;
                }
                for choice in &inner {
                    let kept = alternative.children.iter().copied().filter(|&other| other != child);
                    let children = sorted(kept.chain(choice.children.iter().copied()));
                    let mut picks = alternative.picks.clone();
                    if inner.len() > 1 {
                        picks.extend(choice.picks.iter().copied());
                    }
                    if !children.contains(&class) {
                        let cost = alternative.cost + choice.cost;
                        self.classes[class].push(Alternative { cost, children, picks });
                    }
                }
            }
        }
        changed
    }

    /// A child of `class` whose merging makes the problem no larger.
    fn mergeable(&self, class: usize, readers: &[Readers]) -> Option<usize> {
        let alternatives = &self.classes[class];
        let fits = |child: usize| {
            let inner = &self.classes[child];
            if readers[child] != Readers::One(class) || self.required[child] || inner.is_empty() {
                return false;
            }
            let is_reader = |alternative: &&Alternative| alternative.children.contains(&child);
            let n_outer = alternatives.iter().filter(is_reader).count();
            let longest =
                |alternatives: &[Alternative]| alternatives.iter().map(|one| one.picks.len()).max().unwrap_or(0);
            inner.len() == 1 || (n_outer == 1 && longest(alternatives) + longest(inner) <= MOST_PICKS)
        };
        alternatives.iter().flat_map(|alternative| &alternative.children).copied().find(|&child| fits(child))
    }

    /// Decides what `class` becomes, when that needs no search. `alone` when it lies on no cycle.
    fn decide(&mut self, class: usize, alone: bool) -> bool {
        let is_free = |alternative: &Alternative| alternative.cost == 0.0 && alternative.children.is_empty();
        if let Some(free) = self.classes[class].iter().find(|alternative| is_free(alternative)) {
            self.fix(&free.picks.clone());
            self.silent[class] = true;
            self.classes[class].clear();
            return true;
        }
        let mut changed = false;
        if self.required[class] {
            for child in common_children(&self.classes[class]) {
                changed |= !std::mem::replace(&mut self.required[child], true);
            }
            changed |= alone && !std::mem::replace(&mut self.silent[class], true);
        }
        let [only] = self.classes[class].as_mut_slice() else { return changed };
        if self.required[class] {
            self.paid += std::mem::take(&mut only.cost);
        }
        const MOST_STANDING_FOR_ONE: usize = 3;
        if self.silent[class] {
            // Its children are required by now.
            let picks = only.picks.clone();
            self.fix(&picks);
            self.classes[class].clear();
            return true;
        }
        if only.cost == 0.0 && only.children.len() <= MOST_STANDING_FOR_ONE {
            let (picks, children) = (only.picks.clone(), only.children.clone());
            self.fix(&picks);
            self.aliases[class] = Some(children);
            self.classes[class].clear();
            return true;
        }
        changed
    }

    fn fix(&mut self, picks: &[(usize, usize)]) {
        for &(class, candidate) in picks {
            self.fixed[class] = Some(candidate);
        }
    }

    /// Marks classes without which no required class can be derived; whether there are new ones.
    ///
    /// These are the landmarks of the required classes. The landmarks of a class are the class itself and what each of its alternatives
    /// needs, which is what the landmarks of its children are together: the greatest solution of these equations, found by
    /// shrinking from all classes down (Keyder, Richter and Helmert, Sound and complete landmarks for And/Or graphs, ECAI 2010).
    /// Only the nearest landmarks of a class are kept: those have landmarks of their own, so the work grows with the edges alone.
    fn require_landmarks(&mut self) -> bool {
        const MOST_KEPT: usize = 32;
        // On cycles a class is looked at again; without a solution, nothing is marked, and what is not stays correct.
        const MOST_VISITS_EACH: usize = 256;
        let order = self.order();
        let n = self.classes.len();
        let mut places = vec![0; n];
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); n];
        for (place, &class) in order.iter().enumerate() {
            places[class] = place;
            for child in children_of(&self.classes[class]) {
                readers[child].push(class);
            }
        }
        // By descending place: what is near comes first. `None` stands for all classes.
        let mut landmarks: Vec<Option<Vec<usize>>> = vec![None; n];
        let mut left = order.len() * MOST_VISITS_EACH;
        let mut is_waiting = vec![true; n];
        let mut waiting: VecDeque<usize> = order.iter().copied().collect();
        while let Some(class) = waiting.pop_front() {
            is_waiting[class] = false;
            let Some(rest) = left.checked_sub(1) else { return false };
            left = rest;
            let Some(mut found) = common_landmarks(&self.classes[class], &landmarks) else { continue };
            found.truncate(MOST_KEPT);
            if let Err(at) = found.binary_search_by(|other| places[class].cmp(other)) {
                found.insert(at, places[class]);
            }
            if let Some(known) = &landmarks[class] {
                found.retain(|place| known.contains(place));
                if found.len() == known.len() {
                    continue;
                }
            }
            landmarks[class] = Some(found);
            for &reader in &readers[class] {
                if !std::mem::replace(&mut is_waiting[reader], true) {
                    waiting.push_back(reader);
                }
            }
        }
        let mut changed = false;
        let mut stack: Vec<usize> = order.iter().copied().filter(|&class| self.required[class]).collect();
        while let Some(class) = stack.pop() {
            for &place in landmarks[class].iter().flatten() {
                if !std::mem::replace(&mut self.required[order[place]], true) {
                    changed = true;
                    stack.push(order[place]);
                }
            }
        }
        changed
    }
}

/// What every one of `alternatives` needs, by descending place; `None` while that may still be everything.
fn common_landmarks(alternatives: &[Alternative], landmarks: &[Option<Vec<usize>>]) -> Option<Vec<usize>> {
    let of = |alternative: &Alternative| {
        let mut together: Vec<usize> = Vec::new();
        for &child in &alternative.children {
            together.extend(landmarks[child].as_ref()?);
        }
        together.sort_unstable_by_key(|&place| Reverse(place));
        together.dedup();
        Some(together)
    };
    alternatives.iter().filter_map(of).reduce(|mut common, other| {
        common.retain(|place| other.binary_search_by(|other| place.cmp(other)).is_ok());
        common
    })
}

impl Readers {
    /// These and `class`.
    fn and(self, class: usize) -> Self {
        match self {
            Readers::None => Readers::One(class),
            Readers::One(other) if other == class => self,
            _ => Readers::Many,
        }
    }
}

fn sorted(children: impl IntoIterator<Item = usize>) -> SmallVec<[usize; 4]> {
    let mut sorted: SmallVec<[usize; 4]> = children.into_iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

/// All classes that `alternatives` mention, once each.
pub(super) fn children_of(alternatives: &[Alternative]) -> Vec<usize> {
    let mut children: Vec<usize> =
        alternatives.iter().flat_map(|alternative| alternative.children.iter().copied()).collect();
    children.sort_unstable();
    children.dedup();
    children
}

fn common_children(alternatives: &[Alternative]) -> Vec<usize> {
    let Some((first, others)) = alternatives.split_first() else { return Vec::new() };
    let in_all = |child: &&usize| others.iter().all(|other| other.children.binary_search(child).is_ok());
    first.children.iter().filter(in_all).copied().collect()
}

/// Takes out each alternative that needs all that another needs and costs no less.
fn prune_dominated(alternatives: &mut Vec<Alternative>) {
    // Classes can be huge; what is compared with the first of the kept alone is pruned less, not wrongly.
    const MOST_COMPARED: usize = 256;
    if alternatives.len() < 2 {
        return;
    }
    alternatives.sort_by(|a, b| {
        (a.children.len()).cmp(&b.children.len()).then(a.cost.total_cmp(&b.cost)).then_with(|| a.picks.cmp(&b.picks))
    });
    let mut kept: Vec<Alternative> = Vec::new();
    for alternative in alternatives.drain(..) {
        let is_worse = |other: &Alternative| {
            other.cost <= alternative.cost
                && other.children.iter().all(|child| alternative.children.binary_search(child).is_ok())
        };
        if !kept.iter().take(MOST_COMPARED).any(is_worse) {
            kept.push(alternative);
        }
    }
    *alternatives = kept;
}
