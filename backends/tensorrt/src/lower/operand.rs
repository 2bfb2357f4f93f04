//! What lowering knows of a value: its contents, or the tensor that holds it and its type.

use super::refusal::Refusal;
use crate::spec::{DataType, TensorRef};
use eutectic_ir::tensor::Data;
use eutectic_ir::{Dim, Element, Tensor};

/// A tensor of the network with the type that lowering gave it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Typed {
    /// The tensor.
    pub at: TensorRef,
    /// Its element type.
    pub data_type: DataType,
    /// Its extents.
    pub shape: Vec<Dim>,
}

impl Typed {
    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// All extents, when they are known.
    pub fn sizes(&self) -> Option<Vec<i64>> {
        self.shape.iter().map(Dim::as_known).collect()
    }
}

/// Contents that are known now. They become a layer only where one is needed.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// The contents.
    pub tensor: Tensor,
    /// Same for weights that share their bytes, whatever their shape.
    pub key: u32,
    /// Name of the value; may be empty.
    pub name: String,
}

impl Weight {
    /// Extents.
    pub fn sizes(&self) -> Vec<i64> {
        self.tensor.shape().iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
    }

    /// The same bytes with other extents; the count must be the same.
    pub fn reshaped(&self, sizes: &[i64]) -> Result<Weight, Refusal> {
        let shape: Option<Vec<usize>> = sizes.iter().map(|&size| usize::try_from(size).ok()).collect();
        let tensor = shape.and_then(|shape| self.tensor.reshape(&shape).ok());
        let tensor =
            tensor.ok_or_else(|| Refusal::new(format!("{:?} does not fill {sizes:?}", self.tensor.shape())))?;
        Ok(Weight { tensor, ..self.clone() })
    }

    /// Whether every element is zero; looks at small tensors only.
    pub fn is_zero(&self) -> bool {
        const SMALL: usize = 1 << 16;
        match self.tensor.data() {
            Data::Splat(bytes) => bytes.iter().all(|&byte| byte == 0),
            Data::Bytes(bytes) => bytes.len() <= SMALL && bytes.iter().all(|&byte| byte == 0),
            Data::Seeded(_) | Data::Strings(_) | Data::Stored(_) => false,
        }
    }
}

/// A value that a call reads or returns.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Contents.
    Weight(Weight),
    /// A tensor.
    Tensor(Typed),
}

impl Operand {
    /// Its extents.
    pub fn shape(&self) -> Vec<Dim> {
        match self {
            Operand::Weight(weight) => weight.tensor.shape().iter().map(|&size| size.into()).collect(),
            Operand::Tensor(tensor) => tensor.shape.clone(),
        }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        match self {
            Operand::Weight(weight) => weight.tensor.shape().len(),
            Operand::Tensor(tensor) => tensor.rank(),
        }
    }

    /// Its contents, when they are known.
    pub fn weight(&self) -> Option<&Weight> {
        match self {
            Operand::Weight(weight) => Some(weight),
            Operand::Tensor(_) => None,
        }
    }

    /// Its element type. Errors: TensorRT has no such type.
    pub fn data_type(&self) -> Result<DataType, Refusal> {
        match self {
            Operand::Weight(weight) => data_type(weight.tensor.element()),
            Operand::Tensor(tensor) => Ok(tensor.data_type),
        }
    }

    /// Its one element, when it is known and there is one.
    pub fn single(&self) -> Option<f64> {
        self.weight().filter(|weight| weight.tensor.count() == 1)?.tensor.as_single()
    }
}

impl From<Typed> for Operand {
    fn from(tensor: Typed) -> Self {
        Operand::Tensor(tensor)
    }
}

impl From<Weight> for Operand {
    fn from(weight: Weight) -> Self {
        Operand::Weight(weight)
    }
}

/// TensorRT's name of an element type. Errors: it has none.
pub(super) fn data_type(element: Element) -> Result<DataType, Refusal> {
    Ok(match element {
        Element::Float => DataType::F32,
        Element::Float16 => DataType::F16,
        Element::Bfloat16 => DataType::Bf16,
        Element::Int8 => DataType::I8,
        Element::Int32 => DataType::I32,
        Element::Int64 => DataType::I64,
        Element::Bool => DataType::Bool,
        Element::Uint8 => DataType::U8,
        Element::Float8E4M3FN => DataType::F8E4M3,
        Element::Int4 => DataType::I4,
        Element::Float4E2M1 => DataType::F4E2M1,
        Element::Float8E8M0 => DataType::F8E8M0,
        Element::Double => return Err(Refusal::new("TensorRT has no double").instead("cast to float")),
        other => {
            let nearest = if other.is_integer() { "int32 or int64" } else { "float" };
            return Err(Refusal::new(format!("TensorRT has no {other}")).instead(format!("use {nearest}")));
        }
    })
}

/// The element type that TensorRT calls `data_type`.
pub(super) fn element(data_type: DataType) -> Element {
    match data_type {
        DataType::F32 => Element::Float,
        DataType::F16 => Element::Float16,
        DataType::Bf16 => Element::Bfloat16,
        DataType::I8 => Element::Int8,
        DataType::I32 => Element::Int32,
        DataType::I64 => Element::Int64,
        DataType::Bool => Element::Bool,
        DataType::U8 => Element::Uint8,
        DataType::F8E4M3 => Element::Float8E4M3FN,
        DataType::I4 => Element::Int4,
        DataType::F4E2M1 => Element::Float4E2M1,
        DataType::F8E8M0 => Element::Float8E8M0,
    }
}

/// Unsigned bytes as 32-bit integers.
pub(super) fn widened(weight: &Weight) -> Result<Weight, Refusal> {
    let wrong = || Refusal::new("its bytes are not numbers");
    let values: Vec<i32> = weight.tensor.to_i64s().ok_or_else(wrong)?.into_iter().map(|value| value as i32).collect();
    let tensor = Tensor::from_vec(weight.tensor.shape(), values).map_err(|error| error.to_string())?;
    // Another key than that of the bytes; negative ones are not given out.
    Ok(Weight { tensor, key: !weight.key, name: weight.name.clone() })
}

/// Whether it is a floating-point type.
pub(super) fn is_real(data_type: DataType) -> bool {
    matches!(data_type, DataType::F32 | DataType::F16 | DataType::Bf16)
}
