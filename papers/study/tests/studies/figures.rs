//! Every kind of figure: that it shows its data, and that its CSV holds them.

use crate::Case;
use eutectic_study::Trouble;
use serde_json::json;
use std::collections::BTreeMap;

/// `out/` of the study with one more figure.
fn files_with(figure: &str) -> BTreeMap<String, Vec<u8>> {
    let case = Case::new();
    case.edit("study.toml", "[[figure]]\nname = \"ratios\"", &format!("{figure}\n\n[[figure]]\nname = \"ratios\""));
    case.generate().unwrap_or_else(|trouble| panic!("{trouble}")).files
}

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).expect("UTF-8")
}

/// Checks that tags nest and that no coordinate is undefined; the number of `tag`s.
fn count(svg: &str, tag: &str) -> usize {
    assert!(
        svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"),
        "{svg}"
    );
    svg.matches(&format!("<{tag} ")).count()
}

#[test]
fn a_forest_has_an_interval_and_a_mark_for_each_ratio() {
    let files = files_with("");
    let csv = text(&files, "figures/ratios.csv");
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.lines().nth(1).is_some_and(|line| line.starts_with("a,new,1.6") && line.contains("FASTER")), "{csv}");
    // One in the legend, one for each group.
    assert_eq!(count(&text(&files, "figures/ratios.svg"), "circle"), 3);
}

#[test]
fn a_forest_of_more_variants_than_marks_names_each_row() {
    let case = Case::new();
    let more: Vec<String> = (1..=6).map(|at| format!("another {at}")).collect();
    let levels = more.iter().map(|level| format!(", \"{level}\"")).collect::<String>();
    case.edit("study.toml", "levels = [\"old\", \"new\"]", &format!("levels = [\"old\", \"new\"{levels}]"));
    let name = "here/a-p0.jsonl";
    let mut records = std::fs::read_to_string(case.path().join("raw").join(name)).expect("readable");
    for level in &more {
        records.push_str(&format!("{}\n", json!({ "variant": level, "size": 1, "seconds": [5e-3, 5e-3] })));
    }
    case.store(name, &records);
    let files = case.generate().unwrap_or_else(|trouble| panic!("{trouble}")).files;
    let svg = text(&files, "figures/ratios.svg");
    assert!(more.iter().all(|level| svg.contains(level.as_str())), "{svg}");
    // A mark for each ratio, and none for a legend.
    assert_eq!(count(&svg, "circle"), more.len() + 2);
}

#[test]
fn a_distribution_and_a_course_hold_every_sample() {
    let files = files_with(concat!(
        "[[figure]]\nname = \"d\"\nkind = \"ecdf\"\nfrom = \"time\"\ngroup = \"b\"\ncaption = \"D.\"\n\n",
        "[[figure]]\nname = \"t\"\nkind = \"time_series\"\nfrom = \"time\"\ncaption = \"T.\""
    ));
    assert_eq!(text(&files, "figures/d.csv").lines().count(), 1 + 2 * 3 * 40);
    assert_eq!(text(&files, "figures/t.csv").lines().count(), 1 + 2 * 3 * 40);
    // A line in the legend and one curve each; in the course one for each process.
    assert_eq!(count(&text(&files, "figures/d.svg"), "polyline"), 2);
    assert_eq!(count(&text(&files, "figures/t.svg"), "polyline"), 6);
}

#[test]
fn values_are_drawn_as_points_lines_and_steps() {
    let files = files_with(concat!(
        "[[figure]]\nname = \"p\"\nkind = \"dots\"\nfrom = \"by_size\"\ncaption = \"P.\"\n\n",
        "[[figure]]\nname = \"w\"\nkind = \"waterfall\"\nfrom = \"by_size\"\ngroup = \"2\"\ncaption = \"W.\""
    ));
    // Three sizes of two variants, and the legend.
    let dots = text(&files, "figures/p.svg");
    assert_eq!(count(&dots, "circle") + count(&dots, "polygon"), 6 + 2);
    assert_eq!(text(&files, "figures/growth.csv").lines().count(), 4);
    // The fall from 8 to 5 units.
    let steps = text(&files, "figures/w.svg");
    assert!(count(&steps, "rect") == 2 && steps.contains(">-3<"), "{steps}");
}

/// The data of a roofline of a study whose records also have `fields`.
fn roofline(peak: &str, bandwidth: &str, fields: &str) -> Result<String, Trouble> {
    let case = Case::new();
    case.edit(
        "study.toml",
        "[[figure]]\nname = \"ratios\"",
        &format!(
            "[[figure]]\nname = \"r\"\nkind = \"roofline\"\nfrom = \"time\"\ncaption = \"R.\"\nroofline = {{ peak = {peak}, bandwidth = {bandwidth}, source = \"a data sheet\", operations = \"operations\", bytes = \"bytes\" }}\n\n[[figure]]\nname = \"ratios\""
        ),
    );
    for model in ["a", "b"] {
        let path = case.path().join(format!("raw/here/{model}-p0.jsonl"));
        let found = std::fs::read_to_string(path).expect("readable");
        let with = found.replace("\"seconds\"", &format!("{fields}\"seconds\""));
        case.store(&format!("here/{model}-p0.jsonl"), &with);
    }
    Ok(text(&case.generate()?.files, "figures/r.csv"))
}

#[test]
fn a_roofline_says_what_share_of_the_bound_is_reached() {
    let work = "\"operations\":16,\"bytes\":8,";
    let csv = roofline("1e4", "1e3", work).unwrap_or_else(|trouble| panic!("{trouble}"));
    // 16 operations in 8 ms are the 2000 a second that two operations a byte allow.
    let row: Vec<&str> = csv.lines().nth(1).expect("a row").split(',').collect();
    let share: f64 = row[4].parse().expect("a number");
    assert_eq!((row[0], row[1], row[2]), ("a", "old", "2"));
    assert!((share - 1.0).abs() < 0.01, "{csv}");
    let with_ceilings = format!("{work}\"product\":10000,\"copy\":1000,");
    let measured = roofline("\"product\"", "\"copy\"", &with_ceilings).unwrap_or_else(|trouble| panic!("{trouble}"));
    assert_eq!(measured, csv);
    let trouble = roofline("\"product\"", "1e3", work).expect_err("it was not measured").to_string();
    assert!(trouble.contains("product"), "{trouble}");
}

#[test]
fn captions_say_how_many_samples_by_what_method_on_which_machine() {
    let stats = text(&files_with(""), "stats.json");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    let caption = stats["figure"]["ratios"]["caption"].as_str().expect("a caption");
    for part in ["n = 120 samples", "3 processes", "bootstrap of 10000 resamples", "threshold of 2 %", "Machine: here."]
    {
        assert!(caption.contains(part), "{caption}");
    }
}

#[test]
fn a_report_loads_nothing() {
    let page = text(&files_with(""), "report.html");
    for reference in ["src=", "href=", "<script", "@import"] {
        assert!(!page.contains(reference), "the page has {reference}");
    }
    assert!(page.contains("<svg") && page.contains("supported"));
}
