//! Attacks 36 and 48 on the wire: IMA lists that go on, and such as do not.

use crate::policy::apply;
use crate::scene::{Site, ek, site};
use hallmark_api::admin::{ApplyPolicyFileRequest, EvidenceSummary, GetEvidenceRequest, get_evidence_response::Part};
use hallmark_attacks::{Wire, attest};
use hallmark_evidence::ima::{ImaList, ImaReplay};
use hallmark_evidence::{Log, LogKind};
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::testing::SoftwareMachine;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A line of the template `ima-ng` about a file.
fn line(path: &str, digit: u8) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_le_bytes()[..], bytes].concat();
    let digest = [&b"sha256:\0"[..], &[digit; 32]].concat();
    let data = [sized(&digest), sized(&[path.as_bytes(), &[0]].concat())].concat();
    let hash = HashAlg::Sha1.digest(&data);
    [&10_u32.to_le_bytes()[..], &hash, &sized(b"ima-ng"), &sized(&data)].concat()
}

/// The kernel has measured these lines.
fn measured(machine: &mut SoftwareMachine, lines: &[Vec<u8>]) {
    let mut replay = ImaReplay::at_boot(HashAlg::Sha256);
    let bytes = lines.concat();
    ImaList::binary(&bytes)
        .lines()
        .for_each(|line| replay.extend(&line.unwrap()));
    machine.pcrs.insert((0x000b, 10), replay.value().to_vec());
}

fn part(offset: usize, lines: &[Vec<u8>]) -> Vec<Log> {
    vec![Log::new(LogKind::Ima, u64::try_from(offset).unwrap(), lines.concat()).unwrap()]
}

async fn accepted(site: &mut Site, what: &str, machine: &SoftwareMachine) {
    if let Err(told) = attest(&site.wire().await, machine).await {
        panic!("{what}: {told}");
    }
    assert_eq!(site.verdicts().await[0].outcome, "accepted", "{what}");
}

