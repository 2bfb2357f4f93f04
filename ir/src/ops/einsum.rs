//! Sums of products written with index letters.

use crate::attr::{AttrKind, Attrs};
use crate::dim::Dim;
use crate::eval;
use crate::eval::{Contents, Datum, EvalCall, Scalar, each_index, strides_of};
use crate::op::{AttrDef, Call, Fact, OpDef, Param, Reason, Work};
use crate::ops::pointwise::broadcast_dim;
use crate::ops::shape::{count_of, product};
use crate::types::{Element, TensorType};

/// The operators of this family.
pub const OPS: &[&OpDef] = &[&EINSUM];

static EINSUM: OpDef = OpDef {
    name: "Einsum",
    doc: "The sum over all letters that the result lacks of the product of the inputs at their letters",
    versions: &[12, 28],
    inputs: &[Param::variadic("Inputs", "T")],
    outputs: &[Param::required("Output", "T")],
    attrs: &[AttrDef::required("equation", AttrKind::String)],
    types: &[(
        "T",
        &[
            Element::Uint8,
            Element::Uint16,
            Element::Uint32,
            Element::Uint64,
            Element::Int8,
            Element::Int16,
            Element::Int32,
            Element::Int64,
            Element::Float16,
            Element::Bfloat16,
            Element::Float,
            Element::Double,
        ],
    )],
    infer: infer_einsum,
    eval: eval!(einsum),
    work: |call, outputs| {
        let types: Vec<&TensorType> = call.tensors().map(|operand| operand.ty).collect();
        let ranks: Vec<usize> = types.iter().map(|ty| ty.rank()).collect();
        let equation = Equation::bind(call.attrs, &ranks).ok()?;
        let dims = equation.dims(&types, |_| None).ok()?;
        let points = product(dims.iter()).ok()?;
        Work::streaming(call, outputs, points.mul(&Dim::from(types.len().max(1)))?)
    },
    ..OpDef::BASE
};

/// More indices than an equation has letters and tensors have axes.
const MOST_INDICES: usize = 256;

/// An equation bound to the ranks of its inputs; indices are numbered, those of ellipses first.
struct Equation {
    /// The index of each axis of each input.
    inputs: Vec<Vec<usize>>,
    /// The index of each axis of the result.
    output: Vec<usize>,
    n_indices: usize,
}

/// One side of an arrow or comma: letters before and after an ellipsis.
struct Term {
    before: Vec<u8>,
    after: Vec<u8>,
    ellipsis: bool,
}

impl Term {
    fn parse(text: &str) -> Result<Self, Reason> {
        let mut term = Term { before: Vec::new(), after: Vec::new(), ellipsis: false };
        let mut rest = text.bytes().filter(|byte| *byte != b' ');
        while let Some(byte) = rest.next() {
            match byte {
                b'.' if !term.ellipsis && rest.next() == Some(b'.') && rest.next() == Some(b'.') => {
                    term.ellipsis = true
                }
                byte if byte.is_ascii_alphabetic() && term.ellipsis => term.after.push(byte),
                byte if byte.is_ascii_alphabetic() => term.before.push(byte),
                _ => return Err(Reason(format!("`{text}` is no list of index letters"))),
            }
        }
        if term.before.len() + term.after.len() > MOST_INDICES {
            return Err(Reason(format!("an equation with {} letters in one place", term.before.len())));
        }
        Ok(term)
    }

    fn letters(&self) -> impl Iterator<Item = u8> + '_ {
        self.before.iter().chain(&self.after).copied()
    }
}

