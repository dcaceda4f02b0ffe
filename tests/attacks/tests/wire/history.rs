//! Attacks 33 and 41: what a TPM's counters and clock rule out, against what the server kept of the last quote.

use crate::scene::{Site, ek, site};
use hallmark_api::admin::ChangeNodeRequest;
use hallmark_attacks::{attest, attest_with};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::testing::SoftwareMachine;

const HOUR: u64 = 3_600_000;

/// An hour into its seventh boot, resumed twice.
fn machine(site: &Site) -> SoftwareMachine {
    SoftwareMachine {
        restart_count: 2,
        clock: 100 * HOUR,
        ..SoftwareMachine::new(&site.vendor)
    }
}

async fn accepted(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

type Change = fn(&mut SoftwareMachine);

#[test]
fn attack_33_counters_and_clock_that_go_back_or_jump() {
    site(async |site| {
        let honest: [(&str, Change); 4] = [
            ("at once", |_| ()),
            ("a minute on", |machine| machine.clock += 60_000),
            ("resumed", |machine| machine.restart_count += 1),
            ("rebooted", |machine| {
                machine.reset_count += 1;
                machine.restart_count = 0;
            }),
        ];
        let mut good = machine(site);
        accepted(site, "at first", &good).await;
        for (what, change) in honest {
            change(&mut good);
            accepted(site, what, &good).await;
        }
        let attacks: [(&str, Change, u8, &str); 9] = [
            ("reset count back", |it| it.reset_count -= 1, 1, "HM-VERIFY-0801"),
            (
                "a TPM that was cleared",
                |it| (it.reset_count, it.clock) = (0, 0),
                1,
                "HM-VERIFY-0801",
            ),
            ("restart count back", |it| it.restart_count -= 1, 1, "HM-VERIFY-0802"),
            ("clock back", |it| it.clock -= 1, 1, "HM-VERIFY-0803"),
            (
                "clock back over a reboot, and called safe",
                |it| (it.reset_count, it.clock) = (it.reset_count + 1, it.clock - 1),
                1,
                "HM-VERIFY-0803",
            ),
            (
                "clock back over a reboot, further than it is saved",
                |it| (it.reset_count, it.clock) = (it.reset_count + 1, it.clock - 2 * HOUR),
                0,
                "HM-VERIFY-0803",
            ),
            ("clock forward", |it| it.clock += 10 * HOUR, 1, "HM-VERIFY-0804"),
            ("no longer safe", |_| (), 0, "HM-VERIFY-0805"),
            (
                "other firmware in the same boot",
                |it| it.firmware_version += 1,
                1,
                "HM-VERIFY-0806",
            ),
        ];
        for (what, change, safe, code) in attacks {
            let mut machine = machine(site);
            accepted(site, what, &machine).await;
            let (reset, restart) = (machine.reset_count, machine.restart_count);
            let (clock, firmware) = (machine.clock, machine.firmware_version);
            change(&mut machine);
            let told = attest_with(&site.wire().await, &machine, &machine.claim(), |draft| {
                draft.quote.safe = safe;
                draft.certify.safe = safe;
            })
            .await
            .unwrap_err();
            site.refused_as(what, &told, code, "HM-SRV-0102").await;
            // What was proven before stays the measure: the machine itself goes on.
            (machine.reset_count, machine.restart_count) = (reset, restart);
            (machine.clock, machine.firmware_version) = (clock, firmware);
            accepted(site, what, &machine).await;
        }
    });
}

/// A cleared TPM begins to count anew. It stays out until its operator says that its history begins anew too.
#[test]
fn attack_33_a_cleared_tpm_comes_back_by_its_operators_word_alone() {
    site(async |site| {
        let mut machine = machine(site);
        accepted(site, "at first", &machine).await;
        (machine.reset_count, machine.restart_count, machine.clock) = (0, 0, 5000);
        for again in ["at once", "and again"] {
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as(again, &told, "HM-VERIFY-0801", "HM-SRV-0102").await;
        }
        evict(site, &machine).await;
        accepted(site, "evicted, and enrolled again", &machine).await;
        accepted(site, "its history goes on from there", &machine).await;
        machine.restart_count = 9;
        accepted(site, "resumed", &machine).await;
        machine.restart_count = 0;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused_as("back behind it", &told, "HM-VERIFY-0802", "HM-SRV-0102")
            .await;
    });
}

/// The host of a virtual machine lost power, and the TPM's clock began anew. Reboots send it back further; its operator lets it
/// in again.
#[test]
fn attack_33_a_clock_that_began_anew_comes_back_by_its_operators_word_alone() {
    site(async |site| {
        let mut machine = machine(site);
        accepted(site, "at first", &machine).await;
        for (again, clock) in [("its host crashed", 15_250), ("it was booted again", 5_000)] {
            machine.reset_count += 1;
            machine.clock = clock;
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as(again, &told, "HM-VERIFY-0803", "HM-SRV-0102").await;
        }
        evict(site, &machine).await;
        accepted(site, "evicted, and enrolled again", &machine).await;
        machine.clock += 60_000;
        accepted(site, "its history goes on from there", &machine).await;
        machine.clock -= 60_000;
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused_as("back behind it", &told, "HM-VERIFY-0803", "HM-SRV-0102")
            .await;
    });
}

async fn evict(site: &mut Site, machine: &SoftwareMachine) {
    let evict = ChangeNodeRequest {
        id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine)),
        action: "evict".into(),
        ..Default::default()
    };
    site.admin.lifecycle.change_node(evict).await.unwrap();
}

