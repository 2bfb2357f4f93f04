//! What an operator is: one static declaration that drives import, export, text, verifier, inference, reference
//! evaluation, cost and tests.
//!
//! Declarations stand in `ops/<family>.rs`, one static each; `ops/mod.rs` is the table. There is no trait object per
//! operator and no enum of operators.

use crate::attr::{Attr, AttrKind, Attrs, Name};
use crate::dim::Dim;
use crate::eval::Eval;
use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::types::{Element, TensorType, Type};
use std::fmt;

pub mod sets;

/// The version of `ai.onnx` that the IR speaks: import upgrades to it, export comes down from it.
pub const CANONICAL_OPSET: u64 = 28;
/// The version that a model states when no file did: the newest that released runtimes read. Export rises from it where
/// the graph needs more.
pub const DEFAULT_OPSET: u64 = 26;
/// The version of the file format that goes with [`DEFAULT_OPSET`].
pub const DEFAULT_IR_VERSION: u64 = 13;

/// One operator.
pub struct OpDef {
    /// Operator type, as ONNX spells it.
    pub name: &'static str,
    /// Operator-set domain; empty for `ai.onnx`.
    pub domain: &'static str,
    /// One line: what it computes, in mathematics where possible.
    pub doc: &'static str,
    /// Versions of the operator set at which its schema changed, ascending, up to [`CANONICAL_OPSET`].
    pub versions: &'static [u64],
    /// Inputs by position; only the last may be variadic.
    pub inputs: &'static [Param],
    /// Outputs by position; only the last may be variadic.
    pub outputs: &'static [Param],
    /// Attributes, in canonical order.
    pub attrs: &'static [AttrDef],
    /// What each type variable of the parameters may stand for.
    pub types: &'static [(&'static str, &'static [Element])],
    /// Types (and symbolic contents) of the outputs. `None` for an output whose rank cannot be known.
    pub infer: fn(&Call) -> Result<Vec<Option<Fact>>, Reason>,
    /// Whether `infer` also takes tensors of unknown rank, as [`Argument::Other`]. Without it their outputs have none.
    pub unranked: bool,
    /// What is known of the inputs of each body of a control-flow operator, by the name of its attribute.
    pub bodies: Option<BodyInputs>,
    /// The reference semantics.
    pub eval: Eval,
    /// What one call costs, given the types of its outputs.
    pub work: fn(&Call, &[TensorType]) -> Option<Work>,
    /// What the engines may rely on.
    pub laws: &'static [Law],
}

/// What is known of the inputs of body `name` of a control-flow operator.
pub type BodyInputs = fn(&Call, name: &str) -> Vec<Option<Fact>>;

impl OpDef {
    /// What a declaration may leave out: end it with `..OpDef::BASE`.
    pub const BASE: OpDef = OpDef {
        name: "",
        domain: "",
        doc: "",
        versions: &[],
        inputs: &[],
        outputs: &[],
        attrs: &[],
        types: &[],
        infer: |_| Ok(Vec::new()),
        unranked: false,
        bodies: None,
        eval: Eval::NONE,
        work: |call, outputs| Work::moves(call, outputs),
        laws: &[],
    };

    /// True when the operator has this law.
    pub fn has(&self, law: Law) -> bool {
        self.laws.contains(&law)
    }

    /// The declaration of attribute `name`.
    pub fn attr(&self, name: &str) -> Option<&'static AttrDef> {
        self.attrs.iter().find(|def| def.name == name)
    }

    /// The declaration of input `index`, the last one repeated when it is variadic.
    pub fn input(&self, index: usize) -> Option<&'static Param> {
        param(self.inputs, index)
    }

    /// The declaration of output `index`, the last one repeated when it is variadic.
    pub fn output(&self, index: usize) -> Option<&'static Param> {
        param(self.outputs, index)
    }

    /// `given` in canonical order with defaults filled. Errors: unknown, missing, or of another kind; all of them.
    pub fn complete(&self, mut given: Attrs) -> Result<Attrs, Vec<AttrError>> {
        let mut errors = Vec::new();
        let mut complete = Attrs::new();
        for def in self.attrs {
            match given.remove(def.name) {
                Some(value) if value.kind() != def.kind => {
                    errors.push(AttrError::Kind { name: def.name, expected: def.kind, found: value.kind() });
                }
                Some(value) => complete.set(def.name, value),
                None => match def.default.value() {
                    Some(value) => complete.set(def.name, value),
                    None if matches!(def.default, Default::Required) => errors.push(AttrError::Missing(def.name)),
                    None => {}
                },
            }
        }
        errors.extend(given.iter().map(|(name, _)| AttrError::Unknown(name.clone())));
        if errors.is_empty() { Ok(complete) } else { Err(errors) }
    }
}

