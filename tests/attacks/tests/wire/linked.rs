//! Attack 67, where operators link and part keys: no list, file or race between two operators lets a key of a machine that
//! is out go.

use crate::machines::{csv, two_names};
use crate::scene::{Site, ek, lay_out, run, site, site_with};
use hallmark_api::admin::{ChangeNodeRequest, ImportInventoryRequest};
use hallmark_kit::Lab;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

impl Site {
    /// The states of nodes.
    async fn states(&mut self, machines: &[&SoftwareMachine]) -> Vec<String> {
        let mut states = Vec::new();
        for machine in machines {
            states.push(self.stands(machine).await.0);
        }
        states
    }
}

#[test]
fn attack_67_no_list_parts_the_keys_of_a_machine_that_is_out() {
    site(async |site| {
        let [rsa, ecc] = two_names(&site.vendor);
        let [third, stranger] = two_names(&site.vendor);
        site.list(&[&rsa, &ecc], false).await;
        assert_eq!(site.verdict(&rsa).await, "accepted");
        site.act("ban", &rsa).await;
        // The first line adds a key to the machine, the second would take one away.
        site.import(&[&[&rsa, &third], &[&ecc]], false).await;
        assert_eq!(site.verdict(&ecc).await, "HM-REG-0080");
        assert_eq!(site.verdict(&third).await, "HM-REG-0080");
        assert_eq!(site.verdict(&stranger).await, "accepted", "the control");
        // Once it is in again a list may part them.
        site.act("unban", &rsa).await;
        assert_eq!(site.verdict(&rsa).await, "accepted");
        assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "the list does so, not time");
        site.import(&[&[&rsa], &[&ecc]], false).await;
        assert_eq!(site.verdict(&ecc).await, "accepted", "the control");
    });
}

#[test]
fn attack_67_of_two_nodes_that_are_out_the_harder_fate_is_both_ones() {
    site(async |site| {
        for (first, second, then, undo) in [
            ("suspend", "ban", "banned", "resume"),
            ("retire", "ban", "retired", "unban"),
            ("suspend", "retire", "retired", "resume"),
        ] {
            let [rsa, ecc] = two_names(&site.vendor);
            assert_eq!(site.verdict(&rsa).await, "accepted");
            assert_eq!(site.verdict(&ecc).await, "accepted");
            site.act(first, &rsa).await;
            site.act(second, &ecc).await;
            site.list(&[&rsa, &ecc], false).await;
            assert_eq!(site.states(&[&rsa, &ecc]).await, [then, then], "{first}, {second}");
            let request = ChangeNodeRequest {
                id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(&rsa)),
                action: undo.into(),
                ..Default::default()
            };
            assert!(site.admin.lifecycle.change_node(request).await.is_err(), "{undo}");
        }
    });
}

/// What was lifted is lifted: the machine comes back, as one node, and stays that.
#[test]
fn attack_67_a_machine_whose_ban_was_lifted_comes_back_as_one_node() {
    site(async |site| {
        for _ in 0..8 {
            // Banned by the key that was never seen.
            let [rsa, ecc] = two_names(&site.vendor);
            site.list(&[&rsa, &ecc], false).await;
            assert_eq!(site.verdict(&rsa).await, "accepted");
            site.act("ban", &ecc).await;
            assert_eq!(site.verdict(&rsa).await, "HM-SRV-0109");
            site.act("unban", &ecc).await;
            assert_eq!(site.states(&[&rsa, &ecc]).await, ["pending", "pending"]);
            assert_eq!(site.verdict(&rsa).await, "accepted");
            assert_eq!(site.verdict(&rsa).await, "accepted", "again");
            // Both had been seen when they were linked.
            let [rsa, ecc] = two_names(&site.vendor);
            assert_eq!(site.verdict(&rsa).await, "accepted");
            assert_eq!(site.verdict(&ecc).await, "accepted");
            site.list(&[&rsa, &ecc], false).await;
            site.act("ban", &rsa).await;
            site.act("unban", &rsa).await;
            let is_rsa = site.verdict(&rsa).await == "accepted";
            let (stays, goes) = if is_rsa { (&rsa, &ecc) } else { (&ecc, &rsa) };
            for _ in 0..2 {
                assert_eq!(site.verdict(stays).await, "accepted");
                assert_eq!(site.verdict(goes).await, "HM-REG-0080");
            }
        }
    });
}

#[test]
fn attack_67_a_list_that_readmits_one_key_means_the_machine() {
    site(async |site| {
        let [rsa, ecc] = two_names(&site.vendor);
        assert_eq!(site.verdict(&rsa).await, "accepted");
        assert_eq!(site.verdict(&ecc).await, "accepted");
        site.list(&[&rsa, &ecc], false).await;
        site.act("retire", &rsa).await;
        assert_eq!(site.states(&[&rsa, &ecc]).await, ["retired", "retired"]);
        let mut both = [ek(&rsa), ek(&ecc)];
        both.sort();
        let mut told = site.list(&[&ecc], false).await.retired;
        told.sort();
        assert_eq!(told, both, "who imports an old list hears of both");
        assert_eq!(site.verdict(&ecc).await, "HM-SRV-0303");
        let mut told = site.list(&[&ecc], true).await.readmitted;
        told.sort();
        assert_eq!(told, both);
        assert_eq!(site.verdict(&ecc).await, "accepted", "the control");
        assert_eq!(site.verdict(&rsa).await, "HM-REG-0080", "and still one machine");
    });
}

