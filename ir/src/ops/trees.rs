//! Ensembles of decision trees: Breiman, Random Forests, 2001.

use super::ML;
use super::attention::softmax;
use super::pointwise::{maximum, minimum, needs_functions};
use super::shape::count_of;
use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Datum, EvalCall, Function, Scalar};
use crate::op::{AttrDef, Fact, OpDef, Param, Reason};
use crate::tensor::Tensor;
use crate::types::Element;
use std::cmp::Ordering;

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&TREE_ENSEMBLE];

const REAL: &[Element] = &[Element::Float, Element::Double, Element::Float16];

static TREE_ENSEMBLE: OpDef = OpDef {
    name: "TreeEnsemble",
    domain: ML,
    doc: "For each row and target, the weights of the leaves that the row comes to in all trees, aggregated",
    versions: &[5],
    inputs: &[Param::required("X", "T")],
    outputs: &[Param::required("Y", "T")],
    attrs: &[
        AttrDef::int("aggregate_function", 1),
        AttrDef::required("leaf_targetids", AttrKind::Ints),
        AttrDef::required("leaf_weights", AttrKind::Tensor),
        AttrDef::optional("membership_values", AttrKind::Tensor),
        AttrDef::optional("n_targets", AttrKind::Int),
        AttrDef::required("nodes_falseleafs", AttrKind::Ints),
        AttrDef::required("nodes_falsenodeids", AttrKind::Ints),
        AttrDef::required("nodes_featureids", AttrKind::Ints),
        AttrDef::optional("nodes_hitrates", AttrKind::Tensor),
        AttrDef::optional("nodes_missing_value_tracks_true", AttrKind::Ints),
        AttrDef::required("nodes_modes", AttrKind::Tensor),
        AttrDef::required("nodes_splits", AttrKind::Tensor),
        AttrDef::required("nodes_trueleafs", AttrKind::Ints),
        AttrDef::required("nodes_truenodeids", AttrKind::Ints),
        AttrDef::int("post_transform", 0),
        AttrDef::required("tree_roots", AttrKind::Ints),
    ],
    types: &[("T", REAL)],
    infer: |call| {
        let x = call.ty(0)?;
        let [n_rows, _] = x.shape.as_slice() else { return Err(Reason(format!("{x} is not rows of features"))) };
        let n_targets = match call.attrs.int("n_targets") {
            Some(count) if count < 1 => return Err(Reason(format!("attribute `n_targets` is {count}"))),
            Some(count) => Dim::known(count),
            None => call.fresh(0),
        };
        Ok(vec![Some(Fact::new(x.element, [n_rows.clone(), n_targets]))])
    },
    eval: eval!(tree_ensemble),
    // How deep the rows go depends on their values.
    work: |_, _| None,
    ..OpDef::BASE
};

/// How a node compares its feature.
enum Test<S> {
    /// With one number: which outcomes lead to the true branch, "no order" last.
    Split(S, fn(Option<Ordering>) -> bool),
    /// With the members of a set.
    Member(Vec<S>),
}

/// Where a branch leads.
#[derive(Clone, Copy)]
enum Child {
    Node(usize),
    Leaf(usize),
}

struct Node<S> {
    feature: usize,
    test: Test<S>,
    /// Whether a feature that is no number goes to the true branch whatever the test says.
    missing_is_true: bool,
    when_true: Child,
    when_false: Child,
}

struct Ensemble<S> {
    nodes: Vec<Node<S>>,
    roots: Vec<usize>,
    /// Target and weight.
    leaves: Vec<(usize, S)>,
    n_targets: usize,
}

/// `values` of attribute `name`, each below `limit`.
fn indices(name: &str, values: &[i64], limit: usize) -> Result<Vec<usize>, Reason> {
    let within = |&value: &i64| {
        let index = usize::try_from(value).ok().filter(|&index| index < limit);
        index.ok_or_else(|| Reason(format!("`{name}` holds {value}, expected below {limit}")))
    };
    values.iter().map(within).collect()
}

