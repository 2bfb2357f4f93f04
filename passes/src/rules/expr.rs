//! Expressions of rules: conditions, computed attributes, dims as values.
//!
//! An expression sees the types of the matched values, their attributes, single-element constants and small integer
//! vectors. Of other weights it learns what functions of the vocabulary tell, never their contents. Not being able to tell
//! is a reason, never a guess.

use super::Var;
use super::vocabulary::Function;
use eutectic_ir::tensor::Tensor;
use eutectic_ir::{Attr, AttrKind, Dim, Element, Name, Reason, TensorType};
use std::fmt;

/// An expression.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A literal.
    Literal(Value),
    /// A list.
    List(Vec<Expr>),
    /// A matched value.
    Var(Var),
    /// An attribute of the matched call at this position of the pattern.
    Attr(usize, Name),
    /// An operator between two.
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// A function of the vocabulary.
    Apply(&'static Function, Vec<Expr>),
}

/// The operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    /// Of integers the floor.
    Div,
    Rem,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Within four units in the last place of the left side's element type.
    Near,
}

/// What an expression evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An integer or a symbolic dim.
    Int(Dim),
    /// A real number, with the element type it was read from; single precision for literals and attributes.
    Real(f64, Element),
    /// A string.
    Text(Name),
    /// An element type.
    Element(Element),
    /// A list.
    List(Vec<Value>),
    /// A value of the graph.
    Tensor(Var),
    /// An attribute that a call leaves out, or an input that it leaves out.
    Absent,
    /// An attribute of a kind that expressions only pass on.
    Attr(Attr),
}

/// What expressions may ask about the variables of a match.
pub trait Known {
    /// The type of the value. Errors: unbound, left out, or not known.
    fn ty(&self, var: Var) -> Result<&TensorType, Reason>;
    /// True when the value is a weight, or computed from weights alone.
    fn is_constant(&self, var: Var) -> bool;
    /// The tensor, when the value is a weight.
    fn weight(&self, var: Var) -> Option<&Tensor>;
    /// The element, when the value is a constant of one element.
    fn scalar(&self, var: Var) -> Option<f64>;
    /// The number that every element is, when the value is a weight that is stored as this one number.
    fn splat(&self, var: Var) -> Option<f64>;
    /// The elements, when the value is an integer vector or scalar whose elements are known as dims.
    fn content(&self, var: Var) -> Option<Vec<Dim>>;
    /// How many values the variable stands for: 0 when left out, any number for a rest.
    fn n_values(&self, var: Var) -> usize;
    /// True when both stand for the same value.
    fn same(&self, a: Var, b: Var) -> bool;
    /// True when the value of `a` comes before that of `b` in the host's order.
    fn precedes(&self, a: Var, b: Var) -> bool;
    /// The attribute of the matched call at this position of the pattern.
    fn attr(&self, call: usize, name: &str) -> Option<&Attr>;
}

impl Expr {
    /// Its value. Errors: why it has none.
    pub fn evaluate(&self, known: &dyn Known) -> Result<Value, Reason> {
        match self {
            Expr::Literal(value) => Ok(value.clone()),
            Expr::List(items) => {
                items.iter().map(|item| item.evaluate(known)).collect::<Result<_, _>>().map(Value::List)
            }
            Expr::Var(var) => Ok(if known.n_values(*var) == 0 { Value::Absent } else { Value::Tensor(*var) }),
            Expr::Attr(call, name) => Ok(known.attr(*call, name).map_or(Value::Absent, Value::of_attr)),
            Expr::Binary(operator, a, b) => operator.apply(a.evaluate(known)?, b.evaluate(known)?, known),
            Expr::Apply(function, args) => {
                let args = args.iter().map(|arg| arg.evaluate(known)).collect::<Result<Vec<_>, _>>()?;
                (function.eval)(known, &args)
            }
        }
    }

    /// Calls `visit` with every variable and every attribute in it.
    pub fn each_mention(&self, visit: &mut dyn FnMut(Mention)) {
        match self {
            Expr::Literal(_) => {}
            Expr::Var(var) => visit(Mention::Var(*var)),
            Expr::Attr(call, name) => visit(Mention::Attr(*call, name)),
            Expr::List(items) | Expr::Apply(_, items) => items.iter().for_each(|item| item.each_mention(visit)),
            Expr::Binary(_, a, b) => {
                a.each_mention(visit);
                b.each_mention(visit);
            }
        }
    }
}

/// What an expression mentions.
#[derive(Clone, Copy, Debug)]
pub enum Mention<'a> {
    /// A variable.
    Var(Var),
    /// An attribute of the call at this position of the pattern.
    Attr(usize, &'a Name),
}

impl Value {
    /// An integer.
    pub fn int(value: i64) -> Self {
        Value::Int(Dim::known(value))
    }

    /// A list of integers.
    pub fn ints(values: impl IntoIterator<Item = i64>) -> Self {
        Value::List(values.into_iter().map(Value::int).collect())
    }

