//! `report.html`: one file without network or libraries.

use super::drawing::{bars, curves, escaped, graph};
use super::{Side, Trace};
use crate::passes::optimize::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1400px;padding:0 1em;color:#222}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #ddd}\
table{border-collapse:collapse}td,th{padding:2px 12px 2px 0;text-align:right;font-variant-numeric:tabular-nums}\
td:first-child,th:first-child,td.l{text-align:left}code,pre{font:12px/1.4 ui-monospace,monospace}\
pre .m{color:#b02a37}pre .p{color:#1a7f37}.sides{display:flex;gap:1em}.sides>div{flex:1;min-width:0;overflow:auto;max-height:80vh;border:1px solid #ddd;padding:6px}\
svg text{font:11px system-ui,sans-serif;fill:#222}.n rect{fill:#eef3fb;stroke:#7b93b8}.n.f rect{fill:#e3f4e6;stroke:#3c9a50}.n text{text-anchor:middle}\
.e{fill:none;stroke:#999;stroke-width:1}.a{fill:none;stroke:#888}polyline{fill:none;stroke-width:2}\
polyline.c0{stroke:#2b6cb0}polyline.c1{stroke:#c05621}rect.c0{fill:#9db8dc}rect.c1{fill:#7cc28b}input{font:inherit;padding:2px 6px;width:24em}";

/// Shows the steps in whose text all words of the field stand.
const SCRIPT: &str = "const f=document.getElementById('f');f&&f.addEventListener('input',()=>{const w=f.value.toLowerCase().split(/\\s+/);\
document.querySelectorAll('.s').forEach(s=>{const t=s.textContent.toLowerCase();s.hidden=!w.every(x=>t.includes(x))})})";

/// The page of a trace that has ended.
pub(super) fn html(trace: &Trace, after: &Side, report: &Report) -> String {
    let before = &trace.before;
    let name = escaped(&before.model.graph.name);
    let mut page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}: how it was optimized</title>\
         <style>{STYLE}</style></head><body><h1>{name}</h1>"
    );
    let totals = [&report.before, &report.after];
    let rows = [
        ("nodes", [before, after].map(|side| side.model.graph.n_nodes().to_string())),
        ("arithmetic, operations", totals.map(|totals| format!("{:.4e}", totals.flops))),
        ("memory moved, bytes", totals.map(|totals| format!("{:.4e}", totals.bytes_moved))),
        ("predicted time, ms", totals.map(|totals| milliseconds(totals.seconds))),
    ];
    table(&mut page, &["", "before", "after"], rows.map(|(name, [a, b])| [name.to_owned(), a, b]));
    heading(&mut page, "Predicted time by operator, ms: before and after");
    page.push_str(&bars(&by_operator(before, after), &milliseconds));
    growth(&mut page, trace, report);
    heading(&mut page, "Passes");
    let passes = trace.passes.iter().map(|pass| {
        let place = if pass.is_after_engine { "after the engine" } else { "before the engine" };
        let [changed, computed] = [pass.n_changed, pass.n_computed].map(|n| n.to_string());
        [format!("{} ({place})", pass.name), changed, computed, milliseconds(pass.seconds)]
    });
    table(&mut page, &["pass", "changed", "calls folded", "ms"], passes);
    heading(&mut page, "Rules that told something new");
    let rules = report.rules.iter().filter(|rule| rule.applied > 0).map(|rule| {
        let (matched, applied) = (rule.matched.to_string(), rule.applied.to_string());
        let time = milliseconds(rule.time.as_secs_f64());
        [rule.name.clone(), matched, applied, time, rule.contract.to_string(), rule.place.clone()]
    });
    table(&mut page, &["rule", "matched", "applied", "ms", "contract", "file"], rules);
    steps(&mut page, report);
    heading(&mut page, "The graph before and after");
    let operators =
        |side: &Side| -> BTreeSet<String> { side.model.graph.nodes().map(|(_, node)| node.op.to_string()).collect() };
    let fresh = operators(after).difference(&operators(before)).cloned().collect();
    let _ = writeln!(
        page,
        "<p>Operators that are new are green; a call shows its name and type under the pointer.</p>\
         <div class=\"sides\"><div>{}</div><div>{}</div></div><script>{SCRIPT}</script></body></html>",
        graph(&before.model.graph, &BTreeSet::new()),
        graph(&after.model.graph, &fresh),
    );
    page
}

/// How the e-graph grew, where there was one.
fn growth(page: &mut String, trace: &Trace, report: &Report) {
    let Some((first, _)) = trace.rounds.first() else { return };
    heading(page, "Growth of the e-graph");
    let main: Vec<_> = trace.rounds.iter().filter(|(graph, _)| graph == first).map(|(_, round)| round).collect();
    let curve = |value: &dyn Fn(usize) -> usize| (0..main.len()).map(|at| value(at) as f64).collect::<Vec<f64>>();
    page.push_str(&curves(&[
        ("e-nodes", curve(&|at| main[at].n_enodes)),
        ("classes", curve(&|at| main[at].n_eclasses)),
    ]));
    let rows = trace.rounds.iter().map(|(graph, round)| {
        let numbers = [round.n_enodes, round.n_eclasses, round.n_matched, round.n_applied as usize, round.n_bytes];
        let mut row = vec![format!("{graph}, {}", round.number)];
        row.extend(numbers.map(|n| n.to_string()));
        row.extend(round.time.map(|time| milliseconds(time.as_secs_f64())));
        row
    });
    let head = ["graph, round", "e-nodes", "classes", "matched", "applied", "bytes", "search, ms", "apply, ms"];
    table(page, &head, rows);
    if let (Some(stop), Some(costs)) = (report.stop, report.extracted) {
        let _ = write!(page, "<p>Stopped: {}. Cost of what was chosen: {:.6e}", super::stop_name(stop), costs.dag);
        if let Some(bound) = costs.bound {
            let _ = write!(page, ", at least {bound:.6e} in any case");
        }
        page.push_str(".</p>");
    }
}

/// Every step of the chain, with what it matched and what it built.
fn steps(page: &mut String, report: &Report) {
    if report.explanations.is_empty() {
        return;
    }
    heading(page, "Steps from the one graph to the other");
    page.push_str("<p><input id=\"f\" placeholder=\"words that a step has\"></p>");
    for found in &report.explanations {
        let proof = if found.gap.is_none() { "replayed" } else { "not replayed" };
        let n_steps = found.steps.len();
        let _ = write!(
            page,
            "<p>Graph <code>{}</code>: {n_steps} steps of {} applications, {proof}.</p>",
            escaped(&found.graph),
            found.n_applications
        );
        for (at, step) in found.steps.iter().enumerate() {
            let _ = write!(
                page,
                "<details class=\"s\"><summary>{}. <b>{}</b> {} <code>{}</code></summary><pre>",
                at + 1,
                escaped(&step.rule),
                escaped(&step.contract.to_string()),
                escaped(&step.place)
            );
            let lines = step.before.iter().map(|line| ("m", '-', line));
            for (class, sign, line) in lines.chain(step.after.iter().map(|line| ("p", '+', line))) {
                let _ = writeln!(page, "<span class=\"{class}\">{sign} {}</span>", escaped(line));
            }
            page.push_str("</pre></details>");
        }
    }
}

fn by_operator(before: &Side, after: &Side) -> Vec<(String, f64, f64)> {
    const SHOWN: usize = 24;
    let mut sums: BTreeMap<&String, (f64, f64)> = BTreeMap::new();
    before.costs.iter().for_each(|(name, seconds)| sums.entry(name).or_default().0 += seconds);
    after.costs.iter().for_each(|(name, seconds)| sums.entry(name).or_default().1 += seconds);
    let mut rows: Vec<_> = sums.into_iter().map(|(name, (a, b))| (name.clone(), a, b)).collect();
    rows.sort_by(|a, b| b.1.max(b.2).total_cmp(&a.1.max(a.2)));
    rows.truncate(SHOWN);
    rows
}

fn heading(page: &mut String, title: &str) {
    let _ = write!(page, "<h2>{title}</h2>");
}

fn table<Row: IntoIterator<Item = String>>(page: &mut String, head: &[&str], rows: impl IntoIterator<Item = Row>) {
    let cells = |page: &mut String, tag: &str, cells: &mut dyn Iterator<Item = &dyn Display>| {
        page.push_str("<tr>");
        for cell in cells {
            let _ = write!(page, "<{tag}>{}</{tag}>", escaped(&cell.to_string()));
        }
        page.push_str("</tr>");
    };
    page.push_str("<table>");
    cells(page, "th", &mut head.iter().map(|cell| cell as &dyn Display));
    for row in rows {
        let row: Vec<String> = row.into_iter().collect();
        cells(page, "td", &mut row.iter().map(|cell| cell as &dyn Display));
    }
    page.push_str("</table>");
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.4}", seconds * 1e3)
}
