//! The steps, the admitted element types and the versions without a change of meaning together are the schema history of
//! ONNX, as `ir/tests/data/dump_schemas.py` writes it down.

use super::changes::{Change, changes};
use super::is_as_declared;
use super::unchanged::UNCHANGED;
use super::widened::{NEW, WIDENED};
use eutectic_ir::{Element, ops};
use std::collections::BTreeSet;

/// One version of one operator.
struct Version {
    op: &'static str,
    version: u64,
    is_new: bool,
    attrs: Vec<&'static str>,
    has_other_parameters: bool,
    added: BTreeSet<Element>,
    has_fewer_elements: bool,
}

/// The versions of the operators of the default domain.
fn history() -> Vec<Version> {
    full_history().into_iter().filter(|version| !version.op.contains('.')).collect()
}

fn full_history() -> Vec<Version> {
    let elements = |list: &str| list.split(',').filter_map(Element::from_text).collect::<BTreeSet<_>>();
    include_str!("../../../tests/data/schema_changes.tsv")
        .lines()
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let column = |at: usize| columns.get(at).copied().unwrap_or_default();
            Version {
                op: column(0),
                version: column(1).parse().expect(line),
                is_new: column(2) == "new",
                attrs: column(2).split(' ').filter(|word| word.starts_with(['+', '-', '~'])).collect(),
                has_other_parameters: column(3) == "parameters" || column(2) == "deprecated",
                added: elements(column(4)),
                has_fewer_elements: !elements(column(5)).is_empty(),
            }
        })
        .collect()
}

fn steps_at(op: &str, version: u64) -> impl Iterator<Item = &'static Change> {
    changes(op).iter().filter(move |(since, _)| *since == version).map(|(_, change)| change)
}

fn reason(op: &str, version: u64) -> Option<&'static str> {
    let has = |(_, list): &&(&'static str, &'static [(&'static str, &'static [u64])])| {
        list.iter().any(|(name, versions)| *name == op && versions.contains(&version))
    };
    UNCHANGED.iter().find(has).map(|(reason, _)| *reason)
}

#[test]
fn every_version_of_every_operator_is_a_step_or_a_widening_or_has_a_reason() {
    // These stand for the operator that was there before, under another name.
    let renamed = [("Resize", 10), ("ScatterElements", 11)];
    let mut open = Vec::new();
    for Version { op, version, is_new, attrs, has_other_parameters, added, has_fewer_elements } in history() {
        let has_step = steps_at(op, version).next().is_some();
        let why = reason(op, version);
        let differs = !attrs.is_empty() || has_other_parameters || has_fewer_elements;
        let only_widened = !differs && !added.is_empty();
        match (is_new, has_step, why) {
            (true, false, None) => {}
            (true, true, None) if renamed.contains(&(op, version)) => {}
            (true, ..) => open.push(format!("{op} {version} is new, and has a step or a reason")),
            (_, true, Some(_)) => open.push(format!("{op} {version} has both a step and a reason for having none")),
            (_, true, None) | (_, false, Some(_)) => {}
            (_, false, None) if only_widened => {}
            (_, false, None) => open.push(format!("{op} {version} has neither a step nor a reason: {attrs:?}")),
        }
        // A step may be a function, which may do anything; where all are data, they account for each attribute.
        let mut steps = steps_at(op, version).peekable();
        if steps.peek().is_some() && steps.all(|step| !matches!(step, Change::Step { .. })) {
            let named: BTreeSet<&str> = steps_at(op, version).filter_map(Change::attribute).collect();
            let changed: BTreeSet<&str> = attrs.iter().map(|mark| &mark[1..]).collect();
            if named != changed {
                open.push(format!("{op} {version} changes the attributes {changed:?}, its steps {named:?}"));
            }
        }
    }
    assert!(open.is_empty(), "{} open:\n{}", open.len(), open.join("\n"));
}

#[test]
fn every_step_and_every_reason_stands_at_a_version_of_its_operator() {
    let known: BTreeSet<(&str, u64)> = history().iter().map(|version| (version.op, version.version)).collect();
    let names: BTreeSet<&str> = known.iter().map(|(op, _)| *op).collect();
    let mut wrong = Vec::new();
    for op in names {
        for (version, _) in changes(op) {
            if !known.contains(&(op, *version)) {
                wrong.push(format!("step of {op} at {version}"));
            }
        }
    }
    for (op, versions) in UNCHANGED.iter().flat_map(|(_, list)| list.iter()) {
        let gone = versions.iter().filter(|version| !known.contains(&(*op, **version)));
        wrong.extend(gone.map(|version| format!("reason for {op} at {version}")));
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn operators_and_element_types_are_admitted_when_the_schemas_say_so() {
    let mut wrong = Vec::new();
    let listed_as_new = |op: &str| NEW.iter().find(|(_, names)| names.contains(&op)).map_or(1, |(since, _)| *since);
    for Version { op, version, is_new, added, .. } in history() {
        if is_new && listed_as_new(op) != version {
            wrong.push(format!("{op} is new in {version}"));
        }
        let here = WIDENED.iter().filter(|(since, _, names)| *since == version && names.contains(&op));
        let listed: BTreeSet<Element> = here.flat_map(|(_, elements, _)| elements.iter().copied()).collect();
        if listed != added {
            let (more, fewer): (Vec<_>, Vec<_>) =
                (listed.difference(&added).collect(), added.difference(&listed).collect());
            wrong.push(format!("{op} {version} is listed with {more:?} and without {fewer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn operators_of_other_domains_are_as_declared_where_later_versions_only_add() {
    let mut n_checked = 0;
    for def in ops::all().filter(|def| !def.domain.is_empty()) {
        let name = format!("{}.{}", def.domain, def.name);
        let newest = ops::newest_version(def.domain).expect("a domain of the table");
        assert!(!is_as_declared(def, newest + 1), "{name} of a version that nobody knows");
        let mut versions: Vec<Version> = full_history().into_iter().filter(|version| version.op == name).collect();
        assert_eq!(versions.iter().map(|version| version.version).collect::<Vec<_>>(), def.versions, "{name}");
        let mut only_adds = true;
        while let Some(Version { version, attrs, has_other_parameters, has_fewer_elements, .. }) = versions.pop() {
            assert_eq!(is_as_declared(def, version), only_adds, "{name} of version {version}");
            only_adds &= attrs.iter().all(|mark| mark.starts_with('+')) && !has_other_parameters && !has_fewer_elements;
            n_checked += 1;
        }
    }
    assert!(n_checked > 8, "{n_checked} versions");
}
