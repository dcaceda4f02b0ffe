//! The catalogue of reason codes: its form, that the sources and it have the same codes, and the reference made from it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hallmark_reason::{catalogue, lookup};
use hallmark_style::{root, rust_sources, tracked_files};

const CATALOGUE: &str = "proto/reason/reasons.toml";
const REFERENCE: &str = "docs/reference/reason-codes.md";

/// One code as a reader of TOML finds it.
struct Row {
    code: String,
    meaning: String,
    cause: Option<String>,
    next: Option<String>,
}

/// The rows, in the file's order.
fn rows() -> Vec<Row> {
    let text = std::fs::read_to_string(root().join(CATALOGUE)).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let headers = text
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let rows: Vec<Row> = headers
        .map(|code| {
            let text = |key: &str| {
                let value = table.get(code).and_then(|row| row.get(key));
                value.map(|value| {
                    value
                        .as_str()
                        .unwrap_or_else(|| panic!("{code}: {key} is not text"))
                        .to_owned()
                })
            };
            Row {
                code: code.to_owned(),
                meaning: text("meaning").unwrap_or_else(|| panic!("{code} has no meaning")),
                cause: text("cause"),
                next: text("next"),
            }
        })
        .collect();
    assert_eq!(rows.len(), table.len(), "every code has its header");
    rows
}

fn area(code: &str) -> &str {
    code.rsplit_once('-').map_or(code, |(area, _)| area)
}

#[test]
fn the_catalogue_is_in_order() {
    let rows = rows();
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut before = "";
    for Row { code, .. } in &rows {
        let (area, number) = code.rsplit_once('-').unwrap();
        assert!(
            area.starts_with("HM-") && number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit()),
            "{code} is not of the form HM-AREA-0000"
        );
        let earlier = last.insert(area, code);
        assert!(
            earlier.is_none_or(|earlier| earlier < code.as_str()),
            "{code} stands behind {earlier:?}"
        );
        assert!(
            area == before || earlier.is_none(),
            "{code} is not with the others of {area}"
        );
        before = area;
    }
    for Row {
        code,
        meaning,
        cause,
        next,
    } in &rows
    {
        for text in [Some(meaning), cause.as_ref(), next.as_ref()].into_iter().flatten() {
            assert!(!text.trim().is_empty() && text.trim() == text, "{code}: {text:?}");
            assert!(!text.contains("]("), "{code}: name the page, without a link: {text}");
            assert!(
                text.matches('`').count() % 2 == 0,
                "{code}: a ` without its pair: {text}"
            );
            for path in text.split_whitespace().filter_map(doc_path) {
                let file = path.split('#').next().unwrap_or_default();
                assert!(root().join(file).is_file(), "{code}: {file} does not exist");
            }
        }
    }
}

#[test]
fn the_programs_carry_what_the_catalogue_says() {
    let rows = rows();
    assert_eq!(catalogue().len(), rows.len());
    let plain = |text: &Option<String>| text.as_ref().map(|text| text.replace('`', ""));
    for row in rows {
        let reason = lookup(&row.code).unwrap_or_else(|| panic!("{} was not compiled in", row.code));
        assert_eq!(reason.meaning, row.meaning.replace('`', ""), "{}", row.code);
        assert_eq!(reason.likely_cause, plain(&row.cause).as_deref(), "{}", row.code);
        assert_eq!(reason.next_step, plain(&row.next).as_deref(), "{}", row.code);
    }
}

/// Codes that the sources construct, each with its files.
fn constructed() -> BTreeMap<String, Vec<String>> {
    let mut codes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in rust_sources().unwrap() {
        if path.starts_with("tests/style") || path.starts_with("proto/reason") {
            continue;
        }
        let flat: String = text.split_whitespace().collect();
        for (at, found) in flat.match_indices("ReasonCode::new(\"HM-") {
            let rest = flat.get(at + found.len() - 3..).unwrap_or_default();
            let code = rest.split('"').next().unwrap_or_default().to_owned();
            codes.entry(code).or_default().push(path.display().to_string());
        }
    }
    codes.retain(|code, _| area(code) != "HM-TEST");
    for (code, path) in said_by_images() {
        codes.entry(code).or_default().push(path);
    }
    codes
}

