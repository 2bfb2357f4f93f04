//! Draws attributes and missing inputs for one call, so that it fits the inputs that are there: attributes first, then
//! shapes. One file a family of operators.

pub(super) mod attributes;
mod linear;
mod moves;
mod reductions;
mod windows;

use super::random::Random;
use eutectic_ir::op::{Arity, OpDef};
use eutectic_ir::types::Element;
use eutectic_ir::{Attr, Attrs, Name};

/// An input that is made for a call.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub element: Element,
    pub shape: Vec<usize>,
    pub content: Content,
}

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Whatever the instance draws.
    Drawn,
    /// Numbers above zero.
    Positive,
    /// These integers.
    Ints(Vec<i64>),
    /// Indices into so many places, from the end as well.
    Below(usize),
}

impl Leaf {
    pub(super) fn new(element: Element, shape: Vec<usize>) -> Self {
        Self { element, shape, content: Content::Drawn }
    }

    pub(super) fn ints(values: Vec<i64>) -> Self {
        Self { element: Element::Int64, shape: vec![values.len()], content: Content::Ints(values) }
    }
}

/// What is known of one input before the call is drawn.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// It is there, with this element type and shape.
    Known(Element, Vec<usize>),
    /// It is to be drawn.
    Missing,
    /// It is left out.
    Absent,
}

/// One call to draw.
pub(super) struct Draw<'a> {
    pub def: &'static OpDef,
    pub fixed: &'a Attrs,
    pub slots: &'a [Slot],
    pub n_outputs: usize,
    /// The element type of reals.
    pub real: Element,
    pub random: &'a mut Random,
}

/// The attributes beside the fixed ones, and a leaf for each missing input, by position.
pub(super) type Drawn = (Vec<(Name, Attr)>, Vec<Option<Leaf>>);

type Leaves = Vec<Option<Leaf>>;
type Chosen = Vec<(Name, Attr)>;

