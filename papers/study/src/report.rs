//! `report.html`: one page that holds everything and loads nothing.

use crate::analysis::Outcome;
use crate::figure::{Drawing, escaped};
use crate::schema::Study;
use crate::table::Table;
use serde_json::Value;
use std::collections::BTreeMap;

const STYLE: &str = "body{font:16px/1.5 Georgia,serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1{line-height:1.2}table{border-collapse:collapse;margin:1rem 0;font-size:.85rem;display:block;overflow-x:auto}\
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}\
th:first-child,td:first-child{text-align:left}thead th{border-bottom:1px solid #222;border-top:2px solid #222}\
figure{margin:2rem 0}figure svg{width:100%;height:auto}figcaption{font-size:.9rem}.meta{color:#555}\
.supported{font-weight:bold}@media(prefers-color-scheme:dark){body{background:#fff}}";

/// The page.
pub(crate) fn page(
    study: &Study,
    stats: &Value,
    outcomes: &[Outcome],
    drawings: &BTreeMap<String, Drawing>,
    tables: &[Table],
) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p class=\"meta\">{} · {}</p>\n<p><strong>{}</strong></p>\n",
        escaped(&study.title),
        escaped(&study.authors.join(", ")),
        escaped(&study.date),
        escaped(&study.question)
    );
    if !outcomes.is_empty() {
        body.push_str("<h2>Hypotheses</h2>\n");
        let header = [String::new(), format!("declared {}", study.declared), "found".to_owned(), "outcome".to_owned()];
        let rows = outcomes.iter().map(|outcome| {
            let found = outcome.found.map_or("–".to_owned(), |found| {
                let shown = |value: f64| format!("{}", (value * 1000.0).round() / 1000.0);
                if found.low == found.high {
                    shown(found.value)
                } else {
                    format!("{} ({} to {})", shown(found.value), shown(found.low), shown(found.high))
                }
            });
            let verdict = outcome.verdict.unwrap_or("open");
            let belief = format!("{} ({} is {})", outcome.text, outcome.statistic, outcome.belief);
            vec![outcome.name.clone(), belief, found, verdict.to_owned()]
        });
        body.push_str(&table(&header, &rows.collect::<Vec<_>>()));
    }
    body.push_str("<h2>Figures</h2>\n");
    for (name, drawing) in drawings {
        body.push_str(&format!(
            "<figure id=\"{}\">\n{}<figcaption>{}</figcaption>\n</figure>\n",
            escaped(name),
            drawing.svg,
            escaped(&drawing.caption)
        ));
    }
    body.push_str("<h2>Tables</h2>\n");
    for one in tables {
        body.push_str(&format!("<p>{}</p>\n{}", escaped(&one.caption), table(&one.header, &one.rows)));
    }
    body.push_str("<h2>Protocol</h2>\n<ul>\n");
    for sentence in stats["protocol"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        body.push_str(&format!("<li>{}</li>\n", escaped(sentence)));
    }
    body.push_str("</ul>\n<h2>Machines</h2>\n");
    for (machine, environment) in stats["environment"].as_object().into_iter().flatten() {
        let text = serde_json::to_string_pretty(environment).unwrap_or_default();
        body.push_str(&format!(
            "<details><summary>{}</summary><pre>{}</pre></details>\n",
            escaped(machine),
            escaped(&text)
        ));
    }
    body.push_str(&format!(
        "<p class=\"meta\">SHA-256 of the raw samples: <code>{}</code></p>\n",
        stats["raw"]["hash"].as_str().unwrap_or_default()
    ));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n{body}</html>\n",
        escaped(&study.title)
    )
}

fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let rows: String = rows.iter().map(|row| cells("td", row)).collect();
    format!("<table>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n", cells("th", header))
}
