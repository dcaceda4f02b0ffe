//! `hallmark-agent doctor`: one line for each thing that has to be right.

use std::{path::Path, sync::Arc, time::Duration};

use hallmark_host::{
    answer::{Finding, Output},
    out_of_room,
};
use hallmark_reason::Coded;
use hallmark_tpm_wire::templates::ek_template_of;
use tokio::time::timeout;

use crate::{
    AgentError,
    config::{Bootstrap, Config},
    connect::{self, Target},
    digest::sha256,
    healthcheck,
    readiness::Fault,
    run,
    state::StateFile,
    stdout::print,
    tls::{self, ServerTrust, ServerVerifier},
};

/// How long the TPM may take to open, to make its keys and to answer: a slow chip makes an RSA key in half a minute.
const TPM_LIMIT: Duration = Duration::from_secs(90);

type Failed = Box<dyn Coded + Send>;
type Found = Result<String, Failed>;

/// Examines everything and prints what was found, each as it is found. Nothing is changed.
///
/// # Errors
/// The first thing that is not right; all of them have been printed.
pub(crate) async fn examine(config: &Config, output: Output) -> Result<(), Failed> {
    let mut said = Said {
        output,
        first: None,
        findings: Vec::new(),
    };
    said.take("data folder", data_folder(&config.data_dir))?;
    said.take("measurement logs", config.logs.found().map_err(boxed))?;
    said.take("TPM", within(TPM_LIMIT, tpm(config)).await)?;
    said.take("server", server(config).await.map_err(boxed))?;
    said.take("agent", agent(config).await.map_err(boxed))?;
    said.end()
}

/// What a TPM says, unless it hangs.
async fn within(limit: Duration, look: impl Future<Output = Result<String, AgentError>>) -> Found {
    match timeout(limit, look).await {
        Ok(found) => found.map_err(boxed),
        Err(_) => Err(Box::new(Fault::TpmSilent { after: limit })),
    }
}

fn boxed(error: AgentError) -> Failed {
    Box::new(error)
}

/// What was said so far.
struct Said {
    output: Output,
    first: Option<Failed>,
    findings: Vec<serde_json::Value>,
}

impl Said {
    fn take(&mut self, what: &'static str, found: Found) -> Result<(), Failed> {
        let finding = match &found {
            Ok(detail) => Finding::new(what, Ok(detail.clone())),
            Err(error) => Finding::new(what, Err(error.as_ref())),
        };
        if let Err(error) = found {
            self.first.get_or_insert(error);
        }
        if self.output.is_for_people() {
            return print(&finding.line());
        }
        self.findings.push(finding.into_value());
        Ok(())
    }

    fn end(self) -> Result<(), Failed> {
        if !self.output.is_for_people() {
            print(&self.output.of(String::new, || self.findings.into()))?;
        }
        self.first.map_or(Ok(()), Err)
    }
}

fn data_folder(folder: &Path) -> Found {
    StateFile::open(folder).map_err(boxed)?;
    let failed = |detail: String| {
        boxed(AgentError::State {
            path: folder.display().to_string(),
            detail,
        })
    };
    match out_of_room(folder) {
        Ok(None) => Ok(folder.display().to_string()),
        Ok(Some(left)) => Err(failed(left)),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The running agent's parts.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tpm_that_hangs_is_not_waited_for() {
        let limit = Duration::from_millis(10);
        let hung = within(limit, std::future::pending()).await.unwrap_err();
        assert_eq!(hung.code().as_str(), "HM-AGENT-0021");
        let answers = within(Duration::from_secs(60), async { Ok("IBM".to_owned()) });
        assert_eq!(answers.await.ok().as_deref(), Some("IBM"), "the control");
    }
}
