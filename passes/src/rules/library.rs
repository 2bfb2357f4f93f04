//! The rules and fusions that are built in, and those that users load beside them.

use super::{Direction, Rule, check, fusion, syntax};
use eutectic_ir::diag::{Diagnostic, Diagnostics, Kind as Failure};
use eutectic_ir::model::Function;
use std::sync::Arc;

mod files {
    include!(concat!(env!("OUT_DIR"), "/files.rs"));
}

/// The built-in files: path and contents.
pub use files::{FUSION_FILES, RULE_FILES};

/// Families that apply only when they are named: their rules are laws in both directions, which let an e-graph grow
/// without end.
const ON_REQUEST: &[&str] = &["taso"];

/// Rules and fused operators. Names are unique.
#[derive(Clone, Debug, Default)]
pub struct Library {
    rules: Vec<Arc<Rule>>,
    functions: Vec<Arc<Function>>,
}

impl Rule {
    /// True when the rule applies only when it or its family is named.
    pub fn is_on_request(&self) -> bool {
        ON_REQUEST.contains(&self.family())
    }
}

impl Library {
    /// No rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// All that is built in. Errors: a built-in file is broken, which a test rules out.
    pub fn built_in() -> Result<Self, Diagnostics> {
        let mut library = Self::new();
        let mut problems = Diagnostics::default();
        for (file, source) in FUSION_FILES {
            problems.extend(library.load_fusion(file, source).err().into_iter().flatten());
        }
        for (file, source) in RULE_FILES {
            problems.extend(library.load_rules(file, source).err().into_iter().flatten());
        }
        problems.into_result(library).map(|(library, _)| library)
    }

    /// Adds the rules of one file. Errors: every problem of every rule; the sound rules are added all the same.
    pub fn load_rules(&mut self, file: &str, source: &str) -> Result<(), Diagnostics> {
        let (texts, problems) = syntax::parse(source);
        let mut problems = Diagnostics(problems.0.into_iter().map(|problem| problem.in_file(file)).collect());
        for text in &texts {
            match check::check(text, file, source, &self.functions) {
                Ok(rule) => problems.extend(self.add(rule).err()),
                Err(found) => problems.extend(found),
            }
        }
        problems.into_result(()).map(|_| ())
    }

    /// Adds the fused operators of one file, each with the rule that recognises it and the rule that expands it.
    ///
    /// Errors: the text does not parse, a body makes no rule or calls an operator that there is not, or the domain is another.
    pub fn load_fusion(&mut self, file: &str, source: &str) -> Result<(), Diagnostics> {
        let mut problems = Diagnostics::default();
        for function in fusion::parse(file, source)? {
            problems.extend(fusion::mistakes(&function, file));
            match fusion::rules(&function, file, source) {
                Ok(rules) => {
                    self.functions.push(function);
                    for rule in rules {
                        problems.extend(self.add(rule).err());
                    }
                }
                Err(found) => problems.extend(found),
            }
        }
        problems.into_result(()).map(|_| ())
    }

    fn add(&mut self, rule: Rule) -> Result<(), Diagnostic> {
        if let Some(known) = self.rule(&rule.name) {
            let message = format!("two rules have the name `{}`", rule.name);
            return Err(Diagnostic::error(Failure::Invalid, "R0002", message)
                .at_span(rule.span)
                .in_file(rule.file.as_str())
                .note(format!("the other stands in {}, line {}", known.file, known.line)));
        }
        self.rules.push(Arc::new(rule));
        Ok(())
    }

    /// Every rule: those of fusions first, then those of files, in the order of the files.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Every fused operator.
    pub fn functions(&self) -> &[Arc<Function>] {
        &self.functions
    }

    /// The rule `name`.
    pub fn rule(&self, name: &str) -> Option<&Arc<Rule>> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    /// The fused operator `name`.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The rules that improve a graph: all but those that expand fused operators.
    pub fn forward(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter().filter(|rule| rule.fusion != Some(Direction::Expand))
    }

    /// Those of them that apply when nothing else is said.
    pub fn standard(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.forward().filter(|rule| !rule.is_on_request())
    }

    /// The rules that `names` selects: names of rules, families (the files' stems), or fused operators. Errors: the names
    /// that select nothing.
    pub fn select(&self, names: &[&str]) -> Result<Vec<Arc<Rule>>, Vec<String>> {
        let selects = |name: &str, rule: &Rule| {
            rule.name == name
                || rule.family() == name
                || (rule.fusion == Some(Direction::Recognise) && name == "fusions")
        };
        let unknown: Vec<String> = names
            .iter()
            .filter(|name| !self.rules.iter().any(|rule| selects(name, rule)))
            .map(|name| (*name).to_owned())
            .collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        Ok(self.rules.iter().filter(|rule| names.iter().any(|name| selects(name, rule))).cloned().collect())
    }
}
