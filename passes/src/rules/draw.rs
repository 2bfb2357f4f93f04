//! Draws attributes and missing inputs for one call, so that it fits the inputs that are there.

use eutectic_ir::op::{Arity, OpDef};
use eutectic_ir::types::Element;
use eutectic_ir::{Attr, Attrs, Name};

/// A reproducible source of numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// A size: 1 often, primes that tell axes apart, now and then a larger composite.
    fn size(&mut self) -> usize {
        self.pick(&[1, 1, 2, 2, 3, 3, 4, 5, 6])
    }

    fn sizes(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|_| self.size()).collect()
    }

    fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut items: Vec<i64> = (0..n as i64).collect();
        for at in (1..n).rev() {
            items.swap(at, self.below(at + 1));
        }
        items
    }
}

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
}

impl Leaf {
    fn new(element: Element, shape: Vec<usize>) -> Self {
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

impl Draw<'_> {
    pub(super) fn draw(&mut self) -> Option<Drawn> {
        let mut attrs: Vec<(Name, Attr)> = Vec::new();
        let mut leaves: Vec<Option<Leaf>> = vec![None; self.slots.len()];
        let name = self.def.name;
        match name {
            "Conv" | "ConvTranspose" => return self.convolution(),
            "MatMul" => self.matmul(&mut leaves)?,
            "BatchNormalization" => {
                let x = self.first(&mut leaves, 2, 4)?;
                for at in 1..self.slots.len() {
                    let mut leaf = Leaf::new(self.real, vec![*x.get(1)?]);
                    leaf.content = if at == 4 { Content::Positive } else { Content::Drawn };
                    self.fill(&mut leaves, at, leaf);
                }
                attrs.push(("epsilon".into(), Attr::Float(0.125)));
            }
            "LayerNormalization" | "RMSNormalization" => {
                let x = self.first(&mut leaves, 1, 4)?;
                let axis = self.fixed.int("axis").unwrap_or(x.len() as i64 - 1);
                let from = if axis < 0 { axis + x.len() as i64 } else { axis };
                for at in 1..self.slots.len() {
                    self.fill(&mut leaves, at, Leaf::new(self.real, x.get(usize::try_from(from).ok()?..)?.to_vec()));
                }
                attrs.push(("axis".into(), Attr::Int(axis)));
                attrs.push(("epsilon".into(), Attr::Float(0.125)));
            }
            "Transpose" => {
                let rank = self.fixed.ints("perm").map(<[i64]>::len);
                let x = self.first_of_rank(&mut leaves, rank, 0, 4)?;
                let identity = self.random.one_in(6);
                let perm = if identity { (0..x.len() as i64).collect() } else { self.random.permutation(x.len()) };
                attrs.push(("perm".into(), Attr::Ints(perm.into())));
            }
            "Reshape" => {
                let x = self.first(&mut leaves, 0, 4)?;
                let to = self.reshape(&x);
                self.fill(&mut leaves, 1, Leaf::ints(to));
            }
            "Flatten" => {
                let x = self.first(&mut leaves, 0, 4)?;
                attrs.push(("axis".into(), Attr::Int(self.random.below(x.len() + 1) as i64)));
            }
            "Squeeze" => {
                let mut x = self.first(&mut leaves, 1, 4)?;
                if let Some(leaf) = &mut leaves[0] {
                    leaf.shape[self.random.below(x.len())] = 1;
                    x = leaf.shape.clone();
                }
                let axes: Vec<i64> = (0..x.len()).filter(|&at| x[at] == 1).map(|at| at as i64).collect();
                let keep = self.random.below(axes.len().max(1));
                let axes = if axes.is_empty() { axes } else { axes[keep..].to_vec() };
                self.fill(&mut leaves, 1, Leaf::ints(axes));
            }
            "Unsqueeze" => {
                let x = self.first(&mut leaves, 0, 3)?;
                let n = 1 + self.random.below(2);
                let mut axes = self.random.permutation(x.len() + n)[..n].to_vec();
                axes.sort_unstable();
                self.fill(&mut leaves, 1, Leaf::ints(axes));
            }
            "Concat" => {
                let known = self.known().next().map(|(_, shape)| shape.clone());
                let base = known.unwrap_or_else(|| {
                    let rank = 1 + self.random.below(3);
                    self.random.sizes(rank)
                });
                let axis = self.fixed.int("axis").unwrap_or(self.random.below(base.len()) as i64);
                let at = usize::try_from(axis).ok()?;
                for slot in 0..self.slots.len() {
                    let mut shape = base.clone();
                    *shape.get_mut(at)? = self.random.size();
                    self.fill(&mut leaves, slot, Leaf::new(self.real, shape));
                }
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Split" => {
                let n = self.n_outputs;
                let rank = 1 + self.random.below(3);
                let axis = self.fixed.int("axis").unwrap_or(self.random.below(rank) as i64);
                let at = usize::try_from(axis).ok()?;
                let sizes: Vec<usize> = self.random.sizes(n);
                let mut shape = self.random.sizes(rank.max(at + 1));
                shape[at] = sizes.iter().sum();
                self.fill(&mut leaves, 0, Leaf::new(self.real, shape));
                if self.slots.len() > 1 {
                    self.fill(&mut leaves, 1, Leaf::ints(sizes.iter().map(|&size| size as i64).collect()));
                }
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Slice" => {
                let x = self.first(&mut leaves, 1, 3)?;
                let at = self.random.below(x.len());
                let whole = self.random.one_in(2);
                let start = if whole { 0 } else { self.random.below(x[at]) as i64 };
                self.fill(&mut leaves, 1, Leaf::ints(vec![start]));
                self.fill(&mut leaves, 2, Leaf::ints(vec![x[at] as i64]));
                self.fill(&mut leaves, 3, Leaf::ints(vec![at as i64]));
                self.fill(&mut leaves, 4, Leaf::ints(vec![1]));
            }
            "Expand" => {
                let x = self.first(&mut leaves, 0, 3)?;
                let mut to: Vec<i64> = x.iter().map(|&size| size as i64).collect();
                for size in to.iter_mut().filter(|size| **size == 1) {
                    *size = self.random.size() as i64;
                }
                if self.random.one_in(3) {
                    to.insert(0, self.random.size() as i64);
                }
                self.fill(&mut leaves, 1, Leaf::ints(to));
            }
            "Tile" => {
                let x = self.first(&mut leaves, 0, 3)?;
                let repeats = if self.random.one_in(2) { vec![1; x.len()] } else { vec![2; x.len()] };
                self.fill(&mut leaves, 1, Leaf::ints(repeats));
            }
            "Pad" => {
                let x = self.first(&mut leaves, 1, 4)?;
                let mut pads: Vec<i64> = vec![0; 2 * x.len()];
                if !self.random.one_in(4) {
                    // Convolutions and pools only know pads of the axes behind batch and channel.
                    let spatial = |at: usize| at % x.len() >= 2;
                    for at in (0..pads.len()).filter(|&at| spatial(at)) {
                        pads[at] = self.random.below(3) as i64;
                    }
                }
                self.fill(&mut leaves, 1, Leaf::ints(pads));
                self.fill(&mut leaves, 2, Leaf::new(self.real, Vec::new()));
                self.fill(&mut leaves, 3, Leaf::ints((0..x.len() as i64).collect()));
            }
            "Softmax" | "LogSoftmax" | "Gather" => {
                let x = self.first(&mut leaves, 1, 4)?;
                let last = self.random.one_in(2);
                let axis = if last { x.len() - 1 } else { self.random.below(x.len()) };
                attrs.push(("axis".into(), Attr::Int(axis as i64)));
            }
            "Cast" => {
                self.first(&mut leaves, 0, 3)?;
                let to =
                    self.random.pick(&[Element::Float, Element::Double, Element::Int64, Element::Int32, Element::Bool]);
                if let Some(leaf) = &mut leaves[0] {
                    leaf.element = self.random.pick(&[
                        Element::Float,
                        Element::Double,
                        Element::Int64,
                        Element::Int32,
                        Element::Bool,
                    ]);
                }
                attrs.push(("to".into(), Attr::Int(i64::from(to.code()))));
            }
            "Clip" => {
                self.first(&mut leaves, 0, 4)?;
                for at in 1..self.slots.len() {
                    self.fill(&mut leaves, at, Leaf::new(self.real, Vec::new()));
                }
            }
            _ if name.starts_with("Reduce") => {
                let x = self.first(&mut leaves, 1, 4)?;
                let n = x.len() as i64;
                let axes = match self.random.below(3) {
                    0 => vec![n - 1],
                    1 if n > 2 => (2..n).collect(),
                    _ => vec![self.random.below(x.len()) as i64],
                };
                self.fill(&mut leaves, 1, Leaf::ints(axes));
            }
            _ if name.starts_with("Global") || name.ends_with("Pool") => {
                self.first(&mut leaves, 3, 4)?;
                if let Some(kernel) = self.pool_kernel(&leaves) {
                    attrs.push(("kernel_shape".into(), kernel));
                }
            }
            _ => self.pointwise(&mut leaves)?,
        }
        attrs.retain(|(name, _)| self.fixed.get(name).is_none());
        Some((attrs, leaves))
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
            let rank = self.random.below(5);
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
        match self.random.below(6) {
            0 => Vec::new(),
            1 => vec![1; base.len()],
            2 => base[base.len().min(1)..].iter().map(|&size| if self.random.one_in(2) { 1 } else { size }).collect(),
            // One per channel, one per column.
            3 if base.len() > 1 => (1..base.len()).map(|at| if at == 1 { base[1] } else { 1 }).collect(),
            4 => base.last().copied().into_iter().collect(),
            _ => base.to_vec(),
        }
    }

    fn reshape(&mut self, x: &[usize]) -> Vec<i64> {
        let signed = |sizes: &[usize]| -> Vec<i64> { sizes.iter().map(|&size| size as i64).collect() };
        let count: usize = x.iter().product();
        match self.random.below(5) {
            0 => vec![-1],
            1 => signed(x),
            2 => vec![1, -1],
            3 if !x.is_empty() => {
                let mut to = signed(x);
                let at = self.random.below(x.len());
                if x[at].is_multiple_of(2) && x[at] > 0 {
                    to[at] /= 2;
                    to.insert(at + 1, 2);
                }
                to
            }
            4 if x.len() > 1 => {
                let mut to = vec![0; x.len() - 1];
                to[x.len() - 2] = -1;
                to
            }
            _ => vec![count as i64, 1],
        }
    }

    fn matmul(&mut self, leaves: &mut [Option<Leaf>]) -> Option<()> {
        let left = match &self.slots[0] {
            Slot::Known(_, shape) => Some(shape.clone()),
            _ => None,
        };
        let right = match &self.slots[1] {
            Slot::Known(_, shape) => Some(shape.clone()),
            _ => None,
        };
        let k = match (&left, &right) {
            (Some(left), _) => *left.last()?,
            (None, Some(right)) => *right.get(right.len().checked_sub(2)?)?,
            (None, None) => self.random.size(),
        };
        let rank = match &right {
            Some(right) if right.len() > 2 => right.len(),
            _ => 2 + self.random.below(2),
        };
        let mut shape = match &right {
            Some(right) if right.len() > 2 => right.clone(),
            _ => self.random.sizes(rank),
        };
        shape[rank - 2] = self.random.size();
        shape[rank - 1] = k;
        self.fill(leaves, 0, Leaf::new(self.real, shape));
        let mut shape = vec![k, self.random.size()];
        if let Some(left) = left.filter(|left| left.len() > 2 && self.random.one_in(4)) {
            shape.splice(0..0, left[..left.len() - 2].iter().copied());
        }
        self.fill(leaves, 1, Leaf::new(self.real, shape));
        Some(())
    }

    fn convolution(&mut self) -> Option<Drawn> {
        let mut leaves: Vec<Option<Leaf>> = vec![None; self.slots.len()];
        let is_transposed = self.def.name == "ConvTranspose";
        let group = self.fixed.int("group").unwrap_or_else(|| self.random.pick(&[1, 1, 2, 3]));
        let g = usize::try_from(group).ok()?;
        let n_spatial = match self.fixed.ints("kernel_shape") {
            Some(kernel) => kernel.len(),
            None => 1 + self.random.below(2),
        };
        let x = match &self.slots[0] {
            Slot::Known(_, shape) => shape.clone(),
            _ => {
                let mut shape = vec![1 + self.random.below(2), g * (1 + self.random.below(2))];
                shape.extend((0..n_spatial).map(|_| 4 + self.random.below(4)));
                shape
            }
        };
        self.fill(&mut leaves, 0, Leaf::new(self.real, x.clone()));
        let n_spatial = x.len().checked_sub(2).filter(|n| *n > 0)?;
        if !x[1].is_multiple_of(g) {
            return None;
        }
        let kernel = match (self.fixed.ints("kernel_shape"), &self.slots[1]) {
            (Some(kernel), _) => kernel.to_vec(),
            (None, Slot::Known(_, shape)) => shape.get(2..)?.iter().map(|&size| size as i64).collect(),
            _ => (0..n_spatial).map(|_| 1 + self.random.below(3) as i64).collect(),
        };
        let out = g * (1 + self.random.below(3));
        let (rows, columns) = if is_transposed { (x[1], out / g) } else { (out, x[1] / g) };
        let mut shape = vec![rows, columns];
        shape.extend(kernel.iter().map(|&size| size as usize));
        let out = match &self.slots[1] {
            Slot::Known(_, shape) => {
                if is_transposed {
                    shape.get(1)? * g
                } else {
                    *shape.first()?
                }
            }
            _ => out,
        };
        self.fill(&mut leaves, 1, Leaf::new(self.real, shape));
        self.fill(&mut leaves, 2, Leaf::new(self.real, vec![out]));
        let some = |random: &mut Random, least: i64, n: usize| -> Attr {
            Attr::Ints((0..n).map(|_| least + random.below(2) as i64).collect())
        };
        let mut attrs: Vec<(Name, Attr)> = vec![
            ("group".into(), Attr::Int(group)),
            ("kernel_shape".into(), Attr::Ints(kernel.into())),
            ("strides".into(), some(self.random, 1, n_spatial)),
            ("dilations".into(), some(self.random, 1, n_spatial)),
            ("pads".into(), some(self.random, 0, 2 * n_spatial)),
            ("auto_pad".into(), Attr::String("NOTSET".into())),
        ];
        attrs.retain(|(name, _)| self.fixed.get(name).is_none());
        Some((attrs, leaves))
    }

    fn pool_kernel(&mut self, leaves: &[Option<Leaf>]) -> Option<Attr> {
        self.def.attr("kernel_shape")?;
        let rank = match (&self.slots[0], &leaves[0]) {
            (Slot::Known(_, shape), _) => shape.len(),
            (_, Some(leaf)) => leaf.shape.len(),
            _ => return None,
        };
        Some(Attr::Ints(vec![2; rank - 2].into()))
    }
}
