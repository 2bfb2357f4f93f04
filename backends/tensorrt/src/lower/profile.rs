//! Checks that optimization profiles fit the inputs, and their shapes the model.

use crate::engine::{Profile, ProfileRange};
use eutectic_ir::diag::{Diagnostics, Kind, Severity};
use eutectic_ir::infer::{declared_inputs, infer_graph};
use eutectic_ir::op::Fact;
use eutectic_ir::{Attrs, Diagnostic, Dim, Graph, TensorType, ValueId};
use std::collections::{HashMap, HashSet};

/// Every problem of `profiles` for the inputs of `graph`.
pub(super) fn check(graph: &Graph, profiles: &[Profile]) -> Vec<Diagnostic> {
    let inputs: Vec<(&str, &TensorType)> =
        graph.inputs().iter().filter_map(|&id| Some((graph.value(id).name.as_str(), graph.ty(id)?))).collect();
    let is_dynamic = |ty: &TensorType| ty.shape.iter().any(|dim| dim.as_known().is_none());
    let mut problems = Vec::new();
    if profiles.is_empty() {
        let dynamic: Vec<String> =
            inputs.iter().filter(|(_, ty)| is_dynamic(ty)).map(|(name, ty)| format!("`{name}`: {ty}")).collect();
        if !dynamic.is_empty() {
            let mut problem = Diagnostic::error(Kind::Invalid, "B0603", "dynamic inputs need ranges of extents")
                .help("give the smallest, usual and largest extents of each");
            problem.notes = dynamic;
            problems.push(problem);
        }
    }
    for (at, profile) in profiles.iter().enumerate() {
        let wrong = |problem: String| Diagnostic::error(Kind::Invalid, "B0604", format!("profile {at}: {problem}"));
        let n_before = problems.len();
        let mut symbols: HashMap<String, (i64, i64, i64)> = HashMap::new();
        for (name, ty) in inputs.iter().filter(|(_, ty)| is_dynamic(ty)) {
            match profile.inputs.iter().find(|range| range.input == *name && !range.is_values) {
                Some(range) => problems.extend(check_range(range, ty, &mut symbols).map(wrong)),
                None => problems.push(wrong(format!("it says nothing of input `{name}`, which is {ty}"))),
            }
        }
        for range in &profile.inputs {
            let Some((_, ty)) = inputs.iter().find(|(name, _)| *name == range.input) else {
                let known: Vec<String> = inputs.iter().map(|(name, _)| format!("`{name}`")).collect();
                let known = known.join(", ");
                problems.push(wrong(format!("there is no input `{}`", range.input)).help(format!("inputs: {known}")));
                continue;
            };
            if !is_dynamic(ty) && !range.is_values {
                problems.extend(check_range(range, ty, &mut symbols).map(wrong));
            }
        }
        if problems.len() == n_before {
            problems.extend(check_model(graph, profile, at));
        }
    }
    problems
}

/// What the model has against the smallest, usual and largest shapes of a profile: the calls that do not accept them.
fn check_model(graph: &Graph, profile: &Profile, at: usize) -> Vec<Diagnostic> {
    let contradictions = |inputs: &[Option<Fact>]| {
        let mut problems = Diagnostics::default();
        infer_graph(graph, inputs, &[], &Attrs::new(), "", &mut problems);
        problems.0.retain(|problem| problem.severity == Severity::Error);
        problems.0
    };
    let declared = declared_inputs(graph);
    let known: HashSet<String> = contradictions(&declared).into_iter().map(|problem| problem.message).collect();
    let lists: [(&str, fn(&ProfileRange) -> &[i64]); 3] =
        [("min", |range| &range.min), ("opt", |range| &range.opt), ("max", |range| &range.max)];
    let mut problems: Vec<Diagnostic> = Vec::new();
    for (what, list) in lists {
        let fact = |(&id, declared): (&ValueId, &Option<Fact>)| {
            let (ty, name) = (graph.ty(id)?, &graph.value(id).name);
            let of_input = |range: &&ProfileRange| range.input == *name;
            let shape = profile.inputs.iter().filter(|range| !range.is_values).find(of_input);
            let values = profile.inputs.iter().filter(|range| range.is_values).find(of_input);
            let dims = |range: &ProfileRange| list(range).iter().copied().map(Dim::known).collect::<Vec<_>>();
            match (shape, values) {
                (None, None) => declared.clone(),
                (Some(shape), _) => Some(Fact::from(TensorType::new(ty.element, dims(shape)))),
                (None, Some(values)) => Some(Fact::from(ty.clone()).with(Some(dims(values)))),
            }
        };
        let inputs: Vec<Option<Fact>> = graph.inputs().iter().zip(&declared).map(fact).collect();
        for mut problem in contradictions(&inputs) {
            if !known.contains(&problem.message) {
                problem.code = "B0604";
                problem.message = format!("profile {at}, {what} shapes: {}", problem.message);
                problems.push(problem);
            }
        }
    }
    problems
}

