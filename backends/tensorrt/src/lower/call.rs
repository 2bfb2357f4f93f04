//! One call as its lowering sees it.

use super::operand::Operand;
use super::refusal::Refusal;
use eutectic_ir::types::normalize_axis;
use eutectic_ir::{Attrs, Dim, TensorType};

/// One input of a call.
#[derive(Clone, Debug)]
pub(super) struct Arg {
    /// The value.
    pub value: Operand,
    /// Its elements, as far as inference tells, for small integer tensors.
    pub content: Option<Vec<Dim>>,
}

impl Arg {
    /// Its elements as integers, when all are known.
    pub fn ints(&self) -> Option<Vec<i64>> {
        match &self.content {
            Some(content) => content.iter().map(Dim::as_known).collect(),
            None => self.value.weight()?.tensor.to_i64s(),
        }
    }
}

/// One call. Attributes are read with the defaults of ONNX, since an operator that the table lacks has only those given.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// Attributes.
    pub attrs: &'a Attrs,
    /// Inputs by position.
    pub args: Vec<Option<Arg>>,
    /// Types of the outputs, as far as inferred.
    pub types: Vec<Option<TensorType>>,
    /// Which outputs are read.
    pub used: Vec<bool>,
}

impl Call<'_> {
    /// Input `index`. Errors: left out.
    pub fn arg(&self, index: usize) -> Result<&Arg, Refusal> {
        self.given(index).ok_or_else(|| Refusal::new(format!("input {index} is missing")))
    }

    /// The value of input `index`. Errors: left out.
    pub fn value(&self, index: usize) -> Result<&Operand, Refusal> {
        Ok(&self.arg(index)?.value)
    }

    /// Input `index`, when it is given.
    pub fn given(&self, index: usize) -> Option<&Arg> {
        self.args.get(index).and_then(Option::as_ref)
    }

    /// Every input that is given.
    pub fn values(&self) -> Vec<&Operand> {
        self.args.iter().flatten().map(|arg| &arg.value).collect()
    }

    /// Integer attribute `name`.
    pub fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attrs.int(name).unwrap_or(otherwise)
    }

    /// Float attribute `name`.
    pub fn float(&self, name: &str, otherwise: f32) -> f32 {
        self.attrs.float(name).unwrap_or(otherwise)
    }

    /// String attribute `name`.
    pub fn string(&self, name: &str, otherwise: &'static str) -> &str {
        self.attrs.string(name).unwrap_or(otherwise)
    }

    /// `axis` among `rank` axes. Errors: out of range.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        normalize_axis(axis, rank).ok_or_else(|| Refusal::new(format!("axis {axis} is out of range for rank {rank}")))
    }

    /// The integers that input `index` or, in older operator sets, attribute `name` holds; `None` when neither is given.
    /// Errors: they are computed.
    pub fn list(&self, index: usize, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        match self.given(index) {
            Some(arg) => match arg.ints() {
                Some(ints) => Ok(Some(ints)),
                None => Err(Refusal::new(format!("its {name} are computed")).instead(format!("constant {name}"))),
            },
            None => Ok(self.attrs.ints(name).map(<[i64]>::to_vec)),
        }
    }

    /// The axes of input `index` or attribute `name`, in `0..rank`. Errors: computed or out of range.
    pub fn axes(&self, index: usize, name: &str, rank: usize) -> Result<Option<Vec<usize>>, Refusal> {
        let Some(axes) = self.list(index, name)? else { return Ok(None) };
        axes.into_iter().map(|axis| self.axis(axis, rank)).collect::<Result<_, _>>().map(Some)
    }

    /// Extents of output `index`, as far as inferred.
    pub fn shape(&self, index: usize) -> Option<&[Dim]> {
        Some(&self.types.get(index)?.as_ref()?.shape)
    }

    /// Errors when an output other than the first is read.
    pub fn only_first(&self) -> Result<(), Refusal> {
        match self.used.iter().skip(1).position(|used| *used) {
            Some(at) => {
                Err(Refusal::new(format!("its output {} is read", at + 1)).instead("read the first output only"))
            }
            None => Ok(()),
        }
    }

    /// Errors unless string attribute `name` is one of `allowed`, the first being its default.
    pub fn one_of(&self, name: &str, allowed: &[&'static str]) -> Result<(), Refusal> {
        let value = self.string(name, allowed.first().copied().unwrap_or_default());
        if allowed.contains(&value) {
            return Ok(());
        }
        Err(Refusal::new(format!("its {name} is {value}")).instead(format!("{name} {}", allowed.join(" or "))))
    }
}
