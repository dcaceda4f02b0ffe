//! `hallmark baseline`: what good machines' boots measure.

mod predict;

use clap::Subcommand;

use super::Context;
use crate::{error::CliError, exit::Exit};
use predict::Predict;

#[derive(Debug, Subcommand)]
pub(crate) enum BaselineCommand {
    /// Compute what machines that boot an image will measure; no server is asked
    #[command(after_help = "Example:
  hallmark baseline predict --uki edge.efi --firmware-variables OVMF_VARS.fd --name edge-2026-12 -o edge-2026-12.json")]
    Predict(Predict),
}

pub(crate) fn run(context: &Context, command: BaselineCommand) -> Result<Exit, CliError> {
    match command {
        BaselineCommand::Predict(predict) => predict.run(context),
    }
}
