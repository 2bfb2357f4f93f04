//! Rewrite rules: graph fragments in text, checked when they load, run by any engine.
//!
//! ```text
//! file      = { doc rule }
//! doc       = { "///" text }                         the equation; required
//! rule      = "rule" name ":" contract "{" { left } "=>" { right } "}"
//! contract  = "exact" | "exact" "finite" | "reassociates" | "approximates" "(" number ")"
//! left      = [ "[" label "]" ] outputs "=" operator [ attrs ] "(" [ input { "," input } ] ")"
//!           | "where" expr { "," expr }              every one must hold
//!           | "unused" label "." attr { "," label "." attr }
//!           | "example" name ":" expr { "," name ":" expr }   one test instance: shapes, contents, `label.attr`
//! right     = outputs "=" operator [ attrs ] "(" [ input { "," input } ] ")"
//!           | name "=" input                         the root is this value
//! outputs   = output { "," output }
//! output    = name | "_"                             `_`: nobody asks for it
//! operator  = [ domain "." ] Name                    upper case: an operator; lower case: a function of expressions
//! attrs     = "<" attr { "," attr } ">"
//! attr      = name "=" expr | ".." label             `..label`: the whole record of a matched call, then overridden
//! input     = name                                   a value; the same name is the same value
//!           | name "?"                               left side: may be left out; the right side then leaves it out too
//!           | ".." name                              any number of inputs, last
//!           | '""'                                   left out
//!           | operator [ attrs ] "(" ... ")"         a nested call
//!           | number                                 left: a single-element constant near it; right: a new scalar
//!           | expr                                   right: integers and dims as a constant, computed when symbolic
//! expr      = sum [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) sum ]
//! sum       = product { ( "+" | "-" ) product }
//! product   = unary { ( "*" | "/" | "%" ) unary }
//! unary     = [ "-" ] atom
//! atom      = integer | real | string | element | "[" [ expr { "," expr } ] "]" | "(" expr ")"
//!           | name | label "." attr | function "(" [ expr { "," expr } ] ")"
//! ```
//!
//! Calls on the right read the variables of the left; a root is a left variable that the right side defines anew. Each
//! attribute of each matched call is mentioned: as a literal, in an expression, in `unused`, or by a copied record.

pub mod apply;
pub mod check;
pub mod expr;
pub mod fusion;
pub mod import;
pub mod library;
pub mod matcher;
pub mod near;
#[cfg(test)]
mod near_tests;
pub mod page;
pub mod syntax;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod vocabulary;
#[cfg(test)]
mod vocabulary_tests;

pub use apply::{Applied, Sink, apply};
pub use expr::{Expr, Known, Value};
pub use library::Library;
pub use matcher::{Binding, Budget, Host, Match, find, find_from};

use eutectic_ir::{Attr, AttrKind, Name, Op};
use std::fmt;
use std::ops::Range;

/// How far the two sides of a rule may differ, as numbers in memory.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub enum Contract {
    /// Bitwise equal for every input, signed zeros, infinities and NaN included.
    Exact,
    /// Bitwise equal, the sign of zero apart, where every intermediate result is finite.
    ExactFinite,
    /// Equal in real arithmetic; rounding differs.
    Reassociates,
    /// Within this relative error in real arithmetic.
    Approximates(f64),
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contract::Exact => f.write_str("exact"),
            Contract::ExactFinite => f.write_str("exact finite"),
            Contract::Reassociates => f.write_str("reassociates"),
            Contract::Approximates(bound) => write!(f, "approximates({bound:e})"),
        }
    }
}

/// A variable of one rule: an index into [`Rule::variables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Var(pub u16);

impl Var {
    /// Position among the rule's variables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a variable before any match.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name; made up for nested calls, then it begins with `%`.
    pub name: Name,
    /// How many values it stands for.
    pub arity: VarArity,
    /// True when the left side binds it.
    pub is_left: bool,
}

/// How many values a variable stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VarArity {
    /// One.
    One,
    /// One or none: an optional input.
    Optional,
    /// Any number: the rest of a variadic operator's inputs.
    Rest,
}

/// One rule: wherever the left side matches and the conditions hold, each root equals what the right side builds.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, unique in a library.
    pub name: Name,
    /// Its equation, from the `///` lines.
    pub doc: String,
    /// How far the two sides may differ.
    pub contract: Contract,
    /// The file it stands in.
    pub file: Name,
    /// The line it begins on, from 1.
    pub line: u32,
    /// Where it stands in the file, in bytes.
    pub span: Range<usize>,
    /// What its names stand for.
    pub variables: Vec<Variable>,
    /// What must be there.
    pub left: Pattern,
    /// What must hold besides.
    pub conditions: Vec<Condition>,
    /// What is built.
    pub right: Template,
    /// Each variable of the left that the right side redefines, and the variable of the right that stands for it then.
    pub roots: Vec<(Var, Var)>,
    /// Hints for the generator of test instances, a line each.
    pub examples: Vec<Vec<Example>>,
    /// Set on a rule that was derived from a fusion.
    pub fusion: Option<Direction>,
}

