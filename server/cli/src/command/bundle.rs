//! `hallmark bundle`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use hallmark_api::{bundle::GetBundleRequest, types};
use hallmark_spiffe::{Bundle, TrustDomain, jwt::JwtAuthority};

use super::Context;
use crate::{
    error::CliError,
    exit::Exit,
    output::{show, write},
    view::bundle::BundleView,
};

#[derive(Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Show the trust domain's public keys
    #[command(after_help = "Examples:
  hallmark bundle show
  hallmark bundle show --format pem > bundle.pem
  hallmark bundle show --format spiffe > bundle.json")]
    Show {
        /// Print the bundle itself, in this form
        #[arg(long, value_enum)]
        format: Option<BundleFormat>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BundleFormat {
    /// X.509 certificates, for TLS libraries and agents
    Pem,
    /// A SPIFFE bundle document (JWKS)
    Spiffe,
}

pub(crate) async fn run(context: &Context, command: BundleCommand) -> Result<Exit, CliError> {
    let BundleCommand::Show { format } = command;
    let client = context.connect().await?;
    let bundle = client
        .bundles()
        .get_bundle(GetBundleRequest { output_mask: None })
        .await?
        .into_inner();
    match format {
        None => show(context.format, &BundleView::new(&bundle)?)?,
        Some(BundleFormat::Pem) => write(&domain_bundle(bundle)?.to_pem())?,
        Some(BundleFormat::Spiffe) => write(&(domain_bundle(bundle)?.to_jwks()? + "\n"))?,
    }
    Ok(Exit::Done)
}

/// A bundle as it is worked with.
pub(super) fn domain_bundle(message: types::Bundle) -> Result<Bundle, CliError> {
    let authorities = message.x509_authorities.into_iter();
    let jwt_key = |key: types::JwtKey| JwtAuthority::new(key.key_id, key.public_key.to_vec());
    let jwt_keys = message.jwt_authorities.into_iter().map(jwt_key);
    let jwt_authorities = jwt_keys.collect::<Result<_, _>>().map_err(|cause| CliError::Answer {
        what: format!("a JWT key: {cause}"),
    })?;
    Ok(Bundle {
        trust_domain: TrustDomain::parse(&message.trust_domain)?,
        x509_authorities: authorities.map(|authority| authority.asn1.to_vec()).collect(),
        jwt_authorities,
        sequence: message.sequence_number,
        refresh_hint: Duration::from_secs(u64::try_from(message.refresh_hint).unwrap_or(0)),
    })
}
