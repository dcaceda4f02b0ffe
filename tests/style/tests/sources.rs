//! How the sources look: sizes, names, reason codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_style::{root, rust_sources, tracked_files};
use std::collections::{BTreeMap, BTreeSet};

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

/// Codes in the golden file, each with its row.
fn golden() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/reference/reason-codes.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| HM-")) {
        let code = line.split('|').nth(1).unwrap().trim().to_owned();
        assert_eq!(line.split('|').count(), 6, "four columns: {line}");
        assert!(
            line.split('|').skip(1).take(4).all(|cell| !cell.trim().is_empty()),
            "an empty cell: {line}"
        );
        assert!(
            rows.insert(code.clone(), line.to_owned()).is_none(),
            "{code} stands twice"
        );
    }
    rows
}

/// Codes that the sources construct.
fn constructed() -> BTreeMap<String, Vec<String>> {
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_sources().unwrap() {
        if path.starts_with("tests/style") {
            continue;
        }
        let flat: String = text.split_whitespace().collect();
        for (at, found) in flat.match_indices("ReasonCode::new(\"HM-") {
            let rest = flat.get(at + found.len() - 3..).unwrap_or_default();
            let code = rest.split('"').next().unwrap_or_default().to_owned();
            codes.entry(code).or_default().push(path.display().to_string());
        }
    }
    codes
}

#[test]
fn reason_codes_and_their_list_agree() {
    let (golden, constructed) = (golden(), constructed());
    let listed: BTreeSet<_> = golden.keys().collect();
    let used: BTreeSet<_> = constructed
        .keys()
        .filter(|code| !code.starts_with("HM-TEST-"))
        .collect();
    assert!(used.len() > 100, "the codes were found: {}", used.len());
    let missing: Vec<_> = used.difference(&listed).collect();
    let dead: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty(), "not in reason-codes.md: {missing:?}");
    assert!(
        dead.is_empty(),
        "in reason-codes.md but nowhere in the sources: {dead:?}"
    );
    for (code, places) in constructed.iter().filter(|(code, _)| !code.starts_with("HM-TEST-")) {
        assert_eq!(places.len(), 1, "{code} is constructed in several places: {places:?}");
        let digits = code.rsplit('-').next().unwrap_or_default();
        assert!(
            digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()),
            "{code}"
        );
    }
}
