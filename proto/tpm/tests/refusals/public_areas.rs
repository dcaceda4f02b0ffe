//! Public areas and Names (attacks 7 and 25).

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use hallmark_tpm_wire::{HashAlg, Name, PublicArea, PublicKind, WireError, credential, templates};

use super::{Bytes, assert_exact_length};

/// The fields of an ECC public area, each of which a case may replace.
#[derive(Clone)]
struct Ecc {
    object_type: u16,
    name_alg: u16,
    attributes: u32,
    policy: Vec<u8>,
    symmetric: Vec<u16>,
    scheme: Vec<u16>,
    curve: u16,
    kdf: u16,
    x: Vec<u8>,
    y: Vec<u8>,
}

impl Ecc {
    fn ak() -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = key.public_key().as_ref();
        Self {
            object_type: 0x0023,
            name_alg: 0x000b,
            attributes: templates::AK_ATTRIBUTES.bits(),
            policy: Vec::new(),
            symmetric: vec![0x0010],
            scheme: vec![0x0018, 0x000b],
            curve: 0x0003,
            kdf: 0x0010,
            x: point[1..33].to_vec(),
            y: point[33..].to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Bytes::default()
            .u16(self.object_type)
            .u16(self.name_alg)
            .u32(self.attributes)
            .sized(&self.policy);
        for field in self.symmetric.iter().chain(&self.scheme) {
            out = out.u16(*field);
        }
        out.u16(self.curve).u16(self.kdf).sized(&self.x).sized(&self.y).0
    }
}

/// An RSA public area with a modulus of the given size; `top` is its first byte.
fn rsa(bits: u16, exponent: u32, scheme: &[u16], top: u8, last: u8) -> Vec<u8> {
    let mut modulus = vec![0xa5; usize::from(bits / 8)];
    *modulus.first_mut().unwrap() = top;
    *modulus.last_mut().unwrap() = last;
    rsa_of(bits, exponent, scheme, &modulus)
}

fn rsa_of(bits: u16, exponent: u32, scheme: &[u16], modulus: &[u8]) -> Vec<u8> {
    let attributes = templates::AK_ATTRIBUTES.bits();
    let mut out = Bytes::default()
        .u16(0x0001)
        .u16(0x000b)
        .u32(attributes)
        .sized(&[])
        .u16(0x0010);
    for field in scheme {
        out = out.u16(*field);
    }
    out.u16(bits).u32(exponent).sized(modulus).0
}

fn refusal(bytes: &[u8]) -> WireError {
    PublicArea::parse(bytes).expect_err("accepted")
}

/// Made as the faulty library makes keys: both primes are k·M + (65537^a mod M), M the product of the first 126 primes.
#[test]
fn attack_17_a_key_of_the_faulty_library_is_refused() {
    let hex: String = include_str!("../../../../tests/vectors/roca.hex")
        .split_whitespace()
        .collect();
    let mut modulus: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let rsassa_sha256: &[u16] = &[0x0014, 0x000b];
    assert_eq!(refusal(&rsa_of(2048, 0, rsassa_sha256, &modulus)), WireError::Roca);
    // The same key but for one bit has no such mark.
    modulus[100] ^= 1;
    PublicArea::parse(&rsa_of(2048, 0, rsassa_sha256, &modulus)).unwrap();
    for _ in 0..20 {
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let public = aws_lc_rs::signature::KeyPair::public_key(&key).as_ref();
        assert!(!hallmark_tpm_wire::is_roca(&public[9..265]));
    }
}

#[test]
fn weak_keys_are_refused_by_their_names() {
    let weak = |field, found| WireError::Weak { field, found };
    PublicArea::parse(&Ecc::ak().bytes()).unwrap();
    for (curve, found) in [
        (0x0001, "NIST P-192"),
        (0x0002, "NIST P-224"),
        (0x0010, "BN P-256"),
        (0x0011, "BN P-638"),
        (0x0020, "SM2 P-256"),
    ] {
        assert_eq!(refusal(&Ecc { curve, ..Ecc::ak() }.bytes()), weak("curve", found));
    }
    let sha1_scheme = Ecc {
        scheme: vec![0x0018, 0x0004],
        ..Ecc::ak()
    };
    assert_eq!(refusal(&sha1_scheme.bytes()), weak("scheme hash", "SHA-1"));

    let rsassa_sha256: &[u16] = &[0x0014, 0x000b];
    for bits in [2048, 3072, 4096] {
        PublicArea::parse(&rsa(bits, 0, rsassa_sha256, 0xc1, 0x01)).unwrap();
    }
    assert_eq!(
        refusal(&rsa(1024, 0, rsassa_sha256, 0xc1, 0x01)),
        weak("RSA key", "RSA-1024")
    );
    assert_eq!(
        refusal(&rsa(2048, 0, &[0x0014, 0x0004], 0xc1, 0x01)),
        weak("scheme hash", "SHA-1")
    );
    assert_eq!(
        refusal(&rsa(2048, 0, &[0x0016, 0x0004], 0xc1, 0x01)),
        weak("scheme hash", "SHA-1")
    );
}

