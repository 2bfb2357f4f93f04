//! What flows between the steps of a program, and the memory it lives in.

use crate::simd::AlignedBuffer;
use crate::transpose::transpose;
use bytes::Bytes;
use eutectic_ir::op::Reason;
use eutectic_ir::tensor::{Data, Tensor};
use eutectic_ir::types::Element;
use std::borrow::Cow;
use std::sync::Arc;

/// In which order the elements of a value stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Row-major over the shape.
    Plain,
    /// For images `[batch, channels, spatial..]` of rank 3 and more: row-major over `[batch, spatial.., channels]`.
    ChannelsLast,
}

/// A tensor between two steps. Cheap to clone: contents are shared.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// Size of each axis, outermost first, whatever the layout.
    pub shape: Vec<usize>,
    /// Order of the elements; other than `Plain` for f32 only.
    pub layout: Layout,
    contents: Contents,
}

#[derive(Clone, Debug)]
enum Contents {
    /// f32, computed here.
    Floats(Arc<AlignedBuffer>),
    /// Anything else, or f32 that can be borrowed as such.
    Host(Tensor),
}

impl Value {
    /// f32 elements in row-major order.
    pub fn floats(shape: &[usize], elements: AlignedBuffer) -> Self {
        Self { shape: shape.to_vec(), layout: Layout::Plain, contents: Contents::Floats(Arc::new(elements)) }
    }

    /// f32 elements in channels-last order; `shape` has the channels second all the same.
    pub fn image(shape: &[usize], elements: AlignedBuffer) -> Self {
        let layout = if layouts_agree(shape) { Layout::Plain } else { Layout::ChannelsLast };
        Self { layout, ..Self::floats(shape, elements) }
    }

    /// f32 elements in the order of `layout`.
    pub fn stored(shape: &[usize], layout: Layout, elements: AlignedBuffer) -> Self {
        Self { layout, ..Self::floats(shape, elements) }
    }

    /// The same elements under another shape and layout, which must fit the order in which they stand.
    pub fn seen_as(self, shape: &[usize], layout: Layout) -> Self {
        Self { shape: shape.to_vec(), layout, ..self }
    }

    /// A tensor, whose elements stay where they are if possible.
    pub fn of_tensor(tensor: &Tensor, pool: &mut Pool) -> Result<Self, Reason> {
        count(tensor.shape())?;
        if let Data::Stored(stored) = tensor.data() {
            let read = Tensor::new(tensor.element(), tensor.shape(), stored.contents().clone());
            return Self::of_tensor(&read.map_err(|error| Reason::new(error.to_string()))?, pool);
        }
        let is_borrowable = match tensor.data() {
            Data::Bytes(bytes) => {
                tensor.element() != Element::Float || bytemuck::try_cast_slice::<u8, f32>(bytes).is_ok()
            }
            _ => tensor.element() != Element::Float,
        };
        let contents = if is_borrowable {
            Contents::Host(tensor.clone())
        } else {
            let mut elements = pool.take(tensor.count())?;
            match tensor.data() {
                Data::Splat(value) => elements.fill(f32::from_le_bytes([value[0], value[1], value[2], value[3]])),
                _ => match tensor.view::<f32>() {
                    Some(view) => elements.copy_from_slice(&view),
                    None => return Err(Reason::new("its elements are not f32")),
                },
            }
            Contents::Floats(Arc::new(elements))
        };
        Ok(Self { shape: tensor.shape().to_vec(), layout: Layout::Plain, contents })
    }