    /// A list of dims.
    pub fn dims(values: impl IntoIterator<Item = Dim>) -> Self {
        Value::List(values.into_iter().map(Value::Int).collect())
    }

    /// The value of an attribute.
    pub fn of_attr(attr: &Attr) -> Self {
        match attr {
            Attr::Int(value) => Value::int(*value),
            Attr::Float(value) => Value::Real(f64::from(*value), Element::Float),
            Attr::String(value) => Value::Text(value.clone()),
            Attr::Ints(values) => Value::ints(values.iter().copied()),
            Attr::Floats(values) => {
                Value::List(values.iter().map(|value| Value::Real(f64::from(*value), Element::Float)).collect())
            }
            Attr::Strings(values) => Value::List(values.iter().cloned().map(Value::Text).collect()),
            other => Value::Attr(other.clone()),
        }
    }

    /// The value as an attribute of `kind`; `None` when it is absent. Errors: another kind, or a symbolic dim.
    pub fn to_attr(&self, kind: AttrKind) -> Result<Option<Attr>, Reason> {
        let wrong = || Reason(format!("{self} does not make an attribute of kind {}", kind.text()));
        Ok(Some(match (self, kind) {
            (Value::Absent, _) => return Ok(None),
            (Value::Attr(attr), kind) if attr.kind() == kind => attr.clone(),
            (Value::Bool(value), AttrKind::Int) => Attr::Int(i64::from(*value)),
            (Value::Element(element), AttrKind::Int) => Attr::Int(i64::from(element.code())),
            (Value::Int(_), AttrKind::Int) => Attr::Int(self.as_int()?),
            // Attributes are single precision: a number of a double-precision tensor must not be rounded on the way.
            (Value::Real(value, Element::Double), AttrKind::Float) if f64::from(*value as f32) != *value => {
                return Err(Reason(format!("single precision does not hold {value}")));
            }
            (Value::Int(_) | Value::Real(..), AttrKind::Float) => Attr::Float(self.as_real()? as f32),
            (Value::Text(text), AttrKind::String) => Attr::String(text.clone()),
            (Value::List(_), AttrKind::Ints) => Attr::Ints(self.as_ints()?.into()),
            (Value::List(items), AttrKind::Floats) => {
                Attr::Floats(items.iter().map(|item| Ok(item.as_real()? as f32)).collect::<Result<_, Reason>>()?)
            }
            (Value::List(items), AttrKind::Strings) => Attr::Strings(
                items.iter().map(|item| item.as_text().cloned()).collect::<Option<_>>().ok_or_else(wrong)?,
            ),
            _ => return Err(wrong()),
        }))
    }

    /// The truth value. Errors: anything else.
    pub fn as_bool(&self) -> Result<bool, Reason> {
        match self {
            Value::Bool(value) => Ok(*value),
            _ => Err(Reason(format!("a truth value is expected, found {self}"))),
        }
    }

    /// The dim. Errors: not an integer.
    pub fn as_dim(&self) -> Result<&Dim, Reason> {
        match self {
            Value::Int(dim) => Ok(dim),
            _ => Err(Reason(format!("an integer is expected, found {self}"))),
        }
    }

    /// The integer. Errors: not an integer, or symbolic.
    pub fn as_int(&self) -> Result<i64, Reason> {
        let dim = self.as_dim()?;
        dim.as_known().ok_or_else(|| Reason(format!("the dim {dim} is not known")))
    }

    /// The number. Errors: not a number, or symbolic.
    pub fn as_real(&self) -> Result<f64, Reason> {
        match self {
            Value::Real(value, _) => Ok(*value),
            _ => Ok(self.as_int()? as f64),
        }
    }

    /// The list. Errors: anything else.
    pub fn as_list(&self) -> Result<&[Value], Reason> {
        match self {
            Value::List(items) => Ok(items),
            _ => Err(Reason(format!("a list is expected, found {self}"))),
        }
    }

    /// The list of dims. Errors: anything else.
    pub fn as_dims(&self) -> Result<Vec<Dim>, Reason> {
        self.as_list()?.iter().map(|item| item.as_dim().cloned()).collect()
    }

    /// The list of integers. Errors: anything else, or a symbolic item.
    pub fn as_ints(&self) -> Result<Vec<i64>, Reason> {
        self.as_list()?.iter().map(Value::as_int).collect()
    }

    /// The matched value. Errors: anything else.
    pub fn as_var(&self) -> Result<Var, Reason> {
        match self {
            Value::Tensor(var) => Ok(*var),
            _ => Err(Reason(format!("a value of the graph is expected, found {self}"))),
        }
    }

    /// The element type; also from its code. Errors: anything else.
    pub fn as_element(&self) -> Result<Element, Reason> {
        match self {
            Value::Element(element) => Ok(*element),
            Value::Int(_) => {
                let code = self.as_int()?;
                i32::try_from(code)
                    .ok()
                    .and_then(Element::from_code)
                    .ok_or_else(|| Reason(format!("{code} is not an element type")))
            }
            _ => Err(Reason(format!("an element type is expected, found {self}"))),
        }
    }

