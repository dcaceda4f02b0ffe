//! Attacks 27 to 32: the quote.

use crate::scene::{Attack, site};
use hallmark_verify::testing::{SoftwareKey, SoftwareMachine, quote_body};

fn values(machine: &SoftwareMachine, pcrs: &[u8]) -> Vec<Vec<u8>> {
    pcrs.iter().map(|pcr| machine.pcrs[&(0x000b, *pcr)].clone()).collect()
}

/// A quote over these banks in place of the one asked for, over the values that the machine has.
fn quoting(what: &'static str, banks: Vec<(u16, Vec<u8>)>, code: &'static str) -> Attack {
    Attack::new(what, code).draft(move |draft, machine| {
        let pcrs: Vec<u8> = banks.iter().flat_map(|(_, pcrs)| pcrs.clone()).collect();
        draft.quote.attested = quote_body(&banks, &values(machine, &pcrs));
    })
}

#[test]
fn attack_27_28_29_30_other_registers_than_asked_for() {
    site(async |site| {
        let all: Vec<u8> = (0..8).collect();
        let mut attacks = vec![
            quoting(
                "28: PCR 7 not quoted",
                vec![(0x000b, (0..7).collect())],
                "HM-VERIFY-0510",
            ),
            quoting(
                "29: a bank twice",
                vec![(0x000b, all.clone()), (0x000b, all.clone())],
                "HM-VERIFY-0501",
            ),
            quoting(
                "29: a bank in halves",
                vec![(0x000b, (0..4).collect()), (0x000b, (4..8).collect())],
                "HM-VERIFY-0501",
            ),
            quoting(
                "29: an empty bank more",
                vec![(0x000b, all.clone()), (0x000c, vec![])],
                "HM-VERIFY-0510",
            ),
            quoting("29: no bank", vec![], "HM-VERIFY-0510"),
            quoting("29: an empty bank", vec![(0x000b, vec![])], "HM-VERIFY-0510"),
            quoting("30: the SHA-1 bank", vec![(0x0004, all)], "HM-VERIFY-0510"),
            Attack::new("28: PCR 17 beside", "HM-VERIFY-0511")
                .draft(|draft, _| draft.pcr_values.push((0x000b, 17, vec![1; 32]))),
            Attack::new("28: another bank beside", "HM-VERIFY-0511")
                .draft(|draft, _| draft.pcr_values.push((0x000c, 7, vec![1; 48]))),
            Attack::new("28: PCR 15 not supplied", "HM-VERIFY-0512").draft(|draft, _| drop(draft.pcr_values.pop())),
            Attack::new("28: nothing supplied", "HM-VERIFY-0512").draft(|draft, _| draft.pcr_values.clear()),
            Attack::new("29: seventeen banks", "HM-VERIFY-0501").draft(|draft, _| {
                let mut body = 17_u32.to_be_bytes().to_vec();
                body.extend([0x00, 0x0b, 3, 0xff, 0, 0].repeat(17));
                body.extend([0, 32]);
                body.extend([0; 32]);
                draft.quote.attested = body;
            }),
            Attack::new("30: a bank that nobody extended", "HM-VERIFY-0514").machine(|machine, _| {
                for pcr in 0..16 {
                    machine.pcrs.insert((0x000b, pcr), vec![0; 32]);
                }
            }),
        ];
        for resettable in [16_u8, 23] {
            attacks.push(
                Attack::new(format!("27: PCR {resettable} in the place of 15"), "HM-VERIFY-0510")
                    .machine(move |machine, _| {
                        let wanted = machine.pcrs[&(0x000b, 15)].clone();
                        machine.pcrs.insert((0x000b, resettable), wanted);
                    })
                    .draft(move |draft, machine| {
                        let pcrs: Vec<u8> = (0..15).chain([resettable]).collect();
                        draft.quote.attested = quote_body(&[(0x000b, pcrs.clone())], &values(machine, &pcrs));
                    }),
            );
        }
        site.refuses(attacks).await;
    });
}

