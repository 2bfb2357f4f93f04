//! Writes a published rule in our language. The decisions stand in the module above.

use super::term::{Operator, Published, Term};
use super::{Reading, shapes};
use crate::rules::Example;
use eutectic_ir::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One published rule in our language.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The text of the rule.
    pub text: String,
    /// True when it is stated from right to left: as published its outputs share nothing that a matcher could follow.
    pub is_reversed: bool,
    /// What an instance with given shapes of the inputs has beside them.
    pub(super) hints: Vec<Hint>,
}

impl Translation {
    /// The text with one more `example` line.
    pub fn with_example(&self, example: &[Example]) -> String {
        let items: Vec<String> = example.iter().map(|hint| format!("{} : {}", hint.name, hint.value)).collect();
        self.text.replacen("    =>\n", &format!("    example {}\n    =>\n", items.join(", ")), 1)
    }
}

/// What follows from the shapes of the inputs, for the `example` of an instance.
#[derive(Clone, Debug)]
pub(super) enum Hint {
    /// The pads and the group of the convolution with this label.
    Conv { label: String, input: Term, weights: Term, is_same: bool },
    /// The sizes of the parts that are joined along an axis, by the name of the input that holds them.
    Sizes(String, Term, Term, usize),
}

/// `rule` in our language under the name `name`. Errors: what has no translation, in a sentence.
pub fn translate(rule: &Published, name: &str, reading: Reading) -> Result<Translation, String> {
    let is_reversed = !is_connected(rule.outputs.iter().map(|(left, _)| left));
    let sides = |(left, right): &(Term, Term)| {
        if is_reversed { (right.clone(), left.clone()) } else { (left.clone(), right.clone()) }
    };
    let outputs: Vec<(Term, Term)> = rule.outputs.iter().map(sides).collect();
    let mut writer = Writer {
        reading,
        taken: rule.inputs().into_iter().map(|name| name.to_string()).collect(),
        roots: BTreeMap::new(),
        names: BTreeMap::new(),
        bound: None,
        lines: Vec::new(),
        conditions: Vec::new(),
        unused: Vec::new(),
        hints: Vec::new(),
        alike: Alike::default(),
        ranked: Vec::new(),
    };
    let roots: Vec<String> = outputs.iter().map(|_| writer.fresh("y")).collect();
    writer.roots = outputs.iter().map(|(left, _)| left.clone()).zip(roots.clone()).collect();
    for (left, _) in &outputs {
        if let Term::Input(name) = left {
            return Err(format!("the left side is the input `{name}` alone"));
        }
        writer.write(left)?;
    }
    let left = std::mem::take(&mut writer.lines);
    writer.begin_right();
    let mut aliases = Vec::new();
    for ((_, right), root) in outputs.iter().zip(&roots) {
        let there = match right {
            Term::Input(name) => Some(name.to_string()),
            Term::Call(..) => writer.names.get(right).cloned(),
        };
        match there {
            Some(name) => aliases.push(format!("{root} = {name}")),
            None => drop(writer.roots.insert(right.clone(), root.clone())),
        }
    }
    for (_, right) in &outputs {
        writer.write(right)?;
    }
    writer.lines.extend(aliases);
    let mut text = format!("/// {}\nrule {name} : reassociates {{\n", rule.equation());
    let mut push = |line: &str| {
        let _ = writeln!(text, "    {line}");
    };
    left.iter().for_each(|line| push(line));
    writer.conditions.iter().for_each(|condition| push(&format!("where {condition}")));
    if !writer.unused.is_empty() {
        push(&format!("unused {}", writer.unused.join(", ")));
    }
    push("=>");
    writer.lines.iter().for_each(|line| push(line));
    text.push_str("}\n");
    Ok(Translation { text, is_reversed, hints: writer.hints })
}