/// Which way a rule that was derived from a fusion goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Body to call.
    Recognise,
    /// Call to body.
    Expand,
}

impl Rule {
    /// The name of variable `var`.
    pub fn variable(&self, var: Var) -> &Variable {
        &self.variables[var.index()]
    }

    /// The operators of its right side.
    pub fn builds(&self) -> impl Iterator<Item = &Op> {
        self.right.steps.iter().filter_map(|step| match step {
            TemplateStep::Call(call) => Some(&call.op),
            TemplateStep::Alias(..) => None,
        })
    }

    /// The files' stem: the family that the rule belongs to.
    pub fn family(&self) -> &str {
        let base = self.file.rsplit('/').next().unwrap_or(&self.file);
        base.split('.').next().unwrap_or(base)
    }
}

/// The left side: calls that are joined by their variables.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// The calls as written, nested ones before the calls that read them.
    pub calls: Vec<PatternCall>,
    /// In which order the matcher visits the calls; every call but the first is reached from an earlier one.
    pub plan: Vec<PlanStep>,
}

/// One call of the left side.
#[derive(Clone, Debug)]
pub struct PatternCall {
    /// What it calls.
    pub op: Op,
    /// What the rule calls its record.
    pub label: Option<Name>,
    /// Attributes that must have these values.
    pub attrs: Vec<(Name, Attr)>,
    /// Inputs by position; further inputs must be left out.
    pub inputs: Vec<PatternInput>,
    /// Outputs by position; `None` when the rule does not name it.
    pub outputs: Vec<Option<Var>>,
    /// Where it stands in the file, in bytes.
    pub span: Range<usize>,
}

/// One input of a call of the left side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PatternInput {
    /// This value.
    Var(Var),
    /// This value, or left out.
    Optional(Var),
    /// Left out.
    Absent,
    /// All further inputs.
    Rest(Var),
    /// A constant of one element near this number.
    Scalar(f64),
}

/// One step of the matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// Which call it binds.
    pub call: usize,
    /// Where its candidates come from.
    pub via: Via,
}

/// Where candidates for a call come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// All calls of the operator.
    Anywhere,
    /// The calls that define this variable, as this output.
    Definition(Var, usize),
    /// The calls that read this variable.
    Reader(Var),
}

/// One condition.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What must evaluate to true.
    pub expr: Expr,
    /// As written, for reports.
    pub text: String,
    /// After which step of the plan all that it mentions is bound.
    pub after: usize,
}

/// The right side: what is built, in order.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The steps; each reads left variables and what earlier steps define.
    pub steps: Vec<TemplateStep>,
}

/// One step of the right side.
#[derive(Clone, Debug)]
pub enum TemplateStep {
    /// A new call.
    Call(TemplateCall),
    /// A name for a value that is there, or a constant.
    Alias(Var, TemplateInput),
}

/// One call of the right side.
#[derive(Clone, Debug)]
pub struct TemplateCall {
    /// What it calls.
    pub op: Op,
    /// The matched call whose record it starts from, by position in [`Pattern::calls`].
    pub copies: Option<usize>,
    /// Attributes that it sets; one that evaluates to absent is left out.
    pub attrs: Vec<(Name, Option<AttrKind>, Expr)>,
    /// Inputs by position.
    pub inputs: Vec<TemplateInput>,
    /// Outputs by position; `None` when nobody asks for it.
    pub outputs: Vec<Option<Var>>,
}

/// One input of a call of the right side.
#[derive(Clone, Debug)]
pub enum TemplateInput {
    /// This value; left out when the variable is bound to nothing; all of them when it is a rest.
    Var(Var),
    /// Left out.
    Absent,
    /// A number makes a constant of rank 0 with the element type that its place asks for. A list of integers makes a
    /// vector of 64-bit integers: constant where the dims are known, computed from shapes where they are symbolic.
    Constant(Expr),
}

/// A hint for the generator of test instances: the shape of an input, its contents when it is an integer vector, or the
/// value of an attribute. The hints of one `example` line go together; several lines are taken in turn.
#[derive(Clone, Debug)]
pub struct Example {
    /// An input's name, or `label.attr`.
    pub name: Name,
    /// Its shape, contents or value.
    pub value: Value,
}
