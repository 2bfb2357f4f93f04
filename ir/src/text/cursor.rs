//! Moves over tokens with one token of look-ahead, collects what is wrong, and finds the next place to go on.

use super::lexer::{Kind, Lexer, Token};
use super::syntax::{Spanned, SpannedName};
use crate::diag::{Diagnostic, Diagnostics, Kind as Failure};
use std::ops::Range;

/// Graphs inside graphs, at most: the parser and all that walks its result are recursive there.
pub(super) const MAX_DEPTH: usize = 48;
/// Problems that are kept of one text; a file of another language would give one a line.
const MAX_PROBLEMS: usize = 100;

/// A construct could not be read. The problem has been reported.
#[derive(Debug)]
pub(super) struct Stop;

pub(super) type Parsed<T> = Result<T, Stop>;

pub(super) struct Cursor<'a> {
    source: &'a str,
    lexer: Lexer<'a>,
    current: Token<'a>,
    next: Token<'a>,
    /// Where the token before the current one ends.
    last_end: usize,
    /// Braces that are open.
    braces: usize,
    pub(super) depth: usize,
    pub(super) problems: Diagnostics,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let mut lexer = Lexer::new(source);
        let (current, next) = (lexer.token(), lexer.token());
        let problems = Diagnostics::default();
        Self { source, lexer, current, next, last_end: 0, braces: 0, depth: 0, problems }
    }

    /// The token at the cursor.
    pub(super) fn peek(&self) -> Token<'a> {
        self.current
    }

    /// The token after it.
    pub(super) fn peek_next(&self) -> Token<'a> {
        self.next
    }

    pub(super) fn at_end(&self) -> bool {
        self.current.kind == Kind::End
    }

    /// Takes the token at the cursor.
    pub(super) fn bump(&mut self) -> Token<'a> {
        let token = self.current;
        if token.is("{") {
            self.braces += 1;
        } else if token.is("}") {
            self.braces = self.braces.saturating_sub(1);
        }
        self.last_end = token.span().end;
        self.current = self.next;
        self.next = self.lexer.token();
        token
    }

    /// Takes the token when it is this punctuation.
    pub(super) fn eat(&mut self, punct: &str) -> bool {
        let found = self.current.is(punct);
        if found {
            self.bump();
        }
        found
    }

    /// Takes this punctuation; `place` says where it is missing.
    pub(super) fn expect(&mut self, punct: &str, place: &str) -> Parsed<()> {
        if self.eat(punct) { Ok(()) } else { Err(self.expected(&format!("`{punct}` {place}"))) }
    }

    /// From `start` to the end of the last token taken.
    pub(super) fn span_from(&self, start: usize) -> Range<usize> {
        start..self.last_end.max(start)
    }

    /// Reports that `what` should stand at the cursor.
    pub(super) fn expected(&mut self, what: &str) -> Stop {
        let problem = self.current.problem().unwrap_or_else(|| {
            let message = format!("expected {what}, found {}", self.current.shown());
            Diagnostic::error(Failure::Malformed, "T0003", message).at_span(self.current.span())
        });
        self.stop(problem)
    }

    pub(super) fn stop(&mut self, problem: Diagnostic) -> Stop {
        self.report(problem);
        Stop
    }

    pub(super) fn report(&mut self, problem: Diagnostic) {
        if self.problems.0.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.problems.0.len() >= MAX_PROBLEMS
    }

    /// A name: an identifier, or any text in quotes.
    pub(super) fn name(&mut self, what: &str) -> Parsed<SpannedName> {
        let span = self.current.span();
        let value = match self.current.kind {
            Kind::Ident => self.current.text.into(),
            Kind::String => self.current.string().unwrap_or_default().into(),
            _ => return Err(self.expected(what)),
        };
        self.bump();
        Ok(Spanned { value, span })
    }

    pub(super) fn at_name(&self) -> bool {
        matches!(self.current.kind, Kind::Ident | Kind::String)
    }

    /// A string in quotes.
    pub(super) fn string(&mut self, what: &str) -> Parsed<SpannedName> {
        if self.current.kind == Kind::String { self.name(what) } else { Err(self.expected(what)) }
    }

    /// An integer of the type `T`.
    pub(super) fn int<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<T> {
        if self.current.kind != Kind::Int {
            return Err(self.expected(what));
        }
        match self.current.text.parse() {
            Ok(value) => {
                self.bump();
                Ok(value)
            }
            Err(_) => {
                let message = format!("{} does not fit {what}", self.current.shown());
                let problem = Diagnostic::error(Failure::Invalid, "T0004", message).at_span(self.current.span());
                self.bump();
                Err(self.stop(problem))
            }
        }
    }

    /// A list between `open` and `close`, separated by commas, read by `item`; `open` has been taken.
    pub(super) fn list_until(
        &mut self,
        close: &str,
        place: &str,
        mut item: impl FnMut(&mut Self) -> Parsed<()>,
    ) -> Parsed<()> {
        if self.eat(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.eat(",") {
                return self.expect(close, place);
            }
        }
    }

    /// How many braces are open, for [`Cursor::recover`].
    pub(super) fn braces(&self) -> usize {
        self.braces
    }

    /// Skips to where the next statement of the block begins in which `braces` are open, or to the block's end.
    pub(super) fn recover(&mut self, braces: usize) {
        while !self.at_end() {
            if self.braces == braces && (self.current.is("}") || (self.starts_line() && self.may_start_statement())) {
                return;
            }
            if self.braces < braces {
                return;
            }
            self.bump();
        }
    }

    /// Skips to the next top-level construct: what stands behind the closing brace of the present one.
    pub(super) fn recover_top(&mut self) {
        let mut opened = self.braces > 0;
        while !self.at_end() {
            let token = self.bump();
            opened |= token.is("{");
            if opened && self.braces == 0 && token.is("}") && self.starts_definition() {
                return;
            }
        }
    }

    // Data of weights stand in braces too; behind those follows a comma or a bracket.
    fn starts_definition(&self) -> bool {
        self.current.is("<") && self.next.kind == Kind::Ident || self.at_name()
    }

    fn starts_line(&self) -> bool {
        self.source[self.last_end..self.current.start].contains('\n')
    }

    fn may_start_statement(&self) -> bool {
        self.current.is("[") || (self.at_name() && (self.next.is("=") || self.next.is(",")))
    }
}
