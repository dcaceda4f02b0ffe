//! `tpm_commands`: commands per flow against their budget.

use crate::row::{Row, Table};
use anyhow::Result;
use hallmark_kit::count_tpm_commands;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for flow in count_tpm_commands(&folder.path().join("lab"))? {
        let unit = if flow.name == "left_behind" {
            "handles"
        } else {
            "commands"
        };
        let row = Row::new(format!("tpm_commands.{}", flow.name), whole(flow.count)?, unit);
        table.push(match flow.budget {
            Some(budget) => row.against(whole(budget)?),
            None => row,
        })?;
        Table::say(&format!("    {}", flow.commands))?;
    }
    Ok(())
}

fn whole(count: usize) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
