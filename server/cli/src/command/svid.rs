//! `hallmark svid`.

mod error;
mod files;
mod x509;

pub(crate) use error::MintError;

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
    /// Issue an X509-SVID, for a key that is made here or for a certificate request. Nothing renews it, and nothing takes it back
    /// before it ends
    #[command(after_help = "Examples:
  hallmark svid mint x509 /db --dns db.example.org --ttl 12h --out /etc/postgresql/tls
  hallmark svid mint x509 /switch/7 --dns switch-7.example.org --csr switch-7.csr > switch-7.pem
  hallmark svid mint x509 /db --dns db.example.org --out tls --replace -o json")]
    X509(x509::Mint),
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
    match command {
        SvidCommand::Mint(MintCommand::X509(mint)) => mint.run(context).await,
        SvidCommand::Mint(MintCommand::Jwt { id, audience, ttl }) => mint_jwt(context, &id, audience, ttl).await,
    }
}

async fn mint_jwt(context: &Context, id: &str, audience: Vec<String>, ttl: Option<i32>) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    let id = lookup::spiffe_id(&client, id).await?;
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
