//! Operators that only move elements.

use super::{Chosen, Content, Draw, Leaf, Leaves};
use eutectic_ir::Attr;
use eutectic_ir::types::Element;

impl Draw<'_> {
    pub(super) fn movement(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        match self.def.name {
            "Transpose" => {
                let rank = self.fixed.ints("perm").map(<[i64]>::len);
                let x = self.first_of_rank(leaves, rank, 0, 5)?;
                let perm = self.random.permutation(x.len());
                attrs.push(("perm".into(), Attr::Ints(perm.into())));
            }
            "Reshape" => {
                let x = self.first(leaves, 0, 4)?;
                let to = self.reshape(&x);
                self.fill(leaves, 1, Leaf::ints(to));
            }
            "Flatten" => {
                let x = self.first(leaves, 0, 4)?;
                let axis = self.random.below(x.len() + 1) as i64;
                // One beyond the last axis has no name from the end.
                let is_last = axis == x.len() as i64;
                let axis = if is_last { axis } else { self.random.signed_axis(axis, x.len()) };
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Squeeze" => {
                let mut x = self.first(leaves, 1, 4)?;
                if let Some(leaf) = &mut leaves[0] {
                    leaf.shape[self.random.below(x.len())] = 1;
                    x = leaf.shape.clone();
                }
                let ones: Vec<i64> = (0..x.len()).filter(|&at| x[at] == 1).map(|at| at as i64).collect();
                let keep = self.random.below(ones.len().max(1));
                let axes = ones.into_iter().skip(keep).map(|axis| self.random.signed_axis(axis, x.len())).collect();
                self.fill(leaves, 1, Leaf::ints(axes));
            }
            "Unsqueeze" => {
                let x = self.first(leaves, 0, 3)?;
                let n = 1 + self.random.below(2);
                let rank = x.len() + n;
                let mut axes = self.random.permutation(rank)[..n].to_vec();
                axes.sort_unstable();
                let axes = axes.into_iter().map(|axis| self.random.signed_axis(axis, rank)).collect();
                self.fill(leaves, 1, Leaf::ints(axes));
            }
            "Concat" => {
                let known = self.known().next().map(|(_, shape)| shape.clone());
                let base = known.unwrap_or_else(|| {
                    let rank = 1 + self.random.below(4);
                    self.random.sizes(rank)
                });
                let (axis, at) = self.axis(base.len())?;
                for slot in 0..self.slots.len() {
                    let mut shape = base.clone();
                    shape[at] = self.random.size();
                    self.fill(leaves, slot, Leaf::new(self.real, shape));
                }
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Split" => {
                let rank = match self.shape(0) {
                    Some(x) => x.len(),
                    None => 1 + self.random.below(4),
                };
                let fixed = self.fixed.int("axis").and_then(|axis| usize::try_from(axis).ok());
                let rank = rank.max(fixed.map_or(1, |at| at + 1));
                let (axis, at) = self.axis(rank)?;
                let mut sizes = self.random.sizes(self.n_outputs);
                if let Some(x) = self.shape(0) {
                    // The last part takes what the others leave.
                    let mut left = *x.get(at)?;
                    for size in &mut sizes {
                        *size = (*size).min(left);
                        left -= *size;
                    }
                    *sizes.last_mut()? += left;
                }
                let mut shape = self.random.sizes(rank);
                shape[at] = sizes.iter().sum();
                self.fill(leaves, 0, Leaf::new(self.real, shape));
                if self.slots.len() > 1 {
                    self.fill(leaves, 1, Leaf::ints(sizes.iter().map(|&size| size as i64).collect()));
                }
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Slice" => {
                let x = self.first(leaves, 1, 3)?;
                let at = self.random.below(x.len());
                let size = x[at] as i64;
                let (start, end, step) = match self.random.below(4) {
                    0 => (0, size, 1),
                    1 => (self.random.below(x[at].max(1)) as i64, size, 1),
                    2 => (self.random.below(x[at].max(1)) as i64, -1, 1),
                    _ => (0, i64::MAX, 1 + self.random.below(3) as i64),
                };
                let (start, end, step) = match self.random.below(8) {
                    7 => (-1, i64::MIN, -1),
                    // Counted from the end.
                    6 => (-1 - self.random.below(x[at].max(1)) as i64, end, step),
                    _ => (start, end, step),
                };
                let axis = self.random.signed_axis(at as i64, x.len());
                for (slot, value) in [(1, start), (2, end), (3, axis), (4, step)] {
                    self.fill(leaves, slot, Leaf::ints(vec![value]));
                }
            }
            "Expand" => {
                let x = self.first(leaves, 0, 3)?;
                let mut to: Vec<i64> = x.iter().map(|&size| size as i64).collect();
                for size in to.iter_mut().filter(|size| **size == 1) {
                    *size = self.random.size() as i64;
                }
                if self.random.one_in(3) {
                    to.insert(0, self.random.size() as i64);
                }
                self.fill(leaves, 1, Leaf::ints(to));
            }
            "Tile" => {
                let x = self.first(leaves, 0, 3)?;
                let repeats = if self.random.one_in(2) { vec![2; x.len()] } else { vec![1; x.len()] };
                self.fill(leaves, 1, Leaf::ints(repeats));
            }
            "Pad" => {
                let x = self.first(leaves, 1, 4)?;
                let mut pads: Vec<i64> = vec![0; 2 * x.len()];
                // Convolutions and pools only know pads of the axes behind batch and channel.
                let everywhere = self.random.one_in(6);
                for at in 0..pads.len() {
                    if everywhere || at % x.len() >= 2 {
                        pads[at] = self.random.pick(&[0, 1, 2, 0, 1, -1]);
                    }
                }
                if self.random.one_in(4) {
                    pads.fill(0);
                }
                self.fill(leaves, 1, Leaf::ints(pads));
                self.fill(leaves, 2, Leaf::new(self.real, Vec::new()));
                self.fill(leaves, 3, Leaf::ints((0..x.len() as i64).collect()));
            }
            "Gather" => {
                let x = self.first(leaves, 1, 4)?;
                let (axis, at) = self.axis(x.len())?;
                let rank = self.random.below(3);
                let shape = self.random.sizes(rank);
                let mut leaf = Leaf::new(Element::Int64, shape);
                leaf.content = Content::Below(x[at]);
                self.fill(leaves, 1, leaf);
                attrs.push(("axis".into(), Attr::Int(axis)));
            }
            "Cast" => {
                self.first(leaves, 0, 3)?;
                use Element::{Bool, Double, Float, Float16, Int32, Int64};
                let to = self.random.pick(&[Double, Float, Int64, Int32, Bool, Float16]);
                if let Some(leaf) = &mut leaves[0] {
                    leaf.element = self.random.pick(&[Double, Float, Int64, Int32, Bool, Float16]);
                }
                attrs.push(("to".into(), Attr::Int(i64::from(to.code()))));
            }
            _ => return None,
        }
        Some(())
    }

    /// The attribute `axis` for a tensor of `rank` axes, as it is written and counted from the start.
    pub(super) fn axis(&mut self, rank: usize) -> Option<(i64, usize)> {
        let drawn = self.random.below(rank) as i64;
        let written = match self.fixed.int("axis") {
            Some(axis) => axis,
            None => self.random.signed_axis(drawn, rank),
        };
        Some((written, eutectic_ir::types::normalize_axis(written, rank)?))
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
}
