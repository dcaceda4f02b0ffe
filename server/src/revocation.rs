//! The vendors' revocation lists: read again when their files change, and then held against every node that is known.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hallmark_evidence::EvidenceFile;
use hallmark_reason::Report;
use hallmark_spiffe::SpiffeId;
use hallmark_verify::{Revocation, is_revoked};

use crate::{
    config::{ConfigError, crl_files, revocation},
    kept::undecodable,
    policy_files::{self, PolicyFileError},
    state::Server,
};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Nodes that are looked at between two pauses.
const PAGE: u32 = 256;

/// The code of nodes that lost trust by a list.
const REVOKED: &str = "HM-POLICY-0010";

/// What tells that a file was replaced: its name, length and time.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// Reads the lists again whenever their files change. What is revoked then loses trust at once; the last good lists stay
/// while new ones cannot be used.
pub async fn keep_reading(server: Arc<Server>) {
    let paths = server.attestation.crls.clone();
    if paths.is_empty() {
        return std::future::pending().await;
    }
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut told) = (Vec::new(), String::new());
    loop {
        tick.tick().await;
        let now = stamps(&paths);
        if now == seen {
            continue;
        }
        match read(&server, paths.clone()).await {
            Ok(()) => {
                seen = now;
                told.clear();
            }
            Err(error) => {
                // Each fault once, not every five seconds.
                if told != error {
                    tracing::error!("the revocation lists were not taken, the ones before stay: {error}");
                }
                told = error;
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let files = crl_files(paths).unwrap_or_default();
    let stamp = |path: PathBuf| {
        let data = std::fs::metadata(&path);
        let (len, time) = data.map_or((0, None), |data| (data.len(), data.modified().ok()));
        (path, len, time)
    };
    files.into_iter().map(stamp).collect()
}

async fn read(server: &Arc<Server>, paths: Vec<PathBuf>) -> Result<(), String> {
    let held = Arc::clone(&server.lifecycle.trust().revocation);
    let (required, grace) = (held.required, held.grace);
    let reading = tokio::task::spawn_blocking(move || revocation(&paths, required, grace));
    let read: Result<Revocation, ConfigError> = reading.await.map_err(|error| error.to_string())?;
    let mut lists = read.map_err(|error| Report(&error).to_string())?;
    for issuer in lists.keep_newer(&held) {
        tracing::warn!(issuer, "an older revocation list was offered; the newer one stays");
    }
    for issuer in lists.stale(server.clock.now()) {
        tracing::warn!(
            issuer,
            "a revocation list is past its time; what it revokes stays revoked"
        );
    }
    let count = lists.len();
    server.lifecycle.set_revocation(Arc::new(lists)).await;
    // Attestations that were judged by the old lists have come to their end, or will find that the lists changed.
    server.agents.settle().await;
    let applied = hold_against_nodes(server).await;
    let revoked = applied.map_err(|error| Report(&error).to_string())?;
    tracing::info!(lists = count, revoked, "revocation lists read");
    Ok(())
}

/// Holds the lists at hand against every node that is known; gives how many they revoke. Before a server serves anybody,
/// this is done once: lists may have changed while it was down.
///
/// # Errors
/// The store's; or what is kept of a node does not read back.
pub async fn hold_against_nodes(server: &Arc<Server>) -> Result<usize, PolicyFileError> {
    let revoked = revoked(server).await?;
    let count = revoked.len();
    policy_files::set_revoked(server, revoked).await?;
    Ok(count)
}

/// The EKs of known nodes whose certificates the lists revoke.
async fn revoked(server: &Arc<Server>) -> Result<BTreeSet<String>, PolicyFileError> {
    let mut found = BTreeSet::new();
    let mut after: Option<SpiffeId> = None;
    let policies = server.attestation.policies.load_full();
    loop {
        let page = server.store.facts(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.node.clone());
        let mut kept = Vec::with_capacity(page.len());
        for node in page {
            let Some(row) = server.agents.find(&node.node) else {
                continue;
            };
            let Some(ek) = row.ek_sha256.map(hex::encode) else {
                continue;
            };
            let was_revoked = policies.revoked.contains(&ek) || row.distrust == REVOKED;
            if let Some(evidence) = server.store.evidence(&node.node).await? {
                kept.push((ek, was_revoked, evidence));
            }
        }
        let (trust, now) = (server.lifecycle.trust(), server.clock.now());
        let work = move || {
            let mut revoked = BTreeSet::new();
            for (ek, was_revoked, evidence) in kept {
                let file = EvidenceFile::parse(evidence.file.as_bytes());
                let file = file.map_err(|error| undecodable(&evidence.node, &error))?;
                // A machine does not come back by leaving its certificate out.
                let is_revoked = match &file.ek_certificate {
                    Some(_) => is_revoked(&file, &trust, now),
                    None => was_revoked,
                };
                if is_revoked {
                    revoked.insert(ek);
                }
            }
            Ok::<_, PolicyFileError>(revoked)
        };
        let page = server.compute.run(work).await;
        found.extend(page.map_err(|_| PolicyFileError::Stopping)??);
    }
}
