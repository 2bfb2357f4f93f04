//! Operators that slide a window: convolutions and pools.

use super::{Chosen, Draw, Leaf, Leaves};
use eutectic_ir::Attr;

impl Draw<'_> {
    pub(super) fn convolution(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        let is_transposed = self.def.name == "ConvTranspose";
        let n_spatial = match (self.shape(0), self.shape(1), self.fixed.ints("kernel_shape")) {
            (Some(shape), ..) | (None, Some(shape), _) => shape.len().checked_sub(2).filter(|n| *n > 0)?,
            (None, None, Some(kernel)) => kernel.len(),
            _ => 1 + self.random.below(2),
        };
        // Each channel its own group is a class of its own; so are groups of several channels.
        let per_group = self.random.pick(&[1, 2, 1, 3]);
        let group = match (self.fixed.int("group"), self.shape(0)) {
            (Some(group), _) => usize::try_from(group).ok()?,
            (None, None) => self.random.pick(&[1, 2, 1, 3]),
            (None, Some(x)) => {
                let divisors: Vec<usize> = (1..=x[1]).filter(|&group| x[1].is_multiple_of(group)).collect();
                if divisors.is_empty() { 1 } else { self.random.pick(&divisors) }
            }
        };
        let x = match self.shape(0) {
            Some(shape) => shape.to_vec(),
            None => {
                let mut shape = vec![self.random.pick(&[1, 2, 1, 3, 0]), group * per_group];
                shape.extend((0..n_spatial).map(|_| 2 + self.random.below(6)));
                shape
            }
        };
        self.fill(leaves, 0, Leaf::new(self.real, x.clone()));
        if group == 0 || !x[1].is_multiple_of(group) {
            return None;
        }
        let kernel: Vec<i64> = match (self.fixed.ints("kernel_shape"), self.shape(1)) {
            (Some(kernel), _) => kernel.to_vec(),
            (None, Some(shape)) => shape.get(2..)?.iter().map(|&size| size as i64).collect(),
            _ => (0..n_spatial).map(|_| 1 + self.random.below(3) as i64).collect(),
        };
        let out = group * (1 + self.random.below(3));
        let (rows, columns) = if is_transposed { (x[1], out / group) } else { (out, x[1] / group) };
        let mut shape = vec![rows, columns];
        shape.extend(kernel.iter().map(|&size| size as usize));
        let out = match self.shape(1) {
            Some(shape) if is_transposed => shape.get(1)? * group,
            Some(shape) => *shape.first()?,
            None => out,
        };
        self.fill(leaves, 1, Leaf::new(self.real, shape));
        self.fill(leaves, 2, Leaf::new(self.real, vec![out]));
        attrs.push(("group".into(), Attr::Int(group as i64)));
        attrs.push(("kernel_shape".into(), Attr::Ints(kernel.into())));
        self.window(attrs, n_spatial);
        Some(())
    }

    pub(super) fn pool(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        let kernel = self.fixed.ints("kernel_shape").map(<[i64]>::to_vec);
        let x = self.first_of_rank(leaves, kernel.as_ref().map(|kernel| kernel.len() + 2), 3, 4)?;
        let n_spatial = x.len() - 2;
        if let Some(leaf) = &mut leaves[0] {
            for size in &mut leaf.shape[2..] {
                *size = 2 + self.random.below(6);
            }
        }
        let kernel = kernel.unwrap_or_else(|| (0..n_spatial).map(|_| 1 + self.random.below(3) as i64).collect());
        attrs.push(("kernel_shape".into(), Attr::Ints(kernel.into())));
        self.window(attrs, n_spatial);
        Some(())
    }

    fn window(&mut self, attrs: &mut Chosen, n_spatial: usize) {
        let mut some = |name: &str, choices: &[i64], n: usize| {
            let values: Vec<i64> = (0..n).map(|_| self.random.pick(choices)).collect();
            attrs.push((name.into(), Attr::Ints(values.into())));
        };
        some("strides", &[1, 2, 1, 3], n_spatial);
        some("dilations", &[1, 2, 1], n_spatial);
        some("pads", &[0, 1, 0, 2], 2 * n_spatial);
        let auto_pad = self.random.pick(&["NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]);
        let fixed = self.fixed.string("auto_pad").unwrap_or(auto_pad);
        if fixed != "NOTSET" {
            attrs.retain(|(name, _)| name != "pads");
            attrs.push(("pads".into(), Attr::Ints(vec![0; 2 * n_spatial].into())));
        }
        attrs.push(("auto_pad".into(), Attr::String(auto_pad.into())));
    }
}
