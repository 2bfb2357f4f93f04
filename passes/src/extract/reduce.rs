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
use super::components::groups;
use super::cycles::components;
use smallvec::SmallVec;

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
            if !core.round() && !core.require_bottlenecks() {
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
    fn require_bottlenecks(&mut self) -> bool {
        // Each test looks at every edge of a group; what is left untested stays correct.
        const MOST_WORK: usize = 50_000_000;
        let mut left = MOST_WORK;
        let mut found = false;
        let groups = groups(self);
        let mut search = Derivation::of(self);
        for group in groups {
            let n_edges = group.iter().map(|&class| 1 + search.readers[class].len()).sum();
            let mut n_required = group.iter().filter(|&&class| self.required[class]).count();
            for &class in &group {
                if self.required[class] || search.readers[class].len() < 2 || left < n_edges {
                    continue;
                }
                left -= n_edges;
                if search.n_required_without(self, class, &group) < n_required {
                    self.required[class] = true;
                    n_required += 1;
                    found = true;
                }
            }
        }
        found
    }
}

/// What can be derived from what, with memory that is used again.
struct Derivation {
    /// The alternatives that read each class, as class and place.
    readers: Vec<Vec<(usize, usize)>>,
    /// How many children of each alternative are not derived yet.
    waits: Vec<SmallVec<[usize; 4]>>,
    derived: Vec<bool>,
}

impl Derivation {
    fn of(core: &Core) -> Self {
        let n = core.classes.len();
        let mut readers = vec![Vec::new(); n];
        for (class, alternatives) in core.classes.iter().enumerate() {
            for (at, alternative) in alternatives.iter().enumerate() {
                for &child in &alternative.children {
                    readers[child].push((class, at));
                }
            }
        }
        Self { readers, waits: vec![SmallVec::new(); n], derived: vec![false; n] }
    }

    /// How many required classes of `group` can be derived when `without` cannot.
    fn n_required_without(&mut self, core: &Core, without: usize, group: &[usize]) -> usize {
        let mut stack = Vec::new();
        for &class in group {
            self.derived[class] = false;
            self.waits[class] = core.classes[class].iter().map(|alternative| alternative.children.len()).collect();
            if self.waits[class].contains(&0) {
                stack.push(class);
            }
        }
        let mut n_required = 0;
        while let Some(class) = stack.pop() {
            if class == without || std::mem::replace(&mut self.derived[class], true) {
                continue;
            }
            n_required += usize::from(core.required[class]);
            for &(reader, at) in &self.readers[class] {
                self.waits[reader][at] -= 1;
                if self.waits[reader][at] == 0 {
                    stack.push(reader);
                }
            }
        }
        n_required
    }
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
