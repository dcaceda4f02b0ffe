//! Words: what users read is plain technical English. A small list of phrases keeps the worst from coming back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_style::{root, tracked_files};

/// A phrase in lower case, and what to write in its place.
const BANNED: &[(&str, &str)] = &[
    ("slip of the pen", "typo or wrong value type on this line"),
    ("come to its end", "timed out, did not finish"),
    ("came to its end", "finished"),
    ("past its time", "past nextUpdate, expired"),
    ("takes something away", "destructive"),
    ("the server does not find it", "not found"),
    ("is no duration", "invalid duration …; examples: 90s, 15m"),
    ("is no time span", "invalid duration …; examples: 90s, 15m"),
    ("is no protobuf", "is not a valid … message"),
    ("says again, or too late", "is duplicated or too late"),
    ("strangers can cause", "that callers can trigger"),
    ("attests all the time", "re-attests continuously"),
    ("stops no policy", "no longer blocks policy changes"),
    ("from delivery to scrap", "life cycle"),
    ("typing error", "typo"),
    ("what answers at", "the endpoint at"),
];

/// Files that people read: documentation, sources with their messages, and the catalogue.
fn read_by_people() -> Vec<(String, String)> {
    let files = tracked_files().unwrap().into_iter();
    let files = files.filter(|path| {
        path.extension().is_some_and(|end| {
            ["md", "rs", "toml", "yml", "proto", "golden"]
                .iter()
                .any(|known| end == *known)
        }) && !path.starts_with("tests/style")
    });
    let read = files.map(|path| {
        let text = std::fs::read_to_string(root().join(&path)).unwrap();
        (path.display().to_string(), text)
    });
    read.collect()
}

/// The lines of a file that users can see: of sources all but comments.
fn visible(path: &str, text: &str) -> impl Iterator<Item = (usize, String)> {
    let is_source = path.ends_with(".rs");
    let is_help = text.contains("clap");
    let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
    (1..)
        .zip(lines)
        .filter(move |(_, line)| !is_source || !is_comment(line, is_help))
        .map(|(number, line)| (number, line.to_lowercase()))
}

/// A comment that stays in the source; `///` of a command line becomes its help.
fn is_comment(line: &str, is_help: bool) -> bool {
    let line = line.trim_start();
    line.starts_with("//") && !(is_help && line.starts_with("///"))
}

/// A name that was given up, what to write in its place, and who still has it: stored rows and files keep their columns.
const GIVEN_UP: &[(&str, &str, &[&str])] = &[
    (
        "distrust",
        "untrusted, untrusted_reason",
        &["server/store/", "CHANGELOG.md"],
    ),
    ("judgement", "appraisal, AppraisalResult", &["CHANGELOG.md"]),
    (
        "sighting",
        "QuoteClock, quote_clock",
        &[
            "server/store/",
            "server/tests/",
            "server/policy/",
            "tests/bench/",
            "CHANGELOG.md",
        ],
    ),
    ("rejudge", "reappraise", &[]),
    ("settle_in", "on_first_use", &[]),
];

#[test]
fn no_name_that_was_given_up_comes_back() {
    let mut found = Vec::new();
    for (path, text) in read_by_people() {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.to_lowercase();
            let given_up = GIVEN_UP.iter().filter(|(name, _, _)| line.contains(name));
            let given_up = given_up.filter(|(_, _, kept)| !kept.iter().any(|kept| path.starts_with(kept)));
            found.extend(given_up.map(|(name, instead, _)| format!("{path}:{number}: {name}; write: {instead}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_riddle_comes_back() {
    let files = read_by_people();
    assert!(files.len() > 300, "the files were found: {}", files.len());
    let mut found = Vec::new();
    for (path, text) in &files {
        for (number, line) in visible(path, text) {
            let banned = BANNED.iter().filter(|(phrase, _)| line.contains(phrase));
            found.extend(banned.map(|(phrase, instead)| format!("{path}:{number}: {phrase:?}; write: {instead}")));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// "X is no Y" reads as old English: "X is not a Y", or "invalid Y X; examples: …".
#[test]
fn messages_say_is_not_a() {
    let mut found = Vec::new();
    for (path, text) in read_by_people() {
        let is_test = path.starts_with("tests/") || path.contains("/tests");
        let is_message = |line: &str| line.contains("#[error(\"") || line.contains("format!(\"");
        for (number, line) in visible(&path, &text) {
            let told = path == "proto/reason/reasons.toml"
                || path.ends_with(".md")
                || path.ends_with(".rs") && !is_test && is_message(&line);
            if told && is_no(&line) {
                found.push(format!("{path}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "write \"is not a …\" or \"invalid …\": {found:#?}");
}

/// "is no" or "are no" with a noun, and not "there is no" or "is no longer".
fn is_no(line: &str) -> bool {
    ["is no ", "are no "].iter().any(|phrase| {
        line.match_indices(phrase).any(|(at, _)| {
            let before = line.get(..at).unwrap_or_default().trim_end();
            let behind = line.get(at + phrase.len()..).unwrap_or_default();
            !before.ends_with("there") && !behind.starts_with("longer")
        })
    })
}

#[test]
fn the_phrases_are_seen_where_they_are() {
    assert!(is_no("\"{text:?} is no duration\"") && is_no("the files are no certificates"));
    assert!(!is_no("there is no key") && !is_no("the store is no longer the file") && !is_no("it is not a file"));
    let text = "//! a slip of the pen\n// a slip of the pen\n/// Help\n\"A slip of the pen\"\n";
    let seen = |text: &str| -> Vec<usize> { visible("x.rs", text).map(|(number, _)| number).collect() };
    assert_eq!(seen(text), [4]);
    assert_eq!(seen(&format!("{text}use clap::Parser;")), [3, 4, 5]);
    assert_eq!(visible("x.md", text).count(), 4);
}
