//! The logs that follow a proof, read within what was announced.

use std::{sync::Arc, time::Duration};

use hallmark_api::attest::Tpm2LogPart;
use hallmark_evidence::{Limits, Log, LogDigest};
use hallmark_verify::RefusalClass;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    NodeClass, Refusal,
    stream::Dialogue,
    tpm2::{Ended, decode},
};

/// How long the logs of one attestation may take, and the wait for room before.
const ALL_LOGS: Duration = Duration::from_secs(60);
/// One unit of room, in bytes.
const UNIT: usize = 1024;

/// Memory for logs, shared by all attestations under way. Who finds none left waits.
#[derive(Debug, Clone)]
pub struct LogRoom {
    units: Arc<Semaphore>,
}

impl LogRoom {
    /// Room for `bytes`, and for the logs of at least one attestation.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.max(Limits::LOG * Limits::LOGS);
        Self {
            units: Arc::new(Semaphore::new(bytes.div_ceil(UNIT))),
        }
    }
}

/// Logs as they were announced, and the room that they take.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) logs: Vec<Log>,
    /// Given back once the logs are judged.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Logs {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.logs.iter().map(|log| log.data.len()).sum()
    }
}

/// Reads the bytes of the `announced` logs, part by part.
///
/// # Errors
/// The node hangs up, takes too long, or sends more than it announced.
pub(super) async fn read(dialogue: &mut Dialogue, room: &LogRoom, announced: &[LogDigest]) -> Result<Logs, Ended> {
    let lengths: Vec<usize> = announced
        .iter()
        .map(|log| usize::try_from(log.length).unwrap_or(usize::MAX))
        .collect();
    let mut left = lengths.iter().fold(0_usize, |sum, length| sum.saturating_add(*length));
    let deadline = Instant::now() + ALL_LOGS;
    let room = take_room(room, left, deadline).await?;
    let mut logs = Vec::with_capacity(announced.len());
    let mut part = bytes::Bytes::new();
    for (announced, length) in announced.iter().zip(lengths) {
        let mut data = Vec::with_capacity(length);
        while data.len() < length {
            if part.is_empty() {
                part = next_part(dialogue, deadline).await?;
                left = left.checked_sub(part.len()).ok_or_else(|| beyond(part.len(), left))?;
            }
            let taken = part.split_to(part.len().min(length - data.len()));
            data.extend_from_slice(&taken);
        }
        logs.push(Log::new(announced.kind, announced.offset, data)?);
    }
    Ok(Logs { logs, room })
}

async fn take_room(room: &LogRoom, bytes: usize, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    if bytes == 0 {
        return Ok(None);
    }
    let busy = || Refusal::bare(NodeClass::Unable);
    let units = u32::try_from(bytes.div_ceil(UNIT)).map_err(|_| busy())?;
    let taken = timeout_at(deadline, Arc::clone(&room.units).acquire_many_owned(units)).await;
    match taken {
        Ok(Ok(permit)) => Ok(Some(permit)),
        Ok(Err(_)) | Err(_) => Err(busy()),
    }
}

async fn next_part(dialogue: &mut Dialogue, deadline: Instant) -> Result<bytes::Bytes, Ended> {
    let within = deadline.saturating_duration_since(Instant::now());
    let message = dialogue.part(within).await.map_err(Ended::by_node)?;
    let part = decode::<Tpm2LogPart>(&message)?.data;
    if part.is_empty() || part.len() > Limits::LOG_PART {
        let text = format!(
            "a part of a log has {} bytes; allowed are 1 to {}",
            part.len(),
            Limits::LOG_PART
        );
        return Err(malformed(text).into());
    }
    Ok(part)
}

fn beyond(part: usize, left: usize) -> Refusal {
    malformed(format!("a part of a log has {part} bytes where {left} were announced"))
}

fn malformed(text: String) -> Refusal {
    Refusal {
        text,
        ..Refusal::bare(NodeClass::Evidence(RefusalClass::Malformed))
    }
}
