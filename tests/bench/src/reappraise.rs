//! `policy.reappraise_10000_nodes`: a policy change held against what every node proved last, on one core, from the stored
//! form of each node's facts. `policy.apply_10000_nodes`: the same by a running server, from the operator's call to its
//! answer: preview, store, a tenth of the nodes put out with their records. The control of both decodes the same facts and
//! judges nothing.

use crate::cpu;
use crate::row::{Row, Table};
use anyhow::{Context as _, Result, ensure};
use hallmark_api::admin::ApplyPolicyFileRequest;
use hallmark_kit::{AdminClient, Lab, LabOptions};
use hallmark_policy::{Baseline, MachineFacts, Policy, PolicySet, Standing, reappraise};
use hallmark_spiffe::{Selector, SpiffeId, TrustDomain};
use hallmark_state::{
    Appraised, Approvals, AttestationState, Change, Expect, HeldEvidence, NewEvidence, Node, NodeEvidence, NodeState,
    Transaction,
};
use hallmark_store::{SqliteOptions, SqliteStore, Store as _};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

pub(crate) const NODES: u32 = 10_000;
pub(crate) const TRUST_DOMAIN: &str = "fleet.test";

/// A machine's facts as they are stored: a boot of 40 events.
pub(crate) fn stored(node: u32) -> Result<String> {
    let digest = |salt: u32| format!("{:08x}", node.wrapping_mul(2_654_435_761) ^ salt).repeat(8);
    let shared = |salt: u32| format!("{salt:08x}").repeat(8);
    let events: Vec<_> = (0..40_u32)
        .map(|number| {
            serde_json::json!({"number": number, "pcr": number % 10, "kind": "EV_EFI_VARIABLE_DRIVER_CONFIG",
                "digest": shared(number), "text": "an event of the firmware's log", "authentication": "by-digest"})
        })
        .collect();
    let pcrs: serde_json::Map<_, _> = (0..16_u32)
        .map(|pcr| (format!("sha256:{pcr}"), shared(pcr).into()))
        .collect();
    let facts = serde_json::json!({
        "tpm": {"ek_sha256": digest(1), "class": "discrete", "enrolled_by": "certificate", "inventory": null,
            "certificate": {"manufacturer": "id:49465800", "model": "SLB9670", "version": "id:00070055",
                "issuer": "CN=Infineon OPTIGA(TM) TPM 2.0 ECC CA 001", "serial": "01", "not_after": 2_000_000_000_u32,
                "sha256": digest(2)},
            "firmware_version": 458_837},
        "sighting": {"reset_count": 1, "restart_count": 0, "clock": 1000, "safe": true, "firmware_version": 458_837,
            "seen_at": 1_795_391_940_000_u64},
        "pcrs": pcrs,
        "boot": {"facts": {"secure_boot": true, "setup_mode": false, "dbx_hashes": (0..300).map(shared).collect::<Vec<_>>(),
                // Every tenth node has a debugger on.
                "debug": node.is_multiple_of(10), "command_line": "root=/dev/vda2 ro quiet", "event_count": 40},
            "events": events},
        "labels": {}
    });
    Ok(serde_json::to_string(&facts)?)
}

fn policies() -> Result<PolicySet> {
    let mut set = PolicySet::default();
    for number in 0..3 {
        let text = format!(
            "version = 1\nname = \"p{number}\"\nserial = 1\n[boot]\nsecure_boot = true\nsetup_mode = false\ndebug = false\n\
             command_lines = [\"root=* ro quiet\"]\nbaselines = [\"edge\", \"next\"]\n[boot.pcrs]\n12 = [\"{}\"]\n",
            "0000000c".repeat(8)
        );
        set.apply(Policy::from_toml("bench", &text)?);
    }
    let good: MachineFacts = serde_json::from_str(&stored(1)?)?;
    for name in ["edge", "next"] {
        set.add_baseline(Baseline::capture(name, 1, 0, "node", &good, None)?);
    }
    Ok(set)
}

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let now = UNIX_EPOCH + Duration::from_secs(1_795_392_000);
    let stored: Vec<String> = (0..NODES).map(stored).collect::<Result<_>>()?;
    let (before, after) = (PolicySet::default(), policies()?);
    let mut selectors = Vec::new();
    for text in &stored {
        selectors.push(before.judge(&serde_json::from_str(text)?, now).selectors().clone());
    }
    let start = cpu::of_this_thread();
    let mut lost = 0_u32;
    for (text, selectors) in stored.iter().zip(&selectors) {
        let facts: MachineFacts = serde_json::from_str(text)?;
        let standing = Standing {
            node: &facts.tpm.ek_sha256,
            facts: &facts,
            trusted: true,
            selectors,
        };
        lost += u32::from(reappraise(&after, [standing], now).any(|change| change.lost_trust()));
    }
    let judged = cpu::of_this_thread() - start;
    ensure!(lost == NODES / 10, "{lost} nodes lost trust");
    let start = cpu::of_this_thread();
    let mut events = 0;
    for text in &stored {
        let facts: MachineFacts = serde_json::from_str(text)?;
        events += facts.boot.map_or(0, |boot| boot.events.len());
    }
    let decoded = cpu::of_this_thread() - start;
    ensure!(events == 40 * stored.len(), "{events} events");
    let millis = |span: Duration| span.as_secs_f64() * 1000.0;
    table.push(Row::new("policy.reappraise_10000_nodes", millis(judged), "ms").against(millis(decoded)))?;
    let (elapsed, spent) = apply_to(&stored, &selectors)?;
    table.push(Row::new("policy.apply_10000_nodes", millis(elapsed), "ms").against(millis(decoded)))?;
    table.push(Row::new("policy.apply_10000_nodes.server_cpu_ms", spent / 1000.0, "ms").against(millis(decoded)))
}