impl Draw<'_> {
    pub(super) fn draw(&mut self) -> Option<Drawn> {
        let mut attrs: Chosen = Vec::new();
        let mut leaves: Leaves = vec![None; self.slots.len()];
        let name = self.def.name;
        match name {
            "Conv" | "ConvTranspose" => self.convolution(&mut attrs, &mut leaves)?,
            "MaxPool" | "AveragePool" | "LpPool" => self.pool(&mut attrs, &mut leaves)?,
            "MatMul" => self.matmul(&mut leaves)?,
            "Gemm" => self.gemm(&mut attrs, &mut leaves)?,
            "BatchNormalization" | "LayerNormalization" | "RMSNormalization" => {
                self.normalization(&mut attrs, &mut leaves)?
            }
            "Softmax" | "LogSoftmax" | "ArgMax" | "ArgMin" => self.along_axis(&mut attrs, &mut leaves)?,
            "Transpose" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Concat" | "Split" | "Slice" | "Expand"
            | "Tile" | "Pad" | "Gather" | "Cast" => self.movement(&mut attrs, &mut leaves)?,
            "Clip" => {
                self.first(&mut leaves, 0, 4)?;
                for at in 1..self.slots.len() {
                    self.fill(&mut leaves, at, Leaf::new(self.real, Vec::new()));
                }
            }
            _ if name.starts_with("Reduce") => self.reduction(&mut leaves)?,
            _ if name.starts_with("Global") => {
                self.first(&mut leaves, 3, 4)?;
            }
            _ => self.pointwise(&mut leaves)?,
        }
        for attr in self.def.attrs {
            if let Some(value) = self.choice(attr.name)
                && !attrs.iter().any(|(name, _)| name == attr.name)
            {
                attrs.push((attr.name.into(), value));
            }
        }
        attrs.retain(|(name, _)| self.fixed.get(name).is_none());
        Some((attrs, leaves))
    }

    /// A value for an attribute that stands for itself; `None` leaves the default.
    fn choice(&mut self, name: &str) -> Option<Attr> {
        let choices = attributes::choices(self.def.name, name);
        if choices.is_empty() {
            return None;
        }
        Some(self.random.pick(choices).to_attr())
    }

    /// The shape of input `at`, when it is there.
    fn shape(&self, at: usize) -> Option<&[usize]> {
        match self.slots.get(at)? {
            Slot::Known(_, shape) => Some(shape),
            _ => None,
        }
    }

    fn known(&self) -> impl Iterator<Item = (Element, &Vec<usize>)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Known(element, shape) => Some((*element, shape)),
            _ => None,
        })
    }

    fn fill(&self, leaves: &mut [Option<Leaf>], at: usize, mut leaf: Leaf) {
        if matches!(self.slots.get(at), Some(Slot::Missing)) {
            if leaf.content == Content::Drawn {
                leaf.element = self.element(at, leaf.element);
            }
            leaves[at] = Some(leaf);
        }
    }

    // The element type that the declaration wants at input `at`: that of the inputs of the same type variable first.
    fn element(&self, at: usize, fallback: Element) -> Element {
        let param = |at: usize| {
            self.def.inputs.get(at).or_else(|| self.def.inputs.last().filter(|p| p.arity == Arity::Variadic))
        };
        let Some(variable) = param(at).map(|param| param.ty) else { return fallback };
        let alike = self.slots.iter().enumerate().find_map(|(other, slot)| match slot {
            Slot::Known(element, _) if param(other).is_some_and(|param| param.ty == variable) => Some(*element),
            _ => None,
        });
        let allowed = self.def.types.iter().find(|(name, _)| *name == variable).map(|(_, elements)| *elements);
        alike.unwrap_or_else(|| match allowed {
            Some(elements) if !elements.contains(&fallback) => elements.first().copied().unwrap_or(fallback),
            _ => fallback,
        })
    }

    fn first(&mut self, leaves: &mut [Option<Leaf>], least: usize, most: usize) -> Option<Vec<usize>> {
        self.first_of_rank(leaves, None, least, most)
    }

    fn first_of_rank(
        &mut self,
        leaves: &mut [Option<Leaf>],
        rank: Option<usize>,
        least: usize,
        most: usize,
    ) -> Option<Vec<usize>> {
        match self.slots.first()? {
            Slot::Known(_, shape) => Some(shape.clone()).filter(|shape| shape.len() >= least),
            Slot::Absent => None,
            Slot::Missing => {
                let rank = rank.unwrap_or_else(|| least + self.random.below(most - least + 1));
                let shape = self.random.sizes(rank);
                self.fill(leaves, 0, Leaf::new(self.real, shape.clone()));
                Some(shape)
            }
        }
    }

    fn pointwise(&mut self, leaves: &mut [Option<Leaf>]) -> Option<()> {
        let widest = self.known().map(|(_, shape)| shape.clone()).max_by_key(Vec::len);
        let base = widest.unwrap_or_else(|| {
            let rank = self.random.below(6);
            self.random.sizes(rank)
        });
        for at in 0..self.slots.len() {
            let shape = if at == 0 && self.known().next().is_none() { base.clone() } else { self.operand(&base) };
            self.fill(leaves, at, Leaf::new(self.real, shape));
        }
        Some(())
    }

    /// A shape that broadcasts with `base`.
    fn operand(&mut self, base: &[usize]) -> Vec<usize> {
        match self.random.below(7) {
            0 => Vec::new(),
            1 => vec![1; base.len()],
            6 => vec![1; base.len() + 1],
            2 => base[base.len().min(1)..].iter().map(|&size| if self.random.one_in(2) { 1 } else { size }).collect(),
            // One per channel, one per column.
            3 if base.len() > 1 => (1..base.len()).map(|at| if at == 1 { base[1] } else { 1 }).collect(),
            4 => base.last().copied().into_iter().collect(),
            _ => base.to_vec(),
        }
    }
}