impl<S: Scalar> Ensemble<S> {
    /// Errors: lists of different lengths, and numbers that name nothing.
    fn read(attrs: &Attrs, n_features: usize) -> Result<Self, Reason> {
        let missing = |name: &str| Reason(format!("attribute `{name}` is missing"));
        let ints = |name: &str| attrs.ints(name).ok_or_else(|| missing(name));
        let tensor = |name: &str| attrs.tensor(name).ok_or_else(|| missing(name));
        let reals = |tensor: &Tensor| Datum::<S>::of_tensor(tensor)?.real().map(<[S]>::to_vec);
        let modes = tensor("nodes_modes")?.to_i64s().ok_or_else(|| Reason::new("`nodes_modes` are not integers"))?;
        let n_nodes = modes.len();
        let of_nodes = |name: &str, length: usize| match length == n_nodes {
            true => Ok(()),
            false => Err(Reason(format!("`{name}` has {length} elements, `nodes_modes` has {n_nodes}"))),
        };
        let n_targets = attrs.int("n_targets").ok_or_else(|| missing("n_targets"))?;
        let n_targets = usize::try_from(n_targets).ok().filter(|&count| count > 0);
        let n_targets = n_targets.ok_or_else(|| Reason::new("`n_targets` is not positive"))?;
        let weights = reals(tensor("leaf_weights")?)?;
        let targets = indices("leaf_targetids", ints("leaf_targetids")?, n_targets)?;
        if weights.len() != targets.len() {
            return Err(Reason(format!("there are {} leaf weights for {} targets", weights.len(), targets.len())));
        }
        let branch = |leafs: &str, ids: &str| -> Result<Vec<Child>, Reason> {
            let (is_leaf, to) = (ints(leafs)?, ints(ids)?);
            of_nodes(leafs, is_leaf.len())?;
            of_nodes(ids, to.len())?;
            let child = |(&is_leaf, &to): (&i64, &i64)| match is_leaf {
                0 => Ok(Child::Node(indices(ids, &[to], n_nodes)?[0])),
                _ => Ok(Child::Leaf(indices(ids, &[to], weights.len())?[0])),
            };
            is_leaf.iter().zip(to).map(child).collect()
        };
        let when_true = branch("nodes_trueleafs", "nodes_truenodeids")?;
        let when_false = branch("nodes_falseleafs", "nodes_falsenodeids")?;
        let features = indices("nodes_featureids", ints("nodes_featureids")?, n_features)?;
        of_nodes("nodes_featureids", features.len())?;
        let splits = reals(tensor("nodes_splits")?)?;
        of_nodes("nodes_splits", splits.len())?;
        let tracks = attrs.ints("nodes_missing_value_tracks_true");
        of_nodes("nodes_missing_value_tracks_true", tracks.map_or(n_nodes, <[i64]>::len))?;
        let members = attrs.tensor("membership_values").map(reals).transpose()?.unwrap_or_default();
        let mut sets = sets(&members);
        let mut nodes = Vec::with_capacity(n_nodes);
        for (at, mode) in modes.into_iter().enumerate() {
            use Ordering::{Equal, Greater, Less};
            let split: fn(Option<Ordering>) -> bool = match mode {
                0 => |order| matches!(order, Some(Less | Equal)),
                1 => |order| order == Some(Less),
                2 => |order| matches!(order, Some(Greater | Equal)),
                3 => |order| order == Some(Greater),
                4 => |order| order == Some(Equal),
                5 => |order| order != Some(Equal),
                6 => |_| false,
                _ => return Err(Reason(format!("`nodes_modes` holds {mode}"))),
            };
            let test = match mode {
                6 => Test::Member(sets.next().ok_or_else(|| Reason(format!("node {at} has no set of members")))?),
                _ => Test::Split(splits[at], split),
            };
            let (when_true, when_false) = (when_true[at], when_false[at]);
            let missing_is_true = tracks.is_some_and(|tracks| tracks[at] != 0);
            nodes.push(Node { feature: features[at], test, missing_is_true, when_true, when_false });
        }
        if sets.next().is_some() {
            return Err(Reason::new("there are more sets of members than nodes that test for them"));
        }
        let roots = indices("tree_roots", ints("tree_roots")?, n_nodes)?;
        Ok(Self { nodes, roots, leaves: targets.into_iter().zip(weights).collect(), n_targets })
    }