/// A server that knows these nodes gets a policy that a tenth of them does not meet. Gives how long its answer took, and the
/// processor time that it spent, in microseconds.
fn apply_to(stored: &[String], selectors: &[BTreeSet<Selector>]) -> Result<(Duration, f64)> {
    let folder = tempfile::tempdir()?;
    let mut lab = lab_with(folder.path(), stored, selectors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    lab.start_server()?;
    let (socket, pid) = (lab.server().admin_socket(), lab.server().pid().context("no server")?);
    runtime.block_on(async {
        let mut admin = AdminClient::connect(&socket).await?;
        let request = ApplyPolicyFileRequest {
            kind: "policy".into(),
            content: "version = 1\nname = \"edge\"\nserial = 1\n[boot]\nsecure_boot = true\ndebug = false\n".into(),
            dry_run: false,
            replace_signer: false,
        };
        let (before, started) = (cpu::of_process(pid)?, Instant::now());
        let changed = admin.admin.apply_policy_file(request).await?.into_inner();
        let elapsed = started.elapsed();
        let lost = changed.changes.iter().filter(|change| !change.is_trusted).count();
        ensure!(lost == stored.len() / 10, "{lost} nodes lost trust");
        Ok((elapsed, cpu::of_process(pid)? - before))
    })
}

/// A lab whose server is to know these nodes. It does not run yet.
pub(crate) fn lab_with(folder: &Path, stored: &[String], selectors: &[BTreeSet<Selector>]) -> Result<Lab> {
    let mut lab = Lab::lay_out(LabOptions {
        folder: folder.join("lab"),
        trust_domain: TRUST_DOMAIN.into(),
        nodes: 0,
    })?;
    lab.build_node()?;
    let path = folder.join("fleet.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(settle(&path, &TrustDomain::parse(TRUST_DOMAIN)?, stored, selectors))?;
    lab.server().set("store", "path", path.display().to_string().into());
    Ok(lab)
}

/// Puts nodes that attested long ago into a new store.
async fn settle(
    path: &Path,
    trust_domain: &TrustDomain,
    stored: &[String],
    selectors: &[BTreeSet<Selector>],
) -> Result<()> {
    let store = SqliteStore::open(&SqliteOptions::new(path, trust_domain.clone()))?;
    for (number, (facts, selectors)) in stored.iter().zip(selectors).enumerate() {
        let id = SpiffeId::parse(&format!("spiffe://{trust_domain}/spire/agent/tpm2/{number:064x}"))?;
        let parsed: serde_json::Value = serde_json::from_str(facts)?;
        let node = Node {
            id: id.clone(),
            attestation_type: "tpm2".into(),
            ek_sha256: None,
            ak_name: Vec::new(),
            current: None,
            next: None,
            selectors: selectors.clone(),
            state: NodeState::Active,
            since: 1,
            approvals: Approvals::default(),
            untrusted_reason: String::new(),
            appraised: Appraised::default(),
            can_reattest: true,
            agent_version: String::new(),
            facts: String::new(),
            attested_at: 1,
        };
        let runs = parsed.get("sighting").context("no sighting")?.to_string();
        let state = AttestationState::read(&HeldEvidence {
            node: id.clone(),
            runs: runs.clone(),
            ima: String::new(),
            lengths: Vec::new(),
            revision: 0,
            evidence_sha256: None,
        })?;
        let evidence = NodeEvidence {
            node: id,
            judged_at: 1,
            runs,
            file: "{}".into(),
            facts: facts.clone(),
            ima: String::new(),
            earlier: String::new(),
        };
        let new = NewEvidence {
            evidence,
            drops_logs: true,
            logs: Vec::new(),
        };
        let changes = vec![
            Change::PutNode(Arc::new(node)),
            Change::put_evidence(Arc::new(new), Arc::new(state)),
        ];
        let mut transaction = Transaction {
            id: [0; 16],
            at: 1,
            actor: "bench".into(),
            expect: Expect::default(),
            changes,
            events: Vec::new(),
        };
        transaction.id = u128::try_from(number)?.to_be_bytes();
        store.commit(transaction).await?;
    }
    Ok(())
}
