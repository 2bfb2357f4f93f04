//! Arithmetic on extents: known numbers are computed now, the others by layers that TensorRT runs on the host.

use super::builder::Builder;
use super::call::Arg;
use super::operand::{Operand, Typed};
use super::refusal::Refusal;
use crate::layer::{ElementWiseKind, Extents, GatherMode, Layer, Steps};
use crate::spec::{DataType, TensorRef};
use eutectic_ir::Dim;

/// One extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// Known now.
    Known(i64),
    /// A tensor of I64 with one dim of one element.
    At(TensorRef),
}

impl Builder {
    /// The extent of `tensor` along `axis`.
    pub fn extent(&mut self, tensor: &Typed, axis: usize) -> Result<Term, Refusal> {
        let dim = tensor.shape.get(axis).ok_or("an axis beyond the rank")?;
        if let Some(known) = dim.as_known() {
            return Ok(Term::Known(known));
        }
        if let Some(&known) = self.extents.get(dim) {
            return Ok(Term::At(known));
        }
        let shape = self.shape_of(tensor);
        let at = self.element(shape, axis)?;
        self.extents.insert(dim.clone(), at);
        Ok(Term::At(at))
    }

    /// All extents of `tensor`.
    pub fn sizes(&mut self, tensor: &Typed) -> Result<Vec<Term>, Refusal> {
        (0..tensor.rank()).map(|axis| self.extent(tensor, axis)).collect()
    }

    /// The extents of `tensor` as a vector of I64.
    pub fn shape_of(&mut self, tensor: &Typed) -> TensorRef {
        if let Some(&known) = self.shapes.get(&tensor.at) {
            return known;
        }
        let shape = self.layer("shape", Layer::Shape { input: tensor.at });
        self.shapes.insert(tensor.at, shape);
        shape
    }

    /// The term of a dim that some tensor has been asked for already. Errors: none has.
    pub fn term_of(&mut self, dim: &Dim) -> Result<Term, Refusal> {
        match dim.as_known() {
            Some(known) => Ok(Term::Known(known)),
            None => match self.extents.get(dim) {
                Some(&at) => Ok(Term::At(at)),
                None => Err(Refusal::new(format!("the extent {dim} is not computed by any layer"))),
            },
        }
    }

    /// The elements of a small integer tensor.
    pub fn terms(&mut self, arg: &Arg) -> Result<Vec<Term>, Refusal> {
        if let Some(known) = arg.ints() {
            return Ok(known.into_iter().map(Term::Known).collect());
        }
        let Operand::Tensor(tensor) = &arg.value else { return Err(Refusal::new("its contents are not integers")) };
        let shape = tensor.sizes();
        let count = match shape.as_deref() {
            Some([]) => 1,
            Some([count]) => *count,
            _ => return Err(Refusal::new("the number of extents is not known").instead("a shape of constant length")),
        };
        let vector = self.cast(tensor, DataType::I64);
        let vector = if vector.rank() == 0 { self.unsqueeze(&vector, &[0])? } else { vector };
        let mut terms = Vec::new();
        for at in 0..usize::try_from(count).unwrap_or(0) {
            let dim = arg.content.as_ref().and_then(|content| content.get(at)).cloned();
            terms.push(match dim.as_ref().map(|dim| (dim.as_known(), self.extents.get(dim))) {
                Some((Some(known), _)) => Term::Known(known),
                Some((None, Some(&known))) => Term::At(known),
                _ => {
                    let one = self.element(vector.at, at)?;
                    if let Some(dim) = dim {
                        self.extents.insert(dim, one);
                    }
                    Term::At(one)
                }
            });
        }
        Ok(terms)
    }

    /// Element `at` of a vector, as a vector of one.
    fn element(&mut self, vector: TensorRef, at: usize) -> Result<TensorRef, Refusal> {
        let index = self.vector(&[i64::try_from(at).unwrap_or(i64::MAX)])?;
        let layer =
            Layer::Gather { data: vector, indices: index.at, mode: GatherMode::Default, axis: 0, batch_dims: 0 };
        Ok(self.layer("extent", layer))
    }

    /// A term as a vector of one.
    pub fn term(&mut self, term: &Term) -> Result<Typed, Refusal> {
        match term {
            Term::Known(known) => self.vector(&[*known]),
            Term::At(at) => Ok(Typed { at: *at, data_type: DataType::I64, shape: vec![Dim::known(1)] }),
        }
    }