#[test]
fn attack_36_48_a_list_goes_on_from_where_it_ended_and_nowhere_else() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let lines: Vec<Vec<u8>> = (1..6).map(|digit| line("/usr/bin/a", digit)).collect();
        let end = lines[..3].concat().len();
        measured(&mut machine, &lines[..3]);
        // The list grew while the quote was made: what is behind the quote is sent, and not taken for proven.
        machine.logs = part(0, &lines[..4]);
        accepted(site, "the first part", &machine).await;
        measured(&mut machine, &lines);
        for (what, logs, code, class) in [
            ("rewound", part(end - 1, &lines[3..]), "HM-VERIFY-0903", "HM-SRV-0104"),
            ("skipped", part(end + 1, &lines[3..]), "HM-VERIFY-0903", "HM-SRV-0104"),
            (
                "from where the unproven line ended",
                part(lines[..4].concat().len(), &lines[4..]),
                "HM-VERIFY-0903",
                "HM-SRV-0104",
            ),
            (
                "rewound by its bytes",
                part(end, &lines[2..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "skipped by its bytes",
                part(end, &lines[4..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "older than the quote",
                part(end, &lines[3..4]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
            (
                "whole, less a line",
                part(0, &lines[1..]),
                "HM-VERIFY-0902",
                "HM-SRV-0106",
            ),
        ] {
            machine.logs = logs;
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as(what, &told, code, class).await;
        }
        machine.logs = part(end, &lines[3..]);
        accepted(site, "the second part", &machine).await;
        // Another boot: nothing of this list is a beginning of that one.
        machine.reset_count += 1;
        let whole = lines.concat().len();
        machine.logs = part(whole, &[]);
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused_as("another boot", &told, "HM-VERIFY-0903", "HM-SRV-0104")
            .await;
        machine.logs = part(0, &lines);
        accepted(site, "whole again", &machine).await;
    });
}

/// A policy that lets files pass with digests that are all of one of these digits.
fn allowing(serial: u32, digits: &[u8]) -> String {
    let digests: Vec<String> = digits
        .iter()
        .map(|digit| format!("\"{}\"", format!("{digit:02x}").repeat(32)))
        .collect();
    let allow = digests.join(", ");
    format!("version = 1\nname = \"files\"\nserial = {serial}\n[ima]\nboot_aggregate = false\nallow = [{allow}]\n")
}

/// The newest verdict: its code, and the line that it names.
async fn verdict(site: &mut Site) -> Option<(String, String)> {
    let record = site.verdicts().await.pop()?;
    let named = record
        .detail
        .split("\"number\":")
        .nth(1)
        .or_else(|| record.detail.split("line ").nth(1));
    let line = named.map_or_else(String::new, |text| {
        text.chars().take_while(char::is_ascii_digit).collect()
    });
    Some((record.code, line))
}

#[test]
fn attack_48_a_file_is_named_however_long_ago_it_was_measured() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        assert_eq!(apply(site, "policy", &allowing(1, &[1, 2, 3])).await, "applied");
        let digits = [1, 2, 3, 9, 1, 8, 1];
        let lines: Vec<Vec<u8>> = digits.iter().map(|digit| line("/usr/bin/a", *digit)).collect();
        let mut sent = 0;
        // Line by line: the server has only the new one at hand.
        for count in 1..=lines.len() {
            measured(&mut machine, &lines[..count]);
            machine.logs = part(sent, &lines[count - 1..count]);
            sent += lines[count - 1].len();
            if count <= 3 {
                accepted(site, "listed files", &machine).await;
                continue;
            }
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            assert!(told.message().ends_with("(HM-SRV-0108)"), "{told}");
            assert_eq!(
                verdict(site).await,
                Some(("HM-POLICY-0209".into(), "3".into())),
                "after {count} lines"
            );
        }
        // Other rules see every line again, also those that came one by one. A node that stays refused has no new verdict
        // before it comes again, with nothing new.
        for (serial, digits, expected, is_news) in [
            (2, &[1, 2, 3, 9][..], Some("5"), false),
            (3, &[1, 2, 3, 8, 9][..], None, true),
            (4, &[2, 3, 8, 9][..], Some("0"), true),
            (5, &[1, 3, 8, 9][..], Some("1"), false),
            (6, &[1, 2, 3, 8, 9][..], None, true),
        ] {
            assert_eq!(apply(site, "policy", &allowing(serial, digits)).await, "applied");
            let swept = verdict(site).await;
            assert_eq!(swept.is_some(), is_news, "serial {serial}: {swept:?}");
            machine.logs = part(sent, &[]);
            let attested = attest(&site.wire().await, &machine).await;
            assert_eq!(attested.is_ok(), expected.is_none(), "serial {serial}: {attested:?}");
            for (code, line) in swept.into_iter().chain([verdict(site).await.unwrap()]) {
                let found = (!code.is_empty()).then_some((code.as_str(), line.as_str()));
                assert_eq!(found, expected.map(|line| ("HM-POLICY-0209", line)), "serial {serial}");
            }
        }
    });
}

/// What is kept of the machine's evidence, and what the rules in force find in it.
async fn kept(site: &mut Site, machine: &SoftwareMachine) -> EvidenceSummary {
    let id = format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine));
    let request = GetEvidenceRequest { id };
    let mut parts = site.admin.admin.get_evidence(request).await.unwrap().into_inner();
    match parts.message().await.unwrap().unwrap().part {
        Some(Part::Summary(summary)) => summary,
        other => panic!("{other:?}"),
    }
}

/// Old lines are looked at once by a policy that comes later, not at every sweep; by one that is only tried, for nobody.
#[test]
fn what_a_policy_finds_in_old_lines_is_kept() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let lines: Vec<Vec<u8>> = (1..4).map(|digit| line("/usr/bin/a", digit)).collect();
        measured(&mut machine, &lines);
        machine.logs = part(0, &lines);
        accepted(site, "the list", &machine).await;
        let has_looked = |summary: &EvidenceSummary| summary.facts.contains("\"files\":{\"rules\"");
        let tried = ApplyPolicyFileRequest {
            kind: "policy".into(),
            content: allowing(1, &[1, 3]).into_bytes().into(),
            dry_run: true,
            replace_signer: false,
        };
        let preview = site.admin.admin.apply_policy_file(tried).await.unwrap().into_inner();
        assert_eq!(preview.changes.len(), 1);
        let before = kept(site, &machine).await;
        assert!(!has_looked(&before), "{}", before.facts);
        assert!(!before.appraisal.contains("\"files\""), "{}", before.appraisal);

        assert_eq!(apply(site, "policy", &allowing(1, &[1, 3])).await, "applied");
        let after = kept(site, &machine).await;
        assert!(has_looked(&after), "{}", after.facts);
        assert!(after.appraisal.contains("HM-POLICY-0209"), "{}", after.appraisal);
        assert_eq!(after.untrusted_reason, "HM-POLICY-0209");
    });
}

