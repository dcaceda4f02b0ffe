//! Attestation structures (attacks 21 and 22 at this level).

use hallmark_tpm_wire::{Attest, AttestKind, WireError};

use super::{Bytes, assert_exact_length};

#[derive(Clone)]
struct Statement {
    magic: u32,
    tag: u16,
    signer: Vec<u8>,
    extra: Vec<u8>,
    safe: u8,
    attested: Vec<u8>,
}

fn name(fill: u8) -> Vec<u8> {
    Bytes::default().u16(0x000b).raw(&[fill; 32]).0
}

impl Statement {
    fn quote() -> Self {
        let selection = Bytes::default().u32(1).u16(0x000b).u8(3).raw(&[0xff, 0, 0]);
        let attested = selection.sized(&[9; 32]).0;
        Self {
            magic: 0xff54_4347,
            tag: 0x8018,
            signer: name(1),
            extra: vec![7; 32],
            safe: 1,
            attested,
        }
    }

    fn certify() -> Self {
        let attested = Bytes::default().sized(&name(2)).sized(&name(3)).0;
        Self {
            tag: 0x8017,
            attested,
            ..Self::quote()
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let head = Bytes::default()
            .u32(self.magic)
            .u16(self.tag)
            .sized(&self.signer)
            .sized(&self.extra);
        head.u64(1000).u32(3).u32(4).u8(self.safe).u64(5).raw(&self.attested).0
    }
}

#[test]
fn quotes_and_certifications_are_read_and_have_exactly_their_length() {
    let quote = Attest::parse(&Statement::quote().bytes()).unwrap();
    assert!(matches!(quote.kind, AttestKind::Quote(_)));
    assert!(quote.clock_info.safe);
    assert_eq!(
        (
            quote.clock_info.clock,
            quote.clock_info.reset_count,
            quote.clock_info.restart_count
        ),
        (1000, 3, 4)
    );
    assert_eq!(quote.firmware_version, 5);
    let AttestKind::Certify(certify) = Attest::parse(&Statement::certify().bytes()).unwrap().kind else {
        panic!("not a certification")
    };
    assert_eq!(
        (certify.name.as_bytes(), certify.qualified_name.as_bytes()),
        (name(2).as_slice(), name(3).as_slice())
    );
    assert_exact_length(&Statement::quote().bytes(), Attest::parse);
    assert_exact_length(&Statement::certify().bytes(), Attest::parse);
}

#[test]
fn a_structure_from_outside_a_tpm_is_refused() {
    let outside = Statement {
        magic: 0xff54_4348,
        ..Statement::quote()
    };
    assert_eq!(Attest::parse(&outside.bytes()), Err(WireError::WrongMagic(0xff54_4348)));
    let reversed = Statement {
        magic: 0x4743_54ff,
        ..Statement::quote()
    };
    assert_eq!(
        Attest::parse(&reversed.bytes()),
        Err(WireError::WrongMagic(0x4743_54ff))
    );
}

#[test]
fn another_type_is_named_and_never_taken_for_a_quote() {
    for tag in [0x8014, 0x8015, 0x8016, 0x8019, 0x801a, 0x801c, 0x0000] {
        let other = Statement {
            tag,
            ..Statement::quote()
        };
        assert_eq!(Attest::parse(&other.bytes()).unwrap().kind, AttestKind::Other(tag));
    }
    // One type's contents under the other's tag.
    assert!(
        Attest::parse(
            &Statement {
                tag: 0x8017,
                ..Statement::quote()
            }
            .bytes()
        )
        .is_err()
    );
    assert!(
        Attest::parse(
            &Statement {
                tag: 0x8018,
                ..Statement::certify()
            }
            .bytes()
        )
        .is_err()
    );
}

#[test]
fn malformed_fields_are_refused() {
    let good = Statement::quote();
    assert!(Attest::parse(&good.bytes()).is_ok());
    let long = vec![7; 66];
    assert!(
        Attest::parse(
            &Statement {
                extra: long,
                ..good.clone()
            }
            .bytes()
        )
        .is_ok()
    );
    let sha1_signer = Bytes::default().u16(0x0004).raw(&[1; 20]).0;
    let sha1_digest = Bytes::default().u32(0).sized(&[9; 20]).0;
    let no_digest = Bytes::default().u32(0).sized(&[]).0;
    for (case, wrong) in [
        (
            "safe is 2",
            Statement {
                safe: 2,
                ..good.clone()
            },
        ),
        (
            "long extra data",
            Statement {
                extra: vec![7; 67],
                ..good.clone()
            },
        ),
        (
            "SHA-1 signer",
            Statement {
                signer: sha1_signer,
                ..good.clone()
            },
        ),
        (
            "no signer",
            Statement {
                signer: Vec::new(),
                ..good.clone()
            },
        ),
        (
            "SHA-1 digest",
            Statement {
                attested: sha1_digest,
                ..good.clone()
            },
        ),
        (
            "no digest",
            Statement {
                attested: no_digest,
                ..good.clone()
            },
        ),
    ] {
        assert!(Attest::parse(&wrong.bytes()).is_err(), "{case}");
    }
    let oversize = Statement {
        tag: 0x8014,
        attested: vec![0; Attest::MAX_LEN],
        ..good
    };
    assert!(matches!(
        Attest::parse(&oversize.bytes()),
        Err(WireError::TooLarge { .. })
    ));
}
