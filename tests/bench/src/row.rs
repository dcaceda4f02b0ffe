//! What is printed and written down.

use anyhow::Result;
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;

/// One figure, with the control that was measured beside it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    control: Option<f64>,
    ratio: Option<f64>,
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            control: None,
            ratio: None,
        }
    }

    /// The ratio is value by control; there is none to nothing.
    pub(crate) fn against(mut self, control: f64) -> Self {
        self.control = Some(control);
        self.ratio = (control > 0.0).then_some(self.value / control);
        self
    }
}

/// The table, printed row by row as it comes about.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn head() -> Result<()> {
        let (name, value, unit, control, ratio) = ("name", "value", "unit", "control", "ratio");
        Self::say(&format!("{name:<40} {value:>12} {unit:<14} {control:>12} {ratio:>7}"))
    }

    pub(crate) fn push(&mut self, row: Row) -> Result<()> {
        let Row {
            name,
            value,
            unit,
            control,
            ratio,
        } = &row;
        let control = control.map_or_else(|| "-".into(), number);
        let ratio = ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
        Self::say(&format!(
            "{name:<40} {:>12} {unit:<14} {control:>12} {ratio:>7}",
            number(*value)
        ))?;
        self.0.push(row);
        Ok(())
    }

    /// A line between the rows.
    pub(crate) fn say(line: &str) -> Result<()> {
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(file, serde_json::to_string_pretty(&self.0)?)?)
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
