//! What a node proved last, for those who look at it elsewhere.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use hallmark_api::admin::{EvidenceSummary, GetEvidenceResponse, LogPart, get_evidence_response::Part};
use hallmark_evidence::{Limits, LogKind};
use hallmark_spiffe::SpiffeId;
use tonic::Status;

use crate::{errors::store_failed, state::Server};

/// The answer, part by part: an IMA list is larger than any one message.
pub(super) type Parts = Pin<Box<dyn Stream<Item = Result<GetEvidenceResponse, Status>> + Send>>;

/// The evidence of the node `id`.
///
/// # Errors
/// `InvalidArgument` for what is no id, `NotFound` for a node that never proved anything.
pub(super) async fn get(server: Arc<Server>, id: &str) -> Result<Parts, Status> {
    let id = SpiffeId::parse(id).map_err(|error| Status::invalid_argument(format!("invalid id: {error}")))?;
    let kept = server.store.evidence(&id).await.map_err(|error| store_failed(&error))?;
    let kept = kept.ok_or_else(|| Status::not_found("no evidence of this node is kept"))?;
    let distrust = server
        .agents
        .find(&id)
        .map_or_else(String::new, |row| row.distrust.clone());
    let summary = Part::Summary(EvidenceSummary {
        judged_at: kept.judged_at,
        file: kept.file,
        facts: kept.facts,
        judgement: kept.judgement,
        earlier: kept.earlier,
        distrust,
    });
    let logs = stream::iter(LogKind::ALL).then(move |kind| {
        let (server, id) = (Arc::clone(&server), id.clone());
        async move {
            match server.store.logs(&id, &[kind.number()]).await {
                Ok(logs) => stream::iter(
                    logs.into_iter()
                        .flat_map(|(kind, log)| parts(kind, &log))
                        .collect::<Vec<_>>(),
                ),
                Err(error) => stream::iter(vec![Err(store_failed(&error))]),
            }
        }
    });
    let summary = GetEvidenceResponse { part: Some(summary) };
    Ok(Box::pin(stream::iter([Ok(summary)]).chain(logs.flatten())))
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
