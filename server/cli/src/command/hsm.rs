//! `hallmark hsm`.

use clap::Subcommand;
use hallmark_api::admin::{GetHsmStatusRequest, ListHsmKeysRequest};

use super::Context;
use crate::{
    error::CliError,
    exit::Exit,
    output::show,
    view::hsm::{HsmView, KeyList, KeyView},
};

#[derive(Debug, Subcommand)]
pub(crate) enum HsmCommand {
    /// Show the token and its sessions
    Status,
    /// List this server's keys in the token and how they are protected
    Keys,
}

pub(crate) async fn run(context: &Context, command: HsmCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        HsmCommand::Status => {
            let status = HsmView::from(
                client
                    .admin()
                    .get_hsm_status(GetHsmStatusRequest {})
                    .await?
                    .into_inner(),
            );
            show(context.format, &status)?;
            Ok(if status.is_ready() {
                Exit::Done
            } else {
                Exit::Unreachable
            })
        }
        HsmCommand::Keys => {
            let keys = client
                .admin()
                .list_hsm_keys(ListHsmKeysRequest {})
                .await?
                .into_inner()
                .keys;
            show(context.format, &KeyList(keys.into_iter().map(KeyView::from).collect()))?;
            Ok(Exit::Done)
        }
    }
}
