//! Signed rules of an older version, which named no trust domain: they stay in force, and are signed again.

use std::sync::Arc;

use hallmark_policy::signed::{FileKind, OperatorKey, SignedFile};
use hallmark_reason::Coded as _;
use hallmark_server::{appraise::Offered, journal::Act, run::Running};
use hallmark_spiffe::TrustDomain;
use hallmark_state::{Change, PolicyFile};
use hallmark_verify::testing::SoftwareMachine;
use rcgen::KeyPair;

use crate::{attestation::wire, lab::isolated};

const STRICT: &str = "version = 1\nname = \"edge\"\nserial = 7\n[boot]\nsecure_boot = true\n";

async fn apply(running: &Running, content: &str) -> String {
    let content = content.as_bytes().to_vec();
    let act = Act {
        by: "uid:0".into(),
        reason: String::new(),
    };
    match running
        .server
        .appraiser
        .apply(Offered::new(FileKind::Policy, content), false, &act)
        .await
    {
        Ok(_) => "applied".to_owned(),
        Err(error) => error.code().to_string(),
    }
}

#[test]
fn what_was_signed_before_stays_in_force_and_is_signed_again() {
    isolated(
        "signed::what_was_signed_before_stays_in_force_and_is_signed_again",
        async |mut lab| {
            let pair = KeyPair::generate().unwrap();
            let path = lab.folder.join("operator.pub");
            std::fs::write(&path, pair.public_key_pem()).unwrap();
            let keys = toml::Table::from_iter([("operator_keys".into(), vec![path.display().to_string()].into())]);
            lab.settings.insert("policy".into(), keys.into());
            let key = OperatorKey::from_pem(pair.serialize_pem().as_bytes()).unwrap();
            let here = TrustDomain::parse("example.org").unwrap();
            let seal = || {
                SignedFile::seal(FileKind::Policy, &here, STRICT.into(), &key)
                    .unwrap()
                    .to_json()
            };
            let mut before: serde_json::Value = serde_json::from_str(&seal()).unwrap();
            before["hallmark_signed_file"] = 1.into();
            before.as_object_mut().unwrap().remove("trust_domain");
            let before = before.to_string();

            let running = lab.start().await;
            let stored = PolicyFile {
                kind: "policy".into(),
                name: "edge".into(),
                serial: 7,
                payload: STRICT.into(),
                signed: before.clone(),
                applied_at: 1,
                in_force: true,
            };
            crate::lab::commit(&running, vec![Change::PutPolicyFile(Arc::new(stored))]).await;
            lab.stop(running).await;
            let running = lab.start().await;
            let machine = SoftwareMachine::new(&lab.vendor);
            let told = hallmark_attacks::attest(&wire(&running).await, &machine)
                .await
                .unwrap_err();
            assert!(told.message().contains("HM-SRV-0108"), "it is in force: {told}");

            let signed = async |running: &Running| {
                let place = (FileKind::Policy, "edge".to_owned());
                let file = running.server.journal.state().policy_files()[&place].clone();
                (file.serial, file.in_force, SignedFile::names_trust_domain(&file.signed))
            };
            assert_eq!(apply(&running, &before).await, "HM-POLICY-0431");
            assert_eq!(signed(&running).await, (7, true, false));
            let (first, second) = (seal(), seal());
            assert_eq!(apply(&running, &first).await, "applied");
            assert_eq!(signed(&running).await, (7, true, true));
            assert_eq!(
                apply(&running, &second).await,
                "applied",
                "nor does it matter which of two signatures it is"
            );
            lab.stop(running).await;
            let running = lab.start().await;
            assert_eq!(signed(&running).await, (7, true, true), "across a restart");
            lab.stop(running).await;
        },
    );
}