    /// The leaf that `row` comes to from `root`. Errors: the nodes form a cycle.
    fn leaf(&self, root: usize, row: &[S]) -> Result<(usize, S), Reason> {
        let mut at = root;
        for _ in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let value = row[node.feature];
            let holds = match &node.test {
                Test::Split(split, holds) => holds(value.compare(*split)),
                Test::Member(members) => members.iter().any(|member| value.compare(*member) == Some(Ordering::Equal)),
            };
            let holds = holds || (node.missing_is_true && value.to_f64().is_nan());
            match if holds { node.when_true } else { node.when_false } {
                Child::Node(next) => at = next,
                Child::Leaf(leaf) => return Ok(self.leaves[leaf]),
            }
        }
        Err(Reason(format!("the tree of root {root} has a cycle")))
    }
}

/// The sets that `members` lists, each ended by what is no number; the last one may lack its end.
fn sets<S: Scalar>(members: &[S]) -> impl Iterator<Item = Vec<S>> + '_ {
    let ended = members.last().is_none_or(|last| last.to_f64().is_nan());
    let all = if ended { &members[..members.len().saturating_sub(1)] } else { members };
    let sets = all.split(|member| member.to_f64().is_nan()).map(<[S]>::to_vec);
    sets.take(if members.is_empty() { 0 } else { usize::MAX })
}

const EXP: Function = Function { name: "Exp", real: f64::exp };
const LOGISTIC: Function = Function { name: "Sigmoid", real: |x| 1.0 / (1.0 + (-x).exp()) };
const PROBIT: Function = Function { name: "Probit", real: |p| std::f64::consts::SQRT_2 * inverse_erf(2.0 * p - 1.0) };

/// The number whose error function is `x`, to within 2e-3, as all implementations of the operator have it.
///
/// Winitzki, A handy approximation for the error function and its inverse, 2008.
fn inverse_erf(x: f64) -> f64 {
    const A: f64 = 0.147;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    if log == f64::NEG_INFINITY {
        // The limit is infinite; implementations agree on 0.
        return 0.0;
    }
    let half = 2.0 / (std::f64::consts::PI * A) + 0.5 * log;
    let root = ((half * half - log / A).sqrt() - half).sqrt();
    if x < 0.0 { -root } else { root }
}

fn tree_ensemble<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    needs_functions::<S>("comparison")?;
    let x = call.input(0)?;
    let [n_rows, n_features] = x.shape[..] else {
        return Err(Reason(format!("rows of features are expected, found the shape {:?}", x.shape)));
    };
    let ensemble = Ensemble::<S>::read(call.attrs, n_features)?;
    let shape = [n_rows, ensemble.n_targets];
    let (aggregate, transform) = (call.int("aggregate_function")?, call.int("post_transform")?);
    let n_trees = S::from_int(ensemble.roots.len() as i128);
    // A target to which no leaf belongs keeps what the aggregation begins with.
    let (start, combine): (f64, fn(S, S) -> S) = match aggregate {
        0 | 1 => (0.0, S::add),
        2 => (largest(x.element), minimum),
        3 => (-largest(x.element), maximum),
        other => return Err(Reason(format!("attribute `aggregate_function` is {other}"))),
    };
    let mut y = Vec::with_capacity(count_of(&shape)?);
    let elements = x.real()?;
    for at in 0..n_rows {
        let mut scores = vec![S::from_f64(start); ensemble.n_targets];
        for &root in &ensemble.roots {
            let (target, weight) = ensemble.leaf(root, &elements[at * n_features..][..n_features])?;
            let weight = if aggregate == 0 { weight.div(n_trees) } else { weight };
            scores[target] = combine(scores[target], weight);
        }
        match transform {
            0 => y.extend(scores),
            1 => y.extend(softmax(&scores)),
            2 => y.extend(scores.into_iter().map(|score| score.apply(&LOGISTIC))),
            3 => y.extend(softmax_but_zeros(&scores)),
            4 => y.extend(scores.into_iter().map(|score| score.apply(&PROBIT))),
            other => return Err(Reason(format!("attribute `post_transform` is {other}"))),
        }
    }
    Ok(vec![Datum::of_real(x.element, &shape, y)])
}

