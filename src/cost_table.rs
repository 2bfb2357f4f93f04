//! Tables of measured times: a JSON object a line.
//!
//! ```json
//! {"operator": "MatMul", "inputs": ["float[128,768]", "float[768,3072]"], "outputs": ["float[128,3072]"], "seconds": 1.9e-5}
//! ```
//!
//! `operator` is the name as `eutectic ops` lists it, with the domain before it unless that is `ai.onnx`; types are those of
//! the textual form, with every size a number, and `""` for an input that is left out. Attributes count only as far as they
//! change a type. Other fields are left to whoever measured (device, samples, spread). Blank lines are skipped; the last line
//! about a call counts.

use crate::ir::diag::{Diagnostic, Diagnostics, Kind};
use crate::passes::cost::{CostTable, Measured};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Line {
    operator: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    seconds: f64,
}

/// The table in the file at `path`. Errors: the file cannot be read; every line that is no such object or states a time that
/// is negative or no number.
pub fn load(path: &Path) -> Result<CostTable, Diagnostics> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::error(Kind::Io, "C0101", format!("the file cannot be read: {error}")).in_file(path)
    })?;
    parse(&text).map_err(|problems| Diagnostics(problems.0.into_iter().map(|problem| problem.in_file(path)).collect()))
}

fn parse(text: &str) -> Result<CostTable, Diagnostics> {
    let mut table = CostTable::default();
    let mut problems = Diagnostics::default();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<Line>(line).map_err(|error| error.to_string());
        let noted = read.and_then(|line| {
            let call = Measured { operator: line.operator, inputs: line.inputs, outputs: line.outputs };
            table.insert(call, line.seconds).map_err(|reason| reason.to_string())
        });
        if let Err(reason) = noted {
            let message = format!("line {} of the cost table: {reason}", at + 1);
            problems.0.push(
                Diagnostic::error(Kind::Invalid, "C0160", message)
                    .help("each line is {\"operator\": .., \"inputs\": [..], \"outputs\": [..], \"seconds\": ..}"),
            );
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(table) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_wrong_is_reported() {
        let text = r#"
            {"operator": "Relu", "inputs": ["float[2]"], "outputs": ["float[2]"], "seconds": 2e-6, "device": "L4"}
            {"operator": "Relu", "inputs": ["float[3]"], "outputs": ["float[3]"], "seconds": -1}
            {"operator": "Relu", "inputs": [], "seconds": 1}
            Relu 3
        "#;
        let problems = parse(text).expect_err("three lines are wrong");
        let messages: Vec<&str> = problems.0.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].starts_with("line 3") && messages[0].contains("-1"), "{messages:?}");
        assert!(messages[1].starts_with("line 4") && messages[1].contains("outputs"), "{messages:?}");
    }

    #[test]
    fn what_is_measured_is_found() {
        let line = r#"{"operator": "Relu", "inputs": ["float[2]"], "outputs": ["float[2]"], "seconds": 2e-6}"#;
        let table = parse(line).map_err(|problems| problems.to_string()).expect("a table");
        let ty = || vec!["float[2]".to_string()];
        let call = Measured { operator: "Relu".into(), inputs: ty(), outputs: ty() };
        assert_eq!(table.seconds(&call), Some(2e-6));
    }
}
