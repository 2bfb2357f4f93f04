//! Tells which published rules say anything new, and checks them against the reference semantics.

use super::Reading;
use super::shapes::instances;
use super::term::{Published, Term};
use super::translate::{Translation, translate};
use crate::rules::verify::{Counterexample, Effort, Evidence, verify};
use crate::rules::{Example, Library, Rule};
use eutectic_ir::diag::{Diagnostic, Kind};
use std::collections::BTreeMap;

/// What became of one published rule.
#[derive(Clone, Debug)]
pub enum Import {
    /// Both sides are one term up to commutativity.
    Trivial,
    /// The rule at this place of the list says the same, up to names and commutativity.
    Duplicate(usize),
    /// It is a rule of ours.
    Rule(Translation),
    /// It cannot be written in our language, and why.
    Untranslated(String),
}

/// Translates `rules`, each under its name.
pub fn import(rules: &[(String, Published)], reading: Reading) -> Vec<Import> {
    let mut known: BTreeMap<Vec<(Term, Term)>, usize> = BTreeMap::new();
    let one = |(at, (name, rule)): (usize, &(String, Published))| {
        if rule.is_trivial() {
            return Import::Trivial;
        }
        let first = *known.entry(rule.normal_form()).or_insert(at);
        if first < at {
            return Import::Duplicate(first);
        }
        translate(rule, name, reading).map_or_else(Import::Untranslated, Import::Rule)
    };
    rules.iter().enumerate().map(one).collect()
}

/// What checking one rule found.
#[derive(Clone, Debug)]
pub enum Finding {
    /// Both sides agree on this many instances, in the arithmetic that the evidence names.
    Sound(usize, Evidence),
    /// They differ: the counterexample, and the `example` on which it was found when it was not drawn freely.
    Unsound(Box<Counterexample>, Option<Vec<Example>>),
    /// Too few instances were found.
    Undecided(Box<Diagnostic>),
}

/// Checks the translation of `published` on instances of every kind that the published checker admits, small ones first.
///
/// Deterministic in `seed`. Errors: the translation does not load, which is a mistake of the translator.
pub fn judge(
    published: &Published,
    translation: &Translation,
    reading: Reading,
    seed: u64,
) -> Result<Finding, Box<Diagnostic>> {
    const INSTANCES: usize = 128;
    let rule = load(&translation.text)?;
    let examples = instances(published, translation, reading, INSTANCES, seed);
    for (at, example) in examples.iter().enumerate() {
        let one = Rule { examples: vec![example.clone()], ..rule.clone() };
        let effort = Effort { instances: 4, draws: 36, seed: seed.wrapping_add(at as u64), shrinks: 500 };
        // An instance that does not fit now fits on another draw.
        if let Some(found) = verify(&one, None, effort).ok().and_then(|verdict| verdict.counterexample) {
            return Ok(Finding::Unsound(found, Some(example.clone())));
        }
    }
    let effort = Effort { instances: INSTANCES, seed, ..Effort::STANDARD };
    Ok(match verify(&Rule { examples, ..rule }, None, effort) {
        Ok(verdict) => match verdict.counterexample {
            Some(found) => Finding::Unsound(found, None),
            None => Finding::Sound(verdict.n_instances, verdict.evidence),
        },
        Err(problem) => Finding::Undecided(problem),
    })
}

