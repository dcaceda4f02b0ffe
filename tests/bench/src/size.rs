//! `binary_size`: the programs as built.

use crate::row::{Row, Table};
use anyhow::Result;
use hallmark_kit::binary;

/// Megabytes that the agent is to stay below.
const AGENT: f64 = 15.0;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    for (name, program) in [
        ("agent", "hallmark-agent"),
        ("server", "hallmark-server"),
        ("hallmark", "hallmark"),
    ] {
        let tenths = u32::try_from(std::fs::metadata(binary(program)?)?.len() / 100_000)?;
        let row = Row::new(format!("binary_size.{name}"), f64::from(tenths) / 10.0, "MB");
        table.push(if name == "agent" { row.against(AGENT) } else { row })?;
    }
    Ok(())
}
