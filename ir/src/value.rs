//! Values that are not always tensors: sequences and optional values, over whatever holds a tensor.

/// A value at run time. `T` is what holds a tensor: a [`Tensor`](crate::Tensor) at the border of a model, a
/// [`Datum`](crate::eval::Datum) inside the interpreter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<T> {
    /// A tensor.
    Tensor(T),
    /// Values of one type, in order.
    Sequence(Vec<Value<T>>),
    /// A value, or none.
    Optional(Option<Box<Value<T>>>),
}

impl<T> Value<T> {
    /// The tensor, when it is one.
    pub fn tensor(&self) -> Option<&T> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The same for a value that is given away.
    pub fn into_tensor(self) -> Option<T> {
        match self {
            Value::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Tensor(_) => "a tensor",
            Value::Sequence(_) => "a sequence",
            Value::Optional(_) => "an optional value",
        }
    }

    /// The same value with each tensor replaced by what `change` makes of it. Stops at the first error.
    pub fn try_map<U, E>(&self, change: &mut impl FnMut(&T) -> Result<U, E>) -> Result<Value<U>, E> {
        Ok(match self {
            Value::Tensor(tensor) => Value::Tensor(change(tensor)?),
            Value::Sequence(items) => {
                Value::Sequence(items.iter().map(|item| item.try_map(change)).collect::<Result<_, E>>()?)
            }
            Value::Optional(held) => {
                Value::Optional(held.as_ref().map(|held| held.try_map(change).map(Box::new)).transpose()?)
            }
        })
    }

    /// Every tensor in it, in order.
    pub fn tensors(&self) -> Vec<&T> {
        match self {
            Value::Tensor(tensor) => vec![tensor],
            Value::Sequence(items) => items.iter().flat_map(Value::tensors).collect(),
            Value::Optional(held) => held.iter().flat_map(|held| held.tensors()).collect(),
        }
    }
}

impl<T> From<T> for Value<T> {
    fn from(tensor: T) -> Self {
        Value::Tensor(tensor)
    }
}