impl Equation {
    /// The equation in `attrs` for inputs of these ranks. Errors: malformed, or another number of inputs or axes.
    fn bind(attrs: &Attrs, ranks: &[usize]) -> Result<Self, Reason> {
        let text = attrs.string("equation").ok_or_else(|| Reason::new("attribute `equation` is missing"))?;
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(Term::parse(right)?)),
            None => (text, None),
        };
        let n_terms = left.split(',').count();
        if n_terms != ranks.len() {
            return Err(Reason(format!("the equation names {n_terms} inputs, {} are given", ranks.len())));
        }
        let terms = left.split(',').map(Term::parse).collect::<Result<Vec<_>, _>>()?;
        // Axes under an ellipsis align at their end.
        let mut widest = 0;
        for (term, &rank) in terms.iter().zip(ranks) {
            let n_letters = term.letters().count();
            match rank.checked_sub(n_letters) {
                Some(under) if term.ellipsis && under <= MOST_INDICES => widest = widest.max(under),
                Some(0) => {}
                _ => return Err(Reason(format!("{n_letters} letters are given for {rank} axes in `{text}`"))),
            }
        }
        let mut number = [None; 256];
        let mut n_indices = widest;
        let mut inputs = Vec::with_capacity(terms.len());
        for (term, &rank) in terms.iter().zip(ranks) {
            let mut index = |letter: &u8| {
                *number[usize::from(*letter)].get_or_insert_with(|| {
                    n_indices += 1;
                    n_indices - 1
                })
            };
            let under = rank - term.letters().count();
            let mut axes: Vec<usize> = term.before.iter().map(&mut index).collect();
            axes.extend(widest - under..widest);
            axes.extend(term.after.iter().map(&mut index));
            inputs.push(axes);
        }
        let output = match right {
            Some(term) => {
                let find = |letter: &u8| {
                    let found = number[usize::from(*letter)];
                    found.ok_or_else(|| Reason(format!("`{}` is on no input of `{text}`", char::from(*letter))))
                };
                let mut axes = term.before.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                if term.ellipsis {
                    axes.extend(0..widest);
                }
                for letter in &term.after {
                    axes.push(find(letter)?);
                }
                axes
            }
            // Without an arrow the result has the letters that occur once, in alphabetic order.
            None => {
                let mut occurrences = [0u32; 256];
                terms.iter().flat_map(Term::letters).for_each(|letter| occurrences[usize::from(letter)] += 1);
                let once = (0..256).filter(|&letter| occurrences[letter] == 1);
                (0..widest).chain(once.filter_map(|letter| number[letter])).collect()
            }
        };
        let mut seen = vec![false; n_indices];
        if output.iter().any(|&index| std::mem::replace(&mut seen[index], true)) {
            return Err(Reason(format!("a letter is twice in the result of `{text}`")));
        }
        Ok(Self { inputs, output, n_indices })
    }

    /// The dim of each index; `fresh` gives what is not known. Errors: dims that do not go together.
    fn dims(&self, types: &[&TensorType], fresh: impl Fn(usize) -> Option<Dim>) -> Result<Vec<Dim>, Reason> {
        let mut dims = vec![Dim::known(1); self.n_indices];
        for (axes, ty) in self.inputs.iter().zip(types) {
            for (&index, dim) in axes.iter().zip(&ty.shape) {
                dims[index] = match broadcast_dim(&dims[index], dim) {
                    Some(Some(dim)) => dim,
                    Some(None) => fresh(index).unwrap_or_else(|| dims[index].clone()),
                    None => return Err(Reason(format!("one letter stands for {} and {dim}", dims[index]))),
                };
            }
        }
        Ok(dims)
    }
}

fn infer_einsum(call: &Call) -> Result<Vec<Option<Fact>>, Reason> {
    let types = (0..call.inputs.len()).map(|index| call.ty(index)).collect::<Result<Vec<_>, _>>()?;
    let ranks: Vec<usize> = types.iter().map(|ty| ty.rank()).collect();
    let equation = Equation::bind(call.attrs, &ranks)?;
    let dims = equation.dims(&types, |index| Some(call.fresh(index)))?;
    Ok(vec![Some(Fact::new(call.ty(0)?.element, equation.output.iter().map(|&index| dims[index].clone())))])
}

