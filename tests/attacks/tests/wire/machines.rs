//! Attack 67, of a machine that shows another AK with each endorsement key: nothing that it proves links the two, so the
//! operator's inventory does.

use crate::scene::{Site, ek, site, site_with};
use hallmark_api::admin::{
    ChangeNodeRequest, ImportInventoryRequest, ImportInventoryResponse, ListNodesRequest, RemoveInventoryRequest,
};
use hallmark_attacks::attest;
use hallmark_verify::testing::{SoftwareMachine, VendorCa};

/// One machine by each of its two endorsement keys.
pub(crate) fn two_names(vendor: &VendorCa) -> [SoftwareMachine; 2] {
    [SoftwareMachine::new(vendor), SoftwareMachine::new(vendor)]
}

/// A list with a line for each of these machines, with their keys.
pub(crate) fn csv(lines: &[&[&SoftwareMachine]]) -> String {
    let line = |keys: &&[&SoftwareMachine]| keys.iter().map(|key| ek(key)).collect::<Vec<_>>().join(";");
    let lines: Vec<String> = lines.iter().map(line).collect();
    format!("ek_sha256\n{}\n", lines.join("\n"))
}

impl Site {
    /// The code of the verdict, or `accepted`.
    pub(crate) async fn verdict(&mut self, machine: &SoftwareMachine) -> String {
        let told = attest(&self.wire().await, machine).await;
        let verdict = self.verdicts().await.pop().unwrap();
        assert_eq!(told.is_ok(), verdict.outcome == "accepted", "{told:?}");
        if let Err(told) = &told
            && verdict.code == "HM-REG-0080"
        {
            assert!(told.message().ends_with("(HM-SRV-0304)"), "{told}");
        }
        if verdict.code.is_empty() {
            verdict.outcome
        } else {
            verdict.code
        }
    }

    pub(crate) async fn act(&mut self, action: &str, machine: &SoftwareMachine) {
        let request = ChangeNodeRequest {
            id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine)),
            action: action.into(),
            ..Default::default()
        };
        self.admin.lifecycle.change_node(request).await.unwrap();
    }

    /// Imports one line with the keys of these machines.
    pub(crate) async fn list(&mut self, machines: &[&SoftwareMachine], readmit: bool) -> ImportInventoryResponse {
        self.import(&[machines], readmit).await
    }

    /// Imports a line for each of these machines, with their keys.
    pub(crate) async fn import(&mut self, lines: &[&[&SoftwareMachine]], readmit: bool) -> ImportInventoryResponse {
        let request = ImportInventoryRequest {
            format: "csv".into(),
            readmit,
            data: csv(lines).into(),
            ..Default::default()
        };
        let stream = tokio_stream::iter([request]);
        self.admin
            .lifecycle
            .import_inventory(stream)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn unlist(&mut self, machine: &SoftwareMachine) {
        let request = RemoveInventoryRequest {
            eks: vec![ek(machine)],
            ..Default::default()
        };
        self.admin.lifecycle.remove_inventory(request).await.unwrap();
    }

    /// State and untrusted_reason of a node; empty where there is none.
    pub(crate) async fn stands(&mut self, machine: &SoftwareMachine) -> (String, String) {
        let request = ListNodesRequest {
            id: format!("spiffe://example.org/spire/agent/tpm2/{}", ek(machine)),
            ..Default::default()
        };
        let nodes = self
            .admin
            .lifecycle
            .list_nodes(request)
            .await
            .unwrap()
            .into_inner()
            .nodes;
        let node = nodes.into_iter().next();
        node.map_or_else(Default::default, |node| (node.state, node.untrusted_reason))
    }
}

