//! Parses rule files into syntax trees; `check` gives them meaning. The grammar stands in the module above.

use super::Contract;
use super::expr::Binary;
use eutectic_ir::Name;
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind as Failure};
use eutectic_ir::text::lexer::{Kind, Token, tokens};
use std::ops::Range;

/// A range of bytes in the file.
pub type Span = Range<usize>;

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Spanned {
    /// The name.
    pub name: Name,
    /// Where it stands.
    pub span: Span,
}

/// One rule as written.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RuleText {
    pub doc: String,
    pub name: Spanned,
    pub contract: Contract,
    pub left: Vec<CallText>,
    pub conditions: Vec<ExprText>,
    pub unused: Vec<(Spanned, Spanned)>,
    pub examples: Vec<Vec<(Name, ExprText)>>,
    pub right: Vec<StepText>,
    pub span: Span,
    pub line: u32,
}

/// One call as written.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct CallText {
    pub label: Option<Spanned>,
    pub outputs: Vec<Option<Spanned>>,
    pub domain: Option<Spanned>,
    pub op: Spanned,
    pub attrs: Vec<AttrText>,
    pub inputs: Vec<InputText>,
    pub span: Span,
}

/// One item between `<` and `>`.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum AttrText {
    Set(Spanned, ExprText),
    Copy(Spanned),
}

/// One input as written.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum InputText {
    Call(CallText),
    Optional(Spanned),
    Rest(Spanned),
    Absent(Span),
    Expr(ExprText),
}

/// One line of the right side.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum StepText {
    Call(CallText),
    Alias(Spanned, InputText),
}

/// An expression as written.
#[derive(Clone, Debug)]
pub struct ExprText {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum ExprKind {
    Int(i64),
    Real(f64),
    Text(Name),
    Name(Name),
    Member(Spanned, Spanned),
    List(Vec<ExprText>),
    Apply(Name, Vec<ExprText>),
    Binary(Binary, Box<ExprText>, Box<ExprText>),
    Negate(Box<ExprText>),
}

/// Nesting beyond this is refused, so that a file cannot exhaust the stack.
const DEEPEST: u32 = 64;

/// Parses every rule of `source`; a rule that does not parse is reported and skipped.
pub fn parse(source: &str) -> (Vec<RuleText>, Diagnostics) {
    let (tokens, mut problems) = tokens(source);
    let mut parser = Parser { source, tokens: &tokens, at: 0, depth: 0 };
    let mut rules = Vec::new();
    while parser.at < tokens.len() {
        let start = parser.at;
        match parser.rule() {
            Ok(rule) => rules.push(rule),
            Err(problem) => {
                problems.push(*problem);
                // The next rule begins at the next word `rule` with what stands before it.
                parser.at = parser.at.max(start + 1);
                while parser.peek().is_some_and(|token| !token.is_word("rule") && token.kind != Kind::Doc) {
                    parser.at += 1;
                }
            }
        }
    }
    (rules, problems)
}

struct Parser<'a> {
    source: &'a str,
    tokens: &'a [Token<'a>],
    at: usize,
    depth: u32,
}

