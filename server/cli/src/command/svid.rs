//! `hallmark svid`.

use clap::Subcommand;
use hallmark_api::svid::MintJwtsvidRequest;

use super::Context;
use crate::{duration::parse_ttl, error::CliError, exit::Exit, lookup, output::show, view::svid::JwtSvidView};

#[derive(Debug, Subcommand)]
pub(crate) enum SvidCommand {
    /// Issue an SVID by hand, for what no agent serves
    #[command(subcommand)]
    Mint(MintCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MintCommand {
    /// Issue a JWT-SVID. Whoever has the token has the identity, until it ends
    #[command(after_help = "Examples:
  hallmark svid mint jwt /ci/deploy --audience vault > token
  hallmark svid mint jwt spiffe://example.org/ci/deploy --audience vault --ttl 10m -o json")]
    Jwt {
        /// The SPIFFE ID
        #[arg(value_name = "SPIFFE-ID")]
        id: String,
        /// For whom it is; one is best, as each of them can use it with the others
        #[arg(long, value_name = "NAME", required = true)]
        audience: Vec<String>,
        /// For how long; the server's default when left out
        #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
        ttl: Option<i32>,
    },
}

pub(crate) async fn run(context: &Context, command: SvidCommand) -> Result<Exit, CliError> {
    let SvidCommand::Mint(MintCommand::Jwt { id, audience, ttl }) = command;
    let client = context.connect().await?;
    let id = lookup::spiffe_id(&client, &id).await?;
    let request = MintJwtsvidRequest {
        id: Some(lookup::id_message(&id)),
        audience,
        // Zero asks for the server's default.
        ttl: ttl.unwrap_or(0),
    };
    let answer = client.svids().mint_jwtsvid(request).await?.into_inner();
    let svid = answer.svid.ok_or_else(|| CliError::Answer {
        what: "no JWT-SVID".to_owned(),
    })?;
    show(context.format, &JwtSvidView::new(svid, &id))?;
    Ok(Exit::Done)
}
