//! Attacks 1, 2, 4 to 8, 13: who the machine is.

use crate::scene::{Attack, site, site_with};
use hallmark_tpm_wire::{ObjectAttributes, templates};
use hallmark_verify::testing::{ExtensionDraft, SoftwareEk, SoftwareKey, SoftwareMachine, VendorCa, oids};

fn words(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[test]
fn attack_01_02_04_another_machines_endorsement_key() {
    site(async |site| {
        // The thief claims a victim's EK and certificate; his own TPM opens nothing for it.
        let steal = |machine: &mut SoftwareMachine, vendor: &VendorCa| {
            let victim = SoftwareMachine::new(vendor);
            machine.ek_certificate = victim.ek_certificate;
            machine.ek.public = victim.ek.public;
        };
        site.refuses(vec![
            Attack::new("1: AK in another TPM", "HM-VERIFY-0309")
                .machine(steal)
                .draft(|draft, _| assert_eq!(draft.activated_secret, None)),
            Attack::new("1: the secret guessed", "HM-VERIFY-0311")
                .machine(steal)
                .draft(|draft, _| draft.activated_secret = Some(vec![0; 32])),
            Attack::new("2: another EK's public area", "HM-VERIFY-0141")
                .claim(|claim, _| claim.ek_public = SoftwareEk::ecc().public.marshal()),
            Attack::new("2: an RSA key's public area", "HM-VERIFY-0141")
                .claim(|claim, _| claim.ek_public = SoftwareEk::rsa().public.marshal()),
            // The TPM is genuine, the AK is not in it: the credential was made for a Name that the TPM does not hold.
            Attack::new("4: software AK", "HM-VERIFY-0309").draft(|draft, _| draft.activated_secret = None),
            Attack::new("4: software AK, the secret guessed", "HM-VERIFY-0311")
                .draft(|draft, _| draft.activated_secret = Some(vec![7; 32])),
        ])
        .await;
    });
}

#[test]
fn attack_05_06_07_an_attestation_key_that_is_none() {
    site(async |site| {
        let good = templates::AK_ATTRIBUTES;
        let with = |what: String, attributes: ObjectAttributes, code| {
            Attack::new(what, code).machine(move |machine, _| machine.ak.public.attributes = attributes.bits())
        };
        let mut attacks = Vec::new();
        for lacking in [
            ObjectAttributes::RESTRICTED,
            ObjectAttributes::FIXED_TPM,
            ObjectAttributes::FIXED_PARENT,
            ObjectAttributes::SENSITIVE_DATA_ORIGIN,
            ObjectAttributes::SIGN,
        ] {
            attacks.push(with(
                format!("without {lacking}"),
                good.without(lacking),
                "HM-VERIFY-0212",
            ));
        }
        for more in [
            ObjectAttributes::DECRYPT,
            ObjectAttributes::ENCRYPTED_DUPLICATION,
            ObjectAttributes::X509_SIGN,
        ] {
            attacks.push(with(format!("with {more}"), good.with(more), "HM-VERIFY-0213"));
        }
        let weak: [(&'static str, &'static [u16], &'static str); 7] = [
            ("P-192", &[0x0010, 0x0018, 0x000b, 0x0001, 0x0010], "HM-TPMW-0005"),
            ("BN curve", &[0x0010, 0x0018, 0x000b, 0x0010, 0x0010], "HM-TPMW-0005"),
            ("SM2 curve", &[0x0010, 0x0018, 0x000b, 0x0020, 0x0010], "HM-TPMW-0005"),
            ("SM2 scheme", &[0x0010, 0x001b, 0x000b, 0x0003, 0x0010], "HM-TPMW-0004"),
            (
                "SHA-1 scheme",
                &[0x0010, 0x0018, 0x0004, 0x0003, 0x0010],
                "HM-TPMW-0005",
            ),
            ("no scheme", &[0x0010, 0x0010, 0x0003, 0x0010], "HM-VERIFY-0214"),
            (
                "ECDH scheme",
                &[0x0010, 0x0019, 0x000b, 0x0003, 0x0010],
                "HM-VERIFY-0214",
            ),
        ];
        for (what, parameters, code) in weak {
            attacks.push(
                Attack::new(what, code).machine(move |machine, _| machine.ak.public.parameters = words(parameters)),
            );
        }
        attacks.push(Attack::new("RSA-1024", "HM-TPMW-0005").machine(|machine, _| {
            machine.ak = SoftwareKey::rsa(machine.ak.public.attributes, 0x0014);
            machine.ak.public.parameters = words(&[0x0010, 0x0014, 0x000b, 1024, 0, 0]);
        }));
        attacks.push(
            Attack::new("SHA-1 nameAlg", "HM-TPMW-0005").machine(|machine, _| machine.ak.public.name_alg = 0x0004),
        );
        site.refuses(attacks).await;
    });
}

/// The secret was opened for the AK that was claimed; another AK of the same TPM signs.
#[test]
fn attack_08_a_credential_for_another_name() {
    site(async |site| {
        site.refuses(vec![Attack::new("another AK signs", "HM-VERIFY-0407").proof(
            |proof, _| {
                let other = SoftwareKey::ak();
                proof.certify.signature = other.sign(&proof.certify.attest);
                proof.quote.signature = other.sign(&proof.quote.attest);
            },
        )])
        .await;
    });
}

#[test]
fn attack_13_a_simulators_ek_on_a_production_profile() {
    let production = ["discrete", "firmware", "virtual"].map(toml::Value::from).to_vec();
    site_with(
        VendorCa::new(),
        |lab, _, _| {
            lab.server()
                .set("attestation.tpm2", "allowed_classes", toml::Value::Array(production));
        },
        async |site| {
            let simulators = [("id:00001014", "any"), ("id:49465800", "swtpm"), ("id:58595A5A", "any")];
            let attacks = simulators.map(|(manufacturer, model)| {
                Attack::new(format!("{manufacturer} {model}"), "HM-POLICY-0002").machine(move |machine, vendor| {
                    machine.ek_certificate = Some(vendor.ek_certificate_with(&machine.ek, |draft| {
                        *draft.extension(oids::SUBJECT_ALT_NAME) = ExtensionDraft::tpm_attributes(&[
                            ("2.23.133.2.1", manufacturer),
                            ("2.23.133.2.2", model),
                            ("2.23.133.2.3", "id:20191023"),
                        ]);
                    }));
                })
            });
            site.refuses(attacks.into()).await;
        },
    );
}