impl fmt::Debug for OpDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn param(params: &'static [Param], index: usize) -> Option<&'static Param> {
    params.get(index).or_else(|| params.last().filter(|last| last.arity == Arity::Variadic))
}

/// Why attributes do not fit an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttrError {
    /// The operator has no such attribute.
    Unknown(Name),
    /// The operator needs it.
    Missing(&'static str),
    /// Another kind is expected.
    Kind {
        /// Which attribute.
        name: &'static str,
        /// The declared kind.
        expected: AttrKind,
        /// The kind found.
        found: AttrKind,
    },
}

impl fmt::Display for AttrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttrError::Unknown(name) => write!(f, "there is no attribute `{name}`"),
            AttrError::Missing(name) => write!(f, "attribute `{name}` is required"),
            AttrError::Kind { name, expected, found } => {
                write!(f, "attribute `{name}` is declared {}, found {}", expected.text(), found.text())
            }
        }
    }
}

/// One formal input or output.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name in the ONNX specification.
    pub name: &'static str,
    /// How often it occurs.
    pub arity: Arity,
    /// Its type variable; parameters with the same one have the same element type. A name that `types` lacks is free.
    pub ty: &'static str,
    /// True for a variadic parameter whose occurrences may be of different types.
    pub mixed: bool,
}

impl Param {
    /// Occurs exactly once.
    pub const fn required(name: &'static str, ty: &'static str) -> Self {
        Self { name, arity: Arity::Required, ty, mixed: false }
    }

    /// May be left out.
    pub const fn optional(name: &'static str, ty: &'static str) -> Self {
        Self { name, arity: Arity::Optional, ty, mixed: false }
    }

    /// Occurs any number of times, at least once when it is the only parameter, always of one type.
    pub const fn variadic(name: &'static str, ty: &'static str) -> Self {
        Self { name, arity: Arity::Variadic, ty, mixed: false }
    }

    /// Occurs any number of times, at least once when it is the only parameter, each time of a type of its own.
    pub const fn mixed(name: &'static str, ty: &'static str) -> Self {
        Self { name, arity: Arity::Variadic, ty, mixed: true }
    }
}

/// How often a parameter occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Arity {
    Required,
    Optional,
    Variadic,
}

/// One attribute of an operator.
#[derive(Clone, Copy, Debug)]
pub struct AttrDef {
    /// Its ONNX name.
    pub name: &'static str,
    /// Its kind.
    pub kind: AttrKind,
    /// What stands for it when it is left out.
    pub default: Default,
}

impl AttrDef {
    /// An attribute that must be given.
    pub const fn required(name: &'static str, kind: AttrKind) -> Self {
        Self { name, kind, default: Default::Required }
    }

    /// An attribute whose absence means something of its own.
    pub const fn optional(name: &'static str, kind: AttrKind) -> Self {
        Self { name, kind, default: Default::Absent }
    }

    /// An integer with a default.
    pub const fn int(name: &'static str, default: i64) -> Self {
        Self { name, kind: AttrKind::Int, default: Default::Int(default) }
    }

    /// A float with a default.
    pub const fn float(name: &'static str, default: f32) -> Self {
        Self { name, kind: AttrKind::Float, default: Default::Float(default) }
    }

    /// A string with a default.
    pub const fn string(name: &'static str, default: &'static str) -> Self {
        Self { name, kind: AttrKind::String, default: Default::String(default) }
    }

    /// Integers with a default.
    pub const fn ints(name: &'static str, default: &'static [i64]) -> Self {
        Self { name, kind: AttrKind::Ints, default: Default::Ints(default) }
    }

