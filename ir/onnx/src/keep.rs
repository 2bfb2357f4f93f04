//! Large weights that stay in the model file.
//!
//! The decoder wants bytes for each field. For the data of a large tensor it gets a mark: one byte whose address tells
//! which piece of the file it stands for, so that no file can forge one.

use crate::elements::{BOOL, byte_length, element};
use crate::external::{Attached, name, tensors};
use crate::input::{OpenFile, Piece, read_all};
use crate::proto::{ModelProto, TensorProto};
use bytes::Bytes;
use eutectic_ir::diag::Diagnostic;
use eutectic_ir::stored::{Store, Stored};
use std::sync::Arc;

/// Shorter data is read at once, in bytes: shapes and scales that inference and rules look at.
pub(crate) const WORTH_KEEPING: u64 = 1 << 20;

/// The pieces of the model file that were not read.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Offset and length of each piece, in the order of the file.
    ranges: Vec<(u64, u64)>,
    /// A byte for each of them.
    marks: Bytes,
}

impl Kept {
    /// Nothing but `ranges`, offset and length in the order of the file.
    pub fn new(ranges: Vec<(u64, u64)>) -> Self {
        let marks = vec![0; ranges.len()].into();
        Self { ranges, marks }
    }

    /// What stands for the piece at offset `at`; `None` when there is none.
    pub fn mark(&self, at: u64) -> Option<Bytes> {
        let index = self.ranges.binary_search_by_key(&at, |range| range.0).ok()?;
        Some(self.marks.slice(index..=index))
    }

    /// The piece that `data` stands for.
    fn piece(&self, data: &Bytes) -> Option<(u64, u64)> {
        let index = data.as_ptr().addr().checked_sub(self.marks.as_ptr().addr())?;
        self.ranges.get(index).copied().filter(|_| !data.is_empty())
    }

    /// Puts ranges of `file` in the place of the marks in `model`. Where the data does not fit its tensor, it is read
    /// after all, so that whoever looks at it says why. Errors: `file` cannot be read.
    pub fn settle(
        &self,
        model: &mut ModelProto,
        file: &Arc<OpenFile>,
        attached: &mut Attached,
    ) -> Result<(), Diagnostic> {
        if self.ranges.is_empty() {
            return Ok(());
        }
        let store: Arc<dyn Store> = file.clone();
        let (mut unfit, mut pieces) = (Vec::new(), Vec::new());
        for tensor in tensors(model) {
            let Some((at, length)) = tensor.raw_data.as_ref().and_then(|data| self.piece(data)) else { continue };
            if may_stay(tensor, length) {
                tensor.raw_data = None;
                name(tensor, attached.stored.len());
                attached.stored.push(Arc::new(Stored::new(store.clone(), at, length as usize)));
            } else {
                unfit.push(tensor);
                pieces.push(Piece { from: file, at, length });
            }
        }
        attached.stores.push(store);
        let read = read_all(&pieces)?;
        file.still_as_opened()?;
        unfit.into_iter().zip(read).for_each(|(tensor, bytes)| tensor.raw_data = Some(bytes));
        Ok(())
    }
}

/// True when `length` bytes are the elements of `tensor`, and nothing needs a look at them.
fn may_stay(tensor: &TensorProto, length: u64) -> bool {
    let TensorProto { dims, data_type, data_location, segment, .. } = tensor;
    let whole_bytes = |code: i32| element(code).is_some_and(|(n_bits, _)| n_bits >= 8);
    let alone = tensor.float_data.is_empty()
        && tensor.double_data.is_empty()
        && tensor.int32_data.is_empty()
        && tensor.int64_data.is_empty()
        && tensor.uint64_data.is_empty()
        && tensor.string_data.is_empty();
    // Truth values are made canonical when they are read, and so are the bits behind narrow elements.
    alone
        && matches!(data_location, None | Some(0))
        && segment.is_none()
        && data_type.is_some_and(|code| code != BOOL && whole_bytes(code))
        && byte_length(dims, *data_type).is_ok_and(|expected| expected == length)
}