#[test]
fn a_sha1_name_algorithm_is_refused() {
    let sha1 = Ecc {
        name_alg: 0x0004,
        ..Ecc::ak()
    };
    assert_eq!(
        refusal(&sha1.bytes()),
        WireError::Weak {
            field: "nameAlg",
            found: "SHA-1"
        }
    );
    let null = Ecc {
        name_alg: 0x0010,
        ..Ecc::ak()
    };
    assert_eq!(
        refusal(&null.bytes()),
        WireError::UnknownAlgorithm {
            field: "nameAlg",
            value: 0x0010
        }
    );
}

#[test]
fn a_name_is_its_algorithm_and_exactly_that_digest() {
    let name = |alg: u16, digest: &[u8]| Name::parse(&Bytes::default().u16(alg).raw(digest).0);
    for (alg, length) in [(0x000b, 32), (0x000c, 48), (0x000d, 64)] {
        assert!(name(alg, &vec![1; length]).is_ok());
        assert!(matches!(
            name(alg, &vec![1; length - 1]),
            Err(WireError::Truncated { .. })
        ));
        assert!(matches!(
            name(alg, &vec![1; length + 1]),
            Err(WireError::TrailingBytes { .. })
        ));
    }
    assert!(matches!(name(0x0004, &[1; 20]), Err(WireError::Weak { .. })));
    // A handle in the place of a Name.
    assert!(Name::parse(&0x4000_0007_u32.to_be_bytes()).is_err());
    assert!(Name::parse(&[]).is_err());
}

#[test]
fn public_areas_have_exactly_their_length() {
    assert_exact_length(&Ecc::ak().bytes(), PublicArea::parse);
    assert_exact_length(&rsa(2048, 65_537, &[0x0010], 0xff, 0x01), PublicArea::parse);
    let oversize = vec![0; PublicArea::MAX_LEN + 1];
    assert!(matches!(refusal(&oversize), WireError::TooLarge { .. }));
    let sized = Bytes::default().sized(&Ecc::ak().bytes()).0;
    assert!(PublicArea::parse_sized(&sized).is_ok());
    assert!(PublicArea::parse_sized(&[sized.as_slice(), &[0]].concat()).is_err());
}

/// Whether an attestation key's area is refused once `change` was made to it.
fn refused_with(change: impl FnOnce(&mut Ecc)) -> bool {
    let mut ecc = Ecc::ak();
    PublicArea::parse(&ecc.bytes()).unwrap();
    change(&mut ecc);
    PublicArea::parse(&ecc.bytes()).is_err()
}

#[test]
fn malformed_fields_are_refused() {
    assert!(!refused_with(|_| {}));
    assert!(refused_with(|ecc| ecc.attributes |= 1), "reserved bit");
    assert!(refused_with(|ecc| ecc.attributes |= 1 << 31), "reserved high bit");
    assert!(refused_with(|ecc| ecc.policy = vec![1; 20]), "short policy");
    assert!(refused_with(|ecc| ecc.policy = vec![1; 48]), "long policy");
    assert!(!refused_with(|ecc| ecc.policy = vec![1; 32]), "policy");
    assert!(refused_with(|ecc| ecc.object_type = 0x0026), "unknown type");
    assert!(refused_with(|ecc| ecc.kdf = 0x0020), "key derivation");
    assert!(refused_with(|ecc| ecc.curve = 0x0099), "unknown curve");
    assert!(refused_with(|ecc| ecc.x.truncate(31)), "narrow coordinate");
    assert!(refused_with(|ecc| ecc.y.insert(0, 0)), "wide coordinate");
    assert!(refused_with(|ecc| (ecc.x, ecc.y) = Default::default()), "no point");
}

#[test]
fn unknown_schemes_and_ciphers_are_refused() {
    assert!(!refused_with(|ecc| ecc.scheme = vec![0x0010]), "null scheme");
    assert!(refused_with(|ecc| ecc.scheme = vec![0x001c, 0x000b]), "Schnorr");
    assert!(refused_with(|ecc| ecc.scheme = vec![0x0014, 0x000b]), "RSA scheme");
    assert!(!refused_with(|ecc| ecc.symmetric = vec![0x0006, 128, 0x0043]), "AES");
    assert!(refused_with(|ecc| ecc.symmetric = vec![0x0006, 64, 0x0043]), "AES-64");
    assert!(refused_with(|ecc| ecc.symmetric = vec![0x0006, 128, 0x0040]), "CTR");
    assert!(
        refused_with(|ecc| ecc.symmetric = vec![0x0026, 128, 0x0043]),
        "Camellia"
    );
}