/// What is kept of a node changes while policies that are new are held against it: that stops no policy.
#[test]
fn a_machine_that_attests_all_the_time_vetoes_no_policy() {
    site(async |site| {
        let mut machines: Vec<_> = (0..16).map(|_| SoftwareMachine::new(&site.vendor)).collect();
        // Nodes are judged in the order of their names: while it is the others' turn the last one is not idle.
        machines.sort_by_key(ek);
        let lines: Vec<Vec<u8>> = (1..4).map(|digit| line("/usr/bin/a", digit)).collect();
        for machine in &mut machines {
            measured(machine, &lines);
            machine.logs = part(0, &lines);
            accepted(site, "the list", machine).await;
        }
        let mut restless = machines.pop().unwrap();
        let (stop, address) = (Arc::new(AtomicBool::new(false)), site.address.clone());
        let stopped = Arc::clone(&stop);
        let attesting = tokio::spawn(async move {
            let mut accepted = 0;
            while !stopped.load(Ordering::Relaxed) {
                restless.reset_count += 1;
                let lines = &lines[..1 + accepted % 3];
                measured(&mut restless, lines);
                restless.logs = part(0, lines);
                let wire = Wire::connect(&address).await.unwrap();
                accepted += usize::from(attest(&wire, &restless).await.is_ok());
            }
            (accepted, restless)
        });
        for serial in 1..=20 {
            let content = allowing(serial, &[1, 2, 3, 3 + u8::try_from(serial).unwrap()]);
            let tried = ApplyPolicyFileRequest {
                kind: "policy".into(),
                content: content.clone().into_bytes().into(),
                dry_run: true,
                replace_signer: false,
            };
            let preview = site.admin.admin.apply_policy_file(tried).await;
            assert!(preview.is_ok(), "{preview:?}");
            assert_eq!(apply(site, "policy", &content).await, "applied", "{serial}");
        }
        stop.store(true, Ordering::Relaxed);
        let (accepted, restless) = attesting.await.unwrap();
        assert!(accepted > 3, "{accepted}");
        for machine in machines.iter().chain([&restless]) {
            assert_eq!(kept(site, machine).await.untrusted_reason, "");
        }
    });
}

#[test]
fn attack_48_a_list_that_was_kept_back_once_is_asked_for_from_its_first_line() {
    site(async |site| {
        let mut machine = SoftwareMachine::new(&site.vendor);
        let lines: Vec<Vec<u8>> = (1..4).map(|digit| line("/usr/bin/a", digit)).collect();
        measured(&mut machine, &lines);
        machine.logs = part(0, &lines);
        accepted(site, "the list", &machine).await;
        machine.logs = part(lines.concat().len(), &[]);
        accepted(site, "nothing new", &machine).await;
        machine.logs = Vec::new();
        accepted(site, "none, where no policy asks for one", &machine).await;
        assert_eq!(apply(site, "policy", &allowing(1, &[1, 2, 3])).await, "applied");
        assert_eq!(
            site.verdicts().await[0].code,
            "HM-POLICY-0201",
            "the policy judges at once"
        );
        let told = attest(&site.wire().await, &machine).await.unwrap_err();
        site.refused("none, where one is asked for", &told, "HM-POLICY-0201")
            .await;
        for (what, from) in [("all but a line", 1), ("nothing new", 3)] {
            machine.logs = part(lines[..from].concat().len(), &lines[from..]);
            let told = attest(&site.wire().await, &machine).await.unwrap_err();
            site.refused_as(what, &told, "HM-VERIFY-0903", "HM-SRV-0104").await;
        }
        machine.logs = part(0, &lines);
        accepted(site, "the whole list", &machine).await;
    });
}
