//! Optimization profiles from the command line, and from traffic.

use super::super::{Outcome, misuse, print_json};
use super::Lower;
use crate::inputs::shapes_by_input;
use crate::ir::Model;
use crate::ir::diag::Diagnostics;
use crate::tensorrt::engine::{Profile, ProfileRange};
use crate::tensorrt::traffic;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

impl Lower {
    /// The profiles that the flags describe: the k-th of each flag of shapes belongs to the k-th profile.
    ///
    /// Errors: numbers of profiles that are not 0, 1 and so on, a flag that is given for some profiles only, a dynamic input
    /// without shapes.
    pub(super) fn profiles(&self, model: &Model) -> Result<Vec<Profile>, Diagnostics> {
        if self.profile.iter().copied().ne(0..self.profile.len()) {
            return Err(misuse(format!("`--profile` counts from 0 on, found {:?}", self.profile)));
        }
        let lists = [&self.min_shapes, &self.opt_shapes, &self.max_shapes];
        let count = lists.iter().map(|list| list.len()).chain([self.profile.len(), 1]).max().unwrap_or(1);
        if lists.iter().any(|list| count > 1 && list.len() != count) {
            let message = format!("{count} profiles need `--minShapes`, `--optShapes` and `--maxShapes` {count} times");
            return Err(misuse(message));
        }
        let profiles: Vec<Profile> = (0..count).map(|at| self.profile_at(model, at)).collect::<Result<_, _>>()?;
        Ok(profiles.into_iter().filter(|profile| !profile.inputs.is_empty()).collect())
    }

    fn profile_at(&self, model: &Model, at: usize) -> Result<Profile, Diagnostics> {
        let shapes = |list: &[String]| shapes_by_input(&model.graph, list.get(at).unwrap_or(&self.shapes));
        let (min, opt, max) = (shapes(&self.min_shapes)?, shapes(&self.opt_shapes)?, shapes(&self.max_shapes)?);
        let mut profile = Profile::default();
        for &id in model.graph.inputs() {
            let value = model.graph.value(id);
            let Some(ty) = model.graph.ty(id).filter(|ty| ty.sizes().is_none()) else { continue };
            let of = |shapes: &BTreeMap<String, Vec<i64>>| {
                shapes.get(value.name.as_str()).cloned().ok_or_else(|| {
                    misuse(format!("input `{}` ({ty}) is dynamic: give `--shapes` or `--minShapes`, `--optShapes`, `--maxShapes` for it", value.name))
                })
            };
            let (min, opt, max) = (of(&min)?, of(&opt)?, of(&max)?);
            profile.inputs.push(ProfileRange { input: value.name.to_string(), is_values: false, min, opt, max });
        }
        Ok(profile)
    }

    /// The size of each symbol of the inputs of `model` for which all of `profiles` leave one size only. One that they give several
    /// sizes is left to the check of the lowering.
    pub(super) fn settled(model: &Model, profiles: &[Profile]) -> BTreeMap<String, i64> {
        let mut sizes: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for range in profiles.iter().flat_map(|profile| &profile.inputs) {
            let input = model.graph.inputs().iter().find(|&&id| model.graph.value(id).name == range.input.as_str());
            let Some(ty) = input.and_then(|&id| model.graph.ty(id)) else { continue };
            for (at, dim) in ty.shape.iter().enumerate() {
                let Some(symbol) = dim.as_symbol() else { continue };
                let extents = [&range.min, &range.opt, &range.max].into_iter().filter_map(|list| list.get(at));
                sizes.entry(symbol.to_string()).or_default().extend(extents);
            }
        }
        sizes.retain(|_, sizes| sizes.len() == 1);
        sizes.into_iter().filter_map(|(symbol, sizes)| Some((symbol, *sizes.first()?))).collect()
    }

    /// Prints profiles for the requests in `file`, as flags of this verb.
    pub(super) fn suggest(&self, file: &Path, is_json: bool) -> Outcome {
        let wrong = |problem: String| misuse(format!("{}: {problem}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let requests = traffic::read(&text).map_err(wrong)?;
        let suggestions = traffic::suggest(&requests, self.most_profiles);
        if is_json {
            let one = |suggestion: &traffic::Suggestion| {
                let range = |range: &ProfileRange| json!({ "input": range.input, "min": range.min, "opt": range.opt, "max": range.max });
                let inputs: Vec<_> = suggestion.profile.inputs.iter().map(range).collect();
                json!({ "share": suggestion.share, "inputs": inputs })
            };
            print_json(&suggestions.iter().map(one).collect::<Vec<_>>());
            return Ok(0);
        }
        for (at, suggestion) in suggestions.iter().enumerate() {
            let shapes = |list: fn(&ProfileRange) -> &[i64]| {
                let one = |range: &ProfileRange| {
                    let extents: Vec<String> = list(range).iter().map(ToString::to_string).collect();
                    format!("{}:{}", range.input, extents.join("x"))
                };
                suggestion.profile.inputs.iter().map(one).collect::<Vec<_>>().join(",")
            };
            println!(
                "--profile {at} --minShapes {} --optShapes {} --maxShapes {}  # {:.1} % of the requests",
                shapes(|range| &range.min),
                shapes(|range| &range.opt),
                shapes(|range| &range.max),
                100.0 * suggestion.share
            );
        }
        Ok(0)
    }
}
