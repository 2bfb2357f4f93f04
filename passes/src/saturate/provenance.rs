//! Why the e-graph holds what it holds: every application of a rule that told it something new, and every union.
//!
//! egg gives each term an id when it is added, and never another. Unions are kept as a forest over these ids: between two
//! equal ids stands one path, and all of it was there when the two became equal. An application needs the terms that its
//! match stands on, and the equalities between them. Following these back from a wanted term gives the applications that
//! derive it.

use super::language::{ENode, Head, Tables};
use super::space::{Call, Space, project};
use crate::rules::{Binding, Match, Rule};
use egg::{EGraph, Id};
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;

/// The record of a saturation.
#[derive(Default)]
pub(super) struct Provenance {
    /// Ids below it are terms of the original graph.
    n_original: usize,
    pub applications: Vec<Application>,
    edges: Vec<Edge>,
    /// A union-find whose roots are the oldest ids of their classes.
    parents: Vec<Id>,
    /// The application that first asked for each term that is not of the original graph.
    origins: FxHashMap<Id, usize>,
    /// What the application under way has asked for so far.
    pub asked: Vec<Asked>,
}

/// One application.
pub(super) struct Application {
    /// The rule, by its place among those that saturation was given.
    pub rule: usize,
    /// What each variable is bound to: the oldest id of the class.
    pub values: Vec<Binding<Id>>,
    /// The term that stands for each call of the pattern.
    pub calls: Vec<Id>,
    /// Terms that must be there and be equal.
    needs: Vec<(Id, Id)>,
}

/// A term that a right side asked for.
pub(super) struct Asked {
    /// As it was asked for.
    pub node: ENode,
    /// The term that is congruent to it.
    pub term: Id,
    /// The class that was given for it.
    pub class: Id,
}

struct Edge {
    ends: (Id, Id),
    /// The application that united the two; `None` where congruence did.
    application: Option<usize>,
}

/// What a match stands on, noted while the e-graph is as the matcher saw it.
pub(super) struct Trace {
    application: Application,
    /// The term that stands for each class that the rule may read, by the id under which it reads it.
    terms: FxHashMap<Id, Id>,
    /// Whether it told the e-graph anything.
    is_new: bool,
}

impl Provenance {
    fn oldest(&mut self, id: Id) -> Id {
        for next in self.parents.len()..=usize::from(id) {
            self.parents.push(Id::from(next));
        }
        let mut root = id;
        while self.parents[usize::from(root)] != root {
            root = self.parents[usize::from(root)];
        }
        let mut at = id;
        while at != root {
            at = std::mem::replace(&mut self.parents[usize::from(at)], root);
        }
        root
    }

    /// Notes a union of two ids that are not equal yet.
    pub(super) fn unite(&mut self, a: Id, b: Id, application: Option<usize>) {
        let (x, y) = (self.oldest(a), self.oldest(b));
        if x != y {
            self.edges.push(Edge { ends: (a, b), application });
            self.parents[usize::from(x.max(y))] = x.min(y);
        }
    }

    /// The applications, in order, that make every pair of `goals` equal terms, as far as they are.
    pub(super) fn needed(&self, egraph: &EGraph<ENode, Tables>, goals: Vec<(Id, Id)>) -> Vec<usize> {
        let forest = Forest::new(&self.edges);
        let (mut terms, mut edges, mut applications) =
            (FxHashSet::default(), FxHashSet::default(), FxHashSet::default());
        let mut open = goals;
        while let Some((a, b)) = open.pop() {
            for id in [a, b] {
                if usize::from(id) < self.n_original || !terms.insert(id) {
                    continue;
                }
                open.extend(egraph.id_to_node(id).children.iter().map(|&child| (child, child)));
                if let Some(&origin) = self.origins.get(&id)
                    && applications.insert(origin)
                {
                    open.extend(&self.applications[origin].needs);
                }
            }
            for at in forest.path(a, b) {
                if !edges.insert(at) {
                    continue;
                }
                let Edge { ends: (x, y), application } = self.edges[at];
                open.push((x, x));
                open.push((y, y));
                match application {
                    Some(application) => {
                        if applications.insert(application) {
                            open.extend(&self.applications[application].needs);
                        }
                    }
                    None => {
                        let (x, y) = (egraph.id_to_node(x), egraph.id_to_node(y));
                        open.extend(x.children.iter().copied().zip(y.children.iter().copied()));
                    }
                }
            }
        }
        let mut applications: Vec<usize> = applications.into_iter().collect();
        applications.sort_unstable();
        applications
    }
}

/// The forest of unions, each tree hung from one of its ids.
struct Forest {
    /// The next id on the way to the root, the edge between, and how far the root is.
    up: FxHashMap<Id, (Id, usize, u32)>,
}

impl Forest {
    fn new(edges: &[Edge]) -> Self {
        let mut neighbours: FxHashMap<Id, Vec<(Id, usize)>> = FxHashMap::default();
        for (at, Edge { ends: (a, b), .. }) in edges.iter().enumerate() {
            neighbours.entry(*a).or_default().push((*b, at));
            neighbours.entry(*b).or_default().push((*a, at));
        }
        let mut up: FxHashMap<Id, (Id, usize, u32)> = FxHashMap::default();
        for Edge { ends: (root, _), .. } in edges {
            if up.contains_key(root) {
                continue;
            }
            up.insert(*root, (*root, usize::MAX, 0));
            let mut open = vec![(*root, 0)];
            while let Some((id, depth)) = open.pop() {
                for &(next, at) in &neighbours[&id] {
                    if let std::collections::hash_map::Entry::Vacant(entry) = up.entry(next) {
                        entry.insert((id, at, depth + 1));
                        open.push((next, depth + 1));
                    }
                }
            }
        }
        Self { up }
    }