    /// Strings with a default.
    pub const fn strings(name: &'static str, default: &'static [&'static str]) -> Self {
        Self { name, kind: AttrKind::Strings, default: Default::Strings(default) }
    }
}

/// What stands for an attribute that is left out.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// Nothing: it must be given.
    Required,
    /// Its absence means something of its own.
    Absent,
    /// This integer.
    Int(i64),
    /// This float.
    Float(f32),
    /// This string.
    String(&'static str),
    /// These integers.
    Ints(&'static [i64]),
    /// These strings.
    Strings(&'static [&'static str]),
}

impl Default {
    /// The default as an attribute, when there is one.
    pub fn value(&self) -> Option<Attr> {
        match self {
            Default::Required | Default::Absent => None,
            Default::Int(value) => Some(Attr::Int(*value)),
            Default::Float(value) => Some(Attr::Float(*value)),
            Default::String(value) => Some(Attr::String((*value).into())),
            Default::Ints(values) => Some(Attr::Ints((*values).into())),
            Default::Strings(values) => Some(Attr::Strings(values.iter().map(|&value| value.into()).collect())),
        }
    }
}

/// What the engines may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// The first two inputs may change places.
    Commutative,
    /// Each output element depends on the corresponding elements of the broadcast inputs alone.
    Pointwise,
    /// The elements stay in order; only type or shape is new. Costs nothing at run time.
    View,
    /// Random, or with side effects: never folded, never merged.
    Impure,
}

/// Why something does not hold or cannot be done: a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl Reason {
    /// A reason from its sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Reason {}

/// What is known of one input of a call.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a TensorType,
    /// Its elements as dims, for integer tensors of rank 0 or 1 that are computed from shapes.
    pub content: Option<&'a [Dim]>,
    /// Its contents, when it is a weight.
    pub constant: Option<&'a Tensor>,
}

/// What is known of one argument of a call, whether it is a tensor or not.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A tensor of known rank.
    Tensor(Operand<'a>),
    /// Any other value.
    Other(&'a Type),
}

impl<'a> Argument<'a> {
    /// What `fact` says, and `constant` when the argument is a weight.
    pub fn new(fact: &'a Fact, constant: Option<&'a Tensor>) -> Self {
        match &fact.ty {
            Type::Tensor(ty) => Argument::Tensor(Operand { ty, content: fact.content.as_deref(), constant }),
            ty => Argument::Other(ty),
        }
    }

    /// Its type.
    pub fn ty(&self) -> Type {
        match self {
            Argument::Tensor(operand) => Type::Tensor(operand.ty.clone()),
            Argument::Other(ty) => (*ty).clone(),
        }
    }

    /// The operand, when it is a tensor of known rank.
    pub fn tensor(&self) -> Option<&Operand<'a>> {
        match self {
            Argument::Tensor(operand) => Some(operand),
            Argument::Other(_) => None,
        }
    }
}

impl<'a> From<Operand<'a>> for Argument<'a> {
    fn from(operand: Operand<'a>) -> Self {
        Argument::Tensor(operand)
    }
}

impl Operand<'_> {
    /// Its elements as dims, from symbolic or from constant contents.
    pub fn dims(&self) -> Option<Vec<Dim>> {
        if let Some(content) = self.content {
            return Some(content.to_vec());
        }
        Some(self.constant?.to_i64s()?.into_iter().map(Dim::known).collect())
    }

    /// Its elements as integers, when all are known.
    pub fn ints(&self) -> Option<Vec<i64>> {
        self.dims()?.iter().map(Dim::as_known).collect()
    }
}

/// What is known of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Its type.
    pub ty: Type,
    /// Its elements as dims, for integer tensors of rank 0 or 1 that are computed from shapes.
    pub content: Option<Vec<Dim>>,
}

impl Fact {
    /// A fact without contents.
    pub fn new(element: Element, shape: impl IntoIterator<Item = Dim>) -> Self {
        TensorType::new(element, shape).into()
    }

    /// Its type, when it is a tensor of known rank.
    pub fn tensor(&self) -> Option<&TensorType> {
        self.ty.tensor()
    }

    /// The same with contents.
    pub fn with(self, content: Option<Vec<Dim>>) -> Self {
        Self { content, ..self }
    }
}

impl From<Type> for Fact {
    fn from(ty: Type) -> Self {
        Self { ty, content: None }
    }
}

impl From<TensorType> for Fact {
    fn from(ty: TensorType) -> Self {
        Type::Tensor(ty).into()
    }
}

/// One call as inference and cost see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Complete attributes.
    pub attrs: &'a Attrs,
    /// Inputs by position; `None` when left out.
    pub inputs: &'a [Option<Argument<'a>>],
    /// What the bodies of a control-flow operator see of the enclosing graph.
    pub captures: &'a [Option<Fact>],
    /// Number of outputs that the call has.
    pub n_outputs: usize,
    /// Distinguishes the fresh symbols of this call from those of others.
    pub scope: &'a str,
}

