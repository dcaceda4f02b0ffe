//! Claims and proofs within their limits, each refusal beside what is accepted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use hallmark_evidence::{
    Binding, Claim, EvidenceError, Limits, Log, LogKind, PAYLOAD_VERSION, Proof, RawClaim, RawLog, RawPcrValue,
    RawProof, RawSigned,
};
use hallmark_reason::Coded;
use hallmark_tpm_wire::{HashAlg, Name, PublicArea, WireError};
use proptest::prelude::*;

const AK: &[u8] = include_bytes!("../../tpm/tests/vectors/ak.public");
const QUOTE: &[u8] = include_bytes!("../../tpm/tests/vectors/quote.msg");
const SIGNATURE: &[u8] = include_bytes!("../../tpm/tests/vectors/quote.sig");
const DIGEST: &[u8] = &[7; 32];

fn claim<'a>(chain: &'a [Vec<u8>]) -> RawClaim<'a, Vec<u8>> {
    RawClaim {
        version: PAYLOAD_VERSION,
        ek_certificate: b"certificate",
        ek_chain: chain,
        ek_public: AK,
        ak_public: AK,
        svid_public: AK,
        csr: b"request",
        session: 7,
    }
}

fn proof<'a>() -> RawProof<'a> {
    let signed = RawSigned {
        attest: QUOTE,
        signature: SIGNATURE,
    };
    RawProof {
        version: PAYLOAD_VERSION,
        activated_secret: &[9; 32],
        certify: signed,
        quote: signed,
        pcr_values: vec![value(0x000b, 0, DIGEST), value(0x000b, 7, DIGEST)],
        logs: vec![
            RawLog {
                kind: 1,
                offset: 0,
                length: 6,
                sha256: DIGEST,
            },
            RawLog {
                kind: 3,
                offset: 8,
                length: 0,
                sha256: DIGEST,
            },
        ],
    }
}

const fn value(hash_alg: u32, pcr: u32, digest: &[u8]) -> RawPcrValue<'_> {
    RawPcrValue { hash_alg, pcr, digest }
}

fn refused(raw: &RawProof<'_>) -> EvidenceError {
    Proof::decode(raw).expect_err("accepted")
}

#[test]
fn a_claim_is_decoded_as_it_was_sent() {
    let chain = [b"issuer".to_vec()];
    let decoded = Claim::decode(&claim(&chain)).unwrap();
    assert_eq!(decoded.ek_certificate.as_deref(), Some(b"certificate".as_slice()));
    assert_eq!(decoded.ek_chain, chain);
    assert_eq!(decoded.ak_public.marshal(), AK);
    assert_eq!(decoded.csr, b"request");
    let without = Claim::decode(&RawClaim {
        ek_certificate: &[],
        ..claim(&[])
    })
    .unwrap();
    assert_eq!(without.ek_certificate, None);
}

#[test]
fn a_claim_over_a_limit_or_without_its_parts_is_refused() {
    let full = vec![vec![1; Limits::CERTIFICATE]; Limits::CHAIN];
    let request = vec![1; Limits::CSR];
    Claim::decode(&RawClaim {
        ek_certificate: &full[0],
        csr: &request,
        ..claim(&full)
    })
    .unwrap();

    let long = vec![1; Limits::CERTIFICATE + 1];
    let many = vec![Vec::new(); Limits::CHAIN + 1];
    let long_chain = [long.clone()];
    let too_large = |raw: RawClaim<'_, Vec<u8>>| matches!(Claim::decode(&raw), Err(EvidenceError::TooLarge { .. }));
    assert!(too_large(RawClaim {
        ek_certificate: &long,
        ..claim(&[])
    }));
    assert!(too_large(claim(&many)));
    assert!(too_large(claim(&long_chain)));
    assert!(too_large(RawClaim {
        csr: &long,
        ..claim(&[])
    }));
    let missing = Claim::decode(&RawClaim { csr: &[], ..claim(&[]) });
    assert_eq!(
        missing,
        Err(EvidenceError::Missing {
            field: "certificate request"
        })
    );
    let anonymous = Claim::decode(&RawClaim {
        session: 0,
        ..claim(&[])
    });
    assert_eq!(anonymous, Err(EvidenceError::Missing { field: "session" }));
    let version = Claim::decode(&RawClaim {
        version: 2,
        ..claim(&[])
    });
    assert_eq!(version, Err(EvidenceError::Version { expected: 1, actual: 2 }));
}