type Parsed<T> = Result<T, Box<Diagnostic>>;

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'a Token<'a>> {
        self.tokens.get(self.at + ahead)
    }

    fn is(&self, punct: &str) -> bool {
        self.peek().is_some_and(|token| token.is(punct))
    }

    fn eat(&mut self, punct: &str) -> bool {
        let found = self.is(punct);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, punct: &str) -> Parsed<()> {
        if self.eat(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{punct}`"))) }
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_word(word));
        self.at += usize::from(found);
        found
    }

    fn name(&mut self, what: &str) -> Parsed<Spanned> {
        match self.peek() {
            Some(token) if token.kind == Kind::Ident => {
                self.at += 1;
                Ok(Spanned { name: token.text.into(), span: token.span() })
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn unexpected(&self, expected: &str) -> Box<Diagnostic> {
        let end = self.source.len();
        let (found, span) = match self.peek() {
            Some(token) => (token.shown(), token.span()),
            None => ("the end of the text".to_owned(), end..end),
        };
        let message = format!("{expected} is expected, found {found}");
        Box::new(Diagnostic::error(Failure::Malformed, "R0001", message).at_span(span))
    }

    fn start(&self) -> usize {
        self.peek().map_or(self.source.len(), |token| token.start)
    }

    fn since(&self, start: usize) -> Span {
        let end = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(start, |token| token.span().end);
        start..end.max(start)
    }

    fn rule(&mut self) -> Parsed<RuleText> {
        let mut doc: Vec<&str> = Vec::new();
        while let Some(line) = self.peek().and_then(|token| token.doc()) {
            doc.push(line);
            self.at += 1;
        }
        let start = self.start();
        if !self.eat_word("rule") {
            return Err(self.unexpected("`rule`"));
        }
        let name = self.name("the rule's name")?;
        self.expect(":")?;
        let contract = self.contract()?;
        self.expect("{")?;
        let line = 1 + self.source[..start].bytes().filter(|&byte| byte == b'\n').count() as u32;
        let mut rule = RuleText {
            doc: doc.join("\n"),
            name,
            contract,
            left: Vec::new(),
            conditions: Vec::new(),
            unused: Vec::new(),
            examples: Vec::new(),
            right: Vec::new(),
            span: start..start,
            line,
        };
        while !self.eat("=>") {
            self.left(&mut rule)?;
        }
        while !self.eat("}") {
            let step = self.right()?;
            rule.right.push(step);
        }
        rule.span = self.since(start);
        Ok(rule)
    }

    fn contract(&mut self) -> Parsed<Contract> {
        if self.eat_word("exact") {
            return Ok(if self.eat_word("finite") { Contract::ExactFinite } else { Contract::Exact });
        }
        if self.eat_word("reassociates") {
            return Ok(Contract::Reassociates);
        }
        if self.eat_word("approximates") {
            self.expect("(")?;
            let bound = self.peek().and_then(|token| token.float()).filter(|bound| *bound > 0.0 && *bound < 1.0);
            let bound = bound.ok_or_else(|| self.unexpected("a relative error between 0 and 1"))?;
            self.at += 1;
            self.expect(")")?;
            return Ok(Contract::Approximates(bound));
        }
        Err(self.unexpected("a contract (`exact`, `exact finite`, `reassociates`, `approximates(1e-3)`)"))
    }

    fn left(&mut self, rule: &mut RuleText) -> Parsed<()> {
        if self.eat_word("where") {
            rule.conditions.push(self.expr()?);
            while self.eat(",") {
                rule.conditions.push(self.expr()?);
            }
        } else if self.eat_word("unused") {
            loop {
                let label = self.name("a label")?;
                self.expect(".")?;
                rule.unused.push((label, self.name("an attribute")?));
                if !self.eat(",") {
                    break;
                }
            }
        } else if self.eat_word("example") {
            let mut example = Vec::new();
            loop {
                let mut name = self.name("a variable, or `label.attr`")?.name.to_string();
                if self.eat(".") {
                    name = format!("{name}.{}", self.name("an attribute")?.name);
                }
                self.expect(":")?;
                example.push((name.into(), self.sum()?));
                if !self.eat(",") {
                    break;
                }
            }
            rule.examples.push(example);
        } else {
            let call = self.statement()?;
            rule.left.push(call);
        }
        Ok(())
    }

    fn statement(&mut self) -> Parsed<CallText> {
        let start = self.start();
        let label = if self.eat("[") {
            let label = self.name("a label")?;
            self.expect("]")?;
            Some(label)
        } else {
            None
        };
        let outputs = self.outputs()?;
        self.expect("=")?;
        let mut call = self.call()?;
        call.label = label;
        call.outputs = outputs;
        call.span = self.since(start);
        Ok(call)
    }

    fn outputs(&mut self) -> Parsed<Vec<Option<Spanned>>> {
        let mut outputs = Vec::new();
        loop {
            let name = self.name("an output's name")?;
            outputs.push(Some(name).filter(|name| name.name != "_"));
            if !self.eat(",") {
                return Ok(outputs);
            }
        }
    }

    fn right(&mut self) -> Parsed<StepText> {
        let start = self.start();
        let mut outputs = self.outputs()?;
        self.expect("=")?;
        if self.begins_call() {
            let mut call = self.call()?;
            call.outputs = outputs;
            call.span = self.since(start);
            return Ok(StepText::Call(call));
        }
        match (outputs.pop().flatten(), outputs.is_empty()) {
            (Some(name), true) => Ok(StepText::Alias(name, self.input()?)),
            _ => Err(self.unexpected("a call")),
        }
    }

    // An operator begins with a capital; a function of expressions does not.
    fn begins_call(&self) -> bool {
        let is_op = |token: Option<&Token>| {
            token.is_some_and(|token| {
                token.kind == Kind::Ident && token.text.starts_with(|c: char| c.is_ascii_uppercase())
            })
        };
        let opens = |token: Option<&Token>| token.is_some_and(|token| token.is("(") || token.is("<"));
        let is_dotted = self.peek().is_some_and(|token| token.kind == Kind::Ident)
            && self.peek_at(1).is_some_and(|token| token.is("."))
            && is_op(self.peek_at(2))
            && opens(self.peek_at(3));
        is_dotted || (is_op(self.peek()) && opens(self.peek_at(1)))
    }

    fn call(&mut self) -> Parsed<CallText> {
        self.deeper(|parser| {
            let start = parser.start();
            let mut op = parser.name("an operator")?;
            let mut domain = None;
            if parser.eat(".") {
                domain = Some(op);
                op = parser.name("an operator")?;
            }
            let mut attrs = Vec::new();
            if parser.eat("<") {
                while !parser.eat(">") {
                    attrs.push(parser.attr()?);
                    if !parser.is(">") {
                        parser.expect(",")?;
                    }
                }
            }
            parser.expect("(")?;
            let mut inputs = Vec::new();
            while !parser.eat(")") {
                inputs.push(parser.input()?);
                if !parser.is(")") {
                    parser.expect(",")?;
                }
            }
            Ok(CallText { label: None, outputs: Vec::new(), domain, op, attrs, inputs, span: parser.since(start) })
        })
    }

    fn attr(&mut self) -> Parsed<AttrText> {
        if self.eat("..") {
            return Ok(AttrText::Copy(self.name("a label")?));
        }
        let name = self.name("an attribute")?;
        self.expect("=")?;
        Ok(AttrText::Set(name, self.sum()?))
    }

    fn input(&mut self) -> Parsed<InputText> {
        if self.eat("..") {
            return Ok(InputText::Rest(self.name("a variable")?));
        }
        if let Some(token) = self.peek()
            && token.string().is_some_and(|text| text.is_empty())
        {
            self.at += 1;
            return Ok(InputText::Absent(token.span()));
        }
        if self.begins_call() {
            return Ok(InputText::Call(self.call()?));
        }
        if self.peek_at(1).is_some_and(|token| token.is("?")) {
            let name = self.name("a variable")?;
            self.expect("?")?;
            return Ok(InputText::Optional(name));
        }
        Ok(InputText::Expr(self.sum()?))
    }

    fn expr(&mut self) -> Parsed<ExprText> {
        let left = self.sum()?;
        let operators = [
            ("==", Binary::Eq),
            ("!=", Binary::Ne),
            ("<=", Binary::Le),
            (">=", Binary::Ge),
            ("<", Binary::Lt),
            (">", Binary::Gt),
            ("~", Binary::Near),
        ];
        for (text, operator) in operators {
            if self.eat(text) {
                let right = self.sum()?;
                return Ok(binary(operator, left, right));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Parsed<ExprText> {
        let mut left = self.product()?;
        loop {
            // `rank -1` lexes as two numbers; between expressions the sign is an operator.
            let is_signed = self
                .peek()
                .is_some_and(|token| matches!(token.kind, Kind::Int | Kind::Float) && token.text.starts_with('-'));
            if is_signed || self.eat("+") {
                left = binary(Binary::Add, left, self.product()?);
            } else if self.eat("-") {
                left = binary(Binary::Sub, left, self.product()?);
            } else {
                return Ok(left);
            }
        }
    }

    fn product(&mut self) -> Parsed<ExprText> {
        let mut left = self.unary()?;
        loop {
            let operator = match self.peek() {
                Some(token) if token.is("*") => Binary::Mul,
                Some(token) if token.is("/") => Binary::Div,
                Some(token) if token.is("%") => Binary::Rem,
                _ => return Ok(left),
            };
            self.at += 1;
            left = binary(operator, left, self.unary()?);
        }
    }

    fn unary(&mut self) -> Parsed<ExprText> {
        let start = self.start();
        if self.eat("-") {
            let inner = self.deeper(Parser::unary)?;
            return Ok(ExprText { kind: ExprKind::Negate(Box::new(inner)), span: self.since(start) });
        }
        self.deeper(Parser::atom)
    }

    fn atom(&mut self) -> Parsed<ExprText> {
        let start = self.start();
        let kind = self.atom_kind()?;
        Ok(ExprText { kind, span: self.since(start) })
    }

    fn atom_kind(&mut self) -> Parsed<ExprKind> {
        if self.eat("(") {
            let inner = self.expr()?;
            self.expect(")")?;
            return Ok(inner.kind);
        }
        if self.eat("[") {
            return self.items("]").map(ExprKind::List);
        }
        let Some(token) = self.peek() else { return Err(self.unexpected("an expression")) };
        if let Some(text) = token.string() {
            self.at += 1;
            return Ok(ExprKind::Text(text.into()));
        }
        if let Some(value) = token.int() {
            self.at += 1;
            return Ok(ExprKind::Int(value));
        }
        if let Some(value) = token.float() {
            self.at += 1;
            return Ok(ExprKind::Real(value));
        }
        let name = self.name("an expression")?;
        if self.eat("(") {
            return Ok(ExprKind::Apply(name.name, self.items(")")?));
        }
        if self.eat(".") {
            return Ok(ExprKind::Member(name, self.name("an attribute")?));
        }
        Ok(ExprKind::Name(name.name))
    }

    fn items(&mut self, close: &str) -> Parsed<Vec<ExprText>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.expr()?);
            if !self.is(close) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        let parsed = if self.depth > DEEPEST { Err(self.unexpected("less nesting")) } else { parse(self) };
        self.depth -= 1;
        parsed
    }
}

fn binary(operator: Binary, left: ExprText, right: ExprText) -> ExprText {
    let span = left.span.start..right.span.end;
    ExprText { kind: ExprKind::Binary(operator, Box::new(left), Box::new(right)), span }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_one_broken_rule_still_gives_the_others() {
        let source = "/// a\nrule a : exact { y = Relu (x) => y = x }\n/// b\nrule b : loose { }\n\
                      /// c\nrule c : approximates(1e-3) { y = Relu <> (x) => y = Relu (Relu (x)) }";
        let (rules, problems) = parse(source);
        assert_eq!(
            rules.iter().map(|rule| (rule.name.name.as_str(), rule.line)).collect::<Vec<_>>(),
            [("a", 2), ("c", 6)]
        );
        assert_eq!(problems.0.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["R0001"]);
        assert_eq!(problems.0[0].place.span, source.find("loose").map(|at| at..at + 5));
    }

    #[test]
    fn a_minus_between_numbers_is_an_operator() {
        let (rules, _) = parse("rule a : exact { y = Relu (x) where 3 -1 == 2 - -x.rank => y = x }");
        let ExprKind::Binary(Binary::Eq, left, _) = &rules[0].conditions[0].kind else { panic!("{rules:?}") };
        assert!(matches!(left.kind, ExprKind::Binary(Binary::Add, ..)), "{left:?}");
    }

    #[test]
    fn nesting_is_bounded() {
        let source = format!("rule a : exact {{ y = Relu (x) where {} => y = x }}", "(".repeat(100_000));
        assert_eq!(parse(&source).1.0[0].code, "R0001");
    }
}
