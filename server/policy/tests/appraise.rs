//! Verified evidence of a machine in software against rules: every rule holds, and every rule refuses.

#![expect(clippy::unwrap_used, reason = "test code beside the test functions")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallmark_node::{EkId, InventoryItem, TpmClass};
use hallmark_policy::{Appraisal, Listed, PolicySet, Rules, appraise};
use hallmark_verify::testing::{ExtensionDraft, SoftwareMachine, VendorCa, attest, oids};
use hallmark_verify::{EkRoots, Trust, VerifiedEvidence};

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_392_000)
}

/// In the place of the EK that the scene's machine turns out to have.
const ANY: EkId = EkId::Spki([0; 32]);

struct Scene {
    trust: Trust,
    machine: SoftwareMachine,
}

impl Scene {
    /// A machine whose certificate names this manufacturer and model.
    fn new(manufacturer: &str, model: &str) -> Self {
        let vendor = VendorCa::new();
        let mut machine = SoftwareMachine::new(&vendor);
        machine.ek_certificate = Some(vendor.ek_certificate_with(&machine.ek, |draft| {
            *draft.extension(oids::SUBJECT_ALT_NAME) = ExtensionDraft::tpm_attributes(&[
                ("2.23.133.2.1", manufacturer),
                ("2.23.133.2.2", model),
                ("2.23.133.2.3", "id:00070055"),
            ]);
        }));
        let trust = SoftwareMachine::trust(&vendor);
        Self { trust, machine }
    }

    fn discrete() -> Self {
        Self::new("id:49465800", "SLB9670")
    }

    fn evidence(&self) -> VerifiedEvidence {
        attest(&self.machine, &self.trust, None, now()).unwrap()
    }

    fn judge(&self, rules: &Rules) -> Appraisal {
        appraise(
            self.evidence(),
            Listed::default(),
            &PolicySet::from(rules.clone()),
            now(),
        )
    }

    fn enrol(&mut self) {
        self.enrol_as(InventoryItem::new(ANY));
    }

    fn enrol_as(&mut self, item: InventoryItem) {
        let ek = *self.evidence().ek_sha256();
        let item = InventoryItem {
            ek: EkId::Spki(ek),
            ..item
        };
        self.trust.inventory.add(item.into());
    }
}

fn refusal(appraisal: &Appraisal) -> Option<&'static str> {
    appraisal.refusal().map(|reason| reason.code.as_str())
}

