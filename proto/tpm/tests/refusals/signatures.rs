//! Signatures pinned to their key (attack 31).

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RsaEncoding, RsaKeyPair,
    },
};
use hallmark_tpm_wire::{PublicArea, Signature, WireError, templates};

use super::{Bytes, assert_exact_length};

const MESSAGE: &[u8] = b"what the TPM said";
const ECDSA_SHA256: &[u16] = &[0x0018, 0x000b];
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// An attestation key of the scheme, and a way to sign with it.
struct EccKey(EcdsaKeyPair);

impl EccKey {
    fn new() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap())
    }

    fn area(&self, scheme: &[u16]) -> PublicArea {
        let point = self.0.public_key().as_ref();
        let head = Bytes::default()
            .u16(0x0023)
            .u16(0x000b)
            .u32(templates::AK_ATTRIBUTES.bits())
            .sized(&[])
            .u16(0x0010);
        let head = scheme.iter().fold(head, |out, field| out.u16(*field));
        let area = head.u16(0x0003).u16(0x0010).sized(&point[1..33]).sized(&point[33..]).0;
        PublicArea::parse(&area).unwrap()
    }

    fn sign(&self) -> (Vec<u8>, Vec<u8>) {
        let signature = self.0.sign(&SystemRandom::new(), MESSAGE).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        (r.to_vec(), s.to_vec())
    }
}

fn ecdsa(hash: u16, r: &[u8], s: &[u8]) -> Vec<u8> {
    Bytes::default().u16(0x0018).u16(hash).sized(r).sized(s).0
}

fn verdict(key: &PublicArea, signature: &[u8]) -> Result<(), WireError> {
    Signature::parse(signature)?.verify(key, MESSAGE)
}

#[test]
fn ecdsa_numbers_are_in_range_and_of_fixed_width() {
    let key = EccKey::new();
    let area = key.area(ECDSA_SHA256);
    let (r, s) = key.sign();
    verdict(&area, &ecdsa(0x000b, &r, &s)).unwrap();
    let order = hex::decode(P256_ORDER).unwrap();
    let padded = |number: &[u8]| [&[0], number].concat();
    let zero = vec![0; 32];
    for (case, first, second) in [
        ("r zero", &zero, &s),
        ("s zero", &r, &zero),
        ("r is the order", &order, &s),
        ("s is the order", &r, &order),
        ("r above the order", &vec![0xff; 32], &s),
        ("s above the order", &r, &vec![0xff; 32]),
        ("r over-long", &padded(&r), &s),
        ("s over-long", &r, &padded(&s)),
        ("r short", &r[1..].to_vec(), &s),
        ("r empty", &Vec::new(), &s),
        ("both empty", &Vec::new(), &Vec::new()),
    ] {
        let refused = verdict(&area, &ecdsa(0x000b, first, second)).expect_err(case);
        assert!(matches!(refused, WireError::SignatureValue(_)), "{case}: {refused}");
    }
    assert_eq!(verdict(&area, &ecdsa(0x000b, &s, &r)), Err(WireError::SignatureInvalid));
    assert_eq!(
        verdict(&EccKey::new().area(ECDSA_SHA256), &ecdsa(0x000b, &r, &s)),
        Err(WireError::SignatureInvalid)
    );
}

#[test]
fn a_signature_is_of_the_scheme_and_hash_that_its_key_is_bound_to() {
    let key = EccKey::new();
    let (r, s) = key.sign();
    let signature = ecdsa(0x000b, &r, &s);
    verdict(&key.area(ECDSA_SHA256), &signature).unwrap();
    for (case, area) in [
        ("key bound to SHA-384", key.area(&[0x0018, 0x000c])),
        ("key bound to nothing", key.area(&[0x0010])),
        ("key bound to ECDH", key.area(&[0x0019, 0x000b])),
    ] {
        let refused = verdict(&area, &signature).expect_err(case);
        assert!(matches!(refused, WireError::SchemeMismatch { .. }), "{case}: {refused}");
    }
    let relabelled = verdict(&key.area(ECDSA_SHA256), &ecdsa(0x000c, &r, &s)).unwrap_err();
    assert!(matches!(relabelled, WireError::SchemeMismatch { .. }));
    let sha1 = verdict(&key.area(ECDSA_SHA256), &ecdsa(0x0004, &r, &s)).unwrap_err();
    assert_eq!(
        sha1,
        WireError::Weak {
            field: "signature hash",
            found: "SHA-1"
        }
    );
}

