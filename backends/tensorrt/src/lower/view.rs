//! Changes of shape that layers of every family need: transposes, reshapes, slices, joins.

use super::builder::Builder;
use super::operand::Typed;
use super::refusal::Refusal;
use super::terms::Term;
use crate::layer::{Extents, Layer, SliceMode};
use crate::spec::TensorRef;
use eutectic_ir::Dim;

/// A slice per axis, in elements.
pub(super) struct Cut {
    /// First element.
    pub start: Vec<Term>,
    /// Number of elements.
    pub size: Vec<Term>,
    /// Distance of elements.
    pub stride: Vec<Term>,
}

impl Builder {
    /// Exchanges axes: axis `i` of the result is axis `order[i]`.
    pub fn transpose(&mut self, input: &Typed, order: &[usize]) -> Typed {
        if order.iter().enumerate().all(|(at, &axis)| at == axis) {
            return input.clone();
        }
        let shape = order.iter().map(|&axis| input.shape[axis].clone()).collect();
        let first_transpose = Some(order.iter().map(|&axis| axis as u32).collect());
        let layer = Layer::Shuffle {
            input: input.at,
            first_transpose,
            reshape: None,
            zero_copies: false,
            second_transpose: None,
        };
        self.typed("transpose", layer, input.data_type, shape)
    }

    /// Inserts extents of one, at `axes` of the result.
    pub fn unsqueeze(&mut self, input: &Typed, axes: &[usize]) -> Result<Typed, Refusal> {
        if axes.is_empty() {
            return Ok(input.clone());
        }
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        let mut shape = input.shape.clone();
        for &axis in &axes {
            if axis > shape.len() {
                return Err(Refusal::new(format!("axis {axis} is out of range")));
            }
            shape.insert(axis, Dim::known(1));
        }
        let layer = Layer::Unsqueeze { input: input.at, axes: axes.iter().map(|&axis| axis as u32).collect() };
        Ok(self.typed("unsqueeze", layer, input.data_type, shape))
    }

    /// Drops the extents of one at `axes`.
    pub fn squeeze(&mut self, input: &Typed, axes: &[usize]) -> Typed {
        if axes.is_empty() {
            return input.clone();
        }
        let kept = input.shape.iter().enumerate().filter(|(at, _)| !axes.contains(at));
        let shape = kept.map(|(_, dim)| dim.clone()).collect();
        let layer = Layer::Squeeze { input: input.at, axes: axes.iter().map(|&axis| axis as u32).collect() };
        self.typed("squeeze", layer, input.data_type, shape)
    }

    /// The same elements under `shape`; `terms` computes the extents where they are not known and don't follow from the input.
    pub fn reshape(
        &mut self,
        input: &Typed,
        shape: &[Dim],
        terms: impl FnOnce(&mut Self) -> Result<Vec<Term>, Refusal>,
    ) -> Result<Typed, Refusal> {
        if input.shape == shape {
            return Ok(input.clone());
        }
        let (reshape, zero_copies) = match spelled(&input.shape, shape) {
            Some((extents, zero_copies)) => (Extents::Known(extents), zero_copies),
            None => {
                let terms = terms(self)?;
                (self.extents_of(&terms)?, false)
            }
        };
        let layer = Layer::Shuffle {
            input: input.at,
            first_transpose: None,
            reshape: Some(reshape),
            zero_copies,
            second_transpose: None,
        };
        Ok(self.typed("reshape", layer, input.data_type, shape.to_vec()))
    }

    /// The same elements under a shape whose dims stand in `sources` too, or follow from them.
    pub fn reshape_from(&mut self, input: &Typed, shape: &[Dim], sources: &[&Typed]) -> Result<Typed, Refusal> {
        self.reshape(input, shape, |builder| {
            for source in sources {
                builder.sizes(source)?;
            }
            shape.iter().map(|dim| builder.term_of(dim)).collect()
        })
    }

    /// One tensor after the other along `axis`.
    pub fn concat(&mut self, inputs: &[Typed], axis: usize) -> Result<Typed, Refusal> {
        let Some(first) = inputs.first() else { return Err(Refusal::new("nothing to concatenate")) };
        if inputs.len() == 1 {
            return Ok(first.clone());
        }
        let mut shape = first.shape.clone();
        let total = inputs.iter().try_fold(Dim::known(0), |sum, input| sum.add(input.shape.get(axis)?));
        shape[axis] = total.ok_or("the extents overflow")?;
        for input in inputs {
            if input.data_type != first.data_type || input.rank() != first.rank() {
                return Err(Refusal::new("its inputs differ in type or rank"));
            }
            for (at, dim) in input.shape.iter().enumerate().filter(|(at, _)| *at != axis) {
                if shape[at].as_known().is_none() {
                    shape[at] = dim.clone();
                }
            }
        }
        let data_type = first.data_type;
        let inputs = inputs.iter().map(|input| input.at).collect();
        Ok(self.typed("concat", Layer::Concatenation { inputs, axis: axis as u32 }, data_type, shape))
    }