    /// The same as a tensor of the IR, row-major.
    pub fn to_tensor(&self, pool: &mut Pool) -> Result<Tensor, Reason> {
        struct Owner(Arc<AlignedBuffer>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        let plain = self.to_plain(pool)?;
        let fail = |error: eutectic_ir::tensor::TensorError| Reason::new(error.to_string());
        match plain.contents {
            Contents::Floats(elements) => {
                Tensor::new(Element::Float, &plain.shape, Bytes::from_owner(Owner(elements))).map_err(fail)
            }
            Contents::Host(tensor) if tensor.shape() == plain.shape => Ok(tensor),
            Contents::Host(tensor) => tensor.reshape(&plain.shape).map_err(fail),
        }
    }

    /// Elements of any type but strings, row-major and little-endian. Errors: the length does not fit the shape.
    pub fn host(element: Element, shape: &[usize], bytes: impl Into<Bytes>) -> Result<Self, Reason> {
        let tensor = Tensor::new(element, shape, bytes.into()).map_err(|error| Reason::new(error.to_string()))?;
        Ok(Self { shape: shape.to_vec(), layout: Layout::Plain, contents: Contents::Host(tensor) })
    }

    /// 64-bit integers.
    pub fn ints(values: &[i64]) -> Self {
        let tensor = Tensor::vector(values);
        Self { shape: vec![values.len()], layout: Layout::Plain, contents: Contents::Host(tensor) }
    }

    /// The same, row-major in name too where both layouts order the elements alike.
    pub fn normalized(self) -> Self {
        if layouts_agree(&self.shape) { Self { layout: Layout::Plain, ..self } } else { self }
    }

    /// Element type.
    pub fn element(&self) -> Element {
        match &self.contents {
            Contents::Floats(_) => Element::Float,
            Contents::Host(tensor) => tensor.element(),
        }
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements in their own layout, when they are f32.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match &self.contents {
            Contents::Floats(elements) => Some(elements),
            Contents::Host(tensor) => match tensor.data() {
                Data::Bytes(bytes) if tensor.element() == Element::Float => bytemuck::try_cast_slice(bytes).ok(),
                _ => None,
            },
        }
    }

    /// The elements as bytes, in their own layout; `None` for strings and elements narrower than a byte.
    pub fn as_bytes(&self) -> Option<Cow<'_, [u8]>> {
        match &self.contents {
            Contents::Floats(elements) => Some(Cow::Borrowed(bytemuck::cast_slice(elements))),
            Contents::Host(tensor) if tensor.element().bits() >= 8 => Some(tensor.bytes()),
            Contents::Host(_) => None,
        }
    }

    /// The elements as integers, when they are integers or truth values.
    pub fn to_ints(&self) -> Option<Vec<i64>> {
        match &self.contents {
            Contents::Host(tensor) => tensor.to_i64s(),
            Contents::Floats(_) => None,
        }
    }

    /// The only element, when there is one and it is f32.
    pub fn as_single(&self) -> Option<f32> {
        match self.as_floats() {
            Some([single]) => Some(*single),
            _ => None,
        }
    }

    /// The memory, when nobody else reads it; the value back otherwise.
    pub fn into_buffer(self) -> Result<AlignedBuffer, Value> {
        let Value { shape, layout, contents } = self;
        match contents {
            Contents::Floats(elements) => Arc::try_unwrap(elements).map_err(|elements| Value {
                shape,
                layout,
                contents: Contents::Floats(elements),
            }),
            contents => Err(Value { shape, layout, contents }),
        }
    }

    /// The same elements in row-major order.
    pub fn to_plain(&self, pool: &mut Pool) -> Result<Value, Reason> {
        if self.layout == Layout::Plain {
            return Ok(self.clone());
        }
        let Some(elements) = self.as_floats() else {
            return Err(Reason::new("only f32 images are kept channels-last"));
        };
        let (batch, channels, area) = image_extents(&self.shape);
        let mut plain = pool.take(elements.len())?;
        transpose(&[batch, area, channels], &[0, 2, 1], elements, &mut plain);
        Ok(Value::floats(&self.shape, plain))
    }

    /// The same elements in channels-last order; f32 of rank 3 and more only, `None` for others.
    pub fn to_channels_last(&self, pool: &mut Pool) -> Result<Option<Value>, Reason> {
        let Some(elements) = self.as_floats() else { return Ok(None) };
        if self.shape.len() < 3 {
            return Ok(None);
        }
        if self.layout == Layout::ChannelsLast || layouts_agree(&self.shape) {
            return Ok(Some(self.clone()));
        }
        let (batch, channels, area) = image_extents(&self.shape);
        let mut image = pool.take(elements.len())?;
        transpose(&[batch, channels, area], &[0, 2, 1], elements, &mut image);
        Ok(Some(Value::image(&self.shape, image)))
    }

