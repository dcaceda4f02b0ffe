//! A real quote, read and verified.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hallmark_tpm_wire::{
    Attest, AttestKind, HashAlg, Hierarchy, Name, ObjectAttributes, PcrSelection, PcrValues, PublicArea, Signature,
    WireError, pcr_digest, templates,
};

const AK: &[u8] = include_bytes!("vectors/ak.public");
const AK_NAME: &[u8] = include_bytes!("vectors/ak.name");
const EK: &[u8] = include_bytes!("vectors/ek.pub");
const EK_CERTIFICATE: &[u8] = include_bytes!("vectors/ek.cert.der");
const QUOTE: &[u8] = include_bytes!("vectors/quote.msg");
const SIGNATURE: &[u8] = include_bytes!("vectors/quote.sig");
const VALUES: &str = include_str!("vectors/quote.values");

fn ak() -> PublicArea {
    PublicArea::parse(AK).unwrap()
}

fn ek() -> PublicArea {
    PublicArea::parse_sized(EK).unwrap()
}

fn values() -> PcrValues {
    let mut values = PcrValues::new();
    for line in VALUES.lines() {
        let (pcr, value) = line.split_once(' ').unwrap();
        values
            .insert(HashAlg::Sha256, pcr.parse().unwrap(), hex::decode(value).unwrap())
            .unwrap();
    }
    values
}

fn quote() -> (Attest, PcrSelection, Vec<u8>) {
    let attest = Attest::parse(QUOTE).unwrap();
    let AttestKind::Quote(quote) = attest.kind.clone() else {
        panic!("not a quote")
    };
    (attest, quote.selection, quote.pcr_digest)
}

#[test]
fn public_areas_marshal_to_the_bytes_they_came_from() {
    assert_eq!(ak().marshal(), AK);
    assert_eq!(ek().marshal_sized().unwrap(), EK);
    assert_eq!(ek().marshal(), EK[2..]);
}

#[test]
fn the_name_is_the_one_that_the_tpm_gave() {
    assert_eq!(ak().name().as_bytes(), AK_NAME);
    assert_eq!(Name::parse(AK_NAME).unwrap(), ak().name());
    assert_ne!(ak().name(), ek().name());
}

#[test]
fn the_quote_verifies_and_says_what_the_tpm_said() {
    Signature::parse(SIGNATURE).unwrap().verify(&ak(), QUOTE).unwrap();
    let (attest, selection, digest) = quote();
    assert_eq!(
        attest.extra_data,
        hex::decode("00112233445566778899aabbccddeeff").unwrap()
    );
    assert_eq!(attest.firmware_version, 0x2019_1023_0016_3636);
    assert_eq!(attest.clock_info.restart_count, 0);
    let all: Vec<u8> = (0..16).collect();
    assert_eq!(
        selection,
        PcrSelection::new([(HashAlg::Sha256, all.as_slice())]).unwrap()
    );
    assert_eq!(pcr_digest(&selection, &values(), HashAlg::Sha256).unwrap(), digest);
}

#[test]
fn the_qualified_signer_is_the_key_below_the_endorsement_key() {
    let ek = ek().name().qualified_primary(Hierarchy::Endorsement);
    assert_eq!(quote().0.qualified_signer, ak().name().qualified_child(&ek));
    assert_ne!(
        quote().0.qualified_signer,
        ak().name().qualified_primary(Hierarchy::Endorsement)
    );
}

#[test]
fn a_changed_quote_or_another_key_does_not_verify() {
    let signature = Signature::parse(SIGNATURE).unwrap();
    for position in 0..QUOTE.len() {
        let mut changed = QUOTE.to_vec();
        changed[position] ^= 1;
        assert_eq!(
            signature.verify(&ak(), &changed),
            Err(WireError::SignatureInvalid),
            "byte {position}"
        );
    }
    let mut other = AK.to_vec();
    // Another point of the curve: -P has the same x.
    let y = other.len() - 32;
    let order = hex::decode("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff").unwrap();
    let mut borrow = 0_i16;
    for index in (0..32).rev() {
        let difference = i16::from(order[index]) - i16::from(other[y + index]) - borrow;
        borrow = i16::from(difference < 0);
        other[y + index] = difference.rem_euclid(256).try_into().unwrap();
    }
    let other = PublicArea::parse(&other).unwrap();
    assert_eq!(signature.verify(&other, QUOTE), Err(WireError::SignatureInvalid));
}

#[test]
fn the_spki_is_the_one_in_the_certificate() {
    let spki = ek().spki_der().unwrap();
    assert!(EK_CERTIFICATE.windows(spki.len()).any(|window| window == spki));
}

#[test]
fn keys_are_recognised_by_their_templates() {
    assert_eq!(templates::ek_template_of(&ek()).unwrap().name, "rsa-2048-l1");
    assert_eq!(templates::ek_template_of(&ak()), None);
    // This key was made with the tools' defaults, which leave out noDA; nothing else tells it from ours.
    assert_eq!(
        ak().attributes().with(ObjectAttributes::NO_DA),
        templates::AK_ATTRIBUTES
    );
    assert!(!templates::AK.matches(&ak()));
}

#[test]
fn the_policies_are_what_their_commands_give() {
    const POLICY_SECRET: u32 = 0x0000_0151;
    let hash = HashAlg::Sha256;
    let start = vec![0; hash.digest_len()];
    let endorsement = Hierarchy::Endorsement.handle().to_be_bytes();
    let step = hash.digest(&[&start, POLICY_SECRET.to_be_bytes().as_slice(), &endorsement].concat());
    // The second step takes the policy reference, which is empty.
    assert_eq!(hash.digest(&step), templates::POLICY_A_SHA256);
}