#[test]
fn attack_67_a_listed_machine_is_one_node_whichever_key_it_shows() {
    site(async |site| {
        for (action, undo) in [("suspend", "resume"), ("ban", "unban"), ("retire", "")] {
            let [rsa, ecc] = two_names(&site.vendor);
            site.list(&[&rsa, &ecc], false).await;
            assert_eq!(site.verdict(&rsa).await, "accepted", "the control");
            assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "beside it");
            site.act(action, &rsa).await;
            assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "{action}");
            // Whoever tidies the inventory up does not let it back in; nor does a list of old, of single keys.
            site.unlist(&ecc).await;
            assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "{action}, no longer listed");
            site.list(&[&ecc], false).await;
            assert_eq!(site.verdict(&ecc).await, "HM-REG-0080", "{action}, listed alone");
            if !undo.is_empty() {
                site.act(undo, &rsa).await;
                assert_eq!(site.verdict(&rsa).await, "accepted", "{undo}");
            }
        }
        // Put out by the key that was never seen, and before either was.
        let [rsa, ecc] = two_names(&site.vendor);
        site.list(&[&rsa, &ecc], false).await;
        site.act("ban", &ecc).await;
        assert_eq!(site.verdict(&rsa).await, "HM-REG-0080");
        // Two machines are two.
        let [one, other] = two_names(&site.vendor);
        assert_eq!(site.verdict(&one).await, "accepted");
        site.act("ban", &one).await;
        assert_eq!(site.verdict(&other).await, "accepted", "the control");
    });
}

#[test]
fn attack_67_nodes_that_turn_out_to_be_one_machine() {
    site(async |site| {
        // One is out: the other goes the same way at once.
        for (action, state, code) in [
            ("suspend", "suspended", "HM-SRV-0302"),
            ("ban", "banned", "HM-SRV-0109"),
            ("retire", "retired", "HM-SRV-0303"),
        ] {
            let [rsa, ecc] = two_names(&site.vendor);
            assert_eq!(site.verdict(&rsa).await, "accepted");
            assert_eq!(site.verdict(&ecc).await, "accepted", "nobody knows yet");
            site.act(action, &rsa).await;
            site.list(&[&rsa, &ecc], false).await;
            assert_eq!(site.stands(&ecc).await.0, state);
            assert_eq!(site.verdict(&ecc).await, code);
        }
        // Both are in: one stays, and what becomes of it becomes of both.
        let [rsa, ecc] = two_names(&site.vendor);
        assert_eq!(site.verdict(&rsa).await, "accepted");
        assert_eq!(site.verdict(&ecc).await, "accepted");
        site.list(&[&ecc, &rsa], false).await;
        let mut seen = [site.verdict(&rsa).await, site.verdict(&ecc).await];
        seen.sort();
        assert_eq!(seen, ["HM-REG-0080", "accepted"]);
        site.act("ban", &ecc).await;
        assert_eq!(
            (site.stands(&rsa).await.0, site.stands(&ecc).await.0),
            ("banned".into(), "banned".into())
        );
        site.act("unban", &rsa).await;
        assert_eq!(
            (site.stands(&rsa).await.0, site.stands(&ecc).await.0),
            ("pending".into(), "pending".into())
        );
        // A retired machine comes back by either key, where a list that names both means it.
        let [rsa, ecc] = two_names(&site.vendor);
        assert_eq!(site.verdict(&rsa).await, "accepted");
        site.act("retire", &rsa).await;
        assert_eq!(site.list(&[&rsa, &ecc], false).await.retired, [ek(&rsa)]);
        assert_eq!(site.verdict(&ecc).await, "HM-REG-0080");
        assert_eq!(site.list(&[&rsa, &ecc], true).await.readmitted, [ek(&rsa)]);
        assert_eq!(site.verdict(&ecc).await, "accepted", "the control");
        assert_eq!(site.verdict(&rsa).await, "HM-REG-0080", "and is the other one now");
    });
}