#[test]
fn made_up_rsa_numbers_are_refused() {
    let null: &[u16] = &[0x0010];
    PublicArea::parse(&rsa(2048, 0, null, 0x80, 0x01)).unwrap();
    for (case, bytes) in [
        ("modulus without its highest bit", rsa(2048, 0, null, 0x7f, 0x01)),
        ("even modulus", rsa(2048, 0, null, 0x80, 0x02)),
        ("exponent 3", rsa(2048, 3, null, 0x80, 0x01)),
        ("even exponent", rsa(2048, 65_538, null, 0x80, 0x01)),
        ("2040 bits", rsa(2040, 0, null, 0x80, 0x01)),
        ("8192 bits", rsa(8192, 0, null, 0x80, 0x01)),
    ] {
        assert!(PublicArea::parse(&bytes).is_err(), "{case}");
    }
}

#[test]
fn objects_without_a_public_key_are_recognised_and_give_none() {
    let head = |object_type| {
        Bytes::default()
            .u16(object_type)
            .u16(0x000b)
            .u32(0x0000_0452)
            .sized(&[])
    };
    let sealed = head(0x0008).u16(0x0010).sized(&[1; 32]).0;
    let cipher = head(0x0025).u16(0x0006).u16(128).u16(0x0043).sized(&[1; 32]).0;
    for (bytes, what) in [(sealed, "keyed-hash"), (cipher, "symmetric cipher")] {
        let area = PublicArea::parse(&bytes).unwrap();
        assert_eq!(area.marshal(), bytes);
        assert_eq!(area.spki_der(), Err(WireError::NotAKeyPair(what)));
        assert_eq!(area.scheme(), None);
        assert_exact_length(&bytes, PublicArea::parse);
    }
    assert!(PublicArea::parse(&Ecc::ak().bytes()).unwrap().spki_der().is_ok());
}

#[test]
fn credentials_are_made_for_endorsement_keys_only() {
    let ek = Ecc {
        attributes: templates::EK_LOW_ATTRIBUTES.bits(),
        policy: templates::POLICY_A_SHA256.to_vec(),
        symmetric: vec![0x0006, 128, 0x0043],
        scheme: vec![0x0010],
        ..Ecc::ak()
    };
    let name = PublicArea::parse(&Ecc::ak().bytes()).unwrap().name();
    let make = |ecc: Ecc, secret: &[u8]| credential::make(&PublicArea::parse(&ecc.bytes()).unwrap(), &name, secret);
    let (first, second) = (make(ek.clone(), &[1; 32]).unwrap(), make(ek.clone(), &[1; 32]).unwrap());
    assert_ne!(first, second, "a fresh seed for every credential");
    assert_eq!(first.id_object.len(), 2 + 32 + 2 + 32);

    let signing = templates::EK_LOW_ATTRIBUTES.bits() | 1 << 18;
    let open = templates::EK_LOW_ATTRIBUTES.bits() & !(1 << 16);
    for (case, wrong) in [
        ("attestation key", Ecc::ak()),
        (
            "no cipher",
            Ecc {
                symmetric: vec![0x0010],
                ..ek.clone()
            },
        ),
        (
            "not restricted",
            Ecc {
                attributes: open,
                ..ek.clone()
            },
        ),
        (
            "may sign",
            Ecc {
                attributes: signing,
                ..ek.clone()
            },
        ),
    ] {
        assert!(
            matches!(make(wrong, &[1; 32]), Err(WireError::NotAnEndorsementKey(_))),
            "{case}"
        );
    }
    assert!(matches!(make(ek.clone(), &[]), Err(WireError::SecretLength { .. })));
    assert!(matches!(
        make(ek.clone(), &[1; 33]),
        Err(WireError::SecretLength { .. })
    ));
    let mut off_curve = ek;
    off_curve.y[31] ^= 1;
    assert_eq!(make(off_curve, &[1; 32]), Err(WireError::InvalidKey("P-256")));
}

#[test]
fn a_name_binds_every_property() {
    let good = Ecc::ak();
    let name = |ecc: &Ecc| PublicArea::parse(&ecc.bytes()).unwrap().name();
    let unrestricted = Ecc {
        attributes: templates::SVID_KEY_ATTRIBUTES.bits(),
        ..good.clone()
    };
    let other_scheme = Ecc {
        scheme: vec![0x0018, 0x000c],
        ..good.clone()
    };
    assert_eq!(name(&good), name(&good.clone()));
    assert_ne!(name(&good), name(&unrestricted));
    assert_ne!(name(&good), name(&other_scheme));
    let area = PublicArea::parse(&good.bytes()).unwrap();
    assert_eq!(area.name_alg(), HashAlg::Sha256);
    assert!(matches!(area.kind(), PublicKind::Ecc(_)));
    assert!(templates::AK.matches(&area));
    assert!(!templates::AK.matches(&PublicArea::parse(&other_scheme.bytes()).unwrap()));
}
