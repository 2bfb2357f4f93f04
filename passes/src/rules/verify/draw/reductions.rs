//! Reductions, and what normalizes along axes.

use super::{Chosen, Content, Draw, Leaf, Leaves};
use eutectic_ir::Attr;

impl Draw<'_> {
    pub(super) fn reduction(&mut self, leaves: &mut Leaves) -> Option<()> {
        let x = self.first(leaves, 1, 4)?;
        let n = x.len() as i64;
        let axes = match self.random.below(5) {
            0 => vec![n - 1],
            1 if n > 2 => (2..n).collect(),
            2 => (0..n).collect(),
            3 => Vec::new(),
            _ => vec![self.random.below(x.len()) as i64],
        };
        let axes = axes.into_iter().map(|axis| self.random.signed_axis(axis, x.len())).collect();
        self.fill(leaves, 1, Leaf::ints(axes));
        Some(())
    }

    pub(super) fn along_axis(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        let x = self.first(leaves, 1, 4)?;
        let at = if self.random.one_in(2) { self.random.below(x.len()) } else { x.len() - 1 };
        attrs.push(("axis".into(), Attr::Int(self.random.signed_axis(at as i64, x.len()))));
        Some(())
    }

    pub(super) fn normalization(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        attrs.push(("epsilon".into(), Attr::Float(self.random.pick(&[0.125, 0.5, 1.0]))));
        if self.def.name == "BatchNormalization" {
            let x = self.first(leaves, 2, 4)?;
            for at in 1..self.slots.len() {
                let mut leaf = Leaf::new(self.real, vec![*x.get(1)?]);
                leaf.content = if at == 4 { Content::Positive } else { Content::Drawn };
                self.fill(leaves, at, leaf);
            }
            return Some(());
        }
        let x = self.first(leaves, 1, 4)?;
        let drawn = if self.random.one_in(3) { self.random.below(x.len()) } else { x.len() - 1 };
        let drawn = self.random.signed_axis(drawn as i64, x.len());
        let axis = self.fixed.int("axis").unwrap_or(drawn);
        let from = eutectic_ir::types::normalize_axis(axis, x.len())?;
        for at in 1..self.slots.len() {
            self.fill(leaves, at, Leaf::new(self.real, x[from..].to_vec()));
        }
        attrs.push(("axis".into(), Attr::Int(axis)));
        Some(())
    }
}
