//! Tests wait on conditions: a sleep is the pause of a loop that looks again, or says why it takes real time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use hallmark_style::{root, tracked_files};

/// What stands above a sleep that is not the pause of a loop, with its reason.
const WHY: &str = "// Real time: ";

/// The lines of tests in a file of this path: all of a file of tests, else those of its module of tests.
fn tests_begin(path: &str, lines: &[&str]) -> Option<usize> {
    let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
    if is_test {
        return Some(0);
    }
    let mut pairs = lines.windows(2);
    pairs.position(|pair| pair.first() == Some(&"#[cfg(test)]") && pair.get(1) == Some(&"mod tests {"))
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A call of a function that sleeps; not its import, nor a program of that name.
fn sleeps(line: &str) -> bool {
    let line = line.trim_start();
    let called = line.split("sleep(").next().filter(|before| before.len() < line.len());
    called.is_some_and(|before| {
        !before.starts_with("//")
            && !before.contains('"')
            && !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

/// Whether the sleep in this line is the pause of a loop that looks again, takes the time of a paused clock, or says why.
fn may_stand(lines: &[&str], at: usize) -> bool {
    let before = |line: usize| lines.get(..line).unwrap_or_default().iter().enumerate().rev();
    if before(at)
        .next()
        .is_some_and(|(_, line)| line.trim_start().starts_with(WHY))
    {
        return true;
    }
    let mut depth = lines.get(at).map_or(0, |line| indent(line));
    for (number, line) in before(at) {
        if line.trim().is_empty() || indent(line) >= depth {
            continue;
        }
        depth = indent(line);
        let text = line.trim_start();
        if text.starts_with("while ") || text.starts_with("loop {") || text.ends_with(" loop {") {
            return true;
        }
        if text.starts_with("for ") {
            let body = lines.get(number..at).unwrap_or_default();
            return body
                .iter()
                .any(|line| ["return", "break"].iter().any(|word| line.contains(word)));
        }
        if text.contains("fn ") {
            let attributes = before(number).take(3);
            return attributes
                .into_iter()
                .any(|(_, line)| line.contains("start_paused = true"));
        }
    }
    false
}

#[test]
fn tests_wait_on_conditions() {
    let (mut found, mut seen) = (Vec::new(), 0);
    for path in tracked_files().unwrap() {
        if path.extension().is_none_or(|end| end != "rs") || path.ends_with("tests/style/tests/sleeps.rs") {
            continue;
        }
        let (name, text) = (
            path.display().to_string(),
            std::fs::read_to_string(root().join(&path)).unwrap(),
        );
        let lines: Vec<&str> = text.lines().collect();
        let Some(begin) = tests_begin(&name, &lines) else {
            continue;
        };
        for (at, _) in lines.iter().enumerate().skip(begin).filter(|(_, line)| sleeps(line)) {
            seen += 1;
            if !may_stand(&lines, at) {
                found.push(format!("{name}:{}", at + 1));
            }
        }
    }
    assert!(seen > 50, "the sleeps were found: {seen}");
    assert!(
        found.is_empty(),
        "wait on a condition or move the clock; where real time itself is tried, say so: {WHY}…: {found:#?}"
    );
}

#[test]
fn a_sleep_without_a_reason_is_seen() {
    let verdicts = |text: &str| -> Vec<bool> {
        let lines: Vec<&str> = text.lines().collect();
        let at = (0..lines.len()).filter(|at| lines.get(*at).is_some_and(|line| sleeps(line)));
        at.map(|at| may_stand(&lines, at)).collect()
    };
    let bare = "fn a() {\n    sleep(ONE);\n}\n";
    assert_eq!(verdicts(bare), [false]);
    assert_eq!(
        verdicts("fn a() {\n    // Real time: it is what is tried.\n    thread::sleep(ONE);\n}\n"),
        [true]
    );
    assert_eq!(
        verdicts("fn a() {\n    while !is_there() {\n        tokio::time::sleep(ONE).await;\n    }\n}\n"),
        [true]
    );
    assert_eq!(
        verdicts("fn a() {\n    for _ in 0..9 {\n        sleep(ONE);\n    }\n}\n"),
        [false]
    );
    assert_eq!(
        verdicts(
            "fn a() {\n    for _ in 0..9 {\n        if b() {\n            return;\n        }\n        sleep(ONE);\n    }\n}\n"
        ),
        [true]
    );
    assert_eq!(
        verdicts(&format!("#[tokio::test(start_paused = true)]\nasync {bare}")),
        [true]
    );
    assert!(verdicts("use tokio::time::sleep;\nfn told_sleep() {}\nlet a = \"sleep(9)\";\n").is_empty());
    assert_eq!(
        tests_begin("a/src/b.rs", &["fn a() {}", "#[cfg(test)]", "mod tests {"]),
        Some(1)
    );
    assert_eq!(tests_begin("a/src/b.rs", &["fn a() {}"]), None);
    assert_eq!(tests_begin("a/tests/b.rs", &[]), Some(0));
}