/// What is wrong with `range` for an input of type `ty`; `symbols` holds what the symbols of other inputs may be.
fn check_range(
    range: &ProfileRange,
    ty: &TensorType,
    symbols: &mut HashMap<String, (i64, i64, i64)>,
) -> impl Iterator<Item = String> {
    let mut problems = Vec::new();
    let input = &range.input;
    for (what, list) in [("min", &range.min), ("opt", &range.opt), ("max", &range.max)] {
        if list.len() != ty.rank() {
            problems.push(format!("{what} of input `{input}` has {} extents, expected {}", list.len(), ty.rank()));
        }
    }
    if !problems.is_empty() {
        return problems.into_iter();
    }
    for (axis, dim) in ty.shape.iter().enumerate() {
        let (min, opt, max) = (range.min[axis], range.opt[axis], range.max[axis]);
        let place = format!("dim {axis} ({dim}) of input `{input}`");
        if !(0 <= min && min <= opt && opt <= max) {
            problems.push(format!("{place}: expected 0 <= min <= opt <= max, found {min}, {opt}, {max}"));
        } else if let Some(known) = dim.as_known() {
            if (min, max) != (known, known) {
                problems.push(format!("{place} is static, found {min}, {opt}, {max}"));
            }
        } else if let Some(symbol) = Dim::as_symbol(dim) {
            let first = *symbols.entry(symbol.to_string()).or_insert((min, opt, max));
            if first != (min, opt, max) {
                let (low, usual, high) = first;
                problems
                    .push(format!("{place}: found {min}, {opt}, {max}, but {low}, {usual}, {high} for another input"));
            }
        }
    }
    problems.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eutectic_ir::Element;

    fn graph() -> Graph {
        let mut graph = Graph::new("g");
        for name in ["ids", "mask"] {
            let shape = [Dim::symbol("n"), Dim::known(8)];
            graph.add_input(name, Some(TensorType::new(Element::Int64, shape)), None);
        }
        graph
    }

    fn range(input: &str, extents: [i64; 3]) -> ProfileRange {
        let list = |extent| vec![extent, 8];
        let [min, opt, max] = extents.map(list);
        ProfileRange { input: input.into(), is_values: false, min, opt, max }
    }

    fn messages(inputs: Vec<ProfileRange>) -> Vec<String> {
        check(&graph(), &[Profile { inputs }]).into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn a_profile_that_fits_passes() {
        assert_eq!(messages(vec![range("ids", [1, 2, 4]), range("mask", [1, 2, 4])]), Vec::<String>::new());
    }

    #[test]
    fn dynamic_inputs_without_a_profile_are_listed() {
        let problems = check(&graph(), &[]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].notes, ["`ids`: int64[n,8]", "`mask`: int64[n,8]"]);
    }

    #[test]
    fn a_range_out_of_order_names_input_and_dim() {
        let found = messages(vec![range("ids", [4, 2, 1]), range("mask", [1, 2, 4])]);
        assert_eq!(found, ["profile 0: dim 0 (n) of input `ids`: expected 0 <= min <= opt <= max, found 4, 2, 1"]);
    }

    #[test]
    fn one_symbol_has_one_range() {
        let found = messages(vec![range("ids", [1, 2, 4]), range("mask", [1, 2, 5])]);
        assert_eq!(found, ["profile 0: dim 0 (n) of input `mask`: found 1, 2, 5, but 1, 2, 4 for another input"]);
    }

    #[test]
    fn a_shape_that_a_call_does_not_accept_names_the_call() {
        let source = "<ir_version: 10, opset_import: [\"\": 18]>
            g (float[n,s] x) => (float[n,t,4] y) <int64[3] to = {0,-1,4}> { [heads] y = Reshape (x, to) }";
        let (model, _) = eutectic_ir::text::parse_model(source).unwrap_or_else(|problems| panic!("{problems:?}"));
        let range = |extents: [i64; 3]| {
            let list = |extent| vec![1, extent];
            let [min, opt, max] = extents.map(list);
            let range = ProfileRange { input: "x".into(), is_values: false, min, opt, max };
            check(&model.graph, &[Profile { inputs: vec![range] }])
        };
        assert_eq!(range([4, 8, 16]), Vec::new());
        let found = range([4, 8, 15]);
        assert_eq!((found.len(), found[0].code), (1, "B0604"));
        assert!(found[0].message.starts_with("profile 0, max shapes: Reshape does not accept its inputs"), "{found:?}");
    }

    #[test]
    fn an_input_that_the_model_lacks_is_named() {
        let found = messages(vec![range("ids", [1, 2, 4]), range("mask", [1, 2, 4]), range("maks", [1, 2, 4])]);
        assert_eq!(found, ["profile 0: there is no input `maks`"]);
    }
}