/// True when a matcher gets from each of `terms` to the next ones over inputs that they share.
fn is_connected<'a>(terms: impl Iterator<Item = &'a Term>) -> bool {
    let mut reached: Vec<&Name> = Vec::new();
    for (at, term) in terms.enumerate() {
        let mut inputs = Vec::new();
        term.each_input(&mut |name| inputs.push(name));
        if at > 0 && !inputs.iter().any(|name| reached.contains(name)) {
            return false;
        }
        reached.extend(inputs);
    }
    true
}

/// Shapes, as expressions, of which it is known already that they are equal.
#[derive(Default)]
struct Alike(Vec<BTreeSet<String>>);

impl Alike {
    /// Notes that both are equal; false when that was known.
    fn join(&mut self, a: &str, b: &str) -> bool {
        if a == b || self.0.iter().any(|set| set.contains(a) && set.contains(b)) {
            return false;
        }
        let (joined, apart): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|set| set.contains(a) || set.contains(b));
        self.0 = apart;
        self.0.push(joined.into_iter().flatten().chain([a.to_owned(), b.to_owned()]).collect());
        true
    }
}

struct Writer {
    reading: Reading,
    /// Names that are in use.
    taken: Vec<String>,
    /// The names that results of this side must have.
    roots: BTreeMap<Term, String>,
    /// What this side can read.
    names: BTreeMap<Term, String>,
    /// On the right side, what the left side named: all that conditions can mention.
    bound: Option<BTreeMap<Term, String>>,
    lines: Vec<String>,
    conditions: Vec<String>,
    unused: Vec<String>,
    hints: Vec<Hint>,
    alike: Alike,
    /// Shapes whose number of axes is known, as expressions.
    ranked: Vec<(String, usize)>,
}

impl Writer {
    fn fresh(&mut self, stem: &str) -> String {
        let mut names = std::iter::once(stem.to_owned()).chain((1..).map(|n| format!("{stem}{n}")));
        let name = names.find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.push(name.clone());
        name
    }

    // The right side reads what the left side computes, what it replaces apart.
    fn begin_right(&mut self) {
        self.bound = Some(self.names.clone());
        let roots = std::mem::take(&mut self.roots);
        self.names.retain(|term, _| !roots.contains_key(term));
    }

    fn name_of(&mut self, term: &Term) -> String {
        let name = self.roots.get(term).cloned().unwrap_or_else(|| self.fresh("t"));
        self.names.insert(term.clone(), name.clone());
        name
    }

    /// The name of the value of `term`, written first when it is not there yet.
    fn write(&mut self, term: &Term) -> Result<String, String> {
        let (operator, args) = match term {
            Term::Input(name) => return Ok(name.to_string()),
            Term::Call(operator, args) => (operator, args),
        };
        if let Some(name) = self.names.get(term) {
            return Ok(name.clone());
        }
        if let (Operator::Part(_), Term::Call(Operator::Split { axis }, whole)) = (operator, &args[0]) {
            self.split(&args[0], &whole[0], *axis)?;
            return self.names.get(term).cloned().ok_or_else(|| format!("`{term}` is not one of two parts"));
        }
        let inputs = args.iter().map(|arg| self.write(arg)).collect::<Result<Vec<_>, _>>()?;
        let name = self.name_of(term);
        self.require(*operator, args);
        let line = match operator {
            Operator::Unary(op) => format!("{name} = {op} ({})", inputs[0]),
            Operator::Elementwise(op) => format!("{name} = {op} ({}, {})", inputs[0], inputs[1]),
            Operator::MatMul => format!("{name} = MatMul ({}, {})", inputs[0], inputs[1]),
            Operator::Concat { axis, .. } => format!("{name} = Concat <axis = {axis}> ({}, {})", inputs[0], inputs[1]),
            Operator::Conv { strides, is_same } => self.convolution(&name, args, &inputs, *strides, *is_same),
            Operator::Split { .. } | Operator::Part(_) => return Err("a split stands below its parts only".into()),
        };
        self.lines.push(line);
        Ok(name)
    }