/// Codes in the scripts of machine images, each once for a file.
fn said_by_images() -> BTreeSet<(String, String)> {
    let files = tracked_files().unwrap().into_iter();
    let scripts = files.filter(|path| path.starts_with("images") && !path.ends_with("packages.lock"));
    let read = scripts.map(|path| (std::fs::read_to_string(root().join(&path)).unwrap(), path));
    read.flat_map(|(text, path)| {
        let codes = text.split("HM-IMAGE-").skip(1).filter_map(|rest| rest.get(..4));
        let codes = codes.map(|number| (format!("HM-IMAGE-{number}"), path.display().to_string()));
        codes.collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_sources_and_the_catalogue_have_the_same_codes() {
    let constructed = constructed();
    let listed: BTreeSet<&str> = catalogue().iter().map(|reason| reason.code.as_str()).collect();
    let used: BTreeSet<&str> = constructed.keys().map(String::as_str).collect();
    assert!(used.len() > 500, "the codes were found: {}", used.len());
    let missing: Vec<_> = used.difference(&listed).collect();
    let dead: Vec<_> = listed.difference(&used).collect();
    assert!(missing.is_empty(), "not in {CATALOGUE}: {missing:?}");
    assert!(dead.is_empty(), "in {CATALOGUE} but nowhere in the sources: {dead:?}");
    for (code, places) in &constructed {
        assert_eq!(places.len(), 1, "{code} is constructed in several places: {places:?}");
    }
}

#[test]
fn causes_and_next_steps_stand_in_the_catalogue_alone() {
    for (path, text) in rust_sources().unwrap() {
        if path.starts_with("proto/reason") || path.starts_with("tests/style") {
            continue;
        }
        for method in ["fn likely_cause(&self)", "fn next_step(&self)"] {
            assert!(
                !text.contains(method),
                "{}: {method}: write the text into {CATALOGUE}; one that depends on values is `precise_cause` or `precise_step`",
                path.display()
            );
        }
    }
}

/// A page of the documentation that a word names: `docs/how-to/watch.md`, with its anchor.
fn doc_path(word: &str) -> Option<&str> {
    let word = word.trim_matches(['(', ')', ',', ';', '.', ':']);
    (word.starts_with("docs/") && word.contains(".md")).then_some(word)
}

/// A text of the catalogue as a cell: pages of the documentation become links.
fn cell(text: Option<&str>) -> String {
    let words = text.unwrap_or("-").split(' ').map(|word| match doc_path(word) {
        Some(path) => {
            let near = path.strip_prefix("docs/reference/").map(str::to_owned);
            let target = near.unwrap_or_else(|| path.replacen("docs/", "../", 1));
            let name = path.split('#').next().unwrap_or(path);
            word.replacen(path, &format!("[{name}]({target})"), 1)
        }
        None => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn reference() -> String {
    let mut page = format!(
        "# Reason codes\n\n\
         Every refusal and failure has a stable code. It is the same in API errors, logs, metrics and records, and is never\n\
         reused for another meaning. `hallmark reason CODE` says what stands here.\n\n\
         This page is generated from `{CATALOGUE}` (`make reason-codes`); a message that carries values, such as the name of\n\
         a file, may be more precise.\n"
    );
    let mut before = String::new();
    for row in rows() {
        if area(&row.code) != before {
            area(&row.code).clone_into(&mut before);
            write!(
                page,
                "\n## {before}\n\n| code | meaning | likely cause | next step |\n|---|---|---|---|\n"
            )
            .unwrap();
        }
        writeln!(
            page,
            "| {} | {} | {} | {} |",
            row.code,
            cell(Some(&row.meaning)),
            cell(row.cause.as_deref()),
            cell(row.next.as_deref())
        )
        .unwrap();
    }
    page
}

#[test]
fn the_reference_is_made_from_the_catalogue() {
    let path = root().join(REFERENCE);
    let made = reference();
    if std::env::var_os("WRITE_REASON_CODES").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let differs = made.lines().zip(stored.lines()).find(|(made, stored)| made != stored);
    assert!(
        made == stored,
        "{REFERENCE} is not what {CATALOGUE} gives; run `make reason-codes`. First difference: {differs:#?}"
    );
}