    /// Part of a tensor, in `mode` beyond its ends.
    pub fn slice(
        &mut self,
        input: &Typed,
        cut: &Cut,
        mode: SliceMode,
        fill: Option<TensorRef>,
        shape: Vec<Dim>,
    ) -> Result<Typed, Refusal> {
        let start = self.extents_of(&cut.start)?;
        let size = self.extents_of(&cut.size)?;
        let stride = self.extents_of(&cut.stride)?;
        let layer = Layer::Slice { input: input.at, start, size, stride, mode, fill };
        Ok(self.typed("slice", layer, input.data_type, shape))
    }

    /// Part of a tensor along one axis, from `start` on.
    pub fn part(&mut self, input: &Typed, axis: usize, start: Term, size: Term) -> Result<Typed, Refusal> {
        let rank = input.rank();
        let mut cut =
            Cut { start: vec![Term::Known(0); rank], size: self.sizes(input)?, stride: vec![Term::Known(1); rank] };
        let mut shape = input.shape.clone();
        shape[axis] = match size {
            Term::Known(size) => Dim::known(size),
            Term::At(_) => self.fresh(),
        };
        cut.start[axis] = start;
        cut.size[axis] = size;
        self.slice(input, &cut, SliceMode::Strict, None, shape)
    }

    /// The elements along `axis` from the last to the first.
    pub fn reversed(&mut self, input: &Typed, axis: usize) -> Result<Typed, Refusal> {
        let rank = input.rank();
        let mut cut =
            Cut { start: vec![Term::Known(0); rank], size: self.sizes(input)?, stride: vec![Term::Known(1); rank] };
        cut.start[axis] = self.sub(&cut.size[axis], &Term::Known(1))?;
        cut.stride[axis] = Term::Known(-1);
        self.slice(input, &cut, SliceMode::Strict, None, input.shape.clone())
    }

    /// Repeats extents of one until the tensor has `shape`, whose extents are `terms`. Both have one rank.
    pub fn expand(&mut self, input: &Typed, shape: &[Dim], terms: &[Term]) -> Result<Typed, Refusal> {
        if input.shape == shape {
            return Ok(input.clone());
        }
        let mut stride = Vec::new();
        for (at, (from, to)) in input.shape.iter().zip(shape).enumerate() {
            stride.push(match from.as_known() {
                Some(1) => Term::Known(0),
                Some(_) => Term::Known(1),
                None if from == to => Term::Known(1),
                // Zero for an extent of one, else one.
                None => {
                    let extent = self.extent(input, at)?;
                    let less = self.sub(&extent, &Term::Known(1))?;
                    self.min(&less, &Term::Known(1))?
                }
            });
        }
        let cut = Cut { start: vec![Term::Known(0); shape.len()], size: terms.to_vec(), stride };
        self.slice(input, &cut, SliceMode::Strict, None, shape.to_vec())
    }
}

/// `to` in the spelling of a reshape of `from`: 0 copies an extent, -1 is what remains; `None` when that does not say it.
fn spelled(from: &[Dim], to: &[Dim]) -> Option<(Vec<i64>, bool)> {
    if let Some(known) = to.iter().map(Dim::as_known).collect::<Option<Vec<i64>>>() {
        return Some((known, false));
    }
    let mut remaining = false;
    let mut extents = Vec::new();
    for (at, dim) in to.iter().enumerate() {
        extents.push(match dim.as_known() {
            // A zero would copy, and no extent remains beside it.
            Some(0) => return None,
            Some(known) => known,
            None if from.get(at) == Some(dim) => 0,
            None if !remaining => {
                remaining = true;
                -1
            }
            None => return None,
        });
    }
    Some((extents, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Dim> {
        text.split(',').filter_map(Dim::parse).collect()
    }

    #[test]
    fn a_reshape_copies_what_it_can_and_infers_one_extent() {
        assert_eq!(spelled(&dims("n,12,s,64"), &dims("n,12*s,64")), Some((vec![0, -1, 64], true)));
        assert_eq!(spelled(&dims("6,4"), &dims("3,8")), Some((vec![3, 8], false)));
        assert_eq!(spelled(&dims("n,s,64"), &dims("s,n,64")), None);
    }

    #[test]
    fn an_extent_of_zero_is_never_taken_for_a_copy() {
        assert_eq!(spelled(&dims("n,0"), &dims("0,n")), None);
    }
}