impl<'a> Call<'a> {
    /// Input `index`, a tensor. Errors: left out, or no tensor of known rank.
    pub fn input(&self, index: usize) -> Result<&Operand<'a>, Reason> {
        match self.argument(index)? {
            Argument::Tensor(operand) => Ok(operand),
            Argument::Other(ty) => Err(Reason(format!("input {index} is {ty}, a tensor is expected"))),
        }
    }

    /// Input `index`, when it is given and a tensor of known rank.
    pub fn given(&self, index: usize) -> Option<&Operand<'a>> {
        self.inputs.get(index)?.as_ref()?.tensor()
    }

    /// Input `index`, whatever it is. Errors: left out.
    pub fn argument(&self, index: usize) -> Result<&Argument<'a>, Reason> {
        let given = self.inputs.get(index).and_then(Option::as_ref);
        given.ok_or_else(|| Reason(format!("input {index} is missing")))
    }

    /// The inputs that are given and tensors of known rank.
    pub fn tensors(&self) -> impl Iterator<Item = &Operand<'a>> {
        self.inputs.iter().flatten().filter_map(Argument::tensor)
    }

    /// Body `name` of a control-flow operator. Errors: absent.
    pub fn body(&self, name: &str) -> Result<&'a Graph, Reason> {
        self.attrs.graph(name).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))
    }

    /// Type of input `index`. Errors: left out.
    pub fn ty(&self, index: usize) -> Result<&'a TensorType, Reason> {
        Ok(self.input(index)?.ty)
    }

    /// Integer attribute `name`. Errors: absent.
    pub fn int(&self, name: &str) -> Result<i64, Reason> {
        self.attrs.int(name).ok_or_else(|| Reason(format!("attribute `{name}` is missing")))
    }

    /// The axis that attribute `name` gives for a tensor of `rank` axes. Errors: absent or out of range.
    pub fn axis(&self, name: &str, rank: usize) -> Result<usize, Reason> {
        let axis = self.int(name)?;
        crate::types::normalize_axis(axis, rank)
            .ok_or_else(|| Reason(format!("axis {axis} is out of range for rank {rank}")))
    }

    /// A dim that nothing is known of; `index` distinguishes those of one call.
    pub fn fresh(&self, index: usize) -> Dim {
        Dim::fresh(self.scope, index)
    }
}

/// What one call costs: arithmetic and compulsory memory traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// Arithmetic operations; a multiply-add counts two.
    pub flops: Dim,
    /// Bytes read, each input once.
    pub read: Dim,
    /// Bytes written, each output once.
    pub written: Dim,
}

impl Work {
    /// Nothing at all, for views.
    pub fn free() -> Self {
        Self { flops: Dim::known(0), read: Dim::known(0), written: Dim::known(0) }
    }

    /// Reads every input once, writes every output once, and computes `flops`. `None` on overflow or strings.
    pub fn streaming(call: &Call, outputs: &[TensorType], flops: Dim) -> Option<Self> {
        let total = |mut types: Box<dyn Iterator<Item = &TensorType> + '_>| {
            types.try_fold(Dim::known(0), |sum, ty| sum.add(&ty.bytes()?))
        };
        let read = total(Box::new(call.tensors().map(|operand| operand.ty)))?;
        Some(Self { flops, read, written: total(Box::new(outputs.iter()))? })
    }

    /// `flops_each` operations for each element of the first output.
    pub fn pointwise(call: &Call, outputs: &[TensorType], flops_each: i64) -> Option<Self> {
        Self::streaming(call, outputs, outputs.first()?.count()?.mul(&Dim::known(flops_each))?)
    }

    /// `flops_each` operations for each element of the first input.
    pub fn reduction(call: &Call, outputs: &[TensorType], flops_each: i64) -> Option<Self> {
        Self::streaming(call, outputs, call.given(0)?.ty.count()?.mul(&Dim::known(flops_each))?)
    }

    /// Moves data without computing: what is written is also what is read.
    pub fn moves(_call: &Call, outputs: &[TensorType]) -> Option<Self> {
        let written = outputs.iter().try_fold(Dim::known(0), |sum, ty| sum.add(&ty.bytes()?))?;
        Some(Self { flops: Dim::known(0), read: written.clone(), written })
    }
}
