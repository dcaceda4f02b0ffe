//! The judge, end to end: what a machine booted decides what it is given, also after it was given it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod trial;

use hallmark_api::admin::{
    ApplyPolicyFileRequest, EvidenceSummary, GetEvidenceRequest, ListRecordsRequest, PolicyFileChange, Record,
    WithdrawPolicyFileRequest, get_evidence_response::Part,
};
use hallmark_evidence::ima::ImaList;
use hallmark_kit::{AdminClient, RecordedBoot};
use hallmark_tpm_wire::HashAlg;
use std::path::Path;
use trial::{agents, ask, booted, entry, register, svids, wait_for};

fn apply(socket: &Path, policy: &str, dry_run: bool) -> Result<PolicyFileChange, String> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let request = ApplyPolicyFileRequest {
            kind: "policy".into(),
            content: policy.as_bytes().to_vec().into(),
            dry_run,
            replace_signer: false,
        };
        let answer = admin.admin.apply_policy_file(request).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|status| status.message().to_owned())
    })
}

fn withdraw(socket: &Path, name: &str) -> PolicyFileChange {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let request = WithdrawPolicyFileRequest {
            kind: "policy".into(),
            name: name.into(),
            dry_run: false,
        };
        admin.admin.withdraw_policy_file(request).await.unwrap().into_inner()
    })
}

/// What is kept of a node, and its logs by kind.
fn evidence(socket: &Path, id: &str) -> (EvidenceSummary, [Vec<u8>; 4]) {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let request = GetEvidenceRequest { id: id.into() };
        let mut parts = admin.admin.get_evidence(request).await.unwrap().into_inner();
        let (mut summary, mut logs) = (None, [const { Vec::new() }; 4]);
        while let Some(part) = parts.message().await.unwrap() {
            match part.part.unwrap() {
                Part::Summary(it) => summary = Some(it),
                Part::Log(log) => logs[usize::try_from(log.kind).unwrap()].extend_from_slice(&log.data),
            }
        }
        (summary.unwrap(), logs)
    })
}

fn verdicts(socket: &Path, id: &str) -> Vec<Record> {
    ask(async {
        let mut admin = AdminClient::connect(socket).await.unwrap();
        let request = ListRecordsRequest {
            kind: "verdict".into(),
            subject: id.into(),
            ..ListRecordsRequest::default()
        };
        admin.admin.list_records(request).await.unwrap().into_inner().records
    })
}

