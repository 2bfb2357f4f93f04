//! What an `example` line of a rule fixes in one instance: all of it, nearly all of it, or nothing.

use super::random::Random;
use crate::rules::expr::Value;
use crate::rules::{Example, Rule};

/// The hints of one example: as they are, with some left out or changed, or none at all, so that they never hide a case.
pub(super) fn hints(rule: &Rule, random: &mut Random) -> Vec<Example> {
    let n_examples = rule.examples.len();
    let freedom = if n_examples == 0 { 2 } else { random.below(3) };
    if freedom == 2 {
        return Vec::new();
    }
    let mut hints = rule.examples[random.below(n_examples)].clone();
    if freedom == 1 {
        match random.below(8) {
            0 => hints.iter_mut().for_each(without_first_axis),
            1 => hints.iter_mut().for_each(with_another_axis),
            2 => hints.iter_mut().for_each(of_equal_sizes),
            _ => {}
        }
        for _ in 0..random.pick(&[1, 0, 2]) {
            change_one(&mut hints, random);
        }
    }
    hints
}

/// Leaves out one hint or changes its value, and now and then that of every hint that has the same value.
fn change_one(hints: &mut Vec<Example>, random: &mut Random) {
    if hints.is_empty() {
        return;
    }
    let at = random.below(hints.len());
    if random.one_in(8) {
        hints.remove(at);
        return;
    }
    let old = hints[at].value.clone();
    let new = match &old {
        Value::List(items) if items.is_empty() => Value::List(vec![Value::int(1); random.pick(&[1, 5, 2])]),
        Value::List(items) => {
            let (mut items, first, second) = (items.clone(), random.below(items.len()), random.below(items.len()));
            match random.below(6) {
                0 => items[first] = Value::int(1),
                5 => items[first] = Value::int(random.pick(&[0, -1, -2, -3])),
                1 => items[first] = Value::int(random.size() as i64),
                2 => drop(items.remove(0)),
                3 => items.swap(first, second),
                _ => items.insert(0, Value::int(random.pick(&[1, 2]))),
            }
            Value::List(items)
        }
        Value::Int(_) => Value::int(random.pick(&[-1, 0, 1, 2, -2])),
        other => other.clone(),
    };
    let is_shared = random.one_in(2);
    for (place, hint) in hints.iter_mut().enumerate().filter(|(_, hint)| hint.value == old) {
        if place == at || is_shared {
            hint.value = new.clone();
        }
    }
}

fn is_attribute(hint: &Example) -> bool {
    hint.name.contains('.')
}

fn moved(value: &Value, by: i64) -> Value {
    match value.as_int() {
        Ok(axis) if axis >= 0 => Value::int(axis + by),
        _ => value.clone(),
    }
}

fn without_first_axis(hint: &mut Example) {
    let is_attribute = is_attribute(hint);
    match &mut hint.value {
        Value::List(items) if is_attribute && items.first() == Some(&Value::int(0)) => {
            *items = items[1..].iter().map(|axis| moved(axis, -1)).collect();
        }
        Value::List(items) if !is_attribute && items.len() > 1 => drop(items.remove(0)),
        Value::Int(_) if is_attribute => hint.value = moved(&hint.value, -1),
        _ => {}
    }
}

fn with_another_axis(hint: &mut Example) {
    let is_attribute = is_attribute(hint);
    match &mut hint.value {
        Value::List(items) if is_attribute && items.first() == Some(&Value::int(0)) => {
            *items = items.iter().map(|axis| moved(axis, 1)).collect();
            items.insert(0, Value::int(0));
        }
        Value::List(items) if !is_attribute && items.len() > 1 => items.insert(0, Value::int(2)),
        Value::Int(_) if is_attribute => hint.value = moved(&hint.value, 1),
        _ => {}
    }
}

fn of_equal_sizes(hint: &mut Example) {
    if let (false, Value::List(items)) = (is_attribute(hint), &mut hint.value) {
        for item in items.iter_mut().filter(|item| item.as_int().is_ok_and(|size| size > 1)) {
            *item = Value::int(2);
        }
    }
}
