//! Inputs to run a model on: seeded, or from files.

use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::ir::graph::Def;
use crate::ir::tensor::{Seed, Tensor};
use crate::ir::{Dim, Graph, Model};
use std::collections::BTreeMap;

/// Sizes of symbolic dims by name, and of all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// By name.
    pub named: BTreeMap<String, i64>,
    /// For every other symbol.
    pub other: i64,
}

impl Sizes {
    /// Every symbol is `size`.
    pub fn all(size: i64) -> Self {
        Self { named: BTreeMap::new(), other: size }
    }

    /// The value of `dim`; `None` on overflow.
    pub fn of(&self, dim: &Dim) -> Option<i64> {
        let value = |name: &str| Some(Dim::known(self.named.get(name).copied().unwrap_or(self.other)));
        dim.substitute(&value)?.as_known()
    }
}

/// Reads `name:1x3x224x224` pairs, joined by commas, as trtexec takes them: a shape for each input that is named.
///
/// Errors: an unknown input, another rank, a size that contradicts a known dim; all of them.
pub fn shapes_by_input(graph: &Graph, text: &str) -> Result<BTreeMap<String, Vec<i64>>, Diagnostics> {
    let mut shapes = BTreeMap::new();
    let mut problems = Diagnostics::default();
    let mut wrong = |message: String| {
        problems.push(Diagnostic::error(Kind::Invalid, "C0120", message).help("write `input:1x3x224x224`"));
    };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let Some((name, dims)) = part.rsplit_once(':') else {
            wrong(format!("`{part}` is not of the form name:1x2x3"));
            continue;
        };
        let input = graph.inputs().iter().find(|&&id| graph.value(id).name == name);
        let Some(ty) = input.and_then(|&id| graph.ty(id)) else {
            let known: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
            wrong(format!("the model has no input `{name}`; it has `{}`", known.join("`, `")));
            continue;
        };
        let given: Option<Vec<i64>> = dims.split('x').map(|dim| dim.parse().ok().filter(|size| *size >= 0)).collect();
        let Some(given) = given.filter(|given| given.len() == ty.rank()) else {
            wrong(format!("`{dims}` is not a shape of {} dims for `{name}` ({ty})", ty.rank()));
            continue;
        };
        for (dim, &size) in ty.shape.iter().zip(&given) {
            if let Some(known) = dim.as_known().filter(|&known| known != size) {
                wrong(format!("`{name}` has the dim {known}, not {size}"));
            }
        }
        shapes.insert(name.to_string(), given);
    }
    if problems.has_errors() { Err(problems) } else { Ok(shapes) }
}

/// The sizes of symbols that `text` gives the inputs' symbolic dims, as [`shapes_by_input`] reads it; all others are 1.
///
/// Errors: as there, and a symbol with two sizes.
pub fn sizes_from_shapes(graph: &Graph, text: &str) -> Result<Sizes, Diagnostics> {
    let mut sizes = Sizes::all(1);
    let mut problems = Diagnostics::default();
    for (name, shape) in shapes_by_input(graph, text)? {
        let input = graph.inputs().iter().find(|&&id| graph.value(id).name == name.as_str());
        let Some(ty) = input.and_then(|&id| graph.ty(id)) else { continue };
        for (dim, size) in ty.shape.iter().zip(shape) {
            let Some(symbol) = dim.as_symbol() else { continue };
            let old = sizes.named.insert(symbol.to_string(), size);
            if let Some(old) = old.filter(|&old| old != size) {
                let message = format!("the dim `{symbol}` is given as {old} and as {size}");
                problems.push(Diagnostic::error(Kind::Invalid, "C0122", message));
            }
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(sizes) }
}

/// An input for each of the model's, drawn from `seed`: reals in [-1, 1), integers and truth values 0 or 1, which index
/// any table of two rows. An input with a default is left to it.
///
/// Errors: an input whose type is not known, or whose element type cannot be drawn.
pub fn seeded(model: &Model, sizes: &Sizes, seed: u64) -> Result<Vec<Option<Tensor>>, Diagnostics> {
    let graph = &model.graph;
    let mut problems = Diagnostics::default();
    let mut inputs = Vec::new();
    for (at, &id) in graph.inputs().iter().enumerate() {
        let value = graph.value(id);
        if matches!(value.def(), Def::Input { default: Some(_), .. }) {
            inputs.push(None);
            continue;
        }
        let shape: Option<Vec<usize>> = graph.ty(id).and_then(|ty| {
            let size = |dim: &Dim| sizes.of(dim).and_then(|size| usize::try_from(size).ok());
            ty.shape.iter().map(size).collect()
        });
        let element = graph.ty(id).map(|ty| ty.element);
        let drawn = shape.zip(element).and_then(|(shape, element)| {
            let (low, high) = if element.is_real() { (-1.0, 1.0) } else { (0.0, 2.0) };
            let seeded =
                Tensor::seeded(element, &shape, Seed { seed: seed.wrapping_add(at as u64), low, high }).ok()?;
            // Stored once, so that backends do not draw it again at each use.
            Tensor::new(element, &shape, seeded.bytes().into_owned().into()).ok()
        });
        if drawn.is_none() {
            let found = value.ty.as_ref().map_or("of unknown type".into(), ToString::to_string);
            let message = format!("input `{}` ({found}) cannot be drawn at random", value.name);
            problems.push(Diagnostic::error(Kind::Unsupported, "C0121", message));
        }
        inputs.push(drawn);
    }
    if problems.has_errors() { Err(problems) } else { Ok(inputs) }
}