#[test]
fn attack_67_both_keys_of_a_machine_at_once() {
    site(async |site| {
        for _ in 0..8 {
            let [rsa, ecc] = two_names(&site.vendor);
            site.list(&[&rsa, &ecc], false).await;
            let (first, second) = (site.wire().await, site.wire().await);
            let told = tokio::join!(attest(&first, &rsa), attest(&second, &ecc));
            assert!(
                told.0.is_ok() != told.1.is_ok(),
                "{:?}",
                (told.0.is_ok(), told.1.is_ok())
            );
            let mut seen: Vec<String> = site.verdicts().await.into_iter().map(|it| it.code).collect();
            seen.sort();
            assert_eq!(seen, ["", "HM-REG-0080"]);
        }
    });
}

#[test]
fn attack_67_what_is_denied_to_one_key_is_denied_to_the_machine() {
    let vendor = VendorCa::new();
    let [[rsa, ecc], [lone_rsa, lone_ecc], [old, new]] = [(); 3].map(|()| two_names(&vendor));
    let denied: Vec<toml::Value> = [&rsa, &lone_rsa, &old].map(|machine| ek(machine).into()).into();
    let deny = |lab: &mut hallmark_kit::Lab, _: &VendorCa, _: &std::path::Path| {
        lab.server()
            .set("attestation.tpm2.deny", "eks", toml::Value::Array(denied));
    };
    site_with(vendor, deny, async |site| {
        assert_eq!(site.verdict(&rsa).await, "HM-POLICY-0003");
        site.list(&[&rsa, &ecc], false).await;
        assert_eq!(site.verdict(&ecc).await, "HM-POLICY-0003");
        assert_eq!(site.verdict(&lone_rsa).await, "HM-POLICY-0003");
        assert_eq!(
            site.verdict(&lone_ecc).await,
            "accepted",
            "the control: nobody says that it is the same"
        );
        // Said later, it counts at once.
        assert_eq!(site.verdict(&new).await, "accepted");
        site.list(&[&old, &new], false).await;
        assert_eq!(site.stands(&new).await.1, "HM-POLICY-0003");
        assert_eq!(site.verdict(&new).await, "HM-POLICY-0003");
    });
}

#[test]
fn attack_67_a_machine_goes_over_to_its_other_key_by_its_operators_word_alone() {
    site(async |site| {
        let mut first = SoftwareMachine::new(&site.vendor);
        assert_eq!(site.verdict(&first).await, "accepted");
        // The same AK beside another endorsement key.
        let mut second = SoftwareMachine::new(&site.vendor);
        std::mem::swap(&mut first.ak, &mut second.ak);
        assert_eq!(site.verdict(&second).await, "HM-REG-0080");
        site.list(&[&first, &second], false).await;
        assert_eq!(
            site.verdict(&second).await,
            "HM-REG-0080",
            "listed, and the first is still there"
        );
        site.act("evict", &first).await;
        assert_eq!(site.verdict(&second).await, "accepted", "the control");
        std::mem::swap(&mut first.ak, &mut second.ak);
        assert_eq!(site.verdict(&first).await, "HM-REG-0080", "and not back");
    });
}

#[test]
fn attack_67_the_files_inventory_links_too() {
    let vendor = VendorCa::new();
    let [rsa, ecc] = two_names(&vendor);
    let text = format!("ek_sha256,owner,expires\n{};{},ops,\n", ek(&rsa), ek(&ecc));
    let configure = |lab: &mut hallmark_kit::Lab, _: &VendorCa, folder: &std::path::Path| {
        let file = folder.join("ek.csv");
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        lab.server().set("attestation.tpm2", "ek_inventory", file.into());
        lab.server().set("attestation.tpm2", "require_inventory", true.into());
    };
    site_with(vendor, configure, async |site| {
        assert_eq!(
            site.verdict(&ecc).await,
            "accepted",
            "the control: either key is listed"
        );
        assert_eq!(site.verdict(&rsa).await, "HM-REG-0080");
        site.act("ban", &ecc).await;
        assert_eq!(site.verdict(&rsa).await, "HM-REG-0080");
    });
}
