//! Values beyond tensors: sequences and optionals.

/// A value whose tensors are held as `T`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<T> {
    /// A tensor.
    Tensor(T),
    /// Any number of values, in order.
    Sequence(Vec<Value<T>>),
    /// A value, or none.
    Optional(Option<Box<Value<T>>>),
}