/// A change of a TPMT_SIGNATURE of P-256: 2 bytes scheme, 2 bytes hash, r (2 bytes size, 32 bytes), s (2, 32).
type Damage = (&'static str, fn(&mut Vec<u8>), &'static str, &'static str);

const DAMAGES: [Damage; 12] = [
    ("SHA-384 label", |s| s[3] = 0x0c, "HM-VERIFY-0505", "HM-VERIFY-0405"),
    ("SHA-1 label", |s| s[3] = 0x04, "HM-VERIFY-0504", "HM-VERIFY-0404"),
    ("ECDAA label", |s| s[1] = 0x1a, "HM-VERIFY-0504", "HM-VERIFY-0404"),
    ("HMAC", |s| s[1] = 0x05, "HM-VERIFY-0504", "HM-VERIFY-0404"),
    (
        "null signature",
        |s| *s = vec![0x00, 0x10],
        "HM-VERIFY-0504",
        "HM-VERIFY-0404",
    ),
    ("byte behind", |s| s.push(0), "HM-VERIFY-0504", "HM-VERIFY-0404"),
    ("r zero", |s| s[6..38].fill(0), "HM-VERIFY-0506", "HM-VERIFY-0406"),
    ("s zero", |s| s[40..72].fill(0), "HM-VERIFY-0506", "HM-VERIFY-0406"),
    (
        "s above n",
        |s| s[40..72].fill(0xff),
        "HM-VERIFY-0506",
        "HM-VERIFY-0406",
    ),
    (
        "r over-long",
        |s| {
            s[5] = 33;
            s.insert(6, 0);
        },
        "HM-VERIFY-0506",
        "HM-VERIFY-0406",
    ),
    (
        "s shorter",
        |s| {
            s[39] = 31;
            s.pop();
        },
        "HM-VERIFY-0506",
        "HM-VERIFY-0406",
    ),
    ("one bit", |s| s[50] ^= 1, "HM-VERIFY-0507", "HM-VERIFY-0407"),
];

#[test]
fn attack_31_signatures() {
    site(async |site| {
        let mut attacks = Vec::new();
        for (what, damage, quote, certify) in DAMAGES {
            attacks.push(
                Attack::new(format!("quote: {what}"), quote).proof(move |proof, _| damage(&mut proof.quote.signature)),
            );
            attacks.push(
                Attack::new(format!("certification: {what}"), certify)
                    .proof(move |proof, _| damage(&mut proof.certify.signature)),
            );
        }
        for scheme in [0x0014, 0x0016] {
            attacks.push(
                Attack::new(format!("an RSA key's, {scheme:x}"), "HM-VERIFY-0505").proof(move |proof, machine| {
                    let rsa = SoftwareKey::rsa(machine.ak.public.attributes, scheme);
                    proof.quote.signature = rsa.sign(&proof.quote.attest);
                }),
            );
        }
        site.refuses(attacks).await;
    });
}

#[test]
fn attack_32_short_reordered_and_altered_values() {
    site(async |site| {
        site.refuses(vec![
            Attack::new("20 bytes", "HM-TPMW-0010").draft(|draft, _| draft.pcr_values[3].2.truncate(20)),
            Attack::new("exchanged", "HM-VERIFY-0513").draft(|draft, _| {
                let other = draft.pcr_values[2].2.clone();
                draft.pcr_values[2].2 = std::mem::replace(&mut draft.pcr_values[3].2, other);
            }),
            Attack::new("altered", "HM-VERIFY-0513").draft(|draft, _| draft.pcr_values[7].2[0] ^= 1),
            Attack::new("twice", "HM-TPMW-0011").draft(|draft, _| {
                let first = draft.pcr_values[0].clone();
                draft.pcr_values.push(first);
            }),
        ])
        .await;
    });
}
