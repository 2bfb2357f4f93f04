//! Published rules as terms, and when two of them say the same.

use eutectic_ir::Name;
use std::collections::BTreeMap;
use std::fmt;

/// What a published rule calls. Activations that the published convolution and product carry are calls of their own here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// An activation, by its ONNX name.
    Unary(&'static str),
    /// `Add` or `Mul`, by its ONNX name.
    Elementwise(&'static str),
    /// A product of matrices, or of batches of matrices.
    MatMul,
    /// Two tensors of `rank` axes, joined along `axis`.
    Concat {
        /// Along which axis.
        axis: usize,
        /// Number of axes.
        rank: usize,
    },
    /// A convolution of images; its number of groups follows from the channels of input and weights.
    Conv {
        /// Vertical and horizontal step.
        strides: [usize; 2],
        /// Whether zeros around the input keep its size; else there are none.
        is_same: bool,
    },
    /// Two parts, cut along `axis` where a join below put them together.
    Split {
        /// Along which axis.
        axis: usize,
    },
    /// One part of a split.
    Part(usize),
}

/// One side of a published rule, for one output.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// An input, by its name.
    Input(Name),
    /// A call.
    Call(Operator, Vec<Term>),
}

impl Term {
    /// Calls `visit` with every input, as often as it stands there, from left to right.
    pub fn each_input<'a>(&'a self, visit: &mut dyn FnMut(&'a Name)) {
        match self {
            Term::Input(name) => visit(name),
            Term::Call(_, args) => args.iter().for_each(|arg| arg.each_input(visit)),
        }
    }

    /// Calls `visit` with every operator, callers first.
    pub fn each_operator(&self, visit: &mut dyn FnMut(Operator)) {
        if let Term::Call(operator, args) = self {
            visit(*operator);
            args.iter().for_each(|arg| arg.each_operator(visit));
        }
    }

    /// The same term with the operands of commutative operators in one fixed order.
    pub fn sorted(&self) -> Term {
        let Term::Call(operator, args) = self else { return self.clone() };
        let mut args: Vec<Term> = args.iter().map(Term::sorted).collect();
        if matches!(operator, Operator::Elementwise(_)) {
            args.sort();
        }
        Term::Call(*operator, args)
    }

    fn n_commutative(&self) -> u32 {
        let mut n = 0;
        self.each_operator(&mut |operator| n += u32::from(matches!(operator, Operator::Elementwise(_))));
        n
    }

    /// The term with the operands of its commutative calls swapped where `swaps` has a bit, callers first, and its inputs
    /// renamed in the order in which they occur.
    fn oriented(&self, swaps: &mut u32, names: &mut BTreeMap<Name, usize>) -> Term {
        match self {
            Term::Input(name) => {
                let next = names.len();
                let at = *names.entry(name.clone()).or_insert(next);
                Term::Input(format!("{at}").into())
            }
            Term::Call(operator, args) => {
                let mut order: Vec<&Term> = args.iter().collect();
                if matches!(operator, Operator::Elementwise(_)) {
                    if *swaps & 1 == 1 {
                        order.reverse();
                    }
                    *swaps >>= 1;
                }
                Term::Call(*operator, order.into_iter().map(|arg| arg.oriented(swaps, names)).collect())
            }
        }
    }
}

/// One rule as published: pairs of sides, one for each output.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its number in the file, from 1.
    pub number: usize,
    /// The line it begins on, from 1.
    pub line: usize,
    /// As written; the equations of several outputs are joined by `; `.
    pub text: String,
    /// Left and right side of each output.
    pub outputs: Vec<(Term, Term)>,
}

impl Published {
    /// True when both sides are one term up to commutativity: the rule says nothing.
    pub fn is_trivial(&self) -> bool {
        self.outputs.iter().all(|(left, right)| left.sorted() == right.sorted())
    }

    /// Every input once, in the order in which they occur.
    pub fn inputs(&self) -> Vec<&Name> {
        let mut inputs = Vec::new();
        for (left, right) in &self.outputs {
            let mut visit = |name| {
                if !inputs.contains(&name) {
                    inputs.push(name);
                }
            };
            left.each_input(&mut visit);
            right.each_input(&mut visit);
        }
        inputs
    }

    /// The equations in the usual notation of functions.
    pub fn equation(&self) -> String {
        let one = |(left, right): &(Term, Term)| format!("{left} == {right}");
        self.outputs.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// A form that two rules share when they differ in names and in the order of commutative operands only.
    ///
    /// With more than `MOST_SWAPS` commutative calls the orders are not tried out, and such rules only share a form when
    /// they are written alike.
    pub fn normal_form(&self) -> Vec<(Term, Term)> {
        const MOST_SWAPS: u32 = 12;
        let n: u32 = self.outputs.iter().map(|(left, right)| left.n_commutative() + right.n_commutative()).sum();
        let orders = if n <= MOST_SWAPS { 1u32 << n } else { 1 };
        let form = |swaps: u32| -> Vec<(Term, Term)> {
            let (mut swaps, mut names) = (swaps, BTreeMap::new());
            let mut oriented = |term: &Term| term.oriented(&mut swaps, &mut names);
            self.outputs.iter().map(|(left, right)| (oriented(left), oriented(right))).collect()
        };
        (0..orders).map(form).min().unwrap_or_default()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Term::Call(operator, args) = self else {
            let Term::Input(name) = self else { return Ok(()) };
            return f.write_str(name);
        };
        match operator {
            Operator::Unary(name) | Operator::Elementwise(name) => write!(f, "{}(", name.to_lowercase())?,
            Operator::MatMul => f.write_str("matmul(")?,
            Operator::Concat { .. } => f.write_str("concat(")?,
            Operator::Conv { .. } => f.write_str("conv(")?,
            Operator::Split { .. } => f.write_str("split(")?,
            Operator::Part(index) => write!(f, "part{index}(")?,
        }
        for (at, arg) in args.iter().enumerate() {
            write!(f, "{}{arg}", if at == 0 { "" } else { ", " })?;
        }
        match operator {
            Operator::Concat { axis, .. } | Operator::Split { axis } => write!(f, "; {axis})"),
            _ => f.write_str(")"),
        }
    }
}
