//! Signatures that `evmctl` made, and ways to spoil them.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use hallmark_evidence::ima::ImaList;
use hallmark_tpm_wire::HashAlg;
use hallmark_verify::ima::{FileSignature, ImaKeyError, ImaKeys, SignatureFault, SignatureVerdict, file_signature};
use proptest::prelude::*;

use crate::writer;

const PROGRAM: &[u8] = include_bytes!("../vectors/ima/program");
const RSA: &str = include_str!("../vectors/ima/rsa.pem");
const P256: &str = include_str!("../vectors/ima/p256.pem");
const P384: &str = include_str!("../vectors/ima/p384.pem");
const P256_SHA256: &[u8] = include_bytes!("../vectors/ima/program.p256.sha256.sig");

/// Certificate, hash, signature.
const SIGNED: [(&str, HashAlg, &[u8]); 6] = [
    (
        RSA,
        HashAlg::Sha256,
        include_bytes!("../vectors/ima/program.rsa.sha256.sig"),
    ),
    (
        RSA,
        HashAlg::Sha512,
        include_bytes!("../vectors/ima/program.rsa.sha512.sig"),
    ),
    (P256, HashAlg::Sha256, P256_SHA256),
    (
        P256,
        HashAlg::Sha512,
        include_bytes!("../vectors/ima/program.p256.sha512.sig"),
    ),
    (
        P384,
        HashAlg::Sha256,
        include_bytes!("../vectors/ima/program.p384.sha256.sig"),
    ),
    (
        P384,
        HashAlg::Sha512,
        include_bytes!("../vectors/ima/program.p384.sha512.sig"),
    ),
];

fn keys(pem: &str) -> ImaKeys {
    let mut keys = ImaKeys::default();
    keys.add_pem(pem).unwrap();
    keys
}

/// What a line with this template, digest field and signature brings.
fn brought(template: &str, digest: Vec<u8>, signature: &[u8]) -> Option<Result<FileSignature, SignatureFault>> {
    let line = writer::line(
        template,
        &[digest, writer::name(b"/usr/bin/program"), signature.to_vec()],
    );
    let event = ImaList::binary(&line).lines().next().unwrap().unwrap();
    file_signature(&event)
}

fn of_program(hash: HashAlg, signature: &[u8]) -> Option<Result<FileSignature, SignatureFault>> {
    brought(
        "ima-sig",
        writer::digest(hash.as_str(), &hash.digest(PROGRAM)),
        signature,
    )
}

#[test]
fn what_evmctl_signs_is_believed_under_its_key_and_no_other() {
    for (certificate, hash, signature) in SIGNED {
        let signature = of_program(hash, signature).unwrap().unwrap();
        assert!(
            matches!(keys(certificate).verify(&signature), SignatureVerdict::Valid(key) if key.id() == signature.key_id)
        );
        for other in [RSA, P256, P384].into_iter().filter(|other| *other != certificate) {
            assert_eq!(keys(other).verify(&signature), SignatureVerdict::UnknownKey);
        }
        let mut all = keys(RSA);
        all.add_pem(&format!("{P256}{P384}{RSA}")).unwrap();
        assert_eq!(all.iter().count(), 3);
        assert!(matches!(all.verify(&signature), SignatureVerdict::Valid(_)));
    }
    assert_eq!(of_program(HashAlg::Sha256, b""), None, "a line without a signature");
    let oldest = writer::original(b"/usr/bin/program", &[7; 20]);
    let event = ImaList::binary(&oldest).lines().next().unwrap().unwrap();
    assert_eq!(file_signature(&event), None, "the oldest template has none");
}

#[test]
fn a_signature_of_another_file_or_a_changed_one_is_bad() {
    let keys = keys(P256);
    let other = brought(
        "ima-sig",
        writer::digest("sha256", &HashAlg::Sha256.digest(b"other")),
        P256_SHA256,
    );
    assert_eq!(keys.verify(&other.unwrap().unwrap()), SignatureVerdict::Bad);
    for at in 9..P256_SHA256.len() {
        let mut changed = P256_SHA256.to_vec();
        changed[at] ^= 1;
        let changed = of_program(HashAlg::Sha256, &changed).unwrap().unwrap();
        assert_eq!(keys.verify(&changed), SignatureVerdict::Bad, "byte {at}");
    }
}

type Change = fn(&mut Vec<u8>);

