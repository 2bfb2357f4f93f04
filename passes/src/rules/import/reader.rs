//! Reads the S-expressions in which TENSAT publishes rules: `LEFT=>RIGHT`, one equation a line.

use super::term::{Operator, Published, Term};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind};
use std::ops::Range;

/// How the lines of a file form rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Each line is a rule.
    Single,
    /// Two consecutive lines are one rule with two outputs.
    Pairs,
}

/// Nesting beyond this is refused, so that a file cannot exhaust the stack.
const DEEPEST: usize = 64;

/// The rules of `source`. Errors: every line that is no equation of known operators, with its place (`R0040`, `R0041`).
pub fn read(source: &str, lines: Lines) -> Result<Vec<Published>, Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut equations = Vec::new();
    let mut start = 0;
    for (at, text) in source.split('\n').enumerate() {
        let end = start + text.len();
        if !text.trim().is_empty() {
            match (Reader { source, at: start, end, depth: 0 }).equation() {
                Ok(sides) => equations.push((at + 1, text.trim(), sides)),
                Err(problem) => problems.push(*problem),
            }
        }
        start = end + 1;
    }
    let n_lines = match lines {
        Lines::Single => 1,
        Lines::Pairs => 2,
    };
    // A line that does not parse would shift the pairs behind it, so their number is only checked in a file without any.
    if !problems.has_errors() && !equations.len().is_multiple_of(n_lines) {
        let message = format!("rules are pairs of lines, found {} lines", equations.len());
        problems.push(Diagnostic::error(Kind::Malformed, "R0040", message).at_span(source.len()..source.len()));
    }
    let rule = |(at, lines): (usize, &[(usize, &str, (Term, Term))])| Published {
        number: at + 1,
        line: lines[0].0,
        text: lines.iter().map(|(_, text, _)| *text).collect::<Vec<_>>().join("; "),
        outputs: lines.iter().map(|(.., sides)| sides.clone()).collect(),
    };
    let rules = equations.chunks(n_lines).enumerate().map(rule).collect();
    problems.into_result(rules).map(|(rules, _)| rules)
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    end: usize,
    depth: usize,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..self.end]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, text: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn expect(&mut self, text: &str) -> Parsed<()> {
        if self.eat(text) { Ok(()) } else { Err(self.unexpected(&format!("`{text}`"))) }
    }

    /// The next word: all up to a space, a bracket or the arrow.
    fn word(&mut self) -> (&'a str, Range<usize>) {
        self.skip_space();
        let rest = self.rest();
        let length = rest.find(|c: char| c.is_whitespace() || "()=".contains(c)).unwrap_or(rest.len());
        let span = self.at..self.at + length;
        self.at = span.end;
        (&rest[..length], span)
    }

    fn unexpected(&mut self, expected: &str) -> Box<Diagnostic> {
        self.skip_space();
        let found = match self.rest().chars().next() {
            Some(c) => format!("`{c}`"),
            None => "the end of the line".into(),
        };
        let end = self.at + self.rest().chars().next().map_or(0, char::len_utf8);
        let message = format!("{expected} is expected, found {found}");
        Box::new(Diagnostic::error(Kind::Malformed, "R0040", message).at_span(self.at..end))
    }

    fn equation(mut self) -> Parsed<(Term, Term)> {
        let left = self.term()?;
        self.expect("=>")?;
        let right = self.term()?;
        self.skip_space();
        if self.at < self.end {
            return Err(self.unexpected("the end of the line"));
        }
        Ok((left, right))
    }

    fn term(&mut self) -> Parsed<Term> {
        if self.eat("?") {
            let (name, span) = self.word();
            let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                let message = format!("`{name}` is no name of an input: letters, digits and `_`, a letter first");
                return Err(Box::new(Diagnostic::error(Kind::Malformed, "R0040", message).at_span(span)));
            }
            return Ok(Term::Input(name.into()));
        }
        self.expect("(")?;
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.unexpected("less nesting"));
        }
        let term = self.call()?;
        self.depth -= 1;
        self.expect(")")?;
        Ok(term)
    }

    fn call(&mut self) -> Parsed<Term> {
        let (name, span) = self.word();
        Ok(match name {
            "relu" => self.apply(Operator::Unary("Relu"), 1)?,
            "sigmoid" => self.apply(Operator::Unary("Sigmoid"), 1)?,
            "tanh" => self.apply(Operator::Unary("Tanh"), 1)?,
            "ewadd" => self.apply(Operator::Elementwise("Add"), 2)?,
            "ewmul" => self.apply(Operator::Elementwise("Mul"), 2)?,
            "matmul" => {
                let activation = self.activation()?;
                activated(activation, self.apply(Operator::MatMul, 2)?)
            }
            "conv2d" => {
                let strides = [self.number(1..=64)?, self.number(1..=64)?];
                let is_same = self.number(0..=1)? == 0;
                if is_same && strides != [1, 1] {
                    let message = "padding that keeps the size is translated for strides of 1 only";
                    let help = "with larger strides the padding depends on the size of the input";
                    return Err(unsupported(message, span).help(help).into());
                }
                let activation = self.activation()?;
                activated(activation, self.apply(Operator::Conv { strides, is_same }, 2)?)
            }
            "concat" => {
                let axis = self.number(0..=7)?;
                let rank = self.number(axis + 1..=8)?;
                self.apply(Operator::Concat { axis, rank }, 2)?
            }
            "split_0" => self.part(0)?,
            "split_1" => self.part(1)?,
            _ => {
                let message = format!("the operator `{name}` is not translated");
                let help =
                    "conv2d, matmul, concat, split_0 and split_1 of split, ewadd, ewmul, relu, sigmoid and tanh are";
                return Err(unsupported(&message, span).help(help).into());
            }
        })
    }

    fn apply(&mut self, operator: Operator, n_args: usize) -> Parsed<Term> {
        let args = (0..n_args).map(|_| self.term()).collect::<Parsed<_>>()?;
        Ok(Term::Call(operator, args))
    }

    fn part(&mut self, index: usize) -> Parsed<Term> {
        self.expect("(")?;
        self.expect("split ")?;
        let axis = self.number(0..=7)?;
        let whole = self.apply(Operator::Split { axis }, 1)?;
        self.expect(")")?;
        Ok(Term::Call(Operator::Part(index), vec![whole]))
    }

    fn number(&mut self, allowed: std::ops::RangeInclusive<usize>) -> Parsed<usize> {
        let (text, span) = self.word();
        text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
            let message = format!("a number from {} to {} is expected, found `{text}`", allowed.start(), allowed.end());
            Box::new(Diagnostic::error(Kind::Malformed, "R0040", message).at_span(span))
        })
    }

    fn activation(&mut self) -> Parsed<Option<Operator>> {
        let names = [None, Some("Sigmoid"), Some("Relu"), Some("Tanh")];
        Ok(names[self.number(0..=3)?].map(Operator::Unary))
    }
}

