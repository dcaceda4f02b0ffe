//! Attacks 18 to 25: the certification of the SVID key, and the CSR.

use crate::scene::{Attack, site};
use hallmark_tpm_wire::{ObjectAttributes, templates};
use hallmark_verify::testing::{SoftwareKey, VendorCa, certify_body};

const OWNER: u32 = 0x4000_0001;
const NULL: u32 = 0x4000_0007;

#[test]
fn attack_18_19_20_a_key_that_the_tpm_does_not_hold_or_may_give_away() {
    site(async |site| {
        let good = templates::SVID_KEY_ATTRIBUTES;
        let mut attacks = vec![
            Attack::new("18: the TPM certified another key", "HM-VERIFY-0410").draft(|draft, _| {
                let in_tpm = SoftwareKey::svid().public;
                draft.certify.attested = certify_body(&in_tpm.name(), &in_tpm.qualified_name(NULL));
            }),
            Attack::new("18: certified by a software key", "HM-VERIFY-0407")
                .proof(|proof, _| proof.certify.signature = SoftwareKey::ak().sign(&proof.certify.attest)),
            Attack::new("19: dressed up", "HM-VERIFY-0410").draft(|draft, machine| {
                let mut real = machine.svid.public.clone();
                real.attributes &= !ObjectAttributes::FIXED_TPM.bits();
                draft.certify.attested = certify_body(&real.name(), &real.qualified_name(NULL));
            }),
            Attack::new("47: a key that outlives the boot", "HM-VERIFY-0411").draft(|draft, machine| {
                let key = &machine.svid.public;
                draft.certify.attested = certify_body(&key.name(), &key.qualified_name(OWNER));
            }),
            Attack::new("20: RSA", "HM-VERIFY-0226")
                .machine(move |machine, _| machine.svid = SoftwareKey::rsa(good.bits(), 0x0014)),
        ];
        for (attributes, code) in [
            (good.without(ObjectAttributes::FIXED_TPM), "HM-VERIFY-0222"),
            (good.without(ObjectAttributes::FIXED_PARENT), "HM-VERIFY-0222"),
            (good.without(ObjectAttributes::SENSITIVE_DATA_ORIGIN), "HM-VERIFY-0222"),
            (good.without(ObjectAttributes::SIGN), "HM-VERIFY-0222"),
            (good.with(ObjectAttributes::ENCRYPTED_DUPLICATION), "HM-VERIFY-0223"),
            (good.with(ObjectAttributes::RESTRICTED), "HM-VERIFY-0223"),
            (good.with(ObjectAttributes::DECRYPT), "HM-VERIFY-0223"),
        ] {
            attacks.push(
                Attack::new(format!("19, 20: {attributes}"), code)
                    .machine(move |machine, _| machine.svid.public.attributes = attributes.bits()),
            );
        }
        site.refuses(attacks).await;
    });
}

