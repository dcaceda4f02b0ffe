//! Attack 15: a virtual TPM's state is copied, and both machines run.

use crate::scene::{Site, lay_out, run, site};
use hallmark_api::admin::{ChangeNodeRequest, ListRecordsRequest};
use hallmark_attacks::attest;
use hallmark_kit::{AdminClient, Lab};
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use std::time::{Duration, Instant};

/// Longer than any one thing takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The machine attests as this run of its agent.
async fn run_of(site: &mut Site, machine: &mut SoftwareMachine, session: u64) -> String {
    machine.session = session;
    let told = attest(&site.wire().await, machine).await;
    let verdicts = site.verdicts().await;
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert_eq!(told.is_ok(), verdicts[0].outcome == "accepted");
    if let Err(told) = told {
        assert!(told.message().ends_with("(HM-SRV-0102)"), "{told}");
        return verdicts[0].code.clone();
    }
    "accepted".into()
}

#[test]
fn attack_15_two_runs_of_one_tpm_take_turns() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        // Counters and clock of both agree to the last digit. The second looks like the first, started again.
        for (session, seen) in [
            (1, "accepted"),
            (1, "accepted"),
            (2, "accepted"),
            (1, "HM-VERIFY-0807"),
            (2, "accepted"),
            (1, "HM-VERIFY-0807"),
        ] {
            assert_eq!(run_of(site, &mut machine, session).await, seen, "run {session}");
        }
        // Whoever starts the first one again ends the second.
        assert_eq!(run_of(site, &mut machine, 3).await, "accepted");
        assert_eq!(run_of(site, &mut machine, 2).await, "HM-VERIFY-0807");
        // The control: a machine whose agent is started again and again.
        let mut honest = SoftwareMachine::new(&site.vendor);
        for session in 1..40 {
            assert_eq!(run_of(site, &mut honest, session).await, "accepted", "run {session}");
            assert_eq!(run_of(site, &mut honest, session).await, "accepted", "run {session}");
        }
        // A claim without a run would escape this.
        machine.session = 0;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("no run", &told, "HM-EVID-0002").await;
    });
}

async fn recorded(admin: &mut AdminClient, node: &str) -> Vec<String> {
    let request = ListRecordsRequest {
        kind: "verdict".into(),
        subject: node.into(),
        ..Default::default()
    };
    let records = admin.admin.list_records(request).await.unwrap().into_inner().records;
    let code = |code: String| if code.is_empty() { "accepted".to_owned() } else { code };
    records.into_iter().map(|record| code(record.code)).collect()
}

/// Waits until the verdicts behind the first `from` have one of these.
async fn wait_for(admin: &mut AdminClient, node: &str, from: usize, wanted: &str) -> usize {
    let start = Instant::now();
    loop {
        let codes = recorded(admin, node).await;
        if codes[from..].iter().any(|code| code == wanted) {
            return codes.len();
        }
        assert!(start.elapsed() < PATIENCE, "no {wanted}: {codes:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Both lose what they have, and may attest again.
async fn suspend_and_resume(admin: &mut AdminClient, node: &str) {
    for action in ["suspend", "resume"] {
        let request = ChangeNodeRequest {
            id: node.into(),
            action: action.into(),
            ..Default::default()
        };
        admin.lifecycle.change_node(request).await.unwrap();
    }
}

/// Two machines with real agents, of which the second has a copy of the first one's swtpm.
#[test]
fn attack_15_a_copied_virtual_tpm() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let vendor = VendorCa::new();
    let mut lab = two_machines(folder.path(), &vendor);
    let node = lab.node(0).unwrap().agent_id().unwrap();
    // The control: the machine alone, started again.
    lab.node(0).unwrap().start().unwrap();
    lab.node(0).unwrap().reboot().unwrap();
    lab.node(0).unwrap().start().unwrap();
    lab.clone_tpm(0, 1).unwrap();
    lab.node(0).unwrap().start().unwrap();
    lab.node(1).unwrap().start().unwrap();
    run(&mut lab, vendor, async |site| {
        // Whoever was followed may have noticed by now, and tried again.
        let before = recorded(&mut site.admin, &node).await;
        assert_eq!(before[..3], ["accepted", "accepted", "accepted"], "{before:?}");
        // Both have to attest again: the one that the other followed is refused.
        suspend_and_resume(&mut site.admin, &node).await;
        wait_for(&mut site.admin, &node, 0, "HM-VERIFY-0807").await;
        wait_for(&mut site.admin, &node, before.len(), "accepted").await;
    });
}

/// The copy was turned on once more than the original: its counters alone tell them apart.
#[test]
fn attack_15_a_copy_whose_counters_are_ahead() {
    let folder = tempfile::Builder::new().prefix("hm").tempdir().unwrap();
    let vendor = VendorCa::new();
    let mut lab = two_machines(folder.path(), &vendor);
    let node = lab.node(0).unwrap().agent_id().unwrap();
    lab.clone_tpm(0, 1).unwrap();
    lab.node(0).unwrap().start().unwrap();
    lab.node(0).unwrap().stop();
    lab.node(1).unwrap().reboot().unwrap();
    lab.node(1).unwrap().start().unwrap();
    // The original's agent is a new run, so only its TPM speaks against it.
    lab.node(0).unwrap().launch().unwrap();
    run(&mut lab, vendor, async |site| {
        wait_for(&mut site.admin, &node, 0, "HM-VERIFY-0801").await;
        let codes = recorded(&mut site.admin, &node).await;
        assert_eq!(codes[..2], ["accepted", "accepted"], "{codes:?}");
    });
}

fn two_machines(folder: &std::path::Path, vendor: &VendorCa) -> Lab {
    let mut lab = lay_out(folder, vendor);
    lab.build_node().unwrap();
    lab.build_node().unwrap();
    let roots = [
        folder.join("vendor.der"),
        lab.ek_authority().root(),
        lab.ek_authority().issuer(),
    ];
    lab.server().trust(&roots);
    lab.start_server().unwrap();
    lab
}