#[test]
fn every_byte_of_the_header_counts() {
    let fault = |change: Change| {
        let mut bytes = P256_SHA256.to_vec();
        change(&mut bytes);
        of_program(HashAlg::Sha256, &bytes).unwrap()
    };
    assert!(fault(|_| {}).is_ok());
    let cases: [(Change, SignatureFault); 14] = [
        (|it| it[0] = 1, SignatureFault::Unknown),
        (|it| it[0] = 4, SignatureFault::Unknown),
        (|it| it[0] = 6, SignatureFault::Malformed),
        (|it| it[0] = 5, SignatureFault::NotOverTheDigest),
        (|it| it[1] = 1, SignatureFault::Malformed),
        (|it| it[1] = 4, SignatureFault::Malformed),
        (|it| it[2] = 2, SignatureFault::WeakHash),
        (|it| it[2] = 1, SignatureFault::WeakHash),
        (|it| it[2] = 5, SignatureFault::OtherHash),
        (|it| it[2] = 17, SignatureFault::Unknown),
        (|it| it[8] ^= 1, SignatureFault::Malformed),
        (|it| it.push(0), SignatureFault::Malformed),
        (|it| it.truncate(8), SignatureFault::Malformed),
        (
            |it| {
                it.truncate(9);
                it[8] = 0
            },
            SignatureFault::Malformed,
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(fault(change), Err(expected), "case {number}");
    }
    let long = [&P256_SHA256[..7], &1025_u16.to_be_bytes()[..], &[0; 1025]].concat();
    assert_eq!(
        of_program(HashAlg::Sha256, &long).unwrap(),
        Err(SignatureFault::Malformed)
    );
}

#[test]
fn attack_48_a_signature_is_over_the_algorithm_that_was_measured() {
    let (_, _, over_sha512) = SIGNED[3];
    assert!(of_program(HashAlg::Sha512, over_sha512).unwrap().is_ok());
    assert_eq!(
        of_program(HashAlg::Sha256, over_sha512).unwrap(),
        Err(SignatureFault::OtherHash)
    );
    let sha1 = writer::digest("sha1", &HashAlg::Sha1.digest(PROGRAM));
    assert_eq!(
        brought("ima-sig", sha1, P256_SHA256).unwrap(),
        Err(SignatureFault::OtherHash)
    );
    let short = writer::digest("sha256", &HashAlg::Sha256.digest(PROGRAM)[..20]);
    assert_eq!(
        brought("ima-sig", short, P256_SHA256).unwrap(),
        Err(SignatureFault::OtherHash)
    );
}

/// A key in memory, for what no tool at hand signs.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn keys(&self) -> ImaKeys {
        let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        let spki = [&head, self.0.public_key().as_ref()].concat();
        let base64 = pem(&spki);
        keys(&base64)
    }

    /// A signature with its header.
    fn sign(&self, kind: u8, version: u8, message: &[u8]) -> Vec<u8> {
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.0.public_key().as_ref());
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        let length = u16::try_from(signature.as_ref().len()).unwrap().to_be_bytes();
        [&[kind, version, 4], &sha1.as_ref()[16..], &length, signature.as_ref()].concat()
    }
}

fn pem(spki: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in spki.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            let index = usize::try_from(word >> (18 - 6 * place) & 63).unwrap();
            text.push(char::from(ALPHABET[index]));
        }
        text.push_str(&"="[..usize::from(chunk.len() == 2)]);
        text.push_str(if chunk.len() == 1 { "==" } else { "" });
    }
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[test]
fn version_3_is_over_type_algorithm_and_digest() {
    let signer = Signer::new();
    let keys = signer.keys();
    let value = HashAlg::Sha256.digest(b"a tree's root");
    let over = |kind: u8| [&[kind, 4][..], &value].concat();
    let verity = || [b"verity:sha256:\0".to_vec(), value.clone()].concat();
    let file = || [b"ima:sha256:\0".to_vec(), value.clone()].concat();
    let valid = |digest: Vec<u8>, signature: &[u8]| {
        let brought = brought("ima-sigv2", digest, signature).unwrap();
        brought.map(|brought| matches!(keys.verify(&brought), SignatureVerdict::Valid(_)))
    };
    assert_eq!(valid(verity(), &signer.sign(6, 3, &over(6))), Ok(true));
    assert_eq!(valid(file(), &signer.sign(3, 3, &over(3))), Ok(true));
    // A signature of one kind is none of the other.
    assert_eq!(valid(verity(), &signer.sign(6, 3, &over(3))), Ok(false));
    assert_eq!(valid(file(), &signer.sign(3, 3, &over(6))), Ok(false));
    assert_eq!(
        valid(verity(), &signer.sign(3, 3, &over(3))),
        Err(SignatureFault::NotOverTheDigest)
    );
    assert_eq!(
        valid(verity(), &signer.sign(3, 2, b"a tree's root")),
        Err(SignatureFault::NotOverTheDigest)
    );
    assert_eq!(
        valid(verity(), &signer.sign(6, 2, &over(6))),
        Err(SignatureFault::Malformed)
    );
}

/// The fields of `evm-sig` behind the name.
fn metadata(signature: Vec<u8>, attributes: &[(&str, &[u8])], mode: u16) -> Vec<Vec<u8>> {
    let names: Vec<_> = attributes.iter().map(|(name, _)| *name).collect();
    let lengths = attributes
        .iter()
        .flat_map(|(_, value)| u32::try_from(value.len()).unwrap().to_le_bytes());
    vec![
        signature,
        [names.join("|").as_bytes(), &[0]].concat(),
        lengths.collect(),
        attributes.iter().flat_map(|(_, value)| value.to_vec()).collect(),
        0_u32.to_le_bytes().to_vec(),
        0_u32.to_le_bytes().to_vec(),
        mode.to_le_bytes().to_vec(),
    ]
}