fn selectors(socket: &Path) -> Vec<String> {
    let agents = agents(socket);
    let selectors = agents.iter().flat_map(|agent| &agent.selectors);
    selectors.map(|it| format!("{}:{}", it.r#type, it.value)).collect()
}

fn policy(serial: u32, rules: &str) -> String {
    format!("version = 1\nname = \"strict\"\nserial = {serial}\n{rules}\n")
}

#[test]
fn a_recorded_boot_is_proven_kept_and_becomes_selectors() {
    let (mut trial, id) = booted(&RecordedBoot::vector("base"));
    let socket = trial.lab.server().admin_socket();
    let (kept, logs) = evidence(&socket, &id);
    let vector = RecordedBoot::vector("base");
    assert_eq!(logs[1], std::fs::read(&vector.eventlog).unwrap());
    assert_eq!(logs[3], std::fs::read(vector.ima.unwrap()).unwrap());
    let facts: serde_json::Value = serde_json::from_str(&kept.facts).unwrap();
    assert_eq!(facts["boot"]["facts"]["secure_boot"], false, "{facts}");
    assert_eq!(facts["pcrs"].as_object().unwrap().len(), 16);
    assert_eq!(kept.untrusted_reason, "");
    assert!(
        selectors(&socket).contains(&"boot:secure-boot:off".to_owned()),
        "{:?}",
        selectors(&socket)
    );

    // The next boot is another one: what was kept of this one becomes the boot before.
    let node = trial.lab.node(0).unwrap();
    node.boot(&RecordedBoot::vector("sb-on")).unwrap();
    node.start().unwrap();
    wait_for("the new boot is proven", || {
        selectors(&socket).contains(&"boot:secure-boot:on".to_owned())
    });
    let (after, logs) = evidence(&socket, &id);
    assert_eq!(logs[1], std::fs::read(RecordedBoot::vector("sb-on").eventlog).unwrap());
    let earlier: serde_json::Value = serde_json::from_str(&after.earlier).unwrap();
    assert_eq!(earlier["boot"]["facts"]["secure_boot"], false);
}

/// Attack 48, its harmless side: a machine that runs measures more and more, and sends what is new.
#[test]
fn a_list_goes_on_where_the_last_quote_ended() {
    let vector = RecordedBoot::vector("base");
    let whole = std::fs::read(vector.ima.as_ref().unwrap()).unwrap();
    let mut lines = ImaList::new(&whole).lines();
    let first = lines.by_ref().take(60).map(Result::unwrap).count();
    let held = usize::try_from(lines.bytes_read()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(&vector.eventlog, folder.path().join("eventlog.bin")).unwrap();
    std::fs::write(folder.path().join("ima.bin"), &whole[..held]).unwrap();
    let (mut trial, id) = booted(&RecordedBoot::of(folder.path()));
    let socket = trial.lab.server().admin_socket();
    let proven = || {
        let (kept, logs) = evidence(&socket, &id);
        let facts: serde_json::Value = serde_json::from_str(&kept.facts).unwrap();
        (facts["ima"]["lines"].as_u64().unwrap(), logs[3].len())
    };
    assert_eq!((first, proven()), (60, (60, held)));

    let node = trial.lab.node(0).unwrap();
    node.stop();
    for line in lines.map(Result::unwrap) {
        let digest = line.extension(HashAlg::Sha256);
        node.tpm().extend(10, digest.as_slice().try_into().unwrap()).unwrap();
    }
    std::fs::write(folder.path().join("ima.bin"), &whole).unwrap();
    // The agent lost its state: it attests again in the same boot.
    let node = trial.lab.node(0).unwrap();
    std::fs::remove_file(node.folder().join("data").join("state.json")).unwrap();
    node.start().unwrap();
    wait_for("the new lines are proven", || proven() == (67, whole.len()));
    let store = trial.lab.server().folder().join("data").join("server.db");
    let parts = "import sqlite3,sys; print(sqlite3.connect(sys.argv[1]).execute(\
                 'SELECT count(*) FROM evidence_logs WHERE kind = 3').fetchone()[0])";
    let counted = std::process::Command::new("python3")
        .args(["-c", parts])
        .arg(store)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&counted.stdout).trim(),
        "2",
        "only what was new came"
    );
}

#[test]
fn a_policy_takes_trust_from_what_was_proven_before_and_gives_it_back() {
    let (mut trial, id) = booted(&RecordedBoot::vector("base"));
    let socket = trial.lab.server().admin_socket();
    let api = trial.node().workload_api();
    register(&socket, entry(&id, "/web")).unwrap();
    wait_for("the workload has its SVID", || !svids(&api).is_empty());

    let demand = policy(1, "[boot]\nsecure_boot = true");
    let preview = apply(&socket, &demand, true).unwrap();
    assert_eq!(preview.changes.len(), 1);
    let change = &preview.changes[0];
    assert_eq!(
        (change.id.as_str(), change.was_trusted, change.is_trusted),
        (id.as_str(), true, false)
    );
    assert_eq!(
        (change.code.as_str(), change.rule.as_str()),
        ("HM-POLICY-0102", "boot.secure_boot")
    );
    assert!(change.first_event.contains("PCR 7"), "{change:?}");
    let (kept, _) = evidence(&socket, &id);
    assert_eq!(kept.untrusted_reason, "", "a preview changes nothing");

    let applied = apply(&socket, &demand, false).unwrap();
    assert_eq!(applied.changes, preview.changes);
    assert_eq!(evidence(&socket, &id).0.untrusted_reason, "HM-POLICY-0102");
    let last = verdicts(&socket, &id).pop().unwrap();
    assert_eq!(
        (last.outcome.as_str(), last.code.as_str()),
        ("refused", "HM-POLICY-0102")
    );
    // A new entry means a new SVID, which the node no longer gets: it attests again and is refused.
    register(&socket, entry(&id, "/late")).unwrap();
    let refused = |records: &[Record]| {
        let of_attestation = |record: &&Record| record.code == "HM-POLICY-0102" && record.detail.contains("\"remote\"");
        records.iter().filter(of_attestation).count()
    };
    wait_for("the node attested again and was refused", || {
        refused(&verdicts(&socket, &id)) > 0
    });
    assert!(!svids(&api).iter().any(|(id, _)| id.ends_with("/late")));

    let older = apply(&socket, &policy(1, "[boot]\nsecure_boot = false"), false).unwrap_err();
    assert!(older.contains("not newer"), "{older}");

    let back = withdraw(&socket, "strict");
    assert!(back.changes.len() == 1 && back.changes[0].is_trusted, "{back:?}");
    assert_eq!(evidence(&socket, &id).0.untrusted_reason, "");
    wait_for("the workload has the late SVID too", || {
        svids(&api).iter().any(|(id, _)| id.ends_with("/late"))
    });
    let again = apply(&socket, &policy(1, "[boot]\nsecure_boot = true"), false).unwrap_err();
    assert!(
        again.contains("not newer"),
        "a withdrawn policy does not come back by an old file: {again}"
    );
}