    fn convolution(
        &mut self,
        name: &str,
        args: &[Term],
        inputs: &[String],
        strides: [usize; 2],
        is_same: bool,
    ) -> String {
        let (input, weights) = (&inputs[0], &inputs[1]);
        let kernel = [format!("dim ({weights}, 2)"), format!("dim ({weights}, 3)")];
        let same = format!("[({0} - 1) / 2, ({1} - 1) / 2, {0} / 2, {1} / 2]", kernel[0], kernel[1]);
        let pads = if is_same { same } else { "[0, 0, 0, 0]".into() };
        let fixed = format!("auto_pad = \"NOTSET\", strides = {strides:?}, dilations = [1, 1]");
        if self.bound.is_some() {
            let group = format!("dim ({input}, 1) / dim ({weights}, 1)");
            let kernel = format!("[{}, {}]", kernel[0], kernel[1]);
            return format!(
                "{name} = Conv <{fixed}, group = {group}, kernel_shape = {kernel}, pads = {pads}> ({input}, {weights}, Expand (0, [dim ({weights}, 0)]))"
            );
        }
        let (label, bias) = (self.fresh("c"), self.fresh("b"));
        self.conditions.push(format!("{label}.pads == {pads}"));
        self.conditions.push(format!("splat ({bias}) == 0"));
        self.unused.push(format!("{label}.kernel_shape"));
        let group = match self.reading {
            Reading::Strict => ", group = 1",
            Reading::Liberal => {
                self.unused.push(format!("{label}.group"));
                ""
            }
        };
        let (input_term, weights_term) = (args[0].clone(), args[1].clone());
        self.hints.push(Hint::Conv { label: label.clone(), input: input_term, weights: weights_term, is_same });
        format!("[{label}] {name} = Conv <{fixed}{group}> ({input}, {weights}, {bias})")
    }

    fn split(&mut self, term: &Term, whole: &Term, axis: usize) -> Result<(), String> {
        let input = self.write(whole)?;
        let (first, second, at) =
            shapes::cut(whole, axis).ok_or_else(|| format!("no join below `{term}` says where it is cut"))?;
        let size = |part: &Term| self.shape(part).map(|shape| dim(&shape, at));
        let sizes =
            size(first).zip(size(second)).ok_or_else(|| format!("the sizes of the parts of `{term}` are not known"))?;
        let outputs =
            [0, 1].map(|index| self.name_of(&Term::Call(Operator::Part(index), vec![term.clone()]))).join(", ");
        let sizes = format!("[{}, {}]", sizes.0, sizes.1);
        if self.bound.is_some() {
            self.lines.push(format!("{outputs} = Split <axis = {axis}> ({input}, {sizes})"));
            return Ok(());
        }
        let (label, cut) = (self.fresh("s"), self.fresh("cut"));
        self.conditions.push(format!("ints ({cut}) == {sizes}"));
        self.unused.push(format!("{label}.num_outputs"));
        self.hints.push(Hint::Sizes(cut.clone(), first.clone(), second.clone(), at));
        self.lines.push(format!("[{label}] {outputs} = Split <axis = {axis}> ({input}, {cut})"));
        Ok(())
    }

    /// Adds the conditions under which the published checker admits a call, as far as our types do not imply them.
    fn require(&mut self, operator: Operator, args: &[Term]) {
        match operator {
            Operator::Elementwise(_) if self.reading == Reading::Strict => {
                if let (Some(a), Some(b)) = (self.shape(&args[0]), self.shape(&args[1]))
                    && self.alike.join(&a, &b)
                {
                    self.conditions.push(match (value(&a), value(&b)) {
                        (Some(a), Some(b)) => format!("same_shape ({a}, {b})"),
                        _ => format!("{a} == {b}"),
                    });
                }
            }
            Operator::MatMul => {
                let is_matrix = |term: &Term| self.rank(term) == Some(2);
                if args.iter().all(is_matrix) {
                    return;
                }
                if let (Some(a), Some(b)) = (self.batch(&args[0]), self.batch(&args[1]))
                    && self.alike.join(&a, &b)
                {
                    self.conditions.push(format!("{a} == {b}"));
                }
            }
            Operator::Concat { rank, .. } => {
                // That all operands have as many axes is what the operator's own types say.
                if self.rank(&args[0]) != Some(rank)
                    && let Some(shape) = self.shape(&args[0])
                {
                    self.conditions.push(match value(&shape) {
                        Some(value) => format!("rank ({value}) == {rank}"),
                        None => format!("len ({shape}) == {rank}"),
                    });
                }
                for term in args {
                    self.ranked.extend(self.shape(term).map(|shape| (shape, rank)));
                }
            }
            Operator::Conv { .. } => {
                for term in args {
                    self.ranked.extend(self.shape(term).map(|shape| (shape, 4)));
                }
            }
            _ => {}
        }
    }