/// The largest finite number of `element`.
fn largest(element: Element) -> f64 {
    match element {
        Element::Float16 => 65504.0,
        Element::Float => f32::MAX.into(),
        _ => f64::MAX,
    }
}

/// Softmax in which a score that is practically zero counts as itself and not as its power of e.
fn softmax_but_zeros<S: Scalar>(scores: &[S]) -> Vec<S> {
    const ZERO: f64 = 1e-7;
    let largest = S::from_f64(scores.iter().map(|score| score.to_f64()).fold(f64::NEG_INFINITY, f64::max));
    let power = |&score: &S| match score.to_f64().abs() > ZERO {
        true => score.sub(largest).apply(&EXP),
        false => score.mul(largest.neg().apply(&EXP)),
    };
    let powers: Vec<S> = scores.iter().map(power).collect();
    let sum = S::sum(powers.iter().copied());
    let share = |power: S| if sum.to_f64() == 0.0 { S::from_f64(0.5) } else { power.div(sum) };
    powers.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::eval::run_tensors;
    use crate::graph::Op;

    /// Trees of one node each, of this mode and split, that vote for target 0 with 1 when true, for target 1 with 2 when false.
    fn stumps(modes: &[i64], splits: &[f32]) -> Attrs {
        let n = modes.len();
        let all = |value: i64| Attr::Ints(vec![value; n].into());
        let modes: Vec<f64> = modes.iter().map(|&mode| mode as f64).collect();
        let given = [
            ("leaf_targetids", Attr::Ints([0, 1].into())),
            ("leaf_weights", Attr::Tensor(Tensor::vector(&[1f32, 2.0]))),
            ("n_targets", Attr::Int(2)),
            ("nodes_falseleafs", all(1)),
            ("nodes_falsenodeids", all(1)),
            ("nodes_featureids", all(0)),
            ("nodes_modes", Attr::Tensor(Tensor::from_f64s(Element::Uint8, &[n], &modes).expect("counted"))),
            ("nodes_splits", Attr::Tensor(Tensor::vector(splits))),
            ("nodes_trueleafs", all(1)),
            ("nodes_truenodeids", all(0)),
            ("tree_roots", Attr::Ints((0..n as i64).collect())),
        ];
        TREE_ENSEMBLE.complete(given.into_iter().collect()).expect("attributes fit")
    }

    fn with(mut attrs: Attrs, changed: &[(&str, Attr)]) -> Attrs {
        changed.iter().for_each(|(name, value)| attrs.set(*name, value.clone()));
        TREE_ENSEMBLE.complete(attrs).expect("attributes fit")
    }

    fn run(attrs: &Attrs, x: &[f64]) -> Result<Vec<f64>, String> {
        let x = Datum::of_real(Element::Double, &[x.len(), 1], x.to_vec());
        let found = run_tensors(&Op::Builtin(&TREE_ENSEMBLE), attrs, &[Some(x)], 1);
        found.map_err(|error| error.reason.to_string())?[0].real().map(<[f64]>::to_vec).map_err(|why| why.to_string())
    }

    #[test]
    fn every_mode_compares_as_its_name_says() {
        // For each mode: less, equal, greater, no number.
        let truths: [[bool; 4]; 6] = [
            [true, true, false, false],
            [true, false, false, false],
            [false, true, true, false],
            [false, false, true, false],
            [false, true, false, false],
            [true, false, true, true],
        ];
        for (mode, truths) in (0..).zip(truths) {
            let votes = |truths: [bool; 4]| -> Vec<f64> {
                truths.iter().flat_map(|&truth| if truth { [1.0, 0.0] } else { [0.0, 2.0] }).collect()
            };
            let x = [1.0, 3.0, 5.0, f64::NAN];
            assert_eq!(run(&stumps(&[mode], &[3.0]), &x), Ok(votes(truths)), "mode {mode}");
            let tracked = with(stumps(&[mode], &[3.0]), &[("nodes_missing_value_tracks_true", Attr::Ints([1].into()))]);
            let [less, equal, greater, _] = truths;
            assert_eq!(run(&tracked, &x), Ok(votes([less, equal, greater, true])), "mode {mode}, missing is true");
        }
    }

    #[test]
    fn sets_of_members_stand_in_the_order_of_the_nodes_that_test_for_them() {
        let members = |values: &[f32]| Attr::Tensor(Tensor::vector(values));
        let none = f32::NAN;
        let attrs = stumps(&[6, 0, 6], &[0.0, -1.0, 0.0]);
        let found = |values: &[f32]| run(&with(attrs.clone(), &[("membership_values", members(values))]), &[0.0, 4.0]);
        // Zero is a member as any other.
        assert_eq!(found(&[1.0, 0.0, none, 4.0, none]), Ok(vec![1.0, 4.0, 1.0, 4.0]));
        assert_eq!(found(&[none, 0.0, 4.0]), Ok(vec![1.0, 4.0, 1.0, 4.0]));
        assert_eq!(found(&[1.0, none]), Err("node 2 has no set of members".to_owned()));
        let more = "there are more sets of members than nodes that test for them";
        assert_eq!(found(&[1.0, none, 2.0, none, 3.0, none]), Err(more.to_owned()));
    }

    #[test]
    fn leaves_are_aggregated_per_target() {
        let (attrs, x) = (stumps(&[0, 0, 0], &[1.0, 2.0, 9.0]), [1.5]);
        let found = |function: i64| run(&with(attrs.clone(), &[("aggregate_function", Attr::Int(function))]), &x);
        assert_eq!(found(1), Ok(vec![2.0, 2.0]));
        assert_eq!(found(0).map(|y| y.iter().sum::<f64>()), Ok(4.0 / 3.0));
        assert_eq!(found(2), Ok(vec![1.0, 2.0]));
        assert_eq!(found(3), Ok(vec![1.0, 2.0]));
        assert_eq!(found(4), Err("attribute `aggregate_function` is 4".to_owned()));
    }

    #[test]
    fn scores_are_transformed_row_by_row() {
        let attrs = stumps(&[0], &[2.0]);
        let found = |transform: i64| run(&with(attrs.clone(), &[("post_transform", Attr::Int(transform))]), &[1.0]);
        let close = |found: Result<Vec<f64>, String>, expected: [f64; 2]| {
            let found = found.expect("it runs");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, expected {expected:?}");
        };
        let e = std::f64::consts::E;
        close(found(0), [1.0, 0.0]);
        close(found(1), [e / (e + 1.0), 1.0 / (e + 1.0)]);
        close(found(2), [e / (e + 1.0), 0.5]);
        close(found(3), [1.0, 0.0]);
        close(found(4), [0.0, 0.0]);
        assert!(((PROBIT.real)(0.975) - 1.959964).abs() < 4e-3 && ((PROBIT.real)(0.025) + 1.959964).abs() < 4e-3);
    }

    #[test]
    fn trees_that_are_none_are_refused() {
        let looped = [("nodes_falseleafs", Attr::Ints([0].into())), ("nodes_falsenodeids", Attr::Ints([0].into()))];
        let attrs = with(stumps(&[0], &[2.0]), &looped);
        assert_eq!(run(&attrs, &[3.0]), Err("the tree of root 0 has a cycle".to_owned()));
        let beyond = with(stumps(&[0], &[2.0]), &[("nodes_featureids", Attr::Ints([1].into()))]);
        assert_eq!(run(&beyond, &[3.0]), Err("`nodes_featureids` holds 1, expected below 1".to_owned()));
        let short = with(stumps(&[0], &[2.0]), &[("nodes_splits", Attr::Tensor(Tensor::vector::<f32>(&[])))]);
        assert_eq!(run(&short, &[3.0]), Err("`nodes_splits` has 0 elements, `nodes_modes` has 1".to_owned()));
    }
}