fn of_metadata(digest: &[u8], fields: Vec<Vec<u8>>) -> Result<FileSignature, SignatureFault> {
    let head = vec![writer::digest("sha256", digest), writer::name(b"/usr/bin/program")];
    let line = writer::line("evm-sig", &[head, fields].concat());
    let event = ImaList::binary(&line).lines().next().unwrap().unwrap();
    file_signature(&event).unwrap()
}

#[test]
fn a_portable_signature_vouches_for_the_digest_that_its_metadata_names() {
    let signer = Signer::new();
    let value = HashAlg::Sha256.digest(PROGRAM);
    let ima = [&[4, 4][..], &value].concat();
    let over = [&ima[..], &[0; 20], &0o100_640_u16.to_le_bytes(), &[0; 2]].concat();
    let fields = |attributes: &[(&str, &[u8])], mode| metadata(signer.sign(5, 2, &over), attributes, mode);
    let good = of_metadata(&value, fields(&[("security.ima", &ima)], 0o100_640)).unwrap();
    // What `evmctl sign --portable` tells of this file with this mode.
    assert_eq!(
        hex::encode(&good.signed),
        "07d9c2dc68596ef540fc79b9ec6f26d9575659a9c502b73771605c657e5fb7ff"
    );
    assert!(matches!(signer.keys().verify(&good), SignatureVerdict::Valid(_)));
    let other_mode = of_metadata(&value, fields(&[("security.ima", &ima)], 0o104_755)).unwrap();
    assert_eq!(signer.keys().verify(&other_mode), SignatureVerdict::Bad);
    // The metadata is signed, and the file is another one.
    let other = HashAlg::Sha256.digest(b"other");
    let not_over = Err(SignatureFault::NotOverTheDigest);
    assert_eq!(
        of_metadata(&other, fields(&[("security.ima", &ima)], 0o100_640)),
        not_over
    );
    for attributes in [
        &[("security.selinux", &ima[..])][..],
        &[("security.ima", &ima[..]), ("security.ima", &[])],
        &[("security.ima", &ima[..30])],
    ] {
        assert_eq!(
            of_metadata(&value, fields(attributes, 0o100_640)),
            not_over,
            "{attributes:?}"
        );
    }
    let sha1 = [&[4, 2][..], &HashAlg::Sha1.digest(PROGRAM)].concat();
    assert_eq!(
        of_metadata(&value, fields(&[("security.ima", &sha1)], 0o100_640)),
        not_over
    );
}

#[test]
fn keys_that_cannot_sign_files_are_not_taken() {
    let refused = |text: &str| ImaKeys::default().add_pem(text).unwrap_err();
    assert!(matches!(refused(""), ImaKeyError::NotPem(_)));
    assert!(matches!(refused("no key"), ImaKeyError::NotPem(_)));
    assert!(matches!(refused(&pem(b"no key")), ImaKeyError::Malformed(_)));
    assert!(matches!(
        refused(&P256.replace("CERTIFICATE", "PRIVATE KEY")),
        ImaKeyError::NotPem(_)
    ));
    let ed25519 = hex::decode("302a300506032b6570032100").unwrap();
    assert!(matches!(
        refused(&pem(&[&ed25519[..], &[7; 32]].concat())),
        ImaKeyError::Unfit(_)
    ));
    // RSA with 1024 bits.
    let modulus = [
        &[0x02, 0x81, 0x81, 0x00][..],
        &[0xc3; 128],
        &[0x02, 0x03, 0x01, 0x00, 0x01],
    ]
    .concat();
    let key = [&[0x30, 0x81, 0x89][..], &modulus].concat();
    let algorithm = hex::decode("300d06092a864886f70d0101010500").unwrap();
    let bits = [&[0x03, 0x81, 0x8d, 0x00][..], &key].concat();
    let spki = [&[0x30, 0x81, 0x9f][..], &algorithm, &bits].concat();
    assert!(
        matches!(refused(&pem(&spki)), ImaKeyError::Unfit(_)),
        "{:?}",
        refused(&pem(&spki))
    );
    // Nothing of a text is taken of which a part is none.
    let mut keys = keys(P384);
    assert!(keys.add_pem(&format!("{P256}{}", pem(b"no key"))).is_err());
    assert_eq!(keys.iter().count(), 1);
}

proptest! {
    #[test]
    fn noise_is_no_signature_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 3..7_u8) {
        let keys = keys(P256);
        for bytes in [bytes.clone(), [&[kind, 2, 4], &bytes[..]].concat()] {
            if let Some(Ok(signature)) = of_program(HashAlg::Sha256, &bytes) {
                prop_assert!(!matches!(keys.verify(&signature), SignatureVerdict::Valid(_)));
            }
        }
        let _ = ImaKeys::default().add_pem(&String::from_utf8_lossy(&bytes));
        let _ = ImaKeys::default().add_pem(&pem(&bytes));
    }
}
