//! What a node proved last, for those who look at it elsewhere.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use hallmark_api::admin::{EvidenceSummary, GetEvidenceResponse, LogPart, get_evidence_response::Part};
use hallmark_evidence::{EvidenceFile, Judged, Limits, LogKind, RuleFile};
use hallmark_policy::MachineFacts;
use hallmark_reason::Report;
use hallmark_spiffe::SpiffeId;
use hallmark_state::NodeEvidence;
use hallmark_store::StoreError;
use hallmark_verify::offline::anchors_of;
use tonic::Status;

use super::policy::refused;
use crate::{
    appraise::Appraiser,
    journal::{Journal, Unreadable, read_failed},
};

/// The answer, part by part: an IMA list is larger than any one message.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<GetEvidenceResponse, Status>> + Send>>;

/// The evidence of the node `id`.
///
/// # Errors
/// `InvalidArgument` for what is no id, `NotFound` for a node that never proved anything.
pub(super) async fn get(journal: Arc<Journal>, appraiser: &Appraiser, id: &str) -> Result<Parts, Status> {
    let id = SpiffeId::parse(id).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    let kept = journal
        .store()
        .evidence(&id)
        .await
        .map_err(|error| unread(&id, &error))?;
    let kept = kept.ok_or_else(|| Status::not_found("no evidence of this node is kept"))?;
    let untrusted_reason = journal
        .node(&id)
        .map_or_else(String::new, |node| node.untrusted_reason.clone());
    let undecodable = |reason| {
        let what = format!("the evidence of {id}");
        unread(&id, &StoreError::Undecodable { what, reason })
    };
    let facts: MachineFacts = serde_json::from_str(&kept.facts).map_err(|error| undecodable(error.to_string()))?;
    let file = with_grounds(&journal, &kept, &facts).map_err(undecodable)?;
    let result = appraiser.judge(&id, facts).await;
    let result = result.map_err(|error| refused(&error))?;
    let summary = Part::Summary(EvidenceSummary {
        judged_at: kept.judged_at,
        file,
        facts: kept.facts,
        appraisal: result.to_json(),
        earlier: kept.earlier,
        untrusted_reason,
    });
    let logs = stream::iter(LogKind::ALL).then(move |kind| {
        let (journal, id) = (Arc::clone(&journal), id.clone());
        async move {
            match journal.store().logs(&id, &[kind.number()]).await {
                Ok(logs) => stream::iter(
                    logs.into_iter()
                        .flat_map(|(kind, log)| parts(kind, &log))
                        .collect::<Vec<_>>(),
                ),
                Err(error) => stream::iter(vec![Err(unread(&id, &error))]),
            }
        }
    });
    let summary = GetEvidenceResponse { part: Some(summary) };
    Ok(Box::pin(stream::iter([Ok(summary)]).chain(logs.flatten())))
}

/// What is kept of the node `id` does not read back, or nothing can be read now.
fn unread(id: &SpiffeId, error: &StoreError) -> Status {
    match error {
        StoreError::Undecodable { .. } => Status::data_loss(Report(&Unreadable::of(id, error)).to_string()),
        other => read_failed(other),
    }
}

/// The evidence as a file, with what it was judged by: all but the policies, which are files of their own.
fn with_grounds(journal: &Journal, kept: &NodeEvidence, facts: &MachineFacts) -> Result<String, String> {
    let mut file = EvidenceFile::parse(kept.file.as_bytes()).map_err(|error| error.to_string())?;
    let (rules, trust) = {
        let state = journal.state();
        (state.rules().set.rules.clone(), state.trust())
    };
    file.judged = Some(Judged {
        at: kept.judged_at,
        anchors: anchors_of(&file, &trust.roots),
        rules: vec![RuleFile {
            kind: "configuration".to_owned(),
            content: serde_json::to_vec(&rules).map_err(|error| error.to_string())?,
        }],
        machine: serde_json::to_value(facts.known()).map_err(|error| error.to_string())?,
    });
    let json = file.to_json().map_err(|error| error.to_string())?;
    String::from_utf8(json).map_err(|error| error.to_string())
}

fn parts(kind: u8, log: &[u8]) -> Vec<Result<GetEvidenceResponse, Status>> {
    let part = |data: &[u8]| GetEvidenceResponse {
        part: Some(Part::Log(LogPart {
            kind: u32::from(kind),
            data: data.to_vec().into(),
        })),
    };
    log.chunks(Limits::LOG_PART).map(|data| Ok(part(data))).collect()
}
