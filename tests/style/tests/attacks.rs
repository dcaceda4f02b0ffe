//! The list of attacks names tests that exist and codes that are listed, and leaves out none of the attack tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_style::{root, rust_sources};
use std::collections::BTreeSet;

/// The cells of the table's rows.
fn rows() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/explanation/attacks.md")).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| number"));
    rows.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The tests' names in a cell.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Functions of the sources below a folder.
fn functions(folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in rust_sources().unwrap() {
        if path.starts_with(folder) {
            let starts = text.lines().filter_map(|line| {
                let line = line.trim();
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")
            });
            names.extend(starts.filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned)));
        }
    }
    names
}

#[test]
fn every_attack_of_the_list_has_its_tests() {
    let (rows, known) = (rows(), functions(""));
    assert!(rows.len() > 30, "the table was found");
    for row in &rows {
        let [_, numbers, _, tests, ..] = row.as_slice() else {
            panic!("too few columns: {row:?}")
        };
        assert!(
            tests.starts_with('`') || tests.starts_with("not applicable: "),
            "attack {numbers} has neither test nor reason"
        );
        for name in named(tests) {
            assert!(known.contains(name), "attack {numbers}: no test {name}");
        }
    }
}

#[test]
fn the_list_has_every_attack_test() {
    let rows = rows();
    let listed: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.get(3))
        .flat_map(|cell| named(cell))
        .collect();
    let tests = functions("tests/attacks");
    let attacks: Vec<_> = tests.iter().filter(|name| name.starts_with("attack_")).collect();
    assert!(attacks.len() > 50, "the tests were found");
    let missing: Vec<_> = attacks.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/explanation/attacks.md: {missing:?}");
}

#[test]
fn the_list_knows_its_reason_codes() {
    let codes = std::fs::read_to_string(root().join("docs/reference/reason-codes.md")).unwrap();
    for row in rows() {
        for code in row
            .get(4)
            .unwrap()
            .split([',', ' '])
            .filter(|word| word.starts_with("HM-"))
        {
            assert!(
                codes.contains(&format!("| {code} |")),
                "{code} of attack {}",
                row.get(1).unwrap()
            );
        }
    }
}
