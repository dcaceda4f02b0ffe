//! Certification requests: which are taken, and which are not.

use std::{fs, process::Command};

use hallmark_authority::{AuthorityError, KeyType, MAX_CSR_LEN, SubjectKey};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SigningKey as _};

/// A request made by OpenSSL with a new key.
fn openssl_csr(key: &[&str], request: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&[&str]]| {
        let out = Command::new("openssl")
            .args(args.concat())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    run(&[&["genpkey", "-out", "key"], key]);
    run(&[
        &[
            "req",
            "-new",
            "-key",
            "key",
            "-outform",
            "DER",
            "-out",
            "csr",
            "-subj",
            "/O=any/CN=thing",
        ],
        request,
    ]);
    fs::read(folder.path().join("csr")).unwrap()
}

fn ec(curve: &str) -> [String; 4] {
    ["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")].map(str::to_owned)
}

fn rsa(option: &str) -> Vec<String> {
    let mut args: Vec<String> = ["-algorithm", "RSA"].map(str::to_owned).into();
    for option in option.split(' ') {
        args.extend(["-pkeyopt".to_owned(), option.to_owned()]);
    }
    args
}

fn made(key: &[String], request: &[&str]) -> Vec<u8> {
    openssl_csr(&key.iter().map(String::as_str).collect::<Vec<_>>(), request)
}

fn p256() -> (KeyPair, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&key)
        .unwrap()
        .der()
        .to_vec();
    (key, csr)
}

#[test]
fn requests_of_every_accepted_kind_are_taken() {
    let rsa_2048 = rsa("rsa_keygen_bits:2048");
    let cases: Vec<(KeyType, Vec<u8>)> = vec![
        (KeyType::EcP256, made(&ec("P-256"), &["-sha256"])),
        (
            KeyType::EcP256,
            made(
                &ec("P-256"),
                &["-sha384", "-addext", "subjectAltName=URI:spiffe://evil/x"],
            ),
        ),
        (KeyType::EcP384, made(&ec("P-384"), &["-sha384"])),
        (KeyType::EcP384, made(&ec("P-384"), &["-sha256"])),
        (KeyType::Rsa { bits: 2048 }, made(&rsa_2048, &["-sha256"])),
        (KeyType::Rsa { bits: 2048 }, made(&rsa_2048, &["-sha384"])),
        (KeyType::Rsa { bits: 2048 }, made(&rsa_2048, &["-sha512"])),
        (
            KeyType::Rsa { bits: 3072 },
            made(&rsa("rsa_keygen_bits:3072"), &["-sha256"]),
        ),
        (
            KeyType::Rsa { bits: 4096 },
            made(&rsa("rsa_keygen_bits:4096"), &["-sha256"]),
        ),
    ];
    for (kind, csr) in cases {
        let key = SubjectKey::from_csr(&csr).unwrap();
        assert_eq!(key.key_type(), kind);
        assert_eq!(SubjectKey::from_spki(key.spki()), Ok(key));
    }
    let (key, csr) = p256();
    assert_eq!(
        SubjectKey::from_csr(&csr).unwrap().spki(),
        key.subject_public_key_info()
    );
}

