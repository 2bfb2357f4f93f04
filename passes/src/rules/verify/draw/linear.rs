//! Matrix products.

use super::{Chosen, Draw, Leaf, Leaves};
use eutectic_ir::Attr;

impl Draw<'_> {
    pub(super) fn matmul(&mut self, leaves: &mut Leaves) -> Option<()> {
        let (left, right) = (self.shape(0).map(<[usize]>::to_vec), self.shape(1).map(<[usize]>::to_vec));
        // A vector on the right is contracted along its only axis.
        let inner = match (&left, &right) {
            (Some(left), _) => *left.last()?,
            (None, Some(right)) => right[right.len().saturating_sub(2)..].first().copied()?,
            (None, None) => self.random.size(),
        };
        let rows = self.operator_axes(&right, [None, Some(inner)]);
        self.fill(leaves, 0, Leaf::new(self.real, rows));
        let left = left.or_else(|| leaves[0].as_ref().map(|leaf| leaf.shape.clone()));
        let columns = self.operator_axes(&left, [Some(inner), None]);
        self.fill(leaves, 1, Leaf::new(self.real, columns));
        Some(())
    }

    /// A matrix, or a stack of them that broadcasts with `other`, or the vector of its known size.
    fn operator_axes(&mut self, other: &Option<Vec<usize>>, matrix: [Option<usize>; 2]) -> Vec<usize> {
        if self.random.one_in(8) {
            return matrix.into_iter().flatten().collect();
        }
        let batch = match other {
            Some(other) if other.len() > 2 => other[..other.len() - 2].to_vec(),
            _ => {
                let rank = self.random.pick(&[0, 0, 1, 0, 2]);
                self.random.sizes(rank)
            }
        };
        let mut shape = match self.random.below(4) {
            0 | 1 => batch,
            2 => Vec::new(),
            _ => vec![1; batch.len()],
        };
        shape.extend(matrix.map(|size| size.unwrap_or_else(|| self.random.size())));
        shape
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
