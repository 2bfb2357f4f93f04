//! Constants as the device has them: elements as the program stores them, axes in the order of its layouts.
//!
//! A plan only says how a constant will lie; it is laid out when the program is loaded, all constants at the same time.

use crate::view::{Scalar, row_major, strides_in_order};
use eutectic_ir::tensor::Tensor;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::borrow::Cow;

/// Contents that are known before the run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    /// As they lie on the device.
    Bytes(Vec<u8>),
    /// The elements of `tensor` as `scalar`, its axes in `order`.
    Tensor { tensor: Tensor, scalar: Scalar, order: Vec<usize> },
}

impl Constant {
    /// The bytes on the device. `None` when the elements are no numbers.
    pub fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        let (tensor, scalar, order) = match self {
            Constant::Bytes(bytes) => return Some(Cow::Borrowed(bytes)),
            Constant::Tensor { tensor, scalar, order } => (tensor, *scalar, order),
        };
        let plain = plain(tensor, scalar)?;
        if order.iter().copied().eq(0..order.len()) {
            return Some(plain);
        }
        Some(Cow::Owned(match scalar.bytes() {
            1 => permuted::<1>(&plain, tensor.shape(), order),
            2 => permuted::<2>(&plain, tensor.shape(), order),
            4 => permuted::<4>(&plain, tensor.shape(), order),
            _ => permuted::<8>(&plain, tensor.shape(), order),
        }))
    }
}

/// The elements of `tensor` as `scalar`, row-major.
fn plain(tensor: &Tensor, scalar: Scalar) -> Option<Cow<'_, [u8]>> {
    Some(Cow::Owned(match scalar {
        Scalar::F64 => joined(&tensor.to_f64s()?, f64::to_le_bytes),
        Scalar::F32 => joined(&reals(tensor)?, f32::to_le_bytes),
        Scalar::F16 => {
            let mut numbers = vec![f16::ZERO; tensor.count()];
            numbers.convert_from_f32_slice(&reals(tensor)?);
            joined(&numbers, f16::to_le_bytes)
        }
        Scalar::Bf16 => {
            let mut numbers = vec![bf16::ZERO; tensor.count()];
            numbers.convert_from_f32_slice(&reals(tensor)?);
            joined(&numbers, bf16::to_le_bytes)
        }
        // Integers and truth values lie on the device as they lie in the tensor.
        _ => match tensor.bytes() {
            Cow::Borrowed(bytes) => return Some(scalar.unpacked(Cow::Borrowed(bytes), tensor.count())),
            owned => scalar.unpacked(owned, tensor.count()).into_owned(),
        },
    }))
}

fn joined<T: Copy, const N: usize>(numbers: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut all = vec![0; numbers.len() * N];
    all.chunks_exact_mut(N).zip(numbers).for_each(|(to, &number)| to.copy_from_slice(&bytes(number)));
    all
}

/// The elements of `tensor` in float32; `None` when they are no numbers.
pub(crate) fn reals(tensor: &Tensor) -> Option<Cow<'_, [f32]>> {
    match tensor.view::<f32>() {
        Some(values) => Some(values),
        None => Some(Cow::Owned(tensor.to_f64s()?.into_iter().map(|value| value as f32).collect())),
    }
}

/// Elements of `N` bytes of a tensor of `shape` with its axes in `order`.
fn permuted<const N: usize>(bytes: &[u8], shape: &[usize], order: &[usize]) -> Vec<u8> {
    let strides = strides_in_order(shape, &row_major(shape.len()));
    let axes: Vec<(usize, usize)> = order.iter().map(|&axis| (shape[axis], strides[axis])).collect();
    let Some((&(inner, step), outer)) = axes.split_last() else { return bytes.to_vec() };
    let mut all = Vec::with_capacity(bytes.len());
    let mut index = vec![0usize; outer.len()];
    let mut at = 0;
    while all.len() < bytes.len() {
        for position in 0..inner {
            all.extend_from_slice(&bytes[(at + position * step) * N..][..N]);
        }
        for (index, &(size, step)) in index.iter_mut().zip(outer).rev() {
            *index += 1;
            at += step;
            if *index < size {
                break;
            }
            at -= step * size;
            *index = 0;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::channels_last;

    #[test]
    fn axes_and_elements_are_those_of_the_device() {
        let numbers: Vec<f32> = (0..2 * 3 * 4).map(|at| at as f32).collect();
        let tensor = Tensor::from_vec(&[2, 3, 2, 2], numbers).expect("it fits");
        let of = |scalar, order: Vec<usize>| {
            let constant = Constant::Tensor { tensor: tensor.clone(), scalar, order };
            constant.bytes().expect("numbers").into_owned()
        };
        let last: Vec<f32> = of(Scalar::F32, channels_last(4))
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(std::array::from_fn(|at| bytes[at])))
            .collect();
        assert_eq!(last[..6], [0.0, 4.0, 8.0, 1.0, 5.0, 9.0], "the channels of the first pixel, then of the second");
        assert_eq!(last[23], 23.0);
        let halves: Vec<f32> = of(Scalar::F16, row_major(4))
            .chunks_exact(2)
            .map(|bytes| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
            .collect();
        assert_eq!(halves, (0..24).map(|at| at as f32).collect::<Vec<f32>>());
    }
}