    /// The edges between two ids; none when they are one id, or were never united.
    fn path(&self, mut a: Id, mut b: Id) -> Vec<usize> {
        let mut path = Vec::new();
        while a != b {
            let (Some(&(above_a, at_a, depth_a)), Some(&(above_b, at_b, depth_b))) = (self.up.get(&a), self.up.get(&b))
            else {
                return Vec::new();
            };
            if depth_a == 0 && depth_b == 0 {
                return Vec::new();
            }
            if depth_a >= depth_b {
                path.push(at_a);
                a = above_a;
            } else {
                path.push(at_b);
                b = above_b;
            }
        }
        path
    }
}

impl Space {
    /// From now on, what is applied and united is recorded, so that it can be explained.
    pub fn record(&mut self) {
        let n_original = self.egraph.nodes().len();
        self.egraph.analysis.provenance = Some(RefCell::new(Provenance { n_original, ..Provenance::default() }));
    }

    pub(super) fn provenance(&mut self) -> Option<&mut Provenance> {
        self.egraph.analysis.provenance.as_mut().map(RefCell::get_mut)
    }

    /// The term of an e-node that is there, in an e-graph whose congruence is restored.
    pub(super) fn term_of(&mut self, node: ENode) -> Id {
        self.egraph.add_uncanonical(node)
    }

    /// What `matched` stands on, when that is recorded.
    pub(super) fn trace(&mut self, rule: &Rule, at: usize, matched: &Match<Id, Call>) -> Option<Trace> {
        self.egraph.analysis.provenance.as_ref()?;
        let mut needs = Vec::new();
        let mut read: Vec<Id> = Vec::new();
        let mut calls = Vec::new();
        for (pattern, &call) in rule.left.calls.iter().zip(&matched.calls) {
            let node = self.enode(call).clone();
            let term = self.term_of(node.clone());
            calls.push(term);
            needs.push((term, call.class));
            needs.extend(self.egraph.id_to_node(term).children.iter().copied().zip(node.children.iter().copied()));
            read.extend(&node.children);
            if let Head::Call { n_outputs, .. } = node.head
                && n_outputs != 1
            {
                for index in 0..pattern.outputs.len() {
                    let output = project(index, call.class);
                    let Some(class) = self.egraph.lookup(output.clone()) else { continue };
                    let output = self.term_of(output);
                    needs.push((output, class));
                    needs.push((self.egraph.id_to_node(output).children[0], term));
                }
            }
        }
        for binding in &matched.values {
            match binding {
                Binding::One(value) => read.push(*value),
                Binding::Rest(values) => read.extend(values),
                Binding::Absent | Binding::Unbound => {}
            }
        }
        // Conditions see a weight through any class that it is equal to.
        for &class in &read {
            if let Some(weight) = self.egraph[class].data.weight {
                let weight = self.term_of(ENode::new(Head::Weight(weight), []));
                needs.push((weight, class));
            }
        }
        let provenance = self.provenance()?;
        for (_, class) in &mut needs {
            *class = provenance.oldest(*class);
        }
        let terms = read.iter().map(|&class| (class, provenance.oldest(class))).collect();
        let oldest = |binding: &Binding<Id>| match binding {
            Binding::One(value) => Binding::One(provenance.oldest(*value)),
            Binding::Rest(values) => Binding::Rest(values.iter().map(|&value| provenance.oldest(value)).collect()),
            other => other.clone(),
        };
        let values = matched.values.iter().map(oldest).collect();
        let application = Application { rule: at, values, calls, needs };
        Some(Trace { application, terms, is_new: false })
    }

    /// Notes what was built for an application, before its roots are united; `None` for one that was given up.
    pub(super) fn note_built(&mut self, trace: Option<&mut Trace>) {
        let Some(provenance) = self.provenance() else { return };
        let asked = std::mem::take(&mut provenance.asked);
        let Some(trace) = trace else { return };
        let at = provenance.applications.len();
        for Asked { node, term, class } in asked {
            let wanted = node.children.iter().map(|child| trace.terms.get(child).copied().unwrap_or(*child));
            let found = self.egraph.id_to_node(term).children.iter().copied();
            trace.application.needs.extend(found.zip(wanted).filter(|(found, wanted)| found != wanted));
            if let Some(other) = trace.terms.insert(class, term).filter(|other| *other != term) {
                trace.application.needs.push((other, term));
            }
            let Some(provenance) = self.provenance() else { return };
            if usize::from(term) >= provenance.n_original && !provenance.origins.contains_key(&term) {
                provenance.origins.insert(term, at);
                trace.is_new = true;
            }
        }
    }

    /// Notes that the application unites two classes.
    pub(super) fn note_union(&mut self, trace: &mut Trace, old: Id, new: Id) {
        if self.egraph.find(old) == self.egraph.find(new) {
            return;
        }
        let [old, new] = [old, new].map(|class| trace.terms.get(&class).copied().unwrap_or(class));
        trace.is_new = true;
        if let Some(provenance) = self.provenance() {
            let at = provenance.applications.len();
            provenance.unite(old, new, Some(at));
        }
    }

    /// Keeps the application when it told the e-graph something new.
    pub(super) fn note_application(&mut self, trace: Trace) {
        if let Some(provenance) = self.provenance().filter(|_| trace.is_new) {
            provenance.applications.push(trace.application);
        }
    }
}
