//! The logs that follow a proof, read within what was announced.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hallmark_api::attest::Tpm2LogPart;
use hallmark_evidence::{Limits, Log, LogDigest, LogKind};
use hallmark_spiffe::SpiffeId;
use hallmark_verify::RefusalClass;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::{
    NodeClass, Refusal,
    stream::Dialogue,
    tpm2::{Ended, decode},
};

/// How long the logs of one attestation may take, and the wait for room before.
const ALL_LOGS: Duration = Duration::from_secs(60);
/// How much longer for each of so many bytes.
const MORE: (usize, Duration) = (1024 * 1024, Duration::from_secs(1));
/// One unit of room, in bytes.
const UNIT: usize = 1024;

/// Memory for logs, shared by all attestations under way. Who finds none left waits. A node has room for the logs of one
/// attestation at a time, so that none can take it from all others.
#[derive(Debug)]
pub struct LogRoom {
    units: Arc<Semaphore>,
    nodes: Mutex<BTreeSet<SpiffeId>>,
    freed: Notify,
}

impl LogRoom {
    /// Room for `bytes`, and for the logs of at least one attestation.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        let most: usize = LogKind::ALL.iter().map(|kind| kind.limit()).sum();
        Arc::new(Self {
            units: Arc::new(Semaphore::new(bytes.max(most).div_ceil(UNIT))),
            nodes: Mutex::default(),
            freed: Notify::new(),
        })
    }

    async fn take(self: &Arc<Self>, node: &SpiffeId, bytes: usize) -> Option<Room> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        loop {
            let freed = self.freed.notified();
            if self.nodes().insert(node.clone()) {
                break;
            }
            freed.await;
        }
        let turn = Turn {
            node: node.clone(),
            of: Arc::clone(self),
        };
        Some(Room {
            _units: Arc::clone(&self.units).acquire_many_owned(units).await.ok()?,
            _turn: turn,
        })
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeSet<SpiffeId>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's share of the room; dropped, others may have it.
#[derive(Debug)]
pub(super) struct Room {
    _units: OwnedSemaphorePermit,
    _turn: Turn,
}

/// What a node holds while it has room, or waits for it.
#[derive(Debug)]
struct Turn {
    node: SpiffeId,
    of: Arc<LogRoom>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.nodes().remove(&self.node);
        self.of.freed.notify_waiters();
    }
}

/// Logs as they were announced, and the room that they take.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) logs: Vec<Log>,
    /// Given back once the logs are judged.
    pub(super) room: Option<Room>,
}

impl Logs {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.logs.iter().map(|log| log.data.len()).sum()
    }
}

/// Reads the bytes of the logs that a node `announced`, part by part.
///
/// # Errors
/// The node hangs up, takes too long, or sends more than it announced.
pub(super) async fn read(
    dialogue: &mut Dialogue,
    room: &Arc<LogRoom>,
    node: &SpiffeId,
    announced: &[LogDigest],
) -> Result<Logs, Ended> {
    let lengths: Vec<usize> = announced
        .iter()
        .map(|log| usize::try_from(log.length).unwrap_or(usize::MAX))
        .collect();
    let mut left = lengths.iter().fold(0_usize, |sum, length| sum.saturating_add(*length));
    let more = u32::try_from(left / MORE.0).unwrap_or(u32::MAX);
    let deadline = Instant::now() + ALL_LOGS + MORE.1 * more;
    let room = match left {
        0 => None,
        _ => Some(take_room(room, node, left, deadline).await?),
    };
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

async fn take_room(room: &Arc<LogRoom>, node: &SpiffeId, bytes: usize, deadline: Instant) -> Result<Room, Refusal> {
    let taken = timeout_at(deadline, room.take(node, bytes)).await;
    taken.ok().flatten().ok_or_else(|| Refusal::bare(NodeClass::Unable))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_has_room_once_and_takes_none_of_it_from_others() {
        let room = LogRoom::new(0);
        let node = |name| SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap();
        let take = async |name, bytes: usize| {
            let soon = Instant::now() + Duration::from_millis(10);
            take_room(&room, &node(name), bytes, soon).await
        };
        let first = take("a", LogKind::Ima.limit()).await.unwrap();
        assert!(take("a", 1).await.is_err(), "the node has its share");
        let other = take("b", LogKind::Tcg.limit()).await.unwrap();
        let third = take("c", LogKind::Tcg.limit()).await.unwrap();
        assert!(take("d", 1).await.is_err(), "there is none left");
        drop(third);
        take("d", 1).await.unwrap();
        // One that waits gets it as soon as it is free.
        let waiting = tokio::spawn({
            let (room, node) = (Arc::clone(&room), node("a"));
            async move { room.take(&node, LogKind::Ima.limit()).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        drop(other);
        assert!(room.nodes().is_empty());
    }
}