    /// The shape of `term` as an expression over what the left side binds; `None` when there is none.
    fn shape(&self, term: &Term) -> Option<String> {
        match term {
            Term::Input(name) => Some(format!("shape ({name})")),
            Term::Call(Operator::Unary(_), args) => self.shape(&args[0]),
            Term::Call(Operator::Elementwise(_), args) if self.reading == Reading::Strict => self.shape(&args[0]),
            Term::Call(operator, args) => {
                if let Some(name) = self.bound.as_ref().unwrap_or(&self.names).get(term) {
                    return Some(format!("shape ({name})"));
                }
                let (a, b) = (self.shape(args.first()?)?, self.shape(args.get(1)?)?);
                match operator {
                    Operator::MatMul => Some(format!("concat (slice ({a}, 0, -1), [{}])", dim(&b, -1))),
                    Operator::Concat { axis, rank } => {
                        let joined = format!("[{} + {}]", dim(&a, *axis), dim(&b, *axis));
                        let before = (*axis > 0).then(|| format!("slice ({a}, 0, {axis})"));
                        let behind = (axis + 1 < *rank).then(|| format!("slice ({a}, {}, {rank})", axis + 1));
                        let parts: Vec<String> = before.into_iter().chain([joined]).chain(behind).collect();
                        Some(format!("concat ({})", parts.join(", ")))
                    }
                    Operator::Conv { is_same: true, .. } => {
                        Some(format!("[{}, {}, {}, {}]", dim(&a, 0), dim(&b, 0), dim(&a, 2), dim(&a, 3)))
                    }
                    _ => None,
                }
            }
        }
    }

    /// The leading axes of a batch of matrices.
    fn batch(&self, term: &Term) -> Option<String> {
        match term {
            Term::Call(Operator::MatMul | Operator::Unary(_), args) => self.batch(&args[0]),
            Term::Call(Operator::Elementwise(_), args) if self.reading == Reading::Strict => self.batch(&args[0]),
            _ => self.shape(term).map(|shape| format!("slice ({shape}, 0, -2)")),
        }
    }

    fn rank(&self, term: &Term) -> Option<usize> {
        match term {
            Term::Call(Operator::Concat { rank, .. }, _) => Some(*rank),
            Term::Call(Operator::Conv { .. }, _) => Some(4),
            Term::Call(Operator::MatMul | Operator::Unary(_), args) => self.rank(&args[0]),
            Term::Call(Operator::Elementwise(_), args) if self.reading == Reading::Strict => {
                self.rank(&args[0]).or_else(|| self.rank(&args[1]))
            }
            _ => {
                let shape = self.shape(term)?;
                let known = |text: &str| self.ranked.iter().find(|(shape, _)| shape == text).map(|(_, rank)| *rank);
                let set = self.alike.0.iter().find(|set| set.contains(&shape));
                known(&shape).or_else(|| set?.iter().find_map(|text| known(text)))
            }
        }
    }
}

/// The name in `shape (name)`.
fn value(shape: &str) -> Option<&str> {
    shape.strip_prefix("shape (")?.strip_suffix(')').filter(|name| !name.contains('('))
}

/// One item of a shape.
fn dim(shape: &str, axis: impl std::fmt::Display) -> String {
    match value(shape) {
        Some(value) => format!("dim ({value}, {axis})"),
        None => format!("at ({shape}, {axis})"),
    }
}