#[test]
fn weak_keys_and_other_algorithms_are_refused() {
    let cases: Vec<(&str, AuthorityError, Vec<u8>)> = vec![
        ("P-521", AuthorityError::KeyKind, made(&ec("P-521"), &["-sha512"])),
        (
            "secp256k1",
            AuthorityError::KeyKind,
            made(&ec("secp256k1"), &["-sha256"]),
        ),
        (
            "Ed25519",
            AuthorityError::KeyKind,
            openssl_csr(&["-algorithm", "ED25519"], &[]),
        ),
        (
            "RSA-1024",
            AuthorityError::RsaSize { bits: 1024 },
            made(&rsa("rsa_keygen_bits:1024"), &["-sha256"]),
        ),
        (
            "RSA-2047",
            AuthorityError::RsaSize { bits: 2047 },
            made(&rsa("rsa_keygen_bits:2047"), &["-sha256"]),
        ),
        (
            "RSA-5120",
            AuthorityError::RsaSize { bits: 5120 },
            made(&rsa("rsa_keygen_bits:5120"), &["-sha256"]),
        ),
        (
            "e = 3",
            AuthorityError::RsaExponent,
            made(&rsa("rsa_keygen_bits:2048 rsa_keygen_pubexp:3"), &["-sha256"]),
        ),
        (
            "SHA-1",
            AuthorityError::CsrAlgorithm {
                key: KeyType::Rsa { bits: 2048 },
            },
            made(&rsa("rsa_keygen_bits:2048"), &["-sha1"]),
        ),
        (
            "RSA-PSS",
            AuthorityError::CsrAlgorithm {
                key: KeyType::Rsa { bits: 2048 },
            },
            made(
                &rsa("rsa_keygen_bits:2048"),
                &["-sha256", "-sigopt", "rsa_padding_mode:pss"],
            ),
        ),
        (
            "ECDSA with SHA-512",
            AuthorityError::CsrAlgorithm { key: KeyType::EcP256 },
            made(&ec("P-256"), &["-sha512"]),
        ),
    ];
    for (why, error, csr) in cases {
        assert_eq!(SubjectKey::from_csr(&csr), Err(error.clone()), "{why}");
        assert!(error.is_callers_fault());
    }
}

#[test]
fn a_request_that_its_key_did_not_sign_is_refused() {
    let (key, csr) = p256();
    assert!(SubjectKey::from_csr(&csr).is_ok(), "the control");
    let mut renamed = csr.clone();
    let at = renamed.windows(4).position(|bytes| bytes == b"rcge").unwrap();
    renamed[at] = b'R';
    assert_eq!(SubjectKey::from_csr(&renamed), Err(AuthorityError::CsrSignature));
    // Another key put into the request that the first one signed.
    let (other, _) = p256();
    let (from, to) = (key.subject_public_key_info(), other.subject_public_key_info());
    let at = csr.windows(from.len()).position(|bytes| bytes == from).unwrap();
    let mut stolen = csr.clone();
    stolen[at..at + to.len()].copy_from_slice(&to);
    assert_eq!(SubjectKey::from_csr(&stolen), Err(AuthorityError::CsrSignature));
    // A point beside the curve.
    let mut beside = csr.clone();
    beside[at + from.len() - 1] ^= 1;
    assert_eq!(SubjectKey::from_csr(&beside), Err(AuthorityError::KeyInvalid));
    assert_eq!(
        SubjectKey::from_spki(&beside[at..at + from.len()]),
        Err(AuthorityError::KeyInvalid)
    );
    // The signature belongs to other bytes of the same key.
    let signature = key.sign(b"something else").unwrap();
    assert_ne!(signature, csr);
}

#[test]
fn what_is_not_exactly_one_request_is_refused() {
    let (_, csr) = p256();
    for len in 0..csr.len() {
        assert_eq!(
            SubjectKey::from_csr(&csr[..len]),
            Err(AuthorityError::CsrMalformed),
            "cut at {len}"
        );
    }
    let trailing = [&csr[..], &[0]].concat();
    assert_eq!(SubjectKey::from_csr(&trailing), Err(AuthorityError::CsrMalformed));
    let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{}", "A".repeat(64));
    assert_eq!(SubjectKey::from_csr(pem.as_bytes()), Err(AuthorityError::CsrMalformed));
    let len = MAX_CSR_LEN + 1;
    assert_eq!(
        SubjectKey::from_csr(&vec![0x30; len]),
        Err(AuthorityError::CsrTooLarge { len })
    );
}

proptest! {
    #[test]
    fn no_byte_can_be_changed_unnoticed(at in 0_usize..200, bit in 0_u8..8) {
        let (_, csr) = p256();
        let mut changed = csr.clone();
        let at = at % csr.len();
        changed[at] ^= 1 << bit;
        prop_assert!(SubjectKey::from_csr(&csr).is_ok());
        prop_assert!(SubjectKey::from_csr(&changed).is_err(), "byte {at} bit {bit}");
    }

    #[test]
    fn noise_is_refused_and_breaks_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(SubjectKey::from_csr(&bytes).is_err());
        prop_assert!(SubjectKey::from_spki(&bytes).is_err());
    }
}