#[test]
fn a_good_machine_is_trusted_for_reasons_in_order() {
    let appraisal = Scene::discrete().judge(&Rules::default());
    assert!(appraisal.is_trusted());
    let codes: Vec<_> = appraisal.reasons().iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(
        codes,
        (1..=6)
            .map(|number| format!("HM-POLICY-000{number}"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn attack_13_a_simulator_is_refused_unless_the_lab_allows_it() {
    for (manufacturer, model) in [
        ("id:00001014", "swtpm"),
        ("id:49424D00", "SW TPM"),
        ("id:49465800", "SWTPM 2"),
    ] {
        let mut scene = Scene::new(manufacturer, model);
        assert_eq!(
            refusal(&scene.judge(&Rules::default())),
            Some("HM-POLICY-0002"),
            "{manufacturer} {model}"
        );
        let mut lab = Rules::default();
        lab.allowed_classes.insert(TpmClass::Simulator);
        assert!(scene.judge(&lab).is_trusted());
        // An inventory line does not change what its certificate says.
        scene.enrol();
        assert_eq!(refusal(&scene.judge(&Rules::default())), Some("HM-POLICY-0002"));
    }
}

#[test]
fn every_class_is_refused_where_it_is_not_allowed() {
    for (manufacturer, model, class) in [
        ("id:49465800", "SLB9670", TpmClass::Discrete),
        ("id:494E5443", "ADL", TpmClass::Firmware),
        ("id:474F4F47", "vTPM", TpmClass::Virtual),
    ] {
        let scene = Scene::new(manufacturer, model);
        let mut rules = Rules::default();
        assert!(scene.judge(&rules).is_trusted(), "{class}");
        rules.allowed_classes.remove(&class);
        assert_eq!(refusal(&scene.judge(&rules)), Some("HM-POLICY-0002"), "{class}");
    }
}

#[test]
fn the_inventory_can_be_required_and_can_stand_in_for_a_certificate() {
    let mut scene = Scene::discrete();
    let required = Rules {
        require_inventory: true,
        ..Rules::default()
    };
    assert_eq!(refusal(&scene.judge(&required)), Some("HM-POLICY-0001"));
    scene.enrol();
    assert!(scene.judge(&required).is_trusted());
    scene.trust.roots = EkRoots::default();
    let listed_only = scene.judge(&required);
    assert!(listed_only.is_trusted());
    assert_eq!(listed_only.evidence().class(), TpmClass::Unknown);
}

/// A listed machine that leaves its certificate out, or sends a broken one, gets past no rule that its certificate would
/// have met.
#[test]
fn attack_13_leaving_the_certificate_out_escapes_no_rule() {
    let only = |class| Rules {
        allowed_classes: [class].into(),
        ..Rules::default()
    };
    let maker = deny(|rules| rules.denied_manufacturers.extend(["id:494E5443".into()]));
    let model = deny(|rules| rules.denied_models.extend(["adl".into()]));
    for certificate in [None, Some(vec![0x30, 0x03, 0x02, 0x01, 0x00])] {
        let hidden = |item: InventoryItem| {
            let mut scene = Scene::new("id:494E5443", "ADL");
            scene.enrol_as(item);
            scene.machine.ek_certificate.clone_from(&certificate);
            scene
        };
        let silent = hidden(InventoryItem::new(ANY));
        for (rules, code) in [
            (&only(TpmClass::Discrete), "HM-POLICY-0002"),
            (&only(TpmClass::Virtual), "HM-POLICY-0002"),
            (&maker, "HM-POLICY-0004"),
            (&model, "HM-POLICY-0005"),
        ] {
            assert_eq!(refusal(&silent.judge(rules)), Some(code));
        }
        // The controls: rules that exclude nothing it might be; and a line that says what it is.
        assert!(silent.judge(&Rules::default()).is_trusted());
        assert!(silent.judge(&only(TpmClass::Unknown)).is_trusted());
        let item = |class, manufacturer: &str, model: &str| InventoryItem {
            class: Some(class),
            manufacturer: Some(manufacturer.into()),
            model: Some(model.into()),
            ..InventoryItem::new(ANY)
        };
        let stated = hidden(item(TpmClass::Discrete, "id:49465800", "SLB9670"));
        for rules in [&only(TpmClass::Discrete), &maker, &model] {
            assert!(stated.judge(rules).is_trusted());
        }
        assert_eq!(
            refusal(&stated.judge(&only(TpmClass::Firmware))),
            Some("HM-POLICY-0002")
        );
        let denied = hidden(item(TpmClass::Firmware, "ID:494e5443", "ADL"));
        assert_eq!(refusal(&denied.judge(&maker)), Some("HM-POLICY-0004"));
        assert_eq!(refusal(&denied.judge(&model)), Some("HM-POLICY-0005"));
        let simulator = hidden(item(TpmClass::Simulator, "id:00001014", "swtpm"));
        assert_eq!(refusal(&simulator.judge(&Rules::default())), Some("HM-POLICY-0002"));
    }
    // With a certificate the line takes nothing back, and what it states counts beside it.
    let mut both = Scene::new("id:494E5443", "ADL");
    both.enrol_as(InventoryItem {
        class: Some(TpmClass::Discrete),
        manufacturer: Some("id:49465800".into()),
        model: Some("SLB9670".into()),
        ..InventoryItem::new(ANY)
    });
    assert_eq!(refusal(&both.judge(&only(TpmClass::Discrete))), Some("HM-POLICY-0002"));
    assert_eq!(refusal(&both.judge(&only(TpmClass::Firmware))), Some("HM-POLICY-0002"));
    assert_eq!(refusal(&both.judge(&maker)), Some("HM-POLICY-0004"));
    assert!(both.judge(&Rules::default()).is_trusted());
}

fn deny(change: impl Fn(&mut Rules)) -> Rules {
    let mut rules = Rules::default();
    change(&mut rules);
    rules
}

#[test]
fn denied_eks_makers_models_and_firmware_are_refused() {
    let scene = Scene::discrete();
    let ek = hex::encode(scene.evidence().ek_sha256());
    let firmware = scene.machine.firmware_version;
    for (what, rules, code) in [
        (
            "EK",
            deny(|rules| {
                rules.denied_eks.insert(ek.clone());
            }),
            Some("HM-POLICY-0003"),
        ),
        (
            "other EK",
            deny(|rules| {
                rules.denied_eks.insert("01".repeat(32));
            }),
            None,
        ),
        (
            "maker",
            deny(|rules| {
                rules.denied_manufacturers.insert("id:49465800".into());
            }),
            Some("HM-POLICY-0004"),
        ),
        (
            "other maker",
            deny(|rules| {
                rules.denied_manufacturers.insert("id:4946580".into());
            }),
            None,
        ),
        (
            "model",
            deny(|rules| {
                rules.denied_models.insert("SLB9670".into());
            }),
            Some("HM-POLICY-0005"),
        ),
        (
            "other model",
            deny(|rules| {
                rules.denied_models.insert("SLB967".into());
            }),
            None,
        ),
        (
            "firmware",
            deny(|rules| {
                rules.denied_firmware.insert(firmware);
            }),
            Some("HM-POLICY-0006"),
        ),
        (
            "other firmware",
            deny(|rules| {
                rules.denied_firmware.insert(firmware + 1);
            }),
            None,
        ),
    ] {
        assert_eq!(refusal(&scene.judge(&rules)), code, "{what}");
    }
}

/// Vendors write the hex of their id in either case; a denial means both.
#[test]
fn a_denial_means_both_cases() {
    let lower = Scene::new("id:494e5443", "adl");
    for (what, rules, code) in [
        (
            "maker",
            deny(|rules| {
                rules.denied_manufacturers.insert("id:494E5443".into());
            }),
            "HM-POLICY-0004",
        ),
        (
            "model",
            deny(|rules| {
                rules.denied_models.insert("ADL".into());
            }),
            "HM-POLICY-0005",
        ),
    ] {
        assert_eq!(refusal(&lower.judge(&rules)), Some(code), "{what}");
    }
}

#[test]
fn the_first_rule_that_fails_is_the_refusal_and_both_values_are_shown() {
    let scene = Scene::new("id:00001014", "swtpm");
    let rules = Rules {
        require_inventory: true,
        ..Rules::default()
    };
    let appraisal = scene.judge(&rules);
    assert_eq!(refusal(&appraisal), Some("HM-POLICY-0001"));
    assert_eq!(appraisal.reasons().iter().filter(|reason| !reason.holds).count(), 2);
    let class = &appraisal.reasons()[1];
    assert!(class.compared.as_deref().unwrap().contains("simulator"), "{class:?}");
}

#[test]
fn selectors_are_the_verified_facts() {
    let scene = Scene::discrete();
    let appraisal = scene.judge(&Rules::default());
    let shown: Vec<String> = appraisal.selectors().iter().map(ToString::to_string).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut expected = vec![
        format!("tpm2:ek-hash:{}", hex(appraisal.evidence().ek_sha256())),
        "tpm2:manufacturer:id:49465800".to_owned(),
        "tpm2:model:SLB9670".to_owned(),
        "tpm2:firmware:id:00070055".to_owned(),
        "tpm2:firmware-version:0001000200030004".to_owned(),
        "tpm2:class:discrete".to_owned(),
    ];
    expected.extend((0..8).map(|pcr| format!("tpm2:pcr:sha256:{pcr}:{}", hex(&scene.machine.pcrs[&(0x000b, pcr)]))));
    expected.sort();
    let mut sorted = shown.clone();
    sorted.sort();
    assert_eq!(sorted, expected);
}

/// What an unverified certificate says becomes no selector.
#[test]
fn a_certificate_that_was_not_believed_gives_no_selector() {
    let mut scene = Scene::discrete();
    scene.enrol();
    scene.trust.roots = EkRoots::default();
    let appraisal = scene.judge(&Rules::default());
    let shown: Vec<String> = appraisal.selectors().iter().map(ToString::to_string).collect();
    let of_certificates = ["tpm2:class:", "tpm2:manufacturer:", "tpm2:model:", "tpm2:firmware:"];
    let found = |fact: &str| shown.iter().any(|selector| selector.starts_with(fact));
    assert!(!of_certificates.into_iter().any(found), "{shown:?}");
    assert!(found("tpm2:firmware-version:"), "the control: {shown:?}");
}