fn rsa_area(key: &RsaKeyPair, scheme: u16, hash: u16) -> PublicArea {
    // RSAPublicKey: a SEQUENCE of two INTEGERs, of which the first is the modulus after a zero byte.
    let modulus = &key.public_key().as_ref()[9..265];
    let head = Bytes::default()
        .u16(0x0001)
        .u16(0x000b)
        .u32(templates::AK_ATTRIBUTES.bits())
        .sized(&[])
        .u16(0x0010);
    PublicArea::parse(&head.u16(scheme).u16(hash).u16(2048).u32(0).sized(modulus).0).unwrap()
}

fn rsa_signature(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, scheme: u16, hash: u16) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature)
        .unwrap();
    Bytes::default().u16(scheme).u16(hash).sized(&signature).0
}

#[test]
fn rsa_paddings_are_not_taken_for_each_other() {
    const SSA: u16 = 0x0014;
    const PSS: u16 = 0x0016;
    let key = RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let ssa = rsa_area(&key, SSA, 0x000b);
    let pss = rsa_area(&key, PSS, 0x000b);
    verdict(&ssa, &rsa_signature(&key, &RSA_PKCS1_SHA256, SSA, 0x000b)).unwrap();
    verdict(&pss, &rsa_signature(&key, &RSA_PSS_SHA256, PSS, 0x000b)).unwrap();

    let mismatch = verdict(&ssa, &rsa_signature(&key, &RSA_PSS_SHA256, PSS, 0x000b)).unwrap_err();
    assert!(matches!(mismatch, WireError::SchemeMismatch { .. }));
    let mismatch = verdict(&ssa, &rsa_signature(&key, &RSA_PKCS1_SHA512, SSA, 0x000d)).unwrap_err();
    assert!(matches!(mismatch, WireError::SchemeMismatch { .. }));
    // The label says what the key wants; the padding inside does not.
    let relabelled = rsa_signature(&key, &RSA_PSS_SHA256, SSA, 0x000b);
    assert_eq!(verdict(&ssa, &relabelled), Err(WireError::SignatureInvalid));
    let relabelled = rsa_signature(&key, &RSA_PKCS1_SHA512, SSA, 0x000b);
    assert_eq!(verdict(&ssa, &relabelled), Err(WireError::SignatureInvalid));
    let (r, s) = EccKey::new().sign();
    assert!(matches!(
        verdict(&ssa, &ecdsa(0x000b, &r, &s)),
        Err(WireError::SchemeMismatch { .. })
    ));

    let short = Bytes::default().u16(SSA).u16(0x000b).sized(&[1; 255]).0;
    assert!(matches!(verdict(&ssa, &short), Err(WireError::SignatureValue(_))));
}

#[test]
fn signatures_have_exactly_their_length_and_a_known_scheme() {
    let (r, s) = EccKey::new().sign();
    assert_exact_length(&ecdsa(0x000b, &r, &s), Signature::parse);
    let rsassa = Bytes::default().u16(0x0014).u16(0x000b).sized(&[1; 256]).0;
    assert_exact_length(&rsassa, Signature::parse);
    let der = [&[0x30, 0x44, 0x02, 0x20], r.as_slice(), &[0x02, 0x20], &s].concat();
    for (case, bytes) in [
        ("no signature", Bytes::default().u16(0x0010).0),
        ("ECDAA", Bytes::default().u16(0x001a).u16(0x000b).sized(&r).sized(&s).0),
        ("HMAC", Bytes::default().u16(0x0005).u16(0x000b).raw(&[1; 32]).0),
        ("DER", der),
        (
            "RSA number too long",
            Bytes::default().u16(0x0014).u16(0x000b).sized(&[1; 513]).0,
        ),
        ("ECDSA number too long", ecdsa(0x000b, &[1; 67], &s)),
    ] {
        assert!(Signature::parse(&bytes).is_err(), "{case}");
    }
}