    fn as_text(&self) -> Option<&Name> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(dim) => write!(f, "{dim}"),
            Value::Real(value, _) => write!(f, "{value}"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Element(element) => write!(f, "{element}"),
            Value::Tensor(_) => f.write_str("a value of the graph"),
            Value::Absent => f.write_str("nothing"),
            Value::Attr(attr) => write!(f, "an attribute of kind {}", attr.kind().text()),
            Value::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Binary {
    /// As rules spell it.
    pub fn text(self) -> &'static str {
        match self {
            Binary::Add => "+",
            Binary::Sub => "-",
            Binary::Mul => "*",
            Binary::Div => "/",
            Binary::Rem => "%",
            Binary::Eq => "==",
            Binary::Ne => "!=",
            Binary::Lt => "<",
            Binary::Le => "<=",
            Binary::Gt => ">",
            Binary::Ge => ">=",
            Binary::Near => "~",
        }
    }

    /// The result. Errors: the kinds do not fit, overflow, or it is not known.
    pub fn apply(self, a: Value, b: Value, known: &dyn Known) -> Result<Value, Reason> {
        match self {
            Binary::Add | Binary::Sub | Binary::Mul | Binary::Div | Binary::Rem => self.arithmetic(&a, &b),
            Binary::Eq => equal(&a, &b, known).map(Value::Bool),
            Binary::Ne => equal(&a, &b, known).map(|equal| Value::Bool(!equal)),
            Binary::Near => near(&a, &b).map(Value::Bool),
            Binary::Lt => Ok(Value::Bool(a.as_real()? < b.as_real()?)),
            Binary::Le => Ok(Value::Bool(a.as_real()? <= b.as_real()?)),
            Binary::Gt => Ok(Value::Bool(a.as_real()? > b.as_real()?)),
            Binary::Ge => Ok(Value::Bool(a.as_real()? >= b.as_real()?)),
        }
    }

    fn arithmetic(self, a: &Value, b: &Value) -> Result<Value, Reason> {
        if let (Value::Int(x), Value::Int(y)) = (a, b) {
            let result = match self {
                Binary::Add => x.add(y),
                Binary::Sub => x.sub(y),
                Binary::Mul => x.mul(y),
                Binary::Div => x.floor_div(y),
                _ => x.floor_div(y).and_then(|q| x.sub(&q.mul(y)?)),
            };
            return result.map(Value::Int).ok_or_else(|| Reason(format!("{a} and {b} have no such result in 64 bits")));
        }
        let (x, y) = (a.as_real()?, b.as_real()?);
        let is_double = |value: &Value| matches!(value, Value::Real(_, Element::Double));
        let element = match (a, b) {
            _ if is_double(a) || is_double(b) => Element::Double,
            (Value::Real(_, element), _) | (_, Value::Real(_, element)) => *element,
            _ => Element::Float,
        };
        Ok(Value::Real(
            match self {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div => x / y,
                _ => x % y,
            },
            element,
        ))
    }
}

// Two dims that hold unknown symbols are only equal when they are the same symbol; different forms may still be equal
// numbers, so their inequality is not known.
fn equal(a: &Value, b: &Value, known: &dyn Known) -> Result<bool, Reason> {
    match (a, b) {
        (Value::Int(x), Value::Int(y)) if x == y => Ok(true),
        (Value::Int(x), Value::Int(y)) => match (x.as_known(), y.as_known()) {
            (Some(_), Some(_)) => Ok(false),
            _ => Err(Reason(format!("it is not known whether {x} equals {y}"))),
        },
        (Value::Tensor(x), Value::Tensor(y)) => Ok(known.same(*x, *y)),
        (Value::List(x), Value::List(y)) => {
            if x.len() != y.len() {
                return Ok(false);
            }
            for (x, y) in x.iter().zip(y) {
                if !equal(x, y, known)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Absent, _) | (_, Value::Absent) => Ok(matches!((a, b), (Value::Absent, Value::Absent))),
        (Value::Element(_), _) | (_, Value::Element(_)) => Ok(a.as_element()? == b.as_element()?),
        (Value::Real(..), _) | (_, Value::Real(..)) => Ok(a.as_real()? == b.as_real()?),
        _ => Ok(a == b),
    }
}

fn near(a: &Value, b: &Value) -> Result<bool, Reason> {
    let element = match a {
        Value::Real(_, element) => *element,
        _ => Element::Int64,
    };
    Ok(is_near(a.as_real()?, b.as_real()?, element))
}

/// True when `found` is `wanted` up to four units in the last place of `element`: exporters round, and round twice.
pub fn is_near(found: f64, wanted: f64, element: Element) -> bool {
    let unit = match element {
        Element::Double => f64::EPSILON,
        Element::Float => f64::from(f32::EPSILON),
        Element::Float16 => 2f64.powi(-10),
        Element::Bfloat16 => 2f64.powi(-7),
        _ => 0.0,
    };
    found == wanted || (found - wanted).abs() <= 4.0 * unit * wanted.abs()
}