    /// Terms as a layer wants them.
    pub fn extents_of(&mut self, terms: &[Term]) -> Result<Extents, Refusal> {
        let known = terms.iter().map(|term| if let Term::Known(known) = term { Some(*known) } else { None });
        if let Some(known) = known.collect::<Option<Vec<i64>>>() {
            return Ok(Extents::Known(known));
        }
        Ok(Extents::Computed(self.vector_of(terms)?.at))
    }

    /// Terms as a vector of I64.
    pub fn vector_of(&mut self, terms: &[Term]) -> Result<Typed, Refusal> {
        let mut parts = Vec::new();
        let mut run = Vec::new();
        for term in terms {
            match term {
                Term::Known(known) => run.push(*known),
                Term::At(_) => {
                    if !run.is_empty() {
                        parts.push(self.vector(&std::mem::take(&mut run))?);
                    }
                    parts.push(self.term(term)?);
                }
            }
        }
        if !run.is_empty() || parts.is_empty() {
            parts.push(self.vector(&run)?);
        }
        self.concat(&parts, 0)
    }

    fn combine(
        &mut self,
        kind: ElementWiseKind,
        now: fn(i64, i64) -> Option<i64>,
        a: &Term,
        b: &Term,
    ) -> Result<Term, Refusal> {
        if let (Term::Known(a), Term::Known(b)) = (a, b) {
            return now(*a, *b).map(Term::Known).ok_or_else(|| Refusal::new("an extent overflows"));
        }
        let (a, b) = (self.term(a)?, self.term(b)?);
        Ok(Term::At(self.pair(kind, &a, &b)?.at))
    }

    /// `a + b`.
    pub fn add(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        match (a, b) {
            (Term::Known(0), other) | (other, Term::Known(0)) => Ok(*other),
            _ => self.combine(ElementWiseKind::Sum, i64::checked_add, a, b),
        }
    }

    /// `a - b`.
    pub fn sub(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        match (a, b) {
            (other, Term::Known(0)) => Ok(*other),
            _ => self.combine(ElementWiseKind::Subtract, i64::checked_sub, a, b),
        }
    }

    /// `a b`.
    pub fn mul(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        match (a, b) {
            (Term::Known(1), other) | (other, Term::Known(1)) => Ok(*other),
            _ => self.combine(ElementWiseKind::Product, i64::checked_mul, a, b),
        }
    }

    /// The smaller.
    pub fn min(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        self.combine(ElementWiseKind::Min, |a, b| Some(a.min(b)), a, b)
    }

    /// The larger.
    pub fn max(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        self.combine(ElementWiseKind::Max, |a, b| Some(a.max(b)), a, b)
    }

    /// The ceiling of `a / b` for a positive `b` known now.
    pub fn ceil_div(&mut self, a: &Term, b: i64) -> Result<Term, Refusal> {
        if b == 1 {
            return Ok(*a);
        }
        let raised = self.add(a, &Term::Known(b - 1))?;
        self.floor_div(&raised, &Term::Known(b))
    }

    /// The floor of `a / b`.
    pub fn floor_div(&mut self, a: &Term, b: &Term) -> Result<Term, Refusal> {
        let floor = |a: i64, b: i64| {
            let quotient = a.checked_div(b)?;
            let is_below = a.checked_rem(b)? != 0 && (a < 0) != (b < 0);
            quotient.checked_sub(i64::from(is_below))
        };
        self.combine(ElementWiseKind::FloorDivide, floor, a, b)
    }

    /// 0, 1, 2 and so on, `length` numbers of I64.
    pub fn count_up(&mut self, length: &Term, dim: &Dim) -> Result<Typed, Refusal> {
        let length: Extents = self.extents_of(std::slice::from_ref(length))?;
        let layer = Layer::Range { length, steps: Steps::Int { start: 0, delta: 1 } };
        Ok(self.typed("range", layer, DataType::I64, vec![dim.clone()]))
    }

    /// A computed index counted from the front: `extent` is added where it is negative.
    pub fn counted_from_front(&mut self, index: &Term, extent: &Term) -> Result<Term, Refusal> {
        let (index, zero) = (self.term(index)?, self.vector(&[0])?);
        let shifted = self.term(extent)?;
        let shifted = self.pair(ElementWiseKind::Sum, &index, &shifted)?;
        let is_negative = self.pair(ElementWiseKind::Less, &index, &zero)?;
        Ok(Term::At(self.select(&is_negative.into(), &shifted.into(), &index.into())?.at))
    }
}