#[test]
fn attack_21_22_23_another_statement_in_its_place() {
    site(async |site| {
        let mut attacks = vec![
            Attack::new("21: certifies the AK", "HM-VERIFY-0410").draft(|draft, machine| {
                let ak = &machine.ak.public;
                draft.certify.attested = certify_body(&ak.name(), &ak.qualified_name(0x4000_000b));
            }),
            Attack::new("21: exchanged", "HM-VERIFY-0403")
                .draft(|draft, _| std::mem::swap(&mut draft.certify, &mut draft.quote)),
            Attack::new("22: cut off", "HM-VERIFY-0401").proof(|proof, machine| {
                proof.certify.attest.pop();
                proof.certify.signature = machine.ak.sign(&proof.certify.attest);
            }),
            Attack::new("22: a byte more", "HM-VERIFY-0401").proof(|proof, machine| {
                proof.certify.attest.push(0);
                proof.certify.signature = machine.ak.sign(&proof.certify.attest);
            }),
            Attack::new("18: AK of another hierarchy", "HM-VERIFY-0408").draft(|draft, machine| {
                draft.certify.qualified_signer = machine.ak.public.qualified_name(OWNER);
            }),
        ];
        for tag in [0x801a, 0x8019, 0x801c] {
            attacks.push(
                Attack::new(format!("21: {tag:x}"), "HM-VERIFY-0403").draft(move |draft, _| draft.certify.tag = tag),
            );
        }
        for magic in [0, 0xff54_4346, 0x4743_54ff] {
            attacks.push(
                Attack::new("22: magic of the certification", "HM-VERIFY-0402")
                    .draft(move |draft, _| draft.certify.magic = magic),
            );
            attacks.push(
                Attack::new("22: magic of the quote", "HM-VERIFY-0502")
                    .draft(move |draft, _| draft.quote.magic = magic),
            );
        }
        let data: [Vec<u8>; 3] = [Vec::new(), vec![0; 32], vec![0x5a; 64]];
        for data in data {
            let for_quote = data.clone();
            attacks.push(
                Attack::new("23: certification", "HM-VERIFY-0409")
                    .draft(move |draft, _| draft.certify.extra_data.clone_from(&data)),
            );
            attacks.push(
                Attack::new("23: quote", "HM-VERIFY-0509")
                    .draft(move |draft, _| draft.quote.extra_data.clone_from(&for_quote)),
            );
        }
        // The binding of another SVID key under the same nonce and connection.
        attacks.push(Attack::new("23: for another key", "HM-VERIFY-0409").draft(|draft, _| {
            draft.certify.extra_data.reverse();
        }));
        site.refuses(attacks).await;
    });
}

#[test]
fn attack_24_25_the_csr_and_the_name() {
    site(async |site| {
        let mut attacks = vec![
            Attack::new("24: another key's own CSR", "HM-VERIFY-0234").claim(|claim, _| {
                let other = SoftwareKey::svid();
                claim.csr = other.csr_for(&other.spki());
            }),
            Attack::new("24: signed by another key", "HM-VERIFY-0236")
                .claim(|claim, machine| claim.csr = SoftwareKey::svid().csr_for(&machine.svid.spki())),
            Attack::new("24: signature damaged", "HM-VERIFY-0236")
                .claim(|claim, _| *claim.csr.last_mut().unwrap() ^= 1),
            Attack::new("24: trailing byte", "HM-VERIFY-0232").claim(|claim, _| claim.csr.push(0)),
            Attack::new("24: missing", "HM-EVID-0002").claim(|claim, _| claim.csr.clear()),
            Attack::new("24: something else", "HM-VERIFY-0233")
                .claim(|claim, _| claim.csr = VendorCa::new().root_der().to_vec()),
            Attack::new("25: SHA-1 nameAlg", "HM-TPMW-0005")
                .machine(|machine, _| machine.svid.public.name_alg = 0x0004),
            Attack::new("25: bytes moved between the Names", "HM-VERIFY-0401").draft(|draft, machine| {
                let key = &machine.svid.public;
                let (name, qualified) = (key.name(), key.qualified_name(NULL));
                draft.certify.attested = certify_body(&name[..30], &[&name[30..], &qualified].concat());
            }),
        ];
        let damages: [(&str, fn(&mut Vec<u8>)); 4] = [
            ("25: SHA-1 Name", |name| {
                name[1] = 0x04;
                name.truncate(22);
            }),
            ("25: cut off", |name| name.truncate(33)),
            ("25: prolonged", |name| name.push(0)),
            ("25: SHA-384 label", |name| name[1] = 0x0c),
        ];
        for (what, damage) in damages {
            attacks.push(Attack::new(what, "HM-VERIFY-0401").draft(move |draft, machine| {
                let key = &machine.svid.public;
                let mut name = key.name();
                damage(&mut name);
                draft.certify.attested = certify_body(&name, &key.qualified_name(NULL));
            }));
        }
        site.refuses(attacks).await;
    });
}
