//! Makes the table of the catalogue from `reasons.toml`, so that a program carries it as constants and reads nothing at run time.
//!
//! It reads the few forms that the file is written in: a header, a key with a string on one line, a comment. Anything else stops
//! the build. That the file is TOML, and means the same to a reader of TOML, `tests/style` sees to.
#![expect(
    clippy::disallowed_methods,
    reason = "a build script reads and writes files; the crate does not"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, error::Error, fs};

const CATALOGUE: &str = "reasons.toml";

/// One code as it stands in the file.
#[derive(Default)]
struct Row {
    code: String,
    meaning: Option<String>,
    cause: Option<String>,
    next: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={CATALOGUE}");
    println!("cargo::rerun-if-changed=build.rs");
    let text = fs::read_to_string(CATALOGUE)?;
    let mut rows = rows(&text)?;
    rows.sort_by(|one, other| one.code.cmp(&other.code));
    if let Some(twice) = rows
        .windows(2)
        .find(|pair| matches!(pair, [one, other] if one.code == other.code))
    {
        let codes: Vec<&str> = twice.iter().map(|row| row.code.as_str()).collect();
        return Err(format!("{CATALOGUE}: {} is there twice", codes.join(" = ")).into());
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("catalogue.rs"), table(&rows)?)?;
    Ok(())
}

fn rows(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fault = |what: &str| format!("{CATALOGUE}:{}: {what}: {line}", index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(code) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            rows.push(Row {
                code: code.to_owned(),
                ..Row::default()
            });
            continue;
        }
        let (key, value) = line.split_once(" = ").ok_or_else(|| fault("neither header nor key"))?;
        let row = rows.last_mut().ok_or_else(|| fault("a key before the first code"))?;
        let slot = match key {
            "meaning" => &mut row.meaning,
            "cause" => &mut row.cause,
            "next" => &mut row.next,
            _ => return Err(fault("unknown key")),
        };
        *slot = Some(string(value).ok_or_else(|| fault("not a string on one line"))?);
    }
    Ok(rows)
}

/// The text of a basic string of TOML. Of the escapes, `\"` and `\\` are read.
fn string(value: &str) -> Option<String> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

fn table(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    // Messages and terminals show the text without the reference's marks for code.
    let plain = |text: &Option<String>| text.as_ref().map(|text| text.replace('`', ""));
    let mut table = String::from("&[\n");
    for row in rows {
        let meaning = plain(&row.meaning).ok_or_else(|| format!("{CATALOGUE}: {} has no meaning", row.code))?;
        writeln!(
            table,
            "Reason {{ code: ReasonCode::new({:?}), meaning: {meaning:?}, likely_cause: {:?}, next_step: {:?} }},",
            row.code,
            plain(&row.cause),
            plain(&row.next),
        )?;
    }
    table.push_str("]\n");
    Ok(table)
}