    /// The same elements under another shape with as many; row-major values only.
    pub fn reshaped(&self, shape: &[usize]) -> Value {
        debug_assert!(self.layout == Layout::Plain && shape.iter().product::<usize>() == self.count());
        Value { shape: shape.to_vec(), ..self.clone() }
    }
}

/// Batch, channels, and spatial positions of an image.
pub(crate) fn image_extents(shape: &[usize]) -> (usize, usize, usize) {
    (shape[0], shape[1], shape[2..].iter().product())
}

/// True when both layouts order the elements alike: one channel, or one position.
pub(crate) fn layouts_agree(shape: &[usize]) -> bool {
    shape.len() < 3 || shape[1] == 1 || shape[2..].iter().all(|&extent| extent == 1) || shape.contains(&0)
}

/// Memory of values that are no longer read, kept for the next ones.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Vec<AlignedBuffer>,
    /// Bytes handed out or free.
    held: usize,
    limit: usize,
    exceeded: bool,
}

impl Pool {
    /// An empty pool that may hold `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { free: Vec::new(), held: 0, limit, exceeded: false }
    }

    /// Room for `len` f32; the contents are left from earlier use. Errors: the limit.
    pub fn take(&mut self, len: usize) -> Result<AlignedBuffer, Reason> {
        // The smallest that is large enough, unless it is so large that another value will miss it.
        let fits = |buffer: &&AlignedBuffer| buffer.capacity() >= len && buffer.capacity() / 4 <= len;
        let best = self.free.iter().filter(fits).map(AlignedBuffer::capacity).min();
        if let Some(at) = best.and_then(|capacity| self.free.iter().position(|buffer| buffer.capacity() == capacity)) {
            let mut buffer = self.free.swap_remove(at);
            buffer.set_len(len);
            return Ok(buffer);
        }
        self.reserve(len)?;
        Ok(AlignedBuffer::zeroed(len))
    }

    /// Accounts for `len` f32 that live outside the pool. Errors: the limit.
    pub fn reserve(&mut self, len: usize) -> Result<(), Reason> {
        let held = len.checked_mul(4).and_then(|bytes| bytes.checked_add(self.held));
        match held.filter(|&held| held <= self.limit) {
            Some(held) => {
                self.held = held;
                Ok(())
            }
            None if !self.free.is_empty() => {
                self.held = self.held.saturating_sub(self.free.drain(..).map(|buffer| 4 * buffer.capacity()).sum());
                self.reserve(len)
            }
            None => {
                self.exceeded = true;
                Err(Reason::new(format!("{len} elements exceed the memory limit of {} bytes", self.limit)))
            }
        }
    }

    /// Errors when `len` f32 more would exceed the limit.
    pub fn check(&mut self, len: usize) -> Result<(), Reason> {
        let held = self.held;
        self.reserve(len)?;
        self.held = self.held.min(held);
        Ok(())
    }

    /// Takes back the memory of `value`, when nobody else reads it.
    pub fn recycle(&mut self, value: Value) {
        if let Ok(buffer) = value.into_buffer() {
            self.put(buffer);
        }
    }

    /// Takes memory back.
    pub fn put(&mut self, buffer: AlignedBuffer) {
        self.free.push(buffer);
    }

    /// Forgets what is handed out, apart from `kept` bytes: between runs only prepared constants live.
    pub fn settle(&mut self, kept: usize) {
        self.held = kept + self.free.iter().map(|buffer| 4 * buffer.capacity()).sum::<usize>();
    }

    /// True when the limit was hit.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded
    }

    /// Bytes handed out or free.
    pub fn held(&self) -> usize {
        self.held
    }
}

/// Number of elements of `shape`. Errors: the extents that are not 0 multiply to more than the address space, so that
/// arithmetic on parts of a shape that passed here cannot overflow.
pub(crate) fn count(shape: &[usize]) -> Result<usize, Reason> {
    let extents: Vec<usize> = shape.iter().map(|&extent| extent.max(1)).collect();
    match eutectic_ir::tensor::count_of(&extents).filter(|&count| count <= isize::MAX as usize / 16) {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(count) => Ok(count),
        None => Err(Reason::new(format!("the shape {shape:?} exceeds the address space"))),
    }
}
