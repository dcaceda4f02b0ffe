//! What the server keeps of a node: the evidence that it gave last.

use hallmark_api::admin::{EvidenceSummary, GetEvidenceRequest, get_evidence_response::Part};
use hallmark_evidence::{EvidenceFile, Log, LogKind};
use hallmark_policy::MachineFacts;
use serde::de::DeserializeOwned;

use crate::{client::Client, error::CliError};

/// The evidence of one node.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) summary: EvidenceSummary,
    logs: Vec<(LogKind, Vec<u8>)>,
}

impl Kept {
    /// Asks the server for it.
    pub(crate) async fn of(client: &Client, id: &str) -> Result<Self, CliError> {
        let request = GetEvidenceRequest { id: id.to_owned() };
        let mut parts = client.admin().get_evidence(request).await?.into_inner();
        let mut summary = None;
        let mut logs: Vec<(LogKind, Vec<u8>)> = Vec::new();
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(Part::Summary(it)) => summary = Some(it),
                Some(Part::Log(part)) => {
                    let kind = i32::try_from(part.kind).unwrap_or_default();
                    let kind = LogKind::from_number(kind).map_err(|error| unreadable(&error))?;
                    match logs.last_mut() {
                        Some((last, bytes)) if *last == kind => bytes.extend_from_slice(&part.data),
                        _ => logs.push((kind, part.data.to_vec())),
                    }
                }
                None => {}
            }
        }
        let summary = summary.ok_or_else(|| CliError::Answer {
            what: "evidence without a summary".to_owned(),
        })?;
        Ok(Self { summary, logs })
    }

    /// What a server would send of a node without logs.
    #[cfg(test)]
    pub(crate) const fn of_summary(summary: EvidenceSummary) -> Self {
        let logs = Vec::new();
        Self { summary, logs }
    }

    /// What was proven.
    pub(crate) fn facts(&self) -> Result<MachineFacts, CliError> {
        json(&self.summary.facts)
    }

    /// What was proven last of the boot before, if there was one.
    pub(crate) fn earlier(&self) -> Result<Option<MachineFacts>, CliError> {
        let earlier = &self.summary.earlier;
        (!earlier.is_empty()).then(|| json(earlier)).transpose()
    }

    /// What the rules found.
    pub(crate) fn appraisal(&self) -> Result<serde_json::Value, CliError> {
        json(&self.summary.appraisal)
    }

    /// The evidence as a file that is judged without a server.
    pub(crate) fn into_file(self) -> Result<EvidenceFile, CliError> {
        let mut file = EvidenceFile::parse(self.summary.file.as_bytes()).map_err(|error| unreadable(&error))?;
        let logs = self.logs.into_iter().map(|(kind, bytes)| Log::new(kind, 0, bytes));
        file.logs = logs.collect::<Result<_, _>>().map_err(|error| unreadable(&error))?;
        Ok(file)
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, CliError> {
    serde_json::from_str(text).map_err(|error| unreadable(&error))
}

fn unreadable(error: &dyn std::error::Error) -> CliError {
    CliError::Answer {
        what: format!("evidence: {error}"),
    }
}
