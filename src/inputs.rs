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

/// Reads `name:2x3x224x224` pairs, joined by commas, as trtexec takes them, into sizes of the symbols of the inputs.
///
/// Errors: an unknown input, another rank, a size that contradicts a known dim; all of them.
pub fn sizes_from_shapes(graph: &Graph, text: &str) -> Result<Sizes, Diagnostics> {
    let mut sizes = Sizes::all(1);
    let mut problems = Diagnostics::default();
    let mut wrong = |message: String| {
        problems.push(Diagnostic::error(Kind::Invalid, "C0120", message).help("write `--shapes input:1x3x224x224`"));
    };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let Some((name, dims)) = part.rsplit_once(':') else {
            wrong(format!("`{part}` is not of the form name:1x2x3"));
            continue;
        };
        let Some(ty) = graph.inputs().iter().find(|&&id| graph.value(id).name == name).and_then(|&id| graph.ty(id))
        else {
            let known: Vec<&str> = graph.inputs().iter().map(|&id| graph.value(id).name.as_str()).collect();
            wrong(format!("the model has no input `{name}`; it has `{}`", known.join("`, `")));
            continue;
        };
        let given: Option<Vec<i64>> = dims.split('x').map(|dim| dim.parse().ok().filter(|size| *size >= 0)).collect();
        let Some(given) = given.filter(|given| given.len() == ty.rank()) else {
            wrong(format!("`{dims}` is not a shape of {} dims for `{name}` ({ty})", ty.rank()));
            continue;
        };
        for (dim, size) in ty.shape.iter().zip(given) {
            match (dim.as_known(), dim.as_symbol()) {
                (Some(known), _) if known != size => wrong(format!("`{name}` has the dim {known}, not {size}")),
                (None, Some(symbol)) => {
                    sizes.named.insert(symbol.to_string(), size);
                }
                _ => {}
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
        let shape: Option<Vec<usize>> = value.ty.as_ref().and_then(|ty| {
            let size = |dim: &Dim| sizes.of(dim).and_then(|size| usize::try_from(size).ok());
            ty.shape.iter().map(size).collect()
        });
        let element = value.ty.as_ref().map(|ty| ty.element);
        let drawn = shape.zip(element).and_then(|(shape, element)| {
            let (low, high) = if element.is_real() { (-1.0, 1.0) } else { (0.0, 2.0) };
            let seeded = Tensor::seeded(element, &shape, Seed { seed: seed.wrapping_add(at as u64), low, high }).ok()?;
            // Stored once, so that backends do not draw it again at each use.
            Tensor::new(element, &shape, seeded.bytes().into_owned().into()).ok()
        });
        if drawn.is_none() {
            let found = value.ty.as_ref().map_or("of unknown type".into(), ToString::to_string);
            let message = format!("input `{}` ({found}) cannot be drawn at random", value.name);
            let help = format!("give it as a file: `--input {}=x.npy`", value.name);
            problems.push(Diagnostic::error(Kind::Unsupported, "C0121", message).help(help));
        }
        inputs.push(drawn);
    }
    if problems.has_errors() { Err(problems) } else { Ok(inputs) }
}