fn load(text: &str) -> Result<Rule, Box<Diagnostic>> {
    let mut library = Library::new();
    let loaded = library.load_rules("imported.rules", text);
    let missing = || Diagnostic::error(Kind::Malformed, "R0042", "the translation holds no rule");
    match loaded {
        Ok(()) => library.rules().first().map(|rule| (**rule).clone()).ok_or_else(|| Box::new(missing())),
        Err(problems) => Err(Box::new(problems.0.into_iter().next().unwrap_or_else(missing).note(text.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lines, read};
    use super::*;

    fn translated(source: &str, lines: Lines, reading: Reading) -> (Published, Translation) {
        let rules = read(source, lines).unwrap_or_else(|problems| panic!("{problems}"));
        let named = [("r".to_owned(), rules[0].clone())];
        match import(&named, reading).pop() {
            Some(Import::Rule(translation)) => (rules[0].clone(), translation),
            other => panic!("{source}: {other:?}"),
        }
    }

    fn verdict(source: &str, lines: Lines, reading: Reading) -> String {
        let (published, translation) = translated(source, lines, reading);
        match judge(&published, &translation, reading, 1) {
            Ok(Finding::Sound(..)) => "sound".into(),
            Ok(Finding::Unsound(found, _)) => if found.differs_in_type() { "type" } else { "values" }.into(),
            Ok(Finding::Undecided(problem)) => panic!("{problem}\n{}", translation.text),
            Err(problem) => panic!("{problem}"),
        }
    }

    #[test]
    fn a_rule_and_its_conditions_are_written_as_a_person_would() {
        let source = "(matmul 0 (matmul 0 ?a ?b) ?c)=>(matmul 0 ?a (matmul 0 ?b ?c))";
        let (_, translation) = translated(source, Lines::Single, Reading::Strict);
        let expected = "\
/// matmul(matmul(a, b), c) == matmul(a, matmul(b, c))
rule r : reassociates {
    t = MatMul (a, b)
    y = MatMul (t, c)
    where slice (shape (a), 0, -2) == slice (shape (b), 0, -2)
    where slice (shape (a), 0, -2) == slice (shape (c), 0, -2)
    =>
    t1 = MatMul (b, c)
    y = MatMul (a, t1)
}
";
        assert_eq!(translation.text, expected);
    }

    #[test]
    fn readings_differ_in_broadcasting_and_groups() {
        let cases = [
            ("(ewadd ?a (ewadd ?b ?c))=>(ewadd ?b (ewadd ?a ?c))", "sound", "sound"),
            (
                "(concat 1 2 (ewadd ?a ?b) (ewadd ?b ?c))=>(ewadd (concat 1 2 ?a ?b) (concat 1 2 ?b ?c))",
                "sound",
                "type",
            ),
            (
                "(conv2d 1 1 0 0 ?x (ewadd ?v ?w))=>(ewadd (conv2d 1 1 0 0 ?x ?v) (conv2d 1 1 0 0 ?x ?w))",
                "sound",
                "values",
            ),
            (
                "(concat 1 4 (conv2d 1 1 0 2 ?x ?v) (conv2d 1 1 0 2 ?x ?w))=>(conv2d 1 1 0 2 ?x (concat 0 4 ?v ?w))",
                "sound",
                "values",
            ),
            (
                "(concat 1 4 (conv2d 1 1 0 0 ?x ?v) (conv2d 1 1 0 0 ?y ?w))=>\
                 (conv2d 1 1 0 0 (concat 1 4 ?x ?y) (concat 0 4 ?v ?w))",
                "values",
                "values",
            ),
            (
                "(conv2d 2 1 1 0 ?x (ewmul ?v ?w))=>(ewmul (conv2d 2 1 1 0 ?x ?v) (conv2d 2 1 1 0 ?x ?w))",
                "values",
                "type",
            ),
        ];
        for (source, strict, liberal) in cases {
            let found = [Reading::Strict, Reading::Liberal].map(|reading| verdict(source, Lines::Single, reading));
            assert_eq!(found, [strict, liberal], "{source}");
        }
    }

    #[test]
    fn outputs_that_share_no_input_are_stated_from_right_to_left() {
        let source = "(tanh ?a)=>(split_0 (split 1 (tanh (concat 1 2 ?a ?b))))\n\
                      (tanh ?b)=>(split_1 (split 1 (tanh (concat 1 2 ?a ?b))))";
        let (_, translation) = translated(source, Lines::Pairs, Reading::Strict);
        assert!(translation.is_reversed);
        assert_eq!(verdict(source, Lines::Pairs, Reading::Strict), "sound");
        let swapped = source.replace("split_0", "split_2").replace("split_1", "split_0").replace("split_2", "split_1");
        assert!(verdict(&swapped, Lines::Pairs, Reading::Strict) != "sound");
    }

    #[test]
    fn a_repeated_rule_is_found_whatever_its_names() {
        let source = "(ewadd ?a (ewadd ?b ?c))=>(ewadd ?b (ewadd ?a ?c))\n\
                      (ewadd (ewadd ?y ?z) ?x)=>(ewadd ?y (ewadd ?x ?z))\n\
                      (ewadd ?a ?b)=>(ewadd ?b ?a)";
        let rules = read(source, Lines::Single).unwrap_or_else(|problems| panic!("{problems}"));
        let named: Vec<_> = rules.into_iter().map(|rule| (format!("r{}", rule.number), rule)).collect();
        let found = import(&named, Reading::Strict);
        assert!(matches!(found[..], [Import::Rule(_), Import::Duplicate(0), Import::Trivial]), "{found:?}");
    }
}
