//! The page of rules is what the library says. `UPDATE_EXPECT=1 cargo test --test all rules_page::` rewrites it.

use eutectic::passes::rules::{Library, page};
use expect_test::expect_file;

#[test]
fn the_page_of_rules_is_up_to_date() {
    let library = Library::built_in().expect("the library loads");
    expect_file!["../docs/rules.md"].assert_eq(&page::markdown(&library));
}