#[test]
fn a_refused_public_area_keeps_its_code_and_says_which_it_is() {
    let short = &AK[..AK.len() - 1];
    for (raw, field) in [
        (
            RawClaim {
                ek_public: short,
                ..claim(&[])
            },
            "EK public area",
        ),
        (
            RawClaim {
                ak_public: short,
                ..claim(&[])
            },
            "AK public area",
        ),
        (
            RawClaim {
                svid_public: short,
                ..claim(&[])
            },
            "SVID key public area",
        ),
        (
            RawClaim {
                svid_public: &[],
                ..claim(&[])
            },
            "SVID key public area",
        ),
    ] {
        let error = Claim::decode(&raw).expect_err("accepted");
        assert_eq!(error.code().as_str(), "HM-TPMW-0001");
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

#[test]
fn a_proof_is_decoded_as_it_was_sent() {
    let decoded = Proof::decode(&proof()).unwrap();
    assert_eq!(decoded.activated_secret.as_ref().unwrap().as_slice(), [9; 32]);
    assert_eq!(decoded.pcr_values.get(HashAlg::Sha256, 7), Some(DIGEST));
    assert_eq!(
        decoded.logs.iter().map(|log| log.kind).collect::<Vec<_>>(),
        [LogKind::Tcg, LogKind::Ima]
    );
    let none = Proof::decode(&RawProof {
        activated_secret: &[],
        ..proof()
    })
    .unwrap();
    assert!(none.activated_secret.is_none());
}

#[test]
fn the_secret_is_not_shown() {
    let shown = format!("{:?}", Proof::decode(&proof()).unwrap());
    assert!(shown.contains("secret"));
    assert!(!shown.contains("9, 9, 9"), "{shown}");
}

#[test]
fn a_proof_over_a_limit_or_without_its_parts_is_refused() {
    Proof::decode(&proof()).unwrap();
    assert!(matches!(
        refused(&RawProof { version: 0, ..proof() }),
        EvidenceError::Version { actual: 0, .. }
    ));
    assert!(matches!(
        refused(&RawProof {
            activated_secret: &[1; 65],
            ..proof()
        }),
        EvidenceError::TooLarge { .. }
    ));
    let signed = proof().quote;
    for (bad, missing) in [
        (RawSigned { attest: &[], ..signed }, true),
        (
            RawSigned {
                signature: &[],
                ..signed
            },
            true,
        ),
        (
            RawSigned {
                attest: &[1; 1025],
                ..signed
            },
            false,
        ),
        (
            RawSigned {
                signature: &[1; 519],
                ..signed
            },
            false,
        ),
    ] {
        for raw in [
            RawProof {
                certify: bad,
                ..proof()
            },
            RawProof { quote: bad, ..proof() },
        ] {
            let error = refused(&raw);
            assert_eq!(matches!(error, EvidenceError::Missing { .. }), missing, "{error}");
            assert_eq!(matches!(error, EvidenceError::TooLarge { .. }), !missing, "{error}");
        }
    }
}

#[test]
fn pcr_values_fit_their_banks_and_come_once() {
    let decode = |pcr_values: Vec<RawPcrValue<'static>>| Proof::decode(&RawProof { pcr_values, ..proof() });
    decode(vec![value(0x000b, 0, DIGEST), value(0x000b, 31, DIGEST)]).unwrap();
    let error = |values| decode(values).expect_err("accepted");
    assert_eq!(
        error(vec![value(0x0012, 0, DIGEST)]),
        EvidenceError::UnknownBank { value: 0x0012 }
    );
    assert_eq!(
        error(vec![value(0x0001_000b, 0, DIGEST)]),
        EvidenceError::UnknownBank { value: 0x0001_000b }
    );
    assert_eq!(
        error(vec![value(0x000b, 32, DIGEST)]),
        EvidenceError::UnknownRegister { value: 32 }
    );
    assert_eq!(
        error(vec![value(0x000b, 256, DIGEST)]),
        EvidenceError::UnknownRegister { value: 256 }
    );
    let twenty: &[u8] = &[7; 20];
    let wire = |source| EvidenceError::Structure {
        field: "PCR values",
        source,
    };
    assert_eq!(
        error(vec![value(0x000b, 0, twenty)]),
        wire(WireError::PcrValueLength {
            bank: "sha256",
            pcr: 0,
            expected: 32,
            actual: 20
        })
    );
    let twice = vec![value(0x000b, 0, DIGEST), value(0x000b, 0, DIGEST)];
    assert_eq!(error(twice), wire(WireError::DuplicatePcr { bank: "sha256", pcr: 0 }));
    let many = (0..49)
        .map(|pcr| value(if pcr < 24 { 0x000b } else { 0x000c }, pcr % 24, DIGEST))
        .collect();
    assert!(matches!(error(many), EvidenceError::TooLarge { limit: 48, .. }));
}

#[test]
fn logs_are_of_known_kinds_and_come_once() {
    let log = |kind| RawLog {
        kind,
        offset: 0,
        length: 6,
        sha256: DIGEST,
    };
    let decode = |logs| Proof::decode(&RawProof { logs, ..proof() });
    decode(vec![log(1), log(2), log(3)]).unwrap();
    decode(vec![]).unwrap();
    for kind in [0, 4, -1, 257] {
        assert_eq!(
            decode(vec![log(kind)]).expect_err("accepted"),
            EvidenceError::UnknownLog { value: kind }
        );
    }
    assert_eq!(
        decode(vec![log(1), log(1)]).expect_err("accepted"),
        EvidenceError::DuplicateLog("tcg")
    );
    assert!(matches!(decode(vec![log(1); 4]), Err(EvidenceError::TooLarge { .. })));
    let with = |log| {
        Proof::decode(&RawProof {
            logs: vec![log],
            ..proof()
        })
    };
    for (kind, length) in [(1, Limits::BOOT_LOG), (2, Limits::BOOT_LOG), (3, Limits::IMA_LIST)] {
        let length = u64::try_from(length).unwrap();
        with(RawLog { length, ..log(kind) }).unwrap();
        for length in [length + 1, u64::MAX] {
            assert!(matches!(
                with(RawLog { length, ..log(kind) }),
                Err(EvidenceError::TooLarge { .. })
            ));
        }
    }
    // A list that goes on and on is bounded as a whole too.
    for (kind, whole) in [(1, Limits::BOOT_LOG), (3, Limits::KEPT_LOG)] {
        let offset = u64::try_from(whole).unwrap() - 6;
        with(RawLog { offset, ..log(kind) }).unwrap();
        for offset in [offset + 1, u64::MAX] {
            let field = "whole log";
            assert!(matches!(
                with(RawLog { offset, ..log(kind) }),
                Err(EvidenceError::TooLarge { field: it, .. }) if it == field
            ));
        }
    }
    for (sha256, actual) in [(&[7; 31][..], 31), (&[7; 33], 33), (&[], 0)] {
        assert_eq!(
            with(RawLog { sha256, ..log(1) }).expect_err("accepted"),
            EvidenceError::LogDigest { actual }
        );
    }
}

#[test]
fn a_statement_is_read_only_once_its_signature_holds() {
    let ak = PublicArea::parse(AK).unwrap();
    let quote = Proof::decode(&proof()).unwrap().quote;
    assert!(quote.verified_by(&ak).is_ok());
    let mut changed = quote.clone();
    changed.attest[50] ^= 1;
    assert_eq!(changed.verified_by(&ak), Err(WireError::SignatureInvalid));
    let mut unsigned = quote;
    unsigned.signature.truncate(4);
    assert!(unsigned.verified_by(&ak).is_err());
}

proptest! {
    #[test]
    fn bindings_differ_where_their_parts_differ(
        nonce: [u8; 32], exporter: [u8; 32], name: [u8; 32], data in prop::collection::vec(any::<u8>(), 0..64), offset: u64,
        flip in 0..32_usize,
    ) {
        let named = |digest: &[u8; 32]| Name::parse(&[[0x00, 0x0b].as_slice(), digest].concat()).unwrap();
        let logs = [Log::new(LogKind::Tcg, offset, data).unwrap().digest()];
        let flipped = |mut value: [u8; 32]| { value[flip] ^= 0x80; value };
        let binding = Binding::compute(&nonce, &exporter, &named(&name), &logs);
        prop_assert_eq!(binding, Binding::compute(&nonce, &exporter, &named(&name), &logs));
        prop_assert_ne!(binding, Binding::compute(&flipped(nonce), &exporter, &named(&name), &logs));
        prop_assert_ne!(binding, Binding::compute(&nonce, &flipped(exporter), &named(&name), &logs));
        prop_assert_ne!(binding, Binding::compute(&nonce, &exporter, &named(&flipped(name)), &logs));
        prop_assert_ne!(binding, Binding::compute(&nonce, &exporter, &named(&name), &[]));
    }
}