fn unsupported(message: &str, span: Range<usize>) -> Diagnostic {
    Diagnostic::error(Kind::Unsupported, "R0041", message).at_span(span)
}

fn activated(activation: Option<Operator>, term: Term) -> Term {
    match activation {
        Some(operator) => Term::Call(operator, vec![term]),
        None => term,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_of_a_convolution_is_a_call_of_its_own() {
        let rules = read("(relu (conv2d 1 1 0 0 ?x ?w))=>(conv2d 1 1 0 2 ?x ?w)\n", Lines::Single);
        let rules = rules.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(rules[0].equation(), "relu(conv(x, w)) == relu(conv(x, w))");
        assert!(rules[0].is_trivial());
    }

    #[test]
    fn two_lines_form_a_rule_of_two_outputs() {
        let source = "(relu ?a)=>(split_0 (split 1 (relu (concat 1 2 ?a ?b))))\n\
                      (relu ?b)=>(split_1 (split 1 (relu (concat 1 2 ?a ?b))))";
        let rules = read(source, Lines::Pairs).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((rules.len(), rules[0].outputs.len(), rules[0].line), (1, 2, 1));
        assert_eq!(rules[0].inputs(), ["a", "b"]);
        assert_eq!(rules[0].outputs[1].1.to_string(), "part1(split(relu(concat(a, b; 1)); 1))");
    }

    #[test]
    fn malformed_input_is_an_error_with_its_place() {
        let deep = format!("{}?x{}=>?x", "(relu ".repeat(100), ")".repeat(100));
        let cases: &[(&str, &str, usize)] = &[
            ("(relu ?x=>?x", "R0040", 8),
            ("(relu ?x)", "R0040", 9),
            ("(relu ?x)=>?x ?y", "R0040", 14),
            ("(relu x)=>?x", "R0040", 6),
            ("(relu ?1x)=>?x", "R0040", 7),
            ("(conv2d 1 1 5 0 ?x ?w)=>?x", "R0040", 12),
            ("(concat 2 2 ?x ?y)=>?x", "R0040", 10),
            ("(split 1 ?x)=>?x", "R0041", 1),
            ("(ewadd ?x ?y)=>(poolmax ?x)", "R0041", 16),
            ("(conv2d 2 2 0 0 ?x ?w)=>?x", "R0041", 1),
            ("\u{e9}=>?x", "R0040", 0),
            (&deep, "R0040", 385),
        ];
        for (source, code, start) in cases {
            let problems = read(source, Lines::Single).err().unwrap_or_default();
            let found =
                problems.0.first().map(|problem| (problem.code, problem.place.span.clone().map(|span| span.start)));
            assert_eq!(found, Some((*code, Some(*start))), "{source}");
        }
    }

    #[test]
    fn a_pair_needs_its_second_line() {
        let problems = read("(relu ?x)=>(tanh ?x)\n", Lines::Pairs).err().unwrap_or_default();
        assert_eq!(problems.0.len(), 1, "{problems}");
    }

    #[test]
    fn order_of_operands_and_names_do_not_make_another_rule() {
        let source = "(ewmul ?a (ewadd ?b ?c))=>(ewadd (ewmul ?a ?b) (ewmul ?a ?c))\n\
                      (ewmul (ewadd ?z ?y) ?x)=>(ewadd (ewmul ?y ?x) (ewmul ?x ?z))\n\
                      (ewmul ?a (ewadd ?b ?c))=>(ewadd (ewmul ?a ?b) (ewmul ?b ?c))";
        let rules = read(source, Lines::Single).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(rules[0].normal_form(), rules[1].normal_form());
        assert_ne!(rules[0].normal_form(), rules[2].normal_form());
    }
}
