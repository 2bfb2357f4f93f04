//! The independent parts of a reduced problem, each a problem of its own.

use super::reduce::{Core, children_of};
use super::{Candidate, Problem};

/// A part: a problem, and what its classes and candidates are in the reduced one.
pub(super) struct Part {
    /// Its last class is the root, whose one candidate needs every required class of the part.
    pub problem: Problem,
    /// The class of the reduced problem for each class but the root.
    pub classes: Vec<usize>,
}

/// The parts of `core`, in the order of their first class. No class of one needs a class of another.
pub(super) fn parts(core: &mut Core) -> Vec<Part> {
    let mut places = vec![usize::MAX; core.classes.len()];
    let groups = groups(core);
    for group in &groups {
        for (place, &class) in group.iter().enumerate() {
            places[class] = place;
        }
    }
    let part = |classes: Vec<usize>| {
        let candidates = |&class: &usize| {
            let candidate = |alternative: &super::reduce::Alternative| Candidate {
                children: alternative.children.iter().map(|&child| places[child]).collect(),
                cost: alternative.cost,
            };
            core.classes[class].iter().map(candidate).collect::<Vec<_>>()
        };
        let mut problem = Problem { classes: classes.iter().map(candidates).collect(), ..Problem::default() };
        problem.root = classes.len();
        let required = classes.iter().filter(|&&class| core.required[class]).map(|&class| places[class]).collect();
        problem.classes.push(vec![Candidate { children: required, cost: 0.0 }]);
        Part { problem, classes }
    };
    groups.into_iter().map(part).collect()
}

/// The classes of `core` that are still to be decided, those together that need each other, each group ascending.
fn groups(core: &mut Core) -> Vec<Vec<usize>> {
    let mut members = core.order();
    members.sort_unstable();
    let mut sets: Vec<usize> = (0..core.classes.len()).collect();
    for &class in &members {
        for child in children_of(&core.classes[class]) {
            let (a, b) = (find(&mut sets, class), find(&mut sets, child));
            sets[a.max(b)] = a.min(b);
        }
    }
    let mut group_of_set = vec![usize::MAX; core.classes.len()];
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &class in &members {
        let set = find(&mut sets, class);
        if group_of_set[set] == usize::MAX {
            group_of_set[set] = groups.len();
            groups.push(Vec::new());
        }
        groups[group_of_set[set]].push(class);
    }
    groups
}

/// The representative of the set of `class`, with the path to it halved.
fn find(sets: &mut [usize], mut class: usize) -> usize {
    while sets[class] != class {
        sets[class] = sets[sets[class]];
        class = sets[class];
    }
    class
}
