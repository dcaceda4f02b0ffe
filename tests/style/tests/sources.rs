//! How the sources look: sizes and names.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::{collections::BTreeSet, fs};

use hallmark_style::{root, rust_sources, tracked_files};

const MOST_LINES: usize = 600;

#[test]
fn no_source_file_is_over_the_limit() {
    let sources = rust_sources().unwrap();
    assert!(sources.len() > 50, "the sources were found");
    for (path, text) in &sources {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for path in tracked_files().unwrap() {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for poor in ["utils", "util", "common", "helpers", "helper", "misc", "manager"] {
            assert_ne!(stem, poor, "{}", path.display());
        }
    }
}

#[test]
fn nothing_is_left_to_be_done_and_no_lint_is_lifted_without_a_reason() {
    for (path, text) in rust_sources().unwrap() {
        if path.starts_with("tests/style") {
            continue;
        }
        for word in ["todo!", "unimplemented!", "FIXME", "XXX", "#[ignore]"] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for attribute in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
            for (at, _) in flat.match_indices(attribute) {
                let rest = flat.get(at..).unwrap_or_default();
                let body = rest.get(..rest.find(")]").unwrap_or(rest.len())).unwrap_or_default();
                assert!(body.contains("reason ="), "{}: {body}", path.display());
            }
        }
    }
}

/// CONTRIBUTING.md says of each fuzz target what must hold, and of no other.
#[test]
fn the_table_of_fuzz_targets_is_complete() {
    let targets: BTreeSet<String> = fs::read_dir(root().join("tests/fuzz/fuzz_targets"))
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(targets.len() > 20, "{targets:?}");
    let text = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = text.split_once("| target | what is fuzzed |").unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let first_cells = rows.filter_map(|row| row.split('|').nth(1));
    let named: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    assert_eq!(named, targets);
}