fn einsum<S: Scalar>(call: &EvalCall<S>) -> Result<Vec<Datum<S>>, Reason> {
    let data = (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<Vec<_>, _>>()?;
    let first = data.first().ok_or_else(|| Reason::new("there is no input"))?;
    let ranks: Vec<usize> = data.iter().map(|datum| datum.rank()).collect();
    let equation = Equation::bind(call.attrs, &ranks)?;
    let mut sizes = vec![1; equation.n_indices];
    for (axes, datum) in equation.inputs.iter().zip(&data) {
        for (&index, &size) in axes.iter().zip(&datum.shape) {
            match (sizes[index], size) {
                (1, _) => sizes[index] = size,
                (_, 1) => {}
                (known, size) if known == size => {}
                (known, size) => return Err(Reason(format!("one letter stands for {known} and {size}"))),
            }
        }
    }
    // How far each input moves when an index does; a letter that occurs twice in an input walks its diagonal.
    let mut steps = vec![vec![0; equation.n_indices]; data.len()];
    for ((axes, datum), steps) in equation.inputs.iter().zip(&data).zip(&mut steps) {
        for ((&index, stride), &size) in axes.iter().zip(strides_of(&datum.shape)).zip(&datum.shape) {
            steps[index] += if size == 1 { 0 } else { stride };
        }
    }
    let summed: Vec<usize> = (0..equation.n_indices).filter(|index| !equation.output.contains(index)).collect();
    let outer = walk(&equation.output, &sizes, &steps)?;
    let inner = walk(&summed, &sizes, &steps)?;
    let shape: Vec<usize> = equation.output.iter().map(|&index| sizes[index]).collect();
    Ok(vec![match &first.contents {
        Contents::Real(_) => {
            let values = data.iter().map(|datum| datum.real()).collect::<Result<Vec<_>, _>>()?;
            let sum = |at: &[usize]| match values.as_slice() {
                [a, b] => S::dot(inner.iter().map(|step| (a[at[0] + step[0]], b[at[1] + step[1]]))),
                _ => S::sum(inner.iter().map(|step| {
                    let factors = values.iter().zip(at.iter().zip(step)).map(|(values, (at, step))| values[at + step]);
                    factors.reduce(S::mul).unwrap_or(S::from_int(1))
                })),
            };
            Datum::of_real(first.element, &shape, outer.iter().map(|at| sum(at)).collect())
        }
        _ => {
            let values = data.iter().map(|datum| datum.int()).collect::<Result<Vec<_>, _>>()?;
            let term = |at: &[usize], step: &[usize]| {
                let factors = values.iter().zip(at.iter().zip(step)).map(|(values, (at, step))| values[at + step]);
                factors.fold(1i128, i128::wrapping_mul)
            };
            let sum = |at: &Vec<usize>| inner.iter().fold(0i128, |sum, step| sum.wrapping_add(term(at, step)));
            Datum::of_int(first.element, &shape, outer.iter().map(sum).collect())
        }
    }])
}

/// The offset in each input at every value of `indices`, last one fastest.
fn walk(indices: &[usize], sizes: &[usize], steps: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, Reason> {
    let shape: Vec<usize> = indices.iter().map(|&index| sizes[index]).collect();
    let mut offsets = Vec::with_capacity(count_of(&shape)?);
    each_index(&shape, |at| {
        let offset = |steps: &Vec<usize>| indices.iter().zip(at).map(|(&index, at)| steps[index] * at).sum();
        offsets.push(steps.iter().map(offset).collect());
        Ok::<(), Reason>(())
    })?;
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use crate::attr::Attr;
    use crate::ops::cases::infer;

    fn shape(equation: &str, inputs: &[&str]) -> String {
        infer("Einsum", &[("equation", Attr::String(equation.into()))], inputs)
    }

    #[test]
    fn letters_name_the_axes_of_the_result() {
        let (q, k) = ("float[b,s,12,64]", "float[b,t,12,64]");
        assert_eq!(shape("bqhd, bkhd -> bhqk", &[q, k]), "float[b,12,s,t]");
        assert_eq!(shape("ij,jk", &["float[n,3]", "float[3,m]"]), "float[n,m]");
        assert_eq!(shape("ii->i", &["float[n,n]"]), "float[n]");
        assert_eq!(shape("...ij,...jk->...ik", &["float[b,2,3]", "float[3,m]"]), "float[b,2,m]");
        assert_eq!(shape("...i->...", &["float[a,b,3]"]), "float[a,b]");
        assert_eq!(shape("ba", &["float[n,m]"]), "float[m,n]");
        assert_eq!(shape("->", &["float[]"]), "float[]");
        assert_eq!(shape("Aa->aA", &["float[n,m]"]), "float[m,n]");
    }

    #[test]
    fn malformed_equations_are_refused() {
        assert_eq!(shape("ij->ik", &["float[n,m]"]), "`k` is on no input of `ij->ik`");
        assert_eq!(shape("ij->ii", &["float[n,m]"]), "a letter is twice in the result of `ij->ii`");
        assert_eq!(shape("i,j", &["float[n]"]), "the equation names 2 inputs, 1 are given");
        assert_eq!(shape("ij", &["float[n]"]), "2 letters are given for 1 axes in `ij`");
        assert_eq!(shape("i..j", &["float[n,m]"]), "`i..j` is no list of index letters");
        assert_eq!(shape("i->j->k", &["float[n]"]), "`j->k` is no list of index letters");
        assert_eq!(shape("ij,jk", &["float[2,3]", "float[4,5]"]), "one letter stands for 3 and 4");
        assert_eq!(shape(&",".repeat(1_000_000), &["float[]"]), "the equation names 1000001 inputs, 1 are given");
    }
}
