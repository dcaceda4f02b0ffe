//! `hallmark-agent doctor`: one line for each thing that has to be right.

use std::sync::Arc;

use hallmark_host::answer::{Finding, Output};
use hallmark_reason::Coded;
use hallmark_tpm_wire::templates::ek_template_of;

use crate::{
    AgentError, cli,
    config::{Bootstrap, Config},
    connect::{self, Target},
    digest::sha256,
    healthcheck, run,
    state::StateFile,
    tls::{self, ServerTrust, ServerVerifier},
};

/// Examines everything and prints what was found. Nothing is changed.
///
/// # Errors
/// The first thing that is not right; all of them have been printed.
pub(crate) async fn examine(config: &Config, output: Output) -> Result<(), Box<dyn Coded + Send>> {
    let mut first: Option<AgentError> = None;
    let mut findings = Vec::new();
    for (what, found) in [
        (
            "data folder",
            StateFile::open(&config.data_dir).map(|_| config.data_dir.display().to_string()),
        ),
        ("TPM", tpm(config).await),
        ("measurement logs", config.logs.found()),
        ("server", server(config).await),
        ("agent", agent(config).await),
    ] {
        let finding = match &found {
            Ok(detail) => Finding::new(what, Ok(detail.clone())),
            Err(error) => Finding::new(what, Err(error)),
        };
        if output.is_for_people() {
            cli::print(&finding.line())?;
        } else {
            findings.push(finding.into_value());
        }
        if let Err(error) = found {
            first.get_or_insert(error);
        }
    }
    if !output.is_for_people() {
        cli::print(&output.of(String::new, || findings.into()))?;
    }
    match first {
        None => Ok(()),
        Some(error) => Err(Box::new(error)),
    }
}

/// The running agent.
async fn agent(config: &Config) -> Result<String, AgentError> {
    let report = healthcheck::ask(config).await?;
    healthcheck::require_ready(&report)?;
    let parts: Vec<_> = report.parts.iter().map(ToString::to_string).collect();
    Ok(parts.join(", "))
}

async fn tpm(config: &Config) -> Result<String, AgentError> {
    let tpm = run::open_tpm(config).await?;
    let seen = async {
        let properties = tpm.properties().await?;
        let endorsement = tpm.endorsement().await?;
        tpm.attestation_key().await?;
        let certificate = if endorsement.certificate.is_some() {
            "certificate in NV"
        } else {
            "no certificate"
        };
        let template = ek_template_of(&endorsement.public).map_or("no known template", |template| template.name);
        let spki = endorsement.public.spki_der().map_err(|error| AgentError::Key {
            detail: error.to_string(),
        })?;
        Ok(format!(
            "{} at {}, firmware {:016x}, attestation key works, EK {} ({template}, {certificate})",
            properties.manufacturer,
            config.tcti,
            properties.firmware,
            hex::encode(sha256(&spki))
        ))
    }
    .await;
    tpm.stop().await;
    seen
}

async fn server(config: &Config) -> Result<String, AgentError> {
    let trust = match &**config.bootstrap.load() {
        Bootstrap::Bundle(bundle) => {
            let set = bundle.authorities().map_err(|error| AgentError::Bundle {
                detail: error.to_string(),
            })?;
            ServerTrust::Authorities(vec![Arc::new(set)])
        }
        Bootstrap::Insecure => ServerTrust::IdOnly,
    };
    let verifier = ServerVerifier::new(&config.trust_domain, trust).map_err(|error| AgentError::System {
        detail: error.to_string(),
    })?;
    let target = Target {
        host: config.server_host.clone(),
        port: config.server_port,
    };
    connect::anonymous(&target, tls::anonymous(Arc::new(verifier))?).await?;
    Ok(format!(
        "{} answers as this trust domain's server",
        config.server_address()
    ))
}
