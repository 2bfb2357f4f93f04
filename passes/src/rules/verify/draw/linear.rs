//! Matrix products.

use super::{Chosen, Draw, Leaf, Leaves, Slot};
use eutectic_ir::Attr;

impl Draw<'_> {
    pub(super) fn matmul(&mut self, leaves: &mut Leaves) -> Option<()> {
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

    pub(super) fn gemm(&mut self, attrs: &mut Chosen, leaves: &mut Leaves) -> Option<()> {
        let mut flag = |name: &str| match self.fixed.int(name) {
            Some(value) => value != 0,
            None => self.random.one_in(2),
        };
        let (of_a, of_b) = (flag("transA"), flag("transB"));
        let oriented = |rows: usize, columns: usize, is_flipped: bool| {
            if is_flipped { vec![columns, rows] } else { vec![rows, columns] }
        };
        let read = |shape: Option<&[usize]>, is_flipped: bool| -> Option<(usize, usize)> {
            match shape? {
                [a, b] => Some(if is_flipped { (*b, *a) } else { (*a, *b) }),
                _ => None,
            }
        };
        let (a, b) = (read(self.shape(0), of_a), read(self.shape(1), of_b));
        let rows = a.map_or_else(|| self.random.size(), |(rows, _)| rows);
        let inner = a.map(|(_, inner)| inner).or(b.map(|(inner, _)| inner)).unwrap_or_else(|| self.random.size());
        let columns = b.map_or_else(|| self.random.size(), |(_, columns)| columns);
        self.fill(leaves, 0, Leaf::new(self.real, oriented(rows, inner, of_a)));
        self.fill(leaves, 1, Leaf::new(self.real, oriented(inner, columns, of_b)));
        let bias = self.operand(&[rows, columns]);
        self.fill(leaves, 2, Leaf::new(self.real, bias));
        attrs.push(("transA".into(), Attr::Int(i64::from(of_a))));
        attrs.push(("transB".into(), Attr::Int(i64::from(of_b))));
        Some(())
    }
}
