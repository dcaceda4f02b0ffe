//! Attack 10: the EK certificate and its path.

use crate::scene::{Attack, site, site_with};
use hallmark_verify::testing::{CertificateDraft, ExtensionDraft, SoftwareKey, VendorCa, element, oid, oids};

/// An EK certificate that is changed before the vendor signs it.
fn issued(what: &'static str, code: &'static str, change: fn(&mut CertificateDraft)) -> Attack {
    Attack::new(what, code).machine(move |machine, vendor| {
        machine.ek_certificate = Some(vendor.ek_certificate_with(&machine.ek, change));
    })
}

/// An EK certificate whose bytes are changed after it was signed.
fn altered(what: &'static str, code: &'static str, change: fn(&mut Vec<u8>)) -> Attack {
    Attack::new(what, code).machine(move |machine, _| change(machine.ek_certificate.as_mut().unwrap()))
}

fn profile() -> Vec<Attack> {
    vec![
        issued("expired", "HM-VERIFY-0120", |c| c.not_after = 1_700_000_000),
        issued("not yet valid", "HM-VERIFY-0119", |c| c.not_before = 4_000_000_000 / 2),
        issued("a CA", "HM-VERIFY-0107", |c| {
            c.extensions.push(ExtensionDraft::ca(None))
        }),
        issued("no key usage", "HM-VERIFY-0108", |c| c.without(oids::KEY_USAGE)),
        issued("signs", "HM-VERIFY-0109", |c| {
            *c.extension(oids::KEY_USAGE) = ExtensionDraft::key_usage(0x88);
        }),
        issued("no extended key usage", "HM-VERIFY-0110", |c| {
            c.without(oids::EXTENDED_KEY_USAGE)
        }),
        issued("any purpose", "HM-VERIFY-0111", |c| {
            *c.extension(oids::EXTENDED_KEY_USAGE) = ExtensionDraft::extended_key_usage(&["2.5.29.37.0"]);
        }),
        issued("no SAN", "HM-VERIFY-0112", |c| c.without(oids::SUBJECT_ALT_NAME)),
        issued("SAN twice", "HM-VERIFY-0115", |c| {
            let twin = c.extension(oids::SUBJECT_ALT_NAME).clone();
            c.extensions.push(twin);
        }),
        issued("a line break in the model", "HM-VERIFY-0114", |c| {
            *c.extension(oids::SUBJECT_ALT_NAME) = ExtensionDraft::tpm_attributes(&[
                ("2.23.133.2.1", "id:49465800"),
                ("2.23.133.2.2", "m\ntpm2:class:discrete"),
                ("2.23.133.2.3", "id:2"),
            ]);
        }),
        issued("unknown critical extension", "HM-VERIFY-0116", |c| {
            c.extensions.push(ExtensionDraft {
                oid: "1.2.3.4",
                critical: true,
                value: vec![0x05, 0x00],
            });
        }),
        issued("version 1", "HM-VERIFY-0106", |c| c.version = None),
        issued("SHA-1 signature", "HM-VERIFY-0117", |c| {
            c.signature_algorithm = element(0x30, &oid(oids::ECDSA_SHA1));
        }),
        issued("a PSS key", "HM-VERIFY-0118", |c| {
            c.spki = element(
                0x30,
                &[element(0x30, &oid("1.2.840.113549.1.1.10")), element(0x03, &[0; 40])].concat(),
            );
        }),
    ]
}

fn encoding() -> Vec<Attack> {
    vec![
        altered("trailing byte", "HM-VERIFY-0104", |der| der.push(1)),
        altered("cut off", "HM-VERIFY-0103", |der| der.truncate(der.len() - 1)),
        altered("indefinite length", "HM-VERIFY-0103", |der| {
            der.splice(1..4, [0x80]);
            der.extend([0, 0]);
        }),
        altered("signature damaged", "HM-VERIFY-0122", |der| {
            *der.last_mut().unwrap() ^= 1
        }),
        altered("another SEQUENCE", "HM-VERIFY-0105", |der| {
            *der = vec![0x30, 0x03, 0x02, 0x01, 0x00]
        }),
        altered("64 KiB", "HM-EVID-0001", |der| der.resize(64 * 1024, 0)),
    ]
}

fn paths() -> Vec<Attack> {
    vec![
        Attack::new("another vendor of the same names", "HM-VERIFY-0122").machine(|machine, _| {
            machine.ek_certificate = Some(VendorCa::new().ek_certificate(&machine.ek));
        }),
        Attack::new("the stranger's own root sent along", "HM-VERIFY-0122").machine(|machine, _| {
            let stranger = VendorCa::new();
            machine.ek_certificate = Some(stranger.ek_certificate(&machine.ek));
            machine.ek_chain = vec![stranger.intermediate_der().to_vec(), stranger.root_der().to_vec()];
        }),
        Attack::new("self-signed", "HM-VERIFY-0121").machine(|machine, vendor| {
            let own = SoftwareKey::ecc(0);
            let mut signed = None;
            let _ = vendor.ek_certificate_with(&machine.ek, |draft| {
                draft.subject.clone_from(&draft.issuer);
                signed = Some(draft.sign(&own));
            });
            machine.ek_certificate = signed;
            machine.ek_chain = Vec::new();
        }),
        Attack::new("no intermediate", "HM-VERIFY-0121").machine(|machine, _| machine.ek_chain = Vec::new()),
        Attack::new("neither certificate nor inventory", "HM-VERIFY-0142")
            .machine(|machine, _| machine.ek_certificate = None),
        Attack::new("a CA below path length 0", "HM-VERIFY-0124").machine(|machine, vendor| {
            let (key, name) = (SoftwareKey::ecc(0), element(0x30, &[]));
            let below =
                VendorCa::ca_draft(&VendorCa::intermediate_name(), &name, &key, None).sign(&vendor.intermediate_key);
            let mut certificate = None;
            let _ = vendor.ek_certificate_with(&machine.ek, |draft| {
                draft.issuer.clone_from(&name);
                certificate = Some(draft.sign(&key));
            });
            machine.ek_certificate = certificate;
            machine.ek_chain.push(below);
        }),
    ]
}

#[test]
fn attack_10_the_certificate() {
    site(async |site| {
        site.refuses(profile()).await;
        site.refuses(encoding()).await;
        site.refuses(paths()).await;
    });
}

/// The operator pinned the vendor's root, and the intermediate is none.
#[test]
fn attack_10_an_intermediate_that_is_none() {
    let vendor = VendorCa::with(|_| {}, |ca| ca.without(oids::BASIC_CONSTRAINTS));
    let good = VendorCa::new();
    let root = good.root_der().to_vec();
    site_with(
        good,
        |lab, _, folder| {
            let files = [("good.der", root.as_slice()), ("bad.der", vendor.root_der())];
            let roots = files.map(|(name, der)| {
                std::fs::write(folder.join(name), der).unwrap();
                folder.join(name)
            });
            lab.server().trust(&roots);
        },
        async |site| {
            let machine = hallmark_verify::testing::SoftwareMachine::new(&vendor);
            let wire = site.wire().await;
            let told = hallmark_attacks::attest(&wire, &machine).await.unwrap_err();
            site.refused("no CA", &told, "HM-VERIFY-0121").await;
            site.control(&wire, "no CA").await;
        },
    );
}
