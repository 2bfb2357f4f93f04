//! `papers/README.md`: every study with its question, its headline, its machine and its status.

use crate::analysis::statistic;
use crate::schema::Study;
use crate::{Trouble, read_text};
use eutectic_measure::Estimate;
use serde_json::Value;
use std::path::Path;

const HEAD: &str = "# Papers

A study is a committed file and its raw samples; no number in prose is typed by hand. `eutectic study render` writes this page.

| study | question | headline | machine | status |
|---|---|---|---|---|
";

const TAIL: &str = "
`models/` holds the graphs that studies and tests run on, `study/` the program that makes studies, `_template/` what
`eutectic study new NAME` copies. In each study:

| file | what it holds |
|---|---|
| `study.toml` | the question, hypotheses, factors, metrics, and what is made of the samples |
| `plan.lock` | the list of runs, made before measuring |
| `raw/`, `env/` | every sample with where it is from, and the machines |
| `paper.typ`, `refs.bib` | the prose |
| `out/` | generated: `paper.pdf`, `report.html`, `stats.json`, figures and tables, the hashes of everything |
| `expected.json` | the numbers that must follow from the samples, with tolerances |

`eutectic study run papers/NAME --replay` makes `out/` again on any machine and compares it byte by byte; `--reproduce` measures
here and says how far the result agrees; `--kick-tires` tries a small part.
";

/// The page for the studies below `papers`. Errors: a study cannot be read.
pub fn page(papers: &Path) -> Result<String, Trouble> {
    let entries = std::fs::read_dir(papers).map_err(|error| Trouble::io(papers, &error))?;
    let mut directories: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join("study.toml").exists()).collect();
    directories.sort();
    let mut page = HEAD.to_owned();
    for directory in directories {
        let slug = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if slug.starts_with('_') {
            continue;
        }
        let study = Study::read(&directory)?;
        let stats = read_text(&directory.join("out/stats.json"))
            .ok()
            .and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let stats = stats.unwrap_or_default();
        let found = statistic(&stats, &study.headline.statistic);
        let headline = study.headline.text.replace("{}", &found.map_or("not measured".to_owned(), shown));
        let machines: Vec<&str> =
            stats["raw"]["machines"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let status = format!("{:?}", study.status).to_lowercase();
        let cells = [format!("[{slug}]({slug}/out/paper.pdf)"), study.question, headline, machines.join(", "), status];
        page.push_str(&format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    page.push_str(TAIL);
    Ok(page)
}

fn shown(found: Estimate) -> String {
    // A share of a few per mille keeps two digits.
    let digits = if found.value.abs() < 0.1 { 4 } else { 3 };
    let number = |value: f64| if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.digits$}") };
    if found.low == found.high {
        return number(found.value);
    }
    format!("{} (95 % interval {} to {})", number(found.value), number(found.low), number(found.high))
}