/// A boot log of one event, which leaves its register as a TPM that was reset has it after a replay.
fn log(machine: &mut SoftwareMachine) -> Vec<u8> {
    let header = [
        &b"Spec ID Event03\0"[..],
        &[0, 0, 0, 0, 0, 2, 2, 2],
        &[1, 0, 0, 0, 0x0b, 0, 32, 0, 0],
    ]
    .concat();
    let digest = HashAlg::Sha256.digest(&[0; 4]);
    for pcr in 0..16 {
        machine.pcrs.insert((0x000b, pcr), vec![0; 32]);
    }
    let value = HashAlg::Sha256.digest(&[&[0; 32][..], &digest].concat());
    machine.pcrs.insert((0x000b, 7), value);
    [
        &[0; 4][..],
        &3_u32.to_le_bytes(),
        &[0; 20],
        &u32::try_from(header.len()).unwrap().to_le_bytes(),
        &header,
        &7_u32.to_le_bytes(),
        &4_u32.to_le_bytes(),
        &1_u32.to_le_bytes(),
        &[0x0b, 0],
        &digest,
        &4_u32.to_le_bytes(),
        &[0; 4],
    ]
    .concat()
}

/// Somebody resets the TPM alone, and extends the registers as the log of the running machine says. The replay agrees;
/// the reset was counted, and what was held of the boot is no beginning of anything.
#[test]
fn attack_41_registers_that_were_reset_under_a_running_machine() {
    site(async |site| {
        let counts: [Change; 2] = [|it| it.reset_count += 1, |it| it.restart_count += 1];
        for count in counts {
            let mut machine = machine(site);
            let log = log(&mut machine);
            let whole = Log::new(LogKind::Tcg, 0, log.clone()).unwrap();
            let end = u64::try_from(log.len()).unwrap();
            let rest = Log::new(LogKind::Tcg, end, Vec::new()).unwrap();
            machine.logs = vec![whole.clone()];
            accepted(site, "the whole log", &machine).await;
            machine.logs = vec![rest.clone()];
            accepted(site, "it ran on", &machine).await;
            count(&mut machine);
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as("reset", &told, "HM-VERIFY-0163", "HM-SRV-0104").await;
            // The rules judge such a boot anew, from its first event on.
            machine.logs = vec![whole];
            accepted(site, "the whole log again", &machine).await;
        }
    });
}
