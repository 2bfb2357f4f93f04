//! JSON as it is committed: the same bytes on every machine, and no longer than a reader needs.

use serde_json::{Map, Value};
use std::fmt::Write;

/// The width up to which a value stays on one line.
const WIDTH: usize = 140;

/// `value` with sorted keys, whole numbers as they are and others with six significant digits, which is more than any
/// measurement here has: the same text whatever library computes logarithms, and whether or not objects keep the order of
/// insertion.
pub(crate) fn settled(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            names.into_iter().map(|name| (name.clone(), settled(&fields[name]))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(settled).collect(),
        Value::Number(number) => match number.as_f64().filter(|found| number.is_f64() && found.fract() != 0.0) {
            Some(found) => format!("{found:.5e}").parse::<f64>().map_or(Value::Null, Value::from),
            None => value.clone(),
        },
        other => other.clone(),
    }
}

/// The text of `value`: what fits stays on one line, so that a row of a table is one.
pub(crate) fn printed(value: &Value) -> String {
    let mut text = String::new();
    print(value, 0, &mut text);
    text.push('\n');
    text
}

fn print(value: &Value, depth: usize, text: &mut String) {
    let on_one_line = value.to_string();
    let is_short = depth * 2 + on_one_line.len() <= WIDTH;
    let (ends, parts): ([char; 2], Vec<(String, &Value)>) = match value {
        Value::Object(fields) if !is_short => {
            (['{', '}'], fields.iter().map(|(name, one)| (format!("{}: ", Value::from(name.as_str())), one)).collect())
        }
        Value::Array(items) if !is_short => (['[', ']'], items.iter().map(|one| (String::new(), one)).collect()),
        _ => return text.push_str(&on_one_line),
    };
    text.push(ends[0]);
    for (at, (name, one)) in parts.iter().enumerate() {
        // Writing into a string cannot fail.
        let _ = write!(text, "{}\n{:2$}{name}", if at == 0 { "" } else { "," }, "", depth * 2 + 2);
        print(one, depth + 1, text);
    }
    let _ = write!(text, "\n{:1$}{2}", "", depth * 2, ends[1]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_printed_reads_as_it_was_with_one_line_a_row() {
        let row = |at: usize| json!({ "name": "x".repeat(90), "at": at });
        let value = json!({ "rows": { "a": row(1), "b": row(2) }, "list": [row(3), row(4)], "none": null });
        let text = printed(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
        assert_eq!(text.lines().filter(|line| line.contains("\"at\":")).count(), 4);
        assert_eq!(printed(&json!({ "a": [1, 2.5] })), "{\"a\":[1,2.5]}\n");
    }

    #[test]
    fn measurements_are_rounded_and_counts_are_not() {
        let found = settled(&json!({ "b": 1.0 / 3.0, "a": [12_345_678.0, 12_345_678], "c": -0.000_123_456_789 }));
        assert_eq!(found.to_string(), "{\"a\":[12345678.0,12345678],\"b\":0.333333,\"c\":-0.000123457}");
    }
}