/// Only an import that means it brings a retired machine back; one that takes its line away does not.
#[test]
fn attack_67_a_list_without_a_retired_machine_does_not_readmit_it() {
    site(async |site| {
        for readmit in [false, true] {
            let [rsa, ecc] = two_names(&site.vendor);
            let other = SoftwareMachine::new(&site.vendor);
            site.list(&[&rsa, &ecc], false).await;
            assert_eq!(site.verdict(&rsa).await, "accepted");
            site.act("retire", &rsa).await;
            let request = ImportInventoryRequest {
                format: "csv".into(),
                replace: true,
                readmit,
                data: csv(&[&[&other]]).into(),
                ..Default::default()
            };
            let told = site
                .admin
                .lifecycle
                .import_inventory(tokio_stream::iter([request]))
                .await;
            assert_eq!(told.unwrap().into_inner().removed.len(), 1, "{readmit}");
            assert_eq!(site.verdict(&rsa).await, "HM-SRV-0303", "{readmit}");
            assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "{readmit}");
            assert_eq!(site.verdict(&other).await, "accepted", "the control");
            // The next turn replaces this list.
            site.unlist(&other).await;
        }
    });
}

/// A ban of one key, while another operator says that a second one is the same machine's: whichever comes first.
#[test]
fn attack_67_a_ban_and_a_list_at_once() {
    site(async |site| {
        for _ in 0..16 {
            let [rsa, ecc] = two_names(&site.vendor);
            assert_eq!(site.verdict(&rsa).await, "accepted");
            assert_eq!(site.verdict(&ecc).await, "accepted");
            let ban = ChangeNodeRequest {
                id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(&rsa)),
                action: "ban".into(),
                ..Default::default()
            };
            let list = tokio_stream::iter([ImportInventoryRequest {
                format: "csv".into(),
                data: csv(&[&[&rsa, &ecc]]).into(),
                ..Default::default()
            }]);
            let (mut one, mut other) = (site.admin.lifecycle.clone(), site.admin.lifecycle.clone());
            let (banned, listed) = tokio::join!(one.change_node(ban), other.import_inventory(list));
            banned.unwrap();
            listed.unwrap();
            assert_eq!(site.states(&[&rsa, &ecc]).await, ["banned", "banned"]);
        }
    });
}

/// An approval of a key that a list takes from its machine ends with its place in the list.
#[test]
fn attack_67_an_approval_does_not_outlive_its_line() {
    let approval =
        |lab: &mut Lab, _: &VendorCa, _: &Path| lab.server().set("attestation.tpm2", "approval", "one".into());
    site_with(VendorCa::new(), approval, async |site| {
        for is_parted in [false, true] {
            let [rsa, ecc] = two_names(&site.vendor);
            site.list(&[&rsa, &ecc], false).await;
            site.act("approve", &ecc).await;
            assert_eq!(site.states(&[&ecc]).await, ["pre-registered"]);
            if is_parted {
                site.list(&[&rsa], false).await;
                assert_eq!(site.states(&[&ecc]).await, [""]);
                assert_eq!(site.verdict(&ecc).await, "HM-SRV-0301");
            } else {
                assert_eq!(site.verdict(&ecc).await, "accepted", "the control");
            }
        }
    });
}

/// The configured file links at a reload, at once; and what it linked stays so when it is emptied.
#[test]
fn attack_67_what_the_file_links_is_linked_for_good() {
    let (folder, vendor) = (tempfile::tempdir().unwrap(), VendorCa::new());
    let file = folder.path().join("ek.csv");
    let write = |lines: &[&[&SoftwareMachine]]| {
        let head = "ek_sha256,owner,expires";
        let rows = csv(lines);
        let rows = rows.lines().skip(1).filter(|row| !row.is_empty());
        let rows: Vec<String> = rows.map(|row| format!("{row},ops,\n")).collect();
        std::fs::write(&file, format!("{head}\n{}", rows.concat())).unwrap();
    };
    let [[rsa, ecc], [denied, other], [fresh, lone]] = [(); 3].map(|()| two_names(&vendor));
    write(&[&[&rsa], &[&ecc], &[&other], &[&lone]]);
    let mut lab = lay_out(folder.path(), &vendor);
    lab.server()
        .set("attestation.tpm2", "ek_inventory", file.display().to_string().into());
    let deny = vec![ek(&denied).into()];
    lab.server()
        .set("attestation.tpm2.deny", "eks", toml::Value::Array(deny));
    lab.start_server().unwrap();
    run(&mut lab, vendor, async |site| {
        for machine in [&rsa, &ecc, &other, &lone] {
            assert_eq!(site.verdict(machine).await, "accepted", "nobody knows yet");
        }
        site.act("ban", &rsa).await;
        assert_eq!(site.states(&[&ecc]).await, ["active"]);
    });
    write(&[&[&rsa, &ecc, &fresh], &[&denied, &other], &[&lone]]);
    lab.server().process().unwrap().signal(Signal::HUP);
    run(&mut lab, VendorCa::new(), async |site| {
        let start = Instant::now();
        while site.stands(&ecc).await.0 != "banned" || site.stands(&other).await.1 != "HM-POLICY-0003" {
            assert!(start.elapsed() < Duration::from_secs(60), "the reload changed nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(
            site.stands(&lone).await,
            ("active".into(), String::new()),
            "the control"
        );
    });
    lab.server().stop();
    write(&[]);
    lab.server().start().unwrap();
    run(&mut lab, VendorCa::new(), async |site| {
        assert_eq!(site.verdict(&fresh).await, "HM-REG-0080");
        assert_eq!(site.verdict(&other).await, "HM-POLICY-0003");
        assert_eq!(site.verdict(&lone).await, "accepted", "the control");
    });
}
