//! The page of coverage names rules, fused operators and passes that exist.

use eutectic::passes::rules::Library;
use std::path::Path;

const PASSES: [&str; 7] = ["canonical", "fold", "shapes", "unflatten", "cse", "dce", "tidy"];

/// Whether `name` is `pattern`, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    name.strip_prefix(head)
        .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(tail, &rest[at..])))
}

#[test]
fn every_name_of_the_page_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/coverage.md");
    let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let library = Library::built_in().expect("the library loads");
    let (mut n_names, mut unknown) = (0, Vec::new());
    let is_row = |line: &&str| line.starts_with("| ") && !line.starts_with("| **") && !line.contains("| here |");
    for line in text.lines().filter(is_row) {
        let [_, peer, here, remark, ""] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("three columns: {line}");
        };
        if here == "—" {
            assert!(!remark.is_empty(), "nothing does `{peer}`, and no reason is given");
            continue;
        }
        for name in here.split(", ") {
            n_names += 1;
            let exists = match name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
                Some(pattern) => library.rules().iter().any(|rule| fits(pattern, &rule.name)),
                None => PASSES.contains(&name),
            };
            if !exists {
                unknown.push(format!("{name}, for {peer}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(n_names >= 100, "{n_names}");
}
