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
    time::{Instant, timeout},
};

use super::{
    NodeClass, Refusal,
    stream::Dialogue,
    tpm2::{Ended, decode},
};

/// How long a node waits for room.
const WAIT: Duration = Duration::from_secs(60);
/// How long a node that has room may be silent before its first part, and how much it may fall behind its lane's pace.
const GRACE: Duration = Duration::from_secs(30);
/// Logs of at most so many bytes are short: a boot's, and an IMA list of 100,000 lines.
const SHORT: usize = 16 * 1024 * 1024;
/// Bytes that must come in a second while a node has room among the short ones, and among the long ones.
const PACE: (usize, usize) = (256 * 1024, 1024 * 1024);
/// One unit of room, in bytes.
const UNIT: usize = 1024;

/// Memory for logs, shared by all attestations under way. Who finds none left waits. A node has room for the logs of one
/// attestation at a time, and long logs, of which one can take all their room, have theirs apart: so none takes it from
/// all others.
#[derive(Debug)]
pub struct LogBudget {
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
    nodes: Mutex<BTreeSet<SpiffeId>>,
    freed: Notify,
}

impl LogBudget {
    /// Room for `bytes` of short logs, and beside it for the longest logs of one attestation.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        let most: usize = LogKind::ALL.iter().map(|kind| kind.limit()).sum();
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(UNIT)));
        Arc::new(Self {
            short: room(bytes.max(SHORT)),
            long: room(most),
            nodes: Mutex::default(),
            freed: Notify::new(),
        })
    }

    async fn take(self: &Arc<Self>, node: &SpiffeId, bytes: usize) -> Option<LogPermit> {
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
        let lane = if bytes <= SHORT { &self.short } else { &self.long };
        Some(LogPermit {
            _units: Arc::clone(lane).acquire_many_owned(units).await.ok()?,
            _turn: turn,
        })
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeSet<SpiffeId>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's share of the room; dropped, others may have it.
#[derive(Debug)]
pub(super) struct LogPermit {
    _units: OwnedSemaphorePermit,
    _turn: Turn,
}

/// What a node holds while it has room, or waits for it.
#[derive(Debug)]
struct Turn {
    node: SpiffeId,
    of: Arc<LogBudget>,
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
    /// Given back once the logs are judged, and kept or dropped.
    pub(super) room: Option<LogPermit>,
}

impl Logs {
    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.logs.iter().map(|log| log.data.len()).sum()
    }

    /// How many of them are of the IMA list.
    pub(super) fn list_bytes(&self) -> usize {
        let lists = self.logs.iter().filter(|log| log.kind == LogKind::Ima);
        lists.map(|log| log.data.len()).sum()
    }
}

/// Reads the bytes of the logs that a node `announced`, part by part.
///
/// # Errors
/// The node hangs up, takes too long, or sends more than it announced.
pub(super) async fn read(
    dialogue: &mut Dialogue,
    room: &Arc<LogBudget>,
    node: &SpiffeId,
    announced: &[LogDigest],
) -> Result<Logs, Ended> {
    let lengths: Vec<usize> = announced
        .iter()
        .map(|log| usize::try_from(log.length).unwrap_or(usize::MAX))
        .collect();
    let total = lengths.iter().fold(0_usize, |sum, length| sum.saturating_add(*length));
    let room = match total {
        0 => None,
        _ => Some(take_permit(room, node, total).await?),
    };
    let (started, mut received) = (Instant::now(), 0);
    let mut logs = Vec::with_capacity(announced.len());
    let mut part = bytes::Bytes::new();
    for (announced, length) in announced.iter().zip(lengths) {
        let mut data = Vec::with_capacity(length);
        while data.len() < length {
            if part.is_empty() {
                part = next_part(dialogue, due(started, received, total)).await?;
                if part.len() > total - received {
                    return Err(beyond(part.len(), total - received).into());
                }
                received += part.len();
            }
            let taken = part.split_to(part.len().min(length - data.len()));
            data.extend_from_slice(&taken);
        }
        logs.push(Log::new(announced.kind, announced.offset, data)?);
    }
    Ok(Logs { logs, room })
}

async fn take_permit(room: &Arc<LogBudget>, node: &SpiffeId, bytes: usize) -> Result<LogPermit, Refusal> {
    let taken = timeout(WAIT, room.take(node, bytes)).await;
    taken.ok().flatten().ok_or_else(|| Refusal::bare(NodeClass::Unable))
}

/// Until when the next part of `total` bytes has to come of a node that got room at `started`: who sends nothing, or
/// little at a time, does not keep it.
fn due(started: Instant, received: usize, total: usize) -> Instant {
    let (short, long) = PACE;
    let seconds = received / if total <= SHORT { short } else { long };
    started + GRACE + Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
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
        let room = LogBudget::new(0);
        let node = |name| SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap();
        let take = async |name, bytes: usize| take_permit(&room, &node(name), bytes).await;
        let first = take("a", SHORT - UNIT).await.unwrap();
        assert!(take("a", 1).await.is_err(), "the node has its share");
        let other = take("b", 1).await.unwrap();
        assert!(take("c", 1).await.is_err(), "there is none left");
        drop(other);
        take("c", 1).await.unwrap();
        // One that waits gets it as soon as it is free.
        let waiting = tokio::spawn({
            let (room, node) = (Arc::clone(&room), node("a"));
            async move { room.take(&node, SHORT).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        assert!(room.nodes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_logs_leave_room_for_those_of_every_boot() {
        let room = LogBudget::new(0);
        let node = |name| SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap();
        let take = async |name, bytes: usize| take_permit(&room, &node(name), bytes).await;
        let most = LogKind::ALL.iter().map(|kind| kind.limit()).sum();
        let longest = take("a", most).await.unwrap();
        assert!(take("b", SHORT + 1).await.is_err(), "one after the other");
        take("c", SHORT).await.unwrap();
        drop(longest);
        take("b", SHORT + 1).await.unwrap();
    }

    #[test]
    fn who_sends_nothing_or_little_at_a_time_does_not_keep_its_room() {
        let started = Instant::now();
        let within = |received, total| due(started, received, total) - started;
        for total in [1, SHORT, SHORT + 1] {
            assert_eq!(within(0, total), GRACE);
            assert_eq!(within(1, total), GRACE, "a byte buys no time");
        }
        assert_eq!(within(SHORT, SHORT), GRACE + Duration::from_secs(64));
        assert_eq!(within(SHORT, 2 * SHORT), GRACE + Duration::from_secs(16));
    }
}
